//! The glucose conversation against a model meter: whatever the meter's memory, abilities and the link do, nothing new
//! is missed, nothing is deleted, and it ends.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use carepost_gatt::DateTime;
use carepost_gatt::glucose::Measurement;
use carepost_gatt::racp::{OpCode, Operand, Operator, Request, Response, ResultCode};
use carepost_gatt::sync::{
    AbortReason, Action, Event, GlucoseSync, HighWater, MAX_VALUES_PER_QUESTION, Outcome, Policy,
};
use proptest::prelude::*;

mod cases;

/// A record: sequence number and minute of its base time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Record {
    sequence: u16,
    minute: u32,
}

impl Record {
    fn base_time(self) -> DateTime {
        let start = DateTime::new(2026, 1, 1, 0, 0, 0);
        start.plus_minutes(i32::try_from(self.minute).unwrap()).unwrap()
    }

    fn mark(self) -> HighWater {
        HighWater {
            sequence: self.sequence,
            base_time: Some(self.base_time()),
        }
    }

    fn packet(self) -> Vec<u8> {
        let measurement = Measurement {
            sequence: self.sequence,
            base_time: self.base_time(),
            time_offset: None,
            concentration: None,
            status: None,
            context_follows: false,
            rfu_flags: 0,
        };
        measurement.encode().unwrap()
    }
}

/// What a meter can do, and how it behaves.
#[derive(Debug, Clone, Copy)]
struct Abilities {
    count: bool,
    last: bool,
    greater_or_equal: bool,
    newest_first: bool,
    duplicates: bool,
    contexts: bool,
    answers_abort: bool,
}

const ABLE: Abilities = Abilities {
    count: true,
    last: true,
    greater_or_equal: true,
    newest_first: false,
    duplicates: false,
    contexts: false,
    answers_abort: true,
};

/// What goes wrong once, after a number of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    LinkLost {
        after: usize,
    },
    Silent {
        after: usize,
    },
    WriteFails {
        write: usize,
        att_error: Option<u8>,
    },
    /// Every write from this one on fails.
    WritesFail {
        from: usize,
        att_error: u8,
    },
    /// Every answer to a report comes this many values early; what the conversation does not wait for is lost.
    EarlyAnswer {
        by: usize,
    },
    /// Something that nobody asked for comes after this many values.
    Stray {
        after: usize,
        what: Stray,
    },
    /// The count is off by this.
    Miscount {
        by: i16,
    },
    /// The meter does not answer the count.
    IgnoresCount,
    /// It refuses the count with the code, and names the report instead.
    RefusesCountAsReport {
        code: u8,
    },
}

/// What nobody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stray {
    /// A record of the memory, by its place.
    Record(usize),
    /// A context of a record that there may be or not.
    Context(u16),
    /// The result of another procedure.
    Result { op: u8, code: u8 },
    /// A count.
    Count(u16),
}

#[derive(Debug, Clone)]
struct Meter {
    /// Oldest first.
    records: Vec<Record>,
    abilities: Abilities,
}

/// A value that the meter sends.
#[derive(Debug, Clone)]
enum Value {
    Measurement(Record),
    Context(u16),
    ControlPoint(Vec<u8>),
}

impl Meter {
    fn answer(&self, request: &Request) -> Vec<Value> {
        let result = |code| {
            vec![Value::ControlPoint(
                Response::result(request.op, code).encode().unwrap(),
            )]
        };
        assert_eq!(request.check(), Ok(()), "the request is not correct: {request:?}");
        let records: Vec<Record> = match (&request.operator, &request.operand) {
            (Operator::Null, _) if self.abilities.answers_abort => {
                return result(ResultCode::Success);
            }
            (Operator::Null, _) => return vec![],
            (Operator::All, _) => self.records.clone(),
            (Operator::Last, _) if self.abilities.last => self.records.last().copied().into_iter().collect(),
            (Operator::GreaterOrEqual, Operand::Sequence(values)) if self.abilities.greater_or_equal => {
                let least = *values.first().unwrap();
                let fits = |record: &&Record| record.sequence >= least;
                self.records.iter().filter(fits).copied().collect()
            }
            _ => return result(ResultCode::OperatorNotSupported),
        };
        match request.op {
            OpCode::ReportNumber if self.abilities.count => {
                let count = u16::try_from(records.len()).unwrap();
                vec![Value::ControlPoint(Response::number(count).encode().unwrap())]
            }
            OpCode::ReportRecords if records.is_empty() => result(ResultCode::NoRecordsFound),
            OpCode::ReportRecords => {
                let mut values = vec![];
                for record in records {
                    values.push(Value::Measurement(record));
                    if self.abilities.duplicates {
                        values.push(Value::Measurement(record));
                    }
                    if self.abilities.contexts {
                        values.push(Value::Context(record.sequence));
                    }
                }
                if self.abilities.newest_first {
                    values.reverse();
                }
                values.extend(result(ResultCode::Success));
                values
            }
            _ => result(ResultCode::OpCodeNotSupported),
        }
    }
}

