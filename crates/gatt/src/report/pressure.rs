//! Lines about blood pressure.

use alloc::vec::Vec;

use super::Line;
use super::json::Object;
use super::lines::{self, date_object};
use crate::blood_pressure::{Feature, IntermediateCuffPressure, Measurement, PressureUnit, Status, UserId};
use crate::enhanced::{Details, EnhancedCuffPressure, EnhancedMeasurement, RecordSegment};
use crate::{Calendar, DateTime, MedFloat};

/// Digits after the point of a pressure that was derived from kPa.
const MMHG_DECIMALS: u8 = 2;

pub(super) fn measurement(bytes: &[u8]) -> Line {
    let decoded = Measurement::decode(bytes)?;
    let value = decoded.value;
    let mut object = Object::accepted();
    object.string("unit", value.unit.name());
    object.med_float("systolic", &value.systolic);
    object.med_float("diastolic", &value.diastolic);
    object.med_float("map", &value.map);
    optionals(&mut object, value.timestamp, value.pulse, value.user_id, value.status);
    three_in_mmhg(&mut object, value.unit, pressures(&value));
    rfu_flags(&mut object, value.rfu_flags);
    object.trailing(decoded.trailing_bytes);
    let mut notes = pressure_notes(value.systolic, value.diastolic, value.pulse);
    notes.extend(value.timestamp.and_then(|time| clock_note(&time)));
    object.notes(&notes);
    Ok(object)
}

const fn pressures(value: &Measurement) -> [MedFloat; 3] {
    [value.systolic, value.diastolic, value.map]
}

pub(super) fn cuff_pressure(bytes: &[u8]) -> Line {
    let decoded = IntermediateCuffPressure::decode(bytes)?;
    let value = decoded.value;
    let mut object = Object::accepted();
    object.string("unit", value.unit.name());
    object.med_float("cuff_pressure", &value.cuff_pressure);
    optionals(&mut object, value.timestamp, value.pulse, value.user_id, value.status);
    in_mmhg(&mut object, "cuff_pressure_mmHg", value.unit, value.cuff_pressure);
    rfu_flags(&mut object, value.rfu_flags);
    object.trailing(decoded.trailing_bytes);
    Ok(object)
}

pub(super) fn feature(bytes: &[u8]) -> Line {
    let decoded = Feature::decode(bytes)?;
    Ok(lines::features(
        decoded.value.0,
        decoded.value.names(),
        decoded.trailing_bytes,
    ))
}

pub(super) fn enhanced_measurement(bytes: &[u8]) -> Line {
    let decoded = EnhancedMeasurement::decode(bytes)?;
    let value = decoded.value;
    let mut object = Object::accepted();
    object.string("unit", value.unit.name());
    object.display("epoch", value.details.epoch.year());
    object.med_float("systolic", &value.systolic);
    object.med_float("diastolic", &value.diastolic);
    object.med_float("map", &value.map);
    details(&mut object, &value.details);
    three_in_mmhg(&mut object, value.unit, [value.systolic, value.diastolic, value.map]);
    object.trailing(decoded.trailing_bytes);
    object.notes(&pressure_notes(value.systolic, value.diastolic, value.details.pulse));
    Ok(object)
}

pub(super) fn enhanced_cuff_pressure(bytes: &[u8]) -> Line {
    let decoded = EnhancedCuffPressure::decode(bytes)?;
    let value = decoded.value;
    let mut object = Object::accepted();
    object.string("unit", value.unit.name());
    object.display("epoch", value.details.epoch.year());
    object.med_float("cuff_pressure", &value.cuff_pressure);
    details(&mut object, &value.details);
    in_mmhg(&mut object, "cuff_pressure_mmHg", value.unit, value.cuff_pressure);
    object.trailing(decoded.trailing_bytes);
    Ok(object)
}

