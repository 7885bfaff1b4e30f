//! Decimals, medical floats and dates against independent calculations.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::cmp::Ordering;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use carepost_gatt::{Calendar, DateTime, Decimal, EncodeError, MedFloat};
use proptest::prelude::*;

mod cases;

/// Small enough that 128-bit integers hold every product and difference.
fn decimal() -> impl Strategy<Value = Decimal> {
    let mantissa = prop_oneof![-1_000_000_i64..1_000_000, any::<i32>().prop_map(i64::from)];
    (mantissa, -10_i32..10).prop_map(|(mantissa, exponent)| Decimal::new(mantissa, exponent))
}

/// Value x 10^15, exactly.
fn scaled(value: Decimal) -> i128 {
    i128::from(value.mantissa) * 10_i128.pow(u32::try_from(value.exponent + 15).unwrap())
}

fn hash(value: Decimal) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

proptest! {
    #![proptest_config(cases::config(1_000))]

    #[test]
    fn decimals_compare_by_value(a in decimal(), b in decimal(), shift in 0_u32..6) {
        prop_assert_eq!(a.cmp(&b), scaled(a).cmp(&scaled(b)));
        prop_assert_eq!(b.cmp(&a), a.cmp(&b).reverse());
        let same = Decimal::new(a.mantissa * 10_i64.pow(shift), a.exponent - i32::try_from(shift).unwrap());
        prop_assert_eq!(a, same);
        prop_assert_eq!(hash(a), hash(same));
        prop_assert_eq!(a.to_string(), same.to_string());
        prop_assert_eq!(a.normalized(), a);
        prop_assert!(a.normalized().mantissa % 10 != 0 || a.normalized().mantissa == 0);
    }

    #[test]
    fn extreme_decimals_have_a_total_order(
        a in (any::<i64>(), any::<i32>()),
        b in (any::<i64>(), any::<i32>()),
        places in any::<i32>(),
        decimals in any::<u8>(),
    ) {
        let (a, b) = (Decimal::new(a.0, a.1), Decimal::new(b.0, b.1));
        prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
        prop_assert_eq!(a.cmp(&a), Ordering::Equal);
        // No panic, whatever comes out.
        std::hint::black_box((a.checked_add(b), a.checked_mul(b)));
        std::hint::black_box((a.div_rounded(b, decimals), a.to_scaled(places)));
        prop_assert!(a.to_string().len() < 500);
    }

    #[test]
    fn sums_and_products_are_exact(a in decimal(), b in decimal()) {
        if let Some(sum) = a.checked_add(b) {
            prop_assert_eq!(scaled(sum), scaled(a) + scaled(b));
        }
        if let Some(product) = a.checked_mul(b) {
            let expected = i128::from(a.mantissa) * i128::from(b.mantissa);
            let back = product.rescaled(a.exponent + b.exponent).map(i128::from);
            prop_assert!(back.is_none() || back == Some(expected));
        }
    }

    #[test]
    fn small_sums_and_products_are_never_refused(
        a in -1_000_000_i64..1_000_000,
        b in -1_000_000_i64..1_000_000,
        x in -4_i32..4,
        y in -4_i32..4,
    ) {
        let (a, b) = (Decimal::new(a, x), Decimal::new(b, y));
        prop_assert_eq!(scaled(a.checked_add(b).unwrap()), scaled(a) + scaled(b));
        prop_assert!(a.checked_mul(b).is_some());
    }

    #[test]
    fn scaling_rounds_to_the_nearest(value in decimal(), places in -8_i32..8) {
        let unit = 10_i128.pow(u32::try_from(15 - places).unwrap());
        match value.to_scaled(places) {
            Some((integer, exact)) => {
                let error = scaled(value) - i128::from(integer) * unit;
                prop_assert_eq!(exact, error == 0);
                prop_assert!(error.abs() * 2 <= unit);
                if error.abs() * 2 == unit {
                    // A half went away from zero.
                    prop_assert_eq!(error.signum(), -scaled(value).signum());
                }
            }
            None => prop_assert!(scaled(value).abs() / unit >= i128::from(i64::MAX)),
        }
    }

    #[test]
    fn decimals_print_plainly(value in decimal()) {
        let text = value.to_string();
        prop_assert!(!text.contains(['e', 'E', '+']), "{}", text);
        let exponential = format!("{}e{}", value.mantissa, value.exponent);
        prop_assert_eq!(text.parse::<f64>().unwrap(), exponential.parse::<f64>().unwrap());
    }

    #[test]
    fn every_float_word_survives(word in any::<u32>()) {
        prop_assert_eq!(MedFloat::from_float(word).to_float(None), Ok(word));
    }

    #[test]
    fn medical_floats_are_written_exactly_or_not(value in decimal(), preferred in prop::option::of(any::<i8>())) {
        let number = MedFloat::Number(value);
        if let Ok(word) = number.to_sfloat(preferred) {
            prop_assert_eq!(MedFloat::from_sfloat(word), number);
        } else {
            // No ordinary word has this value.
            let exists = (0..=u16::MAX).any(|word| MedFloat::from_sfloat(word) == number);
            prop_assert!(!exists);
        }
        if let Ok(word) = number.to_float(preferred) {
            prop_assert_eq!(MedFloat::from_float(word), number);
        }
    }

    #[test]
    fn dates_and_milliseconds_agree(ms in -12_244_089_600_000_i64..253_402_300_800_000) {
        let date = DateTime::from_as_if_utc_ms(ms).unwrap();
        prop_assert_eq!(date.calendar(), Calendar::Valid);
        prop_assert_eq!(date.as_if_utc_ms(), Some(ms - ms.rem_euclid(1000)));
    }

    #[test]
    fn any_date_is_survived(bytes in any::<[u8; 7]>(), ms in any::<i64>(), minutes in any::<i32>()) {
        let date = DateTime::from_bytes(bytes);
        prop_assert_eq!(date.to_bytes(), Ok(bytes));
        prop_assert_eq!(date.as_if_utc_ms().is_some(), date.calendar() == Calendar::Valid);
        std::hint::black_box((date.plus_minutes(minutes), DateTime::from_as_if_utc_ms(ms)));
    }
}

