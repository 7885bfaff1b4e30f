//! Meters that report on request, through the Record Access Control Point (Glucose Service 0x1808).

use std::collections::VecDeque;

use carepost_gatt::racp::{CountWidth, OpCode, ResultCode};
use carepost_gatt::uuid16;

use super::body::{Body, MainService, NewRecord};
use super::encode::RecordError;
use super::faults::{Asked, ContextFault, Fault, RacpFault};
use super::glucose::{GlucoseMeasurement, GlucoseSettings, GlucoseUnit, phantom, values};
use super::racp::{self, Order, Selection};
use super::{Access, Action, AfterConfirm, AttError, RecordId, Uuid16};
use crate::SimTime;

/// A report under way.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Report {
    /// Records still to be sent, in order.
    left: VecDeque<RecordId>,
    next_at: SimTime,
    sent: Vec<RecordId>,
    /// A context that waits for the next record.
    late: Option<(RecordId, Vec<u8>)>,
    /// The phantom has yet to come.
    phantom: bool,
    /// After so many records the report ends with "not completed".
    stops_after: Option<usize>,
    /// An abort was asked for, and so many records still come.
    straggling: Option<usize>,
    /// The answer went out too early.
    answered: bool,
}

/// The state of the control point. One procedure at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Procedure {
    Idle,
    Reporting(Report),
    /// The answer is on its way and not confirmed; the records that it was about.
    Answering(Vec<RecordId>),
}

/// The reporting part of a glucose meter.
#[derive(Clone, Debug)]
pub(crate) struct Reporter {
    unit: GlucoseUnit,
    feature: u16,
    has_context: bool,
    first_sequence: u16,
    allows_delete: bool,
    next_sequence: u16,
    procedure: Procedure,
    /// A request was written on this link.
    asked: bool,
}

impl Reporter {
    pub(crate) fn new(settings: &GlucoseSettings) -> Self {
        Self {
            unit: settings.unit,
            feature: settings.feature,
            has_context: settings.has_context,
            first_sequence: settings.first_sequence,
            allows_delete: settings.allows_delete,
            next_sequence: settings.first_sequence,
            procedure: Procedure::Idle,
            asked: false,
        }
    }

    pub(crate) fn service(&self) -> MainService {
        let mut characteristics = vec![(uuid16::GLUCOSE_MEASUREMENT, Access::NOTIFY)];
        if self.has_context {
            characteristics.push((uuid16::GLUCOSE_CONTEXT, Access::NOTIFY));
        }
        characteristics.push((uuid16::RECORD_ACCESS_CONTROL_POINT, Access::CONTROL_POINT));
        MainService {
            uuid: uuid16::GLUCOSE_SERVICE,
            characteristics,
            feature: Some((uuid16::GLUCOSE_FEATURE, self.feature.to_le_bytes().to_vec())),
        }
    }

    /// Whether it has contexts (2A34).
    pub(crate) fn has_context(&self, body: &Body) -> bool {
        self.has_context && !body.faults.has(Fault::NoContexts)
    }

    /// Takes over numbers from faults that were just switched.
    pub(crate) fn switched(&mut self, body: &Body) {
        let next = body.faults.last(|fault| match fault {
            Fault::NextSequence(next) => Some(*next),
            _ => None,
        });
        if let Some(next) = next.filter(|next| body.memory.made() == 0 || *next > self.next_sequence) {
            self.next_sequence = next;
        }
    }

    /// Makes records of a measurement.
    pub(crate) fn take(
        &mut self,
        body: &mut Body,
        now: SimTime,
        measurement: &GlucoseMeasurement,
        actions: &mut Vec<Action>,
    ) -> Result<(), RecordError> {
        let mut measurement = measurement.clone();
        let has_context = measurement.meal.is_some() || measurement.raw_context.is_some();
        if has_context && !self.has_context {
            return Err(RecordError::NoContext);
        }
        if !self.has_context(body) {
            measurement.meal = None;
            measurement.raw_context = None;
        } else if let Some(meal) = body.faults.last(|fault| match fault {
            Fault::Meal(code) => Some(*code),
            _ => None,
        }) {
            measurement.meal = Some(meal);
        }
        measurement.offset_minutes = measurement.offset_minutes.or(body.user_offset());
        let step = body
            .faults
            .last(|fault| match fault {
                Fault::SequenceStep(step) => Some(*step),
                _ => None,
            })
            .unwrap_or(1);
        let base_time = body.timestamp(measurement.at, now);
        let copies = if body.makes_twins() { 2 } else { 1 };
        for _ in 0..copies {
            let sequence = self.next_sequence;
            let encoded = values(&measurement, sequence, self.unit, base_time)?;
            self.next_sequence = sequence.wrapping_add(step);
            let new = NewRecord {
                sequence: Some(sequence),
                user_time: encoded.user_time,
                slot: None,
                value: encoded.value,
                context: encoded.context,
            };
            body.store(new, actions);
            if body.forgets_now() {
                self.next_sequence = self.first_sequence;
                self.procedure = Procedure::Idle;
            }
        }
        Ok(())
    }

