//! A reading: one decoded measurement with its provenance and raw bytes.

use carepost_gatt::{Decimal, MedFloat, blood_pressure, glucose};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::code_enum;
use crate::id::{BindingId, MemberId, MeterId, ReadingId, SittingId};
use crate::meter::MeterKind;
use crate::quarantine::Reason;
use crate::quirks::QuirkId;
use crate::time::MeasuredTime;
use crate::units::{Concentration, GlucoseLevel, GlucoseUnit, Pressure, PressureUnit, PulseRate};

mod members_own;

pub use members_own::{
    OxygenSaturation, Temperature, TemperatureSite, Weight, judge_oxygen_saturation, judge_temperature, judge_weight,
};

/// One reading of one member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// Derived from content.
    pub id: ReadingId,
    /// Whose it is.
    pub member: MemberId,
    /// The meter that measured it.
    pub meter: MeterId,
    /// Why it is this member's.
    pub attribution: Attribution,
    /// Where it was measured.
    pub place: Place,
    /// When, and how that is known.
    pub time: MeasuredTime,
    /// When the gateway received the packet.
    pub captured_at: DateTime<Utc>,
    /// What was measured.
    pub measurement: Measurement,
    /// What the meter or a person said that qualifies it.
    pub flags: Vec<Flag>,
    /// Meal slot of a glucose value, when somebody said it.
    pub slot: Option<Slot>,
    /// Assigned number of the characteristic that carried it.
    pub characteristic: u16,
    /// Its bytes as received.
    pub raw: Vec<u8>,
    /// Bytes of the glucose measurement context that followed it.
    pub context_raw: Option<Vec<u8>>,
    /// The entry of the quirk table by which the bytes were read; `None` where they mean what the specification says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quirk: Option<QuirkId>,
}

/// The evidence on which a reading is somebody's (page 4, "Attribution").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Attribution {
    /// A meter, or a slot of it, bound to the member.
    Binding {
        /// The binding.
        binding: BindingId,
    },
    /// A sitting at the kiosk in which the reading was measured.
    Sitting {
        /// The sitting.
        sitting: SittingId,
    },
}

code_enum! {
    /// Where a reading was measured.
    pub enum Place ("place") {
        /// On a store-shared meter.
        Store = "store",
        /// On a member's own meter.
        Home = "home",
    }
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Measurement {
    /// Blood pressure.
    BloodPressure(BloodPressure),
    /// Glucose.
    Glucose(Glucose),
    /// Body weight. Stored and shown; no rule looks at it.
    Weight(Weight),
    /// Body temperature. Stored and shown; no rule looks at it.
    Temperature(Temperature),
    /// Oxygen saturation. Stored and shown; no rule looks at it.
    OxygenSaturation(OxygenSaturation),
}

impl Measurement {
    /// `bp`, `glucose`, `weight`, `temperature` or `oxygen_saturation`, as storage and rule cases spell it.
    #[must_use]
    pub const fn kind_code(&self) -> &'static str {
        match self {
            Self::BloodPressure(_) => "bp",
            Self::Glucose(_) => "glucose",
            Self::Weight(_) => "weight",
            Self::Temperature(_) => "temperature",
            Self::OxygenSaturation(_) => "oxygen_saturation",
        }
    }

    /// What kind of meter measures it.
    #[must_use]
    pub const fn meter_kind(&self) -> MeterKind {
        match self {
            Self::BloodPressure(_) => MeterKind::BloodPressure,
            Self::Glucose(_) => MeterKind::Glucose,
            Self::Weight(_) => MeterKind::Weight,
            Self::Temperature(_) => MeterKind::Temperature,
            Self::OxygenSaturation(_) => MeterKind::OxygenSaturation,
        }
    }

    /// The meter's user slot, where it says a known one.
    #[must_use]
    pub const fn user_slot(&self) -> Option<u8> {
        match self {
            Self::BloodPressure(bp) => bp.user_slot,
            Self::Weight(weight) => weight.user_slot,
            Self::Glucose(_) | Self::Temperature(_) | Self::OxygenSaturation(_) => None,
        }
    }
}

/// A blood pressure with its pulse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BloodPressure {
    /// The unit the cuff sent.
    pub unit: PressureUnit,
    /// Systolic pressure.
    #[serde(rename = "systolic_umhg")]
    pub systolic: Pressure,
    /// Diastolic pressure.
    #[serde(rename = "diastolic_umhg")]
    pub diastolic: Pressure,
    /// Mean arterial pressure, where the cuff gives one.
    #[serde(rename = "mean_arterial_umhg")]
    pub mean_arterial: Option<Pressure>,
    /// Pulse rate, where the cuff gives one.
    #[serde(rename = "pulse_milli_per_min")]
    pub pulse: Option<PulseRate>,
    /// The cuff's user slot; `None` if absent or unknown.
    pub user_slot: Option<u8>,
}

