//! Which meter may be read now, by whom: several adapters hear the same meter, and one reads it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use carepost_domain::id::MeterId;
use tokio::time::Instant;

/// Devices that are remembered as counted.
const MAX_COUNTED: usize = 1_024;
/// A device that cannot be read is counted once in this time.
const COUNTED_AGAIN: Duration = Duration::from_secs(60 * 60);

/// What the scanners share. Cloning is cheap; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Claims(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    taken: HashSet<MeterId>,
    not_before: HashMap<MeterId, Instant>,
    /// Which adapter holds the notification session of a meter whose session is never given up.
    kept_by: HashMap<MeterId, String>,
    counted: HashMap<String, Instant>,
}

/// The right to read a meter, until it is dropped; then the meter's cool-down begins.
#[derive(Debug)]
pub(super) struct Claim {
    claims: Claims,
    meter: MeterId,
    cool_down: Duration,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut state = self.claims.state();
        state.taken.remove(&self.meter);
        state.not_before.insert(self.meter, Instant::now() + self.cool_down);
    }
}

impl Claims {
    /// Whether an adapter may read a meter now.
    pub(super) fn is_due(&self, meter: MeterId, adapter: &str) -> bool {
        let state = self.state();
        !state.taken.contains(&meter)
            && state.kept_by.get(&meter).is_none_or(|keeper| keeper == adapter)
            && state.not_before.get(&meter).is_none_or(|at| Instant::now() >= *at)
    }

    /// Takes a meter. Nothing if another adapter was faster.
    pub(super) fn take(&self, meter: MeterId, adapter: &str, cool_down: Duration) -> Option<Claim> {
        if !self.is_due(meter, adapter) {
            return None;
        }
        self.state().taken.insert(meter).then(|| Claim {
            claims: self.clone(),
            meter,
            cool_down,
        })
    }

    /// Ends a meter's cool-down: it has something to say.
    pub(super) fn hasten(&self, meter: MeterId) {
        self.state().not_before.remove(&meter);
    }

    /// Notes that an adapter holds a meter's session, so that no other reads it.
    pub(super) fn keep(&self, meter: MeterId, adapter: &str) {
        self.state().kept_by.insert(meter, adapter.to_owned());
    }

    /// Notes that an adapter holds no session any more.
    pub(super) fn release(&self, adapter: &str) {
        self.state().kept_by.retain(|_, keeper| keeper != adapter);
    }

    /// Whether a device that cannot be read is to be counted now: once in a while, whichever adapter heard it.
    pub(super) fn counts(&self, address: &str) -> bool {
        let now = Instant::now();
        let mut state = self.state();
        state.counted.retain(|_, at| now.duration_since(*at) < COUNTED_AGAIN);
        if state.counted.len() >= MAX_COUNTED || state.counted.contains_key(address) {
            return false;
        }
        state.counted.insert(address.to_owned(), now);
        true
    }

    /// Plain values that are always whole. Never held over an await.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    #[tokio::test(start_paused = true)]
    async fn one_adapter_reads_a_meter_and_then_it_is_left_alone_for_a_while() {
        let claims = Claims::default();
        let (cuff, cool_down) = (store_cuff().id, Duration::from_secs(40));
        let claim = claims.take(cuff, "hci0", cool_down).unwrap();
        assert!(claims.take(cuff, "hci1", cool_down).is_none());
        assert!(
            claims.take(home_cuff().id, "hci1", cool_down).is_some(),
            "another meter"
        );
        drop(claim);
        assert!(!claims.is_due(cuff, "hci0") && !claims.is_due(cuff, "hci1"));
        tokio::time::advance(cool_down).await;
        assert!(claims.is_due(cuff, "hci1"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_kept_session_binds_a_meter_to_its_adapter() {
        let claims = Claims::default();
        let cuff = store_cuff().id;
        claims.keep(cuff, "hci0");
        assert!(claims.is_due(cuff, "hci0") && !claims.is_due(cuff, "hci1"));
        claims.release("hci1");
        assert!(!claims.is_due(cuff, "hci1"));
        claims.release("hci0");
        assert!(claims.is_due(cuff, "hci1"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stranger_is_counted_once_an_hour() {
        let claims = Claims::default();
        assert!(claims.counts("C4:DE:00:00:00:01") && !claims.counts("C4:DE:00:00:00:01"));
        tokio::time::advance(COUNTED_AGAIN).await;
        assert!(claims.counts("C4:DE:00:00:00:01"));
        for n in 0..MAX_COUNTED + 5 {
            claims.counts(&n.to_string());
        }
        assert!(!claims.counts("one too many"));
    }
}
