//! Who sits at the desk, and what is left of it.

use std::time::Duration;

use carepost_domain::quarantine::Reason;
use carepost_domain::record::{Packet, decode};
use carepost_gatt::uuid16;
use tokio::sync::broadcast::error::TryRecvError;

use super::*;
use crate::testing::*;

fn member(code: &str) -> Who {
    Who::Member(code.parse().unwrap())
}

fn reading(n: i64) -> Offered {
    let raw = pressure(100 + n, Some(at(0)), None);
    let packet = Packet {
        meter: store_cuff().id,
        characteristic: uuid16::BLOOD_PRESSURE_MEASUREMENT,
        raw: &raw,
        context_raw: None,
        received_at: at(0),
        nonce: 0,
        quirks: carepost_domain::quirks::DecodeQuirks::NONE,
    };
    let record = decode(&packet).unwrap();
    let judged = record.judged.unwrap();
    Offered {
        reading: record.id,
        measured_at: at(0),
        measurement: Some(judged.measurement),
        flags: judged.flags,
        slot: None,
        state: ReadingState::Arrived,
    }
}

fn events(receiver: &mut broadcast::Receiver<KioskEvent>) -> Vec<KioskEvent> {
    let mut events = Vec::new();
    loop {
        match receiver.try_recv() {
            Ok(event) => events.push(event),
            Err(TryRecvError::Empty | TryRecvError::Closed) => return events,
            Err(TryRecvError::Lagged(_)) => {}
        }
    }
}

#[tokio::test]
async fn one_person_sits_at_a_time_and_an_unknown_code_stays_out() {
    let bench = Bench::new().await;
    let mut heard = bench.desk.events();
    assert!(matches!(
        bench.desk.begin(&member("NOBODY")).await,
        Err(BeginError::UnknownCode)
    ));
    assert_eq!(bench.desk.current(), None);
    let view = bench.desk.begin(&member("ALICE")).await.unwrap();
    assert_eq!(
        (view.member, view.masked_name.as_deref(), view.consents),
        (Some(alice()), Some("ALICE**"), true)
    );
    assert!(matches!(
        bench.desk.begin(&Who::Anonymous).await,
        Err(BeginError::Occupied)
    ));
    bench.desk.end(view.sitting).await.unwrap();
    bench.desk.end(view.sitting).await.unwrap();
    assert_eq!(
        events(&mut heard),
        [
            KioskEvent::Began { sitting: view.sitting },
            KioskEvent::Ended {
                sitting: view.sitting,
                because: EndedBecause::Asked
            },
        ]
    );
    let anonymous = bench.desk.begin(&Who::Anonymous).await.unwrap();
    assert_eq!((anonymous.member, anonymous.consents), (None, false));
    assert!(matches!(
        bench.desk.keep_until_confirmed(anonymous.sitting).await,
        Err(DeskError::Anonymous)
    ));
    assert!(matches!(
        bench.desk.keep_until_confirmed(view.sitting).await,
        Err(DeskError::Over)
    ));
}

#[tokio::test]
async fn nobody_sits_down_while_the_meter_of_the_sitting_before_is_connected() {
    let bench = Bench::new().await;
    let cuff = store_cuff();
    let first = bench.desk.begin(&member("ALICE")).await.unwrap();
    bench.desk.meter_connected(cuff.id, cuff.kind);
    bench.desk.end(first.sitting).await.unwrap();
    assert!(matches!(
        bench.desk.begin(&Who::Anonymous).await,
        Err(BeginError::MeterConnected)
    ));
    bench.desk.meter_disconnected(cuff.id);
    // A meter that was connected while nobody sat there keeps nobody from sitting down.
    bench.desk.meter_connected(cuff.id, cuff.kind);
    let second = bench.desk.begin(&Who::Anonymous).await.unwrap();
    assert_eq!(second.connected, [cuff.kind]);
    bench.desk.end(second.sitting).await.unwrap();
    assert!(matches!(
        bench.desk.begin(&Who::Anonymous).await,
        Err(BeginError::MeterConnected)
    ));
}

#[tokio::test]
async fn a_reading_is_shown_in_its_own_sitting_only_and_wiped_with_it() {
    let bench = Bench::new().await;
    let first = bench.desk.begin(&member("ALICE")).await.unwrap().sitting;
    bench.desk.show(first, reading(1));
    bench.desk.show(first, reading(2));
    let shown = bench.desk.current().unwrap().readings;
    assert_eq!(shown.iter().map(|reading| reading.number).collect::<Vec<_>>(), [1, 2]);
    assert!(
        !format!("{shown:?}").contains("101"),
        "values do not reach a log by accident"
    );
    bench.desk.end(first).await.unwrap();
    let second = bench.desk.begin(&Who::Anonymous).await.unwrap();
    bench.desk.show(first, reading(3));
    assert_eq!(bench.desk.current().unwrap().readings, []);
    for n in 0..40 {
        bench.desk.show(second.sitting, reading(n));
    }
    let shown = bench.desk.current().unwrap().readings;
    assert_eq!((shown.len(), shown.last().unwrap().number), (MAX_SHOWN, 40));
}

