//! The server's gate for one reading, from bytes of a gateway that may lie about everything.
//!
//! Promises: a reading that a gateway made honestly from the bytes is admitted; the same reading with one thing changed,
//! be it value, time, id, person, meter, place or bytes, is refused; whatever is admitted has consent, lies within what a
//! meter can measure, and follows from its bytes.

use carepost_contract::v1::{Item, WireReading, parse_batch};
use carepost_domain::Id;
use carepost_domain::admission::{Facts, Refused, admit};
use carepost_domain::consent::{Grant, Purpose, gate};
use carepost_domain::meter::{About, Address, AddressType, Binding, Meter, MeterKind, MeterRole, meter_id};
use carepost_domain::quirks::{DecodeQuirks, QuirkTable};
use carepost_domain::reading::{Attribution, Measurement, Place, Reading};
use carepost_domain::record::{Packet, decode};
use carepost_domain::time::{FUTURE_TOLERANCE, TimeEvidence, TimeQuality, measured_time};
use carepost_domain::units::{Concentration, GlucoseLevel, GlucoseUnit, Pressure, PulseRate, TenthsOfPercent};
use carepost_gatt::glucose::Context;
use chrono::{DateTime, Datelike as _, TimeDelta, Utc};
use chrono_tz::Tz;

use super::meter_values::within_reach;
use super::script::Script;

/// 2026-10-15T07:30:00Z.
const NOW_UNIX_S: i64 = 1_792_049_400;
const ZONES: [Tz; 4] = [
    chrono_tz::Asia::Shanghai,
    chrono_tz::Europe::Berlin,
    chrono_tz::America::St_Johns,
    chrono_tz::Australia::Lord_Howe,
];

/// Manufacturers and models as they are registered: none, and one for each entry of the quirk table that changes what
/// bytes mean.
const MODELS: [(&str, &str); 5] = [
    ("", ""),
    ("BEURER GmbH", "BM85"),
    ("i-SENS", "CareSens"),
    ("TaiDoc", "TD-4277"),
    ("OMRON", "RS7"),
];
const KINDS: [MeterKind; 5] = [
    MeterKind::BloodPressure,
    MeterKind::Glucose,
    MeterKind::Weight,
    MeterKind::Temperature,
    MeterKind::OxygenSaturation,
];

/// See the module.
pub fn server_admission(data: &[u8]) {
    let mut script = Script::new(data);
    match script.u8() % 2 {
        0 => batch(script),
        _ => made_from_bytes(script),
    }
}

fn id<T>(n: u128) -> Id<T> {
    Id::from_uuid(uuid::Uuid::from_u128(n))
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(NOW_UNIX_S, 0).expect("the time is one")
}

/// What the server knows, arranged so that a claim is refused for itself and not because the world is empty.
struct World {
    meter: Meter,
    bindings: Vec<Binding>,
    grants: Vec<Grant>,
    zone: Tz,
}

impl World {
    fn around(reading: &Reading, zone: Tz, slot: Option<u8>, meter: Meter) -> Self {
        let binding = match reading.attribution {
            Attribution::Binding { binding } => binding,
            Attribution::Sitting { .. } => id(3),
        };
        Self {
            meter: Meter {
                id: reading.meter,
                role: match reading.place {
                    Place::Home => MeterRole::Personal,
                    Place::Store => MeterRole::StoreShared,
                },
                multi_user: slot.is_some(),
                ..meter
            },
            bindings: vec![Binding {
                id: binding,
                meter: reading.meter,
                member: reading.member,
                slot,
                valid_from: DateTime::UNIX_EPOCH,
                valid_to: None,
                only_ever_this_person: false,
            }],
            grants: vec![Grant {
                id: id(4),
                member: reading.member,
                purpose: Purpose::CareRecord,
                text_version: "1".to_owned(),
                granted_at: DateTime::UNIX_EPOCH,
                withdrawn_at: None,
                expires_at: None,
                includes_history: false,
            }],
            zone,
        }
    }

    fn verdict(&self, reading: &Reading, nonce: u64) -> Result<(), Refused> {
        let facts = Facts {
            gateway_store: id(1),
            zone: self.zone,
            member_known: true,
            meter: Some(&self.meter),
            bindings: &self.bindings,
            grants: &self.grants,
        };
        let verdict = admit(reading, nonce, facts, now());
        if verdict.is_ok() {
            self.deserved(reading, nonce);
        }
        verdict
    }

