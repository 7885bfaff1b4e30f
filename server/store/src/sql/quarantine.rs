//! Messages that could not be used, kept within a bound.

use carepost_domain::Id;
use carepost_domain::id::GatewayId;
use carepost_domain::quarantine::Reason;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::Conn;
use super::counter::{self, Counter};
use crate::codec::{code, derived_id, digest, instant, us};
use crate::error::{Doing as _, Fault};
use crate::limits::{MAX_QUARANTINE_BYTES, MAX_QUARANTINE_ROWS};
use crate::model::QuarantinedMessage;

statements! {
    KEEP = "INSERT INTO quarantine (id, gateway, reason, bytes, length, digest, first_at, last_at, count)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $7, 1)
        ON CONFLICT (id) DO UPDATE SET last_at = excluded.last_at, count = quarantine.count + 1
        RETURNING count";
    DROP_OLDEST = "DELETE FROM quarantine WHERE id IN (SELECT id FROM quarantine ORDER BY last_at, id LIMIT $1)";
    LIST = "SELECT id, gateway, reason, bytes, length, first_at, last_at, count FROM quarantine
        ORDER BY last_at DESC, id LIMIT $1";
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    gateway: Option<Uuid>,
    reason: String,
    bytes: Vec<u8>,
    length: i64,
    first_at: i64,
    last_at: i64,
    count: i64,
}

/// Keeps a message; the same bytes from the same sender for the same reason are one row with a count.
pub(crate) async fn keep(
    conn: &mut Conn,
    gateway: Option<GatewayId>,
    reason: Reason,
    bytes: &[u8],
    now: DateTime<Utc>,
) -> Result<(), Fault> {
    let hash = digest(&[bytes]);
    let sender = gateway.map_or_else(Vec::new, |id| id.uuid().as_bytes().to_vec());
    let id = derived_id(&[b"quarantine", &sender, reason.code().as_bytes(), &hash]);
    let kept = bytes.get(..MAX_QUARANTINE_BYTES).unwrap_or(bytes);
    let count: i64 = sqlx::query_scalar(KEEP)
        .bind(id)
        .bind(gateway.map(Id::uuid))
        .bind(reason.code())
        .bind(kept)
        .bind(i64::try_from(bytes.len()).unwrap_or(i64::MAX))
        .bind(hash.as_slice())
        .bind(us(now))
        .fetch_one(&mut *conn)
        .await
        .doing("quarantine a message")?;
    if count > 1 {
        return Ok(());
    }
    let rows = counter::add(conn, Counter::QuarantineRows, 1).await?;
    let over = rows - MAX_QUARANTINE_ROWS;
    if over > 0 {
        let dropped = sqlx::query(DROP_OLDEST)
            .bind(over)
            .execute(&mut *conn)
            .await
            .doing("make room in the quarantine")?
            .rows_affected();
        let dropped = i64::try_from(dropped).unwrap_or(i64::MAX);
        counter::add(conn, Counter::QuarantineRows, -dropped).await?;
        counter::add(conn, Counter::QuarantineDropped, dropped).await?;
    }
    Ok(())
}

pub(crate) async fn list(conn: &mut Conn, limit: i64) -> Result<Vec<QuarantinedMessage>, Fault> {
    let rows: Vec<Row> = sqlx::query_as(LIST)
        .bind(limit)
        .fetch_all(conn)
        .await
        .doing("list the quarantine")?;
    rows.into_iter()
        .map(|row| {
            Ok(QuarantinedMessage {
                id: Id::from_uuid(row.id),
                gateway: row.gateway.map(Id::from_uuid),
                reason: code(&row.reason)?,
                bytes: row.bytes,
                length: row.length,
                first_at: instant(row.first_at)?,
                last_at: instant(row.last_at)?,
                count: row.count,
            })
        })
        .collect()
}
