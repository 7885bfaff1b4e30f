//! What is written down or settled together is what one after the other would have been.

use carepost_contract::v1::{DownGrant, Item, Lane, WireReading};
use carepost_domain::quarantine::Reason;

use proptest::prelude::*;

use crate::spool::{
    Capture, Captured, Counter, LinkEnd, NewPacket, PENDING_PAGE, PendingRow, Settled, Settlement, SpoolRow,
};
use crate::testing::*;

async fn heard(bench: &Bench, link: crate::spool::LinkId, sequence: u16) -> SpoolRow {
    match bench
        .heard(link, &glucose_meter(), glucose(sequence, at(-5), false))
        .await
    {
        Captured::Spooled(row) => row,
        other => panic!("it is new, and not {other:?}"),
    }
}

/// A reading as the worker would make it, in an outbox that holds nothing else.
async fn reading(bench: &Bench) -> WireReading {
    let link = bench.link(&glucose_meter()).await;
    heard(bench, link, 1).await;
    bench.settle().await;
    bench.spool.begin_epoch(epoch(1)).await.unwrap();
    let batch = bench
        .spool
        .next_batch(epoch(1), Lane::Live, Default::default())
        .await
        .unwrap()
        .unwrap();
    match &batch.items[..] {
        [Item::Reading(reading)] => (**reading).clone(),
        other => panic!("one reading, and not {other:?}"),
    }
}

#[tokio::test]
async fn packets_of_one_capture_are_compared_and_counted_each() {
    let bench = Bench::new().await;
    let (meter, cuff) = (glucose_meter(), home_cuff());
    let (link, other) = (bench.link(&meter).await, bench.link(&cuff).await);
    let keep = |sequence| Capture::Keep(packet(link, &meter, glucose(sequence, at(-5), false), noon()));
    let of_cuff = Capture::Keep(packet(other, &cuff, pressure(120, Some(at(-5)), Some(1)), noon()));
    let refused = Capture::Count {
        link,
        counter: Some(Counter::NoConsent),
    };
    let captured = bench
        .spool
        .capture(&[keep(1), keep(2), of_cuff, keep(1), refused])
        .await
        .unwrap();
    let [
        Captured::Spooled(first),
        Captured::Spooled(second),
        Captured::Spooled(third),
        Captured::Joined(again),
        Captured::Counted,
    ] = captured[..]
    else {
        panic!("{captured:?}")
    };
    assert_eq!(again, first);
    assert!(first < second && second < third);
    let pending = bench.spool.pending(None).await.unwrap();
    let records: Vec<u32> = pending.iter().map(|row| row.link.records).collect();
    // One that may not be kept is a record of its link all the same; one that came before is none.
    assert_eq!(records, [3, 3, 1]);
    let status = bench.status().await;
    let of = |id| status.meters.iter().find(|known| known.id == id).unwrap();
    assert_eq!((of(meter.id).records, of(cuff.id).records), (2, 1));
    assert_eq!(of(meter.id).duplicates, 1);
    assert_eq!(status.counters[Counter::PacketsSpooled.code()], 3);
    assert_eq!(status.counters[Counter::Duplicates.code()], 1);
    assert_eq!(status.counters[Counter::NoConsent.code()], 1);
}

/// One of few records on one of two links, so many seconds after noon. Few, so that many are equal.
#[derive(Debug, Clone, Copy)]
struct Heard {
    glucose: bool,
    number: u16,
    context: bool,
    seconds: i64,
}

fn heards() -> impl Strategy<Value = Vec<Vec<Heard>>> {
    let heard = (any::<bool>(), 1_u16..6, prop::bool::weighted(0.2), 0_i64..150).prop_map(
        |(glucose, number, context, seconds)| Heard {
            glucose,
            number,
            context,
            seconds,
        },
    );
    // Batches that need several statements are among them.
    prop::collection::vec(prop::collection::vec(heard, 1..12), 1..6)
}

