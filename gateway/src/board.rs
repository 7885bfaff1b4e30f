//! Where tasks say how they are, for `status`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use carepost_domain::id::MeterId;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::uplink::UplinkStatus;

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
    uplink: watch::Sender<UplinkState>,
    uplink_counts: watch::Sender<Option<UplinkStatus>>,
    capture_stalled: AtomicBool,
}

impl Default for Board {
    fn default() -> Self {
        Self {
            inner: Arc::new(Inner {
                link: watch::channel(LinkState::Starting).0,
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

    /// Says how the Bluetooth side is.
    pub fn set_link(&self, state: LinkState) {
        self.inner.link.send_if_modified(|before| change(before, state));
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

fn change<T: PartialEq>(before: &mut T, after: T) -> bool {
    let changed = *before != after;
    *before = after;
    changed
}
