//! The committed corpora of the fuzzers, replayed: every input that ever found something, and the seeds.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use system_tests::fuzz_targets::TARGETS;
use system_tests::programs::{Program, run_to_end};

/// Most bytes of all committed corpora together: seeds and findings, not what a fuzzer collects.
const MAX_CORPUS_BYTES: u64 = 2 * 1024 * 1024;

fn fuzz_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn inputs(target: &str) -> Vec<PathBuf> {
    let folder = fuzz_folder().join("corpus").join(target);
    let mut inputs: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    inputs.sort();
    inputs
}

/// Runs every input of a target and names the one that breaks a promise.
fn replay(name: &str) {
    let (_, target) = TARGETS.into_iter().find(|(target, _)| *target == name).unwrap();
    let inputs = inputs(name);
    assert!(!inputs.is_empty(), "{name} has a corpus");
    for input in inputs {
        let bytes = std::fs::read(&input).unwrap();
        let outcome = std::panic::catch_unwind(|| target(&bytes));
        assert!(outcome.is_ok(), "{} breaks a promise of {name}", input.display());
    }
    // No input is special: the empty one, every single byte, and a long one of each byte.
    target(&[]);
    for byte in 0..=u8::MAX {
        target(&[byte]);
        target(&[byte; 600]);
    }
}

#[test]
fn values_of_meters() {
    replay("meter_values");
}

#[test]
fn conversations_with_glucose_meters() {
    replay("glucose_sync");
}

#[test]
fn messages_on_the_wire() {
    replay("wire");
}

#[test]
fn readings_at_the_servers_gate() {
    replay("server_admission");
}

#[test]
fn configuration_files_and_rule_sets() {
    replay("config_files");
}

#[test]
fn lines_of_the_simulators_control_interface() {
    replay("sim_control");
}

/// A target that is not built by the fuzz crate, or has no corpus, would never be run.
#[test]
fn every_target_has_a_binary_and_a_corpus_and_all_are_small() {
    let names = |folder: &str, extension: Option<&str>| -> BTreeSet<String> {
        std::fs::read_dir(fuzz_folder().join(folder))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension() == extension.map(OsStr::new))
            .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
            .collect()
    };
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names("fuzz_targets", Some("rs")), targets);
    assert_eq!(names("corpus", None), targets);
    let bytes: u64 = TARGETS
        .iter()
        .flat_map(|(name, _)| inputs(name))
        .map(|input| input.metadata().unwrap().len())
        .sum();
    assert!(bytes <= MAX_CORPUS_BYTES, "the corpora have {bytes} bytes");
}

/// The files of the corpus through the programs that would read them. A program says what is wrong with a file and exits
/// with 78, or prints what is in force and exits with 0; it never crashes.
#[tokio::test]
async fn every_program_survives_every_file_of_the_corpus() {
    let folder = tempfile::tempdir().unwrap();
    for input in inputs("config_files") {
        let bytes = std::fs::read(&input).unwrap();
        // Only inputs that are one file; the others are flags and lines.
        let Some((0 | 2, text)) = bytes.split_first().map(|(case, text)| (case % 4, text)) else {
            continue;
        };
        let file = folder.path().join("file.toml");
        std::fs::write(&file, text).unwrap();
        for program in [Program::Gateway, Program::Server, Program::Sim] {
            let arguments = [OsStr::new("--config"), file.as_os_str(), OsStr::new("--print-config")];
            let output = run_to_end(program, &arguments, &[], "").await.unwrap();
            let code = output.status.code();
            assert!(
                matches!(code, Some(0 | 78)),
                "{program:?} ends with {code:?} on {}:\n{}",
                input.display(),
                String::from_utf8_lossy(&output.stderr)
            );
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!said.contains("panicked"), "{said}");
        }
    }
}
