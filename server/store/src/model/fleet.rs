//! Stores, gateways and what operators count.

use carepost_domain::id::{GatewayId, QuarantineId, StoreId};
use carepost_domain::quarantine::Reason;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use super::{JobKind, Lane};

/// A pharmacy of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSite {
    /// The store.
    pub id: StoreId,
    /// Its name.
    pub name: String,
    /// Its zone, in which days are days and meters keep their time.
    pub zone: Tz,
}

/// A gateway to be enrolled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewGateway {
    /// The gateway.
    pub id: GatewayId,
    /// Where it stands.
    pub store: StoreId,
    /// Its name in words.
    pub name: String,
    /// Its Ed25519 public key.
    pub public_key: [u8; 32],
}

/// An enrolled gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// The gateway.
    pub id: GatewayId,
    /// Where it stands.
    pub store: StoreId,
    /// That store's zone.
    pub zone: Tz,
    /// Its name in words.
    pub name: String,
    /// Its Ed25519 public key.
    pub public_key: [u8; 32],
    /// When it was enrolled.
    pub enrolled_at: DateTime<Utc>,
    /// Since when it may not send any more.
    pub revoked_at: Option<DateTime<Utc>>,
    /// When it was last heard of.
    pub last_seen: Option<DateTime<Utc>>,
    /// Whether its connection stands, as last told.
    pub online: bool,
    /// Its newest start.
    pub epoch: Option<String>,
    /// The version of members, meters, bindings and grants that it works from; 0 for none.
    pub applied_version: i64,
}

/// The answer to a gateway's hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HelloOutcome {
    /// Where its lanes stand in that epoch.
    pub cursors: super::Cursors,
    /// Two epochs of the gateway alternate: somebody has copied its disk. The flag is raised.
    pub cloned: bool,
    /// Members, meters, bindings and grants are at this version now.
    pub down_version: i64,
}

/// Something that staff who run the machines must look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TechnicalFlag {
    /// `cloned_gateway`.
    pub kind: String,
    /// The gateway.
    pub gateway: GatewayId,
    /// Seen first.
    pub raised_at: DateTime<Utc>,
    /// Seen last.
    pub last_at: DateTime<Utc>,
    /// How often.
    pub count: i64,
}

/// A message that could not be used, kept for those who look for the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantinedMessage {
    /// The row.
    pub id: QuarantineId,
    /// The sender, as far as it is known.
    pub gateway: Option<GatewayId>,
    /// Why.
    pub reason: Reason,
    /// Its bytes, at most [`crate::limits::MAX_QUARANTINE_BYTES`].
    pub bytes: Vec<u8>,
    /// How many it had.
    pub length: i64,
    /// Seen first.
    pub first_at: DateTime<Utc>,
    /// Seen last.
    pub last_at: DateTime<Utc>,
    /// How often the same bytes came.
    pub count: i64,
}

/// Messages in quarantine for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantineCount {
    /// Why.
    pub reason: Reason,
    /// Different messages.
    pub messages: i64,
    /// Arrivals, repeats included.
    pub arrivals: i64,
}

/// What one lane of all gateways has outstanding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneCount {
    /// The lane.
    pub lane: Lane,
    /// Rejections that gateways have not seen yet.
    pub rejected: i64,
}

/// Numbers for health pages and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// Readings stored.
    pub readings: i64,
    /// Alerts that are open.
    pub alerts_open: i64,
    /// Tasks that are open.
    pub tasks_open: i64,
    /// Messages in quarantine, by reason.
    pub quarantine: Vec<QuarantineCount>,
    /// Messages that went for newer ones because the quarantine was full.
    pub quarantine_dropped: i64,
    /// Rejections outstanding, by lane.
    pub lanes: Vec<LaneCount>,
    /// Jobs that wait.
    pub jobs_pending: i64,
    /// Jobs whose time has come, and since when the oldest waits.
    pub jobs_overdue_since: Option<DateTime<Utc>>,
    /// Jobs that a person must look at, by kind (unknown kinds under `None`).
    pub jobs_parked: Vec<(Option<JobKind>, i64)>,
    /// Audit rows that are not chained yet.
    pub audit_unsealed: i64,
    /// Gateways enrolled and not revoked.
    pub gateways: i64,
    /// Of these, connected.
    pub gateways_online: i64,
}
