//! Meters that staff pair at a gateway, what is measured with them, and what staff see of both.

use carepost_contract::topic::Channel;
use carepost_contract::v1::{Control, Down, Owner, Register, RegisterRefusal};
use carepost_domain::Id;
use carepost_domain::id::{BindingId, MemberId};
use carepost_domain::meter::{About, Address, AddressType, Meter, MeterKind, MeterRole, meter_id};
use carepost_server::telemetry::Metric;
use carepost_store::model::StaffRole;
use chrono::TimeDelta;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Browser, Gateway, Link, Server, eventually, item, weight};

/// A server, a pharmacist, a member with consent, and a gateway.
struct World {
    server: Server,
    pharmacist: Browser,
    member: MemberId,
    gateway: Gateway,
}

impl World {
    async fn new() -> Self {
        let server = Server::start().await;
        let pharmacist = server.pharmacist().await;
        let member = pharmacist.add_member("CP-0001", server.store).await;
        pharmacist.grant(member, "care_record").await;
        let gateway = server.enrol(1).await;
        Self {
            server,
            pharmacist,
            member,
            gateway,
        }
    }

    /// The member's new scale with this last byte in its address.
    fn paired(&self, last: u8) -> Register {
        let address = Address::new([0xC0, 0x26, 0xDF, 0, 0x1A, last]);
        Register {
            gateway: self.gateway.id,
            meter: Meter {
                id: meter_id(address, AddressType::Public),
                address,
                address_type: AddressType::Public,
                kind: MeterKind::Weight,
                role: MeterRole::Personal,
                store: self.server.store,
                model: "UC-352BLE".to_owned(),
                multi_user: false,
                about: About::new("A&D Medical", &format!("51507000{last:02}"), "1.0.2"),
            },
            owners: vec![Owner {
                member: self.member,
                slot: None,
                only_ever_this_person: false,
            }],
            at: self.server.state.clock.now(),
        }
    }

    /// A connection that has its snapshot.
    async fn enter(&self) -> Link<'_> {
        let mut link = self.gateway.enter(0).await;
        assert!(matches!(link.hear_down().await, Down::Cursor(_)));
        let Down::Snapshot(snapshot) = link.hear_down().await else {
            panic!("a snapshot")
        };
        link.applied(snapshot.version).await;
        link
    }

    async fn say(&self, link: &mut Link<'_>, register: &Register) -> u8 {
        let control = Control::Register(Box::new(register.clone()));
        link.publish(Channel::UpControl, &self.gateway.seal(&control)).await
    }

    fn count(&self, metric: Metric) -> u64 {
        self.server.state.counters.get(metric)
    }

    async fn meters(&self) -> Vec<Value> {
        let answer = self.pharmacist.get("/api/v1/meters").await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer.body["meters"].as_array().unwrap().clone()
    }
}

