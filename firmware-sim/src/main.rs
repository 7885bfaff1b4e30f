//! The program `carepost-sim`: a simulated shop's worth of meters for people, tests and demonstrations.

use std::process::ExitCode;

use anyhow::Context as _;
use carepost_daemon::{Clock, CommonArgs, Lifecycle, cli, exit, telemetry};
use carepost_sim::config::SimConfig;
use carepost_sim::peripheral::{Peripheral, Seat};
use carepost_sim::{Simulator, profiles};
use clap::Parser;

/// Prefix of the environment variables that set configuration keys.
const ENV_PREFIX: &str = "CAREPOST_SIM_";

/// Simulates blood pressure cuffs, glucose meters, scales, thermometers and oximeters behind a BlueZ on a private D-Bus bus.
///
/// When everything is ready, two lines appear on standard output: "control ADDRESS" with the address of the control
/// interface, then "bus ADDRESS" with the D-Bus address that BlueZ clients take from DBUS_SYSTEM_BUS_ADDRESS.
///
/// With --adapter the same meters are served as real peripherals through the bluetoothd of this machine instead. The
/// "bus" line is then replaced by a line "adapter NAME ADDRESS METER" for each of them.
#[derive(Parser)]
#[command(name = "carepost-sim", version)]
struct Cli {
    #[command(flatten)]
    common: CommonArgs,
    /// Serves a meter as a real peripheral at this adapter, for example hci1=store-cuff; without a meter the first
    /// configured one. Can be given several times: one adapter is one address and one meter.
    #[arg(long = "adapter", value_name = "ADAPTER[=METER]")]
    adapters: Vec<Seat>,
    /// The bus of bluetoothd for --adapter: "system", or a D-Bus address. Short for --set peripheral.bus=BUS.
    #[arg(long, value_name = "BUS", requires = "adapters")]
    bus: Option<String>,
    #[command(subcommand)]
    command: Option<Subcommand>,
}

#[derive(clap::Subcommand)]
enum Subcommand {
    /// Lists the fault profiles: what they are called, what is seen of them, what the ledger holds.
    Profiles,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    exit::run_main(|| run(cli))
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    if matches!(cli.command, Some(Subcommand::Profiles)) {
        cli::print(&profiles::list())?;
        return Ok(exit::code(exit::OK));
    }
    let loaded = cli.common.load::<SimConfig>(ENV_PREFIX)?;
    if cli.common.print_config {
        cli::print(&loaded.effective)?;
        return Ok(exit::code(exit::OK));
    }
    let mut config = loaded.config;
    telemetry::init(&config.log)?;
    let mut lifecycle = Lifecycle::new(&config.lifecycle)?;
    if !cli.adapters.is_empty() {
        config.peripheral.bus = cli.bus.unwrap_or(config.peripheral.bus);
        let ready = serve_adapters(&config, &cli.adapters, &mut lifecycle).await?;
        cli::print(&ready)?;
        return Ok(lifecycle.run_until_stopped().await.exit_code());
    }

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

/// Starts the front on real adapters and says where everything is.
async fn serve_adapters(config: &SimConfig, seats: &[Seat], lifecycle: &mut Lifecycle) -> anyhow::Result<String> {
    let peripheral = Peripheral::start(config, seats, Clock::system())
        .await
        .context("cannot serve the meters at the adapters")?;
    let mut ready = format!("control {}\n", peripheral.control_addr());
    for (adapter, address, meter) in peripheral.seats() {
        tracing::info!(adapter, address, meter.id = meter, "meter is behind an adapter");
        ready.push_str(&format!("adapter {adapter} {address} {meter}\n"));
    }
    let soft = lifecycle.soft();
    lifecycle.spawn("peripheral", async move { Ok(peripheral.run_until(soft).await?) });
    Ok(ready)
}
