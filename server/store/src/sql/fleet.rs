//! Stores and gateways.

use carepost_domain::Id;
use carepost_domain::id::{GatewayId, StoreId};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::counter::{self, Counter};
use super::{Conn, audit, lanes};
use crate::audit::Entry;
use crate::codec::{bytes, instant, instant_opt, parse, us};
use crate::error::{Doing as _, Fault, FleetError};
use crate::limits::{KEPT_EPOCHS, MAX_EPOCH_BYTES};
use crate::model::{By, Gateway, HelloOutcome, NewGateway, StoreSite, TechnicalFlag};

statements! {
    ADD_STORE = "INSERT INTO store (id, name, zone, added_at) VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING";
    STORE = "SELECT id, name, zone FROM store WHERE id = $1";
    STORES = "SELECT id, name, zone FROM store ORDER BY name, id";
    ADD_GATEWAY = "INSERT INTO gateway (id, store, name, public_key, enrolled_at, online, applied_version, readings)
        VALUES ($1, $2, $3, $4, $5, FALSE, 0, 0) ON CONFLICT (id) DO NOTHING";
    GATEWAY = "SELECT g.id, g.store, s.zone, g.name, g.public_key, g.enrolled_at, g.revoked_at, g.last_seen, g.online,
            g.epoch, g.applied_version
        FROM gateway g JOIN store s ON s.id = g.store WHERE g.id = $1";
    GATEWAYS = "SELECT g.id, g.store, s.zone, g.name, g.public_key, g.enrolled_at, g.revoked_at, g.last_seen, g.online,
            g.epoch, g.applied_version
        FROM gateway g JOIN store s ON s.id = g.store ORDER BY g.name, g.id";
    REVOKE = "UPDATE gateway SET revoked_at = $2, online = FALSE WHERE id = $1 AND revoked_at IS NULL";
    PRESENCE = "UPDATE gateway SET online = $2, last_seen = $3 WHERE id = $1";
    ALL_OFFLINE = "UPDATE gateway SET online = FALSE WHERE online";
    LOCK_GATEWAY = concat!("SELECT epoch FROM gateway WHERE id = $1", row_lock!());
    EPOCH_KNOWN = "SELECT COUNT(*) FROM gateway_epoch WHERE gateway = $1 AND epoch = $2";
    NOTE_EPOCH = "INSERT INTO gateway_epoch (gateway, epoch, first_at, last_at) VALUES ($1, $2, $3, $3)
        ON CONFLICT (gateway, epoch) DO UPDATE SET last_at = excluded.last_at";
    SET_EPOCH = "UPDATE gateway SET epoch = $2, last_seen = $3, online = TRUE WHERE id = $1";
    FORGET_EPOCHS = "DELETE FROM gateway_epoch WHERE gateway = $1 AND epoch NOT IN (
            SELECT epoch FROM gateway_epoch WHERE gateway = $1 ORDER BY last_at DESC, epoch LIMIT $2)
        RETURNING epoch";
    RAISE_FLAG = "INSERT INTO technical_flag (gateway, kind, raised_at, last_at, count) VALUES ($1, $2, $3, $3, 1)
        ON CONFLICT (gateway, kind) DO UPDATE SET last_at = excluded.last_at, count = technical_flag.count + 1";
    FLAGS = "SELECT gateway, kind, raised_at, last_at, count FROM technical_flag ORDER BY raised_at, gateway, kind";
    CLEAR_FLAG = "DELETE FROM technical_flag WHERE gateway = $1 AND kind = $2";
    NOTE_APPLIED = "UPDATE gateway SET applied_version = $2, last_seen = $3 WHERE id = $1";
}

/// The flag that alternating epochs raise.
const CLONED: &str = "cloned_gateway";

#[derive(sqlx::FromRow)]
struct StoreRow {
    id: Uuid,
    name: String,
    zone: String,
}

impl StoreRow {
    fn into_model(self) -> Result<StoreSite, Fault> {
        Ok(StoreSite {
            id: Id::from_uuid(self.id),
            name: self.name,
            zone: parse(&self.zone)?,
        })
    }
}

#[derive(sqlx::FromRow)]
struct GatewayRow {
    id: Uuid,
    store: Uuid,
    zone: String,
    name: String,
    public_key: Vec<u8>,
    enrolled_at: i64,
    revoked_at: Option<i64>,
    last_seen: Option<i64>,
    online: bool,
    epoch: Option<String>,
    applied_version: i64,
}

impl GatewayRow {
    fn into_model(self) -> Result<Gateway, Fault> {
        Ok(Gateway {
            id: Id::from_uuid(self.id),
            store: Id::from_uuid(self.store),
            zone: parse(&self.zone)?,
            name: self.name,
            public_key: bytes(self.public_key)?,
            enrolled_at: instant(self.enrolled_at)?,
            revoked_at: instant_opt(self.revoked_at)?,
            last_seen: instant_opt(self.last_seen)?,
            online: self.online,
            epoch: self.epoch,
            applied_version: self.applied_version,
        })
    }
}

