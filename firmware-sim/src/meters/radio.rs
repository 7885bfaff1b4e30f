//! What every meter's radio does alike: the advertising window, the link, client configurations, when it hangs up.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Uuid16;
use super::faults::{Discoverable, Fault, Faults};
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

/// The rules that a radio follows: its settings with its faults.
#[derive(Clone, Debug)]
struct Rules {
    settings: RadioSettings,
    silent: bool,
    key_only: bool,
    discoverable: Discoverable,
    subscribe_within: Option<Duration>,
    hangs_up_when_clock_set: bool,
    loss_at: Option<u32>,
    other_central: Option<Duration>,
}

impl Rules {
    fn new(settings: &RadioSettings, faults: &Faults) -> Self {
        let pick = |choose: fn(&Fault) -> Option<Duration>| faults.last(choose);
        let mut settings = settings.clone();
        if let Some(window) = pick(|fault| match fault {
            Fault::Window(window) => Some(*window),
            _ => None,
        }) {
            settings.always_advertises = false;
            settings.advertising_window = window;
        }
        settings.always_advertises &= !faults.has(Fault::KeyOnly);
        if let Some(idle) = pick(|fault| match fault {
            Fault::Idle(idle) => Some(*idle),
            _ => None,
        }) {
            settings.idle_disconnect = idle;
        }
        if let Some(keeps) = faults.last(|fault| match fault {
            Fault::KeepsSubscriptions(keeps) => Some(*keeps),
            _ => None,
        }) {
            settings.keeps_subscriptions = keeps;
        }
        Self {
            settings,
            silent: faults.has(Fault::NeverAdvertises),
            key_only: faults.has(Fault::KeyOnly),
            discoverable: faults
                .last(|fault| match fault {
                    Fault::Discoverable(mode) => Some(*mode),
                    _ => None,
                })
                .unwrap_or(Discoverable::General),
            subscribe_within: pick(|fault| match fault {
                Fault::SubscribeWithin(time) => Some(*time),
                _ => None,
            }),
            hangs_up_when_clock_set: faults.has(Fault::HangsUpWhenClockSet),
            loss_at: faults.last(|fault| match fault {
                Fault::LinkLossAt(records) => Some(*records),
                _ => None,
            }),
            other_central: pick(|fault| match fault {
                Fault::OtherCentral { takes, .. } => Some(*takes),
                _ => None,
            }),
        }
    }
}

/// The state of the radio.
#[derive(Clone, Debug)]
pub(crate) struct Radio {
    settings: RadioSettings,
    rules: Rules,
    window_until: Option<SimTime>,
    /// The other central has the link until then.
    taken_until: Option<SimTime>,
    idle_at: Option<SimTime>,
    /// A pairing is under way, which has a time-out of its own.
    pairs: bool,
    subscribe_by: Option<SimTime>,
    hang_up_at: Option<SimTime>,
    lost: bool,
    sent: u32,
    subscribed: BTreeSet<Uuid16>,
}

impl Radio {
    pub(crate) fn new(settings: RadioSettings) -> Self {
        Self {
            rules: Rules::new(&settings, &Faults::none()),
            settings,
            window_until: None,
            taken_until: None,
            idle_at: None,
            pairs: false,
            subscribe_by: None,
            hang_up_at: None,
            lost: false,
            sent: 0,
            subscribed: BTreeSet::new(),
        }
    }

    pub(crate) fn switch(&mut self, faults: &Faults) {
        self.rules = Rules::new(&self.settings, faults);
    }

    /// A measurement was made.
    pub(crate) fn measured(&mut self, now: SimTime) {
        if !self.rules.key_only {
            self.open_window(now);
        }
    }

    /// The transfer key was pressed.
    pub(crate) fn open_window(&mut self, now: SimTime) {
        self.window_until = Some(now.saturating_add(self.rules.settings.advertising_window));
        if let Some(takes) = self.rules.other_central.filter(|_| !self.is_connected()) {
            self.taken_until = Some(now.saturating_add(takes));
        }
    }

    pub(crate) fn close_window(&mut self) {
        self.window_until = None;
    }

    /// Whether the other central's time is over; true once.
    pub(crate) fn other_central_left(&mut self, now: SimTime) -> bool {
        self.taken_until.take_if(|until| *until <= now).is_some()
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.idle_at.is_some()
    }

    pub(crate) fn is_advertising(&self, now: SimTime) -> bool {
        let in_window = self.window_until.is_some_and(|until| now < until);
        !self.is_connected()
            && !self.rules.silent
            && self.taken_until.is_none_or(|until| until <= now)
            && (self.rules.settings.always_advertises || in_window)
    }

    /// The mode in which it advertises.
    pub(crate) fn discoverable(&self) -> Discoverable {
        self.rules.discoverable
    }

    pub(crate) fn connected(&mut self, now: SimTime) {
        self.traffic_at(now);
        self.pairs = false;
        self.subscribe_by = self.rules.subscribe_within.map(|time| now.saturating_add(time));
        self.hang_up_at = None;
        self.lost = false;
        self.sent = 0;
        if !self.rules.settings.keeps_subscriptions {
            self.subscribed.clear();
        }
    }

    pub(crate) fn disconnected(&mut self) {
        self.idle_at = None;
        self.pairs = false;
        self.subscribe_by = None;
        self.hang_up_at = None;
        self.lost = false;
        if !self.rules.settings.keeps_subscriptions {
            self.subscribed.clear();
        }
    }

    /// Restarts the idle timeout, on any traffic of a live link.
    pub(crate) fn traffic(&mut self, now: SimTime) {
        if self.is_connected() {
            self.traffic_at(now);
        }
    }

    /// A pairing began or ended. Until it ends, silence is a person's and not the link's.
    pub(crate) fn pairing(&mut self, now: SimTime, underway: bool) {
        self.pairs = underway && self.is_connected();
        self.traffic(now);
    }

    fn traffic_at(&mut self, now: SimTime) {
        self.idle_at = Some(now.saturating_add(self.rules.settings.idle_disconnect));
    }

    /// A client set the clock, for which some meters wait and then go.
    pub(crate) fn clock_written(&mut self, now: SimTime) {
        if self.rules.hangs_up_when_clock_set {
            self.hang_up_at = Some(now);
        }
    }

    /// A record went through.
    pub(crate) fn record_passed(&mut self) {
        self.sent = self.sent.saturating_add(1);
        self.lost |= self.rules.loss_at.is_some_and(|at| self.sent >= at);
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost
    }

    pub(crate) fn subscribe(&mut self, characteristic: Uuid16, enabled: bool) {
        if enabled {
            self.subscribe_by = None;
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

    /// Whether the meter ends the link now, or loses it.
    pub(crate) fn hangs_up(&self, now: SimTime) -> bool {
        self.is_connected() && (self.lost || self.link_deadlines().any(|at| at <= now))
    }

    fn link_deadlines(&self) -> impl Iterator<Item = SimTime> {
        let idle_at = self.idle_at.filter(|_| !self.pairs);
        [idle_at, self.subscribe_by, self.hang_up_at].into_iter().flatten()
    }

    pub(crate) fn deadline(&self) -> Option<SimTime> {
        self.link_deadlines().chain(self.taken_until).min()
    }
}
