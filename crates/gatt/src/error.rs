//! What decoding and encoding return besides the value.

use core::fmt;

/// A decoded value and how many bytes after its last field were left over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Decoded<T> {
    /// The value.
    pub value: T,
    /// Bytes after the last field; tolerated, because real meters send them, and reported.
    pub trailing_bytes: usize,
}

/// Why bytes are not a value of the characteristic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DecodeError {
    /// The packet ends before the fields that its flags (or its fixed layout) promise.
    TooShort {
        /// Bytes that the layout needs.
        need: usize,
        /// Bytes that arrived.
        got: usize,
    },
    /// The record count of a control-point answer is not 1, 2 or 4 bytes wide.
    BadCountWidth {
        /// Width that arrived, in bytes.
        got: usize,
    },
    /// A control-point answer carries an operator other than null.
    OperatorMustBeNull {
        /// Operator that arrived.
        got: u8,
    },
    /// The first byte of a control-point answer is not the op code of an answer.
    NotAResponseOpCode {
        /// Op code that arrived.
        got: u8,
    },
    /// A vendor's frame does not begin as the one that is known.
    UnknownFrame {
        /// The first byte that differs.
        got: u8,
    },
}

impl DecodeError {
    /// Short stable name, as printed by the `decode` command and stored as the reason of a quarantine.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooShort { .. } => "too_short",
            Self::BadCountWidth { .. } => "bad_count_width",
            Self::OperatorMustBeNull { .. } => "operator_must_be_null",
            Self::NotAResponseOpCode { .. } => "not_a_response_op_code",
            Self::UnknownFrame { .. } => "unknown_frame",
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort { need, got } => {
                write!(f, "packet too short: {need} bytes needed, {got} arrived")
            }
            Self::BadCountWidth { got } => {
                write!(f, "record count is {got} bytes wide, not 1, 2 or 4")
            }
            Self::OperatorMustBeNull { got } => {
                write!(f, "operator of an answer must be null, {got} arrived")
            }
            Self::NotAResponseOpCode { got } => {
                write!(f, "op code {got} is not the op code of an answer")
            }
            Self::UnknownFrame { got } => write!(f, "a vendor frame with byte {got} is not known"),
        }
    }
}

impl core::error::Error for DecodeError {}

/// Why a value has no bytes that would decode to the same value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EncodeError {
    /// A number cannot be written exactly in the medical float format; nothing is rounded silently.
    NotRepresentable {
        /// Format that cannot hold the number.
        format: &'static str,
    },
    /// A field holds a value that its place in the packet cannot hold, or that would decode as something else.
    OutOfRange {
        /// Field.
        field: &'static str,
    },
    /// A variable-length field is longer than the characteristic can be.
    TooLong {
        /// Field.
        field: &'static str,
        /// Longest allowed length in bytes.
        limit: usize,
    },
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRepresentable { format } => {
                write!(f, "number cannot be written exactly as {format}")
            }
            Self::OutOfRange { field } => {
                write!(f, "{field} is out of range for its place in the packet")
            }
            Self::TooLong { field, limit } => write!(f, "{field} is longer than {limit} bytes"),
        }
    }
}

impl core::error::Error for EncodeError {}
