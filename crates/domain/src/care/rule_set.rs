//! A rule set: the clinical numbers, as a versioned data file with citations. The code beside it only evaluates.
//!
//! Numbers are integers, or decimals in quotes, so that no float ever holds one. Every section names its source, the date
//! of its last review and the state of its sign-off.
//!
//! The file is long because every value of the data file has its documented field here, in the order of the file.

mod read;
mod reader;

use std::collections::BTreeSet;

use chrono::{DateTime, Datelike, NaiveDate, TimeDelta, TimeZone as _, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

pub use reader::{Problem, RuleSetErrors};

use crate::care::history::Profile;
use crate::care::rule::{Comparison, GlucoseCut, GlucoseLimit, PressureLimit, Rule, Severity};
use crate::care::task::TaskKind;
use crate::people::{Condition, DrugClass, Symptom};
use crate::reading::Flag;

/// The CN 2024 rule set, as shipped in `config/rules/cn-2024.toml`.
pub const CN_2024: &str = include_str!("../../../../config/rules/cn-2024.toml");

/// Which rule set decided.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RuleSetRef {
    /// The set's id, such as `cn-2024`.
    pub id: String,
    /// Its version.
    pub version: String,
}

/// Where a section's numbers come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    /// Citation.
    pub source: String,
    /// When it was last reviewed.
    pub reviewed: NaiveDate,
    /// Who signed it off, or that it waits for that.
    pub sign_off: String,
}

/// A parsed and checked rule set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSet {
    /// Id and version, as findings and alerts cite them.
    pub reference: RuleSetRef,
    /// One line for people.
    pub title: String,
    /// The zone in which days are counted.
    pub zone: Tz,
    /// How readings become sessions.
    pub session: SessionPolicy,
    /// How symptoms and readings belong together.
    pub symptoms: SymptomPolicy,
    /// Which glucose readings never clear a finding.
    pub glucose: GlucosePolicy,
    /// SY-01.
    pub sy01: Sy01,
    /// BP-01.
    pub bp01: Bp01,
    /// BP-02.
    pub bp02: Bp02,
    /// BP-03.
    pub bp03: Bp03,
    /// BP-04, store half.
    pub bp04: Bp04,
    /// BP-05, session half.
    pub bp05: Bp05,
    /// BP-06.
    pub bp06: Bp06,
    /// GL-01.
    pub gl01: Gl01,
    /// GL-02.
    pub gl02: Gl02,
    /// GL-03.
    pub gl03: Gl03,
    /// GL-04.
    pub gl04: Gl04,
    /// No diabetes on file.
    pub no_diabetes: NoDiabetes,
    /// Pregnant or postpartum.
    pub pregnancy: Pregnancy,
    /// Under age.
    pub minor: Minor,
    /// Of great age.
    pub older: Older,
}

/// How readings become sessions (page 5, section 5.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionPolicy {
    /// Readings that make a mean.
    pub readings: usize,
    /// Shortest gap between two readings, s.
    pub gap_min_s: i64,
    /// Longest gap that the kiosk plans, s.
    pub gap_max_s: i64,
    /// A further reading is needed when the first differ by more, mmHg.
    pub third_if_differ_over_mmhg: i64,
    /// A session closes so long after its last reading.
    pub idle_close: TimeDelta,
    /// Seated rest before the first reading.
    pub rest_before: TimeDelta,
    /// Flags that keep a reading out of every mean.
    pub unusable: Vec<Flag>,
    /// Flags that label a reading and ask for a further one.
    pub caution: Vec<Flag>,
    /// Where this comes from.
    pub provenance: Provenance,
}

/// How symptoms and readings belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SymptomPolicy {
    /// A symptom belongs to readings no further away than this.
    pub link: TimeDelta,
    /// Where this comes from.
    pub provenance: Provenance,
}

/// What qualifies a glucose reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlucosePolicy {
    /// Flags of readings that may raise and never clear.
    pub unusable: Vec<Flag>,
    /// Where this comes from.
    pub provenance: Provenance,
}

/// What every rule has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Common {
    /// Severity where no modifier changes it.
    pub severity: Severity,
    /// How long a finding is fresh after its last evidence.
    pub fresh_for: TimeDelta,
    /// How long evidence raises: a finding that nothing cleared ends when its evidence is older. An open alert does not
    /// end with it; it waits for its clear condition or for a person.
    pub evidence_for: TimeDelta,
    /// What a pharmacist is asked to do.
    pub tasks: Vec<TaskDemand>,
    /// Where this comes from.
    pub provenance: Provenance,
}

