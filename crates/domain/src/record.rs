//! From a packet's bytes to what it says, by the one path that gateway and server share.
//!
//! The gateway decodes to decide; the server decodes again to verify that values and id follow from the bytes.

use carepost_gatt::{blood_pressure, glucose, uuid16};
use chrono::{DateTime, Utc};

use crate::id::{MeterId, ReadingId};
use crate::quarantine::Reason;
use crate::reading::{Judged, Measurement, Slot, judge_blood_pressure, judge_glucose, slot_from_context};
use crate::reading_id::{RecordKey, reading_id};
use crate::time::MeterTime;

/// A packet that carries one record.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    /// The meter it came from.
    pub meter: MeterId,
    /// Assigned number of the characteristic.
    pub characteristic: u16,
    /// Bytes as received.
    pub raw: &'a [u8],
    /// Bytes of the glucose context that followed, if one did.
    pub context_raw: Option<&'a [u8]>,
    /// When it was received.
    pub received_at: DateTime<Utc>,
    /// Random number drawn at receipt and kept, for records that carry neither date nor number.
    pub nonce: u64,
}

/// What a packet says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Id derived from content.
    pub id: ReadingId,
    /// Whether `received_at` and `nonce` went into the id, because the record has no identity of its own.
    pub received_key: bool,
    /// The record's own date fields.
    pub meter_time: MeterTime,
    /// The meter's user slot, if it says a known one.
    pub user_slot: Option<u8>,
    /// The measurement, or why it is none.
    pub judged: Result<Judged, Reason>,
    /// Meal slot that the context states.
    pub slot: Option<Slot>,
}

/// Decodes a packet.
///
/// # Errors
/// [`Reason::Undecodable`] when the bytes are no record of that characteristic; such a packet has no time, no slot and no
/// derived id. A record that decodes but is no measurement has its reason in [`Record::judged`].
pub fn decode(packet: &Packet<'_>) -> Result<Record, Reason> {
    match packet.characteristic {
        uuid16::BLOOD_PRESSURE_MEASUREMENT => {
            let m = blood_pressure::Measurement::decode(packet.raw)
                .map_err(|_| Reason::Undecodable)?
                .value;
            let own_time_ms = m
                .timestamp
                .as_ref()
                .and_then(carepost_gatt::DateTime::as_if_utc_ms)
                .filter(|ms| *ms >= 0);
            let judged = judge_blood_pressure(&m);
            let user_slot = match m.user_id {
                Some(blood_pressure::UserId::Known(slot)) => Some(slot),
                _ => None,
            };
            let key = match own_time_ms {
                Some(_) => RecordKey::Own {
                    own_time_ms,
                    record_number: None,
                },
                // Two equal pressures without a date are two measurements, unless one link repeats one within 60 s,
                // which the spool folds.
                None => RecordKey::Received {
                    at: packet.received_at,
                    nonce: packet.nonce,
                },
            };
            Ok(Record {
                id: reading_id(packet.meter, packet.characteristic, &key, packet.raw),
                received_key: matches!(key, RecordKey::Received { .. }),
                meter_time: MeterTime::from_gatt(m.timestamp.as_ref(), None),
                user_slot,
                judged,
                slot: None,
            })
        }
        uuid16::GLUCOSE_MEASUREMENT => {
            let m = glucose::Measurement::decode(packet.raw)
                .map_err(|_| Reason::Undecodable)?
                .value;
            let own_time_ms = m.base_time.as_if_utc_ms().filter(|ms| *ms >= 0);
            let key = RecordKey::Own {
                own_time_ms,
                record_number: Some(m.sequence),
            };
            // A context that does not decode or belongs to another record never costs the reading (page 3, vectors).
            let slot = packet
                .context_raw
                .and_then(|raw| glucose::Context::decode(raw).ok())
                .filter(|context| context.value.sequence == m.sequence)
                .and_then(|context| slot_from_context(&context.value));
            Ok(Record {
                id: reading_id(packet.meter, packet.characteristic, &key, packet.raw),
                received_key: false,
                meter_time: MeterTime::from_gatt(Some(&m.base_time), m.time_offset),
                user_slot: None,
                judged: judge_glucose(&m),
                slot,
            })
        }
        _ => Err(Reason::Undecodable),
    }
}

