//! The pages for staff: rendered on the server, in Chinese and English, usable without script.
//!
//! A handler reads from the store, a pure function beside it (`view`) turns rows into words and drawings, and an askama
//! template shows those. Texts come from the catalogue, drawings from `charts`. Every answer carries a strict content
//! security policy; personal pages are never cached.

mod alert;
mod assets;
pub(crate) mod catalogue;
mod charts;
mod consent;
mod failure;
mod legend;
mod login;
mod member;
mod meters;
mod queue;
mod readings;
#[cfg(test)]
mod sample;
mod shell;
mod target;
mod visitor;
mod when;
pub(crate) mod words;

use std::any::Any;
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::TimeoutLayer;

use self::failure::Failure;
use crate::api::RequestId;
use crate::app::AppState;

/// Longest that a page may take; the store gives up on its own before.
const PAGE_TIMEOUT: Duration = Duration::from_secs(15);

/// Only what comes from this server, no script or style in the page itself, no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Headers of every answer.
const HEADERS: [(HeaderName, HeaderValue); 5] = [
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    ),
];

/// All pages.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/", get(|| async { Redirect::to("/queue") }))
        .route("/login", get(login::get).post(login::post))
        .route("/logout", post(login::leave))
        .route("/language", get(login::language))
        .route("/queue", get(queue::get))
        .route("/queue/rows", get(queue::rows))
        .route("/alerts/{id}", get(alert::get))
        .route("/alerts/{id}/acknowledge", post(alert::acknowledge))
        .route("/tasks/{id}/take", post(alert::take))
        .route("/tasks/{id}/outcome", post(alert::outcome))
        .route("/members/{id}", get(member::get))
        .route("/meters", get(meters::get))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::SERVICE_UNAVAILABLE,
            PAGE_TIMEOUT,
        ))
        .route("/queue/events", get(queue::events::get))
        .route("/static/{file}", get(assets::get))
        .fallback(|| async { Failure::NotFound })
        .layer(Extension(queue::events::Streams::default()))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn(frame))
}

/// Renders what went wrong, and adds the headers.
async fn frame(request: Request, next: Next) -> Response {
    let texts = visitor::texts_of(request.headers());
    let here = request
        .uri()
        .path_and_query()
        .map_or("/queue", |path| path.as_str())
        .to_owned();
    let id = request
        .extensions()
        .get::<RequestId>()
        .map(|id| id.0.clone())
        .unwrap_or_default();
    let method = request.method().clone();
    let mut response = next.run(request).await;
    let is_page = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    let failure = match response.extensions_mut().remove::<Failure>() {
        Some(failure) => Some(failure),
        None if is_page => None,
        None => Failure::of_status(response.status()),
    };
    if let Some(failure) = failure {
        // A form's address cannot be opened, so a change of language from its error page leads to the queue.
        let here = if method == axum::http::Method::GET {
            here.as_str()
        } else {
            "/queue"
        };
        response = failure.render(texts, here, &id);
    }
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, value);
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

fn panicked(payload: Box<dyn Any + Send + 'static>) -> Response {
    let what = payload
        .downcast_ref::<&'static str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    tracing::error!(panic = what, "page handler panicked");
    Failure::Internal.into_response()
}
