//! The lines of the control interface as types.

use chrono::NaiveDateTime;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::pairing::Display;
use super::records::{OxygenRecord, ProfileInfo, TemperatureRecord, WeightRecord};
use crate::bluez::Counters;
use crate::clock_setting::ClockSetting;
use crate::ledger::LedgerEntry;
use crate::meters::RecordId;
use crate::{HostEvent, HostFaults};

/// Longest request line in bytes, its newline not counted.
pub const MAX_LINE_BYTES: usize = 64 * 1024;

/// Most records that one command adds.
pub const MAX_ADDED: usize = 1_000;

/// Most entries in one page of the ledger.
pub const MAX_LEDGER_PAGE: usize = 500;

/// A command, named by the member `do` of its line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Shows the adapter and all meters: [`State`].
    List {},
    /// A person measures with a cuff: [`MadeRecord`]. Opens the advertising window.
    MeasureCuff {
        /// Name of the cuff.
        meter: String,
        /// What it measures.
        record: CuffRecord,
    },
    /// A person measures with a glucose meter: [`MadeRecord`]. Opens the advertising window.
    MeasureGlucose {
        /// Name of the glucose meter.
        meter: String,
        /// What it measures.
        record: GlucoseRecord,
    },
    /// A person steps on a scale: [`MadeRecord`]. Opens the advertising window.
    MeasureWeight {
        /// Name of the scale.
        meter: String,
        /// What it measures.
        record: WeightRecord,
    },
    /// A person takes a temperature: [`MadeRecord`]. Opens the advertising window.
    MeasureTemperature {
        /// Name of the thermometer.
        meter: String,
        /// What it measures.
        record: TemperatureRecord,
    },
    /// A person measures oxygen saturation: [`MadeRecord`]. Opens the advertising window.
    MeasureOxygen {
        /// Name of the oximeter.
        meter: String,
        /// What it measures.
        record: OxygenRecord,
    },
    /// Switches a meter to these fault profiles; those that it had end.
    SetProfile {
        /// Name of the meter.
        meter: String,
        /// Names of profiles; none for a meter without faults.
        profiles: Vec<String>,
    },
    /// Lists the fault profiles: a list of [`ProfileInfo`].
    Profiles {},
    /// Moves a meter's clock.
    JumpClock {
        /// Name of the meter.
        meter: String,
        /// How far, in seconds; back if negative.
        seconds: i64,
    },
    /// Puts generated records into a memory, oldest first: [`Added`]. The meter does not advertise for it.
    GenerateRecords {
        /// Name of the meter.
        meter: String,
        /// How many.
        count: usize,
        /// Seed of their values.
        seed: u64,
        /// Minutes between two of them; 360 unless said otherwise.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        spacing_minutes: Option<u32>,
        /// Age of the newest in minutes by the meter's clock; 60 unless said otherwise.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        newest_minutes_ago: Option<u32>,
    },
    /// Puts given records into a cuff's memory, in their order: [`Added`].
    AddCuffRecords {
        /// Name of the cuff.
        meter: String,
        /// The records.
        records: Vec<CuffRecord>,
    },
    /// Puts given records into a glucose meter's memory, in their order: [`Added`].
    AddGlucoseRecords {
        /// Name of the glucose meter.
        meter: String,
        /// The records.
        records: Vec<GlucoseRecord>,
    },
    /// Sets a meter's clock.
    SetClock {
        /// Name of the meter.
        meter: String,
        /// What it shows from now on.
        to: ClockSetting,
    },
    /// Brings a meter into range or takes it away; taking it away ends its link.
    SetRange {
        /// Name of the meter.
        meter: String,
        /// In range.
        in_range: bool,
    },
    /// Presses a meter's transfer key, which opens its advertising window.
    PressTransfer {
        /// Name of the meter.
        meter: String,
    },
    /// Switches the adapter. Off by default holds: D-Bus clients cannot switch it on (rfkill).
    Adapter {
        /// On.
        powered: bool,
        /// Whether D-Bus clients are kept from switching it on; the opposite of `powered` unless said otherwise.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        blocked: Option<bool>,
        /// Controller, for example `hci1`; the first one unless said otherwise.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        adapter: Option<String>,
    },
    /// Drops a meter's link: now, or right after it has sent `after` more values.
    DropLink {
        /// Name of the meter.
        meter: String,
        /// Values (notifications and confirmed indications) that still go through, on this link or the next.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<u32>,
    },
    /// Looks at a meter's display: [`Display`].
    Display {
        /// Name of the meter.
        meter: String,
    },
    /// Types a passkey on a meter that asks for one.
    TypePasskey {
        /// Name of the meter.
        meter: String,
        /// Six digits.
        passkey: String,
    },
    /// Says yes or no on a meter that asks whether two numbers are the same; no also ends a passkey question.
    ConfirmPairing {
        /// Name of the meter.
        meter: String,
        /// Yes.
        accept: bool,
    },
    /// Puts a meter into its pairing mode, or ends it.
    PairingMode {
        /// Name of the meter.
        meter: String,
        /// On.
        on: bool,
    },
    /// Makes a meter forget its bonds; centrals do not learn of it.
    WipeBonds {
        /// Name of the meter.
        meter: String,
    },
    /// Another central, such as a person's phone, pairs with a meter, if the meter lets it.
    BondElsewhere {
        /// Name of the meter.
        meter: String,
    },
    /// Makes a meter with a private address take a new one now.
    RotateAddress {
        /// Name of the meter.
        meter: String,
    },
    /// Gives the simulated BlueZ these profiles of group 12; those that it had end.
    SetHostProfile {
        /// Names of profiles; none for a host without faults.
        profiles: Vec<String>,
    },
    /// Gives the simulated BlueZ these faults; those that it had end.
    HostFaults {
        /// The faults.
        faults: HostFaults,
    },
    /// Lets something happen to the machine.
    HostEvent {
        /// What happens.
        happens: HostEvent,
    },
    /// Shows totals since the start: [`Counters`].
    Counters {},
    /// Shows a page of the ledger: [`LedgerPage`].
    Ledger {
        /// Only this meter's records.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        meter: Option<String>,
        /// Only entries after this one.
        #[serde(default)]
        after: u64,
    },
}

