//! Blood-pressure sessions: stored as the policy makes them from the readings, and made again when readings come late.

use std::collections::BTreeMap;

use carepost_domain::Id;
use carepost_domain::care::session::{Session, SessionMean};
use carepost_domain::id::{MemberId, ReadingId};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Conn, ids};
use crate::codec::{code, from_json, instant, join_codes, narrow, split_codes, to_json, us};
use crate::error::{Doing as _, Fault};
use crate::model::SessionView;

/// The columns of a row.
macro_rules! session_columns {
    () => {
        "id, member, place, meter, state, started, last, closes_at, systolic_mmhg, diastolic_mmhg, pulse_per_min,
            mean_readings, readings, used, severe, doubts, further_reading_missing, superseded, repeats, next_step"
    };
}

statements! {
    BETWEEN = concat!(
        "SELECT ", session_columns!(), " FROM bp_session
        WHERE member = $1 AND started >= $2 AND started <= $3 ORDER BY started DESC, id DESC LIMIT $4"
    );
    BY_IDS = concat!("SELECT ", session_columns!(), " FROM bp_session WHERE id", in_ids!("$1"));
    SAVE = "INSERT INTO bp_session (id, member, place, meter, state, started, last, closes_at, systolic_mmhg,
            diastolic_mmhg, pulse_per_min, mean_readings, readings, used, severe, doubts, further_reading_missing,
            superseded, repeats, next_step)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)
        ON CONFLICT (id) DO UPDATE SET state = excluded.state, started = excluded.started, last = excluded.last,
            closes_at = excluded.closes_at, systolic_mmhg = excluded.systolic_mmhg,
            diastolic_mmhg = excluded.diastolic_mmhg, pulse_per_min = excluded.pulse_per_min,
            mean_readings = excluded.mean_readings, readings = excluded.readings, used = excluded.used,
            severe = excluded.severe, doubts = excluded.doubts,
            further_reading_missing = excluded.further_reading_missing, superseded = excluded.superseded,
            repeats = excluded.repeats, next_step = excluded.next_step";
    REMOVE = "DELETE FROM bp_session WHERE id = $1";
}

#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
struct Row {
    id: Uuid,
    member: Uuid,
    place: String,
    meter: Option<Uuid>,
    state: String,
    started: i64,
    last: i64,
    closes_at: i64,
    systolic_mmhg: Option<i64>,
    diastolic_mmhg: Option<i64>,
    pulse_per_min: Option<i64>,
    mean_readings: Option<i64>,
    readings: String,
    used: String,
    severe: String,
    doubts: String,
    further_reading_missing: bool,
    superseded: bool,
    repeats: Option<Uuid>,
    next_step: String,
}

impl Row {
    fn new(member: MemberId, session: &Session) -> Result<Self, Fault> {
        Ok(Self {
            id: session.id.uuid(),
            member: member.uuid(),
            place: session.place.code().to_owned(),
            meter: session.meter.map(Id::uuid),
            state: session.state.code().to_owned(),
            started: us(session.started),
            last: us(session.last),
            closes_at: us(session.closes_at),
            systolic_mmhg: session.mean.map(|mean| mean.systolic_mmhg),
            diastolic_mmhg: session.mean.map(|mean| mean.diastolic_mmhg),
            pulse_per_min: session.mean.and_then(|mean| mean.pulse_per_min),
            mean_readings: session
                .mean
                .map(|mean| i64::try_from(mean.readings).unwrap_or(i64::MAX)),
            readings: to_json(&session.readings)?,
            used: to_json(&session.used)?,
            severe: to_json(&session.severe)?,
            doubts: join_codes(session.doubts.iter().map(|flag| flag.code())),
            further_reading_missing: session.further_reading_missing,
            superseded: session.superseded,
            repeats: session.repeats.map(Id::uuid),
            next_step: to_json(&session.next)?,
        })
    }

