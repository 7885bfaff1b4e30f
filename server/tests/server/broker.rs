//! The contract of the MQTT seam. Another implementation must pass the same tests.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use carepost_contract::limits::{MAX_PACKET_BYTES, RECEIVE_MAXIMUM};
use carepost_contract::topic::{Channel, Topic};
use carepost_contract::v1::Lane;
use carepost_daemon::Clock;
use carepost_domain::id::GatewayId;
use carepost_server::broker::{
    Broker, BrokerSettings, DOWN_QUEUE, MAX_STATE_BYTES, Message, PublishError, Refusal, Verdict,
};
use carepost_server::telemetry::{Counters, Metric};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::wire::{Connect, Heard, PATIENCE, PING, Wire, disconnect, packet, puback, publish, subscribe};

const GATEWAY: &str = "018f3c5e-0000-7000-8000-000000000001";
const OTHER: &str = "018f3c5e-0000-7000-8000-000000000002";
const THIRD: &str = "018f3c5e-0000-7000-8000-000000000003";

/// An endpoint that lets in whoever says "good".
struct Endpoint {
    broker: Broker,
    address: SocketAddr,
    live: mpsc::Receiver<Message>,
    replay: mpsc::Receiver<Message>,
    control: mpsc::Receiver<Message>,
    counters: Counters,
    _gatekeeper: JoinSet<()>,
}

impl Endpoint {
    fn start() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut BrokerSettings)) -> Self {
        let mut settings = BrokerSettings {
            listen: "127.0.0.1:0".parse().unwrap(),
            workers: 2,
            max_connections: 1_000,
            keep_alive_s: 60,
            connect_timeout_s: 5,
            down_patience: Duration::from_millis(500),
        };
        change(&mut settings);
        let counters = Counters::default();
        let (broker, mut inbox) = Broker::start(settings, Clock::system(), counters.clone()).unwrap();
        let mut gatekeeper = JoinSet::new();
        gatekeeper.spawn(async move {
            while let Some(request) = inbox.connects.recv().await {
                match request.password.as_slice() {
                    b"good" => request.answer(Ok(())),
                    b"revoked" => request.answer(Err(Refusal::NotAuthorised)),
                    b"ignored" => drop(request),
                    b"late" => {
                        request.answer(Err(Refusal::BadCredentials {
                            hint: Some("your clock is wrong".to_owned()),
                        }));
                    }
                    _ => request.answer(Err(Refusal::BadCredentials { hint: None })),
                }
            }
        });
        Self {
            address: broker.address(),
            broker,
            live: inbox.live,
            replay: inbox.replay,
            control: inbox.control,
            counters,
            _gatekeeper: gatekeeper,
        }
    }

    async fn enter(&self) -> Wire {
        Wire::enter(self.address, &good()).await
    }

    async fn next_live(&mut self) -> Message {
        tokio::time::timeout(PATIENCE, self.live.recv()).await.unwrap().unwrap()
    }
}

fn good() -> Connect {
    Connect::of(GATEWAY, "good")
}

fn gateway() -> GatewayId {
    GATEWAY.parse().unwrap()
}

fn topic(channel: Channel) -> String {
    Topic {
        gateway: gateway(),
        channel,
    }
    .to_string()
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} does not come true");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_gateway_is_let_in_and_told_the_limits() {
    let endpoint = Endpoint::start();
    let mut wire = Wire::open(endpoint.address).await;
    wire.send(&good().bytes()).await;
    let Heard::Connack { code, body } = wire.hear().await else {
        panic!()
    };
    assert_eq!((code, body[0]), (0, 0), "let in, and no session is ever present");
    let properties = &body[3..];
    let has = |bytes: &[u8]| properties.windows(bytes.len()).any(|window| window == bytes);
    assert!(
        has(&[&[0x21], RECEIVE_MAXIMUM.to_be_bytes().as_slice()].concat()),
        "receive maximum"
    );
    assert!(has(&[0x24, 1]), "maximum QoS 1");
    let most = u32::try_from(MAX_PACKET_BYTES).unwrap();
    assert!(
        has(&[&[0x27], most.to_be_bytes().as_slice()].concat()),
        "maximum packet size"
    );
    assert!(
        has(&[0x28, 0]) && has(&[0x2a, 0]) && has(&[0x29, 0]),
        "no wildcards, shares or subscription ids"
    );
    assert!(!has(&[0x22]), "no topic aliases");
    assert_eq!(endpoint.counters.get(Metric::MqttConnected), 1);
}

