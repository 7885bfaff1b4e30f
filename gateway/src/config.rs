//! The gateway's configuration. `config/gateway.toml` explains every key; a test holds it against the defaults here.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use carepost_daemon::{LifecycleSettings, LogSettings, Problems, Validate};
use serde::{Deserialize, Serialize};

use crate::board::MAX_ADAPTERS;
use crate::kiosk::KioskTimings;
use crate::staff::StaffSettings;

/// Prefix of the environment variables.
pub const ENV_PREFIX: &str = "CAREPOST_GATEWAY_";

/// Longest time that any key may ask for: a day, in milliseconds.
const MAX_MS: u64 = 24 * 60 * 60 * 1_000;
/// Most tries of one connection or discovery.
const MAX_TRIES: u32 = 20;

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Folder of the spool and the signing key.
    pub data_dir: PathBuf,
    /// Scanning for meters and reading them.
    pub bluetooth: Bluetooth,
    /// When the gateway's own clock is trusted.
    pub clock: ClockSettings,
    /// The way to the server.
    pub uplink: Uplink,
    /// The page at the kiosk and its port.
    pub kiosk: Kiosk,
    /// The staff page on the same port.
    pub staff: StaffSettings,
    /// Logs.
    pub log: LogSettings,
    /// Stopping.
    pub lifecycle: LifecycleSettings,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("/var/lib/carepost-gateway"),
            bluetooth: Bluetooth::default(),
            clock: ClockSettings::default(),
            uplink: Uplink::default(),
            kiosk: Kiosk::default(),
            staff: StaffSettings::default(),
            log: LogSettings::default(),
            lifecycle: LifecycleSettings::default(),
        }
    }
}

impl Validate for Config {
    fn validate(&self, problems: &mut Problems) {
        if self.data_dir.as_os_str().is_empty() {
            problems.add("data_dir", "must name a folder");
        }
        problems.within("bluetooth", |problems| self.bluetooth.validate(problems));
        problems.within("clock", |problems| self.clock.validate(problems));
        problems.within("uplink", |problems| self.uplink.validate(problems));
        problems.within("kiosk", |problems| self.kiosk.validate(problems));
        problems.within("staff", |problems| self.staff.validate(problems));
        problems.within("log", |problems| self.log.validate(problems));
        problems.within("lifecycle", |problems| self.lifecycle.validate(problems));
    }
}

/// Scanning for meters and reading them (page 3, section 3.5, where the defaults come from). Times in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bluetooth {
    /// Names of the adapters that are used, such as `hci0`; empty for all that there are.
    pub adapters: Vec<String>,
    /// How long one scan lasts.
    pub scan_ms: u64,
    /// Pause between two scans.
    pub pause_ms: u64,
    /// How long one try to connect may take.
    pub connect_ms: u64,
    /// Tries to connect before the meter is left alone for the cool-down.
    pub connect_tries: u32,
    /// Mean pause before the second try; doubles with each further one, and varies by half.
    pub retry_ms: u64,
    /// Tries to discover services.
    pub discover_tries: u32,
    /// How long any other operation may take.
    pub operation_ms: u64,
    /// How long reading a meter's clock may take before it counts as unknown.
    pub clock_ms: u64,
    /// Silence after which a cuff has sent everything.
    pub idle_ms: u64,
    /// Silence after which a glucose meter's answer is given up.
    pub answer_ms: u64,
    /// How long one link may last.
    pub session_ms: u64,
    /// Pause after a link before the same meter is connected again.
    pub cool_down_ms: u64,
    /// How long the question whether the adapter is there may take.
    pub probe_ms: u64,
    /// Pause before the way to the adapter is built anew after it was lost; doubles up to one minute.
    pub rebuild_ms: u64,
}

impl Default for Bluetooth {
    fn default() -> Self {
        Self {
            adapters: Vec::new(),
            scan_ms: 10_000,
            pause_ms: 1_000,
            connect_ms: 20_000,
            connect_tries: 4,
            retry_ms: 500,
            discover_tries: 3,
            operation_ms: 10_000,
            clock_ms: 3_000,
            idle_ms: 5_000,
            answer_ms: 30_000,
            session_ms: 600_000,
            cool_down_ms: 40_000,
            probe_ms: 5_000,
            rebuild_ms: 1_000,
        }
    }
}

