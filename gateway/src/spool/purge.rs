//! What consent no longer permits leaves the spool, the sealed readings, the quarantine and the outbox; what it permits
//! again leaves the seal.

use std::collections::BTreeSet;

use carepost_domain::id::{MemberId, MeterId};
use carepost_domain::meter::MeterRole;
use chrono::{DateTime, Utc};
use sqlx::sqlite::SqliteConnection;
use uuid::Uuid;

use super::aside::evict;
use super::decided::add_to_outbox;
use super::error::Attempted as _;
use super::packed::unpack;
use super::row::{add, id, instant, micros};
use super::{Counter, MAX_QUARANTINE_ROWS, Purged, SEALED_FOR, SITTINGS_KEPT_FOR, Spool, SpoolError, Swept};
use crate::down::DownCopy;

const ATTEMPT: &str = "purge what consent no longer permits";

impl Spool {
    /// Destroys sealed readings after 72 hours, bounds the quarantine, applies consent that ended by its own date, drops
    /// old links and sittings, and empties the write-ahead log of forgotten bytes. What ends by time alone ends only while
    /// the clock is `trusted`, for a wrong one would destroy what nobody gave up.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn sweep(&self, now: DateTime<Utc>, trusted: bool) -> Result<Swept, SpoolError> {
        const ATTEMPT: &str = "sweep the spool";
        let copy = self.down();
        let mut tx = self.begin(ATTEMPT).await?;
        let expired = if trusted { expire(&mut tx, now).await? } else { 0 };
        let quarantine_evicted = evict(&mut tx, MAX_QUARANTINE_ROWS).await?;
        let purged = purge(&mut tx, &copy, now, trusted).await?;
        self.drop_old_links(&mut tx).await?;
        tx.commit().await.attempting(ATTEMPT)?;
        if expired + quarantine_evicted + purged.dropped() > 0 {
            self.scrub_is_due();
        }
        if purged.voided + purged.released > 0 {
            self.outbox_changed();
        }
        self.scrub().await?;
        Ok(Swept {
            sealed_expired: expired,
            quarantine_evicted,
        })
    }
}

/// Destroys what has had its time. A seal that was set by a clock that was not believed begins anew.
async fn expire(conn: &mut SqliteConnection, now: DateTime<Utc>) -> Result<u64, SpoolError> {
    const ATTEMPT: &str = "destroy what has had its time";
    sqlx::query("UPDATE sealed SET sealed_at = $1, clock_trusted = 1 WHERE clock_trusted = 0")
        .bind(micros(now))
        .execute(&mut *conn)
        .await
        .attempting(ATTEMPT)?;
    let expired = sqlx::query("DELETE FROM sealed WHERE sealed_at <= $1")
        .bind(micros(now - SEALED_FOR))
        .execute(&mut *conn)
        .await
        .attempting(ATTEMPT)?
        .rows_affected();
    add(conn, Counter::SealedExpired, expired).await?;
    sqlx::query(
        "DELETE FROM sittings WHERE ended_at <= $1 AND id NOT IN (SELECT sitting FROM spool WHERE sitting IS NOT NULL)",
    )
    .bind(micros(now - SITTINGS_KEPT_FOR))
    .execute(&mut *conn)
    .await
    .attempting(ATTEMPT)?;
    Ok(expired)
}

/// Whether the copy has a say about the member: one that it does not know may have moved to another store, and then the
/// server, which asks again, decides.
fn knows(copy: &DownCopy, member: MemberId) -> bool {
    copy.member(member).is_some() || !copy.grants_of(member).is_empty()
}

/// Whether nobody who owns a personal meter, or once did, has consent: a packet may be a past owner's. A meter that is
/// bound to nobody is nobody's to withdraw from.
fn forbidden(copy: &DownCopy, meter: MeterId, now: DateTime<Utc>) -> bool {
    let bindings = copy.bindings_of(meter);
    copy.meter(meter).is_some_and(|meter| meter.role == MeterRole::Personal)
        && !bindings.is_empty()
        && bindings
            .iter()
            .all(|binding| knows(copy, binding.member) && !copy.consents(binding.member, now))
}

