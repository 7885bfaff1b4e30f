//! What can be wrong with a meter, one switch each. The catalogue [`crate::profiles`] gives combinations of them names.
//!
//! A fault that changes what a meter *believes* (its clock, its numbers, its memory) acts when a record is made; a
//! fault that changes what it *says* acts when the record goes on air, so that the ledger holds the truth beside it.

use std::time::Duration;

use carepost_gatt::racp::CountWidth;

use super::AfterConfirm;

/// Most faults that one meter carries at once.
pub const MAX_FAULTS: usize = 64;

/// How a meter lets itself be found (Flags of an advertisement; Core Specification Supplement, part A, section 1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discoverable {
    /// General discoverable mode.
    General,
    /// Limited discoverable mode.
    Limited,
    /// Not discoverable: only who knows the address connects.
    Never,
    /// Directed at the bonded central; others do not see it.
    Directed,
}

/// What a family's meters say about themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// Manufacturer name (2A29).
    pub manufacturer: &'static str,
    /// Model number (2A24).
    pub model: &'static str,
    /// Name in the advertisement.
    pub name: &'static str,
}

/// Damage to the bytes of a measurement on their way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// No bytes at all.
    Empty,
    /// The flags alone.
    OneByte,
    /// Cut short: record n keeps n modulo its length bytes, so that every length occurs.
    Truncated,
    /// Two bytes too many.
    Trailing,
    /// All reserved bits of the flags are set.
    ReservedFlags,
    /// Codes without a meaning: sample type and location 15 and 5, meal 9, temperature type 200, status bits.
    UnknownCodes,
    /// A special word in one field: record n in field n modulo the number of fields.
    Special(Special),
    /// Every number is the filler FFFF.
    Filler,
    /// Every number is NaN, as after an error of measurement.
    AllNaN,
    /// A frame of the vendor's own: FE 20 27 00, then the values without the flags.
    VendorPrefix,
    /// Pulse and status big-endian, with a user id that the flags do not announce.
    BigEndianTail,
    /// The bit of the unit says the other one.
    WrongUnit,
    /// Systolic and diastolic pressure change places.
    SwappedPressures,
    /// The pulse is 0.
    ZeroPulse,
    /// The month is 13.
    Month13,
    /// January is sent as month 13; other months are right.
    January13,
    /// The date is 31 February.
    ThirtyFirstOfFebruary,
    /// The month is 0.
    MonthZero,
    /// The day is 0.
    DayZero,
    /// The time offset is this word.
    Offset(u16),
}

/// A special word of a medical float.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// Not a number.
    NaN,
    /// Above the range.
    PosInf,
    /// Below the range.
    NegInf,
    /// Not at this resolution.
    NRes,
    /// The reserved word.
    Reserved,
}

/// To which requests a wrong answer is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// To all.
    Anything,
    /// To requests to report records.
    Report,
    /// To requests for the number of records.
    Number,
    /// To abort.
    Abort,
}

/// What is wrong with the Record Access Control Point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RacpFault {
    /// Requests are answered with this code and nothing is done.
    Refuses(Asked, u8),
    /// After half of the records the report ends with "procedure not completed".
    StopsHalfway,
    /// The answer that ends a report never comes.
    NoAnswer,
    /// Nothing is ever answered.
    Silent,
    /// The answer comes before the last record.
    AnswersEarly,
    /// So many records are notified again after the answer.
    Extra(usize),
    /// So many records still come between an abort and its answer.
    Straggling(usize),
    /// The first request on every link is refused: a procedure is in progress (80).
    BusyAtFirst,
    /// The first request on every link is refused: the client configuration is improper (81).
    ImproperAtFirst,
    /// Counts have this width.
    CountWidth(CountWidth),
    /// Counts are so much too high, or too low if negative.
    CountOff(i16),
}

/// What is wrong with contexts (2A34).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContextFault {
    /// Announced and never sent.
    Missing,
    /// Sent after the next record.
    Late,
    /// Sent before its measurement.
    Early,
    /// Carries a sequence number that no record has.
    Foreign,
}

