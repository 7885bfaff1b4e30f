//! Links, attribute operations and notification sessions: the half of BlueZ that talks to meters.

use std::collections::VecDeque;

use carepost_gatt::uuid16;
use zbus::message::Message;

use super::errors::BusError;
use super::host::{Device, Host, Link, MAX_CLIENTS};
use super::interfaces::CHARACTERISTIC;
use super::objects::Node;
use crate::SimTime;
use crate::ledger::{Fate, Part};
use crate::meters::{Access, Action, AttError, Event, Made, RecordError, RecordId, Uuid16};

/// What came of an event, besides what went over the air.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Records that came into being.
    pub(crate) made: Vec<Made>,
    /// Why nothing happened.
    pub(crate) impossible: Option<RecordError>,
}

impl Host {
    /// `Device1.Connect`. The reply comes when the link is up or the attempt has failed.
    pub(crate) fn connect(&mut self, now: SimTime, index: usize, call: &Message) -> Result<(), BusError> {
        if !self.powered {
            return Err(BusError::not_ready());
        }
        let until = now.saturating_add(self.settings.connect_timeout);
        let ready_at = self
            .hears(now, index)
            .then(|| now.saturating_add(self.settings.connect_delay));
        let Some(device) = self.device_mut(index) else {
            return Err(BusError::does_not_exist());
        };
        match device.link {
            Link::Connecting { .. } => Err(BusError::in_progress()),
            Link::Up { .. } => {
                self.reply(call, &());
                Ok(())
            }
            Link::Down => {
                device.link = Link::Connecting {
                    call: call.clone(),
                    until,
                    ready_at,
                };
                Ok(())
            }
        }
    }

    /// `Device1.Disconnect`: cancels an attempt, ends a link, and succeeds without either.
    pub(crate) fn disconnect(&mut self, now: SimTime, index: usize, call: &Message) {
        self.abort_connecting(index, "Cancelled");
        self.link_lost(now, index);
        self.reply(call, &());
    }

    pub(crate) fn abort_connecting(&mut self, index: usize, why: &str) {
        let Some(device) = self.device_mut(index) else { return };
        match std::mem::replace(&mut device.link, Link::Down) {
            Link::Connecting { call, .. } => self.reply_error(&call, &BusError::failed(why)),
            other @ (Link::Up { .. } | Link::Down) => device.link = other,
        }
    }

    /// Moves a connection attempt or a service discovery on.
    pub(crate) fn connect_step(&mut self, now: SimTime, index: usize) {
        let heard = self.hears(now, index);
        let Some(device) = self.device_mut(index) else { return };
        match &mut device.link {
            Link::Down => {}
            Link::Connecting { until, .. } if *until <= now => {
                self.abort_connecting(index, "le-connection-abort-by-local");
                if let Some(device) = self.device_mut(index) {
                    device.last_seen = now;
                }
            }
            Link::Connecting { ready_at, .. } if ready_at.is_some_and(|at| at <= now) => {
                if heard {
                    self.link_up(now, index);
                } else {
                    // The meter stopped advertising meanwhile; wait for the next advertisement.
                    *ready_at = None;
                }
            }
            Link::Up { resolve_at } if resolve_at.is_some_and(|at| at <= now) => {
                *resolve_at = None;
                self.export(index);
                self.signal_battery(index, true);
                self.signal_device(index, "ServicesResolved", true.into());
            }
            Link::Connecting { .. } | Link::Up { .. } => {}
        }
    }

    fn link_up(&mut self, now: SimTime, index: usize) {
        let resolve_at = now.saturating_add(self.settings.resolve_delay);
        let Some(device) = self.device_mut(index) else { return };
        let sessions: Vec<Uuid16> = device.sessions.keys().copied().collect();
        let before = std::mem::replace(
            &mut device.link,
            Link::Up {
                resolve_at: Some(resolve_at),
            },
        );
        self.counters.connections += 1;
        self.signal_device(index, "Connected", true.into());
        if let Link::Connecting { call, .. } = before {
            self.reply(&call, &());
        }
        // BlueZ registers held sessions again before it discovers anything; a meter that kept its client
        // configuration may be faster than any client.
        self.drive(now, index, Event::Connected, None);
        for characteristic in sessions {
            self.drive(
                now,
                index,
                Event::Subscribe {
                    characteristic,
                    enabled: true,
                },
                None,
            );
        }
    }

    /// The link is gone: by request, out of range, power off, or a test's wish.
    pub(crate) fn link_lost(&mut self, now: SimTime, index: usize) {
        if self.device(index).is_some_and(Device::is_connected) {
            self.drive(now, index, Event::Disconnected, None);
            self.link_closed(now, index);
        }
    }

