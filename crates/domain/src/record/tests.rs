//! What bytes become, and what they do not.

use proptest::prelude::*;

use super::*;
use crate::Id;
use crate::reading::Flag;
use crate::units::{Concentration, GlucoseLevel, GlucoseUnit, Pressure, PulseRate};

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn packet(characteristic: u16, raw: &[u8]) -> Packet<'_> {
    Packet {
        meter: Id::from_uuid(uuid::Uuid::from_u128(1)),
        characteristic,
        raw,
        context_raw: None,
        received_at: DateTime::UNIX_EPOCH,
        nonce: 5,
        quirks: DecodeQuirks::NONE,
    }
}

fn judged(characteristic: u16, hex: &str) -> Result<Judged, Reason> {
    decode(&packet(characteristic, &bytes(hex))).and_then(|record| record.judged)
}

fn bp(hex: &str) -> Result<Judged, Reason> {
    judged(uuid16::BLOOD_PRESSURE_MEASUREMENT, hex)
}

fn glucose_of(hex: &str) -> Result<Judged, Reason> {
    judged(uuid16::GLUCOSE_MEASUREMENT, hex)
}

#[test]
fn a_cuffs_packet_becomes_a_measurement_in_exact_units() {
    let Measurement::BloodPressure(m) = bp("1FA0F06BF07CF0EA070A0F071E004800FF0000").unwrap().measurement else {
        panic!("a blood pressure")
    };
    // 16.0 kPa x 7.50062.
    assert_eq!(m.systolic, Pressure::from_micro_mmhg(120_009_920));
    assert_eq!(m.pulse, Some(PulseRate::from_per_min(72)));
    assert_eq!(m.user_slot, None, "255 is an unknown user");
}

#[test]
fn frames_that_are_not_what_they_claim_are_refused() {
    for (hex, reason) in [
        // Vendor frame on the standard characteristic: nonsense pressures.
        ("FE202700750055005F00E407091810093A690001", Reason::Implausible),
        // Big-endian tails: nonsense pulse, sensible when reversed; a pulse of 80 is a zero when read as it should be.
        ("56710049000000EA07080B1438000041010000", Reason::ByteOrderSuspected),
        ("56710049000000EA07080B1438000050010000", Reason::ByteOrderSuspected),
        // A pulse of 129 is 0.00000256 when read as it should be, which is neither a pulse nor none.
        ("56710049000000EA07080B1438000081010004", Reason::ByteOrderSuspected),
        // kPa sent as mmHg.
        ("00BDF00B009FF0", Reason::Implausible),
        // Systolic not above diastolic.
        ("0848005100400001", Reason::Implausible),
        // All values NaN: the cuff's report of a failed measurement.
        ("00FF07FF07FF07", Reason::MeasurementError),
        ("0078", Reason::Undecodable),
        ("", Reason::Undecodable),
    ] {
        assert_eq!(bp(hex).map(|j| j.measurement), Err(reason), "{hex}");
    }
}

#[test]
fn tolerable_oddities_keep_the_reading() {
    // RFU bits set by a real meter; MAP and pulse absent.
    let good = bp("DEF6F416F3FF07E4070114082B00B2F2018000").unwrap();
    assert!(good.flags.is_empty());
    assert!(
        bp("1E7E004E00FF07000000000000004600010400")
            .unwrap()
            .flags
            .contains(&Flag::IrregularPulse)
    );
}

#[test]
fn glucose_keeps_the_unit_that_was_sent() {
    let level = |hex| match glucose_of(hex).unwrap().measurement {
        Measurement::Glucose(g) => g.level,
        _ => panic!("a glucose value"),
    };
    assert_eq!(
        level("020700EA0701010C00005AB011"),
        GlucoseLevel::Value(Concentration {
            milli: 90_000,
            unit: GlucoseUnit::MgPerDl
        })
    );
    assert_eq!(
        level("060700EA0701010C000037C011"),
        GlucoseLevel::Value(Concentration {
            milli: 5_500,
            unit: GlucoseUnit::MmolPerL
        })
    );
    assert_eq!(
        level("020900F5070101000000FE0711"),
        GlucoseLevel::AboveRange {
            unit: GlucoseUnit::MgPerDl
        }
    );
}

