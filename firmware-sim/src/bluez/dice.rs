//! Random numbers from a seed, so that a run can be repeated.

use crate::meters::MAX_PASSKEY;

/// A generator of the SplitMix64 family (Steele, Lea and Flood, 2014).
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Six digits.
    pub(crate) fn passkey(&mut self) -> u32 {
        u32::try_from(self.next() % (u64::from(MAX_PASSKEY) + 1)).unwrap_or(MAX_PASSKEY)
    }

    /// A resolvable private address: the two highest bits are 01 (Core specification, volume 6, part B, section
    /// 1.3.2.2).
    pub(crate) fn resolvable_address(&mut self) -> String {
        let [first, second, third, fourth, fifth, sixth, ..] = self.next().to_be_bytes();
        let first = (first & 0x3F) | 0x40;
        format!("{first:02X}:{second:02X}:{third:02X}:{fourth:02X}:{fifth:02X}:{sixth:02X}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passkeys_have_six_digits_and_differ() {
        let mut dice = Dice::new(1);
        let passkeys: Vec<u32> = (0..100).map(|_| dice.passkey()).collect();
        assert!(passkeys.iter().all(|passkey| *passkey <= MAX_PASSKEY));
        let distinct: std::collections::BTreeSet<&u32> = passkeys.iter().collect();
        assert!(distinct.len() > 90);
    }

    #[test]
    fn private_addresses_are_resolvable_ones() {
        let mut dice = Dice::new(2);
        for _ in 0..100 {
            let address = dice.resolvable_address();
            assert!(matches!(address.as_bytes(), [b'4'..=b'7', ..]), "{address}");
            assert_eq!(address.len(), 17);
        }
    }
}
