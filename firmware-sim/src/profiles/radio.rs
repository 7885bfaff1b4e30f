//! Groups 1 and 2: when a meter lets itself be found, and when it hangs up.

use std::time::Duration;

use super::{Group, Kinds, Profile};
use crate::meters::Fault;
use crate::meters::faults::Discoverable;

const NOTHING_LOST: &str = "Nothing is lost: what was not sent stays in the memory.";

const fn advertising(name: &'static str, faults: &'static [Fault], texts: [&'static str; 3]) -> Profile {
    Profile::of(Group::Advertising, Kinds::Any, name, faults, texts)
}

const fn hanging_up(name: &'static str, faults: &'static [Fault], texts: [&'static str; 3]) -> Profile {
    Profile::of(Group::Disconnecting, Kinds::Any, name, faults, texts)
}

pub(super) const PROFILES: &[Profile] = &[
    advertising(
        "advert-window-1min",
        &[Fault::Window(Duration::from_secs(60))],
        [
            "Advertises for one minute after a measurement or the transfer key, and never else.",
            "Who is late has to measure again or press the key.",
            NOTHING_LOST,
        ],
    ),
    advertising(
        "advert-window-3min",
        &[Fault::Window(Duration::from_secs(180))],
        [
            "Advertises for three minutes after a measurement or the transfer key, and never else.",
            "There is time for more than one attempt.",
            NOTHING_LOST,
        ],
    ),
    advertising(
        "advert-on-key-only",
        &[Fault::KeyOnly],
        [
            "Advertises when its transfer key is pressed, not after a measurement.",
            "A measurement alone never arrives.",
            "Records wait in the memory until the key is pressed.",
        ],
    ),
    advertising(
        "advert-never",
        &[Fault::NeverAdvertises],
        [
            "Never advertises.",
            "The meter is not there, whatever is pressed.",
            "Records are made and never sent.",
        ],
    ),
    advertising(
        "advert-limited",
        &[Fault::Discoverable(Discoverable::Limited)],
        [
            "Advertises in limited discoverable mode (flags 05).",
            "Found as others are by who does not ask for general mode.",
            NOTHING_LOST,
        ],
    ),
    advertising(
        "advert-not-discoverable",
        &[Fault::Discoverable(Discoverable::Never)],
        [
            "Advertises without a discoverable mode (flags 04), as bonded meters do.",
            "Found by its address and service only.",
            NOTHING_LOST,
        ],
    ),
    advertising(
        "advert-directed",
        &[Fault::Discoverable(Discoverable::Directed)],
        [
            "Sends advertisements directed at the central that it is bonded to: without flags, name and services.",
            "Others do not see it; its central knows it by its address only.",
            NOTHING_LOST,
        ],
    ),
    advertising(
        "advert-pairing-mode",
        &[Fault::Discoverable(Discoverable::Never)],
        [
            "Pairs only in a pairing mode, in which it has another name; otherwise it is not discoverable.",
            "Staff have to put it into its pairing mode; the list shows another name than later advertisements.",
            NOTHING_LOST,
        ],
    )
    .pairing(|settings| {
        settings.pairing = crate::meters::security::PairingRule::InPairingMode;
        "Pairing".clone_into(&mut settings.pairing_name);
    }),
    hanging_up(
        "hangs-up-after-2s",
        &[Fault::Idle(Duration::from_secs(2))],
        [
            "Hangs up two seconds after the last confirmation.",
            "What a client wants to read it has to read at once.",
            NOTHING_LOST,
        ],
    ),
    hanging_up(
        "hangs-up-after-5s",
        &[Fault::Idle(Duration::from_secs(5))],
        [
            "Hangs up five seconds after the last confirmation.",
            "A client that is not busy keeps the link no longer.",
            NOTHING_LOST,
        ],
    ),
    hanging_up(
        "hangs-up-after-pairing",
        &[Fault::HangsUpWhenClockSet, Fault::ClockWritable(true)],
        [
            "Hangs up as soon as it has been paired, or when its clock was set.",
            "The first link brings no records; they come with the next advertisement.",
            NOTHING_LOST,
        ],
    )
    .pairing(|settings| settings.disconnects_after_pairing = true),
    hanging_up(
        "hangs-up-unless-subscribed",
        &[Fault::SubscribeWithin(Duration::from_secs(3))],
        [
            "Hangs up when nothing was subscribed to within three seconds.",
            "A slow discovery costs the link.",
            NOTHING_LOST,
        ],
    ),
    hanging_up(
        "link-loss-at-record-1",
        &[Fault::LinkLossAt(1)],
        [
            "Loses every link right after the first record.",
            "Every link brings one record, and a control point procedure never ends.",
            "A cuff sends one record more on every link, a glucose meter the first that is asked for; none is lost on the meter.",
        ],
    ),
    hanging_up(
        "link-loss-at-record-20",
        &[Fault::LinkLossAt(20)],
        [
            "Loses every link right after the twentieth record.",
            "Long histories come in pieces.",
            "Twenty records are sent on every link; none is lost on the meter.",
        ],
    ),
];
