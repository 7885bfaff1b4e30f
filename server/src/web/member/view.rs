//! The member file as its page shows it. Pure.

use carepost_domain::care::history::Profile;
use carepost_domain::care::task::{Task, TaskStatus};
use carepost_domain::id::{MemberId, StaffId};
use carepost_store::model::{Actor, MemberFile};
use chrono::TimeDelta;

use super::glucose::{GlucoseGrid, grid};
use super::others::{self, OtherLine};
use crate::web::alert::view::Names;
use crate::web::charts::{BpChart, bp_chart};
use crate::web::consent::{self, ConsentLine};
use crate::web::legend::{Legend, legend};
use crate::web::queue::view::{Viewer, due_of};
use crate::web::readings::{self, SessionLines, Style};
use crate::web::target;
use crate::web::when::{self, Due};
use crate::web::words::{self, GlucoseDisplay, SeverityWord};

/// Sessions in the table beneath the chart; the chart has them all.
const MAX_SESSIONS: usize = 60;
/// Tasks shown, live ones first.
const MAX_TASKS: usize = 20;
/// Actions that only say that the member was in a list.
const LISTINGS: [&str; 3] = ["queue.read", "alerts.read", "tasks.read"];
/// Rows of "who opened this file".
const MAX_AUDIT: usize = 12;

/// Periods that can be chosen, in days.
pub(crate) const PERIODS: [i64; 3] = [30, 90, 365];

/// What the address asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Days back.
    pub(crate) days: i64,
    /// The unit of glucose.
    pub(crate) display: GlucoseDisplay,
}

impl Asked {
    /// From the address; what is unknown is the default.
    pub(crate) fn from_query(days: Option<&str>, unit: Option<&str>) -> Self {
        let days = days
            .and_then(|text| text.parse().ok())
            .filter(|days| PERIODS.contains(days));
        Self {
            days: days.unwrap_or(PERIODS[1]),
            display: if unit == Some("mgdl") {
                GlucoseDisplay::MgPerDl
            } else {
                GlucoseDisplay::MmolPerL
            },
        }
    }

    /// The period.
    pub(crate) fn period(self) -> TimeDelta {
        TimeDelta::days(self.days)
    }

    const fn unit_code(self) -> &'static str {
        match self.display {
            GlucoseDisplay::MmolPerL => "mmol",
            GlucoseDisplay::MgPerDl => "mgdl",
        }
    }

    /// The address of a member's file seen so.
    pub(crate) fn address(self, member: MemberId) -> String {
        format!("/members/{member}?days={}&unit={}", self.days, self.unit_code())
    }
}

/// A link of a switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    /// In words.
    pub(crate) label: String,
    /// Where it leads.
    pub(crate) address: String,
    /// It is the one shown.
    pub(crate) current: bool,
}

/// The page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemberPage {
    /// The name, in full: the file is where it is shown.
    pub(crate) name: String,
    /// The card code.
    pub(crate) code: String,
    /// Sex and age.
    pub(crate) person: String,
    /// Conditions on file.
    pub(crate) conditions: Vec<String>,
    /// Drug classes on file.
    pub(crate) drugs: Vec<String>,
    /// Every purpose with its state.
    pub(crate) consents: Vec<ConsentLine>,
    /// The readings; `None` where consent to keep and evaluate them does not hold now.
    pub(crate) care: Option<Care>,
    /// Who opened the file and what was changed.
    pub(crate) audit: Vec<AuditLine>,
}

