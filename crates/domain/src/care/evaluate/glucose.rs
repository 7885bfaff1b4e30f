//! GL-01 to GL-04, replayed reading by reading.

use std::collections::VecDeque;

use chrono::{DateTime, Utc};

use super::{Note, NoteCode, State, Trigger};
use crate::care::history::{CareReading, Evidence, Value};
use crate::care::rule::{AppliedLimit, Comparison, GlucoseCut, GlucoseLimit, Rule, Severity};
use crate::units::GlucoseLevel;

/// One glucose reading.
#[derive(Debug, Clone, Copy)]
struct Point<'a> {
    reading: &'a CareReading,
    level: GlucoseLevel,
    /// Without a fault flag: may clear and refute.
    usable: bool,
}

impl Point<'_> {
    const fn at(&self) -> DateTime<Utc> {
        self.reading.measured_at
    }

    const fn evidence(&self) -> (DateTime<Utc>, Evidence) {
        (self.reading.measured_at, Evidence::Reading(self.reading.id))
    }

    fn trigger(&self, evidence: Vec<(DateTime<Utc>, Evidence)>, cut: GlucoseCut, severity: Severity) -> Trigger {
        Trigger {
            at: self.at(),
            evidence,
            severity,
            limits: vec![AppliedLimit::Glucose(cut)],
            unconfirmed: false,
            doubtful: !self.usable,
            place: Some(self.reading.place),
            time_trusted: self.reading.time_trusted,
        }
    }
}

pub(super) fn evaluate(state: &mut State<'_>) {
    let context = state.context;
    let unusable = &context.rule_set.glucose.unusable;
    let mut very_high = VeryHigh { waiting: None };
    let mut twice = Twice {
        high: VecDeque::new(),
        below: 0,
    };
    let mut latest = None;
    for reading in context.ordered {
        let Value::Glucose(level) = reading.value else { continue };
        let point = Point {
            reading,
            level,
            usable: !reading.flags.iter().any(|f| unusable.contains(f)),
        };
        latest = Some(low(state, &point));
        very_high.take(state, &point);
        twice.take(state, &point);
    }
    if let Some(Some(note)) = latest {
        state.notes.push(note);
    }
    very_high.end(state);
}

/// GL-01 and GL-02. Gives the note that replaces a finding when there is no diabetes on file.
fn low(state: &mut State<'_>, point: &Point<'_>) -> Option<Note> {
    let context = state.context;
    let (rules, limits, at) = (context.rule_set, context.limits, point.at());
    let id = point.reading.id;
    let link = rules.symptoms.link;
    let has_symptom = context
        .symptoms
        .near(at, at, link, &rules.no_diabetes.symptoms)
        .next()
        .is_some();
    let cut = if has_symptom {
        limits.gl01_with_symptoms
    } else {
        limits.gl01
    };
    let mut note = None;
    if cut.holds(point.level) {
        state.raise(
            Rule::Gl01,
            point.trigger(vec![point.evidence()], cut, rules.gl01.common.severity),
        );
    } else if limits.gl01_with_symptoms.holds(point.level) {
        note = Some(Note {
            code: NoteCode::GlucoseLowWithoutDiabetes,
            readings: vec![id],
        });
    } else if point.usable && rules.gl01.clears_at_or_above.is_reached(point.level) {
        state.clear(Rule::Gl01, at, vec![id]);
    }
    let cut = GlucoseCut {
        comparison: Comparison::Below,
        limit: rules.gl02.below,
    };
    if cut.holds(point.level) {
        state.raise(
            Rule::Gl02,
            point.trigger(vec![point.evidence()], cut, rules.gl02.common.severity),
        );
    } else if point.usable && rules.gl02.clears_at_or_above.is_reached(point.level) {
        state.clear(Rule::Gl02, at, vec![id]);
    }
    note
}

const fn at_least(limit: GlucoseLimit) -> GlucoseCut {
    GlucoseCut {
        comparison: Comparison::AtLeast,
        limit,
    }
}

/// GL-03: the first without symptoms waits for its repeat.
struct VeryHigh<'a> {
    waiting: Option<Point<'a>>,
}

impl<'a> VeryHigh<'a> {
    fn take(&mut self, state: &mut State<'a>, point: &Point<'a>) {
        let context = state.context;
        let rule = &context.rule_set.gl03;
        let at = point.at();
        if let Some(first) = self.waiting
            && at - first.at() > rule.repeat_within
        {
            self.waiting = None;
            raise_unrepeated(state, &first);
        }
        let cut = at_least(rule.at_or_above);
        if !cut.holds(point.level) {
            // Only a sound value refutes; a faulty one leaves the first waiting.
            if point.usable {
                self.waiting = None;
            }
            if point.usable && rule.clears_below.is_above(point.level) {
                state.clear(Rule::Gl03, at, vec![point.reading.id]);
            }
            return;
        }
        let link = context.rule_set.symptoms.link;
        let has_near = |codes| context.symptoms.near(at, at, link, codes).next().is_some();
        let running = state.tracks.get(&Rule::Gl03).is_some_and(super::Track::is_active);
        match (self.waiting, running || has_near(&rule.symptoms)) {
            (None, false) => self.waiting = Some(*point),
            (first, _) => {
                self.waiting = None;
                let evidence = first.iter().map(Point::evidence).chain([point.evidence()]).collect();
                let severity = if has_near(&rule.worse_symptoms) {
                    rule.severity_with_worse_symptoms.max(rule.common.severity)
                } else {
                    rule.common.severity
                };
                state.raise(Rule::Gl03, point.trigger(evidence, cut, severity));
            }
        }
    }

    fn end(self, state: &mut State<'a>) {
        let Some(first) = self.waiting else { return };
        let unrepeated_at = first.at() + state.context.rule_set.gl03.repeat_within;
        if state.context.now >= unrepeated_at {
            raise_unrepeated(state, &first);
        } else {
            state.check_at(Some(unrepeated_at));
            state.notes.push(Note {
                code: NoteCode::RepeatGlucose,
                readings: vec![first.reading.id],
            });
        }
    }
}

fn raise_unrepeated(state: &mut State<'_>, first: &Point<'_>) {
    let rule = &state.context.rule_set.gl03;
    let base = first.trigger(vec![first.evidence()], at_least(rule.at_or_above), rule.common.severity);
    state.raise(
        Rule::Gl03,
        Trigger {
            unconfirmed: true,
            ..base
        },
    );
}

/// GL-04: so many high values within the window; so many low ones in a row clear.
struct Twice<'a> {
    high: VecDeque<Point<'a>>,
    below: usize,
}

impl<'a> Twice<'a> {
    fn take(&mut self, state: &mut State<'a>, point: &Point<'a>) {
        let rule = &state.context.rule_set.gl04;
        let cut = at_least(rule.at_or_above);
        let at = point.at();
        if cut.holds(point.level) {
            self.below = 0;
            self.high.push_back(*point);
            while self.high.front().is_some_and(|first| at - first.at() > rule.within) {
                self.high.pop_front();
            }
            let running = state.tracks.get(&Rule::Gl04).is_some_and(super::Track::is_active);
            if self.high.len() >= rule.count || running {
                let evidence = self.high.iter().map(Point::evidence).collect();
                state.raise(Rule::Gl04, point.trigger(evidence, cut, rule.common.severity));
            }
        } else if point.usable && rule.clears_below.is_above(point.level) {
            self.below += 1;
            if self.below >= rule.clears_count {
                state.clear(Rule::Gl04, at, vec![point.reading.id]);
            }
        } else if point.usable {
            self.below = 0;
        }
    }
}
