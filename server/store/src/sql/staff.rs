//! Staff and their login sessions.

use carepost_domain::Id;
use carepost_domain::id::StaffId;
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::{Conn, audit, fleet};
use crate::audit::Entry;
use crate::codec::{code, digest, instant, instant_opt, us};
use crate::error::{Doing as _, Fault, StaffError};
use crate::limits::{LOGIN_MEMORY, MAX_LOGIN_CHARS};
use crate::model::{By, NewStaff, Session, Staff};

statements! {
    ADD = "INSERT INTO staff (id, login, name, role, store, password_hash, added_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING";
    BY_LOGIN = "SELECT id, login, name, role, store, password_hash, disabled_at FROM staff WHERE login = $1";
    BY_ID = "SELECT id, login, name, role, store, password_hash, disabled_at FROM staff WHERE id = $1";
    FAILURES = "SELECT COUNT(*) FROM login_failure WHERE login_digest = $1 AND at >= $2";
    NOTE_FAILURE = "INSERT INTO login_failure (login_digest, at) VALUES ($1, $2)";
    FORGET_OLD_FAILURES = "DELETE FROM login_failure WHERE at < $1";
    FORGET_FAILURES = "DELETE FROM login_failure WHERE login_digest = $1";
    OPEN_SESSION = "INSERT INTO login_session (token_hash, staff, csrf, opened_at, expires_at) VALUES ($1, $2, $3, $4, $5)";
    EXPIRED_SESSIONS = "DELETE FROM login_session WHERE expires_at <= $1";
    SESSION = "SELECT staff, csrf, opened_at, expires_at FROM login_session WHERE token_hash = $1 AND expires_at > $2";
    CLOSE_SESSION = "DELETE FROM login_session WHERE token_hash = $1 RETURNING staff";
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    login: String,
    name: String,
    role: String,
    store: Uuid,
    password_hash: String,
    disabled_at: Option<i64>,
}

impl Row {
    fn into_model(self) -> Result<Staff, Fault> {
        Ok(Staff {
            id: Id::from_uuid(self.id),
            login: self.login,
            name: self.name,
            role: code(&self.role)?,
            store: Id::from_uuid(self.store),
            password_hash: self.password_hash,
            disabled_at: instant_opt(self.disabled_at)?,
        })
    }
}

#[derive(sqlx::FromRow)]
struct SessionRow {
    staff: Uuid,
    csrf: String,
    opened_at: i64,
    expires_at: i64,
}

fn login_digest(login: &str) -> Vec<u8> {
    digest(&[b"login", login.as_bytes()]).to_vec()
}

pub(crate) async fn add(conn: &mut Conn, by: &By, new: &NewStaff) -> Result<(), StaffError> {
    if new.login.is_empty() || new.login.chars().count() > MAX_LOGIN_CHARS {
        return Err(StaffError::BadLogin);
    }
    if fleet::find_store(conn, new.store).await?.is_none() {
        return Err(StaffError::StoreUnknown(new.store));
    }
    let added = sqlx::query(ADD)
        .bind(new.id.uuid())
        .bind(new.login.as_str())
        .bind(new.name.as_str())
        .bind(new.role.code())
        .bind(new.store.uuid())
        .bind(new.password_hash.as_str())
        .bind(us(by.at))
        .execute(&mut *conn)
        .await
        .doing("add a member of the staff")?;
    if added.rows_affected() == 0 {
        return Err(StaffError::LoginTaken);
    }
    audit::insert(conn, &Entry::new(by, "staff.add", new.id).detail(new.role.code())).await?;
    Ok(())
}

pub(crate) async fn by_login(conn: &mut Conn, login: &str) -> Result<Option<Staff>, StaffError> {
    let row: Option<Row> = sqlx::query_as(BY_LOGIN)
        .bind(login)
        .fetch_optional(conn)
        .await
        .doing("look a login up")?;
    Ok(row.map(Row::into_model).transpose()?)
}

/// Somebody of the staff, disabled or not.
pub(crate) async fn find(conn: &mut Conn, id: StaffId) -> Result<Option<Staff>, Fault> {
    let row: Option<Row> = sqlx::query_as(BY_ID)
        .bind(id.uuid())
        .fetch_optional(conn)
        .await
        .doing("look a member of the staff up")?;
    row.map(Row::into_model).transpose()
}

