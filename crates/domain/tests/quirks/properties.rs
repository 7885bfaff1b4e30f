//! A quirk changes what it is for, and nothing else.

use carepost_domain::meter::{Meter, MeterKind};
use carepost_domain::quirks::DecodeQuirks;
use carepost_domain::record::{Packet, decode};
use carepost_gatt::glucose;
use chrono::DateTime;
use proptest::prelude::*;

use crate::support::{meter, quirks_of};

const KINDS: [MeterKind; 5] = [
    MeterKind::BloodPressure,
    MeterKind::Glucose,
    MeterKind::Weight,
    MeterKind::Temperature,
    MeterKind::OxygenSaturation,
];

/// Manufacturers and models next to those of entries that change the meaning of bytes.
const NEAR_MISSES: [(&str, &str); 16] = [
    ("", ""),
    ("", "BM85"),
    ("Beurer", ""),
    ("Beurer", "BM8"),
    ("Beurer", "BM58"),
    ("Beurer", "BM-85"),
    ("xBeurer", "BM8 5"),
    ("Beuer GmbH", "BM85"),
    ("OMRON", "Beurer BM85"),
    ("i sens", "CareSens"),
    ("xi-SENS", "CareSens"),
    ("CareSens", "i-SENS"),
    ("sens", "N Premier"),
    ("xTaiDoc", "TD-4289"),
    ("Tai Doc", "TD-4289"),
    ("xFora", "DM30b"),
];

/// Every combination that an entry may have.
fn quirks() -> impl Strategy<Value = DecodeQuirks> {
    (
        any::<[bool; 4]>(),
        prop::option::of(prop_oneof![Just(2037_u16), any::<u16>()]),
    )
        .prop_map(
            |([big_endian_tail, month_13_is_january, ketone_meal_6, id_masks_sequence], phantom_year)| DecodeQuirks {
                big_endian_tail,
                month_13_is_january,
                ketone_meal_6,
                phantom_year,
                id_masks_sequence,
            },
        )
}

fn packet<'a>(meter: &Meter, raw: &'a [u8], context: Option<&'a [u8]>, quirks: DecodeQuirks) -> Packet<'a> {
    Packet {
        meter: meter.id,
        characteristic: meter.kind.characteristic(),
        raw,
        context_raw: context,
        received_at: DateTime::UNIX_EPOCH,
        nonce: 3,
        quirks,
    }
}

/// Bytes that mostly are a whole record.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        1 => prop::collection::vec(any::<u8>(), 0..24),
        3 => prop::collection::vec(any::<u8>(), 20..24),
    ]
}

proptest! {
    /// Whatever a meter sends: unless its manufacturer and model are those of an entry, its bytes mean what the
    /// specification says. Nearly those is not those.
    #[test]
    fn bytes_of_a_model_without_an_entry_mean_what_the_specification_says(
        (maker, model) in prop_oneof![
            3 => prop::sample::select(NEAR_MISSES.to_vec()).prop_map(|(maker, model)| (maker.to_owned(), model.to_owned())),
            // No entry is of a maker with a digit in front.
            1 => ("[0-9][A-Za-z0-9& .-]{0,12}", "[A-Za-z0-9 -]{0,12}").prop_filter("a Beurer", |(maker, _)| {
                !maker.to_lowercase().contains("beurer")
            }),
        ],
        kind in prop::sample::select(KINDS.to_vec()),
        raw in bytes(),
        context in prop::option::of(bytes()),
    ) {
        let meter = meter(kind, &maker, &model);
        let as_registered = decode(&packet(&meter, &raw, context.as_deref(), quirks_of(&meter)));
        prop_assert_eq!(as_registered, decode(&packet(&meter, &raw, context.as_deref(), DecodeQuirks::NONE)));
    }

    /// No quirk of cuffs touches another kind, and no quirk of glucose meters either.
    #[test]
    fn a_quirk_stays_with_its_characteristic(
        quirks in quirks(),
        kind in prop::sample::select(KINDS.to_vec()),
        raw in bytes(),
        context in prop::option::of(bytes()),
    ) {
        let relevant = match kind {
            MeterKind::BloodPressure => DecodeQuirks { big_endian_tail: quirks.big_endian_tail, ..DecodeQuirks::NONE },
            MeterKind::Glucose => DecodeQuirks { big_endian_tail: false, ..quirks },
            _ => DecodeQuirks::NONE,
        };
        let meter = meter(kind, "", "");
        let read = |quirks| decode(&packet(&meter, &raw, context.as_deref(), quirks));
        prop_assert_eq!(read(quirks), read(relevant));
    }

    /// A glucose record that shows none of the marks is read as without an entry; masking moves the id and nothing else.
    #[test]
    fn a_record_without_the_mark_is_read_as_any_other(
        quirks in quirks(),
        mut raw in prop::collection::vec(any::<u8>(), 17..20),
        meal in 1_u8..6,
        with_context: bool,
    ) {
        // A month that exists, a year that no entry names, no announced context unless it comes.
        for (index, value) in [(3, 0xEA), (4, 7), (5, 3)] {
            if let Some(byte) = raw.get_mut(index) {
                *byte = value;
            }
        }
        if let (Some(flags), false) = (raw.first_mut(), with_context) {
            *flags &= !0x10;
        }
        let quirks = DecodeQuirks { phantom_year: quirks.phantom_year.filter(|year| *year != 2026), ..quirks };
        let sequence = glucose::Measurement::decode(&raw).unwrap().value.sequence;
        let context = with_context.then(|| crate::support::meal(sequence, meal));
        let meter = meter(MeterKind::Glucose, "", "");
        let read = |quirks| decode(&packet(&meter, &raw, context.as_deref(), quirks)).unwrap();
        let (mut with, without) = (read(quirks), read(DecodeQuirks::NONE));
        if quirks.id_masks_sequence {
            with.id = without.id;
        }
        prop_assert_eq!(with, without);
    }

    /// Whatever the entry, no bytes panic and no control solution becomes a reading.
    #[test]
    fn no_entry_makes_a_reading_of_control_solution(quirks in quirks(), mut raw in bytes(), context in prop::option::of(bytes())) {
        let meter = meter(MeterKind::Glucose, "", "");
        if let Some(flags) = raw.first_mut() {
            *flags |= 2;
        }
        let record = decode(&packet(&meter, &raw, context.as_deref(), quirks));
        if let (Ok(record), Ok(sent)) = (record, glucose::Measurement::decode(&raw)) {
            prop_assert!(!(sent.value.is_control_solution() && record.judged.is_ok()));
        }
    }
}
