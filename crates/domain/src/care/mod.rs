//! From readings to what a pharmacist works on: sessions, findings, alerts, tasks (page 5).
//!
//! The module evaluates; it knows no clinical number. Every number, list of codes and window comes from a
//! [`rule_set::RuleSet`], a versioned data file with citations. `now` is an argument everywhere, the order of evaluation
//! is the measured time, and the order in which readings arrived never matters.
//!
//! The way of one reading: [`history::CareReading`] -> [`session::Session`] (blood pressure) ->
//! [`evaluate::assess`] -> [`evaluate::Finding`] -> [`alert::reconcile`] -> [`alert::Alert`] -> [`task::plan`] ->
//! [`task::Task`].

pub mod alert;
pub mod bench;
pub mod evaluate;
pub mod history;
pub mod rule;
pub mod rule_set;
pub mod session;
pub mod task;
