//! Every fault profile of the simulator against the real programs: what the meter's owner sees, what the gateway keeps aside
//! and why, and that both agree with the ledger.

use std::collections::BTreeSet;

use carepost_sim::ledger::LedgerEntry;
use carepost_sim::profiles::catalogue;
use serde_json::{Value, json};
use system_tests::neighbourhood::{Case, Neighbourhood};

use super::{bonds, host, refusals};

const CLOCK_READ: &str = "clock_service = \"current_time\"";
/// In minutes.
const FIVE_DAYS: i64 = 5 * 24 * 60;

/// Advertising and hanging up.
const RADIO: &[Case] = &[
    Case::all("advert-window-1min", "cuff"),
    Case::all("advert-window-3min", "cuff"),
    Case::all("advert-on-key-only", "glucose"),
    Case::some("advert-never", "cuff", 0, &[]),
    Case::all("advert-limited", "cuff"),
    Case::all("advert-not-discoverable", "cuff"),
    Case::some("advert-directed", "cuff", 0, &[]),
    Case::all("advert-pairing-mode", "cuff"),
    Case::all("hangs-up-after-pairing", "cuff"),
    Case::all("hangs-up-after-2s", "cuff"),
    Case::all("hangs-up-after-5s", "cuff"),
    Case::all("hangs-up-unless-subscribed", "cuff"),
    // Everything is asked for, oldest first. One record shows no order, so that there is no mark and every link brings that one.
    Case::some("link-loss-at-record-1", "glucose", 1, &[]),
    // A link brings the newest, the one that is known already and at most 18 others.
    Case::all("link-loss-at-record-20", "glucose")
        .storing(40)
        .seeing(40)
        .over_links(3),
];

/// What is stored and how it is sent.
const BACKLOG: &[Case] = &[
    Case::some("backlog-0", "glucose", 0, &[]).storing(0),
    Case::some("backlog-1", "cuff", 1, &[]).storing(0),
    Case::some("backlog-60", "glucose", 60, &[]).storing(0),
    Case::some("backlog-60", "cuff", 60, &[]).storing(0),
    Case::some("backlog-450", "glucose", 450, &[]).storing(0),
    Case::all("records-fast", "cuff"),
    Case::all("records-slow", "cuff"),
    Case::all("records-twice", "cuff"),
    Case::all("records-twice", "glucose"),
    Case::all("delete-after-transfer", "cuff"),
    Case::all("delete-after-transfer", "glucose"),
    Case::all("sends-all-again", "cuff"),
    Case::all("records-identical", "cuff"),
    // Twice the same under two numbers cannot be told from two measurements.
    Case::all("records-identical", "glucose").seeing(10),
    Case::all("all-users", "cuff"),
    // The two of the other slot wait in the cuff until that person measures.
    Case::all("current-user-only", "cuff").seeing(3),
    Case::all("second-gateway", "cuff"),
    Case::all("link-stolen", "glucose"),
    // The app had all of it before the gateway had a link.
    Case::some("link-stolen", "cuff", 0, &[]).stolen(5),
];

/// Clocks that cannot be asked, and clocks that can.
const CLOCK: &[Case] = &[
    Case::some("clock-unset", "cuff", 0, &[("time_unknown", 5)]),
    Case::some("clock-unset", "glucose", 0, &[("time_unknown", 5)]),
    Case::some("clock-2000", "cuff", 0, &[("time_unknown", 5)]),
    Case::all("clock-2000", "cuff").with(CLOCK_READ).dated("skew_corrected"),
    Case::some("clock-2017", "glucose", 0, &[("time_unknown", 5)]),
    Case::all("clock-2017", "cuff").with(CLOCK_READ).dated("skew_corrected"),
    Case::some("clock-2019", "cuff", 0, &[("time_unknown", 5)]),
    Case::some("clock-month-13", "cuff", 0, &[("time_impossible", 5)]),
    Case::some("clock-31-february", "glucose", 0, &[("time_impossible", 5)]),
    Case::some("clock-month-0", "cuff", 0, &[("time_unknown", 5)]),
    Case::some("clock-day-0", "glucose", 0, &[("time_unknown", 5)]),
    Case::all("clock-drifts", "cuff").with(CLOCK_READ),
    Case::all("clock-jumps", "glucose").with("clock_service = \"date_time\""),
    // The newest is 45 minutes old and was put an hour ahead. That the two before it are an hour late nobody can know: the clock
    // cannot be read.
    Case::some("clock-dst", "cuff", 4, &[("time_in_future", 1)])
        .dated("meter_ok")
        .shifted(&[0, 0, 60, 60, 60]),
    // By what is read of it once, the clock was always as it is now: what was measured before the change is an hour early.
    Case::all("clock-dst", "cuff")
        .with(CLOCK_READ)
        .dated("skew_corrected")
        .shifted(&[-60, -60]),
    Case::some("clock-phantom-2037", "glucose", 450, &[("time_in_future", 1)]).storing(0),
    // In every month of the year in which this runs: the meter believes that it is January.
    Case::some("clock-january-13", "glucose", 0, &[("time_impossible", 5)]).with("clock = \"2026-01-15T12:00:00\""),
    // The clock cannot be read. That times fall while numbers rise is all that shows of it, and nobody looks at that.
    Case::all("clock-set-mid-history", "glucose")
        .dated("meter_ok")
        .shifted(&[0, 0, 0, -FIVE_DAYS, -FIVE_DAYS]),
    Case::all("offset-overrun", "glucose").dated("offset_missing"),
    Case::all("offset-underrun", "glucose").dated("offset_missing"),
];

