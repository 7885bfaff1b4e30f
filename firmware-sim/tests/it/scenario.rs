//! Scenarios with a real BlueZ client. btleplug takes the bus address from its process environment, so the test runs
//! itself again as a child process with the address of the parent's simulator: the parent simulates, the child tests.

use std::process::Stdio;

use carepost_sim::config::SimConfig;
use carepost_sim::control::Client;

use super::support::{PATIENCE, start};

const CONTROL: &str = "CAREPOST_TEST_CONTROL";
const BUS: &str = "DBUS_SYSTEM_BUS_ADDRESS";

/// Runs a scenario named as its test function, `module::function`.
pub(crate) fn run<F>(name: &str, config: &SimConfig, scenario: impl FnOnce(Client) -> F)
where
    F: Future<Output = ()>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    match std::env::var(CONTROL) {
        Ok(control) => runtime.block_on(async {
            let client = Client::connect(control.parse().unwrap()).await.unwrap();
            scenario(client).await;
        }),
        Err(_) => runtime.block_on(simulate(name, config)),
    }
}

async fn simulate(name: &str, config: &SimConfig) {
    let (simulator, _control) = start(config).await;
    let child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(BUS, simulator.bus_address())
        .env(CONTROL, simulator.control_addr().to_string())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(3 * PATIENCE, child)
        .await
        .expect("the client hangs")
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the client failed:\n{text}\n{errors}");
    assert!(
        text.contains("1 passed"),
        "the client did not run the scenario {name}:\n{text}"
    );
    simulator.stop().await.unwrap();
}
