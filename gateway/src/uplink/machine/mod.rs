//! What the uplink does next: a state machine without a socket, a disk or a clock.
//!
//! It knows links, sequence numbers, windows and deadlines, and nothing of readings. The shell in [`super::shell`] carries
//! out its [`Action`]s and reports back as [`Event`]s, so that a test can play server, network and disk and lose anything at
//! any moment.
//!
//! Only receipts settle numbers. A cursor says how far the server has come, but carries no rejections; numbers that only
//! a cursor covers are therefore not sent again and not settled either. Instead the last of them is sent once more as a probe,
//! which the server answers with a cumulative receipt, rejections included.

mod lane;
#[cfg(test)]
mod tests;
mod words;

use std::ops::RangeInclusive;
use std::time::Duration;

use carepost_contract::limits::{LIVE_WINDOW_BATCHES, MAX_RECEIPT_EXTRA, MAX_RECEIPT_REJECTED, REPLAY_WINDOW_BATCHES};
use carepost_contract::v1::{Cursor, Epoch, Lane, Receipt};
use carepost_daemon::Entropy;

use self::lane::{Flight, LaneState, Probe};
pub(crate) use self::words::{Action, Counters, Event, Ignored, Loss, Phase, Policy};

/// Upper bound of the time after which a batch is sent again, whatever receipts take on average.
const MAX_RESEND: Duration = Duration::from_secs(15 * 60);

/// The pause before another hello on one link doubles at most so often.
const MAX_DOUBLINGS: u32 = 5;

#[derive(Debug)]
enum Link {
    Down { retry_at: Duration },
    Connecting { until: Duration },
    Open(Open),
}

#[derive(Debug)]
struct Open {
    since: Duration,
    keep_alive: Duration,
    heard_at: Duration,
    stage: Stage,
    /// No hello before this instant.
    hello_after: Duration,
    /// Times that `down` was out of step on this link; each doubles the pause before the next hello.
    out_of_step: u32,
    /// Hello is owed.
    hello_owed: bool,
    /// What was settled when the oldest unanswered hello left, live and replay: no honest cursor lies before it.
    settled_at_hello: Option<(u64, u64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Subscribing { until: Duration },
    AwaitingCursor { until: Duration },
    Online,
}

/// The uplink's state.
#[derive(Debug)]
pub(crate) struct Machine {
    policy: Policy,
    entropy: Entropy,
    epoch: Epoch,
    link: Link,
    attempts: u32,
    live: LaneState,
    replay: LaneState,
    hold_until: Option<Duration>,
    /// The replay lane uses the smaller window until a receipt says that all is well.
    cautious: bool,
    /// Smoothed time from sending to receipt.
    receipt_time: Option<Duration>,
    /// Since when something in flight waits without any receipt.
    waiting_since: Option<Duration>,
    renumbering: bool,
    /// When registrations are to be sent; absent when there are none that are not settled.
    register_at: Option<Duration>,
    counters: Counters,
}

impl Machine {
    /// A machine that connects at once.
    pub(crate) fn new(policy: Policy, entropy: Entropy, epoch: Epoch, now: Duration) -> Self {
        Self {
            policy,
            entropy,
            epoch,
            link: Link::Down { retry_at: now },
            attempts: 0,
            live: LaneState::new(),
            replay: LaneState::new(),
            hold_until: None,
            cautious: true,
            receipt_time: None,
            waiting_since: None,
            renumbering: false,
            register_at: None,
            counters: Counters::default(),
        }
    }

    /// Where the link stands.
    pub(crate) const fn phase(&self) -> Phase {
        match &self.link {
            Link::Down { .. } => Phase::Down,
            Link::Connecting { .. } => Phase::Connecting,
            Link::Open(open) => match open.stage {
                Stage::Subscribing { .. } | Stage::AwaitingCursor { .. } => Phase::Greeting,
                Stage::Online => Phase::Online,
            },
        }
    }

    /// What was counted.
    pub(crate) const fn counters(&self) -> Counters {
        self.counters
    }

    /// Smoothed time from sending a batch to its receipt.
    pub(crate) const fn receipt_time(&self) -> Option<Duration> {
        self.receipt_time
    }

    /// Whether the server asked the replay lane to pause.
    pub(crate) const fn held(&self) -> bool {
        self.hold_until.is_some()
    }

    /// Batches without a receipt, live and replay.
    pub(crate) fn in_flight(&self) -> (usize, usize) {
        (self.live.in_flight(), self.replay.in_flight())
    }

