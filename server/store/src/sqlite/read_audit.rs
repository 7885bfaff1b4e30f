//! Audit rows of reads, committed in groups before the responses leave (page 4, "Who may write when").
//!
//! Readers do not wait for the one writer with their reading, but their audit rows must be durable before anybody sees
//! what was read. Whoever gets the writer first commits the rows of all who wait.

use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;

use super::{Engine, sql};
use crate::audit::Entry;
use crate::error::{Fault, FaultKind};
use crate::limits::MAX_WRITERS_WAITING;
use crate::store::Priority;

/// Readers who wait for their audit rows.
#[derive(Debug, Default)]
pub(crate) struct Group(Mutex<Vec<Waiting>>);

#[derive(Debug)]
struct Waiting {
    entries: Vec<Entry>,
    tell: oneshot::Sender<bool>,
}

/// Commits the entries, alone or in a group. On an error nothing that was read may be shown.
pub(crate) async fn commit(engine: &Engine, entries: Vec<Entry>) -> Result<(), Fault> {
    const ATTEMPT: &str = "record who read what";
    let (tell, told) = oneshot::channel();
    {
        let mut waiting = engine.read_audit.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= MAX_WRITERS_WAITING {
            return Err(Fault::new(
                ATTEMPT,
                FaultKind::Unavailable,
                "too many readers are waiting",
            ));
        }
        waiting.push(Waiting { entries, tell });
    }
    let permit = engine.permit(Priority::Staff).await?;
    let group = std::mem::take(&mut *engine.read_audit.0.lock().unwrap_or_else(PoisonError::into_inner));
    if !group.is_empty() {
        let result = write(engine, permit, &group).await;
        for waiting in group {
            // A reader who has gone needs no answer; the row stays, because the read took place.
            if waiting.tell.send(result.is_ok()).is_err() {
                tracing::debug!("a reader left before its audit row was committed");
            }
        }
        result?;
    } else {
        // Nothing to write: the next writer need not wait while we wait for our group.
        drop(permit);
    }
    // Whoever took our rows with its group tells us; its end without a word is a failure.
    match told.await {
        Ok(true) => Ok(()),
        _ => Err(Fault::new(
            ATTEMPT,
            FaultKind::Unavailable,
            "the group's transaction failed",
        )),
    }
}

async fn write(engine: &Engine, permit: super::gate::Permit, group: &[Waiting]) -> Result<(), Fault> {
    let mut tx = engine.begin_with(permit).await?;
    let mut done = Ok(());
    for entry in group.iter().flat_map(|waiting| &waiting.entries) {
        done = sql::audit::insert(tx.conn(), entry).await;
        if done.is_err() {
            break;
        }
    }
    tx.end(done).await
}
