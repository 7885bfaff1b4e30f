//! What a person at a meter does about pairing, and what it shows.

use serde::{Deserialize, Serialize};

use super::protocol::{Refusal, Reply};
use crate::SimTime;
use crate::bluez::Host;
use crate::meters::MAX_PASSKEY;

/// What people in front of a meter see of pairing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Display {
    /// The six digits that it shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shows: Option<String>,
    /// It waits for a passkey to be typed.
    pub asks_passkey: bool,
    /// It waits for yes or no.
    pub asks_confirmation: bool,
    /// It is in its pairing mode.
    pub pairing_mode: bool,
    /// Bonds that it keeps.
    pub bonds: usize,
}

impl Host {
    pub(super) fn display(&self, now: SimTime, unit: usize) -> Reply {
        let Some(found) = self.units.get(unit) else {
            return Reply::Done {};
        };
        let prompt = found.security.prompt();
        Reply::Display(Display {
            shows: prompt.shows.map(|number| format!("{number:06}")),
            asks_passkey: prompt.asks_passkey,
            asks_confirmation: prompt.asks_confirmation,
            pairing_mode: found.security.in_pairing_mode(now),
            bonds: found.security.bonds(),
        })
    }

    pub(super) fn type_passkey(&mut self, now: SimTime, unit: usize, passkey: &str) -> Result<Reply, Refusal> {
        let digits = passkey.len() == 6 && passkey.bytes().all(|byte| byte.is_ascii_digit());
        let typed = passkey.parse().ok().filter(|typed| digits && *typed <= MAX_PASSKEY);
        let typed = typed.ok_or_else(|| Refusal::new("bad_value", "a passkey has six digits"))?;
        if !self.answer_on_meter(now, unit, Some(typed)) {
            return Err(not_asked("a passkey"));
        }
        Ok(Reply::Done {})
    }

    pub(super) fn confirm_pairing(&mut self, now: SimTime, unit: usize, accept: bool) -> Result<Reply, Refusal> {
        let asked = if accept {
            self.answer_on_meter(now, unit, None)
        } else {
            self.decline_on_meter(unit)
        };
        asked.then_some(Reply::Done {}).ok_or_else(|| not_asked("yes or no"))
    }

    pub(super) fn pairing_mode(&mut self, now: SimTime, unit: usize, on: bool) {
        if let Some(found) = self.units.get_mut(unit) {
            found.security.set_pairing_mode(now, on);
        }
        self.advance(now);
    }

    pub(super) fn bond_elsewhere(&mut self, unit: usize) -> Result<Reply, Refusal> {
        let bonded = self
            .units
            .get_mut(unit)
            .is_some_and(|found| found.security.bond_elsewhere());
        bonded
            .then_some(Reply::Done {})
            .ok_or_else(|| Refusal::new("bad_value", "the meter keeps its only bond"))
    }

    pub(super) fn wipe_bonds(&mut self, unit: usize) {
        if let Some(found) = self.units.get_mut(unit) {
            found.security.wipe();
        }
    }
}

fn not_asked(what: &str) -> Refusal {
    Refusal::new("not_asked", format!("the meter does not wait for {what}"))
}
