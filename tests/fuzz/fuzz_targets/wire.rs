//! See `tests/src/fuzz_targets/wire.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| carepost_fuzz::wire(data));
