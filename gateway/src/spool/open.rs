//! Opening the file: layout, checks, and what a start has to put right after the last stop.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use carepost_domain::id::MeterId;
use carepost_domain::meter::MeterKind;
use chrono::{DateTime, Utc};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection as _, Row as _, Transaction};
use tokio::sync::watch;
use uuid::Uuid;

use super::error::Attempted as _;
use super::fresh::FreshPackets;
use super::joint::Joint;
use super::meters::Pins;
use super::numbers::Numbers;
use super::row::{add, id, micros};
use super::schema::LAYOUTS;
use super::{Counter, FILE_NAME, Inner, OLDEST_SQLITE, OpenError, PENDING_PAGE, Spool, SpoolError, down};

/// Another process may hold the file for a moment: `status` reads it.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Pages after which the log is copied back by itself: 32 MiB of 4 KiB pages. A meter's whole memory is a fraction of it.
const AUTOCHECKPOINT_PAGES: &str = "8192";
/// Pages that the reading connection keeps, in KiB when negative: what it reads was written just now, and is read once.
const READER_CACHE: &str = "-512";
/// The log is cut to this size after a checkpoint.
const JOURNAL_LIMIT_BYTES: &str = "33554432";

/// What the last stop left behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Links that were open when the program ended.
    pub open_links: u64,
    /// Meters among them that send by themselves, such as cuffs: an indication may be lost.
    pub possible_gaps: Vec<MeterId>,
    /// Sittings that were going on; ended where they were last known to.
    pub sittings_ended: u64,
}

impl Spool {
    /// Opens the file in `data_dir`, making it if there is none, and puts right what the last stop left behind.
    ///
    /// # Errors
    /// When the file cannot be made, opened or trusted.
    pub async fn open(data_dir: &Path, now: DateTime<Utc>) -> Result<(Self, Recovered), OpenError> {
        let path = data_dir.join(FILE_NAME);
        // Made here and not by the engine, so that nobody else can read it; its companions inherit the mode.
        let made = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
        made.map_err(|source| OpenError::Create {
            path: path.clone(),
            source,
        })?;
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .pragma("secure_delete", "ON")
            // What a statement sorts is in no file but this one.
            .pragma("temp_store", "MEMORY")
            .pragma("wal_autocheckpoint", AUTOCHECKPOINT_PAGES)
            .pragma("journal_size_limit", JOURNAL_LIMIT_BYTES);
        let pool = connect(options, &path).await?;
        let opening = |source| OpenError::Open {
            path: path.clone(),
            source,
        };
        let mut conn = pool.acquire().await.map_err(opening)?;
        check_engine(&mut conn, &path).await?;
        check_file(&mut conn, &path).await?;
        lay_out(&mut conn, &path).await?;
        let copy = down::read_copy(&mut conn).await?;
        drop(conn);
        let reader = open_reader(&path).await?;
        let spool = Self {
            inner: Arc::new(Inner {
                pool,
                reader,
                path,
                fresh: FreshPackets::default(),
                numbers: Numbers::default(),
                joint: Joint::default(),
                down: watch::channel(Arc::new(copy)).0,
                pending_changes: watch::channel(0).0,
                outbox_changes: watch::channel(0).0,
                registration_changes: watch::channel(0).0,
                scrub_due: AtomicBool::new(true),
                pins: Pins::default(),
            }),
        };
        let recovered = spool.recover(now).await?;
        spool.scrub().await?;
        Ok((spool, recovered))
    }

    /// Closes the file. Further calls on any clone fail.
    pub async fn close(&self) {
        // In this order: the last to close empties the log, which a reader cannot.
        self.inner.reader.close().await;
        self.inner.pool.close().await;
    }

