//! Whose a packet is, and whether it may be kept: pure decisions (page 4, "Attribution").
//!
//! Packets of shared meters are decided in memory first, because most of them may not be written down at all. Packets of
//! personal meters are spooled first: their owners' consent was asked before the meter was read.

use std::time::Duration;

use carepost_contract::v1::WireReading;
use carepost_domain::attribution::{Sitting, by_binding, by_sitting};
use carepost_domain::id::{MemberId, SittingId};
use carepost_domain::meter::{Binding, Meter, MeterRole};
use carepost_domain::quarantine::Reason;
use carepost_domain::quirks::{DecodeQuirks, Quirk};
use carepost_domain::reading::{Attribution, Place, Reading};
use carepost_domain::record::{Packet, Record, decode};
use carepost_domain::time::{MeasuredTime, TimeEvidence, TimeQuality, measured_time};
use carepost_gatt::blood_pressure::Feature;
use carepost_gatt::{glucose, uuid16};
use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;

use crate::down::DownCopy;
use crate::sitting::SittingFacts;
use crate::spool::{Counter, KeptSitting, LinkClock, Looks, NewPacket, PendingRow, Settlement};

/// How much later than its receipt a shared meter's record may claim to be measured: clocks of whole minutes.
const AHEAD_OF_RECEIPT: TimeDelta = TimeDelta::seconds(60);

/// How long a glucose measurement waits for a context that an interrupted link cut off: the meter is read again within
/// this, or staff see the reading without its meal. An urgent value can wait no longer.
const CONTEXT_PATIENCE: TimeDelta = TimeDelta::minutes(5);

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
    /// When the link stood, by the monotonic clock.
    pub(crate) opened: Duration,
    /// When the packet was heard, by the same.
    pub(crate) heard: Duration,
    /// What is known of the meter's clock.
    pub(crate) looks: Looks,
    /// A cuff's features, if they were read.
    pub(crate) feature: Option<Feature>,
    /// No other record came over the link before.
    pub(crate) first_on_link: bool,
    pub(crate) now: DateTime<Utc>,
}

/// What a packet says, by the model's entry and what the meter declares.
fn read(
    packet: &NewPacket,
    context_raw: Option<&[u8]>,
    quirk: Option<&Quirk>,
    feature: Option<Feature>,
) -> Result<Record, Reason> {
    let record = decode(&Packet {
        meter: packet.meter,
        characteristic: packet.characteristic,
        raw: &packet.raw,
        context_raw,
        received_at: packet.received_at,
        nonce: packet.nonce,
        quirks: quirk.map_or(DecodeQuirks::NONE, |quirk| quirk.decode),
    })?;
    // Nobody knows in which order a cuff sends its features that sends its status in the wrong one.
    let feature = feature.filter(|_| !quirk.is_some_and(|quirk| quirk.decode.big_endian_tail));
    Ok(Record {
        judged: record.judged.map(|judged| judged.as_declared(feature)),
        ..record
    })
}

fn evidence(packet: &NewPacket, record: &Record, live_single: bool, zone: Tz, looks: Looks) -> TimeEvidence {
    let correction = looks.correction(record.meter_time, zone);
    TimeEvidence {
        meter_time: record.meter_time,
        skew: correction.map(|correction| correction.skew),
        skew_uncertain: correction.is_some_and(|correction| correction.uncertain),
        received_at: packet.received_at,
        clock_trusted: packet.clock_trusted,
        live_single,
        zone,
    }
}

/// Whether a record without a usable clock can count as measured just now at all: glucose records are fetched from the
/// meter's memory, so that one that comes alone may still be old.
fn sends_at_once(packet: &NewPacket) -> bool {
    packet.characteristic != uuid16::GLUCOSE_MEASUREMENT
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
    let quirk = facts.copy.quirk_of(packet.meter);
    let Ok(record) = read(packet, None, quirk, facts.feature) else {
        return consenting_link(packet, facts)
            .map_or(Shared::Undecodable, |sitting| Shared::Keep { sitting, heard: None });
    };
    let aside =
        || consenting_link(packet, facts).map_or(Shared::Outside, |sitting| Shared::Keep { sitting, heard: None });
    match measured_time(&evidence(packet, &record, false, facts.zone, facts.looks)) {
        Ok(time) if is_ahead(packet, time.at) => aside(),
        Ok(time) => {
            let correction = facts.looks.correction(record.meter_time, facts.zone);
            let certain = correction.is_some_and(|correction| !correction.uncertain);
            let heard = Heard {
                record,
                measured_at: time.at,
            };
            // The times of sittings and of meters can be compared only if both clocks can be believed.
            let timed = |sitting: &SittingFacts| packet.clock_trusted && sitting.clock_trusted;
            if let Some(sitting) = by_time(facts.sittings, timed, time.at) {
                // A clock that nobody has read, or that somebody has set since, may be wrong by as much as lies between two
                // people. Of an earlier run only the sittings of members who consented are known, so that nobody can say
                // who came after them.
                return if !certain && (sitting.here.is_none() || overtaken(sitting, facts)) {
                    Shared::Outside
                } else {
                    let dated = Dated::Meter;
                    in_sitting(sitting, heard, dated, facts)
                };
            }
            by_link(packet, heard, Dated::Meter, |sitting| !timed(sitting), facts)
        }
        Err(Reason::TimeUnknown) if sends_at_once(packet) => {
            let heard = Heard {
                record,
                measured_at: packet.received_at,
            };
            by_link(packet, heard, Dated::of_receipt(packet), |_| true, facts)
        }
        Err(_) => aside(),
    }
}

