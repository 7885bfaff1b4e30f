//! Lines about weight, temperature and oxygen saturation.

use alloc::vec::Vec;

use super::Line;
use super::json::Object;
use super::lines::date_object;
use super::pressure::{clock_note, rfu_flags, user_id};
use crate::pulse_oximeter::{Continuous, MeasurementStatus, SensorStatus, SpO2AndPulse, SpotCheck};
use crate::thermometer::TemperatureMeasurement;
use crate::weight_scale::{WeightMeasurement, WeightUnit, WeightValue};
use crate::{Decimal, MedFloat};

pub(super) fn weight(bytes: &[u8]) -> Line {
    let decoded = WeightMeasurement::decode(bytes)?;
    let value = decoded.value;
    let mut object = Object::accepted();
    object.string("unit", value.unit.name());
    match value.weight {
        WeightValue::Steps(_) => object.decimal("weight", value.weight_in_unit()),
        WeightValue::Unsuccessful => object.string("weight", "unsuccessful"),
    }
    if let Some(timestamp) = &value.timestamp {
        object.object("timestamp", date_object(timestamp));
    }
    user_id(&mut object, value.user_id);
    if let Some(both) = value.bmi_and_height {
        object.display("bmi", Decimal::new(i64::from(both.bmi_tenths), -1));
        let (key, exponent) = match value.unit {
            WeightUnit::Kg => ("height_m", -3),
            WeightUnit::Lb => ("height_in", -1),
        };
        object.display(key, Decimal::new(i64::from(both.height_steps), exponent));
    }
    rfu_flags(&mut object, value.rfu_flags);
    object.trailing(decoded.trailing_bytes);
    let mut notes = Vec::new();
    match value.weight {
        WeightValue::Unsuccessful => notes.push("not a reading: the measurement was not successful"),
        WeightValue::Steps(0) => notes.push("weight is not above zero"),
        WeightValue::Steps(_) => {}
    }
    notes.extend(value.timestamp.and_then(|time| clock_note(&time)));
    object.notes(&notes);
    Ok(object)
}

pub(super) fn temperature(bytes: &[u8]) -> Line {
    let decoded = TemperatureMeasurement::decode(bytes)?;
    let value = decoded.value;
    let mut object = Object::accepted();
    object.string("unit", value.unit.name());
    object.med_float("temperature", &value.temperature);
    if let Some(timestamp) = &value.timestamp {
        object.object("timestamp", date_object(timestamp));
    }
    if let Some(temperature_type) = value.temperature_type {
        object.string("type", &temperature_type.name());
    }
    rfu_flags(&mut object, value.rfu_flags);
    object.trailing(decoded.trailing_bytes);
    let mut notes = Vec::new();
    if value.temperature.number().is_none() {
        notes.push("not a reading: the temperature is not a number");
    }
    notes.extend(value.timestamp.and_then(|time| clock_note(&time)));
    object.notes(&notes);
    Ok(object)
}

pub(super) fn spot_check(bytes: &[u8]) -> Line {
    let decoded = SpotCheck::decode(bytes)?;
    let value = decoded.value;
    let mut object = Object::accepted();
    object.med_float("spo2", &value.values.spo2_pct);
    object.med_float("pulse", &value.values.pulse);
    if let Some(timestamp) = &value.timestamp {
        object.object("timestamp", date_object(timestamp));
    }
    object.bool("clock_not_set", value.clock_not_set);
    tail(
        &mut object,
        value.measurement_status,
        value.sensor_status,
        value.pulse_amplitude_pct,
    );
    rfu_flags(&mut object, value.rfu_flags);
    object.trailing(decoded.trailing_bytes);
    let mut notes = saturation_notes(value.values);
    if value.clock_not_set {
        notes.push("date not known: clock not set");
    } else {
        notes.extend(value.timestamp.and_then(|time| clock_note(&time)));
    }
    object.notes(&notes);
    Ok(object)
}

pub(super) fn continuous(bytes: &[u8]) -> Line {
    let decoded = Continuous::decode(bytes)?;
    let value = decoded.value;
    let mut object = Object::accepted();
    object.med_float("spo2", &value.normal.spo2_pct);
    object.med_float("pulse", &value.normal.pulse);
    let mut averaged = |key: &str, values: Option<SpO2AndPulse>| {
        if let Some(values) = values {
            let mut inner = Object::new();
            inner.med_float("spo2", &values.spo2_pct);
            inner.med_float("pulse", &values.pulse);
            object.object(key, inner);
        }
    };
    averaged("fast", value.fast);
    averaged("slow", value.slow);
    tail(
        &mut object,
        value.measurement_status,
        value.sensor_status,
        value.pulse_amplitude_pct,
    );
    rfu_flags(&mut object, value.rfu_flags);
    object.trailing(decoded.trailing_bytes);
    object.notes(&saturation_notes(value.normal));
    Ok(object)
}

fn tail(
    object: &mut Object,
    measurement_status: Option<MeasurementStatus>,
    sensor_status: Option<SensorStatus>,
    amplitude: Option<MedFloat>,
) {
    if let Some(status) = measurement_status {
        let mut inner = Object::new();
        inner.display("raw", status.0);
        inner.strings("flags", status.names());
        if status.rfu_bits() != 0 {
            inner.display("rfu_bits", status.rfu_bits());
        }
        object.object("measurement_status", inner);
    }
    if let Some(status) = sensor_status {
        let mut inner = Object::new();
        inner.display("raw", status.0);
        inner.strings("flags", status.names());
        if status.rfu_bits() != 0 {
            inner.display("rfu_bits", status.rfu_bits());
        }
        object.object("sensor_status", inner);
    }
    if let Some(amplitude) = &amplitude {
        object.med_float("pulse_amplitude_index", amplitude);
    }
}

fn saturation_notes(values: SpO2AndPulse) -> Vec<&'static str> {
    match values.spo2_pct.number() {
        None => alloc::vec!["not a reading: the saturation is not a number"],
        Some(number) if number <= Decimal::ZERO => alloc::vec!["saturation is not above zero"],
        Some(_) => Vec::new(),
    }
}
