//! Tasks: pieces of work with a due time and a coded outcome (page 5, section 4, item 8).
//!
//! A task is not an alert: it is created once under a stable key, taken and finished by version-checked transitions, and
//! its end does not clear physiology. Times run in plain clock time; opening hours and rosters are not part of this
//! version. Outcomes whose effects reach beyond a task and its alert (not this person, deceased) are not offered.

mod outcome;

use std::collections::BTreeSet;
use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

pub use outcome::{AlertEffect, Outcome};

use crate::care::alert::Alert;
use crate::care::evaluate::{Assessment, ClearNeed, Finding, Mark};
use crate::care::rule::{Rule, Severity};
use crate::care::rule_set::{DemandWhen, RuleSet, TaskDemand};
use crate::code_enum;
use crate::id::{AlertId, MemberId, StaffId, TaskId};
use crate::phi::Phi;
use crate::reading::Place;

code_enum! {
    /// What is to be done.
    pub enum TaskKind ("task kind") {
        /// Go to the person at the kiosk.
        Approach = "approach",
        /// Call the person.
        Call = "call",
        /// Arrange a doctor on the same day.
        SameDayDoctor = "same_day_doctor",
        /// Measure again on a booked date.
        ReMeasure = "re_measure",
    }
}

impl TaskKind {
    /// Whether it is about reaching the person; an alert has one such task at a time.
    #[must_use]
    pub const fn is_contact(self) -> bool {
        matches!(self, Self::Approach | Self::Call)
    }
}

code_enum! {
    /// Why a task was cancelled.
    pub enum CancelReason ("cancel reason") {
        /// The member withdrew `care_record`.
        ConsentWithdrawn = "consent_withdrawn",
        /// A person closed the alert that asked for it.
        AlertResolved = "alert_resolved",
    }
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum TaskStatus {
    /// Nobody has it.
    Open,
    /// Somebody works on it.
    Taken {
        /// Who.
        by: StaffId,
        /// Since when.
        at: DateTime<Utc>,
    },
    /// Finished.
    Done {
        /// By whom.
        by: StaffId,
        /// When.
        at: DateTime<Utc>,
        /// With what result.
        outcome: Outcome,
    },
    /// No longer wanted.
    Cancelled {
        /// When.
        at: DateTime<Utc>,
        /// Why.
        reason: CancelReason,
    },
}

/// The stable name under which a task is created at most once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskKey(String);

impl TaskKey {
    /// From stored text.
    #[must_use]
    pub const fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// The text, for a unique column.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn of_alert(alert: &Alert, finding: &Finding, kind: TaskKind) -> Self {
        let base = format!("alert/{}/{}/{}/{kind}", alert.id, finding.rule, finding.severity);
        // Where clearing waits for a contact, new evidence after a finished call needs a call of its own.
        if finding.rule.clear_need() == ClearNeed::Contact {
            Self(format!("{base}/{}", finding.last_evidence_at.timestamp_millis()))
        } else {
            Self(base)
        }
    }
}

impl fmt::Display for TaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Tries before a person counts as unreachable (page 5, section 4, item 8).
pub const MAX_TRIES: u32 = 3;
/// Between tries of critical work: three within 60 minutes (page 5, section 4, item 8).
pub const CRITICAL_RETRY: TimeDelta = TimeDelta::minutes(20);
/// Between tries of other work: on different days (page 5, section 4, item 8).
pub const OTHER_RETRY: TimeDelta = TimeDelta::days(1);
/// Longest note on an outcome, characters.
pub const MAX_NOTE_CHARS: usize = 1_000;
/// Furthest booked date.
pub const MAX_BOOKING: TimeDelta = TimeDelta::days(366);

/// A task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// The task.
    pub id: TaskId,
    /// Unique; see [`TaskKey`].
    pub key: TaskKey,
    /// About whom.
    pub member: MemberId,
    /// The alert that asked for it.
    pub alert: AlertId,
    /// The rule that asked for it.
    pub rule: Rule,
    /// What is to be done.
    pub kind: TaskKind,
    /// How bad the finding was.
    pub severity: Severity,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// By when it should be done.
    pub due_at: DateTime<Utc>,
    /// When to try again.
    pub next_try_at: Option<DateTime<Utc>>,
    /// Where it stands.
    pub status: TaskStatus,
    /// Tries without an answer.
    pub attempts: u32,
    /// All tries failed, or the number is wrong: somebody has to find another way.
    pub unreachable: bool,
    /// Note on the last outcome.
    pub note: Option<Phi<String>>,
    /// Counts changes; a storage update names the version it read.
    pub version: u64,
}

