//! Exact decimal numbers.

use alloc::string::{String, ToString};
use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};

/// Exponents beyond this are printed in `e` notation, so that a hostile exponent cannot make a long text. Medical
/// floats stay far below it (FLOAT: -128 to 127).
const MAX_PLAIN_EXPONENT: u32 = 400;

/// An exact decimal number, `mantissa` x 10^`exponent`.
///
/// Both parts are kept as given, so that encoding returns the bytes that were decoded. Comparison, hashing and
/// `Display` go by value: 120 x 10^0 equals 12 x 10^1.
#[derive(Debug, Clone, Copy)]
pub struct Decimal {
    /// Digits with sign.
    pub mantissa: i64,
    /// Power of ten.
    pub exponent: i32,
}

impl Decimal {
    /// Zero.
    pub const ZERO: Self = Self::new(0, 0);

    /// `mantissa` x 10^`exponent`.
    #[must_use]
    pub const fn new(mantissa: i64, exponent: i32) -> Self {
        Self { mantissa, exponent }
    }

    /// The same value with the shortest mantissa; zero has exponent 0.
    #[must_use]
    pub fn normalized(self) -> Self {
        if self.mantissa == 0 {
            return Self::ZERO;
        }
        let Self {
            mut mantissa,
            mut exponent,
        } = self;
        while mantissa % 10 == 0 {
            let Some(next) = exponent.checked_add(1) else {
                break;
            };
            mantissa /= 10;
            exponent = next;
        }
        Self { mantissa, exponent }
    }

    /// True for values below zero.
    #[must_use]
    pub const fn is_negative(self) -> bool {
        self.mantissa < 0
    }

    /// The mantissa of the same value at `exponent`, if that is exact and fits.
    #[must_use]
    pub fn rescaled(self, exponent: i32) -> Option<i64> {
        let normal = self.normalized();
        if normal.mantissa == 0 {
            return Some(0);
        }
        let shift = normal.exponent.checked_sub(exponent)?;
        let factor = 10_i64.checked_pow(u32::try_from(shift).ok()?)?;
        normal.mantissa.checked_mul(factor)
    }

    /// Exact product, or `None` if it does not fit.
    #[must_use]
    pub fn checked_mul(self, other: Self) -> Option<Self> {
        let (a, b) = (self.normalized(), other.normalized());
        Some(Self {
            mantissa: a.mantissa.checked_mul(b.mantissa)?,
            exponent: a.exponent.checked_add(b.exponent)?,
        })
    }

    /// Exact sum, or `None` if it does not fit.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        let (a, b) = (self.normalized(), other.normalized());
        // Zero is normalised to exponent 0, which must not force digits upon the other.
        if a.mantissa == 0 {
            return Some(b);
        }
        if b.mantissa == 0 {
            return Some(a);
        }
        let exponent = a.exponent.min(b.exponent);
        let mantissa = a.rescaled(exponent)?.checked_add(b.rescaled(exponent)?)?;
        Some(Self { mantissa, exponent })
    }

    /// Value x 10^`exp10` as an integer, and whether that is exact. Otherwise it is rounded to the nearest integer,
    /// halves away from zero (2.5 to 3, -2.5 to -3). `None` if it does not fit.
    ///
    /// ```
    /// # use carepost_gatt::Decimal;
    /// // 16.05 kPa in thousandths.
    /// assert_eq!(Decimal::new(1605, -2).to_scaled(3), Some((16050, true)));
    /// assert_eq!(Decimal::new(-25, -1).to_scaled(0), Some((-3, false)));
    /// ```
    #[must_use]
    pub fn to_scaled(self, exp10: i32) -> Option<(i64, bool)> {
        self.rounded_ratio(Self::new(1, 0), exp10)
    }

    /// Quotient with `decimals` digits after the point, rounded to the nearest, halves away from zero. `None` if
    /// `divisor` is zero or the result does not fit.
    #[must_use]
    pub fn div_rounded(self, divisor: Self, decimals: u8) -> Option<Self> {
        let (mantissa, _) = self.rounded_ratio(divisor, i32::from(decimals))?;
        Some(Self {
            mantissa,
            exponent: i32::from(decimals).checked_neg()?,
        })
    }

    /// Value with at most `decimals` digits after the point, rounded to the nearest, halves away from zero.
    #[must_use]
    pub fn rounded(self, decimals: u8) -> Option<Self> {
        self.div_rounded(Self::new(1, 0), decimals)
    }

    /// `self` / `divisor` x 10^`exp10`, rounded, and whether that is exact.
    fn rounded_ratio(self, divisor: Self, exp10: i32) -> Option<(i64, bool)> {
        let (a, b) = (self.normalized(), divisor.normalized());
        if b.mantissa == 0 {
            return None;
        }
        if a.mantissa == 0 {
            return Some((0, true));
        }
        let shift = i64::from(a.exponent)
            .checked_sub(i64::from(b.exponent))?
            .checked_add(i64::from(exp10))?;
        let sign = if b.mantissa < 0 { -1_i128 } else { 1 };
        let mut numerator = i128::from(a.mantissa).checked_mul(sign)?;
        let mut denominator = i128::from(b.mantissa.unsigned_abs());
        match (
            u32::try_from(shift.unsigned_abs())
                .ok()
                .and_then(|digits| 10_i128.checked_pow(digits)),
            shift < 0,
        ) {
            (Some(power), false) => numerator = numerator.checked_mul(power)?,
            (Some(power), true) => match denominator.checked_mul(power) {
                Some(scaled) => denominator = scaled,
                // The quotient is below 10^19 / 10^37.
                None => return Some((0, false)),
            },
            (None, false) => return None,
            (None, true) => return Some((0, false)),
        }
        let quotient = numerator.checked_div(denominator)?;
        let remainder = numerator.checked_rem(denominator)?;
        let half_or_more = remainder
            .unsigned_abs()
            .checked_mul(2)
            .is_none_or(|twice| twice >= denominator.unsigned_abs());
        let rounded = match (half_or_more, numerator < 0) {
            (false, _) => quotient,
            (true, false) => quotient.checked_add(1)?,
            (true, true) => quotient.checked_sub(1)?,
        };
        Some((i64::try_from(rounded).ok()?, remainder == 0))
    }
}

