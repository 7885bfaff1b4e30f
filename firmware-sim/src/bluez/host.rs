//! The state of the simulated BlueZ and what time does to it.
//!
//! Like a meter, the host is a state machine without IO: messages and commands go in with the time, messages come out
//! of [`Host::take_outgoing`], and [`Host::deadline`] names the next moment at which something happens by itself.
//!
//! Three tables: the adapters, the meters of the neighbourhood ([`Unit`]), and what each adapter knows of each meter
//! ([`Peer`]). A peer is an address that an adapter may hear; a meter that changes its address leaves the old peer
//! behind until BlueZ forgets it.

use std::collections::HashMap;

use zbus::message::Message;

use super::agents::Agents;
use super::dice::Dice;
use super::errors::BusError;
use super::faults::{HostEvent, HostFaults, Later, Outage};
use super::link::Reason;
use super::state::{Adapter, Counters, Device, HostSettings, Link, Peer, Plain, Unit, UnitSettings};
use crate::SimTime;
use crate::ledger::Ledger;
use crate::meters::{Event, Security, Uuid16};

/// Most D-Bus clients that hold sessions of any kind at once.
pub(crate) const MAX_CLIENTS: usize = 64;

/// Most rounds of due work in one call before the host lets other work in.
const MAX_ROUNDS: usize = 1_000;

/// The simulated BlueZ with its meters.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) settings: HostSettings,
    pub(crate) adapters: Vec<Adapter>,
    pub(crate) units: Vec<Unit>,
    pub(crate) peers: Vec<Peer>,
    /// Peers by the path of their device.
    pub(crate) paths: HashMap<String, usize>,
    pub(crate) agents: Agents,
    pub(crate) dice: Dice,
    pub(crate) ledger: Ledger,
    pub(crate) counters: Counters,
    pub(crate) outgoing: Vec<Message>,
    pub(crate) faults: HostFaults,
    /// Host profiles that are switched on.
    pub(crate) profiles: Vec<String>,
    /// What was put off.
    pub(crate) later: Vec<(SimTime, Later)>,
    /// What faults have ordered to happen after the work in hand.
    pub(crate) ordered: Vec<HostEvent>,
    /// What the owner of the connections has to do.
    pub(crate) outage: Option<Outage>,
    /// Whether bluetoothd runs.
    pub(crate) running: bool,
    /// The time of the work in hand.
    pub(crate) now: SimTime,
}

impl Host {
    /// Powered adapters that nobody uses yet.
    pub(crate) fn new(settings: HostSettings, units: Vec<UnitSettings>) -> Self {
        let adapters = settings.adapters.iter().cloned().map(Adapter::new).collect();
        let mut host = Self {
            dice: Dice::new(settings.seed),
            settings,
            adapters,
            units: Vec::with_capacity(units.len()),
            peers: Vec::new(),
            paths: HashMap::new(),
            agents: Agents::default(),
            ledger: Ledger::default(),
            counters: Counters::default(),
            outgoing: Vec::new(),
            faults: HostFaults::default(),
            profiles: Vec::new(),
            later: Vec::new(),
            ordered: Vec::new(),
            outage: None,
            running: true,
            now: SimTime::ZERO,
        };
        for unit in units {
            host.add_unit(unit);
        }
        host
    }

    fn add_unit(&mut self, settings: UnitSettings) {
        let index = self.units.len();
        let on_air = if settings.rotation.is_some() {
            self.dice.resolvable_address()
        } else {
            settings.address.clone()
        };
        let unit = Unit {
            id: settings.id,
            identity: settings.address,
            identity_type: settings.address_type,
            on_air,
            rssi: settings.rssi,
            in_range: settings.in_range,
            heard_by: settings.heard_by,
            rotation: settings.rotation,
            rotate_at: settings.rotation,
            plain: Plain {
                security: settings.security.clone(),
                rotation: settings.rotation,
                identity_type: settings.address_type,
            },
            security: Security::new(settings.security),
            meter: settings.meter,
            link: None,
            drop_after: None,
        };
        for &adapter in &unit.heard_by {
            self.peers.push(Peer {
                adapter,
                unit: index,
                address: unit.on_air.clone(),
                address_type: if unit.rotation.is_some() {
                    "random"
                } else {
                    unit.identity_type
                },
                alive: true,
                device: None,
                next_advertisement: SimTime::ZERO,
            });
        }
        self.units.push(unit);
    }

