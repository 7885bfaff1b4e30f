//! What `carepost-gateway status` says: gathered by the daemon, or read from the file when none runs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use carepost_domain::id::GatewayId;
use carepost_domain::quirks::{QuirkTable, Support};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::app::Parts;
use crate::board::{AdapterStatus, LinkState, Nearby, UplinkState};
use crate::clock_trust::Trust;
use crate::spool::{MeterStatus, SpoolError, SpoolStatus};
use crate::uplink::UplinkStatus;

/// Where the daemon answers.
pub const PATH: &str = "/status.json";
/// How long the daemon has to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// Largest answer that is read: thousands of meters.
const MAX_ANSWER_BYTES: u64 = 4 * 1024 * 1024;

/// Everything that is known of a gateway. Counts only: never values, names or bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReport {
    /// Whether a daemon gathered it; otherwise it was read from the file.
    pub running: bool,
    /// Version of the program that gathered it.
    pub version: String,
    /// What only a running daemon knows.
    pub daemon: Option<DaemonStatus>,
    /// What the spool holds; absent if there is no spool yet.
    pub spool: Option<SpoolStatus>,
}

/// What only a running daemon knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonStatus {
    /// The gateway.
    pub gateway: GatewayId,
    /// The Bluetooth side.
    pub link: LinkState,
    /// Every adapter that was there since the start; absent in reports of older programs.
    #[serde(default)]
    pub adapters: Vec<AdapterStatus>,
    /// Meters around that nobody registered.
    #[serde(default)]
    pub nearby: NearbyStatus,
    /// The way to the server.
    pub uplink: UplinkState,
    /// What the uplink counted since the start; absent in reports of older programs.
    #[serde(default)]
    pub uplink_counts: Option<UplinkStatus>,
    /// The clock.
    pub clock: Trust,
    /// Packets wait because they cannot be written down.
    pub capture_stalled: bool,
}

/// Meters around that nobody registered: counts, and families of those that only speak a protocol of their maker's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NearbyStatus {
    /// That could be registered.
    pub unregistered: u64,
    /// That are recognised and cannot be read, by family.
    pub unsupported: BTreeMap<String, u64>,
}

impl NearbyStatus {
    fn of(nearby: &[Nearby]) -> Self {
        let mut status = Self::default();
        for meter in nearby {
            let quirk = meter.quirk.as_ref().and_then(|id| QuirkTable::current().by_id(id));
            match (meter.support, quirk) {
                (Support::RecognisedUnsupported, Some(quirk)) => {
                    *status.unsupported.entry(quirk.family.clone()).or_default() += 1;
                }
                _ => status.unregistered += 1,
            }
        }
        status
    }
}

/// Gathers the report inside the daemon.
///
/// # Errors
/// When the spool cannot be counted.
pub async fn gather(parts: &Parts) -> Result<StatusReport, SpoolError> {
    Ok(StatusReport {
        running: true,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        daemon: Some(DaemonStatus {
            gateway: parts.identity.gateway(),
            link: parts.board.link(),
            adapters: parts.board.adapters(),
            nearby: NearbyStatus::of(&parts.board.nearby(parts.clock.monotonic())),
            uplink: parts.board.uplink(),
            uplink_counts: parts.board.uplink_counts(),
            clock: parts.trust.trust(),
            capture_stalled: parts.board.capture_stalled(),
        }),
        spool: Some(parts.spool.status().await?),
    })
}

/// Serves [`PATH`].
pub fn router(parts: Parts) -> Router {
    Router::new().route(PATH, get(answer)).with_state(parts)
}

