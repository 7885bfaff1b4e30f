use carepost_contract::v1::{Delta, Owner, Register, RegisterRefusal};
use carepost_domain::id::GatewayId;
use chrono::TimeDelta;

use crate::spool::{MAX_REGISTRATIONS, RegistrationError};
use crate::testing::*;

fn gateway() -> GatewayId {
    id(0x6A)
}

fn of_alice() -> Register {
    Register {
        gateway: gateway(),
        meter: plain_cuff(),
        owners: vec![Owner {
            member: alice(),
            slot: None,
            only_ever_this_person: false,
        }],
        at: noon(),
    }
}

async fn to_send(bench: &Bench) -> Vec<Register> {
    bench.spool.registrations_to_send(noon()).await.unwrap()
}

fn delta(bench: &Bench, bound: bool) -> Delta {
    let version = bench.spool.down().version();
    Delta {
        previous: version,
        version: version + 1,
        members: Vec::new(),
        meters: vec![plain_cuff()],
        bindings: if bound {
            vec![binding(77, &plain_cuff(), alice(), None)]
        } else {
            Vec::new()
        },
        grants: Vec::new(),
    }
}

/// A bench whose copy does not have the cuff yet.
async fn bench() -> Bench {
    let bench = Bench::new().await;
    let mut snapshot = snapshot();
    snapshot.version += 10;
    snapshot.meters.retain(|meter| meter.id != plain_cuff().id);
    snapshot.bindings.retain(|binding| binding.meter != plain_cuff().id);
    bench.spool.apply_snapshot(&snapshot, noon()).await.unwrap();
    bench
}

#[tokio::test]
async fn a_registration_stays_until_the_copy_shows_meter_and_owner() {
    let bench = bench().await;
    bench.spool.put_registration(&of_alice()).await.unwrap();
    assert_eq!(to_send(&bench).await, [of_alice()]);
    assert_eq!(
        to_send(&bench).await,
        [of_alice()],
        "it is sent again until it is settled"
    );
    bench.spool.apply_delta(&delta(&bench, false), noon()).await.unwrap();
    assert_eq!(to_send(&bench).await, [of_alice()], "its owner is not there yet");
    bench.spool.apply_delta(&delta(&bench, true), noon()).await.unwrap();
    assert_eq!(bench.spool.registrations().await.unwrap(), []);
}

#[tokio::test]
async fn what_the_server_knew_before_is_sent_once_all_the_same() {
    let bench = bench().await;
    bench.spool.apply_delta(&delta(&bench, true), noon()).await.unwrap();
    bench.spool.put_registration(&of_alice()).await.unwrap();
    assert_eq!(to_send(&bench).await, [of_alice()]);
    assert_eq!(to_send(&bench).await, []);
    assert_eq!(bench.spool.registrations().await.unwrap(), []);
}

#[tokio::test]
async fn a_known_meter_is_described_until_the_copy_shows_it_and_for_a_week_at_most() {
    let bench = bench().await;
    bench.spool.apply_delta(&delta(&bench, true), noon()).await.unwrap();
    let mut renamed = of_alice();
    renamed.meter.about.manufacturer = "i-SENS".into();
    let mut vouched = of_alice();
    vouched.owners[0].only_ever_this_person = true;
    for register in [renamed, vouched] {
        bench.spool.put_registration(&register).await.unwrap();
        for _ in 0..2 {
            assert_eq!(to_send(&bench).await, std::slice::from_ref(&register));
            // Of something else.
            bench.spool.apply_delta(&delta(&bench, true), noon()).await.unwrap();
        }
        let mut news = delta(&bench, true);
        news.meters = vec![register.meter.clone()];
        news.bindings[0].only_ever_this_person = register.owners[0].only_ever_this_person;
        bench.spool.apply_delta(&news, noon()).await.unwrap();
        assert_eq!(bench.spool.registrations().await.unwrap(), []);
    }
    let mut never_shown = of_alice();
    never_shown.meter.model = "Another".into();
    bench.spool.put_registration(&never_shown).await.unwrap();
    for (days, left) in [(7, 1), (8, 1), (8, 0)] {
        let sent = bench
            .spool
            .registrations_to_send(noon() + TimeDelta::days(days))
            .await
            .unwrap();
        assert_eq!(sent.len(), left, "{days}");
    }
}

