//! Every characteristic: arbitrary bytes never panic, what decodes encodes to the same bytes, what encodes decodes to
//! the same value, and every line about it is JSON.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use carepost_gatt::battery::BatteryLevel;
use carepost_gatt::blood_pressure::{self, IntermediateCuffPressure, PressureUnit, UserId};
use carepost_gatt::current_time::{AdjustReason, CurrentTime};
use carepost_gatt::device_information::{MAX_TEXT_BYTES, Text};
use carepost_gatt::enhanced::{Details, EnhancedCuffPressure, EnhancedMeasurement, Epoch, RecordSegment};
use carepost_gatt::glucose::{
    self, Carbohydrate, CarbohydrateId, Concentration, ConcentrationUnit, Exercise, ExerciseDuration, Health, Meal,
    Medication, MedicationId, MedicationUnit, SampleLocation, SampleType, Tester, TesterHealth, TimeOffset,
};
use carepost_gatt::pulse_oximeter::{Continuous, MeasurementStatus, SensorStatus, SpO2AndPulse, SpotCheck};
use carepost_gatt::racp::{self, CountWidth, OpCode, Operand, Operator, ResultCode};
use carepost_gatt::report::report;
use carepost_gatt::thermometer::{TemperatureMeasurement, TemperatureType, TemperatureUnit};
use carepost_gatt::user_control_point::{self, ResponseCode, UserControlPoint};
use carepost_gatt::vendor_clock::IsensSetClock;
use carepost_gatt::weight_scale::{BmiAndHeight, WeightMeasurement, WeightUnit, WeightValue};
use carepost_gatt::{DateTime, Decimal, DecodeError, Decoded, EncodeError, MedFloat};
use proptest::prelude::*;

mod cases;

/// All names that `report` knows.
const NAMES: [&str; 27] = [
    "2A08",
    "2A18",
    "2A19",
    "2A1C",
    "2A24",
    "2A25",
    "2A26",
    "2A27",
    "2A28",
    "2A29",
    "2A2B",
    "2A34",
    "2A35",
    "2A36",
    "2A49",
    "2A51",
    "2A52",
    "2A52-request",
    "2A5E",
    "2A5F",
    "2A9D",
    "2A9F",
    "2B34",
    "2B35",
    "2B36",
    "SFLOAT",
    "FLOAT",
];

/// Packets of every length up to beyond the longest layout, and some as long as an attribute.
fn packet() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        9 => prop::collection::vec(any::<u8>(), 0..32),
        1 => prop::collection::vec(any::<u8>(), 0..600),
    ]
}

/// What decodes encodes to the bytes it came from, without those that trailed; `canonical` clears bits of the first
/// byte that mean nothing in their company.
fn check_bytes<T: std::fmt::Debug + PartialEq>(
    bytes: &[u8],
    canonical: impl Fn(u8) -> u8,
    decode: impl Fn(&[u8]) -> Result<Decoded<T>, DecodeError>,
    encode: impl Fn(&T) -> Result<Vec<u8>, EncodeError>,
) -> Result<(), TestCaseError> {
    let mut bytes = bytes.to_vec();
    if let Some(first) = bytes.first_mut() {
        *first = canonical(*first);
    }
    match decode(&bytes) {
        Ok(decoded) => {
            let used = bytes.len() - decoded.trailing_bytes;
            let encoded = encode(&decoded.value).unwrap();
            prop_assert_eq!(&encoded, &bytes[..used]);
            let again = decode(&encoded).unwrap();
            prop_assert_eq!(again.value, decoded.value);
            prop_assert_eq!(again.trailing_bytes, 0);
        }
        Err(DecodeError::TooShort { need, got }) => {
            prop_assert_eq!(got, bytes.len());
            prop_assert!(need > got);
        }
        Err(_) => {}
    }
    Ok(())
}

/// What encodes decodes to the same value.
fn check_value<T: std::fmt::Debug + PartialEq>(
    value: &T,
    decode: impl Fn(&[u8]) -> Result<Decoded<T>, DecodeError>,
    encode: impl Fn(&T) -> Result<Vec<u8>, EncodeError>,
) -> Result<(), TestCaseError> {
    if let Ok(bytes) = encode(value) {
        let decoded = decode(&bytes).unwrap();
        prop_assert_eq!(&decoded.value, value);
        prop_assert_eq!(decoded.trailing_bytes, 0);
    }
    Ok(())
}

