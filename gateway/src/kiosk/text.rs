//! The catalogue: every word on the screen, in both languages.

use std::borrow::Cow;
use std::collections::HashMap;

use carepost_domain::code_enum;
use fluent_templates::fluent_bundle::FluentValue;
use fluent_templates::{LanguageIdentifier, Loader as _, langid, static_loader};

static_loader! {
    static CATALOGUE = {
        locales: "./locales",
        fallback_language: "zh-CN",
        // The marks around arguments that guard mixed writing directions are invisible, but some fonts draw boxes.
        customise: |bundle| bundle.set_use_isolating(false),
    };
}

static ZH_CN: LanguageIdentifier = langid!("zh-CN");
static EN: LanguageIdentifier = langid!("en");

code_enum! {
    /// A language of the screens, as its tag in HTML.
    pub enum Language ("language") {
        /// Simplified Chinese.
        ZhCn = "zh-CN",
        /// English.
        En = "en",
    }
}

impl Default for Language {
    /// Chinese is the default language of the screens (page 1).
    fn default() -> Self {
        Self::ZhCn
    }
}

impl Language {
    fn id(self) -> &'static LanguageIdentifier {
        match self {
            Self::ZhCn => &ZH_CN,
            Self::En => &EN,
        }
    }

    /// The words under a key.
    pub(crate) fn text(self, key: &str) -> String {
        CATALOGUE.lookup(self.id(), key)
    }

    /// The words under a key with one argument.
    pub(crate) fn with<'v>(self, key: &str, name: &'static str, value: impl Into<FluentValue<'v>>) -> String {
        let arguments = HashMap::from([(Cow::Borrowed(name), value.into())]);
        CATALOGUE.lookup_with_args(self.id(), key, &arguments)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    const ZH_FILE: &str = include_str!("../../locales/zh-CN/kiosk.ftl");
    const EN_FILE: &str = include_str!("../../locales/en/kiosk.ftl");

    /// Keys with the names of their arguments. The catalogue keeps to one line per message, which this reads.
    pub(crate) fn messages(file: &str) -> BTreeMap<String, BTreeSet<String>> {
        let mut messages = BTreeMap::new();
        for line in file
            .lines()
            .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        {
            let (key, words) = line
                .split_once(" = ")
                .unwrap_or_else(|| panic!("not a message: {line}"));
            assert!(!words.trim().is_empty(), "{key} says nothing");
            let arguments = words
                .split('{')
                .skip(1)
                .map(|part| {
                    let inside = part.split('}').next().unwrap().trim();
                    inside
                        .strip_prefix('$')
                        .unwrap_or_else(|| panic!("{key}: only arguments in braces"))
                        .to_owned()
                })
                .collect();
            assert!(
                messages.insert(key.to_owned(), arguments).is_none(),
                "{key} is there twice"
            );
        }
        messages
    }

    /// Keys that the pages and the code name.
    fn used() -> BTreeSet<String> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/templates/kiosk");
        let templates = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap());
        let code = [include_str!("page.rs"), include_str!("problem.rs")].map(str::to_owned);
        let mut keys = BTreeSet::new();
        for text in templates.chain(code) {
            for call in ["text(\"", "with(\"", "countdown(\""] {
                keys.extend(
                    text.split(call)
                        .skip(1)
                        .map(|rest| rest.split('"').next().unwrap().to_owned()),
                );
            }
        }
        for class in ["low", "normal", "high-normal", "raised", "high", "very-high"] {
            keys.extend(["word", "advice"].map(|part| format!("class-{class}-{part}")));
        }
        keys
    }

    #[test]
    fn both_languages_have_the_same_keys_with_the_same_arguments() {
        assert_eq!(messages(ZH_FILE), messages(EN_FILE));
    }

    #[test]
    fn every_key_that_is_used_is_there_and_every_key_that_is_there_is_used() {
        let there: BTreeSet<String> = messages(ZH_FILE).into_keys().collect();
        assert_eq!(there, used());
    }

    #[test]
    fn every_key_resolves_in_both_languages() {
        for (key, arguments) in messages(EN_FILE) {
            for language in Language::ALL {
                let text = match arguments.first() {
                    Some(name) => language.with(&key, Box::leak(name.clone().into_boxed_str()), "7"),
                    None => language.text(&key),
                };
                assert!(
                    !text.contains("Unknown localization") && !text.contains('{'),
                    "{key}: {text}"
                );
            }
        }
    }
}
