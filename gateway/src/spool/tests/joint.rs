//! A page that is settled by the transaction that captures what came after it.

use std::cell::Cell;
use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::attribute::{Decision, settlement};
use crate::spool::{Capture, Captured, Decided, LinkId, Settled, SpoolError, SpoolRow};
use crate::testing::*;

fn records(link: LinkId, numbers: impl IntoIterator<Item = u16>) -> Vec<Capture> {
    let record = |number| {
        let measured = at(-20_000 + i64::from(number));
        Capture::Keep(packet(link, &glucose_meter(), glucose(number, measured, false), noon()))
    };
    numbers.into_iter().map(record).collect()
}

/// Decides about everything that waits, by the copy of this revision.
async fn decide(bench: &Bench) -> (u64, Decided) {
    let copy = bench.spool.down();
    let mut decisions = Vec::new();
    for row in bench.spool.pending(None).await.unwrap() {
        match settlement(&row, None, &copy, noon()) {
            Decision::Settle { settlement, .. } => decisions.push((row.row, settlement)),
            other => panic!("{other:?}"),
        }
    }
    (copy.revision(), decided(decisions))
}

/// Both wait for the connection, the capture first, and then get it.
async fn both<T>(bench: &Bench, items: &[Capture], settle: impl Future<Output = T>) -> (Vec<Captured>, T) {
    let held = bench.spool.begin_at_the_end("hold the connection").await.unwrap();
    let over = Cell::new(false);
    let settle = async {
        let settled = settle.await;
        over.set(true);
        settled
    };
    let release = async {
        while !over.get() && !bench.spool.has_an_offer() {
            tokio::task::yield_now().await;
        }
        drop(held);
    };
    let (captured, settled, ()) = tokio::join!(bench.spool.capture(items), settle, release);
    (captured.unwrap(), settled)
}

/// The same for a page that was decided by `revision`.
async fn with_page(
    bench: &Bench,
    items: &[Capture],
    (revision, mut page): (u64, Decided),
) -> (Vec<Captured>, Result<Option<Vec<Settled>>, SpoolError>) {
    both(bench, items, bench.spool.settle(revision, &mut page, noon())).await
}

/// Transactions in the write-ahead log (sqlite.org, "WAL-mode File Format": the second word of a frame's header is not 0 in
/// the last frame of each).
fn commits(bench: &Bench) -> usize {
    let log = std::fs::read(bench.folder.path().join("spool.sqlite-wal")).unwrap();
    let word = |bytes: &[u8], at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    if log.is_empty() {
        return 0;
    }
    let page = usize::try_from(word(&log, 8)).unwrap();
    let frames = log[32..].chunks_exact(24 + page);
    frames.filter(|frame| word(frame, 4) != 0).count()
}

#[tokio::test]
async fn a_page_and_what_came_after_it_wait_for_the_disk_once() {
    let bench = Bench::new().await;
    let link = bench.link(&glucose_meter()).await;
    bench.spool.capture(&records(link, 0..300)).await.unwrap();
    let before = commits(&bench);
    let page = decide(&bench).await;
    let (captured, settled) = with_page(&bench, &records(link, 300..400), page).await;
    assert_eq!(commits(&bench) - before, 1);
    assert!(captured.iter().all(|what| matches!(what, Captured::Spooled(_))));
    let settled = settled.unwrap().expect("nobody withdrew");
    assert_eq!(settled.len(), 300);
    assert!(settled.iter().all(|what| matches!(what, Settled::Outbox(_))));
    assert_eq!((bench.status().await.spooled, bench.outbox().await.len()), (100, 300));
    // With nothing to go with, it does not wait.
    assert_eq!(bench.settle().await, 100);
    assert_eq!(commits(&bench) - before, 2);
}

#[tokio::test]
async fn a_page_that_is_not_as_it_was_keeps_no_packet_from_the_disk() {
    let bench = Bench::new().await;
    let link = bench.link(&glucose_meter()).await;
    let captured = bench.spool.capture(&records(link, 0..3)).await.unwrap();
    let page = decide(&bench).await;
    let Some(Captured::Spooled(row)) = captured.get(1).copied() else {
        panic!("{captured:?}")
    };
    bench
        .spool
        .capture(&[Capture::Discard { row, counter: None }])
        .await
        .unwrap();
    let (captured, settled) = with_page(&bench, &records(link, 3..5), page).await;
    assert!(
        matches!(
            captured[..],
            [Captured::Spooled(SpoolRow(4)), Captured::Spooled(SpoolRow(5))]
        ),
        "{captured:?}"
    );
    let settled = settled.unwrap().expect("nobody withdrew");
    assert!(
        matches!(settled[..], [Settled::Outbox(_), Settled::Gone, Settled::Outbox(_)]),
        "{settled:?}"
    );
    assert_eq!((bench.status().await.spooled, bench.outbox().await.len()), (2, 2));
    assert_eq!(bench.status().await.counters["packets_spooled"], 5);
}

#[tokio::test]
async fn a_page_for_which_there_is_no_room_keeps_no_packet_from_the_disk() {
    let bench = Bench::new().await;
    let link = bench.link(&glucose_meter()).await;
    bench.spool.capture(&records(link, 0..300)).await.unwrap();
    let page = decide(&bench).await;
    // The file's last page has room for a packet.
    bench.limit_to_pages(1).await;
    let before = commits(&bench);
    let (captured, settled) = with_page(&bench, &records(link, 300..301), page).await;
    assert!(
        matches!(captured[..], [Captured::Spooled(SpoolRow(301))]),
        "{captured:?}"
    );
    assert_eq!(commits(&bench) - before, 1);
    assert!(settled.is_err_and(|error| error.is_disk_full()));
    bench.limit_to_pages(1_000_000).await;
    bench.settle().await;
    assert_eq!((bench.status().await.spooled, bench.outbox().await.len()), (0, 301));
}

