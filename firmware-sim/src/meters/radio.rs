//! What every meter's radio does alike: the advertising window, the link, client configurations, the idle timeout.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Uuid16;
use crate::SimTime;

/// When a meter advertises and how long it keeps an idle link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RadioSettings {
    /// Advertises whenever it is not connected; otherwise only in its window.
    pub always_advertises: bool,
    /// How long the window stays open after a measurement or the transfer key.
    pub advertising_window: Duration,
    /// A link without traffic for this long is closed by the meter.
    pub idle_disconnect: Duration,
    /// Client configurations survive the link, as on a bonded meter.
    pub keeps_subscriptions: bool,
}

/// The state of the radio.
#[derive(Clone, Debug)]
pub(crate) struct Radio {
    settings: RadioSettings,
    window_until: Option<SimTime>,
    idle_at: Option<SimTime>,
    subscribed: BTreeSet<Uuid16>,
}

impl Radio {
    pub(crate) fn new(settings: RadioSettings) -> Self {
        Self {
            settings,
            window_until: None,
            idle_at: None,
            subscribed: BTreeSet::new(),
        }
    }

    pub(crate) fn open_window(&mut self, now: SimTime) {
        self.window_until = Some(now.saturating_add(self.settings.advertising_window));
    }

    pub(crate) fn close_window(&mut self) {
        self.window_until = None;
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.idle_at.is_some()
    }

    pub(crate) fn is_advertising(&self, now: SimTime) -> bool {
        let in_window = self.window_until.is_some_and(|until| now < until);
        !self.is_connected() && (self.settings.always_advertises || in_window)
    }

    pub(crate) fn connected(&mut self, now: SimTime) {
        self.traffic_at(now);
        if !self.settings.keeps_subscriptions {
            self.subscribed.clear();
        }
    }

    pub(crate) fn disconnected(&mut self) {
        self.idle_at = None;
        if !self.settings.keeps_subscriptions {
            self.subscribed.clear();
        }
    }

    /// Restarts the idle timeout, on any traffic of a live link.
    pub(crate) fn traffic(&mut self, now: SimTime) {
        if self.is_connected() {
            self.traffic_at(now);
        }
    }

    fn traffic_at(&mut self, now: SimTime) {
        self.idle_at = Some(now.saturating_add(self.settings.idle_disconnect));
    }

    pub(crate) fn subscribe(&mut self, characteristic: Uuid16, enabled: bool) {
        if enabled {
            self.subscribed.insert(characteristic);
        } else {
            self.subscribed.remove(&characteristic);
        }
    }

    pub(crate) fn is_subscribed(&self, characteristic: Uuid16) -> bool {
        self.is_connected() && self.subscribed.contains(&characteristic)
    }

    /// The client configuration as stored, which may be set while there is no link.
    pub(crate) fn configuration(&self, characteristic: Uuid16) -> bool {
        self.subscribed.contains(&characteristic)
    }

    /// Whether the link has been idle for too long.
    pub(crate) fn is_idle(&self, now: SimTime) -> bool {
        self.idle_at.is_some_and(|at| at <= now)
    }

    pub(crate) fn deadline(&self) -> Option<SimTime> {
        self.idle_at
    }
}
