//! Batches from gateways, and messages that are none.

use carepost_domain::care::rule_set::RuleSet;
use carepost_domain::id::GatewayId;
use carepost_domain::quarantine::Reason;
use chrono::{DateTime, Utc};

use super::{Priority, Store, read, write};
use crate::error::{Fault, IngestError};
use crate::limits::MAX_PAGE;
use crate::model::{Incoming, IngestOutcome, Lane, QuarantinedMessage};

impl Store {
    /// Takes a batch in: gate, rows, sessions, alerts, tasks, jobs, audit and the lane's cursor, all or nothing. When it
    /// returns, everything is durable. A repeat changes nothing and gives the same receipt.
    ///
    /// # Errors
    /// [`IngestError::GatewayUnknown`], [`IngestError::GatewayRevoked`], [`IngestError::BadBatch`]. Faults of single
    /// readings are in the outcome.
    #[tracing::instrument(name = "store.ingest_batch", skip_all)]
    pub async fn ingest_batch(
        &self,
        incoming: &Incoming,
        rules: &RuleSet,
        now: DateTime<Utc>,
    ) -> Result<IngestOutcome, IngestError> {
        let priority = match incoming.lane {
            Lane::Live => Priority::Live,
            Lane::Replay => Priority::Replay,
        };
        write!(self, priority, |conn| sql::ingest::batch(conn, incoming, rules, now))
    }

    /// Keeps a message that cannot be used, so that it may be acknowledged and blocks nothing. Equal bytes from one sender
    /// for one reason are one row with a count; bounded by [`crate::limits::MAX_QUARANTINE_BYTES`] and
    /// [`crate::limits::MAX_QUARANTINE_ROWS`].
    ///
    /// # Errors
    /// When the database fails.
    #[tracing::instrument(name = "store.quarantine_message", skip_all)]
    pub async fn quarantine_message(
        &self,
        gateway: Option<GatewayId>,
        reason: Reason,
        bytes: &[u8],
        now: DateTime<Utc>,
    ) -> Result<(), Fault> {
        write!(self, Priority::Replay, |conn| sql::quarantine::keep(
            conn, gateway, reason, bytes, now
        ))
    }

    /// Messages in quarantine, the newest first.
    ///
    /// # Errors
    /// When the database fails.
    #[tracing::instrument(name = "store.quarantined_messages", skip_all)]
    pub async fn quarantined_messages(&self, limit: u32) -> Result<Vec<QuarantinedMessage>, Fault> {
        read!(self, |conn| sql::quarantine::list(conn, i64::from(limit.min(MAX_PAGE))))
    }
}
