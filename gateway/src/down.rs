//! The gateway's copy of members, meters, bindings and grants, by which it works when the server is out of reach.

use std::collections::HashMap;

use carepost_contract::v1::{DownGrant, DownMember, Snapshot};
use carepost_domain::consent::{Grant, Purpose, gate, held_throughout, not_before};
use carepost_domain::id::{BindingId, GrantId, MemberId, MeterId, StoreId};
use carepost_domain::meter::{Address, AddressType, Binding, Meter, MeterRole, meter_id};
use carepost_domain::people::MemberCode;
use carepost_domain::quirks::{Quirk, QuirkTable};
use chrono::{DateTime, Utc};
use chrono_tz::Tz;

/// Parts of one snapshot that are put together; with the contract's 400 rows a part, 100,000 rows.
pub const MAX_SNAPSHOT_PARTS: u32 = 250;

/// Members, meters, bindings and grants of one version.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DownCopy {
    pub(crate) version: u64,
    pub(crate) revision: u64,
    pub(crate) store: Option<StoreId>,
    pub(crate) zone: Option<Tz>,
    pub(crate) members: HashMap<MemberId, DownMember>,
    pub(crate) codes: HashMap<MemberCode, MemberId>,
    pub(crate) meters: HashMap<MeterId, Meter>,
    /// Of those whose bytes do not mean what the specification says. Looked up once, because it is asked for every record.
    pub(crate) quirks: HashMap<MeterId, &'static Quirk>,
    pub(crate) bindings: HashMap<MeterId, Vec<Binding>>,
    pub(crate) grants: HashMap<MemberId, Vec<Grant>>,
}

impl DownCopy {
    /// The server's version; 0 before the first snapshot.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Grows by one with every change that was applied here, whatever the server's version is.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The store that the gateway belongs to, once it was told.
    #[must_use]
    pub fn store(&self) -> Option<StoreId> {
        self.store
    }

    /// The zone in which the store's meters keep their time, once it was told.
    #[must_use]
    pub fn zone(&self) -> Option<Tz> {
        self.zone
    }

    /// The member with this code.
    #[must_use]
    pub fn member_by_code(&self, code: &MemberCode) -> Option<&DownMember> {
        self.members.get(self.codes.get(code)?)
    }

    /// A member.
    #[must_use]
    pub fn member(&self, member: MemberId) -> Option<&DownMember> {
        self.members.get(&member)
    }

    /// How many members there are.
    #[must_use]
    pub fn member_count(&self) -> usize {
        self.members.len()
    }

    /// A registered meter.
    #[must_use]
    pub fn meter(&self, meter: MeterId) -> Option<&Meter> {
        self.meters.get(&meter)
    }

