-- Devices: what meters say about themselves, registration from a gateway, quirk entries, and weight, temperature and oxygen
-- saturation beside pressure and glucose.
-- Rollback: an old server runs on this schema and writes to it; it cannot show a member who has a reading of a new kind, or
-- one with a flag or a label of its time that it does not know. To go back for good, delete those readings, drop the new
-- columns and narrow the checks again.

-- `described_at`: when the gateway learnt what a meter says about itself; an older word changes nothing. `last_seen`: the
-- newest capture of a reading that was stored since; what was stored before is not searched for it, because that would hold
-- up a large table, so that a meter is "never seen" until its next batch.
ALTER TABLE meter
    ADD COLUMN manufacturer TEXT NOT NULL DEFAULT '',
    ADD COLUMN serial TEXT NOT NULL DEFAULT '',
    ADD COLUMN firmware TEXT NOT NULL DEFAULT '',
    ADD COLUMN described_at BIGINT,
    ADD COLUMN registered_via UUID REFERENCES gateway (id),
    ADD COLUMN last_seen BIGINT;

-- `quirk`: the entry of the quirk table by which the bytes were read. Weight in thousandths of `unit`, temperature in
-- thousandths of a degree of `unit`, oxygen saturation in tenths of a percent; pulse and user slot are in their old columns.
ALTER TABLE reading
    ADD COLUMN quirk TEXT,
    ADD COLUMN weight_milli BIGINT,
    ADD COLUMN temperature_milli BIGINT,
    ADD COLUMN temperature_site TEXT,
    ADD COLUMN spo2_tenths BIGINT;

-- Old rows pass the wider checks because they passed the narrower ones: they are not read again, which would hold up a
-- large table.
ALTER TABLE meter
    DROP CONSTRAINT meter_kind,
    ADD CONSTRAINT meter_kind CHECK (kind IN ('blood_pressure', 'glucose', 'weight', 'temperature', 'oxygen_saturation')) NOT VALID;
ALTER TABLE reading
    DROP CONSTRAINT reading_time_quality,
    DROP CONSTRAINT reading_kind,
    DROP CONSTRAINT reading_unit,
    DROP CONSTRAINT reading_values,
    ADD CONSTRAINT reading_time_quality CHECK (time_quality IN (
        'meter_ok', 'skew_corrected', 'skew_uncertain', 'offset_missing', 'received_time_used'
    )) NOT VALID,
    ADD CONSTRAINT reading_kind CHECK (kind IN ('bp', 'glucose', 'weight', 'temperature', 'oxygen_saturation')) NOT VALID,
    ADD CONSTRAINT reading_unit CHECK (unit IN ('mmHg', 'kPa', 'mg/dL', 'mmol/L', 'kg', 'lb', 'C', 'F', '%')) NOT VALID,
    ADD CONSTRAINT reading_values CHECK (
        (kind = 'bp' AND systolic_umhg IS NOT NULL AND diastolic_umhg IS NOT NULL AND glucose_is IS NULL)
        OR (kind = 'glucose' AND systolic_umhg IS NULL AND glucose_is IS NOT NULL AND sequence IS NOT NULL)
        OR (kind = 'weight' AND weight_milli IS NOT NULL AND unit IN ('kg', 'lb'))
        OR (kind = 'temperature' AND temperature_milli IS NOT NULL AND unit IN ('C', 'F'))
        OR (kind = 'oxygen_saturation' AND spo2_tenths IS NOT NULL AND unit = '%')
    ) NOT VALID,
    ADD CONSTRAINT reading_temperature_site CHECK (temperature_site IN (
        'armpit', 'body', 'ear', 'finger', 'gastro_intestinal_tract', 'mouth', 'rectum', 'toe', 'tympanum'
    )) NOT VALID;

CREATE INDEX meter_listing ON meter (model, address, id);
