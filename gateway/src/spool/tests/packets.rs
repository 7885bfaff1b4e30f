//! Links, capture and settling.

use carepost_contract::v1::Lane;
use carepost_domain::quarantine::Reason;
use carepost_gatt::sync::HighWater;
use chrono::TimeDelta;

use crate::sitting::Who;
use crate::spool::settle::lane_of;
use crate::spool::{Capture, Captured, Counter, LinkEnd, Settled, Settlement};
use crate::testing::*;

#[tokio::test]
async fn a_packet_is_durable_before_anything_else_and_settled_in_one_step() {
    let bench = Bench::new().await;
    let meter = glucose_meter();
    let link = bench.link(&meter).await;
    assert!(matches!(
        bench.heard(link, &meter, glucose(1, at(-5), false)).await,
        Captured::Spooled(_)
    ));
    assert_eq!(bench.crash_image().await.status().await.spooled, 1);
    bench.settle().await;
    for bench in [bench.crash_image().await, bench.reopen().await] {
        let status = bench.status().await;
        assert_eq!((status.spooled, status.outbox, status.outbox_live), (0, 1, 1));
    }
}

#[tokio::test]
async fn a_stop_between_capture_and_settling_changes_nothing_about_the_reading() {
    let bench = Bench::new().await;
    let meter = plain_cuff();
    bench.emptied(&meter, pressure(119, Some(at(-5)), None)).await;
    let link = bench.link(&meter).await;
    // Without a clock, receipt time and nonce are part of the id, and both are kept in the row.
    bench.heard(link, &meter, pressure(120, None, None)).await;
    // A stop while the link is open hides whether more would have come.
    let cut = bench.crash_image().await;
    cut.settle().await;
    let status = cut.status().await;
    assert_eq!((status.spooled, status.outbox, status.quarantined), (0, 1, 1));
    bench.closed(link, LinkEnd::Clean).await;
    let image = bench.crash_image().await;
    image.hands.advance(std::time::Duration::from_secs(3_600));
    image.settle().await;
    bench.settle().await;
    assert_eq!(bench.status().await.outbox, 2);
    let readings = |bench: &Bench| {
        let spool = bench.spool.clone();
        async move {
            spool.begin_epoch(epoch(1)).await.unwrap();
            spool
                .next_batch(epoch(1), Lane::Live, Default::default())
                .await
                .unwrap()
                .unwrap()
                .items
        }
    };
    assert_eq!(readings(&bench).await, readings(&image).await);
}

#[tokio::test]
async fn equal_bytes_on_one_link_within_a_minute_are_one_reading() {
    let bench = Bench::new().await;
    let meter = plain_cuff();
    let raw = pressure(120, None, None);
    let link = bench.link(&meter).await;
    let Captured::Spooled(first) = bench.heard(link, &meter, raw.clone()).await else {
        panic!("the first is new")
    };
    assert_eq!(bench.heard(link, &meter, raw.clone()).await, Captured::Joined(first));
    bench.hands.advance(std::time::Duration::from_secs(61));
    assert!(matches!(
        bench.heard(link, &meter, raw.clone()).await,
        Captured::Spooled(_)
    ));
    let other = bench.link(&meter).await;
    assert!(matches!(bench.heard(other, &meter, raw).await, Captured::Spooled(_)));
    assert_eq!(bench.status().await.counters[Counter::Duplicates.code()], 1);
}

#[tokio::test]
async fn the_same_record_twice_is_one_row_in_the_outbox() {
    let bench = Bench::new().await;
    let meter = glucose_meter();
    for _ in 0..2 {
        let link = bench.link(&meter).await;
        bench.heard(link, &meter, glucose(1, at(-5), false)).await;
        bench.closed(link, LinkEnd::Clean).await;
        bench.settle().await;
    }
    let status = bench.status().await;
    assert_eq!(
        (
            status.spooled,
            status.outbox,
            status.counters[Counter::Duplicates.code()]
        ),
        (0, 1, 1)
    );
}

