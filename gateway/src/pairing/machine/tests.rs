use std::collections::BTreeSet;

use carepost_domain::meter::{About, Address, AddressType, MeterKind};
use proptest::prelude::*;

use super::super::words::{ClockLayout, ClockWrite, Passkey};
use super::*;

const PATH: &str = "/org/bluez/hci0/dev_C4_DE_01_00_00_01";
const SECRET: u32 = 907_341;

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn request(goal: Goal) -> Request {
    Request {
        goal,
        address: Address::new([0xC4, 0xDE, 1, 0, 0, 1]),
        address_type: AddressType::Public,
        name: "BP".to_owned(),
        adapter: String::new(),
    }
}

fn find() -> Operation {
    Operation::Find {
        address: request(Goal::Pair).address,
        adapter: String::new(),
    }
}

fn known(paired: bool) -> Known {
    Known {
        path: PATH.to_owned(),
        paired,
    }
}

fn details(clock: bool) -> Details {
    Details {
        address: Address::new([0xC4, 0xDE, 1, 0, 0, 1]),
        address_type: AddressType::Public,
        name: "BP".to_owned(),
        about: About::new("A&D", "123", "1.0"),
        model: "UA-651BLE".to_owned(),
        kind: Some(MeterKind::BloodPressure),
        unsupported: false,
        bonded: true,
        clock: clock.then(|| ClockWrite {
            meter: carepost_domain::Id::from_uuid(uuid::Uuid::from_u128(1)),
            path: format!("{PATH}/service0010/char0011"),
            layout: ClockLayout::DateTime,
        }),
    }
}

/// A machine with its attempt, told things in order.
struct Story {
    machine: Machine,
    now: Duration,
}

impl Story {
    fn new(goal: Goal) -> Self {
        let mut story = Self {
            machine: Machine::default(),
            now: s(1_000),
        };
        let actions = story.tell(Event::Begin(request(goal)));
        assert_eq!(actions, [Action::RequestTurn { attempt: 1 }]);
        story
    }

    fn tell(&mut self, event: Event) -> Vec<Action> {
        self.machine.handle(self.now, event)
    }

    fn turn(&mut self) {
        let look = Operation::Look(request(Goal::Pair).address);
        let attempt = self.machine.attempt;
        let actions = self.tell(Event::TurnGranted { attempt });
        assert_eq!(actions, [self.start(look)]);
    }

    fn start(&self, operation: Operation) -> Action {
        Action::Start {
            attempt: self.machine.attempt,
            operation,
        }
    }

    /// The operation came to this end; gives the one that is started next.
    fn done(&mut self, done: Done) -> Vec<Action> {
        let attempt = self.machine.attempt;
        self.tell(Event::Done { attempt, done })
    }

    /// To the point where the meter is being paired.
    fn pairing() -> Self {
        let mut story = Self::new(Goal::Pair);
        story.turn();
        let actions = story.done(Done::Looked(None));
        assert_eq!(actions, [story.start(find())]);
        let actions = story.done(Done::Found(known(false)));
        assert_eq!(actions, [story.start(Operation::Pair(PATH.to_owned()))]);
        story
    }

    fn ask(&mut self, id: u64, ask: Ask) -> Vec<Action> {
        self.tell(Event::Asked {
            id,
            path: PATH.to_owned(),
            ask,
        })
    }

    fn prompt(&self) -> Option<Prompt> {
        match self.machine.view() {
            View::Running { prompt, .. } => prompt,
            _ => None,
        }
    }

    /// From `Paired` to the end.
    fn finish(&mut self) {
        let actions = self.done(Done::Paired);
        assert!(
            actions.contains(&self.start(Operation::Trust(PATH.to_owned()))),
            "{actions:?}"
        );
        let actions = self.done(Done::Trusted);
        assert_eq!(actions, [self.start(Operation::Read(PATH.to_owned()))]);
        let actions = self.done(Done::Read(details(false)));
        assert_eq!(actions, [self.start(Operation::Disconnect(PATH.to_owned()))]);
        assert_eq!(self.done(Done::Disconnected), [Action::Release]);
        assert_eq!(self.outcome(), Some(Outcome::Paired(Box::new(details(false)))));
    }

