//! Jobs: scheduled in the transaction of what they follow from, leased by workers.

use std::time::Duration;

use carepost_domain::Id;
use carepost_domain::id::MemberId;
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::Conn;
use crate::codec::{cut, instant, timed_id, us};
use crate::error::{Doing as _, Fault, JobError};
use crate::limits::{JOB_BACKOFF, MAX_ERROR_CHARS, MAX_JOB_ATTEMPTS};
use crate::model::{Job, JobFailure, JobKind, ParkedJob};

statements! {
    // A rescheduled job is a new piece of work: its attempts begin again, and a lease under way does not complete it.
    SCHEDULE = "INSERT INTO job (id, kind, key, member, state, due_at, attempts, generation)
        VALUES ($1, $2, $3, $4, 'pending', $5, 0, 1)
        ON CONFLICT (key) DO UPDATE SET due_at = excluded.due_at, state = 'pending', attempts = 0,
            generation = job.generation + 1";
    SCHEDULE_SOONER = "INSERT INTO job (id, kind, key, member, state, due_at, attempts, generation)
        VALUES ($1, $2, $3, $4, 'pending', $5, 0, 1)
        ON CONFLICT (key) DO UPDATE SET
            due_at = CASE WHEN job.state = 'pending' AND job.due_at < excluded.due_at
                THEN job.due_at ELSE excluded.due_at END,
            state = 'pending', attempts = 0, generation = job.generation + 1";
    CANCEL_OF = "DELETE FROM job WHERE member = $1";
    LEASE = concat!(
        "UPDATE job SET leased_by = $2, lease_until = $3, attempts = attempts + 1 WHERE id IN (
            SELECT id FROM job
            WHERE state = 'pending' AND due_at <= $1 AND (lease_until IS NULL OR lease_until <= $1)
            ORDER BY due_at, id LIMIT $4", skip_locked!(), ")
        RETURNING id, kind, member, due_at, attempts, generation"
    );
    COMPLETE = "DELETE FROM job WHERE id = $1 AND leased_by = $2 AND generation = $3";
    RELEASE = "UPDATE job SET leased_by = NULL, lease_until = NULL WHERE id = $1 AND leased_by = $2";
    FAIL = "UPDATE job SET leased_by = NULL, lease_until = NULL, state = $3, due_at = $4, last_error = $5
        WHERE id = $1 AND leased_by = $2 AND generation = $6";
    PARKED = "SELECT id, kind, member, attempts, last_error FROM job WHERE state = 'parked' ORDER BY due_at, id LIMIT $1";
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    kind: String,
    member: Option<Uuid>,
    due_at: i64,
    attempts: i64,
    generation: i64,
}

#[derive(sqlx::FromRow)]
struct ParkedRow {
    id: Uuid,
    kind: String,
    member: Option<Uuid>,
    attempts: i64,
    last_error: Option<String>,
}

/// One assessment of a member waits at a time: at the instant that the newest assessment asked for.
pub(crate) async fn reassess_at(conn: &mut Conn, member: MemberId, due: DateTime<Utc>) -> Result<(), Fault> {
    schedule(conn, SCHEDULE, member, due).await
}

/// As [`reassess_at`], unless one is due earlier.
pub(crate) async fn reassess_sooner(conn: &mut Conn, member: MemberId, due: DateTime<Utc>) -> Result<(), Fault> {
    schedule(conn, SCHEDULE_SOONER, member, due).await
}

async fn schedule(conn: &mut Conn, statement: &'static str, member: MemberId, due: DateTime<Utc>) -> Result<(), Fault> {
    let key = format!("{}:{member}", JobKind::Reassess);
    sqlx::query(statement)
        .bind(timed_id(due, &[b"job", key.as_bytes()]))
        .bind(JobKind::Reassess.code())
        .bind(key.as_str())
        .bind(member.uuid())
        .bind(us(due))
        .execute(conn)
        .await
        .doing("schedule a job")?;
    Ok(())
}

/// Cancels whatever waits for a member.
pub(crate) async fn cancel_of(conn: &mut Conn, member: MemberId) -> Result<u64, Fault> {
    Ok(sqlx::query(CANCEL_OF)
        .bind(member.uuid())
        .execute(conn)
        .await
        .doing("cancel a member's jobs")?
        .rows_affected())
}