#[test]
fn control_solution_and_failures_never_become_readings() {
    for (hex, reason) in [
        ("020800EA0701010C00005AB041", Reason::ControlSolution),
        ("020300EA070A0F071E0064B04A", Reason::ControlSolution),
        ("030100E407030E1717000000FFFF11", Reason::Implausible),
        ("000900EA0701010C0000", Reason::MeasurementError),
        ("0A0600EA070A0F071E00FF07110200", Reason::MeasurementError),
    ] {
        assert_eq!(glucose_of(hex).map(|j| j.measurement), Err(reason), "{hex}");
    }
}

#[test]
fn a_weight_keeps_the_unit_that_was_sent() {
    use crate::units::{Mass, WeightUnit};
    let weight = |hex: &str| match judged(uuid16::WEIGHT_MEASUREMENT, hex).unwrap().measurement {
        Measurement::Weight(weight) => weight,
        other => panic!("a weight, not {other:?}"),
    };
    let kg = weight("0E8438EA070A0F0C000002EB00AE06");
    assert_eq!(
        (kg.mass.milli, kg.mass.unit, kg.user_slot),
        (72_340, WeightUnit::Kg, Some(2))
    );
    let lb = weight("05103EFF");
    assert_eq!(
        lb.mass,
        Mass {
            milli: 158_880,
            unit: WeightUnit::Lb
        }
    );
    assert_eq!(lb.user_slot, None, "255 is an unknown user");
    for (hex, reason) in [
        ("00FFFF", Reason::MeasurementError),
        ("000000", Reason::Implausible),
        // 0.495 kg; 327.67 kg is a person, 0.5 kg a newborn.
        ("006300", Reason::Implausible),
        ("0084", Reason::Undecodable),
        ("", Reason::Undecodable),
    ] {
        assert_eq!(
            judged(uuid16::WEIGHT_MEASUREMENT, hex).map(|j| j.measurement),
            Err(reason),
            "{hex}"
        );
    }
    assert_eq!(weight("006400").mass.milli, 500);
    assert_eq!(weight("00FEFF").mass.milli, 327_670);
}

#[test]
fn a_temperature_keeps_the_unit_and_the_place_that_were_sent() {
    use crate::reading::TemperatureSite;
    use crate::units::{Degrees, TemperatureUnit};
    let temperature = |hex: &str| match judged(uuid16::TEMPERATURE_MEASUREMENT, hex).unwrap().measurement {
        Measurement::Temperature(temperature) => temperature,
        other => panic!("a temperature, not {other:?}"),
    };
    let ear = temperature("066F0100FFEA070A0F0C000009");
    assert_eq!(ear.degrees.milli, 36_700);
    assert_eq!(ear.site, Some(TemperatureSite::Tympanum));
    let fahrenheit = temperature("05DA0300FF0A");
    assert_eq!(
        fahrenheit.degrees,
        Degrees {
            milli: 98_600,
            unit: TemperatureUnit::Fahrenheit
        }
    );
    assert_eq!(fahrenheit.site, None, "a place that is not known");
    for (hex, reason) in [
        ("00FFFF7F00", Reason::MeasurementError),
        ("0000008000", Reason::MeasurementError),
        // 22.4 and 46.1 degrees; Fahrenheit called Celsius.
        ("00E00000FF", Reason::Implausible),
        ("00CD0100FF", Reason::Implausible),
        ("00DA0300FF", Reason::Implausible),
        // The greatest exponent.
        ("000100007F", Reason::Implausible),
        ("006F0100", Reason::Undecodable),
    ] {
        let found = judged(uuid16::TEMPERATURE_MEASUREMENT, hex).map(|j| j.measurement);
        assert_eq!(found, Err(reason), "{hex}");
    }
}

