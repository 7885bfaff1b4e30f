//! The D-Bus contract as a plain client sees it: names of errors, paths, properties, lifetimes.

use std::collections::HashMap;

use carepost_gatt::uuid16;
use carepost_sim::control::CuffRecord;
use futures_util::StreamExt as _;
use zbus::message::{Message, Type};
use zbus::{Connection, MessageStream, OwnedObjectPath, OwnedVariant, Variant};

use super::support::{CUFF, CUFF_ADDRESS, GLUCOSE, GLUCOSE_ADDRESS, config, eventually, pressure, soon, start};

pub(crate) const ADAPTER_PATH: &str = "/org/bluez/hci0";
pub(crate) const ADAPTER: &str = "org.bluez.Adapter1";
pub(crate) const DEVICE: &str = "org.bluez.Device1";
pub(crate) const CHARACTERISTIC: &str = "org.bluez.GattCharacteristic1";

pub(crate) type Interfaces<V> = HashMap<String, HashMap<String, V>>;

/// A BlueZ client made of plain calls.
pub(crate) struct Bluez {
    pub(crate) connection: Connection,
}

impl Bluez {
    pub(crate) async fn at(address: &str) -> Self {
        Self {
            connection: zbus::connection::Builder::address(address).build().await.unwrap(),
        }
    }

    pub(crate) async fn from_environment() -> Self {
        Self::at(&std::env::var("DBUS_SYSTEM_BUS_ADDRESS").unwrap()).await
    }

    pub(crate) async fn call<B>(
        &self,
        path: &str,
        interface: &str,
        member: &str,
        body: &B,
    ) -> Result<Message, (String, String)>
    where
        B: serde::Serialize + zbus::wire::DynamicType,
    {
        let call = self
            .connection
            .call_method(Some("org.bluez"), path, Some(interface), member, body);
        match soon(member, call).await {
            Ok(reply) => Ok(reply),
            Err(zbus::Error::MethodError(name, message, _)) => Err((name.to_string(), message.unwrap_or_default())),
            Err(zbus::Error::FDO(error)) => {
                let text = error.to_string();
                let (name, message) = text.split_once(": ").unwrap_or((&text, ""));
                Err((name.to_owned(), message.to_owned()))
            }
            Err(other) => panic!("{member}: {other}"),
        }
    }

    pub(crate) async fn objects(&self) -> HashMap<String, Interfaces<Variant<'static>>> {
        let reply = self
            .call("/", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects", &())
            .await
            .unwrap();
        let objects: HashMap<OwnedObjectPath, Interfaces<OwnedVariant>> = reply.body().deserialize().unwrap();
        let values = |values: HashMap<String, OwnedVariant>| {
            values
                .into_iter()
                .map(|(name, value)| (name, Variant::from(value)))
                .collect()
        };
        let interfaces = |interfaces: Interfaces<OwnedVariant>| {
            interfaces
                .into_iter()
                .map(|(name, found)| (name, values(found)))
                .collect()
        };
        objects
            .into_iter()
            .map(|(path, found)| (path.to_string(), interfaces(found)))
            .collect()
    }

