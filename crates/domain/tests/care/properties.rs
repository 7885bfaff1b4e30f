//! Properties that hold for any history.

use carepost_domain::care::evaluate::{Assessment, assess};
use carepost_domain::care::history::{CareReading, Profile, Settled, SymptomRecord, Value};
use carepost_domain::people::{Condition, DrugClass, Symptom};
use carepost_domain::reading::{Flag, Place};
use carepost_domain::units::{GlucoseLevel, GlucoseUnit};
use proptest::prelude::*;

use crate::support::*;

fn flags() -> impl Strategy<Value = Vec<Flag>> {
    let some = prop::sample::select(vec![
        Flag::BodyMovement,
        Flag::CuffLoose,
        Flag::IrregularPulse,
        Flag::MeasurementError,
        Flag::NotRested,
        Flag::StripInsertionError,
    ]);
    prop_oneof![4 => Just(Vec::new()), 1 => prop::collection::vec(some, 1..3)]
}

fn symptoms() -> impl Strategy<Value = Vec<Symptom>> {
    prop_oneof![6 => Just(Vec::new()), 1 => prop::sample::select(Symptom::ALL.to_vec()).prop_map(|s| vec![s])]
}

/// Systolic values close to the limits more often than by chance.
fn systolic() -> impl Strategy<Value = i32> {
    prop_oneof![
        prop::sample::select(vec![88, 89, 90, 99, 100, 139, 140, 149, 150, 159, 160, 179, 180, 190]),
        80..210
    ]
}

fn level_of() -> impl Strategy<Value = GlucoseLevel> {
    let near = prop::sample::select(vec![
        27, 28, 29, 30, 38, 39, 40, 43, 44, 110, 111, 138, 139, 166, 167, 200,
    ]);
    prop_oneof![
        8 => near.prop_map(|tenths| level(tenths * 100, GlucoseUnit::MmolPerL)),
        4 => (40_i64..400).prop_map(|mg| level(mg * 1_000, GlucoseUnit::MgPerDl)),
        1 => Just(GlucoseLevel::AboveRange { unit: GlucoseUnit::MgPerDl }),
        1 => Just(GlucoseLevel::BelowRange { unit: GlucoseUnit::MmolPerL }),
    ]
}

/// Minutes that crowd, so that sittings, repeats and days all occur.
fn minute() -> impl Strategy<Value = i64> {
    (0_i64..4, 0_i64..3, 0_i64..25).prop_map(|(day, hour, minute)| day * DAY + hour * 60 + minute)
}

pub(crate) fn reading() -> impl Strategy<Value = CareReading> {
    let pressure = (minute(), systolic(), 50_i32..115).prop_map(|(m, s, d)| bp(m, s, d.min(s - 10)));
    let glucose = (minute(), level_of()).prop_map(|(m, l)| glucose_level(m, l));
    (
        prop_oneof![2 => pressure, 1 => glucose],
        flags(),
        symptoms(),
        any::<bool>(),
    )
        .prop_map(|(r, flags, symptoms, store)| CareReading {
            flags,
            symptoms,
            place: if store { Place::Store } else { Place::Home },
            ..r
        })
}

/// Ids are made unique, and their order is unrelated to time.
pub(crate) fn history() -> impl Strategy<Value = Vec<CareReading>> {
    prop::collection::vec(reading(), 0..24).prop_map(|readings| {
        readings
            .into_iter()
            .zip(1_u128..)
            .map(|(r, n)| r.id(n * 7919 % 104_729))
            .collect()
    })
}

fn records() -> impl Strategy<Value = Vec<SymptomRecord>> {
    prop::collection::btree_map(0..4 * DAY, prop::sample::select(Symptom::ALL.to_vec()), 0..3)
        .prop_map(|m| m.into_iter().map(|(minute, code)| symptom(minute, code)).collect())
}

fn profile() -> impl Strategy<Value = Profile> {
    let conditions = prop::collection::vec(prop::sample::select(Condition::ALL.to_vec()), 0..3);
    let drugs = prop::collection::vec(prop::sample::select(DrugClass::ALL.to_vec()), 0..3);
    (prop::option::of(1930_i32..2020), conditions, drugs).prop_map(|(birth_year, conditions, drugs)| Profile {
        birth_year,
        conditions,
        drugs,
    })
}

fn systolic_mmhg(reading: &CareReading) -> Option<i64> {
    match &reading.value {
        Value::BloodPressure { systolic, .. } => Some(systolic.rounded_mmhg()),
        Value::Glucose { .. } => None,
    }
}