    /// When [`Event::Tick`] is due at the latest.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let mut due: Vec<Duration> = Vec::new();
        match &self.link {
            Link::Down { retry_at } => due.push(*retry_at),
            Link::Connecting { until } => due.push(*until),
            Link::Open(open) => {
                due.push(open.heard_at + silence(open.keep_alive));
                if open.hello_owed && !matches!(open.stage, Stage::Subscribing { .. }) {
                    due.push(open.hello_after);
                }
                match open.stage {
                    Stage::Subscribing { until } | Stage::AwaitingCursor { until } => due.push(until),
                    Stage::Online => self.online_deadlines(&mut due),
                }
            }
        }
        due.into_iter().min()
    }

    fn online_deadlines(&self, due: &mut Vec<Duration>) {
        for (which, lane) in [(Lane::Live, &self.live), (Lane::Replay, &self.replay)] {
            due.extend(lane.fill_after);
            // What is held is not due before the hold ends.
            if which == Lane::Live || self.hold_until.is_none() {
                let unsettled = lane
                    .flights
                    .iter()
                    .filter(|(first, flight)| lane.gap(**first, flight.last).is_some());
                due.extend(unsettled.map(|(_, flight)| flight.resend_at));
                due.extend(lane.probe.as_ref().and_then(|probe| probe.resend_at));
            }
        }
        due.extend(self.hold_until);
        due.extend(self.register_at);
        due.extend(self.waiting_since.map(|since| since + self.no_receipt_limit()));
    }

    /// Takes an event and returns what is to be done, in order.
    pub(crate) fn handle(&mut self, now: Duration, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        // What was heard while the shell worked on something long still waits for it; a tick comes when nothing does.
        let nothing_waits = event == Event::Tick;
        match event {
            Event::Tick => {}
            Event::OutboxGrew => {
                self.live.more = true;
                self.replay.more = true;
            }
            Event::RegistrationMade => self.register_at = Some(now),
            Event::RegistrationsSent { unsettled } => {
                self.register_at = (unsettled > 0).then(|| now + self.policy.register_again);
            }
            Event::Connected { keep_alive } => self.connected(now, keep_alive, &mut actions),
            Event::Subscribed => {
                if let Link::Open(open) = &mut self.link
                    && matches!(open.stage, Stage::Subscribing { .. })
                {
                    open.stage = Stage::AwaitingCursor {
                        until: now + self.policy.greeting_limit,
                    };
                    open.hello_owed = true;
                    open.hello_after = now;
                }
            }
            Event::Heard => {
                if let Link::Open(open) = &mut self.link {
                    open.heard_at = now;
                }
            }
            Event::LinkLost(loss) => self.lost(now, loss),
            Event::Receipt(receipt) => self.receipt(now, receipt, &mut actions),
            Event::Cursor(cursor) => self.cursor(now, &cursor, &mut actions),
            Event::Filled { lane, numbers } => self.filled(now, lane, numbers),
            Event::FillFailed { lane } => {
                let pause = self.policy.hello_pause;
                let lane = self.lane_mut(lane);
                lane.filling = false;
                lane.fill_after = Some(now + pause);
            }
            Event::Settled(receipt) => self.settled(now, &receipt),
            Event::OutOfStep => {
                if let Link::Open(open) = &mut self.link
                    && !open.hello_owed
                {
                    open.hello_owed = true;
                    open.hello_after += self.policy.hello_pause * ((1 << open.out_of_step.min(MAX_DOUBLINGS)) - 1);
                    open.out_of_step = open.out_of_step.saturating_add(1);
                }
            }
            Event::Renumbered { epoch } => self.renumbered(now, epoch),
        }
        self.watch(now, nothing_waits, &mut actions);
        self.pump(now, &mut actions);
        actions
    }

    fn lane(&self, lane: Lane) -> &LaneState {
        match lane {
            Lane::Live => &self.live,
            Lane::Replay => &self.replay,
        }
    }

    fn lane_mut(&mut self, lane: Lane) -> &mut LaneState {
        match lane {
            Lane::Live => &mut self.live,
            Lane::Replay => &mut self.replay,
        }
    }

    fn connected(&mut self, now: Duration, keep_alive: Duration, actions: &mut Vec<Action>) {
        if !matches!(self.link, Link::Connecting { .. }) {
            return;
        }
        self.link = Link::Open(Open {
            since: now,
            keep_alive,
            heard_at: now,
            stage: Stage::Subscribing {
                until: now + self.policy.greeting_limit,
            },
            hello_after: now,
            out_of_step: 0,
            hello_owed: false,
            settled_at_hello: None,
        });
        actions.push(Action::Subscribe);
    }

