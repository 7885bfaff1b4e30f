//! What the host does wrong, as a client sees it, and what the ledger holds of it.

use std::collections::{BTreeSet, HashMap};

use carepost_gatt::racp::Request;
use carepost_gatt::uuid16;
use carepost_sim::config::SimConfig;
use carepost_sim::control::Client;
use carepost_sim::meters::SecuritySettings;
use carepost_sim::meters::security::Demand;
use carepost_sim::profiles::{Group, catalogue};
use carepost_sim::{Delay, Failure, HostEvent, HostFaults, Simulator};
use futures_util::StreamExt as _;
use zbus::message::Message;
use zbus::{MessageStream, OwnedObjectPath, OwnedVariant, Variant};

use super::contract::{ADAPTER, ADAPTER_PATH, Bluez, CHARACTERISTIC, DEVICE, device_path, named};
use super::support::{CUFF, CUFF_ADDRESS, GLUCOSE, GLUCOSE_ADDRESS, config, eventually, pressure, soon, start};

const IN_PROGRESS: &str = "org.bluez.Error.InProgress";
const NO_OBJECT: &str = "org.freedesktop.DBus.Error.UnknownObject";

/// The profiles of group 12 that have a test below.
const TESTED: &[&str] = &[
    "host-power-off-mid-transfer",
    "host-unplug-mid-transfer",
    "host-restart-mid-transfer",
    "host-bus-loss-mid-transfer",
    "host-in-progress",
    "host-connect-fails",
    "host-pairing-rejected",
    "host-subscription-unanswered",
    "host-device-vanishes",
    "host-device-vanishes-before-connect",
    "host-services-never",
    "host-services-late",
    "host-services-early",
    "host-services-before-objects",
    "host-slow-replies",
    "host-loses-values",
    "host-loses-services-resolved",
    "host-doubles-values",
    "host-invalidates-properties",
];

#[test]
fn every_profile_of_the_host_has_its_test() {
    let listed: BTreeSet<&str> = catalogue()
        .filter(|profile| profile.group == Group::Host)
        .map(|profile| profile.name)
        .collect();
    assert_eq!(listed, TESTED.iter().copied().collect());
}

/// What a signal said: the object that it is about, the properties that it changed, and those that it invalidated.
#[derive(Debug)]
struct Heard {
    path: String,
    member: String,
    changed: HashMap<String, OwnedVariant>,
    invalidated: Vec<String>,
}

/// Signals that may wait for the test.
const PATIENT: std::num::NonZeroUsize = std::num::NonZeroUsize::new(4096).unwrap();

/// A client, and beside it one that hears everything and calls nothing, so that its answers do not wait for the test.
struct Ear {
    bluez: Bluez,
    signals: MessageStream,
}

impl Ear {
    async fn at(simulator: &Simulator) -> Self {
        let bluez = Bluez::at(simulator.bus_address()).await;
        let connection = zbus::connection::Builder::address(simulator.bus_address())
            .max_queued(PATIENT)
            .build()
            .await
            .unwrap();
        let signals = MessageStream::from(&connection);
        let bus = Some("org.freedesktop.DBus");
        for rule in [
            "type='signal',sender='org.bluez'",
            "type='signal',member='NameOwnerChanged'",
        ] {
            connection
                .call_method(bus, "/org/freedesktop/DBus", bus, "AddMatch", &rule)
                .await
                .unwrap();
        }
        Self { bluez, signals }
    }

    async fn next(&mut self) -> Heard {
        loop {
            let message = self.signals.next().await.unwrap().unwrap();
            if message.message_type() != zbus::message::Type::Signal {
                continue;
            }
            return heard(&message);
        }
    }

    /// The next signal that is it.
    async fn until(&mut self, what: &str, mut is_it: impl FnMut(&Heard) -> bool) -> Heard {
        soon(what, async {
            loop {
                let heard = self.next().await;
                if is_it(&heard) {
                    return heard;
                }
            }
        })
        .await
    }

