//! Glucose Service 0x1808: measurement 2A18, measurement context 2A34, feature 2A51.

use alloc::vec::Vec;

use crate::bytes::{self, Reader};
use crate::codes::{coded_enum, set_names};
use crate::{DateTime, Decimal, DecodeError, Decoded, EncodeError, MedFloat};

mod context;

pub use context::{
    Carbohydrate, CarbohydrateId, Context, Exercise, ExerciseDuration, Health, Meal, Medication, MedicationId,
    MedicationUnit, Tester, TesterHealth,
};

/// mg/dL of 1 mmol/L of glucose.
pub const MG_PER_DL_PER_MMOL_PER_L: Decimal = Decimal::new(180_156, -4);
/// Digits after the point of a concentration in mmol/L that was derived from kg/L.
pub const MMOL_DECIMALS: u8 = 3;

const FLAG_TIME_OFFSET: u8 = 1;
const FLAG_CONCENTRATION: u8 = 1 << 1;
const FLAG_MOL_PER_L: u8 = 1 << 2;
const FLAG_STATUS: u8 = 1 << 3;
const FLAG_CONTEXT_FOLLOWS: u8 = 1 << 4;
const RFU_MASK: u8 = 0b1110_0000;

/// Flags, sequence number, base time.
const FIXED_LENGTH: usize = 10;
const OPTIONAL_LENGTHS: [(u8, usize); 3] = [(FLAG_TIME_OFFSET, 2), (FLAG_CONCENTRATION, 3), (FLAG_STATUS, 2)];

/// Minutes between the meter's fixed base clock and the time it shows to its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimeOffset {
    /// Minutes to add to the base time.
    Minutes(i16),
    /// 0x7FFF: the offset is above the range, no usable offset.
    Overrun,
    /// 0x8000: the offset is below the range, no usable offset.
    Underrun,
}

impl TimeOffset {
    const fn from_word(word: i16) -> Self {
        match word {
            i16::MAX => Self::Overrun,
            i16::MIN => Self::Underrun,
            minutes => Self::Minutes(minutes),
        }
    }

    const fn to_word(self) -> Result<i16, EncodeError> {
        match self {
            Self::Minutes(i16::MAX | i16::MIN) => Err(EncodeError::OutOfRange { field: "time_offset" }),
            Self::Minutes(minutes) => Ok(minutes),
            Self::Overrun => Ok(i16::MAX),
            Self::Underrun => Ok(i16::MIN),
        }
    }
}

/// The quantity that was sent; says nothing about what the meter's display shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConcentrationUnit {
    /// Kilograms per litre.
    KgPerL,
    /// Moles per litre.
    MolPerL,
}

impl ConcentrationUnit {
    /// `kg/L` or `mol/L`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::KgPerL => "kg/L",
            Self::MolPerL => "mol/L",
        }
    }
}

coded_enum! {
    /// Type of the sample: low nibble of the type-location byte.
    pub enum SampleType, field "sample_type", unknown "reserved_" {
        /// Capillary whole blood.
        1 => CapillaryWholeBlood "capillary_whole_blood",
        /// Capillary plasma.
        2 => CapillaryPlasma "capillary_plasma",
        /// Venous whole blood.
        3 => VenousWholeBlood "venous_whole_blood",
        /// Venous plasma.
        4 => VenousPlasma "venous_plasma",
        /// Arterial whole blood.
        5 => ArterialWholeBlood "arterial_whole_blood",
        /// Arterial plasma.
        6 => ArterialPlasma "arterial_plasma",
        /// Whole blood of undetermined origin.
        7 => UndeterminedWholeBlood "undetermined_whole_blood",
        /// Plasma of undetermined origin.
        8 => UndeterminedPlasma "undetermined_plasma",
        /// Interstitial fluid.
        9 => InterstitialFluid "interstitial_fluid",
        /// Control solution: not a patient's sample.
        10 => ControlSolution "control_solution",
    }
}

coded_enum! {
    /// Where the sample came from: high nibble of the type-location byte.
    pub enum SampleLocation, field "sample_location", unknown "reserved_" {
        /// Finger.
        1 => Finger "finger",
        /// Alternate site test.
        2 => AlternateSiteTest "alternate_site_test",
        /// Earlobe.
        3 => Earlobe "earlobe",
        /// Control solution: not a patient's sample.
        4 => ControlSolution "control_solution",
        /// Not available.
        15 => NotAvailable "not_available",
    }
}

