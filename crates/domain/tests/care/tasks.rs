//! Which tasks alerts ask for, and how a person works through one.

use carepost_domain::care::alert::{Alert, reconcile};
use carepost_domain::care::evaluate::{Assessment, assess};
use carepost_domain::care::history::{CareReading, Settled};
use carepost_domain::care::rule::{Family, Rule, Severity};
use carepost_domain::care::task::{
    AlertEffect, CancelReason, Outcome, OutcomeRecord, Task, TaskError, TaskKind, TaskStatus, plan,
};
use carepost_domain::id::TaskId;
use carepost_domain::people::Symptom;
use carepost_domain::{Id, Phi};
use chrono::{DateTime, TimeDelta, Utc};

use crate::support::*;

fn task_id(n: u128) -> TaskId {
    Id::from_uuid(uuid::Uuid::from_u128(0xC00 + n))
}

fn look(readings: &[CareReading], minute: i64) -> Assessment {
    assess(rules(), &diabetic(), readings, &[], &Settled::default(), at(minute))
}

fn alert_of(open: Option<Alert>, family: Family, assessment: &Assessment) -> Alert {
    let id = Id::from_uuid(uuid::Uuid::from_u128(0xD));
    reconcile(open.clone(), member(), family, assessment, id)
        .pop()
        .map(|c| c.alert)
        .or(open)
        .unwrap()
}

fn planned(alert: &Alert, assessment: &Assessment, existing: &[Task]) -> Vec<Task> {
    let mut n = u128::try_from(existing.len()).unwrap();
    let mint = || {
        n += 1;
        task_id(n)
    };
    plan(rules(), alert, assessment, existing, mint)
        .into_iter()
        .map(|c| c.task)
        .collect()
}

/// The tasks for readings as of a minute: kind and minutes until due.
fn asked(readings: &[CareReading], family: Family, minute: i64) -> Vec<(TaskKind, i64)> {
    let assessment = look(readings, minute);
    let alert = alert_of(None, family, &assessment);
    let tasks = planned(&alert, &assessment, &[]);
    tasks
        .iter()
        .map(|t| (t.kind, (t.due_at - assessment.now).num_minutes()))
        .collect()
}

#[test]
fn each_rule_asks_for_what_its_table_row_says() {
    use Family::{BpHigh, BpLow, GlucoseHigh, GlucoseLow, Symptom as Sy};
    let severe = pair(0, 185, 95);
    assert_eq!(asked(&severe, BpHigh, 2), [(TaskKind::Call, 60)]);
    assert_eq!(asked(&in_store(severe.clone()), BpHigh, 2), [(TaskKind::Approach, 3)]);
    // Late from a store: the person has left.
    assert_eq!(asked(&in_store(severe.clone()), BpHigh, 300), [(TaskKind::Call, 60)]);
    let two_days = [severe, pair(DAY, 185, 95)].concat();
    assert_eq!(
        asked(&two_days, BpHigh, DAY + 2),
        [(TaskKind::Call, 60), (TaskKind::SameDayDoctor, 480)]
    );
    // A single high session is a message to re-measure; repeated within seven days it is a call.
    assert_eq!(asked(&pair(0, 165, 95), BpHigh, 2), []);
    assert_eq!(
        asked(&[pair(0, 165, 95), pair(DAY, 165, 95)].concat(), BpHigh, DAY + 2),
        [(TaskKind::Call, 2880)]
    );
    // Ranked work has no task.
    let office = [in_store(pair(0, 145, 80)), in_store(pair(DAY, 145, 80))].concat();
    assert_eq!(asked(&office, BpHigh, DAY + 2), []);
    assert_eq!(asked(&pair(0, 85, 50), BpLow, 2), []);
    assert_eq!(asked(&[mmol(0, 35)], GlucoseLow, 1), [(TaskKind::Call, 480)]);
    assert_eq!(asked(&[mmol(0, 25)], GlucoseLow, 1), [(TaskKind::Call, 15)]);
    assert_eq!(asked(&[mmol(0, 180)], GlucoseHigh, 15), [(TaskKind::Call, 60)]);
    assert_eq!(
        asked(&[mmol(0, 140), mmol(60, 140)], GlucoseHigh, 60),
        [(TaskKind::Call, 480)]
    );
    let pain = [bp(0, 120, 80).symptom(Symptom::ChestPain).store()];
    assert_eq!(asked(&pain, Sy, 1), [(TaskKind::Approach, 0)]);
}

#[test]
fn the_same_event_twice_is_one_task() {
    let assessment = look(&[mmol(0, 25)], 1);
    let alert = alert_of(None, Family::GlucoseLow, &assessment);
    let tasks = planned(&alert, &assessment, &[]);
    assert_eq!(tasks.len(), 1);
    assert!(planned(&alert, &assessment, &tasks).is_empty());
    assert_eq!(planned(&alert, &assessment, &[])[0].key, tasks[0].key);
}

