//! What bluetoothd is asked to take: the agent, services and advertisements, again and again until they stand.

use std::collections::HashMap;
use std::time::Duration;

use zbus::{ObjectPath, Variant};

use super::front::{ADAPTER, Front, PROPERTIES, Pending};
use super::objects::AGENT;
use super::seat::{Post, Registration};
use crate::SimTime;
use crate::meters::PairingRule;

const GATT_MANAGER: &str = "org.bluez.GattManager1";
const ADVERTISING_MANAGER: &str = "org.bluez.LEAdvertisingManager1";
const AGENT_MANAGER: &str = "org.bluez.AgentManager1";

/// Pause after a refusal before bluetoothd is asked again.
const RETRY: Duration = Duration::from_secs(1);

impl Front {
    pub(crate) fn settle_agent(&mut self, now: SimTime) {
        if self.agent != Registration::Absent || now < self.agent_retry_at {
            return;
        }
        let Ok(path) = ObjectPath::try_from(AGENT) else { return };
        let body = (path, self.capability());
        if self.ask("/org/bluez", AGENT_MANAGER, "RegisterAgent", &body, Pending::Agent) {
            self.agent = Registration::Asked;
        }
    }

    pub(crate) fn agent_refused(&mut self, now: SimTime) {
        self.agent = Registration::Absent;
        self.agent_retry_at = now.saturating_add(RETRY);
    }

    /// A central that pairs with one of the adapters is put through to the default agent, and there is one for all
    /// adapters. Another program that asked to be it, such as a gateway on the same machine, would be shown the passkeys
    /// of our meters; so this is asked for again when a meter begins to advertise, and while it does.
    pub(crate) fn be_default_agent(&mut self) {
        if let (Registration::Standing, Ok(path)) = (self.agent, ObjectPath::try_from(AGENT)) {
            self.ask(
                "/org/bluez",
                AGENT_MANAGER,
                "RequestDefaultAgent",
                &path,
                Pending::DefaultAgent,
            );
        }
    }

    /// Asks bluetoothd for what the meter's state calls for.
    pub(crate) fn settle(&mut self, now: SimTime, index: usize) {
        let look_every = self.look_every;
        let Some(post) = self.posts.get_mut(index) else { return };
        if now < post.retry_at {
            return;
        }
        if !post.powered {
            if post.wants_power() {
                // A bluetoothd that has just started may be busy with it, and says so.
                post.retry_at = now.saturating_add(RETRY);
                self.power(index, true);
            }
            return;
        }
        let due = now >= post.look_at;
        if due {
            post.look_at = now.saturating_add(look_every);
        }
        let pairing = post.security.in_pairing_mode(now);
        let pairable = pairing || post.security.settings().pairing == PairingRule::Always;
        let wanted = post.in_range && post.central.is_none() && (post.meter.is_advertising(now) || pairing);
        if std::mem::replace(&mut post.pairable, pairable) != pairable {
            self.set_adapter(index, "Pairable", pairable.into(), Pending::Courtesy(index));
        }
        let Some(post) = self.posts.get(index) else { return };
        let (adapter, root, advertisement) = (post.adapter_path(), post.root(), post.advertisement_path());
        let no_options = HashMap::<&str, Variant<'_>>::new();
        match (post.application, post.advertisement) {
            (Registration::Absent, _) => {
                let Ok(root) = ObjectPath::try_from(root) else { return };
                let asked = Pending::Application(index);
                if self.ask(
                    &adapter,
                    GATT_MANAGER,
                    "RegisterApplication",
                    &(root, no_options),
                    asked,
                ) && let Some(post) = self.posts.get_mut(index)
                {
                    post.application = Registration::Asked;
                }
            }
            (Registration::Standing, Registration::Absent) if wanted && self.agent == Registration::Standing => {
                self.be_default_agent();
                let Ok(path) = ObjectPath::try_from(advertisement) else {
                    return;
                };
                let (body, asked) = ((path, no_options), Pending::Advertise(index));
                if self.ask(&adapter, ADVERTISING_MANAGER, "RegisterAdvertisement", &body, asked)
                    && let Some(post) = self.posts.get_mut(index)
                {
                    post.advertisement = Registration::Asked;
                }
            }
            (Registration::Standing, Registration::Standing) if wanted && due => self.be_default_agent(),
            (_, Registration::Standing) if !wanted => {
                let Ok(path) = ObjectPath::try_from(advertisement) else {
                    return;
                };
                let asked = Pending::Withdraw(index);
                if self.ask(&adapter, ADVERTISING_MANAGER, "UnregisterAdvertisement", &path, asked)
                    && let Some(post) = self.posts.get_mut(index)
                {
                    post.advertisement = Registration::Leaving;
                }
            }
            _ => {}
        }
    }

    /// bluetoothd refused something for a seat: not now, then.
    pub(crate) fn refused(&mut self, now: SimTime, index: usize) {
        if let Some(post) = self.posts.get_mut(index) {
            post.retry_at = now.saturating_add(RETRY);
        }
    }

    /// Gives bluetoothd the meter's services anew, after they have changed.
    pub(crate) fn register_again(&mut self, index: usize) {
        let Some(post) = self.posts.get_mut(index) else { return };
        if post.application != Registration::Standing {
            return;
        }
        // Answered in the order of asking, so that the new registration finds the old one gone.
        post.application = Registration::Absent;
        post.notifying.clear();
        let (adapter, root) = (post.adapter_path(), post.root());
        let Ok(root) = ObjectPath::try_from(root) else { return };
        self.ask(
            &adapter,
            GATT_MANAGER,
            "UnregisterApplication",
            &root,
            Pending::Courtesy(index),
        );
    }

    /// Switches an adapter.
    pub(crate) fn power(&mut self, index: usize, on: bool) {
        self.set_adapter(index, "Powered", on.into(), Pending::Power(index));
    }

    pub(crate) fn set_adapter(&mut self, index: usize, property: &str, value: Variant<'_>, asked: Pending) {
        let Some(path) = self.posts.get(index).map(Post::adapter_path) else {
            return;
        };
        self.ask(&path, PROPERTIES, "Set", &(ADAPTER, property, value), asked);
    }

    /// Takes the agent back, at the end.
    pub(crate) fn say_goodbye(&mut self) {
        for index in 0..self.posts.len() {
            if let Some(device) = self.posts.get(index).and_then(|post| post.central.clone()) {
                self.disconnect(index, &device.device);
            }
        }
        if self.agent == Registration::Standing
            && let Ok(path) = ObjectPath::try_from(AGENT)
        {
            self.ask("/org/bluez", AGENT_MANAGER, "UnregisterAgent", &path, Pending::Agent);
        }
    }
}
