//! One alert as its page shows it. Pure.

use std::collections::BTreeMap;

use carepost_domain::care::alert::{Alert, Condition};
use carepost_domain::care::history::{Evidence, Profile};
use carepost_domain::care::rule::Rule;
use carepost_domain::care::task::{Outcome, Task, TaskStatus};
use carepost_domain::consent::Purpose;
use carepost_domain::id::StaffId;
use carepost_domain::people::masked_name;
use carepost_store::model::{AlertFile, MemberFile, QueueValue, SessionView, StoredReading};
use chrono::TimeDelta;

use crate::web::charts::{BpChart, bp_chart};
use crate::web::legend::{Legend, legend};
use crate::web::queue::view::{NextStep, Seen, Viewer, due_of, is_fresh, worker};
use crate::web::readings::{self, ReadingLine, SessionLines, Style};
use crate::web::when::{self, Due, When};
use crate::web::words::{self, GlucoseDisplay, SeverityWord};
use crate::web::{consent, target};

/// The chart's period.
pub(crate) const CHART_DAYS: TimeDelta = TimeDelta::days(30);

/// Evidence readings in one table.
const MAX_EVIDENCE: usize = 100;

/// Names of staff by id, for owners and acknowledgements.
pub(crate) type Names = BTreeMap<StaffId, String>;

/// The page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AlertPage {
    /// The alert's id.
    pub(crate) id: String,
    /// How grave.
    pub(crate) severity: SeverityWord,
    /// First character of the name and stars; the file has the name.
    pub(crate) name: String,
    /// Address of the member file.
    pub(crate) file: String,
    /// Sex and age.
    pub(crate) person: String,
    /// Conditions on file.
    pub(crate) conditions: Vec<String>,
    /// Drug classes on file.
    pub(crate) drugs: Vec<String>,
    /// The rule's id.
    pub(crate) rule: &'static str,
    /// The rule in words.
    pub(crate) reason: String,
    /// What qualifies the alert.
    pub(crate) marks: Vec<String>,
    /// The newest evidence in large: a session's mean, or a reading.
    pub(crate) headline: Option<Headline>,
    /// Rule set and version that decided.
    pub(crate) rule_set: String,
    /// Limits that applied, in words.
    pub(crate) limits: Vec<String>,
    /// Citation and sign-off of the rule.
    pub(crate) source: Source,
    /// When it opened.
    pub(crate) opened: When,
    /// Newest evidence.
    pub(crate) evidence_at: When,
    /// The newest evidence is recent enough for first aid.
    pub(crate) fresh: bool,
    /// Evidence readings of the worst rule, the newest first.
    pub(crate) evidence: Vec<ReadingLine>,
    /// Evidence readings of milder rules that share the alert, the newest first.
    pub(crate) earlier: Vec<ReadingLine>,
    /// Evidence that cannot be shown.
    pub(crate) missing: usize,
    /// Sessions of the worst rule's evidence, whose means were judged, the newest first.
    pub(crate) means: Vec<SessionLines>,
    /// Evidence symptoms, each with its time.
    pub(crate) symptoms: Vec<String>,
    /// The chart of pressures with its legend, where there are any.
    pub(crate) chart: Option<(String, Legend)>,
    /// Who acknowledged it and when.
    pub(crate) acknowledged: Option<String>,
    /// Why and when it ended.
    pub(crate) closed: Option<String>,
    /// Who works on it.
    pub(crate) owner: Option<String>,
    /// That is the viewer.
    pub(crate) is_mine: bool,
    /// The consent to telephone.
    pub(crate) call: Call,
    /// What to say and ask.
    pub(crate) steps: Vec<String>,
    /// Buttons that are open now.
    pub(crate) open_steps: Vec<NextStep>,
    /// The task to work on.
    pub(crate) task: Option<TaskLine>,
    /// Tasks that ended.
    pub(crate) past: Vec<String>,
    /// For conflicts.
    pub(crate) seen: Seen,
}

