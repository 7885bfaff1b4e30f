//! The clinical lead's bench: one case as a JSON line in, the findings true at its `now` as a JSON line out.
//!
//! Numbers are taken exactly from their JSON text. Keys that are not known are ignored; known ones are strict. Required
//! are `id`, `now`, `profile` and `readings` (which may be empty), and for each reading `id`, `kind`, `measured_at` and its
//! values; `place` is `home`, the unit of a blood pressure `mmHg`, and other lists are empty if absent. A byte order mark
//! before the first line is passed over.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use chrono::{DateTime, Datelike, Utc};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::care::evaluate::assess;
use crate::care::history::{CareReading, Profile, Settled, Value};
use crate::care::rule_set::RuleSet;
use crate::id::{Id, ReadingId};
use crate::people::{Condition, DrugClass, Symptom};
use crate::reading::{Flag, Place, Slot};
use crate::units::{Concentration, GlucoseLevel, GlucoseUnit, Pressure, PressureUnit, PulseRate};

/// Longest line of a case, bytes.
pub const MAX_CASE_BYTES: usize = 4 * 1024 * 1024;
/// Most readings of a case.
pub const MAX_CASE_READINGS: usize = 20_000;
/// Earliest year of birth of a case: nobody alive was born before.
pub const MIN_BIRTH_YEAR: i32 = 1900;

const BYTE_ORDER_MARK: char = '\u{feff}';

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Bp,
    Glucose,
}

/// Why a case was not evaluated. Others go on.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct BenchError {
    /// Line of the input, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: CaseProblem,
}

/// What is wrong with a case.
#[derive(Debug, thiserror::Error)]
pub enum CaseProblem {
    /// It is too long.
    #[error("the case has more than {MAX_CASE_BYTES} bytes")]
    TooLong,
    /// It does not parse.
    #[error("the case is not as expected: {0}")]
    Json(serde_json::Error),
    /// It has too many readings.
    #[error("the case has more than {MAX_CASE_READINGS} readings")]
    TooManyReadings,
    /// A key is wrong.
    #[error("case {case}: {key}: {message}")]
    Key {
        /// The case's id as written.
        case: String,
        /// The key.
        key: String,
        /// What is wrong with it.
        message: String,
    },
}

/// A JSON object. A derived struct alone would also take a list of its values in order.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OnlyMap<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for OnlyMap<T> {
            type Value = T;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_map(OnlyMap(PhantomData)).map(Self)
    }
}

#[derive(Deserialize)]
struct Case<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    now: DateTime<Utc>,
    profile: Object<CaseProfile>,
    #[serde(borrow)]
    readings: Vec<Object<CaseReading<'a>>>,
}

#[derive(Deserialize)]
struct CaseProfile {
    birth_year: Option<i32>,
    #[serde(default)]
    conditions: Vec<Condition>,
    #[serde(default)]
    drugs: Vec<DrugClass>,
}

#[derive(Deserialize)]
struct CaseReading<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    kind: Kind,
    measured_at: DateTime<Utc>,
    place: Option<Place>,
    #[serde(borrow)]
    systolic: Option<&'a RawValue>,
    #[serde(borrow)]
    diastolic: Option<&'a RawValue>,
    #[serde(borrow)]
    pulse: Option<&'a RawValue>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    unit: Option<String>,
    slot: Option<Slot>,
    flags: Option<Vec<Flag>>,
    symptoms: Option<Vec<Symptom>>,
}

#[derive(Serialize)]
struct CaseResult<'a> {
    id: &'a RawValue,
    findings: Vec<CaseFinding<'a>>,
}

#[derive(Serialize)]
struct CaseFinding<'a> {
    rule: &'static str,
    family: &'static str,
    severity: &'static str,
    readings: Vec<&'a RawValue>,
}

/// Evaluates one case. `line` is its number in the input, from 1, for the error.
///
/// # Errors
/// [`BenchError`] with the line and what is wrong; it never repeats a reading's value.
pub fn evaluate_line(rule_set: &RuleSet, line: usize, text: &str) -> Result<String, BenchError> {
    // Some editors put the mark before the text that they save.
    let text = if line == 1 {
        text.trim_start_matches(BYTE_ORDER_MARK)
    } else {
        text
    };
    evaluate_case(rule_set, text).map_err(|problem| BenchError { line, problem })
}

