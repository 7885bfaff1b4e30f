//! The pairing side of a meter: what it demands of a central, how it pairs, and whose bond it keeps.
//!
//! Pure as the meters are: time and randomness are arguments. Key material is never modelled; a bond is the fact that
//! both sides hold a key, and a key that one side lost is the fault that matters. Clauses cite the Core specification.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{AttError, Uuid16};
use crate::SimTime;

/// Largest passkey: six decimal digits (volume 3, part H, section 2.3.5.2).
pub const MAX_PASSKEY: u32 = 999_999;

/// Most bonds that one meter keeps; the oldest gives way.
pub const MAX_BONDS: usize = 8;

/// The central that stands for all that are none of ours; no adapter has such an address.
const ELSEWHERE: &str = "elsewhere";

/// What a device can show and what can be typed on it (volume 3, part C, section 5.2.2.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IoCapability {
    /// Shows six digits.
    DisplayOnly,
    /// Shows six digits and has yes and no.
    DisplayYesNo,
    /// Has digits and shows nothing.
    KeyboardOnly,
    /// Neither.
    #[default]
    NoInputNoOutput,
    /// Shows six digits and has digits.
    KeyboardDisplay,
}

impl IoCapability {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 5] = [
        Self::DisplayOnly,
        Self::DisplayYesNo,
        Self::KeyboardOnly,
        Self::NoInputNoOutput,
        Self::KeyboardDisplay,
    ];
}

/// How two devices agree that they talk to each other and not to somebody between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Association {
    /// They do not: encrypted, but not authenticated.
    JustWorks,
    /// Both show a number and people compare.
    NumericComparison,
    /// The meter shows a passkey and it is typed at the central.
    MeterShows,
    /// The central shows a passkey and it is typed at the meter.
    CentralShows,
    /// A passkey that a person thinks of is typed at both.
    BothAsk,
}

impl Association {
    /// Whether the key that comes of it is authenticated.
    pub fn authenticates(self) -> bool {
        self != Self::JustWorks
    }
}

/// The association model of a central that starts pairing and a meter that answers: the table of volume 3, part H,
/// section 2.3.5.1. It holds where at least one side asks for protection from a device in the middle; otherwise the
/// model is Just Works.
pub fn association(central: IoCapability, meter: IoCapability, secure_connections: bool) -> Association {
    use IoCapability as Io;
    match (central, meter) {
        (Io::NoInputNoOutput, _) | (_, Io::NoInputNoOutput) => Association::JustWorks,
        (Io::DisplayOnly, Io::DisplayOnly | Io::DisplayYesNo) | (Io::DisplayYesNo, Io::DisplayOnly) => {
            Association::JustWorks
        }
        (Io::DisplayYesNo, Io::DisplayYesNo) if !secure_connections => Association::JustWorks,
        (Io::DisplayYesNo, Io::DisplayYesNo) => Association::NumericComparison,
        (Io::DisplayYesNo, Io::KeyboardDisplay) | (Io::KeyboardDisplay, Io::DisplayYesNo | Io::KeyboardDisplay)
            if secure_connections =>
        {
            Association::NumericComparison
        }
        (Io::KeyboardOnly, Io::KeyboardOnly) => Association::BothAsk,
        (Io::KeyboardOnly, Io::DisplayOnly | Io::DisplayYesNo | Io::KeyboardDisplay)
        | (Io::KeyboardDisplay, Io::DisplayOnly | Io::DisplayYesNo) => Association::MeterShows,
        (Io::DisplayOnly | Io::DisplayYesNo, Io::KeyboardOnly | Io::KeyboardDisplay)
        | (Io::KeyboardDisplay, Io::KeyboardOnly | Io::KeyboardDisplay) => Association::CentralShows,
    }
}

/// What a meter demands before it hands out values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Demand {
    /// Nothing: any central may have everything.
    #[default]
    None,
    /// A bond of any kind (LE security mode 1, level 2).
    Encryption,
    /// A bond that was made with a passkey or by comparison (LE security mode 1, level 3).
    Authentication,
}

