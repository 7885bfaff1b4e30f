//! Several callers at once.

use std::sync::Arc;

use carepost_domain::consent::Purpose;
use carepost_domain::id::GatewayId;
use carepost_store::CareError;
use carepost_store::model::{AlertFilter, By, Rejection, TaskFilter};
use chrono::TimeDelta;
use tokio::task::JoinSet;

use crate::bench::{Bench, id, minutes};

pub(crate) async fn overlapping_batches_in_opposite_order_both_commit(bench: Bench) {
    let second: GatewayId = id(0x62);
    bench.enrol(second, bench.site).await;
    let (other, meter) = bench.second_member().await;
    let bench = Arc::new(bench);
    let mut senders = JoinSet::new();
    for round in 0..8_u16 {
        let mut items = Vec::new();
        for n in 0..20 {
            let at = bench.now - TimeDelta::hours(i64::from(round)) - minutes(i64::from(n) + 1);
            items.push(bench.glucose(60, round * 100 + n, at));
            items.push(bench.glucose_of(other, meter, 0xA4, 61, round * 100 + n, at));
        }
        for gateway in [bench.gateway, second] {
            let mut incoming = bench.batch(1, items.clone());
            incoming.gateway = gateway;
            incoming.epoch = format!("round {round}");
            items.reverse();
            let bench = Arc::clone(&bench);
            senders.spawn(async move { bench.store.ingest_batch(&incoming, &bench.rules, bench.now).await });
        }
    }
    let mut new = 0;
    while let Some(done) = senders.join_next().await {
        let outcome = done.unwrap().unwrap();
        assert_eq!((outcome.settled_through, outcome.rejected.len()), (40, 0));
        new += outcome.new_readings.len();
    }
    assert_eq!(new, 8 * 40, "each reading is new to exactly one of the two");
    assert_eq!(bench.store.counts(bench.now).await.unwrap().readings, 8 * 40);
}

pub(crate) async fn one_of_two_acknowledgements_wins(bench: Bench) {
    bench.send(vec![bench.glucose(25, 1, bench.now - minutes(2))]).await;
    let task = bench
        .store
        .tasks(&bench.by(), TaskFilter::default(), 10)
        .await
        .unwrap()
        .remove(0);
    let alert = bench
        .store
        .alerts(&bench.by(), AlertFilter::Open, None, 10)
        .await
        .unwrap()
        .remove(0);
    let bench = Arc::new(bench);
    let mut callers = JoinSet::new();
    for _ in 0..8 {
        let bench = Arc::clone(&bench);
        callers.spawn(async move {
            let by = bench.by();
            let seen = bench
                .store
                .acknowledge_alert(&by, alert.id, bench.pharmacist, alert.version)
                .await
                .map(|_| ());
            let taken = bench
                .store
                .take_task(&by, task.id, bench.pharmacist, task.version)
                .await
                .map(|_| ());
            [seen, taken]
        });
    }
    let mut won = [0, 0];
    while let Some(done) = callers.join_next().await {
        for (wins, result) in won.iter_mut().zip(done.unwrap()) {
            match result {
                Ok(()) => *wins += 1,
                Err(error) => assert!(matches!(error, CareError::Conflict { .. }), "{error:?}"),
            }
        }
    }
    assert_eq!(won, [1, 1]);
}

pub(crate) async fn a_withdrawal_and_a_batch_never_mix(bench: Bench) {
    let bench = Arc::new(bench);
    for round in 0..10_u16 {
        let member = id(0x100 + u128::from(round));
        bench.join(member, &format!("CP-1{round:03}"), Vec::new()).await;
        bench
            .consent(
                member,
                Purpose::CareRecord,
                0x200 + u128::from(round),
                bench.now - TimeDelta::days(9),
            )
            .await;
        let critical = crate::bench::change(
            bench.store_bp(190, 115, bench.now - minutes(i64::from(round) + 20)),
            |reading| {
                reading.member = member;
            },
        );
        let mut incoming = bench.batch(1, vec![critical]);
        incoming.epoch = format!("round {round}");
        let (one, two) = (Arc::clone(&bench), Arc::clone(&bench));
        let ingest =
            tokio::task::JoinSet::from_iter([
                async move { one.store.ingest_batch(&incoming, &one.rules, one.now).await },
            ]);
        let withdrawal = two
            .store
            .withdraw(&By::staff(two.pharmacist, two.now), member, Purpose::CareRecord)
            .await
            .unwrap();
        let outcome = ingest.join_all().await.remove(0).unwrap();
        // Wholly before the withdrawal, which then closes its alert, or refused.
        if outcome.new_readings.is_empty() {
            assert_eq!(outcome.rejected, [(1, Rejection::NoConsent)]);
            assert_eq!(withdrawal.alerts_closed, 0);
        } else {
            assert_eq!(withdrawal.alerts_closed, 1, "an unrepeated severe value had raised one");
        }
    }
    assert_eq!(bench.store.counts(bench.now).await.unwrap().alerts_open, 0);
}

pub(crate) async fn many_readers_share_the_audits_transactions(bench: Bench) {
    let before = bench.store.counts(bench.now).await.unwrap().audit_unsealed;
    let bench = Arc::new(bench);
    let mut readers = JoinSet::new();
    for _ in 0..64 {
        let bench = Arc::clone(&bench);
        readers.spawn(async move { bench.store.member(&bench.by(), bench.member).await.is_ok() });
    }
    assert!(readers.join_all().await.into_iter().all(|ok| ok));
    assert_eq!(
        bench.store.counts(bench.now).await.unwrap().audit_unsealed,
        before + 64,
        "each read is a row"
    );
}

pub(crate) async fn a_meter_is_registered_by_one_of_two_gateways(bench: Bench) {
    let second: GatewayId = id(0x62);
    bench.enrol(second, bench.site).await;
    let bench = Arc::new(bench);
    let before = bench.store.counts(bench.now).await.unwrap().audit_unsealed;
    for n in 40..48 {
        let mut staff = JoinSet::new();
        for gateway in [bench.gateway, second] {
            let bench = Arc::clone(&bench);
            staff.spawn(async move {
                let wanted = crate::registration::paired(&bench, n);
                bench.store.register_from_gateway(gateway, &wanted, bench.now).await
            });
        }
        let mut new = 0;
        while let Some(done) = staff.join_next().await {
            new += u8::from(done.unwrap().unwrap().new);
        }
        assert_eq!(new, 1, "one of the two is first");
    }
    let after = bench.store.counts(bench.now).await.unwrap().audit_unsealed;
    assert_eq!(after - before, 8 * 2, "a registration and a binding each");
}
