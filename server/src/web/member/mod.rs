//! The member file: `GET /members/{id}`. Opening it is in the audit.

mod glucose;
mod others;
mod view;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::Html;
use carepost_domain::id::MemberId;
use serde::Deserialize;

use self::view::{Asked, MemberPage, member_page};
use super::failure::Failure;
use super::shell::Shell;
use super::visitor::Colleague;
use crate::app::AppState;

#[derive(Template)]
#[template(path = "member.html")]
struct Whole {
    s: Shell,
    page: MemberPage,
}

#[derive(Deserialize)]
pub(super) struct How {
    days: Option<String>,
    unit: Option<String>,
}

/// The page.
pub(super) async fn get(
    State(state): State<AppState>,
    colleague: Colleague,
    Path(id): Path<String>,
    Query(how): Query<How>,
) -> Result<Html<String>, Failure> {
    let id: MemberId = id.parse().map_err(|_no_id| Failure::NotFound)?;
    let asked = Asked::from_query(how.days.as_deref(), how.unit.as_deref());
    let file = state.store.member_file(&colleague.by(), id, asked.period()).await?;
    if !colleague.sees_store(file.record.member.home_store) {
        return Err(Failure::NotFound);
    }
    let names = file.staff_names.iter().cloned().collect();
    let page = member_page(colleague.viewer(&state), &file, &names, asked);
    let whole = Whole {
        s: colleague.shell(page.name.clone()),
        page,
    };
    Ok(Html(whole.render()?))
}