    fn lost(&mut self, now: Duration, loss: Loss) {
        if let Link::Down { .. } = self.link {
            return;
        }
        if let Link::Open(open) = &self.link
            && open.stage == Stage::Online
            && now.saturating_sub(open.since) >= self.policy.stable_after
        {
            self.attempts = 0;
        }
        let mut pause = backoff(&self.policy, self.attempts, &self.entropy);
        if loss == Loss::TakenOver {
            pause = pause.max(self.policy.take_over_pause);
        }
        self.attempts = self.attempts.saturating_add(1);
        self.counters.losses += 1;
        self.link = Link::Down { retry_at: now + pause };
        // Nothing of the old link counts on the next one: what has no receipt is sent again there.
        for lane in [&mut self.live, &mut self.replay] {
            lane.probe = None;
            lane.confirmed = lane.settled;
            for flight in lane.flights.values_mut() {
                flight.sent_at = None;
            }
        }
        self.waiting_since = None;
        self.hold_until = None;
        self.cautious = true;
    }

    fn receipt(&mut self, now: Duration, receipt: Receipt, actions: &mut Vec<Action>) {
        if let Err(why) = self.check_receipt(&receipt) {
            self.counters.ignored += 1;
            actions.push(Action::Ignored(why));
            return;
        }
        self.counters.receipts += 1;
        self.waiting_since = self.waiting_since.map(|_| now);
        self.hold_until = receipt.hold_replay.then(|| now + self.policy.hold);
        self.cautious = receipt.hold_replay;
        let lane = self.lane(receipt.lane);
        let brings_news =
            receipt.settled_through > lane.settled || receipt.extra.iter().any(|seq| !lane.is_settled(*seq));
        if brings_news {
            actions.push(Action::Settle(receipt));
        }
    }

    fn check_receipt(&self, receipt: &Receipt) -> Result<(), Ignored> {
        if receipt.epoch != self.epoch {
            return Err(Ignored::OtherEpoch);
        }
        // A number that was never given must not be settled in advance: its row would be gone before it was sent.
        let given = |seq: u64| (1..self.lane(receipt.lane).next_seq).contains(&seq);
        let possible = (receipt.settled_through == 0 || given(receipt.settled_through))
            && receipt.extra.len() <= MAX_RECEIPT_EXTRA
            && receipt.rejected.len() <= MAX_RECEIPT_REJECTED
            && receipt.extra.iter().all(|seq| given(*seq))
            && receipt.rejected.iter().all(|rejected| given(rejected.seq));
        if possible { Ok(()) } else { Err(Ignored::Impossible) }
    }

    fn settled(&mut self, now: Duration, receipt: &Receipt) {
        if receipt.epoch != self.epoch {
            return;
        }
        // Progress shows that the link is worth keeping close: the next pause is short again.
        self.attempts = 0;
        let lane = self.lane_mut(receipt.lane);
        lane.settled = lane.settled.max(receipt.settled_through);
        lane.extra.extend(receipt.extra.iter().copied());
        let settled = lane.settled;
        // Numbers that close the gap join the prefix only by the server's word; here they are merely forgotten.
        lane.extra.retain(|seq| *seq > settled);
        lane.confirmed = lane.confirmed.max(settled);
        if lane.probe.as_ref().is_some_and(|probe| probe.seq <= settled) {
            lane.probe = None;
        }
        let done: Vec<u64> = lane
            .flights
            .iter()
            .filter(|(first, flight)| (**first..=flight.last).all(|seq| lane.is_settled(seq)))
            .map(|(first, _)| *first)
            .collect();
        let mut sample = None;
        for first in done {
            // Karn's rule: an answer to something sent twice says nothing about the time it took.
            if let Some(flight) = lane.flights.remove(&first)
                && flight.sends == 1
                && let Some(sent_at) = flight.sent_at
            {
                sample = Some(now.saturating_sub(sent_at));
            }
        }
        if let Some(sample) = sample {
            self.receipt_time = Some(match self.receipt_time {
                None => sample,
                Some(smoothed) => (smoothed * 7 + sample) / 8,
            });
        }
        if self.live.flights.is_empty() && self.replay.flights.is_empty() {
            self.waiting_since = None;
        }
    }

