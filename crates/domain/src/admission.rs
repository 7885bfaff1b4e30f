//! The server's gate for one reading: whether it may be stored for the member it is claimed for.
//!
//! A gateway has asked the same questions with its last copy of the facts; the server asks again with its own.

use carepost_gatt::{glucose, uuid16};
use chrono::{DateTime, Datelike as _, Utc};
use chrono_tz::Tz;

use crate::attribution::by_binding;
use crate::consent::{Grant, Purpose, Refusal, gate};
use crate::id::StoreId;
use crate::meter::{Binding, Meter, MeterRole};
use crate::quarantine::Reason;
use crate::quirks::{DecodeQuirks, QuirkId, QuirkTable};
use crate::reading::{Attribution, Place, Reading, are_flags_of};
use crate::record::{Packet, Record, decode};
use crate::time::{FUTURE_TOLERANCE, MeterTime, TimeQuality, local_to_utc};

/// What the server knows about the people and things that a reading names.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The store of the gateway that sent it.
    pub gateway_store: StoreId,
    /// That store's zone.
    pub zone: Tz,
    /// Whether the member exists.
    pub member_known: bool,
    /// The meter, if it is registered.
    pub meter: Option<&'a Meter>,
    /// Bindings of that meter.
    pub bindings: &'a [Binding],
    /// Grants of that member.
    pub grants: &'a [Grant],
}

/// Why a reading is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Consent was or is absent; nobody keeps it.
    NoConsent(Refusal),
    /// It cannot be used; the gateway keeps it in quarantine.
    Unusable(Reason),
}

/// Decides whether `reading` may be stored at `now`. `nonce` is the random number that travelled with it.
///
/// Consent is asked first, so that nothing of a person without consent is kept for another reason.
///
/// # Errors
/// [`Refused`] with the first reason that applies.
pub fn admit(reading: &Reading, nonce: u64, facts: Facts<'_>, now: DateTime<Utc>) -> Result<(), Refused> {
    if !facts.member_known {
        return Err(Refused::Unusable(Reason::UnknownMember));
    }
    gate(facts.grants, reading.member, Purpose::CareRecord, reading.time.at, now).map_err(Refused::NoConsent)?;
    let meter = facts.meter.ok_or(Refused::Unusable(Reason::UnknownMeter))?;
    usable(reading, nonce, meter, facts, now).map_err(Refused::Unusable)
}

fn usable(reading: &Reading, nonce: u64, meter: &Meter, facts: Facts<'_>, now: DateTime<Utc>) -> Result<(), Reason> {
    // Nothing was measured before 1970 (page 4, "Reading id"), and a year of more than four digits is no time of a gateway.
    let sane = |at: DateTime<Utc>| (1970..=9999).contains(&at.year());
    if !sane(reading.time.at) || !sane(reading.captured_at) {
        return Err(Reason::TimeImpossible);
    }
    let record = decode(&packet(reading, nonce, quirks_of(reading.quirk.as_ref(), meter)?))?;
    follows_from_bytes(reading, &record)?;
    context_belongs(reading)?;
    if reading.quirk.is_none() {
        same_by_the_registered_entry(reading, nonce, meter)?;
    }
    time_follows(reading, &record, facts.zone)?;
    if reading.measurement.meter_kind() != meter.kind {
        return Err(Reason::Inconsistent);
    }
    if reading.time.at > now + FUTURE_TOLERANCE {
        return Err(Reason::TimeInFuture);
    }
    // A gateway speaks for the meters of its own store only, whoever holds its key.
    if meter.store != facts.gateway_store {
        return Err(Reason::NotAttributable);
    }
    let plausible = match reading.attribution {
        Attribution::Binding { binding } => {
            let found = by_binding(facts.bindings, meter, record.user_slot, reading.time.at)?;
            meter.role == MeterRole::Personal
                && reading.place == Place::Home
                && found.id == binding
                && found.member == reading.member
        }
        // The sitting itself is known to the kiosk only.
        Attribution::Sitting { .. } => meter.role == MeterRole::StoreShared && reading.place == Place::Store,
    };
    if plausible {
        Ok(())
    } else {
        Err(Reason::NotAttributable)
    }
}

fn packet(reading: &Reading, nonce: u64, quirks: DecodeQuirks) -> Packet<'_> {
    Packet {
        meter: reading.meter,
        characteristic: reading.characteristic,
        raw: &reading.raw,
        context_raw: reading.context_raw.as_deref(),
        received_at: reading.captured_at,
        nonce,
        quirks,
    }
}

/// What the entry that the gateway names changes in the meaning of the bytes.
fn quirks_of(named: Option<&QuirkId>, meter: &Meter) -> Result<DecodeQuirks, Reason> {
    let Some(id) = named else {
        return Ok(DecodeQuirks::NONE);
    };
    let quirk = QuirkTable::current().by_id(id).ok_or(Reason::QuirkUnknown)?;
    if quirk.is_for(meter) {
        Ok(quirk.decode)
    } else {
        Err(Reason::QuirkMismatch)
    }
}

/// A gateway that names no entry may have an older table, or an older registration, than the server. What is no measurement
/// by the registered model's entry is then none, and what is another one is not guessed at.
fn same_by_the_registered_entry(reading: &Reading, nonce: u64, meter: &Meter) -> Result<(), Reason> {
    let Some(quirk) = QuirkTable::current().for_bytes_of(meter) else {
        return Ok(());
    };
    let judged = decode(&packet(reading, nonce, quirk.decode))?.judged?;
    let same = reading.measurement == judged.measurement && are_flags_of(&reading.flags, &judged.flags);
    if same { Ok(()) } else { Err(Reason::QuirkMismatch) }
}

/// A context is kept with the glucose record that it came with: with its own by number, or, where nobody can read it, with
/// the newest before it.
fn context_belongs(reading: &Reading) -> Result<(), Reason> {
    let Some(context) = &reading.context_raw else {
        return Ok(());
    };
    let belongs = reading.characteristic == uuid16::GLUCOSE_MEASUREMENT
        && glucose::Measurement::decode(&reading.raw).is_ok_and(|record| {
            glucose::Context::decode(context).map_or(true, |context| context.value.sequence == record.value.sequence)
        });
    if belongs { Ok(()) } else { Err(Reason::Inconsistent) }
}

fn follows_from_bytes(reading: &Reading, record: &Record) -> Result<(), Reason> {
    let judged = record.judged.as_ref().map_err(|reason| *reason)?;
    let same = reading.id == record.id
        && reading.measurement == judged.measurement
        && are_flags_of(&reading.flags, &judged.flags)
        && (record.slot.is_none() || reading.slot == record.slot);
    if same { Ok(()) } else { Err(Reason::Inconsistent) }
}

fn time_follows(reading: &Reading, record: &Record, zone: Tz) -> Result<(), Reason> {
    let time = &reading.time;
    let same = match (time.quality, record.meter_time) {
        (TimeQuality::ReceivedTimeUsed, _) => time.at == reading.captured_at,
        (_, MeterTime::Local { local, .. }) => {
            let correction = chrono::TimeDelta::try_seconds(time.correction_s).ok_or(Reason::TimeImpossible)?;
            time.meter_local == Some(local) && local_to_utc(local, zone).checked_add_signed(correction) == Some(time.at)
        }
        _ => false,
    };
    if same { Ok(()) } else { Err(Reason::Inconsistent) }
}

#[cfg(test)]
mod tests;
