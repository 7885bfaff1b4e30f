//! Cuffs.

use carepost_domain::meter::MeterKind;
use carepost_domain::quarantine::Reason;
use carepost_domain::quirks::{ClockSource, DecodeQuirks, Support, TalkQuirks, WriteClock};
use carepost_domain::reading::Flag;
use carepost_domain::time::{MeterTime, TimeEvidence, measured_time};
use carepost_domain::units::{Pressure, PulseRate};
use carepost_gatt::{Decimal, MedFloat};
use chrono::{DateTime, Utc};

use crate::support::{entry_around, entry_of, hex, meter, pressure, quirks_of, read, reason, to_hex};

fn cuff(manufacturer: &str, model: &str) -> carepost_domain::meter::Meter {
    meter(MeterKind::BloodPressure, manufacturer, model)
}

/// The three rows of `vectors.csv` with quirk `beurer_be_tail`, and every pulse that a cuff can count: read in the order of
/// the specification some are a zero, some too small to be seen in thousandths, and some a plausible other number.
#[test]
fn beurer_bm85() {
    let bm85 = cuff("BEURER GmbH", "BM85");
    assert_eq!(entry_of(&bm85).id.as_str(), "beurer-bm85");
    let check = |packet: &str, mmhg: [i32; 2], pulse: i32, slot: u8, flags: &[Flag]| {
        let record = read(&bm85, &hex(packet), None);
        assert_eq!(record.clone().unwrap().judged.unwrap().flags, flags);
        assert_eq!(record.clone().unwrap().user_slot, Some(slot));
        let bp = pressure(record);
        let [systolic, diastolic] = mmhg.map(Pressure::from_mmhg);
        assert_eq!((bp.systolic, bp.diastolic), (systolic, diastolic));
        assert_eq!(bp.pulse, Some(PulseRate::from_per_min(pulse)));
        assert_eq!(bp.user_slot, Some(slot));
        // Any other meter's record with these bytes is reported and not used.
        for other in [cuff("", ""), cuff("BEURER GmbH", "BM54"), cuff("OMRON", "BM85-like")] {
            assert_eq!(reason(read(&other, &hex(packet), None)), Reason::ByteOrderSuspected);
        }
    };
    check("56710049000000EA07080B1438000041010000", [113, 73], 65, 1, &[]);
    check("56770046000000EA07080B1439000057010040", [119, 70], 87, 1, &[]);
    check(
        "56760050000000EA07080B141B00003C000004",
        [118, 80],
        60,
        0,
        &[Flag::IrregularPulse],
    );
    for pulse in 30..=250 {
        let packet = |tail: &str| format!("56710049000000EA07080B143800{pulse:04X}{tail}");
        check(&packet("010000"), [113, 73], pulse, 1, &[]);
        check(&packet("000004"), [113, 73], pulse, 0, &[Flag::IrregularPulse]);
        check(&packet("010001"), [113, 73], pulse, 1, &[Flag::BodyMovement]);
    }
    // Too short for the user id that the flags do not announce.
    assert_eq!(
        reason(read(&bm85, &hex("56710049000000EA07080B14380000410100"), None)),
        Reason::Undecodable
    );
}

/// A byte too many is no proof: what is a pulse by the specification, and none by the other order, stays a reading.
#[test]
fn a_standard_tail_with_a_byte_too_many_is_a_reading() {
    for (exponent, per_min) in (30..=250).flat_map(|pulse| [(0_i8, pulse), (-1, pulse)]) {
        let number = MedFloat::Number(Decimal::new(
            if exponent == 0 { per_min } else { per_min * 10 },
            i32::from(exponent),
        ));
        let tail = number.to_sfloat(Some(exponent)).unwrap().to_le_bytes();
        let packet = format!("56710049000000EA07080B143800{}040000", to_hex(&tail));
        let record = read(&cuff("", ""), &hex(&packet), None);
        // The one number that is as plausible backwards: 128.0 against 245. Nobody can tell, so a person is asked.
        if (exponent, per_min) == (-1, 128) {
            assert_eq!(reason(record), Reason::ByteOrderSuspected, "{packet}");
            continue;
        }
        assert_eq!(record.clone().unwrap().judged.unwrap().flags, [Flag::IrregularPulse]);
        let expected = PulseRate::from_milli_per_min(per_min * 1_000);
        assert_eq!(pressure(record).pulse, Some(expected), "{packet}");
    }
}

/// With a user id that the flags announce there is no byte too many: what gives the order away is a zero that no cuff writes.
#[test]
fn a_zero_with_an_exponent_gives_the_order_away() {
    for (tail, expected) in [
        ("0040010000", Err(Reason::ByteOrderSuspected)),
        ("0050010000", Err(Reason::ByteOrderSuspected)),
        ("0090010000", Err(Reason::ByteOrderSuspected)),
        // No pulse, by a cuff that counts in tenths or in whole numbers.
        ("00F0010000", Ok(())),
        ("0000010000", Ok(())),
    ] {
        let packet = format!("5E710049000000EA07080B143800{tail}");
        let judged = read(&cuff("", ""), &hex(&packet), None).unwrap().judged;
        assert_eq!(judged.map(|_| ()), expected, "{packet}");
    }
}

#[test]
fn beurer_silvercrest() {
    for other in [
        cuff("Silvercrest", "SBM69"),
        cuff("BEURER GmbH", "BM59"),
        cuff("", "SBM69"),
    ] {
        assert_eq!(entry_of(&other).id.as_str(), "beurer-silvercrest");
        assert_eq!(quirks_of(&other), DecodeQuirks::NONE);
        // In the order of the specification.
        let standard = read(&other, &hex("167100490000 00EA07080B1438004100 0000"), None);
        assert_eq!(pressure(standard).pulse, Some(PulseRate::from_per_min(65)));
        assert_eq!(
            reason(read(&other, &hex("56710049000000EA07080B1438000041010000"), None)),
            Reason::ByteOrderSuspected
        );
    }
}

