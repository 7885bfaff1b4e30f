//! `cargo demo`: a simulated store with everything embedded, to watch in a browser, or `--check` to see that it holds.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Parser;
use system_tests::check::Table;
use system_tests::scenes::{Cast, check, home_record, measure, measure_glucose, seed, sync_glucose};
use system_tests::world::{PASSWORD, Setup, World};

/// Addresses that a person can remember.
const HTTP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8480);
/// See [`HTTP`].
const KIOSK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8470);
/// How long the check may take after the build.
const CHECK_DEADLINE: Duration = Duration::from_secs(60);

/// Plays Carepost's main job with simulated meters, gateway and server.
#[derive(Debug, Parser)]
#[command(name = "cargo demo --", version)]
struct Arguments {
    /// Play every scene at speed and print a table of what was expected and seen. Exits with 0 only if every row holds.
    #[arg(long)]
    check: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = if arguments.check {
        run_check().await
    } else {
        run_calmly().await
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            say(&format!("the demo stopped: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Prints to the terminal; a closed one ends nothing.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    drop(writeln!(out, "{text}").and_then(|()| out.flush()));
}

async fn run_check() -> anyhow::Result<ExitCode> {
    say("building the programs ...");
    system_tests::programs::programs()?;
    let began = Instant::now();
    let mut world = World::start(Setup::default()).await?;
    let mut table = Table::default();
    let cast = seed(&world).await.with_context(|| world.logs())?;
    check(&mut world, &cast, &mut table).await;
    for (program, kib) in world.resident_kib() {
        say(&format!(
            "{program} holds {} MiB",
            kib.map_or_else(|| "?".to_owned(), |kib| (kib / 1024).to_string())
        ));
    }
    let errors = world.error_lines();
    table.row(
        "gateway and server log no error",
        "0 lines",
        format!(
            "{} lines{}",
            errors.len(),
            errors.first().map_or_else(String::new, |l| format!(": {l}"))
        ),
    );
    if !table.all_hold() {
        say(&world.logs());
    }
    world.stop().await?;
    let took = began.elapsed();
    table.row(
        "the check takes at most 60 s after the build",
        "in time",
        if took <= CHECK_DEADLINE {
            "in time".to_owned()
        } else {
            format!("{:.1} s", took.as_secs_f64())
        },
    );
    say(&table.render());
    say(&format!("took {:.1} s", took.as_secs_f64()));
    Ok(if table.all_hold() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn run_calmly() -> anyhow::Result<ExitCode> {
    say("building the programs ...");
    system_tests::programs::programs()?;
    // A rest of five minutes is for people, not for somebody who watches.
    let gateway = vec![
        "kiosk.timings.gap_ms=10000".to_owned(),
        "kiosk.timings.rest_ms=15000".to_owned(),
    ];
    let setup = Setup {
        gateway,
        http_listen: Some(free(HTTP)),
        kiosk_listen: Some(free(KIOSK)),
        calm: true,
        ..Setup::default()
    };
    let mut world = World::start(setup).await?;
    let cast = seed(&world).await.with_context(|| world.logs())?;
    say(&format!(
        "\n  pharmacist's queue   http://{}/queue      login pharmacist, password {PASSWORD:?}\n  kiosk                http://{}/\n\n\
         Member codes for the kiosk: {} (hypertension), {} (arrives in danger), {} (no consent).\nStop with Ctrl-C; nothing is kept.\n",
        world.http_address(),
        world.kiosk_address(),
        cast.wang.code,
        cast.zhou.code,
        cast.chen.code
    ));
    tokio::select! {
        // Only what is shown is lost when a scene is cut short; the programs are stopped below.
        played = play(&mut world, &cast) => played.with_context(|| world.logs())?,
        stopped = tokio::signal::ctrl_c() => stopped.context("listening for Ctrl-C")?,
    }
    say("stopping ...");
    world.stop().await?;
    Ok(ExitCode::SUCCESS)
}

/// The preferred address if it is free, otherwise any port.
fn free(preferred: SocketAddr) -> SocketAddr {
    match std::net::TcpListener::bind(preferred) {
        Ok(_free) => preferred,
        Err(_taken) => SocketAddr::new(preferred.ip(), 0),
    }
}

/// A calm scene, told while it is played, again and again.
async fn play(world: &mut World, cast: &Cast) -> anyhow::Result<()> {
    say("A member's glucose meter comes near; its 60 stored records are read.");
    sync_glucose(world).await?;
    say("Two people's home cuff sends what each has measured.");
    home_record(world, 1, 146, 92).await?;
    home_record(world, 2, 127, 79).await?;
    pause(20).await;
    say("周** sits down at the kiosk. Watch the kiosk and the queue: the readings are severe.");
    let kiosk = world.kiosk()?;
    kiosk.sit_down(&cast.zhou.code).await?;
    pause(5).await;
    measure(world, 192, 116, 88).await?;
    for (systolic, diastolic, pulse) in [(190, 114, 86), (186, 112, 84)] {
        wait_until_asked(&kiosk).await?;
        pause(5).await;
        measure(world, systolic, diastolic, pulse).await?;
        pause(5).await;
    }
    // The rest was cut short, so the rule set takes all three for one sitting; the person looks at the result.
    let screen = kiosk.look().await?;
    kiosk.press(&screen, "/finish", &[]).await?;
    say("The queue shows a critical alert. Take it, call, and record what came of it.");
    pause(60).await;
    say(
        "Now it is your turn: sit down at the kiosk as anybody. The store's cuff measures once a minute while you sit there.",
    );
    let mut systolic = 126;
    loop {
        pause(30).await;
        let screen = world.kiosk()?.look().await?;
        if screen.name == "measure" {
            systolic = if systolic > 150 { 118 } else { systolic + 4 };
            say(&format!("The cuff measures {systolic}/82."));
            measure(world, systolic, 82, 70).await?;
        } else if screen.name == "start" {
            say("The glucose meter has a new value.");
            measure_glucose(world, 72).await?;
            pause(60).await;
        }
    }
}

async fn wait_until_asked(kiosk: &system_tests::kiosk::Kiosk) -> anyhow::Result<()> {
    system_tests::wait::wait_for("the kiosk to ask for a reading", Duration::from_secs(900), async || {
        Ok((kiosk.look().await?.name == "measure").then_some(()))
    })
    .await
}

async fn pause(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}
