//! What bluetoothd says: its signals, and its answers.

use std::collections::HashMap;

use zbus::message::{Message, Type};
use zbus::{ObjectPath, Variant};

use super::bus::BUS;
use super::front::{ADAPTER, DEVICE, Front, OBJECT_MANAGER, PROPERTIES, Pending};
use super::seat::{Post, Registration};
use crate::SimTime;

/// Most bonds that are kept count of for one adapter.
const MAX_BONDS: usize = 64;

/// How bluetoothd refuses what the same program has registered before.
const ALREADY_EXISTS: &str = "org.bluez.Error.AlreadyExists";

type Interfaces<'a> = HashMap<&'a str, HashMap<&'a str, Variant<'a>>>;

impl Front {
    /// Takes one message from the bus. Whatever is not understood is ignored and said in the log: it is somebody else's.
    pub(crate) fn receive(&mut self, now: SimTime, message: &Message) {
        match message.message_type() {
            Type::MethodCall => self.serve(now, message),
            Type::Signal => self.signal(now, message),
            Type::MethodReturn | Type::Error => self.answer(now, message),
        }
    }

    fn signal(&mut self, now: SimTime, signal: &Message) {
        let header = signal.header();
        let (Some(sender), Some(path), Some(interface), Some(member)) =
            (header.sender(), header.path(), header.interface(), header.member())
        else {
            return;
        };
        let body = signal.body();
        if sender.as_str() == BUS {
            if let ("NameOwnerChanged", Ok((name, _, new))) =
                (member.as_str(), body.deserialize::<(&str, &str, &str)>())
                && name == super::bus::BLUEZ
            {
                self.owner_changed(now, new);
            }
            return;
        }
        if self.bluez.as_deref() != Some(sender.as_str()) {
            return;
        }
        match (interface.as_str(), member.as_str()) {
            (PROPERTIES, "PropertiesChanged") => {
                if let Ok((interface, changed, _)) = body.deserialize::<(&str, HashMap<&str, Variant<'_>>, Vec<&str>)>()
                {
                    self.changed(now, path.as_str(), interface, &changed);
                }
            }
            (OBJECT_MANAGER, "InterfacesAdded") => {
                if let Ok((path, interfaces)) = body.deserialize::<(ObjectPath<'_>, Interfaces<'_>)>() {
                    self.added(now, path.as_str(), &interfaces);
                }
            }
            (OBJECT_MANAGER, "InterfacesRemoved") => {
                if let Ok((path, interfaces)) = body.deserialize::<(ObjectPath<'_>, Vec<&str>)>() {
                    self.removed(now, path.as_str(), &interfaces);
                }
            }
            _ => {}
        }
    }

    fn owner_changed(&mut self, now: SimTime, new: &str) {
        if self.bluez.is_some() {
            tracing::info!("bluetoothd has gone");
            self.bluez_went(now);
        }
        if !new.is_empty() {
            tracing::info!("bluetoothd is there");
            self.bluez_came(new.to_owned());
        }
    }

    fn changed(&mut self, now: SimTime, path: &str, interface: &str, values: &HashMap<&str, Variant<'_>>) {
        match interface {
            ADAPTER => {
                let Some(index) = self.posts.iter().position(|post| post.adapter_path() == path) else {
                    return;
                };
                if let Some(Variant::Bool(powered)) = values.get("Powered") {
                    self.powered(now, index, *powered);
                }
            }
            DEVICE => {
                if let Some(Variant::Bool(connected)) = values.get("Connected") {
                    self.device_connected(now, path, *connected);
                }
                if let Some(Variant::Bool(bonded)) = values.get("Bonded") {
                    self.bonded(path, *bonded);
                }
            }
            _ => {}
        }
    }

    /// bluetoothd has a bond, or has lost it. The meter shows its number until then.
    fn bonded(&mut self, path: &str, bonded: bool) {
        let Some(post) = self.posts.iter_mut().find(|post| post.has_device(path)) else {
            return;
        };
        if !bonded {
            post.bonded.remove(path);
        } else if post.bonded.len() < MAX_BONDS && post.bonded.insert(path.to_owned()) {
            post.shows = None;
            post.question = None;
            self.counters.pairings += 1;
        }
    }

    pub(crate) fn seat_of_device(&self, path: &str) -> Option<usize> {
        self.posts.iter().position(|post| post.has_device(path))
    }

    fn device_connected(&mut self, now: SimTime, path: &str, connected: bool) {
        let Some(index) = self.seat_of_device(path) else { return };
        if connected {
            self.link_up(now, index, path);
        } else if self.is_central(index, path) {
            self.link_lost(now, index);
        }
    }

    fn is_central(&self, index: usize, path: &str) -> bool {
        let central = self.posts.get(index).and_then(|post| post.central.as_ref());
        central.is_some_and(|central| central.device == path)
    }

    fn added(&mut self, now: SimTime, path: &str, interfaces: &Interfaces<'_>) {
        if self.posts.iter().any(|post| post.adapter_path() == path) {
            // The managers of an adapter may come one by one: look at the whole again.
            self.survey();
        } else if let Some(values) = interfaces.get(DEVICE) {
            self.device_there(now, path, values);
        }
    }

    fn device_there(&mut self, now: SimTime, path: &str, values: &HashMap<&str, Variant<'_>>) {
        // Bonds from before are no pairings of today.
        if let (Some(Variant::Bool(true)), Some(post)) = (
            values.get("Bonded"),
            self.posts.iter_mut().find(|post| post.has_device(path)),
        ) && post.bonded.len() < MAX_BONDS
        {
            post.bonded.insert(path.to_owned());
        }
        if let Some(Variant::Bool(true)) = values.get("Connected") {
            self.device_connected(now, path, true);
        }
    }

    fn removed(&mut self, now: SimTime, path: &str, interfaces: &[&str]) {
        if interfaces.contains(&DEVICE) {
            self.device_connected(now, path, false);
            self.bonded(path, false);
        }
        if interfaces.contains(&ADAPTER)
            && let Some(index) = self.posts.iter().position(|post| post.adapter_path() == path)
        {
            tracing::info!(adapter = path, "adapter has gone");
            self.link_lost(now, index);
            if let Some(post) = self.posts.get_mut(index) {
                post.forget();
            }
        }
    }

    fn powered(&mut self, now: SimTime, index: usize, powered: bool) {
        if !powered {
            self.link_lost(now, index);
        }
        let Some(post) = self.posts.get_mut(index) else { return };
        if post.powered != powered {
            post.powered = powered;
            post.retry_at = SimTime::ZERO;
            // bluetoothd forgets who advertised when the adapter is switched off.
            post.advertisement = Registration::Absent;
        }
    }

    /// An answer to one of our calls.
    fn answer(&mut self, now: SimTime, answer: &Message) {
        let header = answer.header();
        let Some(pending) = header.reply_serial().and_then(|serial| self.pending.remove(&serial)) else {
            return;
        };
        if answer.message_type() == Type::Error {
            let name = header.error_name().map_or("", |name| name.as_str()).to_owned();
            let body = answer.body();
            let detail = body.deserialize::<&str>().unwrap_or_default();
            self.failed(now, pending, &name, detail);
            return;
        }
        match pending {
            Pending::Survey => {
                let body = answer.body();
                match body.deserialize::<HashMap<ObjectPath<'_>, Interfaces<'_>>>() {
                    Ok(objects) => self.surveyed(now, &objects),
                    Err(error) => tracing::warn!(error = %error, "bluetoothd's objects are not understood"),
                }
            }
            Pending::Agent => self.agent_stands(),
            Pending::Application(index) => self.stand(index, |post| &mut post.application),
            Pending::Advertise(index) => self.stand(index, |post| &mut post.advertisement),
            Pending::Withdraw(index) => {
                if let Some(post) = self.posts.get_mut(index) {
                    post.advertisement = Registration::Absent;
                }
            }
            Pending::DefaultAgent | Pending::Power(_) | Pending::Disconnect(_) | Pending::Courtesy(_) => {}
        }
    }

    fn agent_stands(&mut self) {
        self.agent = Registration::Standing;
        self.be_default_agent();
    }

    fn stand(&mut self, index: usize, registration: impl FnOnce(&mut Post) -> &mut Registration) {
        if let Some(post) = self.posts.get_mut(index) {
            *registration(post) = Registration::Standing;
        }
    }

    fn failed(&mut self, now: SimTime, pending: Pending, name: &str, detail: &str) {
        tracing::debug!(error.name = name, error = detail, call = ?pending, "bluetoothd refused");
        self.counters.bus_errors += 1;
        if !matches!(pending, Pending::Courtesy(_) | Pending::Disconnect(_)) {
            self.last_refusal = Some(format!("{pending:?}: {name}: {detail}"));
        }
        match pending {
            // A bluetoothd that restarts may take a call that was meant for the one before it: then ours stands already.
            Pending::Agent if name == ALREADY_EXISTS => self.agent_stands(),
            Pending::Agent => self.agent_refused(now),
            Pending::Application(index) => {
                self.refused(now, index);
                if let Some(post) = self.posts.get_mut(index) {
                    post.application = Registration::Absent;
                }
            }
            Pending::Advertise(index) | Pending::Withdraw(index) => {
                self.refused(now, index);
                if let Some(post) = self.posts.get_mut(index) {
                    post.advertisement = Registration::Absent;
                }
            }
            // A link that cannot be ended has ended: its device has gone.
            Pending::Disconnect(index) => self.link_lost(now, index),
            Pending::Survey | Pending::DefaultAgent | Pending::Power(_) | Pending::Courtesy(_) => {}
        }
    }

    fn surveyed(&mut self, now: SimTime, objects: &HashMap<ObjectPath<'_>, Interfaces<'_>>) {
        for index in 0..self.posts.len() {
            let Some(path) = self.posts.get(index).map(Post::adapter_path) else {
                continue;
            };
            let Some((_, interfaces)) = objects.iter().find(|(found, _)| found.as_str() == path) else {
                continue;
            };
            let Some(values) = interfaces.get(ADAPTER) else {
                continue;
            };
            self.found(now, index, values);
        }
        for (path, interfaces) in objects {
            if let Some(values) = interfaces.get(DEVICE) {
                self.device_there(now, path.as_str(), values);
            }
        }
    }

    fn found(&mut self, now: SimTime, index: usize, values: &HashMap<&str, Variant<'_>>) {
        let Some(post) = self.posts.get_mut(index) else { return };
        let first = post.address.is_none();
        if let Some(Variant::Str(address)) = values.get("Address") {
            post.address = Some(address.as_str().to_owned());
        }
        let name = post.local_name.clone();
        let on = matches!(values.get("Powered"), Some(Variant::Bool(true)));
        if first {
            // The name of the Generic Access service, and leave for centrals to bond.
            self.set_adapter(index, "Alias", name.into(), Pending::Courtesy(index));
            self.set_adapter(index, "Pairable", true.into(), Pending::Courtesy(index));
        }
        self.powered(now, index, on);
    }
}
