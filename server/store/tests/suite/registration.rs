//! Meters that staff pair at a gateway, and the list of meters.

use carepost_domain::consent::Purpose;
use carepost_domain::id::{GatewayId, MeterId};
use carepost_domain::meter::{About, MeterKind, MeterRole};
use carepost_store::limits::MAX_METER_OWNERS;
use carepost_store::model::{By, MeterOwner, Registered, Registration, StoreSite};
use carepost_store::testing::execute;
use carepost_store::{Disposition, PeopleError, RegisterError};
use chrono::TimeDelta;

use crate::bench::{Bench, change, id, meter, minutes};

/// The member's new cuff, paired a minute ago.
pub(crate) fn paired(bench: &Bench, n: u8) -> Registration {
    let mut cuff = meter(n, MeterKind::BloodPressure, MeterRole::Personal, bench.site);
    cuff.model = "UA-651BLE".to_owned();
    cuff.about = About::new("A&D Medical", "5150700001", "1.0.2");
    Registration {
        meter: cuff,
        owners: vec![MeterOwner {
            member: bench.member,
            slot: None,
            only_ever_this_person: false,
        }],
        at: bench.now - minutes(1),
    }
}

async fn register(bench: &Bench, wanted: &Registration) -> Result<Registered, RegisterError> {
    bench
        .store
        .register_from_gateway(bench.gateway, wanted, bench.now)
        .await
}

/// Rows of the audit by that gateway.
async fn audited(bench: &Bench, gateway: GatewayId, action: &str) -> u64 {
    let by = match bench.store.engine_name() {
        "sqlite" => format!("x'{}'", gateway.uuid().simple()),
        _ => format!("'{gateway}'"),
    };
    let text =
        format!("UPDATE audit SET at = at WHERE actor_kind = 'gateway' AND actor = {by} AND action = '{action}'");
    execute(&bench.store, &text).await.unwrap()
}

/// Descriptions of meters of which the audit says this.
async fn described(bench: &Bench, detail: &str) -> u64 {
    let text = format!("UPDATE audit SET at = at WHERE action = 'meter.describe' AND detail = '{detail}'");
    execute(&bench.store, &text).await.unwrap()
}

pub(crate) async fn a_meter_paired_at_a_gateway_is_registered_once(bench: Bench) {
    let before = bench.store.down_snapshot(bench.gateway).await.unwrap();
    let wanted = paired(&bench, 20);
    let done = register(&bench, &wanted).await.unwrap();
    assert_eq!(
        done,
        Registered {
            new: true,
            described: false,
            bound: 1,
            vouched: 0
        }
    );
    let changed = bench
        .store
        .down_changes(bench.gateway, before.version)
        .await
        .unwrap()
        .rows;
    assert_eq!(
        changed.meters,
        std::slice::from_ref(&wanted.meter),
        "as the gateway said, with all it says of itself"
    );
    assert_eq!(changed.bindings.len(), 1);
    let binding = &changed.bindings[0];
    assert_eq!(
        (
            binding.meter,
            binding.member,
            binding.slot,
            binding.valid_from,
            binding.valid_to
        ),
        (wanted.meter.id, bench.member, None, wanted.at, None)
    );
    assert!(!binding.only_ever_this_person);
    assert_eq!(changed.version, before.version + 1, "one step for all of it");
    assert_eq!(audited(&bench, bench.gateway, "meter.register").await, 1);
    assert_eq!(audited(&bench, bench.gateway, "meter.bind").await, 1);
    assert!(
        bench
            .audit_actions(bench.member)
            .await
            .contains(&"meter.bind".to_owned())
    );

    // Sent again, as after a lost connection, and paired again by somebody who did not know.
    let audit = bench.store.counts(bench.now).await.unwrap().audit_unsealed;
    let later = Registration {
        at: bench.now,
        ..wanted.clone()
    };
    for again in [&wanted, &wanted, &later] {
        assert!(!register(&bench, again).await.unwrap().is_any());
    }
    assert_eq!(bench.store.down_version().await.unwrap(), changed.version);
    assert_eq!(
        bench.store.counts(bench.now).await.unwrap().audit_unsealed,
        audit,
        "no second audit row"
    );
    // Staff who register it by hand, by its address alone, are told that all is well.
    let mut by_hand = wanted.meter.clone();
    by_hand.about = About::default();
    bench.store.register_meter(&bench.by(), &by_hand).await.unwrap();
    assert_eq!(bench.store.meter(wanted.meter.id).await.unwrap(), wanted.meter);

    // Readings of it are the owner's from then on.
    let measured = bench.now - TimeDelta::seconds(30);
    let mine = bench.bp_of(
        bench.member,
        wanted.meter.id,
        binding.id.uuid().as_u128(),
        128,
        79,
        measured,
    );
    let older = bench.bp_of(
        bench.member,
        wanted.meter.id,
        binding.id.uuid().as_u128(),
        127,
        78,
        measured - minutes(9),
    );
    let outcome = bench.send(vec![mine, older]).await;
    assert_eq!(
        (outcome.new_readings.len(), outcome.rejected.len()),
        (1, 1),
        "{outcome:?}"
    );
}

