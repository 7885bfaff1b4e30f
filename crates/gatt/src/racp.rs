//! Record Access Control Point 2A52: requests to a meter and its answers, in both directions.

use alloc::vec::Vec;

use crate::bytes::{MAX_ATTRIBUTE_BYTES, Reader, put_date_time};
use crate::codes::coded_enum;
use crate::{DateTime, DecodeError, Decoded, EncodeError};

const OP_NUMBER_RESPONSE: u8 = 5;
const OP_RESPONSE: u8 = 6;
const OP_COMBINED_RESPONSE: u8 = 8;
const OPERATOR_NULL: u8 = 0;

/// Operands that are read: a range has two.
const MAX_OPERANDS: usize = 2;

coded_enum! {
    /// What a request asks for.
    pub enum OpCode, field "op", unknown "unknown_" {
        /// Report stored records.
        1 => ReportRecords "report",
        /// Delete stored records. Carepost never sends it.
        2 => DeleteRecords "delete",
        /// Abort the running procedure.
        3 => Abort "abort",
        /// Report the number of stored records.
        4 => ReportNumber "number",
        /// Report records and then their number; newer services only, hence printed as an unknown code.
        7 => CombinedReport "unknown_7",
    }
}

coded_enum! {
    /// Which records a request means.
    pub enum Operator, field "operator", unknown "unknown_" {
        /// No records: for abort.
        0 => Null "null",
        /// All records.
        1 => All "all",
        /// Less than or equal to the operand.
        2 => LessOrEqual "le",
        /// Greater than or equal to the operand.
        3 => GreaterOrEqual "ge",
        /// Within the two operands, inclusive.
        4 => Range "range",
        /// The first, that is the oldest, record.
        5 => First "first",
        /// The last, that is the newest, record.
        6 => Last "last",
    }
}

coded_enum! {
    /// How a request ended.
    pub enum ResultCode, field "code", unknown "unknown_" {
        /// Done.
        1 => Success "success",
        /// The meter does not know the op code.
        2 => OpCodeNotSupported "op_code_not_supported",
        /// The operator does not go with the op code.
        3 => InvalidOperator "invalid_operator",
        /// The meter does not know the operator.
        4 => OperatorNotSupported "operator_not_supported",
        /// The operand does not go with the operator, or is missing.
        5 => InvalidOperand "invalid_operand",
        /// No record matches.
        6 => NoRecordsFound "no_records_found",
        /// Abort failed.
        7 => AbortUnsuccessful "abort_unsuccessful",
        /// The procedure ended early.
        8 => ProcedureNotCompleted "procedure_not_completed",
        /// The meter does not know the filter type.
        9 => OperandNotSupported "operand_not_supported",
    }
}

/// Filter type and values of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Operand {
    /// No operand.
    None,
    /// Filter type 1 with the sequence numbers that arrived whole: one, for a range minimum and maximum; fewer if
    /// the request is broken.
    Sequence(Vec<u16>),
    /// Filter type 2 with the times that arrived whole.
    UserFacingTime(Vec<DateTime>),
    /// Another filter type with its bytes as sent.
    Other {
        /// Filter type.
        filter: u8,
        /// Bytes after the filter type.
        bytes: Vec<u8>,
    },
}

impl Operand {
    const SEQUENCE: u8 = 1;
    const USER_FACING_TIME: u8 = 2;

