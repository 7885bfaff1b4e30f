//! One batch of a gateway: the gate, the rows, the care that follows, the cursor. One transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use carepost_domain::admission::{Facts, Refused, admit};
use carepost_domain::care::rule_set::RuleSet;
use carepost_domain::consent::{Grant, Purpose, not_before as consent_not_before};
use carepost_domain::id::MemberId;
use carepost_domain::meter::{Binding, Meter};
use carepost_domain::quarantine::Reason;
use carepost_domain::reading::Reading;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::lanes::LaneKey;
use super::{Conn, audit, care, consent, fleet, insert_readings, lanes, meters, people, quarantine, readings};
use crate::audit::Entry;
use crate::codec::us;
use crate::error::{Doing as _, Fault, FleetError, IngestError};
use crate::lane::{LaneState, rejection_text};
use crate::limits::{MAX_BATCH_ITEMS, MAX_EPOCH_BYTES};
use crate::model::{Actor, By, Gateway, Incoming, IncomingItem, IngestOutcome, Rejection};
use crate::reading_row::ReadingRow;

statements! {
    NOTE_READINGS = "UPDATE gateway SET readings = readings + $2, last_seen = $3 WHERE id = $1";
}

/// Largest sequence number; SQL has signed 64-bit integers.
const LAST_SEQ: u64 = i64::MAX as u64 - MAX_BATCH_ITEMS as u64;

/// What is known about the people and things that a batch names.
struct Known {
    members: BTreeSet<Uuid>,
    meters: HashMap<Uuid, Meter>,
    bindings: HashMap<Uuid, Vec<Binding>>,
    grants: HashMap<Uuid, Vec<Grant>>,
}

/// A reading that may be stored, with its number.
struct Candidate<'a> {
    seq: u64,
    reading: &'a Reading,
    nonce: u64,
}

pub(crate) async fn batch(
    conn: &mut Conn,
    incoming: &Incoming,
    rules: &RuleSet,
    now: DateTime<Utc>,
) -> Result<IngestOutcome, IngestError> {
    check_shape(incoming)?;
    let gateway = authorise(conn, incoming).await?;
    let key = LaneKey {
        gateway: incoming.gateway,
        epoch: &incoming.epoch,
        lane: incoming.lane,
    };
    let mut lane = lanes::load(conn, key).await?;
    let before = lane.clone();
    // A gateway cannot have seen more than there was.
    let seen = incoming.settled_seen.min(lane.through());
    lane.seen(seen);
    if lane.rejected().len() < before.rejected().len() {
        lanes::seen(conn, key, seen).await?;
    }

    let known = load_known(conn, &incoming.items).await?;
    // The batch may have waited behind a withdrawal that is on record by now.
    let now = known
        .grants
        .values()
        .fold(now, |latest, grants| consent_not_before(grants, latest));
    let mut candidates = Vec::new();
    for (seq, item) in (incoming.first_seq..).zip(&incoming.items) {
        // What was refused stays refused, so that a repeat gives the same receipt.
        if lane.rejected().contains_key(&seq) {
            continue;
        }
        match item {
            IncomingItem::Void => {
                lane.settle(seq);
            }
            IncomingItem::Malformed { text } => {
                let new = !lane.is_settled(seq);
                if lane.reject(seq, Rejection::Unusable(Reason::Malformed)) && new {
                    quarantine::keep(conn, Some(incoming.gateway), Reason::Malformed, text.as_bytes(), now).await?;
                }
            }
            IncomingItem::Reading { reading, nonce } => {
                match admit(reading, *nonce, known.facts(reading, &gateway), now) {
                    Ok(()) => candidates.push(Candidate {
                        seq,
                        reading,
                        nonce: *nonce,
                    }),
                    Err(refused) => {
                        lane.reject(seq, rejection_of(refused));
                    }
                }
            }
        }
    }
    let (new, duplicates) = store(conn, &candidates, &mut lane, incoming, now).await?;
    record(conn, incoming, &lane, &new, now).await?;
    let by = By::new(Actor::Gateway(incoming.gateway), now);
    let members_changed = care::after_ingest(conn, &by, &new, &known.grants, rules).await?;
    if lane != before {
        lanes::save(conn, key, &lane).await?;
    }
    Ok(IngestOutcome {
        settled_through: lane.through(),
        extra: lane.extra().iter().copied().collect(),
        rejected: lane.rejected().iter().map(|(seq, why)| (*seq, *why)).collect(),
        new_readings: new.iter().map(|reading| reading.id).collect(),
        duplicates,
        members_changed,
    })
}

