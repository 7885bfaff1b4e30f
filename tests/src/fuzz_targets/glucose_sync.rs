//! The conversation by which glucose records are fetched, against two kinds of meter.
//!
//! A hostile peer sends anything at any time. Promises: the conversation ends within bounds, asks only what a meter may
//! be asked and never for a deletion, and leaves a mark only on a record that was known or delivered.
//!
//! An honest memory behind a bad link is read again and again while people go on measuring, clear it, or renumber it.
//! Promises: no mark passes a record that was not delivered, and in the end everything in the memory has arrived.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use carepost_gatt::DateTime;
use carepost_gatt::glucose::{Context, Measurement};
use carepost_gatt::racp::{OpCode, Operand, Operator, Request, Response, ResultCode};
use carepost_gatt::sync::{Action, Event, GlucoseSync, HighWater, Outcome, Policy};

use super::script::Script;

/// Most requests of one conversation: count, last, since, all, and a last abort; an abort of a count that was not answered;
/// two more aborts, each with its question again, when the control point was busy; and one question again that was refused
/// for want of a subscription.
const MAX_WRITES: usize = 11;
/// Events of one hostile conversation; what is left of the input is not read.
const MAX_EVENTS: usize = 2_000;
/// Conversations with one memory before the last.
const MAX_ROUNDS: usize = 6;
/// Records that one round adds.
const MAX_ADDED: u8 = 24;
/// Steps of one conversation with a memory: more than all values of all questions.
const MAX_STEPS: usize = 20_000;

/// See the module.
pub fn glucose_sync(data: &[u8]) {
    let mut script = Script::new(data);
    if script.u8().is_multiple_of(2) {
        hostile(script);
    } else {
        honest(script);
    }
}

/// A conversation, and what every one of its steps is checked against.
struct Client {
    sync: GlucoseSync,
    policy: Policy,
    now: Duration,
    known: Option<HighWater>,
    /// Readable records that were handed in.
    delivered: Vec<HighWater>,
    writes: usize,
    outcome: Option<Outcome>,
}

impl Client {
    fn new(policy: Policy, known: Option<HighWater>) -> Self {
        Self {
            sync: GlucoseSync::new(policy, known),
            policy,
            now: Duration::ZERO,
            known,
            delivered: Vec::new(),
            writes: 0,
            outcome: None,
        }
    }

    /// Hands an event in and returns the requests that it leads to.
    fn handle(&mut self, event: Event<'_>) -> Vec<Request> {
        if let Event::Measurement(bytes) = event
            && let Ok(decoded) = Measurement::decode(bytes)
        {
            self.delivered.push(HighWater {
                sequence: decoded.value.sequence,
                base_time: Some(decoded.value.base_time),
            });
        }
        let over = self.outcome.is_some();
        let actions = self.sync.handle(self.now, event);
        assert!(!over || actions.is_empty(), "something follows the end");
        let mut requests = Vec::new();
        for action in actions {
            assert!(self.outcome.is_none(), "something follows the end");
            match action {
                Action::Write(bytes) => requests.push(self.asked(&bytes)),
                Action::Finished(outcome) => self.finished(outcome),
            }
        }
        assert_eq!(self.sync.is_finished(), self.outcome.is_some());
        if let Some(deadline) = self.sync.deadline() {
            let longest = self.policy.idle_timeout.max(self.policy.abort_timeout);
            assert!(
                deadline <= self.now.saturating_add(longest),
                "patience is bounded: {deadline:?} at {:?}",
                self.now
            );
        }
        requests
    }

    fn asked(&mut self, bytes: &[u8]) -> Request {
        self.writes += 1;
        assert!(self.writes <= MAX_WRITES, "the conversation does not stop asking");
        let decoded = Request::decode(bytes).expect("a request can be read");
        assert_eq!(decoded.trailing_bytes, 0);
        let request = decoded.value;
        assert_eq!(request.check(), Ok(()), "a meter could not carry out {request:?}");
        assert!(
            matches!(request.op, OpCode::ReportRecords | OpCode::ReportNumber | OpCode::Abort),
            "nothing is deleted on a person's meter: {request:?}"
        );
        request
    }

    fn finished(&mut self, outcome: Outcome) {
        let mark = outcome.high_water();
        assert!(
            mark.is_none() || mark == self.known || mark.is_some_and(|mark| self.delivered.contains(&mark)),
            "a mark on a record that never came: {outcome:?}"
        );
        assert_eq!(self.sync.deadline(), None, "nothing is awaited after the end");
        self.outcome = Some(outcome);
    }

