//! Does due jobs. A job is leased, done, and completed; one that fails is tried again later, and parked for a person
//! when it has failed too often (`carepost_store::limits::MAX_JOB_ATTEMPTS`).

use std::time::Duration;

use carepost_daemon::CancellationToken;
use carepost_store::JobError;
use carepost_store::model::{By, Job, JobFailure, JobKind};
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

use crate::app::AppState;
use crate::telemetry::{Metric, chain};

/// Jobs leased at a time. They are done one after the other, well within their lease.
const LEASED_AT_ONCE: u32 = 16;

/// Does jobs until the soft stop.
pub(crate) async fn run(state: AppState, soft: CancellationToken) -> anyhow::Result<()> {
    let worker = state.entropy.uuid_v7(state.clock.now());
    let mut poll = tokio::time::interval(Duration::from_millis(state.config.jobs.poll_ms));
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // Both branches are cancel-safe; the work below is not raced.
        tokio::select! {
            biased;
            () = soft.cancelled() => return Ok(()),
            _ = poll.tick() => {}
        }
        while !soft.is_cancelled() {
            let lease = Duration::from_secs(state.config.jobs.lease_s);
            let jobs = match state
                .store
                .lease_due_jobs(worker, lease, LEASED_AT_ONCE, state.clock.now())
                .await
            {
                Ok(jobs) => jobs,
                Err(error) => {
                    tracing::warn!(error = chain(&error), "due jobs could not be leased");
                    break;
                }
            };
            if jobs.is_empty() {
                break;
            }
            for job in jobs {
                if soft.is_cancelled() {
                    // The lease runs out and somebody else does it.
                    return Ok(());
                }
                deal_with(&state, worker, &job).await;
            }
        }
    }
}

async fn deal_with(state: &AppState, worker: Uuid, job: &Job) {
    let result = match attempt(state, job).await {
        Ok(()) => state.store.complete_job(job, worker).await.map(|()| {
            state.counters.count(Metric::JobsDone);
            tracing::debug!(job.id = %job.id, job.kind = job.kind.code(), "job done");
        }),
        Err(error) => {
            state.counters.count(Metric::JobsFailed);
            state.store.fail_job(job, worker, &error, state.clock.now()).await.map(|failure| match failure {
                JobFailure::RetryAt(at) => {
                    tracing::warn!(job.id = %job.id, job.kind = job.kind.code(), error, retry_at = %at, "job failed");
                }
                JobFailure::Parked => {
                    tracing::error!(job.id = %job.id, job.kind = job.kind.code(), error, "job parked for a person");
                }
            })
        }
    };
    match result {
        Ok(()) => {}
        // It was done again elsewhere, or rescheduled; jobs are idempotent.
        Err(JobError::LeaseLost) => tracing::info!(job.id = %job.id, "job lease was lost"),
        Err(error) => tracing::warn!(job.id = %job.id, error = chain(&error), "job could not be settled"),
    }
}

async fn attempt(state: &AppState, job: &Job) -> Result<(), String> {
    match job.kind {
        JobKind::Reassess => {
            let member = job.member.ok_or("the job names no member")?;
            let change = state
                .store
                .reassess_member(&By::system(state.clock.now()), member, &state.rules)
                .await
                .map_err(|error| chain(&error))?;
            tracing::debug!(
                job.id = %job.id,
                opened = change.opened,
                changed = change.changed,
                closed = change.closed,
                tasks = change.tasks,
                "member reassessed"
            );
            Ok(())
        }
    }
}
