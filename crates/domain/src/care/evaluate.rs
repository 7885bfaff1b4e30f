//! The evaluator: what the rules say about a member's data at an instant. Pure, deterministic, replayable.
//!
//! A finding is *true at now* from the evidence that raised it until its clear condition holds, or until its evidence is
//! older than the rule's `evidence_for`; each rule's own end is written at its type in [`super::rule_set`]. Rules are
//! independent: a value that fulfils two rules of a family is a finding of both, and [`super::alert`] makes one alert
//! of them. Where a rule clears only with a contact or outcome that nobody recorded, the finding stays true and is
//! marked [`Mark::Recovered`].

mod glucose;
mod pressure;
mod track;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::care::history::{CareReading, Evidence, Profile, Settled, SymptomRecord, Symptoms, in_measured_order};
use crate::care::rule::{AppliedLimit, Family, Rule, Severity};
use crate::care::rule_set::{Limits, RuleSet, RuleSetRef};
use crate::care::session::{self, Session};
use crate::code_enum;
use crate::id::{ReadingId, SymptomId};
use crate::reading::Place;
use track::{Track, Trigger};

code_enum! {
    /// What qualifies a finding.
    pub enum Mark ("finding mark") {
        /// A severe value that was not repeated, or known only from readings with a fault flag, or very high glucose that
        /// was not repeated.
        Unconfirmed = "unconfirmed",
        /// A later value lies in range, and what else the rule needs to clear is not recorded.
        Recovered = "recovered",
        /// The rule's own repetition holds: BP-02 on two days, BP-05 in two sessions.
        Repeated = "repeated",
        /// Rests on readings with a fault or caution flag.
        Doubtful = "doubtful",
        /// The member is under age: adult standards do not apply.
        AdultStandardsDoNotApply = "adult_standards_do_not_apply",
        /// Judged by the limits of pregnancy.
        PregnancyLimits = "pregnancy_limits",
    }
}

/// What a rule says about the data at an instant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// How bad.
    pub severity: Severity,
    /// Readings and symptom records that it rests on, in measured order.
    pub evidence: Vec<Evidence>,
    /// The limits that applied.
    pub limits: Vec<AppliedLimit>,
    /// First measured instant of its evidence.
    pub since: DateTime<Utc>,
    /// Last measured instant of its evidence.
    pub last_evidence_at: DateTime<Utc>,
    /// Whether the last evidence is young enough, and its time sure enough, for an instruction for right now.
    pub fresh: bool,
    /// Where the last evidence was measured; `None` for a symptom record.
    pub place: Option<Place>,
    /// What qualifies it.
    pub marks: BTreeSet<Mark>,
}

impl Finding {
    /// The family of its rule.
    #[must_use]
    pub const fn family(&self) -> Family {
        self.rule.family()
    }

    /// The readings among its evidence.
    pub fn readings(&self) -> impl Iterator<Item = ReadingId> {
        self.evidence.iter().filter_map(|e| match e {
            Evidence::Reading(id) => Some(*id),
            Evidence::Symptom(_) => None,
        })
    }

    /// The symptom records among its evidence.
    pub fn symptom_records(&self) -> impl Iterator<Item = SymptomId> {
        self.evidence.iter().filter_map(|e| match e {
            Evidence::Symptom(id) => Some(*id),
            Evidence::Reading(_) => None,
        })
    }
}

code_enum! {
    /// What a rule needs besides data to clear.
    pub enum ClearNeed ("clear need") {
        /// Data alone.
        Nothing = "nothing",
        /// A recorded contact or outcome.
        Contact = "contact",
        /// A person; no data clears it.
        Manual = "manual",
    }
}

impl Rule {
    /// What the rule needs besides data to clear (page 5, section 5.6, "Clears when").
    #[must_use]
    pub const fn clear_need(self) -> ClearNeed {
        match self {
            Self::Bp01 | Self::Bp04 | Self::Bp05 | Self::Bp06 | Self::Gl01 | Self::Gl04 => ClearNeed::Nothing,
            Self::Bp02 | Self::Gl02 | Self::Gl03 => ClearNeed::Contact,
            Self::Bp03 | Self::Sy01 => ClearNeed::Manual,
        }
    }
}

