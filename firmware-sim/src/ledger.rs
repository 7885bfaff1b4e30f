//! The ledger: every record that any meter has made, and what became of it.
//!
//! It knows more than any real party could: whether a confirmed indication was heard by a client, and what a fault of the
//! meter made of a record on its way out. Tests compare it with what arrived at the other end; [`LedgerEntry::verdict`]
//! tells what a meter lost by its own fault from what was lost behind it.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::SimTime;
use crate::meters::{Loss, Made, RecordId};

/// Most records that the ledger holds over all meters. Further measurements are refused, so that no record can exist
/// without its line in the ledger.
pub const MAX_LEDGER: usize = 200_000;

/// Whether the meter still holds the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// In the meter's memory.
    Stored,
    /// Deleted after confirmation or on request.
    Deleted,
    /// Overwritten in a full memory.
    Overwritten,
    /// Lost with the whole memory, by a fault of the meter.
    Forgotten,
    /// Given to another central, by a meter that sends it only once.
    Elsewhere,
}

impl From<Loss> for Fate {
    fn from(loss: Loss) -> Self {
        match loss {
            Loss::Forgotten => Self::Forgotten,
            Loss::Elsewhere => Self::Elsewhere,
        }
    }
}

/// What a record came to, as far as the meter and its host can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The meter has it and no client has heard it yet.
    Waiting,
    /// A client has heard exactly what was stored.
    Delivered,
    /// Clients have heard it only as a fault of the meter made it: they cannot know what was stored.
    DeliveredAltered,
    /// Nobody can have it any more, by a fault of the meter or because its memory was full.
    LostByMeter,
    /// It was confirmed, or deleted on request, and nobody had heard it: lost behind the meter.
    LostBehindMeter,
}

/// One record and its history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// Position in the ledger, counted from 1.
    pub entry: u64,
    /// Name of the meter.
    pub meter: String,
    /// Number within the meter.
    pub record: RecordId,
    /// Sequence number on air, for glucose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u16>,
    /// The bytes of the measurement in hex, as stored.
    pub hex: String,
    /// The bytes of 2A34 in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_hex: Option<String>,
    /// When it was made, in milliseconds since the simulator started.
    pub made_at_ms: u64,
    /// Whether the meter still holds it.
    pub fate: Fate,
    /// Fault profiles that the meter had when it made the record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<String>,
    /// How often the measurement went on air.
    pub sent: u32,
    /// How often at least one client listened when it went on air.
    pub heard: u32,
    /// How often a client heard exactly what was stored.
    #[serde(default)]
    pub heard_intact: u32,
    /// What went on air last instead of what was stored, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub altered_hex: Option<String>,
    /// How often an indication of it was confirmed.
    pub confirmed: u32,
    /// When it was last confirmed, in milliseconds since the simulator started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_at_ms: Option<u64>,
    /// How often 2A34 went on air.
    pub context_sent: u32,
    /// How often at least one client listened to 2A34.
    pub context_heard: u32,
    /// What went on air last as 2A34 instead of what was stored, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_altered_hex: Option<String>,
}

impl LedgerEntry {
    /// Confirmed without any client ever having listened: a cuff that deletes has lost it for good.
    pub fn is_lost(&self) -> bool {
        self.confirmed > 0 && self.heard == 0
    }

    /// What it came to.
    pub fn verdict(&self) -> Verdict {
        if self.heard_intact > 0 {
            return Verdict::Delivered;
        }
        if self.heard > 0 {
            return Verdict::DeliveredAltered;
        }
        match self.fate {
            Fate::Forgotten | Fate::Elsewhere | Fate::Overwritten => Verdict::LostByMeter,
            Fate::Deleted => Verdict::LostBehindMeter,
            Fate::Stored if self.confirmed > 0 => Verdict::LostBehindMeter,
            Fate::Stored => Verdict::Waiting,
        }
    }
}

/// All records of all meters, in the order of making.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: Vec<LedgerEntry>,
    /// Positions of a meter's records, in the order of their ids, which count from 1.
    by_meter: HashMap<String, Vec<usize>>,
}

/// Which value of a record went on air.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Measurement,
    Context,
}

impl Ledger {
    /// How many more records fit.
    pub(crate) fn room(&self) -> usize {
        MAX_LEDGER.saturating_sub(self.entries.len())
    }

    pub(crate) fn entries(&self) -> &[LedgerEntry] {
        &self.entries
    }

    pub(crate) fn made(&mut self, now: SimTime, meter: &str, made: &Made) {
        let position = self.entries.len();
        self.by_meter.entry(meter.to_owned()).or_default().push(position);
        self.entries.push(LedgerEntry {
            entry: u64::try_from(self.entries.len()).unwrap_or(u64::MAX).saturating_add(1),
            meter: meter.to_owned(),
            record: made.id,
            sequence: made.sequence,
            hex: to_hex(&made.value),
            context_hex: made.context.as_deref().map(to_hex),
            made_at_ms: millis(now),
            fate: Fate::Stored,
            profiles: made.profiles.iter().map(|name| (*name).to_owned()).collect(),
            sent: 0,
            heard: 0,
            heard_intact: 0,
            altered_hex: None,
            confirmed: 0,
            confirmed_at_ms: None,
            context_sent: 0,
            context_heard: 0,
            context_altered_hex: None,
        });
    }