/// A value in large.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Headline {
    /// The number.
    pub(crate) main: String,
    /// Its unit.
    pub(crate) unit: &'static str,
}

/// Where a rule's numbers come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    /// Citation.
    pub(crate) citation: String,
    /// Sign-off and review date in words.
    pub(crate) sign_off: String,
}

/// Whether the member may be telephoned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    /// Consent holds; the number as people write it, and as a link wants it.
    Allowed {
        /// As on file.
        shown: String,
        /// For `tel:`.
        link: String,
    },
    /// Consent holds, and no number is on file.
    NoNumber,
    /// No consent: in person only.
    NotAllowed,
}

/// The open task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TaskLine {
    /// Its id.
    pub(crate) id: String,
    /// What is to be done.
    pub(crate) kind: String,
    /// When it is due.
    pub(crate) due: Due,
    /// Version that was looked at.
    pub(crate) version: u64,
    /// Attempts so far, in words; empty before the first.
    pub(crate) attempts: String,
    /// The viewer may record an outcome.
    pub(crate) may_record: bool,
    /// Outcomes to choose from.
    pub(crate) outcomes: Vec<OutcomeChoice>,
    /// Earliest time that can be given for the next contact, as the field wants it.
    pub(crate) earliest: String,
}

/// One outcome to choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OutcomeChoice {
    /// As the form sends it.
    pub(crate) code: &'static str,
    /// In words.
    pub(crate) label: String,
}

/// Builds the page.
pub(crate) fn alert_page(viewer: Viewer<'_>, file: &AlertFile, member_file: &MemberFile, names: &Names) -> AlertPage {
    let Viewer {
        texts,
        now,
        zone,
        me,
        rules,
    } = viewer;
    let style = Style {
        texts,
        now,
        zone,
        display: GlucoseDisplay::default(),
    };
    let alert = &file.alert;
    let member = &member_file.record.member;
    let live = file
        .tasks
        .iter()
        .filter(|task| task.is_live())
        .min_by_key(|task| due_of(task));
    let owner = worker(alert.owner, file.tasks.iter());
    let fresh = is_fresh(rules, alert.rule, alert.last_evidence_at, now);
    let deciding = deciding(file);
    let judged: Vec<SessionView> = file
        .sessions
        .iter()
        .filter(|session| {
            deciding
                .iter()
                .any(|stored| session.readings.contains(&stored.reading.id))
        })
        .cloned()
        .collect();
    let lines = |shown: &mut dyn Iterator<Item = &StoredReading>| -> Vec<ReadingLine> {
        shown
            .take(MAX_EVIDENCE)
            .map(|stored| readings::line(style, rules, stored))
            .collect()
    };
    let name_of = |id: StaffId| names.get(&id).cloned().unwrap_or_else(|| texts.get("owner-unknown"));
    AlertPage {
        id: alert.id.to_string(),
        severity: words::severity(texts, alert.severity),
        name: masked_name(member.name.expose()),
        file: format!("/members/{}", member.id),
        person: words::sex_and_age(texts, member.sex, member.birth_year, now, zone),
        conditions: words::conditions(texts, &member.conditions),
        drugs: words::drugs(texts, &member.drugs),
        rule: alert.rule.code(),
        reason: texts.code("rule", alert.rule.code()),
        marks: words::marks(texts, alert),
        headline: deciding.first().map(|stored| headline(style, stored, &file.sessions)),
        rule_set: format!("{} {}", alert.rule_set.id, alert.rule_set.version),
        limits: alert.limits.iter().map(|limit| words::limit(texts, limit)).collect(),
        source: source(viewer, alert.rule),
        opened: when::when(texts, alert.opened_at, now, zone),
        evidence_at: when::when(texts, alert.last_evidence_at, now, zone),
        fresh,
        missing: missing(file),
        evidence: lines(&mut deciding.iter().copied()),
        earlier: lines(&mut file.readings.iter().rev().filter(|stored| !deciding.contains(stored))),
        means: readings::sessions(style, rules, &judged, &file.readings),
        symptoms: file
            .symptoms
            .iter()
            .map(|record| {
                let at = when::absolute(texts, record.at, now, zone);
                format!("{at} · {}", words::symptom(texts, record.code))
            })
            .collect(),
        chart: chart(viewer, member_file),
        acknowledged: alert.acknowledged.map(|ack| {
            let at = when::absolute(texts, ack.at, now, zone);
            texts.fill(
                "alert-acknowledged-by",
                &[("name", name_of(ack.by).into()), ("time", at.into())],
            )
        }),
        closed: match alert.condition {
            Condition::Active => None,
            Condition::Closed { at, reason } => {
                let at = when::absolute(texts, at, now, zone);
                let why = texts.code("closed", reason.code());
                Some(texts.fill("alert-closed", &[("time", at.into()), ("why", why.into())]))
            }
        },
        owner: owner.map(name_of),
        is_mine: owner == Some(me),
        call: call(member_file),
        steps: words::call_steps(texts, alert.rule, alert.severity, fresh),
        open_steps: open_steps(alert, live),
        task: live.map(|task| task_line(viewer, task, member_file)),
        past: file.tasks.iter().filter_map(|task| past(viewer, task, names)).collect(),
        seen: Seen {
            severity: alert.severity.code().to_owned(),
            acknowledged: alert.acknowledged.is_some(),
            owner: owner.map(|id| id.to_string()).unwrap_or_default(),
        },
    }
}

