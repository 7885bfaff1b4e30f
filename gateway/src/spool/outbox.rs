//! Readings that wait for the server's receipt, and their numbers.
//!
//! Numbers mean something only within an epoch, which is drawn at every start. A row gets its number when it first
//! enters a batch; each lane counts for itself, from 1.

use carepost_contract::limits::MAX_BATCH_ITEMS;
use carepost_contract::v1::{Epoch, Item, Lane};
use sqlx::sqlite::SqliteConnection;

use super::error::{Attempted as _, bad_row};
use super::packed::unpack;
use super::row::{key, meta, seq_to_sql, set_meta};
use super::{BatchLimits, OutBatch, Spool, SpoolError};

/// Bytes of a batch around its items: names, two ids, three numbers of at most 20 digits.
const FRAME_BYTES: usize = 320;
/// Bytes between one item and the next.
const COMMA: usize = 1;

impl Spool {
    /// Begins an epoch: rows without a receipt lose their numbers, and voids of older epochs vanish, for the server
    /// forgets what it was told in them.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn begin_epoch(&self, epoch: Epoch) -> Result<(), SpoolError> {
        const ATTEMPT: &str = "begin an epoch";
        let mut tx = self.begin(ATTEMPT).await?;
        sqlx::query("DELETE FROM outbox WHERE reading IS NULL")
            .execute(&mut *tx)
            .await
            .attempting(ATTEMPT)?;
        sqlx::query("UPDATE outbox SET seq = NULL")
            .execute(&mut *tx)
            .await
            .attempting(ATTEMPT)?;
        for lane in Lane::ALL {
            sqlx::query(
                "INSERT INTO lanes (lane, next_seq, settled_seen) VALUES ($1, 1, 0)
                 ON CONFLICT (lane) DO UPDATE SET next_seq = 1, settled_seen = 0",
            )
            .bind(lane.code())
            .execute(&mut *tx)
            .await
            .attempting(ATTEMPT)?;
        }
        set_meta(&mut tx, key::EPOCH, &epoch.to_string()).await?;
        tx.commit().await.attempting(ATTEMPT)?;
        self.outbox_changed();
        Ok(())
    }

    /// Numbers the oldest rows of a lane that have no number yet and gives them as a batch; `None` if there are none, or
    /// if `epoch` is not the one that was begun last. The numbers are durable before this returns.
    ///
    /// # Errors
    /// When the engine fails, or a row is not what this program writes.
    pub async fn next_batch(
        &self,
        epoch: Epoch,
        lane: Lane,
        limits: BatchLimits,
    ) -> Result<Option<OutBatch>, SpoolError> {
        const ATTEMPT: &str = "number readings";
        let mut tx = self.begin(ATTEMPT).await?;
        let Some((next_seq, settled_seen)) = lane_state(&mut tx, epoch, lane).await? else {
            return Ok(None);
        };
        let rows: Vec<(i64, Vec<u8>)> =
            sqlx::query_as("SELECT id, reading FROM outbox WHERE lane = $1 AND seq IS NULL ORDER BY id LIMIT $2")
                .bind(lane.code())
                .bind(items_to_sql(limits))
                .fetch_all(&mut *tx)
                .await
                .attempting(ATTEMPT)?;
        let mut items = Vec::new();
        let mut bytes = FRAME_BYTES;
        let mut seq = next_seq;
        for (row, packed) in rows {
            let (item, of_item) = as_item(Some(&packed))?;
            bytes = bytes.saturating_add(of_item);
            if bytes > limits.bytes && !items.is_empty() {
                break;
            }
            sqlx::query("UPDATE outbox SET seq = $2 WHERE id = $1")
                .bind(row)
                .bind(seq)
                .execute(&mut *tx)
                .await
                .attempting(ATTEMPT)?;
            items.push(item);
            seq += 1;
        }
        if items.is_empty() {
            return Ok(None);
        }
        sqlx::query("UPDATE lanes SET next_seq = $2 WHERE lane = $1")
            .bind(lane.code())
            .bind(seq)
            .execute(&mut *tx)
            .await
            .attempting(ATTEMPT)?;
        tx.commit().await.attempting(ATTEMPT)?;
        Ok(Some(out_batch(epoch, lane, next_seq, settled_seen, items)))
    }

    /// The first consecutive numbered rows of a lane behind `after` (0 for the start) that have no receipt, for sending
    /// again: a whole gap is fetched by calling on with [`OutBatch::last_seq`]. `None` if there are none, or if `epoch`
    /// is not the one that was begun last.
    ///
    /// # Errors
    /// When the engine fails, or a row is not what this program writes.
    pub async fn unreceipted(
        &self,
        epoch: Epoch,
        lane: Lane,
        after: u64,
        limits: BatchLimits,
    ) -> Result<Option<OutBatch>, SpoolError> {
        const ATTEMPT: &str = "read readings without a receipt";
        // A transaction only so that lane and rows belong together.
        let mut tx = self.begin(ATTEMPT).await?;
        let Some((_, settled_seen)) = lane_state(&mut tx, epoch, lane).await? else {
            return Ok(None);
        };
        let rows: Vec<(i64, Option<Vec<u8>>)> =
            sqlx::query_as("SELECT seq, reading FROM outbox WHERE lane = $1 AND seq > $2 ORDER BY seq LIMIT $3")
                .bind(lane.code())
                .bind(seq_to_sql(after))
                .bind(items_to_sql(limits))
                .fetch_all(&mut *tx)
                .await
                .attempting(ATTEMPT)?;
        let Some(first_seq) = rows.first().map(|(seq, _)| *seq) else {
            return Ok(None);
        };
        let mut items = Vec::new();
        let mut bytes = FRAME_BYTES;
        for ((seq, packed), expected) in rows.into_iter().zip(first_seq..) {
            if seq != expected {
                break;
            }
            let (item, of_item) = as_item(packed.as_deref())?;
            bytes = bytes.saturating_add(of_item);
            if bytes > limits.bytes && !items.is_empty() {
                break;
            }
            items.push(item);
        }
        Ok(Some(out_batch(epoch, lane, first_seq, settled_seen, items)))
    }

    /// How many rows of a lane have no number yet.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn unnumbered(&self, lane: Lane) -> Result<u64, SpoolError> {
        let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox WHERE lane = $1 AND seq IS NULL")
            .bind(lane.code())
            .fetch_one(&self.inner.pool)
            .await
            .attempting("count readings without a number")?;
        Ok(super::row::count(rows))
    }
}

