//! The daemon: every long-lived task is started here, by name.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use carepost_contract::v1::Epoch;
use carepost_daemon::{CancellationToken, Clock, Entropy, Lifecycle};
use carepost_domain::care::rule_set::RuleSet;
use tokio::net::TcpListener;
use tokio::time::MissedTickBehavior;

use crate::board::Board;
use crate::clock_trust::ClockTrust;
use crate::config::Config;
use crate::identity::{FolderLock, Identity};
use crate::kiosk::{self, Kiosk};
use crate::link::turn::Turns;
use crate::link::{self, LinkParts};
use crate::pairing::{Pairing, PairingParts};
use crate::sitting::Desk;
use crate::spool::{Disposition, Spool, SpoolError};
use crate::staff::client::TokenNote;
use crate::staff::{self, Staff};
use crate::uplink::Uplink;
use crate::{admit, status};

/// The file in the data folder that says where the running daemon answers.
pub const ADDRESS_FILE: &str = "http.addr";
/// How often the desk looks at its sitting.
const DESK_TICK: Duration = Duration::from_secs(1);
/// How often the spool is swept and the time service's mark looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// How long open requests have at a stop; streams of events would never end by themselves.
const HTTP_GRACE: Duration = Duration::from_secs(2);

/// What the parts of the daemon share. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Configuration.
    pub config: Arc<Config>,
    /// Id and signing key.
    pub identity: Arc<Identity>,
    /// The epoch of this start; it has been begun in the spool.
    pub epoch: Epoch,
    /// Durable memory.
    pub spool: Spool,
    /// The kiosk's desk.
    pub desk: Desk,
    /// How everything is.
    pub board: Board,
    /// Whether the clock is believed.
    pub trust: ClockTrust,
    /// The time.
    pub clock: Clock,
    /// Randomness.
    pub entropy: Entropy,
}

/// Runs the daemon until it is stopped.
///
/// # Errors
/// When it cannot start.
pub async fn run(config: Config) -> anyhow::Result<ExitCode> {
    let clock = Clock::system();
    let entropy = Entropy::system();
    link::demote_stream_panics();
    let _lock = FolderLock::take(&config.data_dir).context("cannot use the data folder")?;
    let mut lifecycle = Lifecycle::new(&config.lifecycle)?;
    let parts = assemble(config, clock, entropy).await?;
    let listener = TcpListener::bind(parts.config.kiosk.listen)
        .await
        .with_context(|| format!("cannot listen on kiosk.listen = {}", parts.config.kiosk.listen))?;
    let address = listener.local_addr().context("cannot ask for the kiosk's port")?;
    let note = AddressNote::write(&parts.config.data_dir, address).context("cannot note where the daemon answers")?;
    let token = TokenNote::write(&parts.config.data_dir, &parts.entropy).context("cannot note the staff token")?;
    start(&mut lifecycle, &parts, listener, token.token());
    tracing::info!(gateway.id = %parts.identity.gateway(), address = %address, "gateway has started");
    carepost_daemon::cli::print(&format!("ready http://{address}\n"))
        .context("cannot say that the gateway is ready")?;
    let report = lifecycle.run_until_stopped().await;
    drop(note);
    drop(token);
    parts.spool.close().await;
    Ok(report.exit_code())
}

/// Opens what the daemon needs, before any task runs.
async fn assemble(config: Config, clock: Clock, entropy: Entropy) -> anyhow::Result<Parts> {
    let identity = Identity::load_or_create(&config.data_dir, &clock, &entropy).context("there is no identity")?;
    let (spool, recovered) = Spool::open(&config.data_dir, clock.now())
        .await
        .context("cannot use the spool")?;
    if recovered.open_links > 0 {
        tracing::warn!(
            links = recovered.open_links,
            possible_gaps = recovered.possible_gaps.len(),
            "the last run ended while meters were connected"
        );
    }
    for meter in &recovered.possible_gaps {
        tracing::error!(meter.id = %meter, "a reading may be lost: check the cuff's own memory");
    }
    let epoch = Epoch::from_bytes(entropy.bytes());
    spool.begin_epoch(epoch).await.context("cannot begin an epoch")?;
    let trust = ClockTrust::new(clock.clone(), &config.clock);
    let desk = Desk::open(
        spool.clone(),
        clock.clone(),
        entropy.clone(),
        trust.clone(),
        &config.kiosk,
    )
    .await
    .context("cannot open the desk")?;
    Ok(Parts {
        config: Arc::new(config),
        identity: Arc::new(identity),
        epoch,
        spool,
        desk,
        board: Board::default(),
        trust,
        clock,
        entropy,
    })
}

