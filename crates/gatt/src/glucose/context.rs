//! Glucose Measurement Context 2A34.

use alloc::vec::Vec;

use crate::bytes::{self, Reader};
use crate::codes::coded_enum;
use crate::{DecodeError, Decoded, EncodeError, MedFloat};

const FLAG_CARBOHYDRATE: u8 = 1;
const FLAG_MEAL: u8 = 1 << 1;
const FLAG_TESTER_HEALTH: u8 = 1 << 2;
const FLAG_EXERCISE: u8 = 1 << 3;
const FLAG_MEDICATION: u8 = 1 << 4;
const FLAG_MEDICATION_LITRES: u8 = 1 << 5;
const FLAG_HBA1C: u8 = 1 << 6;
const FLAG_EXTENDED: u8 = 1 << 7;

/// Flags, sequence number.
const FIXED_LENGTH: usize = 3;
const OPTIONAL_LENGTHS: [(u8, usize); 7] = [
    (FLAG_EXTENDED, 1),
    (FLAG_CARBOHYDRATE, 3),
    (FLAG_MEAL, 1),
    (FLAG_TESTER_HEALTH, 1),
    (FLAG_EXERCISE, 3),
    (FLAG_MEDICATION, 3),
    (FLAG_HBA1C, 2),
];

coded_enum! {
    /// What was eaten.
    pub enum CarbohydrateId, field "carbohydrate_id", unknown "reserved_" {
        /// Breakfast.
        1 => Breakfast "breakfast",
        /// Lunch.
        2 => Lunch "lunch",
        /// Dinner.
        3 => Dinner "dinner",
        /// Snack.
        4 => Snack "snack",
        /// Drink.
        5 => Drink "drink",
        /// Supper.
        6 => Supper "supper",
        /// Brunch.
        7 => Brunch "brunch",
    }
}

coded_enum! {
    /// Relation of the measurement to a meal. Code 6, a vendor's ketone marker, stays unknown here: it is a quirk.
    pub enum Meal, field "meal", unknown "reserved_" {
        /// Before a meal.
        1 => Preprandial "preprandial",
        /// After a meal.
        2 => Postprandial "postprandial",
        /// Fasting.
        3 => Fasting "fasting",
        /// Casual: snacks, drinks.
        4 => Casual "casual",
        /// Bedtime.
        5 => Bedtime "bedtime",
    }
}

coded_enum! {
    /// Who measured: low nibble of the tester-health byte.
    pub enum Tester, field "tester", unknown "reserved_" {
        /// The person.
        1 => Self_ "self",
        /// A health care professional.
        2 => HealthCareProfessional "health_care_professional",
        /// A laboratory.
        3 => LabTest "lab_test",
        /// Not available.
        15 => NotAvailable "not_available",
    }
}

coded_enum! {
    /// State of health: high nibble of the tester-health byte.
    pub enum Health, field "health", unknown "reserved_" {
        /// Minor health issues.
        1 => MinorIssues "minor_issues",
        /// Major health issues.
        2 => MajorIssues "major_issues",
        /// During menses.
        3 => DuringMenses "during_menses",
        /// Under stress.
        4 => UnderStress "under_stress",
        /// No health issues.
        5 => NoIssues "no_issues",
        /// Not available.
        15 => NotAvailable "not_available",
    }
}

coded_enum! {
    /// Kind of insulin.
    pub enum MedicationId, field "medication_id", unknown "reserved_" {
        /// Rapid acting.
        1 => Rapid "rapid",
        /// Short acting.
        2 => Short "short",
        /// Intermediate acting.
        3 => Intermediate "intermediate",
        /// Long acting.
        4 => Long "long",
        /// Premixed.
        5 => Premixed "premixed",
    }
}

/// Carbohydrate, as sent. Meters disagree on the scale: not for clinical use without a rule for the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Carbohydrate {
    /// What was eaten.
    pub id: CarbohydrateId,
    /// Amount in kilograms by the field table.
    pub kg: MedFloat,
}

/// Tester and health, which share one byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TesterHealth {
    /// Who measured.
    pub tester: Tester,
    /// State of health.
    pub health: Health,
}

/// Length of an exercise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExerciseDuration {
    /// Seconds, 0 to 65534.
    Seconds(u16),
    /// 65535: longer than the field can say.
    Overrun,
}

impl ExerciseDuration {
    const fn from_word(word: u16) -> Self {
        match word {
            u16::MAX => Self::Overrun,
            seconds => Self::Seconds(seconds),
        }
    }

    const fn to_word(self) -> Result<u16, EncodeError> {
        match self {
            Self::Seconds(u16::MAX) => Err(EncodeError::OutOfRange {
                field: "exercise_duration",
            }),
            Self::Seconds(seconds) => Ok(seconds),
            Self::Overrun => Ok(u16::MAX),
        }
    }
}

/// Exercise before the measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Exercise {
    /// Length.
    pub duration: ExerciseDuration,
    /// Intensity in percent.
    pub intensity_pct: u8,
}

/// Unit of a medication's amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MedicationUnit {
    /// Kilograms.
    Kg,
    /// Litres.
    L,
}

impl MedicationUnit {
    /// `kg` or `L`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kg => "kg",
            Self::L => "L",
        }
    }
}

