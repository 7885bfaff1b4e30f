//! Weight, temperature and oxygen saturation: stored and shown, and nothing else.

use carepost_domain::consent::Purpose;
use carepost_domain::id::MeterId;
use carepost_domain::meter::{About, MeterKind, MeterRole};
use carepost_domain::quarantine::Reason;
use carepost_domain::quirks::{QuirkId, QuirkTable};
use carepost_domain::reading::{Measurement, Reading, TemperatureSite};
use carepost_domain::record::{Packet, decode};
use carepost_domain::units::{Mass, WeightUnit};
use carepost_store::CareError;
use carepost_store::model::{AlertFilter, By, IncomingItem, Rejection, TaskFilter};
use carepost_store::testing::execute;
use chrono::{DateTime, TimeDelta, Utc};

use crate::bench::{Bench, change, date_bytes, meter, minutes, reading_of};

const KINDS: [MeterKind; 3] = [MeterKind::Weight, MeterKind::Temperature, MeterKind::OxygenSaturation];

/// The member's own scale, thermometer and oximeter, each with its binding.
async fn own_meters(bench: &Bench) -> [(MeterId, u128); 3] {
    let mut bound = Vec::new();
    for (n, kind) in (20_u8..).zip(KINDS) {
        let own = meter(n, kind, MeterRole::Personal, bench.site);
        bench.store.register_meter(&bench.by(), &own).await.unwrap();
        let binding = 0xD0 + u128::from(n);
        bench.bind(own.id, bench.member, binding).await;
        bound.push((own.id, binding));
    }
    bound.try_into().unwrap()
}

/// Weight Measurement 2A9D with time stamp and user (page 3, section 2.6), in steps of 0.005 kg or 0.01 lb.
fn weight(pounds: bool, steps: u16, user: u8, measured: DateTime<Utc>) -> Vec<u8> {
    let mut bytes = vec![0b0110 | u8::from(pounds)];
    bytes.extend(steps.to_le_bytes());
    bytes.extend(date_bytes(measured));
    bytes.push(user);
    bytes
}

/// Temperature Measurement 2A1C with time stamp and type, in tenths of a degree.
fn temperature(fahrenheit: bool, tenths: u32, site: u8, measured: DateTime<Utc>) -> Vec<u8> {
    let mut bytes = vec![0b0110 | u8::from(fahrenheit)];
    // Exponent -1 in the upper byte, mantissa below.
    bytes.extend((0xFF00_0000 | tenths).to_le_bytes());
    bytes.extend(date_bytes(measured));
    bytes.push(site);
    bytes
}

/// PLX Spot-Check 2A5E with time stamp; both values with exponent 0.
fn saturation(percent: u16, pulse: u16, measured: DateTime<Utc>) -> Vec<u8> {
    let mut bytes = vec![0b0001];
    bytes.extend(percent.to_le_bytes());
    bytes.extend(pulse.to_le_bytes());
    bytes.extend(date_bytes(measured));
    bytes
}

/// Values that would be an emergency if anybody judged them.
async fn grave(bench: &Bench, at: DateTime<Utc>) -> Vec<IncomingItem> {
    let [scale, thermometer, oximeter] = own_meters(bench).await;
    vec![
        bench.other(scale, MeterKind::Weight, weight(false, 6_000, 255, at), at),
        bench.other(thermometer, MeterKind::Temperature, temperature(false, 421, 6, at), at),
        bench.other(oximeter, MeterKind::OxygenSaturation, saturation(61, 188, at), at),
    ]
}

