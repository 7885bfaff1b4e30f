//! How a meter's clock is written: the same bytes when it is paired and when it is read.

use carepost_gatt::DateTime as GattDateTime;
use carepost_gatt::current_time::{AdjustReason, CurrentTime};
use chrono::{DateTime, Datelike as _, Utc};
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
}
