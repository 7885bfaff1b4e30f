//! The program itself.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::PASSWORD;
use crate::wire::PATIENCE;

const KEY: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
const GATEWAY: &str = "018f3c5e-0000-7000-8000-000000000001";

/// Runs the program with a data folder of its own and no environment but that.
fn program(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_carepost-server"));
    command
        .args(arguments)
        .env_clear()
        .env("CAREPOST_SERVER_DATA_DIR", folder)
        .env("CAREPOST_SERVER_HTTP__LISTEN", "127.0.0.1:0")
        .env("CAREPOST_SERVER_MQTT__LISTEN", "127.0.0.1:0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn run(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = program(folder, arguments).spawn().unwrap();
    // The program may not read it.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    child.wait_with_output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn id_of(output: &Output) -> String {
    assert_eq!(code(output), 0, "{}", err(output));
    let line: Value = serde_json::from_slice(&output.stdout).unwrap();
    line["id"].as_str().unwrap().to_owned()
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn it_explains_itself() {
    let folder = folder();
    for argument in ["--help", "--version"] {
        let output = run(folder.path(), &[argument], "");
        assert_eq!(code(&output), 0);
        assert!(String::from_utf8_lossy(&output.stdout).contains("carepost-server") || argument == "--help");
    }
    assert_eq!(code(&run(folder.path(), &["nonsense"], "")), 2);
    let output = run(folder.path(), &["--print-config"], "");
    assert_eq!(code(&output), 0);
    assert!(String::from_utf8_lossy(&output.stdout).contains("[mqtt]"));
}

#[test]
fn an_mqtt_address_that_others_can_reach_is_refused_before_anything_is_touched() {
    let folder = folder();
    let data = folder.path().join("data");
    let output = run(
        &data,
        &["run", "--set", "mqtt.listen=0.0.0.0:1883", "--set", "jobs.poll_ms=1"],
        "",
    );
    assert_eq!(code(&output), 78);
    let text = err(&output);
    assert!(text.contains("mqtt.listen must be a loopback address"), "{text}");
    assert!(text.contains("jobs.poll_ms must be from 50"), "all at once: {text}");
    assert!(!data.exists());
}

#[test]
fn stores_staff_and_gateways_are_added_and_listed() {
    let folder = folder();
    let at = folder.path();
    let store = id_of(&run(
        at,
        &["store", "add", "--name", "Store 1", "--zone", "Asia/Shanghai"],
        "",
    ));
    let staff = |login: &str, role: &str, input: &str| {
        run(
            at,
            &[
                "staff", "add", "--login", login, "--name", "Anna", "--role", role, "--store", &store,
            ],
            input,
        )
    };
    id_of(&staff("anna", "pharmacist", &format!("{PASSWORD}\n")));
    for (login, role, input, expected, says) in [
        ("anna", "pharmacist", PASSWORD, 1, "taken"),
        ("bert", "king", PASSWORD, 2, "staff role"),
        ("bert", "it", "", 2, "standard input"),
        ("bert", "it", "short", 1, "at least"),
    ] {
        let output = staff(login, role, input);
        assert_eq!(code(&output), expected, "{login} {role}: {}", err(&output));
        assert!(err(&output).contains(says), "{}", err(&output));
        assert!(!err(&output).contains(PASSWORD));
    }
    let file = at.join("password");
    std::fs::write(&file, PASSWORD).unwrap();
    let with_file = [
        "staff",
        "add",
        "--login",
        "it",
        "--name",
        "I",
        "--role",
        "it",
        "--store",
        &store,
        "--password-file",
    ];
    id_of(&run(at, &[&with_file[..], &[file.to_str().unwrap()]].concat(), ""));

    let add = ["gateway", "add", "--store", &store, "--name", "kiosk"];
    let identity = format!(r#"{{"gateway":"{GATEWAY}","public_key":"{KEY}"}}"#);
    for _ in 0..2 {
        assert_eq!(id_of(&run(at, &add, &identity)), GATEWAY);
    }
    let other = format!("01{}", "00".repeat(31));
    assert_eq!(
        code(&run(
            at,
            &[&add[..], &["--id", GATEWAY, "--public-key", &other]].concat(),
            ""
        )),
        2
    );
    assert_eq!(code(&run(at, &add, "{}")), 2);
    let listed = run(at, &["gateway", "list"], "");
    let line: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(
        (line["id"].as_str(), line["revoked_at"].as_str()),
        (Some(GATEWAY), None)
    );
    assert_eq!(
        code(&run(at, &["gateway", "revoke", GATEWAY, "--reason", "stolen"], "")),
        0
    );
    assert_eq!(code(&run(at, &add, &identity)), 1, "revoked is for ever");
    assert_eq!(code(&run(at, &["store", "list"], "")), 0);
    assert_eq!(code(&run(at, &["migrate"], "")), 0);
}

#[test]
fn it_says_where_it_listens_and_stops_when_told() {
    let folder = folder();
    let mut child = program(folder.path(), &["run"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for name in ["http", "mqtt"] {
        let line = lines.next().unwrap().unwrap();
        let address: std::net::SocketAddr = line.strip_prefix(&format!("{name} ")).unwrap().parse().unwrap();
        assert!(address.ip().is_loopback() && address.port() != 0, "{line}");
        std::net::TcpStream::connect(address).unwrap();
    }
    let kill = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(kill.success());
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < deadline, "it does not stop");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(status.code(), Some(0));
    assert!(lines.next().is_none(), "nothing else on standard output");
}

#[test]
fn the_bench_evaluates_cases_and_names_bad_lines() {
    let folder = folder();
    let at = folder.path();
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/rules/cn-2024.toml");
    let rules = rules.to_str().unwrap();
    let evaluate = ["rules", "evaluate", "--rules", rules, "-"];
    let case = r#"{"id":"a","now":"2026-03-01T10:00:00+08:00","profile":{"birth_year":1960},"readings":[
        {"id":"r1","kind":"bp","measured_at":"2026-03-01T09:50:00+08:00","place":"store","systolic":190,"diastolic":120},
        {"id":"r2","kind":"bp","measured_at":"2026-03-01T09:52:00+08:00","place":"store","systolic":188,"diastolic":121}]}"#
        .replace('\n', "");
    let output = run(at, &evaluate, &format!("{case}\n"));
    assert_eq!(code(&output), 0, "{}", err(&output));
    let line: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(line["id"], "a");
    let rules_found: Vec<_> = line["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| found["rule"].clone())
        .collect();
    assert!(rules_found.contains(&Value::from("BP-02")), "{line}");

    let output = run(at, &evaluate, &format!("{case}\n{{}}\n{case}\n"));
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("line 2"), "{}", err(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 2);

    let cases = at.join("cases.jsonl");
    std::fs::write(&cases, &case).unwrap();
    assert_eq!(
        code(&run(
            at,
            &["rules", "evaluate", "--rules", rules, cases.to_str().unwrap()],
            ""
        )),
        0
    );
    assert_eq!(code(&run(at, &["rules", "check", rules], "")), 0);
    let bad = at.join("bad.toml");
    std::fs::write(&bad, "x = 1\n").unwrap();
    for arguments in [
        vec!["rules", "check", bad.to_str().unwrap()],
        vec!["rules", "evaluate", "--rules", bad.to_str().unwrap(), "-"],
    ] {
        assert_eq!(code(&run(at, &arguments, "")), 78);
    }
    assert_eq!(
        code(&run(at, &["rules", "evaluate", "--rules", rules, "nowhere.jsonl"], "")),
        1
    );
}