/// A glucose value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Glucose {
    /// The number, or the meter's HI or LO.
    pub level: GlucoseLevel,
    /// The meter's record number.
    pub sequence: u16,
}

code_enum! {
    /// What qualifies a reading (page 5, section 5.6, codes; page 3, section 4, status spellings).
    pub enum Flag ("reading flag") {
        /// The body moved.
        BodyMovement = "body_movement",
        /// The cuff was too loose.
        CuffLoose = "cuff_loose",
        /// An irregular pulse was detected.
        IrregularPulse = "irregular_pulse",
        /// The measurement position was improper.
        ImproperPosition = "improper_position",
        /// Pulse above the cuff's range.
        PulseAboveUpper = "pulse_above_upper",
        /// Pulse below the cuff's range.
        PulseBelowLower = "pulse_below_lower",
        /// Battery low.
        BatteryLow = "battery_low",
        /// Sensor malfunction.
        SensorMalfunction = "sensor_malfunction",
        /// Sample too small.
        SampleInsufficient = "sample_insufficient",
        /// Strip inserted wrongly.
        StripInsertionError = "strip_insertion_error",
        /// Wrong strip.
        StripTypeIncorrect = "strip_type_incorrect",
        /// Result above the meter's range (HI).
        ResultTooHigh = "result_too_high",
        /// Result below the meter's range (LO).
        ResultTooLow = "result_too_low",
        /// Too hot.
        TempTooHigh = "temp_too_high",
        /// Too cold.
        TempTooLow = "temp_too_low",
        /// Strip pulled too early.
        ReadInterrupted = "read_interrupted",
        /// General fault.
        GeneralFault = "general_fault",
        /// Time fault.
        TimeFault = "time_fault",
        /// The person was not rested.
        NotRested = "not_rested",
        /// The meter's calibration is overdue.
        CalibrationOverdue = "calibration_overdue",
        /// The meter said that the measurement failed.
        MeasurementError = "measurement_error",
        /// The meter's date was repaired by its entry in the quirk table.
        DateRepaired = "date_repaired",
        /// The oximeter called the measurement questionable, an early estimate, or made while it calibrates.
        Questionable = "questionable",
        /// The oximeter's signal was poor or its sensor misplaced.
        PoorSignal = "poor_signal",
        /// The cuff reported something that it declares not to detect; that was left out.
        StatusUndeclared = "status_undeclared",
    }
}

code_enum! {
    /// Relation of a glucose value to meals (page 5, section 5.4).
    pub enum Slot ("meal slot") {
        /// Fasting.
        Fasting = "fasting",
        /// Before breakfast.
        BeforeBreakfast = "before_breakfast",
        /// After breakfast.
        AfterBreakfast = "after_breakfast",
        /// Before lunch.
        BeforeLunch = "before_lunch",
        /// After lunch.
        AfterLunch = "after_lunch",
        /// Before dinner.
        BeforeDinner = "before_dinner",
        /// After dinner.
        AfterDinner = "after_dinner",
        /// At bedtime.
        Bedtime = "bedtime",
        /// At night.
        Night = "night",
        /// Known to be none of the others.
        Random = "random",
    }
}

/// What an oscillometric cuff can measure, in whole mmHg: outside is a decoding error or another device. Wider than the
/// ranges printed by makers (commonly 40 to 280 systolic, 20 to 200 diastolic), so that no true emergency is refused.
const SYSTOLIC_MMHG: std::ops::RangeInclusive<i64> = 30..=320;
/// See [`SYSTOLIC_MMHG`].
const DIASTOLIC_MMHG: std::ops::RangeInclusive<i64> = 10..=250;
/// Pulse per minute; the same reasoning (commonly 30 to 199 printed).
const PULSE_PER_MIN: std::ops::RangeInclusive<i64> = 15..=300;
/// Glucose in milli-mmol/L; meters print 0.6 to 33.3 (10 to 600 mg/dL) and say LO or HI outside.
const GLUCOSE_MILLI_MMOL: std::ops::RangeInclusive<i64> = 100..=60_000;

/// A decoded record that may become a reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// What was measured.
    pub measurement: Measurement,
    /// The meter's flags.
    pub flags: Vec<Flag>,
}

