//! One alert: `GET /alerts/{id}`, and the steps a person takes: acknowledge, take the task, record what came of it.

pub(crate) mod view;

use std::collections::BTreeSet;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use carepost_domain::Phi;
use carepost_domain::care::alert::AlertError;
use carepost_domain::care::task::{MAX_NOTE_CHARS, Outcome, OutcomeRecord, TaskError, TaskStatus};
use carepost_domain::id::{AlertId, StaffId, TaskId};
use carepost_domain::time::local_to_utc;
use carepost_store::CareError;
use carepost_store::model::{AlertFile, MemberFile};
use chrono::NaiveDateTime;
use chrono_tz::Tz;
use serde::Deserialize;

use self::view::{AlertPage, CHART_DAYS, Call, Names, alert_page, changes};
use super::failure::Failure;
use super::queue::view::{NextStep, Seen};
use super::shell::{Shell, local_address};
use super::visitor::{Colleague, Fields};
use crate::app::AppState;

/// Names that one page looks up; further people are "a colleague".
const MAX_NAMES: usize = 32;

#[derive(Template)]
#[template(path = "alert.html")]
struct Whole {
    s: Shell,
    page: AlertPage,
    /// What changed since the person looked; empty unless there was a conflict.
    changes: Vec<String>,
    /// What is wrong with the form that was sent.
    problem: Option<String>,
    /// The form as it was sent, so that nothing has to be typed twice.
    given: Given,
    here: String,
}

/// The outcome form as it was sent.
#[derive(Debug, Clone, Default)]
struct Given {
    outcome: String,
    note: String,
    next: String,
}

/// Fields of the small forms.
#[derive(Deserialize)]
pub(super) struct StepForm {
    #[serde(default)]
    csrf: String,
    version: u64,
    /// The alert of a task, to show it on a conflict.
    alert: Option<AlertId>,
    #[serde(default)]
    back: String,
    #[serde(default)]
    seen_severity: String,
    #[serde(default)]
    seen_acknowledged: bool,
    #[serde(default)]
    seen_owner: String,
}

impl StepForm {
    fn seen(&self) -> Seen {
        Seen {
            severity: self.seen_severity.clone(),
            acknowledged: self.seen_acknowledged,
            owner: self.seen_owner.clone(),
        }
    }
}

/// Fields of the outcome form.
#[derive(Deserialize)]
pub(super) struct OutcomeForm {
    #[serde(default)]
    csrf: String,
    version: u64,
    alert: AlertId,
    #[serde(default)]
    outcome: String,
    #[serde(default)]
    note: String,
    #[serde(default)]
    next: String,
    #[serde(default)]
    seen_severity: String,
    #[serde(default)]
    seen_acknowledged: bool,
    #[serde(default)]
    seen_owner: String,
}

/// What was read for one page.
struct Loaded {
    alert: AlertFile,
    file: MemberFile,
    names: Names,
}

/// The page.
pub(super) async fn get(
    State(state): State<AppState>,
    colleague: Colleague,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let loaded = load(&state, &colleague, parse(&id)?).await?;
    show(
        &state,
        &colleague,
        &loaded,
        StatusCode::OK,
        None,
        None,
        Given::default(),
    )
}

/// `POST /alerts/{id}/acknowledge`.
pub(super) async fn acknowledge(
    State(state): State<AppState>,
    colleague: Colleague,
    Path(id): Path<String>,
    Fields(form): Fields<StepForm>,
) -> Result<Response, Failure> {
    colleague.check_token(&form.csrf)?;
    let id = parse(&id)?;
    check_scope(&state, &colleague, id).await?;
    let done = state
        .store
        .acknowledge_alert(&colleague.by(), id, colleague.id(), form.version)
        .await
        .map(drop);
    after(&state, &colleague, id, done, &form).await
}

/// `POST /tasks/{id}/take`.
pub(super) async fn take(
    State(state): State<AppState>,
    colleague: Colleague,
    Path(id): Path<String>,
    Fields(form): Fields<StepForm>,
) -> Result<Response, Failure> {
    colleague.check_token(&form.csrf)?;
    let task: TaskId = parse(&id)?;
    let alert = alert_of(&state, &colleague, task, form.alert).await?;
    check_scope(&state, &colleague, alert).await?;
    let done = state
        .store
        .take_task(&colleague.by(), task, colleague.id(), form.version)
        .await
        .map(drop);
    after(&state, &colleague, alert, done, &form).await
}

