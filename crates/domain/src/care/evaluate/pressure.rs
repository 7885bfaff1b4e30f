//! BP-01 to BP-06, replayed session by session.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};

use super::{Context, Note, NoteCode, State, Trigger};
use crate::care::history::{CareReading, Evidence, Value};
use crate::care::rule::{AppliedLimit, PressureLimit, Rule, Severity};
use crate::care::rule_set::Level;
use crate::care::session::{self, Session, SessionMean, SevereReading};
use crate::id::ReadingId;
use crate::reading::{Flag, Place};

pub(super) fn evaluate(state: &mut State<'_>, sessions: &[Session]) {
    let context = state.context;
    severe_with_danger_symptom(state);
    // What a session says is known at its last reading.
    let mut by_end: Vec<&Session> = sessions.iter().collect();
    by_end.sort_by_key(|s| (s.last, s.id));
    for (index, session) in by_end.iter().enumerate() {
        // A new pair decided: the values stay as evidence of what it raises, and say nothing themselves.
        if session.superseded {
            continue;
        }
        pending(state, session);
        severe_mean(state, session);
        high_session(state, session);
        low_session(state, session, by_end.get(..index).unwrap_or_default());
    }
    store_days(state, &by_end);
    let zone = context.rule_set.zone;
    let day = move |at: &DateTime<Utc>| at.with_timezone(&zone).date_naive();
    let within = context.rule_set.bp02.repeated_within;
    state.mark_repeated(Rule::Bp02, |raised| {
        let last = raised.iter().max();
        last.is_some_and(|last| raised.iter().any(|at| day(at) != day(last) && *last - *at <= within))
    });
    let within = context.rule_set.bp05.repeated_within;
    state.mark_repeated(Rule::Bp05, |raised| {
        let last = raised.iter().max();
        last.is_some_and(|last| raised.iter().filter(|at| *last - **at <= within).count() >= 2)
    });
    low_diastolic_note(state, &by_end);
}

fn trigger(context: Context<'_>, session: &Session, ids: &[ReadingId], limit: AppliedLimit, rule: Rule) -> Trigger {
    Trigger {
        at: session.last,
        evidence: context.dated(session.inner.first_values.iter().chain(ids).copied()),
        severity: context.rule_set.common(rule).severity,
        limits: vec![limit],
        unconfirmed: false,
        doubtful: !session.doubts.is_empty() || session.used.len() < session.readings.len(),
        place: Some(session.place),
        time_trusted: session.inner.time_trusted,
    }
}

/// BP-01: severe readings that wait for a new pair, however late it comes.
fn pending(state: &mut State<'_>, session: &Session) {
    if session.inner.answered {
        return;
    }
    let context = state.context;
    let fresh_for = context.rule_set.bp01.common.fresh_for;
    for severe in &session.inner.severe {
        if context.now - severe.at >= fresh_for {
            continue;
        }
        let limit = AppliedLimit::PressureAtLeast(context.limits.severe);
        let severity = context.rule_set.bp01.common.severity;
        state.raise(Rule::Bp01, single(session, severe, limit, severity));
        state.check_at(Some(severe.at + fresh_for));
    }
}

fn single(session: &Session, severe: &SevereReading, limit: AppliedLimit, severity: Severity) -> Trigger {
    Trigger {
        at: severe.at,
        evidence: vec![(severe.at, Evidence::Reading(severe.id))],
        severity,
        limits: vec![limit],
        unconfirmed: false,
        doubtful: !session.used.contains(&severe.id),
        place: Some(session.place),
        time_trusted: severe.time_trusted,
    }
}

