//! Meters and who owns which, as staff say it. What gateways say is in `registration`.

use std::collections::BTreeMap;

use carepost_domain::Id;
use carepost_domain::id::{BindingId, GatewayId, MeterId, StoreId};
use carepost_domain::meter::{About, Binding, Meter, MeterRole};
use carepost_domain::reading::Reading;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::counter::{self, Counter};
use super::people::{self, lock_members};
use super::{Conn, audit, fleet, ids};
use crate::audit::Entry;
use crate::codec::{code, instant, instant_opt, narrow, parse, us};
use crate::error::{Doing as _, Fault, FaultKind, PeopleError};
use crate::limits::MAX_NAME_CHARS;
use crate::model::{BindingRequest, By};

/// The columns of [`MeterRow`].
macro_rules! meter_columns {
    ($($of:literal)?) => {
        concat!(
            $($of,)? "id, ", $($of,)? "address, ", $($of,)? "address_type, ", $($of,)? "kind, ", $($of,)? "role, ",
            $($of,)? "store, ", $($of,)? "model, ", $($of,)? "multi_user, ", $($of,)? "manufacturer, ",
            $($of,)? "serial, ", $($of,)? "firmware"
        )
    };
}

pub(super) use meter_columns;

/// What the audit says of a binding whose owner is said to be the only one who ever used the meter.
pub(super) const ONLY_EVER: &str = "only_ever_this_person";

statements! {
    TOUCH_MEMBER = "UPDATE member SET changed = $2 WHERE id = $1";
    TOUCH_GRANTS = "UPDATE consent_grant SET changed = $2 WHERE member = $1 AND purpose = 'care_record'";
    ADD_METER = "INSERT INTO meter (id, address, address_type, kind, role, store, model, multi_user, registered_at, changed,
            manufacturer, serial, firmware, described_at, registered_via)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) ON CONFLICT (id) DO NOTHING";
    METERS = concat!("SELECT ", meter_columns!(), " FROM meter WHERE id", in_ids!("$1"));
    SEEN = "UPDATE meter SET last_seen = $2 WHERE id = $1 AND (last_seen IS NULL OR last_seen < $2)";
    LOCK_METER = concat!("SELECT id FROM meter WHERE id = $1", row_lock!());
    ADD_BINDING = "INSERT INTO binding (id, meter, member, slot, valid_from, valid_to, only_ever_this_person, changed)
        VALUES ($1, $2, $3, $4, $5, NULL, $6, $7) ON CONFLICT (id) DO NOTHING";
    BINDINGS_OF_METERS = concat!(
        "SELECT id, meter, member, slot, valid_from, valid_to, only_ever_this_person FROM binding WHERE meter",
        in_ids!("$1"), " ORDER BY valid_from, id"
    );
    BINDING = concat!(
        "SELECT id, meter, member, slot, valid_from, valid_to, only_ever_this_person FROM binding WHERE id = $1",
        row_lock!()
    );
    END_BINDING = "UPDATE binding SET valid_to = $2, changed = $3 WHERE id = $1";
}

#[derive(sqlx::FromRow)]
pub(crate) struct MeterRow {
    id: Uuid,
    address: String,
    address_type: String,
    kind: String,
    role: String,
    store: Uuid,
    model: String,
    multi_user: bool,
    manufacturer: String,
    serial: String,
    firmware: String,
}

impl MeterRow {
    pub(crate) fn into_model(self) -> Result<Meter, Fault> {
        Ok(Meter {
            id: Id::from_uuid(self.id),
            address: parse(&self.address)?,
            address_type: code(&self.address_type)?,
            kind: code(&self.kind)?,
            role: code(&self.role)?,
            store: Id::from_uuid(self.store),
            model: self.model,
            multi_user: self.multi_user,
            about: About {
                manufacturer: self.manufacturer,
                serial: self.serial,
                firmware: self.firmware,
            },
        })
    }
}

#[derive(sqlx::FromRow)]
pub(crate) struct BindingRow {
    id: Uuid,
    meter: Uuid,
    member: Uuid,
    slot: Option<i64>,
    valid_from: i64,
    valid_to: Option<i64>,
    only_ever_this_person: bool,
}

impl BindingRow {
    pub(crate) fn into_model(self) -> Result<Binding, Fault> {
        Ok(Binding {
            id: Id::from_uuid(self.id),
            meter: Id::from_uuid(self.meter),
            member: Id::from_uuid(self.member),
            slot: self.slot.map(narrow).transpose()?,
            valid_from: instant(self.valid_from)?,
            valid_to: instant_opt(self.valid_to)?,
            only_ever_this_person: self.only_ever_this_person,
        })
    }
}

/// Meters by id, in no order.
pub(crate) async fn find_meters(conn: &mut Conn, list: &[Uuid]) -> Result<Vec<Meter>, Fault> {
    let rows: Vec<MeterRow> = sqlx::query_as(METERS)
        .bind(ids(list))
        .fetch_all(conn)
        .await
        .doing("look meters up")?;
    rows.into_iter().map(MeterRow::into_model).collect()
}

