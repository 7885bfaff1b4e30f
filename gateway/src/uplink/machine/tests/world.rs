//! The machine in a model world: an outbox, a network that fails, and a server.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use carepost_contract::limits::{MAX_BATCH_ITEMS, MAX_RECEIPT_EXTRA, MAX_RECEIPT_REJECTED};
use carepost_contract::v1::{Rejected, Rejection};
use carepost_domain::quarantine::Reason;
use chrono::DateTime;
use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Stored,
    Rejected,
    Void,
}

#[derive(Debug, Clone)]
enum Up {
    Hello(Epoch),
    Register(BTreeSet<u64>),
    Batch {
        epoch: Epoch,
        lane: Lane,
        settled_seen: u64,
        first: u64,
        rows: Vec<Option<u64>>,
    },
}

#[derive(Debug, Clone)]
enum Down {
    SubAck,
    /// The copy shows these meters.
    Copy(BTreeSet<u64>),
    Cursor(Cursor),
    Receipt(Receipt),
}

#[derive(Debug)]
struct Row {
    lane: Lane,
    seq: Option<u64>,
}

#[derive(Debug, Default)]
struct Server {
    /// Per epoch, lane and number.
    numbers: BTreeMap<(Epoch, Lane, u64), Outcome>,
    /// How often each row was inserted.
    stored: BTreeMap<u64, u32>,
    refused: BTreeSet<u64>,
    registered: BTreeSet<u64>,
}

/// Every seventh row is one that the server refuses.
fn is_bad(row: u64) -> bool {
    row.is_multiple_of(7)
}

impl Server {
    fn settled_through(&self, epoch: Epoch, lane: Lane) -> u64 {
        (1..)
            .take_while(|seq| self.numbers.contains_key(&(epoch, lane, *seq)))
            .last()
            .unwrap_or(0)
    }

    fn receipt(&self, epoch: Epoch, lane: Lane, settled_seen: u64) -> Receipt {
        let settled_through = self.settled_through(epoch, lane);
        let mine = || {
            self.numbers
                .iter()
                .filter(move |((e, l, _), _)| (*e, *l) == (epoch, lane))
        };
        Receipt {
            epoch,
            lane,
            settled_through,
            extra: mine()
                .map(|((_, _, seq), _)| *seq)
                .filter(|seq| *seq > settled_through)
                .take(MAX_RECEIPT_EXTRA)
                .collect(),
            rejected: mine()
                .filter(|((_, _, seq), outcome)| *seq > settled_seen && **outcome == Outcome::Rejected)
                .map(|((_, _, seq), _)| Rejected {
                    seq: *seq,
                    reason: Rejection::Unusable(Reason::UnknownMeter),
                })
                .take(MAX_RECEIPT_REJECTED)
                .collect(),
            server_time: DateTime::UNIX_EPOCH,
            hold_replay: false,
        }
    }

    fn take(&mut self, up: Up) -> Down {
        match up {
            Up::Hello(epoch) => Down::Cursor(Cursor {
                epoch,
                live: self.settled_through(epoch, Lane::Live),
                replay: self.settled_through(epoch, Lane::Replay),
                server_time: DateTime::UNIX_EPOCH,
            }),
            Up::Register(meters) => {
                self.registered.extend(&meters);
                Down::Copy(meters)
            }
            Up::Batch {
                epoch,
                lane,
                settled_seen,
                first,
                rows,
            } => {
                for (seq, row) in (first..).zip(rows) {
                    self.numbers.entry((epoch, lane, seq)).or_insert_with(|| match row {
                        None => Outcome::Void,
                        Some(row) if is_bad(row) => {
                            self.refused.insert(row);
                            Outcome::Rejected
                        }
                        Some(row) => {
                            // Known ids are not inserted again.
                            self.stored.entry(row).or_insert(1);
                            Outcome::Stored
                        }
                    });
                }
                Down::Receipt(self.receipt(epoch, lane, settled_seen))
            }
        }
    }
}

#[derive(Debug)]
struct World {
    machine: Machine,
    now: Duration,
    epoch: Epoch,
    epochs: u64,
    outbox: BTreeMap<u64, Row>,
    rows: u64,
    next_seq: BTreeMap<Lane, u64>,
    quarantined: BTreeSet<u64>,
    settled: BTreeSet<u64>,
    purged: BTreeSet<u64>,
    meters: u64,
    unregistered: BTreeSet<u64>,
    server: Server,
    connecting: bool,
    open: bool,
    up: VecDeque<Up>,
    down: VecDeque<Down>,
    fail_settle: bool,
    most: (usize, usize),
}

