//! Hello and applied.

use carepost_contract::v1::{Control, Hello, MessageError, parse_control};
use carepost_daemon::CancellationToken;
use carepost_domain::quarantine::Reason;
use tokio::sync::mpsc;

use crate::app::AppState;
use crate::broker::{Message, Verdict};
use crate::telemetry::Metric;

use super::down::Greeting;
use super::{Poison, Trouble, open, sender, settle};

/// A gateway clock further off than this is worth a line in the log, in seconds.
const NOTABLE_CLOCK_OFF_S: i64 = 60;

/// Deals with control messages until the soft stop, one at a time: they are few, and their order matters.
pub(crate) async fn run(
    state: AppState,
    mut control: mpsc::Receiver<Message>,
    greetings: mpsc::Sender<Greeting>,
    soft: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        // Both branches are cancel-safe.
        let message = tokio::select! {
            biased;
            () = soft.cancelled() => return Ok(()),
            message = control.recv() => message,
        };
        let Some(message) = message else {
            // The endpoint is gone; its own task says so.
            soft.cancelled().await;
            return Ok(());
        };
        match deal_with(&state, &message).await {
            Ok(greeting) => {
                state.counters.count(Metric::MessagesTaken);
                message.answer(Verdict::Taken);
                if let Some(greeting) = greeting {
                    // Waits while the sender of `down` is busy; fails only when it has stopped.
                    if greetings.send(greeting).await.is_err() {
                        return Ok(());
                    }
                }
            }
            Err(trouble) => {
                settle(&state, message, trouble).await;
            }
        }
    }
}

async fn deal_with(state: &AppState, message: &Message) -> Result<Option<Greeting>, Trouble> {
    let gateway = sender(state, message.gateway).await?;
    let payload = open(&gateway, &message.payload)?;
    let control = parse_control(payload).map_err(|error| match error {
        MessageError::TooLarge { .. } => Poison::unusable(Reason::TooLarge, "the message is too large"),
        MessageError::NotA { .. } | MessageError::TooManyRows { .. } => {
            Poison::unusable(Reason::Malformed, "the payload is not a control message")
        }
    })?;
    let named = match &control {
        Control::Hello(hello) => hello.gateway,
        Control::Applied(applied) => applied.gateway,
    };
    if named != message.gateway {
        return Err(Poison::not_authorised(Reason::WrongGateway, "the message names another gateway").into());
    }
    let now = state.clock.now();
    match control {
        Control::Hello(hello) => greet(state, message, hello, now).await.map(Some),
        Control::Applied(applied) => {
            let version = i64::try_from(applied.down_version)
                .map_err(|_| Poison::unusable(Reason::Malformed, "the version is out of range"))?;
            state.store.note_applied(message.gateway, version, now).await?;
            tracing::info!(gateway.id = %message.gateway, version, "gateway has applied a version");
            Ok(None)
        }
    }
}

async fn greet(
    state: &AppState,
    message: &Message,
    hello: Hello,
    now: chrono::DateTime<chrono::Utc>,
) -> Result<Greeting, Trouble> {
    let outcome = state
        .store
        .hello(message.gateway, &hello.epoch.to_string(), now)
        .await?;
    let clock_off_s = (hello.clock - now).num_seconds();
    if outcome.cloned {
        tracing::error!(gateway.id = %message.gateway, "two gateways have this identity: a disk has been copied");
    }
    if clock_off_s.abs() >= NOTABLE_CLOCK_OFF_S {
        tracing::warn!(gateway.id = %message.gateway, clock_off_s, "gateway clock is off");
    }
    tracing::info!(
        gateway.id = %message.gateway,
        epoch = %hello.epoch,
        holds = hello.down_version,
        current = outcome.down_version,
        "gateway says hello"
    );
    Ok(Greeting {
        gateway: message.gateway,
        session: message.session,
        epoch: hello.epoch,
        holds: hello.down_version,
        cursors: outcome.cursors,
    })
}
