//! The meters under random events.

use std::collections::BTreeSet;
use std::time::Duration;

use carepost_gatt::racp::Request;
use carepost_gatt::uuid16;
use carepost_sim::SimTime;
use carepost_sim::meters::{
    Action, AfterConfirm, CuffMeasurement, CuffSettings, CuffUnit, Event, GlucoseSettings, Meter, RecordId, Taken,
};
use proptest::prelude::*;

use super::racp;

const MEASUREMENT: u16 = uuid16::BLOOD_PRESSURE_MEASUREMENT;

fn cuff(after_confirm: AfterConfirm, keeps_subscriptions: bool) -> Meter {
    let mut common = racp::common();
    common.memory = 8;
    common.pace = Duration::from_millis(20);
    common.radio.always_advertises = false;
    common.radio.idle_disconnect = Duration::from_secs(5);
    common.radio.keeps_subscriptions = keeps_subscriptions;
    Meter::cuff(CuffSettings {
        common,
        slots: Vec::new(),
        after_confirm,
        unit: CuffUnit::Mmhg,
        feature: 0,
        has_clock: false,
    })
}

/// What happens to a cuff, in a form that proptest can shrink.
#[derive(Clone, Debug)]
enum Step {
    Measure,
    Connect,
    Drop,
    Subscribe(bool),
    /// The outstanding indication is confirmed.
    Confirm,
    /// Time passes, in milliseconds.
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Measure),
        2 => Just(Step::Connect),
        1 => Just(Step::Drop),
        3 => any::<bool>().prop_map(Step::Subscribe),
        6 => Just(Step::Confirm),
        3 => (0_u64..7_000).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 0..80)
}

/// Follows a cuff from outside and checks every indication.
#[derive(Default)]
struct Watch {
    now: SimTime,
    connected: bool,
    subscribed: bool,
    awaiting: Option<RecordId>,
    /// In the memory and never confirmed, oldest first.
    unconfirmed: Vec<RecordId>,
    confirmed: BTreeSet<RecordId>,
    overwritten: BTreeSet<RecordId>,
    made: u64,
}

