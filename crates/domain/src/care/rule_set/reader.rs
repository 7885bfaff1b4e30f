//! Reads a TOML table key by key and collects every problem instead of stopping at the first.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use chrono::{NaiveDate, TimeDelta};
use toml::{Table, Value};

use crate::care::rule::{GlucoseLimit, PressureLimit};

/// One thing that is wrong with a rule file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, with its section; empty for the whole file.
    pub key: String,
    /// What is wrong and what is expected.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.key, self.message)
        }
    }
}

/// Everything that is wrong with a rule file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the rule set is not valid: {}", self.joined())]
pub struct RuleSetErrors {
    /// The problems, in file order of their sections.
    pub problems: Vec<Problem>,
}

impl RuleSetErrors {
    fn joined(&self) -> String {
        self.problems
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ")
    }
}

/// Longest text that a rule file may hold in one value.
const MAX_TEXT_CHARS: usize = 2_000;
/// Longest list.
const MAX_LIST: usize = 64;

/// A table that is being read. `finish` reports keys that nobody asked for.
pub(super) struct Section<'t> {
    path: String,
    table: Option<&'t Table>,
    asked: BTreeSet<&'static str>,
}

/// Where problems are collected.
#[derive(Default)]
pub(super) struct Problems(Vec<Problem>);

impl Problems {
    pub(super) fn add(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem {
            key: key.into(),
            message: message.into(),
        });
    }

    pub(super) fn into_result<T>(self, value: Option<T>) -> Result<T, RuleSetErrors> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(RuleSetErrors { problems: self.0 }),
        }
    }
}

impl<'t> Section<'t> {
    pub(super) fn root(table: &'t Table) -> Self {
        Self {
            path: String::new(),
            table: Some(table),
            asked: BTreeSet::new(),
        }
    }

