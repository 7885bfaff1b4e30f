//! From CONNECT to receipt, over the real endpoint into a real database, and what staff see of it.

use std::time::Duration;

use carepost_contract::topic::Channel;
use carepost_contract::v1::{Batch, Control, Down, Epoch, Hello, Item, Lane, Rejection};
use carepost_contract::{connect, signed};
use carepost_daemon::SecretText;
use carepost_domain::Id;
use carepost_domain::id::{MemberId, MeterId, SittingId};
use carepost_domain::quarantine::Reason;
use carepost_server::telemetry::Metric;
use carepost_store::model::{By, StaffRole};
use carepost_store::testing::Cluster;
use chrono::{DateTime, TimeDelta, Utc};
use ed25519_dalek::SigningKey;
use reqwest::StatusCode;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use serde_json::{Value, json};

use crate::harness::{Browser, Gateway, Server, eventually, item, pressure};
use crate::wire::{Heard, PATIENCE, Wire, publish, subscribe};

/// A server, a pharmacist, a member with consent, a cuff in the store, and a gateway.
struct World {
    server: Server,
    pharmacist: Browser,
    member: MemberId,
    cuff: MeterId,
    gateway: Gateway,
    sitting: SittingId,
}

impl World {
    async fn new() -> Self {
        Self::of(Server::start().await).await
    }

    async fn of(server: Server) -> Self {
        let pharmacist = server.pharmacist().await;
        let member = pharmacist.add_member("CP-0001", server.store).await;
        pharmacist.grant(member, "care_record").await;
        let cuff = pharmacist.shared_cuff(server.store).await;
        let gateway = server.enrol(1).await;
        Self {
            server,
            pharmacist,
            member,
            cuff,
            gateway,
            sitting: Id::from_uuid(uuid::Uuid::from_u128(9)),
        }
    }

    fn ago(&self, minutes: i64) -> DateTime<Utc> {
        self.server.state.clock.now() - TimeDelta::minutes(minutes)
    }

    fn reading(&self, values: (u8, u8), minutes_ago: i64) -> Item {
        item(pressure(
            self.cuff,
            self.member,
            self.sitting,
            values,
            self.ago(minutes_ago),
        ))
    }

    async fn readings(&self) -> Vec<Value> {
        let answer = self
            .pharmacist
            .get(&format!("/api/v1/members/{}/readings", self.member))
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer.body["readings"].as_array().unwrap().clone()
    }
}

#[tokio::test]
async fn a_reading_is_committed_acknowledged_receipted_and_shown_once() {
    let world = World::new().await;
    let mut link = world.gateway.enter(0).await;
    let Down::Cursor(cursor) = link.hear_down().await else {
        panic!()
    };
    assert_eq!((cursor.epoch, cursor.live, cursor.replay), (world.gateway.epoch, 0, 0));
    let Down::Snapshot(snapshot) = link.hear_down().await else {
        panic!()
    };
    assert_eq!(snapshot.members[0].id, world.member);
    assert_eq!(snapshot.members[0].masked_name, "王**");
    assert_eq!(snapshot.meters[0].id, world.cuff);
    assert_eq!(snapshot.grants[0].member, world.member);
    assert!(snapshot.last);
    link.applied(snapshot.version).await;

    let batch = world.gateway.batch(
        1,
        vec![world.reading((128, 79), 5), Item::Void, world.reading((126, 78), 3)],
    );
    let receipt = link.deliver(&batch).await;
    assert_eq!(
        (receipt.settled_through, receipt.extra.len(), receipt.rejected.len()),
        (3, 0, 0)
    );
    // Sent again, as after a lost receipt.
    assert_eq!(link.deliver(&batch).await.settled_through, 3);

    let readings = world.readings().await;
    assert_eq!(readings.len(), 2);
    assert_eq!(
        readings[0]["shown"],
        json!({ "systolic_mmhg": 126, "diastolic_mmhg": 78, "pulse_per_min": null })
    );
    assert_eq!(readings[0]["gateway"], world.gateway.id.to_string());
    assert_eq!(readings[0]["attribution"]["by"], "sitting");
    let sessions = world
        .pharmacist
        .get(&format!("/api/v1/members/{}/sessions", world.member))
        .await;
    assert_eq!(sessions.body["sessions"].as_array().unwrap().len(), 1, "{sessions:?}");
    let counters = &world.server.state.counters;
    assert_eq!(counters.get(Metric::ReadingsStored), 2);
    assert_eq!(counters.get(Metric::ReadingsDuplicate), 2);
    world.server.stop().await;
}

