//! The control interface under good and bad input.

use carepost_sim::ClockSetting;
use carepost_sim::control::{Client, ClientError, CuffRecord, GlucoseRecord, MAX_CONNECTIONS, MAX_LINE_BYTES};

use super::support::{CUFF, GLUCOSE, config, eventually, pressure, start};

#[tokio::test]
async fn every_bad_line_gets_an_error_and_the_connection_lives() {
    let (simulator, mut control) = start(&config()).await;
    let long = vec![b' '; MAX_LINE_BYTES + 1];
    let deep = "[".repeat(10_000);
    let cases: [(&[u8], &str); 14] = [
        (b"{", "not_json"),
        (b"\xff\xfe", "not_json"),
        (b"nonsense", "not_json"),
        (deep.as_bytes(), "not_json"),
        (&long, "line_too_long"),
        (b"[]", "bad_request"),
        (b"{}", "bad_request"),
        (br#"{"do": "explode"}"#, "bad_request"),
        (br#"{"do": "press_transfer", "meter": 7}"#, "bad_request"),
        (br#"{"do": "press_transfer", "meter": "nobody"}"#, "unknown_meter"),
        (
            br#"{"do": "measure_cuff", "meter": "glucose", "record": {"systolic": 1, "diastolic": 1}}"#,
            "wrong_kind",
        ),
        (
            br#"{"do": "measure_cuff", "meter": "cuff", "record": {"systolic": 120}}"#,
            "bad_value",
        ),
        (
            br#"{"do": "measure_cuff", "meter": "cuff", "record": {"raw": "0x1"}}"#,
            "bad_value",
        ),
        (
            br#"{"do": "generate_records", "meter": "cuff", "count": 1001, "seed": 1}"#,
            "bad_value",
        ),
    ];
    for (line, code) in cases {
        let answer = control.raw(line).await.unwrap();
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["ok"], false);
        assert_eq!(answer["error"]["code"], code, "{answer}");
        assert!(!answer["error"]["message"].as_str().unwrap().is_empty());
    }
    assert_eq!(control.ledger(Some(CUFF)).await.unwrap(), []);
    let answer = control.raw(br#"{"id": "a", "do": "counters"}"#).await.unwrap();
    assert!(answer.starts_with(r#"{"id":"a","ok":true,"result":{"#), "{answer}");
    simulator.stop().await.unwrap();
}

#[tokio::test]
async fn values_that_a_meter_cannot_have_are_refused_and_leave_no_record() {
    let (simulator, mut control) = start(&config()).await;
    let slot = CuffRecord {
        slot: Some(9),
        ..pressure(120)
    };
    let wide = pressure(20_001);
    let long = CuffRecord {
        raw: Some("00".repeat(513)),
        ..CuffRecord::default()
    };
    for record in [slot, wide, long] {
        let Err(ClientError::Refused(refusal)) = control.measure_cuff(CUFF, record).await else {
            panic!("accepted");
        };
        assert_eq!(refusal.code, "bad_value", "{refusal}");
    }
    let both = GlucoseRecord {
        mg_dl: Some(99),
        mmol_l_tenths: Some(55),
        ..GlucoseRecord::default()
    };
    assert!(matches!(
        control.measure_glucose(GLUCOSE, both).await,
        Err(ClientError::Refused(_))
    ));
    assert_eq!(control.ledger(Some(CUFF)).await.unwrap(), []);
    assert_eq!(control.ledger(Some(GLUCOSE)).await.unwrap().len(), 60);
    simulator.stop().await.unwrap();
}

#[tokio::test]
async fn too_many_connections_are_told_so() {
    let (simulator, _first) = start(&config()).await;
    let mut clients = Vec::new();
    for _ in 1..MAX_CONNECTIONS {
        let mut client = Client::connect(simulator.control_addr()).await.unwrap();
        client.counters().await.unwrap();
        clients.push(client);
    }
    let mut surplus = Client::connect(simulator.control_addr()).await.unwrap();
    let answer = surplus.raw(b"").await.unwrap();
    assert!(answer.contains("too_many_connections"), "{answer}");
    // A place that is given up is taken by the next one.
    drop(clients);
    eventually("a free place", async || {
        Client::connect(simulator.control_addr())
            .await
            .unwrap()
            .counters()
            .await
            .ok()
    })
    .await;
    simulator.stop().await.unwrap();
}

#[tokio::test]
async fn records_and_clocks_are_as_ordered() {
    let (simulator, mut control) = start(&config()).await;
    let to = ClockSetting::Local("2026-02-03T04:05:06".parse().unwrap());
    control.set_clock(CUFF, to).await.unwrap();
    let made = control
        .measure_cuff(
            CUFF,
            CuffRecord {
                slot: Some(2),
                ..pressure(127)
            },
        )
        .await
        .unwrap();
    assert_eq!(made.record.0, 1);
    // Flags: time stamp, pulse, user; 127/80, NaN, 2026-02-03 04:05, 70, slot 2.
    assert!(made.hex.starts_with("0e7f005000ff07ea0702030405"), "{}", made.hex);
    assert!(made.hex.ends_with("460002"), "{}", made.hex);
    control.set_clock(CUFF, ClockSetting::Unset).await.unwrap();
    let made = control.measure_cuff(CUFF, pressure(127)).await.unwrap();
    assert!(made.hex.starts_with("067f005000ff0700000000"), "{}", made.hex);

    let fasting = GlucoseRecord {
        mg_dl: Some(100),
        meal: Some(3),
        ..GlucoseRecord::default()
    };
    let made = control.measure_glucose(GLUCOSE, fasting).await.unwrap();
    assert_eq!(
        (made.sequence, made.context_hex.as_deref()),
        (Some(61), Some("023d0003"))
    );
    assert!(made.hex.ends_with("64b011"), "{}", made.hex);
    let added = control.generate_records(GLUCOSE, 1_000, 5).await.unwrap();
    assert_eq!(added.records.len(), 1_000);
    // The memory holds 500: the oldest gave way, and the ledger says so.
    let ledger = control.ledger(Some(GLUCOSE)).await.unwrap();
    assert_eq!(ledger.len(), 1_061);
    let stored = ledger
        .iter()
        .filter(|entry| entry.fate == carepost_sim::ledger::Fate::Stored)
        .count();
    assert_eq!(stored, 500);
    assert_eq!(control.meter(GLUCOSE).await.unwrap().unwrap().stored, 500);
    simulator.stop().await.unwrap();
}
