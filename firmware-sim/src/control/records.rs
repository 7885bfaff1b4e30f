//! The records that people give for meters without rules, and what they become.

use chrono::NaiveDateTime;
use serde::{Deserialize, Serialize};

use super::protocol::Refusal;
use crate::ledger::from_hex;
use crate::meters::{OxygenMeasurement, Taken, TemperatureMeasurement, Timestamp, WeightMeasurement};

/// A weight record as a person gives it. Without grams the scale could not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WeightRecord {
    /// Weight in grams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grams: Option<u32>,
    /// Body mass index in tenths; only with a height.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bmi_tenths: Option<u16>,
    /// Height in millimetres; only with a body mass index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height_mm: Option<u16>,
    /// User id of the slot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<u8>,
    /// Local time by the meter's clock; now when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<NaiveDateTime>,
    /// Bytes of 2A9D in hex that go on air instead, however wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
}

/// A temperature record as a person gives it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TemperatureRecord {
    /// Hundredths of a degree Celsius: 3685 is 36.85.
    pub centi_celsius: i32,
    /// Code of the place on the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<u8>,
    /// Local time by the meter's clock; now when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<NaiveDateTime>,
    /// Bytes of 2A1C in hex that go on air instead, however wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
}

/// A record of oxygen saturation as a person gives it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OxygenRecord {
    /// Saturation in per cent.
    pub percent: u16,
    /// Pulse rate in beats per minute.
    pub pulse: u16,
    /// Bits of the measurement status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Local time by the meter's clock; now when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<NaiveDateTime>,
    /// Bytes of 2A5E in hex that go on air instead, however wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
}

/// A fault profile, as the control interface lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileInfo {
    /// Its name.
    pub name: String,
    /// Its group in page 3, section 2.8; none for a family of meters.
    pub group: Option<u8>,
    /// What the meter does.
    pub summary: String,
    /// What clients and people see of it.
    pub changes: String,
    /// What the ledger holds.
    pub ledger: String,
}

/// The catalogue of fault profiles.
pub(crate) fn catalogue() -> Vec<ProfileInfo> {
    crate::profiles::catalogue()
        .map(|profile| ProfileInfo {
            name: profile.name.to_owned(),
            group: profile.group.number(),
            summary: profile.summary.to_owned(),
            changes: profile.changes.to_owned(),
            ledger: profile.ledger.to_owned(),
        })
        .collect()
}

pub(crate) fn weight(record: &WeightRecord) -> Result<Taken, Refusal> {
    let bmi_tenths_and_height_mm = match (record.bmi_tenths, record.height_mm) {
        (Some(bmi), Some(height)) => Some((bmi, height)),
        (None, None) => None,
        _ => {
            return Err(Refusal::new(
                "bad_value",
                "a body mass index comes with a height, and a height with a body mass index",
            ));
        }
    };
    Ok(Taken::Weight(WeightMeasurement {
        grams: record.grams,
        bmi_tenths_and_height_mm,
        slot: record.slot,
        at: timestamp(record.at),
        raw: raw(record.raw.as_deref())?,
    }))
}

pub(crate) fn temperature(record: &TemperatureRecord) -> Result<Taken, Refusal> {
    Ok(Taken::Temperature(TemperatureMeasurement {
        centi_celsius: record.centi_celsius,
        place: record.place,
        at: timestamp(record.at),
        raw: raw(record.raw.as_deref())?,
    }))
}

pub(crate) fn oxygen(record: &OxygenRecord) -> Result<Taken, Refusal> {
    Ok(Taken::Oxygen(OxygenMeasurement {
        percent: record.percent,
        pulse: record.pulse,
        status: record.status,
        at: timestamp(record.at),
        raw: raw(record.raw.as_deref())?,
    }))
}

fn timestamp(at: Option<NaiveDateTime>) -> Timestamp {
    at.map_or(Timestamp::MeterClock, Timestamp::Local)
}

fn raw(text: Option<&str>) -> Result<Option<Vec<u8>>, Refusal> {
    let Some(text) = text else { return Ok(None) };
    match from_hex(text) {
        Some(bytes) => Ok(Some(bytes)),
        None => Err(Refusal::new("bad_value", "raw is not hex: two digits for each byte")),
    }
}