#[tokio::test]
async fn a_meter_paired_at_a_gateway_comes_back_on_down_and_its_readings_are_shown() {
    let world = World::new().await;
    let mut link = world.enter().await;
    let wanted = world.paired(0x2B);
    assert_eq!(world.say(&mut link, &wanted).await, 0);
    let Down::Delta(delta) = link.hear_down().await else {
        panic!("a delta")
    };
    assert_eq!(delta.meters, std::slice::from_ref(&wanted.meter));
    assert_eq!(delta.bindings.len(), 1);
    assert_eq!(
        (delta.bindings[0].meter, delta.bindings[0].member),
        (wanted.meter.id, world.member)
    );
    link.applied(delta.version).await;

    // Sent again, as when the delta was lost: taken, and nothing follows.
    assert_eq!(world.say(&mut link, &wanted).await, 0);
    eventually("the repeat is counted", async || {
        world.count(Metric::RegistrationsTaken) == 2
    })
    .await;
    assert_eq!(world.count(Metric::RegistrationsRefused), 0);
    let version = world.server.state.store.down_version().await.unwrap();
    assert_eq!(u64::try_from(version).unwrap(), delta.version);

    // A weight on it is stored and shown, and nobody is alarmed by 300 kg.
    let binding: BindingId = delta.bindings[0].id;
    let now = world.server.state.clock.now();
    let heavy = weight(wanted.meter.id, world.member, binding, 60_000, now);
    let receipt = link.deliver(&world.gateway.batch(1, vec![item(heavy)])).await;
    assert!(receipt.rejected.is_empty(), "{receipt:?}");
    let path = format!("/api/v1/members/{}/readings", world.member);
    let readings = world.pharmacist.get(&path).await.body["readings"].clone();
    assert_eq!(readings[0]["kind"], "weight", "{readings}");
    assert_eq!(
        readings[0]["shown"],
        json!({
            "value": "300.0", "unit": "kg", "sent": null, "pulse_per_min": null,
            "words": { "zh-CN": "体重", "en": "Weight" },
        })
    );
    assert_eq!(
        readings[0]["measurement"]["mass"],
        json!({ "milli": 300_000, "unit": "kg" })
    );
    for (path, list) in [("alerts?which=all", "alerts"), ("tasks?closed_too=true", "tasks")] {
        let answer = world.pharmacist.get(&format!("/api/v1/{path}")).await;
        assert_eq!(answer.body[list], json!([]), "{answer:?}");
    }
    let sessions = format!("/api/v1/members/{}/sessions", world.member);
    assert_eq!(world.pharmacist.get(&sessions).await.body["sessions"], json!([]));

    let meters = world.meters().await;
    assert_eq!(meters.len(), 1);
    let meter = &meters[0];
    assert_eq!(
        (&meter["model"], &meter["about"]["serial"]),
        (&json!("UC-352BLE"), &json!("5150700043"))
    );
    assert_eq!(
        (&meter["owners"], &meter["registered_via"]),
        (&json!(1), &json!(world.gateway.id))
    );
    assert_eq!(
        meter["last_seen"]
            .as_str()
            .unwrap()
            .parse::<chrono::DateTime<chrono::Utc>>()
            .unwrap()
            .timestamp(),
        now.timestamp()
    );

    // The member file lists it as another reading; a withdrawal takes it away with all others.
    let file = format!("/members/{}", world.member);
    let page = world.pharmacist.get(&file).await.body.as_str().unwrap().to_owned();
    assert!(page.contains("其他读数") && page.contains("<b>300.0</b>"), "{page}");
    world
        .pharmacist
        .post(
            &format!("/api/v1/members/{}/grants/withdraw", world.member),
            json!({ "purpose": "care_record" }),
        )
        .await;
    let page = world.pharmacist.get(&file).await.body.as_str().unwrap().to_owned();
    assert!(!page.contains("其他读数") && !page.contains("300.0"), "{page}");
    assert_eq!(world.pharmacist.get(&path).await.problem(), (404, "not_found"));
    world.server.stop().await;
}

#[tokio::test]
async fn a_refused_registration_is_answered_with_its_reason_and_changes_nothing() {
    let world = World::new().await;
    let mut link = world.enter().await;
    let taken = world.paired(0x2B);
    assert_eq!(world.say(&mut link, &taken).await, 0);
    assert!(matches!(link.hear_down().await, Down::Delta(_)));
    let other = world.pharmacist.add_member("CP-0002", world.server.store).await;
    assert!(matches!(link.hear_down().await, Down::Delta(_)), "the new member");
    let before = world.server.state.store.down_version().await.unwrap();

    let edited = |edit: &dyn Fn(&mut Register)| {
        let mut register = taken.clone();
        register.at += TimeDelta::seconds(1);
        edit(&mut register);
        register
    };
    let cases = [
        (RegisterRefusal::SlotTaken, edited(&|r| r.owners[0].member = other)),
        (
            RegisterRefusal::OtherStore,
            edited(&|r| r.meter.store = world.server.other_store),
        ),
        (
            RegisterRefusal::RegisteredOtherwise,
            edited(&|r| r.meter.kind = MeterKind::Temperature),
        ),
        (
            RegisterRefusal::UnknownMember,
            edited(&|r| r.owners[0].member = Id::from_uuid(uuid::Uuid::from_u128(0xFF))),
        ),
    ];
    let mut refused = 0;
    for (reason, register) in cases {
        assert_eq!(world.say(&mut link, &register).await, 0, "{reason}: dealt with");
        let Down::RegisterRefused(answer) = link.hear_down().await else {
            panic!("a refusal")
        };
        assert_eq!((answer.meter, answer.reason), (register.meter.id, reason));
        refused += 1;
        assert_eq!(world.count(Metric::RegistrationsRefused), refused);
    }
    assert_eq!(world.count(Metric::MessagesPoison), 0);

    // What contradicts itself or does not parse is kept for whoever looks for the reason, and answered as well.
    let mut owners = edited(&|_| {});
    owners.owners.clear();
    let mut unknown_user = world.paired(0x2C);
    unknown_user.meter.multi_user = true;
    unknown_user.owners[0].slot = Some(255);
    let mut long = serde_json::to_value(Control::Register(Box::new(world.paired(0x2D)))).unwrap();
    long["meter"]["about"]["serial"] = json!("9".repeat(1_000));
    let mut broken = long.clone();
    broken["meter"]["about"] = json!(7);
    let unusable = [
        serde_json::to_value(Control::Register(Box::new(owners.clone()))).unwrap(),
        serde_json::to_value(Control::Register(Box::new(unknown_user))).unwrap(),
        long,
        broken,
    ];
    for message in unusable {
        let code = link.publish(Channel::UpControl, &world.gateway.seal(&message)).await;
        assert!(code >= 0x80, "not taken: {code:#x}");
        let Down::RegisterRefused(answer) = link.hear_down().await else {
            panic!("a refusal")
        };
        assert_eq!(json!(answer.meter), message["meter"]["id"]);
        assert_eq!(answer.reason, RegisterRefusal::Invalid);
    }
    assert_eq!(
        (
            world.count(Metric::MessagesPoison),
            world.count(Metric::RegistrationsRefused)
        ),
        (4, refused + 4)
    );
    // Under another gateway's name it is not even answered.
    let mut foreign = world.paired(0x2E);
    foreign.gateway = Id::from_uuid(uuid::Uuid::from_u128(0xEE));
    assert!(world.say(&mut link, &foreign).await >= 0x80);
    assert_eq!(world.count(Metric::RegistrationsRefused), refused + 4);

    assert_eq!(
        world.server.state.store.down_version().await.unwrap(),
        before,
        "nothing has changed"
    );
    assert_eq!(world.meters().await.len(), 1);
    world.server.stop().await;
}

