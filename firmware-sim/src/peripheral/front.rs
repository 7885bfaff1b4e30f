//! The state of the front: what was asked of bluetoothd, what it said, and what the meters do.
//!
//! A state machine without IO, like a meter and like the simulated BlueZ: messages and commands go in with the time,
//! messages come out of [`Front::take_outgoing`], and [`Front::deadline`] names the next moment at which something
//! happens by itself.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU32;
use std::time::Duration;

use carepost_gatt::uuid16;
use chrono::{NaiveDateTime, TimeDelta};
use zbus::Variant;
use zbus::message::{Flags, Message};

use super::bus::BLUEZ;
use super::objects::{AGENT, AGENT_INTERFACE, CHARACTERISTIC};
use super::seat::{Central, Post, Registration};
use super::serve::CallError;
use crate::SimTime;
use crate::bluez::Counters;
use crate::ledger::{Fate, Ledger, Part};
use crate::meters::{Action, Event, Made, RecordError, RecordId, Uuid16};

pub(crate) const ADAPTER: &str = "org.bluez.Adapter1";
pub(crate) const DEVICE: &str = "org.bluez.Device1";
pub(crate) const OBJECT_MANAGER: &str = "org.freedesktop.DBus.ObjectManager";
pub(crate) const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// Most things that may fall due in one call before other work gets in.
const MAX_STEPS: usize = 10_000;

/// Most calls to bluetoothd without an answer. The front never needs more than a few for each seat; a bluetoothd that
/// does not answer is not asked more.
const MAX_PENDING: usize = 256;

/// A call to bluetoothd that waits for its answer, by the seat that it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pending {
    Survey,
    Agent,
    DefaultAgent,
    Power(usize),
    Application(usize),
    Advertise(usize),
    Withdraw(usize),
    Disconnect(usize),
    /// Something that may fail without consequence, such as an alias.
    Courtesy(usize),
}

/// What came of an event, besides what went over the air.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Records that came into being.
    pub(crate) made: Vec<Made>,
    /// Why nothing happened.
    pub(crate) impossible: Option<RecordError>,
}

/// All seats, and bluetoothd as far as it is known.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) local_at_start: NaiveDateTime,
    /// How often a meter is asked whether it still advertises.
    pub(crate) look_every: Duration,
    pub(crate) posts: Vec<Post>,
    pub(crate) ledger: Ledger,
    pub(crate) counters: Counters,
    /// Unique name of bluetoothd while it runs.
    pub(crate) bluez: Option<String>,
    pub(crate) agent: Registration,
    pub(crate) agent_retry_at: SimTime,
    pub(crate) pending: HashMap<NonZeroU32, Pending>,
    /// The last refusal, for who waits in vain for a start.
    pub(crate) last_refusal: Option<String>,
    outgoing: Vec<Message>,
}

impl Front {
    pub(crate) fn new(local_at_start: NaiveDateTime, look_every: Duration, posts: Vec<Post>) -> Self {
        Self {
            local_at_start,
            look_every,
            posts,
            ledger: Ledger::default(),
            counters: Counters::default(),
            bluez: None,
            agent: Registration::Absent,
            agent_retry_at: SimTime::ZERO,
            pending: HashMap::new(),
            last_refusal: None,
            outgoing: Vec::new(),
        }
    }

