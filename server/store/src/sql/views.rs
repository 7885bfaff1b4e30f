//! What staff look at: alerts, tasks, the queue, the member file. Every one gated by consent now, and audited.

use std::collections::{BTreeSet, HashMap};

use carepost_domain::Id;
use carepost_domain::care::alert::Alert;
use carepost_domain::care::history::Evidence;
use carepost_domain::care::rule::Family;
use carepost_domain::care::task::{Task, TaskStatus};
use carepost_domain::consent::{Grant, Purpose, gate};
use carepost_domain::id::{AlertId, MemberId, StaffId, StoreId, TaskId};
use carepost_domain::people::masked_name;
use carepost_domain::reading::Measurement;
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::alerts::{self, Listing, Shown};
use super::counter::{self, Counter};
use super::trends::{self, Trends};
use super::{Conn, audit, care, consent, ids, people, readings, sessions, symptoms, tasks};
use crate::audit::Entry;
use crate::error::{CareError, Doing as _, Fault};
use crate::limits::MAX_PAGE;
use crate::model::{
    AUDIT_SHOWN, Actor, AlertFile, AlertFilter, AuditRow, By, MemberFile, MemberRecord, Queue, QueueRow, QueueValue,
    SessionView, StoredReading, TREND_DAYS, TaskFilter, TrendPoint,
};

statements! {
    STAFF_NAMES = concat!("SELECT id, name FROM staff WHERE id", in_ids!("$1"), " ORDER BY id");
}

fn page(limit: u32) -> i64 {
    i64::from(limit.clamp(1, MAX_PAGE))
}

fn unique(list: impl Iterator<Item = Uuid>) -> Vec<Uuid> {
    list.collect::<BTreeSet<_>>().into_iter().collect()
}

/// One audit row for each member that a list shows.
fn entries(by: &By, action: &'static str, members: impl Iterator<Item = MemberId>) -> Vec<Entry> {
    let members: BTreeSet<MemberId> = members.collect();
    members
        .into_iter()
        .map(|member| Entry::new(by, action, member).member(member))
        .collect()
}

async fn staff_names(conn: &mut Conn, list: &[Uuid]) -> Result<Vec<(StaffId, String)>, Fault> {
    let rows: Vec<(Uuid, String)> = sqlx::query_as(STAFF_NAMES)
        .bind(ids(list))
        .fetch_all(conn)
        .await
        .doing("look names of staff up")?;
    Ok(rows.into_iter().map(|(id, name)| (Id::from_uuid(id), name)).collect())
}

pub(crate) async fn session_list(
    conn: &mut Conn,
    by: &By,
    member: MemberId,
    since: DateTime<Utc>,
    limit: u32,
) -> Result<(Vec<SessionView>, Vec<Entry>), CareError> {
    let Some(grants) = readings::open_grants(conn, member, by.at).await? else {
        return Err(CareError::MemberHidden);
    };
    let found = sessions::between(conn, member, since, by.at, limit.clamp(1, MAX_PAGE)).await?;
    let found = permitted(found, &grants, by.at);
    Ok((found, vec![Entry::new(by, "sessions.read", member).member(member)]))
}

/// Sessions whose instant may be shown now: the gate of their readings.
fn permitted(mut found: Vec<SessionView>, grants: &[Grant], now: DateTime<Utc>) -> Vec<SessionView> {
    found.retain(|session| {
        carepost_domain::consent::gate(grants, session.member, Purpose::CareRecord, session.started, now).is_ok()
    });
    found
}

pub(crate) async fn alert_list(
    conn: &mut Conn,
    by: &By,
    filter: AlertFilter,
    store: Option<StoreId>,
    limit: u32,
) -> Result<(Vec<Alert>, Vec<Entry>), CareError> {
    let listing = match filter {
        AlertFilter::Open => Listing::Worst,
        AlertFilter::All => Listing::Newest,
    };
    let found = alerts::list(conn, listing, store.map(Id::uuid), page(limit), by.at).await?;
    let found: Vec<Alert> = found.into_iter().map(|shown| shown.alert).collect();
    let entries = entries(by, "alerts.read", found.iter().map(|alert| alert.member));
    Ok((found, entries))
}

