//! Attribute operations and notification sessions, and the protection in front of them.

use zbus::message::Message;

use super::errors::BusError;
use super::faults::HostEvent;
use super::host::{Host, MAX_CLIENTS};
use super::interfaces::CHARACTERISTIC;
use super::state::{Device, Session};
use crate::SimTime;
use crate::meters::{Access, AttError, Event, Uuid16};

/// How long bluetoothd is away when it has aborted, in milliseconds: until somebody's call starts it again.
const ABORT_MS: u64 = 500;

/// What a client wants of a characteristic.
#[derive(Clone, Debug)]
enum Wish {
    Read,
    Write(Vec<u8>),
    Subscribe,
}

/// An operation on a characteristic, which a pairing may hold up.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    wish: Wish,
    characteristic: Uuid16,
    /// The call that waits for the answer; none when BlueZ itself renews a subscription.
    call: Option<Message>,
    /// Whether it has been held up before: it is not held up again.
    tried: bool,
}

impl Operation {
    /// A session's subscription, renewed on a new link.
    pub(crate) fn resubscribe(characteristic: Uuid16) -> Self {
        Self {
            wish: Wish::Subscribe,
            characteristic,
            call: None,
            tried: false,
        }
    }
}

impl Host {
    /// `GattCharacteristic1.ReadValue`.
    pub(crate) fn read_value(
        &mut self,
        now: SimTime,
        index: usize,
        uuid: Uuid16,
        call: &Message,
    ) -> Result<(), BusError> {
        self.require_link(index)?;
        if !self.access(index, uuid).is_some_and(|access| access.read) {
            self.refused(AttError::ReadNotPermitted, Some(call));
            return Ok(());
        }
        let operation = Operation {
            wish: Wish::Read,
            characteristic: uuid,
            call: Some(call.clone()),
            tried: false,
        };
        self.attempt(now, index, operation);
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
        let operation = Operation {
            wish: Wish::Write(value),
            characteristic: uuid,
            call: Some(call.clone()),
            tried: false,
        };
        self.attempt(now, index, operation);
        Ok(())
    }

    fn access(&self, index: usize, uuid: Uuid16) -> Option<Access> {
        Some(self.unit(index)?.meter.profile().characteristic(uuid)?.access)
    }

    pub(crate) fn require_link(&self, index: usize) -> Result<(), BusError> {
        let connected = self.device(index).is_some_and(Device::is_connected);
        connected.then_some(()).ok_or_else(BusError::not_connected)
    }

    /// Carries an operation out, or holds it up until the link is protected: what a meter refuses for want of
    /// protection makes BlueZ pair by itself.
    pub(crate) fn attempt(&mut self, now: SimTime, index: usize, operation: Operation) {
        let central = self.central(index);
        let Some(unit) = self.unit(index) else { return };
        let allowed = match operation.wish {
            Wish::Read => unit.security.allows_read(&central),
            Wish::Write(_) | Wish::Subscribe => unit.security.allows(&central),
        };
        match allowed {
            Ok(()) => self.perform(now, index, operation),
            Err(error) if operation.tried => self.refuse(index, &operation, error),
            Err(_) => {
                self.counters.att_errors += 1;
                self.pair_for(now, index, operation);
            }
        }
    }

    /// Tries again what a pairing held up.
    pub(crate) fn retry(&mut self, now: SimTime, index: usize, operation: Operation) {
        let operation = Operation {
            tried: true,
            ..operation
        };
        self.attempt(now, index, operation);
    }

    /// Gives an operation up with an ATT error.
    pub(crate) fn refuse(&mut self, index: usize, operation: &Operation, error: AttError) {
        self.give_up(index, operation, &BusError::att(error));
    }

    /// Gives an operation up with an error of BlueZ's own.
    pub(crate) fn give_up(&mut self, index: usize, operation: &Operation, error: &BusError) {
        if matches!(operation.wish, Wish::Subscribe)
            && let Some(call) = &operation.call
        {
            let client = call.header().sender().map(ToString::to_string).unwrap_or_default();
            self.drop_session(index, operation.characteristic, &client);
        }
        if let Some(call) = &operation.call {
            self.reply_error(call, error);
        }
    }