/// A rule's clear condition holds on the data, and nothing raised it since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clear {
    /// Measured instant of what cleared it.
    pub at: DateTime<Utc>,
    /// The readings that cleared it.
    pub readings: Vec<ReadingId>,
    /// What else it needs.
    pub need: ClearNeed,
}

code_enum! {
    /// Something to show beside data that is no finding.
    pub enum NoteCode ("note") {
        /// Diastolic alone is low; common with stiff arteries.
        DiastolicLow = "diastolic_low",
        /// Lower than usual, without diabetes on file and without symptoms.
        GlucoseLowWithoutDiabetes = "glucose_low_without_diabetes",
        /// Very high for the first time and without symptoms: wash hands, new strip, repeat.
        RepeatGlucose = "repeat_glucose",
    }
}

/// A note on the latest session or glucose reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// What it says.
    pub code: NoteCode,
    /// What it is about.
    pub readings: Vec<ReadingId>,
}

/// What the rules say about one member at an instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assessment {
    /// Which rules decided.
    pub rule_set: RuleSetRef,
    /// When.
    pub now: DateTime<Utc>,
    /// The sessions of the readings given, in the order in which they began.
    pub sessions: Vec<Session>,
    /// The findings true at `now`, by rule.
    pub findings: Vec<Finding>,
    /// Rules whose clear condition holds on the data.
    pub clears: BTreeMap<Rule, Clear>,
    /// Notes on the latest data.
    pub notes: Vec<Note>,
    /// The first instant after `now` at which this may change without new data.
    pub next_check: Option<DateTime<Utc>>,
}

impl Assessment {
    /// The finding of a rule, if it is true.
    #[must_use]
    pub fn finding(&self, rule: Rule) -> Option<&Finding> {
        self.findings.iter().find(|f| f.rule == rule)
    }
}

/// Assesses a member at `now`.
///
/// `readings` and `symptoms` may come in any order and repeat themselves; what is after `now` is ignored. They should reach
/// back [`RuleSet::lookback`]. `settled` is what staff recorded on earlier alerts; empty for a bench.
#[must_use]
pub fn assess(
    rule_set: &RuleSet,
    profile: &Profile,
    readings: &[CareReading],
    symptoms: &[SymptomRecord],
    settled: &Settled,
    now: DateTime<Utc>,
) -> Assessment {
    let ordered = in_measured_order(readings, now);
    let limits = rule_set.limits(profile, now);
    let sessions = session::group(rule_set, &limits, &ordered, now);
    let symptoms = Symptoms::gather(&ordered, symptoms, now);
    let by_id = ordered.iter().map(|r| (r.id, *r)).collect();
    let context = Context {
        rule_set,
        profile,
        limits: &limits,
        ordered: &ordered,
        by_id: &by_id,
        symptoms: &symptoms,
        settled,
        now,
    };
    let mut state = State::new(context);
    danger_symptoms(&mut state);
    pressure::evaluate(&mut state, &sessions);
    glucose::evaluate(&mut state);
    for session in &sessions {
        state.check_at(session::closes_later(session, now));
    }
    state.check_at(rule_set.limits_change(profile, now));
    state.finish(sessions)
}

/// SY-01: every danger symptom raises, at any value.
fn danger_symptoms(state: &mut State<'_>) {
    let context = state.context;
    let codes = &context.rule_set.sy01.symptoms;
    for event in context.symptoms.iter().filter(|e| codes.contains(&e.code)) {
        state.raise(
            Rule::Sy01,
            Trigger {
                at: event.at,
                evidence: vec![(event.at, event.evidence)],
                severity: context.rule_set.sy01.common.severity,
                limits: vec![AppliedLimit::DangerSymptom],
                unconfirmed: false,
                doubtful: false,
                place: context.place_of(event.evidence),
                time_trusted: event.time_trusted,
            },
        );
    }
}

