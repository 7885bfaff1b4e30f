//! Delay of a live indication: from the press of the cuff's button to the commit that makes its packet durable.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use carepost_sim::control::CuffRecord;
use system_tests::wait::wait_for;

use crate::neighbourhood::Neighbourhood;
use crate::{Scene, Verdicts, say};

const TARGET_P99: Duration = Duration::from_millis(50);
/// Longest wait for one indication.
const DEADLINE: Duration = Duration::from_secs(10);
/// How often the file is looked at, which is as often as the runtime's timer ticks. The answer is late by about this.
const PERIOD: Duration = Duration::from_millis(1);

/// Measures again and again with a cuff that is connected, and watches the file for the new row. The command to the
/// simulator, its confirmation, the bus and the look at the file are all in the number: it is an upper bound.
pub(crate) async fn measure(indications: u32, verdicts: &mut Verdicts) -> anyhow::Result<()> {
    say(format!(
        "\ndelay to disk: {indications} live indications of a connected cuff"
    ));
    let neighbourhood = Neighbourhood {
        advertising_interval_ms: 50,
        glucose: 0,
        cuffs: 1,
        strangers: 0,
    };
    // The link stays up between two measurements.
    let settings = ["bluetooth.idle_ms=600000", "bluetooth.session_ms=3600000"];
    let mut scene = Scene::start(&neighbourhood, &settings).await?;
    let cuffs = neighbourhood.cuff_meters();
    let (cuff, _) = cuffs.first().context("there is a cuff")?;
    scene.own(&cuffs, "blood_pressure").await?;
    scene.world.meters().set_range(cuff, true).await?;
    listening(&mut scene, cuff).await?;

    let mut delays = Vec::new();
    for n in 0..indications {
        let record = CuffRecord {
            systolic: Some(110 + u16::try_from(n % 40)?),
            diastolic: Some(70 + u16::try_from(n % 15)?),
            pulse: Some(60 + u16::try_from(n % 30)?),
            ..CuffRecord::default()
        };
        let before = scene.file.ever_spooled().await?;
        let began = Instant::now();
        scene.world.meters().measure_cuff(cuff, record).await?;
        while scene.file.ever_spooled().await? == before {
            if began.elapsed() >= DEADLINE {
                bail!("indication {n} was not stored\n{}", scene.world.logs());
            }
            tokio::time::sleep(PERIOD).await;
        }
        delays.push(began.elapsed());
    }
    scene.world.stop().await?;
    delays.sort_unstable();
    say(format!(
        "{:<58} {:>18}",
        "button to spool row, p50",
        ms(at(&delays, 50))
    ));
    let p99 = at(&delays, 99);
    verdicts.row(
        "button to spool row, p99",
        ms(p99),
        &format!("<= {} ms", TARGET_P99.as_millis()),
        p99 <= TARGET_P99,
    );
    say(format!(
        "{:<58} {:>18}",
        "button to spool row, longest",
        ms(at(&delays, 100))
    ));
    Ok(())
}

/// Waits until the gateway is connected and has subscribed: only then is an indication live.
async fn listening(scene: &mut Scene, cuff: &str) -> anyhow::Result<()> {
    let deadline = Duration::from_secs(30);
    wait_for("the gateway to listen to the cuff", deadline, async || {
        let state = scene.world.meters().meter(cuff).await?;
        Ok(state.filter(|meter| meter.connected && meter.sessions > 0).map(|_| ()))
    })
    .await
    .with_context(|| scene.world.logs())
}

/// The shortest delay that so many percent do not exceed.
fn at(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

fn ms(delay: Duration) -> String {
    let micros = delay.as_micros();
    format!("{}.{:02} ms", micros / 1_000, micros % 1_000 / 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_delays() {
        let delays: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        let of = |percent| at(&delays, percent).as_millis();
        assert_eq!((of(50), of(99), of(100)), (100, 198, 200));
        assert_eq!(at(&delays[..1], 99), Duration::from_millis(1));
        assert_eq!(at(&[], 99), Duration::ZERO);
    }
}
