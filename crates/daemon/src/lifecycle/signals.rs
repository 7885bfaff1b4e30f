//! SIGTERM and SIGINT.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::LifecycleError;

#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn listen() -> Result<Self, LifecycleError> {
        let listen = |name, kind| signal(kind).map_err(|source| LifecycleError::Signal { signal: name, source });
        Ok(Self {
            terminate: listen("SIGTERM", SignalKind::terminate())?,
            interrupt: listen("SIGINT", SignalKind::interrupt())?,
        })
    }

    /// The name of the next signal. Cancel-safe, as [`Signal::recv`] is.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            Some(()) = self.terminate.recv() => "SIGTERM",
            Some(()) = self.interrupt.recv() => "SIGINT",
            // tokio ends these streams only with the runtime, which polls this future.
            else => std::future::pending().await,
        }
    }
}
