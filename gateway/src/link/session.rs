//! One link to one meter: connect, discover, subscribe, collect, and disconnect whatever happened.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use btleplug::api::bleuuid::uuid_from_u16;
use btleplug::api::{Characteristic, Peripheral as _, ValueNotification, WriteType};
use btleplug::platform::Peripheral;
use carepost_daemon::CancellationToken;
use carepost_domain::meter::{Meter, MeterKind, MeterRole};
use carepost_gatt::sync::{Action, Event, GlucoseSync, Outcome, Policy};
use carepost_gatt::uuid16;
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::capture::Message;
use super::connect::{att_error, connect, disconnect, jittered};
use super::{LinkFault, LinkParts, within};
use crate::admit::chain;
use crate::board::LinkState;
use crate::spool::{Disposition, LinkEnd, LinkId};

/// Values that are handed on together.
const TAKE: usize = 256;
/// How long values that are on their way inside this process are waited for, once nothing more can come from the meter.
const STRAGGLERS: Duration = Duration::from_millis(50);

type Values = Pin<Box<dyn Stream<Item = ValueNotification> + Send>>;

/// What a session uses.
pub(super) struct SessionParts {
    pub(super) link: LinkParts,
    pub(super) packets: mpsc::Sender<Message>,
    pub(super) soft: CancellationToken,
    pub(super) hard: CancellationToken,
    /// Changes when the adapter says that the meter was disconnected, or says nothing any more.
    pub(super) gone: watch::Receiver<u32>,
}

/// How it ended.
pub(super) enum SessionEnd {
    /// There was a link.
    Over { end: LinkEnd, records: u64 },
    /// There was none.
    NotConnected(LinkFault),
    /// The spool or the capture task failed.
    Failed(LinkFault),
}

/// How the collecting ended.
enum Collected {
    /// Nothing more will come, and everything that came was heard.
    Everything,
    /// Something may have come that nobody heard.
    Interrupted,
}

struct Session {
    parts: SessionParts,
    meter: Arc<Meter>,
    peripheral: Peripheral,
    link: LinkId,
    values: Values,
    subscribed: Vec<Characteristic>,
    records: u64,
    /// The bus did not answer: there is nobody to say goodbye to.
    bus_lost: bool,
}

/// Reads one meter. Not cancel-safe: it must be awaited to its end, which is bounded.
pub(super) async fn run(mut parts: SessionParts, meter: Meter, peripheral: Peripheral) -> SessionEnd {
    let meter = Arc::new(meter);
    let settings = parts.link.settings.clone();
    parts.link.board.set_link(LinkState::Connecting { meter: meter.id });
    // Before connecting, and on the same handle that discovers: values of characteristics that another handle discovered
    // do not reach this stream, and an indication that nobody hears is confirmed all the same.
    let values = match within(settings.operation_ms, "listen to a meter", peripheral.notifications()).await {
        Ok(values) => values,
        Err(fault) => return SessionEnd::NotConnected(fault),
    };
    if let Err(fault) = connect(&parts.link, &parts.soft, &peripheral).await {
        return SessionEnd::NotConnected(fault);
    }
    parts.gone.borrow_and_update();
    let opened_at = parts.link.clock.now();
    let link = match parts.link.spool.open_link(meter.id, meter.kind, opened_at).await {
        Ok(link) => link,
        Err(error) => {
            disconnect(&parts.link, &peripheral).await;
            return SessionEnd::Failed(error.into());
        }
    };
    tracing::info!(meter.id = %meter.id, "meter is connected");
    parts.link.board.set_link(LinkState::Reading { meter: meter.id });
    if meter.role == MeterRole::StoreShared {
        parts.link.desk.meter_connected(meter.id, meter.kind);
    }
    let mut session = Session {
        parts,
        meter,
        peripheral,
        link,
        values,
        subscribed: Vec::new(),
        records: 0,
        bus_lost: false,
    };
    session.conduct(opened_at).await
}