    /// From a failure to the end: the device is removed, the adapter given back.
    fn cleared(&mut self, actions: &[Action], failure: Failure) {
        self.abandoned(actions, failure, true, true);
    }

    /// The meter is left alone in this way, and then it is over.
    fn abandoned(&mut self, actions: &[Action], failure: Failure, pairing: bool, remove: bool) {
        let abandon = self.start(Operation::Abandon {
            path: Some(PATH.to_owned()),
            pairing,
            remove,
        });
        assert_eq!(actions.last(), Some(&abandon));
        assert_eq!(self.done(Done::Abandoned), [Action::Release]);
        assert_eq!(self.outcome(), Some(Outcome::Failed(failure)));
    }

    fn outcome(&self) -> Option<Outcome> {
        match self.machine.view() {
            View::Over { outcome, .. } => Some(outcome),
            _ => None,
        }
    }
}

fn secret() -> Passkey {
    Passkey::new(SECRET).unwrap()
}

fn reply(id: u64, reply: Reply) -> Action {
    Action::Reply { id, reply }
}

#[test]
fn the_passkey_that_the_meter_shows_is_typed_here() {
    let mut story = Story::pairing();
    assert_eq!(story.ask(7, Ask::Passkey), []);
    assert_eq!(story.prompt(), Some(Prompt::Enter));
    assert_eq!(story.machine.deadline(), Some(story.now + ANSWER_LIMIT));
    let actions = story.tell(Event::Answered(Answer::Passkey(secret())));
    assert_eq!(actions, [reply(7, Reply::Passkey(secret()))]);
    assert_eq!(story.prompt(), None);
    story.finish();
}

#[test]
fn digits_that_are_typed_on_the_meter_stay_until_they_are() {
    let mut story = Story::pairing();
    let show = |typed| Ask::ShowPasskey {
        passkey: secret(),
        typed,
    };
    assert_eq!(story.ask(1, show(0)), [reply(1, Reply::Accept)]);
    let until = story.machine.deadline();
    story.now += s(5);
    assert_eq!(story.ask(2, show(3)), [reply(2, Reply::Accept)]);
    let prompt = Prompt::Show {
        passkey: secret(),
        typed: 3,
    };
    assert_eq!(story.prompt(), Some(prompt));
    assert_eq!(story.machine.deadline(), until, "typing gives no more time");
    story.finish();
}

#[test]
fn numbers_are_compared() {
    let mut story = Story::pairing();
    assert_eq!(story.ask(1, Ask::Confirm(secret())), []);
    assert_eq!(story.prompt(), Some(Prompt::Compare(secret())));
    let typed = Event::Answered(Answer::Passkey(secret()));
    assert_eq!(story.tell(typed), [], "digits answer another question");
    assert_eq!(story.tell(Event::Answered(Answer::Yes)), [reply(1, Reply::Accept)]);
    story.finish();

    let mut story = Story::pairing();
    story.ask(1, Ask::Confirm(secret()));
    let actions = story.tell(Event::Answered(Answer::No));
    assert_eq!(actions.first(), Some(&reply(1, Reply::Reject)));
    story.cleared(&actions, Failure::NotTheSame);
}

#[test]
fn just_works_is_accepted_for_the_meter_that_was_chosen_only() {
    let mut story = Story::pairing();
    assert_eq!(story.ask(1, Ask::Authorize), [reply(1, Reply::Accept)]);
    let other = Event::Asked {
        id: 2,
        path: PATH.replace("01", "02"),
        ask: Ask::Authorize,
    };
    assert_eq!(story.tell(other), [Action::CountUnasked, reply(2, Reply::Reject)]);
    story.finish();
    let actions = story.ask(3, Ask::Authorize);
    assert_eq!(
        actions,
        [Action::CountUnasked, reply(3, Reply::Reject)],
        "nobody pairs now"
    );
}

