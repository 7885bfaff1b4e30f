//! Statements over many rows. Each statement costs a way to the engine's thread and back, whatever it does there.

use sqlx::Sqlite;
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;

/// A statement with what belongs into it, made ready before the transaction, beside which nobody else can write.
pub(super) type Ready = Query<'static, Sqlite, SqliteArguments>;

/// Rows of the longest statement, a power of two. Its parameters stay far below the engine's limit (32,766), and longer ones
/// save nothing more that can be measured.
const LONGEST: usize = 512;

/// One statement for each power of two, so that few must stay prepared; it takes as many rows and fewer.
#[derive(Debug)]
pub(super) struct Statements(Vec<String>);

impl Statements {
    /// `head (VALUES (?, …), (?, …), …) WHERE column1 IS NOT NULL tail` with so many parameters in a row. The engine calls the
    /// columns `column1`, `column2` and so on, and takes a parameter to which nothing is bound for NULL (sqlite.org, "Binding
    /// Values To Prepared Statements"): a row whose first column is NULL is none.
    pub(super) fn new(head: &str, parameters: usize, tail: &str) -> Self {
        let sizes = (0..=LONGEST.ilog2()).map(|power| 1_usize << power);
        Self(sizes.map(|rows| statement(head, rows, parameters, tail)).collect())
    }

    /// So many rows in parts: for each the shortest statement that takes it, and its length.
    pub(super) fn parts(&'static self, mut rows: usize) -> impl Iterator<Item = (&'static str, usize)> {
        std::iter::from_fn(move || {
            let part = rows.min(LONGEST);
            let power = part.checked_next_power_of_two().filter(|_| part > 0)?.ilog2();
            rows -= part;
            let text = self.0.get(usize::try_from(power).ok()?)?;
            Some((text.as_str(), part))
        })
    }

    /// The rows in parts, and for each the shortest statement that takes it.
    pub(super) fn over<'a, T>(&'static self, mut rows: &'a [T]) -> impl Iterator<Item = (&'static str, &'a [T])> {
        self.parts(rows.len()).map_while(move |(text, part)| {
            let (part, rest) = rows.split_at_checked(part)?;
            rows = rest;
            Some((text, part))
        })
    }
}

fn statement(head: &str, rows: usize, parameters: usize, tail: &str) -> String {
    let row = format!("({})", vec!["?"; parameters].join(", "));
    let rows = vec![row; rows].join(", ");
    format!("{head} (VALUES {rows}) WHERE column1 IS NOT NULL {tail}")
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use sqlx::sqlite::SqliteConnection;
    use sqlx::{Connection as _, Row as _};

    use super::*;

    static TEST: LazyLock<Statements> =
        LazyLock::new(|| Statements::new("SELECT column1, column2 FROM", 2, "ORDER BY column1"));

    #[test]
    fn every_row_is_in_one_part_in_order_and_every_part_has_the_shortest_statement() {
        for count in 0..=3 * LONGEST {
            let rows: Vec<usize> = (0..count).collect();
            let mut seen = Vec::new();
            for (text, part) in TEST.over(&rows) {
                assert!((1..=LONGEST).contains(&part.len()));
                assert_eq!(text.matches('?').count(), part.len().next_power_of_two() * 2);
                seen.extend_from_slice(part);
            }
            assert_eq!(seen, rows);
            assert_eq!(TEST.over(&rows).count(), count.div_ceil(LONGEST));
        }
    }

    #[test]
    fn a_row_is_its_parameters() {
        let two = TEST.over(&[(), ()]).next().map(|(text, _)| text);
        let expected =
            "SELECT column1, column2 FROM (VALUES (?, ?), (?, ?)) WHERE column1 IS NOT NULL ORDER BY column1";
        assert_eq!(two, Some(expected));
    }

    #[tokio::test]
    async fn a_statement_has_the_rows_that_it_was_given_and_none_of_an_earlier_use() {
        let mut conn = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        // Downwards, so that each statement has been used with more before.
        for count in (1..=40_i64).rev() {
            let given: Vec<(i64, i64)> = (0..count).map(|place| (place, count * 1_000 + place)).collect();
            let mut got = Vec::new();
            for (text, part) in TEST.over(&given) {
                let mut query: Ready = sqlx::query(text);
                for (place, value) in part {
                    query = query.bind(*place).bind(*value);
                }
                let rows = query.fetch_all(&mut conn).await.unwrap();
                got.extend(rows.iter().map(|row| (row.get(0), row.get(1))));
            }
            assert_eq!(got, given);
        }
    }
}