    /// What must be true of everything that is admitted.
    fn deserved(&self, reading: &Reading, nonce: u64) {
        let consent = gate(
            &self.grants,
            reading.member,
            Purpose::CareRecord,
            reading.time.at,
            now(),
        );
        assert_eq!(consent, Ok(()), "nothing is stored without consent");
        assert!((1970..=9999).contains(&reading.time.at.year()));
        assert!(reading.time.at <= now() + FUTURE_TOLERANCE);
        within_reach(&reading.measurement);
        let quirks = match &reading.quirk {
            None => DecodeQuirks::NONE,
            Some(id) => {
                let entry = QuirkTable::current()
                    .by_id(id)
                    .expect("what is admitted names an entry");
                assert!(entry.is_for(&self.meter), "an entry of another model");
                entry.decode
            }
        };
        let record = decode(&packet(reading, nonce, quirks)).expect("what is admitted decodes");
        assert_eq!(record.id, reading.id);
        assert_eq!(record.measurement(), Some(&reading.measurement));
    }
}

fn packet(reading: &Reading, nonce: u64, quirks: DecodeQuirks) -> Packet<'_> {
    Packet {
        meter: reading.meter,
        characteristic: reading.characteristic,
        raw: &reading.raw,
        context_raw: reading.context_raw.as_deref(),
        received_at: reading.captured_at,
        nonce,
        quirks,
    }
}

/// A registered meter; id, role and slots follow the claim.
fn meter(kind: MeterKind, (manufacturer, model): (&str, &str)) -> Meter {
    let address = Address::new([1, 2, 3, 4, 5, 6]);
    Meter {
        id: meter_id(address, AddressType::Public),
        address,
        address_type: AddressType::Public,
        kind,
        role: MeterRole::Personal,
        store: id(1),
        model: model.to_owned(),
        multi_user: false,
        about: About::new(manufacturer, "", ""),
    }
}

/// A batch as it comes; the world is arranged around each claim.
fn batch(script: Script<'_>) {
    let Ok(parsed) = parse_batch(script.rest()) else { return };
    for item in parsed.items.into_iter().flatten() {
        let Item::Reading(wire) = item else { continue };
        let nonce = wire.nonce;
        let reading = wire.into_reading();
        let meter = meter(reading.measurement.meter_kind(), MODELS[0]);
        let world = World::around(&reading, chrono_tz::Asia::Shanghai, None, meter);
        // Whatever the verdict, it is a value; what it must be is checked inside.
        if world.verdict(&reading, nonce).is_ok() {
            let again = WireReading::from_reading(reading.clone(), nonce).into_reading();
            assert_eq!(world.verdict(&again, nonce), Ok(()));
        }
    }
}

/// A reading that an honest gateway would make from a record, and then the same with one thing changed.
fn made_from_bytes(mut script: Script<'_>) {
    let kind = KINDS[usize::from(script.u8()) % KINDS.len()];
    let meter = meter(kind, MODELS[usize::from(script.u8()) % MODELS.len()]);
    let selector = script.u8();
    let change = script.u8();
    let amount = script.u64();
    let skew_s = i64::from(script.u16().cast_signed());
    let received_ago_s = i64::from(script.u16());
    let raw = script.piece();
    let context = (!script.is_empty())
        .then(|| script.rest())
        .filter(|context| comes_with(context, kind, raw));
    let bit = |n: u8| selector & (1 << n) != 0;
    let zone = ZONES.get(usize::from(selector >> 6)).copied().unwrap_or(chrono_tz::UTC);
    let quirk = QuirkTable::current().for_bytes_of(&meter);
    let characteristic = kind.characteristic();
    let captured_at = now() - TimeDelta::seconds(received_ago_s);
    let record = decode(&Packet {
        meter: meter.id,
        characteristic,
        raw,
        context_raw: context,
        received_at: captured_at,
        nonce: amount,
        quirks: quirk.map_or(DecodeQuirks::NONE, |quirk| quirk.decode),
    });
    let Ok(record) = record else { return };
    let Ok(judged) = record.judged.clone() else { return };
    let evidence = TimeEvidence {
        meter_time: record.meter_time,
        skew: bit(1).then(|| TimeDelta::seconds(skew_s)),
        skew_uncertain: bit(0),
        received_at: captured_at,
        clock_trusted: !bit(2),
        live_single: bit(3),
        zone,
    };
    let Ok(time) = measured_time(&evidence) else { return };
    let at_home = bit(4);
    let reading = Reading {
        id: record.id,
        member: id(2),
        meter: meter.id,
        attribution: if at_home {
            Attribution::Binding { binding: id(3) }
        } else {
            Attribution::Sitting { sitting: id(5) }
        },
        place: if at_home { Place::Home } else { Place::Store },
        time,
        captured_at,
        measurement: judged.measurement,
        flags: judged.flags,
        slot: record.slot,
        characteristic,
        raw: raw.to_vec(),
        context_raw: context.map(<[u8]>::to_vec),
        quirk: quirk.map(|quirk| quirk.id.clone()),
    };
    let slot = record.user_slot.filter(|_| bit(5));
    let world = World::around(&reading, zone, slot, meter);
    let honest = world.verdict(&reading, amount);
    // An untrusted clock may date a record after the server's now, or before anything was measured.
    let datable = (DateTime::UNIX_EPOCH..=now() + FUTURE_TOLERANCE).contains(&reading.time.at);
    if datable {
        assert_eq!(honest, Ok(()), "an honest reading is refused: {reading:?}");
    } else {
        assert!(honest.is_err());
    }
    if let Some((changed, nonce)) = change_one_thing(&reading, amount, change, record.received_key) {
        assert!(
            world.verdict(&changed, nonce).is_err(),
            "change {change} is not noticed: {changed:?}"
        );
    }
}

