//! What clears lies strictly inside what raised; what needs a contact or a person waits for it.

use carepost_domain::care::evaluate::{ClearNeed, Mark};
use carepost_domain::care::history::{CareReading, Evidence, Settled};
use carepost_domain::care::rule::{Family, Rule};
use carepost_domain::units::{GlucoseLevel, GlucoseUnit};

use crate::support::*;

/// What the evidence of these readings is settled by a recorded contact.
fn contacted(family: Family, readings: &[CareReading]) -> Settled {
    let mut settled = Settled::default();
    settled.contacted(family, readings.iter().map(|r| Evidence::Reading(r.id)));
    settled
}

#[test]
fn gl_01_clears_at_4_4_and_not_below() {
    for (raise, later, cleared) in [
        (mmol(0, 39), mmol(15, 44), true),
        (mmol(0, 39), mmol(15, 43), false),
        // A repeat of exactly 3.9 must not both raise and clear.
        (mmol(0, 39), mmol(15, 39), false),
        (mg(0, 70), mg(15, 80), true),
        (mg(0, 70), mg(15, 79), false),
        // Each in its own unit: 80 mg/dL is 4.44 mmol/L, 79 is 4.385.
        (mmol(0, 39), mg(15, 80), true),
        (mmol(0, 39), mg(15, 79), false),
        (
            mmol(0, 39),
            glucose_level(
                15,
                GlucoseLevel::AboveRange {
                    unit: GlucoseUnit::MgPerDl,
                },
            ),
            true,
        ),
    ] {
        let assessment = assess_at(&diabetic(), &[raise, later.clone()], 15);
        assert_eq!(assessment.finding(Rule::Gl01).is_none(), cleared, "{:?}", later.value);
        assert_eq!(assessment.clears.contains_key(&Rule::Gl01), cleared);
    }
    // Low again after it cleared raises again, with new evidence only.
    let again = [mmol(0, 39), mmol(15, 50), mmol(60, 38)];
    assert_eq!(
        finding(&assess_at(&diabetic(), &again, 60), Rule::Gl01).evidence.len(),
        1
    );
}

#[test]
fn gl_02_needs_the_value_and_a_contact() {
    let readings = [mmol(0, 25), mmol(20, 44)];
    let open = assess_at(&diabetic(), &readings, 30);
    assert_eq!(rules_true(&open), ["GL-02"]);
    assert!(finding(&open, Rule::Gl02).marks.contains(&Mark::Recovered));
    assert_eq!(open.clears[&Rule::Gl02].need, ClearNeed::Contact);
    let settled = contacted(Family::GlucoseLow, &readings[..1]);
    assert!(assess_settled(&readings, &settled, 30).findings.is_empty());
    // A contact alone is not enough.
    let low = [mmol(0, 25), mmol(20, 43)];
    assert_eq!(rules_true(&assess_settled(&low, &settled, 30)), ["GL-01", "GL-02"]);
    // Nor does a contact about the first low cover the second.
    let again = [mmol(0, 25), mmol(20, 50), mmol(60, 28)];
    assert_eq!(rules_true(&assess_settled(&again, &settled, 61)), ["GL-01", "GL-02"]);
    assert_eq!(
        finding(&assess_settled(&again, &settled, 61), Rule::Gl02)
            .evidence
            .len(),
        1
    );
}

#[test]
fn gl_03_needs_a_value_below_13_9_and_a_contact() {
    let of = |later: CareReading, settle: bool| {
        let readings = [mmol(0, 180), later];
        let settled = if settle {
            contacted(Family::GlucoseHigh, &readings[..1])
        } else {
            Settled::default()
        };
        assess_settled(&readings, &settled, 61).finding(Rule::Gl03).is_some()
    };
    assert!(of(mmol(60, 138), false));
    assert!(!of(mmol(60, 138), true));
    assert!(of(mmol(60, 139), true));
    assert!(!of(mg(60, 249), true));
    assert!(of(mg(60, 250), true));
}

#[test]
fn gl_04_clears_with_two_values_in_a_row_below_11_1() {
    let of = |later: &[i64]| {
        let mut readings = vec![mmol(0, 140), mmol(60, 140)];
        readings.extend(later.iter().zip(2..).map(|(tenths, hour)| mmol(hour * 60, *tenths)));
        found(&readings, 24 * 60).contains(&"GL-04")
    };
    assert!(of(&[110]));
    assert!(!of(&[110, 110]));
    assert!(of(&[110, 111]));
    assert!(of(&[110, 111, 110]));
    assert!(!of(&[111, 110, 110]));
}

#[test]
fn bp_02_needs_a_session_below_160_100_and_an_outcome() {
    let of = |systolic, diastolic, settle: bool| {
        let severe = pair(0, 185, 105);
        let settled = if settle {
            contacted(Family::BpHigh, &severe)
        } else {
            Settled::default()
        };
        let readings = [severe, pair(60, systolic, diastolic)].concat();
        assess_settled(&readings, &settled, 62).finding(Rule::Bp02).is_some()
    };
    assert!(of(159, 99, false));
    assert!(!of(159, 99, true));
    assert!(of(160, 99, true));
    assert!(of(159, 100, true));
}