/// How well a link is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Not at all.
    #[default]
    Plain,
    /// Encrypted.
    Encrypted,
    /// Encrypted with an authenticated key.
    Authenticated,
}

impl Level {
    fn of(authenticated: bool) -> Self {
        if authenticated {
            Self::Authenticated
        } else {
            Self::Encrypted
        }
    }
}

/// When a meter lets itself be paired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PairingRule {
    /// Whenever a central asks.
    #[default]
    Always,
    /// Only after a person has put it into its pairing mode.
    InPairingMode,
}

/// How a meter pairs, as configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SecuritySettings {
    /// What it demands before a value, a control point write or a subscription.
    pub demands: Demand,
    /// Whether reads are protected too; otherwise Device Information and features can be read by anybody.
    pub protects_reads: bool,
    /// What it can show and what can be typed on it.
    pub io: IoCapability,
    /// Whether it knows LE Secure Connections; without, there is no numeric comparison.
    pub secure_connections: bool,
    /// When it lets itself be paired.
    pub pairing: PairingRule,
    /// How long its pairing mode lasts, in milliseconds.
    pub pairing_window_ms: u64,
    /// Name that it advertises in pairing mode; its usual name when empty.
    pub pairing_name: String,
    /// Asks for security as soon as it is connected, before the central does anything.
    pub security_request: bool,
    /// Refuses a central while it has a bond with another one.
    pub single_bond: bool,
    /// Remembers what each bonded central has subscribed to.
    pub keeps_subscriptions_per_bond: bool,
    /// Forgets the bond of a central that unsubscribes.
    pub unsubscribe_forgets_bond: bool,
    /// Closes the link as soon as it has been paired.
    pub disconnects_after_pairing: bool,
    /// A person beside it says yes to every comparison at once.
    pub confirms_by_itself: bool,
}

impl Default for SecuritySettings {
    fn default() -> Self {
        Self {
            demands: Demand::None,
            protects_reads: false,
            io: IoCapability::NoInputNoOutput,
            secure_connections: true,
            pairing: PairingRule::Always,
            pairing_window_ms: 60_000,
            pairing_name: String::new(),
            security_request: false,
            single_bond: false,
            keeps_subscriptions_per_bond: false,
            unsubscribe_forgets_bond: false,
            disconnects_after_pairing: false,
            confirms_by_itself: false,
        }
    }
}

/// Why a meter does not pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PairingRefused {
    /// Nobody has put it into its pairing mode (Pairing Not Supported, volume 3, part H, section 3.5.5).
    #[error("the meter is not in its pairing mode")]
    NotInPairingMode,
    /// It has a bond with another central and takes no second one.
    #[error("the meter has a bond with another central")]
    HasAnotherBond,
    /// The model would not give what it demands (Authentication Requirements).
    #[error("the meter demands authentication and this pairing would not give it")]
    NotAuthenticated,
}

/// The meter has no key for a central that has one for the meter (PIN or Key Missing, volume 1, part F, section 2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the meter has no bond with this central")]
pub struct KeyMissing;

/// What the people in front of the meter see of a pairing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    /// The number on its display.
    pub shows: Option<u32>,
    /// It waits for a passkey to be typed.
    pub asks_passkey: bool,
    /// It waits for yes or no.
    pub asks_confirmation: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Bond {
    central: String,
    authenticated: bool,
    subscribed: BTreeSet<Uuid16>,
}

/// The pairing state of a meter.
#[derive(Clone, Debug)]
pub struct Security {
    settings: SecuritySettings,
    pairing_until: Option<SimTime>,
    bonds: Vec<Bond>,
    level: Level,
    prompt: Prompt,
}

impl Security {
    /// A meter without bonds.
    pub fn new(settings: SecuritySettings) -> Self {
        Self {
            settings,
            pairing_until: None,
            bonds: Vec::new(),
            level: Level::Plain,
            prompt: Prompt::default(),
        }
    }

