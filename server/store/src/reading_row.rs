//! A reading as a row: the same columns for both engines.

use carepost_domain::Id;
use carepost_domain::reading::{Attribution, BloodPressure, Glucose, Measurement, Reading};
use carepost_domain::time::MeasuredTime;
use carepost_domain::units::{Concentration, GlucoseLevel, Pressure, PulseRate};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::codec::{code, instant, instant_opt, join_codes, narrow, split_codes, us};
use crate::error::{Fault, FaultKind};
use crate::model::StoredReading;

/// One row of `reading`.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(crate) struct ReadingRow {
    pub(crate) id: Uuid,
    pub(crate) member: Uuid,
    pub(crate) meter: Uuid,
    pub(crate) attributed_by: String,
    pub(crate) attribution: Uuid,
    pub(crate) place: String,
    pub(crate) measured_at: i64,
    pub(crate) time_quality: String,
    pub(crate) meter_local: Option<i64>,
    pub(crate) correction_s: i64,
    pub(crate) gateway_clock_unsure: bool,
    pub(crate) captured_at: i64,
    pub(crate) received_at: i64,
    pub(crate) gateway: Uuid,
    pub(crate) kind: String,
    pub(crate) unit: String,
    pub(crate) systolic_umhg: Option<i64>,
    pub(crate) diastolic_umhg: Option<i64>,
    pub(crate) mean_arterial_umhg: Option<i64>,
    pub(crate) pulse_milli: Option<i64>,
    pub(crate) user_slot: Option<i64>,
    pub(crate) glucose_is: Option<String>,
    pub(crate) glucose_milli: Option<i64>,
    pub(crate) sequence: Option<i64>,
    pub(crate) slot: Option<String>,
    pub(crate) flags: String,
    pub(crate) characteristic: i64,
    pub(crate) raw: Vec<u8>,
    pub(crate) context_raw: Option<Vec<u8>>,
    pub(crate) nonce: i64,
}

impl ReadingRow {
    /// The row of an admitted reading.
    pub(crate) fn new(reading: &Reading, nonce: u64, gateway: Uuid, received_at: DateTime<Utc>) -> Self {
        let (attributed_by, attribution) = match reading.attribution {
            Attribution::Binding { binding } => ("binding", binding.uuid()),
            Attribution::Sitting { sitting } => ("sitting", sitting.uuid()),
        };
        let pressure = match &reading.measurement {
            Measurement::BloodPressure(bp) => Some(bp),
            Measurement::Glucose(_) => None,
        };
        let glucose = match &reading.measurement {
            Measurement::BloodPressure(_) => None,
            Measurement::Glucose(glucose) => Some(glucose),
        };
        let unit = match &reading.measurement {
            Measurement::BloodPressure(bp) => bp.unit.code(),
            Measurement::Glucose(glucose) => match glucose.level {
                GlucoseLevel::Value(value) => value.unit.code(),
                GlucoseLevel::AboveRange { unit } | GlucoseLevel::BelowRange { unit } => unit.code(),
            },
        };
        Self {
            id: reading.id.uuid(),
            member: reading.member.uuid(),
            meter: reading.meter.uuid(),
            attributed_by: attributed_by.to_owned(),
            attribution,
            place: reading.place.code().to_owned(),
            measured_at: us(reading.time.at),
            time_quality: reading.time.quality.code().to_owned(),
            meter_local: reading.time.meter_local.map(|local| us(local.and_utc())),
            correction_s: reading.time.correction_s,
            gateway_clock_unsure: reading.time.gateway_clock_unsure,
            captured_at: us(reading.captured_at),
            received_at: us(received_at),
            gateway,
            kind: reading.measurement.kind_code().to_owned(),
            unit: unit.to_owned(),
            systolic_umhg: pressure.map(|bp| bp.systolic.micro_mmhg()),
            diastolic_umhg: pressure.map(|bp| bp.diastolic.micro_mmhg()),
            mean_arterial_umhg: pressure.and_then(|bp| bp.mean_arterial).map(Pressure::micro_mmhg),
            pulse_milli: pressure.and_then(|bp| bp.pulse).map(PulseRate::milli_per_min),
            user_slot: pressure.and_then(|bp| bp.user_slot).map(i64::from),
            glucose_is: glucose.map(|g| glucose_word(g.level).to_owned()),
            glucose_milli: glucose.and_then(|g| match g.level {
                GlucoseLevel::Value(value) => Some(value.milli),
                GlucoseLevel::AboveRange { .. } | GlucoseLevel::BelowRange { .. } => None,
            }),
            sequence: glucose.map(|g| i64::from(g.sequence)),
            slot: reading.slot.map(|slot| slot.code().to_owned()),
            flags: join_codes(reading.flags.iter().map(|flag| flag.code())),
            characteristic: i64::from(reading.characteristic),
            raw: reading.raw.clone(),
            context_raw: reading.context_raw.clone(),
            // All 64 bits are kept; the sign is only how SQL sees them.
            nonce: nonce.cast_signed(),
        }
    }

