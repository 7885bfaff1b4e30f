//! Bounds that both ends keep.

use std::time::Duration;

/// Readings or voids in one batch.
pub const MAX_BATCH_ITEMS: usize = 200;
/// Bytes of one batch payload, without its signature line.
pub const MAX_BATCH_BYTES: usize = 64 * 1024;
/// Bytes of any MQTT packet; a larger one is refused by its receiver.
pub const MAX_PACKET_BYTES: usize = 256 * 1024;
/// Sequence numbers that a receipt may list beyond its contiguous prefix.
pub const MAX_RECEIPT_EXTRA: usize = 256;
/// Rejections that are outstanding (not yet seen by the gateway) before a lane's prefix stops advancing.
pub const MAX_RECEIPT_REJECTED: usize = 256;
/// Rows of all kinds together in one part of a snapshot or delta. The largest kind, a meter with a long model name that says
/// much about itself, has about 650 bytes, so a full part stays below [`MAX_PACKET_BYTES`].
pub const MAX_DOWN_ROWS: usize = 400;
/// Owners in one registration: more than the user slots of any meter known (page 3, section 2.8, item 6: two).
pub const MAX_METER_OWNERS: usize = 16;
/// Characters of a meter's model.
pub const MAX_MODEL_CHARS: usize = 100;
/// Bytes of one record's raw value: an ATT attribute is at most 512 bytes (Bluetooth Core, Vol 3, Part F, 3.2.9).
pub const MAX_RAW_BYTES: usize = 512;
/// A reading measured at most this long before its capture goes by the live lane.
pub const LIVE_WINDOW: Duration = Duration::from_secs(10 * 60);
/// Batches of the live lane that may be without a receipt.
pub const LIVE_WINDOW_BATCHES: usize = 16;
/// Batches of the replay lane that may be without a receipt.
pub const REPLAY_WINDOW_BATCHES: usize = 2;
/// Receive Maximum that the server announces.
pub const RECEIVE_MAXIMUM: u16 = 32;
/// How long a signed CONNECT password is good, either side of its time.
pub const CONNECT_VALIDITY: Duration = Duration::from_secs(5 * 60);
/// Shortest time after which an unanswered batch is sent again on a live link.
pub const MIN_RESEND: Duration = Duration::from_secs(60);
