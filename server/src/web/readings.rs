//! Readings and sessions as tables show them, with the way each time was found. Pure.

use std::collections::BTreeMap;

use carepost_domain::care::rule_set::RuleSet;
use carepost_domain::care::session::SessionState;
use carepost_domain::id::ReadingId;
use carepost_domain::reading::{Flag, Measurement};
use carepost_domain::time::TimeQuality;
use carepost_store::model::{SessionView, StoredReading};
use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use super::catalogue::Texts;
use super::charts::{BpPoint, Doubt};
use super::when::{self, When};
use super::words::{self, GlucoseDisplay};

/// How a table shows times and values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    /// The language.
    pub(crate) texts: Texts,
    /// Now.
    pub(crate) now: DateTime<Utc>,
    /// The store's zone.
    pub(crate) zone: Tz,
    /// The unit of glucose.
    pub(crate) display: GlucoseDisplay,
}

/// One reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReadingLine {
    /// When it was measured.
    pub(crate) measured: When,
    /// The number.
    pub(crate) value: String,
    /// The unit.
    pub(crate) unit: &'static str,
    /// Pulse per minute, where the cuff gave one.
    pub(crate) pulse: Option<String>,
    /// Home or store.
    pub(crate) place: String,
    /// Meal slot; empty for pressures.
    pub(crate) slot: String,
    /// What qualifies it, in words; empty when nothing does.
    pub(crate) flags: String,
    /// How its time was found, in words, with meter time and correction.
    pub(crate) provenance: String,
    /// When the server had it.
    pub(crate) received: String,
    /// "arrived 3 h late".
    pub(crate) late: Option<String>,
    /// Shown hollow.
    pub(crate) doubtful: bool,
}

/// One session with its readings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionLines {
    /// When it began.
    pub(crate) began: When,
    /// The mean in mmHg; none until the session is judged, or where nothing in it can be used.
    pub(crate) mean: Option<String>,
    /// Mean pulse.
    pub(crate) pulse: Option<String>,
    /// Home or store.
    pub(crate) place: String,
    /// What qualifies the mean, in words; empty when nothing does.
    pub(crate) notes: String,
    /// Its readings, in measured order.
    pub(crate) readings: Vec<ReadingLine>,
}

/// The line of a reading.
pub(crate) fn line(style: Style, rules: &RuleSet, stored: &StoredReading) -> ReadingLine {
    let Style {
        texts,
        now,
        zone,
        display,
    } = style;
    let reading = &stored.reading;
    let (value, unit, pulse, slot) = match &reading.measurement {
        Measurement::BloodPressure(bp) => (
            format!("{}/{}", bp.systolic.rounded_mmhg(), bp.diastolic.rounded_mmhg()),
            "mmHg",
            bp.pulse.map(|pulse| pulse.rounded_per_min().to_string()),
            String::new(),
        ),
        Measurement::Glucose(glucose) => (
            words::glucose_number(glucose.level, display),
            display.unit(),
            None,
            words::slot(texts, reading.slot),
        ),
        Measurement::Weight(_) | Measurement::Temperature(_) | Measurement::OxygenSaturation(_) => {
            let number = words::other_number(&reading.measurement);
            let pulse = number.pulse_per_min.map(|pulse| pulse.to_string());
            (number.value, number.unit, pulse, String::new())
        }
    };
    ReadingLine {
        measured: when::when(texts, reading.time.at, now, zone),
        value,
        unit,
        pulse,
        place: words::place(texts, reading.place),
        slot,
        flags: words::flags(texts, &reading.flags),
        provenance: provenance(style, stored),
        received: when::absolute(texts, stored.received_at, now, zone),
        late: when::late(texts, reading.time.at, stored.received_at),
        doubtful: doubt(rules, &reading.flags) != Doubt::None,
    }
}

/// How the measured time was found.
fn provenance(style: Style, stored: &StoredReading) -> String {
    let texts = style.texts;
    let time = &stored.reading.time;
    let corrected = (time.correction_s != 0).then(|| correction(time.correction_s));
    let mut parts = Vec::new();
    match (time.quality, corrected) {
        (TimeQuality::SkewCorrected, Some(by)) => {
            parts.push(texts.fill("time-corrected", &[("correction", by.into())]));
        }
        (TimeQuality::ReceivedTimeUsed, _) | (_, None) => {
            parts.push(texts.code("time-quality", time.quality.code()));
        }
        (_, Some(by)) => {
            parts.push(texts.code("time-quality", time.quality.code()));
            parts.push(texts.fill("time-correction", &[("correction", by.into())]));
        }
    }
    if let Some(local) = time.meter_local {
        let meter = local.format("%Y-%m-%d %H:%M:%S").to_string();
        parts.push(texts.fill("time-meter", &[("time", meter.into())]));
    }
    if time.gateway_clock_unsure {
        parts.push(texts.get("time-unsure"));
    }
    parts.join(&texts.get("time-separator"))
}