#[tokio::test]
async fn others_are_refused_with_a_code_that_says_why() {
    let endpoint = Endpoint::start();
    let own_will = Some((topic(Channel::State), b"gone".to_vec()));
    let change = |change: &dyn Fn(&mut Connect)| {
        let mut connect = good();
        change(&mut connect);
        connect
    };
    let upper = GATEWAY.to_uppercase();
    for (name, connect, expected) in [
        ("its own will", change(&|c| c.will = own_will.clone()), 0x00),
        ("an empty client id", change(&|c| c.client_id = String::new()), 0x85),
        (
            "a client id that is no gateway",
            change(&|c| c.client_id = "x".repeat(60_000)),
            0x85,
        ),
        ("another spelling of the id", Connect::of(&upper, "good"), 0x85),
        (
            "another user name",
            change(&|c| c.user_name = Some(OTHER.to_owned())),
            0x86,
        ),
        ("no user name", change(&|c| c.user_name = None), 0x86),
        ("no password", change(&|c| c.password = None), 0x86),
        ("a wrong password", Connect::of(GATEWAY, "bad"), 0x86),
        ("a password of another time", Connect::of(GATEWAY, "late"), 0x86),
        ("revoked", Connect::of(GATEWAY, "revoked"), 0x87),
        ("nobody to ask", Connect::of(GATEWAY, "ignored"), 0x88),
        (
            "a foreign will",
            change(&|c| c.will = Some((topic(Channel::Down), vec![]))),
            0x87,
        ),
        (
            "a long will",
            change(&|c| c.will = Some((topic(Channel::State), vec![0; MAX_STATE_BYTES + 1]))),
            0x97,
        ),
        // 0x15: authentication method.
        (
            "an authentication method",
            change(&|c| c.properties = vec![0x15, 0, 1, b'x']),
            0x8c,
        ),
    ] {
        let mut wire = Wire::open(endpoint.address).await;
        wire.send(&connect.bytes()).await;
        let Heard::Connack { code, body } = wire.hear().await else {
            panic!("{name}")
        };
        assert_eq!(code, expected, "{name}");
        if expected != 0 {
            assert_eq!(wire.hear().await, Heard::Closed, "{name}");
        }
        if name == "a password of another time" {
            assert!(String::from_utf8_lossy(&body).contains("your clock is wrong"));
        }
    }
    let mut old = good();
    old.version = 4;
    let mut wire = Wire::open(endpoint.address).await;
    wire.send(&old.bytes()).await;
    while !matches!(wire.hear().await, Heard::Closed) {}
}

#[tokio::test]
async fn the_answer_is_the_acknowledgement() {
    let mut endpoint = Endpoint::start();
    let mut wire = endpoint.enter().await;
    wire.send(&publish(1, false, &topic(Channel::UpLive), 7, b"batch"))
        .await;
    let message = endpoint.next_live().await;
    assert_eq!((message.gateway, message.channel), (gateway(), Channel::UpLive));
    assert_eq!(message.payload, b"batch");
    wire.hears_nothing().await;
    message.answer(Verdict::Taken);
    assert_eq!(
        wire.hear().await,
        Heard::Puback {
            id: 7,
            code: 0,
            reason: String::new()
        }
    );

    for (verdict, code, why) in [
        (Verdict::Unusable("not a batch"), 0x99, "not a batch"),
        (Verdict::NotAuthorised("not yours"), 0x87, "not yours"),
    ] {
        wire.send(&publish(1, false, &topic(Channel::UpLive), 8, b"poison"))
            .await;
        endpoint.next_live().await.answer(verdict);
        assert_eq!(
            wire.hear().await,
            Heard::Puback {
                id: 8,
                code,
                reason: why.to_owned()
            }
        );
    }
}

