//! From a meter's clock to an instant, with a label that says how far it may be trusted.

use chrono::{DateTime, Datelike, LocalResult, NaiveDate, NaiveDateTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use crate::code_enum;
use crate::quarantine::Reason;

mod clock;

pub use clock::{
    ClockSeen, ClockVerdict, Correction, DISPLAY_TOLERANCE, LOOK_TOLERANCE, MAX_DRIFT_BETWEEN_LOOKS,
    MAX_DRIFT_S_PER_DAY, clock_history,
};

code_enum! {
    /// How a measured instant was found (page 3, section 2.5).
    pub enum TimeQuality ("time quality") {
        /// The meter's own clock, read in the store's zone.
        MeterOk = "meter_ok",
        /// The meter's own clock, corrected by the skew seen when it was read.
        SkewCorrected = "skew_corrected",
        /// The meter's own clock, corrected by the skew seen when it was read, although it may have been another one when the
        /// record was measured, or what was read may not be the clock that the record was dated by.
        SkewUncertain = "skew_uncertain",
        /// The meter's clock without its offset, which it reported as unusable.
        OffsetMissing = "offset_missing",
        /// The instant of receipt, for a single live reading without a usable clock.
        ReceivedTimeUsed = "received_time_used",
    }
}

/// The last of the factory years that cheap meters start at: 2000, 2010, 2017, 2019 (page 3, section 2.5). A clock that was never
/// set runs on from there, so that no date up to this year can be told from one that nobody set.
const LAST_FACTORY_YEAR: i32 = 2019;

/// How far ahead of a trusted now a measured instant may lie before it is called future: clock granularity of one
/// minute on both sides, with room.
pub const FUTURE_TOLERANCE: TimeDelta = TimeDelta::minutes(10);

/// What is known about the time of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeEvidence {
    /// The date fields of the record.
    pub meter_time: MeterTime,
    /// Gateway minus meter, when the meter's clock was read on the link.
    pub skew: Option<TimeDelta>,
    /// `skew` may not be that of the record ([`ClockVerdict::correction_of`]).
    pub skew_uncertain: bool,
    /// When the packet was received.
    pub received_at: DateTime<Utc>,
    /// Whether `received_at` comes from a clock that is trusted (page 4, "Wall clocks lie").
    pub clock_trusted: bool,
    /// Whether it is the only packet of a link that showed no backlog, of a meter that measures and sends at once.
    pub live_single: bool,
    /// The zone in which meters of this place keep their time.
    pub zone: Tz,
}

/// A record's date fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MeterTime {
    /// The record has none.
    Absent,
    /// One of year, month and day is "unknown".
    Unset,
    /// Fields that are no date.
    Impossible,
    /// A local date and time, and whether the meter said that its offset is unusable.
    Local {
        /// Base time plus offset.
        local: NaiveDateTime,
        /// The offset in minutes; 0 where there is none, or none that is usable.
        offset_minutes: i16,
        /// The meter reported over- or underrun of the offset.
        offset_missing: bool,
    },
}

/// When a reading was measured, with the way to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeasuredTime {
    /// The instant.
    pub at: DateTime<Utc>,
    /// How it was found.
    pub quality: TimeQuality,
    /// What the meter itself said, where it said something that is a date.
    pub meter_local: Option<NaiveDateTime>,
    /// Correction that was added to the meter's own time, in seconds.
    pub correction_s: i64,
    /// The gateway's own clock was not trusted when the packet came.
    pub gateway_clock_unsure: bool,
}

impl MeterTime {
    /// From a decoded Date Time and, for glucose, its offset.
    #[must_use]
    pub fn from_gatt(
        date: Option<&carepost_gatt::DateTime>,
        offset: Option<carepost_gatt::glucose::TimeOffset>,
    ) -> Self {
        use carepost_gatt::glucose::TimeOffset;
        let Some(date) = date else { return Self::Absent };
        let (Some(year), Some(month), Some(day)) = (date.year, date.month, date.day) else {
            return Self::Unset;
        };
        let Some(base) = NaiveDate::from_ymd_opt(i32::from(year), u32::from(month), u32::from(day))
            .and_then(|d| d.and_hms_opt(u32::from(date.hour), u32::from(date.minute), u32::from(date.second)))
        else {
            return Self::Impossible;
        };
        // Date Time allows years from 1582 on (page 3, section 2.5), but nothing was measured before 1970, and an id takes no
        // such time (page 4, "Reading id").
        if base.year() < 1970 {
            return Self::Impossible;
        }
        let (offset_minutes, offset_missing) = match offset {
            None => (0, false),
            Some(TimeOffset::Minutes(minutes)) => (minutes, false),
            Some(TimeOffset::Overrun | TimeOffset::Underrun) => (0, true),
        };
        match base.checked_add_signed(TimeDelta::minutes(i64::from(offset_minutes))) {
            Some(local) => Self::Local {
                local,
                offset_minutes,
                offset_missing,
            },
            None => Self::Impossible,
        }
    }
}

