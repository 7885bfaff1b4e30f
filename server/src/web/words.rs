//! Domain values in the words of a screen. Pure; nothing here reads a clock or the database.

use carepost_domain::care::alert::Alert;
use carepost_domain::care::rule::{AppliedLimit, Comparison, GlucoseCut, Rule, Severity};
use carepost_domain::people::{Condition, DrugClass, Sex, Symptom};
use carepost_domain::reading::{Flag, Measurement, Place, Slot};
use carepost_domain::units::{
    Concentration, GlucoseLevel, GlucoseUnit, PulseRate, TemperatureUnit, WeightUnit, one_decimal,
};
use carepost_store::model::QueueValue;
use chrono::{DateTime, Datelike as _, Utc};
use chrono_tz::Tz;

use super::catalogue::Texts;

/// Number of the ambulance in mainland China. A regional setting once the chain leaves it (page 5, section 4, item 12).
const EMERGENCY_NUMBER: &str = "120";

/// The unit in which a person wants to see glucose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum GlucoseDisplay {
    /// mmol/L, the default (page 1, words).
    #[default]
    MmolPerL,
    /// mg/dL.
    MgPerDl,
}

impl GlucoseDisplay {
    /// As the unit is written.
    pub(crate) const fn unit(self) -> &'static str {
        match self {
            Self::MmolPerL => "mmol/L",
            Self::MgPerDl => "mg/dL",
        }
    }
}

/// A severity with its word; the mark is another shape for each, so that colour is never alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeverityWord {
    /// For class names and icons.
    pub(crate) code: &'static str,
    /// In words.
    pub(crate) label: String,
}

/// The severity in words.
pub(crate) fn severity(texts: Texts, severity: Severity) -> SeverityWord {
    SeverityWord {
        code: severity.code(),
        label: texts.code("severity", severity.code()),
    }
}

/// A value as a row shows it: the number large, the unit small.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ValueWord {
    /// The number, or HI or LO.
    pub(crate) main: String,
    /// The unit.
    pub(crate) unit: &'static str,
    /// It is the mean of this many readings; 0 for a single value.
    pub(crate) readings: usize,
}

/// The value behind an alert: the session's mean, which is what was judged, or the reading itself.
pub(crate) fn value(value: &QueueValue, display: GlucoseDisplay) -> ValueWord {
    match (
        &value.reading.reading.measurement,
        value.session.as_ref().and_then(|session| session.mean),
    ) {
        (Measurement::BloodPressure(_), Some(mean)) => ValueWord {
            main: format!("{}/{}", mean.systolic_mmhg, mean.diastolic_mmhg),
            unit: "mmHg",
            readings: if mean.readings > 1 { mean.readings } else { 0 },
        },
        (Measurement::BloodPressure(bp), None) => ValueWord {
            main: format!("{}/{}", bp.systolic.rounded_mmhg(), bp.diastolic.rounded_mmhg()),
            unit: "mmHg",
            readings: 0,
        },
        (Measurement::Glucose(glucose), _) => ValueWord {
            main: glucose_number(glucose.level, display),
            unit: display.unit(),
            readings: 0,
        },
        // No rule looks at these, so that they are behind no alert.
        (
            measurement @ (Measurement::Weight(_) | Measurement::Temperature(_) | Measurement::OxygenSaturation(_)),
            _,
        ) => {
            let number = other_number(measurement);
            ValueWord {
                main: number.value,
                unit: number.unit,
                readings: 0,
            }
        }
    }
}

/// A value beside pressure and glucose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OtherNumber {
    /// In metric units.
    pub(crate) value: String,
    /// The unit.
    pub(crate) unit: &'static str,
    /// As the meter sent it, where that was in another unit.
    pub(crate) sent: Option<String>,
    /// Pulse per minute.
    pub(crate) pulse_per_min: Option<i64>,
}

