//! One test per entry of the quirk table, with bytes as the meters send them: what the entry is found by, what it changes,
//! and that it changes nothing for anybody else.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod glucose_meters;
mod others;
mod pressure_cuffs;
mod properties;
mod support;
