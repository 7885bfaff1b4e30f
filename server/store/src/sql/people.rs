//! Members and what is on file about them.

use carepost_domain::Id;
use carepost_domain::Phi;
use carepost_domain::id::MemberId;
use carepost_domain::people::{Condition, DrugClass, Member, MemberCode};
use uuid::Uuid;

use super::counter::{self, Counter};
use super::{Conn, audit, fleet, ids, jobs};
use crate::audit::Entry;
use crate::codec::{code, instant, narrow, parse, us};
use crate::error::{Doing as _, Fault, PeopleError};
use crate::limits::{MAX_NAME_CHARS, MAX_PHONE_CHARS};
use crate::model::{By, MemberRecord};

statements! {
    ADD_MEMBER = "INSERT INTO member (id, code, name, birth_year, sex, phone, home_store, added_at, changed)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING";
    MEMBERS = concat!(
        "SELECT id, code, name, birth_year, sex, phone, home_store, added_at FROM member WHERE id", in_ids!("$1")
    );
    BY_CODE = "SELECT id, code, name, birth_year, sex, phone, home_store, added_at FROM member WHERE code = $1";
    LOCK_MEMBERS = concat!("SELECT id FROM member WHERE id", in_ids!("$1"), " ORDER BY id", row_lock!());
    FACTS = concat!(
        "SELECT member, kind, code FROM member_fact WHERE member", in_ids!("$1"), " ORDER BY member, kind, code"
    );
    ADD_FACT = "INSERT INTO member_fact (member, kind, code) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    CLEAR_FACTS = "DELETE FROM member_fact WHERE member = $1 AND kind = $2";
}

#[derive(sqlx::FromRow)]
pub(crate) struct MemberRow {
    id: Uuid,
    code: String,
    name: String,
    birth_year: i64,
    sex: String,
    phone: Option<String>,
    home_store: Uuid,
    added_at: i64,
}

#[derive(sqlx::FromRow)]
struct FactRow {
    member: Uuid,
    kind: String,
    code: String,
}

/// Members by id, in no order; those that do not exist are missing.
pub(crate) async fn find_members(conn: &mut Conn, list: &[Uuid]) -> Result<Vec<MemberRecord>, Fault> {
    let rows: Vec<MemberRow> = sqlx::query_as(MEMBERS)
        .bind(ids(list))
        .fetch_all(&mut *conn)
        .await
        .doing("look members up")?;
    with_facts(conn, rows).await
}

async fn with_facts(conn: &mut Conn, rows: Vec<MemberRow>) -> Result<Vec<MemberRecord>, Fault> {
    let list: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    let facts: Vec<FactRow> = sqlx::query_as(FACTS)
        .bind(ids(&list))
        .fetch_all(conn)
        .await
        .doing("look conditions and drugs up")?;
    let mut records = Vec::with_capacity(rows.len());
    for row in rows {
        let mut conditions = Vec::new();
        let mut drugs = Vec::new();
        for fact in facts.iter().filter(|fact| fact.member == row.id) {
            match fact.kind.as_str() {
                "condition" => conditions.push(code(&fact.code)?),
                _ => drugs.push(code(&fact.code)?),
            }
        }
        records.push(MemberRecord {
            member: Member {
                id: Id::from_uuid(row.id),
                code: parse(&row.code)?,
                name: Phi::new(row.name),
                birth_year: narrow(row.birth_year)?,
                sex: code(&row.sex)?,
                phone: row.phone.map(Phi::new),
                home_store: Id::from_uuid(row.home_store),
                conditions,
                drugs,
            },
            added_at: instant(row.added_at)?,
        });
    }
    Ok(records)
}

async fn one(conn: &mut Conn, id: MemberId) -> Result<MemberRecord, PeopleError> {
    find_members(conn, &[id.uuid()])
        .await?
        .pop()
        .ok_or(PeopleError::MemberUnknown(id))
}

/// Holds members until commit, in the order of their ids, so that two transactions never wait for each other. Gives
/// those that exist.
pub(crate) async fn lock_members(conn: &mut Conn, list: &[Uuid]) -> Result<Vec<Uuid>, Fault> {
    sqlx::query_scalar(LOCK_MEMBERS)
        .bind(ids(list))
        .fetch_all(conn)
        .await
        .doing("hold members")
}

fn check_text(field: &'static str, text: &str, max: usize) -> Result<(), PeopleError> {
    if text.trim().is_empty() || text.chars().count() > max {
        return Err(PeopleError::BadText { field, min: 1, max });
    }
    Ok(())
}

