use std::sync::Arc;

use carepost_domain::care::rule_set::RuleSet;
use carepost_domain::reading::{BloodPressure, Measurement};
use carepost_domain::units::{Pressure, PressureUnit};
use chrono::DateTime;
use proptest::prelude::*;

use super::*;
use crate::sitting::{ReadingState, ShownReading};

const T0: Duration = Duration::from_secs(1_000);

fn flow() -> Flow {
    Flow::new(KioskTimings::default(), Judge::new(Arc::new(RuleSet::cn_2024())))
}

fn found(granted: bool) -> Found {
    Found {
        code: Phi::new("CP-1024".parse().unwrap()),
        masked_name: Phi::new("王**".to_owned()),
        granted,
    }
}

fn seen(number: u32, systolic: i32, diastolic: i32, kept: Kept) -> Seen {
    let measurement = Measurement::BloodPressure(BloodPressure {
        unit: PressureUnit::MmHg,
        systolic: Pressure::from_mmhg(systolic),
        diastolic: Pressure::from_mmhg(diastolic),
        mean_arterial: None,
        pulse: None,
        user_slot: None,
    });
    let shown = ShownReading {
        number,
        // A reading every minute; after a severe one the rest is kept.
        measured_at: DateTime::from_timestamp(1_792_049_400 + i64::from(number) * 60, 0).unwrap(),
        measurement: Some(Phi::new(measurement)),
        flags: Vec::new(),
        slot: None,
        state: ReadingState::Saved,
    };
    Seen {
        number,
        taken: Taken::new(&shown),
        kept,
    }
}

fn failed(number: u32) -> Seen {
    Seen {
        number,
        taken: None,
        kept: Kept::Aside,
    }
}

/// Somebody who sits there and is ready.
fn measuring(anonymous: bool) -> Flow {
    let mut f = flow();
    if anonymous {
        assert_eq!(
            f.handle(T0, Event::ChooseAnonymous),
            Some(Effect::Begin(Person::Anonymous))
        );
    } else {
        f.handle(T0, Event::ChooseMember);
        f.handle(T0, Event::Code("cp-1024".to_owned()));
        f.handle(T0, Event::Looked(Some(found(true))));
        assert!(matches!(
            f.handle(T0, Event::Confirm),
            Some(Effect::Begin(Person::Member {
                keeping: Keeping::Granted,
                ..
            }))
        ));
    }
    f.handle(T0, Event::Began);
    assert_eq!(*f.screen(), Screen::Prepare);
    f.handle(T0, Event::Ready);
    assert_eq!(*f.screen(), Screen::Measure { failed: false });
    f
}

#[test]
fn journey_one_goes_from_code_to_wipe() {
    let mut f = flow();
    f.handle(T0, Event::ChooseMember);
    let code = "CP-1024".parse().unwrap();
    assert_eq!(
        f.handle(T0, Event::Code(" cp-1024 ".to_owned())),
        Some(Effect::LookUp(code))
    );
    f.handle(T0, Event::Looked(Some(found(true))));
    assert!(matches!(f.screen(), Screen::Greet(Found { granted: true, .. })));
    f.handle(T0, Event::Confirm);
    f.handle(T0, Event::Began);
    f.handle(T0, Event::Ready);
    f.handle(T0, Event::Seen(vec![seen(1, 128, 82, Kept::Saving)]));
    let Screen::Gap { until } = *f.screen() else {
        panic!("{:?}", f.screen())
    };
    assert_eq!(until, T0 + Duration::from_secs(60));
    assert_eq!(f.kept(), Some(Kept::Saving));
    f.handle(T0, Event::Seen(vec![seen(1, 128, 82, Kept::Saved)]));
    assert_eq!((f.kept(), f.deadline()), (Some(Kept::Saved), Some(until)));
    f.handle(until, Event::Tick);
    assert_eq!(*f.screen(), Screen::Measure { failed: false });
    f.handle(
        until,
        Event::Seen(vec![seen(1, 128, 82, Kept::Saved), seen(2, 132, 84, Kept::Saved)]),
    );
    let Screen::Result(Outcome(Some(shown))) = f.screen() else {
        panic!("{:?}", f.screen())
    };
    assert_eq!(
        (
            shown.expose().systolic_mmhg,
            shown.expose().diastolic_mmhg,
            shown.expose().count
        ),
        (130, 83, 2)
    );
    f.handle(
        until,
        Event::Seen(vec![seen(1, 128, 82, Kept::Sent), seen(2, 132, 84, Kept::Saved)]),
    );
    assert_eq!(f.kept(), Some(Kept::Saved), "as safe as the least safe");
    f.handle(
        until,
        Event::Seen(vec![seen(1, 128, 82, Kept::Sent), seen(2, 132, 84, Kept::Sent)]),
    );
    assert_eq!(f.kept(), Some(Kept::Sent));
    assert_eq!(f.handle(until, Event::End), Some(Effect::End));
    assert_eq!(*f.screen(), Screen::Start);
    assert_eq!((f.person(), f.readings().count(), f.deadline()), (None, 0, None));
}

