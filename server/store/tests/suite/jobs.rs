//! Jobs and counts.

use std::time::Duration;

use carepost_store::model::{By, JobFailure, JobKind};
use carepost_store::testing::execute;
use carepost_store::{Disposition, JobError};
use uuid::Uuid;

use crate::bench::{Bench, minutes};

const LEASE: Duration = Duration::from_secs(60);
const ONE: Uuid = Uuid::from_u128(1);
const TWO: Uuid = Uuid::from_u128(2);

pub(crate) async fn a_job_is_leased_by_one_worker_at_a_time(bench: Bench) {
    // Consent was recorded, so the member waits for an assessment.
    assert!(
        bench
            .store
            .lease_due_jobs(ONE, LEASE, 9, bench.now - minutes(1))
            .await
            .unwrap()
            .is_empty(),
        "not yet due"
    );
    let jobs = bench.store.lease_due_jobs(ONE, LEASE, 9, bench.now).await.unwrap();
    assert_eq!(jobs.len(), 1);
    assert_eq!(
        (jobs[0].kind, jobs[0].member, jobs[0].attempts),
        (JobKind::Reassess, Some(bench.member), 0)
    );
    assert!(
        bench
            .store
            .lease_due_jobs(TWO, LEASE, 9, bench.now)
            .await
            .unwrap()
            .is_empty(),
        "it is leased"
    );
    let later = bench.now + minutes(2);
    let taken_over = bench.store.lease_due_jobs(TWO, LEASE, 9, later).await.unwrap();
    assert_eq!((taken_over.len(), taken_over[0].attempts), (1, 1), "the lease ran out");
    assert!(matches!(
        bench.store.complete_job(&jobs[0], ONE).await,
        Err(JobError::LeaseLost)
    ));
    assert_eq!(JobError::LeaseLost.disposition(), Disposition::Reject);
    bench.store.complete_job(&taken_over[0], TWO).await.unwrap();
    assert!(
        bench
            .store
            .lease_due_jobs(ONE, LEASE, 9, later + minutes(9))
            .await
            .unwrap()
            .is_empty(),
        "it is done"
    );
}

pub(crate) async fn a_job_rescheduled_while_it_runs_waits_for_its_new_time(bench: Bench) {
    let jobs = bench.store.lease_due_jobs(ONE, LEASE, 9, bench.now).await.unwrap();
    let later = By::staff(bench.pharmacist, bench.now + minutes(3));
    bench
        .store
        .set_drugs(&later, bench.member, &[carepost_domain::people::DrugClass::Insulin])
        .await
        .unwrap();
    bench.store.complete_job(&jobs[0], ONE).await.unwrap();
    let again = bench.store.lease_due_jobs(TWO, LEASE, 9, later.at).await.unwrap();
    assert_eq!(again.len(), 1, "what was asked for meanwhile is not lost");
    bench.store.complete_job(&again[0], TWO).await.unwrap();
}

pub(crate) async fn a_failure_does_not_undo_a_new_schedule(bench: Bench) {
    let jobs = bench.store.lease_due_jobs(ONE, LEASE, 9, bench.now).await.unwrap();
    let later = By::staff(bench.pharmacist, bench.now + minutes(3));
    bench
        .store
        .set_drugs(&later, bench.member, &[carepost_domain::people::DrugClass::Insulin])
        .await
        .unwrap();
    bench
        .store
        .fail_job(&jobs[0], ONE, "not today", bench.now)
        .await
        .unwrap();
    let again = bench.store.lease_due_jobs(TWO, LEASE, 9, later.at).await.unwrap();
    assert_eq!(
        (again.len(), again[0].attempts),
        (1, 0),
        "due at its new time, with all its attempts"
    );
    bench.store.complete_job(&again[0], TWO).await.unwrap();
}

pub(crate) async fn a_job_that_keeps_failing_is_parked(bench: Bench) {
    let mut now = bench.now;
    for attempt in 1.. {
        let jobs = bench.store.lease_due_jobs(ONE, LEASE, 9, now).await.unwrap();
        match bench
            .store
            .fail_job(&jobs[0], ONE, "the rules could not be read", now)
            .await
            .unwrap()
        {
            JobFailure::RetryAt(next) => {
                assert!(next > now, "each pause is a pause");
                assert!(
                    bench
                        .store
                        .lease_due_jobs(ONE, LEASE, 9, next - chrono::TimeDelta::seconds(1))
                        .await
                        .unwrap()
                        .is_empty()
                );
                now = next;
            }
            JobFailure::Parked => {
                assert_eq!(attempt, 8);
                break;
            }
        }
    }
    let parked = bench.store.parked_jobs(9).await.unwrap();
    assert_eq!(
        (parked.len(), parked[0].last_error.as_deref()),
        (1, Some("the rules could not be read"))
    );
    assert!(
        bench
            .store
            .lease_due_jobs(ONE, LEASE, 9, now + minutes(999))
            .await
            .unwrap()
            .is_empty()
    );
}

pub(crate) async fn an_unknown_kind_is_parked(bench: Bench) {
    execute(&bench.store, "UPDATE job SET kind = 'from_a_newer_version'")
        .await
        .unwrap();
    assert!(
        bench
            .store
            .lease_due_jobs(ONE, LEASE, 9, bench.now)
            .await
            .unwrap()
            .is_empty()
    );
    let parked = bench.store.parked_jobs(9).await.unwrap();
    assert_eq!((parked.len(), parked[0].kind.as_str()), (1, "from_a_newer_version"));
    assert_eq!(bench.store.counts(bench.now).await.unwrap().jobs_parked, [(None, 1)]);
}

pub(crate) async fn counts_say_what_waits(bench: Bench) {
    let counts = bench.store.counts(bench.now).await.unwrap();
    assert_eq!(
        (
            counts.readings,
            counts.alerts_open,
            counts.gateways,
            counts.gateways_online
        ),
        (0, 0, 1, 0)
    );
    assert_eq!((counts.jobs_pending, counts.jobs_overdue_since), (1, Some(bench.now)));
    bench
        .send(vec![
            bench.glucose(25, 1, bench.now - minutes(2)),
            bench.glucose(26, 2, bench.now - minutes(1)),
        ])
        .await;
    let counts = bench.store.counts(bench.now).await.unwrap();
    assert_eq!((counts.readings, counts.alerts_open, counts.tasks_open), (2, 1, 1));
    assert_eq!(
        counts.jobs_overdue_since, None,
        "the assessment knows when it must look again"
    );
}
