//! Settling: the transaction that gives a packet its place deletes its spool row.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::LazyLock;

use carepost_contract::limits::LIVE_WINDOW;
use carepost_contract::v1::{Lane, WireReading};
use carepost_domain::consent::not_before;
use carepost_domain::id::MemberId;
use carepost_domain::quarantine::Reason;
use carepost_domain::reading::Attribution;
use carepost_domain::time::TimeQuality;
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::FromRow;
use sqlx::sqlite::SqliteConnection;
use uuid::Uuid;

use super::aside::{Quarantined, evict, quarantine};
use super::decided::{AS_DECIDED, Decided, Refusal, add_to_outbox, as_decided, for_outbox, meters_of};
use super::error::Attempted as _;
use super::meters::{count_duplicates, count_reject};
use super::row::{add, hex, list, micros};
use super::{AsDecided, MAX_QUARANTINE_ROWS, Settled, Settlement, Spool, SpoolError, SpoolRow};
use crate::down::DownCopy;

const ATTEMPT: &str = "settle packets";

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

impl Spool {
    /// Settles packets, all in one transaction. `decided_with` is the revision of the copy
    /// ([`DownCopy::revision`](crate::down::DownCopy::revision)) with which the decisions were taken: if another is in
    /// force, nothing is done and the answer is `None`, so that a decision can never pass a withdrawal. A packet that a
    /// context joined since it was decided about is left as it is. The answers are in the order of the decisions.
    ///
    /// # Errors
    /// When the engine fails; then no packet is settled.
    pub async fn settle(
        &self,
        decided_with: u64,
        decided: &mut Decided,
        now: DateTime<Utc>,
    ) -> Result<Option<Vec<Settled>>, SpoolError> {
        if let Some(plain) = decided.plain.take() {
            match self.settle_plain(decided_with, plain).await? {
                Ok(settled) => return Ok(Some(settled)),
                Err(Refusal::Outdated) => return Ok(None),
                Err(Refusal::Alone) => {}
            }
        }
        decided.pack_again()?;
        let mut tx = self.begin_at_the_end(ATTEMPT).await?;
        if super::down::revision(&mut tx).await? != decided_with {
            return Ok(None);
        }
        let packed = std::mem::take(&mut decided.packed);
        let decisions = &decided.decisions;
        let copy = self.down();
        let mut settled = Vec::with_capacity(decisions.len());
        let mut outgoing = Outgoing::load(&mut tx, decisions).await?;
        let mut rows = take_rows(&mut tx, decisions).await?;
        let changed = changed_rows(&mut tx, decisions, &rows).await?;
        for ((packet, settlement), packed) in decisions.iter().zip(packed) {
            settled.push(match rows.remove(&packet.row) {
                Some(raw) => settle_one(&mut tx, raw, settlement, packed, &mut outgoing, &copy, now).await?,
                None if changed.contains(&packet.row) => Settled::Changed,
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
}

#[derive(FromRow)]
struct Raw {
    id: i64,
    link: i64,
    meter: Uuid,
    characteristic: i64,
    raw: Vec<u8>,
    context_raw: Option<Vec<u8>>,
    received_at: i64,
}

/// Deletes the rows that are decided about, if they are as they were then, and gives what was in them; all in one
/// statement, because each costs a way to the engine's thread and back.
async fn take_rows(
    conn: &mut SqliteConnection,
    decisions: &[(AsDecided, Settlement)],
) -> Result<HashMap<SpoolRow, Raw>, SpoolError> {
    static TAKE: LazyLock<String> = LazyLock::new(|| {
        format!(
            "DELETE FROM spool WHERE {AS_DECIDED} RETURNING id, link, meter, characteristic, raw, context_raw, received_at"
        )
    });
    let rows: Vec<Raw> = sqlx::query_as(TAKE.as_str())
        .bind(as_decided(decisions)?)
        .fetch_all(&mut *conn)
        .await
        .attempting(ATTEMPT)?;
    Ok(rows.into_iter().map(|raw| (SpoolRow(raw.id), raw)).collect())
}

/// The rows that are decided about and still there.
async fn changed_rows(
    conn: &mut SqliteConnection,
    decisions: &[(AsDecided, Settlement)],
    taken: &HashMap<SpoolRow, Raw>,
) -> Result<HashSet<SpoolRow>, SpoolError> {
    let rows = decisions.iter().map(|(packet, _)| packet.row);
    let missed: Vec<i64> = rows.filter(|row| !taken.contains_key(row)).map(|row| row.0).collect();
    if missed.is_empty() {
        return Ok(HashSet::new());
    }
    let there: Vec<i64> = sqlx::query_scalar("SELECT id FROM spool WHERE id IN (SELECT value FROM json_each($1))")
        .bind(list(&missed)?)
        .fetch_all(&mut *conn)
        .await
        .attempting(ATTEMPT)?;
    Ok(there.into_iter().map(SpoolRow).collect())
}

async fn settle_one<'a>(
    conn: &mut SqliteConnection,
    raw: Raw,
    settlement: &'a Settlement,
    packed: Vec<u8>,
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
        Settlement::Outbox(reading) if outgoing.may_be_one_aside(conn, reading, &raw).await? => {
            let reason = Reason::TimeUnknown;
            count_reject(conn, raw.meter).await?;
            outgoing.aside(conn, &raw, reason, Some(reading.member)).await?;
            Ok(Settled::Quarantined(reason))
        }
        Settlement::Outbox(reading) => Ok(outgoing.put(reading, packed, raw)),
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
            .bind(packed)
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

/// A reading that is to be put into the outbox, itself packed, and the packet that it was.
struct Parcel<'a> {
    reading: &'a WireReading,
    packed: Vec<u8>,
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
    async fn load(conn: &mut SqliteConnection, decisions: &[(AsDecided, Settlement)]) -> Result<Self, SpoolError> {
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

    /// Whether a personal meter's reading without a time of its own may be a record that was kept aside on the links before,
    /// back to the one that took from the meter what it held: some meters send their newest record on every link. Equal bytes
    /// that were kept aside earlier are another measurement's.
    async fn may_be_one_aside(
        &self,
        conn: &mut SqliteConnection,
        reading: &WireReading,
        raw: &Raw,
    ) -> Result<bool, SpoolError> {
        let by_receipt = reading.time.quality == TimeQuality::ReceivedTimeUsed;
        let personal = matches!(reading.attribution, Attribution::Binding { .. });
        if !(by_receipt && personal && self.aside.contains(&raw.meter)) {
            return Ok(false);
        }
        sqlx::query_scalar(
            "SELECT EXISTS (
                 SELECT 1 FROM quarantine WHERE meter = $1 AND characteristic = $2 AND raw = $3
                   AND last_at >= (SELECT emptied_before FROM links WHERE id = $4)
             )",
        )
        .bind(raw.meter)
        .bind(raw.characteristic)
        .bind(&raw.raw)
        .bind(raw.link)
        .fetch_one(conn)
        .await
        .attempting(ATTEMPT)
    }

    /// Takes a reading, which is not another member's.
    fn put(&mut self, reading: &'a WireReading, packed: Vec<u8>, raw: Raw) -> Settled {
        if self.is_confirmed(reading) || self.holders.contains_key(&reading.id.uuid()) {
            *self.duplicates.entry(reading.meter.uuid()).or_default() += 1;
            return Settled::Known(reading.id);
        }
        self.holders.insert(reading.id.uuid(), reading.member.uuid());
        self.new.push(Parcel { reading, packed, raw });
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
        let mut new = std::mem::take(&mut self.new);
        let readings = new.iter_mut().map(|new| (new.reading, std::mem::take(&mut new.packed)));
        add_to_outbox(conn, readings.collect()).await?;
        let told_apart = new
            .iter()
            .filter(|new| new.reading.time.quality != TimeQuality::ReceivedTimeUsed)
            .map(|new| &new.raw);
        for raw in told_apart.filter(|raw| self.aside.contains(&raw.meter)) {
            // It may have been quarantined by what was known earlier, such as before its meter was bound. Equal bytes
            // without a time of their own are another measurement's here: those that may not be were kept aside again.
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