    /// Values of a characteristic up to the next `Connected` change.
    async fn values_until_gone(&mut self) -> Vec<Vec<u8>> {
        let mut values = Vec::new();
        self.until("the end of the link", |heard| {
            if let Some(value) = heard.changed.get("Value") {
                values.push(bytes(value));
            }
            heard.changed.contains_key("Connected")
        })
        .await;
        values
    }
}

fn bytes(value: &OwnedVariant) -> Vec<u8> {
    Vec::<u8>::try_from(value.try_clone().unwrap()).unwrap()
}

fn heard(message: &Message) -> Heard {
    let header = message.header();
    let member = header.member().unwrap().to_string();
    let (changed, invalidated) = match message
        .body()
        .deserialize::<(String, HashMap<String, OwnedVariant>, Vec<String>)>()
    {
        Ok((_, changed, invalidated)) => (changed, invalidated),
        Err(_) => (HashMap::new(), Vec::new()),
    };
    let body = message.body();
    let object = match member.as_str() {
        "InterfacesAdded" => body
            .deserialize::<(OwnedObjectPath, HashMap<String, HashMap<String, OwnedVariant>>)>()
            .map(|(path, _)| path.to_string()),
        "InterfacesRemoved" => body
            .deserialize::<(OwnedObjectPath, Vec<String>)>()
            .map(|(path, _)| path.to_string()),
        _ => Ok(header.path().unwrap().to_string()),
    };
    Heard {
        path: object.unwrap(),
        member,
        changed,
        invalidated,
    }
}

/// Connects to the glucose meter and asks for all records.
async fn report(bluez: &Bluez) -> String {
    bluez.connect(GLUCOSE_ADDRESS).await;
    for uuid in [
        uuid16::GLUCOSE_MEASUREMENT,
        uuid16::GLUCOSE_CONTEXT,
        uuid16::RECORD_ACCESS_CONTROL_POINT,
    ] {
        let path = bluez.characteristic(GLUCOSE_ADDRESS, uuid).await;
        bluez.characteristic_call(&path, "StartNotify").await.unwrap();
    }
    let control_point = bluez
        .characteristic(GLUCOSE_ADDRESS, uuid16::RECORD_ACCESS_CONTROL_POINT)
        .await;
    bluez
        .write(&control_point, &Request::report_all().encode().unwrap(), "request")
        .await
        .unwrap();
    control_point
}

/// A neighbourhood whose meters always advertise, and whose glucose meter takes its time.
fn busy() -> SimConfig {
    let mut config = config();
    config.meters.first_mut().unwrap().advertise = carepost_sim::config::Advertise::Always;
    config.meters.last_mut().unwrap().glucose.notification_interval_ms = 2;
    config
}

fn faults(change: impl FnOnce(&mut HostFaults)) -> HostFaults {
    let mut faults = HostFaults::default();
    change(&mut faults);
    faults
}

async fn acted(control: &mut Client) -> u64 {
    control.counters().await.unwrap().host_faults
}

