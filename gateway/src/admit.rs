//! The worker that settles spooled packets: asks `attribute`, writes the answers down, tells the desk.

use std::collections::HashMap;
use std::time::Duration;

use carepost_contract::v1::WireReading;
use carepost_daemon::{CancellationToken, Clock};
use carepost_domain::id::SittingId;
use chrono::{DateTime, Utc};

use crate::attribute::{Decision, Heard, settlement};
use crate::sitting::{Desk, Offered, ReadingState};
use crate::spool::{
    Decided, Disposition, KeptSitting, PENDING_PAGE, PendingRow, Settled, Settlement, Spool, SpoolError, SpoolRow,
    is_live,
};

/// Pause before a settlement that failed for want of space is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Settles whatever is pending, now and whenever something comes, until `soft` is cancelled.
///
/// # Errors
/// When the spool's state is not known any more.
pub async fn run(spool: Spool, desk: Desk, clock: Clock, soft: CancellationToken) -> anyhow::Result<()> {
    let mut changes = spool.watch_pending();
    let mut through = None;
    loop {
        changes.borrow_and_update();
        // Not inside the select: a settlement that was begun is awaited to its end.
        let wake = match settle_pending(&spool, &desk, &clock, &mut through).await {
            Ok(pass) => pass.again_at.map(|at| (at - clock.now()).to_std().unwrap_or_default()),
            Err(error) if error.disposition() == Disposition::Retry => {
                tracing::warn!(error = chain(&error), "packets wait to be settled");
                tokio::select! {
                    () = tokio::time::sleep(RETRY) => continue,
                    () = soft.cancelled() => return Ok(()),
                }
            }
            Err(error) => return Err(error.into()),
        };
        // All branches are cancel-safe.
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return Ok(()) },
            () = pause(wake) => {}
            () = soft.cancelled() => return Ok(()),
        }
    }
}

async fn pause(wake: Option<Duration>) {
    match wake {
        Some(wake) => tokio::time::sleep(wake).await,
        None => std::future::pending().await,
    }
}

/// What a pass over the pending packets did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Pass {
    /// So many packets were settled.
    pub(crate) settled: u64,
    /// When one that waits has waited long enough.
    pub(crate) again_at: Option<DateTime<Utc>>,
}

/// Rows that are decided about between two chances for others to go on.
const AT_A_STRETCH: usize = 8;

/// One page of pending packets, and what was decided about them.
struct Page {
    /// Behind this row it begins.
    after: Option<SpoolRow>,
    rows: Vec<PendingRow>,
    /// The revision of the copy by which it was decided, and when.
    revision: u64,
    now: DateTime<Utc>,
    decided: Decided,
    /// What the desk may show: the places of the decision and of its row, and what was heard. Of a meter's memory that is
    /// nothing.
    heard: Vec<(usize, usize, Heard)>,
    again_at: Option<DateTime<Utc>>,
}

/// Reads pending packets and decides about them.
struct Decider<'a> {
    spool: &'a Spool,
    clock: &'a Clock,
    /// Those that were asked for.
    sittings: HashMap<SittingId, Option<KeptSitting>>,
}

impl Decider<'_> {
    /// The next page behind `after`, if there is anything.
    async fn page(&mut self, after: Option<SpoolRow>) -> Result<Option<Page>, SpoolError> {
        let rows = self.spool.pending(after).await?;
        if rows.is_empty() {
            return Ok(None);
        }
        let copy = self.spool.down();
        let mut page = Page {
            after,
            rows,
            revision: copy.revision(),
            now: self.clock.now(),
            decided: Decided::default(),
            heard: Vec::new(),
            again_at: None,
        };
        for (place, row) in page.rows.iter().enumerate() {
            if place % AT_A_STRETCH == AT_A_STRETCH - 1 {
                tokio::task::yield_now().await;
            }
            let sitting = match row.packet.sitting {
                None => None,
                Some(id) => {
                    if let std::collections::hash_map::Entry::Vacant(entry) = self.sittings.entry(id) {
                        entry.insert(self.spool.sitting(id).await?);
                    }
                    self.sittings.get(&id).and_then(Option::as_ref)
                }
            };
            match settlement(row, sitting, &copy, page.now) {
                Decision::Settle { settlement, heard } => {
                    let nth = page.decided.decisions().len();
                    let heard = heard.filter(|_| may_be_shown(row, &settlement));
                    page.heard.extend(heard.map(|heard| (nth, place, heard)));
                    page.decided.push(row.into(), settlement)?;
                }
                Decision::WaitUntil(at) => page.again_at = earlier(page.again_at, Some(at)),
                Decision::Wait => {}
            }
        }
        page.decided.make_ready()?;
        Ok(Some(page))
    }
}

impl Page {
    /// Where the next page begins, if there may be one.
    fn behind(&self) -> Option<SpoolRow> {
        let is_full = self.rows.len() >= usize::try_from(PENDING_PAGE).unwrap_or(usize::MAX);
        self.rows.last().filter(|_| is_full).map(|row| row.row)
    }

