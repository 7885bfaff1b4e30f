//! The capture task: between a meter's value and the disk there is nothing else.
//!
//! It takes whatever has come since its last commit and commits it together, so that a fast meter costs one flush for
//! many records. Packets of personal meters are written down as they are. Packets of shared meters are looked at first,
//! because most of them may not be written down (see [`crate::attribute`]).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use carepost_daemon::{CancellationToken, Clock, Entropy};
use carepost_domain::meter::{Meter, MeterRole};
use carepost_gatt::blood_pressure::Feature;
use carepost_gatt::uuid16;
use chrono::{DateTime, Utc};
use tokio::sync::{mpsc, oneshot};

use crate::admit::{chain, offered};
use crate::attribute::{Heard, Shared, SharedFacts, consenting_link, shared};
use crate::board::Board;
use crate::clock_trust::ClockTrust;
use crate::sitting::{Desk, ReadingState, SittingFacts};
use crate::spool::{
    Capture, Captured, Counter, Disposition, LinkClock, LinkEnd, LinkId, Look, Looks, NewPacket, SAME_READING_WITHIN,
    Spool, SpoolError, SpoolRow, record_number,
};

/// Messages that wait for a commit. A full queue holds the link back; the bus keeps what comes meanwhile, where a value takes up
/// much more, and so most of a meter's memory finds room here.
pub(crate) const QUEUE: usize = 4_096;
/// Messages that one commit takes, with a page of settlements as long ([`PENDING_PAGE`](crate::spool::PENDING_PAGE)).
const BATCH: usize = 1_024;
/// Packets of one link by which repeated ones are recognised without the spool.
const REMEMBERED: usize = 64;
/// Packets of one link that wait in memory for the meter's clock. Reading that takes a few seconds at most, and no cuff
/// sends so many in them; beyond, packets are looked at as if the meter had no clock.
const MAX_WAITING: usize = 256;
/// Contexts of one link that wait in memory for their measurement: some meters send it behind them. A program that ends
/// meanwhile asks for both again.
const MAX_EARLY: usize = 1_024;
/// Pause before a commit that failed for want of space is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What a link tells the capture task, in order.
#[derive(Debug)]
pub(crate) enum Message {
    /// A link stands.
    Opened {
        link: LinkId,
        meter: Arc<Meter>,
        /// When it cannot have stood yet, by the monotonic clock.
        not_before: Duration,
        /// When it did.
        stood: Duration,
    },
    /// What is known of the meter's clock is decided, once for each link; and what was seen of it before, and what the meter
    /// declares.
    Clock {
        link: LinkId,
        clock: LinkClock,
        last: Option<Look>,
        feature: Option<Feature>,
    },
    /// A value came.
    Packet {
        link: LinkId,
        characteristic: u16,
        raw: Vec<u8>,
        received_at: DateTime<Utc>,
        /// The same instant by the monotonic clock.
        heard: Duration,
    },
    /// Answered when everything before is durable, but for contexts that wait for their measurement.
    Flush { done: oneshot::Sender<()> },
    /// A link is over; answered when that is durable too.
    Closed {
        link: LinkId,
        end: LinkEnd,
        done: oneshot::Sender<()>,
    },
}

/// Everything that capture uses.
#[derive(Debug)]
pub(crate) struct CaptureTask {
    pub(crate) spool: Spool,
    pub(crate) desk: Desk,
    pub(crate) clock: Clock,
    pub(crate) nonces: Nonces,
    pub(crate) trust: ClockTrust,
    pub(crate) board: Board,
    pub(crate) links: HashMap<LinkId, LinkMemory>,
}

/// Random numbers for packets. The operating system is asked for many at once: a call for each packet was more than a hundredth
/// of the gateway's time.
#[derive(Debug)]
pub(crate) struct Nonces {
    entropy: Entropy,
    drawn: Vec<[u8; 8]>,
}

impl Nonces {
    pub(crate) fn new(entropy: Entropy) -> Self {
        Self {
            entropy,
            drawn: Vec::new(),
        }
    }

    fn draw(&mut self) -> u64 {
        loop {
            if let Some(bytes) = self.drawn.pop() {
                return u64::from_be_bytes(bytes);
            }
            self.drawn.extend_from_slice(self.entropy.bytes::<512>().as_chunks().0);
        }
    }
}

