//! What happens to a meter, and what it does.

use chrono::NaiveDateTime;

use super::cuff::CuffMeasurement;
use super::encode::RecordError;
use super::faults::Faults;
use super::glucose::GlucoseMeasurement;
use super::own::{OxygenMeasurement, TemperatureMeasurement, WeightMeasurement};
use super::{RecordId, Uuid16};

/// ATT error codes that meters answer with (Core specification, volume 3, part F, section 3.4.1.1; the two application
/// codes are those of the Glucose Service, section 1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum AttError {
    /// The characteristic cannot be read.
    ReadNotPermitted = 0x02,
    /// The characteristic cannot be written.
    WriteNotPermitted = 0x03,
    /// There is no key for this.
    InsufficientAuthentication = 0x05,
    /// There is no such request.
    RequestNotSupported = 0x06,
    /// There is nothing at this offset.
    InvalidOffset = 0x07,
    /// Nobody has authorised the central.
    InsufficientAuthorization = 0x08,
    /// The key of the link is too short.
    InsufficientKeySize = 0x0C,
    /// The written value is too short or too long.
    InvalidLength = 0x0D,
    /// There is a key and the link is not encrypted with it.
    InsufficientEncryption = 0x0F,
    /// A procedure is under way.
    ProcedureInProgress = 0x80,
    /// The client has not asked for the answers.
    ConfigurationImproper = 0x81,
    /// The written value is out of range (common profile and service error codes).
    OutOfRange = 0xFF,
}

impl AttError {
    /// The code on air.
    pub fn code(self) -> u8 {
        self as u8
    }
}

/// What a person measures.
#[derive(Clone, Debug, PartialEq)]
pub enum Taken {
    /// Blood pressure.
    Cuff(CuffMeasurement),
    /// Glucose.
    Glucose(GlucoseMeasurement),
    /// Weight.
    Weight(WeightMeasurement),
    /// Temperature.
    Temperature(TemperatureMeasurement),
    /// Oxygen saturation.
    Oxygen(OxygenMeasurement),
}

impl Taken {
    /// The word for it in errors.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Cuff(_) => "cuff",
            Self::Glucose(_) => "glucose",
            Self::Weight(_) => "weight",
            Self::Temperature(_) => "temperature",
            Self::Oxygen(_) => "oxygen",
        }
    }
}

/// What happens to a meter.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A central connected.
    Connected,
    /// The link is gone, for whatever reason.
    Disconnected,
    /// A central reads a characteristic.
    Read {
        /// Which one.
        characteristic: Uuid16,
    },
    /// A central writes a characteristic and waits for the response.
    Write {
        /// Which one.
        characteristic: Uuid16,
        /// The written bytes.
        value: Vec<u8>,
    },
    /// A central writes a client configuration.
    Subscribe {
        /// The characteristic whose values are wanted or no longer wanted.
        characteristic: Uuid16,
        /// Wanted.
        enabled: bool,
    },
    /// The confirmation of the last indication arrived.
    Confirmed,
    /// A pairing began on the link, or came to its end: while people look for digits, a link without traffic is not idle.
    Pairing {
        /// It began.
        underway: bool,
    },
    /// The deadline that the meter named has passed.
    DeadlineReached,
    /// A person measures.
    Measure(Taken),
    /// A record comes into the memory without anyone holding the meter: history for a test or a demonstration.
    Store(Taken),
    /// A person presses the transfer key.
    PressTransfer,
    /// A person sets the clock, or (`None`) takes the battery out.
    SetClock(Option<NaiveDateTime>),
    /// The clock jumps by so many seconds.
    JumpClock(i64),
    /// The faults of the meter are these from now on; those that it had end.
    Switch(Faults),
}

/// A record that a meter has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Its number within the meter.
    pub id: RecordId,
    /// The sequence number that it carries on air, for glucose.
    pub sequence: Option<u16>,
    /// The bytes of the measurement as stored.
    pub value: Vec<u8>,
    /// The bytes of 2A34, when there is a context.
    pub context: Option<Vec<u8>>,
    /// The fault profiles that the meter had then.
    pub profiles: Vec<&'static str>,
}

/// How a meter loses a record by a fault of its own, so that nobody else can have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It forgot its memory.
    Forgotten,
    /// Another central has it, and the meter sends it only once.
    Elsewhere,
}

/// What a meter does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The answer to [`Event::Read`].
    Value(Vec<u8>),
    /// The positive answer to [`Event::Write`].
    Written,
    /// The negative answer to [`Event::Read`] or [`Event::Write`].
    Refused(AttError),
    /// Sends a value without confirmation.
    Notify {
        /// The characteristic that sends.
        characteristic: Uuid16,
        /// Its bytes.
        value: Vec<u8>,
        /// The record that the value belongs to, or [`RecordId::NONE`].
        record: RecordId,
    },
    /// Sends a value and waits for [`Event::Confirmed`].
    Indicate {
        /// The characteristic that sends.
        characteristic: Uuid16,
        /// Its bytes.
        value: Vec<u8>,
        /// The record that the value belongs to; control point answers belong to none.
        record: Option<RecordId>,
    },
    /// Closes the link.
    Disconnect,
    /// A record came into the memory.
    Made(Made),
    /// A record was deleted by the meter or on a client's request.
    Deleted(RecordId),
    /// A record gave way to a newer one because the memory is full.
    Overwritten(RecordId),
    /// A record was lost by a fault of the meter.
    Lost(RecordId, Loss),
    /// An event asked for something that this meter cannot do; nothing has changed.
    Impossible(RecordError),
}