/// Finds the measured instant, or says why there is none.
///
/// # Errors
/// [`Reason::TimeUnknown`], [`Reason::TimeImpossible`] or [`Reason::TimeInFuture`]; the record is then kept in
/// quarantine.
pub fn measured_time(evidence: &TimeEvidence) -> Result<MeasuredTime, Reason> {
    let received = |meter_local| MeasuredTime {
        at: evidence.received_at,
        quality: TimeQuality::ReceivedTimeUsed,
        meter_local,
        correction_s: 0,
        gateway_clock_unsure: !evidence.clock_trusted,
    };
    let (local, offset_missing) = match evidence.meter_time {
        MeterTime::Absent | MeterTime::Unset if evidence.live_single => return Ok(received(None)),
        MeterTime::Absent | MeterTime::Unset => return Err(Reason::TimeUnknown),
        MeterTime::Impossible => return Err(Reason::TimeImpossible),
        MeterTime::Local {
            local, offset_missing, ..
        } => (local, offset_missing),
    };
    // Whole seconds, so that instant, meter time and correction agree exactly wherever they are checked.
    let skew = evidence
        .skew
        .filter(|_| evidence.clock_trusted)
        .map(|skew| TimeDelta::seconds(skew.num_seconds()));
    let uncorrected = local_to_utc(local, evidence.zone);
    let at = uncorrected
        .checked_add_signed(skew.unwrap_or_default())
        .ok_or(Reason::TimeImpossible)?;
    // A factory year means that nobody had set the clock. One that still runs so is corrected by its skew; one that was set
    // since says nothing about what it recorded before, and its skew leaves the record in the factory year.
    let corrected = local.checked_add_signed(skew.unwrap_or_default()).unwrap_or(local);
    if local.year() <= LAST_FACTORY_YEAR && corrected.year() <= LAST_FACTORY_YEAR {
        return if evidence.live_single {
            Ok(received(Some(local)))
        } else {
            Err(Reason::TimeUnknown)
        };
    }
    if evidence.clock_trusted && at > evidence.received_at + FUTURE_TOLERANCE {
        return Err(Reason::TimeInFuture);
    }
    let quality = match (offset_missing, skew) {
        (true, _) => TimeQuality::OffsetMissing,
        (false, Some(_)) if evidence.skew_uncertain => TimeQuality::SkewUncertain,
        (false, Some(skew)) if skew != TimeDelta::zero() => TimeQuality::SkewCorrected,
        (false, _) => TimeQuality::MeterOk,
    };
    Ok(MeasuredTime {
        at,
        quality,
        meter_local: Some(local),
        correction_s: skew.unwrap_or_default().num_seconds(),
        gateway_clock_unsure: !evidence.clock_trusted,
    })
}