/// BP-02: a severe mean, a severe mean of readings with fault flags where there is no other pair, or a severe reading that
/// was not repeated in time.
fn severe_mean(state: &mut State<'_>, session: &Session) {
    let context = state.context;
    let level = |mean: Option<SessionMean>| {
        let mean = mean.filter(|m| m.readings >= 2)?;
        context
            .limits
            .bp02
            .iter()
            .find(|l| l.at_or_above.is_reached(mean.systolic_mmhg, mean.diastolic_mmhg))
            .copied()
    };
    let mut raised = false;
    let mut raise = |state: &mut State<'_>, level: Level, ids: &[ReadingId], unconfirmed: bool| {
        let limit = AppliedLimit::PressureAtLeast(level.at_or_above);
        let base = trigger(context, session, ids, limit, Rule::Bp02);
        state.raise(
            Rule::Bp02,
            Trigger {
                severity: level.severity,
                unconfirmed,
                ..base
            },
        );
        raised = true;
    };
    let judged = level(session.mean);
    if let Some(judged) = judged {
        raise(state, judged, &session.used, false);
    }
    // What a pair of the sitting said stays said when lower readings are added to it.
    for peak in &session.inner.peaks {
        if let Some(level) = level(Some(*peak))
            && judged.is_none_or(|judged| level.severity > judged.severity)
        {
            let ids = session.used.get(..peak.readings).unwrap_or_default();
            raise(state, level, ids, false);
        }
    }
    // "No flag ever suppresses BP-02": what the readings would say without their flags is said, as unconfirmed.
    let despite = context.limits.bp02.iter().find(|l| {
        let reaches = |systolic, diastolic| l.at_or_above.is_reached(systolic, diastolic);
        session.mean_without_usable_pair(reaches).is_some()
    });
    if let Some(despite) = despite {
        raise(state, *despite, &session.readings, true);
    }
    // Where BP-05 is off, a lone reading raises the level that stands in for it, at close as BP-05 would.
    let lone = [session.mean, session.inner.mean_despite_flags]
        .into_iter()
        .flatten()
        .find(|m| m.readings == 1);
    // A mean of one exists only once its session is closed.
    if let Some(mean) = lone {
        let lone = context.limits.bp02.iter().find(|l| l.raised_by_lone);
        if let Some(level) = lone.filter(|l| l.at_or_above.is_reached(mean.systolic_mmhg, mean.diastolic_mmhg)) {
            raise(state, *level, &session.readings, true);
        }
    }
    for severe in &session.inner.severe {
        let unrepeated_at = severe.at + context.rule_set.bp01.repeat_within;
        if is_refuted(context, severe) {
            continue;
        }
        if context.now < unrepeated_at {
            state.check_at(Some(unrepeated_at));
            continue;
        }
        let reached = |l: &&Level| l.at_or_above.is_reached(severe.systolic_mmhg, severe.diastolic_mmhg);
        if let Some(level) = context.limits.bp02.iter().find(reached) {
            let limit = AppliedLimit::PressureAtLeast(level.at_or_above);
            let base = single(session, severe, limit, level.severity);
            state.raise(
                Rule::Bp02,
                Trigger {
                    unconfirmed: true,
                    ..base
                },
            );
            raised = true;
        }
    }
    let clears = |mean: Option<SessionMean>| {
        let limit = context.limits.bp02_clears_below;
        mean.is_some_and(|m| m.readings >= 2 && limit.is_above_both(m.systolic_mmhg, m.diastolic_mmhg))
    };
    if !raised && session.inner.severe.is_empty() && clears(session.mean) && clears(session.inner.mean_despite_flags) {
        state.clear(Rule::Bp02, session.last, session.used.clone());
    }
}

/// Whether a usable reading below the severe limit followed in time. A further severe one does not count: it confirms.
fn is_refuted(context: Context<'_>, severe: &SevereReading) -> bool {
    let within = context.rule_set.bp01.repeat_within;
    let from = context.ordered.partition_point(|r| r.measured_at <= severe.at);
    let after = context
        .ordered
        .iter()
        .skip(from)
        .take_while(|r| session::is_within(severe.at, r.measured_at, within));
    let policy = &context.rule_set.session;
    after
        .into_iter()
        .any(|r| session::refutes(r, policy, context.limits.severe))
}