/// An answer as a faulty meter gives it.
fn faulty(mut values: Vec<Value>, request: &Request, fault: Fault) -> Vec<Value> {
    match fault {
        Fault::EarlyAnswer { by } if request.op == OpCode::ReportRecords => {
            if let Some(answer) = values.pop() {
                values.insert(values.len().saturating_sub(by), answer);
            }
        }
        Fault::Miscount { by } if request.op == OpCode::ReportNumber => {
            if let Some(Value::ControlPoint(bytes)) = values.first_mut()
                && let Ok(decoded) = Response::decode(bytes)
                && let Response::Number { count, .. } = decoded.value
            {
                let wrong = u16::try_from(count).unwrap().saturating_add_signed(by);
                *bytes = Response::number(wrong).encode().unwrap();
            }
        }
        Fault::IgnoresCount if request.op == OpCode::ReportNumber => values.clear(),
        Fault::RefusesCountAsReport { code } if request.op == OpCode::ReportNumber => {
            values = vec![Value::ControlPoint(vec![6, 0, 1, code])];
        }
        _ => {}
    }
    values
}

fn stray(meter: &Meter, what: Stray) -> Option<Value> {
    match what {
        Stray::Record(place) => meter.records.get(place).map(|record| Value::Measurement(*record)),
        Stray::Context(sequence) => Some(Value::Context(sequence)),
        Stray::Result { op, code } => Some(Value::ControlPoint(vec![6, 0, op, code])),
        Stray::Count(count) => Some(Value::ControlPoint(Response::number(count).encode().unwrap())),
    }
}

/// What a conversation brought.
struct Conversation {
    outcome: Outcome,
    delivered: Vec<Record>,
    requests: Vec<Request>,
}

/// Lets a meter and a conversation talk until it ends.
fn converse(meter: &Meter, known: Option<HighWater>, policy: Policy, fault: Fault) -> Conversation {
    let mut sync = GlucoseSync::new(policy, known);
    let mut now = Duration::ZERO;
    let mut delivered = vec![];
    let mut requests = vec![];
    let mut sent = 0;
    let mut silent = false;
    let mut strayed = false;
    let mut queue: VecDeque<Value> = VecDeque::new();
    let mut actions = VecDeque::from(sync.handle(now, Event::Start));
    for _ in 0..10_000 {
        if let Some(action) = actions.pop_front() {
            match action {
                Action::Finished(outcome) => {
                    assert!(actions.is_empty(), "something follows the end");
                    assert!(sync.is_finished());
                    assert_eq!(sync.deadline(), None);
                    assert_eq!(sync.handle(now, Event::Tick), vec![]);
                    assert_eq!(sync.handle(now, Event::Start), vec![]);
                    return Conversation {
                        outcome,
                        delivered,
                        requests,
                    };
                }
                Action::Write(bytes) => {
                    let request = Request::decode(&bytes).unwrap().value;
                    assert_ne!(request.op, OpCode::DeleteRecords, "a deletion was written");
                    match fault {
                        Fault::WriteFails { write, att_error } if write == requests.len() => {
                            actions.extend(sync.handle(now, Event::WriteFailed { att_error }));
                        }
                        Fault::WritesFail { from, att_error } if requests.len() >= from => {
                            let att_error = Some(att_error);
                            actions.extend(sync.handle(now, Event::WriteFailed { att_error }));
                        }
                        _ => queue.extend(faulty(meter.answer(&request), &request, fault)),
                    }
                    requests.push(request);
                }
            }
            continue;
        }
        if fault == (Fault::LinkLost { after: sent }) {
            actions.extend(sync.handle(now, Event::LinkLost));
            continue;
        }
        if let Fault::Stray { after, what } = fault
            && after == sent
            && !strayed
        {
            strayed = true;
            // Before all that is still to come.
            if let Some(value) = stray(meter, what) {
                queue.push_front(value);
            }
        }
        if fault == (Fault::Silent { after: sent }) && !silent {
            silent = true;
            queue.clear();
        }
        match queue.pop_front() {
            Some(value) => {
                sent += 1;
                now += Duration::from_millis(10);
                let context;
                let packet;
                let event = match &value {
                    Value::Measurement(record) => {
                        delivered.push(*record);
                        packet = record.packet();
                        Event::Measurement(&packet)
                    }
                    Value::Context(sequence) => {
                        context = carepost_gatt::glucose::Context::empty(*sequence).encode().unwrap();
                        Event::Context(&context)
                    }
                    Value::ControlPoint(bytes) => Event::ControlPoint(bytes),
                };
                actions.extend(sync.handle(now, event));
            }
            None => {
                let deadline = sync
                    .deadline()
                    .unwrap_or_else(|| panic!("nothing is awaited, but it is not over: {sync:?}"));
                // A tick before its time changes nothing.
                assert_eq!(sync.handle(now, Event::Tick), vec![]);
                assert!(deadline > now);
                now = deadline;
                actions.extend(sync.handle(now, Event::Tick));
            }
        }
    }
    panic!("the conversation does not end");
}

/// What happened to the meter after the last conversation.
#[derive(Debug, Clone, Copy)]
enum Since {
    /// It measured.
    Measured,
    /// Memory and numbering started again.
    Cleared,
    /// The numbering started again, the memory was kept.
    Renumbered,
}

