//! How conversations end.

use crate::DateTime;
use crate::racp::ResultCode;

/// The newest record that is known of a meter. An [`Outcome`] returns the mark that was given, or one whose base time is a
/// moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HighWater {
    /// Its sequence number.
    pub sequence: u16,
    /// Its base time as sent, if known.
    pub base_time: Option<DateTime>,
}

/// How a conversation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything that the meter has and that was not known has been delivered.
    Complete {
        /// Measurements of the last reading, without the one that was known.
        delivered: u32,
        /// Records that the meter said it holds, if it said so. Advisory, and of all records: comparable with
        /// `delivered` only if everything was read.
        announced: Option<u32>,
        /// The numbering had started again, or the known record was gone: everything was read anew.
        reset_detected: bool,
        /// Mark to store; `None` if sequence numbers do not show what is new.
        high_water: Option<HighWater>,
    },
    /// The meter holds no records. A success.
    NoRecords {
        /// Mark to store: the one that was known.
        high_water: Option<HighWater>,
    },
    /// The conversation broke off. What was delivered is valid.
    Aborted {
        /// Why.
        reason: AbortReason,
        /// Measurements of the last reading, without the one that was known.
        delivered: u32,
        /// Mark to store.
        high_water: Option<HighWater>,
    },
}

impl Outcome {
    /// Mark to store for the next conversation.
    #[must_use]
    pub const fn high_water(&self) -> Option<HighWater> {
        match self {
            Self::Complete { high_water, .. } | Self::NoRecords { high_water } | Self::Aborted { high_water, .. } => {
                *high_water
            }
        }
    }
}

/// Why a conversation broke off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AbortReason {
    /// No traffic for [`Policy::idle_timeout`](super::Policy::idle_timeout).
    TimedOut,
    /// The link is gone.
    LinkLost,
    /// The control point is not subscribed (ATT 0x81 or 0xFD).
    NotSubscribed,
    /// The meter is busy with another procedure and stays so (ATT 0x80 or 0xFE).
    Busy,
    /// The control point could not be written.
    WriteFailed {
        /// ATT error code, if there was one.
        att_error: Option<u8>,
    },
    /// The meter refused to report its records, or stopped early.
    Refused {
        /// Its result code.
        code: ResultCode,
    },
    /// More than [`MAX_VALUES_PER_QUESTION`](super::MAX_VALUES_PER_QUESTION) values came for one question.
    TooManyValues,
}
