//! Carries out what the [`Machine`] decides: keeps the connection to the bus and the agent on it, runs one operation at a
//! time, and holds the adapter for as long as a pairing lasts.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use carepost_daemon::{CancellationToken, Clock};
use chrono_tz::Tz;
use futures_util::StreamExt as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use zbus::message::Type;
use zbus::{MatchRule, MessageStream};

use super::agent::{self, Agent, Call, Owner};
use super::bus::{Bond, Bus, CallError, SERVICE};
use super::failure::Failure;
use super::machine::Machine;
use super::words::{Action, Answer, ClockWrite, Done, Event, Operation, Outcome, Reply, Request, View};
use crate::clock_trust::ClockTrust;
use crate::link::turn::{Turn, Turns};
use crate::meter_clock::Shown;
use crate::spool::{Counter, Disposition, Spool};

/// Commands that wait; a page sends one per press.
const COMMANDS: usize = 16;
/// How long it may take to connect to the bus and to register there.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Pause before that is tried again; doubles up to the longest.
const RETRY: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// How often it is made sure that the bus and the Bluetooth service are there, should a signal have been missed.
const PROBE_EVERY: Duration = Duration::from_secs(30);
/// How long the clearing up at a stop may take.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// How the way to the Bluetooth service is, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Radio {
    /// No bus.
    NoBus,
    /// A bus, and no Bluetooth service on it.
    NoService,
    /// The agent is registered.
    Ready,
}

/// What a pairing uses.
#[derive(Debug, Clone)]
pub(crate) struct PairingParts {
    pub(crate) clock: Clock,
    pub(crate) trust: ClockTrust,
    pub(crate) spool: Spool,
    pub(crate) turns: Turns,
    /// Name of the adapter; empty for the first.
    pub(crate) adapter: String,
    /// Address of the bus; the system's without it.
    pub(crate) bus: Option<String>,
}

/// The handle for pages. Cloning is cheap.
#[derive(Debug, Clone)]
pub(crate) struct Pairing {
    commands: mpsc::Sender<Command>,
    view: watch::Receiver<View>,
    radio: watch::Receiver<Radio>,
    bonds: watch::Receiver<Arc<Vec<Bond>>>,
}

#[derive(Debug)]
enum Command {
    Begin(Request, oneshot::Sender<Begun>),
    /// Something that a person said, and whom to tell that the view shows it.
    Say(Event, oneshot::Sender<()>),
    Refresh,
}

/// Whether a pairing could begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begun {
    Yes,
    /// Another one goes on.
    Busy,
}

impl Pairing {
    /// The handle, and the task behind it, which runs until `soft` is cancelled.
    pub(crate) fn new(
        parts: PairingParts,
        soft: CancellationToken,
    ) -> (Self, impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        let (commands, queue) = mpsc::channel(COMMANDS);
        let (view, views) = watch::channel(View::Idle);
        let (radio, radios) = watch::channel(Radio::NoBus);
        let (bonds, all_bonds) = watch::channel(Arc::default());
        let task = Task {
            parts,
            machine: Machine::default(),
            link: None,
            turn: None,
            operations: JoinSet::new(),
            looks: JoinSet::new(),
            replies: HashMap::new(),
            next_reply: 0,
            owner: Owner::default(),
            view,
            radio,
            bonds,
            busy: false,
        };
        let handle = Self {
            commands,
            view: views,
            radio: radios,
            bonds: all_bonds,
        };
        (handle, task.run(queue, soft))
    }

    /// Begins a pairing, unless one goes on.
    pub(crate) async fn begin(&self, request: Request) -> Begun {
        let (begun, answer) = oneshot::channel();
        if self.commands.send(Command::Begin(request, begun)).await.is_err() {
            return Begun::Busy;
        }
        answer.await.unwrap_or(Begun::Busy)
    }

    /// Answers what is asked.
    pub(crate) async fn answer(&self, answer: Answer) {
        self.say(Event::Answered(answer)).await;
    }

    /// Gives up.
    pub(crate) async fn give_up(&self) {
        self.say(Event::GivenUp).await;
    }

