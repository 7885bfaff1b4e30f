//! One pairing from the button to its end: a state machine without a bus, a clock or a page.
//!
//! The shell carries out its [`Action`]s and reports back as [`Event`]s. Every state has a deadline, so that whatever is
//! lost, a pairing ends; whatever the Bluetooth service asks is answered exactly once; and the adapter is given back.

#[cfg(test)]
mod tests;

use std::time::Duration;

use super::failure::Failure;
use super::words::{
    ANSWER_LIMIT, Action, Answer, Ask, Details, Done, Event, FIND_LIMIT, Goal, Known, Operation, Outcome, PAIR_LIMIT,
    Prompt, READ_LIMIT, Reply, Request, STEP_LIMIT, Stage, TURN_LIMIT, View,
};

/// Bonds of one meter that are forgotten at once: more adapters are not used.
const MAX_ADAPTERS: usize = crate::board::MAX_ADAPTERS;

/// The machine.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    /// Number of the pairing that goes on, or of the last one: what an earlier one left behind is told apart by it.
    attempt: u64,
    state: State,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Idle,
    Running(Running),
    Over {
        request: Request,
        outcome: Outcome,
    },
}

#[derive(Debug)]
struct Running {
    request: Request,
    step: Step,
    until: Duration,
    /// Its path, once it is known.
    path: Option<String>,
    /// `Pair` was called: a device that is left behind is ours to remove.
    pair_called: bool,
    /// The bond was made now.
    bond_made: bool,
    /// What the service knows is asked for, instead of the meter.
    recalls: bool,
    /// The bond was there before.
    bond_was_there: bool,
    /// Objects of the meter that were removed: each adapter has its own.
    removed: usize,
    /// A person was shown digits or asked for some.
    with_digits: bool,
}

#[derive(Debug)]
enum Step {
    AwaitingTurn,
    Looking,
    /// An old bond, before the new one or for good.
    Removing,
    Finding,
    Pairing {
        asked: Option<Asked>,
    },
    Trusting,
    Reading,
    SettingClock(Box<Details>),
    Disconnecting(Box<Details>),
    /// Clearing up after a failure.
    Abandoning(Failure),
}

/// A question that waits for a person, or digits that are shown.
#[derive(Debug)]
struct Asked {
    prompt: Prompt,
    /// The agent's request that waits for the answer; digits that are only shown wait for none.
    id: Option<u64>,
    until: Duration,
}

impl Machine {
    /// What a person sees.
    pub(crate) fn view(&self) -> View {
        match &self.state {
            State::Idle => View::Idle,
            State::Running(running) => View::Running {
                attempt: self.attempt,
                request: running.request.clone(),
                stage: running.stage(),
                prompt: running.asked().map(|asked| asked.prompt.clone()),
                until: running.due(),
            },
            State::Over { request, outcome } => View::Over {
                attempt: self.attempt,
                request: request.clone(),
                outcome: outcome.clone(),
            },
        }
    }

