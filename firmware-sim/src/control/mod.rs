//! The control interface: what people and tests do to the simulated world.
//!
//! Newline-delimited JSON over TCP on a loopback address. One request a line, of at most 64 KiB; one answer a line, in
//! the order of the requests. A line that is not understood is answered with an error and the connection stays open.
//! There is no authentication: whoever can reach the loopback interface can measure.
//!
//! A request is an object with the command in `do`, its arguments beside it, and optionally an `id` (a number or a
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
//! | `generate_records` | `meter`, `count`, `seed`, `spacing_minutes`?, `newest_minutes_ago`? | [`Added`] |
//! | `add_cuff_records` | `meter`, `records`: list of [`CuffRecord`] | [`Added`] |
//! | `add_glucose_records` | `meter`, `records`: list of [`GlucoseRecord`] | [`Added`] |
//! | `set_clock` | `meter`, `to`: `"right"`, `"unset"` or a local time | `{}` |
//! | `set_range` | `meter`, `in_range` | `{}` |
//! | `press_transfer` | `meter` | `{}` |
//! | `adapter` | `powered`, `blocked`? | `{}` |
//! | `drop_link` | `meter`, `after`? | `{}` |
//! | `counters` | | [`Counters`](crate::Counters) |
//! | `ledger` | `meter`?, `after`? | [`LedgerPage`] |
//!
//! Error codes are listed at [`Refusal`]. [`Client`] speaks all of this with types.

mod client;
mod execute;
mod protocol;
mod server;

pub use client::{Client, ClientError};
pub use protocol::{
    AdapterState, Added, Command, CuffRecord, GlucoseRecord, LedgerPage, MAX_ADDED, MAX_LEDGER_PAGE, MAX_LINE_BYTES,
    MadeRecord, MeterState, Refusal, State,
};
pub use server::MAX_CONNECTIONS;
pub(crate) use server::{Order, serve};
