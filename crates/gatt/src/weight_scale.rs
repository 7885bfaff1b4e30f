//! Weight Scale Service 0x181D: weight measurement 2A9D.

use alloc::vec::Vec;

use crate::blood_pressure::UserId;
use crate::bytes::{self, Reader};
use crate::{DateTime, Decimal, DecodeError, Decoded, EncodeError};

const FLAG_IMPERIAL: u8 = 1;
const FLAG_TIMESTAMP: u8 = 1 << 1;
const FLAG_USER_ID: u8 = 1 << 2;
const FLAG_BMI_AND_HEIGHT: u8 = 1 << 3;
const RFU_MASK: u8 = 0b1111_0000;

/// Flags, weight.
const FIXED_LENGTH: usize = 3;
const OPTIONAL_LENGTHS: [(u8, usize); 3] = [
    (FLAG_TIMESTAMP, DateTime::LENGTH),
    (FLAG_USER_ID, 1),
    (FLAG_BMI_AND_HEIGHT, 4),
];

/// Units of the weight and of the height of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WeightUnit {
    /// Kilograms, in steps of 0.005; heights in steps of 0.001 m.
    Kg,
    /// Pounds, in steps of 0.01; heights in steps of 0.1 inch.
    Lb,
}

impl WeightUnit {
    /// `kg` or `lb`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kg => "kg",
            Self::Lb => "lb",
        }
    }

    /// The smallest step of a weight (page 3, section 2.6).
    const fn step(self) -> Decimal {
        match self {
            Self::Kg => Decimal::new(5, -3),
            Self::Lb => Decimal::new(1, -2),
        }
    }
}

/// A weight as sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WeightValue {
    /// Steps of the unit: 0.005 kg or 0.01 lb; 0 to 65534.
    Steps(u16),
    /// 0xFFFF: the measurement was not successful (Weight Scale Service, 3.2.1.2).
    Unsuccessful,
}

impl WeightValue {
    const fn from_word(word: u16) -> Self {
        match word {
            u16::MAX => Self::Unsuccessful,
            steps => Self::Steps(steps),
        }
    }

    const fn to_word(self) -> Result<u16, EncodeError> {
        match self {
            Self::Steps(u16::MAX) => Err(EncodeError::OutOfRange { field: "weight" }),
            Self::Steps(steps) => Ok(steps),
            Self::Unsuccessful => Ok(u16::MAX),
        }
    }
}

/// Body mass index and height, which come together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BmiAndHeight {
    /// Body mass index in tenths of a kg/m2.
    pub bmi_tenths: u16,
    /// Height in millimetres with kilograms, in tenths of an inch with pounds.
    pub height_steps: u16,
}

/// Weight Measurement 2A9D, indicated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WeightMeasurement {
    /// Units of weight and height.
    pub unit: WeightUnit,
    /// The weight.
    pub weight: WeightValue,
    /// The scale's own time.
    pub timestamp: Option<DateTime>,
    /// User slot.
    pub user_id: Option<UserId>,
    /// Body mass index and height.
    pub bmi_and_height: Option<BmiAndHeight>,
    /// Reserved flag bits 4-7, in place, as sent.
    pub rfu_flags: u8,
}

impl WeightMeasurement {
    /// Reads a measurement.
    ///
    /// # Errors
    /// `TooShort` if a field that the flags promise is missing.
    pub fn decode(bytes: &[u8]) -> Result<Decoded<Self>, DecodeError> {
        let need = bytes::length_by_flags(FIXED_LENGTH, bytes::flags_of(bytes), &OPTIONAL_LENGTHS);
        let mut reader = Reader::new(bytes, need)?;
        let flags = reader.u8()?;
        let weight = WeightValue::from_word(reader.u16()?);
        let timestamp = if flags & FLAG_TIMESTAMP != 0 {
            Some(reader.date_time()?)
        } else {
            None
        };
        let user_id = if flags & FLAG_USER_ID != 0 {
            Some(UserId::from_byte(reader.u8()?))
        } else {
            None
        };
        let bmi_and_height = if flags & FLAG_BMI_AND_HEIGHT != 0 {
            Some(BmiAndHeight {
                bmi_tenths: reader.u16()?,
                height_steps: reader.u16()?,
            })
        } else {
            None
        };
        Ok(reader.finish(Self {
            unit: if flags & FLAG_IMPERIAL == 0 {
                WeightUnit::Kg
            } else {
                WeightUnit::Lb
            },
            weight,
            timestamp,
            user_id,
            bmi_and_height,
            rfu_flags: flags & RFU_MASK,
        }))
    }

    /// Writes the measurement, at most 15 bytes.
    ///
    /// # Errors
    /// If a field has no exact place in the packet.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let flags = bytes::flag(self.unit == WeightUnit::Lb, FLAG_IMPERIAL)
            | bytes::flag(self.timestamp.is_some(), FLAG_TIMESTAMP)
            | bytes::flag(self.user_id.is_some(), FLAG_USER_ID)
            | bytes::flag(self.bmi_and_height.is_some(), FLAG_BMI_AND_HEIGHT)
            | bytes::check_rfu(self.rfu_flags, RFU_MASK)?;
        let mut out = alloc::vec![flags];
        out.extend_from_slice(&self.weight.to_word()?.to_le_bytes());
        if let Some(timestamp) = &self.timestamp {
            bytes::put_date_time(&mut out, timestamp)?;
        }
        if let Some(user_id) = self.user_id {
            out.push(user_id.to_byte()?);
        }
        if let Some(both) = self.bmi_and_height {
            out.extend_from_slice(&both.bmi_tenths.to_le_bytes());
            out.extend_from_slice(&both.height_steps.to_le_bytes());
        }
        Ok(out)
    }

    /// The weight in `unit`, exactly; `None` for a measurement that was not successful.
    #[must_use]
    pub fn weight_in_unit(&self) -> Option<Decimal> {
        match self.weight {
            WeightValue::Steps(steps) => Decimal::from(i32::from(steps)).checked_mul(self.unit.step()),
            WeightValue::Unsuccessful => None,
        }
    }
}
