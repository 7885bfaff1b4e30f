//! Keeps a scanner at work on every adapter that may be used, and finds the way to the bus anew when it is lost.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use btleplug::api::{Central as _, Manager as _};
use btleplug::platform::{Adapter, Manager};
use carepost_daemon::CancellationToken;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::capture::Message;
use super::claims::Claims;
use super::scan::Scanner;
use super::watch::{News, follow};
use super::{LinkFault, LinkParts, within};
use crate::admit::chain;
use crate::board::{LinkState, MAX_ADAPTERS};

/// Longest pause before the way to an adapter is built anew.
const REBUILD_MAX: Duration = Duration::from_secs(60);
/// How often the adapters are listed while one works, so that another that was plugged in is found.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Runs until `soft` is cancelled and every meter in hand is finished.
pub(super) async fn run(
    parts: LinkParts,
    packets: mpsc::Sender<Message>,
    soft: CancellationToken,
    hard: CancellationToken,
) -> anyhow::Result<()> {
    let (news, heard) = watch::channel(News::default());
    let supervisor = Supervisor {
        pause: Duration::from_millis(parts.settings.rebuild_ms),
        stop: soft.child_token(),
        parts,
        packets,
        hard,
        heard,
        claims: Claims::default(),
        manager: None,
        working: JoinSet::new(),
        names: BTreeMap::new(),
        resting: HashMap::new(),
    };
    let mut work = std::pin::pin!(supervisor.run());
    // Who follows the bus ends with `soft` and is only polled here; the work is awaited to its end in any case.
    tokio::select! {
        result = &mut work => return result,
        () = follow(news, soft) => {}
    }
    work.await
}

struct Supervisor {
    parts: LinkParts,
    packets: mpsc::Sender<Message>,
    /// Soft stop of the scanners.
    stop: CancellationToken,
    hard: CancellationToken,
    heard: watch::Receiver<News>,
    claims: Claims,
    /// The connection to the bus that the scanners share.
    manager: Option<Manager>,
    working: JoinSet<(String, Result<(), LinkFault>)>,
    /// Adapters that a scanner works on, with since when.
    names: BTreeMap<String, Instant>,
    /// Adapters that failed: when to try again, and the pause before that.
    resting: HashMap<String, (Instant, Duration)>,
    /// Pause while no adapter works at all.
    pause: Duration,
}

impl Supervisor {
    async fn run(mut self) -> anyhow::Result<()> {
        let result = self.keep_at_work().await;
        // Meters in hand are finished, whatever happened elsewhere.
        self.stop.cancel();
        while self.working.join_next().await.is_some() {}
        self.parts.board.set_link(LinkState::Stopped);
        result
    }

    async fn keep_at_work(&mut self) -> anyhow::Result<()> {
        let soft = self.stop.clone();
        while !soft.is_cancelled() {
            let looked = tokio::select! {
                looked = look(&mut self.manager, &self.parts) => looked,
                () = soft.cancelled() => return Ok(()),
            };
            self.heard.mark_unchanged();
            match looked {
                Ok(found) => self.put_to_work(found),
                Err(fault) => self.without_bus(&fault)?,
            }
            let now = Instant::now();
            let again = now + if self.names.is_empty() { self.pause } else { LOOK_EVERY };
            // An adapter that rests is tried again when its rest is over.
            let rested = self.resting.values().map(|(at, _)| *at).filter(|at| *at > now);
            let again = rested.fold(again, Instant::min);
            // All branches are cancel-safe.
            tokio::select! {
                Some(ended) = self.working.join_next() => self.ended(ended)?,
                () = sleep_until(again) => {}
                // The service has come, or an adapter went: look at once.
                Ok(()) = self.heard.changed() => {}
                () = soft.cancelled() => return Ok(()),
            }
        }
        Ok(())
    }