#[derive(Debug, Clone)]
struct History {
    meter: Meter,
    synced: BTreeSet<Record>,
    known: Option<HighWater>,
}

fn abilities() -> impl Strategy<Value = Abilities> {
    any::<[bool; 7]>().prop_map(
        |[
            count,
            last,
            greater_or_equal,
            newest_first,
            duplicates,
            contexts,
            answers_abort,
        ]| Abilities {
            count,
            last,
            greater_or_equal,
            newest_first,
            duplicates,
            contexts,
            answers_abort,
        },
    )
}

fn history() -> impl Strategy<Value = History> {
    let start = prop_oneof![0_u16..5, 200_u16..300, 65_500_u16..=65_535];
    let gaps = prop::collection::vec(1_u16..5, 0..20);
    let since = prop_oneof![Just(Since::Measured), Just(Since::Cleared), Just(Since::Renumbered)];
    let more = prop::collection::vec(1_u16..5, 0..30);
    (abilities(), start, gaps, any::<prop::sample::Index>(), since, more).prop_map(
        |(abilities, start, gaps, synced, since, more)| {
            let mut minute = 0;
            let mut number = |sequence: &mut u16, gap: u16| {
                minute += 7;
                let record = Record {
                    sequence: *sequence,
                    minute,
                };
                *sequence = sequence.wrapping_add(gap);
                record
            };
            let mut sequence = start;
            let before: Vec<Record> = gaps.iter().map(|gap| number(&mut sequence, *gap)).collect();
            let synced = synced.index(before.len() + 1);
            let known = before.get(..synced).unwrap().last().map(|last| last.mark());
            let synced: BTreeSet<Record> = before.iter().take(synced).copied().collect();
            // Without "last", kept records of an old numbering hide the new ones, and no request would show it.
            let since = match since {
                Since::Renumbered if !abilities.last => Since::Measured,
                other => other,
            };
            let mut records = match since {
                Since::Measured | Since::Renumbered => before,
                Since::Cleared => vec![],
            };
            if !matches!(since, Since::Measured) {
                sequence = 0;
            }
            for gap in more {
                let gap = if matches!(since, Since::Renumbered) { 1 } else { gap };
                records.push(number(&mut sequence, gap));
            }
            History {
                meter: Meter { records, abilities },
                synced,
                known,
            }
        },
    )
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        Just(Fault::None),
        (0_usize..40).prop_map(|after| Fault::LinkLost { after }),
        (0_usize..40).prop_map(|after| Fault::Silent { after }),
        (
            0_usize..4,
            prop_oneof![
                Just(None),
                Just(Some(0x80)),
                Just(Some(0x81)),
                Just(Some(0xFE)),
                Just(Some(0x0E))
            ]
        )
            .prop_map(|(write, att_error)| Fault::WriteFails { write, att_error }),
        (0_usize..12).prop_map(|by| Fault::EarlyAnswer { by }),
        (0_usize..40, strays()).prop_map(|(after, what)| Fault::Stray { after, what }),
        (-40_i16..40).prop_map(|by| Fault::Miscount { by }),
        Just(Fault::IgnoresCount),
        any::<u8>().prop_map(|code| Fault::RefusesCountAsReport { code }),
    ]
}

fn strays() -> impl Strategy<Value = Stray> {
    prop_oneof![
        (0_usize..40).prop_map(Stray::Record),
        any::<u16>().prop_map(Stray::Context),
        // Of a count or of nothing known; that of a report would be an early answer.
        (2_u8..9, any::<u8>()).prop_map(|(op, code)| Stray::Result { op, code }),
        any::<u16>().prop_map(Stray::Count),
    ]
}

