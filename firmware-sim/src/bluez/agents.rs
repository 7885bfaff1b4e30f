//! `AgentManager1`: who answers questions about pairing (`src/agent.c` of bluez/bluez).

use std::collections::BTreeMap;

use zbus::message::Message;
use zbus::{ObjectPath, message::Flags};

use super::errors::BusError;
use super::host::{Host, MAX_CLIENTS};
use super::interfaces::AGENT;
use crate::SimTime;
use crate::meters::IoCapability;

/// An agent of a D-Bus client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Agent {
    pub(crate) client: String,
    pub(crate) path: String,
    pub(crate) capability: IoCapability,
}

/// All agents, at most one for each client.
#[derive(Debug, Default)]
pub(crate) struct Agents {
    registered: BTreeMap<String, Agent>,
    /// Clients that asked to be the default, the last one first.
    defaults: Vec<String>,
}

impl Agents {
    /// The default agent.
    pub(crate) fn default_agent(&self) -> Option<&Agent> {
        self.defaults.iter().find_map(|client| self.registered.get(client))
    }

    /// The agent that answers for what `client` asked: its own, else the default one.
    pub(crate) fn agent_for(&self, client: &str) -> Option<&Agent> {
        self.registered.get(client).or_else(|| self.default_agent())
    }

    fn remove(&mut self, client: &str) -> Option<Agent> {
        self.defaults.retain(|default| default != client);
        self.registered.remove(client)
    }

    /// Forgets all of them, as a daemon that stops does.
    pub(crate) fn take_all(&mut self) -> Vec<Agent> {
        self.defaults.clear();
        std::mem::take(&mut self.registered).into_values().collect()
    }
}

/// The capability that a registration names; the empty text is the default.
fn capability(text: &str) -> Option<IoCapability> {
    match text {
        "" | "KeyboardDisplay" => Some(IoCapability::KeyboardDisplay),
        "DisplayOnly" => Some(IoCapability::DisplayOnly),
        "DisplayYesNo" => Some(IoCapability::DisplayYesNo),
        "KeyboardOnly" => Some(IoCapability::KeyboardOnly),
        "NoInputNoOutput" => Some(IoCapability::NoInputNoOutput),
        _ => None,
    }
}

impl Host {
    /// A call of `AgentManager1`.
    pub(crate) fn agent_manager_call(
        &mut self,
        now: SimTime,
        member: &str,
        sender: &str,
        call: &Message,
    ) -> Result<(), BusError> {
        let body = call.body();
        if member == "RegisterAgent" {
            let (path, text): (ObjectPath<'_>, &str) = body.deserialize().map_err(|_| BusError::invalid_arguments())?;
            self.register_agent(sender, path.as_str(), text)?;
        } else {
            let path: ObjectPath<'_> = body.deserialize().map_err(|_| BusError::invalid_arguments())?;
            let found = self.agents.registered.get(sender);
            if found.is_none_or(|agent| agent.path != path.as_str()) {
                return Err(BusError::does_not_exist());
            }
            if member == "RequestDefaultAgent" {
                self.agents.defaults.retain(|default| default != sender);
                self.agents.defaults.insert(0, sender.to_owned());
            } else {
                self.agent_gone(now, sender);
            }
        }
        self.reply(call, &());
        Ok(())
    }

    fn register_agent(&mut self, sender: &str, path: &str, text: &str) -> Result<(), BusError> {
        if self.agents.registered.contains_key(sender) {
            return Err(BusError::already_exists());
        }
        let capability = capability(text).ok_or_else(BusError::invalid_arguments)?;
        if self.agents.registered.len() >= MAX_CLIENTS {
            return Err(BusError::limit("agents"));
        }
        let agent = Agent {
            client: sender.to_owned(),
            path: path.to_owned(),
            capability,
        };
        self.agents.registered.insert(sender.to_owned(), agent);
        Ok(())
    }

    /// An agent is no more: what it was asked is answered with no.
    pub(crate) fn agent_gone(&mut self, _now: SimTime, client: &str) {
        if self.agents.remove(client).is_some() {
            self.agent_unavailable(client);
        }
    }

    /// Tells an agent something that it need not answer.
    pub(crate) fn tell_agent(&mut self, agent: &Agent, member: &'static str) {
        self.send_to_agent(agent, member, &(), Flags::NO_REPLY_EXPECTED.into());
    }

    /// Calls a method of an agent. Returns the serial that its answer will carry.
    pub(crate) fn call_agent<B>(&mut self, agent: &Agent, member: &'static str, body: &B) -> u32
    where
        B: serde::Serialize + zbus::wire::DynamicType,
    {
        self.send_to_agent(agent, member, body, None)
    }

    fn send_to_agent<B>(&mut self, agent: &Agent, member: &'static str, body: &B, flags: Option<Flags>) -> u32
    where
        B: serde::Serialize + zbus::wire::DynamicType,
    {
        let builder = Message::method_call(agent.path.as_str(), member)
            .interface(AGENT)
            .destination(agent.client.as_str());
        let builder = match flags {
            Some(flags) => builder.with_flags(flags),
            None => builder,
        };
        let message = builder
            .build(body)
            .expect("the path and the name came from the bus, and the values are of the simulator's own making");
        let serial = message.primary_header().serial_num().get();
        self.outgoing.push(message);
        serial
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_agent_goes_before_the_default_one_and_the_last_request_is_the_default() {
        let mut agents = Agents::default();
        for client in [":1.1", ":1.2", ":1.3"] {
            let agent = Agent {
                client: client.to_owned(),
                path: "/agent".to_owned(),
                capability: IoCapability::KeyboardDisplay,
            };
            agents.registered.insert(client.to_owned(), agent);
        }
        assert_eq!(agents.default_agent(), None);
        agents.defaults = vec![":1.2".to_owned(), ":1.1".to_owned()];
        assert_eq!(agents.agent_for(":1.3").unwrap().client, ":1.3");
        assert_eq!(agents.agent_for(":1.9").unwrap().client, ":1.2");
        agents.remove(":1.2");
        assert_eq!(agents.agent_for(":1.9").unwrap().client, ":1.1");
    }

    #[test]
    fn only_the_capabilities_of_bluez_are_known() {
        assert_eq!(capability(""), Some(IoCapability::KeyboardDisplay));
        assert_eq!(capability("NoInputNoOutput"), Some(IoCapability::NoInputNoOutput));
        assert_eq!(capability("Keyboard"), None);
    }
}