    /// A value of a record went on air as `value`.
    pub(crate) fn sent(&mut self, meter: &str, record: RecordId, part: Part, value: &[u8], heard: bool) {
        let Some(entry) = self.find(meter, record) else { return };
        let heard = u32::from(heard);
        let hex = to_hex(value);
        match part {
            Part::Measurement => {
                entry.sent = entry.sent.saturating_add(1);
                entry.heard = entry.heard.saturating_add(heard);
                if hex == entry.hex {
                    entry.heard_intact = entry.heard_intact.saturating_add(heard);
                } else {
                    entry.altered_hex = Some(hex);
                }
            }
            Part::Context => {
                entry.context_sent = entry.context_sent.saturating_add(1);
                entry.context_heard = entry.context_heard.saturating_add(heard);
                if entry.context_hex.as_ref() != Some(&hex) {
                    entry.context_altered_hex = Some(hex);
                }
            }
        }
    }

    pub(crate) fn confirmed(&mut self, now: SimTime, meter: &str, record: RecordId) {
        let Some(entry) = self.find(meter, record) else { return };
        entry.confirmed = entry.confirmed.saturating_add(1);
        entry.confirmed_at_ms = Some(millis(now));
    }

    pub(crate) fn fate(&mut self, meter: &str, record: RecordId, fate: Fate) {
        if let Some(entry) = self.find(meter, record) {
            entry.fate = fate;
        }
    }

    fn find(&mut self, meter: &str, record: RecordId) -> Option<&mut LedgerEntry> {
        let index = usize::try_from(record.0.checked_sub(1)?).ok()?;
        let position = *self.by_meter.get(meter)?.get(index)?;
        self.entries.get_mut(position).filter(|entry| entry.record == record)
    }
}

/// Lower-case hex without separators.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a String takes all text");
            text
        })
}

/// Bytes from hex in either case, or `None` if the text is not hex.
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|value| u8::try_from(value).ok()))
        .collect();
    let digits = digits?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty()
        .then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

pub(crate) fn millis(time: SimTime) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_goes_both_ways_and_rejects_what_is_not_hex() {
        assert_eq!(from_hex(&to_hex(&[0x00, 0xAF, 0x10])), Some(vec![0x00, 0xAF, 0x10]));
        assert_eq!(from_hex("ABcd"), Some(vec![0xAB, 0xCD]));
        assert_eq!(from_hex("abc"), None);
        assert_eq!(from_hex("0x12"), None);
        assert_eq!(from_hex(""), Some(Vec::new()));
    }

    fn made(id: u64) -> Made {
        Made {
            id: RecordId(id),
            sequence: None,
            value: vec![1],
            context: None,
            profiles: vec!["payload-trailing"],
        }
    }

    #[test]
    fn a_record_is_lost_when_it_was_confirmed_and_nobody_ever_heard_it() {
        let mut ledger = Ledger::default();
        ledger.made(SimTime::ZERO, "cuff", &made(1));
        ledger.sent("cuff", RecordId(1), Part::Measurement, &[1], false);
        assert!(!ledger.entries()[0].is_lost());
        assert_eq!(ledger.entries()[0].verdict(), Verdict::Waiting);
        ledger.confirmed(SimTime::from_millis(7), "cuff", RecordId(1));
        assert!(ledger.entries()[0].is_lost());
        assert_eq!(ledger.entries()[0].verdict(), Verdict::LostBehindMeter);
        assert_eq!(ledger.entries()[0].confirmed_at_ms, Some(7));
        ledger.sent("cuff", RecordId(1), Part::Measurement, &[1], true);
        assert!(!ledger.entries()[0].is_lost());
        assert_eq!(ledger.entries()[0].verdict(), Verdict::Delivered);
    }

    #[test]
    fn what_a_fault_changed_and_what_a_meter_lost_are_told_apart() {
        let mut ledger = Ledger::default();
        for id in 1..=3 {
            ledger.made(SimTime::ZERO, "cuff", &made(id));
            ledger.made(SimTime::ZERO, "other", &made(id));
        }
        ledger.sent("cuff", RecordId(2), Part::Measurement, &[1, 0xA5], true);
        ledger.sent("cuff", RecordId(2), Part::Context, &[2, 0xA5], true);
        ledger.fate("cuff", RecordId(3), Loss::Forgotten.into());
        // A live value belongs to no record.
        ledger.sent("cuff", RecordId::NONE, Part::Measurement, &[9], true);
        let verdicts: Vec<_> = ledger
            .entries()
            .iter()
            .map(|entry| (entry.meter.as_str(), entry.record.0, entry.verdict()))
            .collect();
        assert_eq!(
            verdicts,
            [
                ("cuff", 1, Verdict::Waiting),
                ("other", 1, Verdict::Waiting),
                ("cuff", 2, Verdict::DeliveredAltered),
                ("other", 2, Verdict::Waiting),
                ("cuff", 3, Verdict::LostByMeter),
                ("other", 3, Verdict::Waiting),
            ]
        );
        let altered = &ledger.entries()[2];
        assert_eq!(
            (altered.hex.as_str(), altered.altered_hex.as_deref()),
            ("01", Some("01a5"))
        );
        assert_eq!(
            (altered.context_heard, altered.context_altered_hex.as_deref()),
            (1, Some("02a5"))
        );
        assert_eq!(altered.profiles, ["payload-trailing"]);
    }
}
