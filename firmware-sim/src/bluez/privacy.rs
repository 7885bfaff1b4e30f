//! Meters that change their address: what an adapter sees of that, with a bond and without.

use super::host::Host;
use super::state::Peer;
use crate::SimTime;

/// Most left-behind addresses of one meter that an adapter keeps at once.
const MAX_LEFT_BEHIND: usize = 8;

impl Host {
    /// Gives a meter a new resolvable address. An adapter that has its identity key goes on seeing the identity; to
    /// any other it is a new device, and the old one is seen no more. A link keeps the address that it began with, so
    /// that a meter with a link changes its address when the link ends.
    pub(crate) fn rotate(&mut self, now: SimTime, unit: usize) {
        let address = self.dice.resolvable_address();
        let Some(found) = self.units.get_mut(unit) else { return };
        let Some(rotation) = found.rotation else { return };
        found.rotate_at = Some(now.saturating_add(rotation));
        if found.link.is_some() {
            return;
        }
        found.on_air.clone_from(&address);
        let mut left_behind = Vec::new();
        for (index, peer) in self.peers.iter_mut().enumerate() {
            if peer.unit != unit || !peer.alive {
                continue;
            }
            match &peer.device {
                Some(device) if device.bond.is_some() => {}
                None => peer.address.clone_from(&address),
                Some(_) => {
                    peer.alive = false;
                    left_behind.push((index, peer.adapter));
                }
            }
        }
        for (index, adapter) in left_behind {
            self.abort_connecting(index, "le-connection-abort-by-local");
            self.add_address(now, unit, adapter, &address);
            self.bound_left_behind(now, unit, adapter);
        }
    }

    /// A fresh peer for a meter's new address, in a free slot if there is one.
    fn add_address(&mut self, now: SimTime, unit: usize, adapter: usize, address: &str) {
        let peer = Peer {
            adapter,
            unit,
            address: address.to_owned(),
            address_type: "random",
            alive: true,
            device: None,
            next_advertisement: now,
        };
        match self.peers.iter_mut().find(|old| !old.alive && old.device.is_none()) {
            Some(free) => *free = peer,
            None => self.peers.push(peer),
        }
    }

    fn bound_left_behind(&mut self, now: SimTime, unit: usize, adapter: usize) {
        let mut old: Vec<(SimTime, usize)> = self
            .peers
            .iter()
            .enumerate()
            .filter(|(_, peer)| peer.unit == unit && peer.adapter == adapter && !peer.alive)
            .filter_map(|(index, peer)| Some((peer.device.as_ref()?.last_seen, index)))
            .collect();
        old.sort_unstable();
        let surplus = old.len().saturating_sub(MAX_LEFT_BEHIND);
        for (_, index) in old.into_iter().take(surplus) {
            self.remove_device(now, index);
        }
    }

    /// After bonding BlueZ knows who hides behind the address: address and kind of address change in place, and the
    /// object stays at the path of the old address.
    pub(crate) fn reveal_identity(&mut self, index: usize, identity: &str, identity_type: &'static str) {
        let Some(peer) = self.peers.get_mut(index) else { return };
        if peer.address == identity {
            return;
        }
        identity.clone_into(&mut peer.address);
        let retyped = std::mem::replace(&mut peer.address_type, identity_type) != identity_type;
        self.signal_device(index, "Address", identity.to_owned().into());
        if retyped {
            self.signal_device(index, "AddressType", identity_type.into());
        }
    }
}
