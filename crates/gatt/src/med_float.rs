//! Medical floats of IEEE 11073-20601: SFLOAT (16 bit) and FLOAT (32 bit).

use core::fmt;

use crate::{Decimal, EncodeError};

/// A medical float: a decimal number or one of the special words.
///
/// Specials are recognised by the whole word: 0x07FF is NaN, 0xF7FF is 204.7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MedFloat {
    /// A number, with the exponent as sent.
    Number(Decimal),
    /// Not a number: invalid or not provided.
    NaN,
    /// Not at this resolution.
    NRes,
    /// Above the range.
    PosInf,
    /// Below the range.
    NegInf,
    /// The reserved word.
    Reserved,
}

/// Sizes of one of the two formats. In both, the mantissas next to the ends of the range are special words when the
/// exponent is 0.
struct Format {
    name: &'static str,
    mantissa_max: i64,
    mantissa_min: i64,
    exponent_min: i32,
    exponent_max: i32,
}

const SFLOAT: Format = Format {
    name: "SFLOAT",
    mantissa_max: 0x7FF,
    mantissa_min: -0x800,
    exponent_min: -8,
    exponent_max: 7,
};

const FLOAT: Format = Format {
    name: "FLOAT",
    mantissa_max: 0x7F_FFFF,
    mantissa_min: -0x80_0000,
    exponent_min: -128,
    exponent_max: 127,
};

impl MedFloat {
    /// Reads a 16-bit SFLOAT: exponent in bits 15-12, mantissa in bits 11-0, both two's complement.
    #[must_use]
    pub const fn from_sfloat(word: u16) -> Self {
        match word {
            0x07FF => Self::NaN,
            0x0800 => Self::NRes,
            0x07FE => Self::PosInf,
            0x0802 => Self::NegInf,
            0x0801 => Self::Reserved,
            _ => {
                let mantissa = ((word << 4) as i16) >> 4;
                let exponent = (word as i16) >> 12;
                Self::Number(Decimal::new(mantissa as i64, exponent as i32))
            }
        }
    }

    /// Reads a 32-bit FLOAT: exponent in bits 31-24, mantissa in bits 23-0, both two's complement.
    #[must_use]
    pub const fn from_float(word: u32) -> Self {
        match word {
            0x007F_FFFF => Self::NaN,
            0x0080_0000 => Self::NRes,
            0x007F_FFFE => Self::PosInf,
            0x0080_0002 => Self::NegInf,
            0x0080_0001 => Self::Reserved,
            _ => {
                let mantissa = ((word << 8) as i32) >> 8;
                let exponent = (word as i32) >> 24;
                Self::Number(Decimal::new(mantissa as i64, exponent))
            }
        }
    }

    /// Writes a 16-bit SFLOAT, never rounding.
    ///
    /// A number takes `preferred_exponent` if it is exact there, else the exponent it carries, else the exponent
    /// nearest to 0 at which it is exact.
    ///
    /// # Errors
    /// `NotRepresentable` if no exponent gives the exact number (five mantissas next to the ends of the range are
    /// taken by the special words).
    pub fn to_sfloat(&self, preferred_exponent: Option<i8>) -> Result<u16, EncodeError> {
        Ok(match self {
            Self::NaN => 0x07FF,
            Self::NRes => 0x0800,
            Self::PosInf => 0x07FE,
            Self::NegInf => 0x0802,
            Self::Reserved => 0x0801,
            Self::Number(value) => {
                let (mantissa, exponent) = fit(*value, preferred_exponent, &SFLOAT)?;
                ((exponent as u16) << 12) | ((mantissa as u16) & 0x0FFF)
            }
        })
    }

    /// Writes a 32-bit FLOAT by the rules of [`MedFloat::to_sfloat`].
    ///
    /// # Errors
    /// `NotRepresentable` if no exponent gives the exact number.
    pub fn to_float(&self, preferred_exponent: Option<i8>) -> Result<u32, EncodeError> {
        Ok(match self {
            Self::NaN => 0x007F_FFFF,
            Self::NRes => 0x0080_0000,
            Self::PosInf => 0x007F_FFFE,
            Self::NegInf => 0x0080_0002,
            Self::Reserved => 0x0080_0001,
            Self::Number(value) => {
                let (mantissa, exponent) = fit(*value, preferred_exponent, &FLOAT)?;
                ((exponent as u32) << 24) | ((mantissa as u32) & 0x00FF_FFFF)
            }
        })
    }

    /// The number, unless it is a special.
    #[must_use]
    pub const fn number(&self) -> Option<Decimal> {
        match self {
            Self::Number(value) => Some(*value),
            Self::NaN | Self::NRes | Self::PosInf | Self::NegInf | Self::Reserved => None,
        }
    }

    /// The spelling of a special: `NaN`, `NRes`, `+INF`, `-INF`, `Reserved`; `None` for a number.
    #[must_use]
    pub const fn special_name(&self) -> Option<&'static str> {
        match self {
            Self::Number(_) => None,
            Self::NaN => Some("NaN"),
            Self::NRes => Some("NRes"),
            Self::PosInf => Some("+INF"),
            Self::NegInf => Some("-INF"),
            Self::Reserved => Some("Reserved"),
        }
    }
}

impl From<Decimal> for MedFloat {
    fn from(value: Decimal) -> Self {
        Self::Number(value)
    }
}

impl fmt::Display for MedFloat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(value) => value.fmt(f),
            special => f.pad(special.special_name().unwrap_or("Reserved")),
        }
    }
}

/// Mantissa and exponent of `value` in `format`.
fn fit(value: Decimal, preferred: Option<i8>, format: &Format) -> Result<(i64, i32), EncodeError> {
    let near_zero = (0..=format.exponent_max.max(format.exponent_min.saturating_neg()))
        .flat_map(|size| [size, size.saturating_neg()]);
    preferred
        .map(i32::from)
        .into_iter()
        .chain([value.exponent])
        .chain(near_zero)
        .filter(|exponent| (format.exponent_min..=format.exponent_max).contains(exponent))
        .find_map(|exponent| {
            let mantissa = value.rescaled(exponent)?;
            format.holds(mantissa, exponent).then_some((mantissa, exponent))
        })
        .ok_or(EncodeError::NotRepresentable { format: format.name })
}

impl Format {
    fn holds(&self, mantissa: i64, exponent: i32) -> bool {
        if exponent == 0 {
            // +INF and NaN above, NRes, Reserved and -INF below.
            mantissa < self.mantissa_max.saturating_sub(1) && mantissa > self.mantissa_min.saturating_add(2)
        } else {
            (self.mantissa_min..=self.mantissa_max).contains(&mantissa)
        }
    }
}
