//! Audit rows on their way in, and the chain that makes a missing or altered row show.

use carepost_domain::id::MemberId;
use uuid::Uuid;

use crate::codec::{cut, digest, us};
use crate::limits::MAX_NOTE_CHARS;
use crate::model::{Actor, By};

/// A row to be written.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) at: i64,
    pub(crate) actor_kind: &'static str,
    pub(crate) actor: Option<Uuid>,
    pub(crate) action: &'static str,
    pub(crate) subject: String,
    pub(crate) member: Option<Uuid>,
    pub(crate) detail: Option<String>,
}

impl Entry {
    /// Somebody did something to something. The actor's reason becomes the detail.
    pub(crate) fn new(by: &By, action: &'static str, subject: impl ToString) -> Self {
        let (actor_kind, actor) = match by.actor {
            Actor::Staff(id) => ("staff", Some(id.uuid())),
            Actor::Gateway(id) => ("gateway", Some(id.uuid())),
            Actor::System => ("system", None),
        };
        let detail = by.reason.as_deref().map(|reason| cut(reason, MAX_NOTE_CHARS));
        Self {
            at: us(by.at),
            actor_kind,
            actor,
            action,
            subject: subject.to_string(),
            member: None,
            detail,
        }
    }

    /// Whose data it was.
    pub(crate) fn member(mut self, member: MemberId) -> Self {
        self.member = Some(member.uuid());
        self
    }

    /// What came of it, behind the actor's reason.
    pub(crate) fn detail(mut self, what: impl AsRef<str>) -> Self {
        let text = match self.detail {
            Some(reason) => format!("{reason}; {}", what.as_ref()),
            None => what.as_ref().to_owned(),
        };
        self.detail = Some(cut(&text, MAX_NOTE_CHARS));
        self
    }
}

/// What the chain covers of a row.
pub(crate) struct Link<'a> {
    pub(crate) chain_no: i64,
    pub(crate) seq: i64,
    pub(crate) at: i64,
    pub(crate) actor_kind: &'a str,
    pub(crate) actor: Option<Uuid>,
    pub(crate) action: &'a str,
    pub(crate) subject: &'a str,
    pub(crate) member: Option<Uuid>,
    pub(crate) detail: Option<&'a str>,
}

impl Link<'_> {
    /// The row's hash, over the hash of the row before it.
    pub(crate) fn hash(&self, previous: &[u8]) -> [u8; 32] {
        // A byte in front tells an absent value from an empty one.
        let present = |value: Option<&[u8]>| value.map_or_else(|| vec![0], |v| [&[1], v].concat());
        digest(&[
            b"carepost audit v1",
            previous,
            &self.chain_no.to_be_bytes(),
            &self.seq.to_be_bytes(),
            &self.at.to_be_bytes(),
            self.actor_kind.as_bytes(),
            &present(self.actor.as_ref().map(|id| id.as_bytes().as_slice())),
            self.action.as_bytes(),
            self.subject.as_bytes(),
            &present(self.member.as_ref().map(|id| id.as_bytes().as_slice())),
            &present(self.detail.map(str::as_bytes)),
        ])
    }
}
