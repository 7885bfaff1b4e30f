//! Consent as the screens show it. Pure.

use carepost_domain::consent::Purpose;
use carepost_store::model::GrantRecord;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use super::catalogue::Texts;
use super::when;

/// One purpose with its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConsentLine {
    /// The purpose in words.
    pub(crate) purpose: String,
    /// It holds now.
    pub(crate) holds: bool,
    /// Since when it holds, or since when it no longer does, or that it was never given.
    pub(crate) state: String,
}

/// Whether a purpose is granted now.
pub(crate) fn holds(grants: &[GrantRecord], purpose: Purpose, now: DateTime<Utc>) -> bool {
    grants
        .iter()
        .any(|record| record.grant.purpose == purpose && record.grant.holds_at(now))
}

/// Every purpose with its state; those never asked for are named too, so that nobody takes silence for a yes.
pub(crate) fn lines(texts: Texts, grants: &[GrantRecord], now: DateTime<Utc>, zone: Tz) -> Vec<ConsentLine> {
    Purpose::ALL
        .iter()
        .map(|purpose| {
            let mine = || {
                grants
                    .iter()
                    .map(|record| &record.grant)
                    .filter(|grant| grant.purpose == *purpose)
            };
            let words = |at: DateTime<Utc>| when::absolute(texts, at, now, zone);
            let open = mine()
                .filter(|grant| grant.holds_at(now))
                .map(|grant| grant.granted_at)
                .min();
            let ended = mine()
                .filter_map(|grant| grant.withdrawn_at.or(grant.expires_at))
                .filter(|end| *end <= now)
                .max();
            let state = match (open, ended) {
                (Some(since), _) => texts.fill("consent-since", &[("time", words(since).into())]),
                (None, Some(end)) => texts.fill("consent-ended", &[("time", words(end).into())]),
                (None, None) => texts.get("consent-never"),
            };
            ConsentLine {
                purpose: texts.code("purpose", purpose.code()),
                holds: open.is_some(),
                state,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use carepost_domain::Id;
    use carepost_domain::consent::Grant;
    use carepost_store::model::Channel;
    use chrono::TimeDelta;
    use uuid::Uuid;

    use super::*;
    use crate::web::catalogue::Language;

    fn grant(purpose: Purpose, from_days_ago: i64, withdrawn_days_ago: Option<i64>) -> GrantRecord {
        GrantRecord {
            grant: Grant {
                id: Id::from_uuid(Uuid::from_u128(1)),
                member: Id::from_uuid(Uuid::from_u128(2)),
                purpose,
                text_version: "2026-01".to_owned(),
                granted_at: now() - TimeDelta::days(from_days_ago),
                withdrawn_at: withdrawn_days_ago.map(|days| now() - TimeDelta::days(days)),
                expires_at: None,
                includes_history: false,
            },
            text_hash: [0; 32],
            channel: Channel::Staff,
            store: Id::from_uuid(Uuid::from_u128(3)),
            witness: None,
        }
    }

    fn now() -> DateTime<Utc> {
        "2026-11-22T13:55:00Z".parse().unwrap()
    }

    #[test]
    fn a_withdrawn_purpose_does_not_hold_and_says_since_when() {
        let grants = [
            grant(Purpose::CareRecord, 30, None),
            grant(Purpose::PharmacistCall, 30, Some(2)),
        ];
        assert!(holds(&grants, Purpose::CareRecord, now()));
        assert!(!holds(&grants, Purpose::PharmacistCall, now()));
        assert!(!holds(&grants, Purpose::Marketing, now()));
        let lines = lines(Texts(Language::English), &grants, now(), chrono_tz::Asia::Shanghai);
        assert_eq!(lines.len(), Purpose::ALL.len());
        let call = &lines[1];
        assert!(!call.holds && call.state.contains("20 Nov"), "{call:?}");
    }
}
