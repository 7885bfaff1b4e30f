//! Errors of the API: problem documents (RFC 9457) with a stable `code`, a request id and no internals.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use carepost_domain::care::task::TaskError;
use carepost_store::{CareError, ConsentError, Disposition, Fault, FleetError, JobError, PeopleError, StaffError};
use serde::Serialize;

use crate::auth::{LoginError, PasswordError};
use crate::telemetry::chain;

/// What went wrong, as the client is told. The request id is added on the way out (`request`).
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    current_version: Option<u64>,
    retry_after_s: Option<u64>,
}

/// The document.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    current_version: Option<u64>,
}

impl Problem {
    /// A problem with a stable code and a sentence for the person who reads it.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            current_version: None,
            retry_after_s: None,
        }
    }

    /// Absent, or not for this reader: nobody learns which.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "There is nothing here, or nothing for you.",
        )
    }

    /// The reader's role does not allow it.
    #[must_use]
    pub fn forbidden(detail: &'static str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// The request was understood and makes no sense.
    pub(crate) fn invalid(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    pub(crate) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "Something went wrong here; it has been logged.",
        )
    }

    /// For a status that something below the handlers chose.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::NOT_FOUND => Self::not_found(),
            StatusCode::METHOD_NOT_ALLOWED => {
                Self::new(status, "method_not_allowed", "This address does not know the method.")
            }
            StatusCode::PAYLOAD_TOO_LARGE => Self::new(status, "too_large", "The body is too large."),
            StatusCode::SERVICE_UNAVAILABLE => {
                Self::new(status, "timeout", "It took too long; try again.").retry_after(1)
            }
            _ if status.is_server_error() => Self::internal(),
            _ => Self::new(status, "bad_request", "The request cannot be read."),
        }
    }

    pub(crate) const fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// The answer with this request's id.
    pub(crate) fn render(&self, request_id: &str) -> Response {
        let document = Document {
            kind: format!("urn:carepost:problem:{}", self.code),
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            code: self.code,
            detail: &self.detail,
            request_id,
            current_version: self.current_version,
        };
        // A struct of texts and numbers always serialises.
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        tracing::error!(error = chain(&fault), "store failed");
        match fault.disposition() {
            Disposition::Retry => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "store_unavailable",
                "The database does not answer; try again.",
            )
            .retry_after(1),
            Disposition::Reject | Disposition::Park => Self::internal(),
        }
    }
}

impl From<PeopleError> for Problem {
    fn from(error: PeopleError) -> Self {
        use PeopleError as E;
        let text = error.to_string();
        match error {
            E::Fault(fault) => fault.into(),
            E::MemberUnknown(_) | E::BindingUnknown(_) => Self::not_found(),
            E::StoreUnknown(_) => Self::invalid("store_unknown", text),
            E::BadText { .. } => Self::invalid("bad_text", text),
            E::MeterUnknown(_) => Self::invalid("meter_unknown", text),
            E::MeterShared(_) => Self::invalid("meter_shared", text),
            E::SlotMismatch { .. } => Self::invalid("slot_mismatch", text),
            E::MemberTaken => Self::conflict("member_taken", text),
            E::MeterDiffers(_) => Self::conflict("meter_differs", text),
            E::BindingOverlaps { .. } => Self::conflict("binding_overlaps", text),
            E::BindingEnd(_) => Self::conflict("binding_end", text),
        }
    }
}

impl From<ConsentError> for Problem {
    fn from(error: ConsentError) -> Self {
        use ConsentError as E;
        let text = error.to_string();
        match error {
            E::Fault(fault) => fault.into(),
            E::MemberUnknown(_) => Self::not_found(),
            E::StoreUnknown(_) => Self::invalid("store_unknown", text),
            E::WitnessUnknown(_) => Self::invalid("witness_unknown", text),
            E::BadGrant => Self::conflict("bad_grant", text),
            E::NothingToWithdraw(_) => Self::conflict("nothing_to_withdraw", text),
        }
    }
}

impl From<CareError> for Problem {
    fn from(error: CareError) -> Self {
        use CareError as E;
        let text = error.to_string();
        match error {
            E::Fault(fault) => fault.into(),
            E::MemberHidden | E::AlertUnknown | E::TaskUnknown => Self::not_found(),
            E::Conflict { current } => {
                let mut problem = Self::conflict("conflict", "Somebody else was faster; look again and decide again.");
                problem.current_version = Some(current);
                problem
            }
            E::NotAllowed(_) => Self::invalid("not_allowed", text),
            E::Task(TaskError::DateNeeded { .. }) => Self::invalid("date_needed", text),
            E::Task(TaskError::NoteTooLong) => Self::invalid("too_long", text),
            E::Alert(_) | E::Task(_) => Self::conflict("not_allowed", text),
            E::StaffUnknown(_) => Self::invalid("staff_unknown", text),
            E::TooLong { .. } => Self::invalid("too_long", text),
        }
    }
}

impl From<FleetError> for Problem {
    fn from(error: FleetError) -> Self {
        use FleetError as E;
        let text = error.to_string();
        match error {
            E::Fault(fault) => fault.into(),
            E::StoreUnknown(_) | E::GatewayUnknown(_) => Self::not_found(),
            E::StoreDiffers(_) | E::GatewayRevoked(_) | E::GatewayDiffers(_) => Self::conflict("conflict", text),
            E::BadEpoch => Self::invalid("bad_epoch", text),
        }
    }
}

impl From<StaffError> for Problem {
    fn from(error: StaffError) -> Self {
        use StaffError as E;
        let text = error.to_string();
        match error {
            E::Fault(fault) => fault.into(),
            E::StoreUnknown(_) => Self::invalid("store_unknown", text),
            E::StaffUnknown(_) => Self::not_found(),
            E::LoginTaken => Self::conflict("login_taken", text),
            E::BadLogin => Self::invalid("bad_login", text),
        }
    }
}

impl From<JobError> for Problem {
    fn from(error: JobError) -> Self {
        match error {
            JobError::Fault(fault) => fault.into(),
            JobError::LeaseLost => Self::conflict("conflict", error.to_string()),
        }
    }
}

impl From<LoginError> for Problem {
    fn from(error: LoginError) -> Self {
        let text = error.to_string();
        match error {
            LoginError::Refused => Self::new(StatusCode::UNAUTHORIZED, "login_refused", "Login or password is wrong."),
            LoginError::TooManyFailures { retry_after_s } => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_failures",
                "Too many failed logins of this name; wait before you try again.",
            )
            .retry_after(retry_after_s),
            LoginError::Busy | LoginError::Password(PasswordError::Busy) => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "busy",
                "Too many logins at a time; try again.",
            )
            .retry_after(1),
            LoginError::Password(error) => {
                tracing::error!(error = chain(&error), attempt = text, "login failed");
                Self::internal()
            }
            LoginError::Store(error) => error.into(),
        }
    }
}
