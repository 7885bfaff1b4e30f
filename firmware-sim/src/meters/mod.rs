//! Meters as pure state machines.
//!
//! A meter knows nothing of D-Bus, of files, of the time of day or of chance: it takes `(now, event)` and gives back
//! actions, and names the time at which it wants to be called again. The same machines can therefore stand behind the
//! simulated BlueZ, behind a real peripheral, or in a property test.
//!
//! A [`Meter`] is a body (identity, clock, battery, radio, memory, faults) and a way of talking: cuffs, scales,
//! thermometers and oximeters indicate what they have, glucose meters report on request.

mod body;
mod clock;
mod cuff;
mod damage;
mod encode;
mod events;
pub mod faults;
mod generate;
mod glucose;
mod indicator;
mod memory;
mod meter;
mod own;
mod profile;
mod racp;
mod radio;
mod reporter;
pub mod security;

pub use body::CommonSettings;
pub use clock::MeterClock;
pub use cuff::{CuffMeasurement, CuffSettings, CuffStatus, CuffUnit};
pub use encode::{RecordError, Timestamp};
pub use events::{Action, AttError, Event, Loss, Made, Taken};
pub use faults::{Fault, Faults};
pub use generate::{GeneratePlan, generate_cuff, generate_glucose};
pub use glucose::{Concentration, GlucoseMeasurement, GlucoseSettings, GlucoseUnit};
pub use indicator::AfterConfirm;
pub use meter::{Advertisement, Meter};
pub use own::{
    OximeterSettings, OxygenMeasurement, ScaleSettings, TemperatureMeasurement, ThermometerSettings, WeightMeasurement,
};
pub use profile::{Access, Characteristic, Profile, Service, Uuid16};
pub use radio::RadioSettings;
pub use security::{
    Association, Demand, IoCapability, Level, MAX_PASSKEY, PairingRule, Prompt, Security, SecuritySettings,
};

/// Most records that one meter may remember; the largest real memories found hold 1000 results.
pub const MAX_MEMORY: usize = 5_000;

/// Number of a record within one meter, counted from 1 in the order of making. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct RecordId(pub u64);

impl RecordId {
    /// Of values that belong to no record: live values, and what a fault makes up.
    pub const NONE: Self = Self(0);
}

/// Who made the meter and what it is, for Device Information (180A) and for its advertisement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Name in the advertisement.
    pub local_name: String,
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
    /// The service of i-SENS (FFF0), by which the clock can be set but not read.
    Isens,
}
