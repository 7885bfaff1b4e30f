//! What follows from data: sessions, alerts, tasks, the next check. What staff do with them is in `work`.
//!
//! Everything here happens under the lock of the member (`people::lock_members`), so that assessments, staff actions and
//! withdrawals of one member come one after another.

use std::collections::BTreeMap;

use carepost_domain::Id;
use carepost_domain::care::alert::{Alert, AlertChange, reconcile};
use carepost_domain::care::evaluate::{Assessment, assess};
use carepost_domain::care::history::{CareReading, Evidence, Profile, Settled, SymptomRecord};
use carepost_domain::care::rule::Family;
use carepost_domain::care::rule_set::RuleSet;
use carepost_domain::care::session::{self, Session};
use carepost_domain::care::task::{self, CancelReason, Task, TaskChange};
use carepost_domain::consent::Grant;
use carepost_domain::id::{AlertId, MemberId, TaskId};
use carepost_domain::reading::Measurement;
use carepost_domain::time::FUTURE_TOLERANCE;
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::alerts::{self, Shown};
use super::counter::{self, Counter};
use super::{Conn, audit, jobs, people, readings, sessions, symptoms, tasks};
use crate::audit::Entry;
use crate::codec::{timed_id, us};
use crate::error::{CareError, Fault};
use crate::limits::MAX_SYMPTOMS;
use crate::model::{By, CareChange, StoredReading};

/// How far around old readings others may belong to the same sittings: sittings end after minutes without a reading, so
/// one that lasts longer than this is no sitting.
const SITTING_MARGIN: TimeDelta = TimeDelta::hours(6);

/// Brings sessions, alerts, tasks and the next check of a member in line with the data. `new` are instants of
/// blood-pressure readings that may lie further back than rules look.
pub(crate) async fn reassess(
    conn: &mut Conn,
    by: &By,
    member: MemberId,
    grants: &[Grant],
    new: &[DateTime<Utc>],
    rules: &RuleSet,
) -> Result<CareChange, Fault> {
    let now = by.at;
    let Some(record) = people::find_members(conn, &[member.uuid()]).await?.pop() else {
        return Ok(CareChange::default());
    };
    let profile = Profile::from(&record.member);
    let from = now - rules.lookback();
    let history = evaluable(conn, member, grants, from, now + FUTURE_TOLERANCE, now).await?;
    let felt = symptoms::since(conn, member, from).await?;
    let known = alerts::of_member(conn, member, from).await?;
    let mut settled = Settled::default();
    for shown in &known {
        settled.add_alert(&shown.alert);
    }
    let items: Vec<CareReading> = history
        .iter()
        .filter_map(|stored| CareReading::of(&stored.reading))
        .collect();
    let assessment = assess(rules, &profile, &items, &felt, &settled, now);

    // Sessions that began before `from` are cut off at it, and were stored when they were whole.
    sessions::replace(conn, member, from + TimeDelta::days(1), now, &assessment.sessions).await?;
    replace_old_sessions(conn, member, grants, &profile, new, rules, now).await?;
    let change = reconcile_all(conn, by, member, known, &assessment, &history, rules).await?;

    // The evaluator ignores what is measured after now, as a clock a little ahead makes it.
    let ahead = history
        .iter()
        .map(|stored| stored.reading.time.at)
        .filter(|at| *at > now)
        .min();
    let next = [assessment.next_check, ahead].into_iter().flatten().min();
    if let Some(next) = next {
        jobs::reassess_at(conn, member, next).await?;
    }
    if change.is_any() {
        counter::add(conn, Counter::Queue, 1).await?;
    }
    Ok(change)
}

