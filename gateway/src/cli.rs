//! The command line.

use std::io::{BufRead as _, Read as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use carepost_daemon::exit::{self, UsageError};
use carepost_daemon::{Clock, CommonArgs, Entropy, cli, telemetry};
use carepost_domain::meter::{Address, MeterRole};
use carepost_gatt::report;
use clap::{Parser, Subcommand};
use serde::Serialize;

use crate::config::{Config, ENV_PREFIX};
use crate::identity::Identity;
use crate::pairing::Goal;
use crate::staff::client::{RegisterWish, Wish, parse_owner};
use crate::staff::pin::hash_pin;
use crate::{app, staff, status};

/// Longest line that is read as a PIN.
const MAX_PIN_LINE_BYTES: u64 = 256;

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
    /// Pair a meter with the running gateway; without an address, list the meters nearby.
    Pair {
        /// The meter's address, such as C0:26:DF:00:1A:2B.
        address: Option<String>,
        /// Forget the old pairing first: the meter has lost its own.
        #[arg(long, conflicts_with = "forget")]
        again: bool,
        /// Forget the pairing.
        #[arg(long)]
        forget: bool,
        /// Register the meter as the store's own.
        #[arg(long, conflicts_with_all = ["owner", "forget"])]
        shared: bool,
        /// Register the meter as this member's; with =USER for one user of it, by the number that the meter sends: two users
        /// are 0 and 1 on some meters, 1 and 2 on others. May be repeated.
        #[arg(long, value_name = "CODE[=USER]", conflicts_with = "forget")]
        owner: Vec<String>,
        /// Nobody but these members has ever measured with the meter, each as their own user: what it has stored is theirs,
        /// too, as far as their consent reaches. Leave it out if you are not sure.
        #[arg(long, requires = "owner", conflicts_with_all = ["shared", "forget"])]
        only_ever: bool,
    },
    /// Read a new PIN for the staff page from standard input and print the line for the configuration.
    StaffPin,
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
        Some(Command::StaffPin) => staff_pin(),
        Some(Command::Pair {
            address,
            again,
            forget,
            shared,
            owner,
            only_ever,
        }) => {
            let goal = match (again, forget) {
                (true, _) => Goal::PairAgain,
                (_, true) => Goal::Forget,
                _ => Goal::Pair,
            };
            let register = register_wish(shared, &owner, only_ever)?;
            pair(&loaded.config, wish(address.as_deref(), goal, register)?).await
        }
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

fn register_wish(shared: bool, owners: &[String], only_ever: bool) -> Result<Option<RegisterWish>, UsageError> {
    let owners: Vec<_> = owners
        .iter()
        .map(|owner| parse_owner(owner))
        .collect::<Result<_, _>>()?;
    let role = match (shared, owners.is_empty()) {
        (true, _) => MeterRole::StoreShared,
        (_, false) => MeterRole::Personal,
        _ => return Ok(None),
    };
    Ok(Some(RegisterWish {
        role,
        owners,
        only_ever,
    }))
}

fn wish(address: Option<&str>, goal: Goal, register: Option<RegisterWish>) -> Result<Wish, UsageError> {
    let address = match address {
        Some(text) => Some(
            text.parse::<Address>()
                .map_err(|error| UsageError(format!("{text}: {error}")))?,
        ),
        None if goal != Goal::Pair || register.is_some() => {
            return Err(UsageError(
                "which meter? Give its address; carepost-gateway pair without anything lists those nearby".to_owned(),
            ));
        }
        None => None,
    };
    Ok(Wish {
        goal,
        address,
        register,
    })
}

async fn pair(config: &Config, wish: Wish) -> anyhow::Result<ExitCode> {
    let address = daemon_address(config).context("the gateway does not run: start it, then pair")?;
    let done = staff::client::run(&config.data_dir, address, wish).await?;
    Ok(exit::code(if done { exit::OK } else { exit::FAILURE }))
}

/// Reads a PIN and prints its hash. The PIN itself is nowhere but in the head of whoever typed it.
fn staff_pin() -> anyhow::Result<ExitCode> {
    eprintln!("Type the new staff PIN, 6 to 12 digits, and press Enter:");
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .take(MAX_PIN_LINE_BYTES)
        .read_line(&mut line)
        .context("cannot read the PIN")?;
    match hash_pin(line.trim(), &Entropy::system()) {
        Ok(hash) => {
            cli::print(&format!("[staff]\npin_hash = \"{hash}\"\n"))?;
            Ok(exit::code(exit::OK))
        }
        Err(error) if staff::pin::is_usage(&error) => Err(UsageError(error.to_string()).into()),
        Err(error) => Err(error.into()),
    }
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

    #[test]
    fn the_past_is_said_of_owners_only() {
        let parse = |arguments: &[&str]| {
            let all = ["carepost-gateway", "pair", "C0:26:DF:00:1A:2B"]
                .iter()
                .chain(arguments);
            Cli::try_parse_from(all).map(|cli| match cli.command {
                Some(Command::Pair { only_ever, .. }) => only_ever,
                other => panic!("{other:?}"),
            })
        };
        assert!(!parse(&["--owner", "CP-1"]).unwrap(), "nothing said is not sure");
        assert!(parse(&["--owner", "CP-1", "--only-ever"]).unwrap());
        assert!(parse(&["--only-ever"]).is_err());
        assert!(parse(&["--shared", "--only-ever"]).is_err());
        let wish = register_wish(false, &["CP-1".to_owned()], true).unwrap().unwrap();
        assert!(wish.only_ever && wish.role == MeterRole::Personal);
    }
}
