//! Clinical quantities as scaled integers with their unit. No float ever holds one.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::code_enum;

code_enum! {
    /// The unit in which a cuff sent its pressures.
    pub enum PressureUnit ("pressure unit") {
        /// Millimetres of mercury.
        MmHg = "mmHg",
        /// Kilopascal.
        KPa = "kPa",
    }
}

/// A pressure in micro-mmHg.
///
/// A kPa value with up to two decimals times 7.50062 (page 3, section 2.2) has seven decimals; six are kept,
/// rounded half up, which is four orders finer than any cuff resolves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pressure(i64);

impl Pressure {
    /// Micro-mmHg in one mmHg.
    pub const SCALE: i64 = 1_000_000;

    /// From whole mmHg.
    #[must_use]
    pub const fn from_mmhg(mmhg: i32) -> Self {
        Self(mmhg as i64 * Self::SCALE)
    }

    /// From micro-mmHg.
    #[must_use]
    pub const fn from_micro_mmhg(micro: i64) -> Self {
        Self(micro)
    }

    /// In micro-mmHg.
    #[must_use]
    pub const fn micro_mmhg(self) -> i64 {
        self.0
    }

    /// Rounded half up to whole mmHg, the number that is judged, stored and shown (page 5, section 2).
    #[must_use]
    pub const fn rounded_mmhg(self) -> i64 {
        self.0.saturating_add(Self::SCALE / 2).div_euclid(Self::SCALE)
    }
}

/// A pulse rate in thousandths of a beat per minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PulseRate(i64);

impl PulseRate {
    /// Thousandths in one beat per minute.
    pub const SCALE: i64 = 1_000;

    /// From whole beats per minute.
    #[must_use]
    pub const fn from_per_min(per_min: i32) -> Self {
        Self(per_min as i64 * Self::SCALE)
    }

    /// From thousandths of a beat per minute.
    #[must_use]
    pub const fn from_milli_per_min(milli: i64) -> Self {
        Self(milli)
    }

    /// In thousandths of a beat per minute.
    #[must_use]
    pub const fn milli_per_min(self) -> i64 {
        self.0
    }

    /// Rounded half up to whole beats per minute.
    #[must_use]
    pub const fn rounded_per_min(self) -> i64 {
        self.0.saturating_add(Self::SCALE / 2).div_euclid(Self::SCALE)
    }
}

code_enum! {
    /// The unit in which a glucose meter sent its value; cut-offs are compared in it.
    pub enum GlucoseUnit ("glucose unit") {
        /// Milligrams per decilitre (sent as kg/L).
        MgPerDl = "mg/dL",
        /// Millimoles per litre (sent as mol/L).
        MmolPerL = "mmol/L",
    }
}

/// A glucose concentration in thousandths of the unit that the meter sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Concentration {
    /// Thousandths of `unit`.
    pub milli: i64,
    /// The unit sent.
    pub unit: GlucoseUnit,
}

impl Concentration {
    /// mg/dL in one mmol/L, times 10,000.
    pub const MG_PER_DL_PER_MMOL_E4: i64 = {
        let factor = carepost_gatt::glucose::MG_PER_DL_PER_MMOL_PER_L;
        assert!(factor.exponent == -4, "the factor has four decimals");
        factor.mantissa
    };

    /// The value in milli-mmol/L, rounded half up; for display and trends only, never for a cut-off.
    #[must_use]
    pub const fn display_milli_mmol_per_l(self) -> i64 {
        match self.unit {
            GlucoseUnit::MmolPerL => self.milli,
            GlucoseUnit::MgPerDl => {
                let scaled = self.milli.saturating_mul(10_000);
                scaled
                    .saturating_add(Self::MG_PER_DL_PER_MMOL_E4 / 2)
                    .div_euclid(Self::MG_PER_DL_PER_MMOL_E4)
            }
        }
    }

    /// The value in milli-mg/dL, rounded half up; for display only.
    #[must_use]
    pub const fn display_milli_mg_per_dl(self) -> i64 {
        match self.unit {
            GlucoseUnit::MgPerDl => self.milli,
            GlucoseUnit::MmolPerL => self
                .milli
                .saturating_mul(Self::MG_PER_DL_PER_MMOL_E4)
                .saturating_add(5_000)
                .div_euclid(10_000),
        }
    }
}

/// A glucose result: a number, or the meter's word that it is out of its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum GlucoseLevel {
    /// A number in the unit sent.
    Value(Concentration),
    /// The meter's "HI": above its range (status bit 5 or +INF).
    AboveRange {
        /// The unit the meter sends.
        unit: GlucoseUnit,
    },
    /// The meter's "LO": below its range (status bit 6 or -INF).
    BelowRange {
        /// The unit the meter sends.
        unit: GlucoseUnit,
    },
}

code_enum! {
    /// The unit in which a scale sent its weight.
    pub enum WeightUnit ("weight unit") {
        /// Kilograms.
        Kg = "kg",
        /// Pounds.
        Lb = "lb",
    }
}

/// A body mass in thousandths of the unit that the scale sent, which both units hold exactly: steps are 0.005 kg or
/// 0.01 lb (page 3, section 2.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mass {
    /// Thousandths of `unit`; grams with kilograms.
    pub milli: i64,
    /// The unit sent.
    pub unit: WeightUnit,
}

impl Mass {
    /// Hundreds of nanograms in one thousandth of a pound: one pound is 0.45359237 kg by definition.
    const GRAMS_PER_MILLI_LB_E8: i64 = 45_359_237;

