//! Pairing as clients and people live through it: agents, the four association models, bonds lost and kept.

use carepost_gatt::uuid16;
use carepost_sim::Simulator;
use carepost_sim::config::{MoreAdapter, SimConfig};
use carepost_sim::control::Client;
use carepost_sim::meters::security::{Demand, PairingRule};
use carepost_sim::meters::{AfterConfirm, IoCapability, SecuritySettings};
use futures_util::StreamExt as _;
use zbus::message::{Message, Type};
use zbus::{MessageStream, ObjectPath, Variant};

use super::contract::{ADAPTER, ADAPTER_PATH, Bluez, CHARACTERISTIC, DEVICE, device_path, named};
use super::support::{CUFF, CUFF_ADDRESS, GLUCOSE_ADDRESS, config, eventually, pressure, soon, start};

const MANAGER: &str = "org.bluez.AgentManager1";
const AGENT_PATH: &str = "/test/agent";

/// A client with an agent whose questions the test answers one by one.
pub(crate) struct Agent {
    bluez: Bluez,
    messages: MessageStream,
}

fn agent_path() -> ObjectPath<'static> {
    ObjectPath::try_from(AGENT_PATH).unwrap()
}

impl Agent {
    /// A default agent of its own connection to the bus of the environment.
    pub(crate) async fn from_environment(capability: &str) -> Self {
        Self::new(Bluez::from_environment().await, capability, true).await
    }

    async fn register(simulator: &Simulator, capability: &str, default: bool) -> Self {
        Self::new(Bluez::at(simulator.bus_address()).await, capability, default).await
    }

    async fn new(bluez: Bluez, capability: &str, default: bool) -> Self {
        let messages = MessageStream::from(&bluez.connection);
        bluez
            .call("/org/bluez", MANAGER, "RegisterAgent", &(agent_path(), capability))
            .await
            .unwrap();
        if default {
            bluez
                .call("/org/bluez", MANAGER, "RequestDefaultAgent", &agent_path())
                .await
                .unwrap();
        }
        Self { bluez, messages }
    }

    /// The next call of this name; any other question fails the test.
    pub(crate) async fn asked(&mut self, member: &str) -> Message {
        let message = self.called(member).await;
        assert_eq!(message.header().member().unwrap().as_str(), member);
        message
    }

    /// As [`asked`](Self::asked), after a question that may have been taken back when it was answered already.
    async fn asked_next(&mut self, member: &str) -> Message {
        let message = self.called(member).await;
        if message.header().member().unwrap().as_str() == "Cancel" {
            return self.asked(member).await;
        }
        assert_eq!(message.header().member().unwrap().as_str(), member);
        message
    }

    /// The next call of the agent.
    async fn called(&mut self, expected: &str) -> Message {
        soon(expected, async {
            loop {
                let message = self.messages.next().await.unwrap().unwrap();
                if message.message_type() != Type::MethodCall {
                    continue;
                }
                let header = message.header();
                assert_eq!(header.interface().unwrap().as_str(), "org.bluez.Agent1");
                assert_eq!(header.path().unwrap().as_str(), AGENT_PATH);
                return message.clone();
            }
        })
        .await
    }

    pub(crate) async fn answer<B>(&self, question: &Message, body: &B)
    where
        B: serde::Serialize + zbus::wire::DynamicType,
    {
        let reply = Message::method_return(&question.header()).build(body).unwrap();
        self.bluez.connection.send(&reply).await.unwrap();
    }

    async fn reject(&self, question: &Message) {
        let reply = Message::error(&question.header(), "org.bluez.Error.Rejected")
            .build(&"no")
            .unwrap();
        self.bluez.connection.send(&reply).await.unwrap();
    }
}

/// A neighbourhood whose cuff pairs as `security` says.
fn secured(security: SecuritySettings) -> SimConfig {
    let mut config = config();
    let cuff = config.meters.first_mut().unwrap();
    cuff.security = security;
    cuff.advertise = carepost_sim::config::Advertise::Always;
    config
}

fn demands(demands: Demand, io: IoCapability) -> SecuritySettings {
    SecuritySettings {
        demands,
        io,
        ..SecuritySettings::default()
    }
}

async fn pair(bluez: &Bluez, path: &str) -> Result<(), (String, String)> {
    bluez.call(path, DEVICE, "Pair", &()).await.map(drop)
}

async fn is(bluez: &Bluez, path: &str, property: &str) -> bool {
    bluez.property(path, DEVICE, property).await == Variant::from(true)
}

