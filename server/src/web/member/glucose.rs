//! The glucose table: days down, meal slots across, each value with a mark as well as a colour. Pure.

use std::collections::BTreeMap;

use carepost_domain::care::rule_set::RuleSet;
use carepost_domain::reading::{Measurement, Slot};
use carepost_domain::units::GlucoseLevel;
use carepost_store::model::StoredReading;
use chrono::NaiveDate;

use crate::web::readings::Style;
use crate::web::{when, words};

/// The table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GlucoseGrid {
    /// Names of the columns; only slots that have a value, and always the one for "not said" last if it has one.
    pub(crate) columns: Vec<String>,
    /// Days, the newest first.
    pub(crate) days: Vec<GlucoseDay>,
    /// The unit of all numbers.
    pub(crate) unit: &'static str,
    /// Values in it.
    pub(crate) count: usize,
}

/// One day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GlucoseDay {
    /// The day in words.
    pub(crate) label: String,
    /// One cell a column.
    pub(crate) cells: Vec<Vec<GlucoseCell>>,
}

/// One value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GlucoseCell {
    /// The number, HI or LO.
    pub(crate) text: String,
    /// A mark for those who do not see colour; empty within limits.
    pub(crate) mark: &'static str,
    /// For class names.
    pub(crate) class: &'static str,
    /// Time and what qualifies it.
    pub(crate) note: String,
    /// In words, for readers.
    pub(crate) spoken: String,
}

/// How a value lies to the rule set's limits, in the unit of its meter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grade {
    VeryLow,
    Low,
    Within,
    High,
    VeryHigh,
}

fn grade(rules: &RuleSet, level: GlucoseLevel) -> Grade {
    if rules.gl02.below.is_above(level) {
        Grade::VeryLow
    } else if rules.gl01.at_or_below.order(level).is_le() {
        Grade::Low
    } else if rules.gl03.at_or_above.is_reached(level) {
        Grade::VeryHigh
    } else if rules.gl04.at_or_above.is_reached(level) {
        Grade::High
    } else {
        Grade::Within
    }
}

/// Values of one day by column.
type Slots<'r> = BTreeMap<usize, Vec<(&'r StoredReading, GlucoseLevel)>>;

/// Builds the table.
pub(crate) fn grid(style: Style, rules: &RuleSet, readings: &[StoredReading]) -> GlucoseGrid {
    let today = style.now.with_timezone(&style.zone).date_naive();
    let mut by_day: BTreeMap<NaiveDate, Slots<'_>> = BTreeMap::new();
    let mut count = 0;
    for stored in readings {
        let Measurement::Glucose(glucose) = &stored.reading.measurement else {
            continue;
        };
        let day = stored.reading.time.at.with_timezone(&style.zone).date_naive();
        by_day
            .entry(day)
            .or_default()
            .entry(column(stored.reading.slot))
            .or_default()
            .push((stored, glucose.level));
        count += 1;
    }
    let used: Vec<usize> = (0..=Slot::ALL.len())
        .filter(|column| by_day.values().any(|day| day.contains_key(column)))
        .collect();
    let days = by_day
        .iter()
        .rev()
        .map(|(date, slots)| GlucoseDay {
            label: when::day(style.texts, *date, today),
            cells: used
                .iter()
                .map(|column| {
                    let mut values: Vec<_> = slots.get(column).into_iter().flatten().collect();
                    values.sort_by_key(|(stored, _)| stored.reading.time.at);
                    values
                        .into_iter()
                        .map(|(stored, level)| cell(style, rules, stored, *level))
                        .collect()
                })
                .collect(),
        })
        .collect();
    let columns = used.iter().map(|column| column_name(style, *column)).collect();
    GlucoseGrid {
        columns,
        days,
        unit: style.display.unit(),
        count,
    }
}

/// Slots in the order of a day; what nobody said comes last and is never guessed from the clock.
fn column(slot: Option<Slot>) -> usize {
    slot.and_then(|slot| Slot::ALL.iter().position(|known| *known == slot))
        .unwrap_or(Slot::ALL.len())
}

fn column_name(style: Style, column: usize) -> String {
    Slot::ALL.get(column).map_or_else(
        || style.texts.get("slot-short-none"),
        |slot| style.texts.code("slot-short", slot.code()),
    )
}

