//! The second front of the simulator: the same meters, served as real peripherals through a real `bluetoothd`.
//!
//! A [`Peripheral`] registers each of its meters at one Bluetooth adapter: its services with GattManager1, its
//! advertisement with LEAdvertisingManager1 while the meter advertises, and an Agent1 for the meter's side of pairing.
//! Whatever can reach the adapter over the air can then find, pair with and read the meter. The state machines, the
//! control interface and the ledger are those of the [`Simulator`](crate::Simulator).
//!
//! # What an adapter is
//!
//! One adapter is one address and one meter: a central could not tell two meters behind one address apart, and real
//! meters do not share theirs. A [`Seat`] says which meter stands behind which adapter; one program can serve several
//! seats. A meter's address is the adapter's: the one in the configuration is not used here.
//!
//! # What bluetoothd decides
//!
//! - Client configurations of bonded centrals are kept by bluetoothd, which does not say so again on the next link. What
//!   was subscribed when the link of a bonded central was lost is subscribed when it is back, whatever
//!   `keeps_subscriptions` says.
//! - Confirmations come back from bluetoothd, but whether a program at the other end listened is not to be seen from
//!   here: `heard` in the ledger counts what was sent to a subscribed central.
//! - bluetoothd has a Device Information Service of its own unless its `main.conf` says `DeviceID = false`. Clients that
//!   look only at the first one do not see the meter's.
//! - There is one agent for all adapters of a bluetoothd, and its capability is that of all meters together: a meter
//!   without a display pairs as one with a display if its neighbour has one.
//! - Faults of the host and of addresses are absent: a real bluetoothd does not lie on request, and an adapter has the
//!   address that it has. Faults of the meter's machine work as they do behind the simulated BlueZ.

mod agent;
mod bus;
mod execute;
mod follow;
mod front;
mod objects;
mod register;
mod seat;
mod serve;
mod settings;
#[cfg(test)]
mod tests;
mod world;

pub use settings::{NotASeat, PeripheralSection, Seat};
pub use world::{Peripheral, PeripheralError};