    /// Filter type as sent.
    #[must_use]
    pub const fn filter(&self) -> Option<u8> {
        match self {
            Self::None => None,
            Self::Sequence(_) => Some(Self::SEQUENCE),
            Self::UserFacingTime(_) => Some(Self::USER_FACING_TIME),
            Self::Other { filter, .. } => Some(*filter),
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if reader.remaining() == 0 {
            return Ok(Self::None);
        }
        Ok(match reader.u8()? {
            Self::SEQUENCE => {
                let mut values = Vec::new();
                while values.len() < MAX_OPERANDS && reader.remaining() >= 2 {
                    values.push(reader.u16()?);
                }
                Self::Sequence(values)
            }
            Self::USER_FACING_TIME => {
                let mut values = Vec::new();
                while values.len() < MAX_OPERANDS && reader.remaining() >= DateTime::LENGTH {
                    values.push(reader.date_time()?);
                }
                Self::UserFacingTime(values)
            }
            filter => {
                let mut bytes = Vec::new();
                while bytes.len() < MAX_ATTRIBUTE_BYTES && reader.remaining() > 0 {
                    bytes.push(reader.u8()?);
                }
                Self::Other { filter, bytes }
            }
        })
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        const TOO_MANY: EncodeError = EncodeError::TooLong {
            field: "operand",
            limit: MAX_OPERANDS,
        };
        match self {
            Self::None => {}
            Self::Sequence(values) => {
                out.push(Self::SEQUENCE);
                if values.len() > MAX_OPERANDS {
                    return Err(TOO_MANY);
                }
                for value in values {
                    out.extend_from_slice(&value.to_le_bytes());
                }
            }
            Self::UserFacingTime(values) => {
                out.push(Self::USER_FACING_TIME);
                if values.len() > MAX_OPERANDS {
                    return Err(TOO_MANY);
                }
                for value in values {
                    put_date_time(out, value)?;
                }
            }
            Self::Other {
                filter: Self::SEQUENCE | Self::USER_FACING_TIME,
                ..
            } => return Err(EncodeError::OutOfRange { field: "filter" }),
            Self::Other { filter, bytes } => {
                if bytes.len() > MAX_ATTRIBUTE_BYTES {
                    return Err(EncodeError::TooLong {
                        field: "operand",
                        limit: MAX_ATTRIBUTE_BYTES,
                    });
                }
                out.push(*filter);
                out.extend_from_slice(bytes);
            }
        }
        Ok(())
    }

    /// Checks that there are `count` values in ascending order.
    fn check(&self, count: usize) -> Result<(), ResultCode> {
        let fits = match self {
            Self::None => false,
            Self::Sequence(values) => values.len() == count && values.is_sorted(),
            Self::UserFacingTime(values) => {
                let times: Option<Vec<i64>> = values.iter().map(DateTime::as_if_utc_ms).collect();
                times.is_some_and(|times| times.len() == count && times.is_sorted())
            }
            Self::Other { .. } => return Err(ResultCode::OperandNotSupported),
        };
        if fits { Ok(()) } else { Err(ResultCode::InvalidOperand) }
    }
}

/// A request written to the control point.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Request {
    /// What is asked for.
    pub op: OpCode,
    /// Which records are meant.
    pub operator: Operator,
    /// Filter and values.
    pub operand: Operand,
}

impl Request {
    /// A request without operand.
    #[must_use]
    pub const fn new(op: OpCode, operator: Operator) -> Self {
        Self {
            op,
            operator,
            operand: Operand::None,
        }
    }

    /// Report all stored records.
    #[must_use]
    pub const fn report_all() -> Self {
        Self::new(OpCode::ReportRecords, Operator::All)
    }

    /// Report the newest record.
    #[must_use]
    pub const fn report_last() -> Self {
        Self::new(OpCode::ReportRecords, Operator::Last)
    }

    /// Report the records with `sequence` or a higher number.
    #[must_use]
    pub fn report_from(sequence: u16) -> Self {
        Self {
            op: OpCode::ReportRecords,
            operator: Operator::GreaterOrEqual,
            operand: Operand::Sequence(alloc::vec![sequence]),
        }
    }

    /// Report the number of all stored records.
    #[must_use]
    pub const fn number_of_all() -> Self {
        Self::new(OpCode::ReportNumber, Operator::All)
    }

    /// Abort the running procedure.
    #[must_use]
    pub const fn abort() -> Self {
        Self::new(OpCode::Abort, Operator::Null)
    }

    /// Reads a request. Op codes, operators and filters that are not known are kept.
    ///
    /// # Errors
    /// `TooShort` below two bytes. A missing operand is no decoding error: see [`Request::check`].
    pub fn decode(bytes: &[u8]) -> Result<Decoded<Self>, DecodeError> {
        let mut reader = Reader::new(bytes, 2)?;
        let value = Self {
            op: OpCode::from_code(reader.u8()?),
            operator: Operator::from_code(reader.u8()?),
            operand: Operand::decode(&mut reader)?,
        };
        Ok(reader.finish(value))
    }

    /// Writes the request.
    ///
    /// # Errors
    /// If a code or operand has no place in the packet.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let mut out = alloc::vec![self.op.checked_code(u8::MAX)?, self.operator.checked_code(u8::MAX)?,];
        self.operand.encode(&mut out)?;
        Ok(out)
    }

    /// Whether a glucose meter that knows every operator and filter can carry the request out.
    ///
    /// # Errors
    /// The result code with which it refuses.
    pub fn check(&self) -> Result<(), ResultCode> {
        match self.op {
            OpCode::ReportRecords | OpCode::DeleteRecords | OpCode::ReportNumber => {}
            OpCode::Abort if self.operator != Operator::Null => {
                return Err(ResultCode::InvalidOperator);
            }
            OpCode::Abort => {}
            OpCode::CombinedReport | OpCode::Unknown(_) => {
                return Err(ResultCode::OpCodeNotSupported);
            }
        }
        match self.operator {
            Operator::Null if self.op != OpCode::Abort => Err(ResultCode::InvalidOperator),
            Operator::Null | Operator::All | Operator::First | Operator::Last => {
                if self.operand == Operand::None {
                    Ok(())
                } else {
                    Err(ResultCode::InvalidOperand)
                }
            }
            Operator::LessOrEqual | Operator::GreaterOrEqual => self.operand.check(1),
            Operator::Range => self.operand.check(2),
            Operator::Unknown(_) => Err(ResultCode::OperatorNotSupported),
        }
    }
}

