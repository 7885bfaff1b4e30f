//! The MQTT 5 endpoint behind one seam: what the rest of the server knows of MQTT is in this file.
//!
//! Connections and messages come out of it as values on bounded queues ([`Inbox`]), each with a way to answer. The
//! answer to a message *is* its PUBACK: give it after the commit, or drop it, and the connection ends without an
//! acknowledgement and the gateway sends the message again. What goes to gateways is handed to [`Broker`].
//!
//! A gateway publishes and subscribes only below its own id (`carepost_contract::topic`). Nothing of a reading is ever
//! kept here; the only retained state is each gateway's own presence.
//!
//! The implementation is `ntex-mqtt` on threads of its own (`wire`); why, and what was measured, is in
//! `docs/decisions/0002-broker.md`.

mod outbox;
mod registry;
mod wire;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use carepost_contract::topic::Channel;
use carepost_contract::v1::Lane;
use carepost_daemon::Clock;
use carepost_domain::id::GatewayId;
use tokio::sync::{mpsc, oneshot};

use crate::telemetry::{Counters, Metric};

use self::outbox::CloseReason;
use self::registry::Registry;

pub use self::registry::Presence;

/// Batches of the live lane that wait for the writer, from all gateways together. A batch has at most 256 KiB.
pub const LIVE_QUEUE: usize = 64;
/// Batches of the replay lane that wait for the writer.
pub const REPLAY_QUEUE: usize = 16;
/// Control messages that wait.
pub const CONTROL_QUEUE: usize = 64;
/// Connections that wait to be let in. Further ones wait in TCP until the handshake's time is over.
pub const CONNECT_QUEUE: usize = 256;
/// Messages on `down` that wait for one gateway to acknowledge the one before them.
pub const DOWN_QUEUE: usize = 16;
/// Bytes of a presence message; it is the only thing that this endpoint keeps.
pub const MAX_STATE_BYTES: usize = 4 * 1024;

/// The `mqtt` section of the configuration, as the endpoint needs it.
#[derive(Clone, Debug)]
pub struct BrokerSettings {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Threads that serve connections.
    pub workers: usize,
    /// Connections at a time, over all threads.
    pub max_connections: usize,
    /// Keep-alive that is imposed on a gateway that asks for none or for a longer one, in seconds. A silent gateway is
    /// cut off after one and a half times this.
    pub keep_alive_s: u16,
    /// How long a client may take to send CONNECT, in seconds.
    pub connect_timeout_s: u16,
    /// How long a gateway may leave a full queue of messages on `down` unacknowledged before it is cut off.
    pub down_patience: Duration,
}

/// Why the endpoint could not be started.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The address is taken, or not one of this machine.
    #[error("cannot listen for MQTT at {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The thread could not be started.
    #[error("cannot start the MQTT thread")]
    Thread(#[source] std::io::Error),
}

/// Why a message could not be handed to a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// It is not connected, or that session has been replaced.
    #[error("the gateway is not connected")]
    NotConnected,
    /// It has not subscribed to the topic.
    #[error("the gateway has not subscribed")]
    NotSubscribed,
    /// It did not acknowledge what it was sent within [`BrokerSettings::down_patience`], and was cut off.
    #[error("the gateway does not take its messages")]
    Stalled,
}

/// Why a connection is refused. Strangers learn nothing beyond the reason code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Unknown gateway, or a password that is not its own of now (0x86). The hint goes to the client as reason string;
    /// give one only to a client that has proved who it is.
    BadCredentials {
        /// What would help, for example that the client's clock is wrong.
        hint: Option<String>,
    },
    /// Known, and no longer allowed (0x87).
    NotAuthorised,
    /// The store did not answer (0x88).
    Unavailable,
}

/// A gateway that asks to be let in. Client id and user name are its id, and the last will is on its own topic, when
/// this arrives.
pub struct ConnectRequest {
    /// Who it says it is.
    pub gateway: GatewayId,
    /// What it brought as proof.
    pub password: Vec<u8>,
    answer: oneshot::Sender<Result<(), Refusal>>,
}

