//! Batches of readings, gateway to server.

use carepost_domain::code_enum;
use carepost_domain::id::{GatewayId, MemberId, MeterId, ReadingId};
use carepost_domain::quirks::QuirkId;
use carepost_domain::reading::{Attribution, Flag, Measurement, Place, Reading, Slot};
use carepost_domain::time::MeasuredTime;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Epoch;
use crate::limits::{MAX_BATCH_BYTES, MAX_BATCH_ITEMS, MAX_RAW_BYTES};

code_enum! {
    /// The two ways up.
    pub enum Lane ("lane") {
        /// Measured at most ten minutes before capture.
        Live = "live",
        /// Everything else.
        Replay = "replay",
    }
}

/// The `schema` of a batch.
pub(super) const BATCH_SCHEMA: &str = "carepost.batch/1";

/// A batch: consecutive sequence numbers of one lane of one epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Always `carepost.batch/1`.
    pub schema: String,
    /// The sender.
    pub gateway: GatewayId,
    /// Its current start.
    pub epoch: Epoch,
    /// The lane.
    pub lane: Lane,
    /// The highest `settled_through` of this lane and epoch that the gateway has processed, so that the server may forget
    /// older rejections; 0 before the first.
    pub settled_seen: u64,
    /// Sequence number of the first item; the others follow by one. The first of an epoch is 1.
    pub first_seq: u64,
    /// Readings or voids.
    pub items: Vec<Item>,
}

impl Batch {
    /// A batch with the schema of this version.
    #[must_use]
    pub fn new(
        gateway: GatewayId,
        epoch: Epoch,
        lane: Lane,
        settled_seen: u64,
        first_seq: u64,
        items: Vec<Item>,
    ) -> Self {
        Self {
            schema: BATCH_SCHEMA.to_owned(),
            gateway,
            epoch,
            lane,
            settled_seen,
            first_seq,
            items,
        }
    }
}

/// One item of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "item", rename_all = "snake_case")]
pub enum Item {
    /// A reading.
    Reading(Box<WireReading>),
    /// The number was given to a row that has been purged since.
    Void,
}

/// A reading on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireReading {
    /// Derived from content (`carepost_domain::reading_id`).
    pub id: ReadingId,
    /// Whose it is.
    pub member: MemberId,
    /// The meter.
    pub meter: MeterId,
    /// Why it is this member's.
    pub attribution: Attribution,
    /// Where it was measured.
    pub place: Place,
    /// When, and how that is known.
    pub time: MeasuredTime,
    /// When the gateway received the packet.
    pub captured_at: DateTime<Utc>,
    /// What was measured, as the gateway decoded it; the server decodes `raw` again and compares.
    pub measurement: Measurement,
    /// What qualifies it.
    #[serde(default)]
    pub flags: Vec<Flag>,
    /// Meal slot, when stated.
    #[serde(default)]
    pub slot: Option<Slot>,
    /// Assigned number of the characteristic.
    pub characteristic: u16,
    /// The packet's bytes, hexadecimal.
    #[serde(with = "hex_bytes")]
    pub raw: Vec<u8>,
    /// Bytes of the glucose context, hexadecimal.
    #[serde(default, with = "hex_bytes_opt")]
    pub context_raw: Option<Vec<u8>>,
    /// The spool's random number, where it went into the id.
    #[serde(default)]
    pub nonce: u64,
    /// The entry of the quirk table by which the gateway read the bytes; absent where they mean what the specification
    /// says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quirk: Option<QuirkId>,
}

impl WireReading {
    /// As the domain's reading.
    #[must_use]
    pub fn into_reading(self) -> Reading {
        Reading {
            id: self.id,
            member: self.member,
            meter: self.meter,
            attribution: self.attribution,
            place: self.place,
            time: self.time,
            captured_at: self.captured_at,
            measurement: self.measurement,
            flags: self.flags,
            slot: self.slot,
            characteristic: self.characteristic,
            raw: self.raw,
            context_raw: self.context_raw,
            quirk: self.quirk,
        }
    }

    /// From the domain's reading and the spool's random number.
    #[must_use]
    pub fn from_reading(reading: Reading, nonce: u64) -> Self {
        Self {
            id: reading.id,
            member: reading.member,
            meter: reading.meter,
            attribution: reading.attribution,
            place: reading.place,
            time: reading.time,
            captured_at: reading.captured_at,
            measurement: reading.measurement,
            flags: reading.flags,
            slot: reading.slot,
            characteristic: reading.characteristic,
            raw: reading.raw,
            context_raw: reading.context_raw,
            nonce,
            quirk: reading.quirk,
        }
    }
}

/// A batch whose frame is sound; each item parsed by itself, so that one bad reading does not take the others with it.
#[derive(Debug)]
pub struct ParsedBatch {
    /// The sender, as the payload says.
    pub gateway: GatewayId,
    /// Its start.
    pub epoch: Epoch,
    /// The lane.
    pub lane: Lane,
    /// See [`Batch::settled_seen`].
    pub settled_seen: u64,
    /// Sequence number of the first item.
    pub first_seq: u64,
    /// The items in order, at least one.
    pub items: Vec<Result<Item, ItemError>>,
}

/// One item that does not parse; the rest of its batch is not touched by it.
#[derive(Debug, thiserror::Error)]
#[error("the item is not a reading or a void")]
pub struct ItemError {
    /// The item's text as sent, at most [`MAX_BATCH_BYTES`].
    pub text: String,
    /// What the parser said; may quote the text, so it is not logged.
    #[source]
    pub source: ItemFault,
}

