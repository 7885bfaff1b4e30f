//! The password of an MQTT CONNECT: gateway and time, signed by the gateway's key, good for five minutes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use carepost_domain::id::GatewayId;
use chrono::{DateTime, TimeDelta, Utc};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

use crate::limits::CONNECT_VALIDITY;

/// Why a password is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// Not of the form `v1.<unix seconds>.<signature>`.
    #[error("the password is not v1, a time and a signature")]
    Malformed,
    /// The signature does not fit gateway, time and key.
    #[error("the password's signature does not verify")]
    DoesNotVerify,
    /// Signed too long ago or too far ahead.
    #[error("the password was signed {off_s} s away from the server's time; at most {} s are allowed", CONNECT_VALIDITY.as_secs())]
    NotNow {
        /// Signed time minus server time, in seconds.
        off_s: i64,
    },
}

fn statement(gateway: GatewayId, unix_s: i64) -> Vec<u8> {
    // The words in front keep this statement apart from every payload, which are JSON objects.
    format!("carepost connect v1 {gateway} {unix_s}").into_bytes()
}

/// The password for a CONNECT at `now`.
#[must_use]
pub fn password(key: &SigningKey, gateway: GatewayId, now: DateTime<Utc>) -> String {
    let unix_s = now.timestamp();
    let signature = key.sign(&statement(gateway, unix_s));
    format!("v1.{unix_s}.{}", STANDARD.encode(signature.to_bytes()))
}

/// Checks a password against the gateway's registered key and the server's time.
///
/// # Errors
/// When it is malformed, does not verify, or is older or newer than [`CONNECT_VALIDITY`].
pub fn check(key: &VerifyingKey, gateway: GatewayId, password: &[u8], now: DateTime<Utc>) -> Result<(), ConnectError> {
    let text = std::str::from_utf8(password).map_err(|_| ConnectError::Malformed)?;
    let mut parts = text.splitn(3, '.');
    let (Some("v1"), Some(unix_s), Some(signature)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(ConnectError::Malformed);
    };
    let unix_s: i64 = unix_s.parse().map_err(|_| ConnectError::Malformed)?;
    let signature = STANDARD.decode(signature).map_err(|_| ConnectError::Malformed)?;
    let signature = Signature::from_slice(&signature).map_err(|_| ConnectError::Malformed)?;
    key.verify_strict(&statement(gateway, unix_s), &signature)
        .map_err(|_| ConnectError::DoesNotVerify)?;
    let signed_at = DateTime::from_timestamp(unix_s, 0).ok_or(ConnectError::Malformed)?;
    let off = signed_at - now;
    let allowed = TimeDelta::from_std(CONNECT_VALIDITY).unwrap_or_default();
    if off.abs() > allowed {
        return Err(ConnectError::NotNow {
            off_s: off.num_seconds(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_good_for_five_minutes_either_side_and_one_gateway() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let gateway: GatewayId = "018f3c5e-0000-7000-8000-000000000001".parse().unwrap();
        let other: GatewayId = "018f3c5e-0000-7000-8000-000000000002".parse().unwrap();
        let now = DateTime::from_timestamp(1_792_049_400, 0).unwrap();
        let password = password(&key, gateway, now);
        let verdict = |gateway, after_s| {
            check(
                &key.verifying_key(),
                gateway,
                password.as_bytes(),
                now + TimeDelta::seconds(after_s),
            )
        };
        assert_eq!(verdict(gateway, 0), Ok(()));
        assert_eq!(verdict(gateway, 300), Ok(()));
        assert_eq!(verdict(gateway, -300), Ok(()));
        assert_eq!(verdict(gateway, 301), Err(ConnectError::NotNow { off_s: -301 }));
        assert_eq!(verdict(other, 0), Err(ConnectError::DoesNotVerify));
        for bad in ["", "v1", "v1.x.y", "v2.1.AAAA", "v1.1.AAAA"] {
            assert_eq!(
                check(&key.verifying_key(), gateway, bad.as_bytes(), now),
                Err(ConnectError::Malformed),
                "{bad}"
            );
        }
    }
}
