//! What the pairing machine is told, what it asks for, and what a person sees of it.

use std::fmt;
use std::time::Duration;

use carepost_domain::code_enum;
use carepost_domain::id::MeterId;
use carepost_domain::meter::{About, Address, AddressType, MeterKind};

use super::failure::Failure;
pub(crate) use crate::meter_clock::Layout as ClockLayout;

/// How long the task that reads meters may take to hand the adapter over: it finishes the meter that it reads.
pub(crate) const TURN_LIMIT: Duration = Duration::from_secs(120);
/// How long the meter is listened for. People look for the button in this time.
pub(crate) const FIND_LIMIT: Duration = Duration::from_secs(60);
/// How long the pairing itself may take, without the time in which a person is asked: a connection attempt of 30 s, and the
/// security procedure, whose own limit is 30 s (Bluetooth Core, Vol 3, Part H, 3.4).
pub(crate) const PAIR_LIMIT: Duration = Duration::from_secs(70);
/// How long a person has to answer. Shorter than the 30 s of the security procedure, so that the meter is told before it
/// gives up by itself (page 3, section 2.7).
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(25);
/// How long a short operation on the bus may take.
pub(crate) const STEP_LIMIT: Duration = Duration::from_secs(15);
/// How long it may take to resolve the meter's services and to read what it says about itself.
pub(crate) const READ_LIMIT: Duration = Duration::from_secs(60);

/// Largest passkey: six digits (Bluetooth Core, Vol 3, Part H, 2.3.5.1).
const MAX_PASSKEY: u32 = 999_999;
/// Digits of a passkey as people see it.
const PASSKEY_DIGITS: usize = 6;

/// A passkey. It has no `Display`, and `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Passkey(u32);

impl Passkey {
    /// From the number of the D-Bus interface.
    pub(crate) fn new(number: u32) -> Option<Self> {
        (number <= MAX_PASSKEY).then_some(Self(number))
    }

    /// From what a person typed: six digits, with any spaces or hyphens between.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let typed: String = text.chars().filter(|c| !matches!(c, ' ' | '-' | '\u{3000}')).collect();
        let legal = typed.len() == PASSKEY_DIGITS && typed.bytes().all(|byte| byte.is_ascii_digit());
        if !legal {
            return None;
        }
        typed.parse().ok().and_then(Self::new)
    }

    /// For the D-Bus interface.
    pub(crate) const fn number(&self) -> u32 {
        self.0
    }

    /// For the page that shows it, with leading zeros.
    pub(crate) fn digits(&self) -> String {
        format!("{:06}", self.0)
    }
}

impl fmt::Debug for Passkey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Passkey")
    }
}

code_enum! {
    /// What is to be done with a meter.
    pub(crate) enum Goal ("pairing goal") {
        /// Make a bond, or find the one that is there.
        Pair = "pair",
        /// Forget the bond that is there, and make a new one: the meter lost its own.
        PairAgain = "pair_again",
        /// Forget the bond.
        Forget = "forget",
    }
}

/// Which meter, and what for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) goal: Goal,
    /// As it was heard: the identity address, or a private one until the bond is made.
    pub(crate) address: Address,
    pub(crate) address_type: AddressType,
    /// As it was heard, for the page; may be empty.
    pub(crate) name: String,
    /// The adapter that heard it; empty for the configured one.
    pub(crate) adapter: String,
}

/// What the Bluetooth service knows of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) path: String,
    pub(crate) paired: bool,
}

/// What a bonded meter said about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Details {
    /// Identity address: after bonding with a private address it has changed in place.
    pub(crate) address: Address,
    pub(crate) address_type: AddressType,
    pub(crate) name: String,
    pub(crate) about: About,
    pub(crate) model: String,
    /// What it measures; absent if it has none of the standard services.
    pub(crate) kind: Option<MeterKind>,
    /// Speaks a protocol of its maker only, as far as is known.
    pub(crate) unsupported: bool,
    /// The keys are kept on this side.
    pub(crate) bonded: bool,
    /// What the model's entry asks for in the session in which it was paired.
    pub(crate) clock: Option<ClockWrite>,
}

/// A clock that is written in the session of the pairing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClockWrite {
    /// Whose clock it is.
    pub(crate) meter: MeterId,
    /// Path of the characteristic.
    pub(crate) path: String,
    /// How it is laid out.
    pub(crate) layout: ClockLayout,
}

