//! Ids of readings, derived from content, so that the same record from two gateways or a re-sync is one row.

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

use crate::id::{Id, MeterId, ReadingId};

/// What makes a record itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordKey {
    /// The record carries a date of its own, a number, or both.
    Own {
        /// Its date fields read as if UTC (glucose: base time without offset) in ms since 1970; `None` if absent,
        /// impossible or before 1970.
        own_time_ms: Option<i64>,
        /// Its record number, where the characteristic has one.
        record_number: Option<u16>,
    },
    /// The record has neither: the spool row's receipt time and its random number stand in.
    Received {
        /// When the packet was received.
        at: DateTime<Utc>,
        /// Drawn once and kept in the spool row.
        nonce: u64,
    },
}

/// The id of the record with these raw bytes: UUIDv8 of 48 bits of milliseconds and 74 bits of hash.
///
/// The hash covers meter id, characteristic (16-bit), record number and raw bytes. The member is not part of it: the same
/// packet claimed for two members is a conflict to be shown, never two rows (page 4, "Reading id").
#[must_use]
pub fn reading_id(meter: MeterId, characteristic: u16, key: &RecordKey, raw: &[u8]) -> ReadingId {
    let (time_ms, number, nonce) = match key {
        RecordKey::Own {
            own_time_ms,
            record_number,
        } => (own_time_ms.unwrap_or(0), *record_number, None),
        RecordKey::Received { at, nonce } => (at.timestamp_millis(), None, Some(*nonce)),
    };
    let mut digest = Sha256::new();
    digest.update(b"carepost reading v1\0");
    digest.update(meter.uuid().as_bytes());
    digest.update(characteristic.to_be_bytes());
    // A presence byte before each optional part keeps "absent" and "zero" apart.
    digest.update([u8::from(number.is_some())]);
    digest.update(number.unwrap_or(0).to_be_bytes());
    digest.update([u8::from(nonce.is_some())]);
    digest.update(nonce.unwrap_or(0).to_be_bytes());
    digest.update(raw);
    let hash = digest.finalize();

    let millis = u64::try_from(time_ms).unwrap_or(0).min((1 << 48) - 1);
    let mut bytes = [0_u8; 16];
    for (to, from) in bytes
        .iter_mut()
        .zip(millis.to_be_bytes().iter().skip(2).chain(hash.iter()))
    {
        *to = *from;
    }
    Id::from_uuid(uuid::Builder::from_custom_bytes(bytes).into_uuid())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn meter(n: u128) -> MeterId {
        Id::from_uuid(uuid::Uuid::from_u128(n))
    }

    #[test]
    fn ids_are_version_8_and_led_by_the_records_own_time() {
        let key = RecordKey::Own {
            own_time_ms: Some(0x0001_8BCF_E568),
            record_number: Some(7),
        };
        let id = reading_id(meter(1), 0x2A18, &key, &[1, 2, 3]).uuid();
        assert_eq!(id.get_version_num(), 8);
        assert_eq!(&id.as_bytes()[..6], &[0, 1, 0x8B, 0xCF, 0xE5, 0x68]);
    }

    // The expected texts were computed apart from this code, from the rule in [`reading_id`].
    #[test]
    fn golden_ids_do_not_move_between_versions() {
        let key = RecordKey::Own {
            own_time_ms: Some(1_792_049_400_000),
            record_number: Some(3),
        };
        assert_eq!(
            reading_id(meter(1), 0x2A18, &key, &[2, 3, 0]).to_string(),
            "01a13e77-c8c0-813e-9336-ec33d5a10f81"
        );
        let key = RecordKey::Received {
            at: DateTime::UNIX_EPOCH,
            nonce: 9,
        };
        assert_eq!(
            reading_id(meter(1), 0x2A35, &key, &[0]).to_string(),
            "00000000-0000-80ce-bf01-7826ce63d5d6"
        );
    }

    proptest! {
        #[test]
        fn any_difference_in_content_is_another_id(a in any::<(u8, u16, Option<i64>, Option<u16>, Vec<u8>)>(),
                                                   b in any::<(u8, u16, Option<i64>, Option<u16>, Vec<u8>)>()) {
            let id = |(m, c, t, n, raw): &(u8, u16, Option<i64>, Option<u16>, Vec<u8>)| {
                let key = RecordKey::Own { own_time_ms: t.map(|t| t.rem_euclid(1 << 40)), record_number: *n };
                reading_id(meter(u128::from(*m)), *c, &key, raw)
            };
            prop_assert_eq!(id(&a), id(&a));
            let same = (a.0, a.1, &a.3, &a.4) == (b.0, b.1, &b.3, &b.4);
            if !same {
                prop_assert_ne!(id(&a), id(&b));
            }
        }
    }
}
