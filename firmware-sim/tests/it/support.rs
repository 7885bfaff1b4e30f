//! A fast neighbourhood, and waiting for conditions.

use std::time::Duration;

use carepost_daemon::Clock;
use carepost_sim::Simulator;
use carepost_sim::config::SimConfig;
use carepost_sim::control::{Client, CuffRecord};

/// How long any condition may take to come true. Only a failing test waits this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Names of the meters of [`config`].
pub(crate) const CUFF: &str = "cuff";
pub(crate) const GLUCOSE: &str = "glucose";

/// Addresses of the meters of [`config`].
pub(crate) const CUFF_ADDRESS: &str = "C4:DE:01:00:00:01";
pub(crate) const GLUCOSE_ADDRESS: &str = "C4:DE:02:00:00:01";

/// A cuff and a glucose meter with 60 records, and no delays.
pub(crate) fn config() -> SimConfig {
    toml::from_str(&format!(
        r#"
        [adapter]
        advertising_interval_ms = 20
        connect_delay_ms = 0
        resolve_delay_ms = 0
        temporary_timeout_ms = 60000

        [[meters]]
        name = "{CUFF}"
        kind = "cuff"
        address = "{CUFF_ADDRESS}"
        local_name = "BP"
        manufacturer = "Maker"
        model = "M1"
        battery_percent = 80
        clock_service = "current_time"
        idle_disconnect_ms = 60000
        [meters.cuff]
        slots = [1, 2]
        indication_interval_ms = 0

        [[meters]]
        name = "{GLUCOSE}"
        kind = "glucose"
        address = "{GLUCOSE_ADDRESS}"
        local_name = "GM"
        clock_service = "date_time"
        advertise = "always"
        idle_disconnect_ms = 60000
        [meters.glucose]
        notification_interval_ms = 0
        [meters.stored]
        count = 60
        "#
    ))
    .unwrap()
}

pub(crate) async fn start(config: &SimConfig) -> (Simulator, Client) {
    let simulator = Simulator::start(config, Clock::system()).await.unwrap();
    let control = Client::connect(simulator.control_addr()).await.unwrap();
    (simulator, control)
}

/// A record with distinct values.
pub(crate) fn pressure(systolic: u16) -> CuffRecord {
    CuffRecord {
        systolic: Some(systolic),
        diastolic: Some(80),
        pulse: Some(70),
        ..CuffRecord::default()
    }
}

/// Waits for a future, but not for ever.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen within {PATIENCE:?}"),
    }
}

/// Asks again until the answer is `Some`.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    soon(what, async {
        loop {
            tick.tick().await;
            if let Some(value) = ask().await {
                return value;
            }
        }
    })
    .await
}