#[tokio::test]
async fn each_channel_has_its_queue() {
    let mut endpoint = Endpoint::start();
    let mut wire = endpoint.enter().await;
    wire.send(&publish(1, false, &topic(Channel::UpReplay), 1, b"r")).await;
    wire.send(&publish(1, false, &topic(Channel::UpControl), 2, b"c")).await;
    wire.send(&publish(0, false, &topic(Channel::UpLive), 0, b"l")).await;
    // Kept, because dropping one would end the connection.
    let replay = endpoint.replay.recv().await.unwrap();
    let control = endpoint.control.recv().await.unwrap();
    let live = endpoint.next_live().await;
    assert_eq!([replay.payload, control.payload, live.payload], [b"r", b"c", b"l"]);
}

#[tokio::test]
async fn acknowledgements_keep_their_order_while_answers_do_not() {
    let mut endpoint = Endpoint::start();
    let mut wire = endpoint.enter().await;
    for id in [1, 2] {
        wire.send(&publish(
            1,
            false,
            &topic(Channel::UpLive),
            id,
            &[u8::try_from(id).unwrap()],
        ))
        .await;
    }
    let first = endpoint.next_live().await;
    let second = endpoint.next_live().await;
    assert_eq!(
        (first.payload.as_slice(), second.payload.as_slice()),
        (&[1][..], &[2][..])
    );
    second.answer(Verdict::Taken);
    // [MQTT-4.6.0-2]
    wire.hears_nothing().await;
    first.answer(Verdict::Taken);
    for id in [1, 2] {
        assert_eq!(
            wire.hear().await,
            Heard::Puback {
                id,
                code: 0,
                reason: String::new()
            }
        );
    }
}

#[tokio::test]
async fn what_is_not_stored_is_not_acknowledged_and_ends_the_connection() {
    let mut endpoint = Endpoint::start();
    let mut wire = endpoint.enter().await;
    wire.send(&publish(1, false, &topic(Channel::UpLive), 7, b"batch"))
        .await;
    drop(endpoint.next_live().await);
    assert_eq!(wire.hear().await, Heard::Disconnect { code: 0x89 });
    assert_eq!(wire.hear().await, Heard::Closed);
    until("the session is forgotten", || endpoint.broker.connected() == 0).await;
}

#[tokio::test]
async fn a_foreign_topic_is_refused_and_the_connection_stays() {
    let endpoint = Endpoint::start();
    let mut wire = endpoint.enter().await;
    for name in [
        topic(Channel::UpLive).replace(GATEWAY, OTHER),
        topic(Channel::Receipt),
        topic(Channel::Down),
        "$SYS/x".to_owned(),
        "v1/gw".to_owned(),
    ] {
        wire.send(&publish(1, false, &name, 3, b"x")).await;
        let Heard::Puback { id: 3, code: 0x87, .. } = wire.hear().await else {
            panic!("{name}")
        };
    }
    wire.send(&PING).await;
    assert_eq!(wire.hear().await, Heard::Pingresp);
    assert_eq!(endpoint.counters.get(Metric::MqttForeignTopics), 5);
}

#[tokio::test]
async fn only_the_own_receipts_and_the_own_down_can_be_subscribed_to() {
    let endpoint = Endpoint::start();
    let mut wire = endpoint.enter().await;
    let filters = [
        topic(Channel::Receipt),
        topic(Channel::Receipt).replace(GATEWAY, OTHER),
        "#".to_owned(),
        format!("v1/gw/{GATEWAY}/+"),
        format!("$share/g/{}", topic(Channel::Receipt)),
        "$SYS/#".to_owned(),
        topic(Channel::State),
        topic(Channel::UpLive),
        topic(Channel::Down),
    ];
    let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
    wire.send(&subscribe(1, &filters)).await;
    let Heard::Suback { codes } = wire.hear().await else {
        panic!()
    };
    assert_eq!(codes, [1, 0x87, 0x87, 0x87, 0x87, 0x87, 0x87, 0x87, 1]);
}

#[tokio::test]
async fn quality_of_service_2_topic_aliases_and_authentication_end_the_connection() {
    let endpoint = Endpoint::start();
    let mut alias = vec![0, 0, 0, 1];
    // Empty topic, packet id 1, one property: alias 1.
    alias.extend([3, 0x23, 0, 1]);
    for (name, bytes, expected) in [
        ("QoS 2", publish(2, false, &topic(Channel::UpLive), 1, b"x"), 0x9b),
        ("a topic alias", packet(0x32, &alias), 0x94),
        ("an AUTH packet", packet(0xf0, &[0x18, 0]), 0x8c),
    ] {
        let mut wire = endpoint.enter().await;
        wire.send(&bytes).await;
        assert_eq!(wire.hear_the_end().await, Some(expected), "{name}");
    }
}

