//! Every profile does at the meter what its summary says, and every bullet of page 3, section 2.8, has one.

#![expect(clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::collections::BTreeSet;
use std::time::Duration;

use carepost_gatt::blood_pressure::{Measurement, UserId};
use carepost_gatt::glucose::{self, Meal, TimeOffset};
use carepost_gatt::racp::{CountWidth, Response};
use carepost_gatt::{Calendar, DateTime, MedFloat, uuid16};
use carepost_sim::SimTime;
use carepost_sim::meters::faults::Damage;
use carepost_sim::meters::security::{Demand, KeyMissing, Level, PairingRefused};
use carepost_sim::meters::{AttError, Event, IoCapability, Loss, RecordId, Security, SecuritySettings};
use carepost_sim::profiles::{Addressing, Group, Selection, catalogue, find};

use super::profiles_bench::{Bench, Kind, Sent, ids, records};

const RACP: u16 = uuid16::RECORD_ACCESS_CONTROL_POINT;
const CONTEXT: u16 = uuid16::GLUCOSE_CONTEXT;
const REPORT_ALL: [u8; 2] = [1, 1];
const COUNT_ALL: [u8; 2] = [4, 1];
const ABORT: [u8; 2] = [3, 0];
const HERE: &str = "02:00:00:CA:5E:00";
const THERE: &str = "02:00:00:CA:5E:01";

