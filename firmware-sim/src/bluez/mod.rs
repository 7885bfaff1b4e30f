//! The simulated BlueZ: `org.bluez` as a state machine, and the private bus on which it is served.

mod bus;
mod calls;
mod errors;
mod filter;
mod host;
mod interfaces;
mod link;
mod objects;

pub use bus::BusError;
pub(crate) use bus::{Audience, Bus, BusConnection};
pub use host::Counters;
pub(crate) use host::{Host, HostSettings, Link, Peer, PeerSettings};
