//! The PIN: how it is hashed, and how fast it may be guessed.

use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::{self, PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash};
use carepost_daemon::Entropy;

/// Digits of a PIN.
pub(crate) const PIN_DIGITS: std::ops::RangeInclusive<usize> = 6..=12;
/// Salt length that the PHC string format recommends.
const SALT_BYTES: usize = 16;
/// Wrong PINs that cost no time; people mistype.
const FREE_TRIES: u32 = 3;
/// Pause after the first one beyond; doubles with each further one, up to the longest. A million PINs take years.
const PAUSE: Duration = Duration::from_secs(5);
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// Why a PIN cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PinError {
    /// Not a PIN.
    #[error("a PIN has {} to {} digits", PIN_DIGITS.start(), PIN_DIGITS.end())]
    NotAPin,
    /// One that everybody tries first.
    #[error("this PIN is too easy: choose one that is neither one digit again and again nor a row of digits")]
    TooEasy,
    /// Hashing failed.
    #[error("cannot work with the hash of the PIN")]
    Hash(#[source] password_hash::Error),
}

/// Whether somebody typed something that cannot be a PIN.
pub(crate) const fn is_usage(error: &PinError) -> bool {
    matches!(error, PinError::NotAPin | PinError::TooEasy)
}

fn is_pin(text: &str) -> bool {
    PIN_DIGITS.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_easy(pin: &str) -> bool {
    let digits = pin.as_bytes();
    [0_u8, 1, 255].iter().any(|step| {
        digits
            .windows(2)
            .all(|pair| matches!(pair, [a, b] if a.wrapping_add(*step) == *b))
    })
}

/// Hashes a new PIN, slowly, with argon2id in its crate's default parameters (the OWASP password storage cheat sheet's).
///
/// # Errors
/// When it is no PIN, or one that everybody tries first.
pub(crate) fn hash_pin(pin: &str, entropy: &Entropy) -> Result<String, PinError> {
    if !is_pin(pin) {
        return Err(PinError::NotAPin);
    }
    if is_easy(pin) {
        return Err(PinError::TooEasy);
    }
    let salt = entropy.bytes::<SALT_BYTES>();
    let hash: PasswordHash = Argon2::default()
        .hash_password_with_salt(pin.as_bytes(), &salt)
        .map_err(PinError::Hash)?;
    Ok(hash.to_string())
}

/// Whether the PIN is the one of the hash. Takes long: not for the async threads.
pub(crate) fn check_pin(pin: &str, hash: &str) -> Result<bool, PinError> {
    if !is_pin(pin) {
        return Ok(false);
    }
    match Argon2::default().verify_password(pin.as_bytes(), hash) {
        Ok(()) => Ok(true),
        Err(password_hash::Error::PasswordInvalid) => Ok(false),
        Err(error) => Err(PinError::Hash(error)),
    }
}

/// How fast a PIN may be guessed.
#[derive(Debug, Default)]
pub(crate) struct Tries {
    wrong: u32,
    closed_until: Duration,
}

impl Tries {
    /// Time until the next try is allowed, if it is not now.
    pub(crate) fn closed_for(&self, now: Duration) -> Option<Duration> {
        Some(self.closed_until.saturating_sub(now)).filter(|left| !left.is_zero())
    }

    /// Counts a try before it is checked, so that none is free.
    pub(crate) fn begin(&mut self, now: Duration) {
        self.wrong = self.wrong.saturating_add(1);
        if let Some(beyond) = self.wrong.checked_sub(FREE_TRIES) {
            let pause = PAUSE.saturating_mul(1 << beyond.min(10)).min(PAUSE_MAX);
            self.closed_until = now + pause;
        }
    }

    /// It was right.
    pub(crate) fn right(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_six_to_twelve_digits_and_not_the_obvious_one() {
        let entropy = Entropy::seeded(1);
        for bad in ["", "12345", "1234567890123", "12a456", "１２３４５６"] {
            assert!(matches!(hash_pin(bad, &entropy), Err(PinError::NotAPin)), "{bad}");
        }
        for easy in ["000000", "123456", "987654", "11111111"] {
            assert!(matches!(hash_pin(easy, &entropy), Err(PinError::TooEasy)), "{easy}");
        }
        let hash = hash_pin("730915", &entropy).unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(check_pin("730915", &hash).unwrap());
        assert!(!check_pin("730916", &hash).unwrap());
        assert!(!check_pin(&"7".repeat(4_000), &hash).unwrap());
        assert!(check_pin("730915", "no hash").is_err());
    }

    #[test]
    fn guessing_gets_slower_and_a_right_pin_forgives() {
        let mut tries = Tries::default();
        let now = Duration::from_secs(100);
        for _ in 0..FREE_TRIES - 1 {
            tries.begin(now);
            assert_eq!(tries.closed_for(now), None);
        }
        let mut last = Duration::ZERO;
        for _ in 0..20 {
            tries.begin(now);
            let left = tries.closed_for(now).unwrap();
            assert!(left >= last && left <= PAUSE_MAX);
            last = left;
        }
        assert_eq!(last, PAUSE_MAX);
        assert_eq!(tries.closed_for(now + PAUSE_MAX), None);
        tries.right();
        assert_eq!(tries.closed_for(now), None);
    }
}
