//! Every value that a meter can send, and the texts by which people name and write such values.
//!
//! Promises: what decodes can be written and read again as the same value; the line about any bytes is JSON that says
//! "ok" or an error; a record that becomes a measurement lies within what a meter can measure, whatever the bytes.

use std::fmt::Debug;

use carepost_domain::Id;
use carepost_domain::quarantine::Reason;
use carepost_domain::quirks::DecodeQuirks;
use carepost_domain::reading::Measurement;
use carepost_domain::record::{Packet, decode};
use carepost_domain::units::{GlucoseLevel, Pressure};
use carepost_gatt::battery::BatteryLevel;
use carepost_gatt::blood_pressure::{self, IntermediateCuffPressure};
use carepost_gatt::current_time::CurrentTime;
use carepost_gatt::device_information::{MAX_TEXT_BYTES, Text};
use carepost_gatt::enhanced::{EnhancedCuffPressure, EnhancedMeasurement, RecordSegment};
use carepost_gatt::pulse_oximeter::{Continuous, SpotCheck};
use carepost_gatt::report::{MAX_HEX_BYTES, parse_hex, report};
use carepost_gatt::thermometer::TemperatureMeasurement;
use carepost_gatt::user_control_point::UserControlPoint;
use carepost_gatt::weight_scale::WeightMeasurement;
use carepost_gatt::{DateTime, DecodeError, Decoded, EncodeError, MedFloat, glucose, racp, uuid16};

use super::script::Script;

/// Cases, by the input's first byte. Appended to only.
const CASES: [Case; 37] = [
    Case::Line("2A35"),
    Case::Line("2A36"),
    Case::Line("2A18"),
    Case::Line("2A34"),
    Case::Line("2A52"),
    Case::Line("2A52-request"),
    Case::Line("2A49"),
    Case::Line("2A51"),
    Case::Line("2A2B"),
    Case::Line("2A08"),
    Case::Line("2A19"),
    Case::Line("2A24"),
    Case::Line("2A25"),
    Case::Line("2A26"),
    Case::Line("2A27"),
    Case::Line("2A28"),
    Case::Line("2A29"),
    Case::Line("2A9F"),
    Case::Line("2B34"),
    Case::Line("2B35"),
    Case::Line("2B36"),
    Case::Line("SFLOAT"),
    Case::Line("FLOAT"),
    Case::Record(uuid16::BLOOD_PRESSURE_MEASUREMENT),
    Case::Record(uuid16::GLUCOSE_MEASUREMENT),
    Case::Record(uuid16::GLUCOSE_CONTEXT),
    Case::AnyRecord,
    Case::Hex,
    Case::Name,
    Case::Line("2A9D"),
    Case::Line("2A1C"),
    Case::Line("2A5E"),
    Case::Line("2A5F"),
    Case::Record(uuid16::WEIGHT_MEASUREMENT),
    Case::Record(uuid16::TEMPERATURE_MEASUREMENT),
    Case::Record(uuid16::PLX_SPOT_CHECK),
    Case::BigEndianTail,
];

