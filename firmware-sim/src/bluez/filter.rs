//! Discovery filters of `Adapter1.SetDiscoveryFilter`.

use std::collections::HashMap;

use carepost_gatt::uuid16::to_uuid128 as uuid128;
use zbus::Variant;

use super::errors::BusError;
use crate::meters::Uuid16;

/// Most UUIDs in one filter, and most characters of a pattern.
const MAX_FILTER_ITEMS: usize = 256;

/// The keys that BlueZ knows.
pub(crate) const KEYS: [&str; 7] = [
    "UUIDs",
    "RSSI",
    "Pathloss",
    "Transport",
    "DuplicateData",
    "Discoverable",
    "Pattern",
];

/// What one client wants to hear of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DiscoveryFilter {
    uuids: Vec<String>,
    rssi: Option<i16>,
    pattern: Option<String>,
    classic_only: bool,
    pub(crate) duplicate_data: bool,
}

impl DiscoveryFilter {
    /// The filter of a client that set none.
    pub(crate) fn everything() -> &'static Self {
        const EVERYTHING: &DiscoveryFilter = &DiscoveryFilter {
            uuids: Vec::new(),
            rssi: None,
            pattern: None,
            classic_only: false,
            duplicate_data: false,
        };
        EVERYTHING
    }

    /// Reads the dictionary of a call. Unknown keys, wrong types and excess are refused as a whole.
    pub(crate) fn parse(entries: &HashMap<String, Variant<'_>>) -> Result<Self, BusError> {
        let mut filter = Self::default();
        let mut pathloss = false;
        for (key, value) in entries {
            match (key.as_str(), value) {
                ("UUIDs", Variant::Array(uuids)) if uuids.len() <= MAX_FILTER_ITEMS => {
                    for uuid in uuids.iter() {
                        let Variant::Str(uuid) = uuid else {
                            return Err(BusError::invalid_arguments());
                        };
                        filter
                            .uuids
                            .push(normal_uuid(uuid.as_str()).ok_or_else(BusError::invalid_arguments)?);
                    }
                }
                ("RSSI", Variant::I16(rssi)) => filter.rssi = Some(*rssi),
                ("Pathloss", Variant::U16(_)) => pathloss = true,
                ("Transport", Variant::Str(transport)) => match transport.as_str() {
                    "auto" | "le" => {}
                    "bredr" => filter.classic_only = true,
                    _ => return Err(BusError::invalid_arguments()),
                },
                ("DuplicateData", Variant::Bool(duplicates)) => filter.duplicate_data = *duplicates,
                ("Discoverable", Variant::Bool(_)) => {}
                ("Pattern", Variant::Str(pattern)) if pattern.as_str().len() <= MAX_FILTER_ITEMS => {
                    filter.pattern = Some(pattern.as_str().to_owned());
                }
                _ => return Err(BusError::invalid_arguments()),
            }
        }
        if pathloss && filter.rssi.is_some() {
            return Err(BusError::invalid_arguments());
        }
        Ok(filter)
    }

    /// Whether the client wants to hear of a low-energy device that advertises these services.
    pub(crate) fn matches(&self, services: &[Uuid16], rssi: i16, address: &str, name: &str) -> bool {
        let wanted = |service: &Uuid16| self.uuids.contains(&uuid128(*service));
        !self.classic_only
            && (self.uuids.is_empty() || services.iter().any(wanted))
            && self.rssi.is_none_or(|threshold| rssi >= threshold)
            && self
                .pattern
                .as_deref()
                .is_none_or(|start| address.starts_with(start) || name.starts_with(start))
    }
}

/// A UUID in its long lower-case form, from the long form or the 16-bit short form.
fn normal_uuid(text: &str) -> Option<String> {
    if let Some(short) = text.strip_prefix("0x").or(Some(text)).filter(|short| short.len() == 4) {
        return u16::from_str_radix(short, 16).ok().map(uuid128);
    }
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    let hex = text.chars().all(|digit| digit == '-' || digit.is_ascii_hexdigit());
    (lengths == [8, 4, 4, 4, 12] && hex).then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(entries: &[(&str, Variant<'static>)]) -> Result<DiscoveryFilter, BusError> {
        let entries = entries
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.try_clone().unwrap()))
            .collect::<HashMap<_, _>>();
        DiscoveryFilter::parse(&entries)
    }

    #[test]
    fn uuids_match_in_either_form() {
        for uuid in ["1810", "0x1810", "00001810-0000-1000-8000-00805F9B34FB"] {
            let filter = parse(&[("UUIDs", vec![uuid].into())]).unwrap();
            assert!(filter.matches(&[0x1810], -60, "", ""), "{uuid}");
            assert!(!filter.matches(&[0x1808], -60, "", ""), "{uuid}");
        }
    }

    #[test]
    fn a_threshold_and_a_pattern_narrow_the_scan() {
        let filter = parse(&[("RSSI", (-50_i16).into()), ("Pattern", "AA:".into())]).unwrap();
        assert!(filter.matches(&[0x1810], -50, "AA:BB", "x"));
        assert!(!filter.matches(&[0x1810], -51, "AA:BB", "x"));
        assert!(!filter.matches(&[0x1810], -40, "CC:BB", "x"));
    }

    #[test]
    fn what_bluez_does_not_know_is_refused() {
        for entry in [
            ("Colour", Variant::from("red")),
            ("UUIDs", "1810".into()),
            ("UUIDs", vec!["zz"].into()),
            ("Transport", "pigeon".into()),
            ("RSSI", "-50".into()),
        ] {
            assert_eq!(parse(&[entry]), Err(BusError::invalid_arguments()));
        }
        let both = [("RSSI", (-50_i16).into()), ("Pathloss", 20_u16.into())];
        assert_eq!(parse(&both), Err(BusError::invalid_arguments()));
    }
}
