//! Fault profiles on a running simulated BlueZ.

use super::protocol::{Refusal, Reply};
use crate::SimTime;
use crate::bluez::Host;
use crate::meters::{Event, MAX_MEMORY};
use crate::profiles::{Addressing, Selection};

impl Host {
    /// Gives a meter other fault profiles.
    pub(crate) fn set_profiles(&mut self, now: SimTime, unit: usize, names: &[String]) -> Result<Reply, Refusal> {
        let refused = |error: crate::profiles::ProfileError| Refusal::new("bad_value", error.to_string());
        let selection = Selection::named(names).map_err(refused)?;
        let Some(found) = self.units.get(unit) else {
            return Ok(Reply::Done {});
        };
        selection.check(&found.meter).map_err(refused)?;
        // A profile may fill the memory.
        if self.ledger.room() < MAX_MEMORY {
            return Err(Refusal::new("full", "the ledger is full; restart the simulator"));
        }
        self.switch_profiles(now, unit, &selection);
        Ok(Reply::Done {})
    }

    /// Switches a meter to these profiles. A host that would see another device afterwards, by its address or by its
    /// services, forgets the old one first.
    pub(crate) fn switch_profiles(&mut self, now: SimTime, unit: usize, selection: &Selection) {
        let Some(found) = self.units.get(unit) else { return };
        let event = Event::Switch(selection.faults());
        let mut after = found.meter.clone();
        after.handle(now, event.clone());
        let rotation = match selection.addressing() {
            Some(Addressing::Rotating(lifetime)) => Some(lifetime),
            Some(Addressing::Public | Addressing::StaticRandom) => None,
            None => found.plain.rotation,
        };
        let identity_type = match selection.addressing() {
            Some(Addressing::Public) => "public",
            Some(Addressing::StaticRandom) => "random",
            Some(Addressing::Rotating(_)) | None => found.plain.identity_type,
        };
        let moves = rotation != found.rotation || identity_type != found.identity_type;
        if moves || after.profile() != found.meter.profile() {
            self.forget_unit(now, unit);
        }
        if moves {
            self.readdress(now, unit, rotation, identity_type);
        }
        if let Some(found) = self.units.get_mut(unit) {
            found
                .security
                .reconfigure(selection.security(found.plain.security.clone()));
            if selection.loses_bonds() {
                found.security.wipe();
            }
        }
        self.handle_physical(now, unit, event);
    }

    fn peers_of(&self, unit: usize) -> Vec<usize> {
        let peers = self.peers.iter().enumerate();
        peers
            .filter(|(_, peer)| peer.unit == unit)
            .map(|(index, _)| index)
            .collect()
    }

    fn forget_unit(&mut self, now: SimTime, unit: usize) {
        for index in self.peers_of(unit) {
            if self.device(index).is_some() {
                self.remove_device(now, index);
            }
        }
    }

    fn readdress(
        &mut self,
        now: SimTime,
        unit: usize,
        rotation: Option<std::time::Duration>,
        identity_type: &'static str,
    ) {
        let private = self.dice.resolvable_address();
        let Some(found) = self.units.get_mut(unit) else { return };
        found.rotation = rotation;
        found.rotate_at = rotation.map(|lifetime| now.saturating_add(lifetime));
        found.identity_type = identity_type;
        found.on_air = if rotation.is_some() {
            private
        } else {
            found.identity.clone()
        };
        let on_air = found.on_air.clone();
        for index in self.peers_of(unit) {
            if let Some(peer) = self.peers.get_mut(index)
                && peer.alive
            {
                peer.address.clone_from(&on_air);
                peer.address_type = if rotation.is_some() { "random" } else { identity_type };
            }
        }
    }
}
