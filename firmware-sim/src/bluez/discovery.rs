//! What the adapters hear: advertisements, the devices that come of them, and who wants to know.

use std::time::Duration;

use super::errors::BusError;
use super::host::{Host, MAX_CLIENTS};
use super::state::{Adapter, Device, Link};
use crate::SimTime;

/// Most advertisements that a late host makes up for at once; what was missed beyond them was never heard.
const MAX_CATCH_UP: u128 = 100;

impl Host {
    /// The advertisements that are due. Also the clock tick of a pending connection attempt.
    pub(super) fn advertise(&mut self, now: SimTime, index: usize) {
        let interval = self.settings.advertising_interval;
        let heard = self.hears(now, index);
        let scanning = self.adapter_of(index).is_some_and(Adapter::is_scanning);
        let Some(peer) = self.peers.get_mut(index) else { return };
        if peer.next_advertisement > now {
            return;
        }
        let late = now.saturating_sub(peer.next_advertisement);
        let missed = late.as_nanos().checked_div(interval.as_nanos()).unwrap_or(0);
        if missed > MAX_CATCH_UP {
            peer.next_advertisement = now;
        }
        let due = u32::try_from(missed.min(MAX_CATCH_UP)).unwrap_or(0).saturating_add(1);
        peer.next_advertisement = peer
            .next_advertisement
            .saturating_add(interval.saturating_mul(due))
            .max(now.saturating_add(Duration::from_nanos(1)));
        if !heard {
            return;
        }
        if scanning {
            self.counters.advertisements += u64::from(due);
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
        let (Some(peer), Some(unit), Some(adapter)) = (self.peer(index), self.unit(index), self.adapter_of(index))
        else {
            return;
        };
        let said = unit.advertisement(now);
        let name = said.name.unwrap_or_default();
        let wanted = adapter
            .active_filters()
            .any(|filter| filter.matches(&said.services, unit.rssi, &peer.address, &name));
        let duplicates = adapter.active_filters().any(|filter| filter.duplicate_data);
        if !wanted && peer.device.is_none() {
            return;
        }
        let base = unit.rssi;
        let Some(device) = self.device_mut(index) else {
            self.discovered(now, index, name, said.flags, base);
            return;
        };
        device.last_seen = now;
        let renamed = device.name != name && !name.is_empty();
        if renamed {
            device.name.clone_from(&name);
        }
        // BlueZ signals changes only; radio noise makes almost every advertisement one.
        let rssi = if device.rssi == Some(base) {
            base.saturating_sub(1)
        } else {
            base
        };
        let tell = wanted && (duplicates || device.rssi.is_none());
        if tell {
            device.rssi = Some(rssi);
            self.counters.rssi_signals += 1;
            self.signal_rssi(index, rssi);
        }
        if renamed {
            self.signal_name(index, name);
        }
    }

    fn discovered(&mut self, now: SimTime, index: usize, name: String, flags: Option<u8>, rssi: i16) {
        let mut device = self.new_device(now, index, name);
        device.rssi = Some(rssi);
        device.advertising_flags = flags;
        self.paths.insert(device.path.clone(), index);
        if let Some(peer) = self.peers.get_mut(index) {
            peer.device = Some(device);
        }
        self.signal_device_added(index);
    }

    /// A device object for a peer, at the path that its present address gives.
    pub(crate) fn new_device(&self, now: SimTime, index: usize, name: String) -> Device {
        let path = match (self.peer(index), self.adapter_of(index)) {
            (Some(peer), Some(adapter)) => {
                let address = peer.address.replace(':', "_");
                format!("/org/bluez/{}/dev_{address}", adapter.settings.controller)
            }
            _ => String::new(),
        };
        Device::new(path, name, now)
    }

    /// Removes a device that was not seen for the temporary timeout. Trusted and bonded devices stay, as in BlueZ.
    pub(super) fn vanish(&mut self, now: SimTime, index: usize) {
        let timeout = self.settings.temporary_timeout;
        let Some(device) = self.device(index) else { return };
        let expired = device.last_seen.saturating_add(timeout) <= now;
        if matches!(device.link, Link::Down) && !device.is_kept() && expired {
            self.remove_device(now, index);
        }
    }

    /// Starts a scan session. The first advertisements come at once, as they do in a busy shop.
    pub(crate) fn start_discovery(&mut self, now: SimTime, adapter: usize, client: &str) -> Result<(), BusError> {
        let found = self
            .adapters
            .get_mut(adapter)
            .filter(|found| found.powered)
            .ok_or_else(BusError::not_ready)?;
        if found.discovering.contains(client) {
            return Err(BusError::in_progress());
        }
        if found.discovering.len() >= MAX_CLIENTS {
            return Err(BusError::limit("discovery sessions"));
        }
        found.discovering.insert(client.to_owned());
        let first = found.discovering.len() == 1;
        for peer in self.peers.iter_mut().filter(|peer| peer.adapter == adapter) {
            peer.next_advertisement = now;
        }
        if first {
            self.signal_adapter(adapter, "Discovering", true.into());
        }
        Ok(())
    }

    /// Ends a scan session; with the last one the signal strengths become unknown.
    pub(crate) fn stop_discovery(&mut self, adapter: usize, client: &str) -> Result<(), BusError> {
        if !self.adapters.get(adapter).is_some_and(|found| found.powered) {
            return Err(BusError::not_ready());
        }
        self.end_discovery(adapter, client)
            .then_some(())
            .ok_or_else(|| BusError::failed("No discovery started"))
    }

    pub(super) fn end_discovery(&mut self, adapter: usize, client: &str) -> bool {
        let Some(found) = self.adapters.get_mut(adapter) else {
            return false;
        };
        let had = found.discovering.remove(client);
        found.filters.remove(client);
        if had && found.discovering.is_empty() {
            self.discovery_ended(adapter);
        }
        had
    }

    pub(super) fn discovery_ended(&mut self, adapter: usize) {
        for index in 0..self.peers.len() {
            if self.peer(index).is_some_and(|peer| peer.adapter == adapter)
                && self.device_mut(index).and_then(|device| device.rssi.take()).is_some()
            {
                self.signal_rssi_unknown(index);
            }
        }
        self.signal_adapter(adapter, "Discovering", false.into());
    }
}
