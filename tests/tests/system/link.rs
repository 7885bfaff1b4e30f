//! The gateway's link to meters, on the simulated bus: clocks, lost adapters, lost services, a full disk, strangers.

use std::time::Duration;

use carepost_sim::HostEvent;
use carepost_sim::control::CuffRecord;
use serde_json::{Value, json};
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use system_tests::programs::workspace_root;
use system_tests::scenes::{self, Cast};
use system_tests::wait::wait_for;
use system_tests::world::{GLUCOSE, HOME_CUFF, SOON, STORE_CUFF, Setup, World};

/// Longest wait for a recovery: the gateway's pauses between two tries double.
pub(crate) const RECOVERY: Duration = Duration::from_secs(45);

async fn opened(setup: Setup) -> (World, Cast) {
    let world = World::start(setup).await.unwrap();
    let cast = scenes::seed(&world).await.unwrap();
    (world, cast)
}

/// The shipped neighbourhood in a hurry, with lines replaced.
fn neighbourhood(changes: &[(&str, &str)]) -> String {
    let mut text = std::fs::read_to_string(workspace_root().join("config/firmware-sim.toml")).unwrap();
    let hurry = [
        ("advertising_interval_ms = 1000", "advertising_interval_ms = 50"),
        ("connect_delay_ms = 150", "connect_delay_ms = 5"),
        ("resolve_delay_ms = 300", "resolve_delay_ms = 5"),
    ];
    for (from, to) in hurry.iter().chain(changes) {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    text
}

/// Waits until the gateway says so of itself.
async fn gateway_says(world: &World, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let told = wait_for(what, RECOVERY, async || {
        let status = world.status().await?;
        Ok(holds(&status["daemon"]).then_some(status))
    })
    .await;
    match told {
        Ok(status) => status,
        Err(error) => panic!("{error:#}\n{}", world.logs()),
    }
}

fn is(state: &Value, expected: &str) -> bool {
    state["is"] == expected
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_cuff_that_is_ten_minutes_slow_gives_its_readings_to_who_sat_there() {
    let simulator = neighbourhood(&[
        ("clock_skew_s = 0 ", "clock_skew_s = -600 "),
        ("clock_service = \"none\"", "clock_service = \"current_time\""),
    ]);
    let (mut world, cast) = opened(Setup {
        simulator: Some(simulator),
        gateway: vec![
            "kiosk.timings.result_ms=1500".to_owned(),
            "kiosk.timings.warning_ms=300".to_owned(),
        ],
        ..Setup::default()
    })
    .await;
    scenes::in_store_session(&mut world, &cast.wang, [(132, 84, 70), (128, 80, 72)])
        .await
        .unwrap();
    world.readings_of(&cast.wang, 2).await.unwrap();
    let status = world.drained().await.unwrap();
    let meters = status["spool"]["meters"].as_array().unwrap();
    let skews: Vec<i64> = meters.iter().filter_map(|meter| meter["skew_ms"].as_i64()).collect();
    assert!(
        skews.iter().any(|skew| (595_000..=605_000).contains(skew)),
        "the skew is known: {skews:?}"
    );
    assert_eq!(status["spool"]["counters"]["outside_sitting"], 0);
    world.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_cuff_that_is_four_minutes_fast_is_corrected_and_names_itself() {
    let (mut world, cast) = opened(Setup::default()).await;
    scenes::home_record(&mut world, 1, 133, 83).await.unwrap();
    world.readings_of(&cast.sun, 1).await.unwrap();
    let status = world.drained().await.unwrap();
    let meters = status["spool"]["meters"].as_array().unwrap();
    let cuff = meters
        .iter()
        .find(|meter| meter["records"] == 1)
        .unwrap_or_else(|| panic!("one meter sent a record: {meters:?}"));
    let skew = cuff["skew_ms"].as_i64().unwrap();
    assert!((-245_000..=-235_000).contains(&skew), "{skew}");
    assert_eq!(cuff["firmware"], "1.3");
    world.stop().await.unwrap();
}

/// Something happens to the Bluetooth side, is seen in the status, passes, and the next reading comes without a restart of
/// the gateway.
async fn recovers_from(happens: HostEvent, seen: &[&str], back: Option<HostEvent>) {
    let (mut world, cast) = opened(Setup::default()).await;
    scenes::home_record(&mut world, 1, 133, 83).await.unwrap();
    world.readings_of(&cast.sun, 1).await.unwrap();
    world.meters().host_event(happens).await.unwrap();
    gateway_says(&world, "the loss to be seen", |daemon| {
        seen.iter().any(|state| is(&daemon["link"], state))
    })
    .await;
    if let Some(back) = back {
        world.meters().host_event(back).await.unwrap();
    }
    gateway_says(&world, "the gateway to scan again", |daemon| {
        is(&daemon["link"], "scanning")
    })
    .await;
    scenes::home_record(&mut world, 2, 127, 79).await.unwrap();
    world.readings_of(&cast.zhao, 1).await.unwrap();
    world.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bluetooth_service_that_goes_and_comes_back_is_found_again() {
    recovers_from(
        HostEvent::RestartBluez { down_ms: 4_000 },
        &["no_bus", "no_adapter"],
        None,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bus_that_goes_and_comes_back_is_found_again() {
    recovers_from(HostEvent::LoseBus { down_ms: 4_000 }, &["no_bus"], None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adapter_that_is_pulled_out_and_plugged_in_is_used_again() {
    recovers_from(
        HostEvent::Unplug { adapter: None },
        &["no_adapter"],
        Some(HostEvent::Plug { adapter: None }),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adapter_that_was_switched_off_is_not_switched_on_against_anybodys_will_and_used_when_it_is() {
    let (mut world, cast) = opened(Setup::default()).await;
    world.meters().adapter(false).await.unwrap();
    gateway_says(&world, "the adapter to be seen off", |daemon| {
        is(&daemon["link"], "adapter_off")
    })
    .await;
    world.meters().adapter(true).await.unwrap();
    scenes::home_record(&mut world, 1, 133, 83).await.unwrap();
    world.readings_of(&cast.sun, 1).await.unwrap();
    world.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_adapters_that_is_lost_does_not_stop_the_other() {
    let second = "\n[[more_adapters]]\ncontroller = \"hci1\"\naddress = \"02:00:00:CA:5E:01\"\nname = \"second\"\n";
    let simulator = neighbourhood(&[]) + second;
    let (mut world, cast) = opened(Setup {
        simulator: Some(simulator),
        ..Setup::default()
    })
    .await;
    let both = |daemon: &Value| {
        let adapters = daemon["adapters"].as_array().map_or(0, Vec::len);
        adapters == 2
    };
    gateway_says(&world, "both adapters to be used", both).await;
    scenes::home_record(&mut world, 1, 133, 83).await.unwrap();
    // Two adapters hear the cuff; one reading comes of it.
    world.readings_of(&cast.sun, 1).await.unwrap();
    let unplug = HostEvent::Unplug {
        adapter: Some("hci0".to_owned()),
    };
    world.meters().host_event(unplug).await.unwrap();
    let lost = |daemon: &Value| {
        let adapters = daemon["adapters"].as_array().cloned().unwrap_or_default();
        let state = |name: &str| adapters.iter().find(|adapter| adapter["name"] == name).cloned();
        state("hci0").is_some_and(|adapter| is(&adapter, "no_adapter"))
            && state("hci1").is_some_and(|adapter| is(&adapter, "scanning"))
    };
    gateway_says(&world, "one adapter to be missed and the other at work", lost).await;
    scenes::home_record(&mut world, 2, 127, 79).await.unwrap();
    world.readings_of(&cast.zhao, 1).await.unwrap();
    world.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nothing_can_be_written_down_no_meter_is_read_and_nothing_is_lost() {
    let (mut world, cast) = opened(Setup::default()).await;
    let file = SqliteConnectOptions::new().filename(world.gateway_folder().join("spool.sqlite"));
    let mut lock = SqliteConnection::connect_with(&file).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut lock).await.unwrap();
    // This cuff forgets what was confirmed.
    scenes::home_record(&mut world, 1, 133, 83).await.unwrap();
    gateway_says(&world, "the gateway to say that it cannot write", |daemon| {
        is(&daemon["link"], "spool_waits") || daemon["capture_stalled"] == true
    })
    .await;
    sqlx::query("ROLLBACK").execute(&mut lock).await.unwrap();
    lock.close().await.unwrap();
    world.readings_of(&cast.sun, 1).await.unwrap();
    world.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_that_cannot_be_written_down_knows_nothing_of_it_and_ends_well_when_it_can() {
    // Slow enough that the lock is had in the middle of its 60 records: the gateway has it most of the time.
    let simulator = neighbourhood(&[("notification_interval_ms = 20 ", "notification_interval_ms = 60 ")]);
    let (mut world, cast) = opened(Setup {
        simulator: Some(simulator),
        ..Setup::default()
    })
    .await;
    let file = SqliteConnectOptions::new().filename(world.gateway_folder().join("spool.sqlite"));
    let mut lock = SqliteConnection::connect_with(&file).await.unwrap();
    world.meters().press_transfer(GLUCOSE.0).await.unwrap();
    wait_for("the first records", SOON, async || {
        let counters = world.meters().counters().await?;
        Ok((counters.notifications >= 3).then_some(()))
    })
    .await
    .unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut lock).await.unwrap();
    gateway_says(&world, "the gateway to say that it cannot write", |daemon| {
        daemon["capture_stalled"] == true
    })
    .await;
    // The meter has long said all of it.
    let ledger = world.meters().ledger(Some(GLUCOSE.0)).await.unwrap();
    assert!(ledger.iter().all(|entry| entry.sent > 0), "{ledger:?}");
    let mark = "SELECT count(*) FROM meter_state WHERE sync_sequence IS NOT NULL";
    let marks: i64 = sqlx::query_scalar(mark).fetch_one(&mut lock).await.unwrap();
    assert_eq!(marks, 0);
    sqlx::query("ROLLBACK").execute(&mut lock).await.unwrap();
    world.readings_of(&cast.li, ledger.len()).await.unwrap();
    wait_for("the mark", SOON, async || {
        let marks: i64 = sqlx::query_scalar(mark).fetch_one(&mut lock).await?;
        Ok((marks == 1).then_some(()))
    })
    .await
    .unwrap();
    // Not asked for again: the meter was heard out while nothing could be written.
    let ledger = world.meters().ledger(Some(GLUCOSE.0)).await.unwrap();
    assert!(ledger.iter().all(|entry| entry.sent == 1), "{ledger:?}");
    lock.close().await.unwrap();
    world.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_meter_that_nobody_registered_is_seen_and_left_alone() {
    let mut world = World::start(Setup::default()).await.unwrap();
    for (meter, _) in [STORE_CUFF, HOME_CUFF] {
        let record = CuffRecord {
            systolic: Some(120),
            diastolic: Some(80),
            ..CuffRecord::default()
        };
        world.meters().measure_cuff(meter, record).await.unwrap();
    }
    let status = gateway_says(&world, "two strangers", |daemon| daemon["nearby"]["unregistered"] == 2).await;
    assert_eq!(status["daemon"]["nearby"]["unsupported"], json!({}));
    assert_eq!(world.meters().counters().await.unwrap().connections, 0);
    let counted = wait_for("both to be counted", SOON, async || {
        let status = world.status().await?;
        Ok((status["spool"]["counters"]["unregistered_seen"] == 2).then_some(()))
    });
    counted.await.unwrap();
    world.stop().await.unwrap();
}