#[test]
fn boso_medicus() {
    let boso = cuff("BOSCH + SOHN GmbH", "medicus system");
    assert_eq!(entry_of(&boso).id.as_str(), "boso-medicus");
    assert_eq!(entry_of(&cuff("boso", "")).id.as_str(), "boso-medicus");
    for packet in [
        "16FF07FF07FF07EA070A0F071E00FF070000",
        "00FF07FF07FF07",
        // A failed measurement with a pulse that was still counted.
        "16FF07FF07FF07EA070A0F071E0048000000",
    ] {
        assert_eq!(
            reason(read(&boso, &hex(packet), None)),
            Reason::MeasurementError,
            "{packet}"
        );
    }
    assert_eq!(
        pressure(read(&boso, &hex("167E004E00FF07EA070A0F071E0046000000"), None)).systolic,
        Pressure::from_mmhg(126)
    );
}

#[test]
fn and_ua() {
    let talk = TalkQuirks {
        write_clock: WriteClock::Pairing,
        idle_ms: Some(2_000),
        ..TalkQuirks::default()
    };
    for model in ["UA-651BLE", "UA-352BLE"] {
        let entry = entry_of(&cuff("A&D Medical", model));
        assert_eq!(entry.id.as_str(), "and-ua");
        assert_eq!(entry.talk, talk);
        assert_eq!(entry.talk.idle(), Some(std::time::Duration::from_secs(2)));
    }
    // In pairing mode nothing but name and services is known.
    let around = entry_around("A&D_UA-651BLE_4F1A2B", &["1810"]).unwrap();
    assert_eq!(around.id.as_str(), "and-ua");
    assert_eq!(entry_around("A&D_UA-651BLE_4F1A2B", &[]), None);
}

#[test]
fn omron_standard() {
    let entry = entry_around("BLESmart_0000021F", &["1810", "180A", "fe4a"]).unwrap();
    assert_eq!(entry.id.as_str(), "omron-standard");
    assert!(entry.talk.keep_session);
    assert_eq!(entry.talk.write_clock, WriteClock::Never);
    // After a battery change its clock starts at 2017-01-01: such a record is nobody's, unless it
    // comes as it is measured, or the clock still runs so and was read.
    let cuff = cuff("OMRON", "X4 Smart");
    let record = read(&cuff, &hex("167E004E00FF07E107010100170046000000"), None).unwrap();
    let received_at: DateTime<Utc> = "2026-10-15T00:00:00Z".parse().unwrap();
    let evidence = TimeEvidence {
        meter_time: record.meter_time,
        skew: None,
        skew_uncertain: false,
        received_at,
        clock_trusted: true,
        live_single: false,
        zone: chrono_tz::Asia::Shanghai,
    };
    assert_eq!(measured_time(&evidence), Err(Reason::TimeUnknown));
    let live = TimeEvidence {
        live_single: true,
        ..evidence.clone()
    };
    assert_eq!(measured_time(&live).unwrap().at, received_at);
    let clock_runs = received_at - "2016-12-31T16:25:00Z".parse::<DateTime<Utc>>().unwrap();
    let corrected = TimeEvidence {
        skew: Some(clock_runs),
        ..evidence
    };
    assert_eq!(
        measured_time(&corrected).unwrap().at,
        "2026-10-14T23:58:00Z".parse::<DateTime<Utc>>().unwrap()
    );
}

#[test]
fn omron_proprietary() {
    for services in [
        &["ecbe3980-c9a2-11e1-b1bd-0002a5d5c51b", "180a"][..],
        &["0000FE4A-0000-1000-8000-00805F9B34FB"],
    ] {
        let entry = entry_around("BLESmart_0000011F", services).unwrap();
        assert_eq!(entry.id.as_str(), "omron-proprietary");
        assert_eq!(entry.support, Support::RecognisedUnsupported);
    }
    let both = entry_around("BLESmart_0000011F", &["ecbe3980-c9a2-11e1-b1bd-0002a5d5c51b", "1810"]);
    assert_eq!(both.unwrap().support, Support::Supported);
}

/// No entry is needed for what every meter is forgiven, and for what no meter is.
#[test]
fn a_vendor_frame_is_refused_and_reserved_bits_are_tolerated() {
    for model in [cuff("", ""), cuff("OMRON", "BP5150"), cuff("BEURER GmbH", "BM85")] {
        // The row of `vectors.csv` with quirk `vendor_prefix`.
        let frame = hex("FE202700750055005F00E407091810093A690001");
        assert_eq!(reason(read(&model, &frame, None)), Reason::Implausible);
    }
    // Bits 6 and 7 of the flags set, as a real meter does, and bits 6-15 of the status.
    let odd = read(&cuff("", ""), &hex("DEF6F416F3FF07E4070114082B00B2F201C0FF"), None);
    assert!(odd.clone().unwrap().judged.unwrap().flags.is_empty());
    assert_eq!(pressure(odd).pulse, Some(PulseRate::from_milli_per_min(69_000)));
}

#[test]
fn the_date_of_a_record_is_read_by_the_clock_that_the_entry_names() {
    assert_eq!(
        entry_of(&cuff("A&D Medical", "UA-651BLE")).talk.clock,
        ClockSource::CurrentTime
    );
    let record = read(&cuff("", ""), &hex("167E004E00FF07EA070D0F071E0046000000"), None).unwrap();
    assert_eq!(
        record.meter_time,
        MeterTime::Impossible,
        "month 13 is nobody's January but one maker's"
    );
}