#[test]
fn a_lone_or_flagged_reading_clears_nothing() {
    use carepost_domain::reading::Flag;
    let severe = pair(0, 185, 105);
    let settled = contacted(Family::BpHigh, &severe);
    let lone = [severe.clone(), vec![bp(60, 120, 80)]].concat();
    assert_eq!(
        rules_true(&assess_settled(&lone, &settled, 90)),
        ["BP-01", "BP-02", "BP-05"]
    );
    let flagged: Vec<_> = pair(60, 120, 80)
        .into_iter()
        .map(|r| r.flag(Flag::BodyMovement))
        .collect();
    let flagged = [severe, flagged].concat();
    assert_eq!(
        rules_true(&assess_settled(&flagged, &settled, 90)),
        ["BP-01", "BP-02", "BP-05"]
    );
    let faulty = [mmol(0, 35), mmol(15, 60).flag(Flag::StripInsertionError)];
    assert_eq!(found(&faulty, 20), ["GL-01"]);
}

#[test]
fn bp_05_clears_below_150_and_95() {
    let of = |systolic, diastolic| found(&[pair(0, 165, 98), pair(60, systolic, diastolic)].concat(), 62);
    assert_eq!(of(149, 94), Vec::<&str>::new());
    assert_eq!(of(150, 94), ["BP-05"]);
    assert_eq!(of(149, 95), ["BP-05"]);
}

#[test]
fn when_the_top_rule_clears_the_lower_one_may_still_be_true() {
    let severe = pair(0, 185, 105);
    let settled = contacted(Family::BpHigh, &severe);
    let readings = [severe, pair(300, 155, 96)].concat();
    assert_eq!(rules_true(&assess_settled(&readings, &settled, 302)), ["BP-05"]);
}

#[test]
fn bp_06_clears_at_100() {
    let of = |systolic| found(&[pair(0, 85, 55), pair(60, systolic, 60)].concat(), 62);
    assert_eq!(of(99), ["BP-06"]);
    assert_eq!(of(100), Vec::<&str>::new());
}

#[test]
fn bp_04_clears_with_two_store_days_below() {
    let of = |later: &[i32]| {
        let days = [150, 150].iter().chain(later).zip(0..);
        let readings: Vec<_> = days.flat_map(|(s, day)| in_store(pair(day * DAY, *s, 80))).collect();
        found(&readings, 20 * DAY).contains(&"BP-04")
    };
    assert!(of(&[139]));
    assert!(!of(&[139, 139]));
    assert!(of(&[139, 140]));
    assert!(of(&[139, 140, 139]));
}

#[test]
fn symptoms_and_bp_03_wait_for_a_person() {
    use carepost_domain::people::Symptom;
    let first = bp(0, 185, 95).symptom(Symptom::ChestPain);
    let readings = [vec![first.clone()], pair(60, 120, 80), pair(DAY, 120, 80)].concat();
    let open = assess_at(&diabetic(), &readings, DAY + 2);
    assert!(open.finding(Rule::Bp03).is_some() && open.finding(Rule::Sy01).is_some());
    // A contact is not enough, a person's resolution is.
    let mut settled = contacted(Family::Symptom, &readings);
    assert!(
        assess_settled(&readings, &settled, DAY + 2)
            .finding(Rule::Sy01)
            .is_some()
    );
    settled.resolved(Family::Symptom, [Evidence::Reading(first.id)]);
    assert!(
        assess_settled(&readings, &settled, DAY + 2)
            .finding(Rule::Sy01)
            .is_none()
    );
    settled.resolved(Family::BpHigh, [Evidence::Reading(first.id)]);
    assert!(assess_settled(&readings, &settled, DAY + 2).findings.is_empty());
}

#[test]
fn evidence_ends_with_its_window() {
    assert_eq!(found(&[mmol(0, 35)], 90 * DAY - 1), ["GL-01"]);
    assert_eq!(found(&[mmol(0, 35)], 90 * DAY), Vec::<&str>::new());
}

#[test]
fn nothing_that_needs_a_person_or_a_clear_condition_lapses_within_the_quarter() {
    for rule in Rule::ALL.iter().filter(|r| **r != Rule::Bp01) {
        assert_eq!(rules().common(*rule).evidence_for.num_days(), 90, "{rule}");
    }
    let last_day = 89 * DAY;
    assert_eq!(found(&pair(0, 185, 95), last_day), ["BP-02", "BP-05"]);
    assert_eq!(found(&pair(0, 85, 55), last_day), ["BP-06"]);
    assert_eq!(found(&[mmol(0, 180), mmol(20, 180)], last_day), ["GL-03", "GL-04"]);
}

