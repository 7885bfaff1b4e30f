//! What is known of meters and links apart from what came over them: clocks, counts, how a meter names itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use carepost_domain::id::MeterId;
use carepost_gatt::blood_pressure::Feature;
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::sqlite::SqliteConnection;
use uuid::Uuid;

use super::error::{Attempted as _, bad_row};
use super::open::note_possible_gap;
use super::row::{add, instant, micros, seq_to_sql};
use super::{Captured, Counter, LinkClock, LinkId, Look, Spool, SpoolError};

/// Links that are pinned, each by so many pins.
#[derive(Debug, Clone, Default)]
pub(super) struct Pins(Arc<Mutex<HashMap<LinkId, u32>>>);

impl Pins {
    /// Plain values that are always whole. Never held over an await.
    fn lock(&self) -> MutexGuard<'_, HashMap<LinkId, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the row of a link that is over: a packet in memory may still become a row that refers to it.
#[derive(Debug)]
pub(crate) struct LinkPin {
    pins: Pins,
    link: LinkId,
}

impl Drop for LinkPin {
    fn drop(&mut self) {
        let mut pins = self.pins.lock();
        if let Some(count) = pins.get_mut(&self.link) {
            *count -= 1;
            if *count == 0 {
                pins.remove(&self.link);
            }
        }
    }
}

impl Spool {
    /// Keeps the row of a link. To be called while the link is open.
    pub(crate) fn pin_link(&self, link: LinkId) -> LinkPin {
        let pins = self.inner.pins.clone();
        let mut count = pins.lock();
        *count.entry(link).or_default() += 1;
        drop(count);
        LinkPin { pins, link }
    }

    /// Drops the rows of links that are over and that nothing refers to any more.
    pub(super) async fn drop_old_links(&self, conn: &mut SqliteConnection) -> Result<(), SpoolError> {
        const ATTEMPT: &str = "drop old links";
        let old: Vec<i64> = sqlx::query_scalar(
            "SELECT id FROM links WHERE closed_at IS NOT NULL AND id NOT IN (SELECT link FROM spool)",
        )
        .fetch_all(&mut *conn)
        .await
        .attempting(ATTEMPT)?;
        for link in old {
            // A pin is set while its link is open, so that it is seen here, after that link was closed.
            if self.inner.pins.lock().contains_key(&LinkId(link)) {
                continue;
            }
            sqlx::query("DELETE FROM links WHERE id = $1")
                .bind(link)
                .execute(&mut *conn)
                .await
                .attempting(ATTEMPT)?;
        }
        Ok(())
    }
}

/// How a meter names itself in its Device Information Service; empty where it says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    /// Manufacturer name 2A29.
    pub manufacturer: String,
    /// Model number 2A24.
    pub model: String,
    /// Serial number 2A25.
    pub serial: String,
    /// Firmware revision 2A26.
    pub firmware: String,
}

/// Bytes of a reason that are kept.
const MAX_REASON_BYTES: usize = 200;

