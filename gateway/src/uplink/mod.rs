//! The way up: signed batches over MQTT, and receipts that empty the outbox (page 4 of the design, "Protocol").
//!
//! `machine` decides and does nothing; `shell` does and decides nothing; `mqtt` alone knows the client library.

mod machine;
mod mqtt;
mod shell;
mod status;
#[cfg(test)]
mod tests;

pub use self::shell::{Uplink, UplinkError};
pub use self::status::UplinkStatus;
