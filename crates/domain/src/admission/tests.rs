//! What the gate lets in, and what it does not.

use chrono::TimeDelta;

use super::*;
use crate::Id;
use crate::id::{BindingId, MemberId};
use crate::meter::{Address, AddressType, MeterKind, meter_id};
use crate::reading::Flag;
use crate::time::{TimeEvidence, measured_time};
use crate::units::Pressure;

const NONCE: u64 = 11;

fn id<T>(n: u128) -> Id<T> {
    Id::from_uuid(uuid::Uuid::from_u128(n))
}

/// One member with a home cuff, and a record it sent.
struct World {
    meter: Meter,
    bindings: Vec<Binding>,
    grants: Vec<Grant>,
    reading: Reading,
    now: DateTime<Utc>,
}

impl World {
    fn new() -> Self {
        let address = Address::new([1, 2, 3, 4, 5, 6]);
        let meter = Meter {
            id: meter_id(address, AddressType::Public),
            address,
            address_type: AddressType::Public,
            kind: MeterKind::BloodPressure,
            role: MeterRole::Personal,
            store: id(1),
            model: String::new(),
            multi_user: false,
            about: crate::meter::About::default(),
        };
        let member: MemberId = id(2);
        let binding: BindingId = id(3);
        let granted_at = "2026-01-01T00:00:00Z".parse().unwrap();
        // 126/78, 2026-10-15 07:30 in the store's zone, pulse 70, user 1, irregular pulse.
        let raw = vec![0x1E, 126, 0, 78, 0, 0xFF, 7, 0xEA, 7, 10, 15, 7, 30, 0, 70, 0, 1, 4, 0];
        let captured_at: DateTime<Utc> = "2026-10-14T23:31:00Z".parse().unwrap();
        let record = decode(&Packet {
            meter: meter.id,
            characteristic: uuid16::BLOOD_PRESSURE_MEASUREMENT,
            raw: &raw,
            context_raw: None,
            received_at: captured_at,
            nonce: NONCE,
            quirks: DecodeQuirks::NONE,
        })
        .unwrap();
        let time = measured_time(&TimeEvidence {
            meter_time: record.meter_time,
            skew: Some(TimeDelta::milliseconds(41_500)),
            skew_uncertain: false,
            received_at: captured_at,
            clock_trusted: true,
            live_single: true,
            zone: chrono_tz::Asia::Shanghai,
        })
        .unwrap();
        let judged = record.judged.unwrap();
        Self {
            bindings: vec![Binding {
                id: binding,
                meter: meter.id,
                member,
                slot: None,
                valid_from: granted_at,
                valid_to: None,
                only_ever_this_person: false,
            }],
            grants: vec![Grant {
                id: id(4),
                member,
                purpose: Purpose::CareRecord,
                text_version: "1".to_owned(),
                granted_at,
                withdrawn_at: None,
                expires_at: None,
                includes_history: false,
            }],
            reading: Reading {
                id: record.id,
                member,
                meter: meter.id,
                attribution: Attribution::Binding { binding },
                place: Place::Home,
                time,
                captured_at,
                measurement: judged.measurement,
                flags: judged.flags,
                slot: None,
                characteristic: uuid16::BLOOD_PRESSURE_MEASUREMENT,
                raw,
                context_raw: None,
                quirk: None,
            },
            meter,
            now: captured_at + TimeDelta::seconds(2),
        }
    }

    fn verdict(&self) -> Result<(), Refused> {
        let facts = Facts {
            gateway_store: id(1),
            zone: chrono_tz::Asia::Shanghai,
            member_known: true,
            meter: Some(&self.meter),
            bindings: &self.bindings,
            grants: &self.grants,
        };
        admit(&self.reading, NONCE, facts, self.now)
    }
}

fn refused(change: impl FnOnce(&mut World)) -> Refused {
    let mut world = World::new();
    change(&mut world);
    world.verdict().unwrap_err()
}

#[test]
fn a_reading_that_follows_from_its_bytes_is_admitted() {
    assert_eq!(World::new().verdict(), Ok(()));
    let mut rested = World::new();
    rested.reading.flags.push(Flag::NotRested);
    assert_eq!(rested.verdict(), Ok(()), "a person may add a flag");
}

#[test]
fn a_value_id_or_flag_that_does_not_follow_is_refused() {
    let inconsistent = Refused::Unusable(Reason::Inconsistent);
    assert_eq!(
        refused(|w| {
            if let crate::reading::Measurement::BloodPressure(m) = &mut w.reading.measurement {
                m.systolic = Pressure::from_mmhg(120);
            }
        }),
        inconsistent
    );
    assert_eq!(refused(|w| w.reading.id = id(9)), inconsistent);
    assert_eq!(refused(|w| w.reading.flags.clear()), inconsistent);
    // What a cuff reported may be left out if it is said so, and nothing else may.
    let mut undeclared = World::new();
    undeclared.reading.flags = vec![Flag::StatusUndeclared];
    assert_eq!(undeclared.verdict(), Ok(()));
    assert_eq!(refused(|w| w.reading.time.at += TimeDelta::seconds(1)), inconsistent);
    assert_eq!(
        refused(|w| w.reading.time.quality = TimeQuality::ReceivedTimeUsed),
        inconsistent
    );
    assert_eq!(
        refused(|w| w.reading.raw.truncate(3)),
        Refused::Unusable(Reason::Undecodable)
    );
}

