//! Records that are written down: of which equal bytes may have come before, and the statements that see to it.

use std::collections::HashSet;
use std::sync::LazyLock;

use carepost_gatt::{glucose, uuid16};
use sqlx::sqlite::SqliteConnection;

use super::capture::{ATTEMPT, Tally};
use super::error::Attempted as _;
use super::many::{Ready, Statements};
use super::meters::count_duplicates;
use super::numbers::Asked;
use super::row::{last_id, micros, next_id};
use super::{Capture, Captured, NewPacket, SAME_READING_WITHIN, SpoolError, SpoolRow};

/// A packet that is a record to be written down, and whether its sitting is a guess. Contexts are none: they join their
/// measurement.
pub(super) fn record_of(item: &Capture) -> Option<(&NewPacket, bool)> {
    let (packet, provisional) = match item {
        Capture::Keep(packet) => (packet, false),
        Capture::KeepForNow(packet) => (packet, true),
        _ => return None,
    };
    (packet.characteristic != uuid16::GLUCOSE_CONTEXT).then_some((packet, provisional))
}

/// A record to be written down.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'a> {
    pub(super) packet: &'a NewPacket,
    /// Its sitting is a guess.
    provisional: bool,
    /// Its meter's number.
    pub(super) number: Option<u16>,
    /// Equal bytes may have come before.
    compared: bool,
}

/// The records among these, each in its place. What has a sitting is always compared: it may come from the desk too, at the same
/// time.
pub(super) fn records<'a>(items: &'a [Capture], numbers: &mut Asked<'_>) -> Vec<Option<Record<'a>>> {
    let mut record = |item| {
        let (packet, provisional) = record_of(item)?;
        let number = record_number(packet);
        let new = number.filter(|number| packet.sitting.is_none() && numbers.is_first(packet.link, *number));
        Some(Record {
            packet,
            provisional,
            number,
            compared: new.is_none(),
        })
    };
    items.iter().map(&mut record).collect()
}

/// A part of what is to be made durable, in its order.
pub(super) enum Step<'a> {
    /// Records of which no two are equal, with the statement that writes those down that are not there.
    Records((Vec<Record<'a>>, Ready)),
    Other(&'a Capture),
}

/// What is to be made durable, made ready for it.
pub(super) fn steps<'a>(mut items: &'a [Capture], records: &[Option<Record<'a>>]) -> Vec<Step<'a>> {
    let mut steps = Vec::new();
    for run in records.chunk_by(|one, next| one.is_some() && next.is_some()) {
        let (now, later) = items.split_at(run.len());
        items = later;
        let records: Vec<Record<'_>> = run.iter().flatten().copied().collect();
        if records.is_empty() {
            steps.extend(now.iter().map(Step::Other));
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
pub(super) async fn keep(
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

/// The number by which a context finds its measurement: of either, if it can be read.
pub(crate) fn record_number(packet: &NewPacket) -> Option<u16> {
    match packet.characteristic {
        uuid16::GLUCOSE_MEASUREMENT => glucose::Measurement::decode(&packet.raw).ok().map(|m| m.value.sequence),
        uuid16::GLUCOSE_CONTEXT => glucose::Context::decode(&packet.raw).ok().map(|c| c.value.sequence),
        _ => None,
    }
}
