//! The one place of server SQL: a [`Store`] on SQLite or PostgreSQL with one method per use case.
//!
//! Every method is exactly one transaction and is idempotent under a repeat. No SQL, no row and no engine is visible
//! outside. Shared statements are written once (`sql/`) and compiled twice, once against each driver; what differs
//! between the engines lives in `sqlite/` and `postgres/` with the reason.
//!
//! Time comes in as an argument. Ids of what the store makes itself (alerts, tasks, jobs) are derived from what they stand
//! for, so that the store needs no randomness.

#[macro_use]
mod statements;

mod audit;
mod codec;
mod error;
mod lane;
pub mod limits;
mod migrate;
pub mod model;
mod postgres;
mod reading_row;
mod sqlite;
mod store;
#[cfg(feature = "testing")]
pub mod testing;

pub use error::{
    CareError, ConsentError, Disposition, Fault, FaultKind, FleetError, IngestError, JobError, OpenError, PeopleError,
    RegisterError, StaffError,
};
pub use store::{Store, StoreConfig};