#[tokio::test]
async fn the_same_packet_for_two_members_is_a_conflict_that_is_kept_aside() {
    let bench = Bench::new().await;
    let meter = glucose_meter();
    let link = bench.link(&meter).await;
    bench.heard(link, &meter, glucose(1, at(-5), false)).await;
    bench.settle().await;
    let Captured::Spooled(row) = bench.heard(link, &meter, glucose(1, at(-5), false)).await else {
        panic!("it is new")
    };
    bench.spool.begin_epoch(epoch(1)).await.unwrap();
    let batch = bench
        .spool
        .next_batch(epoch(1), Lane::Live, Default::default())
        .await
        .unwrap()
        .unwrap();
    let carepost_contract::v1::Item::Reading(mut reading) = batch.items[0].clone() else {
        panic!("a reading")
    };
    reading.member = bob();
    let settled = bench
        .spool
        .settle(1, &mut decided([(row, Settlement::Outbox(reading.clone()))]), at(0))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(settled, [Settled::Conflict(reading.id)]);
    let status = bench.status().await;
    assert_eq!((status.outbox, status.quarantine_reasons["member_conflict"]), (1, 1));
}

#[tokio::test]
async fn a_cuff_link_that_ended_with_the_program_is_a_possible_gap() {
    let bench = Bench::new().await;
    let (cuff, glucose) = (home_cuff(), glucose_meter());
    let open = bench.link(&cuff).await;
    bench.link(&glucose).await;
    let image = bench.crash_image().await;
    assert_eq!(
        (image.recovered.open_links, &image.recovered.possible_gaps[..]),
        (2, &[cuff.id][..])
    );
    assert_eq!(image.status().await.possible_gaps, 1);
    // Once only, and an orderly end is none.
    assert_eq!(image.reopen().await.recovered.open_links, 0);
    bench.closed(open, LinkEnd::Clean).await;
    assert_eq!(bench.status().await.possible_gaps, 0);
    let cut = bench.link(&cuff).await;
    for _ in 0..2 {
        bench.closed(cut, LinkEnd::Unclean).await;
    }
    let status = bench.status().await;
    let of_cuff = status.meters.iter().find(|meter| meter.id == cuff.id).unwrap();
    assert_eq!((status.possible_gaps, of_cuff.possible_gaps), (1, 1));
}

#[tokio::test]
async fn a_high_water_mark_is_kept_and_forgotten_when_more_may_be_read() {
    let bench = Bench::new().await;
    let meter = glucose_meter().id;
    let mark = HighWater {
        sequence: 60,
        base_time: Some(shown(at(-5))),
    };
    assert_eq!(bench.spool.high_water(meter).await.unwrap(), None);
    assert!(bench.spool.set_high_water(meter, Some(mark), 1).await.unwrap());
    let bench = bench.reopen().await;
    assert_eq!(bench.spool.high_water(meter).await.unwrap(), Some(mark));
    // Read under another copy: what was refused then may be permitted now.
    assert!(!bench.spool.set_high_water(meter, None, 0).await.unwrap());
    bench
        .spool
        .apply_delta(&delta(1, vec![grant(202, bob())]), at(0))
        .await
        .unwrap();
    assert_eq!(bench.spool.high_water(meter).await.unwrap(), Some(mark));
    let mut history = grant(201, alice());
    history.includes_history = true;
    bench.spool.apply_delta(&delta(2, vec![history]), at(0)).await.unwrap();
    assert_eq!(bench.spool.high_water(meter).await.unwrap(), None);
}

