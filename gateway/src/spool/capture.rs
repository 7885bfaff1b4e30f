//! Links and the packets that come over them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::LazyLock;

use carepost_domain::id::{MeterId, SittingId};
use carepost_domain::meter::MeterKind;
use carepost_gatt::sync::HighWater;
use carepost_gatt::{glucose, uuid16};
use chrono::{DateTime, SubsecRound as _, Utc};
use sqlx::sqlite::SqliteConnection;
use sqlx::{Sqlite, Transaction};
use uuid::Uuid;

use super::error::{Attempted as _, bad_row};
use super::fresh::Count;
use super::joint::InPart;
use super::many::{Ready, Statements};
use super::meters::{count_duplicates, set_clock};
use super::numbers::Asked;
use super::open::note_interrupted;
use super::row::{add, last_id, micros, next_id};
use super::{Capture, Captured, Counter, LinkEnd, LinkId, NewPacket, SAME_READING_WITHIN, Spool, SpoolError, SpoolRow};

const ATTEMPT: &str = "capture packets";

impl Spool {
    /// Notes that a link to a meter stands. As long as it is open, a stop of the program leaves a possible gap behind on
    /// a cuff.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn open_link(&self, meter: MeterId, kind: MeterKind, now: DateTime<Utc>) -> Result<LinkId, SpoolError> {
        const ATTEMPT: &str = "note the start of a link";
        let mut tx = self.begin(ATTEMPT).await?;
        sqlx::query(
            "INSERT INTO meter_state (meter, last_link_at, links) VALUES ($1, $2, 1)
             ON CONFLICT (meter) DO UPDATE SET last_link_at = excluded.last_link_at, links = links + 1",
        )
        .bind(meter.uuid())
        .bind(micros(now))
        .execute(&mut *tx)
        .await
        .attempting(ATTEMPT)?;
        let link: i64 = sqlx::query_scalar(
            "INSERT INTO links (meter, kind, opened_at, last_skew_ms, last_skew_at, emptied_before)
             SELECT $1, $2, $3, skew_ms, skew_at, emptied_at FROM meter_state WHERE meter = $1 RETURNING id",
        )
        .bind(meter.uuid())
        .bind(kind.code())
        .bind(micros(now))
        .fetch_one(&mut *tx)
        .await
        .attempting(ATTEMPT)?;
        add(&mut tx, Counter::Links, 1).await?;
        tx.commit().await.attempting(ATTEMPT)?;
        self.inner.numbers.open(LinkId(link));
        Ok(LinkId(link))
    }

    /// Notes that a link is over; what waited for its end can be settled now. An unclean end is a possible gap of a
    /// cuff. Closing a link twice changes nothing.
    ///
    /// `clock_trusted` is whether the gateway's clock was believed when the link was opened, and is now.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn close_link(
        &self,
        link: LinkId,
        end: LinkEnd,
        now: DateTime<Utc>,
        clock_trusted: bool,
    ) -> Result<(), SpoolError> {
        const ATTEMPT: &str = "note the end of a link";
        let mut tx = self.begin(ATTEMPT).await?;
        let closed: Option<(Uuid, String, i64)> = sqlx::query_as(
            "UPDATE links SET closed_at = $2, unclean = $3, clock = CASE clock WHEN 'pending' THEN 'unknown' ELSE clock END
             WHERE id = $1 AND closed_at IS NULL RETURNING meter, kind, records",
        )
        .bind(link.0)
        .bind(micros(now))
        // What hangs up right after a record may have more of them, as one that is interrupted.
        .bind(end != LinkEnd::Clean)
        .fetch_optional(&mut *tx)
        .await
        .attempting(ATTEMPT)?;
        match (closed, end) {
            (Some((meter, kind, _)), LinkEnd::Unclean) => {
                note_interrupted(&mut tx, meter, &kind, now).await?;
            }
            // One that was silent may have kept for itself what it holds, as some do that are still being paired.
            (Some((meter, _, 1..)), LinkEnd::Clean) if clock_trusted => {
                // By its beginning: what was measured while it stood may be on the next.
                sqlx::query(
                    "UPDATE meter_state SET emptied_at = (SELECT opened_at FROM links WHERE id = $2) WHERE meter = $1",
                )
                .bind(meter)
                .bind(link.0)
                .execute(&mut *tx)
                .await
                .attempting(ATTEMPT)?;
            }
            _ => {}
        }
        tx.commit().await.attempting(ATTEMPT)?;
        self.inner.numbers.close(link);
        self.pending_changed();
        Ok(())
    }

    /// Makes packets durable, in order, in one transaction. The answers are in the order of the packets.
    ///
    /// # Errors
    /// When the engine fails; then none of the packets is durable.
    pub async fn capture(&self, items: &[Capture]) -> Result<Vec<Captured>, SpoolError> {
        // Once, for a second attempt finds nothing that the first has written.
        let compared = compared(items, &mut self.inner.numbers.ask());
        let mut packets = self.write_packets(items, &compared).await?;
        if !packets.nothing_else {
            return self.commit(packets, items).await;
        }
        let failed = match self.take_along(&mut packets.tx).await {
            Ok(None) => return self.commit(packets, items).await,
            Ok(Some(along)) => match self.commit(packets, items).await {
                Ok(captured) => {
                    along.tell();
                    self.outbox_changed();
                    return Ok(captured);
                }
                Err(error) => Some(error),
            },
            Err(InPart(error)) => {
                drop(packets);
                error
            }
        };
        if let Some(error) = failed {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a page of readings cannot be written with packets"
            );
        }
        // Without the page there may be room.
        let packets = self.write_packets(items, &compared).await?;
        self.commit(packets, items).await
    }

    /// Makes packets durable that are written.
    async fn commit(&self, packets: Packets, items: &[Capture]) -> Result<Vec<Captured>, SpoolError> {
        let Packets {
            tx,
            fresh,
            captured,
            nothing_else,
            forgot,
        } = packets;
        let durable = tx.commit().await.attempting(ATTEMPT);
        match first_of_all(&captured) {
            Some(first) if nothing_else && durable.is_ok() => {
                let records = items.iter().filter_map(record_of);
                self.inner.fresh.add(fresh, first, records.map(as_read));
            }
            // Nobody knows what the file has behind what it had.
            _ => self.inner.fresh.forget(),
        }
        durable?;
        if forgot {
            self.scrub_is_due();
        }
        self.pending_changed();
        Ok(captured)
    }

    async fn write_packets(&self, items: &[Capture], compared: &[bool]) -> Result<Packets, SpoolError> {
        let steps = steps(items, compared);
        let nothing_else = steps.iter().all(|step| matches!(step, Step::Records(_)));
        let mut tx = match nothing_else {
            true => self.begin_at_the_end(ATTEMPT).await?,
            false => self.begin(ATTEMPT).await?,
        };
        let fresh = self.inner.fresh.count();
        let mut captured = Vec::with_capacity(items.len());
        let mut tally = Tally::default();
        let mut next = None;
        let mut forgot = false;
        let mut early = Early::default();
        let mut broken = Broken::default();
        for step in steps {
            let item = match step {
                Step::Records(records) => {
                    let from = captured.len();
                    let came = early.of(&records.0);
                    keep(&mut tx, records, &mut next, &mut captured, &mut tally).await?;
                    for (record, place, context) in came {
                        if let Some(Captured::Spooled(row) | Captured::Joined(row)) =
                            captured.get(from + record).copied()
                            && let Some(orphan) = captured.get_mut(place)
                        {
                            *orphan = join_row(&mut tx, &mut broken, context, row).await?;
                        }
                    }
                    continue;
                }
                Step::Other(item) => item,
            };
            let place = captured.len();
            let mut displaced = None;
            captured.push(match item {
                Capture::Keep(context) | Capture::KeepForNow(context) => {
                    let joined = join_context(&mut tx, &mut broken, context).await?;
                    if joined == Captured::Orphaned {
                        displaced = early.remember(place, context);
                    }
                    joined
                }
                Capture::Join(context) => join_context(&mut tx, &mut broken, context).await?,
                Capture::Orphaned { contexts } => {
                    add(&mut tx, Counter::ContextsOrphaned, *contexts).await?;
                    Captured::Counted
                }
                Capture::Clock { link, clock, feature } => set_clock(&mut tx, *link, *clock, *feature).await?,
                Capture::Seat { row, sitting } => seat(&mut tx, *row, *sitting).await?,
                Capture::Discard { row, counter } => {
                    forgot |= discard(&mut tx, *row).await?;
                    if let Some(counter) = counter {
                        add(&mut tx, *counter, 1).await?;
                    }
                    Captured::Counted
                }
                Capture::Count { link, counter } => {
                    tally.link(*link);
                    if let Some(counter) = counter {
                        add(&mut tx, *counter, 1).await?;
                    }
                    Captured::Counted
                }
            });
            if let Some(older) = displaced.and_then(|place: usize| captured.get_mut(place)) {
                add(&mut tx, Counter::ContextsOrphaned, 1).await?;
                *older = Captured::Counted;
            }
        }
        tally.write(&mut tx).await?;
        Ok(Packets {
            tx,
            fresh,
            captured,
            nothing_else,
            forgot,
        })
    }

    /// Adds to a counter.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn count(&self, counter: Counter, by: u64) -> Result<(), SpoolError> {
        const ATTEMPT: &str = "count";
        let mut tx = self.begin(ATTEMPT).await?;
        add(&mut tx, counter, by).await?;
        tx.commit().await.attempting(ATTEMPT)
    }

    /// The newest record known of a glucose meter: what [`set_high_water`](Self::set_high_water) stored last.
    ///
    /// # Errors
    /// When the engine fails, or the row is not what this program writes.
    pub async fn high_water(&self, meter: MeterId) -> Result<Option<HighWater>, SpoolError> {
        let row: Option<(Option<i64>, Option<Vec<u8>>)> =
            sqlx::query_as("SELECT sync_sequence, sync_base_time FROM meter_state WHERE meter = $1")
                .bind(meter.uuid())
                .fetch_optional(&self.inner.pool)
                .await
                .attempting("read a meter's high-water mark")?;
        let Some((Some(sequence), base_time)) = row else {
            return Ok(None);
        };
        let base_time = match base_time {
            None => None,
            Some(bytes) => Some(
                carepost_gatt::DateTime::decode(&bytes)
                    .map_err(|e| bad_row("a high-water mark")(e.to_string()))?
                    .value,
            ),
        };
        let sequence = u16::try_from(sequence).map_err(bad_row("a high-water mark"))?;
        Ok(Some(HighWater { sequence, base_time }))
    }

    /// Stores the mark of a conversation's outcome. Every record up to it must have been captured before. `read_with` is
    /// the revision of the copy under which the records were read: under another one nothing is stored and the answer is
    /// false, for records that were refused may be permitted now and shall be read again.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn set_high_water(
        &self,
        meter: MeterId,
        mark: Option<HighWater>,
        read_with: u64,
    ) -> Result<bool, SpoolError> {
        const ATTEMPT: &str = "store a meter's high-water mark";
        let base_time = mark
            .and_then(|mark| mark.base_time)
            .and_then(|time| time.to_bytes().ok());
        let mut tx = self.begin(ATTEMPT).await?;
        if super::down::revision(&mut tx).await? != read_with {
            return Ok(false);
        }
        sqlx::query(
            "INSERT INTO meter_state (meter, sync_sequence, sync_base_time) VALUES ($1, $2, $3)
             ON CONFLICT (meter) DO UPDATE
             SET sync_sequence = excluded.sync_sequence, sync_base_time = excluded.sync_base_time",
        )
        .bind(meter.uuid())
        .bind(mark.map(|mark| i64::from(mark.sequence)))
        .bind(base_time.map(|bytes| bytes.to_vec()))
        .execute(&mut *tx)
        .await
        .attempting(ATTEMPT)?;
        tx.commit().await.attempting(ATTEMPT)?;
        Ok(true)
    }
}

