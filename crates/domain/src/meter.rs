//! Meters and who owns which of their user slots.

use std::fmt;
use std::str::FromStr;

use carepost_gatt::uuid16;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::code_enum;
use crate::id::{BindingId, Id, MemberId, MeterId, StoreId};

code_enum! {
    /// How a Bluetooth address came to be.
    pub enum AddressType ("address type") {
        /// Registered with the IEEE.
        Public = "public",
        /// Random static identity address.
        Random = "random",
    }
}

/// A meter's 48-bit Bluetooth identity address, most significant byte first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address([u8; 6]);

/// A text that is no Bluetooth address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a Bluetooth address is six hex pairs with colons, such as C0:26:DF:00:1A:2B")]
pub struct BadAddress;

impl Address {
    /// From six bytes, most significant first.
    #[must_use]
    pub const fn new(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }

    /// The six bytes, most significant first.
    #[must_use]
    pub const fn bytes(self) -> [u8; 6] {
        self.0
    }
}

impl FromStr for Address {
    type Err = BadAddress;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0_u8; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().ok_or(BadAddress)?;
            if part.len() != 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(BadAddress);
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| BadAddress)?;
        }
        if parts.next().is_some() {
            Err(BadAddress)
        } else {
            Ok(Self(bytes))
        }
    }
}
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02X}:{b:02X}:{c:02X}:{d:02X}:{e:02X}:{g:02X}")
    }
}
impl TryFrom<String> for Address {
    type Error = BadAddress;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}
impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

/// The meter's id: a UUIDv8 of identity address and type, so that every gateway mints the same one, offline too.
#[must_use]
pub fn meter_id(address: Address, address_type: AddressType) -> MeterId {
    let mut digest = Sha256::new();
    digest.update(b"carepost meter v1\0");
    digest.update(address.bytes());
    digest.update(address_type.code().as_bytes());
    let hash = digest.finalize();
    let mut bytes = [0_u8; 16];
    for (to, from) in bytes.iter_mut().zip(hash.iter()) {
        *to = *from;
    }
    Id::from_uuid(uuid::Builder::from_custom_bytes(bytes).into_uuid())
}

code_enum! {
    /// Whose meter it is.
    pub enum MeterRole ("meter role") {
        /// Belongs to a person; readings go to bound members.
        Personal = "personal",
        /// Stands in a store; readings go to the sitting in which they were measured.
        StoreShared = "store_shared",
    }
}

code_enum! {
    /// What a meter measures.
    pub enum MeterKind ("meter kind") {
        /// Blood pressure cuff, service 0x1810.
        BloodPressure = "blood_pressure",
        /// Glucose meter, service 0x1808.
        Glucose = "glucose",
        /// Weight scale, service 0x181D.
        Weight = "weight",
        /// Thermometer, service 0x1809.
        Temperature = "temperature",
        /// Pulse oximeter, service 0x1822.
        OxygenSaturation = "oxygen_saturation",
    }
}

impl MeterKind {
    /// Assigned number of the service by which a meter of this kind gives its records.
    #[must_use]
    pub const fn service(self) -> u16 {
        match self {
            Self::BloodPressure => uuid16::BLOOD_PRESSURE_SERVICE,
            Self::Glucose => uuid16::GLUCOSE_SERVICE,
            Self::Weight => uuid16::WEIGHT_SCALE_SERVICE,
            Self::Temperature => uuid16::HEALTH_THERMOMETER_SERVICE,
            Self::OxygenSaturation => uuid16::PULSE_OXIMETER_SERVICE,
        }
    }

    /// Assigned number of the characteristic that carries its records.
    #[must_use]
    pub const fn characteristic(self) -> u16 {
        match self {
            Self::BloodPressure => uuid16::BLOOD_PRESSURE_MEASUREMENT,
            Self::Glucose => uuid16::GLUCOSE_MEASUREMENT,
            Self::Weight => uuid16::WEIGHT_MEASUREMENT,
            Self::Temperature => uuid16::TEMPERATURE_MEASUREMENT,
            Self::OxygenSaturation => uuid16::PLX_SPOT_CHECK,
        }
    }

    /// Whether meters of this kind send what they have as soon as they may, and may forget it then. A glucose meter sends
    /// only what it is asked for, from its memory (page 3, section 2.4).
    #[must_use]
    pub const fn sends_by_itself(self) -> bool {
        match self {
            Self::BloodPressure | Self::Weight | Self::Temperature | Self::OxygenSaturation => true,
            Self::Glucose => false,
        }
    }
}

/// Bytes of one text in [`About`]; what a meter sends beyond is cut. A quarter of an attribute's longest value; names that
/// meters send are far shorter.
pub const MAX_ABOUT_BYTES: usize = 64;

