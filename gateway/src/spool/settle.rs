//! Settling: the transaction that gives a packet its place deletes its spool row.

use carepost_contract::limits::LIVE_WINDOW;
use carepost_contract::v1::{Lane, WireReading};
use carepost_domain::consent::not_before;
use carepost_domain::id::MemberId;
use carepost_domain::quarantine::Reason;
use carepost_domain::time::TimeQuality;
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::FromRow;
use sqlx::sqlite::SqliteConnection;
use uuid::Uuid;

use super::error::{Attempted as _, bad_row};
use super::meters::{count_duplicate, count_reject, link_clock, look};
use super::row::{add, id, instant, micros};
use super::{
    Counter, LinkFacts, LinkId, Looks, MAX_QUARANTINE_ROWS, NewPacket, PENDING_PAGE, PendingRow, Settled, Settlement,
    Spool, SpoolError, SpoolRow,
};
use crate::down::DownCopy;

const ATTEMPT: &str = "settle packets";

/// The lane of a reading: live if it was measured at most ten minutes before it was captured.
#[must_use]
pub(crate) fn lane_of(measured_at: DateTime<Utc>, captured_at: DateTime<Utc>) -> Lane {
    let window = TimeDelta::from_std(LIVE_WINDOW).unwrap_or_default();
    if captured_at - measured_at <= window {
        Lane::Live
    } else {
        Lane::Replay
    }
}

#[derive(FromRow)]
struct Pending {
    id: i64,
    link: i64,
    meter: Uuid,
    characteristic: i64,
    raw: Vec<u8>,
    context_raw: Option<Vec<u8>>,
    received_at: i64,
    clock_trusted: bool,
    sitting: Option<Uuid>,
    nonce: i64,
    opened_at: i64,
    closed: bool,
    unclean: bool,
    records: i64,
    clock: String,
    skew_ms: Option<i64>,
    skew_at: Option<i64>,
    last_skew_ms: Option<i64>,
    last_skew_at: Option<i64>,
    provisional: bool,
}

impl Pending {
    fn into_row(self) -> Result<PendingRow, SpoolError> {
        Ok(PendingRow {
            row: SpoolRow(self.id),
            link: LinkFacts {
                id: LinkId(self.link),
                opened_at: instant(self.opened_at)?,
                closed: self.closed,
                unclean: self.unclean,
                records: u32::try_from(self.records).unwrap_or(u32::MAX),
                looks: Looks {
                    now: link_clock(&self.clock, look(self.skew_ms, self.skew_at)?)?,
                    last: look(self.last_skew_ms, self.last_skew_at)?,
                },
            },
            provisional: self.provisional,
            packet: NewPacket {
                link: LinkId(self.link),
                meter: id(self.meter),
                characteristic: u16::try_from(self.characteristic).map_err(bad_row("a packet"))?,
                raw: self.raw,
                received_at: instant(self.received_at)?,
                clock_trusted: self.clock_trusted,
                sitting: self.sitting.map(id),
                nonce: self.nonce.cast_unsigned(),
            },
            context_raw: self.context_raw,
        })
    }
}

impl Spool {
    /// Packets that wait to be settled, oldest first, at most [`PENDING_PAGE`], from behind `after`.
    ///
    /// # Errors
    /// When the engine fails, or a row is not what this program writes.
    pub async fn pending(&self, after: Option<SpoolRow>) -> Result<Vec<PendingRow>, SpoolError> {
        let rows: Vec<Pending> = sqlx::query_as(
            "SELECT s.id, s.link, s.meter, s.characteristic, s.raw, s.context_raw, s.received_at, s.clock_trusted, s.sitting,
                    s.nonce, s.provisional, l.opened_at, l.closed_at IS NOT NULL AS closed, l.unclean, l.records, l.clock,
                    l.skew_ms, l.skew_at, l.last_skew_ms, l.last_skew_at
             FROM spool s JOIN links l ON l.id = s.link
             WHERE s.id > $1 ORDER BY s.id LIMIT $2",
        )
        .bind(after.map_or(0, |row| row.0))
        .bind(i64::from(PENDING_PAGE))
        .fetch_all(&self.inner.pool)
        .await
        .attempting("read pending packets")?;
        rows.into_iter().map(Pending::into_row).collect()
    }

    /// Settles packets, all in one transaction. `decided_with` is the revision of the copy
    /// ([`DownCopy::revision`](crate::down::DownCopy::revision)) with which the decisions were taken: if another is in
    /// force, nothing is done and the answer is `None`, so that a decision can never pass a withdrawal.
    ///
    /// # Errors
    /// When the engine fails; then no packet is settled.
    pub async fn settle(
        &self,
        decided_with: u64,
        decisions: &[(SpoolRow, Settlement)],
        now: DateTime<Utc>,
    ) -> Result<Option<Vec<Settled>>, SpoolError> {
        let mut tx = self.begin(ATTEMPT).await?;
        if super::down::revision(&mut tx).await? != decided_with {
            return Ok(None);
        }
        let copy = self.down();
        let mut settled = Vec::with_capacity(decisions.len());
        for (row, settlement) in decisions {
            settled.push(settle_one(&mut tx, *row, settlement, &copy, now).await?);
        }
        if settled
            .iter()
            .any(|what| matches!(what, Settled::Quarantined(_) | Settled::Conflict(_)))
        {
            evict(&mut tx, MAX_QUARANTINE_ROWS).await?;
        }
        tx.commit().await.attempting(ATTEMPT)?;
        if settled.iter().any(|what| matches!(what, Settled::Outbox(_))) {
            self.outbox_changed();
        }
        if settled.iter().any(|what| matches!(what, Settled::Forgotten)) {
            self.scrub_is_due();
        }
        Ok(Some(settled))
    }
}

