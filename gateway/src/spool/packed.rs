//! A reading as the file holds it: a CBOR array (RFC 8949) without names, a quarter of the JSON that goes to the server. A
//! meter's whole memory is written in one go, and its bytes are most of what the disk is given.
//!
//! Files outlive programs: a place in the array is never given to something else, and what is new is appended under a new
//! layout of the file, which may find shorter arrays then. Before layout 8 a reading was its JSON, and such rows stay as they
//! are until they leave.

use carepost_contract::v1::WireReading;
use carepost_domain::id::Id;
use carepost_domain::reading::{
    Attribution, BloodPressure, Glucose, Measurement, OxygenSaturation, Temperature, Weight,
};
use carepost_domain::time::MeasuredTime;
use carepost_domain::units::{
    Concentration, Degrees, GlucoseLevel, GlucoseUnit, Mass, Pressure, PulseRate, TenthsOfPercent,
};
use chrono::{DateTime, Utc};
use minicbor::data::Type;
use minicbor::decode::{Decoder, Error};
use minicbor::encode::{self, Encoder};
use uuid::Uuid;

use super::SpoolError;
use super::error::bad_row;

/// Bytes that a reading takes, mostly.
const USUAL_BYTES: usize = 256;

/// Places of the array.
const PLACES: u64 = 19;

/// What an error is about.
const READING: &str = "a reading";

/// Packs a reading.
///
/// # Errors
/// None that a reading can bring about: writing to memory does not fail.
pub(super) fn pack(reading: &WireReading) -> Result<Vec<u8>, SpoolError> {
    let mut encoder = Encoder::new(Vec::with_capacity(USUAL_BYTES));
    write(&mut encoder, reading).map_err(bad_row(READING))?;
    Ok(encoder.into_writer())
}

/// Reads what [`pack`] wrote, or the JSON of an earlier layout.
///
/// # Errors
/// [`SpoolError::Row`] when it is neither.
pub(crate) fn unpack(bytes: &[u8]) -> Result<WireReading, SpoolError> {
    // No array begins like this.
    if bytes.first() == Some(&b'{') {
        return serde_json::from_slice(bytes).map_err(bad_row(READING));
    }
    read(&mut Decoder::new(bytes)).map_err(bad_row(READING))
}

type Out = Encoder<Vec<u8>>;
type Written = Result<(), encode::Error<std::convert::Infallible>>;

fn write(to: &mut Out, reading: &WireReading) -> Written {
    // All named, so that a new one cannot be forgotten.
    let WireReading {
        id,
        member,
        meter,
        attribution,
        place,
        time:
            MeasuredTime {
                at,
                quality,
                meter_local,
                correction_s,
                gateway_clock_unsure,
            },
        captured_at,
        measurement,
        flags,
        slot,
        characteristic,
        raw,
        context_raw,
        nonce,
        quirk,
    } = reading;
    to.array(PLACES)?;
    to.bytes(id.uuid().as_bytes())?;
    to.bytes(member.uuid().as_bytes())?;
    to.bytes(meter.uuid().as_bytes())?;
    match attribution {
        Attribution::Binding { binding } => to.array(2)?.u8(BY_BINDING)?.bytes(binding.uuid().as_bytes())?,
        Attribution::Sitting { sitting } => to.array(2)?.u8(BY_SITTING)?.bytes(sitting.uuid().as_bytes())?,
    };
    to.str(place.code())?;
    write_instant(to, *at)?;
    to.str(quality.code())?;
    match meter_local {
        Some(local) => write_instant(to, local.and_utc())?,
        None => to.null()?.ok()?,
    }
    to.i64(*correction_s)?.bool(*gateway_clock_unsure)?;
    write_instant(to, *captured_at)?;
    write_measurement(to, measurement)?;
    to.array(u64::try_from(flags.len()).unwrap_or(u64::MAX))?;
    for flag in flags {
        to.str(flag.code())?;
    }
    write_text(to, slot.map(|slot| slot.code()))?;
    to.u16(*characteristic)?.bytes(raw)?;
    match context_raw {
        Some(context) => to.bytes(context)?,
        None => to.null()?,
    };
    to.u64(*nonce)?;
    write_text(to, quirk.as_ref().map(|quirk| quirk.as_str()))
}

fn write_instant(to: &mut Out, at: DateTime<Utc>) -> Written {
    to.array(2)?.i64(at.timestamp())?.u32(at.timestamp_subsec_nanos())?.ok()
}

