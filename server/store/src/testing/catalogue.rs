//! The catalogue of a schema in words that both engines share.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Doing as _, Fault};
use crate::store::{Engine, Store};
use crate::{postgres, sqlite};

/// Tables and indexes by name, without those of the migrator.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Catalogue {
    /// Tables.
    pub tables: BTreeMap<String, Table>,
    /// Indexes that statements made; those of primary keys are in [`Table::primary_key`].
    pub indexes: BTreeMap<String, Index>,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table {
    /// Columns in order.
    pub columns: Vec<Column>,
    /// Columns of the primary key in order.
    pub primary_key: Vec<String>,
    /// Checks by name, each with the texts that it quotes.
    pub checks: BTreeMap<String, BTreeSet<String>>,
    /// Column, table and column referred to.
    pub references: BTreeSet<(String, String, String)>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Name.
    pub name: String,
    /// `integer` (numbers and booleans), `bytes` (ids and byte strings) or `text`, which is as far as both engines tell.
    pub kind: String,
    /// Whether it may be NULL.
    pub nullable: bool,
}

/// An index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// Its table.
    pub table: String,
    /// Its columns in order.
    pub columns: Vec<String>,
    /// Whether it is unique.
    pub unique: bool,
    /// The condition of a partial index, lower case, without brackets.
    pub only_where: Option<String>,
}

/// Reads the catalogue of the store's database.
///
/// # Errors
/// When the database cannot be reached.
pub async fn catalogue(store: &Store) -> Result<Catalogue, Fault> {
    match &store.engine {
        Engine::Sqlite(engine) => {
            let mut tx = engine.begin_read().await?;
            of_sqlite(&mut tx).await.doing("read the catalogue")
        }
        Engine::Postgres(engine) => {
            let mut tx = engine.begin_read().await?;
            of_postgres(&mut tx).await.doing("read the catalogue")
        }
    }
}

fn kind(engine_type: &str) -> String {
    match engine_type.to_ascii_lowercase().as_str() {
        "blob" | "uuid" | "bytea" => "bytes",
        "integer" | "bigint" | "boolean" => "integer",
        "text" => "text",
        other => return format!("unexpected: {other}"),
    }
    .to_owned()
}

/// Texts in single quotes.
fn quoted(definition: &str) -> BTreeSet<String> {
    definition.split('\'').skip(1).step_by(2).map(str::to_owned).collect()
}

fn condition(text: &str) -> String {
    text.chars()
        .filter(|c| !matches!(c, '(' | ')'))
        .collect::<String>()
        .trim()
        .to_ascii_lowercase()
}

