//! See `tests/src/fuzz_targets/meter_values.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| carepost_fuzz::meter_values(data));
