//! Reading requests: every fault of the sender becomes a problem that says what to do.

use std::str::FromStr;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use carepost_domain::Id;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::app::AppState;

use super::Problem;

/// A JSON body. At most `http.max_body_bytes`; unknown fields are refused by the types themselves.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<AppState> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "not_json",
                "Send the body as application/json.",
            ));
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
            if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                let most = state.config.http.max_body_bytes;
                Problem::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "too_large",
                    format!("The body is larger than {most} bytes."),
                )
            } else {
                Problem::new(
                    StatusCode::BAD_REQUEST,
                    "bad_request",
                    "The body could not be read to its end.",
                )
            }
        })?;
        let body = serde_json::from_slice(&bytes).map_err(|error| match error.classify() {
            // The parser's words name the field and its place; they go to the sender only, never to a log.
            Category::Data => Problem::invalid("invalid_body", format!("The body does not fit: {error}.")),
            Category::Io | Category::Syntax | Category::Eof => Problem::new(
                StatusCode::BAD_REQUEST,
                "bad_json",
                format!("The body is not JSON: {error}."),
            ),
        })?;
        // The parser would take a list for a struct, field by field.
        if bytes.trim_ascii_start().first() == Some(&b'{') {
            Ok(Self(body))
        } else {
            Err(Problem::invalid("invalid_body", "The body must be a JSON object."))
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// The last id of a path. What is no id names nothing.
pub(crate) struct PathId<T>(pub(crate) Id<T>);

impl<T> FromRequestParts<AppState> for PathId<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::not_found())?;
        Id::from_str(&text).map(Self).map_err(|_| Problem::not_found())
    }
}

/// The query, with unknown parameters refused.
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<AppState> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        Query::<T>::from_request_parts(parts, state)
            .await
            .map(|Query(params)| Self(params))
            .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "bad_query", error.body_text()))
    }
}

/// Rows of a page: what was asked for, or `default`, and never more than the store gives.
pub(crate) fn page_size(asked: Option<u32>, default: u32) -> Result<u32, Problem> {
    let most = carepost_store::limits::MAX_PAGE;
    match asked {
        None => Ok(default),
        Some(rows) if (1..=most).contains(&rows) => Ok(rows),
        Some(_) => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "bad_query",
            format!("limit must be from 1 to {most}."),
        )),
    }
}