#[tokio::test]
async fn an_adapter_is_switched_off_or_pulled_out_in_the_middle_of_a_transfer() {
    let (simulator, mut control) = start(&busy()).await;
    let mut ear = Ear::at(&simulator).await;
    control
        .set_host_profile(&["host-power-off-mid-transfer"])
        .await
        .unwrap();
    report(&ear.bluez).await;
    ear.until("power off", |heard| heard.changed.contains_key("Powered"))
        .await;
    let counters = control.counters().await.unwrap();
    assert_eq!((counters.notifications, counters.host_faults), (10, 1));
    assert_eq!(
        named(
            ear.bluez
                .call(&device_path(GLUCOSE_ADDRESS), DEVICE, "Connect", &())
                .await
        ),
        "org.bluez.Error.NotReady"
    );
    // It is not blocked: a client switches it on again and finds all records.
    ear.bluez
        .set(ADAPTER_PATH, ADAPTER, "Powered", true.into())
        .await
        .unwrap();

    control.set_host_profile(&["host-unplug-mid-transfer"]).await.unwrap();
    report(&ear.bluez).await;
    // The devices go first, then the adapter.
    let mut removed = Vec::new();
    ear.until("the removal", |heard| {
        if heard.member == "InterfacesRemoved" {
            removed.push(heard.path.clone());
        }
        heard.path == ADAPTER_PATH && heard.member == "InterfacesRemoved"
    })
    .await;
    assert!(removed.contains(&device_path(GLUCOSE_ADDRESS)), "{removed:?}");
    assert!(!ear.bluez.objects().await.contains_key(ADAPTER_PATH));
    assert_eq!(
        named(ear.bluez.call(ADAPTER_PATH, ADAPTER, "StartDiscovery", &()).await),
        NO_OBJECT
    );
    assert!(!control.list().await.unwrap().adapter.present);
    control.host_event(HostEvent::Plug { adapter: None }).await.unwrap();
    // A device without a bond is a stranger again, and everything starts anew.
    assert!(!ear.bluez.objects().await.contains_key(&device_path(GLUCOSE_ADDRESS)));
    control.set_host_profile(&[]).await.unwrap();
    report(&ear.bluez).await;
    eventually("all records", async || {
        let ledger = control.ledger(Some(GLUCOSE)).await.unwrap();
        ledger.iter().all(|entry| entry.heard > 0).then_some(())
    })
    .await;
    let nowhere = HostEvent::Unplug {
        adapter: Some("hci7".to_owned()),
    };
    assert!(control.host_event(nowhere).await.is_err());
    simulator.stop().await.unwrap();
}

#[tokio::test]
async fn bluetoothd_restarts_and_keeps_bonds_but_neither_sessions_nor_objects() {
    let mut config = busy();
    config.meters[1].security = SecuritySettings {
        demands: Demand::Encryption,
        keeps_subscriptions_per_bond: true,
        ..SecuritySettings::default()
    };
    let (simulator, mut control) = start(&config).await;
    let mut ear = Ear::at(&simulator).await;
    let path = device_path(GLUCOSE_ADDRESS);
    ear.bluez.discover(&path).await;
    ear.bluez.call(&path, DEVICE, "Pair", &()).await.unwrap();
    ear.bluez.set(&path, DEVICE, "Trusted", true.into()).await.unwrap();
    ear.bluez.call(&path, DEVICE, "Disconnect", &()).await.unwrap();

    control.set_host_profile(&["host-restart-mid-transfer"]).await.unwrap();
    let control_point = report(&ear.bluez).await;
    let mut owners = Vec::new();
    soon("the name lost and owned again", async {
        while owners.len() < 2 {
            let message = ear.signals.next().await.unwrap().unwrap();
            let body = message.body();
            if message
                .header()
                .member()
                .is_some_and(|member| member == "NameOwnerChanged")
            {
                let (name, _, new): (String, String, String) = body.deserialize().unwrap();
                if name == "org.bluez" {
                    owners.push(new);
                }
            }
        }
    })
    .await;
    assert!(owners[0].is_empty() && !owners[1].is_empty(), "{owners:?}");

    // The same client goes on: the bond is there, the GATT objects are not.
    let objects = ear.bluez.objects().await;
    let device = &objects[path.as_str()][DEVICE];
    for (name, value) in [("Bonded", true), ("Trusted", true), ("Connected", false)] {
        assert_eq!(device[name], Variant::from(value), "{name}");
    }
    assert!(!objects.contains_key(&control_point));
    assert_eq!(
        named(ear.bluez.characteristic_call(&control_point, "StartNotify").await),
        NO_OBJECT
    );
    assert_eq!(control.meter(GLUCOSE).await.unwrap().unwrap().sessions, 0);
    // Which devices that have no bond were around is forgotten.
    assert!(!objects.contains_key(&device_path(CUFF_ADDRESS)));

    report(&ear.bluez).await;
    eventually("all records", async || {
        let ledger = control.ledger(Some(GLUCOSE)).await.unwrap();
        ledger.iter().all(|entry| entry.heard > 0).then_some(())
    })
    .await;
    simulator.stop().await.unwrap();
}

