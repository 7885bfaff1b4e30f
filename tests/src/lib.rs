//! The system-test harness: the real programs as child processes, against simulated meters.
//!
//! Used by the demo (`cargo demo`) and by the system tests (`tests/tests/system`). Nothing in here knows how a program
//! works inside: it starts it, reads what it announces, and speaks its public interfaces.

#![expect(
    clippy::indexing_slicing,
    reason = "a JSON value that is read by a missing key is null, and no panic"
)]

pub mod api;
pub mod check;
pub mod kiosk;
pub mod programs;
pub mod scenes;
pub mod wait;
pub mod world;
