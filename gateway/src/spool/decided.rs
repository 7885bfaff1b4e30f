//! Decisions about packets on their way into the file, and the usual page of them: a meter's memory.

use std::collections::{BTreeSet, HashSet};
use std::sync::LazyLock;

use carepost_contract::v1::WireReading;
use carepost_domain::id::ReadingId;
use sqlx::FromRow;
use sqlx::sqlite::SqliteConnection;
use uuid::Uuid;

use super::error::{Attempted as _, bad_row};
use super::many::{Ready, Statements};
use super::row::{hex, last_id, list, micros};
use super::settle::lane_of;
use super::{Settled, Settlement, SpoolError, SpoolRow};

const ATTEMPT: &str = "settle packets";

/// Decisions about packets, made ready to be written down, because nobody else can write meanwhile.
#[derive(Default)]
pub struct Decided {
    pub(super) decisions: Vec<(SpoolRow, Settlement)>,
    /// What is written of each reading among them; nothing of the others.
    pub(super) texts: Vec<String>,
    pub(super) plain: Option<Plain>,
}

impl Decided {
    /// Makes decisions ready: about packets in their order, and about each once.
    ///
    /// # Errors
    /// When a reading cannot be written as JSON.
    pub fn new(decisions: Vec<(SpoolRow, Settlement)>) -> Result<Self, SpoolError> {
        let mut decided = Self::default();
        for (row, settlement) in decisions {
            decided.push(row, settlement)?;
        }
        decided.make_ready()?;
        Ok(decided)
    }

    /// Adds a decision. [`make_ready`](Self::make_ready) comes after the last.
    pub(crate) fn push(&mut self, row: SpoolRow, settlement: Settlement) -> Result<(), SpoolError> {
        self.texts.push(match &settlement {
            Settlement::Outbox(reading) | Settlement::Sealed(reading) => to_text(reading)?,
            Settlement::Quarantine { .. } | Settlement::Forget(_) => String::new(),
        });
        self.decisions.push((row, settlement));
        Ok(())
    }

    pub(crate) fn make_ready(&mut self) -> Result<(), SpoolError> {
        self.plain = Plain::of(&self.decisions, &self.texts)?;
        Ok(())
    }

    /// The decisions.
    #[must_use]
    pub fn decisions(&self) -> &[(SpoolRow, Settlement)] {
        &self.decisions
    }
}

/// What a meter's memory is, mostly: new readings for the outbox and nothing else. They are written without being looked up
/// and without their packets being read once more; if the file turns out to have something of them, all is taken back.
pub(super) struct Plain {
    readings: Vec<ReadingId>,
    /// Their meters, as `json_each` takes them.
    meters: String,
    delete: Ready,
    inserts: Vec<Ready>,
}

/// What is known of a meter, and whether the first reading is in the outbox.
#[derive(FromRow)]
struct Ordinary {
    last_delivered: Option<Uuid>,
    aside: bool,
    known: bool,
}

impl Plain {
    /// If there are only readings for the outbox, and each once.
    fn of(decisions: &[(SpoolRow, Settlement)], texts: &[String]) -> Result<Option<Self>, SpoolError> {
        let readings: Option<Vec<&WireReading>> = decisions.iter().map(|(_, what)| for_outbox(what)).collect();
        let Some(readings) = readings.filter(|readings| !readings.is_empty()) else {
            return Ok(None);
        };
        let mut ids = HashSet::new();
        if !readings.iter().all(|reading| ids.insert(reading.id)) {
            return Ok(None);
        }
        let rows: Vec<i64> = decisions.iter().map(|(row, _)| row.0).collect();
        let texts = readings.iter().copied().zip(texts.iter().map(String::as_str));
        Ok(Some(Self {
            meters: meters_of(&readings)?,
            readings: readings.iter().map(|reading| reading.id).collect(),
            delete: delete_rows(&rows)?,
            inserts: into_outbox(&texts.collect::<Vec<_>>()),
        }))
    }

    /// Writes them. `None` if the file has something of them already; then the transaction must be given up.
    pub(super) async fn write(self, conn: &mut SqliteConnection) -> Result<Option<Vec<Settled>>, SpoolError> {
        let ordinary: Vec<Ordinary> = sqlx::query_as(
            "SELECT last_delivered, EXISTS (SELECT 1 FROM quarantine WHERE quarantine.meter = unhex(value)) AS aside,
                    EXISTS (SELECT 1 FROM outbox WHERE reading_id = $2) AS known
             FROM json_each($1) LEFT JOIN meter_state ON meter_state.meter = unhex(value)",
        )
        .bind(self.meters)
        .bind(self.readings.first().map(|first| first.uuid()))
        .fetch_all(&mut *conn)
        .await
        .attempting(ATTEMPT)?;
        let confirmed: Vec<Uuid> = ordinary.iter().filter_map(|meter| meter.last_delivered).collect();
        if ordinary.iter().any(|meter| meter.aside || meter.known)
            || self.readings.iter().any(|reading| confirmed.contains(&reading.uuid()))
        {
            return Ok(None);
        }
        let expected = u64::try_from(self.readings.len()).unwrap_or(u64::MAX);
        let deleted = self.delete.execute(&mut *conn).await.attempting(ATTEMPT)?;
        if deleted.rows_affected() != expected || insert_outbox(conn, self.inserts).await? != expected {
            return Ok(None);
        }
        Ok(Some(self.readings.into_iter().map(Settled::Outbox).collect()))
    }
}

