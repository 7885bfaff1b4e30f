//! Weight, temperature and oxygen saturation: what members own beside cuffs and glucose meters. Stored and shown; no
//! rule looks at them.

use carepost_gatt::blood_pressure::UserId;
use carepost_gatt::pulse_oximeter::{MeasurementStatus, SensorStatus, SpotCheck};
use carepost_gatt::thermometer::{self, TemperatureMeasurement, TemperatureType};
use carepost_gatt::weight_scale::{self, WeightMeasurement};
use carepost_gatt::{Decimal, MedFloat};
use serde::{Deserialize, Serialize};

use super::{Flag, Judged, Measurement, PULSE_PER_MIN};
use crate::code_enum;
use crate::quarantine::Reason;
use crate::units::{Degrees, Mass, PulseRate, TemperatureUnit, TenthsOfPercent, WeightUnit};

/// What a person on a scale can weigh, in grams: from a newborn on a baby scale to beyond the strongest personal scales
/// (commonly 180 to 300 kg printed).
const WEIGHT_GRAMS: std::ops::RangeInclusive<i64> = 500..=500_000;
/// What a body thermometer can measure, in thousandths of a degree Celsius: wider than the ranges printed by makers
/// (commonly 32.0 to 43.0), so that neither deep hypothermia nor the highest fever is refused; room and object temperatures
/// mostly are.
const TEMPERATURE_MILLI_CELSIUS: std::ops::RangeInclusive<i64> = 25_000..=46_000;
/// What an oximeter can measure, in tenths of a percent (commonly 35 to 100 % printed, valid from 70 %).
const SATURATION_TENTHS: std::ops::RangeInclusive<i64> = 300..=1_000;

/// A body weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weight {
    /// The weight in the unit sent.
    pub mass: Mass,
    /// The scale's user slot; `None` if absent or unknown.
    pub user_slot: Option<u8>,
}

/// A body temperature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Temperature {
    /// The temperature in the unit sent.
    pub degrees: Degrees,
    /// Where on the body, when the thermometer said it.
    pub site: Option<TemperatureSite>,
}

code_enum! {
    /// Where on the body a temperature was measured (codes of Temperature Type, page 3, section 2.6).
    pub enum TemperatureSite ("temperature site") {
        /// Armpit.
        Armpit = "armpit",
        /// Body, no place given.
        Body = "body",
        /// Ear.
        Ear = "ear",
        /// Finger.
        Finger = "finger",
        /// Gastro-intestinal tract.
        GastroIntestinal = "gastro_intestinal_tract",
        /// Mouth.
        Mouth = "mouth",
        /// Rectum.
        Rectum = "rectum",
        /// Toe.
        Toe = "toe",
        /// Ear drum.
        Tympanum = "tympanum",
    }
}

/// An oxygen saturation with its pulse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OxygenSaturation {
    /// The saturation.
    #[serde(rename = "spo2_tenths_pct")]
    pub spo2: TenthsOfPercent,
    /// Pulse rate, where the oximeter gives one.
    #[serde(rename = "pulse_milli_per_min")]
    pub pulse: Option<PulseRate>,
}

/// Judges a decoded weight.
///
/// # Errors
/// [`Reason::MeasurementError`] when the scale says that it did not succeed, [`Reason::Implausible`] when nobody weighs
/// that.
pub fn judge_weight(m: &WeightMeasurement) -> Result<Judged, Reason> {
    let sent = m.weight_in_unit().ok_or(Reason::MeasurementError)?;
    let (milli, _exact) = sent.to_scaled(3).ok_or(Reason::Implausible)?;
    let unit = match m.unit {
        weight_scale::WeightUnit::Kg => WeightUnit::Kg,
        weight_scale::WeightUnit::Lb => WeightUnit::Lb,
    };
    let mass = Mass { milli, unit };
    if !WEIGHT_GRAMS.contains(&mass.display_grams()) {
        return Err(Reason::Implausible);
    }
    Ok(Judged {
        measurement: Measurement::Weight(Weight {
            mass,
            user_slot: match m.user_id {
                Some(UserId::Known(slot)) => Some(slot),
                Some(UserId::Unknown) | None => None,
            },
        }),
        flags: Vec::new(),
    })
}

