//! What can go wrong, grouped by operation, and what to do next.

use std::error::Error;

use carepost_domain::care::alert::AlertError;
use carepost_domain::care::task::TaskError;
use carepost_domain::id::{BindingId, GatewayId, MemberId, MeterId, StaffId, StoreId};

/// What the caller of something that failed does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// The same call may succeed later; every use case is idempotent under a repeat.
    Retry,
    /// The request itself is at fault; a repeat fails in the same way.
    Reject,
    /// Kept aside for a person: neither the request nor time will mend it.
    Park,
}

/// What kind of trouble the database is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// Another transaction was in the way (serialisation, deadlock, lock time-out).
    Contention,
    /// The database cannot be reached, or no connection was free in time.
    Unavailable,
    /// The disk is full or reports errors; nothing of the transaction may be relied upon.
    Disk,
    /// The database file is damaged.
    Damaged,
    /// A statement, a row or a constraint is not what this version expects.
    Unexpected,
}

/// The database could not do its part. What was being done is in the text, the cause in `source`.
#[derive(Debug, thiserror::Error)]
#[error("could not {attempt}")]
pub struct Fault {
    attempt: &'static str,
    kind: FaultKind,
    #[source]
    source: Box<dyn Error + Send + Sync>,
}

impl Fault {
    pub(crate) fn new(attempt: &'static str, kind: FaultKind, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            attempt,
            kind,
            source: source.into(),
        }
    }

    /// The kind of trouble.
    #[must_use]
    pub const fn kind(&self) -> FaultKind {
        self.kind
    }

    /// What to do next.
    #[must_use]
    pub const fn disposition(&self) -> Disposition {
        match self.kind {
            FaultKind::Contention | FaultKind::Unavailable | FaultKind::Disk => Disposition::Retry,
            FaultKind::Damaged | FaultKind::Unexpected => Disposition::Park,
        }
    }
}

/// Sorts the driver's errors into kinds, by the codes of both engines.
fn kind_of(error: &sqlx::Error) -> FaultKind {
    use sqlx::Error as E;
    match error {
        E::Io(_) | E::PoolTimedOut | E::PoolClosed | E::WorkerCrashed | E::Tls(_) => FaultKind::Unavailable,
        E::Database(db) => match db.code().as_deref().unwrap_or_default() {
            // PostgreSQL: serialisation failure, deadlock, lock not available.
            "40001" | "40P01" | "55P03" => FaultKind::Contention,
            // PostgreSQL: disk full, I/O error.
            "53100" | "58030" => FaultKind::Disk,
            // PostgreSQL: data or index corrupted.
            "XX001" | "XX002" => FaultKind::Damaged,
            // PostgreSQL: connection exceptions, shutdown, start-up, too many connections.
            code if code.len() == 5 && (code.starts_with("08") || code.starts_with("57P") || code == "53300") => {
                FaultKind::Unavailable
            }
            code => sqlite_kind(code),
        },
        _ => FaultKind::Unexpected,
    }
}

/// SQLite gives extended result codes in decimal; the primary code is the low byte (sqlite.org/rescode.html).
fn sqlite_kind(code: &str) -> FaultKind {
    match code.parse::<u32>().map(|code| code & 0xFF) {
        // SQLITE_BUSY, SQLITE_LOCKED.
        Ok(5 | 6) => FaultKind::Contention,
        // SQLITE_READONLY, SQLITE_IOERR, SQLITE_FULL, SQLITE_CANTOPEN.
        Ok(8 | 10 | 13 | 14) => FaultKind::Disk,
        // SQLITE_CORRUPT, SQLITE_NOTADB.
        Ok(11 | 26) => FaultKind::Damaged,
        _ => FaultKind::Unexpected,
    }
}

