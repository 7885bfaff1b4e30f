//! What looks at clocks say, and which clock was looked at.

use chrono::{LocalResult, Offset as _, TimeZone as _};
use proptest::prelude::*;

use super::*;

const SHANGHAI: Tz = chrono_tz::Asia::Shanghai;
const BERLIN: Tz = chrono_tz::Europe::Berlin;
const NEW_YORK: Tz = chrono_tz::America::New_York;
/// Summer time of half an hour.
const LORD_HOWE: Tz = chrono_tz::Australia::Lord_Howe;

fn local(text: &str) -> NaiveDateTime {
    NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").unwrap()
}

fn utc(text: &str) -> DateTime<Utc> {
    local(text).and_utc()
}

fn seen(at: &str, shown: &str) -> ClockSeen {
    ClockSeen::new(utc(at), local(shown), SHANGHAI)
}

#[test]
fn a_look_can_be_kept_as_its_skew() {
    for zone in [SHANGHAI, BERLIN] {
        for shown in ["2026-10-15 07:50:00", "2017-01-03 00:00:00", "2026-07-01 12:00:01"] {
            let look = ClockSeen::new(utc("2026-10-15 00:00:00"), local(shown), zone);
            assert_eq!(ClockSeen::from_skew(look.seen_at, look.skew(), zone), look);
        }
    }
}

#[test]
fn a_first_look_corrects_all_that_is_stored() {
    let verdict = clock_history(None, seen("2026-10-15 00:00:00", "2026-10-15 07:50:00"));
    assert_eq!(
        verdict.correction(local("2026-09-01 08:00:00"), SHANGHAI),
        certain(TimeDelta::minutes(10))
    );
}

#[test]
fn a_drift_is_shared_out_between_the_looks() {
    // 100 s in ten days.
    let previous = seen("2026-10-01 00:00:00", "2026-10-01 08:00:00");
    let verdict = clock_history(Some(previous), seen("2026-10-11 00:00:00", "2026-10-11 07:58:20"));
    assert!(matches!(verdict, ClockVerdict::Steady { .. }));
    let skew = |recorded| verdict.correction(local(recorded), SHANGHAI).skew.num_seconds();
    assert_eq!(skew("2026-09-20 08:00:00"), 0, "before the last look");
    assert_eq!(skew("2026-10-06 08:00:00"), 50, "half way");
    assert_eq!(skew("2026-10-11 07:58:20"), 100, "now");
    assert!(!verdict.correction(local("2026-10-06 08:00:00"), SHANGHAI).uncertain);
}

#[test]
fn a_clock_that_was_set_makes_what_was_measured_since_uncertain() {
    // It was 4 hours behind at the last look, and is right now.
    let previous = seen("2026-10-01 00:00:00", "2026-10-01 04:00:00");
    let verdict = clock_history(Some(previous), seen("2026-10-11 00:00:00", "2026-10-11 08:00:00"));
    assert!(verdict.is_jump());
    let correction = |recorded| verdict.correction(local(recorded), SHANGHAI);
    // On 5 October by either clock.
    assert_eq!(correction("2026-10-05 08:00:00"), uncertain(TimeDelta::zero()));
    // Long before the last look, by either clock: that was corrected by the old one.
    assert_eq!(correction("2026-09-20 08:00:00"), certain(TimeDelta::hours(4)));
}

#[test]
fn a_record_cannot_be_from_the_future_of_a_clock_that_was_put_back() {
    // A year ahead at the last look, right now.
    let previous = seen("2026-10-01 00:00:00", "2027-10-01 08:00:00");
    let verdict = clock_history(Some(previous), seen("2026-10-11 00:00:00", "2026-10-11 08:00:00"));
    let correction = verdict.correction(local("2027-10-05 08:00:00"), SHANGHAI);
    assert_eq!(correction, uncertain(TimeDelta::days(-365)));
}

#[test]
fn a_battery_change_is_a_jump() {
    let previous = seen("2026-10-01 00:00:00", "2026-10-01 08:00:00");
    let now = seen("2026-10-11 00:00:00", "2017-01-03 00:00:00");
    let verdict = clock_history(Some(previous), now);
    let correction = verdict.correction(local("2017-01-02 00:00:00"), SHANGHAI);
    assert_eq!(correction, uncertain(now.skew()));
    let old = verdict.correction(local("2026-09-30 08:00:00"), SHANGHAI);
    assert_eq!(
        old,
        certain(previous.skew()),
        "measured before, when the clock was right"
    );
}

