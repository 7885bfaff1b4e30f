//! The decisions of the Record Access Control Point (2A52): what a request asks for, and what is wrong with it.
//!
//! Pure of state: the glucose meter applies the order to its memory. Rules: Glucose Service 1.0, section 3.5.

use std::ops::RangeInclusive;

use carepost_gatt::racp::{CountWidth, OpCode, Operand, Operator, Request, Response, ResultCode};
use chrono::NaiveDateTime;

use super::AttError;
use super::clock::from_date_time;

/// What a well-formed request wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Send the selected records.
    Report(Selection),
    /// Delete the selected records.
    Delete(Selection),
    /// Say how many records are selected.
    Count(Selection),
    /// Stop what is under way.
    Abort,
}

/// Which records a request means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    /// All.
    All,
    /// The oldest.
    First,
    /// The newest.
    Last,
    /// By sequence number.
    Sequence(RangeInclusive<u16>),
    /// By the user's time.
    Time(RangeInclusive<NaiveDateTime>),
}

/// Reads a written request: its op code, and the order or the result code that refuses it.
///
/// # Errors
/// `InvalidLength` when there is not even an op code and an operator, so that no answer could name a request.
pub(crate) fn decide(value: &[u8]) -> Result<(OpCode, Result<Order, ResultCode>), AttError> {
    let decoded = Request::decode(value).map_err(|_| AttError::InvalidLength)?;
    let order = order(&decoded.value).and_then(|order| {
        if decoded.trailing_bytes == 0 {
            Ok(order)
        } else {
            Err(ResultCode::InvalidOperand)
        }
    });
    Ok((decoded.value.op, order))
}

fn order(request: &Request) -> Result<Order, ResultCode> {
    request.check()?;
    match request.op {
        OpCode::ReportRecords => selection(request).map(Order::Report),
        OpCode::DeleteRecords => selection(request).map(Order::Delete),
        OpCode::ReportNumber => selection(request).map(Order::Count),
        OpCode::Abort => Ok(Order::Abort),
        OpCode::CombinedReport | OpCode::Unknown(_) => Err(ResultCode::OpCodeNotSupported),
    }
}

fn selection(request: &Request) -> Result<Selection, ResultCode> {
    match (&request.operator, &request.operand) {
        (Operator::All, _) => Ok(Selection::All),
        (Operator::First, _) => Ok(Selection::First),
        (Operator::Last, _) => Ok(Selection::Last),
        (operator, Operand::Sequence(values)) => range(*operator, values, u16::MIN, u16::MAX)
            .map(Selection::Sequence)
            .ok_or(ResultCode::InvalidOperand),
        (operator, Operand::UserFacingTime(values)) => {
            let times: Option<Vec<NaiveDateTime>> = values.iter().map(from_date_time).collect();
            times
                .and_then(|times| range(*operator, &times, NaiveDateTime::MIN, NaiveDateTime::MAX))
                .map(Selection::Time)
                .ok_or(ResultCode::InvalidOperand)
        }
        (_, Operand::Other { .. }) => Err(ResultCode::OperandNotSupported),
        (_, Operand::None) => Err(ResultCode::InvalidOperand),
    }
}

fn range<T: Copy>(operator: Operator, values: &[T], min: T, max: T) -> Option<RangeInclusive<T>> {
    match (operator, values) {
        (Operator::LessOrEqual, [last]) => Some(min..=*last),
        (Operator::GreaterOrEqual, [first]) => Some(*first..=max),
        (Operator::Range, [first, last]) => Some(*first..=*last),
        _ => None,
    }
}

/// The answer that ends a procedure.
pub(crate) fn result(op: OpCode, code: ResultCode) -> Vec<u8> {
    let answer = Response::result(op, code).encode();
    answer.expect("op codes that were decoded and result codes with names can be encoded")
}

/// The answer to a count. What does not fit the width is its highest number.
pub(crate) fn count(records: usize, width: CountWidth) -> Vec<u8> {
    let most = match width {
        CountWidth::One => u32::from(u8::MAX),
        CountWidth::Two => u32::from(u16::MAX),
        CountWidth::Four => u32::MAX,
    };
    let count = u32::try_from(records).unwrap_or(u32::MAX).min(most);
    let answer = Response::Number { count, width }.encode();
    answer.expect("a count fits its width")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_refused_with_the_code_of_the_service() {
        let cases: [(&[u8], ResultCode); 12] = [
            (&[1, 0], ResultCode::InvalidOperator),
            (&[1, 7], ResultCode::OperatorNotSupported),
            (&[0x0B, 1], ResultCode::OpCodeNotSupported),
            (&[7, 1], ResultCode::OpCodeNotSupported),
            (&[3, 1], ResultCode::InvalidOperator),
            (&[3, 0, 1], ResultCode::InvalidOperand),
            (&[1, 1, 1, 0, 0], ResultCode::InvalidOperand),
            (&[1, 2, 1], ResultCode::InvalidOperand),
            (&[1, 4, 1, 10, 0, 5, 0], ResultCode::InvalidOperand),
            (&[1, 3, 1, 5, 0, 9], ResultCode::InvalidOperand),
            (&[1, 3, 9, 5, 0], ResultCode::OperandNotSupported),
            (&[4, 3], ResultCode::InvalidOperand),
        ];
        for (request, code) in cases {
            assert_eq!(decide(request).unwrap().1, Err(code), "{request:02x?}");
        }
        assert_eq!(decide(&[1]), Err(AttError::InvalidLength));
        assert_eq!(decide(&[]), Err(AttError::InvalidLength));
    }

    #[test]
    fn operators_become_ranges() {
        let selections: [(&[u8], Selection); 6] = [
            (&[1, 1], Selection::All),
            (&[1, 5], Selection::First),
            (&[1, 6], Selection::Last),
            (&[1, 2, 1, 9, 0], Selection::Sequence(0..=9)),
            (&[1, 3, 1, 9, 0], Selection::Sequence(9..=u16::MAX)),
            (&[1, 4, 1, 5, 0, 9, 1], Selection::Sequence(5..=265)),
        ];
        for (request, selection) in selections {
            assert_eq!(
                decide(request).unwrap().1,
                Ok(Order::Report(selection)),
                "{request:02x?}"
            );
        }
    }
}
