//! Configuration of the simulator. `config/firmware-sim.toml` shows every key with its meaning.

mod machine;
mod validate;

use std::net::SocketAddr;
use std::time::Duration;

use carepost_daemon::{LifecycleSettings, LogSettings};
use serde::{Deserialize, Serialize};

use crate::clock_setting::ClockSetting;
use crate::meters::{AfterConfirm, ClockService, CuffUnit, GlucoseUnit, SecuritySettings};
use crate::peripheral::PeripheralSection;

/// Most meters in one neighbourhood.
pub const MAX_METERS: usize = 256;

/// Most adapters besides the first.
pub const MAX_MORE_ADAPTERS: usize = 7;

/// The whole configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimConfig {
    /// Logs to standard error.
    pub log: LogSettings,
    /// The two-stage stop.
    pub lifecycle: LifecycleSettings,
    /// The private D-Bus bus.
    pub bus: BusSection,
    /// The control interface.
    pub control: ControlSection,
    /// The zone that meters' clocks show.
    pub zone: ZoneSection,
    /// The Bluetooth adapter.
    pub adapter: AdapterSection,
    /// Further adapters, which hear the same meters unless a meter names its own.
    pub more_adapters: Vec<MoreAdapter>,
    /// The front on real adapters.
    pub peripheral: PeripheralSection,
    /// The meters in the neighbourhood.
    pub meters: Vec<MeterSection>,
}

/// The private D-Bus bus.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BusSection {
    /// D-Bus address to listen at, for example `unix:dir=/run/carepost`, or empty for a socket in the system's
    /// directory for temporary files.
    pub address: String,
}

/// The control interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ControlSection {
    /// Loopback address and port; port 0 lets the system choose.
    pub listen: String,
}

impl Default for ControlSection {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:0".to_owned(),
        }
    }
}

/// The zone that meters' clocks show.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ZoneSection {
    /// Minutes east of UTC.
    pub utc_offset_minutes: i32,
}

impl Default for ZoneSection {
    /// China Standard Time, which has no daylight saving.
    fn default() -> Self {
        Self {
            utc_offset_minutes: 480,
        }
    }
}

/// The Bluetooth adapter and how long things take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdapterSection {
    /// Last part of its object path.
    pub controller: String,
    /// Its address.
    pub address: String,
    /// Its friendly name.
    pub name: String,
    /// Device ID of the host, `usb:` or `bluetooth:` with vendor, product and version.
    pub modalias: String,
    /// Time between two advertisements of a meter.
    pub advertising_interval_ms: u64,
    /// From an advertisement to the link.
    pub connect_delay_ms: u64,
    /// From the link to resolved services.
    pub resolve_delay_ms: u64,
    /// How long a connection attempt waits for an advertisement.
    pub connect_timeout_ms: u64,
    /// How long an unseen device stays known.
    pub temporary_timeout_ms: u64,
    /// How long a pairing waits for a person on either side.
    pub pairing_timeout_ms: u64,
    /// Seed of passkeys and of addresses that change.
    pub seed: u64,
    /// Names of fault profiles of group 12 that BlueZ has at the start: one text, or a list.
    #[serde(deserialize_with = "one_or_many")]
    pub profile: Vec<String>,
}

/// An adapter besides the first; timing is the same for all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MoreAdapter {
    /// Last part of its object path.
    pub controller: String,
    /// Its address.
    pub address: String,
    /// Its friendly name.
    pub name: String,
}

impl Default for AdapterSection {
    fn default() -> Self {
        Self {
            controller: "hci0".to_owned(),
            address: "02:00:00:CA:5E:00".to_owned(),
            name: "carepost-sim".to_owned(),
            modalias: "usb:v1D6Bp0246d0548".to_owned(),
            advertising_interval_ms: 1_000,
            connect_delay_ms: 150,
            resolve_delay_ms: 300,
            // Below the 30 s after which D-Bus clients give up themselves.
            connect_timeout_ms: 20_000,
            // BlueZ's default TemporaryTimeout.
            temporary_timeout_ms: 30_000,
            // Core specification, volume 3, part H, section 3.4.
            pairing_timeout_ms: 30_000,
            seed: 1,
            profile: Vec::new(),
        }
    }
}

