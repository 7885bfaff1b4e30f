//! What staff do, under versions.

use carepost_domain::Phi;
use carepost_domain::care::alert::{CloseReason, Condition};
use carepost_domain::care::task::{CancelReason, Outcome, OutcomeRecord, Task, TaskError, TaskKind, TaskStatus};
use carepost_store::CareError;
use carepost_store::model::{AlertFilter, By, TaskFilter};
use chrono::TimeDelta;

use crate::bench::{Bench, id, minutes};

/// A critical low glucose, and its one task.
async fn critical(bench: &Bench) -> Task {
    bench.send(vec![bench.glucose(25, 1, bench.now - minutes(2))]).await;
    bench
        .store
        .tasks(&bench.by(), TaskFilter::default(), 10)
        .await
        .unwrap()
        .remove(0)
}

async fn taken(bench: &Bench) -> Task {
    let task = critical(bench).await;
    bench
        .store
        .take_task(&bench.by(), task.id, bench.pharmacist, task.version)
        .await
        .unwrap()
}

fn said(outcome: Outcome) -> OutcomeRecord {
    OutcomeRecord {
        outcome,
        note: Some(Phi::new("advised".to_owned())),
        next_at: None,
    }
}

pub(crate) async fn somebody_else_was_faster(bench: Bench) {
    let by = bench.by();
    let task = taken(&bench).await;
    assert_eq!(
        task.status,
        TaskStatus::Taken {
            by: bench.pharmacist,
            at: bench.now
        }
    );
    let colleague = id(0x72);
    bench.hire(colleague, "li").await;
    let late = bench.store.take_task(&by, task.id, colleague, task.version - 1).await;
    assert!(matches!(late, Err(CareError::Conflict { current }) if current == task.version));
    let again = bench.store.take_task(&by, task.id, colleague, task.version).await;
    assert!(matches!(again, Err(CareError::Task(TaskError::NotOpen { .. }))));
    let not_theirs = bench
        .store
        .record_outcome(
            &by,
            task.id,
            colleague,
            task.version,
            &said(Outcome::ReachedAdvised),
            &bench.rules,
        )
        .await;
    assert!(matches!(
        not_theirs,
        Err(CareError::Task(TaskError::NotTakenByYou { .. }))
    ));

    let alert = bench.store.alert(&by, task.alert).await.unwrap().alert;
    let seen = bench
        .store
        .acknowledge_alert(&by, alert.id, bench.pharmacist, alert.version)
        .await
        .unwrap();
    assert_eq!(seen.acknowledged.unwrap().by, bench.pharmacist);
    let stale = bench
        .store
        .acknowledge_alert(&by, alert.id, colleague, alert.version)
        .await;
    assert!(matches!(stale, Err(CareError::Conflict { current }) if current == seen.version));
    let twice = bench
        .store
        .acknowledge_alert(&by, alert.id, colleague, seen.version)
        .await;
    assert!(matches!(twice, Err(CareError::Alert(_))));
    assert_eq!(bench.store.alert(&by, alert.id).await.unwrap().alert, seen);
}

pub(crate) async fn a_contact_and_a_good_value_clear_the_alert(bench: Bench) {
    let by = bench.by();
    let task = taken(&bench).await;
    let done = bench
        .store
        .record_outcome(
            &by,
            task.id,
            bench.pharmacist,
            task.version,
            &said(Outcome::ReachedAdvised),
            &bench.rules,
        )
        .await
        .unwrap();
    let outcome = Outcome::ReachedAdvised;
    assert_eq!(
        done.task.status,
        TaskStatus::Done {
            by: bench.pharmacist,
            at: bench.now,
            outcome
        }
    );
    let stored = bench.store.task(&by, task.id).await.unwrap();
    assert_eq!(stored, done.task);
    assert_eq!(stored.note.unwrap().expose(), "advised");
    let alert = bench.store.alert(&by, task.alert).await.unwrap().alert;
    assert!(alert.is_active(), "closing a call does not clear physiology");
    assert_eq!(alert.contacted, alert.evidence());

    let version = bench.store.queue_version().await.unwrap();
    bench.send(vec![bench.glucose(56, 2, bench.now)]).await;
    let alert = bench.store.alert(&by, task.alert).await.unwrap().alert;
    assert_eq!(
        alert.condition,
        Condition::Closed {
            at: bench.now,
            reason: CloseReason::Cleared
        }
    );
    assert!(bench.store.queue(&by, None, 10).await.unwrap().rows.is_empty());
    assert!(bench.store.queue_version().await.unwrap() > version);

    // The next one is an alert and a call of its own.
    let later = bench.now + minutes(5);
    bench
        .store
        .ingest_batch(&bench.batch(1, vec![bench.glucose(24, 3, later)]), &bench.rules, later)
        .await
        .unwrap();
    let open = bench
        .store
        .alerts(&By::staff(bench.pharmacist, later), AlertFilter::Open, None, 10)
        .await
        .unwrap();
    assert_eq!(open.len(), 1);
    assert_ne!(open[0].id, alert.id);
    assert_eq!(
        bench
            .store
            .tasks(&By::staff(bench.pharmacist, later), TaskFilter::default(), 10)
            .await
            .unwrap()
            .len(),
        1
    );
}

