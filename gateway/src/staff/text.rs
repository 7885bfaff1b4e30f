//! The staff page's words; the catalogue itself is the kiosk's.

mod tests {
    use std::collections::BTreeSet;

    use crate::kiosk::Language;
    use crate::kiosk::catalogue_tests::messages;
    use crate::pairing::{Failure, Stage};

    const ZH_FILE: &str = include_str!("../../locales/zh-CN/staff.ftl");
    const EN_FILE: &str = include_str!("../../locales/en/staff.ftl");

    /// Keys that the pages and the code name.
    fn used() -> BTreeSet<String> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/templates/staff");
        let templates = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap());
        let code = [include_str!("page.rs").to_owned()];
        let mut keys = BTreeSet::new();
        for text in templates.chain(code) {
            for call in ["text(\"staff-", "with(\"staff-", "countdown(\"staff-"] {
                keys.extend(
                    text.split(call)
                        .skip(1)
                        .map(|rest| format!("staff-{}", rest.split('"').next().unwrap())),
                );
            }
        }
        let dashed = |code: &str| code.replace('_', "-");
        for failure in Failure::ALL {
            keys.extend(["what", "next"].map(|part| format!("staff-failure-{}-{part}", dashed(failure.code()))));
        }
        keys.extend(
            Stage::ALL
                .iter()
                .map(|stage| format!("staff-stage-{}", dashed(stage.code()))),
        );
        let hindrances = super::super::register::Hindrance::ALL.iter();
        keys.extend(hindrances.map(|hindrance| format!("staff-hindrance-{}", dashed(hindrance.code()))));
        let refusals = carepost_contract::v1::RegisterRefusal::ALL.iter();
        keys.extend(refusals.map(|refusal| format!("staff-refusal-{}", dashed(refusal.code()))));
        let slots = super::super::page::SLOTS.iter();
        keys.extend(slots.map(|slot| format!("staff-slot-{slot}")));
        // Families that are shown and never read: an entry without words would be shown by its key.
        let unsupported = carepost_domain::quirks::QuirkTable::current()
            .iter()
            .filter(|quirk| quirk.support == carepost_domain::quirks::Support::RecognisedUnsupported);
        keys.extend(unsupported.map(|quirk| format!("staff-family-{}", quirk.id)));
        let kinds = carepost_domain::meter::MeterKind::ALL.iter();
        keys.extend(kinds.map(|kind| format!("staff-kind-{}", dashed(kind.code()))));
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
            assert!(arguments.len() <= 1, "{key}");
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
