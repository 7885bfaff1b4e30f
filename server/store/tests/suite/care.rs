//! Sessions, alerts, tasks, and what staff see of them.

use std::time::Duration;

use carepost_domain::care::history::{SymptomRecord, SymptomSource};
use carepost_domain::care::rule::{Family, Rule, Severity};
use carepost_domain::care::session::SessionState;
use carepost_domain::care::task::{TaskKind, TaskStatus};
use carepost_domain::consent::Purpose;
use carepost_domain::people::{Condition, DrugClass, Symptom};
use carepost_domain::reading::{Measurement, Place};
use carepost_store::CareError;
use carepost_store::model::{AlertFilter, By, JobKind, TaskFilter};
use chrono::TimeDelta;
use uuid::Uuid;

use crate::bench::{Bench, id, minutes, reading_of};

pub(crate) async fn a_critical_glucose_opens_one_alert_and_one_task(bench: Bench) {
    let by = bench.by();
    let version = bench.store.queue_version().await.unwrap();
    let outcome = bench.send(vec![bench.glucose(25, 1, bench.now - minutes(2))]).await;
    assert_eq!(outcome.members_changed, [bench.member]);
    assert!(bench.store.queue_version().await.unwrap() > version);
    let alerts = bench
        .store
        .alerts(&by, AlertFilter::Open, Some(bench.site), 10)
        .await
        .unwrap();
    assert_eq!(alerts.len(), 1);
    let alert = &alerts[0];
    assert_eq!(
        (alert.rule, alert.severity, alert.family),
        (Rule::Gl02, Severity::Critical, Family::GlucoseLow)
    );
    assert_eq!(alert.rule_set, bench.rules.reference);
    assert!(
        alert.rules.contains_key(&Rule::Gl01),
        "the milder rule joins the same alert"
    );
    assert!(!alert.limits.is_empty(), "it keeps the limits that applied");
    let tasks = bench.store.tasks(&by, TaskFilter::default(), 10).await.unwrap();
    assert_eq!(
        (tasks.len(), tasks[0].kind, tasks[0].alert),
        (1, TaskKind::Call, alert.id)
    );
    assert_eq!(tasks[0].due_at, bench.now + minutes(15));

    // More of the same joins; the task is there already.
    bench.send(vec![bench.glucose(24, 2, bench.now - minutes(1))]).await;
    let again = bench.store.alerts(&by, AlertFilter::Open, None, 10).await.unwrap();
    assert_eq!((again.len(), again[0].id, again[0].evidence().len()), (1, alert.id, 2));
    assert!(again[0].version > alert.version);
    assert_eq!(
        bench.store.tasks(&by, TaskFilter::default(), 10).await.unwrap().len(),
        1
    );
    let file = bench.store.alert(&by, alert.id).await.unwrap();
    assert_eq!((file.readings.len(), file.tasks.len()), (2, 1));
    assert!(file.readings[0].reading.time.at < file.readings[1].reading.time.at);
    assert_eq!(file.alert, again[0]);
    assert!(
        bench
            .store
            .alerts(&by, AlertFilter::Open, Some(id(0x5F)), 10)
            .await
            .unwrap()
            .is_empty(),
        "another store's"
    );
}

pub(crate) async fn a_pair_becomes_a_session_with_its_mean(bench: Bench) {
    let (first, second) = (bench.now - minutes(3), bench.now - minutes(2));
    let items = vec![bench.bp(131, 82, first), bench.bp(134, 85, second)];
    let ids: Vec<_> = items.iter().map(|item| reading_of(item).id).collect();
    bench.send(items).await;
    let sessions = bench
        .store
        .sessions(&bench.by(), bench.member, bench.now - minutes(60), 10)
        .await
        .unwrap();
    assert_eq!(sessions.len(), 1);
    let session = &sessions[0];
    let mean = session.mean.unwrap();
    assert_eq!(
        (
            mean.systolic_mmhg,
            mean.diastolic_mmhg,
            mean.pulse_per_min,
            mean.readings
        ),
        (133, 84, Some(72), 2)
    );
    assert_eq!(
        (session.state, session.place, session.meter),
        (SessionState::Judged, Place::Home, Some(bench.cuff))
    );
    assert_eq!((&session.readings, &session.used), (&ids, &ids));
    assert_eq!((session.started, session.last), (first, second));
    assert!(
        bench
            .store
            .alerts(&bench.by(), AlertFilter::All, None, 10)
            .await
            .unwrap()
            .is_empty()
    );
}