/// The number of a weight, temperature or oxygen saturation. Pressures and glucose have forms of their own, and none here.
pub(crate) fn other_number(measurement: &Measurement) -> OtherNumber {
    let plain = |value, unit, sent| OtherNumber {
        value,
        unit,
        sent,
        pulse_per_min: None,
    };
    match measurement {
        Measurement::Weight(weight) => {
            let sent = (weight.mass.unit != WeightUnit::Kg).then(|| weight.mass.to_string());
            plain(one_decimal(weight.mass.display_grams()), "kg", sent)
        }
        Measurement::Temperature(temperature) => {
            let degrees = temperature.degrees;
            let sent = (degrees.unit != TemperatureUnit::Celsius).then(|| degrees.to_string());
            plain(one_decimal(degrees.display_milli_celsius()), "°C", sent)
        }
        Measurement::OxygenSaturation(saturation) => {
            let tenths = saturation.spo2.tenths();
            let value = if tenths % 10 == 0 {
                saturation.spo2.rounded_pct().to_string()
            } else {
                one_decimal(tenths.saturating_mul(100))
            };
            OtherNumber {
                pulse_per_min: saturation.pulse.map(PulseRate::rounded_per_min),
                ..plain(value, "%", None)
            }
        }
        Measurement::BloodPressure(_) | Measurement::Glucose(_) => plain(String::new(), "", None),
    }
}

/// What a reading is of, with the place on the body where the meter said it.
pub(crate) fn other_kind(texts: Texts, measurement: &Measurement) -> String {
    let kind = texts.code("kind", measurement.kind_code());
    match measurement {
        Measurement::Temperature(temperature) => match temperature.site {
            Some(site) => texts.fill(
                "other-at",
                &[("kind", kind.into()), ("site", texts.code("site", site.code()).into())],
            ),
            None => kind,
        },
        _ => kind,
    }
}

/// What qualifies an alert, one word each; first that somebody has been in contact about all that speaks now.
pub(crate) fn marks(texts: Texts, alert: &Alert) -> Vec<String> {
    let contacted = alert.is_contacted(alert.rule).then(|| texts.get("state-contacted"));
    contacted
        .into_iter()
        .chain(alert.marks.iter().map(|mark| texts.code("mark", mark.code())))
        .collect()
}

/// The number of a glucose level in the unit wanted, or HI or LO as the meter said it.
pub(crate) fn glucose_number(level: GlucoseLevel, display: GlucoseDisplay) -> String {
    match level {
        GlucoseLevel::AboveRange { .. } => "HI".to_owned(),
        GlucoseLevel::BelowRange { .. } => "LO".to_owned(),
        GlucoseLevel::Value(value) => concentration_number(value, display),
    }
}

fn concentration_number(value: Concentration, display: GlucoseDisplay) -> String {
    match display {
        GlucoseDisplay::MmolPerL => one_decimal(value.display_milli_mmol_per_l()),
        GlucoseDisplay::MgPerDl => value
            .display_milli_mg_per_dl()
            .saturating_add(500)
            .div_euclid(1_000)
            .to_string(),
    }
}

/// Several codes in one line.
fn list(texts: Texts, prefix: &str, codes: impl Iterator<Item = &'static str>) -> String {
    let words: Vec<String> = codes.map(|code| texts.code(prefix, code)).collect();
    words.join(&texts.get("list-separator"))
}

/// A symptom in words.
pub(crate) fn symptom(texts: Texts, code: Symptom) -> String {
    texts.code("symptom", code.code())
}

/// Conditions, one word each.
pub(crate) fn conditions(texts: Texts, codes: &[Condition]) -> Vec<String> {
    codes.iter().map(|c| texts.code("condition", c.code())).collect()
}

/// Drug classes, one word each.
pub(crate) fn drugs(texts: Texts, codes: &[DrugClass]) -> Vec<String> {
    codes.iter().map(|c| texts.code("drug", c.code())).collect()
}

/// Flags of a reading in one line; empty when there are none.
pub(crate) fn flags(texts: Texts, codes: &[Flag]) -> String {
    list(texts, "flag", codes.iter().map(|c| c.code()))
}