/// By which clock a record is dated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dated {
    /// The meter's, or the gateway's while that is believed.
    Meter,
    /// The gateway's, which is believed.
    Receipt,
    /// The gateway's, which is not believed: the date says nothing.
    UnsureReceipt,
}

impl Dated {
    fn of_receipt(packet: &NewPacket) -> Self {
        if packet.clock_trusted {
            Self::Receipt
        } else {
            Self::UnsureReceipt
        }
    }

    fn of(time: &MeasuredTime) -> Self {
        match (time.quality, time.gateway_clock_unsure) {
            (TimeQuality::ReceivedTimeUsed, true) => Self::UnsureReceipt,
            (TimeQuality::ReceivedTimeUsed, false) => Self::Receipt,
            _ => Self::Meter,
        }
    }
}

/// Without times, only the link tells: the first record that came over a link opened after the identification, of a meter
/// that measures and sends at once, is of that sitting if nothing else comes.
fn by_link(
    packet: &NewPacket,
    heard: Heard,
    dated: Dated,
    considered: impl Fn(&SittingFacts) -> bool,
    facts: SharedFacts<'_>,
) -> Shared {
    let found = going_on(facts)
        .filter(|sitting| considered(sitting) && sitting.identified_before(facts.opened))
        .filter(|_| facts.first_on_link && sends_at_once(packet));
    let Some(sitting) = found else {
        return Shared::Outside;
    };
    match in_sitting(sitting, heard, dated, facts) {
        // Written down at once; settled when the link is over and nothing else came.
        Shared::Keep { sitting, .. } => Shared::Keep { sitting, heard: None },
        other => Shared::AtLinkEnd(Box::new(other)),
    }
}

fn in_sitting(sitting: &SittingFacts, heard: Heard, dated: Dated, facts: SharedFacts<'_>) -> Shared {
    let id = sitting.sitting.id;
    let permits = |member| match dated {
        Dated::UnsureReceipt => facts.copy.consents(member, facts.now),
        Dated::Meter | Dated::Receipt => facts.copy.permits(member, heard.measured_at, facts.now),
    };
    match sitting.sitting.member {
        None => Shared::Anonymous { sitting: id, heard },
        Some(member) if sitting.keep_sealed || permits(member) => Shared::Keep {
            sitting: id,
            heard: Some(heard),
        },
        Some(_) => Shared::NoConsent { sitting: id, heard },
    }
}

/// The sitting of a consenting member after whose identification the link was opened, and which goes on at receipt: what
/// comes over such a link can only be theirs or the meter's own nonsense, and may be kept aside.
pub(crate) fn consenting_link(packet: &NewPacket, facts: SharedFacts<'_>) -> Option<SittingId> {
    let sitting = going_on(facts)?;
    let member = sitting.sitting.member?;
    let theirs = sitting.identified_before(facts.opened) && may_keep(facts.copy, member, packet, facts.now);
    theirs.then_some(sitting.sitting.id)
}

/// The sitting that goes on when the packet is heard. Sittings of one desk never overlap.
fn going_on(facts: SharedFacts<'_>) -> Option<&SittingFacts> {
    facts.sittings.iter().find(|sitting| sitting.went_on_at(facts.heard))
}

/// Whether somebody was identified after this sitting's person and before the link was opened.
fn overtaken(sitting: &SittingFacts, facts: SharedFacts<'_>) -> bool {
    let later = facts
        .sittings
        .iter()
        .skip_while(|other| other.sitting.id != sitting.sitting.id)
        .skip(1);
    later.into_iter().any(|other| other.identified_before(facts.opened))
}

