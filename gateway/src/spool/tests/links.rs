//! What is kept of links and meters beside what came over them.

use carepost_gatt::blood_pressure::Feature;
use chrono::TimeDelta;
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use crate::spool::schema::LAYOUTS;
use crate::spool::{Capture, Captured, LinkClock, LinkEnd, LinkId, Look, MeterStatus, Named, Spool};
use crate::testing::*;

async fn of(bench: &Bench, meter: &carepost_domain::meter::Meter) -> MeterStatus {
    let status = bench.status().await;
    status.meters.into_iter().find(|known| known.id == meter.id).unwrap()
}

fn look(skew_s: i64) -> Look {
    Look {
        skew: TimeDelta::seconds(skew_s),
        at: at(0),
    }
}

async fn clock(bench: &Bench, link: LinkId, skew_s: i64) {
    let item = Capture::Clock {
        link,
        clock: LinkClock::Read(look(skew_s)),
        feature: None,
    };
    bench.spool.capture(&[item]).await.unwrap();
}

#[tokio::test]
async fn a_file_of_the_first_layout_is_taken_over_with_what_waits_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteConnectOptions::new()
        .filename(folder.path().join("spool.sqlite"))
        .create_if_missing(true);
    let mut old = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql(LAYOUTS[0]).execute(&mut old).await.unwrap();
    let cuff = plain_cuff();
    sqlx::query("INSERT INTO links (id, meter, kind, opened_at, records) VALUES (7, $1, 'blood_pressure', 0, 1)")
        .bind(cuff.id.uuid())
        .execute(&mut old)
        .await
        .unwrap();
    sqlx::query(
        "INSERT INTO spool (link, meter, characteristic, raw, received_at, clock_trusted, nonce)
         VALUES (7, $1, 10805, $2, $3, 1, 5)",
    )
    .bind(cuff.id.uuid())
    .bind(pressure(120, Some(at(-5)), None))
    .bind(at(0).timestamp_micros())
    .execute(&mut old)
    .await
    .unwrap();
    old.close().await.unwrap();

    let (spool, recovered) = Spool::open(folder.path(), at(0)).await.unwrap();
    assert_eq!(recovered.open_links, 1);
    let rows = spool.pending(None).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (rows[0].link.looks.now, rows[0].link.closed, rows[0].provisional),
        (LinkClock::Unknown, true, false)
    );
    // References hold, and kinds that the first layout did not know are taken.
    let scale = spool
        .open_link(cuff.id, carepost_domain::meter::MeterKind::Weight, at(0))
        .await
        .unwrap();
    assert!(scale.0 > 7);
    spool.close().await;
    let mut now = SqliteConnection::connect_with(&options).await.unwrap();
    let broken: Vec<(String,)> = sqlx::query_as("SELECT \"table\" FROM pragma_foreign_key_check")
        .fetch_all(&mut now)
        .await
        .unwrap();
    assert_eq!(broken, []);
    let foreign: i64 =
        sqlx::query_scalar("SELECT count(*) FROM pragma_foreign_key_list('spool') WHERE \"table\" = 'links'")
            .fetch_one(&mut now)
            .await
            .unwrap();
    assert_eq!(foreign, 1);
}

#[tokio::test]
async fn the_skew_of_a_link_is_kept_with_the_one_known_before() {
    let bench = Bench::new().await;
    let cuff = plain_cuff();
    let first = bench.link_unread(&cuff).await;
    bench.heard(first, &cuff, pressure(120, Some(at(-5)), None)).await;
    assert_eq!(bench.settle().await, 0, "nothing is settled before the clock is known");
    clock(&bench, first, 90).await;
    // Only the first word counts.
    clock(&bench, first, -90).await;
    assert_eq!(bench.settle().await, 1);
    let status = of(&bench, &cuff).await;
    assert_eq!((status.skew_ms, status.skew_at), (Some(90_000), Some(at(0))));
    bench.closed(first, LinkEnd::Clean).await;
    let second = bench.link_unread(&cuff).await;
    bench.heard(second, &cuff, pressure(121, Some(at(-4)), None)).await;
    let rows = bench.spool.pending(None).await.unwrap();
    assert_eq!(
        (rows[0].link.looks.now, rows[0].link.looks.last),
        (LinkClock::Pending, Some(look(90)))
    );
    assert_eq!(bench.spool.last_look(second).await.unwrap(), Some(look(90)));
}

#[tokio::test]
async fn a_link_that_ends_or_is_cut_without_a_word_about_its_clock_settles_what_came() {
    let bench = Bench::new().await;
    let cuff = plain_cuff();
    let link = bench.link_unread(&cuff).await;
    bench.heard(link, &cuff, pressure(120, Some(at(-5)), None)).await;
    let image = bench.crash_image().await;
    assert_eq!((image.settle().await, image.status().await.outbox), (1, 1));
    bench.closed(link, LinkEnd::Clean).await;
    assert_eq!(bench.settle().await, 1);
}

