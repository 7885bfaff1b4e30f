//! Around every request: an id, a log line, and problem documents for everything that failed.

use std::any::Any;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tracing::Instrument as _;

use crate::app::AppState;
use crate::telemetry::Metric;

use super::Problem;

/// Header that carries the request's id to the client.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The request's id, for pages that show it.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(pub(crate) String);

/// Gives the request an id, counts it, and renders its problem if it has one.
pub(crate) async fn wrap(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    let id = state.entropy.uuid_v7(state.clock.now()).to_string();
    request.extensions_mut().insert(RequestId(id.clone()));
    let is_api = request.uri().path().starts_with("/api/");
    let method = request.method().clone();
    // The pattern, not the path: ids in logs would tell who was looked at.
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("none", MatchedPath::as_str)
        .to_owned();
    let began = state.clock.monotonic();
    let span = tracing::info_span!("request", request.id = %id, http.method = %method, http.route = route);
    let response = next.run(request).instrument(span.clone()).await;

    let mut response = finish(response, &id, is_api);
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let status = response.status().as_u16();
    state.counters.count(Metric::HttpRequests);
    let duration_ms = u64::try_from(state.clock.monotonic().saturating_sub(began).as_millis()).unwrap_or(u64::MAX);
    let _in_span = span.enter();
    if response.status().is_server_error() {
        state.counters.count(Metric::HttpFailures);
        tracing::error!(http.status = status, duration_ms, "request failed");
    } else {
        tracing::debug!(http.status = status, duration_ms, "request answered");
    }
    response
}

fn finish(response: Response, id: &str, is_api: bool) -> Response {
    let status = response.status();
    let problem = match response.extensions().get::<Problem>() {
        Some(problem) => problem.clone(),
        None if is_api && (status.is_client_error() || status.is_server_error()) => Problem::of_status(status),
        None => return response,
    };
    let mut rendered = problem.render(id);
    // Such as `Allow`, or a cookie that is taken away.
    for (name, value) in response.headers() {
        if !rendered.headers().contains_key(name) && *name != axum::http::header::CONTENT_LENGTH {
            rendered.headers_mut().append(name, value.clone());
        }
    }
    rendered
}

/// What a handler that panicked is answered with.
pub(crate) fn panicked(payload: Box<dyn Any + Send + 'static>) -> Response {
    let what = payload
        .downcast_ref::<&'static str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    tracing::error!(panic = what, "request handler panicked");
    Problem::internal().into_response()
}
