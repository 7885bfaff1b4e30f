//! Device Information Service 0x180A: the strings by which a meter names itself.

use alloc::string::String;
use alloc::vec::Vec;

use crate::{DecodeError, Decoded, EncodeError};

/// Longest string kept, in bytes; meters send names, not texts.
pub const MAX_TEXT_BYTES: usize = 128;

/// A string of the service: manufacturer 2A29, model 2A24, serial number 2A25, firmware 2A26, hardware 2A27,
/// software 2A28.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Text(pub String);

impl Text {
    /// Reads a string: up to the first NUL, bytes that are not UTF-8 replaced, spaces and control characters around
    /// it removed. What follows the first NUL is padding; bytes beyond [`MAX_TEXT_BYTES`] count as trailing.
    ///
    /// # Errors
    /// None; an empty value is an empty string.
    pub fn decode(bytes: &[u8]) -> Result<Decoded<Self>, DecodeError> {
        let kept = bytes.get(..MAX_TEXT_BYTES).unwrap_or(bytes);
        let text = kept.split(|byte| *byte == 0).next().unwrap_or(kept);
        let text = String::from_utf8_lossy(text);
        // A replaced byte takes three, so that the limit is kept once more.
        let (text, _) = text.split_at(text.floor_char_boundary(MAX_TEXT_BYTES));
        Ok(Decoded {
            value: Self(String::from(trim(text))),
            trailing_bytes: bytes.len().saturating_sub(kept.len()),
        })
    }

    /// Writes the string.
    ///
    /// # Errors
    /// `TooLong` beyond [`MAX_TEXT_BYTES`]; `OutOfRange` for a string that decoding would trim.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let bytes = self.0.as_bytes();
        if bytes.len() > MAX_TEXT_BYTES {
            return Err(EncodeError::TooLong {
                field: "text",
                limit: MAX_TEXT_BYTES,
            });
        }
        if trim(&self.0) != self.0 || bytes.contains(&0) {
            return Err(EncodeError::OutOfRange { field: "text" });
        }
        Ok(bytes.to_vec())
    }
}

fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || c.is_control())
}