pub(crate) async fn add_member(conn: &mut Conn, by: &By, member: &Member) -> Result<(), PeopleError> {
    check_text("name", member.name.expose(), MAX_NAME_CHARS)?;
    if let Some(phone) = &member.phone {
        check_text("telephone", phone.expose(), MAX_PHONE_CHARS)?;
    }
    if fleet::find_store(conn, member.home_store).await?.is_none() {
        return Err(PeopleError::StoreUnknown(member.home_store));
    }
    // Asked first, so that a repeat does not move the version that gateways follow.
    if let Some(known) = find_members(conn, &[member.id.uuid()]).await?.pop() {
        return if same_member(&known.member, member) {
            Ok(())
        } else {
            Err(PeopleError::MemberTaken)
        };
    }
    let version = counter::add(conn, Counter::Down, 1).await?;
    let added = sqlx::query(ADD_MEMBER)
        .bind(member.id.uuid())
        .bind(member.code.as_str())
        .bind(member.name.expose().as_str())
        .bind(i64::from(member.birth_year))
        .bind(member.sex.code())
        .bind(member.phone.as_ref().map(|phone| phone.expose().as_str()))
        .bind(member.home_store.uuid())
        .bind(us(by.at))
        .bind(version)
        .execute(&mut *conn)
        .await
        .doing("add a member")?;
    if added.rows_affected() == 0 {
        return Err(PeopleError::MemberTaken);
    }
    add_facts(conn, member.id, "condition", member.conditions.iter().map(|c| c.code())).await?;
    add_facts(conn, member.id, "drug", member.drugs.iter().map(|d| d.code())).await?;
    audit::insert(conn, &Entry::new(by, "member.add", member.id).member(member.id)).await?;
    Ok(())
}

/// The lists are sets.
fn same_member(known: &Member, new: &Member) -> bool {
    let sorted = |member: &Member| {
        let mut member = member.clone();
        member.conditions.sort_unstable();
        member.conditions.dedup();
        member.drugs.sort_unstable();
        member.drugs.dedup();
        member
    };
    sorted(known) == sorted(new)
}

async fn add_facts(
    conn: &mut Conn,
    member: MemberId,
    kind: &str,
    codes: impl Iterator<Item = &'static str> + Send,
) -> Result<(), Fault> {
    for code in codes {
        sqlx::query(ADD_FACT)
            .bind(member.uuid())
            .bind(kind)
            .bind(code)
            .execute(&mut *conn)
            .await
            .doing("record a condition or drug")?;
    }
    Ok(())
}

pub(crate) async fn member(conn: &mut Conn, by: &By, id: MemberId) -> Result<(MemberRecord, Vec<Entry>), PeopleError> {
    let record = one(conn, id).await?;
    Ok((record, vec![Entry::new(by, "member.read", id).member(id)]))
}

pub(crate) async fn find_by_code(
    conn: &mut Conn,
    by: &By,
    card: &MemberCode,
) -> Result<(Option<MemberRecord>, Vec<Entry>), PeopleError> {
    let rows: Vec<MemberRow> = sqlx::query_as(BY_CODE)
        .bind(card.as_str())
        .fetch_all(&mut *conn)
        .await
        .doing("search a member by code")?;
    let found = with_facts(conn, rows).await?.pop();
    let entry = Entry::new(by, "member.search", card);
    let entry = match &found {
        Some(record) => entry.member(record.member.id),
        None => entry.detail("not found"),
    };
    Ok((found, vec![entry]))
}

pub(crate) async fn set_conditions(
    conn: &mut Conn,
    by: &By,
    member: MemberId,
    conditions: &[Condition],
) -> Result<(), PeopleError> {
    set_facts(
        conn,
        by,
        member,
        "condition",
        conditions.iter().map(|c| c.code()).collect(),
    )
    .await
}

pub(crate) async fn set_drugs(
    conn: &mut Conn,
    by: &By,
    member: MemberId,
    drugs: &[DrugClass],
) -> Result<(), PeopleError> {
    set_facts(conn, by, member, "drug", drugs.iter().map(|d| d.code()).collect()).await
}

async fn set_facts(
    conn: &mut Conn,
    by: &By,
    member: MemberId,
    kind: &str,
    mut codes: Vec<&'static str>,
) -> Result<(), PeopleError> {
    if lock_members(conn, &[member.uuid()]).await?.is_empty() {
        return Err(PeopleError::MemberUnknown(member));
    }
    codes.sort_unstable();
    codes.dedup();
    let known: Vec<FactRow> = sqlx::query_as(FACTS)
        .bind(ids(&[member.uuid()]))
        .fetch_all(&mut *conn)
        .await
        .doing("look conditions and drugs up")?;
    let before: Vec<&str> = known
        .iter()
        .filter(|fact| fact.kind == kind)
        .map(|fact| fact.code.as_str())
        .collect();
    if before == codes {
        return Ok(());
    }
    sqlx::query(CLEAR_FACTS)
        .bind(member.uuid())
        .bind(kind)
        .execute(&mut *conn)
        .await
        .doing("replace conditions or drugs")?;
    add_facts(conn, member, kind, codes.iter().copied()).await?;
    // What rules say of the same readings may be different now.
    jobs::reassess_sooner(conn, member, by.at).await?;
    let action = if kind == "condition" {
        "member.conditions"
    } else {
        "member.drugs"
    };
    let what = format!("{} -> {}", before.join(" "), codes.join(" "));
    audit::insert(conn, &Entry::new(by, action, member).member(member).detail(what)).await?;
    Ok(())
}
