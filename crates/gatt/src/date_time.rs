//! Date Time (2A08): a meter's own idea of the time, without a zone.

use alloc::vec::Vec;

use crate::bytes::Reader;
use crate::{DecodeError, Decoded, EncodeError};

/// First and last year of the characteristic; 1582 is the first of the Gregorian calendar.
const YEARS: core::ops::RangeInclusive<u16> = 1582..=9999;
const MS_PER_DAY: i64 = 86_400_000;

/// A date and time as sent: raw 0 in year, month or day is "unknown" (`None`), anything else is kept even if no
/// calendar has it. [`DateTime::calendar`] judges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DateTime {
    /// Year, 1582 to 9999 when valid.
    pub year: Option<u16>,
    /// Month, 1 to 12 when valid.
    pub month: Option<u8>,
    /// Day of the month, from 1.
    pub day: Option<u8>,
    /// Hour, 0 to 23 when valid.
    pub hour: u8,
    /// Minute, 0 to 59 when valid.
    pub minute: u8,
    /// Second, 0 to 59 when valid.
    pub second: u8,
}

/// Whether a calendar has the date and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Calendar {
    /// A moment that exists.
    Valid,
    /// All parts are known and there is no such moment (month 13, 31 February, hour 24, year 4).
    Invalid,
    /// Year, month or day is unknown.
    Unknown,
}

impl DateTime {
    /// Length of the characteristic in bytes.
    pub const LENGTH: usize = 7;

    /// A date and time with all parts; 0 in year, month or day means unknown.
    #[must_use]
    pub const fn new(year: u16, month: u8, day: u8, hour: u8, minute: u8, second: u8) -> Self {
        Self {
            year: if year == 0 { None } else { Some(year) },
            month: if month == 0 { None } else { Some(month) },
            day: if day == 0 { None } else { Some(day) },
            hour,
            minute,
            second,
        }
    }

    /// Reads the seven bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::LENGTH]) -> Self {
        let [year_low, year_high, month, day, hour, minute, second] = bytes;
        let year = u16::from_le_bytes([year_low, year_high]);
        Self::new(year, month, day, hour, minute, second)
    }

    /// Reads a Date Time.
    ///
    /// # Errors
    /// `TooShort` below seven bytes.
    pub fn decode(bytes: &[u8]) -> Result<Decoded<Self>, DecodeError> {
        let mut reader = Reader::new(bytes, Self::LENGTH)?;
        let value = reader.date_time()?;
        Ok(reader.finish(value))
    }

    /// Writes the seven bytes.
    ///
    /// # Errors
    /// `OutOfRange` if a part is `Some(0)`, which would decode as unknown.
    pub fn to_bytes(&self) -> Result<[u8; Self::LENGTH], EncodeError> {
        let field = match (self.year, self.month, self.day) {
            (Some(0), _, _) => "year",
            (_, Some(0), _) => "month",
            (_, _, Some(0)) => "day",
            (year, month, day) => {
                let [year_low, year_high] = year.unwrap_or(0).to_le_bytes();
                return Ok([
                    year_low,
                    year_high,
                    month.unwrap_or(0),
                    day.unwrap_or(0),
                    self.hour,
                    self.minute,
                    self.second,
                ]);
            }
        };
        Err(EncodeError::OutOfRange { field })
    }

    /// Writes a Date Time.
    ///
    /// # Errors
    /// As [`DateTime::to_bytes`].
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        self.to_bytes().map(|bytes| bytes.to_vec())
    }

    /// Whether a calendar has this moment.
    #[must_use]
    pub fn calendar(&self) -> Calendar {
        let (Some(year), Some(month), Some(day)) = (self.year, self.month, self.day) else {
            return Calendar::Unknown;
        };
        let exists = YEARS.contains(&year)
            && (1..=days_in_month(year, month)).contains(&day)
            && self.hour < 24
            && self.minute < 60
            && self.second < 60;
        if exists { Calendar::Valid } else { Calendar::Invalid }
    }

    /// Milliseconds since 1970-01-01 of the fields read as if they were UTC; `None` unless the calendar has them.
    /// Turning that into an instant takes a zone, which this crate does not know.
    #[must_use]
    pub fn as_if_utc_ms(&self) -> Option<i64> {
        if self.calendar() != Calendar::Valid {
            return None;
        }
        let days = days_since_1970(self.year?, self.month?, self.day?)?;
        let seconds = i64::from(self.hour)
            .checked_mul(60)?
            .checked_add(i64::from(self.minute))?
            .checked_mul(60)?
            .checked_add(i64::from(self.second))?;
        days.checked_mul(MS_PER_DAY)?.checked_add(seconds.checked_mul(1000)?)
    }

    /// The fields of `ms` milliseconds since 1970-01-01 read as UTC, whole seconds; `None` outside the years that
    /// the characteristic can hold.
    #[must_use]
    pub fn from_as_if_utc_ms(ms: i64) -> Option<Self> {
        let days = ms.div_euclid(MS_PER_DAY);
        let second_of_day = ms.rem_euclid(MS_PER_DAY) / 1000;
        let (year, month, day) = civil_from_days(days)?;
        let date_time = Self {
            year: Some(year),
            month: Some(month),
            day: Some(day),
            hour: u8::try_from(second_of_day / 3600).ok()?,
            minute: u8::try_from(second_of_day / 60 % 60).ok()?,
            second: u8::try_from(second_of_day % 60).ok()?,
        };
        (date_time.calendar() == Calendar::Valid).then_some(date_time)
    }

    /// The moment `minutes` later (earlier if negative); `None` unless both moments exist.
    #[must_use]
    pub fn plus_minutes(&self, minutes: i32) -> Option<Self> {
        let shift_ms = i64::from(minutes).checked_mul(60_000)?;
        Self::from_as_if_utc_ms(self.as_if_utc_ms()?.checked_add(shift_ms)?)
    }
}

