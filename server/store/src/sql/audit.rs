//! The audit: rows in, rows out, and the chain.

use carepost_domain::Id;
use carepost_domain::id::MemberId;
use uuid::Uuid;

use super::Conn;
use super::counter::{self, Counter};
use crate::audit::{Entry, Link};
use crate::codec::instant;
use crate::error::{Doing as _, Fault, FaultKind};
use crate::limits::MAX_SEALED_AT_ONCE;
use crate::model::{Actor, AuditRow, By, Sealed, Verdict};

statements! {
    INSERT = "INSERT INTO audit (at, actor_kind, actor, action, subject, member, detail)
        VALUES ($1, $2, $3, $4, $5, $6, $7)";
    OF_MEMBER = "SELECT seq, at, actor_kind, actor, action, subject, member, detail, chain_no, chain_hash
        FROM audit WHERE member = $1 ORDER BY seq DESC LIMIT $2";
    UNSEALED = "SELECT seq, at, actor_kind, actor, action, subject, member, detail, chain_no, chain_hash
        FROM audit WHERE chain_no IS NULL ORDER BY seq LIMIT $1";
    HASH_AT = "SELECT chain_hash FROM audit WHERE chain_no = $1";
    SEAL = "UPDATE audit SET chain_no = $2, chain_hash = $3 WHERE seq = $1";
    CHAINED_AFTER = "SELECT seq, at, actor_kind, actor, action, subject, member, detail, chain_no, chain_hash
        FROM audit WHERE chain_no > $1 ORDER BY chain_no LIMIT $2";
}

#[derive(sqlx::FromRow)]
struct Row {
    seq: i64,
    at: i64,
    actor_kind: String,
    actor: Option<Uuid>,
    action: String,
    subject: String,
    member: Option<Uuid>,
    detail: Option<String>,
    chain_no: Option<i64>,
    chain_hash: Option<Vec<u8>>,
}

impl Row {
    fn hash(&self, chain_no: i64, previous: &[u8]) -> [u8; 32] {
        Link {
            chain_no,
            seq: self.seq,
            at: self.at,
            actor_kind: &self.actor_kind,
            actor: self.actor,
            action: &self.action,
            subject: &self.subject,
            member: self.member,
            detail: self.detail.as_deref(),
        }
        .hash(previous)
    }

    fn into_model(self) -> Result<AuditRow, Fault> {
        let actor = match (self.actor_kind.as_str(), self.actor) {
            ("staff", Some(id)) => Actor::Staff(Id::from_uuid(id)),
            ("gateway", Some(id)) => Actor::Gateway(Id::from_uuid(id)),
            ("system", None) => Actor::System,
            _ => {
                return Err(Fault::new(
                    "read the audit",
                    FaultKind::Unexpected,
                    "an actor of an unknown kind",
                ));
            }
        };
        Ok(AuditRow {
            seq: self.seq,
            at: instant(self.at)?,
            actor,
            action: self.action,
            subject: self.subject,
            member: self.member.map(Id::from_uuid),
            detail: self.detail,
            chain_no: self.chain_no,
        })
    }
}

pub(crate) async fn insert(conn: &mut Conn, entry: &Entry) -> Result<(), Fault> {
    sqlx::query(INSERT)
        .bind(entry.at)
        .bind(entry.actor_kind)
        .bind(entry.actor)
        .bind(entry.action)
        .bind(entry.subject.as_str())
        .bind(entry.member)
        .bind(entry.detail.as_deref())
        .execute(conn)
        .await
        .doing("write an audit row")?;
    Ok(())
}

pub(crate) async fn of_member(conn: &mut Conn, member: MemberId, limit: i64) -> Result<Vec<AuditRow>, Fault> {
    let rows: Vec<Row> = sqlx::query_as(OF_MEMBER)
        .bind(member.uuid())
        .bind(limit)
        .fetch_all(conn)
        .await
        .doing("read the audit")?;
    rows.into_iter().map(Row::into_model).collect()
}

/// Gives the oldest rows outside the chain their places in it.
pub(crate) async fn seal(conn: &mut Conn) -> Result<Sealed, Fault> {
    // The counter's row keeps a second sealer out until commit.
    let mut chain_no = counter::lock(conn, Counter::AuditChain).await?;
    let mut previous = hash_at(conn, chain_no).await?;
    let rows: Vec<Row> = sqlx::query_as(UNSEALED)
        .bind(MAX_SEALED_AT_ONCE + 1)
        .fetch_all(&mut *conn)
        .await
        .doing("read the audit's unsealed rows")?;
    let limit = usize::try_from(MAX_SEALED_AT_ONCE).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    let mut sealed = 0;
    for row in rows.iter().take(limit) {
        chain_no += 1;
        previous = row.hash(chain_no, &previous).to_vec();
        sqlx::query(SEAL)
            .bind(row.seq)
            .bind(chain_no)
            .bind(previous.as_slice())
            .execute(&mut *conn)
            .await
            .doing("seal an audit row")?;
        sealed += 1;
    }
    counter::set(conn, Counter::AuditChain, chain_no).await?;
    Ok(Sealed { rows: sealed, more })
}

async fn hash_at(conn: &mut Conn, chain_no: i64) -> Result<Vec<u8>, Fault> {
    if chain_no == 0 {
        return Ok(Vec::new());
    }
    let hash: Option<Vec<u8>> = sqlx::query_scalar(HASH_AT)
        .bind(chain_no)
        .fetch_optional(conn)
        .await
        .doing("find the end of the audit's chain")?;
    hash.ok_or_else(|| {
        Fault::new(
            "find the end of the audit's chain",
            FaultKind::Damaged,
            "the last sealed row is missing",
        )
    })
}

/// Walks along the chain from its beginning.
pub(crate) async fn verify(conn: &mut Conn) -> Result<Verdict, Fault> {
    let expected = counter::read(conn, Counter::AuditChain).await?;
    let mut previous = Vec::new();
    let mut chain_no = 0;
    loop {
        let rows: Vec<Row> = sqlx::query_as(CHAINED_AFTER)
            .bind(chain_no)
            .bind(MAX_SEALED_AT_ONCE)
            .fetch_all(&mut *conn)
            .await
            .doing("walk along the audit's chain")?;
        if rows.is_empty() {
            break;
        }
        for row in rows {
            let hash = row.hash(chain_no + 1, &previous);
            if row.chain_no != Some(chain_no + 1) || row.chain_hash.as_deref() != Some(hash.as_slice()) {
                return Ok(Verdict::BrokenAt { chain_no: chain_no + 1 });
            }
            previous = hash.to_vec();
            chain_no += 1;
        }
    }
    Ok(if chain_no == expected {
        Verdict::Intact { rows: chain_no }
    } else {
        Verdict::BrokenAt { chain_no: chain_no + 1 }
    })
}

/// The newest rows about a member, for somebody.
pub(crate) async fn list(
    conn: &mut Conn,
    by: &By,
    member: MemberId,
    limit: i64,
) -> Result<(Vec<AuditRow>, Vec<Entry>), Fault> {
    Ok((
        of_member(conn, member, limit).await?,
        vec![Entry::new(by, "audit.read", member).member(member)],
    ))
}
