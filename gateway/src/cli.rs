//! The command line.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use carepost_daemon::exit::{self, UsageError};
use carepost_daemon::{Clock, CommonArgs, Entropy, cli, telemetry};
use carepost_gatt::report;
use clap::{Parser, Subcommand};
use serde::Serialize;

use crate::config::{Config, ENV_PREFIX};
use crate::identity::Identity;
use crate::{app, status};

/// The Carepost gateway: reads blood-pressure cuffs and glucose meters over Bluetooth and delivers their readings.
#[derive(Debug, Parser)]
#[command(name = "carepost-gateway", version, about)]
pub struct Cli {
    /// Arguments that all programs share.
    #[command(flatten)]
    pub common: CommonArgs,
    /// What to do; run the daemon if nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon.
    Run,
    /// Say what one value of a characteristic means, as a line of JSON. Exits with 1 if it is rejected.
    Decode {
        /// 2A35, 2A18, 2A52-request, SFLOAT and so on.
        characteristic: String,
        /// The bytes in hexadecimal; "" for none.
        hex: String,
    },
    /// Print the gateway's id and public key as a line of JSON, making them on the first call.
    Identity,
    /// Print what the gateway holds and how it is.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Does what the command line says.
///
/// # Errors
/// With what went wrong; `carepost_daemon::run_main` turns it into an exit code.
pub async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    if let Some(Command::Decode { characteristic, hex }) = &cli.command {
        return decode(characteristic, hex);
    }
    let loaded = cli.common.load::<Config>(ENV_PREFIX)?;
    if cli.common.print_config {
        cli::print(&loaded.effective)?;
        return Ok(exit::code(exit::OK));
    }
    telemetry::init(&loaded.config.log)?;
    match cli.command {
        None | Some(Command::Run) => app::run(loaded.config).await,
        Some(Command::Identity) => identity(&loaded.config),
        Some(Command::Status { json }) => print_status(&loaded.config, json).await,
        Some(Command::Decode { characteristic, hex }) => decode(&characteristic, &hex),
    }
}

fn decode(characteristic: &str, hex: &str) -> anyhow::Result<ExitCode> {
    let bytes = report::parse_hex(hex)
        .map_err(|error| UsageError(format!("the second argument is not hexadecimal: {error}")))?;
    let report = report::report(characteristic, &bytes).map_err(|error| UsageError(error.to_string()))?;
    cli::print(&format!("{}\n", report.json))?;
    Ok(exit::code(if report.ok { exit::OK } else { exit::FAILURE }))
}

fn identity(config: &Config) -> anyhow::Result<ExitCode> {
    #[derive(Serialize)]
    struct Printed {
        gateway: carepost_domain::id::GatewayId,
        public_key: String,
    }
    let identity = Identity::load_or_create(&config.data_dir, &Clock::system(), &Entropy::system())
        .context("there is no identity")?;
    let printed = Printed {
        gateway: identity.gateway(),
        public_key: hex::encode(identity.public_key().as_bytes()),
    };
    cli::print(&format!("{}\n", serde_json::to_string(&printed)?))?;
    Ok(exit::code(exit::OK))
}

async fn print_status(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let asked = match daemon_address(config) {
        Some(address) => status::ask(address).await,
        None => None,
    };
    // Who answers at an address need not be the gateway of this folder.
    let ours = Identity::existing(&config.data_dir).context("cannot tell which gateway this folder is")?;
    let gateway = ours.map(|identity| identity.gateway());
    let answers_for_us = |report: &status::StatusReport| report.daemon.as_ref().map(|d| d.gateway) == gateway;
    let report = match asked.filter(answers_for_us) {
        Some(report) => report,
        None => status::read(&config.data_dir).await.context("cannot read the spool")?,
    };
    let text = if json {
        format!("{}\n", serde_json::to_string(&report)?)
    } else {
        status::in_words(&report)
    };
    cli::print(&text)?;
    Ok(exit::code(exit::OK))
}

/// Where the daemon said that it answers, else where it would.
fn daemon_address(config: &Config) -> Option<SocketAddr> {
    let noted = noted_address(&config.data_dir);
    noted
        .or(Some(config.kiosk.listen))
        .filter(|address| address.port() != 0)
}

fn noted_address(data_dir: &Path) -> Option<SocketAddr> {
    let text = std::fs::read_to_string(data_dir.join(app::ADDRESS_FILE)).ok()?;
    text.trim()
        .parse()
        .ok()
        .filter(|address: &SocketAddr| address.ip().is_loopback())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_fit_together() {
        Cli::command().debug_assert();
    }
}
