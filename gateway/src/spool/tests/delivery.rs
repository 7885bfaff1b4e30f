//! Numbers, batches and receipts.

use carepost_contract::limits::{MAX_BATCH_BYTES, MAX_BATCH_ITEMS};
use carepost_contract::v1::{Item, Lane, Receipt, Rejected, Rejection, parse_batch};
use carepost_domain::id::ReadingId;
use carepost_domain::quarantine::Reason;
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use crate::spool::schema::LAYOUTS;
use crate::spool::{BatchLimits, Capture, Counter, LinkEnd, OutBatch, Spool};
use crate::testing::*;

/// Spools and settles glucose records `from..=to`, all old enough for the replay lane.
async fn records(bench: &Bench, from: u16, to: u16) {
    let meter = glucose_meter();
    let link = bench.link(&meter).await;
    let items: Vec<Capture> = (from..=to)
        .map(|n| {
            Capture::Keep(packet(
                link,
                &meter,
                glucose(n, at(-20_000 + i64::from(n)), false),
                noon(),
            ))
        })
        .collect();
    bench.spool.capture(&items).await.unwrap();
    bench.closed(link, LinkEnd::Clean).await;
    bench.settle().await;
}

fn receipt(n: u64, through: u64) -> Receipt {
    Receipt {
        epoch: epoch(n),
        lane: Lane::Replay,
        settled_through: through,
        extra: Vec::new(),
        rejected: Vec::new(),
        server_time: noon(),
        hold_replay: false,
    }
}

fn ids(batch: &OutBatch) -> Vec<ReadingId> {
    batch
        .items
        .iter()
        .map(|item| match item {
            Item::Reading(reading) => reading.id,
            Item::Void => panic!("no void expected"),
        })
        .collect()
}

async fn next(bench: &Bench, n: u64, items: usize) -> Option<OutBatch> {
    let limits = BatchLimits {
        items,
        ..BatchLimits::default()
    };
    bench.spool.next_batch(epoch(n), Lane::Replay, limits).await.unwrap()
}

async fn again(bench: &Bench, n: u64, after: u64) -> Option<OutBatch> {
    bench
        .spool
        .unreceipted(epoch(n), Lane::Replay, after, BatchLimits::default())
        .await
        .unwrap()
}

#[tokio::test]
async fn numbers_are_given_once_in_order_and_survive_a_power_cut() {
    let bench = Bench::new().await;
    bench.spool.begin_epoch(epoch(1)).await.unwrap();
    records(&bench, 1, 5).await;
    assert_eq!(bench.spool.unnumbered(Lane::Replay).await.unwrap(), 5);
    let first = next(&bench, 1, 2).await.unwrap();
    let second = next(&bench, 1, 200).await.unwrap();
    assert_eq!(
        (first.first_seq, first.last_seq(), second.first_seq, second.last_seq()),
        (1, 2, 3, 5)
    );
    assert_eq!(next(&bench, 1, 200).await, None);
    let image = bench.crash_image().await;
    assert_eq!(
        again(&image, 1, 0).await.map(|batch| ids(&batch)),
        Some([ids(&first), ids(&second)].concat())
    );
    // In an epoch that was not begun there is nothing.
    assert_eq!(next(&bench, 9, 200).await, None);
    assert_eq!(again(&bench, 9, 0).await, None);
}

#[tokio::test]
async fn a_batch_is_what_the_contract_allows() {
    let bench = Bench::new().await;
    bench.spool.begin_epoch(epoch(1)).await.unwrap();
    records(&bench, 1, 300).await;
    let mut seen = 0;
    while let Some(batch) = bench
        .spool
        .next_batch(epoch(1), Lane::Replay, BatchLimits::default())
        .await
        .unwrap()
    {
        let payload = serde_json::to_vec(&batch.clone().into_batch(id(5))).unwrap();
        assert!(
            payload.len() <= MAX_BATCH_BYTES && batch.items.len() <= MAX_BATCH_ITEMS,
            "{}",
            payload.len()
        );
        let parsed = parse_batch(&payload).unwrap();
        assert_eq!(parsed.first_seq, seen + 1);
        assert!(parsed.items.iter().all(Result::is_ok));
        seen += u64::try_from(parsed.items.len()).unwrap();
        // Nearly full: the estimate of the frame is not wasteful.
        assert!(seen == 300 || payload.len() > MAX_BATCH_BYTES * 9 / 10 || batch.items.len() == MAX_BATCH_ITEMS);
    }
    assert_eq!(seen, 300);
    let tiny = BatchLimits { bytes: 1, items: 10 };
    records(&bench, 301, 301).await;
    assert_eq!(
        bench
            .spool
            .next_batch(epoch(1), Lane::Replay, tiny)
            .await
            .unwrap()
            .unwrap()
            .items
            .len(),
        1
    );
}

