//! People who work in the chain, and their logins.

use carepost_domain::code_enum;
use carepost_domain::id::{StaffId, StoreId};
use chrono::{DateTime, Utc};

code_enum! {
    /// What somebody may do.
    pub enum StaffRole ("staff role") {
        /// Works the queue.
        Pharmacist = "pharmacist",
        /// Runs a store.
        Manager = "manager",
        /// Runs the machines; sees no health data.
        It = "it",
    }
}

/// Somebody to be added.
#[derive(Clone)]
pub struct NewStaff {
    /// The person.
    pub id: StaffId,
    /// Unique, compared exactly.
    pub login: String,
    /// Name as colleagues see it.
    pub name: String,
    /// What they may do.
    pub role: StaffRole,
    /// Where they work.
    pub store: StoreId,
    /// Argon2 hash in PHC form; the store never sees the password.
    pub password_hash: String,
}

/// Somebody of the staff.
#[derive(Clone, PartialEq, Eq)]
pub struct Staff {
    /// The person.
    pub id: StaffId,
    /// Login.
    pub login: String,
    /// Name as colleagues see it.
    pub name: String,
    /// What they may do.
    pub role: StaffRole,
    /// Where they work.
    pub store: StoreId,
    /// Argon2 hash in PHC form.
    pub password_hash: String,
    /// Since when they may not log in any more.
    pub disabled_at: Option<DateTime<Utc>>,
}

// Written by hand, so that no hash gets into a log.
impl std::fmt::Debug for Staff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Staff")
            .field("id", &self.id)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for NewStaff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewStaff")
            .field("id", &self.id)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// A login session that is open now, with its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Whose.
    pub staff: Staff,
    /// Token that forms must carry.
    pub csrf: String,
    /// When it was opened.
    pub opened_at: DateTime<Utc>,
    /// When it ends by itself.
    pub expires_at: DateTime<Utc>,
}