#[test]
fn a_confirmed_bp_02_outlives_a_second_pair_until_its_outcome_is_recorded() {
    let severe = vec![bp(0, 185, 85), bp(1, 183, 85)];
    let readings = [severe.clone(), vec![bp(5, 149, 80), bp(6, 149, 80)]].concat();
    let open = assess_at(&diabetic(), &readings, 7);
    assert_eq!(rules_true(&open), ["BP-02"]);
    assert!(finding(&open, Rule::Bp02).marks.contains(&Mark::Recovered));
    assert!(!finding(&open, Rule::Bp02).marks.contains(&Mark::Unconfirmed));
    let settled = contacted(Family::BpHigh, &severe);
    assert!(assess_settled(&readings, &settled, 7).findings.is_empty());
    // An outcome does not help while the new pair is not below 160/100.
    let still = [severe, pair(5, 160, 80)].concat();
    assert_eq!(rules_true(&assess_settled(&still, &settled, 7)), ["BP-02", "BP-05"]);
}

#[test]
fn a_severe_pair_is_not_diluted_by_later_readings_of_its_sitting() {
    // 184 and 176 make 180; the mean of all four is 165.
    let repeat = [vec![bp(0, 190, 85), bp(6, 184, 85), bp(7, 176, 85)], pair(9, 150, 85)].concat();
    assert_eq!(found(&repeat, 11), ["BP-02", "BP-05"]);
    let evidence = finding(&assess_at(&diabetic(), &repeat, 11), Rule::Bp02).evidence.len();
    assert_eq!(evidence, 3);
}

#[test]
fn the_levels_of_pregnancy_outlive_a_second_pair_too() {
    use carepost_domain::care::rule::Severity;
    use carepost_domain::people::Condition;
    let pregnant = with(&[Condition::Pregnant], &[], 1995);
    let of = |readings: &[CareReading]| {
        let assessment = assess_at(&pregnant, readings, 20);
        severity(&assessment, Rule::Bp02)
    };
    let severe = vec![bp(0, 165, 85), bp(1, 163, 85)];
    assert_eq!(of(&[severe, pair(5, 120, 80)].concat()), Some(Severity::Emergency));
    // 150 and 150 are high; the mean of all four is 135.
    assert_eq!(of(&[pair(0, 150, 85), pair(2, 120, 80)].concat()), Some(Severity::High));
    // A lone severe value is decided by the new pair as before.
    assert_eq!(of(&[vec![bp(0, 165, 85)], pair(6, 120, 80)].concat()), None);
}

#[test]
fn a_session_with_a_pending_severe_reading_clears_nothing() {
    let severe = pair(0, 185, 105);
    let settled = contacted(Family::BpHigh, &severe);
    let readings = [severe, pair(60, 120, 80), vec![bp(62, 182, 90)]].concat();
    // The mean of the three is 141, below both limits.
    assert!(assess_settled(&readings, &settled, 62).finding(Rule::Bp02).is_some());
}

#[test]
fn flagged_readings_do_not_help_to_clear() {
    use carepost_domain::reading::Flag;
    // 155 and 157 would clear, but with the flagged 172 the readings say 161.
    let severe = pair(0, 185, 105);
    let settled = contacted(Family::BpHigh, &severe);
    let later = vec![
        bp(60, 155, 85),
        bp(61, 157, 85),
        bp(62, 172, 85).flag(Flag::BodyMovement),
    ];
    assert!(
        assess_settled(&[severe, later].concat(), &settled, 63)
            .finding(Rule::Bp02)
            .is_some()
    );
    let later = vec![
        bp(60, 102, 60),
        bp(61, 102, 60),
        bp(62, 92, 60).flag(Flag::BodyMovement),
    ];
    assert_eq!(found(&[pair(0, 85, 50), later].concat(), 63), ["BP-06"]);
}

#[test]
fn after_bp_04_cleared_it_takes_two_store_days_again() {
    let of = |days: &[i32]| {
        let days = days.iter().zip(0..);
        let readings: Vec<_> = days.flat_map(|(s, day)| in_store(pair(day * DAY, *s, 80))).collect();
        found(&readings, 20 * DAY).contains(&"BP-04")
    };
    assert!(!of(&[150, 150, 130, 130, 150]));
    assert!(of(&[150, 150, 130, 130, 150, 150]));
    assert!(of(&[150, 130, 150]));
}

#[test]
fn a_faulty_repeat_does_not_refute_a_very_high_value() {
    use carepost_domain::reading::Flag;
    let readings = [mmol(0, 180), mmol(5, 90).flag(Flag::SampleInsufficient)];
    assert_eq!(found(&readings, 15), ["GL-03"]);
}

#[test]
fn what_recovered_and_falls_again_is_not_recovered() {
    let readings = [mmol(0, 25), mmol(20, 60), mmol(60, 26)];
    let again = assess_at(&diabetic(), &readings, 61);
    assert!(!finding(&again, Rule::Gl02).marks.contains(&Mark::Recovered));
    assert_eq!(finding(&again, Rule::Gl02).evidence.len(), 2);
    assert!(!again.clears.contains_key(&Rule::Gl01) && !again.clears.contains_key(&Rule::Gl02));
}
