//! The one task that owns the host: everything that happens to it, happens here in one order.

use std::time::Duration;

use carepost_daemon::Clock;
use chrono::{NaiveDateTime, TimeDelta};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use zbus::message::Message;

use crate::SimTime;
use crate::bluez::{AdapterSettings, Audience, BusConnection, BusOrder, Host, HostSettings, Outage, UnitSettings};
use crate::config::{AddressType, MeterSection, SimConfig, ms};
use crate::control::Order;
use crate::simulator::{SimulatorError, meter};

/// Longest time that the world waits without looking up, when nothing is due.
const IDLE_WAIT: Duration = Duration::from_secs(60);

/// Most messages that are taken from the bus in one go; then answers go out, and commands have their turn.
const MAX_BATCH: usize = 64;

/// The world's place at the bus.
#[derive(Debug)]
pub(crate) struct Seat {
    /// Address of the bus.
    pub(crate) address: String,
    /// Orders to the bus.
    pub(crate) orders: mpsc::Sender<BusOrder>,
    /// The connection.
    pub(crate) line: Line,
    /// Who listens.
    pub(crate) audience: Audience,
}

/// The connection that owns `org.bluez`, or what it waits for.
#[derive(Debug)]
pub(crate) enum Line {
    /// bluetoothd runs.
    Up(Box<BusConnection>),
    /// bluetoothd is down until this time.
    Down(SimTime),
    /// The bus is down.
    NoBus(oneshot::Receiver<Audience>),
}

/// What the world woke up for.
enum Wake {
    Stop,
    Message(Option<Message>),
    Order(Order),
    Bus(Option<Audience>),
    Time,
}

impl Line {
    /// The next thing that the line brings. Cancel-safe. Never ends while bluetoothd is down.
    async fn next(&mut self) -> Wake {
        match self {
            Self::Up(connection) => Wake::Message(connection.next().await),
            Self::Down(_) => std::future::pending().await,
            Self::NoBus(back) => Wake::Bus(back.await.ok()),
        }
    }
}

/// The one task that owns the host.
pub(crate) struct World {
    host: Host,
    seat: Seat,
    orders: mpsc::Receiver<Order>,
    clock: Clock,
    started: Duration,
}

impl World {
    pub(crate) fn new(config: &SimConfig, clock: Clock, seat: Seat, orders: mpsc::Receiver<Order>) -> Self {
        let started = clock.monotonic();
        let offset = TimeDelta::minutes(i64::from(config.zone.utc_offset_minutes));
        let utc = clock.now().naive_utc();
        let local_at_start = utc.checked_add_signed(offset).unwrap_or(utc);
        let adapter = &config.adapter;
        let first = AdapterSettings {
            controller: adapter.controller.clone(),
            address: adapter.address.clone(),
            name: adapter.name.clone(),
            modalias: adapter.modalias.clone(),
        };
        let more = config.more_adapters.iter().map(|more| AdapterSettings {
            controller: more.controller.clone(),
            address: more.address.clone(),
            name: more.name.clone(),
            modalias: adapter.modalias.clone(),
        });
        let settings = HostSettings {
            adapters: std::iter::once(first).chain(more).collect(),
            advertising_interval: ms(adapter.advertising_interval_ms),
            connect_delay: ms(adapter.connect_delay_ms),
            resolve_delay: ms(adapter.resolve_delay_ms),
            connect_timeout: ms(adapter.connect_timeout_ms),
            temporary_timeout: ms(adapter.temporary_timeout_ms),
            pairing_timeout: ms(adapter.pairing_timeout_ms),
            seed: adapter.seed,
            local_at_start,
        };
        let units = config
            .meters
            .iter()
            .map(|meter| unit(meter, &settings.adapters, local_at_start))
            .collect();
        let mut host = Host::new(settings, units);
        if let Err(refusal) = host.set_host_profiles(&adapter.profile) {
            tracing::warn!(reason = %refusal, "the profiles of the host are not used");
        }
        for (index, meter) in config.meters.iter().enumerate() {
            host.switch_profiles(SimTime::ZERO, index, &meter.selection().unwrap_or_default());
            for event in host.history(SimTime::ZERO, index, &meter.stored) {
                host.handle_physical(SimTime::ZERO, index, event);
            }
        }
        Self {
            host,
            seat,
            orders,
            clock,
            started,
        }
    }

    fn now(&self) -> SimTime {
        self.clock.monotonic().saturating_sub(self.started)
    }

