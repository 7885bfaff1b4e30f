//! The queue as its template shows it. Pure: rows in, words and drawings out.

use carepost_domain::care::rule::{Rule, Severity};
use carepost_domain::care::rule_set::RuleSet;
use carepost_domain::care::task::{Task, TaskStatus};
use carepost_domain::id::StaffId;
use carepost_domain::reading::Measurement;
use carepost_domain::units::GlucoseLevel;
use carepost_store::model::{Queue, QueueRow, TREND_DAYS, TrendPoint, TrendValue};
use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;

use crate::web::catalogue::Texts;
use crate::web::charts::{SparkBand, SparkPoint, Sparkline, sparkline};
use crate::web::target;
use crate::web::when::{self, Due, When};
use crate::web::words::{self, GlucoseDisplay, SeverityWord, ValueWord};

/// The axis of pressures, in mmHg: narrower than the large chart's, so that a trend shows in a small height. What lies
/// outside stands at the edge.
const SPARK_MMHG: (i64, i64) = (50, 200);
/// The axis of glucose in thousandths of a mmol/L: up to HI of common meters is not needed to see a trend.
const SPARK_MILLI_MMOL: (i64, i64) = (0, 20_000);
/// Characters of the filter text.
pub(crate) const MAX_FILTER_CHARS: usize = 64;

/// Which rows are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Scope {
    /// Every row.
    #[default]
    All,
    /// Rows that the viewer works on.
    Mine,
    /// Rows that nobody works on.
    Unassigned,
}

impl Scope {
    /// As the address spells it.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Mine => "mine",
            Self::Unassigned => "unassigned",
        }
    }

    /// From the address; anything unknown is everything, so that no alert hides behind a typing error.
    pub(crate) fn from_code(code: &str) -> Self {
        match code {
            "mine" => Self::Mine,
            "unassigned" => Self::Unassigned,
            _ => Self::All,
        }
    }
}

/// Who looks, when and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Viewer<'a> {
    /// The language.
    pub(crate) texts: Texts,
    /// Now.
    pub(crate) now: DateTime<Utc>,
    /// The store's zone.
    pub(crate) zone: Tz,
    /// The person who looks.
    pub(crate) me: StaffId,
    /// For targets and freshness.
    pub(crate) rules: &'a RuleSet,
}

/// The filter that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Filter {
    /// Whose rows.
    pub(crate) scope: Scope,
    /// Words that a row must contain; empty for all.
    pub(crate) words: String,
}

/// The whole page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QueuePage {
    /// Severities that are there, worst first.
    pub(crate) sections: Vec<Section>,
    /// Scopes with their counts.
    pub(crate) scopes: Vec<ScopeLink>,
    /// Rows shown.
    pub(crate) shown: usize,
    /// All rows that wait.
    pub(crate) waiting: usize,
    /// How many of them are emergency or critical; for the window's title.
    pub(crate) urgent: usize,
    /// The store has more rows than a page.
    pub(crate) more: bool,
    /// The window's title.
    pub(crate) title: String,
    /// What a screen reader hears on a change.
    pub(crate) announcement: String,
    /// The filter text, given back.
    pub(crate) words: String,
    /// The scope, given back.
    pub(crate) scope: &'static str,
    /// The change counter that this page shows.
    pub(crate) version: i64,
}

/// Rows of one severity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Section {
    /// The severity.
    pub(crate) severity: SeverityWord,
    /// Its rows.
    pub(crate) rows: Vec<RowView>,
}

/// One scope to choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ScopeLink {
    /// As the address spells it.
    pub(crate) code: &'static str,
    /// In words.
    pub(crate) label: String,
    /// Rows in it.
    pub(crate) count: usize,
    /// It is the one shown.
    pub(crate) current: bool,
}

/// What a person can do next with a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NextStep {
    /// Take the task.
    Take {
        /// Address that the form posts to.
        post: String,
        /// Version that was looked at.
        version: u64,
    },
    /// Acknowledge the alert.
    Acknowledge {
        /// Address that the form posts to.
        post: String,
        /// Version that was looked at.
        version: u64,
    },
    /// Record what came of it.
    Outcome,
    /// Look at it; somebody else works on it.
    Open,
}