pub(crate) async fn alert_file(conn: &mut Conn, by: &By, id: AlertId) -> Result<(AlertFile, Vec<Entry>), CareError> {
    let alert = alerts::find(conn, id).await?.ok_or(CareError::AlertUnknown)?.alert;
    let member = alert.member;
    let Some(grants) = readings::open_grants(conn, member, by.at).await? else {
        return Err(CareError::AlertUnknown);
    };
    let evidence = alert.evidence();
    let mut wanted = Vec::new();
    for item in &evidence {
        if let Evidence::Reading(id) = item {
            wanted.push(id.uuid());
        }
    }
    let mut found = readings::by_ids(conn, &wanted).await?;
    found.retain(|stored| readings::may_show(&grants, stored, by.at));
    found.sort_by_key(|stored| (stored.reading.time.at, stored.reading.id));
    let mut felt = symptoms::since(conn, member, alert.since).await?;
    felt.retain(|record| evidence.contains(&Evidence::Symptom(record.id)));
    let made = sessions_of(conn, member, &found).await?;
    let file = AlertFile {
        readings: found,
        symptoms: felt,
        sessions: made,
        tasks: tasks::of_alerts(conn, &[id.uuid()]).await?,
        alert,
    };
    Ok((file, vec![Entry::new(by, "alert.read", id).member(member)]))
}

/// Sessions that hold some of these readings, the newest first.
async fn sessions_of(conn: &mut Conn, member: MemberId, shown: &[StoredReading]) -> Result<Vec<SessionView>, Fault> {
    let (Some(first), Some(last)) = (shown.first(), shown.last()) else {
        return Ok(Vec::new());
    };
    let day = TimeDelta::days(1);
    let mut made = sessions::between(
        conn,
        member,
        first.reading.time.at - day,
        last.reading.time.at,
        MAX_PAGE,
    )
    .await?;
    made.retain(|session| shown.iter().any(|stored| session.readings.contains(&stored.reading.id)));
    Ok(made)
}

pub(crate) async fn task_list(
    conn: &mut Conn,
    by: &By,
    filter: &TaskFilter,
    limit: u32,
) -> Result<(Vec<Task>, Vec<Entry>), CareError> {
    let found = tasks::list(conn, filter, page(limit), by.at).await?;
    let entries = entries(by, "tasks.read", found.iter().map(|task| task.member));
    Ok((found, entries))
}

pub(crate) async fn task(conn: &mut Conn, by: &By, id: TaskId) -> Result<(Task, Vec<Entry>), CareError> {
    let task = tasks::find(conn, id).await?.ok_or(CareError::TaskUnknown)?;
    if readings::open_grants(conn, task.member, by.at).await?.is_none() {
        return Err(CareError::TaskUnknown);
    }
    let entry = Entry::new(by, "task.read", id).member(task.member);
    Ok((task, vec![entry]))
}

/// Everything that queue rows need, loaded once for all of them.
struct Around {
    members: HashMap<MemberId, MemberRecord>,
    grants: Vec<Grant>,
    readings: HashMap<Uuid, StoredReading>,
    sessions: HashMap<Uuid, SessionView>,
    tasks: Vec<Task>,
    names: Vec<(StaffId, String)>,
    pressures: Trends,
    glucose: Trends,
}

/// Whether a row's trend is of glucose.
const fn is_about_glucose(family: Family) -> bool {
    match family {
        Family::GlucoseLow | Family::GlucoseHigh => true,
        Family::BpHigh | Family::BpLow | Family::Symptom => false,
    }
}