macro_rules! check_both {
    ($name:ident, $type:ty, $strategy:expr, $canonical:expr) => {
        proptest! {
            #![proptest_config(cases::config(1_000))]
            #[test]
            fn $name(bytes in packet(), value in $strategy) {
                check_bytes(&bytes, $canonical, <$type>::decode, <$type>::encode)?;
                check_value(&value, <$type>::decode, <$type>::encode)?;
            }
        }
    };
}

fn any_first_byte(first: u8) -> u8 {
    first
}

fn med_float() -> impl Strategy<Value = MedFloat> {
    prop_oneof![
        6 => (-2100_i64..2100, -9_i32..9).prop_map(|(m, e)| MedFloat::Number(Decimal::new(m, e))),
        1 => prop::sample::select(vec![
            MedFloat::NaN,
            MedFloat::NRes,
            MedFloat::PosInf,
            MedFloat::NegInf,
            MedFloat::Reserved,
        ]),
    ]
}

fn date_time() -> impl Strategy<Value = DateTime> {
    let year = prop::option::of(prop_oneof![0_u16..3, 1500_u16..3000, any::<u16>()]);
    let part = || prop::option::of(0_u8..40);
    (year, part(), part(), any::<[u8; 3]>()).prop_map(|(year, month, day, [hour, minute, second])| DateTime {
        year,
        month,
        day,
        hour,
        minute,
        second,
    })
}

fn unit() -> impl Strategy<Value = PressureUnit> {
    prop::sample::select(vec![PressureUnit::MmHg, PressureUnit::KPa])
}

fn user_id() -> impl Strategy<Value = UserId> {
    prop_oneof![Just(UserId::Unknown), any::<u8>().prop_map(UserId::Known)]
}

fn rfu(mask: u8) -> impl Strategy<Value = u8> {
    prop_oneof![
        9 => any::<u8>().prop_map(move |byte| byte & mask),
        1 => any::<u8>(),
    ]
}

fn bp_measurement() -> impl Strategy<Value = blood_pressure::Measurement> {
    (
        unit(),
        [med_float(), med_float(), med_float()],
        prop::option::of(date_time()),
        prop::option::of(med_float()),
        prop::option::of(user_id()),
        prop::option::of(any::<u16>().prop_map(blood_pressure::Status)),
        rfu(0xE0),
    )
        .prop_map(
            |(unit, [systolic, diastolic, map], timestamp, pulse, user_id, status, rfu_flags)| {
                blood_pressure::Measurement {
                    unit,
                    systolic,
                    diastolic,
                    map,
                    timestamp,
                    pulse,
                    user_id,
                    status,
                    rfu_flags,
                }
            },
        )
}

fn cuff_pressure() -> impl Strategy<Value = IntermediateCuffPressure> {
    bp_measurement().prop_map(|m| IntermediateCuffPressure {
        unit: m.unit,
        cuff_pressure: m.systolic,
        unused: [m.diastolic, m.map],
        timestamp: m.timestamp,
        pulse: m.pulse,
        user_id: m.user_id,
        status: m.status,
        rfu_flags: m.rfu_flags,
    })
}

fn details() -> impl Strategy<Value = Details> {
    (
        prop::sample::select(vec![Epoch::Year1900, Epoch::Year2000]),
        prop::option::of(any::<u32>()),
        bp_measurement(),
        prop::option::of(any::<u32>()),
        rfu(0x80),
    )
        .prop_map(|(epoch, timestamp_s, bp, user_facing_time_s, rfu_flags)| Details {
            epoch,
            timestamp_s,
            pulse: bp.pulse,
            user_id: bp.user_id,
            status: bp.status,
            user_facing_time_s,
            rfu_flags,
        })
}

fn enhanced_measurement() -> impl Strategy<Value = EnhancedMeasurement> {
    (bp_measurement(), details()).prop_map(|(bp, details)| EnhancedMeasurement {
        unit: bp.unit,
        systolic: bp.systolic,
        diastolic: bp.diastolic,
        map: bp.map,
        details,
    })
}

fn enhanced_cuff_pressure() -> impl Strategy<Value = EnhancedCuffPressure> {
    (unit(), med_float(), details()).prop_map(|(unit, cuff_pressure, details)| EnhancedCuffPressure {
        unit,
        cuff_pressure,
        details,
    })
}