#[derive(FromRow)]
struct Raw {
    meter: Uuid,
    characteristic: i64,
    raw: Vec<u8>,
    context_raw: Option<Vec<u8>>,
    received_at: i64,
}

async fn settle_one(
    conn: &mut SqliteConnection,
    row: SpoolRow,
    settlement: &Settlement,
    copy: &DownCopy,
    now: DateTime<Utc>,
) -> Result<Settled, SpoolError> {
    let raw: Option<Raw> = sqlx::query_as(
        "DELETE FROM spool WHERE id = $1 RETURNING meter, characteristic, raw, context_raw, received_at",
    )
    .bind(row.0)
    .fetch_optional(&mut *conn)
    .await
    .attempting(ATTEMPT)?;
    let Some(raw) = raw else { return Ok(Settled::Gone) };
    match settlement {
        Settlement::Outbox(reading) => to_outbox(conn, reading, &raw).await,
        Settlement::Sealed(reading) => {
            // Not before a withdrawal that is on record: the seal was asked for after it.
            let sealed_at = not_before(copy.grants_of(reading.member), now);
            sqlx::query(
                "INSERT INTO sealed (reading_id, member, measured_at, sealed_at, reading, clock_trusted)
                 VALUES ($1, $2, $3, $4, $5, $6)
                 ON CONFLICT (reading_id) DO NOTHING",
            )
            .bind(reading.id.uuid())
            .bind(reading.member.uuid())
            .bind(micros(reading.time.at))
            .bind(micros(sealed_at))
            .bind(to_text(reading)?)
            .bind(!reading.time.gateway_clock_unsure)
            .execute(&mut *conn)
            .await
            .attempting(ATTEMPT)?;
            Ok(Settled::Sealed(reading.id))
        }
        Settlement::Quarantine { reason, member } => {
            count_reject(conn, raw.meter).await?;
            to_quarantine(conn, &raw, *reason, *member).await?;
            Ok(Settled::Quarantined(*reason))
        }
        Settlement::Forget(counter) => {
            add(conn, *counter, 1).await?;
            Ok(Settled::Forgotten)
        }
    }
}

async fn to_outbox(conn: &mut SqliteConnection, reading: &WireReading, raw: &Raw) -> Result<Settled, SpoolError> {
    let delivered: Option<Option<Uuid>> = sqlx::query_scalar("SELECT last_delivered FROM meter_state WHERE meter = $1")
        .bind(raw.meter)
        .fetch_optional(&mut *conn)
        .await
        .attempting(ATTEMPT)?;
    // A glucose sync reads the newest record that the server confirmed once more, to see that it is still there.
    if delivered.flatten() == Some(reading.id.uuid()) {
        count_duplicate(conn, raw.meter).await?;
        return Ok(Settled::Known(reading.id));
    }
    let holder: Option<Uuid> = sqlx::query_scalar("SELECT member FROM outbox WHERE reading_id = $1")
        .bind(reading.id.uuid())
        .fetch_optional(&mut *conn)
        .await
        .attempting(ATTEMPT)?;
    match holder {
        Some(member) if member == reading.member.uuid() => {
            count_duplicate(conn, raw.meter).await?;
            Ok(Settled::Known(reading.id))
        }
        Some(_) => {
            to_quarantine(conn, raw, Reason::MemberConflict, Some(reading.member)).await?;
            Ok(Settled::Conflict(reading.id))
        }
        None => {
            insert_outbox(conn, reading).await?;
            // It may have been quarantined by what was known earlier, such as before its meter was bound. Equal bytes without
            // a time of their own are another measurement's.
            if reading.time.quality != TimeQuality::ReceivedTimeUsed {
                sqlx::query("DELETE FROM quarantine WHERE meter = $1 AND characteristic = $2 AND raw = $3")
                    .bind(raw.meter)
                    .bind(raw.characteristic)
                    .bind(&raw.raw)
                    .execute(&mut *conn)
                    .await
                    .attempting(ATTEMPT)?;
            }
            Ok(Settled::Outbox(reading.id))
        }
    }
}

/// Adds a reading without a number.
pub(super) async fn insert_outbox(conn: &mut SqliteConnection, reading: &WireReading) -> Result<(), SpoolError> {
    sqlx::query(
        "INSERT INTO outbox (reading_id, member, meter, measured_at, captured_at, lane, reading) VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(reading.id.uuid())
    .bind(reading.member.uuid())
    .bind(reading.meter.uuid())
    .bind(micros(reading.time.at))
    .bind(micros(reading.captured_at))
    .bind(lane_of(reading.time.at, reading.captured_at).code())
    .bind(to_text(reading)?)
    .execute(conn)
    .await
    .attempting("put a reading into the outbox")?;
    Ok(())
}

async fn to_quarantine(
    conn: &mut SqliteConnection,
    raw: &Raw,
    reason: Reason,
    member: Option<MemberId>,
) -> Result<(), SpoolError> {
    quarantine(
        conn,
        &Quarantined {
            meter: raw.meter,
            characteristic: raw.characteristic,
            raw: &raw.raw,
            context_raw: raw.context_raw.as_deref(),
            received_at: raw.received_at,
            member: member.map(carepost_domain::Id::uuid),
            reason,
        },
    )
    .await
}

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

fn to_text(reading: &WireReading) -> Result<String, SpoolError> {
    serde_json::to_string(reading).map_err(bad_row("a reading"))
}
