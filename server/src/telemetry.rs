//! Counters of this process, and the ids by which a request is found in the logs.
//!
//! They are shown by `GET /api/v1/counts`; counts that outlive the process (readings, quarantine, jobs) come from the
//! store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use carepost_domain::code_enum;

code_enum! {
    /// Everything that this process counts.
    pub enum Metric ("metric") {
        /// Gateways that were let in.
        MqttConnected = "mqtt_connects_accepted_total",
        /// Connections refused with a reason code.
        MqttRefused = "mqtt_connects_refused_total",
        /// Connections ended because a newer one of the same gateway came.
        MqttTakenOver = "mqtt_sessions_taken_over_total",
        /// Connections ended by a violation of the protocol.
        MqttProtocolErrors = "mqtt_protocol_errors_total",
        /// Connections that ended without a DISCONNECT.
        MqttLost = "mqtt_sessions_lost_total",
        /// Publishes and subscriptions to topics that are not the gateway's.
        MqttForeignTopics = "mqtt_foreign_topics_total",
        /// Messages that were committed, and acknowledged after that.
        MessagesTaken = "messages_taken_total",
        /// Messages put into quarantine as a whole.
        MessagesPoison = "messages_poison_total",
        /// Messages that could not be stored; their connection was ended without an acknowledgement.
        MessagesNotStored = "messages_not_stored_total",
        /// New readings.
        ReadingsStored = "readings_stored_total",
        /// Readings that were known before.
        ReadingsDuplicate = "readings_duplicate_total",
        /// Readings that were rejected.
        ReadingsRejected = "readings_rejected_total",
        /// Rows that gateways had purged.
        ReadingsVoid = "readings_void_total",
        /// Registrations from gateways that were taken, repeats included.
        RegistrationsTaken = "registrations_taken_total",
        /// Registrations from gateways that were refused with a reason.
        RegistrationsRefused = "registrations_refused_total",
        /// Receipts handed to a connection.
        ReceiptsSent = "receipts_sent_total",
        /// Receipts that found no connection to go to; the next hello makes up for them.
        ReceiptsUnsent = "receipts_unsent_total",
        /// Messages on `down` handed to a connection.
        DownSent = "down_messages_sent_total",
        /// Gateways that were cut off because they did not take what was sent to them.
        DownStalled = "down_stalled_total",
        /// HTTP requests answered.
        HttpRequests = "http_requests_total",
        /// HTTP requests answered with a status of 500 or more.
        HttpFailures = "http_failures_total",
        /// Logins that succeeded.
        LoginsAccepted = "logins_accepted_total",
        /// Logins that failed.
        LoginsRefused = "logins_refused_total",
        /// Logins that were not tried because too many had failed.
        LoginsThrottled = "logins_throttled_total",
        /// Jobs done.
        JobsDone = "jobs_done_total",
        /// Attempts at a job that failed.
        JobsFailed = "jobs_failed_total",
        /// Audit rows that were chained.
        AuditSealed = "audit_rows_sealed_total",
    }
}

/// The counters. Cloning is cheap, and clones count together.
#[derive(Clone, Debug)]
pub struct Counters(Arc<Vec<AtomicU64>>);

impl Default for Counters {
    fn default() -> Self {
        Self(Arc::new(Metric::ALL.iter().map(|_| AtomicU64::new(0)).collect()))
    }
}

impl Counters {
    /// Counts one.
    pub fn count(&self, metric: Metric) {
        self.add(metric, 1);
    }

    /// Counts several.
    pub fn add(&self, metric: Metric, by: u64) {
        if let Some(value) = self.0.get(metric as usize) {
            value.fetch_add(by, Ordering::Relaxed);
        }
    }

    /// What was counted so far.
    pub fn get(&self, metric: Metric) -> u64 {
        self.0
            .get(metric as usize)
            .map_or(0, |value| value.load(Ordering::Relaxed))
    }

    /// All values by name.
    pub fn all(&self) -> BTreeMap<&'static str, u64> {
        Metric::ALL
            .iter()
            .map(|metric| (metric.code(), self.get(*metric)))
            .collect()
    }
}

/// An error and its causes in one line, for a log field.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_a_place_of_its_own() {
        let counters = Counters::default();
        for (number, metric) in Metric::ALL.iter().enumerate() {
            counters.clone().add(*metric, number as u64 + 1);
        }
        for (number, metric) in Metric::ALL.iter().enumerate() {
            assert_eq!(counters.get(*metric), number as u64 + 1, "{metric}");
        }
        assert_eq!(counters.all().len(), Metric::ALL.len());
    }
}
