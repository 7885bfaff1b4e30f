//! Stores and gateways.

use carepost_domain::id::StoreId;
use carepost_store::FleetError;
use carepost_store::model::{By, NewGateway, StoreSite};

use crate::bench::{Bench, id, minutes};

pub(crate) async fn a_store_and_a_gateway_are_added_once(bench: Bench) {
    let by = By::system(bench.now);
    let site = StoreSite {
        id: bench.site,
        name: "East".to_owned(),
        zone: chrono_tz::Asia::Shanghai,
    };
    bench.store.add_store(&by, &site).await.unwrap();
    let moved = StoreSite {
        zone: chrono_tz::Asia::Urumqi,
        ..site.clone()
    };
    assert!(matches!(
        bench.store.add_store(&by, &moved).await,
        Err(FleetError::StoreDiffers(_))
    ));
    assert_eq!(bench.store.stores().await.unwrap(), std::slice::from_ref(&site));
    assert_eq!(bench.store.site(bench.site).await.unwrap(), site);

    let known = bench.store.gateway(bench.gateway).await.unwrap();
    assert_eq!(
        (known.zone, known.public_key, known.applied_version),
        (chrono_tz::Asia::Shanghai, [7; 32], 0)
    );
    let same = NewGateway {
        id: known.id,
        store: known.store,
        name: known.name.clone(),
        public_key: known.public_key,
    };
    bench.store.add_gateway(&by, &same).await.unwrap();
    let forged = NewGateway {
        public_key: [8; 32],
        ..same.clone()
    };
    assert!(matches!(
        bench.store.add_gateway(&by, &forged).await,
        Err(FleetError::GatewayDiffers(_))
    ));
    let nowhere: StoreId = id(0x5F);
    let lost = NewGateway {
        id: id(0x6F),
        store: nowhere,
        ..same
    };
    assert!(matches!(
        bench.store.add_gateway(&by, &lost).await,
        Err(FleetError::StoreUnknown(_))
    ));
    assert_eq!(bench.store.gateways().await.unwrap().len(), 1);
}

pub(crate) async fn a_revoked_gateway_never_comes_back(bench: Bench) {
    let by = By::system(bench.now);
    let known = bench.store.gateway(bench.gateway).await.unwrap();
    bench.store.revoke_gateway(&by, known.id).await.unwrap();
    bench
        .store
        .revoke_gateway(&By::system(bench.now + minutes(1)), known.id)
        .await
        .unwrap();
    assert_eq!(
        bench.store.gateway(known.id).await.unwrap().revoked_at,
        Some(bench.now),
        "the first time stays"
    );
    let again = NewGateway {
        id: known.id,
        store: known.store,
        name: known.name,
        public_key: known.public_key,
    };
    assert!(matches!(
        bench.store.add_gateway(&by, &again).await,
        Err(FleetError::GatewayRevoked(_))
    ));
    assert!(matches!(
        bench.store.hello(known.id, "e", bench.now).await,
        Err(FleetError::GatewayRevoked(_))
    ));
    assert!(matches!(
        bench.store.down_snapshot(known.id).await,
        Err(FleetError::GatewayRevoked(_))
    ));
    assert!(matches!(
        bench.store.revoke_gateway(&by, id(0x6F)).await,
        Err(FleetError::GatewayUnknown(_))
    ));
}

pub(crate) async fn presence_and_applied_versions_are_noted(bench: Bench) {
    let later = bench.now + minutes(3);
    bench.store.note_presence(bench.gateway, true, later).await.unwrap();
    bench.store.note_applied(bench.gateway, 12, later).await.unwrap();
    let known = bench.store.gateway(bench.gateway).await.unwrap();
    assert_eq!(
        (known.online, known.last_seen, known.applied_version),
        (true, Some(later), 12)
    );
    bench.store.all_gateways_offline().await.unwrap();
    assert!(!bench.store.gateway(bench.gateway).await.unwrap().online);
    assert!(matches!(
        bench.store.note_presence(id(0x6F), true, later).await,
        Err(FleetError::GatewayUnknown(_))
    ));
}

pub(crate) async fn two_epochs_that_alternate_raise_a_flag(bench: Bench) {
    let hello = |epoch: &'static str| bench.store.hello(bench.gateway, epoch, bench.now);
    assert!(!hello("first").await.unwrap().cloned);
    assert!(
        !hello("first").await.unwrap().cloned,
        "a new connection of the same start"
    );
    assert!(!hello("second").await.unwrap().cloned, "a restart");
    assert!(bench.store.technical_flags().await.unwrap().is_empty());
    assert!(hello("first").await.unwrap().cloned, "the first machine still runs");
    assert!(hello("second").await.unwrap().cloned);
    let flags = bench.store.technical_flags().await.unwrap();
    assert_eq!(
        (flags.len(), flags[0].kind.as_str(), flags[0].count),
        (1, "cloned_gateway", 2)
    );
    bench
        .store
        .clear_technical_flag(&bench.by(), bench.gateway, "cloned_gateway")
        .await
        .unwrap();
    assert!(bench.store.technical_flags().await.unwrap().is_empty());
    assert!(matches!(hello("").await, Err(FleetError::BadEpoch)));
    assert!(matches!(hello("seventeen letters").await, Err(FleetError::BadEpoch)));
}

pub(crate) async fn lanes_of_old_epochs_are_forgotten(bench: Bench) {
    let mut incoming = bench.batch(1, vec![bench.glucose(60, 1, bench.now - minutes(1))]);
    incoming.epoch = "old".to_owned();
    bench.store.hello(bench.gateway, "old", bench.now).await.unwrap();
    bench.ingest(&incoming).await;
    assert_eq!(bench.store.cursors(bench.gateway, "old").await.unwrap().live, 1);
    for n in 0..16 {
        let at = bench.now + minutes(n + 1);
        let outcome = bench.store.hello(bench.gateway, &format!("e{n}"), at).await.unwrap();
        assert_eq!(outcome.cursors.live, 0, "each start counts for itself");
    }
    assert_eq!(bench.store.cursors(bench.gateway, "old").await.unwrap().live, 0);
}
