//! The bare loop: btleplug receives the same notifications from a bus like the gateway's, counts them and does nothing else.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use btleplug::api::{Central as _, CentralEvent, Characteristic, Manager as _, Peripheral as _, ScanFilter, WriteType};
use btleplug::platform::{Manager, Peripheral};
use carepost_gatt::racp::Request;
use carepost_gatt::uuid16;
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::say;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the loop saw, as it prints it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Received {
    /// Records.
    pub(crate) records: u64,
    /// From the first record to the end of the report.
    pub(crate) micros: u64,
}

impl Received {
    pub(crate) fn per_second(self) -> u64 {
        self.records.saturating_mul(1_000_000) / self.micros.max(1)
    }
}

/// Runs the loop in a process of its own, as the gateway is one.
pub(crate) async fn start(bus: &str, address: &str) -> anyhow::Result<Received> {
    let program = std::env::current_exe().context("finding this program's own path")?;
    let output = tokio::process::Command::new(program)
        .args(["bare", address])
        .env("DBUS_SYSTEM_BUS_ADDRESS", bus)
        .kill_on_drop(true)
        .output();
    let output = timeout(PATIENCE * 2, output)
        .await
        .context("the bare loop does not end")?
        .context("starting the bare loop")?;
    let out = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("the bare loop failed: {out}{}", String::from_utf8_lossy(&output.stderr));
    }
    serde_json::from_str(out.trim()).with_context(|| format!("the bare loop printed {out:?}"))
}

/// The loop itself: prints [`Received`].
pub(crate) async fn run(address: &str) -> anyhow::Result<()> {
    let peripheral = timeout(PATIENCE, find(address))
        .await
        .context("the meter does not turn up")??;
    let mut values = peripheral.notifications().await.context("listening")?;
    timeout(PATIENCE, peripheral.connect()).await?.context("connecting")?;
    timeout(PATIENCE, peripheral.discover_services())
        .await?
        .context("discovering")?;
    for uuid in [uuid16::GLUCOSE_MEASUREMENT, uuid16::RECORD_ACCESS_CONTROL_POINT] {
        peripheral
            .subscribe(&characteristic(&peripheral, uuid)?)
            .await
            .context("subscribing")?;
    }
    let control_point = characteristic(&peripheral, uuid16::RECORD_ACCESS_CONTROL_POINT)?;
    let request = Request::report_all().encode().context("writing the request")?;
    let asked = peripheral.write(&control_point, &request, WriteType::WithResponse);
    let count = async {
        let mut first = None;
        let mut records: u64 = 0;
        while let Some(value) = values.next().await {
            if value.uuid == control_point.uuid {
                break;
            }
            first.get_or_insert_with(Instant::now);
            records += 1;
        }
        (first, records)
    };
    let (asked, counted) = tokio::join!(asked, timeout(PATIENCE, count));
    asked.context("asking for all records")?;
    let (first, records) = counted.context("the report does not end")?;
    let first = first.context("the meter has no records")?;
    let micros = u64::try_from(first.elapsed().as_micros()).unwrap_or(u64::MAX);
    say(serde_json::to_string(&Received { records, micros })?);
    timeout(PATIENCE, peripheral.disconnect())
        .await?
        .context("disconnecting")
}

async fn find(address: &str) -> anyhow::Result<Peripheral> {
    let manager = Manager::new().await.context("reaching the bus")?;
    let adapter = manager
        .adapters()
        .await?
        .into_iter()
        .next()
        .context("there is no adapter")?;
    let mut events = adapter.events().await?;
    adapter.start_scan(ScanFilter::default()).await?;
    while let Some(event) = events.next().await {
        let CentralEvent::DeviceDiscovered(id) = event else {
            continue;
        };
        let peripheral = adapter.peripheral(&id).await?;
        if peripheral.address().to_string() == address {
            adapter.stop_scan().await?;
            return Ok(peripheral);
        }
    }
    bail!("the adapter's events ended")
}

fn characteristic(peripheral: &Peripheral, uuid: u16) -> anyhow::Result<Characteristic> {
    let long: uuid::Uuid = uuid16::to_uuid128(uuid).parse()?;
    peripheral
        .characteristics()
        .into_iter()
        .find(|found| found.uuid == long)
        .with_context(|| format!("the meter has no {uuid:04X}"))
}