/// Concentration with the sample it was measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Concentration {
    /// Unit of `value`.
    pub unit: ConcentrationUnit,
    /// Concentration in `unit`, as sent.
    pub value: MedFloat,
    /// Type of the sample.
    pub sample_type: SampleType,
    /// Location of the sample.
    pub sample_location: SampleLocation,
}

impl Concentration {
    /// True if either nibble says control solution; meters set one, the other or both.
    #[must_use]
    pub fn is_control_solution(&self) -> bool {
        self.sample_type == SampleType::ControlSolution || self.sample_location == SampleLocation::ControlSolution
    }

    /// Concentration in mg/dL, exactly; from mol/L by [`MG_PER_DL_PER_MMOL_PER_L`]. `None` for a special.
    #[must_use]
    pub fn mg_per_dl(&self) -> Option<Decimal> {
        let value = self.value.number()?;
        match self.unit {
            ConcentrationUnit::KgPerL => value.checked_mul(Decimal::new(1, 5)),
            ConcentrationUnit::MolPerL => value
                .checked_mul(Decimal::new(1, 3))?
                .checked_mul(MG_PER_DL_PER_MMOL_PER_L),
        }
    }

    /// Concentration in mmol/L: exact if mol/L was sent, else derived by [`MG_PER_DL_PER_MMOL_PER_L`] and rounded
    /// to [`MMOL_DECIMALS`] digits. `None` for a special.
    #[must_use]
    pub fn mmol_per_l(&self) -> Option<Decimal> {
        match self.unit {
            ConcentrationUnit::KgPerL => self.mg_per_dl()?.div_rounded(MG_PER_DL_PER_MMOL_PER_L, MMOL_DECIMALS),
            ConcentrationUnit::MolPerL => self.value.number()?.checked_mul(Decimal::new(1, 3)),
        }
    }
}

/// Sensor status annunciation as sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Status(pub u16);

impl Status {
    /// Bit 1: sensor malfunction.
    pub const SENSOR_MALFUNCTION: u16 = 1 << 1;
    /// Bit 5: result above what the meter can measure ("HI").
    pub const RESULT_TOO_HIGH: u16 = 1 << 5;
    /// Bit 6: result below what the meter can measure ("LO").
    pub const RESULT_TOO_LOW: u16 = 1 << 6;
    const RFU: u16 = 0xF000;
    const NAMES: [(u16, &'static str); 12] = [
        (1, "battery_low"),
        (Self::SENSOR_MALFUNCTION, "sensor_malfunction"),
        (1 << 2, "sample_insufficient"),
        (1 << 3, "strip_insertion_error"),
        (1 << 4, "strip_type_incorrect"),
        (Self::RESULT_TOO_HIGH, "result_too_high"),
        (Self::RESULT_TOO_LOW, "result_too_low"),
        (1 << 7, "temp_too_high"),
        (1 << 8, "temp_too_low"),
        (1 << 9, "read_interrupted"),
        (1 << 10, "general_fault"),
        (1 << 11, "time_fault"),
    ];

    /// Bit 5: result above what the meter can measure ("HI").
    #[must_use]
    pub const fn result_too_high(self) -> bool {
        self.0 & Self::RESULT_TOO_HIGH != 0
    }

    /// Bit 6: result below what the meter can measure ("LO").
    #[must_use]
    pub const fn result_too_low(self) -> bool {
        self.0 & Self::RESULT_TOO_LOW != 0
    }

    /// Bits 12-15, in place.
    #[must_use]
    pub const fn rfu_bits(self) -> u16 {
        self.0 & Self::RFU
    }

    /// Stable names of the flags that are set, lowest bit first.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        set_names(self.0, &Self::NAMES)
    }
}

/// Glucose Measurement 2A18, notified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Measurement {
    /// Sequence number of the record.
    pub sequence: u16,
    /// The meter's base clock at the measurement.
    pub base_time: DateTime,
    /// Offset of the user's time from the base time.
    pub time_offset: Option<TimeOffset>,
    /// Concentration and sample; absent in records of an error.
    pub concentration: Option<Concentration>,
    /// Sensor status.
    pub status: Option<Status>,
    /// A [`Context`] of the same sequence number follows.
    pub context_follows: bool,
    /// Reserved flag bits 5-7, in place, as sent.
    pub rfu_flags: u8,
}

