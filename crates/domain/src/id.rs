//! Typed identifiers: a UUID that knows what it names.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// An identifier of a `T`; two ids of different things cannot be mixed up.
///
/// Minted ids are UUIDv7 (time-led, which keeps index pages warm); ids of readings and meters are UUIDv8,
/// derived from content (`reading_id`, `meter::meter_id`).
pub struct Id<T> {
    uuid: Uuid,
    names: PhantomData<fn() -> T>,
}

impl<T> Id<T> {
    /// The id with these 128 bits.
    #[must_use]
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self {
            uuid,
            names: PhantomData,
        }
    }

    /// A new UUIDv7 from the instant and ten random bytes, both the caller's.
    #[must_use]
    pub fn mint(now: DateTime<Utc>, random: [u8; 10]) -> Self {
        let millis = u64::try_from(now.timestamp_millis()).unwrap_or(0);
        Self::from_uuid(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }

    /// The bare UUID, for storage drivers.
    #[must_use]
    pub const fn uuid(self) -> Uuid {
        self.uuid
    }
}

impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Id<T> {}
impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        self.uuid == other.uuid
    }
}
impl<T> Eq for Id<T> {}
impl<T> PartialOrd for Id<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Id<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.uuid.cmp(&other.uuid)
    }
}
impl<T> Hash for Id<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.uuid.hash(state);
    }
}
impl<T> fmt::Display for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uuid.fmt(f)
    }
}
impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uuid.fmt(f)
    }
}
impl<T> FromStr for Id<T> {
    type Err = uuid::Error;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::from_str(text).map(Self::from_uuid)
    }
}
impl<T> Serialize for Id<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.uuid.serialize(serializer)
    }
}
impl<'de, T> Deserialize<'de> for Id<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Uuid::deserialize(deserializer).map(Self::from_uuid)
    }
}

/// What ids name when no struct of this crate stands for it.
pub mod names {
    /// A gateway: one installation with its own signing key.
    #[derive(Debug)]
    pub enum Gateway {}
    /// A pharmacy of the chain.
    #[derive(Debug)]
    pub enum Store {}
    /// A person who works in the chain.
    #[derive(Debug)]
    pub enum Staff {}
    /// A time at a kiosk, from identification to the end.
    #[derive(Debug)]
    pub enum Sitting {}
    /// Readings of one sitting with their mean.
    #[derive(Debug)]
    pub enum Session {}
    /// A pharmacist's alert.
    #[derive(Debug)]
    pub enum Alert {}
    /// A piece of work with an owner and a due time.
    #[derive(Debug)]
    pub enum Task {}
    /// A recorded symptom.
    #[derive(Debug)]
    pub enum SymptomRecord {}
    /// A row of kept but unusable data.
    #[derive(Debug)]
    pub enum Quarantined {}
}

/// Id of a member.
pub type MemberId = Id<crate::people::Member>;
/// Id of a meter, derived from its identity address (`meter::meter_id`).
pub type MeterId = Id<crate::meter::Meter>;
/// Id of a binding.
pub type BindingId = Id<crate::meter::Binding>;
/// Id of a consent grant.
pub type GrantId = Id<crate::consent::Grant>;
/// Id of a reading, derived from content (`reading_id`).
pub type ReadingId = Id<crate::reading::Reading>;
/// Id of a gateway.
pub type GatewayId = Id<names::Gateway>;
/// Id of a store.
pub type StoreId = Id<names::Store>;
/// Id of a staff member.
pub type StaffId = Id<names::Staff>;
/// Id of a sitting at a kiosk.
pub type SittingId = Id<names::Sitting>;
/// Id of a measurement session.
pub type SessionId = Id<names::Session>;
/// Id of an alert.
pub type AlertId = Id<names::Alert>;
/// Id of a task.
pub type TaskId = Id<names::Task>;
/// Id of a symptom record.
pub type SymptomId = Id<names::SymptomRecord>;
/// Id of a quarantine row.
pub type QuarantineId = Id<names::Quarantined>;
