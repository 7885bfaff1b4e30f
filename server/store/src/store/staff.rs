//! Staff and their login sessions.

use carepost_domain::id::StaffId;
use chrono::{DateTime, Utc};

use super::{Priority, Store, read, write};
use crate::error::StaffError;
use crate::model::{By, NewStaff, Session, Staff};

impl Store {
    /// Adds somebody.
    ///
    /// # Errors
    /// [`StaffError::LoginTaken`] (also when the id is), [`StaffError::StoreUnknown`], [`StaffError::BadLogin`].
    #[tracing::instrument(name = "store.add_staff", skip_all)]
    pub async fn add_staff(&self, by: &By, staff: &NewStaff) -> Result<(), StaffError> {
        write!(self, Priority::Staff, |conn| sql::staff::add(conn, by, staff))
    }

    /// Somebody by login, disabled or not.
    ///
    /// # Errors
    /// When the database fails.
    #[tracing::instrument(name = "store.staff_by_login", skip_all)]
    pub async fn staff_by_login(&self, login: &str) -> Result<Option<Staff>, StaffError> {
        read!(self, |conn| sql::staff::by_login(conn, login))
    }

    /// Somebody by id, disabled or not.
    ///
    /// # Errors
    /// When the database fails.
    #[tracing::instrument(name = "store.staff", skip_all)]
    pub async fn staff(&self, id: StaffId) -> Result<Option<Staff>, StaffError> {
        read!(self, |conn| sql::staff::by_id(conn, id))
    }

    /// Failed logins under a name since an instant, for throttling.
    ///
    /// # Errors
    /// When the database fails.
    #[tracing::instrument(name = "store.failed_logins", skip_all)]
    pub async fn failed_logins(&self, login: &str, since: DateTime<Utc>) -> Result<i64, StaffError> {
        read!(self, |conn| sql::staff::failures(conn, login, since))
    }

    /// Notes a failed login; it is forgotten after [`crate::limits::LOGIN_MEMORY`].
    ///
    /// # Errors
    /// When the database fails.
    #[tracing::instrument(name = "store.note_failed_login", skip_all)]
    pub async fn note_failed_login(&self, login: &str, now: DateTime<Utc>) -> Result<(), StaffError> {
        write!(self, Priority::Staff, |conn| sql::staff::note_failure(conn, login, now))
    }

    /// Opens a login session under the SHA-256 of its token, and forgets failed logins of that person.
    ///
    /// # Errors
    /// [`StaffError::StaffUnknown`], also for somebody who is disabled.
    #[tracing::instrument(name = "store.open_session", skip_all)]
    pub async fn open_session(
        &self,
        token_hash: [u8; 32],
        staff: StaffId,
        csrf: &str,
        now: DateTime<Utc>,
        expires_at: DateTime<Utc>,
    ) -> Result<(), StaffError> {
        write!(self, Priority::Staff, |conn| async {
            let new = sql::staff::NewSession {
                token_hash,
                staff,
                csrf,
                now,
                expires_at,
            };
            sql::staff::open_session(conn, &new).await
        })
    }

    /// The login session of a token, if it is open now and its owner may still log in.
    ///
    /// # Errors
    /// When the database fails.
    #[tracing::instrument(name = "store.session", skip_all)]
    pub async fn session(&self, token_hash: [u8; 32], now: DateTime<Utc>) -> Result<Option<Session>, StaffError> {
        read!(self, |conn| sql::staff::session(conn, token_hash, now))
    }

    /// Closes a login session; closing what is not open is no change.
    ///
    /// # Errors
    /// When the database fails.
    #[tracing::instrument(name = "store.close_session", skip_all)]
    pub async fn close_session(&self, token_hash: [u8; 32], now: DateTime<Utc>) -> Result<(), StaffError> {
        write!(self, Priority::Staff, |conn| sql::staff::close_session(
            conn, token_hash, now
        ))
    }
}
