//! A blood pressure cuff: Blood Pressure Service 0x1810, records indicated oldest first.

use carepost_gatt::blood_pressure::{Measurement, PressureUnit, Status, UserId};
use carepost_gatt::{DateTime, MedFloat, uuid16};

use super::body::{CommonSettings, MainService};
use super::encode::{RecordError, Timestamp, checked_raw, number};
use super::indicator::AfterConfirm;
use super::{Access, Uuid16};

/// What kind of cuff it is.
#[derive(Clone, Debug)]
pub struct CuffSettings {
    /// What every meter has.
    pub common: CommonSettings,
    /// User ids (0 to 254) that the slots on the housing send; empty for a cuff without slots.
    pub slots: Vec<u8>,
    /// Fate of confirmed records.
    pub after_confirm: AfterConfirm,
    /// Unit on air.
    pub unit: CuffUnit,
    /// Bits of Blood Pressure Feature (2A49).
    pub feature: u16,
    /// Whether there is a clock; records carry a time stamp only then.
    pub has_clock: bool,
}

/// Unit of a cuff's pressures on air.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CuffUnit {
    /// Millimetres of mercury.
    #[default]
    Mmhg,
    /// Kilopascals, to one decimal.
    Kpa,
}

/// What a cuff noticed about a measurement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CuffStatus(pub u16);

/// A blood pressure measurement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CuffMeasurement {
    /// Systolic pressure.
    pub systolic_mmhg: u16,
    /// Diastolic pressure.
    pub diastolic_mmhg: u16,
    /// Mean arterial pressure; NaN on air when absent.
    pub mean_mmhg: Option<u16>,
    /// Pulse rate in beats per minute.
    pub pulse: Option<u16>,
    /// User id of the slot that was chosen on the housing.
    pub slot: Option<u8>,
    /// Measurement status.
    pub status: Option<CuffStatus>,
    /// When it was taken.
    pub at: Timestamp,
    /// Bytes that go on air instead, however wrong.
    pub raw: Option<Vec<u8>>,
}

pub(crate) const CHARACTERISTIC: Uuid16 = uuid16::BLOOD_PRESSURE_MEASUREMENT;

pub(crate) fn service(feature: u16) -> MainService {
    MainService {
        uuid: uuid16::BLOOD_PRESSURE_SERVICE,
        characteristics: vec![(CHARACTERISTIC, Access::INDICATE)],
        feature: Some((uuid16::BLOOD_PRESSURE_FEATURE, feature.to_le_bytes().to_vec())),
    }
}

/// The bytes of 2A35. `user` is the user id on air.
pub(crate) fn value(
    measurement: &CuffMeasurement,
    unit: CuffUnit,
    time: Option<DateTime>,
    user: Option<u8>,
) -> Result<Vec<u8>, RecordError> {
    if let Some(raw) = &measurement.raw {
        return checked_raw(raw);
    }
    let (gatt_unit, pressure): (_, fn(u16) -> MedFloat) = match unit {
        CuffUnit::Mmhg => (PressureUnit::MmHg, |mmhg| number(i64::from(mmhg), 0)),
        CuffUnit::Kpa => (PressureUnit::KPa, |mmhg| number(tenths_of_kpa(mmhg), -1)),
    };
    let record = Measurement {
        unit: gatt_unit,
        systolic: pressure(measurement.systolic_mmhg),
        diastolic: pressure(measurement.diastolic_mmhg),
        map: measurement.mean_mmhg.map_or(MedFloat::NaN, pressure),
        timestamp: time,
        pulse: measurement.pulse.map(|pulse| number(i64::from(pulse), 0)),
        user_id: user.map(user_id),
        status: measurement.status.map(|status| Status(status.0)),
        rfu_flags: 0,
    };
    Ok(record.encode()?)
}

pub(crate) fn user_id(byte: u8) -> UserId {
    match byte {
        u8::MAX => UserId::Unknown,
        slot => UserId::Known(slot),
    }
}

/// 1 kPa = 7.50062 mmHg (page "Devices", section 2.2), rounded half up as a display does.
fn tenths_of_kpa(mmhg: u16) -> i64 {
    const MMHG_PER_KPA_E5: i64 = 750_062;
    (i64::from(mmhg) * 1_000_000 + MMHG_PER_KPA_E5 / 2) / MMHG_PER_KPA_E5
}

#[cfg(test)]
mod tests {
    use carepost_gatt::Decimal;

    use super::*;

    #[test]
    fn a_reading_in_mmhg_decodes_to_what_was_measured() {
        let measurement = CuffMeasurement {
            systolic_mmhg: 128,
            diastolic_mmhg: 82,
            pulse: Some(71),
            ..CuffMeasurement::default()
        };
        let time = DateTime::new(2026, 3, 1, 8, 30, 0);
        let bytes = value(&measurement, CuffUnit::Mmhg, Some(time), Some(2)).unwrap();
        let decoded = Measurement::decode(&bytes).unwrap().value;
        assert_eq!(decoded.systolic_mmhg(), Some(Decimal::new(128, 0)));
        assert_eq!(decoded.user_id, Some(UserId::Known(2)));
        assert_eq!(decoded.timestamp, Some(time));
        assert_eq!(decoded.map, MedFloat::NaN);
    }

    #[test]
    fn a_reading_in_kpa_is_rounded_to_the_nearest_tenth() {
        // 120 mmHg = 15.9987 kPa, 80 mmHg = 10.6658 kPa.
        assert_eq!((tenths_of_kpa(120), tenths_of_kpa(80), tenths_of_kpa(0)), (160, 107, 0));
    }

    #[test]
    fn a_value_that_does_not_fit_is_an_error_and_raw_bytes_always_fit_up_to_an_attribute() {
        let wide = CuffMeasurement {
            systolic_mmhg: 20_001,
            ..CuffMeasurement::default()
        };
        assert!(matches!(
            value(&wide, CuffUnit::Mmhg, None, None),
            Err(RecordError::Unencodable(_))
        ));
        let raw = |length| CuffMeasurement {
            raw: Some(vec![0xFF; length]),
            ..CuffMeasurement::default()
        };
        assert_eq!(
            value(&raw(513), CuffUnit::Mmhg, None, None),
            Err(RecordError::TooLong { length: 513 })
        );
        assert_eq!(value(&raw(3), CuffUnit::Mmhg, None, None), Ok(vec![0xFF; 3]));
    }
}
