//! Times in words: always the absolute time in the store's zone, with the relative one beside it.

use chrono::{DateTime, Datelike as _, TimeDelta, Utc};
use chrono_tz::Tz;

use super::catalogue::Texts;

/// A reading that arrives later than this after it was measured says so (page 4: "live" ends there).
pub(crate) const LATE_AFTER: TimeDelta = TimeDelta::minutes(10);

/// A deadline closer than this is shown as urgent.
pub(crate) const DUE_SOON: TimeDelta = TimeDelta::minutes(15);

/// An instant as the screens show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct When {
    /// In the store's zone, such as "today 21:40".
    pub(crate) absolute: String,
    /// From now, such as "5 min ago".
    pub(crate) relative: String,
    /// For the `datetime` attribute.
    pub(crate) machine: String,
}

/// How close a deadline is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// Passed.
    Overdue,
    /// Within [`DUE_SOON`].
    Soon,
    /// Later.
    Later,
}

impl Urgency {
    /// For class names.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::Overdue => "overdue",
            Self::Soon => "soon",
            Self::Later => "later",
        }
    }
}

/// A deadline as the screens show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Due {
    /// In words, such as "12 min left".
    pub(crate) text: String,
    /// The clock time in the store's zone.
    pub(crate) absolute: String,
    /// How close it is.
    pub(crate) urgency: Urgency,
    /// For the `datetime` attribute.
    pub(crate) machine: String,
}

/// The words for `at`, seen at `now`.
pub(crate) fn when(texts: Texts, at: DateTime<Utc>, now: DateTime<Utc>, zone: Tz) -> When {
    let ago = now.signed_duration_since(at);
    let relative = if ago < TimeDelta::zero() {
        texts.fill("when-ahead", &[("span", span(texts, -ago).into())])
    } else if ago < TimeDelta::minutes(1) {
        texts.get("when-just-now")
    } else {
        texts.fill("when-ago", &[("span", span(texts, ago).into())])
    };
    When {
        absolute: absolute(texts, at, now, zone),
        relative,
        machine: machine(at, zone),
    }
}

/// The absolute words alone.
pub(crate) fn absolute(texts: Texts, at: DateTime<Utc>, now: DateTime<Utc>, zone: Tz) -> String {
    let (local, today) = (at.with_timezone(&zone), now.with_timezone(&zone).date_naive());
    let time = local.format("%H:%M").to_string();
    let date = local.date_naive();
    if date == today {
        return texts.fill("when-today", &[("time", time.into())]);
    }
    if Some(date) == today.pred_opt() {
        return texts.fill("when-yesterday", &[("time", time.into())]);
    }
    format!("{} {time}", day(texts, date, today))
}

/// A day in words, with the year only where it is not this one.
pub(crate) fn day(texts: Texts, date: chrono::NaiveDate, today: chrono::NaiveDate) -> String {
    let month = texts.code("month", &date.month().to_string());
    let day = date.day().to_string();
    if date.year() == today.year() {
        texts.fill("when-day", &[("month", month.into()), ("day", day.into())])
    } else {
        let year = date.year().to_string();
        texts.fill(
            "when-day-year",
            &[("year", year.into()), ("month", month.into()), ("day", day.into())],
        )
    }
}

/// How much later than measured a reading was received, in words; `None` if it was live.
pub(crate) fn late(texts: Texts, measured_at: DateTime<Utc>, received_at: DateTime<Utc>) -> Option<String> {
    let delay = received_at.signed_duration_since(measured_at);
    (delay > LATE_AFTER).then(|| texts.fill("when-late", &[("span", span(texts, delay).into())]))
}

/// The words for a deadline, seen at `now`.
pub(crate) fn due(texts: Texts, at: DateTime<Utc>, now: DateTime<Utc>, zone: Tz) -> Due {
    let left = at.signed_duration_since(now);
    let (text, urgency) = if left.num_minutes() == 0 {
        (
            texts.get("due-now"),
            if left < TimeDelta::zero() {
                Urgency::Overdue
            } else {
                Urgency::Soon
            },
        )
    } else if left < TimeDelta::zero() {
        (
            texts.fill("due-overdue", &[("span", span(texts, -left).into())]),
            Urgency::Overdue,
        )
    } else {
        let urgency = if left <= DUE_SOON {
            Urgency::Soon
        } else {
            Urgency::Later
        };
        (texts.fill("due-left", &[("span", span(texts, left).into())]), urgency)
    };
    Due {
        text,
        absolute: absolute(texts, at, now, zone),
        urgency,
        machine: machine(at, zone),
    }
}

