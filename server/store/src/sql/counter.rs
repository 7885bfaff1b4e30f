//! Counters that change in the transaction of what they count.

use super::Conn;
use crate::error::{Doing as _, Fault};

statements! {
    READ = "SELECT value FROM counter WHERE name = $1";
    LOCK = concat!("SELECT value FROM counter WHERE name = $1", row_lock!());
    ADD = "UPDATE counter SET value = value + $2 WHERE name = $1 RETURNING value";
    SET = "UPDATE counter SET value = $2 WHERE name = $1";
}

/// The counters there are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Counter {
    /// Members, meters, bindings and grants, as gateways hold them.
    Down,
    /// Alerts and tasks, as the queue page shows them.
    Queue,
    /// Rows of the audit that are chained.
    AuditChain,
    /// Rows in quarantine.
    QuarantineRows,
    /// Rows that left the quarantine for newer ones.
    QuarantineDropped,
}

impl Counter {
    const fn name(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Queue => "queue",
            Self::AuditChain => "audit_chain",
            Self::QuarantineRows => "quarantine_rows",
            Self::QuarantineDropped => "quarantine_dropped",
        }
    }
}

pub(crate) async fn read(conn: &mut Conn, counter: Counter) -> Result<i64, Fault> {
    sqlx::query_scalar(READ)
        .bind(counter.name())
        .fetch_one(conn)
        .await
        .doing("read a counter")
}

/// Reads a counter and holds it until commit.
pub(crate) async fn lock(conn: &mut Conn, counter: Counter) -> Result<i64, Fault> {
    sqlx::query_scalar(LOCK)
        .bind(counter.name())
        .fetch_one(conn)
        .await
        .doing("hold a counter")
}

/// Adds to a counter and holds it until commit, so that commits come in the order of its values.
pub(crate) async fn add(conn: &mut Conn, counter: Counter, amount: i64) -> Result<i64, Fault> {
    sqlx::query_scalar(ADD)
        .bind(counter.name())
        .bind(amount)
        .fetch_one(conn)
        .await
        .doing("advance a counter")
}

pub(crate) async fn set(conn: &mut Conn, counter: Counter, value: i64) -> Result<(), Fault> {
    sqlx::query(SET)
        .bind(counter.name())
        .bind(value)
        .execute(conn)
        .await
        .doing("set a counter")?;
    Ok(())
}

/// Writes without changing anything.
pub(crate) async fn ping(conn: &mut Conn) -> Result<(), Fault> {
    add(conn, Counter::QuarantineDropped, 0).await.map(|_| ())
}