#[tokio::test]
async fn a_row_leaves_only_on_a_receipt_and_a_receipt_twice_does_nothing_more() {
    let bench = Bench::new().await;
    bench.spool.begin_epoch(epoch(1)).await.unwrap();
    records(&bench, 1, 5).await;
    let batch = next(&bench, 1, 200).await.unwrap();
    let mut two = receipt(1, 2);
    two.extra = vec![4, 99];
    let summary = bench.spool.apply_receipt(&two, noon()).await.unwrap();
    assert_eq!(summary.delivered, [ids(&batch)[0], ids(&batch)[1], ids(&batch)[3]]);
    let image = bench.crash_image().await;
    assert_eq!(image.status().await.outbox, 2);
    // The gap only, each run by itself.
    let run = again(&bench, 1, 0).await.unwrap();
    assert_eq!((run.first_seq, run.items.len(), run.settled_seen), (3, 1, 2));
    let run = again(&bench, 1, run.last_seq()).await.unwrap();
    assert_eq!((run.first_seq, run.items.len()), (5, 1));
    assert_eq!(again(&bench, 1, run.last_seq()).await, None);
    let repeated = bench.spool.apply_receipt(&two, noon()).await.unwrap();
    assert_eq!((repeated.ignored, repeated.delivered.len()), (false, 0));
    // One that is older than what was seen changes nothing either.
    bench.spool.apply_receipt(&receipt(1, 1), noon()).await.unwrap();
    assert_eq!(again(&bench, 1, 0).await.unwrap().settled_seen, 2);
    // Numbers that were never given settle nothing.
    bench.spool.apply_receipt(&receipt(1, u64::MAX), noon()).await.unwrap();
    records(&bench, 6, 6).await;
    let later = next(&bench, 1, 200).await.unwrap();
    assert_eq!((later.first_seq, later.settled_seen), (6, 5));
    let status = bench.status().await;
    assert_eq!(
        (status.outbox, status.delivered, status.last_receipt_at),
        (1, 5, Some(noon()))
    );
}

#[tokio::test]
async fn a_new_epoch_numbers_afresh_and_ignores_receipts_of_the_old() {
    let bench = Bench::new().await;
    bench.spool.begin_epoch(epoch(1)).await.unwrap();
    records(&bench, 1, 3).await;
    let old = next(&bench, 1, 2).await.unwrap();
    bench.spool.apply_receipt(&receipt(1, 1), noon()).await.unwrap();
    let bench = bench.reopen().await;
    bench.spool.begin_epoch(epoch(2)).await.unwrap();
    assert!(bench.spool.apply_receipt(&receipt(1, 3), noon()).await.unwrap().ignored);
    let new = next(&bench, 2, 200).await.unwrap();
    assert_eq!((new.first_seq, new.settled_seen, new.items.len()), (1, 0, 2));
    assert_eq!(ids(&new)[0], ids(&old)[1]);
}

#[tokio::test]
async fn refused_readings_are_forgotten_or_kept_aside_by_the_servers_reason() {
    let bench = Bench::new().await;
    bench.spool.begin_epoch(epoch(1)).await.unwrap();
    records(&bench, 1, 3).await;
    let batch = next(&bench, 1, 200).await.unwrap();
    let mut refusing = receipt(1, 3);
    refusing.rejected = vec![
        Rejected {
            seq: 1,
            reason: Rejection::NoConsent,
        },
        Rejected {
            seq: 3,
            reason: Rejection::Unusable(Reason::Inconsistent),
        },
    ];
    let summary = bench.spool.apply_receipt(&refusing, noon()).await.unwrap();
    assert_eq!(summary.refused, [ids(&batch)[0]]);
    assert_eq!(summary.delivered, [ids(&batch)[1]]);
    assert_eq!(summary.quarantined, [(ids(&batch)[2], Reason::Inconsistent)]);
    let status = bench.status().await;
    assert_eq!(
        (
            status.outbox,
            status.delivered,
            status.quarantine_reasons["inconsistent"]
        ),
        (0, 1, 1)
    );
    assert_eq!(status.counters[Counter::RejectedNoConsent.code()], 1);
    assert_eq!(status.counters[Counter::RejectedUnusable.code()], 1);
    // A rejection of a number that is not settled yet waits until it is.
    records(&bench, 4, 4).await;
    next(&bench, 1, 200).await.unwrap();
    let mut early = receipt(1, 3);
    early.rejected = vec![Rejected {
        seq: 4,
        reason: Rejection::NoConsent,
    }];
    let summary = bench.spool.apply_receipt(&early, noon()).await.unwrap();
    assert_eq!((summary.refused.len(), bench.status().await.outbox), (0, 1));
}

