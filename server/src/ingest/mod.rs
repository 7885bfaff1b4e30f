//! What gateways send, and what they are sent.
//!
//! - [`gatekeeper`]: who may connect.
//! - [`batches`]: readings, from the queue to the receipt; live before replay.
//! - [`control`]: hello, applied, and registrations of meters ([`registration`]).
//! - [`down`]: snapshots and deltas, to each gateway in order.
//! - [`presence`]: tells the store who is connected.
//!
//! A message is answered when it is committed or in quarantine, and never before. One that cannot be stored is dropped,
//! which ends its connection without an acknowledgement, so that it comes again.

pub(crate) mod batches;
pub(crate) mod control;
pub(crate) mod down;
pub(crate) mod gatekeeper;
pub(crate) mod presence;
mod registration;

use carepost_contract::limits::MAX_BATCH_BYTES;
use carepost_contract::signed::{self, SignatureError};
use carepost_domain::id::GatewayId;
use carepost_domain::quarantine::Reason;
use carepost_store::model::Gateway;
use carepost_store::{Disposition, Fault, FleetError};
use ed25519_dalek::VerifyingKey;

use crate::app::AppState;
use crate::broker::{Message, Verdict};
use crate::telemetry::{Metric, chain};

/// A message that will never be usable: why, and what its sender is told.
#[derive(Debug)]
struct Poison {
    reason: Reason,
    verdict: Verdict,
}

impl Poison {
    const fn unusable(reason: Reason, why: &'static str) -> Self {
        Self {
            reason,
            verdict: Verdict::Unusable(why),
        }
    }

    const fn not_authorised(reason: Reason, why: &'static str) -> Self {
        Self {
            reason,
            verdict: Verdict::NotAuthorised(why),
        }
    }

    fn of_signature(error: SignatureError) -> Self {
        match error {
            SignatureError::NoSignatureLine => Self::unusable(Reason::Malformed, "there is no signature line"),
            SignatureError::OtherKey => {
                Self::not_authorised(Reason::BadSignature, "the signature names another key than yours")
            }
            SignatureError::DoesNotVerify => {
                Self::not_authorised(Reason::BadSignature, "the signature does not verify")
            }
        }
    }
}

/// Why a message was not dealt with.
#[derive(Debug)]
enum Trouble {
    /// It never will be: into quarantine with it.
    Poison(Poison),
    /// The sender is not, or no longer, a gateway of ours: end its connection.
    Expelled,
    /// Not now. Not acknowledged, so that it comes again.
    Store(Fault),
}

impl From<Poison> for Trouble {
    fn from(poison: Poison) -> Self {
        Self::Poison(poison)
    }
}

impl From<FleetError> for Trouble {
    fn from(error: FleetError) -> Self {
        match error {
            FleetError::Fault(fault) => Self::Store(fault),
            FleetError::BadEpoch => Poison::unusable(Reason::Malformed, "the epoch is none").into(),
            FleetError::StoreUnknown(_)
            | FleetError::StoreDiffers(_)
            | FleetError::GatewayUnknown(_)
            | FleetError::GatewayRevoked(_)
            | FleetError::GatewayDiffers(_) => Self::Expelled,
        }
    }
}

/// The sender's registration as of now: a gateway that has been revoked since it connected is refused.
async fn sender(state: &AppState, gateway: GatewayId) -> Result<Gateway, Trouble> {
    let gateway = state.store.gateway(gateway).await?;
    if gateway.revoked_at.is_some() {
        Err(Trouble::Expelled)
    } else {
        Ok(gateway)
    }
}

/// The payload behind a signature of that gateway's key.
fn open<'a>(gateway: &Gateway, message: &'a [u8]) -> Result<&'a [u8], Trouble> {
    // A key that is no key verifies nothing; enrolment has refused it.
    let key = VerifyingKey::from_bytes(&gateway.public_key)
        .map_err(|_| Poison::of_signature(SignatureError::DoesNotVerify))?;
    signed::open(&key, message).map_err(|error| Poison::of_signature(error).into())
}

/// Answers a message that was not taken, after putting it into quarantine where that is its place.
async fn settle(state: &AppState, message: Message, trouble: Trouble) {
    let gateway = message.gateway;
    match trouble {
        Trouble::Poison(Poison { reason, verdict }) => {
            let kept = state
                .store
                .quarantine_message(Some(gateway), reason, &message.payload, state.clock.now())
                .await;
            match kept {
                Ok(()) => {
                    state.counters.count(Metric::MessagesPoison);
                    tracing::warn!(
                        gateway.id = %gateway,
                        channel = message.channel.suffix(),
                        reason = reason.code(),
                        bytes = message.payload.len(),
                        "message put into quarantine"
                    );
                    message.answer(verdict);
                }
                Err(fault) => not_stored(state, message, &fault),
            }
        }
        Trouble::Expelled => {
            tracing::warn!(gateway.id = %gateway, "gateway is not or no longer enrolled and is cut off");
            state.broker.kick(gateway);
            drop(message);
        }
        Trouble::Store(fault) => not_stored(state, message, &fault),
    }
}

/// Drops the message unanswered, which ends its connection.
fn not_stored(state: &AppState, message: Message, fault: &Fault) {
    state.counters.count(Metric::MessagesNotStored);
    match fault.disposition() {
        Disposition::Retry => tracing::warn!(
            gateway.id = %message.gateway, error = chain(fault), "message was not stored; the gateway sends it again"
        ),
        Disposition::Reject | Disposition::Park => tracing::error!(
            gateway.id = %message.gateway, error = chain(fault), "message cannot be stored; a person must look"
        ),
    }
    drop(message);
}

/// A batch with its signature line has at most this many bytes; what is longer is not even verified.
const MAX_SIGNED_BATCH_BYTES: usize = MAX_BATCH_BYTES + 256;
