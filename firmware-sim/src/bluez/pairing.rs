//! Pairing: `Device1.Pair`, the pairing that BlueZ starts by itself, and the questions to agents and to people at
//! meters.
//!
//! What BlueZ and the kernel do is restated from `src/device.c` and `src/agent.c` of bluez/bluez: `Pair` asks the agent
//! of the connection that called it, else the default one; without an agent this side can neither show nor ask; Just
//! Works is not asked about when a client called `Pair`, but needs the default agent's authorisation when BlueZ pairs by
//! itself, and is refused for a device that has a bond (`JustWorksRepairing = never`); `Pair` is answered once services
//! are resolved, and a link that goes before that does not make it fail.

use zbus::ObjectPath;
use zbus::message::{Message, Type};

use super::agents::Agent;
use super::attributes::Operation;
use super::errors::BusError;
use super::host::Host;
use super::link::Reason;
use super::state::Link;
use crate::SimTime;
use crate::meters::{Association, AttError, Event, IoCapability, MAX_PASSKEY};

/// Most operations that one pairing holds up; one more is refused at once.
const MAX_WAITING: usize = 16;

/// Why a pairing ended without a bond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PairError {
    /// Either side said no, or the passkeys differ.
    Failed,
    /// Called off, or the link went.
    Canceled,
    /// Nobody answered in time.
    Timeout,
    /// There was no link to pair on.
    NoConnection,
}

impl PairError {
    fn bus_error(self) -> BusError {
        match self {
            Self::Failed => BusError::authentication_failed(),
            Self::Canceled => BusError::authentication_canceled(),
            Self::Timeout => BusError::authentication_timeout(),
            Self::NoConnection => BusError::connection_attempt_failed(),
        }
    }
}

/// What an agent was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    Passkey,
    /// Yes, or an error.
    Consent,
}

#[derive(Clone, Debug)]
struct Asked {
    agent: Agent,
    /// Serial of the call to the agent.
    serial: u32,
    question: Question,
}

/// How far a pairing is.
#[derive(Clone, Debug)]
enum Stage {
    /// `Pair` waits for the link.
    Linking,
    /// Questions are open on one side or both.
    Underway {
        model: Association,
        /// The number shown, on whichever side.
        number: u32,
        /// What the agent gave: a passkey, or the number shown for a yes.
        central: Option<u32>,
        /// What the meter's side gave.
        meter: Option<u32>,
        until: SimTime,
    },
}

/// A pairing on its way.
#[derive(Clone, Debug)]
pub(crate) struct Pairing {
    /// The call of `Pair`; none when BlueZ pairs by itself.
    call: Option<Message>,
    asked: Option<Asked>,
    /// An agent that shows a passkey and has to be told when that is over.
    showing: Option<Agent>,
    stage: Stage,
    waiting: Vec<Operation>,
}

impl Pairing {
    fn new(call: Option<Message>) -> Self {
        Self {
            call,
            asked: None,
            showing: None,
            stage: Stage::Linking,
            waiting: Vec::new(),
        }
    }

    pub(crate) fn deadline(&self) -> Option<SimTime> {
        match self.stage {
            Stage::Linking => None,
            Stage::Underway { until, .. } => Some(until),
        }
    }

    fn caller(&self) -> String {
        let header = self.call.as_ref().map(Message::header);
        header
            .as_ref()
            .and_then(|header| header.sender())
            .map(ToString::to_string)
            .unwrap_or_default()
    }
}

impl Host {
    /// `Device1.Pair`.
    pub(crate) fn pair(&mut self, now: SimTime, index: usize, call: &Message) -> Result<(), BusError> {
        if !self.adapter_of(index).is_some_and(|adapter| adapter.is_on()) {
            return Err(BusError::not_ready());
        }
        let Some(device) = self.device_mut(index) else {
            return Err(BusError::does_not_exist());
        };
        if device.pairing.is_some() || device.pair_reply.is_some() || matches!(device.link, Link::Connecting { .. }) {
            return Err(BusError::in_progress());
        }
        if device.bond.is_some() {
            return Err(BusError::already_exists());
        }
        device.pairing = Some(Box::new(Pairing::new(Some(call.clone()))));
        if device.is_connected() {
            self.begin_pairing(now, index);
        } else {
            self.start_connecting(now, index, None);
        }
        Ok(())
    }

    /// `Device1.CancelPairing`.
    pub(crate) fn cancel_pairing_call(&mut self, index: usize, call: &Message) -> Result<(), BusError> {
        if !self.cancel_pairing(index) {
            return Err(BusError::does_not_exist());
        }
        self.reply(call, &());
        Ok(())
    }

