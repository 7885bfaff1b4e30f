//! What there is: adapters, meters, what each adapter knows of each meter, and the totals.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::NaiveDateTime;
use zbus::message::Message;

use super::filter::DiscoveryFilter;
use super::pairing::Pairing;
use crate::SimTime;
use crate::meters::{Advertisement, Level, Meter, Security, SecuritySettings, Uuid16};

/// Timing and adapters.
#[derive(Clone, Debug)]
pub(crate) struct HostSettings {
    /// The adapters, at least one.
    pub(crate) adapters: Vec<AdapterSettings>,
    /// Time between two advertisements of a meter.
    pub(crate) advertising_interval: Duration,
    /// From an advertisement to the link.
    pub(crate) connect_delay: Duration,
    /// From the link to the end of service discovery.
    pub(crate) resolve_delay: Duration,
    /// How long a connection attempt waits for an advertisement.
    pub(crate) connect_timeout: Duration,
    /// How long an unseen device stays known.
    pub(crate) temporary_timeout: Duration,
    /// How long a pairing waits for a person on either side.
    pub(crate) pairing_timeout: Duration,
    /// Seed of passkeys and addresses.
    pub(crate) seed: u64,
    /// Local time at simulated time zero, for clocks that are right.
    pub(crate) local_at_start: NaiveDateTime,
}

/// An adapter as configured.
#[derive(Clone, Debug)]
pub(crate) struct AdapterSettings {
    /// Name of the controller as in its object path, for example `hci0`.
    pub(crate) controller: String,
    /// The adapter's address.
    pub(crate) address: String,
    /// The adapter's friendly name.
    pub(crate) name: String,
    /// Device ID of the host.
    pub(crate) modalias: String,
}

/// An adapter.
#[derive(Debug)]
pub(crate) struct Adapter {
    pub(crate) settings: AdapterSettings,
    pub(crate) alias: Option<String>,
    /// Plugged in.
    pub(crate) present: bool,
    pub(crate) powered: bool,
    /// Powered off by a switch that D-Bus clients cannot override (rfkill).
    pub(crate) blocked: bool,
    pub(crate) discoverable: bool,
    pub(crate) pairable: bool,
    pub(crate) filters: BTreeMap<String, DiscoveryFilter>,
    pub(crate) discovering: BTreeSet<String>,
}

impl Adapter {
    pub(super) fn new(settings: AdapterSettings) -> Self {
        Self {
            settings,
            alias: None,
            present: true,
            powered: true,
            blocked: false,
            discoverable: false,
            pairable: false,
            filters: BTreeMap::new(),
            discovering: BTreeSet::new(),
        }
    }

    /// On, and scanning for somebody.
    pub(super) fn is_scanning(&self) -> bool {
        self.is_on() && !self.discovering.is_empty()
    }

    pub(crate) fn is_on(&self) -> bool {
        self.present && self.powered
    }

    pub(super) fn active_filters(&self) -> impl Iterator<Item = &DiscoveryFilter> {
        self.discovering
            .iter()
            .map(|client| self.filters.get(client).unwrap_or(DiscoveryFilter::everything()))
    }
}

/// A meter and how its radio looks.
#[derive(Debug)]
pub(crate) struct UnitSettings {
    /// Name in the control protocol.
    pub(crate) id: String,
    /// Identity address, upper case with colons.
    pub(crate) address: String,
    /// `public` or `random`.
    pub(crate) address_type: &'static str,
    /// Received signal strength in dBm.
    pub(crate) rssi: i16,
    /// Whether it is in range at the start.
    pub(crate) in_range: bool,
    /// The adapters that hear it, by position.
    pub(crate) heard_by: Vec<usize>,
    /// How often it changes its address, if it does.
    pub(crate) rotation: Option<Duration>,
    /// How it pairs.
    pub(crate) security: SecuritySettings,
    /// The meter.
    pub(crate) meter: Meter,
}

/// What a meter is without its fault profiles.
#[derive(Debug)]
pub(crate) struct Plain {
    pub(crate) security: SecuritySettings,
    pub(crate) rotation: Option<Duration>,
    pub(crate) identity_type: &'static str,
}

/// A meter in the neighbourhood.
#[derive(Debug)]
pub(crate) struct Unit {
    pub(crate) id: String,
    pub(crate) identity: String,
    pub(crate) identity_type: &'static str,
    /// The address in its advertisements.
    pub(crate) on_air: String,
    pub(crate) rssi: i16,
    pub(crate) in_range: bool,
    pub(crate) heard_by: Vec<usize>,
    pub(crate) rotation: Option<Duration>,
    pub(crate) rotate_at: Option<SimTime>,
    pub(crate) plain: Plain,
    pub(crate) security: Security,
    pub(crate) meter: Meter,
    /// The peer that has the link.
    pub(crate) link: Option<usize>,
    /// Values that may still be sent before the link is dropped.
    pub(crate) drop_after: Option<u32>,
}

