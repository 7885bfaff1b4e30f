//! The kiosk's desk: who sits there, what they may see, and when it is wiped.
//!
//! A member's sitting is written to the spool, because a shared meter may send a record after a restart. An anonymous
//! one lives in this module's memory only, with everything that was measured in it.

mod types;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use carepost_daemon::{Clock, Entropy};
use carepost_domain::attribution::Sitting;
use carepost_domain::id::{MemberId, MeterId, ReadingId, SittingId};
use carepost_domain::meter::MeterKind;
use carepost_domain::{Id, Phi};
use chrono::SubsecRound as _;
use tokio::sync::broadcast;

use crate::clock_trust::ClockTrust;
use crate::config::Kiosk;
use crate::spool::{Capture, KeptSitting, LinkPin, NewPacket, ReceiptSummary, Spool, SpoolError};

pub use self::types::{BeginError, DeskError, EndedBecause, KioskEvent, ReadingState, ShownReading, SittingView, Who};
pub(crate) use self::types::{Here, Offered, SittingFacts};

/// Notices that wait for a slow reader; what it misses it finds in [`Desk::current`].
pub const EVENTS: usize = 64;
/// Readings that one sitting shows; the oldest go first.
pub const MAX_SHOWN: usize = 32;
/// Packets without consent that wait in memory for "keep until I confirm".
const MAX_UNKEPT: usize = 32;
/// How often the spool is told that a sitting goes on.
const WRITTEN_EVERY: Duration = Duration::from_secs(5);
/// Sittings of which the desk knows when they were. With a sitting every five minutes, more than a week.
const MAX_PAST: usize = 4_096;

/// The desk. Cloning is cheap; clones share it.
#[derive(Clone, Debug)]
pub struct Desk {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    spool: Spool,
    clock: Clock,
    entropy: Entropy,
    trust: ClockTrust,
    idle: Duration,
    longest: Duration,
    state: Mutex<State>,
    /// Begins, ends and seals one at a time, with their writing to the spool.
    changing: tokio::sync::Mutex<()>,
    events: broadcast::Sender<KioskEvent>,
}

#[derive(Debug, Default)]
struct State {
    current: Option<Current>,
    past: VecDeque<SittingFacts>,
    connected: HashMap<MeterId, Connected>,
}

#[derive(Debug)]
struct Current {
    facts: SittingFacts,
    started: Duration,
    last_activity: Duration,
    last_written: Duration,
    next_number: u32,
    readings: VecDeque<(ReadingId, ShownReading)>,
    unkept: Vec<Unkept>,
}

/// A packet that consent does not permit, with the link that it would refer to in the spool.
#[derive(Debug)]
struct Unkept {
    packet: NewPacket,
    _pin: LinkPin,
}

#[derive(Debug, Clone, Copy)]
struct Connected {
    kind: MeterKind,
    /// It was connected at some time of a sitting that is over.
    belongs_to_past: bool,
    /// It was connected at some time of the current sitting.
    in_current: bool,
}

impl Current {
    fn add(&mut self, offered: Offered) -> u32 {
        let number = self.next_number;
        self.next_number = number.saturating_add(1);
        self.readings.push_back((offered.reading, as_shown(offered, number)));
        if self.readings.len() > MAX_SHOWN {
            self.readings.pop_front();
        }
        number
    }
}

fn as_shown(offered: Offered, number: u32) -> ShownReading {
    ShownReading {
        number,
        measured_at: offered.measured_at,
        measurement: offered.measurement.map(Phi::new),
        flags: offered.flags,
        slot: offered.slot,
        state: offered.state,
    }
}

impl Desk {
    /// A desk at which nobody sits, with the members' sittings that the spool remembers.
    ///
    /// # Errors
    /// When the spool fails.
    pub async fn open(
        spool: Spool,
        clock: Clock,
        entropy: Entropy,
        trust: ClockTrust,
        settings: &Kiosk,
    ) -> Result<Self, SpoolError> {
        let kept = spool.sittings().await?;
        let past = kept
            .into_iter()
            .map(|kept| SittingFacts {
                sitting: kept.as_sitting(),
                identified_at: kept.identified_at,
                keep_sealed: kept.keep_sealed,
                clock_trusted: kept.clock_trusted,
                here: None,
            })
            .collect();
        Ok(Self {
            inner: Arc::new(Inner {
                spool,
                clock,
                entropy,
                trust,
                idle: Duration::from_millis(settings.idle_ms),
                longest: Duration::from_millis(settings.longest_ms),
                state: Mutex::new(State {
                    past,
                    ..State::default()
                }),
                changing: tokio::sync::Mutex::new(()),
                events: broadcast::channel(EVENTS).0,
            }),
        })
    }

