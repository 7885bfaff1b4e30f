//! Memory: idle, and through a day's traffic with 200 meters around.
//!
//! The gateway runs by the real clock, so that a day cannot be made shorter; its traffic can. The run brings at least the
//! advertisements, links and records of 24 hours in a busy shop, one after the other without the pauses between.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::neighbourhood::{FULL_MEMORY, Neighbourhood};
use crate::{Scene, Verdicts, mib, say};

const TARGET_KIB: u64 = 40 * 1024;
/// Meters around.
const AROUND: usize = 200;
/// Advertisements of 24 hours: 200 meters, each three times a day in a window of two minutes, one a second.
const ADVERTISEMENTS: u64 = 200 * 3 * 120;
/// Growth after the second quarter of the run that still counts as flat: what an allocator keeps or gives back between two
/// looks. Of 100,000 records, a leak of 40 bytes a record would show.
const FLAT_KIB: u64 = 2 * 1024;
/// Longest time for the whole run.
const DEADLINE: Duration = Duration::from_secs(30 * 60);
/// How often the run is looked at.
const PERIOD: Duration = Duration::from_millis(250);

/// Lets the gateway read until it has had so many records, links and advertisements.
pub(crate) async fn measure(records: u32, links: u32, verdicts: &mut Verdicts) -> anyhow::Result<()> {
    let owned = usize::try_from(records)?.div_ceil(FULL_MEMORY);
    let neighbourhood = Neighbourhood {
        // 2,000 advertisements a second together.
        advertising_interval_ms: 100,
        glucose: owned,
        cuffs: 0,
        strangers: AROUND.saturating_sub(owned),
    };
    say(format!(
        "\nmemory: {AROUND} meters around, {owned} of them read; the traffic of 24 hours without its pauses (no fake clock)"
    ));
    let mut scene = Scene::start(&neighbourhood, &["bluetooth.cool_down_ms=100"]).await?;
    let meters = neighbourhood.glucose_meters();
    scene.own(&meters, "glucose").await?;
    let idle = scene.gateway_kib()?;
    verdicts.row("resident, idle", mib(idle), "<= 40 MiB", idle <= TARGET_KIB);

    let began = Instant::now();
    let wanted = i64::from(records);
    let mut samples = Vec::new();
    let mut in_range = 0;
    loop {
        let stored = scene.file.ever_spooled().await?;
        // One more meter comes in as soon as the one before is read, so that the records are spread over the run.
        let due = usize::try_from(stored)? / FULL_MEMORY + 1;
        for (name, _) in meters.iter().take(due).skip(in_range) {
            scene.world.meters().set_range(name, true).await?;
            in_range += 1;
        }
        let counters = scene.world.meters().counters().await?;
        samples.push(scene.gateway_kib()?);
        let enough =
            stored >= wanted && counters.connections >= u64::from(links) && counters.advertisements >= ADVERTISEMENTS;
        if enough {
            let seconds = began.elapsed().as_secs().max(1);
            say(format!(
                "  {stored} records, {} links, {} advertisements in {seconds} s: {} advertisements a second",
                counters.connections,
                counters.advertisements,
                counters.advertisements / seconds
            ));
            break;
        }
        if began.elapsed() >= DEADLINE {
            bail!(
                "after {DEADLINE:?}: {stored} records, {} links, {} advertisements\n{}",
                counters.connections,
                counters.advertisements,
                scene.world.logs()
            );
        }
        tokio::time::sleep(PERIOD).await;
    }
    scene.settled(wanted, Duration::from_secs(60)).await?;
    samples.push(scene.gateway_kib()?);
    scene.world.stop().await?;
    report(&samples, verdicts)
}

fn report(samples: &[u64], verdicts: &mut Verdicts) -> anyhow::Result<()> {
    let highest = samples.iter().max().copied().context("there are samples")?;
    let [_, second, third, last] = [1, 2, 3, 4].map(|quarter| typical(samples, quarter));
    let quarters = [1, 2, 3, 4].map(|quarter| mib(typical(samples, quarter))).join(", ");
    say(format!("resident in each quarter of the run, median: {quarters}"));
    verdicts.row("resident, highest", mib(highest), "<= 40 MiB", highest <= TARGET_KIB);
    let growth = last.max(third).saturating_sub(second);
    verdicts.row(
        "growth from the second quarter on",
        mib(growth),
        "flat (<= 2 MiB)",
        growth <= FLAT_KIB,
    );
    Ok(())
}

/// The median of a quarter of the run: one look may fall on a moment when much is under way.
fn typical(samples: &[u64], quarter: usize) -> u64 {
    let bounds = samples.len() * (quarter - 1) / 4..samples.len() * quarter / 4;
    let mut part = samples.get(bounds).unwrap_or_default().to_vec();
    part.sort_unstable();
    part.get(part.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_is_known_by_its_middle() {
        let samples = [30, 30, 90, 30, 31, 31, 31, 10, 32, 32, 32, 32, 40, 39, 39, 39];
        assert_eq!([1, 2, 3, 4].map(|quarter| typical(&samples, quarter)), [30, 31, 32, 39]);
        assert_eq!(typical(&[], 4), 0);
    }
}
