//! Work that waits for its time.

use carepost_domain::code_enum;
use carepost_domain::id::MemberId;
use chrono::{DateTime, Utc};
use uuid::Uuid;

code_enum! {
    /// What a job does.
    pub enum JobKind ("job kind") {
        /// Assesses a member again, because something becomes true by time alone.
        Reassess = "reassess",
    }
}

code_enum! {
    /// Where a job stands. Finished and cancelled jobs leave the table; the audit keeps what they did.
    pub enum JobState ("job state") {
        /// Waits for its time or for its worker.
        Pending = "pending",
        /// Failed too often, or of a kind that nobody knows: for a person to look at.
        Parked = "parked",
    }
}

/// A job that the caller has leased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The job.
    pub id: Uuid,
    /// What to do.
    pub kind: JobKind,
    /// For whom.
    pub member: Option<MemberId>,
    /// When it was due.
    pub due_at: DateTime<Utc>,
    /// Attempts before this one.
    pub attempts: i64,
    /// Tells this lease from a later rescheduling; handed back on completion.
    pub generation: i64,
}

/// A job that a person must look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedJob {
    /// The job.
    pub id: Uuid,
    /// What it should do, as written.
    pub kind: String,
    /// For whom.
    pub member: Option<MemberId>,
    /// Attempts made.
    pub attempts: i64,
    /// What went wrong last.
    pub last_error: Option<String>,
}

/// What became of a job that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobFailure {
    /// It is tried again then.
    RetryAt(DateTime<Utc>),
    /// It is parked.
    Parked,
}
