//! `GET /gateways`: which there are, and how they are.

use axum::Json;
use axum::extract::State;
use carepost_domain::id::{GatewayId, StoreId};
use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::app::AppState;
use crate::auth::{Staff, sees_machines};

use super::Problem;

#[derive(Serialize)]
pub(super) struct GatewayList {
    gateways: Vec<GatewayBody>,
    /// Such as two gateways with one identity.
    flags: Vec<FlagBody>,
}

#[derive(Serialize)]
struct GatewayBody {
    id: GatewayId,
    store: StoreId,
    name: String,
    enrolled_at: DateTime<Utc>,
    revoked_at: Option<DateTime<Utc>>,
    last_seen: Option<DateTime<Utc>>,
    online: bool,
    /// The version of members, meters, bindings and grants that it works from; 0 for none.
    applied_version: i64,
    /// Whether nothing in its scope has changed since that version.
    up_to_date: bool,
    /// What it last said of itself; its last will when its connection was lost.
    presence: Option<String>,
}

#[derive(Serialize)]
struct FlagBody {
    kind: String,
    gateway: GatewayId,
    raised_at: DateTime<Utc>,
    last_at: DateTime<Utc>,
    count: i64,
}

pub(super) async fn list(State(state): State<AppState>, staff: Staff) -> Result<Json<GatewayList>, Problem> {
    if !sees_machines(staff.role()) {
        return Err(Problem::forbidden("Your role does not look after machines."));
    }
    let gateways = state.store.gateways().await?;
    let flags = state.store.technical_flags().await?;
    let mut bodies = Vec::with_capacity(gateways.len());
    for gateway in gateways {
        // A revoked gateway has no scope any more.
        let up_to_date = gateway.revoked_at.is_none()
            && gateway.applied_version > 0
            && state
                .store
                .down_changes(gateway.id, gateway.applied_version)
                .await?
                .rows
                .is_empty();
        bodies.push(GatewayBody {
            id: gateway.id,
            store: gateway.store,
            name: gateway.name,
            enrolled_at: gateway.enrolled_at,
            revoked_at: gateway.revoked_at,
            last_seen: gateway.last_seen,
            online: gateway.online,
            applied_version: gateway.applied_version,
            up_to_date,
            presence: state
                .broker
                .presence(gateway.id)
                .and_then(|presence| presence.state)
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
        });
    }
    Ok(Json(GatewayList {
        gateways: bodies,
        flags: flags
            .into_iter()
            .map(|flag| FlagBody {
                kind: flag.kind,
                gateway: flag.gateway,
                raised_at: flag.raised_at,
                last_at: flag.last_at,
                count: flag.count,
            })
            .collect(),
    }))
}
