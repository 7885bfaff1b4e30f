//! Joins the [`Flow`] to the desk: carries out its effects, tells it what was measured, and keeps its deadlines.

use std::sync::Arc;
use std::time::Duration;

use carepost_daemon::CancellationToken;
use carepost_domain::Phi;
use carepost_domain::care::rule_set::RuleSet;
use carepost_domain::id::SittingId;
use carepost_domain::people::MemberCode;
use chrono::SubsecRound as _;
use tokio::sync::{Mutex, MutexGuard, Semaphore, broadcast, watch};

use super::flow::{Effect, Event, Flow, Found, Keeping, Kept, Person, Seen};
use super::judge::{Judge, Taken};
use crate::app::Parts;
use crate::board::UplinkState;
use crate::sitting::{BeginError, KioskEvent, ReadingState, ShownReading, SittingView, Who};

/// Pages that may follow the screen at once: the kiosk's own, a second one for staff, and reloads that overlap.
const MAX_FOLLOWERS: usize = 8;
/// How often a sitting that goes on here is kept alive at the desk, whose own time-out is only for a kiosk that died.
const TOUCH: Duration = Duration::from_secs(10);
/// Bytes of the form token before it is printed in hex.
const TOKEN_BYTES: usize = 16;

/// The kiosk. Cloning is cheap; clones share the screen.
#[derive(Debug, Clone)]
pub struct Kiosk {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    parts: Parts,
    token: String,
    /// Events one at a time, with what they cause.
    driver: Mutex<Driver>,
    revision: watch::Sender<u64>,
    followers: Arc<Semaphore>,
    stop: CancellationToken,
}

#[derive(Debug)]
pub(super) struct Driver {
    pub(super) flow: Flow,
    sitting: Option<SittingId>,
}

/// What a page needs beyond the flow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Around {
    pub(super) now: Duration,
    pub(super) online: bool,
    /// Readings that wait for a receipt, where that is known.
    pub(super) waiting: Option<u64>,
}

impl Kiosk {
    /// A kiosk that waits for the first person. `stop` ends the event streams of its pages.
    #[must_use]
    pub fn new(parts: Parts, rules: Arc<RuleSet>, stop: CancellationToken) -> Self {
        let flow = Flow::new(parts.config.kiosk.timings.clone(), Judge::new(rules));
        let token: [u8; TOKEN_BYTES] = parts.entropy.bytes();
        Self {
            inner: Arc::new(Inner {
                parts,
                token: hex::encode(token),
                revision: watch::Sender::new(flow.revision()),
                driver: Mutex::new(Driver { flow, sitting: None }),
                followers: Arc::new(Semaphore::new(MAX_FOLLOWERS)),
                stop,
            }),
        }
    }

    /// Keeps the screen's deadlines and follows the desk until `soft` is cancelled; then ends a sitting that goes on.
    ///
    /// # Errors
    /// Never; the type is what the supervisor takes.
    pub async fn run(self, soft: CancellationToken) -> anyhow::Result<()> {
        let mut events = self.inner.parts.desk.events();
        let mut revision = self.inner.revision.subscribe();
        loop {
            revision.borrow_and_update();
            let deadline = self.driver().await.flow.deadline();
            let now = self.inner.parts.clock.monotonic();
            let wait = deadline.map_or(TOUCH, |due| due.saturating_sub(now)).min(TOUCH);
            // Every branch is cancel-safe: a token, a queue of whole events, a change counter, and time.
            tokio::select! {
                () = soft.cancelled() => break,
                event = events.recv() => match event {
                    Ok(event) => self.desk_event(event).await,
                    // What was missed is in the desk's current state.
                    Err(broadcast::error::RecvError::Lagged(_)) => self.follow_desk().await,
                    Err(broadcast::error::RecvError::Closed) => break,
                },
                changed = revision.changed() => if changed.is_err() { break },
                () = tokio::time::sleep(wait) => {
                    self.touch().await;
                    self.apply(Event::Tick).await;
                }
            }
        }
        self.apply(Event::End).await;
        Ok(())
    }

    /// Takes what a person did or what happened, and carries out what follows.
    pub(super) async fn apply(&self, event: Event) {
        let mut driver = self.driver().await;
        self.advance(&mut driver, event).await;
    }

    /// As [`apply`](Self::apply), for a form: only if it was drawn for what is to be seen now.
    pub(super) async fn apply_form(&self, revision: u64, event: Event) {
        let mut driver = self.driver().await;
        if let Some(sitting) = driver.sitting {
            self.inner.parts.desk.touch(sitting);
        }
        if driver.flow.revision() == revision {
            self.advance(&mut driver, event).await;
        }
    }

    async fn advance(&self, driver: &mut Driver, event: Event) {
        let mut next = Some(event);
        while let Some(event) = next {
            next = match driver.flow.handle(self.inner.parts.clock.monotonic(), event) {
                None => None,
                Some(Effect::LookUp(code)) => Some(Event::Looked(self.look_up(code))),
                Some(Effect::Begin(person)) => Some(self.begin(driver, &person).await),
                Some(Effect::End) => {
                    self.end(driver).await;
                    None
                }
            };
        }
        let revision = driver.flow.revision();
        self.inner
            .revision
            .send_if_modified(|known| std::mem::replace(known, revision) != revision);
    }

