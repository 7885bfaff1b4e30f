//! What can be wrong with BlueZ, its bus and the adapters: group 12 of page 3, section 2.8, and the list of section 3.3.
//!
//! Faults are data. They are switched by the control protocol or by a named profile, act on calls, replies and signals
//! as these pass, and are counted when they do.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use zbus::message::Message;

use super::attributes::Operation;
use super::errors::BusError;
use super::host::Host;
use crate::SimTime;

/// Most rules of one kind at once.
pub const MAX_HOST_RULES: usize = 16;

/// Most replies that are held back at once; one more goes out at once.
const MAX_HELD_BACK: usize = 1_024;

/// Longest time that a fault may name, in milliseconds: an hour.
pub const MAX_FAULT_MS: u64 = 3_600_000;

/// A fault that acts on what has this name, a number of times or for as long as it is switched on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// A method, a signal or a property.
    pub what: String,
    /// How often it still acts; for ever when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
}

/// Replies to a method come late.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delay {
    /// The method; every one when it is `*`.
    pub what: String,
    /// By how many milliseconds.
    pub ms: u64,
}

/// Calls of a method fail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// The method.
    pub what: String,
    /// Name of the D-Bus error.
    pub error: String,
    /// Its words.
    #[serde(default)]
    pub message: String,
    /// How often it still acts; for ever when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
}

/// When services are said to be resolved, and when their objects are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// Both after discovery.
    #[default]
    Right,
    /// Said after discovery; the objects come so many milliseconds later (bluez/bluez#1489).
    BeforeObjects(u64),
    /// Both so many milliseconds late.
    Late(u64),
    /// Neither, on any link.
    Never,
    /// Both with the link, before `Connect` is answered.
    Early,
}

/// What happens to the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub enum HostEvent {
    /// An adapter is switched off, so that clients may switch it on again.
    PowerOff {
        /// Its controller; the first one when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        adapter: Option<String>,
    },
    /// An adapter is pulled out: its objects go.
    Unplug {
        /// Its controller; the first one when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        adapter: Option<String>,
    },
    /// An adapter is plugged in again: it comes back with its bonds.
    Plug {
        /// Its controller; the first one when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        adapter: Option<String>,
    },
    /// bluetoothd ends and comes back after so many milliseconds. Bonds and trust stay; links, scans, agents, sessions
    /// and GATT objects do not.
    RestartBluez {
        /// Milliseconds without an owner of `org.bluez`.
        #[serde(default)]
        down_ms: u64,
    },
    /// The bus closes all connections and listens again, at the same address, after so many milliseconds.
    LoseBus {
        /// Milliseconds without a bus.
        #[serde(default)]
        down_ms: u64,
    },
}

/// An event in the middle of a transfer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AfterValues {
    /// Values (notifications and confirmed indications) that still go through.
    pub values: u32,
    /// What happens then, once.
    pub then: HostEvent,
}

/// All faults of the host. The default is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HostFaults {
    /// Late replies.
    pub delays: Vec<Delay>,
    /// Failing calls.
    pub failures: Vec<Failure>,
    /// Signals that are not sent, by name or by property.
    pub dropped: Vec<Rule>,
    /// Signals that are sent twice, by name or by property.
    pub doubled: Vec<Rule>,
    /// Properties whose changes are told without the new value, in the list of invalidated ones.
    pub invalidated: Vec<Rule>,
    /// Methods that find the device gone: it is removed, and the call fails.
    pub vanishing: Vec<Rule>,
    /// Calls that write a client configuration, `StartNotify`, to which the meter never answers. The session waits for ever,
    /// and bluetoothd aborts when it is taken back while the link stands.
    pub unanswered: Vec<Rule>,
    /// When services are resolved.
    pub resolution: Resolution,
    /// What happens in the middle of a transfer.
    pub after_values: Option<AfterValues>,
}