    /// Lets time pass until the next deadline; `None` if nothing is awaited.
    fn wait(&mut self) -> Option<Vec<Request>> {
        let deadline = self.sync.deadline()?;
        if deadline > self.now {
            assert_eq!(
                self.sync.handle(self.now, Event::Tick),
                vec![],
                "a tick before its time changes nothing"
            );
        }
        self.now = self.now.max(deadline);
        Some(self.handle(Event::Tick))
    }
}

fn hostile(mut script: Script<'_>) {
    let flags = script.u8();
    let policy = Policy {
        only_new: flags & 1 != 0,
        ..Policy::default()
    };
    let known = (flags & 2 != 0).then(|| HighWater {
        sequence: script.u16(),
        base_time: (flags & 4 != 0).then(|| base_time(u32::from(script.u8()))),
    });
    let mut client = Client::new(policy, known);
    if flags & 8 == 0 {
        client.handle(Event::Start);
    }
    for _ in 0..MAX_EVENTS {
        if script.is_empty() {
            break;
        }
        client.now += Duration::from_millis(u64::from(flags >> 4) * 100);
        hostile_event(&mut client, &mut script);
    }
    // Whatever came, silence ends it: with a start, each wait ends the question or the conversation.
    client.handle(Event::Start);
    for _ in 0..MAX_WRITES {
        if client.wait().is_none() {
            break;
        }
    }
    assert!(client.sync.is_finished(), "silence does not end it: {:?}", client.sync);
}

fn hostile_event(client: &mut Client, script: &mut Script<'_>) {
    match script.u8() % 12 {
        0 => {
            let sequence = script.u16();
            let packet = packet(sequence, Some(u32::from(script.u8())));
            client.handle(Event::Measurement(&packet));
        }
        1 => {
            let value = script.piece();
            client.handle(Event::Measurement(value));
        }
        2 => {
            let value = script.piece();
            client.handle(Event::Context(value));
        }
        3 => {
            let value = script.piece();
            client.handle(Event::ControlPoint(value));
        }
        4 => {
            let [low, high] = script.u16().to_le_bytes();
            client.handle(Event::ControlPoint(&[5, 0, low, high]));
        }
        5 => {
            let code = script.u8();
            client.handle(Event::ControlPoint(&[6, 0, 1, code]));
        }
        6 => {
            let op = script.u8();
            let code = script.u8();
            client.handle(Event::ControlPoint(&[6, 0, op, code]));
        }
        7 => {
            let att_error = match script.u8() {
                0 => None,
                1 => Some(0x80),
                2 => Some(0x81),
                3 => Some(0xFD),
                4 => Some(0xFE),
                other => Some(other),
            };
            client.handle(Event::WriteFailed { att_error });
        }
        8 => {
            client.now += Duration::from_millis(u64::from(script.u16()));
            client.handle(Event::Tick);
        }
        9 => {
            client.wait();
        }
        10 => {
            client.handle(Event::LinkLost);
        }
        _ => {
            client.handle(Event::Start);
        }
    }
}

fn base_time(minute: u32) -> DateTime {
    let minutes = i32::try_from(minute).unwrap_or(i32::MAX);
    DateTime::new(2026, 1, 1, 0, 0, 0)
        .plus_minutes(minutes)
        .expect("some years from 2026 is a date")
}

/// A record of that minute, or of a clock that was never set.
fn packet(sequence: u16, minute: Option<u32>) -> Vec<u8> {
    let measurement = Measurement {
        sequence,
        base_time: minute.map_or(DateTime::new(0, 0, 0, 0, 0, 0), base_time),
        time_offset: None,
        concentration: None,
        status: None,
        context_follows: false,
        rfu_flags: 0,
    };
    measurement.encode().expect("a record without a value has bytes")
}

/// A record of an honest memory. No two have the same minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Record {
    minute: u32,
    sequence: u16,
}

impl Record {
    fn mark(self) -> HighWater {
        HighWater {
            sequence: self.sequence,
            base_time: Some(base_time(self.minute)),
        }
    }
}

/// What the meter can do, and how it behaves.
#[derive(Debug, Clone, Copy)]
struct Abilities {
    count: bool,
    last: bool,
    greater_or_equal: bool,
    newest_first: bool,
    duplicates: bool,
    contexts: bool,
    answers_abort: bool,
    /// Answers to the count are four bytes wide.
    wide_count: bool,
}

impl Abilities {
    fn from_bits(bits: u8) -> Self {
        let bit = |n: u8| bits & (1 << n) != 0;
        Self {
            count: !bit(0),
            last: !bit(1),
            greater_or_equal: !bit(2),
            newest_first: bit(3),
            duplicates: bit(4),
            contexts: bit(5),
            answers_abort: !bit(6),
            wide_count: bit(7),
        }
    }
}

