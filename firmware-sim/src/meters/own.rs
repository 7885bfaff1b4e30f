//! Meters whose readings have no rules: weight scale 0x181D, thermometer 0x1809, pulse oximeter 0x1822.

use carepost_gatt::pulse_oximeter::{Continuous, MeasurementStatus, SpO2AndPulse, SpotCheck};
use carepost_gatt::thermometer::{self, TemperatureType, TemperatureUnit};
use carepost_gatt::weight_scale::{self, BmiAndHeight, WeightUnit, WeightValue};
use carepost_gatt::{DateTime, uuid16};

use super::Access;
use super::body::{CommonSettings, MainService};
use super::cuff::user_id;
use super::encode::{RecordError, Timestamp, checked_raw, number};
use super::indicator::AfterConfirm;

/// Characteristic: Weight Scale Feature.
const WEIGHT_SCALE_FEATURE: u16 = 0x2A9E;
/// Characteristic: PLX Features.
const PLX_FEATURES: u16 = 0x2A60;
/// Characteristic: Temperature Type.
const TEMPERATURE_TYPE: u16 = 0x2A1D;

/// What kind of scale it is.
#[derive(Clone, Debug)]
pub struct ScaleSettings {
    /// What every meter has.
    pub common: CommonSettings,
    /// User ids that its slots send; empty for a scale without users.
    pub slots: Vec<u8>,
    /// Fate of confirmed records.
    pub after_confirm: AfterConfirm,
    /// Sends pounds; otherwise kilograms.
    pub pounds: bool,
}

/// What kind of thermometer it is.
#[derive(Clone, Debug)]
pub struct ThermometerSettings {
    /// What every meter has.
    pub common: CommonSettings,
    /// Fate of confirmed records.
    pub after_confirm: AfterConfirm,
    /// Sends degrees Fahrenheit; otherwise Celsius.
    pub fahrenheit: bool,
}

/// What kind of oximeter it is.
#[derive(Clone, Debug)]
pub struct OximeterSettings {
    /// What every meter has.
    pub common: CommonSettings,
    /// Fate of confirmed records.
    pub after_confirm: AfterConfirm,
    /// Also sends live values (2A5F).
    pub continuous: bool,
}

/// A weight measurement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WeightMeasurement {
    /// Weight in grams, to the scale's step of 5 g or 0.01 lb; absent when it failed.
    pub grams: Option<u32>,
    /// Body mass index in tenths and height in millimetres.
    pub bmi_tenths_and_height_mm: Option<(u16, u16)>,
    /// User id of the slot.
    pub slot: Option<u8>,
    /// When it was taken.
    pub at: Timestamp,
    /// Bytes that go on air instead, however wrong.
    pub raw: Option<Vec<u8>>,
}

/// A temperature measurement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TemperatureMeasurement {
    /// Hundredths of a degree Celsius.
    pub centi_celsius: i32,
    /// Code of the place on the body.
    pub place: Option<u8>,
    /// When it was taken.
    pub at: Timestamp,
    /// Bytes that go on air instead, however wrong.
    pub raw: Option<Vec<u8>>,
}

/// A measurement of oxygen saturation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OxygenMeasurement {
    /// Saturation in per cent.
    pub percent: u16,
    /// Pulse rate in beats per minute.
    pub pulse: u16,
    /// Bits of the measurement status.
    pub status: Option<u16>,
    /// When it was taken.
    pub at: Timestamp,
    /// Bytes that go on air instead, however wrong.
    pub raw: Option<Vec<u8>>,
}

pub(crate) fn scale_service(slots: &[u8]) -> MainService {
    const TIME_STAMP: u32 = 1;
    const MULTIPLE_USERS: u32 = 1 << 1;
    const BMI: u32 = 1 << 2;
    // Bits 3-6: weights in steps of 0.005 kg or 0.01 lb (Weight Scale Service, section 3.1).
    const FINEST_WEIGHT: u32 = 7 << 3;
    let users = if slots.is_empty() { 0 } else { MULTIPLE_USERS };
    let feature = TIME_STAMP | users | BMI | FINEST_WEIGHT;
    MainService {
        uuid: uuid16::WEIGHT_SCALE_SERVICE,
        characteristics: vec![(uuid16::WEIGHT_MEASUREMENT, Access::INDICATE)],
        feature: Some((WEIGHT_SCALE_FEATURE, feature.to_le_bytes().to_vec())),
    }
}

