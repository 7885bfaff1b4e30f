//! One open alert per member and family, the ratchet, acknowledgement, clearing.

use std::collections::BTreeMap;

use carepost_domain::Id;
use carepost_domain::care::alert::{Alert, AlertChange, AlertError, AlertEvent, CloseReason, Condition, reconcile};
use carepost_domain::care::evaluate::assess;
use carepost_domain::care::history::{CareReading, Settled};
use carepost_domain::care::rule::{Family, Rule, Severity};
use carepost_domain::id::AlertId;
use carepost_domain::people::Symptom;
use proptest::prelude::*;

use crate::support::*;

/// A server in miniature: one member, alerts by id, evaluated as data and people come.
struct Desk {
    readings: Vec<CareReading>,
    alerts: BTreeMap<AlertId, Alert>,
    minted: u128,
}

impl Desk {
    fn new() -> Self {
        Self {
            readings: Vec::new(),
            alerts: BTreeMap::new(),
            minted: 0,
        }
    }

    fn settled(&self) -> Settled {
        let mut settled = Settled::default();
        self.alerts.values().for_each(|a| settled.add_alert(a));
        settled
    }

    fn active(&self, family: Family) -> Option<Alert> {
        let mut active = self.alerts.values().filter(|a| a.family == family && a.is_active());
        let first = active.next().cloned();
        assert!(active.next().is_none(), "two open alerts in {family}");
        first
    }

    fn store(&mut self, change: &AlertChange) {
        let stored = self.alerts.get(&change.alert.id).map(|a| a.version);
        assert_eq!(stored, change.before, "optimistic version");
        assert!(!change.events.is_empty());
        self.alerts.insert(change.alert.id, change.alert.clone());
    }

    fn evaluate(&mut self, minute: i64) -> Vec<AlertEvent> {
        let assessment = assess(rules(), &diabetic(), &self.readings, &[], &self.settled(), at(minute));
        let mut events = Vec::new();
        for family in Family::ALL {
            self.minted += 1;
            let id = Id::from_uuid(uuid::Uuid::from_u128(self.minted));
            for change in reconcile(self.active(*family), member(), *family, &assessment, id) {
                self.store(&change);
                events.extend(change.events);
            }
        }
        events
    }

    fn measure(&mut self, readings: Vec<CareReading>, minute: i64) -> Vec<AlertEvent> {
        self.readings.extend(readings);
        self.evaluate(minute)
    }

    fn acknowledge(&mut self, family: Family, minute: i64) {
        let alert = self.active(family).unwrap();
        let version = alert.version;
        let change = alert.acknowledge(pharmacist(1), at(minute), version).unwrap();
        self.store(&change);
    }

    fn contact(&mut self, family: Family, minute: i64) {
        let change = self.active(family).unwrap().record_contact(at(minute)).unwrap();
        self.store(&change);
    }

    fn closed(&self, reason: CloseReason) -> usize {
        let is = |a: &&Alert| matches!(a.condition, Condition::Closed { reason: r, .. } if r == reason);
        self.alerts.values().filter(is).count()
    }
}

#[test]
fn a_severe_pair_opens_one_alert_and_a_second_look_changes_nothing() {
    let mut desk = Desk::new();
    assert_eq!(desk.measure(pair(0, 185, 100), 2), [AlertEvent::Opened]);
    assert!(desk.evaluate(3).is_empty());
    let alert = desk.active(Family::BpHigh).unwrap();
    assert_eq!((alert.rule, alert.severity), (Rule::Bp02, Severity::Critical));
    assert_eq!(alert.evidence().len(), 2);
    assert_eq!(alert.rule_set, rules().reference.clone());
    assert!(!alert.limits.is_empty());
    assert!(alert.rules.contains_key(&Rule::Bp05));
}

#[test]
fn a_pending_reading_opens_no_alert() {
    let mut desk = Desk::new();
    assert!(desk.measure(vec![bp(0, 185, 100)], 1).is_empty());
    assert_eq!(desk.evaluate(15), [AlertEvent::Opened]);
    assert_eq!(desk.active(Family::BpHigh).unwrap().rule, Rule::Bp02);
}

