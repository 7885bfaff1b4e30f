//! The gateway's file as a reader from outside sees it: only what is committed.

use std::path::Path;

use anyhow::Context as _;
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

/// Name of the file in the gateway's data folder.
const FILE: &str = "spool.sqlite";

/// The gateway's file, read only.
#[derive(Debug)]
pub(crate) struct SpoolFile {
    connection: SqliteConnection,
}

impl SpoolFile {
    /// Opens the file in the gateway's data folder.
    pub(crate) async fn open(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(FILE);
        let options = SqliteConnectOptions::new().filename(&path).read_only(true);
        let connection = SqliteConnection::connect_with(&options)
            .await
            .with_context(|| format!("opening {}", path.display()))?;
        Ok(Self { connection })
    }

    /// Packets that were ever committed to the spool, settled ones included.
    pub(crate) async fn ever_spooled(&mut self) -> anyhow::Result<i64> {
        self.numbered("spool").await
    }

    /// Readings that were ever committed to the outbox, delivered ones included.
    pub(crate) async fn ever_in_outbox(&mut self) -> anyhow::Result<i64> {
        self.numbered("outbox").await
    }

    /// Packets that wait in the spool.
    pub(crate) async fn waiting(&mut self) -> anyhow::Result<i64> {
        sqlx::query_scalar("SELECT count(*) FROM spool")
            .fetch_one(&mut self.connection)
            .await
            .context("counting packets that wait")
    }

    /// When the first of the readings in the outbox behind `after` was received, in microseconds since 1970.
    pub(crate) async fn first_received_us(&mut self, after: i64) -> anyhow::Result<i64> {
        sqlx::query_scalar::<_, Option<i64>>("SELECT min(captured_at) FROM outbox WHERE id > $1")
            .bind(after)
            .fetch_one(&mut self.connection)
            .await
            .context("reading when the first record came")?
            .context("the outbox is empty")
    }

    /// The highest number that a table has given. Numbers are never used twice, so that rows count that have gone since.
    async fn numbered(&mut self, table: &str) -> anyhow::Result<i64> {
        let highest: Option<i64> = sqlx::query_scalar("SELECT seq FROM sqlite_sequence WHERE name = $1")
            .bind(table)
            .fetch_optional(&mut self.connection)
            .await
            .with_context(|| format!("reading the last number of {table}"))?;
        Ok(highest.unwrap_or(0))
    }
}