/// What goes wrong once in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// The link is lost after so many values.
    LinkLost(usize),
    /// The meter falls silent after so many values, for good.
    Silent(usize),
    /// It pauses after so many values until the client loses patience, and then goes on.
    Stalls(usize),
    /// A write fails.
    WriteFails {
        write: usize,
        att_error: Option<u8>,
    },
    /// The meter says that it is done after so many values of a report, and keeps the rest.
    StopsEarly(usize),
}

impl Fault {
    fn from_script(script: &mut Script<'_>) -> Self {
        let kind = script.u8();
        let at = usize::from(script.u8());
        match kind % 6 {
            0 => Self::None,
            1 => Self::LinkLost(at),
            2 => Self::Silent(at),
            3 => Self::Stalls(at),
            5 => Self::StopsEarly(at),
            _ => Self::WriteFails {
                write: at % MAX_WRITES,
                att_error: match script.u8() % 5 {
                    0 => None,
                    1 => Some(0x80),
                    2 => Some(0x81),
                    3 => Some(0xFE),
                    _ => Some(0x0E),
                },
            },
        }
    }
}

#[derive(Debug)]
enum Value {
    Measurement(Record),
    Context(u16),
    ControlPoint(Vec<u8>),
}

#[derive(Debug)]
struct Meter {
    /// Oldest first.
    memory: Vec<Record>,
    abilities: Abilities,
    next_sequence: u16,
    minute: u32,
    has_clock: bool,
    /// The numbering started again beside older records; from then on numbers follow without gaps, because a gap at the
    /// very number that is known would hide the new records from every request there is.
    renumbered: bool,
}

impl Meter {
    fn measure(&mut self, gap: u8) {
        self.minute += 7;
        self.memory.push(Record {
            minute: self.minute,
            sequence: self.next_sequence,
        });
        let gap = if self.renumbered { 1 } else { u16::from(gap % 4) + 1 };
        self.next_sequence = self.next_sequence.wrapping_add(gap);
    }

    /// Without a count nobody can know that something is missing.
    fn answer_with(&self, request: &Request, fault: Fault) -> Vec<Value> {
        let mut values = self.answer(request);
        if let (Fault::StopsEarly(after), true) = (fault, self.abilities.count)
            && request.op == OpCode::ReportRecords
            && let Some(done) = values.pop()
        {
            values.truncate(after);
            values.push(done);
        }
        values
    }

    fn packet(&self, record: Record) -> Vec<u8> {
        packet(record.sequence, self.has_clock.then_some(record.minute))
    }

    fn answer(&self, request: &Request) -> Vec<Value> {
        let able = self.abilities;
        let result =
            |code| Value::ControlPoint(Response::result(request.op, code).encode().expect("a result has bytes"));
        let records: Vec<Record> = match (request.operator, &request.operand) {
            (Operator::Null, _) if able.answers_abort => return vec![result(ResultCode::Success)],
            (Operator::Null, _) => return vec![],
            (Operator::All, _) => self.memory.clone(),
            (Operator::Last, _) if able.last => self.memory.last().copied().into_iter().collect(),
            (Operator::GreaterOrEqual, Operand::Sequence(values)) if able.greater_or_equal => {
                let least = values.first().copied().expect("a checked request has its operand");
                let fits = |record: &&Record| record.sequence >= least;
                self.memory.iter().filter(fits).copied().collect()
            }
            _ => return vec![result(ResultCode::OperatorNotSupported)],
        };
        match request.op {
            OpCode::ReportNumber if able.count => {
                let count = u16::try_from(records.len()).expect("a memory of some hundred records");
                let [low, high] = count.to_le_bytes();
                let wide: &[u8] = if able.wide_count { &[0, 0] } else { &[] };
                vec![Value::ControlPoint([&[5, 0, low, high], wide].concat())]
            }
            OpCode::ReportRecords if records.is_empty() => vec![result(ResultCode::NoRecordsFound)],
            OpCode::ReportRecords => {
                let mut values = Vec::new();
                let mut report = |record: Record| {
                    let times = if able.duplicates { 2 } else { 1 };
                    values.extend((0..times).map(|_| Value::Measurement(record)));
                    if able.contexts {
                        values.push(Value::Context(record.sequence));
                    }
                };
                if able.newest_first {
                    records.into_iter().rev().for_each(&mut report);
                } else {
                    records.into_iter().for_each(&mut report);
                }
                values.push(result(ResultCode::Success));
                values
            }
            _ => vec![result(ResultCode::OpCodeNotSupported)],
        }
    }
}

