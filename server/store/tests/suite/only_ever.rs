//! What staff say at the counter of a home meter: that nobody else has ever measured with it. Then its backlog is its owner's,
//! as far as consent reaches.

use carepost_domain::id::MemberId;
use carepost_domain::meter::{Binding, MeterKind};
use carepost_domain::quarantine::Reason;
use carepost_store::RegisterError;
use carepost_store::model::{MeterOwner, Registered, Registration, Rejection};
use chrono::{DateTime, TimeDelta, Utc};

use crate::bench::{Bench, id};
use crate::registration::paired;

/// The member's home glucose meter, registered a minute ago.
fn home_meter(bench: &Bench, n: u8, only_ever: bool) -> Registration {
    let mut wanted = paired(bench, n);
    wanted.meter.kind = MeterKind::Glucose;
    wanted.owners[0].only_ever_this_person = only_ever;
    wanted
}

async fn register(bench: &Bench, wanted: &Registration) -> Result<Registered, RegisterError> {
    bench
        .store
        .register_from_gateway(bench.gateway, wanted, bench.now)
        .await
}

/// The bindings of a registered meter, as its store's gateways see them.
async fn bindings(bench: &Bench, wanted: &Registration) -> Vec<Binding> {
    let all = bench.store.down_snapshot(bench.gateway).await.unwrap();
    let of_it = |binding: &Binding| binding.meter == wanted.meter.id;
    all.bindings.into_iter().filter(of_it).collect()
}

/// What the audit says about that meter in the member's file, oldest first.
async fn audited(bench: &Bench, member: MemberId, wanted: &Registration) -> Vec<(String, Option<String>)> {
    let rows = bench.store.audit_of(&bench.by(), member, 500).await.unwrap();
    let mut said: Vec<_> = rows
        .into_iter()
        .filter(|row| row.subject == wanted.meter.id.to_string())
        .map(|row| (row.seq, row.action, row.detail))
        .collect();
    said.sort_unstable();
    said.into_iter().map(|(_, action, detail)| (action, detail)).collect()
}

/// Sends one record of each of these times, and says what became of them.
async fn send(bench: &Bench, wanted: &Registration, measured: &[DateTime<Utc>]) -> Vec<Option<Rejection>> {
    let binding = bindings(bench, wanted).await[0].clone();
    let items = measured.iter().enumerate().map(|(n, at)| {
        let number = u16::try_from(n).unwrap() + 1;
        let raw_binding = binding.id.uuid().as_u128();
        bench.glucose_of(binding.member, wanted.meter.id, raw_binding, 60, number, *at)
    });
    let outcome = bench.send(items.collect()).await;
    let refused = |n: usize| {
        let seq = u64::try_from(n).unwrap() + 1;
        outcome.rejected.iter().find(|(of, _)| *of == seq).map(|(_, why)| *why)
    };
    (0..measured.len()).map(refused).collect()
}

fn bind(detail: Option<&str>) -> (String, Option<String>) {
    ("meter.bind".to_owned(), detail.map(str::to_owned))
}

fn vouch() -> (String, Option<String>) {
    ("meter.vouch".to_owned(), Some("only_ever_this_person".to_owned()))
}

pub(crate) async fn the_backlog_of_a_meter_that_was_only_ever_theirs_is_stored(bench: Bench) {
    let wanted = home_meter(&bench, 40, true);
    assert_eq!(register(&bench, &wanted).await.unwrap().bound, 1);
    assert!(bindings(&bench, &wanted).await[0].only_ever_this_person);
    assert_eq!(
        audited(&bench, bench.member, &wanted).await,
        [bind(Some("only_ever_this_person"))]
    );
    let version = bench.store.down_version().await.unwrap();
    let audit = bench.store.counts(bench.now).await.unwrap().audit_unsealed;
    assert!(!register(&bench, &wanted).await.unwrap().is_any(), "sent again");
    assert_eq!(bench.store.down_version().await.unwrap(), version);
    assert_eq!(bench.store.counts(bench.now).await.unwrap().audit_unsealed, audit);

    // The member consented 400 days ago, without a word about history.
    let times = [1, 399, 401].map(|days| bench.now - TimeDelta::days(days));
    assert_eq!(
        send(&bench, &wanted, &times).await,
        [None, None, Some(Rejection::NoConsent)],
        "whose it is says nothing about consent"
    );
    let counts = bench.store.counts(bench.now).await.unwrap();
    assert_eq!((counts.readings, counts.quarantine.len()), (2, 0));
}

pub(crate) async fn who_is_not_sure_gets_only_what_comes_after(bench: Bench) {
    let wanted = home_meter(&bench, 41, false);
    register(&bench, &wanted).await.unwrap();
    assert!(!bindings(&bench, &wanted).await[0].only_ever_this_person);
    assert_eq!(audited(&bench, bench.member, &wanted).await, [bind(None)]);
    let times = [bench.now - TimeDelta::seconds(30), bench.now - TimeDelta::days(1)];
    assert_eq!(
        send(&bench, &wanted, &times).await,
        [None, Some(Rejection::Unusable(Reason::BeforeBinding))]
    );
}

