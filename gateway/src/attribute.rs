//! Whose a packet is, and whether it may be kept: pure decisions (page 4, "Attribution").
//!
//! Packets of shared meters are decided in memory first, because most of them may not be written down at all. Packets of
//! personal meters are spooled first: their owners' consent was asked before the meter was read.

use carepost_contract::v1::WireReading;
use carepost_domain::attribution::{Sitting, by_binding, by_sitting};
use carepost_domain::id::{MemberId, SittingId};
use carepost_domain::meter::{Meter, MeterRole};
use carepost_domain::quarantine::Reason;
use carepost_domain::reading::{Attribution, Place, Reading};
use carepost_domain::record::{Packet, Record, decode};
use carepost_domain::time::{MeasuredTime, TimeEvidence, measured_time};
use carepost_gatt::{glucose, uuid16};
use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;

use crate::down::DownCopy;
use crate::sitting::SittingFacts;
use crate::spool::{Counter, KeptSitting, NewPacket, PendingRow, Settlement};

/// How much later than its receipt a shared meter's record may claim to be measured: clocks of whole minutes.
const AHEAD_OF_RECEIPT: TimeDelta = TimeDelta::seconds(60);

/// What a shared meter's packet is, before anything is written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shared {
    /// It may be kept: it was measured, or seems to have been, in this member's sitting.
    Keep { sitting: SittingId, heard: Option<Heard> },
    /// Measured in an anonymous sitting: shown there and kept nowhere.
    Anonymous { sitting: SittingId, heard: Heard },
    /// Measured in the sitting of somebody without consent: shown there and kept nowhere, unless they ask for it.
    NoConsent { sitting: SittingId, heard: Heard },
    /// As the two above, but the meter has no clock: only if nothing else comes over the link.
    AtLinkEnd(Box<Shared>),
    /// Measured outside every sitting: counted.
    Outside,
    /// No record, and not on the link of a consenting member: counted.
    Undecodable,
}

/// A record as it can be shown.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Heard {
    pub(crate) record: Record,
    pub(crate) measured_at: DateTime<Utc>,
}

/// What is known beside the packet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SharedFacts<'a> {
    pub(crate) sittings: &'a [SittingFacts],
    pub(crate) copy: &'a DownCopy,
    pub(crate) zone: Tz,
    /// When the link stood.
    pub(crate) opened_at: DateTime<Utc>,
    /// No other record came over the link before.
    pub(crate) first_on_link: bool,
    pub(crate) now: DateTime<Utc>,
}

fn as_packet<'a>(packet: &'a NewPacket, context_raw: Option<&'a [u8]>) -> Packet<'a> {
    Packet {
        meter: packet.meter,
        characteristic: packet.characteristic,
        raw: &packet.raw,
        context_raw,
        received_at: packet.received_at,
        nonce: packet.nonce,
    }
}

fn evidence(packet: &NewPacket, record: &Record, live_single: bool, zone: Tz) -> TimeEvidence {
    TimeEvidence {
        meter_time: record.meter_time,
        // Meters' clocks are not read yet.
        skew: None,
        received_at: packet.received_at,
        clock_trusted: packet.clock_trusted,
        live_single,
        zone,
    }
}

/// Whether a record without a usable clock can count as measured just now at all: glucose records are fetched from the
/// meter's memory, so that one that comes alone may still be old.
fn sends_at_once(packet: &NewPacket) -> bool {
    packet.characteristic == uuid16::BLOOD_PRESSURE_MEASUREMENT
}

/// Whether consent permits to keep a packet of which only the receipt is known. The hands of a clock that is not believed
/// say nothing about it, so that then only the present counts.
fn may_keep(copy: &DownCopy, member: MemberId, packet: &NewPacket, now: DateTime<Utc>) -> bool {
    if packet.clock_trusted {
        copy.permits(member, packet.received_at, now)
    } else {
        copy.consents(member, now)
    }
}

/// Whether a meter's time is later than the receipt can explain. What a clock that is not believed says cannot tell.
fn is_ahead(packet: &NewPacket, measured_at: DateTime<Utc>) -> bool {
    packet.clock_trusted && measured_at > packet.received_at + AHEAD_OF_RECEIPT
}

