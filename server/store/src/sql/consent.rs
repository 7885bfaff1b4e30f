//! Consent grants and their withdrawal.

use carepost_domain::Id;
use carepost_domain::consent::{Grant, Purpose};
use carepost_domain::id::MemberId;
use uuid::Uuid;

use super::counter::{self, Counter};
use super::{Conn, audit, care, fleet, ids, jobs, people, staff};
use crate::audit::Entry;
use crate::codec::{bytes, code, instant, instant_opt, us};
use crate::error::{ConsentError, Doing as _, Fault};
use crate::model::{By, GrantRecord, NewGrant, Withdrawal};

statements! {
    ADD = "INSERT INTO consent_grant (id, member, purpose, text_version, text_hash, channel, store, witness, granted_at,
            expires_at, includes_history, changed)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (id) DO NOTHING";
    OF_MEMBERS = concat!(
        "SELECT id, member, purpose, text_version, text_hash, channel, store, witness, granted_at, withdrawn_at,
            expires_at, includes_history
        FROM consent_grant WHERE member", in_ids!("$1"), " ORDER BY granted_at DESC, id"
    );
    WITHDRAW = "UPDATE consent_grant SET withdrawn_at = $3, changed = $4
        WHERE member = $1 AND purpose = $2 AND withdrawn_at IS NULL";
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    member: Uuid,
    purpose: String,
    text_version: String,
    text_hash: Vec<u8>,
    channel: String,
    store: Uuid,
    witness: Option<Uuid>,
    granted_at: i64,
    withdrawn_at: Option<i64>,
    expires_at: Option<i64>,
    includes_history: bool,
}

impl Row {
    fn into_model(self) -> Result<GrantRecord, Fault> {
        Ok(NewGrant {
            grant: Grant {
                id: Id::from_uuid(self.id),
                member: Id::from_uuid(self.member),
                purpose: code(&self.purpose)?,
                text_version: self.text_version,
                granted_at: instant(self.granted_at)?,
                withdrawn_at: instant_opt(self.withdrawn_at)?,
                expires_at: instant_opt(self.expires_at)?,
                includes_history: self.includes_history,
            },
            text_hash: bytes(self.text_hash)?,
            channel: code(&self.channel)?,
            store: Id::from_uuid(self.store),
            witness: self.witness.map(Id::from_uuid),
        })
    }
}

/// Grants of members, the newest first, withdrawn ones included.
pub(crate) async fn find(conn: &mut Conn, members: &[Uuid]) -> Result<Vec<GrantRecord>, Fault> {
    let rows: Vec<Row> = sqlx::query_as(OF_MEMBERS)
        .bind(ids(members))
        .fetch_all(conn)
        .await
        .doing("look grants up")?;
    rows.into_iter().map(Row::into_model).collect()
}

/// As [`find`], without the evidence.
pub(crate) async fn find_grants(conn: &mut Conn, members: &[Uuid]) -> Result<Vec<Grant>, Fault> {
    Ok(find(conn, members)
        .await?
        .into_iter()
        .map(|record| record.grant)
        .collect())
}

pub(crate) async fn grants(
    conn: &mut Conn,
    by: &By,
    member: MemberId,
) -> Result<(Vec<GrantRecord>, Vec<Entry>), ConsentError> {
    if people::find_members(conn, &[member.uuid()]).await?.is_empty() {
        return Err(ConsentError::MemberUnknown(member));
    }
    let grants = find(conn, &[member.uuid()]).await?;
    Ok((grants, vec![Entry::new(by, "consent.read", member).member(member)]))
}