#[tokio::test]
async fn the_quarantine_counts_repeats_on_their_row_and_is_bounded() {
    let bench = Bench::new().await;
    let meter = home_cuff();
    for _ in 0..2 {
        let link = bench.link(&meter).await;
        bench.heard(link, &meter, vec![0xFF]).await;
        bench.settle().await;
    }
    assert_eq!(
        bench.status().await.quarantine_reasons,
        [("undecodable".to_owned(), 1)].into()
    );
    let link = bench.link(&meter).await;
    for n in 0..5 {
        bench.heard(link, &meter, vec![0xFF, n]).await;
    }
    bench.settle().await;
    let mut tx = bench.spool.begin("test").await.unwrap();
    assert_eq!(crate::spool::aside::evict(&mut tx, 2).await.unwrap(), 4);
    tx.commit().await.unwrap();
    let status = bench.status().await;
    assert_eq!(
        (status.quarantined, status.counters[Counter::QuarantineEvicted.code()]),
        (2, 4)
    );
}

#[tokio::test]
async fn bytes_without_a_time_that_were_kept_aside_are_another_measurement_when_others_came_between() {
    let bench = Bench::new().await;
    let meter = plain_cuff();
    let link = bench.link(&meter).await;
    for systolic in [120, 121] {
        bench.heard(link, &meter, pressure(systolic, None, None)).await;
    }
    bench.closed(link, LinkEnd::Clean).await;
    bench.settle().await;
    assert_eq!(bench.status().await.quarantine_reasons[Reason::TimeUnknown.code()], 2);
    // A cuff that sends its newest record on every link; then that has a new one; and then an equal one.
    for (systolic, outbox) in [(120, 0), (120, 0), (122, 1), (120, 2)] {
        bench.hands.advance(std::time::Duration::from_secs(86_400));
        bench.emptied(&meter, pressure(systolic, None, None)).await;
        let status = bench.status().await;
        assert_eq!((status.quarantined, status.outbox), (2, outbox));
    }
    let mut connection = bench.lock().await;
    let times: Vec<i64> = sqlx::query_scalar("SELECT times FROM quarantine ORDER BY id")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    assert_eq!(times, [3, 1]);
}

#[tokio::test]
async fn a_shared_meters_bytes_that_were_kept_aside_say_nothing_about_the_next_person() {
    let bench = Bench::new().await;
    let cuff = store_cuff();
    let view = bench.desk.begin(&Who::Member("ALICE".parse().unwrap())).await.unwrap();
    for reason in [Some(Reason::TimeUnknown), None] {
        let link = bench.link(&cuff).await;
        let mut heard = packet(link, &cuff, pressure(120, None, None), bench.clock.now());
        heard.sitting = Some(view.sitting);
        let item = Capture::Keep(heard);
        let Captured::Spooled(row) = bench.spool.capture(&[item]).await.unwrap()[0] else {
            panic!("it is new")
        };
        bench.closed(link, LinkEnd::Clean).await;
        match reason {
            None => drop(bench.settle().await),
            Some(reason) => {
                let member = Some(alice());
                let revision = bench.spool.down().revision;
                let mut aside = decided([(row, Settlement::Quarantine { reason, member })]);
                bench.spool.settle(revision, &mut aside, at(0)).await.unwrap().unwrap();
            }
        }
    }
    let status = bench.status().await;
    assert_eq!((status.quarantined, status.outbox), (1, 1));
}

/// What becomes of a record without a date that comes alone over its link.
async fn undated(bench: &Bench, systolic: i64) -> (u64, Option<u64>) {
    bench.hands.advance(std::time::Duration::from_secs(3_600));
    bench.emptied(&plain_cuff(), pressure(systolic, None, None)).await;
    let status = bench.status().await;
    let aside = status.quarantine_reasons.get(Reason::TimeUnknown.code());
    (status.outbox, aside.copied())
}

