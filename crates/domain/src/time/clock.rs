//! What two looks at a meter's clock say about the records between them.
//!
//! A meter keeps local time and nobody looks after it: it drifts by seconds a day, it is put right, or wrong, by its owner,
//! it starts again at a factory date when its battery is changed, and it may or may not follow summer time. Each link looks
//! at it once; the change since the last look decides which correction a record gets and whether that is certain.

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::{FUTURE_TOLERANCE, local_to_utc};

/// What two looks may differ by although nobody touched the clock: some meters show whole minutes, and the answer to a read
/// takes a while.
pub const LOOK_TOLERANCE: TimeDelta = TimeDelta::seconds(90);

/// How fast a clock may drift, in seconds a day. Watch crystals stay below 10 at any temperature that a person bears; cheap
/// meters are allowed three times that. What is faster was set.
pub const MAX_DRIFT_S_PER_DAY: i64 = 30;

/// One look at a meter's clock, by a gateway whose own clock is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockSeen {
    /// The gateway's time.
    pub seen_at: DateTime<Utc>,
    /// What the meter showed, a local time without a zone.
    pub shown: NaiveDateTime,
    /// Gateway minus meter in milliseconds, the meter's time read in the zone of its store.
    pub skew_ms: i64,
}

impl ClockSeen {
    /// A look at a clock that showed `shown` at `seen_at`, in a store of this zone.
    #[must_use]
    pub fn new(seen_at: DateTime<Utc>, shown: NaiveDateTime, zone: Tz) -> Self {
        let skew = seen_at.signed_duration_since(local_to_utc(shown, zone));
        Self {
            seen_at,
            shown,
            skew_ms: skew.num_milliseconds(),
        }
    }

    /// A look of which the skew was kept, gateway minus meter, in a store of this zone.
    #[must_use]
    pub fn from_skew(seen_at: DateTime<Utc>, skew: TimeDelta, zone: Tz) -> Self {
        let shown = plus(
            seen_at,
            TimeDelta::milliseconds(skew.num_milliseconds().saturating_neg()),
        );
        Self {
            seen_at,
            shown: shown.with_timezone(&zone).naive_local(),
            skew_ms: skew.num_milliseconds(),
        }
    }

    /// Gateway minus meter.
    #[must_use]
    pub const fn skew(&self) -> TimeDelta {
        TimeDelta::milliseconds(self.skew_ms)
    }

    /// Gateway minus meter, the meter's time read as if it were UTC: steady when the store's zone changes its offset and the
    /// meter does not follow.
    fn offset_ms(&self) -> i64 {
        self.seen_at
            .signed_duration_since(self.shown.and_utc())
            .num_milliseconds()
    }
}

/// What happened to a meter's clock since the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockVerdict {
    /// Nobody looked before. The clock is taken to have run as it runs now.
    First {
        /// This look.
        now: ClockSeen,
    },
    /// It ran, drifting no faster than clocks do.
    Steady {
        /// The last look.
        previous: ClockSeen,
        /// This look.
        now: ClockSeen,
    },
    /// It ran, and did not follow a change of the store's zone between summer and winter time.
    NotFollowed {
        /// The last look.
        previous: ClockSeen,
        /// This look.
        now: ClockSeen,
    },
    /// Somebody or something set it at an unknown moment between the two looks.
    Jumped {
        /// The last look.
        previous: ClockSeen,
        /// This look.
        now: ClockSeen,
    },
}

/// The correction of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Correction {
    /// To be added to the record's own time, read in the zone of the store.
    pub skew: TimeDelta,
    /// The clock may have been another one when the record was measured: the time gets the label
    /// [`SkewUncertain`](super::TimeQuality::SkewUncertain).
    pub uncertain: bool,
}

/// Compares a look at a meter's clock with the last one before it.
#[must_use]
pub fn clock_history(previous: Option<ClockSeen>, now: ClockSeen) -> ClockVerdict {
    let Some(previous) = previous else {
        return ClockVerdict::First { now };
    };
    // A gateway whose own clock was put back has seen the meter "later" before: no time for drift.
    let elapsed_s = now.seen_at.signed_duration_since(previous.seen_at).num_seconds().max(0);
    let drift_ms = elapsed_s.saturating_mul(MAX_DRIFT_S_PER_DAY).saturating_mul(1_000) / 86_400;
    let allowed_ms = LOOK_TOLERANCE.num_milliseconds().saturating_add(drift_ms);
    let within = |a: i64, b: i64| a.saturating_sub(b).saturating_abs() <= allowed_ms;
    if within(now.skew_ms, previous.skew_ms) {
        ClockVerdict::Steady { previous, now }
    } else if within(now.offset_ms(), previous.offset_ms()) {
        ClockVerdict::NotFollowed { previous, now }
    } else {
        ClockVerdict::Jumped { previous, now }
    }
}

