//! What a profile changes.

use carepost_domain::care::evaluate::{Mark, NoteCode};
use carepost_domain::care::rule::{Rule, Severity};
use carepost_domain::people::{Condition, DrugClass, Symptom};
use carepost_domain::reading::Flag;

use crate::support::*;

#[test]
fn without_diabetes_on_file_gl_01_raises_below_2_8() {
    let none = with(&[Condition::Hypertension], &[], 1960);
    let rules_of = |reading| rules_true(&assess_at(&none, &[reading], 1)).contains(&"GL-01");
    for (reading, raises) in [
        (mmol(0, 27), true),
        (mmol(0, 28), false),
        (mg(0, 49), true),
        (mg(0, 50), false),
        (mmol(0, 39), false),
        (mmol(0, 39).symptom(Symptom::Dizziness), true),
        (mmol(0, 40).symptom(Symptom::Dizziness), false),
        (mg(0, 70).symptom(Symptom::Drowsiness), true),
        (mg(0, 71).symptom(Symptom::Drowsiness), false),
    ] {
        assert_eq!(rules_of(reading.clone()), raises, "{:?}", reading.value);
    }
    // A value between is a note.
    let between = assess_at(&none, &[mmol(0, 35)], 1);
    assert!(between.findings.is_empty());
    assert_eq!(between.notes[0].code, NoteCode::GlucoseLowWithoutDiabetes);
    // GL-02 is not modified.
    assert_eq!(rules_true(&assess_at(&none, &[mmol(0, 29)], 1)), ["GL-02"]);
}

#[test]
fn a_glucose_lowering_drug_counts_as_diabetes_on_file() {
    for drug in DrugClass::ALL {
        let lowers = matches!(
            drug,
            DrugClass::Insulin
                | DrugClass::InsulinLong
                | DrugClass::Sulfonylurea
                | DrugClass::AlphaGlucosidaseInhibitor
        );
        let profile = with(&[], &[*drug], 1960);
        assert_eq!(
            assess_at(&profile, &[mmol(0, 35)], 1).finding(Rule::Gl01).is_some(),
            lowers,
            "{drug}"
        );
    }
}

#[test]
fn pregnancy_and_the_weeks_after_have_their_own_limits() {
    for condition in [Condition::Pregnant, Condition::Postpartum] {
        let profile = with(&[condition], &[], 1995);
        let of = |s, d| severity(&assess_at(&profile, &pair(0, s, d), 30), Rule::Bp02);
        assert_eq!(of(139, 89), None);
        assert_eq!(of(140, 80), Some(Severity::High));
        assert_eq!(of(120, 90), Some(Severity::High));
        assert_eq!(of(159, 109), Some(Severity::High));
        assert_eq!(of(160, 90), Some(Severity::Emergency));
        assert_eq!(of(150, 110), Some(Severity::Emergency));
        // BP-04 and BP-05 are off.
        let readings = [in_store(pair(0, 165, 95)), in_store(pair(DAY, 165, 95))].concat();
        let assessment = assess_at(&profile, &readings, DAY + 30);
        assert!(assessment.finding(Rule::Bp04).is_none() && assessment.finding(Rule::Bp05).is_none());
        assert!(finding(&assessment, Rule::Bp02).marks.contains(&Mark::PregnancyLimits));
    }
}