fn write_text(to: &mut Out, text: Option<&str>) -> Written {
    match text {
        Some(text) => to.str(text)?.ok(),
        None => to.null()?.ok(),
    }
}

fn write_number(to: &mut Out, number: Option<i64>) -> Written {
    match number {
        Some(number) => to.i64(number)?.ok(),
        None => to.null()?.ok(),
    }
}

/// An array that begins with what was measured, by its place among the kinds; so do those of a glucose level.
fn write_measurement(to: &mut Out, measurement: &Measurement) -> Written {
    let pulse_of = |pulse: Option<PulseRate>| pulse.map(PulseRate::milli_per_min);
    match *measurement {
        Measurement::BloodPressure(BloodPressure {
            unit,
            systolic,
            diastolic,
            mean_arterial,
            pulse,
            user_slot,
        }) => {
            to.array(7)?.u8(BLOOD_PRESSURE)?.str(unit.code())?;
            to.i64(systolic.micro_mmhg())?.i64(diastolic.micro_mmhg())?;
            write_number(to, mean_arterial.map(Pressure::micro_mmhg))?;
            write_number(to, pulse_of(pulse))?;
            write_number(to, user_slot.map(i64::from))
        }
        Measurement::Glucose(Glucose { level, sequence }) => {
            to.array(3)?.u8(GLUCOSE)?;
            match level {
                GlucoseLevel::Value(Concentration { milli, unit }) => {
                    to.array(3)?.u8(VALUE)?.str(unit.code())?.i64(milli)?;
                }
                GlucoseLevel::AboveRange { unit } => {
                    to.array(2)?.u8(ABOVE)?.str(unit.code())?;
                }
                GlucoseLevel::BelowRange { unit } => {
                    to.array(2)?.u8(BELOW)?.str(unit.code())?;
                }
            }
            to.u16(sequence)?.ok()
        }
        Measurement::Weight(Weight {
            mass: Mass { milli, unit },
            user_slot,
        }) => {
            to.array(4)?.u8(WEIGHT)?.str(unit.code())?.i64(milli)?;
            write_number(to, user_slot.map(i64::from))
        }
        Measurement::Temperature(Temperature {
            degrees: Degrees { milli, unit },
            site,
        }) => {
            to.array(4)?.u8(TEMPERATURE)?.str(unit.code())?.i64(milli)?;
            write_text(to, site.map(|site| site.code()))
        }
        Measurement::OxygenSaturation(OxygenSaturation { spo2, pulse }) => {
            to.array(3)?.u8(OXYGEN_SATURATION)?.i64(spo2.tenths())?;
            write_number(to, pulse_of(pulse))
        }
    }
}

// Kinds of measurements, and of glucose levels.
const BLOOD_PRESSURE: u8 = 0;
const GLUCOSE: u8 = 1;
const WEIGHT: u8 = 2;
const TEMPERATURE: u8 = 3;
const OXYGEN_SATURATION: u8 = 4;
const VALUE: u8 = 0;
const ABOVE: u8 = 1;
const BELOW: u8 = 2;

// By which evidence a reading is somebody's.
const BY_BINDING: u8 = 0;
const BY_SITTING: u8 = 1;

type In<'a> = Decoder<'a>;

fn read(from: &mut In<'_>) -> Result<WireReading, Error> {
    array_of(from, PLACES)?;
    let reading = WireReading {
        id: read_id(from)?,
        member: read_id(from)?,
        meter: read_id(from)?,
        attribution: read_attribution(from)?,
        place: read_code(from)?,
        time: MeasuredTime {
            at: read_instant(from)?,
            quality: read_code(from)?,
            meter_local: or_null(from, read_instant)?.map(|local| local.naive_utc()),
            correction_s: from.i64()?,
            gateway_clock_unsure: from.bool()?,
        },
        captured_at: read_instant(from)?,
        measurement: read_measurement(from)?,
        flags: {
            let many = from.array()?.ok_or_else(|| wrong("an array without a length"))?;
            (0..many).map(|_| read_code(from)).collect::<Result<_, _>>()?
        },
        slot: or_null(from, read_code)?,
        characteristic: from.u16()?,
        raw: from.bytes()?.to_vec(),
        context_raw: or_null(from, Decoder::bytes)?.map(<[u8]>::to_vec),
        nonce: from.u64()?,
        quirk: or_null(from, read_code)?,
    };
    match from.position() == from.input().len() {
        true => Ok(reading),
        false => Err(wrong("more behind its end")),
    }
}