/// What only a member with consent has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Care {
    /// The chart.
    pub(crate) chart: String,
    /// What the legend explains.
    pub(crate) legend: Legend,
    /// Sessions with their readings, the newest first.
    pub(crate) sessions: Vec<SessionLines>,
    /// Sessions of the period in all.
    pub(crate) session_count: usize,
    /// The glucose table.
    pub(crate) glucose: GlucoseGrid,
    /// Weights, temperatures and oxygen saturations, the newest first.
    pub(crate) others: Vec<OtherLine>,
    /// Earlier ones.
    pub(crate) others_earlier: Vec<OtherLine>,
    /// That there are more of them in the period than are shown; empty when there are not.
    pub(crate) others_more: String,
    /// Open alerts.
    pub(crate) alerts: Vec<AlertLine>,
    /// Open tasks.
    pub(crate) tasks: Vec<TaskLine>,
    /// Symptoms of the period.
    pub(crate) symptoms: Vec<String>,
    /// Choices of the period.
    pub(crate) periods: Vec<Choice>,
    /// Choices of the glucose unit.
    pub(crate) units: Vec<Choice>,
}

/// An open alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AlertLine {
    /// Where it leads.
    pub(crate) address: String,
    /// How grave.
    pub(crate) severity: SeverityWord,
    /// The rule in words, with its id.
    pub(crate) reason: String,
    /// Newest evidence.
    pub(crate) at: String,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TaskLine {
    /// Where it leads.
    pub(crate) address: String,
    /// What is to be done.
    pub(crate) kind: String,
    /// When, while it is open.
    pub(crate) due: Option<Due>,
    /// State and outcome in words.
    pub(crate) state: String,
    /// Who.
    pub(crate) owner: String,
}

/// A row of the audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AuditLine {
    /// When, the last time.
    pub(crate) at: String,
    /// Who.
    pub(crate) who: String,
    /// What.
    pub(crate) what: String,
    /// How often on that day.
    pub(crate) count: usize,
}

/// Builds the page.
pub(crate) fn member_page(viewer: Viewer<'_>, file: &MemberFile, names: &Names, asked: Asked) -> MemberPage {
    let Viewer { texts, now, zone, .. } = viewer;
    let member = &file.record.member;
    MemberPage {
        name: member.name.expose().clone(),
        code: member.code.to_string(),
        person: words::sex_and_age(texts, member.sex, member.birth_year, now, zone),
        conditions: words::conditions(texts, &member.conditions),
        drugs: words::drugs(texts, &member.drugs),
        consents: consent::lines(texts, &file.grants, now, zone),
        // Both the store's word and the grants are asked: what one forgot, the other refuses.
        care: (file.care_record && consent::holds(&file.grants, carepost_domain::consent::Purpose::CareRecord, now))
            .then(|| care(viewer, file, names, asked)),
        audit: audit(viewer, file, names),
    }
}

/// Who did what, the newest first; what one person did again on the same day is one line with its count.
fn audit(viewer: Viewer<'_>, file: &MemberFile, names: &Names) -> Vec<AuditLine> {
    let Viewer { texts, now, zone, .. } = viewer;
    let mut lines: Vec<(chrono::NaiveDate, AuditLine)> = Vec::new();
    // Being listed is not being opened; lists are read all the time.
    for row in file.audit.iter().filter(|row| !LISTINGS.contains(&row.action.as_str())) {
        let who = match row.actor {
            Actor::Staff(id) => name_of(viewer, names, id),
            Actor::Gateway(_) => texts.get("audit-gateway"),
            Actor::System => texts.get("audit-system"),
        };
        let what = texts.code("audit", &row.action.replace('.', "-"));
        let day = row.at.with_timezone(&zone).date_naive();
        match lines
            .iter_mut()
            .find(|(on, line)| *on == day && line.who == who && line.what == what)
        {
            Some((_, line)) => line.count += 1,
            None => {
                let at = when::absolute(texts, row.at, now, zone);
                lines.push((
                    day,
                    AuditLine {
                        at,
                        who,
                        what,
                        count: 1,
                    },
                ));
            }
        }
    }
    lines.into_iter().take(MAX_AUDIT).map(|(_, line)| line).collect()
}

fn name_of(viewer: Viewer<'_>, names: &Names, id: StaffId) -> String {
    names
        .get(&id)
        .cloned()
        .unwrap_or_else(|| viewer.texts.get("owner-unknown"))
}

