//! The object tree: paths, interfaces, property values, and the signals about them.

use std::collections::{BTreeMap, HashMap};

use carepost_gatt::uuid16::{self, to_uuid128 as uuid128};
use zbus::message::Message;
use zbus::{ObjectPath, Variant};

use super::host::{Device, Host, Link, Peer};
use super::interfaces::{
    ADAPTER, BATTERY, CHARACTERISTIC, DESCRIPTOR, DEVICE, INTROSPECTABLE, OBJECT_MANAGER, PEER, PROPERTIES, SERVICE,
};
use crate::meters::Uuid16;

/// ATT MTU of every link: the default of the Core specification, which all values of this simulator fit.
const ATT_MTU: u16 = 23;

/// Property values of one interface.
pub(crate) type Values = BTreeMap<&'static str, Variant<'static>>;

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// `/`, the object manager.
    Root,
    /// A step of the path without interfaces of BlueZ.
    Step,
    Adapter,
    /// By index of the peer.
    Device(usize),
    /// By index of the peer and UUID.
    Service(usize, Uuid16),
    Characteristic(usize, Uuid16),
    /// The client configuration of a characteristic.
    Configuration(usize, Uuid16),
}

fn object(path: String) -> Variant<'static> {
    let path = ObjectPath::try_from(path).expect("paths are made of hex digits and fixed words");
    Variant::from(path)
}

impl Host {
    pub(crate) fn adapter_path(&self) -> String {
        format!("/org/bluez/{}", self.settings.adapter)
    }

    pub(crate) fn device_path(&self, peer: &Peer) -> String {
        format!("{}/dev_{}", self.adapter_path(), peer.address.replace(':', "_"))
    }

    /// Every object on the bus, parents before children.
    pub(crate) fn objects(&self) -> Vec<(String, Node)> {
        let mut objects = vec![
            ("/".to_owned(), Node::Root),
            ("/org".to_owned(), Node::Step),
            ("/org/bluez".to_owned(), Node::Step),
            (self.adapter_path(), Node::Adapter),
        ];
        for (index, peer) in self.peers.iter().enumerate() {
            let Some(device) = &peer.device else { continue };
            objects.push((self.device_path(peer), Node::Device(index)));
            if device.exported {
                objects.extend(self.gatt_objects(index, peer));
            }
        }
        objects
    }

    /// The GATT objects of a peer, whether or not they are on the bus. BlueZ claims the Battery Service: it shows
    /// `Battery1` on the device instead of objects.
    fn gatt_objects(&self, index: usize, peer: &Peer) -> Vec<(String, Node)> {
        let mut objects = Vec::new();
        let device = self.device_path(peer);
        for service in peer
            .meter
            .profile()
            .services()
            .iter()
            .filter(|service| service.uuid != uuid16::BATTERY_SERVICE)
        {
            let path = format!("{device}/service{:04x}", service.handle);
            objects.push((path.clone(), Node::Service(index, service.uuid)));
            for characteristic in &service.characteristics {
                let path = format!("{path}/char{:04x}", characteristic.declaration);
                objects.push((path.clone(), Node::Characteristic(index, characteristic.uuid)));
                if let Some(handle) = characteristic.configuration {
                    objects.push((
                        format!("{path}/desc{handle:04x}"),
                        Node::Configuration(index, characteristic.uuid),
                    ));
                }
            }
        }
        objects
    }

    pub(crate) fn node_at(&self, path: &str) -> Option<Node> {
        self.objects()
            .into_iter()
            .find(|(found, _)| found == path)
            .map(|(_, node)| node)
    }

    pub(crate) fn path_of(&self, node: Node) -> Option<String> {
        let index = match node {
            Node::Root => return Some("/".to_owned()),
            Node::Step => return None,
            Node::Adapter => return Some(self.adapter_path()),
            Node::Device(index) => return self.peer(index).map(|peer| self.device_path(peer)),
            Node::Service(index, _) | Node::Characteristic(index, _) | Node::Configuration(index, _) => index,
        };
        let objects = self.gatt_objects(index, self.peer(index)?);
        objects
            .into_iter()
            .find(|(_, found)| *found == node)
            .map(|(path, _)| path)
    }