fn record_segment() -> impl Strategy<Value = RecordSegment> {
    (
        any::<[bool; 2]>(),
        0_u8..70,
        any::<[u16; 2]>(),
        prop::collection::vec(any::<u8>(), 0..40),
    )
        .prop_map(|([first, last], counter, [sequence, uuid], payload)| RecordSegment {
            first,
            last,
            counter,
            sequence,
            uuid,
            payload,
        })
}

fn glucose_measurement() -> impl Strategy<Value = glucose::Measurement> {
    let offset = prop_oneof![
        Just(TimeOffset::Overrun),
        Just(TimeOffset::Underrun),
        any::<i16>().prop_map(TimeOffset::Minutes),
        Just(TimeOffset::Minutes(i16::MAX)),
    ];
    let concentration = (any::<bool>(), med_float(), 0_u8..20, 0_u8..20, any::<bool>()).prop_map(
        |(mol, value, sample_type, location, unknown)| Concentration {
            unit: if mol {
                ConcentrationUnit::MolPerL
            } else {
                ConcentrationUnit::KgPerL
            },
            value,
            sample_type: if unknown {
                SampleType::Unknown(sample_type)
            } else {
                SampleType::from_code(sample_type)
            },
            sample_location: SampleLocation::from_code(location),
        },
    );
    (
        any::<u16>(),
        date_time(),
        prop::option::of(offset),
        prop::option::of(concentration),
        prop::option::of(any::<u16>().prop_map(glucose::Status)),
        any::<bool>(),
        rfu(0xE0),
    )
        .prop_map(
            |(sequence, base_time, time_offset, concentration, status, context_follows, rfu_flags)| {
                glucose::Measurement {
                    sequence,
                    base_time,
                    time_offset,
                    concentration,
                    status,
                    context_follows,
                    rfu_flags,
                }
            },
        )
}

fn context() -> impl Strategy<Value = glucose::Context> {
    let carbohydrate = (0_u8..10, med_float()).prop_map(|(id, kg)| Carbohydrate {
        id: CarbohydrateId::from_code(id),
        kg,
    });
    let tester_health = (0_u8..18, 0_u8..18).prop_map(|(tester, health)| TesterHealth {
        tester: Tester::from_code(tester),
        health: Health::from_code(health),
    });
    let exercise = (any::<u16>(), any::<bool>(), any::<u8>()).prop_map(|(seconds, overrun, intensity_pct)| Exercise {
        duration: if overrun {
            ExerciseDuration::Overrun
        } else {
            ExerciseDuration::Seconds(seconds)
        },
        intensity_pct,
    });
    let medication = (any::<u8>(), any::<bool>(), med_float()).prop_map(|(id, litres, value)| Medication {
        id: MedicationId::from_code(id),
        unit: if litres { MedicationUnit::L } else { MedicationUnit::Kg },
        value,
    });
    let meal = prop_oneof![
        any::<u8>().prop_map(Meal::from_code),
        any::<u8>().prop_map(Meal::Unknown)
    ];
    (
        any::<u16>(),
        prop::option::of(any::<u8>()),
        prop::option::of(carbohydrate),
        prop::option::of(meal),
        prop::option::of(tester_health),
        prop::option::of(exercise),
        prop::option::of(medication),
        prop::option::of(med_float()),
    )
        .prop_map(
            |(sequence, extended_flags, carbohydrate, meal, tester_health, exercise, medication, hba1c_pct)| {
                glucose::Context {
                    sequence,
                    extended_flags,
                    carbohydrate,
                    meal,
                    tester_health,
                    exercise,
                    medication,
                    hba1c_pct,
                }
            },
        )
}

fn racp_request() -> impl Strategy<Value = racp::Request> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..12);
    let operand = prop_oneof![
        Just(Operand::None),
        prop::collection::vec(any::<u16>(), 0..4).prop_map(Operand::Sequence),
        prop::collection::vec(date_time(), 0..4).prop_map(Operand::UserFacingTime),
        (0_u8..5, bytes()).prop_map(|(filter, bytes)| Operand::Other { filter, bytes }),
    ];
    let op = prop_oneof![
        any::<u8>().prop_map(OpCode::from_code),
        (0_u8..9).prop_map(OpCode::from_code),
        (0_u8..9).prop_map(OpCode::Unknown)
    ];
    let operator = prop_oneof![
        any::<u8>().prop_map(Operator::from_code),
        (0_u8..8).prop_map(Operator::from_code)
    ];
    (op, operator, operand).prop_map(|(op, operator, operand)| racp::Request { op, operator, operand })
}