#[tokio::test]
async fn a_cuff_that_sends_on_its_own_loses_a_record_to_a_restart_and_the_ledger_says_so() {
    let mut config = busy();
    config.meters[0].security = SecuritySettings {
        demands: Demand::Encryption,
        keeps_subscriptions_per_bond: true,
        ..SecuritySettings::default()
    };
    config.meters[0].cuff.after_confirm = carepost_sim::meters::AfterConfirm::Delete;
    let (simulator, mut control) = start(&config).await;
    let bluez = Bluez::at(simulator.bus_address()).await;
    let path = device_path(CUFF_ADDRESS);
    bluez.discover(&path).await;
    bluez.call(&path, DEVICE, "Pair", &()).await.unwrap();
    let measurement = bluez
        .characteristic(CUFF_ADDRESS, uuid16::BLOOD_PRESSURE_MEASUREMENT)
        .await;
    bluez.characteristic_call(&measurement, "StartNotify").await.unwrap();
    control
        .host_event(HostEvent::RestartBluez { down_ms: 0 })
        .await
        .unwrap();
    control.measure_cuff(CUFF, pressure(137)).await.unwrap();
    bluez.owned().await;
    bluez.call(&path, DEVICE, "Connect", &()).await.unwrap();
    let entry = control.ledger(Some(CUFF)).await.unwrap().remove(0);
    assert!(entry.is_lost(), "{entry:?}");
    simulator.stop().await.unwrap();
}

#[tokio::test]
async fn the_bus_closes_every_connection_and_listens_again_at_the_same_address() {
    let (simulator, mut control) = start(&busy()).await;
    let mut ear = Ear::at(&simulator).await;
    control.set_host_profile(&["host-bus-loss-mid-transfer"]).await.unwrap();
    report(&ear.bluez).await;
    soon("the end of the connection", async {
        while let Some(Ok(_)) = ear.signals.next().await {}
    })
    .await;
    // The same address works again, for everybody.
    let again = soon("the bus", async {
        let mut tick = tokio::time::interval(std::time::Duration::from_millis(10));
        loop {
            tick.tick().await;
            if let Ok(connection) = zbus::connection::Builder::address(simulator.bus_address())
                .build()
                .await
            {
                return Bluez { connection };
            }
        }
    })
    .await;
    again.owned().await;
    assert_eq!(control.counters().await.unwrap().notifications, 10);
    report(&again).await;
    eventually("all records", async || {
        let ledger = control.ledger(Some(GLUCOSE)).await.unwrap();
        ledger.iter().all(|entry| entry.heard > 0).then_some(())
    })
    .await;
    simulator.stop().await.unwrap();
}

#[tokio::test]
async fn calls_fail_as_ordered_and_as_often_as_ordered() {
    let (simulator, mut control) = start(&busy()).await;
    let bluez = Bluez::at(simulator.bus_address()).await;
    let path = device_path(CUFF_ADDRESS);
    bluez.discover(&path).await;
    control.set_host_profile(&["host-in-progress"]).await.unwrap();
    for _ in 0..2 {
        assert_eq!(named(bluez.call(&path, DEVICE, "Connect", &()).await), IN_PROGRESS);
        assert_eq!(
            named(bluez.call(ADAPTER_PATH, ADAPTER, "StartDiscovery", &()).await),
            IN_PROGRESS
        );
    }
    bluez.call(ADAPTER_PATH, ADAPTER, "StartDiscovery", &()).await.unwrap();
    bluez.call(ADAPTER_PATH, ADAPTER, "StopDiscovery", &()).await.unwrap();
    bluez.call(&path, DEVICE, "Connect", &()).await.unwrap();
    bluez.call(&path, DEVICE, "Disconnect", &()).await.unwrap();

    control.set_host_profile(&["host-connect-fails"]).await.unwrap();
    for _ in 0..2 {
        let failed = bluez.call(&path, DEVICE, "Connect", &()).await.unwrap_err();
        let expected = (
            "org.bluez.Error.Failed".to_owned(),
            "le-connection-abort-by-local".to_owned(),
        );
        assert_eq!(failed, expected);
    }
    bluez.call(&path, DEVICE, "Connect", &()).await.unwrap();

    control.set_host_profile(&["host-pairing-rejected"]).await.unwrap();
    let rejected = bluez.call(&path, DEVICE, "Pair", &()).await;
    assert_eq!(named(rejected), "org.bluez.Error.AuthenticationRejected");
    bluez.call(&path, DEVICE, "Pair", &()).await.unwrap();
    assert_eq!(acted(&mut control).await, 7);
    assert_eq!(control.list().await.unwrap().host_profiles, ["host-pairing-rejected"]);

    // What makes no sense is refused, and changes nothing.
    let nameless = faults(|faults| {
        faults.failures.push(Failure {
            what: "Connect".to_owned(),
            error: "not a name".to_owned(),
            message: String::new(),
            times: None,
        });
    });
    assert!(control.host_faults(nameless).await.is_err());
    assert!(control.set_host_profile(&["clock-unset"]).await.is_err());
    assert!(control.set_host_profile(&["no-such-profile"]).await.is_err());
    assert_eq!(control.list().await.unwrap().host_profiles, ["host-pairing-rejected"]);
    simulator.stop().await.unwrap();
}

