//! Blood Pressure Service 0x1810 (BLS 1.0): measurement 2A35, intermediate cuff pressure 2A36, feature 2A49.

use alloc::vec::Vec;

use crate::bytes::{self, Reader};
use crate::codes::set_names;
use crate::{DateTime, Decimal, DecodeError, Decoded, EncodeError, MedFloat};

/// 1 kPa in mmHg.
pub const MMHG_PER_KPA: Decimal = Decimal::new(750_062, -5);

/// Flags bit 0: kPa instead of mmHg.
pub(crate) const FLAG_KPA: u8 = 1;
/// Flags bit 1: time stamp present.
pub(crate) const FLAG_TIMESTAMP: u8 = 1 << 1;
/// Flags bit 2: pulse rate present.
pub(crate) const FLAG_PULSE: u8 = 1 << 2;
/// Flags bit 3: user id present.
pub(crate) const FLAG_USER_ID: u8 = 1 << 3;
/// Flags bit 4: measurement status present.
pub(crate) const FLAG_STATUS: u8 = 1 << 4;
/// Flags bits 5-7, reserved in BLS 1.0; real meters set them.
const RFU_MASK: u8 = 0b1110_0000;

/// Flags, three SFLOATs.
const FIXED_LENGTH: usize = 7;
const OPTIONAL_LENGTHS: [(u8, usize); 4] = [
    (FLAG_TIMESTAMP, DateTime::LENGTH),
    (FLAG_PULSE, 2),
    (FLAG_USER_ID, 1),
    (FLAG_STATUS, 2),
];

/// Unit of the pressures of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PressureUnit {
    /// Millimetres of mercury.
    MmHg,
    /// Kilopascal.
    KPa,
}

impl PressureUnit {
    pub(crate) const fn from_flags(flags: u8) -> Self {
        if flags & FLAG_KPA == 0 { Self::MmHg } else { Self::KPa }
    }

    pub(crate) const fn flag(self) -> u8 {
        match self {
            Self::MmHg => 0,
            Self::KPa => FLAG_KPA,
        }
    }

    /// `mmHg` or `kPa`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MmHg => "mmHg",
            Self::KPa => "kPa",
        }
    }

    /// A pressure in mmHg, exactly; `None` for a special or a value too large to convert.
    #[must_use]
    pub fn to_mmhg(self, pressure: MedFloat) -> Option<Decimal> {
        match self {
            Self::MmHg => pressure.number(),
            Self::KPa => pressure.number()?.checked_mul(MMHG_PER_KPA),
        }
    }
}

/// User slot of a cuff.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UserId {
    /// Slot 0 to 254.
    Known(u8),
    /// 255: the cuff does not know who measured.
    Unknown,
}

impl UserId {
    const UNKNOWN: u8 = 255;

    pub(crate) const fn from_byte(byte: u8) -> Self {
        match byte {
            Self::UNKNOWN => Self::Unknown,
            slot => Self::Known(slot),
        }
    }

    pub(crate) const fn to_byte(self) -> Result<u8, EncodeError> {
        match self {
            Self::Known(Self::UNKNOWN) => Err(EncodeError::OutOfRange { field: "user_id" }),
            Self::Known(slot) => Ok(slot),
            Self::Unknown => Ok(Self::UNKNOWN),
        }
    }
}

/// Bits 3-4 of the measurement status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PulseRange {
    /// Pulse rate within the range.
    InRange,
    /// Pulse rate above the upper limit.
    AboveUpper,
    /// Pulse rate below the lower limit.
    BelowLower,
    /// The value without a meaning.
    Reserved,
}

impl PulseRange {
    /// `in_range`, `above_upper`, `below_lower` or `reserved`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InRange => "in_range",
            Self::AboveUpper => "above_upper",
            Self::BelowLower => "below_lower",
            Self::Reserved => "reserved",
        }
    }
}

/// Measurement status as sent. A bit means something only if the matching bit of [`Feature`] is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Status(pub u16);

