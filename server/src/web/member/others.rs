//! Readings beside pressure and glucose: a plain list, the newest first. No rule looks at them, and nothing is marked.

use carepost_domain::care::rule_set::RuleSet;
use carepost_store::model::StoredReading;

use crate::web::readings::{self, ReadingLine, Style};
use crate::web::words;

/// Rows shown.
pub(super) const MAX_OTHERS: usize = 60;
/// Rows shown at once; the earlier ones are a step away.
pub(super) const NEWEST: usize = 8;

/// One reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OtherLine {
    /// What it is of.
    pub(crate) kind: String,
    /// The value in the unit that was sent, where that is another one.
    pub(crate) sent: Option<String>,
    /// The rest.
    pub(crate) line: ReadingLine,
}

/// The list.
pub(super) fn lines(style: Style, rules: &RuleSet, readings: &[StoredReading]) -> Vec<OtherLine> {
    readings
        .iter()
        .take(MAX_OTHERS)
        .map(|stored| OtherLine {
            kind: words::other_kind(style.texts, &stored.reading.measurement),
            sent: words::other_number(&stored.reading.measurement).sent,
            line: readings::line(style, rules, stored),
        })
        .collect()
}
