//! Faults of the simulated BlueZ, and what happens to its machine.

use super::protocol::{Refusal, Reply};
use crate::SimTime;
use crate::bluez::Host;
use crate::profiles::Selection;
use crate::{HostEvent, HostFaults, MAX_FAULT_MS};

impl Host {
    /// Gives the host these profiles; those that it had end.
    pub(crate) fn set_host_profiles(&mut self, names: &[String]) -> Result<Reply, Refusal> {
        let refused = |error: crate::profiles::ProfileError| Refusal::new("bad_value", error.to_string());
        let selection = Selection::named(names).map_err(refused)?;
        self.faults = selection.host_faults().map_err(refused)?;
        self.profiles = names.to_vec();
        Ok(Reply::Done {})
    }

    pub(super) fn set_host_faults(&mut self, faults: HostFaults) -> Result<Reply, Refusal> {
        faults
            .check()
            .map_err(|error| Refusal::new("bad_value", error.to_string()))?;
        self.faults = faults;
        self.profiles.clear();
        Ok(Reply::Done {})
    }

    pub(super) fn host_event(&mut self, now: SimTime, event: &HostEvent) -> Result<Reply, Refusal> {
        if event.down_ms() > MAX_FAULT_MS {
            return Err(Refusal::new(
                "bad_value",
                format!("an outage lasts at most {MAX_FAULT_MS} ms"),
            ));
        }
        if !self.running {
            return Err(Refusal::new("not_running", "bluetoothd or its bus is down"));
        }
        if self.happen(now, event) {
            Ok(Reply::Done {})
        } else {
            Err(Refusal::new("unknown_adapter", "there is no such adapter"))
        }
    }
}
