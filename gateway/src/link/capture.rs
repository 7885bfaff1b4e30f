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
use carepost_gatt::uuid16;
use chrono::{DateTime, Utc};
use tokio::sync::{mpsc, oneshot};

use crate::admit::{chain, offered};
use crate::attribute::{Heard, Shared, SharedFacts, shared};
use crate::board::Board;
use crate::clock_trust::ClockTrust;
use crate::sitting::{Desk, ReadingState};
use crate::spool::{
    Capture, Captured, Counter, Disposition, LinkEnd, LinkId, NewPacket, SAME_READING_WITHIN, Spool, SpoolError,
};

/// Messages that wait for a commit. A full queue holds the link back; the bus keeps what comes meanwhile.
pub(crate) const QUEUE: usize = 512;
/// Messages that one commit takes.
const BATCH: usize = 256;
/// Packets of one link by which repeated ones are recognised without the spool.
const REMEMBERED: usize = 64;
/// Pause before a commit that failed for want of space is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What a link tells the capture task, in order.
#[derive(Debug)]
pub(crate) enum Message {
    /// A link stands.
    Opened {
        link: LinkId,
        meter: Arc<Meter>,
        at: DateTime<Utc>,
    },
    /// A value came.
    Packet {
        link: LinkId,
        characteristic: u16,
        raw: Vec<u8>,
        received_at: DateTime<Utc>,
    },
    /// Answered when everything before is durable.
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
    pub(crate) entropy: Entropy,
    pub(crate) trust: ClockTrust,
    pub(crate) board: Board,
    pub(crate) links: HashMap<LinkId, LinkMemory>,
}

/// What is remembered of an open link.
#[derive(Debug)]
pub(crate) struct LinkMemory {
    meter: Arc<Meter>,
    opened_at: DateTime<Utc>,
    /// Different records so far; of shared meters only.
    records: u32,
    recent: VecDeque<(u16, Vec<u8>, DateTime<Utc>)>,
    /// To be shown if nothing else comes.
    held: Option<(NewPacket, Shared)>,
}

/// What the desk is told after the commit.
enum Notice {
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
                Message::Opened { link, meter, at } => {
                    let memory = LinkMemory {
                        meter,
                        opened_at: at,
                        records: 0,
                        recent: VecDeque::new(),
                        held: None,
                    };
                    self.links.insert(link, memory);
                }
                Message::Packet {
                    link,
                    characteristic,
                    raw,
                    received_at,
                } => {
                    self.packet(link, characteristic, raw, received_at, &mut items, &mut notices);
                }
                Message::Flush { done } => answers.push(done),
                Message::Closed { link, end, done } => {
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

    fn packet(
        &mut self,
        link: LinkId,
        characteristic: u16,
        raw: Vec<u8>,
        received_at: DateTime<Utc>,
        items: &mut Vec<Capture>,
        notices: &mut Vec<Notice>,
    ) {
        let Some(memory) = self.links.get_mut(&link) else {
            return;
        };
        let mut packet = NewPacket {
            link,
            meter: memory.meter.id,
            characteristic,
            raw,
            received_at,
            clock_trusted: self.trust.is_trusted(),
            sitting: None,
            nonce: u64::from_be_bytes(self.entropy.bytes()),
        };
        let copy = self.spool.down();
        if memory.meter.role == MeterRole::Personal {
            // The owners may have withdrawn since the link was opened: then nothing more is written down.
            items.push(if copy.may_read(&memory.meter, self.clock.now()) {
                Capture::Keep(packet)
            } else {
                Capture::Count {
                    link,
                    counter: Some(Counter::NoConsent),
                }
            });
            return;
        }
        // A context is nothing without its measurement's row; the spool finds it.
        if characteristic == uuid16::GLUCOSE_CONTEXT {
            items.push(Capture::Keep(packet));
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
            opened_at: memory.opened_at,
            first_on_link: memory.records == 0,
            now: self.clock.now(),
        };
        let decided = shared(&packet, facts);
        memory.records = memory.records.saturating_add(1);
        let counted = |counter| Capture::Count { link, counter };
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
                items.push(Capture::Keep(packet));
            }
            Shared::Outside => items.push(counted(Some(Counter::OutsideSitting))),
            Shared::Undecodable => items.push(counted(Some(Counter::UndecodableForgotten))),
            Shared::AtLinkEnd(later) => {
                items.push(counted(None));
                memory.held = Some((packet, *later));
            }
            now @ (Shared::Anonymous { .. } | Shared::NoConsent { .. }) => {
                items.push(counted(None));
                notices.push(Notice::Memory { shared: now, packet });
            }
        }
    }

    /// Makes the items durable and then tells the desk. False if `hard` was cancelled first.
    async fn commit(
        &self,
        items: &mut Vec<Capture>,
        notices: &mut Vec<Notice>,
        hard: &CancellationToken,
    ) -> Result<bool, SpoolError> {
        if items.is_empty() {
            return Ok(true);
        }
        let captured = loop {
            match self.spool.capture(items).await {
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
        items.clear();
        for notice in notices.drain(..) {
            match notice {
                Notice::Show { item, sitting, heard } => {
                    // One that joined another is shown already.
                    if let Some(Captured::Spooled(_)) = captured.get(item) {
                        self.desk.show_new(sitting, offered(heard, ReadingState::Arrived));
                    }
                }
                Notice::Memory { shared, packet } => self.show_from_memory(shared, packet),
            }
        }
        Ok(true)
    }

    fn show_from_memory(&self, shared: Shared, mut packet: NewPacket) {
        match shared {
            Shared::Anonymous { sitting, heard } => {
                let state = heard
                    .record
                    .judged
                    .as_ref()
                    .map_or_else(|reason| ReadingState::Unusable(*reason), |_| ReadingState::NotKept);
                self.desk.show(sitting, offered(heard, state));
            }
            Shared::NoConsent { sitting, heard } => {
                packet.sitting = Some(sitting);
                self.desk.remember_unkept(sitting, packet);
                self.desk.show(sitting, offered(heard, ReadingState::NoConsent));
            }
            Shared::Keep { .. } | Shared::AtLinkEnd(_) | Shared::Outside | Shared::Undecodable => {}
        }
    }

    async fn close(&mut self, link: LinkId, end: LinkEnd, hard: &CancellationToken) -> Result<(), SpoolError> {
        if let Some(memory) = self.links.remove(&link)
            && let Some((packet, shared)) = memory.held
            && memory.records == 1
            && end == LinkEnd::Clean
        {
            self.show_from_memory(shared, packet);
        }
        loop {
            match self.spool.close_link(link, end, self.clock.now()).await {
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

#[cfg(test)]
mod tests;
