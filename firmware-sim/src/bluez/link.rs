//! Links: connecting, resolving, losing, and carrying what a meter does.

use std::collections::VecDeque;
use std::time::Duration;

use carepost_gatt::uuid16;
use zbus::message::Message;

use super::attributes::Operation;
use super::errors::BusError;
use super::faults::Resolution;
use super::host::Host;
use super::pairing::PairError;
use super::state::{Device, Link};
use crate::SimTime;
use crate::ledger::{Fate, Part};
use crate::meters::{Action, AttError, Event, Level, Made, RecordError, RecordId, Uuid16};

/// What came of an event, besides what went over the air.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Records that came into being.
    pub(crate) made: Vec<Made>,
    /// Why nothing happened.
    pub(crate) impossible: Option<RecordError>,
}

/// Why a link went down, as `Device1.Disconnected` tells it (`doc/org.bluez.Device.rst` of bluez/bluez).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Out of range.
    Timeout,
    /// By this side.
    Local,
    /// By the meter.
    Remote,
    /// The meter has no key any more.
    Authentication,
}

impl Reason {
    pub(crate) fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Timeout => ("org.bluez.Reason.Timeout", "Connection timeout"),
            Self::Local => ("org.bluez.Reason.Local", "Connection terminated by local host"),
            Self::Remote => ("org.bluez.Reason.Remote", "Connection terminated by remote user"),
            Self::Authentication => (
                "org.bluez.Reason.Authentication",
                "Connection terminated due to authentication failure",
            ),
        }
    }
}

impl Host {
    /// `Device1.Connect`. The reply comes when the link is up or the attempt has failed.
    pub(crate) fn connect(&mut self, now: SimTime, index: usize, call: &Message) -> Result<(), BusError> {
        let Some(device) = self.device(index) else {
            return Err(BusError::does_not_exist());
        };
        if !self.adapter_of(index).is_some_and(|adapter| adapter.is_on()) {
            return Err(BusError::not_ready());
        }
        match device.link {
            Link::Connecting { .. } => Err(BusError::in_progress()),
            Link::Up { .. } => {
                self.reply(call, &());
                Ok(())
            }
            Link::Down if device.blocked => Err(BusError::failed("le-connection-abort-by-local")),
            Link::Down => {
                self.start_connecting(now, index, Some(call.clone()));
                Ok(())
            }
        }
    }

    /// Begins a connection attempt on a device that has no link.
    pub(crate) fn start_connecting(&mut self, now: SimTime, index: usize, call: Option<Message>) {
        let until = now.saturating_add(self.settings.connect_timeout);
        let ready_at = self
            .hears(now, index)
            .then(|| now.saturating_add(self.settings.connect_delay));
        if let Some(device) = self.device_mut(index) {
            device.link = Link::Connecting { call, until, ready_at };
        }
    }

    /// `Device1.Disconnect`: cancels an attempt, ends a link, and succeeds without either.
    pub(crate) fn disconnect(&mut self, now: SimTime, index: usize, call: &Message) {
        self.abort_connecting(index, "Cancelled");
        self.link_lost(now, index, Reason::Local);
        self.reply(call, &());
    }

    pub(crate) fn abort_connecting(&mut self, index: usize, why: &str) {
        let Some(device) = self.device_mut(index) else { return };
        match std::mem::replace(&mut device.link, Link::Down) {
            Link::Connecting { call, .. } => {
                if let Some(call) = call {
                    self.reply_error(&call, &BusError::failed(why));
                }
                self.pairing_failed(index, PairError::NoConnection);
            }
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
            Link::Up { resolve_at, .. } if resolve_at.is_some_and(|at| at <= now) => {
                *resolve_at = None;
                self.resolved(now, index);
            }
            Link::Connecting { .. } | Link::Up { .. } => {}
        }
    }

    /// Service discovery is complete, or a fault pretends that it is: then it is called again when the objects come.
    fn resolved(&mut self, now: SimTime, index: usize) {
        let later = match self.faults.resolution {
            Resolution::BeforeObjects(ms) => Some(now.saturating_add(Duration::from_millis(ms))),
            _ => None,
        };
        let Some(device) = self.device_mut(index) else { return };
        let Link::Up {
            resolved, resolve_at, ..
        } = &mut device.link
        else {
            return;
        };
        let told = std::mem::replace(resolved, true);
        let pretends = !told && later.is_some() && !device.exported;
        if pretends {
            *resolve_at = later;
            self.counters.host_faults += 1;
        } else {
            self.export(index);
        }
        if !told {
            self.signal_battery(index, true);
            self.signal_device(index, "ServicesResolved", true.into());
            self.tell_paired(index);
        }
    }