    /// What happens from now on. A reader that is told that it lagged reads [`Desk::current`] and goes on.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<KioskEvent> {
        self.inner.events.subscribe()
    }

    /// Begins a sitting.
    ///
    /// # Errors
    /// See [`BeginError`].
    pub async fn begin(&self, who: &Who) -> Result<SittingView, BeginError> {
        let _changing = self.inner.changing.lock().await;
        let copy = self.inner.spool.down();
        let member = match who {
            Who::Anonymous => None,
            Who::Member(code) => Some(copy.member_by_code(code).ok_or(BeginError::UnknownCode)?.id),
        };
        {
            let state = self.state();
            if state.current.is_some() {
                return Err(BeginError::Occupied);
            }
            if state.connected.values().any(|connected| connected.belongs_to_past) {
                return Err(BeginError::MeterConnected);
            }
        }
        let now = self.inner.clock.now();
        let monotonic = self.inner.clock.monotonic();
        let clock_trusted = self.inner.trust.is_trusted();
        let id: SittingId = Id::mint(now, self.inner.entropy.bytes());
        // Meters' clocks show whole seconds: one that was started at once shows the second in which the person came.
        let began = now.trunc_subsecs(0);
        if let Some(member) = member {
            let kept = KeptSitting {
                id,
                member,
                began_at: began,
                identified_at: now,
                ended_at: None,
                keep_sealed: false,
                clock_trusted,
            };
            self.inner.spool.begin_sitting(&kept).await?;
        }
        {
            let mut state = self.state();
            for connected in state.connected.values_mut() {
                connected.in_current = true;
            }
            state.current = Some(Current {
                facts: SittingFacts {
                    sitting: Sitting {
                        id,
                        member,
                        began,
                        ended: None,
                    },
                    identified_at: now,
                    keep_sealed: false,
                    clock_trusted,
                    here: Some(Here {
                        identified: monotonic,
                        ended: None,
                    }),
                },
                started: monotonic,
                last_activity: monotonic,
                last_written: monotonic,
                next_number: 1,
                readings: VecDeque::new(),
                unkept: Vec::new(),
            });
        }
        self.tell(KioskEvent::Began { sitting: id });
        self.current().ok_or(BeginError::Occupied)
    }

    /// Ends a sitting and wipes it. Ending one that is over changes nothing.
    ///
    /// # Errors
    /// When the spool fails; the sitting is wiped all the same.
    pub async fn end(&self, sitting: SittingId) -> Result<(), SpoolError> {
        self.end_because(sitting, EndedBecause::Asked).await
    }

    async fn end_because(&self, sitting: SittingId, because: EndedBecause) -> Result<(), SpoolError> {
        let _changing = self.inner.changing.lock().await;
        let now = self.inner.clock.now();
        let monotonic = self.inner.clock.monotonic();
        let member = {
            let mut state = self.state();
            let State {
                current,
                past,
                connected,
            } = &mut *state;
            let Some(ended) = current.take_if(|current| current.facts.sitting.id == sitting) else {
                return Ok(());
            };
            for connected in connected.values_mut() {
                connected.belongs_to_past |= connected.in_current;
                connected.in_current = false;
            }
            let mut facts = ended.facts;
            let member = facts.sitting.member;
            facts.sitting.ended = Some(now.max(facts.sitting.began));
            if let Some(here) = &mut facts.here {
                here.ended = Some(monotonic);
            }
            past.push_back(facts);
            if past.len() > MAX_PAST {
                past.pop_front();
            }
            member
        };
        self.tell(KioskEvent::Ended { sitting, because });
        match member {
            Some(_) => self.inner.spool.end_sitting(sitting, now).await,
            None => Ok(()),
        }
    }

    /// The current sitting as it is to be shown.
    #[must_use]
    pub fn current(&self) -> Option<SittingView> {
        let copy = self.inner.spool.down();
        let now = self.inner.clock.now();
        let state = self.state();
        let current = state.current.as_ref()?;
        let member = current.facts.sitting.member;
        Some(SittingView {
            sitting: current.facts.sitting.id,
            member,
            masked_name: member
                .and_then(|member| copy.member(member))
                .map(|member| member.masked_name.clone()),
            consents: member.is_some_and(|member| copy.consents(member, now)),
            keep_sealed: current.facts.keep_sealed,
            began: current.facts.identified_at,
            connected: state.connected.values().map(|connected| connected.kind).collect(),
            readings: current.readings.iter().map(|(_, shown)| shown.clone()).collect(),
        })
    }

    /// Notes that the person did something, so that the sitting is not ended for idleness.
    pub fn touch(&self, sitting: SittingId) {
        let monotonic = self.inner.clock.monotonic();
        if let Some(current) = self
            .state()
            .current
            .as_mut()
            .filter(|current| current.facts.sitting.id == sitting)
        {
            current.last_activity = monotonic;
        }
    }

    /// "Keep until I confirm": readings of this sitting that consent does not permit are sealed for 72 hours instead of
    /// being forgotten, those already shown included.
    ///
    /// # Errors
    /// When the sitting is over or anonymous, or the spool fails.
    pub async fn keep_until_confirmed(&self, sitting: SittingId) -> Result<(), DeskError> {
        let _changing = self.inner.changing.lock().await;
        {
            let state = self.state();
            let current = state
                .current
                .as_ref()
                .filter(|current| current.facts.sitting.id == sitting)
                .ok_or(DeskError::Over)?;
            current.facts.sitting.member.ok_or(DeskError::Anonymous)?;
        }
        self.inner.spool.seal_sitting(sitting, self.inner.clock.now()).await?;
        let packets: Vec<Capture> = {
            let mut state = self.state();
            let current = state
                .current
                .as_mut()
                .filter(|current| current.facts.sitting.id == sitting)
                .ok_or(DeskError::Over)?;
            // From here on nothing is added to them.
            current.facts.keep_sealed = true;
            let packets = current.unkept.iter().map(|unkept| unkept.packet.clone());
            packets.map(Capture::Keep).collect()
        };
        if !packets.is_empty() {
            // A full disk leaves them where they are, for whoever asks again; that costs no copy, for equal bytes on one
            // link are one reading.
            self.inner.spool.capture(&packets).await?;
        }
        if let Some(current) = self
            .state()
            .current
            .as_mut()
            .filter(|current| current.facts.sitting.id == sitting)
        {
            current.unkept.clear();
        }
        Ok(())
    }

    /// Shows what a receipt did to readings of the current sitting.
    pub fn note_receipt(&self, summary: &ReceiptSummary) {
        for reading in &summary.delivered {
            self.set_state(*reading, ReadingState::Sent);
        }
        for reading in &summary.refused {
            self.set_state(*reading, ReadingState::NoConsent);
        }
        for (reading, reason) in &summary.quarantined {
            self.set_state(*reading, ReadingState::Unusable(*reason));
        }
    }

    /// Ends a sitting whose time is over, and notes in the spool that one goes on. To be called every few seconds.
    ///
    /// # Errors
    /// When the spool fails.
    pub async fn tick(&self) -> Result<(), SpoolError> {
        let monotonic = self.inner.clock.monotonic();
        let (sitting, member, over) = {
            let mut state = self.state();
            let Some(current) = &mut state.current else {
                return Ok(());
            };
            let over = if monotonic.saturating_sub(current.started) >= self.inner.longest {
                Some(EndedBecause::TooLong)
            } else if monotonic.saturating_sub(current.last_activity) >= self.inner.idle {
                Some(EndedBecause::Idle)
            } else {
                None
            };
            let write = monotonic.saturating_sub(current.last_written) >= WRITTEN_EVERY;
            if write {
                current.last_written = monotonic;
            }
            (
                current.facts.sitting.id,
                current.facts.sitting.member.filter(|_| write),
                over,
            )
        };
        match (over, member) {
            (Some(because), _) => self.end_because(sitting, because).await,
            (None, Some(_)) => self.inner.spool.touch_sitting(sitting, self.inner.clock.now()).await,
            (None, None) => Ok(()),
        }
    }

    /// Every sitting that attribution may consider.
    pub(crate) fn sittings(&self) -> Vec<SittingFacts> {
        let state = self.state();
        state
            .past
            .iter()
            .cloned()
            .chain(state.current.as_ref().map(|current| current.facts.clone()))
            .collect()
    }

    pub(crate) fn meter_connected(&self, meter: MeterId, kind: MeterKind) {
        {
            let mut state = self.state();
            let in_current = state.current.is_some();
            state.connected.insert(
                meter,
                Connected {
                    kind,
                    belongs_to_past: false,
                    in_current,
                },
            );
        }
        self.tell(KioskEvent::MeterConnected { kind });
    }

    pub(crate) fn meter_disconnected(&self, meter: MeterId) {
        let removed = self.state().connected.remove(&meter);
        if let Some(connected) = removed {
            self.tell(KioskEvent::MeterDisconnected { kind: connected.kind });
        }
    }

    /// Shows a reading that is not shown yet: whoever settled it may have been faster than who heard it.
    pub(crate) fn show_new(&self, sitting: SittingId, offered: Offered) {
        self.place(sitting, offered, false);
    }

    /// Shows a reading in its sitting, if that goes on, in the place of what was shown of it before.
    pub(crate) fn show(&self, sitting: SittingId, offered: Offered) {
        self.place(sitting, offered, true);
    }

    fn place(&self, sitting: SittingId, offered: Offered, renew: bool) {
        let monotonic = self.inner.clock.monotonic();
        let number = {
            let mut state = self.state();
            let Some(current) = state
                .current
                .as_mut()
                .filter(|current| current.facts.sitting.id == sitting)
            else {
                return;
            };
            current.last_activity = monotonic;
            match current
                .readings
                .iter_mut()
                .find(|(reading, _)| *reading == offered.reading)
            {
                Some(_) if !renew => return,
                // What came after it, such as a glucose record's context, may have made it a measurement.
                Some((_, earlier)) => {
                    let number = earlier.number;
                    *earlier = as_shown(offered, number);
                    number
                }
                None => current.add(offered),
            }
        };
        self.tell(KioskEvent::Reading { sitting, number });
    }

    /// Remembers a packet that consent does not permit, for as long as the sitting goes on. To be called while its link is
    /// open. The packet comes back if the person has asked meanwhile to keep it.
    pub(crate) fn remember_unkept(&self, sitting: SittingId, packet: NewPacket) -> Option<NewPacket> {
        let mut state = self.state();
        let current = state
            .current
            .as_mut()
            .filter(|current| current.facts.sitting.id == sitting)?;
        if current.facts.keep_sealed {
            return Some(packet);
        }
        if current.unkept.len() < MAX_UNKEPT {
            let pin = self.inner.spool.pin_link(packet.link);
            current.unkept.push(Unkept { packet, _pin: pin });
        }
        None
    }

    /// The current sitting of a member, for readings of the member's own meter.
    pub(crate) fn current_of(&self, member: MemberId) -> Option<SittingId> {
        let state = self.state();
        state
            .current
            .as_ref()
            .filter(|current| current.facts.sitting.member == Some(member))
            .map(|current| current.facts.sitting.id)
    }

    pub(crate) fn set_state(&self, reading: ReadingId, new: ReadingState) {
        let changed = {
            let mut state = self.state();
            let Some(current) = state.current.as_mut() else { return };
            let sitting = current.facts.sitting.id;
            current
                .readings
                .iter_mut()
                .find(|(id, _)| *id == reading)
                .map(|(_, shown)| {
                    shown.state = new;
                    (sitting, shown.number)
                })
        };
        if let Some((sitting, number)) = changed {
            self.tell(KioskEvent::Reading { sitting, number });
        }
    }

    fn tell(&self, event: KioskEvent) {
        // Nobody listening is the usual case.
        self.inner.events.send(event).ok();
    }

    /// Plain values that are always whole, so that a panic elsewhere cannot have left them half set. Never held over an
    /// await.
    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
