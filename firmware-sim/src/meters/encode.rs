//! From what a person measures to the bytes that a meter stores, and the characteristics that all meters share.

use carepost_gatt::current_time::{AdjustReason, CurrentTime};
use carepost_gatt::glucose::{Context, Meal, SampleLocation, SampleType, TimeOffset};
use carepost_gatt::{DateTime, Decimal, MedFloat, blood_pressure, glucose, uuid16};
use chrono::{Datelike, NaiveDateTime, TimeDelta};

use super::clock::{from_date_time, to_date_time};
use super::{Access, ClockService, Identity, MeterClock, Profile, Uuid16};
use crate::SimTime;

/// Longest attribute value (Core specification, volume 3, part F, section 3.2.9).
const MAX_VALUE: usize = 512;

/// Why a meter cannot make a record of what it was given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The measurement is of another kind than the meter.
    #[error("a {meter} meter cannot make a {record} record")]
    WrongKind {
        /// Kind of meter.
        meter: &'static str,
        /// Kind of record.
        record: &'static str,
    },
    /// The cuff has no such user slot.
    #[error("the cuff has no user slot {slot}")]
    UnknownSlot {
        /// User id that was asked for.
        slot: u8,
    },
    /// The meter has no context characteristic.
    #[error("the meter has no context characteristic")]
    NoContext,
    /// A raw value is longer than an attribute can be.
    #[error("the raw value has {length} bytes; an attribute holds at most {MAX_VALUE}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// A value has no place in the characteristic.
    #[error("the measurement cannot be encoded")]
    Unencodable(#[from] carepost_gatt::EncodeError),
}

impl RecordError {
    /// The word for it in the control protocol.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::WrongKind { .. } => "wrong_kind",
            Self::UnknownSlot { .. } | Self::NoContext | Self::TooLong { .. } | Self::Unencodable(_) => "bad_value",
        }
    }
}

/// When a measurement was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timestamp {
    /// Now, by the meter's own clock.
    #[default]
    MeterClock,
    /// When the meter's clock showed this.
    Local(NaiveDateTime),
}

