//! What entries compare: texts that a meter says about itself, and UUIDs of its services.

use carepost_gatt::uuid16;

/// Longest pattern, in bytes.
const MAX_PATTERN_BYTES: usize = 64;

/// A text with an optional star at either end, compared without regard to case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    text: String,
    any_before: bool,
    any_after: bool,
}

impl Pattern {
    /// `None` for an empty text, a star anywhere but at an end, only stars, spaces at an end, or too many bytes.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (rest, any_before) = text.strip_prefix('*').map_or((text, false), |rest| (rest, true));
        let (rest, any_after) = rest.strip_suffix('*').map_or((rest, false), |rest| (rest, true));
        let legal = !rest.is_empty()
            && !rest.contains('*')
            && rest.trim() == rest
            && text.len() <= MAX_PATTERN_BYTES
            && !rest.chars().any(char::is_control);
        legal.then(|| Self {
            text: fold(rest),
            any_before,
            any_after,
        })
    }

    /// Whether it fits a text that was [`fold`]ed.
    pub(super) fn matches(&self, text: &str) -> bool {
        match (self.any_before, self.any_after) {
            (false, false) => text == self.text,
            (true, false) => text.ends_with(&self.text),
            (false, true) => text.starts_with(&self.text),
            (true, true) => text.contains(&self.text),
        }
    }
}

/// A text as patterns compare it: without spaces around it, in lower case.
pub(super) fn fold(text: &str) -> String {
    text.trim().to_lowercase()
}

/// The UUID of a service in full, lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Uuid128(String);

impl Uuid128 {
    /// From four hex digits or the full form.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Some(short) = uuid16::parse(text) {
            return Some(Self(uuid16::to_uuid128(short)));
        }
        let full: uuid::Uuid = text.trim().parse().ok()?;
        Some(Self(full.hyphenated().to_string()))
    }

    pub(super) fn is(&self, text: &str) -> bool {
        Self::parse(text).is_some_and(|other| other == *self)
    }
}