    /// When services will be resolved on a link that comes up now.
    fn resolution(&mut self, now: SimTime) -> Option<SimTime> {
        let right = now.saturating_add(self.settings.resolve_delay);
        match self.faults.resolution {
            Resolution::Right | Resolution::BeforeObjects(_) => Some(right),
            Resolution::Late(ms) => {
                self.counters.host_faults += 1;
                Some(right.saturating_add(Duration::from_millis(ms)))
            }
            Resolution::Never => {
                self.counters.host_faults += 1;
                None
            }
            Resolution::Early => {
                self.counters.host_faults += 1;
                Some(now)
            }
        }
    }

    fn link_up(&mut self, now: SimTime, index: usize) {
        let central = self.central(index);
        let resolve_at = self.resolution(now);
        let early = self.faults.resolution == Resolution::Early;
        let Some(unit) = self.peer(index).map(|peer| peer.unit) else {
            return;
        };
        let Some(device) = self.device_mut(index) else { return };
        let before = std::mem::replace(
            &mut device.link,
            Link::Up {
                resolve_at: resolve_at.filter(|_| !early),
                resolved: false,
                level: Level::Plain,
            },
        );
        let bonded = device.bond.is_some();
        let sessions: Vec<Uuid16> = device.sessions.keys().copied().collect();
        let remembered = match self.units.get_mut(unit) {
            Some(found) => {
                found.link = Some(index);
                found.security.link_changed();
                found.security.remembered(&central)
            }
            None => Vec::new(),
        };
        self.counters.connections += 1;
        self.signal_device(index, "Connected", true.into());
        let call = match before {
            Link::Connecting { call, .. } => call,
            Link::Up { .. } | Link::Down => None,
        };
        if bonded && !self.encrypt(index) {
            self.link_closed(now, index, Reason::Authentication);
            if let Some(call) = call {
                self.reply_error(&call, &BusError::failed("le-connection-abort-by-local"));
            }
            return;
        }
        if early {
            self.resolved(now, index);
        }
        if let Some(call) = call {
            self.reply(&call, &());
        }
        self.drive(now, unit, Event::Connected, None);
        if bonded {
            for characteristic in remembered {
                self.subscribe(now, index, characteristic, true);
            }
        }
        self.start_pairing_on_link(now, index);
        // BlueZ registers held sessions again before it discovers anything; a meter that kept its client
        // configuration may be faster than any client.
        for characteristic in sessions {
            self.attempt(now, index, Operation::resubscribe(characteristic));
        }
    }

    /// Uses the key of the bond. Returns whether the meter still has it.
    fn encrypt(&mut self, index: usize) -> bool {
        let central = self.central(index);
        let Some(Ok(reached)) = self.unit_mut(index).map(|unit| unit.security.encrypt(&central)) else {
            return false;
        };
        if let Some(device) = self.device_mut(index)
            && let Link::Up { level, .. } = &mut device.link
        {
            *level = reached;
        }
        true
    }

    /// The link is gone: by request, out of range, power off, or a test's wish.
    pub(crate) fn link_lost(&mut self, now: SimTime, index: usize, reason: Reason) {
        if self.device(index).is_some_and(Device::is_connected) {
            if let Some(unit) = self.peer(index).map(|peer| peer.unit) {
                self.drive(now, unit, Event::Disconnected, None);
            }
            self.link_closed(now, index, reason);
        }
    }

    /// Tells the bus that the link is down. The meter knows already.
    pub(crate) fn link_closed(&mut self, now: SimTime, index: usize, reason: Reason) {
        let Some(device) = self.device_mut(index) else { return };
        if !device.is_connected() {
            return;
        }
        let resolved = device.is_resolved();
        device.link = Link::Down;
        device.last_seen = now;
        if let Some(unit) = self.unit_mut(index) {
            unit.drop_after = None;
            unit.link = None;
            unit.security.link_changed();
        }
        self.counters.disconnections += 1;
        self.pairing_failed(index, PairError::Canceled);
        if resolved {
            self.signal_battery(index, false);
            self.signal_device(index, "ServicesResolved", false.into());
        }
        self.signal_device(index, "Connected", false.into());
        self.signal_disconnected(index, reason);
        // A pairing that succeeded is answered even when the meter hangs up before its services are known.
        self.tell_paired(index);
    }

