//! Lines about numbers, times, control points and names.

use alloc::string::String;

use super::Line;
use super::json::{Object, push_display};
use crate::battery::BatteryLevel;
use crate::bytes::Reader;
use crate::current_time::CurrentTime;
use crate::device_information::Text;
use crate::racp::{Operand, Request, Response};
use crate::user_control_point::{OpCode, UserControlPoint};
use crate::{Calendar, DateTime, MedFloat};

pub(super) fn sfloat(bytes: &[u8]) -> Line {
    let mut reader = Reader::new(bytes, 2)?;
    let value = reader.sfloat()?;
    Ok(number(&value, reader.remaining()))
}

pub(super) fn float(bytes: &[u8]) -> Line {
    let mut reader = Reader::new(bytes, 4)?;
    let value = MedFloat::from_float(reader.u32()?);
    Ok(number(&value, reader.remaining()))
}

fn number(value: &MedFloat, trailing_bytes: usize) -> Object {
    let mut object = Object::accepted();
    object.med_float("value", value);
    object.trailing(trailing_bytes);
    object
}

pub(super) fn features(raw: u16, names: impl Iterator<Item = &'static str>, trailing_bytes: usize) -> Object {
    let mut object = Object::accepted();
    object.display("raw", raw);
    object.strings("features", names);
    object.trailing(trailing_bytes);
    object
}

pub(super) fn date_time(bytes: &[u8]) -> Line {
    let decoded = DateTime::decode(bytes)?;
    let mut object = Object::accepted();
    date_fields(&mut object, &decoded.value);
    object.trailing(decoded.trailing_bytes);
    Ok(object)
}

pub(super) fn date_object(value: &DateTime) -> Object {
    let mut object = Object::new();
    date_fields(&mut object, value);
    object
}

fn date_fields(object: &mut Object, value: &DateTime) {
    object.display_or_null("year", value.year);
    object.display_or_null("month", value.month);
    object.display_or_null("day", value.day);
    object.display("hour", value.hour);
    object.display("minute", value.minute);
    object.display("second", value.second);
    match value.calendar() {
        Calendar::Valid => object.bool("valid_calendar", true),
        Calendar::Invalid => object.bool("valid_calendar", false),
        Calendar::Unknown => object.null("valid_calendar"),
    }
}

/// A moment without a zone: `2026-01-01T12:30:00`.
pub(super) fn iso8601(value: &DateTime) -> String {
    alloc::format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
        value.year.unwrap_or(0),
        value.month.unwrap_or(0),
        value.day.unwrap_or(0),
        value.hour,
        value.minute,
        value.second
    )
}

pub(super) fn current_time(bytes: &[u8]) -> Line {
    let decoded = CurrentTime::decode(bytes)?;
    let value = decoded.value;
    let mut object = Object::accepted();
    object.object("time", date_object(&value.time));
    object.display_or_null("day_of_week", value.day_of_week);
    object.display("fractions256", value.fractions256);
    object.strings("adjust", value.adjust.names());
    object.trailing(decoded.trailing_bytes);
    Ok(object)
}

pub(super) fn battery(bytes: &[u8]) -> Line {
    let decoded = BatteryLevel::decode(bytes)?;
    let mut object = Object::accepted();
    object.display("level_pct", decoded.value.0);
    object.trailing(decoded.trailing_bytes);
    Ok(object)
}

pub(super) fn text(bytes: &[u8]) -> Line {
    let decoded = Text::decode(bytes)?;
    let mut object = Object::accepted();
    object.string("text", &decoded.value.0);
    object.trailing(decoded.trailing_bytes);
    Ok(object)
}

pub(super) fn racp_response(bytes: &[u8]) -> Line {
    let decoded = Response::decode(bytes)?;
    let mut object = Object::accepted();
    match decoded.value {
        Response::Number { count, .. } => {
            object.string("kind", "number");
            object.display("count", count);
        }
        Response::CombinedReport { count, .. } => {
            object.string("kind", "combined_report");
            object.display("count", count);
        }
        Response::Result { request_op, code } => {
            object.string("kind", "response");
            object.string("request_op", &request_op.name());
            object.string("code", &code.name());
        }
    }
    object.trailing(decoded.trailing_bytes);
    Ok(object)
}

pub(super) fn racp_request(bytes: &[u8]) -> Line {
    let decoded = Request::decode(bytes)?;
    let value = &decoded.value;
    let mut object = Object::accepted();
    object.string("kind", "request");
    object.string("op", &value.op.name());
    object.string("operator", &value.operator.name());
    match &value.operand {
        Operand::None => {}
        Operand::Sequence(values) => {
            object.string("filter", "sequence");
            object.list("operands", values.iter(), |text, value| {
                push_display(text, value);
            });
        }
        Operand::UserFacingTime(values) => {
            object.string("filter", "user_facing_time");
            object.list("operands", values.iter(), |text, value| {
                text.push_str(&date_object(value).finish());
            });
        }
        Operand::Other { filter, bytes } => {
            object.string("filter", &alloc::format!("unknown_{filter}"));
            object.hex("operand_hex", bytes);
        }
    }
    if let Err(code) = value.check() {
        let answer = Response::result(value.op, code).encode();
        if let Ok(answer) = answer {
            object.hex("server_response_hex", &answer);
        }
    }
    object.trailing(decoded.trailing_bytes);
    Ok(object)
}

pub(super) fn user_control_point(bytes: &[u8]) -> Line {
    let decoded = UserControlPoint::decode(bytes)?;
    let mut object = Object::accepted();
    let request = |object: &mut Object, op: OpCode| {
        object.string("kind", "request");
        object.string("op", &op.name());
    };
    match &decoded.value {
        UserControlPoint::RegisterNewUser { consent_code } => {
            request(&mut object, OpCode::RegisterNewUser);
            object.display("consent_code", consent_code);
        }
        UserControlPoint::Consent {
            user_index,
            consent_code,
        } => {
            request(&mut object, OpCode::Consent);
            object.display("user_index", user_index);
            object.display("consent_code", consent_code);
        }
        UserControlPoint::DeleteUserData => request(&mut object, OpCode::DeleteUserData),
        UserControlPoint::ListAllUsers => request(&mut object, OpCode::ListAllUsers),
        UserControlPoint::DeleteUsers { user_index } => {
            request(&mut object, OpCode::DeleteUsers);
            object.display("user_index", user_index);
        }
        UserControlPoint::UnknownRequest { op, parameter } => {
            request(&mut object, OpCode::Unknown(*op));
            parameter_hex(&mut object, parameter);
        }
        UserControlPoint::Response {
            request_op,
            code,
            parameter,
        } => {
            object.string("kind", "response");
            object.string("request_op", &request_op.name());
            object.string("code", &code.name());
            parameter_hex(&mut object, parameter);
        }
    }
    object.trailing(decoded.trailing_bytes);
    Ok(object)
}

fn parameter_hex(object: &mut Object, parameter: &[u8]) {
    if !parameter.is_empty() {
        object.hex("parameter_hex", parameter);
    }
}
