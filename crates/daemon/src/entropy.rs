//! Randomness as a parameter: the operating system's, or a repeatable stream for tests.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// A source of random bytes. Cloning is cheap; clones of a seeded source draw from the same stream.
#[derive(Clone, Debug)]
pub struct Entropy(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Seeded(Arc<Mutex<SplitMix64>>),
}

impl Entropy {
    /// The operating system's generator, fit for keys, tokens and salts.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A stream that is the same for the same seed. **Never for keys, tokens or salts:** whoever knows the seed knows
    /// every byte. For tests, and for simulated meters.
    pub fn seeded(seed: u64) -> Self {
        Self(Source::Seeded(Arc::new(Mutex::new(SplitMix64(seed)))))
    }

    /// Fills `buffer` with random bytes.
    ///
    /// # Panics
    /// When the operating system has no random source. There is no safe way to go on without one.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that asks the operating system for randomness"
    )]
    pub fn fill(&self, buffer: &mut [u8]) {
        match &self.0 {
            Source::System => {
                getrandom::fill(buffer).expect("the operating system's random source answers after boot");
            }
            Source::Seeded(stream) => stream.lock().unwrap_or_else(PoisonError::into_inner).fill(buffer),
        }
    }

    /// `N` random bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// A new UUIDv7 (RFC 9562 section 5.7): the milliseconds of `now`, then random bits. Times before 1970 count as
    /// 1970, which the format cannot express otherwise.
    pub fn uuid_v7(&self, now: DateTime<Utc>) -> Uuid {
        let millis = u64::try_from(now.timestamp_millis()).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &self.bytes::<10>()).into_uuid()
    }
}

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014), with the
/// constants of its published reference. Statistically good, predictable by design.
#[derive(Debug)]
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn fill(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            for (target, byte) in chunk.iter_mut().zip(self.next().to_le_bytes()) {
                *target = byte;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_stream_and_another_seed_another() {
        let (a, b, c) = (Entropy::seeded(7), Entropy::seeded(7), Entropy::seeded(8));
        let first = a.bytes::<37>();
        assert_eq!(first, b.bytes::<37>());
        assert_ne!(first, c.bytes::<37>());
        assert_ne!(first, a.bytes::<37>(), "a stream goes on");
    }

    #[test]
    fn the_seeded_stream_is_the_published_one() {
        // First outputs of the reference implementation for seed 1234567.
        let mut stream = SplitMix64(1_234_567);
        assert_eq!(stream.next(), 6_457_827_717_110_365_317);
        assert_eq!(stream.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn the_system_source_does_not_repeat() {
        let entropy = Entropy::system();
        assert_ne!(entropy.bytes::<32>(), entropy.bytes::<32>());
        assert_ne!(entropy.bytes::<32>(), [0; 32]);
    }

    #[test]
    fn a_uuid_carries_its_time_and_sorts_by_it() {
        let entropy = Entropy::seeded(1);
        let now: DateTime<Utc> = "2026-03-01T12:00:00.250Z".parse().unwrap();
        let id = entropy.uuid_v7(now);
        assert_eq!(id.get_version_num(), 7);
        let (seconds, nanos) = id.get_timestamp().unwrap().to_unix();
        assert_eq!((seconds, nanos), (1_772_366_400, 250_000_000));
        assert!(id < entropy.uuid_v7(now + chrono::TimeDelta::milliseconds(1)));
        assert_ne!(id, entropy.uuid_v7(now));
    }

    #[test]
    fn a_time_before_the_epoch_counts_as_the_epoch() {
        let id = Entropy::seeded(1).uuid_v7("1969-12-31T23:59:59Z".parse().unwrap());
        assert_eq!(id.get_timestamp().unwrap().to_unix(), (0, 0));
    }
}
