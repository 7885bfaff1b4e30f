//! Where one lane of a gateway stands: settled numbers, contiguous and sparse, and rejections not yet seen.

use std::collections::{BTreeMap, BTreeSet};

use carepost_domain::code::UnknownCode;
use carepost_domain::quarantine::Reason;

use crate::limits::{MAX_EXTRA, MAX_REJECTED};
use crate::model::Rejection;

/// The state of one lane in one epoch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct LaneState {
    through: u64,
    extra: BTreeSet<u64>,
    rejected: BTreeMap<u64, Rejection>,
    /// Rejections that this batch added, to be stored.
    added: Vec<u64>,
}

impl LaneState {
    pub(crate) fn new(through: u64, extra: BTreeSet<u64>, rejected: BTreeMap<u64, Rejection>) -> Self {
        Self {
            through,
            extra,
            rejected,
            added: Vec::new(),
        }
    }

    pub(crate) fn through(&self) -> u64 {
        self.through
    }

    pub(crate) fn extra(&self) -> &BTreeSet<u64> {
        &self.extra
    }

    pub(crate) fn rejected(&self) -> &BTreeMap<u64, Rejection> {
        &self.rejected
    }

    pub(crate) fn added(&self) -> impl Iterator<Item = (u64, Rejection)> {
        self.added
            .iter()
            .filter_map(|seq| self.rejected.get(seq).map(|why| (*seq, *why)))
    }

    pub(crate) fn is_settled(&self, seq: u64) -> bool {
        seq <= self.through || self.extra.contains(&seq)
    }

    /// Settles a number; `false` when it lies behind a gap and no more such numbers can be kept, so that it stays open and
    /// is sent again.
    pub(crate) fn settle(&mut self, seq: u64) -> bool {
        if self.is_settled(seq) {
            return true;
        }
        if seq == self.through + 1 {
            self.through = seq;
            while self.extra.remove(&(self.through + 1)) {
                self.through += 1;
            }
            return true;
        }
        if self.extra.len() >= MAX_EXTRA {
            return false;
        }
        self.extra.insert(seq)
    }

    /// Settles a number as not taken; `false` when it must stay open because too many rejections are unseen. A number
    /// that was settled before keeps its first answer.
    pub(crate) fn reject(&mut self, seq: u64, why: Rejection) -> bool {
        if self.is_settled(seq) {
            return true;
        }
        if self.rejected.len() >= MAX_REJECTED || !self.settle(seq) {
            return false;
        }
        self.rejected.insert(seq, why);
        self.added.push(seq);
        true
    }

    /// Forgets rejections that the gateway has seen.
    pub(crate) fn seen(&mut self, through: u64) {
        self.rejected.retain(|seq, _| *seq > through);
    }
}

/// The sparse numbers as one column.
pub(crate) fn extra_text(extra: &BTreeSet<u64>) -> String {
    extra.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
}

/// Reads [`extra_text`].
pub(crate) fn extra_numbers(text: &str) -> Result<BTreeSet<u64>, std::num::ParseIntError> {
    text.split(',')
        .filter(|part| !part.is_empty())
        .map(str::parse)
        .collect()
}

/// The column's word for a rejection: `no_consent` or the quarantine reason.
pub(crate) fn rejection_text(why: Rejection) -> &'static str {
    match why {
        Rejection::NoConsent => NO_CONSENT,
        Rejection::Unusable(reason) => reason.code(),
    }
}

/// Reads [`rejection_text`].
pub(crate) fn rejection(text: &str) -> Result<Rejection, UnknownCode> {
    if text == NO_CONSENT {
        Ok(Rejection::NoConsent)
    } else {
        text.parse::<Reason>().map(Rejection::Unusable)
    }
}

const NO_CONSENT: &str = "no_consent";

#[cfg(test)]
mod tests {
    use super::*;

    const MALFORMED: Rejection = Rejection::Unusable(Reason::Malformed);

    #[test]
    fn numbers_settle_in_any_order() {
        let mut lane = LaneState::default();
        for seq in [2, 5, 1, 4] {
            assert!(lane.settle(seq));
        }
        assert_eq!(lane.through(), 2);
        assert_eq!(extra_text(lane.extra()), "4,5");
        assert!(lane.settle(3));
        assert_eq!((lane.through(), lane.extra().len()), (5, 0));
        assert!(lane.settle(4), "a repeat is settled already");
        assert_eq!(lane.through(), 5);
    }

    #[test]
    fn behind_a_gap_only_so_many_numbers_are_kept() {
        let mut lane = LaneState::default();
        for seq in 2..2 + MAX_EXTRA as u64 {
            assert!(lane.settle(seq));
        }
        assert!(!lane.settle(5_000));
        assert!(!lane.is_settled(5_000));
        assert!(lane.settle(1), "the gap itself always closes");
        assert_eq!(lane.through(), 1 + MAX_EXTRA as u64);
    }

    #[test]
    fn a_lane_waits_when_too_many_rejections_are_unseen() {
        let mut lane = LaneState::default();
        for seq in 1..=MAX_REJECTED as u64 {
            assert!(lane.reject(seq, MALFORMED));
        }
        let next = MAX_REJECTED as u64 + 1;
        assert!(!lane.reject(next, MALFORMED));
        assert_eq!(lane.through(), MAX_REJECTED as u64);
        lane.seen(10);
        assert!(lane.reject(next, MALFORMED));
        assert_eq!(lane.rejected().len(), MAX_REJECTED - 9);
    }

    #[test]
    fn the_first_answer_to_a_number_stays() {
        let mut lane = LaneState::default();
        assert!(lane.settle(1));
        assert!(lane.reject(1, MALFORMED));
        assert!(lane.rejected().is_empty(), "it was taken before");
        assert!(lane.reject(2, Rejection::NoConsent));
        assert!(lane.reject(2, MALFORMED));
        assert_eq!(lane.rejected().get(&2), Some(&Rejection::NoConsent));
        assert_eq!(lane.added().count(), 1);
    }

    #[test]
    fn columns_come_back_as_they_were() {
        let numbers: BTreeSet<u64> = [3, 9, 11].into();
        assert_eq!(extra_numbers(&extra_text(&numbers)).unwrap(), numbers);
        assert_eq!(extra_numbers("").unwrap(), BTreeSet::new());
        assert!(extra_numbers("3,x").is_err());
        for why in [Rejection::NoConsent, Rejection::Unusable(Reason::BeforeBinding)] {
            assert_eq!(rejection(rejection_text(why)).unwrap(), why);
        }
    }
}