#[tokio::test]
async fn a_device_vanishes_under_a_call() {
    let (simulator, mut control) = start(&busy()).await;
    let bluez = Bluez::at(simulator.bus_address()).await;
    let path = device_path(GLUCOSE_ADDRESS);
    bluez.discover(&path).await;
    control
        .set_host_profile(&["host-device-vanishes-before-connect"])
        .await
        .unwrap();
    assert_eq!(named(bluez.call(&path, DEVICE, "Connect", &()).await), NO_OBJECT);
    assert!(!bluez.objects().await.contains_key(&path));

    control.set_host_profile(&["host-device-vanishes"]).await.unwrap();
    bluez.connect(GLUCOSE_ADDRESS).await;
    let control_point = bluez
        .characteristic(GLUCOSE_ADDRESS, uuid16::RECORD_ACCESS_CONTROL_POINT)
        .await;
    assert_eq!(named(bluez.write(&control_point, &[4, 1], "request").await), NO_OBJECT);
    let state = control.meter(GLUCOSE).await.unwrap().unwrap();
    assert!(!state.known && !state.connected);
    report(&bluez).await;
    simulator.stop().await.unwrap();
}

#[tokio::test]
async fn a_subscription_that_is_not_answered_may_be_taken_back_only_when_the_link_is_down() {
    let (simulator, mut control) = start(&busy()).await;
    let mut ear = Ear::at(&simulator).await;
    let path = device_path(CUFF_ADDRESS);
    ear.bluez.discover(&path).await;
    // The call waits for ever, so it is made by somebody who does not wait with it.
    let unanswered = async |ear: &Ear, control: &mut Client| {
        control
            .set_host_profile(&["host-subscription-unanswered"])
            .await
            .unwrap();
        let before = control.counters().await.unwrap().host_faults;
        ear.bluez.connect(CUFF_ADDRESS).await;
        let measurement = ear
            .bluez
            .characteristic(CUFF_ADDRESS, uuid16::BLOOD_PRESSURE_MEASUREMENT)
            .await;
        tokio::select! {
            biased;
            answer = ear.bluez.characteristic_call(&measurement, "StartNotify") => panic!("{answer:?}"),
            () = eventually("silence", async || {
                (control.counters().await.unwrap().host_faults > before).then_some(())
            }) => {}
        }
        measurement
    };

    let measurement = unanswered(&ear, &mut control).await;
    ear.bluez.call(&path, DEVICE, "Disconnect", &()).await.unwrap();
    ear.bluez.characteristic_call(&measurement, "StopNotify").await.unwrap();
    // The rule has acted once: the next subscription is answered.
    ear.bluez.connect(CUFF_ADDRESS).await;
    ear.bluez
        .characteristic_call(&measurement, "StartNotify")
        .await
        .unwrap();
    ear.bluez.call(&path, DEVICE, "Disconnect", &()).await.unwrap();
    ear.bluez.characteristic_call(&measurement, "StopNotify").await.unwrap();

    let measurement = unanswered(&ear, &mut control).await;
    ear.bluez.characteristic_call(&measurement, "StopNotify").await.ok();
    ear.until("the end of bluetoothd", |heard| heard.member == "NameOwnerChanged")
        .await;
    simulator.stop().await.unwrap();
}

