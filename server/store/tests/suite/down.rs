//! What gateways work from.

use carepost_domain::consent::Purpose;
use carepost_domain::meter::{MeterKind, MeterRole};
use carepost_domain::people::Condition;
use carepost_store::FleetError;
use carepost_store::model::{By, StoreSite};

use crate::bench::{Bench, id, meter, minutes};

pub(crate) async fn a_snapshot_has_the_stores_scope_and_no_more(bench: Bench) {
    bench
        .consent(bench.member, Purpose::PharmacistCall, 0x99, bench.now)
        .await;
    let west = id(0x52);
    let by = By::system(bench.now);
    bench
        .store
        .add_store(
            &by,
            &StoreSite {
                id: west,
                name: "West".to_owned(),
                zone: chrono_tz::Asia::Urumqi,
            },
        )
        .await
        .unwrap();
    bench.enrol(id(0x62), west).await;

    let east = bench.store.down_snapshot(bench.gateway).await.unwrap();
    assert_eq!((east.store, east.zone), (bench.site, chrono_tz::Asia::Shanghai));
    assert_eq!((east.members.len(), east.meters.len(), east.bindings.len()), (1, 3, 2));
    assert_eq!(east.members[0].masked_name, "王**");
    assert_eq!(east.grants.len(), 1, "only consent to keep readings goes down");
    assert_eq!(east.version, bench.store.down_version().await.unwrap());
    let west = bench.store.down_snapshot(id(0x62)).await.unwrap();
    assert!(west.is_empty(), "nobody of another store is told about");
    assert!(west.version > 0, "0 is a gateway's word for nothing yet");
    assert!(matches!(
        bench.store.down_snapshot(id(0x6F)).await,
        Err(FleetError::GatewayUnknown(_))
    ));
}

pub(crate) async fn changes_come_in_the_order_of_their_version(bench: Bench) {
    let first = bench.store.down_snapshot(bench.gateway).await.unwrap();
    let nothing = bench.store.down_changes(bench.gateway, first.version).await.unwrap();
    assert!(nothing.rows.is_empty());
    assert_eq!((nothing.previous, nothing.rows.version), (first.version, first.version));

    // Repeats of what is known move nothing.
    bench
        .consent(
            bench.member,
            Purpose::CareRecord,
            0x91,
            bench.now - chrono::TimeDelta::days(400),
        )
        .await;
    bench
        .join(
            bench.member,
            "CP-0001",
            vec![Condition::Hypertension, Condition::Diabetes],
        )
        .await;
    bench.bind(bench.cuff, bench.member, 0xA1).await;
    let cuff = meter(1, MeterKind::BloodPressure, MeterRole::Personal, bench.site);
    bench.store.register_meter(&bench.by(), &cuff).await.unwrap();
    assert_eq!(bench.store.down_version().await.unwrap(), first.version);

    bench
        .store
        .withdraw(&bench.by(), bench.member, Purpose::CareRecord)
        .await
        .unwrap();
    let changed = bench
        .store
        .down_changes(bench.gateway, first.version)
        .await
        .unwrap()
        .rows;
    assert_eq!((changed.version, changed.len()), (first.version + 1, 1));
    assert_eq!(changed.grants[0].withdrawn_at, Some(bench.now));

    bench
        .store
        .end_binding(&bench.by(), id(0xA1), bench.now + minutes(1), None)
        .await
        .unwrap();
    bench.join(id(0x82), "CP-0002", Vec::new()).await;
    let next = bench
        .store
        .down_changes(bench.gateway, changed.version)
        .await
        .unwrap()
        .rows;
    assert_eq!((next.members.len(), next.bindings.len(), next.len()), (1, 1, 2));
    assert_eq!(next.bindings[0].valid_to, Some(bench.now + minutes(1)));
    let both = bench
        .store
        .down_changes(bench.gateway, first.version)
        .await
        .unwrap()
        .rows;
    assert_eq!(both.len(), 3);
}

pub(crate) async fn a_binding_brings_a_member_of_another_store_into_scope(bench: Bench) {
    let by = By::system(bench.now);
    let west = id(0x52);
    bench
        .store
        .add_store(
            &by,
            &StoreSite {
                id: west,
                name: "West".to_owned(),
                zone: chrono_tz::Asia::Shanghai,
            },
        )
        .await
        .unwrap();
    bench.enrol(id(0x62), west).await;
    let theirs = meter(6, MeterKind::BloodPressure, MeterRole::Personal, west);
    bench.store.register_meter(&bench.by(), &theirs).await.unwrap();
    let before = bench.store.down_snapshot(id(0x62)).await.unwrap();
    assert!(before.members.is_empty());
    bench.bind(theirs.id, bench.member, 0xA6).await;
    // The member and the grant are older than the version that the gateway holds, and come nevertheless.
    let changed = bench.store.down_changes(id(0x62), before.version).await.unwrap().rows;
    assert_eq!(
        (changed.members.len(), changed.bindings.len(), changed.grants.len()),
        (1, 1, 1)
    );
}
