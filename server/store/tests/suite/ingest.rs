//! Batches.

use carepost_domain::consent::Purpose;
use carepost_domain::id::GatewayId;
use carepost_domain::quarantine::Reason;
use carepost_domain::reading::{Attribution, Flag};
use carepost_store::limits::{MAX_BATCH_ITEMS, MAX_QUARANTINE_BYTES, MAX_QUARANTINE_ROWS, MAX_REJECTED};
use carepost_store::model::{By, Incoming, IncomingItem, Lane, Rejection, StoreSite};
use carepost_store::testing::execute;
use carepost_store::{Disposition, IngestError};
use chrono::TimeDelta;

use crate::bench::{Bench, change, id, minutes, reading_of};

const MALFORMED: Rejection = Rejection::Unusable(Reason::Malformed);

fn malformed(n: usize) -> IncomingItem {
    IncomingItem::Malformed {
        text: format!("{{\"item\": {n}}}"),
    }
}

pub(crate) async fn a_reading_is_stored_once_and_comes_back_as_it_was(bench: Bench) {
    let low = change(bench.glucose(61, 7, bench.now - minutes(3)), |reading| {
        reading.flags.push(Flag::NotRested);
        reading.slot = Some(carepost_domain::reading::Slot::BeforeLunch);
    });
    let items = vec![
        bench.bp(128, 79, bench.now - minutes(9)),
        low,
        bench.store_bp(131, 82, bench.now - minutes(1)),
    ];
    let outcome = bench.ingest(&bench.batch(1, items.clone())).await;
    assert_eq!(
        (outcome.settled_through, outcome.new_readings.len(), outcome.duplicates),
        (3, 3, 0)
    );
    assert!(outcome.extra.is_empty() && outcome.rejected.is_empty());
    let page = bench.store.readings(&bench.by(), bench.member, None, 10).await.unwrap();
    let stored: Vec<_> = page.readings.iter().map(|stored| &stored.reading).collect();
    let sent: Vec<_> = items.iter().rev().map(reading_of).collect();
    assert_eq!(stored, sent, "every field, the newest first");
    assert!(
        page.readings
            .iter()
            .all(|stored| stored.gateway == bench.gateway && stored.received_at == bench.now)
    );
    assert_eq!(page.next, None);
}

pub(crate) async fn a_repeat_changes_nothing_and_gives_the_same_receipt(bench: Bench) {
    let items = vec![
        bench.glucose(25, 1, bench.now - minutes(3)),
        malformed(1),
        IncomingItem::Void,
        change(bench.glucose(70, 2, bench.now - minutes(2)), |reading| {
            reading.member = id(0x8F)
        }),
    ];
    let incoming = bench.batch(1, items);
    let first = bench.ingest(&incoming).await;
    assert_eq!(first.settled_through, 4);
    assert_eq!(
        first.rejected,
        [(2, MALFORMED), (4, Rejection::Unusable(Reason::UnknownMember))]
    );
    assert_eq!(first.members_changed, [bench.member]);
    let before = (
        bench.store.counts(bench.now).await.unwrap(),
        bench.store.queue_version().await.unwrap(),
    );
    let audit = bench
        .store
        .audit_of(&bench.by(), bench.member, 500)
        .await
        .unwrap()
        .len();
    for _ in 0..3 {
        let again = bench.ingest(&incoming).await;
        assert_eq!(
            (again.settled_through, &again.extra, &again.rejected),
            (4, &first.extra, &first.rejected)
        );
        assert_eq!((again.new_readings.len(), again.duplicates), (0, 1));
        assert!(again.members_changed.is_empty());
    }
    let mut after = bench.store.counts(bench.now).await.unwrap();
    // Looking at the audit is itself recorded.
    after.audit_unsealed -= 1;
    assert_eq!((after, bench.store.queue_version().await.unwrap()), before);
    assert_eq!(
        bench
            .store
            .audit_of(&bench.by(), bench.member, 500)
            .await
            .unwrap()
            .len(),
        audit + 1
    );
}