#[test]
fn the_result_stays_ninety_seconds_then_warns_twenty_and_a_little_longer_works_ten_times() {
    let mut f = measuring(true);
    f.handle(
        T0,
        Event::Seen(vec![seen(1, 120, 78, Kept::Nowhere), seen(2, 122, 78, Kept::Nowhere)]),
    );
    let timings = KioskTimings::default();
    let mut now = T0 + timings.result();
    f.handle(now - Duration::from_millis(1), Event::Tick);
    assert_eq!(f.wipe_at(), None);
    for _ in 0..10 {
        f.handle(now, Event::Tick);
        assert_eq!(f.wipe_at(), Some(now + timings.warning()));
        assert!(f.may_stay());
        f.handle(now, Event::Longer);
        assert_eq!(f.wipe_at(), None);
        now += timings.longer();
    }
    f.handle(now, Event::Tick);
    assert!(!f.may_stay());
    assert_eq!(f.handle(now + timings.warning(), Event::Tick), Some(Effect::End));
    assert_eq!(*f.screen(), Screen::Start);
}

#[test]
fn longer_before_the_warning_changes_nothing() {
    let mut f = measuring(true);
    f.handle(
        T0,
        Event::Seen(vec![seen(1, 120, 78, Kept::Nowhere), seen(2, 122, 78, Kept::Nowhere)]),
    );
    let before = (f.deadline(), f.revision());
    f.handle(T0, Event::Longer);
    assert_eq!((f.deadline(), f.revision()), before);
}

#[test]
fn a_member_without_a_grant_chooses_between_nothing_and_sealed() {
    let greet = || {
        let mut f = flow();
        f.handle(T0, Event::ChooseMember);
        f.handle(T0, Event::Code("CP-1024".to_owned()));
        f.handle(T0, Event::Looked(Some(found(false))));
        f
    };
    assert_eq!(greet().handle(T0, Event::Confirm), None, "not offered");
    assert!(matches!(
        greet().handle(T0, Event::Seal),
        Some(Effect::Begin(Person::Member {
            keeping: Keeping::Sealed,
            ..
        }))
    ));
    assert_eq!(
        greet().handle(T0, Event::ChooseAnonymous),
        Some(Effect::Begin(Person::Anonymous))
    );
}

#[test]
fn an_unknown_code_offers_to_go_on_anonymously_and_a_malformed_one_says_so() {
    let mut f = flow();
    f.handle(T0, Event::ChooseMember);
    f.handle(T0, Event::Code("x".to_owned()));
    assert_eq!(*f.screen(), Screen::Code { malformed: true });
    f.handle(T0, Event::Code("CP-9999".to_owned()));
    f.handle(T0, Event::Looked(None));
    assert_eq!(*f.screen(), Screen::Unknown);
    assert_eq!(
        f.handle(T0, Event::ChooseAnonymous),
        Some(Effect::Begin(Person::Anonymous))
    );
}

