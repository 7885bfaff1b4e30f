//! The kiosk page on loopback: who sits there, what is measured, what it means, and nothing left afterwards (page 6 of the
//! design, section 3).
//!
//! `flow` decides what is to be seen and does nothing; `judge` puts the rule set's session policy into screens; `shell`
//! joins both to the desk; `page` draws; `routes` lets a browser in. There is one screen: whoever opens the page on this
//! machine sees the same sitting.

mod flow;
mod guard;
mod judge;
mod page;
mod problem;
mod routes;
mod settings;
mod shell;
#[cfg(test)]
mod tests;
mod text;

pub use self::guard::guard;
pub(crate) use self::problem::page;
pub use self::problem::{Problem, not_found};
pub use self::routes::routes;
pub use self::settings::KioskTimings;
pub use self::shell::Kiosk;
pub use self::text::Language;
#[cfg(test)]
pub(crate) use self::text::tests as catalogue_tests;
