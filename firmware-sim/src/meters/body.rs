//! What all meters share: identity, clock, battery, radio, memory and faults. A kind of meter adds only its measurement.

use std::time::Duration;

use carepost_gatt::current_time::{AdjustReason, CurrentTime};
use carepost_gatt::vendor_clock::{ISENS_COMMAND, ISENS_SERVICE, IsensSetClock};
use carepost_gatt::{Calendar, DateTime, DecodeError, Decoded, uuid16};
use chrono::{Datelike, NaiveDate, NaiveDateTime, TimeDelta};

use super::clock::{from_date_time, to_date_time, without_date};
use super::faults::{ContextFault, Fault, Faults};
use super::memory::{Memory, Record};
use super::radio::Radio;
use super::{
    Access, Action, AfterConfirm, AttError, ClockService, Identity, Loss, Made, MeterClock, Profile, RadioSettings,
    RecordId, Timestamp, Uuid16, damage,
};
use crate::SimTime;

/// What every kind of meter is configured with.
#[derive(Clone, Debug)]
pub struct CommonSettings {
    /// Device Information.
    pub identity: Identity,
    /// Records that the memory holds.
    pub memory: usize,
    /// The clock at the start.
    pub clock: MeterClock,
    /// How the clock can be read.
    pub clock_service: ClockService,
    /// Whether clients may set the clock.
    pub clock_writable: bool,
    /// Battery charge in per cent, when there is a Battery Service.
    pub battery: Option<u8>,
    /// Time from one record to the next.
    pub pace: Duration,
    /// Advertising and link.
    pub radio: RadioSettings,
    /// The service of a meter that speaks its maker's own protocol only: it has this one and not the standard one, and what
    /// is said in it is not simulated.
    pub own_service: Option<Uuid16>,
}

/// The main service of a kind: its UUID, its characteristics, and the one that tells features.
#[derive(Clone, Debug)]
pub(crate) struct MainService {
    pub(crate) uuid: Uuid16,
    pub(crate) characteristics: Vec<(Uuid16, Access)>,
    pub(crate) feature: Option<(Uuid16, Vec<u8>)>,
}

/// A record on its way into the memory.
#[derive(Debug)]
pub(crate) struct NewRecord {
    pub(crate) sequence: Option<u16>,
    pub(crate) user_time: Option<NaiveDateTime>,
    pub(crate) slot: Option<u8>,
    pub(crate) value: Vec<u8>,
    pub(crate) context: Option<Vec<u8>>,
}

/// The shared part of a meter.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    settings: CommonSettings,
    service: MainService,
    identity: Identity,
    pub(crate) table: Profile,
    pub(crate) clock: MeterClock,
    pub(crate) radio: Radio,
    pub(crate) faults: Faults,
    pub(crate) memory: Memory,
    /// Records made when the faults were switched on.
    made_at_switch: u64,
    /// How far records that come with a time of their own are moved, by a clock that jumped.
    displaced_s: i64,
    /// First time since time ran backwards.
    pivot: Option<NaiveDateTime>,
}

impl Body {
    pub(crate) fn new(settings: CommonSettings, service: MainService) -> Self {
        let mut body = Self {
            identity: settings.identity.clone(),
            table: Profile::default(),
            clock: settings.clock,
            radio: Radio::new(settings.radio.clone()),
            faults: Faults::none(),
            memory: Memory::new(settings.memory),
            made_at_switch: 0,
            displaced_s: 0,
            pivot: None,
            settings,
            service,
        };
        body.lay_out();
        body
    }

    /// Switches faults: the old ones end, the new ones begin.
    pub(crate) fn switch(&mut self, now: SimTime, faults: Faults, actions: &mut Vec<Action>) {
        self.radio.switch(&faults);
        self.faults = faults;
        self.made_at_switch = self.memory.made();
        self.displaced_s = 0;
        self.pivot = None;
        let drift = self.faults.last(|fault| match fault {
            Fault::Drift(seconds) => Some(*seconds),
            _ => None,
        });
        match drift {
            Some(seconds) => self.clock.set_drift(seconds, now),
            None => self.clock.set_drift(self.settings.clock.drift_s_per_day(), now),
        }
        if self.faults.has(Fault::ClockUnset) {
            self.clock.set(None, now);
        }
        let factory = self.faults.last(|fault| match fault {
            Fault::ClockYear(year) => NaiveDate::from_ymd_opt(i32::from(*year), 1, 1)?.and_hms_opt(0, 0, 0),
            _ => None,
        });
        if factory.is_some() {
            self.clock.set(factory, now);
        }
        if let Some(count) = self.backlog() {
            let gone = self.memory.keep_newest(count);
            actions.extend(gone.into_iter().map(|id| Action::Lost(id, Loss::Forgotten)));
        }
        self.lay_out();
    }

