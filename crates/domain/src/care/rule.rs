//! Names that rules, families, severities and limits have everywhere, and the limits themselves.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::code_enum;
use crate::units::{GlucoseLevel, GlucoseUnit};

code_enum! {
    /// A rule of page 5, section 5.6. Ids are stable.
    pub enum Rule ("rule") {
        /// A reading at or above the severe limit: pending, rest, and a new pair decides. A kiosk finding, not an alert.
        Bp01 = "BP-01",
        /// A severe session mean, or a severe reading that was not repeated.
        Bp02 = "BP-02",
        /// A severe reading with a danger symptom.
        Bp03 = "BP-03",
        /// Above the office limit on different days in a store.
        Bp04 = "BP-04",
        /// A high session.
        Bp05 = "BP-05",
        /// A low session.
        Bp06 = "BP-06",
        /// Low glucose.
        Gl01 = "GL-01",
        /// Very low glucose.
        Gl02 = "GL-02",
        /// Very high glucose.
        Gl03 = "GL-03",
        /// High glucose twice.
        Gl04 = "GL-04",
        /// A danger symptom at any value.
        Sy01 = "SY-01",
    }
}

impl Rule {
    /// The family, of which a member has one open alert.
    #[must_use]
    pub const fn family(self) -> Family {
        match self {
            Self::Bp01 | Self::Bp02 | Self::Bp03 | Self::Bp04 | Self::Bp05 => Family::BpHigh,
            Self::Bp06 => Family::BpLow,
            Self::Gl01 | Self::Gl02 => Family::GlucoseLow,
            Self::Gl03 | Self::Gl04 => Family::GlucoseHigh,
            Self::Sy01 => Family::Symptom,
        }
    }

    /// Whether a finding of the rule opens an alert. BP-01 is for the kiosk only (page 5, section 2).
    #[must_use]
    pub const fn raises_alert(self) -> bool {
        !matches!(self, Self::Bp01)
    }
}

code_enum! {
    /// Rules that share one open alert (page 5, section 5.6, "Families").
    pub enum Family ("rule family") {
        /// BP-01 to BP-05.
        BpHigh = "bp-high",
        /// BP-06.
        BpLow = "bp-low",
        /// GL-01 and GL-02.
        GlucoseLow = "glucose-low",
        /// GL-03 and GL-04.
        GlucoseHigh = "glucose-high",
        /// SY-01.
        Symptom = "symptom",
    }
}

code_enum! {
    /// How bad a finding is, mildest first, so that the greater is the worse.
    pub enum Severity ("severity") {
        /// Not judged yet: BP-01 waits for the new pair.
        Pending = "pending",
        /// To be known.
        Info = "info",
        /// Low.
        Low = "low",
        /// Ranked work.
        Moderate = "moderate",
        /// Within a day or days.
        High = "high",
        /// Within the hour.
        Critical = "critical",
        /// Now.
        Emergency = "emergency",
    }
}

/// A blood-pressure limit in whole mmHg. Compared with numbers already rounded (page 5, section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PressureLimit {
    /// Systolic, mmHg.
    pub systolic_mmhg: i64,
    /// Diastolic, mmHg.
    pub diastolic_mmhg: i64,
}

impl PressureLimit {
    /// Systolic *or* diastolic at or above its limit.
    #[must_use]
    pub const fn is_reached(self, systolic_mmhg: i64, diastolic_mmhg: i64) -> bool {
        systolic_mmhg >= self.systolic_mmhg || diastolic_mmhg >= self.diastolic_mmhg
    }

    /// Systolic *and* diastolic below their limits.
    #[must_use]
    pub const fn is_above_both(self, systolic_mmhg: i64, diastolic_mmhg: i64) -> bool {
        systolic_mmhg < self.systolic_mmhg && diastolic_mmhg < self.diastolic_mmhg
    }
}

/// A glucose limit as data in both units. A value is compared in the unit its meter reported; nothing is converted
/// (page 5, section 5.4, boundary traps).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GlucoseLimit {
    /// Thousandths of a mmol/L.
    pub milli_mmol_per_l: i64,
    /// Thousandths of a mg/dL.
    pub milli_mg_per_dl: i64,
}

