//! What the fuzzers run, one function for each target: bytes of a stranger in, and a panic when a promise is broken.
//!
//! The fuzz crate (`tests/fuzz`, not a member of the workspace) feeds them what libFuzzer invents; `tests/tests/corpus.rs`
//! replays the committed corpora through the very same functions with the stable compiler, on every run of the tests.
//! `docs/fuzzing.md` says how both are used.
//!
//! Every input is a byte that selects a case, then the case's own bytes. Cases are only ever appended, because the
//! committed corpora name them by number.

mod config_files;
mod glucose_sync;
mod meter_values;
mod script;
mod server_admission;
mod sim_control;
mod wire;

pub use config_files::config_files;
pub use glucose_sync::glucose_sync;
pub use meter_values::meter_values;
pub use server_admission::server_admission;
pub use sim_control::sim_control;
pub use wire::wire;

/// A fuzz target: takes any bytes and panics when a promise is broken.
pub type Target = fn(&[u8]);

/// All targets by the name of their binary and of their corpus.
pub const TARGETS: [(&str, Target); 6] = [
    ("config_files", config_files),
    ("glucose_sync", glucose_sync),
    ("meter_values", meter_values),
    ("server_admission", server_admission),
    ("sim_control", sim_control),
    ("wire", wire),
];