fn racp_response() -> impl Strategy<Value = racp::Response> {
    let width = || prop::sample::select(vec![CountWidth::One, CountWidth::Two, CountWidth::Four]);
    let count = || prop_oneof![0_u32..300, any::<u32>()];
    prop_oneof![
        (count(), width()).prop_map(|(count, width)| racp::Response::Number { count, width }),
        (count(), width()).prop_map(|(count, width)| racp::Response::CombinedReport { count, width }),
        (any::<u8>(), any::<u8>()).prop_map(|(op, code)| racp::Response::Result {
            request_op: OpCode::from_code(op),
            code: ResultCode::from_code(code),
        }),
    ]
}

fn user_control_point() -> impl Strategy<Value = UserControlPoint> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..12);
    prop_oneof![
        any::<u16>().prop_map(|consent_code| UserControlPoint::RegisterNewUser { consent_code }),
        (any::<u8>(), any::<u16>()).prop_map(|(user_index, consent_code)| {
            UserControlPoint::Consent {
                user_index,
                consent_code,
            }
        }),
        Just(UserControlPoint::DeleteUserData),
        Just(UserControlPoint::ListAllUsers),
        any::<u8>().prop_map(|user_index| UserControlPoint::DeleteUsers { user_index }),
        (any::<u8>(), bytes()).prop_map(|(op, parameter)| UserControlPoint::UnknownRequest { op, parameter }),
        (any::<u8>(), any::<u8>(), bytes()).prop_map(|(op, code, parameter)| {
            UserControlPoint::Response {
                request_op: user_control_point::OpCode::from_code(op),
                code: ResponseCode::from_code(code),
                parameter,
            }
        }),
    ]
}

fn weight() -> impl Strategy<Value = WeightMeasurement> {
    (
        prop::sample::select(vec![WeightUnit::Kg, WeightUnit::Lb]),
        prop_oneof![
            Just(WeightValue::Unsuccessful),
            any::<u16>().prop_map(WeightValue::Steps),
            Just(WeightValue::Steps(u16::MAX)),
        ],
        prop::option::of(date_time()),
        prop::option::of(user_id()),
        prop::option::of(any::<[u16; 2]>()),
        rfu(0xF0),
    )
        .prop_map(
            |(unit, weight, timestamp, user_id, both, rfu_flags)| WeightMeasurement {
                unit,
                weight,
                timestamp,
                user_id,
                bmi_and_height: both.map(|[bmi_tenths, height_steps]| BmiAndHeight {
                    bmi_tenths,
                    height_steps,
                }),
                rfu_flags,
            },
        )
}

/// FLOAT holds more digits than SFLOAT.
fn long_float() -> impl Strategy<Value = MedFloat> {
    prop_oneof![
        2 => (-8_400_000_i64..8_400_000, -130_i32..130).prop_map(|(m, e)| MedFloat::Number(Decimal::new(m, e))),
        1 => med_float(),
    ]
}

fn temperature() -> impl Strategy<Value = TemperatureMeasurement> {
    (
        prop::sample::select(vec![TemperatureUnit::Celsius, TemperatureUnit::Fahrenheit]),
        long_float(),
        prop::option::of(date_time()),
        prop::option::of(prop_oneof![
            any::<u8>().prop_map(TemperatureType::from_code),
            (0_u8..12).prop_map(TemperatureType::Unknown)
        ]),
        rfu(0xF8),
    )
        .prop_map(
            |(unit, temperature, timestamp, temperature_type, rfu_flags)| TemperatureMeasurement {
                unit,
                temperature,
                timestamp,
                temperature_type,
                rfu_flags,
            },
        )
}

fn spo2() -> impl Strategy<Value = SpO2AndPulse> {
    [med_float(), med_float()].prop_map(|[spo2_pct, pulse]| SpO2AndPulse { spo2_pct, pulse })
}

type PlxTail = (Option<MeasurementStatus>, Option<SensorStatus>, Option<MedFloat>);