    fn look_up(&self, code: MemberCode) -> Option<Found> {
        let copy = self.inner.parts.spool.down();
        let member = copy.member_by_code(&code)?;
        let granted = copy.consents(member.id, self.inner.parts.clock.now());
        Some(Found {
            code: Phi::new(code),
            masked_name: Phi::new(member.masked_name.clone()),
            granted,
        })
    }

    async fn begin(&self, driver: &mut Driver, person: &Person) -> Event {
        let (who, seal) = match person {
            Person::Anonymous => (Who::Anonymous, false),
            Person::Member { code, keeping } => (Who::Member(code.expose().clone()), *keeping == Keeping::Sealed),
        };
        let desk = &self.inner.parts.desk;
        if let Some(left_over) = desk.current() {
            // There is one screen, so nobody can sit there whom it does not show.
            self.end_at_desk(left_over.sitting).await;
        }
        let view = match desk.begin(&who).await {
            Ok(view) => view,
            Err(BeginError::MeterConnected | BeginError::Occupied) => return Event::MeterStillConnected,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a sitting could not begin");
                return Event::BeginFailed;
            }
        };
        if seal && let Err(error) = desk.keep_until_confirmed(view.sitting).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "readings of a sitting could not be sealed"
            );
            self.end_at_desk(view.sitting).await;
            return Event::BeginFailed;
        }
        driver.sitting = Some(view.sitting);
        Event::Began
    }

    async fn end(&self, driver: &mut Driver) {
        if let Some(sitting) = driver.sitting.take() {
            self.end_at_desk(sitting).await;
        }
    }

    async fn end_at_desk(&self, sitting: SittingId) {
        // The desk is wiped even then; a start finds the sitting's end in the spool.
        if let Err(error) = self.inner.parts.desk.end(sitting).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the end of a sitting could not be written down"
            );
        }
    }

    async fn desk_event(&self, event: KioskEvent) {
        match event {
            KioskEvent::Reading { .. } => self.follow_desk().await,
            KioskEvent::Ended { sitting, .. } => {
                let mut driver = self.driver().await;
                if driver.sitting == Some(sitting) {
                    driver.sitting = None;
                    self.advance(&mut driver, Event::Ended).await;
                }
            }
            KioskEvent::MeterDisconnected { .. } => self.apply(Event::MeterGone).await,
            KioskEvent::Began { .. } | KioskEvent::MeterConnected { .. } => {}
        }
    }

    async fn follow_desk(&self) {
        let mut driver = self.driver().await;
        let Some(sitting) = driver.sitting else { return };
        match self.inner.parts.desk.current().filter(|view| view.sitting == sitting) {
            Some(view) => self.advance(&mut driver, Event::Seen(seen(&view))).await,
            None => {
                driver.sitting = None;
                self.advance(&mut driver, Event::Ended).await;
            }
        }
    }

    async fn touch(&self) {
        if let Some(sitting) = self.driver().await.sitting {
            self.inner.parts.desk.touch(sitting);
        }
    }

    /// The state, for drawing.
    pub(super) async fn driver(&self) -> MutexGuard<'_, Driver> {
        self.inner.driver.lock().await
    }

    /// What a page needs beyond the flow.
    pub(super) async fn around(&self, count_waiting: bool) -> Around {
        let online = matches!(self.inner.parts.board.uplink(), UplinkState::Connected { .. });
        let waiting = match count_waiting && !online {
            true => self.inner.parts.spool.status().await.ok().map(|status| status.outbox),
            false => None,
        };
        Around {
            now: self.inner.parts.clock.monotonic(),
            online,
            waiting,
        }
    }

    /// The token that every form carries.
    pub(super) fn token(&self) -> &str {
        &self.inner.token
    }

    /// Follows what is to be seen.
    pub(super) fn revisions(&self) -> watch::Receiver<u64> {
        self.inner.revision.subscribe()
    }

    /// Bounds the pages that follow.
    pub(super) fn followers(&self) -> Arc<Semaphore> {
        Arc::clone(&self.inner.followers)
    }

    /// Cancelled when event streams are to end.
    pub(super) fn stop(&self) -> CancellationToken {
        self.inner.stop.clone()
    }
}

/// The measurements that may be shown to the person present: those of this sitting. A stored record older than it never is.
fn seen(view: &SittingView) -> Vec<Seen> {
    let began = view.began.trunc_subsecs(0);
    view.readings
        .iter()
        .filter(|shown| shown.measured_at >= began)
        .filter_map(to_seen)
        .collect()
}

fn to_seen(shown: &ShownReading) -> Option<Seen> {
    let kept = match shown.state {
        ReadingState::Arrived => Kept::Saving,
        ReadingState::Saved => Kept::Saved,
        ReadingState::Sent => Kept::Sent,
        ReadingState::Sealed => Kept::Sealed,
        ReadingState::NotKept | ReadingState::NoConsent => Kept::Nowhere,
        ReadingState::Unusable(_) => Kept::Aside,
    };
    let taken = Taken::new(shown);
    // A glucose value has no screen here; it is kept and sent like any other.
    if taken.is_none() && shown.measurement.is_some() {
        return None;
    }
    Some(Seen {
        number: shown.number,
        taken,
        kept,
    })
}
