//! What the desk takes, tells and shows.

use std::time::Duration;

use carepost_domain::Phi;
use carepost_domain::attribution::Sitting;
use carepost_domain::id::{MemberId, ReadingId, SittingId};
use carepost_domain::meter::MeterKind;
use carepost_domain::people::MemberCode;
use carepost_domain::quarantine::Reason;
use carepost_domain::reading::{Flag, Measurement, Slot};
use chrono::{DateTime, Utc};

use crate::spool::SpoolError;

/// Who wants to sit down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// A member, by the code that was typed or shown.
    Member(MemberCode),
    /// Somebody who wants to stay unknown.
    Anonymous,
}

/// Why a sitting cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// Somebody sits there; end that sitting first.
    #[error("somebody sits at the kiosk")]
    Occupied,
    /// A meter that was connected in the sitting before still is: what it sends could be the other person's.
    #[error("the meter of the sitting before is still connected")]
    MeterConnected,
    /// The code is not in the copy; the person may go on anonymously.
    #[error("the member code is not known here")]
    UnknownCode,
    /// The spool failed.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// Why something cannot be done to the current sitting.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// Nobody sits there, or another.
    #[error("this sitting is over")]
    Over,
    /// Only a member's readings can be kept.
    #[error("an anonymous sitting keeps nothing")]
    Anonymous,
    /// The spool failed.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// What happened; never a value. Read `Desk::current` for what is to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KioskEvent {
    /// A sitting began.
    Began {
        /// The sitting.
        sitting: SittingId,
    },
    /// A sitting ended: wipe the screen.
    Ended {
        /// The sitting.
        sitting: SittingId,
        /// Why.
        because: EndedBecause,
    },
    /// A shared meter was connected.
    MeterConnected {
        /// What it measures.
        kind: MeterKind,
    },
    /// A shared meter was disconnected.
    MeterDisconnected {
        /// What it measures.
        kind: MeterKind,
    },
    /// A reading of the current sitting came, or its state changed.
    Reading {
        /// The sitting.
        sitting: SittingId,
        /// The reading's number in it, from 1.
        number: u32,
    },
}

/// Why a sitting ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndedBecause {
    /// The kiosk said so.
    Asked,
    /// Nothing happened for the configured time.
    Idle,
    /// It went on for the longest time that is allowed.
    TooLong,
}

/// How far a reading has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadingState {
    /// Heard, and being written down.
    Arrived,
    /// In the outbox: it survives a power cut.
    Saved,
    /// The server has it.
    Sent,
    /// Sealed until the person confirms, for 72 hours.
    Sealed,
    /// Kept nowhere, as in every anonymous sitting.
    NotKept,
    /// Kept nowhere, for want of consent.
    NoConsent,
    /// No reading; kept aside with the reason.
    Unusable(Reason),
}

/// A reading as the kiosk shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownReading {
    /// Its number in the sitting, from 1.
    pub number: u32,
    /// When it was measured.
    pub measured_at: DateTime<Utc>,
    /// What was measured; nothing when the meter reported a failure.
    pub measurement: Option<Phi<Measurement>>,
    /// What qualifies it.
    pub flags: Vec<Flag>,
    /// Meal slot, when stated.
    pub slot: Option<Slot>,
    /// How far it has come.
    pub state: ReadingState,
}

/// The current sitting as the kiosk shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SittingView {
    /// The sitting.
    pub sitting: SittingId,
    /// Who sits there; `None` in anonymous mode.
    pub member: Option<MemberId>,
    /// First character and two stars of the member's name.
    pub masked_name: Option<String>,
    /// Whether a grant of the member holds now.
    pub consents: bool,
    /// The person asked to keep readings until they confirm.
    pub keep_sealed: bool,
    /// When it began.
    pub began: DateTime<Utc>,
    /// Shared meters that are connected.
    pub connected: Vec<MeterKind>,
    /// Its readings, oldest first.
    pub readings: Vec<ShownReading>,
}

/// A reading handed to the desk by those who decide.
#[derive(Debug, Clone)]
pub(crate) struct Offered {
    pub(crate) reading: ReadingId,
    pub(crate) measured_at: DateTime<Utc>,
    pub(crate) measurement: Option<Measurement>,
    pub(crate) flags: Vec<Flag>,
    pub(crate) slot: Option<Slot>,
    pub(crate) state: ReadingState,
}

/// What attribution knows of a sitting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SittingFacts {
    pub(crate) sitting: Sitting,
    pub(crate) identified_at: DateTime<Utc>,
    pub(crate) keep_sealed: bool,
    /// Whether the gateway's clock was believed when it began; meters' times say nothing about it otherwise.
    pub(crate) clock_trusted: bool,
    /// When it was by the monotonic clock; absent of one before this start of the program.
    pub(crate) here: Option<Here>,
}

/// A sitting's time by the clock that nobody can set: only this one says what came before what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Here {
    /// When the person was identified.
    pub(crate) identified: Duration,
    /// When it ended; `None` while it goes on.
    pub(crate) ended: Option<Duration>,
}

impl SittingFacts {
    /// Whether it went on at an instant of the monotonic clock.
    pub(crate) fn went_on_at(&self, monotonic: Duration) -> bool {
        self.here
            .is_some_and(|here| here.identified <= monotonic && here.ended.is_none_or(|ended| monotonic < ended))
    }

    /// Whether the person was identified before an instant of the monotonic clock of this run.
    pub(crate) fn identified_before(&self, monotonic: Duration) -> bool {
        self.here.is_none_or(|here| here.identified <= monotonic)
    }
}
