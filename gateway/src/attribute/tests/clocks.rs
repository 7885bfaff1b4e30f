//! Clocks that are wrong, not read, or not believed.

use proptest::prelude::*;

use super::*;

/// As [`measured_at`], but one of the clocks was not believed.
fn unsure(measured: i64, received: i64, opened: i64, first: bool, packet_trusted: bool) -> Shared {
    let copy = copy();
    let mut packet = packet(
        LinkId(1),
        &store_cuff(),
        pressure(120, Some(at(measured)), None),
        at(received),
    );
    packet.clock_trusted = packet_trusted;
    let mut now = sitting(2, Some(alice()), 20, None);
    now.clock_trusted = packet_trusted;
    let mut before = sitting(1, Some(alice()), 0, Some(10));
    before.clock_trusted = false;
    let facts = SharedFacts {
        sittings: &[before, now],
        copy: &copy,
        zone: copy.zone().unwrap(),
        opened: monotonic(opened),
        heard: monotonic(received),
        looks: seen(None),
        feature: None,
        first_on_link: first,
        now: at(received),
    };
    shared(&packet, facts)
}

#[test]
fn without_trusted_clocks_only_the_link_says_whose_a_shared_meters_record_is() {
    // The meter's time names the first sitting, the link the second.
    let kept = unsure(5, 22, 21, true, false);
    assert_eq!(kept_in(&kept), Some(2));
    assert!(
        matches!(kept, Shared::Keep { heard: None, .. }),
        "settled at the link's end"
    );
    assert_eq!(unsure(21, 22, 19, true, false), Shared::Outside);
    assert_eq!(unsure(21, 22, 21, false, false), Shared::Outside);
    // A sitting that began by a clock that was not believed is not found by times, and one that did not only by them.
    assert_eq!(unsure(5, 22, 21, true, true), Shared::Outside);
    assert_eq!(kept_in(&unsure(21, 22, 21, true, true)), Some(2));
}

#[test]
fn without_trusted_clocks_a_sittings_packet_waits_for_the_link_to_end_without_another() {
    let alices = kept_sitting(alice(), false);
    let mut unsure = kept_sitting(alice(), false);
    unsure.clock_trusted = false;
    let decide = |sitting: &KeptSitting, trusted: bool, closed: bool, records: u32| {
        let mut row = row(
            &store_cuff(),
            pressure(120, Some(at(-1)), None),
            Some(1),
            closed,
            records,
        );
        row.packet.clock_trusted = trusted;
        settlement(&row, Some(sitting), &copy(), at(0))
    };
    for (sitting, trusted) in [(&alices, false), (&unsure, true), (&unsure, false)] {
        assert_eq!(decide(sitting, trusted, false, 1), Decision::Wait);
        assert_eq!(outbox(decide(sitting, trusted, true, 1)).member, alice());
        assert_eq!(forgotten(decide(sitting, trusted, true, 2)), Counter::OutsideSitting);
    }
}

#[test]
fn a_time_later_than_the_receipt_matches_no_sitting() {
    let sittings = [sitting(1, Some(alice()), 0, None)];
    assert_eq!(kept_in(&measured_at(3, 2, &sittings)), Some(1));
    // On a consenting member's own link it is kept aside, elsewhere it is nobody's.
    let ahead = measured_at(4, 2, &sittings);
    assert!(matches!(ahead, Shared::Keep { heard: None, .. }), "{ahead:?}");
    let alices = kept_sitting(alice(), false);
    assert_eq!(
        aside(of_seated(pressure(120, Some(at(2)), None), &alices, true, 1)),
        (Reason::TimeInFuture, Some(alice()))
    );
    let outside = of_shared(Over {
        raw: pressure(120, Some(at(4)), None),
        received: 2,
        opened: -1,
        first: true,
        skew: None,
        sittings: &sittings,
    });
    assert_eq!(outside, Shared::Outside);
}

