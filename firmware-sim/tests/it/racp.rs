//! The control point's answers, against the vectors of the codec.

use std::time::Duration;

use carepost_gatt::uuid16;
use carepost_sim::SimTime;
use carepost_sim::meters::{
    Action, AttError, ClockService, CommonSettings, Concentration, Event, GlucoseMeasurement, GlucoseSettings,
    GlucoseUnit, Identity, Meter, MeterClock, RadioSettings, Taken, Timestamp,
};

const RACP: u16 = uuid16::RECORD_ACCESS_CONTROL_POINT;

pub(crate) fn common() -> CommonSettings {
    CommonSettings {
        identity: Identity::default(),
        memory: 100,
        clock: MeterClock::unset(),
        clock_service: ClockService::None,
        clock_writable: false,
        battery: None,
        pace: Duration::from_millis(10),
        radio: RadioSettings {
            always_advertises: true,
            advertising_window: Duration::from_secs(60),
            idle_disconnect: Duration::from_secs(600),
            keeps_subscriptions: false,
        },
        own_service: None,
    }
}

pub(crate) fn settings() -> GlucoseSettings {
    GlucoseSettings {
        common: common(),
        unit: GlucoseUnit::KgPerL,
        feature: 0,
        has_context: true,
        first_sequence: 1,
        allows_delete: true,
    }
}

/// A connected, fully subscribed meter with `count` records, of which every second one has a context.
pub(crate) fn meter(settings: GlucoseSettings, count: u16) -> Meter {
    let mut meter = Meter::glucose(settings);
    let start: chrono::NaiveDateTime = "2026-03-01T08:00:00".parse().unwrap();
    for index in 0..count {
        let record = GlucoseMeasurement {
            concentration: Some(Concentration::MgPerDl(80 + index)),
            meal: index.is_multiple_of(2).then_some(1),
            at: Timestamp::Local(start + chrono::TimeDelta::hours(i64::from(index))),
            ..GlucoseMeasurement::default()
        };
        meter.handle(SimTime::ZERO, Event::Store(Taken::Glucose(record)));
    }
    meter.handle(SimTime::ZERO, Event::Connected);
    for characteristic in [RACP, uuid16::GLUCOSE_MEASUREMENT, uuid16::GLUCOSE_CONTEXT] {
        meter.handle(
            SimTime::ZERO,
            Event::Subscribe {
                characteristic,
                enabled: true,
            },
        );
    }
    meter
}

/// What a meter sends for a request until it falls silent: (characteristic, bytes) in order.
pub(crate) fn converse(meter: &mut Meter, request: &[u8]) -> Result<Vec<(u16, Vec<u8>)>, AttError> {
    let mut now = SimTime::ZERO;
    let mut sent = Vec::new();
    let mut actions = meter.handle(
        now,
        Event::Write {
            characteristic: RACP,
            value: request.to_vec(),
        },
    );
    match actions.first() {
        Some(Action::Refused(error)) => return Err(*error),
        first => assert_eq!(first, Some(&Action::Written)),
    }
    loop {
        let mut answered = false;
        for action in actions {
            match action {
                Action::Notify {
                    characteristic, value, ..
                } => sent.push((characteristic, value)),
                Action::Indicate {
                    characteristic, value, ..
                } => {
                    sent.push((characteristic, value));
                    answered = true;
                }
                Action::Written | Action::Deleted(_) => {}
                other => panic!("unexpected {other:?}"),
            }
        }
        if answered {
            assert_eq!(meter.handle(now, Event::Confirmed), []);
            return Ok(sent);
        }
        now = meter.deadline().expect("a running procedure has a deadline");
        actions = meter.handle(now, Event::DeadlineReached);
    }
}

/// The rows of the vectors that say what a correct meter answers: request, answer.
fn rows() -> Vec<(Vec<u8>, String)> {
    let csv = include_str!("../../../crates/gatt/tests/vectors.csv");
    csv.lines()
        .filter_map(|line| line.strip_prefix("2A52-request,"))
        .filter_map(|line| {
            let (hex, json) = line.split_once(",\"")?;
            let json = json.rsplit_once("\",")?.0.replace("\"\"", "\"");
            let expected: serde_json::Value = serde_json::from_str(&json).unwrap();
            let answer = expected.get("server_response_hex")?.as_str()?.to_owned();
            Some((unhex(hex), answer))
        })
        .collect()
}

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

#[test]
fn wrong_requests_are_answered_as_the_vectors_say() {
    let rows = rows();
    assert!(rows.len() >= 4, "the vectors have rows with answers");
    for (request, answer) in rows {
        let sent = converse(&mut meter(settings(), 10), &request).unwrap();
        assert_eq!(sent, [(RACP, unhex(&answer))], "{request:02x?}");
    }
}

#[test]
fn counts_and_deletions_follow_the_operators() {
    let cases: [(&[u8], u16); 9] = [
        (&[4, 1], 10),
        (&[4, 5], 1),
        (&[4, 6], 1),
        (&[4, 2, 1, 3, 0], 3),
        (&[4, 3, 1, 9, 0], 2),
        (&[4, 4, 1, 4, 0, 6, 0], 3),
        (&[4, 3, 1, 11, 0], 0),
        // Until 2026-03-01 10:00: the first three.
        (&[4, 2, 2, 0xEA, 0x07, 3, 1, 10, 0, 0], 3),
        // From 2026-03-01 16:00: the last two.
        (&[4, 3, 2, 0xEA, 0x07, 3, 1, 16, 0, 0], 2),
    ];
    for (request, count) in cases {
        let [low, high] = count.to_le_bytes();
        let sent = converse(&mut meter(settings(), 10), request).unwrap();
        assert_eq!(sent, [(RACP, vec![5, 0, low, high])], "{request:02x?}");
        let mut deletion = request.to_vec();
        deletion[0] = 2;
        let mut meter = meter(settings(), 10);
        let code = if count == 0 { 6 } else { 1 };
        assert_eq!(converse(&mut meter, &deletion).unwrap(), [(RACP, vec![6, 0, 2, code])]);
        assert_eq!(meter.memory().0, 10 - usize::from(count));
    }
    let mut guarded = meter(
        GlucoseSettings {
            allows_delete: false,
            ..settings()
        },
        3,
    );
    assert_eq!(converse(&mut guarded, &[2, 1]).unwrap(), [(RACP, vec![6, 0, 2, 2])]);
    assert_eq!(guarded.memory().0, 3);
}

