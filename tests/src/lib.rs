//! The system-test harness: the real programs as child processes, against simulated meters.
//!
//! Used by the demo (`cargo demo`) and by the system tests (`tests/tests/system`). Nothing in here knows how a program
//! works inside: it starts it, reads what it announces, and speaks its public interfaces. The bodies of the fuzz targets
//! ([`fuzz_targets`]) live here too, so that their corpora are replayed by a test like any other.

#![expect(
    clippy::indexing_slicing,
    reason = "a JSON value that is read by a missing key is null, and no panic"
)]

pub mod api;
pub mod check;
pub mod fuzz_targets;
pub mod kiosk;
pub mod neighbourhood;
pub mod programs;
pub mod scenes;
pub mod staff;
pub mod wait;
pub mod world;
