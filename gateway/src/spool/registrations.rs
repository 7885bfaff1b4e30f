//! Meters that staff registered here and that the server does not know yet: kept until the copy shows them, or the server says
//! why not.

use carepost_contract::v1::{BadRegister, Register, RegisterRefusal};
use carepost_domain::id::MeterId;
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::sqlite::SqliteConnection;
use tokio::sync::watch;

use super::error::{Attempted as _, bad_row};
use super::row::{count, instant, micros};
use super::{Spool, SpoolError};
use crate::down::DownCopy;

/// Registrations that are kept. A store has tens of meters, and registers one at a time.
pub const MAX_REGISTRATIONS: u32 = 200;

const WHAT: &str = "a registration";

/// A registration that is not settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// What staff said.
    pub register: Register,
    /// When it was last handed to the link; absent before the first time.
    pub sent_at: Option<DateTime<Utc>>,
    /// Why the server did not take it; absent while it has not answered.
    pub refused: Option<RegisterRefusal>,
}

/// Why a registration cannot be kept. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// It says something that cannot be so.
    #[error(transparent)]
    Bad(#[from] BadRegister),
    /// Too many wait for the server.
    #[error("{MAX_REGISTRATIONS} registrations wait for the server already")]
    TooMany,
    /// The spool failed.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// So long a description of a known meter is sent again. Another gateway may have described it later, and then the copy
/// never shows this one.
const DESCRIPTION_SENT_FOR: TimeDelta = TimeDelta::days(7);

impl Spool {
    /// Keeps a registration; one of the same meter is replaced. When this returns, it is durable.
    ///
    /// # Errors
    /// When it cannot be so, too many wait already, or the engine fails.
    pub async fn put_registration(&self, register: &Register) -> Result<(), RegistrationError> {
        const ATTEMPT: &str = "keep a registration";
        register.check()?;
        let body = serde_json::to_string(register).map_err(bad_row(WHAT))?;
        let mut tx = self.begin(ATTEMPT).await?;
        let others: i64 = sqlx::query_scalar("SELECT count(*) FROM registrations WHERE meter <> $1")
            .bind(register.meter.id.uuid())
            .fetch_one(&mut *tx)
            .await
            .attempting(ATTEMPT)?;
        if count(others) >= u64::from(MAX_REGISTRATIONS) {
            return Err(RegistrationError::TooMany);
        }
        sqlx::query(
            "INSERT INTO registrations (meter, body, made_at) VALUES ($1, $2, $3)
             ON CONFLICT (meter) DO UPDATE
             SET body = excluded.body, made_at = excluded.made_at, sent_at = NULL, refused = NULL",
        )
        .bind(register.meter.id.uuid())
        .bind(body)
        .bind(micros(register.at))
        .execute(&mut *tx)
        .await
        .attempting(ATTEMPT)?;
        tx.commit().await.attempting(ATTEMPT)?;
        self.registrations_changed();
        Ok(())
    }

    /// All registrations that are not settled, oldest first.
    ///
    /// # Errors
    /// When the engine fails or a row does not parse.
    pub async fn registrations(&self) -> Result<Vec<Registration>, SpoolError> {
        const ATTEMPT: &str = "list registrations";
        let rows: Vec<(String, Option<i64>, Option<String>)> =
            sqlx::query_as("SELECT body, sent_at, refused FROM registrations ORDER BY made_at, meter")
                .fetch_all(&self.inner.pool)
                .await
                .attempting(ATTEMPT)?;
        rows.into_iter()
            .map(|(body, sent_at, refused)| {
                Ok(Registration {
                    register: serde_json::from_str(&body).map_err(bad_row(WHAT))?,
                    sent_at: sent_at.map(instant).transpose()?,
                    refused: refused.map(|code| code.parse().map_err(bad_row(WHAT))).transpose()?,
                })
            })
            .collect()
    }

    /// What is to be sent now, and marks it as sent. What was sent before and the copy shows is settled instead.
    ///
    /// # Errors
    /// When the engine fails or a row does not parse.
    pub async fn registrations_to_send(&self, now: DateTime<Utc>) -> Result<Vec<Register>, SpoolError> {
        const ATTEMPT: &str = "take registrations to be sent";
        let mut tx = self.begin(ATTEMPT).await?;
        settle(&mut tx, &self.down()).await?;
        let bodies: Vec<String> =
            sqlx::query_scalar("UPDATE registrations SET sent_at = $1 WHERE refused IS NULL RETURNING body")
                .bind(micros(now))
                .fetch_all(&mut *tx)
                .await
                .attempting(ATTEMPT)?;
        tx.commit().await.attempting(ATTEMPT)?;
        bodies
            .iter()
            .map(|body| serde_json::from_str(body).map_err(bad_row(WHAT)))
            .collect()
    }

    /// Notes that the server did not take a registration; staff sees why. One that is not there was settled or replaced.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn refuse_registration(&self, meter: MeterId, reason: RegisterRefusal) -> Result<bool, SpoolError> {
        let noted = sqlx::query("UPDATE registrations SET refused = $2 WHERE meter = $1 AND sent_at IS NOT NULL")
            .bind(meter.uuid())
            .bind(reason.code())
            .execute(&self.inner.pool)
            .await
            .attempting("note a refused registration")?;
        Ok(noted.rows_affected() > 0)
    }

    /// Forgets a registration that the server refused and staff has read of. One that may still be taken stays.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn forget_refused_registration(&self, meter: MeterId) -> Result<bool, SpoolError> {
        let gone = sqlx::query("DELETE FROM registrations WHERE meter = $1 AND refused IS NOT NULL")
            .bind(meter.uuid())
            .execute(&self.inner.pool)
            .await
            .attempting("forget a refused registration")?;
        Ok(gone.rows_affected() > 0)
    }

    /// Changes whenever there is a new registration.
    #[must_use]
    pub fn watch_registrations(&self) -> watch::Receiver<u64> {
        self.inner.registration_changes.subscribe()
    }

    fn registrations_changed(&self) {
        self.inner
            .registration_changes
            .send_modify(|changes| *changes = changes.wrapping_add(1));
    }
}