/// Sex and age in this year.
pub(crate) fn sex_and_age(texts: Texts, sex: Sex, birth_year: i32, now: DateTime<Utc>, zone: Tz) -> String {
    // Only the year of birth is on file, so the age may be one too high before the birthday.
    let age = (now.with_timezone(&zone).year() - birth_year).max(0);
    match sex {
        Sex::Unknown => texts.fill("person-age", &[("age", age.into())]),
        Sex::Female | Sex::Male => texts.fill(
            "person-sex-age",
            &[("sex", texts.code("sex", sex.code()).into()), ("age", age.into())],
        ),
    }
}

/// The meal slot, or that nobody said it.
pub(crate) fn slot(texts: Texts, slot: Option<Slot>) -> String {
    slot.map_or_else(|| texts.get("slot-none"), |slot| texts.code("slot", slot.code()))
}

/// Home or store.
pub(crate) fn place(texts: Texts, place: Place) -> String {
    texts.code("place", place.code())
}

/// A limit that applied, in words.
pub(crate) fn limit(texts: Texts, limit: &AppliedLimit) -> String {
    match limit {
        AppliedLimit::PressureAtLeast(limit) => texts.fill(
            "limit-pressure",
            &[
                ("systolic", limit.systolic_mmhg.into()),
                ("diastolic", limit.diastolic_mmhg.into()),
            ],
        ),
        AppliedLimit::SystolicBelow { mmhg } => texts.fill("limit-systolic-below", &[("mmhg", (*mmhg).into())]),
        AppliedLimit::SystolicDrop { mmhg } => texts.fill("limit-systolic-drop", &[("mmhg", (*mmhg).into())]),
        AppliedLimit::Glucose(cut) => glucose_cut(texts, *cut),
        AppliedLimit::DangerSymptom => texts.get("limit-danger-symptom"),
    }
}

/// Both units, because the value was compared in the meter's own.
fn glucose_cut(texts: Texts, cut: GlucoseCut) -> String {
    let sign = match cut.comparison {
        Comparison::AtLeast => "≥",
        Comparison::AtMost => "≤",
        Comparison::Below => "<",
    };
    let mmol = Concentration {
        milli: cut.limit.milli_mmol_per_l,
        unit: GlucoseUnit::MmolPerL,
    };
    let mg = Concentration {
        milli: cut.limit.milli_mg_per_dl,
        unit: GlucoseUnit::MgPerDl,
    };
    texts.fill(
        "limit-glucose",
        &[
            ("mmol", format!("{sign} {mmol}").into()),
            ("mg", format!("{sign} {mg}").into()),
        ],
    )
}

/// What to say and ask on the call, one reminder a line. An older finding gets no first aid, only "how are you now,
/// please measure again" (page 5, section 4, item 6).
pub(crate) fn call_steps(texts: Texts, rule: Rule, severity: Severity, fresh: bool) -> Vec<String> {
    let emergency = [("emergency", EMERGENCY_NUMBER.into())];
    let opening = if fresh {
        texts
            .code_with("steps", rule.code(), &emergency)
            .unwrap_or_else(|| texts.fill("steps-any", &emergency))
    } else {
        texts.fill("steps-stale", &emergency)
    };
    let mut steps: Vec<String> = opening.lines().map(|line| line.trim().to_owned()).collect();
    if severity >= Severity::Critical {
        steps.push(texts.get("steps-end-critical"));
    }
    steps.push(texts.get("steps-end"));
    steps
}

#[cfg(test)]
mod tests {
    use carepost_domain::care::alert::CloseReason;
    use carepost_domain::care::evaluate::Mark;
    use carepost_domain::care::rule::{GlucoseLimit, PressureLimit};
    use carepost_domain::care::task::{CancelReason, Outcome, TaskKind};
    use carepost_domain::reading::{OxygenSaturation, Temperature, TemperatureSite, Weight};
    use carepost_domain::units::{Degrees, Mass, TenthsOfPercent};

    use super::*;
    use crate::web::catalogue::Language;

    const EN: Texts = Texts(Language::English);