#[tokio::test]
async fn what_staff_say_of_a_meters_past_is_in_its_binding_unless_the_server_knows_better() {
    let world = World::new().await;
    let mut link = world.enter().await;
    let mut wanted = world.paired(0x2B);
    wanted.owners[0].only_ever_this_person = true;
    assert_eq!(world.say(&mut link, &wanted).await, 0);
    let Down::Delta(delta) = link.hear_down().await else {
        panic!("a delta")
    };
    assert_eq!(delta.bindings.len(), 1);
    assert!(delta.bindings[0].only_ever_this_person);

    // An older gateway says nothing of it, and that takes nothing back.
    let mut silent = serde_json::to_value(Control::Register(Box::new(wanted.clone()))).unwrap();
    silent["owners"][0]
        .as_object_mut()
        .unwrap()
        .remove("only_ever_this_person");
    let code = link.publish(Channel::UpControl, &world.gateway.seal(&silent)).await;
    assert_eq!(code, 0);
    eventually("the silent one is counted", async || {
        world.count(Metric::RegistrationsTaken) == 2
    })
    .await;
    let before = world.server.state.store.down_version().await.unwrap();
    assert_eq!(u64::try_from(before).unwrap(), delta.version);

    // It is handed on: not only ever the next one's.
    let next = world.pharmacist.add_member("CP-0002", world.server.store).await;
    assert!(matches!(link.hear_down().await, Down::Delta(_)), "the new member");
    let path = format!("/api/v1/bindings/{}/end", delta.bindings[0].id);
    let ended = world.pharmacist.post(&path, json!({})).await;
    assert_eq!(ended.status, StatusCode::NO_CONTENT, "{ended:?}");
    assert!(matches!(link.hear_down().await, Down::Delta(_)), "the binding's end");
    wanted.owners[0].member = next;
    wanted.at = world.server.state.clock.now();
    assert_eq!(world.say(&mut link, &wanted).await, 0);
    let Down::RegisterRefused(refused) = link.hear_down().await else {
        panic!("a refusal")
    };
    assert_eq!(
        (refused.meter, refused.reason),
        (wanted.meter.id, RegisterRefusal::WasAnothers)
    );
    wanted.owners[0].only_ever_this_person = false;
    assert_eq!(world.say(&mut link, &wanted).await, 0);
    let Down::Delta(delta) = link.hear_down().await else {
        panic!("a delta")
    };
    assert_eq!((delta.bindings.len(), delta.bindings[0].member), (1, next));
    assert!(!delta.bindings[0].only_ever_this_person);
    world.server.stop().await;
}