proptest! {
    #![proptest_config(cases::config(5_000))]

    /// Through any number of broken conversations up to a complete one, every record of the memory arrives.
    #[test]
    fn nothing_new_is_missed(history in history(), faults in prop::collection::vec(fault(), 0..4)) {
        let mut arrived = history.synced.clone();
        let mut known = history.known;
        let mut complete = false;
        for fault in faults.into_iter().chain([Fault::None]) {
            let conversation = converse(&history.meter, known, Policy::default(), fault);
            arrived.extend(conversation.delivered);
            known = conversation.outcome.high_water();
            // A meter that answers before its last record is believed once, and found out the next time.
            complete = !matches!(conversation.outcome, Outcome::Aborted { .. })
                && !matches!(fault, Fault::EarlyAnswer { by: 1.. });
            if complete {
                break;
            }
        }
        prop_assert!(complete, "a conversation without fault broke off");
        let memory: BTreeSet<Record> = history.meter.records.iter().copied().collect();
        let missing: Vec<_> = memory.difference(&arrived).collect();
        prop_assert!(missing.is_empty(), "missing {missing:?}, known {known:?}");
    }

    /// A mark that an outcome returns leads to all that is measured afterwards.
    #[test]
    fn the_mark_leads_to_later_records(history in history(), later in prop::collection::vec(1_u16..5, 1..10)) {
        let first = converse(&history.meter, history.known, Policy::default(), Fault::None);
        let mut meter = history.meter;
        let (mut sequence, mut minute) = meter
            .records
            .last()
            .map_or((0, 0), |last| (last.sequence.wrapping_add(1), last.minute));
        let mut new = BTreeSet::new();
        for gap in later {
            minute += 3;
            let record = Record { sequence, minute };
            new.insert(record);
            meter.records.push(record);
            sequence = sequence.wrapping_add(gap);
        }
        let second = converse(&meter, first.outcome.high_water(), Policy::default(), Fault::None);
        let arrived: BTreeSet<Record> = second.delivered.into_iter().collect();
        prop_assert!(new.is_subset(&arrived), "missing {:?}", new.difference(&arrived));
    }

    /// Arbitrary bytes and events neither panic nor write a deletion, and time ends the conversation.
    #[test]
    fn any_bytes_are_survived(
        known in prop::option::of((any::<u16>(), prop::option::of(any::<[u8; 7]>()))),
        events in prop::collection::vec((0_u8..7, prop::collection::vec(any::<u8>(), 0..20)), 0..60),
    ) {
        let known = known.map(|(sequence, time)| HighWater {
            sequence,
            base_time: time.map(DateTime::from_bytes),
        });
        let mut sync = GlucoseSync::new(Policy::default(), known);
        let mut now = Duration::ZERO;
        let mut actions = sync.handle(now, Event::Start);
        for (kind, bytes) in &events {
            now += Duration::from_secs(1);
            let event = match kind {
                0 => Event::Measurement(bytes),
                1 => Event::Context(bytes),
                2 => Event::ControlPoint(bytes),
                // Answers that can be read, with any content.
                3 => {
                    let head = [6, 0, 1];
                    let answer: Vec<u8> = head.iter().chain(bytes).copied().collect();
                    actions.extend(sync.handle(now, Event::ControlPoint(&answer)));
                    continue;
                }
                4 => Event::WriteFailed { att_error: bytes.first().copied() },
                5 => Event::Tick,
                _ => Event::Start,
            };
            actions.extend(sync.handle(now, event));
        }
        for _ in 0..10 {
            if let Some(deadline) = sync.deadline() {
                now = deadline;
                actions.extend(sync.handle(now, Event::Tick));
            }
        }
        prop_assert!(sync.is_finished());
        let ends = actions.iter().filter(|action| matches!(action, Action::Finished(_))).count();
        prop_assert_eq!(ends, 1);
        for action in actions {
            if let Action::Write(bytes) = action {
                prop_assert_ne!(bytes.first(), Some(&2), "a deletion was written");
            }
        }
    }
}

/// The answer to "from the known record on" comes before all records, which then come as if they were those of the next
/// question, in order and without the oldest.
#[test]
fn what_comes_behind_its_answer_is_not_taken_for_all_that_there_is() {
    let abilities = Abilities {
        count: false,
        last: false,
        ..ABLE
    };
    let meter = Meter {
        records: records(0..3, 28),
        abilities,
    };
    let before = Record { sequence: 1, minute: 7 };
    let first = converse(
        &meter,
        Some(before.mark()),
        Policy::default(),
        Fault::EarlyAnswer { by: 3 },
    );
    assert_eq!(first.outcome.high_water(), None);
    assert_eq!(talk(&meter, None).delivered, meter.records);
    // A link that breaks before the second answer leaves the old mark, of a record that is not there any more.
    let mut sync = GlucoseSync::new(Policy::default(), Some(before.mark()));
    let mut told = |event: Event<'_>| sync.handle(Duration::ZERO, event);
    told(Event::Start);
    told(Event::ControlPoint(&[6, 0, 4, 2]));
    told(Event::ControlPoint(&[6, 0, 1, 3]));
    told(Event::ControlPoint(&[6, 0, 1, 1]));
    told(Event::Measurement(&meter.records[1].packet()));
    told(Event::Measurement(&meter.records[2].packet()));
    let [Action::Finished(outcome)] = &told(Event::LinkLost)[..] else {
        panic!("a lost link ends the conversation");
    };
    assert_eq!(outcome.high_water(), Some(before.mark()));
}

/// The numbering started again with the memory kept, which only the last record shows, and another comes with it.
#[test]
fn a_record_that_comes_with_the_last_one_does_not_hide_it() {
    let mut kept = records(0..6, 10);
    kept.extend(records(0..2, 50));
    let meter = Meter {
        records: kept,
        abilities: ABLE,
    };
    let known = meter.records[3].mark();
    // Behind the count and the last record.
    let stray = Fault::Stray {
        after: 2,
        what: Stray::Record(4),
    };
    let talk = converse(&meter, Some(known), Policy::default(), stray);
    let arrived: BTreeSet<Record> = talk.delivered.into_iter().collect();
    assert!(arrived.contains(&meter.records[6]), "{arrived:?}");
}

fn records(sequences: impl IntoIterator<Item = u16>, first_minute: u32) -> Vec<Record> {
    sequences
        .into_iter()
        .zip(first_minute..)
        .map(|(sequence, minute)| Record { sequence, minute })
        .collect()
}

fn talk(meter: &Meter, known: Option<HighWater>) -> Conversation {
    converse(meter, known, Policy::default(), Fault::None)
}