impl Status {
    /// Bit 0: body movement during the measurement.
    pub const BODY_MOVEMENT: u16 = 1;
    /// Bit 1: cuff too loose.
    pub const CUFF_LOOSE: u16 = 1 << 1;
    /// Bit 2: irregular pulse.
    pub const IRREGULAR_PULSE: u16 = 1 << 2;
    /// Bit 5: improper measurement position.
    pub const IMPROPER_POSITION: u16 = 1 << 5;
    const PULSE_RANGE_SHIFT: u32 = 3;
    const RFU: u16 = 0xFFC0;
    const NAMES: [(u16, &'static str); 4] = [
        (Self::BODY_MOVEMENT, "body_movement"),
        (Self::CUFF_LOOSE, "cuff_loose"),
        (Self::IRREGULAR_PULSE, "irregular_pulse"),
        (Self::IMPROPER_POSITION, "improper_position"),
    ];

    /// Bit 0: body movement during the measurement.
    #[must_use]
    pub const fn body_movement(self) -> bool {
        self.0 & Self::BODY_MOVEMENT != 0
    }

    /// Bit 1: cuff too loose.
    #[must_use]
    pub const fn cuff_loose(self) -> bool {
        self.0 & Self::CUFF_LOOSE != 0
    }

    /// Bit 2: irregular pulse.
    #[must_use]
    pub const fn irregular_pulse(self) -> bool {
        self.0 & Self::IRREGULAR_PULSE != 0
    }

    /// Bit 5: improper measurement position.
    #[must_use]
    pub const fn improper_position(self) -> bool {
        self.0 & Self::IMPROPER_POSITION != 0
    }

    /// Bits 3-4.
    #[must_use]
    pub const fn pulse_range(self) -> PulseRange {
        match (self.0 >> Self::PULSE_RANGE_SHIFT) & 0b11 {
            0 => PulseRange::InRange,
            1 => PulseRange::AboveUpper,
            2 => PulseRange::BelowLower,
            _ => PulseRange::Reserved,
        }
    }

    /// Bits 6-15, in place; some meters set them.
    #[must_use]
    pub const fn rfu_bits(self) -> u16 {
        self.0 & Self::RFU
    }

    /// Stable names of the flags that are set, lowest bit first; the pulse range is not among them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        set_names(self.0, &Self::NAMES)
    }
}

/// The fields that follow the pressures in 2A35 and 2A36 alike.
struct Optionals {
    timestamp: Option<DateTime>,
    pulse: Option<MedFloat>,
    user_id: Option<UserId>,
    status: Option<Status>,
}

impl Optionals {
    fn decode(flags: u8, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let timestamp = if flags & FLAG_TIMESTAMP != 0 {
            Some(reader.date_time()?)
        } else {
            None
        };
        let (pulse, user_id, status) = decode_pulse_user_status(flags, reader)?;
        Ok(Self {
            timestamp,
            pulse,
            user_id,
            status,
        })
    }

    fn flags(&self) -> u8 {
        bytes::flag(self.timestamp.is_some(), FLAG_TIMESTAMP)
            | flags_of_pulse_user_status(self.pulse, self.user_id, self.status)
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if let Some(timestamp) = &self.timestamp {
            bytes::put_date_time(out, timestamp)?;
        }
        encode_pulse_user_status(out, self.pulse, self.user_id, self.status)
    }
}

type PulseUserStatus = (Option<MedFloat>, Option<UserId>, Option<Status>);

/// Reads pulse, user id and status, which BLS 1.0 and 1.1 place alike.
pub(crate) fn decode_pulse_user_status(flags: u8, reader: &mut Reader<'_>) -> Result<PulseUserStatus, DecodeError> {
    let pulse = if flags & FLAG_PULSE != 0 {
        Some(reader.sfloat()?)
    } else {
        None
    };
    let user_id = if flags & FLAG_USER_ID != 0 {
        Some(UserId::from_byte(reader.u8()?))
    } else {
        None
    };
    let status = if flags & FLAG_STATUS != 0 {
        Some(Status(reader.u16()?))
    } else {
        None
    };
    Ok((pulse, user_id, status))
}

pub(crate) fn flags_of_pulse_user_status(
    pulse: Option<MedFloat>,
    user_id: Option<UserId>,
    status: Option<Status>,
) -> u8 {
    bytes::flag(pulse.is_some(), FLAG_PULSE)
        | bytes::flag(user_id.is_some(), FLAG_USER_ID)
        | bytes::flag(status.is_some(), FLAG_STATUS)
}

pub(crate) fn encode_pulse_user_status(
    out: &mut Vec<u8>,
    pulse: Option<MedFloat>,
    user_id: Option<UserId>,
    status: Option<Status>,
) -> Result<(), EncodeError> {
    if let Some(pulse) = &pulse {
        bytes::put_sfloat(out, pulse)?;
    }
    if let Some(user_id) = user_id {
        out.push(user_id.to_byte()?);
    }
    if let Some(status) = status {
        out.extend_from_slice(&status.0.to_le_bytes());
    }
    Ok(())
}

