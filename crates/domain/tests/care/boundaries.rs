//! Every number of page 5, section 5.6, on both sides, in both units.

use carepost_domain::care::evaluate::{Mark, NoteCode};
use carepost_domain::care::rule::{Rule, Severity};
use carepost_domain::people::{DrugClass, Symptom};
use carepost_domain::units::{GlucoseLevel, GlucoseUnit};

use crate::support::*;

#[test]
fn pairs_at_every_pressure_limit() {
    // systolic, diastolic of both readings; what is true right after the pair.
    let table: &[(i32, i32, &[&str])] = &[
        (179, 109, &["BP-05"]),
        (180, 109, &["BP-01", "BP-02", "BP-05"]),
        (179, 110, &["BP-01", "BP-02", "BP-05"]),
        (160, 99, &["BP-05"]),
        (159, 100, &["BP-05"]),
        (159, 99, &[]),
        (90, 60, &[]),
        (89, 60, &["BP-06"]),
        (89, 50, &["BP-06"]),
        (120, 40, &[]),
        (220, 130, &["BP-01", "BP-02", "BP-05"]),
    ];
    for (systolic, diastolic, expected) in table {
        for readings in [pair(0, *systolic, *diastolic), in_store(pair(0, *systolic, *diastolic))] {
            assert_eq!(found(&readings, 2), *expected, "{systolic}/{diastolic}");
        }
    }
}

#[test]
fn a_single_reading_at_the_severe_limit_is_pending_and_then_unconfirmed() {
    for (systolic, diastolic, severe) in [(179, 109, false), (180, 80, true), (130, 110, true)] {
        let lone = [bp(0, systolic, diastolic)];
        let early = found(&lone, 5);
        assert_eq!(
            early,
            if severe { vec!["BP-01"] } else { vec![] },
            "{systolic}/{diastolic}"
        );
        let late = assess_at(&diabetic(), &lone, 15);
        assert_eq!(late.finding(Rule::Bp02).is_some(), severe, "{systolic}/{diastolic}");
        if severe {
            let finding = finding(&late, Rule::Bp02);
            assert!(finding.marks.contains(&Mark::Unconfirmed));
            assert_eq!(finding.severity, Severity::Critical);
        }
    }
}

#[test]
fn the_quarter_of_an_hour_is_exact() {
    let lone = [bp(0, 185, 95)];
    assert_eq!(rules_true(&assess_seconds(&lone, 15 * 60 - 1)), ["BP-01", "BP-05"]);
    assert_eq!(rules_true(&assess_seconds(&lone, 15 * 60)), ["BP-01", "BP-02", "BP-05"]);
    // A repeat at exactly fifteen minutes is in time, one second later it is not.
    let mut in_time = bp(15, 150, 90);
    assert_eq!(found(&[bp(0, 185, 95), in_time.clone()], 15), ["BP-01", "BP-05"]);
    in_time.measured_at = seconds(15 * 60 + 1);
    assert_eq!(
        rules_true(&assess_seconds(&[bp(0, 185, 95), in_time], 15 * 60 + 1)),
        ["BP-01", "BP-02", "BP-05"]
    );
}

fn assess_seconds(
    readings: &[carepost_domain::care::history::CareReading],
    second: i64,
) -> carepost_domain::care::evaluate::Assessment {
    let settled = carepost_domain::care::history::Settled::default();
    carepost_domain::care::evaluate::assess(rules(), &diabetic(), readings, &[], &settled, seconds(second))
}

#[test]
fn a_lone_reading_raises_at_most_bp_05_and_only_at_close() {
    for (systolic, diastolic, expected) in [
        (165, 95, vec!["BP-05"]),
        (159, 99, vec![]),
        (159, 100, vec!["BP-05"]),
        (80, 50, vec![]),
    ] {
        let lone = [bp(0, systolic, diastolic)];
        assert_eq!(found(&lone, 9), Vec::<&str>::new());
        assert_eq!(found(&lone, 10), expected, "{systolic}/{diastolic}");
        assert_eq!(found(&lone, 60), expected, "{systolic}/{diastolic}");
    }
}