/// A task that an alert asks for. Times run in plain clock time; covered time is not part of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskDemand {
    /// What is to be done.
    pub kind: TaskKind,
    /// When it applies.
    pub when: DemandWhen,
    /// Time from the alert to the due time, s.
    pub due_s: i64,
    /// Asked for at this severity or worse.
    pub from_severity: Severity,
}

crate::code_enum! {
    /// When an alert asks for a task.
    pub enum DemandWhen ("task condition") {
        /// Always.
        Always = "always",
        /// The person is still at the kiosk: measured in a store, and fresh.
        AtKiosk = "at_kiosk",
        /// Not at the kiosk.
        Away = "away",
        /// The rule's repetition holds (BP-02: two days in its window; BP-05: two sessions in its window).
        Repeated = "repeated",
    }
}

/// SY-01: a danger symptom at any value. True until a person closes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sy01 {
    /// What every rule has.
    pub common: Common,
    /// The danger symptoms.
    pub symptoms: Vec<Symptom>,
}

/// BP-01: a severe reading. True until the new pair, or until it is no longer fresh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bp01 {
    /// What every rule has.
    pub common: Common,
    /// The severe limit.
    pub at_or_above: PressureLimit,
    /// Rest before the new pair.
    pub rest: TimeDelta,
    /// Without a repeat within this time the reading raises BP-02 "unconfirmed".
    pub repeat_within: TimeDelta,
}

/// BP-02: a severe session mean, or BP-01 unrepeated. True until a lower session mean *and* a recorded outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bp02 {
    /// What every rule has.
    pub common: Common,
    /// The limit of the mean.
    pub at_or_above: PressureLimit,
    /// A later session mean below both clears, with an outcome.
    pub clears_below: PressureLimit,
    /// Severe findings on two days so close together are "repeated".
    pub repeated_within: TimeDelta,
}

/// BP-03: a severe reading with a danger symptom. True until a person closes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bp03 {
    /// What every rule has.
    pub common: Common,
}

/// BP-04, store half. True until as many store days in a row lie below the limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bp04 {
    /// What every rule has.
    pub common: Common,
    /// The limit of a store session's mean.
    pub at_or_above: PressureLimit,
    /// Days at or above that raise.
    pub days: usize,
    /// Days in a row below that clear.
    pub clears_days: usize,
}

/// BP-05, session half. True until a session mean below the clear limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bp05 {
    /// What every rule has.
    pub common: Common,
    /// The limit of a session's mean.
    pub at_or_above: PressureLimit,
    /// A later session mean below both clears.
    pub clears_below: PressureLimit,
    /// A second session so soon is "repeated".
    pub repeated_within: TimeDelta,
}

/// BP-06: a low session mean, or a fall below the personal mean with dizziness. True until systolic is up again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bp06 {
    /// What every rule has.
    pub common: Common,
    /// Systolic limit, mmHg.
    pub systolic_below_mmhg: i64,
    /// Fall below the personal mean that counts with one of `drop_symptoms`, mmHg.
    pub drop_mmhg: i64,
    /// What must be ticked for a fall to count.
    pub drop_symptoms: Vec<Symptom>,
    /// The personal mean is taken over sessions of so long before.
    pub personal_window: TimeDelta,
    /// And needs at least so many.
    pub personal_sessions: usize,
    /// Drugs that make it worse.
    pub drugs: Vec<DrugClass>,
    /// Severity with one of them.
    pub severity_with_drugs: Severity,
    /// Symptoms that make it worse.
    pub symptoms: Vec<Symptom>,
    /// Severity with one of them.
    pub severity_with_symptoms: Severity,
    /// A later session mean at or above clears, mmHg.
    pub clears_systolic_mmhg: i64,
    /// Diastolic below this alone is a note, mmHg.
    pub note_diastolic_below_mmhg: i64,
}

/// GL-01: low glucose. True until a later value at or above the clear limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gl01 {
    /// What every rule has.
    pub common: Common,
    /// The limit.
    pub at_or_below: GlucoseLimit,
    /// A later value at or above clears.
    pub clears_at_or_above: GlucoseLimit,
}

