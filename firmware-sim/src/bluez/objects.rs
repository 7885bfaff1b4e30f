//! The object tree: paths, interfaces and property values.

use std::collections::BTreeMap;

use carepost_gatt::uuid16::{self, to_uuid128 as uuid128};
use zbus::{ObjectPath, Variant};

use super::host::Host;
use super::interfaces::{
    ADAPTER, AGENT_MANAGER, BATTERY, CHARACTERISTIC, DESCRIPTOR, DEVICE, INTROSPECTABLE, OBJECT_MANAGER, PEER,
    PROPERTIES, SERVICE,
};
use super::state::Device;
use crate::meters::{Characteristic, Service, Uuid16};

/// ATT MTU of every link: the default of the Core specification, which all values of this simulator fit.
const ATT_MTU: u16 = 23;

/// Property values of one interface.
pub(crate) type Values = BTreeMap<&'static str, Variant<'static>>;

/// Handle of an attribute, which is part of its object path.
pub(crate) type Handle = u16;

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// `/`, the object manager.
    Root,
    /// `/org`, a step of the path without interfaces of BlueZ.
    Step,
    /// `/org/bluez`, where agents register.
    Manager,
    /// By position.
    Adapter(usize),
    /// By index of the peer.
    Device(usize),
    /// By index of the peer and handle of the declaration.
    Service(usize, Handle),
    Characteristic(usize, Handle),
    /// The client configuration of the characteristic with this declaration.
    Configuration(usize, Handle),
}

fn object(path: String) -> Variant<'static> {
    let path = ObjectPath::try_from(path).expect("paths are made of hex digits and fixed words");
    Variant::from(path)
}

/// The handle in the name of a GATT object.
fn handle(name: &str, kind: &str) -> Option<Handle> {
    let digits = name.strip_prefix(kind).filter(|digits| digits.len() == 4)?;
    let lower = !digits.bytes().any(|digit| digit.is_ascii_uppercase());
    Handle::from_str_radix(digits, 16).ok().filter(|_| lower)
}

impl Host {
    pub(crate) fn adapter_path(&self, adapter: usize) -> Option<String> {
        let found = self.adapters.get(adapter).filter(|found| found.present)?;
        Some(format!("/org/bluez/{}", found.settings.controller))
    }

    /// Every object on the bus, parents before children.
    pub(crate) fn objects(&self) -> Vec<(String, Node)> {
        let mut objects = vec![("/org/bluez".to_owned(), Node::Manager)];
        for adapter in 0..self.adapters.len() {
            let Some(path) = self.adapter_path(adapter) else {
                continue;
            };
            objects.push((path, Node::Adapter(adapter)));
            for (index, peer) in self.peers.iter().enumerate() {
                if peer.adapter == adapter {
                    objects.extend(self.device_objects(index));
                }
            }
        }
        objects
    }

    /// A device and what is under it, parents before children.
    pub(crate) fn device_objects(&self, index: usize) -> Vec<(String, Node)> {
        let Some(device) = self.device(index) else {
            return Vec::new();
        };
        let mut objects = vec![(device.path.clone(), Node::Device(index))];
        if device.exported {
            objects.extend(self.gatt_objects(index));
        }
        objects
    }

    /// The GATT objects of a peer, whether or not they are on the bus. BlueZ claims the Battery Service: it shows
    /// `Battery1` on the device instead of objects.
    pub(crate) fn gatt_objects(&self, index: usize) -> Vec<(String, Node)> {
        let (Some(device), Some(unit)) = (self.device(index), self.unit(index)) else {
            return Vec::new();
        };
        let mut objects = Vec::new();
        for service in unit.meter.profile().services() {
            if service.uuid == uuid16::BATTERY_SERVICE {
                continue;
            }
            let path = format!("{}/service{:04x}", device.path, service.handle);
            objects.push((path.clone(), Node::Service(index, service.handle)));
            for characteristic in &service.characteristics {
                let path = format!("{path}/char{:04x}", characteristic.declaration);
                objects.push((path.clone(), Node::Characteristic(index, characteristic.declaration)));
                if let Some(handle) = characteristic.configuration {
                    objects.push((
                        format!("{path}/desc{handle:04x}"),
                        Node::Configuration(index, characteristic.declaration),
                    ));
                }
            }
        }
        objects
    }

    /// A service of a peer by the handle of its declaration. The Battery Service has no object.
    fn service_at(&self, index: usize, handle: Handle) -> Option<&Service> {
        let services = self.unit(index)?.meter.profile().services();
        services
            .iter()
            .find(|service| service.handle == handle && service.uuid != uuid16::BATTERY_SERVICE)
    }

    /// A characteristic of a peer by the handle of its declaration, with its service.
    pub(crate) fn characteristic_at(&self, index: usize, handle: Handle) -> Option<(&Service, &Characteristic)> {
        let services = self.unit(index)?.meter.profile().services();
        services
            .iter()
            .filter(|service| service.uuid != uuid16::BATTERY_SERVICE)
            .find_map(|service| {
                let mut characteristics = service.characteristics.iter();
                let found = characteristics.find(|characteristic| characteristic.declaration == handle)?;
                Some((service, found))
            })
    }

