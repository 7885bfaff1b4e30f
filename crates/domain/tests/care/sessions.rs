//! The session policy: what becomes one session, what is in its mean, when it is judged and what comes next.

use carepost_domain::care::history::{CareReading, Value};
use carepost_domain::care::session::{NextStep, Session, SessionState, sessions};
use carepost_domain::id::Id;
use carepost_domain::reading::Flag;
use carepost_domain::units::Pressure;

use crate::support::*;

fn grouped(readings: &[CareReading], minute: i64) -> Vec<Session> {
    sessions(rules(), &diabetic(), readings, at(minute))
}

fn means(readings: &[CareReading], minute: i64) -> Vec<Option<(i64, i64, usize)>> {
    let mean = |s: &Session| s.mean.map(|m| (m.systolic_mmhg, m.diastolic_mmhg, m.readings));
    grouped(readings, minute).iter().map(mean).collect()
}

#[test]
fn two_that_agree_or_three_make_the_mean() {
    type Row<'a> = (&'a [(i32, i32)], Option<(i64, i64, usize)>);
    let table: &[Row<'_>] = &[
        (&[(130, 80)], None),
        (&[(130, 80), (140, 90)], Some((135, 85, 2))),
        // More than 10 apart, systolic or diastolic: a third is needed.
        (&[(130, 80), (141, 80)], None),
        (&[(130, 80), (130, 91)], None),
        (&[(130, 80), (141, 80), (150, 80)], Some((140, 80, 3))),
        (&[(130, 80), (141, 80), (150, 82), (139, 78)], Some((140, 80, 4))),
        // A third that nobody asked for counts too.
        (&[(130, 80), (132, 80), (140, 80)], Some((134, 80, 3))),
    ];
    for (values, expected) in table {
        let readings: Vec<_> = values
            .iter()
            .zip(0..)
            .map(|((s, d), minute)| bp(minute, *s, *d))
            .collect();
        assert_eq!(means(&readings, 5), [*expected], "{values:?}");
    }
}

#[test]
fn at_close_what_there_is_is_judged() {
    assert_eq!(means(&[bp(0, 130, 80)], 10), [Some((130, 80, 1))]);
    let two = [bp(0, 130, 80), bp(1, 150, 80)];
    assert_eq!(means(&two, 10), [None]);
    assert_eq!(means(&two, 11), [Some((140, 80, 2))]);
    let closed = grouped(&two, 11);
    assert_eq!(closed[0].state, SessionState::Closed);
    assert!(closed[0].further_reading_missing);
}

#[test]
fn ten_minutes_divide_sittings() {
    assert_eq!(means(&[bp(0, 130, 80), bp(10, 130, 80)], 11).len(), 1);
    assert_eq!(means(&[bp(0, 130, 80), bp(11, 130, 80)], 12).len(), 2);
    // From reading to reading, not from the first.
    assert_eq!(means(&[bp(0, 130, 80), bp(9, 130, 80), bp(18, 130, 80)], 19).len(), 1);
    // Another place or another meter is another sitting.
    assert_eq!(means(&[bp(0, 130, 80), bp(1, 130, 80).store()], 2).len(), 2);
    let mut other = bp(1, 130, 80);
    let mut first = bp(0, 130, 80);
    first.meter = Some(Id::from_uuid(uuid::Uuid::from_u128(1)));
    other.meter = Some(Id::from_uuid(uuid::Uuid::from_u128(2)));
    assert_eq!(means(&[first, other], 2).len(), 2);
}

#[test]
fn states_follow_time() {
    let lone = [bp(0, 130, 80)];
    assert_eq!(grouped(&lone, 9)[0].state, SessionState::Open);
    assert_eq!(grouped(&lone, 10)[0].state, SessionState::Single);
    assert_eq!(grouped(&lone, 9)[0].closes_at, at(10));
    let two = pair(0, 130, 80);
    assert_eq!(grouped(&two, 1)[0].state, SessionState::Judged);
    assert_eq!(grouped(&two, 11)[0].state, SessionState::Closed);
    assert_eq!(
        grouped(&[bp(0, 130, 80).flag(Flag::CuffLoose)], 10)[0].state,
        SessionState::Unusable
    );
}

