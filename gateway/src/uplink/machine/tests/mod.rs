//! What the machine does, step by step; [`world`] plays it against everything that can go wrong.

mod world;

use carepost_contract::v1::{Rejected, Rejection};
use chrono::DateTime;

use super::*;

const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Rows that the model outbox puts into one batch: small, so that windows fill quickly.
const BATCH: usize = 3;

fn epoch(n: u64) -> Epoch {
    Epoch::from_bytes(n.to_be_bytes())
}

fn machine() -> Machine {
    Machine::new(Policy::default(), Entropy::seeded(1), epoch(1), Duration::ZERO)
}

fn receipt(lane: Lane, settled_through: u64) -> Receipt {
    Receipt {
        epoch: epoch(1),
        lane,
        settled_through,
        extra: Vec::new(),
        rejected: Vec::new(),
        server_time: DateTime::UNIX_EPOCH,
        hold_replay: false,
    }
}

fn cursor(live: u64, replay: u64) -> Event {
    Event::Cursor(Cursor {
        epoch: epoch(1),
        live,
        replay,
        server_time: DateTime::UNIX_EPOCH,
    })
}

fn sends(actions: &[Action]) -> Vec<(Lane, RangeInclusive<u64>)> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Send { lane, numbers, .. } => Some((*lane, numbers.clone())),
            _ => None,
        })
        .collect()
}

/// A machine that is online with nothing in its outbox.
fn online(now: Duration) -> Machine {
    let mut m = machine();
    assert_eq!(m.handle(now, Event::Tick), [Action::Connect]);
    assert_eq!(
        m.handle(now, Event::Connected { keep_alive: KEEP_ALIVE }),
        [Action::Subscribe]
    );
    assert_eq!(m.handle(now, Event::Subscribed), [Action::Hello]);
    assert_eq!(
        m.handle(now, cursor(0, 0)),
        [Action::Register, Action::Fill(Lane::Live)]
    );
    assert_eq!(m.handle(now, Event::RegistrationsSent { unsettled: 0 }), []);
    assert_eq!(
        m.handle(
            now,
            Event::Filled {
                lane: Lane::Live,
                numbers: None
            }
        ),
        [Action::Fill(Lane::Replay)]
    );
    assert_eq!(
        m.handle(
            now,
            Event::Filled {
                lane: Lane::Replay,
                numbers: None
            }
        ),
        []
    );
    m
}

/// Puts `count` batches of `BATCH` rows into a lane, as far as the window allows; returns what was sent.
fn grow(m: &mut Machine, now: Duration, lane: Lane, count: u64) -> Vec<(Lane, RangeInclusive<u64>)> {
    let mut sent = Vec::new();
    let mut left = count;
    let mut actions = m.handle(now, Event::OutboxGrew);
    loop {
        sent.extend(sends(&actions));
        let Some(which) = actions.iter().find_map(|action| match action {
            Action::Fill(which) => Some(*which),
            _ => None,
        }) else {
            return sent;
        };
        let numbers = (which == lane && left > 0).then(|| {
            left -= 1;
            let first = m.lane(lane).next_seq;
            first..=first + BATCH as u64 - 1
        });
        actions = m.handle(now, Event::Filled { lane: which, numbers });
    }
}

const T0: Duration = Duration::from_secs(100);

