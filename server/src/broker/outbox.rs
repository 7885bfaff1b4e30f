//! What waits to be sent to one connection: the newest receipt of each lane, and a short queue for `down`.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use carepost_contract::topic::Channel;
use carepost_contract::v1::Lane;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::{DOWN_QUEUE, PublishError};

/// Why this end ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CloseReason {
    /// A newer connection of the same gateway.
    TakenOver,
    /// Somebody said so.
    Kicked,
    /// It does not take its messages.
    Stalled,
    /// It could not be served now.
    Busy,
    /// The server stops.
    ShuttingDown,
}

/// Whether and how a gateway listens to a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listens {
    AtMostOnce,
    AtLeastOnce,
}

/// The sending side of one connection.
#[derive(Debug)]
pub(super) struct Outbox {
    state: Mutex<State>,
    receipts: Notify,
    down: mpsc::Sender<Vec<u8>>,
    closing: CancellationToken,
    reason: OnceLock<CloseReason>,
}

#[derive(Debug, Default)]
struct State {
    live: Option<Vec<u8>>,
    replay: Option<Vec<u8>>,
    receipt: Option<Listens>,
    down: Option<Listens>,
}

impl Outbox {
    /// An outbox, and the end of `down` from which its connection sends.
    pub(super) fn new() -> (Self, mpsc::Receiver<Vec<u8>>) {
        let (down, down_end) = mpsc::channel(DOWN_QUEUE);
        let outbox = Self {
            state: Mutex::default(),
            receipts: Notify::new(),
            down,
            closing: CancellationToken::new(),
            reason: OnceLock::new(),
        };
        (outbox, down_end)
    }

    /// Four plain values, so that a panic elsewhere cannot have left them half set.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn listen(&self, channel: Channel, how: Option<Listens>) {
        let mut state = self.state();
        match channel {
            Channel::Receipt => state.receipt = how,
            Channel::Down => state.down = how,
            // The contract lets a gateway subscribe to no other channel.
            Channel::UpLive | Channel::UpReplay | Channel::UpControl | Channel::State => {}
        }
    }

    pub(super) fn listens(&self, channel: Channel) -> Option<Listens> {
        let state = self.state();
        match channel {
            Channel::Receipt => state.receipt,
            Channel::Down => state.down,
            Channel::UpLive | Channel::UpReplay | Channel::UpControl | Channel::State => None,
        }
    }

    pub(super) fn put_receipt(&self, lane: Lane, payload: Vec<u8>) -> Result<(), PublishError> {
        if self.closing.is_cancelled() {
            return Err(PublishError::NotConnected);
        }
        let mut state = self.state();
        if state.receipt.is_none() {
            return Err(PublishError::NotSubscribed);
        }
        match lane {
            Lane::Live => state.live = Some(payload),
            Lane::Replay => state.replay = Some(payload),
        }
        drop(state);
        self.receipts.notify_one();
        Ok(())
    }

    /// Waits for room. Cancel-safe, as `mpsc::Sender::send` is.
    pub(super) async fn put_down(&self, payload: Vec<u8>) -> Result<(), PublishError> {
        if self.listens(Channel::Down).is_none() {
            return Err(PublishError::NotSubscribed);
        }
        tokio::select! {
            sent = self.down.send(payload) => sent.map_err(|_closed| PublishError::NotConnected),
            () = self.closing.cancelled() => Err(PublishError::NotConnected),
        }
    }

    /// The next receipt, live before replay. Cancel-safe: a receipt is taken only when it is returned.
    pub(super) async fn next_receipt(&self) -> Vec<u8> {
        loop {
            {
                let mut state = self.state();
                let next = state.live.take().or_else(|| state.replay.take());
                if let Some(payload) = next {
                    if state.replay.is_some() {
                        self.receipts.notify_one();
                    }
                    return payload;
                }
            }
            self.receipts.notified().await;
        }
    }

    /// Ends the connection; the first reason counts.
    pub(super) fn close(&self, reason: CloseReason) {
        self.reason.get_or_init(|| reason);
        self.closing.cancel();
    }

    /// Waits until the connection shall end. Cancel-safe.
    pub(super) async fn closed(&self) -> CloseReason {
        self.closing.cancelled().await;
        self.close_reason().unwrap_or(CloseReason::ShuttingDown)
    }

    pub(super) fn close_reason(&self) -> Option<CloseReason> {
        self.reason.get().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_newer_receipt_replaces_one_that_has_not_left_and_live_goes_first() {
        let (outbox, _down) = Outbox::new();
        assert_eq!(
            outbox.put_receipt(Lane::Live, b"x".to_vec()),
            Err(PublishError::NotSubscribed)
        );
        outbox.listen(Channel::Receipt, Some(Listens::AtLeastOnce));
        outbox.put_receipt(Lane::Replay, b"replay".to_vec()).unwrap();
        outbox.put_receipt(Lane::Live, b"old".to_vec()).unwrap();
        outbox.put_receipt(Lane::Live, b"new".to_vec()).unwrap();
        assert_eq!(outbox.next_receipt().await, b"new");
        assert_eq!(outbox.next_receipt().await, b"replay");
    }

    #[tokio::test]
    async fn a_full_queue_holds_its_sender_back_until_the_connection_closes() {
        let (outbox, mut down) = Outbox::new();
        outbox.listen(Channel::Down, Some(Listens::AtLeastOnce));
        for n in 0..DOWN_QUEUE {
            outbox.put_down(vec![u8::try_from(n).unwrap()]).await.unwrap();
        }
        let waiting = outbox.put_down(vec![99]);
        tokio::pin!(waiting);
        tokio::select! {
            biased;
            _ = &mut waiting => panic!("the queue has a bound"),
            () = std::future::ready(()) => {}
        }
        assert_eq!(down.recv().await, Some(vec![0]));
        waiting.await.unwrap();
        outbox.close(CloseReason::Kicked);
        outbox.close(CloseReason::TakenOver);
        assert_eq!(outbox.closed().await, CloseReason::Kicked);
        assert_eq!(outbox.put_receipt(Lane::Live, vec![]), Err(PublishError::NotConnected));
    }
}