/// Deletes the registrations that were sent and that the copy shows, inside the caller's transaction.
pub(super) async fn settle(conn: &mut SqliteConnection, copy: &DownCopy) -> Result<(), SpoolError> {
    const ATTEMPT: &str = "settle registrations";
    let sent: Vec<(String, i64, i64)> = sqlx::query_as(
        "SELECT body, made_at, sent_at FROM registrations WHERE sent_at IS NOT NULL AND refused IS NULL",
    )
    .fetch_all(&mut *conn)
    .await
    .attempting(ATTEMPT)?;
    for (body, made_at, sent_at) in sent {
        let register: Register = serde_json::from_str(&body).map_err(bad_row(WHAT))?;
        let old = instant(sent_at)? - instant(made_at)? > DESCRIPTION_SENT_FOR;
        if is_bound(&register, copy) && (old || is_described(&register, copy)) {
            sqlx::query("DELETE FROM registrations WHERE meter = $1")
                .bind(register.meter.id.uuid())
                .execute(&mut *conn)
                .await
                .attempting(ATTEMPT)?;
        }
    }
    Ok(())
}

/// Whether the copy shows the meter with all of its owners, and what was said of their past.
fn is_bound(register: &Register, copy: &DownCopy) -> bool {
    let known = copy
        .meter(register.meter.id)
        .is_some_and(|meter| meter.role == register.meter.role && meter.kind == register.meter.kind);
    let bindings = copy.bindings_of(register.meter.id);
    known
        && register.owners.iter().all(|owner| {
            bindings.iter().any(|binding| {
                binding.member == owner.member
                    && binding.slot == owner.slot
                    && binding.valid_to.is_none()
                    && (binding.only_ever_this_person || !owner.only_ever_this_person)
            })
        })
}

/// Whether the copy shows what the meter said of itself. Of a meter that was known before, only this tells that the
/// registration has arrived.
fn is_described(register: &Register, copy: &DownCopy) -> bool {
    let said = |new: &str, known: &str| new.is_empty() || new == known;
    let meter = &register.meter;
    copy.meter(meter.id).is_some_and(|known| {
        said(&meter.model, &known.model)
            && said(&meter.about.manufacturer, &known.about.manufacturer)
            && said(&meter.about.serial, &known.about.serial)
            && said(&meter.about.firmware, &known.about.firmware)
    })
}
