//! `GET` and `POST /members/{id}/grants`, and `POST /members/{id}/grants/withdraw`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use carepost_domain::consent::{Grant, Purpose};
use carepost_domain::id::{GrantId, MemberId, StaffId, StoreId};
use carepost_domain::people::Member;
use carepost_store::limits::{MAX_NAME_CHARS, MAX_NOTE_CHARS};
use carepost_store::model::{Channel, GrantRecord, NewGrant};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::app::AppState;
use crate::auth::{Staff, StaffWrite};

use super::input::{Body, PathId};
use super::{Problem, minted, scope};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GrantRequest {
    #[serde(default)]
    id: Option<GrantId>,
    purpose: Purpose,
    /// Version of the text that the person was shown.
    text_version: String,
    /// SHA-256 of that text, 64 hex digits.
    text_sha256: String,
    channel: Channel,
    /// Where; the staff member's store, when absent.
    #[serde(default)]
    store: Option<StoreId>,
    #[serde(default)]
    witness: Option<StaffId>,
    #[serde(default)]
    expires_at: Option<DateTime<Utc>>,
    /// The person ticked that readings from before the first grant may be kept.
    #[serde(default)]
    includes_history: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WithdrawRequest {
    purpose: Purpose,
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Serialize)]
pub(super) struct GrantBody {
    id: GrantId,
    member: MemberId,
    purpose: Purpose,
    text_version: String,
    text_sha256: String,
    channel: &'static str,
    store: StoreId,
    witness: Option<StaffId>,
    granted_at: DateTime<Utc>,
    withdrawn_at: Option<DateTime<Utc>>,
    expires_at: Option<DateTime<Utc>>,
    includes_history: bool,
}

impl From<GrantRecord> for GrantBody {
    fn from(record: GrantRecord) -> Self {
        let grant = record.grant;
        Self {
            id: grant.id,
            member: grant.member,
            purpose: grant.purpose,
            text_version: grant.text_version,
            text_sha256: hex::encode(record.text_hash),
            channel: record.channel.code(),
            store: record.store,
            witness: record.witness,
            granted_at: grant.granted_at,
            withdrawn_at: grant.withdrawn_at,
            expires_at: grant.expires_at,
            includes_history: grant.includes_history,
        }
    }
}

#[derive(Serialize)]
pub(super) struct GrantList {
    grants: Vec<GrantBody>,
}

#[derive(Serialize)]
pub(super) struct WithdrawalBody {
    grants: u64,
    alerts_closed: u64,
    tasks_cancelled: u64,
    jobs_cancelled: u64,
    /// The version by which gateways learn of it.
    down_version: i64,
}

/// All grants of a member, the newest first.
pub(super) async fn list(
    State(state): State<AppState>,
    staff: Staff,
    PathId(member): PathId<Member>,
) -> Result<Json<GrantList>, Problem> {
    scope::member(&state, &staff, member).await?;
    let grants = state.store.grants(&staff.by(state.clock.now()), member).await?;
    Ok(Json(GrantList {
        grants: grants.into_iter().map(GrantBody::from).collect(),
    }))
}

/// Records a grant, from now on. There is no way to date one back: nobody consented before they were asked.
pub(super) async fn post(
    State(state): State<AppState>,
    StaffWrite(staff): StaffWrite,
    PathId(member): PathId<Member>,
    Body(request): Body<GrantRequest>,
) -> Result<(StatusCode, Json<GrantBody>), Problem> {
    scope::member(&state, &staff, member).await?;
    let now = state.clock.now();
    if request.text_version.is_empty() || request.text_version.chars().count() > MAX_NAME_CHARS {
        return Err(Problem::invalid(
            "bad_text",
            format!("text_version has 1 to {MAX_NAME_CHARS} characters."),
        ));
    }
    let mut text_hash = [0_u8; 32];
    hex::decode_to_slice(&request.text_sha256, &mut text_hash)
        .map_err(|_| Problem::invalid("bad_hash", "text_sha256 has 64 hex digits."))?;
    if request.expires_at.is_some_and(|end| end <= now) {
        return Err(Problem::invalid("in_the_past", "expires_at must lie in the future."));
    }
    let record = NewGrant {
        grant: Grant {
            id: minted(request.id, &state.entropy, now),
            member,
            purpose: request.purpose,
            text_version: request.text_version,
            granted_at: now,
            withdrawn_at: None,
            expires_at: request.expires_at,
            includes_history: request.includes_history,
        },
        text_hash,
        channel: request.channel,
        store: request.store.unwrap_or_else(|| staff.store()),
        witness: request.witness,
    };
    state.store.grant(&staff.by(now), &record).await?;
    Ok((StatusCode::CREATED, Json(record.into())))
}

/// Withdraws every open grant of one purpose. For `care_record` this closes alerts and cancels tasks in the same
/// transaction, and gateways learn of it within a second.
pub(super) async fn withdraw(
    State(state): State<AppState>,
    StaffWrite(staff): StaffWrite,
    PathId(member): PathId<Member>,
    Body(request): Body<WithdrawRequest>,
) -> Result<Json<WithdrawalBody>, Problem> {
    scope::member(&state, &staff, member).await?;
    if request
        .reason
        .as_ref()
        .is_some_and(|reason| reason.chars().count() > MAX_NOTE_CHARS)
    {
        return Err(Problem::invalid(
            "too_long",
            format!("reason has at most {MAX_NOTE_CHARS} characters."),
        ));
    }
    let mut by = staff.by(state.clock.now());
    by.reason = request.reason;
    let done = state.store.withdraw(&by, member, request.purpose).await?;
    Ok(Json(WithdrawalBody {
        grants: done.grants,
        alerts_closed: done.alerts_closed,
        tasks_cancelled: done.tasks_cancelled,
        jobs_cancelled: done.jobs_cancelled,
        down_version: done.down_version,
    }))
}
