//! Meters that staff paired at a gateway. What is taken reaches the store's gateways as a change on `down`, which is the
//! acknowledgement; what is not is answered with a reason.

use carepost_contract::v1::{Register, RegisterRefusal, RegisterRefused};
use carepost_domain::id::{GatewayId, MeterId};
use carepost_store::RegisterError;
use carepost_store::model::{MeterOwner, Registration};
use chrono::{DateTime, Utc};
use serde::Deserialize;

use crate::app::AppState;
use crate::broker::Message;
use crate::telemetry::{Metric, chain};

use super::{Trouble, open, sender};

/// Registers the meter with its owners, or says why not.
pub(super) async fn take(
    state: &AppState,
    register: Register,
    now: DateTime<Utc>,
) -> Result<Option<RegisterRefused>, Trouble> {
    let Register {
        gateway,
        meter,
        owners,
        at,
    } = register;
    let id = meter.id;
    let registration = Registration {
        meter,
        owners: owners
            .into_iter()
            .map(|owner| MeterOwner {
                member: owner.member,
                slot: owner.slot,
                only_ever_this_person: owner.only_ever_this_person,
            })
            .collect(),
        at,
    };
    match state.store.register_from_gateway(gateway, &registration, now).await {
        Ok(done) => {
            state.counters.count(Metric::RegistrationsTaken);
            tracing::info!(
                gateway.id = %gateway,
                meter.id = %id,
                new = done.new,
                described = done.described,
                bound = done.bound,
                vouched = done.vouched,
                "meter registered at a gateway"
            );
            Ok(None)
        }
        Err(error) => {
            let reason = refusal(&error);
            let Some(reason) = reason else {
                return Err(trouble_of(error));
            };
            tracing::warn!(
                gateway.id = %gateway, meter.id = %id, reason = reason.code(), error = chain(&error), "registration refused"
            );
            Ok(Some(refused(state, id, reason)))
        }
    }
}

/// The answer to a signed registration that does not parse or contradicts itself; the message itself is in quarantine.
pub(super) async fn salvage(state: &AppState, message: &Message) -> Option<RegisterRefused> {
    let gateway = sender(state, message.gateway).await.ok()?;
    let payload = open(&gateway, &message.payload).ok()?;
    let meter = meter_of(payload, message.gateway)?;
    Some(refused(state, meter, RegisterRefusal::Invalid))
}

fn refused(state: &AppState, meter: MeterId, reason: RegisterRefusal) -> RegisterRefused {
    state.counters.count(Metric::RegistrationsRefused);
    RegisterRefused { meter, reason }
}

/// The meter that an unusable registration of that gateway names.
fn meter_of(payload: &[u8], sender: GatewayId) -> Option<MeterId> {
    #[derive(Deserialize)]
    #[serde(tag = "type", rename_all = "snake_case")]
    enum Message {
        Register { gateway: GatewayId, meter: Meter },
    }
    #[derive(Deserialize)]
    struct Meter {
        id: MeterId,
    }
    let Message::Register { gateway, meter } = serde_json::from_slice(payload).ok()?;
    (gateway == sender).then_some(meter.id)
}

/// The word for what the store refused; `None` when the refusal is not about the registration.
const fn refusal(error: &RegisterError) -> Option<RegisterRefusal> {
    Some(match error {
        RegisterError::Invalid { .. } => RegisterRefusal::Invalid,
        RegisterError::OtherStore(_) => RegisterRefusal::OtherStore,
        RegisterError::RegisteredOtherwise(_) => RegisterRefusal::RegisteredOtherwise,
        RegisterError::MemberUnknown(_) => RegisterRefusal::UnknownMember,
        RegisterError::SlotTaken { .. } => RegisterRefusal::SlotTaken,
        RegisterError::WasAnothers { .. } => RegisterRefusal::WasAnothers,
        RegisterError::GatewayUnknown(_) | RegisterError::GatewayRevoked(_) | RegisterError::Fault(_) => return None,
    })
}

fn trouble_of(error: RegisterError) -> Trouble {
    match error {
        RegisterError::Fault(fault) => Trouble::Store(fault),
        _ => Trouble::Expelled,
    }
}

#[cfg(test)]
mod tests {
    use carepost_domain::Id;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn an_unusable_registration_still_names_its_meter() {
        let gateway: GatewayId = Id::from_uuid(Uuid::from_u128(1));
        let meter: MeterId = Id::from_uuid(Uuid::from_u128(2));
        let text = format!(r#"{{"type":"register","gateway":"{gateway}","meter":{{"id":"{meter}","model":7}}}}"#);
        assert_eq!(meter_of(text.as_bytes(), gateway), Some(meter));
        assert_eq!(meter_of(text.as_bytes(), Id::from_uuid(Uuid::from_u128(3))), None);
        for other in [
            "",
            "{}",
            r#"{"type":"hello"}"#,
            r#"{"type":"register","meter":{}}"#,
            r#"{"type":"register","gateway":"x","meter":{"id":"y"}}"#,
        ] {
            assert_eq!(meter_of(other.as_bytes(), gateway), None, "{other}");
        }
    }
}