#[tokio::test]
async fn what_is_known_later_takes_the_place_of_what_was_shown_first() {
    let bench = Bench::new().await;
    let sitting = bench.desk.begin(&member("ALICE")).await.unwrap().sitting;
    // Some records are a measurement only with their context.
    let without_context = Offered {
        measurement: None,
        ..reading(1)
    };
    bench.desk.show_new(sitting, without_context);
    bench.desk.show(sitting, reading(1));
    let shown = bench.desk.current().unwrap().readings;
    assert_eq!(shown.len(), 1);
    assert!(shown[0].measurement.is_some());
    assert_eq!(shown[0].number, 1);
}

#[tokio::test]
async fn a_state_never_goes_back_to_arrived() {
    let bench = Bench::new().await;
    let sitting = bench.desk.begin(&member("ALICE")).await.unwrap().sitting;
    let state = || bench.desk.current().unwrap().readings[0].state;
    // The worker may be faster than the one who heard the packet.
    bench.desk.show(
        sitting,
        Offered {
            state: ReadingState::Saved,
            ..reading(1)
        },
    );
    bench.desk.show_new(sitting, reading(1));
    assert_eq!(state(), ReadingState::Saved);
    let id = reading(1).reading;
    bench.desk.note_receipt(&ReceiptSummary {
        delivered: vec![id],
        ..ReceiptSummary::default()
    });
    assert_eq!(state(), ReadingState::Sent);
    bench.desk.note_receipt(&ReceiptSummary {
        quarantined: vec![(id, Reason::Inconsistent)],
        ..ReceiptSummary::default()
    });
    assert_eq!(state(), ReadingState::Unusable(Reason::Inconsistent));
}

#[tokio::test]
async fn a_forgotten_sitting_ends_by_itself() {
    let bench = Bench::new().await;
    let mut heard = bench.desk.events();
    let settings = Kiosk::default();
    let idle = Duration::from_millis(settings.idle_ms);
    let almost = idle - Duration::from_millis(1);
    let sitting = bench.desk.begin(&member("ALICE")).await.unwrap().sitting;
    bench.hands.advance(almost);
    bench.desk.tick().await.unwrap();
    bench.desk.touch(sitting);
    bench.hands.advance(almost);
    bench.desk.tick().await.unwrap();
    assert!(bench.desk.current().is_some());
    bench.hands.advance(Duration::from_millis(1));
    bench.desk.tick().await.unwrap();
    assert_eq!(bench.desk.current(), None);
    let second = bench.desk.begin(&Who::Anonymous).await.unwrap().sitting;
    for _ in 0..=(settings.longest_ms / settings.idle_ms) {
        bench.desk.touch(second);
        bench.hands.advance(almost);
    }
    bench.desk.touch(second);
    bench.hands.advance(Duration::from_millis(20));
    bench.desk.tick().await.unwrap();
    let ended: Vec<EndedBecause> = events(&mut heard)
        .into_iter()
        .filter_map(|event| match event {
            KioskEvent::Ended { because, .. } => Some(because),
            _ => None,
        })
        .collect();
    assert_eq!(ended, [EndedBecause::Idle, EndedBecause::TooLong]);
}

#[tokio::test]
async fn a_members_sitting_survives_a_stop_and_ends_where_it_was_last_known_to_go_on() {
    let bench = Bench::new().await;
    let sitting = bench.desk.begin(&member("ALICE")).await.unwrap().sitting;
    bench.hands.advance(Duration::from_secs(60));
    bench.desk.tick().await.unwrap();
    bench.hands.advance(Duration::from_secs(60));
    let image = bench.crash_image().await;
    assert_eq!((image.recovered.sittings_ended, image.desk.current()), (1, None));
    let known = image.desk.sittings();
    assert_eq!(known.len(), 1);
    assert_eq!(
        (known[0].sitting.id, known[0].sitting.began, known[0].sitting.ended),
        (sitting, at(0), Some(at(1)))
    );
    // An anonymous one leaves nothing behind.
    bench.desk.end(sitting).await.unwrap();
    bench.desk.begin(&Who::Anonymous).await.unwrap();
    assert_eq!(bench.desk.sittings().len(), 2);
    assert_eq!(bench.crash_image().await.desk.sittings().len(), 1);
}

#[tokio::test]
async fn a_measurement_started_in_the_second_of_identification_is_the_persons() {
    let bench = Bench::new().await;
    bench.hands.advance(Duration::from_millis(700));
    bench.desk.begin(&member("ALICE")).await.unwrap();
    let facts = &bench.desk.sittings()[0];
    assert!(facts.sitting.covers(at(0)));
    assert_eq!(facts.identified_at, at(0) + chrono::TimeDelta::milliseconds(700));
}

#[tokio::test]
async fn keep_until_i_confirm_also_keeps_what_was_shown_already() {
    let bench = Bench::new().await;
    let sitting = bench.desk.begin(&member("BOBB")).await.unwrap().sitting;
    let cuff = store_cuff();
    let link = bench.link(&cuff).await;
    let mut packet = packet(link, &cuff, pressure(120, Some(at(0)), None), at(0));
    packet.sitting = Some(sitting);
    bench.desk.remember_unkept(sitting, packet);
    assert_eq!(bench.settle().await, 0);
    bench.desk.keep_until_confirmed(sitting).await.unwrap();
    assert!(bench.desk.current().unwrap().keep_sealed);
    bench.settle().await;
    assert_eq!(bench.status().await.sealed, 1);
}