pub(crate) async fn a_late_reading_makes_the_session_again(bench: Bench) {
    let by = bench.by();
    let start = bench.now - minutes(5);
    let first = bench.bp(131, 82, start);
    bench.send(vec![bench.bp(134, 85, start + minutes(1))]).await;
    let alone = bench
        .store
        .sessions(&by, bench.member, start - minutes(60), 10)
        .await
        .unwrap();
    assert_eq!((alone.len(), alone[0].mean), (1, None));
    bench.send(vec![first]).await;
    let pair = bench
        .store
        .sessions(&by, bench.member, start - minutes(60), 10)
        .await
        .unwrap();
    assert_eq!((pair.len(), pair[0].readings.len()), (1, 2), "not two sessions");
    assert_ne!(pair[0].id, alone[0].id, "it begins with another reading");
    assert_eq!(pair[0].mean.unwrap().systolic_mmhg, 133);
}

pub(crate) async fn an_old_backlog_has_sessions_and_no_alert(bench: Bench) {
    let old = bench.now - TimeDelta::days(300);
    let pair = |start| vec![bench.bp(190, 115, start), bench.bp(188, 114, start + minutes(1))];
    bench.send(vec![pair(old + minutes(7))[1].clone()]).await;
    bench
        .send([pair(old), vec![pair(old + minutes(7))[0].clone()]].concat())
        .await;
    let sessions = bench
        .store
        .sessions(&bench.by(), bench.member, old - minutes(60), 10)
        .await
        .unwrap();
    let readings: usize = sessions.iter().map(|session| session.readings.len()).sum();
    assert_eq!(readings, 4, "each reading is in one session: {sessions:#?}");
    assert!(
        bench
            .store
            .alerts(&bench.by(), AlertFilter::All, None, 10)
            .await
            .unwrap()
            .is_empty(),
        "nobody is called about it"
    );
}

pub(crate) async fn an_unrepeated_severe_reading_becomes_an_alert_by_time_alone(bench: Bench) {
    let measured = bench.now - minutes(1);
    bench.send(vec![bench.bp(191, 112, measured)]).await;
    assert!(
        bench
            .store
            .alerts(&bench.by(), AlertFilter::Open, None, 10)
            .await
            .unwrap()
            .is_empty(),
        "a new pair may decide"
    );
    let worker = Uuid::from_u128(1);
    let lease = Duration::from_secs(60);
    // The worker follows the jobs until the alert is there, as time goes on.
    let mut now = bench.now;
    let deadline = bench.now + minutes(30);
    let alert = loop {
        assert!(now < deadline, "no job brought the alert");
        now += TimeDelta::seconds(30);
        for job in bench.store.lease_due_jobs(worker, lease, 9, now).await.unwrap() {
            assert_eq!(job.kind, JobKind::Reassess);
            bench
                .store
                .reassess_member(&By::system(now), job.member.unwrap(), &bench.rules)
                .await
                .unwrap();
            bench.store.complete_job(&job, worker).await.unwrap();
        }
        let by = By::staff(bench.pharmacist, now);
        // The sitting closes first, with a lone high reading; that alert becomes worse when no new pair came.
        let mut open = bench.store.alerts(&by, AlertFilter::Open, None, 10).await.unwrap();
        if let Some(alert) = open.pop().filter(|alert| alert.rule == Rule::Bp02) {
            break alert;
        }
    };
    assert_eq!(alert.severity, Severity::Critical);
    assert!(
        now - measured >= minutes(15) && now - measured <= minutes(16),
        "after {}",
        now - measured
    );
    assert_eq!(bench.store.counts(now).await.unwrap().jobs_overdue_since, None);
}

