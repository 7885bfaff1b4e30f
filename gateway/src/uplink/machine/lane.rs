//! One lane: which numbers were given, which are settled, and which wait for a receipt.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Flight {
    pub(super) last: u64,
    /// When it was last sent on this link; `None` if not yet.
    pub(super) sent_at: Option<Duration>,
    pub(super) resend_at: Duration,
    /// How often in this epoch.
    pub(super) sends: u32,
}

#[derive(Debug)]
pub(super) struct Probe {
    pub(super) seq: u64,
    /// When it is due; at once when `None`.
    pub(super) resend_at: Option<Duration>,
}

#[derive(Debug)]
pub(super) struct LaneState {
    pub(super) next_seq: u64,
    pub(super) settled: u64,
    /// Settled numbers beyond the prefix. Bounded by the numbers in flight.
    pub(super) extra: BTreeSet<u64>,
    /// What the server has, by a cursor's word.
    pub(super) confirmed: u64,
    pub(super) probe: Option<Probe>,
    /// Batches without a receipt, by their first number.
    pub(super) flights: BTreeMap<u64, Flight>,
    /// The outbox may have rows without a number.
    pub(super) more: bool,
    pub(super) filling: bool,
    /// After a failed read of the outbox.
    pub(super) fill_after: Option<Duration>,
}

impl LaneState {
    pub(super) const fn new() -> Self {
        Self {
            next_seq: 1,
            settled: 0,
            extra: BTreeSet::new(),
            confirmed: 0,
            probe: None,
            flights: BTreeMap::new(),
            more: true,
            filling: false,
            fill_after: None,
        }
    }

    pub(super) fn is_settled(&self, seq: u64) -> bool {
        seq <= self.settled || self.extra.contains(&seq)
    }

    /// What of a flight is still to be sent: without settled or confirmed numbers at its ends. The gap only.
    pub(super) fn gap(&self, first: u64, last: u64) -> Option<RangeInclusive<u64>> {
        let open = |seq: &u64| *seq > self.confirmed && !self.is_settled(*seq);
        let first = (first..=last).find(open)?;
        let last = (first..=last).rev().find(open)?;
        Some(first..=last)
    }

    pub(super) fn in_flight(&self) -> usize {
        self.flights.len()
    }
}