impl Spool {
    /// How a meter named itself when it was asked last; nothing if it never was.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn named(&self, meter: MeterId) -> Result<Option<Named>, SpoolError> {
        type Row = (Option<String>, Option<String>, Option<String>, Option<String>);
        let row: Option<Row> =
            sqlx::query_as("SELECT manufacturer, model, serial, firmware FROM meter_state WHERE meter = $1")
                .bind(meter.uuid())
                .fetch_optional(&self.inner.pool)
                .await
                .attempting("read how a meter names itself")?;
        Ok(match row {
            Some((Some(manufacturer), Some(model), Some(serial), Some(firmware))) => Some(Named {
                manufacturer,
                model,
                serial,
                firmware,
            }),
            _ => None,
        })
    }

    /// Keeps how a meter names itself.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn set_named(&self, meter: MeterId, named: &Named) -> Result<(), SpoolError> {
        const ATTEMPT: &str = "keep how a meter names itself";
        let mut tx = self.begin(ATTEMPT).await?;
        sqlx::query(
            "INSERT INTO meter_state (meter, manufacturer, model, serial, firmware) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (meter) DO UPDATE SET manufacturer = excluded.manufacturer, model = excluded.model,
             serial = excluded.serial, firmware = excluded.firmware",
        )
        .bind(meter.uuid())
        .bind(&named.manufacturer)
        .bind(&named.model)
        .bind(&named.serial)
        .bind(&named.firmware)
        .execute(&mut *tx)
        .await
        .attempting(ATTEMPT)?;
        tx.commit().await.attempting(ATTEMPT)
    }

    /// What was seen of a meter's clock before a link.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn last_look(&self, link: LinkId) -> Result<Option<Look>, SpoolError> {
        let row: Option<(Option<i64>, Option<i64>)> =
            sqlx::query_as("SELECT last_skew_ms, last_skew_at FROM links WHERE id = $1")
                .bind(link.0)
                .fetch_optional(&self.inner.pool)
                .await
                .attempting("read what a meter's clock showed last")?;
        let (skew_ms, at) = row.unwrap_or_default();
        look(skew_ms, at)
    }

    /// Whether a notification session of this meter was kept over the end of a link, now or before the last restart.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn keeps_session(&self, meter: MeterId) -> Result<bool, SpoolError> {
        let kept: Option<bool> = sqlx::query_scalar("SELECT keeps_session FROM meter_state WHERE meter = $1")
            .bind(meter.uuid())
            .fetch_optional(&self.inner.pool)
            .await
            .attempting("read whether a meter's session is kept")?;
        Ok(kept.unwrap_or(false))
    }

    /// Notes that a meter's notification session is kept over the end of a link. What it sends while nobody holds that
    /// session, such as after a restart, is lost.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn set_keeps_session(&self, meter: MeterId) -> Result<(), SpoolError> {
        const ATTEMPT: &str = "note that a meter's session is kept";
        if self.keeps_session(meter).await? {
            return Ok(());
        }
        let mut tx = self.begin(ATTEMPT).await?;
        // It may never have had a link that came to stand.
        sqlx::query(
            "INSERT INTO meter_state (meter, keeps_session) VALUES ($1, 1)
             ON CONFLICT (meter) DO UPDATE SET keeps_session = 1",
        )
        .bind(meter.uuid())
        .execute(&mut *tx)
        .await
        .attempting(ATTEMPT)?;
        tx.commit().await.attempting(ATTEMPT)
    }

    /// Notes that a meter's notification session is given up and its subscription off.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn forget_kept_session(&self, meter: MeterId) -> Result<(), SpoolError> {
        const ATTEMPT: &str = "note that a meter's session is given up";
        if !self.keeps_session(meter).await? {
            return Ok(());
        }
        let mut tx = self.begin(ATTEMPT).await?;
        sqlx::query("UPDATE meter_state SET keeps_session = 0 WHERE meter = $1")
            .bind(meter.uuid())
            .execute(&mut *tx)
            .await
            .attempting(ATTEMPT)?;
        tx.commit().await.attempting(ATTEMPT)
    }

    /// Notes that a meter may have sent something that nobody heard.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn note_gap(&self, meter: MeterId, now: DateTime<Utc>) -> Result<(), SpoolError> {
        const ATTEMPT: &str = "note a possible gap";
        let mut tx = self.begin(ATTEMPT).await?;
        note_possible_gap(&mut tx, meter.uuid(), now).await?;
        tx.commit().await.attempting(ATTEMPT)
    }

    /// Notes why a link came to nothing that had been made, such as for a bond that the meter has lost.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn note_failure(&self, meter: MeterId, reason: &str) -> Result<(), SpoolError> {
        const ATTEMPT: &str = "note why a link failed";
        let (reason, _) = reason.split_at(reason.floor_char_boundary(MAX_REASON_BYTES));
        let mut tx = self.begin(ATTEMPT).await?;
        sqlx::query("UPDATE meter_state SET last_failure = $2 WHERE meter = $1")
            .bind(meter.uuid())
            .bind(reason)
            .execute(&mut *tx)
            .await
            .attempting(ATTEMPT)?;
        tx.commit().await.attempting(ATTEMPT)
    }

    /// Counts a connection that failed after all tries, with the last reason.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn note_connect_failure(&self, meter: MeterId, reason: &str) -> Result<(), SpoolError> {
        const ATTEMPT: &str = "count a failed connection";
        let (reason, _) = reason.split_at(reason.floor_char_boundary(MAX_REASON_BYTES));
        let mut tx = self.begin(ATTEMPT).await?;
        sqlx::query(
            "INSERT INTO meter_state (meter, connect_failures, last_failure) VALUES ($1, 1, $2)
             ON CONFLICT (meter) DO UPDATE SET connect_failures = connect_failures + 1, last_failure = excluded.last_failure",
        )
        .bind(meter.uuid())
        .bind(reason)
        .execute(&mut *tx)
        .await
        .attempting(ATTEMPT)?;
        add(&mut tx, Counter::ConnectFailures, 1).await?;
        tx.commit().await.attempting(ATTEMPT)
    }
}