    /// Begins a writing transaction: immediately, so that it never has to give up half way.
    pub(super) async fn begin(
        &self,
        attempted: &'static str,
    ) -> Result<Transaction<'static, sqlx::Sqlite>, SpoolError> {
        let tx = self.begin_at_the_end(attempted).await?;
        self.inner.fresh.forget();
        Ok(tx)
    }

    /// The same for one that changes of what waits nothing but its ends: adds new packets, or takes away those that are settled.
    pub(super) async fn begin_at_the_end(
        &self,
        attempted: &'static str,
    ) -> Result<Transaction<'static, sqlx::Sqlite>, SpoolError> {
        self.inner
            .pool
            .begin_with("BEGIN IMMEDIATE")
            .await
            .attempting(attempted)
    }

    /// Notes that forgotten bytes may still be in the log.
    pub(super) fn scrub_is_due(&self) {
        self.inner.scrub_due.store(true, Ordering::Release);
    }

    /// Empties the write-ahead log if forgotten bytes may be in it. A reader in another process can stand in the way;
    /// then the next call tries again.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn scrub(&self) -> Result<(), SpoolError> {
        if !self.inner.scrub_due.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let result = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
            .fetch_one(&self.inner.pool)
            .await;
        let busy: Result<i64, _> = result.and_then(|row| row.try_get(0));
        match busy {
            Ok(0) => Ok(()),
            Ok(_) => {
                self.scrub_is_due();
                Ok(())
            }
            Err(error) => {
                self.scrub_is_due();
                Err(error).attempting("empty the write-ahead log")
            }
        }
    }

    async fn recover(&self, now: DateTime<Utc>) -> Result<Recovered, SpoolError> {
        const ATTEMPT: &str = "put right what the last stop left behind";
        let mut tx = self.begin(ATTEMPT).await?;
        let open: Vec<(Uuid, String)> =
            sqlx::query_as("SELECT meter, kind FROM links WHERE closed_at IS NULL ORDER BY id")
                .fetch_all(&mut *tx)
                .await
                .attempting(ATTEMPT)?;
        let mut recovered = Recovered {
            open_links: u64::try_from(open.len()).unwrap_or(u64::MAX),
            ..Recovered::default()
        };
        for (meter, kind) in open {
            if note_interrupted(&mut tx, meter, &kind, now).await? {
                recovered.possible_gaps.push(id(meter));
            }
        }
        sqlx::query(
            "UPDATE links SET closed_at = $1, unclean = 1, clock = CASE clock WHEN 'pending' THEN 'unknown' ELSE clock END
             WHERE closed_at IS NULL",
        )
            .bind(micros(now))
            .execute(&mut *tx)
            .await
            .attempting(ATTEMPT)?;
        // Nobody can say who sat there while the program was down.
        let ended = sqlx::query("UPDATE sittings SET ended_at = alive_at WHERE ended_at IS NULL")
            .execute(&mut *tx)
            .await
            .attempting(ATTEMPT)?;
        recovered.sittings_ended = ended.rows_affected();
        tx.commit().await.attempting(ATTEMPT)?;
        Ok(recovered)
    }
}

/// Whether a link to a meter of this kind, as it is written in the file, may have lost something when it ended. A kind that
/// this program does not know may.
fn may_lose(kind: &str) -> bool {
    kind.parse::<MeterKind>().map_or(true, MeterKind::sends_by_itself)
}

/// Counts on a meter that a link to it was interrupted, and says whether something may be lost by that.
pub(super) async fn note_interrupted(
    conn: &mut SqliteConnection,
    meter: Uuid,
    kind: &str,
    at: DateTime<Utc>,
) -> Result<bool, SpoolError> {
    sqlx::query("UPDATE meter_state SET unclean = unclean + 1 WHERE meter = $1")
        .bind(meter)
        .execute(&mut *conn)
        .await
        .attempting("count an interrupted link")?;
    let gap = may_lose(kind);
    if gap {
        note_possible_gap(conn, meter, at).await?;
    }
    Ok(gap)
}