/// Evaluates JSON lines. Blank lines are passed over; each other line gives a result or an error.
pub fn evaluate_lines<'t>(
    rule_set: &'t RuleSet,
    text: &'t str,
) -> impl Iterator<Item = Result<String, BenchError>> + 't {
    let text = text.trim_start_matches(BYTE_ORDER_MARK);
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(index, line)| evaluate_line(rule_set, index + 1, line))
}

fn evaluate_case(rule_set: &RuleSet, text: &str) -> Result<String, CaseProblem> {
    if text.len() > MAX_CASE_BYTES {
        return Err(CaseProblem::TooLong);
    }
    let Object(case): Object<Case<'_>> = serde_json::from_str(text.trim()).map_err(CaseProblem::Json)?;
    if case.readings.len() > MAX_CASE_READINGS {
        return Err(CaseProblem::TooManyReadings);
    }
    if !is_name(case.id) {
        return Err(key_problem(case.id, "id", "must be a text or a whole number"));
    }
    // Ids of ours, in the order of the texts, so that the order of the lines never matters.
    let mut names: BTreeMap<&str, &RawValue> = BTreeMap::new();
    for Object(reading) in &case.readings {
        if !is_name(reading.id) {
            return Err(key_problem(case.id, "readings.id", "must be a text or a whole number"));
        }
        names.insert(reading.id.get(), reading.id);
    }
    let ids: BTreeMap<&str, ReadingId> = names
        .keys()
        .zip(1_u128..)
        .map(|(name, n)| (*name, Id::from_uuid(uuid::Uuid::from_u128(n))))
        .collect();
    let shown: BTreeMap<ReadingId, &RawValue> = names
        .iter()
        .filter_map(|(name, raw)| Some((*ids.get(name)?, *raw)))
        .collect();
    let mut readings: BTreeMap<ReadingId, CareReading> = BTreeMap::new();
    for Object(reading) in &case.readings {
        let Some(id) = ids.get(reading.id.get()) else { continue };
        let parsed = care_reading(reading, *id)
            .map_err(|(key, message)| key_problem(case.id, &format!("reading {} {key}", reading.id.get()), message))?;
        // The same reading twice is a duplicate delivery; another one under the same id is a mistake.
        if readings
            .insert(*id, parsed.clone())
            .is_some_and(|known| known != parsed)
        {
            let message = "is given twice with different content";
            return Err(key_problem(case.id, &format!("reading {}", reading.id.get()), message));
        }
    }
    let readings: Vec<CareReading> = readings.into_values().collect();
    let CaseProfile {
        birth_year,
        conditions,
        drugs,
    } = case.profile.0;
    let this_year = case.now.with_timezone(&rule_set.zone).year();
    if birth_year.is_some_and(|year| !(MIN_BIRTH_YEAR..=this_year).contains(&year)) {
        let message = format!("must be from {MIN_BIRTH_YEAR} to the year of now, {this_year}");
        return Err(key_problem(case.id, "profile.birth_year", message));
    }
    let profile = Profile {
        birth_year,
        conditions,
        drugs,
    };
    let assessment = assess(rule_set, &profile, &readings, &[], &Settled::default(), case.now);
    let finding = |f: &crate::care::evaluate::Finding| CaseFinding {
        rule: f.rule.code(),
        family: f.family().code(),
        severity: f.severity.code(),
        readings: f.readings().filter_map(|id| shown.get(&id).copied()).collect(),
    };
    let result = CaseResult {
        id: case.id,
        findings: assessment.findings.iter().map(finding).collect(),
    };
    serde_json::to_string(&result).map_err(CaseProblem::Json)
}

/// Whether raw JSON is a text or a whole number.
fn is_name(raw: &RawValue) -> bool {
    let text = raw.get();
    text.starts_with('"') || (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'-'))
}

fn key_problem(case: &RawValue, key: &str, message: impl Into<String>) -> CaseProblem {
    // Ids come from outside: what is shown of them is cut.
    let cut = |text: &str| text.chars().take(80).collect::<String>();
    CaseProblem::Key {
        case: cut(case.get()),
        key: cut(key),
        message: message.into(),
    }
}

