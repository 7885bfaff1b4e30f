//! Who is at the staff page: sessions in memory, which end by themselves.

use std::time::Duration;

use carepost_daemon::Entropy;
use subtle::ConstantTimeEq as _;

/// Bytes of a token before it is printed in hex.
const TOKEN_BYTES: usize = 32;
/// Sessions at a time; the one that was used longest ago gives way.
const MAX_SESSIONS: usize = 8;

/// A session.
#[derive(Debug, Clone)]
struct Session {
    token: String,
    /// Proves that a form was drawn for this session.
    form: String,
    used_at: Duration,
}

/// All sessions.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    list: Vec<Session>,
}

/// A new random token in hex.
pub(crate) fn new_token(entropy: &Entropy) -> String {
    hex::encode(entropy.bytes::<TOKEN_BYTES>())
}

/// Compares without telling by its duration where two tokens differ.
pub(crate) fn is_same(a: &str, b: &str) -> bool {
    a.as_bytes().ct_eq(b.as_bytes()).into()
}

impl Sessions {
    /// Begins one; gives its token.
    pub(crate) fn begin(&mut self, now: Duration, idle: Duration, entropy: &Entropy) -> String {
        self.expire(now, idle);
        if self.list.len() >= MAX_SESSIONS
            && let Some(oldest) = (0..self.list.len()).min_by_key(|at| self.list.get(*at).map(|s| s.used_at))
        {
            self.list.remove(oldest);
        }
        let token = new_token(entropy);
        self.list.push(Session {
            token: token.clone(),
            form: new_token(entropy),
            used_at: now,
        });
        token
    }

    /// The form token of the session with this token. Only what a person does keeps it alive.
    pub(crate) fn form_token(&mut self, token: &str, now: Duration, idle: Duration, by_person: bool) -> Option<String> {
        self.expire(now, idle);
        let session = self.list.iter_mut().find(|session| is_same(&session.token, token))?;
        if by_person {
            session.used_at = now;
        }
        Some(session.form.clone())
    }

    /// Ends one.
    pub(crate) fn end(&mut self, token: &str) {
        self.list.retain(|session| !is_same(&session.token, token));
    }

    fn expire(&mut self, now: Duration, idle: Duration) {
        self.list.retain(|session| now.saturating_sub(session.used_at) < idle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(300);

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_session_ends_when_nobody_does_anything_and_looking_is_not_doing() {
        let entropy = Entropy::seeded(1);
        let mut sessions = Sessions::default();
        let token = sessions.begin(s(0), IDLE, &entropy);
        let form = sessions.form_token(&token, s(200), IDLE, true).unwrap();
        assert_ne!(form, token);
        assert!(sessions.form_token(&token, s(499), IDLE, false).is_some());
        assert_eq!(sessions.form_token(&token, s(500), IDLE, true), None);
        assert_eq!(sessions.form_token("", s(0), IDLE, true), None);
    }

    #[test]
    fn there_are_so_many_at_most_and_each_can_leave() {
        let entropy = Entropy::seeded(1);
        let mut sessions = Sessions::default();
        let tokens: Vec<String> = (0..=MAX_SESSIONS as u64)
            .map(|n| sessions.begin(s(n), IDLE, &entropy))
            .collect();
        let mut there = |token: &str| sessions.form_token(token, s(10), IDLE, false).is_some();
        assert!(!there(&tokens[0]), "the oldest gave way");
        assert!(there(&tokens[1]) && there(&tokens[MAX_SESSIONS]));
        sessions.end(&tokens[1]);
        assert_eq!(sessions.form_token(&tokens[1], s(10), IDLE, false), None);
    }
}