/// A profile's name, and what looks whether it does what it says.
type Check = (&'static str, fn(&str));

/// The checks of all profiles of meters.
const CHECKS: &[Check] = &[
    // 1. Advertising.
    ("advert-window-1min", |name| window(name, 60)),
    ("advert-window-3min", |name| window(name, 180)),
    ("advert-on-key-only", |name| {
        let mut bench = Bench::new(Kind::Cuff, &[name]);
        bench.measure(1);
        assert!(!bench.is_advertising());
        bench.event(Event::PressTransfer);
        assert!(bench.is_advertising());
    }),
    ("advert-never", |name| {
        let mut bench = Bench::new(Kind::Cuff, &[name]);
        bench.measure(1);
        bench.event(Event::PressTransfer);
        assert!(!bench.is_advertising());
    }),
    ("advert-limited", |name| assert_eq!(flags(name), Some(5))),
    ("advert-not-discoverable", |name| assert_eq!(flags(name), Some(4))),
    ("advert-directed", |name| {
        let bench = Bench::new(Kind::Cuff, &[name]);
        let said = bench.meter.advertisement("Cuff");
        assert_eq!((said.flags, said.name, said.services), (None, None, Vec::new()));
        assert!(bench.meter.is_directed());
    }),
    ("advert-pairing-mode", |name| {
        let mut security = security(name);
        assert_eq!(security.settings().pairing_name, "Pairing");
        assert_eq!(pair(&mut security, HERE), Err(PairingRefused::NotInPairingMode));
        security.set_pairing_mode(SimTime::ZERO, true);
        assert!(pair(&mut security, HERE).is_ok());
    }),
    // 2. Hanging up.
    ("hangs-up-after-2s", |name| hangs_up_after(name, 2)),
    ("hangs-up-after-5s", |name| hangs_up_after(name, 5)),
    ("hangs-up-after-pairing", |name| {
        assert!(security(name).settings().disconnects_after_pairing);
        hangs_up_when_clock_set(name, uuid16::CURRENT_TIME, &[0xEA, 7, 3, 1, 8, 0, 0, 7, 0, 0]);
    }),
    ("hangs-up-unless-subscribed", |name| {
        let mut bench = Bench::new(Kind::Cuff, &[name]);
        bench.is_connected = true;
        bench.event(Event::Connected);
        bench.wait(Duration::from_millis(2_999));
        assert!(bench.is_connected);
        bench.wait(Duration::from_millis(1));
        assert!(!bench.is_connected);
        bench.connect();
        bench.wait(Duration::from_secs(60));
        assert!(bench.is_connected);
    }),
    ("link-loss-at-record-1", |name| link_loss(name, 1)),
    ("link-loss-at-record-20", |name| link_loss(name, 20)),
    // 3. Security.
    ("security-request-first", |name| {
        assert!(security(name).settings().security_request);
        refuses_strangers(name);
    }),
    ("cccd-needs-encryption", refuses_strangers),
    ("needs-authentication", |name| {
        let mut security = security(name);
        let asked = security.pairing_asked(SimTime::ZERO, HERE, IoCapability::NoInputNoOutput, 7);
        assert_eq!(asked, Err(PairingRefused::NotAuthenticated));
        security.paired(HERE, false);
        assert_eq!(security.allows(HERE), Err(AttError::InsufficientAuthentication));
    }),
    ("one-bond-only", |name| {
        let mut security = security(name);
        assert!(pair(&mut security, HERE).is_ok());
        security.paired(HERE, false);
        assert_eq!(pair(&mut security, THERE), Err(PairingRefused::HasAnotherBond));
        assert!(pair(&mut security, HERE).is_ok());
    }),
    ("bond-lost-by-meter", |name| {
        let mut security = security(name);
        security.paired(HERE, false);
        assert!(Selection::named(&[name]).unwrap().loses_bonds());
        security.wipe();
        security.link_changed();
        assert_eq!(security.encrypt(HERE), Err(KeyMissing));
        assert_eq!(security.allows(HERE), Err(AttError::InsufficientAuthentication));
    }),
    ("cccd-kept-per-bond", |name| {
        let mut security = security(name);
        security.paired(HERE, false);
        security.subscribed(HERE, Kind::Cuff.characteristic(), true);
        assert_eq!(security.remembered(HERE), [Kind::Cuff.characteristic()]);
        let mut bench = Bench::new(Kind::Cuff, &[name]);
        bench.fetch();
        bench.disconnect();
        bench.measure(1);
        // Nobody subscribes on this link, and it is sent and confirmed.
        bench.event(Event::Connected);
        assert_eq!(ids(&bench.sent, Kind::Cuff), [1]);
    }),
    ("cccd-forgotten", |name| {
        let mut bench = Bench::new(Kind::Cuff, &["cccd-kept-per-bond", name]);
        bench.fetch();
        bench.disconnect();
        bench.measure(1);
        bench.event(Event::Connected);
        bench.wait(Duration::from_secs(1));
        assert_eq!(ids(&bench.sent, Kind::Cuff).len(), 0);
        assert!(!security(name).settings().keeps_subscriptions_per_bond);
    }),
    ("cccd-off-forgets-bond", |name| {
        let mut security = security(name);
        security.paired(HERE, false);
        assert!(security.subscribed(HERE, Kind::Cuff.characteristic(), false));
        assert!(!security.knows(HERE));
    }),
    // 4. Backlog.
    ("backlog-0", |name| {
        let mut bench = Bench::new(Kind::Glucose, &[]);
        bench.measure(3);
        bench.event(Event::Switch(Selection::named(&[name]).unwrap().faults()));
        assert_eq!(bench.lost.len(), 3);
        assert!(bench.lost.iter().all(|(_, loss)| *loss == Loss::Forgotten));
        bench.connect();
        assert_eq!(values(&bench.request(&REPORT_ALL)), [vec![6, 0, 1, 6]]);
    }),
    ("backlog-1", |name| backlog(name, 1)),
    ("backlog-60", |name| backlog(name, 60)),
    ("backlog-450", |name| backlog(name, 450)),
    ("records-fast", |name| pace(name, Duration::ZERO)),
    ("records-slow", |name| pace(name, Duration::from_millis(300))),
    ("records-twice", |name| {
        for kind in Kind::ALL {
            let mut bench = Bench::new(kind, &[name]);
            bench.measure(2);
            let sent = bench.fetch();
            assert_eq!(ids(&sent, kind), [1, 1, 2, 2], "{kind:?}");
            assert_eq!(bench.made.len(), 2);
        }
    }),
    ("records-identical", |name| {
        for kind in Kind::ALL {
            let mut bench = Bench::new(kind, &[name]);
            bench.measure(1);
            let sent = bench.fetch();
            assert_eq!(ids(&sent, kind), [1, 2], "{kind:?}");
            let [first, second] = records(&sent, kind)[..] else {
                panic!()
            };
            // Glucose differs in its number only.
            let skip = if kind == Kind::Glucose { 3 } else { 0 };
            assert_eq!(first.value[skip..], second.value[skip..]);
        }
    }),
    ("delete-after-transfer", |name| {
        for kind in Kind::ALL {
            let mut bench = Bench::new(kind, &[name]);
            bench.measure(3);
            bench.fetch();
            assert_eq!(bench.deleted, [1, 2, 3].map(RecordId), "{kind:?}");
            assert_eq!(bench.meter.memory(), (0, 0));
        }
    }),
    ("sends-all-again", |name| {
        let mut bench = Bench::new(Kind::Cuff, &[name]);
        bench.measure(2);
        assert_eq!(ids(&bench.fetch(), Kind::Cuff), [1, 2]);
        bench.disconnect();
        bench.measure(1);
        assert_eq!(ids(&bench.fetch(), Kind::Cuff), [1, 2, 3]);
    }),
    ("all-users", |name| assert_eq!(of_two_slots(name), [1, 2, 3, 4])),
    ("current-user-only", |name| assert_eq!(of_two_slots(name), [2, 4])),
    // 5. Clocks.
    ("clock-unset", |name| {
        for kind in Kind::ALL {
            let time = first_time(kind, name);
            assert_eq!((time.year, time.month, time.day), (None, None, None), "{kind:?}");
        }
        assert_eq!(
            Bench::new(Kind::Cuff, &[name]).read(uuid16::CURRENT_TIME).unwrap()[..4],
            [0; 4]
        );
    }),
    ("clock-2000", |name| factory(name, 2000)),
    ("clock-2017", |name| factory(name, 2017)),
    ("clock-2019", |name| factory(name, 2019)),
    ("clock-phantom-2037", |name| {
        let mut bench = Bench::new(Kind::Glucose, &[name]);
        assert_eq!(bench.made.len(), 450);
        let sent = bench.fetch();
        let all = records(&sent, Kind::Glucose);
        assert_eq!(all.len(), 451);
        let phantom = all.last().unwrap();
        assert_eq!(phantom.record, Some(RecordId::NONE));
        let decoded = glucose::Measurement::decode(&phantom.value).unwrap().value;
        assert_eq!(decoded.base_time.year, Some(2037));
        assert!(decoded.status.unwrap().result_too_high());
    }),
    ("clock-month-13", |name| impossible(name, |time| time.month == Some(13))),
    ("clock-january-13", |name| {
        // The bench is in January.
        impossible(name, |time| time.month == Some(13));
        let mut bench = Bench::new(Kind::Cuff, &[name]);
        bench.event(Event::SetClock(Some("2026-03-01T08:00:00".parse().unwrap())));
        bench.measure(1);
        let sent = bench.fetch();
        assert_eq!(time_of(Kind::Cuff, &sent[0].value).month, Some(3));
    }),
    ("clock-31-february", |name| {
        impossible(name, |time| (time.month, time.day) == (Some(2), Some(31)))
    }),
    ("clock-month-0", |name| {
        unknown(name, |time| time.month.is_none() && time.day.is_some())
    }),
    ("clock-day-0", |name| {
        unknown(name, |time| time.day.is_none() && time.month.is_some())
    }),
    ("clock-drifts", |name| {
        let mut bench = Bench::new(Kind::Cuff, &[name]);
        let honest = Bench::new(Kind::Cuff, &[]);
        let day = Duration::from_secs(86_400);
        let gained = bench.meter.clock().read(day).unwrap() - honest.meter.clock().read(day).unwrap();
        assert_eq!(gained.num_seconds(), 20);
        // Without the profile it stops drifting and keeps what it gained.
        bench.now = day;
        bench.event(Event::Switch(Selection::default().faults()));
        let gained = bench.meter.clock().read(2 * day).unwrap() - honest.meter.clock().read(2 * day).unwrap();
        assert_eq!(gained.num_seconds(), 20);
    }),
    ("clock-jumps", |name| {
        let mut bench = Bench::new(Kind::Cuff, &[name]);
        let before = bench.meter.clock().read(bench.now).unwrap();
        bench.connect();
        bench.disconnect();
        let after = bench.meter.clock().read(bench.now).unwrap();
        assert_eq!((after - before).num_hours(), -2);
    }),
    ("offset-overrun", |name| {
        assert_eq!(offset(name), Some(TimeOffset::Overrun))
    }),
    ("offset-underrun", |name| {
        assert_eq!(offset(name), Some(TimeOffset::Underrun))
    }),
    ("clock-dst", |name| {
        let minutes = gaps_in_minutes(name);
        // A minute apart, and an hour is missing after the second.
        assert_eq!(minutes, [1, 61, 1, 1]);
    }),
    ("clock-set-mid-history", |name| {
        assert_eq!(gaps_in_minutes(name), [1, 1, 1 - 5 * 24 * 60, 1]);
    }),
    // 6. Slots. The housing has the slots 5 and 6.
    ("slots-0-1", |name| {
        assert_eq!(users(name), [Some(UserId::Known(0)), Some(UserId::Known(1))])
    }),
    ("slots-1-2", |name| {
        assert_eq!(users(name), [Some(UserId::Known(1)), Some(UserId::Known(2))])
    }),
    ("slot-unknown", |name| {
        assert_eq!(users(name), [Some(UserId::Unknown); 2])
    }),
    ("slot-missing", |name| assert_eq!(users(name), [None; 2])),
    ("slot-guest", |name| {
        assert_eq!(users(name), [Some(UserId::Known(7)); 2])
    }),
    // 7. Sequence numbers.
    ("sequence-from-0", |name| assert_eq!(sequences(name, 3), [0, 1, 2])),
    ("sequence-wraps", |name| {
        assert_eq!(sequences(name, 5), [65_533, 65_534, 65_535, 0, 1]);
    }),
    ("sequence-gaps", |name| assert_eq!(sequences(name, 3), [1, 8, 15])),
    ("sequence-restarts", |name| {
        let mut bench = Bench::new(Kind::Glucose, &[name]);
        bench.measure(5);
        let made: Vec<Option<u16>> = bench.made.iter().map(|made| made.sequence).collect();
        assert_eq!(made, [Some(1), Some(2), Some(3), Some(1), Some(2)]);
        assert_eq!(bench.lost, [1, 2, 3].map(|id| (RecordId(id), Loss::Forgotten)));
        assert_eq!(ids(&bench.fetch(), Kind::Glucose), [4, 5]);
    }),
    ("newest-first", |name| {
        for kind in Kind::ALL {
            let mut bench = Bench::new(kind, &[name]);
            bench.measure(3);
            assert_eq!(ids(&bench.fetch(), kind), [3, 2, 1], "{kind:?}");
        }
    }),
    ("newer-number-older-time", |name| {
        let mut bench = Bench::new(Kind::Glucose, &[name]);
        bench.measure(4);
        let sent = bench.fetch();
        let decoded: Vec<_> = records(&sent, Kind::Glucose)
            .iter()
            .map(|sent| glucose::Measurement::decode(&sent.value).unwrap().value)
            .collect();
        for pair in decoded.windows(2) {
            assert!(pair[0].sequence < pair[1].sequence);
            assert!(pair[0].base_time.as_if_utc_ms() > pair[1].base_time.as_if_utc_ms());
        }
    }),
    // 8. Payload.
    ("payload-empty", |name| {
        damaged(name, |_, sent| assert!(sent.is_empty()))
    }),
    ("payload-one-byte", |name| {
        damaged(name, |made, sent| assert_eq!(sent, &made[..1]))
    }),
    ("payload-truncated", |name| {
        let mut bench = Bench::new(Kind::Cuff, &[name]);
        bench.measure(30);
        let sent = bench.fetch();
        let length = bench.made[0].value.len();
        let lengths: BTreeSet<usize> = records(&sent, Kind::Cuff).iter().map(|sent| sent.value.len()).collect();
        assert_eq!(lengths, (0..length).collect());
        for (sent, made) in records(&sent, Kind::Cuff).iter().zip(&bench.made) {
            assert!(made.value.starts_with(&sent.value));
            assert!(Measurement::decode(&sent.value).is_err());
        }
    }),
    ("payload-trailing", |name| {
        damaged(name, |made, sent| {
            assert_eq!(&sent[..made.len()], made);
            assert_eq!(sent.len(), made.len() + 2);
        });
    }),
    ("payload-reserved-flags", |name| {
        damaged(name, |made, sent| {
            assert!(sent[0] & 0xE0 == 0xE0 && sent[0] & 7 == made[0] & 7);
            assert_eq!(sent[1..], made[1..]);
        });
    }),
    ("payload-unknown-codes", |name| {
        let mut bench = Bench::new(Kind::Glucose, &[name]);
        bench.measure(1);
        let sent = bench.fetch();
        let decoded = glucose::Measurement::decode(&sent[0].value).unwrap().value;
        let concentration = decoded.concentration.unwrap();
        assert_eq!(
            (concentration.sample_type.code(), concentration.sample_location.code()),
            (15, 5)
        );
        let context = glucose::Context::decode(&sent[1].value).unwrap().value;
        assert_eq!(context.meal, Some(Meal::from_code(9)));
        let mut bench = Bench::new(Kind::Thermometer, &[name]);
        bench.measure(1);
        assert_eq!(bench.fetch()[0].value.last(), Some(&200));
    }),
    ("payload-nan", |name| special(name, MedFloat::NaN)),
    ("payload-inf", |name| special(name, MedFloat::PosInf)),
    ("payload-negative-inf", |name| special(name, MedFloat::NegInf)),
    ("payload-nres", |name| special(name, MedFloat::NRes)),
    ("payload-reserved", |name| special(name, MedFloat::Reserved)),
    ("payload-filler", |name| {
        let decoded = cuff_record(name);
        let filler = MedFloat::from_sfloat(0xFFFF);
        assert_eq!((decoded.systolic, decoded.map), (filler, filler));
        assert_eq!(decoded.pulse, Some(filler));
    }),
    ("payload-vendor-prefix", |name| {
        let mut bench = Bench::new(Kind::Cuff, &[name]);
        bench.measure(1);
        let sent = bench.fetch();
        assert_eq!(sent[0].value[..4], [0xFE, 0x20, 0x27, 0x00]);
        assert_eq!(sent[0].value[4..], bench.made[0].value[1..]);
    }),
    ("payload-big-endian-tail", big_endian),
    ("payload-wrong-unit", |name| {
        let decoded = cuff_record(name);
        assert_eq!(decoded.unit.name(), "kPa");
        assert_eq!(decoded.systolic.number().and_then(|n| n.rescaled(0)), Some(121));
        let mut bench = Bench::new(Kind::Glucose, &[name]);
        bench.measure(1);
        let sent = bench.fetch();
        let decoded = glucose::Measurement::decode(&sent[0].value).unwrap().value;
        assert_eq!(decoded.concentration.unwrap().unit.name(), "mol/L");
    }),
    ("payload-pressures-swapped", |name| {
        let decoded = cuff_record(name);
        let whole = |value: MedFloat| value.number().and_then(|n| n.rescaled(0));
        assert_eq!(
            (whole(decoded.systolic), whole(decoded.diastolic)),
            (Some(80), Some(121))
        );
    }),
    ("payload-zero-pulse", |name| {
        let pulse = cuff_record(name).pulse.unwrap();
        assert_eq!(pulse.number().and_then(|n| n.rescaled(0)), Some(0));
    }),
    // 9. The control point and contexts.
    ("racp-op-not-supported", |name| {
        let mut bench = stocked(name);
        assert_eq!(values(&bench.request(&COUNT_ALL)), [vec![6, 0, 4, 2]]);
        assert_eq!(ids(&bench.request(&REPORT_ALL), Kind::Glucose).len(), 6);
    }),
    ("racp-invalid-operator", |name| refuses_report(name, 3)),
    ("racp-operator-not-supported", |name| refuses_report(name, 4)),
    ("racp-invalid-operand", |name| refuses_report(name, 5)),
    ("racp-no-records", |name| refuses_report(name, 6)),
    ("racp-abort-unsuccessful", |name| {
        let mut bench = stocked(name);
        bench.write(RACP, &REPORT_ALL);
        assert_eq!(values(&bench.request(&ABORT)).first(), Some(&vec![6, 0, 3, 7]));
    }),
    ("racp-not-completed", |name| {
        let mut bench = stocked(name);
        let sent = bench.request(&REPORT_ALL);
        assert_eq!(ids(&sent, Kind::Glucose), [1, 2, 3]);
        assert_eq!(sent.last().unwrap().value, [6, 0, 1, 8]);
    }),
    ("racp-operand-not-supported", |name| refuses_report(name, 9)),
    ("racp-unknown-code", |name| {
        refuses_report(name, 10);
        assert_eq!(values(&stocked(name).request(&COUNT_ALL)), [vec![6, 0, 4, 10]]);
    }),
    ("racp-no-answer", |name| {
        let mut bench = stocked(name);
        let sent = bench.request(&REPORT_ALL);
        assert_eq!(ids(&sent, Kind::Glucose).len(), 6);
        assert!(sent.iter().all(|sent| sent.characteristic != RACP));
        // The control point is free for another attempt.
        assert_eq!(values(&bench.request(&COUNT_ALL)), [vec![5, 0, 6, 0]]);
    }),
    ("racp-silent", |name| {
        let mut bench = stocked(name);
        assert_eq!(bench.request(&COUNT_ALL), []);
        let sent = bench.request(&REPORT_ALL);
        assert_eq!(ids(&sent, Kind::Glucose).len(), 6);
        assert!(sent.iter().all(|sent| sent.characteristic != RACP));
        assert_eq!(bench.refused, []);
    }),
    ("racp-answer-early", |name| {
        let mut bench = stocked(name);
        let sent = bench.request(&REPORT_ALL);
        let answers: Vec<usize> = (0..sent.len()).filter(|at| sent[*at].characteristic == RACP).collect();
        let last = sent.iter().rposition(|sent| sent.record == Some(RecordId(6))).unwrap();
        assert_eq!((answers.len(), ids(&sent, Kind::Glucose).len()), (1, 6));
        assert!(answers[0] < last);
    }),
    ("racp-extra-records", |name| {
        let mut bench = stocked(name);
        let sent = bench.request(&REPORT_ALL);
        let answer = sent.iter().position(|sent| sent.characteristic == RACP).unwrap();
        assert_eq!(ids(&sent[answer..], Kind::Glucose), [5, 6]);
    }),
    ("racp-abort-race", |name| {
        let mut bench = stocked(name);
        bench.write(RACP, &REPORT_ALL);
        let sent = bench.request(&ABORT);
        assert_eq!(ids(&sent, Kind::Glucose), [2, 3]);
        assert_eq!(sent.last().unwrap().value, [6, 0, 3, 1]);
    }),
    ("racp-busy", |name| {
        refused_at_first(name, AttError::ProcedureInProgress)
    }),
    ("racp-improper", |name| {
        refused_at_first(name, AttError::ConfigurationImproper)
    }),
    ("racp-count-1-byte", |name| count_width(name, CountWidth::One)),
    ("racp-count-2-bytes", |name| count_width(name, CountWidth::Two)),
    ("racp-count-4-bytes", |name| count_width(name, CountWidth::Four)),
    ("racp-count-too-high", |name| counts(name, 9)),
    ("racp-count-too-low", |name| counts(name, 3)),
    ("context-missing", |name| {
        let sent = stocked(name).request(&REPORT_ALL);
        assert!(sent.iter().all(|sent| sent.characteristic != CONTEXT));
        let first = glucose::Measurement::decode(&sent[0].value).unwrap().value;
        assert!(first.context_follows);
    }),
    ("context-late", |name| {
        assert_eq!(
            order(name)[..6],
            [(1, 'm'), (2, 'm'), (1, 'c'), (3, 'm'), (2, 'c'), (4, 'm')]
        )
    }),
    ("context-early", |name| {
        assert_eq!(order(name)[..4], [(1, 'c'), (1, 'm'), (2, 'c'), (2, 'm')])
    }),
    ("context-foreign", |name| {
        let sent = stocked(name).request(&REPORT_ALL);
        let sequence = |value: &[u8]| u16::from_le_bytes([value[1], value[2]]);
        let of = |uuid| -> BTreeSet<u16> {
            let sent = sent.iter().filter(|sent| sent.characteristic == uuid);
            sent.map(|sent| sequence(&sent.value)).collect()
        };
        assert_eq!(of(CONTEXT).len(), 6);
        assert!(of(CONTEXT).is_disjoint(&of(uuid16::GLUCOSE_MEASUREMENT)));
    }),
    // 10. Privacy.
    ("address-public", |name| {
        assert_eq!(addressing(name), Some(Addressing::Public))
    }),
    ("address-static-random", |name| {
        assert_eq!(addressing(name), Some(Addressing::StaticRandom))
    }),
    ("address-rotates", |name| {
        let quarter = Duration::from_secs(900);
        assert_eq!(addressing(name), Some(Addressing::Rotating(quarter)));
    }),
    ("identity-after-bonding", |name| {
        assert!(matches!(addressing(name), Some(Addressing::Rotating(_))));
        assert_eq!(security(name).settings().demands, Demand::Encryption);
    }),
    ("looks-like-others", |name| {
        let bench = Bench::new(Kind::Cuff, &[name]);
        let identity = bench.meter.identity();
        assert_eq!(
            (identity.local_name.as_str(), identity.serial.as_str()),
            ("BP", "000000")
        );
    }),
    ("second-gateway", |name| {
        let mut bench = Bench::new(Kind::Cuff, &[name]);
        late_by_five_seconds(&mut bench);
        assert_eq!(bench.lost, []);
        assert_eq!(ids(&bench.fetch(), Kind::Cuff), [1]);
    }),
    ("link-stolen", |name| {
        let mut bench = Bench::new(Kind::Cuff, &[name]);
        late_by_five_seconds(&mut bench);
        assert_eq!(bench.lost, [(RecordId(1), Loss::Elsewhere)]);
        assert_eq!(ids(&bench.fetch(), Kind::Cuff).len(), 0);
        // What can be asked for again is not lost.
        let mut bench = Bench::new(Kind::Glucose, &[name]);
        late_by_five_seconds(&mut bench);
        assert_eq!((bench.lost.len(), ids(&bench.fetch(), Kind::Glucose)), (0, vec![1]));
    }),
    // 11. Names and what is missing.
    ("name-truncated", |name| {
        let said = Bench::new(Kind::Cuff, &[name]).meter.advertisement("Honest meter");
        assert_eq!(said.name.as_deref(), Some("Hone"));
    }),
    ("name-absent", |name| {
        let said = Bench::new(Kind::Cuff, &[name]).meter.advertisement("Honest meter");
        assert_eq!((said.name, said.services), (None, vec![uuid16::BLOOD_PRESSURE_SERVICE]));
    }),
    ("texts-padded", |name| {
        let maker = Bench::new(Kind::Cuff, &[name]).read(uuid16::MANUFACTURER_NAME);
        assert_eq!(maker.as_deref(), Some(&b"Maker\0\0"[..]));
    }),
    ("information-absent", |name| {
        let mut bench = Bench::new(Kind::Cuff, &[name]);
        assert_eq!(bench.read(uuid16::MANUFACTURER_NAME), None);
        assert_eq!(bench.refused, [AttError::ReadNotPermitted]);
        let services = bench.meter.profile().services();
        assert!(
            services
                .iter()
                .all(|service| service.uuid != uuid16::DEVICE_INFORMATION_SERVICE)
        );
    }),
    ("feature-absent", |name| {
        for (kind, feature) in [
            (Kind::Cuff, uuid16::BLOOD_PRESSURE_FEATURE),
            (Kind::Glucose, uuid16::GLUCOSE_FEATURE),
        ] {
            assert!(kind.meter().profile().characteristic(feature).is_some());
            let mut bench = Bench::new(kind, &[name]);
            assert!(bench.meter.profile().characteristic(feature).is_none());
            assert_eq!(bench.read(feature), None);
        }
    }),
    ("characteristics-doubled", |name| {
        let mut bench = Bench::new(Kind::Cuff, &[name]);
        let main = &bench.meter.profile().services()[0];
        let twice = main
            .characteristics
            .iter()
            .filter(|found| found.uuid == Kind::Cuff.characteristic())
            .count();
        assert_eq!(twice, 2);
        bench.measure(2);
        assert_eq!(ids(&bench.fetch(), Kind::Cuff), [1, 2]);
    }),
    ("battery-claimed", |name| {
        let mut bench = Bench::new(Kind::Cuff, &[name]);
        assert_eq!(bench.meter.battery(), Some(77));
        assert_eq!(bench.read(uuid16::BATTERY_LEVEL), Some(vec![77]));
    }),
    // Families.
    ("beurer-be", |name| {
        big_endian(name);
        assert_eq!(security(name).settings().demands, Demand::Authentication);
    }),
    ("boso-nan", |name| {
        let decoded = cuff_record(name);
        assert_eq!([decoded.systolic, decoded.diastolic, decoded.map], [MedFloat::NaN; 3]);
        assert_eq!(decoded.pulse, Some(MedFloat::NaN));
    }),
    ("isens", |name| {
        impossible_on(Kind::Glucose, name, |time| time.month == Some(13));
        let mut bench = Bench::new(Kind::Glucose, &[name]);
        bench.write(0xFFF1, &[0xC0, 3, 1, 0, 0xEA, 7, 11, 22, 9, 30, 0]);
        let shown = bench.meter.clock().read(bench.now).unwrap();
        assert_eq!(shown, "2026-11-22T09:30:00".parse().unwrap());
        bench.write(0xFFF1, &[0xC0, 3, 1, 1, 0xEA, 7, 11, 22, 9, 30, 0]);
        assert_eq!(bench.refused, [AttError::OutOfRange]);
        assert_eq!(bench.read(0xFFF1), None);
    }),
    ("isens-ketone", |name| {
        let mut bench = Bench::new(Kind::Glucose, &[name]);
        bench.measure(1);
        let sent = bench.fetch();
        let context = glucose::Context::decode(&sent[1].value).unwrap().value;
        assert_eq!(context.meal, Some(Meal::from_code(6)));
    }),
    ("taidoc", |name| {
        let mut bench = Bench::new(Kind::Glucose, &[name]);
        bench.measure(3);
        let sent = bench.fetch();
        assert_eq!(ids(&sent, Kind::Glucose), [3, 2, 1]);
        assert!(bench.meter.profile().characteristic(CONTEXT).is_none());
        assert!(bench.meter.profile().characteristic(uuid16::CURRENT_TIME).is_none());
        let mut full = Bench::new(Kind::Glucose, &[name, "backlog-450"]);
        assert_eq!(records(&full.fetch(), Kind::Glucose).len(), 451);
    }),
    ("and-ua651", |name| {
        hangs_up_when_clock_set(name, uuid16::DATE_TIME, &[0xEA, 7, 3, 1, 8, 0, 0]);
        hangs_up_after(name, 2);
        let mut bench = Bench::new(Kind::Cuff, &[name]);
        bench.measure(2);
        bench.fetch();
        assert_eq!(bench.deleted.len(), 2);
    }),
    ("omron-keep-session", |name| {
        let mut security = security(name);
        security.paired(HERE, false);
        assert!(security.subscribed(HERE, Kind::Cuff.characteristic(), false));
        assert!(!security.knows(HERE));
        let mut bench = Bench::new(Kind::Cuff, &[name]);
        bench.fetch();
        bench.disconnect();
        bench.measure(1);
        bench.event(Event::Connected);
        assert_eq!(bench.deleted, [RecordId(1)]);
    }),
    ("accu-chek", |name| {
        let mut bench = Bench::new(Kind::Glucose, &[name]);
        bench.measure(1);
        let sent = bench.fetch();
        let decoded = glucose::Measurement::decode(&sent[0].value).unwrap().value;
        assert_eq!(decoded.time_offset, Some(TimeOffset::Minutes(334)));
        let shown = DateTime::decode(&bench.read(uuid16::DATE_TIME).unwrap()).unwrap().value;
        let users = decoded.base_time.plus_minutes(334).unwrap().as_if_utc_ms().unwrap();
        // Minutes pass until it is fetched, not the hours between the two clocks.
        let since = shown.as_if_utc_ms().unwrap() - users;
        assert!(
            (0..600_000).contains(&since),
            "2A08 is {since} ms after the user's time of the record"
        );
        bench.write(uuid16::DATE_TIME, &[0xEA, 7, 3, 1, 8, 0, 0]);
        assert_eq!(bench.refused, [AttError::WriteNotPermitted]);
    }),
    ("contour", |name| {
        assert_eq!(
            Bench::new(Kind::Glucose, &[name]).meter.identity().model,
            "Contour Next One"
        );
        assert_eq!(sequences(name, 3), [1, 2, 3]);
        assert_eq!(Bench::new(Kind::Glucose, &[name]).read(uuid16::CURRENT_TIME), None);
    }),
];

#[test]
fn every_profile_does_what_its_summary_says() {
    let failed: Vec<&str> = CHECKS
        .iter()
        .filter(|(name, check)| {
            println!("{name}");
            std::panic::catch_unwind(|| check(name)).is_err()
        })
        .map(|(name, _)| *name)
        .collect();
    assert_eq!(failed, Vec::<&str>::new());
}

#[test]
fn every_profile_of_a_meter_has_its_check_and_every_check_its_profile() {
    let checked: BTreeSet<&str> = CHECKS.iter().map(|(name, _)| *name).collect();
    assert_eq!(checked.len(), CHECKS.len(), "a check is there twice");
    let listed: BTreeSet<&str> = catalogue()
        .filter(|profile| profile.group != Group::Host)
        .map(|profile| profile.name)
        .collect();
    assert_eq!(checked, listed);
}

/// The bullets of page 3, section 2.8, with the profiles that are they. Group 12 is the host's.
const BULLETS: &[(u8, &str, &[&str])] = &[
    (1, "window of 1-3 min", &["advert-window-1min", "advert-window-3min"]),
    (1, "on transfer key", &["advert-on-key-only"]),
    (1, "pairing mode distinct", &["advert-pairing-mode"]),
    (
        1,
        "directed or limited-discoverable",
        &["advert-directed", "advert-limited"],
    ),
    (1, "no advert otherwise", &["advert-never", "advert-not-discoverable"]),
    (
        2,
        "2-5 s after last confirmation",
        &["hangs-up-after-2s", "hangs-up-after-5s"],
    ),
    (2, "immediately after pairing", &["hangs-up-after-pairing"]),
    (2, "CCCD not written in time", &["hangs-up-unless-subscribed"]),
    (3, "security request first", &["security-request-first"]),
    (
        3,
        "encryption error on first CCCD write",
        &["cccd-needs-encryption", "needs-authentication"],
    ),
    (3, "refuse second bond", &["one-bond-only"]),
    (3, "bond lost by meter", &["bond-lost-by-meter"]),
    (3, "CCCD persisted or not", &["cccd-kept-per-bond", "cccd-forgotten"]),
    (3, "CCCD 0 forgets bond", &["cccd-off-forgets-bond"]),
    (
        4,
        "0, 1, 60, 450",
        &["backlog-0", "backlog-1", "backlog-60", "backlog-450"],
    ),
    (4, "as fast as confirmed", &["records-fast"]),
    (4, "slow 300 ms", &["records-slow"]),
    (4, "duplicates", &["records-twice"]),
    (4, "consecutive identical", &["records-identical"]),
    (
        4,
        "delete-after-transfer",
        &["delete-after-transfer", "sends-all-again"],
    ),
    (4, "all-users or current user", &["all-users", "current-user-only"]),
    (5, "unset", &["clock-unset"]),
    (5, "factory", &["clock-2000", "clock-2017", "clock-2019"]),
    (5, "2037 phantom", &["clock-phantom-2037"]),
    (5, "month 13", &["clock-month-13", "clock-january-13"]),
    (5, "31 Feb", &["clock-31-february"]),
    (5, "drift", &["clock-drifts"]),
    (5, "jump between syncs", &["clock-jumps"]),
    (5, "offset sentinel", &["offset-overrun", "offset-underrun"]),
    (5, "day/month 0", &["clock-day-0", "clock-month-0"]),
    (5, "DST jump", &["clock-dst"]),
    (5, "set mid-history", &["clock-set-mid-history"]),
    (6, "A/B", &["slots-0-1", "slots-1-2"]),
    (6, "255", &["slot-unknown"]),
    (6, "missing", &["slot-missing"]),
    (6, "guest", &["slot-guest"]),
    (7, "0-based", &["sequence-from-0"]),
    (7, "wrap", &["sequence-wraps"]),
    (7, "gaps", &["sequence-gaps"]),
    (7, "restarted", &["sequence-restarts"]),
    (7, "newest-first", &["newest-first"]),
    (7, "newer with older time", &["newer-number-older-time"]),
    (8, "empty", &["payload-empty"]),
    (8, "one byte", &["payload-one-byte"]),
    (8, "every truncation", &["payload-truncated"]),
    (8, "trailing", &["payload-trailing"]),
    (8, "RFU bits", &["payload-reserved-flags"]),
    (8, "unknown enums", &["payload-unknown-codes"]),
    (
        8,
        "specials in any field",
        &[
            "payload-nan",
            "payload-inf",
            "payload-negative-inf",
            "payload-nres",
            "payload-reserved",
        ],
    ),
    (8, "filler", &["payload-filler"]),
    (8, "vendor prefix", &["payload-vendor-prefix"]),
    (8, "BE tail", &["payload-big-endian-tail"]),
    (8, "wrong unit flag", &["payload-wrong-unit"]),
    (8, "SYS < DIA", &["payload-pressures-swapped"]),
    (8, "0 pulse", &["payload-zero-pulse"]),
    (
        9,
        "each error code",
        &[
            "racp-op-not-supported",
            "racp-invalid-operator",
            "racp-operator-not-supported",
            "racp-invalid-operand",
            "racp-no-records",
            "racp-abort-unsuccessful",
            "racp-not-completed",
            "racp-operand-not-supported",
            "racp-unknown-code",
        ],
    ),
    (9, "response never comes", &["racp-no-answer", "racp-silent"]),
    (9, "response before last record", &["racp-answer-early"]),
    (9, "extra notifications", &["racp-extra-records"]),
    (9, "abort race", &["racp-abort-race"]),
    (9, "write rejected", &["racp-busy", "racp-improper"]),
    (
        9,
        "count width",
        &["racp-count-1-byte", "racp-count-2-bytes", "racp-count-4-bytes"],
    ),
    (9, "count differing", &["racp-count-too-high", "racp-count-too-low"]),
    (
        9,
        "contexts",
        &["context-missing", "context-late", "context-early", "context-foreign"],
    ),
    (
        10,
        "kinds of address",
        &["address-public", "address-static-random", "address-rotates"],
    ),
    (10, "identity change", &["identity-after-bonding"]),
    (10, "identical names", &["looks-like-others"]),
    (10, "two gateways", &["second-gateway", "link-stolen"]),
    (11, "local name", &["name-truncated", "name-absent"]),
    (11, "NUL-padded", &["texts-padded"]),
    (11, "DIS absent", &["information-absent"]),
    (11, "2A49/2A51 absent", &["feature-absent"]),
    (11, "duplicate characteristics", &["characteristics-doubled"]),
    (11, "battery claimed", &["battery-claimed"]),
];

#[test]
fn every_bullet_has_its_profiles_in_its_group() {
    let mut named = BTreeSet::new();
    for (group, bullet, profiles) in BULLETS {
        assert!(!profiles.is_empty(), "{bullet}");
        for name in *profiles {
            let profile = find(name).unwrap_or_else(|| panic!("{bullet}: there is no {name}"));
            assert_eq!(profile.group.number(), Some(*group), "{name}");
            named.insert(*name);
        }
    }
    // Link loss at record k is a bullet of group 9 that is a matter of every meter.
    for name in ["link-loss-at-record-1", "link-loss-at-record-20"] {
        assert!(find(name).is_some());
        named.insert(name);
    }
    let forgotten: Vec<&str> = catalogue()
        .filter(|profile| !matches!(profile.group, Group::Host | Group::Family))
        .map(|profile| profile.name)
        .filter(|name| !named.contains(name))
        .collect();
    assert_eq!(forgotten, Vec::<&str>::new(), "profiles that belong to no bullet");
}

fn security(name: &str) -> Security {
    Security::new(Selection::named(&[name]).unwrap().security(SecuritySettings::default()))
}

fn addressing(name: &str) -> Option<Addressing> {
    Selection::named(&[name]).unwrap().addressing()
}

fn pair(security: &mut Security, central: &str) -> Result<(), PairingRefused> {
    security
        .pairing_asked(SimTime::ZERO, central, IoCapability::KeyboardDisplay, 123_456)
        .map(drop)
}

fn refuses_strangers(name: &str) {
    let mut security = security(name);
    assert_eq!(security.allows(HERE), Err(AttError::InsufficientAuthentication));
    assert_eq!(security.paired(HERE, false), Level::Encrypted);
    assert_eq!(security.allows(HERE), Ok(()));
    security.link_changed();
    assert_eq!(security.allows(HERE), Err(AttError::InsufficientEncryption));
}

fn window(name: &str, seconds: u64) {
    for kind in Kind::ALL {
        let mut bench = Bench::new(kind, &[name]);
        assert!(!bench.is_advertising());
        bench.measure(1);
        bench.wait(Duration::from_millis(seconds * 1_000 - 1));
        assert!(bench.is_advertising(), "{kind:?}");
        bench.wait(Duration::from_millis(1));
        assert!(!bench.is_advertising(), "{kind:?}");
    }
}

fn flags(name: &str) -> Option<u8> {
    let honest = Bench::new(Kind::Cuff, &[]).meter.advertisement("Cuff");
    assert_eq!(honest.flags, Some(6));
    Bench::new(Kind::Cuff, &[name]).meter.advertisement("Cuff").flags
}

fn hangs_up_after(name: &str, seconds: u64) {
    let mut bench = Bench::new(Kind::Cuff, &[name]);
    bench.measure(1);
    bench.connect();
    bench.wait(Duration::from_millis(seconds * 1_000 - 1));
    assert!(bench.is_connected);
    assert_eq!(ids(&bench.sent, Kind::Cuff), [1]);
    bench.wait(Duration::from_millis(1));
    assert!(!bench.is_connected);
}

fn hangs_up_when_clock_set(name: &str, characteristic: u16, time: &[u8]) {
    let mut bench = Bench::new(Kind::Cuff, &[name]);
    bench.connect();
    bench.write(characteristic, time);
    assert_eq!((bench.hung_up, bench.refused.as_slice()), (1, &[][..]));
    assert_eq!(
        bench.meter.clock().read(bench.now),
        Some("2026-03-01T08:00:00".parse().unwrap())
    );
}

fn link_loss(name: &str, records: u64) {
    for kind in [Kind::Cuff, Kind::Glucose] {
        let mut bench = Bench::new(kind, &["backlog-60", name]);
        let sent = bench.fetch();
        assert!(!bench.is_connected);
        assert_eq!(ids(&sent, kind), (1..=records).collect::<Vec<_>>(), "{kind:?}");
        assert!(sent.iter().all(|sent| sent.characteristic != RACP));
        // The next link goes on where a meter that remembers stopped.
        let sent = bench.fetch();
        let first = if kind == Kind::Cuff { records + 1 } else { 1 };
        assert_eq!(ids(&sent, kind).first(), Some(&first));
    }
}

fn backlog(name: &str, count: usize) {
    for kind in Kind::ALL {
        let mut bench = Bench::new(kind, &[name]);
        assert_eq!(bench.meter.memory(), (count, count), "{kind:?}");
        assert_eq!(records(&bench.fetch(), kind).len(), count, "{kind:?}");
        // Switched on again, the profile adds nothing.
        bench.event(Event::Switch(Selection::named(&[name]).unwrap().faults()));
        assert_eq!((bench.made.len(), bench.lost.len()), (count, 0));
    }
}

fn pace(name: &str, expected: Duration) {
    for kind in Kind::ALL {
        let mut bench = Bench::new(kind, &[name]);
        bench.measure(4);
        let sent = bench.fetch();
        let times: Vec<SimTime> = records(&sent, kind).iter().map(|sent| sent.at).collect();
        assert_eq!(times.len(), 4);
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] == expected), "{kind:?}");
    }
}

