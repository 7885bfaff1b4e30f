//! The simulator under an unmodified btleplug.

use std::pin::Pin;

use btleplug::api::{
    Central as _, CentralEvent, CentralState, Characteristic, Manager as _, Peripheral as _, ScanFilter,
    ValueNotification, WriteType,
};
use btleplug::platform::{Adapter, Manager, Peripheral, PeripheralId};
use carepost_gatt::glucose::{Context, Measurement};
use carepost_gatt::racp::{Request, Response, ResultCode};
use carepost_gatt::{blood_pressure, uuid16};
use carepost_sim::control::Client;
use futures_util::{Stream, StreamExt as _};
use uuid::Uuid;

use super::scenario;
use super::support::{CUFF, CUFF_ADDRESS, GLUCOSE, GLUCOSE_ADDRESS, config, eventually, pressure, soon};

type Values = Pin<Box<dyn Stream<Item = ValueNotification> + Send>>;

/// A central with its own D-Bus connection.
struct Central {
    adapter: Adapter,
}

impl Central {
    async fn new() -> Self {
        let manager = Manager::new().await.unwrap();
        let adapter = manager
            .adapters()
            .await
            .unwrap()
            .into_iter()
            .next()
            .expect("an adapter");
        Self { adapter }
    }

    /// Scans until the meter turns up.
    async fn find(&self, address: &str) -> Peripheral {
        let mut events = self.adapter.events().await.unwrap();
        self.adapter.start_scan(ScanFilter::default()).await.unwrap();
        let found = soon("discovery", async {
            loop {
                let event = events.next().await.expect("events go on");
                let CentralEvent::DeviceDiscovered(id) = event else {
                    continue;
                };
                let peripheral = self.adapter.peripheral(&id).await.unwrap();
                if peripheral.address().to_string() == address {
                    return peripheral;
                }
            }
        })
        .await;
        self.adapter.stop_scan().await.unwrap();
        found
    }

    async fn open(&self, address: &str) -> Meter {
        let peripheral = self.find(address).await;
        soon("connection", peripheral.connect()).await.unwrap();
        soon("service discovery", peripheral.discover_services()).await.unwrap();
        let values = peripheral.notifications().await.unwrap();
        Meter { peripheral, values }
    }
}

/// A connected meter.
struct Meter {
    peripheral: Peripheral,
    values: Values,
}

fn long(uuid: u16) -> Uuid {
    uuid16::to_uuid128(uuid).parse().unwrap()
}

impl Meter {
    fn characteristic(&self, uuid: u16) -> Characteristic {
        self.peripheral
            .characteristics()
            .into_iter()
            .find(|found| found.uuid == long(uuid))
            .expect("characteristic")
    }

    async fn subscribe(&self, uuid: u16) {
        self.peripheral.subscribe(&self.characteristic(uuid)).await.unwrap();
    }

    async fn read(&self, uuid: u16) -> Vec<u8> {
        self.peripheral.read(&self.characteristic(uuid)).await.unwrap()
    }

    async fn request(&self, request: &[u8]) -> Result<(), btleplug::Error> {
        let control_point = self.characteristic(uuid16::RECORD_ACCESS_CONTROL_POINT);
        self.peripheral
            .write(&control_point, request, WriteType::WithResponse)
            .await
    }

    /// The next value of one of these characteristics.
    async fn value(&mut self, uuids: &[u16]) -> (u16, Vec<u8>) {
        soon("a value", async {
            loop {
                let value = self.values.next().await.expect("values go on");
                if let Some(uuid) = uuids.iter().find(|uuid| long(**uuid) == value.uuid) {
                    return (*uuid, value.value);
                }
            }
        })
        .await
    }

    async fn pressure(&mut self) -> Vec<u8> {
        self.value(&[uuid16::BLOOD_PRESSURE_MEASUREMENT]).await.1
    }

    async fn answer(&mut self) -> Response {
        let (_, bytes) = self.value(&[uuid16::RECORD_ACCESS_CONTROL_POINT]).await;
        Response::decode(&bytes).unwrap().value
    }
}

async fn hexes(control: &mut Client, meter: &str) -> Vec<String> {
    control
        .ledger(Some(meter))
        .await
        .unwrap()
        .into_iter()
        .map(|entry| entry.hex)
        .collect()
}

