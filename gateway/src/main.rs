//! `carepost-gateway`: see the library of the same package.

use std::process::ExitCode;

use carepost_gateway::cli;
use clap::Parser as _;

// libdbus is built in through this crate's `vendored` feature; btleplug would otherwise look for the system's.
use dbus as _;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    carepost_daemon::run_main(|| cli::run(cli))
}
