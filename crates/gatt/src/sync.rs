//! The conversation by which the stored records of a glucose meter are fetched, as a state machine.
//!
//! It decides what to write to the Record Access Control Point and when the conversation is over. It does not keep
//! records: the caller makes every notified value durable *before* it hands it in here, so that nothing depends on
//! this machine's judgement.
//!
//! How new records are found without trusting sequence numbers:
//!
//! 1. Count all records. Refusal and silence are fine, the count is advisory.
//! 2. If something is known of this meter, ask for its last record. Equal to the known one: nothing is new. Lower
//!    sequence number, or a higher one with an older base time, or the same one with another base time: the numbering
//!    started again, read everything. So too if more than one record came.
//! 3. Otherwise ask for everything from the *known* sequence number on, that record included. It is the anchor: if it
//!    does not come back as it was, the memory was cleared or the numbering started again and has already passed the
//!    old number, which no comparison of highest numbers shows; then read everything. (Asking from the number after
//!    it would save one record and lose that proof.)
//! 4. A refused operator or operand falls back to reading everything. Deletion is never asked for.
//!
//! Records that come twice by this are the caller's to recognise by content.
//!
//! The high-water mark to store is the one in the [`Outcome`], and only that. Sequence numbers that did not come in one
//! direction order nothing, a record without a date cannot be told from another of its number, and a meter that answered
//! before it had sent what it announced, or before it had sent anything, has not said everything: then there is no mark and
//! the next conversation reads everything. After a broken conversation the mark moves only if records evidently came oldest
//! first, so that nothing older is missing.

use alloc::vec::Vec;
use core::time::Duration;

use crate::racp::{OpCode, Request, Response, ResultCode};

mod outcome;
mod seen;

pub use outcome::{AbortReason, HighWater, Outcome};
use seen::{Seen, is_anchor, is_older};

/// Most values (measurements, contexts, answers) that one question may bring: two times round the sequence numbers,
/// each with a context. A meter that sends more is broken.
pub const MAX_VALUES_PER_QUESTION: u32 = 262_144;

/// From here on newer records may have started again at 0, with a gap before it, so that everything is read. Wider
/// than any gap; the memories of meters hold some hundred records.
const WRAP_ZONE: u16 = 0xFC00;

/// Requests refused because another procedure runs are repeated this often, each time after an abort.
const MAX_BUSY_RETRIES: u8 = 2;

/// ATT errors of a write: the Glucose Service's own codes and those of the common profile.
const ATT_PROCEDURE_IN_PROGRESS: [u8; 2] = [0x80, 0xFE];
const ATT_CCCD_NOT_CONFIGURED: [u8; 2] = [0x81, 0xFD];

/// How patient and how economical a conversation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Silence after which the running procedure is aborted.
    pub idle_timeout: Duration,
    /// Time that the meter has to answer an abort.
    pub abort_timeout: Duration,
    /// Whether to ask only for what is new. False for models whose sequence numbers mean nothing: always read all. In which
    /// order a meter sends its records needs no setting: it shows.
    pub only_new: bool,
}

impl Default for Policy {
    /// 30 s of silence (page 3 of the design, 2.4), 5 s for an abort, only what is new.
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(30),
            abort_timeout: Duration::from_secs(5),
            only_new: true,
        }
    }
}

/// What happened on the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// All subscriptions are in place.
    Start,
    /// A value of 2A18 was notified and is durable.
    Measurement(&'a [u8]),
    /// A value of 2A34 was notified, and is durable or waits for its measurement.
    Context(&'a [u8]),
    /// A value of 2A52 was indicated.
    ControlPoint(&'a [u8]),
    /// The last [`Action::Write`] failed.
    WriteFailed {
        /// ATT error code, if there was one.
        att_error: Option<u8>,
    },
    /// Time passed; to be sent when [`GlucoseSync::deadline`] is reached, harmless at any other time.
    Tick,
    /// The link is gone.
    LinkLost,
}

/// What the caller is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Write this to 2A52, with response.
    Write(Vec<u8>),
    /// The conversation is over; nothing follows.
    Finished(Outcome),
}

/// What was asked last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    /// How many records there are.
    Count,
    /// The newest record, to compare it with the known one.
    Last(HighWater),
    /// Everything from the known record on.
    Since(HighWater),
    /// Everything.
    All,
}