/// A local time as an instant: of two (the hour repeated in autumn) the earlier; of none (the hour skipped in spring)
/// the instant that the clock would show had it not been put forward.
#[must_use]
pub fn local_to_utc(local: NaiveDateTime, zone: Tz) -> DateTime<Utc> {
    match zone.from_local_datetime(&local) {
        LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => at.with_timezone(&Utc),
        LocalResult::None => {
            let before = zone.from_local_datetime(&(local - TimeDelta::hours(3))).earliest();
            before.map_or_else(|| local.and_utc(), |b| b.with_timezone(&Utc) + TimeDelta::hours(3))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(text: &str) -> NaiveDateTime {
        NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").unwrap()
    }

    fn utc(text: &str) -> DateTime<Utc> {
        local(text).and_utc()
    }

    fn evidence(meter_time: MeterTime) -> TimeEvidence {
        TimeEvidence {
            meter_time,
            skew: None,
            skew_uncertain: false,
            received_at: utc("2026-10-15 00:00:00"),
            clock_trusted: true,
            live_single: false,
            zone: chrono_tz::Asia::Shanghai,
        }
    }

    fn at(text: &str) -> MeterTime {
        MeterTime::Local {
            local: local(text),
            offset_minutes: 0,
            offset_missing: false,
        }
    }

    #[test]
    fn a_set_clock_is_read_in_the_stores_zone() {
        let got = measured_time(&evidence(at("2026-10-15 07:30:00"))).unwrap();
        assert_eq!(got.at, utc("2026-10-14 23:30:00"));
        assert_eq!(got.quality, TimeQuality::MeterOk);
        assert_eq!(got.correction_s, 0);
    }

    #[test]
    fn a_skew_corrects_only_under_a_trusted_clock() {
        let mut e = evidence(at("2026-10-15 07:30:00"));
        e.skew = Some(TimeDelta::seconds(90));
        let got = measured_time(&e).unwrap();
        assert_eq!((got.quality, got.correction_s), (TimeQuality::SkewCorrected, 90));
        e.clock_trusted = false;
        let got = measured_time(&e).unwrap();
        assert_eq!(
            (got.quality, got.correction_s, got.gateway_clock_unsure),
            (TimeQuality::MeterOk, 0, true)
        );
    }

    #[test]
    fn a_clock_that_was_set_since_is_corrected_and_labelled() {
        let mut e = evidence(at("2026-10-15 07:30:00"));
        e.skew_uncertain = true;
        assert_eq!(
            measured_time(&e).unwrap().quality,
            TimeQuality::MeterOk,
            "no clock was read"
        );
        e.skew = Some(TimeDelta::zero());
        let got = measured_time(&e).unwrap();
        assert_eq!((got.quality, got.correction_s), (TimeQuality::SkewUncertain, 0));
        e.clock_trusted = false;
        assert_eq!(
            measured_time(&e).unwrap().quality,
            TimeQuality::MeterOk,
            "nothing was applied"
        );
    }

    #[test]
    fn a_factory_clock_that_still_runs_is_corrected_and_one_that_was_set_since_is_not() {
        let mut e = evidence(at("2017-01-02 00:10:00"));
        // It shows 2017-01-03 08:00 now, at 2026-10-15 08:00.
        e.skew = Some(utc("2026-10-15 00:00:00") - utc("2017-01-03 00:00:00"));
        assert_eq!(measured_time(&e).unwrap().at, utc("2026-10-13 16:10:00"));
        // It shows the right time now.
        e.skew = Some(TimeDelta::seconds(5));
        assert_eq!(measured_time(&e), Err(Reason::TimeUnknown));
        e.live_single = true;
        assert_eq!(measured_time(&e).unwrap().quality, TimeQuality::ReceivedTimeUsed);
    }

    #[test]
    fn an_offset_that_the_meter_cannot_say_is_labelled_with_or_without_skew() {
        let time = MeterTime::Local {
            local: local("2026-10-15 07:30:00"),
            offset_minutes: 0,
            offset_missing: true,
        };
        for skew in [None, Some(TimeDelta::seconds(60))] {
            let e = TimeEvidence { skew, ..evidence(time) };
            assert_eq!(measured_time(&e).unwrap().quality, TimeQuality::OffsetMissing);
        }
    }

    #[test]
    fn times_that_nobody_can_know_are_held_for_manual_dating() {
        for (time, reason) in [
            (MeterTime::Absent, Reason::TimeUnknown),
            (MeterTime::Unset, Reason::TimeUnknown),
            (MeterTime::Impossible, Reason::TimeImpossible),
            (at("2017-01-01 00:10:00"), Reason::TimeUnknown),
            (at("2037-01-01 00:00:00"), Reason::TimeInFuture),
        ] {
            assert_eq!(measured_time(&evidence(time)), Err(reason), "{time:?}");
        }
    }

    #[test]
    fn a_live_single_reading_takes_the_time_of_receipt() {
        for time in [MeterTime::Absent, MeterTime::Unset, at("2017-01-01 00:10:00")] {
            let mut e = evidence(time);
            e.live_single = true;
            let got = measured_time(&e).unwrap();
            assert_eq!((got.at, got.quality), (e.received_at, TimeQuality::ReceivedTimeUsed));
        }
    }

    #[test]
    fn hours_that_a_zone_skips_or_repeats_have_one_instant() {
        let berlin = chrono_tz::Europe::Berlin;
        assert_eq!(
            local_to_utc(local("2026-03-29 02:30:00"), berlin),
            utc("2026-03-29 01:30:00")
        );
        assert_eq!(
            local_to_utc(local("2026-10-25 02:30:00"), berlin),
            utc("2026-10-25 00:30:00")
        );
    }
}