/// Deletes rows: by the first and the last where there is nothing between them.
fn delete_rows(rows: &[i64]) -> Result<Ready, SpoolError> {
    if let (Some(first), Some(last)) = (rows.first(), rows.last())
        && rows
            .windows(2)
            .all(|pair| matches!(pair, [one, next] if one + 1 == *next))
    {
        let range = "DELETE FROM spool WHERE id BETWEEN $1 AND $2";
        return Ok(sqlx::query(range).bind(*first).bind(*last));
    }
    let listed = "DELETE FROM spool WHERE id IN (SELECT value FROM json_each($1))";
    Ok(sqlx::query(listed).bind(list(rows)?))
}

/// The reading that is for the outbox, if it is one.
pub(super) fn for_outbox(settlement: &Settlement) -> Option<&WireReading> {
    match settlement {
        Settlement::Outbox(reading) => Some(reading),
        Settlement::Sealed(_) | Settlement::Quarantine { .. } | Settlement::Forget(_) => None,
    }
}

/// `column1` counts the rows from 1; the rest to `column8` are the columns behind the number in the first line. One that is
/// in the outbox already is passed over.
static INTO_OUTBOX: LazyLock<Statements> = LazyLock::new(|| {
    Statements::new(
        &format!(
            "INSERT INTO outbox (id, reading_id, member, meter, measured_at, captured_at, lane, reading)
             SELECT {} + column1, column2, column3, column4, column5, column6, column7, column8 FROM",
            last_id("outbox")
        ),
        8,
        "WHERE true ON CONFLICT (reading_id) DO NOTHING",
    )
});

/// Statements that add readings without a number, in their order, each with what is written of it.
fn into_outbox(readings: &[(&WireReading, &str)]) -> Vec<Ready> {
    let ready = |(statement, part): (&'static str, &[(&WireReading, &str)])| {
        let mut query = sqlx::query(statement);
        for ((reading, text), place) in part.iter().zip(1_i64..) {
            query = query
                .bind(place)
                .bind(reading.id.uuid())
                .bind(reading.member.uuid())
                .bind(reading.meter.uuid())
                .bind(micros(reading.time.at))
                .bind(micros(reading.captured_at))
                .bind(lane_of(reading.time.at, reading.captured_at).code())
                .bind((*text).to_owned());
        }
        query
    };
    INTO_OUTBOX.over(readings).map(ready).collect()
}

/// Adds readings, and says how many of them were not there.
async fn insert_outbox(conn: &mut SqliteConnection, inserts: Vec<Ready>) -> Result<u64, SpoolError> {
    let mut added = 0;
    for insert in inserts {
        let done = insert.execute(&mut *conn).await;
        added += done.attempting("put readings into the outbox")?.rows_affected();
    }
    Ok(added)
}

/// Adds readings that are known not to be there, without a number, in their order, each with what is written of it.
pub(super) async fn add_to_outbox(
    conn: &mut SqliteConnection,
    readings: &[(&WireReading, &str)],
) -> Result<(), SpoolError> {
    let added = insert_outbox(conn, into_outbox(readings)).await?;
    if u64::try_from(readings.len()).is_ok_and(|all| all == added) {
        Ok(())
    } else {
        Err(bad_row("the outbox")(
            "it has a reading that was looked for and not found",
        ))
    }
}

/// The meters of readings, as `json_each` and `unhex` take them.
pub(super) fn meters_of(readings: &[&WireReading]) -> Result<String, SpoolError> {
    let meters: BTreeSet<Uuid> = readings.iter().map(|reading| reading.meter.uuid()).collect();
    list(&meters.into_iter().map(hex).collect::<Vec<_>>())
}

/// Bytes that a reading takes as JSON, mostly.
const TEXT_BYTES: usize = 1_024;

fn to_text(reading: &WireReading) -> Result<String, SpoolError> {
    let mut text = Vec::with_capacity(TEXT_BYTES);
    serde_json::to_writer(&mut text, reading).map_err(bad_row("a reading"))?;
    String::from_utf8(text).map_err(bad_row("a reading"))
}
