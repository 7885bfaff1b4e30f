//! `POST /members/{id}/symptoms`: what the person feels; a danger symptom alone opens an alert (SY-01).

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use carepost_domain::care::history::{SymptomRecord, SymptomSource};
use carepost_domain::people::{Member, Symptom};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::app::AppState;
use crate::auth::StaffWrite;

use super::input::{Body, PathId};
use super::{Problem, minted, scope};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SymptomRequest {
    codes: Vec<Symptom>,
    /// Who said so.
    source: SymptomSource,
    /// When it was there; now, when absent.
    #[serde(default)]
    at: Option<DateTime<Utc>>,
}

#[derive(Serialize)]
pub(super) struct SymptomAnswer {
    /// One record for each code.
    records: Vec<SymptomRecord>,
    alerts_opened: u32,
    alerts_changed: u32,
    alerts_closed: u32,
    tasks_made: u32,
}

/// Records symptoms and judges them in the same transaction.
pub(super) async fn post(
    State(state): State<AppState>,
    StaffWrite(staff): StaffWrite,
    PathId(member): PathId<Member>,
    Body(request): Body<SymptomRequest>,
) -> Result<(StatusCode, Json<SymptomAnswer>), Problem> {
    scope::member(&state, &staff, member).await?;
    let now = state.clock.now();
    let at = request.at.unwrap_or(now);
    if at > now {
        return Err(Problem::invalid("in_the_future", "at must not lie in the future."));
    }
    if request.codes.is_empty() || request.codes.len() > Symptom::ALL.len() {
        return Err(Problem::invalid(
            "bad_codes",
            format!("codes lists 1 to {} symptoms.", Symptom::ALL.len()),
        ));
    }
    let mut codes = request.codes;
    codes.sort();
    codes.dedup();
    let records: Vec<SymptomRecord> = codes
        .into_iter()
        .map(|code| SymptomRecord {
            id: minted(None, &state.entropy, now),
            code,
            source: request.source,
            at,
        })
        .collect();
    let change = state
        .store
        .record_symptoms(&staff.by(now), member, &records, &state.rules)
        .await?;
    let answer = SymptomAnswer {
        records,
        alerts_opened: change.opened,
        alerts_changed: change.changed,
        alerts_closed: change.closed,
        tasks_made: change.tasks,
    };
    Ok((StatusCode::CREATED, Json(answer)))
}
