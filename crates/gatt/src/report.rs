//! One JSON line about one value, for people with a packet capture and for tests.
//!
//! The keys and spellings are an interface: scripts and acceptance data read them.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::{DecodeError, uuid16};

mod glucose;
mod json;
mod lines;
mod members_own;
mod pressure;

use json::Object;

/// Most bytes that [`parse_hex`] reads: the longest attribute.
pub const MAX_HEX_BYTES: usize = crate::bytes::MAX_ATTRIBUTE_BYTES;

/// The line about a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// False if the value was rejected.
    pub ok: bool,
    /// One line of JSON, without a line feed.
    pub json: String,
}

/// A characteristic that [`report`] does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownCharacteristic;

impl UnknownCharacteristic {
    /// Names that are known.
    pub const KNOWN: &'static str = "2A08, 2A18, 2A19, 2A1C, 2A24 to 2A29, 2A2B, 2A34, 2A35, 2A36, 2A49, 2A51, 2A52, \
        2A52-request, 2A5E, 2A5F, 2A9D, 2A9F, 2B34, 2B35, 2B36, SFLOAT, FLOAT";
}

impl fmt::Display for UnknownCharacteristic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "characteristic not known; known are {}", Self::KNOWN)
    }
}

impl core::error::Error for UnknownCharacteristic {}

/// Decodes `bytes` as a value of `characteristic` and says in JSON what they mean, or why they were rejected.
///
/// `characteristic` is a 16-bit UUID (`2A35`, `0x2a35`) or a full one, `2A52-request` for what is written to the
/// control point, or `SFLOAT` or `FLOAT` for a plain number; in any case.
///
/// # Errors
/// For a characteristic that is not known.
///
/// ```
/// let report = carepost_gatt::report::report("SFLOAT", &[0x6E, 0xB0])?;
/// assert_eq!(report.json, r#"{"ok":true,"value":0.0011}"#);
/// # Ok::<(), carepost_gatt::report::UnknownCharacteristic>(())
/// ```
pub fn report(characteristic: &str, bytes: &[u8]) -> Result<Report, UnknownCharacteristic> {
    let name = characteristic.trim();
    let result = if name.eq_ignore_ascii_case("SFLOAT") {
        lines::sfloat(bytes)
    } else if name.eq_ignore_ascii_case("FLOAT") {
        lines::float(bytes)
    } else {
        by_uuid(name, bytes)?
    };
    Ok(match result {
        Ok(object) => Report {
            ok: true,
            json: object.finish(),
        },
        Err(error) => Report {
            ok: false,
            json: rejected(&error),
        },
    })
}

type Line = Result<Object, DecodeError>;

fn by_uuid(name: &str, bytes: &[u8]) -> Result<Line, UnknownCharacteristic> {
    const REQUEST_SUFFIX: &str = "-request";
    let start = name.len().saturating_sub(REQUEST_SUFFIX.len());
    if let Some((uuid, suffix)) = name.split_at_checked(start)
        && suffix.eq_ignore_ascii_case(REQUEST_SUFFIX)
    {
        return match uuid16::parse(uuid) {
            Some(uuid16::RECORD_ACCESS_CONTROL_POINT) => Ok(lines::racp_request(bytes)),
            _ => Err(UnknownCharacteristic),
        };
    }
    Ok(match uuid16::parse(name).ok_or(UnknownCharacteristic)? {
        uuid16::DATE_TIME => lines::date_time(bytes),
        uuid16::GLUCOSE_MEASUREMENT => glucose::measurement(bytes),
        uuid16::TEMPERATURE_MEASUREMENT => members_own::temperature(bytes),
        uuid16::BATTERY_LEVEL => lines::battery(bytes),
        uuid16::MODEL_NUMBER
        | uuid16::SERIAL_NUMBER
        | uuid16::FIRMWARE_REVISION
        | uuid16::HARDWARE_REVISION
        | uuid16::SOFTWARE_REVISION
        | uuid16::MANUFACTURER_NAME => lines::text(bytes),
        uuid16::CURRENT_TIME => lines::current_time(bytes),
        uuid16::GLUCOSE_CONTEXT => glucose::context(bytes),
        uuid16::BLOOD_PRESSURE_MEASUREMENT => pressure::measurement(bytes),
        uuid16::INTERMEDIATE_CUFF_PRESSURE => pressure::cuff_pressure(bytes),
        uuid16::BLOOD_PRESSURE_FEATURE => pressure::feature(bytes),
        uuid16::GLUCOSE_FEATURE => glucose::feature(bytes),
        uuid16::RECORD_ACCESS_CONTROL_POINT => lines::racp_response(bytes),
        uuid16::PLX_SPOT_CHECK => members_own::spot_check(bytes),
        uuid16::PLX_CONTINUOUS => members_own::continuous(bytes),
        uuid16::WEIGHT_MEASUREMENT => members_own::weight(bytes),
        uuid16::USER_CONTROL_POINT => lines::user_control_point(bytes),
        uuid16::ENHANCED_BLOOD_PRESSURE_MEASUREMENT => pressure::enhanced_measurement(bytes),
        uuid16::ENHANCED_INTERMEDIATE_CUFF_PRESSURE => pressure::enhanced_cuff_pressure(bytes),
        uuid16::BLOOD_PRESSURE_RECORD => pressure::record(bytes),
        _ => return Err(UnknownCharacteristic),
    })
}

