//! The scenes of the main job, played against the real programs. The demo's check and the system tests play the same ones.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context as _;
use carepost_sim::control::{CuffRecord, GlucoseRecord};
use serde_json::Value;

use crate::check::Table;
use crate::wait::wait_for;
use crate::world::{GLUCOSE, HOME_CUFF, Person, SOON, STORE_CUFF, World};

/// The people of the scenes.
#[derive(Debug, Clone)]
pub struct Cast {
    /// Hypertension, consent on file; measures in the store.
    pub wang: Person,
    /// Hypertension, consent on file; arrives in danger.
    pub zhou: Person,
    /// Diabetes, consent on file; owns the glucose meter.
    pub li: Person,
    /// No consent.
    pub chen: Person,
    /// Consent on file, withdrawn in the course of events; slot 1 of the home cuff.
    pub sun: Person,
    /// Consent on file; slot 2 of the home cuff.
    pub zhao: Person,
}

/// Registers meters, members, bindings and consents, and waits until the gateway works from them.
///
/// # Errors
/// When the server refuses something.
pub async fn seed(world: &World) -> anyhow::Result<Cast> {
    let cast = Cast {
        wang: world
            .member(
                "CP-1001",
                "王秀英",
                1956,
                "female",
                &["hypertension"],
                &["antihypertensive"],
            )
            .await?,
        zhou: world
            .member(
                "CP-1002",
                "周建国",
                1951,
                "male",
                &["hypertension"],
                &["antihypertensive", "beta_blocker"],
            )
            .await?,
        li: world
            .member("CP-1003", "李明", 1963, "male", &["diabetes"], &["sulfonylurea"])
            .await?,
        chen: world.member("CP-1004", "陈静", 1970, "female", &[], &[]).await?,
        sun: world
            .member("CP-1005", "孙丽", 1959, "female", &["hypertension"], &[])
            .await?,
        zhao: world
            .member(
                "CP-1006",
                "赵强",
                1958,
                "male",
                &["hypertension", "diabetes"],
                &["insulin"],
            )
            .await?,
    };
    for person in [&cast.wang, &cast.zhou, &cast.li, &cast.sun, &cast.zhao] {
        world.grant(person, "care_record").await?;
        world.grant(person, "pharmacist_call").await?;
    }
    world
        .register(STORE_CUFF, "blood_pressure", "store_shared", false)
        .await?;
    let glucose = world.register(GLUCOSE, "glucose", "personal", false).await?;
    world.bind(&glucose, &cast.li, None).await?;
    let home = world.register(HOME_CUFF, "blood_pressure", "personal", true).await?;
    world.bind(&home, &cast.sun, Some(1)).await?;
    world.bind(&home, &cast.zhao, Some(2)).await?;
    world.gateway_up_to_date().await?;
    Ok(cast)
}

/// A measurement of the store's cuff.
///
/// # Errors
/// When the simulator refuses.
pub async fn measure(world: &mut World, systolic: u16, diastolic: u16, pulse: u16) -> anyhow::Result<String> {
    let record = CuffRecord {
        systolic: Some(systolic),
        diastolic: Some(diastolic),
        pulse: Some(pulse),
        ..CuffRecord::default()
    };
    Ok(world.meters().measure_cuff(STORE_CUFF.0, record).await?.hex)
}

/// Journey 1: a member sits down, measures twice, sees the mean, and the screen is wiped.
///
/// # Errors
/// When a screen does not come.
pub async fn in_store_session(
    world: &mut World,
    person: &Person,
    pair: [(u16, u16, u16); 2],
) -> anyhow::Result<crate::kiosk::Screen> {
    let kiosk = world.kiosk()?;
    kiosk.sit_down(&person.code).await?;
    let [(s1, d1, p1), (s2, d2, p2)] = pair;
    measure(world, s1, d1, p1).await?;
    // After the first reading the person rests; then the screen asks for the second.
    wait_for("the kiosk to ask for the second reading", SOON, async || {
        let screen = kiosk.look().await?;
        Ok((screen.name == "measure" && screen.says(&s1.to_string())).then_some(()))
    })
    .await
    .with_context(|| world.logs())?;
    measure(world, s2, d2, p2).await?;
    let screen = kiosk.wait_for("result").await.with_context(|| world.logs())?;
    Ok(screen)
}

