//! What the machine is told, what it asks for, and by which times it works.

use std::ops::RangeInclusive;
use std::time::Duration;

use carepost_contract::limits::MIN_RESEND;
use carepost_contract::v1::{Cursor, Epoch, Lane, Receipt};

/// Durations that the machine works with. All but the back-off are fixed by the design; tests shorten them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    /// Longest first pause before connecting again.
    pub(crate) backoff_min: Duration,
    /// Longest pause between attempts.
    pub(crate) backoff_max: Duration,
    /// Shortest pause after the server said that another client took the session over (a cloned disk).
    pub(crate) take_over_pause: Duration,
    /// How long a connection may take from opening the socket to CONNACK.
    pub(crate) connect_limit: Duration,
    /// How long subscribing, and the answer to hello, may take.
    pub(crate) greeting_limit: Duration,
    /// Shortest time between two hellos on one link.
    pub(crate) hello_pause: Duration,
    /// Lower bound of the time after which an unanswered batch is sent again.
    pub(crate) min_resend: Duration,
    /// A link on which batches wait this long without any receipt is given up.
    pub(crate) no_receipt_limit: Duration,
    /// How long a hold of the replay lane lasts unless a receipt renews it.
    pub(crate) hold: Duration,
    /// A link that lived this long ends the back-off.
    pub(crate) stable_after: Duration,
    /// Registrations that are not settled are sent again after this.
    pub(crate) register_again: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            backoff_min: Duration::from_millis(500),
            backoff_max: Duration::from_secs(60),
            take_over_pause: Duration::from_secs(15),
            connect_limit: Duration::from_secs(15),
            greeting_limit: Duration::from_secs(20),
            hello_pause: Duration::from_secs(2),
            min_resend: MIN_RESEND,
            no_receipt_limit: Duration::from_secs(5 * 60),
            hold: Duration::from_secs(30),
            stable_after: Duration::from_secs(30),
            register_again: Duration::from_secs(5 * 60),
        }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// The deadline passed, or nothing in particular: look again.
    Tick,
    /// Rows may have come into the outbox.
    OutboxGrew,
    /// There is a new registration of a meter.
    RegistrationMade,
    /// Registrations were handed to the link; so many are not settled.
    RegistrationsSent {
        /// How many.
        unsettled: usize,
    },
    /// CONNACK with success; a dead peer shows within two of these keep-alives.
    Connected {
        /// The keep-alive in force.
        keep_alive: Duration,
    },
    /// Both subscriptions were granted.
    Subscribed,
    /// Any packet came in.
    Heard,
    /// The connection is gone, or could not be made.
    LinkLost(Loss),
    /// A receipt arrived.
    Receipt(Receipt),
    /// A cursor arrived.
    Cursor(Cursor),
    /// The outbox numbered rows into a new batch, or had none.
    Filled {
        /// The lane.
        lane: Lane,
        /// Their numbers; `None` when the lane has no row without a number.
        numbers: Option<RangeInclusive<u64>>,
    },
    /// The outbox could not be read; asked again later.
    FillFailed {
        /// The lane.
        lane: Lane,
    },
    /// A receipt's settlement is committed.
    Settled(Receipt),
    /// Something on `down` does not follow from what is held: everything is to be asked for again.
    OutOfStep,
    /// A new epoch is in force, and no row has a number.
    Renumbered {
        /// The epoch.
        epoch: Epoch,
    },
}

/// Why a link ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Loss {
    /// No connection, a reset, a broken packet.
    Broken,
    /// The server refused the CONNECT.
    Refused,
    /// Another client took the session over.
    TakenOver,
    /// Nothing was heard for two keep-alives.
    Silent,
    /// Batches were sent and no receipt came.
    NoReceipt,
    /// The server did not subscribe us, or did not answer hello.
    NoGreeting,
    /// The client's own queue was full or closed.
    Stuck,
}

impl Loss {
    /// A fixed word for logs and status.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Refused => "refused",
            Self::TakenOver => "taken_over",
            Self::Silent => "silent",
            Self::NoReceipt => "no_receipt",
            Self::NoGreeting => "no_greeting",
            Self::Stuck => "stuck",
        }
    }
}

/// What the shell is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Build a new client and connect.
    Connect,
    /// Throw client and connection away.
    Drop(Loss),
    /// Publish presence and subscribe to receipts and down messages.
    Subscribe,
    /// Publish hello.
    Hello,
    /// Publish every registration that is not settled, and answer with [`Event::RegistrationsSent`].
    Register,
    /// Number rows of this lane into a new batch, and answer with [`Event::Filled`] or [`Event::FillFailed`].
    Fill(Lane),
    /// Publish the rows with these numbers as one batch, voids for those that are gone.
    Send {
        /// The lane.
        lane: Lane,
        /// The numbers.
        numbers: RangeInclusive<u64>,
        /// For [`carepost_contract::v1::Batch::settled_seen`].
        settled_seen: u64,
        /// Whether these numbers were sent before in this epoch.
        again: bool,
    },
    /// Commit what the receipt settles, and answer with [`Event::Settled`]. If the commit fails, say nothing.
    Settle(Receipt),
    /// The server's numbers cannot be ours: draw a new epoch, and answer with [`Event::Renumbered`].
    Renumber,
    /// The message was ignored, for this reason.
    Ignored(Ignored),
}

/// Why a message of the server was ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ignored {
    /// It belongs to another epoch.
    OtherEpoch,
    /// It speaks of numbers that were never given, or lists more than the contract allows.
    Impossible,
    /// It came where none is expected.
    Unexpected,
}

/// Where the link stands, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Waiting for the next attempt.
    Down,
    /// Connecting.
    Connecting,
    /// Connected; hello is not answered yet.
    Greeting,
    /// Sending and receiving.
    Online,
}

/// Counted since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Batches handed to the link, resends included.
    pub(crate) batches_sent: u64,
    /// Of those, sent before.
    pub(crate) batches_resent: u64,
    /// Receipts of this epoch.
    pub(crate) receipts: u64,
    /// Messages ignored as foreign or impossible.
    pub(crate) ignored: u64,
    /// Links that were lost or never came to be.
    pub(crate) losses: u64,
}
