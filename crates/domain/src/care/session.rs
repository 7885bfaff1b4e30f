//! Sessions: blood-pressure readings of one sitting, with their mean by the session policy (page 5, section 2).

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::care::history::{CareReading, Profile, Value, in_measured_order};
use crate::care::rule::PressureLimit;
use crate::care::rule_set::{Limits, RuleSet, SessionPolicy};
use crate::code_enum;
use crate::id::{Id, MeterId, ReadingId, SessionId};
use crate::reading::{Flag, Place};
use crate::units::{Pressure, PulseRate};

/// The mean of a session, rounded half up to whole numbers once; these numbers are judged, stored and shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionMean {
    /// Systolic, mmHg.
    pub systolic_mmhg: i64,
    /// Diastolic, mmHg.
    pub diastolic_mmhg: i64,
    /// Pulse per minute, over the readings that have one.
    pub pulse_per_min: Option<i64>,
    /// How many readings are in it.
    pub readings: usize,
}

code_enum! {
    /// How far a session is.
    pub enum SessionState ("session state") {
        /// Waits for the readings that the policy wants.
        Open = "open",
        /// Judged; a later reading of the sitting judges it again.
        Judged = "judged",
        /// Judged and closed.
        Closed = "closed",
        /// Closed with a lone usable reading.
        Single = "single",
        /// Closed without a usable reading.
        Unusable = "unusable",
    }
}

/// What the person at the meter should do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum NextStep {
    /// Measure again after the gap.
    MeasureAgainAfter {
        /// Seconds from the last reading.
        seconds: i64,
    },
    /// A further reading is needed, after the same gap: the first differ, or one is labelled with caution.
    ThirdReading {
        /// Seconds from the last reading.
        seconds: i64,
    },
    /// A severe value: the sitting ends, rest, and a new pair decides.
    RestAndRepeat {
        /// Seconds of rest from the last reading.
        seconds: i64,
    },
    /// Nothing more to measure.
    Done,
}

/// Readings of one sitting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Derived from the first reading, so that it is the same in every evaluation.
    pub id: SessionId,
    /// Where.
    pub place: Place,
    /// The meter, where known.
    pub meter: Option<MeterId>,
    /// All readings, in measured order; those that are not in `used` are shown hollow.
    pub readings: Vec<ReadingId>,
    /// Readings in the mean.
    pub used: Vec<ReadingId>,
    /// The mean, once the session is judged.
    pub mean: Option<SessionMean>,
    /// How far it is.
    pub state: SessionState,
    /// Flags of used readings that label the session.
    pub doubts: Vec<Flag>,
    /// It was judged at its close from readings that differ too much, because the further reading never came.
    pub further_reading_missing: bool,
    /// First measured instant.
    pub started: DateTime<Utc>,
    /// Last measured instant.
    pub last: DateTime<Utc>,
    /// When it closes if nothing is measured any more.
    pub closes_at: DateTime<Utc>,
    /// The session that a severe reading ended and that this one repeats.
    pub repeats: Option<SessionId>,
    /// Readings at or above the severe limit that wait for a new pair, or waited until one decided.
    pub severe: Vec<ReadingId>,
    /// A new pair has decided instead of this session; its values stay as evidence only. Never set where a pair of this
    /// session was itself judged at or above a limit of BP-02: what is confirmed ends only by its clear condition.
    pub superseded: bool,
    /// What to do next.
    pub next: NextStep,
    pub(crate) inner: Inner,
}

/// What rules need beyond the public picture.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Inner {
    /// The mean as if no reading had a flag: no flag may suppress BP-02 or BP-06 (page 5, section 2).
    pub(crate) mean_despite_flags: Option<SessionMean>,
    /// The only usable reading, where there is no more than one and the others do not agree with it.
    pub(crate) lone_usable: Option<(i64, i64)>,
    /// The highest means that were judged before the last reading came, by systolic and by diastolic: a pair that was
    /// severe stays so, however many lower readings are added to its sitting.
    pub(crate) peaks: Vec<SessionMean>,
    /// A later pair of the same place was judged: nothing waits for it any more.
    pub(crate) answered: bool,
    /// The mean without caution readings, for BP-04.
    pub(crate) clean_mean: Option<SessionMean>,
    pub(crate) clean: Vec<ReadingId>,
    /// The severe readings with their instants and rounded values.
    pub(crate) severe: Vec<SevereReading>,
    /// Severe readings of the sessions that this one repeats, oldest first.
    pub(crate) first_values: Vec<ReadingId>,
    pub(crate) time_trusted: bool,
}

