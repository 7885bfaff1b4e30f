//! What Carepost knows about people, readings, consent and care, without knowing how any of it arrives or is kept.
//!
//! This crate does no IO, reads no clock, draws no randomness, spawns nothing and logs nothing. Time and
//! randomness come in as arguments, so that gateway, server, tests and benches run the same decisions.

pub mod admission;
pub mod attribution;
pub mod care;
pub mod code;
pub mod consent;
pub mod id;
pub mod meter;
pub mod people;
pub mod phi;
pub mod quarantine;
pub mod quirks;
pub mod reading;
pub mod reading_id;
pub mod record;
pub mod time;
pub mod units;

pub use id::Id;
pub use phi::Phi;