impl Session {
    async fn conduct(&mut self, opened_at: chrono::DateTime<chrono::Utc>) -> SessionEnd {
        let opened = Message::Opened {
            link: self.link,
            meter: Arc::clone(&self.meter),
            at: opened_at,
        };
        let limit = Duration::from_millis(self.parts.link.settings.session_ms);
        let hard = self.parts.hard.clone();
        let talk = async {
            self.send(opened).await?;
            self.talk().await
        };
        // What a cut conversation had in hand is not lost track of: the link counts as interrupted.
        let result = tokio::select! {
            result = timeout(limit, talk) => result.ok(),
            () = hard.cancelled() => None,
        };
        let result = result.unwrap_or_else(|| {
            tracing::warn!(meter.id = %self.meter.id, "link is cut before its end");
            Ok(Collected::Interrupted)
        });
        self.bus_lost |= hard.is_cancelled();
        let (mut end, failed) = match result {
            Ok(Collected::Everything) => (LinkEnd::Clean, None),
            Ok(Collected::Interrupted) => (LinkEnd::Unclean, None),
            Err(fault) if fault.may_pass() => {
                tracing::warn!(meter.id = %self.meter.id, error = chain(&fault), "link failed");
                // Whether the bus is there at all decides whether goodbyes are worth waiting for.
                self.is_connected().await;
                // Before anything was subscribed, nothing can have been sent.
                (
                    if self.subscribed.is_empty() {
                        LinkEnd::Clean
                    } else {
                        LinkEnd::Unclean
                    },
                    None,
                )
            }
            Err(fault) => (LinkEnd::Unclean, Some(fault)),
        };
        if !self.bus_lost {
            self.unsubscribe().await;
        }
        if self.hand_on_stragglers().await.is_err() {
            end = LinkEnd::Unclean;
        }
        if !self.bus_lost {
            disconnect(&self.parts.link, &self.peripheral).await;
        }
        let (done, answer) = oneshot::channel();
        let closed = self
            .send(Message::Closed {
                link: self.link,
                end,
                done,
            })
            .await;
        if let Some(fault) = failed {
            // Its link is noted as over all the same, if anybody is there to note it.
            if closed.is_ok() {
                answer.await.ok();
            }
            return SessionEnd::Failed(fault);
        }
        match (closed, answer.await) {
            (Ok(()), Ok(())) => SessionEnd::Over {
                end,
                records: self.records,
            },
            (Err(fault), _) => SessionEnd::Failed(fault),
            (Ok(()), Err(_)) => SessionEnd::Failed(LinkFault::CaptureGone),
        }
    }

    async fn talk(&mut self) -> Result<Collected, LinkFault> {
        self.discover().await?;
        match self.meter.kind {
            MeterKind::BloodPressure => {
                self.subscribe(uuid16::BLOOD_PRESSURE_SERVICE, uuid16::BLOOD_PRESSURE_MEASUREMENT, true)
                    .await?;
                self.listen_to_cuff().await
            }
            MeterKind::Glucose => {
                self.subscribe(uuid16::GLUCOSE_SERVICE, uuid16::GLUCOSE_MEASUREMENT, true)
                    .await?;
                // Not every meter has contexts.
                self.subscribe(uuid16::GLUCOSE_SERVICE, uuid16::GLUCOSE_CONTEXT, false)
                    .await?;
                self.subscribe(uuid16::GLUCOSE_SERVICE, uuid16::RECORD_ACCESS_CONTROL_POINT, true)
                    .await?;
                self.fetch_records().await
            }
        }
    }

    async fn discover(&mut self) -> Result<(), LinkFault> {
        let settings = &self.parts.link.settings;
        let mut tries_left = settings.discover_tries;
        loop {
            match within(
                settings.operation_ms,
                "discover services",
                self.peripheral.discover_services(),
            )
            .await
            {
                // The services may be announced before their objects are there.
                Ok(()) if !self.peripheral.services().is_empty() => return Ok(()),
                Ok(()) if tries_left <= 1 => {
                    return Err(LinkFault::Bus {
                        attempted: "discover services",
                        source: btleplug::Error::NoSuchCharacteristic,
                    });
                }
                // Silence is not mended by asking again.
                Err(fault) if tries_left <= 1 || matches!(fault, LinkFault::NoAnswer { .. }) => return Err(fault),
                _ => tries_left -= 1,
            }
            sleep(jittered(settings.retry_ms, self.parts.link.entropy.bytes())).await;
        }
    }

    async fn subscribe(&mut self, service: u16, characteristic: u16, required: bool) -> Result<(), LinkFault> {
        let Some(found) = self.characteristic(service, characteristic) else {
            if required {
                let source = btleplug::Error::NoSuchCharacteristic;
                return Err(LinkFault::Bus {
                    attempted: "find the meter's measurements",
                    source,
                });
            }
            return Ok(());
        };
        // Noted first: a subscription that timed out may stand all the same.
        self.subscribed.push(found.clone());
        within(
            self.parts.link.settings.operation_ms,
            "subscribe",
            self.peripheral.subscribe(&found),
        )
        .await
    }

    fn characteristic(&self, service: u16, characteristic: u16) -> Option<Characteristic> {
        let (service, characteristic) = (uuid_from_u16(service), uuid_from_u16(characteristic));
        let all: BTreeSet<Characteristic> = self.peripheral.characteristics();
        all.into_iter()
            .find(|found| found.service_uuid == service && found.uuid == characteristic)
    }

