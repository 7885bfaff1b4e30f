//! The control interface: what people and tests do to the simulated world.
//!
//! Newline-delimited JSON over TCP on a loopback address. One request a line, of at most 64 KiB; one answer a line, in
//! the order of the requests. A line that is not understood is answered with an error and the connection stays open.
//! There is no authentication: whoever can reach the loopback interface can measure.
//!
//! A request is an object with the command in `do`, its arguments beside it, and optionally an `id` (a whole number or a
//! text) that the answer repeats. Unknown members are refused.
//!
//! ```json
//! {"id": 1, "do": "measure_cuff", "meter": "store-cuff", "record": {"systolic": 128, "diastolic": 82, "pulse": 71}}
//! {"id": 1, "ok": true, "result": {"record": 1, "hex": "1e8000..."}}
//! {"id": 2, "do": "press_transfer", "meter": "nobody"}
//! {"id": 2, "ok": false, "error": {"code": "unknown_meter", "message": "there is no meter \"nobody\"; ..."}}
//! ```
//!
//! | `do` | arguments | result |
//! |---|---|---|
//! | `list` | | [`State`]: adapter, meters |
//! | `measure_cuff` | `meter`, `record`: [`CuffRecord`] | [`MadeRecord`]; opens the advertising window |
//! | `measure_glucose` | `meter`, `record`: [`GlucoseRecord`] | [`MadeRecord`]; opens the advertising window |
//! | `measure_weight` | `meter`, `record`: [`WeightRecord`] | [`MadeRecord`]; opens the advertising window |
//! | `measure_temperature` | `meter`, `record`: [`TemperatureRecord`] | [`MadeRecord`]; opens the advertising window |
//! | `measure_oxygen` | `meter`, `record`: [`OxygenRecord`] | [`MadeRecord`]; opens the advertising window |
//! | `set_profile` | `meter`, `profiles`: list of names | `{}` |
//! | `profiles` | | list of [`ProfileInfo`] |
//! | `jump_clock` | `meter`, `seconds` | `{}` |
//! | `generate_records` | `meter`, `count`, `seed`, `spacing_minutes`?, `newest_minutes_ago`? | [`Added`] |
//! | `add_cuff_records` | `meter`, `records`: list of [`CuffRecord`] | [`Added`] |
//! | `add_glucose_records` | `meter`, `records`: list of [`GlucoseRecord`] | [`Added`] |
//! | `set_clock` | `meter`, `to`: `"right"`, `"unset"` or a local time | `{}` |
//! | `set_range` | `meter`, `in_range` | `{}` |
//! | `press_transfer` | `meter` | `{}` |
//! | `adapter` | `powered`, `blocked`?, `adapter`? | `{}` |
//! | `drop_link` | `meter`, `after`? | `{}` |
//! | `display` | `meter` | [`Display`]: the passkey that it shows, what it asks |
//! | `type_passkey` | `meter`, `passkey` | `{}` |
//! | `confirm_pairing` | `meter`, `accept` | `{}` |
//! | `pairing_mode` | `meter`, `on` | `{}` |
//! | `wipe_bonds` | `meter` | `{}` |
//! | `bond_elsewhere` | `meter` | `{}` |
//! | `rotate_address` | `meter` | `{}` |
//! | `set_host_profile` | `profiles` | `{}` |
//! | `host_faults` | `faults`: [`HostFaults`](crate::HostFaults) | `{}` |
//! | `host_event` | `happens`: [`HostEvent`](crate::HostEvent) | `{}` |
//! | `counters` | | [`Counters`](crate::Counters) |
//! | `ledger` | `meter`?, `after`? | [`LedgerPage`] |
//!
//! Error codes are listed at [`Refusal`]. [`Client`] speaks all of this with types.

mod client;
pub(crate) mod execute;
mod faults;
mod host;
mod pairing;
mod protocol;
pub(crate) mod records;
mod server;

pub use client::{Client, ClientError};
pub use pairing::Display;
pub(crate) use protocol::Reply;
pub use protocol::parse as parse_line;
pub use protocol::{
    AdapterState, Added, Command, CuffRecord, GlucoseRecord, LedgerPage, MAX_ADDED, MAX_LEDGER_PAGE, MAX_LINE_BYTES,
    MadeRecord, MeterState, Refusal, State,
};
pub use records::{OxygenRecord, ProfileInfo, TemperatureRecord, WeightRecord};
pub use server::MAX_CONNECTIONS;
pub(crate) use server::{Order, serve};
