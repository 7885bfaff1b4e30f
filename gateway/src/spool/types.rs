//! What goes into the spool and comes out of it.

use carepost_contract::v1::{Batch, Epoch, Item, Lane, WireReading};
use carepost_domain::code_enum;
use carepost_domain::id::{GatewayId, MemberId, MeterId, ReadingId, SittingId};
use carepost_domain::meter::{MeterKind, MeterRole};
use carepost_domain::quarantine::Reason;
use carepost_domain::quirks::QuirkId;
use carepost_domain::time::{ClockSeen, Correction, MeterTime, clock_history};
use carepost_gatt::blood_pressure::Feature;
use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

/// A link to a meter: from the connection to the disconnection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub(crate) i64);

/// A raw packet in the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpoolRow(pub(crate) i64);

code_enum! {
    /// What is counted and not kept.
    pub enum Counter ("counter") {
        /// Raw packets that became spool rows.
        PacketsSpooled = "packets_spooled",
        /// Packets or records that were there already.
        Duplicates = "duplicates",
        /// Packets of shared meters measured outside every sitting; their bytes are forgotten.
        OutsideSitting = "outside_sitting",
        /// Packets of shared meters that do not decode, outside of a consenting member's link; forgotten.
        UndecodableForgotten = "undecodable_forgotten",
        /// Records refused by the consent gate; forgotten.
        NoConsent = "no_consent",
        /// Readings that the server refused for want of consent; forgotten.
        RejectedNoConsent = "rejected_no_consent",
        /// Readings that the server could not use; in quarantine.
        RejectedUnusable = "rejected_unusable",
        /// Rows dropped because a member withdrew.
        Withdrawn = "withdrawn",
        /// Sealed readings destroyed after their time.
        SealedExpired = "sealed_expired",
        /// Quarantine rows dropped because there were too many.
        QuarantineEvicted = "quarantine_evicted",
        /// Glucose contexts without a measurement to belong to.
        ContextsOrphaned = "contexts_orphaned",
        /// Meters seen that nobody registered.
        UnregisteredSeen = "unregistered_seen",
        /// Meters seen that only speak a protocol of their maker's.
        UnsupportedSeen = "unsupported_seen",
        /// Links to cuffs that ended with this program, so that an indication may be lost.
        PossibleGaps = "possible_gaps",
        /// Links opened.
        Links = "links",
        /// Connections that failed after all tries.
        ConnectFailures = "connect_failures",
        /// Messages from the server that could not be used.
        BadMessages = "bad_messages",
        /// Meters paired.
        Pairings = "pairings",
        /// Pairings that came to nothing.
        PairingFailures = "pairing_failures",
        /// Pairing requests that nobody here asked for; refused.
        PairingUnasked = "pairing_unasked",
    }
}

/// A packet as it came from a meter, with what was known at that moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPacket {
    /// The link.
    pub link: LinkId,
    /// The meter.
    pub meter: MeterId,
    /// Assigned number of the characteristic.
    pub characteristic: u16,
    /// Its bytes.
    pub raw: Vec<u8>,
    /// When it was received.
    pub received_at: DateTime<Utc>,
    /// Whether the gateway's clock was trusted then.
    pub clock_trusted: bool,
    /// The sitting in which it seems to have been measured; shared meters only.
    pub sitting: Option<SittingId>,
    /// Random number that stands in for an identity of the record's own.
    pub nonce: u64,
}

/// What is known of a meter's clock on one link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkClock {
    /// It is still to be read; nothing that came over the link is settled.
    Pending,
    /// The meter has none, did not tell it, or told it to a gateway whose own clock was not believed.
    Unknown,
    /// It was read.
    Read(Look),
}

/// What was seen of a meter's clock, by a gateway whose own clock was believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Gateway minus meter.
    pub skew: TimeDelta,
    /// When, by the gateway's clock.
    pub at: DateTime<Utc>,
}

