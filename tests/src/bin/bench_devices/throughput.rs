//! Stored records a second: from a meter's first notification to the commit that brings its last record into the outbox.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use system_tests::wait::wait_for;

use crate::bare::{self, Received};
use crate::neighbourhood::{FULL_MEMORY, Neighbourhood};
use crate::{Scene, Verdicts, say};

/// Targets of the issue.
const TARGET_PER_SECOND: u64 = 2_000;
const TARGET_RATIO_PERCENT: u64 = 50;
/// Longest time for one meter.
const DEADLINE: Duration = Duration::from_secs(120);
/// Shortest time between two looks at the file.
const SHORTEST: Duration = Duration::from_millis(1);
/// Longest time: the answer is late by this at most.
const LONGEST: Duration = Duration::from_millis(5);

/// Reads each meter's full memory, alternately by the bare loop and by the gateway.
pub(crate) async fn measure(meters: u32, verdicts: &mut Verdicts) -> anyhow::Result<()> {
    say(format!(
        "\nstored records a second: {meters} glucose meters with {FULL_MEMORY} records each"
    ));
    let full = |meters| Neighbourhood {
        advertising_interval_ms: 50,
        glucose: meters,
        cuffs: 0,
        strangers: 0,
    };
    // The bare loop has the same bus once more, with nobody else on it: who scans there receives every notification too.
    let alone = full(1);
    let mut beside = Scene::start(&alone, &[]).await?;
    beside.world.stop_gateway().await?;
    beside.world.stop_server().await?;
    let [(bare_name, bare_address)] = &alone.glucose_meters()[..] else {
        bail!("there is no meter for the bare loop");
    };
    beside.world.meters().set_range(bare_name, true).await?;
    let bus = beside.world.bus_address().to_owned();

    let neighbourhood = full(usize::try_from(meters)?);
    // One link for each meter is enough here.
    let mut scene = Scene::start(&neighbourhood, &["bluetooth.cool_down_ms=600000"]).await?;
    let owned = &neighbourhood.glucose_meters();
    scene.own(owned, "glucose").await?;
    // The server is not measured here, and shares the machine.
    scene.world.stop_server().await?;

    let mut by_gateway = Vec::new();
    let mut by_bare = vec![bare_run(&bus, bare_address).await?];
    for (name, _) in owned {
        by_gateway.push(gateway_run(&mut scene, name).await?);
        by_bare.push(bare_run(&bus, bare_address).await?);
    }
    scene.world.stop().await?;
    beside.world.stop().await?;

    // Each run of the gateway beside the bare loop's runs before and after it: the machine is not equally quiet throughout.
    let mut ratios: Vec<u64> = by_gateway
        .iter()
        .zip(by_bare.windows(2))
        .map(|(gateway, around)| gateway.saturating_mul(100) / middle(around).max(1))
        .collect();
    let around = range(&ratios);
    let ratio = median(&mut ratios);
    say(format!(
        "{:<58} {:>18}",
        "bare loop, lowest to highest",
        format!("{}/s", range(&by_bare))
    ));
    say(format!(
        "{:<58} {:>18}",
        "gateway, lowest to highest",
        format!("{}/s", range(&by_gateway))
    ));
    say(format!("{:<58} {:>18}", "ratio in percent, lowest to highest", around));
    let (gateway, bare) = (median(&mut by_gateway), median(&mut by_bare));
    say(format!("{:<58} {:>16}/s", "bare loop, median", bare));
    verdicts.row(
        "meter to committed outbox, median",
        format!("{gateway}/s"),
        &format!(">= {TARGET_PER_SECOND}/s"),
        gateway >= TARGET_PER_SECOND,
    );
    verdicts.row(
        "ratio to the bare loop's runs around it, median",
        format!("{}.{:02}", ratio / 100, ratio % 100),
        ">= 0.5",
        ratio >= TARGET_RATIO_PERCENT,
    );
    Ok(())
}

async fn bare_run(bus: &str, address: &str) -> anyhow::Result<u64> {
    let received = bare::start(bus, address).await?;
    if received.records != u64::try_from(FULL_MEMORY)? {
        bail!("the bare loop received {} records of {FULL_MEMORY}", received.records);
    }
    say(format!("{:<58} {:>16}/s", "  bare loop", received.per_second()));
    Ok(received.per_second())
}

