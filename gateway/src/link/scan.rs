//! Scanning: which of the devices around are meters that may be read now.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use btleplug::api::{Central as _, CentralEvent, CentralState, Peripheral as _, ScanFilter};
use btleplug::platform::{Adapter, Peripheral, PeripheralId};
use carepost_daemon::CancellationToken;
use carepost_domain::id::MeterId;
use carepost_domain::meter::{Address, AddressType, Meter, MeterRole};
use carepost_domain::quirks::{QuirkTable, Support, Traits};
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::capture::Message;
use super::claims::Claims;
use super::seen::{Seen, address_of, path_of};
use super::session::{self, Ended, Kept, SessionEnd, SessionParts};
use super::turn::Share;
use super::watch::{Farewell, News};
use super::{LinkFault, LinkParts, count, within};
use crate::board::{LinkState, Nearby};
use crate::spool::{Counter, LinkEnd};

/// Devices whose kind is remembered; when there are more, all are looked at again.
const MAX_CLASSES: usize = 1_024;
/// How often a device that nobody registered is asked for its name and strength while it advertises.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// How long one stream of events lives. What waits in it is at most what the air brings in this time: 4 MB of 2,000
/// advertisements a second.
const STREAM_LIVES: Duration = Duration::from_secs(2);
/// How often the adapter is asked whether it is there, during a scan: nothing says so when nobody is near.
const PROBE_EVERY: Duration = Duration::from_secs(5);
/// How often the streams of kept sessions are emptied while a meter is read: they hear every advertisement of theirs.
const DRAIN_EVERY: Duration = Duration::from_secs(5);
/// Pause before what a kept session heard is written down again after there was no room.
const WRITE_AGAIN: Duration = Duration::from_secs(1);
/// Sessions that are kept between links. Each has two match rules on the bus, which allows 512 of them (page 3, 3.2).
const MAX_KEPT: usize = 128;
/// Scans that do not start, one after the other, before the way to the adapter is built anew.
const MAX_FAILED_SCANS: u32 = 3;

type Events = Pin<Box<dyn Stream<Item = CentralEvent> + Send>>;

/// What a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// A meter of the copy.
    Registered(MeterId),
    /// A meter that nobody registered; looked at then.
    Unregistered(Instant),
    /// Something else, as far as is known by these services.
    Other(u64),
}

/// How one stream of events ended.
enum Heard {
    /// With a meter to be connected now.
    Due(Box<Due>),
    /// With the scan.
    Nothing,
    /// It has lived long enough.
    Enough,
}

/// Owns one adapter while it is there.
pub(super) struct Scanner {
    parts: LinkParts,
    packets: mpsc::Sender<Message>,
    soft: CancellationToken,
    hard: CancellationToken,
    /// The adapter's name.
    name: String,
    claims: Claims,
    news: watch::Receiver<News>,
    /// What the news were when this scanner began.
    began_with: (u64, u64),
    classes: HashMap<PeripheralId, Class>,
    /// Revision of the copy that `classes` were found with.
    classes_of: u64,
    /// Sessions that outlive their links.
    kept: HashMap<MeterId, Kept>,
    /// Scans that did not start since one did.
    failed_scans: u32,
}

/// A meter to be connected now.
struct Due {
    meter: Meter,
    peripheral: Peripheral,
    seen: Seen,
}

impl Scanner {
    pub(super) fn new(
        parts: LinkParts,
        packets: mpsc::Sender<Message>,
        soft: CancellationToken,
        hard: CancellationToken,
        name: String,
        claims: Claims,
        news: watch::Receiver<News>,
    ) -> Self {
        let began_with = marks(&news, &name);
        Self {
            parts,
            packets,
            soft,
            hard,
            name,
            claims,
            news,
            began_with,
            classes: HashMap::new(),
            classes_of: 0,
            kept: HashMap::new(),
            failed_scans: 0,
        }
    }

    /// Scans and reads until `soft` is cancelled.
    pub(super) async fn operate(&mut self, adapter: &Adapter) -> Result<(), LinkFault> {
        let result = self.work(adapter).await;
        let kept = self.kept.values().next().map(Kept::peripheral);
        if let Some(asked) = kept.filter(|_| result.is_err()) {
            // That the service has gone may be known before the last of what it said, behind which this is answered.
            let answer = within(
                self.parts.settings.probe_ms,
                "ask whether a meter is connected",
                asked.is_connected(),
            );
            answer.await.ok();
            sleep(session::STRAGGLERS).await;
        }
        let left = self.give_up_kept().await;
        result.and(left)
    }