    fn into_model(self) -> Result<SessionView, Fault> {
        let mean = match (self.systolic_mmhg, self.diastolic_mmhg) {
            (Some(systolic_mmhg), Some(diastolic_mmhg)) => Some(SessionMean {
                systolic_mmhg,
                diastolic_mmhg,
                pulse_per_min: self.pulse_per_min,
                readings: narrow(self.mean_readings.unwrap_or(0))?,
            }),
            _ => None,
        };
        Ok(SessionView {
            id: Id::from_uuid(self.id),
            member: Id::from_uuid(self.member),
            place: code(&self.place)?,
            meter: self.meter.map(Id::from_uuid),
            state: code(&self.state)?,
            mean,
            started: instant(self.started)?,
            last: instant(self.last)?,
            closes_at: instant(self.closes_at)?,
            readings: from_json::<Vec<ReadingId>>(&self.readings)?,
            used: from_json(&self.used)?,
            severe: from_json(&self.severe)?,
            doubts: split_codes(&self.doubts)?,
            further_reading_missing: self.further_reading_missing,
            superseded: self.superseded,
            repeats: self.repeats.map(Id::from_uuid),
            next: from_json(&self.next_step)?,
        })
    }
}

async fn rows(conn: &mut Conn, member: MemberId, from: i64, to: i64, limit: i64) -> Result<Vec<Row>, Fault> {
    sqlx::query_as(BETWEEN)
        .bind(member.uuid())
        .bind(from)
        .bind(to)
        .bind(limit)
        .fetch_all(conn)
        .await
        .doing("load a member's sessions")
}

/// Sessions that began in a time, the newest first.
pub(crate) async fn between(
    conn: &mut Conn,
    member: MemberId,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    limit: u32,
) -> Result<Vec<SessionView>, Fault> {
    let rows = rows(conn, member, us(from), us(to), i64::from(limit)).await?;
    rows.into_iter().map(Row::into_model).collect()
}

/// Sessions by id, in no order.
pub(crate) async fn by_ids(conn: &mut Conn, list: &[Uuid]) -> Result<Vec<SessionView>, Fault> {
    let rows: Vec<Row> = sqlx::query_as(BY_IDS)
        .bind(ids(list))
        .fetch_all(conn)
        .await
        .doing("look sessions up")?;
    rows.into_iter().map(Row::into_model).collect()
}

/// Makes the stored sessions that began in a time equal to `sessions` (those of them that began in it). A late reading
/// may join sessions or give one another beginning, so what is no longer there is removed.
pub(crate) async fn replace(
    conn: &mut Conn,
    member: MemberId,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    sessions: &[Session],
) -> Result<(), Fault> {
    let mut stored: BTreeMap<Uuid, Row> = BTreeMap::new();
    for row in rows(conn, member, us(from), us(to), i64::MAX).await? {
        stored.insert(row.id, row);
    }
    for session in sessions
        .iter()
        .filter(|session| session.started >= from && session.started <= to)
    {
        let row = Row::new(member, session)?;
        if stored.remove(&row.id).as_ref() != Some(&row) {
            save(conn, &row).await?;
        }
    }
    for gone in stored.keys() {
        sqlx::query(REMOVE)
            .bind(*gone)
            .execute(&mut *conn)
            .await
            .doing("remove a session")?;
    }
    Ok(())
}

async fn save(conn: &mut Conn, row: &Row) -> Result<(), Fault> {
    sqlx::query(SAVE)
        .bind(row.id)
        .bind(row.member)
        .bind(row.place.as_str())
        .bind(row.meter)
        .bind(row.state.as_str())
        .bind(row.started)
        .bind(row.last)
        .bind(row.closes_at)
        .bind(row.systolic_mmhg)
        .bind(row.diastolic_mmhg)
        .bind(row.pulse_per_min)
        .bind(row.mean_readings)
        .bind(row.readings.as_str())
        .bind(row.used.as_str())
        .bind(row.severe.as_str())
        .bind(row.doubts.as_str())
        .bind(row.further_reading_missing)
        .bind(row.superseded)
        .bind(row.repeats)
        .bind(row.next_step.as_str())
        .execute(conn)
        .await
        .doing("store a session")?;
    Ok(())
}
