//! Glucose contexts: with their measurement, after it, on another link, or never.

use std::time::Duration;

use carepost_daemon::CancellationToken;
use carepost_domain::meter::Meter;
use carepost_domain::reading::Slot;
use carepost_gatt::glucose::Context;
use carepost_gatt::uuid16;
use chrono::TimeDelta;
use tokio::time::timeout;

use crate::admit::{Pass, run};
use crate::spool::{Capture, Captured, LinkEnd, LinkId};
use crate::testing::*;

fn context(link: LinkId, meter: &Meter, raw: Vec<u8>) -> Capture {
    let mut packet = packet(link, meter, raw, noon());
    packet.characteristic = uuid16::GLUCOSE_CONTEXT;
    Capture::Keep(packet)
}

/// What the readings in the outbox say of meals.
async fn slots(bench: &Bench) -> Vec<Option<Slot>> {
    bench.outbox().await.iter().map(|reading| reading.slot).collect()
}

#[tokio::test]
async fn a_context_joins_its_measurement_whatever_its_order_among_others() {
    let bench = Bench::new().await;
    let meter = glucose_meter();
    let link = bench.link(&meter).await;
    let context = |raw: Vec<u8>| context(link, &meter, raw);
    assert_eq!(
        bench.spool.capture(&[context(fasting(1))]).await.unwrap(),
        [Captured::Orphaned]
    );
    let first = Capture::Keep(packet(link, &meter, glucose(1, at(-5), true), noon()));
    let second = Capture::Keep(packet(link, &meter, glucose(2, at(-4), false), noon()));
    let captured = bench.spool.capture(&[first, second]).await.unwrap();
    let [Captured::Spooled(first), Captured::Spooled(second)] = captured[..] else {
        panic!("both are new")
    };
    assert_eq!(
        bench
            .spool
            .capture(&[context(fasting(1)), context(vec![0])])
            .await
            .unwrap(),
        [Captured::Joined(first), Captured::Joined(second),]
    );
    bench.settle().await;
    assert_eq!(slots(&bench).await, [Some(Slot::Fasting), None]);
}

#[tokio::test]
async fn a_context_before_its_measurement_joins_it_if_both_are_written_down_together() {
    let bench = Bench::new().await;
    let meter = glucose_meter();
    let link = bench.link(&meter).await;
    let record = |number| Capture::Keep(packet(link, &meter, glucose(number, at(-5), true), noon()));
    let context = |raw: Vec<u8>| context(link, &meter, raw);
    // What cannot be read belongs to the record before it, and the third one's measurement does not come.
    let items = [
        record(0),
        context(fasting(1)),
        context(vec![0]),
        context(fasting(7)),
        record(1),
        context(fasting(2)),
        record(2),
    ];
    let captured = bench.spool.capture(&items).await.unwrap();
    let [
        Captured::Spooled(before),
        Captured::Joined(first),
        Captured::Joined(unreadable),
        Captured::Orphaned,
        Captured::Spooled(second),
        Captured::Joined(third),
        Captured::Spooled(fourth),
    ] = captured[..]
    else {
        panic!("{captured:?}")
    };
    assert_eq!((unreadable, first, third), (before, second, fourth));
    bench.settle().await;
    assert_eq!(slots(&bench).await, [None, Some(Slot::Fasting), Some(Slot::Fasting)]);
}

#[tokio::test]
async fn of_two_contexts_the_later_stays_and_of_two_measurements_the_first_has_it() {
    let bench = Bench::new().await;
    let meter = glucose_meter();
    let link = bench.link(&meter).await;
    let other_link = bench.link(&meter).await;
    let record = |minutes| Capture::Keep(packet(link, &meter, glucose(1, at(minutes), true), noon()));
    let without_meal = Context {
        meal: None,
        ..Context::empty(1)
    };
    let early = context(link, &meter, without_meal.encode().unwrap());
    let items = [
        // The same number on another link is another record's.
        context(other_link, &meter, fasting(1)),
        early,
        record(-5),
        context(link, &meter, fasting(1)),
        context(link, &meter, fasting(2)),
        Capture::Keep(packet(link, &meter, glucose(2, at(-4), true), noon())),
        Capture::Keep(packet(link, &meter, glucose(2, at(-3), true), noon())),
    ];
    let captured = bench.spool.capture(&items).await.unwrap();
    let joined = |place: usize| matches!(captured[place], Captured::Joined(_));
    assert_eq!([0, 1, 3, 4].map(joined), [false, true, true, true], "{captured:?}");
    bench.closed(link, LinkEnd::Clean).await;
    bench.settle().await;
    assert_eq!(slots(&bench).await, [Some(Slot::Fasting), Some(Slot::Fasting), None]);
}

#[tokio::test]
async fn a_context_that_cannot_be_read_or_may_not_wait_joins_nothing_behind_it() {
    let meter = glucose_meter();
    for (raw, may_wait) in [(vec![0], true), (fasting(1), false)] {
        let bench = Bench::new().await;
        let link = bench.link(&meter).await;
        let context = match context(link, &meter, raw) {
            Capture::Keep(context) if !may_wait => Capture::Join(context),
            other => other,
        };
        let record = Capture::Keep(packet(link, &meter, glucose(1, at(-5), false), noon()));
        let captured = bench.spool.capture(&[context, record]).await.unwrap();
        assert!(
            matches!(captured[..], [Captured::Orphaned, Captured::Spooled(_)]),
            "{captured:?}"
        );
    }
}