    pub(crate) async fn property(&self, path: &str, interface: &str, name: &str) -> Variant<'static> {
        let reply = self
            .call(path, "org.freedesktop.DBus.Properties", "Get", &(interface, name))
            .await
            .unwrap();
        let value: OwnedVariant = reply.body().deserialize().unwrap();
        value.into()
    }

    pub(crate) async fn set(
        &self,
        path: &str,
        interface: &str,
        name: &str,
        value: Variant<'_>,
    ) -> Result<(), (String, String)> {
        let body = (interface, name, value);
        self.call(path, "org.freedesktop.DBus.Properties", "Set", &body)
            .await
            .map(drop)
    }

    /// Scans until the device is known.
    pub(crate) async fn discover(&self, path: &str) {
        self.call(ADAPTER_PATH, ADAPTER, "StartDiscovery", &()).await.unwrap();
        eventually("discovery", async || {
            self.objects().await.contains_key(path).then_some(())
        })
        .await;
        self.call(ADAPTER_PATH, ADAPTER, "StopDiscovery", &()).await.unwrap();
    }

    /// Waits until `org.bluez` has an owner. The private bus drops calls to a name that nobody owns, where a system bus
    /// answers them with an error.
    pub(crate) async fn owned(&self) {
        let bus = Some("org.freedesktop.DBus");
        eventually("an owner of the name", async || {
            let asked = self
                .connection
                .call_method(bus, "/org/freedesktop/DBus", bus, "NameHasOwner", &"org.bluez");
            let reply = asked.await.unwrap();
            reply.body().deserialize::<bool>().unwrap().then_some(())
        })
        .await;
    }

    /// Waits for the services of a device.
    pub(crate) async fn resolved(&self, path: &str) {
        eventually("services", async || {
            (self.property(path, DEVICE, "ServicesResolved").await == Variant::from(true)).then_some(())
        })
        .await;
    }

    /// Scans until the device is known, connects, and waits for its services.
    pub(crate) async fn connect(&self, address: &str) {
        let path = device_path(address);
        self.discover(&path).await;
        self.call(&path, DEVICE, "Connect", &()).await.unwrap();
        self.resolved(&path).await;
    }

    pub(crate) async fn characteristic(&self, address: &str, uuid: u16) -> String {
        let wanted = Variant::from(uuid16::to_uuid128(uuid));
        let device = device_path(address);
        let objects = self.objects().await;
        let found = objects.into_iter().find(|(path, interfaces)| {
            let is_it = interfaces
                .get(CHARACTERISTIC)
                .is_some_and(|values| values["UUID"] == wanted);
            path.starts_with(&device) && is_it
        });
        found.expect("characteristic").0
    }

    pub(crate) async fn characteristic_call(&self, path: &str, member: &str) -> Result<(), (String, String)> {
        self.call(path, CHARACTERISTIC, member, &()).await.map(drop)
    }

    pub(crate) async fn write(&self, path: &str, value: &[u8], kind: &str) -> Result<(), (String, String)> {
        let options = HashMap::from([("type", Variant::from(kind))]);
        self.call(path, CHARACTERISTIC, "WriteValue", &(value, options))
            .await
            .map(drop)
    }

    pub(crate) async fn read(&self, path: &str) -> Result<Vec<u8>, (String, String)> {
        let options = HashMap::<&str, Variant<'_>>::new();
        let reply = self.call(path, CHARACTERISTIC, "ReadValue", &options).await?;
        Ok(reply.body().deserialize().unwrap())
    }

    /// Leaves the bus, as a killed process does.
    pub(crate) async fn leave(self) {
        self.connection.close().await.unwrap();
    }
}

pub(crate) fn device_path(address: &str) -> String {
    format!("{ADAPTER_PATH}/dev_{}", address.replace(':', "_"))
}

pub(crate) fn named<T>(result: Result<T, (String, String)>) -> String {
    result.map(drop).unwrap_err().0
}

#[tokio::test]
async fn mandatory_properties_and_real_paths_are_there() {
    let (simulator, _control) = start(&config()).await;
    let bluez = Bluez::at(simulator.bus_address()).await;
    bluez.connect(GLUCOSE_ADDRESS).await;
    let objects = bluez.objects().await;

    let adapter = &objects[ADAPTER_PATH][ADAPTER];
    for name in [
        "Address",
        "AddressType",
        "Modalias",
        "Name",
        "Alias",
        "Powered",
        "Discovering",
    ] {
        assert!(adapter.contains_key(name), "{name}");
    }
    let path = device_path(GLUCOSE_ADDRESS);
    assert_eq!(path, "/org/bluez/hci0/dev_C4_DE_02_00_00_01");
    let device = &objects[path.as_str()][DEVICE];
    for name in [
        "Address",
        "AddressType",
        "Paired",
        "Connected",
        "ServicesResolved",
        "Trusted",
        "Blocked",
    ] {
        assert!(device.contains_key(name), "{name}");
    }
    assert!(device.contains_key("LegacyPairing"));
    let measurement = bluez.characteristic(GLUCOSE_ADDRESS, uuid16::GLUCOSE_MEASUREMENT).await;
    assert_eq!(measurement, format!("{path}/service000a/char000b"));
    assert!(objects.contains_key(&format!("{measurement}/desc000d")));
    assert_eq!(
        objects[measurement.as_str()][CHARACTERISTIC]["Flags"],
        Variant::from(vec!["notify"])
    );

    let introspectable = "org.freedesktop.DBus.Introspectable";
    let xml: String = bluez
        .call(&path, introspectable, "Introspect", &())
        .await
        .unwrap()
        .body()
        .deserialize()
        .unwrap();
    assert!(
        xml.contains("<node name=\"service000a\"/>") && !xml.contains("char000b"),
        "{xml}"
    );
    simulator.stop().await.unwrap();
}