async fn around(conn: &mut Conn, shown: &[Shown], now: DateTime<Utc>) -> Result<Around, Fault> {
    let trend_from = now - TimeDelta::days(TREND_DAYS);
    let (about_glucose, about_pressure): (Vec<&Shown>, Vec<&Shown>) =
        shown.iter().partition(|row| is_about_glucose(row.alert.family));
    let about_glucose = unique(about_glucose.into_iter().map(|row| row.alert.member.uuid()));
    let about_pressure = unique(about_pressure.into_iter().map(|row| row.alert.member.uuid()));
    let members = unique(shown.iter().map(|row| row.alert.member.uuid()));
    let alerts = unique(shown.iter().map(|row| row.alert.id.uuid()));
    let wanted_readings = unique(shown.iter().filter_map(|row| row.latest_reading));
    let wanted_sessions = unique(shown.iter().filter_map(|row| row.latest_session));
    let owners = unique(shown.iter().filter_map(|row| row.alert.owner.map(Id::uuid)));
    let records = people::find_members(conn, &members).await?;
    let found_readings = readings::by_ids(conn, &wanted_readings).await?;
    let found_sessions = sessions::by_ids(conn, &wanted_sessions).await?;
    Ok(Around {
        members: records.into_iter().map(|record| (record.member.id, record)).collect(),
        grants: consent::find_grants(conn, &members).await?,
        readings: found_readings
            .into_iter()
            .map(|stored| (stored.reading.id.uuid(), stored))
            .collect(),
        sessions: found_sessions
            .into_iter()
            .map(|session| (session.id.uuid(), session))
            .collect(),
        tasks: tasks::of_alerts(conn, &alerts).await?,
        names: staff_names(conn, &owners).await?,
        pressures: trends::pressures(conn, &about_pressure, trend_from, now).await?,
        glucose: trends::glucose(conn, &about_glucose, trend_from, now).await?,
    })
}

impl Around {
    fn row(&self, shown: Shown, now: DateTime<Utc>) -> Option<QueueRow> {
        let member = &self.members.get(&shown.alert.member)?.member;
        let value = shown.latest_reading.and_then(|id| self.readings.get(&id));
        let value = value
            .filter(|stored| readings::may_show(&self.grants, stored, now))
            .map(|stored| QueueValue {
                reading: stored.clone(),
                session: shown.latest_session.and_then(|id| self.sessions.get(&id)).cloned(),
            });
        let mut live: Vec<Task> = self
            .tasks
            .iter()
            .filter(|task| task.alert == shown.alert.id && task.is_live())
            .cloned()
            .collect();
        live.sort_by_key(|task| (task.due_at, task.id));
        let trends = if is_about_glucose(shown.alert.family) {
            &self.glucose
        } else {
            &self.pressures
        };
        let mine: Vec<Grant> = self
            .grants
            .iter()
            .filter(|grant| grant.member == member.id)
            .cloned()
            .collect();
        let may_show = |point: &&TrendPoint| gate(&mine, member.id, Purpose::CareRecord, point.at, now).is_ok();
        let trend = trends
            .get(&member.id)
            .into_iter()
            .flatten()
            .filter(may_show)
            .copied()
            .collect();
        let owner_name = shown
            .alert
            .owner
            .and_then(|owner| self.names.iter().find(|(id, _)| *id == owner));
        Some(QueueRow {
            member_code: member.code.clone(),
            masked_name: masked_name(member.name.expose()),
            birth_year: member.birth_year,
            sex: member.sex,
            conditions: member.conditions.clone(),
            home_store: member.home_store,
            value,
            owner_name: owner_name.map(|(_, name)| name.clone()),
            tasks: live,
            may_call: holds(&self.grants, member.id, Purpose::PharmacistCall, now),
            trend,
            alert: shown.alert,
        })
    }
}

fn holds(grants: &[Grant], member: MemberId, purpose: Purpose, now: DateTime<Utc>) -> bool {
    grants
        .iter()
        .any(|grant| grant.member == member && grant.purpose == purpose && grant.holds_at(now))
}

pub(crate) async fn queue(
    conn: &mut Conn,
    by: &By,
    store: Option<StoreId>,
    limit: u32,
) -> Result<(Queue, Vec<Entry>), CareError> {
    let limit = page(limit);
    // Read before the rows: a change in between makes the page look older than it is, never newer.
    let version = counter::read(conn, Counter::Queue).await?;
    let mut shown = alerts::list(conn, Listing::Worst, store.map(Id::uuid), limit + 1, by.at).await?;
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = shown.len() > wanted;
    shown.truncate(wanted);
    let around = around(conn, &shown, by.at).await?;
    let rows: Vec<QueueRow> = shown.into_iter().filter_map(|row| around.row(row, by.at)).collect();
    let entries = entries(by, "queue.read", rows.iter().map(|row| row.alert.member));
    Ok((Queue { rows, more, version }, entries))
}

