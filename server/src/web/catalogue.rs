//! Every text of the screens, by key, in Chinese and English.
//!
//! The files under `locales/` are compiled in. A key has the same arguments in both languages, and every key that a
//! template or a page asks for exists: the tests below read the sources to prove it.

use std::borrow::Cow;
use std::collections::HashMap;

use fluent_templates::fluent_bundle::FluentValue;
use fluent_templates::{LanguageIdentifier, Loader as _, langid};

fluent_templates::static_loader! {
    static LOCALES = {
        locales: "./locales",
        fallback_language: "zh-CN",
        // Both languages run from left to right; isolating marks would only disturb copied text.
        customise: |bundle| bundle.set_use_isolating(false),
    };
}

static CHINESE: LanguageIdentifier = langid!("zh-CN");
static ENGLISH: LanguageIdentifier = langid!("en");

/// The language of a screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Language {
    /// Simplified Chinese, the default.
    #[default]
    Chinese,
    /// English.
    English,
}

impl Language {
    /// Both, the default first.
    pub(crate) const ALL: [Self; 2] = [Self::Chinese, Self::English];

    /// The tag for `lang` attributes and the language cookie.
    pub(crate) const fn tag(self) -> &'static str {
        match self {
            Self::Chinese => "zh-CN",
            Self::English => "en",
        }
    }

    /// The language with this tag.
    pub(crate) fn from_tag(tag: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|language| language.tag() == tag)
    }

    /// The language's own name.
    pub(crate) const fn own_name(self) -> &'static str {
        match self {
            Self::Chinese => "中文",
            Self::English => "English",
        }
    }

    fn identifier(self) -> &'static LanguageIdentifier {
        match self {
            Self::Chinese => &CHINESE,
            Self::English => &ENGLISH,
        }
    }
}

/// The texts of one language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Texts(pub(crate) Language);

impl Texts {
    /// A text without arguments.
    pub(crate) fn get(&self, key: &str) -> String {
        LOCALES.lookup(self.0.identifier(), key)
    }

    /// A text with arguments.
    pub(crate) fn fill(&self, key: &str, args: &[(&'static str, FluentValue<'_>)]) -> String {
        LOCALES.lookup_with_args(self.0.identifier(), key, &named(args))
    }

    /// The text of a code of an enumeration: key `{prefix}-{code}`, or the code itself where the catalogue has none,
    /// which a newer rule file can bring about.
    pub(crate) fn code(&self, prefix: &str, code: &str) -> String {
        LOCALES
            .try_lookup(self.0.identifier(), &format!("{prefix}-{}", key_part(code)))
            .unwrap_or_else(|| code.to_owned())
    }

    /// The text of a code with arguments, if there is one.
    pub(crate) fn code_with(
        &self,
        prefix: &str,
        code: &str,
        args: &[(&'static str, FluentValue<'_>)],
    ) -> Option<String> {
        let key = format!("{prefix}-{}", key_part(code));
        LOCALES.try_lookup_with_args(self.0.identifier(), &key, &named(args))
    }
}

fn named<'a>(args: &[(&'static str, FluentValue<'a>)]) -> HashMap<Cow<'static, str>, FluentValue<'a>> {
    args.iter()
        .map(|(name, value)| (Cow::Borrowed(*name), value.clone()))
        .collect()
}

