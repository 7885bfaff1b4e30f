//! What the Bluetooth service's objects say of a meter: pure readings of what was listed.

use std::collections::{BTreeSet, HashMap};

use carepost_domain::id::MeterId;
use carepost_domain::meter::{About, Address, AddressType, MeterKind, meter_id};
use carepost_domain::quirks::{ClockSource, QuirkTable, Support, Traits, WriteClock};
use carepost_gatt::uuid16;

use super::super::failure::Failure;
use super::super::words::{ClockLayout, ClockWrite, Details};
use super::{CHARACTERISTIC, GATT_SERVICE, MAX_SERVICES, MAX_TEXT_BYTES, Objects, Values};

/// Properties of `Device1`.
pub(super) struct Device {
    pub(super) values: Values,
}

impl Device {
    pub(super) fn text(&self, name: &str) -> Option<String> {
        text(&self.values, name)
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        flag(&self.values, name)
    }

    pub(super) fn address(&self) -> Option<(Address, AddressType)> {
        let address = self.text("Address")?.parse().ok()?;
        let kind = self.text("AddressType")?.parse().ok()?;
        Some((address, kind))
    }

    pub(super) fn name(&self) -> String {
        self.text("Name").unwrap_or_default()
    }

    /// Older services do not tell `Bonded` apart from `Paired`.
    pub(super) fn is_bonded(&self) -> bool {
        match self.values.contains_key("Bonded") {
            true => self.flag("Bonded"),
            false => self.flag("Paired"),
        }
    }

    pub(super) fn services(&self) -> BTreeSet<String> {
        let listed = self.values.get("UUIDs").and_then(|uuids| uuids.try_clone().ok());
        let listed: Vec<String> = listed.and_then(|uuids| uuids.try_into().ok()).unwrap_or_default();
        listed.into_iter().take(MAX_SERVICES).collect()
    }
}

/// The GATT objects of a device.
#[derive(Default)]
pub(super) struct Table {
    pub(super) services: BTreeSet<String>,
    /// UUIDs of service and characteristic, and the path.
    pub(super) characteristics: Vec<(String, String, String)>,
}

impl Table {
    pub(super) fn of(objects: &Objects, device: &str) -> Self {
        let inside = format!("{device}/");
        let mut table = Self::default();
        let mut services = HashMap::new();
        for (path, interfaces) in objects.iter().filter(|(path, _)| path.as_str().starts_with(&inside)) {
            if let Some(uuid) = interfaces.get(GATT_SERVICE).and_then(|values| text(values, "UUID"))
                && table.services.len() < MAX_SERVICES
            {
                table.services.insert(uuid.clone());
                services.insert(path.as_str().to_owned(), uuid);
            }
        }
        for (path, interfaces) in objects.iter().filter(|(path, _)| path.as_str().starts_with(&inside)) {
            let Some(uuid) = interfaces.get(CHARACTERISTIC).and_then(|values| text(values, "UUID")) else {
                continue;
            };
            let parent = path.as_str().rsplit_once('/').map_or("", |(parent, _)| parent);
            if let Some(service) = services.get(parent) {
                let entry = (service.clone(), uuid, path.as_str().to_owned());
                table.characteristics.push(entry);
            }
        }
        // Maps have no order; of two equal characteristics the first by path counts.
        table.characteristics.sort_by(|a, b| a.2.cmp(&b.2));
        table
    }

    pub(super) fn find(&self, service: Option<u16>, characteristic: u16) -> Option<&str> {
        let wanted = service.map(uuid16::to_uuid128);
        self.characteristics
            .iter()
            .find(|(of, uuid, _)| {
                same(uuid, &uuid16::to_uuid128(characteristic))
                    && wanted.as_deref().is_none_or(|wanted| same(of, wanted))
            })
            .map(|(_, _, path)| path.as_str())
    }
}

/// A meter of which only its properties are known; nothing where they do not say what it measures, or there is no bond.
pub(super) fn recalled(device: &Device) -> Result<Details, Failure> {
    details(device, &Table::default(), &HashMap::new())
        .filter(|details| details.bonded && details.kind.is_some())
        .ok_or(Failure::NoAnswer)
}

pub(super) fn text(values: &Values, name: &str) -> Option<String> {
    let text = values.get(name)?.downcast_ref::<&str>().ok()?;
    Some(text.chars().take(MAX_TEXT_BYTES).collect())
}

pub(super) fn flag(values: &Values, name: &str) -> bool {
    values
        .get(name)
        .is_some_and(|value| value.downcast_ref::<bool>().unwrap_or(false))
}

fn same(uuid: &str, other: &str) -> bool {
    uuid.eq_ignore_ascii_case(other)
}

pub(super) fn details(device: &Device, table: &Table, texts: &HashMap<u16, String>) -> Option<Details> {
    let (address, address_type) = device.address()?;
    let of = |characteristic: u16| texts.get(&characteristic).map_or("", String::as_str);
    let about = About::new(
        of(uuid16::MANUFACTURER_NAME),
        of(uuid16::SERIAL_NUMBER),
        of(uuid16::FIRMWARE_REVISION),
    );
    // The same rule for the model, whose place is elsewhere.
    let model = About::new(of(uuid16::MODEL_NUMBER), "", "").manufacturer;
    let mut services = device.services();
    services.extend(table.services.iter().cloned());
    let has = |service: u16| services.iter().any(|uuid| same(uuid, &uuid16::to_uuid128(service)));
    let kind = MeterKind::ALL.iter().copied().find(|kind| has(kind.service()));
    let name = About::new(&device.name(), "", "").manufacturer;
    let listed: Vec<String> = services.iter().cloned().collect();
    let quirk = QuirkTable::current().find(&Traits {
        manufacturer: &about.manufacturer,
        model: &model,
        firmware: &about.firmware,
        name: &name,
        services: &listed,
    });
    let unsupported = kind.is_none() || quirk.is_some_and(|quirk| quirk.support == Support::RecognisedUnsupported);
    let clock = quirk
        .filter(|quirk| quirk.talk.write_clock == WriteClock::Pairing)
        .and_then(|quirk| clock_write(quirk.talk.clock, meter_id(address, address_type), kind, table));
    Some(Details {
        address,
        address_type,
        name,
        about,
        model,
        kind,
        unsupported,
        bonded: device.is_bonded(),
        clock,
    })
}

/// Where and how the clock is written: where it is read from, first where the entry says. What has a layout of its maker's
/// own is the link's business.
fn clock_write(source: ClockSource, meter: MeterId, kind: Option<MeterKind>, table: &Table) -> Option<ClockWrite> {
    let at = |service: u16, characteristic: u16, layout: ClockLayout| {
        let path = table.find(Some(service), characteristic)?;
        Some(ClockWrite {
            meter,
            path: path.to_owned(),
            layout,
        })
    };
    let current_time = || {
        at(
            uuid16::CURRENT_TIME_SERVICE,
            uuid16::CURRENT_TIME,
            ClockLayout::CurrentTime,
        )
    };
    let date_time = || at(kind?.service(), uuid16::DATE_TIME, ClockLayout::DateTime);
    match source {
        ClockSource::CurrentTime => current_time().or_else(date_time),
        ClockSource::DateTime => date_time().or_else(current_time),
        ClockSource::None => None,
    }
}
