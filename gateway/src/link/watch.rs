//! What btleplug does not say: that the Bluetooth service came anew or went, and that an adapter was unplugged. And what
//! it says only to those who listen to everything: that the meter in hand was disconnected.
//!
//! A connection of our own to the same bus follows `NameOwnerChanged` of `org.bluez` and `InterfacesRemoved` of its
//! adapters (page 3, section 3.2), and the properties of the meter in hand. It only makes the recovery fast: the scanners'
//! own probes and the sessions' own deadlines find the same without it.

use std::collections::HashMap;
use std::time::Duration;

use carepost_daemon::CancellationToken;
use futures_util::{Stream, StreamExt as _};
use tokio::sync::watch;
use zbus::message::{Message, Type};
use zbus::{Connection, MatchRule, MessageStream, OwnedVariant};

/// The Bluetooth service's name on the bus.
const SERVICE: &str = "org.bluez";
/// The interface that an adapter's object loses when it is unplugged.
const ADAPTER: &str = "org.bluez.Adapter1";
/// The interface that says whether a device is connected.
const DEVICE: &str = "org.bluez.Device1";
/// Its property that says so.
const CONNECTED: &str = "Connected";
/// The interface by which every object's properties are read and followed.
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
/// Pause before the bus is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long the bus may take to take a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// How long the bus may take to let a device be followed.
const ASK: Duration = Duration::from_secs(1);
/// Names of adapters that are kept.
const MAX_REMOVED: usize = 16;

/// What was heard.
#[derive(Debug, Clone, Default)]
pub(super) struct News {
    /// How often the service went, or its bus.
    pub(super) service_lost: u64,
    /// How often it came: then it is worth looking at once.
    service_came: u64,
    /// Adapters that were unplugged, with how often.
    removed: Vec<(String, u64)>,
    /// The connection that is followed, while it stands.
    bus: Option<Connection>,
}

/// Follows one device.
#[derive(Debug)]
pub(super) struct Farewell {
    changes: Option<MessageStream>,
}

impl Farewell {
    /// Begins to follow the device at an object path. Without a bus nothing will be heard, which costs time only.
    pub(super) async fn of(news: &watch::Receiver<News>, path: &str) -> Self {
        let bus = news.borrow().bus.clone();
        let changes = match bus {
            None => None,
            Some(bus) => match tokio::time::timeout(ASK, changes_of(&bus, path)).await {
                Ok(Ok(changes)) => Some(changes),
                Ok(Err(error)) => {
                    tracing::debug!(error = crate::admit::chain(&error), "a device cannot be followed");
                    None
                }
                Err(_) => None,
            },
        };
        Self { changes }
    }

    /// Resolves each time the device says that it is not connected any more. Cancel-safe.
    pub(super) async fn heard(&mut self) {
        while let Some(changes) = &mut self.changes {
            match changes.next().await {
                Some(Ok(message)) if says_goodbye(&message) => return,
                Some(Ok(_)) => {}
                // The bus has gone, which the news say.
                Some(Err(_)) | None => self.changes = None,
            }
        }
        std::future::pending().await
    }
}

/// Whether a device keeps keys, by its object path. Nothing if the bus does not say.
pub(super) async fn is_bonded(news: &watch::Receiver<News>, path: &str) -> Option<bool> {
    let bus = news.borrow().bus.clone()?;
    let asked = bus.call_method(Some(SERVICE), path, Some(PROPERTIES), "GetAll", &DEVICE);
    let reply = tokio::time::timeout(ASK, asked).await.ok()?.ok()?;
    bond_in(&reply.body().deserialize().ok()?)
}

/// Older services do not tell `Bonded` apart from `Paired`.
fn bond_in(values: &HashMap<String, OwnedVariant>) -> Option<bool> {
    let value = values.get("Bonded").or_else(|| values.get("Paired"))?;
    value.downcast_ref::<bool>().ok()
}

async fn changes_of(bus: &Connection, path: &str) -> zbus::Result<MessageStream> {
    let rule = MatchRule::builder()
        .msg_type(Type::Signal)
        .sender(SERVICE)
        .path(path)
        .interface(PROPERTIES)
        .member("PropertiesChanged")
        .arg(0, DEVICE)
        .build()?;
    MessageStream::for_match_rule(rule, bus, None).await
}

