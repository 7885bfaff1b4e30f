//! What a request that cannot be handled is told: a page for a person, a problem document for a program.

use askama::Template;
use axum::Json;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse as _, Response};
use serde::Serialize;

use super::text::Language;

/// Why a request cannot be handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// Not from this machine's own page.
    Forbidden,
    /// The form's token is not this program's.
    Stale,
    /// The form is incomplete, too long, or not a form.
    Form,
    /// There is no such page.
    NotFound,
    /// Too many pages follow the screen.
    Busy,
}

impl Problem {
    const fn status(self) -> StatusCode {
        match self {
            Self::Forbidden | Self::Stale => StatusCode::FORBIDDEN,
            Self::Form => StatusCode::UNPROCESSABLE_ENTITY,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    const fn code(self) -> &'static str {
        match self {
            Self::Forbidden => "forbidden",
            Self::Stale => "stale_form",
            Self::Form => "bad_form",
            Self::NotFound => "not_found",
            Self::Busy => "too_many_pages",
        }
    }

    fn detail(self, language: Language) -> String {
        match self {
            Self::Forbidden => language.text("problem-forbidden"),
            Self::Stale => language.text("problem-stale"),
            Self::Form => language.text("problem-form"),
            Self::NotFound => language.text("problem-not-found"),
            Self::Busy => language.text("problem-busy"),
        }
    }

    /// The answer, in the shape that the request asks for.
    #[must_use]
    pub fn answer(self, request: &HeaderMap) -> Response {
        let accept = request
            .get(header::ACCEPT)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        if accept.contains("text/html") {
            let parts = Language::ALL
                .iter()
                .map(|language| Part {
                    language: *language,
                    title: language.text("problem-title"),
                    detail: self.detail(*language),
                    home: language.text("problem-home"),
                })
                .collect();
            return (self.status(), page(&Page { parts })).into_response();
        }
        let document = Document {
            r#type: "about:blank",
            title: Language::En.text("problem-title"),
            status: self.status().as_u16(),
            code: self.code(),
            detail: self.detail(Language::En),
        };
        (
            self.status(),
            [(header::CONTENT_TYPE, "application/problem+json")],
            Json(document),
        )
            .into_response()
    }
}

/// The answer for paths that nobody serves; for the router's fallback.
pub async fn not_found(headers: HeaderMap) -> Response {
    Problem::NotFound.answer(&headers)
}

/// Draws a page. Templates of this crate only fail if their writer does, and a `String` does not.
pub(crate) fn page(template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => Html(html).into_response(),
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "a page could not be drawn");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// RFC 9457.
#[derive(Serialize)]
struct Document {
    r#type: &'static str,
    title: String,
    status: u16,
    code: &'static str,
    detail: String,
}

#[derive(Template)]
#[template(path = "kiosk/problem.html")]
struct Page {
    parts: Vec<Part>,
}

struct Part {
    language: Language,
    title: String,
    detail: String,
    home: String,
}