/// A blood pressure record as a person gives it: both pressures, or `raw`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CuffRecord {
    /// Systolic pressure in mmHg.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub systolic: Option<u16>,
    /// Diastolic pressure in mmHg.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diastolic: Option<u16>,
    /// Mean arterial pressure in mmHg; not a number on air when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<u16>,
    /// Pulse rate in beats per minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pulse: Option<u16>,
    /// User id of the slot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<u8>,
    /// Bits of the measurement status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Local time by the meter's clock; now when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<NaiveDateTime>,
    /// Bytes of 2A35 in hex that go on air instead, however wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
}

/// A glucose record as a person gives it. At most one of the two concentrations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GlucoseRecord {
    /// Concentration in mg/dL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mg_dl: Option<u16>,
    /// Concentration in tenths of mmol/L: 55 is 5.5 mmol/L.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mmol_l_tenths: Option<u16>,
    /// Code of the sample type; 1, capillary whole blood, when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_type: Option<u8>,
    /// Code of the sample location; 1, finger, when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_location: Option<u8>,
    /// Bits of the sensor status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Code of the meal, which makes a context.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meal: Option<u8>,
    /// Local time by the meter's base clock; now when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<NaiveDateTime>,
    /// Minutes from the base clock to the user's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset_minutes: Option<i16>,
    /// Bytes of 2A18 in hex that go on air instead, however wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
    /// Bytes of 2A34 in hex that go on air instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw_context: Option<String>,
}

/// The adapter and all meters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Milliseconds since the simulator started.
    pub now_ms: u64,
    /// The first adapter.
    pub adapter: AdapterState,
    /// Profiles of group 12 that the host has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_profiles: Vec<String>,
    /// The further adapters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more_adapters: Vec<AdapterState>,
    /// The meters.
    pub meters: Vec<MeterState>,
}

/// An adapter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdapterState {
    /// Its controller, for example `hci0`.
    pub controller: String,
    /// Plugged in.
    pub present: bool,
    /// On.
    pub powered: bool,
    /// D-Bus clients cannot switch it on.
    pub blocked: bool,
    /// D-Bus clients that scan.
    pub scanning_clients: usize,
}

/// A meter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeterState {
    /// Its name.
    pub meter: String,
    /// `cuff`, `glucose`, `scale`, `thermometer` or `oximeter`.
    pub kind: String,
    /// Its Bluetooth address; its identity, if it changes addresses.
    pub address: String,
    /// The address in its advertisements.
    pub address_on_air: String,
    /// Manufacturer and model.
    pub model: String,
    /// In range.
    pub in_range: bool,
    /// Sends advertisements.
    pub advertising: bool,
    /// Has an object on the bus.
    pub known: bool,
    /// Has a link.
    pub connected: bool,
    /// BlueZ has a bond with it.
    pub bonded: bool,
    /// Bonds that the meter keeps.
    pub bonds: usize,
    /// Services are resolved.
    pub resolved: bool,
    /// Notification sessions of D-Bus clients.
    pub sessions: usize,
    /// Local time that its clock shows, or `unset`.
    pub clock: ClockSetting,
    /// Records in its memory.
    pub stored: usize,
    /// Records among them that no client has had.
    pub unsent: usize,
    /// Its fault profiles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<String>,
}

