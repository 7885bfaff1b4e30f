//! `carepost-gateway`: see the library of the same package.

use std::process::ExitCode;

use carepost_gateway::cli;
use clap::Parser as _;

// libdbus is built in through this crate's `vendored` feature; btleplug would otherwise look for the system's.
use dbus as _;

// A record is allocated on one thread and freed on another, many times (docs/decisions/0014-the-gateways-allocator.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    carepost_daemon::run_main(|| cli::run(cli))
}
