//! `GET /members/{id}/readings`: readings with their provenance, the newest first.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use carepost_domain::id::{GatewayId, MemberId, MeterId, ReadingId};
use carepost_domain::people::Member;
use carepost_domain::quirks::QuirkId;
use carepost_domain::reading::{Attribution, Flag, Measurement, Place, Slot};
use carepost_domain::time::MeasuredTime;
use carepost_store::model::{ReadingCursor, StoredReading};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::app::AppState;
use crate::auth::Staff;
use crate::web::catalogue::{Language, Texts};
use crate::web::words;

use super::input::{Params, PathId, page_size};
use super::{Problem, scope};

/// Rows of a page that names no limit.
const DEFAULT_PAGE: u32 = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    /// The `next` of the page before.
    #[serde(default)]
    cursor: Option<String>,
    #[serde(default)]
    limit: Option<u32>,
}

#[derive(Serialize)]
pub(super) struct ReadingList {
    readings: Vec<ReadingBody>,
    /// For the next page; absent on the last.
    next: Option<String>,
}

#[derive(Serialize)]
pub(super) struct ReadingBody {
    id: ReadingId,
    member: MemberId,
    meter: MeterId,
    gateway: GatewayId,
    place: Place,
    attribution: Attribution,
    measured_at: DateTime<Utc>,
    time: MeasuredTime,
    captured_at: DateTime<Utc>,
    received_at: DateTime<Utc>,
    kind: &'static str,
    /// Exact, as measured; `shown` is for people.
    measurement: Measurement,
    shown: Shown,
    flags: Vec<Flag>,
    slot: Option<Slot>,
    characteristic: String,
    raw: String,
    context_raw: Option<String>,
    /// The entry of the quirk table by which the bytes were read, where they mean something else than the specification says.
    quirk: Option<QuirkId>,
}

/// Whole mmHg and beats per minute, glucose as the meter's unit shows it, and anything else in metric units, with its words.
#[derive(Serialize)]
#[serde(untagged)]
enum Shown {
    BloodPressure {
        systolic_mmhg: i64,
        diastolic_mmhg: i64,
        pulse_per_min: Option<i64>,
    },
    Glucose {
        value: String,
    },
    Other {
        value: String,
        unit: &'static str,
        /// As the meter sent it, where that was in another unit.
        sent: Option<String>,
        pulse_per_min: Option<i64>,
        /// What it is, and where on the body, by language.
        words: BTreeMap<&'static str, String>,
    },
}

impl From<&Measurement> for Shown {
    fn from(measurement: &Measurement) -> Self {
        use carepost_domain::units::GlucoseLevel;
        match measurement {
            Measurement::BloodPressure(bp) => Self::BloodPressure {
                systolic_mmhg: bp.systolic.rounded_mmhg(),
                diastolic_mmhg: bp.diastolic.rounded_mmhg(),
                pulse_per_min: bp.pulse.map(carepost_domain::units::PulseRate::rounded_per_min),
            },
            Measurement::Glucose(glucose) => Self::Glucose {
                value: match glucose.level {
                    GlucoseLevel::Value(value) => value.to_string(),
                    GlucoseLevel::AboveRange { .. } => "HI".to_owned(),
                    GlucoseLevel::BelowRange { .. } => "LO".to_owned(),
                },
            },
            Measurement::Weight(_) | Measurement::Temperature(_) | Measurement::OxygenSaturation(_) => {
                let number = words::other_number(measurement);
                Self::Other {
                    value: number.value,
                    unit: number.unit,
                    sent: number.sent,
                    pulse_per_min: number.pulse_per_min,
                    words: Language::ALL
                        .into_iter()
                        .map(|language| (language.tag(), words::other_kind(Texts(language), measurement)))
                        .collect(),
                }
            }
        }
    }
}

impl From<StoredReading> for ReadingBody {
    fn from(stored: StoredReading) -> Self {
        let reading = stored.reading;
        Self {
            id: reading.id,
            member: reading.member,
            meter: reading.meter,
            gateway: stored.gateway,
            place: reading.place,
            attribution: reading.attribution,
            measured_at: reading.time.at,
            time: reading.time,
            captured_at: reading.captured_at,
            received_at: stored.received_at,
            kind: reading.measurement.kind_code(),
            shown: Shown::from(&reading.measurement),
            measurement: reading.measurement,
            flags: reading.flags,
            slot: reading.slot,
            characteristic: format!("{:04X}", reading.characteristic),
            raw: hex::encode_upper(&reading.raw),
            context_raw: reading.context_raw.as_deref().map(hex::encode_upper),
            quirk: reading.quirk,
        }
    }
}

pub(super) async fn list(
    State(state): State<AppState>,
    staff: Staff,
    PathId(member): PathId<Member>,
    Params(page): Params<Page>,
) -> Result<Json<ReadingList>, Problem> {
    let limit = page_size(page.limit, DEFAULT_PAGE)?;
    let before = page.cursor.as_deref().map(parse_cursor).transpose()?;
    scope::member(&state, &staff, member).await?;
    let page = state
        .store
        .readings(&staff.by(state.clock.now()), member, before, limit)
        .await?;
    Ok(Json(ReadingList {
        readings: page.readings.into_iter().map(ReadingBody::from).collect(),
        next: page.next.map(print_cursor),
    }))
}

fn print_cursor(cursor: ReadingCursor) -> String {
    format!("{}.{}", cursor.measured_at.timestamp_micros(), cursor.id)
}

fn parse_cursor(text: &str) -> Result<ReadingCursor, Problem> {
    let parse = || {
        let (micros, id) = text.split_once('.')?;
        let measured_at = DateTime::from_timestamp_micros(micros.parse().ok()?)?;
        Some(ReadingCursor {
            measured_at,
            id: id.parse().ok()?,
        })
    };
    parse().ok_or_else(|| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "bad_query",
            "cursor must be the next of the page before.",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_round_trip_and_others_are_refused() {
        let cursor = ReadingCursor {
            measured_at: DateTime::from_timestamp_micros(1_792_049_400_123_456).unwrap(),
            id: "018f3c5e-0000-7000-8000-000000000001".parse().unwrap(),
        };
        assert_eq!(parse_cursor(&print_cursor(cursor)).unwrap(), cursor);
        for bad in [
            "",
            ".",
            "1",
            "1.x",
            "x.018f3c5e-0000-7000-8000-000000000001",
            "9223372036854775807.x",
        ] {
            assert!(parse_cursor(bad).is_err(), "{bad}");
        }
    }
}
