//! A meter of any kind: its body and its way of talking.

use carepost_gatt::uuid16;
use chrono::{NaiveDate, NaiveDateTime, TimeDelta};

use super::body::{Body, CommonSettings};
use super::cuff::CuffSettings;
use super::encode::RecordError;
use super::faults::{Discoverable, Fault, Faults};
use super::generate::{
    GeneratePlan, generate_cuff, generate_glucose, generate_oxygen, generate_temperature, generate_weight,
};
use super::glucose::GlucoseSettings;
use super::indicator::{Indicator, Sensor};
use super::own::{OximeterSettings, ScaleSettings, ThermometerSettings};
use super::reporter::Reporter;
use super::{Action, AttError, Event, Identity, MeterClock, Profile, Taken, Uuid16};
use crate::SimTime;

/// Minutes between records of a backlog.
const BACKLOG_SPACING_MINUTES: u32 = 360;
/// Seed of their values.
const BACKLOG_SEED: u64 = 450;

/// What an advertisement says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertisement {
    /// The local name, as far as it is sent.
    pub name: Option<String>,
    /// The services.
    pub services: Vec<Uuid16>,
    /// Flags (Core Specification Supplement, part A, section 1.3); none in a directed advertisement.
    pub flags: Option<u8>,
}

/// A meter.
#[derive(Clone, Debug)]
pub struct Meter {
    body: Body,
    talk: Talk,
}

#[derive(Clone, Debug)]
enum Talk {
    Indicating(Indicator),
    OnRequest(Reporter),
}

impl Meter {
    /// A blood pressure cuff with an empty memory.
    pub fn cuff(settings: CuffSettings) -> Self {
        let sensor = Sensor::Cuff {
            unit: settings.unit,
            feature: settings.feature,
        };
        let indicator = Indicator::new(sensor, settings.slots, settings.has_clock, settings.after_confirm);
        Self::indicating(settings.common, indicator)
    }

    /// A weight scale with an empty memory.
    pub fn scale(settings: ScaleSettings) -> Self {
        let sensor = Sensor::Scale {
            pounds: settings.pounds,
        };
        let indicator = Indicator::new(sensor, settings.slots, true, settings.after_confirm);
        Self::indicating(settings.common, indicator)
    }

    /// A thermometer with an empty memory.
    pub fn thermometer(settings: ThermometerSettings) -> Self {
        let sensor = Sensor::Thermometer {
            fahrenheit: settings.fahrenheit,
        };
        let indicator = Indicator::new(sensor, Vec::new(), true, settings.after_confirm);
        Self::indicating(settings.common, indicator)
    }

    /// A pulse oximeter with an empty memory.
    pub fn oximeter(settings: OximeterSettings) -> Self {
        let sensor = Sensor::Oximeter {
            continuous: settings.continuous,
        };
        let indicator = Indicator::new(sensor, Vec::new(), true, settings.after_confirm);
        Self::indicating(settings.common, indicator)
    }

    /// A glucose meter with an empty memory.
    pub fn glucose(settings: GlucoseSettings) -> Self {
        let reporter = Reporter::new(&settings);
        Self {
            body: Body::new(settings.common, reporter.service()),
            talk: Talk::OnRequest(reporter),
        }
    }

    fn indicating(common: CommonSettings, indicator: Indicator) -> Self {
        Self {
            body: Body::new(common, indicator.service()),
            talk: Talk::Indicating(indicator),
        }
    }