/// Purges by the copy, inside the caller's transaction. Without a `trusted` clock no grant counts as ended by its own
/// date; withdrawals need no clock.
pub(super) async fn purge(
    conn: &mut SqliteConnection,
    copy: &DownCopy,
    real_now: DateTime<Utc>,
    trusted: bool,
) -> Result<Purged, SpoolError> {
    // The copy counts no instant before its newest grant or withdrawal.
    let now = if trusted { real_now } else { DateTime::<Utc>::MIN_UTC };
    let mut purged = Purged::default();
    purge_outbox(conn, copy, now, &mut purged).await?;
    purge_sealed(conn, copy, now, real_now, &mut purged).await?;
    purge_spool(conn, copy, now, &mut purged).await?;
    purge_quarantine(conn, copy, now, &mut purged).await?;
    purge_sittings(conn, copy, now).await?;
    add(conn, Counter::Withdrawn, purged.dropped()).await?;
    Ok(purged)
}

async fn purge_outbox(
    conn: &mut SqliteConnection,
    copy: &DownCopy,
    now: DateTime<Utc>,
    purged: &mut Purged,
) -> Result<(), SpoolError> {
    let rows: Vec<(i64, Uuid, i64, bool)> =
        sqlx::query_as("SELECT id, member, measured_at, seq IS NOT NULL FROM outbox WHERE reading IS NOT NULL")
            .fetch_all(&mut *conn)
            .await
            .attempting(ATTEMPT)?;
    for (row, member, measured_at, numbered) in rows {
        let member = id(member);
        if !knows(copy, member) || copy.permits(member, instant(measured_at)?, now) {
            continue;
        }
        let query = if numbered {
            purged.voided += 1;
            "UPDATE outbox SET reading_id = NULL, member = NULL, meter = NULL, measured_at = NULL, captured_at = 0, reading = NULL
             WHERE id = $1"
        } else {
            purged.outbox += 1;
            "DELETE FROM outbox WHERE id = $1"
        };
        sqlx::query(query)
            .bind(row)
            .execute(&mut *conn)
            .await
            .attempting(ATTEMPT)?;
    }
    Ok(())
}

/// A sealed reading goes to the outbox when the gate passes, and is destroyed when its member withdrew after it was
/// sealed; otherwise it waits for its 72 hours.
async fn purge_sealed(
    conn: &mut SqliteConnection,
    copy: &DownCopy,
    now: DateTime<Utc>,
    real_now: DateTime<Utc>,
    purged: &mut Purged,
) -> Result<(), SpoolError> {
    let rows: Vec<(Uuid, Uuid, i64, i64, Vec<u8>)> = sqlx::query_as(
        "SELECT reading_id, member, measured_at, sealed_at, reading FROM sealed ORDER BY sealed_at, reading_id",
    )
    .fetch_all(&mut *conn)
    .await
    .attempting(ATTEMPT)?;
    for (reading_id, member, measured_at, sealed_at, packed) in rows {
        let (member, sealed_at) = (id(member), instant(sealed_at)?);
        // Released is only what no clock forbids.
        let released = copy.permits(member, instant(measured_at)?, real_now);
        let withdrew = copy
            .grants_of(member)
            .iter()
            .any(|grant| grant.withdrawn_at.is_some_and(|at| at > sealed_at));
        if released {
            let reading = unpack(&packed)?;
            let known: Option<i64> = sqlx::query_scalar("SELECT id FROM outbox WHERE reading_id = $1")
                .bind(reading_id)
                .fetch_optional(&mut *conn)
                .await
                .attempting(ATTEMPT)?;
            if known.is_none() {
                add_to_outbox(conn, vec![(&reading, packed)]).await?;
            }
            purged.released += 1;
        } else if withdrew && !copy.consents(member, now) {
            purged.sealed += 1;
        } else {
            continue;
        }
        sqlx::query("DELETE FROM sealed WHERE reading_id = $1")
            .bind(reading_id)
            .execute(&mut *conn)
            .await
            .attempting(ATTEMPT)?;
    }
    Ok(())
}

