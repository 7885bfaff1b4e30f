//! A server on free ports with a database of its own, people who use it, and a gateway.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use carepost_contract::topic::{Channel, Topic};
use carepost_contract::v1::{Applied, Batch, Control, Down, Epoch, Hello, Item, Lane, Receipt, WireReading};
use carepost_contract::{connect, signed};
use carepost_daemon::{Clock, Entropy, Lifecycle, LifecycleSettings, SecretText, StopReport, Stopper};
use carepost_domain::Id;
use carepost_domain::id::{BindingId, GatewayId, MemberId, MeterId, SittingId, StaffId, StoreId};
use carepost_domain::meter::{Address, AddressType, meter_id};
use carepost_domain::quirks::DecodeQuirks;
use carepost_domain::reading::{Attribution, Place, Reading};
use carepost_domain::record::{Packet, decode};
use carepost_domain::time::{TimeEvidence, measured_time};
use carepost_server::app::{self, AppState};
use carepost_server::config::Config;
use carepost_store::model::{By, NewGateway, NewStaff, StaffRole, StoreSite};
use chrono::{DateTime, Datelike as _, TimeDelta, Timelike as _, Utc};
use ed25519_dalek::SigningKey;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::wire::{Connect, Heard, PATIENCE, Wire, puback, publish, subscribe};

pub(crate) const PASSWORD: &str = "correct horse battery";
pub(crate) const ZONE: chrono_tz::Tz = chrono_tz::Asia::Shanghai;

/// A running server.
pub(crate) struct Server {
    pub(crate) state: AppState,
    pub(crate) http: SocketAddr,
    pub(crate) mqtt: SocketAddr,
    pub(crate) store: StoreId,
    pub(crate) other_store: StoreId,
    password_hash: String,
    stopper: Stopper,
    running: JoinSet<StopReport>,
    config: Config,
    folder: TempDir,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), |_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), change).await
    }

    async fn start_in(folder: TempDir, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            data_dir: folder.path().to_owned(),
            ..Config::default()
        };
        config.http.listen.set_port(0);
        config.mqtt.listen.set_port(0);
        config.ingest.down_poll_ms = 50;
        config.jobs.poll_ms = 50;
        config.jobs.seal_ms = 100;
        change(&mut config);
        let mut lifecycle = Lifecycle::embedded(&LifecycleSettings::default());
        let stopper = lifecycle.stopper();
        let running = app::start(config.clone(), Clock::system(), Entropy::system(), &mut lifecycle)
            .await
            .unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(lifecycle.run_until_stopped());
        let state = running.state;
        let now = state.clock.now();
        let mut stores = [1_u128, 2].map(|n| Id::from_uuid(uuid::Uuid::from_u128(n))).into_iter();
        let (store, other_store) = (stores.next().unwrap(), stores.next().unwrap());
        for (id, name) in [(store, "Store 1"), (other_store, "Store 2")] {
            let site = StoreSite {
                id,
                name: name.to_owned(),
                zone: ZONE,
            };
            state.store.add_store(&By::system(now), &site).await.unwrap();
        }
        let password_hash = state
            .passwords
            .hash(&SecretText::new(PASSWORD.to_owned()))
            .await
            .unwrap();
        Self {
            http: running.http,
            mqtt: running.mqtt,
            state,
            store,
            other_store,
            password_hash,
            stopper,
            running: tasks,
            config,
            folder,
        }
    }

    /// Stops and starts again with the same database.
    pub(crate) async fn restart(mut self) -> Self {
        self.stop_now().await;
        let Self { folder, config, .. } = self;
        Self::start_in(folder, |fresh| {
            *fresh = config;
            fresh.http.listen.set_port(0);
            fresh.mqtt.listen.set_port(0);
        })
        .await
    }

    /// Stops as a signal does, and expects that everything followed in time.
    pub(crate) async fn stop(mut self) {
        self.stop_now().await;
    }

    async fn stop_now(&mut self) {
        self.stopper.request();
        let report = tokio::time::timeout(PATIENCE, self.running.join_next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert!(report.is_clean(), "{report:?}");
        self.state.store.close().await;
    }

    pub(crate) async fn add_staff(&self, login: &str, role: StaffRole, store: StoreId) -> StaffId {
        let now = self.state.clock.now();
        let id = Id::mint(now, self.state.entropy.bytes::<10>());
        let staff = NewStaff {
            id,
            login: login.to_owned(),
            name: format!("Name of {login}"),
            role,
            store,
            password_hash: self.password_hash.clone(),
        };
        self.state.store.add_staff(&By::system(now), &staff).await.unwrap();
        id
    }

    /// Adds somebody and logs in.
    pub(crate) async fn enter(&self, login: &str, role: StaffRole, store: StoreId) -> Browser {
        self.add_staff(login, role, store).await;
        let mut browser = self.stranger();
        let answer = browser
            .post("/api/v1/login", json!({ "login": login, "password": PASSWORD }))
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        browser.csrf = Some(answer.body["csrf"].as_str().unwrap().to_owned());
        browser
    }

    pub(crate) async fn pharmacist(&self) -> Browser {
        self.enter("pharmacist", StaffRole::Pharmacist, self.store).await
    }

    pub(crate) fn stranger(&self) -> Browser {
        let client = reqwest::Client::builder()
            .cookie_store(true)
            .no_proxy()
            .build()
            .unwrap();
        Browser {
            client,
            base: format!("http://{}", self.http),
            csrf: None,
        }
    }

    /// Enrols a gateway of the first store.
    pub(crate) async fn enrol(&self, number: u8) -> Gateway {
        let key = SigningKey::from_bytes(&[number; 32]);
        let id: GatewayId = Id::from_uuid(uuid::Uuid::from_u128(
            0x0190_0000_0000_7000_8000_0000_0000_0000 + u128::from(number),
        ));
        let now = self.state.clock.now();
        let gateway = NewGateway {
            id,
            store: self.store,
            name: format!("gateway {number}"),
            public_key: key.verifying_key().to_bytes(),
        };
        self.state.store.add_gateway(&By::system(now), &gateway).await.unwrap();
        Gateway {
            id,
            key,
            epoch: Epoch::from_bytes([number; 8]),
            mqtt: self.mqtt,
        }
    }
}