/// Whether a `PropertiesChanged` signal of a device says that it is not connected any more.
fn says_goodbye(message: &Message) -> bool {
    type Changed = (String, HashMap<String, OwnedVariant>, Vec<String>);
    let Ok((_, changed, _)) = message.body().deserialize::<Changed>() else {
        return false;
    };
    changed
        .get(CONNECTED)
        .is_some_and(|connected| connected.downcast_ref::<bool>() == Ok(false))
}

impl News {
    /// How often an adapter was unplugged.
    pub(super) fn removals_of(&self, adapter: &str) -> u64 {
        let found = self.removed.iter().find(|(name, _)| name == adapter);
        found.map_or(0, |(_, times)| *times)
    }

    fn remove(&mut self, adapter: &str) {
        if let Some((_, times)) = self.removed.iter_mut().find(|(name, _)| name == adapter) {
            *times += 1;
        } else if self.removed.len() < MAX_REMOVED {
            self.removed.push((adapter.to_owned(), 1));
        }
    }
}

/// Follows the bus until `soft` is cancelled; a bus that is not there is tried again.
pub(super) async fn follow(news: watch::Sender<News>, soft: CancellationToken) {
    loop {
        // Nothing is lost with a listener that is dropped.
        tokio::select! {
            result = listen(&news) => {
                if let Err(error) = result {
                    tracing::debug!(error = crate::admit::chain(&error), "the bus cannot be followed");
                }
            }
            () = soft.cancelled() => return,
        }
        // Nobody needs to be woken for it.
        news.send_if_modified(|news| {
            news.bus = None;
            false
        });
        tokio::select! {
            () = tokio::time::sleep(RETRY) => {}
            () = soft.cancelled() => return,
        }
    }
}

/// Follows one connection to its end.
async fn listen(news: &watch::Sender<News>) -> zbus::Result<()> {
    // The address that btleplug uses: the environment's, or the system's own.
    let connecting = tokio::time::timeout(CONNECT, zbus::connection::Builder::system().build());
    let Ok(connection) = connecting.await else {
        return Err(zbus::Error::Failure("the bus does not answer".to_owned()));
    };
    let connection = connection?;
    let owners = MatchRule::builder()
        .msg_type(Type::Signal)
        .sender("org.freedesktop.DBus")
        .interface("org.freedesktop.DBus")
        .member("NameOwnerChanged")
        .arg(0, SERVICE)
        .build()?;
    let removals = MatchRule::builder()
        .msg_type(Type::Signal)
        .sender(SERVICE)
        .interface("org.freedesktop.DBus.ObjectManager")
        .member("InterfacesRemoved")
        .build()?;
    let mut owners = MessageStream::for_match_rule(owners, &connection, None).await?;
    let mut removals = MessageStream::for_match_rule(removals, &connection, None).await?;
    news.send_if_modified(|news| {
        news.bus = Some(connection.clone());
        // Nobody needs to be woken for it.
        false
    });
    follow_streams(news, &mut owners, &mut removals).await
}

async fn follow_streams(
    news: &watch::Sender<News>,
    owners: &mut (impl Stream<Item = zbus::Result<Message>> + Unpin),
    removals: &mut (impl Stream<Item = zbus::Result<Message>> + Unpin),
) -> zbus::Result<()> {
    let ended = take(news, owners, removals).await;
    // The bus itself has gone, and the service with it as far as anybody here can say.
    news.send_modify(|news| news.service_lost += 1);
    ended
}