/// A reading at or above the severe limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SevereReading {
    pub(crate) id: ReadingId,
    pub(crate) at: DateTime<Utc>,
    pub(crate) systolic_mmhg: i64,
    pub(crate) diastolic_mmhg: i64,
    pub(crate) time_trusted: bool,
}

impl Session {
    /// Whether it takes no further reading.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(
            self.state,
            SessionState::Closed | SessionState::Single | SessionState::Unusable
        )
    }

    /// The mean, if it is one of at least two readings: what the policy calls judged.
    #[must_use]
    pub fn policy_mean(&self) -> Option<SessionMean> {
        self.mean.filter(|m| m.readings >= 2)
    }

    /// Readings of a severe value that still wait for a new pair.
    #[must_use]
    pub fn waits_for_new_pair(&self) -> bool {
        !self.severe.is_empty() && !self.superseded && !self.inner.answered
    }

    /// The mean of a pair, flags put aside, that decides `reaches` where no pair of usable readings can: readings with a
    /// fault flag are never mixed into a mean of usable ones.
    pub(crate) fn mean_without_usable_pair(&self, reaches: impl Fn(i64, i64) -> bool) -> Option<SessionMean> {
        self.inner
            .mean_despite_flags
            .filter(|m| self.used.len() < 2 && m.readings >= 2)
            .filter(|m| reaches(m.systolic_mmhg, m.diastolic_mmhg))
    }

    /// The same, where a lone usable reading must say so too: an artefact far from it makes no low mean.
    pub(crate) fn mean_with_the_lone_usable(&self, reaches: impl Fn(i64, i64) -> bool) -> Option<SessionMean> {
        let lone = self.inner.lone_usable;
        let agrees = lone.is_none_or(|(systolic, diastolic)| reaches(systolic, diastolic));
        self.mean_without_usable_pair(reaches).filter(|_| agrees)
    }

    /// Whether a pair of it was judged at or above this limit.
    fn pair_reached(&self, limit: PressureLimit) -> bool {
        let reaches = |systolic, diastolic| limit.is_reached(systolic, diastolic);
        let mut means = self.policy_mean().into_iter().chain(self.inner.peaks.iter().copied());
        means.any(|m| reaches(m.systolic_mmhg, m.diastolic_mmhg)) || self.mean_without_usable_pair(reaches).is_some()
    }
}

/// Groups a member's blood-pressure readings into sessions, in the order in which they began.
///
/// Readings after `now` are ignored. A severe reading ends its sitting; what is measured after it is a new sitting that
/// repeats it, except a further severe reading before the rest is over, which only confirms. In a repeat, severe readings
/// are counted like others until its pair is complete, because there the pair decides.
#[must_use]
pub fn sessions(rule_set: &RuleSet, profile: &Profile, readings: &[CareReading], now: DateTime<Utc>) -> Vec<Session> {
    group(
        rule_set,
        &rule_set.limits(profile, now),
        &in_measured_order(readings, now),
        now,
    )
}

pub(crate) fn group(rule_set: &RuleSet, limits: &Limits, ordered: &[&CareReading], now: DateTime<Utc>) -> Vec<Session> {
    let mut sessions = Vec::new();
    for place in Place::ALL {
        let points: Vec<Point<'_>> = ordered
            .iter()
            .filter(|r| r.place == *place)
            .filter_map(|r| Point::of(r, &rule_set.session, limits.severe))
            .collect();
        let sittings = sittings(rule_set, points);
        let from = sessions.len();
        for sitting in &sittings {
            let earlier: Option<&Session> = sitting.repeats.and_then(|index| sessions.get(from + index));
            let session = sitting.session(rule_set, earlier, now);
            sessions.push(session);
        }
        mark_decided(&sittings, sessions.get_mut(from..).unwrap_or_default(), limits);
    }
    for session in &mut sessions {
        session.next = next_step(session, rule_set);
    }
    sessions.sort_by_key(|s| (s.started, s.id));
    sessions
}

/// A reading with what the policy says about it.
#[derive(Debug, Clone, Copy)]
struct Point<'r> {
    reading: &'r CareReading,
    systolic: Pressure,
    diastolic: Pressure,
    pulse: Option<PulseRate>,
    usable: bool,
    caution: bool,
    severe: bool,
}

