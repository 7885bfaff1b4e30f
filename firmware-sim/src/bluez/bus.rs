//! The private bus, and the connection on which the simulator owns `org.bluez`.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::{mpsc, oneshot};
use zbus::message::{Message, Type};
use zbus::{Connection, MatchRule, MessageStream};

/// The name of BlueZ.
const NAME: &str = "org.bluez";

/// Messages that may wait between the socket and the host.
const INBOX: NonZeroUsize = NonZeroUsize::new(1024).expect("1024 is not zero");

/// How long a client may leave its socket full before the bus disconnects it. busd's own 100 ms would throw clients
/// out of a busy test machine; a client that is really stuck holds up the others for this long once.
const SEND_TIMEOUT: Duration = Duration::from_secs(2);

/// Known clients at which those that left are cleared out.
const MAX_KNOWN: usize = 256;

/// Calls about which clients open and drop streams of signals.
const OPEN_STREAMS: [&str; 3] = ["StartDiscovery", "Connect", "StartNotify"];

/// `DBUS_NAME_FLAG_DO_NOT_QUEUE`, and the reply `DBUS_REQUEST_NAME_REPLY_PRIMARY_OWNER` (D-Bus specification).
const DO_NOT_QUEUE: u32 = 4;
const PRIMARY_OWNER: u32 = 1;

