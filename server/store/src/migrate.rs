//! Migrations: two folders with the same numbers, embedded, append-only, expand before contract.
//!
//! A released file is never edited: its checksum is in every database. Migrations that a newer version applied are
//! left alone, so that an old binary runs on a new schema.

use std::borrow::Cow;

use sqlx::SqlSafeStr as _;
use sqlx::migrate::{Migrate, Migration, MigrationType, Migrator};

use crate::error::OpenError;

/// A migration: number, what it does, text.
pub(crate) type Script = (i64, &'static str, &'static str);

/// For SQLite.
pub(crate) const SQLITE: &[Script] = &[
    (
        1,
        "the main job",
        include_str!("../migrations/sqlite/0001_the_main_job.sql"),
    ),
    (2, "devices", include_str!("../migrations/sqlite/0002_devices.sql")),
];

/// For PostgreSQL.
pub(crate) const POSTGRES: &[Script] = &[
    (
        1,
        "the main job",
        include_str!("../migrations/postgres/0001_the_main_job.sql"),
    ),
    (2, "devices", include_str!("../migrations/postgres/0002_devices.sql")),
];

fn migrator(scripts: &[Script]) -> Migrator {
    let migrations = scripts
        .iter()
        .map(|(number, what, text)| {
            Migration::new(
                *number,
                Cow::Borrowed(*what),
                MigrationType::Simple,
                (*text).into_sql_str(),
                false,
            )
        })
        .collect();
    let mut migrator = Migrator::with_migrations(migrations);
    migrator.set_ignore_missing(true);
    migrator
}

/// A schema that is older than this version, when it may not be changed.
#[derive(Debug, thiserror::Error)]
#[error("migration {0} is not applied; run the migrate command")]
struct NotApplied(i64);

/// Applies what is missing, or (`apply` unset) says that something is.
pub(crate) async fn run<C: Migrate>(conn: &mut C, scripts: &[Script], apply: bool) -> Result<(), OpenError> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| OpenError::Migrate(error);
    let migrator = migrator(scripts);
    if apply {
        return migrator
            .run_direct(None, conn, false)
            .await
            .map_err(|error| failed(error.into()));
    }
    conn.ensure_migrations_table(&migrator.table_name)
        .await
        .map_err(|error| failed(error.into()))?;
    let applied = conn
        .list_applied_migrations(&migrator.table_name)
        .await
        .map_err(|error| failed(error.into()))?;
    match migrator
        .iter()
        .find(|wanted| !applied.iter().any(|have| have.version == wanted.version))
    {
        None => Ok(()),
        Some(missing) => Err(failed(NotApplied(missing.version).into())),
    }
}
