//! Meters that staff paired at a gateway: the meter, what it says of itself, whose it is. One transaction, all or nothing,
//! and a repeat of the message changes nothing.

use std::collections::BTreeSet;

use carepost_domain::Id;
use carepost_domain::id::{GatewayId, MemberId};
use carepost_domain::meter::{About, Binding, Meter, MeterRole};
use carepost_domain::quirks::QuirkTable;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::counter::{self, Counter};
use super::meters::{self, ONLY_EVER, Origin, insert_binding, insert_meter, overlaps};
use super::{Conn, audit, fleet, ids, people};
use crate::audit::Entry;
use crate::codec::{instant, timed_id, us};
use crate::error::{Doing as _, Fault, FaultKind, FleetError, RegisterError};
use crate::limits::{MAX_METER_OWNERS, MAX_NAME_CHARS};
use crate::model::{Actor, By, Gateway, Registered, Registration};

statements! {
    IN_SCOPE = concat!(
        "SELECT id FROM member WHERE id", in_ids!("$1"), " AND (home_store = $2 OR id IN (
            SELECT b.member FROM binding b JOIN meter m ON m.id = b.meter WHERE m.store = $2))"
    );
    DESCRIBED_AT = "SELECT described_at FROM meter WHERE id = $1";
    DESCRIBE = "UPDATE meter SET model = $2, manufacturer = $3, serial = $4, firmware = $5, described_at = $6, changed = $7
        WHERE id = $1";
    VOUCH = "UPDATE binding SET only_ever_this_person = $2, changed = $3 WHERE id = $1";
}

pub(crate) async fn register(
    conn: &mut Conn,
    gateway: GatewayId,
    wanted: &Registration,
    now: DateTime<Utc>,
) -> Result<Registered, RegisterError> {
    check_shape(wanted)?;
    let sender = authorise(conn, gateway).await?;
    let meter = &wanted.meter;
    if meter.store != sender.store {
        return Err(RegisterError::OtherStore(meter.id));
    }
    hold_owners(conn, &sender, wanted).await?;
    let known = if meters::hold(conn, meter.id).await? {
        meters::find_meters(conn, &[meter.id.uuid()]).await?.pop()
    } else {
        None
    };
    let Ownership { missing, vouched } = ownership(conn, &sender, wanted, now).await?;

    let by = By::new(Actor::Gateway(gateway), now);
    let learnt_at = wanted.at.min(now);
    let description = match &known {
        None => None,
        Some(known) if is_same_device(known, meter) => new_description(conn, known, meter, learnt_at).await?,
        Some(_) => return Err(RegisterError::RegisteredOtherwise(meter.id)),
    };
    let done = Registered {
        new: known.is_none(),
        described: description.is_some(),
        bound: missing.len(),
        vouched: vouched.len(),
    };
    if !done.is_any() {
        return Ok(done);
    }
    let version = counter::add(conn, Counter::Down, 1).await?;
    if done.new {
        let origin = Origin {
            via: Some(gateway),
            described_at: Some(learnt_at),
        };
        insert_meter(conn, &by, meter, &origin, version).await?;
    }
    if let (Some(known), Some(description)) = (&known, description) {
        let changed = changed_words(known, &description);
        describe(conn, &by, &description, &changed, learnt_at, version).await?;
    }
    for binding in &vouched {
        vouch(conn, &by, binding, version).await?;
    }
    for binding in &missing {
        if !insert_binding(conn, &by, binding, version).await? {
            return Err(Fault::new("bind a meter", FaultKind::Contention, "somebody else bound it just now").into());
        }
    }
    Ok(done)
}

async fn authorise(conn: &mut Conn, gateway: GatewayId) -> Result<Gateway, RegisterError> {
    fleet::authorise(conn, gateway).await.map_err(|error| match error {
        FleetError::Fault(fault) => RegisterError::Fault(fault),
        FleetError::GatewayRevoked(id) => RegisterError::GatewayRevoked(id),
        _ => RegisterError::GatewayUnknown(gateway),
    })
}

