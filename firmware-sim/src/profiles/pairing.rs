//! Group 3: what a meter demands before it hands anything out, and what becomes of its bond.

use super::{Group, Kinds, Profile};
use crate::meters::Fault;
use crate::meters::security::Demand;

const NOTHING_LOST: &str = "Nothing is sent before the meter is content, and nothing is lost.";

const fn security(name: &'static str, faults: &'static [Fault], texts: [&'static str; 3]) -> Profile {
    Profile::of(Group::Security, Kinds::Any, name, faults, texts)
}

pub(super) const PROFILES: &[Profile] = &[
    security(
        "security-request-first",
        &[],
        [
            "Asks for security as soon as it is connected.",
            "Pairing begins before the central has done anything.",
            NOTHING_LOST,
        ],
    )
    .pairing(|settings| {
        settings.security_request = true;
        settings.demands = Demand::Encryption;
    }),
    security(
        "cccd-needs-encryption",
        &[],
        [
            "Refuses the first subscription for lack of encryption (ATT 05, or 0F with a key).",
            "A central that is not paired has to pair before it gets a value.",
            NOTHING_LOST,
        ],
    )
    .pairing(|settings| settings.demands = Demand::Encryption),
    security(
        "needs-authentication",
        &[],
        [
            "Wants a bond made with a passkey or by comparison.",
            "Just Works is not enough.",
            NOTHING_LOST,
        ],
    )
    .pairing(|settings| settings.demands = Demand::Authentication),
    security(
        "one-bond-only",
        &[],
        [
            "Refuses a second central while it has a bond.",
            "Pairing with a second gateway fails.",
            NOTHING_LOST,
        ],
    )
    .pairing(|settings| {
        settings.single_bond = true;
        settings.demands = Demand::Encryption;
    }),
    security(
        "bond-lost-by-meter",
        &[],
        [
            "Has forgotten its bonds; the centrals have not.",
            "Encryption fails for a missing key; the bond has to be removed and made again.",
            NOTHING_LOST,
        ],
    )
    .losing_bonds()
    .pairing(|settings| settings.demands = Demand::Encryption),
    security(
        "cccd-kept-per-bond",
        &[Fault::KeepsSubscriptions(true)],
        [
            "Remembers what its central subscribed to, also when the link is gone.",
            "Indications come as soon as the next link is up, perhaps before anyone listens.",
            "What nobody heard is confirmed all the same: lost behind the meter.",
        ],
    )
    .pairing(|settings| {
        settings.keeps_subscriptions_per_bond = true;
        settings.demands = Demand::Encryption;
    }),
    security(
        "cccd-forgotten",
        &[Fault::KeepsSubscriptions(false)],
        [
            "Forgets subscriptions with every link, also those of a bonded central.",
            "A client that does not subscribe again gets nothing.",
            NOTHING_LOST,
        ],
    )
    .pairing(|settings| settings.keeps_subscriptions_per_bond = false),
    security(
        "cccd-off-forgets-bond",
        &[],
        [
            "Forgets the bond of a central that unsubscribes.",
            "A client that tidies up has to pair again.",
            NOTHING_LOST,
        ],
    )
    .pairing(|settings| {
        settings.unsubscribe_forgets_bond = true;
        settings.demands = Demand::Encryption;
    }),
];