impl Timestamp {
    fn field(self, clock: &MeterClock, now: SimTime) -> DateTime {
        match self {
            Self::MeterClock => clock.date_time(now),
            Self::Local(local) => to_date_time(local),
        }
    }
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

/// The bytes of 2A35. Without a clock there is no time stamp.
pub(crate) fn cuff_value(
    measurement: &CuffMeasurement,
    unit: CuffUnit,
    clock: Option<&MeterClock>,
    now: SimTime,
) -> Result<Vec<u8>, RecordError> {
    if let Some(raw) = &measurement.raw {
        return checked_raw(raw);
    }
    let (gatt_unit, pressure): (_, fn(u16) -> MedFloat) = match unit {
        CuffUnit::Mmhg => (blood_pressure::PressureUnit::MmHg, |mmhg| number(i64::from(mmhg), 0)),
        CuffUnit::Kpa => (blood_pressure::PressureUnit::KPa, |mmhg| {
            number(tenths_of_kpa(mmhg), -1)
        }),
    };
    let record = blood_pressure::Measurement {
        unit: gatt_unit,
        systolic: pressure(measurement.systolic_mmhg),
        diastolic: pressure(measurement.diastolic_mmhg),
        map: measurement.mean_mmhg.map_or(MedFloat::NaN, pressure),
        timestamp: clock.map(|clock| measurement.at.field(clock, now)),
        pulse: measurement.pulse.map(|pulse| number(i64::from(pulse), 0)),
        user_id: measurement.slot.map(blood_pressure::UserId::Known),
        status: measurement.status.map(|status| blood_pressure::Status(status.0)),
        rfu_flags: 0,
    };
    Ok(record.encode()?)
}

/// 1 kPa = 7.50062 mmHg (page "Devices", section 2.2), rounded half up as a display does.
fn tenths_of_kpa(mmhg: u16) -> i64 {
    const MMHG_PER_KPA_E5: i64 = 750_062;
    (i64::from(mmhg) * 1_000_000 + MMHG_PER_KPA_E5 / 2) / MMHG_PER_KPA_E5
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

impl GlucoseMeasurement {
    /// Whether a context goes with it.
    pub(crate) fn has_context(&self) -> bool {
        self.meal.is_some() || self.raw_context.is_some()
    }
}

/// A glucose record as stored.
pub(crate) struct GlucoseValues {
    pub(crate) value: Vec<u8>,
    pub(crate) context: Option<Vec<u8>>,
    /// Base time plus offset, if both are usable.
    pub(crate) user_time: Option<NaiveDateTime>,
}

/// The bytes of 2A18 and 2A34.
pub(crate) fn glucose_values(
    measurement: &GlucoseMeasurement,
    sequence: u16,
    unit: GlucoseUnit,
    clock: &MeterClock,
    now: SimTime,
) -> Result<GlucoseValues, RecordError> {
    let base_time = measurement.at.field(clock, now);
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
    Ok(GlucoseValues {
        value,
        context,
        user_time,
    })
}

fn checked_raw(raw: &[u8]) -> Result<Vec<u8>, RecordError> {
    if raw.len() > MAX_VALUE {
        return Err(RecordError::TooLong { length: raw.len() });
    }
    Ok(raw.to_vec())
}

fn number(mantissa: i64, exponent: i32) -> MedFloat {
    MedFloat::Number(Decimal::new(mantissa, exponent))
}

/// The attribute table of a meter: its own service, its clock, Device Information, its battery.
pub(crate) fn profile(
    service: Uuid16,
    mut characteristics: Vec<(Uuid16, Access)>,
    clock: ClockService,
    battery: Option<u8>,
) -> Profile {
    let mut services = Vec::new();
    if clock == ClockService::DateTime {
        characteristics.push((uuid16::DATE_TIME, Access::READ));
    }
    services.push((service, characteristics));
    if clock == ClockService::CurrentTime {
        services.push((uuid16::CURRENT_TIME_SERVICE, vec![(uuid16::CURRENT_TIME, Access::READ)]));
    }
    let information = [
        uuid16::MANUFACTURER_NAME,
        uuid16::MODEL_NUMBER,
        uuid16::SERIAL_NUMBER,
        uuid16::FIRMWARE_REVISION,
    ];
    services.push((
        uuid16::DEVICE_INFORMATION_SERVICE,
        information.into_iter().map(|uuid| (uuid, Access::READ)).collect(),
    ));
    if battery.is_some() {
        services.push((uuid16::BATTERY_SERVICE, vec![(uuid16::BATTERY_LEVEL, Access::READ)]));
    }
    Profile::new(&services)
}

/// The value of a characteristic that is the same on every meter.
pub(crate) fn read_common(
    identity: &Identity,
    clock: MeterClock,
    now: SimTime,
    battery: Option<u8>,
    characteristic: Uuid16,
) -> Option<Vec<u8>> {
    let text = |text: &String| Some(text.clone().into_bytes());
    match characteristic {
        uuid16::MANUFACTURER_NAME => text(&identity.manufacturer),
        uuid16::MODEL_NUMBER => text(&identity.model),
        uuid16::SERIAL_NUMBER => text(&identity.serial),
        uuid16::FIRMWARE_REVISION => text(&identity.firmware),
        uuid16::BATTERY_LEVEL => battery.map(|charge| vec![charge]),
        uuid16::DATE_TIME => clock.date_time(now).encode().ok(),
        uuid16::CURRENT_TIME => current_time(clock, now).encode().ok(),
        _ => None,
    }
}

fn current_time(clock: MeterClock, now: SimTime) -> CurrentTime {
    let day_of_week = clock
        .read(now)
        .and_then(|local| u8::try_from(local.weekday().number_from_monday()).ok());
    CurrentTime {
        time: clock.date_time(now),
        day_of_week,
        fractions256: 0,
        adjust: AdjustReason::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> MeterClock {
        MeterClock::showing("2026-03-01T08:30:00".parse().unwrap(), SimTime::ZERO)
    }

    #[test]
    fn a_reading_in_mmhg_decodes_to_what_was_measured() {
        let measurement = CuffMeasurement {
            systolic_mmhg: 128,
            diastolic_mmhg: 82,
            pulse: Some(71),
            slot: Some(2),
            ..CuffMeasurement::default()
        };
        let bytes = cuff_value(&measurement, CuffUnit::Mmhg, Some(&clock()), SimTime::ZERO).unwrap();
        let decoded = blood_pressure::Measurement::decode(&bytes).unwrap().value;
        assert_eq!(decoded.systolic_mmhg(), Some(Decimal::new(128, 0)));
        assert_eq!(decoded.user_id, Some(blood_pressure::UserId::Known(2)));
        assert_eq!(decoded.timestamp, Some(DateTime::new(2026, 3, 1, 8, 30, 0)));
        assert_eq!(decoded.map, MedFloat::NaN);
    }

    #[test]
    fn a_reading_in_kpa_is_rounded_to_the_nearest_tenth() {
        // 120 mmHg = 15.9987 kPa, 80 mmHg = 10.6658 kPa.
        assert_eq!((tenths_of_kpa(120), tenths_of_kpa(80), tenths_of_kpa(0)), (160, 107, 0));
    }

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
    fn a_value_that_does_not_fit_is_an_error_and_raw_bytes_always_fit_up_to_an_attribute() {
        let wide = CuffMeasurement {
            systolic_mmhg: 20_001,
            ..CuffMeasurement::default()
        };
        assert!(matches!(
            cuff_value(&wide, CuffUnit::Mmhg, None, SimTime::ZERO),
            Err(RecordError::Unencodable(_))
        ));
        let raw = CuffMeasurement {
            raw: Some(vec![0xFF; 513]),
            ..CuffMeasurement::default()
        };
        assert_eq!(
            cuff_value(&raw, CuffUnit::Mmhg, None, SimTime::ZERO),
            Err(RecordError::TooLong { length: 513 })
        );
        let raw = CuffMeasurement {
            raw: Some(vec![0xFF; 3]),
            ..CuffMeasurement::default()
        };
        assert_eq!(cuff_value(&raw, CuffUnit::Mmhg, None, SimTime::ZERO), Ok(vec![0xFF; 3]));
    }

    #[test]
    fn a_context_carries_the_sequence_number_of_its_measurement() {
        let measurement = GlucoseMeasurement {
            concentration: Some(Concentration::MgPerDl(95)),
            meal: Some(3),
            ..GlucoseMeasurement::default()
        };
        let values = glucose_values(&measurement, 700, GlucoseUnit::KgPerL, &clock(), SimTime::ZERO).unwrap();
        let record = glucose::Measurement::decode(&values.value).unwrap().value;
        let context = Context::decode(&values.context.unwrap()).unwrap().value;
        assert!(record.context_follows);
        assert_eq!((record.sequence, context.sequence), (700, 700));
        assert_eq!(context.meal, Some(Meal::Fasting));
    }
}