pub(crate) fn thermometer_service() -> MainService {
    MainService {
        uuid: uuid16::HEALTH_THERMOMETER_SERVICE,
        characteristics: vec![(uuid16::TEMPERATURE_MEASUREMENT, Access::INDICATE)],
        // The service has no features; the fixed place of measurement is what can be read beforehand.
        feature: Some((TEMPERATURE_TYPE, vec![TemperatureType::Body.code()])),
    }
}

pub(crate) fn oximeter_service(continuous: bool) -> MainService {
    const MEASUREMENT_STATUS: u16 = 1;
    const STORES: u16 = 1 << 2;
    const TIME_STAMP: u16 = 1 << 3;
    let mut characteristics = vec![(uuid16::PLX_SPOT_CHECK, Access::INDICATE)];
    if continuous {
        characteristics.push((uuid16::PLX_CONTINUOUS, Access::NOTIFY));
    }
    // Supported features, then the supported bits of the measurement status.
    let feature = (MEASUREMENT_STATUS | STORES | TIME_STAMP).to_le_bytes();
    let status = 0xFFE0_u16.to_le_bytes();
    MainService {
        uuid: uuid16::PULSE_OXIMETER_SERVICE,
        characteristics,
        feature: Some((PLX_FEATURES, [feature, status].concat())),
    }
}

/// The bytes of 2A9D. Grams are rounded half up to the step of the unit.
pub(crate) fn weight_value(
    measurement: &WeightMeasurement,
    pounds: bool,
    time: Option<DateTime>,
    user: Option<u8>,
) -> Result<Vec<u8>, RecordError> {
    if let Some(raw) = &measurement.raw {
        return checked_raw(raw);
    }
    let steps = |grams: u32| {
        let (unit_e5, per_unit) = if pounds { (100_000, 453_592) } else { (100_000, 500_000) };
        let steps = (u64::from(grams) * unit_e5 + per_unit / 2) / per_unit;
        u16::try_from(steps).map_err(|_| carepost_gatt::EncodeError::OutOfRange { field: "weight" })
    };
    let weight = match measurement.grams {
        Some(grams) => WeightValue::Steps(steps(grams)?),
        None => WeightValue::Unsuccessful,
    };
    let record = weight_scale::WeightMeasurement {
        unit: if pounds { WeightUnit::Lb } else { WeightUnit::Kg },
        weight,
        timestamp: time,
        user_id: user.map(user_id),
        bmi_and_height: measurement
            .bmi_tenths_and_height_mm
            .map(|(bmi_tenths, height_mm)| BmiAndHeight {
                bmi_tenths,
                // 1 inch = 25.4 mm; tenths of an inch are 2.54 mm.
                height_steps: if pounds {
                    u16::try_from((u32::from(height_mm) * 100 + 127) / 254).unwrap_or(u16::MAX)
                } else {
                    height_mm
                },
            }),
        rfu_flags: 0,
    };
    Ok(record.encode()?)
}

/// The bytes of 2A1C. Fahrenheit is rounded half up to a hundredth.
pub(crate) fn temperature_value(
    measurement: &TemperatureMeasurement,
    fahrenheit: bool,
    time: Option<DateTime>,
) -> Result<Vec<u8>, RecordError> {
    if let Some(raw) = &measurement.raw {
        return checked_raw(raw);
    }
    let celsius = i64::from(measurement.centi_celsius);
    let (unit, hundredths) = if fahrenheit {
        // F = C x 9 / 5 + 32, in hundredths, rounded half up.
        (TemperatureUnit::Fahrenheit, (celsius * 18 + 5).div_euclid(10) + 3_200)
    } else {
        (TemperatureUnit::Celsius, celsius)
    };
    let record = thermometer::TemperatureMeasurement {
        unit,
        temperature: number(hundredths, -2),
        timestamp: time,
        temperature_type: measurement.place.map(TemperatureType::from_code),
        rfu_flags: 0,
    };
    Ok(record.encode()?)
}