impl Flag {
    /// The bit of Blood Pressure Feature (2A49) without which this flag of a cuff means nothing (page 3, section 2.2).
    const fn declared_by(self) -> Option<u16> {
        match self {
            Self::BodyMovement => Some(1),
            Self::CuffLoose => Some(1 << 1),
            Self::IrregularPulse => Some(1 << 2),
            Self::PulseAboveUpper | Self::PulseBelowLower => Some(1 << 3),
            Self::ImproperPosition => Some(1 << 4),
            _ => None,
        }
    }
}

/// Whether these flags are those of a record's bytes: with others that a person or the gateway added, and without what a cuff
/// reported and did not declare, if they say so.
#[must_use]
pub fn are_flags_of(flags: &[Flag], of_bytes: &[Flag]) -> bool {
    let left_out = |flag: &Flag| flag.declared_by().is_some() && flags.contains(&Flag::StatusUndeclared);
    of_bytes.iter().all(|flag| flags.contains(flag) || left_out(flag))
}

impl Judged {
    /// Leaves out what a cuff reported and did not declare, and says so. A cuff whose features were not read may mean all of
    /// it.
    #[must_use]
    pub fn as_declared(mut self, feature: Option<blood_pressure::Feature>) -> Self {
        let Some(feature) = feature else { return self };
        let before = self.flags.len();
        self.flags
            .retain(|flag| flag.declared_by().is_none_or(|bit| feature.0 & bit != 0));
        if self.flags.len() < before {
            self.flags.push(Flag::StatusUndeclared);
        }
        self
    }
}

/// Judges a decoded blood-pressure measurement.
///
/// # Errors
/// [`Reason::MeasurementError`] when systolic or diastolic is no number (a cuff's report of a failed measurement), and
/// [`Reason::Implausible`] when a value is outside what a cuff can measure or systolic is not above diastolic.
pub fn judge_blood_pressure(m: &blood_pressure::Measurement) -> Result<Judged, Reason> {
    let unit = match m.unit {
        blood_pressure::PressureUnit::MmHg => PressureUnit::MmHg,
        blood_pressure::PressureUnit::KPa => PressureUnit::KPa,
    };
    let pressure = |value: &MedFloat| -> Result<Option<Pressure>, Reason> {
        if value.number().is_none() {
            return Ok(None);
        }
        let mmhg = m.unit.to_mmhg(*value).ok_or(Reason::Implausible)?;
        let (micro, _exact) = mmhg.to_scaled(6).ok_or(Reason::Implausible)?;
        Ok(Some(Pressure::from_micro_mmhg(micro)))
    };
    let systolic = pressure(&m.systolic)?.ok_or(Reason::MeasurementError)?;
    let diastolic = pressure(&m.diastolic)?.ok_or(Reason::MeasurementError)?;
    let plausible = SYSTOLIC_MMHG.contains(&systolic.rounded_mmhg())
        && DIASTOLIC_MMHG.contains(&diastolic.rounded_mmhg())
        && systolic > diastolic;
    if !plausible {
        return Err(Reason::Implausible);
    }
    // NaN and 0 both mean "not provided" on many cuffs; any other mean must lie between the two.
    let mean_arterial = match pressure(&m.map)? {
        Some(map) if map > Pressure::from_micro_mmhg(0) => {
            if map < diastolic || map > systolic {
                return Err(Reason::Implausible);
            }
            Some(map)
        }
        _ => None,
    };
    let pulse = match &m.pulse {
        Some(MedFloat::Number(number)) => {
            let (milli, _exact) = number.to_scaled(3).ok_or(Reason::Implausible)?;
            let pulse = PulseRate::from_milli_per_min(milli);
            // Zero is "not found". What only rounds to it is no pulse at all, but nonsense.
            if *number == Decimal::ZERO {
                None
            } else if PULSE_PER_MIN.contains(&pulse.rounded_per_min()) {
                Some(pulse)
            } else {
                // A nonsense pulse means that the frame is not what it claims to be (page 3: vendor tails and prefixes).
                return Err(Reason::Implausible);
            }
        }
        _ => None,
    };
    let user_slot = match m.user_id {
        Some(blood_pressure::UserId::Known(slot)) => Some(slot),
        Some(blood_pressure::UserId::Unknown) | None => None,
    };
    let mut flags = Vec::new();
    if let Some(status) = m.status {
        let mut add = |set: bool, flag| {
            if set {
                flags.push(flag);
            }
        };
        add(status.body_movement(), Flag::BodyMovement);
        add(status.cuff_loose(), Flag::CuffLoose);
        add(status.irregular_pulse(), Flag::IrregularPulse);
        add(status.improper_position(), Flag::ImproperPosition);
        add(
            status.pulse_range() == blood_pressure::PulseRange::AboveUpper,
            Flag::PulseAboveUpper,
        );
        add(
            status.pulse_range() == blood_pressure::PulseRange::BelowLower,
            Flag::PulseBelowLower,
        );
    }
    Ok(Judged {
        measurement: Measurement::BloodPressure(BloodPressure {
            unit,
            systolic,
            diastolic,
            mean_arterial,
            pulse,
            user_slot,
        }),
        flags,
    })
}