/// Plays every scene that the table names, in the order of its rows.
pub async fn check(world: &mut World, cast: &Cast, table: &mut Table) {
    macro_rules! scene {
        ($what:literal, $play:expr) => {
            if let Err(error) = $play.await {
                table.failed($what, &error);
            }
        };
    }
    scene!("in-store session", session_row(world, cast, table));
    scene!("critical session", critical_row(world, cast, table));
    scene!("glucose sync", glucose_rows(world, cast, table));
    scene!("a member without consent", no_consent_row(world, cast, table));
    scene!("an anonymous reading", anonymous_row(world, table));
    scene!("a withdrawal", withdrawal_row(world, cast, table));
    scene!(
        "gateway killed in a glucose sync",
        gateway_killed_row(world, cast, table)
    );
    scene!("server killed in an ingest", server_killed_row(world, cast, table));
}

async fn session_row(world: &mut World, cast: &Cast, table: &mut Table) -> anyhow::Result<()> {
    in_store_session(world, &cast.wang, [(132, 84, 70), (128, 80, 72)]).await?;
    let readings = world.readings_of(&cast.wang, 2).await?;
    world.kiosk()?.end().await?;
    let sessions = world.sessions(&cast.wang).await?;
    let means: Vec<String> = sessions.iter().map(mean).collect();
    table.row(
        "an in-store session of two readings is stored once with its mean",
        "2 readings, 1 session 130/82 of 2",
        format!(
            "{} readings, {} session {}",
            readings.len(),
            sessions.len(),
            means.join(", ")
        ),
    );
    Ok(())
}

fn mean(session: &Value) -> String {
    let mean = &session["mean"];
    format!(
        "{}/{} of {}",
        mean["systolic_mmhg"], mean["diastolic_mmhg"], mean["readings"]
    )
}

/// A severe first reading, a rest, and the new pair that confirms it; the sitting goes on afterwards.
///
/// # Errors
/// When a screen or a reading does not come.
pub async fn critical_session(world: &mut World, person: &Person) -> anyhow::Result<()> {
    let kiosk = world.kiosk()?;
    kiosk.sit_down(&person.code).await?;
    measure(world, 192, 116, 88).await?;
    let mut arrived = 1;
    for (systolic, diastolic, pulse) in [(190, 114, 86), (186, 112, 84)] {
        world.readings_of(person, arrived).await?;
        kiosk.wait_for("measure").await.with_context(|| world.logs())?;
        measure(world, systolic, diastolic, pulse).await?;
        arrived += 1;
    }
    world.readings_of(person, arrived).await?;
    wait_for("an open alert", SOON, async || {
        Ok((!world.open_alerts(person).await?.is_empty()).then_some(()))
    })
    .await
    .with_context(|| world.logs())?;
    kiosk.end().await?;
    Ok(())
}

async fn critical_row(world: &mut World, cast: &Cast, table: &mut Table) -> anyhow::Result<()> {
    critical_session(world, &cast.zhou).await?;
    let alerts = world.open_alerts(&cast.zhou).await?;
    let tasks = world.open_tasks(&cast.zhou).await?;
    let named: Vec<String> = alerts
        .iter()
        .map(|a| format!("{} {}", plain(&a["rule"]), plain(&a["severity"])))
        .collect();
    table.row(
        "a critical session opens one alert and one task",
        "1 alert (BP-02 critical), 1 task",
        format!("{} alert ({}), {} task", alerts.len(), named.join(", "), tasks.len()),
    );
    Ok(())
}