    /// Takes what a cuff sends by itself until it is silent or gone. A soft stop waits for the silence, because what the
    /// cuff sends into a closed subscription is lost.
    async fn listen_to_cuff(&mut self) -> Result<Collected, LinkFault> {
        let idle = Duration::from_millis(self.parts.link.settings.idle_ms);
        let hard = self.parts.hard.clone();
        let mut silent_at = Instant::now() + idle;
        loop {
            // All branches are cancel-safe; what a value leads to is awaited outside.
            tokio::select! {
                value = self.values.next() => match value {
                    Some(value) => {
                        let taken = self.take_ready(value);
                        self.hand_on(taken).await?;
                        silent_at = Instant::now() + idle;
                    }
                    None => return Ok(Collected::Interrupted),
                },
                _ = self.parts.gone.changed() => match self.is_connected().await {
                    Some(true) => {}
                    Some(false) => return Ok(Collected::Everything),
                    None => return Ok(Collected::Interrupted),
                },
                // Silence of the bus looks like silence of the cuff until it is asked.
                () = sleep_until(silent_at) => return Ok(match self.is_connected().await {
                    Some(_) => Collected::Everything,
                    None => Collected::Interrupted,
                }),
                () = hard.cancelled() => return Ok(Collected::Interrupted),
            }
        }
    }

    /// Has the conversation by which a glucose meter reports what is new.
    async fn fetch_records(&mut self) -> Result<Collected, LinkFault> {
        let link = self.parts.link.clone();
        let soft = self.parts.soft.clone();
        let Some(control) = self.characteristic(uuid16::GLUCOSE_SERVICE, uuid16::RECORD_ACCESS_CONTROL_POINT) else {
            return Ok(Collected::Everything);
        };
        let revision = link.spool.down().revision();
        let known = link.spool.high_water(self.meter.id).await?;
        let policy = Policy {
            idle_timeout: Duration::from_millis(link.settings.answer_ms),
            ..Policy::default()
        };
        let mut sync = GlucoseSync::new(policy, known);
        let start = link.clock.monotonic();
        let elapsed = || link.clock.monotonic().saturating_sub(start);
        let mut actions = sync.handle(elapsed(), Event::Start);
        loop {
            let mut outcome: Option<Outcome> = None;
            while !actions.is_empty() {
                let mut next = Vec::new();
                for action in actions {
                    match action {
                        Action::Write(bytes) => {
                            let write = self.peripheral.write(&control, &bytes, WriteType::WithResponse);
                            if let Err(fault) =
                                within(link.settings.operation_ms, "write to the control point", write).await
                            {
                                tracing::debug!(meter.id = %self.meter.id, error = chain(&fault), "control point refused");
                                next.extend(sync.handle(
                                    elapsed(),
                                    Event::WriteFailed {
                                        att_error: att_error(&chain(&fault)),
                                    },
                                ));
                            }
                        }
                        Action::Finished(how) => outcome = Some(how),
                    }
                }
                actions = next;
            }
            if let Some(outcome) = outcome {
                self.note_outcome(&outcome, revision).await?;
                return Ok(Collected::Everything);
            }
            let wake = sync
                .deadline()
                .map(|deadline| Instant::now() + deadline.saturating_sub(elapsed()));
            // All branches are cancel-safe; what they lead to is awaited outside.
            actions = tokio::select! {
                value = self.values.next() => {
                    let Some(value) = value else { return Ok(Collected::Interrupted) };
                    let taken = self.take_ready(value);
                    self.hand_on(taken.clone()).await?;
                    // The conversation may only know what is durable.
                    self.flush().await?;
                    taken.iter().flat_map(|(characteristic, raw)| match *characteristic {
                        uuid16::GLUCOSE_MEASUREMENT => sync.handle(elapsed(), Event::Measurement(raw)),
                        uuid16::GLUCOSE_CONTEXT => sync.handle(elapsed(), Event::Context(raw)),
                        uuid16::RECORD_ACCESS_CONTROL_POINT => sync.handle(elapsed(), Event::ControlPoint(raw)),
                        _ => Vec::new(),
                    }).collect()
                },
                changed = self.parts.gone.changed() => {
                    if changed.is_err() || self.is_connected().await != Some(true) {
                        self.hand_on_stragglers().await?;
                        sync.handle(elapsed(), Event::LinkLost)
                    } else {
                        Vec::new()
                    }
                }
                () = wait_until(wake) => sync.handle(elapsed(), Event::Tick),
                // What was delivered is durable; the rest is asked for again.
                () = soft.cancelled() => sync.handle(elapsed(), Event::LinkLost),
            };
        }
    }