    fn perform(&mut self, now: SimTime, index: usize, operation: Operation) {
        let Some(unit) = self.peer(index).map(|peer| peer.unit) else {
            return;
        };
        let characteristic = operation.characteristic;
        let call = operation.call.as_ref();
        match operation.wish {
            Wish::Read => {
                self.drive(now, unit, Event::Read { characteristic }, call);
            }
            Wish::Write(value) => {
                let event = Event::Write { characteristic, value };
                self.drive(now, unit, event, call);
            }
            Wish::Subscribe => {
                self.session_is_on(index, characteristic);
                // The reply is the response to the configuration write, so it goes before anything that the write sets
                // off.
                if let Some(call) = call {
                    self.reply(call, &());
                }
                self.subscribe(now, index, characteristic, true);
            }
        }
    }

    /// Writes a client configuration.
    pub(crate) fn subscribe(&mut self, now: SimTime, index: usize, characteristic: Uuid16, enabled: bool) {
        let central = self.central(index);
        let Some(unit) = self.unit_mut(index) else { return };
        unit.security.subscribed(&central, characteristic, enabled);
        let event = Event::Subscribe {
            characteristic,
            enabled,
        };
        if let Some(unit) = self.peer(index).map(|peer| peer.unit) {
            self.drive(now, unit, event, None);
        }
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
        let sessions = device.sessions.get(&uuid).map_or(&[][..], Vec::as_slice);
        if let Some(session) = sessions.iter().find(|session| session.client == client) {
            if session.pending {
                return Err(BusError::in_progress());
            }
            self.reply(call, &());
            return Ok(());
        }
        if sessions.len() >= MAX_CLIENTS {
            return Err(BusError::limit("notification sessions"));
        }
        let configured = sessions.iter().any(|session| !session.pending);
        let pending = connected && !configured;
        let unanswered = pending && self.ordered_silence("StartNotify");
        let session = Session {
            client: client.to_owned(),
            pending,
            unanswered,
        };
        if let Some(device) = self.device_mut(index) {
            device.sessions.entry(uuid).or_default().push(session);
        }
        if unanswered {
            return Ok(());
        }
        if pending {
            let operation = Operation {
                call: Some(call.clone()),
                ..Operation::resubscribe(uuid)
            };
            self.attempt_slowly(now, index, operation, "StartNotify");
            return Ok(());
        }
        if !configured {
            self.signal_notifying(index, uuid, true);
        }
        self.reply(call, &());
        Ok(())
    }

    /// The configuration is written: sessions that waited for it have begun.
    fn session_is_on(&mut self, index: usize, uuid: Uuid16) {
        let Some(sessions) = self.device_mut(index).and_then(|device| device.sessions.get_mut(&uuid)) else {
            return;
        };
        let had = sessions.iter().any(|session| !session.pending);
        for session in sessions.iter_mut() {
            session.pending = false;
            session.unanswered = false;
        }
        if !had && !sessions.is_empty() {
            self.signal_notifying(index, uuid, true);
        }
    }

    fn drop_session(&mut self, index: usize, uuid: Uuid16, client: &str) {
        let Some(device) = self.device_mut(index) else { return };
        if let Some(sessions) = device.sessions.get_mut(&uuid) {
            sessions.retain(|session| session.client != client);
            if sessions.is_empty() {
                device.sessions.remove(&uuid);
            }
        }
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
        let Some(sessions) = device.sessions.get(&uuid) else {
            return false;
        };
        let Some(session) = sessions.iter().find(|session| session.client == client) else {
            return false;
        };
        let hangs = session.unanswered && connected;
        if hangs {
            // The assertion that BlueZ 5.66 has in `disable_ccc_callback`, which fails when a configuration is taken back
            // behind another one to which nobody answered.
            let down_ms = ABORT_MS;
            self.ordered.push(HostEvent::RestartBluez { down_ms });
            return true;
        }
        let on = sessions.iter().any(|session| !session.pending);
        self.drop_session(index, uuid, client);
        let left = self
            .device(index)
            .is_some_and(|device| device.sessions.contains_key(&uuid));
        if !left && on {
            self.signal_notifying(index, uuid, false);
            if connected {
                self.subscribe(now, index, uuid, false);
            }
        }
        true
    }

    fn signal_notifying(&mut self, index: usize, uuid: Uuid16, on: bool) {
        if let Some(node) = self.characteristic_node(index, uuid) {
            self.signal_changed(node, CHARACTERISTIC, "Notifying", on.into());
        }
    }
}