pub(crate) async fn the_queue_shows_what_a_pharmacist_needs(bench: Bench) {
    bench
        .consent(bench.member, Purpose::PharmacistCall, 0x99, bench.now - minutes(9))
        .await;
    let start = bench.now - minutes(9);
    let items = vec![
        bench.bp(191, 112, start),
        bench.bp(190, 114, start + minutes(6)),
        bench.bp(188, 112, start + minutes(7)),
    ];
    bench.send(items).await;
    bench
        .send(vec![
            bench.bp(120, 80, bench.now - TimeDelta::days(3)),
            bench.bp(122, 82, bench.now - TimeDelta::days(3) + minutes(1)),
        ])
        .await;
    let queue = bench.store.queue(&bench.by(), Some(bench.site), 10).await.unwrap();
    assert_eq!(
        (queue.rows.len(), queue.more, queue.version),
        (1, false, bench.store.queue_version().await.unwrap())
    );
    let row = &queue.rows[0];
    assert_eq!((row.alert.rule, row.alert.severity), (Rule::Bp02, Severity::Critical));
    assert_eq!(
        (row.masked_name.as_str(), row.birth_year, row.member_code.as_str()),
        ("王**", 1958, "CP-0001")
    );
    assert_eq!(
        (row.conditions.len(), row.home_store, row.may_call),
        (2, bench.site, true)
    );
    let value = row.value.as_ref().unwrap();
    let mean = value.session.as_ref().unwrap().mean.unwrap();
    assert_eq!(
        (mean.systolic_mmhg, mean.diastolic_mmhg),
        (189, 113),
        "the pair decided"
    );
    assert_eq!(
        (value.reading.reading.time.at, value.reading.received_at),
        (start + minutes(7), bench.now)
    );
    assert_eq!((row.tasks.len(), row.tasks[0].status), (1, TaskStatus::Open));
    let trend: Vec<_> = row.trend.iter().map(|point| point.at).collect();
    assert!(
        trend.len() >= 2 && trend.is_sorted(),
        "the days before, in order: {:?}",
        row.trend
    );
    assert_eq!(row.owner_name, None);

    bench
        .store
        .acknowledge_alert(&bench.by(), row.alert.id, bench.pharmacist, row.alert.version)
        .await
        .unwrap();
    let queue = bench.store.queue(&bench.by(), None, 10).await.unwrap();
    assert_eq!(queue.rows[0].owner_name.as_deref(), Some("wang of East"));
}

pub(crate) async fn the_queue_is_worst_first(bench: Bench) {
    let (other, meter) = bench.second_member().await;
    bench.send(vec![bench.glucose(38, 1, bench.now - minutes(9))]).await;
    bench
        .send(vec![bench.glucose_of(
            other,
            meter,
            0xA4,
            25,
            1,
            bench.now - minutes(2),
        )])
        .await;
    let queue = bench.store.queue(&bench.by(), None, 10).await.unwrap();
    let order: Vec<_> = queue
        .rows
        .iter()
        .map(|row| (row.alert.severity, row.alert.member))
        .collect();
    assert_eq!(order, [(Severity::Critical, other), (Severity::High, bench.member)]);
    let first = bench.store.queue(&bench.by(), None, 1).await.unwrap();
    assert_eq!(
        (first.rows.len(), first.more, first.rows[0].alert.member),
        (1, true, other)
    );
}

fn chest_pain(bench: &Bench, n: u128) -> SymptomRecord {
    SymptomRecord {
        id: id(n),
        code: Symptom::ChestPain,
        source: SymptomSource::Staff,
        at: bench.now - minutes(1),
    }
}

pub(crate) async fn a_danger_symptom_is_an_emergency(bench: Bench) {
    let by = bench.by();
    let records = [chest_pain(&bench, 0xD1)];
    let change = bench
        .store
        .record_symptoms(&by, bench.member, &records, &bench.rules)
        .await
        .unwrap();
    assert_eq!((change.opened, change.tasks), (1, 1));
    let again = bench
        .store
        .record_symptoms(&by, bench.member, &records, &bench.rules)
        .await
        .unwrap();
    assert!(!again.is_any(), "the same record once more");
    let queue = bench.store.queue(&by, None, 10).await.unwrap();
    let row = &queue.rows[0];
    assert_eq!(
        (row.alert.rule, row.alert.severity, &row.value),
        (Rule::Sy01, Severity::Emergency, &None)
    );
    let file = bench.store.alert(&by, row.alert.id).await.unwrap();
    assert_eq!(file.symptoms, records);
    let future = [SymptomRecord {
        at: bench.now + minutes(60),
        ..chest_pain(&bench, 0xD2)
    }];
    let refused = bench
        .store
        .record_symptoms(&by, bench.member, &future, &bench.rules)
        .await;
    assert!(matches!(refused, Err(CareError::NotAllowed(_))));
    let many: Vec<_> = (0..33).map(|n| chest_pain(&bench, 0xE0 + n)).collect();
    let refused = bench
        .store
        .record_symptoms(&by, bench.member, &many, &bench.rules)
        .await;
    assert!(matches!(refused, Err(CareError::TooLong { .. })));
    let hidden = bench.store.record_symptoms(&by, id(0x8F), &records, &bench.rules).await;
    assert!(matches!(hidden, Err(CareError::MemberHidden)));
}

