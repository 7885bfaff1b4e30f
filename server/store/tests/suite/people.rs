//! Members, meters, bindings.

use carepost_domain::meter::{MeterKind, MeterRole};
use carepost_domain::people::{Condition, DrugClass};
use carepost_store::PeopleError;
use carepost_store::model::BindingRequest;

use crate::bench::{Bench, id, meter, minutes};

pub(crate) async fn a_member_is_added_once_and_found_by_code(bench: Bench) {
    let by = bench.by();
    // The lists are sets, whatever their order.
    let same = bench.person(
        bench.member,
        "cp-0001",
        vec![Condition::Diabetes, Condition::Hypertension],
    );
    bench.store.add_member(&by, &same).await.unwrap();
    let found = bench.store.find_member_by_code(&by, &same.code).await.unwrap().unwrap();
    assert_eq!(
        (found.member.id, found.member.name.expose().as_str()),
        (bench.member, "王秀英")
    );
    assert_eq!(found.member.conditions.len(), 2);
    assert_eq!(bench.store.member(&by, bench.member).await.unwrap(), found);
    let missing = "CP-9999".parse().unwrap();
    assert_eq!(bench.store.find_member_by_code(&by, &missing).await.unwrap(), None);
    assert!(matches!(
        bench.store.member(&by, id(0x8F)).await,
        Err(PeopleError::MemberUnknown(_))
    ));

    let namesake = bench.person(id(0x83), "CP-0001", Vec::new());
    assert!(matches!(
        bench.store.add_member(&by, &namesake).await,
        Err(PeopleError::MemberTaken)
    ));
    let mut other = bench.person(bench.member, "CP-0009", Vec::new());
    assert!(matches!(
        bench.store.add_member(&by, &other).await,
        Err(PeopleError::MemberTaken)
    ));
    other.id = id(0x84);
    other.home_store = id(0x5F);
    assert!(matches!(
        bench.store.add_member(&by, &other).await,
        Err(PeopleError::StoreUnknown(_))
    ));
    other.name = carepost_domain::Phi::new(" ".to_owned());
    assert!(matches!(
        bench.store.add_member(&by, &other).await,
        Err(PeopleError::BadText { field: "name", .. })
    ));
    let audited = bench.audit_actions(bench.member).await;
    for action in ["member.add", "member.search", "member.read"] {
        assert!(
            audited.contains(&action.to_owned()),
            "{action} is missing from {audited:?}"
        );
    }
}

pub(crate) async fn conditions_and_drugs_are_replaced(bench: Bench) {
    let by = bench.by();
    bench
        .store
        .set_conditions(&by, bench.member, &[Condition::Ckd])
        .await
        .unwrap();
    bench
        .store
        .set_drugs(&by, bench.member, &[DrugClass::Insulin, DrugClass::Insulin])
        .await
        .unwrap();
    let member = bench.store.member(&by, bench.member).await.unwrap().member;
    assert_eq!(
        (member.conditions, member.drugs),
        (vec![Condition::Ckd], vec![DrugClass::Insulin])
    );
    let unknown = bench.store.set_drugs(&by, id(0x8F), &[]).await;
    assert!(matches!(unknown, Err(PeopleError::MemberUnknown(_))));
}

pub(crate) async fn a_meter_is_registered_once(bench: Bench) {
    let by = bench.by();
    let cuff = meter(1, MeterKind::BloodPressure, MeterRole::Personal, bench.site);
    bench.store.register_meter(&by, &cuff).await.unwrap();
    assert_eq!(bench.store.meter(cuff.id).await.unwrap(), cuff);
    let mut other = cuff.clone();
    other.role = MeterRole::StoreShared;
    assert!(matches!(
        bench.store.register_meter(&by, &other).await,
        Err(PeopleError::MeterDiffers(_))
    ));
    let mut foreign = meter(9, MeterKind::Glucose, MeterRole::Personal, bench.site);
    foreign.id = cuff.id;
    assert!(
        matches!(
            bench.store.register_meter(&by, &foreign).await,
            Err(PeopleError::MeterDiffers(_))
        ),
        "an id that is not the address's"
    );
    assert!(matches!(
        bench.store.meter(id(0xC9)).await,
        Err(PeopleError::MeterUnknown(_))
    ));
}

pub(crate) async fn a_meter_or_slot_has_one_owner_at_a_time(bench: Bench) {
    let by = bench.by();
    let other = id(0x82);
    bench.join(other, "CP-0002", Vec::new()).await;
    // The same request again is no change.
    bench.bind(bench.cuff, bench.member, 0xA1).await;
    let second = bench.binding(bench.cuff, other, 0xA9);
    assert!(matches!(
        bench.store.bind_meter(&by, &second).await,
        Err(PeopleError::BindingOverlaps { .. })
    ));
    let elsewhere = Some(id(0x5707));
    assert!(
        matches!(
            bench.store.end_binding(&by, id(0xA1), bench.now, elsewhere).await,
            Err(PeopleError::BindingUnknown(_))
        ),
        "another store's pharmacist does not even see it"
    );
    bench.store.end_binding(&by, id(0xA1), bench.now, None).await.unwrap();
    bench.store.end_binding(&by, id(0xA1), bench.now, None).await.unwrap();
    let later = bench
        .store
        .end_binding(&by, id(0xA1), bench.now + minutes(1), None)
        .await;
    assert!(matches!(later, Err(PeopleError::BindingEnd(_))));
    bench
        .store
        .bind_meter(
            &by,
            &BindingRequest {
                valid_from: bench.now,
                ..second.clone()
            },
        )
        .await
        .unwrap();

    let shared = bench.binding(bench.shared_cuff, other, 0xAA);
    assert!(matches!(
        bench.store.bind_meter(&by, &shared).await,
        Err(PeopleError::MeterShared(_))
    ));
    let slot = BindingRequest {
        slot: Some(1),
        ..bench.binding(bench.glucometer, other, 0xAB)
    };
    assert!(matches!(
        bench.store.bind_meter(&by, &slot).await,
        Err(PeopleError::SlotMismatch { .. })
    ));
    let mut two_users = meter(5, MeterKind::BloodPressure, MeterRole::Personal, bench.site);
    two_users.multi_user = true;
    bench.store.register_meter(&by, &two_users).await.unwrap();
    for (slot, member, n) in [(1, bench.member, 0xAC), (2, other, 0xAD)] {
        let request = BindingRequest {
            slot: Some(slot),
            ..bench.binding(two_users.id, member, n)
        };
        bench.store.bind_meter(&by, &request).await.unwrap();
    }
    let whole = bench.binding(two_users.id, other, 0xAE);
    assert!(matches!(
        bench.store.bind_meter(&by, &whole).await,
        Err(PeopleError::SlotMismatch { .. })
    ));
    let unknown = bench.binding(id(0xC9), other, 0xAF);
    assert!(matches!(
        bench.store.bind_meter(&by, &unknown).await,
        Err(PeopleError::MeterUnknown(_))
    ));
    assert!(matches!(
        bench.store.end_binding(&by, id(0xCF), bench.now, None).await,
        Err(PeopleError::BindingUnknown(_))
    ));
}
