//! What comes over MQTT and from people's cards: topics, passwords, signatures, batches, control, down and receipts.
//!
//! Promises: nothing beyond a bound is accepted; what is accepted means the same after it was written again; nobody
//! opens a message without the key.

use carepost_contract::connect::{self, ConnectError};
use carepost_contract::limits::{
    CONNECT_VALIDITY, MAX_BATCH_BYTES, MAX_BATCH_ITEMS, MAX_DOWN_ROWS, MAX_METER_OWNERS, MAX_MODEL_CHARS,
    MAX_PACKET_BYTES, MAX_RAW_BYTES,
};
use carepost_contract::signed;
use carepost_contract::topic::Topic;
use carepost_contract::v1::{
    Batch, Control, Down, Epoch, Item, ParsedBatch, ParsedDown, Receipt, parse_batch, parse_control, parse_down,
    salvage_batch,
};
use carepost_domain::id::GatewayId;
use carepost_domain::meter::{Address, MeterRole};
use carepost_domain::people::MemberCode;
use carepost_domain::quirks::QuirkId;
use chrono::{DateTime, TimeDelta, Utc};
use ed25519_dalek::SigningKey;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::script::Script;

/// The gateway of these messages, and the key it signs with; both as in the seeds.
const GATEWAY: &str = "018f3c5e-0000-7000-8000-000000000001";
const KEY: [u8; 32] = [7; 32];
/// 2026-10-15T07:30:00Z, the server's time for passwords.
const NOW_UNIX_S: i64 = 1_792_049_400;

/// See the module.
pub fn wire(data: &[u8]) {
    let mut script = Script::new(data);
    let case = script.u8();
    let bytes = script.rest();
    match case % 8 {
        0 => words(&String::from_utf8_lossy(bytes)),
        1 => password(bytes),
        2 => signature(bytes),
        3 => batch(bytes),
        4 => control(bytes),
        5 => down(bytes),
        6 => receipt(bytes),
        // A message that is signed rightly and says anything.
        _ => {
            let key = SigningKey::from_bytes(&KEY);
            let message = signed::seal(&key, bytes);
            assert_eq!(signed::open(&key.verifying_key(), &message), Ok(bytes));
        }
    }
}

/// Texts with exactly one spelling, or one that is folded to it.
fn words(text: &str) {
    if let Ok(topic) = text.parse::<Topic>() {
        assert_eq!(topic.to_string(), text, "a topic has one spelling");
    }
    if let Ok(epoch) = text.parse::<Epoch>() {
        assert_eq!(epoch.to_string(), text, "an epoch has one spelling");
    }
    if let Ok(address) = text.parse::<Address>() {
        assert_eq!(address.to_string(), text.to_ascii_uppercase());
    }
    if let Ok(quirk) = text.parse::<QuirkId>() {
        assert_eq!(quirk.to_string(), text, "an entry's id has one spelling");
    }
    if let Ok(code) = text.parse::<MemberCode>() {
        assert!((4..=32).contains(&code.as_str().len()));
        assert_eq!(code.as_str().parse(), Ok(code.clone()));
    }
}

fn password(bytes: &[u8]) {
    let key = SigningKey::from_bytes(&KEY);
    let gateway: GatewayId = GATEWAY.parse().expect("the gateway's id is one");
    let now = DateTime::from_timestamp(NOW_UNIX_S, 0).expect("the time is one");
    match connect::check(&key.verifying_key(), gateway, bytes, now) {
        Ok(()) => {
            let allowed = TimeDelta::from_std(CONNECT_VALIDITY).expect("five minutes are a duration");
            let signed_at = String::from_utf8_lossy(bytes)
                .split('.')
                .nth(1)
                .and_then(|seconds| seconds.parse().ok())
                .and_then(|seconds| DateTime::<Utc>::from_timestamp(seconds, 0))
                .expect("a password that is good has a time");
            assert!((signed_at - now).abs() <= allowed);
            let own = connect::password(&key, gateway, signed_at);
            assert_eq!(own.as_bytes(), bytes, "a signature has one spelling");
        }
        Err(ConnectError::NotNow { off_s }) => {
            assert!(off_s.unsigned_abs() >= CONNECT_VALIDITY.as_secs());
        }
        Err(ConnectError::Malformed | ConnectError::DoesNotVerify) => {}
    }
}

