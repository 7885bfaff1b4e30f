//! Cursors of lanes, and rejections that gateways have not seen.

use std::collections::BTreeMap;

use carepost_domain::id::GatewayId;

use super::Conn;
use crate::codec::narrow;
use crate::error::{Doing as _, Fault, unreadable};
use crate::lane::{LaneState, extra_numbers, extra_text, rejection, rejection_text};
use crate::model::{Cursors, Lane};

statements! {
    OPEN = "INSERT INTO lane_cursor (gateway, epoch, lane, settled_through, extra) VALUES ($1, $2, $3, 0, '')
        ON CONFLICT (gateway, epoch, lane) DO NOTHING";
    LOAD = concat!(
        "SELECT settled_through, extra FROM lane_cursor WHERE gateway = $1 AND epoch = $2 AND lane = $3",
        row_lock!()
    );
    REJECTED = "SELECT seq, reason FROM lane_rejection WHERE gateway = $1 AND epoch = $2 AND lane = $3 ORDER BY seq";
    SAVE = "UPDATE lane_cursor SET settled_through = $4, extra = $5 WHERE gateway = $1 AND epoch = $2 AND lane = $3";
    REJECT = "INSERT INTO lane_rejection (gateway, epoch, lane, seq, reason) VALUES ($1, $2, $3, $4, $5)";
    SEEN = "DELETE FROM lane_rejection WHERE gateway = $1 AND epoch = $2 AND lane = $3 AND seq <= $4";
    CURSORS = "SELECT lane, settled_through FROM lane_cursor WHERE gateway = $1 AND epoch = $2";
    FORGET_CURSORS = "DELETE FROM lane_cursor WHERE gateway = $1 AND epoch = $2";
    FORGET_REJECTIONS = "DELETE FROM lane_rejection WHERE gateway = $1 AND epoch = $2";
}

/// One lane of one gateway's start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LaneKey<'a> {
    pub(crate) gateway: GatewayId,
    pub(crate) epoch: &'a str,
    pub(crate) lane: Lane,
}

/// Loads a lane and holds it until commit, so that two connections of one gateway do not settle at once.
pub(crate) async fn load(conn: &mut Conn, key: LaneKey<'_>) -> Result<LaneState, Fault> {
    const ATTEMPT: &str = "load a lane's cursor";
    sqlx::query(OPEN)
        .bind(key.gateway.uuid())
        .bind(key.epoch)
        .bind(key.lane.code())
        .execute(&mut *conn)
        .await
        .doing(ATTEMPT)?;
    let (through, extra): (i64, String) = sqlx::query_as(LOAD)
        .bind(key.gateway.uuid())
        .bind(key.epoch)
        .bind(key.lane.code())
        .fetch_one(&mut *conn)
        .await
        .doing(ATTEMPT)?;
    let rows: Vec<(i64, String)> = sqlx::query_as(REJECTED)
        .bind(key.gateway.uuid())
        .bind(key.epoch)
        .bind(key.lane.code())
        .fetch_all(conn)
        .await
        .doing(ATTEMPT)?;
    let mut rejected = BTreeMap::new();
    for (seq, reason) in rows {
        rejected.insert(
            narrow(seq)?,
            rejection(&reason).map_err(|error| unreadable(ATTEMPT, error))?,
        );
    }
    Ok(LaneState::new(
        narrow(through)?,
        extra_numbers(&extra).map_err(|error| unreadable(ATTEMPT, error))?,
        rejected,
    ))
}

/// Stores what a batch changed.
pub(crate) async fn save(conn: &mut Conn, key: LaneKey<'_>, lane: &LaneState) -> Result<(), Fault> {
    const ATTEMPT: &str = "store a lane's cursor";
    for (seq, why) in lane.added() {
        sqlx::query(REJECT)
            .bind(key.gateway.uuid())
            .bind(key.epoch)
            .bind(key.lane.code())
            .bind(seq.cast_signed())
            .bind(rejection_text(why))
            .execute(&mut *conn)
            .await
            .doing(ATTEMPT)?;
    }
    sqlx::query(SAVE)
        .bind(key.gateway.uuid())
        .bind(key.epoch)
        .bind(key.lane.code())
        .bind(lane.through().cast_signed())
        .bind(extra_text(lane.extra()))
        .execute(conn)
        .await
        .doing(ATTEMPT)?;
    Ok(())
}

/// Forgets rejections that the gateway has seen.
pub(crate) async fn seen(conn: &mut Conn, key: LaneKey<'_>, through: u64) -> Result<(), Fault> {
    sqlx::query(SEEN)
        .bind(key.gateway.uuid())
        .bind(key.epoch)
        .bind(key.lane.code())
        .bind(through.cast_signed())
        .execute(conn)
        .await
        .doing("forget rejections that were seen")?;
    Ok(())
}

/// Where both lanes stand.
pub(crate) async fn cursors(conn: &mut Conn, gateway: GatewayId, epoch: &str) -> Result<Cursors, Fault> {
    let rows: Vec<(String, i64)> = sqlx::query_as(CURSORS)
        .bind(gateway.uuid())
        .bind(epoch)
        .fetch_all(conn)
        .await
        .doing("read cursors")?;
    let mut cursors = Cursors::default();
    for (lane, through) in rows {
        match crate::codec::code::<Lane>(&lane)? {
            Lane::Live => cursors.live = narrow(through)?,
            Lane::Replay => cursors.replay = narrow(through)?,
        }
    }
    Ok(cursors)
}

/// Forgets the lanes of an old epoch.
pub(crate) async fn forget(conn: &mut Conn, gateway: GatewayId, epoch: &str) -> Result<(), Fault> {
    for statement in [FORGET_REJECTIONS, FORGET_CURSORS] {
        sqlx::query(statement)
            .bind(gateway.uuid())
            .bind(epoch)
            .execute(&mut *conn)
            .await
            .doing("forget an old epoch's lanes")?;
    }
    Ok(())
}
