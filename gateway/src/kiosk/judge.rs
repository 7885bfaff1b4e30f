//! What a sitting's readings ask for next, and what they come to: the rule set's session policy, put into screens.
//!
//! Every limit is the rule set's. The one exception is the line between normal and high-normal, which no rule reads.

use std::sync::Arc;
use std::time::Duration;

use carepost_domain::care::history::{CareReading, Profile, Value};
use carepost_domain::care::rule::PressureLimit;
use carepost_domain::care::rule_set::RuleSet;
use carepost_domain::care::session::{self, NextStep as Policy, Session};
use carepost_domain::reading::{Flag, Measurement, Place};
use carepost_domain::{Id, Phi};
use chrono::TimeDelta;
use uuid::Uuid;

use crate::sitting::ShownReading;

/// High-normal begins here, mmHg: systolic or diastolic (page 5, section 5.1, CN 2024 revision). For the words on the screen
/// only.
const HIGH_NORMAL_SYSTOLIC_MMHG: i64 = 120;
/// See [`HIGH_NORMAL_SYSTOLIC_MMHG`].
const HIGH_NORMAL_DIASTOLIC_MMHG: i64 = 80;

/// A blood-pressure reading of the sitting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Taken(Phi<CareReading>);

impl Taken {
    /// A blood pressure that the desk shows; `None` for anything else. On the desk a reading has a number and no id; the
    /// number stands in for it, because the policy only tells readings apart by it.
    pub(crate) fn new(shown: &ShownReading) -> Option<Self> {
        let Measurement::BloodPressure(bp) = shown.measurement.as_ref()?.expose() else {
            return None;
        };
        Some(Self(Phi::new(CareReading {
            id: Id::from_uuid(Uuid::from_u128(u128::from(shown.number))),
            measured_at: shown.measured_at,
            time_trusted: true,
            place: Place::Store,
            meter: None,
            value: Value::BloodPressure {
                systolic: bp.systolic,
                diastolic: bp.diastolic,
                pulse: bp.pulse,
            },
            flags: shown.flags.clone(),
            symptoms: Vec::new(),
            slot: None,
        })))
    }

    /// Systolic and diastolic, rounded to whole mmHg.
    pub(crate) fn mmhg(&self) -> (i64, i64) {
        match self.0.expose().value {
            Value::BloodPressure {
                systolic, diastolic, ..
            } => (systolic.rounded_mmhg(), diastolic.rounded_mmhg()),
            // `new` takes nothing else.
            Value::Glucose(_) => (0, 0),
        }
    }
}

/// What the person does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NextStep {
    /// Measure again after a gap.
    Another {
        /// The gap.
        gap: Duration,
    },
    /// A severe value: rest, then a new pair decides.
    Rest {
        /// The rest.
        rest: Duration,
    },
    /// Nothing more to measure.
    Done,
}

/// Text classes of a result, mildest above low (page 5, section 5.6, "text class").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    /// BP-06.
    Low,
    /// Below high-normal.
    Normal,
    /// Below BP-04.
    HighNormal,
    /// BP-04's limit.
    Raised,
    /// BP-05's limit.
    High,
    /// BP-01's and BP-02's limit.
    VeryHigh,
}

impl Class {
    /// As the catalogue spells it.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::HighNormal => "high-normal",
            Self::Raised => "raised",
            Self::High => "high",
            Self::VeryHigh => "very-high",
        }
    }
}

/// The mean of a sitting with its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) systolic_mmhg: i64,
    pub(crate) diastolic_mmhg: i64,
    pub(crate) pulse_per_min: Option<i64>,
    /// How many readings are in it.
    pub(crate) count: usize,
    pub(crate) class: Class,
    /// The cuff noticed an irregular pulse.
    pub(crate) irregular_pulse: bool,
    /// A severe value still waits for its new pair.
    pub(crate) unconfirmed: bool,
}

/// The result of a sitting; `None` when no reading was usable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome(pub(crate) Option<Phi<Shown>>);