impl Watch {
    fn drive(&mut self, cuff: &mut Meter, event: Event) {
        for action in cuff.handle(self.now, event) {
            match action {
                Action::Made(made) => {
                    self.made += 1;
                    self.unconfirmed.push(made.id);
                }
                Action::Overwritten(id) => {
                    self.unconfirmed.retain(|kept| *kept != id);
                    self.overwritten.insert(id);
                }
                Action::Indicate {
                    characteristic,
                    record: Some(id),
                    ..
                } => {
                    assert_eq!(characteristic, MEASUREMENT);
                    assert!(self.connected && self.subscribed, "indicated without a subscribed link");
                    assert_eq!(self.awaiting, None, "indicated before the confirmation of the last one");
                    assert_eq!(self.unconfirmed.first(), Some(&id), "not the oldest record");
                    self.awaiting = Some(id);
                }
                Action::Disconnect => {
                    self.connected = false;
                    self.awaiting = None;
                }
                Action::Deleted(id) => assert!(self.confirmed.contains(&id), "deleted without confirmation"),
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    fn step(&mut self, cuff: &mut Meter, step: &Step) {
        match step {
            Step::Measure => {
                let measurement = CuffMeasurement {
                    systolic_mmhg: 120,
                    ..CuffMeasurement::default()
                };
                self.drive(cuff, Event::Measure(Taken::Cuff(measurement)));
            }
            Step::Connect if !self.connected => {
                self.connected = true;
                self.subscribed = false;
                self.drive(cuff, Event::Connected);
            }
            Step::Connect => {}
            Step::Drop => {
                self.connected = false;
                self.awaiting = None;
                self.drive(cuff, Event::Disconnected);
            }
            Step::Subscribe(enabled) if self.connected => {
                self.subscribed = *enabled;
                self.drive(
                    cuff,
                    Event::Subscribe {
                        characteristic: MEASUREMENT,
                        enabled: *enabled,
                    },
                );
            }
            Step::Subscribe(_) => {}
            Step::Confirm => {
                if let Some(id) = self.awaiting.take() {
                    self.unconfirmed.retain(|kept| *kept != id);
                    assert!(self.confirmed.insert(id), "confirmed twice");
                    self.drive(cuff, Event::Confirmed);
                }
            }
            Step::Wait(by) => {
                let until = self.now + Duration::from_millis(*by);
                while let Some(at) = cuff.deadline().filter(|at| *at <= until) {
                    self.now = self.now.max(at);
                    self.drive(cuff, Event::DeadlineReached);
                }
                self.now = until;
            }
        }
    }
}

#[test]
fn a_link_on_which_people_still_look_for_digits_is_not_idle() {
    let mut cuff = cuff(AfterConfirm::Keep, false);
    let seconds = SimTime::from_secs;
    cuff.handle(seconds(0), Event::Connected);
    cuff.handle(seconds(1), Event::Pairing { underway: true });
    assert_eq!(cuff.deadline(), None);
    assert_eq!(cuff.handle(seconds(25), Event::DeadlineReached), []);
    cuff.handle(seconds(25), Event::Pairing { underway: false });
    assert_eq!(cuff.deadline(), Some(seconds(30)));
    assert_eq!(cuff.handle(seconds(30), Event::DeadlineReached), [Action::Disconnect]);
}

proptest! {
    #[test]
    fn a_cuff_sends_oldest_first_and_each_record_once_for_each_confirmation(
        steps in steps(),
        deletes in any::<bool>(),
    ) {
        let after = if deletes { AfterConfirm::Delete } else { AfterConfirm::Keep };
        let mut cuff = cuff(after, false);
        let mut watch = Watch::default();
        for step in &steps {
            watch.step(&mut cuff, step);
        }
        // Whatever happened before, an attentive client gets the rest, and nothing is missing.
        watch.step(&mut cuff, &Step::Drop);
        watch.step(&mut cuff, &Step::Connect);
        watch.step(&mut cuff, &Step::Subscribe(true));
        while !watch.unconfirmed.is_empty() {
            prop_assert!(watch.awaiting.is_some(), "a record waits and nothing is sent");
            watch.step(&mut cuff, &Step::Confirm);
            watch.step(&mut cuff, &Step::Wait(20));
        }
        let accounted = watch.confirmed.union(&watch.overwritten).count() as u64;
        prop_assert_eq!(accounted, watch.made);
        prop_assert_eq!(cuff.memory().1, 0);
    }

    #[test]
    fn a_kept_configuration_sends_at_once_on_the_next_link(count in 1_usize..6) {
        let mut cuff = cuff(AfterConfirm::Delete, true);
        let at = SimTime::ZERO;
        cuff.handle(at, Event::Connected);
        cuff.handle(at, Event::Subscribe { characteristic: MEASUREMENT, enabled: true });
        cuff.handle(at, Event::Disconnected);
        for _ in 0..count {
            cuff.handle(at, Event::Store(Taken::Cuff(CuffMeasurement::default())));
        }
        let first = cuff.handle(at, Event::Connected);
        let sent_at_once = matches!(first.as_slice(), [Action::Indicate { record: Some(RecordId(1)), .. }]);
        prop_assert!(sent_at_once, "{:?}", first);
        let confirmed = cuff.handle(at, Event::Confirmed);
        prop_assert!(confirmed.contains(&Action::Deleted(RecordId(1))));
        prop_assert_eq!(cuff.memory(), (count - 1, count - 1));
    }

    #[test]
    fn any_request_gets_one_final_answer_or_an_att_error(
        request in proptest::collection::vec(any::<u8>(), 0..12),
        count in 0_u16..20,
    ) {
        let mut meter = racp::meter(racp::settings(), count);
        match racp::converse(&mut meter, &request) {
            Err(_) => prop_assert!(request.len() < 2, "{:02x?}", request),
            Ok(sent) => {
                let (last, before) = sent.split_last().unwrap();
                prop_assert_eq!(last.0, uuid16::RECORD_ACCESS_CONTROL_POINT);
                prop_assert!(before.iter().all(|(uuid, _)| *uuid != uuid16::RECORD_ACCESS_CONTROL_POINT));
                prop_assert!(matches!(last.1[0], 5 | 6));
                // Afterwards the control point is free again.
                prop_assert!(racp::converse(&mut meter, &[4, 1]).is_ok());
            }
        }
    }

    #[test]
    fn a_report_from_a_sequence_number_sends_exactly_those_records(
        from in any::<u16>(),
        first in any::<u16>(),
        count in 1_u16..40,
    ) {
        let settings = GlucoseSettings { first_sequence: first, ..racp::settings() };
        let mut meter = racp::meter(settings, count);
        let sent = racp::converse(&mut meter, &Request::report_from(from).encode().unwrap()).unwrap();
        let sequences: Vec<u16> = sent
            .iter()
            .filter(|(uuid, _)| *uuid == uuid16::GLUCOSE_MEASUREMENT)
            .map(|(_, bytes)| u16::from_le_bytes([bytes[1], bytes[2]]))
            .collect();
        // In the order of making, also where the numbers wrap.
        let expected: Vec<u16> = (0..count).map(|index| first.wrapping_add(index)).filter(|seq| *seq >= from).collect();
        prop_assert_eq!(sequences, expected);
    }
}