    /// When [`Event::Tick`] is due at the latest.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        match &self.state {
            State::Running(running) => Some(running.due()),
            State::Idle | State::Over { .. } => None,
        }
    }

    /// Takes an event and returns what is to be done, in order.
    pub(crate) fn handle(&mut self, now: Duration, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Tick => {}
            Event::Begin(request) => self.begin(now, request, &mut actions),
            Event::Dismissed => {
                if let State::Over { .. } = self.state {
                    self.state = State::Idle;
                }
            }
            Event::TurnGranted { attempt } if attempt == self.attempt => self.turn_granted(now, &mut actions),
            Event::Done { attempt, done } if attempt == self.attempt => self.done(now, done, &mut actions),
            // Of an earlier pairing.
            Event::TurnGranted { .. } | Event::Done { .. } => {}
            Event::Asked { id, path, ask } => self.asked(now, id, &path, ask, &mut actions),
            Event::AskedNoMore => self.asked_no_more(&mut actions),
            Event::Answered(answer) => self.answered(now, answer, &mut actions),
            Event::GivenUp => self.fail(now, Failure::GivenUp, &mut actions),
            Event::BusLost => {
                // There is nobody left to ask for anything.
                if let State::Running(running) = &mut self.state {
                    running.withdraw(&mut actions);
                    self.end(Outcome::Failed(Failure::NoBluetooth), &mut actions);
                }
            }
        }
        self.watch(now, &mut actions);
        actions
    }

    fn begin(&mut self, now: Duration, request: Request, actions: &mut Vec<Action>) {
        if let State::Running(_) = self.state {
            actions.push(Action::Busy);
            return;
        }
        self.attempt += 1;
        self.state = State::Running(Running {
            request,
            step: Step::AwaitingTurn,
            until: now + TURN_LIMIT,
            path: None,
            pair_called: false,
            bond_made: false,
            recalls: false,
            bond_was_there: false,
            removed: 0,
            with_digits: false,
        });
        actions.push(Action::RequestTurn { attempt: self.attempt });
    }

    fn turn_granted(&mut self, now: Duration, actions: &mut Vec<Action>) {
        if let State::Running(running) = &mut self.state
            && matches!(running.step, Step::AwaitingTurn)
        {
            let look = Operation::Look(running.request.address);
            running.go(self.attempt, now, Step::Looking, look, actions);
        }
    }

    fn done(&mut self, now: Duration, done: Done, actions: &mut Vec<Action>) {
        let attempt = self.attempt;
        let State::Running(running) = &mut self.state else {
            return;
        };
        let step = std::mem::replace(&mut running.step, Step::Looking);
        let find = running.find();
        match (step, done) {
            (Step::Looking, Done::Looked(known)) => self.looked(now, known, actions),
            (Step::Removing, Done::Removed) => {
                running.path = None;
                running.removed = running.removed.saturating_add(1);
                match running.request.goal {
                    // Another adapter may have a bond of its own.
                    Goal::Forget => {
                        let look = Operation::Look(running.request.address);
                        running.go(attempt, now, Step::Looking, look, actions);
                    }
                    Goal::Pair | Goal::PairAgain => running.go(attempt, now, Step::Finding, find, actions),
                }
            }
            (Step::Finding, Done::Found(known)) => {
                running.path = Some(known.path.clone());
                if known.paired {
                    running.bond_was_there = true;
                    running.go(attempt, now, Step::Trusting, Operation::Trust(known.path), actions);
                } else {
                    running.pair_called = true;
                    let pair = Operation::Pair(known.path);
                    running.go(attempt, now, Step::Pairing { asked: None }, pair, actions);
                }
            }
            (Step::Pairing { asked }, Done::Paired) => {
                running.step = Step::Pairing { asked };
                running.bond_made = true;
                running.withdraw(actions);
                let trust = Operation::Trust(running.path.clone().unwrap_or_default());
                running.go(attempt, now, Step::Trusting, trust, actions);
            }
            (Step::Trusting, Done::Trusted) => {
                let read = Operation::Read(running.path.clone().unwrap_or_default());
                running.go(attempt, now, Step::Reading, read, actions);
            }
            (Step::Reading, Done::Read(details)) => match details.clock.clone() {
                Some(clock) => {
                    let step = Step::SettingClock(Box::new(details));
                    running.go(attempt, now, step, Operation::SetClock(clock), actions);
                }
                None => running.disconnect(attempt, now, Box::new(details), actions),
            },
            // The bond is what matters: a clock that was not set, or a meter that left by itself, changes nothing in it.
            (Step::SettingClock(details), Done::ClockSet | Done::Failed(_)) => {
                running.disconnect(attempt, now, details, actions);
            }
            (Step::Disconnecting(details), Done::Disconnected | Done::Failed(_)) => {
                self.end(Outcome::Paired(details), actions);
            }
            (Step::Abandoning(failure), Done::Abandoned | Done::Failed(_)) => {
                self.end(Outcome::Failed(failure), actions);
            }
            // It has the bond that it was to get, and left: some do as soon as they have been paired.
            (Step::Reading, Done::Failed(failure)) if running.may_recall(failure) => {
                running.recall(attempt, now, actions);
            }
            (step, Done::Failed(failure)) => {
                running.step = step;
                self.fail(now, failure, actions);
            }
            // An answer to something that was given up.
            (step, _) => running.step = step,
        }
    }

    fn looked(&mut self, now: Duration, known: Option<Known>, actions: &mut Vec<Action>) {
        let attempt = self.attempt;
        let State::Running(running) = &mut self.state else {
            return;
        };
        running.path = known.as_ref().map(|known| known.path.clone());
        let find = running.find();
        match (running.request.goal, known) {
            (Goal::Forget, None) => self.end(Outcome::Forgotten, actions),
            // What is left has no bond, and may be heard again at any time.
            (Goal::Forget, Some(known)) if running.removed > 0 && !known.paired => {
                self.end(Outcome::Forgotten, actions);
            }
            (Goal::Forget, Some(_)) if running.removed >= MAX_ADAPTERS => self.fail(now, Failure::Other, actions),
            (Goal::Forget, Some(known)) | (Goal::PairAgain, Some(known @ Known { paired: true, .. })) => {
                running.go(attempt, now, Step::Removing, Operation::Remove(known.path), actions);
            }
            (Goal::Pair, Some(known)) if known.paired => {
                running.bond_was_there = true;
                running.go(attempt, now, Step::Trusting, Operation::Trust(known.path), actions);
            }
            (Goal::Pair | Goal::PairAgain, _) => {
                running.go(attempt, now, Step::Finding, find, actions);
            }
        }
    }

    fn asked(&mut self, now: Duration, id: u64, path: &str, ask: Ask, actions: &mut Vec<Action>) {
        let refuse = |actions: &mut Vec<Action>| {
            actions.push(Action::CountUnasked);
            actions.push(Action::Reply {
                id,
                reply: Reply::Reject,
            });
        };
        let State::Running(running) = &mut self.state else {
            return refuse(actions);
        };
        if !matches!(running.step, Step::Pairing { .. }) || running.path.as_deref() != Some(path) {
            return refuse(actions);
        }
        let (prompt, waits) = match ask {
            Ask::Passkey => (Prompt::Enter, true),
            Ask::Confirm(passkey) => (Prompt::Compare(passkey), true),
            Ask::ShowPasskey { passkey, typed } => (Prompt::Show { passkey, typed }, false),
            Ask::Authorize => {
                // Somebody chose this very meter a moment ago, and there is nothing to compare.
                return actions.push(Action::Reply {
                    id,
                    reply: Reply::Accept,
                });
            }
            Ask::Pin => {
                actions.push(Action::Reply {
                    id,
                    reply: Reply::Reject,
                });
                return self.fail(now, Failure::OldPairing, actions);
            }
            Ask::Service => return refuse(actions),
        };
        // Digits are shown again whenever one was typed on the meter; that is no new time to answer.
        let shown_since = running.asked().and_then(|before| match (&before.prompt, &prompt) {
            (Prompt::Show { passkey: old, .. }, Prompt::Show { passkey: new, .. }) if old == new => Some(before.until),
            _ => None,
        });
        running.withdraw(actions);
        running.with_digits = true;
        running.step = Step::Pairing {
            asked: Some(Asked {
                prompt,
                id: waits.then_some(id),
                until: shown_since.unwrap_or(now + ANSWER_LIMIT),
            }),
        };
        // The time in which a person is asked is not the meter's.
        running.until = running.until.max(now + ANSWER_LIMIT + STEP_LIMIT);
        if !waits {
            actions.push(Action::Reply {
                id,
                reply: Reply::Accept,
            });
        }
    }

    fn asked_no_more(&mut self, actions: &mut Vec<Action>) {
        if let State::Running(running) = &mut self.state {
            running.withdraw(actions);
        }
    }

    fn answered(&mut self, now: Duration, answer: Answer, actions: &mut Vec<Action>) {
        let State::Running(running) = &mut self.state else {
            return;
        };
        let Step::Pairing { asked } = &mut running.step else {
            return;
        };
        let reply = match (asked.as_ref().map(|asked| &asked.prompt), answer) {
            (Some(Prompt::Enter), Answer::Passkey(passkey)) => Reply::Passkey(passkey),
            (Some(Prompt::Compare(_)), Answer::Yes) => Reply::Accept,
            (Some(Prompt::Compare(_)), Answer::No) => Reply::Reject,
            // An answer to a question that is not asked any more.
            _ => return,
        };
        let Some(id) = asked.take().and_then(|asked| asked.id) else {
            return;
        };
        let refused = reply == Reply::Reject;
        actions.push(Action::Reply { id, reply });
        if refused {
            self.fail(now, Failure::NotTheSame, actions);
        }
    }

    /// Ends what goes on, after clearing up.
    fn fail(&mut self, now: Duration, failure: Failure, actions: &mut Vec<Action>) {
        let State::Running(running) = &mut self.state else {
            return;
        };
        running.withdraw(actions);
        let pairing = match running.step {
            Step::Abandoning(_) => return,
            Step::AwaitingTurn => return self.end(Outcome::Failed(failure), actions),
            Step::Pairing { .. } => true,
            _ => false,
        };
        let abandon = Operation::Abandon {
            path: running.path.clone(),
            pairing,
            // A bond is not thrown away because the meter does not answer, whether it was there before or is new.
            remove: running.pair_called
                && (!running.bond_made || matches!(failure, Failure::GivenUp | Failure::BondLost)),
        };
        let failure = match (failure, running.bond_was_there) {
            // The keys do not fit any more, as far as can be seen from here.
            (Failure::NoAnswer | Failure::NotConnected, true) => Failure::BondLost,
            // BlueZ has one error for both; where there were no digits, they were not wrong.
            (Failure::WrongPasskey, _) if !running.with_digits => Failure::Rejected,
            (failure, _) => failure,
        };
        running.go(self.attempt, now, Step::Abandoning(failure), abandon, actions);
    }

    fn end(&mut self, outcome: Outcome, actions: &mut Vec<Action>) {
        if let State::Running(running) = std::mem::take(&mut self.state) {
            self.state = State::Over {
                request: running.request,
                outcome,
            };
        }
        actions.push(Action::Release);
    }

    /// Gives up what takes too long.
    fn watch(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let State::Running(running) = &mut self.state else {
            return;
        };
        if running.asked().is_some_and(|asked| asked.until <= now) {
            return self.fail(now, Failure::AnswerLate, actions);
        }
        if running.until > now {
            return;
        }
        let failure = match std::mem::replace(&mut running.step, Step::Looking) {
            // What comes after the bond is not worth losing it.
            Step::SettingClock(details) | Step::Disconnecting(details) => {
                return self.end(Outcome::Paired(details), actions);
            }
            Step::Abandoning(failure) => return self.end(Outcome::Failed(failure), actions),
            Step::Reading if running.may_recall(Failure::NoAnswer) => {
                return running.recall(self.attempt, now, actions);
            }
            step => {
                let failure = match step {
                    Step::AwaitingTurn => Failure::AdapterBusy,
                    Step::Finding => Failure::NotFound,
                    Step::Reading => Failure::NoAnswer,
                    Step::Looking | Step::Removing | Step::Trusting => Failure::NoBluetooth,
                    _ => Failure::TimedOut,
                };
                running.step = step;
                failure
            }
        };
        self.fail(now, failure, actions);
    }
}

