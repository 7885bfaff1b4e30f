//! Times of the kiosk's screens.

use std::time::Duration;

use carepost_daemon::{Problems, Validate};
use serde::{Deserialize, Serialize};

/// Longest time that is accepted anywhere: an hour, in milliseconds.
const MAX_MS: u64 = 3_600_000;
/// Shortest time that is accepted anywhere, in milliseconds.
const MIN_MS: u64 = 10;
/// Most times that a person may stay a little longer.
const MAX_LONGER_TIMES: u32 = 10;

/// The `kiosk.timings` section. The defaults are the design's (page 6, section 3); shorter ones are for tests and
/// demonstrations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KioskTimings {
    /// A screen before the sitting (code, name) asks after this whether somebody is still there.
    pub entry_ms: u64,
    /// A kiosk in a sitting asks after this without any reading. Not a timer of rest, inflation or gap: those end long before.
    pub idle_ms: u64,
    /// The result stays at least so long.
    pub result_ms: u64,
    /// Time to answer the warning before the screen wipes itself.
    pub warning_ms: u64,
    /// What "a little longer" adds.
    pub longer_ms: u64,
    /// How often it is offered.
    pub longer_times: u32,
    /// Time between two readings, if not the rule set's.
    pub gap_ms: Option<u64>,
    /// Rest after a severe reading, if not the rule set's.
    pub rest_ms: Option<u64>,
    /// Pause between attempts while the meter of the sitting before is still connected.
    pub busy_retry_ms: u64,
}

impl Default for KioskTimings {
    fn default() -> Self {
        Self {
            entry_ms: 60_000,
            idle_ms: 600_000,
            result_ms: 90_000,
            warning_ms: 20_000,
            longer_ms: 60_000,
            longer_times: MAX_LONGER_TIMES,
            gap_ms: None,
            rest_ms: None,
            busy_retry_ms: 1_000,
        }
    }
}

impl KioskTimings {
    pub(crate) const fn entry(&self) -> Duration {
        Duration::from_millis(self.entry_ms)
    }

    pub(crate) const fn idle(&self) -> Duration {
        Duration::from_millis(self.idle_ms)
    }

    pub(crate) const fn result(&self) -> Duration {
        Duration::from_millis(self.result_ms)
    }

    pub(crate) const fn warning(&self) -> Duration {
        Duration::from_millis(self.warning_ms)
    }

    pub(crate) const fn longer(&self) -> Duration {
        Duration::from_millis(self.longer_ms)
    }

    pub(crate) const fn busy_retry(&self) -> Duration {
        Duration::from_millis(self.busy_retry_ms)
    }

    pub(crate) fn gap(&self) -> Option<Duration> {
        self.gap_ms.map(Duration::from_millis)
    }

    pub(crate) fn rest(&self) -> Option<Duration> {
        self.rest_ms.map(Duration::from_millis)
    }
}

impl Validate for KioskTimings {
    fn validate(&self, problems: &mut Problems) {
        let times = [
            ("entry_ms", Some(self.entry_ms)),
            ("idle_ms", Some(self.idle_ms)),
            ("result_ms", Some(self.result_ms)),
            ("warning_ms", Some(self.warning_ms)),
            ("longer_ms", Some(self.longer_ms)),
            ("gap_ms", self.gap_ms),
            ("rest_ms", self.rest_ms),
            ("busy_retry_ms", Some(self.busy_retry_ms)),
        ];
        for (key, time) in times {
            if time.is_some_and(|ms| !(MIN_MS..=MAX_MS).contains(&ms)) {
                problems.add(key, format!("must be from {MIN_MS} to {MAX_MS}"));
            }
        }
        if self.longer_times > MAX_LONGER_TIMES {
            problems.add("longer_times", format!("must be at most {MAX_LONGER_TIMES}"));
        }
    }
}
