//! Layered configuration: defaults < file < environment < flags, with all problems reported at once.
//!
//! A program's configuration is a struct of sections. Each struct carries `#[serde(default, deny_unknown_fields)]` and
//! a `Default`, which is the lowest layer. The layers above it are TOML:
//!
//! - the file that `--config` names;
//! - environment variables: the program's prefix and the key in capitals, its parts separated by two underscores, so
//!   that `CAREPOST_GATEWAY_UPLINK__PORT=1883` sets `uplink.port`;
//! - flags: `--set uplink.port=1883`.
//!
//! Values of the last two are TOML values, and plain text where the field is a text: `8`, `true`, `[1, 2]`,
//! `{ port = 1 }`, `store-7`, `"store 7"`. Tables merge key by key; every other value replaces the one below it.
//!
//! A syntax error in the file is reported alone, since nothing after it can be trusted. Otherwise [`load`] reports
//! every unknown key, every wrong value and every problem that [`Validate`] finds. serde stops at its first error, so
//! the offending value is set aside and the rest is read again until it can be read. Values are not repeated in
//! messages except for numbers and names out of a list, because they may be secrets.

mod de;
mod env;
mod report;
mod tree;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use self::de::Fault;
use self::tree::Node;

pub use self::report::{Origin, Problem, Problems, Validate};

/// Largest configuration file. A shop's file is a few kilobytes; reading it costs memory before it can be judged.
pub const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Problems that are reported before [`load`] stops looking for more.
pub const MAX_PROBLEMS: usize = 100;

/// Deepest key, in parts. No configuration of ours is deeper than four.
pub const MAX_KEY_PARTS: usize = 16;

/// Where the layers above the defaults come from.
#[derive(Clone, Debug)]
pub struct Sources<'a> {
    /// The file, when one was named. It must exist then.
    pub file: Option<PathBuf>,
    /// The whole prefix of environment variables with its last underscore: `CAREPOST_GATEWAY_`.
    pub env_prefix: &'a str,
    /// Dotted keys and their values from the command line; a later entry wins.
    pub overrides: Vec<(String, String)>,
}

/// A configuration that was read and validated.
#[derive(Clone, Debug)]
pub struct Loaded<T> {
    /// The configuration.
    pub config: T,
    /// The same as TOML for people, with secrets redacted ([`SecretText`](crate::SecretText)).
    pub effective: String,
}

/// Why there is no usable configuration. Programs exit with [`exit::CONFIG`](crate::exit::CONFIG).
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The named file cannot be read.
    #[error("cannot read the configuration file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The file is larger than any configuration.
    #[error("the configuration file {} is larger than {limit_bytes} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// [`MAX_FILE_BYTES`].
        limit_bytes: u64,
    },
    /// The file is not TOML. The line itself is not repeated: it may hold a secret.
    #[error("the configuration file {} is not valid TOML at line {line}, column {column}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// The parser's words.
        message: String,
    },
    /// Keys or values are wrong.
    #[error("{}", report::summary(problems))]
    Invalid {
        /// All of them, up to [`MAX_PROBLEMS`].
        problems: Vec<Problem>,
    },
    /// The configuration holds something that TOML cannot express. A mistake in the program.
    #[error("cannot print the effective configuration")]
    Render {
        /// What cannot be expressed.
        source: toml::ser::Error,
    },
}

