//! A glucose meter's measurements: from what a person measures to the bytes of 2A18 and 2A34.

use carepost_gatt::glucose::{self, Context, Meal, SampleLocation, SampleType, TimeOffset};
use carepost_gatt::{DateTime, MedFloat};
use chrono::{NaiveDateTime, TimeDelta};

use super::body::CommonSettings;
use super::clock::from_date_time;
use super::encode::{RecordError, Timestamp, checked_raw, number};

/// What kind of glucose meter it is.
#[derive(Clone, Debug)]
pub struct GlucoseSettings {
    /// What every meter has.
    pub common: CommonSettings,
    /// Quantity on air: mass or amount of substance per litre.
    pub unit: GlucoseUnit,
    /// Bits of Glucose Feature (2A51).
    pub feature: u16,
    /// Whether there is a context characteristic (2A34).
    pub has_context: bool,
    /// Sequence number of the first record.
    pub first_sequence: u16,
    /// Whether clients may delete records.
    pub allows_delete: bool,
}

/// Quantity in which a glucose meter sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GlucoseUnit {
    /// Mass concentration; on air kg/L.
    #[default]
    KgPerL,
    /// Amount concentration; on air mol/L.
    MolPerL,
}

/// A glucose concentration in either unit of displays, exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concentration {
    /// Whole mg/dL.
    MgPerDl(u16),
    /// Tenths of mmol/L.
    TenthsOfMmolPerL(u16),
}

impl Concentration {
    /// 1 mmol/L of glucose = 18.0156 mg/dL.
    const MG_PER_DL_PER_MMOL_PER_L_E4: i64 = 180_156;

    /// On air, rounded half up where the unit changes.
    fn on_air(self, unit: GlucoseUnit) -> MedFloat {
        let factor = Self::MG_PER_DL_PER_MMOL_PER_L_E4;
        match (unit, self) {
            (GlucoseUnit::KgPerL, Self::MgPerDl(value)) => number(i64::from(value), -5),
            (GlucoseUnit::KgPerL, Self::TenthsOfMmolPerL(value)) => {
                number((i64::from(value) * factor + 50_000) / 100_000, -5)
            }
            (GlucoseUnit::MolPerL, Self::TenthsOfMmolPerL(value)) => number(i64::from(value), -4),
            (GlucoseUnit::MolPerL, Self::MgPerDl(value)) => {
                number((i64::from(value) * 100_000 + factor / 2) / factor, -4)
            }
        }
    }
}

/// A glucose measurement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlucoseMeasurement {
    /// The result; absent when the meter showed an error.
    pub concentration: Option<Concentration>,
    /// Sample type: the low nibble on air.
    pub sample_type: u8,
    /// Sample location: the high nibble on air.
    pub sample_location: u8,
    /// Sensor status annunciation.
    pub status: Option<u16>,
    /// Code of the meal in the context; a context is sent when there is one.
    pub meal: Option<u8>,
    /// When it was taken, by the base clock.
    pub at: Timestamp,
    /// Minutes from the base clock to the user's.
    pub offset_minutes: Option<i16>,
    /// Bytes of 2A18 that go on air instead, however wrong.
    pub raw: Option<Vec<u8>>,
    /// Bytes of 2A34 that go on air instead.
    pub raw_context: Option<Vec<u8>>,
}

impl Default for GlucoseMeasurement {
    /// Capillary whole blood from the finger, now, without a result.
    fn default() -> Self {
        Self {
            concentration: None,
            sample_type: SampleType::CapillaryWholeBlood.code(),
            sample_location: SampleLocation::Finger.code(),
            status: None,
            meal: None,
            at: Timestamp::MeterClock,
            offset_minutes: None,
            raw: None,
            raw_context: None,
        }
    }
}

/// A glucose record as stored.
pub(crate) struct Values {
    pub(crate) value: Vec<u8>,
    pub(crate) context: Option<Vec<u8>>,
    /// Base time plus offset, if both are usable.
    pub(crate) user_time: Option<NaiveDateTime>,
}

