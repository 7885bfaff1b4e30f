//! The one module that knows rumqttc: a connection that is made, used and thrown away.
//!
//! rumqttc keeps state across reconnects that can stop publishing for good (a packet-id collision that a lost session never
//! clears), so nothing of it survives an error here: each attempt gets a new client and a new event loop. The outbox is the
//! only memory. The event loop runs in a task of its own, because its `poll` is not safe to drop half way; what it sees comes
//! over a bounded channel, whose back-pressure stops reading from the socket.

use std::time::Duration;

use carepost_contract::limits::MAX_PACKET_BYTES;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnectReturnCode, DisconnectReasonCode, Filter, LastWill, LastWillProperties, Packet, PubAckReason,
    SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, StateError};
use rumqttc::{NetworkOptions, Outgoing};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::machine::Loss;

/// rumqttc takes no shorter keep-alive.
const MIN_KEEP_ALIVE: Duration = Duration::from_secs(5);
/// The longest keep-alive that a server may set: a half-open link must be found.
const MAX_KEEP_ALIVE: Duration = Duration::from_secs(120);
/// Publishes without a PUBACK; the server's Receive Maximum can only lower it. Above both windows together.
const MAX_IN_FLIGHT: u16 = 32;
/// Publishes of the server without our PUBACK.
const RECEIVE_MAXIMUM: u16 = 32;
/// Requests that wait for the event loop. When it is full the link is stuck, and given up.
const REQUEST_QUEUE: usize = 64;
/// Packets that wait for the uplink. When it is full, the socket is not read.
const EVENT_QUEUE: usize = 32;
/// Socket and CONNACK, s.
const CONNECT_LIMIT_S: u64 = 10;
/// The will is published after this, so that a reconnect shows no flap, s.
const WILL_DELAY_S: u32 = 60;
/// Filters that are subscribed to at once.
const FILTERS: usize = 2;

/// Where to connect, and as whom.
pub(super) struct Target {
    pub(super) host: String,
    pub(super) port: u16,
    /// What is asked for; the server may set another.
    pub(super) keep_alive: Duration,
    /// Client id and user name.
    pub(super) gateway: String,
    pub(super) password: String,
    pub(super) presence_topic: String,
    pub(super) last_will: &'static str,
}

/// What came in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    /// CONNACK with success.
    Connected {
        /// The keep-alive in force.
        keep_alive: Duration,
    },
    /// SUBACK: whether every filter was granted at QoS 1.
    Subscribed { granted: bool },
    /// A publish.
    Message { topic: String, payload: Vec<u8> },
    /// PUBACK with success: the endpoint has the message, which says nothing about storage.
    Accepted,
    /// PUBACK with an error code: the message counts as not sent.
    NotSent { reason: PubAckReason },
    /// Any other packet.
    Other,
    /// The connection is over.
    Lost {
        loss: Loss,
        /// For the log: never a payload.
        detail: String,
    },
}

/// The client's own queue is full or closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection's queue takes no more requests")]
pub(super) struct Stuck;

/// A connection. Dropping it aborts the event loop and closes the socket.
pub(super) struct Connection {
    client: AsyncClient,
    incoming: mpsc::Receiver<Incoming>,
    task: JoinSet<()>,
}

impl Connection {
    /// Begins to connect; the outcome is the first [`Incoming`].
    pub(super) fn open(target: Target) -> Self {
        let mut options = MqttOptions::new(target.gateway.clone(), target.host, target.port);
        let properties = LastWillProperties {
            delay_interval: Some(WILL_DELAY_S),
            payload_format_indicator: None,
            message_expiry_interval: None,
            content_type: None,
            response_topic: None,
            correlation_data: None,
            user_properties: Vec::new(),
        };
        let will = LastWill::new(
            target.presence_topic,
            target.last_will,
            QoS::AtLeastOnce,
            true,
            Some(properties),
        );
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        options
            .set_credentials(target.gateway, target.password)
            .set_clean_start(true)
            .set_keep_alive(target.keep_alive.clamp(MIN_KEEP_ALIVE, MAX_KEEP_ALIVE))
            .set_last_will(will)
            .set_network_options(network)
            .set_connection_timeout(CONNECT_LIMIT_S)
            .set_outgoing_inflight_upper_limit(MAX_IN_FLIGHT)
            .set_receive_maximum(Some(RECEIVE_MAXIMUM))
            .set_topic_alias_max(Some(0))
            .set_max_packet_size(Some(u32::try_from(MAX_PACKET_BYTES).unwrap_or(u32::MAX)));
        let (client, event_loop) = AsyncClient::new(options, REQUEST_QUEUE);
        let (sender, incoming) = mpsc::channel(EVENT_QUEUE);
        let mut task = JoinSet::new();
        task.spawn(drive(event_loop, sender));
        Self { client, incoming, task }
    }

    /// The next packet; [`Incoming::Lost`] is the last. Cancel-safe: nothing is taken before it is returned.
    pub(super) async fn next(&mut self) -> Incoming {
        match self.incoming.recv().await {
            Some(incoming) => incoming,
            // The task sends `Lost` before it ends, so without one it panicked or was aborted.
            None => Incoming::Lost {
                loss: Loss::Broken,
                detail: "the client ended without a word".to_owned(),
            },
        }
    }

