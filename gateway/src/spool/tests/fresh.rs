//! What is read from memory is what is in the file, whatever else happens to the packets.

use std::collections::BTreeSet;

use carepost_gatt::uuid16;
use proptest::prelude::*;

use crate::spool::{Capture, Captured, Counter, LinkEnd, NewPacket, PENDING_PAGE, SpoolRow};
use crate::testing::*;

#[derive(Debug, Clone)]
enum Step {
    /// Records of these numbers. One that came before on this link is no new row.
    Hear(Vec<u16>),
    /// The context of a record.
    Context(u16),
    /// One of the rows is dropped.
    Discard(usize),
    Count,
    /// The link ends, and another stands.
    Hang,
    Settle,
    Withdraw,
    Consent,
}

/// Steps, each with the row behind which is read after it, among those that are known.
fn steps() -> impl Strategy<Value = Vec<(Step, prop::sample::Index)>> {
    let step = prop_oneof![
        12 => prop::collection::vec(1_u16..400, 1..8).prop_map(Step::Hear),
        1 => (1_u16..400).prop_map(Step::Context),
        1 => (0_usize..20).prop_map(Step::Discard),
        1 => Just(Step::Count),
        1 => Just(Step::Hang),
        1 => Just(Step::Settle),
        1 => Just(Step::Withdraw),
        1 => Just(Step::Consent),
    ];
    prop::collection::vec((step, any::<prop::sample::Index>()), 1..24)
}

/// Plays the steps, and compares after each what memory knows, if anything, with the file.
async fn compared(steps: Vec<(Step, prop::sample::Index)>) {
    let bench = Bench::new().await;
    let meter = glucose_meter();
    let mut link = bench.link(&meter).await;
    let mut rows = BTreeSet::from([SpoolRow(0)]);
    let mut version = 1;
    for (step, behind) in steps {
        let items = match &step {
            Step::Hear(numbers) => {
                // To the nanosecond, which the file has not.
                let received_at = noon() + chrono::TimeDelta::nanoseconds(1_234_567);
                let record = |number: &u16| {
                    packet(
                        link,
                        &meter,
                        glucose(*number, at(-5), number.is_multiple_of(7)),
                        received_at,
                    )
                };
                numbers.iter().map(record).map(Capture::Keep).collect()
            }
            Step::Context(number) => {
                let context = packet(link, &meter, [&[0][..], &number.to_le_bytes()].concat(), noon());
                let characteristic = uuid16::GLUCOSE_CONTEXT;
                vec![Capture::Keep(NewPacket {
                    characteristic,
                    ..context
                })]
            }
            Step::Discard(nth) => {
                let counter = Some(Counter::NoConsent);
                let row = rows.iter().copied().nth(*nth);
                row.map(|row| Capture::Discard { row, counter }).into_iter().collect()
            }
            Step::Count => vec![Capture::Count { link, counter: None }],
            Step::Hang | Step::Settle | Step::Withdraw | Step::Consent => Vec::new(),
        };
        for what in bench.spool.capture(&items).await.unwrap() {
            if let Captured::Spooled(row) = what {
                rows.insert(row);
            }
        }
        match step {
            Step::Hang => {
                bench.closed(link, LinkEnd::Clean).await;
                link = bench.link(&meter).await;
            }
            Step::Settle => drop(bench.settle().await),
            Step::Withdraw | Step::Consent => {
                let mut change = grant(201, alice());
                if matches!(step, Step::Withdraw) {
                    change = withdrawn(change, noon());
                }
                bench
                    .spool
                    .apply_delta(&delta(version, vec![change]), noon())
                    .await
                    .unwrap();
                version += 1;
            }
            _ => {}
        }
        let behind = *rows.iter().nth(behind.index(rows.len())).unwrap();
        if let Some(page) = bench.spool.pending_fresh(behind).await.unwrap() {
            assert!(!page.is_empty());
            assert_eq!(page, bench.spool.pending_in_file(Some(behind)).await.unwrap());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_memory_has_is_what_the_file_has(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(compared(steps));
    }
}

#[tokio::test]
async fn a_memory_is_read_from_the_file_once_and_then_as_it_came() {
    let bench = Bench::new().await;
    let meter = glucose_meter();
    let link = bench.link(&meter).await;
    let page = u16::try_from(PENDING_PAGE).unwrap();
    for part in 0..3 {
        let numbers = part * page..(part + 1) * page;
        let items: Vec<Capture> = numbers
            .map(|number| Capture::Keep(packet(link, &meter, glucose(number, at(-5), false), noon())))
            .collect();
        bench.spool.capture(&items).await.unwrap();
    }
    let first = bench.spool.pending(None).await.unwrap();
    let end = first.last().unwrap().row;
    let second = bench
        .spool
        .pending_fresh(end)
        .await
        .unwrap()
        .expect("it was written just now");
    assert_eq!(second, bench.spool.pending_in_file(Some(end)).await.unwrap());
    assert_eq!(second.len(), first.len());
    // What was taken is not kept, and what somebody else may have touched is not known.
    assert_eq!(bench.spool.pending_fresh(end).await.unwrap(), None);
    bench.spool.count(Counter::NoConsent, 1).await.unwrap();
    let end = second.last().unwrap().row;
    assert_eq!(bench.spool.pending_fresh(end).await.unwrap(), None);
    assert_eq!(bench.spool.pending(Some(end)).await.unwrap().len(), first.len());
    assert_eq!(bench.settle().await, u64::from(3 * PENDING_PAGE));
}

#[tokio::test]
async fn what_is_read_without_end_does_not_fill_the_memory() {
    let bench = Bench::new().await;
    let meter = glucose_meter();
    let link = bench.link(&meter).await;
    // More than fits.
    for part in 0..9_u16 {
        let items: Vec<Capture> = (0..500)
            .map(|number| {
                Capture::Keep(packet(
                    link,
                    &meter,
                    glucose(part * 500 + number, at(-5), false),
                    noon(),
                ))
            })
            .collect();
        bench.spool.capture(&items).await.unwrap();
    }
    assert_eq!(bench.spool.pending_fresh(SpoolRow(0)).await.unwrap(), None);
    assert_eq!(bench.settle().await, 4_500);
}