pub(crate) async fn pages_of_readings_hide_what_consent_hides(bench: Bench) {
    // History kept under the tick of a grant that is withdrawn, then a new grant without the tick.
    let by = bench.by();
    bench
        .store
        .withdraw(&by, bench.member, Purpose::CareRecord)
        .await
        .unwrap();
    let mut ticked = bench.new_grant(bench.member, Purpose::CareRecord, 0x93, bench.now);
    ticked.grant.includes_history = true;
    bench.store.grant(&by, &ticked).await.unwrap();
    let history = bench.now - TimeDelta::days(500);
    let old: Vec<_> = (0..5)
        .map(|n| bench.glucose(60, n, history + minutes(i64::from(n))))
        .collect();
    let new: Vec<_> = (5..10)
        .map(|n| bench.glucose(60, n, bench.now + minutes(i64::from(n))))
        .collect();
    let later = bench.now + minutes(60);
    let incoming = bench.batch(1, [old, new].concat());
    let outcome = bench.store.ingest_batch(&incoming, &bench.rules, later).await.unwrap();
    assert_eq!(outcome.new_readings.len(), 10, "{:?}", outcome.rejected);
    let by = By::staff(bench.pharmacist, later);
    let mut seen = Vec::new();
    let mut cursor = None;
    loop {
        let page = bench.store.readings(&by, bench.member, cursor, 3).await.unwrap();
        assert!(page.readings.len() <= 3);
        seen.extend(page.readings.iter().map(|stored| stored.reading.time.at));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 10);
    assert!(seen.is_sorted_by(|a, b| a > b), "the newest first, none twice");

    bench
        .store
        .withdraw(&by, bench.member, Purpose::CareRecord)
        .await
        .unwrap();
    let last = later + minutes(60);
    bench
        .store
        .grant(
            &By::staff(bench.pharmacist, last),
            &bench.new_grant(bench.member, Purpose::CareRecord, 0x94, last),
        )
        .await
        .unwrap();
    let page = bench
        .store
        .readings(&By::staff(bench.pharmacist, last), bench.member, None, 5)
        .await
        .unwrap();
    assert_eq!(page.readings.len(), 5, "what was measured under the second grant");
    assert_eq!(page.next, None, "and nothing says that there is more");
}

pub(crate) async fn reads_are_audited_before_they_are_seen(bench: Bench) {
    bench.send(vec![bench.glucose(25, 1, bench.now - minutes(2))]).await;
    let by = By {
        reason: Some("member asked".to_owned()),
        ..bench.by()
    };
    bench.store.readings(&by, bench.member, None, 10).await.unwrap();
    bench.store.sessions(&by, bench.member, bench.now, 10).await.unwrap();
    let alert = bench
        .store
        .alerts(&by, AlertFilter::All, None, 10)
        .await
        .unwrap()
        .remove(0);
    bench.store.alert(&by, alert.id).await.unwrap();
    let task = bench
        .store
        .tasks(&by, TaskFilter::default(), 10)
        .await
        .unwrap()
        .remove(0);
    bench.store.task(&by, task.id).await.unwrap();
    bench.store.queue(&by, None, 10).await.unwrap();
    bench
        .store
        .member_file(&by, bench.member, TimeDelta::days(90))
        .await
        .unwrap();
    bench.store.grants(&by, bench.member).await.unwrap();
    let audited = bench.audit_actions(bench.member).await;
    for action in [
        "readings.read",
        "sessions.read",
        "alerts.read",
        "alert.read",
        "tasks.read",
        "task.read",
        "queue.read",
        "member.open",
        "consent.read",
        "reading.store",
        "alert.change",
        "task.change",
    ] {
        assert!(
            audited.contains(&action.to_owned()),
            "{action} is missing from {audited:?}"
        );
    }
    let rows = bench.store.audit_of(&bench.by(), bench.member, 100).await.unwrap();
    let read = rows.iter().find(|row| row.action == "readings.read").unwrap();
    assert_eq!(read.detail.as_deref(), Some("member asked; 1 readings"));
    assert_eq!((read.at, read.member), (bench.now, Some(bench.member)));
    assert_eq!(read.actor, carepost_store::model::Actor::Staff(bench.pharmacist));
}