#[test]
fn in_pregnancy_a_lone_reading_is_not_lost() {
    let profile = with(&[Condition::Pregnant], &[], 1995);
    let of = |s, d, minute| severity(&assess_at(&profile, &[bp(0, s, d)], minute), Rule::Bp02);
    assert_eq!(of(145, 85, 9), None);
    assert_eq!(of(145, 85, 10), Some(Severity::High));
    assert_eq!(of(139, 89, 10), None);
    assert_eq!(of(165, 85, 10), Some(Severity::High));
    assert_eq!(of(165, 85, 15), Some(Severity::Emergency));
    assert_eq!(rules_true(&assess_at(&profile, &[bp(0, 165, 85)], 1)), ["BP-01"]);
    // Nor because of a flag, which suppresses no BP-02.
    let flagged = [bp(0, 145, 85).flag(Flag::BodyMovement)];
    assert_eq!(
        severity(&assess_at(&profile, &flagged, 10), Rule::Bp02),
        Some(Severity::High)
    );
    // Nor beside one without a flag that is below the limit, where both together are not.
    let beside = [bp(0, 150, 50).flag(Flag::BodyMovement), bp(9, 139, 50)];
    let assessment = assess_at(&profile, &beside, 20);
    assert_eq!(severity(&assessment, Rule::Bp02), Some(Severity::High));
    let together = [bp(0, 140, 50).flag(Flag::BodyMovement), bp(9, 139, 49)];
    assert_eq!(
        severity(&assess_at(&profile, &together, 20), Rule::Bp02),
        Some(Severity::High)
    );
    let below = [bp(0, 140, 50).flag(Flag::BodyMovement), bp(9, 138, 49)];
    assert_eq!(severity(&assess_at(&profile, &below, 20), Rule::Bp02), None);
}

#[test]
fn under_eighteen_adult_rules_are_off_and_danger_values_still_call() {
    let child = with(&[Condition::Diabetes], &[], 2010);
    let of = |readings: &[_], minute| rules_true(&assess_at(&child, readings, minute));
    assert_eq!(of(&pair(0, 170, 100), 30), Vec::<&str>::new());
    assert_eq!(of(&pair(0, 85, 50), 30), Vec::<&str>::new());
    assert_eq!(of(&[mmol(0, 140), mmol(60, 140)], 60), Vec::<&str>::new());
    assert_eq!(of(&pair(0, 185, 100), 2), ["BP-01", "BP-02"]);
    assert_eq!(of(&[mmol(0, 35)], 1), ["GL-01"]);
    assert_eq!(of(&[mmol(0, 170)], 15), ["GL-03"]);
    let severe = assess_at(&child, &pair(0, 185, 100), 2);
    assert!(
        finding(&severe, Rule::Bp02)
            .marks
            .contains(&Mark::AdultStandardsDoNotApply)
    );
    // 2026 - 2008 = 18.
    let grown = with(&[], &[], 2008);
    assert_eq!(rules_true(&assess_at(&grown, &pair(0, 170, 95), 30)), ["BP-05"]);
}

#[test]
fn the_turn_of_the_year_is_a_check_only_when_the_limits_change() {
    // Day 0 is 2 November 2026; the year turns in China at 16:00 on 31 December, UTC.
    let turn = "2026-12-31T16:00:00Z".parse().unwrap();
    let first_check = |born, minute| assess_at(&with(&[], &[], born), &pair(0, 170, 95), minute).next_check;
    let day_after = 40 * DAY;
    for born in [2009, 1947] {
        assert_eq!(first_check(born, day_after), Some(turn), "born {born}");
    }
    for born in [2010, 2008, 1946, 1948] {
        assert!(first_check(born, day_after).is_none_or(|at| at != turn), "born {born}");
    }
    // On that day the adult rules count for who is of age by then.
    let grown = with(&[], &[], 2009);
    let minute_of_turn = (turn - at(0)).num_minutes();
    assert_eq!(
        rules_true(&assess_at(&grown, &pair(0, 170, 95), minute_of_turn - 1)),
        Vec::<&str>::new()
    );
    assert_eq!(
        rules_true(&assess_at(&grown, &pair(0, 170, 95), minute_of_turn)),
        ["BP-05"]
    );
}

#[test]
fn from_eighty_years_bp_04_starts_at_150() {
    let of = |born, systolic| {
        let readings = [in_store(pair(0, systolic, 80)), in_store(pair(DAY, systolic, 80))].concat();
        rules_true(&assess_at(&with(&[], &[], born), &readings, DAY + 30)) == ["BP-04"]
    };
    assert!(of(1947, 140));
    assert!(!of(1946, 149));
    assert!(of(1946, 150));
    // At 70 years 145 is above the target, whatever the official control rate says.
    assert!(of(1956, 145));
}