#[tokio::test]
async fn a_measurement_waits_for_its_context_until_the_link_is_over() {
    let bench = Bench::new().await;
    let meter = glucose_meter();
    let link = bench.link(&meter).await;
    bench.heard(link, &meter, glucose(1, at(-5), true)).await;
    bench.heard(link, &meter, glucose(2, at(-4), true)).await;
    bench.heard(link, &meter, glucose(3, at(-3), false)).await;
    assert_eq!(bench.settle().await, 1);
    // Late, behind another record.
    bench.spool.capture(&[context(link, &meter, fasting(1))]).await.unwrap();
    assert_eq!(bench.settle().await, 1);
    bench.closed(link, LinkEnd::Clean).await;
    assert_eq!(bench.settle().await, 1);
    assert_eq!(slots(&bench).await, [None, Some(Slot::Fasting), None]);
}

#[tokio::test]
async fn a_context_that_cannot_be_read_takes_no_other_ones_place() {
    let bench = Bench::new().await;
    let meter = glucose_meter();
    let link = bench.link(&meter).await;
    bench.heard(link, &meter, glucose(1, at(-5), true)).await;
    let captured = bench
        .spool
        .capture(&[context(link, &meter, fasting(1)), context(link, &meter, vec![0])])
        .await
        .unwrap();
    assert!(matches!(captured[..], [Captured::Joined(_), Captured::Orphaned]));
    bench.settle().await;
    assert_eq!(slots(&bench).await, [Some(Slot::Fasting)]);
}

/// A record whose context is cut off: by the end of the link, or by a kill of the program.
async fn cut_off_before_its_context(killed: bool) -> Bench {
    let bench = Bench::new().await;
    let meter = glucose_meter();
    let link = bench.link(&meter).await;
    bench.heard(link, &meter, glucose(7, at(-5), true)).await;
    if killed {
        return bench.crash_image().await;
    }
    bench.closed(link, LinkEnd::Unclean).await;
    bench
}

#[tokio::test]
async fn a_context_that_was_cut_off_comes_with_the_next_link() {
    for killed in [false, true] {
        let bench = cut_off_before_its_context(killed).await;
        let meter = glucose_meter();
        assert_eq!(bench.settle().await, 0, "killed: {killed}");
        let link = bench.link(&meter).await;
        // The meter is read again from an earlier record on.
        bench.heard(link, &meter, glucose(6, at(-9), false)).await;
        bench.heard(link, &meter, glucose(7, at(-5), true)).await;
        let joined = bench.spool.capture(&[context(link, &meter, fasting(7))]).await.unwrap();
        assert!(matches!(joined[..], [Captured::Joined(_)]));
        bench.closed(link, LinkEnd::Clean).await;
        assert_eq!(bench.settle().await, 3, "killed: {killed}");
        let mut slots = slots(&bench).await;
        slots.sort();
        assert_eq!(slots, [None, Some(Slot::Fasting)], "killed: {killed}");
        assert_eq!(bench.pass().await, Default::default());
    }
}

#[tokio::test]
async fn contexts_of_one_capture_each_find_what_was_cut_off_before_their_link_and_no_other() {
    let bench = Bench::new().await;
    let meter = glucose_meter();
    let other = Meter {
        id: plain_cuff().id,
        ..glucose_meter()
    };
    let broken = bench.link(&meter).await;
    for number in [7, 8] {
        bench.heard(broken, &meter, glucose(number, at(-5), true)).await;
    }
    bench.closed(broken, LinkEnd::Unclean).await;
    let (link, of_other) = (bench.link(&meter).await, bench.link(&other).await);
    let record =
        |link, meter: &Meter, number| Capture::Keep(packet(link, meter, glucose(number, at(-5), true), noon()));
    let items = [
        record(of_other, &other, 7),
        context(of_other, &other, fasting(7)),
        record(link, &meter, 7),
        context(link, &meter, fasting(7)),
        record(link, &meter, 8),
        context(link, &meter, fasting(8)),
    ];
    bench.spool.capture(&items).await.unwrap();
    let pending = bench.spool.pending(None).await.unwrap();
    let with_context = pending.iter().filter(|row| row.context_raw.is_some()).count();
    assert_eq!((pending.len(), with_context), (5, 5));
}

#[tokio::test]
async fn a_renumbered_record_does_not_take_the_context_of_another() {
    let bench = cut_off_before_its_context(true).await;
    let meter = glucose_meter();
    let link = bench.link(&meter).await;
    bench.heard(link, &meter, glucose(7, at(-2), true)).await;
    bench.spool.capture(&[context(link, &meter, fasting(7))]).await.unwrap();
    bench.closed(link, LinkEnd::Clean).await;
    assert_eq!(bench.settle().await, 1);
    bench.hands.advance(Duration::from_secs(300));
    assert_eq!(bench.settle().await, 1);
    assert_eq!(slots(&bench).await, [Some(Slot::Fasting), None]);
}