/// One thing that is wrong with a meter. Of two faults of one kind the later one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The advertising window has this length.
    Window(Duration),
    /// It never advertises.
    NeverAdvertises,
    /// Only the transfer key opens the window; a measurement does not.
    KeyOnly,
    /// Its mode of discovery.
    Discoverable(Discoverable),
    /// A link without traffic is closed after this time.
    Idle(Duration),
    /// The link is closed as soon as a client has set the clock.
    HangsUpWhenClockSet,
    /// The link is closed if nothing is subscribed to in this time.
    SubscribeWithin(Duration),
    /// Whether client configurations survive the link.
    KeepsSubscriptions(bool),
    /// The link is lost after so many records, on every link.
    LinkLossAt(u32),
    /// Another central has the link for this time whenever the window opens; and what a meter sends only once goes there
    /// if `steals`.
    OtherCentral {
        /// How long.
        takes: Duration,
        /// Whether unsent records are taken.
        steals: bool,
    },
    /// The memory holds so many records when the fault is switched on.
    Backlog(usize),
    /// Time from one record to the next.
    Pace(Duration),
    /// Every record is sent twice in a row.
    Duplicates,
    /// Every measurement is stored twice, as two records with the same content.
    Twins,
    /// What becomes of records that a client has had.
    AfterConfirm(AfterConfirm),
    /// Only records of the slot that measured last are sent.
    CurrentUserOnly,
    /// The clock was never set.
    ClockUnset,
    /// The clock came from the factory: it shows 1 January of this year when the fault is switched on.
    ClockYear(u16),
    /// The clock gains so many seconds in a day.
    Drift(i32),
    /// The clock jumps by so many seconds at the end of every link.
    JumpsBetweenLinks(i32),
    /// The clock jumps once, after so many records made.
    JumpsAfter {
        /// Records made before.
        records: u64,
        /// How far, in seconds.
        seconds: i32,
    },
    /// The user's time is this many minutes off the base time, and the offset says so.
    UserOffset(i16),
    /// A record that nobody made, dated 2037 and too high, is reported when the memory holds so many.
    Phantom(usize),
    /// The slots of the housing send these user ids.
    Slots(&'static [u8]),
    /// Records carry the unknown user 255.
    UnknownUser,
    /// Records carry no user id.
    NoUser,
    /// Records carry the user id after the last slot: a guest.
    GuestUser,
    /// The sequence number of the next record. A meter with records goes up to it, never down.
    NextSequence(u16),
    /// From one sequence number to the next.
    SequenceStep(u16),
    /// After so many records made the meter forgets all of them and counts from its first number again.
    ForgetsAfter(u64),
    /// Records are reported newest first.
    NewestFirst,
    /// The later a record was made, the older its time.
    TimesRunBackwards,
    /// The bytes of measurements are damaged on their way out.
    Damage(Damage),
    /// The control point is wrong.
    Racp(RacpFault),
    /// Contexts are wrong.
    Context(ContextFault),
    /// Meals are marked with this code.
    Meal(u8),
    /// The name on air is cut to so many bytes.
    NameCut(usize),
    /// There is no name on air.
    NoName,
    /// Name, model and serial number are those of every other meter of the model.
    SameAsOthers,
    /// Texts of Device Information end in two NUL bytes.
    PaddedTexts,
    /// There is no Device Information.
    NoDeviceInformation,
    /// There is no feature characteristic although the service requires one.
    NoFeature,
    /// There are no contexts.
    NoContexts,
    /// Every characteristic of the main service is there twice.
    DoubledCharacteristics,
    /// There is a Battery Service.
    Battery(u8),
    /// It says that it is of this family.
    Family(Family),
    /// How clients read its clock.
    ClockService(super::ClockService),
    /// Whether clients may write its clock.
    ClockWritable(bool),
    /// A time stamp is never sent.
    NoTimestamp,
}

/// The faults that a meter has, with the names of the profiles that they came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    names: Vec<&'static str>,
    list: Vec<Fault>,
}

impl Faults {
    /// No fault.
    pub fn none() -> Self {
        Self::default()
    }

    /// Adds a named group of faults. What is beyond [`MAX_FAULTS`] is left out.
    #[must_use]
    pub fn with(mut self, name: &'static str, faults: &[Fault]) -> Self {
        let room = MAX_FAULTS.saturating_sub(self.list.len());
        self.names.push(name);
        self.names.truncate(MAX_FAULTS);
        self.list.extend(faults.iter().take(room));
        self
    }

    /// The names of the groups.
    pub fn names(&self) -> &[&'static str] {
        &self.names
    }

    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.list.contains(&fault)
    }

    /// The last fault of a kind.
    pub(crate) fn last<T>(&self, choose: impl FnMut(&Fault) -> Option<T>) -> Option<T> {
        self.list.iter().rev().find_map(choose)
    }

    pub(crate) fn damages(&self) -> impl Iterator<Item = Damage> {
        self.list.iter().filter_map(|fault| match fault {
            Fault::Damage(damage) => Some(*damage),
            _ => None,
        })
    }

    pub(crate) fn racp<T>(&self, mut choose: impl FnMut(&RacpFault) -> Option<T>) -> Option<T> {
        self.last(|fault| match fault {
            Fault::Racp(racp) => choose(racp),
            _ => None,
        })
    }

    pub(crate) fn context(&self) -> Option<ContextFault> {
        self.last(|fault| match fault {
            Fault::Context(context) => Some(*context),
            _ => None,
        })
    }
}
