//! Who may connect: a gateway that is enrolled, not revoked, and signed its password just now.

use carepost_contract::connect::{self, ConnectError};
use carepost_daemon::CancellationToken;
use carepost_store::FleetError;
use ed25519_dalek::VerifyingKey;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::app::AppState;
use crate::broker::{ConnectRequest, Refusal};
use crate::telemetry::chain;

/// Connections that are checked at a time; the work is one look into the store and one signature.
const PARALLEL: usize = 16;

/// Answers connection requests until the soft stop.
pub(crate) async fn run(
    state: AppState,
    mut connects: mpsc::Receiver<ConnectRequest>,
    soft: CancellationToken,
) -> anyhow::Result<()> {
    let mut running = JoinSet::new();
    loop {
        if running.len() >= PARALLEL {
            ended(running.join_next().await)?;
            continue;
        }
        // Both branches are cancel-safe: a request that loses the race is still in the queue.
        tokio::select! {
            () = soft.cancelled() => return Ok(()),
            Some(request) = connects.recv() => {
                let state = state.clone();
                running.spawn(async move {
                    let verdict = check(&state, &request).await;
                    request.answer(verdict);
                });
            }
            Some(result) = running.join_next() => ended(Some(result))?,
        }
    }
}

/// A panic in a check is a mistake of ours and takes the process down.
fn ended(result: Option<Result<(), tokio::task::JoinError>>) -> anyhow::Result<()> {
    Ok(result.transpose().map(drop)?)
}

async fn check(state: &AppState, request: &ConnectRequest) -> Result<(), Refusal> {
    let unknown = Refusal::BadCredentials { hint: None };
    let gateway = match state.store.gateway(request.gateway).await {
        Ok(gateway) => gateway,
        Err(FleetError::Fault(fault)) => {
            tracing::error!(gateway.id = %request.gateway, error = chain(&fault), "gateway could not be looked up");
            return Err(Refusal::Unavailable);
        }
        Err(_unknown) => return Err(unknown),
    };
    let key = VerifyingKey::from_bytes(&gateway.public_key).map_err(|_| unknown.clone())?;
    match connect::check(&key, request.gateway, &request.password, state.clock.now()) {
        Ok(()) if gateway.revoked_at.is_some() => Err(Refusal::NotAuthorised),
        Ok(()) => Ok(()),
        // Its signature verified, so that it may know what to mend.
        Err(error @ ConnectError::NotNow { .. }) => Err(Refusal::BadCredentials {
            hint: Some(error.to_string()),
        }),
        Err(ConnectError::Malformed | ConnectError::DoesNotVerify) => Err(unknown),
    }
}