#[test]
fn a_clock_that_does_not_follow_winter_time_is_not_a_jump() {
    // Berlin goes from +2 to +1 on 25 October 2026; the meter stays.
    let look = |at: &str, shown: &str| ClockSeen::new(utc(at), local(shown), BERLIN);
    let previous = look("2026-10-20 10:00:00", "2026-10-20 12:00:00");
    let verdict = clock_history(Some(previous), look("2026-10-30 10:00:00", "2026-10-30 12:00:00"));
    assert!(matches!(verdict, ClockVerdict::NotFollowed { .. }));
    let measured = |recorded: &str| {
        let recorded = local(recorded);
        let correction = verdict.correction(recorded, BERLIN);
        assert!(!correction.uncertain);
        local_to_utc(recorded, BERLIN) + correction.skew
    };
    assert_eq!(measured("2026-10-22 12:00:00"), utc("2026-10-22 10:00:00"));
    assert_eq!(measured("2026-10-28 12:00:00"), utc("2026-10-28 10:00:00"));
}

/// After months the drift that is allowed must not swallow the hour that the meter did not follow.
#[test]
fn an_hour_is_no_drift_however_long_ago_the_last_look_was() {
    let look = |at: &str, shown: &str| ClockSeen::new(utc(at), local(shown), BERLIN);
    // Summer time on 1 July, and still on 10 January.
    let previous = look("2026-07-01 10:00:00", "2026-07-01 12:00:00");
    let now = look("2027-01-10 10:00:00", "2027-01-10 12:00:00");
    let verdict = clock_history(Some(previous), now);
    assert!(matches!(verdict, ClockVerdict::NotFollowed { .. }), "{verdict:?}");
    for (recorded, true_at) in [
        ("2026-10-01 12:00:00", "2026-10-01 10:00:00"),
        ("2026-12-01 12:00:00", "2026-12-01 10:00:00"),
    ] {
        let correction = verdict.correction(local(recorded), BERLIN);
        assert_eq!(local_to_utc(local(recorded), BERLIN) + correction.skew, utc(true_at));
        assert!(!correction.uncertain);
    }
}

#[test]
fn what_drifted_further_than_a_clock_that_people_look_at_was_set() {
    let previous = seen("2026-01-01 00:00:00", "2026-01-01 08:00:00");
    let verdict = |minutes| {
        let now = utc("2026-12-01 00:00:00");
        let shown = (now + TimeDelta::minutes(minutes))
            .with_timezone(&SHANGHAI)
            .naive_local();
        clock_history(Some(previous), ClockSeen::new(now, shown, SHANGHAI))
    };
    assert!(matches!(verdict(15), ClockVerdict::Steady { .. }));
    assert!(verdict(16).is_jump());
    assert!(verdict(-16).is_jump());
}

/// Both looks are in summer: whether the clock was put back for the winter between them, they do not show.
#[test]
fn a_winter_between_two_summer_looks_is_uncertain() {
    let look = |at: &str, shown: &str| ClockSeen::new(utc(at), local(shown), BERLIN);
    let previous = look("2026-07-01 10:00:00", "2026-07-01 12:00:00");
    let verdict = clock_history(Some(previous), look("2027-07-01 10:00:00", "2027-07-01 12:00:00"));
    let correction = |recorded| verdict.correction(local(recorded), BERLIN);
    assert_eq!(correction("2026-08-01 12:00:00"), certain(TimeDelta::zero()));
    assert_eq!(correction("2027-01-10 12:00:00"), uncertain(TimeDelta::zero()));
    // Nobody puts a clock back in China.
    let verdict = clock_history(
        Some(seen("2026-07-01 00:00:00", "2026-07-01 08:00:00")),
        seen("2027-07-01 00:00:00", "2027-07-01 08:00:00"),
    );
    let winter = verdict.correction(local("2027-01-10 12:00:00"), SHANGHAI);
    assert_eq!(winter, certain(TimeDelta::zero()));
}

#[test]
fn a_clock_that_follows_winter_time_is_steady() {
    let look = |at: &str, shown: &str| ClockSeen::new(utc(at), local(shown), BERLIN);
    let previous = look("2026-10-20 10:00:00", "2026-10-20 12:00:00");
    let verdict = clock_history(Some(previous), look("2026-10-30 10:00:00", "2026-10-30 11:00:00"));
    assert!(matches!(verdict, ClockVerdict::Steady { .. }));
    let correction = verdict.correction(local("2026-10-28 11:00:00"), BERLIN);
    assert_eq!(correction, certain(TimeDelta::zero()));
}

/// A record that was made at `true_at` by a meter whose base clock is `offset_minutes` behind the user's time, while that
/// was `behind` the truth.
fn dated(true_at: &str, behind: TimeDelta, offset_minutes: i16) -> MeterTime {
    MeterTime::Local {
        local: (utc(true_at) - behind).with_timezone(&SHANGHAI).naive_local(),
        offset_minutes,
        offset_missing: false,
    }
}

