//! Lets a browser in, behind the kiosk's guard: one address, and one form for each thing that staff can do.
//!
//! What is to be seen is always at `/staff`; a form answers with a redirect there, or draws at once what keeps it from being
//! taken.

use std::collections::HashMap;

use axum::Router;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use carepost_domain::id::MeterId;
use carepost_domain::meter::{Address, AddressType, MeterRole};
use serde::Deserialize;

use super::api;
use super::desk::{Entry, Staff};
use super::page::{self, Draft};
use super::register::{Hindrance, NamedOwner, OWNER_ROWS, Said};
use super::session::is_same;
use crate::kiosk::{Language, Problem, guard};
use crate::pairing::{Answer, Goal, Passkey, Request};

const STYLE: &str = include_str!("../../static/staff.css");
const SCRIPT: &str = include_str!("../../static/staff.js");
/// Cookie of a session. It ends with the browser, and with the session.
const COOKIE: &str = "carepost_staff";
/// Longest name of a meter that a form hands on.
const MAX_NAME_CHARS: usize = 100;

/// The staff page's routes, guarded.
pub(crate) fn routes(staff: Staff) -> Router {
    let router = Router::new()
        .route("/staff", get(screen))
        .route("/staff/enter", post(enter))
        .route("/staff/leave", post(leave))
        .route("/staff/language", post(language))
        .route("/staff/pair", post(pair))
        .route("/staff/passkey", post(passkey))
        .route("/staff/confirm", post(confirm))
        .route("/staff/give-up", post(give_up))
        .route("/staff/done", post(done))
        .route("/staff/register", post(register))
        .route("/staff/forget", get(forget))
        .route("/staff/forget-refused", post(forget_refused))
        .route(
            "/static/staff.css",
            get(|| async { ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLE) }),
        )
        .route(
            "/static/staff.js",
            get(|| async { ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], SCRIPT) }),
        )
        .route(api::PATH, get(api::look).post(api::act))
        .with_state(staff);
    guard(router)
}

/// The token of the session that the request belongs to.
fn cookie(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get_all(header::COOKIE).iter();
    cookies
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
        .map(str::to_owned)
}

fn set_cookie(token: &str) -> [(HeaderName, HeaderValue); 1] {
    let life = if token.is_empty() { "; Max-Age=0" } else { "" };
    let text = format!("{COOKIE}={token}; Path=/staff; HttpOnly; SameSite=Strict{life}");
    // Tokens are hex digits.
    let value = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""));
    [(header::SET_COOKIE, value)]
}

/// The form token of the session; `None` for somebody who is not in.
fn session(staff: &Staff, headers: &HeaderMap, by_person: bool) -> Option<String> {
    staff.session(&cookie(headers)?, by_person)
}

#[derive(Deserialize)]
struct Look {
    /// The page loads itself: nobody did anything.
    auto: Option<u8>,
}

async fn screen(State(staff): State<Staff>, headers: HeaderMap, look: Result<Query<Look>, QueryRejection>) -> Response {
    let by_person = look.is_ok_and(|Query(look)| look.auto.is_none());
    match session(&staff, &headers, by_person) {
        Some(token) => page::inside(&staff, &token, Draft::default()).await,
        None => page::door(&staff, None),
    }
}

type Fields = HashMap<String, String>;
type PostedForm = Result<Form<Fields>, FormRejection>;

/// The fields of a form that was drawn for this session.
fn posted(staff: &Staff, headers: &HeaderMap, form: PostedForm) -> Result<(String, Fields), Box<Response>> {
    let Ok(Form(fields)) = form else {
        return Err(Box::new(Problem::Form.answer(headers)));
    };
    let Some(token) = session(staff, headers, true) else {
        // The session ended meanwhile: the PIN again.
        return Err(Box::new(to_page()));
    };
    match fields.get("token") {
        Some(given) if is_same(given, &token) => Ok((token, fields)),
        _ => Err(Box::new(Problem::Stale.answer(headers))),
    }
}

fn to_page() -> Response {
    Redirect::to("/staff").into_response()
}

fn text<'f>(fields: &'f Fields, name: &str) -> &'f str {
    fields.get(name).map_or("", String::as_str)
}

async fn enter(State(staff): State<Staff>, headers: HeaderMap, form: PostedForm) -> Response {
    let Ok(Form(mut fields)) = form else {
        return Problem::Form.answer(&headers);
    };
    if !is_same(text(&fields, "token"), staff.door_token()) {
        return Problem::Stale.answer(&headers);
    }
    let pin = fields.remove("pin").unwrap_or_default();
    match staff.enter(pin).await {
        Entry::In(token) => (set_cookie(&token), to_page()).into_response(),
        refused => page::door(&staff, Some(&refused)),
    }
}

async fn leave(State(staff): State<Staff>, headers: HeaderMap, form: PostedForm) -> Response {
    if let Err(refused) = posted(&staff, &headers, form) {
        return *refused;
    }
    if let Some(token) = cookie(&headers) {
        staff.leave(&token);
    }
    (set_cookie(""), to_page()).into_response()
}

/// The language is the page's, not the person's: there is one screen.
async fn language(State(staff): State<Staff>, headers: HeaderMap, form: PostedForm) -> Response {
    let Ok(Form(fields)) = form else {
        return Problem::Form.answer(&headers);
    };
    let given = text(&fields, "token");
    let inside = session(&staff, &headers, true).is_some_and(|token| is_same(given, &token));
    if !inside && !is_same(given, staff.door_token()) {
        return Problem::Stale.answer(&headers);
    }
    match text(&fields, "language").parse::<Language>() {
        Ok(language) => {
            staff.set_language(language);
            to_page()
        }
        Err(_) => Problem::Form.answer(&headers),
    }
}