    /// Queues a publish with QoS 1.
    pub(super) fn publish(&self, topic: String, payload: Vec<u8>, retain: bool) -> Result<(), Stuck> {
        self.client
            .try_publish(topic, QoS::AtLeastOnce, retain, payload)
            .map_err(|_| Stuck)
    }

    /// Queues one SUBSCRIBE with QoS 1.
    pub(super) fn subscribe(&self, topics: [String; FILTERS]) -> Result<(), Stuck> {
        let filters = topics.map(|topic| Filter::new(topic, QoS::AtLeastOnce));
        self.client.try_subscribe_many(filters).map_err(|_| Stuck)
    }

    /// Says goodbye and waits until it is sent or `limit` is over.
    pub(super) async fn close(mut self, limit: Duration) {
        if self.client.try_disconnect().is_err() {
            return;
        }
        let gone = async {
            loop {
                if let Incoming::Lost { .. } = self.next().await {
                    break;
                }
            }
            while self.task.join_next().await.is_some() {}
        };
        // Not saying goodbye in time only means that the will speaks instead.
        if tokio::time::timeout(limit, gone).await.is_err() {
            tracing::debug!("the uplink closed without a goodbye");
        }
    }
}

async fn drive(mut event_loop: EventLoop, sender: mpsc::Sender<Incoming>) {
    loop {
        let incoming = match event_loop.poll().await {
            Ok(Event::Incoming(packet)) => translate(packet, event_loop.options.keep_alive()),
            Ok(Event::Outgoing(Outgoing::Disconnect)) => Incoming::Lost {
                loss: Loss::Broken,
                detail: "closed by this gateway".to_owned(),
            },
            Ok(Event::Outgoing(_)) => continue,
            Err(error) => lost(&error),
        };
        let over = matches!(incoming, Incoming::Lost { .. });
        if sender.send(incoming).await.is_err() || over {
            return;
        }
    }
}

fn translate(packet: Packet, keep_alive: Duration) -> Incoming {
    match packet {
        // A keep-alive of 0 would make the client ping without pause, and a long one hide a half-open link.
        Packet::ConnAck(_) if keep_alive.is_zero() || keep_alive > MAX_KEEP_ALIVE => Incoming::Lost {
            loss: Loss::Broken,
            detail: format!("the server asks for a keep-alive of {} s", keep_alive.as_secs()),
        },
        Packet::ConnAck(_) => Incoming::Connected { keep_alive },
        Packet::SubAck(suback) => {
            let granted = suback.return_codes.len() == FILTERS
                && suback
                    .return_codes
                    .iter()
                    .all(|code| *code == SubscribeReasonCode::Success(QoS::AtLeastOnce));
            Incoming::Subscribed { granted }
        }
        Packet::Publish(publish) => Incoming::Message {
            topic: String::from_utf8_lossy(&publish.topic).into_owned(),
            payload: publish.payload.into(),
        },
        Packet::PubAck(ack) => match ack.reason {
            PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Incoming::Accepted,
            reason => Incoming::NotSent { reason },
        },
        _ => Incoming::Other,
    }
}

/// What an error means. Its text goes to the log, so a packet's content must not be in it.
fn lost(error: &ConnectionError) -> Incoming {
    let (loss, detail) = match error {
        ConnectionError::ConnectionRefused(code) => {
            let loss = match code {
                ConnectReturnCode::ServerBusy
                | ConnectReturnCode::ServerUnavailable
                | ConnectReturnCode::ServiceUnavailable => Loss::Broken,
                _ => Loss::Refused,
            };
            (loss, format!("the server refused the connection: {code:?}"))
        }
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) => {
            let loss = if *reason_code == DisconnectReasonCode::SessionTakenOver {
                Loss::TakenOver
            } else {
                Loss::Broken
            };
            (loss, format!("the server disconnected: {reason_code:?}"))
        }
        ConnectionError::MqttState(StateError::AwaitPingResp) => (Loss::Silent, "a ping was not answered".to_owned()),
        ConnectionError::MqttState(StateError::ConnectionAborted) => {
            (Loss::Broken, "the connection was closed".to_owned())
        }
        ConnectionError::MqttState(StateError::CollisionTimeout) => {
            (Loss::Stuck, "a packet id was never freed".to_owned())
        }
        ConnectionError::MqttState(StateError::Io(error)) | ConnectionError::Io(error) => {
            (Loss::Broken, error.to_string())
        }
        ConnectionError::MqttState(StateError::Deserialization(_)) => {
            (Loss::Broken, "a packet does not parse".to_owned())
        }
        ConnectionError::MqttState(_) => (Loss::Broken, "the protocol was violated".to_owned()),
        ConnectionError::Timeout(_) => (Loss::Broken, "connecting took too long".to_owned()),
        ConnectionError::NotConnAck(_) => (Loss::Broken, "the first packet was no CONNACK".to_owned()),
        _ => (Loss::Broken, "the client ended".to_owned()),
    };
    Incoming::Lost { loss, detail }
}
