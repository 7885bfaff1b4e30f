//! Who did what, when, why.

use carepost_domain::id::{GatewayId, MemberId, StaffId};
use chrono::{DateTime, Utc};

/// Who acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// A member of the staff, by login session.
    Staff(StaffId),
    /// A gateway, by its key.
    Gateway(GatewayId),
    /// The server itself: jobs, start-up, command line.
    System,
}

/// Who acts, when and why; every write and every read of personal data is recorded under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct By {
    /// Who.
    pub actor: Actor,
    /// When.
    pub at: DateTime<Utc>,
    /// Why, in the actor's words; at most [`crate::limits::MAX_NOTE_CHARS`] characters are kept.
    pub reason: Option<String>,
}

impl By {
    /// The actor at an instant, without a reason.
    #[must_use]
    pub const fn new(actor: Actor, at: DateTime<Utc>) -> Self {
        Self {
            actor,
            at,
            reason: None,
        }
    }

    /// A member of the staff.
    #[must_use]
    pub const fn staff(staff: StaffId, at: DateTime<Utc>) -> Self {
        Self::new(Actor::Staff(staff), at)
    }

    /// The server itself.
    #[must_use]
    pub const fn system(at: DateTime<Utc>) -> Self {
        Self::new(Actor::System, at)
    }
}

/// One row of the audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// Order of writing, with gaps.
    pub seq: i64,
    /// When.
    pub at: DateTime<Utc>,
    /// Who.
    pub actor: Actor,
    /// What was done, such as `consent.withdraw` or `member.read`.
    pub action: String,
    /// To what, such as an alert's id.
    pub subject: String,
    /// Whose data it was.
    pub member: Option<MemberId>,
    /// Why, or what came of it.
    pub detail: Option<String>,
    /// Place in the chain, from 1, once sealed.
    pub chain_no: Option<i64>,
}

/// What one call of the sealer did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed {
    /// Rows chained by this call.
    pub rows: u64,
    /// Whether rows are left, so that the caller calls again.
    pub more: bool,
}

/// What a walk along the audit's chain found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All sealed rows are there and unaltered.
    Intact {
        /// How many.
        rows: i64,
    },
    /// The first row that is missing or altered.
    BrokenAt {
        /// Its place in the chain.
        chain_no: i64,
    },
}
