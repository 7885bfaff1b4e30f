//! The simulator as its clients see it: an unmodified btleplug, a plain D-Bus client, control connections, and the
//! program itself. And its meters as state machines under random events.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod btle;
mod contract;
mod control;
mod host_faults;
mod machines;
mod pairing;
mod peripheral;
mod profiles;
mod profiles_bench;
mod profiles_control;
mod profiles_properties;
mod program;
mod racp;
mod scale;
mod scenario;
mod support;