async fn of_sqlite(conn: &mut sqlite::Conn) -> Result<Catalogue, sqlx::Error> {
    let mut found = Catalogue::default();
    let tables: Vec<(String, String)> = sqlx::query_as(
        "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT LIKE '_sqlx_%'",
    )
    .fetch_all(&mut *conn)
    .await?;
    for (name, text) in tables {
        let mut table = Table {
            checks: sqlite_checks(&text),
            ..Table::default()
        };
        let columns: Vec<(String, String, i64, i64)> =
            sqlx::query_as("SELECT name, type, \"notnull\", pk FROM pragma_table_info($1) ORDER BY cid")
                .bind(name.as_str())
                .fetch_all(&mut *conn)
                .await?;
        let mut key: Vec<(i64, String)> = Vec::new();
        for (column, engine_type, not_null, place) in columns {
            if place > 0 {
                key.push((place, column.clone()));
            }
            table.columns.push(Column {
                name: column,
                kind: kind(&engine_type),
                nullable: not_null == 0,
            });
        }
        key.sort_unstable();
        table.primary_key = key.into_iter().map(|(_, column)| column).collect();
        let references: Vec<(String, String, String)> =
            sqlx::query_as("SELECT \"from\", \"table\", \"to\" FROM pragma_foreign_key_list($1)")
                .bind(name.as_str())
                .fetch_all(&mut *conn)
                .await?;
        table.references = references.into_iter().collect();
        found.tables.insert(name, table);
    }
    let indexes: Vec<(String, String, String)> =
        sqlx::query_as("SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
            .fetch_all(&mut *conn)
            .await?;
    for (name, table, text) in indexes {
        let columns: Vec<String> = sqlx::query_scalar("SELECT name FROM pragma_index_info($1) ORDER BY seqno")
            .bind(name.as_str())
            .fetch_all(&mut *conn)
            .await?;
        let upper = text.to_ascii_uppercase();
        let only_where = upper.find(" WHERE ").and_then(|at| text.get(at + 7..)).map(condition);
        found.indexes.insert(
            name,
            Index {
                table,
                columns,
                unique: upper.starts_with("CREATE UNIQUE"),
                only_where,
            },
        );
    }
    Ok(found)
}

/// SQLite has no catalogue of checks: they are read from the table's text.
fn sqlite_checks(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut checks = BTreeMap::new();
    for part in text.split("CONSTRAINT ").skip(1) {
        if let Some((name, rest)) = part.split_once(" CHECK ") {
            checks.insert(name.trim().to_owned(), quoted(rest));
        }
    }
    checks
}

/// Name, table, unique, condition, columns.
type PostgresIndex = (String, String, bool, Option<String>, Vec<String>);

async fn of_postgres(conn: &mut postgres::Conn) -> Result<Catalogue, sqlx::Error> {
    let mut found = Catalogue::default();
    let columns: Vec<(String, String, String, bool)> = sqlx::query_as(
        "SELECT c.relname::text, a.attname::text, format_type(a.atttypid, NULL), NOT a.attnotnull
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped
            AND c.relname NOT LIKE '\\_sqlx%'
        ORDER BY c.relname, a.attnum",
    )
    .fetch_all(&mut *conn)
    .await?;
    for (table, name, engine_type, nullable) in columns {
        let column = Column {
            name,
            kind: kind(&engine_type),
            nullable,
        };
        found.tables.entry(table).or_default().columns.push(column);
    }
    let constraints: Vec<(String, String, String, String)> = sqlx::query_as(
        "SELECT conrelid::regclass::text, conname::text, contype::text, pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text NOT LIKE '\\_sqlx%'",
    )
    .fetch_all(&mut *conn)
    .await?;
    for (table, name, what, definition) in constraints {
        let table = found.tables.entry(table).or_default();
        match what.as_str() {
            "c" => {
                table.checks.insert(name, quoted(&definition));
            }
            "p" => table.primary_key = in_brackets(&definition),
            "f" => table.references.extend(reference(&definition)),
            _ => {}
        }
    }
    let indexes: Vec<PostgresIndex> = sqlx::query_as(
        "SELECT i.indexrelid::regclass::text, i.indrelid::regclass::text, i.indisunique,
            pg_get_expr(i.indpred, i.indrelid),
            ARRAY(SELECT pg_get_indexdef(i.indexrelid, n, true) FROM generate_series(1, i.indnkeyatts::int) n)
        FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
        WHERE c.relnamespace = 'public'::regnamespace AND NOT i.indisprimary AND c.relname NOT LIKE '\\_sqlx%'",
    )
    .fetch_all(&mut *conn)
    .await?;
    for (name, table, unique, only_where, columns) in indexes {
        let only_where = only_where.as_deref().map(condition);
        found.indexes.insert(
            name,
            Index {
                table,
                columns,
                unique,
                only_where,
            },
        );
    }
    Ok(found)
}

fn in_brackets(definition: &str) -> Vec<String> {
    let inner = definition
        .split_once('(')
        .and_then(|(_, rest)| rest.split_once(')'))
        .map_or("", |(inner, _)| inner);
    inner.split(',').map(|column| column.trim().to_owned()).collect()
}

/// Reads `FOREIGN KEY (a) REFERENCES t(b)`.
fn reference(definition: &str) -> Option<(String, String, String)> {
    let (from, rest) = definition.split_once(" REFERENCES ")?;
    let (table, _) = rest.split_once('(')?;
    Some((
        in_brackets(from).pop()?,
        table.trim().to_owned(),
        in_brackets(rest).pop()?,
    ))
}
