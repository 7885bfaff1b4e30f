//! Text that is never printed: passwords, tokens, connection strings.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What a secret looks like wherever it is printed or serialised.
pub const REDACTED: &str = "[redacted]";

/// A secret text in a configuration. `Debug` and `Serialize` show `[redacted]`; memory is wiped on drop. Reading
/// `[redacted]` back is refused, so that a printed configuration cannot be mistaken for a usable one.
#[derive(Clone)]
pub struct SecretText(SecretString);

impl SecretText {
    /// Wraps a text.
    pub fn new(text: String) -> Self {
        Self(SecretString::from(text))
    }

    /// The text itself. Each call is a place to review.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether the text is empty, as it is where a configuration leaves a secret to be filled in.
    pub fn is_empty(&self) -> bool {
        self.expose().is_empty()
    }
}

impl From<String> for SecretText {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(REDACTED)
    }
}

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == REDACTED {
            return Err(de::Error::custom(
                "is the placeholder of a printed configuration; write the secret itself",
            ));
        }
        Ok(Self::new(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Serialize, Deserialize)]
    struct Section {
        password: SecretText,
    }

    #[test]
    fn a_secret_is_readable_only_by_asking() {
        let section: Section = toml::from_str("password = 'hunter2'").unwrap();
        assert_eq!(section.password.expose(), "hunter2");
        assert!(!section.password.is_empty());
        assert!(!format!("{section:?}").contains("hunter2"));
        assert_eq!(toml::to_string(&section).unwrap(), "password = \"[redacted]\"\n");
    }

    #[test]
    fn a_redacted_secret_cannot_be_read_back() {
        let error = toml::from_str::<Section>("password = '[redacted]'").unwrap_err();
        assert!(error.message().contains("placeholder"), "{error}");
    }
}
