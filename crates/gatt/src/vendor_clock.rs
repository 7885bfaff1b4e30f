//! Clocks that makers put beside the standard ones.
//!
//! Only what is known well enough to be written byte by byte is here: the frame by which i-SENS meters are given the time.
//! Carepost does not send it (the quirk table says so); it names what a capture shows, and simulated meters take it.

use alloc::vec::Vec;

use crate::bytes::{Reader, put_date_time};
use crate::{DateTime, DecodeError, Decoded, EncodeError};

/// Vendor service of i-SENS meters (page 3, section 2.5).
pub const ISENS_SERVICE: u16 = 0xFFF0;
/// Its characteristic for commands.
pub const ISENS_COMMAND: u16 = 0xFFF1;

/// The command that sets the clock of an i-SENS meter: four fixed bytes and a Date Time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IsensSetClock {
    /// The local time to set.
    pub time: DateTime,
}

impl IsensSetClock {
    /// Length of the frame in bytes.
    pub const LENGTH: usize = 11;
    const HEAD: [u8; 4] = [0xC0, 0x03, 0x01, 0x00];

    /// Reads the command.
    ///
    /// # Errors
    /// `TooShort` below eleven bytes; `UnknownFrame` for another command.
    pub fn decode(bytes: &[u8]) -> Result<Decoded<Self>, DecodeError> {
        let mut reader = Reader::new(bytes, Self::LENGTH)?;
        for expected in Self::HEAD {
            let got = reader.u8()?;
            if got != expected {
                return Err(DecodeError::UnknownFrame { got });
            }
        }
        let time = reader.date_time()?;
        Ok(reader.finish(Self { time }))
    }

    /// Writes the command.
    ///
    /// # Errors
    /// `OutOfRange` if a part of the date is `Some(0)`, which would decode as unknown.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let mut out = Self::HEAD.to_vec();
        put_date_time(&mut out, &self.time)?;
        Ok(out)
    }
}
