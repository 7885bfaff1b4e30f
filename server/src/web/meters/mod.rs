//! The registered meters: `GET /meters`. For reading only; meters are paired at a gateway.

mod view;

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Html;
use carepost_domain::id::MeterId;
use carepost_store::PeopleError;
use serde::Deserialize;

use self::view::{MetersPage, meters_page};
use super::failure::Failure;
use super::shell::Shell;
use super::visitor::Colleague;
use crate::app::AppState;

/// Meters of one page.
const PAGE: u32 = 100;

#[derive(Template)]
#[template(path = "meters.html")]
struct Whole {
    s: Shell,
    page: MetersPage,
}

#[derive(Deserialize)]
pub(super) struct Asked {
    /// The last meter of the page before.
    after: Option<String>,
}

/// The page.
pub(super) async fn get(
    State(state): State<AppState>,
    colleague: Colleague,
    Query(asked): Query<Asked>,
) -> Result<Html<String>, Failure> {
    let after: Option<MeterId> = asked
        .after
        .as_deref()
        .map(str::parse)
        .transpose()
        .map_err(|_no_id| Failure::NotFound)?;
    let store = colleague.queue_store();
    let found = state
        .store
        .meters(store, after, PAGE, colleague.now)
        .await
        .map_err(|error| match error {
            PeopleError::MeterUnknown(_) => Failure::NotFound,
            other => other.into(),
        })?;
    // Only whoever sees several stores needs to be told which.
    let stores = match store {
        Some(_) => Vec::new(),
        None => state.store.stores().await?,
    };
    let page = meters_page(colleague.viewer(&state), &found, &stores, after.is_some());
    let whole = Whole {
        s: colleague.shell(colleague.texts.get("meters-title")),
        page,
    };
    Ok(Html(whole.render()?))
}