#[test]
fn a_meter_that_refuses_without_digits_is_not_said_to_have_other_digits() {
    let mut story = Story::pairing();
    story.ask(1, Ask::Authorize);
    let actions = story.done(Done::Failed(Failure::WrongPasskey));
    story.cleared(&actions, Failure::Rejected);
}

#[test]
fn nobody_may_use_a_service_here_and_old_pins_are_refused() {
    let mut story = Story::pairing();
    assert_eq!(
        story.ask(1, Ask::Service),
        [Action::CountUnasked, reply(1, Reply::Reject)]
    );
    let actions = story.ask(2, Ask::Pin);
    assert_eq!(actions.first(), Some(&reply(2, Reply::Reject)));
    story.cleared(&actions, Failure::OldPairing);
}

#[test]
fn who_answers_too_late_is_told_so_before_the_meter_gives_up() {
    let mut story = Story::pairing();
    story.ask(1, Ask::Passkey);
    story.now += ANSWER_LIMIT;
    let actions = story.tell(Event::Tick);
    assert_eq!(actions.first(), Some(&reply(1, Reply::Cancel)));
    let late = Event::Answered(Answer::Passkey(secret()));
    assert_eq!(story.tell(late), []);
    story.cleared(&actions, Failure::AnswerLate);
}

#[test]
fn what_the_bluetooth_service_takes_back_is_not_asked_any_more() {
    let mut story = Story::pairing();
    story.ask(1, Ask::Passkey);
    assert_eq!(story.tell(Event::AskedNoMore), [reply(1, Reply::Cancel)]);
    assert_eq!(story.prompt(), None);
    let actions = story.done(Done::Failed(Failure::WrongPasskey));
    story.cleared(&actions, Failure::WrongPasskey);
}

#[test]
fn a_second_question_replaces_the_first() {
    let mut story = Story::pairing();
    story.ask(1, Ask::Passkey);
    assert_eq!(story.ask(2, Ask::Confirm(secret())), [reply(1, Reply::Cancel)]);
    assert_eq!(story.tell(Event::Answered(Answer::Yes)), [reply(2, Reply::Accept)]);
}

#[test]
fn a_meter_that_lost_its_bond_is_forgotten_and_paired_anew() {
    let mut story = Story::new(Goal::PairAgain);
    story.turn();
    let actions = story.done(Done::Looked(Some(known(true))));
    assert_eq!(actions, [story.start(Operation::Remove(PATH.to_owned()))]);
    let actions = story.done(Done::Removed);
    assert_eq!(actions, [story.start(find())]);
    story.done(Done::Found(known(false)));
    story.finish();
}

#[test]
fn a_bond_that_is_there_is_used_and_never_thrown_away_by_accident() {
    let mut story = Story::new(Goal::Pair);
    story.turn();
    let actions = story.done(Done::Looked(Some(known(true))));
    assert_eq!(actions, [story.start(Operation::Trust(PATH.to_owned()))]);
    story.done(Done::Trusted);
    let actions = story.done(Done::Failed(Failure::NoAnswer));
    let abandon = Operation::Abandon {
        path: Some(PATH.to_owned()),
        pairing: false,
        remove: false,
    };
    assert_eq!(actions, [story.start(abandon)]);
    story.done(Done::Abandoned);
    assert_eq!(story.outcome(), Some(Outcome::Failed(Failure::BondLost)));
}