type KeyError = (&'static str, &'static str);

fn care_reading(reading: &CaseReading<'_>, id: ReadingId) -> Result<CareReading, KeyError> {
    let flags = reading.flags.clone().unwrap_or_default();
    let value = match reading.kind {
        Kind::Bp => blood_pressure(reading)?,
        Kind::Glucose => Value::Glucose(glucose(reading, &flags)?),
    };
    Ok(CareReading {
        id,
        measured_at: reading.measured_at,
        time_trusted: true,
        place: reading.place.unwrap_or(Place::Home),
        meter: None,
        value,
        flags,
        symptoms: reading.symptoms.clone().unwrap_or_default(),
        slot: reading.slot,
    })
}

/// 1 kPa in mmHg, times 100,000 (page 3, section 2.2: 7.50062).
const MMHG_PER_KPA_E5: i128 = 750_062;

fn blood_pressure(reading: &CaseReading<'_>) -> Result<Value, KeyError> {
    let unit: PressureUnit = match reading.unit.as_deref() {
        None => PressureUnit::MmHg,
        Some(text) => text.parse().map_err(|_| ("unit", "must be mmHg or kPa"))?,
    };
    let pressure = |raw: Option<&RawValue>, key: &'static str| -> Result<Pressure, KeyError> {
        let number = raw.ok_or((key, "is missing"))?;
        let number = Exact::parse(number.get()).ok_or((key, "must be a number"))?;
        let mmhg = match unit {
            PressureUnit::MmHg => Some(number),
            PressureUnit::KPa => number.times(MMHG_PER_KPA_E5, -5),
        };
        let micro = mmhg.and_then(|n| n.scaled(6)).map(Pressure::from_micro_mmhg);
        // No cuff goes beyond; a slip of the pen should not be judged.
        let plausible = micro.filter(|p| (1..=400).contains(&p.rounded_mmhg()));
        plausible.ok_or((key, "is not a pressure that a cuff can measure"))
    };
    let systolic = pressure(reading.systolic, "systolic")?;
    let diastolic = pressure(reading.diastolic, "diastolic")?;
    if diastolic >= systolic {
        return Err(("diastolic", "must be below systolic"));
    }
    let pulse = match reading.pulse {
        None => None,
        Some(raw) => {
            let milli = Exact::parse(raw.get())
                .and_then(|n| n.scaled(3))
                .filter(|n| (1..=1_000_000).contains(n));
            Some(PulseRate::from_milli_per_min(
                milli.ok_or(("pulse", "must be a pulse rate"))?,
            ))
        }
    };
    Ok(Value::BloodPressure {
        systolic,
        diastolic,
        pulse,
    })
}

fn glucose(reading: &CaseReading<'_>, flags: &[Flag]) -> Result<GlucoseLevel, KeyError> {
    let unit = match reading.unit.as_deref() {
        None => None,
        Some(text) => Some(
            text.parse::<GlucoseUnit>()
                .map_err(|_| ("unit", "must be mmol/L or mg/dL"))?,
        ),
    };
    let (high, low) = (
        flags.contains(&Flag::ResultTooHigh),
        flags.contains(&Flag::ResultTooLow),
    );
    match (high, low, reading.value) {
        (true, true, _) => Err(("flags", "cannot be both HI and LO")),
        // HI and LO lie beyond every limit, in whatever unit.
        (true, false, _) => Ok(GlucoseLevel::AboveRange {
            unit: unit.unwrap_or(GlucoseUnit::MmolPerL),
        }),
        (false, true, _) => Ok(GlucoseLevel::BelowRange {
            unit: unit.unwrap_or(GlucoseUnit::MmolPerL),
        }),
        (false, false, None) => Err(("value", "is missing, and no flag says HI or LO")),
        (false, false, Some(raw)) => {
            let unit = unit.ok_or(("unit", "is missing: mmol/L or mg/dL"))?;
            let number = Exact::parse(raw.get()).ok_or(("value", "must be a number or null"))?;
            let milli = number.scaled_beside_limits().filter(|n| (1..=5_000_000).contains(n));
            let milli = milli.ok_or(("value", "is not a concentration that a meter can measure"))?;
            Ok(GlucoseLevel::Value(Concentration { milli, unit }))
        }
    }
}