    pub(crate) fn connected(&mut self) {
        self.procedure = Procedure::Idle;
        self.asked = false;
    }

    /// A procedure dies with its link, without an answer; what was sent stays sent.
    pub(crate) fn disconnected(&mut self) {
        self.procedure = Procedure::Idle;
    }

    /// Nothing can be sent to who wants nothing any more: the procedure ends without an answer.
    pub(crate) fn unsubscribed(&mut self, characteristic: Uuid16) {
        let carries = [uuid16::GLUCOSE_MEASUREMENT, uuid16::RECORD_ACCESS_CONTROL_POINT];
        if carries.contains(&characteristic) {
            self.procedure = Procedure::Idle;
        }
    }

    pub(crate) fn confirmed(&mut self, body: &mut Body, actions: &mut Vec<Action>) {
        let Procedure::Answering(reported) = &self.procedure else {
            return;
        };
        let reported = reported.clone();
        self.procedure = Procedure::Idle;
        if reported.is_empty() {
            return;
        }
        let extra = body.faults.racp(|fault| match fault {
            RacpFault::Extra(count) => Some(*count),
            _ => None,
        });
        let again = reported
            .iter()
            .rev()
            .take(extra.unwrap_or(0))
            .copied()
            .collect::<Vec<_>>();
        for id in again.into_iter().rev() {
            notify_record(body, id, actions);
        }
        if body.after_confirm() == Some(AfterConfirm::Delete) {
            actions.extend(
                reported
                    .into_iter()
                    .filter(|id| body.memory.remove(*id))
                    .map(Action::Deleted),
            );
        }
    }

    pub(crate) fn deadline(&self) -> Option<SimTime> {
        match &self.procedure {
            Procedure::Reporting(report) => Some(report.next_at),
            Procedure::Idle | Procedure::Answering(_) => None,
        }
    }

    /// Takes a write to the control point.
    pub(crate) fn write(&mut self, body: &mut Body, now: SimTime, value: &[u8], actions: &mut Vec<Action>) {
        let refused = match self.admit(body, value) {
            Ok((op, order)) => {
                actions.push(Action::Written);
                self.carry_out(body, now, op, order, actions);
                return;
            }
            Err(error) => error,
        };
        actions.push(Action::Refused(refused));
    }

    /// The order in a request that may be carried out.
    fn admit(&mut self, body: &Body, value: &[u8]) -> Result<(OpCode, Result<Order, ResultCode>), AttError> {
        if !body.radio.is_subscribed(uuid16::RECORD_ACCESS_CONTROL_POINT) {
            return Err(AttError::ConfigurationImproper);
        }
        let first = !std::mem::replace(&mut self.asked, true);
        let refusal = body.faults.racp(|fault| match fault {
            RacpFault::BusyAtFirst => Some(AttError::ProcedureInProgress),
            RacpFault::ImproperAtFirst => Some(AttError::ConfigurationImproper),
            _ => None,
        });
        if let Some(error) = refusal.filter(|_| first) {
            return Err(error);
        }
        let (op, order) = racp::decide(value)?;
        let busy = self.procedure != Procedure::Idle;
        if busy && order != Ok(Order::Abort) {
            return Err(AttError::ProcedureInProgress);
        }
        if matches!(order, Ok(Order::Report(_))) && !body.radio.is_subscribed(uuid16::GLUCOSE_MEASUREMENT) {
            return Err(AttError::ConfigurationImproper);
        }
        Ok((op, order))
    }

