//! Withdrawals, sealed readings, and that nothing of what is forgotten stays in the files.

use carepost_contract::v1::{Item, Lane, Receipt, Rejected, Rejection};
use chrono::TimeDelta;

use crate::down::{PartError, SnapshotAssembly};
use crate::sitting::Who;
use crate::spool::{BatchLimits, Capture, Captured, Counter, DeltaOutcome, DownError, LinkEnd, Purged};
use crate::testing::*;

/// Bytes behind a record that decode as nothing and are found wherever the record is kept raw.
const MARK: &[u8] = b"#mark-of-this-record#";

fn marked(mut raw: Vec<u8>) -> Vec<u8> {
    raw.extend_from_slice(MARK);
    raw
}

/// The mark as the outbox's text holds it.
fn mark_in_hex() -> Vec<u8> {
    hex::encode_upper(MARK).into_bytes()
}

fn is_kept(bench: &Bench) -> bool {
    bench.holds(MARK) || bench.holds(&mark_in_hex())
}

async fn withdraw(bench: &Bench) -> Purged {
    let held = bench.spool.down().version();
    let delta = delta(held, vec![withdrawn(grant(201, alice()), at(1))]);
    match bench.spool.apply_delta(&delta, at(2)).await.unwrap() {
        DeltaOutcome::Applied(purged) => purged,
        DeltaOutcome::NotForThisVersion { .. } => panic!("the delta fits"),
    }
}

async fn hear(bench: &Bench, n: u16) {
    let meter = glucose_meter();
    let link = bench.link(&meter).await;
    bench
        .heard(link, &meter, marked(glucose(n, at(-20_000 + i64::from(n)), false)))
        .await;
    bench.closed(link, LinkEnd::Clean).await;
}

#[tokio::test]
async fn a_withdrawal_purges_the_spool_and_leaves_nothing_in_the_files() {
    let bench = Bench::new().await;
    hear(&bench, 1).await;
    assert!(is_kept(&bench));
    assert_eq!(
        withdraw(&bench).await,
        Purged {
            spooled: 1,
            ..Purged::default()
        }
    );
    assert!(!is_kept(&bench));
    assert!(!is_kept(&bench.crash_image().await));
}

#[tokio::test]
async fn a_withdrawal_voids_numbered_rows_and_drops_the_others() {
    let bench = Bench::new().await;
    bench.spool.begin_epoch(epoch(1)).await.unwrap();
    hear(&bench, 1).await;
    bench.settle().await;
    let sent = bench
        .spool
        .next_batch(epoch(1), Lane::Replay, BatchLimits::default())
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(sent.items[..], [Item::Reading(_)]));
    hear(&bench, 2).await;
    bench.settle().await;
    assert!(is_kept(&bench));
    assert_eq!(
        withdraw(&bench).await,
        Purged {
            outbox: 1,
            voided: 1,
            ..Purged::default()
        }
    );
    assert!(!is_kept(&bench));
    let image = bench.crash_image().await;
    let again = image
        .spool
        .unreceipted(epoch(1), Lane::Replay, 0, BatchLimits::default())
        .await
        .unwrap()
        .unwrap();
    assert_eq!((again.first_seq, &again.items[..]), (1, &[Item::Void][..]));
    assert_eq!(image.status().await.outbox, 0);
    let receipt = Receipt {
        epoch: epoch(1),
        lane: Lane::Replay,
        settled_through: 1,
        extra: Vec::new(),
        rejected: Vec::new(),
        server_time: noon(),
        hold_replay: false,
    };
    assert_eq!(image.spool.apply_receipt(&receipt, at(3)).await.unwrap().voids, 1);
    // A void that is still there when the next epoch begins vanishes: nobody will ask for it.
    bench.spool.begin_epoch(epoch(2)).await.unwrap();
    assert_eq!(
        bench
            .spool
            .next_batch(epoch(2), Lane::Replay, BatchLimits::default())
            .await
            .unwrap(),
        None
    );
}