    /// Tells the bus that the link is down. The meter knows already.
    fn link_closed(&mut self, now: SimTime, index: usize) {
        let Some(peer) = self.peers.get_mut(index) else { return };
        peer.drop_after = None;
        let Some(device) = &mut peer.device else { return };
        if !device.is_connected() {
            return;
        }
        let resolved = device.is_resolved();
        device.link = Link::Down;
        device.last_seen = now;
        self.counters.disconnections += 1;
        if resolved {
            self.signal_battery(index, false);
            self.signal_device(index, "ServicesResolved", false.into());
        }
        self.signal_device(index, "Connected", false.into());
    }

    /// Lets something happen to a meter and carries out what it does. `call` is the D-Bus call that waits for the
    /// meter's answer, if one does.
    pub(crate) fn drive(&mut self, now: SimTime, index: usize, event: Event, call: Option<&Message>) -> Outcome {
        let mut outcome = Outcome::default();
        let read = match &event {
            Event::Read { characteristic } => Some(*characteristic),
            _ => None,
        };
        let Some(peer) = self.peers.get_mut(index) else {
            return outcome;
        };
        let mut actions = VecDeque::from(peer.meter.handle(now, event));
        while let Some(action) = actions.pop_front() {
            match action {
                Action::Value(value) => self.value_read(index, read, value, call),
                Action::Written => {
                    if let Some(call) = call {
                        self.reply(call, &());
                    }
                }
                Action::Refused(error) => self.refused(error, call),
                Action::Notify {
                    characteristic,
                    value,
                    record,
                } => {
                    if self.on_air(index, characteristic, value, Some(record)) {
                        self.counters.notifications += 1;
                        self.drop_if_due(now, index);
                    }
                }
                Action::Indicate {
                    characteristic,
                    value,
                    record,
                } => {
                    if self.on_air(index, characteristic, value, record) {
                        self.counters.indications += 1;
                        actions.extend(self.confirm(now, index, record));
                        self.drop_if_due(now, index);
                    }
                }
                Action::Disconnect => self.link_closed(now, index),
                Action::Made(made) => {
                    if let Some(peer) = self.peers.get(index) {
                        self.ledger.made(now, &peer.id, &made);
                    }
                    outcome.made.push(made);
                }
                Action::Deleted(record) => self.fate(index, record, Fate::Deleted),
                Action::Overwritten(record) => self.fate(index, record, Fate::Overwritten),
                Action::Impossible(error) => outcome.impossible = Some(error),
            }
        }
        outcome
    }

    fn value_read(&mut self, index: usize, characteristic: Option<Uuid16>, value: Vec<u8>, call: Option<&Message>) {
        // A successful read is signalled as a change of value too, before its reply.
        if let (Some(characteristic), Some(device)) = (characteristic, self.device_mut(index)) {
            device.values.insert(characteristic, value.clone());
            self.signal_value(index, characteristic, value.clone());
        }
        if let Some(call) = call {
            self.reply(call, &value);
        }
    }

    fn refused(&mut self, error: AttError, call: Option<&Message>) {
        self.counters.att_errors += 1;
        if let Some(call) = call {
            self.reply_error(call, &BusError::att(error));
        }
    }

    /// Takes a value from the air. Returns whether there was a link to carry it.
    fn on_air(&mut self, index: usize, characteristic: Uuid16, value: Vec<u8>, record: Option<RecordId>) -> bool {
        let Some(peer) = self.peers.get_mut(index) else {
            return false;
        };
        let Some(device) = peer.device.as_mut().filter(|device| device.is_connected()) else {
            return false;
        };
        let listeners = device.sessions.get(&characteristic).map_or(0, Vec::len);
        if let Some(record) = record {
            let part = if characteristic == uuid16::GLUCOSE_CONTEXT {
                Part::Context
            } else {
                Part::Measurement
            };
            self.ledger.sent(&peer.id, record, part, listeners > 0);
        }
        if listeners == 0 {
            self.counters.unheard += 1;
            return true;
        }
        device.values.insert(characteristic, value.clone());
        // BlueZ signals once for each session, and every client hears every signal.
        for _ in 0..listeners {
            self.signal_value(index, characteristic, value.clone());
        }
        true
    }

    /// The confirmation that BlueZ sends by itself, whether or not anyone listened.
    fn confirm(&mut self, now: SimTime, index: usize, record: Option<RecordId>) -> Vec<Action> {
        let Some(peer) = self.peers.get_mut(index) else {
            return Vec::new();
        };
        if let Some(record) = record {
            self.ledger.confirmed(now, &peer.id, record);
        }
        peer.meter.handle(now, Event::Confirmed)
    }