    fn carry_out(
        &mut self,
        body: &mut Body,
        now: SimTime,
        op: OpCode,
        order: Result<Order, ResultCode>,
        actions: &mut Vec<Action>,
    ) {
        let order = match (refusal(body, &order), order) {
            (Some(code), Ok(_)) => Err(code),
            (_, order) => order,
        };
        match order {
            Err(code) => self.answer(body, racp::result(op, code), Vec::new(), actions),
            Ok(Order::Abort) => self.abort(body, actions),
            Ok(Order::Count(selection)) => {
                let count = select(body, &selection).len();
                self.answer(
                    body,
                    racp::count(counted(body, count), count_width(body)),
                    Vec::new(),
                    actions,
                );
            }
            Ok(Order::Delete(_)) if !self.allows_delete => {
                self.answer(
                    body,
                    racp::result(op, ResultCode::OpCodeNotSupported),
                    Vec::new(),
                    actions,
                );
            }
            Ok(Order::Delete(selection)) => {
                let selected = select(body, &selection);
                let code = if selected.is_empty() {
                    ResultCode::NoRecordsFound
                } else {
                    ResultCode::Success
                };
                actions.extend(
                    selected
                        .into_iter()
                        .filter(|id| body.memory.remove(*id))
                        .map(Action::Deleted),
                );
                self.answer(body, racp::result(op, code), Vec::new(), actions);
            }
            Ok(Order::Report(selection)) => self.start(body, now, op, &selection, actions),
        }
    }

    fn start(&mut self, body: &Body, now: SimTime, op: OpCode, selection: &Selection, actions: &mut Vec<Action>) {
        let mut left = select(body, selection);
        if left.is_empty() {
            self.answer(body, racp::result(op, ResultCode::NoRecordsFound), Vec::new(), actions);
            return;
        }
        if body.faults.has(Fault::NewestFirst) {
            left.make_contiguous().reverse();
        }
        let phantom = body.faults.last(|fault| match fault {
            Fault::Phantom(stored) => Some(body.memory.len() >= *stored),
            _ => None,
        });
        let halfway = body
            .faults
            .racp(|fault| (*fault == RacpFault::StopsHalfway).then_some(left.len().div_ceil(2)));
        self.procedure = Procedure::Reporting(Report {
            phantom: phantom.unwrap_or(false) && *selection != Selection::First,
            stops_after: halfway,
            left,
            next_at: now,
            sent: Vec::new(),
            late: None,
            straggling: None,
            answered: false,
        });
    }

    fn abort(&mut self, body: &Body, actions: &mut Vec<Action>) {
        let straggling = body.faults.racp(|fault| match fault {
            RacpFault::Straggling(count) => Some(*count),
            _ => None,
        });
        match (&mut self.procedure, straggling) {
            (Procedure::Reporting(report), Some(count)) => report.straggling = Some(count),
            _ => self.answer(
                body,
                racp::result(OpCode::Abort, ResultCode::Success),
                Vec::new(),
                actions,
            ),
        }
    }

    fn answer(&mut self, body: &Body, value: Vec<u8>, reported: Vec<RecordId>, actions: &mut Vec<Action>) {
        if body.faults.has(Fault::Racp(RacpFault::Silent)) {
            self.procedure = Procedure::Idle;
            return;
        }
        self.procedure = Procedure::Answering(reported);
        actions.push(indication(value));
    }

    /// Sends one record, or the final answer after the last. One step a call, so that a lost link loses nothing that
    /// was not sent.
    pub(crate) fn report_next(&mut self, body: &mut Body, now: SimTime, actions: &mut Vec<Action>) {
        let Procedure::Reporting(report) = &mut self.procedure else {
            return;
        };
        if now < report.next_at || body.radio.is_lost() {
            return;
        }
        if report.straggling == Some(0) {
            let done = racp::result(OpCode::Abort, ResultCode::Success);
            self.answer(body, done, Vec::new(), actions);
            return;
        }
        if report.stops_after == Some(report.sent.len()) {
            let stopped = racp::result(OpCode::ReportRecords, ResultCode::ProcedureNotCompleted);
            self.answer(body, stopped, Vec::new(), actions);
            return;
        }
        let early = body.faults.has(Fault::Racp(RacpFault::AnswersEarly));
        if early && report.left.len() == 1 && !report.answered {
            report.answered = true;
            actions.push(indication(racp::result(OpCode::ReportRecords, ResultCode::Success)));
        }
        let Some(id) = report.left.pop_front() else {
            self.finish(body, actions);
            return;
        };
        report.next_at = now.saturating_add(body.pace());
        report.straggling = report.straggling.map(|left| left.saturating_sub(1));
        body.radio.traffic(now);
        // A record may have been overwritten by a new measurement since the request.
        if body.memory.get(id).is_none() {
            return;
        }
        report.sent.push(id);
        body.memory.mark_sent(id);
        let copies = if body.faults.has(Fault::Duplicates) { 2 } else { 1 };
        for _ in 0..copies {
            let late = report.late.take();
            report.late = notify_record(body, id, actions);
            if let Some((id, context)) = late {
                actions.push(context_notification(id, context));
            }
        }
        body.radio.record_passed();
    }

