//! A glucose meter: Glucose Service 0x1808, records on request through the Record Access Control Point.

use std::collections::VecDeque;
use std::time::Duration;

use carepost_gatt::racp::{OpCode, ResultCode};
use carepost_gatt::uuid16;
use chrono::NaiveDateTime;

use super::encode::{self, GlucoseMeasurement, GlucoseUnit, RecordError};
use super::racp::{self, Order, Selection};
use super::radio::Radio;
use super::{
    Access, Action, AttError, ClockService, Event, Identity, MAX_MEMORY, Made, MeterClock, Profile, RadioSettings,
    RecordId, Uuid16,
};
use crate::SimTime;

/// What kind of glucose meter it is.
#[derive(Clone, Debug)]
pub struct GlucoseSettings {
    /// Device Information.
    pub identity: Identity,
    /// Records that the memory holds.
    pub memory: usize,
    /// Quantity on air: mass or amount of substance per litre.
    pub unit: GlucoseUnit,
    /// Bits of Glucose Feature (2A51).
    pub feature: u16,
    /// Whether there is a context characteristic (2A34).
    pub has_context: bool,
    /// Sequence number of the first record.
    pub first_sequence: u16,
    /// Whether clients may delete records.
    pub allows_delete: bool,
    /// How the clock can be read.
    pub clock_service: ClockService,
    /// The clock at the start.
    pub clock: MeterClock,
    /// Battery charge in per cent, when there is a Battery Service.
    pub battery: Option<u8>,
    /// Time from one record to the next while reporting.
    pub notification_interval: Duration,
    /// Advertising and link.
    pub radio: RadioSettings,
}

#[derive(Clone, Debug)]
struct Record {
    id: RecordId,
    sequence: u16,
    /// Base time plus offset, by which requests filter; unknown when the clock was unset.
    user_time: Option<NaiveDateTime>,
    value: Vec<u8>,
    context: Option<Vec<u8>>,
    reported: bool,
}

/// The state of the control point. One procedure at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Procedure {
    Idle,
    /// Records still to be sent, oldest first.
    Reporting {
        left: VecDeque<RecordId>,
        next_at: SimTime,
    },
    /// The answer is on its way and not confirmed.
    Answering,
}

/// A glucose meter.
#[derive(Clone, Debug)]
pub struct GlucoseMeter {
    settings: GlucoseSettings,
    profile: Profile,
    clock: MeterClock,
    radio: Radio,
    records: VecDeque<Record>,
    made: u64,
    next_sequence: u16,
    procedure: Procedure,
}

impl GlucoseMeter {
    /// A meter with an empty memory.
    pub fn new(mut settings: GlucoseSettings) -> Self {
        settings.memory = settings.memory.clamp(1, MAX_MEMORY);
        let mut glucose = vec![(uuid16::GLUCOSE_MEASUREMENT, Access::NOTIFY)];
        if settings.has_context {
            glucose.push((uuid16::GLUCOSE_CONTEXT, Access::NOTIFY));
        }
        glucose.push((uuid16::GLUCOSE_FEATURE, Access::READ));
        glucose.push((uuid16::RECORD_ACCESS_CONTROL_POINT, Access::CONTROL_POINT));
        let profile = encode::profile(
            uuid16::GLUCOSE_SERVICE,
            glucose,
            settings.clock_service,
            settings.battery,
        );
        Self {
            profile,
            clock: settings.clock,
            radio: Radio::new(settings.radio.clone()),
            records: VecDeque::new(),
            made: 0,
            next_sequence: settings.first_sequence,
            procedure: Procedure::Idle,
            settings,
        }
    }

