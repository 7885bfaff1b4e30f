//! Consent grants and the gate that looks at two times: when a reading was measured, and now.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::code_enum;
use crate::id::{GrantId, MemberId};

code_enum! {
    /// What a grant is for (page 5, section 1). Sharing with a named recipient is not part of this version.
    pub enum Purpose ("consent purpose") {
        /// Keep and evaluate my readings.
        CareRecord = "care_record",
        /// A pharmacist may phone me.
        PharmacistCall = "pharmacist_call",
        /// Tell me about abnormal readings.
        AlertMessage = "alert_message",
        /// Refill, re-check and no-data reminders.
        Reminder = "reminder",
        /// My family may be told.
        FamilyContact = "family_contact",
        /// Marketing.
        Marketing = "marketing",
        /// Statistics.
        Statistics = "statistics",
    }
}

/// A versioned permission for one purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The grant.
    pub id: GrantId,
    /// Who granted.
    pub member: MemberId,
    /// What for.
    pub purpose: Purpose,
    /// Version of the text that was shown.
    pub text_version: String,
    /// From when.
    pub granted_at: DateTime<Utc>,
    /// Since when it no longer holds; never unset again, a new grant is a new row.
    pub withdrawn_at: Option<DateTime<Utc>>,
    /// When it ends by itself.
    pub expires_at: Option<DateTime<Utc>>,
    /// The person ticked that readings from before the first grant may be kept.
    pub includes_history: bool,
}