/// Packets in a transaction that is not committed yet.
struct Packets {
    tx: Transaction<'static, Sqlite>,
    /// As it was when the transaction had begun.
    fresh: Count,
    captured: Vec<Captured>,
    /// There are new records, and nothing else that could touch what waits.
    nothing_else: bool,
    /// Something that was written down earlier was dropped.
    forgot: bool,
}

/// The row of the first packet, if all of them are new, in rows that follow each other.
fn first_of_all(captured: &[Captured]) -> Option<i64> {
    let row = |what: &Captured| match what {
        Captured::Spooled(row) => Some(row.0),
        _ => None,
    };
    let first = captured.first().and_then(row)?;
    let in_turn = |(what, expected): (&Captured, i64)| row(what) == Some(expected);
    captured.iter().zip(first..).all(in_turn).then_some(first)
}

/// A record as it is read from the file, which has microseconds.
fn as_read((packet, provisional): (&NewPacket, bool)) -> (NewPacket, bool) {
    let received_at = packet.received_at.trunc_subsecs(6);
    (
        NewPacket {
            received_at,
            ..packet.clone()
        },
        provisional,
    )
}

/// Records that a transaction counts. Added up, because a glucose meter's whole memory is one link of one meter.
#[derive(Debug, Default)]
struct Tally {
    links: BTreeMap<i64, OfLink>,
}

