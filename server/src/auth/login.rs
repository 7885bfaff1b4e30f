//! Logging in and out. An unknown login, a wrong password and a disabled account give the same answer after the same
//! work; too many failures of one name close it for a while, whether it exists or not.

use carepost_daemon::SecretText;
use carepost_store::StaffError;
use carepost_store::limits::MAX_LOGIN_CHARS;
use carepost_store::model::Staff;
use chrono::{DateTime, TimeDelta, Utc};

use crate::app::AppState;
use crate::telemetry::Metric;

use super::password::PasswordError;
use super::{TOKEN_BYTES, Token};

/// Somebody who has just logged in.
#[derive(Debug)]
pub struct LoggedIn {
    /// Who.
    pub staff: Staff,
    /// For the cookie.
    pub token: Token,
    /// For every write.
    pub csrf: String,
    /// How long the session lasts, in seconds.
    pub lasts_s: u64,
    /// When it ends.
    pub expires_at: DateTime<Utc>,
}

/// Why somebody is not let in.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// No such login, or not its password, or disabled: nobody learns which.
    #[error("login or password is wrong")]
    Refused,
    /// Too many failures of this name.
    #[error("too many failed logins")]
    TooManyFailures {
        /// When to try again, in seconds.
        retry_after_s: u64,
    },
    /// Too many people log in at this moment.
    #[error("too many logins at a time")]
    Busy,
    /// The password could not be checked.
    #[error("could not check the password")]
    Password(#[source] PasswordError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StaffError),
}

/// Checks login and password and opens a session.
///
/// # Errors
/// See [`LoginError`].
pub async fn log_in(state: &AppState, login: &str, password: &SecretText) -> Result<LoggedIn, LoginError> {
    // A name that no account can have is not looked up, and not remembered either.
    let possible = !login.is_empty() && login.chars().count() <= MAX_LOGIN_CHARS && !login.contains('\0');
    let turn = state.passwords.turn().await.map_err(|_busy| LoginError::Busy)?;
    let now = state.clock.now();
    let settings = &state.config.login;
    // Within the turn, so that parallel tries do not all pass before the first failure is counted.
    if possible {
        let window = TimeDelta::minutes(i64::try_from(settings.window_minutes).unwrap_or(i64::MAX / 60_000));
        let failures = state.store.failed_logins(login, now - window).await?;
        if failures >= i64::from(settings.max_failures) {
            state.counters.count(Metric::LoginsThrottled);
            return Err(LoginError::TooManyFailures {
                retry_after_s: settings.window_minutes.saturating_mul(60),
            });
        }
    }
    let staff = if possible {
        state.store.staff_by_login(login).await?
    } else {
        None
    };
    let staff = staff.filter(|staff| staff.disabled_at.is_none());
    let hash = staff.as_ref().map(|staff| staff.password_hash.as_str());
    let fits = state
        .passwords
        .check(&turn, password, hash)
        .await
        .map_err(LoginError::Password)?;
    let Some(staff) = staff.filter(|_| fits) else {
        state.counters.count(Metric::LoginsRefused);
        if possible {
            state.store.note_failed_login(login, now).await?;
        }
        return Err(LoginError::Refused);
    };
    let token = Token::draw(&state.entropy);
    let csrf = hex::encode(state.entropy.bytes::<TOKEN_BYTES>());
    let lasts_s = settings.session_minutes.saturating_mul(60);
    let expires_at = now + TimeDelta::minutes(i64::try_from(settings.session_minutes).unwrap_or(i64::MAX / 60_000));
    state
        .store
        .open_session(token.hash(), staff.id, &csrf, now, expires_at)
        .await?;
    state.counters.count(Metric::LoginsAccepted);
    tracing::info!(staff.id = %staff.id, "staff logged in");
    Ok(LoggedIn {
        staff,
        token,
        csrf,
        lasts_s,
        expires_at,
    })
}

/// Ends the session of a token.
///
/// # Errors
/// When the store fails.
pub async fn log_out(state: &AppState, token: &Token) -> Result<(), StaffError> {
    state.store.close_session(token.hash(), state.clock.now()).await
}