#[test]
fn the_meters_clock_is_corrected_before_it_is_asked_who_sat_there() {
    let sittings = [
        sitting(1, Some(alice()), 0, Some(10)),
        sitting(2, Some(alice()), 20, None),
    ];
    let told = |shows: i64, behind: i64, received: i64| {
        kept_in(&of_shared(Over {
            raw: pressure(120, Some(at(shows)), None),
            received,
            opened: received - 1,
            first: true,
            skew: Some(TimeDelta::minutes(behind)),
            sittings: &sittings,
        }))
    };
    // A quarter of an hour slow: what it dates into the first sitting was measured in the second, and the reverse.
    assert_eq!(told(6, 15, 22), Some(2));
    assert_eq!(told(-10, 15, 22), Some(1));
    assert_eq!(told(0, 15, 22), None, "between the two");
    // Fast.
    assert_eq!(told(24, -15, 25), Some(1));
}

#[test]
fn a_clock_that_nobody_read_gives_no_record_to_somebody_who_left_before_the_link() {
    let sittings = [
        sitting(1, Some(alice()), 0, Some(10)),
        sitting(2, None, 20, Some(25)),
        sitting(3, Some(alice()), 30, None),
    ];
    let told = |shows: i64, opened: i64, received: i64, skew: Option<i64>| {
        of_shared(Over {
            raw: pressure(120, Some(at(shows)), None),
            received,
            opened,
            first: true,
            skew: skew.map(TimeDelta::minutes),
            sittings: &sittings,
        })
    };
    // Somebody else was identified before the link stood: the record may be theirs, by a clock that is behind.
    assert_eq!(told(5, 31, 32, None), Shared::Outside);
    assert_eq!(told(5, 21, 22, None), Shared::Outside);
    assert_eq!(kept_in(&told(5, 31, 32, Some(0))), Some(1));
    // Nobody else was.
    assert_eq!(kept_in(&told(5, 6, 7, None)), Some(1));
    assert_eq!(kept_in(&told(5, 15, 16, None)), Some(1));
    assert_eq!(kept_in(&told(31, 31, 32, None)), Some(3));
    // Of an earlier run of the program only the sittings of consenting members are known: somebody else may have come after.
    let mut old = sittings.clone();
    old[0].here = None;
    for (skew, sitting) in [(None, None), (Some(TimeDelta::zero()), Some(1))] {
        let of_old = Over {
            raw: pressure(120, Some(at(5)), None),
            received: 29,
            opened: 28,
            first: true,
            skew,
            sittings: &old[..1],
        };
        assert_eq!(kept_in(&of_shared(of_old)), sitting);
    }
}

#[test]
fn a_clock_that_was_read_before_and_not_now_is_as_wrong_as_it_was() {
    let meter = plain_cuff();
    let mut slow = row(&meter, pressure(120, Some(at(-180)), None), None, true, 1);
    slow.link.looks = Looks {
        now: LinkClock::Unknown,
        last: Some(Look {
            skew: TimeDelta::minutes(175),
            at: at(-1_000),
        }),
    };
    let reading = outbox(settlement(&slow, None, &copy(), at(0)));
    assert_eq!(
        (reading.time.at, reading.time.quality),
        (at(-5), TimeQuality::SkewUncertain)
    );
}

#[test]
fn a_clock_that_was_set_since_the_last_look_gives_nobody_the_benefit_of_the_doubt() {
    let sittings = [
        sitting(1, Some(alice()), 0, Some(10)),
        sitting(2, Some(alice()), 20, None),
    ];
    let copy = copy();
    let told = |last: i64| {
        let packet = packet(LinkId(1), &store_cuff(), pressure(120, Some(at(5)), None), at(22));
        let look = |minutes, when| Look {
            skew: TimeDelta::minutes(minutes),
            at: at(when),
        };
        let facts = SharedFacts {
            sittings: &sittings,
            copy: &copy,
            zone: copy.zone().unwrap(),
            opened: monotonic(21),
            heard: monotonic(22),
            looks: Looks {
                now: LinkClock::Read(look(0, 21)),
                last: Some(look(last, -60)),
            },
            feature: None,
            first_on_link: true,
            now: at(22),
        };
        shared(&packet, facts)
    };
    assert_eq!(kept_in(&told(0)), Some(1), "it ran on");
    assert_eq!(told(-240), Shared::Outside, "it was set, nobody knows when");
}