#[test]
fn unusable_readings_are_in_no_mean_and_are_shown() {
    for flag in [Flag::MeasurementError, Flag::CuffLoose, Flag::BodyMovement] {
        let readings = [bp(0, 170, 95).flag(flag), bp(1, 130, 80), bp(2, 132, 80)];
        let session = &grouped(&readings, 3)[0];
        assert_eq!(
            session.mean.map(|m| (m.systolic_mmhg, m.readings)),
            Some((131, 2)),
            "{flag}"
        );
        assert_eq!((session.readings.len(), session.used.len()), (3, 2));
    }
}

#[test]
fn caution_readings_are_in_the_mean_and_ask_for_a_third() {
    for flag in [Flag::IrregularPulse, Flag::CalibrationOverdue, Flag::NotRested] {
        let two = [bp(0, 150, 80).flag(flag), bp(1, 146, 80)];
        let session = &grouped(&two, 2)[0];
        assert_eq!(session.mean.map(|m| m.systolic_mmhg), Some(148));
        assert_eq!(session.doubts, [flag]);
        assert_eq!(session.next, NextStep::ThirdReading { seconds: 60 });
        let three = [two[0].clone(), two[1].clone(), bp(2, 142, 80)];
        assert_eq!(grouped(&three, 3)[0].next, NextStep::Done);
    }
}

#[test]
fn caution_readings_are_left_out_of_bp_04() {
    let day = |start: i64, flags: usize| {
        let mut readings = in_store(vec![bp(start, 146, 80), bp(start + 1, 144, 80), bp(start + 2, 142, 80)]);
        readings
            .iter_mut()
            .take(flags)
            .for_each(|r| r.flags.push(Flag::IrregularPulse));
        readings
    };
    assert_eq!(found(&[day(0, 0), day(DAY, 0)].concat(), DAY + 3), ["BP-04"]);
    assert_eq!(found(&[day(0, 0), day(DAY, 1)].concat(), DAY + 3), ["BP-04"]);
    // What is left is no pair any more.
    assert_eq!(found(&[day(0, 0), day(DAY, 2)].concat(), DAY + 3), Vec::<&str>::new());
    assert_eq!(found(&[day(0, 0), day(DAY, 2)].concat(), DAY + 30), Vec::<&str>::new());
}

#[test]
fn a_severe_reading_ends_the_sitting_and_a_new_pair_decides() {
    let new_pair = |systolic| [vec![bp(0, 190, 100)], pair(6, systolic, 85)].concat();
    let mild = grouped(&new_pair(150), 8);
    assert_eq!(mild.len(), 2);
    assert!(mild[0].superseded);
    assert_eq!(mild[1].repeats, Some(mild[0].id));
    assert_eq!(mild[1].mean.map(|m| m.systolic_mmhg), Some(150));
    assert_eq!(found(&new_pair(150), 8), Vec::<&str>::new());
    assert_eq!(found(&new_pair(150), 60), Vec::<&str>::new());
    assert_eq!(found(&new_pair(165), 8), ["BP-05"]);
    // Severe readings in the new pair count like others: 184 and 176 are 180, 182 and 176 are 179.
    let decide = |a, b| found(&[bp(0, 190, 100), bp(6, a, 85), bp(7, b, 85)], 8);
    assert_eq!(decide(184, 176), ["BP-02", "BP-05"]);
    assert_eq!(decide(182, 176), ["BP-05"]);
    // The first values stay as evidence.
    let assessment = assess_at(&diabetic(), &new_pair(185), 8);
    assert_eq!(
        finding(&assessment, carepost_domain::care::rule::Rule::Bp02)
            .evidence
            .len(),
        3
    );
}

#[test]
fn a_severe_repeat_before_the_rest_is_over_confirms() {
    let readings = [bp(0, 185, 100), bp(1, 187, 100)];
    assert_eq!(grouped(&readings, 2).len(), 1);
    assert_eq!(found(&readings, 2), ["BP-01", "BP-02", "BP-05"]);
    // A new pair after the rest ends the waiting, and not what is confirmed.
    let again = [readings.to_vec(), pair(7, 148, 80)].concat();
    assert_eq!(found(&again, 9), ["BP-02"]);
    assert_eq!(grouped(&again, 9)[0].next, NextStep::Done);
}

