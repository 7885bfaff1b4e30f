//! What a gateway works from, server to gateway. Nothing here is retained by a broker.

use carepost_domain::code_enum;
use carepost_domain::id::{GrantId, MemberId, MeterId, StoreId};
use carepost_domain::meter::{Binding, Meter};
use carepost_domain::people::MemberCode;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Epoch, MessageError, parse_sized};
use crate::limits::MAX_DOWN_ROWS;

/// A message on `down`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Down {
    /// Everything in the gateway's scope, in one or more parts.
    Snapshot(Snapshot),
    /// Rows that changed since a version.
    Delta(Delta),
    /// Where both lanes stand; the answer to hello.
    Cursor(Cursor),
    /// A registration was not taken; the gateway forgets it and shows staff why.
    RegisterRefused(RegisterRefused),
}

/// One part of a snapshot. Parts come in order; the gateway applies them together when it has the last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The version that the whole snapshot brings.
    pub version: u64,
    /// Number of this part, from 0.
    pub part: u32,
    /// Whether it is the last.
    pub last: bool,
    /// The store the gateway belongs to.
    pub store: StoreId,
    /// The store's zone, an IANA name, in which its meters keep their time.
    pub zone: String,
    /// Members of the store and owners of meters bound there.
    #[serde(default)]
    pub members: Vec<DownMember>,
    /// Meters of the store.
    #[serde(default)]
    pub meters: Vec<Meter>,
    /// Bindings of those meters.
    #[serde(default)]
    pub bindings: Vec<Binding>,
    /// `care_record` grants of those members, withdrawn ones included.
    #[serde(default)]
    pub grants: Vec<DownGrant>,
}

/// Rows to insert or replace. Nothing is ever deleted: bindings end and grants are withdrawn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delta {
    /// The version that the gateway must hold; otherwise it says hello again.
    pub previous: u64,
    /// The version that this delta brings.
    pub version: u64,
    /// New or changed members.
    #[serde(default)]
    pub members: Vec<DownMember>,
    /// New or changed meters.
    #[serde(default)]
    pub meters: Vec<Meter>,
    /// New or changed bindings.
    #[serde(default)]
    pub bindings: Vec<Binding>,
    /// New or changed `care_record` grants.
    #[serde(default)]
    pub grants: Vec<DownGrant>,
}

/// The answer to hello.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The epoch asked about.
    pub epoch: Epoch,
    /// `settled_through` of the live lane in it.
    pub live: u64,
    /// `settled_through` of the replay lane in it.
    pub replay: u64,
    /// The server's time.
    pub server_time: DateTime<Utc>,
}

/// The answer to a registration that was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterRefused {
    /// The meter.
    pub meter: MeterId,
    /// Why.
    pub reason: RegisterRefusal,
}

code_enum! {
    /// Why a registration is not taken.
    pub enum RegisterRefusal ("register refusal") {
        /// The message cannot be so: id, model, owners or slots.
        Invalid = "invalid",
        /// The meter would stand in another store than the gateway.
        OtherStore = "other_store",
        /// The meter is registered with another kind, role or store.
        RegisteredOtherwise = "registered_otherwise",
        /// An owner is not a known member.
        UnknownMember = "unknown_member",
        /// The meter, or the slot, is another member's.
        SlotTaken = "slot_taken",
        /// It was another member's before, so that it has not only ever been this one's. Answered only to a registration that
        /// says so ([`super::Owner::only_ever_this_person`]).
        WasAnothers = "was_anothers",
    }
}

/// The least that a kiosk needs to know of a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownMember {
    /// The member.
    pub id: MemberId,
    /// What the person types or shows.
    pub code: MemberCode,
    /// First character and two stars.
    pub masked_name: String,
}

/// A `care_record` grant as the gateway's gate needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownGrant {
    /// The grant.
    pub id: GrantId,
    /// Whose.
    pub member: MemberId,
    /// From when.
    pub granted_at: DateTime<Utc>,
    /// Since when not.
    pub withdrawn_at: Option<DateTime<Utc>>,
    /// Until when.
    pub expires_at: Option<DateTime<Utc>>,
    /// Readings from before the first grant may be kept.
    pub includes_history: bool,
}

/// A down message, as far as this version understands it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedDown {
    /// The message, without the rows that are not understood.
    pub message: Down,
    /// Meters of a snapshot or delta that are not understood: of a kind that a newer server invented, say. This gateway
    /// works as if they were not registered, and still learns everything else, above all who has withdrawn.
    pub unknown_meters: usize,
}

/// What the parser was told to expect.
const DOWN_MESSAGE: &str = "down message";

/// Parses a down payload.
///
/// # Errors
/// When it is too large, not a down message, or lists more rows than one part may. A meter that is not understood is no
/// error ([`ParsedDown::unknown_meters`]).
pub fn parse_down(payload: &[u8]) -> Result<ParsedDown, MessageError> {
    let mut value: Value = parse_sized(payload, DOWN_MESSAGE)?;
    let rows = match value.get_mut("meters") {
        Some(Value::Array(rows)) => std::mem::take(rows),
        _ => Vec::new(),
    };
    let mut message = serde_json::from_value(value).map_err(|source| MessageError::NotA {
        expected: DOWN_MESSAGE,
        source,
    })?;
    let (meters, others) = match &mut message {
        Down::Snapshot(s) => (&mut s.meters, s.members.len() + s.bindings.len() + s.grants.len()),
        Down::Delta(d) => (&mut d.meters, d.members.len() + d.bindings.len() + d.grants.len()),
        Down::Cursor(_) | Down::RegisterRefused(_) => {
            return Ok(ParsedDown {
                message,
                unknown_meters: 0,
            });
        }
    };
    let listed = rows.len();
    let count = listed + others;
    if count > MAX_DOWN_ROWS {
        return Err(MessageError::TooManyRows { count });
    }
    meters.extend(
        rows.into_iter()
            .filter_map(|row| serde_json::from_value::<Meter>(row).ok()),
    );
    let unknown_meters = listed - meters.len();
    Ok(ParsedDown {
        message,
        unknown_meters,
    })
}