/// Decides about a shared meter's packet when it comes.
pub(crate) fn shared(packet: &NewPacket, facts: SharedFacts<'_>) -> Shared {
    let Ok(record) = decode(&as_packet(packet, None)) else {
        return consenting_link(packet, facts)
            .map_or(Shared::Undecodable, |sitting| Shared::Keep { sitting, heard: None });
    };
    let aside =
        || consenting_link(packet, facts).map_or(Shared::Outside, |sitting| Shared::Keep { sitting, heard: None });
    match measured_time(&evidence(packet, &record, false, facts.zone)) {
        Ok(time) if is_ahead(packet, time.at) => aside(),
        Ok(time) => {
            let heard = Heard {
                record,
                measured_at: time.at,
            };
            // The times of sittings and of meters can be compared only if both clocks can be believed.
            let timed = |sitting: &SittingFacts| packet.clock_trusted && sitting.clock_trusted;
            if let Some(sitting) = find(facts.sittings, timed, Some(time.at), packet.received_at, false) {
                return in_sitting(sitting, heard, facts);
            }
            by_link(packet, heard, |sitting| !timed(sitting), facts)
        }
        Err(Reason::TimeUnknown) if sends_at_once(packet) => {
            let heard = Heard {
                record,
                measured_at: packet.received_at,
            };
            by_link(packet, heard, |_| true, facts)
        }
        Err(_) => aside(),
    }
}

/// Without times, only the link tells: the first record that came over a link opened after the identification, of a meter
/// that measures and sends at once, is of that sitting if nothing else comes.
fn by_link(
    packet: &NewPacket,
    heard: Heard,
    considered: impl Fn(&SittingFacts) -> bool,
    facts: SharedFacts<'_>,
) -> Shared {
    let opened_after = |sitting: &SittingFacts| facts.opened_at >= sitting.identified_at;
    let found = find(
        facts.sittings,
        considered,
        None,
        packet.received_at,
        facts.first_on_link,
    );
    let Some(sitting) = found.filter(|sitting| sends_at_once(packet) && opened_after(sitting)) else {
        return Shared::Outside;
    };
    match in_sitting(sitting, heard, facts) {
        // Written down at once; settled when the link is over and nothing else came.
        Shared::Keep { sitting, .. } => Shared::Keep { sitting, heard: None },
        other => Shared::AtLinkEnd(Box::new(other)),
    }
}

fn in_sitting(sitting: &SittingFacts, heard: Heard, facts: SharedFacts<'_>) -> Shared {
    let id = sitting.sitting.id;
    match sitting.sitting.member {
        None => Shared::Anonymous { sitting: id, heard },
        Some(member) if facts.copy.permits(member, heard.measured_at, facts.now) => Shared::Keep {
            sitting: id,
            heard: Some(heard),
        },
        Some(_) if sitting.keep_sealed => Shared::Keep {
            sitting: id,
            heard: Some(heard),
        },
        Some(_) => Shared::NoConsent { sitting: id, heard },
    }
}

/// The sitting of a consenting member after whose identification the link was opened, and which goes on at receipt: what
/// comes over such a link can only be theirs or the meter's own nonsense, and may be kept aside.
fn consenting_link(packet: &NewPacket, facts: SharedFacts<'_>) -> Option<SittingId> {
    let sitting = find(facts.sittings, |_| true, None, packet.received_at, true)?;
    let member = sitting.sitting.member?;
    let theirs = facts.opened_at >= sitting.identified_at && may_keep(facts.copy, member, packet, facts.now);
    theirs.then_some(sitting.sitting.id)
}

fn find(
    sittings: &[SittingFacts],
    considered: impl Fn(&SittingFacts) -> bool,
    measured_at: Option<DateTime<Utc>>,
    received_at: DateTime<Utc>,
    live: bool,
) -> Option<&SittingFacts> {
    let at = measured_at.unwrap_or(received_at);
    // Only those that cover the instant can be the answer, and there are thousands of others.
    let covering: Vec<&SittingFacts> = sittings
        .iter()
        .filter(|facts| facts.sitting.covers(at) && considered(facts))
        .collect();
    let plain: Vec<Sitting> = covering.iter().map(|facts| facts.sitting.clone()).collect();
    let found = by_sitting(&plain, measured_at, received_at, live)?.id;
    covering.into_iter().find(|facts| facts.sitting.id == found)
}

/// What becomes of a spooled packet.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Decision {
    /// Something that it depends on is still to come over its link.
    Wait,
    /// This, with what can be shown of it.
    Settle {
        settlement: Settlement,
        heard: Option<Heard>,
    },
}

