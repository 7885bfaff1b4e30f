//! What btleplug does not say: that the Bluetooth service came anew or went, and that an adapter was unplugged.
//!
//! A connection of our own to the same bus follows `NameOwnerChanged` of `org.bluez` and `InterfacesRemoved` of its
//! adapters (page 3, section 3.2). It only makes the recovery fast: the scanners' own probes find the same without it.

use std::time::Duration;

use carepost_daemon::CancellationToken;
use futures_util::StreamExt as _;
use tokio::sync::watch;
use zbus::message::Type;
use zbus::{MatchRule, MessageStream};

/// The Bluetooth service's name on the bus.
const SERVICE: &str = "org.bluez";
/// The interface that an adapter's object loses when it is unplugged.
const ADAPTER: &str = "org.bluez.Adapter1";
/// Pause before the bus is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long the bus may take to take a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Names of adapters that are kept.
const MAX_REMOVED: usize = 16;

/// What was heard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct News {
    /// How often the service went, or its bus.
    pub(super) service_lost: u64,
    /// How often it came: then it is worth looking at once.
    service_came: u64,
    /// Adapters that were unplugged, with how often.
    removed: Vec<(String, u64)>,
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
                None => break,
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
                None => break,
            },
        }
    }
    // The bus itself has gone, and the service with it as far as anybody here can say.
    news.send_modify(|news| news.service_lost += 1);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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
