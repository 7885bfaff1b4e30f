//! MQTT 5 on the wire: `ntex-mqtt` on threads of its own, beside tokio's.
//!
//! Its defaults are unsafe (no packet limit, no time-outs); every limit is set here. Its types are not `Send`: each
//! connection stays on one thread, and talks to the rest of the server over tokio channels, which work across runtimes.

use std::cell::{Cell, RefCell};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use carepost_contract::limits::{MAX_PACKET_BYTES, RECEIVE_MAXIMUM};
use carepost_contract::topic::{Channel, Topic};
use carepost_domain::id::GatewayId;
use ntex_bytes::{ByteString, Bytes};
use ntex_io::IoConfig;
use ntex_mqtt::v5::codec::{
    self, ConnectAckReason, Disconnect, DisconnectReasonCode, Encoded, Packet, PublishAckReason, SubscribeAckReason,
    UnsubscribeAckReason,
};
use ntex_mqtt::v5::{
    Connect, ConnectAck, MqttServer, MqttSink, ProtocolMessage, ProtocolMessageAck, Publish, PublishAck, Session,
};
use ntex_mqtt::{Control, MqttServiceConfig, QoS, Reason};
use ntex_service::cfg::SharedCfg;
use ntex_util::time::Seconds;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::telemetry::Metric;

use super::outbox::{CloseReason, Listens, Outbox};
use super::{BrokerError, BrokerSettings, ConnectRequest, Hub, MAX_STATE_BYTES, Message, Refusal, Verdict};

/// Connections that the operating system completes before they are accepted.
const BACKLOG: i32 = 2_048;
/// CONNECT and its answer together, in seconds. The answer waits for the store.
const HANDSHAKE_TIMEOUT_S: u16 = 10;
/// A frame must make progress of [`FRAME_BYTES`] in this many seconds ...
const FRAME_TIMEOUT_S: u16 = 5;
/// ... and be complete after this many: 256 KiB in that time are 70 kbit/s.
const FRAME_MAX_TIMEOUT_S: u16 = 30;
/// See [`FRAME_TIMEOUT_S`]; 51 bytes/s is far below the worst mobile link.
const FRAME_BYTES: u32 = 256;
/// How long a connection that this end closes may take to take its last bytes.
const DISCONNECT_TIMEOUT_S: u16 = 2;
/// How long connections may take to end when the server stops.
const STOP_TIMEOUT_S: u16 = 5;
/// Bytes of one connection's publishes that may wait for their commit. A full window of live batches is 1 MiB.
const MAX_RECEIVE_BYTES: usize = 1024 * 1024;
/// A window of unacknowledged messages to a gateway: receipts and `down` leave one by one.
const MAX_SEND: u16 = 1;

/// The way to the endpoint's threads.
#[derive(Clone, Debug)]
pub(super) struct Handle {
    stop: CancellationToken,
    ended: CancellationToken,
}

impl Handle {
    pub(super) async fn stop(&self) {
        self.stop.cancel();
        self.ended.cancelled().await;
    }

    pub(super) async fn ended(&self) {
        self.ended.cancelled().await;
    }
}

/// Starts the endpoint on threads of its own.
pub(super) fn start(hub: Hub) -> Result<(SocketAddr, Handle), BrokerError> {
    let address = hub.settings.listen;
    let bind = |source| BrokerError::Bind { address, source };
    let listener = ntex_server::net::create_tcp_listener(address, BACKLOG).map_err(bind)?;
    let bound = listener.local_addr().map_err(bind)?;
    let handle = Handle {
        stop: CancellationToken::new(),
        ended: CancellationToken::new(),
    };
    let Handle { stop, ended } = handle.clone();
    std::thread::Builder::new()
        .name("mqtt".to_owned())
        .spawn(move || {
            // Also when the thread panics.
            let _ended = ended.drop_guard();
            ntex_rt::System::build()
                .name("mqtt")
                .build(ntex_net::DefaultRuntime)
                .block_on(async move {
                    let server = serve(Arc::new(hub), listener);
                    let control = server.clone();
                    tokio::select! {
                        result = server => {
                            if let Err(error) = result {
                                tracing::error!(%error, "mqtt endpoint ended with an error");
                            }
                        }
                        () = stop.cancelled() => control.stop(true).await,
                    }
                });
        })
        .map_err(BrokerError::Thread)?;
    Ok((bound, handle))
}