impl Measurement {
    /// Reads a measurement.
    ///
    /// # Errors
    /// `TooShort` if a field that the flags promise is missing.
    pub fn decode(bytes: &[u8]) -> Result<Decoded<Self>, DecodeError> {
        let need = bytes::length_by_flags(FIXED_LENGTH, bytes::flags_of(bytes), &OPTIONAL_LENGTHS);
        let mut reader = Reader::new(bytes, need)?;
        let flags = reader.u8()?;
        let sequence = reader.u16()?;
        let base_time = reader.date_time()?;
        let time_offset = if flags & FLAG_TIME_OFFSET != 0 {
            Some(TimeOffset::from_word(reader.i16()?))
        } else {
            None
        };
        let concentration = if flags & FLAG_CONCENTRATION != 0 {
            let value = reader.sfloat()?;
            let type_location = reader.u8()?;
            Some(Concentration {
                unit: if flags & FLAG_MOL_PER_L == 0 {
                    ConcentrationUnit::KgPerL
                } else {
                    ConcentrationUnit::MolPerL
                },
                value,
                sample_type: SampleType::from_code(type_location & 0x0F),
                sample_location: SampleLocation::from_code(type_location >> 4),
            })
        } else {
            None
        };
        let status = if flags & FLAG_STATUS != 0 {
            Some(Status(reader.u16()?))
        } else {
            None
        };
        Ok(reader.finish(Self {
            sequence,
            base_time,
            time_offset,
            concentration,
            status,
            context_follows: flags & FLAG_CONTEXT_FOLLOWS != 0,
            rfu_flags: flags & RFU_MASK,
        }))
    }

    /// Writes the measurement, 10 to 17 bytes.
    ///
    /// # Errors
    /// If a number or field has no exact place in the packet.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let mol_per_l = self
            .concentration
            .is_some_and(|concentration| concentration.unit == ConcentrationUnit::MolPerL);
        let flags = bytes::flag(self.time_offset.is_some(), FLAG_TIME_OFFSET)
            | bytes::flag(self.concentration.is_some(), FLAG_CONCENTRATION)
            | bytes::flag(mol_per_l, FLAG_MOL_PER_L)
            | bytes::flag(self.status.is_some(), FLAG_STATUS)
            | bytes::flag(self.context_follows, FLAG_CONTEXT_FOLLOWS)
            | bytes::check_rfu(self.rfu_flags, RFU_MASK)?;
        let mut out = alloc::vec![flags];
        out.extend_from_slice(&self.sequence.to_le_bytes());
        bytes::put_date_time(&mut out, &self.base_time)?;
        if let Some(offset) = self.time_offset {
            out.extend_from_slice(&offset.to_word()?.to_le_bytes());
        }
        if let Some(concentration) = &self.concentration {
            bytes::put_sfloat(&mut out, &concentration.value)?;
            let sample_type = concentration.sample_type.checked_code(0x0F)?;
            let sample_location = concentration.sample_location.checked_code(0x0F)?;
            out.push(sample_type | (sample_location << 4));
        }
        if let Some(status) = self.status {
            out.extend_from_slice(&status.0.to_le_bytes());
        }
        Ok(out)
    }

    /// True if type or location says control solution; such a record is not a patient's.
    #[must_use]
    pub fn is_control_solution(&self) -> bool {
        self.concentration
            .is_some_and(|concentration| concentration.is_control_solution())
    }

    /// As [`Concentration::mg_per_dl`].
    #[must_use]
    pub fn mg_per_dl(&self) -> Option<Decimal> {
        self.concentration?.mg_per_dl()
    }

    /// As [`Concentration::mmol_per_l`].
    #[must_use]
    pub fn mmol_per_l(&self) -> Option<Decimal> {
        self.concentration?.mmol_per_l()
    }

    /// The user's wall time: base time plus offset, or the base time when no offset was sent. `None` if the base
    /// time is no moment, or an offset was sent that is not usable.
    #[must_use]
    pub fn effective_time(&self) -> Option<DateTime> {
        match self.time_offset {
            None => self.base_time.plus_minutes(0),
            Some(TimeOffset::Minutes(minutes)) => self.base_time.plus_minutes(i32::from(minutes)),
            Some(TimeOffset::Overrun | TimeOffset::Underrun) => None,
        }
    }
}

/// Glucose Feature 2A51 as sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Feature(pub u16);

impl Feature {
    const NAMES: [(u16, &'static str); 11] = [
        (1, "low_battery"),
        (1 << 1, "sensor_malfunction"),
        (1 << 2, "sample_size"),
        (1 << 3, "strip_insertion"),
        (1 << 4, "strip_type"),
        (1 << 5, "result_high_low"),
        (1 << 6, "temp_high_low"),
        (1 << 7, "read_interrupt"),
        (1 << 8, "general_fault"),
        (1 << 9, "time_fault"),
        (1 << 10, "multiple_bond"),
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