fn run(profile: &Profile, readings: &[CareReading], records: &[SymptomRecord], minute: i64) -> Assessment {
    assess(rules(), profile, readings, records, &Settled::default(), at(minute))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_order_and_repetition_of_arrival_change_nothing(
        profile in profile(),
        history in history(),
        records in records(),
        now in 0_i64..5 * DAY,
        seed in any::<u64>(),
    ) {
        let expected = run(&profile, &history, &records, now);
        let mut shuffled = history.clone();
        shuffled.extend(history.iter().take(5).cloned());
        // A deterministic shuffle from the seed.
        let mut state = seed | 1;
        for i in (1..shuffled.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            shuffled.swap(i, usize::try_from(state >> 33).unwrap() % (i + 1));
        }
        let mut repeated = records.clone();
        repeated.extend(records.iter().rev().cloned());
        prop_assert_eq!(&run(&profile, &shuffled, &repeated, now), &expected);
    }

    #[test]
    fn nothing_changes_before_the_next_check(
        profile in profile(), history in history(), records in records(), now in 0_i64..5 * DAY, part in 1_i64..100,
    ) {
        let first = run(&profile, &history, &records, now);
        let next_data = history.iter().map(|r| r.measured_at).chain(records.iter().map(|r| r.at));
        let next_data = next_data.filter(|at| *at > first.now).min();
        let horizon = [first.next_check, next_data, Some(at(now + 60 * DAY))].into_iter().flatten().min().unwrap();
        let span = horizon - first.now;
        let between = first.now + span * i32::try_from(part).unwrap() / 100;
        let later = assess(rules(), &profile, &history, &records, &Settled::default(), between);
        prop_assert_eq!(later.findings, first.findings);
        prop_assert_eq!(later.clears, first.clears);
        prop_assert_eq!(later.sessions, first.sessions);
    }

    #[test]
    fn no_flag_ever_suppresses_bp_01_bp_02_bp_03_or_bp_06(
        profile in profile(), history in history(), records in records(), now in 0_i64..5 * DAY,
    ) {
        let plain: Vec<CareReading> = history.iter().cloned().map(|r| CareReading { flags: Vec::new(), ..r }).collect();
        let flagged = rules_true(&run(&profile, &history, &records, now));
        // A fall below the personal mean rests on means, and unusable readings are in no mean.
        let dizzy = history.iter().flat_map(|r| r.symptoms.iter().copied()).chain(records.iter().map(|r| r.code));
        let dizzy = dizzy.into_iter().any(|s| s == Symptom::Dizziness);
        // An artefact makes no low mean with a lone usable reading that is not low and far from it.
        let stands_alone = history.iter().filter(|r| !r.flags.is_empty()).filter_map(systolic_mmhg).any(|low| {
            let usable = history.iter().filter_map(systolic_mmhg);
            low < 90 && usable.into_iter().any(|other| other >= 90 && other - low > 5)
        });
        for rule in &rules_true(&run(&profile, &plain, &records, now)) {
            if *rule == "BP-06" && (dizzy || stands_alone) {
                continue;
            }
            if matches!(*rule, "BP-01" | "BP-02" | "BP-03" | "BP-06") {
                prop_assert!(flagged.contains(rule), "{} is hidden by a flag", rule);
            }
        }
    }

    #[test]
    fn findings_are_sorted_unique_and_rest_on_what_was_given(
        profile in profile(), history in history(), records in records(), now in 0_i64..5 * DAY,
    ) {
        let assessment = run(&profile, &history, &records, now);
        let rules = rules_true(&assessment);
        prop_assert!(rules.windows(2).all(|w| w[0] < w[1]));
        for finding in &assessment.findings {
            prop_assert!(!finding.evidence.is_empty());
            let times: Vec<_> = finding
                .readings()
                .map(|id| history.iter().find(|r| r.id == id).unwrap().measured_at)
                .collect();
            prop_assert!(times.is_sorted());
            prop_assert!(times.iter().all(|t| *t <= assessment.now));
        }
        // Every reading is in exactly one session.
        let mut in_sessions: Vec<_> = assessment.sessions.iter().flat_map(|s| s.readings.clone()).collect();
        in_sessions.sort();
        let mut given: Vec<_> = history
            .iter()
            .filter(|r| r.measured_at <= assessment.now)
            .filter(|r| matches!(r.value, carepost_domain::care::history::Value::BloodPressure { .. }))
            .map(|r| r.id)
            .collect();
        given.sort();
        prop_assert_eq!(in_sessions, given);
    }
}
