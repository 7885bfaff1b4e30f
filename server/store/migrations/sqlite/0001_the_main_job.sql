-- The main job: people, consent, gateways, readings, and the care that follows from them.
-- Rollback: this is the first migration; drop the database.
--
-- Instants are microseconds since 1970 (UTC). Ids are UUIDs. Clinical values are integers in the unit of their name.
-- The two engines' files say the same in the same order; the suite compares their catalogues.

-- Counters that change in the transaction of what they count, so that commit order is their order. `down` begins at 1,
-- because 0 is a gateway's word for "nothing yet".
CREATE TABLE counter (
    name TEXT NOT NULL,
    value INTEGER NOT NULL,
    PRIMARY KEY (name),
    CONSTRAINT counter_name CHECK (name IN ('down', 'queue', 'audit_chain', 'quarantine_rows', 'quarantine_dropped'))
) STRICT;
INSERT INTO counter (name, value)
VALUES ('down', 1), ('queue', 1), ('audit_chain', 0), ('quarantine_rows', 0), ('quarantine_dropped', 0);

CREATE TABLE store (
    id BLOB NOT NULL,
    name TEXT NOT NULL,
    zone TEXT NOT NULL,
    added_at INTEGER NOT NULL,
    PRIMARY KEY (id)
) STRICT;

CREATE TABLE staff (
    id BLOB NOT NULL,
    login TEXT NOT NULL,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    store BLOB NOT NULL REFERENCES store (id),
    password_hash TEXT NOT NULL,
    added_at INTEGER NOT NULL,
    disabled_at INTEGER,
    PRIMARY KEY (id),
    CONSTRAINT staff_role CHECK (role IN ('pharmacist', 'manager', 'it'))
) STRICT;
CREATE UNIQUE INDEX staff_login ON staff (login);

-- A session is found by the SHA-256 of its token; the token itself is nowhere.
CREATE TABLE login_session (
    token_hash BLOB NOT NULL,
    staff BLOB NOT NULL REFERENCES staff (id),
    csrf TEXT NOT NULL,
    opened_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (token_hash)
) STRICT;
CREATE INDEX login_session_expiry ON login_session (expires_at);

-- By digest, because people type passwords into the wrong field.
CREATE TABLE login_failure (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    login_digest BLOB NOT NULL,
    at INTEGER NOT NULL
) STRICT;
CREATE INDEX login_failure_digest ON login_failure (login_digest, at);
CREATE INDEX login_failure_at ON login_failure (at);

CREATE TABLE gateway (
    id BLOB NOT NULL,
    store BLOB NOT NULL REFERENCES store (id),
    name TEXT NOT NULL,
    public_key BLOB NOT NULL,
    enrolled_at INTEGER NOT NULL,
    revoked_at INTEGER,
    last_seen INTEGER,
    online INTEGER NOT NULL,
    epoch TEXT,
    applied_version INTEGER NOT NULL,
    readings INTEGER NOT NULL,
    PRIMARY KEY (id)
) STRICT;
CREATE INDEX gateway_store ON gateway (store);

CREATE TABLE gateway_epoch (
    gateway BLOB NOT NULL REFERENCES gateway (id),
    epoch TEXT NOT NULL,
    first_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    PRIMARY KEY (gateway, epoch)
) STRICT;

CREATE TABLE technical_flag (
    gateway BLOB NOT NULL REFERENCES gateway (id),
    kind TEXT NOT NULL,
    raised_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (gateway, kind),
    CONSTRAINT technical_flag_kind CHECK (kind IN ('cloned_gateway'))
) STRICT;

-- `extra`: settled numbers beyond the first gap, comma-separated, bounded by the code.
CREATE TABLE lane_cursor (
    gateway BLOB NOT NULL REFERENCES gateway (id),
    epoch TEXT NOT NULL,
    lane TEXT NOT NULL,
    settled_through INTEGER NOT NULL,
    extra TEXT NOT NULL,
    PRIMARY KEY (gateway, epoch, lane),
    CONSTRAINT lane_cursor_lane CHECK (lane IN ('live', 'replay'))
) STRICT;