fn wrong(what: &'static str) -> Error {
    Error::message(what)
}

fn array_of(from: &mut In<'_>, places: u64) -> Result<(), Error> {
    match from.array()? {
        Some(found) if found == places => Ok(()),
        _ => Err(wrong("an array of another length")),
    }
}

fn or_null<'b, T>(from: &mut In<'b>, read: impl FnOnce(&mut In<'b>) -> Result<T, Error>) -> Result<Option<T>, Error> {
    match from.datatype()? {
        Type::Null => from.null().map(|()| None),
        _ => read(from).map(Some),
    }
}

fn read_id<T>(from: &mut In<'_>) -> Result<Id<T>, Error> {
    let bytes = Uuid::from_slice(from.bytes()?).map_err(|_| wrong("an id that has not 16 bytes"))?;
    Ok(Id::from_uuid(bytes))
}

/// What has one published spelling.
fn read_code<T: std::str::FromStr>(from: &mut In<'_>) -> Result<T, Error> {
    // Without the text: an error is logged.
    from.str()?.parse().map_err(|_| wrong("an unknown code"))
}

fn read_instant(from: &mut In<'_>) -> Result<DateTime<Utc>, Error> {
    array_of(from, 2)?;
    DateTime::from_timestamp(from.i64()?, from.u32()?).ok_or_else(|| wrong("an instant beyond the calendar"))
}

fn read_attribution(from: &mut In<'_>) -> Result<Attribution, Error> {
    array_of(from, 2)?;
    match from.u8()? {
        BY_BINDING => Ok(Attribution::Binding {
            binding: read_id(from)?,
        }),
        BY_SITTING => Ok(Attribution::Sitting {
            sitting: read_id(from)?,
        }),
        _ => Err(wrong("an unknown attribution")),
    }
}

fn read_measurement(from: &mut In<'_>) -> Result<Measurement, Error> {
    let places = from.array()?;
    let pulse = |from: &mut In<'_>| from.i64().map(PulseRate::from_milli_per_min);
    Ok(match (from.u8()?, places) {
        (BLOOD_PRESSURE, Some(7)) => Measurement::BloodPressure(BloodPressure {
            unit: read_code(from)?,
            systolic: Pressure::from_micro_mmhg(from.i64()?),
            diastolic: Pressure::from_micro_mmhg(from.i64()?),
            mean_arterial: or_null(from, Decoder::i64)?.map(Pressure::from_micro_mmhg),
            pulse: or_null(from, pulse)?,
            user_slot: or_null(from, Decoder::u8)?,
        }),
        (GLUCOSE, Some(3)) => Measurement::Glucose(Glucose {
            level: read_level(from)?,
            sequence: from.u16()?,
        }),
        (WEIGHT, Some(4)) => {
            let unit = read_code(from)?;
            let milli = from.i64()?;
            Measurement::Weight(Weight {
                mass: Mass { milli, unit },
                user_slot: or_null(from, Decoder::u8)?,
            })
        }
        (TEMPERATURE, Some(4)) => {
            let unit = read_code(from)?;
            let milli = from.i64()?;
            Measurement::Temperature(Temperature {
                degrees: Degrees { milli, unit },
                site: or_null(from, read_code)?,
            })
        }
        (OXYGEN_SATURATION, Some(3)) => Measurement::OxygenSaturation(OxygenSaturation {
            spo2: TenthsOfPercent::new(from.i64()?),
            pulse: or_null(from, pulse)?,
        }),
        _ => return Err(wrong("an unknown measurement")),
    })
}

fn read_level(from: &mut In<'_>) -> Result<GlucoseLevel, Error> {
    let places = from.array()?;
    let kind = from.u8()?;
    let unit: GlucoseUnit = read_code(from)?;
    match (kind, places) {
        (VALUE, Some(3)) => Ok(GlucoseLevel::Value(Concentration {
            milli: from.i64()?,
            unit,
        })),
        (ABOVE, Some(2)) => Ok(GlucoseLevel::AboveRange { unit }),
        (BELOW, Some(2)) => Ok(GlucoseLevel::BelowRange { unit }),
        _ => Err(wrong("an unknown glucose level")),
    }
}

#[cfg(test)]
mod tests;
