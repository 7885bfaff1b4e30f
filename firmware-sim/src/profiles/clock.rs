//! Group 5: clocks. What the clock of a meter gets wrong is wrong in the stored record too.

use super::{Group, Kinds, Profile};
use crate::meters::Fault;
use crate::meters::faults::Damage;

/// An hour, in seconds.
const HOUR: i32 = 3_600;

const AS_STORED: &str = "The records carry the wrong time, as stored.";
const ALTERED: &str = "The right time is stored; what went on air is beside it.";

const fn clock(name: &'static str, faults: &'static [Fault], texts: [&'static str; 3]) -> Profile {
    Profile::of(Group::Clock, Kinds::Any, name, faults, texts)
}

const fn offset(name: &'static str, faults: &'static [Fault], texts: [&'static str; 3]) -> Profile {
    Profile::of(Group::Clock, Kinds::Glucose, name, faults, texts)
}

pub(super) const PROFILES: &[Profile] = &[
    clock(
        "clock-unset",
        &[Fault::ClockUnset],
        [
            "Its clock was never set: year, month and day are 0.",
            "Records without a date.",
            AS_STORED,
        ],
    ),
    clock(
        "clock-2000",
        &[Fault::ClockYear(2000)],
        [
            "Its clock came from the factory: 1 January 2000 when the profile is switched on.",
            "Records decades old.",
            AS_STORED,
        ],
    ),
    clock(
        "clock-2017",
        &[Fault::ClockYear(2017)],
        [
            "Its clock went back to 1 January 2017 with the last change of battery.",
            "Records years old.",
            AS_STORED,
        ],
    ),
    clock(
        "clock-2019",
        &[Fault::ClockYear(2019)],
        [
            "Its clock went back to 1 January 2019 with the last change of battery.",
            "Records years old.",
            AS_STORED,
        ],
    ),
    offset(
        "clock-phantom-2037",
        &[Fault::Backlog(450), Fault::Phantom(450)],
        [
            "Has 450 records stored and reports one more, above the range and dated 2037, that nobody made.",
            "A record from the future that is no reading.",
            "The phantom is not in the ledger; every record is there as it was made.",
        ],
    ),
    clock(
        "clock-month-13",
        &[Fault::Damage(Damage::Month13)],
        ["Sends month 13.", "A date that no calendar has.", ALTERED],
    ),
    clock(
        "clock-january-13",
        &[Fault::Damage(Damage::January13)],
        [
            "Sends January as month 13; other months are right.",
            "A date that no calendar has, in January only.",
            ALTERED,
        ],
    ),
    clock(
        "clock-31-february",
        &[Fault::Damage(Damage::ThirtyFirstOfFebruary)],
        ["Sends 31 February.", "A date that no calendar has.", ALTERED],
    ),
    clock(
        "clock-month-0",
        &[Fault::Damage(Damage::MonthZero)],
        ["Sends month 0.", "A date with an unknown month.", ALTERED],
    ),
    clock(
        "clock-day-0",
        &[Fault::Damage(Damage::DayZero)],
        ["Sends day 0.", "A date with an unknown day.", ALTERED],
    ),
    clock(
        "clock-drifts",
        &[Fault::Drift(20)],
        [
            "Its clock gains 20 seconds in a day.",
            "The skew grows from sync to sync.",
            AS_STORED,
        ],
    ),
    clock(
        "clock-jumps",
        &[Fault::JumpsBetweenLinks(-2 * HOUR)],
        [
            "Its clock goes back two hours after every link.",
            "The skew at a sync says nothing about the records before.",
            AS_STORED,
        ],
    ),
    offset(
        "offset-overrun",
        &[Fault::Damage(Damage::Offset(0x7FFF))],
        [
            "Sends the time offset 7FFF: overrun.",
            "No usable offset to the user's time.",
            ALTERED,
        ],
    ),
    offset(
        "offset-underrun",
        &[Fault::Damage(Damage::Offset(0x8000))],
        [
            "Sends the time offset 8000: underrun.",
            "No usable offset to the user's time.",
            ALTERED,
        ],
    ),
    clock(
        "clock-dst",
        &[Fault::JumpsAfter {
            records: 2,
            seconds: HOUR,
        }],
        [
            "Its clock goes forward an hour after two records made, for summer.",
            "One hour is missing between two records.",
            AS_STORED,
        ],
    ),
    clock(
        "clock-set-mid-history",
        &[Fault::JumpsAfter {
            records: 3,
            seconds: -5 * 24 * HOUR,
        }],
        [
            "Its user sets the clock back five days after three records made.",
            "Later records are older than earlier ones.",
            AS_STORED,
        ],
    ),
];