    /// Calls a pairing off. Returns whether there was one.
    pub(crate) fn cancel_pairing(&mut self, index: usize) -> bool {
        let pairing = self.device(index).is_some_and(|device| device.pairing.is_some());
        if pairing {
            self.pairing_failed(index, PairError::Canceled);
            if let Some(device) = self.device_mut(index)
                && matches!(device.link, Link::Connecting { call: None, .. })
            {
                device.link = Link::Down;
            }
        }
        pairing
    }

    /// A link came up: goes on with a `Pair` that waited for it, or does what a meter that asks for security wants.
    pub(crate) fn start_pairing_on_link(&mut self, now: SimTime, index: usize) {
        let Some(wants) = self.unit(index).map(|unit| unit.security.settings().security_request) else {
            return;
        };
        let Some(device) = self.device_mut(index) else { return };
        if device.pairing.is_some() {
            self.begin_pairing(now, index);
        } else if wants && device.bond.is_none() {
            device.pairing = Some(Box::new(Pairing::new(None)));
            self.begin_pairing(now, index);
        }
    }

    /// An operation needs protection: BlueZ pairs by itself, or joins a pairing that is on its way.
    pub(crate) fn pair_for(&mut self, now: SimTime, index: usize, operation: Operation) {
        let Some(device) = self.device_mut(index) else { return };
        let begins = device.pairing.is_none();
        let pairing = device.pairing.get_or_insert_with(|| Box::new(Pairing::new(None)));
        if pairing.waiting.len() >= MAX_WAITING {
            self.refuse(index, &operation, AttError::InsufficientAuthentication);
            return;
        }
        pairing.waiting.push(operation);
        if begins {
            self.begin_pairing(now, index);
        }
    }

    fn begin_pairing(&mut self, now: SimTime, index: usize) {
        let Some(device) = self.device(index) else { return };
        let Some(pairing) = &device.pairing else { return };
        let explicit = pairing.call.is_some();
        let bonded = device.bond.is_some();
        let agent = if explicit {
            self.agents.agent_for(&pairing.caller()).cloned()
        } else {
            self.agents.default_agent().cloned()
        };
        let io = agent
            .as_ref()
            .map_or(IoCapability::NoInputNoOutput, |agent| agent.capability);
        let central = self.central(index);
        let number = self.dice.passkey();
        let Some(unit) = self.unit_mut(index) else { return };
        let model = match unit.security.pairing_asked(now, &central, io, number) {
            Ok(model) => model,
            Err(refused) => {
                tracing::debug!(reason = %refused, "a meter does not pair");
                self.pairing_failed(index, PairError::Failed);
                return;
            }
        };
        let confirms = unit.security.settings().confirms_by_itself;
        let until = now.saturating_add(self.settings.pairing_timeout);
        let meter = match model {
            Association::JustWorks | Association::MeterShows => Some(number),
            Association::NumericComparison => confirms.then_some(number),
            Association::CentralShows | Association::BothAsk => None,
        };
        let central = match model {
            Association::JustWorks => (explicit && !bonded).then_some(number),
            Association::CentralShows => Some(number),
            Association::NumericComparison | Association::MeterShows | Association::BothAsk => None,
        };
        if let Some(pairing) = self.pairing_mut(index) {
            pairing.stage = Stage::Underway {
                model,
                number,
                central,
                meter,
                until,
            };
        }
        self.tell_meter_of_pairing(now, index, true);
        match (model, agent) {
            // Nobody is asked; or it is a bond made anew behind the back of its owner, and that is refused.
            (Association::JustWorks, _) if explicit || bonded => {}
            (_, Some(agent)) => self.ask(index, agent, model, number),
            (_, None) => {}
        }
        let asks_nobody = self
            .pairing_mut(index)
            .is_some_and(|pairing| pairing.asked.is_none() && pairing.open_on_this_side());
        if asks_nobody {
            // No agent for a question that needs one: the kernel gets a no.
            self.pairing_failed(index, PairError::Failed);
        } else {
            self.settle(now, index);
        }
    }

    fn tell_meter_of_pairing(&mut self, now: SimTime, index: usize, underway: bool) {
        if let Some(unit) = self.peer(index).map(|peer| peer.unit) {
            self.drive(now, unit, Event::Pairing { underway }, None);
        }
    }

    fn pairing_mut(&mut self, index: usize) -> Option<&mut Pairing> {
        self.device_mut(index)?.pairing.as_deref_mut()
    }