#[derive(sqlx::FromRow)]
struct FlagRow {
    gateway: Uuid,
    kind: String,
    raised_at: i64,
    last_at: i64,
    count: i64,
}

/// A store, if it exists.
pub(crate) async fn find_store(conn: &mut Conn, id: StoreId) -> Result<Option<StoreSite>, Fault> {
    let row: Option<StoreRow> = sqlx::query_as(STORE)
        .bind(id.uuid())
        .fetch_optional(conn)
        .await
        .doing("look a store up")?;
    row.map(StoreRow::into_model).transpose()
}

/// A gateway, if it is enrolled.
pub(crate) async fn find_gateway(conn: &mut Conn, id: GatewayId) -> Result<Option<Gateway>, Fault> {
    let row: Option<GatewayRow> = sqlx::query_as(GATEWAY)
        .bind(id.uuid())
        .fetch_optional(conn)
        .await
        .doing("look a gateway up")?;
    row.map(GatewayRow::into_model).transpose()
}

pub(crate) async fn add_store(conn: &mut Conn, by: &By, site: &StoreSite) -> Result<(), FleetError> {
    let added = sqlx::query(ADD_STORE)
        .bind(site.id.uuid())
        .bind(site.name.as_str())
        .bind(site.zone.name())
        .bind(us(by.at))
        .execute(&mut *conn)
        .await
        .doing("add a store")?;
    if added.rows_affected() == 0 {
        let same = find_store(conn, site.id).await?.as_ref() == Some(site);
        return if same {
            Ok(())
        } else {
            Err(FleetError::StoreDiffers(site.id))
        };
    }
    audit::insert(conn, &Entry::new(by, "store.add", site.id)).await?;
    Ok(())
}

pub(crate) async fn site(conn: &mut Conn, id: StoreId) -> Result<StoreSite, FleetError> {
    find_store(conn, id).await?.ok_or(FleetError::StoreUnknown(id))
}

pub(crate) async fn stores(conn: &mut Conn) -> Result<Vec<StoreSite>, FleetError> {
    let rows: Vec<StoreRow> = sqlx::query_as(STORES).fetch_all(conn).await.doing("list stores")?;
    Ok(rows
        .into_iter()
        .map(StoreRow::into_model)
        .collect::<Result<_, Fault>>()?)
}

pub(crate) async fn add_gateway(conn: &mut Conn, by: &By, new: &NewGateway) -> Result<(), FleetError> {
    if find_store(conn, new.store).await?.is_none() {
        return Err(FleetError::StoreUnknown(new.store));
    }
    let added = sqlx::query(ADD_GATEWAY)
        .bind(new.id.uuid())
        .bind(new.store.uuid())
        .bind(new.name.as_str())
        .bind(new.public_key.as_slice())
        .bind(us(by.at))
        .execute(&mut *conn)
        .await
        .doing("enrol a gateway")?;
    if added.rows_affected() == 0 {
        let known = gateway(conn, new.id).await?;
        if known.revoked_at.is_some() {
            return Err(FleetError::GatewayRevoked(new.id));
        }
        let same = known.store == new.store && known.name == new.name && known.public_key == new.public_key;
        return if same {
            Ok(())
        } else {
            Err(FleetError::GatewayDiffers(new.id))
        };
    }
    audit::insert(conn, &Entry::new(by, "gateway.enrol", new.id)).await?;
    Ok(())
}

pub(crate) async fn gateway(conn: &mut Conn, id: GatewayId) -> Result<Gateway, FleetError> {
    find_gateway(conn, id).await?.ok_or(FleetError::GatewayUnknown(id))
}

pub(crate) async fn gateways(conn: &mut Conn) -> Result<Vec<Gateway>, FleetError> {
    let rows: Vec<GatewayRow> = sqlx::query_as(GATEWAYS).fetch_all(conn).await.doing("list gateways")?;
    Ok(rows
        .into_iter()
        .map(GatewayRow::into_model)
        .collect::<Result<_, Fault>>()?)
}

pub(crate) async fn revoke(conn: &mut Conn, by: &By, id: GatewayId) -> Result<(), FleetError> {
    let revoked = sqlx::query(REVOKE)
        .bind(id.uuid())
        .bind(us(by.at))
        .execute(&mut *conn)
        .await
        .doing("revoke a gateway")?;
    if revoked.rows_affected() == 0 {
        // Revoked already, or never enrolled.
        return gateway(conn, id).await.map(|_| ());
    }
    audit::insert(conn, &Entry::new(by, "gateway.revoke", id)).await?;
    Ok(())
}

pub(crate) async fn note_presence(
    conn: &mut Conn,
    id: GatewayId,
    online: bool,
    now: DateTime<Utc>,
) -> Result<(), FleetError> {
    let noted = sqlx::query(PRESENCE)
        .bind(id.uuid())
        .bind(online)
        .bind(us(now))
        .execute(conn)
        .await
        .doing("note a gateway's presence")?;
    if noted.rows_affected() == 0 {
        Err(FleetError::GatewayUnknown(id))
    } else {
        Ok(())
    }
}