#[tokio::test]
async fn errors_have_the_names_of_bluez() {
    let (simulator, control) = start(&config()).await;
    let bluez = Bluez::at(simulator.bus_address()).await;
    let path = device_path(GLUCOSE_ADDRESS);
    assert_eq!(
        named(bluez.call(&path, DEVICE, "Connect", &()).await),
        "org.freedesktop.DBus.Error.UnknownObject"
    );
    let unknown = bluez.call(ADAPTER_PATH, ADAPTER, "Dance", &()).await;
    assert_eq!(named(unknown), "org.freedesktop.DBus.Error.UnknownMethod");
    assert_eq!(
        named(bluez.call(ADAPTER_PATH, ADAPTER, "StopDiscovery", &()).await),
        "org.bluez.Error.Failed"
    );
    let filter = HashMap::from([("Colour", Variant::from("red"))]);
    let refused = bluez.call(ADAPTER_PATH, ADAPTER, "SetDiscoveryFilter", &filter).await;
    assert_eq!(named(refused), "org.bluez.Error.InvalidArguments");
    let refused = bluez
        .call(ADAPTER_PATH, ADAPTER, "SetDiscoveryFilter", &"not a dictionary")
        .await;
    assert_eq!(named(refused), "org.bluez.Error.InvalidArguments");
    bluez.set(ADAPTER_PATH, ADAPTER, "Powered", true.into()).await.unwrap();
    let refused = bluez
        .set(ADAPTER_PATH, ADAPTER, "Address", "00:00:00:00:00:00".into())
        .await;
    assert_eq!(named(refused), "org.freedesktop.DBus.Error.PropertyReadOnly");
    let refused = bluez.set(ADAPTER_PATH, ADAPTER, "Powered", "yes".into()).await;
    assert_eq!(named(refused), "org.bluez.Error.InvalidArguments");

    bluez.call(ADAPTER_PATH, ADAPTER, "StartDiscovery", &()).await.unwrap();
    let again = bluez.call(ADAPTER_PATH, ADAPTER, "StartDiscovery", &()).await;
    assert_eq!(named(again), "org.bluez.Error.InProgress");
    bluez.call(ADAPTER_PATH, ADAPTER, "StopDiscovery", &()).await.unwrap();

    bluez.connect(GLUCOSE_ADDRESS).await;
    let measurement = bluez.characteristic(GLUCOSE_ADDRESS, uuid16::GLUCOSE_MEASUREMENT).await;
    let feature = bluez.characteristic(GLUCOSE_ADDRESS, uuid16::GLUCOSE_FEATURE).await;
    let control_point = bluez
        .characteristic(GLUCOSE_ADDRESS, uuid16::RECORD_ACCESS_CONTROL_POINT)
        .await;
    assert_eq!(named(bluez.read(&measurement).await), "org.bluez.Error.NotPermitted");
    assert_eq!(
        named(bluez.write(&measurement, &[1], "request").await),
        "org.bluez.Error.NotSupported"
    );
    assert_eq!(
        named(bluez.characteristic_call(&feature, "StartNotify").await),
        "org.bluez.Error.NotSupported"
    );
    let none = bluez.characteristic_call(&measurement, "StopNotify").await.unwrap_err();
    assert_eq!(
        none,
        (
            "org.bluez.Error.Failed".to_owned(),
            "No notify session started".to_owned()
        )
    );
    assert_eq!(
        named(bluez.write(&control_point, &[1, 1], "command").await),
        "org.bluez.Error.NotSupported"
    );
    let long = bluez.write(&control_point, &[0; 513], "request").await;
    assert_eq!(named(long), "org.bluez.Error.InvalidArguments");
    bluez.characteristic_call(&control_point, "StartNotify").await.unwrap();
    assert_eq!(
        named(bluez.write(&control_point, &[1], "request").await),
        "org.bluez.Error.InvalidArguments"
    );
    let (name, message) = bluez.write(&control_point, &[1, 1], "request").await.unwrap_err();
    assert_eq!(name, "org.bluez.Error.Failed");
    assert!(message.ends_with("ATT error: 0x81"), "{message}");

    bluez.call(&path, DEVICE, "Disconnect", &()).await.unwrap();
    assert_eq!(
        bluez.read(&feature).await.unwrap_err(),
        ("org.bluez.Error.Failed".to_owned(), "Not connected".to_owned())
    );
    drop(control);
    simulator.stop().await.unwrap();
}

