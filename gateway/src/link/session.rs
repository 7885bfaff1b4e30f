//! One link to one meter: connect, discover, subscribe, collect, and disconnect whatever happened.

mod about;
mod clock;
mod glucose;
mod goodbye;
mod kept;
mod opening;

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
use super::connect::{connect, disconnect, is_in_progress, jittered};
use super::seen::Seen;
use super::watch::{News, is_bonded};
use super::{LinkFault, LinkParts, within};
use crate::admit::chain;
use crate::board::LinkState;
use crate::spool::LinkEnd;
use opening::{Open, Value};

pub(super) use goodbye::STRAGGLERS;
pub(super) use kept::Kept;

/// Values that are handed on together.
const TAKE: usize = 512;
/// Silence on a standing link after which a meter that hangs up has sent everything: cuffs wait 2 to 5 s after their last
/// record (page 3, section 2.8), and no cuff takes so long from one record to the next.
const QUIET: Duration = Duration::from_millis(1_500);
/// How long the objects of a meter's services may lag behind the word that they are resolved (bluez/bluez#1489).
const OBJECTS_LAG: Duration = Duration::from_secs(3);

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
    /// Who can be asked whether the meter has a bond.
    pub(super) news: watch::Receiver<News>,
    /// How often the Bluetooth service had gone when this adapter's scanner began.
    pub(super) service: u64,
    /// The meter's object path.
    pub(super) path: String,
}

/// What is left of a session.
pub(super) struct Ended {
    pub(super) end: SessionEnd,
    /// Its notification session, if that outlives the link.
    pub(super) kept: Option<Kept>,
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
    /// Everything that came was heard, and nobody knows whether the meter had more: it was gone right after a record.
    HungUp,
    /// Something may have come that nobody heard.
    Interrupted,
}

struct Session {
    parts: SessionParts,
    meter: Arc<Meter>,
    peripheral: Peripheral,
    open: Open,
    values: Values,
    /// A notification session of ours stood before the link.
    stands: bool,
    /// It stood before the link did, so that nothing was sent that it did not hear.
    whole: bool,
    /// Something came before the link, over one that was not ours.
    heard_early: bool,
    subscribed: Vec<Characteristic>,
    /// How to talk to this meter.
    talk: TalkQuirks,
    records: u64,
    /// What the meter refused, in the service's words.
    refused: Option<String>,
    /// A subscription was not answered: the meter will not answer either when it is taken back.
    unanswered: bool,
    /// The bus did not answer: there is nobody to say goodbye to.
    bus_lost: bool,
}

/// Reads one meter. Not cancel-safe: it must be awaited to its end. That comes after the tries to connect,
/// `bluetooth.session_ms`, and the goodbye, each of whose steps has its own limit; a hard stop cuts all but the tries short.
pub(super) async fn run(parts: SessionParts, meter: Meter, peripheral: Peripheral, kept: Option<Kept>) -> Ended {
    let meter = Arc::new(meter);
    parts.say(LinkState::Connecting { meter: meter.id });
    let talk = match about::known_talk(&parts, &meter).await {
        Ok(talk) => talk,
        Err(error) => {
            let end = SessionEnd::Failed(error.into());
            return Ended { end, kept };
        }
    };
    let mut kept = match kept {
        Some(kept) => kept,
        None => {
            // Before connecting, and on the same handle that discovers: values of characteristics that another handle
            // discovered do not reach this stream, and an indication that nobody hears is confirmed all the same.
            let limit = parts.link.settings.operation_ms;
            match within(limit, "listen to a meter", peripheral.notifications()).await {
                Ok(values) => Kept::new(peripheral, values, &parts.link.clock),
                Err(fault) => {
                    let end = SessionEnd::NotConnected(fault);
                    return Ended { end, kept: None };
                }
            }
        }
    };
    // A meter with a bond may have its subscription on from before, and send as soon as the link is encrypted.
    let mut whole = kept.stands;
    if !kept.stands && meter.kind.sends_by_itself() && (talk.keep_session || parts.is_bonded().await != Some(false)) {
        // On a link that stands already, it may have sent something before.
        let asked = within(
            parts.link.settings.probe_ms,
            "ask whether a meter is connected",
            kept.peripheral.is_connected(),
        );
        let linked = matches!(asked.await, Ok(true));
        kept.stands = kept::subscribe_early(&parts, meter.kind, &kept.peripheral).await;
        whole = kept.stands && !linked;
    }
    kept.for_good = talk.keep_session;
    match opened(parts, &meter, talk, kept, whole).await {
        Ok(session) => session.conduct().await,
        Err(ended) => *ended,
    }
}

