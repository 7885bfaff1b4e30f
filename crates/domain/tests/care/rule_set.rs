//! The rule file: the shipped one is valid and complete, and every mistake is reported with its key.

use carepost_domain::care::rule::{Rule, Severity};
use carepost_domain::care::rule_set::{CN_2024, RuleSet};
use carepost_domain::people::Symptom;

/// The problems after one textual change of the shipped file.
fn problems(from: &str, to: &str) -> Vec<String> {
    assert!(CN_2024.contains(from), "{from:?} is not in the file");
    let errors = RuleSet::parse(&CN_2024.replacen(from, to, 1)).unwrap_err();
    errors.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn the_shipped_file_is_valid_and_awaits_sign_off() {
    let set = RuleSet::parse(CN_2024).unwrap();
    assert_eq!(set.reference.id, "cn-2024");
    assert_eq!(
        set.sy01.symptoms,
        Symptom::ALL
            .iter()
            .copied()
            .filter(|s| s.is_danger())
            .collect::<Vec<_>>()
    );
    for rule in Rule::ALL {
        let common = set.common(*rule);
        assert!(!common.provenance.source.is_empty());
        assert_eq!(
            common.provenance.sign_off, "awaiting the chain's clinical lead",
            "{rule}"
        );
        assert!(common.severity > Severity::Pending || *rule == Rule::Bp01);
    }
    assert!(set.lookback().num_days() >= 90 + 30);
}

#[test]
fn all_problems_are_reported_at_once_with_their_keys() {
    let text = CN_2024
        .replacen(
            "third_if_differ_over_mmhg = 10",
            "third_if_differ_over_mmhg = \"ten\"",
            1,
        )
        .replacen("drop_mmhg = 20", "dropp_mmhg = 20", 1)
        .replacen("zone = \"Asia/Shanghai\"", "zone = \"Asia/Nowhere\"", 1)
        .replacen("mmol_per_l = \"16.7\"", "mmol_per_l = 16.7", 1);
    let errors = RuleSet::parse(&text).unwrap_err();
    let keys: Vec<&str> = errors.problems.iter().map(|p| p.key.as_str()).collect();
    for key in [
        "zone",
        "session.third_if_differ_over_mmhg",
        "rules.BP-06.drop_mmhg",
        "rules.BP-06.dropp_mmhg",
        "rules.GL-03.at_or_above.mmol_per_l",
    ] {
        assert!(keys.contains(&key), "{key} is missing in {keys:?}");
    }
    assert_eq!(keys.len(), 5, "{keys:?}");
    assert!(errors.to_string().contains("is not known"));
}

#[test]
fn a_syntax_error_stands_alone() {
    let errors = RuleSet::parse("id = ").unwrap_err();
    assert_eq!(errors.problems.len(), 1);
    assert!(errors.to_string().contains("is not TOML"), "{errors}");
    let empty = RuleSet::parse("").unwrap_err();
    assert!(
        empty
            .problems
            .iter()
            .any(|p| p.key == "rules" && p.message == "is missing")
    );
}

#[test]
fn each_kind_of_mistake_has_its_message() {
    for (from, to, key, message) in [
        ("id = \"cn-2024\"", "id = \"\"", "id", "must not be empty"),
        ("readings = 2", "readings = 1", "session.readings", "2 or 3"),
        ("readings = 2", "readings = 9", "session.readings", "from 1 to 3"),
        ("\"cuff_loose\"", "\"cuff_lost\"", "session.unusable[1]", "cuff_loose"),
        ("\"cuff_loose\"", "7", "session.unusable[1]", "must be a text"),
        (
            "severity = \"critical\"",
            "severity = \"awful\"",
            "rules.BP-02.severity",
            "severity",
        ),
        (
            "reviewed = 2026-11-22",
            "reviewed = \"soon\"",
            "session.reviewed",
            "must be a date",
        ),
        (
            "mmol_per_l = \"3.9\"",
            "mmol_per_l = \"3.9001\"",
            "rules.GL-01.at_or_below.mmol_per_l",
            "three decimals",
        ),
        (
            "mmol_per_l = \"3.9\"",
            "mmol_per_l = \"-3.9\"",
            "rules.GL-01.at_or_below.mmol_per_l",
            "positive",
        ),
        (
            "mg_per_dl = 70",
            "mg_per_dl = 170",
            "rules.GL-01.at_or_below",
            "do not belong together",
        ),
        (
            "clears_below = { systolic_mmhg = 160,",
            "clears_below = { systolic_mmhg = 180,",
            "rules.BP-02.clears_below",
            "inside",
        ),
        (
            "clears_systolic_at_or_above_mmhg = 100",
            "clears_systolic_at_or_above_mmhg = 90",
            "rules.BP-06.clears_systolic_at_or_above_mmhg",
            "inside",
        ),
        (
            "clears_at_or_above = { mmol_per_l = \"4.4\", mg_per_dl = 80 }",
            "clears_at_or_above = { mmol_per_l = \"3.9\", mg_per_dl = 70 }",
            "rules.GL-01.clears_at_or_above",
            "inside",
        ),
        (
            "diastolic_mmhg = 110 }",
            "diastolic_mmhg = 200 }",
            "rules.BP-01.at_or_above",
            "not below the systolic",
        ),
        (
            "due_min = 2880",
            "due_min = -1",
            "rules.BP-05.tasks[0].due_min",
            "from 0",
        ),
        (
            "when = \"repeated\", due_min = 2880",
            "when = \"often\", due_min = 2880",
            "rules.BP-05.tasks[0].when",
            "often",
        ),
        (
            "off = [\"BP-04\", \"BP-05\"]",
            "off = [\"BP-99\"]",
            "modifiers.pregnancy.off[0]",
            "BP-99",
        ),
        ("[symptoms]", "[symptom]", "symptoms", "is missing"),
    ] {
        let problems = problems(from, to);
        let hit = problems
            .iter()
            .any(|p| p.starts_with(&format!("{key}: ")) && p.contains(message));
        assert!(hit, "{from} -> {to}: {problems:?}");
    }
}

#[test]
fn numbers_come_from_the_file() {
    use crate::support::*;
    let stricter = RuleSet::parse(&CN_2024.replace(
        "session_at_or_above = { systolic_mmhg = 160,",
        "session_at_or_above = { systolic_mmhg = 155,",
    ))
    .unwrap();
    let settled = Default::default();
    let of = |set: &RuleSet| {
        carepost_domain::care::evaluate::assess(set, &diabetic(), &pair(0, 157, 80), &[], &settled, at(2))
            .findings
            .len()
    };
    assert_eq!((of(rules()), of(&stricter)), (0, 1));
}