/// The bytes of 2A5E. An oximeter without the time says so.
pub(crate) fn oxygen_value(measurement: &OxygenMeasurement, time: Option<DateTime>) -> Result<Vec<u8>, RecordError> {
    if let Some(raw) = &measurement.raw {
        return checked_raw(raw);
    }
    let record = SpotCheck {
        values: values(measurement),
        timestamp: time,
        clock_not_set: time.is_some_and(|time| time.year.is_none()),
        measurement_status: measurement.status.map(MeasurementStatus),
        sensor_status: None,
        pulse_amplitude_pct: None,
        rfu_flags: 0,
    };
    Ok(record.encode()?)
}

/// The bytes of 2A5F for the same finger.
pub(crate) fn live_oxygen_value(measurement: &OxygenMeasurement) -> Option<Vec<u8>> {
    let live = Continuous {
        normal: values(measurement),
        fast: None,
        slow: None,
        measurement_status: None,
        sensor_status: None,
        pulse_amplitude_pct: None,
        rfu_flags: 0,
    };
    live.encode().ok()
}

fn values(measurement: &OxygenMeasurement) -> SpO2AndPulse {
    SpO2AndPulse {
        spo2_pct: number(i64::from(measurement.percent), 0),
        pulse: number(i64::from(measurement.pulse), 0),
    }
}

#[cfg(test)]
mod tests {
    use carepost_gatt::{Decimal, MedFloat};

    use super::*;

    #[test]
    fn weights_are_sent_in_the_steps_of_their_unit() {
        let measurement = WeightMeasurement {
            grams: Some(70_000),
            bmi_tenths_and_height_mm: Some((229, 1_750)),
            ..WeightMeasurement::default()
        };
        let decode = |pounds| {
            let bytes = weight_value(&measurement, pounds, None, Some(1)).unwrap();
            weight_scale::WeightMeasurement::decode(&bytes).unwrap().value
        };
        // 70 kg = 154.32 lb; 1.75 m = 68.9 in.
        let kilograms = decode(false).weight_in_unit().unwrap();
        assert_eq!(kilograms.rescaled(-3), Some(70_000));
        assert_eq!(decode(true).weight, WeightValue::Steps(15_432));
        assert_eq!(decode(true).bmi_and_height.unwrap().height_steps, 689);
        let heavy = WeightMeasurement {
            grams: Some(400_000),
            ..WeightMeasurement::default()
        };
        assert!(weight_value(&heavy, false, None, None).is_err());
    }

    #[test]
    fn temperatures_are_sent_in_their_unit() {
        let measurement = |centi_celsius| TemperatureMeasurement {
            centi_celsius,
            place: Some(9),
            ..TemperatureMeasurement::default()
        };
        let decode = |centi_celsius, fahrenheit| {
            let bytes = temperature_value(&measurement(centi_celsius), fahrenheit, None).unwrap();
            thermometer::TemperatureMeasurement::decode(&bytes)
                .unwrap()
                .value
                .temperature
        };
        assert_eq!(decode(3_685, false), MedFloat::Number(Decimal::new(3_685, -2)));
        assert_eq!(decode(3_700, true), MedFloat::Number(Decimal::new(9_860, -2)));
        assert_eq!(decode(-4_000, true), MedFloat::Number(Decimal::new(-4_000, -2)));
    }

    #[test]
    fn an_oximeter_whose_clock_was_never_set_says_so() {
        let measurement = OxygenMeasurement {
            percent: 97,
            pulse: 66,
            ..OxygenMeasurement::default()
        };
        let unknown = DateTime::new(0, 0, 0, 1, 2, 3);
        let bytes = oxygen_value(&measurement, Some(unknown)).unwrap();
        let decoded = SpotCheck::decode(&bytes).unwrap().value;
        assert!(decoded.clock_not_set);
        assert_eq!(decoded.values.spo2_pct, MedFloat::Number(Decimal::new(97, 0)));
    }
}
