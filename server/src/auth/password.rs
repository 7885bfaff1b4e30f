//! Password hashing: slow on purpose, off the async threads, and a few at a time.

use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::{self, PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash};
use carepost_daemon::{Entropy, SecretText};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinError;

/// Longest password that is looked at, in bytes; hashing costs grow with it.
pub const MAX_PASSWORD_BYTES: usize = 512;
/// Shortest password that is set, in characters (NIST SP 800-63B, section 5.1.1, asks for at least 8).
pub const MIN_PASSWORD_CHARS: usize = 10;
/// Logins that wait for one of the parallel checks; the next is told to come back.
const MAX_WAITING: usize = 64;
/// Salt length that the PHC string format recommends.
const SALT_BYTES: usize = 16;

/// Why a password cannot be hashed or checked.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// Too short or too long to be set.
    #[error("a password has at least {MIN_PASSWORD_CHARS} characters and at most {MAX_PASSWORD_BYTES} bytes")]
    Length,
    /// Too many wait already.
    #[error("too many logins at a time")]
    Busy,
    /// The hash in the store is none.
    #[error("cannot work with the password hash")]
    Hash(#[source] password_hash::Error),
    /// The work did not come to its end.
    #[error("the password check was cut short")]
    Aborted(#[source] JoinError),
}

/// Hashes and checks passwords with argon2id in the parameters of its crate's defaults (19 MiB, two passes), which are
/// the ones of the OWASP password storage cheat sheet.
#[derive(Clone, Debug)]
pub struct Passwords {
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    entropy: Entropy,
    /// Checked when there is no such login, so that an answer takes as long.
    nobody: Arc<str>,
}

/// The right to check one password; see [`Passwords::turn`].
#[derive(Debug)]
pub struct Turn<'a>(#[expect(dead_code, reason = "held until the check is over")] SemaphorePermit<'a>);

impl Passwords {
    /// With that many checks at a time.
    ///
    /// # Errors
    /// When hashing does not work at all.
    pub fn new(parallel: usize, entropy: Entropy) -> Result<Self, PasswordError> {
        let nobody = hash_now(&entropy.bytes::<SALT_BYTES>(), &entropy.bytes::<SALT_BYTES>())?;
        Ok(Self {
            running: Arc::new(Semaphore::new(parallel.max(1))),
            waiting: Arc::new(Semaphore::new(MAX_WAITING)),
            entropy,
            nobody: nobody.into(),
        })
    }

    /// Waits for a turn. What must not be raced by parallel logins, such as counting failures, is done within one.
    ///
    /// # Errors
    /// [`PasswordError::Busy`] when too many wait already.
    pub async fn turn(&self) -> Result<Turn<'_>, PasswordError> {
        let _place = self.waiting.try_acquire().map_err(|_full| PasswordError::Busy)?;
        self.running
            .acquire()
            .await
            .map(Turn)
            .map_err(|_closed| PasswordError::Busy)
    }

    /// Hashes a new password for the store.
    ///
    /// # Errors
    /// When it is too short or too long, or hashing fails.
    pub async fn hash(&self, password: &SecretText) -> Result<String, PasswordError> {
        let text = password.expose();
        if text.chars().count() < MIN_PASSWORD_CHARS || text.len() > MAX_PASSWORD_BYTES {
            return Err(PasswordError::Length);
        }
        let salt = self.entropy.bytes::<SALT_BYTES>();
        let password = password.clone();
        tokio::task::spawn_blocking(move || hash_now(password.expose().as_bytes(), &salt))
            .await
            .map_err(PasswordError::Aborted)?
    }

    /// Whether the password is the one of `hash`. Without a hash the answer is no, after the same work.
    ///
    /// # Errors
    /// When the hash is unusable.
    pub async fn check(
        &self,
        _turn: &Turn<'_>,
        password: &SecretText,
        hash: Option<&str>,
    ) -> Result<bool, PasswordError> {
        let known = hash.is_some();
        let hash = hash.unwrap_or(&self.nobody).to_owned();
        let password = password.clone();
        let fits = tokio::task::spawn_blocking(move || {
            let bytes = password.expose().as_bytes();
            let bytes = bytes.get(..MAX_PASSWORD_BYTES).unwrap_or(bytes);
            match Argon2::default().verify_password(bytes, hash.as_str()) {
                Ok(()) => Ok(password.expose().len() <= MAX_PASSWORD_BYTES),
                Err(password_hash::Error::PasswordInvalid) => Ok(false),
                Err(error) => Err(PasswordError::Hash(error)),
            }
        })
        .await
        .map_err(PasswordError::Aborted)??;
        Ok(fits && known)
    }
}

fn hash_now(password: &[u8], salt: &[u8]) -> Result<String, PasswordError> {
    let hash: PasswordHash = Argon2::default()
        .hash_password_with_salt(password, salt)
        .map_err(PasswordError::Hash)?;
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> SecretText {
        SecretText::new(text.to_owned())
    }

    #[tokio::test]
    async fn only_the_password_that_was_hashed_fits() {
        let passwords = Passwords::new(1, Entropy::seeded(1)).unwrap();
        let hash = passwords.hash(&secret("correct horse")).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        let turn = passwords.turn().await.unwrap();
        assert!(
            passwords
                .check(&turn, &secret("correct horse"), Some(&hash))
                .await
                .unwrap()
        );
        assert!(
            !passwords
                .check(&turn, &secret("correct horsf"), Some(&hash))
                .await
                .unwrap()
        );
        assert!(!passwords.check(&turn, &secret("correct horse"), None).await.unwrap());
        let long = "x".repeat(MAX_PASSWORD_BYTES + 1);
        assert!(!passwords.check(&turn, &secret(&long), Some(&hash)).await.unwrap());
        assert!(matches!(
            passwords.check(&turn, &secret("x"), Some("not a hash")).await,
            Err(PasswordError::Hash(_))
        ));
    }

    #[tokio::test]
    async fn passwords_that_are_too_short_or_too_long_are_not_set() {
        let passwords = Passwords::new(1, Entropy::seeded(1)).unwrap();
        for bad in ["short", &"x".repeat(MAX_PASSWORD_BYTES + 1)] {
            assert!(matches!(passwords.hash(&secret(bad)).await, Err(PasswordError::Length)));
        }
        assert!(passwords.hash(&secret("十个汉字也算一个好密码")).await.is_ok());
    }

    #[tokio::test]
    async fn those_who_wait_for_a_turn_are_bounded() {
        let passwords = Passwords::new(1, Entropy::seeded(1)).unwrap();
        let _turn = passwords.turn().await.unwrap();
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..MAX_WAITING {
            let passwords = passwords.clone();
            waiting.spawn(async move { passwords.turn().await.map(drop) });
        }
        while passwords.waiting.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(passwords.turn().await, Err(PasswordError::Busy)));
    }
}