#[test]
fn the_rounded_mean_is_judged() {
    // 159 and 160: 159.5 rounds half up to 160.
    assert_eq!(found(&[bp(0, 159, 80), bp(1, 160, 80)], 2), ["BP-05"]);
    // Three readings, 158 + 170 + 150 = 478: 159.33 rounds to 159.
    assert_eq!(
        found(&[bp(0, 158, 80), bp(1, 170, 80), bp(2, 150, 80)], 3),
        Vec::<&str>::new()
    );
    // 89 and 90: 89.5 is 90, which is not below 90.
    assert_eq!(found(&[bp(0, 89, 60), bp(1, 90, 60)], 2), Vec::<&str>::new());
    // 179 and 180: 179.5 is 180, which is severe.
    assert_eq!(found(&[bp(0, 179, 80), bp(1, 180, 80)], 2), ["BP-01", "BP-02", "BP-05"]);
}

#[test]
fn two_store_days_at_the_office_limit_are_bp_04() {
    let days = |first: (i32, i32), second: (i32, i32), gap: i64| {
        let mut readings = in_store(pair(0, first.0, first.1));
        readings.extend(in_store(pair(gap, second.0, second.1)));
        found(&readings, gap + 2)
    };
    for (first, second, gap, expected) in [
        ((140, 80), (140, 80), DAY, vec!["BP-04"]),
        ((139, 80), (140, 80), DAY, vec![]),
        ((140, 80), (139, 89), DAY, vec![]),
        ((120, 90), (140, 80), DAY, vec!["BP-04"]),
        ((120, 89), (140, 80), DAY, vec![]),
        // The same day in the stores' zone, and just after its midnight (16 hours after 08:00).
        ((150, 80), (150, 80), 8 * 60, vec![]),
        ((150, 80), (150, 80), 16 * 60 - 2, vec![]),
        ((150, 80), (150, 80), 16 * 60, vec!["BP-04"]),
        // A quarter of a year counts, more does not.
        ((150, 80), (150, 80), 89 * DAY, vec!["BP-04"]),
        ((150, 80), (150, 80), 91 * DAY, vec![]),
    ] {
        assert_eq!(
            days(first, second, gap),
            expected,
            "{first:?} {second:?} after {gap} min"
        );
    }
    // Home sessions are judged by the home average, which is not part of this version.
    let mut home = pair(0, 150, 80);
    home.extend(pair(DAY, 150, 80));
    assert_eq!(found(&home, DAY + 2), Vec::<&str>::new());
}

#[test]
fn glucose_at_every_limit_in_both_units() {
    // value, unit, what is true twenty minutes later for a member with diabetes on file.
    let mmol_table: &[(i64, &[&str])] = &[
        (29, &["GL-01", "GL-02"]),
        (30, &["GL-01"]),
        (39, &["GL-01"]),
        (40, &[]),
        (70, &[]),
        (139, &[]),
        (166, &[]),
        (167, &["GL-03"]),
        (300, &["GL-03"]),
    ];
    for (tenths, expected) in mmol_table {
        assert_eq!(found(&[mmol(0, *tenths)], 20), *expected, "{tenths} tenths of mmol/L");
    }
    let mg_table: &[(i64, &[&str])] = &[
        (53, &["GL-01", "GL-02"]),
        (54, &["GL-01"]),
        (70, &["GL-01"]),
        (71, &[]),
        (299, &[]),
        (300, &["GL-03"]),
    ];
    for (whole, expected) in mg_table {
        assert_eq!(found(&[mg(0, *whole)], 20), *expected, "{whole} mg/dL");
    }
}

#[test]
fn boundary_traps_of_conversion() {
    // 70 mg/dL is 3.886 mmol/L and shows 3.9; 3.9 mmol/L is 70.3 mg/dL: both raise, each in its own unit.
    assert_eq!(found(&[mg(0, 70)], 1), ["GL-01"]);
    assert_eq!(found(&[mmol(0, 39)], 1), ["GL-01"]);
    // 71 mg/dL is 3.94 mmol/L and shows 3.9 too, and does not raise.
    assert_eq!(found(&[mg(0, 71)], 1), Vec::<&str>::new());
    // 3.91 mmol/L shows 3.9 and does not raise; 3.899 does.
    let precise = |milli| glucose_level(0, level(milli, GlucoseUnit::MmolPerL));
    assert_eq!(found(&[precise(3_901)], 1), Vec::<&str>::new());
    assert_eq!(found(&[precise(3_900)], 1), ["GL-01"]);
    assert_eq!(found(&[precise(2_999)], 1), ["GL-01", "GL-02"]);
    // 54 mg/dL is 2.997 mmol/L, but GL-02 is below 54 in that unit.
    assert_eq!(found(&[mg(0, 54)], 1), ["GL-01"]);
}

