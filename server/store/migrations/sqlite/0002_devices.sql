-- Devices: what meters say about themselves, registration from a gateway, quirk entries, and weight, temperature and oxygen
-- saturation beside pressure and glucose.
-- Rollback: an old server runs on this schema and writes to it; it cannot show a member who has a reading of a new kind, or
-- one with a flag or a label of its time that it does not know. To go back for good, delete those readings, drop the new
-- columns and narrow the checks again.

-- SQLite cannot change a check: the table is made again. Its rows are those that `binding` and `reading` refer to, so that
-- references are checked at the end.
PRAGMA defer_foreign_keys = ON;

-- `described_at`: when the gateway learnt what a meter says about itself; an older word changes nothing. `last_seen`: the
-- newest capture of a reading that was stored since; what was stored before is not searched for it, as with PostgreSQL.
CREATE TABLE meter_before AS SELECT * FROM meter;
DROP TABLE meter;
CREATE TABLE meter (
    id BLOB NOT NULL,
    address TEXT NOT NULL,
    address_type TEXT NOT NULL,
    kind TEXT NOT NULL,
    role TEXT NOT NULL,
    store BLOB NOT NULL REFERENCES store (id),
    model TEXT NOT NULL,
    multi_user INTEGER NOT NULL,
    registered_at INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    manufacturer TEXT NOT NULL DEFAULT '',
    serial TEXT NOT NULL DEFAULT '',
    firmware TEXT NOT NULL DEFAULT '',
    described_at INTEGER,
    registered_via BLOB REFERENCES gateway (id),
    last_seen INTEGER,
    PRIMARY KEY (id),
    CONSTRAINT meter_address_type CHECK (address_type IN ('public', 'random')),
    CONSTRAINT meter_kind CHECK (kind IN ('blood_pressure', 'glucose', 'weight', 'temperature', 'oxygen_saturation')),
    CONSTRAINT meter_role CHECK (role IN ('personal', 'store_shared'))
) STRICT;
INSERT INTO meter (
    id, address, address_type, kind, role, store, model, multi_user, registered_at, changed
) SELECT
    id, address, address_type, kind, role, store, model, multi_user, registered_at, changed
FROM meter_before;
DROP TABLE meter_before;
CREATE INDEX meter_store ON meter (store, changed);
CREATE INDEX meter_listing ON meter (model, address, id);

-- `quirk`: the entry of the quirk table by which the bytes were read. Weight in thousandths of `unit`, temperature in
-- thousandths of a degree of `unit`, oxygen saturation in tenths of a percent; pulse and user slot are in their old columns.
CREATE TABLE reading_next (
    id BLOB NOT NULL,
    member BLOB NOT NULL REFERENCES member (id),
    meter BLOB NOT NULL REFERENCES meter (id),
    attributed_by TEXT NOT NULL,
    attribution BLOB NOT NULL,
    place TEXT NOT NULL,
    measured_at INTEGER NOT NULL,
    time_quality TEXT NOT NULL,
    meter_local INTEGER,
    correction_s INTEGER NOT NULL,
    gateway_clock_unsure INTEGER NOT NULL,
    captured_at INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    gateway BLOB NOT NULL REFERENCES gateway (id),
    kind TEXT NOT NULL,
    unit TEXT NOT NULL,
    systolic_umhg INTEGER,
    diastolic_umhg INTEGER,
    mean_arterial_umhg INTEGER,
    pulse_milli INTEGER,
    user_slot INTEGER,
    glucose_is TEXT,
    glucose_milli INTEGER,
    sequence INTEGER,
    slot TEXT,
    flags TEXT NOT NULL,
    characteristic INTEGER NOT NULL,
    raw BLOB NOT NULL,
    context_raw BLOB,
    nonce INTEGER NOT NULL,
    quirk TEXT,
    weight_milli INTEGER,
    temperature_milli INTEGER,
    temperature_site TEXT,
    spo2_tenths INTEGER,
    PRIMARY KEY (id),
    CONSTRAINT reading_attributed_by CHECK (attributed_by IN ('binding', 'sitting')),
    CONSTRAINT reading_place CHECK (place IN ('store', 'home')),
    CONSTRAINT reading_time_quality CHECK (time_quality IN (
        'meter_ok', 'skew_corrected', 'skew_uncertain', 'offset_missing', 'received_time_used'
    )),
    CONSTRAINT reading_kind CHECK (kind IN ('bp', 'glucose', 'weight', 'temperature', 'oxygen_saturation')),
    CONSTRAINT reading_unit CHECK (unit IN ('mmHg', 'kPa', 'mg/dL', 'mmol/L', 'kg', 'lb', 'C', 'F', '%')),
    CONSTRAINT reading_values CHECK (
        (kind = 'bp' AND systolic_umhg IS NOT NULL AND diastolic_umhg IS NOT NULL AND glucose_is IS NULL)
        OR (kind = 'glucose' AND systolic_umhg IS NULL AND glucose_is IS NOT NULL AND sequence IS NOT NULL)
        OR (kind = 'weight' AND weight_milli IS NOT NULL AND unit IN ('kg', 'lb'))
        OR (kind = 'temperature' AND temperature_milli IS NOT NULL AND unit IN ('C', 'F'))
        OR (kind = 'oxygen_saturation' AND spo2_tenths IS NOT NULL AND unit = '%')
    ),
    CONSTRAINT reading_glucose_is CHECK (glucose_is IN ('value', 'above_range', 'below_range')),
    CONSTRAINT reading_slot CHECK (slot IN (
        'fasting', 'before_breakfast', 'after_breakfast', 'before_lunch', 'after_lunch', 'before_dinner', 'after_dinner',
        'bedtime', 'night', 'random'
    )),
    CONSTRAINT reading_temperature_site CHECK (temperature_site IN (
        'armpit', 'body', 'ear', 'finger', 'gastro_intestinal_tract', 'mouth', 'rectum', 'toe', 'tympanum'
    ))
) STRICT;
INSERT INTO reading_next (
    id, member, meter, attributed_by, attribution, place, measured_at, time_quality, meter_local, correction_s,
    gateway_clock_unsure, captured_at, received_at, gateway, kind, unit, systolic_umhg, diastolic_umhg,
    mean_arterial_umhg, pulse_milli, user_slot, glucose_is, glucose_milli, sequence, slot, flags, characteristic,
    raw, context_raw, nonce
) SELECT
    id, member, meter, attributed_by, attribution, place, measured_at, time_quality, meter_local, correction_s,
    gateway_clock_unsure, captured_at, received_at, gateway, kind, unit, systolic_umhg, diastolic_umhg,
    mean_arterial_umhg, pulse_milli, user_slot, glucose_is, glucose_milli, sequence, slot, flags, characteristic,
    raw, context_raw, nonce
FROM reading;
DROP TABLE reading;
ALTER TABLE reading_next RENAME TO reading;
CREATE INDEX reading_member ON reading (member, measured_at, id);