impl Validate for Bluetooth {
    fn validate(&self, problems: &mut Problems) {
        let legal = |c: char| c.is_ascii_alphanumeric();
        if self.adapters.len() > MAX_ADAPTERS {
            problems.add("adapters", format!("must name at most {MAX_ADAPTERS} adapters"));
        }
        for name in &self.adapters {
            if name.is_empty() || name.len() > 16 || !name.chars().all(legal) {
                problems.add(
                    "adapters",
                    "must be names of adapters, such as [\"hci0\"], or empty for all",
                );
            }
        }
        for (key, value) in [
            ("scan_ms", self.scan_ms),
            ("connect_ms", self.connect_ms),
            ("retry_ms", self.retry_ms),
            ("operation_ms", self.operation_ms),
            ("clock_ms", self.clock_ms),
            ("idle_ms", self.idle_ms),
            ("answer_ms", self.answer_ms),
            ("session_ms", self.session_ms),
            ("probe_ms", self.probe_ms),
            ("rebuild_ms", self.rebuild_ms),
        ] {
            time(problems, key, value, 1);
        }
        time(problems, "pause_ms", self.pause_ms, 0);
        time(problems, "cool_down_ms", self.cool_down_ms, 0);
        for (key, value) in [
            ("connect_tries", self.connect_tries),
            ("discover_tries", self.discover_tries),
        ] {
            if !(1..=MAX_TRIES).contains(&value) {
                problems.add(key, format!("must be from 1 to {MAX_TRIES}"));
            }
        }
        if self.session_ms <= self.idle_ms {
            problems.add("session_ms", "must be more than idle_ms");
        }
    }
}

/// When the gateway's own clock is trusted (page 4, "Wall clocks lie").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClockSettings {
    /// Largest difference from the server's time at which the clock is trusted, in milliseconds.
    pub tolerance_ms: u64,
    /// A file that exists once the system's time service has set the clock; empty for none.
    pub synchronised_marker: PathBuf,
}

impl Default for ClockSettings {
    fn default() -> Self {
        // systemd-timesyncd makes this file (systemd-timesyncd.service(8), "Files").
        Self {
            tolerance_ms: 60_000,
            synchronised_marker: PathBuf::from("/run/systemd/timesync/synchronized"),
        }
    }
}

impl Validate for ClockSettings {
    fn validate(&self, problems: &mut Problems) {
        // Measured times ten minutes ahead of a trusted clock are refused; the clock itself must be well inside that.
        if !(1_000..=300_000).contains(&self.tolerance_ms) {
            problems.add("tolerance_ms", "must be from 1000 to 300000");
        }
    }
}

/// The way to the server. Times in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Uplink {
    /// The server's MQTT listener. Readings are health data and the link is not encrypted yet, so only this machine.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Keep-alive of the connection.
    pub keep_alive_ms: u64,
    /// Mean pause before the connection is tried again; doubles with each further try, and varies by half.
    pub retry_ms: u64,
    /// Longest such pause.
    pub retry_max_ms: u64,
    /// Shortest time after which a batch without a receipt is sent again on a live connection.
    pub resend_ms: u64,
}

impl Default for Uplink {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 1883,
            keep_alive_ms: 15_000,
            retry_ms: 500,
            retry_max_ms: 30_000,
            resend_ms: u64::try_from(carepost_contract::limits::MIN_RESEND.as_millis()).unwrap_or(60_000),
        }
    }
}

impl Validate for Uplink {
    fn validate(&self, problems: &mut Problems) {
        let loopback = self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if !loopback {
            problems.add(
                "host",
                "must be localhost or a loopback address: the link is not encrypted yet",
            );
        }
        if self.port == 0 {
            problems.add("port", "must be from 1 to 65535");
        }
        // MQTT carries the keep-alive in whole seconds, and the client takes no shorter one.
        time(problems, "keep_alive_ms", self.keep_alive_ms, 5_000);
        time(problems, "retry_ms", self.retry_ms, 1);
        time(problems, "retry_max_ms", self.retry_max_ms, 1);
        time(problems, "resend_ms", self.resend_ms, 1);
        if self.retry_max_ms < self.retry_ms {
            problems.add("retry_max_ms", "must not be less than retry_ms");
        }
    }
}

