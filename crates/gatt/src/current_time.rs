//! Current Time 2A2B: the clock of a meter, or of a time server.

use alloc::vec::Vec;

use crate::bytes::{Reader, put_date_time};
use crate::codes::set_names;
use crate::{DateTime, DecodeError, Decoded, EncodeError};

/// Why a clock was adjusted, as sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct AdjustReason(pub u8);

impl AdjustReason {
    const NAMES: [(u16, &'static str); 4] = [
        (1, "manual"),
        (1 << 1, "external_reference"),
        (1 << 2, "time_zone"),
        (1 << 3, "dst"),
    ];

    /// Stable names of the reasons that are set, lowest bit first.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        set_names(u16::from(self.0), &Self::NAMES)
    }
}

/// Current Time 2A2B.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CurrentTime {
    /// Date and time.
    pub time: DateTime,
    /// 1 Monday to 7 Sunday when valid; `None` for raw 0, unknown.
    pub day_of_week: Option<u8>,
    /// Fraction of the second in 1/256 s.
    pub fractions256: u8,
    /// Why the clock was adjusted.
    pub adjust: AdjustReason,
}

impl CurrentTime {
    /// Length of the characteristic in bytes.
    pub const LENGTH: usize = 10;

    /// Reads a current time.
    ///
    /// # Errors
    /// `TooShort` below ten bytes.
    pub fn decode(bytes: &[u8]) -> Result<Decoded<Self>, DecodeError> {
        let mut reader = Reader::new(bytes, Self::LENGTH)?;
        let value = Self {
            time: reader.date_time()?,
            day_of_week: match reader.u8()? {
                0 => None,
                day => Some(day),
            },
            fractions256: reader.u8()?,
            adjust: AdjustReason(reader.u8()?),
        };
        Ok(reader.finish(value))
    }

    /// Writes the current time.
    ///
    /// # Errors
    /// `OutOfRange` if a part is `Some(0)`, which would decode as unknown.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        if self.day_of_week == Some(0) {
            return Err(EncodeError::OutOfRange { field: "day_of_week" });
        }
        let mut out = Vec::with_capacity(Self::LENGTH);
        put_date_time(&mut out, &self.time)?;
        out.extend_from_slice(&[self.day_of_week.unwrap_or(0), self.fractions256, self.adjust.0]);
        Ok(out)
    }
}
