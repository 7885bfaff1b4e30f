//! What handlers ask for: [`Staff`] to read, [`StaffWrite`] to write.

use axum::extract::FromRequestParts;
use axum::http::header::COOKIE as COOKIE_HEADER;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use carepost_domain::id::{StaffId, StoreId};
use carepost_store::StaffError;
use carepost_store::model::{By, Session, StaffRole};
use chrono::{DateTime, Utc};

use crate::api::Problem;
use crate::app::AppState;

use super::{COOKIE, CSRF_HEADER, Token, csrf_matches};

/// Somebody of the staff who is logged in. Rejects with 401.
#[derive(Clone, Debug)]
pub struct Staff(pub Session);

impl Staff {
    /// Who.
    #[must_use]
    pub fn id(&self) -> StaffId {
        self.0.staff.id
    }

    /// What they may do.
    #[must_use]
    pub fn role(&self) -> StaffRole {
        self.0.staff.role
    }

    /// Where they work.
    #[must_use]
    pub fn store(&self) -> StoreId {
        self.0.staff.store
    }

    /// As the author of what happens now.
    #[must_use]
    pub fn by(&self, now: DateTime<Utc>) -> By {
        By::staff(self.id(), now)
    }
}

/// As [`Staff`], and the request carries the session's CSRF token in `X-CSRF-Token`. Rejects with 403.
#[derive(Clone, Debug)]
pub struct StaffWrite(pub Staff);

/// The session token of a request's cookie.
#[must_use]
pub fn token_of(headers: &HeaderMap) -> Option<Token> {
    headers
        .get_all(COOKIE_HEADER)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE)
        .and_then(|(_, value)| Token::parse(value))
}

/// The session of a request, if it has an open one.
///
/// # Errors
/// When the store fails.
pub async fn current(state: &AppState, headers: &HeaderMap) -> Result<Option<Staff>, StaffError> {
    let Some(token) = token_of(headers) else {
        return Ok(None);
    };
    let session = state.store.session(token.hash(), state.clock.now()).await?;
    Ok(session.filter(|session| session.staff.disabled_at.is_none()).map(Staff))
}

impl FromRequestParts<AppState> for Staff {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        current(state, &parts.headers)
            .await
            .map_err(Problem::from)?
            .ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, "not_logged_in", "Log in first."))
    }
}

impl FromRequestParts<AppState> for StaffWrite {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let staff = Staff::from_request_parts(parts, state).await?;
        let given = parts
            .headers
            .get(CSRF_HEADER)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        if csrf_matches(&staff.0, given) {
            Ok(Self(staff))
        } else {
            Err(Problem::new(
                StatusCode::FORBIDDEN,
                "csrf",
                "Send the session's CSRF token in the X-CSRF-Token header.",
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use carepost_daemon::Entropy;

    use super::*;

    #[test]
    fn the_cookie_is_found_among_others() {
        let token = Token::draw(&Entropy::seeded(5));
        let mut headers = HeaderMap::new();
        assert_eq!(token_of(&headers), None);
        let value = format!("a=b; {COOKIE}={}; c", token.0);
        headers.insert(COOKIE_HEADER, HeaderValue::from_str(&value).unwrap());
        assert_eq!(token_of(&headers), Some(token));
        for bad in [
            "",
            COOKIE,
            "carepost_session=",
            "carepost_session=short",
            "xcarepost_session=1",
        ] {
            headers.insert(COOKIE_HEADER, HeaderValue::from_str(bad).unwrap());
            assert_eq!(token_of(&headers), None, "{bad}");
        }
    }
}
