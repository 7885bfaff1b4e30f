//! Meters, and reading of their bytes as gateway and server do it.

use carepost_domain::Id;
use carepost_domain::meter::{About, Address, AddressType, Meter, MeterKind, MeterRole, meter_id};
use carepost_domain::quarantine::Reason;
use carepost_domain::quirks::{DecodeQuirks, Quirk, QuirkTable, Traits};
use carepost_domain::reading::{BloodPressure, Glucose, Measurement};
use carepost_domain::record::{Packet, Record, decode};
use carepost_gatt::glucose::{self, Context, Meal};
use carepost_gatt::report::parse_hex;
use chrono::DateTime;

/// A registered meter of this manufacturer and model.
pub(crate) fn meter(kind: MeterKind, manufacturer: &str, model: &str) -> Meter {
    let address = Address::new([0xC4, 0xDE, 1, 2, 3, 4]);
    Meter {
        id: meter_id(address, AddressType::Public),
        address,
        address_type: AddressType::Public,
        kind,
        role: MeterRole::Personal,
        store: Id::from_uuid(uuid::Uuid::from_u128(1)),
        model: model.to_owned(),
        multi_user: false,
        about: About::new(manufacturer, "1", "1.0"),
    }
}

/// The entry of a registered meter.
pub(crate) fn entry_of(meter: &Meter) -> &'static Quirk {
    QuirkTable::current()
        .find(&Traits::of(meter))
        .unwrap_or_else(|| panic!("no entry for {} {}", meter.about.manufacturer, meter.model))
}

/// The entry of a meter that is merely around: its name and services.
pub(crate) fn entry_around(name: &str, services: &[&str]) -> Option<&'static Quirk> {
    let services: Vec<String> = services.iter().map(|&text| text.to_owned()).collect();
    QuirkTable::current().find(&Traits {
        name,
        services: &services,
        ..Traits::default()
    })
}

/// The quirks by which a registered meter's bytes are read.
pub(crate) fn quirks_of(meter: &Meter) -> DecodeQuirks {
    QuirkTable::current()
        .for_bytes_of(meter)
        .map_or(DecodeQuirks::NONE, |quirk| quirk.decode)
}

/// Reads a packet of a registered meter.
pub(crate) fn read(meter: &Meter, raw: &[u8], context: Option<&[u8]>) -> Result<Record, Reason> {
    decode(&Packet {
        meter: meter.id,
        characteristic: meter.kind.characteristic(),
        raw,
        context_raw: context,
        received_at: DateTime::UNIX_EPOCH,
        nonce: 3,
        quirks: quirks_of(meter),
    })
}

pub(crate) fn hex(text: &str) -> Vec<u8> {
    parse_hex(text).unwrap()
}

pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// Why a packet is no reading.
pub(crate) fn reason(record: Result<Record, Reason>) -> Reason {
    match record {
        Ok(record) => record.judged.expect_err("a reading"),
        Err(reason) => reason,
    }
}

pub(crate) fn pressure(record: Result<Record, Reason>) -> BloodPressure {
    match record.unwrap().judged.unwrap().measurement {
        Measurement::BloodPressure(bp) => bp,
        other => panic!("a blood pressure, not {other:?}"),
    }
}

pub(crate) fn glucose_of(record: Result<Record, Reason>) -> Glucose {
    match record.unwrap().judged.unwrap().measurement {
        Measurement::Glucose(glucose) => glucose,
        other => panic!("a glucose value, not {other:?}"),
    }
}

/// A glucose record of 100 mg/dL from a finger.
pub(crate) fn record_of(sequence: u16, base_time: carepost_gatt::DateTime) -> glucose::Measurement {
    let packet = hex("020000EA070A0F071E0064B011");
    glucose::Measurement {
        sequence,
        base_time,
        ..glucose::Measurement::decode(&packet).unwrap().value
    }
}

/// A context with a meal.
pub(crate) fn meal(sequence: u16, code: u8) -> Vec<u8> {
    Context {
        meal: Some(Meal::from_code(code)),
        ..Context::empty(sequence)
    }
    .encode()
    .unwrap()
}
