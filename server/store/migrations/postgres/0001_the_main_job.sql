-- The main job: people, consent, gateways, readings, and the care that follows from them.
-- Rollback: this is the first migration; drop the database.
--
-- Instants are microseconds since 1970 (UTC). Ids are UUIDs. Clinical values are integers in the unit of their name.
-- The two engines' files say the same in the same order; the suite compares their catalogues.

-- Counters that change in the transaction of what they count, so that commit order is their order. `down` begins at 1,
-- because 0 is a gateway's word for "nothing yet".
CREATE TABLE counter (
    name TEXT NOT NULL,
    value BIGINT NOT NULL,
    PRIMARY KEY (name),
    CONSTRAINT counter_name CHECK (name IN ('down', 'queue', 'audit_chain', 'quarantine_rows', 'quarantine_dropped'))
);
INSERT INTO counter (name, value)
VALUES ('down', 1), ('queue', 1), ('audit_chain', 0), ('quarantine_rows', 0), ('quarantine_dropped', 0);

CREATE TABLE store (
    id UUID NOT NULL,
    name TEXT NOT NULL,
    zone TEXT NOT NULL,
    added_at BIGINT NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE staff (
    id UUID NOT NULL,
    login TEXT NOT NULL,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    store UUID NOT NULL REFERENCES store (id),
    password_hash TEXT NOT NULL,
    added_at BIGINT NOT NULL,
    disabled_at BIGINT,
    PRIMARY KEY (id),
    CONSTRAINT staff_role CHECK (role IN ('pharmacist', 'manager', 'it'))
);
CREATE UNIQUE INDEX staff_login ON staff (login);

-- A session is found by the SHA-256 of its token; the token itself is nowhere.
CREATE TABLE login_session (
    token_hash BYTEA NOT NULL,
    staff UUID NOT NULL REFERENCES staff (id),
    csrf TEXT NOT NULL,
    opened_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (token_hash)
);
CREATE INDEX login_session_expiry ON login_session (expires_at);

-- By digest, because people type passwords into the wrong field.
CREATE TABLE login_failure (
    id BIGINT NOT NULL GENERATED ALWAYS AS IDENTITY,
    login_digest BYTEA NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX login_failure_digest ON login_failure (login_digest, at);
CREATE INDEX login_failure_at ON login_failure (at);

CREATE TABLE gateway (
    id UUID NOT NULL,
    store UUID NOT NULL REFERENCES store (id),
    name TEXT NOT NULL,
    public_key BYTEA NOT NULL,
    enrolled_at BIGINT NOT NULL,
    revoked_at BIGINT,
    last_seen BIGINT,
    online BOOLEAN NOT NULL,
    epoch TEXT,
    applied_version BIGINT NOT NULL,
    readings BIGINT NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX gateway_store ON gateway (store);

CREATE TABLE gateway_epoch (
    gateway UUID NOT NULL REFERENCES gateway (id),
    epoch TEXT NOT NULL,
    first_at BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    PRIMARY KEY (gateway, epoch)
);

CREATE TABLE technical_flag (
    gateway UUID NOT NULL REFERENCES gateway (id),
    kind TEXT NOT NULL,
    raised_at BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    count BIGINT NOT NULL,
    PRIMARY KEY (gateway, kind),
    CONSTRAINT technical_flag_kind CHECK (kind IN ('cloned_gateway'))
);

-- `extra`: settled numbers beyond the first gap, comma-separated, bounded by the code.
CREATE TABLE lane_cursor (
    gateway UUID NOT NULL REFERENCES gateway (id),
    epoch TEXT NOT NULL,
    lane TEXT NOT NULL,
    settled_through BIGINT NOT NULL,
    extra TEXT NOT NULL,
    PRIMARY KEY (gateway, epoch, lane),
    CONSTRAINT lane_cursor_lane CHECK (lane IN ('live', 'replay'))
);

-- Until the gateway has seen them. `reason` is `no_consent` or a quarantine reason.
CREATE TABLE lane_rejection (
    gateway UUID NOT NULL REFERENCES gateway (id),
    epoch TEXT NOT NULL,
    lane TEXT NOT NULL,
    seq BIGINT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (gateway, epoch, lane, seq),
    CONSTRAINT lane_rejection_lane CHECK (lane IN ('live', 'replay'))
);

CREATE TABLE quarantine (
    id UUID NOT NULL,
    gateway UUID,
    reason TEXT NOT NULL,
    bytes BYTEA NOT NULL,
    length BIGINT NOT NULL,
    digest BYTEA NOT NULL,
    first_at BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    count BIGINT NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX quarantine_age ON quarantine (last_at, id);
CREATE INDEX quarantine_reason ON quarantine (reason);

-- `changed`: the `down` version by which gateways learn of the row; so in the next three tables.
CREATE TABLE member (
    id UUID NOT NULL,
    code TEXT NOT NULL,
    name TEXT NOT NULL,
    birth_year BIGINT NOT NULL,
    sex TEXT NOT NULL,
    phone TEXT,
    home_store UUID NOT NULL REFERENCES store (id),
    added_at BIGINT NOT NULL,
    changed BIGINT NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT member_sex CHECK (sex IN ('female', 'male', 'unknown'))
);
CREATE UNIQUE INDEX member_code ON member (code);
CREATE INDEX member_home_store ON member (home_store, changed);

CREATE TABLE member_fact (
    member UUID NOT NULL REFERENCES member (id),
    kind TEXT NOT NULL,
    code TEXT NOT NULL,
    PRIMARY KEY (member, kind, code),
    CONSTRAINT member_fact_kind CHECK (kind IN ('condition', 'drug')),
    CONSTRAINT member_fact_code CHECK (code IN (
        'hypertension', 'diabetes', 'ckd', 'atrial_fibrillation', 'pregnant', 'postpartum',
        'antihypertensive', 'beta_blocker', 'insulin', 'insulin_long', 'sulfonylurea', 'alpha_glucosidase_inhibitor',
        'other'
    ))
);

CREATE TABLE meter (
    id UUID NOT NULL,
    address TEXT NOT NULL,
    address_type TEXT NOT NULL,
    kind TEXT NOT NULL,
    role TEXT NOT NULL,
    store UUID NOT NULL REFERENCES store (id),
    model TEXT NOT NULL,
    multi_user BOOLEAN NOT NULL,
    registered_at BIGINT NOT NULL,
    changed BIGINT NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT meter_address_type CHECK (address_type IN ('public', 'random')),
    CONSTRAINT meter_kind CHECK (kind IN ('blood_pressure', 'glucose')),
    CONSTRAINT meter_role CHECK (role IN ('personal', 'store_shared'))
);
CREATE INDEX meter_store ON meter (store, changed);

CREATE TABLE binding (
    id UUID NOT NULL,
    meter UUID NOT NULL REFERENCES meter (id),
    member UUID NOT NULL REFERENCES member (id),
    slot BIGINT,
    valid_from BIGINT NOT NULL,
    valid_to BIGINT,
    only_ever_this_person BOOLEAN NOT NULL,
    changed BIGINT NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX binding_meter ON binding (meter);
CREATE INDEX binding_member ON binding (member);

CREATE TABLE consent_grant (
    id UUID NOT NULL,
    member UUID NOT NULL REFERENCES member (id),
    purpose TEXT NOT NULL,
    text_version TEXT NOT NULL,
    text_hash BYTEA NOT NULL,
    channel TEXT NOT NULL,
    store UUID NOT NULL REFERENCES store (id),
    witness UUID REFERENCES staff (id),
    granted_at BIGINT NOT NULL,
    withdrawn_at BIGINT,
    expires_at BIGINT,
    includes_history BOOLEAN NOT NULL,
    changed BIGINT NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT consent_grant_purpose CHECK (purpose IN (
        'care_record', 'pharmacist_call', 'alert_message', 'reminder', 'family_contact', 'marketing', 'statistics'
    )),
    CONSTRAINT consent_grant_channel CHECK (channel IN ('kiosk', 'staff', 'phone', 'paper'))
);
CREATE INDEX consent_grant_member ON consent_grant (member, purpose);

-- `flags`: codes, space-separated. `meter_local`: the meter's own date as if it were UTC. Pressures in micro-mmHg, pulse in
-- thousandths per minute, glucose in thousandths of `unit`.
CREATE TABLE reading (
    id UUID NOT NULL,
    member UUID NOT NULL REFERENCES member (id),
    meter UUID NOT NULL REFERENCES meter (id),
    attributed_by TEXT NOT NULL,
    attribution UUID NOT NULL,
    place TEXT NOT NULL,
    measured_at BIGINT NOT NULL,
    time_quality TEXT NOT NULL,
    meter_local BIGINT,
    correction_s BIGINT NOT NULL,
    gateway_clock_unsure BOOLEAN NOT NULL,
    captured_at BIGINT NOT NULL,
    received_at BIGINT NOT NULL,
    gateway UUID NOT NULL REFERENCES gateway (id),
    kind TEXT NOT NULL,
    unit TEXT NOT NULL,
    systolic_umhg BIGINT,
    diastolic_umhg BIGINT,
    mean_arterial_umhg BIGINT,
    pulse_milli BIGINT,
    user_slot BIGINT,
    glucose_is TEXT,
    glucose_milli BIGINT,
    sequence BIGINT,
    slot TEXT,
    flags TEXT NOT NULL,
    characteristic BIGINT NOT NULL,
    raw BYTEA NOT NULL,
    context_raw BYTEA,
    nonce BIGINT NOT NULL,
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
);
CREATE INDEX reading_member ON reading (member, measured_at, id);

CREATE TABLE symptom (
    id UUID NOT NULL,
    member UUID NOT NULL REFERENCES member (id),
    code TEXT NOT NULL,
    source TEXT NOT NULL,
    at BIGINT NOT NULL,
    recorded_at BIGINT NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT symptom_code CHECK (code IN (
        'chest_pain', 'face_arm_speech', 'confusion', 'fainting', 'breathless_at_rest', 'vision_loss', 'worst_headache',
        'dizziness', 'vomiting', 'deep_breathing', 'acetone_breath', 'drowsiness', 'needed_help', 'seizure', 'unconscious'
    )),
    CONSTRAINT symptom_source CHECK (source IN ('kiosk', 'staff'))
);
CREATE INDEX symptom_member ON symptom (member, at);

-- Follows from readings and may be made again from them. Lists of ids, and the next step, are opaque JSON.
CREATE TABLE bp_session (
    id UUID NOT NULL,
    member UUID NOT NULL REFERENCES member (id),
    place TEXT NOT NULL,
    meter UUID,
    state TEXT NOT NULL,
    started BIGINT NOT NULL,
    last BIGINT NOT NULL,
    closes_at BIGINT NOT NULL,
    systolic_mmhg BIGINT,
    diastolic_mmhg BIGINT,
    pulse_per_min BIGINT,
    mean_readings BIGINT,
    readings TEXT NOT NULL,
    used TEXT NOT NULL,
    severe TEXT NOT NULL,
    doubts TEXT NOT NULL,
    further_reading_missing BOOLEAN NOT NULL,
    superseded BOOLEAN NOT NULL,
    repeats UUID,
    next_step TEXT NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT bp_session_place CHECK (place IN ('store', 'home')),
    CONSTRAINT bp_session_state CHECK (state IN ('open', 'judged', 'closed', 'single', 'unusable'))
);
CREATE INDEX bp_session_member ON bp_session (member, started);

-- One open alert per member and family: the index says so, whatever the code does. `rank` orders severities. `limits`,
-- `rules` and `contacted` are opaque JSON. `latest_reading` and `latest_session` are what the queue shows.
CREATE TABLE alert (
    id UUID NOT NULL,
    member UUID NOT NULL REFERENCES member (id),
    family TEXT NOT NULL,
    rule_set TEXT NOT NULL,
    rule_set_version TEXT NOT NULL,
    rule TEXT NOT NULL,
    severity TEXT NOT NULL,
    rank BIGINT NOT NULL,
    limits TEXT NOT NULL,
    rules TEXT NOT NULL,
    marks TEXT NOT NULL,
    contacted TEXT NOT NULL,
    since BIGINT NOT NULL,
    last_evidence_at BIGINT NOT NULL,
    opened_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    closed_at BIGINT,
    close_reason TEXT,
    acknowledged_by UUID REFERENCES staff (id),
    acknowledged_at BIGINT,
    acknowledged_severity TEXT,
    owner UUID REFERENCES staff (id),
    latest_reading UUID,
    latest_session UUID,
    version BIGINT NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT alert_family CHECK (family IN ('bp-high', 'bp-low', 'glucose-low', 'glucose-high', 'symptom')),
    CONSTRAINT alert_severity CHECK (severity IN ('pending', 'info', 'low', 'moderate', 'high', 'critical', 'emergency')),
    CONSTRAINT alert_close_reason CHECK (close_reason IN ('cleared', 'consent_withdrawn', 'resolved')),
    CONSTRAINT alert_closed CHECK ((closed_at IS NULL) = (close_reason IS NULL))
);
CREATE UNIQUE INDEX alert_open ON alert (member, family) WHERE closed_at IS NULL;
CREATE INDEX alert_member ON alert (member, changed_at);
CREATE INDEX alert_worst ON alert (rank, opened_at, id) WHERE closed_at IS NULL;
CREATE INDEX alert_newest ON alert (opened_at, id);

CREATE TABLE task (
    id UUID NOT NULL,
    key TEXT NOT NULL,
    member UUID NOT NULL REFERENCES member (id),
    alert UUID NOT NULL REFERENCES alert (id),
    rule TEXT NOT NULL,
    kind TEXT NOT NULL,
    severity TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    next_try_at BIGINT,
    status TEXT NOT NULL,
    acted_by UUID REFERENCES staff (id),
    acted_at BIGINT,
    outcome TEXT,
    cancel_reason TEXT,
    attempts BIGINT NOT NULL,
    unreachable BOOLEAN NOT NULL,
    note TEXT,
    version BIGINT NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT task_kind CHECK (kind IN ('approach', 'call', 'same_day_doctor', 're_measure')),
    CONSTRAINT task_status CHECK (status IN ('open', 'taken', 'done', 'cancelled'))
);
CREATE UNIQUE INDEX task_key ON task (key);
CREATE INDEX task_alert ON task (alert);
CREATE INDEX task_member ON task (member, created_at);
CREATE INDEX task_due ON task (status, due_at, id);

-- Finished and cancelled jobs leave the table. No check on the kind: a newer version's jobs are parked, not refused.
CREATE TABLE job (
    id UUID NOT NULL,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    member UUID REFERENCES member (id),
    state TEXT NOT NULL,
    due_at BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    generation BIGINT NOT NULL,
    leased_by UUID,
    lease_until BIGINT,
    last_error TEXT,
    PRIMARY KEY (id),
    CONSTRAINT job_state CHECK (state IN ('pending', 'parked'))
);
CREATE UNIQUE INDEX job_key ON job (key);
CREATE INDEX job_due ON job (state, due_at, id);
CREATE INDEX job_member ON job (member);

-- Append-only. A sealer gives rows their place in a chain of hashes.
CREATE TABLE audit (
    seq BIGINT NOT NULL GENERATED ALWAYS AS IDENTITY,
    at BIGINT NOT NULL,
    actor_kind TEXT NOT NULL,
    actor UUID,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    member UUID,
    detail TEXT,
    chain_no BIGINT,
    chain_hash BYTEA,
    PRIMARY KEY (seq),
    CONSTRAINT audit_actor_kind CHECK (actor_kind IN ('staff', 'gateway', 'system'))
);
CREATE UNIQUE INDEX audit_chain ON audit (chain_no);
CREATE INDEX audit_member ON audit (member, seq);
CREATE INDEX audit_unsealed ON audit (seq) WHERE chain_no IS NULL;