fn of_two_slots(name: &str) -> Vec<u64> {
    let mut bench = Bench::new(Kind::Cuff, &[name]);
    bench.measure_slot(5);
    bench.measure_slot(6);
    bench.measure_slot(5);
    bench.measure_slot(6);
    let sent = bench.fetch();
    ids(&sent, Kind::Cuff)
}

/// The time of a record.
fn time_of(kind: Kind, value: &[u8]) -> DateTime {
    let at = match kind {
        Kind::Cuff => 7,
        Kind::Glucose | Kind::Scale => 3,
        Kind::Thermometer | Kind::Oximeter => 5,
    };
    DateTime::from_bytes(value[at..at + DateTime::LENGTH].try_into().unwrap())
}

fn first_time(kind: Kind, name: &str) -> DateTime {
    let mut bench = Bench::new(kind, &[name]);
    bench.measure(1);
    let sent = bench.fetch();
    time_of(kind, &records(&sent, kind)[0].value)
}

fn factory(name: &str, year: u16) {
    for kind in Kind::ALL {
        let time = first_time(kind, name);
        assert_eq!(
            (time.year, time.month, time.day),
            (Some(year), Some(1), Some(1)),
            "{kind:?}"
        );
    }
}

fn impossible(name: &str, is_it: fn(&DateTime) -> bool) {
    for kind in Kind::ALL {
        impossible_on(kind, name, is_it);
    }
}

