//! What gateways work from: the answer to hello, and then every change, to each gateway in order.
//!
//! One task polls the version of members, meters, bindings and grants. For each connected gateway it remembers the
//! version that the gateway holds and the version up to which it has looked; a gateway is sent a delta only when
//! something in its own scope has changed, and then the delta's `previous` is what the gateway holds. What does not fit
//! into one delta goes as a snapshot in parts.

use std::collections::HashMap;
use std::time::Duration;

use carepost_contract::limits::MAX_DOWN_ROWS;
use carepost_contract::v1::{Cursor, Delta, Down, DownGrant, DownMember, Epoch, Snapshot};
use carepost_daemon::CancellationToken;
use carepost_domain::id::GatewayId;
use carepost_store::FleetError;
use carepost_store::model::{Cursors, ScopeGrant, ScopeMember, ScopeRows};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::app::AppState;
use crate::broker::PublishError;
use crate::telemetry::chain;

/// Gateways that are served at a time. One that does not take its messages holds a place until it is cut off.
const PARALLEL: usize = 32;
/// Greetings that wait for a place.
pub(crate) const GREETINGS: usize = 256;

/// A gateway that has said hello.
#[derive(Debug)]
pub(crate) struct Greeting {
    pub(crate) gateway: GatewayId,
    pub(crate) session: u64,
    pub(crate) epoch: Epoch,
    /// The version that it holds; 0 for none.
    pub(crate) holds: u64,
    pub(crate) cursors: Cursors,
}

/// A gateway that is kept up to date.
#[derive(Clone, Copy, Debug)]
struct Peer {
    session: u64,
    /// The version that it holds, or will when it has what was sent.
    holds: u64,
    /// The version up to which its scope has been looked at.
    looked: i64,
    /// Whether it is being served; one at a time, so that messages keep their order.
    busy: bool,
    /// Whether its hello has been answered.
    greeted: bool,
}

/// What came of serving a gateway once.
struct Served {
    gateway: GatewayId,
    session: u64,
    result: Result<Reached, Failed>,
}

/// Where the gateway stands now.
struct Reached {
    holds: u64,
    looked: i64,
}

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Store(#[from] FleetError),
}

/// Serves gateways until the soft stop.
pub(crate) async fn run(
    state: AppState,
    mut greetings: mpsc::Receiver<Greeting>,
    soft: CancellationToken,
) -> anyhow::Result<()> {
    let mut peers: HashMap<GatewayId, Peer> = HashMap::new();
    let mut running: JoinSet<Served> = JoinSet::new();
    let mut current = 0_i64;
    let mut poll = tokio::time::interval(Duration::from_millis(state.config.ingest.down_poll_ms));
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // All branches are cancel-safe. A greeting waits while all places are taken.
        tokio::select! {
            biased;
            () = soft.cancelled() => return Ok(()),
            Some(served) = running.join_next() => settle(&state, &mut peers, served?),
            Some(greeting) = greetings.recv(), if running.len() < PARALLEL => {
                // Replaces an earlier connection of the gateway, whose messages go nowhere any more.
                peers.insert(
                    greeting.gateway,
                    Peer { session: greeting.session, holds: greeting.holds, looked: 0, busy: true, greeted: false },
                );
                let state = state.clone();
                running.spawn(async move {
                    let (gateway, session) = (greeting.gateway, greeting.session);
                    Served { gateway, session, result: welcome(&state, greeting).await }
                });
            }
            _ = poll.tick() => match state.store.down_version().await {
                Ok(version) => current = version,
                Err(fault) => tracing::warn!(error = chain(&fault), "down version could not be read"),
            },
        }
        for (gateway, peer) in &mut peers {
            if running.len() >= PARALLEL {
                break;
            }
            if !peer.busy && peer.looked < current {
                peer.busy = true;
                let (state, gateway, peer) = (state.clone(), *gateway, *peer);
                running.spawn(async move {
                    let result = update(&state, gateway, peer.session, peer.holds, peer.looked).await;
                    Served {
                        gateway,
                        session: peer.session,
                        result,
                    }
                });
            }
        }
    }
}

