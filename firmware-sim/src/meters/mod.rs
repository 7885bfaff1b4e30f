//! Meters as pure state machines.
//!
//! A meter knows nothing of D-Bus, of files, of the time of day or of chance: it takes `(now, event)` and gives back
//! actions, and names the time at which it wants to be called again. The same machines can therefore stand behind the
//! simulated BlueZ, behind a real peripheral, or in a property test.

mod clock;
mod cuff;
mod encode;
mod generate;
mod glucose;
mod profile;
mod racp;
mod radio;

pub use clock::MeterClock;
pub use cuff::{AfterConfirm, Cuff, CuffSettings};
pub use encode::{
    Concentration, CuffMeasurement, CuffStatus, CuffUnit, GlucoseMeasurement, GlucoseUnit, RecordError, Timestamp,
};
pub use generate::{GeneratePlan, generate_cuff, generate_glucose};
pub use glucose::{GlucoseMeter, GlucoseSettings};
pub use profile::{Access, Characteristic, Profile, Service, Uuid16};
pub use radio::RadioSettings;

use carepost_gatt::uuid16;
use chrono::NaiveDateTime;

use crate::SimTime;

/// Most records that one meter may remember; the largest real memories found hold 1000 results.
pub const MAX_MEMORY: usize = 5_000;

/// Number of a record within one meter, counted from 1 in the order of making. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct RecordId(pub u64);

/// Who made the meter and what it is, for Device Information (180A).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Manufacturer name (2A29).
    pub manufacturer: String,
    /// Model number (2A24).
    pub model: String,
    /// Serial number (2A25).
    pub serial: String,
    /// Firmware revision (2A26).
    pub firmware: String,
}

/// How a meter lets a client see its clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockService {
    /// Not at all.
    #[default]
    None,
    /// Date Time (2A08) inside the meter's main service, as Roche and A&D do.
    DateTime,
    /// Current Time Service (1805) with 2A2B.
    CurrentTime,
}

/// ATT error codes that meters answer with (Core specification, volume 3, part F, section 3.4.1.1; the two application
/// codes are those of the Glucose Service, section 1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum AttError {
    /// The characteristic cannot be read.
    ReadNotPermitted = 0x02,
    /// The characteristic cannot be written.
    WriteNotPermitted = 0x03,
    /// The written value is too short or too long.
    InvalidLength = 0x0D,
    /// A procedure is under way.
    ProcedureInProgress = 0x80,
    /// The client has not asked for the answers.
    ConfigurationImproper = 0x81,
    /// The written value is out of range (common profile and service error codes).
    OutOfRange = 0xFF,
}

impl AttError {
    /// The code on air.
    pub fn code(self) -> u8 {
        self as u8
    }
}

/// What happens to a meter.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A central connected.
    Connected,
    /// The link is gone, for whatever reason.
    Disconnected,
    /// A central reads a characteristic.
    Read {
        /// Which one.
        characteristic: Uuid16,
    },
    /// A central writes a characteristic and waits for the response.
    Write {
        /// Which one.
        characteristic: Uuid16,
        /// The written bytes.
        value: Vec<u8>,
    },
    /// A central writes a client configuration.
    Subscribe {
        /// The characteristic whose values are wanted or no longer wanted.
        characteristic: Uuid16,
        /// Wanted.
        enabled: bool,
    },
    /// The confirmation of the last indication arrived.
    Confirmed,
    /// The deadline that the meter named has passed.
    DeadlineReached,
    /// A person measures blood pressure.
    MeasureCuff(CuffMeasurement),
    /// A person measures glucose.
    MeasureGlucose(GlucoseMeasurement),
    /// A record comes into the memory without anyone holding the meter: history for a test or a demonstration.
    StoreCuff(CuffMeasurement),
    /// As [`Event::StoreCuff`], for glucose.
    StoreGlucose(GlucoseMeasurement),
    /// A person presses the transfer key.
    PressTransfer,
    /// A person sets the clock, or (`None`) takes the battery out.
    SetClock(Option<NaiveDateTime>),
}

/// A record that a meter has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Its number within the meter.
    pub id: RecordId,
    /// The sequence number that it carries on air, for glucose.
    pub sequence: Option<u16>,
    /// The bytes of 2A35 or 2A18.
    pub value: Vec<u8>,
    /// The bytes of 2A34, when there is a context.
    pub context: Option<Vec<u8>>,
}

