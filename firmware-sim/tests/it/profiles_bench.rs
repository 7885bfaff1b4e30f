//! A meter on a bench: a machine with fault profiles, an attentive client, and everything that was seen.

use std::time::Duration;

use carepost_gatt::uuid16;
use carepost_sim::SimTime;
use carepost_sim::meters::{
    Action, AfterConfirm, AttError, ClockService, Concentration, CuffMeasurement, CuffSettings, CuffUnit, Event,
    GlucoseMeasurement, GlucoseSettings, Loss, Made, Meter, MeterClock, OximeterSettings, OxygenMeasurement, RecordId,
    ScaleSettings, Taken, TemperatureMeasurement, ThermometerSettings, WeightMeasurement,
};
use carepost_sim::profiles::Selection;

use super::racp;

/// The kinds of meters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Cuff,
    Glucose,
    Scale,
    Thermometer,
    Oximeter,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] = [
        Self::Cuff,
        Self::Glucose,
        Self::Scale,
        Self::Thermometer,
        Self::Oximeter,
    ];

    /// The characteristic that carries records.
    pub(crate) fn characteristic(self) -> u16 {
        match self {
            Self::Cuff => uuid16::BLOOD_PRESSURE_MEASUREMENT,
            Self::Glucose => uuid16::GLUCOSE_MEASUREMENT,
            Self::Scale => uuid16::WEIGHT_MEASUREMENT,
            Self::Thermometer => uuid16::TEMPERATURE_MEASUREMENT,
            Self::Oximeter => uuid16::PLX_SPOT_CHECK,
        }
    }

    /// A plausible measurement, another one for each number.
    pub(crate) fn measurement(self, number: u16) -> Taken {
        match self {
            Self::Cuff => Taken::Cuff(CuffMeasurement {
                systolic_mmhg: 120 + number % 20,
                diastolic_mmhg: 80,
                mean_mmhg: Some(93),
                pulse: Some(70),
                ..CuffMeasurement::default()
            }),
            Self::Glucose => Taken::Glucose(GlucoseMeasurement {
                concentration: Some(Concentration::MgPerDl(90 + number % 60)),
                meal: Some(3),
                ..GlucoseMeasurement::default()
            }),
            Self::Scale => Taken::Weight(WeightMeasurement {
                grams: Some(70_000 + 50 * u32::from(number % 40)),
                ..WeightMeasurement::default()
            }),
            Self::Thermometer => Taken::Temperature(TemperatureMeasurement {
                centi_celsius: 3_600 + 10 * i32::from(number % 10),
                place: Some(9),
                ..TemperatureMeasurement::default()
            }),
            Self::Oximeter => Taken::Oxygen(OxygenMeasurement {
                percent: 95 + number % 5,
                pulse: 64,
                ..OxygenMeasurement::default()
            }),
        }
    }

    /// A meter without faults, whose clock shows 10 January 2026, 08:00.
    pub(crate) fn meter(self) -> Meter {
        let mut common = racp::common();
        common.clock = MeterClock::showing("2026-01-10T08:00:00".parse().unwrap(), SimTime::ZERO);
        common.clock_service = ClockService::CurrentTime;
        common.clock_writable = true;
        common.memory = 500;
        "Honest meter".clone_into(&mut common.identity.local_name);
        "Maker".clone_into(&mut common.identity.manufacturer);
        "S-1".clone_into(&mut common.identity.serial);
        common.radio.always_advertises = false;
        match self {
            Self::Cuff => Meter::cuff(CuffSettings {
                common,
                slots: vec![5, 6],
                after_confirm: AfterConfirm::Keep,
                unit: CuffUnit::Mmhg,
                feature: 0x1F,
                has_clock: true,
            }),
            Self::Glucose => Meter::glucose(GlucoseSettings {
                common,
                ..racp::settings()
            }),
            Self::Scale => Meter::scale(ScaleSettings {
                common,
                slots: vec![5, 6],
                after_confirm: AfterConfirm::Keep,
                pounds: false,
            }),
            Self::Thermometer => Meter::thermometer(ThermometerSettings {
                common,
                after_confirm: AfterConfirm::Keep,
                fahrenheit: false,
            }),
            Self::Oximeter => Meter::oximeter(OximeterSettings {
                common,
                after_confirm: AfterConfirm::Keep,
                continuous: true,
            }),
        }
    }
}

/// A value that went on air.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) characteristic: u16,
    pub(crate) value: Vec<u8>,
    pub(crate) record: Option<RecordId>,
    pub(crate) at: SimTime,
}

/// A meter and its client.
pub(crate) struct Bench {
    pub(crate) kind: Kind,
    pub(crate) meter: Meter,
    pub(crate) now: SimTime,
    pub(crate) is_connected: bool,
    pub(crate) sent: Vec<Sent>,
    pub(crate) made: Vec<Made>,
    pub(crate) deleted: Vec<RecordId>,
    pub(crate) lost: Vec<(RecordId, Loss)>,
    pub(crate) refused: Vec<AttError>,
    pub(crate) values: Vec<Vec<u8>>,
    pub(crate) hung_up: u32,
    next: u16,
}