    /// The object of the first characteristic of this UUID.
    pub(crate) fn characteristic_node(&self, index: usize, uuid: Uuid16) -> Option<Node> {
        let found = self.unit(index)?.meter.profile().characteristic(uuid)?;
        Some(Node::Characteristic(index, found.declaration))
    }

    pub(crate) fn node_at(&self, path: &str) -> Option<Node> {
        match path {
            "/" => return Some(Node::Root),
            "/org" => return Some(Node::Step),
            "/org/bluez" => return Some(Node::Manager),
            _ => {}
        }
        let mut names = path.strip_prefix("/org/bluez/")?.split('/');
        let controller = names.next()?;
        let adapter = self
            .adapters
            .iter()
            .position(|adapter| adapter.present && adapter.settings.controller == controller)?;
        let Some(device) = names.next() else {
            return Some(Node::Adapter(adapter));
        };
        let index = *self.paths.get(&format!("/org/bluez/{controller}/{device}"))?;
        let Some(service) = names.next() else {
            return Some(Node::Device(index));
        };
        if !self.device(index)?.exported {
            return None;
        }
        let service = self.service_at(index, handle(service, "service")?)?;
        let Some(name) = names.next() else {
            return Some(Node::Service(index, service.handle));
        };
        let declaration = handle(name, "char")?;
        let characteristic = service
            .characteristics
            .iter()
            .find(|found| found.declaration == declaration)?;
        let node = match names.next() {
            None => Node::Characteristic(index, declaration),
            Some(name) => {
                let configuration = handle(name, "desc")?;
                (characteristic.configuration == Some(configuration))
                    .then_some(Node::Configuration(index, declaration))?
            }
        };
        names.next().is_none().then_some(node)
    }

    pub(crate) fn path_of(&self, node: Node) -> Option<String> {
        match node {
            Node::Root => Some("/".to_owned()),
            Node::Step => Some("/org".to_owned()),
            Node::Manager => Some("/org/bluez".to_owned()),
            Node::Adapter(adapter) => self.adapter_path(adapter),
            Node::Device(index) => Some(self.device(index)?.path.clone()),
            Node::Service(index, handle) => Some(format!("{}/service{handle:04x}", self.device(index)?.path)),
            Node::Characteristic(index, declaration) => {
                let (service, _) = self.characteristic_at(index, declaration)?;
                let device = &self.device(index)?.path;
                Some(format!("{device}/service{:04x}/char{declaration:04x}", service.handle))
            }
            Node::Configuration(index, declaration) => {
                let (_, characteristic) = self.characteristic_at(index, declaration)?;
                let handle = characteristic.configuration?;
                let path = self.path_of(Node::Characteristic(index, declaration))?;
                Some(format!("{path}/desc{handle:04x}"))
            }
        }
    }

    /// The names of an object's direct children.
    pub(crate) fn children(&self, node: Node) -> Vec<String> {
        let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        match node {
            Node::Root => vec!["org".to_owned()],
            Node::Step => vec!["bluez".to_owned()],
            Node::Manager => {
                let present = self.adapters.iter().filter(|adapter| adapter.present);
                present.map(|adapter| adapter.settings.controller.clone()).collect()
            }
            Node::Adapter(adapter) => self
                .peers
                .iter()
                .filter(|peer| peer.adapter == adapter)
                .filter_map(|peer| Some(last(&peer.device.as_ref()?.path)))
                .collect(),
            Node::Device(index) => {
                let objects = self.device_objects(index);
                let services = objects.iter().filter(|(_, node)| matches!(node, Node::Service(..)));
                services.map(|(path, _)| last(path)).collect()
            }
            Node::Service(index, handle) => {
                let characteristics = self.service_at(index, handle).map(|service| &service.characteristics);
                characteristics
                    .into_iter()
                    .flatten()
                    .map(|characteristic| format!("char{:04x}", characteristic.declaration))
                    .collect()
            }
            Node::Characteristic(index, declaration) => self
                .characteristic_at(index, declaration)
                .and_then(|(_, characteristic)| characteristic.configuration)
                .map(|handle| format!("desc{handle:04x}"))
                .into_iter()
                .collect(),
            Node::Configuration(..) => Vec::new(),
        }
    }

    /// The interfaces of an object, the standard ones first.
    pub(crate) fn interfaces_of(&self, node: Node) -> Vec<&'static str> {
        let own: &[&'static str] = match node {
            Node::Root => &[OBJECT_MANAGER],
            Node::Step => &[],
            Node::Manager => &[AGENT_MANAGER],
            Node::Adapter(_) => &[PROPERTIES, ADAPTER],
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
        resolved && self.unit(index).is_some_and(|unit| unit.meter.battery().is_some())
    }