fn impossible_on(kind: Kind, name: &str, is_it: fn(&DateTime) -> bool) {
    let time = first_time(kind, name);
    assert!(
        is_it(&time) && time.calendar() == Calendar::Invalid,
        "{kind:?}: {time:?}"
    );
}

fn unknown(name: &str, is_it: fn(&DateTime) -> bool) {
    for kind in Kind::ALL {
        let time = first_time(kind, name);
        assert!(
            is_it(&time) && time.calendar() == Calendar::Unknown,
            "{kind:?}: {time:?}"
        );
    }
}

fn offset(name: &str) -> Option<TimeOffset> {
    let mut bench = Bench::new(Kind::Glucose, &[name]);
    bench.measure(1);
    let sent = bench.fetch();
    let decoded = glucose::Measurement::decode(&sent[0].value).unwrap();
    assert_eq!(decoded.trailing_bytes, 0);
    decoded.value.time_offset
}

/// Minutes from each of five records, made a minute apart, to the next.
fn gaps_in_minutes(name: &str) -> Vec<i64> {
    let mut bench = Bench::new(Kind::Cuff, &[name]);
    bench.measure(5);
    let sent = bench.fetch();
    let times: Vec<i64> = sent
        .iter()
        .map(|sent| time_of(Kind::Cuff, &sent.value).as_if_utc_ms().unwrap())
        .collect();
    times.windows(2).map(|pair| (pair[1] - pair[0]) / 60_000).collect()
}