fn check_shape(incoming: &Incoming) -> Result<(), IngestError> {
    let count = incoming.items.len();
    let epoch = incoming.epoch.len();
    let good = (1..=MAX_BATCH_ITEMS).contains(&count)
        && (1..=LAST_SEQ).contains(&incoming.first_seq)
        && incoming.settled_seen <= LAST_SEQ
        && (1..=MAX_EPOCH_BYTES).contains(&epoch);
    if good { Ok(()) } else { Err(IngestError::BadBatch) }
}

async fn authorise(conn: &mut Conn, incoming: &Incoming) -> Result<Gateway, IngestError> {
    fleet::authorise(conn, incoming.gateway)
        .await
        .map_err(|error| match error {
            FleetError::Fault(fault) => IngestError::Fault(fault),
            FleetError::GatewayRevoked(id) => IngestError::GatewayRevoked(id),
            _ => IngestError::GatewayUnknown(incoming.gateway),
        })
}

async fn load_known(conn: &mut Conn, items: &[IncomingItem]) -> Result<Known, Fault> {
    let named = || {
        items.iter().filter_map(|item| match item {
            IncomingItem::Reading { reading, .. } => Some(reading),
            IncomingItem::Void | IncomingItem::Malformed { .. } => None,
        })
    };
    let members: BTreeSet<Uuid> = named().map(|reading| reading.member.uuid()).collect();
    let meters: BTreeSet<Uuid> = named().map(|reading| reading.meter.uuid()).collect();
    let mut known = Known {
        members: BTreeSet::new(),
        meters: HashMap::new(),
        bindings: HashMap::new(),
        grants: HashMap::new(),
    };
    if members.is_empty() {
        return Ok(known);
    }
    let members: Vec<Uuid> = members.into_iter().collect();
    let meters: Vec<Uuid> = meters.into_iter().collect();
    // Held until commit: a withdrawal comes wholly before this batch or after it.
    known.members = people::lock_members(conn, &members).await?.into_iter().collect();
    for grant in consent::find_grants(conn, &members).await? {
        if grant.purpose == Purpose::CareRecord {
            known.grants.entry(grant.member.uuid()).or_default().push(grant);
        }
    }
    for binding in meters::find_bindings(conn, &meters).await? {
        known.bindings.entry(binding.meter.uuid()).or_default().push(binding);
    }
    for meter in meters::find_meters(conn, &meters).await? {
        known.meters.insert(meter.id.uuid(), meter);
    }
    Ok(known)
}

impl Known {
    fn facts<'a>(&'a self, reading: &Reading, gateway: &Gateway) -> Facts<'a> {
        let member = reading.member.uuid();
        let meter = reading.meter.uuid();
        Facts {
            gateway_store: gateway.store,
            zone: gateway.zone,
            member_known: self.members.contains(&member),
            meter: self.meters.get(&meter),
            bindings: self.bindings.get(&meter).map_or(&[], Vec::as_slice),
            grants: self.grants.get(&member).map_or(&[], Vec::as_slice),
        }
    }
}

fn rejection_of(refused: Refused) -> Rejection {
    match refused {
        Refused::NoConsent(_) => Rejection::NoConsent,
        Refused::Unusable(reason) => Rejection::Unusable(reason),
    }
}