fn serve(hub: Arc<Hub>, listener: TcpListener) -> ntex_server::net::Server {
    let workers = hub.settings.workers.max(1);
    let per_worker = hub.settings.max_connections.div_ceil(workers).max(1);
    let configuration = configuration(&hub.settings);
    ntex_server::net::build()
        .workers(workers)
        .disable_signals()
        .graceful_shutdown()
        .shutdown_timeout(Seconds(STOP_TIMEOUT_S))
        .maxconn(per_worker)
        .listen("mqtt", listener, configuration, async move |_: &()| {
            let hub = Arc::clone(&hub);
            MqttServer::new(async |session: &Session<Client>, message: Publish| publish(session, message).await)
                .protocol(async |session: &Session<Client>, message: ProtocolMessage| {
                    Ok::<_, NotStored>(protocol(session, message))
                })
                .control(async |session: &Session<Client>, message: Control<NotStored>| {
                    Ok::<_, NotStored>(control(session, message))
                })
                .build(async move |message: Connect| connect(&hub, message).await)
        })
        .expect("a listener that is bound can be listened to")
        .run()
}

fn configuration(settings: &BrokerSettings) -> SharedCfg {
    let max_packet = u32::try_from(MAX_PACKET_BYTES).unwrap_or(u32::MAX);
    let mqtt = MqttServiceConfig::new()
        .set_max_size(max_packet)
        .set_connect_timeout(Seconds(settings.connect_timeout_s))
        .set_handshake_timeout(Seconds(HANDSHAKE_TIMEOUT_S))
        .set_max_receive(RECEIVE_MAXIMUM)
        .set_max_receive_size(MAX_RECEIVE_BYTES)
        .set_max_send(MAX_SEND)
        .set_max_qos(QoS::AtLeastOnce)
        .set_max_topic_alias(0)
        // A payload comes in one piece, never as a stream.
        .set_min_chunk_size(max_packet)
        .set_max_payload_buffer_size(MAX_PACKET_BYTES);
    let io = IoConfig::new()
        .set_frame_read_rate(Seconds(FRAME_TIMEOUT_S), Seconds(FRAME_MAX_TIMEOUT_S), FRAME_BYTES)
        .set_disconnect_timeout(Seconds(DISCONNECT_TIMEOUT_S));
    SharedCfg::new("MQTT").add(mqtt).add(io).into()
}

/// One connection that was let in. Dropped when it ends.
struct Client {
    hub: Arc<Hub>,
    gateway: GatewayId,
    number: u64,
    outbox: Arc<Outbox>,
    /// Taken away by a clean DISCONNECT.
    will: RefCell<Option<Vec<u8>>>,
    clean: Cell<bool>,
}

impl Drop for Client {
    fn drop(&mut self) {
        if !self.clean.get() && self.outbox.close_reason().is_none() {
            self.hub.counters.count(Metric::MqttLost);
        }
        // Also ends the task that sends from the outbox.
        self.outbox.close(CloseReason::ShuttingDown);
        let now = self.hub.clock.now();
        self.hub
            .registry
            .leave(self.gateway, self.number, self.will.take(), now);
        tracing::info!(gateway.id = %self.gateway, session = self.number, clean = self.clean.get(), "gateway disconnected");
    }
}

/// The message was not stored, or nobody could say whether it was: the connection ends without an acknowledgement.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the message was not stored")]
struct NotStored;

impl TryFrom<NotStored> for PublishAck {
    type Error = NotStored;

    fn try_from(error: NotStored) -> Result<Self, Self::Error> {
        Err(error)
    }
}

