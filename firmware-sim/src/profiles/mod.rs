//! The catalogue of named faults: what real meters and real Bluetooth stacks do wrong (page 3, section 2.8).
//!
//! A profile is switched on in the configuration (`profile = "name"`, or a list), at run time by the control protocol
//! (`set_profile`), and listed by `carepost-sim profiles`. Most profiles are [`Fault`]s of the meter's machine; those of
//! group 3 change how it pairs, those of group 10 its address, those of group 12 the simulated BlueZ.

mod clock;
mod families;
mod host;
mod memory;
mod names;
mod pairing;
mod payload;
mod racp;
mod radio;

use std::time::Duration;

use crate::HostFaults;
use crate::meters::faults::{Damage, MAX_FAULTS};
use crate::meters::{Fault, Faults, Meter, SecuritySettings};

/// Most profiles that one meter has at once.
pub const MAX_PROFILES: usize = 16;

/// The groups of page 3, section 2.8, and the families of its quirk table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// When and how it advertises.
    Advertising,
    /// When it hangs up.
    Disconnecting,
    /// How it pairs and what becomes of the bond.
    Security,
    /// What is stored and how it is sent.
    Backlog,
    /// Its clock.
    Clock,
    /// User slots.
    Slots,
    /// Sequence numbers.
    Sequence,
    /// The bytes.
    Payload,
    /// The Record Access Control Point.
    Racp,
    /// Addresses, and meters that look alike.
    Privacy,
    /// Names, Device Information and what is missing.
    Names,
    /// The host's Bluetooth stack.
    Host,
    /// All that one make of meters does at once.
    Family,
}

impl Group {
    /// The number in page 3, section 2.8; a family has none.
    pub fn number(self) -> Option<u8> {
        match self {
            Self::Advertising => Some(1),
            Self::Disconnecting => Some(2),
            Self::Security => Some(3),
            Self::Backlog => Some(4),
            Self::Clock => Some(5),
            Self::Slots => Some(6),
            Self::Sequence => Some(7),
            Self::Payload => Some(8),
            Self::Racp => Some(9),
            Self::Privacy => Some(10),
            Self::Names => Some(11),
            Self::Host => Some(12),
            Self::Family => None,
        }
    }
}

/// The meters that a profile means something for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kinds {
    /// All.
    Any,
    /// None: it is a matter of the host.
    None,
    /// Cuffs.
    Cuff,
    /// Glucose meters.
    Glucose,
    /// Meters that indicate what they have: all but glucose meters.
    Indicating,
    /// Meters with user slots: cuffs and scales.
    WithSlots,
}

impl Kinds {
    /// Whether a meter is one of them.
    pub fn include(self, meter: &Meter) -> bool {
        match self {
            Self::Any => true,
            Self::None => false,
            Self::Cuff => meter.kind() == "cuff",
            Self::Glucose => meter.kind() == "glucose",
            Self::Indicating => meter.kind() != "glucose",
            Self::WithSlots => matches!(meter.kind(), "cuff" | "scale"),
        }
    }
}

/// How the address on air comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addressing {
    /// The configured address, which is public.
    Public,
    /// The configured address, which is random and stays.
    StaticRandom,
    /// A resolvable private address that changes; the configured one is the identity, learnt by bonding.
    Rotating(Duration),
}

/// A named fault.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    /// Its name: lower-case words with hyphens.
    pub name: &'static str,
    /// The group that it belongs to.
    pub group: Group,
    /// The meters that it means something for.
    pub kinds: Kinds,
    /// What the meter does.
    pub summary: &'static str,
    /// What clients and people see of it.
    pub changes: &'static str,
    /// What the ledger holds.
    pub ledger: &'static str,
    /// Faults of the meter's machine.
    pub faults: &'static [Fault],
    /// What it changes about pairing.
    pub security: Option<fn(&mut SecuritySettings)>,
    /// The meter loses all bonds when the profile is switched on.
    pub loses_bonds: bool,
    /// What it changes about the address.
    pub addressing: Option<Addressing>,
    /// What it changes about the simulated BlueZ.
    pub host: Option<fn(&mut HostFaults)>,
}