/// What is known of a meter's clock on one link, and from the links before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looks {
    /// On this link.
    pub now: LinkClock,
    /// The newest look before it.
    pub last: Option<Look>,
}

impl Looks {
    /// What is to be added to a record's own time, and whether that is certain; nothing if the clock was never read, or the
    /// record carries no time. A clock that was read on an earlier link only is taken to be as wrong as it was then, which
    /// is not certain.
    #[must_use]
    pub fn correction(self, recorded: MeterTime, zone: Tz) -> Option<Correction> {
        let seen = |look: Look| ClockSeen::from_skew(look.at, look.skew, zone);
        match self.now {
            LinkClock::Pending => None,
            LinkClock::Unknown => {
                let by_last = clock_history(None, seen(self.last?)).correction_of(recorded, zone)?;
                Some(Correction {
                    uncertain: true,
                    ..by_last
                })
            }
            LinkClock::Read(now) => clock_history(self.last.map(seen), seen(now)).correction_of(recorded, zone),
        }
    }
}

/// What capture is to write down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Capture {
    /// A packet that may be kept. A context (2A34) joins its measurement's row: of those before it the newest, else the first
    /// behind it.
    Keep(NewPacket),
    /// A packet that may be kept, whose sitting is a guess until the clock of its link is known.
    KeepForNow(NewPacket),
    /// What is known of the clock of a link now, and what its meter declares. The first word counts.
    Clock {
        /// The link.
        link: LinkId,
        /// What is known of the clock.
        clock: LinkClock,
        /// A cuff's features, if they were read.
        feature: Option<Feature>,
    },
    /// A row of [`Capture::KeepForNow`] is of this sitting.
    Seat {
        /// The row.
        row: SpoolRow,
        /// The sitting.
        sitting: SittingId,
    },
    /// A row of [`Capture::KeepForNow`] may not be kept after all.
    Discard {
        /// The row.
        row: SpoolRow,
        /// Under what it is counted, if at all.
        counter: Option<Counter>,
    },
    /// A context that joins the row of a measurement before it, and none behind it.
    Join(NewPacket),
    /// So many contexts turned out to belong to no measurement.
    Orphaned {
        /// How many.
        contexts: u64,
    },
    /// A packet that may not be kept, counted on its link.
    Count {
        /// The link.
        link: LinkId,
        /// Under what; `None` for a packet that is shown to an anonymous person and counted nowhere else.
        counter: Option<Counter>,
    },
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Captured {
    /// It is a new row.
    Spooled(SpoolRow),
    /// Equal bytes came on this link within the last 60 s, or a context joined its measurement.
    Joined(SpoolRow),
    /// A context without a measurement, which may come yet; neither kept nor counted.
    Orphaned,
    /// Counted, not kept.
    Counted,
    /// A row has its sitting.
    Seated(SpoolRow),
    /// Noted.
    Noted,
}

/// What is known of the link of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkFacts {
    /// The link.
    pub id: LinkId,
    /// When the connection stood.
    pub opened_at: DateTime<Utc>,
    /// Whether it is over.
    pub closed: bool,
    /// Whether what came may not be all that the meter had: it was interrupted, or the meter was gone right after a record.
    pub unclean: bool,
    /// Different records that came over it so far.
    pub records: u32,
    /// What is known of the meter's clock.
    pub looks: Looks,
    /// A cuff's features, as they were read last.
    pub feature: Option<Feature>,
    /// The beginning of the newest link before this one that took from the meter what it held: it brought records and ended
    /// cleanly, and the gateway's clock was believed at its beginning and at its end.
    pub emptied_before: Option<DateTime<Utc>>,
}

/// A packet that waits to be settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingRow {
    /// The row.
    pub row: SpoolRow,
    /// Its link.
    pub link: LinkFacts,
    /// It was written down before the clock of its link was known, and the program ended before it was: its sitting is
    /// the one that went on at its receipt.
    pub provisional: bool,
    /// The packet.
    pub packet: NewPacket,
    /// Bytes of the glucose context that came with it.
    pub context_raw: Option<Vec<u8>>,
}