/// A fault list that is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostFaultsError {
    /// Too many rules of a kind.
    #[error("at most {MAX_HOST_RULES} rules of one kind are kept")]
    TooMany,
    /// A name that D-Bus does not accept.
    #[error("{name:?} is not the name of a D-Bus error")]
    NotAnErrorName {
        /// As given.
        name: String,
    },
    /// A time that is too long.
    #[error("a fault lasts at most {MAX_FAULT_MS} ms")]
    TooLong,
}

impl HostFaults {
    /// Whether BlueZ can have them.
    ///
    /// # Errors
    /// When there are too many, or one makes no sense.
    pub fn check(&self) -> Result<(), HostFaultsError> {
        let lengths = [
            self.delays.len(),
            self.failures.len(),
            self.dropped.len(),
            self.doubled.len(),
            self.invalidated.len(),
            self.vanishing.len(),
            self.unanswered.len(),
        ];
        if lengths.into_iter().any(|length| length > MAX_HOST_RULES) {
            return Err(HostFaultsError::TooMany);
        }
        for failure in &self.failures {
            if zbus::names::ErrorName::try_from(failure.error.as_str()).is_err() {
                return Err(HostFaultsError::NotAnErrorName {
                    name: failure.error.clone(),
                });
            }
        }
        let resolution = match self.resolution {
            Resolution::BeforeObjects(ms) | Resolution::Late(ms) => ms,
            Resolution::Right | Resolution::Never | Resolution::Early => 0,
        };
        let event = self.after_values.as_ref().map_or(0, |after| after.then.down_ms());
        let delays = self.delays.iter().map(|delay| delay.ms);
        if delays.chain([resolution, event]).any(|ms| ms > MAX_FAULT_MS) {
            return Err(HostFaultsError::TooLong);
        }
        Ok(())
    }
}

impl HostEvent {
    pub(crate) fn down_ms(&self) -> u64 {
        match self {
            Self::RestartBluez { down_ms } | Self::LoseBus { down_ms } => *down_ms,
            Self::PowerOff { .. } | Self::Unplug { .. } | Self::Plug { .. } => 0,
        }
    }
}

/// What becomes of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignalFate {
    Sent,
    Dropped,
    Doubled,
}

/// What is done later.
#[derive(Debug)]
pub(crate) enum Later {
    /// A reply that was held back.
    Reply(Message),
    /// An operation that takes its time.
    Attempt(usize, Operation),
}

/// What only the owner of the connections can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outage {
    /// The connection that owns the name ends for so long.
    Bluez(Duration),
    /// The bus ends for so long.
    Bus(Duration),
}

/// Uses a rule up that matches one of these names.
fn acts(rules: &mut [Rule], names: &[&str]) -> bool {
    let found = rules
        .iter_mut()
        .find(|rule| rule.times != Some(0) && names.contains(&rule.what.as_str()));
    let Some(rule) = found else { return false };
    if let Some(times) = &mut rule.times {
        *times = times.saturating_sub(1);
    }
    true
}

impl Host {
    fn fault_acted(&mut self) {
        self.counters.host_faults += 1;
    }

    /// The failure that is ordered for a call of this method, if one is.
    pub(crate) fn ordered_failure(&mut self, member: &str) -> Option<BusError> {
        let failure = self
            .faults
            .failures
            .iter_mut()
            .find(|failure| failure.times != Some(0) && failure.what == member)?;
        if let Some(times) = &mut failure.times {
            *times = times.saturating_sub(1);
        }
        let error = BusError::named(&failure.error, &failure.message);
        self.fault_acted();
        Some(error)
    }

    /// Whether the device is to vanish under this call.
    pub(crate) fn ordered_vanishing(&mut self, member: &str) -> bool {
        let vanishes = acts(&mut self.faults.vanishing, &[member]);
        if vanishes {
            self.fault_acted();
        }
        vanishes
    }

    /// Whether the meter is never to answer what this call asks it.
    pub(crate) fn ordered_silence(&mut self, member: &str) -> bool {
        let silent = acts(&mut self.faults.unanswered, &[member]);
        if silent {
            self.fault_acted();
        }
        silent
    }