#[tokio::test]
async fn a_page_that_was_decided_before_a_withdrawal_goes_with_nothing() {
    let bench = Bench::new().await;
    let link = bench.link(&glucose_meter()).await;
    bench.spool.capture(&records(link, 0..3)).await.unwrap();
    let page = decide(&bench).await;
    let withdrawal = withdrawn(grant(201, alice()), noon());
    bench
        .spool
        .apply_delta(&delta(1, vec![withdrawal]), noon())
        .await
        .unwrap();
    let before = commits(&bench);
    let (captured, settled) = with_page(&bench, &records(link, 3..5), page).await;
    assert_eq!(captured.len(), 2);
    assert_eq!(settled.unwrap(), None);
    assert_eq!(commits(&bench) - before, 1);
    assert_eq!(bench.outbox().await.len(), 0);
}

#[tokio::test]
async fn a_page_with_something_known_is_settled_behind_the_capture() {
    let bench = Bench::new().await;
    let link = bench.link(&glucose_meter()).await;
    bench.spool.capture(&records(link, 0..3)).await.unwrap();
    assert_eq!(bench.settle().await, 3);
    bench.spool.capture(&records(link, 0..6)).await.unwrap();
    let before = commits(&bench);
    let (captured, settled) = both(&bench, &records(link, 6..8), bench.settle()).await;
    assert_eq!((captured.len(), settled), (2, 6));
    assert_eq!(commits(&bench) - before, 2);
    assert_eq!((bench.status().await.spooled, bench.outbox().await.len()), (2, 6));
}

#[tokio::test]
async fn an_offer_ends_with_whoever_made_it() {
    let bench = Bench::new().await;
    let link = bench.link(&glucose_meter()).await;
    bench.spool.capture(&records(link, 0..3)).await.unwrap();
    let (revision, mut page) = decide(&bench).await;
    let held = bench.spool.begin_at_the_end("hold the connection").await.unwrap();
    let settle = bench.spool.settle(revision, &mut page, noon());
    tokio::select! {
        biased;
        settled = settle => panic!("{settled:?}"),
        () = async { assert!(bench.spool.has_an_offer()) } => {}
    }
    assert!(!bench.spool.has_an_offer());
    drop(held);
    bench.spool.capture(&records(link, 3..5)).await.unwrap();
    assert_eq!((bench.status().await.spooled, bench.outbox().await.len()), (5, 0));
}

#[derive(Debug, Clone)]
enum Step {
    Hear(Vec<u16>),
    Settle,
    /// Records come while what waits is settled.
    Both(Vec<u16>),
    /// One that waits is dropped.
    Drop(prop::sample::Index),
    PowerCut,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let numbers = || prop::collection::btree_set(0_u16..60, 1..20).prop_map(|numbers| numbers.into_iter().collect());
    let step = prop_oneof![
        2 => numbers().prop_map(Step::Hear),
        1 => Just(Step::Settle),
        4 => numbers().prop_map(Step::Both),
        1 => any::<prop::sample::Index>().prop_map(Step::Drop),
        1 => Just(Step::PowerCut),
    ];
    prop::collection::vec(step, 1..16)
}

/// Plays the steps: every row is at each moment either waiting, or settled as one reading, or dropped.
async fn played(steps: Vec<Step>) {
    let mut bench = Bench::new().await;
    let mut link = bench.link(&glucose_meter()).await;
    // Numbers that wait, by row, and those in the outbox.
    let mut waiting = std::collections::BTreeMap::new();
    let mut outbox = BTreeSet::new();
    for step in steps {
        let numbers = match &step {
            Step::Hear(numbers) | Step::Both(numbers) => numbers.clone(),
            _ => Vec::new(),
        };
        let items = records(link, numbers.iter().copied());
        let captured = match step {
            Step::Hear(_) => bench.spool.capture(&items).await.unwrap(),
            // Nothing would be offered without something that waits, or if it has a reading twice.
            Step::Both(_) if decide(&bench).await.1.plain.is_none() => bench.spool.capture(&items).await.unwrap(),
            Step::Both(_) => {
                let (captured, settled) = both(&bench, &items, bench.settle()).await;
                assert_eq!(settled, u64::try_from(waiting.len()).unwrap());
                outbox.extend(std::mem::take(&mut waiting).into_values());
                captured
            }
            Step::Settle => {
                assert_eq!(bench.settle().await, u64::try_from(waiting.len()).unwrap());
                outbox.extend(std::mem::take(&mut waiting).into_values());
                Vec::new()
            }
            Step::Drop(nth) => {
                if !waiting.is_empty() {
                    let row = *waiting.keys().nth(nth.index(waiting.len())).unwrap();
                    waiting.remove(&row);
                    bench
                        .spool
                        .capture(&[Capture::Discard { row, counter: None }])
                        .await
                        .unwrap();
                }
                Vec::new()
            }
            Step::PowerCut => {
                bench = bench.crash_image().await;
                link = bench.link(&glucose_meter()).await;
                Vec::new()
            }
        };
        for (number, what) in numbers.into_iter().zip(captured) {
            if let Captured::Spooled(row) = what {
                waiting.insert(row, number);
            }
        }
        let status = bench.status().await;
        assert_eq!(status.spooled, u64::try_from(waiting.len()).unwrap());
        assert_eq!(bench.outbox().await.len(), outbox.len());
    }
    bench.settle().await;
    outbox.extend(waiting.into_values());
    assert_eq!(
        (bench.status().await.spooled, bench.outbox().await.len()),
        (0, outbox.len())
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_packet_is_in_one_place(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(played(steps));
    }
}
