//! Version 1 of the messages. Once released, this folder only gains optional fields.

mod batch;
mod control;
mod down;
mod receipt;

pub use batch::{
    Batch, BatchError, Item, ItemError, Lane, ParsedBatch, Salvaged, WireReading, parse_batch, salvage_batch,
};
pub use control::{Applied, BadRegister, Control, Hello, Owner, Register, parse_control};
pub use down::{
    Cursor, Delta, Down, DownGrant, DownMember, ParsedDown, RegisterRefusal, RegisterRefused, Snapshot, parse_down,
};
pub use receipt::{Receipt, Rejected, Rejection, Settled};

use serde::{Deserialize, Serialize};

/// The draw of one gateway start: 16 hex digits. Sequence numbers mean something only within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Epoch(u64);

/// A text that is no epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an epoch has 16 lower-case hex digits")]
pub struct BadEpoch;

impl Epoch {
    /// From eight random bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(u64::from_be_bytes(bytes))
    }
}

impl std::fmt::Display for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
impl std::str::FromStr for Epoch {
    type Err = BadEpoch;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let legal = text.len() == 16 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !legal {
            return Err(BadEpoch);
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| BadEpoch)
    }
}
impl TryFrom<String> for Epoch {
    type Error = BadEpoch;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}
impl From<Epoch> for String {
    fn from(epoch: Epoch) -> Self {
        epoch.to_string()
    }
}

/// Why a control or down message could not be read.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// Larger than [`crate::limits::MAX_PACKET_BYTES`].
    #[error("the message has {bytes} bytes; at most {max} are allowed", max = crate::limits::MAX_PACKET_BYTES)]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Not JSON of the expected shape.
    #[error("the message is not a {expected}")]
    NotA {
        /// What was expected.
        expected: &'static str,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// A registration that cannot be so.
    #[error("the registration cannot be so")]
    BadRegister(#[source] BadRegister),
    /// A list beyond its bound.
    #[error("the message lists {count} rows; at most {max} are allowed", max = crate::limits::MAX_DOWN_ROWS)]
    TooManyRows {
        /// How many.
        count: usize,
    },
}

fn parse_sized<T: serde::de::DeserializeOwned>(payload: &[u8], expected: &'static str) -> Result<T, MessageError> {
    if payload.len() > crate::limits::MAX_PACKET_BYTES {
        return Err(MessageError::TooLarge { bytes: payload.len() });
    }
    serde_json::from_slice(payload).map_err(|source| MessageError::NotA { expected, source })
}