/// The world with a cuff whose bytes mean something else by an entry of the quirk table.
fn big_endian_world() -> World {
    let mut world = World::new();
    world.meter.model = "BM85".to_owned();
    world.meter.about = crate::meter::About::new("BEURER GmbH", "", "");
    // As the standard packet, its tail high byte first: pulse 70, user 1, irregular pulse.
    let raw = vec![0x16, 126, 0, 78, 0, 0xFF, 7, 0xEA, 7, 10, 15, 7, 30, 0, 0, 70, 1, 0, 4];
    let quirk = QuirkTable::current().for_bytes_of(&world.meter).unwrap();
    let record = decode(&Packet {
        meter: world.meter.id,
        characteristic: uuid16::BLOOD_PRESSURE_MEASUREMENT,
        raw: &raw,
        context_raw: None,
        received_at: world.reading.captured_at,
        nonce: NONCE,
        quirks: quirk.decode,
    })
    .unwrap();
    let judged = record.judged.unwrap();
    world.reading.id = record.id;
    world.reading.measurement = judged.measurement;
    world.reading.flags = judged.flags;
    world.reading.raw = raw;
    world.reading.quirk = Some(quirk.id.clone());
    world
}

#[test]
fn a_reading_is_decoded_again_by_the_entry_that_it_names() {
    assert_eq!(big_endian_world().verdict(), Ok(()));
    let refused = |change: fn(&mut World)| {
        let mut world = big_endian_world();
        change(&mut world);
        match world.verdict() {
            Err(Refused::Unusable(reason)) => reason,
            other => panic!("refused as unusable, not {other:?}"),
        }
    };
    assert_eq!(refused(|w| w.reading.quirk = None), Reason::ByteOrderSuspected);
    assert_eq!(
        refused(|w| w.reading.quirk = "invented-later".parse().ok()),
        Reason::QuirkUnknown
    );
    assert_eq!(
        refused(|w| w.reading.quirk = "taidoc-fora".parse().ok()),
        Reason::QuirkMismatch,
        "an entry of another model"
    );
    assert_eq!(refused(|w| w.meter.model = "BM54".to_owned()), Reason::QuirkMismatch);
    assert_eq!(
        refused(|w| w.meter.about = crate::meter::About::default()),
        Reason::QuirkMismatch
    );
    assert_eq!(
        refused(|w| w.reading.flags.clear()),
        Reason::Inconsistent,
        "the values still have to follow from the bytes"
    );
    // Firmware is not part of what a meter is: it may be updated between reading and admission.
    let mut updated = big_endian_world();
    updated.meter.about.firmware = "9.9".to_owned();
    assert_eq!(updated.verdict(), Ok(()));
}

/// The world with a glucose meter of this maker and a record as a gateway without the entry would send it.
fn glucose_world(maker: &str, raw: Vec<u8>, context_raw: Option<Vec<u8>>) -> World {
    let mut world = World::new();
    world.meter.kind = MeterKind::Glucose;
    world.meter.about = crate::meter::About::new(maker, "", "");
    let reading = &mut world.reading;
    let record = decode(&Packet {
        meter: world.meter.id,
        characteristic: uuid16::GLUCOSE_MEASUREMENT,
        raw: &raw,
        context_raw: context_raw.as_deref(),
        received_at: reading.captured_at,
        nonce: NONCE,
        quirks: DecodeQuirks::NONE,
    })
    .unwrap();
    let judged = record.judged.unwrap();
    reading.id = record.id;
    reading.measurement = judged.measurement;
    reading.flags = judged.flags;
    reading.slot = record.slot;
    reading.characteristic = uuid16::GLUCOSE_MEASUREMENT;
    reading.raw = raw;
    reading.context_raw = context_raw;
    world
}

/// Number 7 on 2026-10-15 at 07:30, in mg/dL; a context is announced or not.
fn record_bytes(announces: bool, mg_per_dl: u8) -> Vec<u8> {
    let flags = if announces { 0x12 } else { 0x02 };
    vec![flags, 7, 0, 0xEA, 7, 10, 15, 7, 30, 0, mg_per_dl, 0xB0, 0x11]
}

fn context(sequence: u8, meal: u8) -> Vec<u8> {
    vec![0x02, sequence, 0, meal]
}