#[tokio::test]
async fn a_second_connection_takes_over_even_while_a_message_is_being_stored() {
    let mut endpoint = Endpoint::start();
    let mut old = endpoint.enter().await;
    old.send(&publish(1, false, &topic(Channel::UpLive), 1, b"x")).await;
    let stuck = endpoint.next_live().await;
    let first = endpoint.broker.session(gateway()).unwrap();
    let mut new = endpoint.enter().await;
    assert_eq!(old.hear().await, Heard::Disconnect { code: 0x8e });
    assert_eq!(old.hear().await, Heard::Closed);
    let second = endpoint.broker.session(gateway()).unwrap();
    assert!(second > first);
    // The late answer goes nowhere; the new connection is not disturbed by it.
    stuck.answer(Verdict::Taken);
    new.send(&PING).await;
    assert_eq!(new.hear().await, Heard::Pingresp);
    assert_eq!(endpoint.broker.session(gateway()), Some(second));
    assert_eq!(endpoint.counters.get(Metric::MqttTakenOver), 1);
    assert_eq!(
        endpoint.broker.publish_down(gateway(), first, vec![]).await,
        Err(PublishError::NotConnected),
        "what was meant for the old connection does not reach the new one"
    );
}

#[tokio::test]
async fn a_kick_ends_the_connection_at_once_even_while_a_message_is_being_stored() {
    let mut endpoint = Endpoint::start();
    let mut wire = endpoint.enter().await;
    wire.send(&publish(1, false, &topic(Channel::UpLive), 1, b"x")).await;
    let _stuck = endpoint.next_live().await;
    assert!(endpoint.broker.kick(gateway()));
    assert_eq!(wire.hear().await, Heard::Disconnect { code: 0x98 });
    assert_eq!(wire.hear().await, Heard::Closed);
    until("the session is forgotten", || endpoint.broker.connected() == 0).await;
    assert!(!endpoint.broker.kick(gateway()));

    let mut wire = endpoint.enter().await;
    assert!(endpoint.broker.send_away(gateway()));
    assert_eq!(wire.hear_the_end().await, Some(0x89));
}

#[tokio::test]
async fn a_packet_that_is_too_large_is_refused_by_its_header() {
    let endpoint = Endpoint::start();
    let mut wire = endpoint.enter().await;
    let mut header = vec![0x32];
    header.extend(crate::wire::variable(10 * 1024 * 1024));
    wire.send(&header).await;
    assert_eq!(wire.hear_the_end().await, Some(0x95));
    let mut stranger = Wire::open(endpoint.address).await;
    header[0] = 0x10;
    stranger.send(&header).await;
    assert_eq!(stranger.hear_the_end().await, None);
}

#[tokio::test]
async fn the_largest_packet_is_taken_in_one_piece() {
    let mut endpoint = Endpoint::start();
    let mut wire = endpoint.enter().await;
    let payload = vec![b'x'; 200 * 1024];
    wire.send(&publish(1, false, &topic(Channel::UpLive), 1, &payload))
        .await;
    let message = endpoint.next_live().await;
    assert_eq!(message.payload.len(), payload.len());
}

#[tokio::test]
async fn those_who_are_silent_or_slow_are_cut_off() {
    let endpoint = Endpoint::with(|settings| settings.connect_timeout_s = 1);
    let began = Instant::now();
    let mut silent = Wire::open(endpoint.address).await;
    let mut truncated = Wire::open(endpoint.address).await;
    truncated.send(&good().bytes()[..10]).await;
    let mut slow = endpoint.enter().await;
    let bytes = publish(1, false, &topic(Channel::UpLive), 1, &[0; 1000]);
    slow.send(&bytes[..20]).await;
    let mut quiet = good();
    quiet.keep_alive = 1;
    quiet.client_id = OTHER.to_owned();
    quiet.user_name = Some(OTHER.to_owned());
    let mut quiet = Wire::enter(endpoint.address, &quiet).await;
    assert_eq!(silent.hear_the_end().await, None);
    assert_eq!(truncated.hear_the_end().await, None);
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert_eq!(quiet.hear_the_end().await, Some(0x8d));
    assert_eq!(slow.hear_the_end().await, Some(0x83));
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
}