#[test]
fn every_sfloat_word_survives() {
    for word in 0..=u16::MAX {
        assert_eq!(MedFloat::from_sfloat(word).to_sfloat(None), Ok(word));
    }
}

#[test]
fn specials_are_whole_words() {
    let check = |word: u16, expected: &str| {
        assert_eq!(MedFloat::from_sfloat(word).to_string(), expected, "{word:04X}");
    };
    check(0x07FF, "NaN");
    check(0x0800, "NRes");
    check(0x07FE, "+INF");
    check(0x0802, "-INF");
    check(0x0801, "Reserved");
    check(0xF7FF, "204.7");
    check(0xFFFF, "-0.1");
    check(0x1800, "-20480");
    check(0x0803, "-2045");
}

#[test]
fn preferred_exponents_are_taken_when_exact() {
    let check = |mantissa: i64, exponent: i32, preferred: i8, word: u16| {
        let number = MedFloat::Number(Decimal::new(mantissa, exponent));
        assert_eq!(number.to_sfloat(Some(preferred)), Ok(word));
    };
    // 100 mg/dL as kg/L and 5.5 mmol/L as mol/L.
    check(1, -3, -5, 0xB064);
    check(55, -4, -4, 0xC037);
    check(120, 0, -1, 0xF4B0);
    // Too large for the preferred exponent.
    check(300, 0, -1, 0x012C);
    // Not exact at the preferred exponent.
    check(1205, -1, 0, 0xF4B5);
    let too_fine = MedFloat::Number(Decimal::new(12_345, 0));
    assert_eq!(
        too_fine.to_sfloat(None),
        Err(EncodeError::NotRepresentable { format: "SFLOAT" })
    );
    // Taken by NaN, and no other exponent is exact.
    let nan = MedFloat::Number(Decimal::new(2047, 0));
    assert!(nan.to_sfloat(None).is_err());
}

#[test]
fn decimals_print_as_people_write_them() {
    let check = |mantissa: i64, exponent: i32, expected: &str| {
        assert_eq!(Decimal::new(mantissa, exponent).to_string(), expected);
    };
    check(16, -8, "0.00000016");
    check(513, 7, "5130000000");
    check(-364, -1, "-36.4");
    check(-5, -1, "-0.5");
    check(0, -5, "0");
    check(160, -1, "16");
    check(1_234_500, -3, "1234.5");
    check(i64::MIN, 0, "-9223372036854775808");
    check(1, 401, "1e401");
    assert_eq!(format!("{:>6}", Decimal::new(15, -1)), "   1.5");
}