/// What is wrong with an item.
#[derive(Debug, thiserror::Error)]
pub enum ItemFault {
    /// The parser's words.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// More raw bytes than an attribute can have.
    #[error("raw has {bytes} bytes; a characteristic value has at most {MAX_RAW_BYTES}")]
    RawTooLong {
        /// How many.
        bytes: usize,
    },
}

/// Why a payload is no batch.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// Larger than [`MAX_BATCH_BYTES`].
    #[error("the batch has {bytes} bytes; at most {MAX_BATCH_BYTES} are allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Not JSON of a batch's shape.
    #[error("the payload is not a batch")]
    NotABatch(#[source] serde_json::Error),
    /// Another schema.
    #[error("the schema is not {BATCH_SCHEMA}")]
    OtherSchema,
    /// No item, or more than [`MAX_BATCH_ITEMS`].
    #[error("the batch has {count} items; 1 to {MAX_BATCH_ITEMS} are allowed")]
    ItemCount {
        /// How many.
        count: usize,
    },
    /// Sequence numbers start at 1 and end before 2^63.
    #[error("the batch's sequence numbers are out of range")]
    SeqRange,
}

#[derive(Deserialize)]
struct Frame<'a> {
    schema: String,
    gateway: GatewayId,
    epoch: Epoch,
    lane: Lane,
    #[serde(default)]
    settled_seen: u64,
    first_seq: u64,
    #[serde(borrow)]
    items: Vec<&'a RawValue>,
}

/// Sequence numbers are kept as signed 64-bit integers in SQL.
const LAST_SEQ: u64 = i64::MAX as u64 - MAX_BATCH_ITEMS as u64;

/// Parses a batch payload (the bytes behind the signature line).
///
/// # Errors
/// When the frame itself is unusable; faults of single items are in [`ParsedBatch::items`].
pub fn parse_batch(payload: &[u8]) -> Result<ParsedBatch, BatchError> {
    if payload.len() > MAX_BATCH_BYTES {
        return Err(BatchError::TooLarge { bytes: payload.len() });
    }
    let frame: Frame<'_> = serde_json::from_slice(payload).map_err(BatchError::NotABatch)?;
    if frame.schema != BATCH_SCHEMA {
        return Err(BatchError::OtherSchema);
    }
    if frame.items.is_empty() || frame.items.len() > MAX_BATCH_ITEMS {
        return Err(BatchError::ItemCount {
            count: frame.items.len(),
        });
    }
    if frame.first_seq == 0 || frame.first_seq > LAST_SEQ || frame.settled_seen > LAST_SEQ {
        return Err(BatchError::SeqRange);
    }
    let items = frame.items.iter().map(|raw| parse_item(raw.get())).collect();
    Ok(ParsedBatch {
        gateway: frame.gateway,
        epoch: frame.epoch,
        lane: frame.lane,
        settled_seen: frame.settled_seen,
        first_seq: frame.first_seq,
        items,
    })
}

/// Numbers of a batch whose payload [`parse_batch`] refuses, as far as they can be read: enough to settle them, so that a
/// batch that no server can use does not hold its lane for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Salvaged {
    /// The sender.
    pub gateway: GatewayId,
    /// Its start.
    pub epoch: Epoch,
    /// The lane.
    pub lane: Lane,
    /// See [`Batch::settled_seen`].
    pub settled_seen: u64,
    /// Sequence number of the first item.
    pub first_seq: u64,
    /// How many items, 1 to [`MAX_BATCH_ITEMS`].
    pub items: usize,
}

/// Reads the numbers of a payload that is no batch of this version: another schema, or too many bytes. `None` where even
/// those cannot be read, or are out of range.
#[must_use]
pub fn salvage_batch(payload: &[u8]) -> Option<Salvaged> {
    let frame: Frame<'_> = serde_json::from_slice(payload).ok()?;
    let items = frame.items.len();
    let in_range = (1..=MAX_BATCH_ITEMS).contains(&items)
        && (1..=LAST_SEQ).contains(&frame.first_seq)
        && frame.settled_seen <= LAST_SEQ;
    in_range.then_some(Salvaged {
        gateway: frame.gateway,
        epoch: frame.epoch,
        lane: frame.lane,
        settled_seen: frame.settled_seen,
        first_seq: frame.first_seq,
        items,
    })
}

fn parse_item(text: &str) -> Result<Item, ItemError> {
    let fault = |source| ItemError {
        text: text.to_owned(),
        source,
    };
    let item: Item = serde_json::from_str(text).map_err(|e| fault(ItemFault::Json(e)))?;
    if let Item::Reading(reading) = &item {
        let longest = reading.raw.len().max(reading.context_raw.as_ref().map_or(0, Vec::len));
        if longest > MAX_RAW_BYTES {
            return Err(fault(ItemFault::RawTooLong { bytes: longest }));
        }
    }
    Ok(item)
}

mod hex_bytes {
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode_upper(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        hex::decode(text.as_bytes()).map_err(serde::de::Error::custom)
    }
}

mod hex_bytes_opt {
    use serde::{Deserialize as _, Deserializer, Serializer};

    // The signature is serde's, which hands over a reference to the field.
    #[expect(clippy::ref_option, reason = "serde's `with` passes a reference to the field")]
    pub(super) fn serialize<S: Serializer>(bytes: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(bytes) => serializer.serialize_str(&hex::encode_upper(bytes)),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| hex::decode(text).map_err(serde::de::Error::custom))
            .transpose()
    }
}