/// What the viewer saw before acting, so that a conflict can say what changed since.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Seen {
    /// Severity code.
    pub(crate) severity: String,
    /// Somebody had acknowledged it.
    pub(crate) acknowledged: bool,
    /// Owner's id, empty without one.
    pub(crate) owner: String,
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RowView {
    /// The alert's id.
    pub(crate) id: String,
    /// How grave.
    pub(crate) severity: SeverityWord,
    /// First character of the name and stars.
    pub(crate) name: String,
    /// Sex and age.
    pub(crate) person: String,
    /// Conditions on file.
    pub(crate) conditions: Vec<String>,
    /// The value behind it; none for symptoms alone.
    pub(crate) value: Option<ValueWord>,
    /// "mean of 2", for a mean.
    pub(crate) mean_of: Option<String>,
    /// Meal slot of a glucose value.
    pub(crate) slot: Option<String>,
    /// What qualifies the alert.
    pub(crate) marks: Vec<String>,
    /// Home or store, where known.
    pub(crate) place: Option<String>,
    /// When it was measured.
    pub(crate) measured: Option<When>,
    /// "arrived 3 h late".
    pub(crate) late: Option<String>,
    /// The last 30 days as SVG; empty for symptoms.
    pub(crate) spark: String,
    /// The rule's id.
    pub(crate) rule: &'static str,
    /// The rule in words.
    pub(crate) reason: String,
    /// Name of who works on it.
    pub(crate) owner: Option<String>,
    /// That is the viewer.
    pub(crate) is_mine: bool,
    /// Acknowledged, with the time.
    pub(crate) acknowledged: Option<String>,
    /// When the task is due.
    pub(crate) due: Option<Due>,
    /// The member may be telephoned.
    pub(crate) may_call: bool,
    /// The main button.
    pub(crate) next: NextStep,
    /// The other button, where both steps are open.
    pub(crate) also: Option<NextStep>,
    /// For conflicts.
    pub(crate) seen: Seen,
}

impl RowView {
    /// First character of the owner's name, for the mark.
    pub(crate) fn initial(&self) -> String {
        self.owner
            .as_deref()
            .and_then(|name| name.chars().next())
            .map(String::from)
            .unwrap_or_default()
    }
}

/// Builds the page.
pub(crate) fn queue_page(viewer: Viewer<'_>, queue: &Queue, filter: &Filter) -> QueuePage {
    let texts = viewer.texts;
    let rows: Vec<(Severity, RowView)> = queue.rows.iter().map(|r| (r.alert.severity, row(viewer, r))).collect();
    let in_scope = |scope: Scope, row: &RowView| match scope {
        Scope::All => true,
        Scope::Mine => row.is_mine,
        Scope::Unassigned => row.owner.is_none(),
    };
    let scopes = [Scope::All, Scope::Mine, Scope::Unassigned]
        .into_iter()
        .map(|scope| ScopeLink {
            code: scope.code(),
            label: match scope {
                Scope::All => texts.get("queue-scope-all"),
                Scope::Mine => texts.get("queue-scope-mine"),
                Scope::Unassigned => texts.get("queue-scope-unassigned"),
            },
            count: rows.iter().filter(|(_, row)| in_scope(scope, row)).count(),
            current: scope == filter.scope,
        })
        .collect();
    let (waiting, urgent) = (
        rows.len(),
        rows.iter()
            .filter(|(severity, _)| *severity >= Severity::Critical)
            .count(),
    );
    let mut shown: Vec<(Severity, RowView)> = rows
        .into_iter()
        .filter(|(_, row)| in_scope(filter.scope, row) && matches(row, &filter.words))
        .collect();
    let count = shown.len();
    let mut sections = Vec::new();
    for severity in Severity::ALL.iter().rev() {
        let (here, rest): (Vec<_>, Vec<_>) = shown.into_iter().partition(|(s, _)| s == severity);
        shown = rest;
        if !here.is_empty() {
            let rows = here.into_iter().map(|(_, row)| row).collect();
            sections.push(Section {
                severity: words::severity(texts, *severity),
                rows,
            });
        }
    }
    let plain = texts.get("queue-title");
    QueuePage {
        sections,
        scopes,
        shown: count,
        waiting,
        urgent,
        more: queue.more,
        title: if waiting == 0 {
            plain
        } else {
            format!("({waiting}) {plain}")
        },
        announcement: texts.fill(
            "queue-announcement",
            &[("n", waiting.into()), ("urgent", urgent.into())],
        ),
        words: filter.words.clone(),
        scope: filter.scope.code(),
        version: queue.version,
    }
}