    fn mg(milli: i64) -> GlucoseLevel {
        GlucoseLevel::Value(Concentration {
            milli,
            unit: GlucoseUnit::MgPerDl,
        })
    }

    #[test]
    fn glucose_shows_in_the_wanted_unit_and_hi_and_lo_as_the_meter_said() {
        assert_eq!(glucose_number(mg(70_000), GlucoseDisplay::MmolPerL), "3.9");
        assert_eq!(glucose_number(mg(70_000), GlucoseDisplay::MgPerDl), "70");
        let mmol = GlucoseLevel::Value(Concentration {
            milli: 5_550,
            unit: GlucoseUnit::MmolPerL,
        });
        assert_eq!(glucose_number(mmol, GlucoseDisplay::MgPerDl), "100");
        assert_eq!(
            glucose_number(
                GlucoseLevel::AboveRange {
                    unit: GlucoseUnit::MmolPerL
                },
                GlucoseDisplay::MgPerDl
            ),
            "HI"
        );
        assert_eq!(
            glucose_number(
                GlucoseLevel::BelowRange {
                    unit: GlucoseUnit::MgPerDl
                },
                GlucoseDisplay::MmolPerL
            ),
            "LO"
        );
    }

    #[test]
    fn other_values_are_shown_in_metric_units_with_what_was_sent() {
        let number = |measurement| {
            let number = other_number(&measurement);
            (number.value, number.unit, number.sent, number.pulse_per_min)
        };
        let weight = |milli, unit| {
            Measurement::Weight(Weight {
                mass: Mass { milli, unit },
                user_slot: None,
            })
        };
        let temperature = |milli, unit, site| {
            Measurement::Temperature(Temperature {
                degrees: Degrees { milli, unit },
                site,
            })
        };
        let saturation = |tenths, pulse: Option<i64>| {
            Measurement::OxygenSaturation(OxygenSaturation {
                spo2: TenthsOfPercent::new(tenths),
                pulse: pulse.map(PulseRate::from_milli_per_min),
            })
        };
        let text = |text: &str| text.to_owned();
        assert_eq!(number(weight(72_345, WeightUnit::Kg)), (text("72.3"), "kg", None, None));
        assert_eq!(
            number(weight(150_510, WeightUnit::Lb)),
            (text("68.3"), "kg", Some(text("150.5 lb")), None)
        );
        let fever = temperature(99_100, TemperatureUnit::Fahrenheit, Some(TemperatureSite::Mouth));
        assert_eq!(number(fever.clone()), (text("37.3"), "°C", Some(text("99.1 °F")), None));
        assert_eq!(number(saturation(970, Some(71_000))), (text("97"), "%", None, Some(71)));
        assert_eq!(number(saturation(965, None)), (text("96.5"), "%", None, None));
        assert_eq!(other_kind(EN, &fever), "Temperature (mouth)");
        assert_eq!(other_kind(Texts(Language::Chinese), &fever), "体温（口腔）");
        let nowhere = temperature(36_600, TemperatureUnit::Celsius, None);
        assert_eq!(other_kind(EN, &nowhere), "Temperature");
    }

