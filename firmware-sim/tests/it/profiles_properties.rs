//! Any meter with any profiles under any events: it keeps its bounds and never panics. Without profiles it says exactly
//! what it made, and the codec reads it back.

use std::time::Duration;

use carepost_gatt::pulse_oximeter::SpotCheck;
use carepost_gatt::thermometer::TemperatureMeasurement;
use carepost_gatt::weight_scale::WeightMeasurement;
use carepost_gatt::{Calendar, MedFloat, blood_pressure, glucose, uuid16};
use carepost_sim::SimTime;
use carepost_sim::meters::{Action, Concentration, Event, Meter, Taken};
use carepost_sim::profiles::{Group, Kinds, MAX_PROFILES, Selection, catalogue};
use proptest::prelude::*;

use super::profiles_bench::{Bench, Kind, records};

/// Longest attribute value.
const MAX_VALUE: usize = 512;

/// Most actions of one event: what is stored twice, then all deleted, fits well.
const MAX_ACTIONS: usize = 3_000;

#[derive(Clone, Debug)]
enum Step {
    Measure(u16),
    Store(u16),
    Connect,
    Drop,
    Subscribe(u16, bool),
    Read(u16),
    Write(u16, Vec<u8>),
    Confirm,
    Wait(u64),
    Press,
    SetClock(Option<i64>),
    Jump(i64),
    /// Other profiles, by position in the catalogue.
    Switch(Vec<usize>),
}

/// What meters have, and one that they have not.
const CHARACTERISTICS: [u16; 16] = [
    0x2A35, 0x2A49, 0x2A18, 0x2A34, 0x2A51, 0x2A52, 0x2A9D, 0x2A9E, 0x2A1C, 0x2A5E, 0x2A5F, 0x2A08, 0x2A2B, 0xFFF1,
    0x2A29, 0x1234,
];

fn characteristic() -> impl Strategy<Value = u16> {
    proptest::sample::select(&CHARACTERISTICS[..])
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(vec![1, 1]),
        Just(vec![4, 1]),
        Just(vec![3, 0]),
        Just(vec![2, 1]),
        any::<u16>().prop_map(|from| {
            let [low, high] = from.to_le_bytes();
            vec![1, 3, 1, low, high]
        }),
        proptest::collection::vec(any::<u8>(), 0..24),
    ]
}

fn switch() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(0..catalogue().count(), 0..6)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => any::<u16>().prop_map(Step::Measure),
        2 => any::<u16>().prop_map(Step::Store),
        3 => Just(Step::Connect),
        1 => Just(Step::Drop),
        5 => (characteristic(), any::<bool>()).prop_map(|(uuid, on)| Step::Subscribe(uuid, on)),
        1 => characteristic().prop_map(Step::Read),
        4 => request().prop_map(|bytes| Step::Write(0x2A52, bytes)),
        1 => (characteristic(), proptest::collection::vec(any::<u8>(), 0..24)).prop_map(|(uuid, bytes)| Step::Write(uuid, bytes)),
        5 => Just(Step::Confirm),
        4 => (0_u64..20_000).prop_map(Step::Wait),
        1 => Just(Step::Press),
        1 => proptest::option::of(-100_000_000_000_i64..100_000_000_000).prop_map(Step::SetClock),
        1 => any::<i64>().prop_map(Step::Jump),
        1 => switch().prop_map(Step::Switch),
    ];
    proptest::collection::vec(step, 0..60)
}

/// The profiles of these positions that a meter can have.
fn selection(meter: &Meter, positions: &[usize]) -> Selection {
    let names: Vec<&str> = positions
        .iter()
        .filter_map(|position| catalogue().nth(*position))
        .filter(|profile| profile.kinds.include(meter))
        .map(|profile| profile.name)
        .take(MAX_PROFILES)
        .collect();
    Selection::named(&names).unwrap_or_default()
}

/// Drives a meter and checks what must hold whatever is wrong with it.
struct Bounds {
    kind: Kind,
    meter: Meter,
    now: SimTime,
    is_connected: bool,
    made: u64,
}