#[tokio::test]
async fn bytes_that_are_no_mqtt_harm_nobody_else() {
    let endpoint = Endpoint::start();
    let mut witness = endpoint.enter().await;
    let noise = carepost_daemon::Entropy::seeded(0xC0FFEE);
    for round in 0..300_usize {
        let mut wire = Wire::open(endpoint.address).await;
        let random = noise.bytes::<64>();
        match round % 3 {
            0 => wire.send(&random).await,
            1 => {
                let mut connect = Connect::of(OTHER, "good").bytes();
                let at = usize::from(random[0]) % connect.len();
                connect[at] ^= random[1] | 1;
                wire.send(&connect).await;
            }
            _ => {
                let mut connect = Connect::of(OTHER, "good").bytes();
                connect.extend(random);
                wire.send(&connect).await;
            }
        }
    }
    witness.send(&PING).await;
    assert_eq!(witness.hear().await, Heard::Pingresp);
    let mut late = Wire::enter(endpoint.address, &Connect::of(THIRD, "good")).await;
    late.send(&PING).await;
    assert_eq!(late.hear().await, Heard::Pingresp);
}

#[tokio::test]
async fn more_unacknowledged_messages_than_allowed_end_the_connection() {
    let mut endpoint = Endpoint::start();
    let mut wire = endpoint.enter().await;
    for id in 1..=RECEIVE_MAXIMUM + 1 {
        wire.send(&publish(1, false, &topic(Channel::UpControl), id, b"x"))
            .await;
    }
    assert_eq!(wire.hear_the_end().await, Some(0x93));
    assert!(endpoint.control.recv().await.is_some());
}

#[tokio::test]
async fn a_packet_id_that_is_in_use_is_refused() {
    let mut endpoint = Endpoint::start();
    let mut wire = endpoint.enter().await;
    for _ in 0..2 {
        wire.send(&publish(1, false, &topic(Channel::UpLive), 5, b"x")).await;
    }
    let first = endpoint.next_live().await;
    let Heard::Puback { id: 5, code: 0x91, .. } = wire.hear().await else {
        panic!()
    };
    first.answer(Verdict::Taken);
    let Heard::Puback { id: 5, code: 0, .. } = wire.hear().await else {
        panic!()
    };
}

#[tokio::test]
async fn presence_is_retained_and_the_last_will_speaks_for_those_who_are_lost() {
    let endpoint = Endpoint::start();
    let will = || {
        let mut connect = good();
        connect.will = Some((topic(Channel::State), b"lost".to_vec()));
        connect
    };
    let state = |endpoint: &Endpoint| endpoint.broker.presence(gateway()).unwrap().state;
    let online = publish(1, true, &topic(Channel::State), 1, b"online");

    let mut wire = Wire::enter(endpoint.address, &will()).await;
    wire.send(&online).await;
    let Heard::Puback { code: 0, .. } = wire.hear().await else {
        panic!()
    };
    assert_eq!(state(&endpoint), Some(b"online".to_vec()));
    assert!(endpoint.broker.presence(gateway()).unwrap().connected);
    drop(wire);
    until("it is missed", || {
        !endpoint.broker.presence(gateway()).unwrap().connected
    })
    .await;
    assert_eq!(state(&endpoint), Some(b"lost".to_vec()));

    for (reason, expected) in [(0, b"online"), (4, b"lost\0\0")] {
        let expected = expected.split(|byte| *byte == 0).next().unwrap().to_vec();
        let mut wire = Wire::enter(endpoint.address, &will()).await;
        wire.send(&online).await;
        let Heard::Puback { code: 0, .. } = wire.hear().await else {
            panic!()
        };
        wire.send(&disconnect(reason)).await;
        assert_eq!(wire.hear().await, Heard::Closed);
        until("it has left", || {
            !endpoint.broker.presence(gateway()).unwrap().connected
        })
        .await;
        assert_eq!(state(&endpoint), Some(expected));
    }
    assert_eq!(endpoint.counters.get(Metric::MqttLost), 1);

    let mut wire = endpoint.enter().await;
    wire.send(&publish(
        1,
        true,
        &topic(Channel::State),
        1,
        &vec![0; MAX_STATE_BYTES + 1],
    ))
    .await;
    let Heard::Puback { code: 0x97, .. } = wire.hear().await else {
        panic!()
    };
    let changes = endpoint.broker.presence_changes().await;
    assert_eq!(changes, [(gateway(), true)]);
}

