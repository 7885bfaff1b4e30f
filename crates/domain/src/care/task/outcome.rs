//! Coded outcomes and what they do.

use crate::care::evaluate::ClearNeed;
use crate::care::rule::Rule;
use crate::code_enum;

code_enum! {
    /// The coded result of work on a task.
    pub enum Outcome ("task outcome") {
        /// Reached and advised.
        ReachedAdvised = "reached_advised",
        /// Seen in person.
        SeenInPerson = "seen_in_person",
        /// Spoke to authorised family.
        SpokeToFamily = "spoke_to_family",
        /// Referred.
        Referred = "referred",
        /// Emergency service called.
        CalledEmergency = "called_emergency",
        /// Refill booked.
        RefillBooked = "refill_booked",
        /// A new measurement is booked; needs its date.
        ReMeasureBooked = "re_measure_booked",
        /// A call back is agreed; needs its time.
        CallbackAgreed = "callback_agreed",
        /// No answer.
        NoAnswer = "no_answer",
        /// The number is somebody else's.
        WrongNumber = "wrong_number",
        /// The person refused.
        Refused = "refused",
        /// Already under care.
        UnderCare = "under_care",
        /// In hospital.
        InHospital = "in_hospital",
        /// Moved away.
        Moved = "moved",
        /// The measurement was not rested.
        NotRested = "not_rested",
        /// A fault of the device.
        FalseAlarmDevice = "false_alarm_device",
        /// The same as another.
        Duplicate = "duplicate",
    }
}

impl Outcome {
    /// Whether the task stays open with it, because nobody was advised yet.
    #[must_use]
    pub const fn keeps_open(self) -> bool {
        matches!(self, Self::NoAnswer | Self::WrongNumber | Self::CallbackAgreed)
    }

    /// Whether it needs a date.
    #[must_use]
    pub const fn needs_date(self) -> bool {
        matches!(self, Self::ReMeasureBooked | Self::CallbackAgreed)
    }

    /// What it does to the alert that asked for the task.
    ///
    /// A finished call is the contact that BP-02, GL-02 and GL-03 wait for, and closes what only a person can close
    /// (SY-01, BP-03), except when it only books something. A false alarm or duplicate closes any alert.
    #[must_use]
    pub const fn alert_effect(self, alert_rule: Rule) -> AlertEffect {
        match self {
            Self::NoAnswer | Self::WrongNumber | Self::CallbackAgreed => AlertEffect::None,
            Self::FalseAlarmDevice | Self::Duplicate => AlertEffect::Resolve,
            Self::ReMeasureBooked | Self::RefillBooked => AlertEffect::RecordContact,
            Self::ReachedAdvised
            | Self::SeenInPerson
            | Self::SpokeToFamily
            | Self::Referred
            | Self::CalledEmergency
            | Self::Refused
            | Self::UnderCare
            | Self::InHospital
            | Self::Moved
            | Self::NotRested => match alert_rule.clear_need() {
                ClearNeed::Manual => AlertEffect::Resolve,
                ClearNeed::Nothing | ClearNeed::Contact => AlertEffect::RecordContact,
            },
        }
    }
}

/// What an outcome does to the alert that asked for the task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlertEffect {
    /// Nothing.
    None,
    /// [`Alert::record_contact`](crate::care::alert::Alert::record_contact), and a new assessment.
    RecordContact,
    /// [`Alert::resolve`](crate::care::alert::Alert::resolve), and the alert's other open tasks are cancelled.
    Resolve,
}
