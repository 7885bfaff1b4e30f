//! The program `carepost-sim`: a simulated shop's worth of meters for people, tests and demonstrations.

use std::process::ExitCode;

use anyhow::Context as _;
use carepost_daemon::{Clock, CommonArgs, Lifecycle, cli, exit, telemetry};
use carepost_sim::Simulator;
use carepost_sim::config::SimConfig;
use clap::Parser;

/// Prefix of the environment variables that set configuration keys.
const ENV_PREFIX: &str = "CAREPOST_SIM_";

/// Simulates blood pressure cuffs and glucose meters behind a BlueZ on a private D-Bus bus.
///
/// When everything is ready, two lines appear on standard output: "control ADDRESS" with the address of the control
/// interface, then "bus ADDRESS" with the D-Bus address that BlueZ clients take from DBUS_SYSTEM_BUS_ADDRESS.
#[derive(Parser)]
#[command(name = "carepost-sim", version)]
struct Cli {
    #[command(flatten)]
    common: CommonArgs,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    exit::run_main(|| run(cli))
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let loaded = cli.common.load::<SimConfig>(ENV_PREFIX)?;
    if cli.common.print_config {
        cli::print(&loaded.effective)?;
        return Ok(exit::code(exit::OK));
    }
    let config = loaded.config;
    telemetry::init(&config.log)?;
    let mut lifecycle = Lifecycle::new(&config.lifecycle)?;

    let simulator = Simulator::start(&config, Clock::system())
        .await
        .context("cannot start the simulator")?;
    tracing::info!(
        meters = config.meters.len(),
        bus.address = simulator.bus_address(),
        control.address = %simulator.control_addr(),
        "simulator started"
    );
    if config.meters.is_empty() {
        tracing::warn!("no meters are configured; start with --config config/firmware-sim.toml");
    }
    let ready = format!(
        "control {}\nbus {}\n",
        simulator.control_addr(),
        simulator.bus_address()
    );
    let soft = lifecycle.soft();
    lifecycle.spawn("simulator", async move { Ok(simulator.run_until(soft).await?) });
    cli::print(&ready)?;
    Ok(lifecycle.run_until_stopped().await.exit_code())
}
