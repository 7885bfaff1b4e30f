//! Settling: the transaction that gives a packet its place deletes its spool row.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::LazyLock;

use carepost_contract::limits::LIVE_WINDOW;
use carepost_contract::v1::{Lane, WireReading};
use carepost_domain::consent::not_before;
use carepost_domain::id::{MemberId, ReadingId};
use carepost_domain::quarantine::Reason;
use carepost_domain::time::TimeQuality;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use sqlx::sqlite::SqliteConnection;
use sqlx::{FromRow, Sqlite, Transaction};
use uuid::Uuid;

use super::error::{Attempted as _, bad_row};
use super::fresh::Fresh;
use super::many::{Ready, Statements};
use super::meters::{count_duplicates, count_reject, link_clock, look};
use super::row::{add, id, instant, last_id, micros};
use super::{
    Counter, LinkFacts, LinkId, Looks, MAX_QUARANTINE_ROWS, NewPacket, PENDING_PAGE, PendingRow, Settled, Settlement,
    Spool, SpoolError, SpoolRow,
};
use crate::down::DownCopy;

const ATTEMPT: &str = "settle packets";
const READ: &str = "read pending packets";

/// The lane of a reading: live if it was measured at most ten minutes before it was captured.
#[must_use]
pub(crate) fn lane_of(measured_at: DateTime<Utc>, captured_at: DateTime<Utc>) -> Lane {
    let window = TimeDelta::from_std(LIVE_WINDOW).unwrap_or_default();
    if captured_at - measured_at <= window {
        Lane::Live
    } else {
        Lane::Replay
    }
}

/// A row of `spool` by the places of its columns, for there may be thousands: id, link, meter, characteristic, raw, context,
/// receipt, whether the clock was trusted then, sitting, nonce, and whether the sitting is a guess.
type Waiting = (
    i64,
    i64,
    Uuid,
    i64,
    Vec<u8>,
    Option<Vec<u8>>,
    i64,
    bool,
    Option<Uuid>,
    i64,
    bool,
);

#[derive(FromRow)]
struct Link {
    id: i64,
    opened_at: i64,
    closed: bool,
    unclean: bool,
    records: i64,
    clock: String,
    skew_ms: Option<i64>,
    skew_at: Option<i64>,
    last_skew_ms: Option<i64>,
    last_skew_at: Option<i64>,
}

impl Link {
    fn into_facts(self) -> Result<(i64, LinkFacts), SpoolError> {
        let facts = LinkFacts {
            id: LinkId(self.id),
            opened_at: instant(self.opened_at)?,
            closed: self.closed,
            unclean: self.unclean,
            records: u32::try_from(self.records).unwrap_or(u32::MAX),
            looks: Looks {
                now: link_clock(&self.clock, look(self.skew_ms, self.skew_at)?)?,
                last: look(self.last_skew_ms, self.last_skew_at)?,
            },
        };
        Ok((self.id, facts))
    }
}

fn pending_row(row: Waiting, links: &HashMap<i64, LinkFacts>) -> Result<PendingRow, SpoolError> {
    let (row, link, meter, characteristic, raw, context_raw, received_at, clock_trusted, sitting, nonce, provisional) =
        row;
    Ok(PendingRow {
        row: SpoolRow(row),
        link: facts_of(link, links)?,
        provisional,
        packet: NewPacket {
            link: LinkId(link),
            meter: id(meter),
            characteristic: u16::try_from(characteristic).map_err(bad_row("a packet"))?,
            raw,
            received_at: instant(received_at)?,
            clock_trusted,
            sitting: sitting.map(id),
            nonce: nonce.cast_unsigned(),
        },
        context_raw,
    })
}

fn facts_of(link: i64, links: &HashMap<i64, LinkFacts>) -> Result<LinkFacts, SpoolError> {
    let facts = links.get(&link).copied();
    facts.ok_or_else(|| bad_row("a packet")("its link is gone"))
}

async fn link_facts(conn: &mut SqliteConnection, links: BTreeSet<i64>) -> Result<HashMap<i64, LinkFacts>, SpoolError> {
    let rows: Vec<Link> = sqlx::query_as(
        "SELECT id, opened_at, closed_at IS NOT NULL AS closed, unclean, records, clock, skew_ms, skew_at, last_skew_ms,
                last_skew_at
         FROM links WHERE id IN (SELECT value FROM json_each($1))",
    )
    .bind(list(&links.into_iter().collect::<Vec<_>>())?)
    .fetch_all(conn)
    .await
    .attempting(READ)?;
    rows.into_iter().map(Link::into_facts).collect()
}

