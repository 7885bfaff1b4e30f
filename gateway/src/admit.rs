//! The worker that settles spooled packets: asks `attribute`, writes the answers down, tells the desk.

use std::collections::HashMap;
use std::time::Duration;

use carepost_daemon::{CancellationToken, Clock};
use carepost_domain::id::SittingId;
use chrono::{DateTime, Utc};

use crate::attribute::{Decision, Heard, settlement};
use crate::sitting::{Desk, Offered, ReadingState};
use crate::spool::{Disposition, KeptSitting, PendingRow, Settled, Settlement, Spool, SpoolError, SpoolRow};

/// Pause before a settlement that failed for want of space is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Settles whatever is pending, now and whenever something comes, until `soft` is cancelled.
///
/// # Errors
/// When the spool's state is not known any more.
pub async fn run(spool: Spool, desk: Desk, clock: Clock, soft: CancellationToken) -> anyhow::Result<()> {
    let mut changes = spool.watch_pending();
    loop {
        changes.borrow_and_update();
        // Not inside the select: a settlement that was begun is awaited to its end.
        let wake = match settle_pending(&spool, &desk, &clock).await {
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

/// One pass over everything pending.
pub(crate) async fn settle_pending(spool: &Spool, desk: &Desk, clock: &Clock) -> Result<Pass, SpoolError> {
    let mut pass = Pass::default();
    let mut sittings: HashMap<SittingId, Option<KeptSitting>> = HashMap::new();
    let mut after: Option<SpoolRow> = None;
    loop {
        let rows = spool.pending(after).await?;
        let Some(last) = rows.last().map(|row| row.row) else {
            break;
        };
        let copy = spool.down();
        let now = clock.now();
        let mut decisions = Vec::new();
        let mut shown = Vec::new();
        for row in &rows {
            let sitting = match row.packet.sitting {
                None => None,
                Some(id) => {
                    if let std::collections::hash_map::Entry::Vacant(entry) = sittings.entry(id) {
                        entry.insert(spool.sitting(id).await?);
                    }
                    sittings.get(&id).and_then(Option::as_ref)
                }
            };
            match settlement(row, sitting, &copy, now) {
                Decision::Settle { settlement, heard } => {
                    decisions.push((row.row, settlement));
                    shown.push((row, heard));
                }
                Decision::WaitUntil(at) => pass.again_at = Some(pass.again_at.map_or(at, |earlier| earlier.min(at))),
                Decision::Wait => {}
            }
        }
        if !decisions.is_empty() {
            let Some(settled) = spool.settle(copy.revision(), &decisions, now).await? else {
                // Somebody withdrew or consented meanwhile: decide again with what is known now.
                sittings.clear();
                continue;
            };
            pass.settled += u64::try_from(settled.len()).unwrap_or(u64::MAX);
            for ((settled, (_, decided)), (row, heard)) in settled.iter().zip(&decisions).zip(shown) {
                tell(desk, row, *settled, decided, heard);
            }
        }
        after = Some(last);
    }
    spool.scrub().await?;
    Ok(pass)
}

/// Tells the desk what became of a packet, after it is durable.
fn tell(desk: &Desk, row: &PendingRow, settled: Settled, decided: &Settlement, heard: Option<Heard>) {
    let state = match settled {
        Settled::Outbox(_) => ReadingState::Saved,
        // The state that is shown already says as much or more.
        Settled::Known(_) | Settled::Gone => return,
        Settled::Conflict(_) => ReadingState::Unusable(carepost_domain::quarantine::Reason::MemberConflict),
        Settled::Sealed(_) => ReadingState::Sealed,
        Settled::Quarantined(reason) => ReadingState::Unusable(reason),
        Settled::Forgotten => ReadingState::NoConsent,
    };
    let Some(heard) = heard else { return };
    let sitting = match decided {
        Settlement::Outbox(reading) => {
            let live = crate::spool::is_live(reading.time.at, reading.captured_at);
            row.packet
                .sitting
                .or_else(|| desk.current_of(reading.member).filter(|_| live))
        }
        _ => row.packet.sitting,
    };
    let Some(sitting) = sitting else { return };
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