fn plx_tail() -> impl Strategy<Value = PlxTail> {
    (
        prop::option::of(any::<u16>().prop_map(MeasurementStatus)),
        prop::option::of(prop_oneof![0_u32..0x0120_0000, any::<u32>()].prop_map(SensorStatus)),
        prop::option::of(med_float()),
    )
}

fn spot_check() -> impl Strategy<Value = SpotCheck> {
    (
        spo2(),
        prop::option::of(date_time()),
        any::<bool>(),
        plx_tail(),
        rfu(0xE0),
    )
        .prop_map(|(values, timestamp, clock_not_set, tail, rfu_flags)| SpotCheck {
            values,
            timestamp,
            clock_not_set,
            measurement_status: tail.0,
            sensor_status: tail.1,
            pulse_amplitude_pct: tail.2,
            rfu_flags,
        })
}

fn continuous() -> impl Strategy<Value = Continuous> {
    (
        spo2(),
        prop::option::of(spo2()),
        prop::option::of(spo2()),
        plx_tail(),
        rfu(0xE0),
    )
        .prop_map(|(normal, fast, slow, tail, rfu_flags)| Continuous {
            normal,
            fast,
            slow,
            measurement_status: tail.0,
            sensor_status: tail.1,
            pulse_amplitude_pct: tail.2,
            rfu_flags,
        })
}

fn current_time() -> impl Strategy<Value = CurrentTime> {
    (date_time(), prop::option::of(any::<u8>()), any::<[u8; 2]>()).prop_map(
        |(time, day_of_week, [fractions256, adjust])| CurrentTime {
            time,
            day_of_week,
            fractions256,
            adjust: AdjustReason(adjust),
        },
    )
}

check_both!(
    blood_pressure_measurements,
    blood_pressure::Measurement,
    bp_measurement(),
    any_first_byte
);
check_both!(
    intermediate_cuff_pressures,
    IntermediateCuffPressure,
    cuff_pressure(),
    any_first_byte
);
check_both!(
    blood_pressure_features,
    blood_pressure::Feature,
    any::<u16>().prop_map(blood_pressure::Feature),
    any_first_byte
);
check_both!(
    enhanced_measurements,
    EnhancedMeasurement,
    enhanced_measurement(),
    any_first_byte
);
check_both!(
    enhanced_cuff_pressures,
    EnhancedCuffPressure,
    enhanced_cuff_pressure(),
    any_first_byte
);
check_both!(record_segments, RecordSegment, record_segment(), any_first_byte);
check_both!(
    glucose_measurements,
    glucose::Measurement,
    glucose_measurement(),
    // The unit bit means nothing without a concentration.
    |flags: u8| if flags & 2 == 0 { flags & !4 } else { flags }
);
check_both!(
    glucose_contexts,
    glucose::Context,
    context(),
    // The unit bit means nothing without a medication.
    |flags: u8| if flags & 0x10 == 0 { flags & !0x20 } else { flags }
);
check_both!(
    glucose_features,
    glucose::Feature,
    any::<u16>().prop_map(glucose::Feature),
    any_first_byte
);
check_both!(weights, WeightMeasurement, weight(), any_first_byte);
check_both!(temperatures, TemperatureMeasurement, temperature(), any_first_byte);
check_both!(spot_checks, SpotCheck, spot_check(), any_first_byte);
check_both!(continuous_saturations, Continuous, continuous(), any_first_byte);
check_both!(racp_requests, racp::Request, racp_request(), |op: u8| op % 9);
check_both!(racp_responses, racp::Response, racp_response(), |op: u8| op % 9);
check_both!(user_control_points, UserControlPoint, user_control_point(), |op: u8| op
    % 0x22);
check_both!(
    isens_clocks,
    IsensSetClock,
    date_time().prop_map(|time| IsensSetClock { time }),
    any_first_byte
);
check_both!(date_times, DateTime, date_time(), any_first_byte);
check_both!(current_times, CurrentTime, current_time(), any_first_byte);
check_both!(
    battery_levels,
    BatteryLevel,
    any::<u8>().prop_map(BatteryLevel),
    any_first_byte
);

