//! The state of one rule while a member's data is replayed in measured order.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Clear, ClearNeed, Finding, Mark};
use crate::care::history::{Evidence, Settled};
use crate::care::rule::{AppliedLimit, Rule, Severity};
use crate::id::ReadingId;
use crate::reading::Place;

/// Data that fulfils a rule.
#[derive(Debug)]
pub(super) struct Trigger {
    pub(super) at: DateTime<Utc>,
    pub(super) evidence: Vec<(DateTime<Utc>, Evidence)>,
    pub(super) severity: Severity,
    pub(super) limits: Vec<AppliedLimit>,
    pub(super) unconfirmed: bool,
    pub(super) doubtful: bool,
    pub(super) place: Option<Place>,
    pub(super) time_trusted: bool,
}

/// From the first trigger until the rule clears.
#[derive(Debug)]
struct Episode {
    evidence: BTreeSet<(DateTime<Utc>, Evidence)>,
    severity: Severity,
    limits: Vec<AppliedLimit>,
    confirmed: bool,
    doubtful: bool,
    recovered: bool,
    /// Instant, place and trust of the last evidence.
    last: (DateTime<Utc>, Option<Place>, bool),
}

/// One rule.
#[derive(Debug)]
pub(super) struct Track {
    rule: Rule,
    episode: Option<Episode>,
    pub(super) cleared: Option<Clear>,
    /// Instants of all triggers, those of cleared episodes included.
    pub(super) raised_at: Vec<DateTime<Utc>>,
    pub(super) repeated: bool,
}

impl Track {
    pub(super) fn new(rule: Rule) -> Self {
        Self {
            rule,
            episode: None,
            cleared: None,
            raised_at: Vec::new(),
            repeated: false,
        }
    }

    /// Whether an episode runs that nothing has cleared.
    pub(super) fn is_active(&self) -> bool {
        self.episode.as_ref().is_some_and(|e| !e.recovered)
    }

    pub(super) fn raise(&mut self, trigger: Trigger, settled: &Settled) {
        let evidence: Vec<Evidence> = trigger.evidence.iter().map(|(_, e)| *e).collect();
        if settled.is_resolved(self.rule.family(), &evidence) {
            return;
        }
        self.cleared = None;
        self.raised_at.push(trigger.at);
        let last_at = trigger.evidence.iter().map(|(at, _)| *at).max().unwrap_or(trigger.at);
        let last = (last_at, trigger.place, trigger.time_trusted);
        match &mut self.episode {
            Some(episode) => {
                episode.evidence.extend(trigger.evidence);
                if trigger.severity > episode.severity {
                    episode.severity = trigger.severity;
                    episode.limits = trigger.limits;
                }
                episode.confirmed |= !trigger.unconfirmed;
                episode.doubtful |= trigger.doubtful;
                episode.recovered = false;
                if last.0 >= episode.last.0 {
                    episode.last = last;
                }
            }
            None => {
                self.episode = Some(Episode {
                    evidence: trigger.evidence.into_iter().collect(),
                    severity: trigger.severity,
                    limits: trigger.limits,
                    confirmed: !trigger.unconfirmed,
                    doubtful: trigger.doubtful,
                    recovered: false,
                    last,
                });
            }
        }
    }

    pub(super) fn clear(&mut self, at: DateTime<Utc>, readings: Vec<ReadingId>, settled: &Settled) {
        let need = self.rule.clear_need();
        if need == ClearNeed::Manual {
            return;
        }
        if let Some(episode) = &mut self.episode {
            let evidence = episode.evidence.iter().map(|(_, e)| e);
            if need == ClearNeed::Nothing || settled.is_contacted(self.rule.family(), evidence) {
                self.episode = None;
            } else {
                episode.recovered = true;
            }
        }
        self.cleared = Some(Clear { at, readings, need });
    }

    pub(super) fn finding(self, now: DateTime<Utc>, fresh_for: TimeDelta) -> Option<Finding> {
        let episode = self.episode?;
        let mut marks = BTreeSet::new();
        let mut mark = |holds: bool, mark| {
            if holds {
                marks.insert(mark);
            }
        };
        mark(!episode.confirmed, Mark::Unconfirmed);
        mark(episode.recovered, Mark::Recovered);
        mark(self.repeated, Mark::Repeated);
        mark(episode.doubtful, Mark::Doubtful);
        let (last_evidence_at, place, time_trusted) = episode.last;
        Some(Finding {
            rule: self.rule,
            severity: episode.severity,
            since: episode.evidence.first().map_or(last_evidence_at, |(at, _)| *at),
            evidence: episode.evidence.into_iter().map(|(_, e)| e).collect(),
            limits: episode.limits,
            last_evidence_at,
            fresh: time_trusted && now - last_evidence_at < fresh_for,
            place,
            marks,
        })
    }
}