    /// Says that the outcome was read.
    pub(crate) async fn dismiss(&self) {
        self.say(Event::Dismissed).await;
    }

    /// Asks for the list of bonds to be made anew.
    pub(crate) async fn refresh(&self) {
        // Without the task the program is stopping, and pages with it.
        self.commands.send(Command::Refresh).await.ok();
    }

    /// Returns once the view shows it, so that nobody is asked again for what they have just said.
    async fn say(&self, event: Event) {
        let (shown, seen) = oneshot::channel();
        if self.commands.send(Command::Say(event, shown)).await.is_ok() {
            seen.await.ok();
        }
    }

    /// What is to be seen.
    pub(crate) fn view(&self) -> View {
        self.view.borrow().clone()
    }

    /// How the way to the Bluetooth service is.
    pub(crate) fn radio(&self) -> Radio {
        *self.radio.borrow()
    }

    /// The bonds, as they were listed last.
    pub(crate) fn bonds(&self) -> Arc<Vec<Bond>> {
        Arc::clone(&self.bonds.borrow())
    }
}

/// A connection with the agent on it.
struct Link {
    bus: Bus,
    calls: mpsc::Receiver<Call>,
    owners: MessageStream,
}

enum Incoming {
    Call(Call),
    /// The Bluetooth service came or went.
    OwnerChanged,
    Lost,
}

enum Finished {
    Operation(u64, Done),
    Turn(u64, Turn),
}

struct Task {
    parts: PairingParts,
    machine: Machine,
    link: Option<Link>,
    turn: Option<Turn>,
    operations: JoinSet<Finished>,
    /// Lists of bonds on their way.
    looks: JoinSet<Result<Vec<Bond>, CallError>>,
    replies: HashMap<u64, oneshot::Sender<Reply>>,
    next_reply: u64,
    owner: Owner,
    view: watch::Sender<View>,
    radio: watch::Sender<Radio>,
    bonds: watch::Sender<Arc<Vec<Bond>>>,
    /// The last event was refused.
    busy: bool,
}

