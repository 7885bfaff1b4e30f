//! The staff page's section of the configuration.

use argon2::password_hash::phc::PasswordHash;
use carepost_daemon::{Problems, SecretText, Validate};
use serde::{Deserialize, Serialize};

/// The staff page. Times in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StaffSettings {
    /// Hash of the PIN, as `carepost-gateway staff-pin` prints it; the page stays closed without one.
    pub pin_hash: PinHash,
    /// Who does nothing for so long is asked for the PIN again.
    pub idle_ms: u64,
}

impl Default for StaffSettings {
    fn default() -> Self {
        Self {
            pin_hash: PinHash(SecretText::new(String::new())),
            idle_ms: 300_000,
        }
    }
}

impl Validate for StaffSettings {
    fn validate(&self, problems: &mut Problems) {
        let hash = self.pin_hash.expose();
        let usable = PasswordHash::new(hash).is_ok_and(|hash| hash.algorithm.as_str() == "argon2id");
        if !hash.is_empty() && !usable {
            problems.add("pin_hash", "must be what carepost-gateway staff-pin prints, or empty");
        }
        if !(10_000..=3_600_000).contains(&self.idle_ms) {
            problems.add("idle_ms", "must be from 10000 to 3600000");
        }
    }
}

/// A hash of a PIN. Six digits are few: who has the hash has the PIN soon, so that it is not printed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PinHash(SecretText);

impl PinHash {
    /// The hash; empty where none was set.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl PartialEq for PinHash {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}
impl Eq for PinHash {}