/// Slots and sequence numbers.
const NUMBERS: &[Case] = &[
    Case::all("sequence-from-0", "glucose"),
    Case::all("sequence-wraps", "glucose"),
    Case::all("sequence-gaps", "glucose"),
    Case::all("newest-first", "glucose"),
    // Each is dated as long before the first as it was measured after it, and a minute more for each. The clock cannot be read.
    Case::all("newer-number-older-time", "glucose")
        .dated("meter_ok")
        .shifted(&[0, -661, -1322, -1983, -2644]),
    Case::some("sequence-restarts", "glucose", 2, &[]),
    Case::all("slots-0-1", "cuff"),
    Case::all("slots-1-2", "cuff"),
    Case::some("slot-unknown", "cuff", 0, &[("slot_unknown", 5)]),
    Case::some("slot-missing", "cuff", 0, &[("slot_unknown", 5)]),
    Case::some("slot-guest", "cuff", 0, &[("slot_unknown", 5)]),
];

/// Bytes.
const PAYLOAD: &[Case] = &[
    Case::some("payload-empty", "cuff", 0, &[("undecodable", 1)]),
    Case::some("payload-one-byte", "glucose", 0, &[("undecodable", 1)]),
    Case::some("payload-truncated", "cuff", 0, &[("undecodable", 5)]),
    Case::all("payload-trailing", "cuff"),
    Case::all("payload-trailing", "glucose"),
    Case::all("payload-reserved-flags", "cuff"),
    Case::all("payload-unknown-codes", "glucose").meaning(without_slot),
    Case::some("payload-filler", "cuff", 0, &[("implausible", 5)]),
    Case::some("payload-vendor-prefix", "cuff", 0, &[("implausible", 5)]),
    Case::some("payload-wrong-unit", "cuff", 0, &[("implausible", 5)]),
    // 100 mg/dL under the flag of mol/L reads as 1.0 mmol/L, which a person can have: nobody can tell from the bytes.
    Case::all("payload-wrong-unit", "glucose").meaning(in_mmol),
    // Of five records two have it in the mean pressure or the pulse, without which they are readings all the same.
    Case::some("payload-nan", "cuff", 2, &[("measurement_error", 3)]).meaning(third_without_pulse),
    Case::some("payload-inf", "cuff", 2, &[("measurement_error", 3)]).meaning(third_without_pulse),
    // Below the range: shown as LO, and never as a number.
    Case::all("payload-negative-inf", "glucose").meaning(below_range),
    Case::some("payload-nres", "glucose", 0, &[("measurement_error", 5)]),
    Case::some("payload-reserved", "cuff", 2, &[("measurement_error", 3)]).meaning(third_without_pulse),
    Case::some("payload-big-endian-tail", "cuff", 0, &[("byte_order_suspected", 5)]),
    Case::some("payload-pressures-swapped", "cuff", 0, &[("implausible", 5)]),
    Case::all("payload-zero-pulse", "cuff").meaning(without_pulse),
];

/// No meal has the code 9.
fn without_slot(_: &LedgerEntry, says: &mut Value) {
    says["slot"] = Value::Null;
}

fn without_pulse(_: &LedgerEntry, says: &mut Value) {
    says["measurement"]["pulse_milli_per_min"] = Value::Null;
}

/// The third record has the special word in its pulse, the second in its mean pressure, which is none as it is.
fn third_without_pulse(entry: &LedgerEntry, says: &mut Value) {
    if entry.record.0 == 3 {
        without_pulse(entry, says);
    }
}

fn below_range(_: &LedgerEntry, says: &mut Value) {
    says["measurement"]["level"] = json!({"is": "below_range", "unit": "mg/dL"});
}