fn settle(state: &AppState, peers: &mut HashMap<GatewayId, Peer>, served: Served) {
    let Some(peer) = peers
        .get_mut(&served.gateway)
        .filter(|peer| peer.session == served.session)
    else {
        return;
    };
    peer.busy = false;
    match served.result {
        Ok(reached) => {
            peer.greeted = true;
            peer.holds = reached.holds;
            peer.looked = reached.looked;
        }
        Err(Failed::Store(FleetError::Fault(fault))) => {
            tracing::warn!(gateway.id = %served.gateway, error = chain(&fault), "scope could not be read");
            // What follows the greeting is tried again at the next tick; a hello without an answer is said again.
            if !peer.greeted {
                state.broker.send_away(served.gateway);
                peers.remove(&served.gateway);
            }
        }
        Err(error) => {
            // Its next hello brings it back.
            tracing::info!(gateway.id = %served.gateway, error = chain(&error), "gateway is not kept up to date");
            peers.remove(&served.gateway);
        }
    }
}

/// Answers hello: where its lanes stand, then what it lacks.
async fn welcome(state: &AppState, greeting: Greeting) -> Result<Reached, Failed> {
    let cursor = Down::Cursor(Cursor {
        epoch: greeting.epoch,
        live: greeting.cursors.live,
        replay: greeting.cursors.replay,
        server_time: state.clock.now(),
    });
    publish(state, greeting.gateway, greeting.session, &cursor).await?;
    let holds = i64::try_from(greeting.holds).unwrap_or(i64::MAX);
    let current = state.store.down_version().await.map_err(FleetError::from)?;
    // A version from the future was given by a database that has been replaced by an older copy.
    if holds == 0 || holds > current {
        snapshot(state, greeting.gateway, greeting.session).await
    } else {
        update(state, greeting.gateway, greeting.session, greeting.holds, holds).await
    }
}

/// Sends what has changed since `looked` to a gateway that holds `holds`.
async fn update(
    state: &AppState,
    gateway: GatewayId,
    session: u64,
    holds: u64,
    looked: i64,
) -> Result<Reached, Failed> {
    let changed = state.store.down_changes(gateway, looked).await?;
    let version = changed.rows.version;
    if changed.rows.is_empty() {
        return Ok(Reached { holds, looked: version });
    }
    if changed.rows.len() > MAX_DOWN_ROWS {
        return snapshot(state, gateway, session).await;
    }
    let rows = changed.rows;
    let brings = u64::try_from(version).unwrap_or(0);
    let delta = Down::Delta(Delta {
        previous: holds,
        version: brings,
        members: rows.members.into_iter().map(down_member).collect(),
        meters: rows.meters,
        bindings: rows.bindings,
        grants: rows.grants.into_iter().map(down_grant).collect(),
    });
    publish(state, gateway, session, &delta).await?;
    tracing::info!(gateway.id = %gateway, previous = holds, version, "delta sent");
    Ok(Reached {
        holds: brings,
        looked: version,
    })
}

async fn snapshot(state: &AppState, gateway: GatewayId, session: u64) -> Result<Reached, Failed> {
    let rows = state.store.down_snapshot(gateway).await?;
    let version = rows.version;
    let parts = snapshot_parts(rows);
    let count = parts.len();
    for part in parts {
        publish(state, gateway, session, &Down::Snapshot(part)).await?;
    }
    tracing::info!(gateway.id = %gateway, version, parts = count, "snapshot sent");
    Ok(Reached {
        holds: u64::try_from(version).unwrap_or(0),
        looked: version,
    })
}

async fn publish(state: &AppState, gateway: GatewayId, session: u64, down: &Down) -> Result<(), PublishError> {
    // Ids, codes, texts and times always serialise.
    let payload = serde_json::to_vec(down).unwrap_or_default();
    state.broker.publish_down(gateway, session, payload).await
}

