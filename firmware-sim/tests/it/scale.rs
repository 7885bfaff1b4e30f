//! A crowded neighbourhood: 200 meters and 2,000 advertisements a second on one bus, and more than one adapter.

use std::collections::{BTreeSet, HashMap};

use carepost_sim::config::{Advertise, MoreAdapter, SimConfig};
use carepost_sim::control::Client;
use futures_util::StreamExt as _;
use zbus::{MessageStream, OwnedObjectPath, OwnedVariant, Variant};

use super::contract::{ADAPTER, ADAPTER_PATH, Bluez, DEVICE, Interfaces, device_path};
use super::support::{CUFF, CUFF_ADDRESS, GLUCOSE, config, eventually, pressure, soon, start};

const METERS: usize = 200;

/// Advertisements that the test waits for: two seconds' worth.
const ADVERTISEMENTS: u64 = 4_000;

fn address(number: usize) -> String {
    format!("C4:DE:03:00:{:02X}:{:02X}", number / 256, number % 256)
}

/// So many cuffs, each advertising ten times a second.
fn crowd() -> SimConfig {
    let mut config = config();
    config.adapter.advertising_interval_ms = 100;
    let cuff = config.meters.swap_remove(0);
    config.meters = (0..METERS)
        .map(|number| {
            let mut meter = cuff.clone();
            meter.name = format!("cuff-{number}");
            meter.address = address(number);
            meter.advertise = Advertise::Always;
            meter
        })
        .collect();
    config
}

#[tokio::test]
async fn two_hundred_meters_are_heard_and_the_simulator_answers_meanwhile() {
    let (simulator, mut control) = start(&crowd()).await;
    let bluez = Bluez::at(simulator.bus_address()).await;
    let mut signals = MessageStream::from(&bluez.connection);
    let filter = HashMap::from([("DuplicateData", Variant::from(true))]);
    bluez
        .call(ADAPTER_PATH, ADAPTER, "SetDiscoveryFilter", &filter)
        .await
        .unwrap();
    bluez.call(ADAPTER_PATH, ADAPTER, "StartDiscovery", &()).await.unwrap();

    // A second client reads and writes as if it were alone, and the control interface answers every time.
    let worker = Bluez::at(simulator.bus_address()).await;
    let work = async {
        let mut answers = 0;
        while control.counters().await.unwrap().advertisements < ADVERTISEMENTS {
            let number = answers % METERS;
            let path = device_path(&address(number));
            if worker.objects().await.contains_key(&path) {
                worker.call(&path, DEVICE, "Connect", &()).await.unwrap();
                worker.resolved(&path).await;
                worker.call(&path, DEVICE, "Disconnect", &()).await.unwrap();
            }
            answers += 1;
        }
        bluez.call(ADAPTER_PATH, ADAPTER, "StopDiscovery", &()).await.unwrap();
        (answers, control)
    };
    let listening = async {
        let (mut added, mut strengths) = (Vec::new(), 0_u64);
        loop {
            let message = signals.next().await.unwrap().unwrap();
            let body = message.body();
            match message.header().member().map(|member| member.as_str()) {
                Some("InterfacesAdded") => {
                    let (path, _): (OwnedObjectPath, Interfaces<OwnedVariant>) = body.deserialize().unwrap();
                    added.push(path.to_string());
                }
                Some("PropertiesChanged") => {
                    let (_, mut changed, _): (String, HashMap<String, OwnedVariant>, Vec<String>) =
                        body.deserialize().unwrap();
                    strengths += u64::from(changed.contains_key("RSSI"));
                    // The scan began before the first strength was told, so that this is its end.
                    if changed.remove("Discovering").map(Variant::from) == Some(Variant::from(false)) {
                        return (added, strengths);
                    }
                }
                _ => {}
            }
        }
    };
    let ((answers, mut control), (added, strengths)) = soon("the crowd", async { tokio::join!(work, listening) }).await;

    let devices: Vec<&String> = added.iter().filter(|path| !path.contains("/service")).collect();
    let distinct: BTreeSet<&String> = devices.iter().copied().collect();
    assert_eq!(distinct.len(), METERS, "every meter is there");
    let counters = control.counters().await.unwrap();
    assert!(counters.advertisements >= ADVERTISEMENTS);
    // Nothing is lost on the way to a client that listens: each signal that was sent has arrived.
    assert_eq!(strengths, counters.rssi_signals);
    assert!(counters.rssi_signals <= counters.advertisements);
    assert!(answers > 0);
    assert_eq!(counters.bus_errors, 0);
    assert_eq!(control.list().await.unwrap().meters.len(), METERS);
    simulator.stop().await.unwrap();
}

fn two_adapters() -> SimConfig {
    let mut config = config();
    config.more_adapters.push(MoreAdapter {
        controller: "hci1".to_owned(),
        address: "02:00:00:CA:5E:01".to_owned(),
        name: "second".to_owned(),
    });
    config.meters.first_mut().unwrap().advertise = Advertise::Always;
    // The glucose meter stands where only the second adapter hears it.
    config.meters.last_mut().unwrap().adapters = vec!["hci1".to_owned()];
    config
}

async fn connected(control: &mut Client, meter: &str) -> bool {
    control.meter(meter).await.unwrap().unwrap().connected
}

#[tokio::test]
async fn each_adapter_hears_its_own_meters_and_one_link_at_a_time() {
    let (simulator, mut control) = start(&two_adapters()).await;
    let bluez = Bluez::at(simulator.bus_address()).await;
    let (first, second) = (
        device_path(CUFF_ADDRESS),
        device_path(CUFF_ADDRESS).replace("hci0", "hci1"),
    );
    let glucose = device_path(super::support::GLUCOSE_ADDRESS);
    for adapter in ["/org/bluez/hci0", "/org/bluez/hci1"] {
        bluez.call(adapter, ADAPTER, "StartDiscovery", &()).await.unwrap();
    }
    eventually("all three", async || {
        let objects = bluez.objects().await;
        let all = [first.as_str(), second.as_str(), &glucose.replace("hci0", "hci1")];
        all.iter().all(|path| objects.contains_key(*path)).then_some(())
    })
    .await;
    assert!(!bluez.objects().await.contains_key(&glucose));

    bluez.call(&first, DEVICE, "Connect", &()).await.unwrap();
    assert!(connected(&mut control, CUFF).await);
    assert_eq!(bluez.property(&second, DEVICE, "Connected").await, Variant::from(false));
    // A meter with a link does not advertise, so that the other adapter waits until the link is gone.
    let waiting = async {
        eventually("the attempt", async || {
            let again = bluez.call(&second, DEVICE, "Connect", &()).await;
            again.is_err().then_some(())
        })
        .await;
        bluez.call(&first, DEVICE, "Disconnect", &()).await.unwrap();
    };
    let (attempt, ()) = tokio::join!(bluez.call(&second, DEVICE, "Connect", &()), waiting);
    attempt.unwrap();
    assert_eq!(bluez.property(&second, DEVICE, "Connected").await, Variant::from(true));
    control.measure_cuff(CUFF, pressure(121)).await.unwrap();
    let state = control.list().await.unwrap();
    assert_eq!(state.more_adapters.len(), 1);
    assert_eq!(state.more_adapters[0].controller, "hci1");

    // Power is a matter of each adapter.
    control.adapter(false).await.unwrap();
    assert!(connected(&mut control, CUFF).await);
    assert!(control.meter(GLUCOSE).await.unwrap().unwrap().known);
    simulator.stop().await.unwrap();
}
