//! The server against its contracts: the MQTT endpoint with hand-made packets, the API over HTTP, a gateway from
//! CONNECT to receipt, and the command line.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod api;
mod broker;
mod cli;
mod devices;
mod flow;
mod harness;
mod pages;
mod wire;