/// Evidence of the worst rule, the newest first.
fn deciding(file: &AlertFile) -> Vec<&StoredReading> {
    let alert = &file.alert;
    let of_worst = |stored: &&StoredReading| {
        let evidence = alert.rules.get(&alert.rule).map(|rule| &rule.evidence);
        evidence.is_some_and(|evidence| evidence.contains(&Evidence::Reading(stored.reading.id)))
    };
    file.readings.iter().rev().filter(of_worst).collect()
}

fn headline(style: Style, stored: &StoredReading, sessions: &[SessionView]) -> Headline {
    let session = sessions
        .iter()
        .find(|session| session.readings.contains(&stored.reading.id))
        .cloned();
    let word = words::value(
        &QueueValue {
            reading: stored.clone(),
            session,
        },
        style.display,
    );
    Headline {
        main: word.main,
        unit: word.unit,
    }
}

/// Evidence that the alert names and the page does not have, for example because consent has changed since.
fn missing(file: &AlertFile) -> usize {
    file.alert
        .evidence()
        .len()
        .saturating_sub(file.readings.len() + file.symptoms.len())
}

/// What changed between what a person saw and what is, in words.
pub(crate) fn changes(viewer: Viewer<'_>, seen: &Seen, page: &AlertPage) -> Vec<String> {
    let texts = viewer.texts;
    let mut changes = Vec::new();
    if seen.severity != page.seen.severity {
        let from = texts.code("severity", &seen.severity);
        let to = page.severity.label.clone();
        changes.push(texts.fill("conflict-severity", &[("from", from.into()), ("to", to.into())]));
    }
    match (seen.acknowledged, &page.acknowledged) {
        (false, Some(by)) => changes.push(by.clone()),
        (true, None) => changes.push(texts.get("conflict-reopened")),
        _ => {}
    }
    if seen.owner != page.seen.owner {
        changes.push(match &page.owner {
            Some(_) if page.is_mine => texts.get("conflict-owner-me"),
            Some(name) => texts.fill("conflict-owner", &[("name", name.clone().into())]),
            None => texts.get("conflict-owner-none"),
        });
    }
    if let Some(closed) = &page.closed {
        changes.push(closed.clone());
    }
    if changes.is_empty() {
        changes.push(texts.get("conflict-evidence"));
    }
    changes
}

fn source(viewer: Viewer<'_>, rule: Rule) -> Source {
    let provenance = &viewer.rules.common(rule).provenance;
    let reviewed = provenance.reviewed.to_string();
    Source {
        citation: provenance.source.clone(),
        sign_off: viewer.texts.fill(
            "rule-sign-off",
            &[("state", provenance.sign_off.clone().into()), ("date", reviewed.into())],
        ),
    }
}