#[test]
fn further_evidence_joins_and_severity_only_rises() {
    let mut desk = Desk::new();
    desk.measure(pair(0, 165, 95), 2);
    let events = desk.measure(pair(60, 185, 95), 62);
    assert_eq!(events, [AlertEvent::EvidenceJoined, AlertEvent::SeverityRaised]);
    desk.measure(pair(DAY, 162, 90), DAY + 2);
    let alert = desk.active(Family::BpHigh).unwrap();
    assert_eq!(alert.severity, Severity::Critical);
    assert_eq!(alert.evidence().len(), 6);
    assert_eq!(desk.alerts.len(), 1);
}

#[test]
fn worse_evidence_reopens_an_acknowledged_alert_and_the_same_does_not() {
    let mut desk = Desk::new();
    desk.measure(pair(0, 165, 95), 2);
    desk.acknowledge(Family::BpHigh, 5);
    assert_eq!(
        desk.measure(pair(60, 166, 95), 62),
        [AlertEvent::EvidenceJoined, AlertEvent::MarksChanged]
    );
    assert!(desk.active(Family::BpHigh).unwrap().acknowledged.is_some());
    let events = desk.measure(pair(120, 185, 95), 122);
    assert!(events.contains(&AlertEvent::Reopened), "{events:?}");
    assert!(desk.active(Family::BpHigh).unwrap().acknowledged.is_none());
}

#[test]
fn an_alert_that_needs_a_contact_waits_for_both() {
    let mut desk = Desk::new();
    desk.measure(vec![mmol(0, 25)], 1);
    desk.measure(vec![mmol(20, 60)], 21);
    assert!(
        desk.active(Family::GlucoseLow).is_some(),
        "recovered, and nobody called"
    );
    desk.contact(Family::GlucoseLow, 30);
    assert_eq!(desk.evaluate(31), [AlertEvent::Cleared]);
    assert!(desk.evaluate(32).is_empty(), "settled evidence does not open it again");
    // The other order: a contact first, the value later.
    let mut desk = Desk::new();
    desk.measure(vec![mmol(0, 25)], 1);
    desk.contact(Family::GlucoseLow, 5);
    assert!(desk.evaluate(6).is_empty());
    assert_eq!(desk.measure(vec![mmol(20, 60)], 21), [AlertEvent::Cleared]);
    // A new low opens a new one.
    assert_eq!(desk.measure(vec![mmol(300, 24)], 301), [AlertEvent::Opened]);
    assert_eq!(desk.alerts.len(), 2);
}

#[test]
fn a_contact_does_not_cover_what_came_after_it() {
    let mut desk = Desk::new();
    desk.measure(vec![mmol(0, 25)], 1);
    desk.contact(Family::GlucoseLow, 5);
    desk.measure(vec![mmol(30, 24)], 31);
    desk.measure(vec![mmol(60, 60)], 61);
    assert!(desk.active(Family::GlucoseLow).is_some());
    desk.contact(Family::GlucoseLow, 70);
    assert_eq!(desk.evaluate(71), [AlertEvent::Cleared]);
}

#[test]
fn when_the_top_rule_clears_a_lower_one_opens_a_new_alert() {
    let mut desk = Desk::new();
    desk.measure(pair(0, 185, 105), 2);
    desk.contact(Family::BpHigh, 10);
    let events = desk.measure(pair(300, 155, 96), 302);
    assert_eq!(events, [AlertEvent::Cleared, AlertEvent::Opened]);
    let lower = desk.active(Family::BpHigh).unwrap();
    assert_eq!((lower.rule, lower.severity), (Rule::Bp05, Severity::High));
    assert_eq!(desk.measure(pair(600, 140, 85), 602), [AlertEvent::Cleared]);
}