    fn fate(&mut self, index: usize, record: RecordId, fate: Fate) {
        if let Some(peer) = self.peers.get(index) {
            self.ledger.fate(&peer.id, record, fate);
        }
    }

    /// Counts down to a link loss that was ordered.
    fn drop_if_due(&mut self, now: SimTime, index: usize) {
        let Some(left) = self.peers.get_mut(index).and_then(|peer| peer.drop_after.as_mut()) else {
            return;
        };
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.link_lost(now, index);
        }
    }

    /// `GattCharacteristic1.ReadValue`.
    pub(crate) fn read_value(
        &mut self,
        now: SimTime,
        index: usize,
        uuid: Uuid16,
        call: &Message,
    ) -> Result<(), BusError> {
        self.require_link(index)?;
        let readable = self.access(index, uuid).is_some_and(|access| access.read);
        if readable {
            self.drive(now, index, Event::Read { characteristic: uuid }, Some(call));
        } else {
            self.refused(AttError::ReadNotPermitted, Some(call));
        }
        Ok(())
    }

    /// `GattCharacteristic1.WriteValue`.
    pub(crate) fn write_value(
        &mut self,
        now: SimTime,
        index: usize,
        uuid: Uuid16,
        value: Vec<u8>,
        call: &Message,
    ) -> Result<(), BusError> {
        self.require_link(index)?;
        if !self.access(index, uuid).is_some_and(|access| access.write) {
            return Err(BusError::not_supported());
        }
        self.drive(
            now,
            index,
            Event::Write {
                characteristic: uuid,
                value,
            },
            Some(call),
        );
        Ok(())
    }

    fn access(&self, index: usize, uuid: Uuid16) -> Option<Access> {
        Some(self.peer(index)?.meter.profile().characteristic(uuid)?.access)
    }

    pub(crate) fn require_link(&self, index: usize) -> Result<(), BusError> {
        let connected = self.device(index).is_some_and(Device::is_connected);
        connected.then_some(()).ok_or_else(|| BusError::failed("Not connected"))
    }

    /// `GattCharacteristic1.StartNotify`. Without a link the session waits for the next one.
    pub(crate) fn start_notify(
        &mut self,
        now: SimTime,
        index: usize,
        uuid: Uuid16,
        client: &str,
        call: &Message,
    ) -> Result<(), BusError> {
        if !self.access(index, uuid).is_some_and(Access::sends) {
            return Err(BusError::not_supported());
        }
        let Some(device) = self.device_mut(index) else {
            return Err(BusError::does_not_exist());
        };
        let connected = device.is_connected();
        let clients = device.sessions.entry(uuid).or_default();
        let first = clients.is_empty();
        if clients.iter().any(|held_by| held_by == client) {
            self.reply(call, &());
            return Ok(());
        }
        if clients.len() >= MAX_CLIENTS {
            return Err(BusError::limit("notification sessions"));
        }
        clients.push(client.to_owned());
        if first {
            self.signal_changed(
                Node::Characteristic(index, uuid),
                CHARACTERISTIC,
                "Notifying",
                true.into(),
            );
        }
        // The reply is the response to the configuration write, so it goes before anything that the write sets off.
        self.reply(call, &());
        if first && connected {
            self.drive(
                now,
                index,
                Event::Subscribe {
                    characteristic: uuid,
                    enabled: true,
                },
                None,
            );
        }
        Ok(())
    }

    /// `GattCharacteristic1.StopNotify`.
    pub(crate) fn stop_notify(
        &mut self,
        now: SimTime,
        index: usize,
        uuid: Uuid16,
        client: &str,
        call: &Message,
    ) -> Result<(), BusError> {
        if !self.end_session(now, index, uuid, client) {
            return Err(BusError::failed("No notify session started"));
        }
        self.reply(call, &());
        Ok(())
    }

    /// Ends one client's session; the last one takes the client configuration with it, but only over a live link.
    pub(crate) fn end_session(&mut self, now: SimTime, index: usize, uuid: Uuid16, client: &str) -> bool {
        let Some(device) = self.device_mut(index) else {
            return false;
        };
        let connected = device.is_connected();
        let Some(clients) = device.sessions.get_mut(&uuid) else {
            return false;
        };
        let before = clients.len();
        clients.retain(|held_by| held_by != client);
        if clients.len() == before {
            return false;
        }
        if clients.is_empty() {
            device.sessions.remove(&uuid);
            self.signal_changed(
                Node::Characteristic(index, uuid),
                CHARACTERISTIC,
                "Notifying",
                false.into(),
            );
            if connected {
                self.drive(
                    now,
                    index,
                    Event::Subscribe {
                        characteristic: uuid,
                        enabled: false,
                    },
                    None,
                );
            }
        }
        true
    }
}