/// A spool row as it was when it was decided about: a context may join it later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AsDecided {
    /// The row.
    pub row: SpoolRow,
    /// See [`PendingRow::context_raw`].
    pub context_raw: Option<Vec<u8>>,
}

impl From<&PendingRow> for AsDecided {
    fn from(pending: &PendingRow) -> Self {
        Self {
            row: pending.row,
            context_raw: pending.context_raw.clone(),
        }
    }
}

/// What is to become of a spool row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// A reading that goes to the server.
    Outbox(Box<WireReading>),
    /// A reading of a person without consent who asked to keep it until they confirm.
    Sealed(Box<WireReading>),
    /// Unusable and kept.
    Quarantine {
        /// Why.
        reason: Reason,
        /// Whose it would be, if that is known.
        member: Option<MemberId>,
    },
    /// Not kept; counted.
    Forget(Counter),
}

/// What became of a spool row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// A new outbox row.
    Outbox(ReadingId),
    /// The outbox has it already, or the server has confirmed it.
    Known(ReadingId),
    /// The outbox has it for another member: quarantined.
    Conflict(ReadingId),
    /// Sealed.
    Sealed(ReadingId),
    /// Quarantined.
    Quarantined(Reason),
    /// Forgotten.
    Forgotten,
    /// The row was purged meanwhile.
    Gone,
    /// A context joined the row after it was decided about: it stays, to be decided about again.
    Changed,
}

/// Bounds of one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Most items.
    pub items: usize,
    /// Most bytes of the payload.
    pub bytes: usize,
}

impl Default for BatchLimits {
    /// What the contract allows.
    fn default() -> Self {
        Self {
            items: carepost_contract::limits::MAX_BATCH_ITEMS,
            bytes: carepost_contract::limits::MAX_BATCH_BYTES,
        }
    }
}

/// Consecutive numbers of one lane with what they stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutBatch {
    /// The lane.
    pub lane: Lane,
    /// The epoch in which the numbers were given.
    pub epoch: Epoch,
    /// See [`Batch::settled_seen`].
    pub settled_seen: u64,
    /// Number of the first item.
    pub first_seq: u64,
    /// Readings or voids, at least one.
    pub items: Vec<Item>,
}

impl OutBatch {
    /// Number of the last item.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        let more = u64::try_from(self.items.len().saturating_sub(1)).unwrap_or(u64::MAX);
        self.first_seq.saturating_add(more)
    }

    /// As the contract's message.
    #[must_use]
    pub fn into_batch(self, gateway: GatewayId) -> Batch {
        Batch::new(
            gateway,
            self.epoch,
            self.lane,
            self.settled_seen,
            self.first_seq,
            self.items,
        )
    }
}

/// What a receipt did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReceiptSummary {
    /// The receipt was of another epoch: nothing was done.
    pub ignored: bool,
    /// Readings that the server has now (stored or known before); their rows are gone.
    pub delivered: Vec<ReadingId>,
    /// Readings that were refused for want of consent; forgotten.
    pub refused: Vec<ReadingId>,
    /// Readings that the server could not use; quarantined.
    pub quarantined: Vec<(ReadingId, Reason)>,
    /// Voids settled.
    pub voids: u64,
}

/// What applying a snapshot or delta did besides replacing the copy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purged {
    /// Spool rows dropped.
    pub spooled: u64,
    /// Sealed readings destroyed.
    pub sealed: u64,
    /// Quarantine rows dropped.
    pub quarantined: u64,
    /// Outbox rows without a number dropped.
    pub outbox: u64,
    /// Outbox rows with a number that are voids now.
    pub voided: u64,
    /// Sealed readings that passed the gate and went to the outbox.
    pub released: u64,
}