/// The bytes of 2A18 and 2A34.
pub(crate) fn values(
    measurement: &GlucoseMeasurement,
    sequence: u16,
    unit: GlucoseUnit,
    base_time: DateTime,
) -> Result<Values, RecordError> {
    let offset = TimeDelta::minutes(i64::from(measurement.offset_minutes.unwrap_or(0)));
    let user_time = from_date_time(&base_time).and_then(|base| base.checked_add_signed(offset));
    let context = match (&measurement.raw_context, measurement.meal) {
        (Some(raw), _) => Some(checked_raw(raw)?),
        (None, Some(meal)) => Some(
            Context {
                meal: Some(Meal::from_code(meal)),
                ..Context::empty(sequence)
            }
            .encode()?,
        ),
        (None, None) => None,
    };
    let value = match &measurement.raw {
        Some(raw) => checked_raw(raw)?,
        None => glucose::Measurement {
            sequence,
            base_time,
            time_offset: measurement.offset_minutes.map(TimeOffset::Minutes),
            concentration: measurement.concentration.map(|concentration| glucose::Concentration {
                unit: match unit {
                    GlucoseUnit::KgPerL => glucose::ConcentrationUnit::KgPerL,
                    GlucoseUnit::MolPerL => glucose::ConcentrationUnit::MolPerL,
                },
                value: concentration.on_air(unit),
                sample_type: SampleType::from_code(measurement.sample_type),
                sample_location: SampleLocation::from_code(measurement.sample_location),
            }),
            status: measurement.status.map(glucose::Status),
            context_follows: context.is_some(),
            rfu_flags: 0,
        }
        .encode()?,
    };
    Ok(Values {
        value,
        context,
        user_time,
    })
}

/// The record that nobody made: 2037, above the range (page 3, section 2.7, TaiDoc).
pub(crate) fn phantom(sequence: u16, unit: GlucoseUnit) -> Vec<u8> {
    let measurement = GlucoseMeasurement {
        concentration: Some(Concentration::MgPerDl(600)),
        status: Some(glucose::Status::RESULT_TOO_HIGH),
        ..GlucoseMeasurement::default()
    };
    let dated = DateTime::new(2037, 1, 1, 0, 0, 0);
    // The numbers above fit their fields.
    values(&measurement, sequence, unit, dated).map_or_else(|_| Vec::new(), |encoded| encoded.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: DateTime = DateTime::new(2026, 3, 1, 8, 30, 0);

    #[test]
    fn a_glucose_result_is_sent_in_the_quantity_of_the_meter() {
        let cases = [
            (Concentration::MgPerDl(100), GlucoseUnit::KgPerL, number(100, -5)),
            (
                Concentration::TenthsOfMmolPerL(55),
                GlucoseUnit::MolPerL,
                number(55, -4),
            ),
            // 5.5 mmol/L = 99.09 mg/dL; 100 mg/dL = 5.55 mmol/L.
            (Concentration::TenthsOfMmolPerL(55), GlucoseUnit::KgPerL, number(99, -5)),
            (Concentration::MgPerDl(100), GlucoseUnit::MolPerL, number(56, -4)),
        ];
        for (concentration, unit, expected) in cases {
            assert_eq!(concentration.on_air(unit), expected, "{concentration:?} as {unit:?}");
        }
    }

    #[test]
    fn a_context_carries_the_sequence_number_of_its_measurement() {
        let measurement = GlucoseMeasurement {
            concentration: Some(Concentration::MgPerDl(95)),
            meal: Some(3),
            ..GlucoseMeasurement::default()
        };
        let values = values(&measurement, 700, GlucoseUnit::KgPerL, TIME).unwrap();
        let record = glucose::Measurement::decode(&values.value).unwrap().value;
        let context = Context::decode(&values.context.unwrap()).unwrap().value;
        assert!(record.context_follows);
        assert_eq!((record.sequence, context.sequence), (700, 700));
        assert_eq!(context.meal, Some(Meal::Fasting));
    }
}
