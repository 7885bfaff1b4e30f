//! The care rules, seen from outside: boundaries of every number, sessions, hysteresis, alerts, tasks, the bench.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod alerts;
mod bench;
mod boundaries;
mod hysteresis;
mod modifiers;
mod properties;
mod rule_set;
mod sessions;
mod support;
mod tasks;
mod unruled;