fn is_gone(event: &CentralEvent, id: &PeripheralId) -> bool {
    matches!(event, CentralEvent::DeviceDisconnected(gone) if gone == id)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn sixty_glucose_records_come_with_their_contexts() {
    scenario::run(
        "btle::sixty_glucose_records_come_with_their_contexts",
        &config(),
        |mut control| async move {
            let mut meter = Central::new().await.open(GLUCOSE_ADDRESS).await;
            let feature = meter.read(uuid16::GLUCOSE_FEATURE).await;
            assert_eq!(feature, [0xFF, 0x03]);
            assert_eq!(meter.read(uuid16::DATE_TIME).await.len(), 7);

            // Nobody has asked for the answers yet.
            let refused = meter.request(&[1, 1]).await.unwrap_err().to_string();
            assert!(refused.ends_with("ATT error: 0x81"), "{refused}");

            for uuid in [
                uuid16::GLUCOSE_MEASUREMENT,
                uuid16::GLUCOSE_CONTEXT,
                uuid16::RECORD_ACCESS_CONTROL_POINT,
            ] {
                meter.subscribe(uuid).await;
            }
            meter
                .request(&Request::number_of_all().encode().unwrap())
                .await
                .unwrap();
            assert_eq!(meter.answer().await, Response::number(60));

            meter.request(&Request::report_all().encode().unwrap()).await.unwrap();
            let uuids = [
                uuid16::GLUCOSE_MEASUREMENT,
                uuid16::GLUCOSE_CONTEXT,
                uuid16::RECORD_ACCESS_CONTROL_POINT,
            ];
            let mut received = Vec::new();
            for sequence in 1..=60 {
                let (uuid, bytes) = meter.value(&uuids).await;
                assert_eq!(uuid, uuid16::GLUCOSE_MEASUREMENT);
                let record = Measurement::decode(&bytes).unwrap().value;
                assert_eq!((record.sequence, record.context_follows), (sequence, true));
                received.push(hex(&bytes));
                let (uuid, bytes) = meter.value(&uuids).await;
                assert_eq!(uuid, uuid16::GLUCOSE_CONTEXT);
                assert_eq!(Context::decode(&bytes).unwrap().value.sequence, sequence);
            }
            assert!(matches!(
                meter.answer().await,
                Response::Result {
                    code: ResultCode::Success,
                    ..
                }
            ));
            assert_eq!(received, hexes(&mut control, GLUCOSE).await);

            meter
                .request(&Request::report_from(61).encode().unwrap())
                .await
                .unwrap();
            assert!(matches!(
                meter.answer().await,
                Response::Result {
                    code: ResultCode::NoRecordsFound,
                    ..
                }
            ));
            meter
                .request(&Request::report_from(60).encode().unwrap())
                .await
                .unwrap();
            let (_, last) = meter.value(&[uuid16::GLUCOSE_MEASUREMENT]).await;
            assert_eq!(hex(&last), received[59]);

            let counters = control.counters().await.unwrap();
            assert_eq!((counters.unheard, counters.att_errors, counters.connections), (0, 1, 1));
        },
    );
}

#[test]
fn a_cuff_gives_its_records_oldest_first_and_goes_away() {
    let mut config = config();
    config.meters[0].idle_disconnect_ms = 300;
    scenario::run(
        "btle::a_cuff_gives_its_records_oldest_first_and_goes_away",
        &config,
        |mut control| async move {
            control
                .add_cuff_records(CUFF, [121, 122, 123].map(pressure).to_vec())
                .await
                .unwrap();
            let central = Central::new().await;
            let mut events = central.adapter.events().await.unwrap();
            control.press_transfer(CUFF).await.unwrap();
            let mut meter = central.open(CUFF_ADDRESS).await;
            let properties = meter.peripheral.properties().await.unwrap().unwrap();
            assert_eq!(properties.local_name.as_deref(), Some("BP"));
            assert!(properties.services.contains(&long(uuid16::BLOOD_PRESSURE_SERVICE)));
            // BlueZ keeps the Battery Service to itself.
            assert!(
                meter
                    .peripheral
                    .services()
                    .iter()
                    .all(|service| service.uuid != long(uuid16::BATTERY_SERVICE))
            );
            assert_eq!(meter.read(uuid16::MANUFACTURER_NAME).await, b"Maker");
            assert_eq!(meter.read(uuid16::BLOOD_PRESSURE_FEATURE).await, [0x1F, 0x00]);
            assert_eq!(meter.read(uuid16::CURRENT_TIME).await.len(), 10);

            meter.subscribe(uuid16::BLOOD_PRESSURE_MEASUREMENT).await;
            for systolic in [121, 122, 123] {
                let record = blood_pressure::Measurement::decode(&meter.pressure().await)
                    .unwrap()
                    .value;
                assert_eq!(record.systolic_mmhg(), Some(carepost_gatt::Decimal::new(systolic, 0)));
                assert!(record.timestamp.is_some());
            }
            let id = meter.peripheral.id();
            soon("the idle disconnection", async {
                while !is_gone(&events.next().await.expect("events go on"), &id) {}
            })
            .await;
            for entry in control.ledger(Some(CUFF)).await.unwrap() {
                assert_eq!((entry.sent, entry.heard, entry.confirmed), (1, 1, 1));
            }
            let state = control.meter(CUFF).await.unwrap().unwrap();
            assert_eq!(
                (state.stored, state.unsent, state.connected, state.advertising),
                (3, 0, false, false)
            );
        },
    );
}

#[test]
fn an_indication_that_nobody_listens_to_is_confirmed_and_lost() {
    let mut config = config();
    config.meters[0].keeps_subscriptions = true;
    config.meters[0].cuff.after_confirm = carepost_sim::meters::AfterConfirm::Delete;
    let name = "btle::an_indication_that_nobody_listens_to_is_confirmed_and_lost";
    scenario::run(name, &config, |mut control| async move {
        // A first client subscribes and dies while the cuff is out of reach, so that nobody takes the subscription
        // back from the cuff.
        control.press_transfer(CUFF).await.unwrap();
        let first = super::contract::Bluez::from_environment().await;
        first.connect(CUFF_ADDRESS).await;
        let path = first
            .characteristic(CUFF_ADDRESS, uuid16::BLOOD_PRESSURE_MEASUREMENT)
            .await;
        first.characteristic_call(&path, "StartNotify").await.unwrap();
        control.drop_link(CUFF, None).await.unwrap();
        first.leave().await;
        eventually("the end of the session", async || {
            let state = control.meter(CUFF).await.unwrap().unwrap();
            (state.sessions == 0 && !state.connected).then_some(())
        })
        .await;

        let lost = control.measure_cuff(CUFF, pressure(131)).await.unwrap();
        let mut meter = Central::new().await.open(CUFF_ADDRESS).await;
        meter.subscribe(uuid16::BLOOD_PRESSURE_MEASUREMENT).await;
        let heard = control.measure_cuff(CUFF, pressure(132)).await.unwrap();
        // The first value to arrive is that of the second measurement: the first one is gone.
        assert_eq!(hex(&meter.pressure().await), heard.hex);

        let ledger = control.ledger(Some(CUFF)).await.unwrap();
        assert_eq!(
            (ledger[0].hex.as_str(), ledger[0].confirmed, ledger[0].is_lost()),
            (lost.hex.as_str(), 1, true)
        );
        assert!(!ledger[1].is_lost());
        assert_eq!(control.meter(CUFF).await.unwrap().unwrap().stored, 0);
    });
}

#[test]
fn two_clients_have_sessions_of_their_own() {
    scenario::run(
        "btle::two_clients_have_sessions_of_their_own",
        &config(),
        |mut control| async move {
            control.press_transfer(CUFF).await.unwrap();
            let (one, two) = (Central::new().await, Central::new().await);
            let mut first = one.open(CUFF_ADDRESS).await;
            // The second one finds the link up already.
            let mut second = two.open(CUFF_ADDRESS).await;
            first.subscribe(uuid16::BLOOD_PRESSURE_MEASUREMENT).await;
            first.subscribe(uuid16::BLOOD_PRESSURE_MEASUREMENT).await;
            second.subscribe(uuid16::BLOOD_PRESSURE_MEASUREMENT).await;
            assert_eq!(control.meter(CUFF).await.unwrap().unwrap().sessions, 2);

            // BlueZ signals once for each session, and both hear both signals.
            let shared = control.measure_cuff(CUFF, pressure(141)).await.unwrap();
            for meter in [&mut first, &mut second] {
                assert_eq!(hex(&meter.pressure().await), shared.hex);
                assert_eq!(hex(&meter.pressure().await), shared.hex);
            }
            let characteristic = second.characteristic(uuid16::BLOOD_PRESSURE_MEASUREMENT);
            second.peripheral.unsubscribe(&characteristic).await.unwrap();
            second.peripheral.unsubscribe(&characteristic).await.unwrap();
            let alone = control.measure_cuff(CUFF, pressure(142)).await.unwrap();
            assert_eq!(hex(&first.pressure().await), alone.hex);
            let next = control.measure_cuff(CUFF, pressure(143)).await.unwrap();
            assert_eq!(hex(&first.pressure().await), next.hex);
        },
    );
}

#[test]
fn a_transfer_goes_on_after_a_lost_link() {
    scenario::run(
        "btle::a_transfer_goes_on_after_a_lost_link",
        &config(),
        |mut control| async move {
            let central = Central::new().await;
            let mut events = central.adapter.events().await.unwrap();
            // 20 records with their contexts, and half of another one.
            control.drop_link(GLUCOSE, Some(41)).await.unwrap();
            let uuids = [
                uuid16::GLUCOSE_MEASUREMENT,
                uuid16::GLUCOSE_CONTEXT,
                uuid16::RECORD_ACCESS_CONTROL_POINT,
            ];
            let mut meter = central.open(GLUCOSE_ADDRESS).await;
            for uuid in uuids {
                meter.subscribe(uuid).await;
            }
            meter.request(&Request::report_all().encode().unwrap()).await.unwrap();
            let mut received = Vec::new();
            for _ in 0..41 {
                received.push(meter.value(&uuids).await);
            }
            let id = meter.peripheral.id();
            soon("the lost link", async {
                while !is_gone(&events.next().await.expect("events go on"), &id) {}
            })
            .await;
            assert_eq!(
                received
                    .iter()
                    .filter(|(uuid, _)| *uuid == uuid16::GLUCOSE_MEASUREMENT)
                    .count(),
                21
            );

            // The sessions are still there: the next link needs no new subscription.
            soon("connection", meter.peripheral.connect()).await.unwrap();
            meter
                .request(&Request::report_from(21).encode().unwrap())
                .await
                .unwrap();
            let (uuid, bytes) = meter.value(&uuids).await;
            assert_eq!(uuid, uuid16::GLUCOSE_MEASUREMENT);
            assert_eq!(Measurement::decode(&bytes).unwrap().value.sequence, 21);
            for _ in 0..79 {
                let (uuid, _) = meter.value(&uuids).await;
                assert_ne!(uuid, uuid16::RECORD_ACCESS_CONTROL_POINT);
            }
            assert!(matches!(
                meter.answer().await,
                Response::Result {
                    code: ResultCode::Success,
                    ..
                }
            ));
        },
    );
}

#[test]
fn the_adapter_goes_off_and_comes_back() {
    scenario::run(
        "btle::the_adapter_goes_off_and_comes_back",
        &config(),
        |mut control| async move {
            let central = Central::new().await;
            let mut events = central.adapter.events().await.unwrap();
            let meter = central.open(GLUCOSE_ADDRESS).await;
            control.adapter(false).await.unwrap();
            let id = meter.peripheral.id();
            soon("the disconnection", async {
                while !is_gone(&events.next().await.expect("events go on"), &id) {}
            })
            .await;
            soon("the state", async {
                let is_off = |event| matches!(event, CentralEvent::StateUpdate(CentralState::PoweredOff));
                while !is_off(events.next().await.expect("events go on")) {}
            })
            .await;
            let refused = meter.peripheral.connect().await.unwrap_err().to_string();
            assert!(refused.contains("Resource Not Ready"), "{refused}");
            let refused = central
                .adapter
                .start_scan(ScanFilter::default())
                .await
                .unwrap_err()
                .to_string();
            assert!(refused.contains("rfkill"), "{refused}");

            control.adapter(true).await.unwrap();
            assert_eq!(central.adapter.adapter_state().await.unwrap(), CentralState::PoweredOn);
            let again = central.open(GLUCOSE_ADDRESS).await;
            assert_eq!(again.read(uuid16::GLUCOSE_FEATURE).await.len(), 2);
        },
    );
}

#[test]
fn a_protected_meter_is_paired_through_the_agent_of_another_connection() {
    let mut config = config();
    config.meters[0].advertise = carepost_sim::config::Advertise::Always;
    config.meters[0].security.demands = carepost_sim::meters::security::Demand::Authentication;
    config.meters[0].security.io = carepost_sim::meters::IoCapability::DisplayOnly;
    let name = "btle::a_protected_meter_is_paired_through_the_agent_of_another_connection";
    scenario::run(name, &config, |mut control| async move {
        // This client cannot pair; what it does makes BlueZ pair, and the default agent is asked.
        let mut agent = super::pairing::Agent::from_environment("KeyboardDisplay").await;
        let mut meter = Central::new().await.open(CUFF_ADDRESS).await;
        let typing = async {
            let question = agent.asked("RequestPasskey").await;
            let shown = control.display(CUFF).await.unwrap().shows.expect("a passkey");
            let number: u32 = shown.parse().unwrap();
            agent.answer(&question, &number).await;
        };
        let subscribing = meter.subscribe(uuid16::BLOOD_PRESSURE_MEASUREMENT);
        tokio::join!(subscribing, typing);
        assert!(control.meter(CUFF).await.unwrap().unwrap().bonded);
        let made = control.measure_cuff(CUFF, pressure(129)).await.unwrap();
        assert_eq!(hex(&meter.pressure().await), made.hex);

        // On the next link the bond is used, and nobody is asked again.
        meter.peripheral.disconnect().await.unwrap();
        soon("connection", meter.peripheral.connect()).await.unwrap();
        let made = control.measure_cuff(CUFF, pressure(130)).await.unwrap();
        assert_eq!(hex(&meter.pressure().await), made.hex);
        let counters = control.counters().await.unwrap();
        assert_eq!((counters.pairings, counters.att_errors, counters.unheard), (1, 1, 0));
    });
}