/// The sitting in which an instant lies.
fn by_time(
    sittings: &[SittingFacts],
    considered: impl Fn(&SittingFacts) -> bool,
    measured_at: DateTime<Utc>,
) -> Option<&SittingFacts> {
    // Only those that cover the instant can be the answer, and there are thousands of others.
    let covering: Vec<&SittingFacts> = sittings
        .iter()
        .filter(|facts| facts.sitting.covers(measured_at) && considered(facts))
        .collect();
    let plain: Vec<Sitting> = covering.iter().map(|facts| facts.sitting.clone()).collect();
    let found = by_sitting(&plain, Some(measured_at), measured_at, false)?.id;
    covering.into_iter().find(|facts| facts.sitting.id == found)
}

/// What becomes of a spooled packet.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Decision {
    /// Something that it depends on is still to come over its link.
    Wait,
    /// What it depends on was cut off with its link, and may come over the meter's next one before this instant.
    WaitUntil(DateTime<Utc>),
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
    // Without the meter's clock, or the certainty that there is none, nobody knows when anything was measured.
    if row.link.looks.now == LinkClock::Pending {
        return Decision::Wait;
    }
    if awaits_context(row) {
        if !row.link.closed {
            return Decision::Wait;
        }
        // A clock that was set meanwhile says nothing about how long the measurement has waited.
        if row.link.unclean && (now - row.packet.received_at).abs() < CONTEXT_PATIENCE {
            return Decision::WaitUntil(row.packet.received_at + CONTEXT_PATIENCE);
        }
    }
    let Some(meter) = copy.meter(row.packet.meter) else {
        return Decision::quarantine(Reason::NobodyBound, None, None);
    };
    // A meter is known only from a snapshot, which brings the zone too.
    let Some(zone) = copy.zone() else { return Decision::Wait };
    match (row.packet.sitting, sitting, meter.role) {
        (None, _, MeterRole::Personal) => personal(row, meter, copy, zone, now),
        (Some(_), Some(sitting), _) => seated(row, meter, sitting, copy, zone, now),
        // The sitting is gone, or the meter was shared when the packet came and is not now, or the reverse.
        (Some(_), None, _) | (None, _, MeterRole::StoreShared) => Decision::forget(Counter::OutsideSitting),
    }
}

/// A glucose measurement whose context was announced and has not come. Some meters send it late, behind other records.
fn awaits_context(row: &PendingRow) -> bool {
    row.packet.characteristic == uuid16::GLUCOSE_MEASUREMENT
        && row.context_raw.is_none()
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
    let looks = row.link.looks;
    match measured_time(&evidence(packet, record, false, zone, looks)) {
        Err(Reason::TimeUnknown) if sends_at_once(packet) => match alone(row) {
            None => Timed::NotYet,
            Some(true) => Timed::Known(measured_time(&evidence(packet, record, true, zone, looks))),
            Some(false) => Timed::Backlog,
        },
        known => Timed::Known(known),
    }
}

/// Of a record that is no measurement and has no time, the first is the reason: no date would make it a reading.
fn truest(record: &Record, of_time: Reason) -> Reason {
    record.judged.as_ref().err().copied().unwrap_or(of_time)
}

/// What consent says about a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Permission {
    /// It permits to keep it.
    Given,
    /// It does not.
    Absent,
    /// The member consents now, and only a clock that is not believed says that the record is older than that: it is kept
    /// aside.
    Undated,
}

fn permission(copy: &DownCopy, member: MemberId, time: &MeasuredTime, now: DateTime<Utc>) -> Permission {
    if copy.permits(member, time.at, now) {
        Permission::Given
    } else if Dated::of(time) == Dated::UnsureReceipt && copy.consents(member, now) {
        Permission::Undated
    } else {
        Permission::Absent
    }
}