    fn cursor(&mut self, now: Duration, cursor: &Cursor, actions: &mut Vec<Action>) {
        let baseline = match &mut self.link {
            Link::Open(open) if cursor.epoch == self.epoch => open.settled_at_hello.take(),
            _ => None,
        };
        let Some((live_before, replay_before)) = baseline else {
            self.counters.ignored += 1;
            let foreign = cursor.epoch != self.epoch;
            actions.push(Action::Ignored(if foreign {
                Ignored::OtherEpoch
            } else {
                Ignored::Unexpected
            }));
            return;
        };
        let positions = [
            (Lane::Live, cursor.live, live_before),
            (Lane::Replay, cursor.replay, replay_before),
        ];
        // Beyond what was given, or behind what it had confirmed: the server speaks of another history (a clone, a
        // restored backup). Numbers of this epoch can no longer be told apart, so a new one begins.
        let fits = |(lane, seq, before): &(Lane, u64, u64)| *seq < self.lane(*lane).next_seq && seq >= before;
        if !positions.iter().all(fits) {
            self.counters.ignored += 1;
            actions.push(Action::Ignored(Ignored::Impossible));
            if !self.renumbering {
                self.renumbering = true;
                actions.push(Action::Renumber);
            }
            return;
        }
        for (lane, seq, _) in positions {
            let lane = self.lane_mut(lane);
            lane.confirmed = lane.confirmed.max(seq);
            if seq > lane.settled {
                lane.probe = Some(Probe { seq, resend_at: None });
            }
        }
        if let Link::Open(open) = &mut self.link
            && open.stage != Stage::Online
        {
            open.stage = Stage::Online;
            open.since = now;
            // What was handed to another link may never have come.
            self.register_at = Some(now);
        }
    }

    fn renumbered(&mut self, now: Duration, epoch: Epoch) {
        self.renumbering = false;
        self.epoch = epoch;
        self.live = LaneState::new();
        self.replay = LaneState::new();
        self.waiting_since = None;
        if let Link::Open(open) = &mut self.link
            && !matches!(open.stage, Stage::Subscribing { .. })
        {
            open.stage = Stage::AwaitingCursor {
                until: now + self.policy.greeting_limit,
            };
            open.hello_owed = true;
            open.settled_at_hello = None;
        }
    }

    fn filled(&mut self, now: Duration, which: Lane, numbers: Option<RangeInclusive<u64>>) {
        let lane = self.lane_mut(which);
        lane.filling = false;
        lane.fill_after = None;
        match numbers {
            None => lane.more = false,
            Some(numbers) => {
                lane.next_seq = lane.next_seq.max(numbers.end() + 1);
                let flight = Flight {
                    last: *numbers.end(),
                    sent_at: None,
                    resend_at: now,
                    sends: 0,
                };
                lane.flights.insert(*numbers.start(), flight);
            }
        }
    }

    /// Gives up what takes too long.
    fn watch(&mut self, now: Duration, nothing_waits: bool, actions: &mut Vec<Action>) {
        let loss = match &self.link {
            Link::Down { retry_at } if *retry_at <= now => {
                self.link = Link::Connecting {
                    until: now + self.policy.connect_limit,
                };
                actions.push(Action::Connect);
                return;
            }
            Link::Down { .. } => return,
            Link::Connecting { until } => (*until <= now).then_some(Loss::Broken),
            Link::Open(open) if nothing_waits && open.heard_at + silence(open.keep_alive) <= now => Some(Loss::Silent),
            Link::Open(open) => match open.stage {
                Stage::Subscribing { until } | Stage::AwaitingCursor { until } => {
                    (until <= now).then_some(Loss::NoGreeting)
                }
                Stage::Online => self
                    .waiting_since
                    .is_some_and(|since| since + self.no_receipt_limit() <= now)
                    .then_some(Loss::NoReceipt),
            },
        };
        if let Some(loss) = loss {
            actions.push(Action::Drop(loss));
            self.lost(now, loss);
        }
    }