fn users(name: &str) -> Vec<Option<UserId>> {
    let mut bench = Bench::new(Kind::Cuff, &[name]);
    bench.measure_slot(5);
    bench.measure_slot(6);
    let sent = bench.fetch();
    sent.iter()
        .map(|sent| Measurement::decode(&sent.value).unwrap().value.user_id)
        .collect()
}

fn sequences(name: &str, count: u16) -> Vec<u16> {
    let mut bench = Bench::new(Kind::Glucose, &[name]);
    bench.measure(count);
    let sent = bench.fetch();
    records(&sent, Kind::Glucose)
        .iter()
        .map(|sent| glucose::Measurement::decode(&sent.value).unwrap().value.sequence)
        .collect()
}

/// Compares what was made with what was sent, on every kind of meter.
fn damaged(name: &str, check: fn(&[u8], &[u8])) {
    assert!(find(name).unwrap().damages().any(|damage| damage != Damage::Truncated));
    for kind in Kind::ALL {
        let mut bench = Bench::new(kind, &[name]);
        bench.measure(2);
        let sent = bench.fetch();
        assert_eq!(ids(&sent, kind), [1, 2], "{kind:?}");
        for (sent, made) in records(&sent, kind).iter().zip(&bench.made) {
            check(&made.value, &sent.value);
        }
    }
}

