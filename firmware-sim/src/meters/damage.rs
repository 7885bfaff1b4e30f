//! Damage to the bytes of a measurement on their way out, by the layout of its characteristic (page 3, sections 2.2, 2.3
//! and 2.6).

use carepost_gatt::{DateTime, MedFloat, uuid16};

use super::Uuid16;
use super::faults::{Damage, Special};

/// What a date field is replaced by.
const MONTH_13: u8 = 13;

/// Where the fields of a whole packet are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Layout {
    /// Offsets of 16-bit medical floats.
    sfloats: Vec<usize>,
    /// Offset of a 32-bit medical float.
    float: Option<usize>,
    /// Offset of a weight, which is a plain number.
    weight: Option<usize>,
    date: Option<usize>,
    pulse: Option<usize>,
    offset: Option<usize>,
    /// Offset of sample type and location, of a temperature type or of a meal.
    code: Option<usize>,
    status: Option<usize>,
}

impl Layout {
    fn of(characteristic: Uuid16, value: &[u8]) -> Self {
        let flags = value.first().copied().unwrap_or(0);
        let has = |bit: u8| flags & (1 << bit) != 0;
        let mut at = 1;
        let mut take = |present: bool, length: usize| {
            let found = present.then_some(at);
            at += if present { length } else { 0 };
            found
        };
        match characteristic {
            uuid16::BLOOD_PRESSURE_MEASUREMENT => {
                let mut sfloats: Vec<usize> = (0..3).filter_map(|_| take(true, 2)).collect();
                let date = take(has(1), DateTime::LENGTH);
                let pulse = take(has(2), 2);
                take(has(3), 1);
                sfloats.extend(pulse);
                Self {
                    sfloats,
                    date,
                    pulse,
                    status: take(has(4), 2),
                    ..Self::default()
                }
            }
            uuid16::GLUCOSE_MEASUREMENT => {
                take(true, 2);
                let date = take(true, DateTime::LENGTH);
                let offset = take(has(0), 2);
                Self {
                    date,
                    offset,
                    sfloats: take(has(1), 2).into_iter().collect(),
                    code: take(has(1), 1),
                    status: take(has(3), 2),
                    ..Self::default()
                }
            }
            uuid16::GLUCOSE_CONTEXT => {
                take(true, 2);
                take(has(7), 1);
                take(has(0), 3);
                Self {
                    code: take(has(1), 1),
                    ..Self::default()
                }
            }
            uuid16::TEMPERATURE_MEASUREMENT => Self {
                float: take(true, 4),
                date: take(has(1), DateTime::LENGTH),
                code: take(has(2), 1),
                ..Self::default()
            },
            uuid16::WEIGHT_MEASUREMENT => Self {
                weight: take(true, 2),
                date: take(has(1), DateTime::LENGTH),
                ..Self::default()
            },
            uuid16::PLX_SPOT_CHECK => {
                let sfloats: Vec<usize> = (0..2).filter_map(|_| take(true, 2)).collect();
                Self {
                    pulse: sfloats.last().copied(),
                    sfloats,
                    date: take(has(0), DateTime::LENGTH),
                    status: take(has(1), 2),
                    ..Self::default()
                }
            }
            _ => Self::default(),
        }
    }
}

/// The bytes as a meter with this damage sends them. `ordinal` counts records, for damage that goes around.
pub(crate) fn apply(damage: Damage, characteristic: Uuid16, value: &[u8], ordinal: u64) -> Vec<u8> {
    let layout = Layout::of(characteristic, value);
    let mut bytes = value.to_vec();
    // Lengths are at most 512, so that the remainder fits.
    let around = |length: usize| usize::try_from(ordinal % (length.max(1) as u64)).unwrap_or(0);
    match damage {
        // A context without its measurement's bytes would name a record all the same.
        Damage::Empty => bytes.clear(),
        Damage::OneByte => bytes.truncate(1),
        Damage::Truncated => bytes.truncate(around(value.len())),
        Damage::Trailing => bytes.extend_from_slice(&[0xA5, 0x5A]),
        Damage::ReservedFlags => set_bits(&mut bytes, 0, reserved_flags(characteristic)),
        Damage::UnknownCodes => unknown_codes(&layout, characteristic, &mut bytes),
        Damage::Special(special) => {
            let fields = layout.sfloats.len() + usize::from(layout.float.is_some());
            match layout.sfloats.get(around(fields)) {
                Some(at) => put(&mut bytes, *at, &sfloat(special)),
                None => layout.float.iter().for_each(|at| put(&mut bytes, *at, &float(special))),
            }
        }
        Damage::Filler => fill(&layout, &mut bytes, &[0xFF; 2], &[0xFF; 4]),
        Damage::AllNaN => fill(&layout, &mut bytes, &sfloat(Special::NaN), &float(Special::NaN)),
        Damage::VendorPrefix => {
            bytes = [0xFE, 0x20, 0x27, 0x00]
                .into_iter()
                .chain(value.iter().skip(1).copied())
                .collect();
        }
        Damage::BigEndianTail => big_endian_tail(&layout, &mut bytes),
        Damage::WrongUnit => flip_unit(characteristic, &mut bytes),
        Damage::SwappedPressures => {
            if let ([systolic, diastolic, ..], uuid16::BLOOD_PRESSURE_MEASUREMENT) =
                (layout.sfloats.as_slice(), characteristic)
            {
                let (high, low) = (word(value, *systolic), word(value, *diastolic));
                put(&mut bytes, *systolic, &low);
                put(&mut bytes, *diastolic, &high);
            }
        }
        Damage::ZeroPulse => layout.pulse.iter().for_each(|at| put(&mut bytes, *at, &[0, 0])),
        Damage::Month13 => put_date(&layout, &mut bytes, 2, &[MONTH_13]),
        Damage::January13 => {
            if layout.date.and_then(|at| value.get(at + 2)) == Some(&1) {
                put_date(&layout, &mut bytes, 2, &[MONTH_13]);
            }
        }
        Damage::ThirtyFirstOfFebruary => put_date(&layout, &mut bytes, 2, &[2, 31]),
        Damage::MonthZero => put_date(&layout, &mut bytes, 2, &[0]),
        Damage::DayZero => put_date(&layout, &mut bytes, 3, &[0]),
        Damage::Offset(word) => with_offset(&layout, characteristic, &mut bytes, word),
    }
    bytes
}

