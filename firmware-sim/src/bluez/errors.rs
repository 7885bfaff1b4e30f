//! Errors as BlueZ words them (`src/error.c` and `create_gatt_dbus_error` in `src/gatt-client.c` of bluez/bluez).

use crate::meters::AttError;

/// A D-Bus error reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {message}")]
pub(crate) struct BusError {
    pub(crate) name: &'static str,
    pub(crate) message: String,
}

impl BusError {
    fn bluez(name: &'static str, message: &str) -> Self {
        Self {
            name,
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

    pub(crate) fn not_permitted(message: &str) -> Self {
        Self::bluez("org.bluez.Error.NotPermitted", message)
    }

    pub(crate) fn blocked() -> Self {
        Self::bluez("org.bluez.Error.Blocked", "Blocked through rfkill")
    }

    pub(crate) fn limit(what: &str) -> Self {
        Self {
            name: "org.freedesktop.DBus.Error.LimitsExceeded",
            message: format!("too many {what} in the simulator"),
        }
    }

    pub(crate) fn unknown_object(path: &str) -> Self {
        Self {
            name: "org.freedesktop.DBus.Error.UnknownObject",
            message: format!("No such object path '{path}'"),
        }
    }

    pub(crate) fn unknown_method(member: &str, interface: &str) -> Self {
        let message = format!("Method \"{member}\" on interface \"{interface}\" doesn't exist");
        Self {
            name: "org.freedesktop.DBus.Error.UnknownMethod",
            message,
        }
    }

    pub(crate) fn invalid_args(message: String) -> Self {
        Self {
            name: "org.freedesktop.DBus.Error.InvalidArgs",
            message,
        }
    }

    pub(crate) fn read_only(property: &str) -> Self {
        let message = format!("Property '{property}' is not writable");
        Self {
            name: "org.freedesktop.DBus.Error.PropertyReadOnly",
            message,
        }
    }

    /// The error reply for an ATT error response. What BlueZ has no own name for is `Failed` with the code in hex.
    pub(crate) fn att(error: AttError) -> Self {
        match error {
            AttError::ReadNotPermitted => Self::not_permitted("Read not permitted"),
            AttError::WriteNotPermitted => Self::not_permitted("Write not permitted"),
            AttError::InvalidLength => Self::bluez("org.bluez.Error.InvalidArguments", "Invalid Length"),
            AttError::ProcedureInProgress | AttError::ConfigurationImproper | AttError::OutOfRange => {
                Self::failed(&format!("Operation failed with ATT error: 0x{:02x}", error.code()))
            }
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
    fn attribute_protocol_errors_have_names_of_their_own() {
        assert_eq!(
            BusError::att(AttError::ReadNotPermitted).name,
            "org.bluez.Error.NotPermitted"
        );
        assert_eq!(
            BusError::att(AttError::InvalidLength).name,
            "org.bluez.Error.InvalidArguments"
        );
    }
}
