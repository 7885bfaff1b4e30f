//! Lines about glucose.

use alloc::vec::Vec;

use super::Line;
use super::json::Object;
use super::lines::{self, date_object, iso8601};
use super::pressure::clock_note;
use crate::Decimal;
use crate::glucose::{Context, ExerciseDuration, Feature, MMOL_DECIMALS, Measurement, TimeOffset};

pub(super) fn measurement(bytes: &[u8]) -> Line {
    let decoded = Measurement::decode(bytes)?;
    let value = decoded.value;
    let mut object = Object::accepted();
    object.display("sequence", value.sequence);
    object.object("base_time", date_object(&value.base_time));
    match value.time_offset {
        None => {}
        Some(TimeOffset::Minutes(minutes)) => object.display("time_offset_min", minutes),
        Some(TimeOffset::Overrun) => object.string("time_offset_min", "overrun"),
        Some(TimeOffset::Underrun) => object.string("time_offset_min", "underrun"),
    }
    if let Some(concentration) = &value.concentration {
        object.string("unit", concentration.unit.name());
        object.med_float("value", &concentration.value);
        object.decimal("mg_per_dl", concentration.mg_per_dl());
        let mmol_per_l = concentration.mmol_per_l().and_then(|mmol| mmol.rounded(MMOL_DECIMALS));
        object.decimal("mmol_per_l", mmol_per_l);
        object.string("type", &concentration.sample_type.name());
        object.string("location", &concentration.sample_location.name());
    }
    if let Some(status) = value.status {
        let mut inner = Object::new();
        inner.display("raw", status.0);
        inner.strings("flags", status.names());
        if status.rfu_bits() != 0 {
            inner.display("rfu_bits", status.rfu_bits());
        }
        object.object("status", inner);
    }
    object.bool("context_follows", value.context_follows);
    if matches!(value.time_offset, Some(TimeOffset::Minutes(_)))
        && let Some(time) = value.effective_time()
    {
        object.string("effective_time", &iso8601(&time));
    }
    if value.rfu_flags != 0 {
        object.display("rfu_flags", value.rfu_flags);
    }
    object.trailing(decoded.trailing_bytes);
    object.notes(&notes(&value));
    Ok(object)
}

fn notes(value: &Measurement) -> Vec<&'static str> {
    let mut notes = Vec::new();
    if let Some(concentration) = &value.concentration {
        match concentration.value.number() {
            None => notes.push("not a reading: the concentration is not a number"),
            Some(number) if number <= Decimal::ZERO => {
                notes.push("concentration is not above zero");
            }
            Some(_) => {}
        }
        if concentration.is_control_solution() {
            notes.push("control solution: not a patient's sample");
        }
    } else {
        notes.push("no concentration");
    }
    if matches!(value.time_offset, Some(TimeOffset::Overrun | TimeOffset::Underrun)) {
        notes.push("no usable time offset");
    }
    notes.extend(clock_note(&value.base_time));
    notes
}

pub(super) fn context(bytes: &[u8]) -> Line {
    let decoded = Context::decode(bytes)?;
    let value = decoded.value;
    let mut object = Object::accepted();
    object.display("sequence", value.sequence);
    if let Some(flags) = value.extended_flags {
        object.display("extended_flags", flags);
    }
    if let Some(carbohydrate) = &value.carbohydrate {
        let mut inner = Object::new();
        inner.string("id", &carbohydrate.id.name());
        inner.med_float("kg", &carbohydrate.kg);
        object.object("carbohydrate", inner);
    }
    if let Some(meal) = value.meal {
        object.string("meal", &meal.name());
    }
    if let Some(both) = value.tester_health {
        object.string("tester", &both.tester.name());
        object.string("health", &both.health.name());
    }
    if let Some(exercise) = value.exercise {
        let mut inner = Object::new();
        match exercise.duration {
            ExerciseDuration::Seconds(seconds) => inner.display("duration_s", seconds),
            ExerciseDuration::Overrun => inner.string("duration_s", "overrun"),
        }
        inner.display("intensity_pct", exercise.intensity_pct);
        object.object("exercise", inner);
    }
    if let Some(medication) = &value.medication {
        let mut inner = Object::new();
        inner.string("id", &medication.id.name());
        inner.string("unit", medication.unit.name());
        inner.med_float("value", &medication.value);
        object.object("medication", inner);
    }
    if let Some(hba1c_pct) = &value.hba1c_pct {
        object.med_float("hba1c_pct", hba1c_pct);
    }
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
