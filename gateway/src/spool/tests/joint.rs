//! A page that is settled by the transaction that captures what came after it.

use std::collections::BTreeMap;

use carepost_contract::v1::WireReading;
use carepost_domain::reading::Slot;
use carepost_gatt::uuid16;
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

fn context_of(link: LinkId, number: u16) -> Capture {
    let mut context = packet(link, &glucose_meter(), fasting(number), noon());
    context.characteristic = uuid16::GLUCOSE_CONTEXT;
    Capture::Keep(context)
}

/// Decides about everything that waits, by the copy of this revision.
async fn decide(bench: &Bench) -> (u64, Decided) {
    let copy = bench.spool.down();
    let mut decisions = Vec::new();
    for row in bench.spool.pending(None).await.unwrap() {
        match settlement(&row, None, &copy, noon()) {
            Decision::Settle { settlement, .. } => decisions.push(((&row).into(), settlement)),
            other => panic!("{other:?}"),
        }
    }
    (copy.revision(), Decided::new(decisions).unwrap())
}

/// Captures while a page is settled that was decided by `revision`.
async fn with_page(
    bench: &Bench,
    items: &[Capture],
    (revision, mut page): (u64, Decided),
) -> (Vec<Captured>, Result<Option<Vec<Settled>>, SpoolError>) {
    let settle = bench.spool.settle(revision, &mut page, noon());
    let (captured, settled) = bench.both(bench.spool.capture(items), settle).await;
    (captured.unwrap(), settled)
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
    let items = records(link, 6..8);
    let (captured, settled) = bench.both(bench.spool.capture(&items), bench.settle()).await;
    assert_eq!((captured.unwrap().len(), settled), (2, 6));
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
    /// The context of one that waits comes while that is settled, and records behind it.
    Context(prop::sample::Index, Vec<u16>),
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
        2 => (any::<prop::sample::Index>(), numbers()).prop_map(|(nth, numbers)| Step::Context(nth, numbers)),
        1 => any::<prop::sample::Index>().prop_map(Step::Drop),
        1 => Just(Step::PowerCut),
    ];
    prop::collection::vec(step, 1..16)
}

/// Records of the meter by their numbers, and of each whether it came with a context.
#[derive(Debug, Default)]
struct Model {
    waiting: BTreeMap<SpoolRow, (u16, bool)>,
    /// Rows up to this one came over links that have ended.
    ended: Option<SpoolRow>,
    outbox: BTreeMap<u16, bool>,
}

impl Model {
    fn settle(&mut self) {
        for (number, context) in std::mem::take(&mut self.waiting).into_values() {
            self.outbox.entry(number).or_insert(context);
        }
    }

    /// Takes note of what became of records.
    fn heard(&mut self, numbers: &[u16], captured: &[Captured]) {
        for (number, what) in numbers.iter().zip(captured) {
            if let Captured::Spooled(row) = what {
                self.waiting.insert(*row, (*number, false));
            }
        }
    }

    /// Takes note of what became of the context of a number.
    fn context(&mut self, number: u16, what: Captured) {
        let of_this_link = |(row, (other, _)): (&SpoolRow, &(u16, bool))| *other == number && Some(*row) > self.ended;
        let joins = self.waiting.iter().any(of_this_link);
        assert_eq!(matches!(what, Captured::Joined(_)), joins);
        if !joins {
            return;
        }
        let same = |(other, _): &&mut (u16, bool)| *other == number;
        self.waiting
            .values_mut()
            .filter(same)
            .for_each(|(_, context)| *context = true);
    }

    async fn compare(&self, bench: &Bench) {
        let number = |reading: &WireReading| (reading.time.at - at(-20_000)).num_minutes().try_into().unwrap();
        let outbox = bench.outbox().await;
        let outbox: BTreeMap<u16, bool> = outbox
            .iter()
            .map(|r| (number(r), r.slot == Some(Slot::Fasting)))
            .collect();
        assert_eq!(outbox, self.outbox);
        let waiting = u64::try_from(self.waiting.len()).unwrap();
        assert_eq!(bench.status().await.spooled, waiting);
    }
}

/// Plays the steps: every row is at each moment either waiting, or settled as one reading, or dropped; and a context that
/// joined a row is with its reading.
async fn played(steps: Vec<Step>) {
    let mut bench = Bench::new().await;
    let mut link = bench.link(&glucose_meter()).await;
    let mut model = Model::default();
    for step in steps {
        let waiting = u64::try_from(model.waiting.len()).unwrap();
        // Nothing would be offered without something that waits, or if it has a reading twice.
        let is_offered = decide(&bench).await.1.plain.is_some();
        match step {
            Step::Hear(numbers) => {
                let captured = bench
                    .spool
                    .capture(&records(link, numbers.iter().copied()))
                    .await
                    .unwrap();
                model.heard(&numbers, &captured);
            }
            Step::Both(numbers) => {
                let items = records(link, numbers.iter().copied());
                let capture = bench.spool.capture(&items);
                let captured = if is_offered {
                    let (captured, settled) = bench.both(capture, bench.settle()).await;
                    assert_eq!(settled, waiting);
                    model.settle();
                    captured
                } else {
                    capture.await
                };
                model.heard(&numbers, &captured.unwrap());
            }
            Step::Context(_, _) if !is_offered => {}
            Step::Context(nth, numbers) => {
                let (number, _) = *model.waiting.values().nth(nth.index(model.waiting.len())).unwrap();
                let context = [context_of(link, number)];
                let items = records(link, numbers.iter().copied());
                // Both wait for the connection before the page is on offer.
                let capture = async { tokio::join!(bench.spool.capture(&context), bench.spool.capture(&items)) };
                let ((what, captured), _) = bench.both(capture, bench.settle()).await;
                model.context(number, what.unwrap()[0]);
                model.heard(&numbers, &captured.unwrap());
                // What came meanwhile may be settled by the same pass, or wait for the next.
                bench.settle().await;
                model.settle();
            }
            Step::Settle => {
                assert_eq!(bench.settle().await, waiting);
                model.settle();
            }
            Step::Drop(nth) => {
                if !model.waiting.is_empty() {
                    let row = *model.waiting.keys().nth(nth.index(model.waiting.len())).unwrap();
                    model.waiting.remove(&row);
                    let drop = Capture::Discard { row, counter: None };
                    bench.spool.capture(&[drop]).await.unwrap();
                }
            }
            Step::PowerCut => {
                bench = bench.crash_image().await;
                link = bench.link(&glucose_meter()).await;
                model.ended = model.waiting.keys().next_back().copied();
            }
        }
        model.compare(&bench).await;
    }
    bench.settle().await;
    model.settle();
    model.compare(&bench).await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_packet_is_in_one_place(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(played(steps));
    }
}