    /// Writes down what the kept sessions have heard, which nobody will listen to any more. While there is no room on the
    /// disk, this adapter could not be used for anything else.
    async fn give_up_kept(&mut self) -> Result<(), LinkFault> {
        let copy = self.parts.spool.down();
        let now = self.parts.clock.now();
        for (meter, mut kept) in std::mem::take(&mut self.kept) {
            // Of a meter that may not be read any more, nothing is heard either.
            let Some(meter) = copy.meter(meter).filter(|meter| copy.may_read(meter, now)) else {
                continue;
            };
            let meter = Arc::new(meter.clone());
            while let Err(fault) = kept.write_down(&self.parts, &self.packets, &meter).await {
                if !fault.may_pass() {
                    return Err(fault);
                }
                if self.parts.board.adapter(&self.name) != Some(fault.state()) {
                    tracing::error!(meter.id = %meter.id, error = crate::admit::chain(&fault), "what a meter sent is not written down yet");
                    self.say(fault.state());
                }
                tokio::select! {
                    () = sleep(WRITE_AGAIN) => {}
                    () = self.hard.cancelled() => {
                        tracing::error!(meter.id = %meter.id, "what a meter sent could not be written down before the stop");
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    async fn work(&mut self, adapter: &Adapter) -> Result<(), LinkFault> {
        let settings = self.parts.settings.clone();
        while !self.soft.is_cancelled() {
            let Some(share) = self.share().await? else {
                break;
            };
            within(settings.probe_ms, "ask for the adapter", adapter.adapter_info()).await?;
            let state = within(
                settings.probe_ms,
                "ask for the adapter's state",
                adapter.adapter_state(),
            )
            .await?;
            if state != CentralState::PoweredOn {
                // Scanning would switch it on, against the wish of whoever switched it off.
                if self.parts.board.adapter(&self.name) != Some(LinkState::AdapterOff) {
                    tracing::warn!(adapter = self.name, "bluetooth adapter is switched off");
                    self.say(LinkState::AdapterOff);
                }
                drop(share);
                self.rest(settings.rebuild_ms).await?;
                continue;
            }
            let due = match self.calling() {
                Some(due) => Some(due),
                None => self.scan(adapter).await?,
            };
            match due {
                Some(due) => self.read(due).await?,
                None => {
                    drop(share);
                    self.rest(settings.pause_ms).await?;
                }
            }
        }
        Ok(())
    }

    fn say(&self, state: LinkState) {
        self.parts.board.set_adapter(&self.name, state);
    }

    /// Waits for this scanner's share of the radio. Nothing at a stop.
    async fn share(&mut self) -> Result<Option<Share>, LinkFault> {
        if self.parts.turns.is_wanted() {
            tracing::info!(adapter = self.name, "adapter is left to whoever pairs a meter");
            self.say(LinkState::Lent);
        }
        let turns = self.parts.turns.clone();
        let mut share = std::pin::pin!(turns.share());
        loop {
            // All branches are cancel-safe; the request is polled to its end.
            tokio::select! {
                share = &mut share => return Ok(Some(share)),
                Ok(()) = self.news.changed() => self.heard()?,
                () = self.soft.cancelled() => return Ok(None),
            }
        }
    }

    /// Whether the news say that this adapter is lost.
    fn heard(&self) -> Result<(), LinkFault> {
        let (service, removed) = marks(&self.news, &self.name);
        if service != self.began_with.0 {
            Err(LinkFault::ServiceLost)
        } else if removed != self.began_with.1 {
            let name = self.name.clone();
            Err(LinkFault::NoAdapter { name })
        } else {
            Ok(())
        }
    }

    /// A meter whose kept session heard something outside of a link of ours.
    fn calling(&mut self) -> Option<Due> {
        let copy = self.parts.spool.down();
        let now = self.parts.clock.now();
        // Of a meter that may not be read any more, nothing is heard either.
        self.kept
            .retain(|meter, _| copy.meter(*meter).is_some_and(|meter| copy.may_read(meter, now)));
        let clock = &self.parts.clock;
        let called = |(meter, kept): (&MeterId, &mut Kept)| kept.drain(clock).then_some((*meter, kept.peripheral()));
        let (meter, peripheral) = self.kept.iter_mut().find_map(called)?;
        self.claims.hasten(meter);
        Some(Due {
            meter: copy.meter(meter)?.clone(),
            peripheral,
            seen: Seen::default(),
        })
    }

    /// One scan: until a meter is due, the scan's time is over, the adapter is wanted elsewhere or `soft` is cancelled. The
    /// adapter does not scan when this returns.
    async fn scan(&mut self, adapter: &Adapter) -> Result<Option<Due>, LinkFault> {
        let settings = self.parts.settings.clone();
        // No filter by service: it is merged with other programs' filters anyway, and cuffs exist that do not advertise
        // what they have.
        if let Err(fault) = within(
            settings.probe_ms,
            "start a scan",
            adapter.start_scan(ScanFilter::default()),
        )
        .await
        {
            // A scan of ours that was not stopped; stopping it lets the next start succeed.
            tracing::debug!(error = crate::admit::chain(&fault), "scan does not start");
            within(settings.probe_ms, "stop a scan", adapter.stop_scan()).await.ok();
            self.failed_scans += 1;
            return if self.failed_scans < MAX_FAILED_SCANS {
                Ok(None)
            } else {
                Err(fault)
            };
        }
        self.failed_scans = 0;
        if self.parts.board.adapter(&self.name) != Some(LinkState::Scanning) {
            tracing::info!(adapter = self.name, "scanning for meters");
            self.say(LinkState::Scanning);
        }
        let due = self.listen(adapter).await;
        // The adapter may have been switched off meanwhile, which ended the scan too.
        within(settings.probe_ms, "stop a scan", adapter.stop_scan()).await.ok();
        due
    }

    async fn listen(&mut self, adapter: &Adapter) -> Result<Option<Due>, LinkFault> {
        let until = Instant::now() + Duration::from_millis(self.parts.settings.scan_ms);
        let mut probe_at = Instant::now() + PROBE_EVERY;
        loop {
            match self.hear(adapter, until, &mut probe_at).await? {
                Heard::Due(due) => return Ok(Some(*due)),
                Heard::Nothing => return Ok(None),
                Heard::Enough => {}
            }
        }
    }

    /// Follows the air with one stream of events. btleplug asks the Bluetooth service for all of a device at each of its
    /// advertisements, one after the other, in front of a queue without a bound: on air that is faster than that, the queue
    /// would grow for as long as the stream lives. A new stream begins with what the service knows by now, so that nothing
    /// is missed with what the old one had not got to.
    async fn hear(&mut self, adapter: &Adapter, until: Instant, probe_at: &mut Instant) -> Result<Heard, LinkFault> {
        let limit = self.parts.settings.probe_ms;
        let turns = self.parts.turns.clone();
        let mut events: Events = within(limit, "follow the adapter", adapter.events()).await?;
        let enough = Instant::now() + STREAM_LIVES;
        // Its first events are there at once, and are the devices that the service knows: for one that is still connected,
        // no other will come. However short the scan is, they are looked at.
        while let Some(event) = events.next().now_or_never() {
            let event = event.ok_or(LinkFault::EventsEnded)?;
            if let Some(end) = self.take(adapter, event).await? {
                return Ok(end);
            }
        }
        loop {
            // All branches are cancel-safe.
            let event = tokio::select! {
                event = events.next() => event.ok_or(LinkFault::EventsEnded)?,
                () = sleep_until(until) => return Ok(Heard::Nothing),
                () = sleep_until(enough) => return Ok(Heard::Enough),
                () = sleep_until(*probe_at) => {
                    *probe_at = Instant::now() + PROBE_EVERY;
                    within(limit, "ask for the adapter", adapter.adapter_info()).await?;
                    match self.calling() {
                        Some(due) => return Ok(Heard::Due(Box::new(due))),
                        None => continue,
                    }
                }
                Ok(()) = self.news.changed() => {
                    self.heard()?;
                    continue;
                }
                () = turns.wanted() => return Ok(Heard::Nothing),
                () = self.soft.cancelled() => return Ok(Heard::Nothing),
            };
            if let Some(end) = self.take(adapter, event).await? {
                return Ok(end);
            }
        }
    }

    /// Takes one event. Something if the stream is done with.
    async fn take(&mut self, adapter: &Adapter, event: CentralEvent) -> Result<Option<Heard>, LinkFault> {
        let found = match event {
            CentralEvent::DeviceDiscovered(id) => self.consider(adapter, &id, false).await?,
            CentralEvent::ServicesAdvertisement { id, services } => {
                // What it is may be known only now.
                let services = fingerprint(&services);
                if matches!(self.classes.get(&id), Some(Class::Other(known)) if *known != services) {
                    self.classes.remove(&id);
                }
                self.consider(adapter, &id, false).await?
            }
            CentralEvent::RssiUpdate { id, .. }
            | CentralEvent::ManufacturerDataAdvertisement { id, .. }
            | CentralEvent::ServiceDataAdvertisement { id, .. } => self.consider(adapter, &id, true).await?,
            CentralEvent::StateUpdate(CentralState::PoweredOff) => return Ok(Some(Heard::Nothing)),
            _ => None,
        };
        Ok(found.map(|due| Heard::Due(Box::new(due))))
    }

    /// Looks at one device. `heard` says that an advertisement of it was heard just now; otherwise the Bluetooth service
    /// may only remember it.
    async fn consider(&mut self, adapter: &Adapter, id: &PeripheralId, heard: bool) -> Result<Option<Due>, LinkFault> {
        let copy = self.parts.spool.down();
        if self.classes_of != copy.revision() || self.classes.len() >= MAX_CLASSES {
            self.classes.clear();
            self.classes_of = copy.revision();
        }
        let now = self.parts.clock.now();
        match self.classes.get(id) {
            Some(Class::Other(_)) => return Ok(None),
            Some(Class::Registered(meter)) => {
                let may = copy.meter(*meter).is_some_and(|meter| copy.may_read(meter, now));
                if !may || !self.claims.is_due(*meter, &self.name) {
                    return Ok(None);
                }
            }
            Some(Class::Unregistered(at)) if !heard || at.elapsed() < LOOK_AGAIN => return Ok(None),
            Some(Class::Unregistered(_)) | None => {}
        }
        // Devices come and go: one that cannot be asked is not there any more.
        let limit = self.parts.settings.probe_ms;
        let Ok(peripheral) = within(limit, "find a device", adapter.peripheral(id)).await else {
            return Ok(None);
        };
        let Ok(Some(properties)) = within(limit, "ask for a device", peripheral.properties()).await else {
            return Ok(None);
        };
        let seen = Seen::of(&properties);
        let services = fingerprint(&properties.services);
        let address = address_of(&properties);
        let meter = address
            .and_then(|(address, kind)| copy.meter_at(address, kind))
            .cloned();
        let Some(meter) = meter else {
            let here = heard || properties.rssi.is_some();
            let class = match address {
                Some(address) if self.note_stranger(id, address, seen, properties.rssi, here).await? => {
                    Class::Unregistered(Instant::now())
                }
                _ => Class::Other(services),
            };
            self.classes.insert(id.clone(), class);
            return Ok(None);
        };
        self.classes.insert(id.clone(), Class::Registered(meter.id));
        self.parts.board.forget_nearby(&path_of(id));
        if !self.claims.is_due(meter.id, &self.name) || !copy.may_read(&meter, now) {
            return Ok(None);
        }
        let here = heard || properties.rssi.is_some() || peripheral.is_connected().await.unwrap_or(false);
        Ok(here.then_some(Due {
            meter,
            peripheral,
            seen,
        }))
    }

    /// Notes a device that nobody registered, if it is a meter of some kind: on the board for whoever wants to add it, and
    /// counted once in a while. Answers whether it is one.
    async fn note_stranger(
        &mut self,
        id: &PeripheralId,
        address: (Address, AddressType),
        seen: Seen,
        rssi: Option<i16>,
        here: bool,
    ) -> Result<bool, LinkFault> {
        let quirk = QuirkTable::current().find(&Traits {
            name: &seen.name,
            services: &seen.services,
            ..Traits::default()
        });
        let kind = seen.kind();
        let support = quirk.map_or(Support::Supported, |quirk| quirk.support);
        if kind.is_none() && quirk.is_none() {
            return Ok(false);
        }
        if !here {
            return Ok(true);
        }
        let (address, address_type) = address;
        if self.claims.counts(&address.to_string()) {
            let counter = match support {
                Support::Supported => {
                    tracing::info!("a meter that nobody registered is near");
                    Counter::UnregisteredSeen
                }
                Support::RecognisedUnsupported => {
                    let family = quirk.map(|quirk| quirk.family.as_str()).unwrap_or_default();
                    tracing::info!(family, "a meter that cannot be read is near: recognised, unsupported");
                    Counter::UnsupportedSeen
                }
            };
            count(&self.parts.spool, counter).await?;
        }
        self.parts.board.note_nearby(Nearby {
            address,
            address_type,
            name: seen.name,
            services: seen.services,
            rssi,
            kind,
            quirk: quirk.map(|quirk| quirk.id.clone()),
            support,
            seen_at: self.parts.clock.monotonic(),
            adapter: self.name.clone(),
            path: path_of(id),
        });
        Ok(true)
    }

    /// Reads one meter.
    async fn read(&mut self, due: Due) -> Result<(), LinkFault> {
        let Due {
            meter,
            peripheral,
            seen,
        } = due;
        let cool_down = Duration::from_millis(self.parts.settings.cool_down_ms);
        // Another adapter may have been faster.
        let Some(claim) = self.claims.take(meter.id, &self.name, cool_down) else {
            return Ok(());
        };
        let id = peripheral.id();
        let meter_id = meter.id;
        let shared = meter.role == MeterRole::StoreShared;
        let (gone, watch_gone) = watch::channel(0_u32);
        let session = SessionParts {
            link: self.parts.clone(),
            packets: self.packets.clone(),
            soft: self.soft.clone(),
            hard: self.hard.clone(),
            gone: watch_gone,
            adapter: self.name.clone(),
            seen,
            news: self.news.clone(),
            service: self.began_with.0,
            path: path_of(&id),
        };
        let kept = self.kept.remove(&meter_id);
        // Not btleplug's events: they would decode every value of the meter a second time, and ask for everything else that
        // is on the air.
        let mut farewell = Farewell::of(&self.news, &path_of(&id)).await;
        let mut lost = Ok(());
        let mut drain_at = Instant::now() + DRAIN_EVERY;
        let Ended { end, kept } = {
            let mut session = std::pin::pin!(session::run(session, meter, peripheral, kept));
            loop {
                // The session is never dropped half way: the other branches only feed it.
                tokio::select! {
                    end = &mut session => break end,
                    () = farewell.heard() => gone.send_modify(|times| *times += 1),
                    () = sleep_until(drain_at) => {
                        drain_at = Instant::now() + DRAIN_EVERY;
                        for kept in self.kept.values_mut() {
                            kept.drain(&self.parts.clock);
                        }
                    }
                    Ok(()) = self.news.changed() => {
                        lost = self.heard();
                        if lost.is_err() {
                            gone.send_modify(|times| *times += 1);
                            break session.await;
                        }
                    }
                }
            }
        };
        if shared {
            self.parts.desk.meter_disconnected(meter_id);
        }
        drop(claim);
        if let Some(mut kept) = kept {
            if kept.is_for_good() {
                self.claims.keep(meter_id, &self.name);
            }
            // Of more than can be kept, each is subscribed to anew before its next link, unless it has something to write down.
            if kept.is_for_good() || self.kept.len() < MAX_KEPT || kept.drain(&self.parts.clock) {
                self.kept.insert(meter_id, kept);
            }
        }
        match end {
            SessionEnd::Over { end, records } => {
                tracing::info!(meter.id = %meter_id, records, clean = end == LinkEnd::Clean, "link is over");
            }
            // It was not the meter that failed.
            SessionEnd::NotConnected(fault @ LinkFault::ServiceLost) => return Err(fault),
            SessionEnd::NotConnected(fault) => {
                let reason = crate::admit::chain(&fault);
                tracing::warn!(meter.id = %meter_id, error = reason, "meter does not connect");
                self.parts
                    .spool
                    .note_connect_failure(meter_id, &reason)
                    .await
                    .or_else(waits)?;
            }
            SessionEnd::Failed(fault) => return Err(fault),
        }
        lost
    }

    /// Lets time pass.
    async fn rest(&mut self, pause_ms: u64) -> Result<(), LinkFault> {
        let pause = sleep(Duration::from_millis(pause_ms));
        tokio::pin!(pause);
        loop {
            // All branches are cancel-safe.
            tokio::select! {
                Ok(()) = self.news.changed() => self.heard()?,
                () = &mut pause => return Ok(()),
                () = self.soft.cancelled() => return Ok(()),
            }
        }
    }
}

/// Services as a device says them, in few bytes: equal ones have equal fingerprints.
fn fingerprint(services: &[uuid::Uuid]) -> u64 {
    let mut services = services.to_vec();
    services.sort_unstable();
    let mut hasher = DefaultHasher::new();
    services.hash(&mut hasher);
    hasher.finish()
}

/// What the news say about a service and an adapter.
fn marks(news: &watch::Receiver<News>, adapter: &str) -> (u64, u64) {
    let news = news.borrow();
    (news.service_lost, news.removals_of(adapter))
}

/// A note that a full disk costs is not worth a fault.
fn waits(error: crate::spool::SpoolError) -> Result<(), crate::spool::SpoolError> {
    match error.disposition() {
        crate::spool::Disposition::Retry => Ok(()),
        crate::spool::Disposition::Stop => Err(error),
    }
}
