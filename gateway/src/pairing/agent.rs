//! The agent: what the Bluetooth service calls when a meter and this machine are to agree on a key (`doc/org.bluez.Agent.rst`
//! of bluez/bluez). It decides nothing; every call becomes a value on a bounded queue, and waits for its answer.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};
use zbus::message::Header;
use zbus::{DBusError, ObjectPath, interface};

use super::words::{Ask, Passkey, Reply};

/// Path of the agent on our own connection.
pub(super) const PATH: &str = "/org/carepost/agent";
/// Display and keyboard: the meter's abilities then decide how the key is agreed on (page 3, section 2.7).
pub(super) const CAPABILITY: &str = "KeyboardDisplay";
/// Calls that wait to be looked at; one pairing makes one at a time. More are refused.
pub(super) const QUEUE: usize = 8;

/// A call of the Bluetooth service.
#[derive(Debug)]
pub(super) enum Call {
    /// It asks.
    Ask {
        path: String,
        ask: Ask,
        reply: oneshot::Sender<Reply>,
    },
    /// It takes back what it asked.
    Cancel,
    /// It does not know the agent any more.
    Released,
}

/// The unique name of the Bluetooth service; nobody else may call the agent.
#[derive(Debug, Clone, Default)]
pub(super) struct Owner(Arc<Mutex<Option<String>>>);

impl Owner {
    pub(super) fn set(&self, name: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = name;
    }

    pub(super) fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is(&self, header: &Header<'_>) -> bool {
        let sender = header.sender().map(|sender| sender.as_str().to_owned());
        sender.is_some() && sender == self.get()
    }
}

/// The exported object.
pub(super) struct Agent {
    calls: mpsc::Sender<Call>,
    owner: Owner,
}

impl Agent {
    pub(super) fn new(calls: mpsc::Sender<Call>, owner: Owner) -> Self {
        Self { calls, owner }
    }

    async fn ask(&self, header: &Header<'_>, device: &ObjectPath<'_>, ask: Ask) -> Result<Reply, AgentError> {
        if !self.owner.is(header) {
            tracing::warn!("somebody who is not the bluetooth service called the pairing agent");
            return Err(AgentError::Rejected("not the Bluetooth service".to_owned()));
        }
        let (reply, answer) = oneshot::channel();
        let call = Call::Ask {
            path: device.as_str().to_owned(),
            ask,
            reply,
        };
        if self.calls.try_send(call).is_err() {
            tracing::warn!("too many pairing requests at a time");
            return Err(AgentError::Rejected("too many requests".to_owned()));
        }
        // Without an answer the pairing has been given up.
        match answer.await {
            Ok(Reply::Reject) => Err(AgentError::Rejected("refused".to_owned())),
            Ok(Reply::Cancel) | Err(_) => Err(AgentError::Canceled("given up".to_owned())),
            Ok(reply) => Ok(reply),
        }
    }
}

/// How the agent says no.
#[derive(Debug, DBusError)]
#[zbus(prefix = "org.bluez.Error")]
pub(super) enum AgentError {
    /// Errors of the bus itself.
    #[zbus(error)]
    Bus(zbus::Error),
    /// No.
    Rejected(String),
    /// Not any more.
    Canceled(String),
}

#[interface(name = "org.bluez.Agent1")]
impl Agent {
    async fn release(&self, #[zbus(header)] header: Header<'_>) {
        if self.owner.is(&header) && self.calls.try_send(Call::Released).is_err() {
            tracing::debug!("the agent's release was not noted");
        }
    }

    async fn cancel(&self, #[zbus(header)] header: Header<'_>) {
        if self.owner.is(&header) && self.calls.try_send(Call::Cancel).is_err() {
            tracing::warn!("a pairing request was taken back and that was not noted; it ends by its deadline");
        }
    }

    async fn request_passkey(
        &self,
        device: ObjectPath<'_>,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<u32, AgentError> {
        match self.ask(&header, &device, Ask::Passkey).await? {
            Reply::Passkey(passkey) => Ok(passkey.number()),
            _ => Err(AgentError::Canceled("given up".to_owned())),
        }
    }

    async fn display_passkey(
        &self,
        device: ObjectPath<'_>,
        passkey: u32,
        entered: u16,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), AgentError> {
        let passkey = known(passkey)?;
        let ask = Ask::ShowPasskey {
            passkey,
            typed: entered,
        };
        self.ask(&header, &device, ask).await.map(drop)
    }

    async fn request_confirmation(
        &self,
        device: ObjectPath<'_>,
        passkey: u32,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), AgentError> {
        let ask = Ask::Confirm(known(passkey)?);
        self.ask(&header, &device, ask).await.map(drop)
    }

    async fn request_authorization(
        &self,
        device: ObjectPath<'_>,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), AgentError> {
        self.ask(&header, &device, Ask::Authorize).await.map(drop)
    }

    async fn request_pin_code(
        &self,
        device: ObjectPath<'_>,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String, AgentError> {
        self.ask(&header, &device, Ask::Pin).await?;
        Err(AgentError::Rejected("refused".to_owned()))
    }

    async fn display_pin_code(
        &self,
        device: ObjectPath<'_>,
        _pincode: String,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), AgentError> {
        self.ask(&header, &device, Ask::Pin).await?;
        Err(AgentError::Rejected("refused".to_owned()))
    }

    async fn authorize_service(
        &self,
        device: ObjectPath<'_>,
        _uuid: String,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), AgentError> {
        self.ask(&header, &device, Ask::Service).await.map(drop)
    }
}

fn known(passkey: u32) -> Result<Passkey, AgentError> {
    Passkey::new(passkey).ok_or_else(|| AgentError::Rejected("a passkey has six digits".to_owned()))
}