impl Spool {
    /// Packets that wait to be settled, oldest first, at most [`PENDING_PAGE`], from behind `after`.
    ///
    /// # Errors
    /// When the engine fails, or a row is not what this program writes.
    pub async fn pending(&self, after: Option<SpoolRow>) -> Result<Vec<PendingRow>, SpoolError> {
        if let Some(after) = after
            && let Some(page) = self.pending_fresh(after).await?
        {
            return Ok(page);
        }
        self.pending_in_file(after).await
    }

    /// The same from what was written just now, if that is known and nothing else was written meanwhile.
    pub(super) async fn pending_fresh(&self, after: SpoolRow) -> Result<Option<Vec<PendingRow>>, SpoolError> {
        let fresh = &self.inner.fresh;
        let Some((packets, count)) = fresh.take(after.0, PENDING_PAGE) else {
            return Ok(None);
        };
        let links: BTreeSet<i64> = packets.iter().map(|(_, packet, _)| packet.link.0).collect();
        let mut conn = self.inner.reader.acquire().await.attempting(READ)?;
        let links = link_facts(&mut conn, links).await?;
        // Such as the end of a link, which must not be seen without its last packet and context.
        if fresh.count() != count {
            return Ok(None);
        }
        let row = |(row, packet, provisional): Fresh| {
            Ok(PendingRow {
                row: SpoolRow(row),
                link: facts_of(packet.link.0, &links)?,
                provisional,
                packet,
                context_raw: None,
            })
        };
        packets.into_iter().map(row).collect::<Result<_, _>>().map(Some)
    }

    pub(super) async fn pending_in_file(&self, after: Option<SpoolRow>) -> Result<Vec<PendingRow>, SpoolError> {
        // Both as they stand at one moment: a link's end must not be seen without its last packet.
        let mut tx = self.inner.reader.begin().await.attempting(READ)?;
        let rows: Vec<Waiting> = sqlx::query_as(
            "SELECT id, link, meter, characteristic, raw, context_raw, received_at, clock_trusted, sitting, nonce, provisional
             FROM spool WHERE id > $1 ORDER BY id LIMIT $2",
        )
        .bind(after.map_or(0, |row| row.0))
        .bind(i64::from(PENDING_PAGE))
        .fetch_all(&mut *tx)
        .await
        .attempting(READ)?;
        let links = link_facts(&mut tx, rows.iter().map(|row| row.1).collect()).await?;
        tx.commit().await.attempting(READ)?;
        rows.into_iter().map(|row| pending_row(row, &links)).collect()
    }

    /// Settles packets, all in one transaction. `decided_with` is the revision of the copy
    /// ([`DownCopy::revision`](crate::down::DownCopy::revision)) with which the decisions were taken: if another is in
    /// force, nothing is done and the answer is `None`, so that a decision can never pass a withdrawal. The answers are in
    /// the order of the decisions.
    ///
    /// # Errors
    /// When the engine fails; then no packet is settled.
    pub async fn settle(
        &self,
        decided_with: u64,
        decided: &mut Decided,
        now: DateTime<Utc>,
    ) -> Result<Option<Vec<Settled>>, SpoolError> {
        let Some(mut tx) = self.begin_with(decided_with).await? else {
            return Ok(None);
        };
        if let Some(plain) = decided.plain.take() {
            if let Some(settled) = plain.write(&mut tx).await? {
                tx.commit().await.attempting(ATTEMPT)?;
                self.outbox_changed();
                return Ok(Some(settled));
            }
            tx.rollback().await.attempting(ATTEMPT)?;
            let Some(again) = self.begin_with(decided_with).await? else {
                return Ok(None);
            };
            tx = again;
        }
        let decisions = &decided.decisions;
        let copy = self.down();
        let mut settled = Vec::with_capacity(decisions.len());
        let mut outgoing = Outgoing::load(&mut tx, decisions).await?;
        let mut rows = take_rows(&mut tx, decisions).await?;
        for ((row, settlement), text) in decisions.iter().zip(&decided.texts) {
            settled.push(match rows.remove(row) {
                Some(raw) => settle_one(&mut tx, raw, settlement, text, &mut outgoing, &copy, now).await?,
                None => Settled::Gone,
            });
        }
        outgoing.flush(&mut tx).await?;
        if settled
            .iter()
            .any(|what| matches!(what, Settled::Quarantined(_) | Settled::Conflict(_)))
        {
            evict(&mut tx, MAX_QUARANTINE_ROWS).await?;
        }
        tx.commit().await.attempting(ATTEMPT)?;
        if settled.iter().any(|what| matches!(what, Settled::Outbox(_))) {
            self.outbox_changed();
        }
        if settled.iter().any(|what| matches!(what, Settled::Forgotten)) {
            self.scrub_is_due();
        }
        Ok(Some(settled))
    }

