//! What single models of meters do otherwise than the specification says: versioned data in `config/quirks`, with the
//! types that decoding and the link read.
//!
//! An entry has two halves. [`DecodeQuirks`] changes what bytes mean; it applies to a meter that is *registered* with the
//! manufacturer and model of the entry, so that gateway and server find the same one, and its id travels with each reading.
//! [`TalkQuirks`] changes how the gateway talks to the meter, and nothing that is kept.
//!
//! Entries are append-only: readings name them. An entry that was wrong gets a successor with another id.

use std::sync::LazyLock;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::code_enum;
use crate::meter::Meter;

mod pattern;
mod read;

use pattern::{Pattern, Uuid128, fold};
pub use read::QuirkTableError;

/// The table of this version.
pub const METERS: &str = include_str!("../../../config/quirks/meters.toml");

/// Most entries of a table.
pub const MAX_ENTRIES: usize = 500;
/// Most patterns in one list of an entry, and most ways to match one.
pub const MAX_PATTERNS: usize = 16;
/// Longest id of an entry, in bytes.
pub const MAX_ID_BYTES: usize = 48;

static CURRENT: LazyLock<QuirkTable> = LazyLock::new(|| {
    // The file is part of the program, and a test reads it.
    QuirkTable::parse(METERS).expect("the embedded quirk table is valid")
});

/// The stable name of an entry: lower-case letters, digits and dashes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct QuirkId(String);

/// A text that is no id of an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the id of a quirk has 1 to {MAX_ID_BYTES} lower-case letters, digits and dashes")]
pub struct BadQuirkId;

impl QuirkId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for QuirkId {
    type Err = BadQuirkId;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let legal = (1..=MAX_ID_BYTES).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if legal {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadQuirkId)
        }
    }
}
impl TryFrom<String> for QuirkId {
    type Error = BadQuirkId;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}
impl From<QuirkId> for String {
    fn from(id: QuirkId) -> Self {
        id.0
    }
}
impl std::fmt::Display for QuirkId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

code_enum! {
    /// What Carepost can do with a model.
    pub enum Support ("support") {
        /// Its readings are collected.
        Supported = "supported",
        /// It speaks a protocol of its maker only: shown by name, never connected to, never half-parsed.
        RecognisedUnsupported = "recognised_unsupported",
    }
}

code_enum! {
    /// When a meter's clock may be written.
    pub enum WriteClock ("clock writing") {
        /// Never.
        Never = "never",
        /// Once, on the link on which it was paired.
        Pairing = "pairing",
        /// On every link.
        Sync = "sync",
    }
}

code_enum! {
    /// Where a meter's clock is read.
    pub enum ClockSource ("clock source") {
        /// Current Time 2A2B in the Current Time Service 0x1805, where the meter has it.
        CurrentTime = "current_time",
        /// Date Time 2A08 inside the service of its records (0x1808 or 0x1810).
        DateTime = "date_time",
        /// It has none that can be read.
        None = "none",
    }
}

/// What changes the meaning of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DecodeQuirks {
    /// 2A35 ends with pulse and status high byte first and a user id between them, whatever the flags say of it.
    pub big_endian_tail: bool,
    /// January is sent as month 13.
    pub month_13_is_january: bool,
    /// A context with meal 6 marks a ketone value.
    pub ketone_meal_6: bool,
    /// A record above the meter's range that is dated in this year is made up by the meter.
    pub phantom_year: Option<u16>,
    /// The meter gives its records new sequence numbers, so that the number is no part of a reading's id.
    pub id_masks_sequence: bool,
}

impl DecodeQuirks {
    /// Bytes mean what the specification says.
    pub const NONE: Self = Self {
        big_endian_tail: false,
        month_13_is_january: false,
        ketone_meal_6: false,
        phantom_year: None,
        id_masks_sequence: false,
    };

    /// Whether nothing is changed.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }
}

/// How the gateway talks to a meter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TalkQuirks {
    /// Leave subscriptions standing at the end of a link: the meter forgets its bond when they are taken back.
    pub keep_session: bool,
    /// When the clock may be written.
    pub write_clock: WriteClock,
    /// Where the clock is read.
    pub clock: ClockSource,
    /// Whether sequence numbers show what is new; otherwise everything is read on each link.
    pub only_new: bool,
    /// Silence after which the meter has nothing more to send, in milliseconds; the gateway's own setting without it.
    pub idle_ms: Option<u32>,
}

impl Default for TalkQuirks {
    fn default() -> Self {
        Self {
            keep_session: false,
            write_clock: WriteClock::Never,
            clock: ClockSource::CurrentTime,
            only_new: true,
            idle_ms: None,
        }
    }
}

impl TalkQuirks {
    /// [`TalkQuirks::idle_ms`] as a duration.
    #[must_use]
    pub fn idle(&self) -> Option<Duration> {
        self.idle_ms.map(|ms| Duration::from_millis(u64::from(ms)))
    }
}

/// What is known of a meter, registered or merely around. Empty where unknown.
#[derive(Debug, Clone, Copy, Default)]
pub struct Traits<'a> {
    /// Manufacturer name 2A29.
    pub manufacturer: &'a str,
    /// Model number 2A24.
    pub model: &'a str,
    /// Firmware revision 2A26.
    pub firmware: &'a str,
    /// Advertised name.
    pub name: &'a str,
    /// UUIDs of its services, 16-bit or full.
    pub services: &'a [String],
}

