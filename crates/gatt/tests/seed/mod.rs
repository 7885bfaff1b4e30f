//! Property tests run the same cases every time.

use proptest::prelude::ProptestConfig;
use proptest::test_runner::RngSeed;

/// `cases` cases from a fixed seed; failures are shown, not stored.
pub(crate) fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        rng_seed: RngSeed::Fixed(0x2A18_2A35),
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    }
}