    /// The reading of a row.
    pub(crate) fn into_stored(self) -> Result<StoredReading, Fault> {
        let measurement = self.measurement()?;
        let attribution = match self.attributed_by.as_str() {
            "binding" => Attribution::Binding {
                binding: Id::from_uuid(self.attribution),
            },
            "sitting" => Attribution::Sitting {
                sitting: Id::from_uuid(self.attribution),
            },
            _ => return Err(unexpected("an attribution of an unknown kind")),
        };
        Ok(StoredReading {
            received_at: instant(self.received_at)?,
            gateway: Id::from_uuid(self.gateway),
            reading: Reading {
                id: Id::from_uuid(self.id),
                member: Id::from_uuid(self.member),
                meter: Id::from_uuid(self.meter),
                attribution,
                place: code(&self.place)?,
                time: MeasuredTime {
                    at: instant(self.measured_at)?,
                    quality: code(&self.time_quality)?,
                    meter_local: instant_opt(self.meter_local)?.map(|local| local.naive_utc()),
                    correction_s: self.correction_s,
                    gateway_clock_unsure: self.gateway_clock_unsure,
                },
                captured_at: instant(self.captured_at)?,
                measurement,
                flags: split_codes(&self.flags)?,
                slot: self.slot.as_deref().map(code).transpose()?,
                characteristic: narrow(self.characteristic)?,
                raw: self.raw,
                context_raw: self.context_raw,
            },
        })
    }

    fn measurement(&self) -> Result<Measurement, Fault> {
        if self.kind == "bp" {
            let missing = || unexpected("a blood pressure without its values");
            return Ok(Measurement::BloodPressure(BloodPressure {
                unit: code(&self.unit)?,
                systolic: Pressure::from_micro_mmhg(self.systolic_umhg.ok_or_else(missing)?),
                diastolic: Pressure::from_micro_mmhg(self.diastolic_umhg.ok_or_else(missing)?),
                mean_arterial: self.mean_arterial_umhg.map(Pressure::from_micro_mmhg),
                pulse: self.pulse_milli.map(PulseRate::from_milli_per_min),
                user_slot: self.user_slot.map(narrow).transpose()?,
            }));
        }
        let missing = || unexpected("a glucose value without its number");
        Ok(Measurement::Glucose(Glucose {
            level: glucose_level(self.glucose_is.as_deref(), self.glucose_milli, &self.unit)?,
            sequence: narrow(self.sequence.ok_or_else(missing)?)?,
        }))
    }
}

fn glucose_word(level: GlucoseLevel) -> &'static str {
    match level {
        GlucoseLevel::Value(_) => "value",
        GlucoseLevel::AboveRange { .. } => "above_range",
        GlucoseLevel::BelowRange { .. } => "below_range",
    }
}

/// A glucose level from its columns.
pub(crate) fn glucose_level(is: Option<&str>, milli: Option<i64>, unit: &str) -> Result<GlucoseLevel, Fault> {
    let unit = code(unit)?;
    match (is, milli) {
        (Some("value"), Some(milli)) => Ok(GlucoseLevel::Value(Concentration { milli, unit })),
        (Some("above_range"), _) => Ok(GlucoseLevel::AboveRange { unit }),
        (Some("below_range"), _) => Ok(GlucoseLevel::BelowRange { unit }),
        _ => Err(unexpected("a glucose level of an unknown kind")),
    }
}

fn unexpected(why: &'static str) -> Fault {
    Fault::new("read a stored reading", FaultKind::Unexpected, why)
}