impl Record {
    /// The measurement of a record that is one.
    #[must_use]
    pub fn measurement(&self) -> Option<&Measurement> {
        self.judged.as_ref().ok().map(|judged| &judged.measurement)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Id;
    use crate::reading::Flag;
    use crate::units::{Concentration, GlucoseLevel, GlucoseUnit, Pressure, PulseRate};

    fn bytes(hex: &str) -> Vec<u8> {
        hex.as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    fn packet(characteristic: u16, raw: &[u8]) -> Packet<'_> {
        Packet {
            meter: Id::from_uuid(uuid::Uuid::from_u128(1)),
            characteristic,
            raw,
            context_raw: None,
            received_at: DateTime::UNIX_EPOCH,
            nonce: 5,
        }
    }

    fn judged(characteristic: u16, hex: &str) -> Result<Judged, Reason> {
        decode(&packet(characteristic, &bytes(hex))).and_then(|record| record.judged)
    }

    fn bp(hex: &str) -> Result<Judged, Reason> {
        judged(uuid16::BLOOD_PRESSURE_MEASUREMENT, hex)
    }

    fn glucose_of(hex: &str) -> Result<Judged, Reason> {
        judged(uuid16::GLUCOSE_MEASUREMENT, hex)
    }

    #[test]
    fn a_cuffs_packet_becomes_a_measurement_in_exact_units() {
        let Measurement::BloodPressure(m) = bp("1FA0F06BF07CF0EA070A0F071E004800FF0000").unwrap().measurement else {
            panic!("a blood pressure")
        };
        // 16.0 kPa x 7.50062.
        assert_eq!(m.systolic, Pressure::from_micro_mmhg(120_009_920));
        assert_eq!(m.pulse, Some(PulseRate::from_per_min(72)));
        assert_eq!(m.user_slot, None, "255 is an unknown user");
    }

    #[test]
    fn frames_that_are_not_what_they_claim_are_refused() {
        for (hex, reason) in [
            // Vendor frame on the standard characteristic, big-endian tails: nonsense pulse or pressures.
            ("FE202700750055005F00E407091810093A690001", Reason::Implausible),
            ("56710049000000EA07080B1438000041010000", Reason::Implausible),
            // kPa sent as mmHg.
            ("00BDF00B009FF0", Reason::Implausible),
            // Systolic not above diastolic.
            ("0848005100400001", Reason::Implausible),
            // All values NaN: the cuff's report of a failed measurement.
            ("00FF07FF07FF07", Reason::MeasurementError),
            ("0078", Reason::Undecodable),
            ("", Reason::Undecodable),
        ] {
            assert_eq!(bp(hex).map(|j| j.measurement), Err(reason), "{hex}");
        }
    }

    #[test]
    fn tolerable_oddities_keep_the_reading() {
        // RFU bits set by a real meter; MAP and pulse absent.
        let good = bp("DEF6F416F3FF07E4070114082B00B2F2018000").unwrap();
        assert!(good.flags.is_empty());
        assert!(
            bp("1E7E004E00FF07000000000000004600010400")
                .unwrap()
                .flags
                .contains(&Flag::IrregularPulse)
        );
    }

    #[test]
    fn glucose_keeps_the_unit_that_was_sent() {
        let level = |hex| match glucose_of(hex).unwrap().measurement {
            Measurement::Glucose(g) => g.level,
            Measurement::BloodPressure(_) => panic!("a glucose value"),
        };
        assert_eq!(
            level("020700EA0701010C00005AB011"),
            GlucoseLevel::Value(Concentration {
                milli: 90_000,
                unit: GlucoseUnit::MgPerDl
            })
        );
        assert_eq!(
            level("060700EA0701010C000037C011"),
            GlucoseLevel::Value(Concentration {
                milli: 5_500,
                unit: GlucoseUnit::MmolPerL
            })
        );
        assert_eq!(
            level("020900F5070101000000FE0711"),
            GlucoseLevel::AboveRange {
                unit: GlucoseUnit::MgPerDl
            }
        );
    }

    #[test]
    fn control_solution_and_failures_never_become_readings() {
        for (hex, reason) in [
            ("020800EA0701010C00005AB041", Reason::ControlSolution),
            ("020300EA070A0F071E0064B04A", Reason::ControlSolution),
            ("030100E407030E1717000000FFFF11", Reason::Implausible),
            ("000900EA0701010C0000", Reason::MeasurementError),
            ("0A0600EA070A0F071E00FF07110200", Reason::MeasurementError),
        ] {
            assert_eq!(glucose_of(hex).map(|j| j.measurement), Err(reason), "{hex}");
        }
    }

    #[test]
    fn a_record_without_date_or_number_takes_its_receipt_into_the_id() {
        let raw = bytes("0078005000FF07");
        let first = packet(uuid16::BLOOD_PRESSURE_MEASUREMENT, &raw);
        let second = Packet { nonce: 6, ..first };
        let (a, b) = (decode(&first).unwrap(), decode(&second).unwrap());
        assert!(a.received_key);
        assert_ne!(a.id, b.id);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(raw: Vec<u8>, context: Option<Vec<u8>>, characteristic in prop::sample::select(vec![0x2A35_u16, 0x2A18, 0])) {
            let packet = Packet { context_raw: context.as_deref(), ..packet(characteristic, &raw) };
            if let Ok(record) = decode(&packet) {
                prop_assert_eq!(record.id.uuid().get_version_num(), 8);
            }
        }
    }
}
