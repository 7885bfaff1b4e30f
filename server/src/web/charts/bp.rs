//! The blood-pressure chart of the member file (page 6, section 2).

use carepost_domain::reading::Place;
use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use chrono_tz::Tz;

use super::Svg;
use super::scale::{Scale, Tenths, time_scale};
use crate::web::catalogue::Texts;
use crate::web::when;

/// The axis is the same for everybody, so that two files compare at a glance (page 6, section 2).
const AXIS_MMHG: std::ops::RangeInclusive<i64> = 40..=220;
/// Distance of grid lines, in mmHg.
const GRID_MMHG: i64 = 20;
/// Most labels on the time axis; more would touch on a phone.
const MAX_TIME_LABELS: i64 = 7;
/// The window of the mean line (page 5, section 2, home average).
const MEAN_WINDOW: TimeDelta = TimeDelta::days(7);

const WIDTH: i64 = 9_700;
const HEIGHT: i64 = 3_600;
const LEFT: i64 = 460;
const RIGHT: i64 = 9_260;
const TOP: i64 = 120;
const BOTTOM: i64 = 3_280;

/// How far a session may be trusted (page 5, section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Doubt {
    /// Nothing speaks against it.
    None,
    /// In the mean, labelled.
    Caution,
    /// In no mean.
    Unusable,
}

/// One session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BpPoint {
    /// When it was measured.
    pub(crate) at: DateTime<Utc>,
    /// Systolic mean in whole mmHg.
    pub(crate) systolic_mmhg: i64,
    /// Diastolic mean in whole mmHg.
    pub(crate) diastolic_mmhg: i64,
    /// Home or store.
    pub(crate) place: Place,
    /// How far it may be trusted; anything but `None` is drawn hollow.
    pub(crate) doubt: Doubt,
}

/// The target: from the lowest value that is in range up to the first that is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BpBand {
    /// Systolic, mmHg.
    pub(crate) systolic_mmhg: (i64, i64),
    /// Diastolic, mmHg.
    pub(crate) diastolic_mmhg: (i64, i64),
}

/// What is drawn.
#[derive(Debug, Clone)]
pub(crate) struct BpChart<'a> {
    /// Sessions in any order; those outside the period are left out.
    pub(crate) points: &'a [BpPoint],
    /// Begin of the period.
    pub(crate) from: DateTime<Utc>,
    /// End of the period.
    pub(crate) to: DateTime<Utc>,
    /// The zone of the days.
    pub(crate) zone: Tz,
    /// The member's target, if the rule set has one.
    pub(crate) band: Option<BpBand>,
    /// The language.
    pub(crate) texts: Texts,
}

