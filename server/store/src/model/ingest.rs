//! A batch on its way in, and what became of it.

use carepost_domain::code_enum;
use carepost_domain::id::{GatewayId, MemberId, ReadingId};
use carepost_domain::quarantine::Reason;
use carepost_domain::reading::Reading;

code_enum! {
    /// The two ways up.
    pub enum Lane ("lane") {
        /// Measured at most ten minutes before capture.
        Live = "live",
        /// Everything else.
        Replay = "replay",
    }
}

/// A batch whose signature and frame are good: consecutive sequence numbers of one lane of one epoch.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// The sender, by its signature.
    pub gateway: GatewayId,
    /// Its current start; opaque here, at most [`crate::limits::MAX_EPOCH_BYTES`] bytes.
    pub epoch: String,
    /// The lane.
    pub lane: Lane,
    /// The highest `settled_through` that the gateway has processed; rejections up to it are forgotten.
    pub settled_seen: u64,
    /// Sequence number of the first item, from 1.
    pub first_seq: u64,
    /// The items in order, 1 to [`crate::limits::MAX_BATCH_ITEMS`].
    pub items: Vec<IncomingItem>,
}

/// One item of a batch.
#[derive(Debug, Clone)]
pub enum IncomingItem {
    /// A reading.
    Reading {
        /// As the gateway decoded and attributed it.
        reading: Box<Reading>,
        /// The spool's random number that travelled with it.
        nonce: u64,
    },
    /// The number was given to a row that has been purged since.
    Void,
    /// An item that does not parse.
    Malformed {
        /// Its text as sent.
        text: String,
    },
}

/// Why a reading was not taken, which decides what the gateway does with its copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// No consent: nobody keeps it.
    NoConsent,
    /// Unusable: the gateway keeps its copy in quarantine.
    Unusable(Reason),
}

/// What became of a batch, committed. The receipt is made from it and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngestOutcome {
    /// Every number of the lane up to here is settled.
    pub settled_through: u64,
    /// Settled numbers beyond the first gap, ascending, at most [`crate::limits::MAX_EXTRA`].
    pub extra: Vec<u64>,
    /// Numbers not taken, ascending, until the gateway has seen them; at most [`crate::limits::MAX_REJECTED`].
    pub rejected: Vec<(u64, Rejection)>,
    /// Readings stored by this call.
    pub new_readings: Vec<ReadingId>,
    /// Readings of this batch that were stored before.
    pub duplicates: u64,
    /// Members whose alerts or tasks changed, for the log and for tests.
    pub members_changed: Vec<MemberId>,
}

/// Where a gateway's lanes stand in one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursors {
    /// `settled_through` of the live lane.
    pub live: u64,
    /// `settled_through` of the replay lane.
    pub replay: u64,
}
