//! What rules read about one member: the profile, readings, symptom records, and what staff already settled.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::care::alert::{Alert, CloseReason, Condition};
use crate::care::rule::Family;
use crate::code_enum;
use crate::id::{MeterId, ReadingId, SymptomId};
use crate::people::{Condition as Illness, DrugClass, Member, Symptom};
use crate::reading::{Flag, Measurement, Place, Reading, Slot};
use crate::units::{GlucoseLevel, Pressure, PulseRate};

/// What is on file about a member that rules read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Profile {
    /// Calendar year of birth; without it, adult rules apply.
    pub birth_year: Option<i32>,
    /// Conditions on file.
    pub conditions: Vec<Illness>,
    /// Classes of dispensed drugs.
    pub drugs: Vec<DrugClass>,
}

impl From<&Member> for Profile {
    fn from(member: &Member) -> Self {
        Self {
            birth_year: Some(member.birth_year),
            conditions: member.conditions.clone(),
            drugs: member.drugs.clone(),
        }
    }
}

/// What was measured, as far as rules read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// Blood pressure.
    BloodPressure {
        /// Systolic pressure.
        systolic: Pressure,
        /// Diastolic pressure.
        diastolic: Pressure,
        /// Pulse rate, where the cuff gave one.
        pulse: Option<PulseRate>,
    },
    /// Glucose.
    Glucose(GlucoseLevel),
}

/// One reading as rules see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CareReading {
    /// The reading.
    pub id: ReadingId,
    /// When it was measured.
    pub measured_at: DateTime<Utc>,
    /// Whether that time can be trusted; a finding on an untrusted time is never fresh (page 5, section 4, item 6).
    pub time_trusted: bool,
    /// Where it was measured.
    pub place: Place,
    /// The meter, where known.
    pub meter: Option<MeterId>,
    /// What was measured.
    pub value: Value,
    /// What qualifies it.
    pub flags: Vec<Flag>,
    /// Symptoms ticked with it.
    pub symptoms: Vec<Symptom>,
    /// Meal slot of a glucose value. No rule of this version reads it.
    pub slot: Option<Slot>,
}

impl CareReading {
    /// A reading as rules see it; `None` for what no rule looks at: weight, temperature, oxygen saturation.
    #[must_use]
    pub fn of(reading: &Reading) -> Option<Self> {
        let value = match &reading.measurement {
            Measurement::BloodPressure(bp) => Value::BloodPressure {
                systolic: bp.systolic,
                diastolic: bp.diastolic,
                pulse: bp.pulse,
            },
            Measurement::Glucose(glucose) => Value::Glucose(glucose.level),
            Measurement::Weight(_) | Measurement::Temperature(_) | Measurement::OxygenSaturation(_) => return None,
        };
        Some(Self {
            id: reading.id,
            measured_at: reading.time.at,
            time_trusted: !reading.time.gateway_clock_unsure,
            place: reading.place,
            meter: Some(reading.meter),
            value,
            flags: reading.flags.clone(),
            symptoms: Vec::new(),
            slot: reading.slot,
        })
    }
}

code_enum! {
    /// Who said that there was a symptom.
    pub enum SymptomSource ("symptom source") {
        /// The member at a kiosk.
        Kiosk = "kiosk",
        /// A member of staff.
        Staff = "staff",
    }
}

/// A symptom is a record with code, source and time (page 5, SY-01).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SymptomRecord {
    /// The record.
    pub id: SymptomId,
    /// What.
    pub code: Symptom,
    /// Who said so.
    pub source: SymptomSource,
    /// When it was there.
    pub at: DateTime<Utc>,
}

/// Evidence of a finding: a reading or a symptom record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "is", content = "id", rename_all = "snake_case")]
pub enum Evidence {
    /// A reading.
    Reading(ReadingId),
    /// A symptom record.
    Symptom(SymptomId),
}