impl Running {
    fn go(&mut self, attempt: u64, now: Duration, step: Step, operation: Operation, actions: &mut Vec<Action>) {
        self.until = now
            + match step {
                Step::AwaitingTurn => TURN_LIMIT,
                Step::Finding => FIND_LIMIT,
                Step::Pairing { .. } => PAIR_LIMIT,
                Step::Reading => READ_LIMIT,
                _ => STEP_LIMIT,
            };
        self.step = step;
        actions.push(Action::Start { attempt, operation });
    }

    /// Whether what the service knows of the meter may stand for what it would say, after this failure to ask it.
    fn may_recall(&self, failure: Failure) -> bool {
        let for_good = matches!(
            failure,
            Failure::BondLost | Failure::NoBluetooth | Failure::AdapterOff | Failure::GivenUp
        );
        self.bond_made && !self.recalls && !for_good
    }

    fn recall(&mut self, attempt: u64, now: Duration, actions: &mut Vec<Action>) {
        self.recalls = true;
        let recall = Operation::Recall(self.path.clone().unwrap_or_default());
        self.go(attempt, now, Step::Reading, recall, actions);
    }

    fn find(&self) -> Operation {
        Operation::Find {
            address: self.request.address,
            adapter: self.request.adapter.clone(),
        }
    }

