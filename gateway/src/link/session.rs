//! One link to one meter: connect, discover, subscribe, collect, and disconnect whatever happened.

mod about;
mod clock;
mod glucose;
mod kept;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use btleplug::api::bleuuid::uuid_from_u16;
use btleplug::api::{Characteristic, Peripheral as _, ValueNotification};
use btleplug::platform::Peripheral;
use carepost_daemon::CancellationToken;
use carepost_domain::meter::{Meter, MeterKind, MeterRole};
use carepost_domain::quirks::TalkQuirks;
use carepost_gatt::uuid16;
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::capture::Message;
use super::connect::{connect, disconnect, jittered};
use super::seen::Seen;
use super::{LinkFault, LinkParts, within};
use crate::admit::chain;
use crate::board::LinkState;
use crate::spool::{LinkEnd, LinkId};

pub(super) use kept::Kept;

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
    /// Name of the adapter.
    pub(super) adapter: String,
    /// What the meter says of itself on the air.
    pub(super) seen: Seen,
}

/// What is left of a session.
pub(super) struct Ended {
    pub(super) end: SessionEnd,
    /// Its notification session, if that outlives the link.
    pub(super) kept: Option<Kept>,
}

impl Ended {
    fn with(end: SessionEnd) -> Self {
        Self { end, kept: None }
    }
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
    /// How to talk to this meter.
    talk: TalkQuirks,
    records: u64,
    /// The bus did not answer: there is nobody to say goodbye to.
    bus_lost: bool,
}

/// Reads one meter. Not cancel-safe: it must be awaited to its end, which is bounded.
pub(super) async fn run(mut parts: SessionParts, meter: Meter, peripheral: Peripheral, kept: Option<Kept>) -> Ended {
    let meter = Arc::new(meter);
    let settings = parts.link.settings.clone();
    parts.say(LinkState::Connecting { meter: meter.id });
    let talk = match about::known_talk(&parts, &meter).await {
        Ok(talk) => talk,
        Err(error) => return Ended::with(SessionEnd::Failed(error.into())),
    };
    let (peripheral, values, early, mut heard_all) = match kept {
        Some(kept) => kept.resume(),
        None => {
            // Before connecting, and on the same handle that discovers: values of characteristics that another handle
            // discovered do not reach this stream, and an indication that nobody hears is confirmed all the same.
            match within(settings.operation_ms, "listen to a meter", peripheral.notifications()).await {
                Ok(values) => (peripheral, values, Vec::new(), false),
                Err(fault) => return Ended::with(SessionEnd::NotConnected(fault)),
            }
        }
    };
    if talk.keep_session && !heard_all {
        heard_all = kept::subscribe_early(&parts, meter.kind, &peripheral).await;
    }
    if let Err(fault) = connect(&parts.link, &parts.soft, &peripheral).await {
        let kept = heard_all.then(|| Kept::new(peripheral, values, early));
        return Ended {
            end: SessionEnd::NotConnected(fault),
            kept,
        };
    }
    parts.gone.borrow_and_update();
    let opened = parts.link.clock.monotonic();
    let opened_at = parts.link.clock.now();
    let link = match parts.link.spool.open_link(meter.id, meter.kind, opened_at).await {
        Ok(link) => link,
        Err(error) => {
            disconnect(&parts.link, &peripheral).await;
            // What was heard already is not lost with a full disk.
            let kept = (talk.keep_session && heard_all).then(|| Kept::new(peripheral, values, early));
            return Ended {
                end: SessionEnd::Failed(error.into()),
                kept,
            };
        }
    };
    tracing::info!(meter.id = %meter.id, adapter = parts.adapter, "meter is connected");
    parts.say(LinkState::Reading { meter: meter.id });
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
        talk,
        records: 0,
        bus_lost: false,
    };
    let end = session.conduct(opened, early, heard_all).await;
    let keep = session.talk.keep_session && !session.bus_lost && !session.subscribed.is_empty();
    let kept = keep.then(|| Kept::new(session.peripheral, session.values, Vec::new()));
    Ended { end, kept }
}

