//! Page 4, "Attribution", sentence by sentence.

use carepost_domain::attribution::Sitting;
use carepost_domain::id::MemberId;
use carepost_domain::meter::Meter;
use carepost_domain::reading::{Flag, Measurement};
use carepost_domain::time::TimeQuality;
use carepost_gatt::blood_pressure::{self, Status};

use super::*;
use crate::sitting::Here;
use crate::spool::{LinkFacts, LinkId, Look, SpoolRow, is_live};
use crate::testing::*;

mod clocks;

fn copy() -> DownCopy {
    let snapshot = snapshot();
    let mut copy = DownCopy {
        version: 1,
        revision: 1,
        store: Some(store()),
        zone: snapshot.zone.parse().ok(),
        ..DownCopy::default()
    };
    snapshot.members.into_iter().for_each(|member| copy.put_member(member));
    snapshot.meters.into_iter().for_each(|meter| copy.put_meter(meter));
    snapshot
        .bindings
        .into_iter()
        .for_each(|binding| copy.put_binding(binding));
    snapshot.grants.into_iter().for_each(|grant| copy.put_grant(grant));
    copy
}

/// A sitting from `from` to `to`, in minutes from noon.
fn sitting(n: u128, member: Option<MemberId>, from: i64, to: Option<i64>) -> SittingFacts {
    SittingFacts {
        sitting: Sitting {
            id: id(n),
            member,
            began: at(from),
            ended: to.map(at),
        },
        identified_at: at(from),
        keep_sealed: false,
        clock_trusted: true,
        here: Some(Here {
            identified: monotonic(from),
            ended: to.map(monotonic),
        }),
    }
}

/// Minutes from noon on the clock that nobody sets; the program started long before.
fn monotonic(minutes: i64) -> Duration {
    Duration::from_secs(u64::try_from((minutes + 1_000) * 60).unwrap())
}

/// A clock that was looked at now for the first time, or cannot be.
fn seen(skew: Option<TimeDelta>) -> Looks {
    Looks {
        now: skew.map_or(LinkClock::Unknown, |skew| LinkClock::Read(Look { skew, at: at(0) })),
        last: None,
    }
}

struct Over<'a> {
    raw: Vec<u8>,
    /// Minutes from noon.
    received: i64,
    opened: i64,
    first: bool,
    /// Gateway minus meter; `None` if the meter's clock was not read.
    skew: Option<TimeDelta>,
    sittings: &'a [SittingFacts],
}

fn of_shared(heard: Over<'_>) -> Shared {
    let copy = copy();
    let packet = packet(LinkId(1), &store_cuff(), heard.raw, at(heard.received));
    let facts = SharedFacts {
        sittings: heard.sittings,
        copy: &copy,
        zone: copy.zone().unwrap(),
        opened: monotonic(heard.opened),
        heard: monotonic(heard.received),
        looks: seen(heard.skew),
        feature: None,
        first_on_link: heard.first,
        now: at(heard.received),
    };
    shared(&packet, facts)
}

/// Measured at `measured` by a meter's right clock, received at `received` on a link opened a minute before.
fn measured_at(measured: i64, received: i64, sittings: &[SittingFacts]) -> Shared {
    let raw = pressure(120, Some(at(measured)), None);
    of_shared(Over {
        raw,
        received,
        opened: received - 1,
        first: true,
        skew: Some(TimeDelta::zero()),
        sittings,
    })
}

fn clockless(received: i64, opened: i64, first: bool, sittings: &[SittingFacts]) -> Shared {
    of_shared(Over {
        raw: pressure(120, None, None),
        received,
        opened,
        first,
        skew: None,
        sittings,
    })
}

fn kept_in(shared: &Shared) -> Option<u128> {
    match shared {
        Shared::Keep { sitting, .. } => Some(sitting.uuid().as_u128()),
        _ => None,
    }
}