    /// Lets something happen to the meter.
    pub fn handle(&mut self, now: SimTime, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Connected => {
                self.body.connected(now);
                match &mut self.talk {
                    Talk::Indicating(indicator) => indicator.connected(&mut self.body, now),
                    Talk::OnRequest(reporter) => reporter.connected(),
                }
            }
            Event::Disconnected => self.disconnected(),
            Event::Read { characteristic } => {
                self.body.radio.traffic(now);
                actions.push(self.body.read(now, characteristic));
            }
            Event::Write { characteristic, value } => {
                self.body.radio.traffic(now);
                self.write(now, characteristic, &value, &mut actions);
            }
            Event::Subscribe {
                characteristic,
                enabled,
            } => {
                self.body.radio.traffic(now);
                self.body.radio.subscribe(characteristic, enabled);
                if let Talk::OnRequest(reporter) = &mut self.talk
                    && !enabled
                {
                    reporter.unsubscribed(characteristic);
                }
            }
            Event::Confirmed => {
                self.body.radio.traffic(now);
                match &mut self.talk {
                    Talk::Indicating(indicator) => indicator.confirmed(&mut self.body, now, &mut actions),
                    Talk::OnRequest(reporter) => reporter.confirmed(&mut self.body, &mut actions),
                }
            }
            Event::Pairing { underway } => self.body.radio.pairing(now, underway),
            Event::DeadlineReached => {}
            Event::Measure(taken) => {
                if self.take(now, &taken, &mut actions) {
                    self.body.radio.measured(now);
                    if let Talk::Indicating(indicator) = &self.talk {
                        indicator.live(&self.body, &taken, &mut actions);
                    }
                }
            }
            Event::Store(taken) => {
                self.take(now, &taken, &mut actions);
            }
            Event::PressTransfer => self.body.radio.open_window(now),
            Event::SetClock(local) => self.body.clock.set(local, now),
            Event::JumpClock(seconds) => self.body.clock.jump(seconds),
            Event::Switch(faults) => self.switch(now, faults, &mut actions),
        }
        self.go_on(now, &mut actions);
        actions
    }

    /// What the meter does by itself.
    fn go_on(&mut self, now: SimTime, actions: &mut Vec<Action>) {
        if self.body.radio.other_central_left(now)
            && let Talk::Indicating(indicator) = &mut self.talk
            && self.body.faults.last(|fault| match fault {
                Fault::OtherCentral { steals, .. } => Some(*steals),
                _ => None,
            }) == Some(true)
        {
            indicator.taken_elsewhere(&mut self.body, actions);
        }
        match &mut self.talk {
            Talk::Indicating(indicator) => indicator.send_next(&mut self.body, now, actions),
            Talk::OnRequest(reporter) => reporter.report_next(&mut self.body, now, actions),
        }
        if self.body.radio.hangs_up(now) {
            self.disconnected();
            actions.push(Action::Disconnect);
        }
    }

    fn disconnected(&mut self) {
        self.body.disconnected();
        match &mut self.talk {
            Talk::Indicating(indicator) => indicator.disconnected(),
            Talk::OnRequest(reporter) => reporter.disconnected(),
        }
    }

    fn write(&mut self, now: SimTime, characteristic: Uuid16, value: &[u8], actions: &mut Vec<Action>) {
        if let Some(answer) = self.body.write_clock(now, characteristic, value) {
            actions.push(answer);
            return;
        }
        match &mut self.talk {
            Talk::OnRequest(reporter) if characteristic == uuid16::RECORD_ACCESS_CONTROL_POINT => {
                reporter.write(&mut self.body, now, value, actions);
            }
            Talk::OnRequest(_) | Talk::Indicating(_) => actions.push(Action::Refused(AttError::WriteNotPermitted)),
        }
    }

    /// Makes records; says whether it did.
    fn take(&mut self, now: SimTime, taken: &Taken, actions: &mut Vec<Action>) -> bool {
        let outcome = match (&mut self.talk, taken) {
            (Talk::Indicating(indicator), _) => indicator.take(&mut self.body, now, taken, actions),
            (Talk::OnRequest(reporter), Taken::Glucose(measurement)) => {
                reporter.take(&mut self.body, now, measurement, actions)
            }
            (Talk::OnRequest(_), _) => Err(RecordError::WrongKind {
                meter: "glucose",
                record: taken.word(),
            }),
        };
        match outcome {
            Ok(()) => true,
            Err(error) => {
                actions.push(Action::Impossible(error));
                false
            }
        }
    }

    fn switch(&mut self, now: SimTime, faults: Faults, actions: &mut Vec<Action>) {
        self.body.switch(now, faults, actions);
        if let Talk::OnRequest(reporter) = &mut self.talk {
            reporter.switched(&self.body);
        }
        let missing = self.body.backlog().unwrap_or(0).saturating_sub(self.body.memory.len());
        if missing == 0 {
            return;
        }
        let newest = self.clock().read(now).unwrap_or_else(a_while_ago);
        let newest = newest.checked_sub_signed(TimeDelta::hours(1)).unwrap_or(newest);
        let plan = GeneratePlan::new(missing, BACKLOG_SEED, newest, BACKLOG_SPACING_MINUTES);
        for taken in self.history(&plan) {
            self.take(now, &taken, actions);
        }
    }

    /// A generated history of the meter's kind, oldest first.
    pub fn history(&self, plan: &GeneratePlan) -> Vec<Taken> {
        let indicator = match &self.talk {
            Talk::OnRequest(reporter) => {
                let records = generate_glucose(plan, reporter.has_context(&self.body));
                return records.into_iter().map(Taken::Glucose).collect();
            }
            Talk::Indicating(indicator) => indicator,
        };
        match indicator.word() {
            "scale" => generate_weight(plan, indicator.slots())
                .into_iter()
                .map(Taken::Weight)
                .collect(),
            "thermometer" => generate_temperature(plan).into_iter().map(Taken::Temperature).collect(),
            "oximeter" => generate_oxygen(plan).into_iter().map(Taken::Oxygen).collect(),
            _ => generate_cuff(plan, indicator.slots())
                .into_iter()
                .map(Taken::Cuff)
                .collect(),
        }
    }

    /// When the meter wants [`Event::DeadlineReached`].
    pub fn deadline(&self) -> Option<SimTime> {
        let talk = match &self.talk {
            Talk::Indicating(indicator) => indicator.deadline(&self.body),
            Talk::OnRequest(reporter) => reporter.deadline(),
        };
        [talk, self.body.radio.deadline()].into_iter().flatten().min()
    }

    /// Whether the meter sends advertisements.
    pub fn is_advertising(&self, now: SimTime) -> bool {
        self.body.radio.is_advertising(now)
    }

    /// Whether its advertisements are directed at its bonded central, so that no other sees them.
    pub fn is_directed(&self) -> bool {
        self.body.radio.discoverable() == Discoverable::Directed
    }

    /// What it sends to be found. `name` is the name that it would say without faults.
    pub fn advertisement(&self, name: &str) -> Advertisement {
        const LIMITED: u8 = 1;
        const GENERAL: u8 = 1 << 1;
        const NO_BR_EDR: u8 = 1 << 2;
        let flags = match self.body.radio.discoverable() {
            Discoverable::General => Some(GENERAL | NO_BR_EDR),
            Discoverable::Limited => Some(LIMITED | NO_BR_EDR),
            Discoverable::Never => Some(NO_BR_EDR),
            Discoverable::Directed => None,
        };
        let directed = flags.is_none();
        let cut = self.body.faults.last(|fault| match fault {
            Fault::NoName => Some(0),
            Fault::NameCut(bytes) => Some(*bytes),
            _ => None,
        });
        let name = match cut {
            Some(bytes) => name.get(..bytes.min(name.len())).unwrap_or_default(),
            None => name,
        };
        Advertisement {
            name: (!directed && !name.is_empty()).then(|| name.to_owned()),
            services: if directed {
                Vec::new()
            } else {
                vec![self.advertised_service()]
            },
            flags,
        }
    }

    /// The faults that it has.
    pub fn faults(&self) -> &Faults {
        &self.body.faults
    }

    /// The attribute table.
    pub fn profile(&self) -> &Profile {
        &self.body.table
    }

    /// The client configuration that the meter holds for a characteristic.
    pub fn configuration(&self, characteristic: Uuid16) -> bool {
        self.body.radio.configuration(characteristic)
    }

    /// The clock.
    pub fn clock(&self) -> MeterClock {
        self.body.clock
    }

    /// Records in the memory, and those among them that a client has not had yet.
    pub fn memory(&self) -> (usize, usize) {
        (self.body.memory.len(), self.body.memory.unsent())
    }

    /// The battery's charge in per cent, if the meter has a Battery Service.
    pub fn battery(&self) -> Option<u8> {
        self.body.battery()
    }

    /// Manufacturer, model and so on, as it says them.
    pub fn identity(&self) -> &Identity {
        self.body.identity()
    }

    /// The word for the kind of meter in the control protocol.
    pub fn kind(&self) -> &'static str {
        match &self.talk {
            Talk::Indicating(indicator) => indicator.word(),
            Talk::OnRequest(_) => "glucose",
        }
    }

    /// The service that the meter advertises.
    pub fn advertised_service(&self) -> Uuid16 {
        self.body.service()
    }
}

/// A plausible moment for a backlog of a meter whose clock shows none.
fn a_while_ago() -> NaiveDateTime {
    NaiveDate::from_ymd_opt(2026, 1, 15)
        .and_then(|date| date.and_hms_opt(8, 0, 0))
        .unwrap_or_default()
}