/// What is remembered of an open link.
#[derive(Debug)]
pub(crate) struct LinkMemory {
    meter: Arc<Meter>,
    not_before: Duration,
    stood: Duration,
    /// The gateway's clock was believed when it was opened.
    clock_trusted: bool,
    looks: Looks,
    feature: Option<Feature>,
    /// Packets that came before the meter's clock was known; of shared meters only.
    waiting: Vec<Waiting>,
    /// Different records so far; of shared meters only.
    records: u32,
    recent: VecDeque<(u16, Vec<u8>, DateTime<Utc>)>,
    /// To be shown if nothing else comes.
    held: Option<(NewPacket, Shared)>,
    /// Glucose contexts whose measurement has not come, with its number; of personal meters only, for what came before
    /// them on a shared one may not have been kept.
    early: VecDeque<(u16, NewPacket)>,
    /// Contexts that are not waited for any more.
    orphaned: u64,
}

/// A shared meter's packet that waits for the meter's clock.
#[derive(Debug)]
struct Waiting {
    packet: NewPacket,
    heard: Duration,
    first_on_link: bool,
    /// It is written down already, because a consenting member's link brought it.
    row: Option<SpoolRow>,
}

/// What the desk is told after the commit.
enum Notice {
    /// This waiting packet was written down.
    Wrote {
        item: usize,
        link: LinkId,
        waiting: usize,
    },
    Show {
        item: usize,
        sitting: carepost_domain::id::SittingId,
        heard: Heard,
    },
    Memory {
        shared: Shared,
        packet: NewPacket,
    },
}

impl CaptureTask {
    /// Runs until every link has gone and the queue is empty, or `hard` is cancelled while nothing can be written.
    ///
    /// # Errors
    /// When the spool's state is not known any more.
    pub(crate) async fn run(
        mut self,
        mut queue: mpsc::Receiver<Message>,
        hard: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut batch = Vec::with_capacity(BATCH);
        // `recv_many` is not raced against anything: the queue ends when the link task does.
        while queue.recv_many(&mut batch, BATCH).await > 0 {
            if !self.take(&mut batch, &hard).await? {
                tracing::error!("packets could not be written down before the stop");
                return Ok(());
            }
        }
        Ok(())
    }

    /// Takes messages in order. False if `hard` was cancelled before everything was durable.
    async fn take(&mut self, batch: &mut Vec<Message>, hard: &CancellationToken) -> Result<bool, SpoolError> {
        let mut items = Vec::new();
        let mut notices = Vec::new();
        let mut answers = Vec::new();
        for message in batch.drain(..) {
            match message {
                Message::Opened {
                    link,
                    meter,
                    not_before,
                    stood,
                } => {
                    let memory = LinkMemory {
                        meter,
                        not_before,
                        stood,
                        clock_trusted: self.trust.is_trusted(),
                        looks: Looks {
                            now: LinkClock::Pending,
                            last: None,
                        },
                        feature: None,
                        waiting: Vec::new(),
                        records: 0,
                        recent: VecDeque::new(),
                        held: None,
                        early: VecDeque::new(),
                        orphaned: 0,
                    };
                    self.links.insert(link, memory);
                }
                Message::Packet {
                    link,
                    characteristic,
                    raw,
                    received_at,
                    heard,
                } => {
                    let packet = self.new_packet(link, characteristic, raw, received_at);
                    if let Some(packet) = packet {
                        self.packet(packet, heard, &mut items, &mut notices);
                    }
                }
                Message::Clock {
                    link,
                    clock,
                    last,
                    feature,
                } => {
                    // What waits must know its rows.
                    if !self.commit(&mut items, &mut notices, hard).await? {
                        return Ok(false);
                    }
                    let looks = Looks { now: clock, last };
                    self.clock(link, looks, feature, &mut items, &mut notices);
                }
                Message::Flush { done } => answers.push(done),
                Message::Closed { link, end, done } => {
                    if !self.commit(&mut items, &mut notices, hard).await? {
                        return Ok(false);
                    }
                    let unknown = Looks {
                        now: LinkClock::Unknown,
                        last: None,
                    };
                    self.clock(link, unknown, None, &mut items, &mut notices);
                    if !self.commit(&mut items, &mut notices, hard).await? {
                        return Ok(false);
                    }
                    self.close(link, end, hard).await?;
                    answers.push(done);
                }
            }
        }
        if !self.commit(&mut items, &mut notices, hard).await? {
            return Ok(false);
        }
        for answer in answers {
            // A link that does not wait any more has given up by its own deadline.
            answer.send(()).ok();
        }
        Ok(true)
    }