fn care(viewer: Viewer<'_>, file: &MemberFile, names: &Names, asked: Asked) -> Care {
    let Viewer {
        texts,
        now,
        zone,
        rules,
        ..
    } = viewer;
    let style = Style {
        texts,
        now,
        zone,
        display: asked.display,
    };
    let points = readings::chart_points(&file.sessions, &file.pressures);
    let band = target::pressure(rules, &Profile::from(&file.record.member), now);
    let shown = file
        .sessions
        .get(..file.sessions.len().min(MAX_SESSIONS))
        .unwrap_or_default();
    let member = file.record.member.id;
    let mut newest = others::lines(style, rules, &file.others);
    Care {
        chart: bp_chart(&BpChart {
            points: &points,
            from: now - asked.period(),
            to: now,
            zone,
            band,
            texts,
        }),
        legend: legend(texts, &points, band),
        sessions: readings::sessions(style, rules, shown, &file.pressures),
        session_count: file.sessions.len(),
        glucose: grid(style, rules, &file.glucose),
        others_earlier: newest.split_off(newest.len().min(others::NEWEST)),
        others: newest,
        others_more: if file.others.len() > others::MAX_OTHERS {
            let counts = [("n", others::MAX_OTHERS.into()), ("all", file.others.len().into())];
            texts.fill("others-more", &counts)
        } else {
            String::new()
        },
        alerts: alerts(viewer, file),
        tasks: tasks(viewer, file, names),
        symptoms: file
            .symptoms
            .iter()
            .map(|record| {
                format!(
                    "{} · {}",
                    when::absolute(texts, record.at, now, zone),
                    words::symptom(texts, record.code)
                )
            })
            .collect(),
        periods: PERIODS
            .into_iter()
            .map(|days| Choice {
                label: texts.fill("period-days", &[("n", days.into())]),
                address: Asked { days, ..asked }.address(member),
                current: days == asked.days,
            })
            .collect(),
        units: [GlucoseDisplay::MmolPerL, GlucoseDisplay::MgPerDl]
            .into_iter()
            .map(|display| Choice {
                label: display.unit().to_owned(),
                address: format!("{}#glucose", Asked { display, ..asked }.address(member)),
                current: display == asked.display,
            })
            .collect(),
    }
}

fn alerts(viewer: Viewer<'_>, file: &MemberFile) -> Vec<AlertLine> {
    let texts = viewer.texts;
    file.alerts
        .iter()
        .filter(|alert| alert.is_active())
        .map(|alert| AlertLine {
            address: format!("/alerts/{}", alert.id),
            severity: words::severity(texts, alert.severity),
            reason: texts.code("rule", alert.rule.code()),
            at: when::absolute(texts, alert.last_evidence_at, viewer.now, viewer.zone),
        })
        .collect()
}

fn tasks(viewer: Viewer<'_>, file: &MemberFile, names: &Names) -> Vec<TaskLine> {
    let texts = viewer.texts;
    let line = |task: &Task| {
        let (state, owner) = match task.status {
            TaskStatus::Open => (texts.get("task-state-open"), None),
            TaskStatus::Taken { by, .. } => (texts.get("task-state-taken"), Some(by)),
            TaskStatus::Done { by, outcome, .. } => {
                let outcome = texts.code("outcome", outcome.code());
                (format!("{} · {outcome}", texts.get("task-state-done")), Some(by))
            }
            TaskStatus::Cancelled { reason, .. } => (texts.code("cancelled", reason.code()), None),
        };
        TaskLine {
            address: format!("/alerts/{}", task.alert),
            kind: texts.code("task-kind", task.kind.code()),
            due: task
                .is_live()
                .then(|| when::due(texts, due_of(task), viewer.now, viewer.zone)),
            state,
            owner: owner.map(|id| name_of(viewer, names, id)).unwrap_or_default(),
        }
    };
    file.tasks.iter().take(MAX_TASKS).map(line).collect()
}