/// Captures what was heard, and says what became of each record and what is in the file then.
async fn capture(batches: &[Vec<Heard>]) -> (Vec<Captured>, Vec<PendingRow>, serde_json::Value) {
    let bench = Bench::new().await;
    let (meter, cuff) = (glucose_meter(), home_cuff());
    let (link, other) = (bench.link(&meter).await, bench.link(&cuff).await);
    let mut captured = Vec::new();
    for batch in batches {
        let items = batch.iter().map(|heard| {
            let at_noon = if heard.glucose {
                packet(link, &meter, glucose(heard.number, at(-5), heard.context), noon())
            } else {
                let raw = pressure(100 + i64::from(heard.number), Some(at(-5)), Some(1));
                packet(other, &cuff, raw, noon())
            };
            let heard_at = noon() + chrono::TimeDelta::seconds(heard.seconds);
            Capture::Keep(NewPacket {
                received_at: heard_at,
                ..at_noon
            })
        });
        let items: Vec<Capture> = items.collect();
        captured.extend(bench.spool.capture(&items).await.unwrap());
    }
    let mut pending = bench.spool.pending(None).await.unwrap();
    // Numbers may have gaps; what is compared is their order.
    let places: Vec<SpoolRow> = pending.iter().map(|row| row.row).collect();
    let place = |row: SpoolRow| SpoolRow(i64::try_from(places.binary_search(&row).unwrap()).unwrap());
    for row in &mut pending {
        row.row = place(row.row);
    }
    let captured = captured.into_iter().map(|what| match what {
        Captured::Spooled(row) => Captured::Spooled(place(row)),
        Captured::Joined(row) => Captured::Joined(place(row)),
        other => other,
    });
    let captured = captured.collect();
    let status = serde_json::to_value(bench.status().await).unwrap();
    (captured, pending, status)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn records_that_are_captured_together_become_what_they_become_one_by_one(batches in heards()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let alone: Vec<Vec<Heard>> = batches.iter().flatten().map(|heard| vec![*heard]).collect();
            let one_by_one = capture(&alone).await;
            prop_assert_eq!(&capture(&batches).await, &one_by_one);
            let all = [batches.concat()];
            prop_assert_eq!(&capture(&all).await, &one_by_one);
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn a_whole_memory_in_one_capture_keeps_its_order() {
    let bench = Bench::new().await;
    let meter = glucose_meter();
    let link = bench.link(&meter).await;
    // Downwards, and with one in the middle that is there already.
    let before = heard(&bench, link, 100).await;
    let items: Vec<Capture> = (1..=150)
        .rev()
        .map(|sequence| Capture::Keep(packet(link, &meter, glucose(sequence, at(-5), false), noon())))
        .collect();
    let captured = bench.spool.capture(&items).await.unwrap();
    let mut expected = Vec::new();
    for item in &items {
        // What is asked for alone joins the row in which it stands.
        expected.extend(bench.spool.capture(std::slice::from_ref(item)).await.unwrap());
    }
    let row = |captured: &Captured| match captured {
        Captured::Spooled(row) | Captured::Joined(row) => *row,
        other => panic!("a record, and not {other:?}"),
    };
    let rows: Vec<SpoolRow> = captured.iter().map(row).collect();
    assert_eq!(rows, expected.iter().map(row).collect::<Vec<_>>());
    let new: Vec<SpoolRow> = captured
        .iter()
        .filter(|what| matches!(what, Captured::Spooled(_)))
        .map(row)
        .collect();
    assert_eq!(new.len(), 149);
    assert!(new.is_sorted());
    assert_eq!(captured[50], Captured::Joined(before));
}

#[tokio::test]
async fn readings_of_one_settlement_stand_in_the_order_of_their_packets_and_once() {
    let bench = Bench::new().await;
    let meter = glucose_meter();
    let (link, next) = (bench.link(&meter).await, bench.link(&meter).await);
    // Downwards, so that no other order looks right by accident.
    for sequence in (1..=40).rev() {
        heard(&bench, link, sequence).await;
    }
    heard(&bench, next, 7).await;
    assert_eq!(bench.settle().await, 41);
    let outbox = bench.outbox().await;
    let sequences: Vec<u16> = outbox
        .iter()
        .map(|reading| {
            carepost_gatt::glucose::Measurement::decode(&reading.raw)
                .unwrap()
                .value
                .sequence
        })
        .collect();
    assert_eq!(sequences, (1..=40).rev().collect::<Vec<_>>());
    let status = bench.status().await;
    assert_eq!((status.spooled, status.outbox), (0, 40));
    assert_eq!(status.counters[Counter::Duplicates.code()], 1);
    // All of it is on the disk.
    let image = bench.crash_image().await;
    assert_eq!(image.outbox().await, outbox);
}

#[tokio::test]
async fn decisions_of_one_settlement_see_each_other() {
    let bench = Bench::new().await;
    let mut alices = reading(&bench).await;
    alices.id = id(900);
    let mut bobs = alices.clone();
    bobs.member = bob();
    let link = bench.link(&glucose_meter()).await;
    let mut rows = Vec::new();
    for sequence in 2..=5 {
        rows.push(heard(&bench, link, sequence).await);
    }
    let outbox = |reading: &WireReading| Settlement::Outbox(Box::new(reading.clone()));
    let decisions = [
        (rows[0], outbox(&alices)),
        (rows[1], outbox(&bobs)),
        (rows[2], outbox(&alices)),
        // A row is decided about once.
        (rows[0], outbox(&alices)),
        (rows[3], Settlement::Forget(Counter::NoConsent)),
    ];
    let settled = bench
        .spool
        .settle(1, &mut decided(&decisions), at(0))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        settled,
        [
            Settled::Outbox(alices.id),
            Settled::Conflict(alices.id),
            Settled::Known(alices.id),
            Settled::Gone,
            Settled::Forgotten,
        ]
    );
    let status = bench.status().await;
    assert_eq!((status.spooled, status.outbox), (0, 2));
    assert_eq!(status.quarantine_reasons, [("member_conflict".to_owned(), 1)].into());
    assert_eq!(status.counters[Counter::Duplicates.code()], 1);
    assert_eq!(status.counters[Counter::NoConsent.code()], 1);
}

#[tokio::test]
async fn a_row_that_is_gone_takes_none_of_the_others_with_it() {
    let bench = Bench::new().await;
    let mut first = reading(&bench).await;
    let link = bench.link(&glucose_meter()).await;
    let mut decisions = Vec::new();
    for sequence in 2..=4 {
        first.id = id(900 + u128::from(sequence));
        let row = heard(&bench, link, sequence).await;
        decisions.push((row, Settlement::Outbox(Box::new(first.clone()))));
    }
    let gone = Capture::Discard {
        row: decisions[1].0,
        counter: None,
    };
    bench.spool.capture(&[gone]).await.unwrap();
    let settled = bench
        .spool
        .settle(1, &mut decided(&decisions), at(0))
        .await
        .unwrap()
        .unwrap();
    let expected = [Settled::Outbox(id(902)), Settled::Gone, Settled::Outbox(id(904))];
    assert_eq!(settled, expected);
    let status = bench.status().await;
    // The one that was there before is still there.
    assert_eq!((status.spooled, status.outbox), (0, 3));
}

#[tokio::test]
async fn one_reading_for_two_members_is_a_conflict_among_nothing_but_readings_too() {
    let bench = Bench::new().await;
    let mut alices = reading(&bench).await;
    alices.id = id(900);
    let bobs = WireReading {
        member: bob(),
        ..alices.clone()
    };
    let link = bench.link(&glucose_meter()).await;
    let (one, other) = (heard(&bench, link, 2).await, heard(&bench, link, 3).await);
    let decisions = [(one, alices.clone()), (other, bobs)].map(|(row, what)| (row, Settlement::Outbox(Box::new(what))));
    let settled = bench
        .spool
        .settle(1, &mut decided(&decisions), at(0))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(settled, [Settled::Outbox(alices.id), Settled::Conflict(alices.id)]);
    let status = bench.status().await;
    assert_eq!((status.spooled, status.outbox), (0, 2));
    assert_eq!(status.quarantine_reasons, [("member_conflict".to_owned(), 1)].into());
}

#[tokio::test]
async fn nothing_but_readings_of_which_the_outbox_has_one_are_each_what_they_would_be_alone() {
    for (place, member) in [
        (0, alice()),
        (1, alice()),
        (2, alice()),
        (0, bob()),
        (1, bob()),
        (2, bob()),
    ] {
        let bench = Bench::new().await;
        let there = reading(&bench).await;
        let link = bench.link(&glucose_meter()).await;
        let mut decisions = Vec::new();
        let mut expected = Vec::new();
        for nth in 0..3 {
            let row = heard(&bench, link, 2 + nth).await;
            let mut reading = WireReading {
                id: id(900 + u128::from(nth)),
                ..there.clone()
            };
            let mut settled = Settled::Outbox(reading.id);
            if nth == place {
                (reading.id, reading.member) = (there.id, member);
                let is_hers = member == there.member;
                settled = [Settled::Conflict(there.id), Settled::Known(there.id)][usize::from(is_hers)];
            }
            decisions.push((row, Settlement::Outbox(Box::new(reading))));
            expected.push(settled);
        }
        let settled = bench
            .spool
            .settle(1, &mut decided(&decisions), at(0))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(settled, expected, "place {place}");
        let status = bench.status().await;
        assert_eq!((status.spooled, status.outbox), (0, 3), "place {place}");
        let (conflicts, known) = (status.quarantined, status.counters[Counter::Duplicates.code()]);
        assert_eq!(
            (conflicts, known),
            if member == alice() { (0, 1) } else { (1, 0) },
            "place {place}"
        );
    }
}

/// Settles more than two pages of Alice's records while a change comes down, once so many pages are written.
async fn settled_around(change: DownGrant, pages: usize) -> Bench {
    let bench = Bench::new().await;
    let meter = glucose_meter();
    let link = bench.link(&meter).await;
    let many = u16::try_from(2 * PENDING_PAGE + 100).unwrap();
    let items: Vec<Capture> = (1..=many)
        .map(|sequence| Capture::Keep(packet(link, &meter, glucose(sequence, at(-5), false), noon())))
        .collect();
    bench.spool.capture(&items).await.unwrap();
    let mut written = bench.spool.watch_outbox();
    let comes_down = async {
        for _ in 0..pages {
            written.changed().await.unwrap();
        }
        bench.spool.apply_delta(&delta(1, vec![change]), at(1)).await.unwrap();
    };
    tokio::join!(bench.settle(), comes_down);
    bench.settle().await;
    assert_eq!(bench.status().await.spooled, 0);
    bench
}

#[tokio::test]
async fn a_change_between_pages_loses_and_doubles_nothing() {
    for pages in 0..=2 {
        let bench = settled_around(grant(202, bob()), pages).await;
        let status = bench.status().await;
        assert_eq!(status.outbox, u64::from(2 * PENDING_PAGE + 100), "after {pages} pages");
        assert_eq!(status.counters[Counter::Duplicates.code()], 0, "after {pages} pages");
    }
}

#[tokio::test]
async fn a_withdrawal_between_pages_leaves_nothing() {
    for pages in 0..=2 {
        let bench = settled_around(withdrawn(grant(201, alice()), at(1)), pages).await;
        assert_eq!(bench.status().await.outbox, 0, "after {pages} pages");
        assert!(bench.outbox().await.is_empty(), "after {pages} pages");
    }
}

#[tokio::test]
async fn a_reading_takes_its_packet_out_of_the_quarantine_and_a_later_decision_puts_it_back() {
    let bench = Bench::new().await;
    let mut new = reading(&bench).await;
    let aside = Settlement::Quarantine {
        reason: Reason::NobodyBound,
        member: None,
    };
    let row_of_the_same_packet = async || {
        let link = bench.link(&glucose_meter()).await;
        let row = heard(&bench, link, 9).await;
        bench.closed(link, LinkEnd::Clean).await;
        row
    };
    let first = row_of_the_same_packet().await;
    bench
        .spool
        .settle(1, &mut decided([(first, aside.clone())]), at(0))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(bench.status().await.quarantined, 1);
    new.id = id(901);
    let second = row_of_the_same_packet().await;
    bench
        .spool
        .settle(
            1,
            &mut decided([(second, Settlement::Outbox(Box::new(new.clone())))]),
            at(0),
        )
        .await
        .unwrap()
        .unwrap();
    assert_eq!(bench.status().await.quarantined, 0);
    new.id = id(902);
    let (third, fourth) = (row_of_the_same_packet().await, row_of_the_same_packet().await);
    let decisions = [(third, Settlement::Outbox(Box::new(new))), (fourth, aside)];
    bench
        .spool
        .settle(1, &mut decided(&decisions), at(0))
        .await
        .unwrap()
        .unwrap();
    let status = bench.status().await;
    assert_eq!((status.quarantined, status.outbox), (1, 3));
}