pub(super) fn record(bytes: &[u8]) -> Line {
    let decoded = RecordSegment::decode(bytes)?;
    let value = decoded.value;
    let mut object = Object::accepted();
    object.bool("first", value.first);
    object.bool("last", value.last);
    object.display("counter", value.counter);
    object.display("sequence", value.sequence);
    object.hex("uuid", &value.uuid.to_be_bytes());
    object.hex("payload_hex", &value.payload);
    object.trailing(decoded.trailing_bytes);
    Ok(object)
}

fn optionals(
    object: &mut Object,
    timestamp: Option<DateTime>,
    pulse: Option<MedFloat>,
    user_id: Option<UserId>,
    status: Option<Status>,
) {
    if let Some(timestamp) = &timestamp {
        object.object("timestamp", date_object(timestamp));
    }
    if let Some(pulse) = &pulse {
        object.med_float("pulse", pulse);
    }
    self::user_id(object, user_id);
    if let Some(status) = status {
        let mut inner = Object::new();
        inner.display("raw", status.0);
        inner.strings("flags", status.names());
        inner.string("pulse_range", status.pulse_range().name());
        if status.rfu_bits() != 0 {
            inner.display("rfu_bits", status.rfu_bits());
        }
        object.object("status", inner);
    }
}

pub(super) fn user_id(object: &mut Object, user_id: Option<UserId>) {
    match user_id {
        None => {}
        Some(UserId::Known(slot)) => object.display("user_id", slot),
        Some(UserId::Unknown) => object.string("user_id", "unknown"),
    }
}

fn details(object: &mut Object, details: &Details) {
    if let Some(seconds) = details.timestamp_s {
        object.display("timestamp_s", seconds);
    }
    optionals(object, None, details.pulse, details.user_id, details.status);
    if let Some(seconds) = details.user_facing_time_s {
        object.display("user_facing_time_s", seconds);
    }
    rfu_flags(object, details.rfu_flags);
}

fn three_in_mmhg(object: &mut Object, unit: PressureUnit, pressures: [MedFloat; 3]) {
    let [systolic, diastolic, map] = pressures;
    in_mmhg(object, "systolic_mmHg", unit, systolic);
    in_mmhg(object, "diastolic_mmHg", unit, diastolic);
    in_mmhg(object, "map_mmHg", unit, map);
}

fn in_mmhg(object: &mut Object, key: &str, unit: PressureUnit, pressure: MedFloat) {
    if unit == PressureUnit::KPa {
        let mmhg = unit.to_mmhg(pressure);
        object.decimal(key, mmhg.and_then(|mmhg| mmhg.rounded(MMHG_DECIMALS)));
    }
}

pub(super) fn rfu_flags(object: &mut Object, rfu_flags: u8) {
    if rfu_flags != 0 {
        object.display("rfu_flags", rfu_flags);
    }
}

/// What no body can have, whatever the thresholds.
fn pressure_notes(systolic: MedFloat, diastolic: MedFloat, pulse: Option<MedFloat>) -> Vec<&'static str> {
    let mut notes = Vec::new();
    match (systolic.number(), diastolic.number()) {
        (Some(systolic), Some(diastolic)) => {
            if systolic.mantissa <= 0 || diastolic.mantissa <= 0 {
                notes.push("pressure is not above zero");
            } else if systolic <= diastolic {
                notes.push("systolic is not above diastolic");
            }
        }
        _ => notes.push("not a reading: a pressure is not a number"),
    }
    if pulse.is_some_and(|pulse| pulse.number().is_some_and(|pulse| pulse.mantissa <= 0)) {
        notes.push("pulse is not above zero");
    }
    notes
}

/// What the calendar says against a meter's time.
pub(super) fn clock_note(time: &DateTime) -> Option<&'static str> {
    match time.calendar() {
        Calendar::Valid => None,
        Calendar::Invalid => Some("impossible date or time"),
        Calendar::Unknown => Some("date not known: clock not set"),
    }
}