/// A JSON number, exactly: `mantissa` times ten to the `exponent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Exact {
    mantissa: i128,
    exponent: i32,
}

impl Exact {
    /// Most digits of a mantissa, and largest exponent: far beyond every meter, and far below the edge of `i128`.
    const MAX_DIGITS: usize = 20;
    const MAX_EXPONENT: i32 = 20;

    /// From the text of a JSON number; `None` for anything else.
    fn parse(text: &str) -> Option<Self> {
        let (number, exponent) = match text.split_once(['e', 'E']) {
            Some((number, exponent)) => (number, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (sign, number) = number.strip_prefix('-').map_or((1, number), |rest| (-1, rest));
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = [whole, fraction].concat();
        if whole.is_empty() || digits.len() > Self::MAX_DIGITS || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let exponent = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?;
        if exponent.abs() > Self::MAX_EXPONENT {
            return None;
        }
        Some(Self {
            mantissa: sign * digits.parse::<i128>().ok()?,
            exponent,
        })
    }

    fn times(self, factor: i128, exponent: i32) -> Option<Self> {
        Some(Self {
            mantissa: self.mantissa.checked_mul(factor)?,
            exponent: self.exponent.checked_add(exponent)?,
        })
    }

    /// Thousandths. A value with more decimals than a meter sends is cut, but never onto a hundredth, where limits lie:
    /// 2.9999 stays below 3.0, and 3.90001 above 3.9.
    fn scaled_beside_limits(self) -> Option<i64> {
        let dropped = self.exponent.checked_add(3)?;
        if dropped >= 0 {
            return self.scaled(3);
        }
        let factor = 10_i128.checked_pow(dropped.unsigned_abs())?;
        let (cut, rest) = (self.mantissa.div_euclid(factor), self.mantissa.rem_euclid(factor));
        let cut = if rest > 0 && cut % 10 == 0 { cut + 1 } else { cut };
        i64::try_from(cut).ok()
    }

    /// The value times ten to the `decimals`, rounded half up.
    fn scaled(self, decimals: i32) -> Option<i64> {
        let shift = self.exponent.checked_add(decimals)?;
        let factor = 10_i128.checked_pow(shift.unsigned_abs())?;
        let scaled = if shift >= 0 {
            self.mantissa.checked_mul(factor)?
        } else {
            self.mantissa.checked_add(factor / 2)?.div_euclid(factor)
        };
        i64::try_from(scaled).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_numbers_are_taken_exactly() {
        for (text, milli) in [
            ("3.9", 3_900),
            ("70", 70_000),
            ("1.67e1", 16_700),
            ("390E-2", 3_900),
            ("-1", -1_000),
        ] {
            assert_eq!(Exact::parse(text).and_then(|n| n.scaled(3)), Some(milli), "{text}");
        }
        assert_eq!(Exact::parse("2.9995").and_then(|n| n.scaled(3)), Some(3_000));
        assert_eq!(Exact::parse("2.9994999").and_then(|n| n.scaled(3)), Some(2_999));
        let beside = [
            ("2.9999", 2_999),
            ("3.0000", 3_000),
            ("3.90001", 3_901),
            ("3.8999999999999999", 3_899),
            ("70", 70_000),
        ];
        for (text, milli) in beside {
            assert_eq!(
                Exact::parse(text).and_then(Exact::scaled_beside_limits),
                Some(milli),
                "{text}"
            );
        }
        for text in ["", "-", ".5", "1e999", "\"3.9\"", "true", "123456789012345678901", "1e"] {
            assert_eq!(Exact::parse(text).and_then(|n| n.scaled(3)), None, "{text}");
        }
    }

    #[test]
    fn kilopascal_is_exact() {
        let mmhg = Exact::parse("24.0")
            .and_then(|n| n.times(MMHG_PER_KPA_E5, -5))
            .and_then(|n| n.scaled(6));
        assert_eq!(mmhg, Some(180_014_880));
    }
}