#[test]
fn a_saturation_says_how_far_the_oximeter_trusts_it() {
    let spot = |hex: &str| judged(uuid16::PLX_SPOT_CHECK, hex);
    let saturation = |hex: &str| match spot(hex).unwrap().measurement {
        Measurement::OxygenSaturation(saturation) => saturation,
        other => panic!("a saturation, not {other:?}"),
    };
    let plain = saturation("0062004800");
    assert_eq!(
        (plain.spo2.tenths(), plain.pulse),
        (980, Some(PulseRate::from_per_min(72)))
    );
    // 97.6 %, no pulse found.
    let fine = saturation("00D0F3FF07");
    assert_eq!((fine.spo2.tenths(), fine.pulse), (976, None));
    assert_eq!(saturation("0062000000").pulse, None);
    // Questionable, low perfusion.
    assert_eq!(
        spot("06620048000040200000").unwrap().flags,
        [Flag::Questionable, Flag::PoorSignal]
    );
    // The sensor has slipped (bit 13).
    assert_eq!(spot("0462004800002000").unwrap().flags, [Flag::PoorSignal]);
    // An early estimate; calibrating.
    for status in ["4000", "0010"] {
        let flags = spot(&format!("0262004800{status}")).unwrap().flags;
        assert_eq!(flags, [Flag::Questionable], "{status}");
    }
    // Fully qualified, analysis ongoing, unknown sensor: nothing against it.
    assert!(spot("06620048000001001200").unwrap().flags.is_empty());
    for (hex, reason) in [
        ("00FF07FF07", Reason::MeasurementError),
        ("0000004800", Reason::MeasurementError),
        ("02620048000080", Reason::MeasurementError),
        ("02620048000020", Reason::MeasurementError),
        // Sensor off the finger; sensor disconnected; sensor broken; device broken.
        ("0462004800000800", Reason::MeasurementError),
        ("0462004800008000", Reason::MeasurementError),
        ("0462004800004000", Reason::MeasurementError),
        ("0462004800020000", Reason::MeasurementError),
        // Demonstration; test.
        ("02620048000004", Reason::TestData),
        ("02620048000008", Reason::TestData),
        // 101 %, 29 %, pulse 301.
        ("0065004800", Reason::Implausible),
        ("001D004800", Reason::Implausible),
        ("0062002D01", Reason::Implausible),
        ("00620048", Reason::Undecodable),
    ] {
        assert_eq!(spot(hex).map(|j| j.measurement), Err(reason), "{hex}");
    }
    // A stream of values is no record.
    assert_eq!(
        judged(uuid16::PLX_CONTINUOUS, "0062004800").map(|j| j.measurement),
        Err(Reason::Undecodable)
    );
}

#[test]
fn an_oximeter_without_a_clock_says_so() {
    let raw = bytes("1162004800EA070A0F0C0000");
    let record = decode(&packet(uuid16::PLX_SPOT_CHECK, &raw)).unwrap();
    assert_eq!(record.meter_time, MeterTime::Unset);
    // A date that stands still tells no records apart.
    assert!(record.received_key);
    let later = Packet {
        received_at: DateTime::UNIX_EPOCH + chrono::TimeDelta::weeks(3),
        nonce: 6,
        ..packet(uuid16::PLX_SPOT_CHECK, &raw)
    };
    assert_ne!(decode(&later).unwrap().id, record.id);
    let raw = bytes("0162004800EA070A0F0C0000");
    let record = decode(&packet(uuid16::PLX_SPOT_CHECK, &raw)).unwrap();
    assert!(matches!(record.meter_time, MeterTime::Local { .. }));
}

#[test]
fn dated_records_of_every_kind_are_the_same_wherever_they_are_received() {
    for (characteristic, dated, undated) in [
        (uuid16::WEIGHT_MEASUREMENT, "028438EA070A0F0C0000", "008438"),
        (
            uuid16::TEMPERATURE_MEASUREMENT,
            "026F0100FFEA070A0F0C0000",
            "006F0100FF",
        ),
        (uuid16::PLX_SPOT_CHECK, "0162004800EA070A0F0C0000", "0062004800"),
    ] {
        let (dated, undated) = (bytes(dated), bytes(undated));
        let id = |raw: &[u8], nonce| {
            decode(&Packet {
                nonce,
                ..packet(characteristic, raw)
            })
            .unwrap()
        };
        assert_eq!(id(&dated, 1).id, id(&dated, 2).id);
        assert!(!id(&dated, 1).received_key);
        assert_ne!(id(&undated, 1).id, id(&undated, 2).id);
        assert!(id(&undated, 1).received_key);
    }
}

#[test]
fn a_record_without_date_or_number_takes_its_receipt_into_the_id() {
    let raw = bytes("0078005000FF07");
    let first = packet(uuid16::BLOOD_PRESSURE_MEASUREMENT, &raw);
    let second = Packet { nonce: 6, ..first };
    let (a, b) = (decode(&first).unwrap(), decode(&second).unwrap());
    assert!(a.received_key);
    assert_ne!(a.id, b.id);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(raw: Vec<u8>, context: Option<Vec<u8>>, characteristic in prop::sample::select(vec![0x2A35_u16, 0x2A18, 0x2A9D, 0x2A1C, 0x2A5E, 0])) {
        let packet = Packet { context_raw: context.as_deref(), ..packet(characteristic, &raw) };
        if let Ok(record) = decode(&packet) {
            prop_assert_eq!(record.id.uuid().get_version_num(), 8);
        }
    }
}