    /// A transaction, if this revision of the copy is in force.
    async fn begin_with(&self, revision: u64) -> Result<Option<Transaction<'static, Sqlite>>, SpoolError> {
        let mut tx = self.begin_at_the_end(ATTEMPT).await?;
        let in_force = super::down::revision(&mut tx).await? == revision;
        Ok(in_force.then_some(tx))
    }
}

/// Decisions about packets, made ready to be written down, because nobody else can write meanwhile.
#[derive(Default)]
pub struct Decided {
    decisions: Vec<(SpoolRow, Settlement)>,
    /// What is written of each reading among them; nothing of the others.
    texts: Vec<String>,
    plain: Option<Plain>,
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
struct Plain {
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
    async fn write(self, conn: &mut SqliteConnection) -> Result<Option<Vec<Settled>>, SpoolError> {
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

#[derive(FromRow)]
struct Raw {
    id: i64,
    meter: Uuid,
    characteristic: i64,
    raw: Vec<u8>,
    context_raw: Option<Vec<u8>>,
    received_at: i64,
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

/// Deletes the rows that are decided about and gives what was in them; all in one statement, because each costs a way to
/// the engine's thread and back.
async fn take_rows(
    conn: &mut SqliteConnection,
    decisions: &[(SpoolRow, Settlement)],
) -> Result<HashMap<SpoolRow, Raw>, SpoolError> {
    let ids: Vec<i64> = decisions.iter().map(|(row, _)| row.0).collect();
    let rows: Vec<Raw> = sqlx::query_as(
        "DELETE FROM spool WHERE id IN (SELECT value FROM json_each($1))
         RETURNING id, meter, characteristic, raw, context_raw, received_at",
    )
    .bind(list(&ids)?)
    .fetch_all(&mut *conn)
    .await
    .attempting(ATTEMPT)?;
    Ok(rows.into_iter().map(|raw| (SpoolRow(raw.id), raw)).collect())
}

async fn settle_one<'a>(
    conn: &mut SqliteConnection,
    raw: Raw,
    settlement: &'a Settlement,
    text: &'a str,
    outgoing: &mut Outgoing<'a>,
    copy: &DownCopy,
    now: DateTime<Utc>,
) -> Result<Settled, SpoolError> {
    match settlement {
        Settlement::Outbox(reading) if outgoing.is_anothers(reading) => {
            let reason = Reason::MemberConflict;
            outgoing.aside(conn, &raw, reason, Some(reading.member)).await?;
            Ok(Settled::Conflict(reading.id))
        }
        Settlement::Outbox(reading) => Ok(outgoing.put(reading, text, raw)),
        Settlement::Sealed(reading) => {
            // Not before a withdrawal that is on record: the seal was asked for after it.
            let sealed_at = not_before(copy.grants_of(reading.member), now);
            sqlx::query(
                "INSERT INTO sealed (reading_id, member, measured_at, sealed_at, reading, clock_trusted)
                 VALUES ($1, $2, $3, $4, $5, $6)
                 ON CONFLICT (reading_id) DO NOTHING",
            )
            .bind(reading.id.uuid())
            .bind(reading.member.uuid())
            .bind(micros(reading.time.at))
            .bind(micros(sealed_at))
            .bind(text)
            .bind(!reading.time.gateway_clock_unsure)
            .execute(&mut *conn)
            .await
            .attempting(ATTEMPT)?;
            Ok(Settled::Sealed(reading.id))
        }
        Settlement::Quarantine { reason, member } => {
            count_reject(conn, raw.meter).await?;
            outgoing.aside(conn, &raw, *reason, *member).await?;
            Ok(Settled::Quarantined(*reason))
        }
        Settlement::Forget(counter) => {
            add(conn, *counter, 1).await?;
            Ok(Settled::Forgotten)
        }
    }
}

/// The reading that is for the outbox, if it is one.
fn for_outbox(settlement: &Settlement) -> Option<&WireReading> {
    match settlement {
        Settlement::Outbox(reading) => Some(reading),
        Settlement::Sealed(_) | Settlement::Quarantine { .. } | Settlement::Forget(_) => None,
    }
}

/// A reading that is to be put into the outbox, as it is written, and the packet that it was.
struct Parcel<'a> {
    reading: &'a WireReading,
    text: &'a str,
    raw: Raw,
}

/// Readings of one transaction on their way into the outbox. What must be known of them is asked for together, and they are
/// put there together, in their order.
struct Outgoing<'a> {
    /// Whose a reading in the outbox is; the new ones are in it too.
    holders: HashMap<Uuid, Uuid>,
    /// The newest reading of a meter that the server confirmed.
    delivered: HashMap<Uuid, Uuid>,
    /// Meters with packets in the quarantine.
    aside: HashSet<Uuid>,
    new: Vec<Parcel<'a>>,
    /// Of each meter, so many that came before.
    duplicates: BTreeMap<Uuid, u64>,
}

impl<'a> Outgoing<'a> {
    async fn load(conn: &mut SqliteConnection, decisions: &[(SpoolRow, Settlement)]) -> Result<Self, SpoolError> {
        let readings: Vec<&WireReading> = decisions.iter().filter_map(|(_, what)| for_outbox(what)).collect();
        let meters = meters_of(&readings)?;
        let readings: Vec<String> = readings.iter().map(|reading| hex(reading.id.uuid())).collect();
        let holders: Vec<(Uuid, Uuid)> = sqlx::query_as(
            "SELECT reading_id, member FROM outbox WHERE reading_id IN (SELECT unhex(value) FROM json_each($1))",
        )
        .bind(list(&readings)?)
        .fetch_all(&mut *conn)
        .await
        .attempting(ATTEMPT)?;
        let delivered: Vec<(Uuid, Uuid)> = sqlx::query_as(
            "SELECT meter, last_delivered FROM meter_state
             WHERE meter IN (SELECT unhex(value) FROM json_each($1)) AND last_delivered IS NOT NULL",
        )
        .bind(&meters)
        .fetch_all(&mut *conn)
        .await
        .attempting(ATTEMPT)?;
        let aside: Vec<Uuid> = sqlx::query_scalar(
            "SELECT unhex(value) FROM json_each($1)
             WHERE EXISTS (SELECT 1 FROM quarantine WHERE meter = unhex(value))",
        )
        .bind(&meters)
        .fetch_all(&mut *conn)
        .await
        .attempting(ATTEMPT)?;
        Ok(Self {
            holders: holders.into_iter().collect(),
            delivered: delivered.into_iter().collect(),
            aside: aside.into_iter().collect(),
            new: Vec::new(),
            duplicates: BTreeMap::new(),
        })
    }

