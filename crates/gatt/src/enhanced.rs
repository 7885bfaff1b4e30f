//! Blood Pressure Service 1.1: enhanced measurement 2B34, enhanced intermediate cuff pressure 2B35, record 2B36.

use alloc::vec::Vec;

use crate::blood_pressure::{
    FLAG_PULSE, FLAG_STATUS, FLAG_TIMESTAMP, FLAG_USER_ID, PressureUnit, Status, UserId, decode_pulse_user_status,
    encode_pulse_user_status, flags_of_pulse_user_status,
};
use crate::bytes::{self, MAX_ATTRIBUTE_BYTES, Reader};
use crate::{DecodeError, Decoded, EncodeError, MedFloat};

const FLAG_USER_FACING_TIME: u8 = 1 << 5;
const FLAG_EPOCH_2000: u8 = 1 << 6;
const RFU_MASK: u8 = 1 << 7;

const OPTIONAL_LENGTHS: [(u8, usize); 5] = [
    (FLAG_TIMESTAMP, 4),
    (FLAG_PULSE, 2),
    (FLAG_USER_ID, 1),
    (FLAG_STATUS, 2),
    (FLAG_USER_FACING_TIME, 4),
];

/// Start of the seconds in a packet's time fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Epoch {
    /// 1900-01-01 00:00:00 UTC.
    Year1900,
    /// 2000-01-01 00:00:00 UTC.
    Year2000,
}

impl Epoch {
    const fn from_flags(flags: u8) -> Self {
        if flags & FLAG_EPOCH_2000 == 0 {
            Self::Year1900
        } else {
            Self::Year2000
        }
    }

    const fn flag(self) -> u8 {
        match self {
            Self::Year1900 => 0,
            Self::Year2000 => FLAG_EPOCH_2000,
        }
    }

    /// The year whose first second is 0.
    #[must_use]
    pub const fn year(self) -> u16 {
        match self {
            Self::Year1900 => 1900,
            Self::Year2000 => 2000,
        }
    }
}

/// The fields that follow the pressures in 2B34 and 2B35 alike, and the flags about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Details {
    /// Epoch of the time fields.
    pub epoch: Epoch,
    /// Time stamp in seconds UTC since `epoch`.
    pub timestamp_s: Option<u32>,
    /// Pulse rate in beats per minute.
    pub pulse: Option<MedFloat>,
    /// User slot.
    pub user_id: Option<UserId>,
    /// Measurement status.
    pub status: Option<Status>,
    /// Time as shown to the user, in seconds since `epoch`.
    pub user_facing_time_s: Option<u32>,
    /// Reserved flag bit 7, in place, as sent.
    pub rfu_flags: u8,
}

impl Details {
    fn decode(flags: u8, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let timestamp_s = if flags & FLAG_TIMESTAMP != 0 {
            Some(reader.u32()?)
        } else {
            None
        };
        let (pulse, user_id, status) = decode_pulse_user_status(flags, reader)?;
        let user_facing_time_s = if flags & FLAG_USER_FACING_TIME != 0 {
            Some(reader.u32()?)
        } else {
            None
        };
        Ok(Self {
            epoch: Epoch::from_flags(flags),
            timestamp_s,
            pulse,
            user_id,
            status,
            user_facing_time_s,
            rfu_flags: flags & RFU_MASK,
        })
    }

    fn flags(&self) -> Result<u8, EncodeError> {
        Ok(self.epoch.flag()
            | bytes::flag(self.timestamp_s.is_some(), FLAG_TIMESTAMP)
            | flags_of_pulse_user_status(self.pulse, self.user_id, self.status)
            | bytes::flag(self.user_facing_time_s.is_some(), FLAG_USER_FACING_TIME)
            | bytes::check_rfu(self.rfu_flags, RFU_MASK)?)
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if let Some(seconds) = self.timestamp_s {
            out.extend_from_slice(&seconds.to_le_bytes());
        }
        encode_pulse_user_status(out, self.pulse, self.user_id, self.status)?;
        if let Some(seconds) = self.user_facing_time_s {
            out.extend_from_slice(&seconds.to_le_bytes());
        }
        Ok(())
    }
}

/// Enhanced Blood Pressure Measurement 2B34, indicated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EnhancedMeasurement {
    /// Unit of the three pressures.
    pub unit: PressureUnit,
    /// Systolic pressure in `unit`.
    pub systolic: MedFloat,
    /// Diastolic pressure in `unit`.
    pub diastolic: MedFloat,
    /// Mean arterial pressure in `unit`.
    pub map: MedFloat,
    /// All optional fields.
    pub details: Details,
}

impl EnhancedMeasurement {
    /// Reads an enhanced measurement.
    ///
    /// # Errors
    /// `TooShort` if a field that the flags promise is missing.
    pub fn decode(bytes: &[u8]) -> Result<Decoded<Self>, DecodeError> {
        let (flags, mut reader) = open(bytes, 7)?;
        let (systolic, diastolic, map) = (reader.sfloat()?, reader.sfloat()?, reader.sfloat()?);
        let details = Details::decode(flags, &mut reader)?;
        Ok(reader.finish(Self {
            unit: PressureUnit::from_flags(flags),
            systolic,
            diastolic,
            map,
            details,
        }))
    }