pub(crate) async fn a_member_file_without_consent_has_no_data(bench: Bench) {
    let by = bench.by();
    let start = bench.now - minutes(9);
    bench
        .send(vec![
            bench.bp(131, 82, start),
            bench.bp(134, 85, start + minutes(1)),
            bench.glucose(25, 1, start),
        ])
        .await;
    bench
        .store
        .record_symptoms(&by, bench.member, &[chest_pain(&bench, 0xD1)], &bench.rules)
        .await
        .unwrap();
    let file = bench
        .store
        .member_file(&by, bench.member, TimeDelta::days(90))
        .await
        .unwrap();
    assert!(file.care_record && !file.may_call);
    assert_eq!(file.record.member.phone.as_ref().unwrap().expose(), "13800000000");
    assert_eq!(
        (
            file.pressures.len(),
            file.glucose.len(),
            file.sessions.len(),
            file.symptoms.len()
        ),
        (2, 1, 1, 1)
    );
    assert_eq!((file.alerts.len(), file.tasks.len(), file.grants.len()), (2, 2, 1));
    assert_eq!(file.alerts[0].severity, Severity::Emergency, "worst first");
    assert!(matches!(
        file.pressures[0].reading.measurement,
        Measurement::BloodPressure(_)
    ));
    assert!(
        file.pressures[0].reading.time.at > file.pressures[1].reading.time.at,
        "the newest first"
    );
    assert!(
        file.staff_names
            .contains(&(bench.pharmacist, "wang of East".to_owned()))
    );

    let later = By::staff(bench.pharmacist, bench.now + minutes(1));
    bench
        .store
        .withdraw(&later, bench.member, Purpose::CareRecord)
        .await
        .unwrap();
    let file = bench
        .store
        .member_file(&later, bench.member, TimeDelta::days(90))
        .await
        .unwrap();
    assert!(!file.care_record);
    assert!(
        file.pressures.is_empty() && file.glucose.is_empty() && file.sessions.is_empty() && file.symptoms.is_empty()
    );
    assert!(file.alerts.is_empty() && file.tasks.is_empty());
    assert!(!file.audit.is_empty(), "who looked remains");
    let unknown = bench.store.member_file(&later, id(0x8F), TimeDelta::days(90)).await;
    assert!(matches!(unknown, Err(CareError::MemberHidden)));
}

pub(crate) async fn new_conditions_are_judged_at_the_next_assessment(bench: Bench) {
    let by = bench.by();
    bench
        .store
        .set_conditions(&by, bench.member, &[Condition::Hypertension])
        .await
        .unwrap();
    // Between 2.8 and 3.9 without diabetes on file: a note, not an alert.
    bench.send(vec![bench.glucose(35, 1, bench.now - minutes(2))]).await;
    assert!(
        bench
            .store
            .alerts(&by, AlertFilter::Open, None, 10)
            .await
            .unwrap()
            .is_empty()
    );
    bench
        .store
        .set_conditions(&by, bench.member, &[Condition::Diabetes])
        .await
        .unwrap();
    bench
        .store
        .set_drugs(&by, bench.member, &[DrugClass::Insulin])
        .await
        .unwrap();
    let jobs = bench
        .store
        .lease_due_jobs(Uuid::from_u128(1), Duration::from_secs(60), 9, bench.now)
        .await
        .unwrap();
    assert_eq!(jobs.len(), 1, "one assessment for both");
    let change = bench
        .store
        .reassess_member(&By::system(bench.now), bench.member, &bench.rules)
        .await
        .unwrap();
    assert_eq!(change.opened, 1);
}