/// A record that a command made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeRecord {
    /// Number within the meter.
    pub record: RecordId,
    /// Sequence number on air, for glucose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u16>,
    /// The bytes of 2A35 or 2A18 in hex.
    pub hex: String,
    /// The bytes of 2A34 in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_hex: Option<String>,
}

/// The records that a command added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Added {
    /// In the order of the memory.
    pub records: Vec<MadeRecord>,
}

/// A page of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerPage {
    /// The entries, at most [`MAX_LEDGER_PAGE`].
    pub entries: Vec<LedgerEntry>,
    /// Whether there are more after the last one.
    pub more: bool,
}

/// What a command gives back.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Reply {
    Done {},
    State(State),
    Made(MadeRecord),
    Added(Added),
    Counters(Counters),
    Ledger(LedgerPage),
    Profiles(Vec<ProfileInfo>),
    Display(Display),
}

/// Why a line was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message} ({code})")]
pub struct Refusal {
    /// One of `line_too_long`, `not_json`, `bad_request`, `unknown_meter`, `unknown_adapter`, `wrong_kind`, `bad_value`,
    /// `not_asked`, `not_running`, `full`, `too_many_connections`, `stopping`.
    pub code: String,
    /// What is wrong, for people.
    pub message: String,
}

impl Refusal {
    pub(crate) fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
        }
    }
}

/// Reads a request line: the value of its member `id`, which answers repeat, and the command.
///
/// # Errors
/// `not_json` or `bad_request`, with words; the id is given back as far as it could be read.
pub fn parse(line: &[u8]) -> (Value, Result<Command, Refusal>) {
    let mut value: Value = match serde_json::from_slice(line) {
        Ok(value) => value,
        Err(error) => {
            return (
                Value::Null,
                Err(Refusal::new("not_json", format!("the line is not JSON: {error}"))),
            );
        }
    };
    let Some(members) = value.as_object_mut() else {
        return (
            Value::Null,
            Err(Refusal::new("bad_request", "a request is a JSON object")),
        );
    };
    let id = members.remove("id").unwrap_or(Value::Null);
    // A number with a fraction could not be repeated digit for digit.
    if !(id.is_null() || id.is_string() || id.is_i64() || id.is_u64()) {
        return (
            Value::Null,
            Err(Refusal::new("bad_request", "an id is a whole number or a text")),
        );
    }
    let command = serde_json::from_value(value)
        .map_err(|error| Refusal::new("bad_request", format!("the request is not understood: {error}")));
    (id, command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(line: &str) -> Refusal {
        parse(line.as_bytes()).1.unwrap_err()
    }

    #[test]
    fn a_line_names_its_command_and_keeps_its_id() {
        let (id, command) =
            parse(br#"{"id": 7, "do": "measure_cuff", "meter": "c", "record": {"systolic": 120, "diastolic": 80}}"#);
        assert_eq!(id, 7);
        let record = CuffRecord {
            systolic: Some(120),
            diastolic: Some(80),
            ..CuffRecord::default()
        };
        assert_eq!(
            command,
            Ok(Command::MeasureCuff {
                meter: "c".to_owned(),
                record
            })
        );
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said() {
        assert_eq!(refusal("{").code, "not_json");
        assert_eq!(refusal("[]").code, "bad_request");
        assert_eq!(refusal("{}").code, "bad_request");
        assert!(refusal(r#"{"do": "dance"}"#).message.contains("dance"));
        assert!(refusal(r#"{"do": "press_transfer"}"#).message.contains("meter"));
        assert!(
            refusal(r#"{"do": "press_transfer", "meter": "c", "hard": true}"#)
                .message
                .contains("hard")
        );
        assert!(refusal(r#"{"do": "list", "hard": true}"#).message.contains("hard"));
        assert_eq!(
            refusal(r#"{"do": "measure_cuff", "meter": "c", "record": {"systolic": -1}}"#).code,
            "bad_request"
        );
        assert_eq!(refusal(r#"{"id": [], "do": "list"}"#).code, "bad_request");
        assert_eq!(refusal(r#"{"id": 1.5, "do": "list"}"#).code, "bad_request");
        assert!(
            refusal(&format!("{}1{}", "[".repeat(1000), "]".repeat(1000)))
                .message
                .contains("recursion")
        );
    }

    #[test]
    fn an_unknown_member_of_a_measurement_is_refused() {
        let refused = refusal(r#"{"do": "measure_cuff", "meter": "c", "record": {"systolic": 120, "puls": 60}}"#);
        assert!(refused.message.contains("puls"), "{refused}");
    }
}