pub(crate) async fn a_shared_meter_has_no_owner_and_a_two_user_cuff_two(bench: Bench) {
    let mut shared = paired(&bench, 21);
    shared.meter.role = MeterRole::StoreShared;
    shared.owners.clear();
    assert_eq!(register(&bench, &shared).await.unwrap().bound, 0);
    let other = id(0x82);
    bench.join(other, "CP-0002", Vec::new()).await;
    let mut two = paired(&bench, 22);
    two.meter.multi_user = true;
    let owner = |member, slot| MeterOwner {
        member,
        slot: Some(slot),
        only_ever_this_person: false,
    };
    two.owners = vec![owner(bench.member, 1), owner(other, 2)];
    assert_eq!(register(&bench, &two).await.unwrap().bound, 2);
    assert!(!register(&bench, &two).await.unwrap().is_any());
    // A third slot of the same cuff later on.
    two.owners = vec![owner(other, 3)];
    two.at = bench.now;
    let done = register(&bench, &two).await.unwrap();
    assert_eq!((done.new, done.bound), (false, 1));
}

pub(crate) async fn a_registration_that_cannot_be_changes_nothing(bench: Bench) {
    let west = id(0x52);
    let site = StoreSite {
        id: west,
        name: "West".to_owned(),
        zone: chrono_tz::Asia::Urumqi,
    };
    bench.store.add_store(&By::system(bench.now), &site).await.unwrap();
    bench.enrol(id(0x62), west).await;
    bench.enrol(id(0x63), bench.site).await;
    bench.store.revoke_gateway(&bench.by(), id(0x63)).await.unwrap();
    let known = paired(&bench, 23);
    register(&bench, &known).await.unwrap();
    let before = bench.store.down_version().await.unwrap();
    let audit = bench.store.counts(bench.now).await.unwrap().audit_unsealed;

    let owner = |slot| MeterOwner {
        member: bench.member,
        slot,
        only_ever_this_person: false,
    };
    let edited = |edit: &dyn Fn(&mut Registration)| {
        let mut wanted = paired(&bench, 24);
        edit(&mut wanted);
        wanted
    };
    let cases: Vec<(&str, Registration)> = vec![
        ("another address's id", edited(&|w| w.meter.id = id(0xC9))),
        ("a model that is too long", edited(&|w| w.meter.model = "x".repeat(101))),
        (
            "a serial that is too long",
            edited(&|w| w.meter.about.serial = "9".repeat(65)),
        ),
        (
            "control characters",
            edited(&|w| w.meter.about.firmware = "1\u{7}2".to_owned()),
        ),
        ("no owner", edited(&|w| w.owners.clear())),
        (
            "an owner of the store's own",
            edited(&|w| w.meter.role = MeterRole::StoreShared),
        ),
        (
            "a slot on a meter of one user",
            edited(&|w| w.owners = vec![owner(Some(1))]),
        ),
        (
            "two owners of the whole",
            edited(&|w| w.owners = vec![owner(None), owner(None)]),
        ),
        ("no slot on a meter of several", edited(&|w| w.meter.multi_user = true)),
        (
            "the slot of nobody",
            edited(&|w| {
                w.meter.multi_user = true;
                w.owners = vec![owner(Some(255))];
            }),
        ),
        (
            "one slot twice",
            edited(&|w| {
                w.meter.multi_user = true;
                w.owners = vec![owner(Some(1)), owner(Some(1))];
            }),
        ),
        (
            "more owners than any meter has slots",
            edited(&|w| {
                w.meter.multi_user = true;
                w.owners = (0..=MAX_METER_OWNERS).map(|n| owner(u8::try_from(n).ok())).collect();
            }),
        ),
    ];
    for (what, wanted) in cases {
        let refused = register(&bench, &wanted).await.unwrap_err();
        assert!(matches!(refused, RegisterError::Invalid { .. }), "{what}: {refused}");
        assert_eq!(refused.disposition(), Disposition::Reject);
    }
    let elsewhere = edited(&|w| w.meter.store = west);
    assert!(matches!(
        register(&bench, &elsewhere).await,
        Err(RegisterError::OtherStore(_))
    ));
    let otherwise = |edit: &dyn Fn(&mut Registration)| {
        let mut wanted = known.clone();
        wanted.at = bench.now;
        edit(&mut wanted);
        wanted
    };
    for wanted in [
        otherwise(&|w| w.meter.kind = MeterKind::Glucose),
        otherwise(&|w| {
            w.meter.role = MeterRole::StoreShared;
            w.owners.clear();
        }),
        otherwise(&|w| {
            w.meter.multi_user = true;
            w.owners = vec![owner(Some(1))];
        }),
    ] {
        assert!(matches!(
            register(&bench, &wanted).await,
            Err(RegisterError::RegisteredOtherwise(_))
        ));
    }
    // The other store's gateway claims the known meter for its own store.
    let mut claimed = otherwise(&|w| w.meter.store = west);
    claimed.meter.role = MeterRole::StoreShared;
    claimed.owners.clear();
    let refused = bench.store.register_from_gateway(id(0x62), &claimed, bench.now).await;
    assert!(
        matches!(refused, Err(RegisterError::RegisteredOtherwise(_))),
        "{refused:?}"
    );
    for (gateway, revoked) in [(id(0x6F), false), (id(0x63), true)] {
        let refused = bench
            .store
            .register_from_gateway(gateway, &paired(&bench, 24), bench.now)
            .await;
        match refused {
            Err(RegisterError::GatewayUnknown(_)) => assert!(!revoked),
            Err(RegisterError::GatewayRevoked(_)) => assert!(revoked),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(bench.store.down_version().await.unwrap(), before, "nothing is changed");
    assert_eq!(bench.store.counts(bench.now).await.unwrap().audit_unsealed, audit);
    assert_eq!(bench.store.meter(known.meter.id).await.unwrap(), known.meter);
}

pub(crate) async fn a_slot_that_is_somebodys_stays_theirs(bench: Bench) {
    let other = id(0x82);
    bench.join(other, "CP-0002", Vec::new()).await;
    let mine = paired(&bench, 25);
    register(&bench, &mine).await.unwrap();
    let mut theirs = mine.clone();
    theirs.at = bench.now;
    theirs.meter.about.firmware = "9.9".to_owned();
    theirs.owners[0].member = other;
    let refused = register(&bench, &theirs).await;
    assert!(matches!(refused, Err(RegisterError::SlotTaken { .. })), "{refused:?}");
    assert_eq!(
        bench.store.meter(mine.meter.id).await.unwrap(),
        mine.meter,
        "not even what it says of itself"
    );
    // Of two owners one is refused, and with it both.
    let mut both = paired(&bench, 26);
    both.meter.multi_user = true;
    both.owners = vec![MeterOwner {
        member: bench.member,
        slot: Some(1),
        only_ever_this_person: false,
    }];
    register(&bench, &both).await.unwrap();
    let before = bench.store.down_version().await.unwrap();
    both.at = bench.now;
    both.owners = vec![
        MeterOwner {
            member: other,
            slot: Some(2),
            only_ever_this_person: false,
        },
        MeterOwner {
            member: other,
            slot: Some(1),
            only_ever_this_person: false,
        },
    ];
    assert!(matches!(
        register(&bench, &both).await,
        Err(RegisterError::SlotTaken { .. })
    ));
    assert_eq!(bench.store.down_version().await.unwrap(), before);
}

pub(crate) async fn owners_are_of_the_gateways_scope(bench: Bench) {
    let mut wanted = paired(&bench, 27);
    wanted.owners[0].member = id(0x8F);
    let nobody = register(&bench, &wanted).await;
    assert!(matches!(nobody, Err(RegisterError::MemberUnknown(_))), "{nobody:?}");

    let west = id(0x52);
    let by = By::system(bench.now);
    let site = StoreSite {
        id: west,
        name: "West".to_owned(),
        zone: chrono_tz::Asia::Shanghai,
    };
    bench.store.add_store(&by, &site).await.unwrap();
    let western: GatewayId = id(0x62);
    bench.enrol(western, west).await;
    let mut in_the_west = paired(&bench, 28);
    in_the_west.meter.store = west;
    let register_there = async || {
        bench
            .store
            .register_from_gateway(western, &in_the_west, bench.now)
            .await
    };
    let stranger = register_there().await;
    assert!(
        matches!(stranger, Err(RegisterError::MemberUnknown(_))),
        "another store's member looks as if there were none: {stranger:?}"
    );
    // Once a pharmacist has bound a meter of that store to the member, its gateways know the member.
    let theirs = meter(29, MeterKind::BloodPressure, MeterRole::Personal, west);
    bench.store.register_meter(&bench.by(), &theirs).await.unwrap();
    bench.bind(theirs.id, bench.member, 0xA6).await;
    assert!(register_there().await.unwrap().new);
}

pub(crate) async fn what_a_meter_says_of_itself_is_brought_up_to_date(bench: Bench) {
    // Registered by hand at first, when nobody knew more than the address.
    let by_hand = meter(30, MeterKind::BloodPressure, MeterRole::Personal, bench.site);
    bench.store.register_meter(&bench.by(), &by_hand).await.unwrap();
    let first = paired(&bench, 30);
    let done = register(&bench, &first).await.unwrap();
    assert_eq!((done.new, done.described, done.bound), (false, true, 1));
    assert_eq!(bench.store.meter(first.meter.id).await.unwrap(), first.meter);
    assert_eq!(audited(&bench, bench.gateway, "meter.describe").await, 1);
    // Staff who know the address only repeat it: they get what is known.
    let stored = bench.store.register_meter(&bench.by(), &by_hand).await;
    assert!(
        matches!(stored, Err(PeopleError::MeterDiffers(_))),
        "another model: {stored:?}"
    );
    let mut bare = first.meter.clone();
    bare.about = About::default();
    assert_eq!(
        bench.store.register_meter(&bench.by(), &bare).await.unwrap(),
        first.meter
    );

    let mut newer = first.clone();
    newer.at = bench.now;
    newer.meter.about = About::new("", "", "2.0.0");
    assert!(register(&bench, &newer).await.unwrap().described);
    let now = bench.store.meter(first.meter.id).await.unwrap().about;
    assert_eq!(
        now,
        About::new("A&D Medical", "5150700001", "2.0.0"),
        "what it did not say this time stays"
    );
    assert_eq!(described(&bench, "firmware").await, 1);
    // Manufacturer and model decide what bytes mean.
    let mut other = newer.clone();
    other.at = bench.now + minutes(1);
    other.meter.model = "BM85".to_owned();
    other.meter.about = About::new("BEURER", "", "");
    let later = bench.now + minutes(2);
    let done = bench
        .store
        .register_from_gateway(bench.gateway, &other, later)
        .await
        .unwrap();
    assert!(done.described);
    let entries = "model, manufacturer; bytes read by none before, by beurer-bm85 now";
    assert_eq!(described(&bench, entries).await, 1);
    let mut back = newer.clone();
    back.at = bench.now + minutes(3);
    back.meter.about = About::new("A&D Medical", "", "");
    let later = bench.now + minutes(4);
    bench
        .store
        .register_from_gateway(bench.gateway, &back, later)
        .await
        .unwrap();
    let entries = "model, manufacturer; bytes read by beurer-bm85 before, by none now";
    assert_eq!(described(&bench, entries).await, 1);
    // The first message again, late.
    assert!(!register(&bench, &first).await.unwrap().is_any());
    assert_eq!(bench.store.meter(first.meter.id).await.unwrap().about, now);
}

pub(crate) async fn an_ended_binding_stays_ended(bench: Bench) {
    let wanted = paired(&bench, 31);
    register(&bench, &wanted).await.unwrap();
    let all = bench.store.down_snapshot(bench.gateway).await.unwrap();
    let mine = all
        .bindings
        .iter()
        .find(|binding| binding.meter == wanted.meter.id)
        .unwrap();
    bench
        .store
        .end_binding(&bench.by(), mine.id, bench.now, None)
        .await
        .unwrap();
    let version = bench.store.down_version().await.unwrap();
    let late = register(&bench, &wanted).await;
    assert!(matches!(late, Err(RegisterError::RegisteredOtherwise(_))), "{late:?}");
    assert_eq!(bench.store.down_version().await.unwrap(), version);
    // Paired anew, it is the member's again.
    let anew = Registration {
        at: bench.now,
        ..wanted
    };
    assert_eq!(register(&bench, &anew).await.unwrap().bound, 1);
}

pub(crate) async fn a_wrong_clock_makes_no_binding_early(bench: Bench) {
    for (n, at) in [
        (32, chrono::DateTime::UNIX_EPOCH),
        (33, bench.now - TimeDelta::days(4_000)),
        (34, bench.now + TimeDelta::days(4_000)),
    ] {
        let wanted = Registration {
            at,
            ..paired(&bench, n)
        };
        register(&bench, &wanted).await.unwrap();
        assert!(!register(&bench, &wanted).await.unwrap().is_any());
        let all = bench.store.down_snapshot(bench.gateway).await.unwrap();
        let binding = all
            .bindings
            .iter()
            .find(|binding| binding.meter == wanted.meter.id)
            .unwrap();
        assert_eq!(binding.valid_from, bench.now, "{at}");
    }
}

pub(crate) async fn meters_are_listed_by_model_and_address(bench: Bench) {
    register(&bench, &paired(&bench, 36)).await.unwrap();
    register(&bench, &paired(&bench, 35)).await.unwrap();
    let west = id(0x52);
    let site = StoreSite {
        id: west,
        name: "West".to_owned(),
        zone: chrono_tz::Asia::Shanghai,
    };
    bench.store.add_store(&By::system(bench.now), &site).await.unwrap();
    let theirs = meter(37, MeterKind::Weight, MeterRole::StoreShared, west);
    bench.store.register_meter(&bench.by(), &theirs).await.unwrap();

    let mut seen: Vec<(String, u8, i64)> = Vec::new();
    let mut after: Option<MeterId> = None;
    loop {
        let page = bench.store.meters(Some(bench.site), after, 2, bench.now).await.unwrap();
        assert!(page.meters.len() <= 2 && !page.meters.is_empty());
        seen.extend(
            page.meters
                .iter()
                .map(|row| (row.meter.model.clone(), row.meter.address.bytes()[5], row.owners)),
        );
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    seen.sort_by_key(|(_, last, _)| *last);
    let model = |n: u8| if n < 10 { "test" } else { "UA-651BLE" }.to_owned();
    let expected: Vec<_> = [(1, 1), (2, 1), (3, 0), (35, 1), (36, 1)]
        .map(|(n, owners)| (model(n), n, owners))
        .into();
    assert_eq!(
        seen, expected,
        "each meter of the store once, with how many it belongs to"
    );
    let all = bench.store.meters(None, None, 500, bench.now).await.unwrap();
    assert_eq!((all.meters.len(), all.next), (6, None));
    let twins: Vec<u8> = all
        .meters
        .iter()
        .filter(|row| row.meter.model == "UA-651BLE")
        .map(|row| row.meter.address.bytes()[5])
        .collect();
    assert_eq!(twins, [35, 36], "one beside the other");
    let paired_here = all
        .meters
        .iter()
        .filter(|row| row.registered_via == Some(bench.gateway))
        .count();
    assert_eq!(paired_here, 2);
    assert!(
        all.meters
            .iter()
            .all(|row| row.registered_at == bench.now && row.last_seen.is_none())
    );
    assert!(matches!(
        bench.store.meters(None, Some(id(0xC9)), 10, bench.now).await,
        Err(PeopleError::MeterUnknown(_))
    ));
}

pub(crate) async fn a_meter_is_seen_when_a_reading_of_it_is_stored(bench: Bench) {
    let seen = async |meter: MeterId| {
        let page = bench.store.meters(None, None, 500, bench.now).await.unwrap();
        page.meters
            .into_iter()
            .find(|row| row.meter.id == meter)
            .unwrap()
            .last_seen
    };
    assert_eq!(seen(bench.cuff).await, None);
    let newer = bench.bp(128, 79, bench.now - minutes(3));
    bench
        .send(vec![newer, bench.bp(127, 78, bench.now - minutes(90))])
        .await;
    let captured = bench.now - minutes(3) + TimeDelta::seconds(5);
    assert_eq!(seen(bench.cuff).await, Some(captured));
    bench.send(vec![bench.bp(126, 78, bench.now - minutes(50))]).await;
    assert_eq!(seen(bench.cuff).await, Some(captured), "a backlog is older");
    let ahead = change(bench.bp(125, 77, bench.now - minutes(40)), |reading| {
        reading.captured_at = bench.now + TimeDelta::days(30);
    });
    bench.send(vec![ahead]).await;
    assert_eq!(
        seen(bench.cuff).await,
        Some(bench.now),
        "nobody has seen it in the future"
    );
    // What may not be kept leaves no trace.
    bench
        .store
        .withdraw(&bench.by(), bench.member, Purpose::CareRecord)
        .await
        .unwrap();
    bench.send(vec![bench.glucose(60, 1, bench.now - minutes(1))]).await;
    assert_eq!(seen(bench.glucometer).await, None);
}