fn special(name: &str, expected: MedFloat) {
    let mut bench = Bench::new(Kind::Cuff, &[name]);
    bench.measure(4);
    let sent = bench.fetch();
    let mut seen = [0; 4];
    for sent in &sent {
        let decoded = Measurement::decode(&sent.value).unwrap().value;
        let fields = [decoded.systolic, decoded.diastolic, decoded.map, decoded.pulse.unwrap()];
        for (field, seen) in fields.iter().zip(&mut seen) {
            *seen += usize::from(*field == expected);
        }
    }
    assert_eq!(seen, [1; 4], "each field once");
    let mut bench = Bench::new(Kind::Thermometer, &[name]);
    bench.measure(1);
    let sent = bench.fetch();
    let decoded = carepost_gatt::thermometer::TemperatureMeasurement::decode(&sent[0].value).unwrap();
    assert_eq!(decoded.value.temperature, expected);
}

fn cuff_record(name: &str) -> Measurement {
    let mut bench = Bench::new(Kind::Cuff, &[name]);
    bench.measure(1);
    let sent = bench.fetch();
    Measurement::decode(&sent[0].value).unwrap().value
}

fn big_endian(name: &str) {
    let mut bench = Bench::new(Kind::Cuff, &[name]);
    bench.measure_slot(6);
    let sent = bench.fetch();
    let decoded = Measurement::decode(&sent[0].value).unwrap();
    assert_eq!(decoded.trailing_bytes, 1);
    assert_eq!(decoded.value.user_id, None);
    // Pulse 70 big-endian, the user, a status of 0.
    let tail = &sent[0].value[14..];
    let user = Measurement::decode(&bench.made[0].value).unwrap().value.user_id;
    let Some(UserId::Known(user)) = user else {
        panic!("{user:?}")
    };
    assert_eq!(tail, [0, 70, user, 0, 0]);
}