/// Loads a configuration from its layers, with the environment of the process.
///
/// # Errors
/// See [`ConfigError`]; nothing but the file is touched.
pub fn load<T>(sources: Sources<'_>) -> Result<Loaded<T>, ConfigError>
where
    T: DeserializeOwned + Serialize + Validate,
{
    load_with_environment(sources, std::env::vars_os())
}

/// As [`load`], with an environment of the caller's.
///
/// # Errors
/// As [`load`].
pub fn load_with_environment<T>(
    sources: Sources<'_>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Loaded<T>, ConfigError>
where
    T: DeserializeOwned + Serialize + Validate,
{
    let mut problems = Vec::new();
    let mut tree = Node::empty_table(Origin::Default);
    if let Some(path) = &sources.file {
        tree.merge(read_file(path)?);
    }
    env::merge(&mut tree, sources.env_prefix, environment, &mut problems);
    for (key, text) in &sources.overrides {
        match split_key(key.split('.')) {
            Ok(parts) => tree.merge(Node::from_text(text, &parts, &Origin::Flag)),
            Err(message) => problems.push(Problem::new(key.clone(), Origin::Flag, message)),
        }
    }

    let Reading::<T> { config, set_aside } = read(&mut tree, &mut problems);
    if let Some(config) = &config {
        let mut found = Problems::default();
        config.validate(&mut found);
        for (key, message) in found.into_entries() {
            // A default that stands in for a value already complained about is not the person's mistake.
            if !set_aside.iter().any(|aside| is_at_or_below(&key, aside)) {
                let origin = tree.origin(&key);
                problems.push(Problem::new(key, origin, message));
            }
        }
    }
    match config {
        Some(config) if problems.is_empty() => {
            let effective = toml::to_string_pretty(&config).map_err(|source| ConfigError::Render { source })?;
            Ok(Loaded { config, effective })
        }
        _ => {
            problems.truncate(MAX_PROBLEMS);
            Err(ConfigError::Invalid { problems })
        }
    }
}

/// What came of reading a tree: the configuration, unless a value without a default is missing, and the keys that
/// were set aside on the way.
struct Reading<T> {
    config: Option<T>,
    set_aside: Vec<String>,
}

/// Reads the tree, setting faulty values aside until the rest can be read. Every round removes a node or ends.
fn read<T: DeserializeOwned>(tree: &mut Node, problems: &mut Vec<Problem>) -> Reading<T> {
    let mut set_aside: Vec<String> = Vec::new();
    while problems.len() < MAX_PROBLEMS {
        let error = match tree.read::<T>() {
            Ok(config) => {
                return Reading {
                    config: Some(config),
                    set_aside,
                };
            }
            Err(error) => error,
        };
        let at = error.key();
        match &error.fault {
            Fault::Missing(field) => {
                let key = error.child_key(field);
                // A field that was set aside has had its own message.
                if !set_aside.contains(&key) {
                    problems.push(Problem::new(key, tree.origin(&at), "is missing and has no default"));
                }
            }
            fault => problems.push(Problem::new(at.clone(), tree.origin(&at), fault.to_string())),
        }
        if !tree.remove(&error.path) {
            break;
        }
        // The list loses an element, so that numbers in later complaints about the list would mislead.
        let parent = error.path.split_last().map(|(_, parent)| parent.join("."));
        match parent {
            Some(parent) if tree.is_list(&parent) => set_aside.extend([at, parent]),
            _ => set_aside.push(at),
        }
    }
    Reading {
        config: None,
        set_aside,
    }
}

fn read_file(path: &Path) -> Result<Node, ConfigError> {
    let cannot_read = |source| ConfigError::Read {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(cannot_read)?;
    let mut text = String::new();
    // One byte over the limit is enough to know that the file is over it.
    file.take(MAX_FILE_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(cannot_read)?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > MAX_FILE_BYTES {
        return Err(ConfigError::TooLarge {
            path: path.to_owned(),
            limit_bytes: MAX_FILE_BYTES,
        });
    }
    let table = toml::from_str::<toml::Table>(&text).map_err(|error| {
        let (line, column) = line_and_column(&text, error.span().map_or(0, |span| span.start));
        ConfigError::Syntax {
            path: path.to_owned(),
            line,
            column,
            message: error.message().to_owned(),
        }
    })?;
    Ok(Node::from_toml(
        toml::Value::Table(table),
        &Origin::File(path.to_owned()),
    ))
}

/// The line and column of a byte position, both from 1.
fn line_and_column(text: &str, position: usize) -> (usize, usize) {
    let before = text.get(..position).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

/// The parts of a key from the environment or the command line, checked.
fn split_key<'a>(parts: impl Iterator<Item = &'a str>) -> Result<Vec<String>, String> {
    // One more than is allowed is enough to know; the environment may hold far longer names.
    let parts: Vec<String> = parts.take(MAX_KEY_PARTS + 1).map(str::to_owned).collect();
    if parts.len() > MAX_KEY_PARTS {
        return Err(format!("has more than {MAX_KEY_PARTS} parts"));
    }
    if parts.iter().any(String::is_empty) {
        return Err("has an empty part".to_owned());
    }
    Ok(parts)
}

fn is_at_or_below(key: &str, ancestor: &str) -> bool {
    key.strip_prefix(ancestor)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests;