/// `POST /tasks/{id}/outcome`.
pub(super) async fn outcome(
    State(state): State<AppState>,
    colleague: Colleague,
    Path(id): Path<String>,
    Fields(form): Fields<OutcomeForm>,
) -> Result<Response, Failure> {
    colleague.check_token(&form.csrf)?;
    let task: TaskId = parse(&id)?;
    let alert = alert_of(&state, &colleague, task, Some(form.alert)).await?;
    check_scope(&state, &colleague, alert).await?;
    let given = Given {
        outcome: form.outcome.clone(),
        note: form.note.clone(),
        next: form.next.clone(),
    };
    let texts = colleague.texts;
    let record = match read_outcome(&form, colleague.zone) {
        Ok(record) => record,
        Err(key) => {
            let loaded = load(&state, &colleague, alert).await?;
            let problem = Some(texts.get(key));
            return show(
                &state,
                &colleague,
                &loaded,
                StatusCode::UNPROCESSABLE_ENTITY,
                None,
                problem,
                given,
            );
        }
    };
    let by = colleague.by();
    let done = state
        .store
        .record_outcome(&by, task, colleague.id(), form.version, &record, &state.rules)
        .await;
    let problem = match done {
        Ok(_) => return Ok(Redirect::to(&format!("/alerts/{alert}")).into_response()),
        Err(
            CareError::Conflict { .. } | CareError::Task(TaskError::Stale { .. } | TaskError::NotTakenByYou { .. }),
        ) => {
            let loaded = load(&state, &colleague, alert).await?;
            let seen = Seen {
                severity: form.seen_severity,
                acknowledged: form.seen_acknowledged,
                owner: form.seen_owner,
            };
            return show(
                &state,
                &colleague,
                &loaded,
                StatusCode::CONFLICT,
                Some(seen),
                None,
                given,
            );
        }
        Err(CareError::Task(TaskError::DateNeeded { .. })) => texts.get("outcome-date-missing"),
        Err(CareError::Task(TaskError::NoteTooLong) | CareError::TooLong { .. }) => texts.get("outcome-note-long"),
        Err(CareError::NotAllowed(_) | CareError::Task(_) | CareError::Alert(_)) => texts.get("outcome-not-allowed"),
        Err(other) => return Err(other.into()),
    };
    let loaded = load(&state, &colleague, alert).await?;
    show(
        &state,
        &colleague,
        &loaded,
        StatusCode::UNPROCESSABLE_ENTITY,
        None,
        Some(problem),
        given,
    )
}

/// Reads the outcome form, or names the key of what is wrong with it. The next time is one of the store's clock.
fn read_outcome(form: &OutcomeForm, zone: Tz) -> Result<OutcomeRecord, &'static str> {
    let outcome: Outcome = form.outcome.parse().map_err(|_unknown| "outcome-missing")?;
    let note = form.note.trim();
    if note.chars().count() > MAX_NOTE_CHARS {
        return Err("outcome-note-long");
    }
    let next_at = match form.next.trim() {
        "" => None,
        text => {
            // Browsers leave seconds away; one without the field's support lets people type them.
            let local = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M")
                .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S"))
                .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M"));
            Some(local_to_utc(local.map_err(|_no_time| "outcome-bad-date")?, zone))
        }
    };
    if outcome.needs_date() && next_at.is_none() {
        return Err("outcome-date-missing");
    }
    let note = (!note.is_empty()).then(|| Phi::new(note.to_owned()));
    Ok(OutcomeRecord { outcome, note, next_at })
}

