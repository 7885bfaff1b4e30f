//! Actors and shorthands of the care tests.

use std::sync::LazyLock;

use carepost_domain::Id;
use carepost_domain::care::evaluate::{Assessment, Finding, assess};
use carepost_domain::care::history::{CareReading, Profile, Settled, SymptomRecord, SymptomSource, Value};
use carepost_domain::care::rule::{Rule, Severity};
use carepost_domain::care::rule_set::RuleSet;
use carepost_domain::id::{MemberId, ReadingId, StaffId, SymptomId};
use carepost_domain::people::{Condition, DrugClass, Symptom};
use carepost_domain::reading::{Flag, Place};
use carepost_domain::units::{Concentration, GlucoseLevel, GlucoseUnit, Pressure, PulseRate};
use chrono::{DateTime, TimeDelta, Utc};

/// The shipped rules, parsed once.
pub(crate) fn rules() -> &'static RuleSet {
    static RULES: LazyLock<RuleSet> = LazyLock::new(RuleSet::cn_2024);
    &RULES
}

/// Minute 0 is 08:00 of a Monday in the stores' zone.
pub(crate) fn at(minute: i64) -> DateTime<Utc> {
    seconds(minute * 60)
}

pub(crate) fn seconds(second: i64) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339("2026-11-02T08:00:00+08:00")
        .unwrap()
        .with_timezone(&Utc)
        + TimeDelta::seconds(second)
}

pub(crate) const DAY: i64 = 24 * 60;

pub(crate) fn reading_id(n: u128) -> ReadingId {
    Id::from_uuid(uuid::Uuid::from_u128(n))
}

pub(crate) fn member() -> MemberId {
    Id::from_uuid(uuid::Uuid::from_u128(0xA))
}

pub(crate) fn pharmacist(n: u128) -> StaffId {
    Id::from_uuid(uuid::Uuid::from_u128(0xB00 + n))
}

/// A home blood pressure; ids follow the minute, so that equal minutes need `.id(n)`.
pub(crate) fn bp(minute: i64, systolic: i32, diastolic: i32) -> CareReading {
    CareReading {
        id: reading_id(u128::try_from(minute + 1_000_000).unwrap()),
        measured_at: at(minute),
        time_trusted: true,
        place: Place::Home,
        meter: None,
        value: Value::BloodPressure {
            systolic: Pressure::from_mmhg(systolic),
            diastolic: Pressure::from_mmhg(diastolic),
            pulse: Some(PulseRate::from_per_min(70)),
        },
        flags: Vec::new(),
        symptoms: Vec::new(),
        slot: None,
    }
}

/// A pair one minute apart, with this mean.
pub(crate) fn pair(minute: i64, systolic: i32, diastolic: i32) -> Vec<CareReading> {
    vec![bp(minute, systolic, diastolic), bp(minute + 1, systolic, diastolic)]
}

pub(crate) fn level(milli: i64, unit: GlucoseUnit) -> GlucoseLevel {
    GlucoseLevel::Value(Concentration { milli, unit })
}

pub(crate) fn glucose_level(minute: i64, level: GlucoseLevel) -> CareReading {
    CareReading {
        id: reading_id(u128::try_from(minute + 5_000_000).unwrap()),
        value: Value::Glucose(level),
        ..bp(minute, 120, 80)
    }
}

/// A glucose value in tenths of a mmol/L.
pub(crate) fn mmol(minute: i64, tenths: i64) -> CareReading {
    glucose_level(minute, level(tenths * 100, GlucoseUnit::MmolPerL))
}

/// A glucose value in mg/dL.
pub(crate) fn mg(minute: i64, whole: i64) -> CareReading {
    glucose_level(minute, level(whole * 1_000, GlucoseUnit::MgPerDl))
}

pub(crate) trait With {
    fn flag(self, flag: Flag) -> Self;
    fn symptom(self, symptom: Symptom) -> Self;
    fn store(self) -> Self;
    fn id(self, n: u128) -> Self;
}

impl With for CareReading {
    fn flag(mut self, flag: Flag) -> Self {
        self.flags.push(flag);
        self
    }
    fn symptom(mut self, symptom: Symptom) -> Self {
        self.symptoms.push(symptom);
        self
    }
    fn store(mut self) -> Self {
        self.place = Place::Store;
        self
    }
    fn id(mut self, n: u128) -> Self {
        self.id = reading_id(n);
        self
    }
}

pub(crate) fn in_store(readings: Vec<CareReading>) -> Vec<CareReading> {
    readings.into_iter().map(With::store).collect()
}

pub(crate) fn symptom(minute: i64, code: Symptom) -> SymptomRecord {
    SymptomRecord {
        id: SymptomId::from_uuid(uuid::Uuid::from_u128(u128::try_from(minute + 9_000_000).unwrap())),
        code,
        source: SymptomSource::Kiosk,
        at: at(minute),
    }
}

/// Born 1960, diabetes and hypertension on file, no drugs.
pub(crate) fn diabetic() -> Profile {
    Profile {
        birth_year: Some(1960),
        conditions: vec![Condition::Hypertension, Condition::Diabetes],
        drugs: Vec::new(),
    }
}

pub(crate) fn with(conditions: &[Condition], drugs: &[DrugClass], birth_year: i32) -> Profile {
    Profile {
        birth_year: Some(birth_year),
        conditions: conditions.to_vec(),
        drugs: drugs.to_vec(),
    }
}

pub(crate) fn assess_at(profile: &Profile, readings: &[CareReading], minute: i64) -> Assessment {
    assess(rules(), profile, readings, &[], &Settled::default(), at(minute))
}

pub(crate) fn assess_settled(readings: &[CareReading], settled: &Settled, minute: i64) -> Assessment {
    assess(rules(), &diabetic(), readings, &[], settled, at(minute))
}

/// The rules that are true.
pub(crate) fn rules_true(assessment: &Assessment) -> Vec<&'static str> {
    assessment.findings.iter().map(|f| f.rule.code()).collect()
}

/// The rules that are true for a member with diabetes on file.
pub(crate) fn found(readings: &[CareReading], minute: i64) -> Vec<&'static str> {
    rules_true(&assess_at(&diabetic(), readings, minute))
}

pub(crate) fn finding(assessment: &Assessment, rule: Rule) -> &Finding {
    assessment
        .finding(rule)
        .unwrap_or_else(|| panic!("{rule} is not true: {:?}", rules_true(assessment)))
}

pub(crate) fn severity(assessment: &Assessment, rule: Rule) -> Option<Severity> {
    assessment.finding(rule).map(|f| f.severity)
}