    /// Puts the question of the model to the agent. An agent that is busy with another one is not asked.
    fn ask(&mut self, index: usize, agent: Agent, model: Association, number: u32) {
        let Some(path) = self
            .device(index)
            .and_then(|device| ObjectPath::try_from(device.path.clone()).ok())
        else {
            return;
        };
        if model == Association::CentralShows {
            let entered: u16 = 0;
            self.call_agent(&agent, "DisplayPasskey", &(path, number, entered));
            if let Some(pairing) = self.pairing_mut(index) {
                pairing.showing = Some(agent);
            }
            return;
        }
        let busy = self.peers.iter().filter_map(|peer| peer.device.as_ref()).any(|device| {
            let asked = device.pairing.as_ref().and_then(|pairing| pairing.asked.as_ref());
            asked.is_some_and(|asked| asked.agent == agent)
        });
        if busy {
            return;
        }
        let (serial, question) = match model {
            Association::MeterShows | Association::BothAsk => {
                (self.call_agent(&agent, "RequestPasskey", &path), Question::Passkey)
            }
            Association::NumericComparison => (
                self.call_agent(&agent, "RequestConfirmation", &(path, number)),
                Question::Consent,
            ),
            Association::JustWorks | Association::CentralShows => (
                self.call_agent(&agent, "RequestAuthorization", &path),
                Question::Consent,
            ),
        };
        if let Some(pairing) = self.pairing_mut(index) {
            pairing.asked = Some(Asked {
                agent,
                serial,
                question,
            });
        }
    }

    /// The answer to a call of the simulator's own: an agent's, or nobody waits for it any more.
    pub(crate) fn agent_answer(&mut self, now: SimTime, message: &Message) {
        let header = message.header();
        let Some(serial) = header.reply_serial().map(std::num::NonZero::get) else {
            return;
        };
        let found = self.peers.iter().position(|peer| {
            let asked = peer
                .device
                .as_ref()
                .and_then(|device| device.pairing.as_ref()?.asked.as_ref());
            asked.is_some_and(|asked| {
                let from = header
                    .sender()
                    .is_some_and(|sender| sender.as_str() == asked.agent.client);
                // An error may come from the bus, when the agent's connection is gone.
                asked.serial == serial && (from || message.message_type() == Type::Error)
            })
        });
        let Some(index) = found else { return };
        let Some(asked) = self.pairing_mut(index).and_then(|pairing| pairing.asked.take()) else {
            return;
        };
        let timeout = now.saturating_add(self.settings.pairing_timeout);
        let given = match (message.message_type(), asked.question) {
            (Type::MethodReturn, Question::Passkey) => message.body().deserialize::<u32>().ok(),
            (Type::MethodReturn, Question::Consent) => None,
            _ => {
                self.pairing_failed(index, PairError::Failed);
                return;
            }
        };
        let Some(pairing) = self.pairing_mut(index) else { return };
        if let Stage::Underway {
            number, central, until, ..
        } = &mut pairing.stage
        {
            *until = timeout;
            *central = match asked.question {
                // What is no passkey matches none.
                Question::Passkey => Some(given.filter(|given| *given <= MAX_PASSKEY).unwrap_or(u32::MAX)),
                Question::Consent => Some(*number),
            };
        }
        self.settle(now, index);
    }

    /// A person typed a passkey on the meter, or said yes (`None`). Returns whether the meter had asked for it.
    pub(crate) fn answer_on_meter(&mut self, now: SimTime, unit: usize, typed: Option<u32>) -> bool {
        let Some(found) = self.units.get_mut(unit) else {
            return false;
        };
        let prompt = found.security.prompt();
        let asked = if typed.is_some() {
            prompt.asks_passkey
        } else {
            prompt.asks_confirmation
        };
        let Some(index) = found.link.filter(|_| asked) else {
            return false;
        };
        found.security.answered();
        let timeout = now.saturating_add(self.settings.pairing_timeout);
        if let Some(pairing) = self.pairing_mut(index)
            && let Stage::Underway {
                number, meter, until, ..
            } = &mut pairing.stage
        {
            *until = timeout;
            *meter = Some(typed.unwrap_or(*number));
        }
        self.settle(now, index);
        true
    }

    /// A person said no on the meter. Returns whether the meter had asked.
    pub(crate) fn decline_on_meter(&mut self, unit: usize) -> bool {
        let Some(found) = self.units.get(unit) else {
            return false;
        };
        let prompt = found.security.prompt();
        let Some(index) = found.link.filter(|_| prompt.asks_confirmation || prompt.asks_passkey) else {
            return false;
        };
        self.pairing_failed(index, PairError::Failed);
        true
    }

