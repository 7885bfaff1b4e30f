//! Scanning: which of the devices around are meters that may be read now.

use std::collections::HashMap;
use std::pin::Pin;
use std::time::Duration;

use btleplug::api::bleuuid::uuid_from_u16;
use btleplug::api::{Central as _, CentralEvent, CentralState, Peripheral as _, PeripheralProperties, ScanFilter};
use btleplug::platform::{Adapter, Peripheral, PeripheralId};
use carepost_daemon::CancellationToken;
use carepost_domain::id::MeterId;
use carepost_domain::meter::{Address, AddressType, Meter, MeterRole};
use carepost_gatt::uuid16;
use futures_util::{Stream, StreamExt as _};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::capture::Message;
use super::session::{self, SessionEnd, SessionParts};
use super::{LinkFault, LinkParts, count, within};
use crate::board::LinkState;
use crate::spool::{Counter, LinkEnd};

/// Devices whose kind is remembered; when there are more, all are looked at again.
const MAX_CLASSES: usize = 1_024;
/// An unregistered meter is counted once in this time.
const UNREGISTERED_AGAIN: Duration = Duration::from_secs(60 * 60);

pub(super) type Events = Pin<Box<dyn Stream<Item = CentralEvent> + Send>>;

/// What a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// A meter of the copy.
    Registered(MeterId),
    /// Advertises a standard service, and nobody registered it.
    Unregistered,
    /// Something else, as far as is known.
    Other,
}

/// Owns the adapter while it is there.
#[derive(Debug)]
pub(super) struct Scanner {
    parts: LinkParts,
    packets: mpsc::Sender<Message>,
    soft: CancellationToken,
    hard: CancellationToken,
    classes: HashMap<PeripheralId, Class>,
    /// Revision of the copy that `classes` were found with.
    classes_of: u64,
    not_before: HashMap<MeterId, Instant>,
    counted: HashMap<PeripheralId, Instant>,
}

/// A meter to be connected now.
struct Due {
    meter: Meter,
    peripheral: Peripheral,
}

impl Scanner {
    pub(super) fn new(
        parts: LinkParts,
        packets: mpsc::Sender<Message>,
        soft: CancellationToken,
        hard: CancellationToken,
    ) -> Self {
        Self {
            parts,
            packets,
            soft,
            hard,
            classes: HashMap::new(),
            classes_of: 0,
            not_before: HashMap::new(),
            counted: HashMap::new(),
        }
    }

    /// Scans and reads until `soft` is cancelled.
    pub(super) async fn operate(&mut self, adapter: &Adapter) -> Result<(), LinkFault> {
        let settings = self.parts.settings.clone();
        let mut events = within(settings.probe_ms, "follow the adapter", adapter.events()).await?;
        while !self.soft.is_cancelled() {
            within(settings.probe_ms, "ask for the adapter", adapter.adapter_info()).await?;
            let state = within(
                settings.probe_ms,
                "ask for the adapter's state",
                adapter.adapter_state(),
            )
            .await?;
            if state != CentralState::PoweredOn {
                // Scanning would switch it on, against the wish of whoever switched it off.
                if self.parts.board.link() != LinkState::AdapterOff {
                    tracing::warn!("bluetooth adapter is switched off");
                    self.parts.board.set_link(LinkState::AdapterOff);
                }
                self.rest(&mut events, settings.rebuild_ms).await?;
                continue;
            }
            let due = self.scan(adapter, &mut events).await?;
            match due {
                Some(due) => self.read(due, &mut events).await?,
                None => self.rest(&mut events, settings.pause_ms).await?,
            }
        }
        Ok(())
    }

