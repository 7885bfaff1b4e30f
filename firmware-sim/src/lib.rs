//! Simulated meters behind a simulated BlueZ.
//!
//! A [`Simulator`] runs a private D-Bus bus in this process, owns `org.bluez` on it, and serves what a BlueZ client
//! needs to find, connect, read and subscribe to blood pressure cuffs and glucose meters. An unmodified client finds it
//! by the environment variable `DBUS_SYSTEM_BUS_ADDRESS`.
//!
//! - [`meters`]: the meters as pure state machines, which know nothing of D-Bus.
//! - [`control`]: the local interface by which people and tests measure, press keys, walk away and pull plugs.
//! - [`ledger`]: every record that a meter ever made, and what became of it.
//! - [`config`]: the neighbourhood as a file.
//! - [`peripheral`]: the second front, the same meters on real adapters through a real `bluetoothd`.
//!
//! It behaves as BlueZ does where that decides whether a reading survives: an indication is confirmed even when no
//! client listens, a notification session belongs to one D-Bus client and ends with it, sessions survive a lost link
//! and are taken up again before services are resolved, unseen devices vanish, and a value is signalled once for each
//! session. Pairing goes through agents as in BlueZ, with all four association models, and what a real host does wrong
//! can be ordered ([`HostFaults`], [`HostEvent`]).
//!
//! # Examples
//!
//! ```no_run
//! use carepost_daemon::Clock;
//! use carepost_sim::config::SimConfig;
//! use carepost_sim::control::{Client, CuffRecord};
//! use carepost_sim::Simulator;
//!
//! # async fn example(config: SimConfig) -> Result<(), Box<dyn std::error::Error>> {
//! let simulator = Simulator::start(&config, Clock::system()).await?;
//! println!("DBUS_SYSTEM_BUS_ADDRESS={}", simulator.bus_address());
//! let mut control = Client::connect(simulator.control_addr()).await?;
//! let record = CuffRecord { systolic: Some(128), diastolic: Some(82), ..CuffRecord::default() };
//! control.measure_cuff("store-cuff", record).await?;
//! simulator.stop().await?;
//! # Ok(())
//! # }
//! ```

mod bluez;
mod clock_setting;
pub mod config;
pub mod control;
pub mod ledger;
pub mod meters;
pub mod peripheral;
pub mod profiles;
mod simulator;
mod world;

pub use bluez::faults::{
    AfterValues, Delay, Failure, HostEvent, HostFaults, HostFaultsError, MAX_FAULT_MS, MAX_HOST_RULES, Resolution, Rule,
};
pub use bluez::{BusError, Counters};
pub use clock_setting::{ClockSetting, NotAClock};
pub use simulator::{Simulator, SimulatorError};

/// Simulated time: the time since the simulator started.
pub type SimTime = std::time::Duration;