impl Task {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>, soft: CancellationToken) -> anyhow::Result<()> {
        let mut pause = RETRY;
        let mut probe_at = self.now();
        loop {
            let now = self.now();
            if now >= probe_at {
                // Bounded, and nothing is asked of a person while there is no bus.
                let ready = self.probe().await;
                pause = if ready { RETRY } else { (pause * 2).min(RETRY_MAX) };
                probe_at = self.now() + if self.link.is_some() { PROBE_EVERY } else { pause };
            }
            let due = self.machine.deadline().map_or(probe_at, |due| due.min(probe_at));
            let wait = due.saturating_sub(self.now());
            // Every branch is cancel-safe: a token, queues of whole items, finished tasks, and time.
            tokio::select! {
                () = soft.cancelled() => break,
                command = commands.recv() => match command {
                    Some(command) => self.command(command).await?,
                    None => break,
                },
                incoming = incoming(&mut self.link) => match incoming {
                    Incoming::Call(call) => self.call(call).await?,
                    Incoming::OwnerChanged => probe_at = self.now(),
                    Incoming::Lost => {
                        self.lose("the connection to the bus ended").await?;
                        probe_at = self.now() + RETRY;
                    }
                },
                Some(finished) = self.operations.join_next() => {
                    if let Some(finished) = joined(finished) {
                        self.finished(finished).await?;
                    }
                }
                Some(listed) = self.looks.join_next() => {
                    if let Some(Ok(bonds)) = joined(listed) {
                        self.bonds.send_if_modified(|known| {
                            let changed = **known != bonds;
                            *known = Arc::new(bonds);
                            changed
                        });
                    }
                }
                () = sleep(wait) => self.step(Event::Tick).await?,
            }
        }
        self.stop().await
    }

    fn now(&self) -> Duration {
        self.parts.clock.monotonic()
    }

    /// Connects if there is no connection, and registers the agent with the Bluetooth service of the day.
    async fn probe(&mut self) -> bool {
        if self.link.is_none() {
            match timeout(CONNECT_LIMIT, self.connect()).await {
                Ok(Ok(link)) => self.link = Some(link),
                Ok(Err(error)) => {
                    self.tell(Radio::NoBus, &error.to_string());
                    return false;
                }
                Err(_) => {
                    self.tell(Radio::NoBus, "no answer in time");
                    return false;
                }
            }
        }
        let Some(link) = &self.link else { return false };
        let bus = link.bus.clone();
        let owner = match timeout(CONNECT_LIMIT, bus.owner()).await {
            Ok(Ok(owner)) => owner,
            _ => {
                // A bus that does not answer is as good as none.
                if let Err(error) = self.lose("the bus does not answer").await {
                    tracing::error!(error = %error, "a pairing could not be ended");
                }
                return false;
            }
        };
        if owner.is_some() && owner == self.owner.get() && *self.radio.borrow() == Radio::Ready {
            return true;
        }
        if self.owner.get().is_some() && owner != self.owner.get() {
            // Whatever went on, went on with a service that is gone.
            if let Err(error) = self.step(Event::BusLost).await {
                tracing::error!(error = %error, "a pairing could not be ended");
            }
        }
        self.owner.set(owner.clone());
        if owner.is_none() {
            self.tell(Radio::NoService, "the bluetooth service does not run");
            return false;
        }
        match timeout(CONNECT_LIMIT, bus.register_agent()).await {
            Ok(Ok(())) => {
                self.tell(Radio::Ready, "");
                self.refresh();
                true
            }
            Ok(Err(error)) => {
                self.tell(Radio::NoService, &error.to_string());
                false
            }
            Err(_) => {
                self.tell(Radio::NoService, "no answer in time");
                false
            }
        }
    }

    async fn connect(&self) -> zbus::Result<Link> {
        let (calls, queue) = mpsc::channel(agent::QUEUE);
        let builder = match &self.parts.bus {
            Some(address) => zbus::connection::Builder::address(address.as_str()),
            // The address that btleplug uses: the environment's, or the system's own.
            None => zbus::connection::Builder::system(),
        };
        let connection = builder
            .serve_at(agent::PATH, Agent::new(calls, self.owner.clone()))
            .build()
            .await?;
        let rule = MatchRule::builder()
            .msg_type(Type::Signal)
            .sender("org.freedesktop.DBus")
            .interface("org.freedesktop.DBus")
            .member("NameOwnerChanged")
            .arg(0, SERVICE)
            .build()?;
        let owners = MessageStream::for_match_rule(rule, &connection, None).await?;
        let bus = Bus {
            connection,
            adapter: self.parts.adapter.clone(),
        };
        Ok(Link {
            bus,
            calls: queue,
            owners,
        })
    }

    async fn lose(&mut self, why: &str) -> anyhow::Result<()> {
        self.link = None;
        self.owner.set(None);
        self.tell(Radio::NoBus, why);
        self.step(Event::BusLost).await
    }

    fn tell(&self, radio: Radio, detail: &str) {
        let changed = self
            .radio
            .send_if_modified(|known| std::mem::replace(known, radio) != radio);
        match radio {
            Radio::Ready if changed => tracing::info!("ready to pair meters"),
            Radio::NoBus | Radio::NoService if changed => {
                tracing::warn!(detail, "meters cannot be paired; trying again")
            }
            _ => tracing::trace!(detail, "still the same"),
        }
    }

    async fn command(&mut self, command: Command) -> anyhow::Result<()> {
        match command {
            Command::Begin(request, begun) => {
                self.busy = false;
                self.step(Event::Begin(request)).await?;
                // Who asked may have gone.
                begun.send(if self.busy { Begun::Busy } else { Begun::Yes }).ok();
                Ok(())
            }
            Command::Say(event, shown) => {
                self.step(event).await?;
                // Who said it may have gone.
                shown.send(()).ok();
                Ok(())
            }
            Command::Refresh => {
                self.refresh();
                Ok(())
            }
        }
    }

    fn refresh(&mut self) {
        if let Some(link) = &self.link
            && self.looks.is_empty()
        {
            let bus = link.bus.clone();
            self.looks.spawn(async move { bus.bonds().await });
        }
    }

    async fn call(&mut self, call: Call) -> anyhow::Result<()> {
        match call {
            Call::Ask { path, ask, reply } => {
                self.next_reply += 1;
                let id = self.next_reply;
                self.replies.insert(id, reply);
                self.step(Event::Asked { id, path, ask }).await
            }
            Call::Cancel => self.step(Event::AskedNoMore).await,
            // It goes away, or comes back; either is heard of.
            Call::Released => Ok(()),
        }
    }

    async fn finished(&mut self, finished: Finished) -> anyhow::Result<()> {
        match finished {
            Finished::Turn(attempt, turn) => {
                // One that was granted to a pairing that is over goes back at once, or nobody would ever read a meter again.
                let wanted = matches!(self.machine.view(), View::Running { attempt: now, .. } if now == attempt);
                self.turn = wanted.then_some(turn);
                self.step(Event::TurnGranted { attempt }).await
            }
            Finished::Operation(attempt, done) => self.step(Event::Done { attempt, done }).await,
        }
    }

    /// Hands an event to the machine and carries out what follows.
    async fn step(&mut self, event: Event) -> anyhow::Result<()> {
        for action in self.machine.handle(self.now(), event) {
            match action {
                Action::Busy => self.busy = true,
                Action::RequestTurn { attempt } => {
                    let turns = self.parts.turns.clone();
                    self.operations
                        .spawn(async move { Finished::Turn(attempt, turns.request().await) });
                }
                Action::Start { attempt, operation } => self.start(attempt, operation),
                Action::Reply { id, reply } => {
                    if let Some(waiting) = self.replies.remove(&id) {
                        // The Bluetooth service may not wait any more.
                        waiting.send(reply).ok();
                    }
                }
                Action::CountUnasked => {
                    tracing::warn!("a pairing request that nobody asked for was refused");
                    self.count(Counter::PairingUnasked).await?;
                }
                Action::Release => {
                    self.operations.abort_all();
                    self.turn = None;
                    self.over().await?;
                    self.refresh();
                }
            }
        }
        let view = self.machine.view();
        self.view.send_if_modified(|known| {
            let changed = *known != view;
            *known = view;
            changed
        });
        Ok(())
    }

    async fn over(&mut self) -> anyhow::Result<()> {
        let View::Over { request, outcome, .. } = self.machine.view() else {
            return Ok(());
        };
        let goal = request.goal.code();
        match outcome {
            Outcome::Paired(details) => {
                tracing::info!(
                    goal,
                    kind = details.kind.map(|kind| kind.code()),
                    bonded = details.bonded,
                    "meter is paired"
                );
                self.count(Counter::Pairings).await
            }
            Outcome::Forgotten => {
                tracing::info!(goal, "bond is forgotten");
                Ok(())
            }
            Outcome::Failed(failure) => {
                tracing::warn!(goal, failure = failure.code(), "meter is not paired");
                self.count(Counter::PairingFailures).await
            }
        }
    }

    async fn count(&self, counter: Counter) -> anyhow::Result<()> {
        match self.parts.spool.count(counter, 1).await {
            Err(error) if error.disposition() == Disposition::Retry => {
                tracing::debug!(counter = counter.code(), "not counted");
                Ok(())
            }
            other => Ok(other?),
        }
    }

    fn start(&mut self, attempt: u64, operation: Operation) {
        self.operations.abort_all();
        let Some(link) = &self.link else {
            let lost = Finished::Operation(attempt, Done::Failed(Failure::NoBluetooth));
            self.operations.spawn(async move { lost });
            return;
        };
        let bus = link.bus.clone();
        let clock = self.right_clock();
        self.operations.spawn(async move {
            let done = carry_out(&bus, operation, clock).await;
            Finished::Operation(attempt, done.unwrap_or_else(Done::Failed))
        });
    }

    /// The clock by which a meter's is set, and the store's zone. Nothing while this machine's own clock is not believed, because
    /// a meter whose clock is wrong in the open is better than one that was set wrong.
    fn right_clock(&self) -> Option<(Clock, Tz)> {
        let zone = self.parts.spool.down().zone()?;
        self.parts.trust.is_trusted().then(|| (self.parts.clock.clone(), zone))
    }

    /// Clears up what goes on, and takes the agent back.
    async fn stop(mut self) -> anyhow::Result<()> {
        self.step(Event::GivenUp).await?;
        let clearing = async {
            while self.turn.is_some() {
                let Some(finished) = self.operations.join_next().await else {
                    break;
                };
                if let Some(finished) = joined(finished) {
                    self.finished(finished).await?;
                }
            }
            anyhow::Ok(())
        };
        // What is not cleared up in time is left to the Bluetooth service, which notices that the agent is gone.
        match timeout(STOP_LIMIT, clearing).await {
            Ok(cleared) => cleared?,
            Err(_) => tracing::warn!("a pairing could not be cleared up in time"),
        }
        if let Some(link) = self.link.take()
            && *self.radio.borrow() == Radio::Ready
            && !matches!(timeout(STOP_LIMIT, link.bus.unregister_agent()).await, Ok(Ok(())))
        {
            tracing::debug!("the agent was not unregistered; it goes with the connection");
        }
        Ok(())
    }
}