impl Bounds {
    fn drive(&mut self, event: Event) {
        let actions = self.meter.handle(self.now, event);
        assert!(actions.len() <= MAX_ACTIONS, "{} actions at once", actions.len());
        for action in actions {
            match action {
                Action::Notify { value, .. } | Action::Indicate { value, .. } => {
                    assert!(self.is_connected, "sent without a link");
                    assert!(value.len() <= MAX_VALUE);
                }
                Action::Disconnect => {
                    assert!(self.is_connected, "hung up twice");
                    self.is_connected = false;
                }
                Action::Made(made) => {
                    self.made += 1;
                    assert_eq!(made.id.0, self.made, "ids count without gaps");
                }
                _ => {}
            }
        }
        let (stored, unsent) = self.meter.memory();
        assert!(unsent <= stored && stored <= 500);
        assert!(self.meter.faults().names().len() <= MAX_PROFILES);
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Measure(number) => self.drive(Event::Measure(self.kind.measurement(*number))),
            Step::Store(number) => self.drive(Event::Store(self.kind.measurement(*number))),
            Step::Connect if !self.is_connected => {
                self.is_connected = true;
                self.drive(Event::Connected);
            }
            Step::Connect => {}
            Step::Drop => {
                self.is_connected = false;
                self.drive(Event::Disconnected);
            }
            Step::Subscribe(characteristic, enabled) => self.drive(Event::Subscribe {
                characteristic: *characteristic,
                enabled: *enabled,
            }),
            Step::Read(characteristic) => self.drive(Event::Read {
                characteristic: *characteristic,
            }),
            Step::Write(characteristic, value) => self.drive(Event::Write {
                characteristic: *characteristic,
                value: value.clone(),
            }),
            Step::Confirm => self.drive(Event::Confirmed),
            Step::Wait(ms) => {
                let until = self.now + Duration::from_millis(*ms);
                let mut calls = 0;
                while let Some(at) = self.meter.deadline().filter(|at| *at <= until) {
                    self.now = self.now.max(at);
                    self.drive(Event::DeadlineReached);
                    calls += 1;
                    assert!(calls < 5_000, "a deadline that never passes");
                }
                self.now = until;
            }
            Step::Press => self.drive(Event::PressTransfer),
            Step::SetClock(seconds) => {
                let local = seconds.and_then(|seconds| chrono::DateTime::from_timestamp(seconds, 0));
                self.drive(Event::SetClock(local.map(|local| local.naive_utc())));
            }
            Step::Jump(seconds) => self.drive(Event::JumpClock(*seconds)),
            Step::Switch(positions) => {
                let faults = selection(&self.meter, positions).faults();
                self.drive(Event::Switch(faults));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_meter_with_any_profiles_keeps_its_bounds(
        kind in proptest::sample::select(&Kind::ALL[..]),
        profiles in switch(),
        steps in steps(),
    ) {
        let mut bounds = Bounds {
            kind,
            meter: kind.meter(),
            now: SimTime::ZERO,
            is_connected: false,
            made: 0,
        };
        bounds.step(&Step::Switch(profiles));
        for step in &steps {
            bounds.step(step);
        }
    }

    #[test]
    fn without_profiles_the_codec_reads_what_was_made(
        kind in proptest::sample::select(&Kind::ALL[..]),
        numbers in proptest::collection::vec(any::<u16>(), 1..20),
    ) {
        let mut bench = Bench::new(kind, &[]);
        let taken: Vec<Taken> = numbers.iter().map(|number| kind.measurement(*number)).collect();
        for taken in &taken {
            bench.wait(Duration::from_secs(60));
            bench.event(Event::Measure(taken.clone()));
        }
        let sent = bench.fetch();
        let all = records(&sent, kind);
        prop_assert_eq!(all.len(), taken.len());
        for ((sent, made), taken) in all.iter().zip(&bench.made).zip(&taken) {
            prop_assert_eq!(&sent.value, &made.value);
            decodes_to(taken, &sent.value);
        }
        let contexts = sent.iter().filter(|sent| sent.characteristic == uuid16::GLUCOSE_CONTEXT);
        let expected = if kind == Kind::Glucose { taken.len() } else { 0 };
        prop_assert_eq!(contexts.count(), expected);
    }
}

/// The codec reads exactly what was measured.
fn decodes_to(taken: &Taken, value: &[u8]) {
    let whole = |value: MedFloat, exponent: i32| value.number().and_then(|number| number.rescaled(exponent));
    match taken {
        Taken::Cuff(measured) => {
            let decoded = blood_pressure::Measurement::decode(value).unwrap();
            assert_eq!(decoded.trailing_bytes, 0);
            let decoded = decoded.value;
            assert_eq!(whole(decoded.systolic, 0), Some(i64::from(measured.systolic_mmhg)));
            assert_eq!(whole(decoded.diastolic, 0), Some(i64::from(measured.diastolic_mmhg)));
            assert_eq!(
                decoded.pulse.and_then(|pulse| whole(pulse, 0)),
                measured.pulse.map(i64::from)
            );
            assert_eq!(decoded.timestamp.unwrap().calendar(), Calendar::Valid);
        }
        Taken::Glucose(measured) => {
            let decoded = glucose::Measurement::decode(value).unwrap().value;
            let Some(Concentration::MgPerDl(mg_dl)) = measured.concentration else {
                panic!("the bench measures in mg/dL");
            };
            assert_eq!(
                decoded.mg_per_dl().and_then(|value| value.rescaled(0)),
                Some(i64::from(mg_dl))
            );
            assert_eq!(decoded.base_time.calendar(), Calendar::Valid);
        }
        Taken::Weight(measured) => {
            let decoded = WeightMeasurement::decode(value).unwrap().value;
            let grams = decoded.weight_in_unit().and_then(|kilograms| kilograms.rescaled(-3));
            assert_eq!(grams, measured.grams.map(i64::from));
        }
        Taken::Temperature(measured) => {
            let decoded = TemperatureMeasurement::decode(value).unwrap().value;
            assert_eq!(whole(decoded.temperature, -2), Some(i64::from(measured.centi_celsius)));
        }
        Taken::Oxygen(measured) => {
            let decoded = SpotCheck::decode(value).unwrap().value;
            assert_eq!(whole(decoded.values.spo2_pct, 0), Some(i64::from(measured.percent)));
            assert_eq!(whole(decoded.values.pulse, 0), Some(i64::from(measured.pulse)));
            assert!(!decoded.clock_not_set);
        }
    }
}

#[test]
fn every_profile_means_something_for_some_meter() {
    for profile in catalogue().filter(|profile| profile.group != Group::Host) {
        let kinds = Kind::ALL
            .iter()
            .filter(|kind| profile.kinds.include(&kind.meter()))
            .count();
        assert!(kinds > 0, "{}", profile.name);
        assert_eq!(
            kinds == Kind::ALL.len(),
            profile.kinds == Kinds::Any,
            "{}",
            profile.name
        );
    }
}

#[test]
fn an_oximeter_sends_live_values_to_who_wants_them_and_they_are_no_records() {
    let mut bench = Bench::new(Kind::Oximeter, &[]);
    bench.connect();
    bench.event(Event::Measure(Kind::Oximeter.measurement(2)));
    let live: Vec<_> = bench
        .sent
        .iter()
        .filter(|sent| sent.characteristic == uuid16::PLX_CONTINUOUS)
        .collect();
    assert_eq!(live.len(), 1);
    assert_eq!(live[0].record, Some(carepost_sim::meters::RecordId::NONE));
    assert_eq!(records(&bench.sent, Kind::Oximeter).len(), 1);
}

#[test]
fn clients_set_clocks_with_whole_possible_dates_only() {
    let mut bench = Bench::new(Kind::Cuff, &[]);
    bench.connect();
    let current_time = uuid16::CURRENT_TIME;
    bench.write(current_time, &[0xEA, 7, 11, 22, 9, 30, 0, 7, 0, 1]);
    assert_eq!(bench.refused, []);
    let shown = bench.read(current_time).unwrap();
    assert_eq!(shown[..7], [0xEA, 7, 11, 22, 9, 30, 0]);
    for (value, error) in [
        (
            &[0xEA, 7, 11, 22, 9, 30][..],
            carepost_sim::meters::AttError::InvalidLength,
        ),
        (
            &[0xEA, 7, 2, 31, 9, 30, 0, 7, 0, 1],
            carepost_sim::meters::AttError::OutOfRange,
        ),
        (
            &[0, 0, 2, 1, 9, 30, 0, 7, 0, 1],
            carepost_sim::meters::AttError::OutOfRange,
        ),
    ] {
        bench.write(current_time, value);
        assert_eq!(bench.refused.pop(), Some(error));
    }
    assert_eq!(bench.read(current_time).unwrap()[..7], [0xEA, 7, 11, 22, 9, 30, 0]);
}
