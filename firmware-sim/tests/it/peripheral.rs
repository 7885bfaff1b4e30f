//! The second front from the outside, as far as it goes without a bluetoothd. The rest is in `tests/lab`.

use std::process::{Output, Stdio};

use tokio::process::Command;

use super::support::soon;

async fn output(arguments: &[&str]) -> (Option<i32>, String, String) {
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/firmware-sim.toml");
    let mut program = Command::new(env!("CARGO_BIN_EXE_carepost-sim"));
    program
        .args(["--config", config])
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let Output { status, stdout, stderr } = soon("the end", program.output()).await.unwrap();
    (
        status.code(),
        String::from_utf8(stdout).unwrap(),
        String::from_utf8(stderr).unwrap(),
    )
}

#[tokio::test]
async fn a_seat_that_is_none_and_a_bus_without_one_are_wrong_usage() {
    for arguments in [
        ["--adapter", "hci1="].as_slice(),
        &["--adapter", "../hci1"],
        &["--bus", "system"],
    ] {
        let (code, stdout, stderr) = output(arguments).await;
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
    }
}

#[tokio::test]
async fn a_meter_that_is_not_configured_is_said_with_those_that_are() {
    let (code, _, stderr) = output(&["--adapter", "hci1=nobody"]).await;
    assert_eq!(code, Some(1));
    assert!(stderr.contains("nobody") && stderr.contains("store-cuff"), "{stderr}");
}

#[tokio::test]
async fn a_bus_that_is_not_there_is_said_by_its_address() {
    let folder = tempfile::tempdir().unwrap();
    let bus = format!("unix:path={}", folder.path().join("no-bus").display());
    let (code, stdout, stderr) = output(&["--adapter", "hci1=store-cuff", "--bus", &bus]).await;
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains("no-bus"), "{stderr}");
}