async fn carry_out(bus: &Bus, operation: Operation, clock: Option<(Clock, Tz)>) -> Result<Done, Failure> {
    Ok(match operation {
        Operation::Look(address) => Done::Looked(bus.look(address).await?),
        Operation::Find { address, adapter } => Done::Found(bus.find(address, &adapter).await?),
        Operation::Pair(path) => {
            bus.pair(&path).await?;
            Done::Paired
        }
        Operation::Trust(path) => {
            bus.trust(&path).await?;
            Done::Trusted
        }
        Operation::Read(path) => Done::Read(bus.read(&path).await?),
        Operation::Recall(path) => Done::Read(bus.recall(&path).await?),
        Operation::SetClock(write) => match clock {
            Some((clock, zone)) => {
                set_clock(bus, &write, &clock, zone).await?;
                Done::ClockSet
            }
            None => {
                tracing::warn!(
                    "the meter's clock was not set: the gateway's own is not trusted, or its zone not known"
                );
                Done::Failed(Failure::Other)
            }
        },
        Operation::Disconnect(path) => {
            bus.disconnect(&path).await;
            Done::Disconnected
        }
        Operation::Remove(path) => {
            bus.remove(&path).await?;
            Done::Removed
        }
        Operation::Abandon { path, pairing, remove } => {
            bus.abandon(path.as_deref(), pairing, remove).await?;
            Done::Abandoned
        }
    })
}