    /// The names of an object's direct children.
    pub(crate) fn children(&self, path: &str) -> Vec<String> {
        let prefix = if path == "/" {
            "/".to_owned()
        } else {
            format!("{path}/")
        };
        self.objects()
            .into_iter()
            .filter_map(|(found, _)| found.strip_prefix(&prefix).map(str::to_owned))
            .filter(|rest| !rest.is_empty() && !rest.contains('/'))
            .collect()
    }

    /// The interfaces of an object, the standard ones first.
    pub(crate) fn interfaces_of(&self, node: Node) -> Vec<&'static str> {
        let own: &[&'static str] = match node {
            Node::Root => &[OBJECT_MANAGER],
            Node::Step => &[],
            Node::Adapter => &[PROPERTIES, ADAPTER],
            Node::Device(index) if self.shows_battery(index) => &[PROPERTIES, DEVICE, BATTERY],
            Node::Device(_) => &[PROPERTIES, DEVICE],
            Node::Service(..) => &[PROPERTIES, SERVICE],
            Node::Characteristic(..) => &[PROPERTIES, CHARACTERISTIC],
            Node::Configuration(..) => &[PROPERTIES, DESCRIPTOR],
        };
        [INTROSPECTABLE, PEER].iter().chain(own).copied().collect()
    }

    fn shows_battery(&self, index: usize) -> bool {
        let resolved = self.device(index).is_some_and(Device::is_resolved);
        resolved && self.peer(index).is_some_and(|peer| peer.meter.battery().is_some())
    }

    /// The property values of one interface of an object; `None` if it has no such interface.
    pub(crate) fn values(&self, node: Node, interface: &str) -> Option<Values> {
        let interface = self.interfaces_of(node).into_iter().find(|found| *found == interface)?;
        match (node, interface) {
            (Node::Adapter, ADAPTER) => Some(self.adapter_values()),
            (Node::Device(index), DEVICE) => self.device_values(index),
            (Node::Device(index), BATTERY) => {
                let charge = self.peer(index)?.meter.battery()?;
                Some(Values::from([("Percentage", charge.into())]))
            }
            (Node::Service(index, uuid), SERVICE) => self.service_values(index, uuid),
            (Node::Characteristic(index, uuid), CHARACTERISTIC) => self.characteristic_values(index, uuid),
            (Node::Configuration(index, uuid), DESCRIPTOR) => {
                let characteristic = self.path_of(Node::Characteristic(index, uuid))?;
                Some(Values::from([
                    ("UUID", uuid128(uuid16::CLIENT_CHARACTERISTIC_CONFIGURATION).into()),
                    ("Characteristic", object(characteristic)),
                ]))
            }
            // The standard interfaces have no properties.
            _ => Some(Values::new()),
        }
    }

    fn adapter_values(&self) -> Values {
        let settings = &self.settings;
        let alias = self.alias.clone().unwrap_or_else(|| settings.name.clone());
        Values::from([
            ("Address", settings.address.clone().into()),
            ("AddressType", "public".into()),
            ("Name", settings.name.clone().into()),
            ("Alias", alias.into()),
            // An uncategorised computer; nobody finds the adapter by its class.
            ("Class", 0x0000_0100_u32.into()),
            ("Powered", self.powered.into()),
            ("Discoverable", self.discoverable.into()),
            ("Pairable", self.pairable.into()),
            ("Discovering", (!self.discovering.is_empty()).into()),
            ("UUIDs", vec![uuid128(0x1800), uuid128(0x1801)].into()),
            ("Modalias", settings.modalias.clone().into()),
            ("Roles", vec!["central"].into()),
        ])
    }

    fn device_values(&self, index: usize) -> Option<Values> {
        let peer = self.peer(index)?;
        let device = peer.device.as_ref()?;
        let alias = device.alias.clone().unwrap_or_else(|| peer.local_name.clone());
        let mut values = Values::from([
            ("Address", peer.address.clone().into()),
            ("AddressType", peer.address_type.into()),
            ("Name", peer.local_name.clone().into()),
            ("Alias", alias.into()),
            ("Paired", false.into()),
            ("Bonded", false.into()),
            ("Trusted", device.trusted.into()),
            ("Blocked", false.into()),
            ("LegacyPairing", false.into()),
            ("Connected", device.is_connected().into()),
            ("ServicesResolved", device.is_resolved().into()),
            ("UUIDs", self.device_uuids(peer, device).into()),
            ("Adapter", object(self.adapter_path())),
        ]);
        if let Some(rssi) = device.rssi {
            values.insert("RSSI", rssi.into());
        }
        Some(values)
    }

    /// The advertised service until discovery has found all of them.
    fn device_uuids(&self, peer: &Peer, device: &Device) -> Vec<String> {
        if device.exported {
            peer.meter
                .profile()
                .services()
                .iter()
                .map(|service| uuid128(service.uuid))
                .collect()
        } else {
            vec![uuid128(peer.meter.advertised_service())]
        }
    }

    fn service_values(&self, index: usize, uuid: Uuid16) -> Option<Values> {
        let device = self.path_of(Node::Device(index))?;
        Some(Values::from([
            ("UUID", uuid128(uuid).into()),
            ("Device", object(device)),
            ("Primary", true.into()),
            ("Includes", Vec::<ObjectPath<'static>>::new().into()),
        ]))
    }

    fn characteristic_values(&self, index: usize, uuid: Uuid16) -> Option<Values> {
        let peer = self.peer(index)?;
        let device = peer.device.as_ref()?;
        let service = peer
            .meter
            .profile()
            .services()
            .iter()
            .find(|service| service.characteristics.iter().any(|c| c.uuid == uuid))?;
        let access = peer.meter.profile().characteristic(uuid)?.access;
        let mut values = Values::from([
            ("UUID", uuid128(uuid).into()),
            ("Service", object(self.path_of(Node::Service(index, service.uuid))?)),
            ("Flags", access.flags().into()),
            ("MTU", ATT_MTU.into()),
        ]);
        if access.sends() {
            values.insert("Notifying", device.sessions.contains_key(&uuid).into());
        }
        if let Some(value) = device.values.get(&uuid) {
            values.insert("Value", value.clone().into());
        }
        Some(values)
    }

    /// All interfaces with their values, as the object manager lists them.
    pub(crate) fn managed(&self, node: Node) -> BTreeMap<&'static str, Values> {
        let interfaces = self.interfaces_of(node).into_iter().filter(|name| *name != PEER);
        interfaces
            .filter_map(|name| Some((name, self.values(node, name)?)))
            .collect()
    }

    // Signals.

    fn emit<B>(&mut self, path: &str, interface: &'static str, member: &'static str, body: &B)
    where
        B: serde::Serialize + zbus::wire::DynamicType,
    {
        let signal = Message::signal(path, interface, member)
            .build(body)
            .expect("paths, names and values of the simulator's own making are valid");
        self.outgoing.push(signal);
    }

    pub(crate) fn signal_changed(
        &mut self,
        node: Node,
        interface: &'static str,
        name: &'static str,
        value: Variant<'_>,
    ) {
        let Some(path) = self.path_of(node) else { return };
        let changed = HashMap::from([(name, value)]);
        self.emit(
            &path,
            PROPERTIES,
            "PropertiesChanged",
            &(interface, changed, Vec::<&str>::new()),
        );
    }

    pub(crate) fn signal_adapter(&mut self, name: &'static str, value: Variant<'_>) {
        self.signal_changed(Node::Adapter, ADAPTER, name, value);
    }

    pub(crate) fn signal_device(&mut self, index: usize, name: &'static str, value: Variant<'_>) {
        self.signal_changed(Node::Device(index), DEVICE, name, value);
    }

    pub(crate) fn signal_rssi(&mut self, index: usize, rssi: i16) {
        self.signal_device(index, "RSSI", rssi.into());
    }

    pub(crate) fn signal_rssi_unknown(&mut self, index: usize) {
        let Some(path) = self.path_of(Node::Device(index)) else {
            return;
        };
        let changed = HashMap::<&str, Variant<'_>>::new();
        self.emit(&path, PROPERTIES, "PropertiesChanged", &(DEVICE, changed, vec!["RSSI"]));
    }

    pub(crate) fn signal_value(&mut self, index: usize, characteristic: Uuid16, value: Vec<u8>) {
        self.signal_changed(
            Node::Characteristic(index, characteristic),
            CHARACTERISTIC,
            "Value",
            value.into(),
        );
    }

    fn signal_added(&mut self, path: &str, node: Node) {
        let Ok(path) = ObjectPath::try_from(path.to_owned()) else {
            return;
        };
        let interfaces = self.managed(node);
        self.emit("/", OBJECT_MANAGER, "InterfacesAdded", &(path, interfaces));
    }

    fn signal_removed(&mut self, path: &str, interfaces: &[&str]) {
        let Ok(path) = ObjectPath::try_from(path.to_owned()) else {
            return;
        };
        self.emit("/", OBJECT_MANAGER, "InterfacesRemoved", &(path, interfaces));
    }

    pub(crate) fn signal_device_added(&mut self, index: usize) {
        if let Some(path) = self.path_of(Node::Device(index)) {
            self.signal_added(&path, Node::Device(index));
        }
    }

    /// Puts the GATT objects on the bus, once in the life of a device object.
    pub(crate) fn export(&mut self, index: usize) {
        let Some(device) = self.device_mut(index) else { return };
        if std::mem::replace(&mut device.exported, true) {
            return;
        }
        let Some(peer) = self.peer(index) else { return };
        for (path, node) in self.gatt_objects(index, peer) {
            self.signal_added(&path, node);
        }
        let uuids = self
            .peer(index)
            .and_then(|peer| Some(self.device_uuids(peer, peer.device.as_ref()?)));
        if let Some(uuids) = uuids {
            self.signal_device(index, "UUIDs", uuids.into());
        }
    }

    pub(crate) fn signal_battery(&mut self, index: usize, present: bool) {
        let Some(charge) = self.peer(index).and_then(|peer| peer.meter.battery()) else {
            return;
        };
        let Some(path) = self.path_of(Node::Device(index)) else {
            return;
        };
        if !present {
            self.signal_removed(&path, &[BATTERY]);
            return;
        }
        let Ok(object) = ObjectPath::try_from(path) else { return };
        let values: BTreeMap<&str, Values> = BTreeMap::from([(BATTERY, Values::from([("Percentage", charge.into())]))]);
        self.emit("/", OBJECT_MANAGER, "InterfacesAdded", &(object, values));
    }

    /// Takes a device off the bus, children first.
    pub(crate) fn signal_device_removed(&mut self, index: usize) {
        let mut gone: Vec<(String, Node)> = self
            .objects()
            .into_iter()
            .filter(|(_, node)| match node {
                Node::Device(found)
                | Node::Service(found, _)
                | Node::Characteristic(found, _)
                | Node::Configuration(found, _) => *found == index,
                Node::Root | Node::Step | Node::Adapter => false,
            })
            .collect();
        gone.reverse();
        for (path, node) in gone {
            let interfaces: Vec<&str> = self.managed(node).into_keys().collect();
            self.signal_removed(&path, &interfaces);
        }
    }
}

impl Device {
    pub(crate) fn is_connected(&self) -> bool {
        matches!(self.link, Link::Up { .. })
    }

    pub(crate) fn is_resolved(&self) -> bool {
        matches!(self.link, Link::Up { resolve_at: None })
    }
}