/// Says what was being done when the driver failed.
pub(crate) trait Doing<T> {
    /// `attempt` completes "could not ...".
    fn doing(self, attempt: &'static str) -> Result<T, Fault>;
}

impl<T> Doing<T> for Result<T, sqlx::Error> {
    fn doing(self, attempt: &'static str) -> Result<T, Fault> {
        self.map_err(|error| Fault::new(attempt, kind_of(&error), error))
    }
}

/// A stored text that this version cannot read, which means that a newer version wrote it.
pub(crate) fn unreadable(attempt: &'static str, error: impl Error + Send + Sync + 'static) -> Fault {
    Fault::new(attempt, FaultKind::Unexpected, error)
}

/// An error group that may carry a [`Fault`].
pub(crate) trait Group: From<Fault> {
    /// The fault, if that is what it is.
    fn fault(&self) -> Option<&Fault>;
}

/// Implements the common part of every group: where the fault is, and that everything else is the request's fault.
macro_rules! group {
    ($($name:ident),+) => { $(
        impl Group for $name {
            fn fault(&self) -> Option<&Fault> {
                match self { Self::Fault(fault) => Some(fault), _ => None }
            }
        }
        impl $name {
            /// What to do next: a fault says so itself, everything else is the request's own.
            #[must_use]
            pub fn disposition(&self) -> Disposition {
                self.fault().map_or(Disposition::Reject, Fault::disposition)
            }
        }
    )+ };
}

group!(
    FleetError,
    StaffError,
    PeopleError,
    ConsentError,
    RegisterError,
    IngestError,
    CareError,
    JobError
);

impl Group for Fault {
    fn fault(&self) -> Option<&Fault> {
        Some(self)
    }
}

/// The store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Neither `sqlite:` nor `postgres:`.
    #[error("the database URL must begin with sqlite: or postgres:")]
    UnknownEngine,
    /// The rest of the URL is unusable.
    #[error("the database URL cannot be used")]
    BadUrl(#[source] Fault),
    /// A SQLite with the WAL-reset bug, or an older one.
    #[error("SQLite {found} is too old; at least {required} is needed")]
    SqliteTooOld {
        /// The version in use.
        found: String,
        /// The oldest version that may be used.
        required: &'static str,
    },
    /// The migrations could not be applied, or a released one was edited.
    #[error("could not bring the schema up to date")]
    Migrate(#[source] Box<dyn Error + Send + Sync>),
    /// The database did not answer.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Stores and gateways.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// No such store.
    #[error("store {0} does not exist")]
    StoreUnknown(StoreId),
    /// The store is there with another name or zone.
    #[error("store {0} exists with other particulars")]
    StoreDiffers(StoreId),
    /// No such gateway.
    #[error("gateway {0} is not enrolled")]
    GatewayUnknown(GatewayId),
    /// Revoked; it never comes back under that id.
    #[error("gateway {0} is revoked")]
    GatewayRevoked(GatewayId),
    /// Enrolled with another key, store or name.
    #[error("gateway {0} is enrolled with another key, store or name")]
    GatewayDiffers(GatewayId),
    /// An epoch that is none.
    #[error("the epoch is not 1 to {max} bytes long", max = crate::limits::MAX_EPOCH_BYTES)]
    BadEpoch,
    /// The database.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Staff and their logins.
#[derive(Debug, thiserror::Error)]
pub enum StaffError {
    /// No such store.
    #[error("store {0} does not exist")]
    StoreUnknown(StoreId),
    /// No such person.
    #[error("staff member {0} does not exist or is disabled")]
    StaffUnknown(StaffId),
    /// The login belongs to somebody else.
    #[error("the login is taken")]
    LoginTaken,
    /// A login that is empty or too long.
    #[error("a login has 1 to {max} characters", max = crate::limits::MAX_LOGIN_CHARS)]
    BadLogin,
    /// The database.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Members, meters and bindings.
#[derive(Debug, thiserror::Error)]
pub enum PeopleError {
    /// No such store.
    #[error("store {0} does not exist")]
    StoreUnknown(StoreId),
    /// No such member.
    #[error("member {0} does not exist")]
    MemberUnknown(MemberId),
    /// The id or the code belongs to another member.
    #[error("the member's id or code is taken")]
    MemberTaken,
    /// A name or telephone that is empty or too long.
    #[error("{field} has {min} to {max} characters")]
    BadText {
        /// Which.
        field: &'static str,
        /// Fewest characters.
        min: usize,
        /// Most characters.
        max: usize,
    },
    /// No such meter.
    #[error("meter {0} is not registered")]
    MeterUnknown(MeterId),
    /// The meter is registered with other particulars.
    #[error("meter {0} is registered with other particulars")]
    MeterDiffers(MeterId),
    /// A store-shared meter belongs to nobody.
    #[error("meter {0} is shared by a store and cannot be bound to a member")]
    MeterShared(MeterId),
    /// A multi-user meter is bound by slot, a single-user meter without.
    #[error("meter {meter} is bound {wanted}")]
    SlotMismatch {
        /// The meter.
        meter: MeterId,
        /// How it is bound.
        wanted: &'static str,
    },
    /// Somebody else is bound to the meter or slot in that time.
    #[error("meter {meter} is bound by {other} in that time")]
    BindingOverlaps {
        /// The meter.
        meter: MeterId,
        /// The binding in the way.
        other: BindingId,
    },
    /// No such binding.
    #[error("binding {0} does not exist")]
    BindingUnknown(BindingId),
    /// The binding has ended already, or the end lies before its beginning.
    #[error("binding {0} cannot end then")]
    BindingEnd(BindingId),
    /// The database.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Registrations that come from gateways. Nothing of a refused one is kept.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// No such gateway.
    #[error("gateway {0} is not enrolled")]
    GatewayUnknown(GatewayId),
    /// Revoked.
    #[error("gateway {0} is revoked")]
    GatewayRevoked(GatewayId),
    /// It contradicts itself, or is larger than anything real.
    #[error("the registration of meter {meter} cannot be so: {why}")]
    Invalid {
        /// The meter.
        meter: MeterId,
        /// What is wrong.
        why: &'static str,
    },
    /// A gateway speaks for its own store only.
    #[error("meter {0} is to stand in another store than the gateway's")]
    OtherStore(MeterId),
    /// The meter is registered in another store, with another kind, role or number of users, or this very registration has
    /// been undone since.
    #[error("meter {0} is registered otherwise")]
    RegisteredOtherwise(MeterId),
    /// No such member, or none in the scope of the gateway's store.
    #[error("member {0} does not exist in the gateway's scope")]
    MemberUnknown(MemberId),
    /// The meter or the slot is somebody else's.
    #[error("meter {meter} is bound by {other}")]
    SlotTaken {
        /// The meter.
        meter: MeterId,
        /// The binding in the way.
        other: BindingId,
    },
    /// It is said to have been only ever one member's, and was another's before.
    #[error("meter {meter} was another member's by {other}, so it has not only ever been one person's")]
    WasAnothers {
        /// The meter.
        meter: MeterId,
        /// The binding that says so.
        other: BindingId,
    },
    /// The database.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Consent.
#[derive(Debug, thiserror::Error)]
pub enum ConsentError {
    /// No such member.
    #[error("member {0} does not exist")]
    MemberUnknown(MemberId),
    /// No such store.
    #[error("store {0} does not exist")]
    StoreUnknown(StoreId),
    /// The witness is nobody of the staff.
    #[error("witness {0} does not exist")]
    WitnessUnknown(StaffId),
    /// The grant's id is another grant's, or its dates contradict each other.
    #[error("the grant's id is taken, or it ends before it begins")]
    BadGrant,
    /// There is no grant to withdraw.
    #[error("member {0} has no open grant for that purpose")]
    NothingToWithdraw(MemberId),
    /// The database.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Batches from gateways. Faults of single readings are no errors; they are in the outcome.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// No such gateway.
    #[error("gateway {0} is not enrolled")]
    GatewayUnknown(GatewayId),
    /// Revoked.
    #[error("gateway {0} is revoked")]
    GatewayRevoked(GatewayId),
    /// Outside the contract: no item, too many, or sequence numbers out of range.
    #[error("the batch's shape is outside the contract")]
    BadBatch,
    /// The database.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Reading and working on care: readings, sessions, alerts, tasks.
#[derive(Debug, thiserror::Error)]
pub enum CareError {
    /// No such member, or none that the reader may know of.
    #[error("there is nothing to show for this member")]
    MemberHidden,
    /// No such alert, or none that the reader may know of.
    #[error("there is no such alert")]
    AlertUnknown,
    /// No such task, or none that the reader may know of.
    #[error("there is no such task")]
    TaskUnknown,
    /// Somebody else was faster; look again and decide again.
    #[error("it has changed since it was looked at; it is at version {current} now")]
    Conflict {
        /// The version that is current.
        current: u64,
    },
    /// What was asked for makes no sense.
    #[error("{0}")]
    NotAllowed(&'static str),
    /// The alert's state does not allow the step.
    #[error(transparent)]
    Alert(AlertError),
    /// The task's state does not allow the step.
    #[error(transparent)]
    Task(TaskError),
    /// No such person on the staff.
    #[error("staff member {0} does not exist or is disabled")]
    StaffUnknown(StaffId),
    /// A note that is too long, or too many symptoms.
    #[error("{field} is longer than {max}")]
    TooLong {
        /// Which.
        field: &'static str,
        /// The most.
        max: usize,
    },
    /// The database.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl From<AlertError> for CareError {
    fn from(error: AlertError) -> Self {
        match error {
            AlertError::Stale { actual, .. } => Self::Conflict { current: actual },
            other => Self::Alert(other),
        }
    }
}

impl From<TaskError> for CareError {
    fn from(error: TaskError) -> Self {
        match error {
            TaskError::Stale { actual, .. } => Self::Conflict { current: actual },
            other => Self::Task(other),
        }
    }
}

/// Jobs.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The lease ran out and somebody else has the job, or it is gone.
    #[error("the lease of the job is lost")]
    LeaseLost,
    /// The database.
    #[error(transparent)]
    Fault(#[from] Fault),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlite_codes_are_read_by_their_low_byte() {
        for (code, kind) in [
            ("5", FaultKind::Contention),
            ("517", FaultKind::Contention),
            ("13", FaultKind::Disk),
            ("778", FaultKind::Disk),
            ("11", FaultKind::Damaged),
            ("2067", FaultKind::Unexpected),
            ("", FaultKind::Unexpected),
        ] {
            assert_eq!(sqlite_kind(code), kind, "{code}");
        }
    }

    #[test]
    fn what_the_database_may_get_over_is_retried_and_the_rest_kept_for_a_person() {
        let at = |kind| Fault::new("test", kind, "cause").disposition();
        assert_eq!(at(FaultKind::Contention), Disposition::Retry);
        assert_eq!(at(FaultKind::Disk), Disposition::Retry);
        assert_eq!(at(FaultKind::Damaged), Disposition::Park);
        assert_eq!(IngestError::BadBatch.disposition(), Disposition::Reject);
    }
}
