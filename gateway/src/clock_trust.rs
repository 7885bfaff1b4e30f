//! Whether the gateway's own clock may be believed (page 4, "Wall clocks lie").

use std::path::PathBuf;
use std::sync::Arc;

use carepost_daemon::Clock;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::config::ClockSettings;

/// What is known of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Trust {
    /// Neither a time service nor the server has confirmed it: readings are marked `gateway_clock_unsure`.
    Unconfirmed,
    /// A time service has set it.
    Synchronised,
    /// The server's time agrees with it.
    Confirmed {
        /// Server minus gateway, in milliseconds.
        off_ms: i64,
    },
    /// The server's time differs too much.
    Wrong {
        /// Server minus gateway, in milliseconds.
        off_ms: i64,
    },
}

impl Trust {
    /// Whether the clock may be believed.
    #[must_use]
    pub const fn is_trusted(self) -> bool {
        matches!(self, Self::Synchronised | Self::Confirmed { .. })
    }
}

/// What was found out, and by which clock.
#[derive(Debug, Clone, Copy)]
struct Known {
    trust: Trust,
    /// What the clock showed when monotonic time began, as seen then: it moves only when somebody sets the clock.
    zero: DateTime<Utc>,
    /// Somebody set it after it had been confirmed: only the server's word counts now.
    set_since: bool,
}

/// Collects the evidence. Cloning is cheap; clones share it.
#[derive(Debug, Clone)]
pub struct ClockTrust {
    clock: Clock,
    tolerance: TimeDelta,
    marker: PathBuf,
    known: Arc<watch::Sender<Known>>,
}

impl ClockTrust {
    /// Nothing is known yet, unless the time service's mark is there.
    #[must_use]
    pub fn new(clock: Clock, settings: &ClockSettings) -> Self {
        let tolerance = i64::try_from(settings.tolerance_ms).unwrap_or(i64::MAX);
        let known = Known {
            trust: Trust::Unconfirmed,
            zero: zero(&clock),
            set_since: false,
        };
        let trust = Self {
            clock,
            tolerance: TimeDelta::try_milliseconds(tolerance).unwrap_or(TimeDelta::MAX),
            marker: settings.synchronised_marker.clone(),
            known: Arc::new(watch::channel(known).0),
        };
        trust.look_for_marker();
        trust
    }

    /// What is known. A clock that was set since it was confirmed is confirmed no longer.
    #[must_use]
    pub fn trust(&self) -> Trust {
        let known = *self.known.borrow();
        if known.trust.is_trusted() && (zero(&self.clock) - known.zero).abs() > self.tolerance {
            Trust::Unconfirmed
        } else {
            known.trust
        }
    }

    /// Takes a finding and returns the one before it.
    fn find(&self, trust: Trust) -> Trust {
        let known = Known {
            trust,
            zero: zero(&self.clock),
            set_since: false,
        };
        self.known.send_replace(known).trust
    }

    /// Whether the clock may be believed.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.trust().is_trusted()
    }

    /// Takes the server's time, from the answer to hello or from a receipt, as soon as it was received. The server's word
    /// outranks the time service's mark, which says that the clock was set once.
    pub fn note_server_time(&self, server_time: DateTime<Utc>) {
        let off = server_time - self.clock.now();
        let off_ms = off.num_milliseconds();
        let trust = if off.abs() <= self.tolerance {
            Trust::Confirmed { off_ms }
        } else {
            Trust::Wrong { off_ms }
        };
        let before = self.find(trust);
        if before.is_trusted() != trust.is_trusted() {
            if trust.is_trusted() {
                tracing::info!(clock.off_ms = off_ms, "clock is trusted: it agrees with the server's");
            } else {
                tracing::warn!(
                    clock.off_ms = off_ms,
                    "clock is not trusted: it differs from the server's"
                );
            }
        }
    }

    /// Looks whether the time service has set the clock; to be called now and then. Its mark says that the clock was set
    /// once, and nothing of who set it since.
    pub fn look_for_marker(&self) {
        let known = *self.known.borrow();
        if known.trust.is_trusted() && !self.is_trusted() {
            tracing::warn!("clock is not trusted: it was set since it was confirmed");
            self.known.send_replace(Known {
                trust: Trust::Unconfirmed,
                set_since: true,
                ..known
            });
            return;
        }
        let marked = !self.marker.as_os_str().is_empty() && self.marker.exists();
        if marked && known.trust == Trust::Unconfirmed && !known.set_since {
            self.find(Trust::Synchronised);
            tracing::info!("clock is trusted: the time service has set it");
        }
    }
}

/// What the clock showed when monotonic time began.
fn zero(clock: &Clock) -> DateTime<Utc> {
    clock.now() - TimeDelta::from_std(clock.monotonic()).unwrap_or(TimeDelta::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(marker: PathBuf) -> ClockSettings {
        ClockSettings {
            tolerance_ms: 60_000,
            synchronised_marker: marker,
        }
    }

    #[test]
    fn a_clock_is_trusted_only_after_the_servers_word_and_only_if_it_agrees() {
        let (clock, hands) = Clock::manual("2026-10-15T07:00:00Z".parse().unwrap());
        let trust = ClockTrust::new(clock.clone(), &settings(PathBuf::new()));
        assert_eq!(trust.trust(), Trust::Unconfirmed);
        trust.note_server_time(clock.now() + TimeDelta::seconds(60));
        assert_eq!(trust.trust(), Trust::Confirmed { off_ms: 60_000 });
        trust.note_server_time(clock.now() - TimeDelta::seconds(61));
        assert_eq!(trust.trust(), Trust::Wrong { off_ms: -61_000 });
        assert!(!trust.is_trusted());
        hands.set(clock.now() - TimeDelta::seconds(61));
        trust.note_server_time(clock.now());
        assert!(trust.clone().is_trusted());
    }

    #[test]
    fn a_clock_that_is_set_is_not_trusted_until_the_servers_next_word() {
        let folder = tempfile::tempdir().unwrap();
        let marker = folder.path().join("synchronized");
        std::fs::write(&marker, "").unwrap();
        for minutes in [-30, 30, 4 * 24 * 60] {
            let (clock, hands) = Clock::manual("2026-10-15T07:00:00Z".parse().unwrap());
            let trust = ClockTrust::new(clock.clone(), &settings(marker.clone()));
            trust.note_server_time(clock.now());
            // Time that passes, and a small correction, are no reason for doubt.
            hands.advance(std::time::Duration::from_secs(86_400));
            hands.set(clock.now() + TimeDelta::seconds(60));
            assert!(trust.is_trusted());
            hands.set(clock.now() + TimeDelta::minutes(minutes));
            assert_eq!(trust.trust(), Trust::Unconfirmed, "{minutes}");
            for _ in 0..2 {
                trust.look_for_marker();
                assert_eq!(trust.trust(), Trust::Unconfirmed, "the mark is older: {minutes}");
            }
            trust.note_server_time(clock.now());
            assert!(trust.is_trusted());
        }
    }

    #[test]
    fn the_time_services_mark_is_believed_until_the_server_says_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let marker = folder.path().join("synchronized");
        let (clock, _hands) = Clock::manual("2026-10-15T07:00:00Z".parse().unwrap());
        let trust = ClockTrust::new(clock.clone(), &settings(marker.clone()));
        assert!(!trust.is_trusted());
        std::fs::write(&marker, "").unwrap();
        trust.look_for_marker();
        assert_eq!(trust.trust(), Trust::Synchronised);
        trust.note_server_time(clock.now() + TimeDelta::hours(1));
        trust.look_for_marker();
        assert!(!trust.is_trusted());
    }
}