#[test]
fn a_record_of_a_clock_that_was_set_is_marked_so() {
    let mut row = row(&plain_cuff(), pressure(120, Some(at(-10)), None), None, true, 1);
    row.link.looks = seen(Some(TimeDelta::zero()));
    row.link.looks.last = Some(Look {
        skew: TimeDelta::hours(4),
        at: at(-24 * 60),
    });
    let reading = outbox(settlement(&row, None, &copy(), at(0)));
    assert_eq!(
        (reading.time.at, reading.time.quality),
        (at(-10), TimeQuality::SkewUncertain)
    );
}

#[test]
fn setting_the_gateways_clock_back_makes_no_link_older_or_newer() {
    // The wall clock was put back by an hour between identification and link: the link is still the later one.
    let mut facts = sitting(1, Some(alice()), 0, None);
    facts.identified_at = at(60);
    facts.sitting.began = at(60);
    assert_eq!(kept_in(&clockless(2, 1, true, &[facts.clone()])), Some(1));
    // And forth: a link that stood before the identification does not become the person's.
    facts.identified_at = at(-60);
    facts.sitting.began = at(-60);
    assert_eq!(clockless(2, -1, true, &[facts]), Shared::Outside);
    // A sitting of an earlier run is over, whatever a clock that was put back says.
    let mut old = sitting(1, Some(alice()), 0, Some(40));
    old.here = None;
    assert_eq!(clockless(2, 1, true, &[old]), Shared::Outside);
}

#[test]
fn nothing_is_settled_before_the_clock_of_its_link_is_known() {
    let alices = kept_sitting(alice(), false);
    let mut shared = row(&store_cuff(), pressure(120, Some(at(-1)), None), Some(1), false, 1);
    let mut personal = row(&plain_cuff(), pressure(120, Some(at(-10)), None), None, false, 1);
    for row in [&mut shared, &mut personal] {
        row.link.looks.now = LinkClock::Pending;
    }
    assert_eq!(settlement(&shared, Some(&alices), &copy(), at(0)), Decision::Wait);
    assert_eq!(settlement(&personal, None, &copy(), at(0)), Decision::Wait);
    let skew = TimeDelta::minutes(4);
    personal.link.looks = seen(Some(skew));
    let reading = outbox(settlement(&personal, None, &copy(), at(0)));
    assert_eq!(
        (reading.time.at, reading.time.quality, reading.time.correction_s),
        (at(-6), TimeQuality::SkewCorrected, 240)
    );
    shared.link.looks = seen(Some(-skew));
    let reading = outbox(settlement(&shared, Some(&alices), &copy(), at(0)));
    assert_eq!(reading.time.at, at(-5));
}

#[test]
fn a_guess_that_a_stop_left_behind_counts_only_if_the_meters_time_agrees() {
    let mut alices = kept_sitting(alice(), false);
    alices.ended_at = Some(at(-2));
    let left = |shows: i64| {
        let mut row = row(&store_cuff(), pressure(120, Some(at(shows)), None), Some(1), true, 1);
        row.provisional = true;
        row.link.unclean = true;
        settlement(&row, Some(&alices), &copy(), at(0))
    };
    assert_eq!(outbox(left(-3)).member, alice());
    for outside in [-11, -1] {
        assert_eq!(forgotten(left(outside)), Counter::OutsideSitting);
    }
}

#[test]
fn a_receipt_by_a_clock_older_than_the_grant_is_kept_aside_and_not_forgotten() {
    let long_ago = at(-400 * 24 * 60);
    let received_long_ago = |meter: &Meter, sitting: Option<u128>, trusted: bool| {
        let mut row = row(meter, pressure(120, None, None), sitting, true, 1);
        row.packet.received_at = long_ago;
        row.packet.clock_trusted = trusted;
        row
    };
    let alices = KeptSitting {
        began_at: long_ago,
        ..kept_sitting(alice(), false)
    };
    let of_sitting = |trusted| {
        settlement(
            &received_long_ago(&store_cuff(), Some(1), trusted),
            Some(&alices),
            &copy(),
            at(0),
        )
    };
    assert_eq!(aside(of_sitting(false)), (Reason::TimeUnknown, Some(alice())));
    assert_eq!(forgotten(of_sitting(true)), Counter::NoConsent);
    let mut known = copy();
    let mut bound = binding(104, &plain_cuff(), alice(), None);
    bound.only_ever_this_person = true;
    known.put_binding(bound);
    let personal = |trusted| settlement(&received_long_ago(&plain_cuff(), None, trusted), None, &known, at(0));
    assert_eq!(aside(personal(false)), (Reason::TimeUnknown, Some(alice())));
    assert_eq!(forgotten(personal(true)), Counter::NoConsent);
    // Of somebody who does not consent at all, nothing is kept by any clock.
    let bobs = kept_sitting(bob(), false);
    let row = received_long_ago(&store_cuff(), Some(1), false);
    assert_eq!(
        forgotten(settlement(&row, Some(&bobs), &copy(), at(0))),
        Counter::NoConsent
    );
}

