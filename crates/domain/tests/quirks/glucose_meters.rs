//! Glucose meters.

use carepost_domain::meter::{Meter, MeterKind};
use carepost_domain::quarantine::Reason;
use carepost_domain::quirks::{ClockSource, Support, WriteClock};
use carepost_domain::reading::{Flag, Slot};
use carepost_domain::time::{MeterTime, TimeEvidence, measured_time};
use carepost_domain::units::{Concentration, GlucoseLevel, GlucoseUnit};
use carepost_gatt::DateTime as GattTime;
use carepost_gatt::glucose::{self, TimeOffset};
use chrono::{DateTime, NaiveDate, Utc};

use crate::support::{entry_around, entry_of, glucose_of, hex, meal, meter, quirks_of, read, reason, record_of};

fn glucose_meter(manufacturer: &str, model: &str) -> Meter {
    meter(MeterKind::Glucose, manufacturer, model)
}

fn noon() -> GattTime {
    GattTime::new(2026, 10, 15, 12, 0, 0)
}

#[test]
fn isens_caresens() {
    let caresens = glucose_meter("i-SENS, Inc.", "CareSens N Premier BLE");
    let entry = entry_of(&caresens);
    assert_eq!(entry.id.as_str(), "isens-caresens");
    assert_eq!(
        (entry.talk.clock, entry.talk.write_clock),
        (ClockSource::None, WriteClock::Never)
    );
    assert!(entry.talk.only_new, "count, then what is new");

    // 20 of month 13, 2026, 08:15:30.
    let january = record_of(7, GattTime::new(2026, 13, 20, 8, 15, 30)).encode().unwrap();
    assert_eq!(january.get(5), Some(&13));
    let record = read(&caresens, &january, None).unwrap();
    let local = NaiveDate::from_ymd_opt(2026, 1, 20)
        .unwrap()
        .and_hms_opt(8, 15, 30)
        .unwrap();
    assert_eq!(
        record.meter_time,
        MeterTime::Local {
            local,
            offset_minutes: 0,
            offset_missing: false
        }
    );
    assert_eq!(record.judged.unwrap().flags, [Flag::DateRepaired]);
    let other = read(&glucose_meter("", ""), &january, None).unwrap();
    assert_eq!(other.meter_time, MeterTime::Impossible);
    assert!(other.judged.unwrap().flags.is_empty());
    // Other impossible months are nobody's.
    let month_14 = record_of(7, GattTime::new(2026, 14, 20, 8, 15, 30)).encode().unwrap();
    assert_eq!(
        read(&caresens, &month_14, None).unwrap().meter_time,
        MeterTime::Impossible
    );

    // 1.2 mmol/L of ketone, sent as 12 mg/dL of "glucose".
    let mut ketone = hex("120700EA070A0F0C00000CB011");
    assert_eq!(reason(read(&caresens, &ketone, Some(&meal(7, 6)))), Reason::Ketone);
    // Too low for any glucose: the reason is still the mark.
    if let Some(mantissa) = ketone.get_mut(10) {
        *mantissa = 1;
    }
    assert_eq!(reason(read(&caresens, &ketone, Some(&meal(7, 6)))), Reason::Ketone);
    // The announced context did not come: it may have been ketone.
    let announced = hex("120700EA070A0F0C00005AB011");
    assert_eq!(reason(read(&caresens, &announced, None)), Reason::ContextMissing);
    assert_eq!(
        reason(read(&caresens, &announced, Some(&meal(8, 1)))),
        Reason::ContextMissing,
        "the context of another record"
    );
    let fasting = read(&caresens, &announced, Some(&meal(7, 3)));
    assert_eq!(fasting.clone().unwrap().slot, Some(Slot::Fasting));
    glucose_of(fasting);
    glucose_of(read(&caresens, &hex("020700EA070A0F0C00005AB011"), None));
}