/// Draws the chart.
pub(crate) fn bp_chart(chart: &BpChart<'_>) -> String {
    let mut points: Vec<&BpPoint> = chart
        .points
        .iter()
        .filter(|p| (chart.from..=chart.to).contains(&p.at))
        .collect();
    points.sort_by_key(|p| p.at);
    // The newest mark keeps clear of the edge.
    let x = time_scale(chart.from, chart.to, Tenths(LEFT), Tenths(RIGHT - 80));
    let y = Scale {
        from: *AXIS_MMHG.start(),
        to: *AXIS_MMHG.end(),
        start: Tenths(BOTTOM),
        end: Tenths(TOP),
    };

    let mut svg = Svg::new();
    svg.markup(format_args!(
        r#"<svg class="chart bp" viewBox="0 0 {} {}" role="img" aria-labelledby="bp-title bp-desc" preserveAspectRatio="xMidYMid meet"><title id="bp-title">"#,
        Tenths(WIDTH),
        Tenths(HEIGHT)
    ));
    svg.text(&chart.texts.get("bp-chart-title"));
    svg.markup(format_args!(r#"</title><desc id="bp-desc">"#));
    svg.text(&description(chart, &points));
    svg.markup(format_args!("</desc>"));
    if let Some(band) = chart.band {
        draw_band(&mut svg, y, band.systolic_mmhg);
        draw_band(&mut svg, y, band.diastolic_mmhg);
    }
    draw_grid(&mut svg, y);
    draw_days(&mut svg, chart, x);
    draw_mean(&mut svg, &points, x, y);
    for point in &points {
        draw_session(&mut svg, chart, point, x, y);
    }
    if points.is_empty() {
        svg.markup(format_args!(
            r#"<text class="nothing" x="{}" y="{}" text-anchor="middle">"#,
            Tenths((LEFT + RIGHT) / 2),
            y.at(130)
        ));
        svg.text(&chart.texts.get("bp-chart-empty"));
        svg.markup(format_args!("</text>"));
    }
    svg.markup(format_args!("</svg>"));
    svg.0
}

fn description(chart: &BpChart<'_>, points: &[&BpPoint]) -> String {
    let Some(last) = points.last() else {
        return chart.texts.get("bp-chart-empty");
    };
    chart.texts.fill(
        "bp-chart-description",
        &[
            ("n", points.len().into()),
            (
                "value",
                format!("{}/{}", last.systolic_mmhg, last.diastolic_mmhg).into(),
            ),
            (
                "time",
                when::absolute(chart.texts, last.at, chart.to, chart.zone).into(),
            ),
        ],
    )
}

fn draw_band(svg: &mut Svg, y: Scale, (low, high): (i64, i64)) {
    let (top, bottom) = (y.at(high), y.at(low));
    svg.markup(format_args!(
        r#"<rect class="band" x="{}" y="{top}" width="{}" height="{}"/><line class="band-edge" x1="{0}" x2="{}" y1="{top}" y2="{top}"/>"#,
        Tenths(LEFT),
        Tenths(RIGHT - LEFT),
        Tenths((bottom.0 - top.0).max(0)),
        Tenths(RIGHT),
    ));
}

/// On a phone the chart is scrolled to its newest end; the numbers on the right are for that.
fn draw_grid(svg: &mut Svg, y: Scale) {
    let mut mmhg = *AXIS_MMHG.start();
    while mmhg <= *AXIS_MMHG.end() {
        let at = y.at(mmhg);
        svg.markup(format_args!(
            r#"<line class="grid" x1="{}" x2="{}" y1="{at}" y2="{at}"/><text class="tick" x="{}" y="{}" text-anchor="end">{mmhg}</text><text class="tick right" x="{}" y="{3}">{mmhg}</text>"#,
            Tenths(LEFT),
            Tenths(RIGHT),
            Tenths(LEFT - 80),
            Tenths(at.0 + 45),
            Tenths(RIGHT + 50),
        ));
        mmhg += GRID_MMHG;
    }
}

/// Labels the beginnings of days, at equal distances counted back from the last day.
fn draw_days(svg: &mut Svg, chart: &BpChart<'_>, x: Scale) {
    let first = chart.from.with_timezone(&chart.zone).date_naive();
    let today = chart.to.with_timezone(&chart.zone).date_naive();
    let days = today.signed_duration_since(first).num_days().max(1);
    let step = [1, 2, 5, 7, 14, 30, 60, 90, 180]
        .into_iter()
        .find(|step| days / step < MAX_TIME_LABELS)
        .unwrap_or(365);
    let mut date = Some(today);
    while let Some(day) = date.filter(|day| *day > first) {
        let at = x.at(midnight(day, chart.zone).timestamp());
        svg.markup(format_args!(
            r#"<line class="grid day" x1="{at}" x2="{at}" y1="{}" y2="{}"/><text class="tick" x="{at}" y="{}" text-anchor="middle">"#,
            Tenths(TOP),
            Tenths(BOTTOM),
            Tenths(BOTTOM + 200),
        ));
        svg.text(&when::day(chart.texts, day, today));
        svg.markup(format_args!("</text>"));
        date = day.checked_sub_days(Days::new(step.unsigned_abs()));
    }
}

fn midnight(day: NaiveDate, zone: Tz) -> DateTime<Utc> {
    carepost_domain::time::local_to_utc(day.and_time(chrono::NaiveTime::MIN), zone)
}

/// The trailing seven-day mean of home sessions, in tenths of mmHg; store sessions have other cut-offs and stay out.
/// The line breaks where nothing was measured for longer than the window.
fn mean_runs(points: &[&BpPoint]) -> Vec<Vec<(DateTime<Utc>, i64, i64)>> {
    let home: Vec<&&BpPoint> = points
        .iter()
        .filter(|p| p.place == Place::Home && p.doubt != Doubt::Unusable)
        .collect();
    let mut runs: Vec<Vec<(DateTime<Utc>, i64, i64)>> = Vec::new();
    let mut previous: Option<DateTime<Utc>> = None;
    for point in &home {
        let window: Vec<&&&BpPoint> = home
            .iter()
            .filter(|p| p.at <= point.at && p.at > point.at - MEAN_WINDOW)
            .collect();
        let count = i64::try_from(window.len()).unwrap_or(1).max(1);
        let mean = |value: fn(&BpPoint) -> i64| {
            let sum: i64 = window.iter().map(|p| value(p)).sum();
            (sum * 10 + count / 2).div_euclid(count)
        };
        let here = (point.at, mean(|p| p.systolic_mmhg), mean(|p| p.diastolic_mmhg));
        match (runs.last_mut(), previous) {
            (Some(run), Some(before)) if point.at.signed_duration_since(before) <= MEAN_WINDOW => run.push(here),
            _ => runs.push(vec![here]),
        }
        previous = Some(point.at);
    }
    runs
}

fn draw_mean(svg: &mut Svg, points: &[&BpPoint], x: Scale, y: Scale) {
    let fine = Scale {
        from: y.from * 10,
        to: y.to * 10,
        ..y
    };
    for run in mean_runs(points).iter().filter(|run| run.len() > 1) {
        for value in [|m: &(DateTime<Utc>, i64, i64)| m.1, |m: &(DateTime<Utc>, i64, i64)| m.2] {
            svg.markup(format_args!(r#"<polyline class="mean" points=""#));
            for (i, mean) in run.iter().enumerate() {
                let gap = if i == 0 { "" } else { " " };
                svg.markup(format_args!(
                    "{gap}{},{}",
                    x.at(mean.0.timestamp()),
                    fine.at(value(mean))
                ));
            }
            svg.markup(format_args!(r#""/>"#));
        }
    }
}

fn draw_session(svg: &mut Svg, chart: &BpChart<'_>, point: &BpPoint, x: Scale, y: Scale) {
    let at = x.at(point.at.timestamp());
    let place = point.place.code();
    let hollow = if point.doubt == Doubt::None { "" } else { " hollow" };
    svg.markup(format_args!(r#"<g class="session {place}{hollow}"><title>"#));
    svg.text(&format!(
        "{} · {}/{} mmHg · {}",
        when::absolute(chart.texts, point.at, chart.to, chart.zone),
        point.systolic_mmhg,
        point.diastolic_mmhg,
        chart.texts.code("place", place)
    ));
    svg.markup(format_args!(
        r#"</title><line class="bar" x1="{at}" x2="{at}" y1="{}" y2="{}"/>"#,
        y.at(point.systolic_mmhg),
        y.at(point.diastolic_mmhg)
    ));
    draw_marker(svg, point.place, point.systolic_mmhg, at, y);
    draw_marker(svg, point.place, point.diastolic_mmhg, at, y);
    svg.markup(format_args!("</g>"));
}

/// A circle for home, a square for the store, an arrow with the number at the edge for what the axis does not reach.
fn draw_marker(svg: &mut Svg, place: Place, mmhg: i64, x: Tenths, y: Scale) {
    let at = y.at(mmhg);
    if AXIS_MMHG.contains(&mmhg) {
        match place {
            Place::Home => svg.markup(format_args!(r#"<circle class="mark" cx="{x}" cy="{at}" r="4"/>"#)),
            Place::Store => svg.markup(format_args!(
                r#"<rect class="mark" x="{}" y="{}" width="7.6" height="7.6"/>"#,
                Tenths(x.0 - 38),
                Tenths(at.0 - 38)
            )),
        }
        return;
    }
    let tip = if mmhg > *AXIS_MMHG.end() { -70 } else { 70 };
    svg.markup(format_args!(
        r#"<polygon class="mark beyond" points="{},{at} {},{at} {x},{}"/><text class="beyond" x="{}" y="{}">{mmhg}</text>"#,
        Tenths(x.0 - 50),
        Tenths(x.0 + 50),
        Tenths(at.0 + tip),
        Tenths(x.0 + 80),
        Tenths(at.0 + 40),
    ));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::catalogue::Language;

    const TEXTS: Texts = Texts(Language::English);

    fn at(day: i64) -> DateTime<Utc> {
        "2026-11-01T00:00:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::days(day)
    }

    fn point(day: i64, systolic: i64, diastolic: i64, place: Place, doubt: Doubt) -> BpPoint {
        BpPoint {
            at: at(day),
            systolic_mmhg: systolic,
            diastolic_mmhg: diastolic,
            place,
            doubt,
        }
    }

    fn draw(points: &[BpPoint]) -> String {
        let band = Some(BpBand {
            systolic_mmhg: (90, 135),
            diastolic_mmhg: (60, 85),
        });
        bp_chart(&BpChart {
            points,
            from: at(0),
            to: at(30),
            zone: chrono_tz::Asia::Shanghai,
            band,
            texts: TEXTS,
        })
    }

    fn count(svg: &str, what: &str) -> usize {
        svg.matches(what).count()
    }

    #[test]
    fn nothing_measured_says_so_and_keeps_the_axis() {
        let svg = draw(&[]);
        assert!(svg.contains(&TEXTS.get("bp-chart-empty")));
        assert_eq!(count(&svg, r#"class="session"#), 0);
        for mmhg in (40..=220).step_by(20) {
            assert!(svg.contains(&format!(">{mmhg}</text>")), "{mmhg}");
        }
    }

    #[test]
    fn one_session_is_two_dots_and_a_bar_without_a_mean_line() {
        let svg = draw(&[point(10, 182, 112, Place::Home, Doubt::None)]);
        assert_eq!(
            (
                count(&svg, "<circle"),
                count(&svg, r#"class="bar""#),
                count(&svg, "<polyline")
            ),
            (2, 1, 0)
        );
        assert!(svg.contains("182/112 mmHg"));
        assert!(!svg.contains("hollow"));
    }

    #[test]
    fn doubtful_sessions_are_hollow_and_unusable_ones_stay_out_of_the_mean() {
        let svg = draw(&[point(10, 150, 90, Place::Home, Doubt::Caution)]);
        assert!(svg.contains(r#"class="session home hollow""#));
        let points = [
            point(1, 120, 80, Place::Home, Doubt::None),
            point(2, 200, 120, Place::Home, Doubt::Unusable),
            point(3, 130, 85, Place::Home, Doubt::Caution),
        ];
        let refs: Vec<&BpPoint> = points.iter().collect();
        let runs = mean_runs(&refs);
        assert_eq!(runs.len(), 1);
        assert_eq!(
            runs[0].iter().map(|m| (m.1, m.2)).collect::<Vec<_>>(),
            [(1_200, 800), (1_250, 825)]
        );
    }

    #[test]
    fn store_sessions_are_squares_and_have_no_part_in_the_home_mean() {
        let svg = draw(&[
            point(1, 150, 95, Place::Store, Doubt::None),
            point(2, 152, 94, Place::Store, Doubt::None),
        ]);
        assert_eq!(
            (
                count(&svg, r#"<rect class="mark""#),
                count(&svg, "<circle"),
                count(&svg, "<polyline")
            ),
            (4, 0, 0)
        );
    }

    #[test]
    fn the_mean_line_breaks_where_a_week_is_missing() {
        let days = [1, 2, 12, 13];
        let points: Vec<BpPoint> = days
            .iter()
            .map(|d| point(*d, 140, 90, Place::Home, Doubt::None))
            .collect();
        assert_eq!(count(&draw(&points), "<polyline"), 4, "two runs of two lines");
    }

    #[test]
    fn values_beyond_the_axis_stand_at_its_edge_with_their_number() {
        let svg = draw(&[point(10, 260, 30, Place::Home, Doubt::None)]);
        assert_eq!(count(&svg, r#"class="mark beyond""#), 2);
        assert!(svg.contains(">260</text>") && svg.contains(">30</text>"));
        assert!(!svg.contains(r#"y1="-"#) && !svg.contains("<circle"));
    }

    #[test]
    fn sessions_outside_the_period_are_left_out() {
        let svg = draw(&[
            point(-1, 150, 95, Place::Home, Doubt::None),
            point(31, 150, 95, Place::Home, Doubt::None),
        ]);
        assert_eq!(count(&svg, r#"class="session"#), 0);
    }

    #[test]
    fn both_bands_lie_on_the_axis() {
        let svg = draw(&[]);
        assert_eq!(count(&svg, r#"class="band""#), 2);
        // 135 mmHg: 328 - (135 - 40) * 316 / 180 = 161.2 px.
        assert!(svg.contains(r#"y="161.3""#) || svg.contains(r#"y="161.2""#), "{svg}");
    }

    #[test]
    fn the_drawing_has_a_title_and_a_description_for_readers() {
        let svg = draw(&[point(10, 182, 112, Place::Home, Doubt::None)]);
        assert!(svg.contains(r#"role="img" aria-labelledby="bp-title bp-desc""#));
        assert!(svg.contains("182/112"));
        assert!(!svg.contains("style="), "the policy forbids inline style");
    }

    #[test]
    fn few_labels_stand_on_the_time_axis_whatever_the_period() {
        for days in [1, 7, 30, 90, 365, 3_650] {
            let svg = bp_chart(&BpChart {
                points: &[],
                from: at(0),
                to: at(days),
                zone: chrono_tz::Asia::Shanghai,
                band: None,
                texts: TEXTS,
            });
            let labels = count(&svg, r#"text-anchor="middle""#) - 1;
            assert!(labels <= 11, "{labels} for {days} days");
        }
    }
}
