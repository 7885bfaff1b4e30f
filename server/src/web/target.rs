//! Targets for the drawings, taken from the rule set's own limits. No number of ours.

use carepost_domain::care::history::Profile;
use carepost_domain::care::rule_set::RuleSet;
use chrono::{DateTime, Datelike as _, Utc};

use super::charts::BpBand;

/// The band of pressures in which no rule speaks: below BP-04's limit as it applies to the profile, and not below
/// BP-06's. `None` where adult standards do not apply.
pub(crate) fn pressure(rules: &RuleSet, profile: &Profile, now: DateTime<Utc>) -> Option<BpBand> {
    let year = now.with_timezone(&rules.zone).year();
    let age = profile.birth_year.map(|born| year.saturating_sub(born));
    if age.is_some_and(|age| age < rules.minor.below_age) {
        return None;
    }
    let upper = if profile
        .conditions
        .iter()
        .any(|c| rules.pregnancy.conditions.contains(c))
    {
        rules.pregnancy.high
    } else if age.is_some_and(|age| age >= rules.older.from_age) {
        rules.older.bp04_at_or_above
    } else {
        rules.bp04.at_or_above
    };
    Some(BpBand {
        systolic_mmhg: (rules.bp06.systolic_below_mmhg, upper.systolic_mmhg),
        diastolic_mmhg: (rules.bp06.note_diastolic_below_mmhg, upper.diastolic_mmhg),
    })
}

/// The range of glucose in which alerts clear, in thousandths of a mmol/L; for drawings only, never for a judgement.
pub(crate) fn glucose_milli_mmol(rules: &RuleSet) -> (i64, i64) {
    (
        rules.gl01.clears_at_or_above.milli_mmol_per_l,
        rules.gl04.clears_below.milli_mmol_per_l,
    )
}

#[cfg(test)]
mod tests {
    use carepost_domain::people::Condition;

    use super::*;

    fn band(birth_year: i32, conditions: &[Condition]) -> Option<BpBand> {
        let profile = Profile {
            birth_year: Some(birth_year),
            conditions: conditions.to_vec(),
            drugs: Vec::new(),
        };
        pressure(&RuleSet::cn_2024(), &profile, "2026-11-22T12:00:00Z".parse().unwrap())
    }

    #[test]
    fn the_band_follows_the_profile() {
        let rules = RuleSet::cn_2024();
        let adult = band(1970, &[]).unwrap();
        assert_eq!(
            adult.systolic_mmhg,
            (rules.bp06.systolic_below_mmhg, rules.bp04.at_or_above.systolic_mmhg)
        );
        assert_eq!(
            band(1930, &[]).unwrap().systolic_mmhg.1,
            rules.older.bp04_at_or_above.systolic_mmhg
        );
        assert_eq!(
            band(1995, &[Condition::Pregnant]).unwrap().diastolic_mmhg.1,
            rules.pregnancy.high.diastolic_mmhg
        );
        assert_eq!(band(2015, &[]), None, "adult standards do not apply");
    }

    #[test]
    fn the_glucose_range_is_not_empty() {
        let (from, to) = glucose_milli_mmol(&RuleSet::cn_2024());
        assert!(from < to);
    }
}