#[tokio::test]
async fn it_survives_a_restart() {
    let bench = bench().await;
    bench.spool.put_registration(&of_alice()).await.unwrap();
    let bench = bench.reopen().await;
    let kept = bench.spool.registrations().await.unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].register, of_alice());
    assert_eq!((kept[0].sent_at, kept[0].refused), (None, None));
}

#[tokio::test]
async fn what_staff_say_of_the_past_survives_and_an_older_row_says_nothing_of_it() {
    let bench = bench().await;
    let mut only_ever = of_alice();
    only_ever.owners[0].only_ever_this_person = true;
    bench.spool.put_registration(&only_ever).await.unwrap();
    let bench = bench.reopen().await;
    assert_eq!(to_send(&bench).await, [only_ever]);
    // A row of a program that did not ask.
    let mut old = serde_json::to_value(of_alice()).unwrap();
    assert!(old["owners"][0].get("only_ever_this_person").is_none());
    old["at"] = serde_json::json!(noon());
    let mut tx = bench.spool.begin("test").await.unwrap();
    sqlx::query("UPDATE registrations SET body = $1")
        .bind(old.to_string())
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(to_send(&bench).await, [of_alice()]);
}

#[tokio::test]
async fn a_refusal_is_kept_for_staff_and_not_sent_again() {
    let bench = bench().await;
    let meter = plain_cuff().id;
    bench.spool.put_registration(&of_alice()).await.unwrap();
    let early = bench.spool.refuse_registration(meter, RegisterRefusal::SlotTaken).await;
    assert!(!early.unwrap(), "what was not sent cannot be refused");
    to_send(&bench).await;
    let refuse = async || {
        bench
            .spool
            .refuse_registration(meter, RegisterRefusal::SlotTaken)
            .await
            .unwrap()
    };
    assert!(
        !bench.spool.forget_refused_registration(meter).await.unwrap(),
        "it may still be taken"
    );
    assert!(refuse().await);
    assert_eq!(to_send(&bench).await, []);
    let kept = bench.spool.registrations().await.unwrap();
    assert_eq!(kept[0].refused, Some(RegisterRefusal::SlotTaken));
    // Staff corrects it: it is new.
    bench.spool.put_registration(&of_alice()).await.unwrap();
    assert_eq!(to_send(&bench).await, [of_alice()]);
    assert!(refuse().await);
    assert!(bench.spool.forget_refused_registration(meter).await.unwrap());
    assert_eq!(bench.spool.registrations().await.unwrap(), []);
}

#[tokio::test]
async fn there_is_room_for_so_many_and_nonsense_is_refused() {
    let bench = bench().await;
    for n in 0..MAX_REGISTRATIONS {
        let mut register = of_alice();
        let [a, b, c, d] = n.to_be_bytes();
        register.meter.address = carepost_domain::meter::Address::new([0xD0, a, b, c, d, 1]);
        register.meter.id = carepost_domain::meter::meter_id(register.meter.address, register.meter.address_type);
        bench.spool.put_registration(&register).await.unwrap();
    }
    let one_more = bench.spool.put_registration(&of_alice()).await;
    assert!(matches!(one_more, Err(RegistrationError::TooMany)), "{one_more:?}");
    let mut shared = of_alice();
    shared.meter.role = carepost_domain::meter::MeterRole::StoreShared;
    let owned = bench.spool.put_registration(&shared).await;
    assert!(matches!(owned, Err(RegistrationError::Bad(_))), "{owned:?}");
}