#[tokio::test]
async fn services_are_resolved_never_late_early_or_before_their_objects() {
    let (simulator, mut control) = start(&busy()).await;
    let mut ear = Ear::at(&simulator).await;
    let path = device_path(CUFF_ADDRESS);
    ear.bluez.discover(&path).await;
    let resolved = async |bluez: &Bluez| bluez.property(&path, DEVICE, "ServicesResolved").await == Variant::from(true);
    let has_objects = async |bluez: &Bluez| bluez.objects().await.keys().any(|found| found.contains("/service"));

    control.set_host_profile(&["host-services-never"]).await.unwrap();
    ear.bluez.call(&path, DEVICE, "Connect", &()).await.unwrap();
    assert!(!resolved(&ear.bluez).await && !has_objects(&ear.bluez).await);
    ear.bluez.call(&path, DEVICE, "Disconnect", &()).await.unwrap();

    // Late: nothing when Connect is answered.
    control.set_host_profile(&["host-services-late"]).await.unwrap();
    ear.bluez.call(&path, DEVICE, "Connect", &()).await.unwrap();
    assert!(!resolved(&ear.bluez).await);
    ear.bluez.resolved(&path).await;
    assert!(has_objects(&ear.bluez).await);
    ear.bluez.call(&path, DEVICE, "Disconnect", &()).await.unwrap();

    // Objects that were there stay there; a stranger has none yet.
    let path = device_path(GLUCOSE_ADDRESS);
    control
        .set_host_profile(&["host-services-before-objects"])
        .await
        .unwrap();
    ear.bluez.discover(&path).await;
    ear.bluez.call(&path, DEVICE, "Connect", &()).await.unwrap();
    let early = ear
        .until("the claim or an object", |heard| {
            heard.path.starts_with(&path)
                && (heard.changed.contains_key("ServicesResolved") || heard.path.contains("/service"))
        })
        .await;
    assert!(early.changed.contains_key("ServicesResolved"), "{early:?}");
    eventually("the objects", async || {
        let objects = ear.bluez.objects().await;
        objects
            .keys()
            .any(|found| found.starts_with(&path) && found.contains("/service"))
            .then_some(())
    })
    .await;
    ear.bluez.call(&path, DEVICE, "Disconnect", &()).await.unwrap();

    control.set_host_profile(&["host-services-early"]).await.unwrap();
    ear.bluez.call(&path, DEVICE, "Connect", &()).await.unwrap();
    assert_eq!(
        ear.bluez.property(&path, DEVICE, "ServicesResolved").await,
        Variant::from(true)
    );
    assert_eq!(acted(&mut control).await, 4);
    simulator.stop().await.unwrap();
}

#[tokio::test]
async fn a_slow_host_answers_late_and_a_pending_session_is_in_progress() {
    let (simulator, mut control) = start(&busy()).await;
    let bluez = Bluez::at(simulator.bus_address()).await;
    bluez.connect(CUFF_ADDRESS).await;
    let measurement = bluez
        .characteristic(CUFF_ADDRESS, uuid16::BLOOD_PRESSURE_MEASUREMENT)
        .await;
    let slow = faults(|faults| {
        faults.delays.push(Delay {
            what: "StartNotify".to_owned(),
            ms: 200,
        });
    });
    control.host_faults(slow).await.unwrap();
    let first = bluez.characteristic_call(&measurement, "StartNotify");
    let second = bluez.characteristic_call(&measurement, "StartNotify");
    let (first, second) = tokio::join!(first, second);
    first.unwrap();
    assert_eq!(named(second), IN_PROGRESS);
    assert_eq!(
        bluez.property(&measurement, CHARACTERISTIC, "Notifying").await,
        Variant::from(true)
    );

    // Everything is slow: a call that is not delayed, on a path that is, is answered in its own time.
    control.set_host_profile(&["host-slow-replies"]).await.unwrap();
    let before = acted(&mut control).await;
    bluez.characteristic_call(&measurement, "StopNotify").await.unwrap();
    assert_eq!(acted(&mut control).await, before + 1);
    simulator.stop().await.unwrap();
}

