//! The objects that bluetoothd is given: services and characteristics of a meter, and its advertisement.

use std::collections::BTreeMap;

use carepost_gatt::uuid16::to_uuid128 as uuid128;
use zbus::{ObjectPath, Variant};

use super::seat::Post;
use crate::SimTime;
use crate::meters::{Access, Demand, Uuid16};

/// Root of everything that the simulator exports.
pub(crate) const BASE: &str = "/org/carepost/sim";

/// The agent.
pub(crate) const AGENT: &str = "/org/carepost/sim/agent";

pub(crate) const SERVICE: &str = "org.bluez.GattService1";
pub(crate) const CHARACTERISTIC: &str = "org.bluez.GattCharacteristic1";
pub(crate) const ADVERTISEMENT: &str = "org.bluez.LEAdvertisement1";
pub(crate) const AGENT_INTERFACE: &str = "org.bluez.Agent1";

/// The bits of limited and of general discoverable mode (Core Specification Supplement, part A, section 1.3).
const DISCOVERABLE_FLAGS: u8 = 0b11;

/// Property values of one interface.
pub(crate) type Values = BTreeMap<&'static str, Variant<'static>>;

/// Objects as an object manager lists them.
pub(crate) type Managed = BTreeMap<ObjectPath<'static>, BTreeMap<&'static str, Values>>;

fn object(path: String) -> ObjectPath<'static> {
    ObjectPath::try_from(path).expect("paths are made of fixed words, adapter names and hex digits")
}

impl Post {
    fn service_path(&self, handle: u16) -> String {
        format!("{}/service{handle:04x}", self.root())
    }

    /// Path of a characteristic's object.
    pub(crate) fn characteristic_path(&self, uuid: Uuid16) -> Option<String> {
        self.meter.profile().services().iter().find_map(|service| {
            let found = service.characteristics.iter().find(|found| found.uuid == uuid)?;
            Some(format!(
                "{}/char{:04x}",
                self.service_path(service.handle),
                found.declaration
            ))
        })
    }

    /// The characteristic whose object has this path.
    pub(crate) fn characteristic_at(&self, path: &str) -> Option<Uuid16> {
        let services = self.meter.profile().services().iter();
        services
            .flat_map(|service| &service.characteristics)
            .map(|characteristic| characteristic.uuid)
            .find(|uuid| self.characteristic_path(*uuid).as_deref() == Some(path))
    }

    /// All objects of the application.
    pub(crate) fn managed(&self) -> Managed {
        let main = self.meter.advertised_service();
        let mut objects = Managed::new();
        for service in self.meter.profile().services() {
            let path = object(self.service_path(service.handle));
            let values = Values::from([("UUID", uuid128(service.uuid).into()), ("Primary", true.into())]);
            objects.insert(path.clone(), BTreeMap::from([(SERVICE, values)]));
            // What is measured is protected; who made the meter is not (page 3, section 2.7).
            let (demands, reads) = if service.uuid == main {
                let settings = self.security.settings();
                (settings.demands, settings.protects_reads)
            } else {
                (Demand::None, false)
            };
            for characteristic in &service.characteristics {
                let Some(characteristic_path) = self.characteristic_path(characteristic.uuid) else {
                    continue;
                };
                let values = Values::from([
                    ("UUID", uuid128(characteristic.uuid).into()),
                    ("Service", path.clone().into()),
                    ("Flags", flags(characteristic.access, demands, reads).into()),
                ]);
                objects.insert(object(characteristic_path), BTreeMap::from([(CHARACTERISTIC, values)]));
            }
        }
        objects
    }

    /// What the meter advertises. The name goes into the scan response, which has room for it.
    pub(crate) fn advertisement(&self, now: SimTime) -> Values {
        let advertisement = self.meter.advertisement(self.name(now));
        let uuids: Vec<String> = advertisement.services.iter().map(|uuid| uuid128(*uuid)).collect();
        // Limited and general discoverable mode are both flags that bluetoothd sets.
        let discoverable = advertisement.flags.is_some_and(|flags| flags & DISCOVERABLE_FLAGS != 0);
        let mut values = Values::from([
            ("Type", "peripheral".into()),
            ("ServiceUUIDs", uuids.into()),
            ("Discoverable", discoverable.into()),
        ]);
        if let Some(name) = advertisement.name {
            values.insert("LocalName", name.into());
        }
        values
    }
}

/// The names of flags that bluetoothd knows for a characteristic of its own server.
fn flags(access: Access, demands: Demand, reads: bool) -> Vec<&'static str> {
    let mut flags = access.flags();
    let protected: &[(bool, &'static str)] = match demands {
        Demand::None => &[],
        Demand::Encryption => &[
            (access.read && reads, "encrypt-read"),
            (access.write, "encrypt-write"),
            (access.notify, "encrypt-notify"),
            (access.indicate, "encrypt-indicate"),
        ],
        Demand::Authentication => &[
            (access.read && reads, "encrypt-authenticated-read"),
            (access.write, "encrypt-authenticated-write"),
            (access.notify, "encrypt-authenticated-notify"),
            (access.indicate, "encrypt-authenticated-indicate"),
        ],
    };
    flags.extend(protected.iter().filter(|(has, _)| *has).map(|(_, flag)| flag));
    flags
}