/// The kind of a meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MeterKind {
    /// A blood pressure cuff.
    Cuff,
    /// A glucose meter.
    Glucose,
    /// A weight scale.
    Scale,
    /// A thermometer.
    Thermometer,
    /// A pulse oximeter.
    Oximeter,
}

/// The kind of a Bluetooth address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AddressType {
    /// Assigned by the manufacturer.
    #[default]
    Public,
    /// Made up by the meter.
    Random,
}

/// When a meter advertises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Advertise {
    /// For a while after a measurement and after the transfer key.
    #[default]
    Window,
    /// Whenever it is not connected.
    Always,
}

/// One meter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeterSection {
    /// Name in the control protocol.
    pub name: String,
    /// Kind.
    pub kind: MeterKind,
    /// Bluetooth address, for example `C4:DE:01:00:00:01`.
    pub address: String,
    /// Kind of address.
    #[serde(default)]
    pub address_type: AddressType,
    /// Name in the advertisement.
    pub local_name: String,
    /// Manufacturer name (2A29).
    #[serde(default)]
    pub manufacturer: String,
    /// Model number (2A24).
    #[serde(default)]
    pub model: String,
    /// Serial number (2A25).
    #[serde(default)]
    pub serial: String,
    /// Firmware revision (2A26).
    #[serde(default)]
    pub firmware: String,
    /// Signal strength in dBm.
    #[serde(default = "defaults::rssi")]
    pub rssi: i16,
    /// Whether it is in range at the start.
    #[serde(default = "defaults::yes")]
    pub in_range: bool,
    /// Adapters that hear it, by controller; all of them when empty.
    #[serde(default)]
    pub adapters: Vec<String>,
    /// Time after which it takes a new resolvable private address; its address stays the same without. `address` is
    /// then the identity that a central learns when it bonds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address_rotation_ms: Option<u64>,
    /// 16-bit UUID of the service of a meter that speaks its maker's own protocol only: it has this one instead of its kind's
    /// standard one, and nothing can be read from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_service: Option<u16>,
    /// How it pairs, and what it demands before it hands out values.
    #[serde(default)]
    pub security: SecuritySettings,
    /// Records that its memory holds.
    #[serde(default = "defaults::memory")]
    pub memory: usize,
    /// Battery charge in per cent; leave it out for a meter without Battery Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub battery_percent: Option<u8>,
    /// What its clock shows: `right`, `unset`, or a local time.
    #[serde(default)]
    pub clock: ClockSetting,
    /// Seconds that its clock is fast (slow if negative), when it is `right`.
    #[serde(default)]
    pub clock_skew_s: i32,
    /// Seconds that its clock gains in a day, or loses if negative.
    #[serde(default)]
    pub clock_drift_s_per_day: i32,
    /// How clients can read its clock.
    #[serde(default)]
    pub clock_service: ClockService,
    /// Whether clients can set its clock.
    #[serde(default)]
    pub clock_writable: bool,
    /// Names of fault profiles that it has at the start: one text, or a list.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub profile: Vec<String>,
    /// When it advertises.
    #[serde(default)]
    pub advertise: Advertise,
    /// Length of the advertising window.
    #[serde(default = "defaults::advertising_window_ms")]
    pub advertising_window_ms: u64,
    /// A link without traffic for this long is closed by the meter.
    #[serde(default = "defaults::idle_disconnect_ms")]
    pub idle_disconnect_ms: u64,
    /// Whether it keeps client configurations from one link to the next.
    #[serde(default)]
    pub keeps_subscriptions: bool,
    /// What only cuffs have.
    #[serde(default)]
    pub cuff: CuffSection,
    /// What only glucose meters have.
    #[serde(default)]
    pub glucose: GlucoseSection,
    /// What only scales have.
    #[serde(default)]
    pub scale: ScaleSection,
    /// What only thermometers have.
    #[serde(default)]
    pub thermometer: ThermometerSection,
    /// What only oximeters have.
    #[serde(default)]
    pub oximeter: OximeterSection,
    /// Records in the memory at the start.
    #[serde(default)]
    pub stored: StoredSection,
}

