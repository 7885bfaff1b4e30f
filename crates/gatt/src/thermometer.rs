//! Health Thermometer Service 0x1809: temperature measurement 2A1C.

use alloc::vec::Vec;

use crate::bytes::{self, Reader};
use crate::codes::coded_enum;
use crate::{DateTime, DecodeError, Decoded, EncodeError, MedFloat};

const FLAG_FAHRENHEIT: u8 = 1;
const FLAG_TIMESTAMP: u8 = 1 << 1;
const FLAG_TYPE: u8 = 1 << 2;
const RFU_MASK: u8 = 0b1111_1000;

/// Flags, temperature.
const FIXED_LENGTH: usize = 5;
const OPTIONAL_LENGTHS: [(u8, usize); 2] = [(FLAG_TIMESTAMP, DateTime::LENGTH), (FLAG_TYPE, 1)];

/// Unit of a temperature as sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TemperatureUnit {
    /// Degrees Celsius.
    Celsius,
    /// Degrees Fahrenheit.
    Fahrenheit,
}

impl TemperatureUnit {
    /// `C` or `F`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Celsius => "C",
            Self::Fahrenheit => "F",
        }
    }
}

coded_enum! {
    /// Where on the body it was measured (characteristic Temperature Type 2A1D has the same codes).
    pub enum TemperatureType, field "temperature_type", unknown "reserved_" {
        /// Armpit.
        1 => Armpit "armpit",
        /// Body, no place given.
        2 => Body "body",
        /// Ear, usually the lobe.
        3 => Ear "ear",
        /// Finger.
        4 => Finger "finger",
        /// Gastro-intestinal tract.
        5 => GastroIntestinal "gastro_intestinal_tract",
        /// Mouth.
        6 => Mouth "mouth",
        /// Rectum.
        7 => Rectum "rectum",
        /// Toe.
        8 => Toe "toe",
        /// Tympanum, the ear drum.
        9 => Tympanum "tympanum",
    }
}

/// Temperature Measurement 2A1C, indicated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TemperatureMeasurement {
    /// Unit of `temperature`.
    pub unit: TemperatureUnit,
    /// Temperature in `unit`.
    pub temperature: MedFloat,
    /// The thermometer's own time.
    pub timestamp: Option<DateTime>,
    /// Where it was measured.
    pub temperature_type: Option<TemperatureType>,
    /// Reserved flag bits 3-7, in place, as sent.
    pub rfu_flags: u8,
}

impl TemperatureMeasurement {
    /// Reads a measurement.
    ///
    /// # Errors
    /// `TooShort` if a field that the flags promise is missing.
    pub fn decode(bytes: &[u8]) -> Result<Decoded<Self>, DecodeError> {
        let need = bytes::length_by_flags(FIXED_LENGTH, bytes::flags_of(bytes), &OPTIONAL_LENGTHS);
        let mut reader = Reader::new(bytes, need)?;
        let flags = reader.u8()?;
        let temperature = MedFloat::from_float(reader.u32()?);
        let timestamp = if flags & FLAG_TIMESTAMP != 0 {
            Some(reader.date_time()?)
        } else {
            None
        };
        let temperature_type = if flags & FLAG_TYPE != 0 {
            Some(TemperatureType::from_code(reader.u8()?))
        } else {
            None
        };
        Ok(reader.finish(Self {
            unit: if flags & FLAG_FAHRENHEIT == 0 {
                TemperatureUnit::Celsius
            } else {
                TemperatureUnit::Fahrenheit
            },
            temperature,
            timestamp,
            temperature_type,
            rfu_flags: flags & RFU_MASK,
        }))
    }

    /// Writes the measurement, at most 13 bytes.
    ///
    /// # Errors
    /// If a number or field has no exact place in the packet.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let flags = bytes::flag(self.unit == TemperatureUnit::Fahrenheit, FLAG_FAHRENHEIT)
            | bytes::flag(self.timestamp.is_some(), FLAG_TIMESTAMP)
            | bytes::flag(self.temperature_type.is_some(), FLAG_TYPE)
            | bytes::check_rfu(self.rfu_flags, RFU_MASK)?;
        let mut out = alloc::vec![flags];
        out.extend_from_slice(&self.temperature.to_float(None)?.to_le_bytes());
        if let Some(timestamp) = &self.timestamp {
            bytes::put_date_time(&mut out, timestamp)?;
        }
        if let Some(temperature_type) = self.temperature_type {
            out.push(temperature_type.checked_code(u8::MAX)?);
        }
        Ok(out)
    }
}
