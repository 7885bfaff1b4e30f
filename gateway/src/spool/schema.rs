//! The file's layout. Entries are only ever appended; an old program must be able to run on a newer layout's file until
//! it is told otherwise by [`OpenError::Newer`](super::OpenError::Newer).

/// Layouts in order; `PRAGMA user_version` is the number of those that were applied. Instants are microseconds since
/// 1970, ids 16 bytes.
pub(super) const LAYOUTS: [&str; 1] = [LAYOUT_1];

// Roll back by moving the file away; nothing older exists.
const LAYOUT_1: &str = "
BEGIN IMMEDIATE;
CREATE TABLE meta (
    key   TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE counters (
    name  TEXT PRIMARY KEY NOT NULL,
    value INTEGER NOT NULL
) STRICT;

CREATE TABLE links (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    meter     BLOB NOT NULL,
    kind      TEXT NOT NULL CHECK (kind IN ('blood_pressure', 'glucose')),
    opened_at INTEGER NOT NULL,
    closed_at INTEGER,
    records   INTEGER NOT NULL DEFAULT 0,
    -- It was interrupted: what it showed is not all that the meter had.
    unclean   INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX links_open ON links (id) WHERE closed_at IS NULL;

-- What is known of a meter apart from any reading: the glucose high-water mark and the counts that staff see.
CREATE TABLE meter_state (
    meter          BLOB PRIMARY KEY NOT NULL,
    last_link_at   INTEGER,
    records        INTEGER NOT NULL DEFAULT 0,
    possible_gaps  INTEGER NOT NULL DEFAULT 0,
    sync_sequence  INTEGER,
    sync_base_time BLOB,
    last_delivered BLOB
) STRICT;

CREATE TABLE spool (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    link           INTEGER NOT NULL REFERENCES links (id),
    meter          BLOB NOT NULL,
    characteristic INTEGER NOT NULL,
    raw            BLOB NOT NULL,
    context_raw    BLOB,
    record_number  INTEGER,
    received_at    INTEGER NOT NULL,
    clock_trusted  INTEGER NOT NULL,
    sitting        BLOB,
    nonce          INTEGER NOT NULL
) STRICT;
CREATE INDEX spool_link ON spool (link, id);

CREATE TABLE outbox (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    reading_id  BLOB UNIQUE,
    member      BLOB,
    meter       BLOB,
    measured_at INTEGER,
    captured_at INTEGER NOT NULL,
    lane        TEXT NOT NULL CHECK (lane IN ('live', 'replay')),
    seq         INTEGER,
    reading     TEXT,
    -- A void is a number that was given to a row that has been purged: nothing of the row is left.
    CHECK ((reading IS NULL) = (reading_id IS NULL)),
    CHECK (reading IS NOT NULL OR seq IS NOT NULL),
    UNIQUE (lane, seq)
) STRICT;
CREATE INDEX outbox_member ON outbox (member);
CREATE INDEX outbox_unnumbered ON outbox (lane, id) WHERE seq IS NULL;

CREATE TABLE lanes (
    lane         TEXT PRIMARY KEY NOT NULL,
    next_seq     INTEGER NOT NULL,
    settled_seen INTEGER NOT NULL
) STRICT;

CREATE TABLE sealed (
    reading_id  BLOB PRIMARY KEY NOT NULL,
    member      BLOB NOT NULL,
    measured_at INTEGER NOT NULL,
    sealed_at   INTEGER NOT NULL,
    reading     TEXT NOT NULL,
    -- Whether the gateway's clock was believed when the packet came.
    clock_trusted INTEGER NOT NULL
) STRICT;

CREATE TABLE quarantine (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    meter          BLOB NOT NULL,
    characteristic INTEGER NOT NULL,
    raw            BLOB NOT NULL,
    context_raw    BLOB,
    received_at    INTEGER NOT NULL,
    last_at        INTEGER NOT NULL,
    times          INTEGER NOT NULL DEFAULT 1,
    member         BLOB,
    reason         TEXT NOT NULL,
    UNIQUE (meter, characteristic, raw)
) STRICT;

CREATE TABLE sittings (
    id            BLOB PRIMARY KEY NOT NULL,
    member        BLOB NOT NULL,
    began_at      INTEGER NOT NULL,
    identified_at INTEGER NOT NULL,
    alive_at      INTEGER NOT NULL,
    ended_at      INTEGER,
    keep_sealed   INTEGER NOT NULL DEFAULT 0,
    -- Whether the gateway's clock was believed when it began.
    clock_trusted INTEGER NOT NULL
) STRICT;

CREATE TABLE down_rows (
    kind TEXT NOT NULL CHECK (kind IN ('member', 'meter', 'binding', 'grant')),
    id   BLOB NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT;

PRAGMA user_version = 1;
COMMIT;
";