    /// Lets something happen to a meter and carries out what it does. `call` is the D-Bus call that waits for the
    /// meter's answer, if one does.
    pub(crate) fn drive(&mut self, now: SimTime, unit: usize, event: Event, call: Option<&Message>) -> Outcome {
        let mut outcome = Outcome::default();
        let read = match &event {
            Event::Read { characteristic } => Some(*characteristic),
            _ => None,
        };
        let Some(found) = self.units.get_mut(unit) else {
            return outcome;
        };
        let mut actions = VecDeque::from(found.meter.handle(now, event));
        while let Some(action) = actions.pop_front() {
            match action {
                Action::Value(value) => self.value_read(unit, read, value, call),
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
                    if self.on_air(unit, characteristic, value, Some(record)) {
                        self.counters.notifications += 1;
                        self.value_went_through();
                        self.drop_if_due(now, unit);
                    }
                }
                Action::Indicate {
                    characteristic,
                    value,
                    record,
                } => {
                    if self.on_air(unit, characteristic, value, record) {
                        self.counters.indications += 1;
                        self.value_went_through();
                        actions.extend(self.confirm(now, unit, record));
                        self.drop_if_due(now, unit);
                    }
                }
                Action::Disconnect => {
                    if let Some(index) = self.units.get(unit).and_then(|found| found.link) {
                        self.link_closed(now, index, Reason::Remote);
                    }
                }
                Action::Made(made) => {
                    if let Some(found) = self.units.get(unit) {
                        self.ledger.made(now, &found.id, &made);
                    }
                    outcome.made.push(made);
                }
                Action::Deleted(record) => self.fate(unit, record, Fate::Deleted),
                Action::Overwritten(record) => self.fate(unit, record, Fate::Overwritten),
                Action::Lost(record, loss) => self.fate(unit, record, loss.into()),
                Action::Impossible(error) => outcome.impossible = Some(error),
            }
        }
        outcome
    }

    /// Lets a person do something to a meter.
    pub(crate) fn handle_physical(&mut self, now: SimTime, unit: usize, event: Event) -> Outcome {
        let outcome = self.drive(now, unit, event, None);
        self.advance(now);
        outcome
    }

    fn value_read(&mut self, unit: usize, characteristic: Option<Uuid16>, value: Vec<u8>, call: Option<&Message>) {
        let index = self.units.get(unit).and_then(|found| found.link);
        // A successful read is signalled as a change of value too, before its reply.
        if let (Some(characteristic), Some(index)) = (characteristic, index)
            && let Some(device) = self.device_mut(index)
        {
            device.values.insert(characteristic, value.clone());
            self.signal_value(index, characteristic, value.clone());
        }
        if let Some(call) = call {
            self.reply(call, &value);
        }
    }

    pub(crate) fn refused(&mut self, error: AttError, call: Option<&Message>) {
        self.counters.att_errors += 1;
        if let Some(call) = call {
            self.reply_error(call, &BusError::att(error));
        }
    }

    /// Takes a value from the air. Returns whether there was a link to carry it.
    fn on_air(&mut self, unit: usize, characteristic: Uuid16, value: Vec<u8>, record: Option<RecordId>) -> bool {
        let Some(found) = self.units.get(unit) else {
            return false;
        };
        let Some(index) = found.link else { return false };
        let Some(device) = self.peers.get_mut(index).and_then(|peer| peer.device.as_mut()) else {
            return false;
        };
        if !device.is_connected() {
            return false;
        }
        let listeners = device.sessions.get(&characteristic).map_or(0, Vec::len);
        if let Some(record) = record {
            let part = if characteristic == uuid16::GLUCOSE_CONTEXT {
                Part::Context
            } else {
                Part::Measurement
            };
            self.ledger.sent(&found.id, record, part, &value, listeners > 0);
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
    fn confirm(&mut self, now: SimTime, unit: usize, record: Option<RecordId>) -> Vec<Action> {
        let Some(found) = self.units.get_mut(unit) else {
            return Vec::new();
        };
        if let Some(record) = record {
            self.ledger.confirmed(now, &found.id, record);
        }
        found.meter.handle(now, Event::Confirmed)
    }

    fn fate(&mut self, unit: usize, record: RecordId, fate: Fate) {
        if let Some(found) = self.units.get(unit) {
            self.ledger.fate(&found.id, record, fate);
        }
    }

    /// Counts down to a link loss that was ordered.
    fn drop_if_due(&mut self, now: SimTime, unit: usize) {
        let Some(found) = self.units.get_mut(unit) else { return };
        let Some(left) = found.drop_after.as_mut() else { return };
        *left = left.saturating_sub(1);
        if *left == 0
            && let Some(index) = found.link
        {
            self.link_lost(now, index, Reason::Timeout);
        }
    }
}