#[derive(Debug, Default)]
struct OfLink {
    records: i64,
    /// New packets among them, and whose.
    packets: Option<(Uuid, i64)>,
}

impl Tally {
    fn link(&mut self, link: LinkId) {
        self.links.entry(link.0).or_default().records += 1;
    }

    fn packet(&mut self, packet: &NewPacket) {
        let of_link = self.links.entry(packet.link.0).or_default();
        of_link.records += 1;
        of_link.packets.get_or_insert((packet.meter.uuid(), 0)).1 += 1;
    }

    async fn write(self, conn: &mut SqliteConnection) -> Result<(), SpoolError> {
        for (link, OfLink { records, packets }) in self.links {
            let (meter, packets) = packets.unzip();
            // All in one, for each statement costs a way to the engine's thread and back.
            sqlx::query(
                "UPDATE links SET records = records + $2 WHERE id = $1;
                 INSERT INTO meter_state (meter, records) SELECT $3, $4 WHERE $3 IS NOT NULL
                 ON CONFLICT (meter) DO UPDATE SET records = records + excluded.records;
                 INSERT INTO counters (name, value) SELECT $5, $4 WHERE $3 IS NOT NULL
                 ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
            )
            .bind(link)
            .bind(records)
            .bind(meter)
            .bind(packets)
            .bind(Counter::PacketsSpooled.code())
            .execute(&mut *conn)
            .await
            .attempting(ATTEMPT)?;
        }
        Ok(())
    }
}