pub(crate) async fn it_may_be_said_later_and_is_not_taken_back_by_silence(bench: Bench) {
    let first = home_meter(&bench, 42, false);
    register(&bench, &first).await.unwrap();
    let version = bench.store.down_version().await.unwrap();
    let later = Registration {
        at: bench.now,
        ..home_meter(&bench, 42, true)
    };
    let done = register(&bench, &later).await.unwrap();
    assert_eq!((done.new, done.bound, done.vouched), (false, 0, 1));
    let bound = bindings(&bench, &first).await;
    assert_eq!(bound.len(), 1, "the same binding");
    assert!(bound[0].only_ever_this_person);
    assert_eq!(bound[0].valid_from, first.at);
    let changed = bench.store.down_changes(bench.gateway, version).await.unwrap().rows;
    assert_eq!(
        (changed.version, changed.bindings),
        (version + 1, bound),
        "gateways are told"
    );
    let said = [bind(None), vouch()];
    assert_eq!(audited(&bench, bench.member, &first).await, said);
    for again in [&later, &first] {
        assert!(!register(&bench, again).await.unwrap().is_any());
    }
    assert!(bindings(&bench, &first).await[0].only_ever_this_person);
    assert_eq!(audited(&bench, bench.member, &first).await, said, "once");
    let early = [bench.now - TimeDelta::days(30)];
    assert_eq!(send(&bench, &first, &early).await, [None]);
}

pub(crate) async fn what_was_anothers_has_not_only_ever_been_theirs(bench: Bench) {
    let other: MemberId = id(0x82);
    bench.join(other, "CP-0002", Vec::new()).await;
    let mut theirs = home_meter(&bench, 43, false);
    theirs.owners[0].member = other;
    register(&bench, &theirs).await.unwrap();
    // While it is theirs, it is taken, whatever is said of it.
    let mut mine = home_meter(&bench, 43, true);
    mine.at = bench.now;
    let refused = register(&bench, &mine).await;
    assert!(matches!(refused, Err(RegisterError::SlotTaken { .. })), "{refused:?}");

    let held = bindings(&bench, &theirs).await[0].id;
    let ended = bench.now - TimeDelta::seconds(30);
    bench.store.end_binding(&bench.by(), held, ended, None).await.unwrap();
    let version = bench.store.down_version().await.unwrap();
    let audit = bench.store.counts(bench.now).await.unwrap().audit_unsealed;
    match register(&bench, &mine).await {
        Err(RegisterError::WasAnothers { meter, other }) => assert_eq!((meter, other), (mine.meter.id, held)),
        answer => panic!("{answer:?}"),
    }
    assert_eq!(bench.store.down_version().await.unwrap(), version, "nothing is changed");
    assert_eq!(bench.store.counts(bench.now).await.unwrap().audit_unsealed, audit);
    // Handed on without that claim, it is the new owner's from then on.
    mine.owners[0].only_ever_this_person = false;
    assert_eq!(register(&bench, &mine).await.unwrap().bound, 1);
    // And the claim is not let in by the back door, through the binding that is there now.
    mine.owners[0].only_ever_this_person = true;
    let refused = register(&bench, &mine).await;
    assert!(matches!(refused, Err(RegisterError::WasAnothers { .. })), "{refused:?}");
}

pub(crate) async fn each_slot_has_its_own_word(bench: Bench) {
    let other: MemberId = id(0x82);
    bench.join(other, "CP-0002", Vec::new()).await;
    let mut two = paired(&bench, 44);
    two.meter.multi_user = true;
    let owner = |member, slot, only_ever_this_person| MeterOwner {
        member,
        slot: Some(slot),
        only_ever_this_person,
    };
    two.owners = vec![owner(bench.member, 1, true), owner(other, 2, false)];
    assert_eq!(register(&bench, &two).await.unwrap().bound, 2);
    let mut said: Vec<_> = bindings(&bench, &two)
        .await
        .iter()
        .map(|binding| (binding.slot, binding.only_ever_this_person))
        .collect();
    said.sort_unstable();
    assert_eq!(said, [(Some(1), true), (Some(2), false)]);
    // The other slot's history is no argument about this one.
    two.at = bench.now;
    two.owners = vec![owner(other, 2, true)];
    assert_eq!(register(&bench, &two).await.unwrap().vouched, 1);
    assert_eq!(audited(&bench, other, &two).await, [bind(None), vouch()]);

    // Of two, one cannot be so: neither is.
    let ended = bindings(&bench, &two).await;
    let of_other = ended.iter().find(|binding| binding.slot == Some(2)).unwrap();
    bench
        .store
        .end_binding(&bench.by(), of_other.id, bench.now, None)
        .await
        .unwrap();
    let version = bench.store.down_version().await.unwrap();
    let mut both = two.clone();
    both.owners = vec![owner(bench.member, 2, true), owner(other, 3, false)];
    let refused = register(&bench, &both).await;
    assert!(matches!(refused, Err(RegisterError::WasAnothers { .. })), "{refused:?}");
    assert_eq!(bench.store.down_version().await.unwrap(), version);
}
