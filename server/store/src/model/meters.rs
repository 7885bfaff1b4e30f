//! Meters as staff see them, and registrations from gateways.

use carepost_domain::id::{GatewayId, MemberId, MeterId};
use carepost_domain::meter::Meter;
use chrono::{DateTime, Utc};

/// A meter with what the store knows around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeterRecord {
    /// The meter.
    pub meter: Meter,
    /// When it was registered.
    pub registered_at: DateTime<Utc>,
    /// The gateway at which it was paired; `None` when staff registered it by hand.
    pub registered_via: Option<GatewayId>,
    /// The newest capture of a reading that was stored; `None` before the first.
    pub last_seen: Option<DateTime<Utc>>,
    /// Members to whom it, or a slot of it, belongs now.
    pub owners: i64,
}

/// A page of meters: by model, and meters of one model by address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeterPage {
    /// The meters.
    pub meters: Vec<MeterRecord>,
    /// The meter behind which the next page begins, if there is one.
    pub next: Option<MeterId>,
}

/// A meter that staff paired at a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The meter, with what it says of itself.
    pub meter: Meter,
    /// Whose it is; none for a store-shared meter. At most [`crate::limits::MAX_METER_OWNERS`].
    pub owners: Vec<MeterOwner>,
    /// When staff did so, by the gateway's clock.
    pub at: DateTime<Utc>,
}

/// Whose a meter, or a user slot of it, is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MeterOwner {
    /// The member.
    pub member: MemberId,
    /// The user slot; `None` exactly on single-user meters.
    pub slot: Option<u8>,
    /// Staff said that nobody else has ever measured with the meter, or in this slot of it.
    pub only_ever_this_person: bool,
}

/// What a registration changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Registered {
    /// The meter is new.
    pub new: bool,
    /// What it says of itself was not known so before.
    pub described: bool,
    /// Bindings that were made.
    pub bound: usize,
    /// Bindings that were there, and of whose owners it was said only now that nobody else has ever used the meter.
    pub vouched: usize,
}

impl Registered {
    /// Whether anything did; a repeat changes nothing.
    #[must_use]
    pub fn is_any(&self) -> bool {
        *self != Self::default()
    }
}
