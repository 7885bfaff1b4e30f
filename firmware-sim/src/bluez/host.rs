//! The state of the simulated BlueZ and what time does to it.
//!
//! Like a meter, the host is a state machine without IO: messages and commands go in with the time, messages come out
//! of [`Host::take_outgoing`], and [`Host::deadline`] names the next moment at which something happens by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::NaiveDateTime;
use zbus::message::Message;

use super::errors::BusError;
use super::filter::DiscoveryFilter;
use crate::SimTime;
use crate::ledger::Ledger;
use crate::meters::{Event, Meter, Uuid16};

/// Most D-Bus clients that hold sessions of any kind at once.
pub(crate) const MAX_CLIENTS: usize = 64;

/// Most things that may fall due in one call before the host lets other work in.
const MAX_STEPS: usize = 10_000;

/// Adapter and timing.
#[derive(Clone, Debug)]
pub(crate) struct HostSettings {
    /// Name of the controller as in its object path, for example `hci0`.
    pub(crate) adapter: String,
    /// The adapter's address.
    pub(crate) address: String,
    /// The adapter's friendly name.
    pub(crate) name: String,
    /// Device ID of the host.
    pub(crate) modalias: String,
    /// Time between two advertisements of a meter.
    pub(crate) advertising_interval: Duration,
    /// From an advertisement to the link.
    pub(crate) connect_delay: Duration,
    /// From the link to the end of service discovery.
    pub(crate) resolve_delay: Duration,
    /// How long a connection attempt waits for an advertisement.
    pub(crate) connect_timeout: Duration,
    /// How long an unseen device stays known.
    pub(crate) temporary_timeout: Duration,
    /// Local time at simulated time zero, for clocks that are right.
    pub(crate) local_at_start: NaiveDateTime,
}

/// A meter and how its radio looks to the adapter.
#[derive(Debug)]
pub(crate) struct PeerSettings {
    /// Name in the control protocol.
    pub(crate) id: String,
    /// Address, upper case with colons.
    pub(crate) address: String,
    /// `public` or `random`.
    pub(crate) address_type: &'static str,
    /// Name in the advertisement.
    pub(crate) local_name: String,
    /// Received signal strength in dBm.
    pub(crate) rssi: i16,
    /// Whether it is in range at the start.
    pub(crate) in_range: bool,
    /// The meter.
    pub(crate) meter: Meter,
}

/// A meter in the neighbourhood.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) id: String,
    pub(crate) address: String,
    pub(crate) address_type: &'static str,
    pub(crate) local_name: String,
    pub(crate) rssi: i16,
    pub(crate) in_range: bool,
    pub(crate) meter: Meter,
    /// What BlueZ knows of it, if anything.
    pub(crate) device: Option<Device>,
    pub(crate) next_advertisement: SimTime,
    /// Values that may still be sent before the link is dropped.
    pub(crate) drop_after: Option<u32>,
}

/// A `Device1` object.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) alias: Option<String>,
    pub(crate) trusted: bool,
    pub(crate) link: Link,
    pub(crate) rssi: Option<i16>,
    pub(crate) last_seen: SimTime,
    /// Whether GATT objects are on the bus. They stay when the link goes, until the device is removed.
    pub(crate) exported: bool,
    /// Notification sessions: the D-Bus clients by characteristic.
    pub(crate) sessions: BTreeMap<Uuid16, Vec<String>>,
    /// Values last read or received.
    pub(crate) values: BTreeMap<Uuid16, Vec<u8>>,
}

/// The link to a device.
#[derive(Debug)]
pub(crate) enum Link {
    Down,
    /// Waiting for an advertisement, then for the link.
    Connecting {
        call: Message,
        until: SimTime,
        ready_at: Option<SimTime>,
    },
    /// Up, with service discovery under way until `resolve_at`.
    Up {
        resolve_at: Option<SimTime>,
    },
}

/// Totals since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counters {
    /// Links that came up.
    pub connections: u64,
    /// Links that went down.
    pub disconnections: u64,
    /// Values sent without confirmation.
    pub notifications: u64,
    /// Values sent and confirmed, control point answers included.
    pub indications: u64,
    /// Values of either kind that no D-Bus client listened to.
    pub unheard: u64,
    /// Requests that a meter answered with an ATT error.
    pub att_errors: u64,
    /// D-Bus calls answered with an error.
    pub bus_errors: u64,
}

/// The simulated BlueZ with its meters.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) settings: HostSettings,
    pub(crate) alias: Option<String>,
    pub(crate) powered: bool,
    /// Powered off by a switch that D-Bus clients cannot override (rfkill).
    pub(crate) blocked: bool,
    pub(crate) discoverable: bool,
    pub(crate) pairable: bool,
    pub(crate) filters: BTreeMap<String, DiscoveryFilter>,
    pub(crate) discovering: BTreeSet<String>,
    pub(crate) peers: Vec<Peer>,
    pub(crate) ledger: Ledger,
    pub(crate) counters: Counters,
    pub(crate) outgoing: Vec<Message>,
}