/// Width of a record count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CountWidth {
    /// One byte.
    One,
    /// Two bytes: the width of the Glucose Service.
    Two,
    /// Four bytes.
    Four,
}

/// An answer indicated by the control point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Response {
    /// Number of stored records. Advisory: it may change between requests.
    Number {
        /// Records that match.
        count: u32,
        /// Width in which the count was sent.
        width: CountWidth,
    },
    /// A request ended.
    Result {
        /// Op code of the request.
        request_op: OpCode,
        /// How it ended.
        code: ResultCode,
    },
    /// A combined report ended; newer services only.
    CombinedReport {
        /// Records that were sent.
        count: u32,
        /// Width in which the count was sent.
        width: CountWidth,
    },
}

impl Response {
    /// A count as a glucose meter sends it.
    #[must_use]
    pub fn number(count: u16) -> Self {
        Self::Number {
            count: u32::from(count),
            width: CountWidth::Two,
        }
    }

    /// How a request of `request_op` ended.
    #[must_use]
    pub const fn result(request_op: OpCode, code: ResultCode) -> Self {
        Self::Result { request_op, code }
    }

    /// Reads an answer.
    ///
    /// # Errors
    /// `NotAResponseOpCode`, `OperatorMustBeNull`, `BadCountWidth` or `TooShort`.
    pub fn decode(bytes: &[u8]) -> Result<Decoded<Self>, DecodeError> {
        let op = Reader::new(bytes, 1)?.u8()?;
        let need = match op {
            OP_NUMBER_RESPONSE | OP_COMBINED_RESPONSE => 3,
            OP_RESPONSE => 4,
            got => return Err(DecodeError::NotAResponseOpCode { got }),
        };
        match bytes.get(1) {
            None | Some(&OPERATOR_NULL) => {}
            Some(&got) => return Err(DecodeError::OperatorMustBeNull { got }),
        }
        let mut reader = Reader::new(bytes, need)?;
        // Op code and operator are known by now.
        reader.u16()?;
        let value = match op {
            OP_RESPONSE => Self::Result {
                request_op: OpCode::from_code(reader.u8()?),
                code: ResultCode::from_code(reader.u8()?),
            },
            OP_NUMBER_RESPONSE => {
                let (count, width) = decode_count(&mut reader)?;
                Self::Number { count, width }
            }
            _ => {
                let (count, width) = decode_count(&mut reader)?;
                Self::CombinedReport { count, width }
            }
        };
        Ok(reader.finish(value))
    }

    /// Writes the answer.
    ///
    /// # Errors
    /// `OutOfRange` if a count exceeds its width or a code would decode as something else.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        match *self {
            Self::Number { count, width } => encode_count(OP_NUMBER_RESPONSE, count, width),
            Self::CombinedReport { count, width } => encode_count(OP_COMBINED_RESPONSE, count, width),
            Self::Result { request_op, code } => Ok(alloc::vec![
                OP_RESPONSE,
                OPERATOR_NULL,
                request_op.checked_code(u8::MAX)?,
                code.checked_code(u8::MAX)?,
            ]),
        }
    }
}

fn decode_count(reader: &mut Reader<'_>) -> Result<(u32, CountWidth), DecodeError> {
    match reader.remaining() {
        1 => Ok((u32::from(reader.u8()?), CountWidth::One)),
        2 => Ok((u32::from(reader.u16()?), CountWidth::Two)),
        4 => Ok((reader.u32()?, CountWidth::Four)),
        got => Err(DecodeError::BadCountWidth { got }),
    }
}

fn encode_count(op: u8, count: u32, width: CountWidth) -> Result<Vec<u8>, EncodeError> {
    const TOO_WIDE: EncodeError = EncodeError::OutOfRange { field: "count" };
    let mut out = alloc::vec![op, OPERATOR_NULL];
    match width {
        CountWidth::One => out.push(u8::try_from(count).map_err(|_| TOO_WIDE)?),
        CountWidth::Two => {
            let count = u16::try_from(count).map_err(|_| TOO_WIDE)?;
            out.extend_from_slice(&count.to_le_bytes());
        }
        CountWidth::Four => out.extend_from_slice(&count.to_le_bytes()),
    }
    Ok(out)
}
