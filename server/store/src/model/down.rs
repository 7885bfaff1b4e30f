//! What a gateway works from.

use carepost_domain::id::{GrantId, MemberId, StoreId};
use carepost_domain::meter::{Binding, Meter};
use carepost_domain::people::MemberCode;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;

/// The least that a kiosk needs to know of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeMember {
    /// The member.
    pub id: MemberId,
    /// What the person types or shows.
    pub code: MemberCode,
    /// First character and two stars.
    pub masked_name: String,
}

/// A `care_record` grant as the gateway's gate needs it; withdrawn ones are among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeGrant {
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

/// Everything in a gateway's scope: members whose home store is the gateway's, owners of meters registered there, those
/// meters, their bindings, and those members' `care_record` grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeRows {
    /// The version at which it was read.
    pub version: i64,
    /// The gateway's store.
    pub store: StoreId,
    /// That store's zone.
    pub zone: Tz,
    /// Members.
    pub members: Vec<ScopeMember>,
    /// Meters.
    pub meters: Vec<Meter>,
    /// Bindings.
    pub bindings: Vec<Binding>,
    /// Grants.
    pub grants: Vec<ScopeGrant>,
}

/// What changed in a gateway's scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedRows {
    /// The version it builds upon.
    pub previous: i64,
    /// New and changed rows, with the version that they bring.
    pub rows: ScopeRows,
}

impl ScopeRows {
    /// Rows of all kinds together.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len() + self.meters.len() + self.bindings.len() + self.grants.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
