//! The file's layout. Entries are only ever appended; an old program must be able to run on a newer layout's file until
//! it is told otherwise by [`OpenError::Newer`](super::OpenError::Newer).

/// Layouts in order; `PRAGMA user_version` is the number of those that were applied. Instants are microseconds since
/// 1970, ids 16 bytes.
pub(super) const LAYOUTS: [&str; 8] = [
    LAYOUT_1, LAYOUT_2, LAYOUT_3, LAYOUT_4, LAYOUT_5, LAYOUT_6, LAYOUT_7, LAYOUT_8,
];

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

// What is known of a meter's clock on each link, what a meter says of itself, and counts by meter. `links` is made anew,
// because its check knew two kinds of meters only, and foreign keys must be off for that. Roll back by moving the file
// away after the outbox has drained: an old program refuses the file.
const LAYOUT_2: &str = "
PRAGMA foreign_keys = OFF;
BEGIN IMMEDIATE;
CREATE TABLE links_2 (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    meter     BLOB NOT NULL,
    kind      TEXT NOT NULL,
    opened_at INTEGER NOT NULL,
    closed_at INTEGER,
    records   INTEGER NOT NULL DEFAULT 0,
    -- It was interrupted: what it showed is not all that the meter had.
    unclean   INTEGER NOT NULL DEFAULT 0,
    -- Whether the meter's clock was read on it. What came over it is not settled before that is decided.
    clock     TEXT NOT NULL DEFAULT 'pending' CHECK (clock IN ('pending', 'unknown', 'read')),
    -- Gateway minus meter.
    skew_ms   INTEGER,
    skew_at   INTEGER,
    -- The newest that was known when the link was opened.
    last_skew_ms INTEGER,
    last_skew_at INTEGER,
    CHECK ((clock = 'read') = (skew_ms IS NOT NULL AND skew_at IS NOT NULL)),
    CHECK ((last_skew_ms IS NULL) = (last_skew_at IS NULL))
) STRICT;
INSERT INTO links_2 (id, meter, kind, opened_at, closed_at, records, unclean, clock)
    SELECT id, meter, kind, opened_at, closed_at, records, unclean, 'unknown' FROM links;
DROP TABLE links;
ALTER TABLE links_2 RENAME TO links;
CREATE INDEX links_open ON links (id) WHERE closed_at IS NULL;

-- Written down before the link's clock was known: its sitting is a guess until then.
ALTER TABLE spool ADD COLUMN provisional INTEGER NOT NULL DEFAULT 0;

ALTER TABLE meter_state ADD COLUMN skew_ms INTEGER;
ALTER TABLE meter_state ADD COLUMN skew_at INTEGER;
ALTER TABLE meter_state ADD COLUMN links INTEGER NOT NULL DEFAULT 0;
ALTER TABLE meter_state ADD COLUMN unclean INTEGER NOT NULL DEFAULT 0;
ALTER TABLE meter_state ADD COLUMN connect_failures INTEGER NOT NULL DEFAULT 0;
ALTER TABLE meter_state ADD COLUMN last_failure TEXT;
ALTER TABLE meter_state ADD COLUMN duplicates INTEGER NOT NULL DEFAULT 0;
ALTER TABLE meter_state ADD COLUMN rejects INTEGER NOT NULL DEFAULT 0;
-- Its notification session is kept over the end of a link, so that one that ended with the program leaves a gap.
ALTER TABLE meter_state ADD COLUMN keeps_session INTEGER NOT NULL DEFAULT 0;
ALTER TABLE meter_state ADD COLUMN manufacturer TEXT;
ALTER TABLE meter_state ADD COLUMN model TEXT;
ALTER TABLE meter_state ADD COLUMN serial TEXT;
ALTER TABLE meter_state ADD COLUMN firmware TEXT;

PRAGMA user_version = 2;
COMMIT;
PRAGMA foreign_keys = ON;
";

// Meters that staff registered here. Roll back by dropping the table once it is empty, and setting the version back.
const LAYOUT_3: &str = "
BEGIN IMMEDIATE;
CREATE TABLE registrations (
    meter   BLOB PRIMARY KEY NOT NULL,
    body    TEXT NOT NULL,
    made_at INTEGER NOT NULL,
    sent_at INTEGER,
    refused TEXT,
    CHECK (refused IS NULL OR sent_at IS NOT NULL)
) STRICT;

PRAGMA user_version = 3;
COMMIT;
";

// By which bytes that came before on a link are found among thousands that wait. Roll back by dropping the index and
// setting the version back.
const LAYOUT_4: &str = "
BEGIN IMMEDIATE;
CREATE INDEX spool_same ON spool (link, raw);

PRAGMA user_version = 4;
COMMIT;
";

// Indexes that no query needs: rows without a number are found in their order by the one of lane and number, the packets of
// a link by `spool_same`, and the newest of them from the end of the table. Roll back by making them again and setting the
// version back.
const LAYOUT_5: &str = "
BEGIN IMMEDIATE;
DROP INDEX outbox_member;
DROP INDEX outbox_unnumbered;
DROP INDEX spool_link;

PRAGMA user_version = 5;
COMMIT;
";

// What a cuff declares to detect (2A49), as it was read on a link, or on the one before it; absent if it never was. Roll back
// when outbox and sealed readings are empty, for an old program does not know the flag that says so: by dropping the columns
// and setting the version back.
const LAYOUT_6: &str = "
BEGIN IMMEDIATE;
ALTER TABLE links ADD COLUMN feature INTEGER CHECK (feature BETWEEN 0 AND 65535);
ALTER TABLE meter_state ADD COLUMN feature INTEGER CHECK (feature BETWEEN 0 AND 65535);

PRAGMA user_version = 6;
COMMIT;
";

// The beginning of the newest link that took from a meter what it held: of a meter now, and of a link before it was made. Roll
// back by dropping the columns and setting the version back.
const LAYOUT_7: &str = "
BEGIN IMMEDIATE;
ALTER TABLE links ADD COLUMN emptied_before INTEGER;
ALTER TABLE meter_state ADD COLUMN emptied_at INTEGER;

PRAGMA user_version = 7;
COMMIT;
";

// Readings are packed (`packed`) and no JSON any more; those that are there stay as they are. The two columns take any type now,
// which says nothing else about what is in the file: so the schema's text is changed, as sqlite.org describes for that ("ALTER
// TABLE", "Making Other Kinds Of Table Schema Changes"), and no table is made anew, for which a disk that is nearly full has no
// room. And packets that have a record number are mostly not compared with what waits (`numbers`), and looked for without an
// index if they are. Roll back when outbox and sealed readings are empty: by the reverse replacement, making the index as it was,
// and setting the version back.
const LAYOUT_8: &str = "
BEGIN IMMEDIATE;
PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = replace(sql, 'reading     TEXT', 'reading     ANY')
    WHERE type = 'table' AND name IN ('outbox', 'sealed');
PRAGMA writable_schema = RESET;
DROP INDEX spool_same;
CREATE INDEX spool_same ON spool (link, raw) WHERE record_number IS NULL;

PRAGMA user_version = 8;
COMMIT;
";
