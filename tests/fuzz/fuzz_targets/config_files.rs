//! See `tests/src/fuzz_targets/config_files.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| carepost_fuzz::config_files(data));