#[test]
fn hi_and_lo_are_no_numbers_and_are_evaluated() {
    for unit in [GlucoseUnit::MgPerDl, GlucoseUnit::MmolPerL] {
        assert_eq!(
            found(&[glucose_level(0, GlucoseLevel::BelowRange { unit })], 1),
            ["GL-01", "GL-02"]
        );
        let high = [glucose_level(0, GlucoseLevel::AboveRange { unit })];
        assert_eq!(found(&high, 14), Vec::<&str>::new());
        assert_eq!(found(&high, 15), ["GL-03"]);
    }
}

#[test]
fn the_first_very_high_value_without_symptoms_asks_for_a_repeat() {
    let first = assess_at(&diabetic(), &[mmol(0, 180)], 5);
    assert!(first.findings.is_empty());
    assert_eq!(first.notes[0].code, NoteCode::RepeatGlucose);
    assert_eq!(first.next_check, Some(at(15)));
    // Unrepeated.
    let unrepeated = assess_at(&diabetic(), &[mmol(0, 180)], 15);
    assert!(finding(&unrepeated, Rule::Gl03).marks.contains(&Mark::Unconfirmed));
    // Confirmed, with both as evidence; two such values are also GL-04.
    let confirmed = assess_at(&diabetic(), &[mmol(0, 180), mmol(6, 167)], 6);
    assert_eq!(rules_true(&confirmed), ["GL-03", "GL-04"]);
    assert_eq!(finding(&confirmed, Rule::Gl03).evidence.len(), 2);
    assert!(!finding(&confirmed, Rule::Gl03).marks.contains(&Mark::Unconfirmed));
    // Refuted: unwashed hands.
    assert_eq!(found(&[mmol(0, 180), mmol(15, 90)], 60), Vec::<&str>::new());
    // Too late to refute.
    assert_eq!(found(&[mmol(0, 180), mmol(16, 90)], 60), ["GL-03"]);
    // Only the first waits: further ones join at once.
    let further = assess_at(&diabetic(), &[mmol(0, 180), mmol(60, 170)], 60);
    assert_eq!(finding(&further, Rule::Gl03).evidence.len(), 2);
    // With symptoms at once; with those of ketoacidosis an emergency.
    let dizzy = assess_at(&diabetic(), &[mmol(0, 180).symptom(Symptom::Dizziness)], 0);
    assert_eq!(severity(&dizzy, Rule::Gl03), Some(Severity::Critical));
    for symptom in [
        Symptom::Vomiting,
        Symptom::DeepBreathing,
        Symptom::AcetoneBreath,
        Symptom::Drowsiness,
    ] {
        let ill = assess_at(&diabetic(), &[mmol(0, 180).symptom(symptom)], 0);
        assert_eq!(severity(&ill, Rule::Gl03), Some(Severity::Emergency), "{symptom}");
    }
}

#[test]
fn high_glucose_twice_within_a_day_is_gl_04() {
    for (first, second, gap, expected) in [
        (139, 139, 60, vec!["GL-04"]),
        (138, 139, 60, vec![]),
        (139, 138, 60, vec![]),
        (139, 139, DAY, vec!["GL-04"]),
        (139, 139, DAY + 1, vec![]),
    ] {
        assert_eq!(
            found(&[mmol(0, first), mmol(gap, second)], gap),
            expected,
            "{first} {second} {gap}"
        );
    }
    assert_eq!(found(&[mg(0, 250), mg(60, 250)], 60), ["GL-04"]);
    assert_eq!(found(&[mg(0, 249), mg(60, 250)], 60), Vec::<&str>::new());
    // Meters of both kinds, each in its unit, with a value between.
    assert_eq!(found(&[mg(0, 250), mmol(30, 120), mmol(60, 139)], 60), ["GL-04"]);
}

#[test]
fn danger_symptoms_are_an_emergency_at_any_value() {
    for symptom in Symptom::ALL {
        let assessment = assess_at(&diabetic(), &[bp(0, 120, 80).symptom(*symptom)], 1);
        assert_eq!(
            assessment.finding(Rule::Sy01).is_some(),
            symptom.is_danger(),
            "{symptom}"
        );
    }
    // With a severe reading it is BP-03 too, however mild the new pair.
    let mut readings = vec![bp(0, 182, 90).symptom(Symptom::ChestPain)];
    readings.extend(pair(6, 140, 80));
    let assessment = assess_at(&diabetic(), &readings, 8);
    assert_eq!(rules_true(&assessment), ["BP-03", "SY-01"]);
    assert_eq!(severity(&assessment, Rule::Bp03), Some(Severity::Emergency));
    // Near in time, by record; not an hour later; not with a symptom that is no danger sign.
    let settled = Default::default();
    let by_record = |minute, code| {
        let records = [symptom(minute, code)];
        let all = carepost_domain::care::evaluate::assess(
            rules(),
            &diabetic(),
            &[bp(0, 182, 90)],
            &records,
            &settled,
            at(70),
        );
        all.finding(Rule::Bp03).is_some()
    };
    assert!(by_record(30, Symptom::Confusion));
    assert!(by_record(-30, Symptom::Confusion));
    assert!(!by_record(31, Symptom::Confusion));
    assert!(!by_record(0, Symptom::Dizziness));
}