#[test]
fn worse_evidence_brings_an_open_call_forward() {
    let first = look(&[mmol(0, 35)], 1);
    let alert = alert_of(None, Family::GlucoseLow, &first);
    let calls = planned(&alert, &first, &[]);
    let second = look(&[mmol(0, 35), mmol(10, 25)], 11);
    let alert = alert_of(Some(alert), Family::GlucoseLow, &second);
    let changed = planned(&alert, &second, &calls);
    assert_eq!(changed.len(), 1);
    assert_eq!((changed[0].id, changed[0].due_at), (calls[0].id, at(26)));
    assert_eq!((changed[0].rule, changed[0].severity), (Rule::Gl02, Severity::Critical));
    assert_eq!(changed[0].version, calls[0].version + 1);
    // More of the same does not.
    let third = look(&[mmol(0, 35), mmol(10, 25), mmol(12, 25)], 13);
    let alert = alert_of(Some(alert), Family::GlucoseLow, &third);
    assert!(planned(&alert, &third, &changed).is_empty());
}

fn taken() -> Task {
    let assessment = look(&[mmol(0, 25)], 1);
    let alert = alert_of(None, Family::GlucoseLow, &assessment);
    let task = planned(&alert, &assessment, &[]).remove(0);
    task.take(pharmacist(1), at(2), 1).unwrap().task
}

fn record(outcome: Outcome, next_at: Option<DateTime<Utc>>) -> OutcomeRecord {
    OutcomeRecord {
        outcome,
        note: None,
        next_at,
    }
}

#[test]
fn new_evidence_after_a_finished_call_asks_for_another() {
    let readings = [mmol(0, 25)];
    let assessment = look(&readings, 1);
    let alert = alert_of(None, Family::GlucoseLow, &assessment);
    let task = planned(&alert, &assessment, &[])
        .remove(0)
        .take(pharmacist(1), at(2), 1)
        .unwrap()
        .task;
    let version = task.version;
    let reached = record(Outcome::ReachedAdvised, None);
    let effects = task
        .record_outcome(pharmacist(1), at(5), version, reached, task_id(9))
        .unwrap();
    assert_eq!(effects.alert, AlertEffect::RecordContact);
    let done = vec![effects.task.task];
    let alert = alert.record_contact(at(5)).unwrap().alert;
    assert!(
        planned(&alert, &look(&readings, 6), &done).is_empty(),
        "a finished call is not asked for again"
    );
    let again = look(&[mmol(0, 25), mmol(60, 24)], 61);
    let alert = alert_of(Some(alert), Family::GlucoseLow, &again);
    assert_eq!(planned(&alert, &again, &done).len(), 1);
}

#[test]
fn two_pharmacists_cannot_take_the_same_task() {
    let task = taken();
    let version = task.version;
    assert!(matches!(
        task.clone().take(pharmacist(2), at(3), 1),
        Err(TaskError::Stale { .. })
    ));
    assert!(matches!(
        task.clone().take(pharmacist(2), at(3), version),
        Err(TaskError::NotOpen { .. })
    ));
    let reached = record(Outcome::ReachedAdvised, None);
    let refused = task.record_outcome(pharmacist(2), at(3), version, reached, task_id(9));
    assert!(matches!(refused, Err(TaskError::NotTakenByYou { .. })));
}

#[test]
fn no_answer_is_tried_three_times_within_the_hour() {
    let mut task = taken();
    for (attempt, minute) in [(1, 3), (2, 23), (3, 43)] {
        let version = task.version;
        let effects = task
            .record_outcome(
                pharmacist(1),
                at(minute),
                version,
                record(Outcome::NoAnswer, None),
                task_id(9),
            )
            .unwrap();
        assert_eq!(effects.alert, AlertEffect::None);
        task = effects.task.task;
        assert_eq!((task.attempts, task.status), (attempt, TaskStatus::Open));
        assert_eq!(task.unreachable, attempt == 3);
        assert_eq!(task.next_try_at, (attempt < 3).then(|| at(minute + 20)));
        let version = task.version;
        task = task.take(pharmacist(1), at(minute), version).unwrap().task;
    }
}