/// Medication, as sent. Meters disagree on the scale: not for clinical use without a rule for the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Medication {
    /// Kind of insulin.
    pub id: MedicationId,
    /// Unit of `value`.
    pub unit: MedicationUnit,
    /// Amount in `unit` by the field table.
    pub value: MedFloat,
}

/// Glucose Measurement Context 2A34, notified after the measurement of the same sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Context {
    /// Sequence number of the measurement.
    pub sequence: u16,
    /// Extended flags, none of which is defined.
    pub extended_flags: Option<u8>,
    /// Carbohydrate.
    pub carbohydrate: Option<Carbohydrate>,
    /// Relation to a meal.
    pub meal: Option<Meal>,
    /// Tester and health.
    pub tester_health: Option<TesterHealth>,
    /// Exercise.
    pub exercise: Option<Exercise>,
    /// Medication.
    pub medication: Option<Medication>,
    /// HbA1c in percent.
    pub hba1c_pct: Option<MedFloat>,
}

impl Context {
    /// A context without any detail.
    #[must_use]
    pub const fn empty(sequence: u16) -> Self {
        Self {
            sequence,
            extended_flags: None,
            carbohydrate: None,
            meal: None,
            tester_health: None,
            exercise: None,
            medication: None,
            hba1c_pct: None,
        }
    }

    /// Reads a context.
    ///
    /// # Errors
    /// `TooShort` if a field that the flags promise is missing.
    pub fn decode(bytes: &[u8]) -> Result<Decoded<Self>, DecodeError> {
        let need = bytes::length_by_flags(FIXED_LENGTH, bytes::flags_of(bytes), &OPTIONAL_LENGTHS);
        let mut reader = Reader::new(bytes, need)?;
        let flags = reader.u8()?;
        let mut context = Self::empty(reader.u16()?);
        if flags & FLAG_EXTENDED != 0 {
            context.extended_flags = Some(reader.u8()?);
        }
        if flags & FLAG_CARBOHYDRATE != 0 {
            context.carbohydrate = Some(Carbohydrate {
                id: CarbohydrateId::from_code(reader.u8()?),
                kg: reader.sfloat()?,
            });
        }
        if flags & FLAG_MEAL != 0 {
            context.meal = Some(Meal::from_code(reader.u8()?));
        }
        if flags & FLAG_TESTER_HEALTH != 0 {
            let byte = reader.u8()?;
            context.tester_health = Some(TesterHealth {
                tester: Tester::from_code(byte & 0x0F),
                health: Health::from_code(byte >> 4),
            });
        }
        if flags & FLAG_EXERCISE != 0 {
            context.exercise = Some(Exercise {
                duration: ExerciseDuration::from_word(reader.u16()?),
                intensity_pct: reader.u8()?,
            });
        }
        if flags & FLAG_MEDICATION != 0 {
            context.medication = Some(Medication {
                id: MedicationId::from_code(reader.u8()?),
                unit: if flags & FLAG_MEDICATION_LITRES == 0 {
                    MedicationUnit::Kg
                } else {
                    MedicationUnit::L
                },
                value: reader.sfloat()?,
            });
        }
        if flags & FLAG_HBA1C != 0 {
            context.hba1c_pct = Some(reader.sfloat()?);
        }
        Ok(reader.finish(context))
    }

    /// Writes the context, at most 17 bytes.
    ///
    /// # Errors
    /// If a number or field has no exact place in the packet.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let litres = self
            .medication
            .is_some_and(|medication| medication.unit == MedicationUnit::L);
        let flags = bytes::flag(self.carbohydrate.is_some(), FLAG_CARBOHYDRATE)
            | bytes::flag(self.meal.is_some(), FLAG_MEAL)
            | bytes::flag(self.tester_health.is_some(), FLAG_TESTER_HEALTH)
            | bytes::flag(self.exercise.is_some(), FLAG_EXERCISE)
            | bytes::flag(self.medication.is_some(), FLAG_MEDICATION)
            | bytes::flag(litres, FLAG_MEDICATION_LITRES)
            | bytes::flag(self.hba1c_pct.is_some(), FLAG_HBA1C)
            | bytes::flag(self.extended_flags.is_some(), FLAG_EXTENDED);
        let mut out = alloc::vec![flags];
        out.extend_from_slice(&self.sequence.to_le_bytes());
        if let Some(extended_flags) = self.extended_flags {
            out.push(extended_flags);
        }
        if let Some(carbohydrate) = &self.carbohydrate {
            out.push(carbohydrate.id.checked_code(u8::MAX)?);
            bytes::put_sfloat(&mut out, &carbohydrate.kg)?;
        }
        if let Some(meal) = self.meal {
            out.push(meal.checked_code(u8::MAX)?);
        }
        if let Some(both) = self.tester_health {
            let tester = both.tester.checked_code(0x0F)?;
            out.push(tester | (both.health.checked_code(0x0F)? << 4));
        }
        if let Some(exercise) = self.exercise {
            out.extend_from_slice(&exercise.duration.to_word()?.to_le_bytes());
            out.push(exercise.intensity_pct);
        }
        if let Some(medication) = &self.medication {
            out.push(medication.id.checked_code(u8::MAX)?);
            bytes::put_sfloat(&mut out, &medication.value)?;
        }
        if let Some(hba1c_pct) = &self.hba1c_pct {
            bytes::put_sfloat(&mut out, hba1c_pct)?;
        }
        Ok(out)
    }
}