/// Connects, and notes that the link stands. What a kept session heard meanwhile is written down before anything else is
/// tried, whether a link comes of it or not.
async fn opened(
    mut parts: SessionParts,
    meter: &Arc<Meter>,
    talk: TalkQuirks,
    mut kept: Kept,
    whole: bool,
) -> Result<Session, Box<Ended>> {
    let mut early = None;
    if kept.drain(&parts.link.clock) {
        match open_early(&parts, meter, &mut kept).await {
            Ok(open) => early = Some(open),
            Err(fault) => return Err(ended(SessionEnd::Failed(fault), kept)),
        }
    }
    parts.gone.borrow_and_update();
    // With the service, every connection ends, and every notification session: on a link that is made after that, a meter
    // would send to nobody. Both branches may be dropped: what is left of a connection is ended below.
    let connected = tokio::select! {
        biased;
        () = lost(&parts) => Err(LinkFault::ServiceLost),
        connected = connect(&parts.link, &parts.soft, meter, &kept.peripheral) => connected,
    };
    let connected = connected.map_err(|fault| if parts.is_lost() { LinkFault::ServiceLost } else { fault });
    let not_before = match connected {
        Ok(not_before) => not_before,
        Err(fault) => {
            if let Some(open) = early {
                drop(open.close(LinkEnd::HungUp));
            }
            if matches!(fault, LinkFault::ServiceLost) {
                // The call may have reached the service that came after. The answer comes behind everything that the one
                // before had said.
                let ending = kept.peripheral.disconnect();
                within(parts.link.settings.probe_ms, "disconnect", ending).await.ok();
                kept.lose_session(&parts, meter).await;
            }
            return Err(ended(SessionEnd::NotConnected(fault), kept));
        }
    };
    let heard_early = early.is_some();
    let open = match early {
        Some(open) => Ok(open),
        None => {
            let stood = parts.link.clock.monotonic();
            Open::new(&parts.link, &parts.packets, meter, not_before, stood).await
        }
    };
    let open = match open {
        Ok(open) => open,
        Err(fault) => {
            disconnect(&parts.link, &kept.peripheral).await;
            return Err(ended(SessionEnd::Failed(fault), kept));
        }
    };
    tracing::info!(meter.id = %meter.id, adapter = parts.adapter, "meter is connected");
    parts.say(LinkState::Reading { meter: meter.id });
    Ok(Session {
        parts,
        meter: Arc::clone(meter),
        peripheral: kept.peripheral,
        open,
        values: kept.values,
        stands: kept.stands,
        whole,
        heard_early,
        subscribed: Vec::new(),
        talk,
        records: 0,
        refused: None,
        unanswered: false,
        bus_lost: false,
    })
}

/// A link for what was heard outside of one. When it began nobody knows: not before there was nothing to be heard yet.
async fn open_early(parts: &SessionParts, meter: &Arc<Meter>, kept: &mut Kept) -> Result<Open, LinkFault> {
    let stood = parts.link.clock.monotonic();
    let open = Open::new(&parts.link, &parts.packets, meter, kept.since(), stood).await?;
    for value in kept.take_early() {
        open.hand_on(value).await?;
    }
    Ok(open)
}

/// Resolves when the Bluetooth service has gone since the adapter's scanner began.
fn lost(parts: &SessionParts) -> impl Future<Output = ()> + use<> {
    let (mut news, before) = (parts.news.clone(), parts.service);
    async move {
        if news.wait_for(|news| news.service_lost != before).await.is_err() {
            // Nobody follows the bus any more.
            std::future::pending().await
        }
    }
}

/// What is left without a link. A session that stands is held on to: what it hears is heard by nobody else.
fn ended(end: SessionEnd, kept: Kept) -> Box<Ended> {
    let kept = (kept.stands || kept.has_heard()).then_some(kept);
    Box::new(Ended { end, kept })
}

impl SessionParts {
    fn say(&self, state: LinkState) {
        self.link.board.set_adapter(&self.adapter, state);
    }

    /// Whether the Bluetooth service has gone since the adapter's scanner began, as far as is known.
    fn is_lost(&self) -> bool {
        self.news.borrow().service_lost != self.service
    }

    /// Whether the meter has a bond with this adapter, as far as is known.
    async fn is_bonded(&self) -> Option<bool> {
        is_bonded(&self.news, &self.path).await
    }
}