#[test]
fn a_meter_of_the_sitting_before_makes_the_next_person_wait_calmly() {
    let mut f = flow();
    f.handle(T0, Event::ChooseAnonymous);
    f.handle(T0, Event::MeterStillConnected);
    assert_eq!(*f.screen(), Screen::Busy(Person::Anonymous));
    let revision = f.revision();
    let retry = f.deadline().unwrap();
    assert_eq!(f.handle(retry, Event::Tick), Some(Effect::Begin(Person::Anonymous)));
    f.handle(retry, Event::MeterStillConnected);
    assert_eq!(f.revision(), revision, "the screen does not flicker");
    assert_eq!(
        f.handle(retry, Event::MeterGone),
        Some(Effect::Begin(Person::Anonymous))
    );
    f.handle(retry, Event::Began);
    assert_eq!(*f.screen(), Screen::Prepare);
}

#[test]
fn a_severe_value_rests_five_minutes_before_a_new_pair() {
    let mut f = measuring(false);
    let first = seen(1, 192, 108, Kept::Saved);
    f.handle(T0, Event::Seen(vec![first.clone()]));
    let Screen::Severe { until } = *f.screen() else {
        panic!("{:?}", f.screen())
    };
    assert_eq!(until, T0 + Duration::from_secs(300));
    assert_eq!(f.handle(until, Event::Tick), None);
    assert_eq!(*f.screen(), Screen::Measure { failed: false });
    f.handle(until, Event::Seen(vec![first.clone(), seen(7, 158, 94, Kept::Saved)]));
    assert!(matches!(f.screen(), Screen::Gap { .. }));
    f.handle(
        until,
        Event::Seen(vec![
            first,
            seen(7, 158, 94, Kept::Saved),
            seen(8, 156, 92, Kept::Saved),
        ]),
    );
    let Screen::Result(Outcome(Some(shown))) = f.screen() else {
        panic!("{:?}", f.screen())
    };
    assert_eq!((shown.expose().systolic_mmhg, shown.expose().count), (157, 2));
}

#[test]
fn a_failed_measurement_asks_again_and_the_third_asks_for_help() {
    let mut f = measuring(true);
    for number in 1..=3 {
        assert!(!f.needs_help());
        f.handle(T0, Event::Seen((1..=number).map(failed).collect()));
        assert_eq!(*f.screen(), Screen::Measure { failed: true });
    }
    assert!(f.needs_help());
    f.handle(
        T0,
        Event::Seen((1..=3).map(failed).chain([seen(4, 120, 78, Kept::Nowhere)]).collect()),
    );
    assert!(!f.needs_help() && matches!(f.screen(), Screen::Gap { .. }));
}

#[test]
fn somebody_may_stop_after_one_reading_and_sees_that_it_is_one() {
    let mut f = measuring(true);
    f.handle(T0, Event::Finish);
    assert_eq!(
        *f.screen(),
        Screen::Measure { failed: false },
        "there is nothing to show yet"
    );
    f.handle(T0, Event::Seen(vec![seen(1, 145, 91, Kept::Nowhere)]));
    f.handle(T0, Event::Finish);
    let Screen::Result(Outcome(Some(shown))) = f.screen() else {
        panic!("{:?}", f.screen())
    };
    assert_eq!((shown.expose().systolic_mmhg, shown.expose().count), (145, 1));
}

#[test]
fn a_person_who_left_is_asked_and_then_wiped_wherever_they_were() {
    let mut code = flow();
    code.handle(T0, Event::ChooseMember);
    let mut busy = flow();
    busy.handle(T0, Event::ChooseAnonymous);
    busy.handle(T0, Event::MeterStillConnected);
    let mut gap = measuring(false);
    gap.handle(T0, Event::Seen(vec![seen(1, 128, 82, Kept::Saved)]));
    for mut f in [code, busy, gap, measuring(true)] {
        let mut now = T0;
        let mut ticks = 0;
        while *f.screen() != Screen::Start {
            now = f
                .deadline()
                .expect("a screen with somebody on it has a deadline")
                .max(now);
            if let Some(Effect::Begin(_)) = f.handle(now, Event::Tick) {
                f.handle(now, Event::MeterStillConnected);
            }
            ticks += 1;
            assert!(ticks < 10_000);
        }
        assert!(now - T0 <= Duration::from_secs(1_200), "{:?}", now - T0);
    }
}