#[derive(Debug, Clone, Copy)]
enum Case {
    /// A value of the characteristic of that name.
    Line(&'static str),
    /// A cuff's value whose tail has its high bytes first.
    BigEndianTail,
    /// A record, judged.
    Record(u16),
    /// A record of a characteristic that the input names.
    AnyRecord,
    /// A text of hex digits.
    Hex,
    /// The name of a characteristic.
    Name,
}

/// See the module.
pub fn meter_values(data: &[u8]) {
    let mut script = Script::new(data);
    let selector = usize::from(script.u8());
    let Some(case) = CASES.get(selector % CASES.len()) else {
        return;
    };
    match case {
        Case::Line(name) => {
            let bytes = script.rest();
            line_is_sound(name, bytes);
            value_is_kept(name, bytes);
        }
        Case::BigEndianTail => {
            let bytes = script.rest();
            if let Ok(decoded) = blood_pressure::Measurement::decode_big_endian_tail(bytes) {
                assert!(decoded.trailing_bytes <= bytes.len());
            }
        }
        Case::Record(characteristic) => record(*characteristic, script),
        Case::AnyRecord => {
            let characteristic = script.u16();
            record(characteristic, script);
        }
        Case::Hex => hex(&String::from_utf8_lossy(script.rest())),
        Case::Name => {
            let bytes = script.piece();
            line_is_sound(&String::from_utf8_lossy(script.rest()), bytes);
        }
    }
}

/// What `decode` prints about the bytes.
fn line_is_sound(name: &str, bytes: &[u8]) {
    let Ok(line) = report(name, bytes) else {
        let ours = CASES
            .iter()
            .any(|case| matches!(case, Case::Line(known) if *known == name));
        assert!(!ours, "{name} is not known to `decode`");
        return;
    };
    assert!(
        !line.json.chars().any(char::is_control),
        "a control character in {:?}",
        line.json
    );
    let value: serde_json::Value = serde_json::from_str(&line.json).expect("the line about any bytes is JSON");
    assert_eq!(value["ok"], line.ok);
    assert_eq!(value["error"].is_string(), !line.ok, "an error is named, and only then");
    assert_eq!(report(name, bytes).as_ref(), Ok(&line), "the same bytes mean the same");
}

fn value_is_kept(name: &str, bytes: &[u8]) {
    match name {
        "2A35" => round_trip(
            bytes,
            blood_pressure::Measurement::decode,
            blood_pressure::Measurement::encode,
        ),
        "2A36" => round_trip(
            bytes,
            IntermediateCuffPressure::decode,
            IntermediateCuffPressure::encode,
        ),
        "2A18" => round_trip(bytes, glucose::Measurement::decode, glucose::Measurement::encode),
        "2A34" => round_trip(bytes, glucose::Context::decode, glucose::Context::encode),
        "2A52" => round_trip(bytes, racp::Response::decode, racp::Response::encode),
        "2A52-request" => round_trip(bytes, racp::Request::decode, racp::Request::encode),
        "2A49" => round_trip(bytes, blood_pressure::Feature::decode, blood_pressure::Feature::encode),
        "2A51" => round_trip(bytes, glucose::Feature::decode, glucose::Feature::encode),
        "2A2B" => round_trip(bytes, CurrentTime::decode, CurrentTime::encode),
        "2A08" => {
            round_trip(bytes, DateTime::decode, DateTime::encode);
            moment(bytes);
        }
        "2A19" => round_trip(bytes, BatteryLevel::decode, BatteryLevel::encode),
        "2A9F" => round_trip(bytes, UserControlPoint::decode, UserControlPoint::encode),
        "2B34" => round_trip(bytes, EnhancedMeasurement::decode, EnhancedMeasurement::encode),
        "2B35" => round_trip(bytes, EnhancedCuffPressure::decode, EnhancedCuffPressure::encode),
        "2B36" => round_trip(bytes, RecordSegment::decode, RecordSegment::encode),
        "2A9D" => round_trip(bytes, WeightMeasurement::decode, WeightMeasurement::encode),
        "2A1C" => round_trip(bytes, TemperatureMeasurement::decode, TemperatureMeasurement::encode),
        "2A5E" => round_trip(bytes, SpotCheck::decode, SpotCheck::encode),
        "2A5F" => round_trip(bytes, Continuous::decode, Continuous::encode),
        "SFLOAT" => sfloat(bytes),
        "FLOAT" => float(bytes),
        "2A24" | "2A25" | "2A26" | "2A27" | "2A28" | "2A29" => {
            round_trip(bytes, Text::decode, Text::encode);
            let text = Text::decode(bytes).expect("any bytes are a text").value.0;
            assert!(text.len() <= MAX_TEXT_BYTES);
            assert!(!text.contains('\0'));
        }
        _ => {}
    }
}

/// What was decoded has bytes, and they say the same.
fn round_trip<T: Debug + PartialEq>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<Decoded<T>, DecodeError>,
    encode: impl Fn(&T) -> Result<Vec<u8>, EncodeError>,
) {
    match decode(bytes) {
        Ok(decoded) => {
            assert!(decoded.trailing_bytes <= bytes.len());
            let encoded = encode(&decoded.value).expect("what was decoded has bytes");
            let again = decode(&encoded).expect("what was encoded decodes");
            assert_eq!(again.value, decoded.value);
            assert_eq!(again.trailing_bytes, 0);
        }
        Err(DecodeError::TooShort { need, got }) => {
            assert_eq!(got, bytes.len());
            assert!(need > got, "{need} bytes are needed and {got} came");
        }
        Err(error) => assert!(!error.code().is_empty()),
    }
}

fn sfloat(bytes: &[u8]) {
    let [low, high, ..] = bytes else { return };
    let value = MedFloat::from_sfloat(u16::from_le_bytes([*low, *high]));
    let word = value.to_sfloat(None).expect("what was read can be written");
    assert_eq!(MedFloat::from_sfloat(word), value);
}

fn float(bytes: &[u8]) {
    let [a, b, c, d, ..] = bytes else { return };
    let value = MedFloat::from_float(u32::from_le_bytes([*a, *b, *c, *d]));
    let word = value.to_float(None).expect("what was read can be written");
    assert_eq!(MedFloat::from_float(word), value);
}