/// A packet that is a record to be written down, and whether its sitting is a guess. Contexts are none: they join their
/// measurement.
fn record_of(item: &Capture) -> Option<(&NewPacket, bool)> {
    let (packet, provisional) = match item {
        Capture::Keep(packet) => (packet, false),
        Capture::KeepForNow(packet) => (packet, true),
        _ => return None,
    };
    (packet.characteristic != uuid16::GLUCOSE_CONTEXT).then_some((packet, provisional))
}

/// A record to be written down.
#[derive(Debug, Clone, Copy)]
struct Record<'a> {
    packet: &'a NewPacket,
    /// Its sitting is a guess.
    provisional: bool,
    /// Its meter's number.
    number: Option<u16>,
    /// Equal bytes may have come before.
    compared: bool,
}

impl<'a> Record<'a> {
    fn of((item, compared): (&'a Capture, &bool)) -> Option<Self> {
        let (packet, provisional) = record_of(item)?;
        Some(Self {
            packet,
            provisional,
            number: record_number(packet),
            compared: *compared,
        })
    }
}

/// Of which of these equal bytes may have come before. What has a sitting may come from the desk too, at the same time.
fn compared(items: &[Capture], numbers: &mut Asked<'_>) -> Vec<bool> {
    let is_first = |item: &Capture| {
        let (packet, _) = record_of(item).filter(|(packet, _)| packet.sitting.is_none())?;
        Some(numbers.is_first(packet.link, record_number(packet)?))
    };
    items.iter().map(is_first).map(|first| first != Some(true)).collect()
}

/// A part of what is to be made durable, in its order.
enum Step<'a> {
    /// Records of which no two are equal, with the statement that writes those down that are not there.
    Records((Vec<Record<'a>>, Ready)),
    Other(&'a Capture),
}

/// What is to be made durable, made ready for it.
fn steps<'a>(items: &'a [Capture], compared: &[bool]) -> Vec<Step<'a>> {
    let mut steps = Vec::new();
    let mut compared = compared.iter();
    for run in items.chunk_by(|one, next| record_of(one).is_some() && record_of(next).is_some()) {
        let records: Vec<Record<'_>> = run.iter().zip(compared.by_ref()).filter_map(Record::of).collect();
        if records.is_empty() {
            steps.extend(run.iter().map(Step::Other));
        }
        for alike in records.chunk_by(|one, next| one.compared == next.compared) {
            let mut rest = alike;
            while let Some(first) = rest.first() {
                // A statement compares with what was there before it: it cannot take equal bytes twice.
                let mut bytes = HashSet::new();
                let mut different =
                    |packet: &'a NewPacket| bytes.insert((packet.link, packet.characteristic, &packet.raw));
                let (statements, now) = match first.compared {
                    true => (
                        &*KEEP,
                        rest.iter().take_while(|record| different(record.packet)).count(),
                    ),
                    false => (&*KEEP_NEW, rest.len()),
                };
                let (now, later) = rest.split_at(now);
                let of_part =
                    |(statement, part): (_, &[Record<'a>])| Step::Records((part.to_vec(), ready(statement, part)));
                steps.extend(statements.over(now).map(of_part));
                rest = later;
            }
        }
    }
    steps
}

/// Writes records down. `column1` counts them from 1; the rest to `column11` are the columns behind the number in the first line.
fn keep_statements(condition: &str) -> Statements {
    Statements::new(
        &format!(
            "INSERT INTO spool (id, link, meter, characteristic, raw, record_number, received_at, clock_trusted, sitting, nonce, provisional)
             SELECT {} + column1, column2, column3, column4, column5, column6, column7, column8, column9, column10, column11 FROM",
            last_id("spool")
        ),
        11,
        condition,
    )
}

/// Those of which equal bytes cannot be there.
static KEEP_NEW: LazyLock<Statements> = LazyLock::new(|| keep_statements(""));

/// Those that are not there already. What has a number is looked for among all that waits: it came before, or nearly.
static KEEP: LazyLock<Statements> = LazyLock::new(|| {
    let within = SAME_READING_WITHIN.num_microseconds().unwrap_or(i64::MAX);
    let same = format!(
        "link = column2 AND raw = column5 AND characteristic = column4
         AND received_at BETWEEN column7 - {within} AND column7 + {within}"
    );
    keep_statements(&format!(
        "AND NOT iif(
             column6 IS NULL,
             EXISTS (SELECT 1 FROM spool WHERE record_number IS NULL AND {same}),
             EXISTS (SELECT 1 FROM spool WHERE record_number = column6 AND {same})
         )"
    ))
});

fn ready(statement: &'static str, records: &[Record<'_>]) -> Ready {
    let mut query = sqlx::query(statement);
    for (record, place) in records.iter().zip(1_i64..) {
        let packet = record.packet;
        query = query
            .bind(place)
            .bind(packet.link.0)
            .bind(packet.meter.uuid())
            .bind(i64::from(packet.characteristic))
            .bind(packet.raw.clone())
            .bind(record.number.map(i64::from))
            .bind(micros(packet.received_at))
            .bind(packet.clock_trusted)
            .bind(packet.sitting.map(carepost_domain::Id::uuid))
            .bind(packet.nonce.cast_signed())
            .bind(record.provisional);
    }
    query
}

/// Writes different records down, unless they are there already, and says of each what it did. `known` is the number
/// of the next row, if somebody knows it.
async fn keep(
    conn: &mut SqliteConnection,
    (records, insert): (Vec<Record<'_>>, Ready),
    known: &mut Option<i64>,
    captured: &mut Vec<Captured>,
    tally: &mut Tally,
) -> Result<(), SpoolError> {
    let first = match known.take() {
        Some(next) => next,
        None => next_id(conn, "spool").await?,
    };
    let next = first.saturating_add(i64::try_from(records.len()).unwrap_or(i64::MAX));
    let added = insert.execute(&mut *conn).await.attempting(ATTEMPT)?.rows_affected();
    if i64::try_from(added).is_ok_and(|added| first.saturating_add(added) == next) {
        *known = Some(next);
        records.iter().for_each(|record| tally.packet(record.packet));
        captured.extend((first..next).map(|row| Captured::Spooled(SpoolRow(row))));
        return Ok(());
    }
    for record in records {
        let row = same(conn, record).await?;
        let packet = record.packet;
        captured.push(if row >= first {
            tally.packet(packet);
            Captured::Spooled(SpoolRow(row))
        } else {
            count_duplicates(conn, packet.meter.uuid(), 1).await?;
            Captured::Joined(SpoolRow(row))
        });
    }
    Ok(())
}

/// The row in which a record stands.
async fn same(conn: &mut SqliteConnection, record: Record<'_>) -> Result<i64, SpoolError> {
    let packet = record.packet;
    // Each in words of its own, for only those without a number have an index.
    let statement = match record.number {
        None => {
            "SELECT id FROM spool
             WHERE record_number IS NULL AND $6 IS NULL AND link = $1 AND raw = $3 AND characteristic = $2
               AND received_at BETWEEN $4 AND $5 LIMIT 1"
        }
        Some(_) => {
            "SELECT id FROM spool
             WHERE record_number = $6 AND link = $1 AND raw = $3 AND characteristic = $2
               AND received_at BETWEEN $4 AND $5 LIMIT 1"
        }
    };
    sqlx::query_scalar(statement)
        .bind(packet.link.0)
        .bind(i64::from(packet.characteristic))
        .bind(&packet.raw)
        .bind(micros(packet.received_at - SAME_READING_WITHIN))
        .bind(micros(packet.received_at + SAME_READING_WITHIN))
        .bind(record.number.map(i64::from))
        .fetch_one(&mut *conn)
        .await
        .attempting(ATTEMPT)
}

/// Gives a row the sitting that its record turned out to be of. One that was purged meanwhile is gone.
async fn seat(conn: &mut SqliteConnection, row: SpoolRow, sitting: SittingId) -> Result<Captured, SpoolError> {
    let seated = sqlx::query("UPDATE spool SET sitting = $2, provisional = 0 WHERE id = $1")
        .bind(row.0)
        .bind(sitting.uuid())
        .execute(conn)
        .await
        .attempting(ATTEMPT)?;
    Ok(match seated.rows_affected() {
        0 => Captured::Counted,
        _ => Captured::Seated(row),
    })
}

async fn discard(conn: &mut SqliteConnection, row: SpoolRow) -> Result<bool, SpoolError> {
    let gone = sqlx::query("DELETE FROM spool WHERE id = $1")
        .bind(row.0)
        .execute(conn)
        .await
        .attempting(ATTEMPT)?;
    Ok(gone.rows_affected() > 0)
}

/// The number by which a context finds its measurement: of either, if it can be read.
pub(crate) fn record_number(packet: &NewPacket) -> Option<u16> {
    match packet.characteristic {
        uuid16::GLUCOSE_MEASUREMENT => glucose::Measurement::decode(&packet.raw).ok().map(|m| m.value.sequence),
        uuid16::GLUCOSE_CONTEXT => glucose::Context::decode(&packet.raw).ok().map(|c| c.value.sequence),
        _ => None,
    }
}

/// Contexts of one transaction whose measurement has not come, with their places in it.
#[derive(Debug, Default)]
struct Early<'a>(HashMap<(LinkId, u16), (usize, &'a NewPacket)>);

