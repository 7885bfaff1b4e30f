//! Receipts: the server's word after its commit, the only thing that empties the outbox.

use std::collections::BTreeMap;

use carepost_contract::limits::{MAX_RECEIPT_EXTRA, MAX_RECEIPT_REJECTED};
use carepost_contract::v1::{Receipt, Rejection};
use carepost_domain::quarantine::Reason;
use chrono::{DateTime, Utc};
use sqlx::sqlite::SqliteConnection;
use uuid::Uuid;

use super::aside::{Quarantined, evict, quarantine};
use super::error::Attempted as _;
use super::outbox::lane_state;
use super::packed::unpack;
use super::row::{add, id, key, meta, micros, seq_to_sql, set_meta};
use super::{Counter, MAX_QUARANTINE_ROWS, ReceiptSummary, Spool, SpoolError};

const ATTEMPT: &str = "apply a receipt";

impl Spool {
    /// Applies a receipt: settled rows leave the outbox, refused ones are forgotten, unusable ones go to quarantine with
    /// the server's reason. A receipt of another epoch is ignored; the same receipt twice does nothing more.
    ///
    /// # Errors
    /// When the engine fails, or a row is not what this program writes; then nothing was done.
    pub async fn apply_receipt(&self, receipt: &Receipt, now: DateTime<Utc>) -> Result<ReceiptSummary, SpoolError> {
        let mut tx = self.begin(ATTEMPT).await?;
        let Some((next_seq, _)) = lane_state(&mut tx, receipt.epoch, receipt.lane).await? else {
            return Ok(ReceiptSummary {
                ignored: true,
                ..ReceiptSummary::default()
            });
        };
        let rejected: BTreeMap<i64, Rejection> = receipt
            .rejected
            .iter()
            .take(MAX_RECEIPT_REJECTED)
            .map(|rejected| (seq_to_sql(rejected.seq), rejected.reason))
            .collect();
        let mut summary = ReceiptSummary::default();
        let lane = receipt.lane.code();
        let through = seq_to_sql(receipt.settled_through);
        let prefix: Vec<Row> = sqlx::query_as(
            "DELETE FROM outbox WHERE lane = $1 AND seq <= $2 RETURNING seq, reading_id, meter, reading",
        )
        .bind(lane)
        .bind(through)
        .fetch_all(&mut *tx)
        .await
        .attempting(ATTEMPT)?;
        let mut deleted = prefix.len();
        settle_rows(&mut tx, prefix, &rejected, &mut summary, now).await?;
        for seq in receipt.extra.iter().take(MAX_RECEIPT_EXTRA) {
            let row: Vec<Row> = sqlx::query_as(
                "DELETE FROM outbox WHERE lane = $1 AND seq = $2 RETURNING seq, reading_id, meter, reading",
            )
            .bind(lane)
            .bind(seq_to_sql(*seq))
            .fetch_all(&mut *tx)
            .await
            .attempting(ATTEMPT)?;
            deleted += row.len();
            settle_rows(&mut tx, row, &rejected, &mut summary, now).await?;
        }
        // Numbers that were never given settle nothing, whatever a receipt says.
        sqlx::query("UPDATE lanes SET settled_seen = max(settled_seen, $2) WHERE lane = $1")
            .bind(lane)
            .bind(through.min(next_seq - 1))
            .execute(&mut *tx)
            .await
            .attempting(ATTEMPT)?;
        note_delivered(&mut tx, &summary, now).await?;
        tx.commit().await.attempting(ATTEMPT)?;
        if deleted > 0 {
            self.scrub_is_due();
        }
        Ok(summary)
    }
}

/// Number, reading id, meter and reading of a row that was deleted; the last three are absent on a void.
type Row = (i64, Option<Uuid>, Option<Uuid>, Option<Vec<u8>>);

async fn settle_rows(
    conn: &mut SqliteConnection,
    mut rows: Vec<Row>,
    rejected: &BTreeMap<i64, Rejection>,
    summary: &mut ReceiptSummary,
    now: DateTime<Utc>,
) -> Result<(), SpoolError> {
    // RETURNING gives rows in no particular order.
    rows.sort_by_key(|(seq, ..)| *seq);
    for (seq, reading_id, meter, packed) in rows {
        let (Some(reading_id), Some(meter), Some(packed)) = (reading_id, meter, packed) else {
            summary.voids += 1;
            continue;
        };
        match rejected.get(&seq) {
            None => {
                sqlx::query(
                    "INSERT INTO meter_state (meter, last_delivered) VALUES ($1, $2)
                     ON CONFLICT (meter) DO UPDATE SET last_delivered = excluded.last_delivered",
                )
                .bind(meter)
                .bind(reading_id)
                .execute(&mut *conn)
                .await
                .attempting(ATTEMPT)?;
                summary.delivered.push(id(reading_id));
            }
            Some(Rejection::NoConsent) => summary.refused.push(id(reading_id)),
            Some(Rejection::Unusable(reason)) => {
                keep_rejected(conn, &packed, *reason, now).await?;
                summary.quarantined.push((id(reading_id), *reason));
            }
        }
    }
    Ok(())
}

async fn keep_rejected(
    conn: &mut SqliteConnection,
    packed: &[u8],
    reason: Reason,
    now: DateTime<Utc>,
) -> Result<(), SpoolError> {
    let reading = unpack(packed)?;
    quarantine(
        conn,
        &Quarantined {
            meter: reading.meter.uuid(),
            characteristic: i64::from(reading.characteristic),
            raw: &reading.raw,
            context_raw: reading.context_raw.as_deref(),
            received_at: micros(now),
            member: Some(reading.member.uuid()),
            reason,
        },
    )
    .await?;
    evict(conn, MAX_QUARANTINE_ROWS).await.map(|_evicted| ())
}

async fn note_delivered(
    conn: &mut SqliteConnection,
    summary: &ReceiptSummary,
    now: DateTime<Utc>,
) -> Result<(), SpoolError> {
    let rows = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    add(conn, Counter::RejectedNoConsent, rows(summary.refused.len())).await?;
    add(conn, Counter::RejectedUnusable, rows(summary.quarantined.len())).await?;
    let before: u64 = meta(conn, key::DELIVERED)
        .await?
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let delivered = before.saturating_add(rows(summary.delivered.len()));
    set_meta(conn, key::DELIVERED, &delivered.to_string()).await?;
    set_meta(conn, key::LAST_RECEIPT_AT, &micros(now).to_string()).await
}
