//! The messages of version 1: golden files that decode for ever, bounds, and bytes from strangers.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use carepost_contract::limits::{MAX_BATCH_BYTES, MAX_BATCH_ITEMS, MAX_DOWN_ROWS, MAX_PACKET_BYTES};
use carepost_contract::v1::{
    Batch, BatchError, Control, Down, Item, MessageError, Receipt, parse_batch, parse_control, parse_down,
    salvage_batch,
};
use proptest::prelude::*;
use serde_json::{Value, json};

const BATCH: &str = include_str!("golden/v1/batch.json");
const HELLO: &str = include_str!("golden/v1/hello.json");
const APPLIED: &str = include_str!("golden/v1/applied.json");
const RECEIPT: &str = include_str!("golden/v1/receipt.json");
const SNAPSHOT: &str = include_str!("golden/v1/snapshot.json");
const DELTA: &str = include_str!("golden/v1/delta.json");
const CURSOR: &str = include_str!("golden/v1/cursor.json");

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Decoding and encoding again gives the same JSON: nothing of the golden file was dropped or renamed.
fn keeps_everything<T: serde::Serialize + serde::de::DeserializeOwned>(golden: &str) -> T {
    let decoded: T = serde_json::from_str(golden).unwrap();
    assert_eq!(serde_json::to_value(&decoded).unwrap(), value(golden));
    decoded
}

#[test]
fn golden_messages_decode_and_encode_to_themselves() {
    let batch: Batch = keeps_everything(BATCH);
    assert_eq!(batch.items.len(), 3);
    keeps_everything::<Control>(HELLO);
    keeps_everything::<Control>(APPLIED);
    keeps_everything::<Receipt>(RECEIPT);
    keeps_everything::<Down>(SNAPSHOT);
    keeps_everything::<Down>(DELTA);
    keeps_everything::<Down>(CURSOR);
}

#[test]
fn unknown_fields_of_a_newer_sender_are_ignored() {
    let mut message = value(BATCH);
    message["invented_later"] = json!({"a": [1, 2]});
    message["items"][0]["invented_later"] = json!(7);
    let parsed = parse_batch(message.to_string().as_bytes()).unwrap();
    assert!(parsed.items.iter().all(Result::is_ok));
}

#[test]
fn one_bad_item_does_not_take_its_batch_with_it() {
    for bad in [
        json!("text"),
        json!(null),
        json!({"item": "reading"}),
        json!({"item": "unheard_of"}),
        json!({"item": "reading", "raw": "zz"}),
    ] {
        let mut message = value(BATCH);
        message["items"][1] = bad.clone();
        let parsed = parse_batch(message.to_string().as_bytes()).unwrap();
        let soundness: Vec<bool> = parsed.items.iter().map(Result::is_ok).collect();
        assert_eq!(soundness, [true, false, true], "{bad}");
    }
}

#[test]
fn an_item_with_more_bytes_than_an_attribute_has_is_refused() {
    let mut message = value(BATCH);
    message["items"][0]["raw"] = json!("00".repeat(513));
    assert!(parse_batch(message.to_string().as_bytes()).unwrap().items[0].is_err());
}

#[test]
fn frames_beyond_the_contract_are_refused_with_a_reason() {
    let with = |change: fn(&mut Value)| {
        let mut message = value(BATCH);
        change(&mut message);
        parse_batch(message.to_string().as_bytes()).map(|_| ()).unwrap_err()
    };
    assert!(matches!(
        with(|m| m["schema"] = json!("carepost.batch/9")),
        BatchError::OtherSchema
    ));
    assert!(matches!(
        with(|m| m["items"] = json!([])),
        BatchError::ItemCount { count: 0 }
    ));
    assert!(matches!(
        with(|m| m["items"] = Value::Array(vec![json!({"item": "void"}); MAX_BATCH_ITEMS + 1])),
        BatchError::ItemCount { .. }
    ));
    assert!(matches!(with(|m| m["first_seq"] = json!(0)), BatchError::SeqRange));
    assert!(matches!(
        with(|m| m["first_seq"] = json!(u64::MAX)),
        BatchError::SeqRange
    ));
    assert!(matches!(with(|m| m["first_seq"] = json!(-1)), BatchError::NotABatch(_)));
    assert!(matches!(with(|m| m["epoch"] = json!("00")), BatchError::NotABatch(_)));
    assert!(matches!(with(|m| m["gateway"] = json!("me")), BatchError::NotABatch(_)));
    let large = vec![b' '; MAX_BATCH_BYTES + 1];
    assert!(matches!(parse_batch(&large), Err(BatchError::TooLarge { .. })));
    assert!(matches!(parse_batch(b"NaN"), Err(BatchError::NotABatch(_))));
}

