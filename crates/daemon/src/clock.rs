//! The time as a parameter: the operating system's, or one that a test moves by hand.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};

/// Digits of a second that [`Clock::now`] keeps. PostgreSQL's `timestamptz` stores microseconds; a time that carried
/// more would not compare equal to itself after a round trip through storage.
const SUBSECOND_DIGITS: u16 = 6;

/// A source of wall-clock and monotonic time. Cloning is cheap, and clones show the same time.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Manual(Arc<Mutex<Hands>>),
}

#[derive(Debug)]
struct Hands {
    wall: DateTime<Utc>,
    monotonic: Duration,
}

impl Clock {
    /// The operating system's clock.
    pub fn system() -> Self {
        process_start();
        Self(Source::System)
    }

    /// A clock that stands still at `start`, and the handle that moves it. For tests and replays.
    pub fn manual(start: DateTime<Utc>) -> (Self, ManualClock) {
        let hands = Arc::new(Mutex::new(Hands {
            wall: start.trunc_subsecs(SUBSECOND_DIGITS),
            monotonic: Duration::ZERO,
        }));
        (Self(Source::Manual(Arc::clone(&hands))), ManualClock(hands))
    }

    /// The wall-clock time, in whole microseconds. It may jump in either direction when somebody sets the clock.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that asks the operating system for the time"
    )]
    pub fn now(&self) -> DateTime<Utc> {
        match &self.0 {
            Source::System => DateTime::<Utc>::from(std::time::SystemTime::now()).trunc_subsecs(SUBSECOND_DIGITS),
            Source::Manual(hands) => lock(hands).wall,
        }
    }

    /// Time since a fixed moment early in the life of the process. It never goes back; use it for deadlines and for
    /// measuring durations.
    pub fn monotonic(&self) -> Duration {
        match &self.0 {
            Source::System => process_start().elapsed(),
            Source::Manual(hands) => lock(hands).monotonic,
        }
    }
}

/// Moves the hands of the [`Clock`] that was made with it.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Mutex<Hands>>);

impl ManualClock {
    /// Sets the wall clock, as a person or a time server does. Monotonic time does not move.
    pub fn set(&self, now: DateTime<Utc>) {
        lock(&self.0).wall = now.trunc_subsecs(SUBSECOND_DIGITS);
    }

    /// Lets time pass: wall clock and monotonic time both move forward by `by`.
    ///
    /// # Panics
    /// When the wall clock would pass chrono's last year, about 262,000.
    pub fn advance(&self, by: Duration) {
        let mut hands = lock(&self.0);
        let delta = TimeDelta::from_std(by).expect("a test advances by a duration that chrono can hold");
        hands.wall = (hands.wall + delta).trunc_subsecs(SUBSECOND_DIGITS);
        hands.monotonic += by;
    }

    /// The clock that this handle moves.
    pub fn clock(&self) -> Clock {
        Clock(Source::Manual(Arc::clone(&self.0)))
    }
}

fn process_start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

/// The hands are two plain values, so that a panic elsewhere cannot have left them half set.
fn lock(hands: &Mutex<Hands>) -> MutexGuard<'_, Hands> {
    hands.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noon() -> DateTime<Utc> {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_manual_clock_stands_still_until_it_is_moved() {
        let (clock, hands) = Clock::manual(noon());
        let clone = clock.clone();
        assert_eq!((clock.now(), clock.monotonic()), (noon(), Duration::ZERO));

        hands.advance(Duration::from_secs(90));
        assert_eq!(clone.now(), noon() + TimeDelta::seconds(90));
        assert_eq!(clone.monotonic(), Duration::from_secs(90));
        assert_eq!(hands.clock().now(), clock.now());
    }

    #[test]
    fn setting_the_wall_clock_back_leaves_monotonic_time_alone() {
        let (clock, hands) = Clock::manual(noon());
        hands.advance(Duration::from_secs(5));
        hands.set(noon() - TimeDelta::days(1));
        assert_eq!(clock.now(), noon() - TimeDelta::days(1));
        assert_eq!(clock.monotonic(), Duration::from_secs(5));
    }

    #[test]
    fn times_survive_storage_in_microseconds() {
        let (clock, hands) = Clock::manual("2026-03-01T12:00:00.123456789Z".parse().unwrap());
        assert_eq!(clock.now().timestamp_subsec_nanos(), 123_456_000);
        hands.set("2026-03-01T12:00:00.999999999Z".parse().unwrap());
        assert_eq!(clock.now().timestamp_subsec_nanos(), 999_999_000);
        assert_eq!(Clock::system().now().timestamp_subsec_nanos() % 1_000, 0);
    }

    #[test]
    fn the_system_clock_moves_forward() {
        let clock = Clock::system();
        let (wall, monotonic) = (clock.now(), clock.monotonic());
        assert!(wall > noon() - TimeDelta::days(365));
        let deadline = Instant::now() + Duration::from_secs(5);
        while clock.monotonic() == monotonic {
            assert!(Instant::now() < deadline, "monotonic time stands still");
        }
        assert!(clock.monotonic() > monotonic);
    }
}
