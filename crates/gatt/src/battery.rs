//! Battery Level 2A19.

use alloc::vec::Vec;

use crate::bytes::Reader;
use crate::{DecodeError, Decoded, EncodeError};

/// Charge in percent, 0 to 100 by rule, any byte as sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BatteryLevel(pub u8);

impl BatteryLevel {
    /// Reads a level.
    ///
    /// # Errors
    /// `TooShort` for an empty value.
    pub fn decode(bytes: &[u8]) -> Result<Decoded<Self>, DecodeError> {
        let mut reader = Reader::new(bytes, 1)?;
        let value = Self(reader.u8()?);
        Ok(reader.finish(value))
    }

    /// Writes the level.
    ///
    /// # Errors
    /// None; the signature is that of every characteristic.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        Ok(alloc::vec![self.0])
    }
}