#[test]
fn registrations_are_sent_when_they_are_made_after_each_hello_and_until_they_are_settled() {
    let again = Policy::default().register_again;
    let mut m = online(T0);
    let deadline = m.deadline();
    assert_eq!(m.handle(T0, Event::RegistrationMade), [Action::Register]);
    m.handle(T0, Event::RegistrationsSent { unsettled: 1 });
    for round in 1..3 {
        let now = T0 + again * round;
        assert_eq!(m.handle(now - Duration::from_secs(1), Event::Heard), []);
        assert_eq!(m.handle(now, Event::Tick), [Action::Register]);
        m.handle(now, Event::RegistrationsSent { unsettled: 1 });
    }
    let now = T0 + again * 2;
    m.handle(now, Event::LinkLost(Loss::Broken));
    assert_eq!(m.handle(now, Event::RegistrationMade), [], "there is no link");
    let now = now + Policy::default().backoff_max;
    m.handle(now, Event::Tick);
    m.handle(now, Event::Connected { keep_alive: KEEP_ALIVE });
    m.handle(now, Event::Subscribed);
    assert!(m.handle(now, cursor(0, 0)).contains(&Action::Register));
    m.handle(now, Event::RegistrationsSent { unsettled: 0 });
    assert!(
        deadline.is_some_and(|due| due < T0 + again),
        "nothing is owed before the first"
    );
}

#[test]
fn nothing_is_sent_before_the_servers_cursor() {
    let mut m = machine();
    m.handle(T0, Event::Tick);
    m.handle(T0, Event::Connected { keep_alive: KEEP_ALIVE });
    assert_eq!(m.handle(T0, Event::OutboxGrew), []);
    m.handle(T0, Event::Subscribed);
    assert_eq!(m.handle(T0, Event::OutboxGrew), []);
    assert_eq!(m.phase(), Phase::Greeting);
    let first = m.handle(T0, cursor(0, 0));
    assert_eq!(first, [Action::Register, Action::Fill(Lane::Live)]);
    assert_eq!(m.phase(), Phase::Online);
}

#[test]
fn the_windows_are_sixteen_live_and_one_then_two_replay() {
    let mut m = online(T0);
    assert_eq!(grow(&mut m, T0, Lane::Live, 40).len(), LIVE_WINDOW_BATCHES);
    let mut m = online(T0);
    assert_eq!(grow(&mut m, T0, Lane::Replay, 40).len(), 1);
    // A receipt shows that all is well: the window opens to two.
    let actions = m.handle(T0, Event::Receipt(receipt(Lane::Replay, 3)));
    assert_eq!(
        actions,
        [Action::Settle(receipt(Lane::Replay, 3)), Action::Fill(Lane::Replay)]
    );
    m.handle(T0, Event::Settled(receipt(Lane::Replay, 3)));
    let actions = m.handle(
        T0,
        Event::Filled {
            lane: Lane::Replay,
            numbers: Some(4..=6),
        },
    );
    assert_eq!(sends(&actions), [(Lane::Replay, 4..=6)]);
    assert!(actions.contains(&Action::Fill(Lane::Replay)));
    let actions = m.handle(
        T0,
        Event::Filled {
            lane: Lane::Replay,
            numbers: Some(7..=9),
        },
    );
    assert!(
        !actions.contains(&Action::Fill(Lane::Replay)),
        "the window of two is full"
    );
}

#[test]
fn the_live_lane_goes_first_and_a_full_live_window_keeps_the_replay_lane_waiting() {
    let mut m = online(T0);
    grow(&mut m, T0, Lane::Live, 40);
    assert_eq!(m.in_flight(), (LIVE_WINDOW_BATCHES, 0));
    assert_eq!(m.handle(T0, Event::OutboxGrew), []);
}

#[test]
fn a_receipt_is_settled_before_its_numbers_leave_the_window() {
    let mut m = online(T0);
    grow(&mut m, T0, Lane::Live, 1);
    assert_eq!(
        m.handle(T0, Event::Receipt(receipt(Lane::Live, 3))),
        [Action::Settle(receipt(Lane::Live, 3))]
    );
    assert_eq!(m.in_flight(), (1, 0));
    m.handle(T0, Event::Settled(receipt(Lane::Live, 3)));
    assert_eq!(m.in_flight(), (0, 0));
    // The same receipt again brings nothing.
    assert_eq!(m.handle(T0, Event::Receipt(receipt(Lane::Live, 3))), []);
}