    /// Its last row, if none of them waits.
    fn through(&self) -> Option<SpoolRow> {
        let nothing_waits = self.rows.len() == self.decided.decisions().len();
        self.rows.last().filter(|_| nothing_waits).map(|row| row.row)
    }

    /// Writes down what was decided. `None` if somebody withdrew or consented meanwhile.
    async fn settle(&mut self, spool: &Spool) -> Result<Option<Vec<Settled>>, SpoolError> {
        if self.decided.decisions().is_empty() {
            return Ok(Some(Vec::new()));
        }
        spool.settle(self.revision, &mut self.decided, self.now).await
    }
}

fn earlier(one: Option<DateTime<Utc>>, other: Option<DateTime<Utc>>) -> Option<DateTime<Utc>> {
    one.into_iter().chain(other).min()
}

/// One pass over everything pending. While a page is written down, the next is read and decided about: a decision depends on
/// its own packet, its link, the sitting and the copy, and on nothing that settling another packet changes. A packet that a
/// context joined meanwhile is decided about again.
///
/// Up to the row `through` everything is settled, and it is moved on: no packet ever comes before one that was there, and what
/// came just now is known in memory behind a row only.
pub(crate) async fn settle_pending(
    spool: &Spool,
    desk: &Desk,
    clock: &Clock,
    through: &mut Option<SpoolRow>,
) -> Result<Pass, SpoolError> {
    let mut pass = Pass::default();
    let mut decider = Decider {
        spool,
        clock,
        sittings: HashMap::new(),
    };
    let mut nothing_waits = true;
    let mut page = decider.page(*through).await?;
    while let Some(mut decided) = page {
        let behind = decided.behind();
        let next = async {
            match behind {
                Some(behind) => decider.page(Some(behind)).await,
                None => Ok(None),
            }
        };
        // In this order, so that the next page is read while this one is being prepared to be written.
        let (next, settled) = tokio::join!(next, decided.settle(spool));
        let Some(settled) = settled? else {
            // Decide again with what is known now.
            decider.sittings.clear();
            page = decider.page(decided.after).await?;
            continue;
        };
        let changed = settled.iter().filter(|what| **what == Settled::Changed).count();
        if changed == 0 {
            nothing_waits &= decided.through().is_some();
        }
        if changed == 0 && nothing_waits {
            *through = decided.through();
        }
        pass.settled += u64::try_from(settled.len() - changed).unwrap_or(u64::MAX);
        pass.again_at = earlier(pass.again_at, decided.again_at);
        let decisions = decided.decided.decisions();
        for (nth, place, heard) in decided.heard {
            if let (Some(settled), Some((_, what)), Some(row)) =
                (settled.get(nth), decisions.get(nth), decided.rows.get(place))
            {
                tell(desk, row, *settled, what, heard);
            }
        }
        page = match changed {
            0 => next?,
            _ => decider.page(decided.after).await?,
        };
    }
    spool.scrub().await?;
    Ok(pass)
}

/// Whether there can be a sitting in which a packet is shown: its own, or the one that goes on of whom it is.
fn may_be_shown(row: &PendingRow, decided: &Settlement) -> bool {
    row.packet.sitting.is_some() || live_reading(decided).is_some()
}

/// The reading that was decided to be sent, if it was measured just now.
fn live_reading(decided: &Settlement) -> Option<&WireReading> {
    match decided {
        Settlement::Outbox(reading) if is_live(reading.time.at, reading.captured_at) => Some(reading),
        _ => None,
    }
}

/// Tells the desk what became of a packet, after it is durable.
fn tell(desk: &Desk, row: &PendingRow, settled: Settled, decided: &Settlement, heard: Heard) {
    let state = match settled {
        Settled::Outbox(_) => ReadingState::Saved,
        // The state that is shown already says as much or more.
        Settled::Known(_) | Settled::Gone | Settled::Changed => return,
        Settled::Conflict(_) => ReadingState::Unusable(carepost_domain::quarantine::Reason::MemberConflict),
        Settled::Sealed(_) => ReadingState::Sealed,
        Settled::Quarantined(reason) => ReadingState::Unusable(reason),
        Settled::Forgotten => ReadingState::NoConsent,
    };
    let going_on = || desk.current_of(live_reading(decided)?.member);
    let Some(sitting) = row.packet.sitting.or_else(going_on) else {
        return;
    };
    desk.show(sitting, offered(heard, state));
}

/// A record as the desk shows it.
pub(crate) fn offered(heard: Heard, state: ReadingState) -> Offered {
    let judged = heard.record.judged.ok();
    Offered {
        reading: heard.record.id,
        measured_at: heard.measured_at,
        flags: judged.as_ref().map(|judged| judged.flags.clone()).unwrap_or_default(),
        measurement: judged.map(|judged| judged.measurement),
        slot: heard.record.slot,
        state,
    }
}

/// An error with its causes, for one log field.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}
