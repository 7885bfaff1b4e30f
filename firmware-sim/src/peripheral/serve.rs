//! What bluetoothd calls: reads, writes and client configurations that came over the air.

use std::collections::HashMap;

use zbus::Variant;
use zbus::message::Message;

use super::front::{Front, OBJECT_MANAGER, PROPERTIES};
use super::objects::{ADVERTISEMENT, CHARACTERISTIC, Managed};
use super::seat::{Post, Registration};
use crate::SimTime;
use crate::meters::{AttError, Event, Uuid16};

/// Longest attribute value (Core specification, volume 3, part F, section 3.2.9).
const MAX_VALUE: usize = 512;

/// A D-Bus error reply. bluetoothd turns it into an ATT error (`dbus_error_to_att_ecode` in `src/gatt-database.c` of
/// bluez/bluez).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CallError {
    pub(crate) name: &'static str,
    pub(crate) message: String,
}

impl CallError {
    fn new(name: &'static str, message: &str) -> Self {
        Self {
            name,
            message: message.to_owned(),
        }
    }

    pub(crate) fn rejected() -> Self {
        Self::new("org.bluez.Error.Rejected", "Rejected")
    }

    pub(crate) fn invalid_offset() -> Self {
        Self::new("org.bluez.Error.InvalidOffset", "Invalid offset")
    }

    fn invalid_arguments() -> Self {
        Self::new("org.freedesktop.DBus.Error.InvalidArgs", "Wrong arguments")
    }

    fn access_denied() -> Self {
        Self::new(
            "org.freedesktop.DBus.Error.AccessDenied",
            "Only bluetoothd may call the simulator's meters",
        )
    }

    fn unknown() -> Self {
        Self::new("org.freedesktop.DBus.Error.UnknownMethod", "No such method here")
    }

    /// The error that becomes this ATT error, or the nearest one that bluetoothd can send for an application:
    /// application errors are given as the text of their code, and what is neither is "request not supported".
    pub(crate) fn att(error: AttError) -> Self {
        match error.code() {
            0x02 | 0x03 => Self::new("org.bluez.Error.NotPermitted", "Not permitted"),
            0x07 => Self::invalid_offset(),
            0x08 => Self::new("org.bluez.Error.NotAuthorized", "Not authorized"),
            0x0D => Self::new("org.bluez.Error.InvalidValueLength", "Invalid length"),
            code @ 0x80..=0x9F => Self::new("org.bluez.Error.Failed", &format!("0x{code:02x}")),
            0xFE => Self::new("org.bluez.Error.InProgress", "In progress"),
            _ => Self::new("org.bluez.Error.NotSupported", "Not supported"),
        }
    }
}

/// The offset that a read asks for.
pub(crate) fn offset(call: &Message) -> Option<usize> {
    let body = call.body();
    let options: HashMap<&str, Variant<'_>> = body.deserialize().ok()?;
    match options.get("offset") {
        Some(Variant::U16(offset)) => Some(usize::from(*offset)),
        _ => None,
    }
}

impl Front {
    pub(crate) fn serve(&mut self, now: SimTime, call: &Message) {
        if let Err(error) = self.dispatch(now, call) {
            self.reply_error(call, &error);
        }
    }

