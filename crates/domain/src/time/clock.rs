//! What two looks at a meter's clock say about the records between them.
//!
//! A meter keeps local time and nobody looks after it: it drifts by seconds a day, it is put right, or wrong, by its owner,
//! it starts again at a factory date when its battery is changed, and it may or may not follow summer time. Each link looks
//! at it once; the change since the last look decides which correction a record gets and whether that is certain.

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::{FUTURE_TOLERANCE, MeterTime, local_to_utc};

/// What two looks may differ by although nobody touched the clock: some meters show whole minutes, and the answer to a read
/// takes a while.
pub const LOOK_TOLERANCE: TimeDelta = TimeDelta::seconds(90);

/// How fast a clock may drift, in seconds a day. Watch crystals stay below 10 at any temperature that a person bears; cheap
/// meters are allowed three times that. What is faster was set.
pub const MAX_DRIFT_S_PER_DAY: i64 = 30;

/// How far a clock is taken to have drifted between two looks, however long that was. An hour that a meter did not follow must
/// never pass for drift, and zones differ by half an hour at the least: what is further off was set.
pub const MAX_DRIFT_BETWEEN_LOOKS: TimeDelta = TimeDelta::minutes(15);

/// How far off the people who use a meter let its display be: at 30 s a day it takes a month to get there.
pub const DISPLAY_TOLERANCE: TimeDelta = TimeDelta::minutes(15);

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
    /// It ran, drifting no faster than clocks do, and no further than [`MAX_DRIFT_BETWEEN_LOOKS`].
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
    /// The clock may have been another one when the record was measured, or another one than was read: the time gets the label
    /// [`SkewUncertain`](super::TimeQuality::SkewUncertain).
    pub uncertain: bool,
}

/// Compares a look at a meter's clock with the last one before it. Where the clock may have run through a change between
/// summer and winter time, or stood by it, the explanation that leaves less to drift is taken.
#[must_use]
pub fn clock_history(previous: Option<ClockSeen>, now: ClockSeen) -> ClockVerdict {
    let Some(previous) = previous else {
        return ClockVerdict::First { now };
    };
    let drift = Drift::between(&previous, &now);
    if drift.fits(drift.not_followed_ms) && drift.not_followed_ms < drift.steady_ms {
        ClockVerdict::NotFollowed { previous, now }
    } else if drift.fits(drift.steady_ms) {
        ClockVerdict::Steady { previous, now }
    } else {
        ClockVerdict::Jumped { previous, now }
    }
}

/// How far a clock would have drifted between two looks, in milliseconds, by each explanation.
#[derive(Debug, Clone, Copy)]
struct Drift {
    /// It goes with the store's zone.
    steady_ms: i64,
    /// It keeps to the offset that it was set to.
    not_followed_ms: i64,
    /// What is believed of it.
    allowed_ms: i64,
}

impl Drift {
    fn between(previous: &ClockSeen, now: &ClockSeen) -> Self {
        let apart = |a: i64, b: i64| a.saturating_sub(b).saturating_abs();
        // A gateway whose own clock was put back has seen the meter "later" before: no time for drift.
        let elapsed_s = now.seen_at.signed_duration_since(previous.seen_at).num_seconds().max(0);
        let drift_ms = elapsed_s.saturating_mul(MAX_DRIFT_S_PER_DAY).saturating_mul(1_000) / 86_400;
        let allowed_ms = LOOK_TOLERANCE.num_milliseconds().saturating_add(drift_ms);
        Self {
            steady_ms: apart(now.skew_ms, previous.skew_ms),
            not_followed_ms: apart(now.offset_ms(), previous.offset_ms()),
            allowed_ms: allowed_ms.min(MAX_DRIFT_BETWEEN_LOOKS.num_milliseconds()),
        }
    }

    const fn fits(&self, drift_ms: i64) -> bool {
        drift_ms <= self.allowed_ms
    }
}