#[test]
fn an_unanswered_batch_is_sent_again_after_30_to_90_seconds_and_only_its_gap() {
    let mut m = online(T0);
    grow(&mut m, T0, Lane::Live, 1);
    let mut partly = receipt(Lane::Live, 1);
    partly.extra = vec![3];
    m.handle(T0, Event::Receipt(partly.clone()));
    m.handle(T0, Event::Settled(partly));
    let (waited, sent) = (1..200)
        .map(|s| (s, sends(&m.handle(T0 + Duration::from_secs(s), Event::Heard))))
        .find(|(_, sent)| !sent.is_empty())
        .expect("sent again");
    assert_eq!(sent, [(Lane::Live, 2..=2)]);
    assert!((30..=91).contains(&waited), "{waited}");
}

#[test]
fn a_half_open_link_is_found_within_two_keep_alives() {
    let mut m = online(T0);
    assert_eq!(m.handle(T0 + KEEP_ALIVE, Event::Tick), []);
    assert_eq!(m.deadline(), Some(T0 + KEEP_ALIVE * 2));
    assert_eq!(m.handle(T0 + KEEP_ALIVE * 2, Event::Tick), [Action::Drop(Loss::Silent)]);
    assert_eq!(m.phase(), Phase::Down);
}

#[test]
fn a_link_that_answers_pings_but_gives_no_receipts_is_given_up() {
    let mut m = online(T0);
    grow(&mut m, T0, Lane::Live, 1);
    let dropped = (1..1_000)
        .flat_map(|s| m.handle(T0 + Duration::from_secs(s), Event::Heard))
        .find_map(|action| match action {
            Action::Drop(loss) => Some(loss),
            _ => None,
        })
        .expect("given up");
    assert_eq!(dropped, Loss::NoReceipt);
}

#[test]
fn after_a_reconnect_only_what_the_cursor_does_not_cover_is_sent_again() {
    let mut m = online(T0);
    grow(&mut m, T0, Lane::Live, 3);
    m.handle(T0, Event::LinkLost(Loss::Broken));
    let now = T0 + Duration::from_secs(60);
    m.handle(now, Event::Tick);
    m.handle(now, Event::Connected { keep_alive: KEEP_ALIVE });
    m.handle(now, Event::Subscribed);
    let actions = m.handle(now, cursor(5, 0));
    // 1 to 4 are neither sent nor settled; 5 is the probe for a receipt with possible rejections.
    assert_eq!(
        sends(&actions),
        [(Lane::Live, 5..=5), (Lane::Live, 6..=6), (Lane::Live, 7..=9)]
    );
    assert!(!actions.iter().any(|action| matches!(action, Action::Settle(_))));
}

#[test]
fn receipts_of_another_epoch_and_impossible_ones_are_ignored_and_counted() {
    let mut m = online(T0);
    grow(&mut m, T0, Lane::Live, 1);
    let mut foreign = receipt(Lane::Live, 3);
    foreign.epoch = epoch(2);
    assert_eq!(
        m.handle(T0, Event::Receipt(foreign)),
        [Action::Ignored(Ignored::OtherEpoch)]
    );
    let mut many = receipt(Lane::Live, 0);
    many.extra = vec![1; MAX_RECEIPT_EXTRA + 1];
    let mut beyond = receipt(Lane::Live, 1);
    beyond.rejected = vec![Rejected {
        seq: 9,
        reason: Rejection::NoConsent,
    }];
    let mut zero = receipt(Lane::Live, 1);
    zero.extra = vec![0];
    for impossible in [receipt(Lane::Live, 4), receipt(Lane::Replay, 1), many, beyond, zero] {
        assert_eq!(
            m.handle(T0, Event::Receipt(impossible)),
            [Action::Ignored(Ignored::Impossible)]
        );
    }
    assert_eq!(m.counters().ignored, 6);
    assert_eq!(m.in_flight(), (1, 0));
}