    /// One scan: until a meter is due, the scan's time is over or `soft` is cancelled. The adapter does not scan when this
    /// returns.
    async fn scan(&mut self, adapter: &Adapter, events: &mut Events) -> Result<Option<Due>, LinkFault> {
        let settings = self.parts.settings.clone();
        if self.parts.board.link() != LinkState::Scanning {
            tracing::info!("scanning for meters");
            self.parts.board.set_link(LinkState::Scanning);
        }
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
            return Ok(None);
        }
        let due = self.listen(adapter, events).await;
        // The adapter may have been switched off meanwhile, which ended the scan too.
        within(settings.probe_ms, "stop a scan", adapter.stop_scan()).await.ok();
        due
    }

    async fn listen(&mut self, adapter: &Adapter, events: &mut Events) -> Result<Option<Due>, LinkFault> {
        let until = Instant::now() + Duration::from_millis(self.parts.settings.scan_ms);
        // Meters that BlueZ knows and that are here already: no event will come for one that is still connected.
        let known = within(self.parts.settings.probe_ms, "list devices", adapter.peripherals()).await?;
        for peripheral in known {
            if let Some(due) = self.consider(adapter, &peripheral.id(), false).await? {
                return Ok(Some(due));
            }
        }
        loop {
            // All branches are cancel-safe.
            let event = tokio::select! {
                event = events.next() => event.ok_or(LinkFault::EventsEnded)?,
                () = sleep_until(until) => return Ok(None),
                () = self.soft.cancelled() => return Ok(None),
            };
            let found = match event {
                CentralEvent::DeviceDiscovered(id) => self.consider(adapter, &id, false).await?,
                CentralEvent::ServicesAdvertisement { id, .. } => {
                    // What it is may be known only now.
                    if self.classes.get(&id) == Some(&Class::Other) {
                        self.classes.remove(&id);
                    }
                    self.consider(adapter, &id, false).await?
                }
                CentralEvent::RssiUpdate { id, .. }
                | CentralEvent::ManufacturerDataAdvertisement { id, .. }
                | CentralEvent::ServiceDataAdvertisement { id, .. } => self.consider(adapter, &id, true).await?,
                CentralEvent::StateUpdate(CentralState::PoweredOff) => return Ok(None),
                _ => None,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
    }

    /// Looks at one device. `heard` says that an advertisement of it was heard just now; otherwise the Bluetooth service
    /// may only remember it.
    async fn consider(&mut self, adapter: &Adapter, id: &PeripheralId, heard: bool) -> Result<Option<Due>, LinkFault> {
        let copy = self.parts.spool.down();
        if self.classes_of != copy.revision() || self.classes.len() >= MAX_CLASSES {
            self.classes.clear();
            self.classes_of = copy.revision();
        }
        match self.classes.get(id) {
            Some(Class::Other) => return Ok(None),
            Some(Class::Registered(meter)) if !self.is_due(*meter) => return Ok(None),
            Some(Class::Unregistered) if !heard => return Ok(None),
            _ => {}
        }
        // Devices come and go: one that cannot be asked is not there any more.
        let limit = self.parts.settings.probe_ms;
        let Ok(peripheral) = within(limit, "find a device", adapter.peripheral(id)).await else {
            return Ok(None);
        };
        let Ok(Some(properties)) = within(limit, "ask for a device", peripheral.properties()).await else {
            return Ok(None);
        };
        let meter = address_of(&properties)
            .and_then(|(address, kind)| copy.meter_at(address, kind))
            .cloned();
        let class = match &meter {
            Some(meter) => Class::Registered(meter.id),
            None if advertises_standard_service(&properties) => Class::Unregistered,
            None => Class::Other,
        };
        self.classes.insert(id.clone(), class);
        let Some(meter) = meter else {
            if class == Class::Unregistered {
                self.count_unregistered(id).await?;
            }
            return Ok(None);
        };
        if !self.is_due(meter.id) || !copy.may_read(&meter, self.parts.clock.now()) {
            return Ok(None);
        }
        let here = heard || properties.rssi.is_some() || peripheral.is_connected().await.unwrap_or(false);
        Ok(here.then_some(Due { meter, peripheral }))
    }

    fn is_due(&self, meter: MeterId) -> bool {
        self.not_before.get(&meter).is_none_or(|at| Instant::now() >= *at)
    }

    async fn count_unregistered(&mut self, id: &PeripheralId) -> Result<(), LinkFault> {
        let now = Instant::now();
        self.counted
            .retain(|_, at| now.duration_since(*at) < UNREGISTERED_AGAIN);
        if self.counted.len() < MAX_CLASSES && !self.counted.contains_key(id) {
            self.counted.insert(id.clone(), now);
            tracing::info!("a meter that nobody registered is near");
            count(&self.parts.spool, Counter::UnregisteredSeen).await?;
        }
        Ok(())
    }

    /// Reads one meter, while adapter events are taken care of.
    async fn read(&mut self, due: Due, events: &mut Events) -> Result<(), LinkFault> {
        let Due { meter, peripheral } = due;
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
        };
        let end = {
            let mut session = std::pin::pin!(session::run(session, meter, peripheral));
            loop {
                // The session is never dropped half way: the other branch only feeds it.
                tokio::select! {
                    end = &mut session => break end,
                    event = events.next() => match event {
                        Some(CentralEvent::DeviceDisconnected(device)) if device == id => gone.send_modify(|times| *times += 1),
                        Some(_) => {}
                        None => {
                            gone.send_modify(|times| *times += 1);
                            break session.await;
                        }
                    },
                }
            }
        };
        if shared {
            self.parts.desk.meter_disconnected(meter_id);
        }
        let again = Instant::now() + Duration::from_millis(self.parts.settings.cool_down_ms);
        self.not_before.insert(meter_id, again);
        match end {
            SessionEnd::Over { end, records } => {
                tracing::info!(meter.id = %meter_id, records, clean = end == LinkEnd::Clean, "link is over");
                Ok(())
            }
            SessionEnd::NotConnected(fault) => {
                tracing::warn!(meter.id = %meter_id, error = crate::admit::chain(&fault), "meter does not connect");
                count(&self.parts.spool, Counter::ConnectFailures).await?;
                Ok(())
            }
            SessionEnd::Failed(fault) => Err(fault),
        }
    }

    /// Lets time pass while adapter events are taken care of, which would fill memory otherwise.
    async fn rest(&mut self, events: &mut Events, pause_ms: u64) -> Result<(), LinkFault> {
        let pause = sleep(Duration::from_millis(pause_ms));
        tokio::pin!(pause);
        loop {
            // All branches are cancel-safe.
            tokio::select! {
                event = events.next() => {
                    event.ok_or(LinkFault::EventsEnded)?;
                }
                () = &mut pause => return Ok(()),
                () = self.soft.cancelled() => return Ok(()),
            }
        }
    }
}

fn address_of(properties: &PeripheralProperties) -> Option<(Address, AddressType)> {
    let kind = match properties.address_type? {
        btleplug::api::AddressType::Public => AddressType::Public,
        btleplug::api::AddressType::Random => AddressType::Random,
    };
    Some((Address::new(properties.address.into_inner()), kind))
}

fn advertises_standard_service(properties: &PeripheralProperties) -> bool {
    [uuid16::BLOOD_PRESSURE_SERVICE, uuid16::GLUCOSE_SERVICE]
        .into_iter()
        .any(|service| properties.services.contains(&uuid_from_u16(service)))
}