fn reserved_flags(characteristic: Uuid16) -> u8 {
    match characteristic {
        uuid16::TEMPERATURE_MEASUREMENT => 0b1111_1000,
        uuid16::WEIGHT_MEASUREMENT => 0b1111_0000,
        // All bits of a context mean something, and a set one promises a field.
        uuid16::GLUCOSE_CONTEXT => 0,
        _ => 0b1110_0000,
    }
}

fn sfloat(special: Special) -> [u8; 2] {
    let word: u16 = match special {
        Special::NaN => 0x07FF,
        Special::PosInf => 0x07FE,
        Special::NegInf => 0x0802,
        Special::NRes => 0x0800,
        Special::Reserved => 0x0801,
    };
    debug_assert!(MedFloat::from_sfloat(word).number().is_none());
    word.to_le_bytes()
}

fn float(special: Special) -> [u8; 4] {
    let word: u32 = match special {
        Special::NaN => 0x007F_FFFF,
        Special::PosInf => 0x007F_FFFE,
        Special::NegInf => 0x0080_0002,
        Special::NRes => 0x0080_0000,
        Special::Reserved => 0x0080_0001,
    };
    word.to_le_bytes()
}

/// Writes over what is there; never beyond the end.
fn put(bytes: &mut [u8], at: usize, new: &[u8]) {
    for (place, byte) in bytes.iter_mut().skip(at).zip(new) {
        *place = *byte;
    }
}

fn set_bits(bytes: &mut [u8], at: usize, bits: u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte |= bits;
    }
}

fn word(bytes: &[u8], at: usize) -> [u8; 2] {
    let byte = |at: usize| bytes.get(at).copied().unwrap_or(0);
    [byte(at), byte(at + 1)]
}

fn put_date(layout: &Layout, bytes: &mut [u8], field: usize, new: &[u8]) {
    if let Some(at) = layout.date {
        put(bytes, at + field, new);
    }
}

fn fill(layout: &Layout, bytes: &mut [u8], short: &[u8; 2], long: &[u8; 4]) {
    for at in layout.sfloats.iter().chain(&layout.weight) {
        put(bytes, *at, short);
    }
    if let Some(at) = layout.float {
        put(bytes, at, long);
    }
}

fn unknown_codes(layout: &Layout, characteristic: Uuid16, bytes: &mut [u8]) {
    if let Some(at) = layout.code {
        let code = match characteristic {
            // Type 15, location 5.
            uuid16::GLUCOSE_MEASUREMENT => 0x5F,
            uuid16::GLUCOSE_CONTEXT => 9,
            _ => 200,
        };
        put(bytes, at, &[code]);
    }
    // Bits 12-15 mean nothing in any of the status fields but the oximeter's, whose bits 0-4 do not.
    if let Some(at) = layout.status {
        match characteristic {
            uuid16::PLX_SPOT_CHECK => set_bits(bytes, at, 0x1F),
            _ => set_bits(bytes, at + 1, 0xF0),
        }
    }
}

