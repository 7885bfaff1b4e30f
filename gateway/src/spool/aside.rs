//! The quarantine: packets that could not be used, each with its reason.

use carepost_domain::quarantine::Reason;
use sqlx::sqlite::SqliteConnection;
use uuid::Uuid;

use super::error::Attempted as _;
use super::row::add;
use super::{Counter, SpoolError};

/// A packet for the quarantine.
pub(super) struct Quarantined<'a> {
    pub(super) meter: Uuid,
    pub(super) characteristic: i64,
    pub(super) raw: &'a [u8],
    pub(super) context_raw: Option<&'a [u8]>,
    pub(super) received_at: i64,
    pub(super) member: Option<Uuid>,
    pub(super) reason: Reason,
}

/// Keeps a packet with its reason. A packet that is there already is counted on its row, so that a cuff that sends its
/// memory on every link does not fill the quarantine.
pub(super) async fn quarantine(conn: &mut SqliteConnection, packet: &Quarantined<'_>) -> Result<(), SpoolError> {
    const ATTEMPT: &str = "quarantine a packet";
    sqlx::query(
        "INSERT INTO quarantine (meter, characteristic, raw, context_raw, received_at, last_at, member, reason)
         VALUES ($1, $2, $3, $4, $5, $5, $6, $7)
         ON CONFLICT (meter, characteristic, raw) DO UPDATE
         SET times = times + 1, last_at = excluded.last_at, member = excluded.member, reason = excluded.reason,
             context_raw = coalesce(excluded.context_raw, context_raw)",
    )
    .bind(packet.meter)
    .bind(packet.characteristic)
    .bind(packet.raw)
    .bind(packet.context_raw)
    .bind(packet.received_at)
    .bind(packet.member)
    .bind(packet.reason.code())
    .execute(&mut *conn)
    .await
    .attempting(ATTEMPT)?;
    Ok(())
}

/// Drops the oldest quarantine rows beyond `most`, counted.
pub(super) async fn evict(conn: &mut SqliteConnection, most: u32) -> Result<u64, SpoolError> {
    const ATTEMPT: &str = "bound the quarantine";
    let evicted = sqlx::query(
        "DELETE FROM quarantine WHERE id IN (SELECT id FROM quarantine ORDER BY last_at DESC, id DESC LIMIT -1 OFFSET $1)",
    )
    .bind(i64::from(most))
    .execute(&mut *conn)
    .await
    .attempting(ATTEMPT)?
    .rows_affected();
    add(conn, Counter::QuarantineEvicted, evicted).await?;
    Ok(evicted)
}
