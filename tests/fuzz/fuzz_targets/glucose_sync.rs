//! See `tests/src/fuzz_targets/glucose_sync.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| carepost_fuzz::glucose_sync(data));