impl Profile {
    /// A fault of the meter's machine.
    const fn of(
        group: Group,
        kinds: Kinds,
        name: &'static str,
        faults: &'static [Fault],
        texts: [&'static str; 3],
    ) -> Self {
        let [summary, changes, ledger] = texts;
        Self {
            name,
            group,
            kinds,
            summary,
            changes,
            ledger,
            faults,
            security: None,
            loses_bonds: false,
            addressing: None,
            host: None,
        }
    }

    const fn of_host(self, faults: fn(&mut HostFaults)) -> Self {
        Self {
            host: Some(faults),
            ..self
        }
    }

    const fn pairing(self, security: fn(&mut SecuritySettings)) -> Self {
        Self {
            security: Some(security),
            ..self
        }
    }

    const fn losing_bonds(self) -> Self {
        Self {
            loses_bonds: true,
            ..self
        }
    }

    const fn addressed(self, addressing: Addressing) -> Self {
        Self {
            addressing: Some(addressing),
            ..self
        }
    }

    /// Whether the bytes of measurements go out other than they are stored.
    pub fn damages(&self) -> impl Iterator<Item = Damage> {
        self.faults.iter().filter_map(|fault| match fault {
            Fault::Damage(damage) => Some(*damage),
            _ => None,
        })
    }
}

/// Why a list of profiles is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// There is no such profile.
    #[error("there is no profile {name:?}; `carepost-sim profiles` lists them")]
    Unknown {
        /// Name as given.
        name: String,
    },
    /// Too many at once.
    #[error("a meter has at most {MAX_PROFILES} profiles with {MAX_FAULTS} faults at once")]
    TooMany,
    /// It is a meter's and not the host's.
    #[error("the profile {name:?} is a meter's and not the host's")]
    NotTheHosts {
        /// The profile.
        name: &'static str,
    },
    /// It means nothing for this kind of meter.
    #[error("the profile {name:?} means nothing for a {kind} meter")]
    WrongKind {
        /// The profile.
        name: &'static str,
        /// The meter's kind.
        kind: &'static str,
    },
}

/// The profiles that a meter has, in the order in which they were named: of two that contradict each other the later one
/// counts.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    profiles: Vec<&'static Profile>,
}

impl Selection {
    /// Looks names up.
    ///
    /// # Errors
    /// When a name is unknown, or there are too many.
    pub fn named<S: AsRef<str>>(names: &[S]) -> Result<Self, ProfileError> {
        let profiles: Vec<&'static Profile> = names
            .iter()
            .map(|name| {
                find(name.as_ref()).ok_or_else(|| ProfileError::Unknown {
                    name: name.as_ref().to_owned(),
                })
            })
            .collect::<Result<_, _>>()?;
        let faults: usize = profiles.iter().map(|profile| profile.faults.len()).sum();
        if profiles.len() > MAX_PROFILES || faults > MAX_FAULTS {
            return Err(ProfileError::TooMany);
        }
        Ok(Self { profiles })
    }

    /// Whether a meter can have them.
    ///
    /// # Errors
    /// The first profile that means nothing for it.
    pub fn check(&self, meter: &Meter) -> Result<(), ProfileError> {
        match self.profiles.iter().find(|profile| !profile.kinds.include(meter)) {
            Some(profile) => Err(ProfileError::WrongKind {
                name: profile.name,
                kind: meter.kind(),
            }),
            None => Ok(()),
        }
    }

    /// What is wrong with a host that has them.
    ///
    /// # Errors
    /// The first profile that is a meter's.
    pub fn host_faults(&self) -> Result<HostFaults, ProfileError> {
        let mut faults = HostFaults::default();
        for profile in &self.profiles {
            let change = profile.host.ok_or(ProfileError::NotTheHosts { name: profile.name })?;
            change(&mut faults);
        }
        Ok(faults)
    }

