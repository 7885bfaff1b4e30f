//! PostgreSQL: a pool; several writers, kept apart by row locks.

mod bulk;

use std::str::FromStr;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions as _, Postgres, Transaction};
use uuid::Uuid;

use crate::error::{Doing, Fault, FaultKind, Group, OpenError};
use crate::migrate::Script;
use crate::store::StoreConfig;

/// The connection that the shared statements run on.
pub(crate) type Conn = sqlx::PgConnection;

#[cfg(feature = "testing")]
pub(crate) use bulk::ALL as BULK;
pub(crate) use bulk::insert_readings;

/// A list of ids is an array.
macro_rules! in_ids {
    ($parameter:literal) => {
        concat!(" = ANY(", $parameter, ")")
    };
}

/// Holds other writers off a row until commit, without holding off those who only refer to it.
macro_rules! row_lock {
    () => {
        " FOR NO KEY UPDATE"
    };
}

/// Rows that another worker is leasing right now are its own.
macro_rules! skip_locked {
    () => {
        " FOR UPDATE SKIP LOCKED"
    };
}

/// A list of ids as [`in_ids`] wants it.
pub(crate) fn ids(list: &[Uuid]) -> Vec<Uuid> {
    list.to_vec()
}

#[path = "../sql/mod.rs"]
#[expect(
    clippy::duplicate_mod,
    reason = "the shared statements are compiled once against each driver"
)]
pub(crate) mod sql;

/// The database behind a pool.
#[derive(Debug)]
pub(crate) struct Engine {
    pool: PgPool,
}

impl Engine {
    pub(crate) async fn open(config: &StoreConfig, scripts: &[Script]) -> Result<Self, OpenError> {
        let options = PgConnectOptions::from_str(&config.url)
            .map_err(|error| OpenError::BadUrl(Fault::new("read the database URL", FaultKind::Unexpected, error)))?
            .application_name("carepost")
            .disable_statement_logging();
        let pool = PgPoolOptions::new()
            .max_connections(config.max_connections.max(1))
            .acquire_timeout(config.acquire_timeout)
            .test_before_acquire(false)
            .connect_with(options)
            .await
            .doing("connect to the database")?;
        let mut conn = pool.acquire().await.doing("connect to the database")?;
        crate::migrate::run(&mut *conn, scripts, config.migrate).await?;
        drop(conn);
        Ok(Self { pool })
    }

    /// Begins a writing transaction. Read committed is enough: what a use case decides on is locked first.
    pub(crate) async fn begin(&self) -> Result<Tx, Fault> {
        self.begin_as("BEGIN ISOLATION LEVEL READ COMMITTED").await
    }

    /// Begins a reading transaction: one snapshot for all its statements.
    pub(crate) async fn begin_read(&self) -> Result<Transaction<'static, Postgres>, Fault> {
        Ok(self
            .begin_as("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .await?
            .0)
    }

    /// Begins a reading transaction that adds its own audit rows, which nothing can conflict with.
    pub(crate) async fn begin_audited_read(&self) -> Result<Tx, Fault> {
        self.begin_as("BEGIN ISOLATION LEVEL REPEATABLE READ").await
    }

    async fn begin_as(&self, statement: &'static str) -> Result<Tx, Fault> {
        self.pool
            .begin_with(statement)
            .await
            .doing("begin a transaction")
            .map(Tx)
    }

    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }
}

/// A transaction; dropped without an end it is rolled back.
pub(crate) struct Tx(Transaction<'static, Postgres>);

impl Tx {
    pub(crate) fn conn(&mut self) -> &mut Conn {
        &mut self.0
    }

    /// Commits what went well and rolls back what did not.
    pub(crate) async fn end<T, E: Group>(self, done: Result<T, E>) -> Result<T, E> {
        match done {
            Ok(value) => {
                self.0.commit().await.doing("commit")?;
                Ok(value)
            }
            Err(error) => {
                // A connection that cannot roll back is broken, and the pool closes it; the first error says more.
                if let Err(second) = self.0.rollback().await {
                    tracing::debug!(
                        error = &second as &dyn std::error::Error,
                        "a transaction did not roll back"
                    );
                }
                Err(error)
            }
        }
    }
}