impl Decision {
    fn settle(settlement: Settlement, heard: Option<Heard>) -> Self {
        Self::Settle { settlement, heard }
    }

    fn quarantine(reason: Reason, member: Option<MemberId>, heard: Option<Heard>) -> Self {
        Self::settle(Settlement::Quarantine { reason, member }, heard)
    }

    fn forget(counter: Counter) -> Self {
        Self::settle(Settlement::Forget(counter), None)
    }
}

/// Decides about a spooled packet. `sitting` is the one that its row names, if it names one.
pub(crate) fn settlement(
    row: &PendingRow,
    sitting: Option<&KeptSitting>,
    copy: &DownCopy,
    now: DateTime<Utc>,
) -> Decision {
    if awaits_context(row) {
        return Decision::Wait;
    }
    let Some(meter) = copy.meter(row.packet.meter) else {
        return Decision::quarantine(Reason::NobodyBound, None, None);
    };
    // A meter is known only from a snapshot, which brings the zone too.
    let Some(zone) = copy.zone() else { return Decision::Wait };
    match (row.packet.sitting, sitting, meter.role) {
        (None, _, MeterRole::Personal) => personal(row, meter, copy, zone, now),
        (Some(_), Some(sitting), _) => seated(row, sitting, copy, zone, now),
        // The sitting is gone, or the meter was shared when the packet came and is not now, or the reverse.
        (Some(_), None, _) | (None, _, MeterRole::StoreShared) => Decision::forget(Counter::OutsideSitting),
    }
}

/// A glucose measurement whose context was announced and may still come.
fn awaits_context(row: &PendingRow) -> bool {
    row.packet.characteristic == uuid16::GLUCOSE_MEASUREMENT
        && row.context_raw.is_none()
        && !row.followed
        && !row.link.closed
        && glucose::Measurement::decode(&row.packet.raw).is_ok_and(|decoded| decoded.value.context_follows)
}

/// The measured time of a spooled record, once it can be known.
enum Timed {
    /// Only the end of the link shows whether the record came alone.
    NotYet,
    /// More than one record came or may have come, and this one has no usable clock.
    Backlog,
    Known(Result<MeasuredTime, Reason>),
}

/// Whether the record came alone over its link, once that is over. Of a link that was interrupted, nobody knows what else
/// would have come.
fn alone(row: &PendingRow) -> Option<bool> {
    row.link.closed.then_some(row.link.records <= 1 && !row.link.unclean)
}

fn time_of(row: &PendingRow, record: &Record, zone: Tz) -> Timed {
    let packet = &row.packet;
    match measured_time(&evidence(packet, record, false, zone)) {
        Err(Reason::TimeUnknown) if sends_at_once(packet) => match alone(row) {
            None => Timed::NotYet,
            Some(true) => Timed::Known(measured_time(&evidence(packet, record, true, zone))),
            Some(false) => Timed::Backlog,
        },
        known => Timed::Known(known),
    }
}

/// Of a record that is no measurement and has no time, the first is the reason: no dating by hand would make it a reading.
fn truest(record: &Record, of_time: Reason) -> Reason {
    record.judged.as_ref().err().copied().unwrap_or(of_time)
}

fn seated(row: &PendingRow, sitting: &KeptSitting, copy: &DownCopy, zone: Tz, now: DateTime<Utc>) -> Decision {
    let packet = &row.packet;
    let member = sitting.member;
    let aside = |reason, heard| {
        if may_keep(copy, member, packet, now) {
            Decision::quarantine(reason, Some(member), heard)
        } else {
            Decision::forget(Counter::NoConsent)
        }
    };
    let Ok(record) = decode(&as_packet(packet, row.context_raw.as_deref())) else {
        return aside(Reason::Undecodable, None);
    };
    let time = match time_of(row, &record, zone) {
        Timed::NotYet => return Decision::Wait,
        Timed::Backlog => return Decision::forget(Counter::OutsideSitting),
        Timed::Known(Err(reason)) => return aside(truest(&record, reason), None),
        Timed::Known(Ok(time)) if is_ahead(packet, time.at) => {
            return aside(truest(&record, Reason::TimeInFuture), None);
        }
        Timed::Known(Ok(time)) => time,
    };
    // Then it is of this sitting by its link only.
    if !(packet.clock_trusted && sitting.clock_trusted) {
        match alone(row) {
            None => return Decision::Wait,
            Some(true) => {}
            Some(false) => return Decision::forget(Counter::OutsideSitting),
        }
    }
    let heard = Heard {
        record,
        measured_at: time.at,
    };
    let permitted = copy.permits(member, time.at, now);
    let judged = match &heard.record.judged {
        Ok(judged) => judged,
        Err(reason) if permitted => return Decision::quarantine(*reason, Some(member), Some(heard)),
        Err(_) => return Decision::forget(Counter::NoConsent),
    };
    let attribution = Attribution::Sitting { sitting: sitting.id };
    let reading = reading(row, &heard.record, judged, time, member, attribution, Place::Store);
    if permitted {
        Decision::settle(Settlement::Outbox(reading), Some(heard))
    } else if sitting.keep_sealed {
        Decision::settle(Settlement::Sealed(reading), Some(heard))
    } else {
        Decision::forget(Counter::NoConsent)
    }
}

