//! The connection to the bus on which bluetoothd is.

use std::num::NonZeroUsize;

use futures_util::StreamExt as _;
use zbus::message::Message;
use zbus::{Connection, MessageStream};

/// The name of BlueZ.
pub(crate) const BLUEZ: &str = "org.bluez";

/// The bus itself.
pub(crate) const BUS: &str = "org.freedesktop.DBus";

/// Messages that may wait between the socket and the front.
const INBOX: NonZeroUsize = NonZeroUsize::new(1024).expect("1024 is not zero");

/// What the front has to hear: bluetoothd's signals, and its coming and going.
const RULES: [&str; 3] = [
    "type='signal',sender='org.bluez',interface='org.freedesktop.DBus.Properties',member='PropertiesChanged'",
    "type='signal',sender='org.bluez',interface='org.freedesktop.DBus.ObjectManager'",
    "type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='org.bluez'",
];

/// A connection whose messages are all handled by the front.
#[derive(Debug)]
pub(crate) struct Line {
    connection: Connection,
    inbox: MessageStream,
}

impl Line {
    /// Connects to `system` or to an address, and follows bluetoothd.
    pub(crate) async fn connect(bus: &str) -> zbus::Result<Self> {
        let builder = match bus {
            "system" => zbus::connection::Builder::system(),
            address => zbus::connection::Builder::address(address),
        };
        let connection = builder.max_queued(INBOX).build().await?;
        let inbox = MessageStream::from(&connection);
        for rule in RULES {
            connection
                .call_method(Some(BUS), "/org/freedesktop/DBus", Some(BUS), "AddMatch", &rule)
                .await?;
        }
        Ok(Self { connection, inbox })
    }

    /// The unique name of bluetoothd, or `None` while it does not run.
    pub(crate) async fn owner(&self) -> Option<String> {
        let reply = self
            .connection
            .call_method(Some(BUS), "/org/freedesktop/DBus", Some(BUS), "GetNameOwner", &BLUEZ)
            .await
            .ok()?;
        reply.body().deserialize::<String>().ok()
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

    /// Sends messages in order.
    pub(crate) async fn send(&self, messages: &[Message]) -> zbus::Result<()> {
        self.connection.send_all(messages).await
    }
}
