//! Group 8: bytes. All damage is done on the way out; the ledger holds what was stored and what was said.

use super::{Group, Kinds, Profile};
use crate::meters::Fault;
use crate::meters::faults::{Damage, Special};

const ALTERED: &str = "The record is stored whole; what went on air is beside it.";

const fn payload(name: &'static str, kinds: Kinds, faults: &'static [Fault], texts: [&'static str; 2]) -> Profile {
    let [summary, changes] = texts;
    Profile::of(Group::Payload, kinds, name, faults, [summary, changes, ALTERED])
}

pub(super) const PROFILES: &[Profile] = &[
    payload(
        "payload-empty",
        Kinds::Any,
        &[Fault::Damage(Damage::Empty)],
        [
            "Sends values without a byte.",
            "Nothing to decode: refused with a reason.",
        ],
    ),
    payload(
        "payload-one-byte",
        Kinds::Any,
        &[Fault::Damage(Damage::OneByte)],
        ["Sends the flags and nothing else.", "Too short: refused with a reason."],
    ),
    payload(
        "payload-truncated",
        Kinds::Any,
        &[Fault::Damage(Damage::Truncated)],
        [
            "Cuts values short, one record after the other at every length.",
            "Too short for their flags: refused with a reason.",
        ],
    ),
    payload(
        "payload-trailing",
        Kinds::Any,
        &[Fault::Damage(Damage::Trailing)],
        ["Sends two bytes too many.", "Read as if the rest were not there."],
    ),
    payload(
        "payload-reserved-flags",
        Kinds::Any,
        &[Fault::Damage(Damage::ReservedFlags)],
        ["Sets all reserved bits of the flags.", "Read as if they were clear."],
    ),
    payload(
        "payload-unknown-codes",
        Kinds::Any,
        &[Fault::Damage(Damage::UnknownCodes)],
        [
            "Sends codes and status bits without a meaning, where there are any.",
            "Kept as they are and not guessed at.",
        ],
    ),
    payload(
        "payload-nan",
        Kinds::Any,
        &[Fault::Damage(Damage::Special(Special::NaN))],
        [
            "Sends NaN in one field, in each in turn.",
            "No number: never a reading of 2047.",
        ],
    ),
    payload(
        "payload-inf",
        Kinds::Any,
        &[Fault::Damage(Damage::Special(Special::PosInf))],
        [
            "Sends +INF in one field, in each in turn.",
            "Above the range: no number.",
        ],
    ),
    payload(
        "payload-negative-inf",
        Kinds::Any,
        &[Fault::Damage(Damage::Special(Special::NegInf))],
        [
            "Sends -INF in one field, in each in turn.",
            "Below the range: no number.",
        ],
    ),
    payload(
        "payload-nres",
        Kinds::Any,
        &[Fault::Damage(Damage::Special(Special::NRes))],
        [
            "Sends NRes in one field, in each in turn.",
            "No number at this resolution.",
        ],
    ),
    payload(
        "payload-reserved",
        Kinds::Any,
        &[Fault::Damage(Damage::Special(Special::Reserved))],
        [
            "Sends the reserved word in one field, in each in turn.",
            "No number to be read.",
        ],
    ),
    payload(
        "payload-filler",
        Kinds::Any,
        &[Fault::Damage(Damage::Filler)],
        ["Fills every number with FFFF.", "-0.1 by the letter; never a reading."],
    ),
    payload(
        "payload-vendor-prefix",
        Kinds::Cuff,
        &[Fault::Damage(Damage::VendorPrefix)],
        [
            "Puts a frame of its own before the values and leaves the flags out.",
            "Nonsense by the letter: refused, never half read.",
        ],
    ),
    payload(
        "payload-big-endian-tail",
        Kinds::Cuff,
        &[Fault::Damage(Damage::BigEndianTail)],
        [
            "Sends pulse and status big-endian, and a user id that the flags do not announce.",
            "A pulse of thousands and a byte too many by the letter; right with the model's quirk.",
        ],
    ),
    payload(
        "payload-wrong-unit",
        Kinds::Any,
        &[Fault::Damage(Damage::WrongUnit)],
        [
            "Says the other unit than it sends in.",
            "120 kPa is not plausible; 100 mg/dL read as 1.0 mmol/L is, and nobody can tell.",
        ],
    ),
    payload(
        "payload-pressures-swapped",
        Kinds::Cuff,
        &[Fault::Damage(Damage::SwappedPressures)],
        [
            "Sends a systolic pressure below the diastolic.",
            "Not plausible: kept aside with a reason.",
        ],
    ),
    payload(
        "payload-zero-pulse",
        Kinds::Cuff,
        &[Fault::Damage(Damage::ZeroPulse)],
        [
            "Sends a pulse of 0.",
            "No pulse, and the pressures are still a reading or not by themselves.",
        ],
    ),
];