#[test]
fn a_receipt_by_a_clock_that_is_not_believed_is_not_shown_as_refused() {
    let copy = copy();
    let mut packet = packet(LinkId(1), &store_cuff(), pressure(120, None, None), at(-400 * 24 * 60));
    packet.clock_trusted = false;
    let sittings = [sitting(1, Some(alice()), 0, None)];
    let facts = SharedFacts {
        sittings: &sittings,
        copy: &copy,
        zone: copy.zone().unwrap(),
        opened: monotonic(1),
        heard: monotonic(2),
        looks: seen(None),
        feature: None,
        first_on_link: true,
        now: packet.received_at,
    };
    assert_eq!(kept_in(&shared(&packet, facts)), Some(1));
}

#[test]
fn a_record_out_of_its_time_is_kept_under_the_sitters_name_only_if_it_came_alone() {
    let alices = kept_sitting(alice(), false);
    let future = || pressure(120, Some(at(61)), None);
    assert_eq!(of_seated(future(), &alices, false, 1), Decision::Wait);
    assert_eq!(
        aside(of_seated(future(), &alices, true, 1)),
        (Reason::TimeInFuture, Some(alice()))
    );
    assert_eq!(
        forgotten(of_seated(future(), &alices, true, 2)),
        Counter::OutsideSitting
    );
}

#[test]
fn a_row_whose_time_turns_out_to_be_of_no_sitting_is_nobodys() {
    let alices = kept_sitting(alice(), false);
    let mut unread = row(&store_cuff(), pressure(120, Some(at(-1)), None), Some(1), true, 1);
    assert_eq!(
        outbox(settlement(&unread, Some(&alices), &copy(), at(0))).member,
        alice()
    );
    unread.link.looks = Looks {
        now: LinkClock::Unknown,
        last: Some(Look {
            skew: TimeDelta::hours(-3),
            at: at(-1_000),
        }),
    };
    assert_eq!(
        forgotten(settlement(&unread, Some(&alices), &copy(), at(0))),
        Counter::OutsideSitting
    );
}

proptest! {
    #[test]
    fn whatever_the_bytes_and_sittings_nobody_without_consent_is_kept(
        raw in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..24),
            (-30_i64..30, prop::option::of(0_u8..4)).prop_map(|(when, slot)| pressure(120, Some(at(when)), slot)),
            Just(pressure(120, None, None)),
        ],
        whose in 0_u8..3,
        from in -30_i64..0,
        length in prop::option::of(1_i64..40),
        opened in -30_i64..0,
        first: bool,
        skew in prop::option::of((-40_i64..40).prop_map(TimeDelta::minutes)),
        personal: bool,
    ) {
        let member = [None, Some(alice()), Some(bob())][usize::from(whose)];
        let sittings = [sitting(1, member, from, length.map(|length| from + length))];
        let kept = of_shared(Over { raw: raw.clone(), received: 0, opened, first, skew, sittings: &sittings });
        // Written down only for the one who consented.
        prop_assert!(kept_in(&kept).is_none() || member == Some(alice()));
        let meter = if personal { home_cuff() } else { plain_cuff() };
        match of_personal(&meter, raw) {
            Decision::Settle { settlement: Settlement::Outbox(reading), .. } => prop_assert_eq!(reading.member, alice()),
            Decision::Settle { settlement: Settlement::Quarantine { member, .. }, .. } => prop_assert_ne!(member, Some(bob())),
            Decision::Settle { settlement: Settlement::Sealed(_), .. } => prop_assert!(false, "nobody asked to seal it"),
            Decision::Settle { settlement: Settlement::Forget(_), .. } | Decision::Wait | Decision::WaitUntil(_) => {}
        }
    }
}
