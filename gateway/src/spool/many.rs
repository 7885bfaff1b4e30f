//! Statements over many rows. Each statement costs a way to the engine's thread and back, whatever it does there.

use sqlx::Sqlite;
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;

/// A statement with what belongs into it, made ready before the transaction, beside which nobody else can write.
pub(super) type Ready = Query<'static, Sqlite, SqliteArguments>;

/// Rows of the longest statement, a power of two. Its parameters stay far below the engine's limit (32,766), and longer ones
/// save nothing more that can be measured.
const LONGEST: usize = 256;

/// One statement for each number of rows that it may have: the powers of two, so that few must stay prepared.
#[derive(Debug)]
pub(super) struct Statements(Vec<String>);

impl Statements {
    /// `head (VALUES (?, …), (?, …), …) tail` with so many parameters in a row. The engine calls the columns `column1`,
    /// `column2` and so on.
    pub(super) fn new(head: &str, parameters: usize, tail: &str) -> Self {
        let sizes = (0..=LONGEST.ilog2()).map(|power| 1_usize << power);
        Self(sizes.map(|rows| statement(head, rows, parameters, tail)).collect())
    }

    /// The rows in parts, and for each the statement that is as long as it.
    pub(super) fn over<'a, T>(&'static self, mut rows: &'a [T]) -> impl Iterator<Item = (&'static str, &'a [T])> {
        std::iter::from_fn(move || {
            let power = rows.len().checked_ilog2()?.min(LONGEST.ilog2());
            let (part, rest) = rows.split_at_checked(1 << power)?;
            rows = rest;
            let text = self.0.get(usize::try_from(power).ok()?)?;
            Some((text.as_str(), part))
        })
    }
}

fn statement(head: &str, rows: usize, parameters: usize, tail: &str) -> String {
    let row = format!("({})", vec!["?"; parameters].join(", "));
    format!("{head} (VALUES {}) {tail}", vec![row; rows].join(", "))
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    static TEST: LazyLock<Statements> = LazyLock::new(|| Statements::new("SELECT * FROM", 2, "ORDER BY column1"));

    #[test]
    fn every_row_is_in_one_part_in_order_and_every_part_has_a_statement_of_its_length() {
        for count in 0..=3 * LONGEST {
            let rows: Vec<usize> = (0..count).collect();
            let mut seen = Vec::new();
            for (text, part) in TEST.over(&rows) {
                assert!(part.len() <= LONGEST && part.len().is_power_of_two());
                assert_eq!(text.matches('(').count(), part.len() + 1);
                assert_eq!(text.matches('?').count(), part.len() * 2);
                seen.extend_from_slice(part);
            }
            assert_eq!(seen, rows);
        }
    }

    #[test]
    fn a_row_is_its_parameters() {
        let two = TEST.over(&[(), ()]).next().map(|(text, _)| text);
        assert_eq!(two, Some("SELECT * FROM (VALUES (?, ?), (?, ?)) ORDER BY column1"));
    }
}