async fn gateway_run(scene: &mut Scene, meter: &str) -> anyhow::Result<u64> {
    let before = scene.file.ever_in_outbox().await?;
    let wanted = before.saturating_add(i64::try_from(FULL_MEMORY)?);
    scene.world.meters().set_range(meter, true).await?;
    // Coarsely, so that a gateway that reads nothing is told with its log.
    let what = format!("records of {meter} in the outbox");
    wait_for(&what, DEADLINE, async || {
        Ok((scene.file.ever_in_outbox().await? > before).then_some(()))
    })
    .await
    .with_context(|| scene.world.logs())?;
    let began = tokio::time::Instant::now();
    let at_first = scene.file.ever_in_outbox().await?;
    let mut there = at_first;
    while there < wanted {
        if began.elapsed() >= DEADLINE {
            bail!("{meter} was not read to its end\n{}", scene.world.logs());
        }
        tokio::time::sleep(next_look(began.elapsed(), there - at_first, wanted - there)).await;
        there = scene.file.ever_in_outbox().await?;
    }
    let done_us = now_us()?;
    let began_us = scene.file.first_received_us(before).await?;
    let received = Received {
        records: u64::try_from(FULL_MEMORY)?,
        micros: u64::try_from(done_us.saturating_sub(began_us))?,
    };
    scene.world.meters().set_range(meter, false).await?;
    say(format!(
        "{:<58} {:>16}/s",
        format!("  gateway, {meter}, to the outbox"),
        received.per_second()
    ));
    Ok(received.per_second())
}

/// When to look again, if so many came in this time and so many are missing: after half the time that they seem to take. Each
/// look takes a part of the two processors that is missing to the gateway, and most of them would be in vain.
fn next_look(elapsed: Duration, came: i64, missing: i64) -> Duration {
    let (came, missing) = (u32::try_from(came).unwrap_or(0), u32::try_from(missing).unwrap_or(0));
    let seems = elapsed.saturating_mul(missing) / came.saturating_mul(2).max(1);
    if came == 0 {
        SHORTEST
    } else {
        seems.clamp(SHORTEST, LONGEST)
    }
}

/// The wall clock, by which the gateway says when it received a packet.
fn now_us() -> anyhow::Result<i64> {
    #[expect(
        clippy::disallowed_methods,
        reason = "compared with what another process wrote down from the same clock"
    )]
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(i64::try_from(since.as_micros())?)
}

/// The middle one, or the mean of the two in the middle.
fn median(rates: &mut [u64]) -> u64 {
    rates.sort_unstable();
    let upper = rates.len() / 2;
    let lower = rates.len().saturating_sub(1) / 2;
    rates.get(lower..=upper).map_or(0, middle)
}

fn middle(rates: &[u64]) -> u64 {
    let count = u64::try_from(rates.len()).unwrap_or(u64::MAX);
    rates.iter().sum::<u64>() / count.max(1)
}

fn range(rates: &[u64]) -> String {
    let (lowest, highest) = (rates.iter().min(), rates.iter().max());
    format!(
        "{} to {}",
        lowest.copied().unwrap_or_default(),
        highest.copied().unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_looked_at_more_often_towards_the_end() {
        let after_40_ms = |came, missing| next_look(Duration::from_millis(40), came, missing);
        assert_eq!(after_40_ms(0, 5_000), SHORTEST, "nothing is known yet");
        assert_eq!(after_40_ms(4_000, 500), Duration::from_micros(2_500));
        assert_eq!(after_40_ms(2_000, 3_000), LONGEST);
        assert_eq!(after_40_ms(4_900, 100), SHORTEST);
        assert_eq!(next_look(Duration::ZERO, 10, 10), SHORTEST);
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        assert_eq!(median(&mut [9, 1, 5]), 5);
        assert_eq!(median(&mut [9, 1, 5, 3]), 4);
        assert_eq!(median(&mut [7]), 7);
        assert_eq!(median(&mut []), 0);
    }
}