#[test]
fn meal_6_is_never_a_glucose_reading_of_any_meter() {
    let packet = hex("120700EA070A0F0C00005AB011");
    for other in [
        glucose_meter("", ""),
        glucose_meter("Roche", "Accu-Chek Guide"),
        glucose_meter("TaiDoc", "TD-4289"),
    ] {
        assert_eq!(
            reason(read(&other, &packet, Some(&meal(7, 6)))),
            Reason::KetoneSuspected
        );
        // The context of another record says nothing, nor does one that cannot be read, nor one that did not come.
        glucose_of(read(&other, &packet, Some(&meal(8, 6))));
        glucose_of(read(&other, &packet, Some(&[2, 7])));
        glucose_of(read(&other, &packet, None));
        glucose_of(read(&other, &packet, Some(&meal(7, 7))));
    }
}

#[test]
fn control_solution_by_either_nibble_is_never_a_reading() {
    for maker in ["", "i-SENS", "TaiDoc", "Roche", "Ascensia"] {
        let meter = glucose_meter(maker, "");
        for (type_location, control) in [
            ("11", false),
            ("1A", true),
            ("41", true),
            ("4A", true),
            ("FA", true),
            ("49", true),
            ("F1", false),
            ("A4", false),
        ] {
            let packet = hex(&format!("020700EA070A0F0C00005AB0{type_location}"));
            // A control measurement with the ketone mark is one all the same.
            for context in [None, Some(meal(7, 6))] {
                let record = read(&meter, &packet, context.as_deref());
                if control {
                    assert_eq!(reason(record), Reason::ControlSolution, "{maker} {type_location}");
                } else if context.is_none() {
                    glucose_of(record);
                }
            }
        }
    }
}

#[test]
fn taidoc_fora() {
    for maker in ["TaiDoc Technology Corp.", "FORA", "ForaCare Suisse"] {
        let dm30 = glucose_meter(maker, "DM30b");
        let entry = entry_of(&dm30);
        assert_eq!(entry.id.as_str(), "taidoc-fora");
        assert_eq!((entry.talk.clock, entry.talk.only_new), (ClockSource::None, false));

        // After one more measurement every record has the next number: it is the same reading.
        let packet = |sequence, time| record_of(sequence, time).encode().unwrap();
        let id = |meter: &Meter, raw: &[u8]| read(meter, raw, None).unwrap().id;
        assert_eq!(id(&dm30, &packet(0, noon())), id(&dm30, &packet(1, noon())));
        let later = GattTime::new(2026, 10, 15, 12, 1, 0);
        assert_ne!(id(&dm30, &packet(0, noon())), id(&dm30, &packet(0, later)));
        let higher = hex("020000EA070A0F0C000065B011");
        assert_ne!(id(&dm30, &packet(0, noon())), id(&dm30, &higher));
        // Without a date the number is all there is.
        let undated = GattTime::new(0, 0, 0, 12, 0, 0);
        assert_ne!(id(&dm30, &packet(0, undated)), id(&dm30, &packet(1, undated)));
        // A meter of another maker keeps its numbers.
        let other = glucose_meter("Roche", "Accu-Chek Guide");
        assert_ne!(id(&other, &packet(0, noon())), id(&other, &packet(1, noon())));

        // At 450 stored records a HI of 2037 appears, by status bit or by +INF.
        for phantom in ["0A0000F507010100000064B0112000", "020000F5070101000000FE0711"] {
            let packet = hex(phantom);
            assert_eq!(reason(read(&dm30, &packet, None)), Reason::PhantomRecord);
            // Of another meter it is a HI in the future, which a trusted clock refuses.
            assert!(read(&glucose_meter("", ""), &packet, None).unwrap().judged.is_ok());
        }
        // A true HI of today is a reading.
        let high = hex("0A0000EA070A0F0C000064B0112000");
        assert_eq!(
            glucose_of(read(&dm30, &high, None)).level,
            GlucoseLevel::AboveRange {
                unit: GlucoseUnit::MgPerDl
            }
        );
    }
}