    /// As configured.
    pub fn settings(&self) -> &SecuritySettings {
        &self.settings
    }

    /// Changes what the meter demands and how it pairs, as a fault profile does. Bonds stay.
    pub fn reconfigure(&mut self, settings: SecuritySettings) {
        self.settings = settings;
    }

    /// A person puts the meter into its pairing mode, or ends it.
    pub fn set_pairing_mode(&mut self, now: SimTime, on: bool) {
        let window = Duration::from_millis(self.settings.pairing_window_ms);
        self.pairing_until = on.then(|| now.saturating_add(window));
    }

    /// Whether it is in its pairing mode.
    pub fn in_pairing_mode(&self, now: SimTime) -> bool {
        self.pairing_until.is_some_and(|until| now < until)
    }

    /// Number of bonds.
    pub fn bonds(&self) -> usize {
        self.bonds.len()
    }

    /// Whether it has a bond with this central.
    pub fn knows(&self, central: &str) -> bool {
        self.bonds.iter().any(|bond| bond.central == central)
    }

    /// What people see.
    pub fn prompt(&self) -> Prompt {
        self.prompt
    }

    /// How well the link is protected.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Forgets all bonds, as a battery change or a reset does; the centrals do not learn of it.
    pub fn wipe(&mut self) {
        self.bonds.clear();
    }

    /// A central that is none of ours, such as a person's phone, pairs with the meter. A meter with a single bond refuses it
    /// while it has another. Returns whether there is a bond now.
    pub fn bond_elsewhere(&mut self) -> bool {
        let refused = self.settings.single_bond && self.bonds.iter().any(|bond| bond.central != ELSEWHERE);
        if !refused && !self.knows(ELSEWHERE) {
            self.keep_bond(ELSEWHERE, true);
        }
        !refused
    }

    fn keep_bond(&mut self, central: &str, authenticated: bool) {
        self.bonds.retain(|bond| bond.central != central);
        if self.bonds.len() >= MAX_BONDS {
            self.bonds.remove(0);
        }
        self.bonds.push(Bond {
            central: central.to_owned(),
            authenticated,
            subscribed: BTreeSet::new(),
        });
    }

    /// A link came up or went down; either way nothing protects it and nobody is asked for anything.
    pub fn link_changed(&mut self) {
        self.level = Level::Plain;
        self.prompt = Prompt::default();
    }

    /// A central that has a key starts encryption (volume 3, part H, section 2.4.4).
    ///
    /// # Errors
    /// When the meter lost its key.
    pub fn encrypt(&mut self, central: &str) -> Result<Level, KeyMissing> {
        let bond = self
            .bonds
            .iter()
            .find(|bond| bond.central == central)
            .ok_or(KeyMissing)?;
        self.level = Level::of(bond.authenticated);
        Ok(self.level)
    }

    /// What a bonded central had subscribed to on its last link, when the meter remembers that.
    pub fn remembered(&self, central: &str) -> Vec<Uuid16> {
        self.bonds
            .iter()
            .filter(|bond| bond.central == central && self.settings.keeps_subscriptions_per_bond)
            .flat_map(|bond| bond.subscribed.iter().copied())
            .collect()
    }

    /// Whether a read is let through.
    ///
    /// # Errors
    /// The ATT error that answers the read.
    pub fn allows_read(&self, central: &str) -> Result<(), AttError> {
        if self.settings.protects_reads {
            self.allows(central)
        } else {
            Ok(())
        }
    }

    /// Whether a write or a subscription is let through (volume 3, part C, section 10.3.1: without a key the answer is
    /// insufficient authentication, with one that is not in use insufficient encryption).
    ///
    /// # Errors
    /// The ATT error that answers it.
    pub fn allows(&self, central: &str) -> Result<(), AttError> {
        let enough = match self.settings.demands {
            Demand::None => true,
            Demand::Encryption => self.level >= Level::Encrypted,
            Demand::Authentication => self.level >= Level::Authenticated,
        };
        if enough {
            Ok(())
        } else if self.level == Level::Plain && self.knows(central) {
            Err(AttError::InsufficientEncryption)
        } else {
            Err(AttError::InsufficientAuthentication)
        }
    }