/// GL-02: very low glucose, or LO. True until a later value at or above the clear limit *and* a recorded contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gl02 {
    /// What every rule has.
    pub common: Common,
    /// The limit.
    pub below: GlucoseLimit,
    /// A later value at or above clears, with a contact.
    pub clears_at_or_above: GlucoseLimit,
}

/// GL-03: very high glucose, or HI. Without symptoms the first asks for a repeat; confirmed or unrepeated raises.
/// True until a later value below the clear limit *and* a recorded contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gl03 {
    /// What every rule has.
    pub common: Common,
    /// The limit.
    pub at_or_above: GlucoseLimit,
    /// The first without symptoms is to be repeated within this time.
    pub repeat_within: TimeDelta,
    /// Symptoms with which the first raises at once.
    pub symptoms: Vec<Symptom>,
    /// Symptoms that make it an emergency.
    pub worse_symptoms: Vec<Symptom>,
    /// Severity with one of them.
    pub severity_with_worse_symptoms: Severity,
    /// A later value below clears, with a contact.
    pub clears_below: GlucoseLimit,
}

/// GL-04: high glucose twice. True until as many values in a row lie below the clear limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gl04 {
    /// What every rule has.
    pub common: Common,
    /// The limit.
    pub at_or_above: GlucoseLimit,
    /// So many values raise.
    pub count: usize,
    /// When they lie within this time.
    pub within: TimeDelta,
    /// Values below this clear.
    pub clears_below: GlucoseLimit,
    /// So many in a row.
    pub clears_count: usize,
}

/// No diabetes on file: what GL-01 then means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoDiabetes {
    /// Conditions that say that there is diabetes.
    pub conditions: Vec<Condition>,
    /// Drugs that say so.
    pub drugs: Vec<DrugClass>,
    /// GL-01 raises below this.
    pub gl01_below: GlucoseLimit,
    /// Or at or below GL-01's own limit with one of these.
    pub symptoms: Vec<Symptom>,
    /// Where this comes from.
    pub provenance: Provenance,
}

/// Pregnant, or up to six weeks after birth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pregnancy {
    /// Conditions that say so.
    pub conditions: Vec<Condition>,
    /// Rules that are off.
    pub off: BTreeSet<Rule>,
    /// A session mean at or above raises BP-02 with `high_severity`.
    pub high: PressureLimit,
    /// See `high`.
    pub high_severity: Severity,
    /// A session mean at or above raises BP-02 with `severe_severity`, and a reading BP-01.
    pub severe: PressureLimit,
    /// See `severe`.
    pub severe_severity: Severity,
    /// A session mean below both clears BP-02, with an outcome.
    pub clears_below: PressureLimit,
    /// Where this comes from.
    pub provenance: Provenance,
}

/// Under age: adult standards do not apply, danger values call staff.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Minor {
    /// Below this age, in calendar years.
    pub below_age: i32,
    /// Rules that are off.
    pub off: BTreeSet<Rule>,
    /// Where this comes from.
    pub provenance: Provenance,
}

/// Of great age: another limit for BP-04.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Older {
    /// From this age, in calendar years.
    pub from_age: i32,
    /// BP-04's limit.
    pub bp04_at_or_above: PressureLimit,
    /// Where this comes from.
    pub provenance: Provenance,
}

/// A level of BP-02.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Level {
    pub(crate) at_or_above: PressureLimit,
    pub(crate) severity: Severity,
    /// Whether a lone reading raises it when its session closes.
    pub(crate) raised_by_lone: bool,
}

/// The rule set as it applies to one member today.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) off: BTreeSet<Rule>,
    pub(crate) minor: bool,
    pub(crate) pregnant: bool,
    pub(crate) severe: PressureLimit,
    /// Levels of BP-02, worst first.
    pub(crate) bp02: Vec<Level>,
    pub(crate) bp02_clears_below: PressureLimit,
    pub(crate) bp04: PressureLimit,
    pub(crate) gl01: GlucoseCut,
    /// GL-01 with one of the symptoms.
    pub(crate) gl01_with_symptoms: GlucoseCut,
}

impl RuleSet {
    /// Parses and checks a rule file.
    ///
    /// # Errors
    /// Every problem of the file at once, each with its key; a syntax error alone.
    pub fn parse(text: &str) -> Result<Self, RuleSetErrors> {
        read::rule_set(text)
    }

