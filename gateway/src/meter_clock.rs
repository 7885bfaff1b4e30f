//! How a meter's clock is read and written: the same bytes when the meter is paired and when its records are fetched.

use carepost_domain::time::{MeterTime, local_to_utc};
use carepost_gatt::DateTime as GattDateTime;
use carepost_gatt::current_time::{AdjustReason, CurrentTime};
use chrono::{DateTime, Datelike as _, TimeDelta, Utc};
use chrono_tz::Tz;

/// Why the clock was changed, as 2A2B says it: bit 0, by hand. The gateway is neither of the network's references, and moves
/// no zone (page 3, section 2.5).
const BY_HAND: AdjustReason = AdjustReason(1);

/// How a meter's clock is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Date Time 2A08.
    DateTime,
    /// Current Time 2A2B.
    CurrentTime,
}

impl Layout {
    /// An instant as a clock of a zone shows it.
    pub(crate) fn encode(self, at: DateTime<Utc>, zone: Tz) -> Option<Vec<u8>> {
        let local = at.with_timezone(&zone).naive_local();
        let time = GattDateTime::from_as_if_utc_ms(local.and_utc().timestamp_millis())?;
        match self {
            Self::DateTime => time.encode().ok(),
            Self::CurrentTime => {
                let shown = CurrentTime {
                    time,
                    day_of_week: u8::try_from(local.weekday().number_from_monday()).ok(),
                    fractions256: 0,
                    adjust: BY_HAND,
                };
                shown.encode().ok()
            }
        }
    }
}

/// What a meter's clock showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shown {
    time: GattDateTime,
    fractions256: u8,
}

impl Shown {
    pub(crate) fn of(layout: Layout, bytes: &[u8]) -> Option<Self> {
        match layout {
            Layout::CurrentTime => Self::of_current_time(bytes),
            Layout::DateTime => Self::of_date_time(bytes),
        }
    }

    fn of_current_time(bytes: &[u8]) -> Option<Self> {
        let decoded = CurrentTime::decode(bytes).ok()?.value;
        Some(Self {
            time: decoded.time,
            fractions256: decoded.fractions256,
        })
    }

    fn of_date_time(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            time: GattDateTime::decode(bytes).ok()?.value,
            fractions256: 0,
        })
    }

    /// Gateway minus meter; nothing if the meter's clock was never set or shows no date. Which of a meter's clocks it is, where
    /// records come with an offset from a base clock, shows only when a record is dated (`docs/decisions/0012-which-clock-was-read.md`).
    pub(crate) fn skew(self, gateway: DateTime<Utc>, zone: Tz) -> Option<TimeDelta> {
        let MeterTime::Local { local, .. } = MeterTime::from_gatt(Some(&self.time), None) else {
            return None;
        };
        let meter = local_to_utc(local, zone) + TimeDelta::milliseconds(i64::from(self.fractions256) * 1_000 / 256);
        Some(gateway - meter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    #[test]
    fn the_day_of_the_week_the_zone_and_the_reason_are_in_it() {
        let bytes = Layout::CurrentTime.encode(at(0), chrono_tz::Asia::Shanghai).unwrap();
        let shown = CurrentTime::decode(&bytes).unwrap().value;
        let local = at(0).with_timezone(&chrono_tz::Asia::Shanghai);
        assert_eq!(
            shown.day_of_week,
            u8::try_from(local.weekday().number_from_monday()).ok()
        );
        assert_eq!(shown.adjust, BY_HAND);
        let short = Layout::DateTime.encode(at(0), chrono_tz::Asia::Shanghai).unwrap();
        assert!(bytes.starts_with(&short));
    }

    const ZONE: Tz = chrono_tz::Asia::Shanghai;

    #[test]
    fn a_clock_behind_or_ahead_is_seen_to_the_second() {
        for minutes in [-240, -4, 0, 7] {
            let bytes = shown(at(minutes)).encode().unwrap();
            let seen = Shown::of_date_time(&bytes).unwrap().skew(at(0), ZONE);
            assert_eq!(seen, Some(TimeDelta::minutes(-minutes)), "{minutes}");
        }
    }

    #[test]
    fn fractions_of_the_second_count() {
        let mut bytes = shown(at(0)).encode().unwrap();
        bytes.extend([0, 128, 0]);
        let seen = Shown::of_current_time(&bytes).unwrap().skew(at(1), ZONE);
        assert_eq!(seen, Some(TimeDelta::milliseconds(59_500)));
    }

    #[test]
    fn what_is_written_into_a_clock_is_what_is_read_back() {
        for layout in [Layout::CurrentTime, Layout::DateTime] {
            let bytes = layout.encode(at(5), ZONE).unwrap();
            let seen = Shown::of(layout, &bytes).unwrap().skew(at(5), ZONE);
            assert_eq!(seen, Some(TimeDelta::zero()), "{layout:?}");
        }
    }

    #[test]
    fn a_clock_that_shows_no_date_is_unknown() {
        for bytes in [
            // Year, month or day unknown; 31 February; month 13.
            [0, 0, 1, 1, 0, 0, 0],
            [0xEA, 7, 0, 1, 0, 0, 0],
            [0xEA, 7, 2, 31, 0, 0, 0],
            [0xEA, 7, 13, 1, 0, 0, 0],
        ] {
            let seen = Shown::of_date_time(&bytes).and_then(|shown| shown.skew(at(0), ZONE));
            assert_eq!(seen, None, "{bytes:?}");
        }
        assert_eq!(Shown::of_date_time(&[0xEA, 7]), None);
        assert_eq!(Shown::of_current_time(&[0; 9]), None);
    }
}
