//! From what staff said to a registration.

use carepost_contract::v1::{Owner, Register};
use carepost_domain::code_enum;
use carepost_domain::id::GatewayId;
use carepost_domain::meter::{Address, Meter, MeterKind, MeterRole, meter_id};
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

/// What staff said of a meter that they register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    /// Of which meter it was said: another may have been paired since the form was drawn.
    pub(crate) address: Address,
    /// Whose it is.
    pub(crate) role: MeterRole,
    /// The people, for a personal meter.
    pub(crate) owners: Vec<NamedOwner>,
    /// Nobody but them has ever measured with it, each as their own user. `false` for "somebody has" and for "not sure".
    pub(crate) only_ever: bool,
}

/// Whether meters of a kind say in their records which user measured; of the others, a record never names one (page 3,
/// sections 2.2 to 2.6).
pub(crate) const fn names_users(kind: MeterKind) -> bool {
    match kind {
        MeterKind::BloodPressure | MeterKind::Weight => true,
        MeterKind::Glucose | MeterKind::Temperature | MeterKind::OxygenSaturation => false,
    }
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
        /// Several people without a user each, or one user twice.
        Slots = "slots",
        /// Users were named of a meter that does not say who measured: all of its records would be nobody's.
        NoUsers = "no_users",
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
    said: &Said,
    at: DateTime<Utc>,
) -> Result<Register, Hindrance> {
    let kind = details
        .kind
        .filter(|_| !details.unsupported && details.address == said.address)
        .ok_or(Hindrance::NoMeter)?;
    let store = copy.store().ok_or(Hindrance::NoStore)?;
    let mut known: Vec<Owner> = Vec::new();
    for named in &said.owners {
        let code = named.code.parse().map_err(|_| Hindrance::UnknownCode)?;
        let member = copy.member_by_code(&code).ok_or(Hindrance::UnknownCode)?.id;
        if known.iter().any(|owner| owner.member == member) {
            return Err(Hindrance::SamePerson);
        }
        known.push(Owner {
            member,
            slot: named.slot,
            only_ever_this_person: said.only_ever,
        });
    }
    let role = said.role;
    match role {
        MeterRole::StoreShared if !known.is_empty() => return Err(Hindrance::OwnerOfShared),
        MeterRole::Personal if known.is_empty() => return Err(Hindrance::NoOwner),
        MeterRole::Personal if !names_users(kind) && known.iter().any(|owner| owner.slot.is_some()) => {
            return Err(Hindrance::NoUsers);
        }
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
        let check = |details: &Details, role, owners: &[NamedOwner]| {
            let said = Said {
                address: Address::new([1, 2, 3, 4, 5, 6]),
                role,
                owners: owners.to_vec(),
                only_ever: false,
            };
            build(&copy, id(9), details, &said, noon())
        };
        let one = check(&details(), MeterRole::Personal, &[named(a, None)]).unwrap();
        assert!(!one.meter.multi_user);
        assert_eq!(one.meter.about.serial, "SN-1");
        assert_eq!(one.owners[0].member, alice());
        assert!(!one.owners[0].only_ever_this_person, "only when staff say so");
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
        // Another meter was paired since the form was drawn.
        let another = Details {
            address: Address::new([1, 2, 3, 4, 5, 7]),
            ..details()
        };
        let of_the_first = check(&another, MeterRole::Personal, &[named(a, None)]);
        assert_eq!(of_the_first, Err(Hindrance::NoMeter));
        let shared = Said {
            address: details().address,
            role: MeterRole::StoreShared,
            owners: Vec::new(),
            only_ever: false,
        };
        let unknown_store = build(&DownCopy::default(), id(9), &details(), &shared, noon());
        assert_eq!(unknown_store, Err(Hindrance::NoStore));
    }

    #[tokio::test]
    async fn what_staff_say_of_the_past_is_said_of_each_person() {
        let bench = Bench::new().await;
        let copy = bench.spool.down();
        let codes = [alice(), bob()].map(|member| copy.member(member).unwrap().code.to_string());
        let owners = vec![named(&codes[0], Some(0)), named(&codes[1], Some(1))];
        for only_ever in [true, false] {
            let said = Said {
                address: details().address,
                role: MeterRole::Personal,
                owners: owners.clone(),
                only_ever,
            };
            let register = build(&copy, id(9), &details(), &said, noon()).unwrap();
            let each: Vec<bool> = register.owners.iter().map(|o| o.only_ever_this_person).collect();
            assert_eq!(each, [only_ever, only_ever]);
        }
    }

    #[tokio::test]
    async fn a_meter_that_does_not_say_who_measured_has_no_users() {
        let bench = Bench::new().await;
        let copy = bench.spool.down();
        let code = copy.member(alice()).unwrap().code.to_string();
        for kind in MeterKind::ALL.iter().copied() {
            let meter = Details {
                kind: Some(kind),
                ..details()
            };
            let of_user = |slot| Said {
                address: details().address,
                role: MeterRole::Personal,
                owners: vec![named(&code, slot)],
                only_ever: false,
            };
            assert!(build(&copy, id(9), &meter, &of_user(None), noon()).is_ok(), "{kind}");
            let with_user = build(&copy, id(9), &meter, &of_user(Some(1)), noon());
            let expected = match kind {
                MeterKind::BloodPressure | MeterKind::Weight => Ok(true),
                _ => Err(Hindrance::NoUsers),
            };
            assert_eq!(with_user.map(|register| register.meter.multi_user), expected, "{kind}");
        }
    }
}