/// Codes are spelt with capitals and underscores, keys with small letters and hyphens.
fn key_part(code: &str) -> String {
    code.to_ascii_lowercase().replace('_', "-")
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::{Path, PathBuf};

    use super::*;

    /// Keys that sources put together from a prefix and a code; [`Texts::code`] and tests beside their users cover them.
    const CODE_PREFIXES: &[&str] = &[
        "severity-",
        "condition-",
        "drug-",
        "sex-",
        "place-",
        "slot-",
        "slot-short-",
        "flag-",
        "purpose-",
        "time-quality-",
        "outcome-",
        "rule-",
        "steps-",
        "symptom-",
        "month-",
        "task-kind-",
        "task-state-",
        "mark-",
        "closed-",
        "cancelled-",
        "audit-",
        "error-",
        "kind-",
        "site-",
        "meter-kind-",
        "meter-role-",
        "support-",
    ];

    fn crate_dir() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
    }

    fn files_below(dir: &Path, extension: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut open = vec![dir.to_path_buf()];
        while let Some(dir) = open.pop() {
            for entry in std::fs::read_dir(&dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else if path.extension().is_some_and(|e| e == extension) {
                    found.push(path);
                }
            }
        }
        found.sort();
        found
    }

    /// Keys of one language with the names of their arguments.
    fn messages(language: Language) -> BTreeMap<String, BTreeSet<String>> {
        let mut messages: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for file in files_below(&crate_dir().join("locales").join(language.tag()), "ftl") {
            let mut current: Option<String> = None;
            for line in std::fs::read_to_string(&file).unwrap().lines() {
                if line.starts_with(|c: char| c.is_ascii_lowercase()) {
                    let (key, _) = line.split_once('=').unwrap_or_else(|| panic!("{file:?}: {line}"));
                    let key = key.trim().to_owned();
                    assert!(
                        messages.insert(key.clone(), BTreeSet::new()).is_none(),
                        "{key} is there twice"
                    );
                    current = Some(key);
                }
                let Some(key) = &current else { continue };
                for piece in line.split('$').skip(1) {
                    let name: String = piece
                        .chars()
                        .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                        .collect();
                    messages.get_mut(key).unwrap().insert(name);
                }
            }
        }
        messages
    }

    /// Literal keys that the sources ask for, with the file that asks.
    fn asked_for() -> Vec<(String, PathBuf)> {
        let mut asked = Vec::new();
        let mut sources = files_below(&crate_dir().join("templates"), "html");
        sources.extend(files_below(&crate_dir().join("src").join("web"), "rs"));
        for file in sources {
            let text = std::fs::read_to_string(&file).unwrap();
            for marker in [".get(\"", ".fill(\"", ".fill(\n", "key: \""] {
                for piece in text.split(marker).skip(1) {
                    let piece = piece.trim_start().trim_start_matches('"');
                    let key: String = piece
                        .chars()
                        .take_while(|c| c.is_ascii_alphanumeric() || "-_".contains(*c))
                        .collect();
                    // Keys of this catalogue always have a hyphen; headers and form fields that are looked up do not
                    // share its first words.
                    asked.push((key, file.clone()));
                }
            }
        }
        asked
    }

    #[test]
    fn both_languages_have_the_same_keys_with_the_same_arguments() {
        let (chinese, english) = (messages(Language::Chinese), messages(Language::English));
        assert!(chinese.len() > 100, "the catalogue was found");
        for (key, args) in &chinese {
            assert_eq!(Some(args), english.get(key), "{key}");
        }
        for key in english.keys() {
            assert!(chinese.contains_key(key), "{key} is in English only");
        }
    }

    #[test]
    fn every_action_that_the_store_audits_about_a_member_has_words() {
        let known = messages(Language::Chinese);
        let mut found = 0;
        for file in files_below(&crate_dir().join("store").join("src"), "rs") {
            let text = std::fs::read_to_string(&file).unwrap();
            for piece in text.split("Entry::new(").skip(1) {
                let action: String = piece.split('"').nth(1).unwrap_or_default().to_owned();
                let (subject, _) = action.split_once('.').unwrap_or_default();
                // Machines, stores and staff are no member's.
                if ["gateway", "store", "staff", "meter", ""].contains(&subject) {
                    continue;
                }
                let key = format!("audit-{}", action.replace('.', "-"));
                assert!(known.contains_key(&key), "{key}, written by {}", file.display());
                found += 1;
            }
        }
        assert!(found > 10, "the store's audit entries were found");
    }

    #[test]
    fn every_key_that_a_template_or_page_asks_for_exists() {
        let known = messages(Language::Chinese);
        let asked = asked_for();
        assert!(asked.len() > 80, "the sources were found");
        for (key, file) in asked {
            assert!(known.contains_key(&key), "{key}, asked for by {file:?}");
        }
    }

    #[test]
    fn every_key_is_asked_for_by_somebody() {
        let asked: BTreeSet<String> = asked_for().into_iter().map(|(key, _)| key).collect();
        for key in messages(Language::Chinese).keys() {
            let by_code = CODE_PREFIXES.iter().any(|prefix| key.starts_with(prefix));
            assert!(by_code || asked.contains(key), "{key} is dead text");
        }
    }

    #[test]
    fn every_text_can_be_formatted_in_both_languages() {
        for language in Language::ALL {
            for (key, args) in messages(language) {
                let values: HashMap<Cow<'static, str>, FluentValue<'_>> = args
                    .into_iter()
                    .map(|name| (Cow::Owned(name), FluentValue::from(3)))
                    .collect();
                let found = LOCALES.lookup_single_language(language.identifier(), &key, Some(&values));
                assert!(found.is_ok_and(|text| !text.is_empty()), "{key} in {language:?}");
            }
        }
    }

    #[test]
    fn chinese_is_the_default() {
        assert_eq!(Texts::default().0, Language::Chinese);
        assert_eq!(Language::from_tag("en"), Some(Language::English));
        assert_eq!(Language::from_tag("en-US\r\nx"), None);
    }

    #[test]
    fn a_code_that_the_catalogue_does_not_know_shows_itself() {
        assert_eq!(Texts::default().code("rule", "ZZ-99"), "ZZ-99");
        assert_eq!(Texts::default().code_with("steps", "ZZ-99", &[]), None);
        assert_ne!(Texts::default().code("rule", "BP-02"), "BP-02");
    }
}
