//! `GET /tasks`, `GET /tasks/{id}`, `POST /tasks/{id}/take` and `POST /tasks/{id}/outcome`.

use axum::Json;
use axum::extract::State;
use carepost_domain::Phi;
use carepost_domain::care::rule::{Rule, Severity};
use carepost_domain::care::task::{Outcome, OutcomeRecord, Task, TaskKind, TaskStatus};
use carepost_domain::id::{AlertId, MemberId, StoreId, TaskId, names};
use carepost_store::model::TaskFilter;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::app::AppState;
use crate::auth::{Staff, StaffWrite, sees_health_data};

use super::input::{Body, Params, PathId, page_size};
use super::{Problem, scope};

/// Rows of a list that names no limit.
const DEFAULT_PAGE: u32 = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    #[serde(default)]
    store: Option<StoreId>,
    #[serde(default)]
    member: Option<MemberId>,
    #[serde(default)]
    closed_too: bool,
    #[serde(default)]
    limit: Option<u32>,
}

/// The version that was looked at.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Seen {
    version: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OutcomeRequest {
    version: u64,
    outcome: Outcome,
    #[serde(default)]
    note: Option<String>,
    /// The agreed or booked time, where the outcome needs one.
    #[serde(default)]
    next_at: Option<DateTime<Utc>>,
}

#[derive(Serialize)]
pub(super) struct TaskList {
    tasks: Vec<TaskBody>,
}

#[derive(Serialize)]
pub(super) struct TaskBody {
    id: TaskId,
    member: MemberId,
    alert: AlertId,
    rule: Rule,
    kind: TaskKind,
    severity: Severity,
    created_at: DateTime<Utc>,
    due_at: DateTime<Utc>,
    next_try_at: Option<DateTime<Utc>>,
    status: TaskStatus,
    attempts: u32,
    /// All tries failed, or the number is wrong.
    unreachable: bool,
    note: Option<String>,
    version: u64,
}

impl From<Task> for TaskBody {
    fn from(task: Task) -> Self {
        Self {
            id: task.id,
            member: task.member,
            alert: task.alert,
            rule: task.rule,
            kind: task.kind,
            severity: task.severity,
            created_at: task.created_at,
            due_at: task.due_at,
            next_try_at: task.next_try_at,
            status: task.status,
            attempts: task.attempts,
            unreachable: task.unreachable,
            note: task.note.map(Phi::into_inner),
            version: task.version,
        }
    }
}

#[derive(Serialize)]
pub(super) struct OutcomeBody {
    task: TaskBody,
    /// The task that follows, if the outcome booked one.
    follow_up: Option<TaskBody>,
}

pub(super) async fn list(
    State(state): State<AppState>,
    staff: Staff,
    Params(filter): Params<Filter>,
) -> Result<Json<TaskList>, Problem> {
    let limit = page_size(filter.limit, DEFAULT_PAGE)?;
    let filter = TaskFilter {
        store: scope::list_scope(&staff, filter.store)?,
        member: filter.member,
        closed_too: filter.closed_too,
    };
    let tasks = state.store.tasks(&staff.by(state.clock.now()), filter, limit).await?;
    Ok(Json(TaskList {
        tasks: tasks.into_iter().map(TaskBody::from).collect(),
    }))
}

pub(super) async fn get(
    State(state): State<AppState>,
    staff: Staff,
    PathId(id): PathId<names::Task>,
) -> Result<Json<TaskBody>, Problem> {
    Ok(Json(visible(&state, &staff, id).await?.into()))
}

/// Makes the task one's own under the version that was looked at.
pub(super) async fn take(
    State(state): State<AppState>,
    StaffWrite(staff): StaffWrite,
    PathId(id): PathId<names::Task>,
    Body(seen): Body<Seen>,
) -> Result<Json<TaskBody>, Problem> {
    visible(&state, &staff, id).await?;
    let by = staff.by(state.clock.now());
    Ok(Json(
        state.store.take_task(&by, id, staff.id(), seen.version).await?.into(),
    ))
}

/// Records what came of it.
pub(super) async fn outcome(
    State(state): State<AppState>,
    StaffWrite(staff): StaffWrite,
    PathId(id): PathId<names::Task>,
    Body(request): Body<OutcomeRequest>,
) -> Result<Json<OutcomeBody>, Problem> {
    visible(&state, &staff, id).await?;
    let by = staff.by(state.clock.now());
    let record = OutcomeRecord {
        outcome: request.outcome,
        note: request.note.map(Phi::new),
        next_at: request.next_at,
    };
    let result = state
        .store
        .record_outcome(&by, id, staff.id(), request.version, &record, &state.rules)
        .await?;
    Ok(Json(OutcomeBody {
        task: result.task.into(),
        follow_up: result.follow_up.map(TaskBody::from),
    }))
}

async fn visible(state: &AppState, staff: &Staff, id: TaskId) -> Result<Task, Problem> {
    if !sees_health_data(staff.role()) {
        return Err(Problem::not_found());
    }
    let task = state.store.task(&staff.by(state.clock.now()), id).await?;
    scope::member(state, staff, task.member).await?;
    Ok(task)
}