#[test]
fn an_unknown_meter_is_read_whole_and_then_has_nothing_new() {
    let meter = Meter {
        records: records(0..60, 0),
        abilities: ABLE,
    };
    let first = talk(&meter, None);
    let mark = meter.records.last().map(|last| last.mark());
    assert_eq!(
        first.outcome,
        Outcome::Complete {
            delivered: 60,
            announced: Some(60),
            reset_detected: false,
            high_water: mark,
        }
    );
    assert_eq!(first.requests, [Request::number_of_all(), Request::report_all()]);

    let second = talk(&meter, mark);
    assert_eq!(
        second.outcome,
        Outcome::Complete {
            delivered: 0,
            announced: Some(60),
            reset_detected: false,
            high_water: mark,
        }
    );
    assert_eq!(second.requests, [Request::number_of_all(), Request::report_last()]);
}

#[test]
fn only_new_records_are_asked_for_with_the_known_one_as_anchor() {
    let mut meter = Meter {
        records: records(0..60, 0),
        abilities: ABLE,
    };
    let mark = talk(&meter, None).outcome.high_water();
    meter.records.extend(records(60..63, 100));
    let next = talk(&meter, mark);
    assert_eq!(next.requests.last(), Some(&Request::report_from(59)));
    assert_eq!(
        next.outcome,
        Outcome::Complete {
            delivered: 3,
            announced: Some(63),
            reset_detected: false,
            high_water: meter.records.last().map(|last| last.mark()),
        }
    );
}

#[test]
fn a_broken_reading_that_began_at_the_newest_leaves_no_mark() {
    // The numbering started again beside older records; then the newest record has the lowest number.
    let mut meter = Meter {
        records: records(0..20, 0),
        abilities: Abilities {
            newest_first: true,
            last: false,
            ..ABLE
        },
    };
    meter.records.extend(records([0], 100));
    // The count, the new record, and the newest of the older ones: numbers rise while times fall.
    let broken = converse(&meter, None, Policy::default(), Fault::LinkLost { after: 3 });
    assert_eq!(broken.delivered.len(), 2);
    assert_eq!(broken.outcome.high_water(), None, "it would hide all records below");
    let again = talk(&meter, broken.outcome.high_water());
    assert_eq!(again.delivered.len(), 21);
}

#[test]
fn a_reset_is_found_even_when_the_new_numbers_have_passed_the_old() {
    let known = Some(Record { sequence: 5, minute: 5 }.mark());
    for abilities in [ABLE, Abilities { last: false, ..ABLE }] {
        let meter = Meter {
            records: records(0..20, 1000),
            abilities,
        };
        let conversation = talk(&meter, known);
        assert_eq!(
            conversation.outcome,
            Outcome::Complete {
                delivered: 20,
                announced: Some(20),
                reset_detected: true,
                high_water: meter.records.last().map(|last| last.mark()),
            }
        );
    }
}

#[test]
fn a_higher_number_with_an_older_time_is_a_reset() {
    let meter = Meter {
        records: records(0..20, 0),
        abilities: ABLE,
    };
    let known = Record {
        sequence: 5,
        minute: 1000,
    };
    let conversation = talk(&meter, Some(known.mark()));
    assert_eq!(
        conversation.requests,
        [Request::number_of_all(), Request::report_last(), Request::report_all()]
    );
    assert!(matches!(
        conversation.outcome,
        Outcome::Complete {
            delivered: 20,
            reset_detected: true,
            ..
        }
    ));
}

#[test]
fn a_notification_that_comes_twice_does_not_cost_the_mark() {
    let meter = Meter {
        records: records(0..3, 0),
        abilities: Abilities {
            duplicates: true,
            ..ABLE
        },
    };
    let mark = meter.records.last().map(|last| last.mark());
    let first = talk(&meter, None).outcome;
    assert_eq!(first.high_water(), mark);
    assert_eq!(
        talk(&meter, mark).outcome,
        Outcome::Complete {
            delivered: 0,
            announced: Some(3),
            reset_detected: false,
            high_water: mark,
        }
    );
}

#[test]
fn a_broken_conversation_resumes_where_it_broke() {
    let meter = Meter {
        records: records(0..60, 0),
        abilities: ABLE,
    };
    // The answer to the count and forty records.
    let fault = Fault::LinkLost { after: 41 };
    let broken = converse(&meter, None, Policy::default(), fault);
    assert_eq!(
        broken.outcome,
        Outcome::Aborted {
            reason: AbortReason::LinkLost,
            delivered: 40,
            high_water: meter.records.get(39).map(|record| record.mark()),
        }
    );
    let resumed = talk(&meter, broken.outcome.high_water());
    assert!(matches!(
        resumed.outcome,
        Outcome::Complete {
            delivered: 20,
            reset_detected: false,
            ..
        }
    ));
}