    fn dispatch(&mut self, now: SimTime, call: &Message) -> Result<(), CallError> {
        let header = call.header();
        let (Some(path), Some(interface), Some(member)) = (header.path(), header.interface(), header.member()) else {
            return Err(CallError::unknown());
        };
        // The system bus has other users, and what they call here is nobody's measurement.
        let sender = header.sender().map(|sender| sender.as_str());
        if self.bluez.is_none() || sender != self.bluez.as_deref() {
            return Err(CallError::access_denied());
        }
        let (path, interface, member) = (path.as_str(), interface.as_str(), member.as_str());
        if Self::is_agent(path, interface) {
            return self.agent_call(member, call);
        }
        let index = self
            .posts
            .iter()
            .position(|post| path == post.root() || path.starts_with(&format!("{}/", post.root())))
            .ok_or_else(CallError::unknown)?;
        let post = self.posts.get(index).ok_or_else(CallError::unknown)?;
        match (interface, member) {
            (OBJECT_MANAGER, "GetManagedObjects") if path == post.root() => {
                let objects: Managed = post.managed();
                self.reply(call, &objects);
                Ok(())
            }
            (PROPERTIES, "GetAll") if path == post.advertisement_path() => {
                let values = post.advertisement(now);
                self.reply(call, &values);
                Ok(())
            }
            (PROPERTIES, "GetAll") => self.all_properties(index, path, call),
            (ADVERTISEMENT, "Release") if path == post.advertisement_path() => {
                if let Some(post) = self.posts.get_mut(index) {
                    post.advertisement = Registration::Absent;
                }
                self.refused(now, index);
                self.reply(call, &());
                Ok(())
            }
            (CHARACTERISTIC, _) => {
                let uuid = post.characteristic_at(path).ok_or_else(CallError::unknown)?;
                self.characteristic_call(now, index, uuid, member, call)
            }
            _ => Err(CallError::unknown()),
        }
    }

    fn all_properties(&mut self, index: usize, path: &str, call: &Message) -> Result<(), CallError> {
        let body = call.body();
        let interface: &str = body.deserialize().map_err(|_| CallError::invalid_arguments())?;
        let mut objects = self.posts.get(index).map(Post::managed).unwrap_or_default();
        let values = objects
            .iter_mut()
            .find(|(found, _)| found.as_str() == path)
            .and_then(|(_, interfaces)| interfaces.remove(interface))
            .ok_or_else(CallError::unknown)?;
        self.reply(call, &values);
        Ok(())
    }

    fn characteristic_call(
        &mut self,
        now: SimTime,
        index: usize,
        uuid: Uuid16,
        member: &str,
        call: &Message,
    ) -> Result<(), CallError> {
        match member {
            "ReadValue" => {
                let body = call.body();
                let options: HashMap<&str, Variant<'_>> =
                    body.deserialize().map_err(|_| CallError::invalid_arguments())?;
                self.require_link(now, index, &options)?;
                self.drive(now, index, Event::Read { characteristic: uuid }, Some(call));
                Ok(())
            }
            "WriteValue" => {
                let body = call.body();
                let (value, options): (Vec<u8>, HashMap<&str, Variant<'_>>) =
                    body.deserialize().map_err(|_| CallError::invalid_arguments())?;
                if value.len() > MAX_VALUE {
                    return Err(CallError::att(AttError::InvalidLength));
                }
                self.require_link(now, index, &options)?;
                let event = Event::Write {
                    characteristic: uuid,
                    value,
                };
                self.drive(now, index, event, Some(call));
                Ok(())
            }
            "StartNotify" | "StopNotify" => {
                let enabled = member == "StartNotify";
                if let Some(post) = self.posts.get_mut(index) {
                    if enabled {
                        post.notifying.insert(uuid);
                    } else {
                        post.notifying.remove(&uuid);
                    }
                }
                // Before anything that it sets off.
                self.reply(call, &());
                if self.posts.get(index).is_some_and(Post::is_linked) {
                    self.subscribe(now, index, uuid, enabled);
                }
                Ok(())
            }
            "Confirm" => {
                self.reply(call, &());
                self.confirmed(now, index);
                Ok(())
            }
            _ => Err(CallError::unknown()),
        }
    }

    /// A request over the air means that there is a link, even when the news of it has not come yet.
    fn require_link(
        &mut self,
        now: SimTime,
        index: usize,
        options: &HashMap<&str, Variant<'_>>,
    ) -> Result<(), CallError> {
        if let Some(Variant::ObjectPath(device)) = options.get("device")
            && self.seat_of_device(device.as_str()) == Some(index)
        {
            self.link_up(now, index, device.as_str());
        }
        let linked = self.posts.get(index).is_some_and(Post::is_linked);
        linked.then_some(()).ok_or_else(CallError::rejected)
    }
}
