//! From what staff said to a registration.

use carepost_contract::v1::{Owner, Register};
use carepost_domain::code_enum;
use carepost_domain::id::GatewayId;
use carepost_domain::meter::{Meter, MeterRole, meter_id};
use chrono::{DateTime, Utc};

use crate::down::DownCopy;
use crate::pairing::Details;

/// Owners that the form has room for; meters have two user slots, a few have four.
pub(crate) const OWNER_ROWS: usize = 4;

/// A person as staff named them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedOwner {
    /// Member code.
    pub(crate) code: String,
    /// User slot.
    pub(crate) slot: Option<u8>,
}

code_enum! {
    /// What keeps a meter from being registered as staff said. The page says for each what to do.
    pub(crate) enum Hindrance ("hindrance") {
        /// Nothing to register: the pairing is not there any more, or the meter cannot be read.
        NoMeter = "no_meter",
        /// The server has not told this gateway its store yet.
        NoStore = "no_store",
        /// Nobody was named for a personal meter.
        NoOwner = "no_owner",
        /// A code is unknown here.
        UnknownCode = "unknown_code",
        /// One person twice.
        SamePerson = "same_person",
        /// Several people without a user key each, or one key twice.
        Slots = "slots",
        /// Somebody was named for the store's own meter.
        OwnerOfShared = "owner_of_shared",
        /// Too many wait for the server.
        TooMany = "too_many",
        /// It could not be written down.
        Disk = "disk",
    }
}

/// Builds the registration of a paired meter.
pub(crate) fn build(
    copy: &DownCopy,
    gateway: GatewayId,
    details: &Details,
    role: MeterRole,
    owners: &[NamedOwner],
    at: DateTime<Utc>,
) -> Result<Register, Hindrance> {
    let kind = details
        .kind
        .filter(|_| !details.unsupported)
        .ok_or(Hindrance::NoMeter)?;
    let store = copy.store().ok_or(Hindrance::NoStore)?;
    let mut known: Vec<Owner> = Vec::new();
    for named in owners {
        let code = named.code.parse().map_err(|_| Hindrance::UnknownCode)?;
        let member = copy.member_by_code(&code).ok_or(Hindrance::UnknownCode)?.id;
        if known.iter().any(|owner| owner.member == member) {
            return Err(Hindrance::SamePerson);
        }
        known.push(Owner {
            member,
            slot: named.slot,
        });
    }
    match role {
        MeterRole::StoreShared if !known.is_empty() => return Err(Hindrance::OwnerOfShared),
        MeterRole::Personal if known.is_empty() => return Err(Hindrance::NoOwner),
        _ => {}
    }
    let register = Register {
        gateway,
        meter: Meter {
            id: meter_id(details.address, details.address_type),
            address: details.address,
            address_type: details.address_type,
            kind,
            role,
            store,
            model: details.model.clone(),
            multi_user: known.iter().any(|owner| owner.slot.is_some()),
            about: details.about.clone(),
        },
        owners: known,
        at,
    };
    register.check().map_err(|_| Hindrance::Slots)?;
    Ok(register)
}

#[cfg(test)]
mod tests {
    use carepost_domain::meter::{About, Address, AddressType, MeterKind};

    use super::*;
    use crate::testing::{Bench, alice, bob, id, noon};

    fn details() -> Details {
        Details {
            address: Address::new([1, 2, 3, 4, 5, 6]),
            address_type: AddressType::Random,
            name: "BP".to_owned(),
            about: About::new("Omron", "SN-1", "2.0"),
            model: "X4".to_owned(),
            kind: Some(MeterKind::BloodPressure),
            unsupported: false,
            bonded: true,
            clock: None,
        }
    }

    fn named(code: &str, slot: Option<u8>) -> NamedOwner {
        NamedOwner {
            code: code.to_owned(),
            slot,
        }
    }

    #[tokio::test]
    async fn a_meter_is_registered_as_staff_said_or_staff_is_told_why_not() {
        let bench = Bench::new().await;
        let copy = bench.spool.down();
        let codes: Vec<String> = [alice(), bob()]
            .iter()
            .map(|member| copy.member(*member).unwrap().code.to_string())
            .collect();
        let (a, b) = (codes[0].as_str(), codes[1].as_str());
        let check = |details: &Details, role, owners: &[NamedOwner]| build(&copy, id(9), details, role, owners, noon());
        let one = check(&details(), MeterRole::Personal, &[named(a, None)]).unwrap();
        assert!(!one.meter.multi_user);
        assert_eq!(one.meter.about.serial, "SN-1");
        assert_eq!(one.owners[0].member, alice());
        let two = [named(a, Some(1)), named(b, Some(2))];
        assert!(check(&details(), MeterRole::Personal, &two).unwrap().meter.multi_user);
        assert!(
            check(&details(), MeterRole::StoreShared, &[])
                .unwrap()
                .owners
                .is_empty()
        );
        for (owners, hindrance) in [
            (vec![], Hindrance::NoOwner),
            (vec![named("NOBODY-9", None)], Hindrance::UnknownCode),
            (vec![named("!", None)], Hindrance::UnknownCode),
            (vec![named(a, Some(1)), named(a, Some(2))], Hindrance::SamePerson),
            (vec![named(a, None), named(b, None)], Hindrance::Slots),
            (vec![named(a, Some(1)), named(b, Some(1))], Hindrance::Slots),
            (vec![named(a, Some(1)), named(b, None)], Hindrance::Slots),
        ] {
            assert_eq!(
                check(&details(), MeterRole::Personal, &owners),
                Err(hindrance),
                "{owners:?}"
            );
        }
        let owned = check(&details(), MeterRole::StoreShared, &[named(a, None)]);
        assert_eq!(owned, Err(Hindrance::OwnerOfShared));
        let proprietary = Details {
            kind: None,
            unsupported: true,
            ..details()
        };
        assert_eq!(
            check(&proprietary, MeterRole::StoreShared, &[]),
            Err(Hindrance::NoMeter)
        );
        let unknown_store = build(
            &DownCopy::default(),
            id(9),
            &details(),
            MeterRole::StoreShared,
            &[],
            noon(),
        );
        assert_eq!(unknown_store, Err(Hindrance::NoStore));
    }
}