impl<'r> Point<'r> {
    fn of(reading: &'r CareReading, policy: &SessionPolicy, severe: PressureLimit) -> Option<Self> {
        let Value::BloodPressure {
            systolic,
            diastolic,
            pulse,
        } = reading.value
        else {
            return None;
        };
        let usable = !reading.flags.iter().any(|f| policy.unusable.contains(f));
        Some(Self {
            reading,
            systolic,
            diastolic,
            pulse,
            usable,
            caution: usable && reading.flags.iter().any(|f| policy.caution.contains(f)),
            // A flag never hides a severe value.
            severe: severe.is_reached(systolic.rounded_mmhg(), diastolic.rounded_mmhg()),
        })
    }
}

/// Consecutive readings, before they are judged.
struct Sitting<'r> {
    points: Vec<Point<'r>>,
    /// Index of the sitting that this one repeats.
    repeats: Option<usize>,
    /// A severe reading ended it.
    ended: bool,
}

fn sittings<'r>(rule_set: &RuleSet, points: Vec<Point<'r>>) -> Vec<Sitting<'r>> {
    let policy = &rule_set.session;
    let mut sittings: Vec<Sitting<'r>> = Vec::new();
    for point in points {
        let index = sittings.len().checked_sub(1);
        let Some((current, last)) = sittings
            .last_mut()
            .and_then(|s| s.points.last().copied().map(|last| (s, last)))
        else {
            sittings.push(Sitting {
                ended: point.severe,
                points: vec![point],
                repeats: None,
            });
            continue;
        };
        let gap = point.reading.measured_at - last.reading.measured_at;
        let other_meter = matches!((point.reading.meter, last.reading.meter), (Some(a), Some(b)) if a != b);
        let confirms = point.severe && gap < rule_set.bp01.rest;
        if gap <= policy.idle_close && !other_meter && (!current.ended || confirms) {
            let pair_complete = is_complete(policy, current.points.iter());
            current.points.push(point);
            current.ended = current.ended || (point.severe && (current.repeats.is_none() || pair_complete));
            continue;
        }
        let waits = current.ended || (current.repeats.is_some() && !is_complete(policy, current.points.iter()));
        let last_severe = current.points.iter().rev().find(|p| p.severe);
        let in_time = last_severe
            .is_some_and(|s| point.reading.measured_at - s.reading.measured_at <= rule_set.bp01.repeat_within);
        let repeats = if waits && in_time { index } else { None };
        sittings.push(Sitting {
            ended: point.severe && repeats.is_none(),
            points: vec![point],
            repeats,
        });
    }
    sittings
}

/// A new pair that was judged decides instead of what it repeats, and of what that repeated, unless a pair there was
/// already judged at or above a limit. One that came too late to repeat still ends the waiting.
fn mark_decided(sittings: &[Sitting<'_>], sessions: &mut [Session], limits: &Limits) {
    let mut pair_follows = false;
    for session in sessions.iter_mut().rev() {
        session.inner.answered = pair_follows;
        pair_follows |= session.policy_mean().is_some();
    }
    let mut decided = vec![false; sessions.len()];
    for index in (0..sittings.len()).rev() {
        let Some(earlier) = sittings.get(index).and_then(|s| s.repeats) else {
            continue;
        };
        let decides = decided.get(index).copied().unwrap_or_default()
            || sessions.get(index).is_some_and(|s| s.policy_mean().is_some());
        if !decides {
            continue;
        }
        if let Some(decided) = decided.get_mut(earlier) {
            *decided = true;
        }
        if let Some(session) = sessions.get_mut(earlier) {
            session.superseded = !limits.bp02.iter().any(|level| session.pair_reached(level.at_or_above));
        }
    }
}

/// Whether the readings, flags aside, are what the policy wants.
fn is_complete<'p, 'r: 'p>(policy: &SessionPolicy, points: impl Iterator<Item = &'p Point<'r>>) -> bool {
    let points: Vec<&Point<'_>> = points.collect();
    points.len() >= wanted(policy, &points)
}