#[tokio::test]
async fn receipts_and_down_reach_those_who_subscribed() {
    let mut endpoint = Endpoint::start();
    assert_eq!(
        endpoint.broker.publish_receipt(gateway(), Lane::Live, b"r".to_vec()),
        Err(PublishError::NotConnected)
    );
    let mut wire = endpoint.enter().await;
    let session = endpoint.broker.session(gateway()).unwrap();
    assert_eq!(
        endpoint.broker.publish_receipt(gateway(), Lane::Live, b"r".to_vec()),
        Err(PublishError::NotSubscribed)
    );
    wire.send(&subscribe(1, &[&topic(Channel::Receipt), &topic(Channel::Down)]))
        .await;
    assert_eq!(wire.hear().await, Heard::Suback { codes: vec![1, 1] });
    // A receipt passes while a commit is under way.
    wire.send(&publish(1, false, &topic(Channel::UpLive), 9, b"x")).await;
    let stuck = endpoint.next_live().await;
    endpoint
        .broker
        .publish_receipt(gateway(), Lane::Live, b"receipt".to_vec())
        .unwrap();
    let Heard::Publish {
        topic: name,
        id,
        retain,
        payload,
    } = wire.hear().await
    else {
        panic!()
    };
    assert_eq!(
        (name, retain, payload),
        (topic(Channel::Receipt), false, b"receipt".to_vec())
    );
    wire.send(&puback(id)).await;
    for n in 0..3_u8 {
        endpoint.broker.publish_down(gateway(), session, vec![n]).await.unwrap();
    }
    for n in 0..3_u8 {
        let Heard::Publish { id, payload, .. } = wire.hear().await else {
            panic!()
        };
        assert_eq!(payload, [n], "in order");
        wire.send(&puback(id)).await;
    }
    stuck.answer(Verdict::Taken);
    let Heard::Puback { id: 9, code: 0, .. } = wire.hear().await else {
        panic!()
    };
}

#[tokio::test]
async fn a_gateway_that_does_not_take_its_messages_is_cut_off() {
    let endpoint = Endpoint::start();
    let mut wire = endpoint.enter().await;
    let session = endpoint.broker.session(gateway()).unwrap();
    wire.send(&subscribe(1, &[&topic(Channel::Down)])).await;
    let Heard::Suback { .. } = wire.hear().await else {
        panic!()
    };
    // One is on its way, and a full queue waits behind it.
    let mut sent = 0;
    let error = loop {
        match endpoint.broker.publish_down(gateway(), session, vec![0; 1000]).await {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        assert!(sent <= DOWN_QUEUE + 1, "the queue has a bound");
    };
    assert_eq!(error, PublishError::Stalled);
    assert_eq!(wire.hear_the_end().await, Some(0x97));
    assert_eq!(endpoint.counters.get(Metric::DownStalled), 1);
}

#[tokio::test]
async fn stopping_tells_everybody_and_frees_the_address() {
    let endpoint = Endpoint::start();
    let mut wire = endpoint.enter().await;
    endpoint.broker.stop().await;
    assert_eq!(wire.hear_the_end().await, Some(0x8b));
    endpoint.broker.ended().await;
    std::net::TcpListener::bind(endpoint.address).unwrap();
}

#[tokio::test]
async fn an_address_that_is_taken_is_an_error_that_names_it() {
    let endpoint = Endpoint::start();
    let settings = BrokerSettings {
        listen: endpoint.address,
        workers: 1,
        max_connections: 1,
        keep_alive_s: 60,
        connect_timeout_s: 5,
        down_patience: Duration::from_secs(1),
    };
    let error = Broker::start(settings, Clock::system(), Counters::default()).unwrap_err();
    assert!(error.to_string().contains(&endpoint.address.to_string()), "{error}");
}
