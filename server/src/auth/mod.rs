//! Who asks: passwords, login sessions, and the extractors by which handlers say whom they serve.
//!
//! A login is a random token in a cookie that scripts cannot read; the store knows only its SHA-256. Every write must
//! also carry the session's CSRF token, in the `X-CSRF-Token` header or, from pages, in a form field that is compared
//! with [`csrf_matches`].

mod extract;
mod login;
mod password;

pub use self::extract::{Staff, StaffWrite, current, token_of};
pub use self::login::{LoggedIn, LoginError, log_in, log_out};
pub use self::password::{MAX_PASSWORD_BYTES, MIN_PASSWORD_CHARS, PasswordError, Passwords};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use carepost_daemon::Entropy;
use carepost_store::model::{Session, StaffRole};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// Name of the session cookie.
pub const COOKIE: &str = "carepost_session";
/// Header that carries the CSRF token.
pub const CSRF_HEADER: &str = "x-csrf-token";
/// Random bytes of a session token and of a CSRF token.
const TOKEN_BYTES: usize = 32;
/// A token of [`TOKEN_BYTES`] in base64.
const MAX_TOKEN_CHARS: usize = 43;

/// A session token as the cookie carries it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Token {
    fn draw(entropy: &Entropy) -> Self {
        Self(URL_SAFE_NO_PAD.encode(entropy.bytes::<TOKEN_BYTES>()))
    }

    /// A token that a client sent, if it can be one of ours.
    fn parse(text: &str) -> Option<Self> {
        (text.len() == MAX_TOKEN_CHARS).then(|| Self(text.to_owned()))
    }

    /// What the store knows it by.
    fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }

    /// The `Set-Cookie` value that hands the token to a browser.
    #[must_use]
    pub fn cookie(&self, max_age_s: u64, secure: bool) -> String {
        let secure = if secure { "; Secure" } else { "" };
        format!(
            "{COOKIE}={}; Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Strict{secure}",
            self.0
        )
    }
}

/// The `Set-Cookie` value that takes the token away.
#[must_use]
pub fn expired_cookie(secure: bool) -> String {
    let secure = if secure { "; Secure" } else { "" };
    format!("{COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict{secure}")
}

/// Whether a CSRF token is the session's; takes as long whether it nearly is or not at all.
#[must_use]
pub fn csrf_matches(session: &Session, given: &str) -> bool {
    bool::from(session.csrf.as_bytes().ct_eq(given.as_bytes()))
}

/// Whether somebody of that role may see health data. Those who run the machines may not.
#[must_use]
pub const fn sees_health_data(role: StaffRole) -> bool {
    match role {
        StaffRole::Pharmacist | StaffRole::Manager => true,
        StaffRole::It => false,
    }
}

/// Whether somebody of that role may see the numbers and the state of the machines.
#[must_use]
pub const fn sees_machines(role: StaffRole) -> bool {
    match role {
        StaffRole::It | StaffRole::Manager => true,
        StaffRole::Pharmacist => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_stored_by_its_hash_and_never_printed() {
        let token = Token::draw(&Entropy::seeded(1));
        assert_eq!(token.0.len(), MAX_TOKEN_CHARS);
        assert_eq!(Token::parse(&token.0), Some(token.clone()));
        assert!(!format!("{token:?}").contains(&token.0));
        assert_ne!(token.hash(), Token::draw(&Entropy::seeded(2)).hash());
        for bad in ["", "short", &"x".repeat(MAX_TOKEN_CHARS + 1)] {
            assert_eq!(Token::parse(bad), None);
        }
    }

    #[test]
    fn the_cookie_is_out_of_reach_of_scripts_and_of_other_sites() {
        let token = Token::draw(&Entropy::seeded(1));
        let cookie = token.cookie(60, true);
        for part in ["HttpOnly", "SameSite=Strict", "Secure", "Path=/", "Max-Age=60"] {
            assert!(cookie.contains(part), "{cookie}");
        }
        assert!(!token.cookie(60, false).contains("Secure"));
        assert!(expired_cookie(false).contains("Max-Age=0"));
    }
}