-- Until the gateway has seen them. `reason` is `no_consent` or a quarantine reason.
CREATE TABLE lane_rejection (
    gateway BLOB NOT NULL REFERENCES gateway (id),
    epoch TEXT NOT NULL,
    lane TEXT NOT NULL,
    seq INTEGER NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (gateway, epoch, lane, seq),
    CONSTRAINT lane_rejection_lane CHECK (lane IN ('live', 'replay'))
) STRICT;

CREATE TABLE quarantine (
    id BLOB NOT NULL,
    gateway BLOB,
    reason TEXT NOT NULL,
    bytes BLOB NOT NULL,
    length INTEGER NOT NULL,
    digest BLOB NOT NULL,
    first_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (id)
) STRICT;
CREATE INDEX quarantine_age ON quarantine (last_at, id);
CREATE INDEX quarantine_reason ON quarantine (reason);

-- `changed`: the `down` version by which gateways learn of the row; so in the next three tables.
CREATE TABLE member (
    id BLOB NOT NULL,
    code TEXT NOT NULL,
    name TEXT NOT NULL,
    birth_year INTEGER NOT NULL,
    sex TEXT NOT NULL,
    phone TEXT,
    home_store BLOB NOT NULL REFERENCES store (id),
    added_at INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT member_sex CHECK (sex IN ('female', 'male', 'unknown'))
) STRICT;
CREATE UNIQUE INDEX member_code ON member (code);
CREATE INDEX member_home_store ON member (home_store, changed);

CREATE TABLE member_fact (
    member BLOB NOT NULL REFERENCES member (id),
    kind TEXT NOT NULL,
    code TEXT NOT NULL,
    PRIMARY KEY (member, kind, code),
    CONSTRAINT member_fact_kind CHECK (kind IN ('condition', 'drug')),
    CONSTRAINT member_fact_code CHECK (code IN (
        'hypertension', 'diabetes', 'ckd', 'atrial_fibrillation', 'pregnant', 'postpartum',
        'antihypertensive', 'beta_blocker', 'insulin', 'insulin_long', 'sulfonylurea', 'alpha_glucosidase_inhibitor',
        'other'
    ))
) STRICT;

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
    PRIMARY KEY (id),
    CONSTRAINT meter_address_type CHECK (address_type IN ('public', 'random')),
    CONSTRAINT meter_kind CHECK (kind IN ('blood_pressure', 'glucose')),
    CONSTRAINT meter_role CHECK (role IN ('personal', 'store_shared'))
) STRICT;
CREATE INDEX meter_store ON meter (store, changed);

CREATE TABLE binding (
    id BLOB NOT NULL,
    meter BLOB NOT NULL REFERENCES meter (id),
    member BLOB NOT NULL REFERENCES member (id),
    slot INTEGER,
    valid_from INTEGER NOT NULL,
    valid_to INTEGER,
    only_ever_this_person INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    PRIMARY KEY (id)
) STRICT;
CREATE INDEX binding_meter ON binding (meter);
CREATE INDEX binding_member ON binding (member);

CREATE TABLE consent_grant (
    id BLOB NOT NULL,
    member BLOB NOT NULL REFERENCES member (id),
    purpose TEXT NOT NULL,
    text_version TEXT NOT NULL,
    text_hash BLOB NOT NULL,
    channel TEXT NOT NULL,
    store BLOB NOT NULL REFERENCES store (id),
    witness BLOB REFERENCES staff (id),
    granted_at INTEGER NOT NULL,
    withdrawn_at INTEGER,
    expires_at INTEGER,
    includes_history INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT consent_grant_purpose CHECK (purpose IN (
        'care_record', 'pharmacist_call', 'alert_message', 'reminder', 'family_contact', 'marketing', 'statistics'
    )),
    CONSTRAINT consent_grant_channel CHECK (channel IN ('kiosk', 'staff', 'phone', 'paper'))
) STRICT;
CREATE INDEX consent_grant_member ON consent_grant (member, purpose);

