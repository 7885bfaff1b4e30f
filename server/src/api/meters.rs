//! `POST /meters`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use carepost_domain::id::StoreId;
use carepost_domain::meter::{Address, AddressType, Meter, MeterKind, MeterRole, meter_id};
use carepost_store::limits::MAX_NAME_CHARS;
use serde::Deserialize;

use crate::app::AppState;
use crate::auth::{StaffWrite, sees_health_data};

use super::input::Body;
use super::{Problem, scope};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewMeter {
    address: Address,
    address_type: AddressType,
    kind: MeterKind,
    role: MeterRole,
    store: StoreId,
    #[serde(default)]
    model: String,
    #[serde(default)]
    multi_user: bool,
}

/// Registers a meter. Its id follows from its address, so that registering it twice is once.
pub(super) async fn post(
    State(state): State<AppState>,
    StaffWrite(staff): StaffWrite,
    Body(new): Body<NewMeter>,
) -> Result<(StatusCode, Json<Meter>), Problem> {
    if !sees_health_data(staff.role()) || !scope::store_in_scope(&staff, new.store) {
        return Err(Problem::forbidden("You may register meters of your own store only."));
    }
    if new.model.chars().count() > MAX_NAME_CHARS {
        return Err(Problem::invalid(
            "too_long",
            format!("model has at most {MAX_NAME_CHARS} characters."),
        ));
    }
    let meter = Meter {
        id: meter_id(new.address, new.address_type),
        address: new.address,
        address_type: new.address_type,
        kind: new.kind,
        role: new.role,
        store: new.store,
        model: new.model,
        multi_user: new.multi_user,
    };
    state.store.register_meter(&staff.by(state.clock.now()), &meter).await?;
    Ok((StatusCode::CREATED, Json(meter)))
}
