//! What was measured in the days before, for the small drawings of the queue. One statement for all rows of a page.

use std::collections::HashMap;

use carepost_domain::Id;
use carepost_domain::id::MemberId;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Conn, ids};
use crate::codec::{instant, us};
use crate::error::{Doing as _, Fault};
use crate::limits::MAX_TREND_POINTS;
use crate::model::{TrendPoint, TrendValue};
use crate::reading_row::glucose_level;

statements! {
    SESSIONS = concat!(
        "SELECT member, started, systolic_mmhg, diastolic_mmhg FROM bp_session WHERE member", in_ids!("$1"),
        " AND started >= $2 AND started <= $3 AND systolic_mmhg IS NOT NULL ORDER BY started, id"
    );
    GLUCOSE = concat!(
        "SELECT member, measured_at, unit, glucose_is, glucose_milli FROM reading WHERE member", in_ids!("$1"),
        " AND kind = 'glucose' AND measured_at >= $2 AND measured_at <= $3 ORDER BY measured_at, id"
    );
}

#[derive(sqlx::FromRow)]
struct GlucoseRow {
    member: Uuid,
    measured_at: i64,
    unit: String,
    glucose_is: Option<String>,
    glucose_milli: Option<i64>,
}

/// Points by member, in measured order, the newest [`MAX_TREND_POINTS`] of each.
pub(crate) type Trends = HashMap<MemberId, Vec<TrendPoint>>;

/// Session means of these members.
pub(crate) async fn pressures(
    conn: &mut Conn,
    members: &[Uuid],
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Trends, Fault> {
    let rows: Vec<(Uuid, i64, Option<i64>, Option<i64>)> = sqlx::query_as(SESSIONS)
        .bind(ids(members))
        .bind(us(from))
        .bind(us(to))
        .fetch_all(conn)
        .await
        .doing("load the sessions of a queue")?;
    let mut trends = Trends::new();
    for (member, started, systolic, diastolic) in rows {
        if let (Some(systolic_mmhg), Some(diastolic_mmhg)) = (systolic, diastolic) {
            let value = TrendValue::BloodPressure {
                systolic_mmhg,
                diastolic_mmhg,
            };
            trends.entry(Id::from_uuid(member)).or_default().push(TrendPoint {
                at: instant(started)?,
                value,
            });
        }
    }
    Ok(newest(trends))
}

/// Glucose values of these members.
pub(crate) async fn glucose(
    conn: &mut Conn,
    members: &[Uuid],
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Trends, Fault> {
    let rows: Vec<GlucoseRow> = sqlx::query_as(GLUCOSE)
        .bind(ids(members))
        .bind(us(from))
        .bind(us(to))
        .fetch_all(conn)
        .await
        .doing("load the glucose values of a queue")?;
    let mut trends = Trends::new();
    for row in rows {
        let value = TrendValue::Glucose(glucose_level(row.glucose_is.as_deref(), row.glucose_milli, &row.unit)?);
        let point = TrendPoint {
            at: instant(row.measured_at)?,
            value,
        };
        trends.entry(Id::from_uuid(row.member)).or_default().push(point);
    }
    Ok(newest(trends))
}

fn newest(mut trends: Trends) -> Trends {
    for points in trends.values_mut() {
        points.drain(..points.len().saturating_sub(MAX_TREND_POINTS));
    }
    trends
}
