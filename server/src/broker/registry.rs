//! Who is connected, and what each gateway last said about itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use carepost_domain::id::GatewayId;
use chrono::{DateTime, Utc};
use tokio::sync::Notify;

use crate::telemetry::{Counters, Metric};

use super::outbox::{CloseReason, Outbox};

/// What this process knows of a gateway's presence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Whether it is connected.
    pub connected: bool,
    /// When it connected, or when its last connection ended.
    pub since: DateTime<Utc>,
    /// Its retained presence message, or its last will; nothing before the first.
    pub state: Option<Vec<u8>>,
}

/// The connections by gateway. A generation number tells a connection from the one that replaced it.
#[derive(Debug)]
pub(super) struct Registry {
    inner: Mutex<Inner>,
    changed: Notify,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Inner {
    last_session: u64,
    sessions: HashMap<GatewayId, Session>,
    /// Bounded by the number of enrolled gateways: only what has authenticated gets here.
    seen: HashMap<GatewayId, Presence>,
    /// What nobody has been told yet; the newest word replaces the older one.
    untold: HashMap<GatewayId, bool>,
}

#[derive(Debug)]
struct Session {
    number: u64,
    outbox: Arc<Outbox>,
}

impl Registry {
    pub(super) fn new(counters: Counters) -> Self {
        Self {
            inner: Mutex::default(),
            changed: Notify::new(),
            counters,
        }
    }

    /// Every change below is complete before the lock is released, so that a panic elsewhere leaves nothing half done.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a connection and ends the one that it replaces.
    pub(super) fn enter(&self, gateway: GatewayId, outbox: Arc<Outbox>, now: DateTime<Utc>) -> u64 {
        let mut inner = self.inner();
        inner.last_session += 1;
        let number = inner.last_session;
        let replaced = inner.sessions.insert(gateway, Session { number, outbox });
        let state = inner.seen.remove(&gateway).and_then(|presence| presence.state);
        inner.seen.insert(
            gateway,
            Presence {
                connected: true,
                since: now,
                state,
            },
        );
        inner.untold.insert(gateway, true);
        drop(inner);
        self.changed.notify_one();
        if let Some(old) = replaced {
            self.counters.count(Metric::MqttTakenOver);
            old.outbox.close(CloseReason::TakenOver);
        }
        number
    }

    /// Forgets a connection, unless a newer one has taken its place. `will` is the last will of one that was lost.
    pub(super) fn leave(&self, gateway: GatewayId, number: u64, will: Option<Vec<u8>>, now: DateTime<Utc>) {
        let mut inner = self.inner();
        if inner
            .sessions
            .get(&gateway)
            .is_none_or(|session| session.number != number)
        {
            return;
        }
        inner.sessions.remove(&gateway);
        inner.untold.insert(gateway, false);
        self.changed.notify_one();
        if let Some(presence) = inner.seen.get_mut(&gateway) {
            presence.connected = false;
            presence.since = now;
            if will.is_some() {
                presence.state = will;
            }
        }
    }

    /// Keeps a presence message; an empty one removes it, as MQTT has it for retained messages.
    pub(super) fn retain(&self, gateway: GatewayId, number: u64, payload: Vec<u8>) {
        let mut inner = self.inner();
        if inner
            .sessions
            .get(&gateway)
            .is_none_or(|session| session.number != number)
        {
            return;
        }
        if let Some(presence) = inner.seen.get_mut(&gateway) {
            presence.state = Some(payload).filter(|payload| !payload.is_empty());
        }
    }

    pub(super) fn outbox(&self, gateway: GatewayId) -> Option<(u64, Arc<Outbox>)> {
        self.inner()
            .sessions
            .get(&gateway)
            .map(|session| (session.number, Arc::clone(&session.outbox)))
    }

    pub(super) fn presence(&self, gateway: GatewayId) -> Option<Presence> {
        self.inner().seen.get(&gateway).cloned()
    }

    pub(super) async fn changes(&self) -> Vec<(GatewayId, bool)> {
        loop {
            let untold: Vec<_> = self.inner().untold.drain().collect();
            if !untold.is_empty() {
                return untold;
            }
            self.changed.notified().await;
        }
    }

    pub(super) fn connected(&self) -> usize {
        self.inner().sessions.len()
    }

    pub(super) fn close_all(&self, reason: CloseReason) {
        for session in self.inner().sessions.values() {
            session.outbox.close(reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateway() -> GatewayId {
        "018f3c5e-0000-7000-8000-000000000001".parse().unwrap()
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    #[tokio::test]
    async fn a_connection_that_was_replaced_changes_nothing_any_more() {
        let registry = Registry::new(Counters::default());
        let (first, _a) = Outbox::new();
        let first = Arc::new(first);
        let old = registry.enter(gateway(), Arc::clone(&first), at(1));
        let new = registry.enter(gateway(), Arc::new(Outbox::new().0), at(2));
        assert_eq!(first.closed().await, CloseReason::TakenOver);

        registry.retain(gateway(), new, b"online".to_vec());
        registry.retain(gateway(), old, b"stale".to_vec());
        registry.leave(gateway(), old, Some(b"gone".to_vec()), at(3));
        let here = Presence {
            connected: true,
            since: at(2),
            state: Some(b"online".to_vec()),
        };
        assert_eq!(registry.presence(gateway()), Some(here));

        registry.leave(gateway(), new, Some(b"gone".to_vec()), at(4));
        let gone = Presence {
            connected: false,
            since: at(4),
            state: Some(b"gone".to_vec()),
        };
        assert_eq!(registry.presence(gateway()), Some(gone));
        assert_eq!(registry.connected(), 0);
        assert_eq!(registry.changes().await, [(gateway(), false)]);
    }

    #[test]
    fn an_empty_presence_message_removes_the_retained_one() {
        let registry = Registry::new(Counters::default());
        let number = registry.enter(gateway(), Arc::new(Outbox::new().0), at(1));
        registry.retain(gateway(), number, b"online".to_vec());
        registry.retain(gateway(), number, Vec::new());
        assert_eq!(registry.presence(gateway()).unwrap().state, None);
    }
}
