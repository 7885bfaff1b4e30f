//! Every use case of the spool, and what is left of it after a stop at any point.

mod batches;
mod consent;
mod contexts;
mod delivery;
mod fresh;
mod full;
mod interleavings;
mod joint;
mod links;
mod packets;
mod registrations;
