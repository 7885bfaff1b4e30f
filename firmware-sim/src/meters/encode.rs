//! What all measurements share on their way into a record: when they were taken, raw bytes, and why they are refused.

use carepost_gatt::{Decimal, MedFloat};
use chrono::NaiveDateTime;

/// Longest attribute value (Core specification, volume 3, part F, section 3.2.9).
pub(crate) const MAX_VALUE: usize = 512;

/// Why a meter cannot make a record of what it was given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The measurement is of another kind than the meter.
    #[error("a {meter} meter cannot make a {record} record")]
    WrongKind {
        /// Kind of meter.
        meter: &'static str,
        /// Kind of record.
        record: &'static str,
    },
    /// The meter has no such user slot.
    #[error("the meter has no user slot {slot}")]
    UnknownSlot {
        /// User id that was asked for.
        slot: u8,
    },
    /// The meter has no context characteristic.
    #[error("the meter has no context characteristic")]
    NoContext,
    /// A raw value is longer than an attribute can be.
    #[error("the raw value has {length} bytes; an attribute holds at most {MAX_VALUE}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// A value has no place in the characteristic.
    #[error("the measurement cannot be encoded")]
    Unencodable(#[from] carepost_gatt::EncodeError),
}

impl RecordError {
    /// The word for it in the control protocol.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::WrongKind { .. } => "wrong_kind",
            Self::UnknownSlot { .. } | Self::NoContext | Self::TooLong { .. } | Self::Unencodable(_) => "bad_value",
        }
    }
}

/// When a measurement was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timestamp {
    /// Now, by the meter's own clock.
    #[default]
    MeterClock,
    /// When the meter's clock showed this.
    Local(NaiveDateTime),
}

pub(crate) fn checked_raw(raw: &[u8]) -> Result<Vec<u8>, RecordError> {
    if raw.len() > MAX_VALUE {
        return Err(RecordError::TooLong { length: raw.len() });
    }
    Ok(raw.to_vec())
}

pub(crate) fn number(mantissa: i64, exponent: i32) -> MedFloat {
    MedFloat::Number(Decimal::new(mantissa, exponent))
}