#[test]
fn a_booked_measurement_is_a_task_of_its_own() {
    let task = taken();
    let (version, id) = (task.version, task.id);
    let missing = task.clone().record_outcome(
        pharmacist(1),
        at(5),
        version,
        record(Outcome::ReMeasureBooked, None),
        task_id(9),
    );
    assert!(matches!(missing, Err(TaskError::DateNeeded { .. })));
    let past = task.clone().record_outcome(
        pharmacist(1),
        at(5),
        version,
        record(Outcome::ReMeasureBooked, Some(at(4))),
        task_id(9),
    );
    assert!(matches!(past, Err(TaskError::DateNeeded { .. })));
    let due = at(5) + TimeDelta::days(14);
    let effects = task
        .record_outcome(
            pharmacist(1),
            at(5),
            version,
            record(Outcome::ReMeasureBooked, Some(due)),
            task_id(9),
        )
        .unwrap();
    assert!(matches!(
        effects.task.task.status,
        TaskStatus::Done {
            outcome: Outcome::ReMeasureBooked,
            ..
        }
    ));
    let follow_up = effects.follow_up.unwrap().task;
    assert_eq!(
        (follow_up.id, follow_up.kind, follow_up.due_at),
        (task_id(9), TaskKind::ReMeasure, due)
    );
    assert!(follow_up.key.as_str().contains(&id.to_string()));
}

#[test]
fn outcomes_do_to_the_alert_what_the_design_says() {
    for outcome in Outcome::ALL {
        let contact_rule = outcome.alert_effect(Rule::Bp02);
        let manual_rule = outcome.alert_effect(Rule::Sy01);
        if outcome.keeps_open() {
            assert_eq!(
                (contact_rule, manual_rule),
                (AlertEffect::None, AlertEffect::None),
                "{outcome}"
            );
        } else if matches!(outcome, Outcome::FalseAlarmDevice | Outcome::Duplicate) {
            assert_eq!(contact_rule, AlertEffect::Resolve);
        } else {
            assert_eq!(contact_rule, AlertEffect::RecordContact, "{outcome}");
            assert_ne!(manual_rule, AlertEffect::None);
        }
    }
    assert_eq!(Outcome::CalledEmergency.alert_effect(Rule::Bp03), AlertEffect::Resolve);
    assert_eq!(
        Outcome::ReMeasureBooked.alert_effect(Rule::Bp03),
        AlertEffect::RecordContact
    );
}

#[test]
fn notes_are_bounded_and_do_not_print() {
    let task = taken();
    let version = task.version;
    let long = OutcomeRecord {
        outcome: Outcome::ReachedAdvised,
        note: Some(Phi::new("x".repeat(1_001))),
        next_at: None,
    };
    assert_eq!(
        task.clone()
            .record_outcome(pharmacist(1), at(5), version, long, task_id(9))
            .unwrap_err(),
        TaskError::NoteTooLong
    );
    let note = OutcomeRecord {
        note: Some(Phi::new("secret".into())),
        ..record(Outcome::ReachedAdvised, None)
    };
    let effects = task
        .record_outcome(pharmacist(1), at(5), version, note, task_id(9))
        .unwrap();
    assert!(!format!("{effects:?}").contains("secret"));
}

#[test]
fn a_cancelled_task_stays_cancelled() {
    let change = taken().cancel(at(3), CancelReason::ConsentWithdrawn).unwrap();
    assert!(!change.task.is_live());
    assert!(change.task.cancel(at(4), CancelReason::AlertResolved).is_none());
}

#[test]
fn a_finished_call_is_not_asked_for_again_by_time_or_by_more_of_the_same() {
    // Seen in person at the kiosk: when the finding is no longer fresh, no call is asked for.
    let low = [mmol(0, 25).store()];
    let assessment = look(&low, 1);
    let alert = alert_of(None, Family::GlucoseLow, &assessment);
    let task = planned(&alert, &assessment, &[]).remove(0);
    assert_eq!(task.kind, TaskKind::Approach);
    let seen = task.take(pharmacist(1), at(2), 1).unwrap().task;
    let version = seen.version;
    let effects = seen
        .record_outcome(
            pharmacist(1),
            at(3),
            version,
            record(Outcome::SeenInPerson, None),
            task_id(9),
        )
        .unwrap();
    let alert = alert.record_contact(at(3)).unwrap().alert;
    assert!(planned(&alert, &look(&low, 90), &[effects.task.task]).is_empty());
    // GL-01 waits for no contact: one call for an alert.
    let low = look(&[mmol(0, 35)], 1);
    let alert = alert_of(None, Family::GlucoseLow, &low);
    let call = planned(&alert, &low, &[])
        .remove(0)
        .take(pharmacist(1), at(2), 1)
        .unwrap()
        .task;
    let version = call.version;
    let effects = call
        .record_outcome(
            pharmacist(1),
            at(3),
            version,
            record(Outcome::ReachedAdvised, None),
            task_id(9),
        )
        .unwrap();
    let alert = alert.record_contact(at(3)).unwrap().alert;
    let again = look(&[mmol(0, 35), mmol(60, 36)], 61);
    let alert = alert_of(Some(alert), Family::GlucoseLow, &again);
    assert!(planned(&alert, &again, &[effects.task.task]).is_empty());
}