#[tokio::test]
async fn meters_are_listed_for_those_who_may_see_them() {
    let world = World::new().await;
    let mut link = world.enter().await;
    for last in [0x2B, 0x2C, 0x2D] {
        assert_eq!(world.say(&mut link, &world.paired(last)).await, 0);
    }
    let elsewhere = world
        .server
        .enter("boss", StaffRole::Manager, world.server.other_store)
        .await;
    let body = json!({
        "address": "C0:26:DF:00:77:77", "address_type": "public", "kind": "oxygen_saturation", "role": "store_shared",
        "store": world.server.other_store, "model": "Oximeter", "about": { "manufacturer": "Nonin" },
    });
    elsewhere.create("/api/v1/meters", body.clone()).await;
    // Again, by somebody who knows less: the answer is the meter as it is registered.
    let mut bare = body;
    bare.as_object_mut().unwrap().remove("about");
    let again = elsewhere.post("/api/v1/meters", bare).await;
    assert_eq!(
        (again.status, &again.body["about"]["manufacturer"]),
        (StatusCode::CREATED, &json!("Nonin"))
    );

    // Page by page, without a gap or a repeat.
    let mut seen = Vec::new();
    let mut path = "/api/v1/meters?limit=2".to_owned();
    loop {
        let answer = world.pharmacist.get(&path).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        seen.extend(
            answer.body["meters"]
                .as_array()
                .unwrap()
                .iter()
                .map(|m| m["address"].clone()),
        );
        let Some(next) = answer.body["next"].as_str() else {
            break;
        };
        path = format!("/api/v1/meters?limit=2&cursor={next}");
    }
    assert_eq!(seen, ["C0:26:DF:00:1A:2B", "C0:26:DF:00:1A:2C", "C0:26:DF:00:1A:2D"]);
    let it = world.server.enter("it", StaffRole::It, world.server.store).await;
    for (who, path, count) in [
        (&elsewhere, "/api/v1/meters".to_owned(), 4),
        (&it, "/api/v1/meters".to_owned(), 4),
        (&it, format!("/api/v1/meters?store={}", world.server.other_store), 1),
    ] {
        let answer = who.get(&path).await;
        assert_eq!(
            answer.body["meters"].as_array().map(Vec::len),
            Some(count),
            "{answer:?}"
        );
    }
    let all = elsewhere.get("/api/v1/meters").await.body;
    let oximeter = all["meters"]
        .as_array()
        .unwrap()
        .iter()
        .find(|m| m["model"] == "Oximeter")
        .unwrap();
    assert_eq!(
        (
            &oximeter["support"],
            &oximeter["quirk"],
            &oximeter["last_seen"],
            &oximeter["registered_via"]
        ),
        (&json!("standard"), &Value::Null, &Value::Null, &Value::Null)
    );
    let other_store = format!("/api/v1/meters?store={}", world.server.other_store);
    assert_eq!(world.pharmacist.get(&other_store).await.problem(), (404, "not_found"));
    for bad in [
        "cursor=018f3c5e-0000-7000-8000-0000000000ff",
        "cursor=x",
        "limit=0",
        "limit=9999",
        "page=2",
    ] {
        let answer = world.pharmacist.get(&format!("/api/v1/meters?{bad}")).await;
        assert_eq!(answer.problem(), (400, "bad_query"), "{bad}");
    }

    // The page, in both languages.
    let page = world.pharmacist.get("/meters").await;
    assert_eq!(page.status, StatusCode::OK);
    let chinese = page.body.as_str().unwrap();
    for part in [
        "仪器",
        "UC-352BLE",
        "A&#38;D Medical",
        "5150700043",
        ">1A:2B<",
        ">1A:2C<",
        "同型号共 3 台",
        "体重",
        "尚无",
    ] {
        assert!(chinese.contains(part), "{part} is missing from {chinese}");
    }
    assert!(!chinese.contains("Oximeter"), "another store's");
    assert!(!chinese.contains("王秀英"), "meters name nobody");
    world.pharmacist.get("/language?to=en&back=/meters").await;
    let page = world.pharmacist.get("/meters").await;
    let english = page.body.as_str().unwrap();
    for part in ["Meters", "3 of this model here", "Weight", "one member", "none yet"] {
        assert!(english.contains(part), "{part} is missing from {english}");
    }
    let manager = elsewhere.get("/meters").await;
    let all = manager.body.as_str().unwrap();
    assert!(all.contains("Oximeter") && all.contains("Store 2"), "{all}");
    assert!(
        world
            .pharmacist
            .get("/queue")
            .await
            .body
            .as_str()
            .unwrap()
            .contains(r#"href="/meters""#)
    );
    for (path, status) in [
        ("/meters?after=x", 404),
        ("/meters?after=018f3c5e-0000-7000-8000-0000000000ff", 404),
    ] {
        assert_eq!(world.pharmacist.get(path).await.status, status, "{path}");
    }
    assert_eq!(world.pharmacist.send(Method::POST, "/meters", None).await.status, 405);
    assert_eq!(
        it.get("/meters").await.status,
        403,
        "the pages are for those who see members"
    );
    world.server.stop().await;
}