async fn connect(hub: &Arc<Hub>, message: Connect) -> Result<ConnectAck<Client>, NotStored> {
    let identity = match identify(message.packet()) {
        Ok(identity) => identity,
        Err((code, hint)) => return Ok(refuse(hub, message, code, Some(hint.to_owned()))),
    };
    let (answer, verdict) = oneshot::channel();
    let gateway = identity.gateway;
    let request = ConnectRequest {
        gateway,
        password: identity.password,
        answer,
    };
    let verdict = match hub.queues.connects.send(request).await {
        Ok(()) => verdict.await.unwrap_or(Err(Refusal::Unavailable)),
        Err(_stopping) => Err(Refusal::Unavailable),
    };
    match verdict {
        Ok(()) => Ok(accept(hub, message, gateway, identity.will)),
        Err(refusal) => {
            tracing::warn!(gateway.id = %gateway, ?refusal, "gateway refused");
            let (code, hint) = match refusal {
                Refusal::BadCredentials { hint } => (ConnectAckReason::BadUserNameOrPassword, hint),
                Refusal::NotAuthorised => (ConnectAckReason::NotAuthorized, None),
                Refusal::Unavailable => (ConnectAckReason::ServerUnavailable, None),
            };
            Ok(refuse(hub, message, code, hint))
        }
    }
}

struct Identity {
    gateway: GatewayId,
    password: Vec<u8>,
    will: Option<Vec<u8>>,
}

/// What CONNECT must look like whoever sends it. The library itself lets empty ids and foreign wills pass.
fn identify(packet: &codec::Connect) -> Result<Identity, (ConnectAckReason, &'static str)> {
    if packet.auth_method.is_some() {
        return Err((
            ConnectAckReason::BadAuthenticationMethod,
            "authentication methods are not supported",
        ));
    }
    let id: GatewayId = packet.client_id.parse().map_err(|_| {
        (
            ConnectAckReason::ClientIdentifierNotValid,
            "the client id is not a gateway id",
        )
    })?;
    // One spelling only, so that a topic and a client id are the same text.
    if id.to_string() != *packet.client_id {
        return Err((
            ConnectAckReason::ClientIdentifierNotValid,
            "the client id is not a gateway id",
        ));
    }
    if packet.username.as_ref().is_none_or(|name| *name != packet.client_id) {
        return Err((
            ConnectAckReason::BadUserNameOrPassword,
            "the user name is not the client id",
        ));
    }
    let Some(password) = &packet.password else {
        return Err((ConnectAckReason::BadUserNameOrPassword, "the password is missing"));
    };
    let will = match &packet.last_will {
        None => None,
        Some(will) => {
            let own = will.topic.parse()
                == Ok(Topic {
                    gateway: id,
                    channel: Channel::State,
                });
            if !own {
                return Err((
                    ConnectAckReason::NotAuthorized,
                    "the last will is not on the gateway's state topic",
                ));
            }
            if will.message.len() > MAX_STATE_BYTES {
                return Err((ConnectAckReason::QuotaExceeded, "the last will is too long"));
            }
            if will.qos == QoS::ExactlyOnce {
                return Err((ConnectAckReason::QosNotSupported, "QoS 2 is not supported"));
            }
            Some(will.message.to_vec())
        }
    };
    Ok(Identity {
        gateway: id,
        password: password.to_vec(),
        will,
    })
}

fn refuse(hub: &Hub, message: Connect, code: ConnectAckReason, hint: Option<String>) -> ConnectAck<Client> {
    hub.counters.count(Metric::MqttRefused);
    message
        .failed(code)
        .with(|packet| packet.reason_string = hint.map(ByteString::from))
}

fn accept(hub: &Arc<Hub>, message: Connect, gateway: GatewayId, will: Option<Vec<u8>>) -> ConnectAck<Client> {
    let asked = message.packet().keep_alive;
    let longest = hub.settings.keep_alive_s;
    let granted = if asked == 0 || asked > longest { longest } else { asked };
    let (outbox, down) = Outbox::new();
    let outbox = Arc::new(outbox);
    let number = hub.registry.enter(gateway, Arc::clone(&outbox), hub.clock.now());
    hub.counters.count(Metric::MqttConnected);
    tracing::info!(gateway.id = %gateway, session = number, "gateway connected");
    // Ends with the connection: the client's state closes the outbox when it is dropped.
    ntex_util::spawn(deliver(message.sink(), Arc::clone(&outbox), down, gateway)).detach();
    let client = Client {
        hub: Arc::clone(hub),
        gateway,
        number,
        outbox,
        will: RefCell::new(will),
        clean: Cell::new(false),
    };
    message
        .ack(client)
        // [MQTT-3.1.2-22]: a client is given up after one and a half times its keep-alive.
        .keep_alive(granted.saturating_add(granted / 2).max(1))
        .with(|packet| {
            packet.server_keepalive_sec = (granted != asked).then_some(granted);
            packet.session_expiry_interval_secs = Some(0);
            packet.wildcard_subscription_available = false;
            packet.shared_subscription_available = false;
            packet.subscription_identifiers_available = false;
        })
}

