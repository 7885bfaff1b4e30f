//! The command line.

mod fleet;
mod people;
mod rules;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use carepost_daemon::{Clock, CommonArgs, Entropy, Lifecycle, cli, exit, telemetry};
use carepost_domain::id::{GatewayId, StaffId, StoreId};
use carepost_store::Store;
use carepost_store::model::StaffRole;
use clap::{Parser, Subcommand};

use crate::app;
use crate::config::{Config, ENV_PREFIX};

/// The program's arguments.
#[derive(Debug, Parser)]
#[command(
    name = "carepost-server",
    version,
    about = "The server of Carepost: takes readings from gateways, judges them, and shows what a pharmacist must do.",
    long_about = None
)]
pub struct Cli {
    #[command(flatten)]
    common: CommonArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve gateways and staff (the default). Prints the lines "http ADDRESS" and "mqtt ADDRESS" when both answer.
    Run,
    /// Bring the database's schema up to date, and exit.
    Migrate,
    /// Stores of the chain.
    #[command(subcommand)]
    Store(StoreCommand),
    /// People who work in the chain.
    #[command(subcommand)]
    Staff(StaffCommand),
    /// Gateways and their keys.
    #[command(subcommand)]
    Gateway(GatewayCommand),
    /// Clinical rule files.
    #[command(subcommand)]
    Rules(RulesCommand),
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    /// Add a store. Prints {"id":...}.
    Add {
        /// Its name.
        #[arg(long)]
        name: String,
        /// Its time zone, an IANA name.
        #[arg(long, default_value = "Asia/Shanghai")]
        zone: chrono_tz::Tz,
        /// Its id, a UUID; a new one when absent.
        #[arg(long)]
        id: Option<StoreId>,
    },
    /// List the stores, one JSON line each.
    List,
}

#[derive(Debug, Subcommand)]
enum StaffCommand {
    /// Add somebody. The password is the first line of standard input, or of --password-file. Prints {"id":...}.
    Add {
        /// The login name.
        #[arg(long)]
        login: String,
        /// The name as colleagues see it.
        #[arg(long)]
        name: String,
        /// pharmacist, manager or it.
        #[arg(long)]
        role: StaffRole,
        /// The store where they work.
        #[arg(long)]
        store: StoreId,
        /// Read the password from the first line of FILE.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        /// Their id, a UUID; a new one when absent.
        #[arg(long)]
        id: Option<StaffId>,
    },
}

#[derive(Debug, Subcommand)]
enum GatewayCommand {
    /// Enrol a gateway. Without --id and --public-key, reads the output of "carepost-gateway identity" from standard
    /// input. Prints {"id":...}.
    Add {
        /// The store where it stands.
        #[arg(long)]
        store: StoreId,
        /// Its name in words.
        #[arg(long)]
        name: String,
        /// Its id.
        #[arg(long, requires = "public_key")]
        id: Option<GatewayId>,
        /// Its Ed25519 public key, 64 hex digits.
        #[arg(long, value_name = "HEX", requires = "id")]
        public_key: Option<String>,
    },
    /// Revoke a gateway: it is cut off, and nothing more is taken from it.
    Revoke {
        /// Its id.
        id: GatewayId,
        /// Why, for the audit.
        #[arg(long)]
        reason: Option<String>,
    },
    /// List the gateways, one JSON line each.
    List,
}

#[derive(Debug, Subcommand)]
enum RulesCommand {
    /// Evaluate cases: JSON lines in, JSON lines out. Exits 1 if a case could not be read, 78 for a bad rule file.
    Evaluate {
        /// The rule file.
        #[arg(long, value_name = "FILE")]
        rules: PathBuf,
        /// The cases, or - for standard input.
        cases: PathBuf,
    },
    /// Check a rule file: everything that is wrong in it, and exit 78.
    Check {
        /// The rule file.
        file: PathBuf,
    },
}

/// Does what the arguments say.
///
/// # Errors
/// Whatever went wrong; `carepost_daemon::exit` turns it into an exit code.
pub async fn main(cli: Cli) -> anyhow::Result<ExitCode> {
    // Rule files are looked at without a server's configuration.
    if let Some(Command::Rules(command)) = &cli.command
        && !cli.common.print_config
    {
        return rules::main(command);
    }
    let loaded = cli.common.load::<Config>(ENV_PREFIX)?;
    if cli.common.print_config {
        cli::print(&loaded.effective)?;
        return Ok(exit::code(exit::OK));
    }
    telemetry::init(&loaded.config.log)?;
    let config = loaded.config;
    let tools = Tools {
        clock: Clock::system(),
        entropy: Entropy::system(),
    };
    match cli.command.unwrap_or(Command::Run) {
        Command::Run => run(config, tools).await,
        Command::Migrate => {
            app::open_store(&config).await?.close().await;
            tracing::info!("schema is up to date");
            Ok(exit::code(exit::OK))
        }
        Command::Store(command) => {
            with_store(&config, async |store| people::stores(store, &tools, command).await).await
        }
        Command::Staff(command) => with_store(&config, async |store| people::staff(store, &tools, command).await).await,
        Command::Gateway(command) => with_store(&config, async |store| fleet::main(store, &tools, command).await).await,
        Command::Rules(command) => rules::main(&command),
    }
}

/// Time and randomness of the real world.
struct Tools {
    clock: Clock,
    entropy: Entropy,
}

async fn with_store(config: &Config, work: impl AsyncFnOnce(&Store) -> anyhow::Result<()>) -> anyhow::Result<ExitCode> {
    let store = app::open_store(config).await?;
    let result = work(&store).await;
    store.close().await;
    result.map(|()| exit::code(exit::OK))
}

async fn run(config: Config, tools: Tools) -> anyhow::Result<ExitCode> {
    let mut lifecycle = Lifecycle::new(&config.lifecycle)?;
    let running = app::start(config, tools.clock, tools.entropy, &mut lifecycle).await?;
    cli::print(&format!("http {}\nmqtt {}\n", running.http, running.mqtt)).context("cannot say where it listens")?;
    let report = lifecycle.run_until_stopped().await;
    running.state.store.close().await;
    Ok(report.exit_code())
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
    fn a_password_has_no_place_on_the_command_line() {
        let arguments = [
            "carepost-server",
            "staff",
            "add",
            "--login",
            "a",
            "--password",
            "secret",
        ];
        assert!(Cli::try_parse_from(arguments).is_err());
    }

    #[test]
    fn an_id_without_a_key_is_a_wrong_use() {
        let id = "018f3c5e-0000-7000-8000-000000000001";
        let arguments = [
            "carepost-server",
            "gateway",
            "add",
            "--store",
            id,
            "--name",
            "x",
            "--id",
            id,
        ];
        assert!(Cli::try_parse_from(arguments).is_err());
    }
}
