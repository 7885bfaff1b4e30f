//! A running simulator: the bus, the world on it, and the control interface.

use std::net::SocketAddr;
use std::time::Duration;

use carepost_daemon::Clock;
use chrono::{NaiveDateTime, TimeDelta};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::SimTime;
use crate::bluez::{Audience, Bus, BusConnection, BusError, Host, HostSettings, PeerSettings};
use crate::clock_setting::ClockSetting;
use crate::config::{AddressType, Advertise, MeterKind, MeterSection, SimConfig, ms};
use crate::control::{self, Order};
use crate::meters::{Cuff, CuffSettings, GlucoseMeter, GlucoseSettings, Identity, Meter, MeterClock, RadioSettings};

/// Commands that wait for the world.
const MAX_WAITING_ORDERS: usize = 64;

/// Longest time that the world waits without looking up, when nothing is due.
const IDLE_WAIT: Duration = Duration::from_secs(60);

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
        tasks.spawn(async move { Ok(bus.run(bus_stopped.cancelled_owned()).await?) });
        let connection = BusConnection::own(&bus_address).await?;

        let (orders, inbox) = mpsc::channel(MAX_WAITING_ORDERS);
        let world = World::new(config, clock, (connection, audience), inbox);
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

/// The one task that owns the host. Everything that happens, happens here in one order.
struct World {
    host: Host,
    connection: BusConnection,
    audience: Audience,
    orders: mpsc::Receiver<Order>,
    clock: Clock,
    started: Duration,
}

impl World {
    fn new(
        config: &SimConfig,
        clock: Clock,
        (connection, audience): (BusConnection, Audience),
        orders: mpsc::Receiver<Order>,
    ) -> Self {
        let started = clock.monotonic();
        let offset = TimeDelta::minutes(i64::from(config.zone.utc_offset_minutes));
        let utc = clock.now().naive_utc();
        let local_at_start = utc.checked_add_signed(offset).unwrap_or(utc);
        let adapter = &config.adapter;
        let settings = HostSettings {
            adapter: adapter.controller.clone(),
            address: adapter.address.clone(),
            name: adapter.name.clone(),
            modalias: adapter.modalias.clone(),
            advertising_interval: ms(adapter.advertising_interval_ms),
            connect_delay: ms(adapter.connect_delay_ms),
            resolve_delay: ms(adapter.resolve_delay_ms),
            connect_timeout: ms(adapter.connect_timeout_ms),
            temporary_timeout: ms(adapter.temporary_timeout_ms),
            local_at_start,
        };
        let peers = config.meters.iter().map(|meter| peer(meter, local_at_start)).collect();
        let mut host = Host::new(settings, peers);
        for (index, meter) in config.meters.iter().enumerate() {
            for event in host.history(SimTime::ZERO, index, &meter.stored) {
                host.handle_physical(SimTime::ZERO, index, event);
            }
        }
        Self {
            host,
            connection,
            audience,
            orders,
            clock,
            started,
        }
    }

    fn now(&self) -> SimTime {
        self.clock.monotonic().saturating_sub(self.started)
    }

    async fn run(mut self, stop: CancellationToken) -> Result<(), SimulatorError> {
        loop {
            let wait = self
                .host
                .deadline()
                .map_or(IDLE_WAIT, |at| at.saturating_sub(self.now()).min(IDLE_WAIT));
            // All branches are cancel-safe; nothing is lost by the ones that did not win.
            let answered = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                message = self.connection.next() => {
                    let message = message.ok_or(SimulatorError::Disconnected)?;
                    if let Err(error) = self.audience.admit(&message).await {
                        tracing::error!(error = %error, "a client may miss signals");
                    }
                    let now = self.now();
                    self.host.receive(now, &message);
                    None
                }
                Some((command, answer)) = self.orders.recv() => {
                    let now = self.now();
                    Some((answer, self.host.execute(now, command)))
                }
                () = tokio::time::sleep(wait) => None,
            };
            let now = self.now();
            self.host.advance(now);
            let outgoing = self.host.take_outgoing();
            if let Err(error) = self.connection.send(&outgoing).await {
                tracing::error!(error = %error, "messages could not be sent on the private bus");
                return Err(SimulatorError::Disconnected);
            }
            // Answered after the signals are on their way, so that whoever asked finds the bus in the new state.
            if let Some((answer, result)) = answered
                && answer.send(result).is_err()
            {
                tracing::debug!("a control connection went away before its answer");
            }
        }
    }
}

fn peer(section: &MeterSection, local_at_start: NaiveDateTime) -> PeerSettings {
    PeerSettings {
        id: section.name.clone(),
        address: section.address.clone(),
        address_type: match section.address_type {
            AddressType::Public => "public",
            AddressType::Random => "random",
        },
        local_name: section.local_name.clone(),
        rssi: section.rssi,
        in_range: section.in_range,
        meter: meter(section, local_at_start),
    }
}

fn meter(section: &MeterSection, local_at_start: NaiveDateTime) -> Meter {
    let identity = Identity {
        manufacturer: section.manufacturer.clone(),
        model: section.model.clone(),
        serial: section.serial.clone(),
        firmware: section.firmware.clone(),
    };
    let radio = RadioSettings {
        always_advertises: section.advertise == Advertise::Always,
        advertising_window: ms(section.advertising_window_ms),
        idle_disconnect: ms(section.idle_disconnect_ms),
        keeps_subscriptions: section.keeps_subscriptions,
    };
    let clock = match section.clock {
        ClockSetting::Right => {
            let skew = TimeDelta::seconds(i64::from(section.clock_skew_s));
            MeterClock::Set {
                at_start: local_at_start.checked_add_signed(skew).unwrap_or(local_at_start),
            }
        }
        ClockSetting::Unset => MeterClock::Unset,
        ClockSetting::Local(at_start) => MeterClock::Set { at_start },
    };
    match section.kind {
        MeterKind::Cuff => Meter::Cuff(Cuff::new(CuffSettings {
            identity,
            slots: section.cuff.slots.clone(),
            memory: section.memory,
            after_confirm: section.cuff.after_confirm,
            unit: section.cuff.unit,
            feature: section.cuff.feature,
            has_clock: section.cuff.has_clock,
            clock_service: section.clock_service,
            clock,
            battery: section.battery_percent,
            indication_interval: ms(section.cuff.indication_interval_ms),
            radio,
        })),
        MeterKind::Glucose => Meter::Glucose(GlucoseMeter::new(GlucoseSettings {
            identity,
            memory: section.memory,
            unit: section.glucose.unit,
            feature: section.glucose.feature,
            has_context: section.glucose.contexts,
            first_sequence: section.glucose.first_sequence,
            allows_delete: section.glucose.allows_delete,
            clock_service: section.clock_service,
            clock,
            battery: section.battery_percent,
            notification_interval: ms(section.glucose.notification_interval_ms),
            radio,
        })),
    }
}
