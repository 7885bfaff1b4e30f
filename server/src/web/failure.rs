//! When there is no page to show: what went wrong, in words, with the request's id.

use askama::Template;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use carepost_store::{CareError, Disposition, Fault, FleetError, PeopleError, StaffError};

use super::catalogue::Texts;
use super::shell::{Shell, percent_encode};
use crate::telemetry::chain;

/// Why there is no page. Rendered by [`super::frame`], which knows the language and the request's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nobody is logged in; come back here afterwards.
    LoginNeeded {
        /// The address that was asked for.
        back: String,
    },
    /// Absent, or not for this reader: nobody learns which.
    NotFound,
    /// The reader's role sees no health data at all.
    NoHealthData,
    /// A form without the right token: it is old, or not from us.
    BadToken,
    /// A form that cannot be read.
    BadForm,
    /// The body is too large.
    TooLarge,
    /// The address does not know the method.
    BadMethod,
    /// The database is busy or away; try again.
    Unavailable,
    /// Our own fault.
    Internal,
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    s: Shell,
    heading: String,
    advice: String,
    back: &'static str,
    back_label: String,
    request_id: String,
}

impl Failure {
    /// The HTTP status.
    pub(crate) const fn status(&self) -> StatusCode {
        match self {
            Self::LoginNeeded { .. } => StatusCode::SEE_OTHER,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::NoHealthData | Self::BadToken => StatusCode::FORBIDDEN,
            Self::BadForm => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BadMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What a status from below the handlers means; `None` where there is a page.
    pub(crate) fn of_status(status: StatusCode) -> Option<Self> {
        match status {
            StatusCode::NOT_FOUND => Some(Self::NotFound),
            StatusCode::METHOD_NOT_ALLOWED => Some(Self::BadMethod),
            StatusCode::PAYLOAD_TOO_LARGE => Some(Self::TooLarge),
            StatusCode::SERVICE_UNAVAILABLE => Some(Self::Unavailable),
            _ if status.is_server_error() => Some(Self::Internal),
            _ if status.is_client_error() => Some(Self::BadForm),
            _ => None,
        }
    }

    /// Heading and advice by key.
    const fn keys(&self) -> (&'static str, &'static str) {
        match self {
            Self::LoginNeeded { .. } => ("error-login", "error-login-advice"),
            Self::NotFound => ("error-not-found", "error-not-found-advice"),
            Self::NoHealthData => ("error-role", "error-role-advice"),
            Self::BadToken => ("error-token", "error-token-advice"),
            Self::BadForm | Self::BadMethod => ("error-form", "error-form-advice"),
            Self::TooLarge => ("error-large", "error-large-advice"),
            Self::Unavailable => ("error-busy", "error-busy-advice"),
            Self::Internal => ("error-internal", "error-internal-advice"),
        }
    }

    /// The page.
    pub(crate) fn render(&self, texts: Texts, here: &str, request_id: &str) -> Response {
        if let Self::LoginNeeded { back } = self {
            return Redirect::to(&format!("/login?next={}", percent_encode(back))).into_response();
        }
        let (heading, advice) = self.keys();
        let (back, back_label) = match self {
            Self::NoHealthData => ("/login", texts.get("error-to-login")),
            _ => ("/queue", texts.get("error-to-queue")),
        };
        let page = ErrorPage {
            s: Shell::new(texts, texts.get(heading), here),
            heading: texts.get(heading),
            advice: texts.get(advice),
            back,
            back_label,
            request_id: request_id.to_owned(),
        };
        let mut response = match page.render() {
            Ok(html) => (self.status(), Html(html)).into_response(),
            Err(error) => {
                tracing::error!(error = chain(&error), "error page could not be rendered");
                self.status().into_response()
            }
        };
        if *self == Self::Unavailable {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        tracing::error!(error = chain(&fault), "store failed");
        match fault.disposition() {
            Disposition::Retry => Self::Unavailable,
            Disposition::Reject | Disposition::Park => Self::Internal,
        }
    }
}

impl From<CareError> for Failure {
    fn from(error: CareError) -> Self {
        match error {
            CareError::Fault(fault) => fault.into(),
            CareError::MemberHidden | CareError::AlertUnknown | CareError::TaskUnknown => Self::NotFound,
            CareError::Conflict { .. }
            | CareError::NotAllowed(_)
            | CareError::Alert(_)
            | CareError::Task(_)
            | CareError::TooLong { .. } => Self::BadForm,
            CareError::StaffUnknown(_) => Self::NoHealthData,
        }
    }
}

impl From<StaffError> for Failure {
    fn from(error: StaffError) -> Self {
        match error {
            StaffError::Fault(fault) => fault.into(),
            StaffError::StoreUnknown(_)
            | StaffError::StaffUnknown(_)
            | StaffError::LoginTaken
            | StaffError::BadLogin => Self::Internal,
        }
    }
}

impl From<FleetError> for Failure {
    fn from(error: FleetError) -> Self {
        match error {
            FleetError::Fault(fault) => fault.into(),
            other => {
                tracing::error!(error = chain(&other), "store of the staff member could not be read");
                Self::Internal
            }
        }
    }
}

impl From<PeopleError> for Failure {
    fn from(error: PeopleError) -> Self {
        match error {
            PeopleError::Fault(fault) => fault.into(),
            PeopleError::MemberUnknown(_) => Self::NotFound,
            other => {
                tracing::error!(error = chain(&other), "member could not be read");
                Self::Internal
            }
        }
    }
}

impl From<askama::Error> for Failure {
    fn from(error: askama::Error) -> Self {
        tracing::error!(error = chain(&error), "page could not be rendered");
        Self::Internal
    }
}
