//! Symptom records.

use carepost_domain::Id;
use carepost_domain::care::history::SymptomRecord;
use carepost_domain::id::MemberId;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::Conn;
use crate::codec::{code, instant, us};
use crate::error::{Doing as _, Fault};

statements! {
    ADD = "INSERT INTO symptom (id, member, code, source, at, recorded_at) VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (id) DO NOTHING";
    SINCE = "SELECT id, code, source, at FROM symptom WHERE member = $1 AND at >= $2 ORDER BY at, id";
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    code: String,
    source: String,
    at: i64,
}

/// Adds a record; gives whether it is new.
pub(crate) async fn add(
    conn: &mut Conn,
    member: MemberId,
    record: &SymptomRecord,
    now: DateTime<Utc>,
) -> Result<bool, Fault> {
    let added = sqlx::query(ADD)
        .bind(record.id.uuid())
        .bind(member.uuid())
        .bind(record.code.code())
        .bind(record.source.code())
        .bind(us(record.at))
        .bind(us(now))
        .execute(conn)
        .await
        .doing("record a symptom")?;
    Ok(added.rows_affected() > 0)
}

/// A member's symptoms since an instant, in time order.
pub(crate) async fn since(conn: &mut Conn, member: MemberId, from: DateTime<Utc>) -> Result<Vec<SymptomRecord>, Fault> {
    let rows: Vec<Row> = sqlx::query_as(SINCE)
        .bind(member.uuid())
        .bind(us(from))
        .fetch_all(conn)
        .await
        .doing("load a member's symptoms")?;
    rows.into_iter()
        .map(|row| {
            Ok(SymptomRecord {
                id: Id::from_uuid(row.id),
                code: code(&row.code)?,
                source: code(&row.source)?,
                at: instant(row.at)?,
            })
        })
        .collect()
}
