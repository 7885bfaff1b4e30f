//! Every reading comes back as it was, and bytes that are none are told as such.

use carepost_domain::reading::{Flag, Place, Slot, TemperatureSite};
use carepost_domain::time::TimeQuality;
use carepost_domain::units::{PressureUnit, TemperatureUnit, WeightUnit};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

fn ids<T: 'static>() -> impl Strategy<Value = Id<T>> {
    any::<[u8; 16]>().prop_map(|bytes| Id::from_uuid(Uuid::from_bytes(bytes)))
}

/// All that the calendar has, to the nanosecond.
fn instants() -> impl Strategy<Value = DateTime<Utc>> {
    let (first, last) = (
        DateTime::<Utc>::MIN_UTC.timestamp(),
        DateTime::<Utc>::MAX_UTC.timestamp(),
    );
    (first..=last, 0_u32..1_000_000_000).prop_map(|(seconds, nanos)| DateTime::from_timestamp(seconds, nanos).unwrap())
}

fn times() -> impl Strategy<Value = MeasuredTime> {
    let quality = select(TimeQuality::ALL);
    let fields = (instants(), quality, of(instants()), any::<i64>(), any::<bool>());
    fields.prop_map(
        |(at, quality, local, correction_s, gateway_clock_unsure)| MeasuredTime {
            at,
            quality,
            meter_local: local.map(|local| local.naive_utc()),
            correction_s,
            gateway_clock_unsure,
        },
    )
}

fn levels() -> impl Strategy<Value = GlucoseLevel> {
    (0..3, any::<i64>(), select(GlucoseUnit::ALL)).prop_map(|(kind, milli, unit)| match kind {
        0 => GlucoseLevel::Value(Concentration { milli, unit }),
        1 => GlucoseLevel::AboveRange { unit },
        _ => GlucoseLevel::BelowRange { unit },
    })
}

fn measurements() -> impl Strategy<Value = Measurement> {
    let pulses = || of(any::<i64>().prop_map(PulseRate::from_milli_per_min));
    let pressures = || any::<i64>().prop_map(Pressure::from_micro_mmhg);
    let slots = || of(any::<u8>());
    let blood_pressure = (
        select(PressureUnit::ALL),
        pressures(),
        pressures(),
        of(pressures()),
        pulses(),
        slots(),
    );
    prop_oneof![
        blood_pressure.prop_map(|(unit, systolic, diastolic, mean_arterial, pulse, user_slot)| {
            Measurement::BloodPressure(BloodPressure {
                unit,
                systolic,
                diastolic,
                mean_arterial,
                pulse,
                user_slot,
            })
        }),
        (levels(), any::<u16>()).prop_map(|(level, sequence)| Measurement::Glucose(Glucose { level, sequence })),
        (any::<i64>(), select(WeightUnit::ALL), slots()).prop_map(|(milli, unit, user_slot)| {
            let mass = Mass { milli, unit };
            Measurement::Weight(Weight { mass, user_slot })
        }),
        (
            any::<i64>(),
            select(TemperatureUnit::ALL),
            of(select(TemperatureSite::ALL))
        )
            .prop_map(|(milli, unit, site)| {
                let degrees = Degrees { milli, unit };
                Measurement::Temperature(Temperature { degrees, site })
            }),
        (any::<i64>(), pulses()).prop_map(|(tenths, pulse)| {
            let spo2 = TenthsOfPercent::new(tenths);
            Measurement::OxygenSaturation(OxygenSaturation { spo2, pulse })
        }),
    ]
}

fn readings() -> impl Strategy<Value = WireReading> {
    let attribution = prop_oneof![
        ids().prop_map(|binding| Attribution::Binding { binding }),
        ids().prop_map(|sitting| Attribution::Sitting { sitting }),
    ];
    let whose = (ids(), ids(), ids(), attribution, select(Place::ALL));
    let when = (times(), instants());
    let what = (measurements(), vec(select(Flag::ALL), 0..4), of(select(Slot::ALL)));
    let bytes = (any::<u16>(), vec(any::<u8>(), 0..40), of(vec(any::<u8>(), 0..40)));
    let quirk = of("[a-z0-9-]{1,32}".prop_map(|id| id.parse().unwrap()));
    (whose, when, what, bytes, any::<u64>(), quirk).prop_map(|(whose, when, what, bytes, nonce, quirk)| {
        let (id, member, meter, attribution, place) = whose;
        let (time, captured_at) = when;
        let (measurement, flags, slot) = what;
        let (characteristic, raw, context_raw) = bytes;
        WireReading {
            id,
            member,
            meter,
            attribution,
            place,
            time,
            captured_at,
            measurement,
            flags,
            slot,
            characteristic,
            raw,
            context_raw,
            nonce,
            quirk,
        }
    })
}