impl Host {
    /// A powered adapter that nobody uses yet.
    pub(crate) fn new(settings: HostSettings, peers: Vec<PeerSettings>) -> Self {
        let peers = peers
            .into_iter()
            .map(|peer| Peer {
                id: peer.id,
                address: peer.address,
                address_type: peer.address_type,
                local_name: peer.local_name,
                rssi: peer.rssi,
                in_range: peer.in_range,
                meter: peer.meter,
                device: None,
                next_advertisement: SimTime::ZERO,
                drop_after: None,
            })
            .collect();
        Self {
            settings,
            alias: None,
            powered: true,
            blocked: false,
            discoverable: false,
            pairable: false,
            filters: BTreeMap::new(),
            discovering: BTreeSet::new(),
            peers,
            ledger: Ledger::default(),
            counters: Counters::default(),
            outgoing: Vec::new(),
        }
    }

    /// The messages to send, in order.
    pub(crate) fn take_outgoing(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.outgoing)
    }

    pub(crate) fn peer(&self, index: usize) -> Option<&Peer> {
        self.peers.get(index)
    }

    pub(crate) fn device(&self, index: usize) -> Option<&Device> {
        self.peers.get(index)?.device.as_ref()
    }

    pub(crate) fn device_mut(&mut self, index: usize) -> Option<&mut Device> {
        self.peers.get_mut(index)?.device.as_mut()
    }

    pub(crate) fn peer_named(&self, id: &str) -> Option<usize> {
        self.peers.iter().position(|peer| peer.id == id)
    }

    /// Whether the adapter hears advertisements of this meter now.
    pub(crate) fn hears(&self, now: SimTime, index: usize) -> bool {
        self.powered
            && self
                .peer(index)
                .is_some_and(|peer| peer.in_range && peer.meter.is_advertising(now))
    }

    /// The next moment at which something happens by itself.
    pub(crate) fn deadline(&self) -> Option<SimTime> {
        (0..self.peers.len())
            .filter_map(|index| self.peer_deadline(index))
            .min()
    }

    fn peer_deadline(&self, index: usize) -> Option<SimTime> {
        let peer = self.peer(index)?;
        let scanning = self.powered && peer.in_range && !self.discovering.is_empty();
        let advertisement = scanning.then_some(peer.next_advertisement);
        let device = peer.device.as_ref().and_then(|device| match &device.link {
            Link::Down if device.trusted => None,
            Link::Down => Some(device.last_seen.saturating_add(self.settings.temporary_timeout)),
            Link::Connecting {
                until,
                ready_at: Some(ready_at),
                ..
            } => Some(*ready_at.min(until)),
            Link::Connecting {
                until, ready_at: None, ..
            } => Some(peer.next_advertisement.min(*until)),
            Link::Up { resolve_at } => *resolve_at,
        });
        [advertisement, device, peer.meter.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Lets everything happen that is due at `now`.
    pub(crate) fn advance(&mut self, now: SimTime) {
        for _ in 0..MAX_STEPS {
            let due = (0..self.peers.len())
                .filter_map(|index| self.peer_deadline(index).map(|at| (at, index)))
                .filter(|(at, _)| *at <= now)
                .min();
            let Some((_, index)) = due else { return };
            self.step(now, index);
        }
    }

    /// Does what is due for one meter.
    fn step(&mut self, now: SimTime, index: usize) {
        let Some(peer) = self.peer(index) else { return };
        if peer.meter.deadline().is_some_and(|at| at <= now) {
            self.drive(now, index, Event::DeadlineReached, None);
        }
        self.advertise(now, index);
        self.connect_step(now, index);
        self.vanish(now, index);
    }

    /// One advertisement, if it is time for it. Also the clock tick of a pending connection attempt.
    fn advertise(&mut self, now: SimTime, index: usize) {
        let interval = self.settings.advertising_interval;
        let heard = self.hears(now, index);
        let Some(peer) = self.peers.get_mut(index) else { return };
        if peer.next_advertisement > now {
            return;
        }
        peer.next_advertisement = now.saturating_add(interval);
        if !heard {
            return;
        }
        if !self.discovering.is_empty() {
            self.seen(now, index);
        }
        let ready = now.saturating_add(self.settings.connect_delay);
        if let Some(Device {
            link: Link::Connecting {
                ready_at: ready_at @ None,
                ..
            },
            ..
        }) = self.device_mut(index)
        {
            *ready_at = Some(ready);
        }
    }

    /// A scan result: a new object, or a fresh signal strength of a known one.
    fn seen(&mut self, now: SimTime, index: usize) {
        let Some(peer) = self.peer(index) else { return };
        let service = peer.meter.advertised_service();
        let wanted = self
            .active_filters()
            .any(|filter| filter.matches(service, peer.rssi, &peer.address, &peer.local_name));
        let duplicates = self.active_filters().any(|filter| filter.duplicate_data);
        if !wanted && peer.device.is_none() {
            return;
        }
        let base = peer.rssi;
        match self.device_mut(index) {
            None => self.discovered(now, index, base),
            Some(device) => {
                device.last_seen = now;
                // BlueZ signals changes only; radio noise makes almost every advertisement one.
                let rssi = if device.rssi == Some(base) {
                    base.saturating_sub(1)
                } else {
                    base
                };
                let tell = wanted && (duplicates || device.rssi.is_none());
                if tell {
                    device.rssi = Some(rssi);
                    self.signal_rssi(index, rssi);
                }
            }
        }
    }

    fn discovered(&mut self, now: SimTime, index: usize, rssi: i16) {
        let Some(peer) = self.peers.get_mut(index) else { return };
        peer.device = Some(Device {
            alias: None,
            trusted: false,
            link: Link::Down,
            rssi: Some(rssi),
            last_seen: now,
            exported: false,
            sessions: BTreeMap::new(),
            values: BTreeMap::new(),
        });
        self.signal_device_added(index);
    }

    fn active_filters(&self) -> impl Iterator<Item = &DiscoveryFilter> {
        self.discovering
            .iter()
            .map(|client| self.filters.get(client).unwrap_or(DiscoveryFilter::everything()))
    }

    /// Removes a device that was not seen for the temporary timeout. Trusted devices stay, as in BlueZ.
    fn vanish(&mut self, now: SimTime, index: usize) {
        let timeout = self.settings.temporary_timeout;
        let Some(device) = self.device(index) else { return };
        let expired = device.last_seen.saturating_add(timeout) <= now;
        if matches!(device.link, Link::Down) && !device.trusted && expired {
            self.remove_device(now, index);
        }
    }

    /// Takes the device and everything under it from the bus; a link goes down first.
    pub(crate) fn remove_device(&mut self, now: SimTime, index: usize) {
        self.abort_connecting(index, "Cancelled");
        self.link_lost(now, index);
        self.signal_device_removed(index);
        if let Some(peer) = self.peers.get_mut(index) {
            peer.device = None;
        }
    }

    /// Starts a scan session. The first advertisements come at once, as they do in a busy shop.
    pub(crate) fn start_discovery(&mut self, now: SimTime, client: &str) -> Result<(), BusError> {
        if !self.powered {
            return Err(BusError::not_ready());
        }
        if self.discovering.contains(client) {
            return Err(BusError::in_progress());
        }
        if self.discovering.len() >= MAX_CLIENTS {
            return Err(BusError::limit("discovery sessions"));
        }
        self.discovering.insert(client.to_owned());
        for peer in &mut self.peers {
            peer.next_advertisement = now;
        }
        if self.discovering.len() == 1 {
            self.signal_adapter("Discovering", true.into());
        }
        Ok(())
    }

    /// Ends a scan session; with the last one the signal strengths become unknown.
    pub(crate) fn stop_discovery(&mut self, client: &str) -> Result<(), BusError> {
        if !self.powered {
            return Err(BusError::not_ready());
        }
        self.end_discovery(client)
            .then_some(())
            .ok_or_else(|| BusError::failed("No discovery started"))
    }

    fn end_discovery(&mut self, client: &str) -> bool {
        let had = self.discovering.remove(client);
        self.filters.remove(client);
        if had && self.discovering.is_empty() {
            self.discovery_ended();
        }
        had
    }

    fn discovery_ended(&mut self) {
        for index in 0..self.peers.len() {
            if self.device_mut(index).and_then(|device| device.rssi.take()).is_some() {
                self.signal_rssi_unknown(index);
            }
        }
        self.signal_adapter("Discovering", false.into());
    }

    /// Sets the power as a D-Bus client does, which a blocked adapter refuses.
    pub(crate) fn set_powered(&mut self, now: SimTime, powered: bool) -> Result<(), BusError> {
        if powered && self.blocked {
            return Err(BusError::blocked());
        }
        self.power(now, powered);
        Ok(())
    }

    /// Switches the adapter. Off: links and scans end, and clients have to start again.
    pub(crate) fn power(&mut self, now: SimTime, powered: bool) {
        if self.powered == powered {
            return;
        }
        if !powered {
            for index in 0..self.peers.len() {
                self.abort_connecting(index, "le-connection-abort-by-local");
                self.link_lost(now, index);
            }
            self.filters.clear();
            if !std::mem::take(&mut self.discovering).is_empty() {
                self.discovery_ended();
            }
        }
        self.powered = powered;
        self.signal_adapter("Powered", powered.into());
    }

    /// Forgets a D-Bus client that left the bus: its scan, its filter and its notification sessions.
    pub(crate) fn client_gone(&mut self, now: SimTime, client: &str) {
        self.end_discovery(client);
        for index in 0..self.peers.len() {
            let held: Vec<Uuid16> = self
                .device(index)
                .into_iter()
                .flat_map(|device| &device.sessions)
                .filter(|(_, clients)| clients.iter().any(|held_by| held_by == client))
                .map(|(characteristic, _)| *characteristic)
                .collect();
            for characteristic in held {
                self.end_session(now, index, characteristic, client);
            }
        }
    }
}