    /// A central asks to pair. `number` is random, from zero to [`MAX_PASSKEY`]: what is shown, where something is.
    ///
    /// # Errors
    /// When the meter does not pair; nothing has changed then.
    pub fn pairing_asked(
        &mut self,
        now: SimTime,
        central: &str,
        io: IoCapability,
        number: u32,
    ) -> Result<Association, PairingRefused> {
        if self.settings.pairing == PairingRule::InPairingMode && !self.in_pairing_mode(now) {
            return Err(PairingRefused::NotInPairingMode);
        }
        if self.settings.single_bond && self.bonds.iter().any(|bond| bond.central != central) {
            return Err(PairingRefused::HasAnotherBond);
        }
        let model = association(io, self.settings.io, self.settings.secure_connections);
        if self.settings.demands == Demand::Authentication && !model.authenticates() {
            return Err(PairingRefused::NotAuthenticated);
        }
        let number = number.min(MAX_PASSKEY);
        self.prompt = match model {
            Association::JustWorks => Prompt::default(),
            Association::NumericComparison => Prompt {
                shows: Some(number),
                asks_confirmation: !self.settings.confirms_by_itself,
                ..Prompt::default()
            },
            Association::MeterShows => Prompt {
                shows: Some(number),
                ..Prompt::default()
            },
            Association::CentralShows | Association::BothAsk => Prompt {
                asks_passkey: true,
                ..Prompt::default()
            },
        };
        Ok(model)
    }

    /// The pairing came to an end without a bond.
    pub fn pairing_ended(&mut self) {
        self.prompt = Prompt::default();
    }

    /// The passkey was typed, or the question was answered: nothing is asked any more.
    pub fn answered(&mut self) {
        self.prompt.asks_passkey = false;
        self.prompt.asks_confirmation = false;
    }

    /// The pairing succeeded: the link is protected and both sides keep the key. Ends the pairing mode.
    pub fn paired(&mut self, central: &str, authenticated: bool) -> Level {
        self.keep_bond(central, authenticated);
        self.prompt = Prompt::default();
        self.pairing_until = None;
        self.level = Level::of(authenticated);
        self.level
    }

    /// A central subscribed or unsubscribed. Returns whether it cost the central its bond.
    pub fn subscribed(&mut self, central: &str, characteristic: Uuid16, enabled: bool) -> bool {
        if !enabled && self.settings.unsubscribe_forgets_bond && self.level > Level::Plain {
            let before = self.bonds.len();
            self.bonds.retain(|bond| bond.central != central);
            return self.bonds.len() < before;
        }
        if let Some(bond) = self.bonds.iter_mut().find(|bond| bond.central == central) {
            if enabled {
                bond.subscribed.insert(characteristic);
            } else {
                bond.subscribed.remove(&characteristic);
            }
        }
        false
    }

