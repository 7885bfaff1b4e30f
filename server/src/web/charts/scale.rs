//! Positions: from values and instants to tenths of a pixel.

use std::fmt;

use chrono::{DateTime, Utc};

/// A position or length in tenths of a pixel; prints as SVG wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tenths(pub(super) i64);

impl fmt::Display for Tenths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let whole = self.0.unsigned_abs();
        if whole.is_multiple_of(10) {
            write!(f, "{sign}{}", whole / 10)
        } else {
            write!(f, "{sign}{}.{}", whole / 10, whole % 10)
        }
    }
}

/// A linear scale from a range of values to a range of positions, which may run backwards.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) start: Tenths,
    pub(super) end: Tenths,
}

impl Scale {
    /// The position of a value; values outside stand at the edge.
    pub(super) fn at(&self, value: i64) -> Tenths {
        let range = (self.to - self.from).max(1);
        let inside = value.clamp(self.from, self.to.max(self.from)) - self.from;
        Tenths(self.start.0 + (self.end.0 - self.start.0) * inside / range)
    }
}

/// A scale for instants, in seconds; instants outside stand at the edge.
pub(super) fn time_scale(from: DateTime<Utc>, to: DateTime<Utc>, start: Tenths, end: Tenths) -> Scale {
    Scale {
        from: from.timestamp(),
        to: to.timestamp().max(from.timestamp() + 1),
        start,
        end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_outside_stand_at_the_edge() {
        let scale = Scale {
            from: 40,
            to: 220,
            start: Tenths(2_000),
            end: Tenths(200),
        };
        assert_eq!(scale.at(40), Tenths(2_000));
        assert_eq!(scale.at(220), Tenths(200));
        assert_eq!(scale.at(130), Tenths(1_100));
        assert_eq!(scale.at(0), Tenths(2_000));
        assert_eq!(scale.at(999), Tenths(200));
    }

    #[test]
    fn an_empty_range_does_not_divide_by_zero() {
        let scale = Scale {
            from: 5,
            to: 5,
            start: Tenths(0),
            end: Tenths(100),
        };
        assert_eq!(scale.at(5), Tenths(0));
        let now = DateTime::UNIX_EPOCH;
        assert_eq!(
            time_scale(now, now, Tenths(0), Tenths(100)).at(now.timestamp()),
            Tenths(0)
        );
    }

    #[test]
    fn tenths_print_without_a_needless_zero() {
        assert_eq!(Tenths(120).to_string(), "12");
        assert_eq!(Tenths(125).to_string(), "12.5");
        assert_eq!(Tenths(-5).to_string(), "-0.5");
    }
}
