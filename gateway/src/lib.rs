//! The store (or home) gateway: from a meter's indication to the server's receipt.
//!
//! # Seams
//!
//! What `uplink` and `kiosk` use of the device half; everything else is its own business.
//!
//! - [`app::Parts`]: what every task gets; `app::start` is where tasks are started by name, `app::router` where pages are
//!   merged. The epoch in it has been begun.
//! - [`spool::Spool`]: `next_batch`, `unreceipted`, `unnumbered`, `apply_receipt`, `apply_snapshot`,
//!   `apply_delta`, `down`, `watch_down`, `watch_outbox`, `count`.
//! - [`down::SnapshotAssembly`]: puts the parts of a snapshot together; one for each connection.
//! - [`down::DownCopy`]: `version` for hello and applied, `member_by_code` for the kiosk.
//! - [`clock_trust::ClockTrust::note_server_time`]: with the server's time of every cursor and receipt.
//! - [`sitting::Desk`]: `begin`, `end`, `touch`, `current`, `keep_until_confirmed`, `events`; the uplink calls
//!   `note_receipt` with what `apply_receipt` returned.
//! - [`board::Board::set_uplink`]: how the way to the server is, for `status`.
//! - [`identity::Identity`]: gateway id and signing key.
//! - [`config::Config`]: sections `uplink` and `kiosk`.

pub mod admit;
pub mod app;
mod attribute;
pub mod board;
pub mod cli;
pub mod clock_trust;
pub mod config;
pub mod down;
pub mod identity;
pub mod kiosk;
pub mod link;
mod meter_clock;
mod pairing;
pub mod sitting;
pub mod spool;
pub mod staff;
pub mod status;
#[cfg(test)]
mod testing;
pub mod uplink;