    fn new_packet(
        &mut self,
        link: LinkId,
        characteristic: u16,
        raw: Vec<u8>,
        received_at: DateTime<Utc>,
    ) -> Option<NewPacket> {
        Some(NewPacket {
            link,
            meter: self.links.get(&link)?.meter.id,
            characteristic,
            raw,
            received_at,
            clock_trusted: self.trust.is_trusted(),
            sitting: None,
            nonce: self.nonces.draw(),
        })
    }

    fn packet(&mut self, mut packet: NewPacket, heard: Duration, items: &mut Vec<Capture>, notices: &mut Vec<Notice>) {
        let Some(memory) = self.links.get_mut(&packet.link) else {
            return;
        };
        let link = packet.link;
        let copy = self.spool.down();
        if memory.meter.role == MeterRole::Personal {
            // The owners may have withdrawn since the link was opened: then nothing more is written down.
            items.push(if copy.may_read(&memory.meter, self.clock.now()) {
                Capture::Keep(packet)
            } else {
                memory.forget_early();
                Capture::Count {
                    link,
                    counter: Some(Counter::NoConsent),
                }
            });
            return;
        }
        // A context is nothing without its measurement's row; the spool finds it.
        if packet.characteristic == uuid16::GLUCOSE_CONTEXT {
            // One that cannot be read would join whatever was kept last, which may be another person's.
            items.push(match record_number(&packet) {
                Some(_) => Capture::Join(packet),
                None => Capture::Orphaned { contexts: 1 },
            });
            return;
        }
        if memory.repeats(&packet) {
            return;
        }
        let Some(zone) = copy.zone() else { return };
        let sittings = self.desk.sittings();
        let facts = SharedFacts {
            sittings: &sittings,
            copy: &copy,
            zone,
            opened: memory.not_before,
            heard,
            looks: memory.looks,
            feature: memory.feature,
            first_on_link: memory.records == 0,
            now: self.clock.now(),
        };
        memory.records = memory.records.saturating_add(1);
        if memory.looks.now != LinkClock::Pending || memory.waiting.len() >= MAX_WAITING {
            memory.place(packet, None, facts, items, notices);
            return;
        }
        let first_on_link = facts.first_on_link;
        if let Some(sitting) = consenting_link(&packet, facts) {
            packet.sitting = Some(sitting);
            notices.push(Notice::Wrote {
                item: items.len(),
                link,
                waiting: memory.waiting.len(),
            });
            items.push(Capture::KeepForNow(packet.clone()));
        }
        memory.waiting.push(Waiting {
            packet,
            heard,
            first_on_link,
            row: None,
        });
    }

    /// Takes the last word on the clock of a link, and looks at what waited for it. Only the first word counts.
    fn clock(
        &mut self,
        link: LinkId,
        looks: Looks,
        feature: Option<Feature>,
        items: &mut Vec<Capture>,
        notices: &mut Vec<Notice>,
    ) {
        let Some(memory) = self.links.get_mut(&link) else {
            return;
        };
        if memory.looks.now != LinkClock::Pending {
            return;
        }
        memory.looks = looks;
        memory.feature = feature;
        let now = self.clock.now();
        items.push(Capture::Clock {
            link,
            clock: looks.now,
            feature,
        });
        let copy = self.spool.down();
        // A shared meter's packets wait only where there is a zone.
        let Some(zone) = copy.zone() else { return };
        let sittings = self.desk.sittings();
        for waiting in std::mem::take(&mut memory.waiting) {
            let facts = SharedFacts {
                sittings: &sittings,
                copy: &copy,
                zone,
                opened: memory.not_before,
                heard: waiting.heard,
                looks,
                feature,
                first_on_link: waiting.first_on_link,
                now,
            };
            memory.place(waiting.packet, waiting.row, facts, items, notices);
        }
    }