pub(crate) async fn grant(conn: &mut Conn, by: &By, new: &NewGrant) -> Result<(), ConsentError> {
    let grant = &new.grant;
    if grant.withdrawn_at.is_some() || grant.expires_at.is_some_and(|end| end <= grant.granted_at) {
        return Err(ConsentError::BadGrant);
    }
    if people::lock_members(conn, &[grant.member.uuid()]).await?.is_empty() {
        return Err(ConsentError::MemberUnknown(grant.member));
    }
    if fleet::find_store(conn, new.store).await?.is_none() {
        return Err(ConsentError::StoreUnknown(new.store));
    }
    if let Some(witness) = new.witness
        && staff::find(conn, witness).await?.is_none()
    {
        return Err(ConsentError::WitnessUnknown(witness));
    }
    // Asked first, so that a repeat does not move the version that gateways follow.
    let known = find(conn, &[grant.member.uuid()]).await?;
    if known.iter().any(|known| same_grant(known, new)) {
        return Ok(());
    }
    let version = counter::add(conn, Counter::Down, 1).await?;
    let added = sqlx::query(ADD)
        .bind(grant.id.uuid())
        .bind(grant.member.uuid())
        .bind(grant.purpose.code())
        .bind(grant.text_version.as_str())
        .bind(new.text_hash.as_slice())
        .bind(new.channel.code())
        .bind(new.store.uuid())
        .bind(new.witness.map(Id::uuid))
        .bind(us(grant.granted_at))
        .bind(grant.expires_at.map(us))
        .bind(grant.includes_history)
        .bind(version)
        .execute(&mut *conn)
        .await
        .doing("record a grant")?;
    if added.rows_affected() == 0 {
        return Err(ConsentError::BadGrant);
    }
    if grant.purpose == Purpose::CareRecord {
        jobs::reassess_sooner(conn, grant.member, by.at).await?;
    }
    let what = format!("{} {} by {}", grant.purpose, grant.text_version, new.channel);
    audit::insert(
        conn,
        &Entry::new(by, "consent.grant", grant.id)
            .member(grant.member)
            .detail(what),
    )
    .await?;
    Ok(())
}

/// Equal as stored: to the microsecond, and whether or not it was withdrawn since.
fn same_grant(known: &GrantRecord, new: &NewGrant) -> bool {
    let (a, b) = (&known.grant, &new.grant);
    a.id == b.id
        && a.member == b.member
        && a.purpose == b.purpose
        && a.text_version == b.text_version
        && us(a.granted_at) == us(b.granted_at)
        && a.expires_at.map(us) == b.expires_at.map(us)
        && a.includes_history == b.includes_history
        && known.text_hash == new.text_hash
        && known.channel == new.channel
        && known.store == new.store
        && known.witness == new.witness
}

pub(crate) async fn withdraw(
    conn: &mut Conn,
    by: &By,
    member: MemberId,
    purpose: Purpose,
) -> Result<Withdrawal, ConsentError> {
    // Held against an ingest of this member's readings: it comes wholly before the withdrawal or sees it.
    if people::lock_members(conn, &[member.uuid()]).await?.is_empty() {
        return Err(ConsentError::MemberUnknown(member));
    }
    let down_version = counter::add(conn, Counter::Down, 1).await?;
    let grants = sqlx::query(WITHDRAW)
        .bind(member.uuid())
        .bind(purpose.code())
        .bind(us(by.at))
        .bind(down_version)
        .execute(&mut *conn)
        .await
        .doing("withdraw grants")?
        .rows_affected();
    if grants == 0 {
        return Err(ConsentError::NothingToWithdraw(member));
    }
    let mut withdrawal = Withdrawal {
        grants,
        alerts_closed: 0,
        tasks_cancelled: 0,
        jobs_cancelled: 0,
        down_version,
    };
    if purpose == Purpose::CareRecord {
        (withdrawal.alerts_closed, withdrawal.tasks_cancelled) = care::withdraw(conn, by, member).await?;
        withdrawal.jobs_cancelled = jobs::cancel_of(conn, member).await?;
    }
    let what = format!(
        "{purpose}: {} grants, {} alerts, {} tasks, {} jobs",
        withdrawal.grants, withdrawal.alerts_closed, withdrawal.tasks_cancelled, withdrawal.jobs_cancelled
    );
    audit::insert(
        conn,
        &Entry::new(by, "consent.withdraw", member).member(member).detail(what),
    )
    .await?;
    Ok(withdrawal)
}