#[test]
fn forgetting_removes_the_device_or_finds_nothing_to_remove() {
    let mut story = Story::new(Goal::Forget);
    story.turn();
    let actions = story.done(Done::Looked(Some(known(true))));
    assert_eq!(actions, [story.start(Operation::Remove(PATH.to_owned()))]);
    let look = Operation::Look(request(Goal::Forget).address);
    assert_eq!(story.done(Done::Removed), [story.start(look)]);
    assert_eq!(story.done(Done::Looked(None)), [Action::Release]);
    assert_eq!(story.outcome(), Some(Outcome::Forgotten));

    let mut story = Story::new(Goal::Forget);
    story.turn();
    assert_eq!(story.done(Done::Looked(None)), [Action::Release]);
    assert_eq!(story.outcome(), Some(Outcome::Forgotten));
}

#[test]
fn forgetting_removes_the_bond_of_every_adapter_and_leaves_what_has_none() {
    let mut story = Story::new(Goal::Forget);
    story.turn();
    for _ in 0..2 {
        let actions = story.done(Done::Looked(Some(known(true))));
        assert_eq!(actions, [story.start(Operation::Remove(PATH.to_owned()))]);
        story.done(Done::Removed);
    }
    // Another program hears it advertise.
    assert_eq!(story.done(Done::Looked(Some(known(false)))), [Action::Release]);
    assert_eq!(story.outcome(), Some(Outcome::Forgotten));
}

#[test]
fn a_bond_that_cannot_be_forgotten_is_not_tried_for_ever() {
    let mut story = Story::new(Goal::Forget);
    story.turn();
    for _ in 0..MAX_ADAPTERS {
        story.done(Done::Looked(Some(known(true))));
        story.done(Done::Removed);
    }
    let actions = story.done(Done::Looked(Some(known(true))));
    story.abandoned(&actions, Failure::Other, false, false);
}

#[test]
fn a_meter_that_leaves_for_good_after_its_pairing_keeps_its_bond_and_is_what_it_advertised() {
    for late in [false, true] {
        let mut story = Story::pairing();
        story.done(Done::Paired);
        story.done(Done::Trusted);
        let recall = Operation::Recall(PATH.to_owned());
        let actions = if late {
            story.now += READ_LIMIT;
            story.tell(Event::Tick)
        } else {
            story.done(Done::Failed(Failure::NotConnected))
        };
        assert_eq!(actions, [story.start(recall)]);
        let actions = story.done(Done::Read(details(false)));
        assert_eq!(actions, [story.start(Operation::Disconnect(PATH.to_owned()))]);
        story.done(Done::Disconnected);
        assert_eq!(story.outcome(), Some(Outcome::Paired(Box::new(details(false)))));
    }
}

#[test]
fn a_new_bond_is_kept_when_nothing_is_known_of_the_meter_and_goes_when_the_meter_has_none() {
    let mut story = Story::pairing();
    story.done(Done::Paired);
    story.done(Done::Trusted);
    story.done(Done::Failed(Failure::NotConnected));
    let actions = story.done(Done::Failed(Failure::NoAnswer));
    story.abandoned(&actions, Failure::NoAnswer, false, false);

    let mut story = Story::pairing();
    story.done(Done::Paired);
    story.done(Done::Trusted);
    let actions = story.done(Done::Failed(Failure::BondLost));
    story.abandoned(&actions, Failure::BondLost, false, true);
}

#[test]
fn the_clock_is_set_in_the_session_of_the_pairing_where_the_model_wants_it() {
    for set in [Done::ClockSet, Done::Failed(Failure::Gone)] {
        let mut story = Story::pairing();
        story.done(Done::Paired);
        story.done(Done::Trusted);
        let actions = story.done(Done::Read(details(true)));
        let clock = details(true).clock.unwrap();
        assert_eq!(actions, [story.start(Operation::SetClock(clock))]);
        let actions = story.done(set);
        assert_eq!(actions, [story.start(Operation::Disconnect(PATH.to_owned()))]);
        // The meter leaves by itself, and the answer never comes.
        story.now += STEP_LIMIT;
        assert_eq!(story.tell(Event::Tick), [Action::Release]);
        assert_eq!(story.outcome(), Some(Outcome::Paired(Box::new(details(true)))));
    }
}

