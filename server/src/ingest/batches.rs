//! Readings, from the queue to the receipt: verify, parse, commit, acknowledge, receipt.

use carepost_contract::topic::Channel;
use carepost_contract::v1::{
    BatchError, Epoch, Item, Lane, ParsedBatch, Receipt, Rejected, Rejection, parse_batch, salvage_batch,
};
use carepost_daemon::CancellationToken;
use carepost_domain::id::GatewayId;
use carepost_domain::quarantine::Reason;
use carepost_store::IngestError;
use carepost_store::model::{self, Incoming, IncomingItem, IngestOutcome};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::app::AppState;
use crate::broker::{Message, Verdict};
use crate::telemetry::Metric;

use super::{MAX_SIGNED_BATCH_BYTES, Poison, Trouble, open, sender, settle};

/// Takes batches until the soft stop, `writers` at a time; then finishes those in hand. Batches that still wait are
/// dropped unacknowledged, and come again.
pub(crate) async fn run(
    state: AppState,
    mut live: mpsc::Receiver<Message>,
    mut replay: mpsc::Receiver<Message>,
    soft: CancellationToken,
) -> anyhow::Result<()> {
    let writers = state.config.ingest.writers.max(1);
    let mut running = JoinSet::new();
    loop {
        if running.len() >= writers
            && let Some(result) = running.join_next().await
        {
            // A panic is a mistake of ours and takes the process down; the batch was not acknowledged.
            result?;
            continue;
        }
        // All branches are cancel-safe: a batch that loses the race is still in its queue.
        let message = tokio::select! {
            biased;
            () = soft.cancelled() => break,
            Some(message) = live.recv() => message,
            Some(message) = replay.recv() => message,
            Some(result) = running.join_next() => {
                result?;
                continue;
            }
        };
        let state = state.clone();
        running.spawn(async move { take(&state, message).await });
    }
    while let Some(result) = running.join_next().await {
        result?;
    }
    Ok(())
}

/// Deals with one batch to its end.
async fn take(state: &AppState, message: Message) {
    match commit(state, &message).await {
        Ok(receipt) => {
            let gateway = message.gateway;
            state.counters.count(Metric::MessagesTaken);
            message.answer(Verdict::Taken);
            send(state, gateway, receipt);
        }
        Err(trouble) => {
            let gateway = message.gateway;
            let receipt = match &trouble {
                Trouble::Poison(_) => settle_numbers(state, &message).await,
                Trouble::Expelled | Trouble::Store(_) => None,
            };
            settle(state, message, trouble).await;
            if let Some(receipt) = receipt {
                send(state, gateway, receipt);
            }
        }
    }
}

fn send(state: &AppState, gateway: GatewayId, receipt: ReceiptBytes) {
    // An unsent receipt is made up for by the next hello.
    if let Err(error) = state.broker.publish_receipt(gateway, receipt.lane, receipt.bytes) {
        tracing::debug!(gateway.id = %gateway, %error, "receipt not sent");
    }
}

/// The numbers of a batch that cannot be used although its gateway signed it: each is an item that does not parse.
async fn salvage(state: &AppState, message: &Message) -> Option<Batched> {
    let gateway = sender(state, message.gateway).await.ok()?;
    let payload = open(&gateway, &message.payload).ok()?;
    let found = salvage_batch(payload).filter(|found| found.gateway == message.gateway)?;
    // The bytes themselves are in quarantine as a whole.
    let item = || IncomingItem::Malformed {
        text: "an item of an unusable batch".to_owned(),
    };
    Some(Batched {
        epoch: found.epoch,
        lane: found.lane,
        incoming: Incoming {
            gateway: found.gateway,
            epoch: found.epoch.to_string(),
            lane: lane_of(found.lane),
            settled_seen: found.settled_seen,
            first_seq: found.first_seq,
            items: (0..found.items).map(|_| item()).collect(),
        },
    })
}

/// Rejects every number of an unusable batch, so that it does not hold its lane; its gateway has the readings.
async fn settle_numbers(state: &AppState, message: &Message) -> Option<ReceiptBytes> {
    let batch = salvage(state, message).await?;
    match ingest(state, &batch).await {
        Ok(receipt) => Some(receipt),
        // It comes again, as the gateway has no receipt.
        Err(trouble) => {
            tracing::warn!(gateway.id = %message.gateway, ?trouble, "numbers of an unusable batch are not settled");
            None
        }
    }
}

/// A batch as the store takes it.
struct Batched {
    epoch: Epoch,
    lane: Lane,
    incoming: Incoming,
}

struct ReceiptBytes {
    lane: Lane,
    bytes: Vec<u8>,
}