/// A gateway whose table is older reads a ketone of 1.2 mmol/L as 12 mg/dL, a severe low.
#[test]
fn what_is_no_measurement_by_the_registered_models_entry_is_refused() {
    let unusable = |reason| Err(Refused::Unusable(reason));
    let ketone = |maker| glucose_world(maker, record_bytes(true, 12), None).verdict();
    assert_eq!(ketone("i-SENS"), unusable(Reason::ContextMissing));
    assert_eq!(ketone("Other"), Ok(()));
    // An entry that makes the same of the bytes changes nothing.
    let meal = glucose_world("i-SENS", record_bytes(true, 100), Some(context(7, 3)));
    assert_eq!(meal.verdict(), Ok(()));
    assert_eq!(
        glucose_world("i-SENS", record_bytes(false, 100), None).verdict(),
        Ok(())
    );
    // A tail that can be read both ways, 245 or 128.0, once the user id fills the byte that was too many.
    let mut world = big_endian_world();
    world.reading.raw = vec![
        0x1E, 126, 0, 78, 0, 0xFF, 7, 0xEA, 7, 10, 15, 7, 30, 0, 0, 0xF5, 1, 0, 4,
    ];
    let record = decode(&Packet {
        meter: world.meter.id,
        characteristic: uuid16::BLOOD_PRESSURE_MEASUREMENT,
        raw: &world.reading.raw,
        context_raw: None,
        received_at: world.reading.captured_at,
        nonce: NONCE,
        quirks: DecodeQuirks::NONE,
    })
    .unwrap();
    let judged = record.judged.unwrap();
    world.reading.id = record.id;
    world.reading.measurement = judged.measurement;
    world.reading.flags = judged.flags;
    world.reading.quirk = None;
    assert_eq!(world.verdict(), unusable(Reason::QuirkMismatch));
    world.meter.model = "BM54".to_owned();
    assert_eq!(world.verdict(), Ok(()));
}

#[test]
fn a_context_belongs_to_the_glucose_record_that_it_came_with() {
    let inconsistent = Err(Refused::Unusable(Reason::Inconsistent));
    let with = |context_raw| glucose_world("Other", record_bytes(true, 100), Some(context_raw)).verdict();
    assert_eq!(with(context(7, 3)), Ok(()));
    assert_eq!(with(context(8, 3)), inconsistent, "of another record");
    // The gateway keeps what nobody can read with the newest measurement.
    assert_eq!(with(vec![0xFF]), Ok(()));
    assert_eq!(with(Vec::new()), Ok(()));
    let mut cuff = World::new();
    cuff.reading.context_raw = Some(context(7, 3));
    assert_eq!(cuff.verdict(), inconsistent, "a cuff has none");
}

#[test]
fn an_entry_that_changes_no_bytes_may_be_named() {
    let mut world = World::new();
    world.reading.quirk = "omron-standard".parse().ok();
    assert_eq!(world.verdict(), Ok(()));
}

#[test]
fn another_persons_claim_is_refused() {
    assert_eq!(refused(|w| w.bindings.clear()), Refused::Unusable(Reason::NobodyBound));
    assert_eq!(
        refused(|w| w.bindings[0].member = id(77)),
        Refused::Unusable(Reason::NotAttributable)
    );
    assert_eq!(
        refused(|w| w.reading.attribution = Attribution::Sitting { sitting: id(5) }),
        Refused::Unusable(Reason::NotAttributable),
        "a personal meter knows no sittings"
    );
    assert_eq!(
        refused(|w| w.bindings[0].valid_from = w.now),
        Refused::Unusable(Reason::BeforeBinding)
    );
}

#[test]
fn consent_is_asked_before_anything_that_would_keep_the_data() {
    assert_eq!(
        refused(|w| {
            w.grants[0].withdrawn_at = Some(w.now - TimeDelta::hours(1));
            w.reading.raw.clear();
        }),
        Refused::NoConsent(Refusal::NotNow)
    );
}

#[test]
fn a_meter_measures_what_it_is_registered_for() {
    assert_eq!(
        refused(|w| w.meter.kind = MeterKind::Weight),
        Refused::Unusable(Reason::Inconsistent)
    );
}

#[test]
fn a_gateway_speaks_for_its_own_stores_meters_and_a_home_meter_is_at_home() {
    let not_attributable = Refused::Unusable(Reason::NotAttributable);
    assert_eq!(refused(|w| w.meter.store = id(99)), not_attributable);
    assert_eq!(refused(|w| w.reading.place = Place::Store), not_attributable);
}

#[test]
fn times_beyond_any_calendar_are_refused_and_not_computed_with() {
    for at in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
        let impossible = |world: &mut World| {
            world.grants[0].includes_history = true;
            world.grants[0].granted_at = DateTime::UNIX_EPOCH;
            world.now = world.now.max(at);
            world.reading.time.at = at;
            world.reading.captured_at = at;
            world.reading.time.quality = TimeQuality::ReceivedTimeUsed;
        };
        assert_eq!(refused(impossible), Refused::Unusable(Reason::TimeImpossible), "{at}");
    }
}

#[test]
fn the_future_is_refused() {
    assert_eq!(
        refused(|w| w.now -= TimeDelta::hours(1)),
        Refused::Unusable(Reason::TimeInFuture)
    );
}