    /// The built-in CN 2024 rule set.
    ///
    /// # Panics
    /// Never: the file is part of the program, and a test parses it.
    #[must_use]
    pub fn cn_2024() -> Self {
        Self::parse(CN_2024).expect("the built-in rule file is valid, a test parses it")
    }

    /// What all rules have, of one rule.
    #[must_use]
    pub const fn common(&self, rule: Rule) -> &Common {
        match rule {
            Rule::Bp01 => &self.bp01.common,
            Rule::Bp02 => &self.bp02.common,
            Rule::Bp03 => &self.bp03.common,
            Rule::Bp04 => &self.bp04.common,
            Rule::Bp05 => &self.bp05.common,
            Rule::Bp06 => &self.bp06.common,
            Rule::Gl01 => &self.gl01.common,
            Rule::Gl02 => &self.gl02.common,
            Rule::Gl03 => &self.gl03.common,
            Rule::Gl04 => &self.gl04.common,
            Rule::Sy01 => &self.sy01.common,
        }
    }

    /// How far back readings and symptoms are read: nothing older can change an assessment.
    #[must_use]
    pub fn lookback(&self) -> TimeDelta {
        let evidence = Rule::ALL
            .iter()
            .map(|r| self.common(*r).evidence_for)
            .max()
            .unwrap_or_default();
        let before_evidence = [
            self.bp06.personal_window,
            self.bp02.repeated_within,
            self.bp05.repeated_within,
            self.gl04.within,
            self.symptoms.link,
        ];
        // A day of room for a session that began before the first instant that counts.
        evidence + before_evidence.into_iter().max().unwrap_or_default() + TimeDelta::days(1)
    }

    /// The limits for a member at `now`. Age is counted in calendar years, because only the year of birth is on file.
    pub(crate) fn limits(&self, profile: &Profile, now: DateTime<Utc>) -> Limits {
        let year = now.with_timezone(&self.zone).year();
        let age = profile.birth_year.map(|born| year.saturating_sub(born));
        let has = |conditions: &[Condition]| profile.conditions.iter().any(|c| conditions.contains(c));
        let minor = age.is_some_and(|age| age < self.minor.below_age);
        let pregnant = has(&self.pregnancy.conditions);
        let mut off = BTreeSet::new();
        if minor {
            off.extend(&self.minor.off);
        }
        if pregnant {
            off.extend(&self.pregnancy.off);
        }
        let (severe, bp02, bp02_clears_below) = if pregnant {
            let p = &self.pregnancy;
            let levels = vec![
                Level {
                    at_or_above: p.severe,
                    severity: p.severe_severity,
                    raised_by_lone: false,
                },
                Level {
                    at_or_above: p.high,
                    severity: p.high_severity,
                    raised_by_lone: true,
                },
            ];
            (p.severe, levels, p.clears_below)
        } else {
            let severity = self.bp02.common.severity;
            let levels = vec![Level {
                at_or_above: self.bp02.at_or_above,
                severity,
                raised_by_lone: false,
            }];
            (self.bp01.at_or_above, levels, self.bp02.clears_below)
        };
        let older = age.is_some_and(|age| age >= self.older.from_age);
        let on_file = GlucoseCut {
            comparison: Comparison::AtMost,
            limit: self.gl01.at_or_below,
        };
        let diabetes =
            has(&self.no_diabetes.conditions) || profile.drugs.iter().any(|d| self.no_diabetes.drugs.contains(d));
        let not_on_file = GlucoseCut {
            comparison: Comparison::Below,
            limit: self.no_diabetes.gl01_below,
        };
        Limits {
            off,
            minor,
            pregnant,
            severe,
            bp02,
            bp02_clears_below,
            bp04: if older {
                self.older.bp04_at_or_above
            } else {
                self.bp04.at_or_above
            },
            gl01: if diabetes { on_file } else { not_on_file },
            gl01_with_symptoms: on_file,
        }
    }

    /// The next turn of the year after `now`, if another age changes the member's limits then.
    pub(crate) fn limits_change(&self, profile: &Profile, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let next_year = now.with_timezone(&self.zone).year().checked_add(1)?;
        let turn = self
            .zone
            .with_ymd_and_hms(next_year, 1, 1, 0, 0, 0)
            .earliest()?
            .to_utc();
        (self.limits(profile, turn) != self.limits(profile, now)).then_some(turn)
    }
}