impl From<i32> for Decimal {
    fn from(value: i32) -> Self {
        Self::new(i64::from(value), 0)
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Decimal {}

impl Hash for Decimal {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let normal = self.normalized();
        normal.mantissa.hash(state);
        normal.exponent.hash(state);
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b) = (self.normalized(), other.normalized());
        let signs = a.mantissa.signum().cmp(&b.mantissa.signum());
        if signs != Ordering::Equal || a.mantissa == 0 {
            return signs;
        }
        let by_size = magnitude(a)
            .cmp(&magnitude(b))
            .then_with(|| compare_same_magnitude(a, b));
        if a.mantissa < 0 { by_size.reverse() } else { by_size }
    }
}

/// Place of the first digit, as a power of ten.
fn magnitude(value: Decimal) -> i64 {
    let digits = value.mantissa.unsigned_abs().checked_ilog10().unwrap_or(0);
    i64::from(value.exponent).saturating_add(i64::from(digits))
}

/// Compares absolute values whose first digits have the same place: the exponents then differ by less than 19, so
/// that both fit in 128 bits at the smaller one.
fn compare_same_magnitude(a: Decimal, b: Decimal) -> Ordering {
    let exponent = a.exponent.min(b.exponent);
    let at_exponent = |value: Decimal| {
        let shift = value.exponent.abs_diff(exponent);
        10_u128
            .checked_pow(shift)
            .and_then(|power| u128::from(value.mantissa.unsigned_abs()).checked_mul(power))
            .unwrap_or(u128::MAX)
    };
    at_exponent(a).cmp(&at_exponent(b))
}

/// Plain decimal digits without exponent, without trailing zeros: 0.00000016, 5130000000. Equal values print alike.
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let normal = self.normalized();
        let digits = normal.mantissa.unsigned_abs().to_string();
        let shift = normal.exponent.unsigned_abs();
        let text = if shift > MAX_PLAIN_EXPONENT {
            alloc::format!("{digits}e{}", normal.exponent)
        } else {
            plain(&digits, shift, normal.exponent < 0)
        };
        f.pad_integral(normal.mantissa >= 0, "", &text)
    }
}

/// `digits` with the point moved by `shift` places, to the left if `left`.
fn plain(digits: &str, shift: u32, left: bool) -> String {
    let places = usize::try_from(shift).unwrap_or(usize::MAX);
    let mut text = String::new();
    if !left {
        text.push_str(digits);
        text.extend(core::iter::repeat_n('0', places));
        return text;
    }
    match digits.len().checked_sub(places) {
        Some(whole) if whole > 0 => {
            let (before, after) = digits.split_at_checked(whole).unwrap_or((digits, ""));
            text.push_str(before);
            text.push('.');
            text.push_str(after);
        }
        _ => {
            text.push_str("0.");
            text.extend(core::iter::repeat_n('0', places.saturating_sub(digits.len())));
            text.push_str(digits);
        }
    }
    text
}