    /// A glucose sync reads the newest record that the server confirmed once more, to see that it is still there.
    fn is_confirmed(&self, reading: &WireReading) -> bool {
        self.delivered.get(&reading.meter.uuid()) == Some(&reading.id.uuid())
    }

    /// Whether the outbox has this reading as another member's.
    fn is_anothers(&self, reading: &WireReading) -> bool {
        let holder = self.holders.get(&reading.id.uuid());
        holder.is_some_and(|holder| *holder != reading.member.uuid()) && !self.is_confirmed(reading)
    }

    /// Takes a reading, which is not another member's.
    fn put(&mut self, reading: &'a WireReading, text: &'a str, raw: Raw) -> Settled {
        if self.is_confirmed(reading) || self.holders.contains_key(&reading.id.uuid()) {
            *self.duplicates.entry(reading.meter.uuid()).or_default() += 1;
            return Settled::Known(reading.id);
        }
        self.holders.insert(reading.id.uuid(), reading.member.uuid());
        self.new.push(Parcel { reading, text, raw });
        Settled::Outbox(reading.id)
    }

    /// Keeps a packet aside, behind everything that was taken before it.
    async fn aside(
        &mut self,
        conn: &mut SqliteConnection,
        raw: &Raw,
        reason: Reason,
        member: Option<MemberId>,
    ) -> Result<(), SpoolError> {
        self.flush(conn).await?;
        self.aside.insert(raw.meter);
        to_quarantine(conn, raw, reason, member).await
    }

