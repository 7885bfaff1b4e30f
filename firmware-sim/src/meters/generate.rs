//! Plausible histories from a seed: the same seed makes the same records.

use std::ops::RangeInclusive;

use chrono::{NaiveDateTime, TimeDelta};

use super::cuff::CuffMeasurement;
use super::encode::Timestamp;
use super::glucose::{Concentration, GlucoseMeasurement};
use super::own::{OxygenMeasurement, TemperatureMeasurement, WeightMeasurement};

/// What history to make.
#[derive(Clone, Debug)]
pub struct GeneratePlan {
    /// Number of records.
    pub count: usize,
    /// Seed of all values.
    pub seed: u64,
    /// Time of the newest record by the meter's clock.
    pub newest: NaiveDateTime,
    /// Minutes between two records.
    pub spacing_minutes: u32,
    /// Range of glucose values.
    pub mg_dl: RangeInclusive<u16>,
    /// Range of systolic pressures.
    pub systolic_mmhg: RangeInclusive<u16>,
    /// Range of diastolic pressures.
    pub diastolic_mmhg: RangeInclusive<u16>,
    /// Range of pulse rates.
    pub pulse: RangeInclusive<u16>,
}

impl GeneratePlan {
    /// The default ranges: an adult in fair control.
    pub fn new(count: usize, seed: u64, newest: NaiveDateTime, spacing_minutes: u32) -> Self {
        Self {
            count,
            seed,
            newest,
            spacing_minutes,
            mg_dl: 84..=168,
            systolic_mmhg: 114..=138,
            diastolic_mmhg: 70..=86,
            pulse: 58..=86,
        }
    }

    /// Times from the oldest to the newest.
    fn times(&self) -> impl Iterator<Item = Timestamp> {
        (0..self.count).rev().map(|age| {
            let age = i64::try_from(age).unwrap_or(i64::MAX);
            let minutes = age.saturating_mul(i64::from(self.spacing_minutes));
            let back = TimeDelta::try_minutes(minutes).unwrap_or(TimeDelta::MAX);
            Timestamp::Local(self.newest.checked_sub_signed(back).unwrap_or(NaiveDateTime::MIN))
        })
    }
}

/// Blood pressure records, oldest first; slots take turns.
pub fn generate_cuff(plan: &GeneratePlan, slots: &[u8]) -> Vec<CuffMeasurement> {
    let mut dice = Dice(plan.seed);
    let mut turn = slots.iter().copied().cycle();
    plan.times()
        .map(|at| CuffMeasurement {
            systolic_mmhg: dice.within(&plan.systolic_mmhg),
            diastolic_mmhg: dice.within(&plan.diastolic_mmhg),
            pulse: Some(dice.within(&plan.pulse)),
            slot: turn.next(),
            at,
            ..CuffMeasurement::default()
        })
        .collect()
}

/// Glucose records, oldest first; with contexts, meals take turns: fasting, after a meal, before a meal, bedtime.
pub fn generate_glucose(plan: &GeneratePlan, contexts: bool) -> Vec<GlucoseMeasurement> {
    const MEALS: [u8; 4] = [3, 2, 1, 5];
    let mut dice = Dice(plan.seed);
    let mut turn = MEALS.into_iter().cycle();
    plan.times()
        .map(|at| GlucoseMeasurement {
            concentration: Some(Concentration::MgPerDl(dice.within(&plan.mg_dl))),
            meal: turn.next().filter(|_| contexts),
            at,
            ..GlucoseMeasurement::default()
        })
        .collect()
}

/// Weights of one adult, within a kilogram; slots take turns.
pub(crate) fn generate_weight(plan: &GeneratePlan, slots: &[u8]) -> Vec<WeightMeasurement> {
    let mut dice = Dice(plan.seed);
    let mut turn = slots.iter().copied().cycle();
    plan.times()
        .map(|at| WeightMeasurement {
            grams: Some(68_000 + 50 * u32::from(dice.within(&(0..=20)))),
            slot: turn.next(),
            at,
            ..WeightMeasurement::default()
        })
        .collect()
}

/// Temperatures without fever.
pub(crate) fn generate_temperature(plan: &GeneratePlan) -> Vec<TemperatureMeasurement> {
    let mut dice = Dice(plan.seed);
    plan.times()
        .map(|at| TemperatureMeasurement {
            centi_celsius: 10 * i32::from(dice.within(&(358..=372))),
            at,
            ..TemperatureMeasurement::default()
        })
        .collect()
}

/// Saturations of a healthy adult.
pub(crate) fn generate_oxygen(plan: &GeneratePlan) -> Vec<OxygenMeasurement> {
    let mut dice = Dice(plan.seed);
    plan.times()
        .map(|at| OxygenMeasurement {
            percent: dice.within(&(95..=99)),
            pulse: dice.within(&plan.pulse),
            at,
            ..OxygenMeasurement::default()
        })
        .collect()
}

/// SplitMix64 (Steele, Lea and Flood, 2014): small, and equal on every machine.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn within(&mut self, range: &RangeInclusive<u16>) -> u16 {
        let (low, high) = (*range.start(), *range.end());
        let width = u64::from(high.saturating_sub(low)) + 1;
        let step = u16::try_from(self.next() % width).unwrap_or(0);
        low.saturating_add(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(count: usize, seed: u64) -> GeneratePlan {
        GeneratePlan::new(count, seed, "2026-03-01T08:00:00".parse().unwrap(), 90)
    }

    #[test]
    fn the_same_seed_makes_the_same_records_and_another_seed_others() {
        assert_eq!(
            generate_glucose(&plan(60, 7), true),
            generate_glucose(&plan(60, 7), true)
        );
        assert_ne!(
            generate_glucose(&plan(60, 7), true),
            generate_glucose(&plan(60, 8), true)
        );
    }

    #[test]
    fn records_come_oldest_first_and_within_their_ranges() {
        let plan = plan(60, 1);
        let records = generate_cuff(&plan, &[1, 2]);
        assert_eq!(records.len(), 60);
        assert_eq!(records[59].at, Timestamp::Local(plan.newest));
        for pair in records.windows(2) {
            let (Timestamp::Local(older), Timestamp::Local(newer)) = (pair[0].at, pair[1].at) else {
                panic!("generated records have times");
            };
            assert_eq!(newer - older, TimeDelta::minutes(90));
            assert_ne!(pair[0].slot, pair[1].slot);
        }
        assert!(
            records
                .iter()
                .all(|record| plan.systolic_mmhg.contains(&record.systolic_mmhg))
        );
    }
}