#[tokio::test]
async fn pages_of_readings_follow_each_other_without_a_gap() {
    let world = World::new().await;
    let mut link = world.gateway.enter(0).await;
    let items = (0..7)
        .map(|n| world.reading((120 + n, 80), 100 - i64::from(n) * 10))
        .collect();
    link.deliver(&world.gateway.batch(1, items)).await;
    let mut seen = Vec::new();
    let mut path = format!("/api/v1/members/{}/readings?limit=3", world.member);
    loop {
        let answer = world.pharmacist.get(&path).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        for reading in answer.body["readings"].as_array().unwrap() {
            seen.push(reading["shown"]["systolic_mmhg"].as_i64().unwrap());
        }
        let Some(next) = answer.body["next"].as_str() else {
            break;
        };
        path = format!("/api/v1/members/{}/readings?limit=3&cursor={next}", world.member);
    }
    assert_eq!(seen, [126, 125, 124, 123, 122, 121, 120]);
}

#[tokio::test]
async fn a_critical_session_is_worked_on_from_alert_to_outcome() {
    let world = World::new().await;
    let mut link = world.gateway.enter(0).await;
    link.deliver(
        &world
            .gateway
            .batch(1, vec![world.reading((192, 121), 5), world.reading((190, 120), 3)]),
    )
    .await;

    let alerts = world.pharmacist.get("/api/v1/alerts").await;
    let alerts = alerts.body["alerts"].as_array().unwrap();
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    assert_eq!(alerts[0]["family"], "bp-high");
    assert_eq!(alerts[0]["condition"], json!({ "is": "active" }));
    let id = alerts[0]["id"].as_str().unwrap();
    let file = world.pharmacist.get(&format!("/api/v1/alerts/{id}")).await.body;
    assert_eq!(file["readings"].as_array().unwrap().len(), 2, "{file}");

    let path = format!("/api/v1/alerts/{id}/acknowledge");
    let version = alerts[0]["version"].as_u64().unwrap();
    let stale = world.pharmacist.post(&path, json!({ "version": version + 1 })).await;
    assert_eq!(stale.problem(), (409, "conflict"));
    assert_eq!(stale.body["current_version"], version);
    let acknowledged = world.pharmacist.post(&path, json!({ "version": version })).await;
    assert_eq!(acknowledged.status, StatusCode::OK, "{acknowledged:?}");
    assert!(acknowledged.body["acknowledged"].is_object());

    let tasks = world.pharmacist.get("/api/v1/tasks").await;
    let tasks = tasks.body["tasks"].as_array().unwrap();
    assert_eq!(tasks.len(), 1, "{tasks:?}");
    assert_eq!(tasks[0]["alert"], id);
    let task = tasks[0]["id"].as_str().unwrap();
    let version = tasks[0]["version"].as_u64().unwrap();
    let taken = world
        .pharmacist
        .post(&format!("/api/v1/tasks/{task}/take"), json!({ "version": version }))
        .await;
    assert_eq!(taken.body["status"]["is"], "taken", "{taken:?}");
    let again = world
        .pharmacist
        .post(&format!("/api/v1/tasks/{task}/take"), json!({ "version": version }))
        .await;
    assert_eq!(again.problem(), (409, "conflict"));

    let path = format!("/api/v1/tasks/{task}/outcome");
    let version = taken.body["version"].as_u64().unwrap();
    let undated = world
        .pharmacist
        .post(&path, json!({ "version": version, "outcome": "callback_agreed" }))
        .await;
    assert_eq!(undated.problem(), (422, "date_needed"));
    let body = json!({ "version": version, "outcome": "seen_in_person", "note": "rested and calm" });
    let done = world.pharmacist.post(&path, body).await;
    assert_eq!(done.status, StatusCode::OK, "{done:?}");
    assert_eq!(done.body["task"]["status"]["outcome"], "seen_in_person");
    assert_eq!(done.body["task"]["note"], "rested and calm");
}

