//! The system tests: one binary, so that it links once.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod arrows;
mod bad_input;
mod bonds;
mod cuffs;
mod home_meter;
mod host;
mod journeys;
mod link;
mod pairing;
mod profiles;
mod refusals;