#[test]
fn bp_06_is_worse_with_drugs_and_worst_with_symptoms() {
    let of = |drugs: &[DrugClass], symptom: Option<Symptom>| {
        let mut readings = pair(0, 89, 60);
        if let Some(symptom) = symptom {
            readings[1].symptoms.push(symptom);
        }
        severity(&assess_at(&with(&[], drugs, 1960), &readings, 2), Rule::Bp06)
    };
    assert_eq!(of(&[], None), Some(Severity::Info));
    assert_eq!(of(&[DrugClass::Antihypertensive], None), Some(Severity::High));
    assert_eq!(of(&[DrugClass::BetaBlocker], None), Some(Severity::High));
    assert_eq!(of(&[DrugClass::Insulin], None), Some(Severity::Info));
    assert_eq!(of(&[], Some(Symptom::Dizziness)), Some(Severity::Critical));
    assert_eq!(
        of(&[DrugClass::Antihypertensive], Some(Symptom::Fainting)),
        Some(Severity::Critical)
    );
}

#[test]
fn a_fall_of_twenty_below_the_personal_mean_counts_with_dizziness_only() {
    let of = |systolic: i32, dizzy: bool| {
        let mut readings = [pair(0, 145, 80), pair(DAY, 140, 80)].concat();
        let mut low = pair(2 * DAY, systolic, 70);
        if dizzy {
            low[0].symptoms.push(Symptom::Dizziness);
        }
        readings.extend(low);
        found(&readings, 2 * DAY + 2)
    };
    // The personal mean is 142.5.
    assert_eq!(of(122, true), ["BP-06"]);
    assert_eq!(of(123, true), Vec::<&str>::new());
    assert_eq!(of(110, false), Vec::<&str>::new());
}

#[test]
fn a_low_diastolic_alone_is_a_note() {
    let low = assess_at(&diabetic(), &pair(0, 130, 59), 2);
    assert!(low.findings.is_empty());
    assert_eq!(low.notes[0].code, NoteCode::DiastolicLow);
    assert!(assess_at(&diabetic(), &pair(0, 130, 60), 2).notes.is_empty());
}

#[test]
fn severe_on_two_days_in_fourteen_is_repeated() {
    let of = |gap: i64| {
        let readings = [pair(0, 185, 95), pair(gap, 184, 95)].concat();
        finding(&assess_at(&diabetic(), &readings, gap + 2), Rule::Bp02)
            .marks
            .contains(&Mark::Repeated)
    };
    assert!(!of(8 * 60));
    assert!(of(DAY));
    assert!(of(14 * DAY));
    assert!(!of(14 * DAY + 10));
}

#[test]
fn a_finding_is_fresh_as_long_as_its_rule_says() {
    for (reading, rule, fresh_min) in [
        (mmol(0, 35), Rule::Gl01, 60),
        (mmol(0, 25), Rule::Gl02, 60),
        (mmol(0, 180), Rule::Gl03, 720),
    ] {
        let readings = [reading];
        assert!(finding(&assess_at(&diabetic(), &readings, fresh_min - 1), rule).fresh);
        assert!(
            !finding(&assess_at(&diabetic(), &readings, fresh_min), rule).fresh,
            "{rule}"
        );
    }
    let severe = pair(0, 185, 95);
    assert!(finding(&assess_at(&diabetic(), &severe, 240), Rule::Bp02).fresh);
    assert!(!finding(&assess_at(&diabetic(), &severe, 241), Rule::Bp02).fresh);
    let mut unsure = mmol(0, 25);
    unsure.time_trusted = false;
    assert!(!finding(&assess_at(&diabetic(), &[unsure], 1), Rule::Gl02).fresh);
}

#[test]
fn what_is_measured_after_now_is_not_read() {
    assert_eq!(found(&[mmol(10, 25)], 9), Vec::<&str>::new());
    assert_eq!(found(&[mmol(10, 25)], 10), ["GL-01", "GL-02"]);
}