fn honest(mut script: Script<'_>) {
    let abilities = Abilities::from_bits(script.u8());
    let settings = script.u8();
    let policy = Policy {
        only_new: settings & 1 == 0,
        ..Policy::default()
    };
    let mut meter = Meter {
        memory: Vec::new(),
        abilities,
        next_sequence: script.u16(),
        minute: 0,
        has_clock: settings & 2 == 0,
        renumbered: false,
    };
    let mut arrived = BTreeSet::new();
    let mut known = None;
    for _ in 0..MAX_ROUNDS {
        if script.is_empty() {
            break;
        }
        between(&mut meter, &mut script);
        let fault = Fault::from_script(&mut script);
        known = converse(&meter, policy, known, fault, &mut arrived).high_water();
        no_mark_passes_a_missing_record(&meter, known, &arrived);
    }
    let outcome = converse(&meter, policy, known, Fault::None, &mut arrived);
    assert!(
        !matches!(outcome, Outcome::Aborted { .. }),
        "a conversation without a fault broke off: {outcome:?}"
    );
    let missing: Vec<&Record> = meter.memory.iter().filter(|record| !arrived.contains(record)).collect();
    assert!(missing.is_empty(), "{missing:?} never arrived; the mark was {known:?}");
}

/// What people do between two links.
fn between(meter: &mut Meter, script: &mut Script<'_>) {
    match script.u8() % 8 {
        0 => {
            meter.memory.clear();
            meter.next_sequence = 0;
            meter.renumbered = false;
        }
        // Without "last", kept records of an old numbering hide the new ones, and no request would show it.
        1 if meter.abilities.last => {
            meter.next_sequence = 0;
            meter.renumbered = true;
        }
        // The memory is full: the oldest go.
        2 => {
            let gone = usize::from(script.u8()).min(meter.memory.len());
            meter.memory.drain(..gone);
        }
        _ => {}
    }
    let gap = script.u8();
    for n in 0..script.u8() % MAX_ADDED {
        meter.measure(gap.wrapping_mul(n).wrapping_add(gap));
    }
}

fn no_mark_passes_a_missing_record(meter: &Meter, mark: Option<HighWater>, arrived: &BTreeSet<Record>) {
    let Some(mark) = mark else { return };
    if let Some(at) = meter.memory.iter().position(|record| record.mark() == mark) {
        let passed = meter.memory.iter().take(at).find(|record| !arrived.contains(record));
        assert_eq!(passed, None, "the mark {mark:?} passes a record that never arrived");
    }
}

fn converse(
    meter: &Meter,
    policy: Policy,
    known: Option<HighWater>,
    fault: Fault,
    arrived: &mut BTreeSet<Record>,
) -> Outcome {
    let mut client = Client::new(policy, known);
    let mut queue: VecDeque<Value> = VecDeque::new();
    let mut sent = 0;
    let mut writes = 0;
    let mut fallen_silent = false;
    let mut stalled = false;
    let mut requests = VecDeque::from(client.handle(Event::Start));
    for _ in 0..MAX_STEPS {
        if let Some(outcome) = client.outcome {
            return outcome;
        }
        if let Some(request) = requests.pop_front() {
            match fault {
                Fault::WriteFails { write, att_error } if write == writes => {
                    requests.extend(client.handle(Event::WriteFailed { att_error }));
                }
                _ if fallen_silent => {}
                _ => queue.extend(meter.answer_with(&request, fault)),
            }
            writes += 1;
            continue;
        }
        match fault {
            Fault::LinkLost(after) if after == sent => {
                client.handle(Event::LinkLost);
                continue;
            }
            Fault::Silent(after) if after == sent => {
                fallen_silent = true;
                queue.clear();
            }
            Fault::Stalls(after) if after == sent && !stalled => {
                stalled = true;
                if let Some(more) = client.wait() {
                    requests.extend(more);
                }
                continue;
            }
            _ => {}
        }
        let Some(value) = queue.pop_front() else {
            let more = client.wait().expect("either something is awaited or it is over");
            requests.extend(more);
            continue;
        };
        sent += 1;
        client.now += Duration::from_millis(10);
        let more = match value {
            Value::Measurement(record) => {
                arrived.insert(record);
                client.handle(Event::Measurement(&meter.packet(record)))
            }
            Value::Context(sequence) => {
                let context = Context::empty(sequence).encode().expect("an empty context has bytes");
                client.handle(Event::Context(&context))
            }
            Value::ControlPoint(bytes) => client.handle(Event::ControlPoint(&bytes)),
        };
        requests.extend(more);
    }
    panic!("the conversation does not end: {:?}", client.sync);
}