/// The page at the kiosk and its port. Times in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kiosk {
    /// Where the page and `/status.json` are served; loopback only. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// A sitting in which nothing happens ends by itself after this time, and its screen is wiped.
    pub idle_ms: u64,
    /// A sitting ends by itself after this time in any case.
    pub longest_ms: u64,
    /// Times of the screens.
    pub timings: KioskTimings,
}

impl Default for Kiosk {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8470)),
            idle_ms: 180_000,
            longest_ms: 1_800_000,
            timings: KioskTimings::default(),
        }
    }
}

impl Validate for Kiosk {
    fn validate(&self, problems: &mut Problems) {
        if !self.listen.ip().is_loopback() {
            problems.add(
                "listen",
                "must be a loopback address, such as 127.0.0.1:8470: whoever reaches the page reads results",
            );
        }
        time(problems, "idle_ms", self.idle_ms, 1);
        time(problems, "longest_ms", self.longest_ms, 1);
        if self.longest_ms < self.idle_ms {
            problems.add("longest_ms", "must not be less than idle_ms");
        }
        problems.within("timings", |problems| self.timings.validate(problems));
    }
}

fn time(problems: &mut Problems, key: &'static str, value: u64, least: u64) {
    if !(least..=MAX_MS).contains(&value) {
        problems.add(key, format!("must be from {least} to {MAX_MS}"));
    }
}

#[cfg(test)]
mod tests {
    use carepost_daemon::Sources;
    use carepost_daemon::config::load_with_environment;

    use super::*;

    fn problems_of(overrides: &[(&str, &str)]) -> Vec<String> {
        let overrides = overrides
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let sources = Sources {
            file: None,
            env_prefix: ENV_PREFIX,
            overrides,
        };
        match load_with_environment::<Config>(sources, Vec::new()) {
            Ok(_) => Vec::new(),
            Err(carepost_daemon::ConfigError::Invalid { problems }) => {
                problems.into_iter().map(|problem| problem.key).collect()
            }
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn the_commented_file_says_what_the_defaults_are() {
        let file = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../config/gateway.toml"));
        let sources = Sources {
            file: Some(file),
            env_prefix: ENV_PREFIX,
            overrides: Vec::new(),
        };
        let loaded = load_with_environment::<Config>(sources.clone(), Vec::new()).unwrap();
        assert_eq!(loaded.config, Config::default());
        // Every key is in the file, so that a reader of it has read everything there is to set.
        let text = std::fs::read_to_string(sources.file.unwrap()).unwrap();
        for line in loaded.effective.lines().filter(|line| line.contains(" = ")) {
            let key = line.split(" = ").next().unwrap();
            assert!(
                text.lines()
                    .any(|l| l.trim_start_matches("# ").starts_with(&format!("{key} ="))),
                "{key} is not in the file"
            );
        }
    }

    #[test]
    fn all_problems_are_found_at_once() {
        assert_eq!(problems_of(&[]), Vec::<String>::new());
        let found = problems_of(&[
            ("kiosk.listen", "0.0.0.0:80"),
            ("uplink.host", "192.0.2.1"),
            ("uplink.port", "0"),
            ("bluetooth.connect_tries", "0"),
            ("bluetooth.adapters", "[\"../hci0\"]"),
            ("clock.tolerance_ms", "1"),
            ("staff.pin_hash", "123456"),
            ("staff.idle_ms", "1"),
            ("no_such_key", "1"),
        ]);
        for key in [
            "kiosk.listen",
            "uplink.host",
            "uplink.port",
            "bluetooth.connect_tries",
            "bluetooth.adapters",
            "clock.tolerance_ms",
            "staff.pin_hash",
            "staff.idle_ms",
        ] {
            assert!(found.iter().any(|k| k == key), "{key} in {found:?}");
        }
        assert!(found.iter().any(|key| key.contains("no_such_key")), "{found:?}");
    }
}