fn seated(
    row: &PendingRow,
    meter: &Meter,
    sitting: &KeptSitting,
    copy: &DownCopy,
    zone: Tz,
    now: DateTime<Utc>,
) -> Decision {
    let packet = &row.packet;
    let member = sitting.member;
    let quirk = copy.quirk_of(meter.id);
    let aside = |reason, heard| {
        if may_keep(copy, member, packet, now) {
            Decision::quarantine(reason, Some(member), heard)
        } else {
            Decision::forget(Counter::NoConsent)
        }
    };
    // What says of itself that it was not measured now may be anybody's, unless it is all that the meter had to say.
    let out_of_time = |reason| match alone(row) {
        None => Decision::Wait,
        Some(true) => aside(reason, None),
        Some(false) => Decision::forget(Counter::OutsideSitting),
    };
    let Ok(record) = read(packet, row.context_raw.as_deref(), quirk, row.link.feature) else {
        return aside(Reason::Undecodable, None);
    };
    let time = match time_of(row, &record, zone) {
        Timed::NotYet => return Decision::Wait,
        Timed::Backlog => return Decision::forget(Counter::OutsideSitting),
        Timed::Known(Err(reason)) => return out_of_time(truest(&record, reason)),
        Timed::Known(Ok(time)) if is_ahead(packet, time.at) => {
            return out_of_time(truest(&record, Reason::TimeInFuture));
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
    } else if !sitting.as_sitting().covers(time.at) {
        // Nobody is left who knows the other sittings of that time as they were seen then. A row gets here whose sitting
        // was a guess, or whose link ended before its clock was read.
        return Decision::forget(Counter::OutsideSitting);
    }
    let heard = Heard {
        record,
        measured_at: time.at,
    };
    let permitted = match permission(copy, member, &time, now) {
        Permission::Given => true,
        Permission::Absent => false,
        Permission::Undated => {
            return Decision::quarantine(truest(&heard.record, Reason::TimeUnknown), Some(member), Some(heard));
        }
    };
    let judged = match &heard.record.judged {
        Ok(judged) => judged,
        Err(reason) if permitted => return Decision::quarantine(*reason, Some(member), Some(heard)),
        Err(_) => return Decision::forget(Counter::NoConsent),
    };
    let claim = Claim {
        member,
        attribution: Attribution::Sitting { sitting: sitting.id },
        place: Place::Store,
    };
    let reading = reading(row, &heard.record, judged, time, claim, quirk);
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
    let quirk = copy.quirk_of(meter.id);
    let Ok(record) = read(packet, row.context_raw.as_deref(), quirk, row.link.feature) else {
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
    if time.quality == TimeQuality::ReceivedTimeUsed && !is_new(row, meter, &record, binding, copy, now) {
        let reason = truest(&record, Reason::TimeUnknown);
        return unusable(copy, Some(binding.member), reason, packet, now);
    }
    // Consent is asked before anything else is found wrong with the record, so that nothing of a person without consent
    // is kept for another reason.
    let permission = permission(copy, binding.member, &time, now);
    if permission == Permission::Absent {
        return Decision::forget(Counter::NoConsent);
    }
    let heard = Heard {
        record,
        measured_at: time.at,
    };
    match &heard.record.judged {
        Err(reason) => Decision::quarantine(*reason, Some(binding.member), Some(heard)),
        Ok(_) if permission == Permission::Undated => {
            Decision::quarantine(Reason::TimeUnknown, Some(binding.member), Some(heard))
        }
        Ok(judged) => {
            let claim = Claim {
                member: binding.member,
                attribution: Attribution::Binding { binding: binding.id },
                place: Place::Home,
            };
            let reading = reading(row, &heard.record, judged, time, claim, quirk);
            Decision::settle(Settlement::Outbox(reading), Some(heard))
        }
    }
}

/// Whether a record that came alone and has no usable time was made while the meter was its owner's and they consented: since
/// an earlier link took from the meter what it held (`docs/decisions/0019-which-record-without-a-date-is-new.md`). Otherwise it
/// may have been in the meter before, whoever made it.
fn is_new(
    row: &PendingRow,
    meter: &Meter,
    record: &Record,
    binding: &Binding,
    copy: &DownCopy,
    now: DateTime<Utc>,
) -> bool {
    let Some(emptied) = row.link.emptied_before else {
        return false;
    };
    // One that seems to be later than this link was dated by a clock that was set since.
    let in_order = emptied <= row.link.opened_at;
    let then = by_binding(copy.bindings_of(meter.id), meter, record.user_slot, emptied);
    let was_theirs = then.is_ok_and(|then| then.id == binding.id);
    // Whose the meter is now, a clock that is not believed does not say, but a binding that has not ended does.
    let still_theirs = row.packet.clock_trusted || binding.valid_to.is_none();
    in_order && was_theirs && still_theirs && copy.consents_since(binding.member, emptied, now)
}

/// The owner of a single-user meter at an instant.
fn sole_owner(meter: &Meter, bindings: &[Binding], at: DateTime<Utc>) -> Option<MemberId> {
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

/// Whose a reading is, and how that is known.
struct Claim {
    member: MemberId,
    attribution: Attribution,
    place: Place,
}

fn reading(
    row: &PendingRow,
    record: &Record,
    judged: &carepost_domain::reading::Judged,
    time: MeasuredTime,
    claim: Claim,
    quirk: Option<&Quirk>,
) -> Box<WireReading> {
    let packet = &row.packet;
    let reading = Reading {
        id: record.id,
        member: claim.member,
        meter: packet.meter,
        attribution: claim.attribution,
        place: claim.place,
        time,
        captured_at: packet.received_at,
        measurement: judged.measurement.clone(),
        flags: judged.flags.clone(),
        slot: record.slot,
        characteristic: packet.characteristic,
        raw: packet.raw.clone(),
        context_raw: row.context_raw.clone(),
        quirk: quirk.map(|quirk| quirk.id.clone()),
    };
    Box::new(WireReading::from_reading(reading, packet.nonce))
}

#[cfg(test)]
mod tests;