    /// Writes the measurement.
    ///
    /// # Errors
    /// If a number or field has no exact place in the packet.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        encode(self.unit, &[self.systolic, self.diastolic, self.map], &self.details)
    }
}

/// Enhanced Intermediate Cuff Pressure 2B35, notified. Never a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EnhancedCuffPressure {
    /// Unit of the pressure.
    pub unit: PressureUnit,
    /// Current pressure in `unit`.
    pub cuff_pressure: MedFloat,
    /// All optional fields.
    pub details: Details,
}

impl EnhancedCuffPressure {
    /// Reads an enhanced cuff pressure.
    ///
    /// # Errors
    /// `TooShort` if a field that the flags promise is missing.
    pub fn decode(bytes: &[u8]) -> Result<Decoded<Self>, DecodeError> {
        let (flags, mut reader) = open(bytes, 3)?;
        let cuff_pressure = reader.sfloat()?;
        let details = Details::decode(flags, &mut reader)?;
        Ok(reader.finish(Self {
            unit: PressureUnit::from_flags(flags),
            cuff_pressure,
            details,
        }))
    }

    /// Writes the cuff pressure.
    ///
    /// # Errors
    /// If a number or field has no exact place in the packet.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        encode(self.unit, &[self.cuff_pressure], &self.details)
    }
}

fn open(bytes: &[u8], fixed_length: usize) -> Result<(u8, Reader<'_>), DecodeError> {
    let need = bytes::length_by_flags(fixed_length, bytes::flags_of(bytes), &OPTIONAL_LENGTHS);
    let mut reader = Reader::new(bytes, need)?;
    let flags = reader.u8()?;
    Ok((flags, reader))
}

fn encode(unit: PressureUnit, pressures: &[MedFloat], details: &Details) -> Result<Vec<u8>, EncodeError> {
    let mut out = alloc::vec![unit.flag() | details.flags()?];
    for pressure in pressures {
        bytes::put_sfloat(&mut out, pressure)?;
    }
    details.encode(&mut out)?;
    Ok(out)
}

/// One segment of a Blood Pressure Record 2B36, notified.
///
/// Sources disagree on whether continuations repeat sequence and UUID; they are read in every segment, as the
/// field table has them. A CRC, where the meter has one, ends the payload of the last segment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RecordSegment {
    /// First segment of the record.
    pub first: bool,
    /// Last segment of the record.
    pub last: bool,
    /// Rolling segment counter, 0 to 63.
    pub counter: u8,
    /// Sequence number of the record.
    pub sequence: u16,
    /// 16-bit UUID of the contained characteristic.
    pub uuid: u16,
    /// Bytes of the contained value, as sent.
    pub payload: Vec<u8>,
}

impl RecordSegment {
    const FIRST: u8 = 1;
    const LAST: u8 = 1 << 1;
    const HEADER_LENGTH: usize = 5;
    const MAX_PAYLOAD: usize = MAX_ATTRIBUTE_BYTES.saturating_sub(Self::HEADER_LENGTH);

    /// Reads a segment. Bytes beyond the longest attribute count as trailing.
    ///
    /// # Errors
    /// `TooShort` below five bytes.
    pub fn decode(bytes: &[u8]) -> Result<Decoded<Self>, DecodeError> {
        let mut reader = Reader::new(bytes, Self::HEADER_LENGTH)?;
        let (header, sequence, uuid) = (reader.u8()?, reader.u16()?, reader.u16()?);
        let rest = reader.rest();
        let payload: Vec<u8> = rest.iter().copied().take(Self::MAX_PAYLOAD).collect();
        let trailing_bytes = rest.len().saturating_sub(payload.len());
        let value = Self {
            first: header & Self::FIRST != 0,
            last: header & Self::LAST != 0,
            counter: header >> 2,
            sequence,
            uuid,
            payload,
        };
        Ok(Decoded { value, trailing_bytes })
    }

    /// Writes the segment.
    ///
    /// # Errors
    /// If the counter exceeds 63 or the payload the longest attribute.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        if self.counter > 63 {
            return Err(EncodeError::OutOfRange { field: "counter" });
        }
        if self.payload.len() > Self::MAX_PAYLOAD {
            return Err(EncodeError::TooLong {
                field: "payload",
                limit: Self::MAX_PAYLOAD,
            });
        }
        let header = bytes::flag(self.first, Self::FIRST) | bytes::flag(self.last, Self::LAST) | (self.counter << 2);
        let mut out = alloc::vec![header];
        out.extend_from_slice(&self.sequence.to_le_bytes());
        out.extend_from_slice(&self.uuid.to_le_bytes());
        out.extend_from_slice(&self.payload);
        Ok(out)
    }
}
