//! The server's gate for one reading: whether it may be stored for the member it is claimed for.
//!
//! A gateway has asked the same questions with its last copy of the facts; the server asks again with its own.

use chrono::{DateTime, Datelike as _, Utc};
use chrono_tz::Tz;

use crate::attribution::by_binding;
use crate::consent::{Grant, Purpose, Refusal, gate};
use crate::id::StoreId;
use crate::meter::{Binding, Meter, MeterRole};
use crate::quarantine::Reason;
use crate::quirks::{DecodeQuirks, QuirkId, QuirkTable};
use crate::reading::{Attribution, Place, Reading};
use crate::record::{Packet, Record, decode};
use crate::time::{FUTURE_TOLERANCE, MeterTime, TimeQuality, local_to_utc};

/// What the server knows about the people and things that a reading names.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The store of the gateway that sent it.
    pub gateway_store: StoreId,
    /// That store's zone.
    pub zone: Tz,
    /// Whether the member exists.
    pub member_known: bool,
    /// The meter, if it is registered.
    pub meter: Option<&'a Meter>,
    /// Bindings of that meter.
    pub bindings: &'a [Binding],
    /// Grants of that member.
    pub grants: &'a [Grant],
}

/// Why a reading is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Consent was or is absent; nobody keeps it.
    NoConsent(Refusal),
    /// It cannot be used; the gateway keeps it in quarantine.
    Unusable(Reason),
}

/// Decides whether `reading` may be stored at `now`. `nonce` is the random number that travelled with it.
///
/// Consent is asked first, so that nothing of a person without consent is kept for another reason.
///
/// # Errors
/// [`Refused`] with the first reason that applies.
pub fn admit(reading: &Reading, nonce: u64, facts: Facts<'_>, now: DateTime<Utc>) -> Result<(), Refused> {
    if !facts.member_known {
        return Err(Refused::Unusable(Reason::UnknownMember));
    }
    gate(facts.grants, reading.member, Purpose::CareRecord, reading.time.at, now).map_err(Refused::NoConsent)?;
    let meter = facts.meter.ok_or(Refused::Unusable(Reason::UnknownMeter))?;
    usable(reading, nonce, meter, facts, now).map_err(Refused::Unusable)
}

fn usable(reading: &Reading, nonce: u64, meter: &Meter, facts: Facts<'_>, now: DateTime<Utc>) -> Result<(), Reason> {
    // Nothing was measured before 1970 (page 4, "Reading id"), and a year of more than four digits is no time of a gateway.
    let sane = |at: DateTime<Utc>| (1970..=9999).contains(&at.year());
    if !sane(reading.time.at) || !sane(reading.captured_at) {
        return Err(Reason::TimeImpossible);
    }
    let record = decode(&Packet {
        meter: reading.meter,
        characteristic: reading.characteristic,
        raw: &reading.raw,
        context_raw: reading.context_raw.as_deref(),
        received_at: reading.captured_at,
        nonce,
        quirks: quirks_of(reading.quirk.as_ref(), meter)?,
    })?;
    follows_from_bytes(reading, &record)?;
    time_follows(reading, &record, facts.zone)?;
    if reading.measurement.meter_kind() != meter.kind {
        return Err(Reason::Inconsistent);
    }
    if reading.time.at > now + FUTURE_TOLERANCE {
        return Err(Reason::TimeInFuture);
    }
    // A gateway speaks for the meters of its own store only, whoever holds its key.
    if meter.store != facts.gateway_store {
        return Err(Reason::NotAttributable);
    }
    let plausible = match reading.attribution {
        Attribution::Binding { binding } => {
            let found = by_binding(facts.bindings, meter, record.user_slot, reading.time.at)?;
            meter.role == MeterRole::Personal
                && reading.place == Place::Home
                && found.id == binding
                && found.member == reading.member
        }
        // The sitting itself is known to the kiosk only.
        Attribution::Sitting { .. } => meter.role == MeterRole::StoreShared && reading.place == Place::Store,
    };
    if plausible {
        Ok(())
    } else {
        Err(Reason::NotAttributable)
    }
}

/// What the entry that the gateway names changes in the meaning of the bytes.
fn quirks_of(named: Option<&QuirkId>, meter: &Meter) -> Result<DecodeQuirks, Reason> {
    let Some(id) = named else {
        return Ok(DecodeQuirks::NONE);
    };
    let quirk = QuirkTable::current().by_id(id).ok_or(Reason::QuirkUnknown)?;
    if quirk.is_for(meter) {
        Ok(quirk.decode)
    } else {
        Err(Reason::QuirkMismatch)
    }
}

fn follows_from_bytes(reading: &Reading, record: &Record) -> Result<(), Reason> {
    let judged = record.judged.as_ref().map_err(|reason| *reason)?;
    let same = reading.id == record.id
        && reading.measurement == judged.measurement
        && judged.flags.iter().all(|flag| reading.flags.contains(flag))
        && (record.slot.is_none() || reading.slot == record.slot);
    if same { Ok(()) } else { Err(Reason::Inconsistent) }
}

fn time_follows(reading: &Reading, record: &Record, zone: Tz) -> Result<(), Reason> {
    let time = &reading.time;
    let same = match (time.quality, record.meter_time) {
        (TimeQuality::ReceivedTimeUsed, _) => time.at == reading.captured_at,
        (_, MeterTime::Local { local, .. }) => {
            let correction = chrono::TimeDelta::try_seconds(time.correction_s).ok_or(Reason::TimeImpossible)?;
            time.meter_local == Some(local) && local_to_utc(local, zone).checked_add_signed(correction) == Some(time.at)
        }
        _ => false,
    };
    if same { Ok(()) } else { Err(Reason::Inconsistent) }
}

#[cfg(test)]
mod tests {
    use carepost_gatt::uuid16;
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
}
