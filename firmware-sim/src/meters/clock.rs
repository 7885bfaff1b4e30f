//! A meter's own clock: evidence, not truth, and often wrong or never set.

use carepost_gatt::DateTime;
use chrono::{Datelike, NaiveDate, NaiveDateTime, TimeDelta, Timelike};

use crate::SimTime;

/// A clock that runs from a point set once, or that nobody ever set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeterClock {
    /// The battery was changed and nobody set the clock: the date is unknown and the time counts from power-on.
    Unset,
    /// The clock showed this local time when the simulator started.
    Set {
        /// Local time at simulated time zero.
        at_start: NaiveDateTime,
    },
}

impl MeterClock {
    /// A clock that shows `local` at the simulated time `now`.
    pub fn showing(local: NaiveDateTime, now: SimTime) -> Self {
        match local.checked_sub_signed(delta(now)) {
            Some(at_start) => Self::Set { at_start },
            None => Self::Unset,
        }
    }

    /// The local time shown at `now`, or `None` while unset.
    pub fn read(&self, now: SimTime) -> Option<NaiveDateTime> {
        match self {
            Self::Unset => None,
            Self::Set { at_start } => at_start.checked_add_signed(delta(now)),
        }
    }

    /// The Date Time field shown at `now`; unset clocks send an unknown date.
    pub fn date_time(&self, now: SimTime) -> DateTime {
        match self.read(now) {
            Some(local) => to_date_time(local),
            None => {
                let since_power_on = NaiveDateTime::MIN
                    .checked_add_signed(delta(now))
                    .unwrap_or(NaiveDateTime::MIN);
                DateTime {
                    year: None,
                    month: None,
                    day: None,
                    ..to_date_time(since_power_on)
                }
            }
        }
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
        let field = MeterClock::Unset.date_time(SimTime::from_secs(61));
        assert_eq!((field.year, field.month, field.day), (None, None, None));
        assert_eq!((field.hour, field.minute, field.second), (0, 1, 1));
    }
}
