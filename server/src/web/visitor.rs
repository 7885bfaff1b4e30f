//! Who asks for a page, and in which language.

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, FromRequest, FromRequestParts, Request};
use axum::http::header::COOKIE as COOKIE_HEADER;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use carepost_domain::id::{StaffId, StoreId};
use carepost_store::model::{By, StaffRole};
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::de::DeserializeOwned;

use super::catalogue::{Language, Texts};
use super::failure::Failure;
use super::queue::view::Viewer;
use super::shell::{Shell, User, local_address};
use crate::app::AppState;
use crate::auth::{self, csrf_matches, sees_health_data};

/// Cookie that keeps the chosen language.
pub(crate) const LANGUAGE_COOKIE: &str = "carepost_language";

/// The value of a cookie.
pub(crate) fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers
        .get_all(COOKIE_HEADER)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(found, _)| *found == name)
        .map(|(_, value)| value)
}

/// The language of a request: what was chosen, or Chinese.
pub(crate) fn texts_of(headers: &HeaderMap) -> Texts {
    Texts(
        cookie(headers, LANGUAGE_COOKIE)
            .and_then(Language::from_tag)
            .unwrap_or_default(),
    )
}

/// Somebody of the staff who may see health data, with what a page needs to know.
#[derive(Debug, Clone)]
pub(crate) struct Colleague {
    /// The login session.
    pub(crate) staff: auth::Staff,
    /// The language.
    pub(crate) texts: Texts,
    /// The address that was asked for.
    pub(crate) here: String,
    /// Now, once for the whole page.
    pub(crate) now: DateTime<Utc>,
    /// The own store's name.
    pub(crate) store_name: String,
    /// The own store's zone.
    pub(crate) zone: Tz,
}

impl Colleague {
    /// Who.
    pub(crate) fn id(&self) -> StaffId {
        self.staff.id()
    }

    /// As the author of what happens now.
    pub(crate) fn by(&self) -> By {
        self.staff.by(self.now)
    }

    /// The store to which the queue is narrowed: the own one for a pharmacist, none for a manager.
    pub(crate) fn queue_store(&self) -> Option<StoreId> {
        match self.staff.role() {
            StaffRole::Manager => None,
            StaffRole::Pharmacist | StaffRole::It => Some(self.staff.store()),
        }
    }

    /// Whether members of that store are this person's to work with.
    pub(crate) fn sees_store(&self, store: StoreId) -> bool {
        crate::api::scope::store_in_scope(&self.staff, store)
    }

    /// For the pure parts of a page.
    pub(crate) fn viewer<'a>(&self, state: &'a AppState) -> Viewer<'a> {
        Viewer {
            texts: self.texts,
            now: self.now,
            zone: self.zone,
            me: self.id(),
            rules: &state.rules,
        }
    }

    /// The frame of a page.
    pub(crate) fn shell(&self, title: String) -> Shell {
        Shell::new(self.texts, title, &self.here).with_user(User {
            name: self.staff.0.staff.name.clone(),
            store: self.store_name.clone(),
            csrf: self.staff.0.csrf.clone(),
        })
    }

    /// Refuses a form without the session's token.
    pub(crate) fn check_token(&self, given: &str) -> Result<(), Failure> {
        if csrf_matches(&self.staff.0, given) {
            Ok(())
        } else {
            Err(Failure::BadToken)
        }
    }
}

impl FromRequestParts<AppState> for Colleague {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Failure> {
        let here = parts
            .uri
            .path_and_query()
            .map_or("/queue", |path| path.as_str())
            .to_owned();
        let Some(staff) = auth::current(state, &parts.headers).await? else {
            // A form or a fragment is not a place to come back to.
            let back = if parts.method == axum::http::Method::GET && !here.starts_with("/queue/") {
                &here
            } else {
                "/queue"
            };
            return Err(Failure::LoginNeeded {
                back: local_address(back).to_owned(),
            });
        };
        if !sees_health_data(staff.role()) {
            return Err(Failure::NoHealthData);
        }
        let stores = state.store.stores().await?;
        let site = stores
            .into_iter()
            .find(|site| site.id == staff.store())
            .ok_or_else(|| {
                tracing::error!(staff.id = %staff.id(), "store of a staff member does not exist");
                Failure::Internal
            })?;
        Ok(Self {
            staff,
            texts: texts_of(&parts.headers),
            here,
            now: state.clock.now(),
            store_name: site.name,
            zone: site.zone,
        })
    }
}

/// A form, read or refused with a page.
#[derive(Debug)]
pub(crate) struct Fields<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<AppState> for Fields<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Failure> {
        match Form::<T>::from_request(request, state).await {
            Ok(Form(fields)) => Ok(Self(fields)),
            Err(rejection) => Err(refusal(&rejection)),
        }
    }
}

fn refusal(rejection: &FormRejection) -> Failure {
    match rejection {
        FormRejection::BytesRejection(bytes) if bytes.status() == StatusCode::PAYLOAD_TOO_LARGE => Failure::TooLarge,
        _ => Failure::BadForm,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_language_comes_from_its_cookie_and_is_chinese_otherwise() {
        let mut headers = HeaderMap::new();
        assert_eq!(texts_of(&headers).0, Language::Chinese);
        headers.insert(
            COOKIE_HEADER,
            HeaderValue::from_static("a=b; carepost_language=en; c=d"),
        );
        assert_eq!(texts_of(&headers).0, Language::English);
        headers.insert(
            COOKIE_HEADER,
            HeaderValue::from_static("carepost_language=xx; x_carepost_language=en"),
        );
        assert_eq!(texts_of(&headers).0, Language::Chinese);
    }
}
