//! See `tests/src/fuzz_targets/server_admission.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| carepost_fuzz::server_admission(data));
