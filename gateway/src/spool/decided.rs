//! Decisions about packets on their way into the file, and the usual page of them: a meter's memory.

use std::collections::{BTreeSet, HashSet};
use std::sync::LazyLock;

use carepost_contract::v1::{Lane, WireReading};
use carepost_domain::id::ReadingId;
use sqlx::FromRow;
use sqlx::sqlite::SqliteConnection;
use uuid::Uuid;

use super::error::{Attempted as _, bad_row};
use super::many::{Ready, Statements};
use super::packed::pack;
use super::row::{hex, key, last_id, list, micros};
use super::settle::lane_of;
use super::{AsDecided, Settled, Settlement, SpoolError, down};

const ATTEMPT: &str = "settle packets";

/// Decisions about packets, made ready to be written down, because nobody else can write meanwhile.
#[derive(Default)]
pub struct Decided {
    pub(super) decisions: Vec<(AsDecided, Settlement)>,
    /// Each reading among them as it is written; nothing of the others. Without those that are in `plain`.
    pub(super) packed: Vec<Vec<u8>>,
    pub(super) plain: Option<Plain>,
}

impl Decided {
    /// Makes decisions ready: about packets in their order, and about each once.
    ///
    /// # Errors
    /// When a reading cannot be packed.
    pub fn new(decisions: Vec<(AsDecided, Settlement)>) -> Result<Self, SpoolError> {
        let mut decided = Self::default();
        for (packet, settlement) in decisions {
            decided.push(packet, settlement)?;
        }
        decided.make_ready()?;
        Ok(decided)
    }

    /// Adds a decision. [`make_ready`](Self::make_ready) comes after the last.
    pub(crate) fn push(&mut self, packet: AsDecided, settlement: Settlement) -> Result<(), SpoolError> {
        self.packed.push(packed(&settlement)?);
        self.decisions.push((packet, settlement));
        Ok(())
    }

    pub(crate) fn make_ready(&mut self) -> Result<(), SpoolError> {
        self.plain = Plain::of(&self.decisions, &mut self.packed)?;
        Ok(())
    }

    /// Packs the readings again that went with a plain page, if they did.
    pub(super) fn pack_again(&mut self) -> Result<(), SpoolError> {
        if self.packed.is_empty() {
            let readings = self.decisions.iter().map(|(_, settlement)| packed(settlement));
            self.packed = readings.collect::<Result<_, _>>()?;
        }
        Ok(())
    }

    /// The decisions.
    #[must_use]
    pub fn decisions(&self) -> &[(AsDecided, Settlement)] {
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

/// Why a page is not written as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Somebody withdrew or consented since it was decided about.
    Outdated,
    /// It must be settled alone, record by record: the file has something of it, or it could not be written.
    Alone,
}

/// What is known of a meter and of the copy, and whether the first reading is in the outbox.
#[derive(FromRow)]
struct Ordinary {
    revision: Option<String>,
    last_delivered: Option<Uuid>,
    aside: bool,
    known: bool,
}

impl Plain {
    /// If there are only readings for the outbox, and each once; then it has them packed.
    fn of(decisions: &[(AsDecided, Settlement)], packed: &mut Vec<Vec<u8>>) -> Result<Option<Self>, SpoolError> {
        let readings: Option<Vec<&WireReading>> = decisions.iter().map(|(_, what)| for_outbox(what)).collect();
        let Some(readings) = readings.filter(|readings| !readings.is_empty()) else {
            return Ok(None);
        };
        let mut ids = HashSet::new();
        if !readings.iter().all(|reading| ids.insert(reading.id)) {
            return Ok(None);
        }
        Ok(Some(Self {
            meters: meters_of(&readings)?,
            delete: delete_rows(decisions)?,
            readings: readings.iter().map(|reading| reading.id).collect(),
            inserts: into_outbox(readings.into_iter().zip(std::mem::take(packed)).collect()),
        }))
    }

    /// Why it may not be written, if it may not; nothing is written here.
    pub(super) async fn refusal(
        &self,
        conn: &mut SqliteConnection,
        decided_with: u64,
    ) -> Result<Option<Refusal>, SpoolError> {
        let ordinary: Vec<Ordinary> = sqlx::query_as(
            "SELECT (SELECT value FROM meta WHERE key = $3) AS revision, last_delivered,
                    EXISTS (SELECT 1 FROM quarantine WHERE quarantine.meter = unhex(value)) AS aside,
                    EXISTS (SELECT 1 FROM outbox WHERE reading_id = $2) AS known
             FROM json_each($1) LEFT JOIN meter_state ON meter_state.meter = unhex(value)",
        )
        .bind(self.meters.clone())
        .bind(self.readings.first().map(|first| first.uuid()))
        .bind(key::DOWN_REVISION)
        .fetch_all(&mut *conn)
        .await
        .attempting(ATTEMPT)?;
        let in_force = |meter: &Ordinary| down::as_revision(meter.revision.as_deref()) == decided_with;
        if !ordinary.iter().all(in_force) {
            return Ok(Some(Refusal::Outdated));
        }
        let confirmed: Vec<Uuid> = ordinary.iter().filter_map(|meter| meter.last_delivered).collect();
        let known = ordinary.iter().any(|meter| meter.aside || meter.known)
            || self.readings.iter().any(|reading| confirmed.contains(&reading.uuid()));
        Ok(known.then_some(Refusal::Alone))
    }