#[cfg(test)]
mod tests {
    use carepost_domain::care::rule_set::RuleSet;
    use carepost_domain::consent::Purpose;

    use super::*;
    use crate::web::catalogue::Language;
    use crate::web::sample;

    fn page_of(file: &MemberFile) -> MemberPage {
        let rules = RuleSet::cn_2024();
        let asked = Asked::from_query(None, None);
        member_page(sample::viewer(&rules, Language::English), file, &sample::names(), asked)
    }

    #[test]
    fn the_file_shows_the_name_and_what_is_in_it() {
        let page = page_of(&sample::member_file());
        assert_eq!((page.name.as_str(), page.code.as_str()), ("王秀英", "CP-1024"));
        let care = page.care.unwrap();
        assert_eq!((care.session_count, care.glucose.count), (34, 15));
        assert!(care.legend.home && care.legend.store && care.legend.hollow && care.legend.target.is_some());
        assert_eq!((care.alerts.len(), care.tasks.len(), care.symptoms.len()), (1, 1, 1));
        let others: Vec<_> = care
            .others
            .iter()
            .map(|other| format!("{} {} {}", other.kind, other.line.value, other.line.unit))
            .collect();
        assert_eq!(
            others,
            [
                "Weight 68.3 kg",
                "Oxygen saturation 97 %",
                "Temperature (ear drum) 36.8 °C"
            ]
        );
        assert_eq!(care.others[0].sent.as_deref(), Some("150.5 lb"));
        assert_eq!(care.others[1].line.pulse.as_deref(), Some("71"));
        assert!(care.others_more.is_empty());
    }

    #[test]
    fn a_long_list_of_other_readings_is_cut_and_says_so() {
        let mut file = sample::member_file();
        let one = file.others[0].clone();
        file.others = vec![one; 61];
        let care = page_of(&file).care.unwrap();
        assert_eq!((care.others.len(), care.others_earlier.len()), (8, 52));
        assert_eq!(care.others_more, "The newest 60 of 61 are shown.");
    }

    #[test]
    fn without_consent_to_keep_readings_there_are_none_whatever_the_store_says() {
        let withdrawn = MemberFile {
            care_record: false,
            ..sample::member_file()
        };
        assert_eq!(page_of(&withdrawn).care, None);
        let mut ended = sample::member_file();
        for record in ended
            .grants
            .iter_mut()
            .filter(|record| record.grant.purpose == Purpose::CareRecord)
        {
            record.grant.withdrawn_at = Some(sample::ago(1));
        }
        let page = page_of(&ended);
        assert_eq!(page.care, None);
        assert!(
            page.consents
                .iter()
                .any(|line| !line.holds && line.state.contains("ended today")),
            "{page:?}"
        );
    }

    #[test]
    fn being_listed_is_not_shown_as_being_opened() {
        let page = page_of(&sample::member_file());
        let got: Vec<_> = page
            .audit
            .iter()
            .map(|line| (line.what.as_str(), line.who.as_str()))
            .collect();
        assert_eq!(page.audit[0].count, 2, "opened twice today");
        let wanted = [
            ("File opened", "陈药师"),
            ("Consent withdrawn", "周药师"),
            ("Member added", "System"),
        ];
        assert_eq!(got, wanted);
    }

    #[test]
    fn an_address_that_asks_for_nonsense_gets_the_default() {
        for (days, unit) in [
            (None, None),
            (Some("31"), Some("x")),
            (Some("-1"), None),
            (Some("9e9"), None),
        ] {
            assert_eq!(
                Asked::from_query(days, unit),
                Asked {
                    days: 90,
                    display: GlucoseDisplay::MmolPerL
                }
            );
        }
        let asked = Asked::from_query(Some("365"), Some("mgdl"));
        assert_eq!(
            asked,
            Asked {
                days: 365,
                display: GlucoseDisplay::MgPerDl
            }
        );
        assert!(asked.address(sample::id(1)).ends_with("?days=365&unit=mgdl"));
    }
}