/// What an evaluation reads.
#[derive(Debug, Clone, Copy)]
struct Context<'a> {
    rule_set: &'a RuleSet,
    profile: &'a Profile,
    limits: &'a Limits,
    ordered: &'a [&'a CareReading],
    by_id: &'a BTreeMap<ReadingId, &'a CareReading>,
    symptoms: &'a Symptoms,
    settled: &'a Settled,
    now: DateTime<Utc>,
}

impl Context<'_> {
    fn place_of(&self, evidence: Evidence) -> Option<Place> {
        let Evidence::Reading(id) = evidence else { return None };
        self.by_id.get(&id).map(|r| r.place)
    }

    /// Readings as evidence, with their instants.
    fn dated(&self, ids: impl IntoIterator<Item = ReadingId>) -> Vec<(DateTime<Utc>, Evidence)> {
        let known = ids.into_iter().filter_map(|id| self.by_id.get(&id));
        known.map(|r| (r.measured_at, Evidence::Reading(r.id))).collect()
    }
}

/// The tracks of all rules while data is replayed.
struct State<'a> {
    context: Context<'a>,
    tracks: BTreeMap<Rule, Track>,
    notes: Vec<Note>,
    checks: BTreeSet<DateTime<Utc>>,
}

impl<'a> State<'a> {
    fn new(context: Context<'a>) -> Self {
        let tracks = Rule::ALL.iter().map(|rule| (*rule, Track::new(*rule))).collect();
        Self {
            context,
            tracks,
            notes: Vec::new(),
            checks: BTreeSet::new(),
        }
    }

    /// An instant at which something may change; the past is dropped.
    fn check_at(&mut self, at: Option<DateTime<Utc>>) {
        self.checks.extend(at.filter(|at| *at > self.context.now));
    }

    /// Whether evidence of this instant still raises the rule.
    fn counts(&self, rule: Rule, at: DateTime<Utc>) -> bool {
        self.context.now - at < self.context.rule_set.common(rule).evidence_for
    }

    fn raise(&mut self, rule: Rule, trigger: Trigger) {
        if self.context.limits.off.contains(&rule) || !self.counts(rule, trigger.at) {
            return;
        }
        self.check_at(Some(trigger.at + self.context.rule_set.common(rule).evidence_for));
        if let Some(track) = self.tracks.get_mut(&rule) {
            track.raise(trigger, self.context.settled);
        }
    }

    fn clear(&mut self, rule: Rule, at: DateTime<Utc>, readings: Vec<ReadingId>) {
        if let Some(track) = self.tracks.get_mut(&rule) {
            track.clear(at, readings, self.context.settled);
        }
    }

    fn mark_repeated(&mut self, rule: Rule, repeated: impl Fn(&[DateTime<Utc>]) -> bool) {
        if let Some(track) = self.tracks.get_mut(&rule) {
            track.repeated = repeated(&track.raised_at);
        }
    }

    fn finish(mut self, sessions: Vec<Session>) -> Assessment {
        let (now, rule_set) = (self.context.now, self.context.rule_set);
        let mut findings = Vec::new();
        let mut clears = BTreeMap::new();
        for (rule, track) in std::mem::take(&mut self.tracks) {
            if let Some(clear) = &track.cleared {
                clears.insert(rule, clear.clone());
            }
            let fresh_for = rule_set.common(rule).fresh_for;
            let Some(mut finding) = track.finding(now, fresh_for) else {
                continue;
            };
            if self.context.limits.minor && rule != Rule::Sy01 {
                finding.marks.insert(Mark::AdultStandardsDoNotApply);
            }
            if self.context.limits.pregnant && matches!(rule, Rule::Bp01 | Rule::Bp02 | Rule::Bp03) {
                finding.marks.insert(Mark::PregnancyLimits);
            }
            if finding.fresh {
                self.check_at(Some(finding.last_evidence_at + fresh_for));
            }
            findings.push(finding);
        }
        findings.sort_by_key(|f| f.rule.code());
        Assessment {
            rule_set: rule_set.reference.clone(),
            now,
            sessions,
            findings,
            clears,
            notes: self.notes,
            next_check: self.checks.first().copied(),
        }
    }
}