/// What staff recorded about evidence, so that the same evidence does not raise again what a person has dealt with.
///
/// Built from the member's alerts with [`Settled::add_alert`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settled {
    /// Evidence of alerts on which a contact or outcome was recorded; what needs one may clear.
    contacted: BTreeSet<(Family, Evidence)>,
    /// Evidence of alerts that a person closed; it raises nothing more in that family by itself.
    resolved: BTreeSet<(Family, Evidence)>,
}

impl Settled {
    /// Whether a contact or outcome was recorded for all of the evidence.
    pub(crate) fn is_contacted<'a>(&self, family: Family, evidence: impl IntoIterator<Item = &'a Evidence>) -> bool {
        evidence
            .into_iter()
            .all(|e| self.contacted.contains(&(family, *e)) || self.resolved.contains(&(family, *e)))
    }

    /// Whether a person closed an alert on all of the evidence.
    pub(crate) fn is_resolved(&self, family: Family, evidence: &[Evidence]) -> bool {
        !evidence.is_empty() && evidence.iter().all(|e| self.resolved.contains(&(family, *e)))
    }

    /// Adds what was recorded on an alert, open or closed.
    pub fn add_alert(&mut self, alert: &Alert) {
        self.contacted(alert.family, alert.contacted.iter().copied());
        if matches!(
            alert.condition,
            Condition::Closed {
                reason: CloseReason::Resolved,
                ..
            }
        ) {
            self.resolved(alert.family, alert.evidence());
        }
    }

    /// Marks evidence as contacted.
    pub fn contacted(&mut self, family: Family, evidence: impl IntoIterator<Item = Evidence>) {
        self.contacted.extend(evidence.into_iter().map(|e| (family, e)));
    }

    /// Marks evidence as resolved.
    pub fn resolved(&mut self, family: Family, evidence: impl IntoIterator<Item = Evidence>) {
        self.resolved.extend(evidence.into_iter().map(|e| (family, e)));
    }
}

/// Readings without those after `now`, in measured order (then by id), each id once.
pub(crate) fn in_measured_order(readings: &[CareReading], now: DateTime<Utc>) -> Vec<&CareReading> {
    let mut ordered: Vec<&CareReading> = readings.iter().filter(|r| r.measured_at <= now).collect();
    ordered.sort_by_key(|r| (r.measured_at, r.id));
    ordered.dedup_by_key(|r| (r.measured_at, r.id));
    ordered
}

/// A symptom at an instant, from a record or ticked with a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SymptomEvent {
    pub(crate) code: Symptom,
    pub(crate) at: DateTime<Utc>,
    pub(crate) time_trusted: bool,
    pub(crate) evidence: Evidence,
}

/// All symptoms known at `now`, in time order.
#[derive(Debug)]
pub(crate) struct Symptoms(Vec<SymptomEvent>);

impl Symptoms {
    pub(crate) fn gather(readings: &[&CareReading], records: &[SymptomRecord], now: DateTime<Utc>) -> Self {
        let ticked = readings.iter().flat_map(|r| {
            r.symptoms.iter().map(|code| SymptomEvent {
                code: *code,
                at: r.measured_at,
                time_trusted: r.time_trusted,
                evidence: Evidence::Reading(r.id),
            })
        });
        let recorded = records.iter().filter(|r| r.at <= now).map(|r| SymptomEvent {
            code: r.code,
            at: r.at,
            time_trusted: true,
            evidence: Evidence::Symptom(r.id),
        });
        let mut events: Vec<SymptomEvent> = ticked.chain(recorded).collect();
        events.sort_by_key(|e| (e.at, e.evidence, e.code));
        events.dedup();
        Self(events)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &SymptomEvent> {
        self.0.iter()
    }

    /// Symptoms of the listed codes no further than `link` from `from..=to`.
    pub(crate) fn near<'a>(
        &'a self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        link: TimeDelta,
        codes: &'a [Symptom],
    ) -> impl Iterator<Item = &'a SymptomEvent> {
        let begin = self.0.partition_point(|e| e.at < from - link);
        let near = self.0.iter().skip(begin).take_while(move |e| e.at <= to + link);
        near.filter(move |e| codes.contains(&e.code))
    }
}
