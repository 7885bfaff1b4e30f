//! `GET /members/{id}/sessions`: sittings with their means, the newest first.

use axum::Json;
use axum::extract::State;
use carepost_domain::care::session::{NextStep, SessionState};
use carepost_domain::id::{MemberId, MeterId, ReadingId, SessionId};
use carepost_domain::people::Member;
use carepost_domain::reading::{Flag, Place};
use carepost_store::model::SessionView;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::app::AppState;
use crate::auth::Staff;

use super::input::{Params, PathId, page_size};
use super::{Problem, scope};

/// Rows of a list that names no limit.
const DEFAULT_PAGE: u32 = 100;
/// How far a list that names no beginning goes back.
const DEFAULT_PERIOD: TimeDelta = TimeDelta::days(90);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Period {
    #[serde(default)]
    since: Option<DateTime<Utc>>,
    #[serde(default)]
    limit: Option<u32>,
}

#[derive(Serialize)]
pub(super) struct SessionList {
    sessions: Vec<SessionBody>,
}

#[derive(Serialize)]
pub(super) struct SessionBody {
    id: SessionId,
    member: MemberId,
    place: Place,
    meter: Option<MeterId>,
    state: SessionState,
    mean: Option<MeanBody>,
    started: DateTime<Utc>,
    last: DateTime<Utc>,
    closes_at: DateTime<Utc>,
    /// All readings, in measured order.
    readings: Vec<ReadingId>,
    /// Those in the mean.
    used: Vec<ReadingId>,
    /// Those at or above the severe limit.
    severe: Vec<ReadingId>,
    doubts: Vec<Flag>,
    further_reading_missing: bool,
    /// A new pair has decided instead of this session.
    superseded: bool,
    repeats: Option<SessionId>,
    next: NextStep,
}

#[derive(Serialize)]
struct MeanBody {
    systolic_mmhg: i64,
    diastolic_mmhg: i64,
    pulse_per_min: Option<i64>,
    readings: usize,
}

impl From<SessionView> for SessionBody {
    fn from(view: SessionView) -> Self {
        Self {
            id: view.id,
            member: view.member,
            place: view.place,
            meter: view.meter,
            state: view.state,
            mean: view.mean.map(|mean| MeanBody {
                systolic_mmhg: mean.systolic_mmhg,
                diastolic_mmhg: mean.diastolic_mmhg,
                pulse_per_min: mean.pulse_per_min,
                readings: mean.readings,
            }),
            started: view.started,
            last: view.last,
            closes_at: view.closes_at,
            readings: view.readings,
            used: view.used,
            severe: view.severe,
            doubts: view.doubts,
            further_reading_missing: view.further_reading_missing,
            superseded: view.superseded,
            repeats: view.repeats,
            next: view.next,
        }
    }
}

pub(super) async fn list(
    State(state): State<AppState>,
    staff: Staff,
    PathId(member): PathId<Member>,
    Params(period): Params<Period>,
) -> Result<Json<SessionList>, Problem> {
    let limit = page_size(period.limit, DEFAULT_PAGE)?;
    scope::member(&state, &staff, member).await?;
    let now = state.clock.now();
    let since = period.since.unwrap_or(now - DEFAULT_PERIOD);
    let sessions = state.store.sessions(&staff.by(now), member, since, limit).await?;
    Ok(Json(SessionList {
        sessions: sessions.into_iter().map(SessionBody::from).collect(),
    }))
}