/// Counts on a meter that so many of its packets came before.
pub(super) async fn count_duplicates(conn: &mut SqliteConnection, meter: Uuid, by: u64) -> Result<(), SpoolError> {
    add(conn, Counter::Duplicates, by).await?;
    sqlx::query("UPDATE meter_state SET duplicates = duplicates + $2 WHERE meter = $1")
        .bind(meter)
        .bind(seq_to_sql(by))
        .execute(conn)
        .await
        .attempting("count a duplicate")?;
    Ok(())
}

/// Counts on a meter that one of its packets is of no use.
pub(super) async fn count_reject(conn: &mut SqliteConnection, meter: Uuid) -> Result<(), SpoolError> {
    sqlx::query("UPDATE meter_state SET rejects = rejects + 1 WHERE meter = $1")
        .bind(meter)
        .execute(conn)
        .await
        .attempting("count a packet that is of no use")?;
    Ok(())
}

/// Notes what is known of a link's clock, and of its meter's, and what the meter declared.
pub(super) async fn set_clock(
    conn: &mut SqliteConnection,
    link: LinkId,
    clock: LinkClock,
    feature: Option<Feature>,
) -> Result<Captured, SpoolError> {
    const ATTEMPT: &str = "note what a meter's clock showed";
    let (code, look) = match clock {
        LinkClock::Pending => ("pending", None),
        LinkClock::Unknown => ("unknown", None),
        LinkClock::Read(look) => ("read", Some(look)),
    };
    let skew_ms = look.map(|look| look.skew.num_milliseconds());
    let skew_at = look.map(|look| micros(look.at));
    let first = sqlx::query(
        // A cuff that was not asked, because it was gone too soon, declares what it did on an earlier link.
        "UPDATE links SET clock = $2, skew_ms = $3, skew_at = $4,
                feature = coalesce($5, (SELECT feature FROM meter_state WHERE meter_state.meter = links.meter))
         WHERE id = $1 AND clock = 'pending'",
    )
    .bind(link.0)
    .bind(code)
    .bind(skew_ms)
    .bind(skew_at)
    .bind(feature.map(|feature| i64::from(feature.0)))
    .execute(&mut *conn)
    .await
    .attempting(ATTEMPT)?
    .rows_affected();
    if first > 0 && feature.is_some() {
        sqlx::query("UPDATE meter_state SET feature = $2 WHERE meter = (SELECT meter FROM links WHERE id = $1)")
            .bind(link.0)
            .bind(feature.map(|feature| i64::from(feature.0)))
            .execute(&mut *conn)
            .await
            .attempting(ATTEMPT)?;
    }
    if first > 0 && look.is_some() {
        sqlx::query(
            "UPDATE meter_state SET skew_ms = $2, skew_at = $3 WHERE meter = (SELECT meter FROM links WHERE id = $1)",
        )
        .bind(link.0)
        .bind(skew_ms)
        .bind(skew_at)
        .execute(&mut *conn)
        .await
        .attempting(ATTEMPT)?;
    }
    Ok(Captured::Noted)
}

/// A look from its two columns.
pub(super) fn look(skew_ms: Option<i64>, at: Option<i64>) -> Result<Option<Look>, SpoolError> {
    match (skew_ms.and_then(TimeDelta::try_milliseconds), at) {
        (Some(skew), Some(at)) => Ok(Some(Look { skew, at: instant(at)? })),
        _ => Ok(None),
    }
}

/// From a row of `links`.
pub(super) fn link_clock(code: &str, look: Option<Look>) -> Result<LinkClock, SpoolError> {
    match (code, look) {
        ("pending", _) => Ok(LinkClock::Pending),
        ("unknown", _) => Ok(LinkClock::Unknown),
        ("read", Some(look)) => Ok(LinkClock::Read(look)),
        _ => Err(bad_row("what is known of a link's clock")(format!("{code:?} is none"))),
    }
}
