//! SQLite: one writer connection behind a queue, and read-only connections beside it.

mod bulk;
mod gate;
pub(crate) mod read_audit;

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection as _, Sqlite};
use uuid::Uuid;

use crate::error::{Doing, Fault, FaultKind, Group, OpenError};
use crate::migrate::Script;
use crate::store::{Priority, StoreConfig};

/// The connection that the shared statements run on.
pub(crate) type Conn = sqlx::SqliteConnection;

#[cfg(feature = "testing")]
pub(crate) use bulk::ALL as BULK;
pub(crate) use bulk::insert_readings;

/// SQLite has no arrays: a list of ids is a JSON array of hexadecimal texts.
macro_rules! in_ids {
    ($parameter:literal) => {
        concat!(" IN (SELECT unhex(value) FROM json_each(", $parameter, "))")
    };
}

/// One writer at a time: rows need no locks.
macro_rules! row_lock {
    () => {
        ""
    };
}

/// One writer at a time: no other worker's lease is ever half-made.
macro_rules! skip_locked {
    () => {
        ""
    };
}

/// A list of ids as [`in_ids`] wants it.
pub(crate) fn ids(list: &[Uuid]) -> String {
    let quoted: Vec<String> = list.iter().map(|id| format!("\"{}\"", id.simple())).collect();
    format!("[{}]", quoted.join(","))
}

#[path = "../sql/mod.rs"]
#[expect(
    clippy::duplicate_mod,
    reason = "the shared statements are compiled once against each driver"
)]
pub(crate) mod sql;

/// The WAL-reset bug (3.7.0 to 3.51.2: rare corruption with two connections) is mended from here on.
const OLDEST: &str = "3.51.3";
/// How long SQLite itself waits for another process's lock before it reports busy.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// 64 MiB of pages in memory, in KiB as SQLite wants a negative number.
const CACHE_SIZE: &str = "-65536";
/// Pages of WAL before a checkpoint; the default of 1,000 is SQLite's bottleneck in batches (page 4).
const CHECKPOINT_PAGES: &str = "10000";
/// Bytes that the WAL file may keep after a checkpoint.
const WAL_LIMIT: &str = "67108864";

/// The database file with its writer and readers.
#[derive(Debug)]
pub(crate) struct Engine {
    options: SqliteConnectOptions,
    readers: SqlitePool,
    gate: Arc<gate::Gate>,
    home: Arc<Mutex<Home>>,
    patience: Duration,
    pub(crate) read_audit: read_audit::Group,
}

/// Where the writer's connection rests between transactions.
#[derive(Debug, Default)]
struct Home {
    conn: Option<Conn>,
    /// The last connection saw a disk error or damage: the file is checked before it is written again.
    suspect: bool,
    closed: bool,
}

impl Engine {
    pub(crate) async fn open(config: &StoreConfig, scripts: &[Script]) -> Result<Self, OpenError> {
        let bad_url = |error: Box<dyn std::error::Error + Send + Sync>| {
            OpenError::BadUrl(Fault::new("read the database URL", FaultKind::Unexpected, error))
        };
        let base = SqliteConnectOptions::from_str(&config.url).map_err(|error| bad_url(error.into()))?;
        let path: PathBuf = base.get_filename().to_owned();
        if path.as_os_str().is_empty() || config.url.contains(":memory:") || config.url.contains("mode=memory") {
            return Err(bad_url(
                "a database in memory cannot be shared by its connections; give a file".into(),
            ));
        }
        let base = base
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .pragma("cache_size", CACHE_SIZE)
            .pragma("trusted_schema", "OFF")
            .disable_statement_logging();
        let options = base
            .clone()
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // Since a receipt deletes the gateway's copy, NORMAL would turn a power cut into a loss (page 4).
            .synchronous(SqliteSynchronous::Full)
            .pragma("secure_delete", "ON")
            .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
            .pragma("journal_size_limit", WAL_LIMIT);
        let mut writer = connect(&options).await?;
        check_version(&mut writer).await?;
        crate::migrate::run(&mut writer, scripts, config.migrate).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(config.max_connections.max(1))
            .acquire_timeout(config.acquire_timeout)
            .test_before_acquire(false)
            .connect_with(base.read_only(true))
            .await
            .doing("open the database for reading")?;
        Ok(Self {
            options,
            readers,
            gate: Arc::default(),
            home: Arc::new(Mutex::new(Home {
                conn: Some(writer),
                ..Home::default()
            })),
            patience: config.acquire_timeout,
            read_audit: read_audit::Group::default(),
        })
    }

    /// Begins a writing transaction when its turn has come.
    pub(crate) async fn begin(&self, priority: Priority) -> Result<Tx, Fault> {
        let permit = self.permit(priority).await?;
        self.begin_with(permit).await
    }

    /// Waits for the right to write.
    pub(crate) async fn permit(&self, priority: Priority) -> Result<gate::Permit, Fault> {
        gate::acquire(&self.gate, priority, self.patience).await
    }

