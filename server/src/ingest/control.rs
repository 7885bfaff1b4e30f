//! Hello, applied, and registrations of meters.

use carepost_contract::v1::{Control, Down, Hello, MessageError, RegisterRefused, parse_control};
use carepost_daemon::CancellationToken;
use carepost_domain::id::GatewayId;
use carepost_domain::quarantine::Reason;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::app::AppState;
use crate::broker::{Message, Verdict};
use crate::telemetry::Metric;

use super::down::Greeting;
use super::{Poison, Trouble, open, registration, sender, settle};

/// A gateway clock further off than this is worth a line in the log, in seconds.
const NOTABLE_CLOCK_OFF_S: i64 = 60;
/// Refusals on their way. A gateway that does not take its messages holds a place until it is cut off.
const REFUSALS: usize = 32;

/// What a message that was taken leads to.
enum Next {
    Nothing,
    Greet(Greeting),
    Refuse(RegisterRefused),
}

/// Deals with control messages until the soft stop, one at a time: they are few, and their order matters.
pub(crate) async fn run(
    state: AppState,
    mut control: mpsc::Receiver<Message>,
    greetings: mpsc::Sender<Greeting>,
    soft: CancellationToken,
) -> anyhow::Result<()> {
    let mut refusals = JoinSet::new();
    loop {
        // All branches are cancel-safe.
        let message = tokio::select! {
            biased;
            () = soft.cancelled() => return Ok(()),
            Some(sent) = refusals.join_next() => {
                sent?;
                continue;
            }
            message = control.recv(), if refusals.len() < REFUSALS => message,
        };
        let Some(message) = message else {
            // The endpoint is gone; its own task says so.
            soft.cancelled().await;
            return Ok(());
        };
        let (gateway, session) = (message.gateway, message.session);
        let refusal = match deal_with(&state, &message).await {
            Ok(next) => {
                state.counters.count(Metric::MessagesTaken);
                message.answer(Verdict::Taken);
                match next {
                    Next::Nothing => None,
                    Next::Greet(greeting) => {
                        // Waits while the sender of `down` is busy; fails only when it has stopped.
                        if greetings.send(greeting).await.is_err() {
                            return Ok(());
                        }
                        None
                    }
                    Next::Refuse(refused) => Some(refused),
                }
            }
            Err(trouble) => {
                let refusal = match &trouble {
                    Trouble::Poison(_) => registration::salvage(&state, &message).await,
                    Trouble::Expelled | Trouble::Store(_) => None,
                };
                settle(&state, message, trouble).await;
                refusal
            }
        };
        if let Some(refused) = refusal {
            let state = state.clone();
            refusals.spawn(async move { refuse(&state, gateway, session, refused).await });
        }
    }
}

/// Tells a gateway that a registration was not taken. One that does not hear it registers again after its next hello.
async fn refuse(state: &AppState, gateway: GatewayId, session: u64, refused: RegisterRefused) {
    // An id and a code always serialise.
    let payload = serde_json::to_vec(&Down::RegisterRefused(refused)).unwrap_or_default();
    if let Err(error) = state.broker.publish_down(gateway, session, payload).await {
        tracing::debug!(gateway.id = %gateway, meter.id = %refused.meter, %error, "refusal not sent");
    }
}

async fn deal_with(state: &AppState, message: &Message) -> Result<Next, Trouble> {
    let gateway = sender(state, message.gateway).await?;
    let payload = open(&gateway, &message.payload)?;
    let control = parse_control(payload).map_err(|error| match error {
        MessageError::TooLarge { .. } => Poison::unusable(Reason::TooLarge, "the message is too large"),
        MessageError::NotA { .. } | MessageError::TooManyRows { .. } => {
            Poison::unusable(Reason::Malformed, "the payload is not a control message")
        }
        MessageError::BadRegister(_) => Poison::unusable(Reason::Malformed, "the registration cannot be so"),
    })?;
    let named = match &control {
        Control::Hello(hello) => hello.gateway,
        Control::Applied(applied) => applied.gateway,
        Control::Register(register) => register.gateway,
    };
    if named != message.gateway {
        return Err(Poison::not_authorised(Reason::WrongGateway, "the message names another gateway").into());
    }
    let now = state.clock.now();
    match control {
        Control::Hello(hello) => greet(state, message, hello, now).await.map(Next::Greet),
        Control::Applied(applied) => {
            let version = i64::try_from(applied.down_version)
                .map_err(|_| Poison::unusable(Reason::Malformed, "the version is out of range"))?;
            state.store.note_applied(message.gateway, version, now).await?;
            tracing::info!(gateway.id = %message.gateway, version, "gateway has applied a version");
            Ok(Next::Nothing)
        }
        Control::Register(register) => {
            let refused = registration::take(state, *register, now).await?;
            Ok(refused.map_or(Next::Nothing, Next::Refuse))
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
