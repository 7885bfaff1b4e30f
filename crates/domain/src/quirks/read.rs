//! From the text of a table to entries that are checked.

use serde::Deserialize;

use super::pattern::{Pattern, Uuid128};
use super::{DecodeQuirks, MAX_ENTRIES, MAX_PATTERNS, Match, Quirk, QuirkId, Support, TalkQuirks};

/// The layout of files that this version reads.
const SCHEMA: u32 = 1;

/// Why a table is refused.
#[derive(Debug, thiserror::Error)]
pub enum QuirkTableError {
    /// Not a table: a syntax error, an unknown key, a value of the wrong kind. The source names the line.
    #[error("read the quirk table")]
    Syntax(#[source] Box<toml::de::Error>),
    /// A layout of another version.
    #[error("the quirk table has schema {found}; this version reads {SCHEMA}")]
    OtherSchema {
        /// What it says.
        found: u32,
    },
    /// Too many entries.
    #[error("the quirk table has {count} entries; at most {MAX_ENTRIES} are allowed")]
    TooManyEntries {
        /// How many.
        count: usize,
    },
    /// Two entries with one id.
    #[error("the quirk table has two entries {id}")]
    DuplicateId {
        /// The id.
        id: QuirkId,
    },
    /// An entry that nothing can match, or that anything does.
    #[error("entry {id}: match number {number} names no trait that a meter must have")]
    MatchesAnything {
        /// The entry.
        id: QuirkId,
        /// Which match, from 1; 0 if there is none.
        number: usize,
    },
    /// A pattern that cannot be read.
    #[error("entry {id}: {text:?} is not a pattern for {field}")]
    BadPattern {
        /// The entry.
        id: QuirkId,
        /// The key.
        field: &'static str,
        /// The text.
        text: String,
    },
    /// A list beyond its bound.
    #[error("entry {id}: {field} has more than {MAX_PATTERNS} elements")]
    TooMany {
        /// The entry.
        id: QuirkId,
        /// The key.
        field: &'static str,
    },
    /// Bytes would mean something else because of a name, a service or a firmware, which the server cannot check.
    #[error("entry {id}: an entry that changes the meaning of bytes must match by manufacturer and model only")]
    BytesByFingerprint {
        /// The entry.
        id: QuirkId,
    },
    /// An unsupported family with rules about how to support it.
    #[error("entry {id}: nothing is decoded or said to a meter that is not supported")]
    RulesForUnsupported {
        /// The entry.
        id: QuirkId,
    },
    /// No words for people.
    #[error("entry {id}: family or source is empty")]
    NoWords {
        /// The entry.
        id: QuirkId,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    schema: u32,
    #[serde(default)]
    quirk: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: QuirkId,
    family: String,
    source: String,
    #[serde(default = "supported")]
    support: Support,
    #[serde(default)]
    r#match: Vec<Way>,
    #[serde(default)]
    decode: DecodeQuirks,
    #[serde(default)]
    talk: TalkQuirks,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct Way {
    manufacturer: Vec<String>,
    model: Vec<String>,
    firmware: Vec<String>,
    name: Vec<String>,
    services: Vec<String>,
    lacks: Vec<String>,
}

const fn supported() -> Support {
    Support::Supported
}

pub(super) fn parse(text: &str) -> Result<Vec<Quirk>, QuirkTableError> {
    let file: File = toml::from_str(text).map_err(|error| QuirkTableError::Syntax(Box::new(error)))?;
    if file.schema != SCHEMA {
        return Err(QuirkTableError::OtherSchema { found: file.schema });
    }
    if file.quirk.len() > MAX_ENTRIES {
        return Err(QuirkTableError::TooManyEntries {
            count: file.quirk.len(),
        });
    }
    let mut entries: Vec<Quirk> = Vec::with_capacity(file.quirk.len());
    for entry in file.quirk {
        let quirk = checked(entry)?;
        if entries.iter().any(|earlier| earlier.id == quirk.id) {
            return Err(QuirkTableError::DuplicateId { id: quirk.id });
        }
        entries.push(quirk);
    }
    Ok(entries)
}

fn checked(entry: Entry) -> Result<Quirk, QuirkTableError> {
    let id = entry.id;
    if entry.family.trim().is_empty() || entry.source.trim().is_empty() {
        return Err(QuirkTableError::NoWords { id });
    }
    if entry.r#match.is_empty() {
        return Err(QuirkTableError::MatchesAnything { id, number: 0 });
    }
    if entry.r#match.len() > MAX_PATTERNS {
        return Err(QuirkTableError::TooMany { id, field: "match" });
    }
    let mut matches = Vec::with_capacity(entry.r#match.len());
    for (index, way) in entry.r#match.into_iter().enumerate() {
        let way = Match {
            manufacturer: list(&id, "manufacturer", way.manufacturer, Pattern::parse)?,
            model: list(&id, "model", way.model, Pattern::parse)?,
            firmware: list(&id, "firmware", way.firmware, Pattern::parse)?,
            name: list(&id, "name", way.name, Pattern::parse)?,
            services: list(&id, "services", way.services, Uuid128::parse)?,
            lacks: list(&id, "lacks", way.lacks, Uuid128::parse)?,
        };
        // What a meter lacks or which firmware it has is a condition upon a family, never a family.
        if !way.is_identity() && way.name.is_empty() && way.services.is_empty() {
            let number = index.saturating_add(1);
            return Err(QuirkTableError::MatchesAnything { id, number });
        }
        let checkable = way.is_identity()
            && way.firmware.is_empty()
            && way.name.is_empty()
            && way.services.is_empty()
            && way.lacks.is_empty();
        if !entry.decode.is_none() && !checkable {
            return Err(QuirkTableError::BytesByFingerprint { id });
        }
        matches.push(way);
    }
    let silent = entry.decode.is_none() && entry.talk == TalkQuirks::default();
    if entry.support == Support::RecognisedUnsupported && !silent {
        return Err(QuirkTableError::RulesForUnsupported { id });
    }
    Ok(Quirk {
        id,
        family: entry.family,
        support: entry.support,
        decode: entry.decode,
        talk: entry.talk,
        matches,
    })
}

fn list<T>(
    id: &QuirkId,
    field: &'static str,
    texts: Vec<String>,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, QuirkTableError> {
    if texts.len() > MAX_PATTERNS {
        return Err(QuirkTableError::TooMany { id: id.clone(), field });
    }
    texts
        .into_iter()
        .map(|text| {
            parse(&text).ok_or_else(|| QuirkTableError::BadPattern {
                id: id.clone(),
                field,
                text: text.chars().take(64).collect(),
            })
        })
        .collect()
}