/// How many readings the policy wants, seeing those there are.
fn wanted(policy: &SessionPolicy, points: &[&Point<'_>]) -> usize {
    if agree(policy, points) {
        policy.readings
    } else {
        policy.readings.max(2) + 1
    }
}

/// Whether the first readings lie close enough together, systolic and diastolic.
fn agree(policy: &SessionPolicy, points: &[&Point<'_>]) -> bool {
    let most = policy.third_if_differ_over_mmhg.saturating_mul(Pressure::SCALE);
    let spread = |of: fn(&Point<'_>) -> Pressure| {
        let values = || points.iter().take(policy.readings).map(|p| of(p).micro_mmhg());
        values().max().unwrap_or(0) - values().min().unwrap_or(0)
    };
    spread(|p| p.systolic) <= most && spread(|p| p.diastolic) <= most
}

/// The mean if the policy has its readings, or if the session closed with what there is.
fn judge(policy: &SessionPolicy, points: &[&Point<'_>], closed: bool) -> Option<SessionMean> {
    if points.is_empty() || (!closed && points.len() < wanted(policy, points)) {
        return None;
    }
    let pulses: Vec<i64> = points
        .iter()
        .filter_map(|p| p.pulse)
        .map(PulseRate::milli_per_min)
        .collect();
    Some(SessionMean {
        systolic_mmhg: mean_half_up(points.iter().map(|p| p.systolic.micro_mmhg()), Pressure::SCALE),
        diastolic_mmhg: mean_half_up(points.iter().map(|p| p.diastolic.micro_mmhg()), Pressure::SCALE),
        pulse_per_min: (!pulses.is_empty()).then(|| mean_half_up(pulses.into_iter(), PulseRate::SCALE)),
        readings: points.len(),
    })
}

/// The highest means that the policy judged before the last of these readings was there: by systolic and by diastolic.
fn peaks(policy: &SessionPolicy, points: &[&Point<'_>]) -> Vec<SessionMean> {
    let least = wanted(policy, points).max(2);
    let (mut systolic_sum, mut diastolic_sum) = (0_i128, 0_i128);
    let earlier = points.split_last().map_or(&[][..], |(_, earlier)| earlier);
    let mut means = Vec::new();
    for (point, readings) in earlier.iter().zip(1_usize..) {
        systolic_sum += i128::from(point.systolic.micro_mmhg());
        diastolic_sum += i128::from(point.diastolic.micro_mmhg());
        if readings >= least {
            let count = i128::try_from(readings).unwrap_or(i128::MAX);
            means.push(SessionMean {
                systolic_mmhg: quotient_half_up(systolic_sum, count, Pressure::SCALE),
                diastolic_mmhg: quotient_half_up(diastolic_sum, count, Pressure::SCALE),
                pulse_per_min: None,
                readings,
            });
        }
    }
    let systolic = means.iter().max_by_key(|m| m.systolic_mmhg);
    let diastolic = means.iter().max_by_key(|m| m.diastolic_mmhg);
    systolic.into_iter().chain(diastolic).copied().collect()
}

/// The mean of scaled integers as a whole number, rounded half up once, without rounding in between.
fn mean_half_up(values: impl Iterator<Item = i64>, scale: i64) -> i64 {
    let (sum, count) = values.fold((0_i128, 0_i128), |(sum, count), v| (sum + i128::from(v), count + 1));
    quotient_half_up(sum, count, scale)
}

fn quotient_half_up(sum: i128, count: i128, scale: i64) -> i64 {
    let unit = count.max(1) * i128::from(scale);
    // floor(sum / unit + 1/2), kept in integers by doubling.
    i64::try_from((2 * sum + unit).div_euclid(2 * unit)).unwrap_or(i64::MAX)
}

impl Sitting<'_> {
    fn session(&self, rule_set: &RuleSet, earlier: Option<&Session>, now: DateTime<Utc>) -> Session {
        let policy = &rule_set.session;
        let at = |p: Option<&Point<'_>>| p.map_or(now, |p| p.reading.measured_at);
        let (started, last) = (at(self.points.first()), at(self.points.last()));
        let closes_at = last + policy.idle_close;
        let closed = now >= closes_at;
        let all: Vec<&Point<'_>> = self.points.iter().collect();
        let used: Vec<&Point<'_>> = self.points.iter().filter(|p| p.usable).collect();
        let clean: Vec<&Point<'_>> = used.iter().copied().filter(|p| !p.caution).collect();
        let ids = |points: &[&Point<'_>]| points.iter().map(|p| p.reading.id).collect::<Vec<ReadingId>>();
        let mean = judge(policy, &used, closed);
        let clean_mean = if clean.len() == used.len() {
            mean
        } else {
            // What is left of a labelled session counts only if it is a mean by itself.
            judge(policy, &clean, closed).filter(|m| m.readings >= policy.readings)
        };
        let state = match (closed, used.len(), mean) {
            (false, _, None) => SessionState::Open,
            (false, _, Some(_)) => SessionState::Judged,
            (true, 0, _) => SessionState::Unusable,
            (true, 1, _) => SessionState::Single,
            (true, _, _) => SessionState::Closed,
        };
        let mut doubts: Vec<Flag> = used
            .iter()
            .flat_map(|p| &p.reading.flags)
            .copied()
            .filter(|f| policy.caution.contains(f))
            .collect();
        doubts.sort();
        doubts.dedup();
        let pair_decides = self.repeats.is_some() && !self.ended;
        // In a repeat whose pair is complete, the pair has decided about its own severe readings.
        let waiting = !(pair_decides && mean.is_some_and(|m| m.readings >= 2));
        let severe: Vec<SevereReading> = self
            .points
            .iter()
            .filter(|p| p.severe && waiting)
            .map(|p| SevereReading {
                id: p.reading.id,
                at: p.reading.measured_at,
                systolic_mmhg: p.systolic.rounded_mmhg(),
                diastolic_mmhg: p.diastolic.rounded_mmhg(),
                time_trusted: p.reading.time_trusted,
            })
            .collect();
        let first_values = earlier
            .map(|e| {
                e.inner
                    .first_values
                    .iter()
                    .copied()
                    .chain(e.severe.iter().copied())
                    .collect()
            })
            .unwrap_or_default();
        Session {
            id: self
                .points
                .first()
                .map_or(Id::from_uuid(uuid::Uuid::nil()), |p| Id::from_uuid(p.reading.id.uuid())),
            place: self.points.first().map_or(Place::Home, |p| p.reading.place),
            meter: self.points.iter().find_map(|p| p.reading.meter),
            readings: ids(&all),
            used: ids(&used),
            mean,
            state,
            doubts,
            further_reading_missing: closed && used.len() >= 2 && used.len() < wanted(policy, &used),
            started,
            last,
            closes_at,
            repeats: earlier.map(|e| e.id),
            severe: severe.iter().map(|s| s.id).collect(),
            superseded: false,
            next: NextStep::Done,
            inner: Inner {
                mean_despite_flags: judge(policy, &all, closed),
                lone_usable: match used.as_slice() {
                    // Where the others agree with it, their flags say nothing against them.
                    [lone] if !agree(policy, &all) => {
                        Some((lone.systolic.rounded_mmhg(), lone.diastolic.rounded_mmhg()))
                    }
                    _ => None,
                },
                peaks: peaks(policy, &used),
                answered: false,
                clean_mean,
                clean: ids(&clean),
                severe,
                first_values,
                time_trusted: self.points.iter().all(|p| p.reading.time_trusted),
            },
        }
    }
}

fn next_step(session: &Session, rule_set: &RuleSet) -> NextStep {
    let policy = &rule_set.session;
    let seconds = policy.gap_max_s;
    if session.is_closed() || session.superseded || session.inner.answered {
        return NextStep::Done;
    }
    // In a repeat, severe readings wait too until the pair is complete; there the next reading completes it.
    if session.waits_for_new_pair() && session.repeats.is_none() {
        return NextStep::RestAndRepeat {
            seconds: rule_set.bp01.rest.num_seconds(),
        };
    }
    if session.used.len() < policy.readings {
        return NextStep::MeasureAgainAfter { seconds };
    }
    if session.mean.is_none() || (!session.doubts.is_empty() && session.used.len() == policy.readings) {
        return NextStep::ThirdReading { seconds };
    }
    if session.waits_for_new_pair() {
        return NextStep::RestAndRepeat {
            seconds: rule_set.bp01.rest.num_seconds(),
        };
    }
    NextStep::Done
}

/// The instant at which an open session changes by itself: its close.
pub(crate) fn closes_later(session: &Session, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    (now < session.closes_at).then_some(session.closes_at)
}

/// A usable, non-severe reading that follows a severe one in time refutes that it was left unrepeated.
pub(crate) fn refutes(reading: &CareReading, policy: &SessionPolicy, severe: PressureLimit) -> bool {
    Point::of(reading, policy, severe).is_some_and(|p| p.usable && !p.severe)
}

/// Whether `later` lies after `earlier` and no more than `within` after it.
pub(crate) fn is_within(earlier: DateTime<Utc>, later: DateTime<Utc>, within: TimeDelta) -> bool {
    later > earlier && later - earlier <= within
}
