//! What the uplink counts. Never a payload, a name or a value. Where the link stands is on the board.

use carepost_contract::v1::Epoch;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::machine::Machine;

/// What the uplink holds and counted since the start of the program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UplinkStatus {
    /// The epoch in which rows are numbered.
    pub epoch: Epoch,
    /// Why the last link ended; absent if none ended.
    pub last_loss: Option<String>,
    /// When a receipt of this epoch was last committed.
    pub last_receipt_at: Option<DateTime<Utc>>,
    /// Smoothed time from sending a batch to its receipt, ms.
    pub receipt_ms: Option<u64>,
    /// Batches of the live lane without a receipt.
    pub live_in_flight: u64,
    /// Batches of the replay lane without a receipt.
    pub replay_in_flight: u64,
    /// The server asked the replay lane to pause.
    pub replay_held: bool,
    /// Batches handed to the link, resends included.
    pub batches_sent: u64,
    /// Of those, sent before.
    pub batches_resent: u64,
    /// Messages that the endpoint answered with an error code: they count as not sent.
    pub not_sent: u64,
    /// Receipts of this epoch.
    pub receipts: u64,
    /// Messages of the server that could not be used.
    pub bad_messages: u64,
    /// Links that were lost or never came to be.
    pub losses: u64,
}

impl UplinkStatus {
    pub(super) fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            last_loss: None,
            last_receipt_at: None,
            receipt_ms: None,
            live_in_flight: 0,
            replay_in_flight: 0,
            replay_held: false,
            batches_sent: 0,
            batches_resent: 0,
            not_sent: 0,
            receipts: 0,
            bad_messages: 0,
            losses: 0,
        }
    }

    /// Takes over what the machine knows.
    pub(super) fn follow(&mut self, machine: &Machine) {
        let (live, replay) = machine.in_flight();
        let counters = machine.counters();
        self.live_in_flight = u64::try_from(live).unwrap_or(u64::MAX);
        self.replay_in_flight = u64::try_from(replay).unwrap_or(u64::MAX);
        self.replay_held = machine.held();
        self.receipt_ms = machine
            .receipt_time()
            .map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        self.batches_sent = counters.batches_sent;
        self.batches_resent = counters.batches_resent;
        self.receipts = counters.receipts;
        self.losses = counters.losses;
    }
}