#[test]
fn a_pair_that_comes_late_ends_the_waiting_only() {
    use carepost_domain::care::evaluate::Mark;
    use carepost_domain::care::rule::Rule;
    let lone = [vec![bp(0, 185, 85)], vec![bp(16, 130, 80)]].concat();
    assert_eq!(found(&lone, 16), ["BP-01", "BP-02", "BP-05"]);
    let late = [vec![bp(0, 185, 85)], pair(16, 130, 80)].concat();
    let assessment = assess_at(&diabetic(), &late, 17);
    assert_eq!(rules_true(&assessment), ["BP-02"]);
    assert!(finding(&assessment, Rule::Bp02).marks.contains(&Mark::Unconfirmed));
}

#[test]
fn unusable_readings_are_not_mixed_into_a_usable_mean() {
    let artefact = bp(0, 50, 30).flag(Flag::BodyMovement);
    let usable = [bp(1, 105, 65), bp(2, 105, 65)];
    assert_eq!(
        found(&[vec![artefact.clone()], usable.to_vec()].concat(), 3),
        Vec::<&str>::new()
    );
    // A lone usable reading is not made low by an artefact either, but a flag does not hide that both are low.
    assert_eq!(found(&[artefact, bp(1, 105, 65)], 30), Vec::<&str>::new());
    assert_eq!(
        found(&[bp(0, 80, 50).flag(Flag::BodyMovement), bp(1, 85, 55)], 2),
        ["BP-06"]
    );
    // Nor that their mean is low, where they agree.
    assert_eq!(
        found(&[bp(0, 88, 50).flag(Flag::BodyMovement), bp(1, 90, 50)], 1),
        ["BP-06"]
    );
    // Readings that are only labelled with caution are usable.
    assert_eq!(
        found(&[bp(0, 80, 50).flag(Flag::IrregularPulse), bp(1, 88, 55)], 2),
        ["BP-06"]
    );
    // The same above: 158 and 160 make 159; with the artefact it would be 186.
    let high = [
        bp(0, 190, 95),
        bp(6, 239, 95).flag(Flag::BodyMovement),
        bp(7, 158, 85),
        bp(8, 160, 85),
    ];
    assert_eq!(found(&high, 9), Vec::<&str>::new());
}

#[test]
fn a_repeat_that_never_becomes_a_pair_decides_nothing() {
    // Repeated by a lone lower reading: not "unrepeated", but no new pair either.
    assert_eq!(found(&[bp(0, 185, 95), bp(6, 150, 85)], 30), ["BP-01", "BP-05"]);
    // Repeated by another severe one only: that confirms.
    assert_eq!(
        found(&[bp(0, 185, 95), bp(6, 183, 95)], 16),
        ["BP-01", "BP-02", "BP-05"]
    );
    // The kiosk's finding ends when it is no longer fresh.
    assert_eq!(found(&[bp(0, 185, 95)], 4 * 60), ["BP-02", "BP-05"]);
}

#[test]
fn no_flag_hides_a_severe_or_low_pair() {
    for flag in [
        Flag::MeasurementError,
        Flag::BodyMovement,
        Flag::IrregularPulse,
        Flag::CalibrationOverdue,
    ] {
        let severe: Vec<_> = pair(0, 185, 95).into_iter().map(|r| r.flag(flag)).collect();
        assert!(found(&severe, 2).contains(&"BP-02"), "{flag}");
        let low: Vec<_> = pair(0, 85, 55).into_iter().map(|r| r.flag(flag)).collect();
        assert_eq!(found(&low, 2), ["BP-06"], "{flag}");
        let lone = [bp(0, 185, 95).flag(flag)];
        assert!(found(&lone, 1).contains(&"BP-01"), "{flag}");
        assert!(found(&lone, 15).contains(&"BP-02"), "{flag}");
    }
}