    /// All records are out: what was held back follows, then the answer.
    fn finish(&mut self, body: &Body, actions: &mut Vec<Action>) {
        let Procedure::Reporting(report) = &mut self.procedure else {
            return;
        };
        if let Some((id, context)) = report.late.take() {
            actions.push(context_notification(id, context));
        }
        if std::mem::take(&mut report.phantom) {
            actions.push(Action::Notify {
                characteristic: uuid16::GLUCOSE_MEASUREMENT,
                value: phantom(self.next_sequence, self.unit),
                record: RecordId::NONE,
            });
        }
        let aborted = report.straggling.is_some();
        let silent = report.answered || body.faults.has(Fault::Racp(RacpFault::NoAnswer));
        let sent = std::mem::take(&mut report.sent);
        if silent && !aborted {
            self.procedure = Procedure::Idle;
            return;
        }
        let op = if aborted { OpCode::Abort } else { OpCode::ReportRecords };
        self.answer(body, racp::result(op, ResultCode::Success), sent, actions);
    }
}

/// The code with which a fault refuses a good order.
fn refusal(body: &Body, order: &Result<Order, ResultCode>) -> Option<ResultCode> {
    let order = order.as_ref().ok()?;
    body.faults.racp(|fault| match (fault, order) {
        (RacpFault::Refuses(Asked::Anything, code), _)
        | (RacpFault::Refuses(Asked::Report, code), Order::Report(_))
        | (RacpFault::Refuses(Asked::Number, code), Order::Count(_))
        | (RacpFault::Refuses(Asked::Abort, code), Order::Abort) => Some(ResultCode::from_code(*code)),
        _ => None,
    })
}

fn counted(body: &Body, count: usize) -> usize {
    let off = body.faults.racp(|fault| match fault {
        RacpFault::CountOff(off) => Some(isize::from(*off)),
        _ => None,
    });
    count.saturating_add_signed(off.unwrap_or(0))
}

fn count_width(body: &Body) -> CountWidth {
    let width = body.faults.racp(|fault| match fault {
        RacpFault::CountWidth(width) => Some(*width),
        _ => None,
    });
    width.unwrap_or(CountWidth::Two)
}

/// The selected records, oldest first.
fn select(body: &Body, selection: &Selection) -> VecDeque<RecordId> {
    let records = body.memory.iter();
    match selection {
        Selection::All => records.map(|record| record.id).collect(),
        Selection::First => records.take(1).map(|record| record.id).collect(),
        Selection::Last => records.rev().take(1).map(|record| record.id).collect(),
        Selection::Sequence(range) => records
            .filter(|record| record.sequence.is_some_and(|sequence| range.contains(&sequence)))
            .map(|record| record.id)
            .collect(),
        Selection::Time(range) => records
            .filter(|record| record.user_time.is_some_and(|time| range.contains(&time)))
            .map(|record| record.id)
            .collect(),
    }
}

/// Notifies a record and its context as the faults have it; gives back a context that shall come later.
fn notify_record(body: &Body, id: RecordId, actions: &mut Vec<Action>) -> Option<(RecordId, Vec<u8>)> {
    let record = body.memory.get(id)?;
    let measurement = Action::Notify {
        characteristic: uuid16::GLUCOSE_MEASUREMENT,
        value: body.on_air(uuid16::GLUCOSE_MEASUREMENT, &record.value, id),
        record: id,
    };
    let fault = body.faults.context();
    let wanted = body.radio.is_subscribed(uuid16::GLUCOSE_CONTEXT) && fault != Some(ContextFault::Missing);
    let Some(context) = record.context.as_ref().filter(|_| wanted) else {
        actions.push(measurement);
        return None;
    };
    let context = body.context_on_air(context, id);
    match fault {
        Some(ContextFault::Late) => {
            actions.push(measurement);
            return Some((id, context));
        }
        Some(ContextFault::Early) => actions.extend([context_notification(id, context), measurement]),
        _ => actions.extend([measurement, context_notification(id, context)]),
    }
    None
}

fn context_notification(record: RecordId, value: Vec<u8>) -> Action {
    Action::Notify {
        characteristic: uuid16::GLUCOSE_CONTEXT,
        value,
        record,
    }
}

fn indication(value: Vec<u8>) -> Action {
    Action::Indicate {
        characteristic: uuid16::RECORD_ACCESS_CONTROL_POINT,
        value,
        record: None,
    }
}