    /// Starts a scanner on every adapter that has none and is not resting.
    fn put_to_work(&mut self, found: Vec<(String, Adapter)>) {
        let now = Instant::now();
        for name in &self.parts.settings.adapters {
            if !found.iter().any(|(there, _)| there == name) && !self.names.contains_key(name) {
                self.parts.board.set_adapter(name, LinkState::NoAdapter);
            }
        }
        for known in self.parts.board.adapters() {
            if !found.iter().any(|(there, _)| *there == known.name) && !self.names.contains_key(&known.name) {
                self.parts.board.set_adapter(&known.name, LinkState::NoAdapter);
            }
        }
        if found.is_empty() && self.names.is_empty() {
            if self.parts.board.link() != LinkState::NoAdapter {
                tracing::warn!("there is no bluetooth adapter; meters cannot be read");
                self.parts.board.set_link(LinkState::NoAdapter);
            }
            self.pause = (self.pause * 2).min(REBUILD_MAX);
            return;
        }
        for (name, adapter) in found {
            let rests = self.resting.get(&name).is_some_and(|(until, _)| now < *until);
            if rests || self.names.contains_key(&name) || self.names.len() >= MAX_ADAPTERS {
                continue;
            }
            let mut scanner = Scanner::new(
                self.parts.clone(),
                self.packets.clone(),
                self.stop.clone(),
                self.hard.clone(),
                name.clone(),
                self.claims.clone(),
                self.heard.clone(),
            );
            self.names.insert(name.clone(), now);
            self.pause = Duration::from_millis(self.parts.settings.rebuild_ms);
            self.working.spawn(async move {
                let result = scanner.operate(&adapter).await;
                (name, result)
            });
        }
    }

    /// The bus or its Bluetooth service does not answer. Scanners that still work find that out by themselves.
    fn without_bus(&mut self, fault: &LinkFault) -> anyhow::Result<()> {
        self.manager = None;
        if self.names.is_empty() {
            self.say(fault, None);
            self.pause = (self.pause * 2).min(REBUILD_MAX);
        }
        Ok(())
    }

    fn ended(&mut self, ended: Result<(String, Result<(), LinkFault>), JoinError>) -> anyhow::Result<()> {
        let (name, result) = ended?;
        self.claims.release(&name);
        let since = self.names.remove(&name);
        // Without a fault, only a stop ends a scanner.
        let Err(fault) = result else { return Ok(()) };
        if !fault.may_pass() {
            return Err(fault.into());
        }
        let first = Duration::from_millis(self.parts.settings.rebuild_ms);
        let lasted = since.is_some_and(|since| since.elapsed() > REBUILD_MAX);
        let pause = match self.resting.get(&name) {
            Some((_, before)) if !lasted => (*before * 2).min(REBUILD_MAX),
            _ => first,
        };
        self.resting.insert(name.clone(), (Instant::now() + pause, pause));
        let now = Instant::now();
        // One whose rest is over for long has not failed again: what comes now is a new story.
        self.resting
            .retain(|_, (at, _)| now.saturating_duration_since(*at) <= REBUILD_MAX);
        self.say(&fault, Some(&name));
        Ok(())
    }

    fn say(&self, fault: &LinkFault, adapter: Option<&str>) {
        let state = fault.state();
        let board = &self.parts.board;
        let before = adapter.map_or_else(|| Some(board.link()), |name| board.adapter(name));
        if before.as_ref() != Some(&state) {
            let name = adapter.unwrap_or_default();
            tracing::warn!(
                adapter = name,
                error = chain(fault),
                "meters cannot be read; trying again"
            );
            match adapter {
                Some(name) => board.set_adapter(name, state),
                None => board.set_link(state),
            }
        }
    }
}

/// The adapters that may be used and are there. Makes the connection to the bus if there is none.
async fn look(manager: &mut Option<Manager>, parts: &LinkParts) -> Result<Vec<(String, Adapter)>, LinkFault> {
    let limit = parts.settings.probe_ms;
    let bus = match manager.take() {
        Some(bus) => bus,
        None => within(limit, "reach the bluetooth service", Manager::new()).await?,
    };
    let adapters = within(limit, "list bluetooth adapters", bus.adapters()).await?;
    let mut found = Vec::new();
    for adapter in adapters {
        // One that cannot be asked has just gone.
        let Ok(info) = within(limit, "ask for the adapter's name", adapter.adapter_info()).await else {
            continue;
        };
        // "hci0 (usb:v1D6Bp0246d0540)".
        let name = info.split(' ').next().unwrap_or_default().to_owned();
        if parts.settings.adapters.is_empty() || parts.settings.adapters.contains(&name) {
            found.push((name, adapter));
        }
    }
    *manager = Some(bus);
    Ok(found)
}
