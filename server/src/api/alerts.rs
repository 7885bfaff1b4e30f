//! `GET /alerts`, `GET /alerts/{id}` and `POST /alerts/{id}/acknowledge`.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::State;
use carepost_domain::care::alert::{Acknowledgement, Alert, Condition, RuleEvidence};
use carepost_domain::care::evaluate::Mark;
use carepost_domain::care::history::SymptomRecord;
use carepost_domain::care::rule::{AppliedLimit, Family, Rule, Severity};
use carepost_domain::care::rule_set::RuleSetRef;
use carepost_domain::id::{AlertId, MemberId, StaffId, StoreId, names};
use carepost_store::model::{AlertFile, AlertFilter};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::app::AppState;
use crate::auth::{Staff, StaffWrite, sees_health_data};

use super::input::{Body, Params, PathId, page_size};
use super::readings::ReadingBody;
use super::sessions::SessionBody;
use super::tasks::TaskBody;
use super::{Problem, scope};

/// Rows of a list that names no limit.
const DEFAULT_PAGE: u32 = 100;

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Which {
    #[default]
    Open,
    All,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    #[serde(default)]
    which: Which,
    #[serde(default)]
    store: Option<StoreId>,
    #[serde(default)]
    limit: Option<u32>,
}

/// The version that was looked at.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Seen {
    version: u64,
}

#[derive(Serialize)]
pub(super) struct AlertList {
    alerts: Vec<AlertBody>,
}

#[derive(Serialize)]
pub(super) struct AlertBody {
    id: AlertId,
    member: MemberId,
    family: Family,
    severity: Severity,
    /// The rule that speaks now.
    rule: Rule,
    rule_set: RuleSetRef,
    /// The limits that applied.
    limits: Vec<AppliedLimit>,
    /// What each rule brought into it.
    rules: BTreeMap<Rule, RuleEvidence>,
    marks: BTreeSet<Mark>,
    since: DateTime<Utc>,
    last_evidence_at: DateTime<Utc>,
    opened_at: DateTime<Utc>,
    changed_at: DateTime<Utc>,
    condition: Condition,
    acknowledged: Option<Acknowledgement>,
    owner: Option<StaffId>,
    version: u64,
}

impl From<Alert> for AlertBody {
    fn from(alert: Alert) -> Self {
        Self {
            id: alert.id,
            member: alert.member,
            family: alert.family,
            severity: alert.severity,
            rule: alert.rule,
            rule_set: alert.rule_set,
            limits: alert.limits,
            rules: alert.rules,
            marks: alert.marks,
            since: alert.since,
            last_evidence_at: alert.last_evidence_at,
            opened_at: alert.opened_at,
            changed_at: alert.changed_at,
            condition: alert.condition,
            acknowledged: alert.acknowledged,
            owner: alert.owner,
            version: alert.version,
        }
    }
}

/// An alert with everything that explains it.
#[derive(Serialize)]
pub(super) struct AlertFileBody {
    alert: AlertBody,
    readings: Vec<ReadingBody>,
    symptoms: Vec<SymptomRecord>,
    sessions: Vec<SessionBody>,
    tasks: Vec<TaskBody>,
}

impl From<AlertFile> for AlertFileBody {
    fn from(file: AlertFile) -> Self {
        Self {
            alert: file.alert.into(),
            readings: file.readings.into_iter().map(ReadingBody::from).collect(),
            symptoms: file.symptoms,
            sessions: file.sessions.into_iter().map(SessionBody::from).collect(),
            tasks: file.tasks.into_iter().map(TaskBody::from).collect(),
        }
    }
}

pub(super) async fn list(
    State(state): State<AppState>,
    staff: Staff,
    Params(filter): Params<Filter>,
) -> Result<Json<AlertList>, Problem> {
    let limit = page_size(filter.limit, DEFAULT_PAGE)?;
    let store = scope::list_scope(&staff, filter.store)?;
    let which = match filter.which {
        Which::Open => AlertFilter::Open,
        Which::All => AlertFilter::All,
    };
    let alerts = state
        .store
        .alerts(&staff.by(state.clock.now()), which, store, limit)
        .await?;
    Ok(Json(AlertList {
        alerts: alerts.into_iter().map(AlertBody::from).collect(),
    }))
}

pub(super) async fn get(
    State(state): State<AppState>,
    staff: Staff,
    PathId(id): PathId<names::Alert>,
) -> Result<Json<AlertFileBody>, Problem> {
    Ok(Json(visible(&state, &staff, id).await?.into()))
}

/// Takes notice of an alert under the version that was looked at.
pub(super) async fn acknowledge(
    State(state): State<AppState>,
    StaffWrite(staff): StaffWrite,
    PathId(id): PathId<names::Alert>,
    Body(seen): Body<Seen>,
) -> Result<Json<AlertBody>, Problem> {
    visible(&state, &staff, id).await?;
    let by = staff.by(state.clock.now());
    Ok(Json(
        state
            .store
            .acknowledge_alert(&by, id, staff.id(), seen.version)
            .await?
            .into(),
    ))
}

async fn visible(state: &AppState, staff: &Staff, id: AlertId) -> Result<AlertFile, Problem> {
    if !sees_health_data(staff.role()) {
        return Err(Problem::not_found());
    }
    let file = state.store.alert(&staff.by(state.clock.now()), id).await?;
    scope::member(state, staff, file.alert.member).await?;
    Ok(file)
}