#[test]
fn a_shared_meters_reading_belongs_to_the_sitting_in_which_it_was_measured() {
    let sittings = [
        sitting(1, Some(alice()), 0, Some(10)),
        sitting(2, Some(alice()), 20, None),
    ];
    assert_eq!(kept_in(&measured_at(9, 21, &sittings)), Some(1));
    assert_eq!(kept_in(&measured_at(20, 21, &sittings)), Some(2));
    assert_eq!(measured_at(15, 21, &sittings), Shared::Outside);
    assert_eq!(measured_at(-1, 21, &sittings), Shared::Outside);
    assert_eq!(measured_at(0, 0, &[]), Shared::Outside);
}

#[test]
fn an_anonymous_sittings_reading_is_for_the_screen_only() {
    let sittings = [sitting(1, None, 0, None)];
    assert!(matches!(measured_at(1, 2, &sittings), Shared::Anonymous { .. }));
    // Also when it is no reading, and never because of who sat there before.
    let failed = of_shared(Over {
        raw: failed_pressure(at(1), None),
        received: 2,
        opened: 1,
        first: true,
        skew: None,
        sittings: &sittings,
    });
    assert!(matches!(failed, Shared::Anonymous { .. }));
    let undecodable = of_shared(Over {
        raw: vec![0xFF],
        received: 2,
        opened: 1,
        first: true,
        skew: None,
        sittings: &sittings,
    });
    assert_eq!(undecodable, Shared::Undecodable);
}

#[test]
fn somebody_without_consent_sees_the_reading_and_it_is_not_kept_unless_they_ask() {
    let mut facts = sitting(1, Some(bob()), 0, None);
    assert!(matches!(measured_at(1, 2, &[facts.clone()]), Shared::NoConsent { .. }));
    facts.keep_sealed = true;
    assert_eq!(kept_in(&measured_at(1, 2, &[facts])), Some(1));
}

#[test]
fn a_meter_without_a_clock_counts_only_on_a_link_opened_after_identification() {
    let alices = [sitting(1, Some(alice()), 0, None)];
    assert_eq!(kept_in(&clockless(2, 1, true, &alices)), Some(1));
    assert_eq!(kept_in(&clockless(2, 0, true, &alices)), Some(1));
    assert_eq!(clockless(2, -1, true, &alices), Shared::Outside);
    assert_eq!(clockless(2, 1, false, &alices), Shared::Outside);
    // What cannot be written down waits in memory for the end of the link.
    assert!(matches!(
        clockless(2, 1, true, &[sitting(1, None, 0, None)]),
        Shared::AtLinkEnd(_)
    ));
    assert!(matches!(
        clockless(2, 1, true, &[sitting(1, Some(bob()), 0, None)]),
        Shared::AtLinkEnd(_)
    ));
}

#[test]
fn nonsense_of_a_shared_meter_is_kept_aside_only_on_a_consenting_members_link() {
    let heard = |member, opened| {
        let sittings = [sitting(1, member, 0, None)];
        of_shared(Over {
            raw: vec![0xFF],
            received: 2,
            opened,
            first: true,
            skew: None,
            sittings: &sittings,
        })
    };
    assert_eq!(kept_in(&heard(Some(alice()), 1)), Some(1));
    assert_eq!(heard(Some(alice()), -1), Shared::Undecodable);
    assert_eq!(heard(Some(bob()), 1), Shared::Undecodable);
    assert_eq!(heard(None, 1), Shared::Undecodable);
    // A date that nobody can use is nonsense of the same kind.
    let ahead = pressure(120, Some(at(60)), None);
    let sittings = [sitting(1, Some(alice()), 0, None)];
    let kept = of_shared(Over {
        raw: ahead.clone(),
        received: 2,
        opened: 1,
        first: true,
        skew: None,
        sittings: &sittings,
    });
    assert_eq!(kept_in(&kept), Some(1));
    let outside = of_shared(Over {
        raw: ahead,
        received: 2,
        opened: -1,
        first: true,
        skew: None,
        sittings: &sittings,
    });
    assert_eq!(outside, Shared::Outside);
}

