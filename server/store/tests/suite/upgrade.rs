//! A database of the version before, brought up to date: old rows keep their meaning, and an old server still writes.

use carepost_domain::meter::{About, MeterKind, MeterRole};
use carepost_domain::reading::Reading;
use carepost_store::model::{By, IncomingItem};
use carepost_store::testing::{Cluster, execute, open_at};
use carepost_store::{Store, StoreConfig};
use uuid::Uuid;

use crate::bench::{Bench, at, id, meter, minutes, reading_of, sqlite};

/// The version before devices.
const BEFORE: i64 = 1;

#[tokio::test]
async fn an_older_sqlite_database_keeps_its_meaning() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("care.db").display());
    upgrade(&sqlite().await, &StoreConfig::new(url)).await;
}

#[tokio::test]
async fn an_older_postgresql_database_keeps_its_meaning() {
    let cluster = Cluster::start().await.unwrap();
    // A database made from the template is up to date; the old one begins empty.
    let url = cluster.empty_database().await.unwrap();
    upgrade(&sqlite().await, &StoreConfig::new(url)).await;
}

/// A statement's literal of an id.
fn literal(store: &Store, id: Uuid) -> String {
    match store.engine_name() {
        "sqlite" => format!("x'{}'", id.simple()),
        _ => format!("'{id}'"),
    }
}

fn bytes(store: &Store, bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    match store.engine_name() {
        "sqlite" => format!("x'{hex}'"),
        _ => format!("'\\x{hex}'"),
    }
}

/// Inserts as the older server did.
async fn old_meter(store: &Store, n: u8, kind: &str) {
    let like = meter(n, MeterKind::BloodPressure, MeterRole::Personal, id(0x51));
    let text = format!(
        "INSERT INTO meter (id, address, address_type, kind, role, store, model, multi_user, registered_at, changed)
        VALUES ({}, '{}', 'public', '{kind}', 'personal', {}, 'test', FALSE, 1790000000000000, 2)",
        literal(store, like.id.uuid()),
        like.address,
        literal(store, like.store.uuid()),
    );
    assert_eq!(execute(store, &text).await.unwrap(), 1);
}

async fn old_reading(store: &Store, item: &IncomingItem, gateway: Uuid) {
    let reading = reading_of(item);
    let us = |at: chrono::DateTime<chrono::Utc>| at.timestamp_micros();
    let (kind, values) = match &reading.measurement {
        carepost_domain::reading::Measurement::BloodPressure(bp) => (
            "'bp', 'mmHg'",
            format!(
                "{}, {}, {}, {}, NULL, NULL, NULL",
                bp.systolic.micro_mmhg(),
                bp.diastolic.micro_mmhg(),
                bp.mean_arterial.unwrap().micro_mmhg(),
                bp.pulse.unwrap().milli_per_min()
            ),
        ),
        carepost_domain::reading::Measurement::Glucose(glucose) => (
            "'glucose', 'mmol/L'",
            format!("NULL, NULL, NULL, NULL, 'value', 6100, {}", glucose.sequence),
        ),
        other => panic!("an older server has no {other:?}"),
    };
    let binding = match reading.attribution {
        carepost_domain::reading::Attribution::Binding { binding } => binding.uuid(),
        carepost_domain::reading::Attribution::Sitting { sitting } => sitting.uuid(),
    };
    let text = format!(
        "INSERT INTO reading (id, member, meter, attributed_by, attribution, place, measured_at, time_quality, meter_local,
            correction_s, gateway_clock_unsure, captured_at, received_at, gateway, kind, unit, systolic_umhg,
            diastolic_umhg, mean_arterial_umhg, pulse_milli, glucose_is, glucose_milli, sequence, flags, characteristic,
            raw, nonce)
        VALUES ({}, {}, {}, 'binding', {}, 'home', {}, 'meter_ok', {}, 0, FALSE, {}, {}, {}, {kind}, {values}, '', {}, {},
            0)",
        literal(store, reading.id.uuid()),
        literal(store, reading.member.uuid()),
        literal(store, reading.meter.uuid()),
        literal(store, binding),
        us(reading.time.at),
        us(reading.time.meter_local.unwrap().and_utc()),
        us(reading.captured_at),
        us(reading.captured_at),
        literal(store, gateway),
        reading.characteristic,
        bytes(store, &reading.raw),
    );
    assert_eq!(execute(store, &text).await.unwrap(), 1);
}

