//! The journeys of the product page, from the person's side.

use carepost_sim::control::CuffRecord;
use serde_json::json;
use system_tests::api::Refused;
use system_tests::scenes::{self, Cast};
use system_tests::wait::wait_for;
use system_tests::world::{GLUCOSE, HOME_CUFF, SOON, Setup, World};

/// A seeded world.
async fn opened(setup: Setup) -> (World, Cast) {
    let world = World::start(setup).await.unwrap();
    let cast = scenes::seed(&world).await.unwrap();
    (world, cast)
}

/// Ends a world in which nothing may have gone wrong.
async fn closed(world: World) {
    let errors = world.error_lines();
    assert!(errors.is_empty(), "no program may log an error: {errors:#?}");
    world.stop().await.unwrap();
}

fn settings(values: &[&str]) -> Vec<String> {
    values.iter().map(|v| (*v).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn journey_1_in_store_measurement_from_code_to_wipe() {
    // Long enough for the server's word to come while the result is shown, also on a machine that is busy.
    let gateway = settings(&["kiosk.timings.result_ms=6000", "kiosk.timings.warning_ms=300"]);
    let (mut world, cast) = opened(Setup {
        gateway,
        ..Setup::default()
    })
    .await;
    let greet = world.kiosk().unwrap().identify(&cast.wang.code).await.unwrap();
    assert!(
        greet.says("王**") && !greet.says("王秀英"),
        "the name is never shown in full"
    );
    world.kiosk().unwrap().end().await.unwrap();

    let result = scenes::in_store_session(&mut world, &cast.wang, [(132, 84, 70), (128, 80, 72)])
        .await
        .unwrap();
    assert!(
        result.says("130") && result.says("82"),
        "the mean is shown: {}",
        result.html
    );
    let kiosk = world.kiosk().unwrap();
    wait_for("the word that the record has it", SOON, async || {
        let screen = kiosk.look().await?;
        Ok(
            (screen.says("Arrived in your health record")
                || screen.says("已存入您的健康档案")
                || screen.says("已送达"))
            .then_some(()),
        )
    })
    .await
    .unwrap();
    // Nobody answers the warning: the screen wipes itself, and nothing of the person is left on it.
    let start = kiosk.wait_for("start").await.unwrap();
    assert!(!start.says("王") && !start.says("130"));
    assert_eq!(world.readings_of(&cast.wang, 2).await.unwrap().len(), 2);
    closed(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn journey_1_on_postgresql() {
    let cluster = carepost_store::testing::Cluster::start().await.unwrap();
    let (mut world, cast) = opened(Setup {
        database_url: Some(cluster.database().await.unwrap()),
        ..Setup::default()
    })
    .await;
    scenes::in_store_session(&mut world, &cast.wang, [(132, 84, 70), (128, 80, 72)])
        .await
        .unwrap();
    world.readings_of(&cast.wang, 2).await.unwrap();
    let sessions = world.sessions(&cast.wang).await.unwrap();
    assert_eq!(
        (
            sessions.len(),
            &sessions[0]["mean"]["systolic_mmhg"],
            &sessions[0]["mean"]["diastolic_mmhg"]
        ),
        (1, &json!(130), &json!(82))
    );
    closed(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn journey_2_an_unknown_code_goes_on_anonymously_and_nothing_is_kept() {
    let (mut world, _) = opened(Setup::default()).await;
    let kiosk = world.kiosk().unwrap();
    let start = kiosk.wait_for("start").await.unwrap();
    let entry = kiosk.press(&start, "/begin", &[("as", "member")]).await.unwrap();
    let unknown = kiosk.press(&entry, "/identify", &[("code", "CP-9999")]).await.unwrap();
    assert_eq!(unknown.name, "unknown");
    let prepare = kiosk.press(&unknown, "/begin", &[("as", "anonymous")]).await.unwrap();
    kiosk.prepared(prepare).await.unwrap();
    scenes::measure(&mut world, 121, 77, 66).await.unwrap();
    wait_for("the reading on the screen", SOON, async || {
        Ok(kiosk.look().await?.says("121").then_some(()))
    })
    .await
    .unwrap();
    kiosk.end().await.unwrap();
    let status = world.drained().await.unwrap();
    assert_eq!(status["spool"]["quarantined"], 0);
    assert_eq!(
        world.manager().unwrap().get("/api/v1/counts").await.unwrap()["readings"],
        0
    );
    closed(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn journey_3_two_people_share_a_cuff_by_its_slots() {
    let (mut world, cast) = opened(Setup::default()).await;
    scenes::home_record(&mut world, 1, 133, 83).await.unwrap();
    scenes::home_record(&mut world, 2, 127, 79).await.unwrap();
    let sun = world.readings_of(&cast.sun, 1).await.unwrap();
    let zhao = world.readings_of(&cast.zhao, 1).await.unwrap();
    assert_eq!(sun[0]["shown"]["systolic_mmhg"], 133);
    assert_eq!(zhao[0]["shown"]["systolic_mmhg"], 127);
    // A slot that nobody is bound to is nobody's, and is kept with the reason.
    let of_slot_3 = CuffRecord {
        raw: Some("0A8C005800FF07EA070A0F071E0003".to_owned()),
        ..CuffRecord::default()
    };
    world.meters().measure_cuff(HOME_CUFF.0, of_slot_3).await.unwrap();
    let status = wait_for("a quarantined record", SOON, async || {
        let status = world.status().await?;
        Ok((status["spool"]["quarantined"] == 1).then_some(status))
    })
    .await
    .unwrap();
    assert_eq!(status["spool"]["quarantine_reasons"]["slot_unknown"], 1);
    closed(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn journey_4_from_the_alert_to_its_recorded_outcome() {
    let (mut world, cast) = opened(Setup::default()).await;
    scenes::critical_session(&mut world, &cast.zhou).await.unwrap();
    let alerts = world.open_alerts(&cast.zhou).await.unwrap();
    assert_eq!(alerts.len(), 1);
    let api = world.pharmacist().unwrap().clone();
    let id = alerts[0]["id"].as_str().unwrap();
    let acknowledged = api
        .post(
            &format!("/api/v1/alerts/{id}/acknowledge"),
            &json!({"version": alerts[0]["version"]}),
        )
        .await
        .unwrap();
    assert!(acknowledged["acknowledged"]["by"].is_string(), "{acknowledged}");
    // A colleague who looked at the version before is told so.
    let late = api
        .post(
            &format!("/api/v1/alerts/{id}/acknowledge"),
            &json!({"version": alerts[0]["version"]}),
        )
        .await
        .unwrap_err();
    assert_eq!(late.downcast_ref::<Refused>().unwrap().status, 409);

    let tasks = world.open_tasks(&cast.zhou).await.unwrap();
    assert_eq!(tasks.len(), 1);
    let task = tasks[0]["id"].as_str().unwrap();
    let taken = api
        .post(
            &format!("/api/v1/tasks/{task}/take"),
            &json!({"version": tasks[0]["version"]}),
        )
        .await
        .unwrap();
    let outcome =
        json!({"version": taken["version"], "outcome": "reached_advised", "note": "Will see a doctor today."});
    let done = api
        .post(&format!("/api/v1/tasks/{task}/outcome"), &outcome)
        .await
        .unwrap();
    assert!(done.to_string().contains("reached_advised"), "{done}");
    assert!(world.open_tasks(&cast.zhou).await.unwrap().is_empty());
    // Closing a call does not clear physiology.
    assert_eq!(world.open_alerts(&cast.zhou).await.unwrap().len(), 1);
    closed(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn journey_5_a_withdrawal_by_staff_closes_everything() {
    let (mut world, cast) = opened(Setup::default()).await;
    scenes::critical_session(&mut world, &cast.zhou).await.unwrap();
    assert_eq!(world.open_alerts(&cast.zhou).await.unwrap().len(), 1);
    world.withdraw(&cast.zhou, "care_record").await.unwrap();
    assert!(
        world.open_alerts(&cast.zhou).await.unwrap().is_empty(),
        "open alerts close with that reason"
    );
    assert!(world.open_tasks(&cast.zhou).await.unwrap().is_empty());
    assert!(
        world.readings(&cast.zhou).await.unwrap().is_empty(),
        "nothing more is shown"
    );
    world.gateway_up_to_date().await.unwrap();
    let greet = world.kiosk().unwrap().identify(&cast.zhou.code).await.unwrap();
    assert!(
        greet.says("value=\"sealed\""),
        "the kiosk knows within seconds that there is no consent"
    );
    closed(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_breaks_off_at_any_record_is_resumed() {
    let (mut world, cast) = opened(Setup::default()).await;
    // Every two values one record with its context: the link breaks at record 1, in a pair, and late.
    for after in [2, 37, 101] {
        world.meters().drop_link(GLUCOSE.0, Some(after)).await.unwrap();
        scenes::sync_glucose(&mut world).await.unwrap();
    }
    scenes::sync_glucose(&mut world).await.unwrap();
    world.readings_of(&cast.li, 60).await.unwrap();
    closed(world).await;
}
