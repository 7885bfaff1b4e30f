//! How meters stand behind adapters.

use std::fmt;
use std::str::FromStr;

use carepost_daemon::{Problems, Validate};
use serde::{Deserialize, Serialize};

/// Most seats of one program: more adapters than a machine has.
pub(crate) const MAX_SEATS: usize = 8;

/// The front on a real Bluetooth stack, used when the program is started with `--adapter`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PeripheralSection {
    /// The bus of bluetoothd: `system`, or a D-Bus address.
    pub bus: String,
}

impl Default for PeripheralSection {
    fn default() -> Self {
        Self {
            bus: "system".to_owned(),
        }
    }
}

impl Validate for PeripheralSection {
    fn validate(&self, problems: &mut Problems) {
        if self.bus != "system" && !self.bus.contains(':') {
            problems.add(
                "bus",
                "must be system, or an address of D-Bus such as unix:path=/run/bus",
            );
        }
    }
}

/// A meter behind an adapter, written `hci1=store-cuff`; without a meter it is the first configured one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    /// The adapter, for example `hci1`.
    pub adapter: String,
    /// The meter's name in the configuration; the first one when absent.
    pub meter: Option<String>,
}

/// A text that is no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write ADAPTER or ADAPTER=METER, for example hci1=store-cuff")]
pub struct NotASeat;

impl FromStr for Seat {
    type Err = NotASeat;

    fn from_str(text: &str) -> Result<Self, NotASeat> {
        let (adapter, meter) = match text.split_once('=') {
            Some((adapter, meter)) => (adapter, Some(meter)),
            None => (text, None),
        };
        let word = |text: &str| (1..=16).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !word(adapter) || meter == Some("") {
            return Err(NotASeat);
        }
        Ok(Self {
            adapter: adapter.to_owned(),
            meter: meter.map(str::to_owned),
        })
    }
}

impl fmt::Display for Seat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.meter {
            Some(meter) => write!(formatter, "{}={meter}", self.adapter),
            None => formatter.write_str(&self.adapter),
        }
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn seats_survive_a_round_trip_and_nonsense_is_refused() {
        for text in ["hci1", "hci1=store-cuff"] {
            assert_eq!(text.parse::<Seat>().unwrap().to_string(), text);
        }
        for text in ["", "=store-cuff", "hci1=", "hci 1", "../hci1", "hci1/dev"] {
            assert_eq!(text.parse::<Seat>(), Err(NotASeat), "{text:?}");
        }
    }
}
