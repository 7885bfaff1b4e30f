//! Adapters that come and go, bluetoothd that ends and starts again, and the bus that goes away.

use super::attributes::Operation;
use super::faults::{HostEvent, Later, Outage};
use super::host::Host;
use super::link::Reason;
use super::state::Device;
use crate::SimTime;
use crate::meters::Event;

impl Host {
    /// Lets something happen to the machine. Returns whether there is such an adapter.
    pub(crate) fn happen(&mut self, now: SimTime, event: &HostEvent) -> bool {
        let duration = std::time::Duration::from_millis(event.down_ms());
        match event {
            HostEvent::PowerOff { adapter } => {
                self.on_adapter(adapter, |host, adapter| host.power(now, adapter, false))
            }
            HostEvent::Unplug { adapter } => self.on_adapter(adapter, |host, adapter| host.unplug(now, adapter)),
            HostEvent::Plug { adapter } => self.on_adapter(adapter, |host, adapter| host.plug(now, adapter)),
            HostEvent::RestartBluez { .. } => {
                for agent in self.agents.take_all() {
                    self.tell_agent(&agent, "Release");
                }
                self.stop(now);
                self.outage = Some(Outage::Bluez(duration));
                true
            }
            HostEvent::LoseBus { .. } => {
                self.agents.take_all();
                self.stop(now);
                self.outage = Some(Outage::Bus(duration));
                true
            }
        }
    }

    /// Lets happen what faults have ordered.
    pub(crate) fn happen_as_ordered(&mut self, now: SimTime) {
        for event in std::mem::take(&mut self.ordered) {
            self.happen(now, &event);
        }
    }

    fn on_adapter(&mut self, controller: &Option<String>, act: impl FnOnce(&mut Self, usize)) -> bool {
        let found = match controller {
            None => Some(0).filter(|_| !self.adapters.is_empty()),
            Some(controller) => self
                .adapters
                .iter()
                .position(|adapter| adapter.settings.controller == *controller),
        };
        if let Some(adapter) = found {
            act(self, adapter);
        }
        found.is_some()
    }

    /// Takes an adapter and everything under it off the bus.
    fn unplug(&mut self, now: SimTime, adapter: usize) {
        if !self.adapters.get(adapter).is_some_and(|found| found.present) {
            return;
        }
        self.end_everything(now, adapter);
        for index in 0..self.peers.len() {
            if self.peer(index).is_some_and(|peer| peer.adapter == adapter) {
                self.cancel_pairing(index);
                self.signal_device_removed(index);
                self.set_aside(now, index);
            }
        }
        self.signal_adapter_gone(adapter);
        if let Some(found) = self.adapters.get_mut(adapter) {
            found.present = false;
        }
    }

    /// Puts an adapter and the devices that it has bonds with on the bus.
    fn plug(&mut self, _now: SimTime, adapter: usize) {
        let Some(found) = self.adapters.get_mut(adapter) else {
            return;
        };
        if std::mem::replace(&mut found.present, true) {
            return;
        }
        found.powered = !found.blocked;
        self.signal_adapter_added(adapter);
        for index in 0..self.peers.len() {
            if self.peer(index).is_some_and(|peer| peer.adapter == adapter) {
                self.signal_device_added(index);
            }
        }
    }

    /// bluetoothd ends: links go down, and all that is not on its disk is forgotten. Nobody is told; who asked
    /// something is answered by the bus.
    fn stop(&mut self, now: SimTime) {
        for index in 0..self.peers.len() {
            let connected = self.device(index).is_some_and(Device::is_connected);
            if let Some(unit) = self.peer(index).map(|peer| peer.unit).filter(|_| connected) {
                self.counters.disconnections += 1;
                self.drive(now, unit, Event::Disconnected, None);
                if let Some(unit) = self.units.get_mut(unit) {
                    unit.link = None;
                    unit.drop_after = None;
                    unit.security.link_changed();
                }
            }
            if let Some(unit) = self.unit_mut(index)
                && unit.link.is_none()
            {
                unit.security.pairing_ended();
            }
            self.set_aside(now, index);
        }
        for adapter in &mut self.adapters {
            adapter.alias = None;
            adapter.discoverable = false;
            adapter.filters.clear();
            adapter.discovering.clear();
            adapter.powered = !adapter.blocked;
        }
        self.later.clear();
        self.running = false;
    }

    /// bluetoothd is back.
    pub(crate) fn start_again(&mut self) {
        self.running = true;
    }

    /// Keeps of a device what is on the disk of BlueZ: name, trust and bond. The object is at the path of the identity
    /// from now on, and the GATT objects wait for a new link.
    fn set_aside(&mut self, now: SimTime, index: usize) {
        let Some(device) = self.device(index) else { return };
        if !device.is_kept() {
            self.forget_device(index);
            return;
        }
        let mut fresh = self.new_device(now, index, device.name.clone());
        let Some(device) = self.device_mut(index) else { return };
        fresh.alias = device.alias.take();
        fresh.trusted = device.trusted;
        fresh.blocked = device.blocked;
        fresh.bond = device.bond;
        let (old, new) = (device.path.clone(), fresh.path.clone());
        *device = fresh;
        self.paths.remove(&old);
        self.paths.insert(new, index);
    }

    /// The device goes while a call is on its way to it.
    pub(crate) fn vanish_under_call(&mut self, now: SimTime, index: usize) {
        self.link_lost(now, index, Reason::Local);
        self.remove_device(now, index);
    }

    /// An operation that a fault makes slow.
    pub(crate) fn attempt_slowly(&mut self, now: SimTime, index: usize, operation: Operation, member: &str) {
        match self.ordered_delay(member) {
            Some(delay) => {
                self.counters.host_faults += 1;
                self.do_later(delay, Later::Attempt(index, operation));
            }
            None => self.attempt(now, index, operation),
        }
    }
}
