//! Carries out what the [`Machine`] decides: reads and settles the outbox, signs, publishes, and applies what comes down.
//!
//! One task, one action at a time. Only waiting is a `select!` branch; every commit is awaited to its end outside of it.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::Duration;

use carepost_contract::limits::{MAX_BATCH_BYTES, MAX_BATCH_ITEMS};
use carepost_contract::topic::{Channel, Topic};
use carepost_contract::v1::{
    Applied, Control, Cursor, Delta, Down, Epoch, Hello, Lane, ParsedDown, Receipt, RegisterRefused, Snapshot,
    parse_down,
};
use carepost_contract::{connect, signed};
use carepost_daemon::CancellationToken;
use carepost_domain::id::GatewayId;
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::machine::{Action, Event, Ignored, Loss, Machine, Phase, Policy};
use super::mqtt::{Connection, Incoming, Stuck, Target};
use super::status::UplinkStatus;
use crate::app::Parts;
use crate::board::UplinkState;
use crate::down::{PartError, SnapshotAssembly};
use crate::spool::{BatchLimits, Counter, DeltaOutcome, Disposition, DownError, OutBatch, SpoolError};

/// Retained on `state` while connected.
const PRESENT: &str = r#"{"present":true}"#;
/// Left there by a goodbye or by the last will.
const ABSENT: &str = r#"{"present":false}"#;
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// Why the uplink stops by itself.
#[derive(Debug, thiserror::Error)]
pub enum UplinkError {
    /// The state of the spool's file is not known any more.
    #[error("the uplink cannot go on with the spool")]
    Spool(#[source] SpoolError),
}

/// The uplink's task.
#[derive(Debug)]
pub struct Uplink {
    parts: Parts,
    policy: Policy,
}

impl Uplink {
    /// The task, which sends what the outbox of `parts` holds in the epoch that was begun.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let ms = Duration::from_millis;
        let policy = Policy {
            backoff_min: ms(parts.config.uplink.retry_ms),
            backoff_max: ms(parts.config.uplink.retry_max_ms),
            min_resend: ms(parts.config.uplink.resend_ms),
            ..Policy::default()
        };
        Self::with_policy(parts, policy)
    }

    pub(super) fn with_policy(parts: Parts, policy: Policy) -> Self {
        Self { parts, policy }
    }

    /// Sends and receives until `soft` is cancelled; then says goodbye.
    ///
    /// # Errors
    /// When the state of the spool's file is not known any more. Nothing less ends it.
    pub async fn run(self, soft: CancellationToken) -> Result<(), UplinkError> {
        let parts = self.parts;
        let machine = Machine::new(self.policy, parts.entropy.clone(), parts.epoch, parts.clock.monotonic());
        let mut running = Running {
            epoch: parts.epoch,
            down_since: parts.clock.now(),
            status: UplinkStatus::new(parts.epoch),
            parts,
            machine,
            connection: None,
            assembly: SnapshotAssembly::default(),
            fresh: None,
        };
        running.run(&soft).await
    }
}

struct Running {
    parts: Parts,
    status: UplinkStatus,
    machine: Machine,
    epoch: Epoch,
    connection: Option<Connection>,
    assembly: SnapshotAssembly,
    /// The batch that was numbered last and is about to be sent.
    fresh: Option<OutBatch>,
    down_since: DateTime<Utc>,
}