#[test]
fn halves_are_rounded_away_from_zero() {
    let check = |mantissa: i64, exponent: i32, places: i32, expected: Option<(i64, bool)>| {
        assert_eq!(Decimal::new(mantissa, exponent).to_scaled(places), expected);
    };
    check(25, -1, 0, Some((3, false)));
    check(-25, -1, 0, Some((-3, false)));
    check(24, -1, 0, Some((2, false)));
    check(5, -1, 0, Some((1, false)));
    check(-5, -1, 0, Some((-1, false)));
    check(4, -1, 0, Some((0, false)));
    check(120, 0, 6, Some((120_000_000, true)));
    check(1, 19, 0, None);
    check(9, -100, 0, Some((0, false)));
    check(i64::MIN, 0, 0, Some((i64::MIN, true)));
    assert_eq!(
        Decimal::new(100, 0).div_rounded(Decimal::new(180_156, -4), 3),
        Some(Decimal::new(5_551, -3))
    );
    assert_eq!(Decimal::new(1, 0).div_rounded(Decimal::ZERO, 3), None);
}

#[test]
fn calendars_are_judged() {
    let check = |date: (u16, u8, u8, u8, u8, u8), expected: Calendar| {
        let (year, month, day, hour, minute, second) = date;
        let date = DateTime::new(year, month, day, hour, minute, second);
        assert_eq!(date.calendar(), expected, "{date:?}");
        assert_eq!(date.as_if_utc_ms().is_some(), expected == Calendar::Valid);
    };
    check((2026, 10, 15, 7, 30, 0), Calendar::Valid);
    check((2024, 2, 29, 23, 59, 59), Calendar::Valid);
    check((2000, 2, 29, 0, 0, 0), Calendar::Valid);
    check((1900, 2, 29, 0, 0, 0), Calendar::Invalid);
    check((2023, 2, 29, 0, 0, 0), Calendar::Invalid);
    check((2026, 2, 31, 0, 0, 0), Calendar::Invalid);
    check((2026, 4, 31, 0, 0, 0), Calendar::Invalid);
    check((2026, 13, 1, 0, 0, 0), Calendar::Invalid);
    check((1582, 1, 1, 0, 0, 0), Calendar::Valid);
    check((1581, 12, 31, 0, 0, 0), Calendar::Invalid);
    check((9999, 12, 31, 0, 0, 0), Calendar::Valid);
    check((10_000, 1, 1, 0, 0, 0), Calendar::Invalid);
    check((2026, 1, 1, 24, 0, 0), Calendar::Invalid);
    check((2026, 1, 1, 0, 60, 0), Calendar::Invalid);
    check((2026, 1, 1, 0, 0, 60), Calendar::Invalid);
    check((0, 1, 1, 0, 0, 0), Calendar::Unknown);
    check((2026, 0, 1, 0, 0, 0), Calendar::Unknown);
    check((2026, 1, 0, 0, 0, 0), Calendar::Unknown);
    check((24_320, 0, 228, 7, 9, 24), Calendar::Unknown);
}

#[test]
fn known_moments_have_known_milliseconds() {
    let check = |date: DateTime, ms: i64| {
        assert_eq!(date.as_if_utc_ms(), Some(ms));
        assert_eq!(DateTime::from_as_if_utc_ms(ms), Some(date));
    };
    check(DateTime::new(1970, 1, 1, 0, 0, 0), 0);
    check(DateTime::new(2000, 3, 1, 0, 0, 0), 951_868_800_000);
    check(DateTime::new(2024, 2, 29, 12, 0, 1), 1_709_208_001_000);
    check(DateTime::new(1969, 12, 31, 23, 59, 59), -1_000);
    check(DateTime::new(9999, 12, 31, 23, 59, 59), 253_402_300_799_000);
    assert_eq!(DateTime::from_as_if_utc_ms(253_402_300_800_000), None);
    assert_eq!(
        DateTime::new(2024, 1, 30, 5, 58, 27).plus_minutes(339),
        Some(DateTime::new(2024, 1, 30, 11, 37, 27))
    );
    assert_eq!(
        DateTime::new(2024, 3, 1, 0, 0, 0).plus_minutes(-1),
        Some(DateTime::new(2024, 2, 29, 23, 59, 0))
    );
    assert_eq!(
        DateTime {
            year: Some(0),
            ..DateTime::new(2024, 3, 1, 0, 0, 0)
        }
        .to_bytes(),
        Err(EncodeError::OutOfRange { field: "year" })
    );
}
