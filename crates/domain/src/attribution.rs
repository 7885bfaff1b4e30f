//! Whose reading it is, from evidence only: a bound meter, then a kiosk sitting (page 4, "Attribution").

use chrono::{DateTime, Timelike as _, Utc};

use crate::id::{MemberId, SittingId};
use crate::meter::{Binding, Meter};
use crate::quarantine::Reason;

/// Finds the binding that makes a personal meter's record somebody's.
///
/// # Errors
/// [`Reason::SlotUnknown`] when a multi-user meter's slot is absent, unknown or bound to nobody;
/// [`Reason::BeforeBinding`] when the record is older than the binding and staff did not record "only ever this person's";
/// [`Reason::NobodyBound`] when no binding covers the time.
pub fn by_binding<'a>(
    bindings: &'a [Binding],
    meter: &Meter,
    slot: Option<u8>,
    measured_at: DateTime<Utc>,
) -> Result<&'a Binding, Reason> {
    let wanted = if meter.multi_user {
        Some(slot.ok_or(Reason::SlotUnknown)?)
    } else {
        None
    };
    let mut candidates: Vec<&Binding> = bindings
        .iter()
        .filter(|b| b.meter == meter.id && b.slot == wanted)
        .collect();
    candidates.sort_by_key(|b| (b.valid_from, b.id));
    let Some(first) = candidates.first().copied() else {
        return Err(if meter.multi_user {
            Reason::SlotUnknown
        } else {
            Reason::NobodyBound
        });
    };
    let covers = |b: &&&Binding| b.valid_from <= measured_at && b.valid_to.is_none_or(|end| measured_at < end);
    let mut covering = candidates.iter().filter(covers);
    match (covering.next(), covering.next()) {
        (Some(binding), None) => Ok(binding),
        // Two members at once for one slot: no evidence for either.
        (Some(a), Some(b)) => {
            if a.member == b.member {
                Ok(a)
            } else {
                Err(Reason::MemberConflict)
            }
        }
        (None, _) if measured_at < first.valid_from && first.only_ever_this_person => Ok(first),
        (None, _) if measured_at < first.valid_from => Err(Reason::BeforeBinding),
        (None, _) => Err(Reason::NobodyBound),
    }
}

/// A time at a kiosk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sitting {
    /// The sitting.
    pub id: SittingId,
    /// Who sits there; `None` in anonymous mode.
    pub member: Option<MemberId>,
    /// When the person was identified.
    pub began: DateTime<Utc>,
    /// When it ended; `None` while it goes on.
    pub ended: Option<DateTime<Utc>>,
}

impl Sitting {
    /// Whether an instant lies in it.
    ///
    /// Meters keep whole seconds, cut off: one that measured right after the identification shows the second in which
    /// that fell. An inflation alone takes longer, so nobody else's reading can lie in that second.
    #[must_use]
    pub fn covers(&self, at: DateTime<Utc>) -> bool {
        let began = self.began.with_nanosecond(0).unwrap_or(self.began);
        began <= at && self.ended.is_none_or(|end| at < end)
    }
}