/// Packets of a sitting go with its member's consent, unless that person asked to keep them sealed; packets of a personal
/// meter when none of its owners, past ones included, has consent any more. What is left is judged one by one when it is settled.
async fn purge_spool(
    conn: &mut SqliteConnection,
    copy: &DownCopy,
    now: DateTime<Utc>,
    purged: &mut Purged,
) -> Result<(), SpoolError> {
    let seated: Vec<(i64, Uuid)> = sqlx::query_as(
        "SELECT s.id, t.member FROM spool s JOIN sittings t ON t.id = s.sitting WHERE t.keep_sealed = 0",
    )
    .fetch_all(&mut *conn)
    .await
    .attempting(ATTEMPT)?;
    for (row, member) in seated {
        let member = id(member);
        if knows(copy, member) && !copy.consents(member, now) {
            delete_spool_row(conn, row).await?;
            purged.spooled += 1;
        }
    }
    let personal: Vec<(i64, Uuid)> = sqlx::query_as("SELECT id, meter FROM spool WHERE sitting IS NULL")
        .fetch_all(&mut *conn)
        .await
        .attempting(ATTEMPT)?;
    for (row, meter) in personal {
        if forbidden(copy, id(meter), now) {
            delete_spool_row(conn, row).await?;
            purged.spooled += 1;
        }
    }
    Ok(())
}

async fn delete_spool_row(conn: &mut SqliteConnection, row: i64) -> Result<(), SpoolError> {
    sqlx::query("DELETE FROM spool WHERE id = $1")
        .bind(row)
        .execute(conn)
        .await
        .attempting(ATTEMPT)?;
    Ok(())
}

async fn purge_quarantine(
    conn: &mut SqliteConnection,
    copy: &DownCopy,
    now: DateTime<Utc>,
    purged: &mut Purged,
) -> Result<(), SpoolError> {
    let groups: Vec<(Option<Uuid>, Uuid)> = sqlx::query_as("SELECT DISTINCT member, meter FROM quarantine")
        .fetch_all(&mut *conn)
        .await
        .attempting(ATTEMPT)?;
    let mut members = BTreeSet::new();
    let mut meters = BTreeSet::new();
    for (member, meter) in groups {
        match member {
            Some(member) if knows(copy, id(member)) && !copy.consents(id(member), now) => {
                members.insert(member);
            }
            Some(_) => {}
            None if forbidden(copy, id(meter), now) => {
                meters.insert(meter);
            }
            None => {}
        }
    }
    for member in members {
        let result = sqlx::query("DELETE FROM quarantine WHERE member = $1")
            .bind(member)
            .execute(&mut *conn)
            .await
            .attempting(ATTEMPT)?;
        purged.quarantined += result.rows_affected();
    }
    for meter in meters {
        let result = sqlx::query("DELETE FROM quarantine WHERE meter = $1 AND member IS NULL")
            .bind(meter)
            .execute(&mut *conn)
            .await
            .attempting(ATTEMPT)?;
        purged.quarantined += result.rows_affected();
    }
    Ok(())
}

/// When somebody without consent sat at the kiosk is nobody's business, unless they sit there now or packets wait for it.
async fn purge_sittings(conn: &mut SqliteConnection, copy: &DownCopy, now: DateTime<Utc>) -> Result<(), SpoolError> {
    let members: Vec<Uuid> = sqlx::query_scalar("SELECT DISTINCT member FROM sittings WHERE ended_at IS NOT NULL")
        .fetch_all(&mut *conn)
        .await
        .attempting(ATTEMPT)?;
    for member in members {
        if knows(copy, id(member)) && !copy.consents(id(member), now) {
            sqlx::query(
                "DELETE FROM sittings WHERE member = $1 AND ended_at IS NOT NULL
                 AND id NOT IN (SELECT sitting FROM spool WHERE sitting IS NOT NULL)",
            )
            .bind(member)
            .execute(&mut *conn)
            .await
            .attempting(ATTEMPT)?;
        }
    }
    Ok(())
}