#[test]
fn emergencies_close_by_a_person_only_and_stay_closed() {
    let mut desk = Desk::new();
    desk.measure(vec![bp(0, 120, 80).symptom(Symptom::ChestPain)], 1);
    desk.contact(Family::Symptom, 5);
    assert!(desk.evaluate(6).is_empty());
    let change = desk.active(Family::Symptom).unwrap().resolve(at(10)).unwrap();
    desk.store(&change);
    assert!(desk.evaluate(11).is_empty());
    assert_eq!(
        desk.measure(vec![bp(60, 120, 80).symptom(Symptom::ChestPain)], 61),
        [AlertEvent::Opened]
    );
}

#[test]
fn a_withdrawal_closes_with_that_reason() {
    let mut desk = Desk::new();
    desk.measure(pair(0, 185, 105), 2);
    let change = desk.active(Family::BpHigh).unwrap().withdraw_consent(at(3)).unwrap();
    assert_eq!(change.events, [AlertEvent::ConsentWithdrawn]);
    desk.store(&change);
    assert_eq!(desk.closed(CloseReason::ConsentWithdrawn), 1);
    assert!(matches!(
        change.alert.clone().resolve(at(4)),
        Err(AlertError::NotActive { .. })
    ));
    let version = change.alert.version;
    assert!(matches!(
        change.alert.acknowledge(pharmacist(1), at(4), version),
        Err(AlertError::NotActive { .. })
    ));
}

#[test]
fn two_pharmacists_cannot_acknowledge_the_same_version() {
    let mut desk = Desk::new();
    desk.measure(pair(0, 185, 105), 2);
    let alert = desk.active(Family::BpHigh).unwrap();
    let seen = alert.version;
    let first = alert.acknowledge(pharmacist(1), at(3), seen).unwrap().alert;
    assert_eq!(first.owner, Some(pharmacist(1)));
    assert!(matches!(
        first.clone().acknowledge(pharmacist(2), at(3), seen),
        Err(AlertError::Stale { .. })
    ));
    let version = first.version;
    assert!(matches!(
        first.acknowledge(pharmacist(2), at(3), version),
        Err(AlertError::AlreadyAcknowledged { .. })
    ));
}

#[test]
fn an_open_alert_does_not_end_with_its_evidence_window() {
    let mut desk = Desk::new();
    desk.measure(vec![mmol(0, 25)], 1);
    assert!(desk.evaluate(40 * DAY).is_empty());
    assert!(desk.active(Family::GlucoseLow).is_some());
    // It still clears: both its conditions may be met later.
    desk.contact(Family::GlucoseLow, 40 * DAY + 1);
    assert_eq!(
        desk.measure(vec![mmol(40 * DAY + 5, 60)], 40 * DAY + 6),
        [AlertEvent::Cleared]
    );
}

#[test]
fn data_older_than_the_evidence_does_not_clear_it() {
    let mut desk = Desk::new();
    desk.measure(pair(0, 140, 85), 2);
    desk.measure(vec![bp(300, 185, 90)], 315);
    desk.contact(Family::BpHigh, 316);
    // A repeat that arrives late takes the ground from under BP-02, but nothing was measured that clears it.
    desk.measure(vec![bp(305, 150, 85)], 320);
    let alert = desk.active(Family::BpHigh).unwrap();
    assert_eq!(alert.rule, Rule::Bp02);
    // The pair that does clear it was measured after it.
    assert_eq!(desk.measure(pair(400, 140, 85), 402), [AlertEvent::Cleared]);
}

