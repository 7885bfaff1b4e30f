//! Meters that indicate what they have, oldest first, as soon as a client wants it: cuffs, scales, thermometers,
//! oximeters. They know no selection; what a client has had is deleted, kept, or sent again.

use carepost_gatt::{DateTime, uuid16};

use super::body::{Body, MainService, NewRecord};
use super::cuff::{self, CuffUnit};
use super::encode::{RecordError, Timestamp};
use super::faults::Fault;
use super::memory::Record;
use super::{Action, Loss, RecordId, Taken, Uuid16, own};
use crate::SimTime;

/// What a meter does with a record whose indication was confirmed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterConfirm {
    /// Forgets it: what nobody listened to is gone for good, as on cuffs without record selection.
    Delete,
    /// Keeps it for its own display and never sends it again.
    #[default]
    Keep,
    /// Keeps it and sends it again on every link, as cuffs that know no "new" do.
    Resend,
}

/// What it measures.
#[derive(Clone, Debug)]
pub(crate) enum Sensor {
    Cuff { unit: CuffUnit, feature: u16 },
    Scale { pounds: bool },
    Thermometer { fahrenheit: bool },
    Oximeter { continuous: bool },
}

/// The indicating part of a meter.
#[derive(Clone, Debug)]
pub(crate) struct Indicator {
    sensor: Sensor,
    slots: Vec<u8>,
    has_clock: bool,
    after_confirm: AfterConfirm,
    awaiting: Option<RecordId>,
    /// The record that went out once and goes out once more.
    repeating: Option<RecordId>,
    next_send: SimTime,
    /// User id of the slot that measured last.
    current: Option<u8>,
}

impl Indicator {
    pub(crate) fn new(sensor: Sensor, slots: Vec<u8>, has_clock: bool, after_confirm: AfterConfirm) -> Self {
        Self {
            sensor,
            slots,
            has_clock,
            after_confirm,
            awaiting: None,
            repeating: None,
            next_send: SimTime::ZERO,
            current: None,
        }
    }

    pub(crate) fn service(&self) -> MainService {
        match self.sensor {
            Sensor::Cuff { feature, .. } => cuff::service(feature),
            Sensor::Scale { .. } => own::scale_service(&self.slots),
            Sensor::Thermometer { .. } => own::thermometer_service(),
            Sensor::Oximeter { continuous } => own::oximeter_service(continuous),
        }
    }

