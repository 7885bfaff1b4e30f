//! See `tests/src/fuzz_targets/sim_control.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| carepost_fuzz::sim_control(data));
