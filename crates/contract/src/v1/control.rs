//! Control messages, gateway to server.

use carepost_domain::id::GatewayId;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Epoch, MessageError, parse_sized};

/// A message on `up/ctl`; signed like a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Control {
    /// The first message of every connection.
    Hello(Hello),
    /// The gateway has applied a down version: purged what it had to purge, committed.
    Applied(Applied),
}

/// The start of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The sender.
    pub gateway: GatewayId,
    /// Its current start.
    pub epoch: Epoch,
    /// The version of members, meters, bindings and grants that it holds; 0 for none.
    pub down_version: u64,
    /// Its own time.
    pub clock: DateTime<Utc>,
}

/// Acknowledges a snapshot or delta.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The sender.
    pub gateway: GatewayId,
    /// The version that is now in force there.
    pub down_version: u64,
}

/// Parses a control payload.
///
/// # Errors
/// When it is too large or not a control message.
pub fn parse_control(payload: &[u8]) -> Result<Control, MessageError> {
    parse_sized(payload, "control message")
}