/// A length of time in its largest sensible unit, rounded down, at least one minute.
pub(crate) fn span(texts: Texts, length: TimeDelta) -> String {
    let minutes = length.num_minutes().max(1);
    if minutes < 60 {
        return texts.fill("span-minutes", &[("n", minutes.into())]);
    }
    let (hours, rest) = (minutes / 60, minutes % 60);
    if hours < 3 && rest > 0 {
        return texts.fill("span-hours-minutes", &[("h", hours.into()), ("m", rest.into())]);
    }
    if hours < 48 {
        return texts.fill("span-hours", &[("n", hours.into())]);
    }
    texts.fill("span-days", &[("n", (hours / 24).into())])
}

fn machine(at: DateTime<Utc>, zone: Tz) -> String {
    at.with_timezone(&zone)
        .to_rfc3339_opts(chrono::SecondsFormat::Secs, false)
}

#[cfg(test)]
mod tests {
    use chrono_tz::Asia::Shanghai;

    use super::*;
    use crate::web::catalogue::Language;

    const EN: Texts = Texts(Language::English);
    const ZH: Texts = Texts(Language::Chinese);

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn the_day_turns_in_the_stores_zone() {
        let now = at("2026-11-22T16:30:00Z"); // 00:30 on the 23rd in Shanghai.
        assert_eq!(absolute(EN, at("2026-11-22T16:05:00Z"), now, Shanghai), "today 00:05");
        assert_eq!(
            absolute(EN, at("2026-11-22T15:55:00Z"), now, Shanghai),
            "yesterday 23:55"
        );
        assert_eq!(absolute(EN, at("2026-11-20T15:55:00Z"), now, Shanghai), "20 Nov 23:55");
        assert_eq!(
            absolute(ZH, at("2026-11-20T15:55:00Z"), now, Shanghai),
            "11月20日 23:55"
        );
        assert_eq!(
            absolute(ZH, at("2025-11-20T15:55:00Z"), now, Shanghai),
            "2025年11月20日 23:55"
        );
    }

    #[test]
    fn relative_words_never_stand_alone_and_never_say_zero() {
        let now = at("2026-11-22T12:00:00Z");
        let words = |from: &str| when(EN, at(from), now, Shanghai);
        assert_eq!(words("2026-11-22T11:59:40Z").relative, "just now");
        assert_eq!(words("2026-11-22T11:55:00Z").relative, "5 min ago");
        assert_eq!(words("2026-11-22T10:30:00Z").relative, "1 h 30 min ago");
        assert_eq!(words("2026-11-21T11:00:00Z").relative, "25 h ago");
        assert_eq!(words("2026-11-19T11:00:00Z").relative, "3 days ago");
        assert_eq!(words("2026-11-22T12:05:00Z").relative, "in 5 min");
        assert_eq!(words("2026-11-22T11:55:00Z").absolute, "today 19:55");
        assert_eq!(words("2026-11-22T11:55:00Z").machine, "2026-11-22T19:55:00+08:00");
    }

    #[test]
    fn only_what_came_later_than_live_is_called_late() {
        let measured = at("2026-11-22T09:00:00Z");
        assert_eq!(late(EN, measured, at("2026-11-22T09:10:00Z")), None);
        assert_eq!(
            late(EN, measured, at("2026-11-22T12:10:00Z")).as_deref(),
            Some("arrived 3 h late")
        );
        assert_eq!(late(EN, measured, at("2026-11-22T08:00:00Z")), None);
    }

    #[test]
    fn a_deadline_says_what_is_left_or_by_how_much_it_passed() {
        let now = at("2026-11-22T12:00:00Z");
        let words = |to: &str| due(EN, at(to), now, Shanghai);
        assert_eq!(
            (
                words("2026-11-22T12:12:00Z").text.as_str(),
                words("2026-11-22T12:12:00Z").urgency
            ),
            ("12 min left", Urgency::Soon)
        );
        assert_eq!(words("2026-11-22T13:00:00Z").urgency, Urgency::Later);
        assert_eq!(
            (
                words("2026-11-22T11:50:00Z").text.as_str(),
                words("2026-11-22T11:50:00Z").urgency
            ),
            ("10 min overdue", Urgency::Overdue)
        );
        assert_eq!(
            (
                words("2026-11-22T11:59:30Z").text.as_str(),
                words("2026-11-22T11:59:30Z").urgency
            ),
            ("due now", Urgency::Overdue)
        );
        assert_eq!(words("2026-11-22T12:12:00Z").absolute, "today 20:12");
    }
}
