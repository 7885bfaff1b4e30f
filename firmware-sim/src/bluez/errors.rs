//! Errors as BlueZ words them (`src/error.c` and `create_gatt_dbus_error` in `src/gatt-client.c` of bluez/bluez).

use std::borrow::Cow;

use crate::meters::AttError;

/// A D-Bus error reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {message}")]
pub(crate) struct BusError {
    pub(crate) name: Cow<'static, str>,
    pub(crate) message: String,
}

impl BusError {
    fn bluez(name: &'static str, message: &str) -> Self {
        Self {
            name: name.into(),
            message: message.to_owned(),
        }
    }

    /// An error of any name, which must be a valid one.
    pub(crate) fn named(name: &str, message: &str) -> Self {
        Self {
            name: name.to_owned().into(),
            message: message.to_owned(),
        }
    }

    pub(crate) fn failed(message: &str) -> Self {
        Self::bluez("org.bluez.Error.Failed", message)
    }

    pub(crate) fn not_ready() -> Self {
        Self::bluez("org.bluez.Error.NotReady", "Resource Not Ready")
    }

    pub(crate) fn in_progress() -> Self {
        Self::bluez("org.bluez.Error.InProgress", "Operation already in progress")
    }

    pub(crate) fn invalid_arguments() -> Self {
        Self::bluez("org.bluez.Error.InvalidArguments", "Invalid arguments in method call")
    }

    pub(crate) fn not_supported() -> Self {
        Self::bluez("org.bluez.Error.NotSupported", "Operation is not supported")
    }

    pub(crate) fn does_not_exist() -> Self {
        Self::bluez("org.bluez.Error.DoesNotExist", "Does Not Exist")
    }

    pub(crate) fn already_exists() -> Self {
        Self::bluez("org.bluez.Error.AlreadyExists", "Already Exists")
    }

    pub(crate) fn not_connected() -> Self {
        Self::failed("Not connected")
    }

    pub(crate) fn authentication_failed() -> Self {
        Self::bluez("org.bluez.Error.AuthenticationFailed", "Authentication Failed")
    }

    pub(crate) fn authentication_canceled() -> Self {
        Self::bluez("org.bluez.Error.AuthenticationCanceled", "Authentication Canceled")
    }

    pub(crate) fn authentication_timeout() -> Self {
        Self::bluez("org.bluez.Error.AuthenticationTimeout", "Authentication Timeout")
    }

    pub(crate) fn connection_attempt_failed() -> Self {
        Self::bluez("org.bluez.Error.ConnectionAttemptFailed", "Page Timeout")
    }

    pub(crate) fn not_permitted(message: &str) -> Self {
        Self::bluez("org.bluez.Error.NotPermitted", message)
    }

    pub(crate) fn blocked() -> Self {
        Self::bluez("org.bluez.Error.Blocked", "Blocked through rfkill")
    }

    pub(crate) fn limit(what: &str) -> Self {
        Self {
            name: "org.freedesktop.DBus.Error.LimitsExceeded".into(),
            message: format!("too many {what} in the simulator"),
        }
    }

    pub(crate) fn unknown_object(path: &str) -> Self {
        Self {
            name: "org.freedesktop.DBus.Error.UnknownObject".into(),
            message: format!("No such object path '{path}'"),
        }
    }

    pub(crate) fn unknown_method(member: &str, interface: &str) -> Self {
        let message = format!("Method \"{member}\" on interface \"{interface}\" doesn't exist");
        Self {
            name: "org.freedesktop.DBus.Error.UnknownMethod".into(),
            message,
        }
    }

    pub(crate) fn invalid_args(message: String) -> Self {
        Self {
            name: "org.freedesktop.DBus.Error.InvalidArgs".into(),
            message,
        }
    }

    pub(crate) fn read_only(property: &str) -> Self {
        let message = format!("Property '{property}' is not writable");
        Self {
            name: "org.freedesktop.DBus.Error.PropertyReadOnly".into(),
            message,
        }
    }

    /// The error reply for an ATT error response. What BlueZ has no own name for is `Failed` with the code in hex.
    pub(crate) fn att(error: AttError) -> Self {
        match error.code() {
            0x02 => Self::not_permitted("Read not permitted"),
            0x03 => Self::not_permitted("Write not permitted"),
            0x05 | 0x0C | 0x0F => Self::not_permitted("Not paired"),
            0x06 => Self::not_supported(),
            0x07 => Self::bluez("org.bluez.Error.InvalidArguments", "Invalid offset"),
            0x08 => Self::bluez("org.bluez.Error.NotAuthorized", "Operation Not Authorized"),
            0x0D => Self::bluez("org.bluez.Error.InvalidArguments", "Invalid Length"),
            code => Self::failed(&format!("Operation failed with ATT error: 0x{code:02x}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn application_errors_end_with_their_code_in_lower_case_hex() {
        let error = BusError::att(AttError::OutOfRange);
        assert_eq!(error.name, "org.bluez.Error.Failed");
        assert!(error.message.ends_with("ATT error: 0xff"), "{}", error.message);
        assert!(BusError::att(AttError::ProcedureInProgress).message.ends_with("0x80"));
    }

    #[test]
    fn missing_protection_is_called_not_paired_whatever_is_missing() {
        for error in [
            AttError::InsufficientAuthentication,
            AttError::InsufficientKeySize,
            AttError::InsufficientEncryption,
        ] {
            assert_eq!(BusError::att(error), BusError::not_permitted("Not paired"));
        }
        let unauthorised = BusError::att(AttError::InsufficientAuthorization);
        assert_eq!(unauthorised.name, "org.bluez.Error.NotAuthorized");
        assert_eq!(BusError::att(AttError::RequestNotSupported), BusError::not_supported());
    }

    #[test]
    fn attribute_protocol_errors_have_names_of_their_own() {
        assert_eq!(
            BusError::att(AttError::ReadNotPermitted).name,
            "org.bluez.Error.NotPermitted"
        );
        for error in [AttError::InvalidLength, AttError::InvalidOffset] {
            assert_eq!(BusError::att(error).name, "org.bluez.Error.InvalidArguments");
        }
    }
}
