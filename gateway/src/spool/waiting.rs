//! Packets that wait to be settled, as they are read.

use std::collections::{BTreeSet, HashMap};

use carepost_gatt::blood_pressure::Feature;
use sqlx::FromRow;
use sqlx::sqlite::SqliteConnection;
use uuid::Uuid;

use super::error::{Attempted as _, bad_row};
use super::fresh::Fresh;
use super::meters::{link_clock, look};
use super::row::{id, instant, list};
use super::{LinkFacts, LinkId, Looks, NewPacket, PENDING_PAGE, PendingRow, Spool, SpoolError, SpoolRow};

const READ: &str = "read pending packets";

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
    feature: Option<i64>,
    emptied_before: Option<i64>,
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
            feature: match self.feature {
                None => None,
                Some(bits) => Some(Feature(u16::try_from(bits).map_err(bad_row("a link"))?)),
            },
            emptied_before: self.emptied_before.map(instant).transpose()?,
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
                last_skew_at, feature, emptied_before
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
}
