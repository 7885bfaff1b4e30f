//! The server's configuration: one struct per section, with the defaults that `config/server.toml` explains.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use carepost_daemon::{LifecycleSettings, LogSettings, Problems, SecretText, Validate};
use serde::{Deserialize, Serialize};

use crate::broker::BrokerSettings;

/// Environment variables of the server begin with this.
pub const ENV_PREFIX: &str = "CAREPOST_SERVER_";

/// The file of the embedded database, in `data_dir`.
const DATABASE_FILE: &str = "carepost.sqlite";

/// Everything.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the embedded database lives; made if it is not there.
    pub data_dir: PathBuf,
    /// The database.
    pub database: DatabaseConfig,
    /// The HTTP listener.
    pub http: HttpConfig,
    /// The MQTT listener.
    pub mqtt: MqttConfig,
    /// What comes from gateways, and what goes to them.
    pub ingest: IngestConfig,
    /// Clinical rules.
    pub rules: RulesConfig,
    /// Logins of staff.
    pub login: LoginConfig,
    /// Work that waits for its time.
    pub jobs: JobsConfig,
    /// Logs.
    pub log: LogSettings,
    /// Stopping.
    pub lifecycle: LifecycleSettings,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("carepost-data"),
            database: DatabaseConfig::default(),
            http: HttpConfig::default(),
            mqtt: MqttConfig::default(),
            ingest: IngestConfig::default(),
            rules: RulesConfig::default(),
            login: LoginConfig::default(),
            jobs: JobsConfig::default(),
            log: LogSettings::default(),
            lifecycle: LifecycleSettings::default(),
        }
    }
}

/// The `database` section.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `sqlite:PATH` or `postgres://...`; empty for a SQLite file in `data_dir`.
    pub url: SecretText,
    /// SQLite: read-only connections; PostgreSQL: connections in all.
    pub max_connections: u32,
    /// How long a caller waits for a connection or for the writer, in milliseconds.
    pub acquire_timeout_ms: u64,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self {
            url: SecretText::new(String::new()),
            max_connections: 8,
            acquire_timeout_ms: 10_000,
        }
    }
}

/// The `http` section.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Address and port; loopback only, port 0 takes a free one.
    pub listen: SocketAddr,
    /// Largest request body, in bytes.
    pub max_body_bytes: usize,
    /// Longest that a request may take, in milliseconds. Event streams are not bound by it.
    pub request_timeout_ms: u64,
    /// Connections at a time; further ones wait in TCP.
    pub max_connections: usize,
    /// Mark the session cookie `Secure`: on when people reach the server through a proxy that does TLS.
    pub secure_cookies: bool,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080),
            max_body_bytes: 64 * 1024,
            request_timeout_ms: 15_000,
            max_connections: 1_024,
            secure_cookies: false,
        }
    }
}

/// The `mqtt` section.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MqttConfig {
    /// Address and port; loopback only, port 0 takes a free one.
    pub listen: SocketAddr,
    /// Threads that serve connections.
    pub workers: usize,
    /// Connections at a time.
    pub max_connections: usize,
    /// Longest keep-alive, in seconds.
    pub keep_alive_s: u16,
    /// How long a client may take to send CONNECT, in seconds.
    pub connect_timeout_s: u16,
    /// How long a gateway may leave a full queue of messages unacknowledged, in seconds.
    pub down_patience_s: u64,
}

impl Default for MqttConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1883),
            workers: 2,
            max_connections: 20_000,
            keep_alive_s: 60,
            connect_timeout_s: 5,
            down_patience_s: 30,
        }
    }
}

impl MqttConfig {
    /// As the endpoint takes it.
    #[must_use]
    pub fn broker(&self) -> BrokerSettings {
        BrokerSettings {
            listen: self.listen,
            workers: self.workers,
            max_connections: self.max_connections,
            keep_alive_s: self.keep_alive_s,
            connect_timeout_s: self.connect_timeout_s,
            down_patience: Duration::from_secs(self.down_patience_s),
        }
    }
}

/// The `ingest` section.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IngestConfig {
    /// Batches that are verified and stored at a time. SQLite commits one by one whatever this says; a second one is
    /// verified meanwhile.
    pub writers: usize,
    /// How often it is looked whether members, meters, bindings or grants have changed, in milliseconds.
    pub down_poll_ms: u64,
}

impl Default for IngestConfig {
    fn default() -> Self {
        Self {
            writers: 2,
            down_poll_ms: 300,
        }
    }
}