impl Grant {
    fn end(&self) -> Option<DateTime<Utc>> {
        match (self.withdrawn_at, self.expires_at) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Whether the grant holds at `at`.
    #[must_use]
    pub fn holds_at(&self, at: DateTime<Utc>) -> bool {
        self.granted_at <= at && self.end().is_none_or(|end| at < end)
    }
}

code_enum! {
    /// Why the gate refused.
    pub enum Refusal ("consent refusal") {
        /// There never was a grant for the purpose.
        NeverGranted = "never_granted",
        /// There was one, and it does not hold now.
        NotNow = "not_granted_now",
        /// It holds now, and did not when the reading was measured.
        NotWhenMeasured = "not_granted_when_measured",
        /// Measured before the first grant, and history was not ticked.
        BeforeFirstGrant = "before_first_grant",
    }
}

/// `now`, or the newest grant or withdrawal in these rows if that is later.
///
/// Whoever waited for a lock between looking at the clock and reading the grants must not decide by a time before a withdrawal
/// that is already on record.
#[must_use]
pub fn not_before(grants: &[Grant], now: DateTime<Utc>) -> DateTime<Utc> {
    grants
        .iter()
        .flat_map(|grant| [Some(grant.granted_at), grant.withdrawn_at])
        .flatten()
        .fold(now, DateTime::max)
}

/// The consent gate: whether a reading of `member` measured at `measured_at` may be kept or used at `now`.
///
/// A reading measured while consent was withdrawn is refused also after a new grant; history from before the first
/// grant needs its own tick on a grant that holds now (page 5, section 1).
///
/// # Errors
/// The reason of the refusal.
pub fn gate(
    grants: &[Grant],
    member: MemberId,
    purpose: Purpose,
    measured_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<(), Refusal> {
    let mine = || grants.iter().filter(|g| g.member == member && g.purpose == purpose);
    let Some(first) = mine().map(|g| g.granted_at).min() else {
        return Err(Refusal::NeverGranted);
    };
    if !mine().any(|g| g.holds_at(now)) {
        return Err(Refusal::NotNow);
    }
    if measured_at < first {
        let ticked = mine().any(|g| g.holds_at(now) && g.includes_history);
        return if ticked { Ok(()) } else { Err(Refusal::BeforeFirstGrant) };
    }
    if mine().any(|g| g.holds_at(measured_at)) {
        Ok(())
    } else {
        Err(Refusal::NotWhenMeasured)
    }
}

/// Whether at every instant from `from` to `to`, both included, one of the grants held.
#[must_use]
pub fn held_throughout(grants: &[Grant], from: DateTime<Utc>, to: DateTime<Utc>) -> bool {
    let mut known = from;
    loop {
        let holding = grants.iter().filter(|grant| grant.holds_at(known));
        // Each ends later than what is known, so that this comes to an end.
        match holding
            .map(|grant| grant.end().unwrap_or(DateTime::<Utc>::MAX_UTC))
            .max()
        {
            Some(end) if to < end || end == DateTime::<Utc>::MAX_UTC => return true,
            Some(end) => known = end,
            None => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;
    use crate::Id;

    fn at(minutes: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::minutes(minutes)
    }

    fn member() -> MemberId {
        Id::from_uuid(uuid::Uuid::from_u128(7))
    }

    fn grant(from: i64, withdrawn: Option<i64>, includes_history: bool) -> Grant {
        Grant {
            id: Id::from_uuid(uuid::Uuid::from_u128(1)),
            member: member(),
            purpose: Purpose::CareRecord,
            text_version: "2026-01".to_owned(),
            granted_at: at(from),
            withdrawn_at: withdrawn.map(at),
            expires_at: None,
            includes_history,
        }
    }

    fn ask(grants: &[Grant], measured: i64, now: i64) -> Result<(), Refusal> {
        gate(grants, member(), Purpose::CareRecord, at(measured), at(now))
    }

    #[test]
    fn the_gate_looks_at_both_times() {
        assert_eq!(ask(&[], 5, 6), Err(Refusal::NeverGranted));
        let open = [grant(10, None, false)];
        assert_eq!(ask(&open, 10, 10), Ok(()));
        assert_eq!(ask(&open, 9, 20), Err(Refusal::BeforeFirstGrant));
        assert_eq!(ask(&[grant(10, None, true)], 9, 20), Ok(()));
        let regranted = [grant(10, Some(20), false), grant(30, None, true)];
        assert_eq!(ask(&regranted, 15, 40), Ok(()));
        assert_eq!(ask(&regranted, 20, 40), Err(Refusal::NotWhenMeasured));
        assert_eq!(ask(&regranted, 15, 25), Err(Refusal::NotNow));
    }

    #[test]
    fn who_waited_behind_a_withdrawal_decides_after_it() {
        let withdrawn = [grant(10, Some(20), false)];
        assert_eq!(ask(&withdrawn, 15, 19), Ok(()), "by a clock that was read too early");
        assert_eq!(not_before(&withdrawn, at(19)), at(20));
        assert_eq!(ask(&withdrawn, 15, 20), Err(Refusal::NotNow));
        assert_eq!(not_before(&withdrawn, at(30)), at(30));
        assert_eq!(not_before(&[], at(1)), at(1));
    }

    #[test]
    fn a_grant_of_another_member_or_purpose_opens_nothing() {
        let mut other = grant(0, None, true);
        other.member = Id::from_uuid(uuid::Uuid::from_u128(8));
        let mut marketing = grant(0, None, true);
        marketing.purpose = Purpose::Marketing;
        assert_eq!(ask(&[other, marketing], 5, 6), Err(Refusal::NeverGranted));
    }

    #[test]
    fn consent_is_unbroken_if_one_grant_takes_over_from_the_other() {
        let grants = [
            grant(0, Some(10), false),
            grant(5, Some(20), false),
            grant(20, None, false),
        ];
        assert!(held_throughout(&grants, at(0), at(100)));
        assert!(!held_throughout(&grants, at(-1), at(100)));
        let gap = [grants[0].clone(), grant(11, None, false)];
        assert!(!held_throughout(&gap, at(0), at(100)));
        assert!(held_throughout(&gap, at(11), at(100)));
        assert!(held_throughout(&gap, at(9), at(9)));
        assert!(!held_throughout(&gap, at(10), at(10)));
        assert!(!held_throughout(&[], at(0), at(0)));
    }

    proptest! {
        #[test]
        fn consent_is_unbroken_if_it_held_at_each_instant(
            spans in prop::collection::vec((0_i64..20, prop::option::of(0_i64..10)), 0..6),
            from in -2_i64..25,
            length in 0_i64..20,
        ) {
            let grants: Vec<_> = spans.iter().map(|(from, len)| grant(*from, len.map(|l| from + l), false)).collect();
            let each = (from..=from + length).all(|when| grants.iter().any(|g| g.holds_at(at(when))));
            prop_assert_eq!(held_throughout(&grants, at(from), at(from + length)), each);
        }

        #[test]
        fn nothing_passes_without_a_grant_that_holds_now(
            spans in prop::collection::vec((0_i64..100, prop::option::of(1_i64..50), any::<bool>()), 0..5),
            measured in 0_i64..200,
            now in 0_i64..200,
        ) {
            let grants: Vec<_> = spans.iter().map(|(from, len, hist)| grant(*from, len.map(|l| from + l), *hist)).collect();
            if ask(&grants, measured, now).is_ok() {
                prop_assert!(grants.iter().any(|g| g.holds_at(at(now))));
                let first = grants.iter().map(|g| g.granted_at).min().unwrap();
                prop_assert!(at(measured) < first || grants.iter().any(|g| g.holds_at(at(measured))));
            }
        }
    }
}