impl Purged {
    /// Rows that were dropped or voided.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.spooled + self.sealed + self.quarantined + self.outbox + self.voided
    }
}

/// Whether a delta fitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeltaOutcome {
    /// It is in force.
    Applied(Purged),
    /// It is not for the version held; nothing was done. Say hello again.
    NotForThisVersion {
        /// The version held.
        held: u64,
        /// The version it was for.
        wanted: u64,
    },
}

/// What a sweep did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Sealed readings destroyed after their time.
    pub sealed_expired: u64,
    /// Quarantine rows dropped because there were too many.
    pub quarantine_evicted: u64,
}

/// How a link ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkEnd {
    /// All that the meter sent was heard and spooled, and it had nothing more to send.
    Clean,
    /// All that the meter sent was heard and spooled. It was gone so soon after a record that nobody knows whether it had
    /// more, so that no record counts as the only one; nothing is missing behind the meter.
    HungUp,
    /// Something may have been sent that nobody heard.
    Unclean,
}

/// Counts of everything held. Never values, names or bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpoolStatus {
    /// Raw packets that wait to be settled.
    pub spooled: u64,
    /// Sealed readings.
    pub sealed: u64,
    /// Quarantine rows.
    pub quarantined: u64,
    /// The same by reason.
    pub quarantine_reasons: std::collections::BTreeMap<String, u64>,
    /// Readings that wait for a receipt.
    pub outbox: u64,
    /// Of these, those in the live lane.
    pub outbox_live: u64,
    /// When the oldest of them was captured.
    pub oldest_captured_at: Option<DateTime<Utc>>,
    /// Readings that the server has confirmed since this file was made.
    pub delivered: u64,
    /// When the last receipt of this epoch was applied.
    pub last_receipt_at: Option<DateTime<Utc>>,
    /// Version of the copy of members, meters, bindings and grants.
    pub down_version: u64,
    /// Members in that copy.
    pub members: u64,
    /// Meters in that copy, with what is known of them here.
    pub meters: Vec<MeterStatus>,
    /// Links to cuffs that ended with this program, so that an indication may be lost.
    pub possible_gaps: u64,
    /// All counters by name.
    pub counters: std::collections::BTreeMap<String, u64>,
}

/// A meter of the copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeterStatus {
    /// The meter.
    pub id: MeterId,
    /// What it measures.
    pub kind: MeterKind,
    /// Whose it is.
    pub role: MeterRole,
    /// Model as registered.
    pub model: String,
    /// When it was last connected.
    pub last_link_at: Option<DateTime<Utc>>,
    /// Records spooled from it since this file was made.
    pub records: u64,
    /// Times that an indication may have been lost: check the cuff's own memory.
    pub possible_gaps: u64,
    /// Links since this file was made.
    #[serde(default)]
    pub links: u64,
    /// Links that were interrupted.
    #[serde(default)]
    pub interrupted: u64,
    /// Connections that failed after all tries.
    #[serde(default)]
    pub connect_failures: u64,
    /// Why the last of them failed.
    #[serde(default)]
    pub last_failure: Option<String>,
    /// Records that had come before.
    #[serde(default)]
    pub duplicates: u64,
    /// Records that are of no use and were quarantined.
    #[serde(default)]
    pub rejects: u64,
    /// Of those, the ones that are held now, by reason.
    #[serde(default)]
    pub quarantined: std::collections::BTreeMap<String, u64>,
    /// Gateway minus meter, in milliseconds, when the meter's clock was read last.
    #[serde(default)]
    pub skew_ms: Option<i64>,
    /// When that was.
    #[serde(default)]
    pub skew_at: Option<DateTime<Utc>>,
    /// Firmware, as the meter says it.
    #[serde(default)]
    pub firmware: Option<String>,
    /// Its entry in the quirk table.
    #[serde(default)]
    pub quirk: Option<QuirkId>,
}