impl World {
    fn new() -> Self {
        Self {
            machine: machine(),
            now: Duration::ZERO,
            epoch: epoch(1),
            epochs: 1,
            outbox: BTreeMap::new(),
            rows: 0,
            next_seq: BTreeMap::new(),
            quarantined: BTreeSet::new(),
            settled: BTreeSet::new(),
            purged: BTreeSet::new(),
            meters: 0,
            unregistered: BTreeSet::new(),
            server: Server::default(),
            connecting: false,
            open: false,
            up: VecDeque::new(),
            down: VecDeque::new(),
            fail_settle: false,
            most: (0, 0),
        }
    }

    fn event(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for action in self.machine.handle(self.now, event) {
                events.extend(self.act(action));
            }
            let (live, replay) = self.machine.in_flight();
            self.most = (self.most.0.max(live), self.most.1.max(replay));
        }
        assert!(
            self.machine.deadline().is_none_or(|due| due > self.now),
            "a deadline that is not served"
        );
    }

    fn act(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Connect => {
                self.cut();
                self.connecting = true;
            }
            Action::Drop(_) => self.cut(),
            Action::Subscribe => self.down.push_back(Down::SubAck),
            Action::Hello => self.up.push_back(Up::Hello(self.epoch)),
            Action::Register => {
                assert!(self.open);
                let unsettled = self.unregistered.len();
                if unsettled > 0 {
                    self.up.push_back(Up::Register(self.unregistered.clone()));
                }
                return Some(Event::RegistrationsSent { unsettled });
            }
            Action::Fill(lane) => {
                let next = self.next_seq.entry(lane).or_insert(1);
                let first = *next;
                for row in self
                    .outbox
                    .values_mut()
                    .filter(|row| row.lane == lane && row.seq.is_none())
                    .take(BATCH)
                {
                    row.seq = Some(*next);
                    *next += 1;
                }
                let numbers = (*next > first).then(|| first..=*next - 1);
                return Some(Event::Filled { lane, numbers });
            }
            Action::Send {
                lane,
                numbers,
                settled_seen,
                ..
            } => {
                assert!(self.open && (1..=MAX_BATCH_ITEMS as u64).contains(&(numbers.end() - numbers.start() + 1)));
                let by_seq = |seq| {
                    self.outbox
                        .iter()
                        .find(|(_, row)| row.lane == lane && row.seq == Some(seq))
                        .map(|(id, _)| *id)
                };
                let rows = numbers.clone().map(by_seq).collect();
                self.up.push_back(Up::Batch {
                    epoch: self.epoch,
                    lane,
                    settled_seen,
                    first: *numbers.start(),
                    rows,
                });
            }
            Action::Settle(receipt) => {
                if std::mem::take(&mut self.fail_settle) {
                    return None;
                }
                self.settle(&receipt);
                return Some(Event::Settled(receipt));
            }
            Action::Renumber => {
                self.epochs += 1;
                self.epoch = epoch(self.epochs);
                self.next_seq.clear();
                self.outbox.values_mut().for_each(|row| row.seq = None);
                return Some(Event::Renumbered { epoch: self.epoch });
            }
            Action::Ignored(_) => {}
        }
        None
    }

    fn settle(&mut self, receipt: &Receipt) {
        let is_settled = |row: &Row| {
            row.lane == receipt.lane
                && row
                    .seq
                    .is_some_and(|seq| seq <= receipt.settled_through || receipt.extra.contains(&seq))
        };
        let ids: Vec<u64> = self
            .outbox
            .iter()
            .filter(|(_, row)| is_settled(row))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            let row = self.outbox.remove(&id).unwrap();
            if receipt.rejected.iter().any(|rejected| Some(rejected.seq) == row.seq) {
                assert!(self.server.refused.contains(&id));
                self.quarantined.insert(id);
            } else {
                assert!(
                    self.server.stored.contains_key(&id),
                    "row {id} left the outbox without having been stored"
                );
                self.settled.insert(id);
            }
        }
    }

    fn cut(&mut self) {
        self.connecting = false;
        self.open = false;
        self.up.clear();
        self.down.clear();
    }

    fn lose(&mut self, loss: Loss) {
        if self.open || self.connecting {
            self.cut();
            self.event(Event::LinkLost(loss));
        }
    }

    fn accept(&mut self) {
        if std::mem::take(&mut self.connecting) {
            self.open = true;
            self.event(Event::Connected { keep_alive: KEEP_ALIVE });
        }
    }

    fn serve(&mut self) {
        if let Some(up) = self.up.pop_front() {
            let answer = self.server.take(up);
            self.down.push_back(answer);
        }
    }

    fn deliver(&mut self, at: usize) {
        if self.down.is_empty() {
            return;
        }
        let Some(down) = self.down.remove(at % self.down.len()) else {
            return;
        };
        self.event(Event::Heard);
        if !self.open {
            return;
        }
        self.event(match down {
            Down::Copy(meters) => {
                self.unregistered.retain(|meter| !meters.contains(meter));
                return;
            }
            Down::SubAck => Event::Subscribed,
            Down::Cursor(cursor) => Event::Cursor(cursor),
            Down::Receipt(receipt) => Event::Receipt(receipt),
        });
    }

    fn capture(&mut self, lane: Lane, count: u64) {
        for _ in 0..count {
            self.rows += 1;
            self.outbox.insert(self.rows, Row { lane, seq: None });
        }
        self.event(Event::OutboxGrew);
    }

    fn advance(&mut self, by: Duration) {
        self.now += by;
        self.event(Event::Tick);
    }

    fn play(&mut self, step: &Step) {
        match step {
            Step::Capture { live, count } => self.capture(if *live { Lane::Live } else { Lane::Replay }, *count),
            Step::Advance { ms } => self.advance(Duration::from_millis(*ms)),
            Step::Register => {
                self.meters += 1;
                self.unregistered.insert(self.meters);
                self.event(Event::RegistrationMade);
            }
            Step::Accept => self.accept(),
            Step::Serve { count } => (0..*count).for_each(|_| self.serve()),
            Step::Deliver { at } => self.deliver(*at),
            Step::LoseUp => drop(self.up.pop_front()),
            Step::LoseDown => drop(self.down.pop_front()),
            Step::DuplicateUp => self.up.extend(self.up.front().cloned()),
            Step::DuplicateDown => self.down.extend(self.down.front().cloned()),
            Step::Cut => self.lose(Loss::Broken),
            Step::TakeOver => self.lose(Loss::TakenOver),
            Step::FailSettle => self.fail_settle = true,
            Step::Purge { nth } => {
                if let Some(id) = self.outbox.keys().nth(*nth).copied() {
                    self.outbox.remove(&id);
                    self.purged.insert(id);
                }
            }
            Step::Mismatch => self.event(Event::OutOfStep),
            Step::ServerForgets => {
                // A restored backup: the numbers of this epoch are gone, the rows were replicated elsewhere.
                let epoch = self.epoch;
                self.server.numbers.retain(|(e, _, _), _| *e != epoch);
                self.lose(Loss::Broken);
            }
        }
    }

    /// The faults are over: everything must be settled within bounded time.
    fn recover(&mut self) {
        self.fail_settle = false;
        for _ in 0..3_000 {
            self.accept();
            while !self.up.is_empty() || !self.down.is_empty() {
                self.serve();
                self.deliver(0);
            }
            if self.outbox.is_empty() && self.machine.in_flight() == (0, 0) && self.unregistered.is_empty() {
                return;
            }
            let due = self.machine.deadline().expect("an unfinished machine has a deadline");
            self.now = due.min(self.now + KEEP_ALIVE);
            if self.open {
                self.event(Event::Heard);
            }
            self.event(Event::Tick);
        }
        panic!("not drained: {} rows left, {:?}", self.outbox.len(), self.machine);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Capture { live: bool, count: u64 },
    Advance { ms: u64 },
    Register,
    Accept,
    Serve { count: u8 },
    Deliver { at: usize },
    LoseUp,
    LoseDown,
    DuplicateUp,
    DuplicateDown,
    Cut,
    TakeOver,
    FailSettle,
    Purge { nth: usize },
    Mismatch,
    ServerForgets,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any::<bool>(), 1_u64..30).prop_map(|(live, count)| Step::Capture { live, count }),
        4 => (1_u64..120_000).prop_map(|ms| Step::Advance { ms }),
        2 => Just(Step::Register),
        5 => Just(Step::Accept),
        8 => (1_u8..8).prop_map(|count| Step::Serve { count }),
        8 => (0_usize..4).prop_map(|at| Step::Deliver { at }),
        1 => Just(Step::LoseUp),
        1 => Just(Step::LoseDown),
        1 => Just(Step::DuplicateUp),
        1 => Just(Step::DuplicateDown),
        2 => Just(Step::Cut),
        1 => Just(Step::TakeOver),
        1 => Just(Step::FailSettle),
        1 => (0_usize..20).prop_map(|nth| Step::Purge { nth }),
        1 => Just(Step::Mismatch),
        1 => Just(Step::ServerForgets),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_is_lost_doubled_or_cut_every_row_is_settled_exactly_once(steps in prop::collection::vec(step(), 0..150)) {
        let mut world = World::new();
        for step in &steps {
            world.play(step);
        }
        world.recover();
        prop_assert!(world.most.0 <= LIVE_WINDOW_BATCHES && world.most.1 <= REPLAY_WINDOW_BATCHES, "{:?}", world.most);
        prop_assert_eq!(&world.server.registered, &(1..=world.meters).collect());
        for row in 1..=world.rows {
            let ends = [world.settled.contains(&row), world.quarantined.contains(&row), world.purged.contains(&row)];
            prop_assert_eq!(ends.iter().filter(|end| **end).count(), 1, "row {} ended as {:?}", row, ends);
            if world.settled.contains(&row) {
                prop_assert_eq!(world.server.stored.get(&row), Some(&1));
            }
            if world.quarantined.contains(&row) {
                prop_assert!(is_bad(row));
            }
        }
    }
}
