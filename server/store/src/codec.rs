//! From domain values to columns and back: instants, codes, keys derived from content.

use std::str::FromStr;

use carepost_domain::code::UnknownCode;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::error::{Fault, FaultKind, unreadable};

const READ: &str = "read a stored row";

/// An instant as it is stored: microseconds since 1970.
pub(crate) fn us(at: DateTime<Utc>) -> i64 {
    at.timestamp_micros()
}

/// A stored instant.
pub(crate) fn instant(us: i64) -> Result<DateTime<Utc>, Fault> {
    DateTime::from_timestamp_micros(us)
        .ok_or_else(|| Fault::new(READ, FaultKind::Unexpected, "an instant is out of range"))
}

/// A stored instant that may be absent.
pub(crate) fn instant_opt(us: Option<i64>) -> Result<Option<DateTime<Utc>>, Fault> {
    us.map(instant).transpose()
}

/// A stored code.
pub(crate) fn code<T: FromStr<Err = UnknownCode>>(text: &str) -> Result<T, Fault> {
    text.parse().map_err(|error| unreadable(READ, error))
}

/// A stored text of another kind.
pub(crate) fn parse<T: FromStr>(text: &str) -> Result<T, Fault>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    text.parse().map_err(|error| unreadable(READ, error))
}

/// A stored number that must fit.
pub(crate) fn narrow<T: TryFrom<i64>>(number: i64) -> Result<T, Fault> {
    T::try_from(number).map_err(|_| Fault::new(READ, FaultKind::Unexpected, "a number is out of range"))
}

/// Stored bytes of a fixed length.
pub(crate) fn bytes<const N: usize>(stored: Vec<u8>) -> Result<[u8; N], Fault> {
    stored
        .try_into()
        .map_err(|_| Fault::new(READ, FaultKind::Unexpected, "a byte string has another length"))
}

/// Codes in one column, space-separated.
pub(crate) fn join_codes<'a>(codes: impl IntoIterator<Item = &'a str>) -> String {
    codes.into_iter().collect::<Vec<_>>().join(" ")
}

/// Reads [`join_codes`].
pub(crate) fn split_codes<T: FromStr<Err = UnknownCode>>(text: &str) -> Result<Vec<T>, Fault> {
    text.split_ascii_whitespace().map(code).collect()
}

/// An opaque payload as JSON.
pub(crate) fn to_json<T: Serialize>(value: &T) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(|error| unreadable("write a stored payload", error))
}

/// Reads [`to_json`].
pub(crate) fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, Fault> {
    serde_json::from_str(text).map_err(|error| unreadable(READ, error))
}

/// At most `max` characters of a text.
pub(crate) fn cut(text: &str, max: usize) -> String {
    text.chars().take(max).collect()
}

/// SHA-256 of parts, each with its length, so that no two lists of parts run together.
pub(crate) fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut sha = Sha256::new();
    for part in parts {
        sha.update((part.len() as u64).to_be_bytes());
        sha.update(part);
    }
    sha.finalize().into()
}

/// A UUIDv8 of what a row stands for, so that a repeat meets the first row.
pub(crate) fn derived_id(parts: &[&[u8]]) -> Uuid {
    uuid::Builder::from_custom_bytes(first_16(&digest(parts))).into_uuid()
}

/// A time-led UUIDv7 whose other bits come from what the row stands for: rows of one time lie together in the index, and
/// no randomness is needed.
pub(crate) fn timed_id(at: DateTime<Utc>, parts: &[&[u8]]) -> Uuid {
    let hash = digest(parts);
    let mut tail = [0_u8; 10];
    for (to, from) in tail.iter_mut().zip(hash) {
        *to = from;
    }
    uuid::Builder::from_unix_timestamp_millis(u64::try_from(at.timestamp_millis()).unwrap_or(0), &tail).into_uuid()
}

fn first_16(hash: &[u8; 32]) -> [u8; 16] {
    let mut first = [0_u8; 16];
    for (to, from) in first.iter_mut().zip(hash) {
        *to = *from;
    }
    first
}

#[cfg(test)]
mod tests {
    use carepost_domain::reading::Flag;

    use super::*;

    #[test]
    fn lists_of_codes_come_back_as_they_were() {
        let flags = [Flag::BodyMovement, Flag::IrregularPulse];
        let text = join_codes(flags.iter().map(|flag| flag.code()));
        assert_eq!(text, "body_movement irregular_pulse");
        assert_eq!(split_codes::<Flag>(&text).unwrap(), flags);
        assert_eq!(split_codes::<Flag>("").unwrap(), []);
        assert!(split_codes::<Flag>("body_movement from_the_future").is_err());
    }

    #[test]
    fn derived_ids_differ_when_the_parts_differ_and_not_otherwise() {
        assert_eq!(derived_id(&[b"a", b"b"]), derived_id(&[b"a", b"b"]));
        assert_ne!(derived_id(&[b"a", b"b"]), derived_id(&[b"ab", b""]));
        let at = DateTime::from_timestamp_micros(1_792_049_400_000_000).unwrap();
        assert_eq!(timed_id(at, &[b"x"]).get_version_num(), 7);
        assert_ne!(timed_id(at, &[b"x"]), timed_id(at, &[b"y"]));
    }
}