/// Bindings of meters, ended ones included.
pub(crate) async fn find_bindings(conn: &mut Conn, meters: &[Uuid]) -> Result<Vec<Binding>, Fault> {
    let rows: Vec<BindingRow> = sqlx::query_as(BINDINGS_OF_METERS)
        .bind(ids(meters))
        .fetch_all(conn)
        .await
        .doing("look bindings up")?;
    rows.into_iter().map(BindingRow::into_model).collect()
}

pub(crate) async fn meter(conn: &mut Conn, id: MeterId) -> Result<Meter, PeopleError> {
    find_meters(conn, &[id.uuid()])
        .await?
        .pop()
        .ok_or(PeopleError::MeterUnknown(id))
}

pub(crate) async fn register_meter(conn: &mut Conn, by: &By, meter: &Meter) -> Result<Meter, PeopleError> {
    if carepost_domain::meter::meter_id(meter.address, meter.address_type) != meter.id {
        return Err(PeopleError::MeterDiffers(meter.id));
    }
    if meter.model.chars().count() > MAX_NAME_CHARS {
        return Err(PeopleError::BadText {
            field: "model",
            min: 0,
            max: MAX_NAME_CHARS,
        });
    }
    if fleet::find_store(conn, meter.store).await?.is_none() {
        return Err(PeopleError::StoreUnknown(meter.store));
    }
    if let Some(known) = find_meters(conn, &[meter.id.uuid()]).await?.pop() {
        // Staff who know only the address do not contradict what the meter has said of itself.
        let same = Meter {
            about: known.about.clone(),
            ..meter.clone()
        } == known
            && (meter.about == About::default() || meter.about == known.about);
        return if same {
            Ok(known)
        } else {
            Err(PeopleError::MeterDiffers(meter.id))
        };
    }
    let version = counter::add(conn, Counter::Down, 1).await?;
    insert_meter(conn, by, meter, &Origin::default(), version).await?;
    Ok(meter.clone())
}

/// Where a meter's registration comes from, when it comes from a gateway.
#[derive(Debug, Default)]
pub(super) struct Origin {
    /// The gateway.
    pub(super) via: Option<GatewayId>,
    /// When it learnt what the meter says of itself.
    pub(super) described_at: Option<DateTime<Utc>>,
}

/// Inserts a meter that is not there, with its audit row.
pub(super) async fn insert_meter(
    conn: &mut Conn,
    by: &By,
    meter: &Meter,
    origin: &Origin,
    version: i64,
) -> Result<(), Fault> {
    let added = sqlx::query(ADD_METER)
        .bind(meter.id.uuid())
        .bind(meter.address.to_string())
        .bind(meter.address_type.code())
        .bind(meter.kind.code())
        .bind(meter.role.code())
        .bind(meter.store.uuid())
        .bind(meter.model.as_str())
        .bind(meter.multi_user)
        .bind(us(by.at))
        .bind(version)
        .bind(meter.about.manufacturer.as_str())
        .bind(meter.about.serial.as_str())
        .bind(meter.about.firmware.as_str())
        .bind(origin.described_at.map(us))
        .bind(origin.via.map(Id::uuid))
        .execute(&mut *conn)
        .await
        .doing("register a meter")?;
    if added.rows_affected() == 0 {
        return Err(Fault::new(
            "register a meter",
            FaultKind::Contention,
            "somebody else registered it just now",
        ));
    }
    audit::insert(
        conn,
        &Entry::new(by, "meter.register", meter.id).detail(meter.role.code()),
    )
    .await
}

/// Holds a meter until commit; `false` when there is none.
pub(super) async fn hold(conn: &mut Conn, meter: MeterId) -> Result<bool, Fault> {
    let held: Option<Uuid> = sqlx::query_scalar(LOCK_METER)
        .bind(meter.uuid())
        .fetch_optional(conn)
        .await
        .doing("hold a meter")?;
    Ok(held.is_some())
}

/// Notes when meters were last heard of, from readings that are stored now.
pub(super) async fn note_seen(conn: &mut Conn, stored: &[&Reading], now: DateTime<Utc>) -> Result<(), Fault> {
    // In the order of their ids, so that two batches never wait for each other.
    let mut seen: BTreeMap<Uuid, DateTime<Utc>> = BTreeMap::new();
    for reading in stored {
        // A gateway whose clock is ahead has not seen the meter in the future.
        let at = reading.captured_at.min(now);
        let latest = seen.entry(reading.meter.uuid()).or_insert(at);
        *latest = at.max(*latest);
    }
    for (meter, at) in seen {
        sqlx::query(SEEN)
            .bind(meter)
            .bind(us(at))
            .execute(&mut *conn)
            .await
            .doing("note when a meter was seen")?;
    }
    Ok(())
}

