//! `GET /healthz`, `GET /readyz` and `GET /api/v1/counts`.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use carepost_domain::quarantine::Reason;
use carepost_store::model::Counts;
use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::app::AppState;
use crate::auth::{Staff, sees_machines};

use super::Problem;

#[derive(Serialize)]
pub(super) struct CountsBody {
    readings: i64,
    alerts_open: i64,
    tasks_open: i64,
    quarantine: Vec<QuarantineBody>,
    quarantine_dropped: i64,
    /// Rejections that gateways have not seen yet, by lane.
    lanes_rejected: BTreeMap<&'static str, i64>,
    jobs_pending: i64,
    jobs_overdue_since: Option<DateTime<Utc>>,
    /// By kind; kinds that this version does not know under `unknown`.
    jobs_parked: BTreeMap<&'static str, i64>,
    audit_unsealed: i64,
    gateways: i64,
    gateways_online: i64,
    /// Since this process started.
    process: BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
struct QuarantineBody {
    reason: Reason,
    /// Different messages.
    messages: i64,
    /// Arrivals, repeats included.
    arrivals: i64,
}

/// The process answers.
pub(super) async fn alive() -> &'static str {
    "alive\n"
}

/// The process does its work: the database can be written to, and the server is not stopping.
pub(super) async fn ready(State(state): State<AppState>) -> Result<&'static str, Problem> {
    if state.stopping.is_cancelled() {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "The server stops.").retry_after(5));
    }
    state.store.ping().await?;
    Ok("ready\n")
}

/// Numbers for those who run the machines; nothing in them is about a person.
pub(super) async fn counts(State(state): State<AppState>, staff: Staff) -> Result<Json<CountsBody>, Problem> {
    if !sees_machines(staff.role()) {
        return Err(Problem::forbidden("Your role does not look after machines."));
    }
    let counts: Counts = state.store.counts(state.clock.now()).await?;
    Ok(Json(CountsBody {
        readings: counts.readings,
        alerts_open: counts.alerts_open,
        tasks_open: counts.tasks_open,
        quarantine: counts
            .quarantine
            .into_iter()
            .map(|row| QuarantineBody {
                reason: row.reason,
                messages: row.messages,
                arrivals: row.arrivals,
            })
            .collect(),
        quarantine_dropped: counts.quarantine_dropped,
        lanes_rejected: counts
            .lanes
            .into_iter()
            .map(|row| (row.lane.code(), row.rejected))
            .collect(),
        jobs_pending: counts.jobs_pending,
        jobs_overdue_since: counts.jobs_overdue_since,
        jobs_parked: counts
            .jobs_parked
            .into_iter()
            .map(|(kind, count)| (kind.map_or("unknown", carepost_store::model::JobKind::code), count))
            .collect(),
        audit_unsealed: counts.audit_unsealed,
        gateways: counts.gateways,
        gateways_online: counts.gateways_online,
        process: state.counters.all(),
    }))
}