/// Why the bus could not be brought up.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The bus cannot listen.
    #[error("cannot start a bus at {address:?}")]
    Listen {
        /// Address as configured.
        address: String,
        /// The bus's own words.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The simulator cannot connect to its own bus, or cannot own the name.
    #[error("cannot own {NAME} on the bus at {address:?}")]
    Own {
        /// Address of the bus.
        address: String,
        /// The D-Bus error.
        source: zbus::Error,
    },
    /// Somebody else owns the name, on a bus that should be private.
    #[error("{NAME} is owned by somebody else on the bus at {address:?}")]
    Taken {
        /// Address of the bus.
        address: String,
    },
    /// The bus went away.
    #[error("the bus stopped")]
    Stopped {
        /// The bus's own words.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The bus itself.
#[derive(Debug)]
pub(crate) struct Bus {
    bus: busd::bus::Bus,
    address: String,
}

impl Bus {
    /// Listens at a D-Bus address such as `unix:dir=/run/carepost`.
    pub(crate) async fn listen(address: &str) -> Result<Self, BusError> {
        let mut bus = busd::bus::Bus::for_address(Some(address))
            .await
            .map_err(|error| BusError::Listen {
                address: address.to_owned(),
                source: error.into(),
            })?;
        bus.set_send_timeout(SEND_TIMEOUT);
        let address = bus.address().to_string();
        Ok(Self { bus, address })
    }

    /// The address for clients.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The means to make sure that clients hear `org.bluez`.
    pub(crate) fn audience(&self) -> Audience {
        Audience {
            peers: Arc::clone(self.bus.peers()),
            known: HashSet::new(),
        }
    }

    /// Accepts clients until `stop` is done, then removes the socket. On an order it closes all connections and listens
    /// again later, at the same address.
    pub(crate) async fn run(
        mut self,
        mut orders: mpsc::Receiver<BusOrder>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), BusError> {
        let mut stop = std::pin::pin!(stop);
        loop {
            // All branches are cancel-safe: a client that was not accepted waits in the backlog.
            let order = tokio::select! {
                () = &mut stop => break,
                ended = self.bus.run() => {
                    return ended.map_err(|error| BusError::Stopped { source: error.into() });
                }
                Some(order) = orders.recv() => order,
            };
            let address = self.address.clone();
            let peers = Arc::clone(self.bus.peers());
            // The socket goes first, so that nobody who is hung up on comes back to a bus that is going.
            self.clean_up().await;
            hang_up(&peers).await;
            tokio::select! {
                () = &mut stop => return Ok(()),
                () = tokio::time::sleep(order.down) => {}
            }
            // Who was on the way in when the socket went has arrived by now.
            hang_up(&peers).await;
            self = Self::listen(&address).await?;
            if order.back.send(self.audience()).is_err() {
                tracing::debug!("nobody waits for the bus any more");
            }
        }
        self.clean_up().await;
        Ok(())
    }

    /// Closes and removes the socket.
    async fn clean_up(self) {
        if let Err(error) = self.bus.cleanup().await {
            tracing::debug!(error = %error, "the socket of the bus could not be removed");
        }
    }
}

/// Closes every connection: it ends when what the client is to the bus is dropped.
async fn hang_up(peers: &busd::peers::Peers) {
    let clients = std::mem::take(&mut *peers.peers_mut().await);
    drop(clients);
}

/// An order to the bus: to go away.
#[derive(Debug)]
pub(crate) struct BusOrder {
    /// For how long.
    pub(crate) down: Duration,
    /// Where to say that it is back.
    pub(crate) back: oneshot::Sender<Audience>,
}

/// The clients that use BlueZ.
///
/// D-Bus counts match rules: who adds a rule twice and removes it once still has it. busd 0.6 keeps a set, in which the
/// second one vanishes with the first. Clients built on dbus-rs, btleplug among them, have a rule for each stream and
/// would go deaf: `connect` alone adds and removes the rule of an open `notifications` stream. So every client that scans,
/// connects or subscribes gets, with its first such call and before the reply, a rule of its own for all signals of
/// `org.bluez`, which it never removes. Signals that it did not ask for match none of its filters and are ignored there.
/// Clients that do nothing of the kind, such as one that is an agent or follows a property, hear what they ask for, as on
/// any bus.
#[derive(Debug)]
pub(crate) struct Audience {
    peers: Arc<busd::peers::Peers>,
    known: HashSet<String>,
}

impl Audience {
    /// Lets the sender of a call that opens streams hear everything, from now on. To be called before the call is answered.
    pub(crate) async fn admit(&mut self, message: &Message) -> zbus::Result<()> {
        let header = message.header();
        let opens = message.message_type() == Type::MethodCall
            && header
                .member()
                .is_some_and(|member| OPEN_STREAMS.contains(&member.as_str()));
        let Some(sender) = header.sender().filter(|_| opens) else {
            return Ok(());
        };
        if self.known.contains(sender.as_str()) {
            return Ok(());
        }
        let rule = MatchRule::builder().msg_type(Type::Signal).sender(NAME).build()?;
        let mut peers = self.peers.peers_mut().await;
        if let Some(peer) = peers.get_mut(sender.as_str()) {
            peer.add_match_rule(rule.to_owned().into());
            self.known.insert(sender.to_string());
        }
        // Unique names are never used again, so that those of clients that left only take up room.
        if self.known.len() > MAX_KNOWN {
            self.known.retain(|name| peers.contains_key(name.as_str()));
        }
        Ok(())
    }
}

/// How long the bus may take for what was sent before the connection ends.
const LAST_ANSWER: Duration = Duration::from_secs(2);

/// The simulator's own connection, owner of `org.bluez`.
#[derive(Debug)]
pub(crate) struct BusConnection {
    connection: Connection,
    inbox: MessageStream,
}

impl BusConnection {
    /// Connects and takes the name. The bus must be running.
    pub(crate) async fn own(address: &str) -> Result<Self, BusError> {
        let failed = |source| BusError::Own {
            address: address.to_owned(),
            source,
        };
        let connection = zbus::connection::Builder::address(address)
            .max_queued(INBOX)
            .build()
            .await
            .map_err(failed)?;
        let inbox = MessageStream::from(&connection);
        let bus = "org.freedesktop.DBus";
        let rule = format!("type='signal',sender='{bus}',interface='{bus}',member='NameOwnerChanged'");
        let path = "/org/freedesktop/DBus";
        connection
            .call_method(Some(bus), path, Some(bus), "AddMatch", &rule)
            .await
            .map_err(failed)?;
        let request = (NAME, DO_NOT_QUEUE);
        let reply = connection
            .call_method(Some(bus), path, Some(bus), "RequestName", &request)
            .await
            .map_err(failed)?;
        let outcome: u32 = reply.body().deserialize().map_err(failed)?;
        if outcome != PRIMARY_OWNER {
            return Err(BusError::Taken {
                address: address.to_owned(),
            });
        }
        Ok(Self { connection, inbox })
    }

    /// The next message; `None` when the bus is gone. Cancel-safe: a message is either returned or still queued.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        loop {
            match self.inbox.next().await? {
                Ok(message) => return Some(message),
                Err(error) => tracing::debug!(error = %error, "a message from the bus was not readable"),
            }
        }
    }

    /// A message that is here already.
    pub(crate) fn ready(&mut self) -> Option<Message> {
        loop {
            match self.inbox.next().now_or_never()?? {
                Ok(message) => return Some(message),
                Err(error) => tracing::debug!(error = %error, "a message from the bus was not readable"),
            }
        }
    }

    /// Leaves the bus, and the name with it.
    pub(crate) async fn close(self) {
        drop(self.inbox);
        // The bus may drop what it has not read of somebody who has gone, and a meter's last value was confirmed: only its
        // answer says that it has passed on everything before.
        let bus = "org.freedesktop.DBus";
        let asked = self
            .connection
            .call_method(Some(bus), "/org/freedesktop/DBus", Some(bus), "GetId", &());
        if let Ok(Err(error)) = tokio::time::timeout(LAST_ANSWER, asked).await {
            tracing::debug!(error = %error, "the private bus may have dropped the last signals");
        }
        if let Err(error) = self.connection.close().await {
            tracing::debug!(error = %error, "the connection to the private bus did not close cleanly");
        }
    }

    /// Sends messages in order.
    pub(crate) async fn send(&self, messages: &[Message]) -> zbus::Result<()> {
        self.connection.send_all(messages).await
    }
}
