//! Control messages, gateway to server.

use carepost_domain::id::{GatewayId, MemberId, MeterId};
use carepost_domain::meter::{Meter, MeterRole, meter_id};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Epoch, MessageError, parse_sized};
use crate::limits::{MAX_METER_OWNERS, MAX_MODEL_CHARS};

/// A message on `up/ctl`; signed like a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Control {
    /// The first message of every connection.
    Hello(Hello),
    /// The gateway has applied a down version: purged what it had to purge, committed.
    Applied(Applied),
    /// Staff paired a new meter at the gateway. Sent again until a snapshot or delta shows the meter with its owners, or
    /// [`super::Down::RegisterRefused`] comes.
    Register(Box<Register>),
}

/// The start of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The sender.
    pub gateway: GatewayId,
    /// Its current start.
    pub epoch: Epoch,
    /// The version of members, meters, bindings and grants that it holds; 0 for none.
    pub down_version: u64,
    /// Its own time.
    pub clock: DateTime<Utc>,
}

/// Acknowledges a snapshot or delta.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The sender.
    pub gateway: GatewayId,
    /// The version that is now in force there.
    pub down_version: u64,
}

/// A new meter, or a known one with new owners.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    /// The sender.
    pub gateway: GatewayId,
    /// The meter.
    pub meter: Meter,
    /// Who measures with it; none for a store-shared meter.
    #[serde(default)]
    pub owners: Vec<Owner>,
    /// When staff did so; bindings are valid from here.
    pub at: DateTime<Utc>,
}

/// Whose a meter, or a user slot of it, is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The member.
    pub member: MemberId,
    /// The user slot; absent on meters of one user.
    #[serde(default)]
    pub slot: Option<u8>,
    /// Staff asked, and nobody else has ever measured with the meter, or in this slot of it: what it has stored is this
    /// member's, too. Absent from senders that do not ask; then records from before the registration wait for a person.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub only_ever_this_person: bool,
}

/// What a registration says that cannot be so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadRegister {
    /// The id does not follow from address and address type.
    #[error("the meter {meter} has another address than its id says")]
    ForeignId {
        /// The id given.
        meter: MeterId,
    },
    /// The model is too long.
    #[error("the model of meter {meter} has more than {MAX_MODEL_CHARS} characters")]
    LongModel {
        /// The meter.
        meter: MeterId,
    },
    /// More owners than a meter has slots.
    #[error("meter {meter} is given {count} owners; at most {MAX_METER_OWNERS} are allowed")]
    TooManyOwners {
        /// The meter.
        meter: MeterId,
        /// How many.
        count: usize,
    },
    /// A store-shared meter is nobody's.
    #[error("the store-shared meter {meter} is given an owner")]
    OwnerOfShared {
        /// The meter.
        meter: MeterId,
    },
    /// A personal meter without an owner, slots on a meter of one user, none on one of several, one slot twice, or the slot of
    /// unknown users.
    #[error("the owners of meter {meter} do not go with its user slots")]
    Slots {
        /// The meter.
        meter: MeterId,
    },
}

impl Register {
    /// Checks what can be checked without knowing anybody.
    ///
    /// # Errors
    /// The first thing that cannot be so.
    pub fn check(&self) -> Result<(), BadRegister> {
        let meter = self.meter.id;
        if meter_id(self.meter.address, self.meter.address_type) != meter {
            return Err(BadRegister::ForeignId { meter });
        }
        if self.meter.model.chars().count() > MAX_MODEL_CHARS {
            return Err(BadRegister::LongModel { meter });
        }
        let count = self.owners.len();
        if count > MAX_METER_OWNERS {
            return Err(BadRegister::TooManyOwners { meter, count });
        }
        match self.meter.role {
            MeterRole::StoreShared if count > 0 => Err(BadRegister::OwnerOfShared { meter }),
            MeterRole::StoreShared => Ok(()),
            MeterRole::Personal if self.slots_fit() => Ok(()),
            MeterRole::Personal => Err(BadRegister::Slots { meter }),
        }
    }

    fn slots_fit(&self) -> bool {
        let mut slots: Vec<Option<u8>> = self.owners.iter().map(|owner| owner.slot).collect();
        slots.sort_unstable();
        slots.dedup();
        let each_once = slots.len() == self.owners.len() && !slots.is_empty();
        // A cuff says 255 of a user whom it does not know, who is nobody (page 3, section 2.2).
        let of_the_kind = slots
            .iter()
            .all(|slot| slot.is_some() == self.meter.multi_user && *slot != Some(u8::MAX));
        each_once && of_the_kind
    }
}

/// Parses a control payload.
///
/// # Errors
/// When it is too large, not a control message, or a registration that cannot be so ([`Register::check`]).
pub fn parse_control(payload: &[u8]) -> Result<Control, MessageError> {
    let control: Control = parse_sized(payload, "control message")?;
    if let Control::Register(register) = &control {
        register.check().map_err(MessageError::BadRegister)?;
    }
    Ok(control)
}
