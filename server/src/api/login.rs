//! `POST /login` and `POST /logout`.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse};
use carepost_daemon::SecretText;
use carepost_domain::id::{StaffId, StoreId};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::app::AppState;
use crate::auth::{StaffWrite, expired_cookie, log_in, log_out, token_of};

use super::Problem;
use super::input::Body;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Credentials {
    login: String,
    password: SecretText,
}

#[derive(Serialize)]
struct Welcome {
    csrf: String,
    staff: StaffId,
    name: String,
    role: &'static str,
    store: StoreId,
    expires_at: DateTime<Utc>,
}

/// Opens a session: sets the cookie, and answers with the CSRF token.
pub(super) async fn post(
    State(state): State<AppState>,
    Body(credentials): Body<Credentials>,
) -> Result<impl IntoResponse, Problem> {
    let welcome = log_in(&state, &credentials.login, &credentials.password).await?;
    let cookie = welcome.token.cookie(welcome.lasts_s, state.config.http.secure_cookies);
    let body = Welcome {
        csrf: welcome.csrf,
        staff: welcome.staff.id,
        name: welcome.staff.name,
        role: welcome.staff.role.code(),
        store: welcome.staff.store,
        expires_at: welcome.expires_at,
    };
    Ok((AppendHeaders([(header::SET_COOKIE, cookie)]), Json(body)))
}

/// Ends the session and takes the cookie away.
pub(super) async fn delete(
    State(state): State<AppState>,
    _staff: StaffWrite,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    if let Some(token) = token_of(&headers) {
        log_out(&state, &token).await?;
    }
    let cookie = expired_cookie(state.config.http.secure_cookies);
    Ok((StatusCode::NO_CONTENT, AppendHeaders([(header::SET_COOKIE, cookie)])))
}
