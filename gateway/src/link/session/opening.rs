//! A link as the capture task knows it: opened, filled and closed.

use std::sync::Arc;
use std::time::Duration;

use carepost_domain::meter::Meter;
use chrono::{DateTime, Utc};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::link::capture::Message;
use crate::link::{LinkFault, LinkParts};
use crate::spool::{LinkEnd, LinkId};

/// A value, and when it was taken from the stream.
#[derive(Debug)]
pub(super) struct Value {
    pub(super) characteristic: u16,
    pub(super) raw: Vec<u8>,
    pub(super) received_at: DateTime<Utc>,
    /// The same instant by the monotonic clock.
    pub(super) heard: Duration,
}

/// An open link. It can always be closed: the room for that is taken when it is opened.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) link: LinkId,
    packets: mpsc::Sender<Message>,
    closing: mpsc::OwnedPermit<Message>,
}

impl Open {
    /// Notes that a link stands. `not_before` is an instant of the monotonic clock before which it cannot have stood, and
    /// `stood` one at which it did.
    pub(super) async fn new(
        parts: &LinkParts,
        packets: &mpsc::Sender<Message>,
        meter: &Arc<Meter>,
        not_before: Duration,
        stood: Duration,
    ) -> Result<Self, LinkFault> {
        // A queue that stays full is that of a disk that is full; then no meter is read.
        let limit = parts.settings.operation_ms;
        let reserved = timeout(Duration::from_millis(limit), packets.clone().reserve_owned()).await;
        let closing = reserved
            .map_err(|_| LinkFault::NoAnswer {
                attempted: "write down what a meter sends",
                after_ms: limit,
            })?
            .map_err(|_| LinkFault::CaptureGone)?;
        let link = parts.spool.open_link(meter.id, meter.kind, parts.clock.now()).await?;
        let open = Self {
            link,
            packets: packets.clone(),
            closing,
        };
        open.send(Message::Opened {
            link,
            meter: Arc::clone(meter),
            not_before,
            stood,
        })
        .await?;
        Ok(open)
    }

    /// Gives a message to the capture task. A full queue holds the meter's stream back.
    pub(super) async fn send(&self, message: Message) -> Result<(), LinkFault> {
        self.packets.send(message).await.map_err(|_| LinkFault::CaptureGone)
    }

    /// Gives a value to the capture task.
    pub(super) async fn hand_on(&self, value: Value) -> Result<(), LinkFault> {
        self.send(Message::Packet {
            link: self.link,
            characteristic: value.characteristic,
            raw: value.raw,
            received_at: value.received_at,
            heard: value.heard,
        })
        .await
    }

    /// Says that the link is over, without waiting. The answer comes when that is durable.
    pub(super) fn close(self, end: LinkEnd) -> oneshot::Receiver<()> {
        let (done, answer) = oneshot::channel();
        self.closing.send(Message::Closed {
            link: self.link,
            end,
            done,
        });
        answer
    }
}