/// The session policy of a rule set.
#[derive(Debug, Clone)]
pub(crate) struct Judge {
    rules: Arc<RuleSet>,
}

impl Judge {
    pub(crate) fn new(rules: Arc<RuleSet>) -> Self {
        Self { rules }
    }

    /// What comes after these readings, in the order in which they came.
    pub(crate) fn next(&self, readings: &[Taken]) -> NextStep {
        match self
            .sessions(readings, TimeDelta::zero())
            .last()
            .map(|session| session.next)
        {
            None | Some(Policy::Done) => NextStep::Done,
            Some(Policy::MeasureAgainAfter { seconds } | Policy::ThirdReading { seconds }) => NextStep::Another {
                gap: whole_seconds(seconds),
            },
            Some(Policy::RestAndRepeat { seconds }) => NextStep::Rest {
                rest: whole_seconds(seconds),
            },
        }
    }

    /// What the readings come to if nothing more is measured.
    pub(crate) fn outcome(&self, readings: &[Taken]) -> Outcome {
        let after_close = self.rules.session.idle_close + TimeDelta::seconds(1);
        let sessions = self.sessions(readings, after_close);
        let Some((session, mean)) = sessions.iter().rev().find_map(|session| Some((session, session.mean?))) else {
            return Outcome(None);
        };
        let shown = Shown {
            systolic_mmhg: mean.systolic_mmhg,
            diastolic_mmhg: mean.diastolic_mmhg,
            pulse_per_min: mean.pulse_per_min,
            count: mean.readings,
            class: self.class(mean.systolic_mmhg, mean.diastolic_mmhg),
            irregular_pulse: session.doubts.contains(&Flag::IrregularPulse),
            unconfirmed: sessions.iter().any(Session::waits_for_new_pair),
        };
        Outcome(Some(Phi::new(shown)))
    }

    /// The text class of a mean. A value that is low and high at once (85/112) gets the words for high.
    pub(crate) fn class(&self, systolic_mmhg: i64, diastolic_mmhg: i64) -> Class {
        let reaches = |limit: PressureLimit| limit.is_reached(systolic_mmhg, diastolic_mmhg);
        if reaches(self.rules.bp01.at_or_above) || reaches(self.rules.bp02.at_or_above) {
            Class::VeryHigh
        } else if reaches(self.rules.bp05.at_or_above) {
            Class::High
        } else if reaches(self.rules.bp04.at_or_above) {
            Class::Raised
        } else if systolic_mmhg < self.rules.bp06.systolic_below_mmhg {
            Class::Low
        } else if systolic_mmhg >= HIGH_NORMAL_SYSTOLIC_MMHG || diastolic_mmhg >= HIGH_NORMAL_DIASTOLIC_MMHG {
            Class::HighNormal
        } else {
            Class::Normal
        }
    }

    /// The sessions so long after the last measured instant. The wall clock is not asked: the meter's times are what
    /// belongs together. The member's profile is not on the gateway, so adult rules apply to the words.
    fn sessions(&self, readings: &[Taken], after: TimeDelta) -> Vec<Session> {
        let readings: Vec<CareReading> = readings.iter().map(|taken| taken.0.expose().clone()).collect();
        let Some(last) = readings.iter().map(|reading| reading.measured_at).max() else {
            return Vec::new();
        };
        session::sessions(&self.rules, &Profile::default(), &readings, last + after)
    }
}