#[test]
fn falling_numbers_are_a_mark_only_if_times_fall_too() {
    let memory = |newest_first: bool, records: Vec<Record>| Meter {
        records,
        abilities: Abilities { newest_first, ..ABLE },
    };
    let newest_first = talk(&memory(true, records([0, 1, 2], 0)), None).outcome;
    assert_eq!(newest_first.high_water().map(|mark| mark.sequence), Some(2));
    let renumbered = talk(&memory(false, records([2, 0], 0)), None).outcome;
    assert_eq!(renumbered.high_water(), None);
}

#[test]
fn a_meter_without_operators_is_read_whole() {
    let meter = Meter {
        records: records(3..10, 0),
        abilities: Abilities {
            count: false,
            last: false,
            greater_or_equal: false,
            ..ABLE
        },
    };
    let known = meter.records.last().map(|last| last.mark());
    let conversation = talk(&meter, known);
    assert_eq!(
        conversation.outcome,
        Outcome::Complete {
            delivered: 6,
            announced: None,
            reset_detected: false,
            high_water: known,
        }
    );
    assert_eq!(conversation.requests.last(), Some(&Request::report_all()));
}

/// Neither silence nor a confused refusal of the count costs the records; a meter that says nothing at all is given up.
#[test]
fn a_meter_that_does_not_count_is_read_all_the_same() {
    let meter = |answers_abort| Meter {
        records: records(0..5, 0),
        abilities: Abilities { answers_abort, ..ABLE },
    };
    let known = meter(true).records.get(2).map(|record| record.mark());
    let refusals = [2, 3, 4, 6, 8, 10].map(|code| Fault::RefusesCountAsReport { code });
    for fault in [Fault::IgnoresCount].into_iter().chain(refusals) {
        for (known, delivered) in [(None, 5), (known, 2)] {
            for answers_abort in [true, false] {
                let meter = meter(answers_abort);
                let conversation = converse(&meter, known, Policy::default(), fault);
                assert_eq!(
                    conversation.outcome,
                    Outcome::Complete {
                        delivered,
                        announced: None,
                        reset_detected: false,
                        high_water: meter.records.last().map(|last| last.mark()),
                    },
                    "{fault:?}"
                );
            }
        }
    }
    let requests = converse(&meter(true), None, Policy::default(), Fault::IgnoresCount).requests;
    let expected = [Request::number_of_all(), Request::abort(), Request::report_all()];
    assert_eq!(requests, expected);
    // A report that somebody else asked for ends: that is no answer to the count.
    let foreign = converse(
        &meter(true),
        None,
        Policy::default(),
        Fault::RefusesCountAsReport { code: 1 },
    );
    assert_eq!(foreign.requests, expected);

    let mut sync = GlucoseSync::new(Policy::default(), None);
    sync.handle(Duration::ZERO, Event::Start);
    let mut waits = 0;
    while let Some(deadline) = sync.deadline() {
        sync.handle(deadline, Event::Tick);
        waits += 1;
        assert!(waits < 10, "silence does not end it");
    }
    assert!(sync.is_finished());
    assert_eq!(waits, 4, "the count, its abort, the report, its abort");
}

#[test]
fn a_policy_can_read_all_always() {
    let meter = Meter {
        records: records(0..4, 0),
        abilities: ABLE,
    };
    let policy = Policy {
        only_new: false,
        ..Policy::default()
    };
    let known = meter.records.last().map(|last| last.mark());
    let conversation = converse(&meter, known, policy, Fault::None);
    assert_eq!(conversation.requests, [Request::number_of_all(), Request::report_all()]);
    assert_eq!(conversation.delivered.len(), 4);
}

#[test]
fn an_empty_memory_is_a_success() {
    let meter = Meter {
        records: vec![],
        abilities: ABLE,
    };
    assert_eq!(talk(&meter, None).outcome, Outcome::NoRecords { high_water: None });
}

#[test]
fn silence_is_aborted_after_thirty_seconds() {
    let policy = Policy::default();
    let mut sync = GlucoseSync::new(policy, None);
    let start = Duration::from_secs(3);
    assert_eq!(sync.handle(start, Event::Start).len(), 1);
    assert_eq!(sync.deadline(), Some(start + Duration::from_secs(30)));
    assert_eq!(
        sync.handle(start, Event::ControlPoint(&[5, 0, 2, 0])),
        vec![Action::Write(vec![1, 1])]
    );
    assert_eq!(sync.deadline(), Some(start + Duration::from_secs(30)));
    let later = start + Duration::from_secs(20);
    let packet = Record { sequence: 0, minute: 0 }.packet();
    assert_eq!(sync.handle(later, Event::Measurement(&packet)), vec![]);
    let deadline = later + Duration::from_secs(30);
    assert_eq!(sync.deadline(), Some(deadline), "traffic moves the deadline");
    assert_eq!(sync.handle(deadline, Event::Tick), vec![Action::Write(vec![3, 0])]);
    // Stragglers are taken and do not keep the abort waiting.
    let straggler = deadline + Duration::from_secs(4);
    assert_eq!(sync.handle(straggler, Event::Measurement(&packet)), vec![]);
    assert_eq!(sync.deadline(), Some(deadline + policy.abort_timeout));
    let actions = sync.handle(straggler, Event::ControlPoint(&[6, 0, 3, 1]));
    assert_eq!(
        actions,
        vec![Action::Finished(Outcome::Aborted {
            reason: AbortReason::TimedOut,
            delivered: 2,
            high_water: None,
        })]
    );
}

