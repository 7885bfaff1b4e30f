//! A disk that is full: nothing of what was begun is done, and as soon as there is room, everything can be.

use carepost_gatt::uuid16;

use crate::spool::{Capture, Captured, Disposition, Named, SpoolRow};
use crate::testing::*;

/// Different records, each of so many bytes that few of them fill a page.
fn large(link: crate::spool::LinkId, numbers: std::ops::Range<u16>) -> Vec<Capture> {
    let record = |number: u16| {
        let raw = [&number.to_le_bytes()[..], &[0xAA; 500]].concat();
        let packet = packet(link, &glucose_meter(), raw, noon());
        Capture::Keep(crate::spool::NewPacket {
            characteristic: uuid16::BLOOD_PRESSURE_MEASUREMENT,
            ..packet
        })
    };
    numbers.map(record).collect()
}

#[tokio::test]
async fn what_found_no_room_is_captured_when_there_is_some() {
    for together in [1, 2, 100] {
        let bench = Bench::new().await;
        let link = bench.link(&glucose_meter()).await;
        bench.limit_to_pages(1).await;
        let mut captured = 0;
        let error = loop {
            match bench.spool.capture(&large(link, captured..captured + together)).await {
                Ok(_) => captured += together,
                Err(error) => break error,
            }
        };
        assert!(error.is_disk_full(), "{error:?}");
        // As often as it is tried.
        for _ in 0..3 {
            bench.limit_to_pages(1).await;
            let again = bench.spool.capture(&large(link, captured..captured + 100)).await;
            assert_eq!(again.unwrap_err().disposition(), Disposition::Retry);
        }
        bench.limit_to_pages(1_000_000).await;
        let last = bench
            .spool
            .capture(&large(link, captured..captured + together))
            .await
            .unwrap();
        let rows = i64::from(captured) + 1..;
        let expected: Vec<Captured> = last
            .iter()
            .zip(rows)
            .map(|(_, row)| Captured::Spooled(SpoolRow(row)))
            .collect();
        assert_eq!(last, expected);
        assert_eq!(bench.rows("spool").await, i64::from(captured + together));
    }
}

#[tokio::test]
async fn numbered_records_that_found_no_room_are_captured_once_when_there_is_some() {
    let bench = Bench::new().await;
    let meter = glucose_meter();
    let link = bench.link(&meter).await;
    let records = |numbers: std::ops::Range<u16>| -> Vec<Capture> {
        let record = |number| Capture::Keep(packet(link, &meter, glucose(number, at(-5), false), noon()));
        numbers.map(record).collect()
    };
    bench.limit_to_pages(1).await;
    let mut captured = 0;
    while let Ok(all) = bench.spool.capture(&records(captured..captured + 50)).await {
        assert!(all.iter().all(|what| matches!(what, Captured::Spooled(_))));
        captured += 50;
    }
    bench.limit_to_pages(1_000_000).await;
    // Some of those that did not find room, and what came before and behind them.
    for (numbers, new) in [
        (captured..captured + 20, 20),
        (captured..captured + 60, 40),
        (0..captured + 61, 1),
    ] {
        let all = bench.spool.capture(&records(numbers)).await.unwrap();
        let spooled = all.iter().filter(|what| matches!(what, Captured::Spooled(_)));
        assert_eq!(spooled.count(), new);
    }
    assert_eq!(bench.rows("spool").await, i64::from(captured) + 61);
}

#[tokio::test]
async fn a_transaction_that_the_engine_took_back_is_not_the_last() {
    let bench = Bench::new().await;
    let meter = glucose_meter();
    let link = bench.link(&meter).await;
    let named = Named {
        manufacturer: "M".repeat(1_000_000),
        ..Named::default()
    };
    for _ in 0..3 {
        bench.limit_to_pages(1).await;
        // A single row: there is no statement to be taken back but the whole transaction.
        let error = bench.spool.set_named(meter.id, &named).await.unwrap_err();
        assert!(error.is_disk_full(), "{error:?}");
        assert_eq!(error.disposition(), Disposition::Retry);
    }
    bench.limit_to_pages(1_000_000).await;
    bench.spool.set_named(meter.id, &named).await.unwrap();
    let captured = bench.spool.capture(&large(link, 0..3)).await.unwrap();
    assert_eq!(captured.len(), 3);
}
