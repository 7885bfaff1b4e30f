//! What staff do with alerts and tasks: version-checked steps of the domain, stored, audited, and assessed again.

use carepost_domain::care::alert::Alert;
use carepost_domain::care::rule_set::RuleSet;
use carepost_domain::care::task::{AlertEffect, CancelReason, OutcomeRecord, Task};
use carepost_domain::consent::Grant;
use carepost_domain::id::{AlertId, StaffId, TaskId};
use chrono::{DateTime, Utc};

use super::care::{cancel, hold, reassess, store_alert, store_task, task_id};
use super::counter::{self, Counter};
use super::{Conn, alerts, staff, tasks};
use crate::error::CareError;
use crate::model::{By, CareChange, OutcomeResult};

async fn check_staff(conn: &mut Conn, id: StaffId) -> Result<(), CareError> {
    let known = staff::find(conn, id).await?.filter(|staff| staff.disabled_at.is_none());
    known.map(|_| ()).ok_or(CareError::StaffUnknown(id))
}

/// An alert whose member is held and may be shown.
async fn held_alert(conn: &mut Conn, id: AlertId, now: DateTime<Utc>) -> Result<Alert, CareError> {
    let member = alerts::find(conn, id)
        .await?
        .ok_or(CareError::AlertUnknown)?
        .alert
        .member;
    if hold(conn, member, now).await?.is_none() {
        return Err(CareError::AlertUnknown);
    }
    Ok(alerts::find(conn, id).await?.ok_or(CareError::AlertUnknown)?.alert)
}

/// A task whose member is held and may be shown, with the grants.
async fn held_task(conn: &mut Conn, id: TaskId, now: DateTime<Utc>) -> Result<(Task, Vec<Grant>), CareError> {
    let member = tasks::find(conn, id).await?.ok_or(CareError::TaskUnknown)?.member;
    let grants = hold(conn, member, now).await?.ok_or(CareError::TaskUnknown)?;
    Ok((tasks::find(conn, id).await?.ok_or(CareError::TaskUnknown)?, grants))
}

pub(crate) async fn acknowledge(
    conn: &mut Conn,
    by: &By,
    id: AlertId,
    who: StaffId,
    version: u64,
) -> Result<Alert, CareError> {
    check_staff(conn, who).await?;
    let change = held_alert(conn, id, by.at).await?.acknowledge(who, by.at, version)?;
    store_alert(conn, by, &change, &mut CareChange::default()).await?;
    counter::add(conn, Counter::Queue, 1).await?;
    Ok(change.alert)
}

pub(crate) async fn take_task(
    conn: &mut Conn,
    by: &By,
    id: TaskId,
    who: StaffId,
    version: u64,
) -> Result<Task, CareError> {
    check_staff(conn, who).await?;
    let (task, _) = held_task(conn, id, by.at).await?;
    let change = task.take(who, by.at, version)?;
    store_task(conn, by, &change, &mut CareChange::default()).await?;
    counter::add(conn, Counter::Queue, 1).await?;
    Ok(change.task)
}

pub(crate) async fn record_outcome(
    conn: &mut Conn,
    by: &By,
    id: TaskId,
    who: StaffId,
    version: u64,
    record: &OutcomeRecord,
    rules: &RuleSet,
) -> Result<OutcomeResult, CareError> {
    check_staff(conn, who).await?;
    let (task, grants) = held_task(conn, id, by.at).await?;
    let (member, alert_id) = (task.member, task.alert);
    let siblings = tasks::of_alerts(conn, &[alert_id.uuid()]).await?;
    let follow_up_id = task_id(by.at, alert_id, siblings.len() + 1);
    let effects = task.record_outcome(who, by.at, version, record.clone(), follow_up_id)?;
    let mut total = CareChange::default();
    store_task(conn, by, &effects.task, &mut total).await?;
    if let Some(follow_up) = &effects.follow_up {
        store_task(conn, by, follow_up, &mut total).await?;
    }
    if let Some(alert) = alerts::find(conn, alert_id)
        .await?
        .map(|shown| shown.alert)
        .filter(Alert::is_active)
    {
        match effects.alert {
            AlertEffect::None => {}
            AlertEffect::RecordContact => {
                store_alert(conn, by, &alert.record_contact(by.at)?, &mut total).await?;
            }
            AlertEffect::Resolve => {
                store_alert(conn, by, &alert.resolve(by.at)?, &mut total).await?;
                let others = siblings.into_iter().filter(|other| other.id != id);
                cancel(conn, by, others, CancelReason::AlertResolved, &mut total).await?;
            }
        }
    }
    let assessed = reassess(conn, by, member, &grants, &[], rules).await?;
    counter::add(conn, Counter::Queue, 1).await?;
    let change = CareChange {
        opened: total.opened + assessed.opened,
        changed: total.changed + assessed.changed,
        closed: total.closed + assessed.closed,
        tasks: total.tasks + assessed.tasks,
    };
    Ok(OutcomeResult {
        task: effects.task.task,
        follow_up: effects.follow_up.map(|change| change.task),
        change,
    })
}