    /// The messages to send, in order.
    pub(crate) fn take_outgoing(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.outgoing)
    }

    /// Whether every meter can be reached: its services are registered at its adapter.
    pub(crate) fn is_ready(&self) -> bool {
        self.agent == Registration::Standing
            && self
                .posts
                .iter()
                .all(|post| post.powered && post.application == Registration::Standing)
    }

    /// Local time as a right clock shows it.
    pub(crate) fn right_time(&self, now: SimTime) -> Option<NaiveDateTime> {
        self.local_at_start.checked_add_signed(TimeDelta::from_std(now).ok()?)
    }

    /// bluetoothd runs: asks for its adapters.
    pub(crate) fn bluez_came(&mut self, owner: String) {
        self.bluez = Some(owner);
        self.survey();
    }

    /// bluetoothd has ended, and every link with it.
    pub(crate) fn bluez_went(&mut self, now: SimTime) {
        self.bluez = None;
        self.agent = Registration::Absent;
        self.agent_retry_at = SimTime::ZERO;
        self.pending.clear();
        for index in 0..self.posts.len() {
            self.link_lost(now, index);
            if let Some(post) = self.posts.get_mut(index) {
                post.forget();
            }
        }
    }

    pub(crate) fn survey(&mut self) {
        self.ask("/", OBJECT_MANAGER, "GetManagedObjects", &(), Pending::Survey);
    }

    /// The next moment at which something happens by itself.
    pub(crate) fn deadline(&self) -> Option<SimTime> {
        let agent = (self.bluez.is_some() && self.agent == Registration::Absent).then_some(self.agent_retry_at);
        let posts = self.posts.iter().flat_map(|post| {
            let look = if post.powered && post.application != Registration::Absent {
                Some(post.look_at.max(post.retry_at))
            } else if post.powered || post.wants_power() {
                Some(post.retry_at)
            } else {
                None
            };
            [look, post.meter.deadline()]
        });
        posts.chain([agent]).flatten().min()
    }

    /// Lets everything happen that is due at `now`.
    pub(crate) fn advance(&mut self, now: SimTime) {
        for _ in 0..MAX_STEPS {
            let due = self
                .posts
                .iter()
                .position(|post| post.meter.deadline().is_some_and(|at| at <= now));
            let Some(index) = due else { break };
            self.drive(now, index, Event::DeadlineReached, None);
        }
        if self.bluez.is_some() {
            self.settle_agent(now);
            for index in 0..self.posts.len() {
                self.settle(now, index);
            }
        }
    }

    /// A central has the link.
    pub(crate) fn link_up(&mut self, now: SimTime, index: usize, device: &str) {
        let Some(post) = self.posts.get_mut(index) else { return };
        match &post.central {
            Some(central) if central.device == device => return,
            Some(_) => {
                // These meters hold one link.
                self.disconnect(index, device);
                return;
            }
            None => {}
        }
        post.central = Some(Central {
            device: device.to_owned(),
            closing: false,
        });
        let subscribed: Vec<Uuid16> = post.notifying.iter().copied().collect();
        self.counters.connections += 1;
        self.drive(now, index, Event::Connected, None);
        for characteristic in subscribed {
            self.subscribe(now, index, characteristic, true);
        }
    }

    pub(crate) fn subscribe(&mut self, now: SimTime, index: usize, characteristic: Uuid16, enabled: bool) {
        let event = Event::Subscribe {
            characteristic,
            enabled,
        };
        self.drive(now, index, event, None);
    }

    /// The link is gone, as bluetoothd says or by its own end.
    pub(crate) fn link_lost(&mut self, now: SimTime, index: usize) {
        let Some(post) = self.posts.get_mut(index) else { return };
        let Some(central) = post.central.take() else { return };
        post.awaiting = None;
        post.drop_after = None;
        post.shows = None;
        post.question = None;
        self.counters.disconnections += 1;
        if !central.closing {
            self.drive(now, index, Event::Disconnected, None);
        }
    }

    /// Ends the link from the meter's side: by a test's wish, or out of range.
    pub(crate) fn drop_link(&mut self, now: SimTime, index: usize) {
        if self.posts.get(index).is_some_and(Post::is_linked) {
            self.drive(now, index, Event::Disconnected, None);
            self.close(index);
        }
    }

    /// Asks bluetoothd to close the link. It does so some time later, and until then the meter is not there any more.
    fn close(&mut self, index: usize) {
        let Some(central) = self.posts.get_mut(index).and_then(|post| {
            post.awaiting = None;
            post.drop_after = None;
            post.central.as_mut()
        }) else {
            return;
        };
        central.closing = true;
        let device = central.device.clone();
        self.disconnect(index, &device);
    }

    pub(crate) fn disconnect(&mut self, index: usize, device: &str) {
        self.ask(device, DEVICE, "Disconnect", &(), Pending::Disconnect(index));
    }

    /// Lets something happen to a meter and carries out what it does. `call` is the call of bluetoothd that waits for
    /// the meter's answer, if one does.
    pub(crate) fn drive(&mut self, now: SimTime, index: usize, event: Event, call: Option<&Message>) -> Outcome {
        let mut outcome = Outcome::default();
        let Some(post) = self.posts.get_mut(index) else {
            return outcome;
        };
        let mut actions = VecDeque::from(post.meter.handle(now, event));
        while let Some(action) = actions.pop_front() {
            match action {
                Action::Value(value) => self.value_read(value, call),
                Action::Written => {
                    if let Some(call) = call {
                        self.reply(call, &());
                    }
                }
                Action::Refused(error) => {
                    self.counters.att_errors += 1;
                    if let Some(call) = call {
                        self.reply_error(call, &CallError::att(error));
                    }
                }
                Action::Notify {
                    characteristic,
                    value,
                    record,
                } => {
                    if self.on_air(index, characteristic, value, Some(record)) {
                        self.counters.notifications += 1;
                        self.drop_if_due(now, index);
                    }
                }
                Action::Indicate {
                    characteristic,
                    value,
                    record,
                } => {
                    if self.on_air(index, characteristic, value, record) {
                        self.counters.indications += 1;
                        if let Some(post) = self.posts.get_mut(index) {
                            post.awaiting = Some(record);
                        }
                    }
                }
                Action::Disconnect => self.close(index),
                Action::Made(made) => {
                    if let Some(post) = self.posts.get(index) {
                        self.ledger.made(now, &post.id, &made);
                    }
                    outcome.made.push(made);
                }
                Action::Deleted(record) => self.fate(index, record, Fate::Deleted),
                Action::Overwritten(record) => self.fate(index, record, Fate::Overwritten),
                Action::Lost(record, loss) => self.fate(index, record, loss.into()),
                Action::Impossible(error) => outcome.impossible = Some(error),
            }
        }
        outcome
    }

    fn value_read(&mut self, value: Vec<u8>, call: Option<&Message>) {
        let Some(call) = call else { return };
        let offset = super::serve::offset(call).unwrap_or_default();
        match value.get(offset..) {
            Some(rest) => self.reply(call, &rest),
            None => self.reply_error(call, &CallError::invalid_offset()),
        }
    }

    /// The confirmation that bluetoothd received for the last indication.
    pub(crate) fn confirmed(&mut self, now: SimTime, index: usize) {
        let Some(post) = self.posts.get_mut(index) else { return };
        let Some(record) = post.awaiting.take() else { return };
        if let Some(record) = record {
            self.ledger.confirmed(now, &post.id, record);
        }
        self.drive(now, index, Event::Confirmed, None);
        self.drop_if_due(now, index);
    }

    /// Gives a value to bluetoothd, which sends it. Returns whether there was a link to carry it.
    fn on_air(&mut self, index: usize, characteristic: Uuid16, value: Vec<u8>, record: Option<RecordId>) -> bool {
        let Some(post) = self.posts.get(index).filter(|post| post.is_linked()) else {
            return false;
        };
        let Some(path) = post.characteristic_path(characteristic) else {
            return false;
        };
        if let Some(record) = record {
            let part = if characteristic == uuid16::GLUCOSE_CONTEXT {
                Part::Context
            } else {
                Part::Measurement
            };
            let heard = post.notifying.contains(&characteristic);
            self.ledger.sent(&post.id, record, part, &value, heard);
        }
        let changed = HashMap::from([("Value", Variant::from(value))]);
        self.emit(&path, (CHARACTERISTIC, changed, Vec::<&str>::new()));
        true
    }

    fn emit(&mut self, path: &str, body: (&str, HashMap<&str, Variant<'_>>, Vec<&str>)) {
        let signal = Message::signal(path, PROPERTIES, "PropertiesChanged")
            .build(&body)
            .expect("paths, names and values of the simulator's own making are valid");
        self.outgoing.push(signal);
    }

    fn fate(&mut self, index: usize, record: RecordId, fate: Fate) {
        if let Some(post) = self.posts.get(index) {
            self.ledger.fate(&post.id, record, fate);
        }
    }

    /// Counts down to a link loss that was ordered.
    fn drop_if_due(&mut self, now: SimTime, index: usize) {
        let Some(left) = self.posts.get_mut(index).and_then(|post| post.drop_after.as_mut()) else {
            return;
        };
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.drop_link(now, index);
        }
    }

    /// Calls bluetoothd. Returns whether the call was made; without bluetoothd, or with too many calls unanswered, it
    /// is not.
    pub(crate) fn ask<B>(&mut self, path: &str, interface: &str, member: &str, body: &B, pending: Pending) -> bool
    where
        B: serde::Serialize + zbus::wire::DynamicType,
    {
        if self.bluez.is_none() || self.pending.len() >= MAX_PENDING {
            return false;
        }
        let call = Message::method_call(path, member)
            .destination(BLUEZ)
            .interface(interface)
            .build(body);
        match call {
            Ok(call) => {
                self.pending.insert(call.primary_header().serial_num(), pending);
                self.outgoing.push(call);
                true
            }
            Err(error) => {
                tracing::error!(error = %error, member, "a call to bluetoothd cannot be encoded");
                false
            }
        }
    }

    pub(crate) fn reply<B>(&mut self, call: &Message, body: &B)
    where
        B: serde::Serialize + zbus::wire::DynamicType,
    {
        if call.primary_header().flags().contains(Flags::NO_REPLY_EXPECTED) {
            return;
        }
        match Message::method_return(&call.header()).build(body) {
            Ok(reply) => self.outgoing.push(reply),
            Err(error) => tracing::error!(error = %error, "an answer to bluetoothd cannot be encoded"),
        }
    }

    pub(crate) fn reply_error(&mut self, call: &Message, error: &CallError) {
        self.counters.bus_errors += 1;
        if call.primary_header().flags().contains(Flags::NO_REPLY_EXPECTED) {
            return;
        }
        let reply = Message::error(&call.header(), error.name)
            .build(&error.message)
            .expect("error names are constants and a text always encodes");
        self.outgoing.push(reply);
    }

    /// The interface that the agent's calls come to.
    pub(crate) fn is_agent(path: &str, interface: &str) -> bool {
        path == AGENT && interface == AGENT_INTERFACE
    }
}