pub(crate) async fn bind(conn: &mut Conn, by: &By, request: &BindingRequest) -> Result<(), PeopleError> {
    // Members before meters, as an ingest holds them.
    let known_member = !lock_members(conn, &[request.member.uuid()]).await?.is_empty();
    if !hold(conn, request.meter).await? {
        return Err(PeopleError::MeterUnknown(request.meter));
    }
    let meter = meter(conn, request.meter).await?;
    if !known_member {
        return Err(PeopleError::MemberUnknown(request.member));
    }
    match (meter.role, meter.multi_user, request.slot) {
        (MeterRole::StoreShared, _, _) => return Err(PeopleError::MeterShared(meter.id)),
        (MeterRole::Personal, true, None) => {
            return Err(PeopleError::SlotMismatch {
                meter: meter.id,
                wanted: "by user slot",
            });
        }
        (MeterRole::Personal, false, Some(_)) => {
            return Err(PeopleError::SlotMismatch {
                meter: meter.id,
                wanted: "as a whole, without a slot",
            });
        }
        (MeterRole::Personal, _, _) => {}
    }
    let wanted = Binding {
        id: request.id,
        meter: request.meter,
        member: request.member,
        slot: request.slot,
        valid_from: instant(us(request.valid_from))?,
        valid_to: None,
        only_ever_this_person: request.only_ever_this_person,
    };
    let known = find_bindings(conn, &[meter.id.uuid()]).await?;
    if known.iter().any(|binding| {
        Binding {
            valid_to: None,
            ..binding.clone()
        } == wanted
    }) {
        return Ok(());
    }
    if let Some(other) = known.iter().find(|other| overlaps(other, &wanted)) {
        return Err(PeopleError::BindingOverlaps {
            meter: meter.id,
            other: other.id,
        });
    }
    let version = counter::add(conn, Counter::Down, 1).await?;
    if !insert_binding(conn, by, &wanted, version).await? {
        return Err(PeopleError::BindingOverlaps {
            meter: meter.id,
            other: wanted.id,
        });
    }
    Ok(())
}

/// Inserts a binding with its audit row, and brings its owner into the scope of the meter's store; `false` when its id is
/// taken.
pub(super) async fn insert_binding(conn: &mut Conn, by: &By, wanted: &Binding, version: i64) -> Result<bool, Fault> {
    let added = sqlx::query(ADD_BINDING)
        .bind(wanted.id.uuid())
        .bind(wanted.meter.uuid())
        .bind(wanted.member.uuid())
        .bind(wanted.slot.map(i64::from))
        .bind(us(wanted.valid_from))
        .bind(wanted.only_ever_this_person)
        .bind(version)
        .execute(&mut *conn)
        .await
        .doing("bind a meter")?;
    if added.rows_affected() == 0 {
        return Ok(false);
    }
    // The owner may come into another store's scope by this, and the grants with it.
    for statement in [TOUCH_MEMBER, TOUCH_GRANTS] {
        sqlx::query(statement)
            .bind(wanted.member.uuid())
            .bind(version)
            .execute(&mut *conn)
            .await
            .doing("bring a member into a gateway's scope")?;
    }
    let bound = Entry::new(by, "meter.bind", wanted.meter).member(wanted.member);
    let bound = if wanted.only_ever_this_person {
        bound.detail(ONLY_EVER)
    } else {
        bound
    };
    audit::insert(conn, &bound).await?;
    Ok(true)
}

/// Whether an existing binding leaves no room for a new, open-ended one of the same slot.
pub(super) fn overlaps(other: &Binding, wanted: &Binding) -> bool {
    other.slot == wanted.slot && other.valid_to.is_none_or(|end| end > wanted.valid_from)
}

pub(crate) async fn end_binding(
    conn: &mut Conn,
    by: &By,
    id: BindingId,
    end: DateTime<Utc>,
    scope: Option<StoreId>,
) -> Result<(), PeopleError> {
    let row: Option<BindingRow> = sqlx::query_as(BINDING)
        .bind(id.uuid())
        .fetch_optional(&mut *conn)
        .await
        .doing("look a binding up")?;
    let binding = row
        .map(BindingRow::into_model)
        .transpose()?
        .ok_or(PeopleError::BindingUnknown(id))?;
    if let Some(store) = scope {
        let here = find_meters(conn, &[binding.meter.uuid()]).await?;
        let members = people::find_members(conn, &[binding.member.uuid()]).await?;
        let theirs = here.iter().any(|meter| meter.store == store)
            || members.iter().any(|record| record.member.home_store == store);
        if !theirs {
            return Err(PeopleError::BindingUnknown(id));
        }
    }
    let end = instant(us(end))?;
    if binding.valid_to == Some(end) {
        return Ok(());
    }
    if binding.valid_to.is_some() || end < binding.valid_from {
        return Err(PeopleError::BindingEnd(id));
    }
    let version = counter::add(conn, Counter::Down, 1).await?;
    let ended = sqlx::query(END_BINDING)
        .bind(id.uuid())
        .bind(us(end))
        .bind(version)
        .execute(&mut *conn)
        .await
        .doing("end a binding")?;
    if ended.rows_affected() != 1 {
        return Err(Fault::new("end a binding", FaultKind::Unexpected, "the binding is gone").into());
    }
    audit::insert(
        conn,
        &Entry::new(by, "meter.unbind", binding.meter).member(binding.member),
    )
    .await?;
    Ok(())
}
