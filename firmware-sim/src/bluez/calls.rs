//! Method calls: from a D-Bus message to what the host does about it.

use std::collections::{BTreeMap, HashMap};

use zbus::message::{Flags, Message, Type};
use zbus::{ObjectPath, Variant};

use super::errors::BusError;
use super::host::{Host, MAX_CLIENTS};
use super::interfaces::{
    self, ADAPTER, AGENT_MANAGER, CHARACTERISTIC, DESCRIPTOR, DEVICE, INTROSPECTABLE, OBJECT_MANAGER, PEER, PROPERTIES,
};
use super::link::Reason;
use super::objects::{Node, Values};
use super::{filter, filter::DiscoveryFilter};
use crate::SimTime;

/// Longest attribute value (Core specification, volume 3, part F, section 3.2.9).
const MAX_VALUE: usize = 512;

/// Longest alias that a client may give.
const MAX_ALIAS: usize = 248;

/// The address that the simulator has instead of a machine id.
const MACHINE_ID: &str = "00000000000000000000000000000000";

impl Host {
    /// Takes one message from the bus: a call to BlueZ, an agent's answer, or the news that a client left.
    pub(crate) fn receive(&mut self, now: SimTime, message: &Message) {
        self.now = now;
        match message.message_type() {
            Type::MethodCall => {
                if let Err(error) = self.call(now, message) {
                    self.reply_error(message, &error);
                }
            }
            Type::Signal => {
                if let Some(client) = departed_client(message) {
                    self.client_gone(now, &client);
                }
            }
            Type::MethodReturn | Type::Error => self.agent_answer(now, message),
        }
    }

    pub(crate) fn reply<B>(&mut self, call: &Message, body: &B)
    where
        B: serde::Serialize + zbus::wire::DynamicType,
    {
        if call.primary_header().flags().contains(Flags::NO_REPLY_EXPECTED) {
            return;
        }
        match Message::method_return(&call.header()).build(body) {
            Ok(reply) => self.send_reply(call, reply),
            Err(error) => self.reply_error(
                call,
                &BusError::failed(&format!("the reply cannot be encoded: {error}")),
            ),
        }
    }

    pub(crate) fn reply_error(&mut self, call: &Message, error: &BusError) {
        self.counters.bus_errors += 1;
        if call.primary_header().flags().contains(Flags::NO_REPLY_EXPECTED) {
            return;
        }
        let reply = Message::error(&call.header(), error.name.as_ref())
            .build(&error.message)
            .expect("error names are constants or were checked, and a text always encodes");
        self.send_reply(call, reply);
    }

    fn call(&mut self, now: SimTime, call: &Message) -> Result<(), BusError> {
        let header = call.header();
        let (Some(path), Some(member), Some(sender)) = (header.path(), header.member(), header.sender()) else {
            return Err(BusError::invalid_args(
                "a call needs a path, a member and a sender".to_owned(),
            ));
        };
        let (path, member, sender) = (path.as_str(), member.as_str(), sender.as_str());
        let node = self.node_at(path).ok_or_else(|| BusError::unknown_object(path))?;
        let offered = self.interfaces_of(node);
        let interface = match header.interface() {
            Some(named) => offered.iter().copied().find(|offered| *offered == named.as_str()),
            None => interfaces::with_method(&offered, member),
        };
        let named = header.interface().map_or("", |named| named.as_str());
        let interface = interface
            .filter(|interface| interfaces::has_method(interface, member))
            .ok_or_else(|| BusError::unknown_method(member, named))?;
        if let Some(failure) = self.ordered_failure(member) {
            return Err(failure);
        }
        if let Node::Device(index)
        | Node::Service(index, _)
        | Node::Characteristic(index, _)
        | Node::Configuration(index, _) = node
            && self.ordered_vanishing(member)
        {
            self.vanish_under_call(now, index);
            return Err(BusError::unknown_object(path));
        }
        match interface {
            PROPERTIES => self.properties_call(now, node, member, call),
            AGENT_MANAGER => self.agent_manager_call(now, member, sender, call),
            ADAPTER => self.adapter_call(now, node, member, sender, call),
            DEVICE => self.device_call(now, node, member, call),
            CHARACTERISTIC => self.characteristic_call(now, node, member, sender, call),
            DESCRIPTOR => self.descriptor_call(node, member, call),
            INTROSPECTABLE => {
                let xml = interfaces::introspection(&self.interfaces_of(node), &self.children(node));
                self.reply(call, &xml);
                Ok(())
            }
            OBJECT_MANAGER => {
                self.managed_objects(call);
                Ok(())
            }
            PEER => {
                if member == "Ping" {
                    self.reply(call, &());
                } else {
                    self.reply(call, &MACHINE_ID);
                }
                Ok(())
            }
            other => Err(BusError::unknown_method(member, other)),
        }
    }

    fn managed_objects(&mut self, call: &Message) {
        let objects: BTreeMap<ObjectPath<'static>, BTreeMap<&'static str, Values>> = self
            .objects()
            .into_iter()
            .filter_map(|(path, node)| Some((ObjectPath::try_from(path).ok()?, self.managed(node))))
            .collect();
        self.reply(call, &objects);
    }

