//! Consent grants with their evidence.

use carepost_domain::code_enum;
use carepost_domain::consent::Grant;
use carepost_domain::id::{StaffId, StoreId};

code_enum! {
    /// How a grant was given.
    pub enum Channel ("consent channel") {
        /// By the person at a kiosk.
        Kiosk = "kiosk",
        /// To a member of the staff, who entered it.
        Staff = "staff",
        /// By telephone.
        Phone = "phone",
        /// On paper.
        Paper = "paper",
    }
}

/// A grant to be recorded, with what proves it later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewGrant {
    /// The grant; `withdrawn_at` is empty.
    pub grant: Grant,
    /// SHA-256 of the text that was shown.
    pub text_hash: [u8; 32],
    /// How it was given.
    pub channel: Channel,
    /// Where.
    pub store: StoreId,
    /// Who was there, if somebody was.
    pub witness: Option<StaffId>,
}

/// A recorded grant.
pub type GrantRecord = NewGrant;

/// What a withdrawal did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Withdrawal {
    /// Grants withdrawn.
    pub grants: u64,
    /// Alerts closed.
    pub alerts_closed: u64,
    /// Tasks cancelled.
    pub tasks_cancelled: u64,
    /// Jobs cancelled.
    pub jobs_cancelled: u64,
    /// The version by which gateways learn of it.
    pub down_version: i64,
}