/// The `rules` section.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RulesConfig {
    /// The rule set; empty for the built-in `cn-2024`.
    pub file: PathBuf,
}

/// The `login` section.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoginConfig {
    /// How long a login lasts, in minutes.
    pub session_minutes: u64,
    /// Failed logins of one name after which further ones are not tried ...
    pub max_failures: u32,
    /// ... until the oldest of them is this long ago, in minutes.
    pub window_minutes: u64,
    /// Passwords that are checked at a time; each takes 19 MiB and a processor for some tens of milliseconds.
    pub parallel_checks: usize,
}

impl Default for LoginConfig {
    fn default() -> Self {
        Self {
            session_minutes: 12 * 60,
            max_failures: 5,
            window_minutes: 15,
            parallel_checks: 2,
        }
    }
}

/// The `jobs` section.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JobsConfig {
    /// How often it is looked whether a job is due, in milliseconds.
    pub poll_ms: u64,
    /// How long a job is leased to a worker, in seconds. Longer than any job takes.
    pub lease_s: u64,
    /// How often new audit rows are chained, in milliseconds.
    pub seal_ms: u64,
}

impl Default for JobsConfig {
    fn default() -> Self {
        Self {
            poll_ms: 1_000,
            lease_s: 60,
            seal_ms: 5_000,
        }
    }
}

impl Config {
    /// The URL of the database.
    #[must_use]
    pub fn database_url(&self) -> String {
        if self.database.url.is_empty() {
            format!("sqlite:{}", self.data_dir.join(DATABASE_FILE).display())
        } else {
            self.database.url.expose().to_owned()
        }
    }
}

impl Validate for Config {
    fn validate(&self, problems: &mut Problems) {
        if self.data_dir.as_os_str().is_empty() {
            problems.add("data_dir", "must not be empty");
        }
        problems.within("database", |problems| {
            let url = self.database.url.expose();
            let known = ["sqlite:", "postgres:", "postgresql:"]
                .iter()
                .any(|scheme| url.starts_with(scheme));
            if !url.is_empty() && !known {
                problems.add(
                    "url",
                    "must begin with sqlite: or postgres:, or be empty for a file in data_dir",
                );
            }
            range(problems, "max_connections", self.database.max_connections, 1, 256);
            range(
                problems,
                "acquire_timeout_ms",
                self.database.acquire_timeout_ms,
                100,
                120_000,
            );
        });
        problems.within("http", |problems| {
            if !self.http.listen.ip().is_loopback() {
                problems.add(
                    "listen",
                    "must be a loopback address such as 127.0.0.1:8080: sessions and health data would cross the \
                     network unencrypted. Put a proxy that does TLS in front of it",
                );
            }
            range(
                problems,
                "max_body_bytes",
                self.http.max_body_bytes,
                1_024,
                16 * 1024 * 1024,
            );
            range(
                problems,
                "request_timeout_ms",
                self.http.request_timeout_ms,
                100,
                600_000,
            );
            range(problems, "max_connections", self.http.max_connections, 1, 100_000);
        });
        problems.within("mqtt", |problems| {
            if !self.mqtt.listen.ip().is_loopback() {
                problems.add(
                    "listen",
                    "must be a loopback address such as 127.0.0.1:1883: gateways cannot be enrolled with TLS yet, and \
                     readings would cross the network unencrypted",
                );
            }
            range(problems, "workers", self.mqtt.workers, 1, 64);
            range(problems, "max_connections", self.mqtt.max_connections, 1, 1_000_000);
            range(problems, "keep_alive_s", self.mqtt.keep_alive_s, 5, 3_600);
            range(problems, "connect_timeout_s", self.mqtt.connect_timeout_s, 1, 60);
            range(problems, "down_patience_s", self.mqtt.down_patience_s, 1, 600);
        });
        problems.within("ingest", |problems| {
            range(problems, "writers", self.ingest.writers, 1, 16);
            range(problems, "down_poll_ms", self.ingest.down_poll_ms, 50, 60_000);
        });
        problems.within("login", |problems| {
            range(problems, "session_minutes", self.login.session_minutes, 5, 7 * 24 * 60);
            range(problems, "max_failures", self.login.max_failures, 1, 100);
            range(problems, "window_minutes", self.login.window_minutes, 1, 24 * 60);
            range(problems, "parallel_checks", self.login.parallel_checks, 1, 16);
        });
        problems.within("jobs", |problems| {
            range(problems, "poll_ms", self.jobs.poll_ms, 50, 60_000);
            range(problems, "lease_s", self.jobs.lease_s, 5, 3_600);
            range(problems, "seal_ms", self.jobs.seal_ms, 100, 600_000);
        });
        problems.within("log", |problems| self.log.validate(problems));
        problems.within("lifecycle", |problems| self.lifecycle.validate(problems));
    }
}

