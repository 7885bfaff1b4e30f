//! A blood pressure cuff: Blood Pressure Service 0x1810, records indicated oldest first.

use std::collections::VecDeque;
use std::time::Duration;

use carepost_gatt::uuid16;

use super::encode::{self, CuffMeasurement, CuffUnit, RecordError};
use super::radio::Radio;
use super::{
    Access, Action, AttError, ClockService, Event, Identity, MAX_MEMORY, Made, MeterClock, Profile, RadioSettings,
    RecordId, Uuid16,
};
use crate::SimTime;

/// What a cuff does with a record whose indication was confirmed.
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

/// What kind of cuff it is.
#[derive(Clone, Debug)]
pub struct CuffSettings {
    /// Device Information.
    pub identity: Identity,
    /// User ids (0 to 254) that the slots on the housing send; empty for a cuff without slots.
    pub slots: Vec<u8>,
    /// Records that the memory holds.
    pub memory: usize,
    /// Fate of confirmed records.
    pub after_confirm: AfterConfirm,
    /// Unit on air.
    pub unit: CuffUnit,
    /// Bits of Blood Pressure Feature (2A49).
    pub feature: u16,
    /// Whether there is a clock; records carry a time stamp only then.
    pub has_clock: bool,
    /// How the clock can be read.
    pub clock_service: ClockService,
    /// The clock at the start.
    pub clock: MeterClock,
    /// Battery charge in per cent, when there is a Battery Service.
    pub battery: Option<u8>,
    /// Time from a confirmation to the next indication.
    pub indication_interval: Duration,
    /// Advertising and link.
    pub radio: RadioSettings,
}

#[derive(Clone, Debug)]
struct Record {
    id: RecordId,
    value: Vec<u8>,
    sent: bool,
}

/// A blood pressure cuff.
#[derive(Clone, Debug)]
pub struct Cuff {
    settings: CuffSettings,
    profile: Profile,
    clock: MeterClock,
    radio: Radio,
    records: VecDeque<Record>,
    made: u64,
    awaiting: Option<RecordId>,
    next_send: SimTime,
}

impl Cuff {
    /// A cuff with an empty memory.
    pub fn new(mut settings: CuffSettings) -> Self {
        settings.memory = settings.memory.clamp(1, MAX_MEMORY);
        let mut pressure = vec![(uuid16::BLOOD_PRESSURE_MEASUREMENT, Access::INDICATE)];
        pressure.push((uuid16::BLOOD_PRESSURE_FEATURE, Access::READ));
        let profile = encode::profile(
            uuid16::BLOOD_PRESSURE_SERVICE,
            pressure,
            settings.clock_service,
            settings.battery,
        );
        let clock = settings.clock;
        let radio = Radio::new(settings.radio.clone());
        Self {
            settings,
            profile,
            clock,
            radio,
            records: VecDeque::new(),
            made: 0,
            awaiting: None,
            next_send: SimTime::ZERO,
        }
    }

