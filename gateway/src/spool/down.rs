//! Applying snapshots and deltas: the copy is replaced and what it no longer permits is purged, in one transaction.

use std::collections::HashSet;
use std::sync::Arc;

use carepost_contract::v1::{Delta, DownGrant, DownMember, Snapshot};
use carepost_domain::id::{MemberId, MeterId};
use carepost_domain::meter::{Binding, Meter};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::sqlite::SqliteConnection;
use uuid::Uuid;

use super::error::{Attempted as _, bad_row};
use super::purge::purge;
use super::row::{key, meta, set_meta};
use super::{DeltaOutcome, Purged, Spool, SpoolError, registrations};
use crate::down::DownCopy;

const ATTEMPT: &str = "apply what the server sent down";

/// Why a snapshot or delta cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum DownError {
    /// The zone is not known.
    #[error("{zone:?} is not a time zone; an IANA name such as Asia/Shanghai is expected")]
    UnknownZone {
        /// What was sent, cut to 64 characters.
        zone: String,
    },
    /// The spool failed.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

impl Spool {
    /// Replaces the copy by a whole snapshot (see [`SnapshotAssembly`](crate::down::SnapshotAssembly)) and purges what it
    /// no longer permits. When this returns, everything is durable and `applied` may be sent.
    ///
    /// # Errors
    /// When the zone is not known or the engine fails; then the old copy stays in force.
    pub async fn apply_snapshot(&self, snapshot: &Snapshot, now: DateTime<Utc>) -> Result<Purged, DownError> {
        let zone = snapshot.zone.parse().map_err(|_| DownError::UnknownZone {
            zone: snapshot.zone.chars().take(64).collect(),
        })?;
        let old = self.down();
        let mut copy = DownCopy {
            version: snapshot.version,
            store: Some(snapshot.store),
            zone: Some(zone),
            ..DownCopy::default()
        };
        snapshot
            .members
            .iter()
            .cloned()
            .for_each(|member| copy.put_member(member));
        snapshot.meters.iter().cloned().for_each(|meter| copy.put_meter(meter));
        snapshot
            .bindings
            .iter()
            .cloned()
            .for_each(|binding| copy.put_binding(binding));
        snapshot.grants.iter().cloned().for_each(|grant| copy.put_grant(grant));
        let mut tx = self.begin(ATTEMPT).await?;
        sqlx::query("DELETE FROM down_rows")
            .execute(&mut *tx)
            .await
            .attempting(ATTEMPT)?;
        set_meta(&mut tx, key::STORE, &snapshot.store.to_string()).await?;
        set_meta(&mut tx, key::ZONE, &snapshot.zone).await?;
        write_rows(
            &mut tx,
            &snapshot.members,
            &snapshot.meters,
            &snapshot.bindings,
            &snapshot.grants,
        )
        .await?;
        Ok(self.put_in_force(tx, &old, copy, now).await?)
    }

    /// Merges a delta into the copy and purges what it no longer permits, as [`apply_snapshot`](Self::apply_snapshot).
    ///
    /// # Errors
    /// When the engine fails; then the old copy stays in force.
    pub async fn apply_delta(&self, delta: &Delta, now: DateTime<Utc>) -> Result<DeltaOutcome, SpoolError> {
        let old = self.down();
        if old.version != delta.previous {
            return Ok(DeltaOutcome::NotForThisVersion {
                held: old.version,
                wanted: delta.previous,
            });
        }
        let mut copy = DownCopy::clone(&old);
        copy.version = delta.version;
        delta.members.iter().cloned().for_each(|member| copy.put_member(member));
        delta.meters.iter().cloned().for_each(|meter| copy.put_meter(meter));
        delta
            .bindings
            .iter()
            .cloned()
            .for_each(|binding| copy.put_binding(binding));
        delta.grants.iter().cloned().for_each(|grant| copy.put_grant(grant));
        let mut tx = self.begin(ATTEMPT).await?;
        write_rows(&mut tx, &delta.members, &delta.meters, &delta.bindings, &delta.grants).await?;
        Ok(DeltaOutcome::Applied(self.put_in_force(tx, &old, copy, now).await?))
    }

    async fn put_in_force(
        &self,
        mut tx: sqlx::Transaction<'static, sqlx::Sqlite>,
        old: &DownCopy,
        mut copy: DownCopy,
        now: DateTime<Utc>,
    ) -> Result<Purged, SpoolError> {
        copy.revision = old.revision + 1;
        set_meta(&mut tx, key::DOWN_VERSION, &copy.version.to_string()).await?;
        set_meta(&mut tx, key::DOWN_REVISION, &copy.revision.to_string()).await?;
        forget_marks(&mut tx, old, &copy).await?;
        // Grants that end by their own date are the sweep's business, which knows whether the clock is believed.
        let purged = purge(&mut tx, &copy, now, false).await?;
        registrations::settle(&mut tx, &copy).await?;
        let anybody_withdrew = copy.grants.values().flatten().any(|grant| grant.withdrawn_at.is_some());
        tx.commit().await.attempting(ATTEMPT)?;
        // In force in memory only after it is durable; decisions taken with the old copy are refused by its revision.
        self.inner.down.send_replace(Arc::new(copy));
        self.pending_changed();
        // Readings of theirs that were delivered before may still be in the log.
        if purged.dropped() > 0 || anybody_withdrew {
            self.scrub_is_due();
            self.scrub().await?;
        }
        if purged.voided + purged.released > 0 {
            self.outbox_changed();
        }
        Ok(purged)
    }
}