pub(crate) async fn other_readings_come_back_as_they_were(bench: Bench) {
    let [scale, thermometer, oximeter] = own_meters(&bench).await;
    let at = |n| bench.now - minutes(n);
    let items = vec![
        bench.other(scale, MeterKind::Weight, weight(false, 14_469, 1, at(9)), at(9)),
        bench.other(scale, MeterKind::Weight, weight(true, 15_051, 255, at(8)), at(8)),
        bench.other(
            thermometer,
            MeterKind::Temperature,
            temperature(false, 372, 9, at(7)),
            at(7),
        ),
        bench.other(
            thermometer,
            MeterKind::Temperature,
            temperature(true, 991, 77, at(6)),
            at(6),
        ),
        bench.other(oximeter, MeterKind::OxygenSaturation, saturation(97, 71, at(5)), at(5)),
        bench.other(oximeter, MeterKind::OxygenSaturation, saturation(96, 0, at(4)), at(4)),
        bench.bp(128, 79, at(3)),
    ];
    let outcome = bench.ingest(&bench.batch(1, items.clone())).await;
    assert_eq!(
        (outcome.settled_through, outcome.new_readings.len()),
        (7, 7),
        "{outcome:?}"
    );
    let page = bench.store.readings(&bench.by(), bench.member, None, 10).await.unwrap();
    let stored: Vec<&Reading> = page.readings.iter().map(|stored| &stored.reading).collect();
    let sent: Vec<&Reading> = items.iter().rev().map(reading_of).collect();
    assert_eq!(stored, sent, "every field, the newest first");
    let mut pounds = 0;
    for reading in &stored {
        match &reading.measurement {
            // 150.51 lb, kept in the unit that was sent.
            Measurement::Weight(weight) if weight.mass.unit == WeightUnit::Lb => {
                let sent = Mass {
                    milli: 150_510,
                    unit: WeightUnit::Lb,
                };
                assert_eq!((weight.mass, weight.user_slot), (sent, None));
                pounds += 1;
            }
            Measurement::Weight(weight) => assert_eq!((weight.mass.milli, weight.user_slot), (72_345, Some(1))),
            Measurement::Temperature(temperature) => {
                let site = (temperature.degrees.milli == 37_200).then_some(TemperatureSite::Tympanum);
                assert_eq!(temperature.site, site, "an unknown code is no site");
            }
            Measurement::OxygenSaturation(saturation) => {
                assert_eq!(saturation.pulse.is_some(), saturation.spo2.rounded_pct() == 97);
            }
            Measurement::BloodPressure(_) | Measurement::Glucose(_) => {}
        }
    }
    assert_eq!(pounds, 1);
    // The same batch again is known.
    let again = bench.ingest(&bench.batch(8, items)).await;
    assert_eq!((again.new_readings.len(), again.duplicates), (0, 7));

    let file = bench
        .store
        .member_file(&bench.by(), bench.member, TimeDelta::days(1))
        .await
        .unwrap();
    assert_eq!((file.pressures.len(), file.glucose.len(), file.others.len()), (1, 0, 6));
    assert!(
        file.others
            .is_sorted_by_key(|stored| std::cmp::Reverse(stored.reading.time.at)),
        "the newest first"
    );
}

pub(crate) async fn nothing_comes_of_other_readings(bench: Bench) {
    // An open alert, a session and a plan, so that there is something to disturb.
    let normal = vec![
        bench.glucose(25, 1, bench.now - minutes(20)),
        bench.bp(128, 79, bench.now - minutes(9)),
        bench.bp(126, 78, bench.now - minutes(7)),
    ];
    bench.send(normal).await;
    let by = bench.by();
    let seen = async |bench: &Bench| {
        let counts = bench.store.counts(bench.now).await.unwrap();
        (
            bench.store.queue_version().await.unwrap(),
            (
                counts.alerts_open,
                counts.tasks_open,
                counts.jobs_pending,
                counts.jobs_overdue_since,
            ),
            bench.store.alerts(&by, AlertFilter::All, None, 50).await.unwrap(),
            bench
                .store
                .tasks(
                    &by,
                    TaskFilter {
                        closed_too: true,
                        ..TaskFilter::default()
                    },
                    50,
                )
                .await
                .unwrap(),
            bench
                .store
                .sessions(&by, bench.member, DateTime::UNIX_EPOCH, 50)
                .await
                .unwrap(),
        )
    };
    // Every job would show, whatever it is for.
    let jobs = async |bench: &Bench| {
        execute(&bench.store, "UPDATE job SET attempts = attempts")
            .await
            .unwrap()
    };
    let before = seen(&bench).await;
    let jobs_before = jobs(&bench).await;
    assert_eq!(
        (before.1.0, before.2.len(), before.4.len()),
        (1, 1, 1),
        "there is something to disturb"
    );

    // Now, between the pressures of a sitting, and a little ahead as by a clock that is fast.
    let mut items = grave(&bench, bench.now - minutes(8)).await;
    items.extend(grave(&bench, bench.now - minutes(1)).await);
    items.extend(grave(&bench, bench.now + minutes(5)).await);
    let outcome = bench.send(items).await;
    assert_eq!(outcome.new_readings.len(), 9, "{outcome:?}");
    assert!(outcome.members_changed.is_empty());
    assert_eq!(seen(&bench).await, before);
    assert_eq!(jobs(&bench).await, jobs_before);

    // Nor when the member is assessed with them on file, now and later.
    for minutes_later in [0, 6, 60] {
        let later = By::system(bench.now + minutes(minutes_later));
        let without = bench
            .store
            .reassess_member(&later, bench.member, &bench.rules)
            .await
            .unwrap();
        assert!(!without.is_any(), "{without:?}");
    }
    let queue = bench.store.queue(&by, None, 10).await.unwrap();
    assert_eq!(queue.rows.len(), 1);
    assert_eq!(
        queue.rows[0]
            .value
            .as_ref()
            .unwrap()
            .reading
            .reading
            .measurement
            .kind_code(),
        "glucose"
    );

    let after = bench
        .store
        .member_file(&by, bench.member, TimeDelta::days(1))
        .await
        .unwrap();
    assert_eq!(
        (after.others.len(), after.alerts.len()),
        (6, 1),
        "what lies ahead is not shown yet"
    );
}

