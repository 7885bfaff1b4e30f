//! From a packet's bytes to what it says, by the one path that gateway and server share.
//!
//! The gateway decodes to decide; the server decodes again to verify that values and id follow from the bytes.

use std::borrow::Cow;

use carepost_gatt::pulse_oximeter::SpotCheck;
use carepost_gatt::thermometer::TemperatureMeasurement;
use carepost_gatt::weight_scale::WeightMeasurement;
use carepost_gatt::{Decimal, Decoded, MedFloat, blood_pressure, glucose, uuid16};
use chrono::{DateTime, Utc};

use crate::id::{MeterId, ReadingId};
use crate::quarantine::Reason;
use crate::quirks::DecodeQuirks;
use crate::reading::{
    Flag, Judged, Measurement, Slot, judge_blood_pressure, judge_glucose, judge_oxygen_saturation, judge_temperature,
    judge_weight, slot_from_context,
};
use crate::reading_id::{RecordKey, reading_id};
use crate::time::MeterTime;

/// A packet that carries one record.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    /// The meter it came from.
    pub meter: MeterId,
    /// Assigned number of the characteristic.
    pub characteristic: u16,
    /// Bytes as received.
    pub raw: &'a [u8],
    /// Bytes of the glucose context that followed, if one did.
    pub context_raw: Option<&'a [u8]>,
    /// When it was received.
    pub received_at: DateTime<Utc>,
    /// Random number drawn at receipt and kept, for records that carry neither date nor number.
    pub nonce: u64,
    /// What the registered model's entry in the quirk table changes in the meaning of the bytes.
    pub quirks: DecodeQuirks,
}

/// What a packet says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Id derived from content.
    pub id: ReadingId,
    /// Whether `received_at` and `nonce` went into the id, because the record has no identity of its own.
    pub received_key: bool,
    /// The record's own date fields.
    pub meter_time: MeterTime,
    /// The meter's user slot, if it says a known one.
    pub user_slot: Option<u8>,
    /// The measurement, or why it is none.
    pub judged: Result<Judged, Reason>,
    /// Meal slot that the context states.
    pub slot: Option<Slot>,
}

/// Decodes a packet.
///
/// # Errors
/// [`Reason::Undecodable`] when the bytes are no record of that characteristic; such a packet has no time, no slot and no
/// derived id. A record that decodes but is no measurement has its reason in [`Record::judged`].
pub fn decode(packet: &Packet<'_>) -> Result<Record, Reason> {
    match packet.characteristic {
        uuid16::BLOOD_PRESSURE_MEASUREMENT => pressure_record(packet),
        uuid16::GLUCOSE_MEASUREMENT => glucose_record(packet),
        uuid16::WEIGHT_MEASUREMENT => {
            let m = whole(WeightMeasurement::decode(packet.raw))?.value;
            let slot = match m.user_id {
                Some(blood_pressure::UserId::Known(slot)) => Some(slot),
                _ => None,
            };
            Ok(dated_record(packet, m.timestamp.as_ref(), slot, judge_weight(&m)))
        }
        uuid16::TEMPERATURE_MEASUREMENT => {
            let m = whole(TemperatureMeasurement::decode(packet.raw))?.value;
            Ok(dated_record(packet, m.timestamp.as_ref(), None, judge_temperature(&m)))
        }
        uuid16::PLX_SPOT_CHECK => {
            let m = whole(SpotCheck::decode(packet.raw))?.value;
            // A clock that nobody set may stand still: its date must not make one record of two equal measurements.
            let date = m.timestamp.as_ref().filter(|_| !m.clock_not_set);
            let mut record = dated_record(packet, date, None, judge_oxygen_saturation(&m));
            if m.clock_not_set {
                record.meter_time = MeterTime::Unset;
            }
            Ok(record)
        }
        _ => Err(Reason::Undecodable),
    }
}

fn whole<T>(decoded: Result<Decoded<T>, carepost_gatt::DecodeError>) -> Result<Decoded<T>, Reason> {
    decoded.map_err(|_| Reason::Undecodable)
}

