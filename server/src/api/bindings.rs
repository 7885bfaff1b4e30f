//! `POST /bindings` and `POST /bindings/{id}/end`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use carepost_domain::id::{BindingId, MemberId, MeterId};
use carepost_domain::meter::Binding;
use carepost_store::model::BindingRequest;
use chrono::{DateTime, Utc};
use serde::Deserialize;

use crate::app::AppState;
use crate::auth::{StaffWrite, sees_health_data};

use super::input::{Body, PathId};
use super::{Problem, minted, scope};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewBinding {
    #[serde(default)]
    id: Option<BindingId>,
    meter: MeterId,
    member: MemberId,
    #[serde(default)]
    slot: Option<u8>,
    /// Now, when absent.
    #[serde(default)]
    valid_from: Option<DateTime<Utc>>,
    #[serde(default)]
    only_ever_this_person: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct End {
    /// Now, when absent.
    #[serde(default)]
    at: Option<DateTime<Utc>>,
}

/// Binds a personal meter, or one slot of it, to a member.
pub(super) async fn post(
    State(state): State<AppState>,
    StaffWrite(staff): StaffWrite,
    Body(new): Body<NewBinding>,
) -> Result<(StatusCode, Json<Binding>), Problem> {
    scope::member(&state, &staff, new.member).await?;
    let now = state.clock.now();
    let valid_from = new.valid_from.unwrap_or(now);
    if valid_from > now {
        return Err(Problem::invalid(
            "in_the_future",
            "valid_from must not lie in the future.",
        ));
    }
    let request = BindingRequest {
        id: minted(new.id, &state.entropy, now),
        meter: new.meter,
        member: new.member,
        slot: new.slot,
        valid_from,
        only_ever_this_person: new.only_ever_this_person,
    };
    state.store.bind_meter(&staff.by(now), &request).await?;
    let binding = Binding {
        id: request.id,
        meter: request.meter,
        member: request.member,
        slot: request.slot,
        valid_from: request.valid_from,
        valid_to: None,
        only_ever_this_person: request.only_ever_this_person,
    };
    Ok((StatusCode::CREATED, Json(binding)))
}

/// Ends a binding. Later records of the meter are nobody's until it is bound again.
pub(super) async fn end(
    State(state): State<AppState>,
    StaffWrite(staff): StaffWrite,
    PathId(binding): PathId<Binding>,
    Body(body): Body<End>,
) -> Result<StatusCode, Problem> {
    if !sees_health_data(staff.role()) {
        return Err(Problem::not_found());
    }
    let now = state.clock.now();
    let at = body.at.unwrap_or(now);
    if at > now {
        return Err(Problem::invalid("in_the_future", "at must not lie in the future."));
    }
    // The store where the meter stands, the member's home store, or a manager: nobody else may make a meter nobody's.
    let everywhere = scope::list_scope(&staff, None)?;
    state.store.end_binding(&staff.by(now), binding, at, everywhere).await?;
    Ok(StatusCode::NO_CONTENT)
}