pub(crate) async fn member_file(
    conn: &mut Conn,
    by: &By,
    member: MemberId,
    period: TimeDelta,
) -> Result<(MemberFile, Vec<Entry>), CareError> {
    let record = people::find_members(conn, &[member.uuid()])
        .await?
        .pop()
        .ok_or(CareError::MemberHidden)?;
    let grants = consent::find(conn, &[member.uuid()]).await?;
    let plain: Vec<Grant> = grants.iter().map(|record| record.grant.clone()).collect();
    let care_record = holds(&plain, member, Purpose::CareRecord, by.at);
    let mut file = MemberFile {
        record,
        care_record,
        may_call: holds(&plain, member, Purpose::PharmacistCall, by.at),
        grants,
        sessions: Vec::new(),
        pressures: Vec::new(),
        glucose: Vec::new(),
        others: Vec::new(),
        symptoms: Vec::new(),
        alerts: Vec::new(),
        tasks: Vec::new(),
        staff_names: Vec::new(),
        audit: audit::of_member(conn, member, i64::from(AUDIT_SHOWN)).await?,
    };
    if care_record {
        fill(conn, &mut file, &plain, by, care::period_start(by, period)).await?;
    }
    let mentioned = unique(mentioned(&file).map(Id::uuid));
    file.staff_names = staff_names(conn, &mentioned).await?;
    Ok((file, vec![Entry::new(by, "member.open", member).member(member)]))
}

async fn fill(
    conn: &mut Conn,
    file: &mut MemberFile,
    grants: &[Grant],
    by: &By,
    from: DateTime<Utc>,
) -> Result<(), Fault> {
    let member = file.record.member.id;
    let mut found = readings::between(conn, member, from, by.at).await?;
    found.retain(|stored| readings::may_show(grants, stored, by.at));
    found.reverse();
    for stored in found {
        match stored.reading.measurement {
            Measurement::BloodPressure(_) => file.pressures.push(stored),
            Measurement::Glucose(_) => file.glucose.push(stored),
            Measurement::Weight(_) | Measurement::Temperature(_) | Measurement::OxygenSaturation(_) => {
                file.others.push(stored);
            }
        }
    }
    file.sessions = permitted(
        sessions::between(conn, member, from, by.at, u32::MAX).await?,
        grants,
        by.at,
    );
    file.symptoms = symptoms::since(conn, member, from).await?;
    file.symptoms.reverse();
    file.alerts = alerts::of_member(conn, member, by.at)
        .await?
        .into_iter()
        .map(|shown| shown.alert)
        .filter(Alert::is_active)
        .collect();
    file.alerts
        .sort_by_key(|alert| (std::cmp::Reverse(alert.severity), alert.opened_at, alert.id));
    let filter = TaskFilter {
        member: Some(member),
        closed_too: true,
        store: None,
    };
    file.tasks = tasks::list(conn, &filter, i64::from(MAX_PAGE), by.at).await?;
    Ok(())
}

/// Staff whose names the file needs.
fn mentioned(file: &MemberFile) -> impl Iterator<Item = StaffId> {
    let of_alert = |alert: &Alert| [alert.owner, alert.acknowledged.map(|ack| ack.by)];
    let of_task = |task: &Task| match task.status {
        TaskStatus::Taken { by, .. } | TaskStatus::Done { by, .. } => Some(by),
        TaskStatus::Open | TaskStatus::Cancelled { .. } => None,
    };
    let of_audit = |row: &AuditRow| match row.actor {
        Actor::Staff(id) => Some(id),
        Actor::Gateway(_) | Actor::System => None,
    };
    let witnesses = file.grants.iter().filter_map(|grant| grant.witness);
    let found: Vec<StaffId> = file
        .alerts
        .iter()
        .flat_map(of_alert)
        .flatten()
        .chain(file.tasks.iter().filter_map(of_task))
        .chain(file.audit.iter().filter_map(of_audit))
        .chain(witnesses)
        .collect();
    found.into_iter()
}
