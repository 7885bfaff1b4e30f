//! Pairing of meters: making, renewing and forgetting the keys by which a meter trusts this machine (page 3, sections 2.7 and
//! 3.3; journey 8).
//!
//! `machine` decides and does nothing; `shell` does and decides nothing; `bus` alone speaks D-Bus, and `agent` is what the
//! Bluetooth service calls. Pages and the command line see a [`Pairing`].
//!
//! Passkeys live in a type of their own that is not printed. They are in no log, no error and no file.

mod agent;
mod bus;
mod failure;
mod machine;
mod shell;
mod words;

pub(crate) use self::bus::Bond;
pub(crate) use self::failure::Failure;
pub(crate) use self::shell::{Begun, Pairing, PairingParts, Radio};
pub(crate) use self::words::{Answer, Details, Goal, Outcome, Passkey, Prompt, Request, Stage, View};
