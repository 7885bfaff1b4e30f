//! Receipts, server to gateway: the only word that empties an outbox.

use carepost_domain::code_enum;
use carepost_domain::quarantine::Reason;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Epoch, Lane};

/// What is settled in one lane: committed, quarantined by the server, rejected or void.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The epoch the numbers belong to; a receipt of another epoch is ignored.
    pub epoch: Epoch,
    /// The lane.
    pub lane: Lane,
    /// Every number up to here is settled.
    pub settled_through: u64,
    /// Settled numbers beyond the first gap, at most [`crate::limits::MAX_RECEIPT_EXTRA`].
    #[serde(default)]
    pub extra: Vec<u64>,
    /// Settled numbers that the server did not take, with the reason; repeated until the gateway has seen them.
    #[serde(default)]
    pub rejected: Vec<Rejected>,
    /// The server's time, by which a gateway may come to trust its own clock.
    pub server_time: DateTime<Utc>,
    /// The server asks the replay lane to pause.
    #[serde(default)]
    pub hold_replay: bool,
}

/// One rejected number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// The sequence number.
    pub seq: u64,
    /// Why.
    pub reason: Rejection,
}

/// Why the server did not take a reading, which decides what the gateway does with its copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "because", content = "reason", rename_all = "snake_case")]
pub enum Rejection {
    /// No consent: the gateway forgets its copy (page 4: never quarantined).
    NoConsent,
    /// Unusable: the gateway quarantines its copy with this reason and shows it.
    Unusable(Reason),
}

code_enum! {
    /// How a number was settled, as storage spells it.
    pub enum Settled ("settlement") {
        /// Stored as a new reading.
        Stored = "stored",
        /// Known before.
        Duplicate = "duplicate",
        /// Rejected.
        Rejected = "rejected",
        /// A purged row.
        Void = "void",
    }
}