/// Every task of the daemon.
fn start(lifecycle: &mut Lifecycle, parts: &Parts, listener: TcpListener, staff_token: &str) {
    let turns = Turns::default();
    let link = LinkParts {
        spool: parts.spool.clone(),
        desk: parts.desk.clone(),
        clock: parts.clock.clone(),
        entropy: parts.entropy.clone(),
        trust: parts.trust.clone(),
        board: parts.board.clone(),
        turns: turns.clone(),
        settings: parts.config.bluetooth.clone(),
    };
    let (bluetooth, capture) = link::tasks(link, lifecycle.soft(), lifecycle.hard());
    lifecycle.spawn("bluetooth", bluetooth);
    lifecycle.spawn("capture", capture);
    lifecycle.spawn(
        "admit",
        admit::run(
            parts.spool.clone(),
            parts.desk.clone(),
            parts.clock.clone(),
            lifecycle.soft(),
        ),
    );
    lifecycle.spawn("janitor", tidy(parts.clone(), lifecycle.soft()));
    let uplink = Uplink::new(parts.clone());
    let soft = lifecycle.soft();
    lifecycle.spawn("uplink", async move { Ok(uplink.run(soft).await?) });
    let pairing = PairingParts {
        clock: parts.clock.clone(),
        trust: parts.trust.clone(),
        spool: parts.spool.clone(),
        turns,
        adapter: parts.config.bluetooth.adapters.first().cloned().unwrap_or_default(),
        bus: None,
    };
    let (pairing, pairing_task) = Pairing::new(pairing, lifecycle.soft());
    lifecycle.spawn("pairing", pairing_task);
    let staff = Staff::new(parts.clone(), pairing, staff_token.to_owned());
    let kiosk = Kiosk::new(parts.clone(), Arc::new(RuleSet::cn_2024()), lifecycle.soft());
    lifecycle.spawn("kiosk", kiosk.clone().run(lifecycle.soft()));
    lifecycle.spawn("http", serve(listener, router(parts, kiosk, staff), lifecycle.soft()));
}

/// Everything that is served on the kiosk's port.
fn router(parts: &Parts, kiosk: Kiosk, staff: Staff) -> Router {
    let pages = status::router(parts.clone())
        .merge(kiosk::routes(kiosk))
        .merge(staff::routes(staff))
        .fallback(kiosk::not_found);
    pages.layer(middleware::from_fn(only_to_loopback_names))
}

/// A page from elsewhere that the kiosk's browser has open must not reach this port under its own name.
async fn only_to_loopback_names(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    if host.is_some_and(is_loopback_name) {
        next.run(request).await
    } else {
        StatusCode::MISDIRECTED_REQUEST.into_response()
    }
}

fn is_loopback_name(host: &str) -> bool {
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    let name = host.rsplit_once(':').map_or(
        host,
        |(name, port)| if port.parse::<u16>().is_ok() { name } else { host },
    );
    name == "localhost"
        || name
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

async fn serve(listener: TcpListener, router: Router, soft: CancellationToken) -> anyhow::Result<()> {
    let stop = soft.clone();
    let server = axum::serve(listener, router).with_graceful_shutdown(async move { stop.cancelled().await });
    let grace = async {
        soft.cancelled().await;
        tokio::time::sleep(HTTP_GRACE).await;
    };
    tokio::select! {
        served = server => served.context("cannot serve the kiosk's port"),
        () = grace => Ok(()),
    }
}

/// What is due now and then: the desk's clock, expiry, bounds, the emptying of the log.
async fn tidy(parts: Parts, soft: CancellationToken) -> anyhow::Result<()> {
    let mut tick = tokio::time::interval(DESK_TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut swept: Option<Duration> = None;
    loop {
        // Both branches are cancel-safe; what is due is awaited outside.
        tokio::select! {
            _ = tick.tick() => {}
            () = soft.cancelled() => return Ok(()),
        }
        tolerate(parts.desk.tick().await)?;
        tolerate(parts.spool.scrub().await)?;
        let now = parts.clock.monotonic();
        if swept.is_none_or(|at| now.saturating_sub(at) >= SWEEP_EVERY) {
            swept = Some(now);
            parts.trust.look_for_marker();
            tolerate(parts.spool.sweep(parts.clock.now(), parts.trust.is_trusted()).await)?;
        }
    }
}

/// Passes on only what cannot be mended by trying again.
fn tolerate<T>(result: Result<T, SpoolError>) -> Result<(), SpoolError> {
    match result {
        Ok(_) => Ok(()),
        Err(error) if error.disposition() == Disposition::Retry => {
            tracing::warn!(error = admit::chain(&error), "tidying waits");
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// The file that says where the daemon answers; goes with it.
struct AddressNote {
    path: PathBuf,
}

impl AddressNote {
    fn write(data_dir: &Path, address: SocketAddr) -> io::Result<Self> {
        let path = data_dir.join(ADDRESS_FILE);
        std::fs::write(&path, format!("{address}\n"))?;
        Ok(Self { path })
    }
}

impl Drop for AddressNote {
    fn drop(&mut self) {
        // A note that stays behind leads `status` to a port where nobody answers, which it takes for what it is.
        std::fs::remove_file(&self.path).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_are_served() {
        for host in [
            "127.0.0.1:8470",
            "127.0.0.1",
            "localhost",
            "localhost:80",
            "[::1]:8470",
            "[::1]",
        ] {
            assert!(is_loopback_name(host), "{host}");
        }
        for host in [
            "",
            "example.org",
            "example.org:8470",
            "127.0.0.1.example.org",
            "192.0.2.1:8470",
            "localhost:x",
        ] {
            assert!(!is_loopback_name(host), "{host}");
        }
    }
}
