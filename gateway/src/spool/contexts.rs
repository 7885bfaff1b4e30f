//! Glucose contexts on their way to the row of their measurement.

use std::collections::HashMap;

use carepost_gatt::uuid16;
use sqlx::sqlite::SqliteConnection;

use super::capture::ATTEMPT;
use super::error::Attempted as _;
use super::records::{Record, record_number};
use super::{Captured, LinkId, NewPacket, SpoolError, SpoolRow};

/// Contexts of one transaction whose measurement has not come, with their places in it.
#[derive(Debug, Default)]
pub(super) struct Early<'a>(HashMap<(LinkId, u16), (usize, &'a NewPacket)>);

impl<'a> Early<'a> {
    /// One that cannot be read names no measurement. The place of an older one of the same measurement is given back.
    pub(super) fn remember(&mut self, place: usize, context: &'a NewPacket) -> Option<usize> {
        let number = record_number(context)?;
        let (older, _) = self.0.insert((context.link, number), (place, context))?;
        Some(older)
    }

    /// Those of these records: the record's place among them, the context's place and itself.
    pub(super) fn of(&mut self, records: &[Record<'_>]) -> Vec<(usize, usize, &'a NewPacket)> {
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
pub(super) async fn join_context(
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
pub(super) async fn join_row(
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
pub(super) struct Broken(HashMap<LinkId, bool>);

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