proptest! {
    #[test]
    fn what_is_packed_comes_back_as_it_was(reading in readings()) {
        prop_assert_eq!(unpack(&pack(&reading).unwrap()).unwrap(), reading);
    }

    #[test]
    fn a_reading_that_was_cut_off_or_has_something_behind_it_is_none(reading in readings(), at in any::<prop::sample::Index>(), more: u8) {
        let mut packed = pack(&reading).unwrap();
        prop_assert!(unpack(&packed[..at.index(packed.len())]).is_err());
        packed.push(more);
        prop_assert!(unpack(&packed).is_err());
    }

    #[test]
    fn no_bytes_bring_it_down(bytes in vec(any::<u8>(), 0..400), reading in readings(), at in any::<prop::sample::Index>(), with: u8) {
        drop(unpack(&bytes));
        let mut packed = pack(&reading).unwrap();
        let place = at.index(packed.len());
        packed[place] = with;
        if let Ok(other) = unpack(&packed) {
            // What is another reading is one in full.
            prop_assert_eq!(unpack(&pack(&other).unwrap()).unwrap(), other);
        }
    }
}

/// A glucose value that a home meter sent, with all that can be absent.
fn golden() -> WireReading {
    let id = |byte: u8| Uuid::from_bytes([byte; 16]);
    let at = DateTime::from_timestamp(1_760_000_000, 0).unwrap();
    WireReading {
        id: Id::from_uuid(id(1)),
        member: Id::from_uuid(id(2)),
        meter: Id::from_uuid(id(3)),
        attribution: Attribution::Binding {
            binding: Id::from_uuid(id(4)),
        },
        place: Place::Home,
        time: MeasuredTime {
            at,
            quality: TimeQuality::SkewCorrected,
            meter_local: Some(at.naive_utc()),
            correction_s: -90,
            gateway_clock_unsure: false,
        },
        captured_at: at,
        measurement: Measurement::Glucose(Glucose {
            level: GlucoseLevel::Value(Concentration {
                milli: 5_500,
                unit: GlucoseUnit::MmolPerL,
            }),
            sequence: 300,
        }),
        flags: vec![Flag::BatteryLow],
        slot: Some(Slot::Fasting),
        characteristic: 0x2A18,
        raw: vec![0x06, 0x2C, 0x01],
        context_raw: Some(vec![0x02, 0x2C, 0x01, 0x03]),
        nonce: 7,
        quirk: Some("isens-month-13".parse().unwrap()),
    }
}

/// What gateways have written to their files; a later program must read it as this one does.
#[test]
fn a_packed_reading_has_these_bytes() {
    let place = |byte: &str| format!("50{}", byte.repeat(16));
    let text = |text: &str| format!("{:02x}{}", 0x60 + text.len(), hex::encode(text));
    let instant = "821a68e7780000";
    let expected = [
        "93".to_owned(),
        place("01"),
        place("02"),
        place("03"),
        format!("8200{}", place("04")),
        text("home"),
        instant.to_owned(),
        text("skew_corrected"),
        instant.to_owned(),
        // -90, false
        "3859f4".to_owned(),
        instant.to_owned(),
        format!("83018300{}19157c19012c", text("mmol/L")),
        format!("81{}", text("battery_low")),
        text("fasting"),
        "192a18".to_owned(),
        "43062c01".to_owned(),
        "44022c0103".to_owned(),
        "07".to_owned(),
        text("isens-month-13"),
    ]
    .concat();
    assert_eq!(hex::encode(pack(&golden()).unwrap()), expected);
}

#[test]
fn a_reading_takes_less_than_a_third_of_its_json() {
    let packed = pack(&golden()).unwrap().len();
    assert!(packed <= USUAL_BYTES, "{packed}");
    assert!(packed * 3 <= serde_json::to_vec(&golden()).unwrap().len(), "{packed}");
}

#[test]
fn the_json_of_an_earlier_layout_is_read_and_other_text_is_not() {
    let json = serde_json::to_vec(&golden()).unwrap();
    assert_eq!(unpack(&json).unwrap(), golden());
    for none in ["{}", "", "null", "[]", "{\"id\":1}"] {
        let error = unpack(none.as_bytes()).unwrap_err();
        assert!(
            matches!(error, SpoolError::Row { what: READING, .. }),
            "{none}: {error}"
        );
    }
}
