//! Why a pairing came to nothing, and what the Bluetooth service means by its errors.

use carepost_domain::code_enum;

code_enum! {
    /// Why a pairing came to nothing. The page says for each what to do next.
    pub(crate) enum Failure ("pairing failure") {
        /// The adapter was not handed over in time: another meter is being read.
        AdapterBusy = "adapter_busy",
        /// There is no Bluetooth service, no adapter, or the way to them was lost.
        NoBluetooth = "no_bluetooth",
        /// The adapter is switched off.
        AdapterOff = "adapter_off",
        /// The meter was not heard: it is not in its pairing mode, or too far away.
        NotFound = "not_found",
        /// The meter was heard and did not answer.
        NotConnected = "not_connected",
        /// The meter went away in the middle.
        Gone = "gone",
        /// Another program pairs the same meter now.
        InProgress = "in_progress",
        /// The passkey was not the one that the meter showed, or the meter refused it.
        WrongPasskey = "wrong_passkey",
        /// The meter broke the pairing off.
        MeterCanceled = "meter_canceled",
        /// The meter does not want to be paired, mostly because it is paired with a phone.
        Rejected = "rejected",
        /// The meter did not wait so long.
        TimedOut = "timed_out",
        /// Nobody answered here in time.
        AnswerLate = "answer_late",
        /// Somebody pressed "give up" here.
        GivenUp = "given_up",
        /// The numbers were not the same.
        NotTheSame = "not_the_same",
        /// The meter wants a PIN of the older kind.
        OldPairing = "old_pairing",
        /// This side has a bond, and the meter does not know it any more.
        BondLost = "bond_lost",
        /// The bond was made, and the meter then did not say what it is.
        NoAnswer = "no_answer",
        /// Something that is not foreseen; the log has its name.
        Other = "other",
    }
}

/// What the Bluetooth service was asked to do when it gave an error; the same name means different things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum During {
    Looking,
    Pairing,
    Reading,
    Removing,
}

/// What an error of the Bluetooth service means (`doc/org.bluez.Device.rst` and `src/error.c` of bluez/bluez). `None` where
/// it is no failure: what was to be done is done already.
pub(crate) fn failure_of(name: &str, message: &str, during: During) -> Option<Failure> {
    let failure = match name.strip_prefix("org.bluez.Error.") {
        Some("AlreadyExists") => return None,
        Some("AuthenticationFailed") => Failure::WrongPasskey,
        Some("AuthenticationCanceled") => Failure::MeterCanceled,
        Some("AuthenticationRejected") => Failure::Rejected,
        Some("AuthenticationTimeout") => Failure::TimedOut,
        Some("ConnectionAttemptFailed") => Failure::NotConnected,
        Some("InProgress") => Failure::InProgress,
        Some("NotReady" | "Blocked") => Failure::AdapterOff,
        Some("NotAvailable" | "NotConnected") => Failure::Gone,
        Some("DoesNotExist") if during == During::Removing => return None,
        Some("DoesNotExist") => Failure::Gone,
        // "Not paired" is how ATT errors 0x05, 0x0C and 0x0F come out of a bond that the meter has forgotten.
        Some("NotPermitted" | "NotAuthorized") if during == During::Reading => Failure::BondLost,
        // Failed connections have words of their own, such as le-connection-abort-by-local.
        Some("Failed") if message.contains("key-missing") => Failure::BondLost,
        Some("Failed") if message.contains("connection") => Failure::NotConnected,
        Some(_) => Failure::Other,
        None => match name.strip_prefix("org.freedesktop.DBus.Error.") {
            Some("UnknownObject" | "UnknownMethod" | "UnknownInterface") if during == During::Removing => return None,
            Some("UnknownObject" | "UnknownMethod" | "UnknownInterface") => Failure::Gone,
            Some("ServiceUnknown" | "NameHasNoOwner" | "Disconnected" | "AccessDenied") => Failure::NoBluetooth,
            Some("NoReply" | "Timeout" | "TimedOut") => Failure::TimedOut,
            _ => Failure::Other,
        },
    };
    Some(failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_of_a_pairing_has_a_meaning() {
        let check = |name: &str, message: &str, during, expected| {
            assert_eq!(
                failure_of(name, message, during),
                expected,
                "{name} {message} {during:?}"
            );
        };
        for (name, failure) in [
            ("AuthenticationFailed", Failure::WrongPasskey),
            ("AuthenticationCanceled", Failure::MeterCanceled),
            ("AuthenticationRejected", Failure::Rejected),
            ("AuthenticationTimeout", Failure::TimedOut),
            ("ConnectionAttemptFailed", Failure::NotConnected),
            ("InProgress", Failure::InProgress),
            ("DoesNotExist", Failure::Gone),
            ("NotReady", Failure::AdapterOff),
            ("Failed", Failure::Other),
            ("SomethingNew", Failure::Other),
        ] {
            check(&format!("org.bluez.Error.{name}"), "", During::Pairing, Some(failure));
        }
        check("org.bluez.Error.AlreadyExists", "Already Exists", During::Pairing, None);
        check("org.bluez.Error.DoesNotExist", "", During::Removing, None);
        check("org.freedesktop.DBus.Error.UnknownObject", "", During::Removing, None);
        check(
            "org.freedesktop.DBus.Error.UnknownObject",
            "",
            During::Pairing,
            Some(Failure::Gone),
        );
        check(
            "org.bluez.Error.Failed",
            "le-connection-abort-by-local",
            During::Pairing,
            Some(Failure::NotConnected),
        );
        check(
            "org.bluez.Error.NotPermitted",
            "Not paired",
            During::Reading,
            Some(Failure::BondLost),
        );
        check(
            "org.freedesktop.DBus.Error.ServiceUnknown",
            "",
            During::Looking,
            Some(Failure::NoBluetooth),
        );
        check("com.example.Odd", "", During::Looking, Some(Failure::Other));
    }
}