fn range<T: PartialOrd + std::fmt::Display>(problems: &mut Problems, key: &str, value: T, least: T, most: T) {
    if value < least || value > most {
        problems.add(key, format!("must be from {least} to {most}"));
    }
}

#[cfg(test)]
mod tests {
    use carepost_daemon::config::{ConfigError, Sources, load_with_environment};

    use super::*;

    /// The documented defaults, as shipped.
    const SHIPPED: &str = include_str!("../../config/server.toml");

    fn problems(overrides: &[(&str, &str)]) -> Vec<(String, String)> {
        let overrides = overrides
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        match load_with_environment::<Config>(
            Sources {
                file: None,
                env_prefix: ENV_PREFIX,
                overrides,
            },
            [],
        ) {
            Ok(_) => Vec::new(),
            Err(ConfigError::Invalid { problems }) => problems
                .into_iter()
                .map(|problem| (problem.key, problem.message))
                .collect(),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn the_shipped_file_says_the_defaults() {
        let shipped: Config = toml_of(SHIPPED);
        let printed = |config: &Config| serde_json::to_value(config).unwrap();
        assert_eq!(printed(&shipped), printed(&Config::default()));
    }

    fn toml_of(text: &str) -> Config {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("server.toml");
        std::fs::write(&path, text).unwrap();
        let sources = Sources {
            file: Some(path),
            env_prefix: ENV_PREFIX,
            overrides: Vec::new(),
        };
        load_with_environment::<Config>(sources, []).unwrap().config
    }

    #[test]
    fn every_key_is_in_the_shipped_file() {
        // Comments included: a key that the file does not name is a key that nobody finds.
        let value = serde_json::to_value(Config::default()).unwrap();
        let mut missing = Vec::new();
        collect_keys(&value, &mut |key| {
            if !SHIPPED.contains(key) {
                missing.push(key.to_owned());
            }
        });
        assert_eq!(missing, Vec::<String>::new());
    }

    fn collect_keys(value: &serde_json::Value, found: &mut dyn FnMut(&str)) {
        for (key, value) in value.as_object().into_iter().flatten() {
            found(key);
            collect_keys(value, found);
        }
    }

    #[test]
    fn the_mqtt_listener_is_refused_beyond_loopback_with_the_reason() {
        for address in ["0.0.0.0:1883", "192.168.1.5:1883", "[::]:1883"] {
            let found = problems(&[("mqtt.listen", address)]);
            let [(key, message)] = found.as_slice() else {
                panic!("{found:?}")
            };
            assert_eq!(key, "mqtt.listen");
            assert!(message.contains("must be a loopback address"), "{message}");
            assert!(message.contains("enrolled with TLS"), "{message}");
        }
        for address in ["127.0.0.1:0", "[::1]:1883"] {
            assert_eq!(problems(&[("mqtt.listen", address)]), []);
        }
    }

    #[test]
    fn all_problems_are_reported_at_once() {
        let found = problems(&[
            ("http.listen", "10.0.0.1:80"),
            ("mqtt.listen", "0.0.0.0:1883"),
            ("mqtt.workers", "0"),
            ("database.url", "mysql://x"),
            ("http.unknown", "1"),
        ]);
        let keys: Vec<&str> = found.iter().map(|(key, _)| key.as_str()).collect();
        for key in [
            "http.listen",
            "mqtt.listen",
            "mqtt.workers",
            "database.url",
            "http.unknown",
        ] {
            assert!(keys.contains(&key), "{key} is not in {keys:?}");
        }
    }

    #[test]
    fn a_database_url_is_never_printed() {
        let overrides = vec![("database.url".to_owned(), "postgres://u:secret@h/d".to_owned())];
        let loaded = load_with_environment::<Config>(
            Sources {
                file: None,
                env_prefix: ENV_PREFIX,
                overrides,
            },
            [],
        )
        .unwrap();
        assert!(!loaded.effective.contains("secret"), "{}", loaded.effective);
        assert_eq!(loaded.config.database_url(), "postgres://u:secret@h/d");
        assert_eq!(Config::default().database_url(), "sqlite:carepost-data/carepost.sqlite");
    }
}
