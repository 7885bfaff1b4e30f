//! Files and settings that people write: the simulator's configuration with its layers, rule sets, and quirk tables.
//!
//! Promises: either a value, which is the same after it was printed and read again, or a bounded list of problems, each
//! with words. The gateway's and the server's files go through the same loader; the corpus's files are also handed to
//! the programs themselves (`tests/tests/corpus.rs`).

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use carepost_daemon::config::{ConfigError, Loaded, MAX_PROBLEMS, Sources, load_with_environment};
use carepost_domain::care::rule_set::{CN_2024, RuleSet};
use carepost_domain::quirks::{MAX_ENTRIES, METERS, QuirkTable, Traits};
use carepost_sim::config::SimConfig;
use tempfile::TempDir;

use super::script::Script;

const PREFIX: &str = "CAREPOST_SIM_";

/// See the module.
pub fn config_files(data: &[u8]) {
    let mut script = Script::new(data);
    match script.u8() % 6 {
        0 => file(script.rest(), &[], &[]),
        // Flags and environment variables over a file: three pieces, each pair a line `key=value`.
        1 => {
            let flags = pairs(script.piece());
            let environment = pairs(script.piece());
            file(script.rest(), &flags, &environment);
        }
        2 => rule_set(&String::from_utf8_lossy(script.rest())),
        // What is right but for one line.
        3 => {
            let line = usize::from(script.u16());
            rule_set(&with_line(CN_2024, line, &String::from_utf8_lossy(script.rest())));
        }
        4 => quirk_table(&String::from_utf8_lossy(script.rest())),
        _ => {
            let line = usize::from(script.u16());
            quirk_table(&with_line(METERS, line, &String::from_utf8_lossy(script.rest())));
        }
    }
}

fn with_line(text: &str, number: usize, replacement: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let at = number % lines.len().max(1);
    let changed: Vec<&str> = lines
        .iter()
        .enumerate()
        .map(|(n, line)| if n == at { replacement } else { line })
        .collect();
    changed.join("\n")
}

fn pairs(bytes: &[u8]) -> Vec<(String, String)> {
    String::from_utf8_lossy(bytes)
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn file(bytes: &[u8], flags: &[(String, String)], environment: &[(String, String)]) {
    let scratch = Scratch::with(bytes);
    match load(scratch.path(), flags, environment) {
        Ok(loaded) => {
            let printed = Scratch::with(loaded.effective.as_bytes());
            let again = load(printed.path(), &[], &[]).expect("what is printed can be read");
            assert_eq!(again.config, loaded.config, "what is printed is what is in force");
        }
        Err(ConfigError::Invalid { problems }) => {
            assert!((1..=MAX_PROBLEMS).contains(&problems.len()));
            for problem in &problems {
                assert!(!problem.message.is_empty());
                assert!(!problem.to_string().chars().any(char::is_control), "{problem}");
            }
        }
        Err(ConfigError::Syntax { line, column, .. }) => assert!(line >= 1 && column >= 1),
        // Bytes that are no UTF-8.
        Err(ConfigError::Read { .. }) => assert!(std::str::from_utf8(bytes).is_err()),
        Err(error @ (ConfigError::TooLarge { .. } | ConfigError::Render { .. })) => panic!("{error}"),
    }
}

fn load(
    path: &Path,
    flags: &[(String, String)],
    environment: &[(String, String)],
) -> Result<Loaded<SimConfig>, ConfigError> {
    let environment = environment
        .iter()
        .map(|(key, value)| (OsString::from(format!("{PREFIX}{key}")), OsString::from(value)));
    let sources = Sources {
        file: Some(path.to_owned()),
        env_prefix: PREFIX,
        overrides: flags.to_vec(),
    };
    load_with_environment(sources, environment)
}

/// A file of its own for this input, in a folder that the whole process uses.
struct Scratch {
    file: tempfile::NamedTempFile,
}

impl Scratch {
    fn with(bytes: &[u8]) -> Self {
        static FOLDER: OnceLock<TempDir> = OnceLock::new();
        let folder: &PathBuf = &FOLDER
            .get_or_init(|| tempfile::tempdir().expect("a folder for temporary files"))
            .path()
            .to_owned();
        let file = tempfile::NamedTempFile::new_in(folder).expect("a temporary file");
        std::fs::write(file.path(), bytes).expect("a temporary file can be written");
        Self { file }
    }

    fn path(&self) -> &Path {
        self.file.path()
    }
}

fn rule_set(text: &str) {
    match RuleSet::parse(text) {
        Ok(rules) => assert_eq!(RuleSet::parse(text), Ok(rules), "a file has one meaning"),
        Err(errors) => {
            assert!(!errors.problems.is_empty());
            for problem in &errors.problems {
                assert!(!problem.message.is_empty());
            }
        }
    }
}

/// A table is valid as a whole, and finds an entry or none for any meter; an entry is found by its own id.
fn quirk_table(text: &str) {
    match QuirkTable::parse(text) {
        Ok(table) => {
            assert!(table.iter().count() <= MAX_ENTRIES);
            for quirk in table.iter() {
                assert_eq!(table.by_id(&quirk.id), Some(quirk), "an id is given once");
                assert!(quirk.family.len() <= text.len());
            }
            let services = ["1810".to_owned(), "0000fe4a-0000-1000-8000-00805f9b34fb".to_owned()];
            for services in [&services[..], &[]] {
                let traits = Traits {
                    manufacturer: "BEURER GmbH",
                    model: "BM85",
                    firmware: "1.0",
                    name: "BLEsmart_0000",
                    services,
                };
                assert_eq!(table.find(&traits), table.find(&traits));
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