    pub(super) fn key(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    fn get(&mut self, key: &'static str, problems: &mut Problems) -> Option<&'t Value> {
        self.asked.insert(key);
        // A missing section was reported once; its keys are not reported again.
        let found = self.table?.get(key);
        if found.is_none() {
            problems.add(self.key(key), "is missing");
        }
        found
    }

    /// A sub-table; when it is missing or no table, that is reported and its keys read as absent.
    pub(super) fn section(&mut self, key: &'static str, problems: &mut Problems) -> Self {
        let path = self.key(key);
        let table = match self.get(key, problems) {
            Some(Value::Table(table)) => Some(table),
            Some(_) => {
                problems.add(path.clone(), "must be a section");
                None
            }
            None => None,
        };
        Self {
            path,
            table,
            asked: BTreeSet::new(),
        }
    }

    /// A list of tables; absent means none.
    pub(super) fn sections(&mut self, key: &'static str, problems: &mut Problems) -> Vec<Self> {
        self.asked.insert(key);
        let path = self.key(key);
        let Some(value) = self.table.and_then(|t| t.get(key)) else {
            return Vec::new();
        };
        let Value::Array(items) = value else {
            problems.add(path, "must be a list of sections");
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (index, item) in items.iter().enumerate().take(MAX_LIST) {
            let path = format!("{path}[{index}]");
            match item {
                Value::Table(table) => sections.push(Self {
                    path,
                    table: Some(table),
                    asked: BTreeSet::new(),
                }),
                _ => problems.add(path, "must be a section"),
            }
        }
        sections
    }

    pub(super) fn text(&mut self, key: &'static str, problems: &mut Problems) -> Option<String> {
        match self.get(key, problems)? {
            Value::String(text) if text.trim().is_empty() => {
                problems.add(self.key(key), "must not be empty");
                None
            }
            Value::String(text) if text.chars().count() > MAX_TEXT_CHARS => {
                problems.add(
                    self.key(key),
                    format!("must not have more than {MAX_TEXT_CHARS} characters"),
                );
                None
            }
            Value::String(text) => Some(text.clone()),
            _ => {
                problems.add(self.key(key), "must be a text");
                None
            }
        }
    }

    /// A text that is one of an enumeration's codes, a zone, or anything else that parses.
    pub(super) fn parsed<T: FromStr>(&mut self, key: &'static str, problems: &mut Problems) -> Option<T>
    where
        T::Err: fmt::Display,
    {
        let text = self.text(key, problems)?;
        text.parse()
            .map_err(|e: T::Err| problems.add(self.key(key), e.to_string()))
            .ok()
    }

    pub(super) fn codes<T: FromStr>(&mut self, key: &'static str, problems: &mut Problems) -> Option<Vec<T>>
    where
        T::Err: fmt::Display,
    {
        let Value::Array(items) = self.get(key, problems)? else {
            problems.add(self.key(key), "must be a list of codes");
            return None;
        };
        if items.len() > MAX_LIST {
            problems.add(self.key(key), format!("must not have more than {MAX_LIST} entries"));
            return None;
        }
        let mut codes = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let at = format!("{}[{index}]", self.key(key));
            match item.as_str().map(T::from_str) {
                Some(Ok(code)) => codes.push(code),
                Some(Err(e)) => problems.add(at, e.to_string()),
                None => problems.add(at, "must be a text"),
            }
        }
        (codes.len() == items.len()).then_some(codes)
    }

    /// A whole number within bounds.
    pub(super) fn integer(
        &mut self,
        key: &'static str,
        bounds: std::ops::RangeInclusive<i64>,
        problems: &mut Problems,
    ) -> Option<i64> {
        match self.get(key, problems)? {
            Value::Integer(number) if bounds.contains(number) => Some(*number),
            Value::Integer(number) => {
                let (low, high) = (bounds.start(), bounds.end());
                problems.add(self.key(key), format!("is {number}, must be from {low} to {high}"));
                None
            }
            _ => {
                problems.add(self.key(key), "must be a whole number");
                None
            }
        }
    }

    pub(super) fn count(&mut self, key: &'static str, most: i64, problems: &mut Problems) -> Option<usize> {
        self.integer(key, 1..=most, problems)
            .and_then(|n| usize::try_from(n).ok())
    }

    pub(super) fn minutes(&mut self, key: &'static str, problems: &mut Problems) -> Option<TimeDelta> {
        // A year is far beyond every rule and far below what time arithmetic can hold.
        self.integer(key, 0..=366 * 24 * 60, problems).map(TimeDelta::minutes)
    }

    pub(super) fn days(&mut self, key: &'static str, problems: &mut Problems) -> Option<TimeDelta> {
        self.integer(key, 1..=366, problems).map(TimeDelta::days)
    }

    pub(super) fn date(&mut self, key: &'static str, problems: &mut Problems) -> Option<NaiveDate> {
        let text = match self.get(key, problems)? {
            Value::Datetime(date) => date.to_string(),
            Value::String(text) => text.clone(),
            _ => String::new(),
        };
        let date = NaiveDate::parse_from_str(&text, "%Y-%m-%d");
        date.map_err(|_| problems.add(self.key(key), "must be a date such as 2026-01-31"))
            .ok()
    }

    /// Thousandths, from a whole number or a decimal in quotes. A bare decimal is a float and is refused.
    fn milli(&mut self, key: &'static str, problems: &mut Problems) -> Option<i64> {
        let milli = match self.get(key, problems)? {
            Value::Integer(number) => number.checked_mul(1_000),
            Value::String(text) => milli_from_text(text),
            Value::Float(_) => {
                problems.add(
                    self.key(key),
                    "must be quoted, such as \"3.9\": a bare decimal is not exact",
                );
                return None;
            }
            _ => None,
        };
        // 100 mmol/L and 2,000 mg/dL are beyond every meter.
        match milli.filter(|m| (1..=2_000_000).contains(m)) {
            Some(milli) => Some(milli),
            None => {
                problems.add(
                    self.key(key),
                    "must be a positive number with up to three decimals, such as \"3.9\" or 70",
                );
                None
            }
        }
    }

    pub(super) fn pressure(&mut self, key: &'static str, problems: &mut Problems) -> Option<PressureLimit> {
        let mut section = self.section(key, problems);
        let systolic_mmhg = section.integer("systolic_mmhg", 30..=320, problems);
        let diastolic_mmhg = section.integer("diastolic_mmhg", 10..=250, problems);
        section.finish(problems);
        let limit = PressureLimit {
            systolic_mmhg: systolic_mmhg?,
            diastolic_mmhg: diastolic_mmhg?,
        };
        if limit.diastolic_mmhg >= limit.systolic_mmhg {
            problems.add(self.key(key), "has a diastolic that is not below the systolic");
            return None;
        }
        Some(limit)
    }

    pub(super) fn glucose(&mut self, key: &'static str, problems: &mut Problems) -> Option<GlucoseLimit> {
        let mut section = self.section(key, problems);
        let milli_mmol_per_l = section.milli("mmol_per_l", problems);
        let milli_mg_per_dl = section.milli("mg_per_dl", problems);
        section.finish(problems);
        let limit = GlucoseLimit {
            milli_mmol_per_l: milli_mmol_per_l?,
            milli_mg_per_dl: milli_mg_per_dl?,
        };
        // Both cut-offs are data; this only catches a slip of the pen: they agree within 5 % of 18 mg/dL per mmol/L.
        let expected = limit.milli_mmol_per_l.saturating_mul(18);
        if (limit.milli_mg_per_dl - expected).abs().saturating_mul(20) > expected {
            problems.add(
                self.key(key),
                "has cut-offs in mmol/L and mg/dL that do not belong together",
            );
            return None;
        }
        Some(limit)
    }

    /// Reports keys that nobody asked for.
    pub(super) fn finish(self, problems: &mut Problems) {
        let Some(table) = self.table else { return };
        for key in table.keys().filter(|k| !self.asked.contains(k.as_str())) {
            problems.add(self.key(key), "is not known");
        }
    }
}

/// Exact thousandths from plain decimal text: digits, at most one point with one to three digits after it.
fn milli_from_text(text: &str) -> Option<i64> {
    let (whole, fraction) = text
        .split_once('.')
        .map_or((text, None), |(whole, fraction)| (whole, Some(fraction)));
    let digits = |part: &str, most: usize| {
        (!part.is_empty() && part.len() <= most && part.bytes().all(|b| b.is_ascii_digit()))
            .then(|| part.parse::<i64>())
    };
    let whole = digits(whole, 6)?.ok()?;
    let fraction = match fraction {
        None => 0,
        Some(fraction) => {
            let scale = [100, 10, 1].get(fraction.len().checked_sub(1)?)?;
            digits(fraction, 3)?.ok()?.checked_mul(*scale)?
        }
    };
    whole.checked_mul(1_000)?.checked_add(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact_or_refused() {
        for (text, milli) in [
            ("3.9", 3_900),
            ("13.95", 13_950),
            ("0.001", 1),
            ("70", 70_000),
            ("16.70", 16_700),
        ] {
            assert_eq!(milli_from_text(text), Some(milli), "{text}");
        }
        for text in [
            "", ".", "3.", ".9", "3.9001", "-3.9", "+3", "3,9", "1e3", "3.9 ", "9999999",
        ] {
            assert_eq!(milli_from_text(text), None, "{text}");
        }
    }
}