/// Whether a row contains every word, in what it shows.
fn matches(row: &RowView, wanted: &str) -> bool {
    let mut text = format!(
        "{} {} {} {} {}",
        row.name, row.person, row.rule, row.reason, row.severity.label
    );
    let more = row
        .conditions
        .iter()
        .chain(&row.marks)
        .chain(&row.place)
        .chain(&row.owner);
    for piece in more {
        text.push(' ');
        text.push_str(piece);
    }
    if let Some(value) = &row.value {
        text.push(' ');
        text.push_str(&value.main);
    }
    let text = text.to_lowercase();
    wanted
        .split_whitespace()
        .all(|word| text.contains(&word.to_lowercase()))
}

/// Who works on it: the person who took a task of the alert, or the alert's owner.
pub(crate) fn worker<'a>(owner: Option<StaffId>, mut tasks: impl Iterator<Item = &'a Task>) -> Option<StaffId> {
    let taken = tasks.find_map(|task| match task.status {
        TaskStatus::Taken { by, .. } => Some(by),
        TaskStatus::Open | TaskStatus::Done { .. } | TaskStatus::Cancelled { .. } => None,
    });
    taken.or(owner)
}

/// When a task is to be worked on: the next try, once there was one.
pub(crate) fn due_of(task: &Task) -> DateTime<Utc> {
    task.next_try_at.unwrap_or(task.due_at)
}

fn row(viewer: Viewer<'_>, row: &QueueRow) -> RowView {
    let Viewer {
        texts, now, zone, me, ..
    } = viewer;
    let alert = &row.alert;
    let owner = worker(alert.owner, row.tasks.iter());
    let stored = row.value.as_ref().map(|value| &value.reading);
    let value = row
        .value
        .as_ref()
        .map(|value| words::value(value, GlucoseDisplay::default()));
    let (next, also) = steps(row, owner, me);
    RowView {
        id: alert.id.to_string(),
        severity: words::severity(texts, alert.severity),
        name: row.masked_name.clone(),
        person: words::sex_and_age(texts, row.sex, row.birth_year, now, zone),
        conditions: words::conditions(texts, &row.conditions),
        mean_of: value
            .as_ref()
            .filter(|value| value.readings > 0)
            .map(|value| texts.fill("value-mean", &[("n", value.readings.into())])),
        value,
        slot: stored
            .filter(|stored| matches!(stored.reading.measurement, Measurement::Glucose(_)))
            .map(|stored| words::slot(texts, stored.reading.slot)),
        marks: words::marks(texts, alert),
        place: stored.map(|stored| words::place(texts, stored.reading.place)),
        measured: Some(when::when(
            texts,
            stored.map_or(alert.last_evidence_at, |s| s.reading.time.at),
            now,
            zone,
        )),
        late: stored.and_then(|stored| when::late(texts, stored.reading.time.at, stored.received_at)),
        spark: spark(viewer, row),
        rule: alert.rule.code(),
        reason: texts.code("rule", alert.rule.code()),
        is_mine: owner == Some(me),
        owner: owner.map(|_| row.owner_name.clone().unwrap_or_else(|| texts.get("owner-unknown"))),
        acknowledged: alert.acknowledged.map(|ack| when::absolute(texts, ack.at, now, zone)),
        due: row
            .tasks
            .iter()
            .map(due_of)
            .min()
            .map(|at| when::due(texts, at, now, zone)),
        may_call: row.may_call,
        next,
        also,
        seen: Seen {
            severity: alert.severity.code().to_owned(),
            acknowledged: alert.acknowledged.is_some(),
            owner: owner.map(|id| id.to_string()).unwrap_or_default(),
        },
    }
}

