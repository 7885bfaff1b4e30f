//! Bulk insert on SQLite: one prepared statement, row by row. There is no round trip to save, and no array to pass.

use uuid::Uuid;

use super::Conn;
use crate::error::{Doing as _, Fault};
use crate::reading_row::ReadingRow;

statements! {
    INSERT = "INSERT INTO reading (id, member, meter, attributed_by, attribution, place, measured_at, time_quality,
            meter_local, correction_s, gateway_clock_unsure, captured_at, received_at, gateway, kind, unit, systolic_umhg,
            diastolic_umhg, mean_arterial_umhg, pulse_milli, user_slot, glucose_is, glucose_milli, sequence, slot, flags,
            characteristic, raw, context_raw, nonce, quirk, weight_milli, temperature_milli, temperature_site, spo2_tenths)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23,
            $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35)
        ON CONFLICT (id) DO NOTHING RETURNING id";
}

/// Inserts readings and gives the ids of those that were not there before.
pub(crate) async fn insert_readings(conn: &mut Conn, rows: &[ReadingRow]) -> Result<Vec<Uuid>, Fault> {
    let mut new = Vec::new();
    for row in rows {
        let id: Option<Uuid> = sqlx::query_scalar(INSERT)
            .bind(row.id)
            .bind(row.member)
            .bind(row.meter)
            .bind(&row.attributed_by)
            .bind(row.attribution)
            .bind(&row.place)
            .bind(row.measured_at)
            .bind(&row.time_quality)
            .bind(row.meter_local)
            .bind(row.correction_s)
            .bind(row.gateway_clock_unsure)
            .bind(row.captured_at)
            .bind(row.received_at)
            .bind(row.gateway)
            .bind(&row.kind)
            .bind(&row.unit)
            .bind(row.systolic_umhg)
            .bind(row.diastolic_umhg)
            .bind(row.mean_arterial_umhg)
            .bind(row.pulse_milli)
            .bind(row.user_slot)
            .bind(row.glucose_is.as_deref())
            .bind(row.glucose_milli)
            .bind(row.sequence)
            .bind(row.slot.as_deref())
            .bind(&row.flags)
            .bind(row.characteristic)
            .bind(row.raw.as_slice())
            .bind(row.context_raw.as_deref())
            .bind(row.nonce)
            .bind(row.quirk.as_deref())
            .bind(row.weight_milli)
            .bind(row.temperature_milli)
            .bind(row.temperature_site.as_deref())
            .bind(row.spo2_tenths)
            .fetch_optional(&mut *conn)
            .await
            .doing("store a reading")?;
        new.extend(id);
    }
    Ok(new)
}
