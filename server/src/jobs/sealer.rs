//! Chains new audit rows, so that a missing or altered one is found later.

use std::time::Duration;

use carepost_daemon::CancellationToken;
use tokio::time::MissedTickBehavior;

use crate::app::AppState;
use crate::telemetry::{Metric, chain};

/// Chains rows until the soft stop.
pub(crate) async fn run(state: AppState, soft: CancellationToken) -> anyhow::Result<()> {
    let mut poll = tokio::time::interval(Duration::from_millis(state.config.jobs.seal_ms));
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // Both branches are cancel-safe; the work below is not raced.
        tokio::select! {
            biased;
            () = soft.cancelled() => return Ok(()),
            _ = poll.tick() => {}
        }
        while !soft.is_cancelled() {
            match state.store.seal_audit().await {
                Ok(sealed) => {
                    state.counters.add(Metric::AuditSealed, sealed.rows);
                    if !sealed.more {
                        break;
                    }
                }
                Err(fault) => {
                    tracing::warn!(error = chain(&fault), "audit rows could not be chained");
                    break;
                }
            }
        }
    }
}