/// Whether a gateway would keep a context with a record: the context of a glucose record of that number, or one that nobody
/// can read.
fn comes_with(context: &[u8], kind: MeterKind, raw: &[u8]) -> bool {
    kind == MeterKind::Glucose
        && Context::decode(context).map_or(true, |read| {
            raw.get(1..3) == Some(read.value.sequence.to_le_bytes().as_slice())
        })
}

/// The reading with one thing changed that must not be; `None` where the change would be none.
fn change_one_thing(reading: &Reading, amount: u64, change: u8, received_key: bool) -> Option<(Reading, u64)> {
    let mut changed = reading.clone();
    let mut nonce = amount;
    let step = i64::try_from(amount % 1_000_000).ok()?.saturating_add(1);
    match change % 16 {
        0 => value(&mut changed.measurement, step),
        1 => changed.id = id(u128::from(amount)),
        2 => changed.time.at += TimeDelta::seconds(step),
        // Where the time of receipt stands in, nothing was corrected, and the field means nothing.
        3 if changed.time.quality == TimeQuality::ReceivedTimeUsed => return None,
        3 => changed.time.correction_s = changed.time.correction_s.checked_add(step)?,
        4 => {
            changed.raw.pop()?;
        }
        5 => {
            let at = usize::try_from(amount).ok()? % changed.raw.len().max(1);
            *changed.raw.get_mut(at)? ^= 1 << (change % 8);
        }
        6 => changed.raw.push(change),
        7 => changed.meter = id(u128::from(amount)),
        8 => changed.member = id(u128::from(amount) | 1 << 100),
        9 => {
            changed.place = match changed.place {
                Place::Home => Place::Store,
                Place::Store => Place::Home,
            };
        }
        10 => {
            changed.attribution = match changed.attribution {
                Attribution::Binding { .. } => Attribution::Sitting { sitting: id(5) },
                Attribution::Sitting { .. } => Attribution::Binding { binding: id(3) },
            };
        }
        11 => {
            changed.flags.pop()?;
        }
        12 => {
            // Only where it went into the id: elsewhere the number means nothing.
            if !received_key {
                return None;
            }
            nonce = nonce.wrapping_add(1);
        }
        // No such entry, or that of another model.
        13 => {
            let id = if amount.is_multiple_of(2) {
                "invented-later"
            } else {
                "no-such-meter"
            };
            changed.quirk = Some(id.parse().ok()?);
        }
        // The context of another record, or of something that has none.
        14 => {
            let [low, high] = match changed.raw.get(1..3) {
                Some([low, high]) => [*low, *high ^ 0x80],
                _ => [0, 0],
            };
            changed.context_raw = Some(vec![0, low, high]);
        }
        _ => {
            if changed.time.quality == TimeQuality::ReceivedTimeUsed {
                changed.captured_at -= TimeDelta::seconds(step);
            } else {
                changed.time.meter_local = changed
                    .time
                    .meter_local
                    .and_then(|local| local.checked_add_signed(TimeDelta::seconds(step)));
            }
        }
    }
    Some((changed, nonce))
}

/// Another value, however little.
fn value(measurement: &mut Measurement, step: i64) {
    match measurement {
        Measurement::BloodPressure(m) => {
            if step % 2 == 0 {
                m.systolic = Pressure::from_micro_mmhg(m.systolic.micro_mmhg().saturating_add(step));
            } else {
                m.pulse = match m.pulse {
                    Some(pulse) => Some(PulseRate::from_milli_per_min(
                        pulse.milli_per_min().saturating_add(step),
                    )),
                    None => Some(PulseRate::from_per_min(70)),
                };
            }
        }
        Measurement::Glucose(m) => {
            m.level = match m.level {
                GlucoseLevel::Value(value) => GlucoseLevel::Value(Concentration {
                    milli: value.milli.saturating_add(step),
                    ..value
                }),
                GlucoseLevel::AboveRange { unit } => GlucoseLevel::BelowRange { unit },
                GlucoseLevel::BelowRange { .. } => GlucoseLevel::Value(Concentration {
                    milli: 5_500,
                    unit: GlucoseUnit::MmolPerL,
                }),
            };
        }
        Measurement::Weight(m) => m.mass.milli = m.mass.milli.saturating_add(step),
        Measurement::Temperature(m) => m.degrees.milli = m.degrees.milli.saturating_add(step),
        Measurement::OxygenSaturation(m) => m.spo2 = TenthsOfPercent::new(m.spo2.tenths().saturating_add(step)),
    }
}