#[tokio::test]
async fn a_record_that_the_server_has_is_not_sent_again_when_a_sync_reads_it_again() {
    let bench = Bench::new().await;
    bench.spool.begin_epoch(epoch(1)).await.unwrap();
    records(&bench, 1, 3).await;
    next(&bench, 1, 200).await.unwrap();
    bench.spool.apply_receipt(&receipt(1, 3), noon()).await.unwrap();
    // The newest one is the anchor by which the next sync sees that nothing was reset.
    records(&bench, 3, 4).await;
    let batch = next(&bench, 1, 200).await.unwrap();
    assert_eq!((batch.first_seq, batch.items.len()), (4, 1));
}

#[tokio::test]
async fn readings_that_wait_in_a_file_of_layout_7_go_up_with_those_that_come_later() {
    let bench = Bench::new().await;
    records(&bench, 1, 4).await;
    let readings = bench.outbox().await;

    let folder = tempfile::tempdir().unwrap();
    let options = SqliteConnectOptions::new()
        .filename(folder.path().join("spool.sqlite"))
        .create_if_missing(true);
    let mut old = SqliteConnection::connect_with(&options).await.unwrap();
    for layout in &LAYOUTS[..7] {
        sqlx::raw_sql(*layout).execute(&mut old).await.unwrap();
    }
    // Row 5 was the last and has gone; a void is between the others.
    sqlx::raw_sql("INSERT INTO sqlite_sequence (name, seq) VALUES ('outbox', 5)")
        .execute(&mut old)
        .await
        .unwrap();
    for (row, reading) in (1_i64..).zip(&readings[..2]) {
        sqlx::query(
            "INSERT INTO outbox (id, reading_id, member, meter, measured_at, captured_at, lane, seq, reading)
             VALUES ($1, $2, $3, $4, $5, $6, 'replay', 2 * $1, $7)",
        )
        .bind(row)
        .bind(reading.id.uuid())
        .bind(reading.member.uuid())
        .bind(reading.meter.uuid())
        .bind(reading.time.at.timestamp_micros())
        .bind(reading.captured_at.timestamp_micros())
        .bind(serde_json::to_string(reading).unwrap())
        .execute(&mut old)
        .await
        .unwrap();
    }
    sqlx::raw_sql("INSERT INTO outbox (id, captured_at, lane, seq) VALUES (3, 0, 'replay', 3)")
        .execute(&mut old)
        .await
        .unwrap();
    let sealed = &readings[2];
    sqlx::query(
        "INSERT INTO sealed (reading_id, member, measured_at, sealed_at, reading, clock_trusted)
         VALUES ($1, $2, $3, $4, $5, 1)",
    )
    .bind(sealed.id.uuid())
    .bind(sealed.member.uuid())
    .bind(sealed.time.at.timestamp_micros())
    .bind(noon().timestamp_micros())
    .bind(serde_json::to_string(sealed).unwrap())
    .execute(&mut old)
    .await
    .unwrap();
    old.close().await.unwrap();

    let (spool, _) = Spool::open(folder.path(), noon()).await.unwrap();
    let status = spool.status().await.unwrap();
    assert_eq!((status.outbox, status.sealed), (2, 1));
    // The sealed one is released by the copy, which says that its member consents.
    spool.apply_snapshot(&snapshot(), noon()).await.unwrap();
    spool.begin_epoch(epoch(1)).await.unwrap();
    let batch = spool
        .next_batch(epoch(1), Lane::Replay, BatchLimits::default())
        .await
        .unwrap()
        .unwrap();
    let sent = batch.items.into_iter().map(|item| match item {
        Item::Reading(reading) => *reading,
        Item::Void => panic!("a void of an older epoch"),
    });
    assert_eq!(sent.collect::<Vec<_>>(), readings[..3]);
    spool.close().await;
    let mut now = SqliteConnection::connect_with(&options).await.unwrap();
    let rows: Vec<i64> = sqlx::query_scalar("SELECT id FROM outbox ORDER BY id")
        .fetch_all(&mut now)
        .await
        .unwrap();
    assert_eq!(rows, [1, 2, 6], "no number is given twice");
    let checked: String = sqlx::query_scalar("PRAGMA integrity_check")
        .fetch_one(&mut now)
        .await
        .unwrap();
    assert_eq!(checked, "ok");
}