fn row(meter: &Meter, raw: Vec<u8>, sitting: Option<u128>, closed: bool, records: u32) -> PendingRow {
    let mut packet = packet(LinkId(1), meter, raw, at(0));
    packet.sitting = sitting.map(id);
    PendingRow {
        row: SpoolRow(1),
        link: LinkFacts {
            id: LinkId(1),
            opened_at: at(-1),
            closed,
            unclean: false,
            records,
            looks: seen(None),
            feature: None,
            emptied_before: Some(at(-60)),
        },
        provisional: false,
        packet,
        context_raw: None,
    }
}

fn of_personal(meter: &Meter, raw: Vec<u8>) -> Decision {
    settlement(&row(meter, raw, None, true, 1), None, &copy(), at(0))
}

fn outbox(decision: Decision) -> WireReading {
    match decision {
        Decision::Settle {
            settlement: Settlement::Outbox(reading),
            ..
        } => *reading,
        other => panic!("not for the outbox: {other:?}"),
    }
}

fn aside(decision: Decision) -> (Reason, Option<MemberId>) {
    match decision {
        Decision::Settle {
            settlement: Settlement::Quarantine { reason, member },
            ..
        } => (reason, member),
        other => panic!("not for the quarantine: {other:?}"),
    }
}

fn forgotten(decision: Decision) -> Counter {
    match decision {
        Decision::Settle {
            settlement: Settlement::Forget(counter),
            ..
        } => counter,
        other => panic!("not forgotten: {other:?}"),
    }
}

#[test]
fn a_bound_meters_reading_is_its_owners() {
    let reading = outbox(of_personal(&glucose_meter(), glucose(1, at(-5), false)));
    assert_eq!(
        (reading.member, reading.place, reading.time.at),
        (alice(), Place::Home, at(-5))
    );
    assert_eq!(reading.attribution, Attribution::Binding { binding: id(101) });
    assert!(is_live(reading.time.at, reading.captured_at));
    assert!(!is_live(at(-11), at(0)));
}

#[test]
fn two_people_who_share_a_cuff_each_have_their_slot() {
    let cuff = home_cuff();
    let reading = outbox(of_personal(&cuff, pressure(120, Some(at(-5)), Some(1))));
    assert_eq!(reading.member, alice());
    let Measurement::BloodPressure(pressure_of) = reading.measurement else {
        panic!("a blood pressure")
    };
    assert_eq!(pressure_of.user_slot, Some(1));
    // The other has not consented.
    assert_eq!(
        forgotten(of_personal(&cuff, pressure(120, Some(at(-5)), Some(2)))),
        Counter::NoConsent
    );
    assert_eq!(
        aside(of_personal(&cuff, pressure(120, Some(at(-5)), Some(3)))),
        (Reason::SlotUnknown, None)
    );
    assert_eq!(
        aside(of_personal(&cuff, pressure(120, Some(at(-5)), None))),
        (Reason::SlotUnknown, None)
    );
}

#[test]
fn consent_is_asked_before_anything_else_is_found_wrong() {
    let cuff = home_cuff();
    assert_eq!(
        aside(of_personal(&cuff, failed_pressure(at(-5), Some(1)))),
        (Reason::MeasurementError, Some(alice()))
    );
    assert_eq!(
        forgotten(of_personal(&cuff, failed_pressure(at(-5), Some(2)))),
        Counter::NoConsent
    );
    // A time in the future: whose it is, is known by the slot.
    assert_eq!(
        aside(of_personal(&cuff, pressure(120, Some(at(60)), Some(1)))),
        (Reason::TimeInFuture, Some(alice()))
    );
    assert_eq!(
        forgotten(of_personal(&cuff, pressure(120, Some(at(60)), Some(2)))),
        Counter::NoConsent
    );
}

