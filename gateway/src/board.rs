//! Where tasks say how they are, for `status`.

mod nearby;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use carepost_domain::id::MeterId;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use nearby::NearbyList;
pub use nearby::{MAX_NEARBY, NEARBY_FOR, Nearby};

use crate::uplink::UplinkStatus;

/// Adapters that are shown; no machine has so many.
pub const MAX_ADAPTERS: usize = 16;

/// How the Bluetooth side is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum LinkState {
    /// Not there yet.
    Starting,
    /// The bus or the Bluetooth service does not answer.
    NoBus {
        /// What went wrong.
        detail: String,
    },
    /// The spool cannot be written to for now, so that no meter is read.
    SpoolWaits {
        /// What went wrong.
        detail: String,
    },
    /// The Bluetooth service has no such adapter.
    NoAdapter,
    /// The adapter is switched off.
    AdapterOff,
    /// Listening for meters, or resting between two scans.
    Scanning,
    /// Left to somebody who pairs a meter.
    Lent,
    /// Connecting a meter.
    Connecting {
        /// Which.
        meter: MeterId,
    },
    /// Reading a meter.
    Reading {
        /// Which.
        meter: MeterId,
    },
    /// The program stops.
    Stopped,
}

impl LinkState {
    /// How much it says about the whole: the lowest of all adapters' states is shown.
    const fn rank(&self) -> u8 {
        match self {
            Self::Reading { .. } => 0,
            Self::Connecting { .. } => 1,
            Self::Scanning => 2,
            Self::Lent => 3,
            Self::SpoolWaits { .. } => 4,
            Self::AdapterOff => 5,
            Self::NoAdapter => 6,
            Self::NoBus { .. } => 7,
            Self::Starting => 8,
            Self::Stopped => 9,
        }
    }
}

/// How one adapter is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdapterStatus {
    /// Its name, such as `hci0`.
    pub name: String,
    /// How it is.
    #[serde(flatten)]
    pub state: LinkState,
}

/// How the way to the server is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum UplinkState {
    /// Not there yet.
    Starting,
    /// Trying to connect.
    Connecting,
    /// Connected, and the server has answered hello.
    Connected {
        /// Since when.
        since: DateTime<Utc>,
    },
    /// Not connected.
    Down {
        /// Since when.
        since: DateTime<Utc>,
        /// What went wrong.
        detail: String,
    },
}

/// The board. Cloning is cheap; clones share it.
#[derive(Debug, Clone)]
pub struct Board {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    link: watch::Sender<LinkState>,
    adapters: Mutex<BTreeMap<String, LinkState>>,
    nearby: Mutex<NearbyList>,
    uplink: watch::Sender<UplinkState>,
    uplink_counts: watch::Sender<Option<UplinkStatus>>,
    capture_stalled: AtomicBool,
}

impl Default for Board {
    fn default() -> Self {
        Self {
            inner: Arc::new(Inner {
                link: watch::channel(LinkState::Starting).0,
                adapters: Mutex::default(),
                nearby: Mutex::default(),
                uplink: watch::channel(UplinkState::Starting).0,
                uplink_counts: watch::channel(None).0,
                capture_stalled: AtomicBool::new(false),
            }),
        }
    }
}

impl Board {
    /// How the Bluetooth side is.
    #[must_use]
    pub fn link(&self) -> LinkState {
        self.inner.link.borrow().clone()
    }

    /// Follows how the Bluetooth side is.
    #[must_use]
    pub fn watch_link(&self) -> watch::Receiver<LinkState> {
        self.inner.link.subscribe()
    }

    /// Says how the Bluetooth side is as a whole, every adapter included.
    pub fn set_link(&self, state: LinkState) {
        let mut adapters = lock(&self.inner.adapters);
        for before in adapters.values_mut() {
            before.clone_from(&state);
        }
        self.inner.link.send_if_modified(|before| change(before, state));
    }

    /// Says how one adapter is. The whole is as its best adapter.
    pub fn set_adapter(&self, name: &str, state: LinkState) {
        let mut adapters = lock(&self.inner.adapters);
        if !adapters.contains_key(name) && adapters.len() >= MAX_ADAPTERS {
            return;
        }
        adapters.insert(name.to_owned(), state);
        let best = adapters.values().min_by_key(|state| state.rank()).cloned();
        if let Some(best) = best {
            self.inner.link.send_if_modified(|before| change(before, best));
        }
    }

