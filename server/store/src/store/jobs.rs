//! Jobs and the audit's upkeep.

use std::time::Duration;

use carepost_domain::id::MemberId;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Priority, Store, audited, read, write};
use crate::error::{Fault, JobError};
use crate::limits::MAX_PAGE;
use crate::model::{AuditRow, By, Job, JobFailure, ParkedJob, Sealed, Verdict};

impl Store {
    /// Leases jobs whose time has come, the oldest first. A lease that runs out makes the job free again; jobs of unknown
    /// kinds, and jobs whose worker ended too often without a word, are parked.
    ///
    /// # Errors
    /// When the database fails.
    #[tracing::instrument(name = "store.lease_due_jobs", skip_all)]
    pub async fn lease_due_jobs(
        &self,
        worker: Uuid,
        lease: Duration,
        limit: u32,
        now: DateTime<Utc>,
    ) -> Result<Vec<Job>, JobError> {
        let limit = i64::from(limit.min(MAX_PAGE));
        write!(self, Priority::Live, |conn| sql::jobs::lease(
            conn, worker, lease, limit, now
        ))
    }

    /// A leased job is done. One that was rescheduled meanwhile waits for its new time.
    ///
    /// # Errors
    /// [`JobError::LeaseLost`], also when the job was cancelled meanwhile.
    #[tracing::instrument(name = "store.complete_job", skip_all)]
    pub async fn complete_job(&self, job: &Job, worker: Uuid) -> Result<(), JobError> {
        write!(self, Priority::Live, |conn| sql::jobs::complete(conn, job, worker))
    }

    /// A leased job failed: tried again after a pause that doubles, parked after
    /// [`crate::limits::MAX_JOB_ATTEMPTS`] attempts.
    ///
    /// # Errors
    /// [`JobError::LeaseLost`], also when the job was cancelled meanwhile.
    #[tracing::instrument(name = "store.fail_job", skip_all)]
    pub async fn fail_job(
        &self,
        job: &Job,
        worker: Uuid,
        error: &str,
        now: DateTime<Utc>,
    ) -> Result<JobFailure, JobError> {
        write!(self, Priority::Live, |conn| sql::jobs::fail(
            conn, job, worker, error, now
        ))
    }

    /// Jobs that a person must look at.
    ///
    /// # Errors
    /// When the database fails.
    #[tracing::instrument(name = "store.parked_jobs", skip_all)]
    pub async fn parked_jobs(&self, limit: u32) -> Result<Vec<ParkedJob>, JobError> {
        read!(self, |conn| sql::jobs::parked(conn, i64::from(limit.min(MAX_PAGE))))
    }

    /// Gives the oldest audit rows outside the chain their places in it, at most
    /// [`crate::limits::MAX_SEALED_AT_ONCE`].
    ///
    /// # Errors
    /// When the database fails, or the end of the chain is missing.
    #[tracing::instrument(name = "store.seal_audit", skip_all)]
    pub async fn seal_audit(&self) -> Result<Sealed, Fault> {
        write!(self, Priority::Replay, |conn| sql::audit::seal(conn))
    }

    /// Walks along the audit's chain; rows that are not sealed yet are not looked at.
    ///
    /// # Errors
    /// When the database fails.
    #[tracing::instrument(name = "store.verify_audit", skip_all)]
    pub async fn verify_audit(&self) -> Result<Verdict, Fault> {
        read!(self, |conn| sql::audit::verify(conn))
    }

    /// The newest audit rows about a member. Audited.
    ///
    /// # Errors
    /// When the database fails.
    #[tracing::instrument(name = "store.audit_of", skip_all)]
    pub async fn audit_of(&self, by: &By, member: MemberId, limit: u32) -> Result<Vec<AuditRow>, Fault> {
        audited!(self, |conn| sql::audit::list(
            conn,
            by,
            member,
            i64::from(limit.min(MAX_PAGE))
        ))
    }
}
