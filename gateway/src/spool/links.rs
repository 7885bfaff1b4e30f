//! Links, and the mark that a conversation leaves for a meter's next one.

use carepost_domain::id::MeterId;
use carepost_domain::meter::MeterKind;
use carepost_gatt::sync::HighWater;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::error::{Attempted as _, bad_row};
use super::open::note_interrupted;
use super::row::{add, micros};
use super::{Counter, LinkEnd, LinkId, Spool, SpoolError};

impl Spool {
    /// Notes that a link to a meter stands. As long as it is open, a stop of the program leaves a possible gap behind on
    /// a cuff.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn open_link(&self, meter: MeterId, kind: MeterKind, now: DateTime<Utc>) -> Result<LinkId, SpoolError> {
        const ATTEMPT: &str = "note the start of a link";
        let mut tx = self.begin(ATTEMPT).await?;
        sqlx::query(
            "INSERT INTO meter_state (meter, last_link_at, links) VALUES ($1, $2, 1)
             ON CONFLICT (meter) DO UPDATE SET last_link_at = excluded.last_link_at, links = links + 1",
        )
        .bind(meter.uuid())
        .bind(micros(now))
        .execute(&mut *tx)
        .await
        .attempting(ATTEMPT)?;
        let link: i64 = sqlx::query_scalar(
            "INSERT INTO links (meter, kind, opened_at, last_skew_ms, last_skew_at, emptied_before)
             SELECT $1, $2, $3, skew_ms, skew_at, emptied_at FROM meter_state WHERE meter = $1 RETURNING id",
        )
        .bind(meter.uuid())
        .bind(kind.code())
        .bind(micros(now))
        .fetch_one(&mut *tx)
        .await
        .attempting(ATTEMPT)?;
        add(&mut tx, Counter::Links, 1).await?;
        tx.commit().await.attempting(ATTEMPT)?;
        self.inner.numbers.open(LinkId(link));
        Ok(LinkId(link))
    }

    /// Notes that a link is over; what waited for its end can be settled now. An unclean end is a possible gap of a
    /// cuff. Closing a link twice changes nothing.
    ///
    /// `clock_trusted` is whether the gateway's clock was believed when the link was opened, and is now.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn close_link(
        &self,
        link: LinkId,
        end: LinkEnd,
        now: DateTime<Utc>,
        clock_trusted: bool,
    ) -> Result<(), SpoolError> {
        const ATTEMPT: &str = "note the end of a link";
        let mut tx = self.begin(ATTEMPT).await?;
        let closed: Option<(Uuid, String, i64)> = sqlx::query_as(
            "UPDATE links SET closed_at = $2, unclean = $3, clock = CASE clock WHEN 'pending' THEN 'unknown' ELSE clock END
             WHERE id = $1 AND closed_at IS NULL RETURNING meter, kind, records",
        )
        .bind(link.0)
        .bind(micros(now))
        // What hangs up right after a record may have more of them, as one that is interrupted.
        .bind(end != LinkEnd::Clean)
        .fetch_optional(&mut *tx)
        .await
        .attempting(ATTEMPT)?;
        match (closed, end) {
            (Some((meter, kind, _)), LinkEnd::Unclean) => {
                note_interrupted(&mut tx, meter, &kind, now).await?;
            }
            // One that was silent may have kept for itself what it holds, as some do that are still being paired.
            (Some((meter, _, 1..)), LinkEnd::Clean) if clock_trusted => {
                // By its beginning: what was measured while it stood may be on the next.
                sqlx::query(
                    "UPDATE meter_state SET emptied_at = (SELECT opened_at FROM links WHERE id = $2) WHERE meter = $1",
                )
                .bind(meter)
                .bind(link.0)
                .execute(&mut *tx)
                .await
                .attempting(ATTEMPT)?;
            }
            _ => {}
        }
        tx.commit().await.attempting(ATTEMPT)?;
        self.inner.numbers.close(link);
        self.pending_changed();
        Ok(())
    }

    /// The newest record known of a glucose meter: what [`set_high_water`](Self::set_high_water) stored last.
    ///
    /// # Errors
    /// When the engine fails, or the row is not what this program writes.
    pub async fn high_water(&self, meter: MeterId) -> Result<Option<HighWater>, SpoolError> {
        let row: Option<(Option<i64>, Option<Vec<u8>>)> =
            sqlx::query_as("SELECT sync_sequence, sync_base_time FROM meter_state WHERE meter = $1")
                .bind(meter.uuid())
                .fetch_optional(&self.inner.pool)
                .await
                .attempting("read a meter's high-water mark")?;
        let Some((Some(sequence), base_time)) = row else {
            return Ok(None);
        };
        let base_time = match base_time {
            None => None,
            Some(bytes) => Some(
                carepost_gatt::DateTime::decode(&bytes)
                    .map_err(|e| bad_row("a high-water mark")(e.to_string()))?
                    .value,
            ),
        };
        let sequence = u16::try_from(sequence).map_err(bad_row("a high-water mark"))?;
        Ok(Some(HighWater { sequence, base_time }))
    }

    /// Stores the mark of a conversation's outcome. Every record up to it must have been captured before. `read_with` is
    /// the revision of the copy under which the records were read: under another one nothing is stored and the answer is
    /// false, for records that were refused may be permitted now and shall be read again.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn set_high_water(
        &self,
        meter: MeterId,
        mark: Option<HighWater>,
        read_with: u64,
    ) -> Result<bool, SpoolError> {
        const ATTEMPT: &str = "store a meter's high-water mark";
        let base_time = mark
            .and_then(|mark| mark.base_time)
            .and_then(|time| time.to_bytes().ok());
        let mut tx = self.begin(ATTEMPT).await?;
        if super::down::revision(&mut tx).await? != read_with {
            return Ok(false);
        }
        sqlx::query(
            "INSERT INTO meter_state (meter, sync_sequence, sync_base_time) VALUES ($1, $2, $3)
             ON CONFLICT (meter) DO UPDATE
             SET sync_sequence = excluded.sync_sequence, sync_base_time = excluded.sync_base_time",
        )
        .bind(meter.uuid())
        .bind(mark.map(|mark| i64::from(mark.sequence)))
        .bind(base_time.map(|bytes| bytes.to_vec()))
        .execute(&mut *tx)
        .await
        .attempting(ATTEMPT)?;
        tx.commit().await.attempting(ATTEMPT)?;
        Ok(true)
    }
}