pub(crate) async fn all_offline(conn: &mut Conn) -> Result<(), FleetError> {
    sqlx::query(ALL_OFFLINE)
        .execute(conn)
        .await
        .doing("note that no gateway is connected")?;
    Ok(())
}

/// Refuses gateways that are unknown or revoked.
pub(crate) async fn authorise(conn: &mut Conn, id: GatewayId) -> Result<Gateway, FleetError> {
    let gateway = gateway(conn, id).await?;
    if gateway.revoked_at.is_some() {
        Err(FleetError::GatewayRevoked(id))
    } else {
        Ok(gateway)
    }
}

/// Records a gateway's start.
pub(crate) async fn hello(
    conn: &mut Conn,
    id: GatewayId,
    epoch: &str,
    now: DateTime<Utc>,
) -> Result<HelloOutcome, FleetError> {
    if epoch.is_empty() || epoch.len() > MAX_EPOCH_BYTES {
        return Err(FleetError::BadEpoch);
    }
    authorise(conn, id).await?;
    let current: Option<String> = sqlx::query_scalar(LOCK_GATEWAY)
        .bind(id.uuid())
        .fetch_one(&mut *conn)
        .await
        .doing("hold a gateway")?;
    let known: i64 = sqlx::query_scalar(EPOCH_KNOWN)
        .bind(id.uuid())
        .bind(epoch)
        .fetch_one(&mut *conn)
        .await
        .doing("look an epoch up")?;
    // An epoch is drawn at each start and never comes back, unless another machine with the same key still runs in it.
    let cloned = known > 0 && current.as_deref() != Some(epoch);
    sqlx::query(NOTE_EPOCH)
        .bind(id.uuid())
        .bind(epoch)
        .bind(us(now))
        .execute(&mut *conn)
        .await
        .doing("note an epoch")?;
    sqlx::query(SET_EPOCH)
        .bind(id.uuid())
        .bind(epoch)
        .bind(us(now))
        .execute(&mut *conn)
        .await
        .doing("note an epoch")?;
    let forgotten: Vec<String> = sqlx::query_scalar(FORGET_EPOCHS)
        .bind(id.uuid())
        .bind(KEPT_EPOCHS)
        .fetch_all(&mut *conn)
        .await
        .doing("forget old epochs")?;
    for old in forgotten {
        lanes::forget(conn, id, &old).await?;
    }
    if cloned {
        sqlx::query(RAISE_FLAG)
            .bind(id.uuid())
            .bind(CLONED)
            .bind(us(now))
            .execute(&mut *conn)
            .await
            .doing("raise a technical flag")?;
        let by = By::system(now);
        audit::insert(conn, &Entry::new(&by, "gateway.cloned", id)).await?;
    }
    Ok(HelloOutcome {
        cursors: lanes::cursors(conn, id, epoch).await?,
        cloned,
        down_version: counter::read(conn, Counter::Down).await?,
    })
}

pub(crate) async fn cursors(conn: &mut Conn, id: GatewayId, epoch: &str) -> Result<crate::model::Cursors, FleetError> {
    gateway(conn, id).await?;
    Ok(lanes::cursors(conn, id, epoch).await?)
}

pub(crate) async fn flags(conn: &mut Conn) -> Result<Vec<TechnicalFlag>, FleetError> {
    let rows: Vec<FlagRow> = sqlx::query_as(FLAGS)
        .fetch_all(conn)
        .await
        .doing("list technical flags")?;
    let flags = rows.into_iter().map(|row| {
        Ok(TechnicalFlag {
            kind: row.kind,
            gateway: Id::from_uuid(row.gateway),
            raised_at: instant(row.raised_at)?,
            last_at: instant(row.last_at)?,
            count: row.count,
        })
    });
    Ok(flags.collect::<Result<_, Fault>>()?)
}

pub(crate) async fn clear_flag(conn: &mut Conn, by: &By, gateway: GatewayId, kind: &str) -> Result<(), FleetError> {
    let cleared = sqlx::query(CLEAR_FLAG)
        .bind(gateway.uuid())
        .bind(kind)
        .execute(&mut *conn)
        .await
        .doing("clear a technical flag")?;
    if cleared.rows_affected() > 0 {
        audit::insert(conn, &Entry::new(by, "gateway.flag_clear", gateway).detail(kind)).await?;
    }
    Ok(())
}

pub(crate) async fn note_applied(
    conn: &mut Conn,
    id: GatewayId,
    version: i64,
    now: DateTime<Utc>,
) -> Result<(), FleetError> {
    let noted = sqlx::query(NOTE_APPLIED)
        .bind(id.uuid())
        .bind(version)
        .bind(us(now))
        .execute(conn)
        .await
        .doing("note what a gateway has applied")?;
    if noted.rows_affected() == 0 {
        Err(FleetError::GatewayUnknown(id))
    } else {
        Ok(())
    }
}