proptest! {
    #![proptest_config(cases::config(2_000))]

    #[test]
    fn every_line_is_json(bytes in packet(), op in 0_u8..9) {
        let mut like_an_answer = bytes.clone();
        if let [first, second, ..] = like_an_answer.as_mut_slice() {
            *first = op;
            *second %= 2;
        }
        for bytes in [bytes, like_an_answer] {
            for name in NAMES {
                let line = report(name, &bytes).unwrap();
                let value: serde_json::Value = serde_json::from_str(&line.json)
                    .map_err(|error| TestCaseError::fail(format!("{name}: {error}: {}", line.json)))?;
                prop_assert_eq!(&value["ok"], line.ok);
                prop_assert_eq!(value.get("error").is_some(), !line.ok);
                prop_assert!(!line.json.chars().any(char::is_control));
            }
        }
    }

    #[test]
    fn names_and_hex_of_any_text_are_survived(text in any::<String>(), bytes in packet()) {
        let known = report(&text, &bytes).is_ok();
        prop_assert!(!known || text.trim().len() >= 4);
        if let Ok(bytes) = carepost_gatt::report::parse_hex(&text) {
            prop_assert!(bytes.len() <= text.len());
        }
    }

    #[test]
    fn hex_round_trips(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let text: String = bytes.iter().map(|byte| format!("{byte:02x} ")).collect();
        prop_assert_eq!(carepost_gatt::report::parse_hex(&text), Ok(bytes));
    }

    #[test]
    fn texts_are_bounded_and_stable(bytes in packet(), text in any::<String>()) {
        let decoded = Text::decode(&bytes).unwrap();
        prop_assert!(decoded.value.0.len() <= MAX_TEXT_BYTES);
        prop_assert!(!decoded.value.0.contains('\0'));
        check_value(&decoded.value, Text::decode, Text::encode)?;
        prop_assert!(decoded.value.encode().is_ok());
        check_value(&Text(text), Text::decode, Text::encode)?;
    }
}

/// Full packets, of which every shorter one is refused with the length that the flags ask for.
#[test]
fn every_truncation_is_refused() {
    type Refusal = fn(&[u8]) -> Option<DecodeError>;
    let check = |packet: &[u8], refusal: Refusal| {
        assert_eq!(refusal(packet), None, "{packet:02X?}");
        for got in 1..packet.len() {
            assert_eq!(
                refusal(&packet[..got]),
                Some(DecodeError::TooShort {
                    need: packet.len(),
                    got
                })
            );
        }
        assert!(refusal(&[]).is_some());
    };
    check(&[0x1F; 19], |b| blood_pressure::Measurement::decode(b).err());
    check(&[0x1F; 19], |b| IntermediateCuffPressure::decode(b).err());
    check(&[0x3F; 20], |b| EnhancedMeasurement::decode(b).err());
    check(&[0x3F; 16], |b| EnhancedCuffPressure::decode(b).err());
    check(&[0x0F; 17], |b| glucose::Measurement::decode(b).err());
    check(&[0xFF; 17], |b| glucose::Context::decode(b).err());
    check(&[0xFF; 2], |b| glucose::Feature::decode(b).err());
    check(&[0xFF; 2], |b| blood_pressure::Feature::decode(b).err());
    check(&[0xFF; 5], |b| RecordSegment::decode(b).err());
    check(&[0xFF; 7], |b| DateTime::decode(b).err());
    check(&[0xFF; 10], |b| CurrentTime::decode(b).err());
    check(&[0x0F; 15], |b| WeightMeasurement::decode(b).err());
    check(&[0x07; 13], |b| TemperatureMeasurement::decode(b).err());
    check(&[0x1F; 19], |b| SpotCheck::decode(b).err());
    check(&[0x1F; 20], |b| Continuous::decode(b).err());
    check(&[0x1F; 19], |b| {
        blood_pressure::Measurement::decode_big_endian_tail(b).err()
    });
    check(&[0xC0, 3, 1, 0, 1, 1, 1, 1, 1, 1, 1], |b| {
        IsensSetClock::decode(b).err()
    });
    check(&[6, 0, 1, 1], |b| racp::Response::decode(b).err());
    check(&[5, 0, 1], |b| racp::Response::decode(b).err());
    check(&[2, 1, 1, 1], |b| UserControlPoint::decode(b).err());
}

