//! `POST /members` and `GET /members/{id}`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use carepost_domain::Phi;
use carepost_domain::id::{MemberId, StoreId};
use carepost_domain::people::{Condition, DrugClass, Member, MemberCode, Sex};
use carepost_store::model::MemberRecord;
use chrono::{DateTime, Datelike as _, Utc};
use serde::{Deserialize, Serialize};

use crate::app::AppState;
use crate::auth::{Staff, StaffWrite, sees_health_data};

use super::input::{Body, PathId};
use super::{Problem, minted, scope};

/// Nobody alive was born earlier.
const EARLIEST_BIRTH_YEAR: i32 = 1900;
/// Different codes are fewer; more are a mistake.
const MAX_CODES: usize = 16;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewMember {
    #[serde(default)]
    id: Option<MemberId>,
    code: MemberCode,
    name: String,
    birth_year: i32,
    sex: Sex,
    #[serde(default)]
    phone: Option<String>,
    home_store: StoreId,
    #[serde(default)]
    conditions: Vec<Condition>,
    #[serde(default)]
    drugs: Vec<DrugClass>,
}

#[derive(Serialize)]
pub(super) struct MemberBody {
    id: MemberId,
    code: MemberCode,
    name: String,
    birth_year: i32,
    sex: Sex,
    phone: Option<String>,
    home_store: StoreId,
    conditions: Vec<Condition>,
    drugs: Vec<DrugClass>,
    added_at: DateTime<Utc>,
}

impl From<MemberRecord> for MemberBody {
    fn from(record: MemberRecord) -> Self {
        let MemberRecord { member, added_at } = record;
        Self {
            id: member.id,
            code: member.code,
            name: member.name.into_inner(),
            birth_year: member.birth_year,
            sex: member.sex,
            phone: member.phone.map(Phi::into_inner),
            home_store: member.home_store,
            conditions: member.conditions,
            drugs: member.drugs,
            added_at,
        }
    }
}

/// Adds a member. Nothing is kept or evaluated of anybody before a grant of `care_record`.
pub(super) async fn post(
    State(state): State<AppState>,
    StaffWrite(staff): StaffWrite,
    Body(new): Body<NewMember>,
) -> Result<(StatusCode, Json<MemberBody>), Problem> {
    if !sees_health_data(staff.role()) || !scope::store_in_scope(&staff, new.home_store) {
        return Err(Problem::forbidden("You may add members to your own store only."));
    }
    let now = state.clock.now();
    if !(EARLIEST_BIRTH_YEAR..=now.year()).contains(&new.birth_year) {
        return Err(Problem::invalid(
            "bad_birth_year",
            format!("birth_year must be from 1900 to {}.", now.year()),
        ));
    }
    if new.conditions.len() > MAX_CODES || new.drugs.len() > MAX_CODES {
        return Err(Problem::invalid(
            "too_long",
            format!("At most {MAX_CODES} conditions and drugs each."),
        ));
    }
    let member = Member {
        id: minted(new.id, &state.entropy, now),
        code: new.code,
        name: Phi::new(new.name.trim().to_owned()),
        birth_year: new.birth_year,
        sex: new.sex,
        phone: new.phone.map(|phone| Phi::new(phone.trim().to_owned())),
        home_store: new.home_store,
        conditions: distinct(new.conditions),
        drugs: distinct(new.drugs),
    };
    let by = staff.by(now);
    state.store.add_member(&by, &member).await?;
    let record = state.store.member(&by, member.id).await?;
    Ok((StatusCode::CREATED, Json(record.into())))
}

/// A member's particulars.
pub(super) async fn get(
    State(state): State<AppState>,
    staff: Staff,
    PathId(id): PathId<Member>,
) -> Result<Json<MemberBody>, Problem> {
    Ok(Json(scope::member(&state, &staff, id).await?.into()))
}

fn distinct<T: Ord>(mut codes: Vec<T>) -> Vec<T> {
    codes.sort();
    codes.dedup();
    codes
}
