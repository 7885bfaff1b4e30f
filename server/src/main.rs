//! The program; see `carepost_server::cli`.

use std::process::ExitCode;

use carepost_server::cli::{Cli, main as run};
use clap::Parser as _;

fn main() -> ExitCode {
    let cli = Cli::parse();
    carepost_daemon::run_main(|| run(cli))
}