    fn disconnect(&mut self, attempt: u64, now: Duration, details: Box<Details>, actions: &mut Vec<Action>) {
        let path = self.path.clone().unwrap_or_default();
        let step = Step::Disconnecting(details);
        self.go(attempt, now, step, Operation::Disconnect(path), actions);
    }

    fn asked(&self) -> Option<&Asked> {
        match &self.step {
            Step::Pairing { asked } => asked.as_ref(),
            _ => None,
        }
    }

    /// Takes the question from the page, and tells the Bluetooth service that there will be no answer.
    fn withdraw(&mut self, actions: &mut Vec<Action>) {
        if let Step::Pairing { asked } = &mut self.step
            && let Some(id) = asked.take().and_then(|asked| asked.id)
        {
            actions.push(Action::Reply {
                id,
                reply: Reply::Cancel,
            });
        }
    }

    fn due(&self) -> Duration {
        self.asked().map_or(self.until, |asked| asked.until.min(self.until))
    }

    fn stage(&self) -> Stage {
        match self.step {
            Step::AwaitingTurn | Step::Looking => Stage::Waiting,
            Step::Finding => Stage::Finding,
            Step::Pairing { .. } => Stage::Pairing,
            Step::Trusting | Step::Reading => Stage::Reading,
            Step::Removing | Step::SettingClock(_) | Step::Disconnecting(_) | Step::Abandoning(_) => Stage::Finishing,
        }
    }
}