fn signature(message: &[u8]) {
    let key = SigningKey::from_bytes(&KEY);
    if let Ok(payload) = signed::open(&key.verifying_key(), message) {
        assert_eq!(signed::seal(&key, payload), message, "a signature has one spelling");
    }
}

fn batch(payload: &[u8]) {
    let salvaged = salvage_batch(payload);
    let parsed = match parse_batch(payload) {
        Ok(parsed) => parsed,
        Err(_) => {
            if let Some(numbers) = salvaged {
                assert!((1..=MAX_BATCH_ITEMS).contains(&numbers.items));
                assert!(numbers.first_seq >= 1);
            }
            return;
        }
    };
    assert!(payload.len() <= MAX_BATCH_BYTES);
    assert!((1..=MAX_BATCH_ITEMS).contains(&parsed.items.len()));
    let last = u64::try_from(parsed.items.len())
        .ok()
        .and_then(|count| parsed.first_seq.checked_add(count));
    assert!(
        last.is_some_and(|last| i64::try_from(last).is_ok()),
        "every number fits a column"
    );
    let numbers = salvaged.expect("what parses can be salvaged");
    assert_eq!(
        (numbers.first_seq, numbers.items, numbers.lane),
        (parsed.first_seq, parsed.items.len(), parsed.lane)
    );
    assert_eq!(
        (numbers.gateway, numbers.epoch, numbers.settled_seen),
        (parsed.gateway, parsed.epoch, parsed.settled_seen)
    );
    items_are_kept(parsed);
}

/// Every sound item says the same after it was written again, and after it went through the domain's reading.
fn items_are_kept(parsed: ParsedBatch) {
    let items: Vec<Item> = parsed.items.into_iter().flatten().collect();
    if items.is_empty() {
        return;
    }
    for item in &items {
        if let Item::Reading(reading) = item {
            assert!(reading.raw.len() <= MAX_RAW_BYTES);
            assert!(
                reading
                    .context_raw
                    .as_ref()
                    .is_none_or(|raw| raw.len() <= MAX_RAW_BYTES)
            );
            let nonce = reading.nonce;
            let domain = reading.as_ref().clone().into_reading();
            let again = carepost_contract::v1::WireReading::from_reading(domain, nonce);
            assert_eq!(&again, reading.as_ref(), "nothing is lost between wire and domain");
        }
    }
    let batch = Batch::new(parsed.gateway, parsed.epoch, parsed.lane, parsed.settled_seen, 1, items);
    let written = serde_json::to_vec(&batch).expect("a batch can be written");
    if written.len() <= MAX_BATCH_BYTES {
        let again = parse_batch(&written).expect("what was written parses");
        let again: Vec<Item> = again
            .items
            .into_iter()
            .map(|item| item.expect("what was written is sound"))
            .collect();
        assert_eq!(again, batch.items);
    }
}

fn control(payload: &[u8]) {
    if let Ok(message) = parse_control(payload) {
        assert!(payload.len() <= MAX_PACKET_BYTES);
        if let Control::Register(register) = &message
            && register.check().is_ok()
        {
            assert!(register.owners.len() <= MAX_METER_OWNERS);
            assert!(register.meter.model.chars().count() <= MAX_MODEL_CHARS);
            let shared = register.meter.role == MeterRole::StoreShared;
            assert_eq!(register.owners.is_empty(), shared, "a personal meter is somebody's");
        }
        is_kept(&message);
    }
}

fn down(payload: &[u8]) {
    let Ok(ParsedDown {
        message,
        unknown_meters,
    }) = parse_down(payload)
    else {
        return;
    };
    assert!(payload.len() <= MAX_PACKET_BYTES);
    let rows = match &message {
        Down::Snapshot(s) => s.members.len() + s.meters.len() + s.bindings.len() + s.grants.len(),
        Down::Delta(d) => d.members.len() + d.meters.len() + d.bindings.len() + d.grants.len(),
        _ => 0,
    };
    assert!(rows + unknown_meters <= MAX_DOWN_ROWS);
    is_kept(&message);
}

fn receipt(payload: &[u8]) {
    if let Ok(message) = serde_json::from_slice::<Receipt>(payload) {
        is_kept(&message);
    }
}

/// Says the same after it was written again.
fn is_kept<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(message: &T) {
    let written = serde_json::to_vec(message).expect("a message can be written");
    let again: T = serde_json::from_slice(&written).expect("what was written parses");
    assert_eq!(&again, message);
}
