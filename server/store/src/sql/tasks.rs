//! Tasks as rows. What may happen to one is the domain's; here it is loaded and stored under its version.

use carepost_domain::care::task::{Task, TaskChange, TaskKey, TaskStatus};
use carepost_domain::id::{MemberId, TaskId};
use carepost_domain::{Id, Phi};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Conn, ids};
use crate::codec::{code, instant, instant_opt, narrow, us};
use crate::error::{Doing as _, Fault, FaultKind};
use crate::model::TaskFilter;

/// The columns of a row of `task a`.
macro_rules! task_columns {
    () => {
        "a.id, a.key, a.member, a.alert, a.rule, a.kind, a.severity, a.created_at, a.due_at, a.next_try_at, a.status,
            a.acted_by, a.acted_at, a.outcome, a.cancel_reason, a.attempts, a.unreachable, a.note, a.version"
    };
}

/// Tasks of members whose consent to keep and evaluate readings holds at `$1`; live ones, or all with `$2`.
macro_rules! listed_tasks {
    ($more:literal) => {
        concat!(
            "SELECT ",
            task_columns!(),
            " FROM task a JOIN member m ON m.id = a.member
            WHERE (a.status IN ('open', 'taken') OR $2)",
            $more,
            "
                AND EXISTS (SELECT 1 FROM consent_grant g WHERE g.member = a.member AND g.purpose = 'care_record'
                    AND g.granted_at <= $1 AND (g.withdrawn_at IS NULL OR g.withdrawn_at > $1)
                    AND (g.expires_at IS NULL OR g.expires_at > $1))
            ORDER BY CASE WHEN a.status IN ('open', 'taken') THEN 0 ELSE 1 END, a.due_at, a.id LIMIT $3"
        )
    };
}

statements! {
    INSERT = "INSERT INTO task (id, key, member, alert, rule, kind, severity, created_at, due_at, next_try_at, status,
            acted_by, acted_at, outcome, cancel_reason, attempts, unreachable, note, version)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
        ON CONFLICT (key) DO NOTHING";
    UPDATE = "UPDATE task SET rule = $2, severity = $3, due_at = $4, next_try_at = $5, status = $6, acted_by = $7,
            acted_at = $8, outcome = $9, cancel_reason = $10, attempts = $11, unreachable = $12, note = $13, version = $14
        WHERE id = $1 AND version = $15";
    OF_ALERTS = concat!(
        "SELECT ", task_columns!(), " FROM task a WHERE a.alert", in_ids!("$1"), " ORDER BY a.created_at DESC, a.id DESC"
    );
    LIVE_OF_MEMBER = concat!(
        "SELECT ", task_columns!(), " FROM task a
        WHERE a.member = $1 AND a.status IN ('open', 'taken') ORDER BY a.created_at, a.id"
    );
    BY_ID = concat!("SELECT ", task_columns!(), " FROM task a WHERE a.id", in_ids!("$1"));
    LIST = listed_tasks!("");
    LIST_OF_STORE = listed_tasks!(" AND m.home_store = $4");
    LIST_OF_MEMBER = listed_tasks!(" AND a.member = $4");
    LIST_OF_MEMBER_IN_STORE = listed_tasks!(" AND a.member = $4 AND m.home_store = $5");
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    key: String,
    member: Uuid,
    alert: Uuid,
    rule: String,
    kind: String,
    severity: String,
    created_at: i64,
    due_at: i64,
    next_try_at: Option<i64>,
    status: String,
    acted_by: Option<Uuid>,
    acted_at: Option<i64>,
    outcome: Option<String>,
    cancel_reason: Option<String>,
    attempts: i64,
    unreachable: bool,
    note: Option<String>,
    version: i64,
}

impl Row {
    fn status(&self) -> Result<TaskStatus, Fault> {
        let by = self.acted_by.map(Id::from_uuid);
        let at = instant_opt(self.acted_at)?;
        match (
            self.status.as_str(),
            by,
            at,
            self.outcome.as_deref(),
            self.cancel_reason.as_deref(),
        ) {
            ("open", ..) => Ok(TaskStatus::Open),
            ("taken", Some(by), Some(at), ..) => Ok(TaskStatus::Taken { by, at }),
            ("done", Some(by), Some(at), Some(outcome), _) => Ok(TaskStatus::Done {
                by,
                at,
                outcome: code(outcome)?,
            }),
            ("cancelled", _, Some(at), _, Some(reason)) => Ok(TaskStatus::Cancelled {
                at,
                reason: code(reason)?,
            }),
            _ => Err(Fault::new(
                "read a task",
                FaultKind::Unexpected,
                "a status without its particulars",
            )),
        }
    }

    fn into_model(self) -> Result<Task, Fault> {
        let status = self.status()?;
        Ok(Task {
            id: Id::from_uuid(self.id),
            key: TaskKey::from_stored(self.key),
            member: Id::from_uuid(self.member),
            alert: Id::from_uuid(self.alert),
            rule: code(&self.rule)?,
            kind: code(&self.kind)?,
            severity: code(&self.severity)?,
            created_at: instant(self.created_at)?,
            due_at: instant(self.due_at)?,
            next_try_at: instant_opt(self.next_try_at)?,
            status,
            attempts: narrow(self.attempts)?,
            unreachable: self.unreachable,
            note: self.note.map(Phi::new),
            version: narrow(self.version)?,
        })
    }
}