/// What the server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    /// The stable code of a problem document, which must be whole.
    pub(crate) fn problem(&self) -> (u16, &str) {
        let body = &self.body;
        let kind = self.headers.get("content-type").and_then(|value| value.to_str().ok());
        assert_eq!(kind, Some("application/problem+json"), "{self:?}");
        for field in ["type", "title", "detail", "request_id"] {
            assert!(
                body[field].as_str().is_some_and(|text| !text.is_empty()),
                "{field}: {body}"
            );
        }
        assert_eq!(body["status"], self.status.as_u16());
        assert_eq!(self.headers["x-request-id"], body["request_id"].as_str().unwrap());
        (self.status.as_u16(), body["code"].as_str().unwrap())
    }
}

/// Somebody with a cookie store.
#[derive(Clone)]
pub(crate) struct Browser {
    client: reqwest::Client,
    base: String,
    pub(crate) csrf: Option<String>,
}

impl Browser {
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(
            Method::POST,
            path,
            Some(("application/json", serde_json::to_vec(&body).unwrap())),
        )
        .await
    }

    /// Opens an answer that has no end yet.
    pub(crate) async fn open(&self, path: &str) -> reqwest::Response {
        self.client.get(format!("{}{path}", self.base)).send().await.unwrap()
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<(&str, Vec<u8>)>) -> Answer {
        let mut request = self
            .client
            .request(method, format!("{}{path}", self.base))
            .timeout(PATIENCE);
        if let Some(csrf) = &self.csrf {
            request = request.header("x-csrf-token", csrf);
        }
        if let Some((kind, bytes)) = body {
            request = request.header("content-type", kind).body(bytes);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.bytes().await.unwrap();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Answer { status, headers, body }
    }

    /// Posts what must be created, and gives its id.
    pub(crate) async fn create(&self, path: &str, body: Value) -> String {
        let answer = self.post(path, body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        answer.body["id"].as_str().unwrap().to_owned()
    }

    /// Adds a member of a store.
    pub(crate) async fn add_member(&self, code: &str, store: StoreId) -> MemberId {
        let body = json!({
            "code": code, "name": "王秀英", "birth_year": 1960, "sex": "female", "home_store": store,
            "conditions": ["hypertension"], "drugs": ["antihypertensive"],
        });
        self.create("/api/v1/members", body).await.parse().unwrap()
    }

    /// Grants a purpose, history included.
    pub(crate) async fn grant(&self, member: MemberId, purpose: &str) {
        let body = json!({
            "purpose": purpose, "text_version": "2026-01", "text_sha256": "ab".repeat(32),
            "channel": "staff", "includes_history": true,
        });
        self.create(&format!("/api/v1/members/{member}/grants"), body).await;
    }

    /// Registers a cuff that stands in a store.
    pub(crate) async fn shared_cuff(&self, store: StoreId) -> MeterId {
        let address: Address = "C0:26:DF:00:1A:2B".parse().unwrap();
        let body = json!({
            "address": address, "address_type": "public", "kind": "blood_pressure", "role": "store_shared",
            "store": store, "model": "Cuff",
        });
        let id = self.create("/api/v1/meters", body).await;
        assert_eq!(id, meter_id(address, AddressType::Public).to_string());
        id.parse().unwrap()
    }
}

/// A gateway with its key.
#[derive(Clone)]
pub(crate) struct Gateway {
    pub(crate) id: GatewayId,
    pub(crate) key: SigningKey,
    pub(crate) epoch: Epoch,
    pub(crate) mqtt: SocketAddr,
}

impl Gateway {
    pub(crate) fn topic(&self, channel: Channel) -> String {
        Topic {
            gateway: self.id,
            channel,
        }
        .to_string()
    }

    pub(crate) fn connect(&self, now: DateTime<Utc>) -> Connect {
        Connect::of(self.id, connect::password(&self.key, self.id, now))
    }

    /// Connects, subscribes and says hello; hears its cursors, and what it lacks of `holds`.
    pub(crate) async fn enter(&self, holds: u64) -> Link<'_> {
        let now = Clock::system().now();
        let mut wire = Wire::enter(self.mqtt, &self.connect(now)).await;
        wire.send(&subscribe(
            1,
            &[&self.topic(Channel::Receipt), &self.topic(Channel::Down)],
        ))
        .await;
        assert_eq!(wire.hear().await, Heard::Suback { codes: vec![1, 1] });
        let mut link = Link {
            gateway: self,
            wire,
            next_packet: 10,
        };
        let hello = Hello {
            gateway: self.id,
            epoch: self.epoch,
            down_version: holds,
            clock: now,
        };
        let code = link
            .publish(Channel::UpControl, &self.seal(&Control::Hello(hello)))
            .await;
        assert_eq!(code, 0);
        link
    }

    pub(crate) fn seal(&self, message: &impl serde::Serialize) -> Vec<u8> {
        signed::seal(&self.key, &serde_json::to_vec(message).unwrap())
    }

    pub(crate) fn batch(&self, first_seq: u64, items: Vec<Item>) -> Batch {
        Batch::new(self.id, self.epoch, Lane::Live, 0, first_seq, items)
    }
}