#[tokio::test]
async fn a_connection_attempt_waits_for_the_meter_and_can_be_cancelled() {
    let mut config = config();
    config.adapter.connect_timeout_ms = 200;
    let (simulator, mut control) = start(&config).await;
    let bluez = Bluez::at(simulator.bus_address()).await;
    bluez.connect(GLUCOSE_ADDRESS).await;
    let path = device_path(GLUCOSE_ADDRESS);
    control.set_range(GLUCOSE, false).await.unwrap();

    let timed_out = bluez.call(&path, DEVICE, "Connect", &()).await.unwrap_err();
    assert_eq!(
        timed_out,
        (
            "org.bluez.Error.Failed".to_owned(),
            "le-connection-abort-by-local".to_owned()
        )
    );
    let cancel = async {
        eventually("the attempt", async || {
            let second = bluez.call(&path, DEVICE, "Connect", &()).await;
            (named(second) == "org.bluez.Error.InProgress").then_some(())
        })
        .await;
        bluez.call(&path, DEVICE, "Disconnect", &()).await.unwrap();
    };
    let (attempt, ()) = tokio::join!(bluez.call(&path, DEVICE, "Connect", &()), cancel);
    assert_eq!(named(attempt), "org.bluez.Error.Failed");

    // Coming back in time completes an attempt under way.
    let back = async { control.set_range(GLUCOSE, true).await.unwrap() };
    let (attempt, ()) = tokio::join!(bluez.call(&path, DEVICE, "Connect", &()), back);
    attempt.unwrap();
    simulator.stop().await.unwrap();
}