#[test]
fn write_errors_are_told_apart() {
    let meter = Meter {
        records: records(0..3, 0),
        abilities: ABLE,
    };
    let check = |att_error: Option<u8>, reason: AbortReason| {
        let fault = Fault::WriteFails { write: 1, att_error };
        let outcome = converse(&meter, None, Policy::default(), fault).outcome;
        assert!(
            matches!(outcome, Outcome::Aborted { reason: found, .. } if found == reason),
            "{att_error:?} gives {outcome:?}"
        );
    };
    check(None, AbortReason::WriteFailed { att_error: None });
    check(Some(0x0E), AbortReason::WriteFailed { att_error: Some(0x0E) });
}

#[test]
fn a_request_refused_for_want_of_a_subscription_is_repeated_once() {
    let meter = Meter {
        records: records(0..3, 0),
        abilities: ABLE,
    };
    for att_error in [0x81, 0xFD] {
        let once = Fault::WriteFails {
            write: 1,
            att_error: Some(att_error),
        };
        let outcome = converse(&meter, None, Policy::default(), once).outcome;
        assert!(matches!(outcome, Outcome::Complete { delivered: 3, .. }), "{outcome:?}");
        let always = converse(
            &meter,
            None,
            Policy::default(),
            Fault::WritesFail { from: 1, att_error },
        );
        let reason = AbortReason::NotSubscribed;
        assert!(
            matches!(always.outcome, Outcome::Aborted { reason: found, .. } if found == reason),
            "{:?}",
            always.outcome
        );
        assert_eq!(always.requests.len(), 3, "the count, and the report twice");
    }
}

#[test]
fn a_running_procedure_is_aborted_and_the_request_repeated() {
    let meter = Meter {
        records: records(0..3, 0),
        abilities: ABLE,
    };
    let fault = Fault::WriteFails {
        write: 1,
        att_error: Some(0x80),
    };
    let conversation = converse(&meter, None, Policy::default(), fault);
    assert_eq!(
        conversation.requests,
        [
            Request::number_of_all(),
            Request::report_all(),
            Request::abort(),
            Request::report_all()
        ]
    );
    assert!(matches!(conversation.outcome, Outcome::Complete { delivered: 3, .. }));
}

#[test]
fn a_meter_that_stays_busy_is_given_up() {
    let mut sync = GlucoseSync::new(Policy::default(), None);
    let mut actions = sync.handle(Duration::ZERO, Event::Start);
    let mut writes = 0;
    while let Some(Action::Write(_)) = actions.first() {
        writes += 1;
        assert!(writes < 10, "it is never given up");
        // Every second write, an abort, goes through.
        actions = if writes % 2 == 1 {
            let att_error = Some(0x80);
            sync.handle(Duration::ZERO, Event::WriteFailed { att_error })
        } else {
            sync.handle(Duration::ZERO, Event::ControlPoint(&[6, 0, 3, 1]))
        };
    }
    assert!(matches!(
        actions.as_slice(),
        [Action::Finished(Outcome::Aborted {
            reason: AbortReason::Busy,
            ..
        })]
    ));
}

#[test]
fn a_refusal_to_report_ends_with_its_code() {
    let mut sync = GlucoseSync::new(Policy::default(), None);
    sync.handle(Duration::ZERO, Event::Start);
    sync.handle(Duration::ZERO, Event::ControlPoint(&[5, 0, 3, 0]));
    let actions = sync.handle(Duration::ZERO, Event::ControlPoint(&[6, 0, 1, 8]));
    assert_eq!(
        actions,
        vec![Action::Finished(Outcome::Aborted {
            reason: AbortReason::Refused {
                code: ResultCode::ProcedureNotCompleted
            },
            delivered: 0,
            high_water: None,
        })]
    );
}

#[test]
fn an_endless_meter_is_stopped() {
    let mut sync = GlucoseSync::new(Policy::default(), None);
    sync.handle(Duration::ZERO, Event::Start);
    sync.handle(Duration::ZERO, Event::ControlPoint(&[5, 0, 3, 0]));
    let packet = [0; 3];
    for _ in 0..MAX_VALUES_PER_QUESTION {
        assert_eq!(sync.handle(Duration::ZERO, Event::Context(&packet)), vec![]);
    }
    assert_eq!(
        sync.handle(Duration::ZERO, Event::Context(&packet)),
        vec![Action::Write(vec![3, 0])]
    );
    let actions = sync.handle(Duration::ZERO, Event::LinkLost);
    assert!(matches!(
        actions.as_slice(),
        [Action::Finished(Outcome::Aborted {
            reason: AbortReason::LinkLost,
            ..
        })]
    ));
}

fn newest_first(records: Vec<Record>) -> Meter {
    Meter {
        records,
        abilities: Abilities {
            newest_first: true,
            ..ABLE
        },
    }
}