/// BP-03: every severe reading near a danger symptom, whatever a new pair says.
fn severe_with_danger_symptom(state: &mut State<'_>) {
    let context = state.context;
    let link = context.rule_set.symptoms.link;
    for reading in context.ordered {
        if !is_severe(reading, context.limits.severe) {
            continue;
        }
        let at = reading.measured_at;
        let near: Vec<_> = context
            .symptoms
            .near(at, at, link, &context.rule_set.sy01.symptoms)
            .collect();
        if near.is_empty() {
            continue;
        }
        let mut evidence = vec![(at, Evidence::Reading(reading.id))];
        evidence.extend(near.iter().map(|e| (e.at, e.evidence)));
        state.raise(
            Rule::Bp03,
            Trigger {
                at,
                evidence,
                severity: context.rule_set.bp03.common.severity,
                limits: vec![
                    AppliedLimit::PressureAtLeast(context.limits.severe),
                    AppliedLimit::DangerSymptom,
                ],
                unconfirmed: false,
                // What was left out says nothing about the reading.
                doubtful: reading.flags.iter().any(|flag| *flag != Flag::StatusUndeclared),
                place: Some(reading.place),
                time_trusted: reading.time_trusted,
            },
        );
    }
}

fn is_severe(reading: &CareReading, limit: PressureLimit) -> bool {
    match reading.value {
        Value::BloodPressure {
            systolic, diastolic, ..
        } => limit.is_reached(systolic.rounded_mmhg(), diastolic.rounded_mmhg()),
        Value::Glucose(_) => false,
    }
}

/// BP-05: a session at or above its limit, a lone reading at its close included.
fn high_session(state: &mut State<'_>, session: &Session) {
    let context = state.context;
    let rule = &context.rule_set.bp05;
    let Some(mean) = session.mean else { return };
    if rule.at_or_above.is_reached(mean.systolic_mmhg, mean.diastolic_mmhg) {
        let limit = AppliedLimit::PressureAtLeast(rule.at_or_above);
        state.raise(Rule::Bp05, trigger(context, session, &session.used, limit, Rule::Bp05));
    } else if mean.readings >= 2
        && session.inner.severe.is_empty()
        && rule.clears_below.is_above_both(mean.systolic_mmhg, mean.diastolic_mmhg)
    {
        state.clear(Rule::Bp05, session.last, session.used.clone());
    }
}

/// BP-06: a low mean (of readings with fault flags only where there is no other pair), or a fall below the personal mean with dizziness.
fn low_session(state: &mut State<'_>, session: &Session, earlier: &[&Session]) {
    let context = state.context;
    let rule = &context.rule_set.bp06;
    let judged = session.policy_mean();
    let despite = session.inner.mean_despite_flags.filter(|m| m.readings >= 2);
    let low = |m: &SessionMean| m.systolic_mmhg < rule.systolic_below_mmhg;
    let low_without_usable_pair = session.mean_with_the_lone_usable(|systolic, _| systolic < rule.systolic_below_mmhg);
    let link = context.rule_set.symptoms.link;
    let has_near = |codes| {
        context
            .symptoms
            .near(session.started, session.last, link, codes)
            .next()
            .is_some()
    };
    let fell = || {
        judged.is_some_and(|m| has_near(&rule.drop_symptoms) && fell_below_personal_mean(context, session, m, earlier))
    };
    let (ids, limit, unconfirmed) = if judged.as_ref().is_some_and(low) {
        (
            &session.used,
            AppliedLimit::SystolicBelow {
                mmhg: rule.systolic_below_mmhg,
            },
            false,
        )
    } else if low_without_usable_pair.is_some() {
        (
            &session.readings,
            AppliedLimit::SystolicBelow {
                mmhg: rule.systolic_below_mmhg,
            },
            true,
        )
    } else if fell() {
        (
            &session.used,
            AppliedLimit::SystolicDrop { mmhg: rule.drop_mmhg },
            false,
        )
    } else {
        let up = |m: Option<SessionMean>| m.is_some_and(|m| m.systolic_mmhg >= rule.clears_systolic_mmhg);
        if up(judged) && up(despite) {
            state.clear(Rule::Bp06, session.last, session.used.clone());
        }
        return;
    };
    let mut severity = rule.common.severity;
    if context.profile.drugs.iter().any(|d| rule.drugs.contains(d)) {
        severity = severity.max(rule.severity_with_drugs);
    }
    if has_near(&rule.symptoms) {
        severity = severity.max(rule.severity_with_symptoms);
    }
    let base = trigger(context, session, ids, limit, Rule::Bp06);
    state.raise(
        Rule::Bp06,
        Trigger {
            severity,
            unconfirmed,
            ..base
        },
    );
}

