//! What comes from outside and is wrong: a clear error to its sender, counted, nothing lost, nothing crashed.

use std::time::Duration;

use carepost_contract::connect::password;
use carepost_contract::signed::seal;
use carepost_contract::topic::{Channel, Topic};
use carepost_domain::id::GatewayId;
use carepost_sim::control::{CuffRecord, GlucoseRecord};
use ed25519_dalek::SigningKey;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions};
use serde_json::{Value, json};
use system_tests::api::Refused;
use system_tests::programs::{Program, run_to_end};
use system_tests::scenes;
use system_tests::wait::wait_for;
use system_tests::world::{GLUCOSE, HOME_CUFF, SOON, Setup, World};

#[tokio::test(flavor = "multi_thread")]
async fn packets_that_are_no_readings_are_quarantined_with_their_reason_and_the_next_reading_arrives() {
    let mut world = World::start(Setup::default()).await.unwrap();
    let cast = scenes::seed(&world).await.unwrap();
    // From a member's own meters, in the order of the reasons below.
    let raw = |hex: &str| CuffRecord {
        raw: Some(hex.to_owned()),
        ..CuffRecord::default()
    };
    let cuff = vec![
        // One byte of a record.
        raw("1E"),
        // Twenty bytes of a vendor's own frame on the standard characteristic.
        raw("FE202700750055005F00E407091810093A690001"),
        // All values "not a number": the cuff's report of a failed measurement, in slot 1.
        raw("0EFF07FF07FF07EA070B16080000FF0701"),
        // 31 February.
        raw("0A78005000FF07EA07021F08000001"),
        // Clock never set.
        raw("0A78005000FF070000000008000001"),
    ];
    world.meters().add_cuff_records(HOME_CUFF.0, cuff).await.unwrap();
    scenes::home_record(&mut world, 1, 134, 84).await.unwrap();
    world.readings_of(&cast.sun, 1).await.unwrap();
    let control = GlucoseRecord {
        mmol_l_tenths: Some(61),
        sample_type: Some(10),
        ..GlucoseRecord::default()
    };
    world
        .meters()
        .add_glucose_records(GLUCOSE.0, vec![control])
        .await
        .unwrap();
    scenes::sync_glucose(&mut world).await.unwrap();
    world.readings_of(&cast.li, 60).await.unwrap();
    let status = world.drained().await.unwrap();
    let reasons = &status["spool"]["quarantine_reasons"];
    for (reason, count) in [
        ("undecodable", 1),
        ("implausible", 1),
        ("measurement_error", 1),
        ("time_impossible", 1),
        ("time_unknown", 1),
        ("control_solution", 1),
    ] {
        assert_eq!(reasons[reason], count, "{reason} in {reasons}");
    }
    world.stop().await.unwrap();
}

/// A stranger, or a gateway gone bad, with a real gateway's identity.
struct Rogue {
    gateway: GatewayId,
    key: SigningKey,
    client: AsyncClient,
    events: EventLoop,
}

impl Rogue {
    async fn connect(world: &World) -> Self {
        let identity = std::fs::read_to_string(world.gateway_folder().join("identity.json")).unwrap();
        let identity: Value = serde_json::from_str(&identity).unwrap();
        let gateway: GatewayId = identity["gateway"].as_str().unwrap().parse().unwrap();
        let key: [u8; 32] = hex::decode(identity["signing_key"].as_str().unwrap())
            .unwrap()
            .try_into()
            .unwrap();
        let key = SigningKey::from_bytes(&key);
        Self::connect_as(world, gateway, key)
    }

    fn connect_as(world: &World, gateway: GatewayId, key: SigningKey) -> Self {
        let (host, port) = world.mqtt_address().rsplit_once(':').unwrap();
        let mut options = MqttOptions::new(gateway.to_string(), host, port.parse().unwrap());
        options.set_credentials(
            gateway.to_string(),
            password(&key, gateway, carepost_daemon::Clock::system().now()),
        );
        options.set_max_packet_size(Some(512 * 1024));
        let (client, events) = AsyncClient::new(options, 10);
        Self {
            gateway,
            key,
            client,
            events,
        }
    }