impl<'a> Early<'a> {
    /// One that cannot be read names no measurement. The place of an older one of the same measurement is given back.
    fn remember(&mut self, place: usize, context: &'a NewPacket) -> Option<usize> {
        let number = record_number(context)?;
        let (older, _) = self.0.insert((context.link, number), (place, context))?;
        Some(older)
    }

    /// Those of these records: the record's place among them, the context's place and itself.
    fn of(&mut self, records: &[Record<'_>]) -> Vec<(usize, usize, &'a NewPacket)> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let of_record = |(record, Record { packet, number, .. }): (usize, &Record<'_>)| {
            let (place, context) = self.0.remove(&(packet.link, (*number)?))?;
            Some((record, place, context))
        };
        records.iter().enumerate().filter_map(of_record).collect()
    }
}

/// A context belongs to the measurement of its number on the same link. One that cannot be read is kept with the newest
/// measurement, which it follows on the air, if that has none; it costs the reading nothing there. The same measurement may
/// wait for it on a link that broke before: the meter was read again for this.
///
/// The measurement is looked for from the newest packet on, where it mostly is, and not among all of the link.
async fn join_context(
    conn: &mut SqliteConnection,
    broken: &mut Broken,
    packet: &NewPacket,
) -> Result<Captured, SpoolError> {
    let number = record_number(packet).map(i64::from);
    let row: Option<(i64, Vec<u8>)> = sqlx::query_as(
        "UPDATE spool SET context_raw = $3
         WHERE id = (
             SELECT id FROM spool NOT INDEXED
             WHERE link = $1 AND characteristic = $4 AND ($2 IS NULL OR record_number = $2)
             ORDER BY id DESC LIMIT 1
         ) AND ($2 IS NOT NULL OR context_raw IS NULL)
         RETURNING id, raw",
    )
    .bind(packet.link.0)
    .bind(number)
    .bind(&packet.raw)
    .bind(i64::from(uuid16::GLUCOSE_MEASUREMENT))
    .fetch_optional(&mut *conn)
    .await
    .attempting(ATTEMPT)?;
    let Some((row, measurement)) = row else {
        return Ok(Captured::Orphaned);
    };
    join_on_broken_links(conn, broken, packet, &measurement).await?;
    Ok(Captured::Joined(SpoolRow(row)))
}

