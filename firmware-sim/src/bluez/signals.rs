//! The signals of BlueZ, and the objects that come and go with them.

use std::collections::{BTreeMap, HashMap};

use zbus::message::Message;
use zbus::{ObjectPath, Variant};

use super::faults::SignalFate;
use super::host::Host;
use super::interfaces::{ADAPTER, BATTERY, CHARACTERISTIC, DEVICE, OBJECT_MANAGER, PROPERTIES};
use super::link::Reason;
use super::objects::{Node, Values};
use crate::meters::Uuid16;

impl Host {
    /// Sends a signal that goes by these names besides its own, unless a fault takes it.
    fn emit<B>(&mut self, path: &str, interface: &'static str, member: &'static str, names: &[&str], body: &B)
    where
        B: serde::Serialize + zbus::wire::DynamicType,
    {
        let names: Vec<&str> = names.iter().copied().chain([member]).collect();
        let copies = match self.signal_fate(&names) {
            SignalFate::Sent => 1,
            SignalFate::Dropped => 0,
            SignalFate::Doubled => 2,
        };
        for _ in 0..copies {
            let signal = Message::signal(path, interface, member)
                .build(body)
                .expect("paths, names and values of the simulator's own making are valid");
            self.outgoing.push(signal);
        }
    }

    pub(crate) fn signal_changed(
        &mut self,
        node: Node,
        interface: &'static str,
        name: &'static str,
        value: Variant<'_>,
    ) {
        let Some(path) = self.path_of(node) else { return };
        let mut changed = HashMap::from([(name, value)]);
        let mut invalidated = Vec::new();
        if self.ordered_invalidation(name) {
            changed.clear();
            invalidated.push(name);
        }
        let body = (interface, changed, invalidated);
        self.emit(&path, PROPERTIES, "PropertiesChanged", &[name], &body);
    }

    pub(crate) fn signal_adapter(&mut self, adapter: usize, name: &'static str, value: Variant<'_>) {
        self.signal_changed(Node::Adapter(adapter), ADAPTER, name, value);
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
        let body = (DEVICE, changed, vec!["RSSI"]);
        self.emit(&path, PROPERTIES, "PropertiesChanged", &["RSSI"], &body);
    }

    /// A new name, by which the device goes as long as nobody gave it another.
    pub(crate) fn signal_name(&mut self, index: usize, name: String) {
        let Some(path) = self.path_of(Node::Device(index)) else {
            return;
        };
        let mut changed: HashMap<&str, Variant<'_>> = HashMap::from([("Name", name.clone().into())]);
        if self.device(index).is_some_and(|device| device.alias.is_none()) {
            changed.insert("Alias", name.into());
        }
        let body = (DEVICE, changed, Vec::<&str>::new());
        self.emit(&path, PROPERTIES, "PropertiesChanged", &["Name"], &body);
    }

    pub(crate) fn signal_value(&mut self, index: usize, characteristic: Uuid16, value: Vec<u8>) {
        if let Some(node) = self.characteristic_node(index, characteristic) {
            self.signal_changed(node, CHARACTERISTIC, "Value", value.into());
        }
    }

    /// `Device1.Disconnected`, which newer versions of BlueZ send.
    pub(crate) fn signal_disconnected(&mut self, index: usize, reason: Reason) {
        if let Some(path) = self.path_of(Node::Device(index)) {
            self.emit(&path, DEVICE, "Disconnected", &[], &reason.words());
        }
    }

    pub(crate) fn signal_added(&mut self, path: &str, node: Node) {
        let Ok(path) = ObjectPath::try_from(path.to_owned()) else {
            return;
        };
        let interfaces = self.managed(node);
        self.emit("/", OBJECT_MANAGER, "InterfacesAdded", &[], &(path, interfaces));
    }

    pub(crate) fn signal_removed(&mut self, path: &str, interfaces: &[&str]) {
        let Ok(path) = ObjectPath::try_from(path.to_owned()) else {
            return;
        };
        self.emit("/", OBJECT_MANAGER, "InterfacesRemoved", &[], &(path, interfaces));
    }

    pub(crate) fn signal_device_added(&mut self, index: usize) {
        if let Some(path) = self.path_of(Node::Device(index)) {
            self.signal_added(&path, Node::Device(index));
        }
    }

    /// An adapter came.
    pub(crate) fn signal_adapter_added(&mut self, adapter: usize) {
        if let Some(path) = self.path_of(Node::Adapter(adapter)) {
            self.signal_added(&path, Node::Adapter(adapter));
        }
    }

    /// An adapter goes, after its devices.
    pub(crate) fn signal_adapter_gone(&mut self, adapter: usize) {
        if let Some(path) = self.path_of(Node::Adapter(adapter)) {
            let interfaces: Vec<&str> = self.managed(Node::Adapter(adapter)).into_keys().collect();
            self.signal_removed(&path, &interfaces);
        }
    }

    /// Puts the GATT objects on the bus, once in the life of a device object.
    pub(crate) fn export(&mut self, index: usize) {
        let Some(device) = self.device_mut(index) else { return };
        if std::mem::replace(&mut device.exported, true) {
            return;
        }
        for (path, node) in self.gatt_objects(index) {
            self.signal_added(&path, node);
        }
        if let Some(uuids) = self.device_uuids(index) {
            self.signal_device(index, "UUIDs", uuids.into());
        }
    }

    pub(crate) fn signal_battery(&mut self, index: usize, present: bool) {
        let Some(charge) = self.unit(index).and_then(|unit| unit.meter.battery()) else {
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
        self.emit("/", OBJECT_MANAGER, "InterfacesAdded", &[], &(object, values));
    }

    /// Takes a device off the bus, children first.
    pub(crate) fn signal_device_removed(&mut self, index: usize) {
        for (path, node) in self.device_objects(index).into_iter().rev() {
            let interfaces: Vec<&str> = self.managed(node).into_keys().collect();
            self.signal_removed(&path, &interfaces);
        }
    }
}