/// Goes back after a step, or shows what changed in between.
async fn after(
    state: &AppState,
    colleague: &Colleague,
    alert: AlertId,
    done: Result<(), CareError>,
    form: &StepForm,
) -> Result<Response, Failure> {
    match done {
        Ok(()) => Ok(Redirect::to(local_address(&form.back)).into_response()),
        // What was asked for is already so.
        Err(CareError::Alert(AlertError::AlreadyAcknowledged { .. })) => {
            Ok(Redirect::to(local_address(&form.back)).into_response())
        }
        Err(CareError::Conflict { .. } | CareError::NotAllowed(_) | CareError::Alert(_) | CareError::Task(_)) => {
            let loaded = load(state, colleague, alert).await?;
            show(
                state,
                colleague,
                &loaded,
                StatusCode::CONFLICT,
                Some(form.seen()),
                None,
                Given::default(),
            )
        }
        Err(other) => Err(other.into()),
    }
}

fn parse<T: std::str::FromStr>(id: &str) -> Result<T, Failure> {
    id.parse().map_err(|_no_id| Failure::NotFound)
}

/// The alert that a task belongs to. What the form says is only believed if the task says so too.
async fn alert_of(
    state: &AppState,
    colleague: &Colleague,
    task: TaskId,
    said: Option<AlertId>,
) -> Result<AlertId, Failure> {
    let task = state.store.task(&colleague.by(), task).await?;
    if said.is_some_and(|said| said != task.alert) {
        Err(Failure::NotFound)
    } else {
        Ok(task.alert)
    }
}

/// Refuses, as if it did not exist, an alert of a member of another store.
async fn check_scope(state: &AppState, colleague: &Colleague, id: AlertId) -> Result<(), Failure> {
    let file = state.store.alert(&colleague.by(), id).await?;
    let record = state.store.member(&colleague.by(), file.alert.member).await?;
    if colleague.sees_store(record.member.home_store) {
        Ok(())
    } else {
        Err(Failure::NotFound)
    }
}

async fn load(state: &AppState, colleague: &Colleague, id: AlertId) -> Result<Loaded, Failure> {
    let alert = state.store.alert(&colleague.by(), id).await?;
    let file = state
        .store
        .member_file(&colleague.by(), alert.alert.member, CHART_DAYS)
        .await?;
    if !colleague.sees_store(file.record.member.home_store) || !file.care_record {
        return Err(Failure::NotFound);
    }
    let workers = alert.tasks.iter().filter_map(|task| match task.status {
        TaskStatus::Taken { by, .. } | TaskStatus::Done { by, .. } => Some(by),
        TaskStatus::Open | TaskStatus::Cancelled { .. } => None,
    });
    let acknowledged = alert.alert.acknowledged.map(|ack| ack.by);
    let people: Vec<StaffId> = workers.chain(alert.alert.owner).chain(acknowledged).collect();
    let mut names: Names = file.staff_names.iter().cloned().collect();
    add_names(state, &mut names, people).await?;
    Ok(Loaded { alert, file, names })
}

/// Looks up names that the file does not mention, such as those of a closed alert.
async fn add_names(state: &AppState, names: &mut Names, people: Vec<StaffId>) -> Result<(), Failure> {
    let unknown: BTreeSet<StaffId> = people.into_iter().filter(|id| !names.contains_key(id)).collect();
    for id in unknown.into_iter().take(MAX_NAMES) {
        if let Some(staff) = state.store.staff(id).await? {
            names.insert(id, staff.name);
        }
    }
    Ok(())
}

fn show(
    state: &AppState,
    colleague: &Colleague,
    loaded: &Loaded,
    status: StatusCode,
    seen: Option<Seen>,
    problem: Option<String>,
    given: Given,
) -> Result<Response, Failure> {
    let viewer = colleague.viewer(state);
    let page = alert_page(viewer, &loaded.alert, &loaded.file, &loaded.names);
    let changes = seen.map(|seen| changes(viewer, &seen, &page)).unwrap_or_default();
    // After a form was refused the address is the form's own; a change of language must lead back to the page.
    let here = format!("/alerts/{}", page.id);
    let mut s = colleague.shell(format!("{} · {}", page.name, page.reason));
    s.here.clone_from(&here);
    let whole = Whole {
        s,
        page,
        changes,
        problem,
        given,
        here,
    };
    Ok((status, Html(whole.render()?)).into_response())
}