impl ConnectRequest {
    /// Lets it in or not. A request that is dropped is refused as [`Refusal::Unavailable`].
    pub fn answer(self, verdict: Result<(), Refusal>) {
        // The client may have gone away meanwhile, which is its right.
        drop(self.answer.send(verdict));
    }
}

impl fmt::Debug for ConnectRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectRequest")
            .field("gateway", &self.gateway)
            .finish_non_exhaustive()
    }
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Committed.
    Taken,
    /// In quarantine as a whole, and settled by that: it is never asked for again. The text goes to the sender.
    Unusable(&'static str),
    /// In quarantine, because the sender had no right to say it. The text goes to the sender.
    NotAuthorised(&'static str),
}

/// A message of a gateway on one of its own topics.
pub struct Message {
    /// The connection's gateway.
    pub gateway: GatewayId,
    /// The connection; see [`Broker::publish_down`].
    pub session: u64,
    /// Which topic.
    pub channel: Channel,
    /// Its bytes, at most [`carepost_contract::limits::MAX_PACKET_BYTES`].
    pub payload: Vec<u8>,
    answer: oneshot::Sender<Verdict>,
}

impl Message {
    /// Acknowledges the message. Only after the commit: a message that is dropped unanswered ends its connection
    /// without an acknowledgement, and comes again.
    pub fn answer(self, verdict: Verdict) {
        // The connection may be gone; what was committed stays committed, and comes again as a duplicate.
        drop(self.answer.send(verdict));
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("gateway", &self.gateway)
            .field("channel", &self.channel)
            .field("bytes", &self.payload.len())
            .finish_non_exhaustive()
    }
}

/// What comes from gateways. Each queue is bounded; a full one holds its senders back, and only them.
#[derive(Debug)]
pub struct Inbox {
    /// Connections to be let in.
    pub connects: mpsc::Receiver<ConnectRequest>,
    /// Batches of the live lane.
    pub live: mpsc::Receiver<Message>,
    /// Batches of the replay lane.
    pub replay: mpsc::Receiver<Message>,
    /// Control messages.
    pub control: mpsc::Receiver<Message>,
}

/// The other ends of the [`Inbox`].
#[derive(Clone, Debug)]
struct Queues {
    connects: mpsc::Sender<ConnectRequest>,
    live: mpsc::Sender<Message>,
    replay: mpsc::Sender<Message>,
    control: mpsc::Sender<Message>,
}

impl Queues {
    fn new() -> (Self, Inbox) {
        let (connects, connects_end) = mpsc::channel(CONNECT_QUEUE);
        let (live, live_end) = mpsc::channel(LIVE_QUEUE);
        let (replay, replay_end) = mpsc::channel(REPLAY_QUEUE);
        let (control, control_end) = mpsc::channel(CONTROL_QUEUE);
        let inbox = Inbox {
            connects: connects_end,
            live: live_end,
            replay: replay_end,
            control: control_end,
        };
        (
            Self {
                connects,
                live,
                replay,
                control,
            },
            inbox,
        )
    }
}

/// What every connection shares.
#[derive(Debug)]
struct Hub {
    settings: BrokerSettings,
    queues: Queues,
    registry: Arc<Registry>,
    counters: Counters,
    clock: Clock,
}

/// The running endpoint. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Broker {
    address: SocketAddr,
    registry: Arc<Registry>,
    counters: Counters,
    down_patience: Duration,
    wire: wire::Handle,
}