#[tokio::test]
async fn a_withdrawal_purges_the_quarantine() {
    let bench = Bench::new().await;
    let meter = home_cuff();
    let link = bench.link(&meter).await;
    // One that is known to be Alice's, one that is nobody's.
    bench
        .heard(link, &meter, marked(failed_pressure(at(-5), Some(1))))
        .await;
    bench
        .heard(link, &meter, marked(pressure(120, Some(at(-5)), None)))
        .await;
    bench.settle().await;
    assert_eq!(bench.status().await.quarantined, 2);
    assert!(is_kept(&bench));
    assert_eq!(
        withdraw(&bench).await,
        Purged {
            quarantined: 2,
            ..Purged::default()
        }
    );
    assert!(!is_kept(&bench));
}

#[tokio::test]
async fn records_of_an_owner_without_consent_are_forgotten_without_a_trace() {
    let bench = Bench::new().await;
    let meter = home_cuff();
    let link = bench.link(&meter).await;
    bench
        .heard(link, &meter, marked(pressure(120, Some(at(-5)), Some(2))))
        .await;
    bench
        .heard(link, &meter, marked(failed_pressure(at(-4), Some(2))))
        .await;
    bench.settle().await;
    let status = bench.status().await;
    assert_eq!(
        (
            status.outbox,
            status.quarantined,
            status.counters[Counter::NoConsent.code()]
        ),
        (0, 0, 2)
    );
    assert!(!is_kept(&bench));
}

#[tokio::test]
async fn what_the_server_refuses_for_want_of_consent_leaves_no_trace() {
    let bench = Bench::new().await;
    bench.spool.begin_epoch(epoch(1)).await.unwrap();
    hear(&bench, 1).await;
    bench.settle().await;
    bench
        .spool
        .next_batch(epoch(1), Lane::Replay, BatchLimits::default())
        .await
        .unwrap()
        .unwrap();
    let receipt = Receipt {
        epoch: epoch(1),
        lane: Lane::Replay,
        settled_through: 1,
        extra: Vec::new(),
        rejected: vec![Rejected {
            seq: 1,
            reason: Rejection::NoConsent,
        }],
        server_time: noon(),
        hold_replay: false,
    };
    bench.spool.apply_receipt(&receipt, at(1)).await.unwrap();
    bench.spool.sweep(at(1), true).await.unwrap();
    assert!(!is_kept(&bench));
}

#[tokio::test]
async fn a_decision_taken_before_a_withdrawal_is_not_carried_out_after_it() {
    let bench = Bench::new().await;
    let meter = glucose_meter();
    let link = bench.link(&meter).await;
    let Captured::Spooled(row) = bench.heard(link, &meter, glucose(1, at(-5), false)).await else {
        panic!("it is new")
    };
    let before = bench.spool.down();
    // Somebody else consents: the row stays, the copy changes.
    bench
        .spool
        .apply_delta(&delta(1, vec![grant(202, bob())]), at(1))
        .await
        .unwrap();
    let decision = [(row, crate::spool::Settlement::Forget(Counter::NoConsent))];
    assert_eq!(
        bench
            .spool
            .settle(before.revision(), &mut decided(&decision), at(1))
            .await
            .unwrap(),
        None
    );
    assert_eq!(bench.status().await.spooled, 1);
    assert_eq!(bench.settle().await, 1);
    assert_eq!(bench.status().await.outbox, 1);
}

/// Bob, who has not consented, measures and asks to keep it until he confirms.
async fn sealed(bench: &Bench) {
    let view = bench.desk.begin(&Who::Member("BOBB".parse().unwrap())).await.unwrap();
    bench.desk.keep_until_confirmed(view.sitting).await.unwrap();
    let meter = store_cuff();
    let link = bench.link(&meter).await;
    let mut packet = packet(link, &meter, marked(pressure(120, Some(at(0)), None)), at(0));
    packet.sitting = Some(view.sitting);
    bench.spool.capture(&[Capture::Keep(packet)]).await.unwrap();
    bench.settle().await;
    bench.desk.end(view.sitting).await.unwrap();
    let status = bench.status().await;
    assert_eq!((status.sealed, status.outbox), (1, 0));
    assert!(is_kept(bench));
}

