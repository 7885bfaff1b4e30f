//! `GET /meters` and `POST /meters`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use carepost_domain::id::{GatewayId, MeterId, StoreId};
use carepost_domain::meter::{About, Address, AddressType, Meter, MeterKind, MeterRole, meter_id};
use carepost_domain::quirks::QuirkId;
use carepost_store::PeopleError;
use carepost_store::limits::MAX_NAME_CHARS;
use carepost_store::model::{MeterRecord, StaffRole};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::app::AppState;
use crate::auth::{Staff, StaffWrite, sees_health_data};
use crate::models;

use super::input::{Body, Params, page_size};
use super::{Problem, scope};

/// Rows of a page that names no limit.
const DEFAULT_PAGE: u32 = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    #[serde(default)]
    store: Option<StoreId>,
    /// The `next` of the page before.
    #[serde(default)]
    cursor: Option<MeterId>,
    #[serde(default)]
    limit: Option<u32>,
}

#[derive(Serialize)]
pub(super) struct MeterList {
    meters: Vec<MeterBody>,
    /// For the next page; absent on the last.
    next: Option<MeterId>,
}

#[derive(Serialize)]
struct MeterBody {
    #[serde(flatten)]
    meter: Meter,
    /// Members to whom it, or a slot of it, belongs now.
    owners: i64,
    registered_at: DateTime<Utc>,
    /// The gateway at which it was paired; absent when staff registered it by hand.
    registered_via: Option<GatewayId>,
    /// The newest capture of a reading that was stored.
    last_seen: Option<DateTime<Utc>>,
    /// `supported` and `recognised_unsupported` by its entry in the quirk table, `standard` without one.
    support: &'static str,
    quirk: Option<QuirkBody>,
}

#[derive(Serialize)]
struct QuirkBody {
    id: QuirkId,
    /// The family in words.
    family: String,
}

impl From<MeterRecord> for MeterBody {
    fn from(record: MeterRecord) -> Self {
        let entry = models::entry(&record.meter);
        Self {
            support: models::support_code(entry),
            quirk: entry.map(|quirk| QuirkBody {
                id: quirk.id.clone(),
                family: quirk.family.clone(),
            }),
            owners: record.owners,
            registered_at: record.registered_at,
            registered_via: record.registered_via,
            last_seen: record.last_seen,
            meter: record.meter,
        }
    }
}

/// Meters by model and address. They are machines, so that those who run them see them as well.
pub(super) async fn list(
    State(state): State<AppState>,
    staff: Staff,
    Params(page): Params<Page>,
) -> Result<Json<MeterList>, Problem> {
    let limit = page_size(page.limit, DEFAULT_PAGE)?;
    let store = match staff.role() {
        StaffRole::It => page.store,
        StaffRole::Pharmacist | StaffRole::Manager => scope::list_scope(&staff, page.store)?,
    };
    let found = state
        .store
        .meters(store, page.cursor, limit, state.clock.now())
        .await
        .map_err(|error| match error {
            PeopleError::MeterUnknown(_) => Problem::new(
                StatusCode::BAD_REQUEST,
                "bad_query",
                "cursor must be the next of the page before.",
            ),
            other => other.into(),
        })?;
    Ok(Json(MeterList {
        meters: found.meters.into_iter().map(MeterBody::from).collect(),
        next: found.next,
    }))
}

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
    /// What the meter says of itself; a gateway that pairs it fills in what is missing.
    #[serde(default)]
    about: About,
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
        about: new.about,
    };
    // A repeat that says less than is known answers with what is known.
    let stored = state.store.register_meter(&staff.by(state.clock.now()), &meter).await?;
    Ok((StatusCode::CREATED, Json(stored)))
}