#[tokio::test]
async fn a_danger_symptom_alone_opens_an_alert() {
    let world = World::new().await;
    let path = format!("/api/v1/members/{}/symptoms", world.member);
    let body = json!({ "codes": ["chest_pain", "dizziness", "chest_pain"], "source": "staff" });
    let answer = world.pharmacist.post(&path, body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    assert_eq!(answer.body["records"].as_array().unwrap().len(), 2);
    assert_eq!(answer.body["alerts_opened"], 1);
    let alerts = world.pharmacist.get("/api/v1/alerts").await;
    assert_eq!(alerts.body["alerts"][0]["rule"], "SY-01");
}

#[tokio::test]
async fn a_withdrawal_reaches_the_gateway_and_closes_the_server() {
    let world = World::new().await;
    let mut link = world.gateway.enter(0).await;
    let Down::Cursor(_) = link.hear_down().await else {
        panic!()
    };
    let Down::Snapshot(snapshot) = link.hear_down().await else {
        panic!()
    };
    link.deliver(
        &world
            .gateway
            .batch(1, vec![world.reading((192, 121), 8), world.reading((190, 120), 6)]),
    )
    .await;

    let path = format!("/api/v1/members/{}/grants/withdraw", world.member);
    let withdrawn = world
        .pharmacist
        .post(&path, json!({ "purpose": "care_record", "reason": "asked to" }))
        .await;
    assert_eq!(withdrawn.status, StatusCode::OK, "{withdrawn:?}");
    assert_eq!(
        (&withdrawn.body["grants"], &withdrawn.body["alerts_closed"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(
        world
            .pharmacist
            .post(&path, json!({ "purpose": "care_record" }))
            .await
            .problem(),
        (409, "nothing_to_withdraw")
    );

    let Down::Delta(delta) = link.hear_down().await else {
        panic!()
    };
    assert_eq!(delta.previous, snapshot.version);
    assert!(delta.grants[0].withdrawn_at.is_some());
    link.applied(delta.version).await;

    let receipt = link
        .deliver(&world.gateway.batch(3, vec![world.reading((126, 78), 1)]))
        .await;
    assert_eq!(receipt.settled_through, 3);
    assert_eq!(
        (receipt.rejected[0].seq, receipt.rejected[0].reason),
        (3, Rejection::NoConsent)
    );
    let hidden = world
        .pharmacist
        .get(&format!("/api/v1/members/{}/readings", world.member))
        .await;
    assert_eq!(hidden.problem(), (404, "not_found"));
    let alerts = world.pharmacist.get("/api/v1/alerts?which=all").await;
    assert_eq!(alerts.body["alerts"], json!([]));
}

#[tokio::test]
async fn each_change_reaches_the_gateway_in_order_and_only_what_concerns_it() {
    let world = World::new().await;
    let mut link = world.gateway.enter(0).await;
    let Down::Cursor(_) = link.hear_down().await else {
        panic!()
    };
    let Down::Snapshot(snapshot) = link.hear_down().await else {
        panic!()
    };
    let manager = world
        .server
        .enter("manager", StaffRole::Manager, world.server.store)
        .await;
    // Somebody of another store does not concern this gateway.
    manager.add_member("CP-0900", world.server.other_store).await;
    let first = world.pharmacist.add_member("CP-0002", world.server.store).await;
    let mut holds = snapshot.version;
    let mut heard = Vec::new();
    while !heard.contains(&first) {
        let Down::Delta(delta) = link.hear_down().await else {
            panic!()
        };
        assert_eq!(delta.previous, holds);
        holds = delta.version;
        heard.extend(delta.members.iter().map(|member| member.id));
    }
    assert_eq!(heard, [first]);

    // A gateway that comes back with an older copy is sent what it lacks.
    drop(link);
    let mut link = world.gateway.enter(snapshot.version).await;
    let Down::Cursor(_) = link.hear_down().await else {
        panic!()
    };
    let Down::Delta(delta) = link.hear_down().await else {
        panic!()
    };
    assert_eq!((delta.previous, delta.members[0].id), (snapshot.version, first));
    // One that claims a version that never was is sent everything.
    drop(link);
    let mut link = world.gateway.enter(1_000_000).await;
    let Down::Cursor(_) = link.hear_down().await else {
        panic!()
    };
    let Down::Snapshot(snapshot) = link.hear_down().await else {
        panic!()
    };
    assert_eq!(snapshot.members.len(), 2);
}

#[tokio::test]
async fn poison_is_quarantined_counted_and_never_blocks_the_lane() {
    let world = World::new().await;
    let gateway = &world.gateway;
    let other = world.server.enrol(2).await;
    let stranger = SigningKey::from_bytes(&[99; 32]);
    let good = gateway.batch(1, vec![world.reading((126, 78), 5)]);
    let text = |batch: &Batch| serde_json::to_string(batch).unwrap();
    let seal = |text: &str| signed::seal(&gateway.key, text.as_bytes());
    let mut altered = gateway.seal(&good);
    *altered.last_mut().unwrap() = b' ';
    let mut foreign = good.clone();
    foreign.gateway = other.id;
    let mut replay = good.clone();
    replay.lane = Lane::Replay;
    let too_many = gateway.batch(1, vec![Item::Void; 201]);
    let mut late = good.clone();
    late.first_seq = u64::MAX;
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let cases: Vec<(&str, Vec<u8>, u8, Reason)> = vec![
        ("not signed", text(&good).into_bytes(), 0x99, Reason::Malformed),
        ("empty", vec![], 0x99, Reason::Malformed),
        ("altered", altered, 0x87, Reason::BadSignature),
        (
            "another key",
            signed::seal(&stranger, text(&good).as_bytes()),
            0x87,
            Reason::BadSignature,
        ),
        ("another gateway", gateway.seal(&foreign), 0x87, Reason::WrongGateway),
        ("another lane", gateway.seal(&replay), 0x99, Reason::Malformed),
        ("not JSON", seal("readings, honestly"), 0x99, Reason::Malformed),
        ("nested deep", seal(&deep), 0x99, Reason::Malformed),
        (
            "another schema",
            seal(&text(&good).replace("carepost.batch/1", "carepost.batch/9")),
            0x99,
            Reason::Malformed,
        ),
        (
            "NaN",
            seal(&text(&good).replace(r#""first_seq":1"#, r#""first_seq":NaN"#)),
            0x99,
            Reason::Malformed,
        ),
        ("too many items", gateway.seal(&too_many), 0x99, Reason::Malformed),
        (
            "no items",
            gateway.seal(&gateway.batch(1, vec![])),
            0x99,
            Reason::Malformed,
        ),
        ("numbers out of range", gateway.seal(&late), 0x99, Reason::Malformed),
        ("too large", seal(&"x".repeat(200 * 1024)), 0x99, Reason::TooLarge),
    ];
    let mut link = gateway.enter(0).await;
    for (name, payload, code, _) in &cases {
        assert_eq!(link.publish(Channel::UpLive, payload).await, *code, "{name}");
    }
    assert_eq!(
        link.publish(Channel::UpControl, &seal("{}")).await,
        0x99,
        "a control message"
    );
    let it = world.server.enter("it", StaffRole::It, world.server.store).await;
    let counts = it.get("/api/v1/counts").await.body;
    for reason in [
        Reason::Malformed,
        Reason::BadSignature,
        Reason::WrongGateway,
        Reason::TooLarge,
    ] {
        // The control message, and the items of the two batches whose numbers could be read.
        let more = if reason == Reason::Malformed { 3 } else { 0 };
        let expected = cases.iter().filter(|case| case.3 == reason).count() + more;
        let row = counts["quarantine"]
            .as_array()
            .unwrap()
            .iter()
            .find(|row| row["reason"] == reason.code());
        assert_eq!(row.unwrap()["arrivals"], expected, "{reason}: {counts}");
    }
    assert_eq!(counts["process"]["messages_poison_total"], cases.len() + 1);

    // The lane goes on, and a bad item does not take its neighbours with it.
    let mut items: Value = serde_json::to_value(gateway.batch(
        1,
        vec![
            world.reading((126, 78), 5),
            world.reading((127, 79), 3),
            world.reading((128, 80), 2),
        ],
    ))
    .unwrap();
    items["items"][1]["time"]["at"] = json!("yesterday");
    let bytes = signed::seal(&gateway.key, &serde_json::to_vec(&items).unwrap());
    assert_eq!(link.publish(Channel::UpLive, &bytes).await, 0);
    let receipt = link.deliver(&gateway.batch(4, vec![Item::Void])).await;
    assert_eq!(receipt.settled_through, 4);
    let rejected: Vec<_> = receipt
        .rejected
        .iter()
        .map(|rejected| (rejected.seq, rejected.reason))
        .collect();
    // The first number was settled with the batch of another schema, and what was refused stays refused.
    let malformed = Rejection::Unusable(Reason::Malformed);
    assert_eq!(rejected, [(1, malformed), (2, malformed)]);
    assert_eq!(world.readings().await.len(), 1);
}

#[tokio::test]
async fn a_reading_that_cannot_be_is_rejected_with_its_reason() {
    let world = World::new().await;
    let mut link = world.gateway.enter(0).await;
    let now = world.ago(0);
    let unknown = Id::from_uuid(uuid::Uuid::from_u128(12345));
    let reading = |member, at| pressure(world.cuff, member, world.sitting, (126, 78), at);
    let mut altered = reading(world.member, now - TimeDelta::minutes(2));
    altered.id = Id::from_uuid(uuid::Uuid::from_u128(77));
    let mut future = reading(world.member, now + TimeDelta::hours(1));
    future.captured_at = now;
    let receipt = link
        .deliver(&world.gateway.batch(
            1,
            vec![
                item(reading(unknown, now - TimeDelta::minutes(1))),
                item(altered),
                item(future),
            ],
        ))
        .await;
    let reasons: Vec<_> = receipt.rejected.iter().map(|rejected| rejected.reason).collect();
    assert_eq!(
        reasons,
        [Reason::UnknownMember, Reason::Inconsistent, Reason::TimeInFuture].map(Rejection::Unusable)
    );
    assert_eq!(world.readings().await, Vec::<Value>::new());
}

#[tokio::test]
async fn without_a_database_there_is_no_acknowledgement() {
    let world = World::new().await;
    let mut link = world.gateway.enter(0).await;
    for _ in ["cursor", "snapshot"] {
        link.hear_down().await;
    }
    let batch = world
        .gateway
        .seal(&world.gateway.batch(1, vec![world.reading((126, 78), 5)]));
    world.server.state.store.close().await;
    link.wire
        .send(&publish(1, false, &world.gateway.topic(Channel::UpLive), 99, &batch))
        .await;
    loop {
        match link.wire.hear().await {
            Heard::Puback { id: 99, .. } => panic!("acknowledged without a commit"),
            Heard::Disconnect { code } => {
                assert_eq!(code, 0x89);
                break;
            }
            _ => {}
        }
    }
    let mut wire = Wire::open(world.gateway.mqtt).await;
    wire.send(&world.gateway.connect(world.ago(0)).bytes()).await;
    let Heard::Connack { code: 0x88, .. } = wire.hear().await else {
        panic!("the store cannot be asked")
    };
    assert_eq!(world.server.state.counters.get(Metric::MessagesNotStored), 1);
}

#[tokio::test]
async fn a_revoked_gateway_is_cut_off_and_stays_out() {
    let world = World::new().await;
    let mut link = world.gateway.enter(0).await;
    let by = By::system(world.ago(0));
    world
        .server
        .state
        .store
        .revoke_gateway(&by, world.gateway.id)
        .await
        .unwrap();
    let batch = world
        .gateway
        .seal(&world.gateway.batch(1, vec![world.reading((126, 78), 5)]));
    link.wire
        .send(&publish(1, false, &world.gateway.topic(Channel::UpLive), 99, &batch))
        .await;
    assert_eq!(link.wire.hear_the_end().await, Some(0x98));
    let mut wire = Wire::open(world.gateway.mqtt).await;
    wire.send(&world.gateway.connect(world.ago(0)).bytes()).await;
    let Heard::Connack { code: 0x87, .. } = wire.hear().await else {
        panic!()
    };
}

#[tokio::test]
async fn only_an_enrolled_gateway_with_a_password_of_now_is_let_in() {
    let world = World::new().await;
    let now = world.ago(0);
    let unknown = Gateway {
        id: Id::from_uuid(uuid::Uuid::from_u128(0xBAD)),
        key: SigningKey::from_bytes(&[8; 32]),
        epoch: world.gateway.epoch,
        mqtt: world.gateway.mqtt,
    };
    let mut impostor = world.gateway.connect(now);
    impostor.password = Some(connect::password(&unknown.key, world.gateway.id, now).into_bytes());
    for (name, connect, hint) in [
        ("unknown", unknown.connect(now), None),
        ("an impostor", impostor, None),
        (
            "a clock that is off",
            world.gateway.connect(now - TimeDelta::minutes(10)),
            Some("away from the server's time"),
        ),
    ] {
        let mut wire = Wire::open(world.gateway.mqtt).await;
        wire.send(&connect.bytes()).await;
        let Heard::Connack { code, body } = wire.hear().await else {
            panic!("{name}")
        };
        assert_eq!(code, 0x86, "{name}");
        let body = String::from_utf8_lossy(&body).into_owned();
        assert!(hint.is_none_or(|hint| body.contains(hint)), "{name}: {body}");
    }
}

#[tokio::test]
async fn after_a_restart_the_gateway_learns_where_its_lanes_stand() {
    let world = World::new().await;
    let mut link = world.gateway.enter(0).await;
    link.deliver(&world.gateway.batch(1, vec![world.reading((126, 78), 5), Item::Void]))
        .await;
    drop(link);
    let server = world.server.restart().await;
    let gateway = Gateway {
        mqtt: server.mqtt,
        ..world.gateway
    };
    let mut link = gateway.enter(0).await;
    let Down::Cursor(cursor) = link.hear_down().await else {
        panic!()
    };
    assert_eq!((cursor.live, cursor.replay), (2, 0));
    server.stop().await;
}

#[tokio::test]
async fn presence_and_clones_are_shown_to_those_who_run_the_machines() {
    let world = World::new().await;
    let it = world.server.enter("it", StaffRole::It, world.server.store).await;
    let mut link = world.gateway.enter(0).await;
    let name = world.gateway.topic(Channel::State);
    link.wire
        .send(&publish(1, true, &name, 500, br#"{"state":"online"}"#))
        .await;
    let shown = || async { it.get("/api/v1/gateways").await.body["gateways"][0].clone() };
    eventually("the gateway is online", || async {
        shown().await["online"] == json!(true)
    })
    .await;
    eventually("its presence is shown", || async {
        shown().await["presence"] == json!(r#"{"state":"online"}"#)
    })
    .await;
    drop(link);
    eventually("the gateway is offline", || async {
        shown().await["online"] == json!(false)
    })
    .await;

    // Two copies of one disk take turns.
    for _ in 0..2 {
        for epoch in [[1; 8], [7; 8]] {
            let turn = Gateway {
                epoch: Epoch::from_bytes(epoch),
                ..world.gateway.clone()
            };
            drop(turn.enter(0).await);
        }
    }
    let flags = it.get("/api/v1/gateways").await.body["flags"].clone();
    assert_eq!(flags[0]["kind"], "cloned_gateway", "{flags}");
}

#[tokio::test]
async fn stopping_under_load_loses_nothing_that_was_acknowledged() {
    let world = World::new().await;
    let gateway = world.gateway.clone();
    let mut link = gateway.enter(0).await;
    let mut acknowledged = 0_u64;
    for n in 0..20_u16 {
        let batch = world.gateway.batch(
            u64::from(n) + 1,
            vec![world.reading((126, 78), 600 - i64::from(n) * 11)],
        );
        link.wire
            .send(&publish(
                1,
                false,
                &world.gateway.topic(Channel::UpLive),
                100 + n,
                &world.gateway.seal(&batch),
            ))
            .await;
    }
    let stopping = tokio::time::timeout(Duration::from_secs(9), world.server.restart());
    let hearing = async {
        loop {
            match link.wire.hear().await {
                Heard::Puback { id, code: 0, .. } if id >= 100 => acknowledged += 1,
                Heard::Closed => break,
                _ => {}
            }
        }
    };
    let (server, ()) = tokio::join!(stopping, hearing);
    let server = server.unwrap();
    let gateway = Gateway {
        mqtt: server.mqtt,
        ..gateway
    };
    let mut link = gateway.enter(0).await;
    let Down::Cursor(cursor) = link.hear_down().await else {
        panic!()
    };
    assert!(
        cursor.live >= acknowledged,
        "{} settled, {acknowledged} acknowledged",
        cursor.live
    );
    server.stop().await;
}

#[tokio::test]
async fn the_client_library_of_the_gateway_gets_along_with_the_endpoint() {
    let world = World::new().await;
    let gateway = &world.gateway;
    let id = gateway.id.to_string();
    let mut options = MqttOptions::new(&id, gateway.mqtt.ip().to_string(), gateway.mqtt.port());
    options.set_credentials(&id, connect::password(&gateway.key, gateway.id, world.ago(0)));
    options.set_keep_alive(Duration::from_secs(30));
    options.set_clean_start(true);
    let (client, mut events) = AsyncClient::new(options, 10);
    for channel in [Channel::Receipt, Channel::Down] {
        client
            .subscribe(gateway.topic(channel), QoS::AtLeastOnce)
            .await
            .unwrap();
    }
    let hello = Hello {
        gateway: gateway.id,
        epoch: gateway.epoch,
        down_version: 0,
        clock: world.ago(0),
    };
    let control = gateway.seal(&Control::Hello(hello));
    let batch = gateway.seal(&gateway.batch(1, vec![world.reading((126, 78), 5)]));
    client
        .publish(gateway.topic(Channel::UpControl), QoS::AtLeastOnce, false, control)
        .await
        .unwrap();
    client
        .publish(gateway.topic(Channel::UpLive), QoS::AtLeastOnce, false, batch)
        .await
        .unwrap();
    let mut heard = Vec::new();
    tokio::time::timeout(PATIENCE, async {
        while heard.len() < 3 {
            if let Event::Incoming(Packet::Publish(message)) = events.poll().await.unwrap() {
                heard.push((
                    String::from_utf8(message.topic.to_vec()).unwrap(),
                    message.payload.to_vec(),
                ));
            }
        }
    })
    .await
    .unwrap();
    let receipts = heard
        .iter()
        .filter(|(topic, _)| *topic == gateway.topic(Channel::Receipt))
        .count();
    assert_eq!(receipts, 1, "a receipt, a cursor and a snapshot");
}

#[tokio::test]
async fn a_gateway_that_says_hello_before_it_listens_is_not_kept_up_to_date() {
    let world = World::new().await;
    let mut wire = Wire::enter(world.gateway.mqtt, &world.gateway.connect(world.ago(0))).await;
    let hello = Hello {
        gateway: world.gateway.id,
        epoch: world.gateway.epoch,
        down_version: 0,
        clock: world.ago(0),
    };
    let hello = world.gateway.seal(&Control::Hello(hello));
    wire.send(&publish(1, false, &world.gateway.topic(Channel::UpControl), 1, &hello))
        .await;
    let Heard::Puback { code: 0, .. } = wire.hear().await else {
        panic!()
    };
    wire.send(&subscribe(2, &[&world.gateway.topic(Channel::Down)])).await;
    let Heard::Suback { .. } = wire.hear().await else {
        panic!()
    };
    // It says hello again, and is answered.
    wire.send(&publish(1, false, &world.gateway.topic(Channel::UpControl), 3, &hello))
        .await;
    let mut down = 0;
    while down < 2 {
        if let Heard::Publish { id, .. } = wire.hear().await {
            wire.send(&crate::wire::puback(id)).await;
            down += 1;
        }
    }
}

#[tokio::test]
async fn postgresql_does_what_sqlite_does() {
    let cluster = Cluster::start().await.unwrap();
    let url = cluster.database().await.unwrap();
    let server = Server::with(|config| config.database.url = SecretText::new(url)).await;
    assert_eq!(server.state.store.engine_name(), "postgres");
    let world = World::of(server).await;
    let mut link = world.gateway.enter(0).await;
    let Down::Cursor(_) = link.hear_down().await else {
        panic!()
    };
    let Down::Snapshot(snapshot) = link.hear_down().await else {
        panic!()
    };
    let batch = world.gateway.batch(
        1,
        vec![world.reading((192, 121), 5), Item::Void, world.reading((190, 120), 3)],
    );
    for _ in 0..2 {
        assert_eq!(link.deliver(&batch).await.settled_through, 3);
    }
    assert_eq!(world.readings().await.len(), 2);
    let alerts = world.pharmacist.get("/api/v1/alerts").await;
    assert_eq!(alerts.body["alerts"].as_array().unwrap().len(), 1, "{alerts:?}");
    let path = format!("/api/v1/members/{}/grants/withdraw", world.member);
    let withdrawn = world.pharmacist.post(&path, json!({ "purpose": "care_record" })).await;
    assert_eq!(withdrawn.body["alerts_closed"], 1, "{withdrawn:?}");
    let Down::Delta(delta) = link.hear_down().await else {
        panic!()
    };
    assert_eq!(delta.previous, snapshot.version);
    let poison = world.gateway.seal(&json!({ "schema": "x" }));
    assert_eq!(link.publish(Channel::UpReplay, &poison).await, 0x99);
    drop(link);
    world.server.stop().await;
}