/// Readings of a time that rules look at and that may be evaluated now.
async fn evaluable(
    conn: &mut Conn,
    member: MemberId,
    grants: &[Grant],
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Vec<StoredReading>, Fault> {
    let mut found = readings::between(conn, member, from, to).await?;
    found.retain(|stored| CareReading::of(&stored.reading).is_some() && readings::may_show(grants, stored, now));
    Ok(found)
}

/// Sessions of readings that are too old for rules, for the member's file.
async fn replace_old_sessions(
    conn: &mut Conn,
    member: MemberId,
    grants: &[Grant],
    profile: &Profile,
    new: &[DateTime<Utc>],
    rules: &RuleSet,
    now: DateTime<Utc>,
) -> Result<(), Fault> {
    let limit = now - rules.lookback() + TimeDelta::days(1);
    let old = || new.iter().copied().filter(|at| *at < limit);
    let (Some(first), Some(last)) = (old().min(), old().max()) else {
        return Ok(());
    };
    let around = evaluable(
        conn,
        member,
        grants,
        first - SITTING_MARGIN * 2,
        last + SITTING_MARGIN * 2,
        now,
    )
    .await?;
    let items: Vec<CareReading> = around
        .iter()
        .filter_map(|stored| CareReading::of(&stored.reading))
        .collect();
    let made: Vec<Session> = session::sessions(rules, profile, &items, now);
    // What began from `limit` on was made from the whole history just now.
    let to = (last + SITTING_MARGIN).min(limit - TimeDelta::microseconds(1));
    sessions::replace(conn, member, first - SITTING_MARGIN, to, &made).await
}

async fn reconcile_all(
    conn: &mut Conn,
    by: &By,
    member: MemberId,
    known: Vec<Shown>,
    assessment: &Assessment,
    history: &[StoredReading],
    rules: &RuleSet,
) -> Result<CareChange, Fault> {
    let mut total = CareChange::default();
    // Alerts of this instant have ids of their own, whatever happened before at the same instant.
    let seed: Vec<u8> = known
        .iter()
        .flat_map(|shown| shown.alert.id.uuid().into_bytes())
        .collect();
    for family in Family::ALL {
        let open = known
            .iter()
            .find(|shown| shown.alert.family == *family && shown.alert.is_active());
        let member_id = member.uuid();
        let parts: [&[u8]; 4] = [b"alert", member_id.as_bytes(), family.code().as_bytes(), &seed];
        let new_id: AlertId = Id::from_uuid(timed_id(by.at, &parts));
        let changes = reconcile(
            open.map(|shown| shown.alert.clone()),
            member,
            *family,
            assessment,
            new_id,
        );
        for change in &changes {
            store_alert(conn, by, change, &mut total).await?;
        }
        let current = match changes.last() {
            Some(change) => Some(change.alert.clone()),
            None => open.map(|shown| shown.alert.clone()),
        };
        let Some(alert) = current.filter(Alert::is_active) else {
            continue;
        };
        show(conn, &alert, open, assessment, history).await?;
        plan_tasks(conn, by, &alert, assessment, rules, &mut total).await?;
    }
    Ok(total)
}

pub(super) async fn store_alert(
    conn: &mut Conn,
    by: &By,
    change: &AlertChange,
    total: &mut CareChange,
) -> Result<(), Fault> {
    alerts::save(conn, change).await?;
    match (change.before, change.alert.is_active()) {
        (None, _) => total.opened += 1,
        (Some(_), true) => total.changed += 1,
        (Some(_), false) => total.closed += 1,
    }
    let events: Vec<&str> = change.events.iter().map(|event| event.code()).collect();
    let what = format!("{} {}: {}", change.alert.rule, change.alert.severity, events.join(" "));
    audit::insert(
        conn,
        &Entry::new(by, "alert.change", change.alert.id)
            .member(change.alert.member)
            .detail(what),
    )
    .await
}

/// Notes the newest evidence reading, and its session, as what the queue shows.
async fn show(
    conn: &mut Conn,
    alert: &Alert,
    before: Option<&Shown>,
    assessment: &Assessment,
    history: &[StoredReading],
) -> Result<(), Fault> {
    let evidence = alert.evidence();
    let newest = history
        .iter()
        .map(|stored| &stored.reading)
        .filter(|reading| evidence.contains(&Evidence::Reading(reading.id)))
        .max_by_key(|reading| (reading.time.at, reading.id));
    let before = before.filter(|shown| shown.alert.id == alert.id);
    let Some(newest) = newest else { return Ok(()) };
    let session = assessment
        .sessions
        .iter()
        .find(|session| session.readings.contains(&newest.id));
    let (reading, session) = (Some(newest.id.uuid()), session.map(|session| session.id.uuid()));
    if before.is_some_and(|shown| shown.latest_reading == reading && shown.latest_session == session) {
        return Ok(());
    }
    alerts::show(conn, alert.id, reading, session).await
}

async fn plan_tasks(
    conn: &mut Conn,
    by: &By,
    alert: &Alert,
    assessment: &Assessment,
    rules: &RuleSet,
    total: &mut CareChange,
) -> Result<(), Fault> {
    let existing = tasks::of_alerts(conn, &[alert.id.uuid()]).await?;
    let mut number = existing.len();
    let mint = || {
        number += 1;
        task_id(by.at, alert.id, number)
    };
    for change in task::plan(rules, alert, assessment, &existing, mint) {
        store_task(conn, by, &change, total).await?;
    }
    Ok(())
}

/// The n-th task of an alert.
pub(super) fn task_id(at: DateTime<Utc>, alert: AlertId, number: usize) -> TaskId {
    Id::from_uuid(timed_id(at, &[b"task", alert.uuid().as_bytes(), &number.to_be_bytes()]))
}

pub(super) async fn store_task(
    conn: &mut Conn,
    by: &By,
    change: &TaskChange,
    total: &mut CareChange,
) -> Result<(), Fault> {
    if !tasks::save(conn, change).await? {
        return Ok(());
    }
    let task = &change.task;
    if change.before.is_none() {
        total.tasks += 1;
    }
    let what = format!("{} {}", task.kind, status_word(task));
    audit::insert(
        conn,
        &Entry::new(by, "task.change", task.id).member(task.member).detail(what),
    )
    .await
}

fn status_word(task: &Task) -> String {
    use carepost_domain::care::task::TaskStatus;
    match task.status {
        TaskStatus::Open if task.version == 1 => "opened".to_owned(),
        TaskStatus::Open => "open".to_owned(),
        TaskStatus::Taken { .. } => "taken".to_owned(),
        TaskStatus::Done { outcome, .. } => format!("done {outcome}"),
        TaskStatus::Cancelled { reason, .. } => format!("cancelled {reason}"),
    }
}

/// After an ingest: every member with new readings that rules look at.
pub(crate) async fn after_ingest(
    conn: &mut Conn,
    by: &By,
    new: &[&carepost_domain::reading::Reading],
    grants: &std::collections::HashMap<Uuid, Vec<Grant>>,
    rules: &RuleSet,
) -> Result<Vec<MemberId>, Fault> {
    let mut per_member: BTreeMap<MemberId, Vec<DateTime<Utc>>> = BTreeMap::new();
    for reading in new.iter().filter(|reading| CareReading::of(reading).is_some()) {
        let instants = per_member.entry(reading.member).or_default();
        if matches!(reading.measurement, Measurement::BloodPressure(_)) {
            instants.push(reading.time.at);
        }
    }
    let mut changed = Vec::new();
    for (member, instants) in per_member {
        let grants = grants.get(&member.uuid()).map_or(&[][..], Vec::as_slice);
        if reassess(conn, by, member, grants, &instants, rules).await?.is_any() {
            changed.push(member);
        }
    }
    Ok(changed)
}

/// Holds a member; grants under which its data may be used now, `None` without consent.
pub(super) async fn hold(conn: &mut Conn, member: MemberId, now: DateTime<Utc>) -> Result<Option<Vec<Grant>>, Fault> {
    if people::lock_members(conn, &[member.uuid()]).await?.is_empty() {
        return Ok(None);
    }
    readings::open_grants(conn, member, now).await
}

/// The `reassess` job's work; nothing without consent.
pub(crate) async fn reassess_member(
    conn: &mut Conn,
    by: &By,
    member: MemberId,
    rules: &RuleSet,
) -> Result<CareChange, CareError> {
    match hold(conn, member, by.at).await? {
        Some(grants) => Ok(reassess(conn, by, member, &grants, &[], rules).await?),
        None => Ok(CareChange::default()),
    }
}

pub(crate) async fn record_symptoms(
    conn: &mut Conn,
    by: &By,
    member: MemberId,
    records: &[SymptomRecord],
    rules: &RuleSet,
) -> Result<CareChange, CareError> {
    if records.len() > MAX_SYMPTOMS {
        return Err(CareError::TooLong {
            field: "the list of symptoms",
            max: MAX_SYMPTOMS,
        });
    }
    if records.iter().any(|record| record.at > by.at + FUTURE_TOLERANCE) {
        return Err(CareError::NotAllowed("a symptom cannot be recorded for the future"));
    }
    let Some(grants) = hold(conn, member, by.at).await? else {
        return Err(CareError::MemberHidden);
    };
    let mut new = 0_u32;
    for record in records {
        if symptoms::add(conn, member, record, by.at).await? {
            new += 1;
        }
    }
    if new == 0 {
        return Ok(CareChange::default());
    }
    audit::insert(
        conn,
        &Entry::new(by, "symptom.record", member)
            .member(member)
            .detail(format!("{new} symptoms")),
    )
    .await?;
    Ok(reassess(conn, by, member, &grants, &[], rules).await?)
}

pub(super) async fn cancel(
    conn: &mut Conn,
    by: &By,
    list: impl IntoIterator<Item = Task> + Send,
    reason: CancelReason,
    total: &mut CareChange,
) -> Result<u64, Fault> {
    let mut cancelled = 0;
    let changes: Vec<TaskChange> = list.into_iter().filter_map(|task| task.cancel(by.at, reason)).collect();
    for change in &changes {
        store_task(conn, by, change, total).await?;
        cancelled += 1;
    }
    Ok(cancelled)
}

/// Evaluation stops: active alerts close with that reason and live tasks are cancelled. Gives how many of each.
pub(crate) async fn withdraw(conn: &mut Conn, by: &By, member: MemberId) -> Result<(u64, u64), Fault> {
    let mut total = CareChange::default();
    let mut closed = 0;
    for shown in alerts::of_member(conn, member, by.at).await? {
        // Closed alerts refuse, and are not meant.
        if let Ok(change) = shown.alert.withdraw_consent(by.at) {
            store_alert(conn, by, &change, &mut total).await?;
            closed += 1;
        }
    }
    let live = tasks::live_of_member(conn, member).await?;
    let cancelled = cancel(conn, by, live, CancelReason::ConsentWithdrawn, &mut total).await?;
    if closed + cancelled > 0 {
        counter::add(conn, Counter::Queue, 1).await?;
    }
    Ok((closed, cancelled))
}

/// The instant from which a list of the last `period` begins.
pub(crate) fn period_start(by: &By, period: TimeDelta) -> DateTime<Utc> {
    by.at
        .checked_sub_signed(period)
        .filter(|at| us(*at) > 0)
        .unwrap_or(DateTime::UNIX_EPOCH)
}