    /// Sends what may be sent now, live before replay, old before new.
    fn pump(&mut self, now: Duration, actions: &mut Vec<Action>) {
        if self.hold_until.is_some_and(|until| until <= now) {
            self.hold_until = None;
        }
        for lane in [&mut self.live, &mut self.replay] {
            lane.fill_after = lane.fill_after.filter(|after| *after > now);
        }
        let Link::Open(open) = &mut self.link else { return };
        if open.hello_owed && open.hello_after <= now && !matches!(open.stage, Stage::Subscribing { .. }) {
            open.hello_owed = false;
            open.hello_after = now + self.policy.hello_pause;
            open.settled_at_hello
                .get_or_insert((self.live.settled, self.replay.settled));
            actions.push(Action::Hello);
        }
        if open.stage != Stage::Online {
            return;
        }
        if self.register_at.is_some_and(|at| at <= now) {
            self.register_at = Some(now + self.policy.register_again);
            actions.push(Action::Register);
        }
        if self.renumbering {
            return;
        }
        for lane in [Lane::Live, Lane::Replay] {
            self.send_due(now, lane, actions);
        }
        self.fill(actions);
    }

    fn send_due(&mut self, now: Duration, which: Lane, actions: &mut Vec<Action>) {
        if which == Lane::Replay && self.hold_until.is_some() {
            return;
        }
        let resend_after = self.resend_after();
        let mut late = false;
        let mut sent = Vec::new();
        let lane = self.lane_mut(which);
        let settled_seen = lane.settled;
        if let Some(probe) = &mut lane.probe
            && probe.resend_at.is_none_or(|at| at <= now)
        {
            sent.push((probe.seq..=probe.seq, true));
            probe.resend_at = Some(now + resend_after());
        }
        let due: Vec<(u64, RangeInclusive<u64>)> = lane
            .flights
            .iter()
            .filter(|(_, flight)| flight.sent_at.is_none() || flight.resend_at <= now)
            .filter_map(|(first, flight)| Some((*first, lane.gap(*first, flight.last)?)))
            .collect();
        for (first, numbers) in due {
            let Some(flight) = lane.flights.get_mut(&first) else {
                continue;
            };
            late |= flight.sent_at.is_some();
            sent.push((numbers, flight.sends > 0));
            flight.sends = flight.sends.saturating_add(1);
            flight.sent_at = Some(now);
            flight.resend_at = now + resend_after();
        }
        if late && which == Lane::Replay {
            self.cautious = true;
        }
        if !sent.is_empty() && self.waiting_since.is_none() {
            self.waiting_since = Some(now);
        }
        for (numbers, again) in sent {
            self.counters.batches_sent += 1;
            self.counters.batches_resent += u64::from(again);
            actions.push(Action::Send {
                lane: which,
                numbers,
                settled_seen,
                again,
            });
        }
    }

    /// Asks for one new batch at a time: live while it has rows and room, replay only when live has no more rows.
    fn fill(&mut self, actions: &mut Vec<Action>) {
        let replay_window = if self.cautious { 1 } else { REPLAY_WINDOW_BATCHES };
        let replay_open = self.hold_until.is_none() && !self.live.more;
        if self.live.filling || self.replay.filling {
            return;
        }
        for (which, window, open) in [
            (Lane::Live, LIVE_WINDOW_BATCHES, true),
            (Lane::Replay, replay_window, replay_open),
        ] {
            let lane = self.lane_mut(which);
            if open && lane.more && lane.fill_after.is_none() && lane.in_flight() < window {
                lane.filling = true;
                actions.push(Action::Fill(which));
                return;
            }
        }
    }

    fn no_receipt_limit(&self) -> Duration {
        self.policy.no_receipt_limit.max(self.resend_base() * 3)
    }

    fn resend_base(&self) -> Duration {
        let smoothed = self.receipt_time.unwrap_or_default();
        (smoothed * 4).max(self.policy.min_resend).min(MAX_RESEND)
    }

    /// Draws the time until a resend: the base, 50 % up or down, so that gateways do not resend in step.
    fn resend_after(&self) -> impl Fn() -> Duration + use<> {
        let (base, entropy) = (self.resend_base(), self.entropy.clone());
        move || {
            let thousandths = 500 + u32::from(u16::from_be_bytes(entropy.bytes())) % 1_001;
            base * thousandths / 1_000
        }
    }
}

/// A dead peer is found within two keep-alives: the client pings once per keep-alive, and a live server answers.
fn silence(keep_alive: Duration) -> Duration {
    keep_alive * 2
}

/// Exponential, bounded, and drawn from the upper half, so that gateways of one outage do not come back in step.
fn backoff(policy: &Policy, attempts: u32, entropy: &Entropy) -> Duration {
    let ceiling = policy
        .backoff_min
        .saturating_mul(1 << attempts.min(16))
        .min(policy.backoff_max);
    let thousandths = 500 + u32::from(u16::from_be_bytes(entropy.bytes())) % 501;
    ceiling * thousandths / 1_000
}