/// Counts that an indication of this cuff may be lost.
pub(super) async fn note_possible_gap(
    conn: &mut SqliteConnection,
    meter: Uuid,
    at: DateTime<Utc>,
) -> Result<(), SpoolError> {
    sqlx::query(
        "INSERT INTO meter_state (meter, last_link_at, possible_gaps) VALUES ($1, $2, 1)
         ON CONFLICT (meter) DO UPDATE SET possible_gaps = possible_gaps + 1",
    )
    .bind(meter)
    .bind(micros(at))
    .execute(&mut *conn)
    .await
    .attempting("note a possible gap")?;
    add(conn, Counter::PossibleGaps, 1).await
}

async fn check_engine(conn: &mut SqliteConnection, path: &Path) -> Result<(), OpenError> {
    let found: String = sqlx::query_scalar("SELECT sqlite_version()")
        .fetch_one(conn)
        .await
        .map_err(|source| OpenError::Open {
            path: path.to_owned(),
            source,
        })?;
    let mut parts = found.split('.').map(|part| part.parse::<u32>().ok());
    let version = (parts.next().flatten(), parts.next().flatten(), parts.next().flatten());
    match version {
        (Some(major), Some(minor), Some(patch)) if (major, minor, patch) >= OLDEST_SQLITE => Ok(()),
        _ => Err(OpenError::EngineTooOld { found }),
    }
}

async fn check_file(conn: &mut SqliteConnection, path: &Path) -> Result<(), OpenError> {
    let finding: String = sqlx::query_scalar("PRAGMA quick_check(1)")
        .fetch_one(conn)
        .await
        .map_err(|source| OpenError::Open {
            path: path.to_owned(),
            source,
        })?;
    if finding == "ok" {
        Ok(())
    } else {
        Err(OpenError::Damaged {
            path: path.to_owned(),
            finding,
        })
    }
}

async fn lay_out(conn: &mut SqliteConnection, path: &Path) -> Result<(), OpenError> {
    let opening = |source| OpenError::Open {
        path: path.to_owned(),
        source,
    };
    let found: i64 = sqlx::query_scalar("PRAGMA user_version")
        .fetch_one(&mut *conn)
        .await
        .map_err(opening)?;
    let known = i64::try_from(LAYOUTS.len()).unwrap_or(i64::MAX);
    let Some(applied) = usize::try_from(found).ok().filter(|_| found <= known) else {
        return Err(OpenError::Newer {
            path: path.to_owned(),
            found,
            known,
        });
    };
    for layout in LAYOUTS.iter().skip(applied) {
        sqlx::raw_sql(*layout).execute(&mut *conn).await.map_err(opening)?;
    }
    Ok(())
}

/// The connection that reads while the other writes: reading what waits takes as long as writing it, and what is wrong must be
/// seen while nothing can be written.
async fn open_reader(path: &Path) -> Result<sqlx::SqlitePool, OpenError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .busy_timeout(BUSY_TIMEOUT)
        // A page that is read wakes its reader once.
        .row_buffer_size(usize::try_from(PENDING_PAGE).unwrap_or(usize::MAX))
        .pragma("cache_size", READER_CACHE);
    connect(options, path).await
}

/// One connection, which is never given up, so that statements stay prepared.
async fn connect(options: SqliteConnectOptions, path: &Path) -> Result<sqlx::SqlitePool, OpenError> {
    SqlitePoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        // A file is always there; asking costs a way to the engine's thread and back.
        .test_before_acquire(false)
        .after_release(|conn, _| Box::pin(is_at_rest(conn)))
        .connect_with(options)
        .await
        .map_err(|source| OpenError::Open {
            path: path.to_owned(),
            source,
        })
}

/// Whether a connection can be used again. When the disk is full, the engine takes back a transaction by itself, which the driver
/// does not notice: on that connection it would begin none any more.
async fn is_at_rest(conn: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    if conn.is_in_transaction() {
        // A transaction that was dropped is taken back before this is answered.
        conn.ping().await?;
    }
    Ok(!conn.is_in_transaction())
}

/// Reads the layout's own facts, for `status` on a file that no daemon holds.
pub(super) async fn open_read_only(path: &Path) -> Result<sqlx::SqlitePool, OpenError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .busy_timeout(BUSY_TIMEOUT);
    connect(options, path).await
}