fn plain(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

/// Presses the glucose meter's transfer key and waits until the gateway has read the meter and sent everything.
///
/// # Errors
/// When the meter is not read in time.
pub async fn sync_glucose(world: &mut World) -> anyhow::Result<()> {
    let before = world.meters().counters().await?.connections;
    world.meters().press_transfer(GLUCOSE.0).await?;
    let deadline = tokio::time::Instant::now() + SOON;
    let mut connected = false;
    loop {
        let meter = world
            .meters()
            .meter(GLUCOSE.0)
            .await?
            .context("the simulator has the glucose meter")?;
        connected |= meter.connected
            || (meter.known && world.meters().counters().await?.connections > before && !meter.advertising);
        if connected && !meter.connected {
            break;
        }
        anyhow::ensure!(
            tokio::time::Instant::now() < deadline,
            "the glucose meter was not read\n{}",
            world.logs()
        );
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    world.drained().await?;
    Ok(())
}

async fn glucose_rows(world: &mut World, cast: &Cast, table: &mut Table) -> anyhow::Result<()> {
    sync_glucose(world).await?;
    let first = world.readings(&cast.li).await?;
    let made = raw_of(&world.meters().ledger(Some(GLUCOSE.0)).await?);
    table.row(
        "60 stored glucose records are synced once, each as the meter made it",
        "60 readings, 60 as made",
        format!(
            "{} readings, {} as made",
            first.len(),
            raw_of_readings(&first).intersection(&made).count()
        ),
    );
    sync_glucose(world).await?;
    let second = world.readings(&cast.li).await?;
    table.row(
        "a second sync adds none",
        "60 readings",
        format!("{} readings", second.len()),
    );
    Ok(())
}

/// The raw bytes of all records in the simulator's ledger.
fn raw_of(ledger: &[carepost_sim::ledger::LedgerEntry]) -> BTreeSet<String> {
    ledger.iter().map(|entry| entry.hex.to_uppercase()).collect()
}

/// The raw bytes of readings at the server.
fn raw_of_readings(readings: &[Value]) -> BTreeSet<String> {
    readings
        .iter()
        .filter_map(|reading| reading["raw"].as_str())
        .map(str::to_uppercase)
        .collect()
}

async fn no_consent_row(world: &mut World, cast: &Cast, table: &mut Table) -> anyhow::Result<()> {
    let kiosk = world.kiosk()?;
    let greet = kiosk.identify(&cast.chen.code).await?;
    let prepare = kiosk.press(&greet, "/consent", &[("choice", "sealed")]).await?;
    kiosk.prepared(prepare).await?;
    measure(world, 141, 91, 66).await?;
    let status = wait_for("a sealed reading", SOON, async || {
        let status = world.status().await?;
        Ok((status["spool"]["sealed"] == 1).then_some(status))
    })
    .await
    .with_context(|| world.logs())?;
    kiosk.end().await?;
    let status_outbox = status["spool"]["outbox"].to_string();
    let counts = world.manager()?.get("/api/v1/counts").await?;
    let shown = world.readings(&cast.chen).await?;
    table.row(
        "a reading of a member without consent never leaves the gateway",
        "1 sealed here, 0 in the outbox, 0 at the server, 0 refused by the server",
        format!(
            "{} sealed here, {status_outbox} in the outbox, {} at the server, {} refused by the server",
            status["spool"]["sealed"],
            shown.len(),
            counts["lanes_rejected"]
                .as_object()
                .map_or(0, |lanes| lanes.values().filter_map(Value::as_i64).sum()),
        ),
    );
    Ok(())
}

async fn anonymous_row(world: &mut World, table: &mut Table) -> anyhow::Result<()> {
    let kiosk = world.kiosk()?;
    kiosk.sit_down_anonymously().await?;
    let first = measure(world, 137, 87, 61).await?;
    wait_for("the kiosk to ask for the second reading", SOON, async || {
        let screen = kiosk.look().await?;
        Ok((screen.name == "measure" && screen.says("137")).then_some(()))
    })
    .await
    .with_context(|| world.logs())?;
    let second = measure(world, 135, 85, 63).await?;
    let result = kiosk.wait_for("result").await.with_context(|| world.logs())?;
    let shown = result.says("136") && result.says("86");
    kiosk.end().await?;
    let folders = [world.gateway_folder(), world.server_folder()];
    let mut kept = 0;
    for hex in [&first, &second] {
        let bytes = from_hex(hex)?;
        for folder in &folders {
            kept += files_with(folder, &bytes)?
                + files_with(folder, hex.to_uppercase().as_bytes())?
                + files_with(folder, hex.to_lowercase().as_bytes())?;
        }
    }
    table.row(
        "an anonymous reading is shown and kept nowhere",
        "mean 136/86 shown, bytes in 0 files",
        format!(
            "mean 136/86 {}, bytes in {kept} files",
            if shown { "shown" } else { "not shown" }
        ),
    );
    Ok(())
}

/// Files below a folder that hold these bytes.
fn files_with(folder: &Path, needle: &[u8]) -> anyhow::Result<usize> {
    let mut found = 0;
    for entry in std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            found += files_with(&path, needle)?;
        } else if std::fs::read(&path)
            .with_context(|| format!("reading {}", path.display()))?
            .windows(needle.len())
            .any(|w| w == needle)
        {
            found += 1;
        }
    }
    Ok(found)
}

