//! A running simulator: the bus, the world on it, and the control interface.

use std::net::SocketAddr;

use carepost_daemon::Clock;
use chrono::NaiveDateTime;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::bluez::{Bus, BusConnection, BusError};
use crate::config::{MeterSection, SimConfig};
use crate::control;
use crate::meters::Meter;
use crate::world::{Line, Seat, World};

/// Commands that wait for the world.
pub(crate) const MAX_WAITING_ORDERS: usize = 64;

/// Why a simulator does not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    /// The private bus failed.
    #[error("the private bus failed")]
    Bus(#[from] BusError),
    /// The control interface cannot listen.
    #[error("cannot listen for control connections at {address:?}")]
    Control {
        /// Address as configured.
        address: String,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The address of the control interface is not a loopback address. A validated configuration has no such address.
    #[error("the control address {address:?} is not a loopback address with a port")]
    NotLoopback {
        /// Address as configured.
        address: String,
    },
    /// The world lost its connection to the bus.
    #[error("the connection to the private bus is lost")]
    Disconnected,
    /// A task of the simulator panicked.
    #[error("a task of the simulator panicked")]
    Panicked(#[source] tokio::task::JoinError),
}

/// A running simulator. Dropping it stops it at once.
#[derive(Debug)]
pub struct Simulator {
    bus_address: String,
    control_addr: SocketAddr,
    stop: CancellationToken,
    tasks: JoinSet<Result<(), SimulatorError>>,
}

impl Simulator {
    /// Starts the bus, the world and the control interface. When it returns, BlueZ clients can connect.
    ///
    /// # Errors
    /// When the bus or the control interface cannot listen.
    pub async fn start(config: &SimConfig, clock: Clock) -> Result<Self, SimulatorError> {
        let address = config.control_address().ok_or_else(|| SimulatorError::NotLoopback {
            address: config.control.listen.clone(),
        })?;
        let failed = |source| SimulatorError::Control {
            address: config.control.listen.clone(),
            source,
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let control_addr = listener.local_addr().map_err(failed)?;
        let bus = Bus::listen(&config.bus_address()).await?;
        let bus_address = bus.address().to_owned();
        let audience = bus.audience();

        let stop = CancellationToken::new();
        // The bus outlives the world, which has to say goodbye on it.
        let stop_bus = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let bus_stopped = stop_bus.clone();
        // One order at a time: the world waits for the bus before it gives another.
        let (bus_orders, bus_inbox) = mpsc::channel(1);
        tasks.spawn(async move { Ok(bus.run(bus_inbox, bus_stopped.cancelled_owned()).await?) });
        let connection = BusConnection::own(&bus_address).await?;

        let (orders, inbox) = mpsc::channel(MAX_WAITING_ORDERS);
        let seat = Seat {
            address: bus_address.clone(),
            orders: bus_orders,
            line: Line::Up(Box::new(connection)),
            audience,
        };
        let world = World::new(config, clock, seat, inbox);
        let world_stop = stop.clone();
        tasks.spawn(async move {
            // Whatever ends the world ends the bus: clients shall see BlueZ go.
            let _bus_goes_too = stop_bus.drop_guard();
            world.run(world_stop).await
        });
        let control_stop = stop.clone();
        tasks.spawn(async move {
            control::serve(listener, orders, control_stop).await;
            Ok(())
        });
        Ok(Self {
            bus_address,
            control_addr,
            stop,
            tasks,
        })
    }

    /// The D-Bus address for `DBUS_SYSTEM_BUS_ADDRESS`.
    pub fn bus_address(&self) -> &str {
        &self.bus_address
    }

    /// Where the control interface listens.
    pub fn control_addr(&self) -> SocketAddr {
        self.control_addr
    }

    /// Runs until `stop` is cancelled or a part of the simulator fails, then stops all parts.
    ///
    /// # Errors
    /// What failed first.
    pub async fn run_until(mut self, stop: CancellationToken) -> Result<(), SimulatorError> {
        let mut first_failure = None;
        tokio::select! {
            () = stop.cancelled() => {}
            // Cancel-safe: a task that ended stays in the set until it is taken.
            ended = self.tasks.join_next() => first_failure = failure(ended),
        }
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            first_failure = first_failure.or(failure(Some(ended)));
        }
        first_failure.map_or(Ok(()), Err)
    }

    /// Stops all parts and waits for them.
    ///
    /// # Errors
    /// What failed first.
    pub async fn stop(self) -> Result<(), SimulatorError> {
        let stop = CancellationToken::new();
        stop.cancel();
        self.run_until(stop).await
    }
}

fn failure(ended: Option<Result<Result<(), SimulatorError>, tokio::task::JoinError>>) -> Option<SimulatorError> {
    match ended? {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error),
        Err(error) => Some(SimulatorError::Panicked(error)),
    }
}

/// The machine of a configured meter.
pub(crate) fn meter(section: &MeterSection, local_at_start: NaiveDateTime) -> Meter {
    section.machine(local_at_start)
}
