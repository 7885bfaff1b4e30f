//! The program: its output, its exit codes, its end.

use std::path::PathBuf;
use std::process::{Output, Stdio};

use carepost_sim::control::Client;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use super::support::soon;

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_carepost-sim"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

async fn output(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = soon("the end", program(arguments).output()).await.unwrap();
    (
        status.code(),
        String::from_utf8(stdout).unwrap(),
        String::from_utf8(stderr).unwrap(),
    )
}

fn shipped() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../config/firmware-sim.toml")
}

#[tokio::test]
async fn the_shipped_neighbourhood_starts_says_so_in_two_lines_and_stops_on_request() {
    let config = shipped();
    let mut child = program(&["--config", config.to_str().unwrap()]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let control = soon("the control line", lines.next_line()).await.unwrap().unwrap();
    let bus = soon("the bus line", lines.next_line()).await.unwrap().unwrap();
    let control = control.strip_prefix("control ").expect("control ADDRESS").to_owned();
    let bus = bus.strip_prefix("bus ").expect("bus ADDRESS").to_owned();

    let mut client = Client::connect(control.parse().unwrap()).await.unwrap();
    let state = client.list().await.unwrap();
    let seen: Vec<(&str, usize)> = state
        .meters
        .iter()
        .map(|meter| (meter.meter.as_str(), meter.stored))
        .collect();
    assert_eq!(seen, [("store-cuff", 0), ("member-glucose", 60), ("home-cuff", 0)]);
    let connection = zbus::connection::Builder::address(bus.as_str()).build().await.unwrap();
    let name = "org.freedesktop.DBus";
    let owner = connection
        .call_method(
            Some(name),
            "/org/freedesktop/DBus",
            Some(name),
            "GetNameOwner",
            &"org.bluez",
        )
        .await;
    assert!(owner.is_ok(), "{owner:?}");

    let pid = child.id().unwrap().to_string();
    let killed = Command::new("kill").args(["-TERM", &pid]).status().await.unwrap();
    assert!(killed.success());
    let status = soon("the end", child.wait()).await.unwrap();
    assert_eq!(status.code(), Some(0));
    assert_eq!(
        lines.next_line().await.unwrap(),
        None,
        "nothing else on standard output"
    );
    // The socket is gone with the bus.
    assert!(zbus::connection::Builder::address(bus.as_str()).build().await.is_err());
}

#[tokio::test]
async fn help_and_version_are_there() {
    let (code, stdout, _) = output(&["--help"]).await;
    assert_eq!(code, Some(0));
    assert!(
        stdout.contains("DBUS_SYSTEM_BUS_ADDRESS") && stdout.contains("--config"),
        "{stdout}"
    );
    let (code, stdout, _) = output(&["--version"]).await;
    assert_eq!((code, stdout.as_str()), (Some(0), "carepost-sim 0.1.0\n"));
    assert_eq!(output(&["--dance"]).await.0, Some(2));
}

#[tokio::test]
async fn a_wrong_configuration_is_reported_as_a_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sim.toml");
    let text = "[control]\nlisten = \"0.0.0.0:1\"\n[adapter]\nmodalias = \"x\"\n[[meters]]\nname = \"A\"\n\
                kind = \"cuff\"\naddress = \"1\"\nlocal_name = \"B\"\nrssi = 99\n";
    std::fs::write(&path, text).unwrap();
    let (code, stdout, stderr) = output(&["--config", path.to_str().unwrap(), "--set", "colour=red"]).await;
    assert_eq!((code, stdout.as_str()), (Some(78), ""));
    for key in [
        "control.listen",
        "adapter.modalias",
        "meters.0.name",
        "meters.0.address",
        "meters.0.rssi",
        "colour",
    ] {
        assert!(stderr.contains(key), "{key} is missing in:\n{stderr}");
    }
}

#[tokio::test]
async fn a_control_address_in_use_is_a_failure() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("control.listen={}", taken.local_addr().unwrap());
    let (code, stdout, stderr) = output(&["--set", &listen]).await;
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains("cannot listen for control connections"), "{stderr}");
}