#[tokio::test]
async fn signals_get_lost_come_twice_or_without_their_value() {
    let (simulator, mut control) = start(&busy()).await;
    let mut ear = Ear::at(&simulator).await;
    let path = device_path(CUFF_ADDRESS);
    ear.bluez.discover(&path).await;

    control
        .set_host_profile(&["host-loses-services-resolved"])
        .await
        .unwrap();
    ear.bluez.call(&path, DEVICE, "Connect", &()).await.unwrap();
    ear.bluez.resolved(&path).await;
    let measurement = ear
        .bluez
        .characteristic(CUFF_ADDRESS, uuid16::BLOOD_PRESSURE_MEASUREMENT)
        .await;
    ear.bluez
        .characteristic_call(&measurement, "StartNotify")
        .await
        .unwrap();
    let first = ear
        .until("the session", |heard| {
            heard.changed.contains_key("Notifying") || heard.changed.contains_key("ServicesResolved")
        })
        .await;
    assert!(first.changed.contains_key("Notifying"), "{first:?}");

    control
        .set_host_profile(&["host-loses-values", "host-doubles-values"])
        .await
        .unwrap();
    let records = [151, 152, 153];
    for systolic in records {
        control.measure_cuff(CUFF, pressure(systolic)).await.unwrap();
    }
    let ledger = control.ledger(Some(CUFF)).await.unwrap();
    assert!(ledger.iter().all(|entry| (entry.heard, entry.confirmed) == (1, 1)));
    ear.bluez.call(&path, DEVICE, "Disconnect", &()).await.unwrap();
    // The first is missing, the others are there twice.
    let hexes: Vec<String> = ear
        .values_until_gone()
        .await
        .iter()
        .map(|value| value.iter().map(|byte| format!("{byte:02x}")).collect())
        .collect();
    let expected: Vec<&str> = ledger[1..]
        .iter()
        .flat_map(|entry| [entry.hex.as_str(), entry.hex.as_str()])
        .collect();
    assert_eq!(hexes, expected);

    control
        .set_host_profile(&["host-invalidates-properties"])
        .await
        .unwrap();
    ear.bluez.call(&path, DEVICE, "Connect", &()).await.unwrap();
    let told = ear
        .until("the change", |heard| {
            heard.invalidated.iter().any(|name| name == "Connected")
        })
        .await;
    assert!(told.changed.is_empty());
    assert_eq!(
        ear.bluez.property(&path, DEVICE, "Connected").await,
        Variant::from(true)
    );
    simulator.stop().await.unwrap();
}

#[tokio::test]
async fn a_link_that_ends_says_why() {
    let mut config = busy();
    config.meters[0].idle_disconnect_ms = 300;
    let (simulator, mut control) = start(&config).await;
    let mut ear = Ear::at(&simulator).await;
    let path = device_path(CUFF_ADDRESS);
    let mut reasons = Vec::new();
    for end in ["meter", "range", "client"] {
        ear.bluez.connect(CUFF_ADDRESS).await;
        match end {
            "range" => control.drop_link(CUFF, None).await.unwrap(),
            "client" => {
                ear.bluez.call(&path, DEVICE, "Disconnect", &()).await.unwrap();
            }
            _ => {}
        }
        let reason = soon("the reason", async {
            loop {
                let message = ear.signals.next().await.unwrap().unwrap();
                if message.header().member().is_some_and(|member| member == "Disconnected") {
                    return message.body().deserialize::<(String, String)>().unwrap().0;
                }
            }
        })
        .await;
        reasons.push(reason);
    }
    assert_eq!(
        reasons,
        [
            "org.bluez.Reason.Remote",
            "org.bluez.Reason.Timeout",
            "org.bluez.Reason.Local"
        ]
    );
    simulator.stop().await.unwrap();
}