async fn publish(session: &Session<Client>, message: Publish) -> Result<PublishAck, NotStored> {
    let hub = &session.hub;
    let topic: Option<Topic> = message.publish_topic().parse().ok();
    let Some(channel) = topic
        .filter(|topic| topic.gateway == session.gateway && topic.channel.gateway_publishes())
        .map(|topic| topic.channel)
    else {
        hub.counters.count(Metric::MqttForeignTopics);
        tracing::warn!(gateway.id = %session.gateway, "publish to a topic that is not the gateway's");
        return Ok(refused(
            message,
            PublishAckReason::NotAuthorized,
            "the topic is not yours to publish to",
        ));
    };
    // Payloads are never streamed (`configuration`), so that this does not wait.
    let payload = message.read_all().await.map_err(|_gone| NotStored)?.to_vec();
    let queue = match channel {
        Channel::State => {
            if payload.len() > MAX_STATE_BYTES {
                return Ok(refused(
                    message,
                    PublishAckReason::QuotaExceeded,
                    "the presence message is too long",
                ));
            }
            hub.registry.retain(session.gateway, session.number, payload);
            return Ok(message.ack());
        }
        Channel::UpLive => &hub.queues.live,
        Channel::UpReplay => &hub.queues.replay,
        Channel::UpControl => &hub.queues.control,
        // `gateway_publishes` has let none of these through.
        Channel::Receipt | Channel::Down => return Err(NotStored),
    };
    let (answer, verdict) = oneshot::channel();
    let item = Message {
        gateway: session.gateway,
        session: session.number,
        channel,
        payload,
        answer,
    };
    queue.send(item).await.map_err(|_stopping| NotStored)?;
    match verdict.await {
        Ok(Verdict::Taken) => Ok(message.ack()),
        Ok(Verdict::Unusable(why)) => Ok(refused(message, PublishAckReason::PayloadFormatInvalid, why)),
        Ok(Verdict::NotAuthorised(why)) => Ok(refused(message, PublishAckReason::NotAuthorized, why)),
        Err(_dropped) => Err(NotStored),
    }
}

fn refused(message: Publish, code: PublishAckReason, why: &'static str) -> PublishAck {
    message.ack().reason_code(code).reason(ByteString::from_static(why))
}

fn protocol(session: &Session<Client>, message: ProtocolMessage) -> ProtocolMessageAck {
    match message {
        ProtocolMessage::Subscribe(mut subscribe) => {
            for mut filter in &mut subscribe {
                match own_subscription(session, filter.topic()) {
                    Some(channel) => {
                        let (qos, how) = match filter.options().qos {
                            QoS::AtMostOnce => (QoS::AtMostOnce, Listens::AtMostOnce),
                            QoS::AtLeastOnce | QoS::ExactlyOnce => (QoS::AtLeastOnce, Listens::AtLeastOnce),
                        };
                        session.outbox.listen(channel, Some(how));
                        filter.confirm(qos);
                    }
                    None => {
                        session.hub.counters.count(Metric::MqttForeignTopics);
                        tracing::warn!(gateway.id = %session.gateway, "subscription to a topic that is not the gateway's");
                        filter.fail(SubscribeAckReason::NotAuthorized);
                    }
                }
            }
            subscribe.ack()
        }
        ProtocolMessage::Unsubscribe(mut unsubscribe) => {
            for mut filter in &mut unsubscribe {
                match own_subscription(session, filter.topic()) {
                    Some(channel) => session.outbox.listen(channel, None),
                    None => filter.fail(UnsubscribeAckReason::NoSubscriptionExisted),
                }
            }
            unsubscribe.ack()
        }
        ProtocolMessage::Disconnect(disconnect) => {
            session.clean.set(true);
            if disconnect.packet().reason_code != DisconnectReasonCode::DisconnectWithWillMessage {
                // Not published: the client left of its own will [MQTT-3.1.2-10].
                drop(session.will.take());
            }
            disconnect.ack()
        }
        ProtocolMessage::Ping(ping) => ping.ack(),
        // No connection was let in with an authentication method, and QoS 2 is refused before it gets here.
        ProtocolMessage::Auth(_) => end(session, DisconnectReasonCode::BadAuthenticationMethod, &message),
        ProtocolMessage::PublishRelease(_) => end(session, DisconnectReasonCode::ProtocolError, &message),
    }
}