fn look_in_china(at: &str, shown_behind: TimeDelta) -> ClockSeen {
    let shown = (utc(at) - shown_behind).with_timezone(&SHANGHAI).naive_local();
    ClockSeen::new(utc(at), shown, SHANGHAI)
}

fn instant(verdict: &ClockVerdict, recorded: MeterTime) -> (DateTime<Utc>, bool) {
    let MeterTime::Local { local, .. } = recorded else {
        panic!("a date, not {recorded:?}")
    };
    let correction = verdict.correction_of(recorded, SHANGHAI).unwrap();
    (local_to_utc(local, SHANGHAI) + correction.skew, correction.uncertain)
}

/// A Guide 334 minutes off its base clock, which shows one of its two clocks where it can be read: a reading has one
/// instant, whichever it is.
#[test]
fn an_offset_has_one_meaning_whichever_clock_is_read() {
    const READ: &str = "2026-10-15 08:00:00";
    const MEASURED: &str = "2026-10-15 00:00:00";
    for (off, offset_minutes) in [(0, 334), (60, 334), (-80, 339), (0, 602), (45, -480)] {
        let off = TimeDelta::seconds(off);
        let offset = TimeDelta::minutes(i64::from(offset_minutes));
        let record = dated(MEASURED, off, offset_minutes);
        for shown_behind in [off, off + offset] {
            let verdict = clock_history(None, look_in_china(READ, shown_behind));
            assert_eq!(
                instant(&verdict, record),
                (utc(MEASURED), false),
                "{offset_minutes} {shown_behind}"
            );
            // The same by two looks, the clock five seconds better at the first.
            let first = look_in_china("2026-10-14 08:00:00", shown_behind - TimeDelta::seconds(5));
            let verdict = clock_history(Some(first), look_in_china(READ, shown_behind));
            let (at, uncertain) = instant(&verdict, record);
            assert!(
                (at - utc(MEASURED)).abs() <= TimeDelta::seconds(5) && !uncertain,
                "{at}"
            );
        }
    }
}

/// A display that people have let go wrong is corrected, and called uncertain where the other clock may be meant.
#[test]
fn what_either_clock_may_mean_is_uncertain() {
    const READ: &str = "2026-10-15 08:00:00";
    const MEASURED: &str = "2026-10-15 00:00:00";
    let minutes = TimeDelta::minutes;
    let check = |off: i64, offset_minutes: i16, shown_behind: i64, expected: &str, uncertain: bool| {
        let verdict = clock_history(None, look_in_china(READ, minutes(shown_behind)));
        let record = dated(MEASURED, minutes(off), offset_minutes);
        assert_eq!(
            instant(&verdict, record),
            (utc(expected), uncertain),
            "{off} {offset_minutes} {shown_behind}"
        );
    };
    // The display is ten minutes slow, and is what is read: hours speak against the base clock.
    check(10, 334, 10, MEASURED, false);
    // The base clock is read, and the display is ten minutes slow by it: no agreement to the minute, but nothing else
    // leaves the reading near what the meter showed.
    check(10, 334, 344, MEASURED, true);
    // The display is four hours slow, or the base clock is read and was set since: nobody can tell.
    check(240, 334, 240, MEASURED, true);
    // Both are near: the one to which the display is nearer.
    check(0, 8, 8, MEASURED, true);
    check(4, 20, 4, MEASURED, false);
    // No offset: there is one clock only, and it is corrected by hours where it is hours off.
    check(240, 0, 240, MEASURED, false);
    assert_eq!(
        clock_history(None, look_in_china(READ, minutes(0))).correction_of(MeterTime::Unset, SHANGHAI),
        None
    );
}