const fn is_leap(year: u16) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// Days of a month; 0 for a month that does not exist.
const fn days_in_month(year: u16, month: u8) -> u8 {
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 0,
    }
}

/// Days of 400 years, the period of the Gregorian calendar.
const DAYS_PER_ERA: i64 = 146_097;
/// Days from 0000-03-01 to 1970-01-01.
const EPOCH_SHIFT: i64 = 719_468;

/// Days since 1970-01-01 of a date that exists. Years are counted from March, so that the leap day comes last.
fn days_since_1970(year: u16, month: u8, day: u8) -> Option<i64> {
    let (year, month, day) = (i64::from(year), i64::from(month), i64::from(day));
    let (march_year, march_month) = if month > 2 {
        (year, month.checked_sub(3)?)
    } else {
        (year.checked_sub(1)?, month.checked_add(9)?)
    };
    let era = march_year.div_euclid(400);
    let year_of_era = march_year.rem_euclid(400);
    // Month lengths from March repeat in groups of 153 days per five months.
    let day_of_year = march_month
        .checked_mul(153)?
        .checked_add(2)?
        .div_euclid(5)
        .checked_add(day)?
        .checked_sub(1)?;
    let day_of_era = year_of_era
        .checked_mul(365)?
        .checked_add(year_of_era / 4)?
        .checked_sub(year_of_era / 100)?
        .checked_add(day_of_year)?;
    era.checked_mul(DAYS_PER_ERA)?
        .checked_add(day_of_era)?
        .checked_sub(EPOCH_SHIFT)
}

/// Year, month and day of a number of days since 1970-01-01; `None` if the year does not fit.
fn civil_from_days(days: i64) -> Option<(u16, u8, u8)> {
    let shifted = days.checked_add(EPOCH_SHIFT)?;
    let era = shifted.div_euclid(DAYS_PER_ERA);
    let day_of_era = shifted.rem_euclid(DAYS_PER_ERA);
    let year_of_era = day_of_era
        .checked_sub(day_of_era / 1460)?
        .checked_add(day_of_era / 36_524)?
        .checked_sub(day_of_era / 146_096)?
        / 365;
    let days_before = year_of_era
        .checked_mul(365)?
        .checked_add(year_of_era / 4)?
        .checked_sub(year_of_era / 100)?;
    let day_of_year = day_of_era.checked_sub(days_before)?;
    let march_month = day_of_year.checked_mul(5)?.checked_add(2)? / 153;
    let month_start = march_month.checked_mul(153)?.checked_add(2)? / 5;
    let day = day_of_year.checked_sub(month_start)?.checked_add(1)?;
    let (month, carry) = if march_month < 10 {
        (march_month.checked_add(3)?, 0)
    } else {
        (march_month.checked_sub(9)?, 1)
    };
    let year = era.checked_mul(400)?.checked_add(year_of_era)?.checked_add(carry)?;
    Some((
        u16::try_from(year).ok()?,
        u8::try_from(month).ok()?,
        u8::try_from(day).ok()?,
    ))
}