/// Judges a decoded glucose measurement.
///
/// # Errors
/// [`Reason::ControlSolution`] by either nibble, [`Reason::MeasurementError`] when there is no value, and
/// [`Reason::Implausible`] when it is outside what a meter can measure.
pub fn judge_glucose(m: &glucose::Measurement) -> Result<Judged, Reason> {
    if m.is_control_solution() {
        return Err(Reason::ControlSolution);
    }
    let concentration = m.concentration.as_ref().ok_or(Reason::MeasurementError)?;
    // kg/L x 1e5 = mg/dL and mol/L x 1e3 = mmol/L (page 3, section 2.3); three more digits for thousandths.
    let (unit, exponent) = match concentration.unit {
        glucose::ConcentrationUnit::KgPerL => (GlucoseUnit::MgPerDl, 8),
        glucose::ConcentrationUnit::MolPerL => (GlucoseUnit::MmolPerL, 6),
    };
    let flags = m.status.map(glucose_flags).unwrap_or_default();
    let high = flags.contains(&Flag::ResultTooHigh) || concentration.value == MedFloat::PosInf;
    let low = flags.contains(&Flag::ResultTooLow) || concentration.value == MedFloat::NegInf;
    let level = match (high, low, &concentration.value) {
        (true, true, _) => return Err(Reason::Implausible),
        (true, false, _) => GlucoseLevel::AboveRange { unit },
        (false, true, _) => GlucoseLevel::BelowRange { unit },
        (false, false, MedFloat::Number(number)) => {
            let (milli, _exact) = number.to_scaled(exponent).ok_or(Reason::Implausible)?;
            let value = Concentration { milli, unit };
            if !GLUCOSE_MILLI_MMOL.contains(&value.display_milli_mmol_per_l()) {
                return Err(Reason::Implausible);
            }
            GlucoseLevel::Value(value)
        }
        (false, false, _) => return Err(Reason::MeasurementError),
    };
    Ok(Judged {
        measurement: Measurement::Glucose(Glucose {
            level,
            sequence: m.sequence,
        }),
        flags,
    })
}

fn glucose_flags(status: glucose::Status) -> Vec<Flag> {
    // Bits 0 to 11 in their order (page 3, section 2.3).
    const BY_BIT: [Flag; 12] = [
        Flag::BatteryLow,
        Flag::SensorMalfunction,
        Flag::SampleInsufficient,
        Flag::StripInsertionError,
        Flag::StripTypeIncorrect,
        Flag::ResultTooHigh,
        Flag::ResultTooLow,
        Flag::TempTooHigh,
        Flag::TempTooLow,
        Flag::ReadInterrupted,
        Flag::GeneralFault,
        Flag::TimeFault,
    ];
    BY_BIT
        .iter()
        .enumerate()
        .filter(|(bit, _)| status.0 >> bit & 1 == 1)
        .map(|(_, flag)| *flag)
        .collect()
}

/// The slot that a glucose context states, if it states one that needs no guess.
///
/// A meal relation without the meal's name (before, after) names no slot of ours, because the clock must not fill it in
/// (page 5, section 5.4).
#[must_use]
pub fn slot_from_context(context: &glucose::Context) -> Option<Slot> {
    use glucose::{CarbohydrateId, Meal};
    let eaten = context.carbohydrate.as_ref().map(|c| c.id);
    match (context.meal?, eaten) {
        (Meal::Fasting, _) => Some(Slot::Fasting),
        (Meal::Casual, _) => Some(Slot::Random),
        (Meal::Bedtime, _) => Some(Slot::Bedtime),
        (Meal::Preprandial, Some(CarbohydrateId::Breakfast)) => Some(Slot::BeforeBreakfast),
        (Meal::Preprandial, Some(CarbohydrateId::Lunch)) => Some(Slot::BeforeLunch),
        (Meal::Preprandial, Some(CarbohydrateId::Dinner)) => Some(Slot::BeforeDinner),
        (Meal::Postprandial, Some(CarbohydrateId::Breakfast)) => Some(Slot::AfterBreakfast),
        (Meal::Postprandial, Some(CarbohydrateId::Lunch)) => Some(Slot::AfterLunch),
        (Meal::Postprandial, Some(CarbohydrateId::Dinner)) => Some(Slot::AfterDinner),
        _ => None,
    }
}