impl Question {
    fn request(self) -> Request {
        match self {
            Self::Count => Request::number_of_all(),
            Self::Last(_) => Request::report_last(),
            Self::Since(known) => Request::report_from(known.sequence),
            Self::All => Request::report_all(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not started.
    Idle,
    /// Waiting for the answer to a question.
    Asking(Question),
    /// Waiting for the answer to an abort, then asking again.
    Clearing(Question),
    /// Waiting for the answer to an abort, then finishing.
    Aborting {
        /// What is then reported.
        reason: AbortReason,
        /// What was asked.
        question: Question,
    },
    /// Over.
    Finished,
}

/// The conversation with one meter over one link.
#[derive(Debug, Clone)]
pub struct GlucoseSync {
    policy: Policy,
    known: Option<HighWater>,
    state: State,
    deadline: Option<Duration>,
    announced: Option<u32>,
    reset_detected: bool,
    busy_retries: u8,
    /// A request that was refused for want of a subscription has been repeated.
    asked_again: bool,
    /// A report was answered before anything of it had come: what it brings may be taken for the next one's.
    answered_ahead: bool,
    seen: Seen,
}

impl GlucoseSync {
    /// A conversation with a meter of which `known` is the newest record known, by the last [`Outcome`].
    #[must_use]
    pub fn new(policy: Policy, known: Option<HighWater>) -> Self {
        Self {
            policy,
            known,
            state: State::Idle,
            deadline: None,
            announced: None,
            reset_detected: false,
            busy_retries: 0,
            asked_again: false,
            answered_ahead: false,
            seen: Seen::default(),
        }
    }

    /// When to send [`Event::Tick`] next, since the start of the link. `None` while nothing is awaited.
    #[must_use]
    pub const fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// Whether a value that comes now puts the deadline off. While an abort is awaited, none does.
    #[must_use]
    pub const fn awaits_values(&self) -> bool {
        matches!(self.state, State::Asking(_))
    }

    /// True once [`Action::Finished`] was returned.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.state == State::Finished
    }

    /// Records that the meter said it holds, once it said so: for progress.
    #[must_use]
    pub const fn announced(&self) -> Option<u32> {
        self.announced
    }

    /// Measurements of the running reading, without the one that was known: for progress.
    #[must_use]
    pub const fn delivered(&self) -> u32 {
        self.seen.delivered()
    }

    /// Takes what happened at `now`, since the start of the link, and returns what to do, in order.
    pub fn handle(&mut self, now: Duration, event: Event<'_>) -> Vec<Action> {
        match event {
            Event::Measurement(_) | Event::Context(_) | Event::ControlPoint(_) if self.awaits_values() => {
                self.seen.values = self.seen.values.saturating_add(1);
                if self.seen.values > MAX_VALUES_PER_QUESTION {
                    return self.abort(now, AbortReason::TooManyValues);
                }
                // Only here: stragglers must not keep an abort waiting for ever.
                self.deadline = Some(now.saturating_add(self.policy.idle_timeout));
            }
            _ => {}
        }
        match (event, self.state) {
            (_, State::Finished) => Vec::new(),
            (Event::Start, State::Idle) => self.ask(now, Question::Count),
            (Event::LinkLost, _) => self.abort_without_answer(AbortReason::LinkLost),
            // A meter may send before it was asked anything; the values are durable and no answer of ours.
            (_, State::Idle) | (Event::Start, _) => Vec::new(),
            (Event::Measurement(bytes), _) => {
                self.seen.add(bytes, self.known);
                Vec::new()
            }
            (Event::Context(_), _) => Vec::new(),
            (Event::ControlPoint(bytes), _) => self.on_control_point(now, bytes),
            (Event::WriteFailed { att_error }, _) => self.on_write_failed(now, att_error),
            (Event::Tick, _) => self.on_tick(now),
        }
    }

    fn on_control_point(&mut self, now: Duration, bytes: &[u8]) -> Vec<Action> {
        // An answer that cannot be read is no answer; silence after it ends in the timeout.
        let Ok(decoded) = Response::decode(bytes) else {
            return Vec::new();
        };
        match (self.state, decoded.value) {
            (State::Asking(Question::Count), Response::Number { count, .. }) => {
                self.announced = Some(count);
                self.after_count(now)
            }
            (
                State::Asking(Question::Count),
                Response::Result {
                    request_op: OpCode::ReportNumber,
                    ..
                },
            ) => self.after_count(now),
            (
                State::Asking(question),
                Response::Result {
                    request_op: OpCode::ReportRecords,
                    code,
                },
            ) => self.after_report(now, question, code),
            (
                State::Clearing(question),
                Response::Result {
                    request_op: OpCode::Abort,
                    ..
                },
            ) => self.ask(now, question),
            (
                State::Aborting { reason, .. },
                Response::Result {
                    request_op: OpCode::Abort,
                    ..
                },
            ) => self.abort_without_answer(reason),
            // Late or foreign answers.
            _ => Vec::new(),
        }
    }

    fn after_count(&mut self, now: Duration) -> Vec<Action> {
        self.ask(now, self.after_count_question())
    }

    const fn after_count_question(&self) -> Question {
        match self.known {
            Some(known) if self.policy.only_new => Question::Last(known),
            _ => Question::All,
        }
    }

    fn after_report(&mut self, now: Duration, question: Question, code: ResultCode) -> Vec<Action> {
        let of_a_report = question != Question::Count && code == ResultCode::Success;
        self.answered_ahead |= of_a_report && self.seen.measurements == 0;
        match (question, code) {
            // The end of a report that somebody else asked for.
            (Question::Count, ResultCode::Success) => Vec::new(),
            // Some meters name the wrong request when they refuse to count.
            (Question::Count, _) => self.after_count(now),
            (Question::Last(known), ResultCode::Success) => self.after_last(now, known),
            (Question::Last(known), ResultCode::NoRecordsFound) if self.announced.is_some_and(|count| count > 0) => {
                self.ask(now, Question::Since(known))
            }
            (Question::Last(_) | Question::All, ResultCode::NoRecordsFound) => {
                self.finish(Outcome::NoRecords { high_water: self.known })
            }
            // Not every meter can be asked for its last record.
            (Question::Last(known), _) => self.ask(now, Question::Since(known)),
            (Question::Since(_), ResultCode::Success) => self.after_since(now),
            (Question::Since(_), ResultCode::NoRecordsFound) => self.read_all_again(now),
            (Question::Since(_), code) if refuses_request(code) => self.ask(now, Question::All),
            (Question::All, ResultCode::Success) => {
                let high_water = self.seen.mark_when_all(self.announced);
                self.complete(high_water)
            }
            (Question::Since(_) | Question::All, code) => self.abort_without_answer(AbortReason::Refused { code }),
        }
    }

    fn after_last(&mut self, now: Duration, known: HighWater) -> Vec<Action> {
        match self.seen.last {
            // Something else came with it: nobody knows which of them is the last.
            Some(_) if self.seen.distinct > 1 => self.ask(now, Question::All),
            Some(_) if self.seen.known == self.seen.measurements => self.complete(Some(known)),
            Some(last) if last.sequence > known.sequence && !is_older(last, known) => {
                self.ask(now, Question::Since(known))
            }
            Some(_) => self.read_all_again(now),
            // Success without a readable record proves nothing.
            None => self.ask(now, Question::Since(known)),
        }
    }

    fn after_since(&mut self, now: Duration) -> Vec<Action> {
        if self.seen.known == 0 || self.seen.contradicts {
            return self.read_all_again(now);
        }
        let wraps = self.seen.highest.is_some_and(|highest| highest.sequence >= WRAP_ZONE);
        if wraps {
            return self.ask(now, Question::All);
        }
        let high_water = self.seen.mark_when_complete();
        self.complete(high_water)
    }

    fn read_all_again(&mut self, now: Duration) -> Vec<Action> {
        self.reset_detected = true;
        self.ask(now, Question::All)
    }

    fn on_write_failed(&mut self, now: Duration, att_error: Option<u8>) -> Vec<Action> {
        let is_one_of = |codes: [u8; 2]| att_error.is_some_and(|code| codes.contains(&code));
        match self.state {
            State::Idle | State::Finished => Vec::new(),
            State::Aborting { reason, .. } => self.abort_without_answer(reason),
            // Some meters refuse the first request of a link so although the subscription stands; once is worth a try.
            State::Asking(question) if is_one_of(ATT_CCCD_NOT_CONFIGURED) && !self.asked_again => {
                self.asked_again = true;
                self.ask(now, question)
            }
            State::Asking(_) | State::Clearing(_) if is_one_of(ATT_CCCD_NOT_CONFIGURED) => {
                self.abort_without_answer(AbortReason::NotSubscribed)
            }
            State::Asking(question) if is_one_of(ATT_PROCEDURE_IN_PROGRESS) => {
                if self.busy_retries >= MAX_BUSY_RETRIES {
                    return self.abort_without_answer(AbortReason::Busy);
                }
                self.busy_retries = self.busy_retries.saturating_add(1);
                self.enter(now, State::Clearing(question), &Request::abort())
            }
            State::Clearing(_) if is_one_of(ATT_PROCEDURE_IN_PROGRESS) => self.abort_without_answer(AbortReason::Busy),
            State::Asking(_) | State::Clearing(_) => self.abort_without_answer(AbortReason::WriteFailed { att_error }),
        }
    }

    fn on_tick(&mut self, now: Duration) -> Vec<Action> {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return Vec::new();
        }
        match self.state {
            State::Idle | State::Finished => Vec::new(),
            // A meter that does not count, and does not say so, can still report.
            State::Asking(Question::Count) => {
                self.enter(now, State::Clearing(self.after_count_question()), &Request::abort())
            }
            State::Asking(_) => self.abort(now, AbortReason::TimedOut),
            // The abort was not answered; the procedure may be over all the same.
            State::Clearing(question) => self.ask(now, question),
            State::Aborting { reason, .. } => self.abort_without_answer(reason),
        }
    }

    /// Mark after a reading that broke off: the highest record, if oldest records evidently came first (one record
    /// has no direction) and the known one was among them where only new ones were asked for.
    fn mark_when_broken(&self) -> Option<HighWater> {
        if self.answered_ahead {
            return None;
        }
        let question = match self.state {
            State::Asking(question) => question,
            State::Aborting { question, .. } => question,
            State::Idle | State::Clearing(_) | State::Finished => return None,
        };
        let continues = match question {
            Question::Count | Question::Last(_) => false,
            Question::Since(_) => self.seen.known > 0 && !self.seen.contradicts,
            Question::All => true,
        };
        // Numbers that rise while times fall are a numbering that started again, seen from its new end.
        let oldest_first = !self.seen.not_ascending && self.seen.not_descending && !self.seen.time_fell;
        if continues && oldest_first {
            self.seen.highest.filter(|mark| is_anchor(*mark))
        } else {
            None
        }
    }

    /// Writes the question and forgets what was seen for the one before.
    fn ask(&mut self, now: Duration, question: Question) -> Vec<Action> {
        // Stragglers of an aborted procedure must not count for the question that is asked again.
        self.seen = Seen::default();
        self.enter(now, State::Asking(question), &question.request())
    }

    fn abort(&mut self, now: Duration, reason: AbortReason) -> Vec<Action> {
        match self.state {
            State::Asking(question) => self.enter(now, State::Aborting { reason, question }, &Request::abort()),
            _ => self.abort_without_answer(reason),
        }
    }

    /// Changes the state and writes `request`.
    fn enter(&mut self, now: Duration, state: State, request: &Request) -> Vec<Action> {
        self.state = state;
        self.deadline = Some(now.saturating_add(self.patience()));
        match request.encode() {
            Ok(bytes) => alloc::vec![Action::Write(bytes)],
            // No request made here is without bytes; if one were, the meter would stay silent.
            Err(_) => Vec::new(),
        }
    }

    const fn patience(&self) -> Duration {
        match self.state {
            State::Clearing(_) | State::Aborting { .. } => self.policy.abort_timeout,
            State::Idle | State::Asking(_) | State::Finished => self.policy.idle_timeout,
        }
    }

    fn complete(&mut self, high_water: Option<HighWater>) -> Vec<Action> {
        let high_water = high_water.filter(|_| !self.answered_ahead);
        self.finish(Outcome::Complete {
            delivered: self.seen.delivered(),
            announced: self.announced,
            reset_detected: self.reset_detected,
            high_water,
        })
    }

    fn abort_without_answer(&mut self, reason: AbortReason) -> Vec<Action> {
        self.finish(Outcome::Aborted {
            reason,
            delivered: self.seen.delivered(),
            high_water: self.mark_when_broken().or(self.known),
        })
    }

    fn finish(&mut self, outcome: Outcome) -> Vec<Action> {
        self.state = State::Finished;
        self.deadline = None;
        alloc::vec![Action::Finished(outcome)]
    }
}

/// The meter does not know the request, as opposed to failing at it.
const fn refuses_request(code: ResultCode) -> bool {
    match code {
        ResultCode::OpCodeNotSupported
        | ResultCode::InvalidOperator
        | ResultCode::OperatorNotSupported
        | ResultCode::InvalidOperand
        | ResultCode::OperandNotSupported
        | ResultCode::Unknown(_) => true,
        ResultCode::Success
        | ResultCode::NoRecordsFound
        | ResultCode::AbortUnsuccessful
        | ResultCode::ProcedureNotCompleted => false,
    }
}