/// A status as columns: word, by whom, when, outcome, reason.
type StatusColumns = (
    &'static str,
    Option<Uuid>,
    Option<i64>,
    Option<&'static str>,
    Option<&'static str>,
);

fn columns(status: TaskStatus) -> StatusColumns {
    match status {
        TaskStatus::Open => ("open", None, None, None, None),
        TaskStatus::Taken { by, at } => ("taken", Some(by.uuid()), Some(us(at)), None, None),
        TaskStatus::Done { by, at, outcome } => ("done", Some(by.uuid()), Some(us(at)), Some(outcome.code()), None),
        TaskStatus::Cancelled { at, reason } => ("cancelled", None, Some(us(at)), None, Some(reason.code())),
    }
}

fn models(rows: Vec<Row>) -> Result<Vec<Task>, Fault> {
    rows.into_iter().map(Row::into_model).collect()
}

/// Tasks of alerts, finished ones too, the newest first.
pub(crate) async fn of_alerts(conn: &mut Conn, alerts: &[Uuid]) -> Result<Vec<Task>, Fault> {
    models(
        sqlx::query_as(OF_ALERTS)
            .bind(ids(alerts))
            .fetch_all(conn)
            .await
            .doing("load tasks of alerts")?,
    )
}

/// A member's tasks that are open or taken.
pub(crate) async fn live_of_member(conn: &mut Conn, member: MemberId) -> Result<Vec<Task>, Fault> {
    models(
        sqlx::query_as(LIVE_OF_MEMBER)
            .bind(member.uuid())
            .fetch_all(conn)
            .await
            .doing("load a member's tasks")?,
    )
}

/// One task.
pub(crate) async fn find(conn: &mut Conn, id: TaskId) -> Result<Option<Task>, Fault> {
    let row: Option<Row> = sqlx::query_as(BY_ID)
        .bind(ids(&[id.uuid()]))
        .fetch_optional(conn)
        .await
        .doing("look a task up")?;
    row.map(Row::into_model).transpose()
}

/// Tasks of members whose consent holds now: live ones first, then by due time.
pub(crate) async fn list(
    conn: &mut Conn,
    filter: &TaskFilter,
    limit: i64,
    now: DateTime<Utc>,
) -> Result<Vec<Task>, Fault> {
    let statement = match (filter.member, filter.store) {
        (None, None) => LIST,
        (None, Some(_)) => LIST_OF_STORE,
        (Some(_), None) => LIST_OF_MEMBER,
        (Some(_), Some(_)) => LIST_OF_MEMBER_IN_STORE,
    };
    let mut query = sqlx::query_as(statement)
        .bind(us(now))
        .bind(filter.closed_too)
        .bind(limit);
    if let Some(member) = filter.member {
        query = query.bind(member.uuid());
    }
    if let Some(store) = filter.store {
        query = query.bind(store.uuid());
    }
    models(query.fetch_all(conn).await.doing("list tasks")?)
}

/// Stores a change of a task; `false` when a new task's key is there already.
pub(crate) async fn save(conn: &mut Conn, change: &TaskChange) -> Result<bool, Fault> {
    let task = &change.task;
    let (status, acted_by, acted_at, outcome, cancel_reason) = columns(task.status);
    let version = i64::try_from(task.version).unwrap_or(i64::MAX);
    let note = task.note.as_ref().map(|note| note.expose().as_str());
    let stored = match change.before {
        None => sqlx::query(INSERT)
            .bind(task.id.uuid())
            .bind(task.key.as_str())
            .bind(task.member.uuid())
            .bind(task.alert.uuid())
            .bind(task.rule.code())
            .bind(task.kind.code())
            .bind(task.severity.code())
            .bind(us(task.created_at))
            .bind(us(task.due_at))
            .bind(task.next_try_at.map(us))
            .bind(status)
            .bind(acted_by)
            .bind(acted_at)
            .bind(outcome)
            .bind(cancel_reason)
            .bind(i64::from(task.attempts))
            .bind(task.unreachable)
            .bind(note)
            .bind(version),
        Some(before) => sqlx::query(UPDATE)
            .bind(task.id.uuid())
            .bind(task.rule.code())
            .bind(task.severity.code())
            .bind(us(task.due_at))
            .bind(task.next_try_at.map(us))
            .bind(status)
            .bind(acted_by)
            .bind(acted_at)
            .bind(outcome)
            .bind(cancel_reason)
            .bind(i64::from(task.attempts))
            .bind(task.unreachable)
            .bind(note)
            .bind(version)
            .bind(i64::try_from(before).unwrap_or(i64::MAX)),
    };
    let done = stored.execute(conn).await.doing("store a task")?.rows_affected();
    match (done, change.before) {
        (1, _) => Ok(true),
        (_, None) => Ok(false),
        _ => Err(Fault::new(
            "store a task",
            FaultKind::Contention,
            "another transaction changed it",
        )),
    }
}