impl ClockVerdict {
    /// The correction of a record that carries the local time `recorded`.
    ///
    /// A clock that ran gets, between the two looks, what its drift had become by then; outside them, what was seen at the
    /// nearer one. After a jump a record gets what was seen now, because nobody knows when the clock was set, and is marked
    /// uncertain; unless it can only be from before the jump: it would lie in the future otherwise (uncertain all the same),
    /// or it was there at the last look by the old clock and cannot have been measured since by the new one (certain).
    #[must_use]
    pub fn correction(&self, recorded: NaiveDateTime, zone: Tz) -> Correction {
        let at = local_to_utc(recorded, zone);
        match self {
            Self::First { now } => certain(now.skew()),
            Self::Steady { previous, now } => certain(TimeDelta::milliseconds(between(
                at,
                (previous, previous.skew_ms),
                (now, now.skew_ms),
            ))),
            Self::NotFollowed { previous, now } => {
                let as_utc = recorded.and_utc();
                let offset = between(as_utc, (previous, previous.offset_ms()), (now, now.offset_ms()));
                let true_at = plus(as_utc, TimeDelta::milliseconds(offset));
                certain(true_at.signed_duration_since(at))
            }
            Self::Jumped { previous, now } => {
                let (by_old, by_new) = (plus(at, previous.skew()), plus(at, now.skew()));
                let latest = plus(now.seen_at, FUTURE_TOLERANCE);
                let since_by_new = by_new > previous.seen_at && by_new <= latest;
                if by_old <= previous.seen_at && !since_by_new {
                    certain(previous.skew())
                } else if by_new > latest && by_old <= latest {
                    uncertain(previous.skew())
                } else {
                    uncertain(now.skew())
                }
            }
        }
    }

    /// Whether the clock was set between the two looks.
    #[must_use]
    pub const fn is_jump(&self) -> bool {
        matches!(self, Self::Jumped { .. })
    }
}

const fn certain(skew: TimeDelta) -> Correction {
    Correction { skew, uncertain: false }
}

const fn uncertain(skew: TimeDelta) -> Correction {
    Correction { skew, uncertain: true }
}

/// Saturates at the ends of the calendar, where no record is from.
fn plus(at: DateTime<Utc>, by: TimeDelta) -> DateTime<Utc> {
    at.checked_add_signed(by).unwrap_or(at)
}