/// A glucose meter whose owners or grants changed is read from the start again: records that were refused before may be
/// permitted now, and the meter still has them.
async fn forget_marks(conn: &mut SqliteConnection, old: &DownCopy, new: &DownCopy) -> Result<(), SpoolError> {
    let regranted: HashSet<MemberId> = new
        .grants
        .iter()
        .filter(|(member, grants)| !same_set(old.grants_of(**member), grants))
        .map(|(member, _)| *member)
        .collect();
    let changed = |meter: &MeterId, bindings: &[Binding]| {
        !same_set(old.bindings_of(*meter), bindings)
            || bindings.iter().any(|binding| regranted.contains(&binding.member))
    };
    for (meter, _) in new.bindings.iter().filter(|(meter, bindings)| changed(meter, bindings)) {
        sqlx::query("UPDATE meter_state SET sync_sequence = NULL, sync_base_time = NULL WHERE meter = $1")
            .bind(meter.uuid())
            .execute(&mut *conn)
            .await
            .attempting(ATTEMPT)?;
    }
    Ok(())
}

fn same_set<T: PartialEq>(a: &[T], b: &[T]) -> bool {
    a.len() == b.len() && a.iter().all(|item| b.contains(item))
}

/// The revision of the copy in force, inside the caller's transaction.
pub(super) async fn revision(conn: &mut SqliteConnection) -> Result<u64, SpoolError> {
    Ok(as_revision(meta(conn, key::DOWN_REVISION).await?.as_deref()))
}

/// The same from how it is written.
pub(super) fn as_revision(text: Option<&str>) -> u64 {
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

async fn write_rows(
    conn: &mut SqliteConnection,
    members: &[DownMember],
    meters: &[Meter],
    bindings: &[Binding],
    grants: &[DownGrant],
) -> Result<(), SpoolError> {
    for row in members {
        write_row(conn, "member", row.id.uuid(), row).await?;
    }
    for row in meters {
        write_row(conn, "meter", row.id.uuid(), row).await?;
    }
    for row in bindings {
        write_row(conn, "binding", row.id.uuid(), row).await?;
    }
    for row in grants {
        write_row(conn, "grant", row.id.uuid(), row).await?;
    }
    Ok(())
}

async fn write_row<T: Serialize>(
    conn: &mut SqliteConnection,
    kind: &'static str,
    id: Uuid,
    row: &T,
) -> Result<(), SpoolError> {
    let body = serde_json::to_string(row).map_err(bad_row("a row of the server's"))?;
    sqlx::query("INSERT INTO down_rows (kind, id, body) VALUES ($1, $2, $3) ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body")
        .bind(kind)
        .bind(id)
        .bind(body)
        .execute(conn)
        .await
        .attempting(ATTEMPT)?;
    Ok(())
}

/// Reads the copy that was in force last.
pub(super) async fn read_copy(conn: &mut SqliteConnection) -> Result<DownCopy, SpoolError> {
    const WHAT: &str = "the copy of members and meters";
    let mut copy = DownCopy {
        version: meta(conn, key::DOWN_VERSION)
            .await?
            .and_then(|text| text.parse().ok())
            .unwrap_or(0),
        revision: revision(conn).await?,
        store: meta(conn, key::STORE).await?.and_then(|text| text.parse().ok()),
        zone: meta(conn, key::ZONE).await?.and_then(|text| text.parse().ok()),
        ..DownCopy::default()
    };
    let rows: Vec<(String, String)> = sqlx::query_as("SELECT kind, body FROM down_rows ORDER BY kind, id")
        .fetch_all(conn)
        .await
        .attempting("read the copy of members and meters")?;
    for (kind, body) in rows {
        match kind.as_str() {
            "member" => copy.put_member(parse(&body)?),
            "meter" => copy.put_meter(parse(&body)?),
            "binding" => copy.put_binding(parse(&body)?),
            "grant" => copy.put_grant(parse(&body)?),
            _ => return Err(bad_row(WHAT)("a row of an unknown kind")),
        }
    }
    return Ok(copy);

    fn parse<T: DeserializeOwned>(body: &str) -> Result<T, SpoolError> {
        serde_json::from_str(body).map_err(bad_row(WHAT))
    }
}