fn from_hex(hex: &str) -> anyhow::Result<Vec<u8>> {
    carepost_gatt::report::parse_hex(hex).map_err(|error| anyhow::anyhow!("{hex:?}: {error}"))
}

/// Adds a stored record to a slot of the home cuff and lets the cuff send it.
///
/// # Errors
/// When the simulator refuses.
pub async fn home_record(world: &mut World, slot: u8, systolic: u16, diastolic: u16) -> anyhow::Result<()> {
    let record = CuffRecord {
        systolic: Some(systolic),
        diastolic: Some(diastolic),
        pulse: Some(68),
        slot: Some(slot),
        ..CuffRecord::default()
    };
    world.meters().measure_cuff(HOME_CUFF.0, record).await?;
    Ok(())
}

async fn withdrawal_row(world: &mut World, cast: &Cast, table: &mut Table) -> anyhow::Result<()> {
    // One reading at the server, then the server goes away and one waits in the outbox.
    home_record(world, 1, 133, 83).await?;
    world.readings_of(&cast.sun, 1).await?;
    world.stop_server().await?;
    home_record(world, 1, 143, 93).await?;
    wait_for("a reading in the outbox", SOON, async || {
        Ok((world.status().await?["spool"]["outbox"] == 1).then_some(()))
    })
    .await
    .with_context(|| world.logs())?;
    world.stop_gateway().await?;
    // The member withdraws while the gateway is away; at its return the copy is purged before anything is sent.
    world.start_server().await?;
    world.withdraw(&cast.sun, "care_record").await?;
    world.start_gateway().await?;
    world.gateway_up_to_date().await?;
    let status = world.drained().await?;
    let shown = world.readings(&cast.sun).await?.len();
    // A later reading of the same person is not taken either, and the other slot's still is.
    home_record(world, 1, 145, 95).await?;
    home_record(world, 2, 127, 79).await?;
    world.readings_of(&cast.zhao, 1).await?;
    let after = world.drained().await?;
    let kept = |status: &Value| ["sealed", "quarantined", "outbox"].map(|k| status["spool"][k].as_i64().unwrap_or(-1));
    let [_, quarantined, outbox] = kept(&after);
    table.row(
        "a withdrawal purges the gateway and closes the server, for that member only",
        "1 withdrawn here, 0 in the outbox, 0 quarantined, 0 shown by the server; the other slot's 1 arrives",
        format!(
            "{} withdrawn here, {outbox} in the outbox, {quarantined} quarantined, {shown} shown by the server; the other slot's {} arrives",
            status["spool"]["counters"]["withdrawn"],
            world.readings(&cast.zhao).await?.len()
        ),
    );
    Ok(())
}

