use carepost_domain::care::alert::{Acknowledgement, CloseReason};
use carepost_domain::care::rule::Severity;
use carepost_domain::care::rule_set::RuleSet;

use super::*;
use crate::web::catalogue::Language;
use crate::web::sample::{self, COLLEAGUE, ME, ago, id};

fn page_of(file: &AlertFile, member: &MemberFile) -> AlertPage {
    let rules = RuleSet::cn_2024();
    alert_page(
        sample::viewer(&rules, Language::English),
        file,
        member,
        &sample::names(),
    )
}

#[test]
fn the_page_says_which_rule_with_which_limits_and_which_evidence() {
    let page = page_of(&sample::alert_file(), &sample::member_file());
    assert_eq!((page.rule, page.rule_set.as_str()), ("BP-02", "cn-2024 2026.1"));
    assert_eq!(page.limits, ["≥ 180 systolic or ≥ 110 diastolic mmHg"]);
    assert!(page.source.sign_off.contains("awaiting"), "{:?}", page.source);
    let values: Vec<_> = page
        .evidence
        .iter()
        .map(|l| (l.value.as_str(), l.flags.as_str()))
        .collect();
    assert_eq!(values, [("182/110", "Irregular pulse"), ("186/114", "")]);
    assert_eq!(page.means[0].mean.as_deref(), Some("184/112"));
    assert_eq!(page.missing, 0);
    assert_eq!(page.headline.map(|h| h.main).as_deref(), Some("184/112"));
}

#[test]
fn evidence_of_milder_rules_stands_apart() {
    let mut file = sample::alert_file();
    file.readings
        .insert(0, sample::stored(55, 5_000, sample::pressure(166, 98), &[], None));
    let page = page_of(&file, &sample::member_file());
    assert_eq!((page.evidence.len(), page.earlier.len(), page.means.len()), (2, 1, 1));
    assert_eq!(page.earlier[0].value, "166/98");
}

#[test]
fn the_name_is_masked_until_the_file_is_opened() {
    let page = page_of(&sample::alert_file(), &sample::member_file());
    assert_eq!(page.name, "王**");
    assert!(!format!("{page:?}").contains("王秀英"));
}

#[test]
fn the_number_is_there_only_with_consent_to_call() {
    let allowed = page_of(&sample::alert_file(), &sample::member_file());
    assert_eq!(
        allowed.call,
        Call::Allowed {
            shown: "138 0013 8000".to_owned(),
            link: "13800138000".to_owned()
        }
    );
    let refused = MemberFile {
        may_call: false,
        ..sample::member_file()
    };
    let page = page_of(&sample::alert_file(), &refused);
    assert_eq!(page.call, Call::NotAllowed);
    assert!(!format!("{page:?}").contains("0013"));
}

#[test]
fn only_who_took_the_task_records_its_outcome() {
    let mine = page_of(&sample::alert_file(), &sample::member_file());
    assert!(mine.is_mine && mine.task.as_ref().is_some_and(|task| task.may_record));
    let mut file = sample::alert_file();
    file.tasks = file
        .tasks
        .into_iter()
        .map(|task| sample::taken(task, COLLEAGUE))
        .collect();
    let others = page_of(&file, &sample::member_file());
    assert!(!others.is_mine && others.task.as_ref().is_some_and(|task| !task.may_record));
    assert_eq!(others.owner.as_deref(), Some("周药师"));
}

#[test]
fn family_is_an_outcome_only_where_the_member_allowed_it() {
    let page = page_of(&sample::alert_file(), &sample::member_file());
    let codes: Vec<&str> = page
        .task
        .iter()
        .flat_map(|task| &task.outcomes)
        .map(|choice| choice.code)
        .collect();
    assert!(codes.contains(&"reached_advised") && !codes.contains(&"spoke_to_family"));
}

#[test]
fn old_evidence_gives_other_words_than_fresh_evidence() {
    let fresh = page_of(&sample::alert_file(), &sample::member_file());
    let mut old = sample::alert_file();
    old.alert.last_evidence_at = ago(3_000);
    let old = page_of(&old, &sample::member_file());
    assert!(fresh.fresh && !old.fresh);
    assert_ne!(fresh.steps, old.steps);
}

#[test]
fn a_conflict_says_what_changed() {
    let rules = RuleSet::cn_2024();
    let viewer = sample::viewer(&rules, Language::English);
    let mut file = sample::alert_file();
    file.alert.acknowledged = Some(Acknowledgement {
        by: id(COLLEAGUE),
        at: ago(1),
        severity: Severity::Critical,
    });
    let page = page_of(&file, &sample::member_file());
    let seen = Seen {
        severity: "high".to_owned(),
        acknowledged: false,
        owner: String::new(),
    };
    let changes = changes(viewer, &seen, &page);
    assert_eq!(changes.len(), 3, "{changes:?}");
    assert!(changes[0].contains("High → Critical") && changes[1].contains("周药师") && changes[2].contains("You"));
    let same = super::changes(viewer, &page.seen.clone(), &page);
    assert_eq!(same, [viewer.texts.get("conflict-evidence")]);
}

#[test]
fn a_closed_alert_offers_nothing_more_and_says_why() {
    let mut file = sample::alert_file();
    file.alert.condition = Condition::Closed {
        at: ago(1),
        reason: CloseReason::Resolved,
    };
    file.tasks.clear();
    let page = page_of(&file, &sample::member_file());
    assert!(page.open_steps.is_empty() && page.task.is_none());
    assert!(page.closed.is_some_and(|text| text.contains("closed by a person")));
}

#[test]
fn a_finished_task_is_one_line_with_who_and_what() {
    let mut file = sample::alert_file();
    for task in &mut file.tasks {
        task.status = TaskStatus::Done {
            by: id(ME),
            at: ago(1),
            outcome: Outcome::ReachedAdvised,
        };
        task.note = Some(carepost_domain::Phi::new("sees the doctor tomorrow".to_owned()));
    }
    let page = page_of(&file, &sample::member_file());
    for piece in ["Call", "Reached and advised", "陈药师", "sees the doctor tomorrow"] {
        assert!(page.past[0].contains(piece), "{:?}", page.past);
    }
}