/// A correction with its sign, such as `+1:30` for ninety seconds or `-26:00:05` for more than a day.
fn correction(seconds: i64) -> String {
    let sign = if seconds < 0 { '-' } else { '+' };
    let all = seconds.unsigned_abs();
    let (hours, minutes, rest) = (all / 3_600, all / 60 % 60, all % 60);
    if hours > 0 {
        format!("{sign}{hours}:{minutes:02}:{rest:02}")
    } else {
        format!("{sign}{minutes}:{rest:02}")
    }
}

/// The grade of doubt that flags give (page 5, section 2), by the rule set's lists.
pub(crate) fn doubt(rules: &RuleSet, flags: &[Flag]) -> Doubt {
    if flags.iter().any(|flag| rules.session.unusable.contains(flag)) {
        Doubt::Unusable
    } else if flags.iter().any(|flag| rules.session.caution.contains(flag)) {
        Doubt::Caution
    } else {
        Doubt::None
    }
}

/// Readings by their ids.
pub(crate) fn by_id(readings: &[StoredReading]) -> BTreeMap<ReadingId, &StoredReading> {
    readings.iter().map(|stored| (stored.reading.id, stored)).collect()
}

/// The sessions with their readings.
pub(crate) fn sessions(
    style: Style,
    rules: &RuleSet,
    sessions: &[SessionView],
    readings: &[StoredReading],
) -> Vec<SessionLines> {
    let by_id = by_id(readings);
    // A reading that is in no mean is hollow, whatever the reason.
    let lines = |session: &SessionView| {
        let shown = session.readings.iter().filter_map(|id| by_id.get(id));
        let hollow = |stored: &StoredReading| !session.used.contains(&stored.reading.id);
        shown
            .map(|stored| {
                let line = line(style, rules, stored);
                ReadingLine {
                    doubtful: line.doubtful || hollow(stored),
                    ..line
                }
            })
            .collect()
    };
    sessions
        .iter()
        .map(|session| SessionLines {
            began: when::when(style.texts, session.started, style.now, style.zone),
            mean: session
                .mean
                .map(|mean| format!("{}/{}", mean.systolic_mmhg, mean.diastolic_mmhg)),
            pulse: session
                .mean
                .and_then(|mean| mean.pulse_per_min)
                .map(|pulse| pulse.to_string()),
            place: words::place(style.texts, session.place),
            notes: session_notes(style.texts, session),
            readings: lines(session),
        })
        .collect()
}

/// What qualifies a session's mean.
fn session_notes(texts: Texts, session: &SessionView) -> String {
    let mut notes: Vec<String> = Vec::new();
    match session.state {
        SessionState::Open => notes.push(texts.get("session-open")),
        SessionState::Single => notes.push(texts.get("session-single")),
        SessionState::Unusable => notes.push(texts.get("session-unusable")),
        SessionState::Judged | SessionState::Closed => {}
    }
    if session.superseded {
        notes.push(texts.get("session-superseded"));
    }
    if session.further_reading_missing {
        notes.push(texts.get("session-further-missing"));
    }
    if !session.doubts.is_empty() {
        notes.push(words::flags(texts, &session.doubts));
    }
    notes.join(&texts.get("list-separator"))
}

/// How far a session may be trusted: one that nobody judged, or that a new pair replaced, is in no mean.
fn session_doubt(session: &SessionView) -> Doubt {
    if session.mean.is_none() || session.superseded {
        Doubt::Unusable
    } else if session.doubts.is_empty() {
        Doubt::None
    } else {
        Doubt::Caution
    }
}