proptest! {
    /// Whatever was read and whatever the offset: a reading that has one is never moved by more than people let a display
    /// be off without being marked, and always by what one of the two clocks says.
    #[test]
    fn an_offset_never_moves_a_reading_far_without_a_mark(
        offset_minutes in prop_oneof![-1_000_i16..1_000, any::<i16>()].prop_filter("an offset", |minutes| *minutes != 0),
        shown_behind_s in -100_000_i64..100_000,
        near in prop::sample::select(vec![0_i64, 1]),
        earlier in prop::option::of(-100_000_i64..100_000),
    ) {
        // Mostly near one of the two explanations.
        let offset_s = i64::from(offset_minutes) * 60;
        let shown_behind = TimeDelta::seconds(shown_behind_s / 50 + near * offset_s);
        let earlier = earlier.map(|s| look_in_china("2026-10-01 08:00:00", TimeDelta::seconds(s)));
        let verdict = clock_history(earlier, look_in_china("2026-10-15 08:00:00", shown_behind));
        let record = dated("2026-10-10 00:00:00", TimeDelta::zero(), offset_minutes);
        let MeterTime::Local { local, .. } = record else { unreachable!() };
        let correction = verdict.correction_of(record, SHANGHAI).unwrap();
        prop_assert!(correction.uncertain || correction.skew.abs() <= DISPLAY_TOLERANCE, "{:?}", correction);
        let offset = TimeDelta::seconds(offset_s);
        let of_base = verdict.correction(local - offset, SHANGHAI).skew - offset;
        prop_assert!([verdict.correction(local, SHANGHAI).skew, of_base].contains(&correction.skew));
    }

    /// A clock that drifts no faster than allowed, and no further, is followed to the second in every zone, whether it
    /// goes with summer time or not; where the looks cannot tell which, what differs by it is called uncertain.
    #[test]
    fn a_drifting_clock_is_followed_to_the_second(
        zone in prop::sample::select(vec![SHANGHAI, BERLIN, NEW_YORK, LORD_HOWE]),
        follows: bool,
        start_day in 0_i64..366,
        start_skew_s in -100_000_000_i64..100_000_000,
        right_at_first: bool,
        days in 1_i64..500,
        drift_ms in -900_000_i64..=900_000,
        place in 0_i64..=1_000,
    ) {
        let start = utc("2026-01-01 10:00:00") + TimeDelta::days(start_day);
        let limit_ms = (days * MAX_DRIFT_S_PER_DAY * 1_000).min(MAX_DRIFT_BETWEEN_LOOKS.num_milliseconds());
        let drift_ms = drift_ms.clamp(-limit_ms, limit_ms);
        let start_skew_s = if right_at_first { 0 } else { start_skew_s };
        let end_ms = days * 86_400_000;
        // What the clock shows at a true time: its own time in the zone as it was at the start, or as it is.
        let shows = |true_ms: i64| {
            let off = i128::from(drift_ms) * i128::from(true_ms) / i128::from(end_ms);
            let own = start + TimeDelta::milliseconds(true_ms - start_skew_s * 1_000 - i64::try_from(off).unwrap());
            let zoned_at = if follows { own } else { start };
            own.naive_utc() + zone.offset_from_utc_datetime(&zoned_at.naive_utc()).fix()
        };
        let look = |true_ms: i64| ClockSeen::new(start + TimeDelta::milliseconds(true_ms), shows(true_ms), zone);
        // A time of day that the zone has twice or not at all names no instant, whoever reads it.
        let plain = |local: NaiveDateTime| matches!(zone.from_local_datetime(&local), LocalResult::Single(_));
        let true_ms = end_ms / 1_000 * place;
        let recorded = shows(true_ms);
        prop_assume!(plain(shows(0)) && plain(shows(end_ms)) && plain(recorded));
        let verdict = clock_history(Some(look(0)), look(end_ms));
        let correction = verdict.correction(recorded, zone);
        let found = local_to_utc(recorded, zone) + correction.skew;
        let error = (found - (start + TimeDelta::milliseconds(true_ms))).num_milliseconds().abs();
        prop_assert!(correction.uncertain || error <= 1_000, "{} ms off by {:?}", error, verdict);
        // In a zone without summer time there is nothing to be uncertain about.
        prop_assert!(zone != SHANGHAI || !correction.uncertain);
    }

    /// Whatever was seen, a correction is one of the two that were seen or between them, and a jump is never certain about
    /// what lies between the looks by both clocks.
    #[test]
    fn a_correction_is_never_invented(
        first in -200_000_000_i64..200_000_000,
        later in -1_000_i64..50_000_000,
        shown in prop::array::uniform2(-200_000_000_i64..200_000_000),
        recorded in -300_000_000_i64..300_000_000,
    ) {
        let at = |s: i64| utc("2026-01-01 00:00:00") + TimeDelta::seconds(s);
        let [shown_first, shown_now] = shown;
        let previous = ClockSeen::new(at(first), at(shown_first).naive_utc(), SHANGHAI);
        let now = ClockSeen::new(at(first + later), at(shown_now).naive_utc(), SHANGHAI);
        let verdict = clock_history(Some(previous), now);
        let recorded = at(recorded).naive_utc();
        let correction = verdict.correction(recorded, SHANGHAI);
        let (low, high) = (previous.skew().min(now.skew()), previous.skew().max(now.skew()));
        prop_assert!((low..=high).contains(&correction.skew));
        if verdict.is_jump() {
            prop_assert!([previous.skew(), now.skew()].contains(&correction.skew));
            let measured = local_to_utc(recorded, SHANGHAI);
            let inside = |skew: TimeDelta| {
                let at = measured + skew;
                previous.seen_at < at && at <= now.seen_at
            };
            if inside(previous.skew()) || inside(now.skew()) {
                prop_assert!(correction.uncertain);
            }
        }
    }
}