/// Takes what comes until the connection ends: with an error that every stream gets, or without.
async fn take(
    news: &watch::Sender<News>,
    owners: &mut (impl Stream<Item = zbus::Result<Message>> + Unpin),
    removals: &mut (impl Stream<Item = zbus::Result<Message>> + Unpin),
) -> zbus::Result<()> {
    loop {
        // Both branches are cancel-safe.
        tokio::select! {
            message = owners.next() => match message {
                Some(Ok(message)) => {
                    let (_, before, _): (String, String, String) = message.body().deserialize()?;
                    news.send_modify(|news| {
                        if before.is_empty() {
                            news.service_came += 1;
                        } else {
                            news.service_lost += 1;
                        }
                    });
                }
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            },
            message = removals.next() => match message {
                Some(Ok(message)) => {
                    let (path, interfaces): (zbus::OwnedObjectPath, Vec<String>) = message.body().deserialize()?;
                    if interfaces.iter().any(|interface| interface == ADAPTER)
                        && let Some(adapter) = path.as_str().rsplit('/').next()
                    {
                        news.send_modify(|news| news.remove(adapter));
                    }
                }
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(names: &[(&str, zbus::Variant<'_>)]) -> Message {
        let changed: HashMap<&str, zbus::Variant<'_>> = names
            .iter()
            .map(|(name, value)| (*name, value.try_clone().unwrap()))
            .collect();
        Message::signal(
            "/org/bluez/hci0/dev_C4_DE_00_00_00_01",
            "org.freedesktop.DBus.Properties",
            "PropertiesChanged",
        )
        .build(&(DEVICE, changed, Vec::<&str>::new()))
        .unwrap()
    }

    #[test]
    fn only_the_end_of_the_connection_is_a_goodbye() {
        assert!(says_goodbye(&changed(&[("Connected", false.into())])));
        assert!(says_goodbye(&changed(&[
            ("RSSI", (-60_i16).into()),
            ("Connected", false.into())
        ])));
        assert!(!says_goodbye(&changed(&[("Connected", true.into())])));
        assert!(!says_goodbye(&changed(&[("RSSI", (-60_i16).into())])));
        // What a service may send that is not BlueZ.
        assert!(!says_goodbye(&changed(&[("Connected", "no".into())])));
        assert!(!says_goodbye(
            &Message::signal("/org/bluez", "org.freedesktop.DBus.Properties", "PropertiesChanged")
                .build(&7_u32)
                .unwrap()
        ));
    }

    #[test]
    fn a_bond_is_told_by_bonded_and_by_paired_where_there_is_no_bonded() {
        let told = |names: &[(&str, zbus::Variant<'_>)]| {
            let values = names.iter().map(|(name, value)| {
                let value = OwnedVariant::try_from(value.try_clone().unwrap()).unwrap();
                ((*name).to_owned(), value)
            });
            bond_in(&values.collect())
        };
        assert_eq!(told(&[("Bonded", false.into()), ("Paired", true.into())]), Some(false));
        assert_eq!(told(&[("Paired", true.into())]), Some(true));
        assert_eq!((told(&[]), told(&[("Bonded", 1_u32.into())])), (None, None));
    }

    #[tokio::test]
    async fn a_loss_that_comes_as_an_error_is_news_as_one_without() {
        let (news, heard) = watch::channel(News::default());
        let error = || Err(zbus::Error::Failure("socket closed".to_owned()));
        let mut removals = futures_util::stream::pending();
        let mut failing = futures_util::stream::iter([error()]);
        let ended = follow_streams(&news, &mut failing, &mut removals).await;
        assert!(ended.is_err());
        assert_eq!(heard.borrow().service_lost, 1);
        let mut ending = futures_util::stream::iter([]);
        let ended = follow_streams(&news, &mut ending, &mut removals).await;
        assert!(ended.is_ok());
        assert_eq!(heard.borrow().service_lost, 2);
    }

    #[tokio::test]
    async fn without_a_bus_nothing_is_heard_and_nothing_waits_for_it() {
        let (_sender, news) = watch::channel(News::default());
        let mut farewell = Farewell::of(&news, "/org/bluez/hci0/dev_C4_DE_00_00_00_01").await;
        let heard = tokio::time::timeout(Duration::from_millis(1), farewell.heard());
        assert!(heard.await.is_err());
    }

    #[test]
    fn an_adapter_that_is_pulled_twice_is_heard_twice_and_names_are_bounded() {
        let mut news = News::default();
        news.remove("hci0");
        news.remove("hci0");
        for n in 1..100 {
            news.remove(&format!("hci{n}"));
        }
        assert_eq!((news.removals_of("hci0"), news.removals_of("hci1")), (2, 1));
        assert_eq!((news.removed.len(), news.removals_of("hci99")), (MAX_REMOVED, 0));
    }
}