/// Cuts a snapshot into parts of at most [`MAX_DOWN_ROWS`] rows; at least one, and the last one says so.
fn snapshot_parts(rows: ScopeRows) -> Vec<Snapshot> {
    let ScopeRows {
        version,
        store,
        zone,
        members,
        meters,
        bindings,
        grants,
    } = rows;
    let version = u64::try_from(version).unwrap_or(0);
    let (mut members, mut meters) = (members.into_iter(), meters.into_iter());
    let (mut bindings, mut grants) = (bindings.into_iter(), grants.into_iter());
    let mut parts = Vec::new();
    loop {
        let mut room = MAX_DOWN_ROWS;
        let part = Snapshot {
            version,
            part: u32::try_from(parts.len()).unwrap_or(u32::MAX),
            last: false,
            store,
            zone: zone.name().to_owned(),
            members: fill(&mut members, &mut room).into_iter().map(down_member).collect(),
            meters: fill(&mut meters, &mut room),
            bindings: fill(&mut bindings, &mut room),
            grants: fill(&mut grants, &mut room).into_iter().map(down_grant).collect(),
        };
        parts.push(part);
        if members.len() + meters.len() + bindings.len() + grants.len() == 0 {
            break;
        }
    }
    if let Some(last) = parts.last_mut() {
        last.last = true;
    }
    parts
}

fn fill<T>(rows: &mut std::vec::IntoIter<T>, room: &mut usize) -> Vec<T> {
    let taken: Vec<T> = rows.take(*room).collect();
    *room -= taken.len();
    taken
}

fn down_member(member: ScopeMember) -> DownMember {
    DownMember {
        id: member.id,
        code: member.code,
        masked_name: member.masked_name,
    }
}

fn down_grant(grant: ScopeGrant) -> DownGrant {
    DownGrant {
        id: grant.id,
        member: grant.member,
        granted_at: grant.granted_at,
        withdrawn_at: grant.withdrawn_at,
        expires_at: grant.expires_at,
        includes_history: grant.includes_history,
    }
}

#[cfg(test)]
mod tests {
    use carepost_domain::Id;
    use uuid::Uuid;

    use super::*;

    fn rows(members: usize, grants: usize) -> ScopeRows {
        let id = |n: usize| Uuid::from_u128(n as u128);
        ScopeRows {
            version: 7,
            store: Id::from_uuid(id(1)),
            zone: chrono_tz::Asia::Shanghai,
            members: (0..members)
                .map(|n| ScopeMember {
                    id: Id::from_uuid(id(n)),
                    code: format!("CP-{n:04}").parse().unwrap(),
                    masked_name: "王**".to_owned(),
                })
                .collect(),
            meters: Vec::new(),
            bindings: Vec::new(),
            grants: (0..grants)
                .map(|n| ScopeGrant {
                    id: Id::from_uuid(id(n)),
                    member: Id::from_uuid(id(n)),
                    granted_at: chrono::DateTime::UNIX_EPOCH,
                    withdrawn_at: None,
                    expires_at: None,
                    includes_history: false,
                })
                .collect(),
        }
    }

    #[test]
    fn a_snapshot_is_cut_into_parts_that_lose_and_repeat_nothing() {
        for (members, grants, expected) in [
            (0, 0, 1),
            (1, 1, 1),
            (MAX_DOWN_ROWS, 0, 1),
            (MAX_DOWN_ROWS, 1, 2),
            (MAX_DOWN_ROWS - 1, MAX_DOWN_ROWS + 2, 3),
        ] {
            let parts = snapshot_parts(rows(members, grants));
            assert_eq!(parts.len(), expected, "{members} members, {grants} grants");
            let seen: Vec<_> = parts
                .iter()
                .flat_map(|part| part.members.iter().map(|member| member.id))
                .collect();
            assert_eq!(
                seen,
                rows(members, 0)
                    .members
                    .iter()
                    .map(|member| member.id)
                    .collect::<Vec<_>>()
            );
            assert_eq!(parts.iter().map(|part| part.grants.len()).sum::<usize>(), grants);
            for (number, part) in parts.iter().enumerate() {
                assert!(part.members.len() + part.grants.len() <= MAX_DOWN_ROWS);
                assert_eq!((part.part as usize, part.last), (number, number + 1 == expected));
            }
        }
    }
}