    /// Lets something happen to the meter.
    pub fn handle(&mut self, now: SimTime, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Connected => {
                self.radio.connected(now);
                self.procedure = Procedure::Idle;
            }
            Event::Disconnected => self.disconnected(),
            Event::Read { characteristic } => {
                self.radio.traffic(now);
                actions.push(self.read(now, characteristic));
            }
            Event::Write { characteristic, value } => {
                self.radio.traffic(now);
                self.write(now, characteristic, &value, &mut actions);
            }
            Event::Subscribe {
                characteristic,
                enabled,
            } => {
                self.radio.traffic(now);
                self.radio.subscribe(characteristic, enabled);
                let carries = [uuid16::GLUCOSE_MEASUREMENT, uuid16::RECORD_ACCESS_CONTROL_POINT];
                // Nothing can be sent to who wants nothing any more: the procedure ends without an answer.
                if !enabled && carries.contains(&characteristic) {
                    self.procedure = Procedure::Idle;
                }
            }
            Event::Confirmed => {
                self.radio.traffic(now);
                if self.procedure == Procedure::Answering {
                    self.procedure = Procedure::Idle;
                }
            }
            Event::DeadlineReached => {}
            Event::MeasureGlucose(measurement) => {
                if self.store(now, &measurement, &mut actions) {
                    self.radio.open_window(now);
                }
            }
            Event::StoreGlucose(measurement) => {
                self.store(now, &measurement, &mut actions);
            }
            Event::MeasureCuff(_) | Event::StoreCuff(_) => {
                actions.push(Action::Impossible(RecordError::WrongKind {
                    meter: "glucose",
                    record: "cuff",
                }));
            }
            Event::PressTransfer => self.radio.open_window(now),
            Event::SetClock(local) => {
                self.clock = local.map_or(MeterClock::Unset, |local| MeterClock::showing(local, now));
            }
        }
        self.report_next(now, &mut actions);
        if self.radio.is_idle(now) {
            self.disconnected();
            actions.push(Action::Disconnect);
        }
        actions
    }

    /// When the meter wants to be called again.
    pub fn deadline(&self) -> Option<SimTime> {
        let report = match &self.procedure {
            Procedure::Reporting { next_at, .. } => Some(*next_at),
            Procedure::Idle | Procedure::Answering => None,
        };
        [report, self.radio.deadline()].into_iter().flatten().min()
    }

    /// Whether the meter sends advertisements.
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

    /// Records in the memory, and those among them never reported.
    pub fn memory(&self) -> (usize, usize) {
        (
            self.records.len(),
            self.records.iter().filter(|record| !record.reported).count(),
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

    /// Whether it has contexts (2A34).
    pub fn has_context(&self) -> bool {
        self.settings.has_context
    }

    /// A procedure dies with its link, without an answer; what was sent stays sent.
    fn disconnected(&mut self) {
        self.radio.disconnected();
        self.procedure = Procedure::Idle;
        if self.records.iter().all(|record| record.reported) {
            self.radio.close_window();
        }
    }

    fn read(&self, now: SimTime, characteristic: Uuid16) -> Action {
        if characteristic == uuid16::GLUCOSE_FEATURE {
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

    fn store(&mut self, now: SimTime, measurement: &GlucoseMeasurement, actions: &mut Vec<Action>) -> bool {
        if measurement.has_context() && !self.settings.has_context {
            actions.push(Action::Impossible(RecordError::NoContext));
            return false;
        }
        let sequence = self.next_sequence;
        let encoded = match encode::glucose_values(measurement, sequence, self.settings.unit, &self.clock, now) {
            Ok(encoded) => encoded,
            Err(error) => {
                actions.push(Action::Impossible(error));
                return false;
            }
        };
        self.made += 1;
        self.next_sequence = sequence.wrapping_add(1);
        let id = RecordId(self.made);
        if self.records.len() >= self.settings.memory
            && let Some(oldest) = self.records.pop_front()
        {
            actions.push(Action::Overwritten(oldest.id));
        }
        let (value, context) = (encoded.value, encoded.context);
        self.records.push_back(Record {
            id,
            sequence,
            user_time: encoded.user_time,
            value: value.clone(),
            context: context.clone(),
            reported: false,
        });
        actions.push(Action::Made(Made {
            id,
            sequence: Some(sequence),
            value,
            context,
        }));
        true
    }

    fn write(&mut self, now: SimTime, characteristic: Uuid16, value: &[u8], actions: &mut Vec<Action>) {
        if characteristic != uuid16::RECORD_ACCESS_CONTROL_POINT {
            actions.push(Action::Refused(AttError::WriteNotPermitted));
            return;
        }
        if !self.radio.is_subscribed(uuid16::RECORD_ACCESS_CONTROL_POINT) {
            actions.push(Action::Refused(AttError::ConfigurationImproper));
            return;
        }
        let (op, order) = match racp::decide(value) {
            Ok(decided) => decided,
            Err(error) => {
                actions.push(Action::Refused(error));
                return;
            }
        };
        let busy = self.procedure != Procedure::Idle;
        if busy && order != Ok(Order::Abort) {
            actions.push(Action::Refused(AttError::ProcedureInProgress));
            return;
        }
        if matches!(order, Ok(Order::Report(_))) && !self.radio.is_subscribed(uuid16::GLUCOSE_MEASUREMENT) {
            actions.push(Action::Refused(AttError::ConfigurationImproper));
            return;
        }
        actions.push(Action::Written);
        match order {
            Err(code) => self.answer(racp::result(op, code), actions),
            Ok(Order::Abort) => self.answer(racp::result(op, ResultCode::Success), actions),
            Ok(Order::Count(selection)) => {
                let count = self.select(&selection).len();
                self.answer(racp::count(count), actions);
            }
            Ok(Order::Delete(_)) if !self.settings.allows_delete => {
                self.answer(racp::result(op, ResultCode::OpCodeNotSupported), actions);
            }
            Ok(Order::Delete(selection)) => {
                let selected = self.select(&selection);
                self.records.retain(|record| !selected.contains(&record.id));
                let code = if selected.is_empty() {
                    ResultCode::NoRecordsFound
                } else {
                    ResultCode::Success
                };
                actions.extend(selected.into_iter().map(Action::Deleted));
                self.answer(racp::result(op, code), actions);
            }
            Ok(Order::Report(selection)) => {
                let left = self.select(&selection);
                if left.is_empty() {
                    self.answer(racp::result(op, ResultCode::NoRecordsFound), actions);
                } else {
                    self.procedure = Procedure::Reporting { left, next_at: now };
                }
            }
        }
    }

    fn answer(&mut self, value: Vec<u8>, actions: &mut Vec<Action>) {
        self.procedure = Procedure::Answering;
        actions.push(Action::Indicate {
            characteristic: uuid16::RECORD_ACCESS_CONTROL_POINT,
            value,
            record: None,
        });
    }

    /// The selected records, oldest first.
    fn select(&self, selection: &Selection) -> VecDeque<RecordId> {
        let ids = |records: Vec<&Record>| records.into_iter().map(|record| record.id).collect();
        match selection {
            Selection::All => ids(self.records.iter().collect()),
            Selection::First => ids(self.records.front().into_iter().collect()),
            Selection::Last => ids(self.records.back().into_iter().collect()),
            Selection::Sequence(range) => ids(self
                .records
                .iter()
                .filter(|record| range.contains(&record.sequence))
                .collect()),
            Selection::Time(range) => ids(self
                .records
                .iter()
                .filter(|record| record.user_time.is_some_and(|time| range.contains(&time)))
                .collect()),
        }
    }

    /// Sends one record, or the final answer after the last. One step a call, so that a lost link loses nothing that
    /// was not sent.
    fn report_next(&mut self, now: SimTime, actions: &mut Vec<Action>) {
        let Procedure::Reporting { left, next_at } = &mut self.procedure else {
            return;
        };
        if now < *next_at {
            return;
        }
        let Some(id) = left.pop_front() else {
            let done = racp::result(OpCode::ReportRecords, ResultCode::Success);
            self.answer(done, actions);
            return;
        };
        *next_at = now.saturating_add(self.settings.notification_interval);
        self.radio.traffic(now);
        let sends_context = self.radio.is_subscribed(uuid16::GLUCOSE_CONTEXT);
        // A record may have been overwritten by a new measurement since the request.
        let Some(record) = self.records.iter_mut().find(|record| record.id == id) else {
            return;
        };
        record.reported = true;
        actions.push(Action::Notify {
            characteristic: uuid16::GLUCOSE_MEASUREMENT,
            value: record.value.clone(),
            record: id,
        });
        if let Some(context) = record.context.clone().filter(|_| sends_context) {
            actions.push(Action::Notify {
                characteristic: uuid16::GLUCOSE_CONTEXT,
                value: context,
                record: id,
            });
        }
    }
}