    /// Begins a writing transaction under a permit that the caller has.
    pub(crate) async fn begin_with(&self, permit: gate::Permit) -> Result<Tx, Fault> {
        let (resting, suspect, closed) = {
            let mut home = self.home.lock().unwrap_or_else(PoisonError::into_inner);
            (home.conn.take(), home.suspect, home.closed)
        };
        if closed {
            return Err(Fault::new(
                "begin a transaction",
                FaultKind::Unavailable,
                "the store is closed",
            ));
        }
        let mut conn = match resting {
            Some(conn) => conn,
            None => connect(&self.options).await?,
        };
        if suspect {
            quick_check(&mut conn).await?;
            self.home.lock().unwrap_or_else(PoisonError::into_inner).suspect = false;
        }
        // A deferred transaction that reads and then writes is told "busy" at once, whatever the time-out.
        sqlx::query("BEGIN IMMEDIATE")
            .execute(&mut conn)
            .await
            .doing("begin a transaction")?;
        Ok(Tx {
            conn,
            home: Arc::clone(&self.home),
            _permit: permit,
        })
    }

    /// Begins a reading transaction: one snapshot for all its statements.
    pub(crate) async fn begin_read(&self) -> Result<sqlx::Transaction<'static, Sqlite>, Fault> {
        self.readers.begin().await.doing("begin a reading transaction")
    }

    pub(crate) async fn close(&self) {
        self.readers.close().await;
        let Ok(permit) = self.permit(Priority::Replay).await else {
            return;
        };
        let conn = {
            let mut home = self.home.lock().unwrap_or_else(PoisonError::into_inner);
            home.closed = true;
            home.conn.take()
        };
        if let Some(conn) = conn
            && let Err(error) = conn.close().await
        {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the database did not close cleanly"
            );
        }
        drop(permit);
    }
}

async fn connect(options: &SqliteConnectOptions) -> Result<Conn, Fault> {
    options.connect().await.doing("open the database for writing")
}

async fn check_version(conn: &mut Conn) -> Result<(), OpenError> {
    let found: String = sqlx::query_scalar("SELECT sqlite_version()")
        .fetch_one(conn)
        .await
        .doing("ask SQLite for its version")?;
    if numbers(&found) < numbers(OLDEST) {
        Err(OpenError::SqliteTooOld {
            found,
            required: OLDEST,
        })
    } else {
        Ok(())
    }
}

fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

/// After a disk error nothing is known about the file until it has been looked at (page 4).
async fn quick_check(conn: &mut Conn) -> Result<(), Fault> {
    const ATTEMPT: &str = "check the database file after a disk error";
    let verdict: String = sqlx::query_scalar("PRAGMA quick_check(1)")
        .fetch_one(conn)
        .await
        .doing(ATTEMPT)?;
    if verdict == "ok" {
        Ok(())
    } else {
        Err(Fault::new(ATTEMPT, FaultKind::Damaged, "the file is damaged"))
    }
}

/// A writing transaction. Dropped without an end it closes its connection, which rolls everything back; the next one
/// opens a fresh connection.
pub(crate) struct Tx {
    conn: Conn,
    home: Arc<Mutex<Home>>,
    // Last, so that the connection is home or gone before the next writer's turn.
    _permit: gate::Permit,
}

impl Tx {
    pub(crate) fn conn(&mut self) -> &mut Conn {
        &mut self.conn
    }

    /// Commits what went well and rolls back what did not.
    pub(crate) async fn end<T, E: Group>(mut self, done: Result<T, E>) -> Result<T, E> {
        let (statement, attempt) = match &done {
            Ok(_) => ("COMMIT", "commit"),
            Err(_) => ("ROLLBACK", "roll back"),
        };
        let ended = sqlx::query(statement).execute(&mut self.conn).await.doing(attempt);
        let trouble = |fault: &Fault| matches!(fault.kind(), FaultKind::Disk | FaultKind::Damaged);
        let suspect = done.as_ref().err().and_then(Group::fault).is_some_and(trouble)
            || ended.as_ref().err().is_some_and(trouble);
        let Self { conn, home, _permit } = self;
        {
            let mut home = home.lock().unwrap_or_else(PoisonError::into_inner);
            home.suspect |= suspect;
            // A connection that could not end its transaction, or saw the disk fail, is not used again.
            if ended.is_ok() && !suspect && !home.closed {
                home.conn = Some(conn);
            }
        }
        match (done, ended) {
            (Ok(_), Err(fault)) => Err(fault.into()),
            (done, _) => done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert!(numbers("3.51.2") < numbers(OLDEST));
        assert!(numbers("3.6.0") < numbers(OLDEST));
        assert!(numbers("3.51.3") >= numbers(OLDEST));
        assert!(numbers("3.100.0") >= numbers(OLDEST));
    }

    #[test]
    fn a_list_of_ids_is_json() {
        assert_eq!(ids(&[]), "[]");
        assert_eq!(ids(&[Uuid::from_u128(1)]), "[\"00000000000000000000000000000001\"]");
    }
}
