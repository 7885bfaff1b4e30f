//! What the records of one answer say about the meter's numbering.

use core::cmp::Ordering;

use super::HighWater;
use crate::glucose::Measurement;

/// Records seen since the last question.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    /// Values of all three characteristics.
    pub(super) values: u32,
    /// All measurements, readable or not.
    pub(super) measurements: u32,
    /// Measurements that are not the one before once more.
    pub(super) distinct: u32,
    /// Measurements that are the known record.
    pub(super) known: u32,
    /// The record with the highest sequence number.
    pub(super) highest: Option<HighWater>,
    /// The last record.
    pub(super) last: Option<HighWater>,
    /// A sequence number was not higher than the one before.
    pub(super) not_ascending: bool,
    /// A sequence number was not lower, or its base time not older, than the one before.
    pub(super) not_descending: bool,
    /// A base time was older than the one before: either the newest come first, or somebody set the clock back.
    pub(super) time_fell: bool,
    /// A record contradicts the known one: the same number with another base time, or a higher number with an older
    /// one.
    pub(super) contradicts: bool,
}

impl Seen {
    pub(super) fn add(&mut self, bytes: &[u8], known: Option<HighWater>) {
        self.measurements = self.measurements.saturating_add(1);
        // What cannot be read is durable and quarantined by the caller; it says nothing about the numbering.
        let Ok(decoded) = Measurement::decode(bytes) else {
            self.distinct = self.distinct.saturating_add(1);
            return;
        };
        let record = HighWater {
            sequence: decoded.value.sequence,
            base_time: Some(decoded.value.base_time),
        };
        if self.last != Some(record) {
            self.distinct = self.distinct.saturating_add(1);
        }
        // The same notification twice has no direction.
        if let Some(last) = self.last
            && last != record
        {
            self.not_ascending |= record.sequence <= last.sequence;
            // Falling numbers are newest first only if the times fall too; else the numbering started again.
            self.not_descending |= record.sequence >= last.sequence || !is_older(record, last);
            self.time_fell |= is_older(record, last);
        }
        self.last = Some(record);
        if self.highest.is_none_or(|highest| record.sequence > highest.sequence) {
            self.highest = Some(record);
        }
        if let Some(known) = known {
            if is_same(record, known) {
                self.known = self.known.saturating_add(1);
            }
            self.contradicts |= match record.sequence.cmp(&known.sequence) {
                Ordering::Less => false,
                Ordering::Equal => !is_same(record, known),
                Ordering::Greater => is_older(record, known),
            };
        }
    }

    /// Measurements without the known record.
    pub(super) const fn delivered(&self) -> u32 {
        self.measurements.saturating_sub(self.known)
    }

    /// Mark after everything from the known record on was read, and that record was among it: only if the numbers came in
    /// one direction do they order the records.
    pub(super) fn mark_when_complete(&self) -> Option<HighWater> {
        if self.not_ascending && self.not_descending {
            return None;
        }
        self.highest.filter(|mark| is_anchor(*mark))
    }

    /// Mark after everything was read, of which the meter had said that it is `announced` records.
    ///
    /// A meter may answer before its last record. What is missing then is newer than the mark if the oldest came first, and
    /// comes next time; but if the newest came first, it is older and would never come. So everything announced must have
    /// come, or, where nothing was announced, the oldest evidently first.
    pub(super) fn mark_when_all(&self, announced: Option<u32>) -> Option<HighWater> {
        let whole = match announced {
            Some(announced) => self.distinct >= announced,
            None => self.not_descending && !self.not_ascending,
        };
        if whole { self.mark_when_complete() } else { None }
    }
}

/// A record that can be told from others of its number: one with a date. A meter whose clock was never set gives the same
/// unknown date to all, so that a cleared memory would not show.
pub(super) fn is_anchor(record: HighWater) -> bool {
    record.base_time.and_then(|time| time.as_if_utc_ms()).is_some()
}

/// The same record, as far as is known.
pub(super) fn is_same(record: HighWater, known: HighWater) -> bool {
    record.sequence == known.sequence && (known.base_time.is_none() || record.base_time == known.base_time)
}

/// Evidently older: both times are moments.
pub(super) fn is_older(record: HighWater, known: HighWater) -> bool {
    let moment = |mark: HighWater| mark.base_time.and_then(|time| time.as_if_utc_ms());
    match (moment(record), moment(known)) {
        (Some(record), Some(known)) => record < known,
        _ => false,
    }
}