/// Joins a context to the row of its measurement.
async fn join_row(
    conn: &mut SqliteConnection,
    broken: &mut Broken,
    packet: &NewPacket,
    row: SpoolRow,
) -> Result<Captured, SpoolError> {
    let measurement: Vec<u8> = sqlx::query_scalar("UPDATE spool SET context_raw = $2 WHERE id = $1 RETURNING raw")
        .bind(row.0)
        .bind(&packet.raw)
        .fetch_one(&mut *conn)
        .await
        .attempting(ATTEMPT)?;
    join_on_broken_links(conn, broken, packet, &measurement).await?;
    Ok(Captured::Joined(row))
}

/// Whether measurements wait for their context on links of a meter that broke before one of its links, as it was when the
/// transaction first asked: no index finds them, and mostly there are none.
#[derive(Debug, Default)]
struct Broken(HashMap<LinkId, bool>);

impl Broken {
    async fn before(&mut self, conn: &mut SqliteConnection, packet: &NewPacket) -> Result<bool, SpoolError> {
        if let Some(known) = self.0.get(&packet.link) {
            return Ok(*known);
        }
        let waits = sqlx::query_scalar(
            "SELECT EXISTS (
                 SELECT 1 FROM spool
                 WHERE link IN (SELECT id FROM links WHERE meter = $1 AND id < $2 AND unclean = 1 AND closed_at IS NOT NULL)
                   AND characteristic = $3 AND context_raw IS NULL
             )",
        )
        .bind(packet.meter.uuid())
        .bind(packet.link.0)
        .bind(i64::from(uuid16::GLUCOSE_MEASUREMENT))
        .fetch_one(conn)
        .await
        .attempting(ATTEMPT)?;
        self.0.insert(packet.link, waits);
        Ok(waits)
    }
}

/// Joins a context to its measurement where that waits for it on a link that broke before.
async fn join_on_broken_links(
    conn: &mut SqliteConnection,
    broken: &mut Broken,
    packet: &NewPacket,
    measurement: &[u8],
) -> Result<(), SpoolError> {
    if !broken.before(conn, packet).await? {
        return Ok(());
    }
    sqlx::query(
        "UPDATE spool SET context_raw = $4
         WHERE link IN (SELECT id FROM links WHERE meter = $1 AND id < $2 AND unclean = 1 AND closed_at IS NOT NULL)
           AND characteristic = $3 AND raw = $5 AND context_raw IS NULL",
    )
    .bind(packet.meter.uuid())
    .bind(packet.link.0)
    .bind(i64::from(uuid16::GLUCOSE_MEASUREMENT))
    .bind(&packet.raw)
    .bind(measurement)
    .execute(&mut *conn)
    .await
    .attempting(ATTEMPT)?;
    Ok(())
}
