//! The small drawing of the last 30 days in a row of the queue.

use chrono::{DateTime, Utc};

use super::Svg;
use super::scale::{Scale, Tenths, time_scale};

const WIDTH: i64 = 1_500;
const HEIGHT: i64 = 560;
const MARGIN: i64 = 50;

/// One session or value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SparkPoint {
    /// When it was measured.
    pub(crate) at: DateTime<Utc>,
    /// The upper end of a pressure pair, or the value itself.
    pub(crate) high: i64,
    /// The lower end of a pair.
    pub(crate) low: Option<i64>,
    /// Drawn hollow.
    pub(crate) hollow: bool,
}

/// A range that is on target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SparkBand {
    /// Lowest on target.
    pub(crate) from: i64,
    /// First above target.
    pub(crate) to: i64,
}

/// What is drawn.
#[derive(Debug, Clone)]
pub(crate) struct Sparkline<'a> {
    /// Points in any order; those outside the period are left out.
    pub(crate) points: &'a [SparkPoint],
    /// Begin of the period.
    pub(crate) from: DateTime<Utc>,
    /// End of the period.
    pub(crate) to: DateTime<Utc>,
    /// The value axis, the same for every row of its kind.
    pub(crate) axis: (i64, i64),
    /// Targets.
    pub(crate) bands: &'a [SparkBand],
    /// What a reader hears.
    pub(crate) label: &'a str,
}

/// Draws pairs as bars and single values as dots; sparse values are never joined into a curve (page 6, section 2).
pub(crate) fn sparkline(line: &Sparkline<'_>) -> String {
    let mut points: Vec<&SparkPoint> = line
        .points
        .iter()
        .filter(|p| (line.from..=line.to).contains(&p.at))
        .collect();
    points.sort_by_key(|p| p.at);
    let x = time_scale(line.from, line.to, Tenths(MARGIN), Tenths(WIDTH - MARGIN));
    let y = Scale {
        from: line.axis.0,
        to: line.axis.1,
        start: Tenths(HEIGHT - MARGIN),
        end: Tenths(MARGIN),
    };
    let mut svg = Svg::new();
    svg.markup(format_args!(
        r#"<svg class="spark" viewBox="0 0 {} {}" role="img" aria-label=""#,
        Tenths(WIDTH),
        Tenths(HEIGHT)
    ));
    svg.text(line.label);
    svg.markup(format_args!(r#"">"#));
    for band in line.bands {
        let (top, bottom) = (y.at(band.to), y.at(band.from));
        svg.markup(format_args!(
            r#"<rect class="band" x="0" y="{top}" width="{}" height="{}"/>"#,
            Tenths(WIDTH),
            Tenths((bottom.0 - top.0).max(0))
        ));
    }
    let last = points.len().saturating_sub(1);
    for (i, point) in points.iter().enumerate() {
        let at = x.at(point.at.timestamp());
        let state = match (i == last, point.hollow) {
            (true, true) => " last hollow",
            (true, false) => " last",
            (false, true) => " hollow",
            (false, false) => "",
        };
        match point.low {
            Some(low) => svg.markup(format_args!(
                r#"<line class="pair{state}" x1="{at}" x2="{at}" y1="{}" y2="{}"/>"#,
                y.at(point.high),
                y.at(low)
            )),
            None => svg.markup(format_args!(
                r#"<circle class="dot{state}" cx="{at}" cy="{}" r="2.5"/>"#,
                y.at(point.high)
            )),
        }
    }
    svg.markup(format_args!("</svg>"));
    svg.0
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn at(day: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::days(day)
    }

    fn draw(points: &[SparkPoint]) -> String {
        let bands = [SparkBand { from: 90, to: 135 }];
        sparkline(&Sparkline {
            points,
            from: at(0),
            to: at(30),
            axis: (40, 220),
            bands: &bands,
            label: "30 <days>",
        })
    }

    fn pair(day: i64, high: i64, low: i64) -> SparkPoint {
        SparkPoint {
            at: at(day),
            high,
            low: Some(low),
            hollow: false,
        }
    }

    #[test]
    fn an_empty_month_shows_the_band_alone() {
        let svg = draw(&[]);
        assert!(svg.contains(r#"class="band""#) && !svg.contains("pair"));
        assert!(svg.contains("30 &lt;days&gt;"));
    }

    #[test]
    fn pairs_are_bars_values_are_dots_and_nothing_is_joined() {
        let svg = draw(&[
            pair(5, 150, 90),
            SparkPoint {
                at: at(6),
                high: 130,
                low: None,
                hollow: true,
            },
            pair(40, 1, 0),
        ]);
        assert_eq!(
            (
                svg.matches("<line").count(),
                svg.matches("<circle").count(),
                svg.matches("<polyline").count()
            ),
            (1, 1, 0)
        );
        assert!(svg.contains("dot last hollow"), "the newest is marked: {svg}");
    }

    #[test]
    fn values_beyond_the_axis_stay_inside_the_drawing() {
        let svg = draw(&[pair(5, 900, -20)]);
        assert!(svg.contains(r#"y1="5" y2="51""#), "{svg}");
    }
}