/// What can be told without knowing anybody. The wire contract asks the same; the store does not rely on it.
fn check_shape(wanted: &Registration) -> Result<(), RegisterError> {
    let meter = &wanted.meter;
    let invalid = |why| Err(RegisterError::Invalid { meter: meter.id, why });
    if carepost_domain::meter::meter_id(meter.address, meter.address_type) != meter.id {
        return invalid("its id is not its address's");
    }
    if meter.model.chars().count() > MAX_NAME_CHARS {
        return invalid("its model is too long");
    }
    let About {
        manufacturer,
        serial,
        firmware,
    } = &meter.about;
    if About::new(manufacturer, serial, firmware) != meter.about {
        return invalid("what it says of itself is too long or unreadable");
    }
    if wanted.owners.len() > MAX_METER_OWNERS {
        return invalid("it has too many owners");
    }
    let slots: BTreeSet<Option<u8>> = wanted.owners.iter().map(|owner| owner.slot).collect();
    // 255 is a cuff's word for an unknown user (page 3, section 2.2).
    let of_the_kind = |slot: &Option<u8>| slot.is_some() == meter.multi_user && *slot != Some(u8::MAX);
    match meter.role {
        MeterRole::StoreShared if slots.is_empty() => Ok(()),
        MeterRole::StoreShared => invalid("a store's own meter is nobody's"),
        MeterRole::Personal if slots.is_empty() => invalid("it has no owner"),
        MeterRole::Personal if slots.len() < wanted.owners.len() => invalid("a slot has two owners"),
        MeterRole::Personal if !slots.iter().all(of_the_kind) => invalid("its owners do not go with its slots"),
        MeterRole::Personal => Ok(()),
    }
}

/// Holds the owners, before the meter as an ingest does. Those who are not in the gateway's scope look as if they did not
/// exist.
async fn hold_owners(conn: &mut Conn, sender: &Gateway, wanted: &Registration) -> Result<(), RegisterError> {
    let owners: BTreeSet<Uuid> = wanted.owners.iter().map(|owner| owner.member.uuid()).collect();
    if owners.is_empty() {
        return Ok(());
    }
    let owners: Vec<Uuid> = owners.into_iter().collect();
    people::lock_members(conn, &owners).await?;
    let here: Vec<Uuid> = sqlx::query_scalar(IN_SCOPE)
        .bind(ids(&owners))
        .bind(sender.store.uuid())
        .fetch_all(conn)
        .await
        .doing("look up who is in a gateway's scope")?;
    let stranger: Option<MemberId> = owners
        .iter()
        .find(|owner| !here.contains(owner))
        .map(|owner| Id::from_uuid(*owner));
    stranger.map_or(Ok(()), |member| Err(RegisterError::MemberUnknown(member)))
}

/// What a registration changes about whose a meter is.
#[derive(Default)]
struct Ownership {
    /// Bindings that are to be made, each under an id that follows from the registration.
    missing: Vec<Binding>,
    /// Bindings that are there, of which it is said only now that nobody else has ever used the meter.
    vouched: Vec<Binding>,
}

async fn ownership(
    conn: &mut Conn,
    sender: &Gateway,
    wanted: &Registration,
    now: DateTime<Utc>,
) -> Result<Ownership, RegisterError> {
    let meter = wanted.meter.id;
    let known = meters::find_bindings(conn, &[meter.uuid()]).await?;
    // Records from before it are nobody's, so that a gateway without a set clock must not make it early.
    let valid_from = if (sender.enrolled_at..=now).contains(&wanted.at) {
        wanted.at
    } else {
        now
    };
    let mut found = Ownership::default();
    for owner in &wanted.owners {
        let slot = owner.slot.map_or_else(Vec::new, |slot| vec![slot]);
        let (meter_id, member_id) = (meter.uuid(), owner.member.uuid());
        let parts: [&[u8]; 4] = [b"binding", meter_id.as_bytes(), member_id.as_bytes(), &slot];
        let binding = Binding {
            id: Id::from_uuid(timed_id(wanted.at, &parts)),
            meter,
            member: owner.member,
            slot: owner.slot,
            valid_from: instant(us(valid_from))?,
            valid_to: None,
            only_ever_this_person: owner.only_ever_this_person,
        };
        // Staff have ended what this registration began: a repeat of the message does not bring it back.
        if known
            .iter()
            .any(|other| other.id == binding.id && other.valid_to.is_some())
        {
            return Err(RegisterError::RegisteredOtherwise(meter));
        }
        let held = known.iter().find(|other| overlaps(other, &binding));
        if let Some(other) = held.filter(|other| other.member != owner.member) {
            return Err(RegisterError::SlotTaken { meter, other: other.id });
        }
        // What staff were told at the counter does not outweigh what is on record.
        let anothers = |other: &&Binding| other.slot == owner.slot && other.member != owner.member;
        if owner.only_ever_this_person
            && let Some(other) = known.iter().find(anothers)
        {
            return Err(RegisterError::WasAnothers { meter, other: other.id });
        }
        match held {
            Some(held) if owner.only_ever_this_person && !held.only_ever_this_person => {
                found.vouched.push(held.clone());
            }
            // Who is not asked, or is not sure, takes back nothing that was said before.
            Some(_) => {}
            None => found.missing.push(binding),
        }
    }
    Ok(found)
}

