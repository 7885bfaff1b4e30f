//! Counts of everything held, for people and probes.

use std::collections::BTreeMap;
use std::path::Path;

use chrono::DateTime;
use sqlx::sqlite::SqliteConnection;
use uuid::Uuid;

use super::error::Attempted as _;
use super::open::open_read_only;
use super::row::{count, id, instant, key, meta};
use super::{Counter, FILE_NAME, MeterStatus, OpenError, Spool, SpoolError, SpoolStatus};
use crate::down::DownCopy;

const ATTEMPT: &str = "count what the spool holds";

impl Spool {
    /// Counts what is held.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn status(&self) -> Result<SpoolStatus, SpoolError> {
        let copy = self.down();
        let mut conn = self.inner.pool.acquire().await.attempting(ATTEMPT)?;
        read_status(&mut conn, &copy).await
    }

    /// Counts what the file in `data_dir` holds, without changing it, while no daemon runs; `None` if there is no file.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn status_of_file(data_dir: &Path) -> Result<Option<SpoolStatus>, OpenError> {
        let path = data_dir.join(FILE_NAME);
        let missing = !path.try_exists().map_err(|source| OpenError::Create {
            path: path.clone(),
            source,
        })?;
        if missing {
            return Ok(None);
        }
        let pool = open_read_only(&path).await?;
        let mut conn = pool.acquire().await.map_err(|source| OpenError::Open {
            path: path.clone(),
            source,
        })?;
        let laid_out: i64 = sqlx::query_scalar("PRAGMA user_version")
            .fetch_one(&mut *conn)
            .await
            .map_err(|source| OpenError::Open {
                path: path.clone(),
                source,
            })?;
        if laid_out == 0 {
            return Ok(None);
        }
        let copy = super::down::read_copy(&mut conn).await?;
        let status = read_status(&mut conn, &copy).await?;
        drop(conn);
        pool.close().await;
        Ok(Some(status))
    }
}

async fn read_status(conn: &mut SqliteConnection, copy: &DownCopy) -> Result<SpoolStatus, SpoolError> {
    let (spooled, sealed, quarantined): (i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM spool), (SELECT count(*) FROM sealed), (SELECT count(*) FROM quarantine)",
    )
    .fetch_one(&mut *conn)
    .await
    .attempting(ATTEMPT)?;
    let (outbox, outbox_live, oldest): (i64, i64, Option<i64>) = sqlx::query_as(
        "SELECT count(*), count(*) FILTER (WHERE lane = 'live'), min(captured_at) FROM outbox WHERE reading IS NOT NULL",
    )
    .fetch_one(&mut *conn)
    .await
    .attempting(ATTEMPT)?;
    let reasons: Vec<(String, i64)> = sqlx::query_as("SELECT reason, count(*) FROM quarantine GROUP BY reason")
        .fetch_all(&mut *conn)
        .await
        .attempting(ATTEMPT)?;
    let counted: Vec<(String, i64)> = sqlx::query_as("SELECT name, value FROM counters")
        .fetch_all(&mut *conn)
        .await
        .attempting(ATTEMPT)?;
    let mut counters: BTreeMap<String, u64> = Counter::ALL
        .iter()
        .map(|counter| (counter.code().to_owned(), 0))
        .collect();
    counters.extend(counted.into_iter().map(|(name, value)| (name, count(value))));
    let last_receipt_at = meta(conn, key::LAST_RECEIPT_AT)
        .await?
        .and_then(|text| text.parse().ok());
    Ok(SpoolStatus {
        spooled: count(spooled),
        sealed: count(sealed),
        quarantined: count(quarantined),
        quarantine_reasons: reasons
            .into_iter()
            .map(|(reason, rows)| (reason, count(rows)))
            .collect(),
        outbox: count(outbox),
        outbox_live: count(outbox_live),
        oldest_captured_at: oldest.map(instant).transpose()?,
        delivered: meta(conn, key::DELIVERED)
            .await?
            .and_then(|text| text.parse().ok())
            .unwrap_or(0),
        last_receipt_at: last_receipt_at.and_then(DateTime::from_timestamp_micros),
        down_version: copy.version(),
        members: u64::try_from(copy.member_count()).unwrap_or(u64::MAX),
        meters: meters(conn, copy).await?,
        possible_gaps: counters.get(Counter::PossibleGaps.code()).copied().unwrap_or(0),
        counters,
    })
}

async fn meters(conn: &mut SqliteConnection, copy: &DownCopy) -> Result<Vec<MeterStatus>, SpoolError> {
    let rows: Vec<(Uuid, Option<i64>, i64, i64)> =
        sqlx::query_as("SELECT meter, last_link_at, records, possible_gaps FROM meter_state")
            .fetch_all(conn)
            .await
            .attempting(ATTEMPT)?;
    let mut known = BTreeMap::new();
    for (meter, last_link_at, records, gaps) in rows {
        known.insert(
            id(meter),
            (last_link_at.map(instant).transpose()?, count(records), count(gaps)),
        );
    }
    Ok(copy
        .meters()
        .into_iter()
        .map(|meter| {
            let (last_link_at, records, possible_gaps) = known.get(&meter.id).copied().unwrap_or_default();
            MeterStatus {
                id: meter.id,
                kind: meter.kind,
                role: meter.role,
                model: meter.model.clone(),
                last_link_at,
                records,
                possible_gaps,
            }
        })
        .collect())
}