impl GlucoseLimit {
    /// The limit in thousandths of a unit.
    #[must_use]
    pub const fn milli(self, unit: GlucoseUnit) -> i64 {
        match unit {
            GlucoseUnit::MmolPerL => self.milli_mmol_per_l,
            GlucoseUnit::MgPerDl => self.milli_mg_per_dl,
        }
    }

    /// How a level lies to the limit. HI is above, and LO below, every limit.
    #[must_use]
    pub fn order(self, level: GlucoseLevel) -> Ordering {
        match level {
            GlucoseLevel::Value(value) => value.milli.cmp(&self.milli(value.unit)),
            GlucoseLevel::AboveRange { .. } => Ordering::Greater,
            GlucoseLevel::BelowRange { .. } => Ordering::Less,
        }
    }

    /// At or above.
    #[must_use]
    pub fn is_reached(self, level: GlucoseLevel) -> bool {
        self.order(level).is_ge()
    }

    /// Below.
    #[must_use]
    pub fn is_above(self, level: GlucoseLevel) -> bool {
        self.order(level).is_lt()
    }
}

code_enum! {
    /// How a value is compared with a limit.
    pub enum Comparison ("comparison") {
        /// At or above the limit.
        AtLeast = ">=",
        /// At or below the limit.
        AtMost = "<=",
        /// Below the limit.
        Below = "<",
    }
}

/// A glucose limit with its comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GlucoseCut {
    /// The comparison.
    pub comparison: Comparison,
    /// The limit.
    pub limit: GlucoseLimit,
}

impl GlucoseCut {
    /// Whether a level is on the limit's wrong side.
    #[must_use]
    pub fn holds(self, level: GlucoseLevel) -> bool {
        let order = self.limit.order(level);
        match self.comparison {
            Comparison::AtLeast => order.is_ge(),
            Comparison::AtMost => order.is_le(),
            Comparison::Below => order.is_lt(),
        }
    }
}

/// A limit that applied to a finding; an alert keeps it, so that an auditor can replay the decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "snake_case")]
pub enum AppliedLimit {
    /// Systolic or diastolic at or above.
    PressureAtLeast(PressureLimit),
    /// Systolic below, mmHg.
    SystolicBelow {
        /// The limit, mmHg.
        mmhg: i64,
    },
    /// Systolic at least so far below the personal mean, mmHg.
    SystolicDrop {
        /// The drop, mmHg.
        mmhg: i64,
    },
    /// Glucose against a limit.
    Glucose(GlucoseCut),
    /// A danger symptom; no number applies.
    DangerSymptom,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Concentration;

    #[test]
    fn severities_are_ordered_from_mild_to_worst() {
        assert!(Severity::ALL.is_sorted());
        assert!(Severity::Emergency > Severity::Critical && Severity::Info > Severity::Pending);
    }

    #[test]
    fn a_glucose_limit_compares_in_the_unit_of_the_meter() {
        let limit = GlucoseLimit {
            milli_mmol_per_l: 3_900,
            milli_mg_per_dl: 70_000,
        };
        let level = |milli, unit| GlucoseLevel::Value(Concentration { milli, unit });
        // 70 mg/dL is 3.886 mmol/L and 71 mg/dL is 3.941: conversion would move the boundary, so none happens.
        assert_eq!(limit.order(level(70_000, GlucoseUnit::MgPerDl)), Ordering::Equal);
        assert_eq!(limit.order(level(71_000, GlucoseUnit::MgPerDl)), Ordering::Greater);
        assert_eq!(limit.order(level(3_900, GlucoseUnit::MmolPerL)), Ordering::Equal);
        assert_eq!(
            limit.order(GlucoseLevel::AboveRange {
                unit: GlucoseUnit::MgPerDl
            }),
            Ordering::Greater
        );
        assert_eq!(
            limit.order(GlucoseLevel::BelowRange {
                unit: GlucoseUnit::MmolPerL
            }),
            Ordering::Less
        );
    }

    #[test]
    fn a_pressure_limit_is_reached_by_either_and_cleared_by_both() {
        let limit = PressureLimit {
            systolic_mmhg: 160,
            diastolic_mmhg: 100,
        };
        for (s, d, reached) in [(160, 80, true), (120, 100, true), (159, 99, false)] {
            assert_eq!(limit.is_reached(s, d), reached);
            assert_eq!(limit.is_above_both(s, d), !reached);
        }
    }
}
