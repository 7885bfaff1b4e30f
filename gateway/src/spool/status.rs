//! Counts of everything held, for people and probes.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use carepost_domain::id::MeterId;
use carepost_domain::meter::Meter;
use carepost_domain::quirks::{QuirkTable, Traits};
use chrono::DateTime;
use sqlx::FromRow;
use sqlx::sqlite::SqliteConnection;
use uuid::Uuid;

use super::error::Attempted as _;
use super::open::open_read_only;
use super::row::{count, id, instant, key, meta};
use super::{Counter, FILE_NAME, MeterStatus, OpenError, Spool, SpoolError, SpoolStatus};
use crate::down::DownCopy;

const ATTEMPT: &str = "count what the spool holds";

/// How long what is being written may take before it is counted without it.
const TURN: Duration = Duration::from_millis(500);

impl Spool {
    /// Counts what is held.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn status(&self) -> Result<SpoolStatus, SpoolError> {
        // Behind what is being written, so that whoever did something finds it here; but not behind somebody who holds the file.
        drop(tokio::time::timeout(TURN, self.inner.pool.acquire()).await);
        let copy = self.down();
        // All of it as it stands at one moment.
        let mut tx = self.inner.reader.begin().await.attempting(ATTEMPT)?;
        let status = read_status(&mut tx, &copy).await?;
        tx.commit().await.attempting(ATTEMPT)?;
        Ok(status)
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

/// What a row of `meter_state` says for `status`.
#[derive(Default, FromRow)]
struct State {
    meter: Uuid,
    last_link_at: Option<i64>,
    records: i64,
    possible_gaps: i64,
    links: i64,
    unclean: i64,
    connect_failures: i64,
    last_failure: Option<String>,
    duplicates: i64,
    rejects: i64,
    skew_ms: Option<i64>,
    skew_at: Option<i64>,
    manufacturer: Option<String>,
    model: Option<String>,
    firmware: Option<String>,
}

async fn meters(conn: &mut SqliteConnection, copy: &DownCopy) -> Result<Vec<MeterStatus>, SpoolError> {
    let rows: Vec<State> = sqlx::query_as(
        "SELECT meter, last_link_at, records, possible_gaps, links, unclean, connect_failures, last_failure, duplicates, rejects,
                skew_ms, skew_at, manufacturer, model, firmware FROM meter_state",
    )
    .fetch_all(&mut *conn)
    .await
    .attempting(ATTEMPT)?;
    let held: Vec<(Uuid, String, i64)> =
        sqlx::query_as("SELECT meter, reason, count(*) FROM quarantine GROUP BY meter, reason")
            .fetch_all(&mut *conn)
            .await
            .attempting(ATTEMPT)?;
    let mut quarantined: BTreeMap<MeterId, BTreeMap<String, u64>> = BTreeMap::new();
    for (meter, reason, rows) in held {
        quarantined.entry(id(meter)).or_default().insert(reason, count(rows));
    }
    let mut known: BTreeMap<MeterId, State> = rows.into_iter().map(|row| (id(row.meter), row)).collect();
    copy.meters()
        .into_iter()
        .map(|meter| {
            let state = known.remove(&meter.id).unwrap_or_default();
            let traits = talk_traits(
                meter,
                state.manufacturer.as_deref(),
                state.model.as_deref(),
                state.firmware.as_deref(),
            );
            Ok(MeterStatus {
                id: meter.id,
                kind: meter.kind,
                role: meter.role,
                model: meter.model.clone(),
                last_link_at: state.last_link_at.map(instant).transpose()?,
                records: count(state.records),
                possible_gaps: count(state.possible_gaps),
                links: count(state.links),
                interrupted: count(state.unclean),
                connect_failures: count(state.connect_failures),
                last_failure: state.last_failure.clone(),
                duplicates: count(state.duplicates),
                rejects: count(state.rejects),
                quarantined: quarantined.remove(&meter.id).unwrap_or_default(),
                skew_ms: state.skew_ms,
                skew_at: state.skew_at.map(instant).transpose()?,
                firmware: state.firmware.clone().filter(|text| !text.is_empty()),
                quirk: QuirkTable::current().find(&traits).map(|quirk| quirk.id.clone()),
            })
        })
        .collect()
}

/// What is known of a registered meter, for the quirk table: what it says of itself goes before what was registered.
pub(crate) fn talk_traits<'a>(
    meter: &'a Meter,
    manufacturer: Option<&'a str>,
    model: Option<&'a str>,
    firmware: Option<&'a str>,
) -> Traits<'a> {
    let registered = Traits::of(meter);
    let said = |text: Option<&'a str>, registered: &'a str| text.filter(|text| !text.is_empty()).unwrap_or(registered);
    Traits {
        manufacturer: said(manufacturer, registered.manufacturer),
        model: said(model, registered.model),
        firmware: said(firmware, registered.firmware),
        ..registered
    }
}
