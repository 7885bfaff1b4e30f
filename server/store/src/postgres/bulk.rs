//! Bulk insert on PostgreSQL: one array a column, so that one prepared statement serves every batch size and one round
//! trip every batch.

use uuid::Uuid;

use super::Conn;
use crate::error::{Doing as _, Fault};
use crate::reading_row::ReadingRow;

statements! {
    INSERT = "INSERT INTO reading (id, member, meter, attributed_by, attribution, place, measured_at, time_quality,
            meter_local, correction_s, gateway_clock_unsure, captured_at, received_at, gateway, kind, unit, systolic_umhg,
            diastolic_umhg, mean_arterial_umhg, pulse_milli, user_slot, glucose_is, glucose_milli, sequence, slot, flags,
            characteristic, raw, context_raw, nonce, quirk, weight_milli, temperature_milli, temperature_site, spo2_tenths)
        SELECT * FROM UNNEST($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::uuid[], $6::text[], $7::bigint[],
            $8::text[], $9::bigint[], $10::bigint[], $11::boolean[], $12::bigint[], $13::bigint[], $14::uuid[], $15::text[],
            $16::text[], $17::bigint[], $18::bigint[], $19::bigint[], $20::bigint[], $21::bigint[], $22::text[],
            $23::bigint[], $24::bigint[], $25::text[], $26::text[], $27::bigint[], $28::bytea[], $29::bytea[],
            $30::bigint[], $31::text[], $32::bigint[], $33::bigint[], $34::text[], $35::bigint[])
        ON CONFLICT (id) DO NOTHING RETURNING id";
}

/// Inserts readings and gives the ids of those that were not there before.
pub(crate) async fn insert_readings(conn: &mut Conn, rows: &[ReadingRow]) -> Result<Vec<Uuid>, Fault> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    // Sorted by key, because two batches that overlap in different orders wait on each other's keys (page 4).
    let mut rows: Vec<&ReadingRow> = rows.iter().collect();
    rows.sort_by_key(|row| row.id);
    sqlx::query_scalar(INSERT)
        .bind(column(&rows, |row| row.id))
        .bind(column(&rows, |row| row.member))
        .bind(column(&rows, |row| row.meter))
        .bind(column(&rows, |row| row.attributed_by.clone()))
        .bind(column(&rows, |row| row.attribution))
        .bind(column(&rows, |row| row.place.clone()))
        .bind(column(&rows, |row| row.measured_at))
        .bind(column(&rows, |row| row.time_quality.clone()))
        .bind(column(&rows, |row| row.meter_local))
        .bind(column(&rows, |row| row.correction_s))
        .bind(column(&rows, |row| row.gateway_clock_unsure))
        .bind(column(&rows, |row| row.captured_at))
        .bind(column(&rows, |row| row.received_at))
        .bind(column(&rows, |row| row.gateway))
        .bind(column(&rows, |row| row.kind.clone()))
        .bind(column(&rows, |row| row.unit.clone()))
        .bind(column(&rows, |row| row.systolic_umhg))
        .bind(column(&rows, |row| row.diastolic_umhg))
        .bind(column(&rows, |row| row.mean_arterial_umhg))
        .bind(column(&rows, |row| row.pulse_milli))
        .bind(column(&rows, |row| row.user_slot))
        .bind(column(&rows, |row| row.glucose_is.clone()))
        .bind(column(&rows, |row| row.glucose_milli))
        .bind(column(&rows, |row| row.sequence))
        .bind(column(&rows, |row| row.slot.clone()))
        .bind(column(&rows, |row| row.flags.clone()))
        .bind(column(&rows, |row| row.characteristic))
        .bind(column(&rows, |row| row.raw.clone()))
        .bind(column(&rows, |row| row.context_raw.clone()))
        .bind(column(&rows, |row| row.nonce))
        .bind(column(&rows, |row| row.quirk.clone()))
        .bind(column(&rows, |row| row.weight_milli))
        .bind(column(&rows, |row| row.temperature_milli))
        .bind(column(&rows, |row| row.temperature_site.clone()))
        .bind(column(&rows, |row| row.spo2_tenths))
        .fetch_all(conn)
        .await
        .doing("store readings")
}

fn column<T>(rows: &[&ReadingRow], of: impl Fn(&ReadingRow) -> T) -> Vec<T> {
    rows.iter().map(|row| of(row)).collect()
}