#[tokio::test]
async fn a_sealed_reading_is_destroyed_after_72_hours() {
    let bench = Bench::new().await;
    sealed(&bench).await;
    bench.spool.sweep(at(72 * 60 - 1), true).await.unwrap();
    assert!(is_kept(&bench));
    let swept = bench.spool.sweep(at(72 * 60), true).await.unwrap();
    assert_eq!((swept.sealed_expired, bench.status().await.sealed), (1, 0));
    assert!(!is_kept(&bench));
}

#[tokio::test]
async fn a_sealed_reading_is_released_when_the_gate_passes_and_destroyed_on_a_withdrawal() {
    let bench = Bench::new().await;
    sealed(&bench).await;
    // Consent from now on does not cover what was measured before; the history tick does.
    let mut later = grant(202, bob());
    later.granted_at = at(5);
    bench
        .spool
        .apply_delta(&delta(1, vec![later.clone()]), at(6))
        .await
        .unwrap();
    assert_eq!(bench.status().await.sealed, 1);
    let image = bench.crash_image().await;
    image
        .spool
        .apply_delta(&delta(2, vec![withdrawn(later.clone(), at(7))]), at(8))
        .await
        .unwrap();
    assert_eq!(image.status().await.sealed, 0);
    assert!(!is_kept(&image));
    later.includes_history = true;
    bench.spool.apply_delta(&delta(2, vec![later]), at(7)).await.unwrap();
    let status = bench.status().await;
    assert_eq!((status.sealed, status.outbox), (0, 1));
}

#[tokio::test]
async fn a_grant_that_ends_by_its_own_date_purges_too() {
    let bench = Bench::new().await;
    let mut ending = grant(201, alice());
    ending.expires_at = Some(at(10));
    bench.spool.apply_delta(&delta(1, vec![ending]), at(0)).await.unwrap();
    hear(&bench, 1).await;
    bench.settle().await;
    bench.spool.sweep(at(9), true).await.unwrap();
    assert_eq!(bench.status().await.outbox, 1);
    bench.spool.sweep(at(10), true).await.unwrap();
    assert_eq!(bench.status().await.outbox, 0);
    assert!(!is_kept(&bench));
}

#[tokio::test]
async fn a_member_whom_the_copy_no_longer_knows_is_left_to_the_server() {
    let bench = Bench::new().await;
    hear(&bench, 1).await;
    bench.settle().await;
    let mut moved = snapshot();
    moved.version = 2;
    moved.members.retain(|member| member.id != alice());
    moved.bindings.retain(|binding| binding.member != alice());
    moved.grants.clear();
    bench.spool.apply_snapshot(&moved, at(1)).await.unwrap();
    assert_eq!(bench.status().await.outbox, 1);
}

#[tokio::test]
async fn the_copy_survives_a_stop_and_a_bad_one_changes_nothing() {
    let bench = Bench::new().await;
    let before = bench.spool.down();
    let mut bad = snapshot();
    bad.version = 2;
    bad.zone = "Asia/Nowhere".to_owned();
    assert!(matches!(
        bench.spool.apply_snapshot(&bad, at(1)).await,
        Err(DownError::UnknownZone { .. })
    ));
    let late = delta(7, Vec::new());
    let outcome = bench.spool.apply_delta(&late, at(1)).await.unwrap();
    assert_eq!(outcome, DeltaOutcome::NotForThisVersion { held: 1, wanted: 7 });
    let bench = bench.reopen().await;
    let after = bench.spool.down();
    assert_eq!(
        (after.version(), after.revision(), after.store(), after.zone()),
        (1, 1, before.store(), before.zone())
    );
    assert_eq!(
        after.member_by_code(&"ALICE".parse().unwrap()),
        before.member_by_code(&"ALICE".parse().unwrap())
    );
    assert_eq!(after.meters(), before.meters());
    assert!(after.consents(alice(), at(0)) && !after.consents(bob(), at(0)));
    assert!(after.may_read(&glucose_meter(), at(0)));
    // A clock that is behind does not undo the grant.
    assert!(after.may_read(&glucose_meter(), at(0) - TimeDelta::days(40)));
}