pub(crate) async fn by_id(conn: &mut Conn, id: StaffId) -> Result<Option<Staff>, StaffError> {
    Ok(find(conn, id).await?)
}

pub(crate) async fn failures(conn: &mut Conn, login: &str, since: DateTime<Utc>) -> Result<i64, StaffError> {
    Ok(sqlx::query_scalar(FAILURES)
        .bind(login_digest(login))
        .bind(us(since))
        .fetch_one(conn)
        .await
        .doing("count failed logins")?)
}

pub(crate) async fn note_failure(conn: &mut Conn, login: &str, now: DateTime<Utc>) -> Result<(), StaffError> {
    let memory = TimeDelta::from_std(LOGIN_MEMORY).unwrap_or(TimeDelta::MAX);
    sqlx::query(FORGET_OLD_FAILURES)
        .bind(us(now - memory))
        .execute(&mut *conn)
        .await
        .doing("forget old failed logins")?;
    sqlx::query(NOTE_FAILURE)
        .bind(login_digest(login))
        .bind(us(now))
        .execute(conn)
        .await
        .doing("note a failed login")?;
    Ok(())
}

/// What a session is made of.
pub(crate) struct NewSession<'a> {
    pub(crate) token_hash: [u8; 32],
    pub(crate) staff: StaffId,
    pub(crate) csrf: &'a str,
    pub(crate) now: DateTime<Utc>,
    pub(crate) expires_at: DateTime<Utc>,
}

pub(crate) async fn open_session(conn: &mut Conn, new: &NewSession<'_>) -> Result<(), StaffError> {
    let staff = find(conn, new.staff).await?.filter(|staff| staff.disabled_at.is_none());
    let staff = staff.ok_or(StaffError::StaffUnknown(new.staff))?;
    sqlx::query(EXPIRED_SESSIONS)
        .bind(us(new.now))
        .execute(&mut *conn)
        .await
        .doing("forget expired sessions")?;
    sqlx::query(OPEN_SESSION)
        .bind(new.token_hash.as_slice())
        .bind(new.staff.uuid())
        .bind(new.csrf)
        .bind(us(new.now))
        .bind(us(new.expires_at))
        .execute(&mut *conn)
        .await
        .doing("open a session")?;
    sqlx::query(FORGET_FAILURES)
        .bind(login_digest(&staff.login))
        .execute(&mut *conn)
        .await
        .doing("forget failed logins")?;
    audit::insert(
        conn,
        &Entry::new(&By::staff(new.staff, new.now), "staff.login", new.staff),
    )
    .await?;
    Ok(())
}

pub(crate) async fn session(
    conn: &mut Conn,
    token_hash: [u8; 32],
    now: DateTime<Utc>,
) -> Result<Option<Session>, StaffError> {
    let row: Option<SessionRow> = sqlx::query_as(SESSION)
        .bind(token_hash.as_slice())
        .bind(us(now))
        .fetch_optional(&mut *conn)
        .await
        .doing("look a session up")?;
    let Some(row) = row else { return Ok(None) };
    let staff = find(conn, Id::from_uuid(row.staff))
        .await?
        .filter(|staff| staff.disabled_at.is_none());
    let Some(staff) = staff else { return Ok(None) };
    Ok(Some(Session {
        staff,
        csrf: row.csrf,
        opened_at: instant(row.opened_at)?,
        expires_at: instant(row.expires_at)?,
    }))
}

pub(crate) async fn close_session(conn: &mut Conn, token_hash: [u8; 32], now: DateTime<Utc>) -> Result<(), StaffError> {
    let staff: Option<Uuid> = sqlx::query_scalar(CLOSE_SESSION)
        .bind(token_hash.as_slice())
        .fetch_optional(&mut *conn)
        .await
        .doing("close a session")?;
    if let Some(staff) = staff {
        let staff: StaffId = Id::from_uuid(staff);
        audit::insert(conn, &Entry::new(&By::staff(staff, now), "staff.logout", staff)).await?;
    }
    Ok(())
}
