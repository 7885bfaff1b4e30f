//! The JSON API under `/api/v1`. One file per group of endpoints, with the shapes of its bodies.
//!
//! | endpoint | does | for |
//! |---|---|---|
//! | `POST /login` `{login, password}` | sets the session cookie, answers `{csrf, staff, name, role, store, expires_at}` | everybody |
//! | `POST /logout` | ends the session | staff |
//! | `POST /members`, `GET /members/{id}` | adds and shows a member | pharmacist, manager |
//! | `GET`, `POST /members/{id}/grants` | shows and records consent | pharmacist, manager |
//! | `POST /members/{id}/grants/withdraw` `{purpose, reason?}` | withdraws every open grant of a purpose | pharmacist, manager |
//! | `POST /members/{id}/symptoms` `{codes, source, at?}` | records symptoms and judges them | pharmacist, manager |
//! | `GET /members/{id}/readings?cursor&limit` | readings with provenance, the newest first | pharmacist, manager |
//! | `GET /members/{id}/sessions?since&limit` | sittings with their means, the newest first | pharmacist, manager |
//! | `GET /meters?store&cursor&limit` | meters with what they say of themselves, their model's entry, and when they were last seen | staff |
//! | `POST /meters`, `POST /bindings`, `POST /bindings/{id}/end` | registers and binds meters | pharmacist, manager |
//! | `GET /alerts?which&store&limit`, `GET /alerts/{id}` | alerts, and one with its evidence | pharmacist, manager |
//! | `POST /alerts/{id}/acknowledge` `{version}` | takes notice | pharmacist, manager |
//! | `GET /tasks?store&member&closed_too&limit`, `GET /tasks/{id}` | tasks | pharmacist, manager |
//! | `POST /tasks/{id}/take` `{version}` | makes it one's own | pharmacist, manager |
//! | `POST /tasks/{id}/outcome` `{version, outcome, note?, next_at?}` | records what came of it | pharmacist, manager |
//! | `GET /gateways`, `GET /counts` | machines and numbers | manager, it |
//! | `GET /healthz`, `GET /readyz` (at the root) | the process answers, and can do its work | everybody |
//!
//! Reading needs a login ([`crate::auth::Staff`]), writing also its CSRF token in `X-CSRF-Token`
//! ([`crate::auth::StaffWrite`]). A pharmacist sees the members of the own store, a manager those of all (`scope`).
//! Bodies are bounded and refuse unknown fields; errors are problem documents with a stable `code` (`problem`). Rows that
//! carry a `version` are changed only under the version that was looked at, otherwise 409 `conflict`. A new member,
//! binding or grant may bring its own `id` (a UUIDv7), so that a request that is sent twice makes one row.

mod alerts;
mod bindings;
mod gateways;
mod grants;
mod health;
mod input;
mod login;
mod members;
mod meters;
mod problem;
mod readings;
mod request;
pub(crate) mod scope;
mod sessions;
mod symptoms;
mod tasks;

pub use self::problem::Problem;
pub(crate) use self::request::RequestId;

use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use carepost_daemon::Entropy;
use carepost_domain::Id;
use chrono::{DateTime, Utc};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::TimeoutLayer;

use crate::app::AppState;

/// All endpoints, and `pages` beside them, behind request ids, limits and problem documents.
pub(crate) fn router(state: &AppState, pages: Router<AppState>) -> Router {
    let timeout = Duration::from_millis(state.config.http.request_timeout_ms);
    let api = Router::new()
        .route("/login", post(login::post))
        .route("/logout", post(login::delete))
        .route("/members", post(members::post))
        .route("/members/{id}", get(members::get))
        .route("/members/{id}/grants", get(grants::list).post(grants::post))
        .route("/members/{id}/grants/withdraw", post(grants::withdraw))
        .route("/members/{id}/symptoms", post(symptoms::post))
        .route("/members/{id}/readings", get(readings::list))
        .route("/members/{id}/sessions", get(sessions::list))
        .route("/meters", get(meters::list).post(meters::post))
        .route("/bindings", post(bindings::post))
        .route("/bindings/{id}/end", post(bindings::end))
        .route("/alerts", get(alerts::list))
        .route("/alerts/{id}", get(alerts::get))
        .route("/alerts/{id}/acknowledge", post(alerts::acknowledge))
        .route("/tasks", get(tasks::list))
        .route("/tasks/{id}", get(tasks::get))
        .route("/tasks/{id}/take", post(tasks::take))
        .route("/tasks/{id}/outcome", post(tasks::outcome))
        .route("/gateways", get(gateways::list))
        .route("/counts", get(health::counts));
    Router::new()
        .nest("/api/v1", api)
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, timeout))
        .merge(pages)
        .layer(CatchPanicLayer::custom(request::panicked))
        .layer(DefaultBodyLimit::max(state.config.http.max_body_bytes))
        .layer(from_fn_with_state(state.clone(), request::wrap))
        .with_state(state.clone())
}

/// The id that a new row brings, or a new one.
fn minted<T>(given: Option<Id<T>>, entropy: &Entropy, now: DateTime<Utc>) -> Id<T> {
    given.unwrap_or_else(|| Id::mint(now, entropy.bytes::<10>()))
}