pub(crate) async fn numbers_behind_a_gap_are_settled_as_extra(bench: Bench) {
    let later = bench.batch(
        3,
        vec![bench.glucose(60, 3, bench.now - minutes(1)), IncomingItem::Void],
    );
    let outcome = bench.ingest(&later).await;
    assert_eq!((outcome.settled_through, outcome.extra), (0, vec![3, 4]));
    // The replay lane counts for itself.
    let mut replay = bench.batch(1, vec![bench.glucose(61, 9, bench.now - minutes(90))]);
    replay.lane = Lane::Replay;
    assert_eq!(bench.ingest(&replay).await.settled_through, 1);
    let first = bench.batch(
        1,
        vec![
            bench.glucose(62, 1, bench.now - minutes(3)),
            bench.glucose(63, 2, bench.now - minutes(2)),
        ],
    );
    let outcome = bench.ingest(&first).await;
    assert_eq!((outcome.settled_through, outcome.extra), (4, Vec::new()));
    let cursors = bench.store.cursors(bench.gateway, crate::bench::EPOCH).await.unwrap();
    assert_eq!((cursors.live, cursors.replay), (4, 1));
}

pub(crate) async fn a_rejection_is_told_until_it_was_seen(bench: Bench) {
    bench.ingest(&bench.batch(1, vec![malformed(1)])).await;
    let mut next = bench.batch(2, vec![IncomingItem::Void]);
    assert_eq!(
        bench.ingest(&next).await.rejected,
        [(1, MALFORMED)],
        "the receipt may have been lost"
    );
    next.first_seq = 3;
    next.settled_seen = 1;
    assert!(bench.ingest(&next).await.rejected.is_empty());
    // A gateway that claims to have seen the future has not.
    bench.ingest(&bench.batch(4, vec![malformed(2)])).await;
    let boast = Incoming {
        settled_seen: 1_000,
        ..bench.batch(6, vec![malformed(3)])
    };
    assert_eq!(bench.ingest(&boast).await.rejected, [(6, MALFORMED)]);
}

pub(crate) async fn a_lane_waits_when_too_many_rejections_are_unseen(bench: Bench) {
    let full = u64::try_from(MAX_BATCH_ITEMS).unwrap();
    let bad = |first: u64| bench.batch(first, (0..MAX_BATCH_ITEMS).map(malformed).collect());
    assert_eq!(bench.ingest(&bad(1)).await.settled_through, full);
    let outcome = bench.ingest(&bad(full + 1)).await;
    let limit = u64::try_from(MAX_REJECTED).unwrap();
    assert_eq!((outcome.settled_through, outcome.rejected.len()), (limit, MAX_REJECTED));
    let good = bench.batch(2 * full + 1, vec![bench.glucose(60, 1, bench.now - minutes(1))]);
    let outcome = bench.ingest(&good).await;
    assert_eq!(
        (outcome.settled_through, outcome.extra),
        (limit, vec![2 * full + 1]),
        "good readings still pass"
    );
    let rest = Incoming {
        settled_seen: limit,
        ..bad(full + 1)
    };
    let outcome = bench.ingest(&rest).await;
    assert_eq!(
        (outcome.settled_through, outcome.rejected.len()),
        (2 * full + 1, 2 * MAX_BATCH_ITEMS - MAX_REJECTED)
    );
}

pub(crate) async fn without_consent_nothing_is_kept(bench: Bench) {
    let (other, meter) = bench.second_member().await;
    bench
        .store
        .withdraw(&bench.by(), other, Purpose::CareRecord)
        .await
        .unwrap();
    let stranger = id(0x85);
    bench.join(stranger, "CP-0005", Vec::new()).await;
    let items = vec![
        bench.glucose_of(other, meter, 0xA4, 60, 1, bench.now - minutes(1)),
        change(bench.glucose(61, 2, bench.now - minutes(1)), |reading| {
            reading.member = stranger
        }),
        bench.glucose(62, 3, bench.now - minutes(1)),
    ];
    let outcome = bench.ingest(&bench.batch(1, items)).await;
    assert_eq!(outcome.rejected, [(1, Rejection::NoConsent), (2, Rejection::NoConsent)]);
    assert_eq!((outcome.settled_through, outcome.new_readings.len()), (3, 1));
    let counts = bench.store.counts(bench.now).await.unwrap();
    assert_eq!(
        (counts.readings, counts.quarantine.len()),
        (1, 0),
        "not in quarantine either"
    );
}