    /// How one adapter is, if it was ever there.
    #[must_use]
    pub fn adapter(&self, name: &str) -> Option<LinkState> {
        lock(&self.inner.adapters).get(name).cloned()
    }

    /// How every adapter is that was there since the start, by name.
    #[must_use]
    pub fn adapters(&self) -> Vec<AdapterStatus> {
        let adapters = lock(&self.inner.adapters);
        let one = |(name, state): (&String, &LinkState)| AdapterStatus {
            name: name.clone(),
            state: state.clone(),
        };
        adapters.iter().map(one).collect()
    }

    /// Meters that are around and that nobody registered, the nearest first. `now` is of the monotonic clock.
    #[must_use]
    pub fn nearby(&self, now: Duration) -> Vec<Nearby> {
        lock(&self.inner.nearby).listed(now)
    }

    /// Says that a meter that nobody registered was heard.
    pub fn note_nearby(&self, heard: Nearby) {
        lock(&self.inner.nearby).note(heard);
    }

    /// Says that the meter of this object path is registered now.
    pub fn forget_nearby(&self, path: &str) {
        lock(&self.inner.nearby).forget(path);
    }

    /// How the way to the server is.
    #[must_use]
    pub fn uplink(&self) -> UplinkState {
        self.inner.uplink.borrow().clone()
    }

    /// Follows how the way to the server is.
    #[must_use]
    pub fn watch_uplink(&self) -> watch::Receiver<UplinkState> {
        self.inner.uplink.subscribe()
    }

    /// Says how the way to the server is.
    pub fn set_uplink(&self, state: UplinkState) {
        self.inner.uplink.send_if_modified(|before| change(before, state));
    }

    /// What the uplink counted; absent before it started.
    #[must_use]
    pub fn uplink_counts(&self) -> Option<UplinkStatus> {
        self.inner.uplink_counts.borrow().clone()
    }

    /// Follows what the uplink counted.
    #[must_use]
    pub fn watch_uplink_counts(&self) -> watch::Receiver<Option<UplinkStatus>> {
        self.inner.uplink_counts.subscribe()
    }

    /// Says what the uplink counted.
    pub fn set_uplink_counts(&self, counts: UplinkStatus) {
        self.inner
            .uplink_counts
            .send_if_modified(|before| change(before, Some(counts)));
    }

    /// Whether packets wait because they cannot be written down.
    #[must_use]
    pub fn capture_stalled(&self) -> bool {
        self.inner.capture_stalled.load(Ordering::Relaxed)
    }

    /// Says whether packets wait because they cannot be written down.
    pub fn set_capture_stalled(&self, stalled: bool) {
        self.inner.capture_stalled.store(stalled, Ordering::Relaxed);
    }
}

/// Plain values that are always whole, so that a panic elsewhere cannot have left them half set. Never held over an await.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn change<T: PartialEq>(before: &mut T, after: T) -> bool {
    let changed = *before != after;
    *before = after;
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_is_as_its_best_adapter_and_a_lost_bus_is_the_loss_of_all() {
        let board = Board::default();
        board.set_adapter("hci0", LinkState::Scanning);
        board.set_adapter("hci1", LinkState::AdapterOff);
        assert_eq!(board.link(), LinkState::Scanning);
        board.set_adapter("hci0", LinkState::NoAdapter);
        assert_eq!(board.link(), LinkState::AdapterOff);
        let lost = LinkState::NoBus {
            detail: "gone".to_owned(),
        };
        board.set_link(lost.clone());
        assert_eq!((board.link(), board.adapter("hci1")), (lost.clone(), Some(lost)));
        board.set_adapter("hci1", LinkState::Scanning);
        assert_eq!(board.link(), LinkState::Scanning);
        for n in 2..100 {
            board.set_adapter(&format!("hci{n}"), LinkState::Scanning);
        }
        assert_eq!(board.adapters().len(), MAX_ADAPTERS);
        assert_eq!(
            serde_json::to_value(&board.adapters()[1]).unwrap(),
            serde_json::json!({"name": "hci1", "is": "scanning"})
        );
    }
}