/// A record whose identity is its date: two equal values without one are two measurements, unless one link repeats one
/// within 60 s, which the spool folds.
fn dated_record(
    packet: &Packet<'_>,
    date: Option<&carepost_gatt::DateTime>,
    user_slot: Option<u8>,
    judged: Result<Judged, Reason>,
) -> Record {
    let own_time_ms = own_time_ms(date);
    let key = match own_time_ms {
        Some(_) => RecordKey::Own {
            own_time_ms,
            record_number: None,
        },
        None => RecordKey::Received {
            at: packet.received_at,
            nonce: packet.nonce,
        },
    };
    Record {
        id: reading_id(packet.meter, packet.characteristic, &key, packet.raw),
        received_key: matches!(key, RecordKey::Received { .. }),
        meter_time: MeterTime::from_gatt(date, None),
        user_slot,
        judged,
        slot: None,
    }
}

/// The record's own date as the id takes it: nothing before 1970.
fn own_time_ms(date: Option<&carepost_gatt::DateTime>) -> Option<i64> {
    date.and_then(carepost_gatt::DateTime::as_if_utc_ms)
        .filter(|ms| *ms >= 0)
}

fn pressure_record(packet: &Packet<'_>) -> Result<Record, Reason> {
    let decoded = if packet.quirks.big_endian_tail {
        whole(blood_pressure::Measurement::decode_big_endian_tail(packet.raw))?
    } else {
        whole(blood_pressure::Measurement::decode(packet.raw))?
    };
    let m = decoded.value;
    let mut judged = judge_blood_pressure(&m);
    if !packet.quirks.big_endian_tail && looks_reversed(packet.raw, &decoded, &judged) {
        judged = Err(Reason::ByteOrderSuspected);
    }
    let user_slot = match m.user_id {
        Some(blood_pressure::UserId::Known(slot)) => Some(slot),
        _ => None,
    };
    Ok(dated_record(packet, m.timestamp.as_ref(), user_slot, judged))
}

/// Whether the bytes make no sense as they should be read, and do with the tail's bytes reversed: the mark of a model
/// whose entry is missing. It is reported and not applied, because the bytes alone prove nothing (page 3, section 2.9).
fn looks_reversed(raw: &[u8], decoded: &Decoded<blood_pressure::Measurement>, judged: &Result<Judged, Reason>) -> bool {
    let pulse = decoded.value.pulse.and_then(|pulse| pulse.number());
    // A reversed 64 or 80 is a zero, which cuffs also send when they found no pulse; but with an exponent that none writes.
    let odd_zero = pulse.is_some_and(|zero| zero == Decimal::ZERO && !WRITTEN_EXPONENTS.contains(&zero.exponent));
    // The user id that no flag announces is a byte too many.
    let unannounced_byte = decoded.trailing_bytes == 1 && decoded.value.user_id.is_none();
    let suspicious = match judged {
        Err(reason) => *reason == Reason::Implausible,
        Ok(_) => odd_zero || unannounced_byte,
    };
    suspicious
        && blood_pressure::Measurement::decode_big_endian_tail(raw).is_ok_and(|reversed| {
            // Cuffs that send the tail so write whole beats; tenths are some other cuff's pulse read backwards.
            let whole = |pulse: MedFloat| pulse.number().is_some_and(|number| number.exponent == 0);
            reversed.trailing_bytes == 0
                && reversed.value.pulse.is_some_and(whole)
                && judge_blood_pressure(&reversed.value).is_ok_and(|judged| match judged.measurement {
                    Measurement::BloodPressure(bp) => bp.pulse.is_some(),
                    _ => false,
                })
        })
}

/// Exponents with which cuffs write a pulse: whole beats, tenths or hundredths.
const WRITTEN_EXPONENTS: std::ops::RangeInclusive<i32> = -2..=0;