    /// By how much the reply to this method is held back.
    pub(crate) fn ordered_delay(&self, member: &str) -> Option<Duration> {
        let delays = &self.faults.delays;
        let found = delays.iter().find(|delay| delay.what == member || delay.what == "*")?;
        Some(Duration::from_millis(found.ms))
    }

    /// What becomes of a signal that goes by any of these names.
    pub(crate) fn signal_fate(&mut self, names: &[&str]) -> SignalFate {
        let fate = if acts(&mut self.faults.dropped, names) {
            SignalFate::Dropped
        } else if acts(&mut self.faults.doubled, names) {
            SignalFate::Doubled
        } else {
            return SignalFate::Sent;
        };
        self.fault_acted();
        fate
    }

    /// Whether a change of this property is told without its value.
    pub(crate) fn ordered_invalidation(&mut self, property: &str) -> bool {
        let invalidated = acts(&mut self.faults.invalidated, &[property]);
        if invalidated {
            self.fault_acted();
        }
        invalidated
    }

    /// Sends a reply, now or when a fault lets it go. A delayed `StartNotify` has waited already.
    pub(crate) fn send_reply(&mut self, call: &Message, reply: Message) {
        let header = call.header();
        let member = header.member().map_or("", |member| member.as_str());
        let delay = if member == "StartNotify" {
            None
        } else {
            self.ordered_delay(member)
        };
        match delay {
            Some(delay) if self.later.len() < MAX_HELD_BACK => {
                self.fault_acted();
                self.do_later(delay, Later::Reply(reply));
            }
            _ => self.outgoing.push(reply),
        }
    }

    pub(crate) fn do_later(&mut self, delay: Duration, what: Later) {
        self.later.push((self.now.saturating_add(delay), what));
    }

    /// Does what was put off until now.
    pub(crate) fn do_what_is_due(&mut self, now: SimTime) {
        while let Some(position) = self.later.iter().position(|(at, _)| *at <= now) {
            match self.later.remove(position).1 {
                Later::Reply(reply) => self.outgoing.push(reply),
                Later::Attempt(index, operation) => {
                    if self.require_link(index).is_ok() {
                        self.attempt(now, index, operation);
                    } else {
                        self.give_up(index, &operation, &BusError::not_connected());
                    }
                }
            }
        }
    }

    /// A value went through: something may be ordered for now.
    pub(crate) fn value_went_through(&mut self) {
        let Some(after) = &mut self.faults.after_values else {
            return;
        };
        after.values = after.values.saturating_sub(1);
        if after.values == 0
            && let Some(after) = self.faults.after_values.take()
        {
            self.fault_acted();
            self.ordered.push(after.then);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_acts_as_often_as_it_says() {
        let mut rules = vec![Rule {
            what: "Value".to_owned(),
            times: Some(2),
        }];
        let names = ["PropertiesChanged", "Value"];
        assert_eq!([acts(&mut rules, &names), acts(&mut rules, &["RSSI"])], [true, false]);
        assert_eq!([acts(&mut rules, &names), acts(&mut rules, &names)], [true, false]);
    }

    #[test]
    fn faults_are_bounded_and_checked() {
        let rule = Rule {
            what: "Value".to_owned(),
            times: None,
        };
        let many = HostFaults {
            dropped: vec![rule; MAX_HOST_RULES + 1],
            ..HostFaults::default()
        };
        assert_eq!(many.check(), Err(HostFaultsError::TooMany));
        let nameless = HostFaults {
            failures: vec![Failure {
                what: "Connect".to_owned(),
                error: "no name".to_owned(),
                message: String::new(),
                times: None,
            }],
            ..HostFaults::default()
        };
        assert!(matches!(nameless.check(), Err(HostFaultsError::NotAnErrorName { .. })));
        let endless = HostFaults {
            resolution: Resolution::Late(MAX_FAULT_MS + 1),
            ..HostFaults::default()
        };
        assert_eq!(endless.check(), Err(HostFaultsError::TooLong));
        assert_eq!(HostFaults::default().check(), Ok(()));
    }
}