    /// Makes the items durable and then tells the desk. False if `hard` was cancelled first.
    async fn commit(
        &mut self,
        items: &mut Vec<Capture>,
        notices: &mut Vec<Notice>,
        hard: &CancellationToken,
    ) -> Result<bool, SpoolError> {
        if items.is_empty() {
            return Ok(true);
        }
        // In front of their measurements, as they came.
        let mut all: Vec<Capture> = items.iter().filter_map(|item| self.early_of(item)).collect();
        let early = all.len();
        all.append(items);
        let captured = loop {
            match self.spool.capture(&all).await {
                Ok(captured) => break captured,
                Err(error) if error.disposition() == Disposition::Retry => {
                    if !self.board.capture_stalled() {
                        tracing::error!(
                            error = chain(&error),
                            "packets cannot be written down; trying again until they can"
                        );
                        self.board.set_capture_stalled(true);
                    }
                    tokio::select! {
                        () = tokio::time::sleep(RETRY) => {}
                        () = hard.cancelled() => return Ok(false),
                    }
                }
                Err(error) => return Err(error),
            }
        };
        if self.board.capture_stalled() {
            tracing::info!("packets can be written down again");
            self.board.set_capture_stalled(false);
        }
        for (item, what) in all.into_iter().zip(&captured) {
            if let (Capture::Keep(context) | Capture::Join(context), Captured::Orphaned) = (item, what)
                && let Some(memory) = self.links.get_mut(&context.link)
            {
                memory.remember_early(context);
            }
        }
        let captured = captured.get(early..).unwrap_or_default();
        for notice in notices.drain(..) {
            match notice {
                Notice::Wrote { item, link, waiting } => {
                    let waiting = self
                        .links
                        .get_mut(&link)
                        .and_then(|memory| memory.waiting.get_mut(waiting));
                    if let (Some(waiting), Some(Captured::Spooled(row))) = (waiting, captured.get(item)) {
                        waiting.row = Some(*row);
                    }
                }
                Notice::Show { item, sitting, heard } => {
                    // One that joined another is shown already.
                    if let Some(Captured::Spooled(_) | Captured::Seated(_)) = captured.get(item) {
                        self.desk.show_new(sitting, offered(heard, ReadingState::Arrived));
                    }
                }
                // What the person has asked to keep meanwhile goes with the next commit.
                Notice::Memory { shared, packet } => {
                    items.extend(self.show_from_memory(shared, packet).map(Capture::Keep));
                }
            }
        }
        if items.is_empty() {
            return Ok(true);
        }
        Box::pin(self.commit(items, notices, hard)).await
    }

    /// The context that came before this measurement, if one did.
    fn early_of(&mut self, item: &Capture) -> Option<Capture> {
        let (Capture::Keep(packet) | Capture::KeepForNow(packet)) = item else {
            return None;
        };
        if packet.characteristic != uuid16::GLUCOSE_MEASUREMENT {
            return None;
        }
        let early = &mut self.links.get_mut(&packet.link)?.early;
        if early.is_empty() {
            return None;
        }
        let number = record_number(packet)?;
        let place = early.iter().position(|(of, _)| *of == number)?;
        early.remove(place).map(|(_, context)| Capture::Keep(context))
    }

    /// Shows what is kept nowhere. A packet that comes back is to be kept after all.
    fn show_from_memory(&self, shared: Shared, mut packet: NewPacket) -> Option<NewPacket> {
        match shared {
            Shared::Anonymous { sitting, heard } => {
                let state = heard
                    .record
                    .judged
                    .as_ref()
                    .map_or_else(|reason| ReadingState::Unusable(*reason), |_| ReadingState::NotKept);
                self.desk.show(sitting, offered(heard, state));
                None
            }
            Shared::NoConsent { sitting, heard } => {
                packet.sitting = Some(sitting);
                let to_keep = self.desk.remember_unkept(sitting, packet);
                self.desk.show(sitting, offered(heard, ReadingState::NoConsent));
                to_keep
            }
            Shared::Keep { .. } | Shared::AtLinkEnd(_) | Shared::Outside | Shared::Undecodable => None,
        }
    }

    async fn close(&mut self, link: LinkId, end: LinkEnd, hard: &CancellationToken) -> Result<(), SpoolError> {
        let mut clock_trusted = false;
        if let Some(mut memory) = self.links.remove(&link) {
            clock_trusted = memory.clock_trusted && self.trust.is_trusted();
            let mut items = Vec::new();
            memory.forget_early();
            if memory.orphaned > 0 {
                let contexts = memory.orphaned;
                items.push(Capture::Orphaned { contexts });
            }
            if let Some((packet, shared)) = memory.held
                && memory.records == 1
                && end == LinkEnd::Clean
            {
                items.extend(self.show_from_memory(shared, packet).map(Capture::Keep));
            }
            if !self.commit(&mut items, &mut Vec::new(), hard).await? {
                return Ok(());
            }
        }
        loop {
            match self.spool.close_link(link, end, self.clock.now(), clock_trusted).await {
                Err(error) if error.disposition() == Disposition::Retry => {
                    tokio::select! {
                        () = tokio::time::sleep(RETRY) => {}
                        // The next start finds the link open and notes a possible gap, which is the truth.
                        () = hard.cancelled() => return Ok(()),
                    }
                }
                other => return other,
            }
        }
    }
}

