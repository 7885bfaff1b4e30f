//! Bounds of the store, each with its reason.

use std::time::Duration;

/// Items of one batch, as the wire contract has it.
pub const MAX_BATCH_ITEMS: usize = 200;
/// Settled numbers kept beyond a lane's first gap; later ones stay unsettled and are sent again. As the wire contract.
pub const MAX_EXTRA: usize = 256;
/// Rejections of a lane that the gateway has not seen yet; further ones stay unsettled, so that the prefix waits for
/// them. As the wire contract.
pub const MAX_REJECTED: usize = 256;
/// Owners in one registration, as the wire contract has it.
pub const MAX_METER_OWNERS: usize = 16;
/// Bytes of an epoch's text.
pub const MAX_EPOCH_BYTES: usize = 16;
/// Epochs of one gateway whose cursors are kept; a gateway start draws one, and only the newest is ever asked about, the
/// others tell a clone from a restart.
pub const KEPT_EPOCHS: i64 = 16;
/// Bytes kept of one quarantined message; its true length and digest are kept beside them.
pub const MAX_QUARANTINE_BYTES: usize = 64 * 1024;
/// Quarantined messages in all (at most 6.5 GB); beyond it the oldest goes for the newest, and is counted.
pub const MAX_QUARANTINE_ROWS: i64 = 100_000;
/// Rows of one page of a list.
pub const MAX_PAGE: u32 = 500;
/// Characters of a person's name.
pub const MAX_NAME_CHARS: usize = 100;
/// Characters of a telephone number.
pub const MAX_PHONE_CHARS: usize = 32;
/// Characters of a login.
pub const MAX_LOGIN_CHARS: usize = 64;
/// Characters of a note or reason.
pub const MAX_NOTE_CHARS: usize = 2_000;
/// Symptoms recorded at once.
pub const MAX_SYMPTOMS: usize = 32;
/// Attempts after which a job is parked for a person.
pub const MAX_JOB_ATTEMPTS: i64 = 8;
/// First pause after a failed job; doubled each time.
pub const JOB_BACKOFF: Duration = Duration::from_secs(10);
/// Characters kept of a job's last error.
pub const MAX_ERROR_CHARS: usize = 1_000;
/// Audit rows that one call of the sealer chains.
pub const MAX_SEALED_AT_ONCE: i64 = 1_000;
/// How often a PostgreSQL transaction is run again after a serialisation failure or deadlock.
pub const MAX_CONTENTION_RETRIES: u32 = 5;
/// Failed logins are forgotten after this long.
pub const LOGIN_MEMORY: Duration = Duration::from_secs(24 * 60 * 60);
/// Callers that may wait for SQLite's one writer; the next is told that the database is busy.
pub const MAX_WRITERS_WAITING: usize = 1_024;
/// Points of the small drawing in a queue row; two a day for 30 days, and room.
pub const MAX_TREND_POINTS: usize = 90;