#[test]
fn an_answer_before_the_last_record_is_believed_only_where_nothing_older_can_be_missing() {
    let early = |meter: &Meter, known| converse(meter, known, Policy::default(), Fault::EarlyAnswer { by: 2 });
    // The oldest two never came, and no mark hides them.
    let falling = newest_first(records(0..5, 0));
    let outcome = early(&falling, None).outcome;
    assert!(
        matches!(
            outcome,
            Outcome::Complete {
                delivered: 3,
                high_water: None,
                ..
            }
        ),
        "{outcome:?}"
    );
    // The same from a known record on: it is the last to come, and its absence leads to reading everything.
    let known = falling.records.first().map(|record| record.mark());
    let conversation = early(&falling, known);
    assert_eq!(conversation.requests.last(), Some(&Request::report_all()));
    assert_eq!(conversation.outcome.high_water(), None);
    // Oldest first, what is missing is newer than the mark, unless something was announced that did not come.
    let rising = Meter {
        records: records(0..5, 0),
        abilities: Abilities { count: false, ..ABLE },
    };
    let mark = rising.records.get(2).map(|record| record.mark());
    assert_eq!(early(&rising, None).outcome.high_water(), mark);
    let counted = Meter {
        abilities: ABLE,
        ..rising
    };
    assert_eq!(early(&counted, None).outcome.high_water(), None);
}

#[test]
fn what_comes_after_the_answer_changes_nothing() {
    let mut sync = GlucoseSync::new(Policy::default(), None);
    sync.handle(Duration::ZERO, Event::Start);
    sync.handle(Duration::ZERO, Event::ControlPoint(&[5, 0, 1, 0]));
    let record = Record { sequence: 4, minute: 9 };
    sync.handle(Duration::ZERO, Event::Measurement(&record.packet()));
    let end = sync.handle(Duration::ZERO, Event::ControlPoint(&[6, 0, 1, 1]));
    assert_eq!(
        end,
        vec![Action::Finished(Outcome::Complete {
            delivered: 1,
            announced: Some(1),
            reset_detected: false,
            high_water: Some(record.mark()),
        })]
    );
    for late in [
        Event::Measurement(
            &Record {
                sequence: 5,
                minute: 10,
            }
            .packet(),
        ),
        Event::Context(&[0, 4, 0]),
        Event::ControlPoint(&[6, 0, 1, 1]),
        Event::ControlPoint(&[5, 0, 9, 0]),
        Event::WriteFailed { att_error: Some(0x80) },
        Event::LinkLost,
        Event::Start,
    ] {
        assert_eq!(sync.handle(Duration::from_secs(60), late), vec![], "{late:?}");
    }
    assert_eq!(sync.deadline(), None);
}

#[test]
fn a_count_may_be_one_two_or_four_bytes_wide() {
    for (answer, expected) in [
        (&[5, 0, 3][..], Some(3)),
        (&[5, 0, 3, 1], Some(259)),
        (&[5, 0, 3, 0, 1, 0], Some(65_539)),
        // Three bytes are no count: it is waited for one.
        (&[5, 0, 3, 0, 0], None),
    ] {
        let mut sync = GlucoseSync::new(Policy::default(), None);
        sync.handle(Duration::ZERO, Event::Start);
        let actions = sync.handle(Duration::ZERO, Event::ControlPoint(answer));
        assert_eq!(sync.announced(), expected);
        assert_eq!(actions.is_empty(), expected.is_none(), "{answer:?}");
    }
}

#[test]
fn contexts_missing_late_early_or_foreign_are_not_the_conversations_business() {
    let plain = records(0..3, 0);
    let expected = talk(
        &Meter {
            records: plain.clone(),
            abilities: ABLE,
        },
        None,
    )
    .outcome;
    let with = |place: usize, sequence: u16| {
        let meter = Meter {
            records: plain.clone(),
            abilities: Abilities { contexts: true, ..ABLE },
        };
        let what = Stray::Context(sequence);
        converse(&meter, None, Policy::default(), Fault::Stray { after: place, what }).outcome
    };
    // Before the first record, after its own record's successor, and of no record at all.
    for (place, sequence) in [(0, 0), (1, 0), (4, 0), (3, 999)] {
        assert_eq!(with(place, sequence), expected, "{place} {sequence}");
    }
}

#[test]
fn records_without_a_date_leave_no_mark() {
    let undated = |sequence: u16| {
        let measurement = Measurement {
            sequence,
            base_time: DateTime::new(0, 0, 0, 0, 0, 0),
            time_offset: None,
            concentration: None,
            status: None,
            context_follows: false,
            rfu_flags: 0,
        };
        measurement.encode().unwrap()
    };
    let mut sync = GlucoseSync::new(Policy::default(), None);
    sync.handle(Duration::ZERO, Event::Start);
    sync.handle(Duration::ZERO, Event::ControlPoint(&[5, 0, 2, 0]));
    for sequence in [7, 8] {
        sync.handle(Duration::ZERO, Event::Measurement(&undated(sequence)));
    }
    let end = sync.handle(Duration::ZERO, Event::ControlPoint(&[6, 0, 1, 1]));
    assert!(
        matches!(
            end.as_slice(),
            [Action::Finished(Outcome::Complete {
                delivered: 2,
                high_water: None,
                ..
            })]
        ),
        "{end:?}"
    );
}