/// The correction in milliseconds on the line between two looks at the place of a record, at the nearer look outside them.
fn between(recorded: DateTime<Utc>, first: (&ClockSeen, i64), last: (&ClockSeen, i64)) -> i64 {
    let ((first, first_ms), (last, last_ms)) = (first, last);
    // By the meter's own clock: how far it had run since the first look, of how far it ran until the last.
    let shown = |seen: &ClockSeen, ms: i64| plus(seen.seen_at, TimeDelta::milliseconds(ms.saturating_neg()));
    let start = shown(first, first_ms);
    let whole = i128::from(shown(last, last_ms).signed_duration_since(start).num_milliseconds());
    let part = i128::from(recorded.signed_duration_since(start).num_milliseconds());
    if whole <= 0 || part >= whole {
        return last_ms;
    }
    if part <= 0 {
        return first_ms;
    }
    let change = (i128::from(last_ms) - i128::from(first_ms)) * part / whole;
    i64::try_from(i128::from(first_ms) + change).unwrap_or(last_ms)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SHANGHAI: Tz = chrono_tz::Asia::Shanghai;
    const BERLIN: Tz = chrono_tz::Europe::Berlin;

    fn local(text: &str) -> NaiveDateTime {
        NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").unwrap()
    }

    fn utc(text: &str) -> DateTime<Utc> {
        local(text).and_utc()
    }

    fn seen(at: &str, shown: &str) -> ClockSeen {
        ClockSeen::new(utc(at), local(shown), SHANGHAI)
    }

    #[test]
    fn a_look_can_be_kept_as_its_skew() {
        for zone in [SHANGHAI, BERLIN] {
            for shown in ["2026-10-15 07:50:00", "2017-01-03 00:00:00", "2026-07-01 12:00:01"] {
                let look = ClockSeen::new(utc("2026-10-15 00:00:00"), local(shown), zone);
                assert_eq!(ClockSeen::from_skew(look.seen_at, look.skew(), zone), look);
            }
        }
    }

    #[test]
    fn a_first_look_corrects_all_that_is_stored() {
        let verdict = clock_history(None, seen("2026-10-15 00:00:00", "2026-10-15 07:50:00"));
        assert_eq!(
            verdict.correction(local("2026-09-01 08:00:00"), SHANGHAI),
            certain(TimeDelta::minutes(10))
        );
    }

    #[test]
    fn a_drift_is_shared_out_between_the_looks() {
        // 100 s in ten days.
        let previous = seen("2026-10-01 00:00:00", "2026-10-01 08:00:00");
        let verdict = clock_history(Some(previous), seen("2026-10-11 00:00:00", "2026-10-11 07:58:20"));
        assert!(matches!(verdict, ClockVerdict::Steady { .. }));
        let skew = |recorded| verdict.correction(local(recorded), SHANGHAI).skew.num_seconds();
        assert_eq!(skew("2026-09-20 08:00:00"), 0, "before the last look");
        assert_eq!(skew("2026-10-06 08:00:00"), 50, "half way");
        assert_eq!(skew("2026-10-11 07:58:20"), 100, "now");
        assert!(!verdict.correction(local("2026-10-06 08:00:00"), SHANGHAI).uncertain);
    }

    #[test]
    fn a_clock_that_was_set_makes_what_was_measured_since_uncertain() {
        // It was 4 hours behind at the last look, and is right now.
        let previous = seen("2026-10-01 00:00:00", "2026-10-01 04:00:00");
        let verdict = clock_history(Some(previous), seen("2026-10-11 00:00:00", "2026-10-11 08:00:00"));
        assert!(verdict.is_jump());
        let correction = |recorded| verdict.correction(local(recorded), SHANGHAI);
        // On 5 October by either clock.
        assert_eq!(correction("2026-10-05 08:00:00"), uncertain(TimeDelta::zero()));
        // Long before the last look, by either clock: that was corrected by the old one.
        assert_eq!(correction("2026-09-20 08:00:00"), certain(TimeDelta::hours(4)));
    }

    #[test]
    fn a_record_cannot_be_from_the_future_of_a_clock_that_was_put_back() {
        // A year ahead at the last look, right now.
        let previous = seen("2026-10-01 00:00:00", "2027-10-01 08:00:00");
        let verdict = clock_history(Some(previous), seen("2026-10-11 00:00:00", "2026-10-11 08:00:00"));
        let correction = verdict.correction(local("2027-10-05 08:00:00"), SHANGHAI);
        assert_eq!(correction, uncertain(TimeDelta::days(-365)));
    }

    #[test]
    fn a_battery_change_is_a_jump() {
        let previous = seen("2026-10-01 00:00:00", "2026-10-01 08:00:00");
        let now = seen("2026-10-11 00:00:00", "2017-01-03 00:00:00");
        let verdict = clock_history(Some(previous), now);
        let correction = verdict.correction(local("2017-01-02 00:00:00"), SHANGHAI);
        assert_eq!(correction, uncertain(now.skew()));
        let old = verdict.correction(local("2026-09-30 08:00:00"), SHANGHAI);
        assert_eq!(
            old,
            certain(previous.skew()),
            "measured before, when the clock was right"
        );
    }

    #[test]
    fn a_clock_that_does_not_follow_winter_time_is_not_a_jump() {
        // Berlin goes from +2 to +1 on 25 October 2026; the meter stays.
        let look = |at: &str, shown: &str| ClockSeen::new(utc(at), local(shown), BERLIN);
        let previous = look("2026-10-20 10:00:00", "2026-10-20 12:00:00");
        let verdict = clock_history(Some(previous), look("2026-10-30 10:00:00", "2026-10-30 12:00:00"));
        assert!(matches!(verdict, ClockVerdict::NotFollowed { .. }));
        let measured = |recorded: &str| {
            let recorded = local(recorded);
            let correction = verdict.correction(recorded, BERLIN);
            assert!(!correction.uncertain);
            local_to_utc(recorded, BERLIN) + correction.skew
        };
        assert_eq!(measured("2026-10-22 12:00:00"), utc("2026-10-22 10:00:00"));
        assert_eq!(measured("2026-10-28 12:00:00"), utc("2026-10-28 10:00:00"));
    }

    #[test]
    fn a_clock_that_follows_winter_time_is_steady() {
        let look = |at: &str, shown: &str| ClockSeen::new(utc(at), local(shown), BERLIN);
        let previous = look("2026-10-20 10:00:00", "2026-10-20 12:00:00");
        let verdict = clock_history(Some(previous), look("2026-10-30 10:00:00", "2026-10-30 11:00:00"));
        assert!(matches!(verdict, ClockVerdict::Steady { .. }));
        let correction = verdict.correction(local("2026-10-28 11:00:00"), BERLIN);
        assert_eq!(correction, certain(TimeDelta::zero()));
    }

    proptest! {
        /// A clock that drifts no faster than allowed is steady, and every record between the looks is found to the second.
        #[test]
        fn a_drifting_clock_is_followed_to_the_second(
            start_skew_s in -100_000_000_i64..100_000_000,
            days in 1_i64..400,
            drift_s_per_day in -MAX_DRIFT_S_PER_DAY..=MAX_DRIFT_S_PER_DAY,
            place in 0_i64..=1_000,
        ) {
            let start = utc("2026-01-01 00:00:00");
            // True time and what the clock shows then, in milliseconds.
            let shows = |true_ms: i64| true_ms - start_skew_s * 1_000 - drift_s_per_day * true_ms / 86_400;
            let look = |true_ms: i64| {
                let shown = start + TimeDelta::milliseconds(shows(true_ms));
                ClockSeen::new(start + TimeDelta::milliseconds(true_ms), shown.with_timezone(&SHANGHAI).naive_local(), SHANGHAI)
            };
            let end_ms = days * 86_400_000;
            let verdict = clock_history(Some(look(0)), look(end_ms));
            let steady = matches!(verdict, ClockVerdict::Steady { .. });
            prop_assert!(steady, "{:?}", verdict);
            let true_ms = end_ms / 1_000 * place;
            let recorded = look(true_ms).shown;
            let correction = verdict.correction(recorded, SHANGHAI);
            let found = local_to_utc(recorded, SHANGHAI) + correction.skew;
            let error = (found - (start + TimeDelta::milliseconds(true_ms))).num_milliseconds().abs();
            prop_assert!(error <= 1_000, "{} ms off", error);
            prop_assert!(!correction.uncertain);
        }

        /// Whatever was seen, a correction is one of the two that were seen or between them, and a jump is never certain about
        /// what lies between the looks by both clocks.
        #[test]
        fn a_correction_is_never_invented(
            first in -200_000_000_i64..200_000_000,
            later in -1_000_i64..50_000_000,
            shown in prop::array::uniform2(-200_000_000_i64..200_000_000),
            recorded in -300_000_000_i64..300_000_000,
        ) {
            let at = |s: i64| utc("2026-01-01 00:00:00") + TimeDelta::seconds(s);
            let [shown_first, shown_now] = shown;
            let previous = ClockSeen::new(at(first), at(shown_first).naive_utc(), SHANGHAI);
            let now = ClockSeen::new(at(first + later), at(shown_now).naive_utc(), SHANGHAI);
            let verdict = clock_history(Some(previous), now);
            let recorded = at(recorded).naive_utc();
            let correction = verdict.correction(recorded, SHANGHAI);
            let (low, high) = (previous.skew().min(now.skew()), previous.skew().max(now.skew()));
            prop_assert!((low..=high).contains(&correction.skew));
            if verdict.is_jump() {
                prop_assert!([previous.skew(), now.skew()].contains(&correction.skew));
                let measured = local_to_utc(recorded, SHANGHAI);
                let inside = |skew: TimeDelta| {
                    let at = measured + skew;
                    previous.seen_at < at && at <= now.seen_at
                };
                if inside(previous.skew()) || inside(now.skew()) {
                    prop_assert!(correction.uncertain);
                }
            }
        }
    }
}