    /// The profiles.
    pub fn profiles(&self) -> &[&'static Profile] {
        &self.profiles
    }

    /// The faults of the meter's machine.
    pub fn faults(&self) -> Faults {
        self.profiles.iter().fold(Faults::none(), |faults, profile| {
            faults.with(profile.name, profile.faults)
        })
    }

    /// How a meter pairs that would pair by `settings` without them.
    pub fn security(&self, mut settings: SecuritySettings) -> SecuritySettings {
        for change in self.profiles.iter().filter_map(|profile| profile.security) {
            change(&mut settings);
        }
        settings
    }

    /// Whether the meter loses its bonds now.
    pub fn loses_bonds(&self) -> bool {
        self.profiles.iter().any(|profile| profile.loses_bonds)
    }

    /// How the address on air comes about, if they say.
    pub fn addressing(&self) -> Option<Addressing> {
        self.profiles.iter().rev().find_map(|profile| profile.addressing)
    }
}

/// All profiles, group by group.
pub fn catalogue() -> impl Iterator<Item = &'static Profile> {
    radio::PROFILES
        .iter()
        .chain(pairing::PROFILES)
        .chain(memory::PROFILES)
        .chain(clock::PROFILES)
        .chain(payload::PROFILES)
        .chain(racp::PROFILES)
        .chain(names::PROFILES)
        .chain(host::PROFILES)
        .chain(families::PROFILES)
}

/// The profile of this name.
pub fn find(name: &str) -> Option<&'static Profile> {
    catalogue().find(|profile| profile.name == name)
}

/// The catalogue for people: group by group, a few lines for each profile.
pub fn list() -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for profile in catalogue() {
        let group = profile
            .group
            .number()
            .map_or("family".to_owned(), |number| format!("group {number}"));
        writeln!(
            text,
            "{} ({group})\n    {}\n    Seen: {}\n    Ledger: {}",
            profile.name, profile.summary, profile.changes, profile.ledger
        )
        .expect("a String takes all text");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_plain_and_every_profile_says_what_it_does() {
        let mut names = BTreeSet::new();
        for profile in catalogue() {
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            assert!(profile.name.bytes().all(plain), "{}", profile.name);
            assert!(names.insert(profile.name), "{} is there twice", profile.name);
            for text in [profile.summary, profile.changes, profile.ledger] {
                assert!(text.ends_with('.') && text.len() > 10, "{}: {text:?}", profile.name);
            }
            let changes = !profile.faults.is_empty()
                || profile.security.is_some()
                || profile.loses_bonds
                || profile.addressing.is_some()
                || profile.host.is_some();
            assert!(changes, "{} changes nothing", profile.name);
            assert_eq!(profile.host.is_some(), profile.group == Group::Host, "{}", profile.name);
            if let Some(host) = profile.host {
                let mut faults = HostFaults::default();
                host(&mut faults);
                assert_ne!(faults, HostFaults::default(), "{} changes nothing", profile.name);
                assert_eq!(faults.check(), Ok(()), "{}", profile.name);
            }
        }
    }

    #[test]
    fn unknown_names_and_too_many_are_refused_and_later_ones_count() {
        let unknown = Selection::named(&["clock-unset", "no-such-fault"]);
        assert!(matches!(unknown, Err(ProfileError::Unknown { name }) if name == "no-such-fault"));
        let many = vec!["clock-unset"; MAX_PROFILES + 1];
        assert_eq!(Selection::named(&many).unwrap_err(), ProfileError::TooMany);
        let two = Selection::named(&["backlog-60", "backlog-1"]).unwrap();
        assert_eq!(two.faults().names(), ["backlog-60", "backlog-1"]);
        assert!(list().contains("racp-no-answer (group 9)"));
    }
}
