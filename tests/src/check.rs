//! The table *expected / seen* of the demo's check.

use std::fmt::Write as _;

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What is checked.
    pub what: &'static str,
    /// What must be seen.
    pub expected: String,
    /// What was seen.
    pub seen: String,
}

impl Row {
    /// Whether the row holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.expected == self.seen
    }
}

/// The table of a check.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Row>,
}

impl Table {
    /// Adds a row.
    pub fn row(&mut self, what: &'static str, expected: impl Into<String>, seen: impl Into<String>) {
        self.rows.push(Row {
            what,
            expected: expected.into(),
            seen: seen.into(),
        });
    }

    /// Adds a row for a scene that could not be played to its end.
    pub fn failed(&mut self, what: &'static str, error: &anyhow::Error) {
        self.row(what, "the scene plays to its end", format!("{error:#}"));
    }

    /// Whether there are rows and every one holds.
    #[must_use]
    pub fn all_hold(&self) -> bool {
        !self.rows.is_empty() && self.rows.iter().all(Row::holds)
    }

    /// The rows.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// As text for a terminal.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        for row in &self.rows {
            let verdict = if row.holds() { "holds" } else { "FAILS" };
            // Writing to a string cannot fail.
            let _written = writeln!(
                text,
                "{verdict}  {}\n         expected  {}\n         seen      {}",
                row.what, row.expected, row.seen
            );
        }
        let held = self.rows.iter().filter(|row| row.holds()).count();
        let _written = writeln!(text, "\n{held} of {} rows hold", self.rows.len());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_holds_only_if_every_row_does_and_there_is_one() {
        let mut table = Table::default();
        assert!(!table.all_hold());
        table.row("a", "1", "1");
        assert!(table.all_hold());
        table.row("b", "1", "2");
        assert!(!table.all_hold());
        assert!(table.render().contains("FAILS  b"));
        assert!(table.render().contains("1 of 2 rows hold"));
    }
}
