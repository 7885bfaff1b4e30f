//! The wire contract between gateway and server: topics, messages, signing and limits.
//!
//! This crate does no IO, reads no clock and draws no randomness. Messages are JSON; a released version's folder is never
//! edited, and its golden files decode for ever (`tests/golden`).

pub mod connect;
pub mod limits;
pub mod signed;
pub mod topic;
pub mod v1;
