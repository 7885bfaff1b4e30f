//! What all property tests here have in common.

use proptest::prelude::ProptestConfig;

/// So many cases, drawn by `PROPTEST_RNG_SEED` (`.cargo/config.toml`); failures are shown, not stored.
pub(crate) fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    }
}