#[test]
fn another_rule_that_is_as_bad_keeps_an_alert_open() {
    let mut desk = Desk::new();
    let mut readings = pair(0, 185, 105);
    readings.push(bp(200, 181, 90).symptom(Symptom::Fainting));
    desk.measure(readings, 230);
    let alert = desk.active(Family::BpHigh).unwrap();
    assert_eq!((alert.rule, alert.severity), (Rule::Bp03, Severity::Emergency));
    desk.contact(Family::BpHigh, 240);
    assert!(
        desk.measure(pair(300, 120, 80), 302)
            .iter()
            .all(|e| *e != AlertEvent::Cleared)
    );
    // In one batch: what clears BP-05, and before it a severe reading that nobody repeated.
    let mut desk = Desk::new();
    desk.measure(pair(0, 165, 90), 2);
    let events = desk.measure([vec![bp(100, 185, 90)], pair(200, 140, 85)].concat(), 202);
    assert!(events.contains(&AlertEvent::SeverityRaised), "{events:?}");
    assert_eq!(desk.alerts.len(), 1);
}

#[test]
fn an_alert_survives_storage() {
    let mut desk = Desk::new();
    desk.measure(pair(0, 185, 105), 2);
    desk.acknowledge(Family::BpHigh, 3);
    let alert = desk.active(Family::BpHigh).unwrap();
    let text = serde_json::to_string(&alert).unwrap();
    assert_eq!(serde_json::from_str::<Alert>(&text).unwrap(), alert);
}

#[derive(Debug, Clone)]
enum Act {
    Measure(Box<CareReading>),
    Acknowledge(Family),
    Contact(Family),
    Resolve(Family),
    Wait(i64),
}

fn act() -> impl Strategy<Value = Act> {
    let family = || prop::sample::select(Family::ALL.to_vec());
    prop_oneof![
        6 => crate::properties::reading().prop_map(|r| Act::Measure(Box::new(r))),
        1 => family().prop_map(Act::Acknowledge),
        1 => family().prop_map(Act::Contact),
        1 => family().prop_map(Act::Resolve),
        1 => (1_i64..600).prop_map(Act::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn whatever_happens_there_is_one_open_alert_per_family_and_severity_never_falls(
        acts in prop::collection::vec(act(), 1..30),
    ) {
        let mut desk = Desk::new();
        let mut minute = 4 * DAY;
        for (act, n) in acts.into_iter().zip(1_u128..) {
            minute += 1;
            let before = desk.alerts.clone();
            match act {
                // Data arrives late and in any order.
                Act::Measure(reading) => desk.readings.push(reading.id(n * 7919 % 104_729)),
                Act::Wait(minutes) => minute += minutes,
                Act::Acknowledge(family) => {
                    if desk.active(family).is_some_and(|a| a.acknowledged.is_none()) {
                        desk.acknowledge(family, minute);
                    }
                }
                Act::Contact(family) => {
                    if desk.active(family).is_some() {
                        desk.contact(family, minute);
                    }
                }
                Act::Resolve(family) => {
                    if let Some(alert) = desk.active(family) {
                        let change = alert.resolve(at(minute)).unwrap();
                        desk.store(&change);
                    }
                }
            }
            desk.evaluate(minute);
            prop_assert!(desk.evaluate(minute).is_empty(), "a second look changes nothing");
            for family in Family::ALL {
                desk.active(*family);
            }
            for (id, old) in &before {
                let new = &desk.alerts[id];
                prop_assert!(new.severity >= old.severity);
                prop_assert!(new.evidence().is_superset(&old.evidence()));
                prop_assert!(new.version >= old.version);
                prop_assert!(new.version > old.version || new == old);
                if !old.is_active() {
                    prop_assert_eq!(&new.condition, &old.condition, "closed stays closed");
                }
                // Worse after an acknowledgement asks again.
                if new.is_active() && new.severity > old.severity {
                    prop_assert!(new.acknowledged.is_none_or(|a| a.severity >= new.severity));
                }
            }
            // What is true is in an alert, unless a person closed it.
            let assessment = assess(rules(), &diabetic(), &desk.readings, &[], &desk.settled(), at(minute));
            for finding in assessment.findings.iter().filter(|f| f.rule.raises_alert()) {
                let alert = desk.active(finding.family());
                prop_assert!(alert.is_some_and(|a| a.severity >= finding.severity), "{} has no alert", finding.rule);
            }
        }
    }
}