#[tokio::test]
async fn a_device_that_is_seen_no_more_vanishes_with_everything_under_it() {
    let mut config = config();
    config.adapter.temporary_timeout_ms = 100;
    let (simulator, mut control) = start(&config).await;
    let bluez = Bluez::at(simulator.bus_address()).await;
    let mut signals = MessageStream::from(&bluez.connection);
    let rule = "type='signal',sender='org.bluez',interface='org.freedesktop.DBus.ObjectManager'";
    let bus = Some("org.freedesktop.DBus");
    bluez
        .connection
        .call_method(bus, "/org/freedesktop/DBus", bus, "AddMatch", &rule)
        .await
        .unwrap();
    bluez.connect(GLUCOSE_ADDRESS).await;
    bluez
        .call(&device_path(GLUCOSE_ADDRESS), DEVICE, "Disconnect", &())
        .await
        .unwrap();

    let mut removed = Vec::new();
    soon("the removal", async {
        while removed.last().map(String::as_str) != Some(device_path(GLUCOSE_ADDRESS).as_str()) {
            let message = signals.next().await.unwrap().unwrap();
            let is_removal = message
                .header()
                .member()
                .is_some_and(|member| member.as_str() == "InterfacesRemoved");
            if message.message_type() == Type::Signal && is_removal {
                let (path, _): (OwnedObjectPath, Vec<String>) = message.body().deserialize().unwrap();
                removed.push(path.to_string());
            }
        }
    })
    .await;
    // Children go before their parents.
    let first_characteristic = removed.iter().position(|path| path.ends_with("/char000b")).unwrap();
    let its_service = removed.iter().position(|path| path.ends_with("/service000a")).unwrap();
    assert!(first_characteristic < its_service);
    assert!(!control.meter(GLUCOSE).await.unwrap().unwrap().known);
    simulator.stop().await.unwrap();
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_scan_and_its_sessions_with_it() {
    let (simulator, mut control) = start(&config()).await;
    let (stays, leaves) = (
        Bluez::at(simulator.bus_address()).await,
        Bluez::at(simulator.bus_address()).await,
    );
    control.press_transfer(CUFF).await.unwrap();
    leaves.connect(CUFF_ADDRESS).await;
    let path = leaves
        .characteristic(CUFF_ADDRESS, uuid16::BLOOD_PRESSURE_MEASUREMENT)
        .await;
    leaves.characteristic_call(&path, "StartNotify").await.unwrap();
    leaves.call(ADAPTER_PATH, ADAPTER, "StartDiscovery", &()).await.unwrap();
    assert_eq!(
        stays.property(&path, CHARACTERISTIC, "Notifying").await,
        Variant::from(true)
    );
    assert_eq!(
        stays.property(ADAPTER_PATH, ADAPTER, "Discovering").await,
        Variant::from(true)
    );

    leaves.leave().await;
    eventually("the end of the sessions", async || {
        let state = control.list().await.unwrap();
        (state.adapter.scanning_clients == 0 && state.meters[0].sessions == 0).then_some(())
    })
    .await;
    // The link stays, and the cuff was told that nobody listens: nothing is sent, so nothing is lost.
    assert!(control.meter(CUFF).await.unwrap().unwrap().connected);
    control.measure_cuff(CUFF, pressure(120)).await.unwrap();
    let entry = control.ledger(Some(CUFF)).await.unwrap().remove(0);
    assert_eq!((entry.sent, entry.confirmed), (0, 0));
    stays.characteristic_call(&path, "StartNotify").await.unwrap();
    let entry = control.ledger(Some(CUFF)).await.unwrap().remove(0);
    assert_eq!((entry.sent, entry.heard, entry.confirmed), (1, 1, 1));
    simulator.stop().await.unwrap();
}

#[tokio::test]
async fn a_session_without_a_link_waits_for_the_next_one() {
    let (simulator, mut control) = start(&config()).await;
    let bluez = Bluez::at(simulator.bus_address()).await;
    control.press_transfer(CUFF).await.unwrap();
    bluez.connect(CUFF_ADDRESS).await;
    let path = bluez
        .characteristic(CUFF_ADDRESS, uuid16::BLOOD_PRESSURE_MEASUREMENT)
        .await;
    bluez
        .call(&device_path(CUFF_ADDRESS), DEVICE, "Disconnect", &())
        .await
        .unwrap();
    bluez.characteristic_call(&path, "StartNotify").await.unwrap();
    let raw = CuffRecord {
        raw: Some("00ff".to_owned()),
        ..CuffRecord::default()
    };
    control.measure_cuff(CUFF, raw).await.unwrap();
    bluez
        .call(&device_path(CUFF_ADDRESS), DEVICE, "Connect", &())
        .await
        .unwrap();
    // Even a broken packet goes through as it is.
    assert_eq!(
        bluez.property(&path, CHARACTERISTIC, "Value").await,
        Variant::from(vec![0x00_u8, 0xFF])
    );
    simulator.stop().await.unwrap();
}

#[tokio::test]
async fn a_match_rule_added_twice_and_removed_once_still_matches() {
    let (simulator, mut control) = start(&config()).await;
    let bluez = Bluez::at(simulator.bus_address()).await;
    control.press_transfer(CUFF).await.unwrap();
    bluez.connect(CUFF_ADDRESS).await;
    let path = bluez
        .characteristic(CUFF_ADDRESS, uuid16::BLOOD_PRESSURE_MEASUREMENT)
        .await;
    let mut signals = MessageStream::from(&bluez.connection);
    let rule = "type='signal',sender='org.bluez',interface='org.freedesktop.DBus.Properties'";
    for member in ["AddMatch", "AddMatch", "RemoveMatch"] {
        let bus = Some("org.freedesktop.DBus");
        bluez
            .connection
            .call_method(bus, "/org/freedesktop/DBus", bus, member, &rule)
            .await
            .unwrap();
    }
    bluez.characteristic_call(&path, "StartNotify").await.unwrap();
    control.measure_cuff(CUFF, pressure(120)).await.unwrap();
    soon("the value", async {
        loop {
            let message = signals.next().await.unwrap().unwrap();
            if message.message_type() == Type::Signal && message.header().path().is_some_and(|at| *at == path.as_str())
            {
                let body = message.body();
                let (_, changed, _): (String, HashMap<String, OwnedVariant>, Vec<String>) = body.deserialize().unwrap();
                if changed.contains_key("Value") {
                    return;
                }
            }
        }
    })
    .await;
    simulator.stop().await.unwrap();
}