pub(crate) async fn other_readings_need_consent_and_go_with_it(bench: Bench) {
    let stored = grave(&bench, bench.now - minutes(3)).await;
    bench.send(stored).await;
    let by = bench.by();
    bench
        .store
        .withdraw(&by, bench.member, Purpose::CareRecord)
        .await
        .unwrap();
    assert!(matches!(
        bench.store.readings(&by, bench.member, None, 10).await,
        Err(CareError::MemberHidden)
    ));
    let file = bench
        .store
        .member_file(&by, bench.member, TimeDelta::days(30))
        .await
        .unwrap();
    assert!(file.others.is_empty() && !file.care_record);
    let outcome = bench.send(grave(&bench, bench.now - minutes(1)).await).await;
    let refused: Vec<_> = outcome.rejected.iter().map(|(_, why)| *why).collect();
    assert_eq!(refused, [Rejection::NoConsent; 3]);
    assert!(outcome.new_readings.is_empty());
    let counts = bench.store.counts(bench.now).await.unwrap();
    assert_eq!((counts.readings, counts.quarantine.len()), (3, 0), "nor in quarantine");
}

pub(crate) async fn other_values_that_do_not_follow_from_the_bytes_are_refused(bench: Bench) {
    let [scale, ..] = own_meters(&bench).await;
    let at = bench.now - minutes(2);
    let lighter = change(
        bench.other(scale, MeterKind::Weight, weight(false, 14_469, 1, at), at),
        |reading| {
            if let Measurement::Weight(weight) = &mut reading.measurement {
                weight.mass.milli -= 5_000;
            }
        },
    );
    let outcome = bench.send(vec![lighter]).await;
    assert!(outcome.new_readings.is_empty());
    assert_eq!(outcome.rejected, [(1, Rejection::Unusable(Reason::Inconsistent))]);
}

/// A Beurer BM85 sends pulse and status with the high byte first (page 3, section 2.9).
pub(crate) async fn a_quirk_entry_is_kept_with_its_reading(bench: Bench) {
    let mut beurer = meter(30, MeterKind::BloodPressure, MeterRole::Personal, bench.site);
    beurer.model = "BM85".to_owned();
    beurer.about = About::new("Beurer GmbH", "0042", "1.0");
    bench.store.register_meter(&bench.by(), &beurer).await.unwrap();
    bench.bind(beurer.id, bench.member, 0xE0).await;
    let quirk = QuirkTable::current()
        .for_bytes_of(&beurer)
        .expect("the table knows the BM85");

    let at = bench.now - minutes(2);
    let mut raw = vec![0b0001_0110];
    for value in [131_u16, 84, 100] {
        raw.extend(value.to_le_bytes());
    }
    raw.extend(date_bytes(at));
    raw.extend(69_u16.to_be_bytes());
    raw.push(1);
    raw.extend(0_u16.to_be_bytes());
    let packet = |quirks| Packet {
        meter: beurer.id,
        characteristic: 0x2A35,
        raw: &raw,
        context_raw: None,
        received_at: at + TimeDelta::seconds(5),
        nonce: 0,
        quirks,
    };
    let record = decode(&packet(quirk.decode)).unwrap();
    let judged = record.judged.clone().unwrap();
    let known = bench.bp_of(bench.member, beurer.id, 0xE0, 131, 84, at);
    let as_read = |quirk: Option<QuirkId>| {
        change(known.clone(), |reading| {
            reading.id = record.id;
            reading.measurement = judged.measurement.clone();
            reading.flags.clone_from(&judged.flags);
            reading.raw.clone_from(&raw);
            reading.quirk = quirk;
        })
    };
    let wrong = as_read(None);
    let unknown = as_read(Some("nobody-knows".parse().unwrap()));
    let right = as_read(Some(quirk.id.clone()));
    let outcome = bench.send(vec![wrong, unknown, right.clone()]).await;
    assert_eq!(
        outcome.rejected.len(),
        2,
        "only the entry makes sense of the bytes: {outcome:?}"
    );
    assert_eq!(outcome.new_readings, [record.id]);
    let page = bench.store.readings(&bench.by(), bench.member, None, 10).await.unwrap();
    assert_eq!(&page.readings[0].reading, reading_of(&right));
    assert_eq!(page.readings[0].reading.quirk.as_ref(), Some(&quirk.id));
    // Another member's meter of that model reads by the same entry; one that is something else does not.
    let mut other = meter(31, MeterKind::BloodPressure, MeterRole::Personal, bench.site);
    other.about = About::new("Somebody else", "", "");
    bench.store.register_meter(&bench.by(), &other).await.unwrap();
    bench.bind(other.id, bench.member, 0xE1).await;
    let foreign = change(bench.bp_of(bench.member, other.id, 0xE1, 131, 84, at), |reading| {
        reading.quirk = Some(quirk.id.clone());
    });
    let outcome = bench.send(vec![foreign]).await;
    assert_eq!(outcome.rejected, [(1, Rejection::Unusable(Reason::QuirkMismatch))]);
}