async fn commit(state: &AppState, message: &Message) -> Result<ReceiptBytes, Trouble> {
    let gateway = sender(state, message.gateway).await?;
    if message.payload.len() > MAX_SIGNED_BATCH_BYTES {
        return Err(Poison::unusable(Reason::TooLarge, "the batch is too large").into());
    }
    let payload = open(&gateway, &message.payload)?;
    let batch = parse_batch(payload).map_err(|error| poison_of(&error))?;
    if batch.gateway != message.gateway {
        return Err(Poison::not_authorised(Reason::WrongGateway, "the batch names another gateway").into());
    }
    let lane = match message.channel {
        Channel::UpLive => Lane::Live,
        _ => Lane::Replay,
    };
    if batch.lane != lane {
        return Err(Poison::unusable(Reason::Malformed, "the batch names another lane than its topic").into());
    }
    let batch = Batched {
        epoch: batch.epoch,
        lane,
        incoming: incoming(batch),
    };
    ingest(state, &batch).await
}

/// Commits a batch, and makes its receipt.
async fn ingest(state: &AppState, batch: &Batched) -> Result<ReceiptBytes, Trouble> {
    let began = state.clock.monotonic();
    let Batched { epoch, lane, incoming } = batch;
    let items = incoming.items.len();
    let voids = incoming
        .items
        .iter()
        .filter(|item| matches!(item, IncomingItem::Void))
        .count();
    let now = state.clock.now();
    let outcome = state
        .store
        .ingest_batch(incoming, &state.rules, now)
        .await
        .map_err(trouble_of)?;
    // After the commit: only receipts count, and nothing below can undo it.
    let in_this_batch = |seq: &u64| (incoming.first_seq..incoming.first_seq + items as u64).contains(seq);
    let rejected = outcome.rejected.iter().filter(|(seq, _)| in_this_batch(seq)).count();
    state
        .counters
        .add(Metric::ReadingsStored, outcome.new_readings.len() as u64);
    state.counters.add(Metric::ReadingsDuplicate, outcome.duplicates);
    state.counters.add(Metric::ReadingsRejected, rejected as u64);
    state.counters.add(Metric::ReadingsVoid, voids as u64);
    let duration_ms = u64::try_from((state.clock.monotonic().saturating_sub(began)).as_millis()).unwrap_or(u64::MAX);
    tracing::info!(
        gateway.id = %incoming.gateway,
        lane = lane.code(),
        items,
        stored = outcome.new_readings.len(),
        duplicates = outcome.duplicates,
        rejected,
        settled_through = outcome.settled_through,
        duration_ms,
        "batch committed"
    );
    let receipt = receipt(*epoch, *lane, outcome, now);
    // Numbers and codes always serialise.
    let bytes = serde_json::to_vec(&receipt).unwrap_or_default();
    Ok(ReceiptBytes { lane: *lane, bytes })
}

const fn lane_of(lane: Lane) -> model::Lane {
    match lane {
        Lane::Live => model::Lane::Live,
        Lane::Replay => model::Lane::Replay,
    }
}

fn incoming(batch: ParsedBatch) -> Incoming {
    Incoming {
        gateway: batch.gateway,
        epoch: batch.epoch.to_string(),
        lane: lane_of(batch.lane),
        settled_seen: batch.settled_seen,
        first_seq: batch.first_seq,
        items: batch
            .items
            .into_iter()
            .map(|item| match item {
                Ok(Item::Reading(reading)) => {
                    let nonce = reading.nonce;
                    IncomingItem::Reading {
                        reading: Box::new(reading.into_reading()),
                        nonce,
                    }
                }
                Ok(Item::Void) => IncomingItem::Void,
                Err(error) => IncomingItem::Malformed { text: error.text },
            })
            .collect(),
    }
}

fn receipt(epoch: Epoch, lane: Lane, outcome: IngestOutcome, now: chrono::DateTime<chrono::Utc>) -> Receipt {
    Receipt {
        epoch,
        lane,
        settled_through: outcome.settled_through,
        extra: outcome.extra,
        rejected: outcome
            .rejected
            .into_iter()
            .map(|(seq, rejection)| Rejected {
                seq,
                reason: match rejection {
                    model::Rejection::NoConsent => Rejection::NoConsent,
                    model::Rejection::Unusable(reason) => Rejection::Unusable(reason),
                },
            })
            .collect(),
        server_time: now,
        // A full queue holds its senders back by itself.
        hold_replay: false,
    }
}

fn poison_of(error: &BatchError) -> Trouble {
    let (reason, why) = match error {
        BatchError::TooLarge { .. } => (Reason::TooLarge, "the batch is too large"),
        BatchError::NotABatch(_) => (Reason::Malformed, "the payload is not a batch"),
        BatchError::OtherSchema => (Reason::Malformed, "the batch has another schema"),
        BatchError::ItemCount { .. } => (Reason::Malformed, "the batch has no items, or too many"),
        BatchError::SeqRange => (Reason::Malformed, "the batch's sequence numbers are out of range"),
    };
    Poison::unusable(reason, why).into()
}

fn trouble_of(error: IngestError) -> Trouble {
    match error {
        IngestError::GatewayUnknown(_) | IngestError::GatewayRevoked(_) => Trouble::Expelled,
        IngestError::BadBatch => Poison::unusable(Reason::Malformed, "the batch is outside the contract").into(),
        IngestError::Fault(fault) => Trouble::Store(fault),
    }
}