#[test]
fn roche_accu_chek() {
    let guide = glucose_meter("Roche", "Accu-Chek Guide");
    let entry = entry_of(&guide);
    assert_eq!(entry.id.as_str(), "roche-accu-chek");
    assert_eq!(
        (entry.talk.clock, entry.talk.write_clock),
        (ClockSource::DateTime, WriteClock::Never)
    );
    assert!(entry.talk.only_new);
    assert_eq!(
        entry_around("meter+12345678", &["1808", "180A"]).map(|q| q.id.as_str()),
        Some("roche-accu-chek")
    );
    assert_eq!(quirks_of(&guide), carepost_domain::quirks::DecodeQuirks::NONE);

    // A display of 6.2 mmol/L was sent as kg/L: 112 mg/dL, base clock 334 minutes behind the user's time.
    let record = read(&guide, &hex("030C00EA070A0F020E004E0170B011"), None);
    assert_eq!(
        glucose_of(record.clone()).level,
        GlucoseLevel::Value(Concentration {
            milli: 112_000,
            unit: GlucoseUnit::MgPerDl
        })
    );
    // 02:14 and 334 minutes.
    let local = NaiveDate::from_ymd_opt(2026, 10, 15)
        .unwrap()
        .and_hms_opt(7, 48, 0)
        .unwrap();
    assert_eq!(
        record.unwrap().meter_time,
        MeterTime::Local {
            local,
            offset_minutes: 334,
            offset_missing: false
        }
    );
}

#[test]
fn an_offset_moves_the_users_time_and_not_the_identity() {
    let guide = glucose_meter("Roche", "Accu-Chek Guide");
    let at = |minutes: Option<TimeOffset>| glucose::Measurement {
        time_offset: minutes,
        ..record_of(12, GattTime::new(2026, 10, 15, 2, 20, 0))
    };
    let time = |minutes| {
        let record = read(&guide, &at(minutes).encode().unwrap(), None).unwrap();
        let evidence = TimeEvidence {
            meter_time: record.meter_time,
            skew: None,
            skew_uncertain: false,
            received_at: "2026-10-15T03:00:00Z".parse().unwrap(),
            clock_trusted: true,
            live_single: false,
            zone: chrono_tz::Asia::Shanghai,
        };
        measured_time(&evidence).unwrap()
    };
    let moved = time(Some(TimeOffset::Minutes(334)));
    assert_eq!(moved.at, "2026-10-14T23:54:00Z".parse::<DateTime<Utc>>().unwrap());
    assert_eq!(time(Some(TimeOffset::Overrun)).quality.code(), "offset_missing");
    assert_eq!(time(None).quality.code(), "meter_ok");
}

#[test]
fn ascensia_contour() {
    let contour = glucose_meter("Ascensia Diabetes Care", "Contour Next One");
    let entry = entry_of(&contour);
    assert_eq!(entry.id.as_str(), "ascensia-contour");
    assert_eq!(
        (entry.talk.clock, entry.talk.write_clock),
        (ClockSource::CurrentTime, WriteClock::Never)
    );
    assert!(entry.talk.only_new);
    assert_eq!(
        entry_around("Contour7830H6014242", &["1808"]).map(|q| q.id.as_str()),
        Some("ascensia-contour")
    );
}

#[test]
fn lifescan_verio() {
    let services = ["af9df7a1-e595-11e3-96b4-0002a5d5c51b", "180A"];
    let entry = entry_around("OneTouch J7RG", &services).unwrap();
    assert_eq!(entry.id.as_str(), "lifescan-verio");
    assert_eq!(entry.support, Support::RecognisedUnsupported);
    assert!(entry.decode.is_none());
    assert_eq!(entry_around("OneTouch", &["1808"]), None, "a name alone proves nothing");
}