/// `like` is a pharmacy of today, whose readings and people the old database gets.
async fn upgrade(like: &Bench, config: &StoreConfig) {
    let old = open_at(config, BEFORE).await.unwrap();
    let by = By::system(like.now);
    let site = carepost_store::model::StoreSite {
        id: like.site,
        name: "East".to_owned(),
        zone: chrono_tz::Asia::Shanghai,
    };
    old.add_store(&by, &site).await.unwrap();
    let gateway = carepost_store::model::NewGateway {
        id: like.gateway,
        store: like.site,
        name: "gateway".to_owned(),
        public_key: [7; 32],
    };
    old.add_gateway(&by, &gateway).await.unwrap();
    old.add_member(&by, &like.person(like.member, "CP-0001", Vec::new()))
        .await
        .unwrap();
    let mut grant = like.new_grant(
        like.member,
        carepost_domain::consent::Purpose::CareRecord,
        0x91,
        at("2026-01-01 00:00:00"),
    );
    grant.witness = None;
    old.grant(&by, &grant).await.unwrap();
    for (n, kind, binding) in [(1, "blood_pressure", 0xA1_u128), (2, "glucose", 0xA2)] {
        old_meter(&old, n, kind).await;
        let owned = meter(n, MeterKind::BloodPressure, MeterRole::Personal, like.site).id;
        let text = format!(
            "INSERT INTO binding (id, meter, member, slot, valid_from, valid_to, only_ever_this_person, changed)
            VALUES ({}, {}, {}, NULL, 1700000000000000, NULL, FALSE, 3)",
            literal(&old, Uuid::from_u128(binding)),
            literal(&old, owned.uuid()),
            literal(&old, like.member.uuid()),
        );
        assert_eq!(execute(&old, &text).await.unwrap(), 1);
    }
    let readings = [
        like.bp(151, 93, like.now - minutes(90)),
        like.glucose(61, 7, like.now - minutes(60)),
        like.bp(149, 92, like.now - minutes(30)),
    ];
    for item in &readings {
        old_reading(&old, item, like.gateway.uuid()).await;
    }
    old.close().await;

    let store = Store::open(config).await.unwrap();
    let page = store.readings(&by, like.member, None, 10).await.unwrap();
    let stored: Vec<&Reading> = page.readings.iter().map(|stored| &stored.reading).collect();
    let sent: Vec<&Reading> = readings.iter().rev().map(reading_of).collect();
    assert_eq!(stored, sent, "every field as it was, without a quirk entry");
    let scope = store.down_snapshot(like.gateway).await.unwrap();
    assert_eq!(
        (scope.meters.len(), scope.bindings.len(), scope.members.len()),
        (2, 2, 1)
    );
    assert!(
        scope
            .meters
            .iter()
            .all(|meter| meter.about == About::default() && meter.model == "test")
    );
    let meters = store.meters(None, None, 10, like.now).await.unwrap().meters;
    let seen = |meter| {
        let row = meters.iter().find(|row| row.meter.id == meter).unwrap();
        (row.last_seen, row.registered_via, row.owners)
    };
    // A large table is not searched for when each meter was seen.
    assert_eq!(seen(like.cuff), (None, None, 1));
    assert_eq!(seen(like.glucometer), (None, None, 1));

    // A gateway sends the same readings again: they are known, by the same ids.
    let again = store
        .ingest_batch(&like.batch(1, readings.to_vec()), &like.rules, like.now)
        .await
        .unwrap();
    assert_eq!((again.new_readings.len(), again.duplicates), (0, 3), "{again:?}");

    // An older server goes on writing to the new schema, and references are still watched over.
    old_meter(&store, 9, "glucose").await;
    old_reading(&store, &like.bp(133, 81, like.now - minutes(5)), like.gateway.uuid()).await;
    assert_eq!(
        store.readings(&by, like.member, None, 10).await.unwrap().readings.len(),
        4
    );
    assert!(
        execute(&store, "DELETE FROM meter").await.is_err(),
        "readings refer to it"
    );
    assert!(
        execute(&store, "UPDATE meter SET kind = 'other'").await.is_err(),
        "the check is there"
    );
    assert!(execute(&store, "UPDATE reading SET unit = 'stone'").await.is_err());
    store.close().await;
    // Applied once: opening again finds nothing to do.
    let config = StoreConfig {
        migrate: false,
        ..config.clone()
    };
    Store::open(&config).await.unwrap().close().await;
}