fn glucose_record(packet: &Packet<'_>) -> Result<Record, Reason> {
    let mut m = whole(glucose::Measurement::decode(packet.raw))?.value;
    let repaired = packet.quirks.month_13_is_january && m.base_time.month == Some(MONTH_BEYOND);
    if repaired {
        m.base_time.month = Some(1);
    }
    let own_time_ms = own_time_ms(Some(&m.base_time));
    // Without a date only the number tells records apart.
    let masked = packet.quirks.id_masks_sequence && own_time_ms.is_some();
    let key = RecordKey::Own {
        own_time_ms,
        record_number: (!masked).then_some(m.sequence),
    };
    let id_bytes = if masked {
        without_sequence(packet.raw)
    } else {
        Cow::Borrowed(packet.raw)
    };
    // A context that does not decode or belongs to another record never costs the reading (page 3, vectors).
    let context = packet
        .context_raw
        .and_then(|raw| glucose::Context::decode(raw).ok())
        .map(|decoded| decoded.value)
        .filter(|context| context.sequence == m.sequence);
    let judged = match (judge_glucose(&m), ketone(&m, context.as_ref(), packet.quirks)) {
        (Err(Reason::ControlSolution), _) => Err(Reason::ControlSolution),
        // Before all else: a ketone value is mostly no plausible glucose either, and the reason should say why.
        (_, Some(reason)) => Err(reason),
        (judged, None) => judged,
    };
    let judged = judged
        .and_then(|judged| not_a_phantom(judged, &m, packet.quirks))
        .map(|mut judged| {
            if repaired {
                judged.flags.push(Flag::DateRepaired);
            }
            judged
        });
    Ok(Record {
        id: reading_id(packet.meter, packet.characteristic, &key, &id_bytes),
        received_key: false,
        meter_time: MeterTime::from_gatt(Some(&m.base_time), m.time_offset),
        user_slot: None,
        judged,
        slot: context.as_ref().and_then(slot_from_context),
    })
}

/// The month that meters of an entry with `month_13_is_january` send for January.
const MONTH_BEYOND: u8 = 13;
/// The meal that one maker gives to ketone values (page 3, section 2.3).
const MEAL_KETONE: glucose::Meal = glucose::Meal::Unknown(6);

/// The bytes without the sequence number, the two after the flags.
fn without_sequence(raw: &[u8]) -> Cow<'_, [u8]> {
    let sequence = 1..3;
    raw.iter()
        .enumerate()
        .filter(|(index, _)| !sequence.contains(index))
        .map(|(_, byte)| *byte)
        .collect()
}

/// Refuses what an entry with `phantom_year` says that the meter makes up.
fn not_a_phantom(judged: Judged, m: &glucose::Measurement, quirks: DecodeQuirks) -> Result<Judged, Reason> {
    let too_high =
        judged.flags.contains(&Flag::ResultTooHigh) || m.concentration.is_some_and(|c| c.value == MedFloat::PosInf);
    if quirks.phantom_year.is_some() && quirks.phantom_year == m.base_time.year && too_high {
        Err(Reason::PhantomRecord)
    } else {
        Ok(judged)
    }
}

/// Why a value is, or may be, of ketone: nobody may take it for a very low glucose.
fn ketone(m: &glucose::Measurement, context: Option<&glucose::Context>, quirks: DecodeQuirks) -> Option<Reason> {
    let marked = context.is_some_and(|context| context.meal == Some(MEAL_KETONE));
    match (marked, quirks.ketone_meal_6) {
        (true, true) => Some(Reason::Ketone),
        (true, false) => Some(Reason::KetoneSuspected),
        // The mark would be in the context that was announced.
        (false, true) if m.context_follows && context.is_none() => Some(Reason::ContextMissing),
        (false, _) => None,
    }
}

impl Record {
    /// The measurement of a record that is one.
    #[must_use]
    pub fn measurement(&self) -> Option<&Measurement> {
        self.judged.as_ref().ok().map(|judged| &judged.measurement)
    }
}

#[cfg(test)]
mod tests;