/// Whether the mean lies far enough below the mean of the sessions before it. Compared as a fraction, without rounding.
fn fell_below_personal_mean(context: Context<'_>, session: &Session, mean: SessionMean, earlier: &[&Session]) -> bool {
    let rule = &context.rule_set.bp06;
    let from = session.started - rule.personal_window;
    let means: Vec<i64> = earlier
        .iter()
        .filter(|s| !s.superseded && s.last >= from && s.last < session.started)
        .filter_map(|s| s.policy_mean())
        .map(|m| m.systolic_mmhg)
        .collect();
    let count = i64::try_from(means.len()).unwrap_or(i64::MAX);
    means.len() >= rule.personal_sessions
        && mean.systolic_mmhg.saturating_add(rule.drop_mmhg).saturating_mul(count) <= means.iter().sum()
}

/// BP-04: store days at or above the limit since as many days in a row lay below it.
fn store_days(state: &mut State<'_>, by_end: &[&Session]) {
    let context = state.context;
    let rule = &context.rule_set.bp04;
    let limit = context.limits.bp04;
    let zone = context.rule_set.zone;
    let mut days: BTreeMap<NaiveDate, Vec<(&Session, SessionMean)>> = BTreeMap::new();
    for session in by_end.iter().filter(|s| s.place == Place::Store && !s.superseded) {
        let Some(mean) = session
            .inner
            .clean_mean
            .filter(|_| state.counts(Rule::Bp04, session.last))
        else {
            continue;
        };
        days.entry(session.started.with_timezone(&zone).date_naive())
            .or_default()
            .push((session, mean));
    }
    let is_high = |m: &SessionMean| limit.is_reached(m.systolic_mmhg, m.diastolic_mmhg);
    let family = Rule::Bp04.family();
    let mut high: Vec<Vec<&Session>> = Vec::new();
    let mut below = 0_usize;
    for sessions in days.values() {
        let of_day: Vec<&Session> = sessions.iter().filter(|(_, m)| is_high(m)).map(|(s, _)| *s).collect();
        let Some(last) = sessions.last().map(|(s, _)| *s) else {
            continue;
        };
        if of_day.is_empty() {
            below += 1;
            if below >= rule.clears_days {
                high.clear();
                let readings = sessions
                    .iter()
                    .flat_map(|(s, _)| s.inner.clean.iter().copied())
                    .collect();
                state.clear(Rule::Bp04, last.last, readings);
            }
            continue;
        }
        below = 0;
        let is_resolved = |s: &&Session| {
            let evidence: Vec<Evidence> = s.inner.clean.iter().map(|id| Evidence::Reading(*id)).collect();
            context.settled.is_resolved(family, &evidence)
        };
        if of_day.iter().all(is_resolved) {
            continue;
        }
        for session in &of_day {
            state.check_at(Some(session.last + rule.common.evidence_for));
        }
        high.push(of_day);
        if high.len() >= rule.days {
            let ids: Vec<ReadingId> = high
                .iter()
                .flatten()
                .flat_map(|s| s.inner.clean.iter().copied())
                .collect();
            let base = trigger(context, last, &[], AppliedLimit::PressureAtLeast(limit), Rule::Bp04);
            let newest = high.last().and_then(|d| d.last()).map_or(last.last, |s| s.last);
            state.raise(
                Rule::Bp04,
                Trigger {
                    at: newest,
                    evidence: context.dated(ids),
                    doubtful: false,
                    place: Some(Place::Store),
                    ..base
                },
            );
        }
    }
}

/// A low diastolic alone, of the latest judged session.
fn low_diastolic_note(state: &mut State<'_>, by_end: &[&Session]) {
    let rule = &state.context.rule_set.bp06;
    let latest = by_end
        .iter()
        .rev()
        .find_map(|s| s.policy_mean().filter(|_| !s.superseded).map(|m| (s, m)));
    let Some((session, mean)) = latest else { return };
    if mean.diastolic_mmhg < rule.note_diastolic_below_mmhg && mean.systolic_mmhg >= rule.systolic_below_mmhg {
        state.notes.push(Note {
            code: NoteCode::DiastolicLow,
            readings: session.used.clone(),
        });
    }
}