/// The same digits and exponent are kg/L and mol/L: 100 mg/dL and 1.00 mmol/L.
fn in_mmol(_: &LedgerEntry, says: &mut Value) {
    let level = &mut says["measurement"]["level"];
    let milli_mg_dl = level["milli"].as_i64().unwrap();
    *level = json!({"is": "value", "milli": milli_mg_dl / 100, "unit": "mmol/L"});
}

/// The control point and contexts.
const RACP: &[Case] = &[
    Case::all("racp-op-not-supported", "glucose"),
    Case::some("racp-invalid-operator", "glucose", 0, &[]),
    Case::some("racp-operator-not-supported", "glucose", 0, &[]),
    Case::some("racp-invalid-operand", "glucose", 0, &[]),
    Case::some("racp-no-records", "glucose", 0, &[]),
    Case::all("racp-abort-unsuccessful", "glucose"),
    Case::all("racp-not-completed", "glucose"),
    Case::some("racp-operand-not-supported", "glucose", 0, &[]),
    Case::some("racp-unknown-code", "glucose", 0, &[]),
    Case::all("racp-no-answer", "glucose"),
    // Nobody says how many there are nor that they were all; they come, if the meter waits as long as its client does.
    Case::all("racp-silent", "glucose").with("idle_disconnect_ms = 20000"),
    Case::all("racp-answer-early", "glucose"),
    Case::all("racp-extra-records", "glucose"),
    Case::all("racp-abort-race", "glucose"),
    Case::all("racp-busy", "glucose"),
    Case::all("racp-improper", "glucose"),
    Case::all("racp-count-1-byte", "glucose"),
    Case::all("racp-count-2-bytes", "glucose"),
    Case::all("racp-count-4-bytes", "glucose"),
    Case::all("racp-count-too-high", "glucose"),
    Case::all("racp-count-too-low", "glucose"),
    Case::all("context-missing", "glucose").without_contexts(),
    Case::all("context-late", "glucose"),
    Case::all("context-early", "glucose"),
    Case::all("context-foreign", "glucose").without_contexts(),
];

/// Names, and meters of other kinds.
const NAMES: &[Case] = &[
    Case::all("name-truncated", "cuff"),
    Case::all("name-absent", "cuff"),
    Case::all("texts-padded", "glucose"),
    Case::all("information-absent", "cuff"),
    Case::all("feature-absent", "glucose"),
    Case::all("characteristics-doubled", "cuff"),
    Case::all("battery-claimed", "cuff"),
    Case::all("address-public", "cuff"),
    Case::all("address-static-random", "cuff").with("address_type = \"random\""),
    Case::all("looks-like-others", "cuff"),
    // Not bonded, a private address is a new device every time: nobody can read it before it is paired.
    Case::some("address-rotates", "cuff", 0, &[]),
    Case::some("identity-after-bonding", "cuff", 0, &[]),
];

/// With a full memory it makes a record up, above the range and of 2037.
const FULL_TAIDOC: Case = Case::some("taidoc", "glucose", 450, &[("phantom_record", 1)])
    .made_by("TaiDoc", "TD4279")
    .with("memory = 450")
    .storing(450);

/// The makes of the quirk table, as they are before anybody has paired them; `bonds.rs` has them afterwards.
const UNPAIRED_MAKES: &[Case] = &[
    Case::some("beurer-be", "cuff", 0, &[]).made_by("Beurer", "BM85"),
    Case::some("isens", "glucose", 0, &[]).made_by("i-SENS", "CareSens"),
    Case::some("isens-ketone", "glucose", 0, &[]).made_by("i-SENS", "CareSens Dual"),
    Case::some("and-ua651", "cuff", 0, &[]).made_by("A&D Medical", "UA-651BLE"),
    Case::some("omron-keep-session", "cuff", 0, &[]).made_by("OMRON", "X4 Smart"),
    Case::some("accu-chek", "glucose", 0, &[]).made_by("Roche", "Guide"),
    Case::some("contour", "glucose", 0, &[]).made_by("Ascensia", "Contour Next One"),
    // These two ask for no key.
    Case::some("boso-nan", "cuff", 0, &[("measurement_error", 5)]).made_by("boso", "medicus"),
    Case::all("taidoc", "glucose").made_by("TaiDoc", "TD4279"),
    FULL_TAIDOC,
];

/// A glucose meter that is read, measured with, and read again.
struct Again {
    case: Case,
    /// Measurements between.
    times: u16,
    /// Readings in the end.
    seen: usize,
    /// What is kept aside in the end.
    aside: &'static [(&'static str, u64)],
}

const fn again(case: Case, times: u16, seen: usize) -> Again {
    Again {
        aside: case.aside,
        case,
        times,
        seen,
    }
}

