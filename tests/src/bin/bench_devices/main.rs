//! `cargo bench-devices`: the gateway's device side in numbers, next to a bare loop on a bus like its own.
//!
//! Everything is real but the radio: the simulated BlueZ with its meters, the gateway and the server are the shipped
//! programs, built for release. The gateway is watched from outside only: its file is read as any reader of SQLite would,
//! its memory is asked of the kernel. `docs/benchmarks.md` says what each number means.

mod bare;
mod day;
mod latency;
mod neighbourhood;
mod spool;
mod throughput;

use std::fmt::Display;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use system_tests::programs::programs;
use system_tests::wait::wait_for;
use system_tests::world::{Person, Setup, World};

use crate::neighbourhood::Neighbourhood;
use crate::spool::SpoolFile;

// libdbus is built in through this crate's `vendored` feature; btleplug would otherwise look for the system's.
use dbus as _;

/// Measures the gateway's device side: records a second, delay to disk, memory.
#[derive(Debug, Parser)]
#[command(name = "cargo bench-devices --", version)]
struct Arguments {
    /// Exit with 1 when a target is missed.
    #[arg(long)]
    check: bool,
    /// Meters that the throughput is measured with, each with a full memory.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=8))]
    meters: u32,
    /// Live indications whose delay is measured.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(10..=5_000))]
    indications: u32,
    /// Records of the long run; the memory has to be flat over its second half.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1_000..=120_000))]
    records: u32,
    /// Links of the long run.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u32).range(10..=5_000))]
    links: u32,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// The bare loop by itself, on the bus of DBUS_SYSTEM_BUS_ADDRESS: started by the benchmark as a program of its own.
    #[command(hide = true)]
    Bare {
        /// The meter's Bluetooth address.
        address: String,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match &arguments.part {
        Some(Part::Bare { address }) => bare::run(address).await.map(|()| true),
        None => measure(&arguments).await,
    };
    match result {
        Ok(met) if met || !arguments.check => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            say(format!("the benchmark stopped: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Prints to the terminal; a closed one ends nothing.
fn say(text: impl Display) {
    let mut out = std::io::stdout().lock();
    drop(writeln!(out, "{text}").and_then(|()| out.flush()));
}

/// A number with its target, printed as soon as it is known.
struct Verdicts {
    all_met: bool,
}

impl Verdicts {
    fn row(&mut self, what: &str, seen: impl Display, target: &str, met: bool) {
        self.all_met &= met;
        let verdict = if met { "met" } else { "MISSED" };
        say(format!("{what:<58} {seen:>18}   target {target}: {verdict}"));
    }
}

async fn measure(arguments: &Arguments) -> anyhow::Result<bool> {
    say("building the programs ...");
    programs()?;
    if cfg!(debug_assertions) {
        say("this is a debug build: the numbers say nothing about what is shipped");
    }
    let before = Processors::now();
    say(machine());
    let mut verdicts = Verdicts { all_met: true };
    throughput::measure(arguments.meters, &mut verdicts).await?;
    latency::measure(arguments.indications, &mut verdicts).await?;
    day::measure(arguments.records, arguments.links, &mut verdicts).await?;
    say(format!("{}, {}", machine(), Processors::now().since(&before)));
    Ok(verdicts.all_met)
}

/// What was measured on, and how busy it was: other programs on the machine are in every number.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZeroUsize::get);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    format!("machine: {cores} cores, load {load} over the last minute")
}

/// What the processors did since they were started, in ticks. On a virtual machine, others may have had them meanwhile.
#[derive(Debug, Default)]
struct Processors {
    all: u64,
    stolen: u64,
}

impl Processors {
    fn now() -> Self {
        Self::read(&std::fs::read_to_string("/proc/stat").unwrap_or_default())
    }

    /// By the first line of `/proc/stat` (proc_stat(5)): user, nice, system, idle, iowait, irq, softirq, steal; what follows is
    /// counted in the first two already.
    fn read(text: &str) -> Self {
        let line = text.lines().next().unwrap_or_default();
        let ticks = line
            .split_whitespace()
            .skip(1)
            .map_while(|word| word.parse::<u64>().ok());
        let ticks: Vec<u64> = ticks.take(8).collect();
        Self {
            all: ticks.iter().sum(),
            stolen: ticks.get(7).copied().unwrap_or_default(),
        }
    }

    fn since(&self, before: &Self) -> String {
        let all = self.all.saturating_sub(before.all).max(1);
        let stolen = self.stolen.saturating_sub(before.stolen);
        format!("{}% of its processors' time taken away by the host", stolen * 100 / all)
    }
}

/// A world with these meters, one member who consents to everything, and the gateway's file opened for reading.
struct Scene {
    world: World,
    member: Person,
    file: SpoolFile,
}

impl Scene {
    async fn start(neighbourhood: &Neighbourhood, gateway: &[&str]) -> anyhow::Result<Self> {
        let world = World::start(Setup {
            simulator: Some(neighbourhood.file()),
            gateway: gateway.iter().map(|setting| (*setting).to_owned()).collect(),
            ..Setup::default()
        })
        .await?;
        let member = world.member("BENCH-1", "Bench One", 1960, "female", &[], &[]).await?;
        world.grant(&member, "care_record").await?;
        let file = SpoolFile::open(&world.gateway_folder()).await?;
        Ok(Self { world, member, file })
    }

    /// Registers meters as the member's own and waits until the gateway knows of them.
    async fn own(&self, meters: &[(String, String)], kind: &str) -> anyhow::Result<()> {
        for (name, address) in meters {
            let id = self.world.register((name, address), kind, "personal", false).await?;
            self.world.bind(&id, &self.member, None).await?;
        }
        self.world.gateway_up_to_date().await
    }

    /// Resident memory of the gateway in KiB.
    fn gateway_kib(&self) -> anyhow::Result<u64> {
        self.world
            .resident_kib()
            .into_iter()
            .find_map(|(program, kib)| kib.filter(|_| program == "carepost-gateway"))
            .context("the gateway has ended")
    }

    /// Waits until so many packets have ever been spooled and all of them are settled.
    async fn settled(&mut self, spooled: i64, deadline: Duration) -> anyhow::Result<()> {
        let Self { world, file, .. } = self;
        wait_for(
            &format!("{spooled} packets to be stored and settled"),
            deadline,
            async || Ok((file.ever_spooled().await? >= spooled && file.waiting().await? == 0).then_some(())),
        )
        .await
        .with_context(|| world.logs())
    }
}

fn mib(kib: u64) -> String {
    format!("{}.{} MiB", kib / 1024, (kib % 1024) * 10 / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_takes_away_is_told() {
        let before = Processors::read("cpu  100 0 50 800 10 0 5 20 7 0\ncpu0 1 2 3\n");
        assert_eq!((before.all, before.stolen), (985, 20));
        let after = Processors::read("cpu  150 0 50 800 10 0 5 70 7 0\n");
        assert_eq!(
            after.since(&before),
            "50% of its processors' time taken away by the host"
        );
        assert_eq!(
            Processors::read("").since(&before),
            "0% of its processors' time taken away by the host"
        );
    }
}