impl Session {
    async fn conduct(mut self) -> Ended {
        let limit = Duration::from_millis(self.parts.link.settings.session_ms);
        let hard = self.parts.hard.clone();
        let talk = async {
            self.note_gap_of_lost_session().await?;
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
        self.say_goodbye(result).await
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
        let settings = self.parts.link.settings.clone();
        let mut tries_left = settings.discover_tries;
        let objects_by = Instant::now() + OBJECTS_LAG;
        loop {
            match self.look_at_services(settings.operation_ms).await? {
                // The services may be announced before their objects are there.
                Ok(()) if !self.peripheral.services().is_empty() => return Ok(()),
                Ok(()) if Instant::now() < objects_by => {}
                Ok(()) => {
                    return Err(LinkFault::Bus {
                        attempted: "discover services",
                        source: btleplug::Error::NoSuchCharacteristic,
                    });
                }
                // Silence is not mended by asking again.
                Err(fault @ (LinkFault::NoAnswer { .. } | LinkFault::ServiceLost)) => return Err(fault),
                Err(fault) if tries_left <= 1 => return Err(fault),
                _ => tries_left -= 1,
            }
            sleep(jittered(settings.retry_ms, self.parts.link.entropy.bytes())).await;
        }
    }

    /// Asks the Bluetooth service once. The stream gives values of those characteristics only that its handle knows when it is
    /// asked: what came by a session that stood before the link is taken before the handle forgets them, for a service that
    /// has been restarted meanwhile answers that there are none.
    async fn look_at_services(&mut self, limit: u64) -> Result<Result<(), LinkFault>, LinkFault> {
        let peripheral = self.peripheral.clone();
        let asked = within(limit, "discover services", peripheral.discover_services());
        let lost = lost(&self.parts);
        // Both may be dropped: the handle changes with the last step of the discovery only.
        let asked = async {
            tokio::select! {
                biased;
                () = lost => Err(LinkFault::ServiceLost),
                asked = asked => asked,
            }
        };
        if self
            .characteristic(self.meter.kind.service(), self.meter.kind.characteristic())
            .is_some()
        {
            self.while_listening(asked).await
        } else {
            // The stream keeps what comes until the handle knows whose it is.
            Ok(asked.await)
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
        let limit = self.parts.link.settings.operation_ms;
        match within(limit, "subscribe", self.peripheral.subscribe(&found)).await {
            // The service takes the session up that stood before.
            Err(fault) if self.stands && is_in_progress(&chain(&fault)) => Ok(()),
            other => {
                self.unanswered |= matches!(other, Err(LinkFault::NoAnswer { .. }));
                other
            }
        }
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
        let mut last = Instant::now();
        // Known to have been silent on a standing link.
        let mut quiet = false;
        loop {
            let asks_at = last + if quiet { idle } else { idle.min(QUIET) };
            // All branches are cancel-safe; what a value leads to is awaited outside.
            let silent = tokio::select! {
                value = self.values.next() => match value {
                    Some(value) => {
                        let taken = self.take_ready(value);
                        self.hand_on(taken).await?;
                        (last, quiet) = (Instant::now(), false);
                        continue;
                    }
                    None => return Ok(Collected::Interrupted),
                },
                _ = self.parts.gone.changed() => false,
                // Silence of the bus looks like silence of the cuff until it is asked.
                () = sleep_until(asks_at) => true,
                () = hard.cancelled() => return Ok(Collected::Interrupted),
            };
            match self.is_connected().await {
                None => return Ok(Collected::Interrupted),
                Some(true) if silent && last.elapsed() >= idle => return Ok(Collected::Everything),
                Some(true) => quiet |= silent,
                Some(false) if quiet || self.records == 0 => return Ok(Collected::Everything),
                Some(false) => return Ok(Collected::HungUp),
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
            let value = Value {
                characteristic,
                raw,
                received_at: self.parts.link.clock.now(),
                heard: self.parts.link.clock.monotonic(),
            };
            self.open.hand_on(value).await?;
        }
        Ok(())
    }

    /// Awaits an operation while what the meter sends meanwhile is handed on. The operation is bounded by itself.
    async fn while_listening<T>(&mut self, operation: impl Future<Output = T>) -> Result<T, LinkFault> {
        let mut operation = std::pin::pin!(operation);
        loop {
            // Both branches are cancel-safe; what a value leads to is awaited outside. What has come is taken before the
            // operation goes on, which may change what the stream understands.
            let value = tokio::select! {
                biased;
                value = self.values.next() => value,
                done = &mut operation => return Ok(done),
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

    /// Asks to be told when everything handed on so far is durable.
    async fn flush(&mut self) -> Result<oneshot::Receiver<()>, LinkFault> {
        let (done, answer) = oneshot::channel();
        self.send(Message::Flush { done }).await?;
        Ok(answer)
    }

    async fn send(&mut self, message: Message) -> Result<(), LinkFault> {
        self.open.send(message).await
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
