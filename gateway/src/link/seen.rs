//! What a device says of itself on the air.

use btleplug::api::PeripheralProperties;
use btleplug::platform::PeripheralId;
use carepost_domain::meter::{Address, AddressType, MeterKind};
use carepost_gatt::uuid16;

/// Characters of an advertised name that are kept; an advertisement holds 29 bytes, a scan response as many.
const MAX_NAME: usize = 64;
/// Services of one device that are kept.
const MAX_SERVICES: usize = 32;

/// An advertisement's name and services, bounded.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) name: String,
    pub(super) services: Vec<String>,
}

impl Seen {
    pub(super) fn of(properties: &PeripheralProperties) -> Self {
        let name = properties.advertisement_name.as_deref().unwrap_or_default();
        let name: String = name.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect();
        let mut services: Vec<String> = properties.services.iter().map(ToString::to_string).collect();
        services.sort();
        services.dedup();
        services.truncate(MAX_SERVICES);
        Self {
            name: name.trim().to_owned(),
            services,
        }
    }

    /// What a device measures that advertises a standard service.
    pub(super) fn kind(&self) -> Option<MeterKind> {
        let has = |kind: &MeterKind| self.services.contains(&uuid16::to_uuid128(kind.service()));
        MeterKind::ALL.iter().copied().find(has)
    }
}

/// The object path, which btleplug shows without its beginning.
pub(super) fn path_of(id: &PeripheralId) -> String {
    format!("/org/bluez/{id}")
}

/// A device's address as it is now, with its type.
pub(super) fn address_of(properties: &PeripheralProperties) -> Option<(Address, AddressType)> {
    let kind = match properties.address_type? {
        btleplug::api::AddressType::Public => AddressType::Public,
        btleplug::api::AddressType::Random => AddressType::Random,
    };
    Some((Address::new(properties.address.into_inner()), kind))
}

#[cfg(test)]
mod tests {
    use carepost_domain::quirks::{QuirkTable, Support, Traits};

    use super::*;

    fn properties(name: Option<&str>, services: &[u128]) -> PeripheralProperties {
        PeripheralProperties {
            advertisement_name: name.map(str::to_owned),
            services: services.iter().copied().map(uuid::Uuid::from_u128).collect(),
            ..PeripheralProperties::default()
        }
    }

    #[test]
    fn what_a_device_measures_is_known_by_its_services() {
        let base = 0x0000_0000_0000_1000_8000_0080_5F9B_34FB;
        for kind in MeterKind::ALL {
            let service = (u128::from(kind.service()) << 96) | base;
            assert_eq!(Seen::of(&properties(None, &[service])).kind(), Some(*kind));
        }
        assert_eq!(Seen::of(&properties(Some("TV"), &[1, 2])).kind(), None);
    }

    #[test]
    fn names_and_services_of_strangers_are_bounded() {
        let services: Vec<u128> = (0..500).collect();
        let seen = Seen::of(&properties(Some(&format!(" a\u{7}{} ", "b".repeat(500))), &services));
        assert!(seen.name.starts_with("ab") && seen.name.chars().count() <= MAX_NAME);
        assert_eq!(seen.services.len(), MAX_SERVICES);
    }

    #[test]
    fn a_maker_s_own_protocol_is_recognised_and_not_supported() {
        let seen = Seen::of(&properties(None, &[0xcdeacd80_5235_4c07_8846_93a37ee6b86d]));
        let quirk = QuirkTable::current().find(&Traits {
            name: &seen.name,
            services: &seen.services,
            ..Traits::default()
        });
        let support = quirk.map(|quirk| quirk.support);
        assert_eq!((seen.kind(), support), (None, Some(Support::RecognisedUnsupported)));
    }
}
