//! Numbers for health pages and metrics.

use chrono::{DateTime, Utc};

use super::Conn;
use super::counter::{self, Counter};
use crate::codec::{code, instant_opt, us};
use crate::error::{Doing as _, Fault};
use crate::model::{Counts, LaneCount, QuarantineCount};

statements! {
    // Summed from a column of the gateways, because counting a hundred million rows takes minutes.
    READINGS = "SELECT CAST(COALESCE(SUM(readings), 0) AS BIGINT) FROM gateway";
    ALERTS_OPEN = "SELECT COUNT(*) FROM alert WHERE closed_at IS NULL";
    TASKS_OPEN = "SELECT COUNT(*) FROM task WHERE status IN ('open', 'taken')";
    QUARANTINE = "SELECT reason, COUNT(*), CAST(SUM(count) AS BIGINT) FROM quarantine GROUP BY reason ORDER BY reason";
    LANES = "SELECT lane, COUNT(*) FROM lane_rejection GROUP BY lane ORDER BY lane";
    JOBS_PENDING = "SELECT COUNT(*) FROM job WHERE state = 'pending'";
    JOBS_OVERDUE = "SELECT MIN(due_at) FROM job WHERE state = 'pending' AND due_at <= $1";
    JOBS_PARKED = "SELECT kind, COUNT(*) FROM job WHERE state = 'parked' GROUP BY kind ORDER BY kind";
    AUDIT_UNSEALED = "SELECT COUNT(*) FROM audit WHERE chain_no IS NULL";
    GATEWAYS = "SELECT COUNT(*) FROM gateway WHERE revoked_at IS NULL";
    GATEWAYS_ONLINE = "SELECT COUNT(*) FROM gateway WHERE revoked_at IS NULL AND online";
}

async fn count(conn: &mut Conn, statement: &'static str) -> Result<i64, Fault> {
    sqlx::query_scalar(statement).fetch_one(conn).await.doing("count")
}

pub(crate) async fn counts(conn: &mut Conn, now: DateTime<Utc>) -> Result<Counts, Fault> {
    let quarantine: Vec<(String, i64, i64)> = sqlx::query_as(QUARANTINE)
        .fetch_all(&mut *conn)
        .await
        .doing("count the quarantine")?;
    let lanes: Vec<(String, i64)> = sqlx::query_as(LANES)
        .fetch_all(&mut *conn)
        .await
        .doing("count rejections")?;
    let overdue: Option<i64> = sqlx::query_scalar(JOBS_OVERDUE)
        .bind(us(now))
        .fetch_one(&mut *conn)
        .await
        .doing("find the oldest job")?;
    let parked: Vec<(String, i64)> = sqlx::query_as(JOBS_PARKED)
        .fetch_all(&mut *conn)
        .await
        .doing("count parked jobs")?;
    Ok(Counts {
        readings: count(conn, READINGS).await?,
        alerts_open: count(conn, ALERTS_OPEN).await?,
        tasks_open: count(conn, TASKS_OPEN).await?,
        quarantine: quarantine
            .into_iter()
            .map(|(reason, messages, arrivals)| {
                Ok(QuarantineCount {
                    reason: code(&reason)?,
                    messages,
                    arrivals,
                })
            })
            .collect::<Result<_, Fault>>()?,
        quarantine_dropped: counter::read(conn, Counter::QuarantineDropped).await?,
        lanes: lanes
            .into_iter()
            .map(|(lane, rejected)| {
                Ok(LaneCount {
                    lane: code(&lane)?,
                    rejected,
                })
            })
            .collect::<Result<_, Fault>>()?,
        jobs_pending: count(conn, JOBS_PENDING).await?,
        jobs_overdue_since: instant_opt(overdue)?,
        jobs_parked: parked
            .into_iter()
            .map(|(kind, jobs)| (kind.parse().ok(), jobs))
            .collect(),
        audit_unsealed: count(conn, AUDIT_UNSEALED).await?,
        gateways: count(conn, GATEWAYS).await?,
        gateways_online: count(conn, GATEWAYS_ONLINE).await?,
    })
}
