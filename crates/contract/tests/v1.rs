//! The messages of version 1: golden files that decode for ever, bounds, and bytes from strangers.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use carepost_contract::limits::{
    MAX_BATCH_BYTES, MAX_BATCH_ITEMS, MAX_DOWN_ROWS, MAX_METER_OWNERS, MAX_MODEL_CHARS, MAX_PACKET_BYTES,
};
use carepost_contract::v1::{
    BadRegister, Batch, BatchError, Control, Down, Item, MessageError, Owner, Receipt, Register, parse_batch,
    parse_control, parse_down, salvage_batch,
};
use carepost_domain::Id;
use carepost_domain::meter::{About, MAX_ABOUT_BYTES, MeterRole};
use proptest::prelude::*;
use serde_json::{Value, json};

const BATCH: &str = include_str!("golden/v1/batch.json");
const HELLO: &str = include_str!("golden/v1/hello.json");
const APPLIED: &str = include_str!("golden/v1/applied.json");
const RECEIPT: &str = include_str!("golden/v1/receipt.json");
const SNAPSHOT: &str = include_str!("golden/v1/snapshot.json");
const DELTA: &str = include_str!("golden/v1/delta.json");
const BATCH_DEVICES: &str = include_str!("golden/v1/batch_devices.json");
const REGISTER: &str = include_str!("golden/v1/register.json");
const REGISTER_ONLY_EVER: &str = include_str!("golden/v1/register_only_ever.json");
const REGISTER_REFUSED: &str = include_str!("golden/v1/register_refused.json");
const CURSOR: &str = include_str!("golden/v1/cursor.json");

/// What is mutated: one of every kind of message.
const GOLDEN: [&str; 9] = [
    BATCH,
    BATCH_DEVICES,
    HELLO,
    REGISTER,
    REGISTER_ONLY_EVER,
    REGISTER_REFUSED,
    SNAPSHOT,
    DELTA,
    CURSOR,
];

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
    let devices: Batch = keeps_everything(BATCH_DEVICES);
    assert_eq!(devices.items.len(), 4);
    keeps_everything::<Control>(REGISTER);
    keeps_everything::<Control>(REGISTER_ONLY_EVER);
    keeps_everything::<Down>(REGISTER_REFUSED);
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

