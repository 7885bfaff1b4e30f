//! Whatever order things happen in, and whenever the power goes: nothing is lost or doubled.

use std::collections::{BTreeMap, BTreeSet};

use carepost_contract::v1::{Item, Lane, Receipt};
use carepost_domain::id::ReadingId;
use proptest::prelude::*;

use crate::spool::{BatchLimits, LinkEnd, OutBatch};
use crate::testing::*;

#[derive(Debug, Clone)]
enum Step {
    /// The meter sends its next record.
    Hear,
    /// The meter sends a record that it sent before.
    HearAgain(u16),
    Settle,
    /// The gateway sends what has no number yet.
    Send,
    /// The gateway sends again what has no receipt.
    SendAgain,
    /// A receipt arrives.
    Receipt,
    /// The same receipt arrives once more, or one that is older.
    OldReceipt(usize),
    Stop,
    PowerCut,
    Withdraw,
    Consent,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Hear),
        1 => (0_u16..20).prop_map(Step::HearAgain),
        4 => Just(Step::Settle),
        4 => Just(Step::Send),
        2 => Just(Step::SendAgain),
        3 => Just(Step::Receipt),
        1 => (0_usize..8).prop_map(Step::OldReceipt),
        1 => Just(Step::Stop),
        1 => Just(Step::PowerCut),
        1 => Just(Step::Withdraw),
        1 => Just(Step::Consent),
    ]
}

/// The server, as far as it matters here.
#[derive(Default)]
struct Server {
    stored: BTreeSet<ReadingId>,
    settled: BTreeMap<u64, BTreeSet<u64>>,
    receipts: Vec<Receipt>,
}

impl Server {
    fn take(&mut self, n: u64, batch: &OutBatch) {
        for (seq, item) in (batch.first_seq..).zip(&batch.items) {
            self.settled.entry(n).or_default().insert(seq);
            if let Item::Reading(reading) = item {
                self.stored.insert(reading.id);
            }
        }
    }

    fn receipt(&mut self, n: u64) -> Receipt {
        let settled = self.settled.entry(n).or_default();
        let through = (1..).take_while(|seq| settled.contains(seq)).last().unwrap_or(0);
        let receipt = Receipt {
            epoch: epoch(n),
            lane: Lane::Replay,
            settled_through: through,
            extra: settled.iter().copied().filter(|seq| *seq > through).collect(),
            rejected: Vec::new(),
            server_time: noon(),
            hold_replay: false,
        };
        self.receipts.push(receipt.clone());
        receipt
    }
}

fn record(n: u16) -> Vec<u8> {
    glucose(n, at(-20_000 + i64::from(n)), false)
}

fn id_of(n: u16) -> ReadingId {
    let packet = carepost_domain::record::Packet {
        meter: glucose_meter().id,
        characteristic: carepost_gatt::uuid16::GLUCOSE_MEASUREMENT,
        raw: &record(n),
        context_raw: None,
        received_at: noon(),
        nonce: 0,
        quirks: carepost_domain::quirks::DecodeQuirks::NONE,
    };
    carepost_domain::record::decode(&packet).unwrap().id
}

async fn hear(bench: &Bench, n: u16) {
    let meter = glucose_meter();
    let link = bench.link(&meter).await;
    bench.heard(link, &meter, record(n)).await;
    bench.closed(link, LinkEnd::Clean).await;
}

async fn run(steps: Vec<Step>) {
    let mut bench = Bench::new().await;
    let mut server = Server::default();
    let (mut epochs, mut heard, mut version) = (1, 0_u16, 1);
    let mut consents = true;
    // Heard while consent held, and not dropped by a withdrawal since.
    let mut owed: BTreeSet<ReadingId> = BTreeSet::new();
    let mut forbidden: BTreeSet<ReadingId> = BTreeSet::new();
    bench.spool.begin_epoch(epoch(1)).await.unwrap();
    for step in steps.into_iter().chain([Step::Consent]) {
        match step {
            Step::Hear | Step::HearAgain(_) => {
                let n = match step {
                    Step::HearAgain(n) if heard > 0 => n % heard,
                    _ => {
                        heard += 1;
                        heard - 1
                    }
                };
                // Without consent the link does not read the meter.
                if consents {
                    hear(&bench, n).await;
                    owed.insert(id_of(n));
                    forbidden.remove(&id_of(n));
                }
            }
            Step::Settle => {
                bench.settle().await;
            }
            Step::Send => {
                let batch = bench.spool.next_batch(
                    epoch(epochs),
                    Lane::Replay,
                    BatchLimits {
                        items: 3,
                        ..Default::default()
                    },
                );
                if let Some(batch) = batch.await.unwrap() {
                    server.take(epochs, &batch);
                }
            }
            Step::SendAgain => {
                let mut after = 0;
                while let Some(batch) = bench
                    .spool
                    .unreceipted(epoch(epochs), Lane::Replay, after, BatchLimits::default())
                    .await
                    .unwrap()
                {
                    server.take(epochs, &batch);
                    after = batch.last_seq();
                }
            }
            Step::Receipt => {
                let receipt = server.receipt(epochs);
                bench.spool.apply_receipt(&receipt, noon()).await.unwrap();
            }
            Step::OldReceipt(n) => {
                if let Some(receipt) = server.receipts.get(n) {
                    bench.spool.apply_receipt(receipt, noon()).await.unwrap();
                }
            }
            Step::Stop | Step::PowerCut => {
                bench = if matches!(step, Step::Stop) {
                    bench.reopen().await
                } else {
                    bench.crash_image().await
                };
                epochs += 1;
                bench.spool.begin_epoch(epoch(epochs)).await.unwrap();
            }
            Step::Withdraw if consents => {
                let grant = withdrawn(grant(201, alice()), noon());
                bench
                    .spool
                    .apply_delta(&delta(version, vec![grant]), noon())
                    .await
                    .unwrap();
                version += 1;
                consents = false;
                forbidden.extend(owed.iter().filter(|id| !server.stored.contains(id)));
                owed.retain(|id| server.stored.contains(id));
                let status = bench.status().await;
                assert_eq!((status.spooled, status.outbox), (0, 0), "a withdrawal leaves nothing");
            }
            Step::Consent if !consents => {
                bench
                    .spool
                    .apply_delta(&delta(version, vec![grant(201, alice())]), noon())
                    .await
                    .unwrap();
                version += 1;
                consents = true;
            }
            Step::Withdraw | Step::Consent => {}
        }
    }
    // Drain.
    bench.settle().await;
    while let Some(batch) = bench
        .spool
        .next_batch(epoch(epochs), Lane::Replay, BatchLimits::default())
        .await
        .unwrap()
    {
        server.take(epochs, &batch);
    }
    let mut after = 0;
    while let Some(batch) = bench
        .spool
        .unreceipted(epoch(epochs), Lane::Replay, after, BatchLimits::default())
        .await
        .unwrap()
    {
        server.take(epochs, &batch);
        after = batch.last_seq();
    }
    let receipt = server.receipt(epochs);
    bench.spool.apply_receipt(&receipt, noon()).await.unwrap();
    let status = bench.status().await;
    assert_eq!((status.spooled, status.outbox, status.quarantined), (0, 0, 0));
    assert_eq!(owed.difference(&server.stored).count(), 0, "nothing is lost");
    assert_eq!(
        server.stored.intersection(&forbidden).count(),
        0,
        "nothing outlives a withdrawal"
    );
    let known: BTreeSet<ReadingId> = (0..heard).map(id_of).collect();
    assert!(server.stored.is_subset(&known), "nothing is invented");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_or_doubled_in_any_order(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(steps));
    }
}