fn chart(viewer: Viewer<'_>, file: &MemberFile) -> Option<(String, Legend)> {
    let points = readings::chart_points(&file.sessions, &file.pressures);
    if points.is_empty() {
        return None;
    }
    let band = target::pressure(viewer.rules, &Profile::from(&file.record.member), viewer.now);
    let svg = bp_chart(&BpChart {
        points: &points,
        from: viewer.now - CHART_DAYS,
        to: viewer.now,
        zone: viewer.zone,
        band,
        texts: viewer.texts,
    });
    Some((svg, legend(viewer.texts, &points, band)))
}

fn call(file: &MemberFile) -> Call {
    match &file.record.member.phone {
        _ if !file.may_call => Call::NotAllowed,
        None => Call::NoNumber,
        Some(phone) => {
            let shown = phone.expose().clone();
            let link = shown.chars().filter(|c| c.is_ascii_digit() || *c == '+').collect();
            Call::Allowed { shown, link }
        }
    }
}

fn open_steps(alert: &Alert, task: Option<&Task>) -> Vec<NextStep> {
    let mut steps = Vec::new();
    if let Some(task) = task.filter(|task| task.status == TaskStatus::Open) {
        steps.push(NextStep::Take {
            post: format!("/tasks/{}/take", task.id),
            version: task.version,
        });
    }
    if alert.is_active() && alert.acknowledged.is_none() {
        steps.push(NextStep::Acknowledge {
            post: format!("/alerts/{}/acknowledge", alert.id),
            version: alert.version,
        });
    }
    steps
}

fn task_line(viewer: Viewer<'_>, task: &Task, file: &MemberFile) -> TaskLine {
    let texts = viewer.texts;
    // Family may be spoken to only where the member allowed it.
    let family = consent::holds(&file.grants, Purpose::FamilyContact, viewer.now);
    TaskLine {
        id: task.id.to_string(),
        kind: texts.code("task-kind", task.kind.code()),
        due: when::due(texts, due_of(task), viewer.now, viewer.zone),
        version: task.version,
        attempts: if task.unreachable {
            texts.fill("task-unreachable", &[("n", task.attempts.into())])
        } else if task.attempts > 0 {
            texts.fill("task-attempts", &[("n", task.attempts.into())])
        } else {
            String::new()
        },
        may_record: matches!(task.status, TaskStatus::Taken { by, .. } if by == viewer.me),
        outcomes: Outcome::ALL
            .iter()
            .filter(|outcome| family || **outcome != Outcome::SpokeToFamily)
            .map(|outcome| OutcomeChoice {
                code: outcome.code(),
                label: texts.code("outcome", outcome.code()),
            })
            .collect(),
        earliest: viewer
            .now
            .with_timezone(&viewer.zone)
            .format("%Y-%m-%dT%H:%M")
            .to_string(),
    }
}

/// A task that ended, in one line.
fn past(viewer: Viewer<'_>, task: &Task, names: &Names) -> Option<String> {
    let texts = viewer.texts;
    let words = |at| when::absolute(texts, at, viewer.now, viewer.zone);
    let (at, what, who) = match task.status {
        TaskStatus::Open | TaskStatus::Taken { .. } => return None,
        TaskStatus::Done { by, at, outcome } => (at, texts.code("outcome", outcome.code()), names.get(&by).cloned()),
        TaskStatus::Cancelled { at, reason } => (at, texts.code("cancelled", reason.code()), None),
    };
    let mut line = format!("{} · {} · {what}", words(at), texts.code("task-kind", task.kind.code()));
    let note = task.note.as_ref().map(|note| note.expose().clone());
    for more in [who, note].into_iter().flatten() {
        line.push_str(" · ");
        line.push_str(&more);
    }
    Some(line)
}

#[cfg(test)]
mod tests;
