//! The harness of this crate's suites, for the system tests as well: a throw-away PostgreSQL, every statement prepared,
//! and the catalogue of a schema for comparison. Not part of a shipped server.

mod catalogue;
mod cluster;

use sqlx::{Executor as _, SqlSafeStr as _};

pub use catalogue::{Catalogue, Column, Index, Table, catalogue};
pub use cluster::{Cluster, ClusterError};

use crate::migrate::Script;
use crate::store::{Engine, Store, StoreConfig};
use crate::{Fault, OpenError, migrate, postgres, sqlite};

/// What preparing one statement came to.
#[derive(Debug)]
pub struct Prepared {
    /// File and name, such as `fleet::GATEWAY`.
    pub name: String,
    /// What the engine said against it.
    pub refused: Option<String>,
}

/// Prepares every statement that this crate can send to the store's engine.
///
/// # Errors
/// When the database cannot be reached.
pub async fn prepare_all(store: &Store) -> Result<Vec<Prepared>, Fault> {
    let mut prepared = Vec::new();
    match &store.engine {
        Engine::Sqlite(engine) => {
            let mut tx = engine.begin_read().await?;
            for (name, text) in named(sqlite::sql::ALL, sqlite::BULK) {
                let refused = (&mut *tx)
                    .prepare(text.into_sql_str())
                    .await
                    .err()
                    .map(|error| error.to_string());
                prepared.push(Prepared { name, refused });
            }
        }
        Engine::Postgres(engine) => {
            for (name, text) in named(postgres::sql::ALL, postgres::BULK) {
                // A refusal ends a transaction, so that each statement gets its own.
                let mut tx = engine.begin_read().await?;
                let refused = (&mut *tx)
                    .prepare(text.into_sql_str())
                    .await
                    .err()
                    .map(|error| error.to_string());
                prepared.push(Prepared { name, refused });
            }
        }
    }
    Ok(prepared)
}

/// Names of the files of shared statements that [`prepare_all`] knows.
#[must_use]
pub fn statement_files() -> Vec<&'static str> {
    sqlite::sql::ALL.iter().map(|(file, _)| *file).collect()
}

type Statements = &'static [(&'static str, &'static str)];

fn named(shared: &'static [(&'static str, Statements)], bulk: Statements) -> Vec<(String, &'static str)> {
    let shared = shared
        .iter()
        .flat_map(|(file, list)| list.iter().map(move |(name, text)| (format!("{file}::{name}"), *text)));
    shared
        .chain(bulk.iter().map(|(name, text)| (format!("bulk::{name}"), *text)))
        .collect()
}

/// Opens a database with the schema of an older version: migrations up to that number are applied.
///
/// # Errors
/// As [`Store::open`].
pub async fn open_at(config: &StoreConfig, version: i64) -> Result<Store, OpenError> {
    let until = |scripts: &'static [Script]| {
        let count = scripts.iter().take_while(|(number, ..)| *number <= version).count();
        scripts.get(..count).unwrap_or(scripts)
    };
    Store::open_with(config, until(migrate::SQLITE), until(migrate::POSTGRES)).await
}

/// Runs a statement of a test, such as one that damages a row in order to see it found.
///
/// # Errors
/// When the engine refuses it.
pub async fn execute(store: &Store, statement: &str) -> Result<u64, Fault> {
    use crate::error::Doing as _;
    let attempt = "run a test's statement";
    match &store.engine {
        Engine::Sqlite(engine) => {
            let mut tx = engine.begin(crate::store::Priority::Staff).await?;
            let done = sqlx::query(sqlx::AssertSqlSafe(statement))
                .execute(tx.conn())
                .await
                .doing(attempt);
            tx.end(done).await.map(|done| done.rows_affected())
        }
        Engine::Postgres(engine) => {
            let mut tx = engine.begin().await?;
            let done = sqlx::query(sqlx::AssertSqlSafe(statement))
                .execute(tx.conn())
                .await
                .doing(attempt);
            tx.end(done).await.map(|done| done.rows_affected())
        }
    }
}