impl<'a> Traits<'a> {
    /// As a registered meter has them: no name and no services.
    #[must_use]
    pub fn of(meter: &'a Meter) -> Self {
        Self {
            manufacturer: &meter.about.manufacturer,
            model: &meter.model,
            firmware: &meter.about.firmware,
            name: "",
            services: &[],
        }
    }
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quirk {
    /// Its stable name.
    pub id: QuirkId,
    /// The family in words, for staff.
    pub family: String,
    /// What Carepost can do with it.
    pub support: Support,
    /// What changes the meaning of bytes.
    pub decode: DecodeQuirks,
    /// How to talk to it.
    pub talk: TalkQuirks,
    matches: Vec<Match>,
}

/// One way to match an entry: everything that is given must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Match {
    manufacturer: Vec<Pattern>,
    model: Vec<Pattern>,
    firmware: Vec<Pattern>,
    name: Vec<Pattern>,
    services: Vec<Uuid128>,
    lacks: Vec<Uuid128>,
}

/// How well a way matches; the entry with the greatest wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// By manufacturer or model: before any fingerprint (page 3, 6th of "What follows from it").
    identified: bool,
    /// How many kinds of traits are given.
    traits: usize,
}

impl Match {
    fn is_identity(&self) -> bool {
        !self.manufacturer.is_empty() || !self.model.is_empty()
    }

    fn rank(&self, traits: &Traits<'_>) -> Option<Rank> {
        let any = |patterns: &[Pattern], text: &str| patterns.is_empty() || patterns.iter().any(|p| p.matches(text));
        let has = |uuid: &Uuid128| traits.services.iter().any(|text| uuid.is(text));
        let holds = any(&self.manufacturer, traits.manufacturer)
            && any(&self.model, traits.model)
            && any(&self.firmware, traits.firmware)
            && any(&self.name, traits.name)
            && self.services.iter().all(has)
            && !self.lacks.iter().any(has);
        let given = [
            !self.manufacturer.is_empty(),
            !self.model.is_empty(),
            !self.firmware.is_empty(),
            !self.name.is_empty(),
            !self.services.is_empty(),
            !self.lacks.is_empty(),
        ];
        holds.then(|| Rank {
            identified: self.is_identity(),
            traits: given.iter().filter(|given| **given).count(),
        })
    }
}

impl Quirk {
    /// Whether the entry is for meters that are registered like this one, whatever their firmware is by now. An entry that
    /// does not change the meaning of bytes is for every meter.
    #[must_use]
    pub fn is_for(&self, meter: &Meter) -> bool {
        if self.decode.is_none() {
            return true;
        }
        let (manufacturer, model) = (fold(&meter.about.manufacturer), fold(&meter.model));
        let fits = |patterns: &[Pattern], text: &str| patterns.is_empty() || patterns.iter().any(|p| p.matches(text));
        self.matches
            .iter()
            .any(|way| way.is_identity() && fits(&way.manufacturer, &manufacturer) && fits(&way.model, &model))
    }

    fn rank(&self, traits: &Traits<'_>) -> Option<Rank> {
        self.matches.iter().filter_map(|way| way.rank(traits)).max()
    }
}

/// All entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuirkTable {
    entries: Vec<Quirk>,
}

impl QuirkTable {
    /// The table that is part of this version.
    #[must_use]
    pub fn current() -> &'static Self {
        &CURRENT
    }

    /// Reads a table.
    ///
    /// # Errors
    /// Names the line of what is not readable, or the entry that is not valid.
    pub fn parse(text: &str) -> Result<Self, QuirkTableError> {
        read::parse(text).map(|entries| Self { entries })
    }

    /// The entry for a meter. What the meter says of itself goes before a fingerprint of services and name; then the more
    /// particular entry, then the later one.
    #[must_use]
    pub fn find(&self, traits: &Traits<'_>) -> Option<&Quirk> {
        // Once, and not for each pattern: it is asked for every record.
        let [manufacturer, model, firmware, name] =
            [traits.manufacturer, traits.model, traits.firmware, traits.name].map(fold);
        let folded = Traits {
            manufacturer: &manufacturer,
            model: &model,
            firmware: &firmware,
            name: &name,
            ..*traits
        };
        self.entries
            .iter()
            .filter_map(|quirk| Some((quirk.rank(&folded)?, quirk)))
            // Of equal ones, the last.
            .max_by_key(|(rank, _)| *rank)
            .map(|(_, quirk)| quirk)
    }

    /// The entry by which a registered meter's bytes are read, where one changes their meaning.
    #[must_use]
    pub fn for_bytes_of(&self, meter: &Meter) -> Option<&Quirk> {
        self.find(&Traits::of(meter)).filter(|quirk| !quirk.decode.is_none())
    }

    /// The entry with this id.
    #[must_use]
    pub fn by_id(&self, id: &QuirkId) -> Option<&Quirk> {
        self.entries.iter().find(|quirk| quirk.id == *id)
    }

    /// All entries, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Quirk> {
        self.entries.iter()
    }
}

#[cfg(test)]
mod tests;