/// From the fields that name a meter.
fn request(fields: &Fields) -> Option<Request> {
    let adapter = text(fields, "adapter");
    if adapter.len() > 16 || !adapter.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    Some(Request {
        goal: text(fields, "goal").parse::<Goal>().ok()?,
        address: text(fields, "address").parse::<Address>().ok()?,
        address_type: text(fields, "address_type").parse::<AddressType>().ok()?,
        name: text(fields, "name")
            .chars()
            .filter(|c| !c.is_control())
            .take(MAX_NAME_CHARS)
            .collect(),
        adapter: adapter.to_owned(),
    })
}

async fn pair(State(staff): State<Staff>, headers: HeaderMap, form: PostedForm) -> Response {
    let (_, fields) = match posted(&staff, &headers, form) {
        Ok(posted) => posted,
        Err(refused) => return *refused,
    };
    let Some(request) = request(&fields) else {
        return Problem::Form.answer(&headers);
    };
    // While another pairing goes on, the page shows that one.
    staff.pairing().begin(request).await;
    to_page()
}

async fn passkey(State(staff): State<Staff>, headers: HeaderMap, form: PostedForm) -> Response {
    let (token, fields) = match posted(&staff, &headers, form) {
        Ok(posted) => posted,
        Err(refused) => return *refused,
    };
    match Passkey::parse(text(&fields, "passkey")) {
        Some(passkey) => {
            staff.pairing().answer(Answer::Passkey(passkey)).await;
            to_page()
        }
        None => {
            let draft = Draft {
                malformed: true,
                ..Draft::default()
            };
            let drawn = page::inside(&staff, &token, draft).await;
            (StatusCode::UNPROCESSABLE_ENTITY, drawn).into_response()
        }
    }
}

async fn confirm(State(staff): State<Staff>, headers: HeaderMap, form: PostedForm) -> Response {
    let (_, fields) = match posted(&staff, &headers, form) {
        Ok(posted) => posted,
        Err(refused) => return *refused,
    };
    let answer = match text(&fields, "answer") {
        "yes" => Answer::Yes,
        "no" => Answer::No,
        _ => return Problem::Form.answer(&headers),
    };
    staff.pairing().answer(answer).await;
    to_page()
}

async fn give_up(State(staff): State<Staff>, headers: HeaderMap, form: PostedForm) -> Response {
    if let Err(refused) = posted(&staff, &headers, form) {
        return *refused;
    }
    staff.pairing().give_up().await;
    to_page()
}

async fn done(State(staff): State<Staff>, headers: HeaderMap, form: PostedForm) -> Response {
    if let Err(refused) = posted(&staff, &headers, form) {
        return *refused;
    }
    staff.pairing().dismiss().await;
    to_page()
}

async fn register(State(staff): State<Staff>, headers: HeaderMap, form: PostedForm) -> Response {
    let (token, fields) = match posted(&staff, &headers, form) {
        Ok(posted) => posted,
        Err(refused) => return *refused,
    };
    let (Ok(role), Ok(address)) = (
        text(&fields, "role").parse::<MeterRole>(),
        text(&fields, "address").parse::<Address>(),
    ) else {
        return Problem::Form.answer(&headers);
    };
    let mut owners = Vec::new();
    for n in 0..OWNER_ROWS {
        let code = text(&fields, &format!("code{n}")).trim();
        if code.is_empty() {
            continue;
        }
        let slot = match text(&fields, &format!("slot{n}")) {
            "" => None,
            slot => match slot.parse::<u8>() {
                Ok(slot) => Some(slot),
                Err(_) => return Problem::Form.answer(&headers),
            },
        };
        owners.push(NamedOwner {
            code: code.to_owned(),
            slot,
        });
    }
    let only_ever = match text(&fields, "only_ever") {
        // Who was not asked, by an older page, is not sure.
        "" | "no" => false,
        "yes" => true,
        _ => return Problem::Form.answer(&headers),
    };
    let said = Said {
        address,
        role,
        owners,
        only_ever,
    };
    match staff.register(&said).await {
        Ok(_) => to_page(),
        Err(hindrance) => {
            let said = match hindrance {
                // What is drawn then is another meter's form: nothing that was said is offered for it.
                Hindrance::NoMeter => Said {
                    owners: Vec::new(),
                    only_ever: false,
                    ..said
                },
                _ => said,
            };
            let draft = Draft {
                refused: Some((hindrance, said)),
                ..Draft::default()
            };
            page::inside(&staff, &token, draft).await
        }
    }
}

async fn forget(State(staff): State<Staff>, headers: HeaderMap, Query(fields): Query<Fields>) -> Response {
    let Some(token) = session(&staff, &headers, true) else {
        return page::door(&staff, None);
    };
    let address = text(&fields, "address").parse::<Address>();
    let address_type = text(&fields, "address_type").parse::<AddressType>();
    match (address, address_type) {
        (Ok(address), Ok(address_type)) => page::forget(&staff, &token, address, address_type),
        _ => Problem::NotFound.answer(&headers),
    }
}

async fn forget_refused(State(staff): State<Staff>, headers: HeaderMap, form: PostedForm) -> Response {
    let (_, fields) = match posted(&staff, &headers, form) {
        Ok(posted) => posted,
        Err(refused) => return *refused,
    };
    let Ok(meter) = text(&fields, "meter").parse::<MeterId>() else {
        return Problem::Form.answer(&headers);
    };
    match staff.parts().spool.forget_refused_registration(meter).await {
        Ok(_) => to_page(),
        Err(error) => {
            tracing::error!(
                error = crate::admit::chain(&error),
                "a refused registration could not be forgotten"
            );
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