pub(crate) async fn lease(
    conn: &mut Conn,
    worker: Uuid,
    lease: Duration,
    limit: i64,
    now: DateTime<Utc>,
) -> Result<Vec<Job>, JobError> {
    let until = now + TimeDelta::from_std(lease).unwrap_or(TimeDelta::days(1));
    let mut rows: Vec<Row> = sqlx::query_as(LEASE)
        .bind(us(now))
        .bind(worker)
        .bind(us(until))
        .bind(limit)
        .fetch_all(&mut *conn)
        .await
        .doing("lease jobs")?;
    // RETURNING promises no order.
    rows.sort_by_key(|row| (row.due_at, row.id));
    let mut jobs = Vec::with_capacity(rows.len());
    for row in rows {
        let kind = match row.kind.parse::<JobKind>() {
            Ok(kind) if row.attempts <= MAX_JOB_ATTEMPTS => kind,
            Ok(_) => {
                park(conn, &row, worker, "its worker ended without a word each time").await?;
                continue;
            }
            Err(error) => {
                park(conn, &row, worker, &error.to_string()).await?;
                continue;
            }
        };
        jobs.push(Job {
            id: row.id,
            kind,
            member: row.member.map(Id::from_uuid),
            due_at: instant(row.due_at)?,
            attempts: row.attempts - 1,
            generation: row.generation,
        });
    }
    Ok(jobs)
}

async fn park(conn: &mut Conn, row: &Row, worker: Uuid, why: &str) -> Result<(), Fault> {
    sqlx::query(FAIL)
        .bind(row.id)
        .bind(worker)
        .bind("parked")
        .bind(row.due_at)
        .bind(cut(why, MAX_ERROR_CHARS))
        .bind(row.generation)
        .execute(conn)
        .await
        .doing("park a job")?;
    Ok(())
}

pub(crate) async fn complete(conn: &mut Conn, job: &Job, worker: Uuid) -> Result<(), JobError> {
    let done = sqlx::query(COMPLETE)
        .bind(job.id)
        .bind(worker)
        .bind(job.generation)
        .execute(&mut *conn)
        .await
        .doing("complete a job")?;
    if done.rows_affected() > 0 {
        return Ok(());
    }
    release(conn, job, worker).await
}

/// A job that was rescheduled while it ran waits for its new time.
async fn release(conn: &mut Conn, job: &Job, worker: Uuid) -> Result<(), JobError> {
    let released = sqlx::query(RELEASE)
        .bind(job.id)
        .bind(worker)
        .execute(conn)
        .await
        .doing("release a job")?;
    if released.rows_affected() > 0 {
        Ok(())
    } else {
        Err(JobError::LeaseLost)
    }
}

pub(crate) async fn fail(
    conn: &mut Conn,
    job: &Job,
    worker: Uuid,
    error: &str,
    now: DateTime<Utc>,
) -> Result<JobFailure, JobError> {
    let attempts = job.attempts + 1;
    let outcome = if attempts >= MAX_JOB_ATTEMPTS {
        JobFailure::Parked
    } else {
        let doublings = u32::try_from(job.attempts).unwrap_or(0).min(16);
        let pause = TimeDelta::from_std(JOB_BACKOFF.saturating_mul(2_u32.saturating_pow(doublings)));
        JobFailure::RetryAt(now + pause.unwrap_or(TimeDelta::days(1)))
    };
    let (state, due) = match outcome {
        JobFailure::Parked => ("parked", job.due_at),
        JobFailure::RetryAt(due) => ("pending", due),
    };
    let failed = sqlx::query(FAIL)
        .bind(job.id)
        .bind(worker)
        .bind(state)
        .bind(us(due))
        .bind(cut(error, MAX_ERROR_CHARS))
        .bind(job.generation)
        .execute(&mut *conn)
        .await
        .doing("record a failed job")?;
    if failed.rows_affected() > 0 {
        return Ok(outcome);
    }
    // What failed was the job as it was before; its new time stands.
    release(conn, job, worker).await?;
    Ok(outcome)
}

pub(crate) async fn parked(conn: &mut Conn, limit: i64) -> Result<Vec<ParkedJob>, JobError> {
    let rows: Vec<ParkedRow> = sqlx::query_as(PARKED)
        .bind(limit)
        .fetch_all(conn)
        .await
        .doing("list parked jobs")?;
    Ok(rows
        .into_iter()
        .map(|row| ParkedJob {
            id: row.id,
            kind: row.kind,
            member: row.member.map(Id::from_uuid),
            attempts: row.attempts,
            last_error: row.last_error,
        })
        .collect())
}