/// Blood Pressure Measurement 2A35, indicated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Measurement {
    /// Unit of the three pressures.
    pub unit: PressureUnit,
    /// Systolic pressure in `unit`.
    pub systolic: MedFloat,
    /// Diastolic pressure in `unit`.
    pub diastolic: MedFloat,
    /// Mean arterial pressure in `unit`; NaN or 0 on many cuffs.
    pub map: MedFloat,
    /// The cuff's own time.
    pub timestamp: Option<DateTime>,
    /// Pulse rate in beats per minute.
    pub pulse: Option<MedFloat>,
    /// User slot.
    pub user_id: Option<UserId>,
    /// Measurement status.
    pub status: Option<Status>,
    /// Reserved flag bits 5-7, in place, as sent.
    pub rfu_flags: u8,
}

impl Measurement {
    /// Reads a measurement.
    ///
    /// # Errors
    /// `TooShort` if a field that the flags promise is missing.
    pub fn decode(bytes: &[u8]) -> Result<Decoded<Self>, DecodeError> {
        let (flags, mut reader) = open(bytes)?;
        let unit = PressureUnit::from_flags(flags);
        let (systolic, diastolic, map) = (reader.sfloat()?, reader.sfloat()?, reader.sfloat()?);
        let optionals = Optionals::decode(flags, &mut reader)?;
        Ok(reader.finish(Self {
            unit,
            systolic,
            diastolic,
            map,
            timestamp: optionals.timestamp,
            pulse: optionals.pulse,
            user_id: optionals.user_id,
            status: optionals.status,
            rfu_flags: flags & RFU_MASK,
        }))
    }

    /// Reads a measurement of the cuffs that send pulse and status high byte first, with a user id between them whether
    /// the flags say so or not (page 3, section 2.7: Beurer BM85). For models that are known to do so only: the bytes do
    /// not tell.
    ///
    /// # Errors
    /// `TooShort` if a field is missing.
    pub fn decode_big_endian_tail(bytes: &[u8]) -> Result<Decoded<Self>, DecodeError> {
        let flags = bytes::flags_of(bytes) | FLAG_USER_ID;
        let need = bytes::length_by_flags(FIXED_LENGTH, flags, &OPTIONAL_LENGTHS);
        let mut reader = Reader::new(bytes, need)?;
        let sent_flags = reader.u8()?;
        let (systolic, diastolic, map) = (reader.sfloat()?, reader.sfloat()?, reader.sfloat()?);
        let timestamp = if flags & FLAG_TIMESTAMP != 0 {
            Some(reader.date_time()?)
        } else {
            None
        };
        let pulse = if flags & FLAG_PULSE != 0 {
            Some(MedFloat::from_sfloat(reader.u16()?.swap_bytes()))
        } else {
            None
        };
        let user_id = Some(UserId::from_byte(reader.u8()?));
        let status = if flags & FLAG_STATUS != 0 {
            Some(Status(reader.u16()?.swap_bytes()))
        } else {
            None
        };
        Ok(reader.finish(Self {
            unit: PressureUnit::from_flags(flags),
            systolic,
            diastolic,
            map,
            timestamp,
            pulse,
            user_id,
            status,
            rfu_flags: sent_flags & RFU_MASK,
        }))
    }

    /// Writes the measurement, at most 19 bytes.
    ///
    /// # Errors
    /// If a number or field has no exact place in the packet.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let pressures = [self.systolic, self.diastolic, self.map];
        let optionals = Optionals {
            timestamp: self.timestamp,
            pulse: self.pulse,
            user_id: self.user_id,
            status: self.status,
        };
        encode(self.unit, pressures, &optionals, self.rfu_flags)
    }

    /// Systolic pressure in mmHg, exactly; `None` for a special.
    #[must_use]
    pub fn systolic_mmhg(&self) -> Option<Decimal> {
        self.unit.to_mmhg(self.systolic)
    }

    /// Diastolic pressure in mmHg, exactly; `None` for a special.
    #[must_use]
    pub fn diastolic_mmhg(&self) -> Option<Decimal> {
        self.unit.to_mmhg(self.diastolic)
    }

    /// Mean arterial pressure in mmHg, exactly; `None` for a special.
    #[must_use]
    pub fn map_mmhg(&self) -> Option<Decimal> {
        self.unit.to_mmhg(self.map)
    }
}

