//! Weight, temperature and oxygen saturation are stored and shown, and no rule and no session ever looks at them.

use carepost_domain::Id;
use carepost_domain::care::evaluate::assess;
use carepost_domain::care::history::{CareReading, Profile, Settled};
use carepost_domain::care::session::sessions;
use carepost_domain::quirks::DecodeQuirks;
use carepost_domain::reading::{Attribution, Flag, Place, Reading};
use carepost_domain::record::{Packet, decode};
use carepost_domain::time::{MeasuredTime, TimeQuality};
use carepost_gatt::uuid16;
use chrono::{DateTime, Utc};

use crate::support::{DAY, at, member, reading_id, rules};

/// A stored reading with these bytes and every flag there is.
fn stored(n: u128, characteristic: u16, raw: &[u8], measured_at: DateTime<Utc>) -> Reading {
    let meter = Id::from_uuid(uuid::Uuid::from_u128(9));
    let record = decode(&Packet {
        meter,
        characteristic,
        raw,
        context_raw: None,
        received_at: measured_at,
        nonce: 1,
        quirks: DecodeQuirks::NONE,
    })
    .unwrap();
    Reading {
        id: reading_id(n),
        member: member(),
        meter,
        attribution: Attribution::Binding {
            binding: Id::from_uuid(uuid::Uuid::from_u128(8)),
        },
        place: Place::Home,
        time: MeasuredTime {
            at: measured_at,
            quality: TimeQuality::MeterOk,
            meter_local: None,
            correction_s: 0,
            gateway_clock_unsure: false,
        },
        captured_at: measured_at,
        measurement: record.judged.unwrap().measurement,
        flags: Flag::ALL.to_vec(),
        slot: None,
        characteristic,
        raw: raw.to_vec(),
        context_raw: None,
        quirk: None,
    }
}

#[test]
fn the_worst_weight_temperature_and_saturation_change_no_finding() {
    let unruled = [
        // 0.5 kg, 46.0 degrees, 30.0 % with a pulse of 15.
        stored(1, uuid16::WEIGHT_MEASUREMENT, &[0, 0x64, 0], at(-3)),
        stored(2, uuid16::TEMPERATURE_MEASUREMENT, &[0, 0xCC, 1, 0, 0xFF], at(-2)),
        stored(3, uuid16::PLX_SPOT_CHECK, &[0, 30, 0, 15, 0], at(-1)),
    ];
    for reading in &unruled {
        assert_eq!(CareReading::of(reading), None, "{}", reading.measurement.kind_code());
    }
    // Between two pressures of one session, 190/100 and 186/98.
    let pressure = |n, systolic, minute| {
        let raw = [0, systolic, 0, 100, 0, 0xFF, 7];
        Reading {
            flags: Vec::new(),
            ..stored(n, uuid16::BLOOD_PRESSURE_MEASUREMENT, &raw, at(minute))
        }
    };
    let ruled = [pressure(4, 190, -4), pressure(5, 186, 0)];
    let seen =
        |readings: Vec<&Reading>| -> Vec<CareReading> { readings.into_iter().filter_map(CareReading::of).collect() };
    let [first, second] = &ruled;
    let [a, b, c] = &unruled;
    let (alone, mixed) = (seen(vec![first, second]), seen(vec![first, a, b, c, second]));
    assert_eq!(alone.len(), 2);
    let profile = Profile::default();
    for now in [at(0), at(30), at(DAY)] {
        assert_eq!(
            assess(rules(), &profile, &mixed, &[], &Settled::default(), now),
            assess(rules(), &profile, &alone, &[], &Settled::default(), now)
        );
        assert_eq!(
            sessions(rules(), &profile, &mixed, now),
            sessions(rules(), &profile, &alone, now)
        );
    }
    assert!(
        !sessions(rules(), &profile, &alone, at(30)).is_empty(),
        "the pressures do make a session"
    );
}