impl Bench {
    /// A meter of a kind with these profiles.
    pub(crate) fn new(kind: Kind, profiles: &[&str]) -> Self {
        let selection = Selection::named(profiles).unwrap();
        let meter = kind.meter();
        selection.check(&meter).unwrap();
        let mut bench = Self {
            kind,
            meter,
            now: SimTime::ZERO,
            is_connected: false,
            sent: Vec::new(),
            made: Vec::new(),
            deleted: Vec::new(),
            lost: Vec::new(),
            refused: Vec::new(),
            values: Vec::new(),
            hung_up: 0,
            next: 0,
        };
        bench.event(Event::Switch(selection.faults()));
        bench
    }

    /// Lets something happen and confirms what is indicated, at once.
    pub(crate) fn event(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            for action in self.meter.handle(self.now, event) {
                let at = self.now;
                match action {
                    Action::Value(value) => self.values.push(value),
                    Action::Written => {}
                    Action::Refused(error) => self.refused.push(error),
                    Action::Notify {
                        characteristic,
                        value,
                        record,
                    } => self.sent.push(Sent {
                        characteristic,
                        value,
                        record: Some(record),
                        at,
                    }),
                    Action::Indicate {
                        characteristic,
                        value,
                        record,
                    } => {
                        self.sent.push(Sent {
                            characteristic,
                            value,
                            record,
                            at,
                        });
                        events.push(Event::Confirmed);
                    }
                    Action::Disconnect => {
                        self.is_connected = false;
                        self.hung_up += 1;
                    }
                    Action::Made(made) => self.made.push(made),
                    Action::Deleted(id) => self.deleted.push(id),
                    Action::Overwritten(_) => {}
                    Action::Lost(id, loss) => self.lost.push((id, loss)),
                    Action::Impossible(error) => panic!("impossible: {error}"),
                }
            }
        }
    }

    /// Lets time pass, deadline by deadline.
    pub(crate) fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        let mut steps = 0;
        while let Some(at) = self.meter.deadline().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.event(Event::DeadlineReached);
            steps += 1;
            assert!(steps < 100_000, "a deadline that never passes");
        }
        self.now = until;
    }

    /// Measures so many times, a minute apart.
    pub(crate) fn measure(&mut self, count: u16) {
        for _ in 0..count {
            self.next += 1;
            self.wait(Duration::from_secs(60));
            self.event(Event::Measure(self.kind.measurement(self.next)));
        }
    }

    /// Measures with a slot.
    pub(crate) fn measure_slot(&mut self, slot: u8) {
        let mut taken = self.kind.measurement(1);
        match &mut taken {
            Taken::Cuff(measurement) => measurement.slot = Some(slot),
            Taken::Weight(measurement) => measurement.slot = Some(slot),
            other => panic!("{other:?} has no slots"),
        }
        self.event(Event::Measure(taken));
    }

    /// Connects and subscribes to everything.
    pub(crate) fn connect(&mut self) {
        self.is_connected = true;
        self.event(Event::Connected);
        let sending: Vec<u16> = self
            .meter
            .profile()
            .services()
            .iter()
            .flat_map(|service| &service.characteristics)
            .filter(|characteristic| characteristic.access.sends())
            .map(|characteristic| characteristic.uuid)
            .collect();
        for characteristic in sending {
            self.event(Event::Subscribe {
                characteristic,
                enabled: true,
            });
        }
    }

    pub(crate) fn write(&mut self, characteristic: u16, value: &[u8]) {
        self.event(Event::Write {
            characteristic,
            value: value.to_vec(),
        });
    }

    /// Writes to the control point and waits for what comes.
    pub(crate) fn request(&mut self, request: &[u8]) -> Vec<Sent> {
        let before = self.sent.len();
        self.write(uuid16::RECORD_ACCESS_CONTROL_POINT, request);
        self.wait(Duration::from_secs(10));
        self.sent.split_off(before)
    }

    /// Connects, gets what there is, and waits until the meter has nothing to do.
    pub(crate) fn fetch(&mut self) -> Vec<Sent> {
        let before = self.sent.len();
        self.connect();
        if self.kind == Kind::Glucose && self.is_connected {
            self.write(uuid16::RECORD_ACCESS_CONTROL_POINT, &[1, 1]);
        }
        self.wait(Duration::from_secs(200));
        self.sent.split_off(before)
    }

    pub(crate) fn disconnect(&mut self) {
        self.is_connected = false;
        self.event(Event::Disconnected);
    }

    pub(crate) fn read(&mut self, characteristic: u16) -> Option<Vec<u8>> {
        let before = self.values.len();
        self.event(Event::Read { characteristic });
        self.values.split_off(before).pop()
    }

    pub(crate) fn is_advertising(&self) -> bool {
        self.meter.is_advertising(self.now)
    }
}

/// The records among what was sent.
pub(crate) fn records(sent: &[Sent], kind: Kind) -> Vec<&Sent> {
    sent.iter()
        .filter(|sent| sent.characteristic == kind.characteristic())
        .collect()
}

/// The ids of the records among what was sent.
pub(crate) fn ids(sent: &[Sent], kind: Kind) -> Vec<u64> {
    records(sent, kind)
        .iter()
        .map(|sent| sent.record.map_or(0, |record| record.0))
        .collect()
}