impl Running {
    async fn run(&mut self, soft: &CancellationToken) -> Result<(), UplinkError> {
        let mut outbox = self.parts.spool.watch_outbox();
        let mut registrations = self.parts.spool.watch_registrations();
        self.step(Event::Tick).await?;
        loop {
            let due = self.machine.deadline();
            let wait = due.map(|due| due.saturating_sub(self.parts.clock.monotonic()));
            // Every branch is cancel-safe: a token, a queue that hands over whole items, a change counter, and time.
            // What was heard comes first, so that a peer is not called silent while its words wait in the queue.
            tokio::select! {
                biased;
                () = soft.cancelled() => break,
                incoming = next(&mut self.connection) => self.incoming(incoming).await?,
                changed = outbox.changed() => {
                    // The sender lives in our own spool.
                    if changed.is_err() {
                        break;
                    }
                    self.step(Event::OutboxGrew).await?;
                }
                changed = registrations.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    self.step(Event::RegistrationMade).await?;
                }
                () = sleep(wait) => self.step(Event::Tick).await?,
            }
        }
        self.goodbye().await;
        Ok(())
    }

    async fn goodbye(&mut self) {
        if let Some(connection) = self.connection.take() {
            if connection
                .publish(self.topic(Channel::State), ABSENT.into(), true)
                .is_ok()
            {
                connection.close(GOODBYE).await;
            }
            tracing::info!("uplink closed");
        }
        self.step_status(Event::LinkLost(Loss::Broken));
    }

    /// Hands an event to the machine and carries out what follows, until nothing does.
    async fn step(&mut self, event: Event) -> Result<(), UplinkError> {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for action in self.step_status(event) {
                events.extend(self.act(action).await?);
            }
        }
        Ok(())
    }

    fn step_status(&mut self, event: Event) -> Vec<Action> {
        let actions = self.machine.handle(self.parts.clock.monotonic(), event);
        self.tell_board();
        actions
    }

    /// Changes what is counted here and shows it.
    fn note(&mut self, change: impl FnOnce(&mut UplinkStatus)) {
        change(&mut self.status);
        self.parts.board.set_uplink_counts(self.status.clone());
    }

    fn tell_board(&mut self) {
        self.status.follow(&self.machine);
        self.parts.board.set_uplink_counts(self.status.clone());
        let now = self.parts.clock.now();
        let state = match self.machine.phase() {
            Phase::Online => match self.parts.board.uplink() {
                connected @ UplinkState::Connected { .. } => connected,
                _ => {
                    tracing::info!(epoch = %self.epoch, "uplink stands");
                    UplinkState::Connected { since: now }
                }
            },
            // The first attempt; later ones are part of being down.
            Phase::Connecting | Phase::Greeting if self.status.last_loss.is_none() => UplinkState::Connecting,
            Phase::Down | Phase::Connecting | Phase::Greeting => {
                if matches!(self.parts.board.uplink(), UplinkState::Connected { .. }) {
                    self.down_since = now;
                }
                let detail = self
                    .status
                    .last_loss
                    .clone()
                    .unwrap_or_else(|| "not connected yet".to_owned());
                UplinkState::Down {
                    since: self.down_since,
                    detail,
                }
            }
        };
        self.parts.board.set_uplink(state);
    }

    async fn act(&mut self, action: Action) -> Result<Option<Event>, UplinkError> {
        match action {
            Action::Connect => {
                self.connect();
                Ok(None)
            }
            Action::Drop(loss) => {
                self.drop_link(loss, "given up");
                Ok(None)
            }
            Action::Subscribe => {
                let (receipt, down) = (self.topic(Channel::Receipt), self.topic(Channel::Down));
                let presence = self.topic(Channel::State);
                let queued = self.with_connection(|connection| {
                    connection.publish(presence, PRESENT.into(), true)?;
                    connection.subscribe([receipt, down])
                });
                Ok(self.queued(queued))
            }
            Action::Hello => {
                let hello = Control::Hello(Hello {
                    gateway: self.gateway(),
                    epoch: self.epoch,
                    down_version: self.parts.spool.down().version(),
                    clock: self.parts.clock.now(),
                });
                self.assembly = SnapshotAssembly::default();
                Ok(self.publish_signed(Channel::UpControl, &hello))
            }
            Action::Register => self.register().await,
            Action::Fill(lane) => self.fill(lane).await,
            Action::Send {
                lane,
                numbers,
                settled_seen,
                again,
            } => self.send(lane, numbers, settled_seen, again).await,
            Action::Settle(receipt) => self.settle(receipt).await,
            Action::Renumber => self.renumber().await.map(Some),
            Action::Ignored(why) => {
                tracing::warn!(reason = ?why, "a message of the server was ignored");
                if why != Ignored::OtherEpoch {
                    self.bad_message().await?;
                }
                Ok(None)
            }
        }
    }

    fn connect(&mut self) {
        let parts = &self.parts;
        self.connection = Some(Connection::open(Target {
            host: parts.config.uplink.host.clone(),
            port: parts.config.uplink.port,
            keep_alive: Duration::from_millis(parts.config.uplink.keep_alive_ms),
            gateway: parts.identity.gateway().to_string(),
            password: connect::password(
                parts.identity.signing_key(),
                parts.identity.gateway(),
                parts.clock.now(),
            ),
            presence_topic: self.topic(Channel::State),
            last_will: ABSENT,
        }));
    }

    fn drop_link(&mut self, loss: Loss, detail: &str) {
        self.connection = None;
        self.fresh = None;
        self.assembly = SnapshotAssembly::default();
        let words = format!("{}: {detail}", loss.code());
        // A week offline would repeat the same line tens of thousands of times.
        if self.status.last_loss.as_deref() == Some(words.as_str()) {
            tracing::debug!(loss = loss.code(), detail, "uplink lost again");
        } else {
            tracing::warn!(loss = loss.code(), detail, "uplink lost");
        }
        self.note(|status| status.last_loss = Some(words));
    }

    async fn incoming(&mut self, incoming: Incoming) -> Result<(), UplinkError> {
        match incoming {
            Incoming::Connected { keep_alive } => self.step(Event::Connected { keep_alive }).await,
            Incoming::Subscribed { granted: true } => {
                self.step(Event::Heard).await?;
                self.step(Event::Subscribed).await
            }
            Incoming::Subscribed { granted: false } => {
                self.drop_link(Loss::NoGreeting, "the server refused a subscription");
                self.step(Event::LinkLost(Loss::NoGreeting)).await
            }
            Incoming::Message { topic, payload } => {
                self.step(Event::Heard).await?;
                self.message(&topic, &payload).await
            }
            Incoming::NotSent { reason } => {
                tracing::warn!(?reason, "a message was not accepted and counts as not sent");
                self.note(|status| status.not_sent = status.not_sent.saturating_add(1));
                self.step(Event::Heard).await
            }
            Incoming::Accepted | Incoming::Other => self.step(Event::Heard).await,
            Incoming::Lost { loss, detail } => {
                self.drop_link(loss, &detail);
                self.step(Event::LinkLost(loss)).await
            }
        }
    }

    async fn message(&mut self, topic: &str, payload: &[u8]) -> Result<(), UplinkError> {
        let channel = topic
            .parse::<Topic>()
            .ok()
            .filter(|topic| topic.gateway == self.gateway())
            .map(|topic| topic.channel);
        match channel {
            Some(Channel::Receipt) => match serde_json::from_slice::<Receipt>(payload) {
                Ok(receipt) => self.step(Event::Receipt(receipt)).await,
                Err(_) => self.unreadable("receipt").await,
            },
            Some(Channel::Down) => match parse_down(payload) {
                Ok(parsed) => self.down(parsed).await,
                Err(_) => self.unreadable("down").await,
            },
            _ => self.unreadable("other").await,
        }
    }

    async fn down(&mut self, parsed: ParsedDown) -> Result<(), UplinkError> {
        if parsed.unknown_meters > 0 {
            tracing::warn!(
                meters = parsed.unknown_meters,
                "the server lists meters that this version does not know: they are not read until it is updated"
            );
            self.bad_message().await?;
        }
        match parsed.message {
            Down::Cursor(cursor) => self.cursor(cursor).await,
            Down::Snapshot(part) => self.snapshot(part).await,
            Down::Delta(delta) => self.delta(delta).await,
            Down::RegisterRefused(refused) => self.register_refused(refused).await,
        }
    }

    /// A message that does not parse. Its content is not logged: it may name members.
    async fn unreadable(&mut self, kind: &'static str) -> Result<(), UplinkError> {
        tracing::warn!(kind, "a message of the server does not parse");
        self.bad_message().await
    }

    async fn bad_message(&mut self) -> Result<(), UplinkError> {
        self.note(|status| status.bad_messages = status.bad_messages.saturating_add(1));
        match self.parts.spool.count(Counter::BadMessages, 1).await {
            Ok(()) => Ok(()),
            Err(error) => stop_or_warn(error, "a message could not be counted"),
        }
    }

    async fn cursor(&mut self, cursor: Cursor) -> Result<(), UplinkError> {
        if cursor.epoch == self.epoch {
            self.parts.trust.note_server_time(cursor.server_time);
        }
        self.step(Event::Cursor(cursor)).await
    }

    async fn snapshot(&mut self, part: Snapshot) -> Result<(), UplinkError> {
        let snapshot = match self.assembly.add(part) {
            Ok(None) => return Ok(()),
            Ok(Some(snapshot)) => snapshot,
            Err(error) => {
                tracing::warn!(%error, "a snapshot cannot be put together");
                self.bad_message().await?;
                return match error {
                    PartError::OutOfOrder { .. } => self.step(Event::OutOfStep).await,
                    // The same again would be too large again.
                    PartError::TooMany => Ok(()),
                };
            }
        };
        match self.parts.spool.apply_snapshot(&snapshot, self.parts.clock.now()).await {
            Ok(purged) => self.applied(snapshot.version, purged.dropped()).await,
            Err(DownError::UnknownZone { .. }) => {
                tracing::error!("the server's snapshot names an unknown time zone and was not applied");
                self.bad_message().await
            }
            Err(DownError::Spool(error)) => {
                stop_or_warn(error, "a snapshot could not be applied")?;
                self.step(Event::OutOfStep).await
            }
        }
    }

    async fn delta(&mut self, delta: Delta) -> Result<(), UplinkError> {
        if delta.version <= self.parts.spool.down().version() {
            // Known already: a copy that crossed with hello.
            return Ok(());
        }
        match self.parts.spool.apply_delta(&delta, self.parts.clock.now()).await {
            Ok(DeltaOutcome::Applied(purged)) => self.applied(delta.version, purged.dropped()).await,
            Ok(DeltaOutcome::NotForThisVersion { held, wanted }) => {
                tracing::info!(held, wanted, "a delta does not follow, asking again");
                self.step(Event::OutOfStep).await
            }
            Err(error) => {
                stop_or_warn(error, "a delta could not be applied")?;
                self.step(Event::OutOfStep).await
            }
        }
    }

    /// Copy and purge are committed: says so.
    async fn applied(&mut self, version: u64, dropped: u64) -> Result<(), UplinkError> {
        tracing::info!(down_version = version, dropped, "applied what the server sent down");
        let applied = Control::Applied(Applied {
            gateway: self.gateway(),
            down_version: version,
        });
        match self.publish_signed(Channel::UpControl, &applied) {
            Some(event) => self.step(event).await,
            None => Ok(()),
        }
    }

    /// Sends what staff registered; it is settled by what comes down.
    async fn register(&mut self) -> Result<Option<Event>, UplinkError> {
        let waiting = match self.parts.spool.registrations_to_send(self.parts.clock.now()).await {
            Ok(waiting) => waiting,
            Err(error) => {
                stop_or_warn(error, "registrations could not be read")?;
                return Ok(None);
            }
        };
        let unsettled = waiting.len();
        for register in waiting {
            tracing::info!(meter.id = %register.meter.id, "sending a registration");
            if let Some(event) = self.publish_signed(Channel::UpControl, &Control::Register(Box::new(register))) {
                return Ok(Some(event));
            }
        }
        Ok(Some(Event::RegistrationsSent { unsettled }))
    }

    async fn register_refused(&mut self, refused: RegisterRefused) -> Result<(), UplinkError> {
        let noted = self
            .parts
            .spool
            .refuse_registration(refused.meter, refused.reason)
            .await;
        match noted {
            Ok(noted) => {
                tracing::warn!(
                    meter.id = %refused.meter,
                    reason = refused.reason.code(),
                    noted,
                    "the server refused a registration"
                );
                Ok(())
            }
            Err(error) => stop_or_warn(error, "a refused registration could not be noted"),
        }
    }

    async fn fill(&mut self, lane: Lane) -> Result<Option<Event>, UplinkError> {
        match self
            .parts
            .spool
            .next_batch(self.epoch, lane, BatchLimits::default())
            .await
        {
            Ok(batch) => {
                let numbers = batch.as_ref().map(|batch| batch.first_seq..=batch.last_seq());
                self.fresh = batch;
                Ok(Some(Event::Filled { lane, numbers }))
            }
            Err(error) => {
                stop_or_warn(error, "the outbox could not be read")?;
                Ok(Some(Event::FillFailed { lane }))
            }
        }
    }

    async fn send(
        &mut self,
        lane: Lane,
        numbers: RangeInclusive<u64>,
        settled_seen: u64,
        again: bool,
    ) -> Result<Option<Event>, UplinkError> {
        if let Some(fresh) = self.fresh.take()
            && fresh.lane == lane
            && (fresh.first_seq..=fresh.last_seq()) == numbers
        {
            return Ok(self.publish_batch(fresh, settled_seen));
        }
        tracing::debug!(lane = %lane, first = numbers.start(), last = numbers.end(), again, "sending from the outbox");
        let mut after = numbers.start().saturating_sub(1);
        while after < *numbers.end() {
            let left = usize::try_from(numbers.end() - after)
                .unwrap_or(MAX_BATCH_ITEMS)
                .min(MAX_BATCH_ITEMS);
            let limits = BatchLimits {
                items: left,
                ..BatchLimits::default()
            };
            let mut batch = match self.parts.spool.unreceipted(self.epoch, lane, after, limits).await {
                Ok(Some(batch)) if batch.first_seq <= *numbers.end() => batch,
                Ok(_) => break,
                Err(error) => {
                    // The batch stays in flight and is tried again after the usual time.
                    stop_or_warn(error, "the outbox could not be read")?;
                    break;
                }
            };
            let wanted = usize::try_from(numbers.end() - batch.first_seq + 1).unwrap_or(MAX_BATCH_ITEMS);
            batch.items.truncate(wanted);
            after = batch.last_seq();
            if let Some(event) = self.publish_batch(batch, settled_seen) {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// Publishes rows as one batch, or as several if their JSON is larger than a batch may be.
    fn publish_batch(&mut self, batch: OutBatch, settled_seen: u64) -> Option<Event> {
        let channel = match batch.lane {
            Lane::Live => Channel::UpLive,
            Lane::Replay => Channel::UpReplay,
        };
        let mut waiting = VecDeque::from([batch]);
        while let Some(mut batch) = waiting.pop_front() {
            batch.settled_seen = settled_seen;
            let message = batch.clone().into_batch(self.gateway());
            let payload = to_json(&message);
            if payload.len() > MAX_BATCH_BYTES && batch.items.len() > 1 {
                let rest = batch.items.split_off(batch.items.len() / 2);
                let first_seq = batch.last_seq() + 1;
                let rest = OutBatch {
                    items: rest,
                    first_seq,
                    ..batch
                };
                waiting.push_front(rest);
                waiting.push_front(batch);
                continue;
            }
            let event = self.publish_payload(channel, &payload);
            if event.is_some() {
                return event;
            }
        }
        None
    }

    async fn settle(&mut self, receipt: Receipt) -> Result<Option<Event>, UplinkError> {
        let now = self.parts.clock.now();
        match self.parts.spool.apply_receipt(&receipt, now).await {
            Ok(summary) => {
                tracing::debug!(
                    lane = %receipt.lane,
                    settled_through = receipt.settled_through,
                    delivered = summary.delivered.len(),
                    refused = summary.refused.len(),
                    quarantined = summary.quarantined.len(),
                    "receipt settled"
                );
                for (_, reason) in &summary.quarantined {
                    tracing::warn!(reason = %reason, "the server could not use a reading, it is quarantined");
                }
                self.note(|status| status.last_receipt_at = Some(now));
                self.parts.desk.note_receipt(&summary);
                if let Err(error) = self.parts.spool.scrub().await {
                    stop_or_warn(error, "forgotten bytes may still be in the write-ahead log")?;
                }
                Ok(Some(Event::Settled(receipt)))
            }
            Err(error) => {
                stop_or_warn(error, "a receipt could not be settled")?;
                Ok(None)
            }
        }
    }

    async fn renumber(&mut self) -> Result<Event, UplinkError> {
        let epoch = Epoch::from_bytes(self.parts.entropy.bytes());
        tracing::warn!(old = %self.epoch, new = %epoch, "the server's numbers are not ours, a new epoch begins");
        self.parts.spool.begin_epoch(epoch).await.map_err(UplinkError::Spool)?;
        self.epoch = epoch;
        self.fresh = None;
        self.note(|status| status.epoch = epoch);
        Ok(Event::Renumbered { epoch })
    }

    fn publish_signed<T: Serialize>(&mut self, channel: Channel, message: &T) -> Option<Event> {
        self.publish_payload(channel, &to_json(message))
    }

    fn publish_payload(&mut self, channel: Channel, payload: &[u8]) -> Option<Event> {
        let message = signed::seal(self.parts.identity.signing_key(), payload);
        let topic = self.topic(channel);
        let queued = self.with_connection(|connection| connection.publish(topic, message, false));
        self.queued(queued)
    }

    fn with_connection(&self, act: impl FnOnce(&Connection) -> Result<(), Stuck>) -> Result<(), Stuck> {
        // Without a connection the link was given up while its actions were carried out: what is not sent has no receipt.
        self.connection.as_ref().map_or(Ok(()), act)
    }

    fn queued(&mut self, queued: Result<(), Stuck>) -> Option<Event> {
        let error = queued.err()?;
        self.drop_link(Loss::Stuck, &error.to_string());
        Some(Event::LinkLost(Loss::Stuck))
    }

    fn gateway(&self) -> GatewayId {
        self.parts.identity.gateway()
    }

    fn topic(&self, channel: Channel) -> String {
        Topic {
            gateway: self.gateway(),
            channel,
        }
        .to_string()
    }
}

async fn next(connection: &mut Option<Connection>) -> Incoming {
    match connection {
        Some(connection) => connection.next().await,
        None => std::future::pending().await,
    }
}

async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

fn to_json<T: Serialize>(message: &T) -> Vec<u8> {
    serde_json::to_vec(message).expect("messages of the contract have text keys and finite numbers only")
}

/// An error after which the same call may succeed later is logged; any other ends the uplink.
fn stop_or_warn(error: SpoolError, what: &'static str) -> Result<(), UplinkError> {
    match error.disposition() {
        Disposition::Retry => {
            tracing::warn!(error = &error as &dyn std::error::Error, what, "the spool is not ready");
            Ok(())
        }
        Disposition::Stop => Err(UplinkError::Spool(error)),
    }
}
