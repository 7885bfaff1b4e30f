//! The pharmacists' queue: `GET /queue`, its rows alone for live updates, and the events that announce a change.

pub(crate) mod events;
pub(crate) mod view;

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Html;
use carepost_store::limits::MAX_PAGE;
use serde::Deserialize;

use self::view::{Filter, MAX_FILTER_CHARS, NextStep, QueuePage, Scope, queue_page};
use super::failure::Failure;
use super::shell::{Shell, percent_encode};
use super::visitor::Colleague;
use crate::app::AppState;

#[derive(Template)]
#[template(path = "queue.html")]
struct Whole {
    s: Shell,
    page: QueuePage,
    query: String,
}

#[derive(Template)]
#[template(path = "queue_rows.html")]
struct Rows {
    s: Shell,
    page: QueuePage,
    query: String,
}

/// Where a form in a row comes back to: the row, under the same filter.
fn back(query: &str, row: &str) -> String {
    format!("/queue{query}#alert-{row}")
}

impl Whole {
    fn back(&self, row: &str) -> String {
        back(&self.query, row)
    }
}

impl Rows {
    fn back(&self, row: &str) -> String {
        back(&self.query, row)
    }
}

#[derive(Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    view: String,
    #[serde(default)]
    q: String,
}

impl Asked {
    fn filter(&self) -> Filter {
        Filter {
            scope: Scope::from_code(&self.view),
            words: self.q.chars().take(MAX_FILTER_CHARS).collect(),
        }
    }
}

/// The filter as an address says it again; empty for the plain queue.
fn query_of(filter: &Filter) -> String {
    match (filter.scope, filter.words.is_empty()) {
        (Scope::All, true) => String::new(),
        (scope, true) => format!("?view={}", scope.code()),
        (scope, false) => format!("?view={}&q={}", scope.code(), percent_encode(&filter.words)),
    }
}

/// The whole page.
pub(super) async fn get(
    State(state): State<AppState>,
    colleague: Colleague,
    Query(asked): Query<Asked>,
) -> Result<Html<String>, Failure> {
    let filter = asked.filter();
    let page = read(&state, &colleague, &filter).await?;
    let whole = Whole {
        s: colleague.shell(page.title.clone()),
        page,
        query: query_of(&filter),
    };
    Ok(Html(whole.render()?))
}

/// What changes, for the script.
pub(super) async fn rows(
    State(state): State<AppState>,
    colleague: Colleague,
    Query(asked): Query<Asked>,
) -> Result<Html<String>, Failure> {
    let filter = asked.filter();
    let page = read(&state, &colleague, &filter).await?;
    let rows = Rows {
        s: colleague.shell(page.title.clone()),
        page,
        query: query_of(&filter),
    };
    Ok(Html(rows.render()?))
}

async fn read(state: &AppState, colleague: &Colleague, filter: &Filter) -> Result<QueuePage, Failure> {
    let queue = state
        .store
        .queue(&colleague.by(), colleague.queue_store(), MAX_PAGE)
        .await?;
    Ok(queue_page(colleague.viewer(state), &queue, filter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_survives_the_way_through_an_address() {
        let asked = Asked {
            view: "mine".to_owned(),
            q: "王 a&b".to_owned(),
        };
        assert_eq!(query_of(&asked.filter()), "?view=mine&q=%E7%8E%8B%20a%26b");
        let plain = Asked {
            view: "nonsense".to_owned(),
            q: String::new(),
        };
        assert_eq!(query_of(&plain.filter()), "");
        let long = Asked {
            view: String::new(),
            q: "x".repeat(500),
        };
        assert_eq!(long.filter().words.len(), MAX_FILTER_CHARS);
    }
}