    /// How many records the memory shall hold at the switch, if a fault says so.
    pub(crate) fn backlog(&self) -> Option<usize> {
        self.faults.last(|fault| match fault {
            Fault::Backlog(count) => Some((*count).min(self.memory.size())),
            _ => None,
        })
    }

    /// Records made since the faults were switched on.
    fn made_since_switch(&self) -> u64 {
        self.memory.made().saturating_sub(self.made_at_switch)
    }

    pub(crate) fn battery(&self) -> Option<u8> {
        let claimed = self.faults.last(|fault| match fault {
            Fault::Battery(charge) => Some(*charge),
            _ => None,
        });
        claimed.or(self.settings.battery)
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(crate) fn service(&self) -> Uuid16 {
        self.settings.own_service.unwrap_or(self.service.uuid)
    }

    /// Time from one record to the next.
    pub(crate) fn pace(&self) -> Duration {
        let fault = self.faults.last(|fault| match fault {
            Fault::Pace(pace) => Some(*pace),
            _ => None,
        });
        fault.unwrap_or(self.settings.pace)
    }

    /// What a fault makes of records that a client has had.
    pub(crate) fn after_confirm(&self) -> Option<AfterConfirm> {
        self.faults.last(|fault| match fault {
            Fault::AfterConfirm(after) => Some(*after),
            _ => None,
        })
    }

    fn clock_service(&self) -> ClockService {
        let fault = self.faults.last(|fault| match fault {
            Fault::ClockService(service) => Some(*service),
            _ => None,
        });
        fault.unwrap_or(self.settings.clock_service)
    }

    fn clock_writable(&self) -> bool {
        let fault = self.faults.last(|fault| match fault {
            Fault::ClockWritable(writable) => Some(*writable),
            _ => None,
        });
        fault.unwrap_or(self.settings.clock_writable)
    }

    /// Computes what clients see: who it says it is, and its attribute table.
    fn lay_out(&mut self) {
        self.identity = self.settings.identity.clone();
        let family = self.faults.last(|fault| match fault {
            Fault::Family(family) => Some(*family),
            _ => None,
        });
        if let Some(family) = family {
            family.manufacturer.clone_into(&mut self.identity.manufacturer);
            family.model.clone_into(&mut self.identity.model);
            family.name.clone_into(&mut self.identity.local_name);
        }
        if self.faults.has(Fault::SameAsOthers) {
            self.identity.local_name = match self.service.uuid {
                uuid16::BLOOD_PRESSURE_SERVICE => "BP".to_owned(),
                uuid16::GLUCOSE_SERVICE => "Meter".to_owned(),
                _ => "Health".to_owned(),
            };
            self.identity.serial = "000000".to_owned();
        }
        self.table = self.attribute_table();
    }

    fn attribute_table(&self) -> Profile {
        let mut main = self.service.characteristics.clone();
        if self.faults.has(Fault::NoContexts) {
            main.retain(|(uuid, _)| *uuid != uuid16::GLUCOSE_CONTEXT);
        }
        if let Some((uuid, _)) = self
            .service
            .feature
            .as_ref()
            .filter(|_| !self.faults.has(Fault::NoFeature))
        {
            main.push((*uuid, Access::READ));
        }
        if self.faults.has(Fault::DoubledCharacteristics) {
            main = main.into_iter().flat_map(|one| [one, one]).collect();
        }
        let clock = if self.clock_writable() {
            Access::READ_WRITE
        } else {
            Access::READ
        };
        let mut services = Vec::new();
        let mut others = Vec::new();
        match self.clock_service() {
            ClockService::None => {}
            ClockService::DateTime => main.push((uuid16::DATE_TIME, clock)),
            ClockService::CurrentTime => {
                others.push((uuid16::CURRENT_TIME_SERVICE, vec![(uuid16::CURRENT_TIME, clock)]))
            }
            ClockService::Isens => others.push((ISENS_SERVICE, vec![(ISENS_COMMAND, Access::WRITE)])),
        }
        if self.settings.own_service.is_some() {
            main.clear();
        }
        services.push((self.service(), main));
        services.append(&mut others);
        if !self.faults.has(Fault::NoDeviceInformation) {
            let information = [
                uuid16::MANUFACTURER_NAME,
                uuid16::MODEL_NUMBER,
                uuid16::SERIAL_NUMBER,
                uuid16::FIRMWARE_REVISION,
            ];
            services.push((
                uuid16::DEVICE_INFORMATION_SERVICE,
                information.into_iter().map(|uuid| (uuid, Access::READ)).collect(),
            ));
        }
        if self.battery().is_some() {
            services.push((uuid16::BATTERY_SERVICE, vec![(uuid16::BATTERY_LEVEL, Access::READ)]));
        }
        Profile::new(&services)
    }

    /// Answers a read.
    pub(crate) fn read(&self, now: SimTime, characteristic: Uuid16) -> Action {
        let readable = self
            .table
            .characteristic(characteristic)
            .is_some_and(|found| found.access.read);
        match self.value_of(now, characteristic).filter(|_| readable) {
            Some(value) => Action::Value(value),
            None => Action::Refused(AttError::ReadNotPermitted),
        }
    }

    fn value_of(&self, now: SimTime, characteristic: Uuid16) -> Option<Vec<u8>> {
        let text = |text: &String| {
            let mut bytes = text.clone().into_bytes();
            if self.faults.has(Fault::PaddedTexts) {
                bytes.extend_from_slice(&[0, 0]);
            }
            Some(bytes)
        };
        match characteristic {
            uuid16::MANUFACTURER_NAME => text(&self.identity.manufacturer),
            uuid16::MODEL_NUMBER => text(&self.identity.model),
            uuid16::SERIAL_NUMBER => text(&self.identity.serial),
            uuid16::FIRMWARE_REVISION => text(&self.identity.firmware),
            uuid16::BATTERY_LEVEL => self.battery().map(|charge| vec![charge]),
            uuid16::DATE_TIME => self.clock.date_time(now).encode().ok(),
            uuid16::CURRENT_TIME => self.current_time(now).encode().ok(),
            other => self
                .service
                .feature
                .as_ref()
                .filter(|(uuid, _)| *uuid == other)
                .map(|(_, value)| value.clone()),
        }
    }

    fn current_time(&self, now: SimTime) -> CurrentTime {
        let day_of_week = self
            .clock
            .read(now)
            .and_then(|local| u8::try_from(local.weekday().number_from_monday()).ok());
        CurrentTime {
            time: self.clock.date_time(now),
            day_of_week,
            fractions256: 0,
            adjust: AdjustReason::default(),
        }
    }

    /// Takes a write to a clock; `None` if the characteristic is no clock of this meter.
    pub(crate) fn write_clock(&mut self, now: SimTime, characteristic: Uuid16, value: &[u8]) -> Option<Action> {
        let access = self.table.characteristic(characteristic)?.access;
        let date = match characteristic {
            uuid16::DATE_TIME => whole(DateTime::decode(value), |time| time),
            uuid16::CURRENT_TIME => whole(CurrentTime::decode(value), |current| current.time),
            ISENS_COMMAND => whole(IsensSetClock::decode(value), |command| command.time),
            _ => return None,
        };
        if !access.write {
            return Some(Action::Refused(AttError::WriteNotPermitted));
        }
        let local = date.and_then(|date| {
            let local = from_date_time(&date).filter(|_| date.calendar() == Calendar::Valid);
            local.ok_or(AttError::OutOfRange)
        });
        match local {
            Ok(local) => {
                self.clock.set(Some(local), now);
                self.radio.clock_written(now);
                Some(Action::Written)
            }
            Err(error) => Some(Action::Refused(error)),
        }
    }

    /// The time field of a record, as the meter's clock, right or wrong, has it; the base clock, where the two are apart.
    pub(crate) fn timestamp(&mut self, at: Timestamp, now: SimTime) -> DateTime {
        let local = match at {
            // What the meter shows, and what can be read of it, is the user's time: the base clock is behind it by the offset.
            Timestamp::MeterClock => {
                let offset = TimeDelta::minutes(i64::from(self.user_offset().unwrap_or(0)));
                self.clock.read(now).and_then(|shown| shown.checked_sub_signed(offset))
            }
            Timestamp::Local(local) => {
                let by = TimeDelta::try_seconds(self.displaced_s).unwrap_or(TimeDelta::zero());
                local.checked_add_signed(by)
            }
        };
        let Some(local) = local else {
            return self.clock.date_time(now);
        };
        if self.faults.has(Fault::ClockUnset) && self.clock.read(now).is_none() {
            return without_date(to_date_time(local));
        }
        if self.faults.has(Fault::TimesRunBackwards) {
            let pivot = *self.pivot.get_or_insert(local);
            let back = pivot.checked_sub_signed((local - pivot).abs());
            // Each record is at least a minute older than the one before, also when all are made at once.
            let step = TimeDelta::try_minutes(i64::try_from(self.made_since_switch()).unwrap_or(0));
            let older = step.and_then(|step| back?.checked_sub_signed(step));
            return to_date_time(older.unwrap_or(pivot));
        }
        to_date_time(local)
    }

    /// Minutes from the base time to the user's, if a fault says so.
    pub(crate) fn user_offset(&self) -> Option<i16> {
        self.faults.last(|fault| match fault {
            Fault::UserOffset(minutes) => Some(*minutes),
            _ => None,
        })
    }

    /// Puts a record into the memory.
    pub(crate) fn store(&mut self, new: NewRecord, actions: &mut Vec<Action>) {
        let id = self.memory.next_id();
        actions.push(Action::Made(Made {
            id,
            sequence: new.sequence,
            value: new.value.clone(),
            context: new.context.clone(),
            profiles: self.faults.names().to_vec(),
        }));
        let overwritten = self.memory.push(Record {
            id,
            sequence: new.sequence,
            user_time: new.user_time,
            slot: new.slot,
            value: new.value,
            context: new.context,
            sent: false,
        });
        actions.extend(overwritten.map(Action::Overwritten));
        self.after_making(actions);
    }

    /// What happens to a meter after so many records.
    fn after_making(&mut self, actions: &mut Vec<Action>) {
        let made = self.made_since_switch();
        let jump = self.faults.last(|fault| match fault {
            Fault::JumpsAfter { records, seconds } if *records == made => Some(i64::from(*seconds)),
            _ => None,
        });
        if let Some(seconds) = jump {
            self.clock.jump(seconds);
            self.displaced_s = self.displaced_s.saturating_add(seconds);
        }
        if self.forgets_now() {
            let gone = self.memory.keep_newest(0);
            actions.extend(gone.into_iter().map(|id| Action::Lost(id, Loss::Forgotten)));
        }
    }

    /// Whether the meter has just lost its memory, after the record that was made last.
    pub(crate) fn forgets_now(&self) -> bool {
        let after = self.faults.last(|fault| match fault {
            Fault::ForgetsAfter(records) => Some(*records),
            _ => None,
        });
        after == Some(self.made_since_switch())
    }

    /// Whether measurements are stored twice.
    pub(crate) fn makes_twins(&self) -> bool {
        self.faults.has(Fault::Twins)
    }

    /// The bytes of a measurement as they go on air.
    pub(crate) fn on_air(&self, characteristic: Uuid16, value: &[u8], record: RecordId) -> Vec<u8> {
        self.faults.damages().fold(value.to_vec(), |bytes, damage| {
            damage::apply(damage, characteristic, &bytes, record.0)
        })
    }

    /// The bytes of a context as they go on air; a foreign one names a record that is not there.
    pub(crate) fn context_on_air(&self, context: &[u8], record: RecordId) -> Vec<u8> {
        /// Far from the numbers that a meter of 500 records uses, in either direction.
        const FOREIGN: u16 = 0x8000;
        let mut bytes = self.on_air(uuid16::GLUCOSE_CONTEXT, context, record);
        if let (Some(ContextFault::Foreign), Some(high)) = (self.faults.context(), bytes.get_mut(2)) {
            let [_, flip] = FOREIGN.to_le_bytes();
            *high ^= flip;
        }
        bytes
    }

    pub(crate) fn connected(&mut self, now: SimTime) {
        self.radio.connected(now);
    }

    pub(crate) fn disconnected(&mut self) {
        if self.radio.is_connected() {
            let jump = self.faults.last(|fault| match fault {
                Fault::JumpsBetweenLinks(seconds) => Some(i64::from(*seconds)),
                _ => None,
            });
            self.clock.jump(jump.unwrap_or(0));
        }
        self.radio.disconnected();
        if self.memory.unsent() == 0 {
            self.radio.close_window();
        }
    }
}

/// The time in a packet that was written to a clock, without a byte too few or too many.
fn whole<T>(decoded: Result<Decoded<T>, DecodeError>, time: fn(T) -> DateTime) -> Result<DateTime, AttError> {
    match decoded {
        Ok(decoded) if decoded.trailing_bytes == 0 => Ok(time(decoded.value)),
        Ok(_) | Err(DecodeError::TooShort { .. }) => Err(AttError::InvalidLength),
        Err(_) => Err(AttError::OutOfRange),
    }
}