#[test]
fn a_report_ends_with_its_answer_and_an_empty_one_says_no_records() {
    let sent = converse(&mut meter(settings(), 3), &[1, 1]).unwrap();
    let characteristics: Vec<u16> = sent.iter().map(|(characteristic, _)| *characteristic).collect();
    assert_eq!(characteristics, [0x2A18, 0x2A34, 0x2A18, 0x2A18, 0x2A34, RACP]);
    assert_eq!(sent.last().unwrap().1, [6, 0, 1, 1]);
    assert_eq!(
        converse(&mut meter(settings(), 0), &[1, 1]).unwrap(),
        [(RACP, vec![6, 0, 1, 6])]
    );
    assert_eq!(
        converse(&mut meter(settings(), 0), &[4, 1]).unwrap(),
        [(RACP, vec![5, 0, 0, 0])]
    );
}

#[test]
fn one_procedure_at_a_time_and_abort_ends_it() {
    let write = |value: &[u8]| Event::Write {
        characteristic: RACP,
        value: value.to_vec(),
    };
    let mut meter = meter(settings(), 5);
    let first = meter.handle(SimTime::ZERO, write(&[1, 1]));
    assert!(matches!(
        first.as_slice(),
        [Action::Written, Action::Notify { .. }, Action::Notify { .. }]
    ));
    for request in [&[1, 1][..], &[4, 1], &[3, 1], &[0x0B, 1]] {
        let refused = meter.handle(SimTime::ZERO, write(request));
        assert_eq!(
            refused,
            [Action::Refused(AttError::ProcedureInProgress)],
            "{request:02x?}"
        );
    }
    let aborted = meter.handle(SimTime::ZERO, write(&[3, 0]));
    let answer = Action::Indicate {
        characteristic: RACP,
        value: vec![6, 0, 3, 1],
        record: None,
    };
    assert_eq!(aborted, [Action::Written, answer]);
    // Until its answer is confirmed the procedure is not over; then nothing of the report is left.
    assert_eq!(
        meter.handle(SimTime::ZERO, write(&[4, 1])),
        [Action::Refused(AttError::ProcedureInProgress)]
    );
    assert_eq!(meter.handle(SimTime::ZERO, Event::Confirmed), []);
    assert_eq!(meter.handle(SimTime::from_secs(1), Event::DeadlineReached), []);
    assert_eq!(converse(&mut meter, &[4, 1]).unwrap(), [(RACP, vec![5, 0, 5, 0])]);
}

#[test]
fn answers_need_their_client_configurations() {
    let mut meter = meter(settings(), 5);
    let unsubscribe = |characteristic| Event::Subscribe {
        characteristic,
        enabled: false,
    };
    meter.handle(SimTime::ZERO, unsubscribe(uuid16::GLUCOSE_MEASUREMENT));
    assert_eq!(converse(&mut meter, &[1, 1]), Err(AttError::ConfigurationImproper));
    // A count needs no measurements.
    assert!(converse(&mut meter, &[4, 1]).is_ok());
    meter.handle(SimTime::ZERO, unsubscribe(RACP));
    assert_eq!(converse(&mut meter, &[4, 1]), Err(AttError::ConfigurationImproper));
    // A lost link forgets all of them.
    meter.handle(SimTime::ZERO, Event::Disconnected);
    meter.handle(SimTime::ZERO, Event::Connected);
    assert_eq!(converse(&mut meter, &[1, 1]), Err(AttError::ConfigurationImproper));
}

#[test]
fn a_context_is_sent_only_to_who_asked_for_it() {
    let mut meter = meter(settings(), 2);
    meter.handle(
        SimTime::ZERO,
        Event::Subscribe {
            characteristic: uuid16::GLUCOSE_CONTEXT,
            enabled: false,
        },
    );
    let sent = converse(&mut meter, &[1, 1]).unwrap();
    let characteristics: Vec<u16> = sent.iter().map(|(characteristic, _)| *characteristic).collect();
    assert_eq!(characteristics, [0x2A18, 0x2A18, RACP]);
}

#[test]
fn a_client_that_unsubscribes_ends_the_report() {
    let mut meter = meter(settings(), 5);
    let write = Event::Write {
        characteristic: RACP,
        value: vec![1, 1],
    };
    meter.handle(SimTime::ZERO, write);
    let unsubscribe = Event::Subscribe {
        characteristic: uuid16::GLUCOSE_MEASUREMENT,
        enabled: false,
    };
    assert_eq!(meter.handle(SimTime::ZERO, unsubscribe), []);
    assert_eq!(meter.handle(SimTime::from_secs(1), Event::DeadlineReached), []);
    // One record went out before; the others are still new.
    assert_eq!(meter.memory(), (5, 4));
    assert_eq!(converse(&mut meter, &[4, 1]).unwrap(), [(RACP, vec![5, 0, 5, 0])]);
}