/// An operation on the bus. At most one runs; starting one gives up the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Look the device up, without waiting.
    Look(Address),
    /// Listen until the meter is heard, and stop listening.
    Find { address: Address, adapter: String },
    /// Pair.
    Pair(String),
    /// Set `Trusted`.
    Trust(String),
    /// Wait for services and read what the meter says about itself; connects again if the meter left.
    Read(String),
    /// Take what the service knows of a meter that was paired a moment ago and does not come back.
    Recall(String),
    /// Write the clock.
    SetClock(ClockWrite),
    /// Disconnect, so that the meter is read like any other from now on.
    Disconnect(String),
    /// Remove the device with its bond.
    Remove(String),
    /// Stop listening, and leave the device alone: break its pairing off, and remove it or at least disconnect it.
    Abandon {
        path: Option<String>,
        pairing: bool,
        remove: bool,
    },
}

/// How an operation went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Done {
    Looked(Option<Known>),
    Found(Known),
    Paired,
    Trusted,
    Read(Details),
    ClockSet,
    Disconnected,
    Removed,
    Abandoned,
    Failed(Failure),
}

/// What the Bluetooth service asks of its agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ask {
    /// The meter shows six digits that are to be typed here.
    Passkey,
    /// These digits are to be typed on the meter; `typed` of them were.
    ShowPasskey { passkey: Passkey, typed: u16 },
    /// Both show these digits: are they the same?
    Confirm(Passkey),
    /// May the device pair at all? Nothing is shown anywhere (Just Works).
    Authorize,
    /// A PIN of the older kind, which no Bluetooth Low Energy meter has.
    Pin,
    /// A device wants to use a service of this machine.
    Service,
}

/// The answer to the Bluetooth service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Done, yes, go on.
    Accept,
    /// The digits.
    Passkey(Passkey),
    /// No.
    Reject,
    /// Not any more.
    Cancel,
}

/// What a person answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Passkey(Passkey),
    Yes,
    No,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// The deadline passed, or nothing in particular.
    Tick,
    /// A person wants this; refused while another pairing goes on.
    Begin(Request),
    /// The adapter is ours.
    TurnGranted { attempt: u64 },
    /// An operation came to its end.
    Done { attempt: u64, done: Done },
    /// The Bluetooth service asks its agent about the device at `path`.
    Asked { id: u64, path: String, ask: Ask },
    /// It takes back what it asked.
    AskedNoMore,
    /// A person answers what is asked.
    Answered(Answer),
    /// A person gives up.
    GivenUp,
    /// The bus or the Bluetooth service has gone, and the agent with it.
    BusLost,
    /// A person has read how it went.
    Dismissed,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Ask for the adapter.
    RequestTurn { attempt: u64 },
    /// Give up the operation that runs, and start this one.
    Start { attempt: u64, operation: Operation },
    /// Answer the agent's request `id`.
    Reply { id: u64, reply: Reply },
    /// Count a request that nobody asked for.
    CountUnasked,
    /// Give the adapter back, and every operation up.
    Release,
    /// Tell the person that another pairing goes on.
    Busy,
}

code_enum! {
    /// Where a pairing stands, for people.
    pub(crate) enum Stage ("pairing stage") {
        /// Waiting for the adapter.
        Waiting = "waiting",
        /// Listening for the meter.
        Finding = "finding",
        /// Talking to the meter.
        Pairing = "pairing",
        /// Reading what it says about itself.
        Reading = "reading",
        /// Clearing up.
        Finishing = "finishing",
    }
}

/// What a person is asked or shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Prompt {
    /// Type the digits that the meter shows.
    Enter,
    /// Type these digits on the meter.
    Show { passkey: Passkey, typed: u16 },
    /// Are these the digits that the meter shows?
    Compare(Passkey),
}

/// How it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// There is a bond.
    Paired(Box<Details>),
    /// There is no bond any more.
    Forgotten,
    /// Nothing was achieved.
    Failed(Failure),
}

/// What a person sees.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum View {
    /// No pairing, and none to tell of.
    #[default]
    Idle,
    /// It goes on.
    Running {
        attempt: u64,
        request: Request,
        stage: Stage,
        prompt: Option<Prompt>,
        /// When the present step is given up.
        until: Duration,
    },
    /// It is over, and nobody has said yet that they know.
    Over {
        attempt: u64,
        request: Request,
        outcome: Outcome,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passkey_has_six_digits_and_is_never_printed() {
        for (text, number) in [
            ("012345", 12_345),
            (" 123 456 ", 123_456),
            ("123-456", 123_456),
            ("000000", 0),
        ] {
            let passkey = Passkey::parse(text).unwrap();
            assert_eq!(passkey.number(), number, "{text}");
            assert_eq!(format!("{passkey:?}"), "Passkey");
        }
        assert_eq!(Passkey::parse("012345").unwrap().digits(), "012345");
        for text in ["", "12345", "1234567", "12345a", "+12345", "１２３４５６"] {
            assert_eq!(Passkey::parse(text), None, "{text}");
        }
        assert_eq!(Passkey::new(1_000_000), None);
    }
}