/// What a meter does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The answer to [`Event::Read`].
    Value(Vec<u8>),
    /// The positive answer to [`Event::Write`].
    Written,
    /// The negative answer to [`Event::Read`] or [`Event::Write`].
    Refused(AttError),
    /// Sends a value without confirmation.
    Notify {
        /// The characteristic that sends.
        characteristic: Uuid16,
        /// Its bytes.
        value: Vec<u8>,
        /// The record that the value belongs to.
        record: RecordId,
    },
    /// Sends a value and waits for [`Event::Confirmed`].
    Indicate {
        /// The characteristic that sends.
        characteristic: Uuid16,
        /// Its bytes.
        value: Vec<u8>,
        /// The record that the value belongs to; control point answers belong to none.
        record: Option<RecordId>,
    },
    /// Closes the link.
    Disconnect,
    /// A record came into the memory.
    Made(Made),
    /// A record was deleted by the meter or on a client's request.
    Deleted(RecordId),
    /// A record gave way to a newer one because the memory is full.
    Overwritten(RecordId),
    /// An event asked for something that this meter cannot do; nothing has changed.
    Impossible(RecordError),
}

/// A meter of either kind.
#[derive(Clone, Debug)]
pub enum Meter {
    /// A blood pressure cuff.
    Cuff(Cuff),
    /// A glucose meter.
    Glucose(GlucoseMeter),
}

impl Meter {
    /// Lets something happen to the meter.
    pub fn handle(&mut self, now: SimTime, event: Event) -> Vec<Action> {
        match self {
            Self::Cuff(meter) => meter.handle(now, event),
            Self::Glucose(meter) => meter.handle(now, event),
        }
    }

    /// When the meter wants [`Event::DeadlineReached`].
    pub fn deadline(&self) -> Option<SimTime> {
        match self {
            Self::Cuff(meter) => meter.deadline(),
            Self::Glucose(meter) => meter.deadline(),
        }
    }

    /// Whether the meter sends advertisements.
    pub fn is_advertising(&self, now: SimTime) -> bool {
        match self {
            Self::Cuff(meter) => meter.is_advertising(now),
            Self::Glucose(meter) => meter.is_advertising(now),
        }
    }

    /// The attribute table.
    pub fn profile(&self) -> &Profile {
        match self {
            Self::Cuff(meter) => meter.profile(),
            Self::Glucose(meter) => meter.profile(),
        }
    }

    /// The client configuration that the meter holds for a characteristic.
    pub fn configuration(&self, characteristic: Uuid16) -> bool {
        match self {
            Self::Cuff(meter) => meter.configuration(characteristic),
            Self::Glucose(meter) => meter.configuration(characteristic),
        }
    }

    /// The clock.
    pub fn clock(&self) -> MeterClock {
        match self {
            Self::Cuff(meter) => meter.clock(),
            Self::Glucose(meter) => meter.clock(),
        }
    }

    /// Records in the memory, and those among them that a client has not had yet.
    pub fn memory(&self) -> (usize, usize) {
        match self {
            Self::Cuff(meter) => meter.memory(),
            Self::Glucose(meter) => meter.memory(),
        }
    }

    /// The battery's charge in per cent, if the meter has a Battery Service.
    pub fn battery(&self) -> Option<u8> {
        match self {
            Self::Cuff(meter) => meter.battery(),
            Self::Glucose(meter) => meter.battery(),
        }
    }

    /// Manufacturer, model and so on.
    pub fn identity(&self) -> &Identity {
        match self {
            Self::Cuff(meter) => meter.identity(),
            Self::Glucose(meter) => meter.identity(),
        }
    }

    /// The word for the kind of meter in the control protocol.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Cuff(_) => "cuff",
            Self::Glucose(_) => "glucose",
        }
    }

    /// The service that the meter advertises.
    pub fn advertised_service(&self) -> Uuid16 {
        match self {
            Self::Cuff(_) => uuid16::BLOOD_PRESSURE_SERVICE,
            Self::Glucose(_) => uuid16::GLUCOSE_SERVICE,
        }
    }
}