#[test]
fn values_without_a_place_are_not_encoded() {
    let bp = blood_pressure::Measurement {
        unit: PressureUnit::MmHg,
        systolic: MedFloat::Number(Decimal::new(120, 0)),
        diastolic: MedFloat::Number(Decimal::new(80, 0)),
        map: MedFloat::NaN,
        timestamp: None,
        pulse: None,
        user_id: None,
        status: None,
        rfu_flags: 0,
    };
    assert_eq!(bp.encode().unwrap(), [0, 0x78, 0, 0x50, 0, 0xFF, 0x07]);
    let with_user = blood_pressure::Measurement {
        user_id: Some(UserId::Known(255)),
        ..bp
    };
    assert_eq!(with_user.encode(), Err(EncodeError::OutOfRange { field: "user_id" }));
    let with_rfu = blood_pressure::Measurement { rfu_flags: 1, ..bp };
    assert_eq!(with_rfu.encode(), Err(EncodeError::OutOfRange { field: "rfu_flags" }));
    let too_fine = blood_pressure::Measurement {
        systolic: MedFloat::Number(Decimal::new(120_001, -3)),
        ..bp
    };
    assert_eq!(
        too_fine.encode(),
        Err(EncodeError::NotRepresentable { format: "SFLOAT" })
    );
}

#[test]
fn requests_are_judged_as_a_meter_judges_them() {
    let check = |hex: &str, expected: Result<(), ResultCode>| {
        let bytes = carepost_gatt::report::parse_hex(hex).unwrap();
        let request = racp::Request::decode(&bytes).unwrap().value;
        assert_eq!(request.check(), expected, "{hex}");
    };
    check("0101", Ok(()));
    check("0106", Ok(()));
    check("0401", Ok(()));
    check("0300", Ok(()));
    check("0103010C00", Ok(()));
    check("0104010A000B00", Ok(()));
    check("0104010A000A00", Ok(()));
    check("0104010B000A00", Err(ResultCode::InvalidOperand));
    check("0104010B00", Err(ResultCode::InvalidOperand));
    check("0103010A000B00", Err(ResultCode::InvalidOperand));
    check("0103", Err(ResultCode::InvalidOperand));
    check("010301", Err(ResultCode::InvalidOperand));
    check("0103020000000000000A", Err(ResultCode::InvalidOperand));
    check("010302EA070A0F071E00", Ok(()));
    check("0103070C00", Err(ResultCode::OperandNotSupported));
    check("0101010C00", Err(ResultCode::InvalidOperand));
    check("0100", Err(ResultCode::InvalidOperator));
    check("0301", Err(ResultCode::InvalidOperator));
    check("0107", Err(ResultCode::OperatorNotSupported));
    check("0B01", Err(ResultCode::OpCodeNotSupported));
    check("0701", Err(ResultCode::OpCodeNotSupported));
}

#[test]
fn control_solution_is_seen_in_either_nibble() {
    let check = |type_location: u8, expected: bool| {
        let packet = [2, 0, 0, 0xEA, 7, 10, 15, 7, 30, 0, 0x64, 0xB0, type_location];
        let measurement = glucose::Measurement::decode(&packet).unwrap().value;
        assert_eq!(measurement.is_control_solution(), expected);
        assert_eq!(measurement.mg_per_dl(), Some(Decimal::new(100, 0)));
        assert_eq!(measurement.mmol_per_l(), Some(Decimal::new(5_551, -3)));
    };
    check(0x11, false);
    check(0x1A, true);
    check(0x41, true);
    check(0x4A, true);
    check(0xA1, false);
    check(0x14, false);
}