/// Finds the sitting in which a store-shared meter's record was measured.
///
/// `measured_at` is the corrected time of a meter with a clock. A meter without one passes `None` with `live`: the record
/// was the first on a link opened after identification and the link showed no backlog; then it belongs to the sitting that
/// covers its receipt.
#[must_use]
pub fn by_sitting(
    sittings: &[Sitting],
    measured_at: Option<DateTime<Utc>>,
    received_at: DateTime<Utc>,
    live: bool,
) -> Option<&Sitting> {
    let at = match (measured_at, live) {
        (Some(at), _) => at,
        (None, true) => received_at,
        (None, false) => return None,
    };
    let mut covering = sittings.iter().filter(|s| s.covers(at));
    match (covering.next(), covering.next()) {
        (Some(sitting), None) => Some(sitting),
        // Sittings of one kiosk never overlap; if a clock step made them, nobody is the safe answer.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::Id;
    use crate::meter::{Address, AddressType, MeterKind, MeterRole, meter_id};

    fn at(minutes: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::minutes(minutes)
    }

    fn member(n: u128) -> MemberId {
        Id::from_uuid(uuid::Uuid::from_u128(n))
    }

    fn meter(multi_user: bool) -> Meter {
        let address = Address::new([1, 2, 3, 4, 5, 6]);
        Meter {
            id: meter_id(address, AddressType::Public),
            address,
            address_type: AddressType::Public,
            kind: MeterKind::BloodPressure,
            role: MeterRole::Personal,
            store: Id::from_uuid(uuid::Uuid::from_u128(1)),
            model: String::new(),
            multi_user,
            about: crate::meter::About::default(),
        }
    }

    fn binding(n: u128, slot: Option<u8>, from: i64, to: Option<i64>, only: bool) -> Binding {
        Binding {
            id: Id::from_uuid(uuid::Uuid::from_u128(n)),
            meter: meter(false).id,
            member: member(n),
            slot,
            valid_from: at(from),
            valid_to: to.map(at),
            only_ever_this_person: only,
        }
    }

    #[test]
    fn two_people_who_share_a_cuff_get_their_own_slots() {
        let cuff = meter(true);
        let bindings = [binding(1, Some(1), 0, None, false), binding(2, Some(2), 0, None, false)];
        assert_eq!(
            by_binding(&bindings, &cuff, Some(1), at(5)).map(|b| b.member),
            Ok(member(1))
        );
        assert_eq!(
            by_binding(&bindings, &cuff, Some(2), at(5)).map(|b| b.member),
            Ok(member(2))
        );
        assert_eq!(
            by_binding(&bindings, &cuff, Some(3), at(5)).map(|b| b.member),
            Err(Reason::SlotUnknown)
        );
        assert_eq!(
            by_binding(&bindings, &cuff, None, at(5)).map(|b| b.member),
            Err(Reason::SlotUnknown)
        );
    }

    #[test]
    fn records_from_before_the_binding_need_staffs_word() {
        let m = meter(false);
        let one = [binding(1, None, 10, None, false)];
        assert_eq!(
            by_binding(&one, &m, None, at(9)).map(|b| b.member),
            Err(Reason::BeforeBinding)
        );
        let only = [binding(1, None, 10, None, true)];
        assert_eq!(by_binding(&only, &m, None, at(9)).map(|b| b.member), Ok(member(1)));
        let handed_on = [binding(1, None, 10, Some(20), true), binding(2, None, 30, None, false)];
        assert_eq!(
            by_binding(&handed_on, &m, None, at(25)).map(|b| b.member),
            Err(Reason::NobodyBound)
        );
        assert_eq!(
            by_binding(&handed_on, &m, None, at(30)).map(|b| b.member),
            Ok(member(2))
        );
        assert_eq!(
            by_binding(&[], &m, None, at(0)).map(|b| b.member),
            Err(Reason::NobodyBound)
        );
    }

    #[test]
    fn two_owners_at_once_are_nobody() {
        let twice = [binding(1, None, 0, None, false), binding(2, None, 0, None, false)];
        assert_eq!(
            by_binding(&twice, &meter(false), None, at(5)).map(|b| b.member),
            Err(Reason::MemberConflict)
        );
    }

    #[test]
    fn a_shared_meters_record_belongs_to_the_sitting_in_which_it_was_measured() {
        let sitting = |n: u128, from, to: Option<i64>| Sitting {
            id: Id::from_uuid(uuid::Uuid::from_u128(n)),
            member: Some(member(n)),
            began: at(from),
            ended: to.map(at),
        };
        let sittings = [sitting(1, 0, Some(10)), sitting(2, 12, None)];
        // Measured in the first, received in the second: the first's.
        assert_eq!(
            by_sitting(&sittings, Some(at(9)), at(13), true).map(|s| s.member),
            Some(Some(member(1)))
        );
        assert_eq!(by_sitting(&sittings, Some(at(11)), at(13), true), None);
        assert_eq!(
            by_sitting(&sittings, None, at(13), true).map(|s| s.member),
            Some(Some(member(2)))
        );
        assert_eq!(by_sitting(&sittings, None, at(13), false), None);
    }
}