/// The tail of a BM85: pulse, user id, status, all without a word about the user in the flags (`vectors.csv`, quirk
/// `beurer_be_tail`). The flags say time stamp, pulse, status and a reserved bit.
fn big_endian_tail(layout: &Layout, bytes: &mut Vec<u8>) {
    const RESERVED_BIT: u8 = 1 << 6;
    const USER_FLAG: u8 = 1 << 3;
    const STATUS_FLAG: u8 = 1 << 4;
    let (Some(at), Some(flags)) = (layout.pulse, bytes.first().copied()) else {
        return;
    };
    let [low, high] = word(bytes, at);
    let user = (flags & USER_FLAG != 0).then(|| bytes.get(at + 2).copied()).flatten();
    let [status_low, status_high] = layout.status.map_or([0, 0], |at| word(bytes, at));
    bytes.truncate(at);
    bytes.extend_from_slice(&[high, low, user.unwrap_or(0), status_high, status_low]);
    put(bytes, 0, &[(flags & !USER_FLAG) | STATUS_FLAG | RESERVED_BIT]);
}

fn flip_unit(characteristic: Uuid16, bytes: &mut [u8]) {
    let bit = match characteristic {
        uuid16::GLUCOSE_MEASUREMENT => 1 << 2,
        uuid16::BLOOD_PRESSURE_MEASUREMENT | uuid16::TEMPERATURE_MEASUREMENT | uuid16::WEIGHT_MEASUREMENT => 1,
        _ => 0,
    };
    if let Some(flags) = bytes.first_mut() {
        *flags ^= bit;
    }
}

/// Puts a time offset in, or over the one that is there.
fn with_offset(layout: &Layout, characteristic: Uuid16, bytes: &mut Vec<u8>, offset: u16) {
    const OFFSET_FLAG: u8 = 1;
    let Some(after_date) = layout.date.map(|at| at + DateTime::LENGTH) else {
        return;
    };
    if characteristic != uuid16::GLUCOSE_MEASUREMENT || after_date > bytes.len() {
        return;
    }
    match layout.offset {
        Some(at) => put(bytes, at, &offset.to_le_bytes()),
        None => {
            let tail = bytes.split_off(after_date);
            bytes.extend_from_slice(&offset.to_le_bytes());
            bytes.extend_from_slice(&tail);
            set_bits(bytes, 0, OFFSET_FLAG);
        }
    }
}

#[cfg(test)]
mod tests {
    use carepost_gatt::blood_pressure::Measurement;

    use super::*;

    const CUFF: Uuid16 = uuid16::BLOOD_PRESSURE_MEASUREMENT;

    #[test]
    fn the_big_endian_tail_is_that_of_the_vectors() {
        // 113/73, 2026-08-11 20:56:00, pulse 65, user 1, status 0, as an honest cuff would send it.
        let honest = [
            0x1E, 0x71, 0, 0x49, 0, 0, 0, 0xEA, 7, 8, 0x0B, 0x14, 0x38, 0, 0x41, 0, 1, 0, 0,
        ];
        let sent = apply(Damage::BigEndianTail, CUFF, &honest, 1);
        let vector = [
            0x56, 0x71, 0, 0x49, 0, 0, 0, 0xEA, 7, 8, 0x0B, 0x14, 0x38, 0, 0, 0x41, 1, 0, 0,
        ];
        assert_eq!(sent, vector);
    }

    #[test]
    fn truncation_goes_through_every_length() {
        let value = [0x04, 120, 0, 80, 0, 0xFF, 7, 70, 0];
        let mut lengths: Vec<usize> = (1..=9)
            .map(|ordinal| apply(Damage::Truncated, CUFF, &value, ordinal).len())
            .collect();
        lengths.sort_unstable();
        assert_eq!(lengths, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn a_special_goes_through_every_field() {
        let value = [0x04, 120, 0, 80, 0, 93, 0, 70, 0];
        let mut seen = [false; 4];
        for ordinal in 0..4 {
            let sent = apply(Damage::Special(Special::NRes), CUFF, &value, ordinal);
            let decoded = Measurement::decode(&sent).unwrap().value;
            let fields = [decoded.systolic, decoded.diastolic, decoded.map, decoded.pulse.unwrap()];
            for (field, seen) in fields.iter().zip(&mut seen) {
                *seen |= *field == MedFloat::NRes;
            }
        }
        assert_eq!(seen, [true; 4]);
    }

    #[test]
    fn an_offset_is_put_in_where_there_is_none() {
        let glucose = [0x02, 1, 0, 0xEA, 7, 3, 1, 8, 30, 0, 0x64, 0xB0, 0x11];
        let sent = apply(Damage::Offset(0x7FFF), uuid16::GLUCOSE_MEASUREMENT, &glucose, 1);
        let decoded = carepost_gatt::glucose::Measurement::decode(&sent).unwrap().value;
        assert_eq!(decoded.time_offset, Some(carepost_gatt::glucose::TimeOffset::Overrun));
        assert_eq!(
            decoded.concentration.unwrap().value.number(),
            Some(carepost_gatt::Decimal::new(100, -5))
        );
    }
}
