//! Members as the store keeps them, and requests to bind meters.

use carepost_domain::id::{BindingId, MemberId, MeterId};
use carepost_domain::people::Member;
use chrono::{DateTime, Utc};

/// A member with the time it was added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberRecord {
    /// The member.
    pub member: Member,
    /// When it was added.
    pub added_at: DateTime<Utc>,
}

/// A personal meter, or one slot of it, to become a member's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindingRequest {
    /// The binding's id.
    pub id: BindingId,
    /// The meter.
    pub meter: MeterId,
    /// Its owner.
    pub member: MemberId,
    /// The user slot; `None` exactly on single-user meters.
    pub slot: Option<u8>,
    /// Records measured before are refused, unless `only_ever_this_person`.
    pub valid_from: DateTime<Utc>,
    /// Staff recorded that nobody else has ever used the meter.
    pub only_ever_this_person: bool,
}
