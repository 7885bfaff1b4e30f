use super::*;
use crate::web::catalogue::Language;
use crate::web::sample::{self, COLLEAGUE, ME, ago, alert, id, now, pressure, row as sample_row, taken, task};

fn page(filter: &Filter) -> QueuePage {
    let rules = RuleSet::cn_2024();
    queue_page(sample::viewer(&rules, Language::English), &sample::queue(), filter)
}

fn only(row: QueueRow) -> RowView {
    let rules = RuleSet::cn_2024();
    let queue = Queue {
        rows: vec![row],
        more: false,
        version: 1,
    };
    let mut page = queue_page(sample::viewer(&rules, Language::English), &queue, &Filter::default());
    page.sections.remove(0).rows.remove(0)
}

#[test]
fn sections_come_worst_first_and_only_where_there_are_rows() {
    let page = page(&Filter::default());
    let got: Vec<_> = page.sections.iter().map(|s| (s.severity.code, s.rows.len())).collect();
    assert_eq!(got, [("emergency", 1), ("critical", 2), ("high", 2), ("moderate", 1)]);
    assert_eq!(
        (page.waiting, page.urgent, page.title.as_str()),
        (6, 3, "(6) Alert queue")
    );
}

#[test]
fn an_empty_queue_has_no_section_and_no_number() {
    let rules = RuleSet::cn_2024();
    let queue = Queue {
        rows: Vec::new(),
        more: false,
        version: 1,
    };
    let page = queue_page(sample::viewer(&rules, Language::English), &queue, &Filter::default());
    assert_eq!((page.sections.len(), page.title.as_str()), (0, "Alert queue"));
}

#[test]
fn scopes_count_all_rows_whatever_is_shown() {
    let mine = page(&Filter {
        scope: Scope::Mine,
        words: String::new(),
    });
    assert_eq!(mine.scopes.iter().map(|s| s.count).collect::<Vec<_>>(), [6, 1, 4]);
    assert_eq!((mine.shown, mine.waiting), (1, 6));
    let unassigned = page(&Filter {
        scope: Scope::Unassigned,
        words: String::new(),
    });
    assert_eq!(unassigned.shown, 4);
}

#[test]
fn every_word_of_the_filter_must_be_in_the_row() {
    let shown = |words: &str| {
        page(&Filter {
            scope: Scope::All,
            words: words.to_owned(),
        })
        .shown
    };
    assert_eq!(shown("diabetes"), 2);
    assert_eq!(shown("DIABETES 王"), 1);
    assert_eq!(shown("bp-05"), 2);
    assert_eq!(shown("184/112"), 1);
    assert_eq!(shown("nobody"), 0);
}

#[test]
fn a_session_shows_its_mean_and_says_of_how_many() {
    let page = page(&Filter::default());
    let row = &page.sections[1].rows[0];
    assert_eq!(row.value.as_ref().map(|v| v.main.as_str()), Some("184/112"));
    assert_eq!(row.mean_of.as_deref(), Some("mean of 2"));
    assert_eq!(row.late, None);
}

#[test]
fn a_late_reading_says_so_and_names_its_slot() {
    let page = page(&Filter::default());
    let row = &page.sections[1].rows[1];
    assert_eq!(row.late.as_deref(), Some("arrived 3 h late"));
    assert_eq!(row.slot.as_deref(), Some("Before dinner"));
    assert!(!row.may_call);
    assert_eq!(row.due.as_ref().map(|d| d.text.as_str()), Some("7 min overdue"));
}

#[test]
fn a_row_of_symptoms_shows_when_they_were_and_no_value() {
    let page = page(&Filter::default());
    let row = &page.sections[0].rows[0];
    assert_eq!((row.value.is_none(), row.spark.is_empty()), (true, true));
    assert_eq!(row.measured.as_ref().map(|w| w.absolute.as_str()), Some("today 21:51"));
}

#[test]
fn the_next_step_is_take_then_acknowledge_then_outcome() {
    let made = alert(20, Rule::Bp02, Severity::Critical, 5);
    let open = task(200, &made, 60);
    let value = Some((pressure(186, 114), 5));
    let free = only(sample_row(made.clone(), "王**", value.clone(), vec![open.clone()]));
    assert!(
        matches!(free.next, NextStep::Take { version: 1, .. }),
        "{:?}",
        free.next
    );
    assert!(matches!(free.also, Some(NextStep::Acknowledge { version: 3, .. })));
    let mine = only(sample_row(
        made.clone(),
        "王**",
        value.clone(),
        vec![taken(open.clone(), ME)],
    ));
    assert!(mine.is_mine && matches!(mine.next, NextStep::Acknowledge { .. }));
    assert_eq!(mine.also, Some(NextStep::Outcome));
    let mut seen = made.clone();
    let acknowledgement = carepost_domain::care::alert::Acknowledgement {
        by: id(ME),
        at: ago(1),
        severity: Severity::Critical,
    };
    seen.acknowledged = Some(acknowledgement);
    let seen = only(sample_row(seen, "王**", value.clone(), vec![taken(open.clone(), ME)]));
    assert_eq!((seen.next, seen.also), (NextStep::Outcome, None));
    let others = only(sample_row(made, "王**", value, vec![taken(open, COLLEAGUE)]));
    assert_eq!(
        (others.next, others.also, others.is_mine),
        (NextStep::Open, None, false)
    );
}

#[test]
fn an_alert_that_waits_for_a_good_value_says_that_there_was_a_contact() {
    let mut made = alert(20, Rule::Bp02, Severity::Critical, 5);
    let marks = |alert: carepost_domain::care::alert::Alert| only(sample_row(alert, "王**", None, Vec::new())).marks;
    assert_eq!(marks(made.clone()), Vec::<String>::new());
    made.contacted = made.evidence();
    assert_eq!(marks(made), ["Contact recorded"]);
}

#[test]
fn a_task_to_be_tried_again_is_due_at_the_next_try() {
    let made = alert(20, Rule::Bp02, Severity::Critical, 5);
    let mut again = task(200, &made, -30);
    again.next_try_at = Some(ago(-20));
    let row = only(sample_row(made, "王**", None, vec![again]));
    assert_eq!(row.due.map(|due| due.text), Some("20 min left".to_owned()));
}

#[test]
fn freshness_ends_with_the_rules_own_time_and_is_never_in_the_future() {
    let rules = RuleSet::cn_2024();
    let limit = rules.common(Rule::Gl01).fresh_for;
    assert!(is_fresh(&rules, Rule::Gl01, now() - limit, now()));
    assert!(!is_fresh(
        &rules,
        Rule::Gl01,
        now() - limit - TimeDelta::seconds(1),
        now()
    ));
    assert!(!is_fresh(&rules, Rule::Gl01, now() + TimeDelta::seconds(1), now()));
}