#[test]
fn what_nobody_can_use_is_kept_aside_with_its_reason() {
    assert_eq!(
        aside(of_personal(&glucose_meter(), vec![1])),
        (Reason::Undecodable, Some(alice()))
    );
    assert_eq!(aside(of_personal(&home_cuff(), vec![1])), (Reason::Undecodable, None));
    let before_binding = glucose(1, at(-61 * 24 * 60), false);
    assert_eq!(
        aside(of_personal(&glucose_meter(), before_binding)),
        (Reason::BeforeBinding, None)
    );
    // Bound then, not consented then.
    let before_consent = glucose(1, at(-40 * 24 * 60), false);
    assert_eq!(
        forgotten(of_personal(&glucose_meter(), before_consent)),
        Counter::NoConsent
    );
    let mut stranger = glucose_meter();
    stranger.id = id(99);
    assert_eq!(
        aside(of_personal(&stranger, glucose(1, at(-5), false))),
        (Reason::NobodyBound, None)
    );
}

#[test]
fn a_personal_cuff_without_a_clock_counts_alone_and_after_the_link() {
    let cuff = plain_cuff();
    let raw = || pressure(120, None, None);
    assert_eq!(
        settlement(&row(&cuff, raw(), None, false, 1), None, &copy(), at(0)),
        Decision::Wait
    );
    let reading = outbox(settlement(&row(&cuff, raw(), None, true, 1), None, &copy(), at(0)));
    assert_eq!(
        (reading.time.quality, reading.time.at),
        (TimeQuality::ReceivedTimeUsed, at(0))
    );
    assert_eq!(
        aside(settlement(&row(&cuff, raw(), None, true, 2), None, &copy(), at(0))),
        (Reason::TimeUnknown, Some(alice()))
    );
}

#[test]
fn a_record_without_a_time_counts_only_if_its_meter_was_read_under_the_same_owner_and_consent() {
    const DAY: i64 = 24 * 60;
    let cuff = plain_cuff();
    let decide = |emptied_before: Option<i64>, copy: &DownCopy| {
        let mut row = row(&cuff, pressure(120, None, None), None, true, 1);
        row.link.emptied_before = emptied_before.map(at);
        settlement(&row, None, copy, at(0))
    };
    let held = (Reason::TimeUnknown, Some(alice()));
    let known = copy();
    assert_eq!(aside(decide(None, &known)), held);
    // Bound for sixty days, consenting for thirty.
    assert_eq!(outbox(decide(Some(-29 * DAY), &known)).member, alice());
    assert_eq!(aside(decide(Some(-31 * DAY), &known)), held);
    // A link that is later than this one: somebody has set the clock.
    assert_eq!(outbox(decide(Some(-1), &known)).member, alice());
    assert_eq!(aside(decide(Some(0), &known)), held);
    // Withdrawn and given again: it may be from the time between.
    let mut again = copy();
    again.put_grant(withdrawn(grant(201, alice()), at(-20 * DAY)));
    let mut second = grant(202, alice());
    second.granted_at = at(-10 * DAY);
    again.put_grant(second);
    assert_eq!(aside(decide(Some(-21 * DAY), &again)), held);
    assert_eq!(outbox(decide(Some(-9 * DAY), &again)).member, alice());
    // Renewed before it ended.
    let mut renewed = grant(203, alice());
    renewed.granted_at = at(-21 * DAY);
    again.put_grant(renewed);
    assert_eq!(outbox(decide(Some(-29 * DAY), &again)).member, alice());
    // Bound after it was read, to one person who alone ever used it.
    let mut bound = copy();
    let mut alices = binding(104, &cuff, alice(), None);
    alices.valid_from = at(-DAY);
    bound.put_binding(alices.clone());
    assert_eq!(aside(decide(Some(-2 * DAY), &bound)), held);
    alices.only_ever_this_person = true;
    bound.put_binding(alices);
    assert_eq!(outbox(decide(Some(-2 * DAY), &bound)).member, alice());
    assert_eq!(aside(decide(None, &bound)), held);
    // What staff say of a second owner is nothing about the first.
    let mut bobs = binding(105, &cuff, bob(), None);
    bobs.valid_to = Some(at(-DAY));
    bound.put_binding(bobs);
    assert_eq!(aside(decide(Some(-2 * DAY), &bound)), held);
    assert_eq!(outbox(decide(Some(-DAY), &bound)).member, alice());
    // Of a meter that is somebody else's by now, if the clock cannot be believed that says that it is not.
    let handed_on = |until: Option<i64>, trusted| {
        let mut copy = copy();
        let mut alices = binding(104, &cuff, alice(), None);
        alices.valid_to = until.map(at);
        copy.put_binding(alices);
        let mut row = row(&cuff, pressure(120, None, None), None, true, 1);
        row.packet.clock_trusted = trusted;
        settlement(&row, None, &copy, at(0))
    };
    assert_eq!(aside(handed_on(Some(1), false)), held);
    for (until, trusted) in [(Some(1), true), (None, true), (None, false)] {
        assert_eq!(outbox(handed_on(until, trusted)).member, alice());
    }
    // Of somebody who does not consent, nothing is kept.
    let mut bobs = copy();
    bobs.put_binding(binding(104, &cuff, bob(), None));
    assert_eq!(forgotten(decide(None, &bobs)), Counter::NoConsent);
}