/// A task after a transition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskChange {
    /// The new state.
    pub task: Task,
    /// The version before; `None` for a new task. Storage inserts under the unique key, or updates where the version is
    /// still this.
    pub before: Option<u64>,
}

/// What was done, as a person records it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutcomeRecord {
    /// The coded result.
    pub outcome: Outcome,
    /// Free text.
    pub note: Option<Phi<String>>,
    /// The agreed or booked instant, where the outcome needs one.
    pub next_at: Option<DateTime<Utc>>,
}

/// A recorded outcome and what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutcomeEffects {
    /// The task itself.
    pub task: TaskChange,
    /// A task that follows.
    pub follow_up: Option<TaskChange>,
    /// What happens to the alert.
    pub alert: AlertEffect,
}

/// Why a transition was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// Somebody else was faster.
    #[error("task {task} is at version {actual}, not {expected}")]
    Stale {
        /// The task.
        task: TaskId,
        /// The version the caller saw.
        expected: u64,
        /// The version it has.
        actual: u64,
    },
    /// Only an open task can be taken.
    #[error("task {task} is not open")]
    NotOpen {
        /// The task.
        task: TaskId,
    },
    /// An outcome is recorded by who took the task.
    #[error("task {task} is not taken by this person")]
    NotTakenByYou {
        /// The task.
        task: TaskId,
    },
    /// The outcome needs a date.
    #[error("outcome {outcome} needs a date after now and within a year")]
    DateNeeded {
        /// The outcome.
        outcome: Outcome,
    },
    /// The note is too long.
    #[error("a note has at most {MAX_NOTE_CHARS} characters")]
    NoteTooLong,
}

impl Task {
    /// Whether it is open or taken.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        matches!(self.status, TaskStatus::Open | TaskStatus::Taken { .. })
    }

    fn changed(mut self) -> TaskChange {
        let before = Some(self.version);
        self.version = self.version.saturating_add(1);
        TaskChange { task: self, before }
    }

    const fn check_version(&self, expected: u64) -> Result<(), TaskError> {
        if self.version == expected {
            Ok(())
        } else {
            Err(TaskError::Stale {
                task: self.id,
                expected,
                actual: self.version,
            })
        }
    }

    /// A person takes it.
    ///
    /// # Errors
    /// [`TaskError::Stale`] and [`TaskError::NotOpen`].
    pub fn take(mut self, by: StaffId, at: DateTime<Utc>, seen_version: u64) -> Result<TaskChange, TaskError> {
        self.check_version(seen_version)?;
        if self.status != TaskStatus::Open {
            return Err(TaskError::NotOpen { task: self.id });
        }
        self.status = TaskStatus::Taken { by, at };
        Ok(self.changed())
    }

    /// Who took it records what came of it. `follow_up_id` is used if the outcome books something.
    ///
    /// # Errors
    /// Every variant of [`TaskError`] except [`TaskError::NotOpen`].
    pub fn record_outcome(
        mut self,
        by: StaffId,
        at: DateTime<Utc>,
        seen_version: u64,
        record: OutcomeRecord,
        follow_up_id: TaskId,
    ) -> Result<OutcomeEffects, TaskError> {
        self.check_version(seen_version)?;
        if !matches!(self.status, TaskStatus::Taken { by: taker, .. } if taker == by) {
            return Err(TaskError::NotTakenByYou { task: self.id });
        }
        let outcome = record.outcome;
        if record
            .note
            .as_ref()
            .is_some_and(|n| n.expose().chars().count() > MAX_NOTE_CHARS)
        {
            return Err(TaskError::NoteTooLong);
        }
        let booked = record.next_at.filter(|next| *next > at && *next - at <= MAX_BOOKING);
        if outcome.needs_date() && booked.is_none() {
            return Err(TaskError::DateNeeded { outcome });
        }
        self.note = record.note;
        self.status = if outcome.keeps_open() {
            TaskStatus::Open
        } else {
            TaskStatus::Done { by, at, outcome }
        };
        match outcome {
            Outcome::NoAnswer => {
                self.attempts = self.attempts.saturating_add(1);
                let pause = if self.severity >= Severity::Critical {
                    CRITICAL_RETRY
                } else {
                    OTHER_RETRY
                };
                self.unreachable |= self.attempts >= MAX_TRIES;
                self.next_try_at = (!self.unreachable).then(|| at + pause);
            }
            Outcome::WrongNumber => {
                self.attempts = self.attempts.saturating_add(1);
                self.unreachable = true;
                self.next_try_at = None;
            }
            Outcome::CallbackAgreed => {
                self.unreachable = false;
                self.next_try_at = booked;
            }
            _ => self.next_try_at = None,
        }
        let follow_up = booked.filter(|_| outcome == Outcome::ReMeasureBooked).map(|due_at| {
            let key = TaskKey(format!("follow-up/{}/{}", self.id, TaskKind::ReMeasure));
            let demand = Created {
                kind: TaskKind::ReMeasure,
                rule: self.rule,
                severity: self.severity,
                due_at,
            };
            demand.task(follow_up_id, key, self.member, self.alert, at)
        });
        let alert = outcome.alert_effect(self.rule);
        Ok(OutcomeEffects {
            task: self.changed(),
            follow_up,
            alert,
        })
    }

    /// It is no longer wanted. `None` if it is already finished.
    #[must_use]
    pub fn cancel(mut self, at: DateTime<Utc>, reason: CancelReason) -> Option<TaskChange> {
        if !self.is_live() {
            return None;
        }
        self.status = TaskStatus::Cancelled { at, reason };
        Some(self.changed())
    }
}