/// Judges a decoded temperature.
///
/// # Errors
/// [`Reason::MeasurementError`] when it is no number, [`Reason::Implausible`] when no body has it.
pub fn judge_temperature(m: &TemperatureMeasurement) -> Result<Judged, Reason> {
    let number = m.temperature.number().ok_or(Reason::MeasurementError)?;
    let (milli, _exact) = number.to_scaled(3).ok_or(Reason::Implausible)?;
    let unit = match m.unit {
        thermometer::TemperatureUnit::Celsius => TemperatureUnit::Celsius,
        thermometer::TemperatureUnit::Fahrenheit => TemperatureUnit::Fahrenheit,
    };
    let degrees = Degrees { milli, unit };
    if !TEMPERATURE_MILLI_CELSIUS.contains(&degrees.display_milli_celsius()) {
        return Err(Reason::Implausible);
    }
    Ok(Judged {
        measurement: Measurement::Temperature(Temperature {
            degrees,
            site: m.temperature_type.and_then(site),
        }),
        flags: Vec::new(),
    })
}

fn site(sent: TemperatureType) -> Option<TemperatureSite> {
    Some(match sent {
        TemperatureType::Armpit => TemperatureSite::Armpit,
        TemperatureType::Body => TemperatureSite::Body,
        TemperatureType::Ear => TemperatureSite::Ear,
        TemperatureType::Finger => TemperatureSite::Finger,
        TemperatureType::GastroIntestinal => TemperatureSite::GastroIntestinal,
        TemperatureType::Mouth => TemperatureSite::Mouth,
        TemperatureType::Rectum => TemperatureSite::Rectum,
        TemperatureType::Toe => TemperatureSite::Toe,
        TemperatureType::Tympanum => TemperatureSite::Tympanum,
        TemperatureType::Unknown(_) => return None,
    })
}

/// Judges a decoded spot check.
///
/// # Errors
/// [`Reason::TestData`] for data of a demonstration or a test; [`Reason::MeasurementError`] when the oximeter says that
/// there is no valid measurement, that its sensor is off or broken, or when the saturation is no number;
/// [`Reason::Implausible`] when saturation or pulse is outside what an oximeter can measure.
pub fn judge_oxygen_saturation(m: &SpotCheck) -> Result<Judged, Reason> {
    let status = m.measurement_status.unwrap_or_default();
    let sensor = m.sensor_status.unwrap_or_default();
    if status.any(MeasurementStatus::DEMONSTRATION | MeasurementStatus::TESTING) {
        return Err(Reason::TestData);
    }
    let failed = status.any(MeasurementStatus::INVALID | MeasurementStatus::UNAVAILABLE)
        || sensor
            .any(SensorStatus::SENSOR_OFF | SensorStatus::SENSOR_MALFUNCTION | SensorStatus::EQUIPMENT_MALFUNCTION);
    let number = m.values.spo2_pct.number();
    // Zero is what oximeters send when they found nothing.
    let (Some(spo2), false) = (number.filter(|n| *n != Decimal::ZERO), failed) else {
        return Err(Reason::MeasurementError);
    };
    let (tenths, _exact) = spo2.to_scaled(1).ok_or(Reason::Implausible)?;
    if !SATURATION_TENTHS.contains(&tenths) {
        return Err(Reason::Implausible);
    }
    let pulse = match m.values.pulse {
        MedFloat::Number(number) if number != Decimal::ZERO => {
            let (milli, _exact) = number.to_scaled(3).ok_or(Reason::Implausible)?;
            let pulse = PulseRate::from_milli_per_min(milli);
            if !PULSE_PER_MIN.contains(&pulse.rounded_per_min()) {
                return Err(Reason::Implausible);
            }
            Some(pulse)
        }
        _ => None,
    };
    let mut flags = Vec::new();
    let doubts = MeasurementStatus::QUESTIONABLE | MeasurementStatus::EARLY_ESTIMATE | MeasurementStatus::CALIBRATION;
    if status.any(doubts) {
        flags.push(Flag::Questionable);
    }
    if sensor.any(SensorStatus::POOR_SIGNAL | SensorStatus::SENSOR_DISPLACED) {
        flags.push(Flag::PoorSignal);
    }
    Ok(Judged {
        measurement: Measurement::OxygenSaturation(OxygenSaturation {
            spo2: TenthsOfPercent::new(tenths),
            pulse,
        }),
        flags,
    })
}
