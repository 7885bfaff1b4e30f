//! The simulator as its clients see it: an unmodified btleplug, a plain D-Bus client, control connections, and the
//! program itself. And its meters as state machines under random events.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod btle;
mod contract;
mod control;
mod machines;
mod program;
mod racp;
mod scenario;
mod support;