    /// When the pairing mode ends by itself.
    pub fn pairing_mode_until(&self) -> Option<SimTime> {
        self.pairing_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "02:00:00:CA:5E:00";
    const THERE: &str = "02:00:00:CA:5E:01";

    fn meter(settings: SecuritySettings) -> Security {
        Security::new(settings)
    }

    /// The table of volume 3, part H, section 2.3.5.1, row by row: the meter answers, the columns are the central's
    /// capabilities in the order of their codes. N is numeric comparison, M and C say who shows, B both ask.
    #[test]
    fn the_model_follows_the_table_of_the_core_specification() {
        let check = |secure: bool, rows: [&str; 5]| {
            for (meter, row) in IoCapability::ALL.into_iter().zip(rows) {
                for (central, expected) in IoCapability::ALL.into_iter().zip(row.chars()) {
                    let found = match association(central, meter, secure) {
                        Association::JustWorks => 'J',
                        Association::NumericComparison => 'N',
                        Association::MeterShows => 'M',
                        Association::CentralShows => 'C',
                        Association::BothAsk => 'B',
                    };
                    assert_eq!(found, expected, "central {central:?}, meter {meter:?}, secure {secure}");
                }
            }
        };
        check(false, ["JJMJM", "JJMJM", "CCBJC", "JJJJJ", "CCMJC"]);
        check(true, ["JJMJM", "JNMJN", "CCBJC", "JJJJJ", "CNMJN"]);
    }

    #[test]
    fn a_meter_that_demands_nothing_lets_everybody_in() {
        let meter = meter(SecuritySettings::default());
        assert_eq!((meter.allows(HERE), meter.allows_read(HERE)), (Ok(()), Ok(())));
    }

    #[test]
    fn a_protected_meter_says_which_protection_is_missing() {
        let mut meter = meter(SecuritySettings {
            demands: Demand::Encryption,
            ..SecuritySettings::default()
        });
        assert_eq!(meter.allows(HERE), Err(AttError::InsufficientAuthentication));
        assert_eq!(meter.allows_read(HERE), Ok(()));
        assert_eq!(meter.encrypt(HERE), Err(KeyMissing));
        let model = meter.pairing_asked(SimTime::ZERO, HERE, IoCapability::KeyboardDisplay, 1);
        assert_eq!(model, Ok(Association::JustWorks));
        assert_eq!(meter.paired(HERE, false), Level::Encrypted);
        assert_eq!(meter.allows(HERE), Ok(()));
        meter.link_changed();
        assert_eq!(meter.allows(HERE), Err(AttError::InsufficientEncryption));
        assert_eq!(meter.encrypt(HERE), Ok(Level::Encrypted));
        assert_eq!(meter.allows(HERE), Ok(()));
        meter.wipe();
        meter.link_changed();
        assert_eq!(meter.encrypt(HERE), Err(KeyMissing));
    }

    #[test]
    fn a_meter_that_demands_authentication_takes_no_just_works() {
        let mut meter = meter(SecuritySettings {
            demands: Demand::Authentication,
            io: IoCapability::DisplayOnly,
            ..SecuritySettings::default()
        });
        assert_eq!(
            meter.pairing_asked(SimTime::ZERO, HERE, IoCapability::NoInputNoOutput, 5),
            Err(PairingRefused::NotAuthenticated)
        );
        let model = meter.pairing_asked(SimTime::ZERO, HERE, IoCapability::KeyboardDisplay, 4321);
        assert_eq!(model, Ok(Association::MeterShows));
        assert_eq!(meter.prompt().shows, Some(4321));
        assert_eq!(meter.paired(HERE, true), Level::Authenticated);
        assert_eq!((meter.prompt(), meter.allows(HERE)), (Prompt::default(), Ok(())));
    }

    #[test]
    fn pairing_needs_the_mode_and_room_for_a_bond() {
        let mut meter = meter(SecuritySettings {
            pairing: PairingRule::InPairingMode,
            pairing_window_ms: 1_000,
            single_bond: true,
            ..SecuritySettings::default()
        });
        let ask =
            |meter: &mut Security, now, central| meter.pairing_asked(now, central, IoCapability::NoInputNoOutput, 0);
        let second = SimTime::from_secs(1);
        assert_eq!(
            ask(&mut meter, SimTime::ZERO, HERE),
            Err(PairingRefused::NotInPairingMode)
        );
        meter.set_pairing_mode(SimTime::ZERO, true);
        assert_eq!(ask(&mut meter, second, HERE), Err(PairingRefused::NotInPairingMode));
        meter.set_pairing_mode(second, true);
        assert_eq!(ask(&mut meter, second, HERE), Ok(Association::JustWorks));
        meter.paired(HERE, false);
        assert!(!meter.in_pairing_mode(second));
        meter.set_pairing_mode(second, true);
        assert_eq!(ask(&mut meter, second, THERE), Err(PairingRefused::HasAnotherBond));
        assert_eq!(ask(&mut meter, second, HERE), Ok(Association::JustWorks));
    }

    #[test]
    fn a_phone_takes_the_only_bond_if_it_is_there_first() {
        let single = SecuritySettings {
            single_bond: true,
            ..SecuritySettings::default()
        };
        let mut taken = meter(single.clone());
        assert!(taken.bond_elsewhere() && taken.bond_elsewhere());
        assert_eq!((taken.bonds(), taken.level()), (1, Level::Plain));
        assert_eq!(
            taken.pairing_asked(SimTime::ZERO, HERE, IoCapability::NoInputNoOutput, 0),
            Err(PairingRefused::HasAnotherBond)
        );
        let mut ours = meter(single);
        ours.paired(HERE, false);
        assert!(!ours.bond_elsewhere());
        assert!(ours.knows(HERE) && ours.bonds() == 1);
    }

    #[test]
    fn subscriptions_are_remembered_for_each_bond_or_cost_it() {
        let settings = SecuritySettings {
            keeps_subscriptions_per_bond: true,
            ..SecuritySettings::default()
        };
        let mut keeps = meter(settings.clone());
        keeps.paired(HERE, false);
        keeps.paired(THERE, false);
        assert!(!keeps.subscribed(HERE, 0x2A35, true));
        assert_eq!(keeps.remembered(HERE), [0x2A35]);
        assert!(keeps.remembered(THERE).is_empty());
        keeps.subscribed(HERE, 0x2A35, false);
        assert!(keeps.remembered(HERE).is_empty());

        let mut forgets = meter(SecuritySettings {
            unsubscribe_forgets_bond: true,
            ..settings
        });
        forgets.paired(HERE, false);
        assert!(!forgets.subscribed(HERE, 0x2A35, true));
        assert!(forgets.subscribed(HERE, 0x2A35, false));
        assert!(!forgets.knows(HERE));
    }

    #[test]
    fn bonds_are_bounded_and_the_oldest_gives_way() {
        let mut meter = meter(SecuritySettings::default());
        for central in 0..=MAX_BONDS {
            meter.paired(&central.to_string(), false);
        }
        assert_eq!(meter.bonds(), MAX_BONDS);
        assert!(!meter.knows("0") && meter.knows("8"));
    }

    proptest::proptest! {
        #[test]
        fn nobody_gets_in_without_the_protection_that_is_demanded(
            demand in 0_u8..3,
            io in 0_usize..5,
            steps in proptest::collection::vec((0_u8..7, 0_u8..12, 0_usize..5), 0..80),
        ) {
            let demands = match demand {
                0 => Demand::None,
                1 => Demand::Encryption,
                _ => Demand::Authentication,
            };
            let needed = match demands {
                Demand::None => Level::Plain,
                Demand::Encryption => Level::Encrypted,
                Demand::Authentication => Level::Authenticated,
            };
            let mut meter = meter(SecuritySettings {
                demands,
                io: IoCapability::ALL[io],
                ..SecuritySettings::default()
            });
            for (step, central, capability) in steps {
                let central = central.to_string();
                match step {
                    0 => meter.link_changed(),
                    1 => meter.wipe(),
                    2 => {
                        let known = meter.knows(&central);
                        assert_eq!(meter.encrypt(&central).is_ok(), known);
                    }
                    3 => {
                        let capability = IoCapability::ALL[capability];
                        if let Ok(model) = meter.pairing_asked(SimTime::ZERO, &central, capability, 7) {
                            let reached = meter.paired(&central, model.authenticates());
                            assert!(reached >= needed);
                            assert!(meter.knows(&central));
                        }
                    }
                    4 => meter.pairing_ended(),
                    5 => meter.answered(),
                    _ => {
                        meter.subscribed(&central, 0x2A35, capability % 2 == 0);
                    }
                }
                assert_eq!(meter.allows(&central).is_ok(), meter.level() >= needed);
                assert!(meter.bonds() <= MAX_BONDS);
                assert!(meter.prompt().shows.is_none_or(|number| number <= MAX_PASSKEY));
            }
        }
    }
}
