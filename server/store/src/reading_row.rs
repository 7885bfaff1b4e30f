//! A reading as a row: the same columns for both engines.

use carepost_domain::Id;
use carepost_domain::reading::{
    Attribution, BloodPressure, Glucose, Measurement, OxygenSaturation, Reading, Temperature, Weight,
};
use carepost_domain::time::MeasuredTime;
use carepost_domain::units::{Concentration, Degrees, GlucoseLevel, Mass, Pressure, PulseRate, TenthsOfPercent};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::codec::{code, instant, instant_opt, join_codes, narrow, parse, split_codes, us};
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
    pub(crate) quirk: Option<String>,
    pub(crate) weight_milli: Option<i64>,
    pub(crate) temperature_milli: Option<i64>,
    pub(crate) temperature_site: Option<String>,
    pub(crate) spo2_tenths: Option<i64>,
}

/// The columns of a measurement; those that its kind does not have are empty.
#[derive(Debug, Default)]
struct Values {
    unit: &'static str,
    systolic_umhg: Option<i64>,
    diastolic_umhg: Option<i64>,
    mean_arterial_umhg: Option<i64>,
    pulse_milli: Option<i64>,
    glucose_is: Option<&'static str>,
    glucose_milli: Option<i64>,
    sequence: Option<i64>,
    weight_milli: Option<i64>,
    temperature_milli: Option<i64>,
    temperature_site: Option<&'static str>,
    spo2_tenths: Option<i64>,
}

impl From<&Measurement> for Values {
    fn from(measurement: &Measurement) -> Self {
        match measurement {
            Measurement::BloodPressure(bp) => Self {
                unit: bp.unit.code(),
                systolic_umhg: Some(bp.systolic.micro_mmhg()),
                diastolic_umhg: Some(bp.diastolic.micro_mmhg()),
                mean_arterial_umhg: bp.mean_arterial.map(Pressure::micro_mmhg),
                pulse_milli: bp.pulse.map(PulseRate::milli_per_min),
                ..Self::default()
            },
            Measurement::Glucose(glucose) => Self {
                unit: match glucose.level {
                    GlucoseLevel::Value(value) => value.unit.code(),
                    GlucoseLevel::AboveRange { unit } | GlucoseLevel::BelowRange { unit } => unit.code(),
                },
                glucose_is: Some(glucose_word(glucose.level)),
                glucose_milli: match glucose.level {
                    GlucoseLevel::Value(value) => Some(value.milli),
                    GlucoseLevel::AboveRange { .. } | GlucoseLevel::BelowRange { .. } => None,
                },
                sequence: Some(i64::from(glucose.sequence)),
                ..Self::default()
            },
            Measurement::Weight(weight) => Self {
                unit: weight.mass.unit.code(),
                weight_milli: Some(weight.mass.milli),
                ..Self::default()
            },
            Measurement::Temperature(temperature) => Self {
                unit: temperature.degrees.unit.code(),
                temperature_milli: Some(temperature.degrees.milli),
                temperature_site: temperature.site.map(|site| site.code()),
                ..Self::default()
            },
            Measurement::OxygenSaturation(saturation) => Self {
                unit: PERCENT,
                spo2_tenths: Some(saturation.spo2.tenths()),
                pulse_milli: saturation.pulse.map(PulseRate::milli_per_min),
                ..Self::default()
            },
        }
    }
}

/// The unit of a saturation.
const PERCENT: &str = "%";

impl ReadingRow {
    /// The row of an admitted reading.
    pub(crate) fn new(reading: &Reading, nonce: u64, gateway: Uuid, received_at: DateTime<Utc>) -> Self {
        let (attributed_by, attribution) = match reading.attribution {
            Attribution::Binding { binding } => ("binding", binding.uuid()),
            Attribution::Sitting { sitting } => ("sitting", sitting.uuid()),
        };
        let values = Values::from(&reading.measurement);
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
            unit: values.unit.to_owned(),
            systolic_umhg: values.systolic_umhg,
            diastolic_umhg: values.diastolic_umhg,
            mean_arterial_umhg: values.mean_arterial_umhg,
            pulse_milli: values.pulse_milli,
            user_slot: reading.measurement.user_slot().map(i64::from),
            glucose_is: values.glucose_is.map(str::to_owned),
            glucose_milli: values.glucose_milli,
            sequence: values.sequence,
            slot: reading.slot.map(|slot| slot.code().to_owned()),
            flags: join_codes(reading.flags.iter().map(|flag| flag.code())),
            characteristic: i64::from(reading.characteristic),
            raw: reading.raw.clone(),
            context_raw: reading.context_raw.clone(),
            // All 64 bits are kept; the sign is only how SQL sees them.
            nonce: nonce.cast_signed(),
            quirk: reading.quirk.as_ref().map(ToString::to_string),
            weight_milli: values.weight_milli,
            temperature_milli: values.temperature_milli,
            temperature_site: values.temperature_site.map(str::to_owned),
            spo2_tenths: values.spo2_tenths,
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
                quirk: self.quirk.as_deref().map(parse).transpose()?,
            },
        })
    }

    fn measurement(&self) -> Result<Measurement, Fault> {
        let user_slot = || self.user_slot.map(narrow).transpose();
        let pulse = self.pulse_milli.map(PulseRate::from_milli_per_min);
        match self.kind.as_str() {
            "bp" => {
                let missing = || unexpected("a blood pressure without its values");
                Ok(Measurement::BloodPressure(BloodPressure {
                    unit: code(&self.unit)?,
                    systolic: Pressure::from_micro_mmhg(self.systolic_umhg.ok_or_else(missing)?),
                    diastolic: Pressure::from_micro_mmhg(self.diastolic_umhg.ok_or_else(missing)?),
                    mean_arterial: self.mean_arterial_umhg.map(Pressure::from_micro_mmhg),
                    pulse,
                    user_slot: user_slot()?,
                }))
            }
            "glucose" => {
                let missing = || unexpected("a glucose value without its number");
                Ok(Measurement::Glucose(Glucose {
                    level: glucose_level(self.glucose_is.as_deref(), self.glucose_milli, &self.unit)?,
                    sequence: narrow(self.sequence.ok_or_else(missing)?)?,
                }))
            }
            "weight" => Ok(Measurement::Weight(Weight {
                mass: Mass {
                    milli: self
                        .weight_milli
                        .ok_or_else(|| unexpected("a weight without its value"))?,
                    unit: code(&self.unit)?,
                },
                user_slot: user_slot()?,
            })),
            "temperature" => {
                let missing = || unexpected("a temperature without its value");
                Ok(Measurement::Temperature(Temperature {
                    degrees: Degrees {
                        milli: self.temperature_milli.ok_or_else(missing)?,
                        unit: code(&self.unit)?,
                    },
                    site: self.temperature_site.as_deref().map(code).transpose()?,
                }))
            }
            "oxygen_saturation" => {
                let missing = || unexpected("an oxygen saturation without its value");
                Ok(Measurement::OxygenSaturation(OxygenSaturation {
                    spo2: TenthsOfPercent::new(self.spo2_tenths.ok_or_else(missing)?),
                    pulse,
                }))
            }
            _ => Err(unexpected("a reading of an unknown kind")),
        }
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