    /// Publishes and gives the reason of the PUBACK; `None` if the server ended the connection instead.
    async fn publish(&mut self, channel: Channel, payload: Vec<u8>) -> Option<PubAckReason> {
        let topic = Topic {
            gateway: self.gateway,
            channel,
        }
        .to_string();
        self.client
            .publish(topic, QoS::AtLeastOnce, false, payload)
            .await
            .unwrap();
        let answer = async {
            loop {
                match self.events.poll().await {
                    Ok(Event::Incoming(Packet::PubAck(ack))) => return Some(ack.reason),
                    Ok(_) => {}
                    Err(_) => return None,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), answer)
            .await
            .expect("an answer to a publish")
    }
}

fn batch(rogue: &Rogue, items: Value) -> Vec<u8> {
    json!({"schema": "carepost.batch/1", "gateway": rogue.gateway.to_string(), "epoch": "00000000000000aa", "lane": "live",
        "settled_seen": 0, "first_seq": 1, "items": items})
    .to_string()
    .into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_messages_are_kept_counted_answered_and_block_nothing() {
    let mut world = World::start(Setup::default()).await.unwrap();
    let cast = scenes::seed(&world).await.unwrap();
    world.stop_gateway().await.unwrap();
    let mut rogue = Rogue::connect(&world).await;
    let sealed = |rogue: &Rogue, payload: &[u8]| seal(&rogue.key, payload);

    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let mut other_schema: Value = serde_json::from_slice(&batch(&rogue, json!([{"item": "void"}]))).unwrap();
    other_schema["schema"] = json!("carepost.batch/9");
    let poison = [
        ("not JSON", sealed(&rogue, b"NaN")),
        ("wrong schema", sealed(&rogue, other_schema.to_string().as_bytes())),
        ("deep nesting", sealed(&rogue, deep.as_bytes())),
        ("no signature", batch(&rogue, json!([{"item": "void"}]))),
        (
            "another's signature",
            seal(
                &SigningKey::from_bytes(&[9; 32]),
                &batch(&rogue, json!([{"item": "void"}])),
            ),
        ),
    ];
    for (what, payload) in poison {
        let reason = rogue.publish(Channel::UpLive, payload).await;
        assert!(
            reason.is_some_and(|r| r != PubAckReason::Success),
            "{what} is answered with an error: {reason:?}"
        );
    }
    // What was signed but cannot be used is in quarantine, and its numbers are settled: see the receipt of a later batch.
    // A batch whose frame is sound settles even if no item of it is.
    let unknown_member = json!({"item": "reading", "id": "01a13d5c-f4a0-8e5e-8ea5-6be341b2708d",
        "member": "018f3c5e-0000-7000-8000-0000000000ff", "meter": "c202ae9b-6b10-8e5e-8ea5-6be341b2708d",
        "attribution": {"by": "binding", "binding": "018f3c5e-0000-7000-8000-000000000004"}, "place": "home",
        "time": {"at": "2026-10-14T23:30:00Z", "quality": "meter_ok", "meter_local": "2026-10-15T07:30:00", "correction_s": 0, "gateway_clock_unsure": false},
        "captured_at": "2026-10-14T23:30:12Z",
        "measurement": {"kind": "blood_pressure", "unit": "mmHg", "systolic_umhg": 126_000_000, "diastolic_umhg": 78_000_000,
            "mean_arterial_umhg": null, "pulse_milli_per_min": null, "user_slot": null},
        "characteristic": 10805, "raw": "027E004E00FF07EA070A0F071E00"});
    let items = json!([unknown_member, {"item": "reading", "id": "no id"}, {"item": "void"}]);
    let payload = sealed(&rogue, &batch(&rogue, items));
    assert_eq!(
        rogue.publish(Channel::UpLive, payload).await,
        Some(PubAckReason::Success)
    );
    // A larger packet than the contract allows ends the connection.
    assert_eq!(rogue.publish(Channel::UpLive, vec![b'x'; 300 * 1024]).await, None);
    drop(rogue);

    let counts = world.manager().unwrap().get("/api/v1/counts").await.unwrap();
    let arrivals = |reason: &str| {
        let rows = counts["quarantine"].as_array().unwrap();
        rows.iter()
            .find(|row| row["reason"] == reason)
            .map_or(0, |row| row["arrivals"].as_i64().unwrap())
    };
    assert!(arrivals("malformed") >= 4, "{counts}");
    assert_eq!(arrivals("bad_signature"), 1, "{counts}");

    // The real gateway is served as before.
    world.start_gateway().await.unwrap();
    scenes::home_record(&mut world, 2, 128, 78).await.unwrap();
    world.readings_of(&cast.zhao, 1).await.unwrap();
    world.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_that_are_unknown_or_hold_another_key_are_refused() {
    let world = World::start(Setup::default()).await.unwrap();
    let enrolled: GatewayId = world.gateway_id().parse().unwrap();
    let unknown: GatewayId = "018f3c5e-0000-7000-8000-0000000000fe".parse().unwrap();
    for (what, gateway) in [("unknown", unknown), ("another key", enrolled)] {
        let mut rogue = Rogue::connect_as(&world, gateway, SigningKey::from_bytes(&[9; 32]));
        let refused = rogue.events.poll().await.unwrap_err();
        assert!(
            matches!(refused, ConnectionError::ConnectionRefused(_)),
            "{what}: {refused}"
        );
    }
    let counts = world.manager().unwrap().get("/api/v1/counts").await.unwrap();
    assert_eq!(counts["process"]["mqtt_connects_refused_total"], 2, "{counts}");
    // The real gateway is still connected.
    world.gateway_up_to_date().await.unwrap();
    world.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn http_bodies_that_are_wrong_get_problem_documents() {
    let world = World::start(Setup::default()).await.unwrap();
    let api = world.pharmacist().unwrap();
    let post = async |path: &str, body: String| {
        let request = api
            .client()
            .post(format!("{}{path}", api.base()))
            .header("X-CSRF-Token", api.csrf());
        let response = request
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await
            .unwrap();
        let kind = response
            .headers()
            .get("content-type")
            .map(|v| v.to_str().unwrap().to_owned());
        (response.status().as_u16(), kind, response.text().await.unwrap())
    };
    let deep = format!("{{\"code\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000));
    // A little too large: the server does not read a body to its end that it refuses, and a sender that is still writing then
    // may see a broken pipe before the answer.
    let too_large = format!("{{\"code\":\"{}\"}}", "x".repeat(64 * 1024));
    for (what, body) in [
        ("nothing", String::new()),
        ("not JSON", "NaN".to_owned()),
        ("deep nesting", deep),
        ("an unknown field", r#"{"code":"CP-1","invented":1}"#.to_owned()),
        ("too large", too_large),
    ] {
        let (status, kind, text) = post("/api/v1/members", body).await;
        assert!((400..500).contains(&status), "{what}: {status}");
        assert_eq!(kind.as_deref(), Some("application/problem+json"), "{what}");
        let problem: Value = serde_json::from_str(&text).unwrap();
        assert!(
            problem["code"].is_string() && problem["title"].is_string(),
            "{what}: {problem}"
        );
    }
    // Without the session, and without its token.
    let stranger = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = stranger
        .get(format!("{}/api/v1/alerts", api.base()))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 401);
    let forged = api
        .client()
        .post(format!("{}/api/v1/members", api.base()))
        .json(&json!({}))
        .send()
        .await
        .unwrap();
    assert_eq!(forged.status(), 403);
    // Somebody who does not exist and something that is nobody's look the same.
    let refused = api
        .get("/api/v1/members/018f3c5e-0000-7000-8000-0000000000ff")
        .await
        .unwrap_err();
    assert_eq!(refused.downcast_ref::<Refused>().unwrap().status, 404);
    world.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn configuration_files_that_are_wrong_are_reported_with_all_their_problems() {
    let folder = tempfile::tempdir().unwrap();
    for (program, text, expected) in [
        (
            Program::Gateway,
            "[uplink]\nport = 99999\nhost = \"example.org\"\n[invented]\nx = 1\n",
            vec!["uplink.port", "invented"],
        ),
        (
            Program::Server,
            "[mqtt]\nlisten = \"0.0.0.0:1883\"\n[http]\nmax_body_bytes = \"big\"\n",
            vec!["mqtt.listen", "http.max_body_bytes"],
        ),
        (
            Program::Sim,
            "[control]\nlisten = \"0.0.0.0:1\"\n[adapter]\nname = 7\n",
            vec!["control.listen", "adapter.name"],
        ),
    ] {
        let file = folder.path().join("config.toml");
        std::fs::write(&file, text).unwrap();
        let output = run_to_end(program, &["--config", file.to_str().unwrap()], &[], "")
            .await
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{said}");
        for key in expected {
            assert!(said.contains(key), "{key} in {said}");
        }
        std::fs::write(&file, "[unclosed").unwrap();
        let output = run_to_end(program, &["--config", file.to_str().unwrap()], &[], "")
            .await
            .unwrap();
        assert_eq!(output.status.code(), Some(78));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_captured_packet_is_decoded_for_support_staff() {
    for (arguments, code, says) in [
        (vec!["decode", "2A35", "0848005100400001"], 0, r#""systolic":72"#),
        (vec!["decode", "2A35", "0078"], 1, r#""error":"too_short""#),
        (vec!["decode", "SFLOAT", "FF07"], 0, r#""value":"NaN""#),
        (vec!["decode", "2A52-request", "0103010C00"], 0, r#""operands":[12]"#),
        (vec!["decode", "2A35", "XYZ"], 2, ""),
        (vec!["decode", "FFFF", "00"], 2, ""),
        (vec!["decode", "2A35"], 2, ""),
    ] {
        let output = run_to_end(Program::Gateway, &arguments, &[], "").await.unwrap();
        let out = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {out}");
        assert!(out.contains(says), "{arguments:?}: {out}");
        assert_eq!(out.lines().count(), usize::from(code != 2), "one JSON line");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adapter_that_goes_away_is_found_again() {
    let mut world = World::start(Setup::default()).await.unwrap();
    let cast = scenes::seed(&world).await.unwrap();
    world.meters().adapter(false).await.unwrap();
    wait_for("status to show the adapter off", SOON, async || {
        Ok((world.status().await?["daemon"]["link"]["is"] == "adapter_off").then_some(()))
    })
    .await
    .unwrap();
    world.meters().adapter(true).await.unwrap();
    scenes::home_record(&mut world, 2, 128, 78).await.unwrap();
    world.readings_of(&cast.zhao, 1).await.unwrap();
    world.stop().await.unwrap();
}
