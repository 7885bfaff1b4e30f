//! A meter's own clock: evidence, not truth, and often wrong or never set.

use carepost_gatt::DateTime;
use chrono::{Datelike, NaiveDate, NaiveDateTime, TimeDelta, Timelike};

use crate::SimTime;

const SECONDS_PER_DAY: i64 = 86_400;

/// A clock that runs from the point at which it was last set, or that nobody ever set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MeterClock {
    /// The local time shown at `set_at`; unknown after a change of battery.
    shown: Option<NaiveDateTime>,
    set_at: SimTime,
    drift_s_per_day: i32,
}

impl MeterClock {
    /// A clock that nobody ever set: the date is unknown and the time counts from power-on.
    pub fn unset() -> Self {
        Self::default()
    }

    /// A clock that shows `local` at the simulated time `now`.
    pub fn showing(local: NaiveDateTime, now: SimTime) -> Self {
        Self {
            shown: Some(local),
            set_at: now,
            drift_s_per_day: 0,
        }
    }

    /// The same clock, gaining so many seconds in a day, or losing them if negative.
    #[must_use]
    pub fn drifting(self, drift_s_per_day: i32) -> Self {
        Self {
            drift_s_per_day,
            ..self
        }
    }

    /// Sets the clock as a person or a client does, or (`None`) takes its battery out. It drifts on as before.
    pub fn set(&mut self, local: Option<NaiveDateTime>, now: SimTime) {
        self.shown = local;
        self.set_at = now;
    }

    /// Seconds gained in a day.
    pub(crate) fn drift_s_per_day(&self) -> i32 {
        self.drift_s_per_day
    }

    /// Changes the rate from `now` on, without a jump.
    pub(crate) fn set_drift(&mut self, drift_s_per_day: i32, now: SimTime) {
        if self.drift_s_per_day != drift_s_per_day && self.shown.is_some() {
            self.set(self.read(now), now);
        }
        self.drift_s_per_day = drift_s_per_day;
    }

    /// Moves the clock by so many seconds; an unset clock stays unset.
    pub(crate) fn jump(&mut self, seconds: i64) {
        let by = TimeDelta::try_seconds(seconds).unwrap_or(TimeDelta::zero());
        self.shown = self.shown.and_then(|shown| shown.checked_add_signed(by));
    }

    /// The local time shown at `now`, or `None` while unset.
    pub fn read(&self, now: SimTime) -> Option<NaiveDateTime> {
        let elapsed = delta(now.saturating_sub(self.set_at));
        let gained_ms = elapsed
            .num_milliseconds()
            .saturating_mul(i64::from(self.drift_s_per_day))
            .checked_div(SECONDS_PER_DAY)
            .unwrap_or(0);
        self.shown?
            .checked_add_signed(elapsed)?
            .checked_add_signed(TimeDelta::try_milliseconds(gained_ms)?)
    }

    /// The Date Time field shown at `now`; unset clocks send an unknown date.
    pub fn date_time(&self, now: SimTime) -> DateTime {
        match self.read(now) {
            Some(local) => to_date_time(local),
            None => {
                let since_power_on = NaiveDateTime::default()
                    .checked_add_signed(delta(now))
                    .unwrap_or_default();
                without_date(to_date_time(since_power_on))
            }
        }
    }
}

/// The time of day with an unknown date.
pub(crate) fn without_date(field: DateTime) -> DateTime {
    DateTime {
        year: None,
        month: None,
        day: None,
        ..field
    }
}

/// Local time as a Date Time (2A08), which has no fraction of a second. Years that it cannot hold are unknown.
pub(crate) fn to_date_time(local: NaiveDateTime) -> DateTime {
    let part = |value: u32| u8::try_from(value).unwrap_or(0);
    DateTime::new(
        u16::try_from(local.year()).unwrap_or(0),
        part(local.month()),
        part(local.day()),
        part(local.hour()),
        part(local.minute()),
        part(local.second()),
    )
}

/// The local time that a Date Time names, or `None` if a part of the date is unknown or impossible.
pub(crate) fn from_date_time(field: &DateTime) -> Option<NaiveDateTime> {
    NaiveDate::from_ymd_opt(i32::from(field.year?), u32::from(field.month?), u32::from(field.day?))?.and_hms_opt(
        u32::from(field.hour),
        u32::from(field.minute),
        u32::from(field.second),
    )
}

fn delta(time: SimTime) -> TimeDelta {
    TimeDelta::from_std(time).unwrap_or(TimeDelta::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noon() -> NaiveDateTime {
        NaiveDate::from_ymd_opt(2026, 3, 1)
            .unwrap()
            .and_hms_opt(12, 0, 0)
            .unwrap()
    }

    #[test]
    fn a_set_clock_runs_from_where_it_was_set() {
        let clock = MeterClock::showing(noon(), SimTime::from_secs(100));
        assert_eq!(
            clock.read(SimTime::from_secs(160)),
            Some(noon() + TimeDelta::seconds(60))
        );
    }

    #[test]
    fn an_unset_clock_sends_an_unknown_date_and_a_running_time() {
        let field = MeterClock::unset().date_time(SimTime::from_secs(61));
        assert_eq!((field.year, field.month, field.day), (None, None, None));
        assert_eq!((field.hour, field.minute, field.second), (0, 1, 1));
    }

    #[test]
    fn a_drifting_clock_gains_its_seconds_over_a_day_and_a_jump_moves_it_at_once() {
        let day = SimTime::from_secs(86_400);
        let mut clock = MeterClock::showing(noon(), SimTime::ZERO).drifting(20);
        let tomorrow = noon() + TimeDelta::days(1);
        assert_eq!(clock.read(day), Some(tomorrow + TimeDelta::seconds(20)));
        clock.jump(-3_600);
        assert_eq!(clock.read(day), Some(tomorrow - TimeDelta::seconds(3_580)));
        // Being set does not mend the crystal.
        clock.set(Some(noon()), day);
        assert_eq!(clock.read(day * 2), Some(tomorrow + TimeDelta::seconds(20)));
        clock.set_drift(0, day * 2);
        assert_eq!(
            clock.read(day * 3),
            Some(tomorrow + TimeDelta::days(1) + TimeDelta::seconds(20))
        );
    }

    #[test]
    fn no_setting_makes_a_clock_panic() {
        let mut clock = MeterClock::showing(NaiveDateTime::MAX, SimTime::ZERO).drifting(i32::MAX);
        assert_eq!(clock.read(SimTime::MAX), None);
        clock.jump(i64::MAX);
        clock.date_time(SimTime::MAX);
        let clock = MeterClock::showing(NaiveDateTime::MIN, SimTime::MAX).drifting(i32::MIN);
        clock.date_time(SimTime::ZERO);
    }
}
