//! Readings: loaded for evaluation, and shown under the consent gate.

use carepost_domain::consent::{Grant, Purpose, gate, not_before};
use carepost_domain::id::MemberId;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Conn, consent, ids};
use crate::audit::Entry;
use crate::codec::us;
use crate::error::{CareError, Doing as _, Fault};
use crate::limits::MAX_PAGE;
use crate::model::{By, ReadingCursor, ReadingPage, StoredReading};
use crate::reading_row::ReadingRow;

/// The columns of a row, in no particular order.
macro_rules! reading_columns {
    () => {
        "id, member, meter, attributed_by, attribution, place, measured_at, time_quality, meter_local, correction_s,
            gateway_clock_unsure, captured_at, received_at, gateway, kind, unit, systolic_umhg, diastolic_umhg,
            mean_arterial_umhg, pulse_milli, user_slot, glucose_is, glucose_milli, sequence, slot, flags, characteristic,
            raw, context_raw, nonce, quirk, weight_milli, temperature_milli, temperature_site, spo2_tenths"
    };
}

statements! {
    OWNERS = concat!("SELECT id, member FROM reading WHERE id", in_ids!("$1"));
    BY_IDS = concat!("SELECT ", reading_columns!(), " FROM reading WHERE id", in_ids!("$1"));
    BETWEEN = concat!(
        "SELECT ", reading_columns!(), " FROM reading
        WHERE member = $1 AND measured_at >= $2 AND measured_at <= $3 ORDER BY measured_at, id"
    );
    PAGE = concat!(
        "SELECT ", reading_columns!(), " FROM reading
        WHERE member = $1 AND (measured_at < $2 OR (measured_at = $2 AND id < $3))
        ORDER BY measured_at DESC, id DESC LIMIT $4"
    );
}

/// Whose these readings are; those that do not exist are missing.
pub(crate) async fn owners(conn: &mut Conn, list: &[Uuid]) -> Result<Vec<(Uuid, Uuid)>, Fault> {
    sqlx::query_as(OWNERS)
        .bind(ids(list))
        .fetch_all(conn)
        .await
        .doing("look owners of readings up")
}

/// Readings by id, in no order.
pub(crate) async fn by_ids(conn: &mut Conn, list: &[Uuid]) -> Result<Vec<StoredReading>, Fault> {
    let rows: Vec<ReadingRow> = sqlx::query_as(BY_IDS)
        .bind(ids(list))
        .fetch_all(conn)
        .await
        .doing("look readings up")?;
    rows.into_iter().map(ReadingRow::into_stored).collect()
}

/// A member's readings of a time, in measured order.
pub(crate) async fn between(
    conn: &mut Conn,
    member: MemberId,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Vec<StoredReading>, Fault> {
    let rows: Vec<ReadingRow> = sqlx::query_as(BETWEEN)
        .bind(member.uuid())
        .bind(us(from))
        .bind(us(to))
        .fetch_all(conn)
        .await
        .doing("load a member's readings")?;
    rows.into_iter().map(ReadingRow::into_stored).collect()
}

/// Grants under which a member's data may be shown now; `None` when there is nothing to show, for whatever reason.
pub(crate) async fn open_grants(
    conn: &mut Conn,
    member: MemberId,
    now: DateTime<Utc>,
) -> Result<Option<Vec<Grant>>, Fault> {
    let grants = consent::find_grants(conn, &[member.uuid()]).await?;
    let now = not_before(&grants, now);
    let open = grants
        .iter()
        .any(|grant| grant.purpose == Purpose::CareRecord && grant.holds_at(now));
    Ok(open.then_some(grants))
}

/// Whether a reading may be shown now: the gate of ingest, asked again.
pub(crate) fn may_show(grants: &[Grant], stored: &StoredReading, now: DateTime<Utc>) -> bool {
    let reading = &stored.reading;
    gate(grants, reading.member, Purpose::CareRecord, reading.time.at, now).is_ok()
}

/// A page of a member's readings, the newest first.
pub(crate) async fn page(
    conn: &mut Conn,
    by: &By,
    member: MemberId,
    before: Option<ReadingCursor>,
    limit: u32,
) -> Result<(ReadingPage, Vec<Entry>), CareError> {
    let Some(grants) = open_grants(conn, member, by.at).await? else {
        return Err(CareError::MemberHidden);
    };
    let limit = limit.clamp(1, MAX_PAGE) as usize;
    let (mut at, mut id) = before.map_or((i64::MAX, Uuid::max()), |cursor| {
        (us(cursor.measured_at), cursor.id.uuid())
    });
    let mut readings = Vec::new();
    // Rows that may not be shown leave no gap by which one could count them.
    let next = loop {
        let wanted = limit - readings.len() + 1;
        let rows: Vec<ReadingRow> = sqlx::query_as(PAGE)
            .bind(member.uuid())
            .bind(at)
            .bind(id)
            .bind(i64::try_from(wanted).unwrap_or(i64::MAX))
            .fetch_all(&mut *conn)
            .await
            .doing("read a page of readings")?;
        let last_page = rows.len() < wanted;
        if let Some(last) = rows.last() {
            (at, id) = (last.measured_at, last.id);
        }
        for row in rows {
            let stored = row.into_stored()?;
            if may_show(&grants, &stored, by.at) {
                readings.push(stored);
            }
        }
        if readings.len() > limit {
            readings.truncate(limit);
            break readings.last().map(|last| ReadingCursor {
                measured_at: last.reading.time.at,
                id: last.reading.id,
            });
        }
        if last_page {
            break None;
        }
    };
    let entry = Entry::new(by, "readings.read", member)
        .member(member)
        .detail(format!("{} readings", readings.len()));
    Ok((ReadingPage { readings, next }, vec![entry]))
}