/// What comes next: take it, then acknowledge it, then record what came of it. Another's row is only opened.
fn steps(row: &QueueRow, owner: Option<StaffId>, me: StaffId) -> (NextStep, Option<NextStep>) {
    let alert = &row.alert;
    let acknowledge = alert.acknowledged.is_none().then(|| NextStep::Acknowledge {
        post: format!("/alerts/{}/acknowledge", alert.id),
        version: alert.version,
    });
    let free = row.tasks.iter().find(|task| task.status == TaskStatus::Open);
    let mine = row
        .tasks
        .iter()
        .any(|task| matches!(task.status, TaskStatus::Taken { by, .. } if by == me));
    match (owner, free) {
        (Some(owner), _) if owner != me => (NextStep::Open, None),
        _ if mine => acknowledge.map_or((NextStep::Outcome, None), |step| (step, Some(NextStep::Outcome))),
        (_, Some(task)) => (
            NextStep::Take {
                post: format!("/tasks/{}/take", task.id),
                version: task.version,
            },
            acknowledge,
        ),
        (_, None) => (acknowledge.unwrap_or(NextStep::Open), None),
    }
}

fn spark(viewer: Viewer<'_>, row: &QueueRow) -> String {
    if row.trend.is_empty() {
        return String::new();
    }
    let profile = carepost_domain::care::history::Profile {
        birth_year: Some(row.birth_year),
        conditions: row.conditions.clone(),
        drugs: Vec::new(),
    };
    let label = viewer.texts.fill("spark-label", &[("n", row.trend.len().into())]);
    let points: Vec<SparkPoint> = row.trend.iter().map(spark_point).collect();
    let pressure = row
        .trend
        .iter()
        .any(|point| matches!(point.value, TrendValue::BloodPressure { .. }));
    let (axis, bands) = if pressure {
        let band = target::pressure(viewer.rules, &profile, viewer.now);
        let bands = band.map(|b| {
            [b.systolic_mmhg, b.diastolic_mmhg]
                .map(|(from, to)| SparkBand { from, to })
                .to_vec()
        });
        (SPARK_MMHG, bands.unwrap_or_default())
    } else {
        let (from, to) = target::glucose_milli_mmol(viewer.rules);
        (SPARK_MILLI_MMOL, vec![SparkBand { from, to }])
    };
    let from = viewer.now - TimeDelta::days(TREND_DAYS);
    sparkline(&Sparkline {
        points: &points,
        from,
        to: viewer.now,
        axis,
        bands: &bands,
        label: &label,
    })
}

fn spark_point(point: &TrendPoint) -> SparkPoint {
    let (high, low) = match point.value {
        TrendValue::BloodPressure {
            systolic_mmhg,
            diastolic_mmhg,
        } => (systolic_mmhg, Some(diastolic_mmhg)),
        TrendValue::Glucose(GlucoseLevel::Value(value)) => (value.display_milli_mmol_per_l(), None),
        // The edges of the axis stand for what the meter could not put in numbers.
        TrendValue::Glucose(GlucoseLevel::AboveRange { .. }) => (SPARK_MILLI_MMOL.1, None),
        TrendValue::Glucose(GlucoseLevel::BelowRange { .. }) => (SPARK_MILLI_MMOL.0, None),
    };
    SparkPoint {
        at: point.at,
        high,
        low,
        hollow: false,
    }
}

/// Whether the alert's evidence is recent enough for first-aid words (page 5, section 4, item 6).
pub(crate) fn is_fresh(rules: &RuleSet, rule: Rule, evidence_at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    let age = now.signed_duration_since(evidence_at);
    age >= TimeDelta::zero() && age <= rules.common(rule).fresh_for
}

#[cfg(test)]
mod tests;