/// Starts listening to the cuff.
async fn listen(bluez: &Bluez) -> Result<(), (String, String)> {
    let measurement = bluez
        .characteristic(CUFF_ADDRESS, uuid16::BLOOD_PRESSURE_MEASUREMENT)
        .await;
    bluez.characteristic_call(&measurement, "StartNotify").await
}

async fn shown(control: &mut Client) -> String {
    control.display(CUFF).await.unwrap().shows.expect("a number")
}

const FAILED: &str = "org.bluez.Error.AuthenticationFailed";

fn not_paired() -> (String, String) {
    ("org.bluez.Error.NotPermitted".to_owned(), "Not paired".to_owned())
}

#[tokio::test]
async fn a_passkey_that_the_meter_shows_is_typed_at_the_gateway() {
    let config = secured(demands(Demand::Authentication, IoCapability::DisplayOnly));
    let (simulator, mut control) = start(&config).await;
    let mut agent = Agent::register(&simulator, "KeyboardDisplay", true).await;
    let bluez = Bluez {
        connection: agent.bluez.connection.clone(),
    };
    let path = device_path(CUFF_ADDRESS);
    bluez.discover(&path).await;

    // A wrong passkey, and a question that is turned down.
    for wrong in [true, false] {
        let typing = async {
            let question = agent.asked("RequestPasskey").await;
            let body = question.body();
            let device: ObjectPath<'_> = body.deserialize().unwrap();
            assert_eq!(device.as_str(), path);
            let number: u32 = shown(&mut control).await.parse().unwrap();
            if wrong {
                agent.answer(&question, &((number + 1) % 1_000_000)).await;
            } else {
                agent.reject(&question).await;
            }
        };
        let (paired, ()) = tokio::join!(pair(&bluez, &path), typing);
        assert_eq!(named(paired), FAILED);
        assert!(!is(&bluez, &path, "Paired").await);
        assert_eq!(control.display(CUFF).await.unwrap().shows, None);
    }

    let typing = async {
        let question = agent.asked("RequestPasskey").await;
        let number: u32 = shown(&mut control).await.parse().unwrap();
        agent.answer(&question, &number).await;
    };
    let (paired, ()) = tokio::join!(pair(&bluez, &path), typing);
    paired.unwrap();
    for property in ["Paired", "Bonded", "Connected", "ServicesResolved"] {
        assert!(is(&bluez, &path, property).await, "{property}");
    }
    assert_eq!(named(pair(&bluez, &path).await), "org.bluez.Error.AlreadyExists");
    listen(&bluez).await.unwrap();
    control.measure_cuff(CUFF, pressure(124)).await.unwrap();
    let entry = control.ledger(Some(CUFF)).await.unwrap().remove(0);
    assert_eq!((entry.heard, entry.confirmed), (1, 1));
    let counters = control.counters().await.unwrap();
    assert_eq!((counters.pairings, counters.failed_pairings), (1, 2));
    simulator.stop().await.unwrap();
}

#[tokio::test]
async fn a_person_may_look_for_the_digits_for_longer_than_the_meter_keeps_an_idle_link() {
    const IDLE_MS: u64 = 100;
    let mut config = secured(demands(Demand::Authentication, IoCapability::DisplayOnly));
    config.meters.first_mut().unwrap().idle_disconnect_ms = IDLE_MS;
    let (simulator, mut control) = start(&config).await;
    let mut agent = Agent::register(&simulator, "KeyboardDisplay", true).await;
    let bluez = Bluez {
        connection: agent.bluez.connection.clone(),
    };
    let path = device_path(CUFF_ADDRESS);
    bluez.discover(&path).await;
    let typing = async {
        let question = agent.asked("RequestPasskey").await;
        let asked_at = control.list().await.unwrap().now_ms;
        eventually("three times the idle time", async || {
            (control.list().await.unwrap().now_ms > asked_at + 3 * IDLE_MS).then_some(())
        })
        .await;
        let number: u32 = shown(&mut control).await.parse().unwrap();
        agent.answer(&question, &number).await;
    };
    let (paired, ()) = tokio::join!(pair(&bluez, &path), typing);
    paired.unwrap();
    // Then it hangs up as it always does.
    eventually("the end of the link", async || {
        (!control.meter(CUFF).await.unwrap().unwrap().connected).then_some(())
    })
    .await;
    assert_eq!(control.display(CUFF).await.unwrap().bonds, 1);
    simulator.stop().await.unwrap();
}