impl Unit {
    /// Whether it sends advertisements: the meter wants to, or a person has put it into its pairing mode.
    pub(crate) fn is_advertising(&self, now: SimTime) -> bool {
        self.link.is_none() && (self.meter.is_advertising(now) || self.security.in_pairing_mode(now))
    }

    /// What its advertisements say now.
    pub(super) fn advertisement(&self, now: SimTime) -> Advertisement {
        let pairing_name = self.security.settings().pairing_name.as_str();
        let name = if self.security.in_pairing_mode(now) && !pairing_name.is_empty() {
            pairing_name
        } else {
            self.meter.identity().local_name.as_str()
        };
        self.meter.advertisement(name)
    }
}

/// An address of a meter as one adapter may know it.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) adapter: usize,
    pub(crate) unit: usize,
    pub(crate) address: String,
    pub(crate) address_type: &'static str,
    /// Whether the meter still uses this address, or an address that BlueZ resolves to it.
    pub(crate) alive: bool,
    /// What BlueZ knows of it, if anything.
    pub(crate) device: Option<Device>,
    pub(crate) next_advertisement: SimTime,
}

/// A `Device1` object.
#[derive(Debug)]
pub(crate) struct Device {
    /// Its object path, which stays when the address changes.
    pub(crate) path: String,
    pub(crate) name: String,
    pub(crate) alias: Option<String>,
    pub(crate) trusted: bool,
    pub(crate) blocked: bool,
    /// The bond of BlueZ: whether its key is authenticated.
    pub(crate) bond: Option<bool>,
    /// `Paired` is signalled once services are resolved.
    pub(crate) paired_untold: bool,
    /// `Pair` is answered once services are resolved.
    pub(crate) pair_reply: Option<Message>,
    pub(crate) pairing: Option<Box<Pairing>>,
    pub(crate) link: Link,
    pub(crate) rssi: Option<i16>,
    pub(crate) advertising_flags: Option<u8>,
    pub(crate) last_seen: SimTime,
    /// Whether GATT objects are on the bus. They stay when the link goes, until the device is removed.
    pub(crate) exported: bool,
    /// Notification sessions by characteristic.
    pub(crate) sessions: BTreeMap<Uuid16, Vec<Session>>,
    /// Values last read or received.
    pub(crate) values: BTreeMap<Uuid16, Vec<u8>>,
}

impl Device {
    pub(crate) fn new(path: String, name: String, now: SimTime) -> Self {
        Self {
            path,
            name,
            alias: None,
            trusted: false,
            blocked: false,
            bond: None,
            paired_untold: false,
            pair_reply: None,
            pairing: None,
            link: Link::Down,
            rssi: None,
            advertising_flags: None,
            last_seen: now,
            exported: false,
            sessions: BTreeMap::new(),
            values: BTreeMap::new(),
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        matches!(self.link, Link::Up { .. })
    }

    pub(crate) fn is_resolved(&self) -> bool {
        matches!(self.link, Link::Up { resolved: true, .. })
    }

    /// Whether BlueZ keeps it without seeing it.
    pub(crate) fn is_kept(&self) -> bool {
        self.trusted || self.bond.is_some()
    }
}

/// A notification session of one D-Bus client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) client: String,
    /// The configuration write is not answered yet.
    pub(crate) pending: bool,
    /// It never will be on this link.
    pub(crate) unanswered: bool,
}

/// The link to a device.
#[derive(Debug)]
pub(crate) enum Link {
    Down,
    /// Waiting for an advertisement, then for the link.
    Connecting {
        /// The call that waits; none when `Pair` connects.
        call: Option<Message>,
        until: SimTime,
        ready_at: Option<SimTime>,
    },
    /// Up, with service discovery under way while there is a time in `resolve_at`.
    Up {
        resolve_at: Option<SimTime>,
        resolved: bool,
        level: Level,
    },
}

/// Totals since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Counters {
    /// Advertisements that a scanning adapter heard.
    pub advertisements: u64,
    /// Signals about the strength of an advertisement: fewer, because BlueZ puts together what comes together.
    pub rssi_signals: u64,
    /// Links that came up.
    pub connections: u64,
    /// Links that went down.
    pub disconnections: u64,
    /// Pairings that ended with a bond.
    pub pairings: u64,
    /// Pairings that did not.
    pub failed_pairings: u64,
    /// Values sent without confirmation.
    pub notifications: u64,
    /// Values sent and confirmed, control point answers included.
    pub indications: u64,
    /// Values of either kind that no D-Bus client listened to.
    pub unheard: u64,
    /// Requests that a meter answered with an ATT error.
    pub att_errors: u64,
    /// D-Bus calls answered with an error.
    pub bus_errors: u64,
    /// How often a fault of the host acted.
    pub host_faults: u64,
}
