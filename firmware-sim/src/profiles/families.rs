//! What one make of meters does at once (page 3, sections 2.7 and 2.9). Manufacturer, model and name are those by which
//! the quirk table finds them.

use std::time::Duration;

use super::{Group, Kinds, Profile};
use crate::meters::faults::{Damage, Discoverable, Family};
use crate::meters::security::{Demand, IoCapability, PairingRule};
use crate::meters::{AfterConfirm, ClockService, Fault};

const fn family(name: &'static str, kinds: Kinds, faults: &'static [Fault], texts: [&'static str; 3]) -> Profile {
    Profile::of(Group::Family, kinds, name, faults, texts)
}

pub(super) const PROFILES: &[Profile] = &[
    family(
        "beurer-be",
        Kinds::Cuff,
        &[
            Fault::Family(Family {
                manufacturer: "Beurer",
                model: "BM85",
                name: "BM85",
            }),
            Fault::Slots(&[0, 1]),
            Fault::Damage(Damage::BigEndianTail),
            Fault::AfterConfirm(AfterConfirm::Resend),
        ],
        [
            "A Beurer BM85: shows a key when it is first paired, sends all it has on every link, big-endian at the end.",
            "Pulse and user are right only with the model's quirk.",
            "The record is stored whole; what went on air is beside it.",
        ],
    )
    .pairing(|settings| {
        settings.demands = Demand::Authentication;
        settings.io = IoCapability::DisplayOnly;
    }),
    family(
        "boso-nan",
        Kinds::Cuff,
        &[
            Fault::Family(Family {
                manufacturer: "boso",
                model: "medicus system",
                name: "boso medicus",
            }),
            Fault::Damage(Damage::AllNaN),
        ],
        [
            "A boso medicus whose measurements fail: all numbers are NaN.",
            "A record without a reading.",
            "The record is stored whole; what went on air is beside it.",
        ],
    ),
    family(
        "isens",
        Kinds::Glucose,
        &[
            Fault::Family(Family {
                manufacturer: "i-SENS",
                model: "CareSens N Premier BLE",
                name: "CareSens",
            }),
            Fault::Damage(Damage::January13),
            Fault::ClockService(ClockService::Isens),
            Fault::ClockWritable(true),
        ],
        [
            "An i-SENS CareSens: January is month 13, and the clock is set by a service of its own (FFF0).",
            "Dates in January are right only with the model's quirk; the clock cannot be read.",
            "The right time is stored; what went on air is beside it.",
        ],
    )
    .pairing(|settings| settings.demands = Demand::Encryption),
    family(
        "isens-ketone",
        Kinds::Glucose,
        &[
            Fault::Family(Family {
                manufacturer: "i-SENS",
                model: "CareSens Dual",
                name: "CareSens",
            }),
            Fault::Meal(6),
            Fault::ClockService(ClockService::Isens),
            Fault::ClockWritable(true),
        ],
        [
            "An i-SENS CareSens Dual with ketone strips: meal 6 says that the value is ketone.",
            "No glucose reading, whatever the number is.",
            "The records carry meal 6, as stored.",
        ],
    )
    .pairing(|settings| settings.demands = Demand::Encryption),
    family(
        "taidoc",
        Kinds::Glucose,
        &[
            Fault::Family(Family {
                manufacturer: "TaiDoc",
                model: "TD-4289",
                name: "TAIDOC TD4289",
            }),
            Fault::NewestFirst,
            Fault::Phantom(450),
            Fault::NoContexts,
            Fault::ClockService(ClockService::None),
        ],
        [
            "A TaiDoc: newest record first, no clock to read, no contexts, and a phantom of 2037 when 450 are stored.",
            "The phantom is no reading; numbers alone say nothing.",
            "The phantom is not in the ledger; every record is there as it was made.",
        ],
    ),
    family(
        "and-ua651",
        Kinds::Cuff,
        &[
            Fault::Family(Family {
                manufacturer: "A&D Medical",
                model: "UA-651BLE",
                name: "A&D_UA-651BLE",
            }),
            Fault::ClockService(ClockService::DateTime),
            Fault::ClockWritable(true),
            Fault::HangsUpWhenClockSet,
            Fault::Idle(Duration::from_secs(2)),
            Fault::AfterConfirm(AfterConfirm::Delete),
        ],
        [
            "An A&D UA-651BLE: pairs in its mode Pr, waits for its clock to be set, and hangs up; deletes what it has sent.",
            "The first link brings no records; they come with the next advertisement.",
            "Sent records are deleted; what nobody heard is lost behind the meter.",
        ],
    )
    .pairing(|settings| {
        settings.demands = Demand::Encryption;
        settings.pairing = PairingRule::InPairingMode;
    }),
    family(
        "omron-keep-session",
        Kinds::Cuff,
        &[
            Fault::Family(Family {
                manufacturer: "OMRON",
                model: "X4 Smart",
                name: "BLESmart_X4",
            }),
            Fault::Slots(&[1, 2]),
            Fault::KeepsSubscriptions(true),
            Fault::AfterConfirm(AfterConfirm::Delete),
            Fault::Discoverable(Discoverable::Never),
            Fault::ClockService(ClockService::CurrentTime),
        ],
        [
            "An Omron X4 Smart: drops its bond when it is unsubscribed from, sends as soon as the link is up, deletes what was confirmed.",
            "A client that tidies up has to pair again; one that is late loses records.",
            "Sent records are deleted; what nobody heard is lost behind the meter.",
        ],
    )
    .pairing(|settings| {
        settings.demands = Demand::Encryption;
        settings.pairing = PairingRule::InPairingMode;
        settings.single_bond = true;
        settings.keeps_subscriptions_per_bond = true;
        settings.unsubscribe_forgets_bond = true;
    }),
    family(
        "accu-chek",
        Kinds::Glucose,
        &[
            Fault::Family(Family {
                manufacturer: "Roche",
                model: "Accu-Chek Guide",
                name: "meter+00000001",
            }),
            Fault::UserOffset(334),
            Fault::ClockService(ClockService::DateTime),
            Fault::ClockWritable(false),
        ],
        [
            "An Accu-Chek Guide: a fixed base clock, and the user's time (2A08 in 1808) in the offset; a passkey on its back.",
            "The user's time is base time plus offset, and what 2A08 shows; the clock is not written.",
            "The records carry base time and offset, as stored.",
        ],
    )
    .pairing(|settings| {
        settings.demands = Demand::Authentication;
        settings.io = IoCapability::DisplayOnly;
        settings.pairing = PairingRule::InPairingMode;
    }),
    family(
        "contour",
        Kinds::Glucose,
        &[
            Fault::Family(Family {
                manufacturer: "Ascensia Diabetes Care",
                model: "Contour Next One",
                name: "Contour7830H",
            }),
            Fault::Discoverable(Discoverable::Limited),
            Fault::ClockService(ClockService::None),
        ],
        [
            "A Contour Next One: pairs after its key was held, numbers its records without gaps, no clock to read by the book.",
            "Records from the last number on are all there is to ask for.",
            "Every record is there as it was made.",
        ],
    )
    .pairing(|settings| {
        settings.demands = Demand::Encryption;
        settings.pairing = PairingRule::InPairingMode;
    }),
];