impl SessionParts {
    fn say(&self, state: LinkState) {
        self.link.board.set_adapter(&self.adapter, state);
    }
}

impl Session {
    /// `early` is what a kept session heard before the link; `heard_all` that it stood already when the link came.
    async fn conduct(&mut self, opened: Duration, early: Vec<ValueNotification>, heard_all: bool) -> SessionEnd {
        let opened = Message::Opened {
            link: self.link,
            meter: Arc::clone(&self.meter),
            at: opened,
        };
        let limit = Duration::from_millis(self.parts.link.settings.session_ms);
        let hard = self.parts.hard.clone();
        let talk = async {
            self.send(opened).await?;
            let early = early.into_iter().filter_map(as_known).collect();
            self.hand_on(early).await?;
            if !heard_all {
                self.note_gap_of_lost_session().await?;
            }
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
        if self.talk.keep_session && !self.subscribed.is_empty() {
            if let Err(error) = self.parts.link.spool.set_keeps_session(self.meter.id).await {
                tracing::warn!(meter.id = %self.meter.id, error = chain(&error), "that its session is kept is not noted");
            }
        } else if !self.bus_lost {
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
        // A shared meter may begin to send with the subscription, and whose that is only its clock can say. A member's own
        // meter is listened to first: it may not stay for long.
        let clock_first = self.meter.role == MeterRole::StoreShared;
        if clock_first {
            self.settle_clock().await?;
        }
        match self.meter.kind {
            // All of these indicate what they have as soon as they may.
            kind @ (MeterKind::BloodPressure
            | MeterKind::Weight
            | MeterKind::Temperature
            | MeterKind::OxygenSaturation) => {
                self.subscribe(kind.service(), kind.characteristic(), true).await?;
                if !clock_first {
                    self.settle_clock().await?;
                }
                self.learn_about().await?;
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
                if !clock_first {
                    self.settle_clock().await?;
                }
                self.learn_about().await?;
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
        kept::find(&self.peripheral, service, characteristic)
    }

    /// Silence after which the meter has sent everything.
    fn idle(&self) -> Duration {
        let usual = Duration::from_millis(self.parts.link.settings.idle_ms);
        self.talk.idle().map_or(usual, |own| own.min(usual))
    }

    /// Takes what a cuff sends by itself until it is silent or gone. A soft stop waits for the silence, because what the
    /// cuff sends into a closed subscription is lost.
    async fn listen_to_cuff(&mut self) -> Result<Collected, LinkFault> {
        let idle = self.idle();
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
            let heard = self.parts.link.clock.monotonic();
            self.send(Message::Packet {
                link: self.link,
                characteristic,
                raw,
                received_at,
                heard,
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

    /// Awaits an operation while what the meter sends meanwhile is handed on. The operation is bounded by itself.
    async fn while_listening<T>(&mut self, operation: impl Future<Output = T>) -> Result<T, LinkFault> {
        let mut operation = std::pin::pin!(operation);
        loop {
            // Both branches are cancel-safe; what a value leads to is awaited outside.
            let value = tokio::select! {
                done = &mut operation => return Ok(done),
                value = self.values.next() => value,
            };
            match value {
                Some(value) => {
                    let taken = self.take_ready(value);
                    self.hand_on(taken).await?;
                }
                // Nothing more can be heard; the operation says so too.
                None => return Ok(operation.await),
            }
        }
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
        uuid16::WEIGHT_MEASUREMENT,
        uuid16::TEMPERATURE_MEASUREMENT,
        uuid16::PLX_SPOT_CHECK,
        uuid16::GLUCOSE_MEASUREMENT,
        uuid16::GLUCOSE_CONTEXT,
        uuid16::RECORD_ACCESS_CONTROL_POINT,
    ]
    .into_iter()
    .find(|known| uuid_from_u16(*known) == value.uuid)
    .map(|known| (known, value.value))
}