/// The sessions as points of the chart; one without a mean stands, hollow, at its last reading.
pub(crate) fn chart_points(sessions: &[SessionView], readings: &[StoredReading]) -> Vec<BpPoint> {
    let by_id = by_id(readings);
    sessions
        .iter()
        .filter_map(|session| {
            let (systolic_mmhg, diastolic_mmhg) = match session.mean {
                Some(mean) => (mean.systolic_mmhg, mean.diastolic_mmhg),
                None => {
                    let last = session.readings.last().and_then(|id| by_id.get(id))?;
                    let Measurement::BloodPressure(bp) = &last.reading.measurement else {
                        return None;
                    };
                    (bp.systolic.rounded_mmhg(), bp.diastolic.rounded_mmhg())
                }
            };
            let doubt = session_doubt(session);
            Some(BpPoint {
                at: session.started,
                systolic_mmhg,
                diastolic_mmhg,
                place: session.place,
                doubt,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::catalogue::{Language, Texts};
    use crate::web::sample::{pressure, session, stored, style};

    #[test]
    fn a_line_says_how_its_time_was_found() {
        let rules = RuleSet::cn_2024();
        let got = line(
            style(),
            &rules,
            &stored(9, 60, pressure(182, 112), &[Flag::BodyMovement], None),
        );
        assert_eq!(
            (got.value.as_str(), got.unit, got.pulse.as_deref()),
            ("182/112", "mmHg", Some("76"))
        );
        for piece in ["2026-11-22 21:38:30", "+1:30"] {
            assert!(got.provenance.contains(piece), "{}", got.provenance);
        }
        assert_eq!(got.late.as_deref(), Some("arrived 3 h late"));
        assert!(got.doubtful);
    }

    #[test]
    fn no_source_of_a_time_says_one_thing_twice() {
        let said = |language, quality, correction_s| {
            let mut stored = stored(9, 60, pressure(182, 112), &[], None);
            stored.reading.time.quality = quality;
            stored.reading.time.correction_s = correction_s;
            let style = Style {
                texts: Texts(language),
                ..style()
            };
            provenance(style, &stored)
        };
        for quality in TimeQuality::ALL.iter().copied() {
            for correction_s in [0, 90] {
                for (language, words) in [
                    (Language::English, ["clock", "corrected", "showed"]),
                    (Language::Chinese, ["时钟", "已校正", "显示"]),
                ] {
                    let text = said(language, quality, correction_s);
                    for word in words {
                        assert!(text.matches(word).count() <= 1, "{word}: {text}");
                    }
                    assert!(text.contains("2026-11-22 21:38:30"), "{text}");
                    let told = quality != TimeQuality::ReceivedTimeUsed && correction_s != 0;
                    assert_eq!(text.contains("+1:30"), told, "{text}");
                }
            }
        }
        assert_eq!(
            said(Language::English, TimeQuality::MeterOk, 0),
            "Meter's own clock, the meter showed 2026-11-22 21:38:30"
        );
        assert_eq!(
            said(Language::Chinese, TimeQuality::SkewCorrected, 90),
            "仪器时钟，已校正 +1:30，当时显示 2026-11-22 21:38:30"
        );
    }

    #[test]
    fn corrections_carry_their_sign() {
        assert_eq!(correction(90), "+1:30");
        assert_eq!(correction(-5), "-0:05");
        assert_eq!(correction(-93_605), "-26:00:05");
    }

    #[test]
    fn a_session_without_a_mean_is_drawn_hollow_at_its_last_reading() {
        let readings = [
            stored(9, 60, pressure(150, 95), &[], None),
            stored(8, 50, pressure(152, 96), &[], None),
        ];
        let labelled = SessionView {
            doubts: vec![Flag::IrregularPulse],
            ..session(2, 50, Some((152, 96)), &[8])
        };
        let replaced = SessionView {
            superseded: true,
            ..session(4, 45, Some((190, 112)), &[8])
        };
        let sessions = [
            session(1, 60, None, &[9]),
            labelled,
            replaced,
            session(3, 40, None, &[77]),
        ];
        let got: Vec<_> = chart_points(&sessions, &readings)
            .iter()
            .map(|p| (p.systolic_mmhg, p.doubt))
            .collect();
        assert_eq!(
            got,
            [(150, Doubt::Unusable), (152, Doubt::Caution), (190, Doubt::Unusable)]
        );
    }

    #[test]
    fn a_reading_that_is_in_no_mean_is_hollow() {
        let readings = [
            stored(9, 60, pressure(150, 95), &[], None),
            stored(8, 59, pressure(190, 96), &[], None),
        ];
        let used = vec![readings[0].reading.id];
        let session = SessionView {
            used,
            ..session(1, 60, Some((150, 95)), &[9, 8])
        };
        let lines = sessions(style(), &RuleSet::cn_2024(), &[session], &readings);
        assert_eq!(
            lines[0].readings.iter().map(|l| l.doubtful).collect::<Vec<_>>(),
            [false, true]
        );
    }
}