fn end(session: &Session<Client>, code: DisconnectReasonCode, message: &ProtocolMessage) -> ProtocolMessageAck {
    session.hub.counters.count(Metric::MqttProtocolErrors);
    // Through the sink: a packet that is only returned is not written before the connection closes.
    session.sink().close_with_reason(Disconnect::new(code));
    message.disconnect_with(Disconnect::new(code))
}

/// The channel that a filter names, if it is the gateway's own and one to subscribe to. Wildcards are no topics.
fn own_subscription(session: &Session<Client>, filter: &str) -> Option<Channel> {
    let topic: Topic = filter.parse().ok()?;
    (topic.gateway == session.gateway && topic.channel.gateway_subscribes()).then_some(topic.channel)
}

fn control(session: &Session<Client>, message: Control<NotStored>) -> Option<Encoded> {
    match message {
        Control::WrBackpressure(_) | Control::Stop(Reason::PeerGone(_)) => None,
        Control::Stop(Reason::Error(_)) => {
            tracing::warn!(gateway.id = %session.gateway, "connection ended because a message was not stored");
            // Busy, not failed: the gateway shall come back and send it again.
            Some(Packet::from(Disconnect::new(DisconnectReasonCode::ServerBusy)).into())
        }
        Control::Stop(Reason::Protocol(error)) => {
            session.hub.counters.count(Metric::MqttProtocolErrors);
            let error = error.into();
            tracing::warn!(gateway.id = %session.gateway, %error, "connection ended by a violation of the protocol");
            Some(Packet::from(Disconnect::from_proto_error(&error)).into())
        }
    }
}

/// Sends what is put into the outbox, one message at a time, until the connection ends.
async fn deliver(sink: MqttSink, outbox: Arc<Outbox>, mut down: mpsc::Receiver<Vec<u8>>, gateway: GatewayId) {
    loop {
        let (channel, payload) = tokio::select! {
            biased;
            reason = outbox.closed() => return close(&sink, reason),
            payload = outbox.next_receipt() => (Channel::Receipt, payload),
            Some(payload) = down.recv() => (Channel::Down, payload),
        };
        let Some(how) = outbox.listens(channel) else { continue };
        let topic = Topic { gateway, channel }.to_string();
        let sent = tokio::select! {
            biased;
            reason = outbox.closed() => return close(&sink, reason),
            sent = send(&sink, topic, Bytes::from(payload), how) => sent,
        };
        if !sent {
            return;
        }
    }
}

async fn send(sink: &MqttSink, topic: String, payload: Bytes, how: Listens) -> bool {
    let message = sink.publish(topic);
    match how {
        Listens::AtMostOnce => message.send_at_most_once(payload).is_ok(),
        Listens::AtLeastOnce => message.send_at_least_once(payload).await.is_ok(),
    }
}

fn close(sink: &MqttSink, reason: CloseReason) {
    let code = match reason {
        CloseReason::TakenOver => DisconnectReasonCode::SessionTakenOver,
        CloseReason::Kicked => DisconnectReasonCode::AdministrativeAction,
        CloseReason::Stalled => DisconnectReasonCode::QuotaExceeded,
        CloseReason::Busy => DisconnectReasonCode::ServerBusy,
        CloseReason::ShuttingDown => DisconnectReasonCode::ServerShuttingDown,
    };
    if sink.is_open() {
        sink.close_with_reason(Disconnect::new(code));
    }
}

// 0 would mean "no limit" to the library.
const _: () = assert!(MAX_SEND > 0 && RECEIVE_MAXIMUM > 0);