#[tokio::test]
async fn a_reading_waits_five_minutes_for_a_context_that_was_cut_off_and_no_longer() {
    let bench = cut_off_before_its_context(false).await;
    let waits = Pass {
        settled: 0,
        again_at: Some(at(5)),
    };
    assert_eq!(bench.pass().await, waits);
    bench.hands.advance(Duration::from_secs(299));
    assert_eq!(bench.pass().await, waits);
    bench.hands.advance(Duration::from_secs(1));
    assert_eq!(
        bench.pass().await,
        Pass {
            settled: 1,
            again_at: None,
        }
    );
    assert_eq!(slots(&bench).await, [None]);
}

#[tokio::test]
async fn the_worker_looks_again_when_the_wait_is_over() {
    let bench = cut_off_before_its_context(false).await;
    bench.hands.set(at(5) - TimeDelta::milliseconds(20));
    let mut outbox = bench.spool.watch_outbox();
    outbox.borrow_and_update();
    let worker = run(
        bench.spool.clone(),
        bench.desk.clone(),
        bench.clock.clone(),
        CancellationToken::new(),
    );
    let settled = async {
        bench.hands.set(at(5));
        timeout(Duration::from_secs(30), outbox.changed())
            .await
            .unwrap()
            .unwrap();
    };
    tokio::select! {
        ended = worker => panic!("the worker ended: {ended:?}"),
        () = settled => {}
    }
    assert_eq!(slots(&bench).await, [None]);
}

#[tokio::test]
async fn a_clock_that_was_set_ends_the_wait_for_a_context() {
    for minutes in [-6, 6] {
        let bench = cut_off_before_its_context(false).await;
        bench.hands.set(at(minutes));
        assert_eq!(bench.settle().await, 1, "{minutes}");
    }
}

#[tokio::test]
async fn a_context_that_comes_while_its_measurement_is_settled_is_with_it() {
    for known in [0, 2] {
        let bench = Bench::new().await;
        let meter = glucose_meter();
        let link = bench.link(&meter).await;
        // With something that the outbox has already, the page is settled record by record.
        for number in 0..known {
            bench.heard(link, &meter, glucose(number, at(-9), false)).await;
        }
        bench.settle().await;
        for number in 0..4 {
            bench.heard(link, &meter, glucose(number, at(-9), false)).await;
        }
        let context = [context(link, &meter, fasting(3))];
        let (joined, settled) = bench.both(bench.spool.capture(&context), bench.settle()).await;
        assert!(matches!(joined.unwrap()[..], [Captured::Joined(_)]), "known: {known}");
        // The worker saw it in the same pass.
        assert_eq!(settled, 4, "known: {known}");
        assert_eq!(
            slots(&bench).await,
            [None, None, None, Some(Slot::Fasting)],
            "known: {known}"
        );
        bench.heard(link, &meter, glucose(4, at(-8), false)).await;
        assert_eq!(bench.settle().await, 1, "known: {known}");
        assert_eq!(bench.status().await.spooled, 0, "known: {known}");
    }
}

#[tokio::test]
async fn a_context_that_comes_before_records_that_would_take_the_page_along_is_with_its_measurement() {
    let bench = Bench::new().await;
    let meter = glucose_meter();
    let link = bench.link(&meter).await;
    for number in 0..4 {
        bench.heard(link, &meter, glucose(number, at(-9), false)).await;
    }
    let context = [context(link, &meter, fasting(0))];
    let record = [Capture::Keep(packet(link, &meter, glucose(4, at(-8), false), noon()))];
    // Both wait for the connection before the page is on offer.
    let capture = async { tokio::join!(bench.spool.capture(&context), bench.spool.capture(&record)) };
    let ((joined, captured), _) = bench.both(capture, bench.settle()).await;
    assert!(matches!(joined.unwrap()[..], [Captured::Joined(_)]));
    assert!(matches!(captured.unwrap()[..], [Captured::Spooled(_)]));
    bench.settle().await;
    let mut slots = slots(&bench).await;
    slots.sort();
    assert_eq!(slots, [None, None, None, None, Some(Slot::Fasting)]);
}

#[tokio::test]
async fn a_context_that_takes_another_ones_place_while_its_measurement_is_settled_is_with_it() {
    let bench = Bench::new().await;
    let meter = glucose_meter();
    let link = bench.link(&meter).await;
    bench.heard(link, &meter, glucose(0, at(-9), false)).await;
    bench.heard(link, &meter, glucose(1, at(-9), false)).await;
    // It cannot be read, and follows the second record on the air.
    bench.spool.capture(&[context(link, &meter, vec![0])]).await.unwrap();
    let right = [context(link, &meter, fasting(1))];
    let (joined, settled) = bench.both(bench.spool.capture(&right), bench.settle()).await;
    assert!(matches!(joined.unwrap()[..], [Captured::Joined(_)]));
    assert_eq!(settled, 2);
    assert_eq!(slots(&bench).await, [None, Some(Slot::Fasting)]);
}