#[test]
fn every_wait_has_an_end_that_names_what_was_missing() {
    let mut story = Story::new(Goal::Pair);
    story.now += TURN_LIMIT;
    assert_eq!(story.tell(Event::Tick), [Action::Release]);
    assert_eq!(story.outcome(), Some(Outcome::Failed(Failure::AdapterBusy)));

    let mut story = Story::new(Goal::Pair);
    story.turn();
    story.done(Done::Looked(None));
    story.now += FIND_LIMIT;
    story.tell(Event::Tick);
    story.done(Done::Abandoned);
    assert_eq!(story.outcome(), Some(Outcome::Failed(Failure::NotFound)));

    let mut story = Story::pairing();
    story.now += PAIR_LIMIT;
    let actions = story.tell(Event::Tick);
    story.cleared(&actions, Failure::TimedOut);
}

#[test]
fn there_is_one_pairing_at_a_time() {
    let mut story = Story::pairing();
    assert_eq!(story.tell(Event::Begin(request(Goal::Pair))), [Action::Busy]);
    let actions = story.tell(Event::GivenUp);
    assert_eq!(
        story.tell(Event::Begin(request(Goal::Pair))),
        [Action::Busy],
        "it still clears up"
    );
    story.cleared(&actions, Failure::GivenUp);
    let actions = story.tell(Event::Begin(request(Goal::Pair)));
    assert_eq!(actions, [Action::RequestTurn { attempt: 2 }]);
    let stale = Event::Done {
        attempt: 1,
        done: Done::Paired,
    };
    assert_eq!(story.tell(stale), []);
    assert_eq!(story.tell(Event::TurnGranted { attempt: 1 }), []);
}

#[test]
fn a_lost_bus_ends_it_at_once() {
    let mut story = Story::pairing();
    story.ask(1, Ask::Passkey);
    let actions = story.tell(Event::BusLost);
    assert_eq!(actions, [reply(1, Reply::Cancel), Action::Release]);
    assert_eq!(story.outcome(), Some(Outcome::Failed(Failure::NoBluetooth)));
    assert_eq!(story.tell(Event::Dismissed), []);
    assert_eq!(story.machine.view(), View::Idle);
}

fn any_ask() -> impl Strategy<Value = Ask> {
    prop_oneof![
        Just(Ask::Passkey),
        (0_u16..7).prop_map(|typed| Ask::ShowPasskey {
            passkey: secret(),
            typed
        }),
        Just(Ask::Confirm(secret())),
        Just(Ask::Authorize),
        Just(Ask::Pin),
        Just(Ask::Service),
    ]
}

fn any_done() -> impl Strategy<Value = Done> {
    prop_oneof![
        prop::option::of(any::<bool>().prop_map(known)).prop_map(Done::Looked),
        any::<bool>().prop_map(|paired| Done::Found(known(paired))),
        Just(Done::Paired),
        Just(Done::Trusted),
        any::<bool>().prop_map(|clock| Done::Read(details(clock))),
        Just(Done::ClockSet),
        Just(Done::Disconnected),
        Just(Done::Removed),
        Just(Done::Abandoned),
        prop::sample::select(Failure::ALL).prop_map(Done::Failed),
    ]
}

#[derive(Debug, Clone)]
enum Move {
    Event(Event),
    /// An operation of the present pairing ended so.
    Done(Done),
    Ask(bool, Ask),
    Turn,
    Wait(u64),
}