/// A connected glucose meter with six records.
fn stocked(name: &str) -> Bench {
    let mut bench = Bench::new(Kind::Glucose, &[name]);
    bench.measure(6);
    bench.connect();
    bench
}

fn values(sent: &[Sent]) -> Vec<Vec<u8>> {
    sent.iter().map(|sent| sent.value.clone()).collect()
}

fn refuses_report(name: &str, code: u8) {
    let mut bench = stocked(name);
    assert_eq!(values(&bench.request(&REPORT_ALL)), [vec![6, 0, 1, code]]);
    assert_eq!(bench.meter.memory(), (6, 6));
}

fn refused_at_first(name: &str, error: AttError) {
    let mut bench = stocked(name);
    for _ in 0..2 {
        assert_eq!(bench.request(&COUNT_ALL), []);
        assert_eq!(bench.refused.pop(), Some(error));
        assert_eq!(values(&bench.request(&COUNT_ALL)), [vec![5, 0, 6, 0]]);
        // The next link begins in the same way.
        bench.disconnect();
        bench.connect();
    }
}

fn answer(name: &str) -> Response {
    let sent = stocked(name).request(&COUNT_ALL);
    Response::decode(&sent[0].value).unwrap().value
}

fn count_width(name: &str, width: CountWidth) {
    assert_eq!(answer(name), Response::Number { count: 6, width });
}

