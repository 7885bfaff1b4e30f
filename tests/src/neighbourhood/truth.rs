//! What the records of a simulated meter really are, whatever their bytes on air say: when each was measured, and what it says.

use anyhow::Context as _;
use carepost_domain::id::MeterId;
use carepost_domain::quirks::DecodeQuirks;
use carepost_domain::record::{Packet, decode};
use carepost_gatt::uuid16;
use carepost_sim::ledger::LedgerEntry;
use carepost_sim::meters::Fault;
use carepost_sim::profiles::find;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::Case;

/// Age of the newest generated record, in minutes.
pub(super) const NEWEST_MINUTES_AGO: u32 = 45;
/// Minutes between generated records.
pub(super) const SPACING_MINUTES: u32 = 330;
/// The same of the records that a profile brings.
const BACKLOG_NEWEST_MINUTES_AGO: u32 = 60;
const BACKLOG_SPACING_MINUTES: u32 = 360;

/// How far a reading's instant may be off: the seconds that a start takes, and that a drifting clock gains in hours.
const TOLERANCE: TimeDelta = TimeDelta::minutes(2);

/// Faults of one meter that are told in full.
const TOLD: usize = 3;

/// How many minutes before they were put into the meter its first records were measured, in the order of the ledger.
pub(super) fn ages(case: &Case) -> Vec<u32> {
    let faults = find(case.profile).map_or(&[] as &[Fault], |profile| profile.faults);
    let backlog = faults.iter().find_map(|fault| match fault {
        Fault::Backlog(count) => Some(*count),
        _ => None,
    });
    let copies = if faults.contains(&Fault::Twins) { 2 } else { 1 };
    let brought = run(
        backlog.unwrap_or(0),
        BACKLOG_NEWEST_MINUTES_AGO,
        BACKLOG_SPACING_MINUTES,
    );
    brought
        .chain(run(case.stored, NEWEST_MINUTES_AGO, SPACING_MINUTES))
        .flat_map(|age| std::iter::repeat_n(age, copies))
        .collect()
}

/// Ages of so many records, oldest first.
pub(super) fn run(count: usize, newest_minutes_ago: u32, spacing_minutes: u32) -> impl Iterator<Item = u32> {
    (0..count).rev().map(move |newer| {
        let newer = u32::try_from(newer).unwrap_or(u32::MAX);
        newest_minutes_ago.saturating_add(newer.saturating_mul(spacing_minutes))
    })
}

/// What the meter stored, as the server should show it: the decoder is asked about the bytes as they were before any fault.
fn meant(case: &Case, entry: &LedgerEntry) -> anyhow::Result<Value> {
    let context = entry.context_hex.as_ref().filter(|_| case.contexts);
    let context = context.map(hex::decode).transpose().context("a context in hex")?;
    let record = decode(&Packet {
        meter: "018f3c5e-0000-7000-8000-000000000001".parse::<MeterId>()?,
        characteristic: match case.kind {
            "glucose" => uuid16::GLUCOSE_MEASUREMENT,
            _ => uuid16::BLOOD_PRESSURE_MEASUREMENT,
        },
        raw: &hex::decode(&entry.hex).context("a record in hex")?,
        context_raw: context.as_deref(),
        received_at: DateTime::UNIX_EPOCH,
        nonce: 0,
        quirks: DecodeQuirks::NONE,
    });
    let record = record.map_err(|reason| anyhow::anyhow!("entry {} as stored: {reason:?}", entry.entry))?;
    let judged = record.judged.as_ref().ok();
    let mut meant = json!({
        "measurement": judged.map(|judged| &judged.measurement),
        "flags": judged.map(|judged| &judged.flags),
        "slot": record.slot,
    });
    if let Some(means) = case.means {
        means(entry, &mut meant);
    }
    Ok(meant)
}

/// When the record of an entry was measured, by a clock that is right.
fn measured_at(ages: &[u32], at: usize, entry: &LedgerEntry, started: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let made = TimeDelta::milliseconds(i64::try_from(entry.made_at_ms).ok()?);
    let age = TimeDelta::minutes(i64::from(*ages.get(at)?));
    started.checked_add_signed(made)?.checked_sub_signed(age)
}

/// The position in the ledger of the record that a reading is of.
fn position(reading: &Value, ledger: &[LedgerEntry]) -> Option<usize> {
    let raw = reading["raw"].as_str()?;
    ledger.iter().position(|entry| {
        let went = entry.altered_hex.as_ref().unwrap_or(&entry.hex);
        went.eq_ignore_ascii_case(raw)
    })
}

/// Which readings are of another instant, or say something else, than what was measured. Readings of no record are told
/// elsewhere.
///
/// # Errors
/// When the ledger holds what the decoder cannot read.
pub(super) fn faults(
    case: &Case,
    ages: &[u32],
    started: DateTime<Utc>,
    readings: &[Value],
    ledger: &[LedgerEntry],
) -> anyhow::Result<Vec<String>> {
    if ages.len() != ledger.len() {
        return Ok(vec![format!(
            "{} records were measured, and the ledger has {}",
            ages.len(),
            ledger.len()
        )]);
    }
    let mut found = Vec::new();
    for reading in readings {
        let Some(at) = position(reading, ledger) else { continue };
        let entry = ledger.get(at).context("an entry")?;
        let shift = TimeDelta::minutes(case.shifts.get(at).copied().unwrap_or(0));
        let expected = measured_at(ages, at, entry, started).context("an instant")? + shift;
        let shown: DateTime<Utc> = super::text(reading, "measured_at")?.parse()?;
        if (shown - expected).abs() > TOLERANCE {
            let quality = &reading["time"]["quality"];
            found.push(format!(
                "entry {}: at {shown} ({quality}) and not {expected}",
                entry.entry
            ));
        }
        let says = json!({"measurement": reading["measurement"], "flags": reading["flags"], "slot": reading["slot"]});
        let meant = meant(case, entry)?;
        if says != meant {
            found.push(format!("entry {}: says {says} and not {meant}", entry.entry));
        }
    }
    let more = found.len().saturating_sub(TOLD);
    found.truncate(TOLD);
    if more > 0 {
        found.push(format!("and {more} more"));
    }
    Ok(found)
}