fn cell(style: Style, rules: &RuleSet, stored: &StoredReading, level: GlucoseLevel) -> GlucoseCell {
    let texts = style.texts;
    let (mark, class, spoken) = match grade(rules, level) {
        Grade::VeryLow => ("▼▼", "very-low", texts.get("glucose-very-low")),
        Grade::Low => ("▼", "low", texts.get("glucose-low")),
        Grade::Within => ("", "within", texts.get("glucose-within")),
        Grade::High => ("▲", "high", texts.get("glucose-high")),
        Grade::VeryHigh => ("▲▲", "very-high", texts.get("glucose-very-high")),
    };
    let time = stored
        .reading
        .time
        .at
        .with_timezone(&style.zone)
        .format("%H:%M")
        .to_string();
    let flags = words::flags(texts, &stored.reading.flags);
    let note = if flags.is_empty() {
        time
    } else {
        format!("{time} · {flags}")
    };
    GlucoseCell {
        text: words::glucose_number(level, style.display),
        mark,
        class,
        note,
        spoken,
    }
}

#[cfg(test)]
mod tests {
    use carepost_domain::reading::Glucose;
    use carepost_domain::units::{Concentration, GlucoseUnit};

    use super::*;
    use crate::web::sample::{glucose, stored, style};
    use crate::web::words::GlucoseDisplay;

    fn one(milli: i64) -> GlucoseCell {
        let readings = [stored(1, 60, glucose(milli), &[], Some(Slot::Fasting))];
        grid(style(), &RuleSet::cn_2024(), &readings)
            .days
            .remove(0)
            .cells
            .remove(0)
            .remove(0)
    }

    #[test]
    fn values_have_a_mark_beside_their_colour_at_every_limit() {
        for (milli, mark) in [
            (2_999, "▼▼"),
            (3_000, "▼"),
            (3_900, "▼"),
            (3_901, ""),
            (13_899, ""),
            (13_900, "▲"),
            (16_699, "▲"),
            (16_700, "▲▲"),
        ] {
            assert_eq!(one(milli).mark, mark, "{milli}");
        }
    }

    #[test]
    fn a_value_is_judged_in_the_unit_of_its_meter() {
        let at_limit = Concentration {
            milli: 70_000,
            unit: GlucoseUnit::MgPerDl,
        };
        let measurement = Measurement::Glucose(Glucose {
            level: GlucoseLevel::Value(at_limit),
            sequence: 1,
        });
        let got = grid(style(), &RuleSet::cn_2024(), &[stored(1, 60, measurement, &[], None)]);
        let cell = &got.days[0].cells[0][0];
        assert_eq!((cell.text.as_str(), cell.mark), ("3.9", "▼"));
    }

    #[test]
    fn hi_and_lo_are_shown_and_marked() {
        for (level, text, mark) in [
            (
                GlucoseLevel::AboveRange {
                    unit: GlucoseUnit::MmolPerL,
                },
                "HI",
                "▲▲",
            ),
            (
                GlucoseLevel::BelowRange {
                    unit: GlucoseUnit::MgPerDl,
                },
                "LO",
                "▼▼",
            ),
        ] {
            let measurement = Measurement::Glucose(Glucose { level, sequence: 1 });
            let got = grid(style(), &RuleSet::cn_2024(), &[stored(1, 60, measurement, &[], None)]);
            let cell = &got.days[0].cells[0][0];
            assert_eq!((cell.text.as_str(), cell.mark), (text, mark));
        }
    }

    #[test]
    fn only_slots_with_a_value_are_columns_and_the_unsaid_comes_last() {
        let readings = [
            stored(1, 60, glucose(6_000), &[], None),
            stored(2, 70, glucose(6_100), &[], Some(Slot::Bedtime)),
            stored(3, 60 * 24 * 2, glucose(6_200), &[], Some(Slot::Fasting)),
        ];
        let got = grid(style(), &RuleSet::cn_2024(), &readings);
        assert_eq!((got.columns.len(), got.days.len(), got.count), (3, 2, 3));
        assert_eq!(got.columns.last(), Some(&style().texts.get("slot-short-none")));
        assert_eq!(
            got.days[0].cells.iter().map(Vec::len).collect::<Vec<_>>(),
            [0, 1, 1],
            "newest day first"
        );
    }

    #[test]
    fn the_unit_switch_changes_the_number_and_not_the_judgement() {
        let readings = [stored(1, 60, glucose(16_700), &[], None)];
        let got = grid(
            Style {
                display: GlucoseDisplay::MgPerDl,
                ..style()
            },
            &RuleSet::cn_2024(),
            &readings,
        );
        let cell = &got.days[0].cells[0][0];
        assert_eq!((cell.text.as_str(), cell.mark, got.unit), ("301", "▲▲", "mg/dL"));
    }

    #[test]
    fn no_reading_gives_an_empty_table() {
        let got = grid(style(), &RuleSet::cn_2024(), &[]);
        assert_eq!((got.columns.len(), got.days.len(), got.count), (0, 0, 0));
    }
}