#[test]
fn nothing_of_a_sitting_shows_in_debug_output() {
    let mut f = measuring(false);
    f.handle(
        T0,
        Event::Seen(vec![seen(1, 128, 82, Kept::Saved), seen(2, 132, 84, Kept::Saved)]),
    );
    let text = format!("{f:?}");
    for secret in ["王", "CP-1024", "128", "130"] {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
}

fn any_event() -> impl Strategy<Value = (u64, Event)> {
    let readings = prop::collection::vec(
        (
            40_i32..260,
            prop::sample::select(vec![Kept::Saving, Kept::Saved, Kept::Sent, Kept::Aside]),
        ),
        0..12,
    )
    .prop_map(|values| {
        let all = values.iter().enumerate().map(|(index, (systolic, kept))| {
            let number = u32::try_from(index).unwrap() + 1;
            if *kept == Kept::Aside {
                failed(number)
            } else {
                seen(number, *systolic, systolic / 2, *kept)
            }
        });
        Event::Seen(all.collect())
    });
    let event = prop_oneof![
        3 => Just(Event::Tick),
        1 => Just(Event::ChooseMember),
        2 => Just(Event::ChooseAnonymous),
        1 => Just(Event::Back),
        2 => "[a-z0-9-]{0,8}".prop_map(Event::Code),
        2 => any::<bool>().prop_map(|granted| Event::Looked(Some(found(granted)))),
        1 => Just(Event::Looked(None)),
        2 => Just(Event::Confirm),
        1 => Just(Event::Seal),
        3 => Just(Event::Ready),
        4 => readings,
        1 => Just(Event::MeterGone),
        1 => Just(Event::Finish),
        1 => Just(Event::Longer),
        1 => Just(Event::End),
        1 => Just(Event::Ended),
        1 => prop::sample::select(Language::ALL.to_vec()).prop_map(Event::Language),
    ];
    (0_u64..200_000, event)
}

proptest! {
    #[test]
    fn whatever_happens_sittings_begin_and_end_in_turn_and_the_start_knows_nobody(
        events in prop::collection::vec(any_event(), 0..80),
        answers in prop::collection::vec(0_u8..3, 80),
    ) {
        let mut f = flow();
        let mut now = T0;
        let mut sits = false;
        for ((ms, event), answer) in events.into_iter().zip(answers) {
            now += Duration::from_millis(ms);
            let ended_outside = event == Event::Ended;
            let revision = f.revision();
            let screen = f.screen().clone();
            let mut effect = f.handle(now, event);
            if ended_outside {
                sits = false;
            }
            prop_assert!(f.revision() != revision || *f.screen() == screen, "a change that no page hears of");
            while let Some(what) = effect.take() {
                match what {
                    Effect::LookUp(_) => {}
                    Effect::Begin(_) => {
                        prop_assert!(!sits, "a second person sits down");
                        effect = match answer {
                            0 => f.handle(now, Event::MeterStillConnected),
                            1 => f.handle(now, Event::BeginFailed),
                            _ => {
                                sits = true;
                                f.handle(now, Event::Began)
                            }
                        };
                    }
                    Effect::End => {
                        prop_assert!(sits, "nobody sat there");
                        sits = false;
                    }
                }
            }
            prop_assert!(f.screen().in_sitting() == sits);
            if *f.screen() == Screen::Start {
                prop_assert_eq!((f.person(), f.readings().count(), f.deadline()), (None, 0, None));
            } else {
                prop_assert!(f.deadline().is_some(), "a screen that nobody would ever wipe: {:?}", f.screen());
            }
        }
    }
}