struct Created {
    kind: TaskKind,
    rule: Rule,
    severity: Severity,
    due_at: DateTime<Utc>,
}

impl Created {
    fn task(&self, id: TaskId, key: TaskKey, member: MemberId, alert: AlertId, now: DateTime<Utc>) -> TaskChange {
        let task = Task {
            id,
            key,
            member,
            alert,
            rule: self.rule,
            kind: self.kind,
            severity: self.severity,
            created_at: now,
            due_at: self.due_at,
            next_try_at: None,
            status: TaskStatus::Open,
            attempts: 0,
            unreachable: false,
            note: None,
            version: 1,
        };
        TaskChange { task, before: None }
    }
}

/// What tasks an active alert asks for, beyond those it has.
///
/// `existing` are all tasks of the alert, finished ones too. Of approach and call the one that is due first is asked for;
/// while such a task is open, worse evidence brings its due time forward instead of adding another. `mint` gives ids.
#[must_use]
pub fn plan(
    rule_set: &RuleSet,
    alert: &Alert,
    assessment: &Assessment,
    existing: &[Task],
    mut mint: impl FnMut() -> TaskId,
) -> Vec<TaskChange> {
    let now = assessment.now;
    let mut changes = Vec::new();
    if !alert.is_active() {
        return changes;
    }
    let keys: BTreeSet<&TaskKey> = existing.iter().map(|t| &t.key).collect();
    let findings = assessment.findings.iter().filter(|f| alert.rules.contains_key(&f.rule));
    let mut demands: Vec<(&Finding, &TaskDemand)> = findings
        .flat_map(|f| rule_set.common(f.rule).tasks.iter().map(move |d| (f, d)))
        .filter(|(f, d)| is_asked(f, d))
        .collect();
    demands.sort_by_key(|(f, d)| (d.due_s, std::cmp::Reverse(f.severity), f.rule, d.kind));
    let mut asked: BTreeSet<TaskKind> = BTreeSet::new();
    for (finding, demand) in demands {
        // The first contact in this order is due first.
        let kind = if demand.kind.is_contact() {
            TaskKind::Call
        } else {
            demand.kind
        };
        if !asked.insert(kind) {
            continue;
        }
        let due_at = now + TimeDelta::seconds(demand.due_s);
        let same =
            |t: &&Task| t.is_live() && (t.kind == demand.kind || (t.kind.is_contact() && demand.kind.is_contact()));
        if let Some(live) = existing.iter().find(same) {
            // Only what is worse brings it forward: time alone, or more of the same, does not move a due time.
            if finding.severity > live.severity {
                let mut task = live.clone();
                task.due_at = task.due_at.min(due_at);
                task.severity = finding.severity;
                task.rule = finding.rule;
                changes.push(task.changed());
            }
            continue;
        }
        // A finished contact about all of the evidence was that contact.
        if demand.kind.is_contact() && finding.evidence.iter().all(|e| alert.contacted.contains(e)) {
            continue;
        }
        let key = TaskKey::of_alert(alert, finding, demand.kind);
        if keys.contains(&key) {
            continue;
        }
        let created = Created {
            kind: demand.kind,
            rule: finding.rule,
            severity: finding.severity,
            due_at,
        };
        changes.push(created.task(mint(), key, alert.member, alert.id, now));
    }
    changes
}

fn is_asked(finding: &Finding, demand: &TaskDemand) -> bool {
    let at_kiosk = finding.place == Some(Place::Store) && finding.fresh;
    let applies = match demand.when {
        DemandWhen::Always => true,
        DemandWhen::AtKiosk => at_kiosk,
        DemandWhen::Away => !at_kiosk,
        DemandWhen::Repeated => finding.marks.contains(&Mark::Repeated),
    };
    applies && finding.severity >= demand.from_severity
}
