//! A page of decisions that a capture takes along: one wait for the disk instead of two.
//!
//! Whoever settles a page of new readings offers it here while it waits for the connection. A capture that is being written
//! meanwhile puts it into its own transaction, behind its packets; if none is, the page gets a transaction of its own. In which
//! order things become durable does not change: the packets of the page were before it was decided about, and its readings are
//! before anybody hears that it is settled.

use std::sync::{Arc, Mutex, PoisonError};

use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnection;
use tokio::sync::oneshot;

use super::decided::{Plain, Refusal};
use super::error::Attempted as _;
use super::{Settled, Spool, SpoolError};

const ATTEMPT: &str = "settle packets";

/// What became of a page.
pub(super) type Outcome = Result<Vec<Settled>, Refusal>;

/// A page on its way into the file, and who waits for it.
struct Offered {
    plain: Plain,
    decided_with: u64,
    done: oneshot::Sender<Outcome>,
}

/// A page, until somebody takes it.
type Place = Arc<Mutex<Option<Offered>>>;

fn take(place: &Mutex<Option<Offered>>) -> Option<Offered> {
    place.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Where the newest offer is found.
#[derive(Default)]
pub(super) struct Joint(Mutex<Place>);

impl std::fmt::Debug for Joint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Joint")
    }
}

impl Joint {
    fn newest(&self) -> std::sync::MutexGuard<'_, Place> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An offer; it ends with this.
struct Offer(Place);

impl Drop for Offer {
    fn drop(&mut self) {
        take(&self.0);
    }
}

/// A page within a transaction that is not committed yet.
pub(super) struct Along {
    settled: Vec<Settled>,
    done: oneshot::Sender<Outcome>,
}

impl Along {
    /// Tells whoever settled it. To be called when the transaction is durable.
    pub(super) fn tell(self) {
        // Whoever does not wait any more finds the rows gone.
        self.done.send(Ok(self.settled)).ok();
    }
}

/// A transaction may have a part of a page and must be given up; with the engine's error, if there was one.
#[derive(Debug)]
pub(super) struct InPart(pub(super) Option<SpoolError>);

impl From<SpoolError> for InPart {
    fn from(error: SpoolError) -> Self {
        Self(Some(error))
    }
}

impl Spool {
    #[cfg(test)]
    pub(super) fn has_an_offer(&self) -> bool {
        let place = Arc::clone(&self.inner.joint.newest());
        place.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Writes the page that is on offer, if there is one and it can be written.
    pub(super) async fn take_along(&self, conn: &mut SqliteConnection) -> Result<Option<Along>, InPart> {
        let place = Arc::clone(&self.inner.joint.newest());
        let Some(Offered {
            plain,
            decided_with,
            done,
        }) = take(&place)
        else {
            return Ok(None);
        };
        match plain.refusal(conn, decided_with).await? {
            Some(refusal) => {
                done.send(Err(refusal)).ok();
                Ok(None)
            }
            None => {
                let settled = plain.write(conn).await?.ok_or(InPart(None))?;
                Ok(Some(Along { settled, done }))
            }
        }
    }

    /// Settles a page: with a capture, or by itself.
    pub(super) async fn settle_plain(&self, decided_with: u64, plain: Plain) -> Result<Outcome, SpoolError> {
        let (done, mut outcome) = oneshot::channel();
        let place = Arc::new(Mutex::new(Some(Offered {
            plain,
            decided_with,
            done,
        })));
        let offer = Offer(Arc::clone(&place));
        *self.inner.joint.newest() = place;
        // A capture that failed with it drops it, and has said why.
        let alone = Ok(Err(Refusal::Alone));
        // Both are cancel-safe.
        let mut conn = tokio::select! {
            biased;
            outcome = &mut outcome => return outcome.map_or(alone, Ok),
            conn = self.inner.pool.acquire() => conn.attempting(ATTEMPT)?,
        };
        let Some(Offered { plain, .. }) = take(&offer.0) else {
            drop(conn);
            return outcome.await.map_or(alone, Ok);
        };
        let mut tx = conn.begin_with("BEGIN IMMEDIATE").await.attempting(ATTEMPT)?;
        let refusal = plain.refusal(&mut tx, decided_with).await?;
        let settled = match refusal {
            None => plain.write(&mut tx).await?.ok_or(Refusal::Alone),
            Some(refusal) => Err(refusal),
        };
        match settled {
            Ok(_) => {
                tx.commit().await.attempting(ATTEMPT)?;
                self.outbox_changed();
            }
            Err(_) => tx.rollback().await.attempting(ATTEMPT)?,
        }
        Ok(settled)
    }
}