pub(crate) async fn consent_is_asked_for_both_times(bench: Bench) {
    let by = bench.by();
    let early = bench.glucose(60, 1, bench.now - TimeDelta::days(500));
    let outcome = bench.ingest(&bench.batch(1, vec![early.clone()])).await;
    assert_eq!(
        outcome.rejected,
        [(1, Rejection::NoConsent)],
        "history from before the first grant needs its own tick"
    );
    bench
        .store
        .withdraw(&by, bench.member, Purpose::CareRecord)
        .await
        .unwrap();
    let (now, between) = (bench.now + minutes(60), bench.now + minutes(30));
    let mut grant = bench.new_grant(bench.member, Purpose::CareRecord, 0x93, now);
    grant.grant.includes_history = true;
    bench
        .store
        .grant(&By::staff(bench.pharmacist, now), &grant)
        .await
        .unwrap();
    let items = vec![bench.glucose(61, 2, between), bench.glucose(62, 3, now), early.clone()];
    let outcome = bench
        .store
        .ingest_batch(&bench.batch(2, items), &bench.rules, now)
        .await
        .unwrap();
    let refused: Vec<u64> = outcome.rejected.iter().map(|(seq, _)| *seq).collect();
    assert_eq!(
        refused,
        [1, 2],
        "measured while withdrawn; and what was refused stays refused under its number"
    );
    let stored: Vec<_> = outcome.new_readings;
    assert_eq!(stored.len(), 2);
    assert!(stored.contains(&reading_of(&early).id), "the new grant ticks history");
}

pub(crate) async fn a_malformed_item_is_kept_once_and_blocks_nothing(bench: Bench) {
    let incoming = bench.batch(
        1,
        vec![malformed(1), bench.glucose(60, 1, bench.now - minutes(1)), malformed(1)],
    );
    let outcome = bench.ingest(&incoming).await;
    assert_eq!((outcome.settled_through, outcome.new_readings.len()), (3, 1));
    assert_eq!(outcome.rejected, [(1, MALFORMED), (3, MALFORMED)]);
    bench.ingest(&incoming).await;
    let kept = bench.store.quarantined_messages(10).await.unwrap();
    assert_eq!(kept.len(), 1, "equal texts are one row");
    assert_eq!(
        (kept[0].reason, kept[0].gateway, kept[0].count),
        (Reason::Malformed, Some(bench.gateway), 2)
    );
    assert_eq!(kept[0].bytes, b"{\"item\": 1}");
}

pub(crate) async fn one_packet_for_two_members_is_a_conflict(bench: Bench) {
    // The meter was handed on, and the first gateway's word is stored; then somebody claims the same packet.
    let other = id(0x82);
    bench.join(other, "CP-0002", Vec::new()).await;
    bench
        .consent(other, Purpose::CareRecord, 0x92, bench.now - TimeDelta::days(400))
        .await;
    let mine = bench.store_bp(131, 82, bench.now - minutes(1));
    let theirs = change(mine.clone(), |reading| reading.member = other);
    assert_eq!(
        reading_of(&mine).id,
        reading_of(&theirs).id,
        "the member is no part of the id"
    );
    bench.ingest(&bench.batch(1, vec![mine.clone()])).await;
    let outcome = bench.ingest(&bench.batch(2, vec![theirs.clone(), mine])).await;
    assert_eq!(outcome.rejected, [(2, Rejection::Unusable(Reason::MemberConflict))]);
    assert_eq!(
        (outcome.new_readings.len(), outcome.duplicates, outcome.settled_through),
        (0, 1, 3)
    );
    assert!(
        bench
            .store
            .readings(&bench.by(), other, None, 10)
            .await
            .unwrap()
            .readings
            .is_empty()
    );
    // In one batch the first claim counts.
    let pair = bench.store_bp(120, 80, bench.now - minutes(2));
    let claimed = change(pair.clone(), |reading| reading.member = other);
    let outcome = bench.ingest(&bench.batch(4, vec![claimed, pair])).await;
    assert_eq!(outcome.new_readings.len(), 1);
    assert!(
        outcome
            .rejected
            .contains(&(5, Rejection::Unusable(Reason::MemberConflict)))
    );
    assert_eq!(
        bench
            .store
            .readings(&bench.by(), other, None, 10)
            .await
            .unwrap()
            .readings
            .len(),
        1
    );
}

