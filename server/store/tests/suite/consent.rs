//! Grants and withdrawals.

use carepost_domain::care::alert::{CloseReason, Condition};
use carepost_domain::consent::Purpose;
use carepost_store::model::{AlertFilter, NewGrant, TaskFilter};
use carepost_store::{CareError, ConsentError};
use chrono::TimeDelta;

use crate::bench::{Bench, id, minutes};

pub(crate) async fn a_grant_is_recorded_with_its_evidence(bench: Bench) {
    let by = bench.by();
    let new = bench.new_grant(bench.member, Purpose::PharmacistCall, 0x99, bench.now);
    bench.store.grant(&by, &new).await.unwrap();
    bench.store.grant(&by, &new).await.unwrap();
    let grants = bench.store.grants(&by, bench.member).await.unwrap();
    assert_eq!(grants.len(), 2);
    assert_eq!(grants[0], new, "the newest first, as it was given");
    let mut other = new.clone();
    other.text_hash = [1; 32];
    assert!(
        matches!(bench.store.grant(&by, &other).await, Err(ConsentError::BadGrant)),
        "the id is taken"
    );
    let edited = |edit: fn(&mut NewGrant)| {
        let mut grant = bench.new_grant(bench.member, Purpose::Reminder, 0x9A, bench.now);
        edit(&mut grant);
        grant
    };
    let ends_first = edited(|new| new.grant.expires_at = Some(new.grant.granted_at));
    assert!(matches!(
        bench.store.grant(&by, &ends_first).await,
        Err(ConsentError::BadGrant)
    ));
    let nobody = edited(|new| new.witness = Some(id(0x7F)));
    assert!(matches!(
        bench.store.grant(&by, &nobody).await,
        Err(ConsentError::WitnessUnknown(_))
    ));
    let nowhere = edited(|new| new.store = id(0x5F));
    assert!(matches!(
        bench.store.grant(&by, &nowhere).await,
        Err(ConsentError::StoreUnknown(_))
    ));
    let stranger = edited(|new| new.grant.member = id(0x8F));
    assert!(matches!(
        bench.store.grant(&by, &stranger).await,
        Err(ConsentError::MemberUnknown(_))
    ));
}

pub(crate) async fn who_waited_behind_a_withdrawal_comes_after_it(bench: Bench) {
    bench.send(vec![bench.glucose(25, 1, bench.now - minutes(2))]).await;
    let later = carepost_store::model::By::staff(bench.pharmacist, bench.now + minutes(1));
    bench
        .store
        .withdraw(&later, bench.member, Purpose::CareRecord)
        .await
        .unwrap();
    // Both looked at the clock before the withdrawal and got the writer after it.
    let outcome = bench.send(vec![bench.glucose(24, 2, bench.now - minutes(1))]).await;
    assert!(outcome.new_readings.is_empty(), "{outcome:?}");
    let change = bench
        .store
        .reassess_member(&bench.by(), bench.member, &bench.rules)
        .await
        .unwrap();
    assert!(!change.is_any(), "{change:?}");
}

pub(crate) async fn a_withdrawal_closes_everything_in_one_step(bench: Bench) {
    let by = bench.by();
    bench.send(vec![bench.glucose(25, 1, bench.now - minutes(2))]).await;
    let open = bench.store.alerts(&by, AlertFilter::Open, None, 10).await.unwrap();
    let tasks = bench.store.tasks(&by, TaskFilter::default(), 10).await.unwrap();
    assert_eq!((open.len(), tasks.len()), (1, 1));
    let queue_before = bench.store.queue_version().await.unwrap();
    let down_before = bench.store.down_version().await.unwrap();

    let later = carepost_store::model::By::staff(bench.pharmacist, bench.now + minutes(1));
    let done = bench
        .store
        .withdraw(&later, bench.member, Purpose::CareRecord)
        .await
        .unwrap();
    assert_eq!(
        (
            done.grants,
            done.alerts_closed,
            done.tasks_cancelled,
            done.jobs_cancelled
        ),
        (1, 1, 1, 1)
    );
    assert!(done.down_version > down_before, "gateways learn of it");
    assert!(
        bench.store.queue_version().await.unwrap() > queue_before,
        "the queue page too"
    );

    // Nothing is shown any more, and nothing says that there was something.
    assert!(
        bench
            .store
            .alerts(&later, AlertFilter::All, None, 10)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(bench.store.queue(&later, None, 10).await.unwrap().rows.is_empty());
    let all = TaskFilter {
        closed_too: true,
        ..TaskFilter::default()
    };
    assert!(bench.store.tasks(&later, all, 10).await.unwrap().is_empty());
    assert!(matches!(
        bench.store.alert(&later, open[0].id).await,
        Err(CareError::AlertUnknown)
    ));
    assert!(matches!(
        bench.store.task(&later, tasks[0].id).await,
        Err(CareError::TaskUnknown)
    ));
    assert!(matches!(
        bench.store.readings(&later, bench.member, None, 10).await,
        Err(CareError::MemberHidden)
    ));
    assert!(
        bench
            .store
            .lease_due_jobs(
                uuid::Uuid::max(),
                std::time::Duration::MAX,
                9,
                later.at + TimeDelta::days(99)
            )
            .await
            .unwrap()
            .is_empty()
    );
    let grants = bench.store.grants(&later, bench.member).await.unwrap();
    assert_eq!(grants[0].grant.withdrawn_at, Some(later.at));
    assert!(matches!(
        bench.store.withdraw(&later, bench.member, Purpose::CareRecord).await,
        Err(ConsentError::NothingToWithdraw(_))
    ));
    assert!(
        bench
            .audit_actions(bench.member)
            .await
            .contains(&"consent.withdraw".to_owned())
    );

    // After a new grant the closed alert is history, with its reason.
    let again = carepost_store::model::By::staff(bench.pharmacist, bench.now + minutes(5));
    bench
        .store
        .grant(
            &again,
            &bench.new_grant(bench.member, Purpose::CareRecord, 0x93, again.at),
        )
        .await
        .unwrap();
    let all = bench.store.alerts(&again, AlertFilter::All, None, 10).await.unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!(
        all[0].condition,
        Condition::Closed {
            at: later.at,
            reason: CloseReason::ConsentWithdrawn
        }
    );
}

pub(crate) async fn other_purposes_leave_care_alone(bench: Bench) {
    let by = bench.by();
    bench
        .consent(bench.member, Purpose::PharmacistCall, 0x99, bench.now - minutes(9))
        .await;
    bench.send(vec![bench.glucose(25, 1, bench.now - minutes(2))]).await;
    assert!(bench.store.queue(&by, None, 10).await.unwrap().rows[0].may_call);
    let done = bench
        .store
        .withdraw(&by, bench.member, Purpose::PharmacistCall)
        .await
        .unwrap();
    assert_eq!(
        (
            done.grants,
            done.alerts_closed,
            done.tasks_cancelled,
            done.jobs_cancelled
        ),
        (1, 0, 0, 0)
    );
    let queue = bench.store.queue(&by, None, 10).await.unwrap();
    assert_eq!((queue.rows.len(), queue.rows[0].may_call), (1, false));
}