/// Intermediate Cuff Pressure 2A36, notified while the cuff inflates. Never a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IntermediateCuffPressure {
    /// Unit of the pressure.
    pub unit: PressureUnit,
    /// Current pressure in `unit`.
    pub cuff_pressure: MedFloat,
    /// The two unused pressure fields: NaN by rule, 0 in practice.
    pub unused: [MedFloat; 2],
    /// The cuff's own time.
    pub timestamp: Option<DateTime>,
    /// Pulse rate in beats per minute.
    pub pulse: Option<MedFloat>,
    /// User slot.
    pub user_id: Option<UserId>,
    /// Measurement status.
    pub status: Option<Status>,
    /// Reserved flag bits 5-7, in place, as sent.
    pub rfu_flags: u8,
}

impl IntermediateCuffPressure {
    /// Reads a cuff pressure.
    ///
    /// # Errors
    /// `TooShort` if a field that the flags promise is missing.
    pub fn decode(bytes: &[u8]) -> Result<Decoded<Self>, DecodeError> {
        let (flags, mut reader) = open(bytes)?;
        let cuff_pressure = reader.sfloat()?;
        let unused = [reader.sfloat()?, reader.sfloat()?];
        let optionals = Optionals::decode(flags, &mut reader)?;
        Ok(reader.finish(Self {
            unit: PressureUnit::from_flags(flags),
            cuff_pressure,
            unused,
            timestamp: optionals.timestamp,
            pulse: optionals.pulse,
            user_id: optionals.user_id,
            status: optionals.status,
            rfu_flags: flags & RFU_MASK,
        }))
    }

    /// Writes the cuff pressure.
    ///
    /// # Errors
    /// If a number or field has no exact place in the packet.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let [second, third] = self.unused;
        let optionals = Optionals {
            timestamp: self.timestamp,
            pulse: self.pulse,
            user_id: self.user_id,
            status: self.status,
        };
        let pressures = [self.cuff_pressure, second, third];
        encode(self.unit, pressures, &optionals, self.rfu_flags)
    }
}

/// Checks the length that the flags ask for and takes the flags.
fn open(bytes: &[u8]) -> Result<(u8, Reader<'_>), DecodeError> {
    let need = bytes::length_by_flags(FIXED_LENGTH, bytes::flags_of(bytes), &OPTIONAL_LENGTHS);
    let mut reader = Reader::new(bytes, need)?;
    let flags = reader.u8()?;
    Ok((flags, reader))
}

fn encode(
    unit: PressureUnit,
    pressures: [MedFloat; 3],
    optionals: &Optionals,
    rfu_flags: u8,
) -> Result<Vec<u8>, EncodeError> {
    let rfu = bytes::check_rfu(rfu_flags, RFU_MASK)?;
    let mut out = alloc::vec![unit.flag() | optionals.flags() | rfu];
    for pressure in &pressures {
        bytes::put_sfloat(&mut out, pressure)?;
    }
    optionals.encode(&mut out)?;
    Ok(out)
}

/// Blood Pressure Feature 2A49 as sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Feature(pub u16);

impl Feature {
    const NAMES: [(u16, &'static str); 9] = [
        (1, "body_movement"),
        (1 << 1, "cuff_fit"),
        (1 << 2, "irregular_pulse"),
        (1 << 3, "pulse_range"),
        (1 << 4, "position"),
        (1 << 5, "multiple_bond"),
        (1 << 6, "e2e_crc"),
        (1 << 7, "user_data_service"),
        (1 << 8, "user_facing_time"),
    ];

    /// Stable names of the features, lowest bit first.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        set_names(self.0, &Self::NAMES)
    }

    /// Reads the feature word.
    ///
    /// # Errors
    /// `TooShort` below two bytes.
    pub fn decode(bytes: &[u8]) -> Result<Decoded<Self>, DecodeError> {
        let mut reader = Reader::new(bytes, 2)?;
        let value = Self(reader.u16()?);
        Ok(reader.finish(value))
    }

    /// Writes the feature word.
    ///
    /// # Errors
    /// None; the signature is that of every characteristic.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        Ok(self.0.to_le_bytes().to_vec())
    }
}