fn any_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        3 => prop::sample::select(Goal::ALL).prop_map(|goal| Move::Event(Event::Begin(request(goal)))),
        3 => Just(Move::Turn),
        8 => any_done().prop_map(Move::Done),
        5 => (prop::bool::weighted(0.8), any_ask()).prop_map(|(ours, ask)| Move::Ask(ours, ask)),
        1 => Just(Move::Event(Event::AskedNoMore)),
        1 => Just(Move::Event(Event::Answered(Answer::Yes))),
        1 => Just(Move::Event(Event::Answered(Answer::No))),
        1 => Just(Move::Event(Event::Answered(Answer::Passkey(secret())))),
        1 => Just(Move::Event(Event::GivenUp)),
        1 => Just(Move::Event(Event::BusLost)),
        1 => Just(Move::Event(Event::Dismissed)),
        1 => (0_u64..2, any_done()).prop_map(|(attempt, done)| Move::Event(Event::Done { attempt, done })),
        3 => (0_u64..40).prop_map(Move::Wait),
    ]
}

/// What the shell would know, to hold the machine's promises against.
#[derive(Default)]
struct Promises {
    open: BTreeSet<u64>,
    holds_turn: bool,
    next_id: u64,
    unasked: usize,
}

impl Promises {
    fn keep(&mut self, machine: &Machine, actions: &[Action]) {
        for action in actions {
            match action {
                Action::Reply { id, .. } => assert!(self.open.remove(id), "{id} was answered twice, or never asked"),
                Action::RequestTurn { attempt } => {
                    assert!(!self.holds_turn, "two pairings at a time");
                    assert_eq!(*attempt, machine.attempt);
                    self.holds_turn = true;
                }
                Action::Release => {
                    assert!(self.holds_turn, "released twice");
                    self.holds_turn = false;
                }
                Action::Start { attempt, .. } => {
                    assert!(self.holds_turn, "{action:?} without the adapter");
                    assert_eq!(*attempt, machine.attempt);
                }
                Action::CountUnasked => self.unasked += 1,
                Action::Busy => {}
            }
        }
        let runs = matches!(machine.view(), View::Running { .. });
        assert_eq!(runs, self.holds_turn);
        assert_eq!(runs, machine.deadline().is_some());
        // A question that is open is on the page, and the other way round.
        let waits = match machine.view() {
            View::Running { prompt, .. } => matches!(prompt, Some(Prompt::Enter | Prompt::Compare(_))),
            _ => false,
        };
        assert_eq!(self.open.len(), usize::from(waits));
        for text in [
            format!("{machine:?}"),
            format!("{actions:?}"),
            format!("{:?}", machine.view()),
        ] {
            assert!(!text.contains(&SECRET.to_string()), "a passkey is printed: {text}");
        }
    }
}

proptest! {
    #[test]
    fn any_order_of_events_ends_with_everything_answered_and_given_back(
        moves in prop::collection::vec(any_move(), 0..120)
    ) {
        let mut machine = Machine::default();
        let mut promises = Promises::default();
        let mut now = Duration::ZERO;
        for step in moves {
            let event = match step {
                Move::Event(event) => event,
                Move::Done(done) => Event::Done { attempt: machine.attempt, done },
                Move::Turn => Event::TurnGranted { attempt: machine.attempt },
                Move::Wait(seconds) => {
                    now += s(seconds);
                    Event::Tick
                }
                Move::Ask(ours, ask) => {
                    promises.next_id += 1;
                    promises.open.insert(promises.next_id);
                    let path = if ours { PATH.to_owned() } else { format!("{PATH}_other") };
                    Event::Asked { id: promises.next_id, path, ask }
                }
            };
            let printed = format!("{event:?}");
            prop_assert!(!printed.contains(&SECRET.to_string()), "an event prints its passkey");
            let actions = machine.handle(now, event);
            promises.keep(&machine, &actions);
        }
        // Left alone, it ends by its deadlines, and soon.
        let left_at = now;
        for _ in 0..4 {
            if let Some(due) = machine.deadline() {
                prop_assert!(due >= now || due <= left_at, "a deadline in the past");
                now = now.max(due);
                let actions = machine.handle(now, Event::Tick);
                promises.keep(&machine, &actions);
            }
        }
        let over = !matches!(machine.view(), View::Running { .. });
        prop_assert!(over, "it still runs");
        prop_assert!(promises.open.is_empty() && !promises.holds_turn);
    }
}
