//! How a meter's clock is set, in configuration and in the control protocol.

use std::fmt;

use chrono::{NaiveDateTime, Timelike as _};
use serde::{Deserialize, Serialize};

/// What a meter's clock shows: a text of `right`, `unset`, or a local time such as `2026-03-01T08:30:00`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ClockSetting {
    /// The right local time.
    #[default]
    Right,
    /// Nothing: it was never set.
    Unset,
    /// This local time.
    Local(NaiveDateTime),
}

impl fmt::Display for ClockSetting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Right => formatter.write_str("right"),
            Self::Unset => formatter.write_str("unset"),
            Self::Local(local) => write!(formatter, "{}", local.format("%Y-%m-%dT%H:%M:%S")),
        }
    }
}

/// A text that is no clock setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a clock is \"right\", \"unset\" or a local time such as \"2026-03-01T08:30:00\"")]
pub struct NotAClock;

impl TryFrom<String> for ClockSetting {
    type Error = NotAClock;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.as_str() {
            "right" => Ok(Self::Right),
            "unset" => Ok(Self::Unset),
            other => {
                let local: NaiveDateTime = other.parse().map_err(|_| NotAClock)?;
                // A meter's clock has whole seconds, and 23:59:60 is none of them.
                if local.nanosecond() == 0 {
                    Ok(Self::Local(local))
                } else {
                    Err(NotAClock)
                }
            }
        }
    }
}

impl From<ClockSetting> for String {
    fn from(setting: ClockSetting) -> Self {
        setting.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_survive_a_round_trip_and_nonsense_is_refused() {
        for text in ["right", "unset", "2026-03-01T08:30:00"] {
            assert_eq!(ClockSetting::try_from(text.to_owned()).unwrap().to_string(), text);
        }
        for text in ["noon", "2026-03-01T08:30:00.5", "2016-12-31T23:59:60"] {
            assert_eq!(ClockSetting::try_from(text.to_owned()), Err(NotAClock), "{text}");
        }
    }
}