/// A gateway's connection.
pub(crate) struct Link<'g> {
    gateway: &'g Gateway,
    pub(crate) wire: Wire,
    next_packet: u16,
}

impl Link<'_> {
    /// Publishes and waits for the acknowledgement; what comes in between is lost to the test.
    pub(crate) async fn publish(&mut self, channel: Channel, payload: &[u8]) -> u8 {
        self.next_packet += 1;
        let packet = self.next_packet;
        self.wire
            .send(&publish(1, false, &self.gateway.topic(channel), packet, payload))
            .await;
        loop {
            match self.wire.hear().await {
                Heard::Puback { id, code, .. } if id == packet => return code,
                Heard::Publish { id, .. } => self.wire.send(&puback(id)).await,
                other => panic!("unexpected: {other:?}"),
            }
        }
    }

    /// Publishes a batch that is taken, and gives the receipt that settles it.
    pub(crate) async fn deliver(&mut self, batch: &Batch) -> Receipt {
        let bytes = self.gateway.seal(batch);
        self.next_packet += 1;
        let packet = self.next_packet;
        let last_seq = batch.first_seq + batch.items.len() as u64 - 1;
        let channel = if batch.lane == Lane::Live {
            Channel::UpLive
        } else {
            Channel::UpReplay
        };
        self.wire
            .send(&publish(1, false, &self.gateway.topic(channel), packet, &bytes))
            .await;
        let mut acknowledged = false;
        let mut receipt: Option<Receipt> = None;
        loop {
            match self.wire.hear().await {
                Heard::Puback { id, code: 0, .. } if id == packet => acknowledged = true,
                Heard::Publish { topic, id, payload, .. } => {
                    self.wire.send(&puback(id)).await;
                    if topic == self.gateway.topic(Channel::Receipt) {
                        receipt = Some(serde_json::from_slice(&payload).unwrap());
                    }
                }
                other => panic!("unexpected: {other:?}"),
            }
            // An earlier batch's receipt may still be on its way.
            if let Some(receipt) = receipt.take_if(|receipt| acknowledged && receipt.settled_through >= last_seq) {
                return receipt;
            }
        }
    }

    /// The next message on `down`.
    pub(crate) async fn hear_down(&mut self) -> Down {
        loop {
            if let Heard::Publish { topic, id, payload, .. } = self.wire.hear().await {
                self.wire.send(&puback(id)).await;
                if topic == self.gateway.topic(Channel::Down) {
                    return carepost_contract::v1::parse_down(&payload).unwrap().message;
                }
            }
        }
    }

    pub(crate) async fn applied(&mut self, down_version: u64) {
        let applied = Control::Applied(Applied {
            gateway: self.gateway.id,
            down_version,
        });
        assert_eq!(self.publish(Channel::UpControl, &self.gateway.seal(&applied)).await, 0);
    }
}