    /// The mass in grams, rounded half up; exact from kilograms.
    #[must_use]
    pub const fn display_grams(self) -> i64 {
        match self.unit {
            WeightUnit::Kg => self.milli,
            WeightUnit::Lb => self
                .milli
                .saturating_mul(Self::GRAMS_PER_MILLI_LB_E8)
                .saturating_add(50_000_000)
                .div_euclid(100_000_000),
        }
    }
}

impl fmt::Display for Mass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", one_decimal(self.milli), self.unit.code())
    }
}

code_enum! {
    /// The unit in which a thermometer sent its temperature.
    pub enum TemperatureUnit ("temperature unit") {
        /// Degrees Celsius.
        Celsius = "C",
        /// Degrees Fahrenheit.
        Fahrenheit = "F",
    }
}

/// A temperature in thousandths of a degree of the unit that the thermometer sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Degrees {
    /// Thousandths of a degree of `unit`.
    pub milli: i64,
    /// The unit sent.
    pub unit: TemperatureUnit,
}

impl Degrees {
    /// The temperature in thousandths of a degree Celsius: exact from Celsius; from Fahrenheit (F - 32) x 5 / 9, rounded
    /// half up to the thousandth, which is a hundred times finer than any body thermometer resolves.
    #[must_use]
    pub const fn display_milli_celsius(self) -> i64 {
        match self.unit {
            TemperatureUnit::Celsius => self.milli,
            // Twice the numerator plus the denominator over twice the denominator: half up, in integers.
            TemperatureUnit::Fahrenheit => self
                .milli
                .saturating_sub(32_000)
                .saturating_mul(10)
                .saturating_add(9)
                .div_euclid(18),
        }
    }
}

impl fmt::Display for Degrees {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} \u{b0}{}", one_decimal(self.milli), self.unit.code())
    }
}

/// A ratio in tenths of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TenthsOfPercent(i64);

impl TenthsOfPercent {
    /// From tenths of a percent.
    #[must_use]
    pub const fn new(tenths: i64) -> Self {
        Self(tenths)
    }

    /// In tenths of a percent.
    #[must_use]
    pub const fn tenths(self) -> i64 {
        self.0
    }

    /// Rounded half up to whole percent.
    #[must_use]
    pub const fn rounded_pct(self) -> i64 {
        self.0.saturating_add(5).div_euclid(10)
    }
}

/// Prints thousandths with one decimal, rounded half up: `5551` is `5.6`.
#[must_use]
pub fn one_decimal(milli: i64) -> String {
    let tenths = milli.saturating_add(50).div_euclid(100);
    let sign = if tenths < 0 { "-" } else { "" };
    let tenths = tenths.unsigned_abs();
    format!("{sign}{}.{}", tenths / 10, tenths % 10)
}

impl fmt::Display for Concentration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.unit {
            GlucoseUnit::MmolPerL => write!(f, "{} mmol/L", one_decimal(self.milli)),
            GlucoseUnit::MgPerDl => write!(f, "{} mg/dL", self.milli.saturating_add(500).div_euclid(1_000)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pressure_rounds_half_up_once() {
        assert_eq!(Pressure::from_micro_mmhg(139_500_000).rounded_mmhg(), 140);
        assert_eq!(Pressure::from_micro_mmhg(139_499_999).rounded_mmhg(), 139);
        assert_eq!(Pressure::from_mmhg(120).rounded_mmhg(), 120);
    }

    #[test]
    fn the_boundary_trap_of_70_mg_per_dl_displays_3_9() {
        let c = Concentration {
            milli: 70_000,
            unit: GlucoseUnit::MgPerDl,
        };
        assert_eq!(c.display_milli_mmol_per_l(), 3_886);
        assert_eq!(one_decimal(c.display_milli_mmol_per_l()), "3.9");
    }

    #[test]
    fn a_mass_keeps_its_unit_and_is_shown_in_grams() {
        let mass = |milli, unit| Mass { milli, unit };
        assert_eq!(mass(72_345, WeightUnit::Kg).display_grams(), 72_345);
        // 0.01 lb is 4.5359237 g; 150 lb is 68,038.8555 g.
        assert_eq!(mass(10, WeightUnit::Lb).display_grams(), 5);
        assert_eq!(mass(150_000, WeightUnit::Lb).display_grams(), 68_039);
        assert_eq!(mass(72_345, WeightUnit::Kg).to_string(), "72.3 kg");
    }

    #[test]
    fn fahrenheit_becomes_celsius_rounded_once() {
        let fahrenheit = |milli| Degrees {
            milli,
            unit: TemperatureUnit::Fahrenheit,
        };
        assert_eq!(fahrenheit(98_600).display_milli_celsius(), 37_000);
        assert_eq!(fahrenheit(32_000).display_milli_celsius(), 0);
        // 99.1 F is 37.2777... C.
        assert_eq!(fahrenheit(99_100).display_milli_celsius(), 37_278);
        assert_eq!(fahrenheit(-40_000).display_milli_celsius(), -40_000);
        assert_eq!(fahrenheit(98_600).to_string(), "98.6 °F");
    }

    #[test]
    fn one_decimal_rounds_half_up() {
        assert_eq!(one_decimal(5_550), "5.6");
        assert_eq!(one_decimal(5_549), "5.5");
        assert_eq!(one_decimal(0), "0.0");
    }
}
