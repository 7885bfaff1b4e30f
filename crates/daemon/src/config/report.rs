//! What is wrong with a configuration, and where it came from.

use std::fmt;
use std::path::PathBuf;

/// A configuration, or a section of one, that can say what is wrong with its values.
pub trait Validate {
    /// Adds every problem. A section calls its parts inside [`Problems::within`].
    fn validate(&self, problems: &mut Problems);
}

/// Collects what [`Validate`] finds.
#[derive(Debug, Default)]
pub struct Problems {
    prefix: Vec<String>,
    entries: Vec<(String, String)>,
}

impl Problems {
    /// Adds a problem with one key, relative to the current section. The message continues a sentence that begins with
    /// the key, and says what is allowed: `"must be from 1 to 60"`.
    pub fn add(&mut self, key: impl AsRef<str>, message: impl Into<String>) {
        let mut parts: Vec<&str> = self.prefix.iter().map(String::as_str).collect();
        if !key.as_ref().is_empty() {
            parts.push(key.as_ref());
        }
        self.entries.push((parts.join("."), message.into()));
    }

    /// Adds what `check` finds below `key`. List elements are keys too: `problems.within("meters.0", ...)`.
    pub fn within(&mut self, key: impl Into<String>, check: impl FnOnce(&mut Self)) {
        self.prefix.push(key.into());
        check(self);
        self.prefix.pop();
    }

    /// How many problems there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Dotted keys and messages, in the order in which they were added. For tests of a section.
    pub fn into_entries(self) -> Vec<(String, String)> {
        self.entries
    }
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The program's own default.
    Default,
    /// A configuration file.
    File(PathBuf),
    /// The environment variable of this name.
    Environment(String),
    /// The command line.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::File(path) => write!(formatter, "file {}", path.display()),
            Self::Environment(name) => write!(formatter, "environment variable {name}"),
            Self::Flag => formatter.write_str("command line"),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The dotted key; list elements by number from 0. Empty for the whole configuration.
    pub key: String,
    /// Where the value came from.
    pub origin: Origin,
    /// What is wrong and what is allowed, continuing a sentence that begins with the key.
    pub message: String,
}

impl Problem {
    pub(super) fn new(key: String, origin: Origin, message: impl Into<String>) -> Self {
        Self {
            key,
            origin,
            message: message.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = if self.key.is_empty() {
            "the configuration"
        } else {
            &self.key
        };
        // Keys come from outside; a terminal shall not obey one.
        write!(
            formatter,
            "{} {} ({})",
            key.escape_debug(),
            self.message,
            self.origin.to_string().escape_debug()
        )
    }
}

/// The problems as one text, a line each.
pub(super) fn summary(problems: &[Problem]) -> String {
    let mut text = match problems.len() {
        1 => "the configuration has 1 problem:".to_owned(),
        super::MAX_PROBLEMS => format!("the configuration has {} problems or more:", super::MAX_PROBLEMS),
        count => format!("the configuration has {count} problems:"),
    };
    for problem in problems {
        text.push_str("\n  ");
        text.push_str(&problem.to_string());
    }
    text
}