/// A pressure that a member measured on a store's cuff, as the gateway sends it.
pub(crate) fn pressure(
    meter: MeterId,
    member: MemberId,
    sitting: SittingId,
    (systolic, diastolic): (u8, u8),
    at: DateTime<Utc>,
) -> WireReading {
    let local = at.with_timezone(&ZONE).naive_local();
    let year = u16::try_from(local.year()).unwrap().to_le_bytes();
    let small = |n: u32| u8::try_from(n).unwrap();
    let raw = vec![
        0x02,
        systolic,
        0,
        diastolic,
        0,
        0xFF,
        7,
        year[0],
        year[1],
        small(local.month()),
        small(local.day()),
        small(local.hour()),
        small(local.minute()),
        small(local.second()),
    ];
    let captured_at = at + TimeDelta::seconds(5);
    let packet = Packet {
        meter,
        characteristic: 0x2A35,
        raw: &raw,
        context_raw: None,
        received_at: captured_at,
        nonce: 0,
        quirks: DecodeQuirks::NONE,
    };
    let record = decode(&packet).unwrap();
    let time = measured_time(&TimeEvidence {
        meter_time: record.meter_time,
        skew: None,
        skew_uncertain: false,
        received_at: captured_at,
        clock_trusted: true,
        live_single: false,
        zone: ZONE,
    })
    .unwrap();
    let judged = record.judged.unwrap();
    let reading = Reading {
        id: record.id,
        member,
        meter,
        attribution: Attribution::Sitting { sitting },
        place: Place::Store,
        time,
        captured_at,
        measurement: judged.measurement,
        flags: judged.flags,
        slot: None,
        characteristic: 0x2A35,
        raw,
        context_raw: None,
        quirk: None,
    };
    WireReading::from_reading(reading, 0)
}

/// A weight in steps of 0.005 kg that a member measured on their own scale.
pub(crate) fn weight(
    meter: MeterId,
    member: MemberId,
    binding: BindingId,
    steps: u16,
    at: DateTime<Utc>,
) -> WireReading {
    let [low, high] = steps.to_le_bytes();
    let raw = vec![0, low, high];
    let packet = Packet {
        meter,
        characteristic: 0x2A9D,
        raw: &raw,
        context_raw: None,
        received_at: at,
        nonce: 7,
        quirks: DecodeQuirks::NONE,
    };
    let record = decode(&packet).unwrap();
    let judged = record.judged.unwrap();
    // Without a date of its own, a single live record takes the time of its receipt.
    let time = measured_time(&TimeEvidence {
        meter_time: record.meter_time,
        skew: None,
        skew_uncertain: false,
        received_at: at,
        clock_trusted: true,
        live_single: true,
        zone: ZONE,
    })
    .unwrap();
    let reading = Reading {
        id: record.id,
        member,
        meter,
        attribution: Attribution::Binding { binding },
        place: Place::Home,
        time,
        captured_at: at,
        measurement: judged.measurement,
        flags: judged.flags,
        slot: None,
        characteristic: 0x2A9D,
        raw,
        context_raw: None,
        quirk: None,
    };
    WireReading::from_reading(reading, 7)
}

pub(crate) fn item(reading: WireReading) -> Item {
    Item::Reading(Box::new(reading))
}

/// Asks again and again until the answer is right.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut asks: impl FnMut() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !asks().await {
        assert!(Instant::now() < deadline, "{what} does not come true");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