#[test]
fn the_numbers_of_an_unusable_batch_can_still_be_settled() {
    let mut message = value(BATCH);
    message["schema"] = json!("carepost.batch/9");
    let salvaged = salvage_batch(message.to_string().as_bytes()).unwrap();
    assert_eq!((salvaged.first_seq, salvaged.items), (7, 3));
    let padded = format!("{}{}", message, " ".repeat(MAX_BATCH_BYTES));
    assert_eq!(salvage_batch(padded.as_bytes()), Some(salvaged));
    message["first_seq"] = json!(0);
    assert_eq!(salvage_batch(message.to_string().as_bytes()), None);
    assert_eq!(salvage_batch(b"NaN"), None);
}

#[test]
fn deep_nesting_is_an_error_and_not_a_crash() {
    let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
    assert!(parse_batch(deep.as_bytes()).is_err());
    assert!(parse_control(deep.as_bytes()).is_err());
    assert!(parse_down(deep.as_bytes()).is_err());
    let mut message = BATCH.trim_end().to_owned();
    message.truncate(message.len() - 1);
    let nested = format!("{message},\"later\":{}{}}}", "[".repeat(20_000), "]".repeat(20_000));
    // Whatever the parser says of a nested unknown field, it says it as a value.
    assert!(
        parse_batch(nested.as_bytes()).is_ok_and(|b| b.items.len() == 3) || parse_batch(nested.as_bytes()).is_err()
    );
}

#[test]
fn control_and_down_messages_have_bounds() {
    let large = vec![b' '; MAX_PACKET_BYTES + 1];
    assert!(matches!(parse_control(&large), Err(MessageError::TooLarge { .. })));
    assert!(matches!(parse_down(&large), Err(MessageError::TooLarge { .. })));
    let mut message = value(DELTA);
    let member = message["members"][0].clone();
    message["members"] = Value::Array(vec![member; MAX_DOWN_ROWS + 1]);
    assert!(matches!(
        parse_down(message.to_string().as_bytes()),
        Err(MessageError::TooManyRows { .. })
    ));
    assert!(matches!(
        parse_control(br#"{"type":"unheard_of"}"#),
        Err(MessageError::NotA { .. })
    ));
}

#[test]
fn a_full_batch_of_readings_is_found_to_be_too_large_before_it_is_sent() {
    // A glucose reading has about 700 bytes of JSON, so the byte bound bites before the item bound.
    let item = value(BATCH)["items"][0].clone();
    let message = json!({"schema": "carepost.batch/1", "gateway": "018f3c5e-0000-7000-8000-000000000001",
        "epoch": "0123456789abcdef", "lane": "replay", "first_seq": 1, "items": vec![item; MAX_BATCH_ITEMS]});
    assert!(matches!(
        parse_batch(message.to_string().as_bytes()),
        Err(BatchError::TooLarge { .. })
    ));
}

proptest! {
    #[test]
    fn arbitrary_bytes_and_mutated_messages_never_panic(junk: Vec<u8>, at in 0_usize..4_000, byte: u8) {
        let mut mutated = BATCH.as_bytes().to_vec();
        let at = at % mutated.len();
        mutated[at] = byte;
        for payload in [&junk, &mutated] {
            if let Ok(parsed) = parse_batch(payload) {
                for item in parsed.items.into_iter().flatten() {
                    if let Item::Reading(reading) = item {
                        prop_assert!(reading.raw.len() <= 512);
                    }
                }
            }
            prop_assert!(parse_control(payload).is_err());
            prop_assert!(parse_down(payload).is_err());
        }
    }
}
