//! Tells the store who is connected. A hint: what counts is when a gateway was last heard of.

use carepost_daemon::CancellationToken;

use crate::app::AppState;
use crate::telemetry::chain;

/// Notes connections that come and go until the soft stop.
pub(crate) async fn run(state: AppState, soft: CancellationToken) -> anyhow::Result<()> {
    loop {
        // Both branches are cancel-safe.
        let changes = tokio::select! {
            biased;
            () = soft.cancelled() => return Ok(()),
            changes = state.broker.presence_changes() => changes,
        };
        for (gateway, online) in changes {
            if let Err(error) = state.store.note_presence(gateway, online, state.clock.now()).await {
                tracing::warn!(gateway.id = %gateway, online, error = chain(&error), "presence was not noted");
            }
        }
    }
}