pub(crate) async fn two_gateways_store_one_reading_once(bench: Bench) {
    let second: GatewayId = id(0x62);
    bench.enrol(second, bench.site).await;
    let item = bench.glucose(60, 1, bench.now - minutes(1));
    let mut again = bench.batch(1, vec![item.clone(), item.clone()]);
    let outcome = bench.ingest(&again).await;
    assert_eq!((outcome.new_readings.len(), outcome.duplicates), (1, 1));
    again.gateway = second;
    let outcome = bench.ingest(&again).await;
    assert_eq!(
        (outcome.new_readings.len(), outcome.duplicates, outcome.settled_through),
        (0, 2, 2)
    );
    let page = bench.store.readings(&bench.by(), bench.member, None, 10).await.unwrap();
    assert_eq!(
        (page.readings.len(), page.readings[0].gateway),
        (1, bench.gateway),
        "the first is remembered"
    );
    assert_eq!(bench.store.counts(bench.now).await.unwrap().readings, 1);
}

pub(crate) async fn only_enrolled_gateways_may_send(bench: Bench) {
    let item = bench.glucose(60, 1, bench.now - minutes(1));
    let mut incoming = bench.batch(1, vec![item]);
    incoming.gateway = id(0x6F);
    let unknown = bench
        .store
        .ingest_batch(&incoming, &bench.rules, bench.now)
        .await
        .unwrap_err();
    assert!(matches!(unknown, IngestError::GatewayUnknown(_)));
    assert_eq!(unknown.disposition(), Disposition::Reject);
    bench.store.revoke_gateway(&bench.by(), bench.gateway).await.unwrap();
    incoming.gateway = bench.gateway;
    let revoked = bench.store.ingest_batch(&incoming, &bench.rules, bench.now).await;
    assert!(matches!(revoked, Err(IngestError::GatewayRevoked(_))));
    assert_eq!(bench.store.counts(bench.now).await.unwrap().readings, 0);
}

pub(crate) async fn values_that_do_not_follow_from_the_bytes_are_refused(bench: Bench) {
    let now = bench.now;
    let items = vec![
        change(bench.glucose(60, 1, now - minutes(1)), |reading| reading.raw[10] ^= 1),
        change(bench.glucose(60, 2, now - minutes(1)), |reading| reading.id = id(1)),
        change(bench.glucose(60, 3, now - minutes(1)), |reading| {
            reading.time.at -= minutes(5)
        }),
        change(bench.glucose(60, 4, now - minutes(1)), |reading| {
            reading.meter = id(0xC9)
        }),
        bench.glucose(60, 5, now + minutes(30)),
        change(bench.glucose(60, 6, now - minutes(1)), |reading| {
            reading.raw.truncate(3)
        }),
    ];
    let outcome = bench.ingest(&bench.batch(1, items)).await;
    let reasons: Vec<Rejection> = outcome.rejected.iter().map(|(_, why)| *why).collect();
    let expected = [
        Reason::Inconsistent,
        Reason::Inconsistent,
        Reason::Inconsistent,
        Reason::UnknownMeter,
        Reason::TimeInFuture,
        Reason::Undecodable,
    ];
    assert_eq!(reasons, expected.map(Rejection::Unusable));
    assert_eq!((outcome.settled_through, outcome.new_readings.len()), (6, 0));
}

