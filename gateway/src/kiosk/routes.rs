//! Lets a browser in: one page, one event stream, one form for each thing that a person can do.
//!
//! The screen is always at `/`, so that the browser's history holds no earlier one. A form answers with a redirect there.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, State};
use axum::http::{HeaderMap, header};
use axum::response::sse::{Event as Sse, Sse as Stream};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use futures_util::StreamExt as _;
use serde::Deserialize;
use tokio_stream::wrappers::{IntervalStream, WatchStream};

use super::flow::{Event, Screen};
use super::guard::guard;
use super::page::draw;
use super::problem::Problem;
use super::shell::Kiosk;
use super::text::Language;

const STYLE: &str = include_str!("../../static/kiosk.css");
const SCRIPT: &str = include_str!("../../static/kiosk.js");
const ICON: &str = include_str!("../../static/icon.svg");
/// A page that has heard nothing for three of these covers what it shows.
const BEAT: Duration = Duration::from_secs(3);

/// The kiosk's routes, guarded.
pub fn routes(kiosk: Kiosk) -> Router {
    let router = Router::new()
        .route("/", get(screen))
        .route("/events", get(events))
        .route(
            "/static/kiosk.css",
            get(|| async { ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLE) }),
        )
        .route(
            "/static/kiosk.js",
            get(|| async { ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], SCRIPT) }),
        )
        .route(
            "/static/icon.svg",
            get(|| async { ([(header::CONTENT_TYPE, "image/svg+xml")], ICON) }),
        )
        .route("/begin", post(begin))
        .route("/identify", post(identify))
        .route("/consent", post(consent))
        .route("/ready", post(ready))
        .route("/finish", post(finish))
        .route("/longer", post(longer))
        .route("/back", post(back))
        .route("/end", post(end))
        .route("/language", post(language))
        .with_state(kiosk);
    guard(router)
}

async fn screen(State(kiosk): State<Kiosk>) -> Response {
    let result = matches!(kiosk.driver().await.flow.screen(), Screen::Result(_));
    let around = kiosk.around(result).await;
    let driver = kiosk.driver().await;
    draw(&driver.flow, kiosk.token(), &around)
}

/// Says which revision is to be seen, now and after every change, and beats in between.
async fn events(State(kiosk): State<Kiosk>, headers: HeaderMap) -> Response {
    let Ok(permit) = kiosk.followers().try_acquire_owned() else {
        return Problem::Busy.answer(&headers);
    };
    let revisions =
        WatchStream::new(kiosk.revisions()).map(|revision| Sse::default().event("revision").data(revision.to_string()));
    let beats = IntervalStream::new(tokio::time::interval(BEAT)).map(|_| Sse::default().event("beat").data(""));
    let stop = kiosk.stop();
    let stream = futures_util::stream::select(revisions, beats)
        .map(move |event| {
            // The permit lives as long as the stream.
            let _held = &permit;
            Ok::<_, Infallible>(event)
        })
        .take_until(async move { stop.cancelled().await });
    Stream::new(stream).into_response()
}

/// A form with its token and the revision for which it was drawn.
#[derive(Deserialize)]
struct Posted<T> {
    token: String,
    revision: u64,
    #[serde(flatten)]
    fields: T,
}

type PostedForm<T> = Result<Form<Posted<T>>, FormRejection>;

async fn post_event<T>(
    kiosk: &Kiosk,
    headers: &HeaderMap,
    form: PostedForm<T>,
    event: impl FnOnce(T) -> Option<Event>,
) -> Response {
    let Ok(Form(posted)) = form else {
        return Problem::Form.answer(headers);
    };
    if !is_same(posted.token.as_bytes(), kiosk.token().as_bytes()) {
        return Problem::Stale.answer(headers);
    }
    let Some(event) = event(posted.fields) else {
        return Problem::Form.answer(headers);
    };
    kiosk.apply_form(posted.revision, event).await;
    Redirect::to("/").into_response()
}

/// Compares without telling by its duration where two tokens differ.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

#[derive(Deserialize)]
struct Nothing {}

#[derive(Deserialize)]
struct BeginFields {
    r#as: String,
}

async fn begin(State(kiosk): State<Kiosk>, headers: HeaderMap, form: PostedForm<BeginFields>) -> Response {
    post_event(&kiosk, &headers, form, |fields| match fields.r#as.as_str() {
        "member" => Some(Event::ChooseMember),
        "anonymous" => Some(Event::ChooseAnonymous),
        _ => None,
    })
    .await
}

#[derive(Deserialize)]
struct CodeFields {
    code: String,
}

async fn identify(State(kiosk): State<Kiosk>, headers: HeaderMap, form: PostedForm<CodeFields>) -> Response {
    post_event(&kiosk, &headers, form, |fields| Some(Event::Code(fields.code))).await
}

#[derive(Deserialize)]
struct ConsentFields {
    choice: String,
}

async fn consent(State(kiosk): State<Kiosk>, headers: HeaderMap, form: PostedForm<ConsentFields>) -> Response {
    post_event(&kiosk, &headers, form, |fields| match fields.choice.as_str() {
        "granted" => Some(Event::Confirm),
        "sealed" => Some(Event::Seal),
        "nothing" => Some(Event::ChooseAnonymous),
        _ => None,
    })
    .await
}

#[derive(Deserialize)]
struct LanguageFields {
    language: Language,
}

async fn language(State(kiosk): State<Kiosk>, headers: HeaderMap, form: PostedForm<LanguageFields>) -> Response {
    post_event(&kiosk, &headers, form, |fields| Some(Event::Language(fields.language))).await
}

async fn ready(State(kiosk): State<Kiosk>, headers: HeaderMap, form: PostedForm<Nothing>) -> Response {
    post_event(&kiosk, &headers, form, |_| Some(Event::Ready)).await
}

async fn finish(State(kiosk): State<Kiosk>, headers: HeaderMap, form: PostedForm<Nothing>) -> Response {
    post_event(&kiosk, &headers, form, |_| Some(Event::Finish)).await
}

async fn longer(State(kiosk): State<Kiosk>, headers: HeaderMap, form: PostedForm<Nothing>) -> Response {
    post_event(&kiosk, &headers, form, |_| Some(Event::Longer)).await
}

async fn back(State(kiosk): State<Kiosk>, headers: HeaderMap, form: PostedForm<Nothing>) -> Response {
    post_event(&kiosk, &headers, form, |_| Some(Event::Back)).await
}

async fn end(State(kiosk): State<Kiosk>, headers: HeaderMap, form: PostedForm<Nothing>) -> Response {
    post_event(&kiosk, &headers, form, |_| Some(Event::End)).await
}