/// What a task of a set came to; nothing if it was given up. A panic goes on where it can be seen.
fn joined<T>(result: Result<T, JoinError>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => None,
    }
}

async fn incoming(link: &mut Option<Link>) -> Incoming {
    let Some(link) = link else {
        return std::future::pending().await;
    };
    // All branches are cancel-safe.
    tokio::select! {
        call = link.calls.recv() => call.map_or(Incoming::Lost, Incoming::Call),
        changed = link.owners.next() => match changed {
            Some(Ok(_)) => Incoming::OwnerChanged,
            Some(Err(_)) | None => Incoming::Lost,
        },
        () = link.bus.connection.closed() => Incoming::Lost,
    }
}

/// Sets a meter's clock, if it shows no date. One that shows a date gets that back: the meter waits for a time, and the records
/// that it holds are dated by the clock as it is, which every link reads and corrects (`docs/decisions/0018-a-clock-is-set-once.md`).
async fn set_clock(bus: &Bus, write: &ClockWrite, clock: &Clock, zone: Tz) -> Result<(), Failure> {
    let read = bus.value_at("read the meter's clock", &write.path).await?;
    let Some(shown) = Shown::of(write.layout, &read) else {
        tracing::warn!(meter.id = %write.meter, "the meter's clock was not set: it cannot be read");
        return Err(Failure::Other);
    };
    let value = match shown.skew(clock.now(), zone) {
        Some(_) => read,
        None => write.layout.encode(clock.now(), zone).ok_or(Failure::Other)?,
    };
    bus.write(&write.path, &value).await
}
