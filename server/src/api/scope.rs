//! Whom a member of the staff may see.
//!
//! A pharmacist sees the members of the own store, a manager those of all stores, and those who run the machines none.
//! Whoever may not see somebody is answered as if that member did not exist.

use carepost_domain::id::{MemberId, StoreId};
use carepost_store::model::{MemberRecord, StaffRole};

use crate::app::AppState;
use crate::auth::{Staff, sees_health_data};

use super::Problem;

/// The store to which lists are narrowed: the own one for a pharmacist, the one asked for (or all) for a manager.
pub(crate) fn list_scope(staff: &Staff, asked: Option<StoreId>) -> Result<Option<StoreId>, Problem> {
    match staff.role() {
        StaffRole::Pharmacist if asked.is_some_and(|store| store != staff.store()) => Err(Problem::not_found()),
        StaffRole::Pharmacist => Ok(Some(staff.store())),
        StaffRole::Manager => Ok(asked),
        StaffRole::It => Err(Problem::forbidden("Your role does not see health data.")),
    }
}

/// Whether members of that store are the staff member's to work with.
pub(crate) fn store_in_scope(staff: &Staff, store: StoreId) -> bool {
    match staff.role() {
        StaffRole::Pharmacist => store == staff.store(),
        StaffRole::Manager => true,
        StaffRole::It => false,
    }
}

/// The member's record, if the staff member may see it. The look itself is audited, also when it was refused: the store
/// has no other way to tell whose member it is.
pub(crate) async fn member(state: &AppState, staff: &Staff, member: MemberId) -> Result<MemberRecord, Problem> {
    if !sees_health_data(staff.role()) {
        return Err(Problem::not_found());
    }
    let record = state.store.member(&staff.by(state.clock.now()), member).await?;
    if store_in_scope(staff, record.member.home_store) {
        Ok(record)
    } else {
        Err(Problem::not_found())
    }
}