#[tokio::test]
async fn a_record_without_a_time_may_be_older_than_its_meters_first_link() {
    let bench = Bench::new().await;
    assert_eq!(undated(&bench, 120).await, (0, Some(1)));
    // The meter gave all that it held then.
    assert_eq!(undated(&bench, 121).await, (1, Some(1)));
    // Also after a restart.
    let bench = bench.reopen().await;
    assert_eq!(undated(&bench, 124).await, (2, Some(1)));
    // And for somebody to whom it is bound from now on.
    let mut alices = binding(104, &plain_cuff(), alice(), None);
    alices.valid_from = bench.clock.now() + TimeDelta::minutes(1);
    let mut news = delta(1, Vec::new());
    news.bindings.push(alices);
    bench.spool.apply_delta(&news, bench.clock.now()).await.unwrap();
    assert_eq!(undated(&bench, 122).await, (2, Some(2)));
    assert_eq!(undated(&bench, 123).await, (3, Some(2)));
}

#[tokio::test]
async fn only_a_link_that_shows_all_that_a_meter_holds_makes_a_later_record_new() {
    let cuff = plain_cuff();
    // With a record or without, how the link ends, and whether the clock is believed.
    let links = [
        (true, LinkEnd::Clean, true, 1),
        (false, LinkEnd::Clean, true, 0),
        (true, LinkEnd::HungUp, true, 0),
        (true, LinkEnd::Unclean, true, 0),
        (true, LinkEnd::Clean, false, 0),
    ];
    for (with_record, end, trusted, expected) in links {
        let bench = Bench::new().await;
        let link = bench.link(&cuff).await;
        if with_record {
            // Nobody's.
            let raw = pressure(110, Some(at(-61 * 24 * 60)), None);
            bench.heard(link, &cuff, raw).await;
        }
        bench.spool.close_link(link, end, at(0), trusted).await.unwrap();
        let (outbox, aside) = undated(&bench, 120).await;
        assert_eq!(
            (outbox, aside),
            (expected, (expected == 0).then_some(1)),
            "{with_record} {end:?} {trusted}"
        );
    }
}

#[tokio::test]
async fn a_record_that_becomes_attributable_leaves_the_quarantine_when_it_is_read_again() {
    let bench = Bench::new().await;
    let meter = glucose_meter();
    let early = glucose(1, at(-61 * 24 * 60), false);
    let link = bench.link(&meter).await;
    bench.heard(link, &meter, early.clone()).await;
    bench.settle().await;
    assert_eq!(bench.status().await.quarantine_reasons[Reason::BeforeBinding.code()], 1);
    let mut mine = binding(101, &meter, alice(), None);
    mine.only_ever_this_person = true;
    let mut history = grant(201, alice());
    history.includes_history = true;
    let mut delta = delta(1, vec![history]);
    delta.bindings.push(mine);
    bench.spool.apply_delta(&delta, at(0)).await.unwrap();
    let link = bench.link(&meter).await;
    bench.heard(link, &meter, early).await;
    bench.settle().await;
    let status = bench.status().await;
    assert_eq!((status.quarantined, status.outbox), (0, 1));
}

#[test]
fn a_reading_is_live_for_ten_minutes() {
    assert_eq!(lane_of(at(0), at(10)), Lane::Live);
    assert_eq!(lane_of(at(0), at(10) + TimeDelta::seconds(1)), Lane::Replay);
    // A meter's clock that is a little fast.
    assert_eq!(lane_of(at(1), at(0)), Lane::Live);
}

#[tokio::test]
async fn an_interrupted_link_is_remembered_as_such() {
    let bench = Bench::new().await;
    let meter = plain_cuff();
    for (systolic, end) in [(120, Some(LinkEnd::Clean)), (121, Some(LinkEnd::Unclean)), (122, None)] {
        let link = bench.link(&meter).await;
        bench.heard(link, &meter, pressure(systolic, None, None)).await;
        if let Some(end) = end {
            bench.closed(link, end).await;
        }
    }
    let bench = bench.reopen().await;
    let rows = bench.spool.pending(None).await.unwrap();
    let links: Vec<(bool, bool)> = rows.iter().map(|row| (row.link.closed, row.link.unclean)).collect();
    assert_eq!(links, [(true, false), (true, true), (true, true)]);
}