    /// The entry of the quirk table by which a registered meter's bytes are read: by what is registered, because the server
    /// reads them again and knows nothing else.
    #[must_use]
    pub fn quirk_of(&self, meter: MeterId) -> Option<&'static Quirk> {
        self.quirks.get(&meter).copied()
    }

    /// The registered meter with this identity address.
    #[must_use]
    pub fn meter_at(&self, address: Address, address_type: AddressType) -> Option<&Meter> {
        self.meters.get(&meter_id(address, address_type))
    }

    /// All registered meters, in the order of their ids.
    #[must_use]
    pub fn meters(&self) -> Vec<&Meter> {
        let mut meters: Vec<&Meter> = self.meters.values().collect();
        meters.sort_by_key(|meter| meter.id);
        meters
    }

    /// Bindings of a meter.
    #[must_use]
    pub fn bindings_of(&self, meter: MeterId) -> &[Binding] {
        self.bindings.get(&meter).map_or(&[], Vec::as_slice)
    }

    /// `care_record` grants of a member.
    #[must_use]
    pub fn grants_of(&self, member: MemberId) -> &[Grant] {
        self.grants.get(&member).map_or(&[], Vec::as_slice)
    }

    /// Whether a grant of the member holds at `now`, or at the newest grant or withdrawal that the copy holds if that is
    /// later: a clock that is behind the server's must neither undo a grant nor a withdrawal.
    #[must_use]
    pub fn consents(&self, member: MemberId, now: DateTime<Utc>) -> bool {
        let grants = self.grants_of(member);
        let now = not_before(grants, now);
        grants.iter().any(|grant| grant.holds_at(now))
    }

    /// Whether the member has consented without a break from `since` to `now`, which counts as in
    /// [`consents`](Self::consents).
    #[must_use]
    pub fn consents_since(&self, member: MemberId, since: DateTime<Utc>, now: DateTime<Utc>) -> bool {
        let grants = self.grants_of(member);
        held_throughout(grants, since, not_before(grants, now))
    }

    /// Whether a reading of the member that was measured at `measured_at` passes the gate at `now`, which counts as in
    /// [`consents`](Self::consents).
    #[must_use]
    pub fn permits(&self, member: MemberId, measured_at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
        let grants = self.grants_of(member);
        let now = not_before(grants, now);
        gate(grants, member, Purpose::CareRecord, measured_at, now).is_ok()
    }

    /// Whether a meter may be read at all: shared meters always, personal ones only if a present owner has a grant that
    /// holds now (page 4, "Attribution").
    #[must_use]
    pub fn may_read(&self, meter: &Meter, now: DateTime<Utc>) -> bool {
        match meter.role {
            MeterRole::StoreShared => true,
            MeterRole::Personal => self
                .bindings_of(meter.id)
                .iter()
                .filter(|binding| binding.valid_to.is_none_or(|end| now < end))
                .any(|binding| self.consents(binding.member, now)),
        }
    }

    pub(crate) fn put_member(&mut self, member: DownMember) {
        if let Some(old) = self.members.get(&member.id)
            && old.code != member.code
        {
            self.codes.remove(&old.code);
        }
        self.codes.insert(member.code.clone(), member.id);
        self.members.insert(member.id, member);
    }

    pub(crate) fn put_meter(&mut self, meter: Meter) {
        match QuirkTable::current().for_bytes_of(&meter) {
            Some(quirk) => self.quirks.insert(meter.id, quirk),
            None => self.quirks.remove(&meter.id),
        };
        self.meters.insert(meter.id, meter);
    }

    pub(crate) fn put_binding(&mut self, binding: Binding) {
        let id: BindingId = binding.id;
        // A corrected binding may have moved to another meter.
        for list in self.bindings.values_mut() {
            list.retain(|known| known.id != id);
        }
        self.bindings.entry(binding.meter).or_default().push(binding);
    }

    pub(crate) fn put_grant(&mut self, grant: DownGrant) {
        let id: GrantId = grant.id;
        let list = self.grants.entry(grant.member).or_default();
        list.retain(|known| known.id != id);
        list.push(to_grant(grant));
    }
}

/// Only `care_record` grants come down; the version of their text is the server's business.
fn to_grant(grant: DownGrant) -> Grant {
    Grant {
        id: grant.id,
        member: grant.member,
        purpose: Purpose::CareRecord,
        text_version: String::new(),
        granted_at: grant.granted_at,
        withdrawn_at: grant.withdrawn_at,
        expires_at: grant.expires_at,
        includes_history: grant.includes_history,
    }
}

/// Why a part does not continue a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PartError {
    /// A part is missing, or belongs to another snapshot.
    #[error("part {got} of a snapshot does not follow part {expected}")]
    OutOfOrder {
        /// The part's number.
        got: u32,
        /// The number that was due.
        expected: u32,
    },
    /// More parts than a snapshot may have.
    #[error("a snapshot has more than {MAX_SNAPSHOT_PARTS} parts")]
    TooMany,
}

/// Puts the parts of a snapshot together. Forget it when the connection is lost.
#[derive(Debug, Default)]
pub struct SnapshotAssembly {
    so_far: Option<Snapshot>,
}

impl SnapshotAssembly {
    /// Adds a part; the whole comes back with the last one. Part 0 always starts anew.
    ///
    /// # Errors
    /// When the part does not follow the one before; what was collected is dropped, so say hello again.
    pub fn add(&mut self, part: Snapshot) -> Result<Option<Snapshot>, PartError> {
        let so_far = self.so_far.take();
        if part.part >= MAX_SNAPSHOT_PARTS {
            return Err(PartError::TooMany);
        }
        let whole = match so_far {
            _ if part.part == 0 => part,
            Some(mut whole) if whole.part + 1 == part.part && whole.version == part.version => {
                whole.part = part.part;
                whole.last = part.last;
                whole.members.extend(part.members);
                whole.meters.extend(part.meters);
                whole.bindings.extend(part.bindings);
                whole.grants.extend(part.grants);
                whole
            }
            other => {
                let expected = other.map_or(0, |whole| whole.part + 1);
                return Err(PartError::OutOfOrder {
                    got: part.part,
                    expected,
                });
            }
        };
        if whole.last {
            return Ok(Some(whole));
        }
        self.so_far = Some(whole);
        Ok(None)
    }
}
