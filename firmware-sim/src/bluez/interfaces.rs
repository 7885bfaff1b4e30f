//! What each D-Bus interface offers, as data: for introspection and for telling a wrong call from an unknown one.

use std::fmt::Write as _;

pub(crate) const OBJECT_MANAGER: &str = "org.freedesktop.DBus.ObjectManager";
pub(crate) const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
pub(crate) const INTROSPECTABLE: &str = "org.freedesktop.DBus.Introspectable";
pub(crate) const PEER: &str = "org.freedesktop.DBus.Peer";
pub(crate) const ADAPTER: &str = "org.bluez.Adapter1";
/// What clients serve, not BlueZ.
pub(crate) const AGENT: &str = "org.bluez.Agent1";
pub(crate) const AGENT_MANAGER: &str = "org.bluez.AgentManager1";
pub(crate) const DEVICE: &str = "org.bluez.Device1";
pub(crate) const BATTERY: &str = "org.bluez.Battery1";
pub(crate) const SERVICE: &str = "org.bluez.GattService1";
pub(crate) const CHARACTERISTIC: &str = "org.bluez.GattCharacteristic1";
pub(crate) const DESCRIPTOR: &str = "org.bluez.GattDescriptor1";

/// A method: its name, the types of its arguments in and out.
struct Method(&'static str, &'static [&'static str], &'static [&'static str]);

/// A signal: its name and the types of its arguments.
struct Signal(&'static str, &'static [&'static str]);

/// A property: its name, type and whether clients may set it.
struct Property(&'static str, &'static str, bool);

struct Interface {
    name: &'static str,
    methods: &'static [Method],
    signals: &'static [Signal],
    properties: &'static [Property],
}

const INTERFACES: &[Interface] = &[
    Interface {
        name: INTROSPECTABLE,
        methods: &[Method("Introspect", &[], &["s"])],
        signals: &[],
        properties: &[],
    },
    Interface {
        name: PEER,
        methods: &[Method("Ping", &[], &[]), Method("GetMachineId", &[], &["s"])],
        signals: &[],
        properties: &[],
    },
    Interface {
        name: PROPERTIES,
        methods: &[
            Method("Get", &["s", "s"], &["v"]),
            Method("Set", &["s", "s", "v"], &[]),
            Method("GetAll", &["s"], &["a{sv}"]),
        ],
        signals: &[Signal("PropertiesChanged", &["s", "a{sv}", "as"])],
        properties: &[],
    },
    Interface {
        name: OBJECT_MANAGER,
        methods: &[Method("GetManagedObjects", &[], &["a{oa{sa{sv}}}"])],
        signals: &[
            Signal("InterfacesAdded", &["o", "a{sa{sv}}"]),
            Signal("InterfacesRemoved", &["o", "as"]),
        ],
        properties: &[],
    },
    Interface {
        name: AGENT_MANAGER,
        methods: &[
            Method("RegisterAgent", &["o", "s"], &[]),
            Method("UnregisterAgent", &["o"], &[]),
            Method("RequestDefaultAgent", &["o"], &[]),
        ],
        signals: &[],
        properties: &[],
    },
    Interface {
        name: ADAPTER,
        methods: &[
            Method("StartDiscovery", &[], &[]),
            Method("SetDiscoveryFilter", &["a{sv}"], &[]),
            Method("StopDiscovery", &[], &[]),
            Method("RemoveDevice", &["o"], &[]),
            Method("GetDiscoveryFilters", &[], &["as"]),
        ],
        signals: &[],
        properties: &[
            Property("Address", "s", false),
            Property("AddressType", "s", false),
            Property("Name", "s", false),
            Property("Alias", "s", true),
            Property("Class", "u", false),
            Property("Powered", "b", true),
            Property("Discoverable", "b", true),
            Property("Pairable", "b", true),
            Property("Discovering", "b", false),
            Property("UUIDs", "as", false),
            Property("Modalias", "s", false),
            Property("Roles", "as", false),
        ],
    },
    Interface {
        name: DEVICE,
        methods: &[
            Method("Disconnect", &[], &[]),
            Method("Connect", &[], &[]),
            Method("Pair", &[], &[]),
            Method("CancelPairing", &[], &[]),
        ],
        signals: &[Signal("Disconnected", &["s", "s"])],
        properties: &[
            Property("Address", "s", false),
            Property("AddressType", "s", false),
            Property("Name", "s", false),
            Property("Alias", "s", true),
            Property("Appearance", "q", false),
            Property("Paired", "b", false),
            Property("Bonded", "b", false),
            Property("Trusted", "b", true),
            Property("Blocked", "b", true),
            Property("LegacyPairing", "b", false),
            Property("RSSI", "n", false),
            Property("AdvertisingFlags", "ay", false),
            Property("Connected", "b", false),
            Property("UUIDs", "as", false),
            Property("Adapter", "o", false),
            Property("ServicesResolved", "b", false),
        ],
    },
    Interface {
        name: BATTERY,
        methods: &[],
        signals: &[],
        properties: &[Property("Percentage", "y", false)],
    },
    Interface {
        name: SERVICE,
        methods: &[],
        signals: &[],
        properties: &[
            Property("UUID", "s", false),
            Property("Device", "o", false),
            Property("Primary", "b", false),
            Property("Includes", "ao", false),
        ],
    },
    Interface {
        name: CHARACTERISTIC,
        methods: &[
            Method("ReadValue", &["a{sv}"], &["ay"]),
            Method("WriteValue", &["ay", "a{sv}"], &[]),
            Method("StartNotify", &[], &[]),
            Method("StopNotify", &[], &[]),
        ],
        signals: &[],
        properties: &[
            Property("UUID", "s", false),
            Property("Service", "o", false),
            Property("Value", "ay", false),
            Property("Notifying", "b", false),
            Property("Flags", "as", false),
            Property("MTU", "q", false),
        ],
    },
    Interface {
        name: DESCRIPTOR,
        methods: &[
            Method("ReadValue", &["a{sv}"], &["ay"]),
            Method("WriteValue", &["ay", "a{sv}"], &[]),
        ],
        signals: &[],
        properties: &[
            Property("UUID", "s", false),
            Property("Characteristic", "o", false),
            Property("Value", "ay", false),
        ],
    },
];

fn interface(name: &str) -> Option<&'static Interface> {
    INTERFACES.iter().find(|interface| interface.name == name)
}

/// Whether the interface has a method of this name.
pub(crate) fn has_method(name: &str, member: &str) -> bool {
    interface(name).is_some_and(|interface| interface.methods.iter().any(|method| method.0 == member))
}

/// The interface among `candidates` that has a method of this name, for calls that name no interface.
pub(crate) fn with_method(candidates: &[&'static str], member: &str) -> Option<&'static str> {
    candidates
        .iter()
        .copied()
        .find(|candidate| has_method(candidate, member))
}

/// Whether clients may set a property; `None` if there is no such property.
pub(crate) fn is_writable(name: &str, property: &str) -> Option<bool> {
    interface(name)?
        .properties
        .iter()
        .find(|found| found.0 == property)
        .map(|found| found.2)
}

/// The introspection data of an object with these interfaces and direct children.
pub(crate) fn introspection(interfaces: &[&str], children: &[String]) -> String {
    let mut xml = String::from(
        "<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\"\n \
         \"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">\n<node>\n",
    );
    for found in interfaces.iter().filter_map(|name| interface(name)) {
        write_interface(&mut xml, found).expect("a String takes all text");
    }
    for child in children {
        writeln!(xml, "  <node name=\"{child}\"/>").expect("a String takes all text");
    }
    xml.push_str("</node>\n");
    xml
}

fn write_interface(xml: &mut String, interface: &Interface) -> std::fmt::Result {
    writeln!(xml, "  <interface name=\"{}\">", interface.name)?;
    for Method(name, inputs, outputs) in interface.methods {
        writeln!(xml, "    <method name=\"{name}\">")?;
        for kind in *inputs {
            writeln!(xml, "      <arg type=\"{kind}\" direction=\"in\"/>")?;
        }
        for kind in *outputs {
            writeln!(xml, "      <arg type=\"{kind}\" direction=\"out\"/>")?;
        }
        writeln!(xml, "    </method>")?;
    }
    for Signal(name, arguments) in interface.signals {
        writeln!(xml, "    <signal name=\"{name}\">")?;
        for kind in *arguments {
            writeln!(xml, "      <arg type=\"{kind}\"/>")?;
        }
        writeln!(xml, "    </signal>")?;
    }
    for Property(name, kind, writable) in interface.properties {
        let access = if *writable { "readwrite" } else { "read" };
        writeln!(
            xml,
            "    <property name=\"{name}\" type=\"{kind}\" access=\"{access}\"/>"
        )?;
    }
    writeln!(xml, "  </interface>")
}