/// Next number and highest seen prefix of a lane, if `epoch` is in force.
pub(super) async fn lane_state(
    conn: &mut SqliteConnection,
    epoch: Epoch,
    lane: Lane,
) -> Result<Option<(i64, i64)>, SpoolError> {
    if meta(conn, key::EPOCH).await? != Some(epoch.to_string()) {
        return Ok(None);
    }
    sqlx::query_as("SELECT next_seq, settled_seen FROM lanes WHERE lane = $1")
        .bind(lane.code())
        .fetch_optional(conn)
        .await
        .attempting("read a lane's state")
}

/// A row as it is sent, and how many bytes of a batch that takes.
fn as_item(packed: Option<&[u8]>) -> Result<(Item, usize), SpoolError> {
    let item = packed.map(unpack).transpose()?.map(Box::new);
    let item = item.map_or(Item::Void, Item::Reading);
    let text = serde_json::to_vec(&item).map_err(bad_row("a reading"))?;
    Ok((item, text.len().saturating_add(COMMA)))
}

fn items_to_sql(limits: BatchLimits) -> i64 {
    i64::try_from(limits.items.clamp(1, MAX_BATCH_ITEMS)).unwrap_or(1)
}

fn out_batch(epoch: Epoch, lane: Lane, first_seq: i64, settled_seen: i64, items: Vec<Item>) -> OutBatch {
    OutBatch {
        lane,
        epoch,
        settled_seen: u64::try_from(settled_seen).unwrap_or(0),
        first_seq: u64::try_from(first_seq).unwrap_or(1),
        items,
    }
}