impl ClockVerdict {
    /// The correction of a record by everything that it says of its time; nothing where that is no date.
    ///
    /// A record with an offset was dated by a base clock, and what was read may be that clock or the one that the meter
    /// shows. The specification and what is known of the meters say the latter, which is therefore taken, unless the reading
    /// would be moved by far more than people let a display be off while the other explanation leaves it about where the
    /// meter showed it. Whatever moves it further than that ([`DISPLAY_TOLERANCE`]), or rests on less than an agreement to
    /// within [`LOOK_TOLERANCE`], is marked uncertain (`docs/decisions/0012-which-clock-was-read.md`).
    #[must_use]
    pub fn correction_of(&self, recorded: MeterTime, zone: Tz) -> Option<Correction> {
        let MeterTime::Local {
            local, offset_minutes, ..
        } = recorded
        else {
            return None;
        };
        let shown = self.correction(local, zone);
        let offset = TimeDelta::minutes(i64::from(offset_minutes));
        let Some(base) = local.checked_sub_signed(offset).filter(|_| !offset.is_zero()) else {
            return Some(shown);
        };
        let by_base = self.correction(base, zone);
        let measured = plus(local_to_utc(base, zone), by_base.skew);
        let by_base = Correction {
            // Of the time that the record names, like the other.
            skew: measured.signed_duration_since(local_to_utc(local, zone)),
            ..by_base
        };
        let (off, off_by_base) = (shown.skew.abs(), by_base.skew.abs());
        let base_was_read = off > LOOK_TOLERANCE && off_by_base < off && off_by_base <= DISPLAY_TOLERANCE;
        let (chosen, sure) = if base_was_read {
            (by_base, off_by_base <= LOOK_TOLERANCE && off > DISPLAY_TOLERANCE)
        } else {
            let alone = off <= DISPLAY_TOLERANCE && off_by_base > DISPLAY_TOLERANCE;
            (shown, off <= LOOK_TOLERANCE || alone)
        };
        Some(Correction {
            uncertain: chosen.uncertain || !sure,
            ..chosen
        })
    }

    /// The correction of a record that carries the local time `recorded`, by the clock that was read.
    ///
    /// A clock that ran gets, between the two looks, what its drift had become by then; outside them, what was seen at the
    /// nearer one. Two looks in the same half of the year do not show whether a clock went with the other half between them:
    /// a record for which that makes a difference is marked uncertain. After a jump a record gets what was seen now, because
    /// nobody knows when the clock was set, and is marked uncertain; unless it can only be from before the jump: it would lie
    /// in the future otherwise (uncertain all the same), or it was there at the last look by the old clock and cannot have
    /// been measured since by the new one (certain).
    #[must_use]
    pub fn correction(&self, recorded: NaiveDateTime, zone: Tz) -> Correction {
        let at = local_to_utc(recorded, zone);
        match self {
            Self::First { now } => certain(now.skew()),
            Self::Steady { previous, now } => {
                let skew = steady(at, previous, now);
                let drift = Drift::between(previous, now);
                let other = not_followed(recorded, at, previous, now);
                let since = plus(at, skew) > previous.seen_at;
                let differs = (other - skew).abs() > LOOK_TOLERANCE;
                Correction {
                    skew,
                    uncertain: since && differs && drift.fits(drift.not_followed_ms),
                }
            }
            Self::NotFollowed { previous, now } => certain(not_followed(recorded, at, previous, now)),
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

/// Of a clock that goes with the store's zone.
fn steady(at: DateTime<Utc>, previous: &ClockSeen, now: &ClockSeen) -> TimeDelta {
    TimeDelta::milliseconds(between(at, (previous, previous.skew_ms), (now, now.skew_ms)))
}

/// Of a clock that keeps to the offset that it was set to: the correction of `recorded`, which is `at` in the store's zone.
fn not_followed(recorded: NaiveDateTime, at: DateTime<Utc>, previous: &ClockSeen, now: &ClockSeen) -> TimeDelta {
    let as_utc = recorded.and_utc();
    let offset = between(as_utc, (previous, previous.offset_ms()), (now, now.offset_ms()));
    plus(as_utc, TimeDelta::milliseconds(offset)).signed_duration_since(at)
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
mod tests;
