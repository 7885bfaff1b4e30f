//! Logins.

use carepost_store::StaffError;
use carepost_store::model::{By, NewStaff, StaffRole};
use chrono::TimeDelta;

use crate::bench::{Bench, id, minutes};

pub(crate) async fn a_login_belongs_to_one_person(bench: Bench) {
    let wang = bench.store.staff_by_login("wang").await.unwrap().unwrap();
    assert_eq!(
        (wang.id, wang.role, wang.store),
        (bench.pharmacist, StaffRole::Pharmacist, bench.site)
    );
    assert_eq!(bench.store.staff(bench.pharmacist).await.unwrap().unwrap(), wang);
    assert_eq!(
        bench.store.staff_by_login("Wang").await.unwrap(),
        None,
        "logins are compared exactly"
    );
    let by = By::system(bench.now);
    let new = NewStaff {
        id: id(0x72),
        login: "wang".to_owned(),
        name: "another".to_owned(),
        role: StaffRole::It,
        store: bench.site,
        password_hash: "x".to_owned(),
    };
    assert!(matches!(
        bench.store.add_staff(&by, &new).await,
        Err(StaffError::LoginTaken)
    ));
    let nowhere = NewStaff {
        login: "li".to_owned(),
        store: id(0x5F),
        ..new.clone()
    };
    assert!(matches!(
        bench.store.add_staff(&by, &nowhere).await,
        Err(StaffError::StoreUnknown(_))
    ));
    for bad in [String::new(), "x".repeat(65)] {
        let new = NewStaff {
            login: bad,
            ..new.clone()
        };
        assert!(matches!(
            bench.store.add_staff(&by, &new).await,
            Err(StaffError::BadLogin)
        ));
    }
    assert!(!format!("{wang:?}").contains("argon2"), "no hash gets into a log");
}

pub(crate) async fn a_session_ends_by_time_or_by_hand(bench: Bench) {
    let (now, until) = (bench.now, bench.now + minutes(60));
    bench
        .store
        .open_session([1; 32], bench.pharmacist, "csrf", now, until)
        .await
        .unwrap();
    let session = bench.store.session([1; 32], now).await.unwrap().unwrap();
    assert_eq!(
        (session.staff.id, session.csrf.as_str(), session.expires_at),
        (bench.pharmacist, "csrf", until)
    );
    assert_eq!(bench.store.session([2; 32], now).await.unwrap(), None);
    assert!(
        bench
            .store
            .session([1; 32], until - TimeDelta::seconds(1))
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(
        bench.store.session([1; 32], until).await.unwrap(),
        None,
        "the end is the end"
    );
    bench.store.close_session([1; 32], now).await.unwrap();
    bench.store.close_session([1; 32], now).await.unwrap();
    assert_eq!(bench.store.session([1; 32], now).await.unwrap(), None);
    let nobody = bench.store.open_session([3; 32], id(0x7F), "csrf", now, until).await;
    assert!(matches!(nobody, Err(StaffError::StaffUnknown(_))));
}

pub(crate) async fn failed_logins_are_counted_and_forgotten(bench: Bench) {
    let hour_ago = bench.now - minutes(60);
    for n in 0..3 {
        bench
            .store
            .note_failed_login("wang", bench.now - minutes(n))
            .await
            .unwrap();
    }
    bench.store.note_failed_login("li", bench.now).await.unwrap();
    assert_eq!(bench.store.failed_logins("wang", hour_ago).await.unwrap(), 3);
    assert_eq!(
        bench.store.failed_logins("wang", bench.now - minutes(1)).await.unwrap(),
        2
    );
    bench
        .store
        .open_session([1; 32], bench.pharmacist, "csrf", bench.now, bench.now + minutes(60))
        .await
        .unwrap();
    assert_eq!(
        bench.store.failed_logins("wang", hour_ago).await.unwrap(),
        0,
        "a good login forgets them"
    );
    assert_eq!(bench.store.failed_logins("li", hour_ago).await.unwrap(), 1);
    bench
        .store
        .note_failed_login("wang", bench.now + TimeDelta::days(2))
        .await
        .unwrap();
    assert_eq!(
        bench.store.failed_logins("li", hour_ago).await.unwrap(),
        0,
        "old ones are not kept"
    );
}