    #[test]
    fn every_code_of_the_domain_has_words_in_both_languages() {
        fn check(prefix: &str, codes: impl Iterator<Item = &'static str>) {
            for code in codes {
                for language in Language::ALL {
                    let word = Texts(language).code_with(prefix, code, &[("emergency", "120".into())]);
                    assert!(word.is_some_and(|w| !w.is_empty()), "{prefix}-{code} in {language:?}");
                }
            }
        }
        check("severity", Severity::ALL.iter().map(|c| c.code()));
        check("condition", Condition::ALL.iter().map(|c| c.code()));
        check("drug", DrugClass::ALL.iter().map(|c| c.code()));
        check("sex", Sex::ALL.iter().map(|c| c.code()));
        check("symptom", Symptom::ALL.iter().map(|c| c.code()));
        check("flag", Flag::ALL.iter().map(|c| c.code()));
        check("slot", Slot::ALL.iter().map(|c| c.code()));
        check("slot-short", Slot::ALL.iter().map(|c| c.code()));
        check("place", Place::ALL.iter().map(|c| c.code()));
        check(
            "purpose",
            carepost_domain::consent::Purpose::ALL.iter().map(|c| c.code()),
        );
        check(
            "time-quality",
            carepost_domain::time::TimeQuality::ALL.iter().map(|c| c.code()),
        );
        check(
            "kind",
            ["bp", "glucose", "weight", "temperature", "oxygen_saturation"].into_iter(),
        );
        check(
            "site",
            carepost_domain::reading::TemperatureSite::ALL.iter().map(|c| c.code()),
        );
        check(
            "meter-kind",
            carepost_domain::meter::MeterKind::ALL.iter().map(|c| c.code()),
        );
        check(
            "meter-role",
            carepost_domain::meter::MeterRole::ALL.iter().map(|c| c.code()),
        );
        check(
            "support",
            carepost_domain::quirks::Support::ALL
                .iter()
                .map(|c| c.code())
                .chain([crate::models::STANDARD]),
        );
        check("rule", Rule::ALL.iter().map(|c| c.code()));
        check("steps", Rule::ALL.iter().filter(|r| r.raises_alert()).map(|c| c.code()));
        check("task-kind", TaskKind::ALL.iter().map(|c| c.code()));
        check("mark", Mark::ALL.iter().map(|c| c.code()));
        check("closed", CloseReason::ALL.iter().map(|c| c.code()));
        check("cancelled", CancelReason::ALL.iter().map(|c| c.code()));
        check("outcome", Outcome::ALL.iter().map(|c| c.code()));
        check(
            "month",
            ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"].into_iter(),
        );
    }

    #[test]
    fn limits_say_their_unit_and_glucose_says_both() {
        let limit_160 = AppliedLimit::PressureAtLeast(PressureLimit {
            systolic_mmhg: 160,
            diastolic_mmhg: 100,
        });
        assert_eq!(limit(EN, &limit_160), "≥ 160 systolic or ≥ 100 diastolic mmHg");
        let low = GlucoseCut {
            comparison: Comparison::Below,
            limit: GlucoseLimit {
                milli_mmol_per_l: 3_000,
                milli_mg_per_dl: 54_000,
            },
        };
        assert_eq!(
            limit(EN, &AppliedLimit::Glucose(low)),
            "< 3.0 mmol/L (meter in mg/dL: < 54 mg/dL)"
        );
    }

    #[test]
    fn a_stale_finding_gives_no_first_aid() {
        let fresh = call_steps(EN, Rule::Gl01, Severity::High, true);
        let stale = call_steps(EN, Rule::Gl01, Severity::High, false);
        assert!(fresh.iter().any(|s| s.contains("15")));
        assert!(
            !stale.iter().any(|s| s.contains("15") || s.contains("glucose now")),
            "{stale:?}"
        );
    }

    #[test]
    fn every_script_ends_with_the_medicine_line_and_critical_ones_warn_of_driving() {
        for rule in Rule::ALL.iter().filter(|r| r.raises_alert()) {
            for fresh in [true, false] {
                let steps = call_steps(EN, *rule, Severity::Critical, fresh);
                assert!(
                    steps
                        .last()
                        .is_some_and(|s| s.contains("change your medicine on your own")),
                    "{rule}"
                );
                assert!(steps.iter().any(|s| s.contains("drive")), "{rule}");
                assert!(steps.iter().all(|s| !s.is_empty() && !s.contains('{')), "{rule}");
            }
        }
    }

    #[test]
    fn age_is_left_plain_where_the_sex_is_not_on_file() {
        let now = "2026-11-22T12:00:00Z".parse().unwrap();
        assert_eq!(
            sex_and_age(EN, Sex::Female, 1958, now, chrono_tz::Asia::Shanghai),
            "F · 68 y"
        );
        assert_eq!(
            sex_and_age(EN, Sex::Unknown, 1958, now, chrono_tz::Asia::Shanghai),
            "68 y"
        );
    }
}
