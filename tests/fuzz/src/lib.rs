//! The bodies of the fuzz targets, which the system tests own.

#[path = "../../src/fuzz_targets/mod.rs"]
pub mod fuzz_targets;

pub use fuzz_targets::{config_files, glucose_sync, meter_values, server_admission, sim_control, wire};