fn whole_seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use carepost_domain::reading::BloodPressure;
    use carepost_domain::units::{Pressure, PressureUnit, PulseRate};
    use chrono::DateTime;

    use super::*;
    use crate::sitting::ReadingState;

    fn judge() -> Judge {
        Judge::new(Arc::new(RuleSet::cn_2024()))
    }

    fn taken(at_s: i64, systolic: i32, diastolic: i32, flags: &[Flag]) -> Taken {
        let measurement = Measurement::BloodPressure(BloodPressure {
            unit: PressureUnit::MmHg,
            systolic: Pressure::from_mmhg(systolic),
            diastolic: Pressure::from_mmhg(diastolic),
            mean_arterial: None,
            pulse: Some(PulseRate::from_per_min(70)),
            user_slot: None,
        });
        let shown = ShownReading {
            number: u32::try_from(at_s).unwrap() + 1,
            measured_at: DateTime::from_timestamp(1_792_049_400 + at_s, 0).unwrap(),
            measurement: Some(Phi::new(measurement)),
            flags: flags.to_vec(),
            slot: None,
            state: ReadingState::NotKept,
        };
        Taken::new(&shown).unwrap()
    }

    fn shown(readings: &[Taken]) -> Shown {
        judge().outcome(readings).0.unwrap().into_inner()
    }

    #[test]
    fn two_readings_that_agree_are_enough_and_two_that_differ_ask_for_a_third() {
        let judge = judge();
        let gap = Duration::from_secs(60);
        assert_eq!(judge.next(&[taken(0, 130, 80, &[])]), NextStep::Another { gap });
        assert_eq!(
            judge.next(&[taken(0, 130, 80, &[]), taken(60, 138, 84, &[])]),
            NextStep::Done
        );
        let differ = [taken(0, 130, 80, &[]), taken(60, 144, 84, &[])];
        assert_eq!(judge.next(&differ), NextStep::Another { gap });
        let [a, b] = differ;
        assert_eq!(judge.next(&[a, b, taken(120, 138, 82, &[])]), NextStep::Done);
    }

    #[test]
    fn a_severe_value_asks_for_rest_and_the_new_pair_decides() {
        let judge = judge();
        let severe = taken(0, 186, 104, &[]);
        assert_eq!(
            judge.next(std::slice::from_ref(&severe)),
            NextStep::Rest {
                rest: Duration::from_secs(300)
            }
        );
        assert!(shown(std::slice::from_ref(&severe)).unconfirmed);
        let pair = [severe, taken(320, 158, 92, &[]), taken(380, 156, 90, &[])];
        assert!(matches!(judge.next(&pair[..2]), NextStep::Another { .. }));
        assert_eq!(judge.next(&pair), NextStep::Done);
        let shown = shown(&pair);
        assert_eq!(
            (shown.systolic_mmhg, shown.diastolic_mmhg, shown.count, shown.class),
            (157, 91, 2, Class::Raised)
        );
        assert!(!shown.unconfirmed);
    }

    #[test]
    fn a_moved_arm_is_in_no_mean() {
        let readings = [taken(0, 150, 95, &[Flag::BodyMovement]), taken(60, 120, 78, &[])];
        assert!(matches!(judge().next(&readings), NextStep::Another { .. }));
        assert_eq!(shown(&readings).count, 1);
        assert_eq!(judge().outcome(&readings[..1]), Outcome(None));
    }

    #[test]
    fn classes_begin_exactly_at_their_limits() {
        let check = |systolic, diastolic, class| {
            assert_eq!(judge().class(systolic, diastolic), class, "{systolic}/{diastolic}")
        };
        check(89, 60, Class::Low);
        check(90, 60, Class::Normal);
        check(119, 79, Class::Normal);
        check(120, 79, Class::HighNormal);
        check(119, 80, Class::HighNormal);
        check(139, 89, Class::HighNormal);
        check(140, 70, Class::Raised);
        check(110, 90, Class::Raised);
        check(159, 99, Class::Raised);
        check(160, 80, Class::High);
        check(120, 100, Class::High);
        check(179, 109, Class::High);
        check(180, 80, Class::VeryHigh);
        check(120, 110, Class::VeryHigh);
        check(85, 112, Class::VeryHigh);
    }

    #[test]
    fn an_irregular_pulse_is_said() {
        let readings = [
            taken(0, 120, 78, &[Flag::IrregularPulse]),
            taken(60, 122, 78, &[]),
            taken(120, 121, 77, &[]),
        ];
        assert!(shown(&readings).irregular_pulse);
    }
}
