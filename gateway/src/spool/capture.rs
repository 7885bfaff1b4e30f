//! Captures: packets that become durable together, and what is counted of them.

use std::collections::BTreeMap;

use carepost_domain::id::SittingId;
use chrono::SubsecRound as _;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Sqlite, Transaction};
use uuid::Uuid;

use super::contexts::{Broken, Early, join_context, join_row};
use super::error::Attempted as _;
use super::fresh::Count;
use super::joint::InPart;
use super::meters::set_clock;
use super::records::{Record, Step, keep, record_of, records, steps};
use super::row::add;
use super::{Capture, Captured, Counter, LinkId, NewPacket, Spool, SpoolError, SpoolRow};

pub(super) const ATTEMPT: &str = "capture packets";

impl Spool {
    /// Makes packets durable, in order, in one transaction. The answers are in the order of the packets.
    ///
    /// # Errors
    /// When the engine fails; then none of the packets is durable.
    pub async fn capture(&self, items: &[Capture]) -> Result<Vec<Captured>, SpoolError> {
        // Once, for a second attempt finds nothing that the first has written.
        let records = records(items, &mut self.inner.numbers.ask());
        let mut packets = self.write_packets(items, &records).await?;
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
        let packets = self.write_packets(items, &records).await?;
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

    async fn write_packets<'a>(
        &self,
        items: &'a [Capture],
        records: &[Option<Record<'a>>],
    ) -> Result<Packets, SpoolError> {
        let steps = steps(items, records);
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
        pub(super) const ATTEMPT: &str = "count";
        let mut tx = self.begin(ATTEMPT).await?;
        add(&mut tx, counter, by).await?;
        tx.commit().await.attempting(ATTEMPT)
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
pub(super) struct Tally {
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

    pub(super) fn packet(&mut self, packet: &NewPacket) {
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
