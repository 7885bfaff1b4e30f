//! The staff page on loopback, behind a PIN: pairing, registering and forgetting meters (page 6 of the design, section 3), and
//! the same for `carepost-gateway pair` behind a token that only the owner of the data folder can read.

pub(crate) mod api;
pub(crate) mod client;
mod desk;
mod page;
pub(crate) mod pin;
mod register;
mod routes;
mod session;
mod settings;
#[cfg(test)]
mod text;

pub(crate) use self::desk::Staff;
pub(crate) use self::routes::routes;
pub use self::settings::{PinHash, StaffSettings};
