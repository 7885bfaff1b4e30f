//! Group 12: what the host's own Bluetooth stack, its bus and its adapters do wrong.

use super::{Group, Kinds, Profile};
use crate::{AfterValues, Delay, Failure, HostEvent, HostFaults, Resolution, Rule};

const NOTHING: &str = "Nothing: meters know nothing of it.";
const LINK_LOST: &str = "Unconfirmed records stay in the meter; confirmed ones were heard.";
const BUS_LOST: &str =
    "Unconfirmed records stay in the meter; what the bus took with it counts as heard, and arrived nowhere.";

/// Values that go through before something happens in the middle of a transfer.
const MIDDLE: u32 = 10;

/// How long an outage lasts, in milliseconds.
const OUTAGE_MS: u64 = 500;

const fn host(name: &'static str, faults: fn(&mut HostFaults), texts: [&'static str; 3]) -> Profile {
    Profile::of(Group::Host, Kinds::None, name, &[], texts).of_host(faults)
}

fn rule(what: &str, times: Option<u32>) -> Rule {
    Rule {
        what: what.to_owned(),
        times,
    }
}

fn failure(what: &str, error: &str, message: &str, times: Option<u32>) -> Failure {
    Failure {
        what: what.to_owned(),
        error: error.to_owned(),
        message: message.to_owned(),
        times,
    }
}

fn in_the_middle(faults: &mut HostFaults, then: HostEvent) {
    faults.after_values = Some(AfterValues { values: MIDDLE, then });
}

pub(super) const PROFILES: &[Profile] = &[
    host(
        "host-power-off-mid-transfer",
        |faults| in_the_middle(faults, HostEvent::PowerOff { adapter: None }),
        [
            "The adapter is switched off after ten values.",
            "Powered is false, the link is gone; a client may switch it on again.",
            LINK_LOST,
        ],
    ),
    host(
        "host-unplug-mid-transfer",
        |faults| in_the_middle(faults, HostEvent::Unplug { adapter: None }),
        [
            "The adapter is pulled out after ten values.",
            "All its objects are removed until it is plugged in again.",
            LINK_LOST,
        ],
    ),
    host(
        "host-restart-mid-transfer",
        |faults| in_the_middle(faults, HostEvent::RestartBluez { down_ms: OUTAGE_MS }),
        [
            "bluetoothd restarts after ten values.",
            "The name is lost and owned anew; bonds are there, links, sessions and GATT objects are not.",
            LINK_LOST,
        ],
    ),
    host(
        "host-bus-loss-mid-transfer",
        |faults| in_the_middle(faults, HostEvent::LoseBus { down_ms: OUTAGE_MS }),
        [
            "The bus goes away after ten values and comes back.",
            "Every D-Bus connection is closed; new ones work.",
            BUS_LOST,
        ],
    ),
    host(
        "host-in-progress",
        |faults| {
            for method in ["Connect", "StartDiscovery", "StartNotify", "Pair"] {
                let error = "org.bluez.Error.InProgress";
                faults
                    .failures
                    .push(failure(method, error, "Operation already in progress", Some(2)));
            }
        },
        [
            "The first two calls of Connect, StartDiscovery, StartNotify and Pair are told that another is under way.",
            "org.bluez.Error.InProgress, twice.",
            NOTHING,
        ],
    ),
    host(
        "host-connect-fails",
        |faults| {
            let error = "org.bluez.Error.Failed";
            faults
                .failures
                .push(failure("Connect", error, "le-connection-abort-by-local", Some(2)));
        },
        [
            "The first two connection attempts fail at once.",
            "org.bluez.Error.Failed with le-connection-abort-by-local, twice.",
            NOTHING,
        ],
    ),
    host(
        "host-pairing-rejected",
        |faults| {
            let error = "org.bluez.Error.AuthenticationRejected";
            faults
                .failures
                .push(failure("Pair", error, "Authentication Rejected", Some(1)));
        },
        [
            "The first pairing is rejected by the controller.",
            "org.bluez.Error.AuthenticationRejected, once.",
            NOTHING,
        ],
    ),
    host(
        "host-subscription-unanswered",
        |faults| faults.unanswered.push(rule("StartNotify", Some(1))),
        [
            "The meter never answers the first subscription.",
            "StartNotify is not answered; to take it back while the link stands makes bluetoothd abort, as 5.66 may.",
            NOTHING,
        ],
    ),
    host(
        "host-device-vanishes",
        |faults| faults.vanishing.push(rule("WriteValue", Some(1))),
        [
            "The device object goes while a write is on its way.",
            "UnknownObject, and InterfacesRemoved for the device and all under it.",
            LINK_LOST,
        ],
    ),
    host(
        "host-device-vanishes-before-connect",
        |faults| faults.vanishing.push(rule("Connect", Some(1))),
        [
            "The device object goes as a client connects, as temporary devices do.",
            "UnknownObject; the next scan finds it again.",
            NOTHING,
        ],
    ),
    host(
        "host-services-never",
        |faults| faults.resolution = Resolution::Never,
        [
            "Services are never resolved.",
            "The link is up and ServicesResolved stays false.",
            NOTHING,
        ],
    ),
    host(
        "host-services-late",
        |faults| faults.resolution = Resolution::Late(3_000),
        [
            "Services are resolved three seconds late.",
            "ServicesResolved comes late, or after the meter has hung up.",
            NOTHING,
        ],
    ),
    host(
        "host-services-early",
        |faults| faults.resolution = Resolution::Early,
        [
            "Services are resolved before Connect is answered.",
            "ServicesResolved is true when a client first asks.",
            NOTHING,
        ],
    ),
    host(
        "host-services-before-objects",
        |faults| faults.resolution = Resolution::BeforeObjects(1_000),
        [
            "Services are said to be resolved a second before their objects are there.",
            "Discovery finds no characteristic at first.",
            NOTHING,
        ],
    ),
    host(
        "host-slow-replies",
        |faults| {
            faults.delays.push(Delay {
                what: "*".to_owned(),
                ms: 300,
            });
        },
        [
            "Every reply comes 300 ms late.",
            "Calls take their time; a second StartNotify meanwhile is told InProgress.",
            NOTHING,
        ],
    ),
    host(
        "host-loses-values",
        |faults| faults.dropped.push(rule("Value", Some(1))),
        [
            "The next signal about a value is not sent.",
            "One value is missing although a session was open.",
            "The record was heard: only the client's own count can show that it is missing.",
        ],
    ),
    host(
        "host-loses-services-resolved",
        |faults| faults.dropped.push(rule("ServicesResolved", Some(1))),
        [
            "The next signal that services are resolved is not sent.",
            "A client that waits for the signal alone waits in vain; the property is true.",
            NOTHING,
        ],
    ),
    host(
        "host-doubles-values",
        |faults| faults.doubled.push(rule("Value", None)),
        [
            "Every signal about a value is sent twice.",
            "Each record arrives twice.",
            "Each record was sent once.",
        ],
    ),
    host(
        "host-invalidates-properties",
        |faults| {
            faults.invalidated.push(rule("ServicesResolved", None));
            faults.invalidated.push(rule("Connected", None));
        },
        [
            "Changes of Connected and ServicesResolved are told in the list of invalidated properties.",
            "The new value has to be asked for.",
            NOTHING,
        ],
    ),
];
