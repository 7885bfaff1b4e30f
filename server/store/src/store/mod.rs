//! The handle: one public method per use case, each one transaction with one named span.

mod care;
mod fleet;
mod ingest;
mod jobs;
mod people;
mod staff;

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Fault, FaultKind, Group, OpenError};
use crate::limits::MAX_CONTENTION_RETRIES;
use crate::{migrate, postgres, sqlite};

/// How to reach the database.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// `sqlite:PATH` or `postgres://...`.
    pub url: String,
    /// SQLite: connections that read, beside the one that writes. PostgreSQL: connections in all.
    pub max_connections: u32,
    /// How long a caller waits for a connection, or for its turn to write.
    pub acquire_timeout: Duration,
    /// Apply migrations that are missing; otherwise refuse a schema that is too old.
    pub migrate: bool,
}

impl StoreConfig {
    /// Eight connections, ten seconds of patience, migrations applied.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            max_connections: 8,
            acquire_timeout: Duration::from_secs(10),
            migrate: true,
        }
    }
}

/// Who goes first to SQLite's one writer; declared in that order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Priority {
    /// Somebody of the staff waits for an answer.
    Staff,
    /// Readings just measured.
    Live,
    /// Backlogs, jobs and upkeep.
    Replay,
}

/// The server's database. Cheap to clone; all clones share its connections.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) engine: Engine,
}

#[derive(Debug, Clone)]
pub(crate) enum Engine {
    Sqlite(Arc<sqlite::Engine>),
    Postgres(Arc<postgres::Engine>),
}

/// Runs one use case as one writing transaction. `sql` names the statements of the engine at hand; on PostgreSQL the
/// transaction is run again after a serialisation failure or deadlock, which its idempotence allows.
///
/// A macro, because the two arms run the same expression against two types of connection.
macro_rules! write {
    ($store:expr, $priority:expr, |$conn:ident| $call:expr) => {
        match &$store.engine {
            $crate::store::Engine::Sqlite(engine) => {
                use $crate::sqlite::sql;
                let mut tx = engine.begin($priority).await?;
                let done = {
                    let $conn = tx.conn();
                    $call.await
                };
                tx.end(done).await
            }
            $crate::store::Engine::Postgres(engine) => {
                use $crate::postgres::sql;
                let mut attempts = 0;
                loop {
                    let mut tx = engine.begin().await?;
                    let done = {
                        let $conn = tx.conn();
                        $call.await
                    };
                    let ended = tx.end(done).await;
                    if $crate::store::again(&ended, &mut attempts).await {
                        continue;
                    }
                    break ended;
                }
            }
        }
    };
}

/// Runs one use case as one reading transaction.
macro_rules! read {
    ($store:expr, |$conn:ident| $call:expr) => {
        match &$store.engine {
            $crate::store::Engine::Sqlite(engine) => {
                use $crate::sqlite::sql;
                let mut tx = engine.begin_read().await?;
                let $conn = &mut *tx;
                $call.await
            }
            $crate::store::Engine::Postgres(engine) => {
                use $crate::postgres::sql;
                let mut tx = engine.begin_read().await?;
                let $conn = &mut *tx;
                $call.await
            }
        }
    };
}

/// Runs one use case that reads personal data: it gives what was read and the audit rows, which are durable before the
/// caller sees anything. On SQLite readers share one transaction of the writer for their audit rows.
macro_rules! audited {
    ($store:expr, |$conn:ident| $call:expr) => {
        match &$store.engine {
            $crate::store::Engine::Sqlite(engine) => {
                use $crate::sqlite::sql;
                let (value, entries) = {
                    let mut tx = engine.begin_read().await?;
                    let $conn = &mut *tx;
                    $call.await?
                };
                $crate::sqlite::read_audit::commit(engine, entries).await?;
                Ok(value)
            }
            $crate::store::Engine::Postgres(engine) => {
                use $crate::postgres::sql;
                let mut tx = engine.begin_audited_read().await?;
                let done = {
                    let $conn = tx.conn();
                    $call.await
                };
                let mut done = done;
                if let Ok((_, entries)) = &done {
                    for entry in entries {
                        if let Err(fault) = sql::audit::insert(tx.conn(), entry).await {
                            done = Err(fault.into());
                            break;
                        }
                    }
                }
                tx.end(done).await.map(|(value, _)| value)
            }
        }
    };
}

use {audited, read, write};

/// Whether a transaction that failed because another was in its way is to be run again, after a pause that grows.
async fn again<T, E: Group>(ended: &Result<T, E>, attempts: &mut u32) -> bool {
    let fault = ended.as_ref().err().and_then(Group::fault);
    let in_the_way = fault.is_some_and(|fault| fault.kind() == FaultKind::Contention);
    if !in_the_way || *attempts >= MAX_CONTENTION_RETRIES {
        return false;
    }
    *attempts += 1;
    // The server has chosen a victim; the other has gone on and needs milliseconds.
    tokio::time::sleep(Duration::from_millis(5) * 2_u32.pow(*attempts)).await;
    true
}

impl Store {
    /// Opens the database and brings its schema up to date.
    ///
    /// # Errors
    /// When the URL is of neither engine, the database does not answer, is too old, or has a schema that cannot be
    /// brought up to date.
    #[tracing::instrument(name = "store.open", skip_all)]
    pub async fn open(config: &StoreConfig) -> Result<Self, OpenError> {
        Self::open_with(config, migrate::SQLITE, migrate::POSTGRES).await
    }

    /// As [`Store::open`], with the migrations given.
    pub(crate) async fn open_with(
        config: &StoreConfig,
        for_sqlite: &[migrate::Script],
        for_postgres: &[migrate::Script],
    ) -> Result<Self, OpenError> {
        let engine = if config.url.starts_with("sqlite:") {
            Engine::Sqlite(Arc::new(sqlite::Engine::open(config, for_sqlite).await?))
        } else if config.url.starts_with("postgres:") || config.url.starts_with("postgresql:") {
            Engine::Postgres(Arc::new(postgres::Engine::open(config, for_postgres).await?))
        } else {
            return Err(OpenError::UnknownEngine);
        };
        Ok(Self { engine })
    }

    /// `sqlite` or `postgres`, for logs and health pages.
    #[must_use]
    pub const fn engine_name(&self) -> &'static str {
        match self.engine {
            Engine::Sqlite(_) => "sqlite",
            Engine::Postgres(_) => "postgres",
        }
    }

    /// Waits for transactions under way and closes all connections; later calls fail.
    pub async fn close(&self) {
        match &self.engine {
            Engine::Sqlite(engine) => engine.close().await,
            Engine::Postgres(engine) => engine.close().await,
        }
    }

    /// Whether the database can be written to, for readiness.
    ///
    /// # Errors
    /// When it cannot.
    #[tracing::instrument(name = "store.ping", skip_all)]
    pub async fn ping(&self) -> Result<(), Fault> {
        write!(self, Priority::Staff, |conn| sql::counter::ping(conn))
    }
}