    pub(crate) fn word(&self) -> &'static str {
        match self.sensor {
            Sensor::Cuff { .. } => "cuff",
            Sensor::Scale { .. } => "scale",
            Sensor::Thermometer { .. } => "thermometer",
            Sensor::Oximeter { .. } => "oximeter",
        }
    }

    pub(crate) fn slots(&self) -> &[u8] {
        &self.slots
    }

    fn characteristic(&self) -> Uuid16 {
        match self.sensor {
            Sensor::Cuff { .. } => cuff::CHARACTERISTIC,
            Sensor::Scale { .. } => uuid16::WEIGHT_MEASUREMENT,
            Sensor::Thermometer { .. } => uuid16::TEMPERATURE_MEASUREMENT,
            Sensor::Oximeter { .. } => uuid16::PLX_SPOT_CHECK,
        }
    }

    fn after_confirm(&self, body: &Body) -> AfterConfirm {
        body.after_confirm().unwrap_or(self.after_confirm)
    }

    /// Makes records of a measurement.
    pub(crate) fn take(
        &mut self,
        body: &mut Body,
        now: SimTime,
        taken: &Taken,
        actions: &mut Vec<Action>,
    ) -> Result<(), RecordError> {
        let (chosen, at) = self.slot_and_time(taken)?;
        let user = user_on_air(body, &self.slots, chosen)?;
        // Encoded before anything changes, so that a refused measurement leaves nothing behind.
        let time = (self.has_clock && !body.faults.has(Fault::NoTimestamp)).then(|| body.timestamp(at, now));
        let value = self.encode(taken, time, user)?;
        self.current = user;
        let copies = if body.makes_twins() { 2 } else { 1 };
        for _ in 0..copies {
            let new = NewRecord {
                sequence: None,
                user_time: None,
                slot: user,
                value: value.clone(),
                context: None,
            };
            body.store(new, actions);
        }
        Ok(())
    }

    fn encode(&self, taken: &Taken, time: Option<DateTime>, user: Option<u8>) -> Result<Vec<u8>, RecordError> {
        match (&self.sensor, taken) {
            (Sensor::Cuff { unit, .. }, Taken::Cuff(measurement)) => cuff::value(measurement, *unit, time, user),
            (Sensor::Scale { pounds }, Taken::Weight(measurement)) => {
                own::weight_value(measurement, *pounds, time, user)
            }
            (Sensor::Thermometer { fahrenheit }, Taken::Temperature(measurement)) => {
                own::temperature_value(measurement, *fahrenheit, time)
            }
            (Sensor::Oximeter { .. }, Taken::Oxygen(measurement)) => own::oxygen_value(measurement, time),
            _ => Err(self.wrong_kind(taken)),
        }
    }

    /// The slot that a person chose, and when they measured.
    fn slot_and_time(&self, taken: &Taken) -> Result<(Option<u8>, Timestamp), RecordError> {
        match (&self.sensor, taken) {
            (Sensor::Cuff { .. }, Taken::Cuff(measurement)) => Ok((measurement.slot, measurement.at)),
            (Sensor::Scale { .. }, Taken::Weight(measurement)) => Ok((measurement.slot, measurement.at)),
            (Sensor::Thermometer { .. }, Taken::Temperature(measurement)) => Ok((None, measurement.at)),
            (Sensor::Oximeter { .. }, Taken::Oxygen(measurement)) => Ok((None, measurement.at)),
            _ => Err(self.wrong_kind(taken)),
        }
    }

    fn wrong_kind(&self, taken: &Taken) -> RecordError {
        RecordError::WrongKind {
            meter: self.word(),
            record: taken.word(),
        }
    }

    /// Live values, which are no records.
    pub(crate) fn live(&self, body: &Body, taken: &Taken, actions: &mut Vec<Action>) {
        if let Taken::Oxygen(measurement) = taken
            && body.radio.is_subscribed(uuid16::PLX_CONTINUOUS)
            && let Some(value) = own::live_oxygen_value(measurement)
        {
            actions.push(Action::Notify {
                characteristic: uuid16::PLX_CONTINUOUS,
                value,
                record: RecordId::NONE,
            });
        }
    }

    pub(crate) fn connected(&mut self, body: &mut Body, now: SimTime) {
        self.awaiting = None;
        self.repeating = None;
        self.next_send = now;
        if self.after_confirm(body) == AfterConfirm::Resend {
            body.memory.iter_mut().for_each(|record| record.sent = false);
        }
    }

    /// An indication without its confirmation did not happen: the record stays for the next link.
    pub(crate) fn disconnected(&mut self) {
        self.awaiting = None;
        self.repeating = None;
    }

    pub(crate) fn confirmed(&mut self, body: &mut Body, now: SimTime, actions: &mut Vec<Action>) {
        let Some(id) = self.awaiting.take() else { return };
        body.radio.traffic(now);
        self.next_send = now.saturating_add(body.pace());
        if body.faults.has(Fault::Duplicates) && self.repeating != Some(id) {
            self.repeating = Some(id);
            return;
        }
        self.repeating = None;
        match self.after_confirm(body) {
            AfterConfirm::Delete => {
                if body.memory.remove(id) {
                    actions.push(Action::Deleted(id));
                }
            }
            AfterConfirm::Keep | AfterConfirm::Resend => body.memory.mark_sent(id),
        }
        body.radio.record_passed();
    }

    /// The other central took what is sent only once.
    pub(crate) fn taken_elsewhere(&mut self, body: &mut Body, actions: &mut Vec<Action>) {
        let after = self.after_confirm(body);
        if after == AfterConfirm::Resend {
            return;
        }
        let unsent: Vec<RecordId> = body
            .memory
            .iter()
            .filter(|record| !record.sent)
            .map(|record| record.id)
            .collect();
        for id in unsent {
            if after == AfterConfirm::Delete {
                body.memory.remove(id);
            } else {
                body.memory.mark_sent(id);
            }
            actions.push(Action::Lost(id, Loss::Elsewhere));
        }
    }

    pub(crate) fn deadline(&self, body: &Body) -> Option<SimTime> {
        self.next_record(body).map(|_| self.next_send)
    }

    /// The record that goes out next, when the link is ready to take it.
    fn next_record<'a>(&self, body: &'a Body) -> Option<&'a Record> {
        if self.awaiting.is_some() || !body.radio.is_subscribed(self.characteristic()) {
            return None;
        }
        let current_only = body.faults.has(Fault::CurrentUserOnly);
        let wanted = |record: &&Record| !record.sent && (!current_only || record.slot == self.current);
        if body.faults.has(Fault::NewestFirst) {
            body.memory.iter().rev().find(wanted)
        } else {
            body.memory.iter().find(wanted)
        }
    }

    pub(crate) fn send_next(&mut self, body: &mut Body, now: SimTime, actions: &mut Vec<Action>) {
        if now < self.next_send || body.radio.is_lost() {
            return;
        }
        let Some((id, value)) = self.next_record(body).map(|record| (record.id, record.value.clone())) else {
            return;
        };
        body.radio.traffic(now);
        self.awaiting = Some(id);
        actions.push(Action::Indicate {
            characteristic: self.characteristic(),
            value: body.on_air(self.characteristic(), &value, id),
            record: Some(id),
        });
    }
}

/// The user id that a record carries. `chosen` is that of a slot on the housing.
fn user_on_air(body: &Body, slots: &[u8], chosen: Option<u8>) -> Result<Option<u8>, RecordError> {
    let renamed = body.faults.last(|fault| match fault {
        Fault::Slots(slots) => Some(*slots),
        _ => None,
    });
    let position = match chosen {
        None => 0,
        Some(slot) => slots
            .iter()
            .position(|known| *known == slot)
            .or_else(|| renamed?.iter().position(|known| *known == slot))
            .ok_or(RecordError::UnknownSlot { slot })?,
    };
    if body.faults.has(Fault::NoUser) {
        return Ok(None);
    }
    if body.faults.has(Fault::UnknownUser) {
        return Ok(Some(u8::MAX));
    }
    if body.faults.has(Fault::GuestUser) {
        let last = slots.iter().max().copied().unwrap_or(0);
        // 255 is the unknown user.
        return Ok(Some(last.saturating_add(1).min(u8::MAX - 1)));
    }
    match renamed {
        Some(renamed) => Ok(renamed.get(position).or(renamed.first()).copied()),
        None => Ok(chosen),
    }
}