const AGAIN: &[Again] = &[
    again(Case::all("sequence-from-0", "glucose").storing(1).seeing(1), 3, 4),
    // 65533 and 65534 are known; 65535, 0 and 1 are new.
    again(Case::all("sequence-wraps", "glucose").storing(2).seeing(2), 3, 5),
    again(Case::all("sequence-gaps", "glucose"), 3, 8),
    again(Case::all("newest-first", "glucose"), 3, 8),
    // The first new one is forgotten with the two that were read, and the others have the numbers of those.
    again(Case::all("sequence-restarts", "glucose").storing(2).seeing(2), 3, 4),
    // The clock is two hours slow now, and more after each link.
    again(
        Case::all("clock-jumps", "glucose").with("clock_service = \"date_time\""),
        3,
        8,
    ),
];

/// Those that make a record up, under the number that the next measurement gets.
const AFTER_A_PHANTOM: &[Again] = &[
    // It comes again under the number after that, and looks like another.
    Again {
        case: Case::some("clock-phantom-2037", "glucose", 450, &[("time_in_future", 1)]).storing(0),
        times: 1,
        seen: 451,
        aside: &[("time_in_future", 2)],
    },
    // Of this make numbers are known to say nothing, but what is kept aside is told apart by its bytes. The oldest record gives
    // way to the new one.
    Again {
        case: FULL_TAIDOC,
        times: 1,
        seen: 451,
        aside: &[("phantom_record", 2)],
    },
];

async fn plays(cases: &[Case]) {
    let mut neighbourhood = Neighbourhood::start(cases).await.unwrap();
    // Twice: what was read once must not come again as something new.
    neighbourhood.read_all(2).await.unwrap();
    let found = neighbourhood.disagreements().await.unwrap();
    assert!(found.is_empty(), "{}", found.join("\n"));
    neighbourhood.stop().await.unwrap();
}

async fn plays_again(meters: &[Again]) {
    let cases: Vec<Case> = meters.iter().map(|again| again.case.clone()).collect();
    let mut neighbourhood = Neighbourhood::start(&cases).await.unwrap();
    neighbourhood.read_all(1).await.unwrap();
    let found = neighbourhood.disagreements().await.unwrap();
    assert!(found.is_empty(), "at first: {}", found.join("\n"));
    for again in meters {
        let name = again.case.name();
        neighbourhood.measure(&name, again.times).await.unwrap();
        neighbourhood.expect(&name, again.seen, again.aside).unwrap();
    }
    neighbourhood.read_all(1).await.unwrap();
    let found = neighbourhood.disagreements().await.unwrap();
    assert!(found.is_empty(), "then: {}", found.join("\n"));
    for again in meters {
        let unseen = neighbourhood.unseen(&again.case.name()).await.unwrap();
        assert!(unseen.is_empty(), "{}: {unseen:#?}", again.case.name());
    }
    neighbourhood.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_measured_after_a_meter_was_read_arrives_once_and_nothing_else_does() {
    plays_again(AGAIN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_measurement_under_the_number_of_a_phantom_arrives() {
    plays_again(AFTER_A_PHANTOM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn meters_that_are_hard_to_hear_or_hang_up() {
    plays(RADIO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn backlogs_of_every_length_and_manner() {
    plays(BACKLOG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_are_wrong() {
    plays(CLOCK).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_that_mislead() {
    plays(NUMBERS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_wrong() {
    plays(PAYLOAD).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn control_points_that_misbehave() {
    plays(RACP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn meters_that_say_little_about_themselves() {
    plays(NAMES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn makes_that_want_a_key_give_nothing_before_they_have_one() {
    plays(UNPAIRED_MAKES).await;
}

#[test]
fn every_profile_is_played_against_the_real_programs() {
    let played: BTreeSet<&str> = [RADIO, BACKLOG, CLOCK, NUMBERS, PAYLOAD, RACP, NAMES, UNPAIRED_MAKES]
        .into_iter()
        .flatten()
        .map(|case| case.profile)
        .chain(bonds::played())
        .chain(host::played())
        .chain(refusals::PLAYED.iter().copied())
        .collect();
    let known: BTreeSet<&str> = catalogue().map(|profile| profile.name).collect();
    let missing: Vec<&&str> = known.difference(&played).collect();
    assert!(missing.is_empty(), "without a row: {missing:?}");
    let unknown: Vec<&&str> = played.difference(&known).collect();
    assert!(unknown.is_empty(), "not in the catalogue: {unknown:?}");
    // What is demanded of a bond is played with one, and not only without.
    let with_bond: BTreeSet<&str> = bonds::played().chain(refusals::PLAYED.iter().copied()).collect();
    let keyless: Vec<&str> = catalogue()
        .filter(|profile| profile.security.is_some())
        .map(|profile| profile.name)
        .filter(|name| !with_bond.contains(name))
        .collect();
    assert!(keyless.is_empty(), "never paired: {keyless:?}");
}