/// Inserts the candidates and settles their numbers. Gives the really new readings and how many were known.
async fn store<'a>(
    conn: &mut Conn,
    candidates: &[Candidate<'a>],
    lane: &mut LaneState,
    incoming: &Incoming,
    now: DateTime<Utc>,
) -> Result<(Vec<&'a Reading>, u64), Fault> {
    // The first of equal ids in a batch stands for them all.
    let mut first: BTreeMap<Uuid, &Candidate<'a>> = BTreeMap::new();
    for candidate in candidates {
        first.entry(candidate.reading.id.uuid()).or_insert(candidate);
    }
    let rows: Vec<ReadingRow> = first
        .values()
        .map(|candidate| ReadingRow::new(candidate.reading, candidate.nonce, incoming.gateway.uuid(), now))
        .collect();
    let new: BTreeSet<Uuid> = insert_readings(conn, &rows).await?.into_iter().collect();
    let known: Vec<Uuid> = first.keys().copied().filter(|id| !new.contains(id)).collect();
    let mut owners: HashMap<Uuid, Uuid> = HashMap::new();
    if !known.is_empty() {
        owners.extend(readings::owners(conn, &known).await?);
    }
    for (id, candidate) in &first {
        owners.entry(*id).or_insert_with(|| candidate.reading.member.uuid());
    }
    let mut duplicates = 0;
    for candidate in candidates {
        let id = candidate.reading.id.uuid();
        if owners.get(&id) == Some(&candidate.reading.member.uuid()) {
            let is_first = first.get(&id).is_some_and(|first| first.seq == candidate.seq);
            if !(is_first && new.contains(&id)) {
                duplicates += 1;
            }
            lane.settle(candidate.seq);
        } else {
            // The same packet claimed for two members: kept by the gateway and shown, never two rows.
            lane.reject(candidate.seq, Rejection::Unusable(Reason::MemberConflict));
        }
    }
    let stored = first
        .values()
        .filter(|candidate| new.contains(&candidate.reading.id.uuid()));
    let mut stored: Vec<&'a Reading> = stored.map(|candidate| candidate.reading).collect();
    stored.sort_by_key(|reading| (reading.time.at, reading.id));
    Ok((stored, duplicates))
}

/// Audits what is new and counts it on the gateway.
async fn record(
    conn: &mut Conn,
    incoming: &Incoming,
    lane: &LaneState,
    new: &[&Reading],
    now: DateTime<Utc>,
) -> Result<(), Fault> {
    let by = By::new(Actor::Gateway(incoming.gateway), now);
    let mut per_member: BTreeMap<MemberId, u64> = BTreeMap::new();
    for reading in new {
        *per_member.entry(reading.member).or_default() += 1;
    }
    for (member, count) in per_member {
        let entry = Entry::new(&by, "reading.store", incoming.gateway).member(member);
        audit::insert(conn, &entry.detail(format!("{count} readings"))).await?;
    }
    let mut refused: BTreeMap<&str, u64> = BTreeMap::new();
    for (_, why) in lane.added() {
        *refused.entry(rejection_text(why)).or_default() += 1;
    }
    if !refused.is_empty() {
        let what: Vec<String> = refused.iter().map(|(why, count)| format!("{why} {count}")).collect();
        audit::insert(
            conn,
            &Entry::new(&by, "reading.refuse", incoming.gateway).detail(what.join(", ")),
        )
        .await?;
    }
    meters::note_seen(conn, new, now).await?;
    if !new.is_empty() {
        sqlx::query(NOTE_READINGS)
            .bind(incoming.gateway.uuid())
            .bind(i64::try_from(new.len()).unwrap_or(i64::MAX))
            .bind(us(now))
            .execute(&mut *conn)
            .await
            .doing("count a gateway's readings")?;
    }
    Ok(())
}