async fn answer(State(parts): State<Parts>) -> Response {
    match gather(&parts).await {
        Ok(report) => Json(report).into_response(),
        Err(error) => {
            tracing::error!(error = crate::admit::chain(&error), "status cannot be gathered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Asks a running daemon. `None` if none answers there.
pub async fn ask(address: SocketAddr) -> Option<StatusReport> {
    timeout(ANSWER, fetch(address)).await.ok().flatten()
}

async fn fetch(address: SocketAddr) -> Option<StatusReport> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!("GET {PATH} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer).await.ok()?;
    let text = String::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut words = head.split(' ');
    match (words.next(), words.next()) {
        (Some("HTTP/1.1"), Some("200")) => serde_json::from_str(body).ok(),
        _ => None,
    }
}

/// Reads what the file in `data_dir` holds, without a daemon.
///
/// # Errors
/// When the file is there and cannot be read.
pub async fn read(data_dir: &Path) -> Result<StatusReport, crate::spool::OpenError> {
    Ok(StatusReport {
        running: false,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        daemon: None,
        spool: crate::spool::Spool::status_of_file(data_dir).await?,
    })
}

/// The report in words.
#[must_use]
pub fn in_words(report: &StatusReport) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    write(&mut text, report).expect("a String takes all text");
    text
}

fn write(text: &mut String, report: &StatusReport) -> std::fmt::Result {
    match &report.daemon {
        Some(daemon) => {
            writeln!(text, "Gateway        {}", daemon.gateway)?;
            writeln!(text, "Bluetooth      {}", link_in_words(&daemon.link))?;
            for adapter in &daemon.adapters {
                writeln!(text, "  {:<12} {}", adapter.name, link_in_words(&adapter.state))?;
            }
            if daemon.nearby.unregistered > 0 {
                writeln!(
                    text,
                    "  {} meters around that nobody registered",
                    daemon.nearby.unregistered
                )?;
            }
            for (family, meters) in &daemon.nearby.unsupported {
                writeln!(text, "  recognised, unsupported: {family} ({meters})")?;
            }
            writeln!(text, "Server         {}", uplink_in_words(&daemon.uplink))?;
            if let Some(counts) = &daemon.uplink_counts {
                writeln!(
                    text,
                    "Batches        {} sent, {} of them again; {} receipts",
                    counts.batches_sent, counts.batches_resent, counts.receipts
                )?;
            }
            writeln!(text, "Clock          {}", clock_in_words(daemon.clock))?;
            if daemon.capture_stalled {
                writeln!(
                    text,
                    "Disk           full or locked: new readings wait. Free some space."
                )?;
            }
        }
        None => writeln!(text, "The daemon is not running. This is what its file holds.")?,
    }
    let Some(spool) = &report.spool else {
        return writeln!(text, "There is no spool yet: the daemon has never run here.");
    };
    writeln!(text, "Spooled        {}", spool.spooled)?;
    writeln!(text, "Outbox         {} ({} live)", spool.outbox, spool.outbox_live)?;
    match spool.oldest_captured_at {
        Some(at) => writeln!(text, "Oldest         {}", at.format("%Y-%m-%d %H:%M:%S UTC"))?,
        None => writeln!(text, "Oldest         none")?,
    }
    match spool.last_receipt_at {
        Some(at) => writeln!(
            text,
            "Receipts       {} delivered, last at {}",
            spool.delivered,
            at.format("%Y-%m-%d %H:%M:%S UTC")
        )?,
        None => writeln!(text, "Receipts       {} delivered", spool.delivered)?,
    }
    writeln!(text, "Sealed         {}", spool.sealed)?;
    writeln!(text, "Quarantined    {}", spool.quarantined)?;
    for (reason, rows) in &spool.quarantine_reasons {
        writeln!(text, "  {reason:<24} {rows}")?;
    }
    writeln!(text, "Possible gaps  {}", spool.possible_gaps)?;
    writeln!(
        text,
        "Copy           version {}, {} members, {} meters",
        spool.down_version,
        spool.members,
        spool.meters.len()
    )?;
    for meter in &spool.meters {
        let model = if meter.model.is_empty() {
            "unknown model"
        } else {
            &meter.model
        };
        let seen = meter.last_link_at.map_or_else(
            || "never".to_owned(),
            |at| at.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
        );
        write!(
            text,
            "  {} {} {}, last connected {seen}, {} records",
            meter.id, meter.role, model, meter.records
        )?;
        match meter.possible_gaps {
            0 => writeln!(text)?,
            gaps => writeln!(text, ", {gaps} possible gaps: check the cuff's own memory")?,
        }
        write_meter(text, meter)?;
    }
    writeln!(text, "Counted")?;
    for (name, value) in spool.counters.iter().filter(|(_, value)| **value > 0) {
        writeln!(text, "  {name:<24} {value}")?;
    }
    Ok(())
}

/// What is worth knowing of a meter that does not simply work.
fn write_meter(text: &mut String, meter: &MeterStatus) -> std::fmt::Result {
    let mut facts = Vec::new();
    if let Some(skew_ms) = meter.skew_ms {
        let seconds = skew_ms / 1_000;
        let way = if seconds < 0 { "ahead" } else { "behind" };
        facts.push(format!("clock {} s {way}", seconds.abs()));
    }
    if let Some(firmware) = &meter.firmware {
        facts.push(format!("firmware {firmware}"));
    }
    if let Some(quirk) = &meter.quirk {
        facts.push(format!("known as {quirk}"));
    }
    for (what, number) in [
        ("links", meter.links),
        ("interrupted", meter.interrupted),
        ("sent again", meter.duplicates),
        ("of no use", meter.rejects),
        ("not connected", meter.connect_failures),
    ] {
        if number > 0 {
            facts.push(format!("{what} {number}"));
        }
    }
    if !facts.is_empty() {
        writeln!(text, "    {}", facts.join(", "))?;
    }
    match &meter.last_failure {
        Some(reason) => writeln!(text, "    last failure: {reason}"),
        None => Ok(()),
    }
}

fn link_in_words(state: &LinkState) -> String {
    match state {
        LinkState::Starting => "starting".to_owned(),
        LinkState::NoBus { detail } => format!("no Bluetooth service ({detail}). Start bluetoothd."),
        LinkState::SpoolWaits { detail } => format!("no meter is read ({detail}). Make room on the disk."),
        LinkState::NoAdapter => "no adapter. Plug one in, or correct bluetooth.adapters.".to_owned(),
        LinkState::AdapterOff => "adapter switched off. Switch it on: bluetoothctl power on.".to_owned(),
        LinkState::Scanning => "listening for meters".to_owned(),
        LinkState::Lent => "in use for pairing a meter".to_owned(),
        LinkState::Connecting { meter } => format!("connecting meter {meter}"),
        LinkState::Reading { meter } => format!("reading meter {meter}"),
        LinkState::Stopped => "stopped".to_owned(),
    }
}

fn uplink_in_words(state: &UplinkState) -> String {
    match state {
        UplinkState::Starting => "starting".to_owned(),
        UplinkState::Connecting => "connecting".to_owned(),
        UplinkState::Connected { since } => format!("connected since {}", since.format("%Y-%m-%d %H:%M:%S UTC")),
        UplinkState::Down { since, detail } => format!(
            "not connected since {} ({detail})",
            since.format("%Y-%m-%d %H:%M:%S UTC")
        ),
    }
}

fn clock_in_words(trust: Trust) -> String {
    match trust {
        Trust::Unconfirmed => "not confirmed yet: readings are marked so".to_owned(),
        Trust::Synchronised => "set by the time service".to_owned(),
        Trust::Confirmed { off_ms } => format!("confirmed by the server ({off_ms} ms apart)"),
        Trust::Wrong { off_ms } => format!("wrong: {off_ms} ms apart from the server's. Set it."),
    }
}
