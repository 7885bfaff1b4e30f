//! The running front: the line to bluetoothd, the front on it, and the control interface.

use std::net::SocketAddr;
use std::time::Duration;

use carepost_daemon::Clock;
use chrono::TimeDelta;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::bus::Line;
use super::front::Front;
use super::seat::Post;
use super::settings::{MAX_SEATS, Seat};
use crate::SimTime;
use crate::config::{SimConfig, ms};
use crate::control::{self, Order, Refusal};
use crate::simulator::{MAX_WAITING_ORDERS, meter};

/// How long bluetoothd may take to know all adapters and to take all services.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// Longest time that the world waits without looking up, when nothing is due.
const IDLE_WAIT: Duration = Duration::from_secs(60);

/// Why the front does not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum PeripheralError {
    /// The bus cannot be reached.
    #[error("cannot reach the bus of bluetoothd at {bus:?}")]
    Bus {
        /// The bus as configured.
        bus: String,
        /// The D-Bus error.
        source: zbus::Error,
    },
    /// The seats name a meter that is not configured.
    #[error("cannot put the meter {name:?} behind an adapter: it is not configured; there are: {}", there.join(", "))]
    NoMeter {
        /// The name, empty for the first meter.
        name: String,
        /// The configured names.
        there: Vec<String>,
    },
    /// The seats contradict each other, or are too many.
    #[error("cannot take the seats: at most {MAX_SEATS}, each adapter and each meter once")]
    Seats,
    /// A meter's fault profiles are not for real adapters.
    #[error("cannot put the meter {meter:?} behind an adapter with its profiles")]
    Profiles {
        /// The meter.
        meter: String,
        /// Why.
        source: Refusal,
    },
    /// bluetoothd did not take all meters in time.
    #[error("bluetoothd did not take the services of all meters within {START_DEADLINE:?}: {what}")]
    NotTaken {
        /// What is missing, for each seat.
        what: String,
    },
    /// The control interface cannot listen.
    #[error("cannot listen for control connections at {address:?}")]
    Control {
        /// Address as configured.
        address: String,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The bus went away.
    #[error("the connection to the bus of bluetoothd is lost")]
    Disconnected,
    /// A task of the front panicked.
    #[error("a task of the peripheral front panicked")]
    Panicked(#[source] tokio::task::JoinError),
}

/// Meters on real adapters. Dropping it stops it at once, and bluetoothd takes everything of it back.
#[derive(Debug)]
pub struct Peripheral {
    control_addr: SocketAddr,
    seats: Vec<(String, String, String)>,
    stop: CancellationToken,
    tasks: JoinSet<Result<(), PeripheralError>>,
}

impl Peripheral {
    /// Puts meters behind adapters. When it returns, their services are registered.
    ///
    /// # Errors
    /// When a seat names no meter, the bus cannot be reached, bluetoothd does not take everything in time, or the
    /// control interface cannot listen.
    pub async fn start(config: &SimConfig, seats: &[Seat], clock: Clock) -> Result<Self, PeripheralError> {
        let front = front(config, seats, &clock)?;
        let failed = |source| PeripheralError::Control {
            address: config.control.listen.clone(),
            source,
        };
        let listener = TcpListener::bind(&config.control.listen).await.map_err(failed)?;
        let control_addr = listener.local_addr().map_err(failed)?;
        let bus = &config.peripheral.bus;
        let line = Line::connect(bus).await.map_err(|source| PeripheralError::Bus {
            bus: bus.clone(),
            source,
        })?;

        let stop = CancellationToken::new();
        let (orders, inbox) = mpsc::channel(MAX_WAITING_ORDERS);
        let (ready, is_ready) = oneshot::channel();
        let started = clock.monotonic();
        let world = World {
            front,
            line,
            orders: inbox,
            clock,
            started,
            ready: Some(ready),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(world.run(stop.clone()));
        let seats = tokio::select! {
            // Sent when all is there, or at the deadline with what is missing.
            answer = is_ready => answer.map_err(|_| PeripheralError::Disconnected)?,
            ended = tasks.join_next() => Err(failure(ended).unwrap_or(PeripheralError::Disconnected)),
        }?;
        let control_stop = stop.clone();
        tasks.spawn(async move {
            control::serve(listener, orders, control_stop).await;
            Ok(())
        });
        Ok(Self {
            control_addr,
            seats,
            stop,
            tasks,
        })
    }

    /// Where the control interface listens.
    pub fn control_addr(&self) -> SocketAddr {
        self.control_addr
    }

    /// The seats: adapter, its address, the meter's name.
    pub fn seats(&self) -> &[(String, String, String)] {
        &self.seats
    }

    /// Runs until `stop` is cancelled or a part fails, then stops all parts.
    ///
    /// # Errors
    /// What failed first.
    pub async fn run_until(mut self, stop: CancellationToken) -> Result<(), PeripheralError> {
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
}

fn failure(ended: Option<Result<Result<(), PeripheralError>, tokio::task::JoinError>>) -> Option<PeripheralError> {
    match ended? {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error),
        Err(error) => Some(PeripheralError::Panicked(error)),
    }
}

pub(super) fn front(config: &SimConfig, seats: &[Seat], clock: &Clock) -> Result<Front, PeripheralError> {
    let offset = TimeDelta::minutes(i64::from(config.zone.utc_offset_minutes));
    let utc = clock.now().naive_utc();
    let local_at_start = utc.checked_add_signed(offset).unwrap_or(utc);
    let mut posts: Vec<Post> = Vec::with_capacity(seats.len());
    let mut sections = Vec::with_capacity(seats.len());
    for seat in seats {
        let section = match &seat.meter {
            Some(name) => config.meters.iter().find(|meter| meter.name == *name),
            None => config.meters.first(),
        };
        let section = section.ok_or_else(|| PeripheralError::NoMeter {
            name: seat.meter.clone().unwrap_or_default(),
            there: config.meters.iter().map(|meter| meter.name.clone()).collect(),
        })?;
        if posts.len() >= MAX_SEATS
            || posts
                .iter()
                .any(|post| post.adapter == seat.adapter || post.id == section.name)
        {
            return Err(PeripheralError::Seats);
        }
        let mut post = Post::new(
            section.name.clone(),
            seat.adapter.clone(),
            section.local_name.clone(),
            section.security.clone(),
            meter(section, local_at_start),
        );
        post.in_range = section.in_range;
        sections.push(section);
        posts.push(post);
    }
    let look_every = ms(config.adapter.advertising_interval_ms);
    let mut front = Front::new(local_at_start, look_every, posts);
    for (index, section) in sections.into_iter().enumerate() {
        front.stock(index, section).map_err(|error| PeripheralError::Profiles {
            meter: section.name.clone(),
            source: error,
        })?;
    }
    Ok(front)
}

/// What is there for each seat: adapter, address and meter.
type Taken = Result<Vec<(String, String, String)>, PeripheralError>;

/// The one task that owns the front. Everything that happens, happens here in one order.
struct World {
    front: Front,
    line: Line,
    orders: mpsc::Receiver<Order>,
    clock: Clock,
    started: Duration,
    /// Who waits for the start.
    ready: Option<oneshot::Sender<Taken>>,
}

impl World {
    fn now(&self) -> SimTime {
        self.clock.monotonic().saturating_sub(self.started)
    }

    async fn run(mut self, stop: CancellationToken) -> Result<(), PeripheralError> {
        // Whoever comes after the match rules were set is heard of; whoever was there before is asked for.
        if let Some(owner) = self.line.owner().await {
            self.front.bluez_came(owner);
        }
        self.send().await?;
        loop {
            let now = self.now();
            let mut wait = self
                .front
                .deadline()
                .map_or(IDLE_WAIT, |at| at.saturating_sub(now).min(IDLE_WAIT));
            if self.ready.is_some() {
                wait = wait.min(START_DEADLINE.saturating_sub(now));
            }
            // All branches are cancel-safe; nothing is lost by the ones that did not win.
            let answered = tokio::select! {
                () = stop.cancelled() => {
                    self.front.say_goodbye();
                    return self.send().await;
                }
                message = self.line.next() => {
                    let message = message.ok_or(PeripheralError::Disconnected)?;
                    let now = self.now();
                    self.front.receive(now, &message);
                    None
                }
                Some((command, answer)) = self.orders.recv() => {
                    let now = self.now();
                    Some((answer, self.front.execute(now, command)))
                }
                () = tokio::time::sleep(wait) => None,
            };
            let now = self.now();
            self.front.advance(now);
            self.send().await?;
            if !self.report_start(now) {
                return Ok(());
            }
            // Answered after the messages are on their way, so that whoever asked finds bluetoothd told.
            if let Some((answer, result)) = answered
                && answer.send(result).is_err()
            {
                tracing::debug!("a control connection went away before its answer");
            }
        }
    }

    async fn send(&mut self) -> Result<(), PeripheralError> {
        let outgoing = self.front.take_outgoing();
        self.line.send(&outgoing).await.map_err(|error| {
            tracing::error!(error = %error, "messages could not be sent to bluetoothd");
            PeripheralError::Disconnected
        })
    }

    /// Tells who waits for the start how it went, once. Returns whether to go on.
    fn report_start(&mut self, now: SimTime) -> bool {
        let taken = if self.front.is_ready() {
            Ok(self.front.seats())
        } else if self.ready.is_some() && now >= START_DEADLINE {
            Err(PeripheralError::NotTaken {
                what: self.front.missing(),
            })
        } else {
            return true;
        };
        let Some(ready) = self.ready.take() else { return true };
        let goes_on = taken.is_ok();
        ready.send(taken).is_ok() && goes_on
    }
}