    /// Writes them. `None` if the file has something of them already, or a packet is not as it was; then the transaction must be
    /// given up.
    pub(super) async fn write(self, conn: &mut SqliteConnection) -> Result<Option<Vec<Settled>>, SpoolError> {
        let expected = u64::try_from(self.readings.len()).unwrap_or(u64::MAX);
        let deleted = self.delete.execute(&mut *conn).await.attempting(ATTEMPT)?;
        if deleted.rows_affected() != expected || insert_outbox(conn, self.inserts).await? != expected {
            return Ok(None);
        }
        Ok(Some(self.readings.into_iter().map(Settled::Outbox).collect()))
    }
}

/// Those rows of the spool that are [as they were](as_decided), as a condition.
pub(super) const AS_DECIDED: &str = "id IN (
    SELECT spool.id FROM json_each($1) AS decided CROSS JOIN spool ON spool.id = decided.value ->> 0
    WHERE context_raw IS unhex(decided.value ->> 1)
)";

/// What [`AS_DECIDED`] takes.
pub(super) fn as_decided(decisions: &[(AsDecided, Settlement)]) -> Result<String, SpoolError> {
    let pair = |(packet, _): &(AsDecided, Settlement)| (packet.row.0, packet.context_raw.as_deref().map(hex::encode));
    list(&decisions.iter().map(pair).collect::<Vec<_>>())
}

/// Deletes rows that are as they were: by the first and the last where there is nothing between them.
fn delete_rows(decisions: &[(AsDecided, Settlement)]) -> Result<Ready, SpoolError> {
    static LISTED: LazyLock<String> = LazyLock::new(|| format!("DELETE FROM spool WHERE {AS_DECIDED}"));
    let rows = || decisions.iter().map(|(packet, _)| packet.row.0);
    let without_context = decisions.iter().all(|(packet, _)| packet.context_raw.is_none());
    if let (Some(first), Some(last), true) = (rows().next(), rows().next_back(), without_context)
        && rows().eq(first..=last)
    {
        let range = "DELETE FROM spool WHERE id BETWEEN $1 AND $2 AND context_raw IS NULL";
        return Ok(sqlx::query(range).bind(first).bind(last));
    }
    Ok(sqlx::query(LISTED.as_str()).bind(as_decided(decisions)?))
}

/// The reading that is for the outbox, if it is one.
pub(super) fn for_outbox(settlement: &Settlement) -> Option<&WireReading> {
    match settlement {
        Settlement::Outbox(reading) => Some(reading),
        Settlement::Sealed(_) | Settlement::Quarantine { .. } | Settlement::Forget(_) => None,
    }
}

/// `column1` counts the rows from 1, `column7` is whether the lane is the live one, and the others to `column8` are the columns
/// behind the number in the first line. One that is in the outbox already is passed over.
static INTO_OUTBOX: LazyLock<Statements> = LazyLock::new(|| {
    Statements::new(
        &format!(
            "INSERT INTO outbox (id, reading_id, member, meter, measured_at, captured_at, lane, reading)
             SELECT {} + column1, column2, column3, column4, column5, column6, iif(column7, '{}', '{}'), column8 FROM",
            last_id("outbox"),
            Lane::Live.code(),
            Lane::Replay.code(),
        ),
        8,
        "ON CONFLICT (reading_id) DO NOTHING",
    )
});

/// Statements that add readings without a number, in their order, each with itself packed.
fn into_outbox(readings: Vec<(&WireReading, Vec<u8>)>) -> Vec<Ready> {
    let parts = INTO_OUTBOX.parts(readings.len());
    let mut readings = readings.into_iter();
    let ready = |(statement, rows)| {
        let mut query = sqlx::query(statement);
        for ((reading, packed), place) in readings.by_ref().take(rows).zip(1_i64..) {
            query = query
                .bind(place)
                .bind(reading.id.uuid())
                .bind(reading.member.uuid())
                .bind(reading.meter.uuid())
                .bind(micros(reading.time.at))
                .bind(micros(reading.captured_at))
                .bind(lane_of(reading.time.at, reading.captured_at) == Lane::Live)
                .bind(packed);
        }
        query
    };
    parts.map(ready).collect()
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

/// Adds readings that are known not to be there, without a number, in their order, each with itself packed.
pub(super) async fn add_to_outbox(
    conn: &mut SqliteConnection,
    readings: Vec<(&WireReading, Vec<u8>)>,
) -> Result<(), SpoolError> {
    let all = readings.len();
    let added = insert_outbox(conn, into_outbox(readings)).await?;
    if u64::try_from(all).is_ok_and(|all| all == added) {
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

/// A decision's reading as it is written; nothing without one.
fn packed(settlement: &Settlement) -> Result<Vec<u8>, SpoolError> {
    match settlement {
        Settlement::Outbox(reading) | Settlement::Sealed(reading) => pack(reading),
        Settlement::Quarantine { .. } | Settlement::Forget(_) => Ok(Vec::new()),
    }
}