    /// The property values of one interface of an object; `None` if it has no such interface.
    pub(crate) fn values(&self, node: Node, interface: &str) -> Option<Values> {
        let interface = self.interfaces_of(node).into_iter().find(|found| *found == interface)?;
        match (node, interface) {
            (Node::Adapter(adapter), ADAPTER) => self.adapter_values(adapter),
            (Node::Device(index), DEVICE) => self.device_values(index),
            (Node::Device(index), BATTERY) => {
                let charge = self.unit(index)?.meter.battery()?;
                Some(Values::from([("Percentage", charge.into())]))
            }
            (Node::Service(index, handle), SERVICE) => self.service_values(index, handle),
            (Node::Characteristic(index, handle), CHARACTERISTIC) => self.characteristic_values(index, handle),
            (Node::Configuration(index, handle), DESCRIPTOR) => {
                let characteristic = self.path_of(Node::Characteristic(index, handle))?;
                Some(Values::from([
                    ("UUID", uuid128(uuid16::CLIENT_CHARACTERISTIC_CONFIGURATION).into()),
                    ("Characteristic", object(characteristic)),
                ]))
            }
            // The standard interfaces have no properties.
            _ => Some(Values::new()),
        }
    }

    fn adapter_values(&self, adapter: usize) -> Option<Values> {
        let found = self.adapters.get(adapter)?;
        let settings = &found.settings;
        let alias = found.alias.clone().unwrap_or_else(|| settings.name.clone());
        Some(Values::from([
            ("Address", settings.address.clone().into()),
            ("AddressType", "public".into()),
            ("Name", settings.name.clone().into()),
            ("Alias", alias.into()),
            // An uncategorised computer; nobody finds the adapter by its class.
            ("Class", 0x0000_0100_u32.into()),
            ("Powered", found.powered.into()),
            ("Discoverable", found.discoverable.into()),
            ("Pairable", found.pairable.into()),
            ("Discovering", (!found.discovering.is_empty()).into()),
            ("UUIDs", vec![uuid128(0x1800), uuid128(0x1801)].into()),
            ("Modalias", settings.modalias.clone().into()),
            ("Roles", vec!["central"].into()),
        ]))
    }

    fn device_values(&self, index: usize) -> Option<Values> {
        let peer = self.peer(index)?;
        let device = peer.device.as_ref()?;
        // Who has no name goes by the address, as in BlueZ.
        let known_as = if device.name.is_empty() {
            peer.address.replace(':', "-")
        } else {
            device.name.clone()
        };
        let mut values = Values::from([
            ("Address", peer.address.clone().into()),
            ("AddressType", peer.address_type.into()),
            ("Alias", device.alias.clone().unwrap_or(known_as).into()),
            ("Paired", device.bond.is_some().into()),
            ("Bonded", device.bond.is_some().into()),
            ("Trusted", device.trusted.into()),
            ("Blocked", device.blocked.into()),
            ("LegacyPairing", false.into()),
            ("Connected", device.is_connected().into()),
            ("ServicesResolved", device.is_resolved().into()),
            ("UUIDs", self.device_uuids(index)?.into()),
            ("Adapter", object(self.adapter_path(peer.adapter)?)),
        ]);
        if !device.name.is_empty() {
            values.insert("Name", device.name.clone().into());
        }
        if let Some(flags) = device.advertising_flags {
            values.insert("AdvertisingFlags", vec![flags].into());
        }
        if let Some(rssi) = device.rssi {
            values.insert("RSSI", rssi.into());
        }
        Some(values)
    }

    /// The advertised service until discovery has found all of them.
    pub(crate) fn device_uuids(&self, index: usize) -> Option<Vec<String>> {
        let unit = self.unit(index)?;
        let uuids = if self.device(index)?.exported {
            let services = unit.meter.profile().services().iter();
            services.map(|service| uuid128(service.uuid)).collect()
        } else {
            vec![uuid128(unit.meter.advertised_service())]
        };
        Some(uuids)
    }

    fn service_values(&self, index: usize, handle: Handle) -> Option<Values> {
        let device = self.path_of(Node::Device(index))?;
        let service = self.service_at(index, handle)?;
        Some(Values::from([
            ("UUID", uuid128(service.uuid).into()),
            ("Device", object(device)),
            ("Primary", true.into()),
            ("Includes", Vec::<ObjectPath<'static>>::new().into()),
        ]))
    }

    fn characteristic_values(&self, index: usize, handle: Handle) -> Option<Values> {
        let device = self.device(index)?;
        let (service, characteristic) = self.characteristic_at(index, handle)?;
        let (uuid, access) = (characteristic.uuid, characteristic.access);
        let mut values = Values::from([
            ("UUID", uuid128(uuid).into()),
            ("Service", object(self.path_of(Node::Service(index, service.handle))?)),
            ("Flags", access.flags().into()),
            ("MTU", ATT_MTU.into()),
        ]);
        if access.sends() {
            let sessions = device.sessions.get(&uuid).into_iter().flatten();
            let notifying = sessions.filter(|session| !session.pending).count() > 0;
            values.insert("Notifying", notifying.into());
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
}