/// Notes of a binding that nobody else has ever used the meter.
async fn vouch(conn: &mut Conn, by: &By, binding: &Binding, version: i64) -> Result<(), Fault> {
    let done = sqlx::query(VOUCH)
        .bind(binding.id.uuid())
        .bind(true)
        .bind(version)
        .execute(&mut *conn)
        .await
        .doing("note that a meter was only ever one person's")?;
    if done.rows_affected() != 1 {
        return Err(Fault::new(
            "note that a meter was only ever one person's",
            FaultKind::Unexpected,
            "the binding is gone",
        ));
    }
    audit::insert(
        conn,
        &Entry::new(by, "meter.vouch", binding.meter)
            .member(binding.member)
            .detail(ONLY_EVER),
    )
    .await
}

/// Whether what decides about attribution is the same.
fn is_same_device(known: &Meter, meter: &Meter) -> bool {
    known.store == meter.store
        && known.kind == meter.kind
        && known.role == meter.role
        && known.multi_user == meter.multi_user
}

/// The meter with what it says of itself now, if that is newer and other than what is known. What it does not say this time
/// stays.
async fn new_description(
    conn: &mut Conn,
    known: &Meter,
    meter: &Meter,
    learnt_at: DateTime<Utc>,
) -> Result<Option<Meter>, Fault> {
    let described_at: Option<i64> = sqlx::query_scalar(DESCRIBED_AT)
        .bind(known.id.uuid())
        .fetch_one(conn)
        .await
        .doing("look up when a meter was described")?;
    if described_at.is_some_and(|at| at >= us(learnt_at)) {
        return Ok(None);
    }
    let newer = |new: &String, old: &String| if new.is_empty() { old.clone() } else { new.clone() };
    let described = Meter {
        model: newer(&meter.model, &known.model),
        about: About {
            manufacturer: newer(&meter.about.manufacturer, &known.about.manufacturer),
            serial: newer(&meter.about.serial, &known.about.serial),
            firmware: newer(&meter.about.firmware, &known.about.firmware),
        },
        ..known.clone()
    };
    Ok((described != *known).then_some(described))
}

async fn describe(
    conn: &mut Conn,
    by: &By,
    meter: &Meter,
    changed: &str,
    learnt_at: DateTime<Utc>,
    version: i64,
) -> Result<(), Fault> {
    let done = sqlx::query(DESCRIBE)
        .bind(meter.id.uuid())
        .bind(meter.model.as_str())
        .bind(meter.about.manufacturer.as_str())
        .bind(meter.about.serial.as_str())
        .bind(meter.about.firmware.as_str())
        .bind(us(learnt_at))
        .bind(version)
        .execute(&mut *conn)
        .await
        .doing("describe a meter")?;
    if done.rows_affected() != 1 {
        return Err(Fault::new(
            "describe a meter",
            FaultKind::Unexpected,
            "the meter is gone",
        ));
    }
    audit::insert(conn, &Entry::new(by, "meter.describe", meter.id).detail(changed)).await
}

/// What a new description changes, for the audit: the fields by name, and the entry of the quirk table by which the meter's
/// bytes are read from now on, where that is another one.
fn changed_words(old: &Meter, new: &Meter) -> String {
    let fields = [
        ("model", &old.model, &new.model),
        ("manufacturer", &old.about.manufacturer, &new.about.manufacturer),
        ("serial", &old.about.serial, &new.about.serial),
        ("firmware", &old.about.firmware, &new.about.firmware),
    ];
    let changed: Vec<&str> = fields
        .iter()
        .filter(|(_, old, new)| old != new)
        .map(|(name, ..)| *name)
        .collect();
    let changed = changed.join(", ");
    let table = QuirkTable::current();
    let entry = |meter| table.for_bytes_of(meter).map_or("none", |quirk| quirk.id.as_str());
    let (before, after) = (entry(old), entry(new));
    if before == after {
        changed
    } else {
        format!("{changed}; bytes read by {before} before, by {after} now")
    }
}