pub(crate) async fn a_stores_own_meter_needs_the_store(bench: Bench) {
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
    let mut far = bench.batch(1, vec![bench.store_bp(120, 80, bench.now - minutes(1))]);
    far.gateway = id(0x62);
    let not_plausible = Rejection::Unusable(Reason::NotAttributable);
    assert_eq!(bench.ingest(&far).await.rejected, [(1, not_plausible)]);
    let personal = change(bench.bp(120, 80, bench.now - minutes(1)), |reading| {
        reading.attribution = Attribution::Sitting { sitting: id(0xB1) };
    });
    assert_eq!(
        bench.ingest(&bench.batch(1, vec![personal])).await.rejected,
        [(1, not_plausible)]
    );
}

pub(crate) async fn a_batch_outside_the_contract_is_refused(bench: Bench) {
    let long = (0..=MAX_BATCH_ITEMS).map(|_| IncomingItem::Void).collect();
    let good = bench.batch(1, vec![IncomingItem::Void]);
    let bad = [
        bench.batch(1, Vec::new()),
        bench.batch(1, long),
        Incoming {
            first_seq: 0,
            ..good.clone()
        },
        Incoming {
            first_seq: u64::MAX,
            ..good.clone()
        },
        Incoming {
            settled_seen: u64::MAX,
            ..good.clone()
        },
        Incoming {
            epoch: String::new(),
            ..good.clone()
        },
        Incoming {
            epoch: "x".repeat(17),
            ..good
        },
    ];
    for incoming in bad {
        let refused = bench.store.ingest_batch(&incoming, &bench.rules, bench.now).await;
        assert!(matches!(refused, Err(IngestError::BadBatch)));
    }
}

pub(crate) async fn equal_messages_are_one_row_in_quarantine(bench: Bench) {
    let big = vec![b'x'; MAX_QUARANTINE_BYTES + 100];
    for n in 0..3 {
        let at = bench.now + minutes(n);
        bench
            .store
            .quarantine_message(Some(bench.gateway), Reason::TooLarge, &big, at)
            .await
            .unwrap();
    }
    bench
        .store
        .quarantine_message(None, Reason::BadSignature, b"hello", bench.now)
        .await
        .unwrap();
    let kept = bench.store.quarantined_messages(10).await.unwrap();
    assert_eq!(kept.len(), 2);
    assert_eq!(
        (kept[0].count, kept[0].first_at, kept[0].last_at),
        (3, bench.now, bench.now + minutes(2))
    );
    assert_eq!(kept[0].bytes.len(), MAX_QUARANTINE_BYTES, "cut");
    assert_eq!(
        kept[0].length,
        i64::try_from(big.len()).unwrap(),
        "with its true length"
    );
    let counts = bench.store.counts(bench.now).await.unwrap();
    let by_reason: Vec<_> = counts
        .quarantine
        .iter()
        .map(|row| (row.reason, row.messages, row.arrivals))
        .collect();
    assert_eq!(by_reason, [(Reason::BadSignature, 1, 1), (Reason::TooLarge, 1, 3)]);
}

pub(crate) async fn the_quarantine_is_bounded(bench: Bench) {
    bench
        .store
        .quarantine_message(None, Reason::BadSignature, b"the oldest", bench.now)
        .await
        .unwrap();
    execute(
        &bench.store,
        &format!("UPDATE counter SET value = {MAX_QUARANTINE_ROWS} WHERE name = 'quarantine_rows'"),
    )
    .await
    .unwrap();
    bench
        .store
        .quarantine_message(None, Reason::BadSignature, b"the newest", bench.now + minutes(1))
        .await
        .unwrap();
    let kept = bench.store.quarantined_messages(10).await.unwrap();
    assert_eq!((kept.len(), kept[0].bytes.as_slice()), (1, &b"the newest"[..]));
    assert_eq!(
        bench.store.counts(bench.now).await.unwrap().quarantine_dropped,
        1,
        "and it is counted"
    );
}