/// A gateway that is a version behind does not know every meter, and must still hear of withdrawals.
#[test]
fn a_meter_of_a_later_kind_does_not_take_the_rest_with_it() {
    for golden in [SNAPSHOT, DELTA] {
        let whole = parse_down(golden.as_bytes()).unwrap();
        assert_eq!(whole.unknown_meters, 0);
        let meter = value(golden)["meters"][0].clone();
        let of_a_later_kind = |key: &str, bad: Value| {
            let mut row = meter.clone();
            row[key] = bad;
            row
        };
        let rows = [
            of_a_later_kind("kind", json!("peak_flow")),
            of_a_later_kind("role", json!("lent")),
            of_a_later_kind("address_type", json!(7)),
            json!("text"),
            json!(null),
        ];
        let mut message = value(golden);
        let listed = message["meters"].as_array_mut().unwrap();
        let known = listed.len();
        for (place, row) in rows.iter().enumerate() {
            listed.insert(place.min(known), row.clone());
        }
        let parsed = parse_down(message.to_string().as_bytes()).unwrap();
        assert_eq!(parsed.unknown_meters, rows.len());
        assert_eq!(parsed.message, whole.message, "everything else is there");
        // They count towards the bound all the same.
        message["meters"] = Value::Array(vec![json!({}); MAX_DOWN_ROWS + 1]);
        assert!(matches!(
            parse_down(message.to_string().as_bytes()),
            Err(MessageError::TooManyRows { .. })
        ));
        // What is not a list of meters is no message, and neither is one whose other rows are not understood.
        for (key, bad) in [
            ("meters", json!({})),
            ("meters", json!(7)),
            ("members", json!([{}])),
            ("grants", json!([{ "id": 1 }])),
            ("bindings", json!(["text"])),
        ] {
            let mut message = value(golden);
            message[key] = bad;
            let refused = parse_down(message.to_string().as_bytes());
            assert!(matches!(refused, Err(MessageError::NotA { .. })), "{key}");
        }
    }
    // Other messages have no meters.
    let mut cursor = value(CURSOR);
    cursor["meters"] = json!([{}]);
    assert_eq!(parse_down(cursor.to_string().as_bytes()).unwrap().unknown_meters, 0);
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

/// The bytes of every reading in the golden files say what the reading says.
#[test]
fn the_readings_of_the_golden_batch_follow_from_their_bytes() {
    use carepost_domain::quirks::{DecodeQuirks, QuirkTable};
    use carepost_domain::record::{Packet, decode};
    let batch: Batch = serde_json::from_str(BATCH_DEVICES).unwrap();
    for item in batch.items {
        let Item::Reading(reading) = item else { continue };
        let quirks = reading
            .quirk
            .as_ref()
            .map_or(DecodeQuirks::NONE, |id| QuirkTable::current().by_id(id).unwrap().decode);
        let record = decode(&Packet {
            meter: reading.meter,
            characteristic: reading.characteristic,
            raw: &reading.raw,
            context_raw: reading.context_raw.as_deref(),
            received_at: reading.captured_at,
            nonce: reading.nonce,
            quirks,
        })
        .unwrap();
        let judged = record.judged.unwrap();
        assert_eq!(judged.measurement, reading.measurement);
        assert_eq!(judged.flags, reading.flags);
        assert_eq!(record.id, reading.id);
    }
}

#[test]
fn a_reading_without_an_entry_says_nothing_of_it() {
    for item in value(BATCH)["items"].as_array().unwrap() {
        assert_eq!(item.get("quirk"), None);
    }
    let mut message = value(BATCH_DEVICES);
    for bad in [json!(""), json!("Beurer"), json!("x".repeat(49)), json!(7)] {
        message["items"][0]["quirk"] = bad.clone();
        let parsed = parse_batch(message.to_string().as_bytes()).unwrap();
        let soundness: Vec<bool> = parsed.items.iter().map(Result::is_ok).collect();
        assert_eq!(soundness, [false, true, true, true], "{bad}");
    }
    // An id of a newer table is sound; whether it is known is asked later.
    message["items"][0]["quirk"] = json!("invented-later");
    assert!(parse_batch(message.to_string().as_bytes()).unwrap().items[0].is_ok());
}

fn register() -> Register {
    match parse_control(REGISTER.as_bytes()).unwrap() {
        Control::Register(register) => *register,
        other => panic!("a registration, not {other:?}"),
    }
}

#[test]
fn a_registration_that_cannot_be_so_says_why() {
    assert_eq!(register().check(), Ok(()));
    let meter = register().meter.id;
    let check = |change: &dyn Fn(&mut Register), expected: Result<(), BadRegister>| {
        let mut register = register();
        change(&mut register);
        assert_eq!(register.check(), expected);
        let payload = serde_json::to_vec(&Control::Register(Box::new(register))).unwrap();
        match (parse_control(&payload), expected) {
            (Ok(Control::Register(_)), Ok(())) => {}
            (Err(MessageError::BadRegister(found)), Err(bad)) => assert_eq!(found, bad),
            (other, _) => panic!("{other:?} instead of {expected:?}"),
        }
    };
    let owner = |n: u128, slot| Owner {
        member: Id::from_uuid(uuid::Uuid::from_u128(n)),
        slot,
        only_ever_this_person: false,
    };
    let slots = Err(BadRegister::Slots { meter });
    let other = Id::from_uuid(uuid::Uuid::from_u128(9));
    check(&|r| r.meter.id = other, Err(BadRegister::ForeignId { meter: other }));
    check(
        &|r| r.meter.model = "模".repeat(MAX_MODEL_CHARS + 1),
        Err(BadRegister::LongModel { meter }),
    );
    check(&|r| r.meter.model = "模".repeat(MAX_MODEL_CHARS), Ok(()));
    check(&|r| r.owners.clear(), slots);
    check(&|r| r.owners = vec![owner(1, Some(1)), owner(2, Some(1))], slots);
    check(&|r| r.owners = vec![owner(1, Some(1)), owner(2, None)], slots);
    check(&|r| r.owners = vec![owner(1, Some(255))], slots);
    check(&|r| r.owners = vec![owner(1, Some(254))], Ok(()));
    check(&|r| r.meter.multi_user = false, slots);
    check(
        &|r| {
            r.meter.multi_user = false;
            r.owners = vec![owner(1, None)];
        },
        Ok(()),
    );
    check(
        &|r| {
            r.meter.multi_user = false;
            r.owners = vec![owner(1, None), owner(2, None)];
        },
        slots,
    );
    check(
        &|r| r.meter.role = MeterRole::StoreShared,
        Err(BadRegister::OwnerOfShared { meter }),
    );
    check(
        &|r| {
            r.meter.role = MeterRole::StoreShared;
            r.owners.clear();
        },
        Ok(()),
    );
    let many = |count: usize| (0..count).map(|n| owner(n as u128, u8::try_from(n).ok())).collect();
    check(&|r| r.owners = many(MAX_METER_OWNERS), Ok(()));
    check(
        &|r| r.owners = many(MAX_METER_OWNERS + 1),
        Err(BadRegister::TooManyOwners {
            meter,
            count: MAX_METER_OWNERS + 1,
        }),
    );
}

/// Silence is the safe answer: older gateways do not ask, and their messages say nothing of it.
#[test]
fn only_who_says_so_has_been_the_only_one_ever() {
    let said = |golden: &str| {
        let Control::Register(register) = parse_control(golden.as_bytes()).unwrap() else {
            panic!("a registration")
        };
        let owners = register.owners.into_iter();
        owners.map(|owner| owner.only_ever_this_person).collect::<Vec<_>>()
    };
    assert_eq!(said(REGISTER), [false, false]);
    assert_eq!(said(REGISTER_ONLY_EVER), [true]);
    let mut no = value(REGISTER_ONLY_EVER);
    no["owners"][0]["only_ever_this_person"] = json!(false);
    assert_eq!(said(&no.to_string()), [false]);
    for bad in [json!("yes"), json!(1), json!(null)] {
        no["owners"][0]["only_ever_this_person"] = bad;
        assert!(matches!(
            parse_control(no.to_string().as_bytes()),
            Err(MessageError::NotA { .. })
        ));
    }
}

#[test]
fn a_broken_registration_or_refusal_is_no_message() {
    let check = |golden: &str, path: &[&str], bad: Value| {
        let mut message = value(golden);
        let mut place = &mut message;
        for key in path {
            place = &mut place[*key];
        }
        *place = bad;
        let payload = message.to_string();
        assert!(matches!(
            parse_control(payload.as_bytes()),
            Err(MessageError::NotA { .. })
        ));
        assert!(matches!(parse_down(payload.as_bytes()), Err(MessageError::NotA { .. })));
    };
    check(REGISTER, &["meter", "kind"], json!("telescope"));
    check(REGISTER, &["meter", "address"], json!("C0:26"));
    check(
        REGISTER,
        &["meter", "about", "serial"],
        json!("9".repeat(MAX_ABOUT_BYTES + 1)),
    );
    check(REGISTER, &["meter", "about", "serial"], json!("a\u{1b}[31m"));
    check(REGISTER, &["owners"], json!([{"slot": 1}]));
    check(
        REGISTER,
        &["owners"],
        json!([{"member": "018f3c5e-0000-7000-8000-000000000002", "slot": 256}]),
    );
    check(REGISTER, &["at"], json!("yesterday"));
    check(REGISTER_REFUSED, &["reason"], json!("because"));
    check(REGISTER_REFUSED, &["meter"], json!(null));
}

#[test]
fn a_full_part_of_long_meters_fits_into_a_packet() {
    let mut meter = register().meter;
    meter.model = "M".repeat(MAX_MODEL_CHARS);
    let long = "x".repeat(MAX_ABOUT_BYTES);
    meter.about = About::new(&long, &long, &long);
    let Down::Snapshot(mut part) = serde_json::from_str(SNAPSHOT).unwrap() else {
        panic!("a snapshot")
    };
    part.members.clear();
    part.bindings.clear();
    part.grants.clear();
    part.meters = vec![meter; MAX_DOWN_ROWS];
    let payload = serde_json::to_vec(&Down::Snapshot(part)).unwrap();
    assert!(payload.len() <= MAX_PACKET_BYTES, "{} bytes", payload.len());
    assert!(parse_down(&payload).is_ok());
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
    fn arbitrary_bytes_and_mutated_messages_never_panic(
        junk: Vec<u8>,
        golden in prop::sample::select(GOLDEN.to_vec()),
        at: prop::sample::Index,
        byte: u8,
    ) {
        let mut mutated = golden.as_bytes().to_vec();
        let at = at.index(mutated.len());
        mutated[at] = byte;
        for payload in [&junk, &mutated] {
            let mut understood = 0;
            if let Ok(parsed) = parse_batch(payload) {
                understood += 1;
                prop_assert!((1..=MAX_BATCH_ITEMS).contains(&parsed.items.len()));
                for item in parsed.items.into_iter().flatten() {
                    if let Item::Reading(reading) = item {
                        prop_assert!(reading.raw.len() <= 512);
                    }
                }
            }
            if let Ok(message) = parse_control(payload) {
                understood += 1;
                if let Control::Register(register) = &message {
                    prop_assert_eq!(register.check(), Ok(()));
                }
                let written = serde_json::to_vec(&message).unwrap();
                prop_assert_eq!(parse_control(&written).unwrap(), message);
            }
            if let Ok(parsed) = parse_down(payload) {
                understood += 1;
                let written = serde_json::to_vec(&parsed.message).unwrap();
                let again = parse_down(&written).unwrap();
                prop_assert_eq!((again.message, again.unknown_meters), (parsed.message, 0));
            }
            prop_assert!(understood <= 1, "one payload is two messages");
        }
    }

    /// A mutation of what staff register never makes another meter of it.
    #[test]
    fn a_mutated_registration_is_refused_or_is_about_the_same_meter(at: prop::sample::Index, byte: u8) {
        let mut mutated = REGISTER.as_bytes().to_vec();
        let at = at.index(mutated.len());
        mutated[at] = byte;
        if let Ok(Control::Register(mutated)) = parse_control(&mutated) {
            prop_assert_eq!(mutated.meter.id, register().meter.id);
        }
    }
}