#[tokio::test]
async fn a_passkey_that_the_gateway_shows_is_typed_on_the_meter() {
    let config = secured(demands(Demand::Authentication, IoCapability::KeyboardOnly));
    let (simulator, mut control) = start(&config).await;
    let mut agent = Agent::register(&simulator, "DisplayYesNo", false).await;
    let bluez = Bluez {
        connection: agent.bluez.connection.clone(),
    };
    let path = device_path(CUFF_ADDRESS);
    bluez.discover(&path).await;
    assert!(control.type_passkey(CUFF, "123456").await.is_err(), "nobody asks yet");
    for right in [false, true] {
        let typing = async {
            let question = agent.asked("DisplayPasskey").await;
            let body = question.body();
            let (device, number, entered): (ObjectPath<'_>, u32, u16) = body.deserialize().unwrap();
            assert_eq!((device.as_str(), entered), (path.as_str(), 0));
            assert!(control.display(CUFF).await.unwrap().asks_passkey);
            assert!(control.type_passkey(CUFF, "12345").await.is_err(), "too short");
            let typed = if right { number } else { (number + 1) % 1_000_000 };
            control.type_passkey(CUFF, &format!("{typed:06}")).await.unwrap();
            if !right {
                agent.asked("Cancel").await;
            }
        };
        let (paired, ()) = tokio::join!(pair(&bluez, &path), typing);
        if right {
            paired.unwrap();
        } else {
            assert_eq!(named(paired), FAILED);
        }
    }
    assert!(is(&bluez, &path, "Bonded").await);
    simulator.stop().await.unwrap();
}

#[tokio::test]
async fn two_numbers_are_compared_by_people_on_both_sides() {
    let config = secured(demands(Demand::Authentication, IoCapability::DisplayYesNo));
    let (simulator, mut control) = start(&config).await;
    let mut agent = Agent::register(&simulator, "", true).await;
    let bluez = Bluez {
        connection: agent.bluez.connection.clone(),
    };
    let path = device_path(CUFF_ADDRESS);
    bluez.discover(&path).await;
    for accept in [false, true] {
        let comparing = async {
            // The agent may learn of the meter's no before or after its own answer counts.
            let question = agent.asked_next("RequestConfirmation").await;
            let body = question.body();
            let (_, number): (ObjectPath<'_>, u32) = body.deserialize().unwrap();
            assert_eq!(format!("{number:06}"), shown(&mut control).await);
            assert!(control.display(CUFF).await.unwrap().asks_confirmation);
            agent.answer(&question, &()).await;
            control.confirm_pairing(CUFF, accept).await.unwrap();
        };
        let (paired, ()) = tokio::join!(pair(&bluez, &path), comparing);
        assert_eq!(paired.is_ok(), accept);
    }
    assert_eq!(control.display(CUFF).await.unwrap().bonds, 1);
    simulator.stop().await.unwrap();
}

#[tokio::test]
async fn a_meter_without_keys_or_display_just_works_and_nobody_is_asked() {
    let config = secured(demands(Demand::Encryption, IoCapability::NoInputNoOutput));
    let (simulator, mut control) = start(&config).await;
    let bluez = Bluez::at(simulator.bus_address()).await;
    let path = device_path(CUFF_ADDRESS);
    bluez.discover(&path).await;
    // There is no agent at all.
    pair(&bluez, &path).await.unwrap();
    assert!(is(&bluez, &path, "Paired").await);
    listen(&bluez).await.unwrap();
    bluez.set(&path, DEVICE, "Trusted", true.into()).await.unwrap();
    assert!(is(&bluez, &path, "Trusted").await);
    for property in ["Paired", "Bonded"] {
        let refused = bluez.set(&path, DEVICE, property, false.into()).await;
        assert_eq!(named(refused), "org.freedesktop.DBus.Error.PropertyReadOnly");
    }
    assert!(control.meter(CUFF).await.unwrap().unwrap().bonded);
    simulator.stop().await.unwrap();
}

#[tokio::test]
async fn without_an_agent_a_meter_that_demands_a_passkey_does_not_pair() {
    let config = secured(demands(Demand::Authentication, IoCapability::DisplayOnly));
    let (simulator, mut control) = start(&config).await;
    let bluez = Bluez::at(simulator.bus_address()).await;
    let path = device_path(CUFF_ADDRESS);
    bluez.discover(&path).await;
    assert_eq!(named(pair(&bluez, &path).await), FAILED);
    // An agent of another connection that is not the default does not help either.
    let _other = Agent::register(&simulator, "KeyboardDisplay", false).await;
    assert_eq!(named(pair(&bluez, &path).await), FAILED);
    bluez.resolved(&path).await;
    assert_eq!(listen(&bluez).await.unwrap_err(), not_paired());
    assert_eq!(control.display(CUFF).await.unwrap().bonds, 0);
    simulator.stop().await.unwrap();
}

#[tokio::test]
async fn the_agent_of_the_calling_connection_is_asked_and_not_the_default_one() {
    let config = secured(demands(Demand::Authentication, IoCapability::DisplayOnly));
    let (simulator, mut control) = start(&config).await;
    let mut default = Agent::register(&simulator, "KeyboardDisplay", true).await;
    let mut own = Agent::register(&simulator, "KeyboardOnly", false).await;
    let path = device_path(CUFF_ADDRESS);
    own.bluez.discover(&path).await;
    let caller = Bluez {
        connection: own.bluez.connection.clone(),
    };
    let typing = async {
        let question = own.asked("RequestPasskey").await;
        let number: u32 = shown(&mut control).await.parse().unwrap();
        own.answer(&question, &number).await;
    };
    let (paired, ()) = tokio::join!(pair(&caller, &path), typing);
    paired.unwrap();

    // A client without an agent uses the default one, and the other one hears nothing of it.
    let stranger = Bluez::at(simulator.bus_address()).await;
    stranger
        .call(
            ADAPTER_PATH,
            ADAPTER,
            "RemoveDevice",
            &ObjectPath::try_from(path.as_str()).unwrap(),
        )
        .await
        .unwrap();
    stranger.discover(&path).await;
    let typing = async {
        let question = default.asked("RequestPasskey").await;
        let number: u32 = shown(&mut control).await.parse().unwrap();
        default.answer(&question, &number).await;
    };
    let (paired, ()) = tokio::join!(pair(&stranger, &path), typing);
    paired.unwrap();
    simulator.stop().await.unwrap();
}

#[tokio::test]
async fn a_protected_subscription_pairs_by_itself_through_the_default_agent() {
    let config = secured(demands(Demand::Encryption, IoCapability::NoInputNoOutput));
    let (simulator, mut control) = start(&config).await;
    let bluez = Bluez::at(simulator.bus_address()).await;
    bluez.connect(CUFF_ADDRESS).await;
    let path = device_path(CUFF_ADDRESS);
    // No agent may give its consent.
    assert_eq!(listen(&bluez).await.unwrap_err(), not_paired());
    assert_eq!(control.meter(CUFF).await.unwrap().unwrap().sessions, 0);

    let mut agent = Agent::register(&simulator, "NoInputNoOutput", true).await;
    let refusing = async {
        let question = agent.asked("RequestAuthorization").await;
        agent.reject(&question).await;
    };
    let (listening, ()) = tokio::join!(listen(&bluez), refusing);
    assert_eq!(listening.unwrap_err(), not_paired());

    let accepting = async {
        let question = agent.asked("RequestAuthorization").await;
        // The first request is not answered yet; the same client may not ask twice.
        assert_eq!(named(listen(&bluez).await), "org.bluez.Error.InProgress");
        agent.answer(&question, &()).await;
    };
    let (listening, ()) = tokio::join!(listen(&bluez), accepting);
    listening.unwrap();
    listen(&bluez).await.unwrap();
    assert!(is(&bluez, &path, "Bonded").await);
    control.measure_cuff(CUFF, pressure(118)).await.unwrap();
    assert_eq!(control.ledger(Some(CUFF)).await.unwrap()[0].heard, 1);
    assert_eq!(control.counters().await.unwrap().att_errors, 3);
    simulator.stop().await.unwrap();
}

#[tokio::test]
async fn a_meter_that_asks_for_security_first_is_paired_before_anybody_reads() {
    let config = secured(SecuritySettings {
        security_request: true,
        ..demands(Demand::Encryption, IoCapability::NoInputNoOutput)
    });
    let (simulator, _control) = start(&config).await;
    let mut agent = Agent::register(&simulator, "KeyboardDisplay", true).await;
    let path = device_path(CUFF_ADDRESS);
    let bluez = Bluez::at(simulator.bus_address()).await;
    bluez.connect(CUFF_ADDRESS).await;
    let question = agent.asked("RequestAuthorization").await;
    assert!(!is(&bluez, &path, "Bonded").await);
    agent.answer(&question, &()).await;
    eventually("the bond", async || is(&bluez, &path, "Bonded").await.then_some(())).await;
    simulator.stop().await.unwrap();
}

#[tokio::test]
async fn agents_are_registered_once_and_leave_with_their_connection() {
    let config = secured(demands(Demand::Authentication, IoCapability::DisplayOnly));
    let (simulator, mut control) = start(&config).await;
    let mut agent = Agent::register(&simulator, "KeyboardDisplay", true).await;
    let manager = async |member: &str, body: &ObjectPath<'static>| {
        agent.bluez.call("/org/bluez", MANAGER, member, body).await.map(drop)
    };
    let register = async |bluez: &Bluez, capability: &str| {
        bluez
            .call("/org/bluez", MANAGER, "RegisterAgent", &(agent_path(), capability))
            .await
            .map(drop)
    };
    let already = register(&agent.bluez, "KeyboardDisplay").await;
    assert_eq!(named(already), "org.bluez.Error.AlreadyExists");
    let other = ObjectPath::try_from("/other").unwrap();
    for member in ["UnregisterAgent", "RequestDefaultAgent"] {
        assert_eq!(named(manager(member, &other).await), "org.bluez.Error.DoesNotExist");
    }
    let stranger = Bluez::at(simulator.bus_address()).await;
    let unknown = register(&stranger, "Telepathy").await;
    assert_eq!(named(unknown), "org.bluez.Error.InvalidArguments");

    // The question of an agent that leaves is answered with no.
    let path = device_path(CUFF_ADDRESS);
    stranger.discover(&path).await;
    let leaving = async {
        agent.asked("RequestPasskey").await;
        agent.bluez.leave().await;
    };
    let (paired, ()) = tokio::join!(pair(&stranger, &path), leaving);
    assert_eq!(named(paired), FAILED);
    assert_eq!(control.display(CUFF).await.unwrap().shows, None);

    let second = Agent::register(&simulator, "KeyboardDisplay", true).await;
    second
        .bluez
        .call("/org/bluez", MANAGER, "UnregisterAgent", &agent_path())
        .await
        .unwrap();
    assert_eq!(named(pair(&stranger, &path).await), FAILED);
    simulator.stop().await.unwrap();
}

#[tokio::test]
async fn a_pairing_is_called_off_by_its_caller_or_with_it_or_with_the_link() {
    let config = secured(demands(Demand::Authentication, IoCapability::DisplayOnly));
    let (simulator, mut control) = start(&config).await;
    let mut agent = Agent::register(&simulator, "KeyboardDisplay", true).await;
    let bluez = Bluez::at(simulator.bus_address()).await;
    let path = device_path(CUFF_ADDRESS);
    bluez.discover(&path).await;
    let nothing = bluez.call(&path, DEVICE, "CancelPairing", &()).await;
    assert_eq!(named(nothing), "org.bluez.Error.DoesNotExist");

    const CANCELED: &str = "org.bluez.Error.AuthenticationCanceled";
    let cancelling = async {
        agent.asked("RequestPasskey").await;
        assert_eq!(named(pair(&bluez, &path).await), "org.bluez.Error.InProgress");
        bluez.call(&path, DEVICE, "CancelPairing", &()).await.unwrap();
        agent.asked("Cancel").await;
    };
    let (paired, ()) = tokio::join!(pair(&bluez, &path), cancelling);
    assert_eq!(named(paired), CANCELED);

    let losing = async {
        agent.asked("RequestPasskey").await;
        control.drop_link(CUFF, None).await.unwrap();
        agent.asked("Cancel").await;
    };
    let (paired, ()) = tokio::join!(pair(&bluez, &path), losing);
    assert_eq!(named(paired), CANCELED);

    let caller = Bluez::at(simulator.bus_address()).await;
    let call = Message::method_call(path.as_str(), "Pair")
        .destination("org.bluez")
        .interface(DEVICE)
        .build(&())
        .unwrap();
    caller.connection.send(&call).await.unwrap();
    agent.asked("RequestPasskey").await;
    caller.leave().await;
    agent.asked("Cancel").await;
    assert_eq!(control.counters().await.unwrap().failed_pairings, 3);
    simulator.stop().await.unwrap();
}

#[tokio::test]
async fn a_pairing_that_nobody_answers_times_out_and_takes_the_link_with_it() {
    let mut config = secured(demands(Demand::Authentication, IoCapability::DisplayOnly));
    config.adapter.pairing_timeout_ms = 150;
    let (simulator, mut control) = start(&config).await;
    let mut agent = Agent::register(&simulator, "KeyboardDisplay", true).await;
    let bluez = Bluez::at(simulator.bus_address()).await;
    let path = device_path(CUFF_ADDRESS);
    bluez.discover(&path).await;
    let waiting = async {
        agent.asked("RequestPasskey").await;
        agent.asked("Cancel").await;
    };
    let (paired, ()) = tokio::join!(pair(&bluez, &path), waiting);
    assert_eq!(named(paired), "org.bluez.Error.AuthenticationTimeout");
    assert!(!control.meter(CUFF).await.unwrap().unwrap().connected);

    // A meter out of reach cannot be paired at all.
    config.adapter.connect_timeout_ms = 150;
    let (simulator, mut control) = start(&config).await;
    let bluez = Bluez::at(simulator.bus_address()).await;
    bluez.discover(&path).await;
    control.set_range(CUFF, false).await.unwrap();
    assert_eq!(
        named(pair(&bluez, &path).await),
        "org.bluez.Error.ConnectionAttemptFailed"
    );
    simulator.stop().await.unwrap();
}

#[tokio::test]
async fn a_meter_that_lost_its_bond_is_removed_and_paired_again() {
    let config = secured(demands(Demand::Encryption, IoCapability::NoInputNoOutput));
    let (simulator, mut control) = start(&config).await;
    let bluez = Bluez::at(simulator.bus_address()).await;
    let path = device_path(CUFF_ADDRESS);
    bluez.discover(&path).await;
    pair(&bluez, &path).await.unwrap();
    bluez.call(&path, DEVICE, "Disconnect", &()).await.unwrap();
    bluez.call(&path, DEVICE, "Connect", &()).await.unwrap();
    bluez.call(&path, DEVICE, "Disconnect", &()).await.unwrap();

    control.wipe_bonds(CUFF).await.unwrap();
    let mut signals = MessageStream::from(&bluez.connection);
    let lost = bluez.call(&path, DEVICE, "Connect", &()).await.unwrap_err();
    assert_eq!(lost.0, "org.bluez.Error.Failed");
    let (reason, _) = soon("the reason", async {
        loop {
            let message = signals.next().await.unwrap().unwrap();
            let is_it = message.header().member().is_some_and(|member| member == "Disconnected");
            if is_it {
                return message.body().deserialize::<(String, String)>().unwrap();
            }
        }
    })
    .await;
    assert_eq!(reason, "org.bluez.Reason.Authentication");
    // BlueZ still believes in its bond.
    assert!(is(&bluez, &path, "Bonded").await);
    assert_eq!(named(pair(&bluez, &path).await), "org.bluez.Error.AlreadyExists");
    bluez
        .call(
            ADAPTER_PATH,
            ADAPTER,
            "RemoveDevice",
            &ObjectPath::try_from(path.as_str()).unwrap(),
        )
        .await
        .unwrap();
    bluez.discover(&path).await;
    pair(&bluez, &path).await.unwrap();
    listen(&bluez).await.unwrap();
    simulator.stop().await.unwrap();
}

#[tokio::test]
async fn a_subscription_taken_back_costs_some_cuffs_their_bond() {
    let config = secured(SecuritySettings {
        unsubscribe_forgets_bond: true,
        ..demands(Demand::Encryption, IoCapability::NoInputNoOutput)
    });
    let (simulator, mut control) = start(&config).await;
    let bluez = Bluez::at(simulator.bus_address()).await;
    let path = device_path(CUFF_ADDRESS);
    bluez.discover(&path).await;
    pair(&bluez, &path).await.unwrap();
    listen(&bluez).await.unwrap();
    bluez.call(&path, DEVICE, "Disconnect", &()).await.unwrap();
    assert_eq!(control.display(CUFF).await.unwrap().bonds, 1);
    // The session is kept over the lost link, so that the cuff sees no 0.
    bluez.call(&path, DEVICE, "Connect", &()).await.unwrap();
    assert_eq!(control.display(CUFF).await.unwrap().bonds, 1);
    let measurement = bluez
        .characteristic(CUFF_ADDRESS, uuid16::BLOOD_PRESSURE_MEASUREMENT)
        .await;
    bluez.characteristic_call(&measurement, "StopNotify").await.unwrap();
    assert_eq!(control.display(CUFF).await.unwrap().bonds, 0);
    bluez.call(&path, DEVICE, "Disconnect", &()).await.unwrap();
    assert!(bluez.call(&path, DEVICE, "Connect", &()).await.is_err());
    simulator.stop().await.unwrap();
}

#[tokio::test]
async fn a_bonded_cuff_that_remembers_its_subscriptions_sends_before_anybody_listens() {
    let mut config = secured(SecuritySettings {
        keeps_subscriptions_per_bond: true,
        ..demands(Demand::Encryption, IoCapability::NoInputNoOutput)
    });
    config.meters[0].cuff.after_confirm = AfterConfirm::Delete;
    let (simulator, mut control) = start(&config).await;
    let bluez = Bluez::at(simulator.bus_address()).await;
    let path = device_path(CUFF_ADDRESS);
    bluez.discover(&path).await;
    pair(&bluez, &path).await.unwrap();
    listen(&bluez).await.unwrap();
    control.drop_link(CUFF, None).await.unwrap();
    bluez.leave().await;
    eventually("the end of the session", async || {
        (control.meter(CUFF).await.unwrap().unwrap().sessions == 0).then_some(())
    })
    .await;

    control.measure_cuff(CUFF, pressure(133)).await.unwrap();
    let next = Bluez::at(simulator.bus_address()).await;
    next.call(&path, DEVICE, "Connect", &()).await.unwrap();
    let entry = control.ledger(Some(CUFF)).await.unwrap().remove(0);
    assert_eq!((entry.heard, entry.confirmed, entry.is_lost()), (0, 1, true));
    assert_eq!(control.counters().await.unwrap().unheard, 1);
    simulator.stop().await.unwrap();
}

#[tokio::test]
async fn pairing_needs_the_pairing_mode_and_the_only_bond() {
    let mut config = secured(SecuritySettings {
        pairing: PairingRule::InPairingMode,
        pairing_name: "BP pairing".to_owned(),
        single_bond: true,
        ..demands(Demand::Encryption, IoCapability::NoInputNoOutput)
    });
    config.meters[0].advertise = carepost_sim::config::Advertise::Window;
    config.more_adapters.push(MoreAdapter {
        controller: "hci1".to_owned(),
        address: "02:00:00:CA:5E:01".to_owned(),
        name: "second".to_owned(),
    });
    let (simulator, mut control) = start(&config).await;
    let bluez = Bluez::at(simulator.bus_address()).await;
    let path = device_path(CUFF_ADDRESS);
    control.press_transfer(CUFF).await.unwrap();
    bluez.discover(&path).await;
    assert_eq!(bluez.property(&path, DEVICE, "Name").await, Variant::from("BP"));
    assert_eq!(named(pair(&bluez, &path).await), FAILED);
    bluez.call(&path, DEVICE, "Disconnect", &()).await.unwrap();

    // In its pairing mode it advertises under another name, without a measurement.
    control.pairing_mode(CUFF, true).await.unwrap();
    bluez.call(ADAPTER_PATH, ADAPTER, "StartDiscovery", &()).await.unwrap();
    eventually("the name", async || {
        (bluez.property(&path, DEVICE, "Name").await == Variant::from("BP pairing")).then_some(())
    })
    .await;
    bluez.call(ADAPTER_PATH, ADAPTER, "StopDiscovery", &()).await.unwrap();
    pair(&bluez, &path).await.unwrap();
    let state = control.display(CUFF).await.unwrap();
    assert_eq!((state.bonds, state.pairing_mode), (1, false));
    bluez.call(&path, DEVICE, "Disconnect", &()).await.unwrap();

    // The second adapter is another central: the cuff has a bond already.
    control.pairing_mode(CUFF, true).await.unwrap();
    let second = path.replace("hci0", "hci1");
    bluez
        .call("/org/bluez/hci1", ADAPTER, "StartDiscovery", &())
        .await
        .unwrap();
    eventually("discovery", async || {
        bluez.objects().await.contains_key(&second).then_some(())
    })
    .await;
    assert_eq!(named(pair(&bluez, &second).await), FAILED);
    control.wipe_bonds(CUFF).await.unwrap();
    pair(&bluez, &second).await.unwrap();
    simulator.stop().await.unwrap();
}

#[tokio::test]
async fn a_meter_may_hang_up_as_soon_as_it_is_paired() {
    let mut config = secured(SecuritySettings {
        disconnects_after_pairing: true,
        ..demands(Demand::Encryption, IoCapability::NoInputNoOutput)
    });
    config.adapter.resolve_delay_ms = 10_000;
    let (simulator, _control) = start(&config).await;
    let bluez = Bluez::at(simulator.bus_address()).await;
    let path = device_path(CUFF_ADDRESS);
    bluez.discover(&path).await;
    // `Pair` waits for the services, which never come, and succeeds all the same.
    pair(&bluez, &path).await.unwrap();
    assert!(is(&bluez, &path, "Bonded").await);
    assert!(!is(&bluez, &path, "Connected").await);
    simulator.stop().await.unwrap();
}

#[tokio::test]
async fn a_private_address_becomes_the_identity_when_it_is_bonded() {
    let mut config = secured(demands(Demand::Encryption, IoCapability::NoInputNoOutput));
    config.meters[0].address_rotation_ms = Some(900_000);
    let (simulator, mut control) = start(&config).await;
    let bluez = Bluez::at(simulator.bus_address()).await;
    let on_air = async |control: &mut Client| control.meter(CUFF).await.unwrap().unwrap().address_on_air;
    let first = on_air(&mut control).await;
    let path = device_path(&first);
    bluez.discover(&path).await;
    assert_eq!(
        bluez.property(&path, DEVICE, "AddressType").await,
        Variant::from("random")
    );

    // A stranger that changes its address is a new device, beside the old one.
    control.rotate_address(CUFF).await.unwrap();
    let second = on_air(&mut control).await;
    assert_ne!(first, second);
    let path = device_path(&second);
    bluez.discover(&path).await;
    assert!(bluez.objects().await.contains_key(&device_path(&first)));

    pair(&bluez, &path).await.unwrap();
    assert_eq!(
        bluez.property(&path, DEVICE, "Address").await,
        Variant::from(CUFF_ADDRESS)
    );
    assert_eq!(
        bluez.property(&path, DEVICE, "AddressType").await,
        Variant::from("public")
    );
    bluez.call(&path, DEVICE, "Disconnect", &()).await.unwrap();

    // A friend that changes its address stays the same device at the path of its old address.
    control.rotate_address(CUFF).await.unwrap();
    assert_ne!(second, on_air(&mut control).await);
    let known = bluez.objects().await.len();
    bluez.call(&path, DEVICE, "Connect", &()).await.unwrap();
    bluez.resolved(&path).await;
    listen_at(&bluez, &path).await;
    control.measure_cuff(CUFF, pressure(127)).await.unwrap();
    assert_eq!(control.ledger(Some(CUFF)).await.unwrap()[0].heard, 1);
    assert_eq!(bluez.objects().await.len(), known);
    simulator.stop().await.unwrap();
}

async fn listen_at(bluez: &Bluez, device: &str) {
    let objects = bluez.objects().await;
    let wanted = Variant::from(uuid16::to_uuid128(uuid16::BLOOD_PRESSURE_MEASUREMENT));
    let (path, _) = objects
        .iter()
        .find(|(path, interfaces)| {
            path.starts_with(device)
                && interfaces
                    .get(CHARACTERISTIC)
                    .is_some_and(|values| values["UUID"] == wanted)
        })
        .unwrap();
    bluez.characteristic_call(path, "StartNotify").await.unwrap();
}

#[tokio::test]
async fn two_meters_are_not_confused_while_both_pair() {
    let mut config = secured(demands(Demand::Authentication, IoCapability::DisplayOnly));
    config.meters[1].security = demands(Demand::Authentication, IoCapability::DisplayOnly);
    let (simulator, mut control) = start(&config).await;
    let mut agent = Agent::register(&simulator, "KeyboardDisplay", true).await;
    let bluez = Bluez::at(simulator.bus_address()).await;
    let (cuff, glucose) = (device_path(CUFF_ADDRESS), device_path(GLUCOSE_ADDRESS));
    bluez.discover(&cuff).await;
    bluez.discover(&glucose).await;
    // An agent answers one question at a time; the second pairing finds it busy.
    let asking = async {
        let question = agent.asked("RequestPasskey").await;
        assert_eq!(named(pair(&bluez, &glucose).await), FAILED);
        let number: u32 = shown(&mut control).await.parse().unwrap();
        agent.answer(&question, &number).await;
    };
    let (paired, ()) = tokio::join!(pair(&bluez, &cuff), asking);
    paired.unwrap();
    assert!(is(&bluez, &cuff, "Bonded").await);
    assert!(!is(&bluez, &glucose, "Bonded").await);
    simulator.stop().await.unwrap();
}

#[tokio::test]
async fn a_stranger_that_keeps_changing_its_address_leaves_a_bounded_trail() {
    let mut config = secured(SecuritySettings::default());
    config.meters[0].address_rotation_ms = Some(100);
    let (simulator, mut control) = start(&config).await;
    let bluez = Bluez::at(simulator.bus_address()).await;
    bluez.call(ADAPTER_PATH, ADAPTER, "StartDiscovery", &()).await.unwrap();
    let mut seen = std::collections::BTreeSet::new();
    eventually("a dozen addresses", async || {
        seen.insert(control.meter(CUFF).await.unwrap().unwrap().address_on_air);
        (seen.len() > 12).then_some(())
    })
    .await;
    let strangers = bluez
        .objects()
        .await
        .keys()
        .filter(|path| path.contains("/dev_"))
        .count();
    // Eight left behind, the present one, and the glucose meter, which stays as it is.
    assert!((3..=10).contains(&strangers), "{strangers}");
    assert!(!bluez.objects().await.contains_key(&device_path(CUFF_ADDRESS)));
    simulator.stop().await.unwrap();
}