-- `flags`: codes, space-separated. `meter_local`: the meter's own date as if it were UTC. Pressures in micro-mmHg, pulse in
-- thousandths per minute, glucose in thousandths of `unit`.
CREATE TABLE reading (
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
    PRIMARY KEY (id),
    CONSTRAINT reading_attributed_by CHECK (attributed_by IN ('binding', 'sitting')),
    CONSTRAINT reading_place CHECK (place IN ('store', 'home')),
    CONSTRAINT reading_time_quality CHECK (time_quality IN (
        'meter_ok', 'skew_corrected', 'offset_missing', 'received_time_used'
    )),
    CONSTRAINT reading_kind CHECK (kind IN ('bp', 'glucose')),
    CONSTRAINT reading_unit CHECK (unit IN ('mmHg', 'kPa', 'mg/dL', 'mmol/L')),
    CONSTRAINT reading_values CHECK (
        (kind = 'bp' AND systolic_umhg IS NOT NULL AND diastolic_umhg IS NOT NULL AND glucose_is IS NULL)
        OR (kind = 'glucose' AND systolic_umhg IS NULL AND glucose_is IS NOT NULL AND sequence IS NOT NULL)
    ),
    CONSTRAINT reading_glucose_is CHECK (glucose_is IN ('value', 'above_range', 'below_range')),
    CONSTRAINT reading_slot CHECK (slot IN (
        'fasting', 'before_breakfast', 'after_breakfast', 'before_lunch', 'after_lunch', 'before_dinner', 'after_dinner',
        'bedtime', 'night', 'random'
    ))
) STRICT;
CREATE INDEX reading_member ON reading (member, measured_at, id);

CREATE TABLE symptom (
    id BLOB NOT NULL,
    member BLOB NOT NULL REFERENCES member (id),
    code TEXT NOT NULL,
    source TEXT NOT NULL,
    at INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT symptom_code CHECK (code IN (
        'chest_pain', 'face_arm_speech', 'confusion', 'fainting', 'breathless_at_rest', 'vision_loss', 'worst_headache',
        'dizziness', 'vomiting', 'deep_breathing', 'acetone_breath', 'drowsiness', 'needed_help', 'seizure', 'unconscious'
    )),
    CONSTRAINT symptom_source CHECK (source IN ('kiosk', 'staff'))
) STRICT;
CREATE INDEX symptom_member ON symptom (member, at);

-- Follows from readings and may be made again from them. Lists of ids, and the next step, are opaque JSON.
CREATE TABLE bp_session (
    id BLOB NOT NULL,
    member BLOB NOT NULL REFERENCES member (id),
    place TEXT NOT NULL,
    meter BLOB,
    state TEXT NOT NULL,
    started INTEGER NOT NULL,
    last INTEGER NOT NULL,
    closes_at INTEGER NOT NULL,
    systolic_mmhg INTEGER,
    diastolic_mmhg INTEGER,
    pulse_per_min INTEGER,
    mean_readings INTEGER,
    readings TEXT NOT NULL,
    used TEXT NOT NULL,
    severe TEXT NOT NULL,
    doubts TEXT NOT NULL,
    further_reading_missing INTEGER NOT NULL,
    superseded INTEGER NOT NULL,
    repeats BLOB,
    next_step TEXT NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT bp_session_place CHECK (place IN ('store', 'home')),
    CONSTRAINT bp_session_state CHECK (state IN ('open', 'judged', 'closed', 'single', 'unusable'))
) STRICT;
CREATE INDEX bp_session_member ON bp_session (member, started);