/// Arithmetic with any date, by any number of minutes, gives a date that calendars have, or nothing.
fn moment(bytes: &[u8]) {
    let Ok(decoded) = DateTime::decode(bytes) else { return };
    let mut tail = Script::new(bytes.get(DateTime::LENGTH..).unwrap_or_default());
    let minutes = i32::from_le_bytes([tail.u8(), tail.u8(), tail.u8(), tail.u8()]);
    if let Some(later) = decoded.value.plus_minutes(minutes) {
        let (from, to) = (decoded.value.as_if_utc_ms(), later.as_if_utc_ms());
        let moved = from.zip(to).map(|(from, to)| to - from);
        assert_eq!(moved, Some(i64::from(minutes) * 60_000), "{minutes} minutes");
    }
}

/// Any combination of what entries of the quirk table can change.
pub(super) fn quirks(bits: u8) -> DecodeQuirks {
    let bit = |n: u8| bits & (1 << n) != 0;
    DecodeQuirks {
        big_endian_tail: bit(0),
        month_13_is_january: bit(1),
        ketone_meal_6: bit(2),
        phantom_year: bit(3).then_some(2037),
        id_masks_sequence: bit(4),
    }
}

/// A packet with a record, as gateway and server judge it. The first byte names quirks, the second is the length of the
/// record; what follows the record is its context, if there is any.
fn record(characteristic: u16, mut script: Script<'_>) {
    let quirks = quirks(script.u8());
    let raw = script.piece();
    let context = (!script.is_empty()).then(|| script.rest());
    let packet = Packet {
        meter: Id::from_uuid(uuid::Uuid::from_u128(1)),
        characteristic,
        raw,
        context_raw: context,
        received_at: chrono::DateTime::UNIX_EPOCH,
        nonce: 5,
        quirks,
    };
    let decoded = decode(&packet);
    assert_eq!(decode(&packet), decoded, "the same packet means the same");
    let record = match decoded {
        Ok(record) => record,
        Err(reason) => {
            assert_eq!(reason, Reason::Undecodable);
            return;
        }
    };
    assert_eq!(record.id.uuid().get_version_num(), 8);
    let elsewhere = Packet {
        meter: Id::from_uuid(uuid::Uuid::from_u128(2)),
        ..packet
    };
    assert_ne!(
        decode(&elsewhere).map(|other| other.id),
        Ok(record.id),
        "another meter's record is another reading"
    );
    if let Ok(judged) = &record.judged {
        within_reach(&judged.measurement);
    }
}

/// Whether a measurement lies within what a meter can measure. Stated here once more and on purpose: this is what a
/// person at a counter may be shown at all.
pub(super) fn within_reach(measurement: &Measurement) {
    match measurement {
        Measurement::BloodPressure(m) => {
            assert!((30..=320).contains(&m.systolic.rounded_mmhg()), "{m:?}");
            assert!((10..=250).contains(&m.diastolic.rounded_mmhg()), "{m:?}");
            assert!(m.systolic > m.diastolic, "{m:?}");
            let between = |mean: Pressure| m.diastolic <= mean && mean <= m.systolic;
            assert!(m.mean_arterial.is_none_or(between), "{m:?}");
            assert!(
                m.pulse
                    .is_none_or(|pulse| (15..=300).contains(&pulse.rounded_per_min())),
                "{m:?}"
            );
            assert_ne!(m.user_slot, Some(255), "255 is an unknown user");
        }
        Measurement::Glucose(m) => {
            if let GlucoseLevel::Value(value) = m.level {
                let milli = value.display_milli_mmol_per_l();
                assert!((100..=60_000).contains(&milli), "{m:?}");
            }
        }
        Measurement::Weight(m) => {
            assert!((500..=500_000).contains(&m.mass.display_grams()), "{m:?}");
            assert_ne!(m.user_slot, Some(255), "255 is an unknown user");
        }
        Measurement::Temperature(m) => {
            assert!((25_000..=46_000).contains(&m.degrees.display_milli_celsius()), "{m:?}");
        }
        Measurement::OxygenSaturation(m) => {
            assert!((300..=1_000).contains(&m.spo2.tenths()), "{m:?}");
            assert!(
                m.pulse
                    .is_none_or(|pulse| (15..=300).contains(&pulse.rounded_per_min())),
                "{m:?}"
            );
        }
    }
}

fn hex(text: &str) {
    if let Ok(bytes) = parse_hex(text) {
        assert!(bytes.len() <= MAX_HEX_BYTES);
        let written: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
        assert_eq!(parse_hex(&written), Ok(bytes));
    }
    if let Some(uuid) = uuid16::parse(text) {
        assert_eq!(uuid16::parse(&uuid16::to_uuid128(uuid)), Some(uuid));
    }
}
