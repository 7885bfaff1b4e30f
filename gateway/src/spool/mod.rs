//! The gateway's durable memory: one SQLite file that holds raw packets until they are settled and readings until the
//! server's receipt.
//!
//! One public method is one use case and one transaction, but that a settlement may share a capture's (`joint`); no caller
//! sees a connection or SQL. What a method has returned `Ok` for survives a power cut (WAL with `synchronous = FULL`). What
//! is forgotten is overwritten (`secure_delete`) and the write-ahead log is emptied behind it, so that nothing of it is
//! left in the files.
//!
//! There is a single connection, which is the single writer. Every method is cancel-safe in the sense that a dropped
//! future leaves either all of its transaction or nothing; callers that must know which await it to its end.

mod aside;
mod capture;
mod contexts;
mod decided;
mod down;
mod error;
mod fresh;
mod joint;
mod links;
mod many;
mod meters;
mod numbers;
mod open;
mod outbox;
mod packed;
mod purge;
mod receipt;
mod records;
mod registrations;
mod row;
mod schema;
mod settle;
mod sittings;
mod status;
#[cfg(test)]
mod tests;
mod types;
mod waiting;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use sqlx::sqlite::SqlitePool;
use tokio::sync::watch;

use crate::down::DownCopy;

pub use decided::Decided;
pub use down::DownError;
pub use error::{Disposition, OLDEST_SQLITE, OpenError, SpoolError};
pub(crate) use meters::LinkPin;
pub use meters::Named;
pub use open::Recovered;
#[cfg(test)]
pub(crate) use packed::unpack;
pub(crate) use records::record_number;
pub use registrations::{MAX_REGISTRATIONS, Registration, RegistrationError};
pub use sittings::KeptSitting;
pub(crate) use status::talk_traits;
pub use types::{
    AsDecided, BatchLimits, Capture, Captured, Counter, DeltaOutcome, LinkClock, LinkEnd, LinkFacts, LinkId, Look,
    Looks, MeterStatus, NewPacket, OutBatch, PendingRow, Purged, ReceiptSummary, Settled, Settlement, SpoolRow,
    SpoolStatus, Swept,
};

/// The file's name in the data folder.
pub const FILE_NAME: &str = "spool.sqlite";
/// Equal bytes on one link within this time are one reading (page 4, "Reading id").
pub const SAME_READING_WITHIN: chrono::TimeDelta = chrono::TimeDelta::seconds(60);
/// How long a sealed reading waits for consent (page 5, section 1).
pub const SEALED_FOR: chrono::TimeDelta = chrono::TimeDelta::hours(72);
/// Quarantine rows that are kept; the oldest go first. A store's meters make a few a week.
pub const MAX_QUARANTINE_ROWS: u32 = 10_000;
/// Ended sittings are kept this long, for records that a shared meter sends late.
pub const SITTINGS_KEPT_FOR: chrono::TimeDelta = chrono::TimeDelta::days(7);
/// Pending rows that are read at once: with more of them, a meter's memory is settled hardly faster and takes up more.
pub const PENDING_PAGE: u32 = 1_024;

pub(crate) fn is_live(measured_at: chrono::DateTime<chrono::Utc>, captured_at: chrono::DateTime<chrono::Utc>) -> bool {
    settle::lane_of(measured_at, captured_at) == carepost_contract::v1::Lane::Live
}

/// The spool. Cloning is cheap; clones share the file.
#[derive(Clone, Debug)]
pub struct Spool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// The one connection that writes.
    pool: SqlitePool,
    /// The one that reads packets which wait, and what `status` shows, also while nobody can write.
    reader: SqlitePool,
    path: PathBuf,
    /// What was written just now, of what waits.
    fresh: fresh::FreshPackets,
    /// Record numbers of open links.
    numbers: numbers::Numbers,
    /// What is decided, for the next capture to take along.
    joint: joint::Joint,
    down: watch::Sender<Arc<DownCopy>>,
    pending_changes: watch::Sender<u64>,
    outbox_changes: watch::Sender<u64>,
    registration_changes: watch::Sender<u64>,
    /// Forgotten bytes may still be in the write-ahead log.
    scrub_due: AtomicBool,
    /// Links whose rows stay although nothing in the file refers to them.
    pins: meters::Pins,
}

impl Spool {
    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// The copy of members, meters, bindings and grants that is in force.
    #[must_use]
    pub fn down(&self) -> Arc<DownCopy> {
        Arc::clone(&self.inner.down.borrow())
    }

    /// Follows the copy that is in force.
    #[must_use]
    pub fn watch_down(&self) -> watch::Receiver<Arc<DownCopy>> {
        self.inner.down.subscribe()
    }

    /// Changes whenever there may be rows to settle: packets came, or a link ended.
    #[must_use]
    pub fn watch_pending(&self) -> watch::Receiver<u64> {
        self.inner.pending_changes.subscribe()
    }

    /// Changes whenever there may be something to send: new outbox rows, or numbered rows that became voids.
    #[must_use]
    pub fn watch_outbox(&self) -> watch::Receiver<u64> {
        self.inner.outbox_changes.subscribe()
    }

    fn pending_changed(&self) {
        self.inner
            .pending_changes
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    fn outbox_changed(&self) {
        self.inner
            .outbox_changes
            .send_modify(|count| *count = count.wrapping_add(1));
    }
}