async fn gateway_killed_row(world: &mut World, cast: &Cast, table: &mut Table) -> anyhow::Result<()> {
    let before = world.readings(&cast.li).await?.len();
    world.meters().generate_records(GLUCOSE.0, 40, 7).await?;
    // The link breaks off in the middle, and right then the gateway is killed: some records are spooled, some are not.
    let heard_before = world.meters().counters().await?.notifications;
    world.meters().press_transfer(GLUCOSE.0).await?;
    let deadline = tokio::time::Instant::now() + SOON;
    while world.meters().counters().await?.notifications < heard_before + 12 {
        anyhow::ensure!(
            tokio::time::Instant::now() < deadline,
            "the sync did not begin\n{}",
            world.logs()
        );
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    world.kill_gateway().await?;
    world.start_gateway().await?;
    sync_glucose(world).await?;
    let readings = world.readings_of(&cast.li, before + 40).await?;
    let ids: BTreeSet<&str> = readings.iter().filter_map(|r| r["id"].as_str()).collect();
    let made = raw_of(&world.meters().ledger(Some(GLUCOSE.0)).await?);
    table.row(
        "a gateway killed with -9 in the middle of a glucose sync loses and doubles nothing",
        format!(
            "{} readings, {} ids, {} of {} as made",
            before + 40,
            before + 40,
            before + 40,
            before + 40
        ),
        format!(
            "{} readings, {} ids, {} of {} as made",
            readings.len(),
            ids.len(),
            raw_of_readings(&readings).intersection(&made).count(),
            made.len()
        ),
    );
    Ok(())
}

async fn server_killed_row(world: &mut World, cast: &Cast, table: &mut Table) -> anyhow::Result<()> {
    let before = world.readings(&cast.li).await?.len();
    world.meters().generate_records(GLUCOSE.0, 200, 11).await?;
    let received_before = total_readings(world).await?;
    world.meters().press_transfer(GLUCOSE.0).await?;
    // Killed as soon as the first of them are stored, with batches on the way.
    let deadline = tokio::time::Instant::now() + SOON;
    while total_readings(world).await? <= received_before {
        anyhow::ensure!(
            tokio::time::Instant::now() < deadline,
            "nothing arrives\n{}",
            world.logs()
        );
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    world.kill_server().await?;
    world.start_server().await?;
    let expected = before + 200;
    let readings = world.readings_of(&cast.li, expected).await?;
    world.drained().await?;
    let ids: BTreeSet<&str> = readings.iter().filter_map(|r| r["id"].as_str()).collect();
    table.row(
        "a server killed with -9 in the middle of an ingest loses and doubles nothing",
        format!("{expected} readings, {expected} ids"),
        format!("{} readings, {} ids", readings.len(), ids.len()),
    );
    Ok(())
}

async fn total_readings(world: &World) -> anyhow::Result<i64> {
    world.manager()?.get("/api/v1/counts").await?["readings"]
        .as_i64()
        .context("the server counts its readings")
}

/// A fresh fasting value of the glucose meter, for the demo's calm scene.
///
/// # Errors
/// When the simulator refuses.
pub async fn measure_glucose(world: &mut World, tenths_mmol: u16) -> anyhow::Result<()> {
    let record = GlucoseRecord {
        mmol_l_tenths: Some(tenths_mmol),
        meal: Some(3),
        ..GlucoseRecord::default()
    };
    world.meters().measure_glucose(GLUCOSE.0, record).await?;
    Ok(())
}