    async fn note_outcome(&mut self, outcome: &Outcome, revision: u64) -> Result<(), LinkFault> {
        let meter = self.meter.id;
        match outcome {
            Outcome::Complete {
                delivered,
                reset_detected,
                ..
            } => {
                tracing::info!(meter.id = %meter, delivered, reset_detected, "glucose records are fetched");
            }
            Outcome::NoRecords { .. } => tracing::info!(meter.id = %meter, "meter holds no glucose records"),
            Outcome::Aborted { reason, delivered, .. } => {
                tracing::warn!(meter.id = %meter, delivered, reason = ?reason, "fetching glucose records broke off");
            }
        }
        let stored = self
            .parts
            .link
            .spool
            .set_high_water(meter, outcome.high_water(), revision)
            .await;
        match stored {
            Ok(_) => Ok(()),
            // The records are durable; without the mark they are asked for once more.
            Err(error) if error.disposition() == Disposition::Retry => {
                tracing::warn!(meter.id = %meter, error = chain(&error), "the mark of the newest record is not kept");
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The value and whatever else is there already, as far as it is of interest.
    fn take_ready(&mut self, first: ValueNotification) -> Vec<(u16, Vec<u8>)> {
        let mut taken: Vec<(u16, Vec<u8>)> = as_known(first).into_iter().collect();
        while taken.len() < TAKE {
            match self.values.next().now_or_never() {
                Some(Some(value)) => taken.extend(as_known(value)),
                Some(None) | None => break,
            }
        }
        taken
    }

    /// Gives records to the capture task. A full queue holds the meter's stream back.
    async fn hand_on(&mut self, values: Vec<(u16, Vec<u8>)>) -> Result<(), LinkFault> {
        for (characteristic, raw) in values {
            if characteristic == uuid16::RECORD_ACCESS_CONTROL_POINT {
                continue;
            }
            self.records += u64::from(characteristic != uuid16::GLUCOSE_CONTEXT);
            let received_at = self.parts.link.clock.now();
            self.send(Message::Packet {
                link: self.link,
                characteristic,
                raw,
                received_at,
            })
            .await?;
        }
        Ok(())
    }

    /// Hands on what was heard before the end but not yet read from the stream.
    async fn hand_on_stragglers(&mut self) -> Result<(), LinkFault> {
        while let Ok(Some(value)) = timeout(STRAGGLERS, self.values.next()).await {
            let taken = self.take_ready(value);
            self.hand_on(taken).await?;
        }
        Ok(())
    }

    /// Waits until everything handed on is durable.
    async fn flush(&mut self) -> Result<(), LinkFault> {
        let (done, answer) = oneshot::channel();
        self.send(Message::Flush { done }).await?;
        answer.await.map_err(|_| LinkFault::CaptureGone)
    }

    async fn send(&mut self, message: Message) -> Result<(), LinkFault> {
        self.parts
            .packets
            .send(message)
            .await
            .map_err(|_| LinkFault::CaptureGone)
    }

    /// Whether the meter is connected; `None` if the bus does not answer, which is noted.
    async fn is_connected(&mut self) -> Option<bool> {
        let limit = self.parts.link.settings.probe_ms;
        let asked = within(
            limit,
            "ask whether a meter is connected",
            self.peripheral.is_connected(),
        )
        .await;
        self.bus_lost |= asked.is_err();
        asked.ok()
    }

    /// Ends every subscription, so that the next link's first indication waits for its listener.
    async fn unsubscribe(&mut self) {
        for characteristic in std::mem::take(&mut self.subscribed) {
            let limit = self.parts.link.settings.operation_ms;
            let result = within(limit, "unsubscribe", self.peripheral.unsubscribe(&characteristic)).await;
            if let Err(fault) = result {
                // Of a meter that has gone, there is nothing to unsubscribe from.
                tracing::debug!(meter.id = %self.meter.id, error = chain(&fault), "unsubscribing failed");
            }
        }
    }
}

/// The characteristics that are listened to; a read of another also looks like a notification.
fn as_known(value: ValueNotification) -> Option<(u16, Vec<u8>)> {
    [
        uuid16::BLOOD_PRESSURE_MEASUREMENT,
        uuid16::GLUCOSE_MEASUREMENT,
        uuid16::GLUCOSE_CONTEXT,
        uuid16::RECORD_ACCESS_CONTROL_POINT,
    ]
    .into_iter()
    .find(|known| uuid_from_u16(*known) == value.uuid)
    .map(|known| (known, value.value))
}

async fn wait_until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