/// What a meter says about itself in its Device Information Service; empty texts where it says nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct About {
    /// Manufacturer name 2A29.
    #[serde(default, deserialize_with = "about_text")]
    pub manufacturer: String,
    /// Serial number 2A25.
    #[serde(default, deserialize_with = "about_text")]
    pub serial: String,
    /// Firmware revision 2A26.
    #[serde(default, deserialize_with = "about_text")]
    pub firmware: String,
}

impl About {
    /// From texts of any length and content: trimmed, without control characters, cut to [`MAX_ABOUT_BYTES`].
    #[must_use]
    pub fn new(manufacturer: &str, serial: &str, firmware: &str) -> Self {
        Self {
            manufacturer: bounded(manufacturer),
            serial: bounded(serial),
            firmware: bounded(firmware),
        }
    }

    /// Whether the meter said nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn bounded(text: &str) -> String {
    let printable: String = text.trim().chars().filter(|c| !c.is_control()).collect();
    let (kept, _) = printable.split_at(printable.floor_char_boundary(MAX_ABOUT_BYTES));
    kept.trim().to_owned()
}

/// Refuses what [`About::new`] would have changed: nobody sends it who keeps the contract.
fn about_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if bounded(&text) == text {
        Ok(text)
    } else {
        Err(serde::de::Error::custom(format!(
            "a text about a meter has at most {MAX_ABOUT_BYTES} bytes and no control characters"
        )))
    }
}

/// A registered meter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meter {
    /// Derived from the address.
    pub id: MeterId,
    /// Identity address.
    pub address: Address,
    /// Its type.
    pub address_type: AddressType,
    /// What it measures.
    pub kind: MeterKind,
    /// Whose it is.
    pub role: MeterRole,
    /// The store where it stands or is usually read.
    pub store: StoreId,
    /// Model in words, as registered; empty when unknown.
    pub model: String,
    /// Whether the meter keeps more than one user's memory, so that a record without a bound slot is nobody's.
    pub multi_user: bool,
    /// What it says about itself; empty for meters registered before that was asked.
    #[serde(default, skip_serializing_if = "About::is_empty")]
    pub about: About,
}

/// That a personal meter, or one user slot of it, is a member's for a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// The binding.
    pub id: BindingId,
    /// The meter.
    pub meter: MeterId,
    /// The owner.
    pub member: MemberId,
    /// The user slot; `None` on single-user meters.
    pub slot: Option<u8>,
    /// Records measured before are quarantined, unless `only_ever_this_person`.
    pub valid_from: DateTime<Utc>,
    /// End, exclusive.
    pub valid_to: Option<DateTime<Utc>>,
    /// Staff recorded that nobody else has ever used the meter.
    pub only_ever_this_person: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_printed() {
        let address: Address = "c0:26:df:00:1a:2b".parse().unwrap();
        assert_eq!(address.to_string(), "C0:26:DF:00:1A:2B");
        for bad in [
            "",
            "C0:26:DF:00:1A",
            "C0:26:DF:00:1A:2B:00",
            "C0:26:DF:00:1A:+B",
            "C026DF001A2B",
        ] {
            assert_eq!(bad.parse::<Address>(), Err(BadAddress), "{bad}");
        }
    }

    #[test]
    fn every_gateway_mints_the_same_meter_id() {
        let address: Address = "C0:26:DF:00:1A:2B".parse().unwrap();
        let id = meter_id(address, AddressType::Public);
        assert_eq!(id, meter_id(address, AddressType::Public));
        assert_ne!(id, meter_id(address, AddressType::Random));
        assert_eq!(id.uuid().get_version_num(), 8);
        // Golden: ids are stored by servers and gateways of every version.
        assert_eq!(id.to_string(), GOLDEN);
    }

    #[test]
    fn what_a_meter_says_about_itself_is_bounded() {
        let about = About::new(" Roche\0\0 ", &"9".repeat(200), "血压计固件".repeat(9).as_str());
        assert_eq!(about.manufacturer, "Roche");
        assert_eq!(about.serial.len(), MAX_ABOUT_BYTES);
        // Whole characters of three bytes: 21 of them fit.
        assert_eq!(about.firmware.len(), 63);
        let text = serde_json::to_string(&about).unwrap();
        assert_eq!(serde_json::from_str::<About>(&text).unwrap(), about);
        assert_eq!(serde_json::from_str::<About>("{}").unwrap(), About::default());
        for bad in ["x".repeat(MAX_ABOUT_BYTES + 1), "a\u{7}b".to_owned(), " a".to_owned()] {
            let text = serde_json::json!({ "serial": bad }).to_string();
            assert!(serde_json::from_str::<About>(&text).is_err(), "{bad:?}");
        }
    }

    /// Computed apart from this code, from the rule in [`meter_id`].
    const GOLDEN: &str = "c202ae9b-6b10-8e5e-8ea5-6be341b2708d";
}