    pub(crate) async fn run(mut self, stop: CancellationToken) -> Result<(), SimulatorError> {
        loop {
            let wait = self.wait();
            // All branches are cancel-safe; nothing is lost by the ones that did not win.
            let wake = tokio::select! {
                () = stop.cancelled() => Wake::Stop,
                wake = self.seat.line.next() => wake,
                Some(order) = self.orders.recv() => Wake::Order(order),
                () = tokio::time::sleep(wait) => Wake::Time,
            };
            let mut answered = None;
            match wake {
                Wake::Stop => return Ok(()),
                Wake::Message(message) => self.take(message.ok_or(SimulatorError::Disconnected)?).await,
                Wake::Order((command, answer)) => {
                    let now = self.now();
                    answered = Some((answer, self.host.execute(now, command)));
                }
                Wake::Bus(audience) => {
                    self.seat.audience = audience.ok_or(SimulatorError::Disconnected)?;
                    self.come_back().await?;
                }
                Wake::Time => {}
            }
            let now = self.now();
            if matches!(self.seat.line, Line::Down(until) if until <= now) {
                self.come_back().await?;
            }
            self.host.advance(now);
            self.send().await?;
            if let Some(outage) = self.host.take_outage() {
                self.go_away(now, outage).await?;
            }
            // Answered after the signals are on their way, so that whoever asked finds the bus in the new state.
            if let Some((answer, result)) = answered
                && answer.send(result).is_err()
            {
                tracing::debug!("a control connection went away before its answer");
            }
        }
    }

    /// How long nothing is due.
    fn wait(&self) -> Duration {
        let back = match &self.seat.line {
            Line::Down(until) => Some(*until),
            Line::Up(_) | Line::NoBus(_) => None,
        };
        let due = self.host.deadline().into_iter().chain(back).min();
        due.map_or(IDLE_WAIT, |at| at.saturating_sub(self.now()).min(IDLE_WAIT))
    }

    /// Takes a message, and those behind it that are here already.
    async fn take(&mut self, message: Message) {
        let mut next = Some(message);
        let mut taken = 0;
        while let Some(message) = next.take() {
            if let Err(error) = self.seat.audience.admit(&message).await {
                tracing::error!(error = %error, "a client may miss signals");
            }
            let now = self.now();
            self.host.receive(now, &message);
            taken += 1;
            if taken < MAX_BATCH
                && let Line::Up(connection) = &mut self.seat.line
            {
                next = connection.ready();
            }
        }
    }

    async fn send(&mut self) -> Result<(), SimulatorError> {
        let outgoing = self.host.take_outgoing();
        // While bluetoothd is down nobody hears what would have been said.
        let Line::Up(connection) = &self.seat.line else {
            return Ok(());
        };
        connection.send(&outgoing).await.map_err(|error| {
            tracing::error!(error = %error, "messages could not be sent on the private bus");
            SimulatorError::Disconnected
        })
    }

    /// Gives up the name, and the bus if need be.
    async fn go_away(&mut self, now: SimTime, outage: Outage) -> Result<(), SimulatorError> {
        match outage {
            Outage::Bluez(down) => {
                let before = std::mem::replace(&mut self.seat.line, Line::Down(now.saturating_add(down)));
                if let Line::Up(connection) = before {
                    connection.close().await;
                }
            }
            Outage::Bus(down) => {
                let (back, returned) = oneshot::channel();
                self.seat.line = Line::NoBus(returned);
                let order = BusOrder { down, back };
                self.seat
                    .orders
                    .send(order)
                    .await
                    .map_err(|_| SimulatorError::Disconnected)?;
            }
        }
        Ok(())
    }

    /// Takes the name again.
    async fn come_back(&mut self) -> Result<(), SimulatorError> {
        self.seat.line = Line::Up(Box::new(BusConnection::own(&self.seat.address).await?));
        self.host.start_again();
        Ok(())
    }
}

fn unit(section: &MeterSection, adapters: &[AdapterSettings], local_at_start: NaiveDateTime) -> UnitSettings {
    let hears =
        |adapter: &AdapterSettings| section.adapters.is_empty() || section.adapters.contains(&adapter.controller);
    let heard_by = adapters.iter().enumerate().filter(|(_, adapter)| hears(adapter));
    UnitSettings {
        id: section.name.clone(),
        address: section.address.clone(),
        address_type: match section.address_type {
            AddressType::Public => "public",
            AddressType::Random => "random",
        },
        rssi: section.rssi,
        in_range: section.in_range,
        heard_by: heard_by.map(|(index, _)| index).collect(),
        rotation: section.address_rotation_ms.map(ms),
        security: section.security.clone(),
        meter: meter(section, local_at_start),
    }
}