fn rejected(error: &DecodeError) -> String {
    let mut object = Object::new();
    object.bool("ok", false);
    object.string("error", error.code());
    match *error {
        DecodeError::TooShort { need, got } => {
            object.display("need", need);
            object.display("got", got);
        }
        DecodeError::BadCountWidth { got } => object.display("got", got),
        DecodeError::OperatorMustBeNull { got }
        | DecodeError::NotAResponseOpCode { got }
        | DecodeError::UnknownFrame { got } => {
            object.display("got", got);
        }
    }
    object.finish()
}

/// Why a text is not hex.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HexError {
    /// A character that is neither a hex digit nor a separator.
    NotHex {
        /// The character.
        found: char,
        /// Its place in the text, from 1, in characters.
        position: usize,
    },
    /// An odd number of digits: half a byte is missing.
    OddLength {
        /// Digits found.
        digits: usize,
    },
    /// More than [`MAX_HEX_BYTES`].
    TooLong,
}

impl fmt::Display for HexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotHex { found, position } => {
                write!(f, "character {position} is not a hex digit: {found:?}")
            }
            Self::OddLength { digits } => {
                write!(f, "{digits} hex digits: half a byte is missing")
            }
            Self::TooLong => write!(f, "more than {MAX_HEX_BYTES} bytes"),
        }
    }
}

impl core::error::Error for HexError {}

/// Reads hex digits in any case. Spaces, colons and dashes separate; `0x` may stand in front.
///
/// # Errors
/// Says what is wrong and where.
///
/// ```
/// # use carepost_gatt::report::parse_hex;
/// assert_eq!(parse_hex("0x00 7E:00-4e"), Ok(vec![0x00, 0x7E, 0x00, 0x4E]));
/// assert!(parse_hex("007").is_err());
/// ```
pub fn parse_hex(text: &str) -> Result<Vec<u8>, HexError> {
    let trimmed = text.trim_start();
    let skipped = text.chars().count().saturating_sub(trimmed.chars().count());
    let (digits_text, prefix) = match trimmed.strip_prefix("0x").or_else(|| trimmed.strip_prefix("0X")) {
        Some(rest) => (rest, 2),
        None => (trimmed, 0),
    };
    let first_position = skipped.saturating_add(prefix).saturating_add(1);
    let mut bytes = Vec::new();
    let mut high: Option<u8> = None;
    for (index, character) in digits_text.chars().enumerate() {
        if character.is_whitespace() || character == ':' || character == '-' {
            continue;
        }
        let Some(digit) = character.to_digit(16).and_then(|digit| u8::try_from(digit).ok()) else {
            return Err(HexError::NotHex {
                found: character,
                position: index.saturating_add(first_position),
            });
        };
        high = match high {
            None => Some(digit),
            Some(high) => {
                if bytes.len() >= MAX_HEX_BYTES {
                    return Err(HexError::TooLong);
                }
                bytes.push((high << 4) | digit);
                None
            }
        };
    }
    match high {
        None => Ok(bytes),
        Some(_) => Err(HexError::OddLength {
            digits: bytes.len().saturating_mul(2).saturating_add(1),
        }),
    }
}