impl Broker {
    /// Starts to listen.
    ///
    /// # Errors
    /// When the address cannot be listened at, or the thread not be started.
    pub fn start(settings: BrokerSettings, clock: Clock, counters: Counters) -> Result<(Self, Inbox), BrokerError> {
        let (queues, inbox) = Queues::new();
        let registry = Arc::new(Registry::new(counters.clone()));
        let down_patience = settings.down_patience;
        let hub = Hub {
            settings,
            queues,
            registry: Arc::clone(&registry),
            counters: counters.clone(),
            clock,
        };
        let (address, wire) = wire::start(hub)?;
        Ok((
            Self {
                address,
                registry,
                counters,
                down_patience,
                wire,
            },
            inbox,
        ))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Hands over a lane's receipt. A receipt that has not left yet is replaced: the newer one says all that the older
    /// one did. QoS 1, without waiting for the gateway.
    ///
    /// # Errors
    /// When the gateway is not connected or not subscribed; its next hello makes up for the receipt.
    pub fn publish_receipt(&self, gateway: GatewayId, lane: Lane, payload: Vec<u8>) -> Result<(), PublishError> {
        let result = match self.registry.outbox(gateway) {
            Some((_, outbox)) => outbox.put_receipt(lane, payload),
            None => Err(PublishError::NotConnected),
        };
        self.counters.count(if result.is_ok() {
            Metric::ReceiptsSent
        } else {
            Metric::ReceiptsUnsent
        });
        result
    }

    /// Hands over a message on `down`, in order, waiting for room. Only to the connection that asked: a message for an
    /// earlier one would confuse a gateway that has just said hello again.
    ///
    /// Cancel-safe: a message whose future is dropped is not sent.
    ///
    /// # Errors
    /// When that connection is gone, or has not subscribed, or does not take its messages and was cut off for it.
    pub async fn publish_down(&self, gateway: GatewayId, session: u64, payload: Vec<u8>) -> Result<(), PublishError> {
        let outbox = match self.registry.outbox(gateway) {
            Some((current, outbox)) if current == session => outbox,
            _ => return Err(PublishError::NotConnected),
        };
        match tokio::time::timeout(self.down_patience, outbox.put_down(payload)).await {
            Ok(result) => {
                if result.is_ok() {
                    self.counters.count(Metric::DownSent);
                }
                result
            }
            Err(_elapsed) => {
                self.counters.count(Metric::DownStalled);
                tracing::warn!(gateway.id = %gateway, "gateway does not take its messages and is cut off");
                outbox.close(CloseReason::Stalled);
                Err(PublishError::Stalled)
            }
        }
    }

    /// The connection of a gateway, if it has one.
    pub fn session(&self, gateway: GatewayId) -> Option<u64> {
        self.registry.outbox(gateway).map(|(session, _)| session)
    }

    /// Ends a gateway's connection at once, with reason code 0x98: it is not wanted any more. Says whether it had one.
    pub fn kick(&self, gateway: GatewayId) -> bool {
        self.close(gateway, CloseReason::Kicked)
    }

    /// Ends a gateway's connection at once, with reason code 0x89: it shall come back later. Says whether it had one.
    pub fn send_away(&self, gateway: GatewayId) -> bool {
        self.close(gateway, CloseReason::Busy)
    }

    fn close(&self, gateway: GatewayId, reason: CloseReason) -> bool {
        match self.registry.outbox(gateway) {
            Some((_, outbox)) => {
                outbox.close(reason);
                true
            }
            None => false,
        }
    }

    /// What is known of a gateway's presence since this process started.
    pub fn presence(&self, gateway: GatewayId) -> Option<Presence> {
        self.registry.presence(gateway)
    }

    /// Waits until connections have come or gone, and says which: the newest word on each gateway. For one listener.
    /// Cancel-safe: a change is taken only when it is returned.
    pub async fn presence_changes(&self) -> Vec<(GatewayId, bool)> {
        self.registry.changes().await
    }

    /// How many gateways are connected.
    pub fn connected(&self) -> usize {
        self.registry.connected()
    }

    /// Ends every connection with reason code 0x8b and stops listening. What is in flight is not acknowledged.
    pub async fn stop(&self) {
        self.registry.close_all(CloseReason::ShuttingDown);
        self.wire.stop().await;
    }

    /// Waits until the endpoint has ended, asked or not. Cancel-safe.
    pub async fn ended(&self) {
        self.wire.ended().await;
    }
}