impl LinkMemory {
    /// Keeps a context without a measurement for when that comes. One that cannot be read names none.
    fn remember_early(&mut self, context: NewPacket) {
        let number = record_number(&context).filter(|_| self.meter.role == MeterRole::Personal);
        let Some(number) = number else {
            self.orphaned = self.orphaned.saturating_add(1);
            return;
        };
        let again = |(of, known): &(u16, NewPacket)| *of == number && known.raw == context.raw;
        if self.early.iter().any(again) {
            return;
        }
        self.early.push_back((number, context));
        if self.early.len() > MAX_EARLY {
            self.early.pop_front();
            self.orphaned = self.orphaned.saturating_add(1);
        }
    }

    /// Gives the contexts up that wait.
    fn forget_early(&mut self) {
        let many = u64::try_from(self.early.len()).unwrap_or(u64::MAX);
        self.early.clear();
        self.orphaned = self.orphaned.saturating_add(many);
    }

    /// Says what becomes of a shared meter's packet, once the meter's clock is known or known to be unknown. `row` is where
    /// it is written down already.
    fn place(
        &mut self,
        mut packet: NewPacket,
        row: Option<SpoolRow>,
        facts: SharedFacts<'_>,
        items: &mut Vec<Capture>,
        notices: &mut Vec<Notice>,
    ) {
        let link = packet.link;
        let decided = shared_by_any_start(&packet, facts, self.stood);
        // The spool counts a row on its link by itself.
        let dropped = |counter| match row {
            Some(row) => Capture::Discard { row, counter },
            None => Capture::Count { link, counter },
        };
        match decided {
            Shared::Keep { sitting, heard } => {
                packet.sitting = Some(sitting);
                if let Some(heard) = heard {
                    notices.push(Notice::Show {
                        item: items.len(),
                        sitting,
                        heard,
                    });
                }
                items.push(match row {
                    Some(row) => Capture::Seat { row, sitting },
                    None => Capture::Keep(packet),
                });
            }
            Shared::Outside => items.push(dropped(Some(Counter::OutsideSitting))),
            Shared::Undecodable => items.push(dropped(Some(Counter::UndecodableForgotten))),
            Shared::AtLinkEnd(later) => {
                items.push(dropped(None));
                packet.sitting = None;
                self.held = Some((packet, *later));
            }
            now @ (Shared::Anonymous { .. } | Shared::NoConsent { .. }) => {
                items.push(dropped(None));
                packet.sitting = None;
                notices.push(Notice::Memory { shared: now, packet });
            }
        }
    }

    /// Whether equal bytes came on this link within the last 60 s; if not, remembers them. In memory, because packets of
    /// anonymous sittings are nowhere else.
    fn repeats(&mut self, packet: &NewPacket) -> bool {
        let same = |(characteristic, raw, at): &(u16, Vec<u8>, DateTime<Utc>)| {
            *characteristic == packet.characteristic
                && *raw == packet.raw
                && packet.received_at - *at <= SAME_READING_WITHIN
        };
        if self.recent.iter().any(same) {
            return true;
        }
        if self.recent.len() >= REMEMBERED {
            self.recent.pop_front();
        }
        self.recent
            .push_back((packet.characteristic, packet.raw.clone(), packet.received_at));
        false
    }
}

/// Decides about a shared meter's packet, if it is the same whenever between two instants its link stood first: by the
/// earlier one nobody is taken for the person at the meter who came while the link was being made, and by the later one
/// nobody is overlooked who did. `facts` are of the earlier.
fn shared_by_any_start(packet: &NewPacket, facts: SharedFacts<'_>, stood: Duration) -> Shared {
    let decided = shared(packet, facts);
    let came_meanwhile = |sitting: &SittingFacts| {
        let identified = sitting.here.map(|here| here.identified);
        identified.is_some_and(|at| facts.opened < at && at <= stood)
    };
    if !facts.sittings.iter().any(came_meanwhile) {
        return decided;
    }
    let later = SharedFacts { opened: stood, ..facts };
    match decided {
        Shared::Undecodable => Shared::Undecodable,
        decided if decided == shared(packet, later) => decided,
        _ => Shared::Outside,
    }
}

#[cfg(test)]
mod tests;
