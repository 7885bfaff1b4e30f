//! Groups 10 and 11: addresses, meters that look alike, names, and what is missing.

use std::time::Duration;

use super::{Addressing, Group, Kinds, Profile};
use crate::meters::Fault;

const ALL_STORED: &str = "Every record is there as it was made.";

/// Time after which a resolvable private address changes (page 3, section 2.8; the recommendation of the Core
/// specification, volume 3, part C, appendix A).
const RPA_LIFETIME: Duration = Duration::from_secs(15 * 60);

/// How long another central keeps the link.
const ELSEWHERE: Duration = Duration::from_secs(5);

const fn privacy(name: &'static str, faults: &'static [Fault], texts: [&'static str; 3]) -> Profile {
    Profile::of(Group::Privacy, Kinds::Any, name, faults, texts)
}

const fn names(name: &'static str, faults: &'static [Fault], texts: [&'static str; 3]) -> Profile {
    Profile::of(Group::Names, Kinds::Any, name, faults, texts)
}

pub(super) const PROFILES: &[Profile] = &[
    privacy(
        "address-public",
        &[],
        ["Uses a public address.", "The address is its identity.", ALL_STORED],
    )
    .addressed(Addressing::Public),
    privacy(
        "address-static-random",
        &[],
        [
            "Uses a random address that stays.",
            "The address is its identity, of type random.",
            ALL_STORED,
        ],
    )
    .addressed(Addressing::StaticRandom),
    privacy(
        "address-rotates",
        &[],
        [
            "Uses a resolvable private address and changes it every 15 minutes.",
            "A new device every quarter of an hour for who is not bonded.",
            ALL_STORED,
        ],
    )
    .addressed(Addressing::Rotating(RPA_LIFETIME)),
    privacy(
        "identity-after-bonding",
        &[],
        [
            "Uses a resolvable private address and tells its identity when it bonds.",
            "The address of the device changes in place with the bond; its path does not.",
            ALL_STORED,
        ],
    )
    .addressed(Addressing::Rotating(RPA_LIFETIME))
    .pairing(|settings| settings.demands = crate::meters::security::Demand::Encryption),
    privacy(
        "looks-like-others",
        &[Fault::SameAsOthers],
        [
            "Has the name and the serial number of every other meter of its model.",
            "Two meters with it are told apart by their addresses only.",
            ALL_STORED,
        ],
    ),
    privacy(
        "second-gateway",
        &[
            Fault::OtherCentral {
                takes: ELSEWHERE,
                steals: false,
            },
            Fault::AfterConfirm(crate::meters::AfterConfirm::Resend),
        ],
        [
            "Another gateway has the link for five seconds whenever the window opens; both get everything.",
            "The meter is late; the other one is simulated and sends nothing on, so that no record reaches the server twice.",
            ALL_STORED,
        ],
    ),
    privacy(
        "link-stolen",
        &[Fault::OtherCentral {
            takes: ELSEWHERE,
            steals: true,
        }],
        [
            "A person's own app has the link for five seconds whenever the window opens, and takes what is sent only once.",
            "The meter is late; records of a cuff are with somebody else.",
            "Records that the other central took are elsewhere: lost by the meter, not behind it.",
        ],
    ),
    names(
        "name-truncated",
        &[Fault::NameCut(4)],
        [
            "Advertises the first four bytes of its name.",
            "A shortened name.",
            ALL_STORED,
        ],
    ),
    names(
        "name-absent",
        &[Fault::NoName],
        [
            "Advertises no name.",
            "A meter known by its services and address.",
            ALL_STORED,
        ],
    ),
    names(
        "texts-padded",
        &[Fault::PaddedTexts],
        [
            "Ends its texts of Device Information in NUL bytes.",
            "The same texts once they are cut.",
            ALL_STORED,
        ],
    ),
    names(
        "information-absent",
        &[Fault::NoDeviceInformation],
        [
            "Has no Device Information.",
            "Manufacturer and model are unknown; no quirk can be found by them.",
            ALL_STORED,
        ],
    ),
    names(
        "feature-absent",
        &[Fault::NoFeature],
        [
            "Lacks the feature characteristic that its service requires.",
            "Which status bits mean something is unknown.",
            ALL_STORED,
        ],
    ),
    names(
        "characteristics-doubled",
        &[Fault::DoubledCharacteristics],
        [
            "Has every characteristic of its main service twice.",
            "Two objects with one UUID.",
            ALL_STORED,
        ],
    ),
    names(
        "battery-claimed",
        &[Fault::Battery(77)],
        [
            "Has a Battery Service with 77 %.",
            "BlueZ keeps it to itself and shows Battery1.",
            ALL_STORED,
        ],
    ),
];