#[test]
fn a_cursor_of_another_history_begins_a_new_epoch_and_everything_is_numbered_afresh() {
    for impossible in [cursor(4, 0), cursor(0, 1)] {
        let mut m = online(T0);
        grow(&mut m, T0, Lane::Live, 1);
        let asked = T0 + Policy::default().hello_pause;
        assert_eq!(m.handle(asked, Event::OutOfStep), [Action::Hello]);
        assert!(m.handle(asked, impossible).contains(&Action::Renumber));
        let later = asked + Policy::default().hello_pause;
        let actions = m.handle(later, Event::Renumbered { epoch: epoch(2) });
        assert_eq!(actions, [Action::Hello]);
        assert_eq!(m.in_flight(), (0, 0));
        assert_eq!(m.phase(), Phase::Greeting);
    }
}

#[test]
fn a_cursor_that_nobody_asked_for_is_ignored() {
    let mut m = online(T0);
    assert_eq!(m.handle(T0, cursor(0, 0)), [Action::Ignored(Ignored::Unexpected)]);
}

#[test]
fn a_hold_pauses_the_replay_lane_and_ends_by_itself() {
    let mut m = online(T0);
    grow(&mut m, T0, Lane::Replay, 1);
    let mut hold = receipt(Lane::Replay, 3);
    hold.hold_replay = true;
    m.handle(T0, Event::Receipt(hold.clone()));
    m.handle(T0, Event::Settled(hold));
    assert!(m.held());
    // Live rows still go.
    assert_eq!(grow(&mut m, T0, Lane::Live, 1).len(), 1);
    m.handle(
        T0,
        Event::Receipt(Receipt {
            hold_replay: true,
            ..receipt(Lane::Live, 3)
        }),
    );
    m.handle(T0, Event::Settled(receipt(Lane::Live, 3)));
    assert_eq!(grow(&mut m, T0, Lane::Replay, 5), []);
    let after = T0 + Policy::default().hold;
    // One batch asks whether the hold goes on.
    assert_eq!(m.handle(after, Event::Heard), [Action::Fill(Lane::Replay)]);
    assert!(!m.held());
    let actions = m.handle(
        after,
        Event::Filled {
            lane: Lane::Replay,
            numbers: Some(4..=6),
        },
    );
    assert_eq!(
        actions,
        [Action::Send {
            lane: Lane::Replay,
            numbers: 4..=6,
            settled_seen: 3,
            again: false
        }]
    );
}

#[test]
fn pauses_grow_to_their_bound_and_a_take_over_war_is_damped() {
    let mut m = machine();
    let mut now = Duration::ZERO;
    let mut pauses = Vec::new();
    for _ in 0..40 {
        assert_eq!(m.handle(now, Event::Tick), [Action::Connect]);
        m.handle(now, Event::LinkLost(Loss::Refused));
        let retry_at = m.deadline().unwrap();
        pauses.push(retry_at - now);
        now = retry_at;
    }
    let policy = Policy::default();
    assert!(
        pauses
            .iter()
            .all(|pause| *pause >= policy.backoff_min / 2 && *pause <= policy.backoff_max)
    );
    assert!(pauses.last().unwrap() >= &(policy.backoff_max / 2));
    let mut m = online(T0);
    m.handle(T0, Event::LinkLost(Loss::TakenOver));
    assert!(m.deadline().unwrap() >= T0 + policy.take_over_pause);
}

#[test]
fn a_mismatch_on_down_asks_again_but_not_in_a_storm() {
    let mut m = online(T0);
    let hellos: usize = (0..100)
        .map(|ms| {
            m.handle(T0 + Duration::from_millis(ms), Event::OutOfStep)
                .iter()
                .filter(|a| **a == Action::Hello)
                .count()
        })
        .sum();
    assert_eq!(hellos, 0, "the last hello was less than the pause ago");
    let later = T0 + Policy::default().hello_pause;
    assert_eq!(m.handle(later, Event::Tick), [Action::Hello]);
}