fn kept_sitting(member: MemberId, keep_sealed: bool) -> KeptSitting {
    KeptSitting {
        id: id(1),
        member,
        began_at: at(-10),
        identified_at: at(-10),
        ended_at: None,
        keep_sealed,
        clock_trusted: true,
    }
}

fn of_seated(raw: Vec<u8>, sitting: &KeptSitting, closed: bool, records: u32) -> Decision {
    settlement(
        &row(&store_cuff(), raw, Some(1), closed, records),
        Some(sitting),
        &copy(),
        at(0),
    )
}

#[test]
fn a_sittings_packet_is_its_members() {
    let alices = kept_sitting(alice(), false);
    let reading = outbox(of_seated(pressure(120, Some(at(-1)), None), &alices, false, 1));
    assert_eq!((reading.member, reading.place), (alice(), Place::Store));
    assert_eq!(reading.attribution, Attribution::Sitting { sitting: id(1) });
    assert_eq!(
        aside(of_seated(vec![1], &alices, false, 1)),
        (Reason::Undecodable, Some(alice()))
    );
    assert_eq!(
        aside(of_seated(failed_pressure(at(-1), None), &alices, false, 1)),
        (Reason::MeasurementError, Some(alice()))
    );
    // Consent ended between capture and settling.
    let bobs = kept_sitting(bob(), false);
    for raw in [
        pressure(120, Some(at(-1)), None),
        failed_pressure(at(-1), None),
        vec![1],
    ] {
        assert_eq!(forgotten(of_seated(raw, &bobs, false, 1)), Counter::NoConsent);
    }
}

#[test]
fn only_a_reading_is_sealed_and_nothing_else() {
    let bobs = kept_sitting(bob(), true);
    let decision = of_seated(pressure(120, Some(at(-1)), None), &bobs, false, 1);
    assert!(
        matches!(
            decision,
            Decision::Settle {
                settlement: Settlement::Sealed(_),
                ..
            }
        ),
        "{decision:?}"
    );
    for raw in [failed_pressure(at(-1), None), vec![1]] {
        assert_eq!(forgotten(of_seated(raw, &bobs, false, 1)), Counter::NoConsent);
    }
}

#[test]
fn a_clockless_packet_of_a_sitting_waits_for_the_link_to_end_without_another() {
    let alices = kept_sitting(alice(), false);
    let raw = || pressure(120, None, None);
    assert_eq!(of_seated(raw(), &alices, false, 1), Decision::Wait);
    assert_eq!(
        outbox(of_seated(raw(), &alices, true, 1)).time.quality,
        TimeQuality::ReceivedTimeUsed
    );
    assert_eq!(forgotten(of_seated(raw(), &alices, true, 2)), Counter::OutsideSitting);
}