/// Packets laid out by hand from the field tables of 2A9D, 2A1C, 2A5E and 2A5F.
#[test]
fn weight_temperature_and_saturation_are_told_in_one_line() {
    let check = |name: &str, hex: &str, expected: &str| {
        let bytes = carepost_gatt::report::parse_hex(hex).unwrap();
        assert_eq!(report(name, &bytes).unwrap().json, expected);
    };
    let noon = r#"{"year":2026,"month":10,"day":15,"hour":12,"minute":0,"second":0,"valid_calendar":true}"#;
    check(
        "2A9D",
        "0E 8438 EA070A0F0C0000 02 EB00 AE06",
        &format!(
            r#"{{"ok":true,"unit":"kg","weight":72.34,"timestamp":{noon},"user_id":2,"bmi":23.5,"height_m":1.71}}"#
        ),
    );
    check("2A9D", "01 103E", r#"{"ok":true,"unit":"lb","weight":158.88}"#);
    check(
        "2A9D",
        "14 FFFF FF 00",
        r#"{"ok":true,"unit":"kg","weight":"unsuccessful","user_id":"unknown","rfu_flags":16,"trailing_bytes":1,"note":"not a reading: the measurement was not successful"}"#,
    );
    check(
        "2A1C",
        "06 6F0100FF EA070A0F0C0000 09",
        &format!(r#"{{"ok":true,"unit":"C","temperature":36.7,"timestamp":{noon},"type":"tympanum"}}"#),
    );
    check("2A1C", "01 DA0300FF", r#"{"ok":true,"unit":"F","temperature":98.6}"#);
    check(
        "2A1C",
        "04 FFFF7F00 0A",
        r#"{"ok":true,"unit":"C","temperature":"NaN","type":"reserved_10","note":"not a reading: the temperature is not a number"}"#,
    );
    check(
        "2A5E",
        "1F 6200 4800 EA070A0F0C0000 2041 200001 3CF0",
        &format!(
            r#"{{"ok":true,"spo2":98,"pulse":72,"timestamp":{noon},"clock_not_set":true,"measurement_status":{{"raw":16672,"flags":["measurement_ongoing","fully_qualified","questionable"]}},"sensor_status":{{"raw":65568,"flags":["low_perfusion"],"rfu_bits":65536}},"pulse_amplitude_index":6,"note":"date not known: clock not set"}}"#
        ),
    );
    check(
        "2A5F",
        "03 6100 4600 6200 4700 FF07 FF07",
        r#"{"ok":true,"spo2":97,"pulse":70,"fast":{"spo2":98,"pulse":71},"slow":{"spo2":"NaN","pulse":"NaN"}}"#,
    );
    check("2A5E", "00 FF", r#"{"ok":false,"error":"too_short","need":5,"got":2}"#);
}

/// The three rows of `vectors.csv` with quirk `beurer_be_tail`.
#[test]
fn a_tail_with_its_high_bytes_first_is_read_on_demand() {
    let check = |hex: &str, pulse: i64, user: u8, status: u16| {
        let bytes = carepost_gatt::report::parse_hex(hex).unwrap();
        let decoded = blood_pressure::Measurement::decode_big_endian_tail(&bytes).unwrap();
        assert_eq!(decoded.trailing_bytes, 0);
        assert_eq!(decoded.value.pulse, Some(MedFloat::Number(Decimal::new(pulse, 0))));
        assert_eq!(decoded.value.user_id, Some(UserId::Known(user)));
        assert_eq!(decoded.value.status, Some(blood_pressure::Status(status)));
        assert_eq!(decoded.value.rfu_flags, 0x40);
        let standard = blood_pressure::Measurement::decode(&bytes).unwrap().value;
        assert_eq!(decoded.value.systolic, standard.systolic);
        assert_eq!(decoded.value.timestamp, standard.timestamp);
    };
    check("56710049000000EA07080B1438000041010000", 65, 1, 0);
    check("56770046000000EA07080B1439000057010040", 87, 1, 64);
    check("56760050000000EA07080B141B00003C000004", 60, 0, 4);
}

#[test]
fn the_frame_that_sets_an_isens_clock_is_read_and_no_other() {
    let frame = carepost_gatt::report::parse_hex("C0030100 EA070A0F071E00").unwrap();
    let time = DateTime::new(2026, 10, 15, 7, 30, 0);
    assert_eq!(IsensSetClock::decode(&frame).unwrap().value, IsensSetClock { time });
    assert_eq!(IsensSetClock { time }.encode().unwrap(), frame);
    for index in 0..4 {
        let mut other = frame.clone();
        other[index] ^= 0x10;
        let got = other[index];
        assert_eq!(IsensSetClock::decode(&other), Err(DecodeError::UnknownFrame { got }));
    }
}

#[test]
fn names_of_devices_lose_their_padding() {
    let check = |bytes: &[u8], expected: &str| {
        assert_eq!(Text::decode(bytes).unwrap().value.0, expected);
    };
    check(b"Roche\0\0\0", "Roche");
    check(b" HEM-7155T \r\n", "HEM-7155T");
    check(b"UA-651BLE\0garbage", "UA-651BLE");
    check("鱼跃".as_bytes(), "鱼跃");
    check(b"A\xFFB", "A\u{FFFD}B");
    check(b"", "");
    assert_eq!(Text::decode(&[b'x'; 200]).unwrap().trailing_bytes, 72);
}