#[test]
fn next_steps_lead_through_a_sitting() {
    let next = |readings: &[CareReading], minute| grouped(readings, minute).last().unwrap().next;
    assert_eq!(next(&[bp(0, 130, 80)], 0), NextStep::MeasureAgainAfter { seconds: 60 });
    assert_eq!(
        next(&[bp(0, 130, 80), bp(1, 145, 80)], 1),
        NextStep::ThirdReading { seconds: 60 }
    );
    assert_eq!(next(&pair(0, 130, 80), 1), NextStep::Done);
    assert_eq!(next(&[bp(0, 185, 80)], 0), NextStep::RestAndRepeat { seconds: 300 });
    assert_eq!(
        next(&[bp(0, 185, 80), bp(6, 183, 80)], 6),
        NextStep::MeasureAgainAfter { seconds: 60 }
    );
    assert_eq!(
        next(&[bp(0, 185, 80), bp(6, 183, 80), bp(7, 181, 80)], 7),
        NextStep::Done
    );
    assert_eq!(
        next(&[bp(0, 130, 80).flag(Flag::CuffLoose)], 0),
        NextStep::MeasureAgainAfter { seconds: 60 }
    );
    assert_eq!(next(&[bp(0, 130, 80)], 10), NextStep::Done);
}

#[test]
fn kilopascal_are_averaged_before_rounding() {
    // 23.9 kPa is 179.264818 mmHg and 24.0 kPa is 180.01488: the mean 179.639849 rounds to 180.
    let mut readings = pair(0, 120, 80);
    for (reading, micro) in readings.iter_mut().zip([179_264_818, 180_014_880]) {
        reading.value = Value::BloodPressure {
            systolic: Pressure::from_micro_mmhg(micro),
            diastolic: Pressure::from_mmhg(80),
            pulse: None,
        };
    }
    let session = &grouped(&readings, 2)[0];
    let mean = session.mean.unwrap();
    assert_eq!((mean.systolic_mmhg, mean.pulse_per_min), (180, None));
}

#[test]
fn the_key_of_a_session_is_its_first_reading() {
    let readings = pair(0, 130, 80);
    assert_eq!(grouped(&readings, 1)[0].id.uuid(), readings[0].id.uuid());
}

#[test]
fn a_new_pair_decides_about_every_sitting_that_led_to_it() {
    // The first repeat stayed alone; the pair came within fifteen minutes of it.
    let readings = [vec![bp(0, 185, 95), bp(6, 183, 95)], pair(18, 148, 85)].concat();
    let sessions = grouped(&readings, 20);
    assert_eq!(
        sessions.iter().map(|s| s.superseded).collect::<Vec<_>>(),
        [true, true, false]
    );
    assert_eq!(found(&readings, 60), Vec::<&str>::new());
}

#[test]
fn a_severe_reading_after_the_new_pair_asks_again() {
    let readings = [vec![bp(0, 185, 95)], pair(6, 150, 85), vec![bp(8, 190, 95)]].concat();
    let assessment = assess_at(&diabetic(), &readings, 9);
    assert_eq!(rules_true(&assessment), ["BP-01", "BP-05"]);
    let pending: Vec<_> = finding(&assessment, carepost_domain::care::rule::Rule::Bp01)
        .readings()
        .collect();
    assert_eq!(pending, [readings[3].id]);
    assert_eq!(grouped(&readings, 9)[1].next, NextStep::RestAndRepeat { seconds: 300 });
}

#[test]
fn the_next_check_is_when_something_may_change() {
    let next = |readings: &[CareReading], minute| assess_at(&diabetic(), readings, minute).next_check;
    assert_eq!(next(&[], 0), None);
    assert_eq!(next(&[bp(0, 120, 80)], 1), Some(at(10)));
    assert_eq!(next(&pair(0, 120, 80), 1), Some(at(11)));
    assert_eq!(next(&pair(0, 120, 80), 11), None);
    assert_eq!(next(&[bp(0, 185, 80)], 10), Some(at(15)));
    // After that BP-01 and BP-02 are no longer fresh after four hours.
    assert_eq!(next(&[bp(0, 185, 80)], 15), Some(at(240)));
    assert_eq!(next(&[mmol(0, 180)], 0), Some(at(15)));
}