    /// The messages to send, in order.
    pub(crate) fn take_outgoing(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.outgoing)
    }

    /// What the owner of the connections has to do after sending.
    pub(crate) fn take_outage(&mut self) -> Option<Outage> {
        self.outage.take()
    }

    pub(crate) fn peer(&self, index: usize) -> Option<&Peer> {
        self.peers.get(index)
    }

    /// The meter behind a peer.
    pub(crate) fn unit(&self, index: usize) -> Option<&Unit> {
        self.units.get(self.peer(index)?.unit)
    }

    pub(crate) fn unit_mut(&mut self, index: usize) -> Option<&mut Unit> {
        let unit = self.peers.get(index)?.unit;
        self.units.get_mut(unit)
    }

    pub(crate) fn adapter_of(&self, index: usize) -> Option<&Adapter> {
        self.adapters.get(self.peer(index)?.adapter)
    }

    /// The address by which a meter knows the adapter of a peer.
    pub(crate) fn central(&self, index: usize) -> String {
        self.adapter_of(index)
            .map(|adapter| adapter.settings.address.clone())
            .unwrap_or_default()
    }

    pub(crate) fn device(&self, index: usize) -> Option<&Device> {
        self.peers.get(index)?.device.as_ref()
    }

    pub(crate) fn device_mut(&mut self, index: usize) -> Option<&mut Device> {
        self.peers.get_mut(index)?.device.as_mut()
    }

    /// The meter of this name.
    pub(crate) fn unit_named(&self, id: &str) -> Option<usize> {
        self.units.iter().position(|unit| unit.id == id)
    }

    /// Whether the adapter of a peer hears advertisements from it now.
    pub(crate) fn hears(&self, now: SimTime, index: usize) -> bool {
        let (Some(peer), Some(unit), Some(adapter)) = (self.peer(index), self.unit(index), self.adapter_of(index))
        else {
            return false;
        };
        let meant = !unit.meter.is_directed() || peer.device.as_ref().is_some_and(|device| device.bond.is_some());
        self.running && adapter.is_on() && peer.alive && unit.in_range && unit.is_advertising(now) && meant
    }

    /// The next moment at which something happens by itself.
    pub(crate) fn deadline(&self) -> Option<SimTime> {
        let peers = (0..self.peers.len()).filter_map(|index| self.peer_deadline(index));
        let units = self.units.iter().filter_map(unit_deadline);
        let later = self.later.iter().map(|(at, _)| *at);
        peers.chain(units).chain(later).min()
    }

    fn peer_deadline(&self, index: usize) -> Option<SimTime> {
        let (peer, unit, adapter) = (self.peer(index)?, self.unit(index)?, self.adapter_of(index)?);
        let scanned = peer.alive && unit.in_range && adapter.is_scanning();
        let advertisement = scanned.then_some(peer.next_advertisement);
        let Some(device) = &peer.device else {
            return advertisement;
        };
        let link = match &device.link {
            Link::Down if device.is_kept() => None,
            Link::Down => Some(device.last_seen.saturating_add(self.settings.temporary_timeout)),
            Link::Connecting {
                until,
                ready_at: Some(ready_at),
                ..
            } => Some(*ready_at.min(until)),
            Link::Connecting {
                until, ready_at: None, ..
            } => Some(peer.next_advertisement.min(*until)),
            Link::Up { resolve_at, .. } => *resolve_at,
        };
        let pairing = device.pairing.as_ref().and_then(|pairing| pairing.deadline());
        [advertisement, link, pairing].into_iter().flatten().min()
    }

    /// Lets everything happen that is due at `now`.
    pub(crate) fn advance(&mut self, now: SimTime) {
        self.now = now;
        for _ in 0..MAX_ROUNDS {
            self.do_what_is_due(now);
            self.happen_as_ordered(now);
            let units: Vec<usize> = (0..self.units.len())
                .filter(|unit| {
                    self.units
                        .get(*unit)
                        .and_then(unit_deadline)
                        .is_some_and(|at| at <= now)
                })
                .collect();
            let mut peers: Vec<(SimTime, usize)> = (0..self.peers.len())
                .filter_map(|index| self.peer_deadline(index).map(|at| (at, index)))
                .filter(|(at, _)| *at <= now)
                .collect();
            if units.is_empty() && peers.is_empty() {
                return;
            }
            for unit in units {
                self.unit_step(now, unit);
            }
            peers.sort_unstable();
            for (_, index) in peers {
                self.advertise(now, index);
                self.connect_step(now, index);
                self.pairing_step(now, index);
                self.vanish(now, index);
            }
        }
    }

    fn unit_step(&mut self, now: SimTime, unit: usize) {
        let Some(found) = self.units.get(unit) else { return };
        if found.meter.deadline().is_some_and(|at| at <= now) {
            self.drive(now, unit, Event::DeadlineReached, None);
        }
        if self
            .units
            .get(unit)
            .and_then(|found| found.rotate_at)
            .is_some_and(|at| at <= now)
        {
            self.rotate(now, unit);
        }
    }

    /// Takes the device and everything under it from the bus, with its bond; a link goes down first.
    pub(crate) fn remove_device(&mut self, now: SimTime, index: usize) {
        self.abort_connecting(index, "Cancelled");
        self.link_lost(now, index, Reason::Local);
        self.cancel_pairing(index);
        self.signal_device_removed(index);
        self.forget_device(index);
    }

    /// Drops a device without a word. A meter that hides behind changing addresses is a stranger again.
    pub(crate) fn forget_device(&mut self, index: usize) {
        let Some(peer) = self.peers.get_mut(index) else { return };
        let Some(device) = peer.device.take() else { return };
        self.paths.remove(&device.path);
        if let Some(unit) = self.units.get(peer.unit)
            && peer.alive
        {
            peer.address.clone_from(&unit.on_air);
            if unit.rotation.is_some() {
                peer.address_type = "random";
            }
        }
    }

    /// Sets the power as a D-Bus client does, which a blocked adapter refuses.
    pub(crate) fn set_powered(&mut self, now: SimTime, adapter: usize, powered: bool) -> Result<(), BusError> {
        if powered && self.adapters.get(adapter).is_some_and(|found| found.blocked) {
            return Err(BusError::blocked());
        }
        self.power(now, adapter, powered);
        Ok(())
    }

    /// Switches an adapter. Off: links and scans end, and clients have to start again.
    pub(crate) fn power(&mut self, now: SimTime, adapter: usize, powered: bool) {
        if self.adapters.get(adapter).is_none_or(|found| found.powered == powered) {
            return;
        }
        if !powered {
            self.end_everything(now, adapter);
        }
        if let Some(found) = self.adapters.get_mut(adapter) {
            found.powered = powered;
        }
        self.signal_adapter(adapter, "Powered", powered.into());
    }

    /// Ends attempts, links and scans of an adapter.
    pub(crate) fn end_everything(&mut self, now: SimTime, adapter: usize) {
        for index in 0..self.peers.len() {
            if self.peer(index).is_some_and(|peer| peer.adapter == adapter) {
                self.abort_connecting(index, "le-connection-abort-by-local");
                self.link_lost(now, index, Reason::Local);
            }
        }
        let Some(found) = self.adapters.get_mut(adapter) else {
            return;
        };
        found.filters.clear();
        if !std::mem::take(&mut found.discovering).is_empty() {
            self.discovery_ended(adapter);
        }
    }

    /// Forgets a D-Bus client that left the bus: its scans and filters, its agent, its pairings and its notification
    /// sessions.
    pub(crate) fn client_gone(&mut self, now: SimTime, client: &str) {
        for adapter in 0..self.adapters.len() {
            self.end_discovery(adapter, client);
        }
        self.agent_gone(now, client);
        self.pairing_client_gone(client);
        for index in 0..self.peers.len() {
            let held: Vec<Uuid16> = self
                .device(index)
                .into_iter()
                .flat_map(|device| &device.sessions)
                .filter(|(_, sessions)| sessions.iter().any(|session| session.client == client))
                .map(|(characteristic, _)| *characteristic)
                .collect();
            for characteristic in held {
                self.end_session(now, index, characteristic, client);
            }
        }
    }
}

fn unit_deadline(unit: &Unit) -> Option<SimTime> {
    [unit.meter.deadline(), unit.rotate_at].into_iter().flatten().min()
}