    /// Lets something happen to the cuff.
    pub fn handle(&mut self, now: SimTime, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Connected => self.connected(now),
            Event::Disconnected => self.disconnected(),
            Event::Read { characteristic } => {
                self.radio.traffic(now);
                actions.push(self.read(now, characteristic));
            }
            Event::Write { .. } => {
                self.radio.traffic(now);
                actions.push(Action::Refused(AttError::WriteNotPermitted));
            }
            Event::Subscribe {
                characteristic,
                enabled,
            } => {
                self.radio.traffic(now);
                self.radio.subscribe(characteristic, enabled);
            }
            Event::Confirmed => self.confirmed(now, &mut actions),
            Event::DeadlineReached => {}
            Event::MeasureCuff(measurement) => {
                if self.store(now, &measurement, &mut actions) {
                    self.radio.open_window(now);
                }
            }
            Event::StoreCuff(measurement) => {
                self.store(now, &measurement, &mut actions);
            }
            Event::MeasureGlucose(_) | Event::StoreGlucose(_) => {
                actions.push(Action::Impossible(RecordError::WrongKind {
                    meter: "cuff",
                    record: "glucose",
                }));
            }
            Event::PressTransfer => self.radio.open_window(now),
            Event::SetClock(local) => {
                self.clock = local.map_or(MeterClock::Unset, |local| MeterClock::showing(local, now));
            }
        }
        self.send_next(now, &mut actions);
        if self.radio.is_idle(now) {
            self.disconnected();
            actions.push(Action::Disconnect);
        }
        actions
    }

    /// When the cuff wants to be called again.
    pub fn deadline(&self) -> Option<SimTime> {
        let send = self.next_record().map(|_| self.next_send);
        [send, self.radio.deadline()].into_iter().flatten().min()
    }

    /// Whether the cuff sends advertisements.
    pub fn is_advertising(&self, now: SimTime) -> bool {
        self.radio.is_advertising(now)
    }

    /// The attribute table.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// The stored client configuration of a characteristic.
    pub fn configuration(&self, characteristic: Uuid16) -> bool {
        self.radio.configuration(characteristic)
    }

    /// The clock.
    pub fn clock(&self) -> MeterClock {
        self.clock
    }

    /// Records in the memory, and those among them never confirmed.
    pub fn memory(&self) -> (usize, usize) {
        (
            self.records.len(),
            self.records.iter().filter(|record| !record.sent).count(),
        )
    }

    /// Battery charge in per cent.
    pub fn battery(&self) -> Option<u8> {
        self.settings.battery
    }

    /// Device Information.
    pub fn identity(&self) -> &Identity {
        &self.settings.identity
    }

    /// User ids of the slots.
    pub fn slots(&self) -> &[u8] {
        &self.settings.slots
    }

    fn connected(&mut self, now: SimTime) {
        self.radio.connected(now);
        self.awaiting = None;
        self.next_send = now;
        if self.settings.after_confirm == AfterConfirm::Resend {
            self.records.iter_mut().for_each(|record| record.sent = false);
        }
    }

    /// An indication without its confirmation did not happen: the record stays for the next link.
    fn disconnected(&mut self) {
        self.radio.disconnected();
        self.awaiting = None;
        if self.records.iter().all(|record| record.sent) {
            self.radio.close_window();
        }
    }

    fn read(&self, now: SimTime, characteristic: Uuid16) -> Action {
        if characteristic == uuid16::BLOOD_PRESSURE_FEATURE {
            return Action::Value(self.settings.feature.to_le_bytes().to_vec());
        }
        match encode::read_common(
            &self.settings.identity,
            self.clock,
            now,
            self.settings.battery,
            characteristic,
        ) {
            Some(value) if self.profile.characteristic(characteristic).is_some() => Action::Value(value),
            _ => Action::Refused(AttError::ReadNotPermitted),
        }
    }

    fn store(&mut self, now: SimTime, measurement: &CuffMeasurement, actions: &mut Vec<Action>) -> bool {
        if let Some(slot) = measurement.slot.filter(|slot| !self.settings.slots.contains(slot)) {
            actions.push(Action::Impossible(RecordError::UnknownSlot { slot }));
            return false;
        }
        let clock = self.settings.has_clock.then_some(&self.clock);
        let value = match encode::cuff_value(measurement, self.settings.unit, clock, now) {
            Ok(value) => value,
            Err(error) => {
                actions.push(Action::Impossible(error));
                return false;
            }
        };
        self.made += 1;
        let id = RecordId(self.made);
        if self.records.len() >= self.settings.memory
            && let Some(oldest) = self.records.pop_front()
        {
            actions.push(Action::Overwritten(oldest.id));
        }
        self.records.push_back(Record {
            id,
            value: value.clone(),
            sent: false,
        });
        actions.push(Action::Made(Made {
            id,
            sequence: None,
            value,
            context: None,
        }));
        true
    }

    fn confirmed(&mut self, now: SimTime, actions: &mut Vec<Action>) {
        let Some(id) = self.awaiting.take() else { return };
        self.radio.traffic(now);
        self.next_send = now.saturating_add(self.settings.indication_interval);
        match self.settings.after_confirm {
            AfterConfirm::Delete => {
                self.records.retain(|record| record.id != id);
                actions.push(Action::Deleted(id));
            }
            AfterConfirm::Keep | AfterConfirm::Resend => {
                if let Some(record) = self.records.iter_mut().find(|record| record.id == id) {
                    record.sent = true;
                }
            }
        }
    }

    /// The oldest record not yet confirmed, when the link is ready to take it.
    fn next_record(&self) -> Option<&Record> {
        if self.awaiting.is_some() || !self.radio.is_subscribed(uuid16::BLOOD_PRESSURE_MEASUREMENT) {
            return None;
        }
        self.records.iter().find(|record| !record.sent)
    }

    fn send_next(&mut self, now: SimTime, actions: &mut Vec<Action>) {
        if now < self.next_send {
            return;
        }
        let Some((id, value)) = self.next_record().map(|record| (record.id, record.value.clone())) else {
            return;
        };
        self.radio.traffic(now);
        self.awaiting = Some(id);
        actions.push(Action::Indicate {
            characteristic: uuid16::BLOOD_PRESSURE_MEASUREMENT,
            value,
            record: Some(id),
        });
    }
}