-- One open alert per member and family: the index says so, whatever the code does. `rank` orders severities. `limits`,
-- `rules` and `contacted` are opaque JSON. `latest_reading` and `latest_session` are what the queue shows.
CREATE TABLE alert (
    id BLOB NOT NULL,
    member BLOB NOT NULL REFERENCES member (id),
    family TEXT NOT NULL,
    rule_set TEXT NOT NULL,
    rule_set_version TEXT NOT NULL,
    rule TEXT NOT NULL,
    severity TEXT NOT NULL,
    rank INTEGER NOT NULL,
    limits TEXT NOT NULL,
    rules TEXT NOT NULL,
    marks TEXT NOT NULL,
    contacted TEXT NOT NULL,
    since INTEGER NOT NULL,
    last_evidence_at INTEGER NOT NULL,
    opened_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    closed_at INTEGER,
    close_reason TEXT,
    acknowledged_by BLOB REFERENCES staff (id),
    acknowledged_at INTEGER,
    acknowledged_severity TEXT,
    owner BLOB REFERENCES staff (id),
    latest_reading BLOB,
    latest_session BLOB,
    version INTEGER NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT alert_family CHECK (family IN ('bp-high', 'bp-low', 'glucose-low', 'glucose-high', 'symptom')),
    CONSTRAINT alert_severity CHECK (severity IN ('pending', 'info', 'low', 'moderate', 'high', 'critical', 'emergency')),
    CONSTRAINT alert_close_reason CHECK (close_reason IN ('cleared', 'consent_withdrawn', 'resolved')),
    CONSTRAINT alert_closed CHECK ((closed_at IS NULL) = (close_reason IS NULL))
) STRICT;
CREATE UNIQUE INDEX alert_open ON alert (member, family) WHERE closed_at IS NULL;
CREATE INDEX alert_member ON alert (member, changed_at);
CREATE INDEX alert_worst ON alert (rank, opened_at, id) WHERE closed_at IS NULL;
CREATE INDEX alert_newest ON alert (opened_at, id);

CREATE TABLE task (
    id BLOB NOT NULL,
    key TEXT NOT NULL,
    member BLOB NOT NULL REFERENCES member (id),
    alert BLOB NOT NULL REFERENCES alert (id),
    rule TEXT NOT NULL,
    kind TEXT NOT NULL,
    severity TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    next_try_at INTEGER,
    status TEXT NOT NULL,
    acted_by BLOB REFERENCES staff (id),
    acted_at INTEGER,
    outcome TEXT,
    cancel_reason TEXT,
    attempts INTEGER NOT NULL,
    unreachable INTEGER NOT NULL,
    note TEXT,
    version INTEGER NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT task_kind CHECK (kind IN ('approach', 'call', 'same_day_doctor', 're_measure')),
    CONSTRAINT task_status CHECK (status IN ('open', 'taken', 'done', 'cancelled'))
) STRICT;
CREATE UNIQUE INDEX task_key ON task (key);
CREATE INDEX task_alert ON task (alert);
CREATE INDEX task_member ON task (member, created_at);
CREATE INDEX task_due ON task (status, due_at, id);

-- Finished and cancelled jobs leave the table. No check on the kind: a newer version's jobs are parked, not refused.
CREATE TABLE job (
    id BLOB NOT NULL,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    member BLOB REFERENCES member (id),
    state TEXT NOT NULL,
    due_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    leased_by BLOB,
    lease_until INTEGER,
    last_error TEXT,
    PRIMARY KEY (id),
    CONSTRAINT job_state CHECK (state IN ('pending', 'parked'))
) STRICT;
CREATE UNIQUE INDEX job_key ON job (key);
CREATE INDEX job_due ON job (state, due_at, id);
CREATE INDEX job_member ON job (member);

-- Append-only. A sealer gives rows their place in a chain of hashes.
CREATE TABLE audit (
    seq INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    at INTEGER NOT NULL,
    actor_kind TEXT NOT NULL,
    actor BLOB,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    member BLOB,
    detail TEXT,
    chain_no INTEGER,
    chain_hash BLOB,
    CONSTRAINT audit_actor_kind CHECK (actor_kind IN ('staff', 'gateway', 'system'))
) STRICT;
CREATE UNIQUE INDEX audit_chain ON audit (chain_no);
CREATE INDEX audit_member ON audit (member, seq);
CREATE INDEX audit_unsealed ON audit (seq) WHERE chain_no IS NULL;
