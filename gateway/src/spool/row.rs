//! Small conversions between rows and domain types, and the statements that several use cases share.

use carepost_domain::id::Id;
use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::sqlite::SqliteConnection;
use uuid::Uuid;

use super::error::{Attempted as _, bad_row};
use super::{Counter, SpoolError};

/// An instant as microseconds since 1970.
pub(super) fn micros(at: DateTime<Utc>) -> i64 {
    at.timestamp_micros()
}

/// The instant of microseconds since 1970.
pub(super) fn instant(micros: i64) -> Result<DateTime<Utc>, SpoolError> {
    DateTime::from_timestamp_micros(micros).ok_or_else(|| bad_row("an instant")("the number is beyond the calendar"))
}

/// An id from its 16 bytes.
pub(super) fn id<T>(uuid: Uuid) -> Id<T> {
    Id::from_uuid(uuid)
}

/// A count of rows.
pub(super) fn count(rows: i64) -> u64 {
    u64::try_from(rows).unwrap_or(0)
}

/// A sequence number, which the contract bounds below 2^63.
pub(super) fn seq_to_sql(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

/// Adds to a counter inside the caller's transaction.
pub(super) async fn add(conn: &mut SqliteConnection, counter: Counter, by: u64) -> Result<(), SpoolError> {
    if by == 0 {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO counters (name, value) VALUES ($1, $2)
         ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
    )
    .bind(counter.code())
    .bind(seq_to_sql(by))
    .execute(conn)
    .await
    .attempting("count")?;
    Ok(())
}

/// Reads one value of the key-value table.
pub(super) async fn meta(conn: &mut SqliteConnection, key: &'static str) -> Result<Option<String>, SpoolError> {
    sqlx::query_scalar("SELECT value FROM meta WHERE key = $1")
        .bind(key)
        .fetch_optional(conn)
        .await
        .attempting("read the spool's own facts")
}

/// Writes one value of the key-value table.
pub(super) async fn set_meta(conn: &mut SqliteConnection, key: &'static str, value: &str) -> Result<(), SpoolError> {
    sqlx::query("INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value")
        .bind(key)
        .bind(value)
        .execute(conn)
        .await
        .attempting("write the spool's own facts")?;
    Ok(())
}

/// The number of the last row that was added to a table whose rows are numbered and never numbered again, as an expression.
pub(super) fn last_id(table: &str) -> String {
    format!("(SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = '{table}')")
}

/// The number that the next row of a table gets, whose rows are numbered and never numbered again. Rows that are added together
/// are given theirs, because neither an order in which the engine adds them nor numbers without gaps are promised.
pub(super) async fn next_id(conn: &mut SqliteConnection, table: &'static str) -> Result<i64, SpoolError> {
    let last: Option<i64> = sqlx::query_scalar("SELECT seq FROM sqlite_sequence WHERE name = $1")
        .bind(table)
        .fetch_optional(conn)
        .await
        .attempting("number new rows")?;
    Ok(last.unwrap_or(0).saturating_add(1))
}

/// An id as `unhex` takes it.
pub(super) fn hex(id: Uuid) -> String {
    id.simple().to_string()
}

/// A list as `json_each` takes it.
pub(super) fn list<T: Serialize>(values: &[T]) -> Result<String, SpoolError> {
    serde_json::to_string(values).map_err(bad_row("a list"))
}

/// Keys of the key-value table.
pub(super) mod key {
    pub(in crate::spool) const DOWN_VERSION: &str = "down_version";
    pub(in crate::spool) const DOWN_REVISION: &str = "down_revision";
    pub(in crate::spool) const STORE: &str = "store";
    pub(in crate::spool) const ZONE: &str = "zone";
    pub(in crate::spool) const EPOCH: &str = "epoch";
    pub(in crate::spool) const LAST_RECEIPT_AT: &str = "last_receipt_at";
    pub(in crate::spool) const DELIVERED: &str = "delivered";
}