fn counts(name: &str, expected: u32) {
    let width = CountWidth::Two;
    assert_eq!(answer(name), Response::Number { count: expected, width });
    let sent = stocked(name).request(&REPORT_ALL);
    assert_eq!(ids(&sent, Kind::Glucose).len(), 6);
}

/// Records and what was sent of them, measurement or context, in order.
fn order(name: &str) -> Vec<(u64, char)> {
    let sent = stocked(name).request(&REPORT_ALL);
    let of = |uuid| sent.iter().filter(|sent| sent.characteristic == uuid).count();
    assert_eq!((of(CONTEXT), of(uuid16::GLUCOSE_MEASUREMENT)), (6, 6));
    assert_eq!(sent.last().unwrap().characteristic, RACP);
    sent.iter()
        .filter(|sent| sent.characteristic != RACP)
        .map(|sent| {
            let letter = if sent.characteristic == CONTEXT { 'c' } else { 'm' };
            (sent.record.unwrap().0, letter)
        })
        .collect()
}

fn late_by_five_seconds(bench: &mut Bench) {
    bench.measure(1);
    assert!(!bench.is_advertising());
    bench.wait(Duration::from_millis(4_999));
    assert!(!bench.is_advertising());
    bench.wait(Duration::from_millis(1));
    assert!(bench.is_advertising());
}
