//! Signed payloads: a line with key id and signature, then the exact payload bytes, never one inside the other.
//!
//! ```text
//! carepost1 <key id, 16 hex digits> <Ed25519 signature, base64>\n
//! <payload>
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

const MAGIC: &str = "carepost1";
/// Magic, two spaces, 16 digits and 88 characters of base64.
const HEADER_BYTES: usize = MAGIC.len() + 1 + 16 + 1 + 88;

/// The first 8 bytes of the SHA-256 of a public key: which key signed, not a proof of anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId([u8; 8]);

impl KeyId {
    /// The id of a public key.
    #[must_use]
    pub fn of(key: &VerifyingKey) -> Self {
        let hash = Sha256::digest(key.as_bytes());
        let mut id = [0_u8; 8];
        for (to, from) in id.iter_mut().zip(hash.iter()) {
            *to = *from;
        }
        Self(id)
    }
}

impl std::fmt::Display for KeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// Why a message is not a signed payload of that key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// There is no well-formed signature line.
    #[error("the message does not begin with a line of carepost1, key id and signature")]
    NoSignatureLine,
    /// Another key is named.
    #[error("the message names another key than the gateway's")]
    OtherKey,
    /// The signature does not fit payload and key.
    #[error("the signature does not verify")]
    DoesNotVerify,
}

/// Signs a payload.
#[must_use]
pub fn seal(key: &SigningKey, payload: &[u8]) -> Vec<u8> {
    let signature = key.sign(payload);
    let mut message = format!(
        "{MAGIC} {} {}\n",
        KeyId::of(&key.verifying_key()),
        STANDARD.encode(signature.to_bytes())
    )
    .into_bytes();
    message.extend_from_slice(payload);
    message
}

/// Verifies a message and returns its payload.
///
/// # Errors
/// When the line is malformed, names another key, or the signature does not verify.
pub fn open<'a>(key: &VerifyingKey, message: &'a [u8]) -> Result<&'a [u8], SignatureError> {
    let end = message
        .iter()
        .take(HEADER_BYTES + 1)
        .position(|b| *b == b'\n')
        .ok_or(SignatureError::NoSignatureLine)?;
    let (line, rest) = message.split_at(end);
    let line = std::str::from_utf8(line).map_err(|_| SignatureError::NoSignatureLine)?;
    let mut words = line.split(' ');
    let (Some(MAGIC), Some(key_id), Some(signature), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(SignatureError::NoSignatureLine);
    };
    if key_id != KeyId::of(key).to_string() {
        return Err(SignatureError::OtherKey);
    }
    let signature = STANDARD
        .decode(signature)
        .map_err(|_| SignatureError::NoSignatureLine)?;
    let signature = Signature::from_slice(&signature).map_err(|_| SignatureError::NoSignatureLine)?;
    let payload = rest.get(1..).unwrap_or_default();
    key.verify_strict(payload, &signature)
        .map_err(|_| SignatureError::DoesNotVerify)?;
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(n: u8) -> SigningKey {
        SigningKey::from_bytes(&[n; 32])
    }

    #[test]
    fn a_signed_payload_opens_with_its_key_only() {
        let message = seal(&key(1), b"{}");
        assert_eq!(open(&key(1).verifying_key(), &message), Ok(&b"{}"[..]));
        assert_eq!(open(&key(2).verifying_key(), &message), Err(SignatureError::OtherKey));
    }

    #[test]
    fn a_changed_byte_of_the_payload_is_found() {
        let mut message = seal(&key(1), br#"{"a":1}"#);
        *message.last_mut().unwrap() = b' ';
        assert_eq!(
            open(&key(1).verifying_key(), &message),
            Err(SignatureError::DoesNotVerify)
        );
    }

    proptest! {
        #[test]
        fn any_payload_round_trips_and_arbitrary_bytes_never_panic(payload: Vec<u8>, junk: Vec<u8>) {
            let message = seal(&key(3), &payload);
            prop_assert_eq!(open(&key(3).verifying_key(), &message), Ok(&payload[..]));
            prop_assert!(open(&key(3).verifying_key(), &junk).is_err());
        }
    }
}