    /// Ends the pairing once both sides have answered.
    fn settle(&mut self, now: SimTime, index: usize) {
        let Some(pairing) = self.pairing_mut(index) else { return };
        let Stage::Underway {
            model,
            central: Some(central),
            meter: Some(meter),
            ..
        } = pairing.stage
        else {
            return;
        };
        if central == meter {
            self.paired(now, index, model.authenticates());
        } else {
            self.pairing_failed(index, PairError::Failed);
        }
    }

    fn paired(&mut self, now: SimTime, index: usize, authenticated: bool) {
        let central = self.central(index);
        let Some(unit) = self.unit_mut(index) else { return };
        let reached = unit.security.paired(&central, authenticated);
        let leaves = unit.security.settings().disconnects_after_pairing;
        let (identity, identity_type) = (unit.identity.clone(), unit.identity_type);
        let Some(device) = self.device_mut(index) else { return };
        let Some(pairing) = device.pairing.take() else { return };
        device.bond = Some(authenticated);
        device.paired_untold = true;
        device.pair_reply = pairing.call;
        if let Link::Up { level, .. } = &mut device.link {
            *level = reached;
        }
        self.counters.pairings += 1;
        self.tell_meter_of_pairing(now, index, false);
        self.reveal_identity(index, &identity, identity_type);
        self.signal_device(index, "Bonded", true.into());
        if self.device(index).is_some_and(super::state::Device::is_resolved) {
            self.tell_paired(index);
        }
        for operation in pairing.waiting {
            self.retry(now, index, operation);
        }
        if leaves && let Some(unit) = self.peer(index).map(|peer| peer.unit) {
            self.drive(now, unit, Event::Disconnected, None);
            self.link_closed(now, index, Reason::Remote);
        }
    }

    /// Tells that the device is paired, and answers `Pair`, once services are resolved or will not be.
    pub(crate) fn tell_paired(&mut self, index: usize) {
        let Some(device) = self.device_mut(index) else { return };
        let untold = std::mem::take(&mut device.paired_untold);
        let call = device.pair_reply.take();
        if untold {
            self.signal_device(index, "Paired", true.into());
        }
        if let Some(call) = call {
            self.reply(&call, &());
        }
    }

    /// Ends a pairing without a bond: the agent is told to stop asking, and everything that waited is refused.
    pub(crate) fn pairing_failed(&mut self, index: usize, why: PairError) {
        let Some(device) = self.device_mut(index) else { return };
        let Some(pairing) = device.pairing.take() else { return };
        let connected = device.is_connected();
        self.counters.failed_pairings += 1;
        if connected {
            self.tell_meter_of_pairing(self.now, index, false);
        }
        if let Some(unit) = self.unit_mut(index) {
            unit.security.pairing_ended();
        }
        for agent in pairing
            .asked
            .map(|asked| asked.agent)
            .into_iter()
            .chain(pairing.showing)
        {
            self.tell_agent(&agent, "Cancel");
        }
        if let Some(call) = pairing.call {
            self.reply_error(&call, &why.bus_error());
        }
        for operation in pairing.waiting {
            if connected {
                self.refuse(index, &operation, AttError::InsufficientAuthentication);
            } else {
                self.give_up(index, &operation, &BusError::not_connected());
            }
        }
    }

    /// Ends a pairing that nobody answered, and its link, on which no other may follow (Core specification, volume 3,
    /// part H, section 3.4).
    pub(crate) fn pairing_step(&mut self, now: SimTime, index: usize) {
        let due = self
            .device(index)
            .and_then(|device| device.pairing.as_ref()?.deadline())
            .is_some_and(|until| until <= now);
        if due {
            self.pairing_failed(index, PairError::Timeout);
            self.link_lost(now, index, Reason::Authentication);
        }
    }

    /// An agent is gone: what it was asked counts as a no.
    pub(crate) fn agent_unavailable(&mut self, client: &str) {
        for index in 0..self.peers.len() {
            let Some(pairing) = self.pairing_mut(index) else {
                continue;
            };
            let asked = pairing.asked.as_ref().is_some_and(|asked| asked.agent.client == client);
            if asked {
                pairing.asked = None;
                self.pairing_failed(index, PairError::Failed);
            }
        }
    }

    /// A client is gone: the pairings that it called for are called off.
    pub(crate) fn pairing_client_gone(&mut self, client: &str) {
        for index in 0..self.peers.len() {
            let called = self
                .device(index)
                .and_then(|device| device.pairing.as_ref())
                .is_some_and(|pairing| pairing.call.is_some() && pairing.caller() == client);
            if called {
                self.cancel_pairing(index);
            }
        }
    }
}

impl Pairing {
    fn open_on_this_side(&self) -> bool {
        matches!(self.stage, Stage::Underway { central: None, .. })
    }
}
