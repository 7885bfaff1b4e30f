//! What a gateway works from: everything in its scope, or what changed in it.

use carepost_domain::Id;
use carepost_domain::id::GatewayId;
use carepost_domain::people::masked_name;
use uuid::Uuid;

use super::counter::{self, Counter};
use super::meters::{BindingRow, MeterRow, meter_columns};
use super::{Conn, fleet};
use crate::codec::{instant, instant_opt, parse};
use crate::error::{Doing as _, Fault, FleetError};
use crate::model::{ChangedRows, ScopeGrant, ScopeMember, ScopeRows};

statements! {
    MEMBERS = "SELECT id, code, name FROM member
        WHERE changed > $2 AND (home_store = $1 OR id IN (
            SELECT b.member FROM binding b JOIN meter m ON m.id = b.meter WHERE m.store = $1))
        ORDER BY id";
    METERS = concat!("SELECT ", meter_columns!(), " FROM meter WHERE store = $1 AND changed > $2 ORDER BY id");
    BINDINGS = "SELECT b.id, b.meter, b.member, b.slot, b.valid_from, b.valid_to, b.only_ever_this_person
        FROM binding b JOIN meter m ON m.id = b.meter
        WHERE m.store = $1 AND b.changed > $2 ORDER BY b.id";
    GRANTS = "SELECT g.id, g.member, g.granted_at, g.withdrawn_at, g.expires_at, g.includes_history
        FROM consent_grant g JOIN member p ON p.id = g.member
        WHERE g.purpose = 'care_record' AND g.changed > $2 AND (p.home_store = $1 OR p.id IN (
            SELECT b.member FROM binding b JOIN meter m ON m.id = b.meter WHERE m.store = $1))
        ORDER BY g.id";
}

#[derive(sqlx::FromRow)]
struct MemberRow {
    id: Uuid,
    code: String,
    name: String,
}

#[derive(sqlx::FromRow)]
struct GrantRow {
    id: Uuid,
    member: Uuid,
    granted_at: i64,
    withdrawn_at: Option<i64>,
    expires_at: Option<i64>,
    includes_history: bool,
}

/// Everything in the scope.
pub(crate) async fn snapshot(conn: &mut Conn, gateway: GatewayId) -> Result<ScopeRows, FleetError> {
    since(conn, gateway, 0).await
}

/// What changed in the scope.
pub(crate) async fn changes(conn: &mut Conn, gateway: GatewayId, version: i64) -> Result<ChangedRows, FleetError> {
    Ok(ChangedRows {
        previous: version,
        rows: since(conn, gateway, version).await?,
    })
}

async fn since(conn: &mut Conn, gateway: GatewayId, after: i64) -> Result<ScopeRows, FleetError> {
    let gateway = fleet::authorise(conn, gateway).await?;
    let version = counter::read(conn, Counter::Down).await?;
    let store = gateway.store.uuid();
    let members: Vec<MemberRow> = sqlx::query_as(MEMBERS)
        .bind(store)
        .bind(after)
        .fetch_all(&mut *conn)
        .await
        .doing("read a gateway's members")?;
    let meters: Vec<MeterRow> = sqlx::query_as(METERS)
        .bind(store)
        .bind(after)
        .fetch_all(&mut *conn)
        .await
        .doing("read a gateway's meters")?;
    let bindings: Vec<BindingRow> = sqlx::query_as(BINDINGS)
        .bind(store)
        .bind(after)
        .fetch_all(&mut *conn)
        .await
        .doing("read a gateway's bindings")?;
    let grants: Vec<GrantRow> = sqlx::query_as(GRANTS)
        .bind(store)
        .bind(after)
        .fetch_all(&mut *conn)
        .await
        .doing("read a gateway's grants")?;
    Ok(ScopeRows {
        version,
        store: gateway.store,
        zone: gateway.zone,
        members: members.into_iter().map(member).collect::<Result<_, Fault>>()?,
        meters: meters
            .into_iter()
            .map(MeterRow::into_model)
            .collect::<Result<_, Fault>>()?,
        bindings: bindings
            .into_iter()
            .map(BindingRow::into_model)
            .collect::<Result<_, Fault>>()?,
        grants: grants.into_iter().map(grant).collect::<Result<_, Fault>>()?,
    })
}

fn member(row: MemberRow) -> Result<ScopeMember, Fault> {
    Ok(ScopeMember {
        id: Id::from_uuid(row.id),
        code: parse(&row.code)?,
        masked_name: masked_name(&row.name),
    })
}

fn grant(row: GrantRow) -> Result<ScopeGrant, Fault> {
    Ok(ScopeGrant {
        id: Id::from_uuid(row.id),
        member: Id::from_uuid(row.member),
        granted_at: instant(row.granted_at)?,
        withdrawn_at: instant_opt(row.withdrawn_at)?,
        expires_at: instant_opt(row.expires_at)?,
        includes_history: row.includes_history,
    })
}
