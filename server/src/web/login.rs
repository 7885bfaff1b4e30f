//! `GET` and `POST /login`, `POST /logout`, `GET /language`.

use askama::Template;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{AppendHeaders, Html, IntoResponse, Redirect, Response};
use carepost_daemon::SecretText;
use serde::Deserialize;
use subtle::ConstantTimeEq as _;

use super::catalogue::{Language, Texts};
use super::failure::Failure;
use super::shell::{Shell, local_address};
use super::visitor::{Fields, LANGUAGE_COOKIE, cookie, texts_of};
use super::when;
use crate::app::AppState;
use crate::auth::{self, LoginError, PasswordError, csrf_matches, expired_cookie, log_in, log_out, token_of};
use crate::telemetry::chain;

/// Cookie that proves that a login form is ours; there is no session yet that could hold a token.
const FORM_COOKIE: &str = "carepost_form";
/// Random bytes in it.
const FORM_TOKEN_BYTES: usize = 16;
/// How long a login form may lie open, in seconds.
const FORM_LASTS_S: u32 = 3_600;
/// How long a choice of language is kept, in seconds: a year.
const LANGUAGE_LASTS_S: u32 = 31_536_000;

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage {
    s: Shell,
    problem: Option<String>,
    login: String,
    csrf: String,
    next: String,
}

#[derive(Deserialize)]
pub(super) struct LoginQuery {
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
pub(super) struct Credentials {
    #[serde(default)]
    login: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    csrf: String,
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
pub(super) struct Leave {
    #[serde(default)]
    csrf: String,
}

#[derive(Deserialize)]
pub(super) struct Choose {
    #[serde(default)]
    to: String,
    #[serde(default)]
    back: String,
}

/// The form; somebody who is logged in already goes to the queue.
pub(super) async fn get(
    State(state): State<AppState>,
    headers: HeaderMap,
    Query(query): Query<LoginQuery>,
) -> Result<Response, Failure> {
    let next = local_address(&query.next).to_owned();
    if let Some(staff) = auth::current(&state, &headers).await?
        && auth::sees_health_data(staff.role())
    {
        return Ok(Redirect::to(&next).into_response());
    }
    form(&state, texts_of(&headers), StatusCode::OK, None, String::new(), next)
}

/// Checks the credentials and opens a session.
pub(super) async fn post(
    State(state): State<AppState>,
    headers: HeaderMap,
    Fields(given): Fields<Credentials>,
) -> Result<Response, Failure> {
    let texts = texts_of(&headers);
    let next = local_address(&given.next).to_owned();
    let ours = cookie(&headers, FORM_COOKIE)
        .is_some_and(|token| !token.is_empty() && bool::from(token.as_bytes().ct_eq(given.csrf.as_bytes())));
    if !ours {
        let problem = Some(texts.get("login-form-old"));
        return form(&state, texts, StatusCode::FORBIDDEN, problem, given.login, next);
    }
    let password = SecretText::new(given.password);
    let (status, problem) = match log_in(&state, given.login.trim(), &password).await {
        Ok(welcome) => {
            let secure = state.config.http.secure_cookies;
            let session = welcome.token.cookie(welcome.lasts_s, secure);
            let cookies = AppendHeaders([
                (header::SET_COOKIE, session),
                (header::SET_COOKIE, form_cookie("", 0, secure)),
            ]);
            return Ok((cookies, Redirect::to(&next)).into_response());
        }
        Err(LoginError::Refused) => (StatusCode::UNAUTHORIZED, texts.get("login-refused")),
        Err(LoginError::TooManyFailures { retry_after_s }) => {
            let span = when::span(
                texts,
                chrono::TimeDelta::seconds(i64::try_from(retry_after_s).unwrap_or(i64::MAX / 1_000)),
            );
            (
                StatusCode::TOO_MANY_REQUESTS,
                texts.fill("login-throttled", &[("span", span.into())]),
            )
        }
        Err(LoginError::Busy | LoginError::Password(PasswordError::Busy)) => {
            (StatusCode::TOO_MANY_REQUESTS, texts.get("login-busy"))
        }
        Err(LoginError::Password(error)) => {
            tracing::error!(error = chain(&error), "password could not be checked");
            return Err(Failure::Internal);
        }
        Err(LoginError::Store(error)) => return Err(error.into()),
    };
    form(&state, texts, status, Some(problem), given.login, next)
}

/// Ends the session.
pub(super) async fn leave(
    State(state): State<AppState>,
    headers: HeaderMap,
    Fields(given): Fields<Leave>,
) -> Result<Response, Failure> {
    let Some(staff) = auth::current(&state, &headers).await? else {
        return Ok(Redirect::to("/login").into_response());
    };
    if !csrf_matches(&staff.0, &given.csrf) {
        return Err(Failure::BadToken);
    }
    if let Some(token) = token_of(&headers) {
        log_out(&state, &token).await?;
    }
    let cookie = expired_cookie(state.config.http.secure_cookies);
    Ok((AppendHeaders([(header::SET_COOKIE, cookie)]), Redirect::to("/login")).into_response())
}

/// Keeps the choice of a language and goes back.
pub(super) async fn language(State(state): State<AppState>, Query(choice): Query<Choose>) -> Result<Response, Failure> {
    let language = Language::from_tag(&choice.to).ok_or(Failure::NotFound)?;
    let secure = if state.config.http.secure_cookies {
        "; Secure"
    } else {
        ""
    };
    let cookie = format!(
        "{LANGUAGE_COOKIE}={}; Path=/; Max-Age={LANGUAGE_LASTS_S}; HttpOnly; SameSite=Lax{secure}",
        language.tag()
    );
    Ok((
        AppendHeaders([(header::SET_COOKIE, cookie)]),
        Redirect::to(local_address(&choice.back)),
    )
        .into_response())
}

fn form(
    state: &AppState,
    texts: Texts,
    status: StatusCode,
    problem: Option<String>,
    login: String,
    next: String,
) -> Result<Response, Failure> {
    let token = hex::encode(state.entropy.bytes::<FORM_TOKEN_BYTES>());
    let here = if next == "/queue" {
        "/login".to_owned()
    } else {
        format!("/login?next={}", super::shell::percent_encode(&next))
    };
    let page = LoginPage {
        s: Shell::new(texts, texts.get("login-title"), &here),
        problem,
        login,
        csrf: token.clone(),
        next,
    };
    let mut response = (status, Html(page.render()?)).into_response();
    let cookie = form_cookie(&token, FORM_LASTS_S, state.config.http.secure_cookies);
    if let Ok(value) = HeaderValue::from_str(&cookie) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    Ok(response)
}

fn form_cookie(token: &str, max_age_s: u32, secure: bool) -> String {
    let secure = if secure { "; Secure" } else { "" };
    format!("{FORM_COOKIE}={token}; Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Strict{secure}")
}
