//! Meters over Bluetooth: btleplug and everything that must be known about it, in one place (page 3, section 3).
//!
//! One task owns the adapter. It scans, with rests; connects one registered meter at a time; and builds the way to the
//! adapter anew when it is lost, because btleplug does not say so. What comes from a meter goes straight to the capture
//! task.

mod capture;
mod connect;
mod scan;
mod session;

use std::collections::HashMap;
use std::time::Duration;

use btleplug::api::{Central as _, Manager as _};
use btleplug::platform::{Adapter, Manager};
use carepost_daemon::{CancellationToken, Clock, Entropy};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::board::{Board, LinkState};
use crate::clock_trust::ClockTrust;
use crate::config::Bluetooth;
use crate::sitting::Desk;
use crate::spool::{Counter, Disposition, Spool, SpoolError};

use capture::{CaptureTask, Message};
use scan::Scanner;

/// Longest pause before the way to the adapter is built anew.
const REBUILD_MAX: Duration = Duration::from_secs(60);

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
    /// Configuration.
    pub settings: Bluetooth,
}

/// The two tasks of this module: the one that owns the adapter, and the one that writes packets down. The second ends
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
        entropy: parts.entropy.clone(),
        trust: parts.trust.clone(),
        board: parts.board.clone(),
        links: HashMap::new(),
    };
    let capture = task.run(queue, hard.clone());
    (supervise(parts, packets, soft, hard), capture)
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
    /// There is no adapter of that name.
    #[error("there is no Bluetooth adapter{}", if name.is_empty() { String::new() } else { format!(" {name}") })]
    NoAdapter { name: String },
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
            Self::Bus { .. } | Self::NoAnswer { .. } | Self::EventsEnded | Self::NoAdapter { .. } => true,
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

async fn supervise(
    parts: LinkParts,
    packets: mpsc::Sender<Message>,
    soft: CancellationToken,
    hard: CancellationToken,
) -> anyhow::Result<()> {
    let mut scanner = Scanner::new(parts.clone(), packets, soft.clone(), hard);
    let mut pause = Duration::from_millis(parts.settings.rebuild_ms);
    while !soft.is_cancelled() {
        let adapter = tokio::select! {
            found = find_adapter(&parts.settings) => found,
            () = soft.cancelled() => break,
        };
        let fault = match adapter {
            Ok(adapter) => {
                let since = parts.clock.monotonic();
                // Ends by itself soon after `soft`: it has meters to disconnect first.
                match scanner.operate(&adapter).await {
                    Ok(()) => break,
                    Err(fault) => {
                        if parts.clock.monotonic().saturating_sub(since) > REBUILD_MAX {
                            pause = Duration::from_millis(parts.settings.rebuild_ms);
                        }
                        fault
                    }
                }
            }
            Err(fault) => fault,
        };
        if !fault.may_pass() {
            return Err(fault.into());
        }
        let state = fault.state();
        if parts.board.link() != state {
            tracing::warn!(
                error = crate::admit::chain(&fault),
                "meters cannot be read; trying again"
            );
            parts.board.set_link(state);
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = soft.cancelled() => break,
        }
        pause = (pause * 2).min(REBUILD_MAX);
    }
    parts.board.set_link(LinkState::Stopped);
    Ok(())
}

async fn find_adapter(settings: &Bluetooth) -> Result<Adapter, LinkFault> {
    let manager = within(settings.probe_ms, "reach the bluetooth service", Manager::new()).await?;
    let adapters = within(settings.probe_ms, "list bluetooth adapters", manager.adapters()).await?;
    for adapter in adapters {
        let info = within(settings.probe_ms, "ask for the adapter's name", adapter.adapter_info()).await?;
        // "hci0 (usb:v1D6Bp0246d0540)".
        if settings.adapter.is_empty() || info.split(' ').next() == Some(settings.adapter.as_str()) {
            return Ok(adapter);
        }
    }
    Err(LinkFault::NoAdapter {
        name: settings.adapter.clone(),
    })
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
