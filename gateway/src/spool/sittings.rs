//! Members' times at the kiosk. Anonymous ones are never written down.

use carepost_domain::attribution::Sitting;
use carepost_domain::id::{MemberId, SittingId};
use chrono::{DateTime, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use super::error::Attempted as _;
use super::row::{id, instant, micros};
use super::{Spool, SpoolError};

/// A member's sitting as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptSitting {
    /// The sitting.
    pub id: SittingId,
    /// Who sits there.
    pub member: MemberId,
    /// The whole second in which the person was identified: meters' clocks have no finer hands.
    pub began_at: DateTime<Utc>,
    /// The instant of it.
    pub identified_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// The person asked to keep readings until they confirm.
    pub keep_sealed: bool,
    /// Whether the gateway's clock was believed when it began.
    pub clock_trusted: bool,
}

impl KeptSitting {
    /// As attribution sees it.
    #[must_use]
    pub fn as_sitting(&self) -> Sitting {
        Sitting {
            id: self.id,
            member: Some(self.member),
            began: self.began_at,
            ended: self.ended_at,
        }
    }
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    member: Uuid,
    began_at: i64,
    identified_at: i64,
    ended_at: Option<i64>,
    keep_sealed: bool,
    clock_trusted: bool,
}

impl Row {
    fn into_kept(self) -> Result<KeptSitting, SpoolError> {
        Ok(KeptSitting {
            id: id(self.id),
            member: id(self.member),
            began_at: instant(self.began_at)?,
            identified_at: instant(self.identified_at)?,
            ended_at: self.ended_at.map(instant).transpose()?,
            keep_sealed: self.keep_sealed,
            clock_trusted: self.clock_trusted,
        })
    }
}

impl Spool {
    /// Writes down that a member's sitting began.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn begin_sitting(&self, sitting: &KeptSitting) -> Result<(), SpoolError> {
        const ATTEMPT: &str = "begin a sitting";
        let mut tx = self.begin(ATTEMPT).await?;
        sqlx::query(
            "INSERT INTO sittings (id, member, began_at, identified_at, alive_at, ended_at, keep_sealed, clock_trusted)
             VALUES ($1, $2, $3, $4, $4, $5, $6, $7)",
        )
        .bind(sitting.id.uuid())
        .bind(sitting.member.uuid())
        .bind(micros(sitting.began_at))
        .bind(micros(sitting.identified_at))
        .bind(sitting.ended_at.map(micros))
        .bind(sitting.keep_sealed)
        .bind(sitting.clock_trusted)
        .execute(&mut *tx)
        .await
        .attempting(ATTEMPT)?;
        tx.commit().await.attempting(ATTEMPT)
    }

    /// Writes down that a sitting still goes on at `now`: if the program ends without a word, it ended then.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn touch_sitting(&self, sitting: SittingId, now: DateTime<Utc>) -> Result<(), SpoolError> {
        self.change_sitting(
            "UPDATE sittings SET alive_at = $2 WHERE id = $1 AND ended_at IS NULL",
            sitting,
            now,
        )
        .await
    }

    /// Writes down that a sitting ended.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn end_sitting(&self, sitting: SittingId, now: DateTime<Utc>) -> Result<(), SpoolError> {
        self.change_sitting(
            "UPDATE sittings SET ended_at = $2 WHERE id = $1 AND ended_at IS NULL",
            sitting,
            now,
        )
        .await
    }

    /// Writes down that the person asked to keep readings until they confirm.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn seal_sitting(&self, sitting: SittingId, now: DateTime<Utc>) -> Result<(), SpoolError> {
        self.change_sitting(
            "UPDATE sittings SET keep_sealed = 1, alive_at = max(alive_at, $2) WHERE id = $1",
            sitting,
            now,
        )
        .await
    }

    /// All members' sittings that are kept, oldest first.
    ///
    /// # Errors
    /// When the engine fails, or a row is not what this program writes.
    pub async fn sittings(&self) -> Result<Vec<KeptSitting>, SpoolError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, member, began_at, identified_at, ended_at, keep_sealed, clock_trusted FROM sittings ORDER BY began_at, id",
        )
        .fetch_all(&self.inner.pool)
        .await
        .attempting("read sittings")?;
        rows.into_iter().map(Row::into_kept).collect()
    }

    /// One kept sitting.
    ///
    /// # Errors
    /// When the engine fails, or the row is not what this program writes.
    pub async fn sitting(&self, sitting: SittingId) -> Result<Option<KeptSitting>, SpoolError> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT id, member, began_at, identified_at, ended_at, keep_sealed, clock_trusted FROM sittings WHERE id = $1",
        )
        .bind(sitting.uuid())
        .fetch_optional(&self.inner.pool)
        .await
        .attempting("read a sitting")?;
        row.map(Row::into_kept).transpose()
    }

    async fn change_sitting(
        &self,
        statement: &'static str,
        sitting: SittingId,
        now: DateTime<Utc>,
    ) -> Result<(), SpoolError> {
        const ATTEMPT: &str = "change a sitting";
        let mut tx = self.begin(ATTEMPT).await?;
        sqlx::query(statement)
            .bind(sitting.uuid())
            .bind(micros(now))
            .execute(&mut *tx)
            .await
            .attempting(ATTEMPT)?;
        tx.commit().await.attempting(ATTEMPT)
    }
}
