//! Whose turn it is with the adapters: the scanners', or somebody's who asked for them, such as pairing.
//!
//! A scanner works under a share of the radio. Whoever needs the adapters alone asks for a turn: the scanners end their
//! scan, or finish the meter in hand, give their shares back and wait until the turn is over.

use std::sync::Arc;

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock, watch};

/// The turns. Cloning is cheap; clones share them.
#[derive(Debug, Clone)]
pub struct Turns {
    /// Fair: a scanner that asks for its share behind a waiting turn gets it after that turn.
    radio: Arc<RwLock<()>>,
    /// Turns that are asked for or taken.
    wanted: watch::Sender<u32>,
}

/// The adapters, alone, until it is dropped.
#[derive(Debug)]
#[must_use = "the turn is over when it is dropped"]
pub struct Turn {
    _alone: OwnedRwLockWriteGuard<()>,
    _asked: Asked,
}

/// A scanner's share of the radio.
#[derive(Debug)]
pub(super) struct Share {
    _shared: OwnedRwLockReadGuard<()>,
}

/// One request, until it is dropped.
#[derive(Debug)]
struct Asked(watch::Sender<u32>);

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.send_modify(|wanted| *wanted = wanted.saturating_sub(1));
    }
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            radio: Arc::new(RwLock::new(())),
            wanted: watch::channel(0).0,
        }
    }
}

impl Turns {
    /// Asks for the adapters and waits until no scanner uses one. That may take as long as the meter in hand, at most
    /// `bluetooth.session_ms` and its connection tries; ask under a deadline of your own. Cancel-safe: a request that is
    /// dropped is withdrawn.
    pub async fn request(&self) -> Turn {
        self.wanted.send_modify(|wanted| *wanted = wanted.saturating_add(1));
        let asked = Asked(self.wanted.clone());
        let alone = Arc::clone(&self.radio).write_owned().await;
        Turn {
            _alone: alone,
            _asked: asked,
        }
    }

    /// Whether somebody waits for the adapters or has them.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        *self.wanted.borrow() > 0
    }

    /// Takes a scanner's share. Cancel-safe.
    pub(super) async fn share(&self) -> Share {
        Share {
            _shared: Arc::clone(&self.radio).read_owned().await,
        }
    }

    /// Resolves as soon as somebody wants the adapters. Cancel-safe.
    pub(super) async fn wanted(&self) {
        // The sender lives in `self`, so that this cannot end for want of one.
        self.wanted.subscribe().wait_for(|wanted| *wanted > 0).await.ok();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn a_turn_waits_for_every_scanner_and_keeps_them_waiting() {
        let turns = Turns::default();
        let (first, second) = (turns.share().await, turns.share().await);
        assert!(!turns.is_wanted());
        let mut request = Box::pin(turns.request());
        assert!(request.as_mut().now_or_never().is_none());
        timeout(SOON, turns.wanted()).await.unwrap();
        drop(first);
        assert!(request.as_mut().now_or_never().is_none(), "another scanner still works");
        drop(second);
        let turn = timeout(SOON, request).await.unwrap();
        let mut share = Box::pin(turns.share());
        assert!(
            share.as_mut().now_or_never().is_none(),
            "no scanner works during a turn"
        );
        assert!(turns.is_wanted());
        drop(turn);
        timeout(SOON, share).await.unwrap();
        assert!(!turns.is_wanted());
    }

    #[tokio::test]
    async fn two_turns_come_one_after_the_other() {
        let turns = Turns::default();
        let first = turns.request().await;
        let mut second = Box::pin(turns.request());
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        drop(timeout(SOON, second).await.unwrap());
        assert!(!turns.is_wanted());
    }

    #[tokio::test]
    async fn a_request_that_is_given_up_stops_nobody() {
        let turns = Turns::default();
        let share = turns.share().await;
        let mut request = Box::pin(turns.request());
        assert!(request.as_mut().now_or_never().is_none());
        drop(request);
        assert!(!turns.is_wanted());
        drop(share);
        timeout(SOON, turns.share()).await.unwrap();
    }
}