#[test]
fn a_packet_whose_sitting_or_role_is_gone_is_nobodys() {
    let raw = pressure(120, Some(at(-1)), None);
    assert_eq!(
        forgotten(settlement(
            &row(&store_cuff(), raw.clone(), Some(1), true, 1),
            None,
            &copy(),
            at(0)
        )),
        Counter::OutsideSitting
    );
    assert_eq!(
        forgotten(settlement(
            &row(&store_cuff(), raw, None, true, 1),
            None,
            &copy(),
            at(0)
        )),
        Counter::OutsideSitting
    );
}

#[test]
fn an_interrupted_link_never_shows_that_a_record_came_alone() {
    let alices = kept_sitting(alice(), false);
    let mut shared = row(&store_cuff(), pressure(120, None, None), Some(1), true, 1);
    shared.link.unclean = true;
    assert_eq!(
        forgotten(settlement(&shared, Some(&alices), &copy(), at(0))),
        Counter::OutsideSitting
    );
    let mut personal = row(&plain_cuff(), pressure(120, None, None), None, true, 1);
    personal.link.unclean = true;
    assert_eq!(
        aside(settlement(&personal, None, &copy(), at(0))),
        (Reason::TimeUnknown, Some(alice()))
    );
}

/// A cuff's record of `systolic` with these status bits.
fn with_status(systolic: i64, when: i64, status: u16) -> Vec<u8> {
    let mut record = blood_pressure::Measurement::decode(&pressure(systolic, Some(at(when)), None))
        .unwrap()
        .value;
    record.status = Some(Status(status));
    record.encode().unwrap()
}

#[test]
fn what_a_cuff_reports_counts_only_if_it_declares_to_detect_it() {
    // Movement, cuff loose, irregular pulse, pulse above the range, position.
    const ALL: u16 = 0b10_1111;
    let all = [
        Flag::BodyMovement,
        Flag::CuffLoose,
        Flag::IrregularPulse,
        Flag::ImproperPosition,
        Flag::PulseAboveUpper,
    ];
    let flags_by = |feature: Option<u16>| {
        let mut row = row(&plain_cuff(), with_status(120, -1, ALL), None, true, 1);
        row.link.feature = feature.map(Feature);
        outbox(settlement(&row, None, &copy(), at(0))).flags
    };
    // Nobody has read what it declares.
    assert_eq!(flags_by(None), all);
    assert_eq!(flags_by(Some(0b1_1111)), all);
    assert_eq!(flags_by(Some(0)), [Flag::StatusUndeclared]);
    for (bit, flag) in [0, 1, 2, 4, 3].into_iter().zip(all) {
        assert_eq!(flags_by(Some(1 << bit)), [flag, Flag::StatusUndeclared], "{bit}");
    }
    let quiet = |feature| {
        let mut row = row(&plain_cuff(), with_status(120, -1, 0), None, true, 1);
        row.link.feature = Some(Feature(feature));
        outbox(settlement(&row, None, &copy(), at(0))).flags
    };
    assert_eq!((quiet(0), quiet(0b1_1111)), (vec![], vec![]));
    // Of a cuff that swaps bytes, nobody knows in which order it declares.
    let mut swapped = plain_cuff();
    (swapped.about.manufacturer, swapped.model) = ("Beurer".to_owned(), "BM85".to_owned());
    let mut copy = copy();
    copy.put_meter(swapped.clone());
    let quirk = copy.quirk_of(swapped.id);
    // An irregular pulse, high byte first: a capture of a BM85 (page 3's vectors, beurer_be_tail).
    let raw = hex::decode("56760050000000EA07080B141B00003C000004").unwrap();
    let record = read(&packet(LinkId(1), &swapped, raw, at(0)), None, quirk, Some(Feature(0)));
    assert_eq!(record.unwrap().judged.unwrap().flags, [Flag::IrregularPulse]);
}
