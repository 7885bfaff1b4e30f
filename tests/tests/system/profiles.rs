//! Every fault profile of the simulator against the real programs: what the meter's owner sees, what the gateway keeps aside
//! and why, and that both agree with the ledger.

use std::collections::BTreeSet;

use carepost_sim::profiles::catalogue;
use system_tests::neighbourhood::{Case, Neighbourhood};

use super::{bonds, host, refusals};

const CLOCK_READ: &str = "clock_service = \"current_time\"";

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
    // The newest record is asked for first, to see whether anything is new: a link that never lives longer brings nothing else.
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
    // The newest is 45 minutes old and was put an hour ahead.
    Case::some("clock-dst", "cuff", 4, &[("time_in_future", 1)]),
    Case::some("clock-phantom-2037", "glucose", 450, &[("time_in_future", 1)]).storing(0),
    // In every month of the year in which this runs: the meter believes that it is January.
    Case::some("clock-january-13", "glucose", 0, &[("time_impossible", 5)]).with("clock = \"2026-01-15T12:00:00\""),
    Case::all("clock-set-mid-history", "glucose"),
    Case::all("offset-overrun", "glucose").dated("offset_missing"),
    Case::all("offset-underrun", "glucose").dated("offset_missing"),
];

/// Slots and sequence numbers.
const NUMBERS: &[Case] = &[
    Case::all("sequence-from-0", "glucose"),
    Case::all("sequence-wraps", "glucose"),
    Case::all("sequence-gaps", "glucose"),
    Case::all("newest-first", "glucose"),
    Case::all("newer-number-older-time", "glucose"),
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
    Case::all("payload-unknown-codes", "glucose"),
    Case::some("payload-filler", "cuff", 0, &[("implausible", 5)]),
    Case::some("payload-vendor-prefix", "cuff", 0, &[("implausible", 5)]),
    Case::some("payload-wrong-unit", "cuff", 0, &[("implausible", 5)]),
    // 100 mg/dL under the flag of mol/L reads as 1.0 mmol/L, which a person can have: nobody can tell from the bytes.
    Case::all("payload-wrong-unit", "glucose"),
    // Of five records two have it in the mean pressure or the pulse, without which they are readings all the same.
    Case::some("payload-nan", "cuff", 2, &[("measurement_error", 3)]),
    Case::some("payload-inf", "cuff", 2, &[("measurement_error", 3)]),
    // Below the range: shown as LO, and never as a number.
    Case::all("payload-negative-inf", "glucose"),
    Case::some("payload-nres", "glucose", 0, &[("measurement_error", 5)]),
    Case::some("payload-reserved", "cuff", 2, &[("measurement_error", 3)]),
    Case::some("payload-big-endian-tail", "cuff", 0, &[("byte_order_suspected", 5)]),
    Case::some("payload-pressures-swapped", "cuff", 0, &[("implausible", 5)]),
    Case::all("payload-zero-pulse", "cuff"),
];

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
];

async fn plays(cases: &[Case]) {
    let mut neighbourhood = Neighbourhood::start(cases).await.unwrap();
    // Twice: what was read once must not come again as something new.
    neighbourhood.read_all(2).await.unwrap();
    let found = neighbourhood.disagreements().await.unwrap();
    assert!(found.is_empty(), "{}", found.join("\n"));
    neighbourhood.stop().await.unwrap();
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
