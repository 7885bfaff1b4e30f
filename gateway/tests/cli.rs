//! The program as a person at a terminal meets it. Meters and servers come in the workspace's system tests.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_carepost-gateway");

fn program(arguments: &[&str], data_dir: Option<&Path>) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).env("RUST_BACKTRACE", "0");
    if let Some(data_dir) = data_dir {
        command.env("CAREPOST_GATEWAY_DATA_DIR", data_dir);
    }
    command
}

fn run(arguments: &[&str], data_dir: Option<&Path>) -> Output {
    program(arguments, data_dir).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn json(output: &Output) -> Value {
    let out = text(&output.stdout);
    assert_eq!(out.lines().count(), 1, "one line: {out}");
    serde_json::from_str(&out).unwrap()
}

#[test]
fn decode_prints_one_line_and_says_by_its_exit_code_whether_the_value_was_accepted() {
    let accepted = run(&["decode", "2A35", "00 7E 00 4E 00 FF 07"], None);
    assert_eq!(accepted.status.code(), Some(0));
    let line = json(&accepted);
    assert_eq!(
        (&line["ok"], &line["systolic"], &line["diastolic"]),
        (&Value::from(true), &Value::from(126), &Value::from(78))
    );
    let rejected = run(&["decode", "2A35", ""], None);
    assert_eq!(
        (rejected.status.code(), &json(&rejected)["ok"]),
        (Some(1), &Value::from(false))
    );
    for wrong in [
        &["decode", "2A35", "0"][..],
        &["decode", "FFFF", "00"],
        &["decode", "2A35"],
        &["decode"],
        &["no-such-command"],
    ] {
        let output = run(wrong, None);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{wrong:?}");
    }
    // Support staff have no configuration.
    assert_eq!(
        run(
            &["decode", "SFLOAT", "6EB0", "--config", "/nonexistent/gateway.toml"],
            None
        )
        .status
        .code(),
        Some(0)
    );
}

#[test]
fn identity_is_made_once() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    let first = json(&run(&["identity"], Some(&data_dir)));
    let second = json(&run(&["identity"], Some(&data_dir)));
    assert_eq!(first, second);
    assert_eq!(first["public_key"].as_str().unwrap().len(), 64);
    assert_eq!(first["gateway"].as_str().unwrap().len(), 36);
}

#[test]
fn a_bad_configuration_is_refused_whole_before_anything_is_touched() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    let output = run(
        &[
            "--set",
            "kiosk.listen=0.0.0.0:80",
            "--set",
            "uplink.host=192.0.2.1",
            "--set",
            "what.is=this",
        ],
        Some(&data_dir),
    );
    assert_eq!(output.status.code(), Some(78));
    let complaint = text(&output.stderr);
    for key in ["kiosk.listen", "uplink.host", "what"] {
        assert!(complaint.contains(key), "{key} in {complaint}");
    }
    assert!(!data_dir.exists());
    assert_eq!(
        run(&["--config", "/nonexistent/gateway.toml", "status"], Some(&data_dir))
            .status
            .code(),
        Some(78)
    );
}

#[test]
fn the_shipped_configuration_is_accepted_and_printed() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/gateway.toml");
    let output = run(&["--config", file, "--print-config"], None);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("listen = \"127.0.0.1:8470\""));
}

#[test]
fn status_without_a_daemon_says_so_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    let quiet = ["--set", "kiosk.listen=127.0.0.1:0"];
    let output = run(&[&quiet[..], &["status"]].concat(), Some(&data_dir));
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("not running"));
    assert!(!data_dir.exists());
    let report = json(&run(&[&quiet[..], &["status", "--json"]].concat(), Some(&data_dir)));
    assert_eq!(
        (&report["running"], &report["spool"]),
        (&Value::from(false), &Value::Null)
    );
}

/// A daemon that is killed when the test ends, however it ends.
struct Daemon(Child);

impl Daemon {
    fn start(data_dir: &Path) -> (Self, String) {
        let mut child = program(
            &[
                "--set",
                "kiosk.listen=127.0.0.1:0",
                "--set",
                "clock.synchronised_marker=",
            ],
            Some(data_dir),
        )
        // A bus that does not exist: the daemon goes on without Bluetooth and says so.
        .env(
            "DBUS_SYSTEM_BUS_ADDRESS",
            format!("unix:path={}/no-bus", data_dir.display()),
        )
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        (Self(child), line)
    }

    fn signal(&self, name: &str) {
        assert!(
            Command::new("kill")
                .args([name, &self.0.id().to_string()])
                .status()
                .unwrap()
                .success()
        );
    }

    fn wait(&mut self) -> Option<i32> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "the daemon does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It has ended already in every test that passes.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn a_daemon_is_asked_over_its_port_and_its_file_is_read_once_it_has_gone() {
    let folder = tempfile::tempdir().unwrap();
    let (mut daemon, ready) = Daemon::start(folder.path());
    assert!(ready.starts_with("ready http://127.0.0.1:"), "{ready}");
    let status = || json(&run(&["status", "--json"], Some(folder.path())));
    let deadline = Instant::now() + Duration::from_secs(30);
    let report = loop {
        let report = status();
        assert_eq!(report["running"], Value::from(true));
        if report["daemon"]["link"]["is"] == "no_bus" {
            break report;
        }
        assert!(Instant::now() < deadline, "{report}");
    };
    let identity = json(&run(&["identity"], Some(folder.path())));
    assert_eq!(report["daemon"]["gateway"], identity["gateway"]);
    assert_eq!(report["daemon"]["clock"]["is"], "unconfirmed");
    for key in [
        "spooled",
        "sealed",
        "quarantined",
        "outbox",
        "possible_gaps",
        "delivered",
    ] {
        assert_eq!(report["spool"][key], Value::from(0), "{key}");
    }
    assert!(text(&run(&["status"], Some(folder.path())).stdout).contains("no Bluetooth service"));
    // A second one must not use the same folder.
    let second = run(&["--set", "kiosk.listen=127.0.0.1:0"], Some(folder.path()));
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second.stderr).contains("another gateway"));
    daemon.signal("-TERM");
    assert_eq!(daemon.wait(), Some(0));
    let report = status();
    assert_eq!(
        (&report["running"], &report["spool"]["outbox"]),
        (&Value::from(false), &Value::from(0))
    );
    // After a kill, the note of the port is stale; the file is read all the same.
    let (mut daemon, _) = Daemon::start(folder.path());
    daemon.signal("-KILL");
    assert_eq!(daemon.wait(), None);
    assert_eq!(status()["running"], Value::from(false));
}

#[test]
fn another_gateways_answer_is_not_ours() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    run(&["identity"], Some(ours.path()));
    let (mut daemon, ready) = Daemon::start(theirs.path());
    let listen = format!("kiosk.listen={}", ready.trim().strip_prefix("ready http://").unwrap());
    let report = json(&run(&["--set", &listen, "status", "--json"], Some(ours.path())));
    assert_eq!(report["running"], Value::from(false), "{report}");
    daemon.signal("-TERM");
    assert_eq!(daemon.wait(), Some(0));
}