pub(crate) async fn nobody_answered(bench: Bench) {
    let by = bench.by();
    let mut task = taken(&bench).await;
    for attempt in 1..=3 {
        let record = said(Outcome::NoAnswer);
        let done = bench
            .store
            .record_outcome(&by, task.id, bench.pharmacist, task.version, &record, &bench.rules)
            .await
            .unwrap();
        assert_eq!((done.task.attempts, done.task.status), (attempt, TaskStatus::Open));
        assert_eq!(done.task.unreachable, attempt == 3);
        assert_eq!(bench.store.task(&by, task.id).await.unwrap(), done.task);
        task = bench
            .store
            .take_task(&by, task.id, bench.pharmacist, done.task.version)
            .await
            .unwrap();
    }
    assert!(
        bench
            .store
            .alert(&by, task.alert)
            .await
            .unwrap()
            .alert
            .contacted
            .is_empty()
    );
}

pub(crate) async fn a_false_alarm_resolves_it(bench: Bench) {
    let by = bench.by();
    let task = taken(&bench).await;
    let record = said(Outcome::FalseAlarmDevice);
    let done = bench
        .store
        .record_outcome(&by, task.id, bench.pharmacist, task.version, &record, &bench.rules)
        .await
        .unwrap();
    assert_eq!(
        (done.change.closed, done.change.opened),
        (1, 0),
        "the same evidence raises nothing more"
    );
    let alert = bench.store.alert(&by, task.alert).await.unwrap().alert;
    assert_eq!(
        alert.condition,
        Condition::Closed {
            at: bench.now,
            reason: CloseReason::Resolved
        }
    );
    let all = TaskFilter {
        closed_too: true,
        member: Some(bench.member),
        store: Some(bench.site),
    };
    for other in bench
        .store
        .tasks(&by, all, 10)
        .await
        .unwrap()
        .iter()
        .filter(|other| other.id != task.id)
    {
        assert_eq!(
            other.status,
            TaskStatus::Cancelled {
                at: bench.now,
                reason: CancelReason::AlertResolved
            }
        );
    }
    assert!(
        bench
            .store
            .tasks(&by, TaskFilter::default(), 10)
            .await
            .unwrap()
            .is_empty()
    );
    let elsewhere = TaskFilter {
        closed_too: true,
        member: None,
        store: Some(id(0x5F)),
    };
    assert!(bench.store.tasks(&by, elsewhere, 10).await.unwrap().is_empty());
}

pub(crate) async fn a_booked_measurement_is_a_task(bench: Bench) {
    let by = bench.by();
    let task = taken(&bench).await;
    let record = said(Outcome::ReMeasureBooked);
    let undated = bench
        .store
        .record_outcome(&by, task.id, bench.pharmacist, task.version, &record, &bench.rules)
        .await;
    assert!(matches!(undated, Err(CareError::Task(TaskError::DateNeeded { .. }))));
    let next = bench.now + TimeDelta::days(14);
    let record = OutcomeRecord {
        next_at: Some(next),
        ..record
    };
    let done = bench
        .store
        .record_outcome(&by, task.id, bench.pharmacist, task.version, &record, &bench.rules)
        .await
        .unwrap();
    let follow_up = done.follow_up.unwrap();
    assert_eq!(
        (follow_up.kind, follow_up.due_at, follow_up.status),
        (TaskKind::ReMeasure, next, TaskStatus::Open)
    );
    assert_eq!(bench.store.task(&by, follow_up.id).await.unwrap(), follow_up);
    let long = OutcomeRecord {
        note: Some(Phi::new("x".repeat(1_001))),
        ..said(Outcome::SeenInPerson)
    };
    let mine = bench
        .store
        .take_task(&by, follow_up.id, bench.pharmacist, follow_up.version)
        .await
        .unwrap();
    let refused = bench
        .store
        .record_outcome(&by, mine.id, bench.pharmacist, mine.version, &long, &bench.rules)
        .await;
    assert!(matches!(refused, Err(CareError::Task(TaskError::NoteTooLong))));
}

pub(crate) async fn only_staff_may_act(bench: Bench) {
    let by = bench.by();
    let task = critical(&bench).await;
    let nobody = id(0x7F);
    let taken = bench.store.take_task(&by, task.id, nobody, task.version).await;
    assert!(matches!(taken, Err(CareError::StaffUnknown(_))));
    let seen = bench.store.acknowledge_alert(&by, task.alert, nobody, 1).await;
    assert!(matches!(seen, Err(CareError::StaffUnknown(_))));
    let unknown = bench.store.take_task(&by, id(0xF1), bench.pharmacist, 1).await;
    assert!(matches!(unknown, Err(CareError::TaskUnknown)));
    let unknown = bench.store.acknowledge_alert(&by, id(0xF1), bench.pharmacist, 1).await;
    assert!(matches!(unknown, Err(CareError::AlertUnknown)));
}
