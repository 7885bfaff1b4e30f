//! The simulated BlueZ: `org.bluez` as a state machine, and the private bus on which it is served.

mod agents;
mod attributes;
mod bus;
mod calls;
mod dice;
mod discovery;
mod errors;
pub(crate) mod faults;
mod filter;
mod host;
mod interfaces;
mod link;
mod objects;
mod outage;
mod pairing;
mod privacy;
mod signals;
mod state;

pub use bus::BusError;
pub(crate) use bus::{Audience, Bus, BusConnection, BusOrder};
pub(crate) use faults::Outage;
pub(crate) use host::Host;
pub(crate) use link::Reason;
pub use state::Counters;
pub(crate) use state::{Adapter, AdapterSettings, Device, HostSettings, Unit, UnitSettings};