#[test]
fn the_parts_of_a_snapshot_are_put_together_in_order_only() {
    let part = |n: u32, last: bool| {
        let mut part = snapshot();
        part.part = n;
        part.last = last;
        part
    };
    let mut assembly = SnapshotAssembly::default();
    assert_eq!(assembly.add(part(0, false)), Ok(None));
    assert_eq!(assembly.add(part(1, false)), Ok(None));
    let whole = assembly.add(part(2, true)).unwrap().unwrap();
    assert_eq!(whole.members.len(), 6);
    assert_eq!(
        assembly.add(part(1, true)),
        Err(PartError::OutOfOrder { got: 1, expected: 0 })
    );
    assert_eq!(assembly.add(part(0, false)), Ok(None));
    assert_eq!(
        assembly.add(part(2, true)),
        Err(PartError::OutOfOrder { got: 2, expected: 1 })
    );
    assert_eq!(assembly.add(part(u32::MAX, true)), Err(PartError::TooMany));
    assert!(assembly.add(part(0, true)).unwrap().is_some());
}

#[tokio::test]
async fn a_start_with_an_old_clock_erases_nothing() {
    let bench = Bench::new().await;
    hear(&bench, 1).await;
    bench.settle().await;
    hear(&bench, 2).await;
    let long_ago = at(-10 * 365 * 24 * 60);
    bench.spool.sweep(long_ago, false).await.unwrap();
    bench.spool.apply_snapshot(&snapshot(), long_ago).await.unwrap();
    let status = bench.status().await;
    assert_eq!((status.outbox, status.spooled), (1, 1));
    // What is heard then is judged by the same consent.
    bench.hands.set(long_ago);
    bench.settle().await;
    assert_eq!(bench.status().await.outbox, 2);
}

#[tokio::test]
async fn an_old_clock_does_not_undo_a_withdrawal() {
    let bench = Bench::new().await;
    hear(&bench, 1).await;
    withdraw(&bench).await;
    bench.hands.set(at(0));
    hear(&bench, 2).await;
    bench.settle().await;
    let status = bench.status().await;
    assert_eq!((status.outbox, status.counters[Counter::NoConsent.code()]), (0, 1));
    assert!(!bench.spool.down().may_read(&glucose_meter(), at(0)));
}

#[tokio::test]
async fn what_ends_by_time_alone_ends_only_by_a_trusted_clock() {
    let bench = Bench::new().await;
    sealed(&bench).await;
    let mut ending = grant(201, alice());
    ending.expires_at = Some(at(10));
    bench.spool.apply_delta(&delta(1, vec![ending]), at(0)).await.unwrap();
    hear(&bench, 1).await;
    bench.settle().await;
    let far = at(100 * 24 * 60);
    bench.spool.sweep(far, false).await.unwrap();
    let status = bench.status().await;
    assert_eq!((status.sealed, status.outbox), (1, 1));
    bench.spool.sweep(far, true).await.unwrap();
    let status = bench.status().await;
    assert_eq!((status.sealed, status.outbox), (0, 0));
}