fn personal(row: &PendingRow, meter: &Meter, copy: &DownCopy, zone: Tz, now: DateTime<Utc>) -> Decision {
    let packet = &row.packet;
    let bindings = copy.bindings_of(meter.id);
    let Ok(record) = decode(&as_packet(packet, row.context_raw.as_deref())) else {
        return unusable(
            copy,
            sole_owner(meter, bindings, packet.received_at),
            Reason::Undecodable,
            packet,
            now,
        );
    };
    let time = match time_of(row, &record, zone) {
        Timed::NotYet => return Decision::Wait,
        Timed::Backlog => Err(Reason::TimeUnknown),
        Timed::Known(time) => time,
    };
    let time = match time {
        Ok(time) => time,
        Err(reason) => {
            let owner = by_binding(bindings, meter, record.user_slot, packet.received_at)
                .ok()
                .map(|binding| binding.member);
            return unusable(copy, owner, truest(&record, reason), packet, now);
        }
    };
    let binding = match by_binding(bindings, meter, record.user_slot, time.at) {
        Ok(binding) => binding,
        Err(reason) => return Decision::quarantine(reason, None, None),
    };
    // Consent is asked before anything else is found wrong with the record, so that nothing of a person without consent
    // is kept for another reason.
    if !copy.permits(binding.member, time.at, now) {
        return Decision::forget(Counter::NoConsent);
    }
    let heard = Heard {
        record,
        measured_at: time.at,
    };
    match &heard.record.judged {
        Err(reason) => Decision::quarantine(*reason, Some(binding.member), Some(heard)),
        Ok(judged) => {
            let attribution = Attribution::Binding { binding: binding.id };
            let reading = reading(
                row,
                &heard.record,
                judged,
                time,
                binding.member,
                attribution,
                Place::Home,
            );
            Decision::settle(Settlement::Outbox(reading), Some(heard))
        }
    }
}

/// The owner of a single-user meter at an instant.
fn sole_owner(meter: &Meter, bindings: &[carepost_domain::meter::Binding], at: DateTime<Utc>) -> Option<MemberId> {
    if meter.multi_user {
        return None;
    }
    by_binding(bindings, meter, None, at).ok().map(|binding| binding.member)
}

/// A personal meter's packet that is no reading: kept aside, unless it is known to be of somebody without consent.
fn unusable(
    copy: &DownCopy,
    owner: Option<MemberId>,
    reason: Reason,
    packet: &NewPacket,
    now: DateTime<Utc>,
) -> Decision {
    match owner {
        Some(member) if !may_keep(copy, member, packet, now) => Decision::forget(Counter::NoConsent),
        owner => Decision::quarantine(reason, owner, None),
    }
}

fn reading(
    row: &PendingRow,
    record: &Record,
    judged: &carepost_domain::reading::Judged,
    time: MeasuredTime,
    member: MemberId,
    attribution: Attribution,
    place: Place,
) -> Box<WireReading> {
    let packet = &row.packet;
    let reading = Reading {
        id: record.id,
        member,
        meter: packet.meter,
        attribution,
        place,
        time,
        captured_at: packet.received_at,
        measurement: judged.measurement.clone(),
        flags: judged.flags.clone(),
        slot: record.slot,
        characteristic: packet.characteristic,
        raw: packet.raw.clone(),
        context_raw: row.context_raw.clone(),
    };
    Box::new(WireReading::from_reading(reading, packet.nonce))
}

#[cfg(test)]
mod tests;