    /// Writes what was taken so far.
    async fn flush(&mut self, conn: &mut SqliteConnection) -> Result<(), SpoolError> {
        for (meter, times) in std::mem::take(&mut self.duplicates) {
            count_duplicates(conn, meter, times).await?;
        }
        let new = std::mem::take(&mut self.new);
        let readings: Vec<_> = new.iter().map(|new| (new.reading, new.text)).collect();
        add_to_outbox(conn, &readings).await?;
        let told_apart = new
            .iter()
            .filter(|new| new.reading.time.quality != TimeQuality::ReceivedTimeUsed)
            .map(|new| &new.raw);
        for raw in told_apart.filter(|raw| self.aside.contains(&raw.meter)) {
            // It may have been quarantined by what was known earlier, such as before its meter was bound. Equal bytes
            // without a time of their own are another measurement's.
            sqlx::query("DELETE FROM quarantine WHERE meter = $1 AND characteristic = $2 AND raw = $3")
                .bind(raw.meter)
                .bind(raw.characteristic)
                .bind(&raw.raw)
                .execute(&mut *conn)
                .await
                .attempting(ATTEMPT)?;
        }
        Ok(())
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
fn meters_of(readings: &[&WireReading]) -> Result<String, SpoolError> {
    let meters: BTreeSet<Uuid> = readings.iter().map(|reading| reading.meter.uuid()).collect();
    list(&meters.into_iter().map(hex).collect::<Vec<_>>())
}

/// An id as `unhex` takes it.
fn hex(id: Uuid) -> String {
    id.simple().to_string()
}

/// A list as `json_each` takes it.
fn list<T: Serialize>(values: &[T]) -> Result<String, SpoolError> {
    serde_json::to_string(values).map_err(bad_row("a list"))
}

async fn to_quarantine(
    conn: &mut SqliteConnection,
    raw: &Raw,
    reason: Reason,
    member: Option<MemberId>,
) -> Result<(), SpoolError> {
    quarantine(
        conn,
        &Quarantined {
            meter: raw.meter,
            characteristic: raw.characteristic,
            raw: &raw.raw,
            context_raw: raw.context_raw.as_deref(),
            received_at: raw.received_at,
            member: member.map(carepost_domain::Id::uuid),
            reason,
        },
    )
    .await
}

/// A packet for the quarantine.
pub(super) struct Quarantined<'a> {
    pub(super) meter: Uuid,
    pub(super) characteristic: i64,
    pub(super) raw: &'a [u8],
    pub(super) context_raw: Option<&'a [u8]>,
    pub(super) received_at: i64,
    pub(super) member: Option<Uuid>,
    pub(super) reason: Reason,
}

/// Keeps a packet with its reason. A packet that is there already is counted on its row, so that a cuff that sends its
/// memory on every link does not fill the quarantine.
pub(super) async fn quarantine(conn: &mut SqliteConnection, packet: &Quarantined<'_>) -> Result<(), SpoolError> {
    const ATTEMPT: &str = "quarantine a packet";
    sqlx::query(
        "INSERT INTO quarantine (meter, characteristic, raw, context_raw, received_at, last_at, member, reason)
         VALUES ($1, $2, $3, $4, $5, $5, $6, $7)
         ON CONFLICT (meter, characteristic, raw) DO UPDATE
         SET times = times + 1, last_at = excluded.last_at, member = excluded.member, reason = excluded.reason,
             context_raw = coalesce(excluded.context_raw, context_raw)",
    )
    .bind(packet.meter)
    .bind(packet.characteristic)
    .bind(packet.raw)
    .bind(packet.context_raw)
    .bind(packet.received_at)
    .bind(packet.member)
    .bind(packet.reason.code())
    .execute(&mut *conn)
    .await
    .attempting(ATTEMPT)?;
    Ok(())
}

/// Drops the oldest quarantine rows beyond `most`, counted.
pub(super) async fn evict(conn: &mut SqliteConnection, most: u32) -> Result<u64, SpoolError> {
    const ATTEMPT: &str = "bound the quarantine";
    let evicted = sqlx::query(
        "DELETE FROM quarantine WHERE id IN (SELECT id FROM quarantine ORDER BY last_at DESC, id DESC LIMIT -1 OFFSET $1)",
    )
    .bind(i64::from(most))
    .execute(&mut *conn)
    .await
    .attempting(ATTEMPT)?
    .rows_affected();
    add(conn, Counter::QuarantineEvicted, evicted).await?;
    Ok(evicted)
}

/// Bytes that a reading takes as JSON, mostly.
const TEXT_BYTES: usize = 1_024;

fn to_text(reading: &WireReading) -> Result<String, SpoolError> {
    let mut text = Vec::with_capacity(TEXT_BYTES);
    serde_json::to_writer(&mut text, reading).map_err(bad_row("a reading"))?;
    String::from_utf8(text).map_err(bad_row("a reading"))
}