#[tokio::test]
async fn a_seal_set_by_a_clock_that_was_not_believed_has_its_72_hours_from_when_it_is() {
    let bench = Bench::new().await;
    let view = bench.desk.begin(&Who::Member("BOBB".parse().unwrap())).await.unwrap();
    bench.desk.keep_until_confirmed(view.sitting).await.unwrap();
    let meter = store_cuff();
    let link = bench.link(&meter).await;
    let mut packet = packet(link, &meter, pressure(120, Some(at(0)), None), at(0));
    packet.sitting = Some(view.sitting);
    packet.clock_trusted = false;
    bench.spool.capture(&[Capture::Keep(packet)]).await.unwrap();
    bench.closed(link, LinkEnd::Clean).await;
    bench.settle().await;
    assert_eq!(bench.status().await.sealed, 1);
    let believed = at(365 * 24 * 60);
    bench.spool.sweep(believed, true).await.unwrap();
    assert_eq!(bench.status().await.sealed, 1);
    bench.spool.sweep(believed + TimeDelta::hours(72), true).await.unwrap();
    assert_eq!(bench.status().await.sealed, 0);
}

#[tokio::test]
async fn a_withdrawal_by_a_server_whose_clock_is_ahead_purges_at_once() {
    let bench = Bench::new().await;
    hear(&bench, 1).await;
    let meter = home_cuff();
    let link = bench.link(&meter).await;
    bench
        .heard(link, &meter, marked(failed_pressure(at(-5), Some(1))))
        .await;
    bench.settle().await;
    hear(&bench, 2).await;
    let status = bench.status().await;
    assert_eq!((status.outbox, status.quarantined, status.spooled), (1, 1, 1));
    let ahead = bench.clock.now() + TimeDelta::seconds(50);
    let delta = delta(1, vec![withdrawn(grant(201, alice()), ahead)]);
    let outcome = bench.spool.apply_delta(&delta, bench.clock.now()).await.unwrap();
    let purged = Purged {
        outbox: 1,
        quarantined: 1,
        spooled: 1,
        ..Purged::default()
    };
    assert_eq!(outcome, DeltaOutcome::Applied(purged));
    assert!(!is_kept(&bench));
}

#[tokio::test]
async fn a_withdrawal_leaves_nothing_of_what_was_delivered_before() {
    let bench = Bench::new().await;
    bench.spool.begin_epoch(epoch(1)).await.unwrap();
    hear(&bench, 1).await;
    bench.settle().await;
    bench
        .spool
        .next_batch(epoch(1), Lane::Replay, BatchLimits::default())
        .await
        .unwrap()
        .unwrap();
    let receipt = Receipt {
        epoch: epoch(1),
        lane: Lane::Replay,
        settled_through: 1,
        extra: Vec::new(),
        rejected: Vec::new(),
        server_time: noon(),
        hold_replay: false,
    };
    bench.spool.apply_receipt(&receipt, at(1)).await.unwrap();
    assert!(is_kept(&bench), "the log holds it until it is emptied");
    let image = bench.crash_image().await;
    assert_eq!(withdraw(&bench).await, Purged::default());
    assert!(!is_kept(&bench));
    // Without a withdrawal, the next tidying empties the log.
    image.spool.scrub().await.unwrap();
    assert!(!is_kept(&image));
}

#[tokio::test]
async fn the_end_of_a_binding_destroys_nothing() {
    let bench = Bench::new().await;
    let meter = plain_cuff();
    let link = bench.link(&meter).await;
    // Of nobody, because it is older than the binding.
    bench
        .heard(link, &meter, pressure(120, Some(at(-90 * 24 * 60)), None))
        .await;
    bench.settle().await;
    bench.heard(link, &meter, pressure(121, Some(at(-5)), None)).await;
    let mut ended = binding(104, &meter, alice(), None);
    ended.valid_to = Some(at(0));
    let mut delta_of = delta(1, Vec::new());
    delta_of.bindings.push(ended);
    bench.spool.apply_delta(&delta_of, at(1)).await.unwrap();
    bench.spool.sweep(at(2), true).await.unwrap();
    let status = bench.status().await;
    assert_eq!((status.spooled, status.quarantined), (1, 1));
    let mut unbound = snapshot();
    unbound.version = 3;
    unbound.bindings.retain(|binding| binding.meter != meter.id);
    bench.spool.apply_snapshot(&unbound, at(3)).await.unwrap();
    let status = bench.status().await;
    assert_eq!((status.spooled, status.quarantined), (1, 1));
}