    fn properties_call(&mut self, now: SimTime, node: Node, member: &str, call: &Message) -> Result<(), BusError> {
        let body = call.body();
        let wrong = |_| BusError::invalid_args("wrong arguments".to_owned());
        match member {
            "GetAll" => {
                let interface: &str = body.deserialize().map_err(wrong)?;
                let values = self.values(node, interface).ok_or_else(|| no_interface(interface))?;
                self.reply(call, &values);
            }
            "Get" => {
                let (interface, property): (&str, &str) = body.deserialize().map_err(wrong)?;
                let mut values = self.values(node, interface).ok_or_else(|| no_interface(interface))?;
                let value = values.remove(property).ok_or_else(|| no_property(property))?;
                self.reply(call, &value);
            }
            _ => {
                let (interface, property, value): (&str, &str, Variant<'_>) = body.deserialize().map_err(wrong)?;
                self.values(node, interface).ok_or_else(|| no_interface(interface))?;
                match interfaces::is_writable(interface, property) {
                    None => return Err(no_property(property)),
                    Some(false) => return Err(BusError::read_only(property)),
                    Some(true) => self.set_property(now, node, property, &value)?,
                }
                self.reply(call, &());
            }
        }
        Ok(())
    }

    fn set_property(&mut self, now: SimTime, node: Node, property: &str, value: &Variant<'_>) -> Result<(), BusError> {
        match (node, property, value) {
            (Node::Adapter(adapter), "Powered", Variant::Bool(powered)) => self.set_powered(now, adapter, *powered)?,
            (Node::Adapter(adapter), "Discoverable", Variant::Bool(on)) => {
                if let Some(found) = self.adapters.get_mut(adapter) {
                    found.discoverable = *on;
                }
                self.signal_adapter(adapter, "Discoverable", (*on).into());
            }
            (Node::Adapter(adapter), "Pairable", Variant::Bool(on)) => {
                if let Some(found) = self.adapters.get_mut(adapter) {
                    found.pairable = *on;
                }
                self.signal_adapter(adapter, "Pairable", (*on).into());
            }
            (Node::Adapter(adapter), "Alias", Variant::Str(alias)) if alias.len() <= MAX_ALIAS => {
                let Some(found) = self.adapters.get_mut(adapter) else {
                    return Err(BusError::invalid_arguments());
                };
                found.alias = Some(alias.as_str().to_owned()).filter(|alias| !alias.is_empty());
                let shown = found.alias.clone().unwrap_or_else(|| found.settings.name.clone());
                self.signal_adapter(adapter, "Alias", shown.into());
            }
            (Node::Device(index), "Trusted", Variant::Bool(trusted)) => {
                if let Some(device) = self.device_mut(index) {
                    device.trusted = *trusted;
                    device.last_seen = now;
                }
                self.signal_device(index, "Trusted", (*trusted).into());
            }
            (Node::Device(index), "Blocked", Variant::Bool(blocked)) => {
                if let Some(device) = self.device_mut(index) {
                    device.blocked = *blocked;
                }
                if *blocked {
                    self.abort_connecting(index, "le-connection-abort-by-local");
                    self.link_lost(now, index, Reason::Local);
                }
                self.signal_device(index, "Blocked", (*blocked).into());
            }
            (Node::Device(index), "Alias", Variant::Str(alias)) if alias.len() <= MAX_ALIAS => {
                if let Some(device) = self.device_mut(index) {
                    device.alias = Some(alias.as_str().to_owned()).filter(|alias| !alias.is_empty());
                }
                self.signal_device(index, "Alias", alias.as_str().to_owned().into());
            }
            _ => return Err(BusError::invalid_arguments()),
        }
        Ok(())
    }

    fn adapter_call(
        &mut self,
        now: SimTime,
        node: Node,
        member: &str,
        sender: &str,
        call: &Message,
    ) -> Result<(), BusError> {
        let Node::Adapter(adapter) = node else {
            return Err(BusError::not_supported());
        };
        let body = call.body();
        match member {
            "StartDiscovery" => {
                self.start_discovery(now, adapter, sender)?;
                self.reply(call, &());
                // The reply comes first, then what the first advertisements bring.
                self.advance(now);
            }
            "StopDiscovery" => {
                self.stop_discovery(adapter, sender)?;
                self.reply(call, &());
            }
            "SetDiscoveryFilter" => {
                let Some(found) = self.adapters.get_mut(adapter).filter(|found| found.powered) else {
                    return Err(BusError::not_ready());
                };
                let entries: HashMap<String, Variant<'_>> =
                    body.deserialize().map_err(|_| BusError::invalid_arguments())?;
                let filter = DiscoveryFilter::parse(&entries)?;
                if !found.filters.contains_key(sender) && found.filters.len() >= MAX_CLIENTS {
                    return Err(BusError::limit("discovery filters"));
                }
                found.filters.insert(sender.to_owned(), filter);
                self.reply(call, &());
            }
            "GetDiscoveryFilters" => self.reply(call, &filter::KEYS.as_slice()),
            _ => {
                let path: ObjectPath<'_> = body.deserialize().map_err(|_| BusError::invalid_arguments())?;
                let device = match self.node_at(path.as_str()) {
                    Some(Node::Device(index)) => self.peer(index).filter(|peer| peer.adapter == adapter).map(|_| index),
                    _ => None,
                };
                let index = device.ok_or_else(BusError::does_not_exist)?;
                self.remove_device(now, index);
                self.reply(call, &());
            }
        }
        Ok(())
    }

    fn device_call(&mut self, now: SimTime, node: Node, member: &str, call: &Message) -> Result<(), BusError> {
        let Node::Device(index) = node else {
            return Err(BusError::not_supported());
        };
        match member {
            "Connect" => self.connect(now, index, call),
            "Pair" => self.pair(now, index, call),
            "CancelPairing" => self.cancel_pairing_call(index, call),
            _ => {
                self.disconnect(now, index, call);
                Ok(())
            }
        }
    }

    fn characteristic_call(
        &mut self,
        now: SimTime,
        node: Node,
        member: &str,
        sender: &str,
        call: &Message,
    ) -> Result<(), BusError> {
        let Node::Characteristic(index, handle) = node else {
            return Err(BusError::not_supported());
        };
        let uuid = match self.characteristic_at(index, handle) {
            Some((_, characteristic)) => characteristic.uuid,
            None => return Err(BusError::does_not_exist()),
        };
        match member {
            "ReadValue" => {
                require_no_offset(call.body().deserialize().ok())?;
                self.read_value(now, index, uuid, call)
            }
            "WriteValue" => {
                let body = call.body();
                let (value, options): (Vec<u8>, HashMap<String, Variant<'_>>) =
                    body.deserialize().map_err(|_| BusError::invalid_arguments())?;
                check_write_type(&options)?;
                require_no_offset(Some(options))?;
                if value.len() > MAX_VALUE {
                    return Err(BusError::invalid_arguments());
                }
                self.write_value(now, index, uuid, value, call)
            }
            "StartNotify" => self.start_notify(now, index, uuid, sender, call),
            _ => self.stop_notify(now, index, uuid, sender, call),
        }
    }

    fn descriptor_call(&mut self, node: Node, member: &str, call: &Message) -> Result<(), BusError> {
        let Node::Configuration(index, handle) = node else {
            return Err(BusError::not_supported());
        };
        if member == "WriteValue" {
            // BlueZ keeps client configurations to itself.
            return Err(BusError::not_permitted("Write not permitted"));
        }
        self.require_link(index)?;
        let (Some((_, characteristic)), Some(unit)) = (self.characteristic_at(index, handle), self.unit(index)) else {
            return Err(BusError::does_not_exist());
        };
        let indicates = characteristic.access.indicate;
        let set = unit.meter.configuration(characteristic.uuid);
        let value: u16 = match (set, indicates) {
            (false, _) => 0,
            (true, false) => 1,
            (true, true) => 2,
        };
        self.reply(call, &value.to_le_bytes().as_slice());
        Ok(())
    }
}

fn no_interface(interface: &str) -> BusError {
    BusError::invalid_args(format!("No such interface '{interface}'"))
}

fn no_property(property: &str) -> BusError {
    BusError::invalid_args(format!("No such property '{property}'"))
}

fn require_no_offset(options: Option<HashMap<String, Variant<'_>>>) -> Result<(), BusError> {
    let options = options.ok_or_else(BusError::invalid_arguments)?;
    match options.get("offset") {
        None | Some(Variant::U16(0) | Variant::U64(0)) => Ok(()),
        // Values of these meters fit one packet, so that there is nothing at an offset.
        Some(Variant::U16(_) | Variant::U64(_)) => Err(BusError::invalid_arguments()),
        Some(_) => Err(BusError::invalid_arguments()),
    }
}

fn check_write_type(options: &HashMap<String, Variant<'_>>) -> Result<(), BusError> {
    match options.get("type") {
        None => Ok(()),
        Some(Variant::Str(kind)) if kind.as_str() == "request" => Ok(()),
        // No characteristic of these meters takes a write without response or a reliable write.
        Some(Variant::Str(kind)) if matches!(kind.as_str(), "command" | "reliable") => Err(BusError::not_supported()),
        Some(_) => Err(BusError::invalid_arguments()),
    }
}

/// The unique name of a client that left the bus, if the signal says so and comes from the bus.
fn departed_client(signal: &Message) -> Option<String> {
    let header = signal.header();
    let from_bus = header
        .sender()
        .is_some_and(|sender| sender.as_str() == "org.freedesktop.DBus");
    if !from_bus || header.member().map(|member| member.as_str()) != Some("NameOwnerChanged") {
        return None;
    }
    let body = signal.body();
    let (name, _old, new): (&str, &str, &str) = body.deserialize().ok()?;
    (name.starts_with(':') && new.is_empty()).then(|| name.to_owned())
}
