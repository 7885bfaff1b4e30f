//! Meters over Bluetooth: btleplug and everything that must be known about it, in one place (page 3, section 3).
//!
//! One task owns the adapters. On each of them it scans, with rests; connects one registered meter at a time; and builds
//! the way to the adapter anew when it is lost. What comes from a meter goes straight to the capture task.
//! [`turn::Turns`] lends the adapters to whoever pairs a meter.

mod capture;
mod claims;
mod connect;
mod scan;
mod seen;
mod session;
mod supervise;
pub mod turn;
mod watch;

use std::collections::HashMap;
use std::time::Duration;

use carepost_daemon::{CancellationToken, Clock, Entropy};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::board::{Board, LinkState};
use crate::clock_trust::ClockTrust;
use crate::config::Bluetooth;
use crate::sitting::Desk;
use crate::spool::{Counter, Disposition, Spool, SpoolError};

use capture::{CaptureTask, Nonces};
use turn::Turns;

/// Everything that the link tasks use.
#[derive(Debug, Clone)]
pub struct LinkParts {
    /// Where packets go.
    pub spool: Spool,
    /// Who sits at the kiosk.
    pub desk: Desk,
    /// The time.
    pub clock: Clock,
    /// Randomness: nonces and the spread of retries.
    pub entropy: Entropy,
    /// Whether the time is believed.
    pub trust: ClockTrust,
    /// Where to say how it goes.
    pub board: Board,
    /// Who else wants the adapters.
    pub turns: Turns,
    /// Configuration.
    pub settings: Bluetooth,
}

/// The two tasks of this module: the one that owns the adapters, and the one that writes packets down. The second ends
/// after the first.
pub fn tasks(
    parts: LinkParts,
    soft: CancellationToken,
    hard: CancellationToken,
) -> (
    impl Future<Output = anyhow::Result<()>> + Send + 'static,
    impl Future<Output = anyhow::Result<()>> + Send + 'static,
) {
    let (packets, queue) = mpsc::channel(capture::QUEUE);
    let task = CaptureTask {
        spool: parts.spool.clone(),
        desk: parts.desk.clone(),
        clock: parts.clock.clone(),
        nonces: Nonces::new(parts.entropy.clone()),
        trust: parts.trust.clone(),
        board: parts.board.clone(),
        links: HashMap::new(),
    };
    let capture = task.run(queue, hard.clone());
    (supervise::run(parts, packets, soft, hard), capture)
}

/// Makes a known panic of btleplug's a line in the log. Dropping one of its streams starts a task that unwraps the answer
/// to "remove this match rule", and the answer is an error when the bus has gone, or when it keeps equal rules only once.
/// Nothing of ours runs in that task. Other panics are reported as before.
pub(crate) fn demote_stream_panics() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let theirs = panic
            .location()
            .is_some_and(|at| at.file().contains("/bluez-async-") && at.file().ends_with("messagestream.rs"));
        if theirs {
            tracing::debug!("the bus did not take back a match rule");
        } else {
            report(panic);
        }
    }));
}

/// Why the way to the adapter must be built anew.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkFault {
    /// The bus or the Bluetooth service does not answer, or answers with an error.
    #[error("cannot {attempted}")]
    Bus {
        attempted: &'static str,
        source: btleplug::Error,
    },
    /// It did not answer in time.
    #[error("cannot {attempted}: no answer within {after_ms} ms")]
    NoAnswer { attempted: &'static str, after_ms: u64 },
    /// The stream of events ended.
    #[error("the stream of adapter events ended")]
    EventsEnded,
    /// There is no adapter that may be used.
    #[error("there is no Bluetooth adapter{}", if name.is_empty() { String::new() } else { format!(" {name}") })]
    NoAdapter { name: String },
    /// The Bluetooth service went or came anew: whatever was known of its objects is not true any more.
    #[error("the Bluetooth service has gone")]
    ServiceLost,
    /// The spool failed.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The capture task has gone.
    #[error("the capture task has gone")]
    CaptureGone,
}

impl LinkFault {
    /// Whether it may go away by itself: with a new way to the adapter, or with room on the disk.
    fn may_pass(&self) -> bool {
        match self {
            Self::Spool(error) => error.disposition() == Disposition::Retry,
            Self::CaptureGone => false,
            Self::Bus { .. }
            | Self::NoAnswer { .. }
            | Self::EventsEnded
            | Self::NoAdapter { .. }
            | Self::ServiceLost => true,
        }
    }

    /// As the board shows it.
    fn state(&self) -> LinkState {
        let detail = crate::admit::chain(self);
        match self {
            Self::NoAdapter { .. } => LinkState::NoAdapter,
            Self::Spool(_) => LinkState::SpoolWaits { detail },
            _ => LinkState::NoBus { detail },
        }
    }
}

/// Adds to a counter. A full disk costs the count and nothing else.
async fn count(spool: &Spool, counter: Counter) -> Result<(), SpoolError> {
    match spool.count(counter, 1).await {
        Err(error) if error.disposition() == Disposition::Retry => {
            tracing::debug!(
                error = crate::admit::chain(&error),
                counter = counter.code(),
                "not counted"
            );
            Ok(())
        }
        other => other,
    }
}

/// Gives an operation on the bus its time.
pub(crate) async fn within<T>(
    limit_ms: u64,
    attempted: &'static str,
    operation: impl Future<Output = Result<T, btleplug::Error>>,
) -> Result<T, LinkFault> {
    match timeout(Duration::from_millis(limit_ms), operation).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(LinkFault::Bus { attempted, source }),
        Err(_) => Err(LinkFault::NoAnswer {
            attempted,
            after_ms: limit_ms,
        }),
    }
}

#[cfg(test)]
mod tests {
    use sqlx::Connection as _;

    use super::*;
    use crate::testing::*;

    #[tokio::test]
    async fn a_locked_spool_is_waited_for_and_a_broken_one_is_not() {
        let bench = Bench::new().await;
        let lock = bench.lock().await;
        let error = bench.spool.count(Counter::Links, 1).await.unwrap_err();
        let fault = LinkFault::from(error);
        assert!(fault.may_pass(), "{fault}");
        assert!(matches!(fault.state(), LinkState::SpoolWaits { .. }));
        count(&bench.spool, Counter::ConnectFailures).await.unwrap();
        lock.close().await.unwrap();
        count(&bench.spool, Counter::ConnectFailures).await.unwrap();
        assert_eq!(bench.status().await.counters[Counter::ConnectFailures.code()], 1);
        bench.spool.close().await;
        let broken = LinkFault::from(bench.spool.count(Counter::Links, 1).await.unwrap_err());
        assert!(!broken.may_pass() && !LinkFault::CaptureGone.may_pass());
    }
}