/// What only cuffs have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CuffSection {
    /// User ids that its slots send; empty for a cuff without slots.
    pub slots: Vec<u8>,
    /// Fate of confirmed records.
    pub after_confirm: AfterConfirm,
    /// Unit on air.
    pub unit: CuffUnit,
    /// Whether it has a clock at all.
    pub has_clock: bool,
    /// Bits of Blood Pressure Feature (2A49).
    pub feature: u16,
    /// Time from a confirmation to the next indication.
    pub indication_interval_ms: u64,
}

impl Default for CuffSection {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            after_confirm: AfterConfirm::Keep,
            unit: CuffUnit::Mmhg,
            has_clock: true,
            // Movement, cuff fit, irregular pulse, pulse range, position: every status bit means something.
            feature: 0x001F,
            indication_interval_ms: 50,
        }
    }
}

/// What only glucose meters have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GlucoseSection {
    /// Quantity on air.
    pub unit: GlucoseUnit,
    /// Whether it has contexts (2A34).
    pub contexts: bool,
    /// Sequence number of the first record.
    pub first_sequence: u16,
    /// Whether clients may delete records.
    pub allows_delete: bool,
    /// Bits of Glucose Feature (2A51).
    pub feature: u16,
    /// Time from one record to the next while reporting.
    pub notification_interval_ms: u64,
}

impl Default for GlucoseSection {
    fn default() -> Self {
        Self {
            unit: GlucoseUnit::KgPerL,
            contexts: true,
            first_sequence: 1,
            allows_delete: false,
            // Every status bit means something; one bond.
            feature: 0x03FF,
            notification_interval_ms: 20,
        }
    }
}

/// What only scales have.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScaleSection {
    /// User ids that its slots send; empty for a scale without users.
    pub slots: Vec<u8>,
    /// Fate of confirmed records.
    pub after_confirm: AfterConfirm,
    /// Sends pounds; otherwise kilograms.
    pub pounds: bool,
}

/// What only thermometers have.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ThermometerSection {
    /// Fate of confirmed records.
    pub after_confirm: AfterConfirm,
    /// Sends degrees Fahrenheit; otherwise Celsius.
    pub fahrenheit: bool,
}

/// What only oximeters have.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OximeterSection {
    /// Fate of confirmed records.
    pub after_confirm: AfterConfirm,
    /// Also sends live values (2A5F) while it measures.
    pub continuous: bool,
}

/// Records in a meter's memory at the start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoredSection {
    /// How many.
    pub count: usize,
    /// Seed of their values.
    pub seed: u64,
    /// Minutes between two of them.
    pub spacing_minutes: u32,
    /// Age of the newest in minutes, by the meter's clock.
    pub newest_minutes_ago: u32,
}

impl Default for StoredSection {
    fn default() -> Self {
        Self {
            count: 0,
            seed: 1,
            spacing_minutes: 360,
            newest_minutes_ago: 60,
        }
    }
}

/// Reads one text as a list of one.
fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Names {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Names::deserialize(deserializer)? {
        Names::One(name) => vec![name],
        Names::Many(names) => names,
    })
}

mod defaults {
    pub(super) fn rssi() -> i16 {
        -58
    }

    pub(super) fn yes() -> bool {
        true
    }

    pub(super) fn memory() -> usize {
        500
    }

    pub(super) fn advertising_window_ms() -> u64 {
        120_000
    }

    pub(super) fn idle_disconnect_ms() -> u64 {
        5_000
    }
}

impl SimConfig {
    /// The control address, once validated.
    pub(crate) fn control_address(&self) -> Option<SocketAddr> {
        self.control
            .listen
            .parse()
            .ok()
            .filter(|address: &SocketAddr| address.ip().is_loopback())
    }

    /// The bus address; by default a socket in the directory for temporary files.
    pub(crate) fn bus_address(&self) -> String {
        if self.bus.address.is_empty() {
            format!("unix:dir={}", std::env::temp_dir().display())
        } else {
            self.bus.address.clone()
        }
    }
}

/// A configured number of milliseconds.
pub(crate) fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}