#[tokio::test]
async fn every_meter_that_sends_by_itself_may_have_a_gap() {
    let bench = Bench::new().await;
    let mut scale = plain_cuff();
    scale.kind = carepost_domain::meter::MeterKind::Weight;
    for (meter, gaps) in [(scale, 1), (glucose_meter(), 0)] {
        let link = bench.link(&meter).await;
        bench.closed(link, LinkEnd::Unclean).await;
        let status = of(&bench, &meter).await;
        assert_eq!((status.possible_gaps, status.interrupted, status.links), (gaps, 1, 1));
    }
}

#[tokio::test]
async fn a_meter_that_hangs_up_right_after_its_record_has_no_gap_and_no_only_record() {
    let bench = Bench::new().await;
    let cuff = plain_cuff();
    let link = bench.link(&cuff).await;
    bench.heard(link, &cuff, pressure(120, None, None)).await;
    bench.closed(link, LinkEnd::HungUp).await;
    let status = of(&bench, &cuff).await;
    assert_eq!((status.possible_gaps, status.interrupted), (0, 0));
    // Nobody knows whether it is of today.
    bench.settle().await;
    assert_eq!(of(&bench, &cuff).await.quarantined.get("time_unknown"), Some(&1));
}

#[tokio::test]
async fn a_session_is_kept_until_it_is_given_up_and_a_link_that_failed_says_why() {
    let bench = Bench::new().await;
    let cuff = plain_cuff();
    // Before its first link: one that came to nothing may have turned its subscription on.
    bench.spool.set_keeps_session(cuff.id).await.unwrap();
    assert!(bench.spool.keeps_session(cuff.id).await.unwrap());
    bench.link(&cuff).await;
    bench.spool.forget_kept_session(cuff.id).await.unwrap();
    for _ in 0..2 {
        bench.spool.set_keeps_session(cuff.id).await.unwrap();
        assert!(bench.spool.keeps_session(cuff.id).await.unwrap());
    }
    bench.spool.forget_kept_session(cuff.id).await.unwrap();
    assert!(!bench.spool.keeps_session(cuff.id).await.unwrap());
    bench.spool.note_failure(cuff.id, "Not paired").await.unwrap();
    let status = of(&bench, &cuff).await;
    assert_eq!(
        (status.last_failure.as_deref(), status.connect_failures),
        (Some("Not paired"), 0)
    );
}

#[tokio::test]
async fn what_a_meter_says_of_itself_and_what_went_wrong_with_it_is_in_the_status() {
    let bench = Bench::new().await;
    let cuff = plain_cuff();
    assert_eq!(bench.spool.named(cuff.id).await.unwrap(), None);
    assert!(!bench.spool.keeps_session(cuff.id).await.unwrap());
    let named = Named {
        manufacturer: "OMRON HEALTHCARE".to_owned(),
        model: "HEM-7361T".to_owned(),
        serial: "1".to_owned(),
        firmware: "2.0".to_owned(),
    };
    bench.spool.set_named(cuff.id, &named).await.unwrap();
    assert_eq!(bench.spool.named(cuff.id).await.unwrap(), Some(named));
    bench.spool.set_keeps_session(cuff.id).await.unwrap();
    assert!(bench.spool.keeps_session(cuff.id).await.unwrap());
    bench.spool.note_gap(cuff.id, at(0)).await.unwrap();
    bench
        .spool
        .note_connect_failure(cuff.id, &"声".repeat(500))
        .await
        .unwrap();
    let link = bench.link(&cuff).await;
    for _ in 0..2 {
        bench.heard(link, &cuff, vec![1]).await;
    }
    bench.settle().await;
    let status = of(&bench, &cuff).await;
    assert_eq!(
        (
            status.firmware.as_deref(),
            status.possible_gaps,
            status.connect_failures
        ),
        (Some("2.0"), 1, 1)
    );
    assert_eq!((status.duplicates, status.rejects), (1, 1));
    assert!(status.last_failure.unwrap().len() <= 200);
}

#[tokio::test]
async fn what_a_cuff_declares_is_known_of_its_link() {
    let bench = Bench::new().await;
    let asked = [None, Some(Feature(0)), None, Some(Feature(u16::MAX)), None];
    let mut last = None;
    for feature in asked {
        last = feature.or(last);
        let link = bench.link_unread(&plain_cuff()).await;
        let clock = |feature| Capture::Clock {
            link,
            clock: LinkClock::Unknown,
            feature,
        };
        bench
            .heard(link, &plain_cuff(), pressure(120, Some(at(-5)), None))
            .await;
        // Only the first word counts.
        let captured = bench.spool.capture(&[clock(feature), clock(Some(Feature(7)))]).await;
        assert_eq!(captured.unwrap(), [Captured::Noted, Captured::Noted]);
        let rows = bench.spool.pending(None).await.unwrap();
        // One that was not asked declares what it did before.
        assert_eq!(rows.last().unwrap().link.feature, last, "{feature:?}");
    }
}
