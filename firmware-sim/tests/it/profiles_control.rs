//! Fault profiles and new kinds of meters from outside: configuration, control interface, program, and a BlueZ client.

use std::process::Command;

use carepost_gatt::uuid16;
use carepost_sim::config::SimConfig;
use carepost_sim::control::{ClientError, OxygenRecord, TemperatureRecord, WeightRecord};
use carepost_sim::ledger::{Fate, Verdict};
use carepost_sim::profiles::catalogue;

use super::contract::Bluez;
use super::support::{CUFF, CUFF_ADDRESS, GLUCOSE, GLUCOSE_ADDRESS, config, eventually, pressure, start};

fn refused<T: std::fmt::Debug>(result: Result<T, ClientError>) -> String {
    match result {
        Err(ClientError::Refused(refusal)) => refusal.code,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_ledger_tells_what_a_fault_of_the_meter_changed_from_what_was_delivered() {
    let (simulator, mut control) = start(&config()).await;
    let bluez = Bluez::at(simulator.bus_address()).await;
    control.set_profile(CUFF, &["payload-trailing"]).await.unwrap();
    assert_eq!(
        control.meter(CUFF).await.unwrap().unwrap().profiles,
        ["payload-trailing"]
    );
    let altered = control.measure_cuff(CUFF, pressure(121)).await.unwrap();
    bluez.connect(CUFF_ADDRESS).await;
    let path = bluez
        .characteristic(CUFF_ADDRESS, uuid16::BLOOD_PRESSURE_MEASUREMENT)
        .await;
    bluez.characteristic_call(&path, "StartNotify").await.unwrap();
    eventually("the altered record", async || {
        let ledger = control.ledger(Some(CUFF)).await.unwrap();
        (ledger[0].heard == 1).then_some(())
    })
    .await;
    // Without the profile the next one comes as it is, on the same link.
    control.set_profile(CUFF, &[]).await.unwrap();
    control.measure_cuff(CUFF, pressure(122)).await.unwrap();
    let ledger = eventually("the honest record", async || {
        let ledger = control.ledger(Some(CUFF)).await.unwrap();
        (ledger[1].heard == 1).then_some(ledger)
    })
    .await;
    assert_eq!(ledger[0].verdict(), Verdict::DeliveredAltered);
    assert_eq!(ledger[0].hex, altered.hex);
    assert_eq!(ledger[0].altered_hex, Some(altered.hex + "a55a"));
    assert_eq!(ledger[0].profiles, ["payload-trailing"]);
    assert_eq!(ledger[1].verdict(), Verdict::Delivered);
    assert_eq!((ledger[1].altered_hex.as_ref(), ledger[1].profiles.len()), (None, 0));
    simulator.stop().await.unwrap();
}

#[tokio::test]
async fn what_a_meter_forgot_is_its_own_loss() {
    let (simulator, mut control) = start(&config()).await;
    control.set_profile(GLUCOSE, &["backlog-0"]).await.unwrap();
    let ledger = control.ledger(Some(GLUCOSE)).await.unwrap();
    assert_eq!(ledger.len(), 60);
    let own = |entry: &carepost_sim::ledger::LedgerEntry| {
        entry.fate == Fate::Forgotten && entry.verdict() == Verdict::LostByMeter
    };
    assert!(ledger.iter().all(own));
    assert_eq!(control.meter(GLUCOSE).await.unwrap().unwrap().stored, 0);
    simulator.stop().await.unwrap();
}

#[tokio::test]
async fn a_meter_that_looks_other_is_a_new_device() {
    let (simulator, mut control) = start(&config()).await;
    let bluez = Bluez::at(simulator.bus_address()).await;
    bluez.connect(GLUCOSE_ADDRESS).await;
    bluez.characteristic(GLUCOSE_ADDRESS, uuid16::GLUCOSE_FEATURE).await;
    control
        .set_profile(GLUCOSE, &["feature-absent", "name-truncated"])
        .await
        .unwrap();
    assert!(!control.meter(GLUCOSE).await.unwrap().unwrap().known);
    bluez.connect(GLUCOSE_ADDRESS).await;
    let objects = bluez.objects().await;
    let wanted = zbus::Variant::from(uuid16::to_uuid128(uuid16::GLUCOSE_FEATURE));
    let features = objects
        .values()
        .filter_map(|interfaces| interfaces.get("org.bluez.GattCharacteristic1"))
        .filter(|values| values["UUID"] == wanted)
        .count();
    assert_eq!(features, 0);
    // Its address is another device as well.
    control.set_profile(GLUCOSE, &["address-rotates"]).await.unwrap();
    let state = control.meter(GLUCOSE).await.unwrap().unwrap();
    assert_ne!(state.address_on_air, GLUCOSE_ADDRESS);
    assert_eq!((state.address.as_str(), state.known), (GLUCOSE_ADDRESS, false));
    control.set_profile(GLUCOSE, &[]).await.unwrap();
    assert_eq!(
        control.meter(GLUCOSE).await.unwrap().unwrap().address_on_air,
        GLUCOSE_ADDRESS
    );
    simulator.stop().await.unwrap();
}

#[tokio::test]
async fn profiles_are_listed_and_bad_ones_refused_without_a_change() {
    let (simulator, mut control) = start(&config()).await;
    let listed = control.profiles().await.unwrap();
    assert_eq!(listed.len(), catalogue().count());
    assert!(
        listed
            .iter()
            .any(|profile| profile.name == "racp-no-answer" && profile.group == Some(9))
    );
    control.set_profile(CUFF, &["slot-guest"]).await.unwrap();
    for profiles in [
        &["no-such-fault"][..],
        // A fault of glucose meters, and of the host.
        &["racp-no-answer"],
        &["slot-guest"; 17],
    ] {
        assert_eq!(refused(control.set_profile(CUFF, profiles).await), "bad_value");
    }
    assert_eq!(refused(control.set_profile("nobody", &[]).await), "unknown_meter");
    assert_eq!(control.meter(CUFF).await.unwrap().unwrap().profiles, ["slot-guest"]);
    simulator.stop().await.unwrap();
}

#[tokio::test]
async fn scales_thermometers_and_oximeters_measure_and_move_their_clocks() {
    let config: SimConfig = toml::from_str(
        r#"
        [[meters]]
        name = "scale"
        kind = "scale"
        address = "C4:DE:03:00:00:01"
        local_name = "Scale"
        profile = "backlog-1"
        clock = "2026-03-01T08:00:00"
        [meters.scale]
        slots = [1, 2]

        [[meters]]
        name = "thermometer"
        kind = "thermometer"
        address = "C4:DE:03:00:00:02"
        local_name = "Thermo"
        profile = ["clock-unset", "name-absent"]

        [[meters]]
        name = "oximeter"
        kind = "oximeter"
        address = "C4:DE:03:00:00:03"
        local_name = "SpO2"
        "#,
    )
    .unwrap();
    let (simulator, mut control) = start(&config).await;
    let kinds: Vec<(String, usize)> = control
        .list()
        .await
        .unwrap()
        .meters
        .into_iter()
        .map(|meter| (meter.kind, meter.stored))
        .collect();
    let expected = [("scale", 1), ("thermometer", 0), ("oximeter", 0)];
    assert_eq!(kinds, expected.map(|(kind, stored)| (kind.to_owned(), stored)));

    control.jump_clock("scale", 3_600).await.unwrap();
    let weight = WeightRecord {
        grams: Some(71_250),
        slot: Some(2),
        ..WeightRecord::default()
    };
    let made = control.measure_weight("scale", weight.clone()).await.unwrap();
    // Time stamp and user; 14250 steps of 5 g; the first of March, an hour later; slot 2.
    assert!(made.hex.starts_with("06aa37ea07030109"), "{}", made.hex);
    assert!(made.hex.ends_with("02"), "{}", made.hex);
    let temperature = TemperatureRecord {
        centi_celsius: 3_715,
        ..TemperatureRecord::default()
    };
    let made = control.measure_temperature("thermometer", temperature).await.unwrap();
    assert!(made.hex.starts_with("02830e00fe00000000"), "{}", made.hex);
    let oxygen = OxygenRecord {
        percent: 97,
        pulse: 61,
        ..OxygenRecord::default()
    };
    let made = control.measure_oxygen("oximeter", oxygen.clone()).await.unwrap();
    assert!(made.hex.starts_with("0161003d00"), "{}", made.hex);

    assert_eq!(refused(control.measure_weight("oximeter", weight).await), "wrong_kind");
    assert_eq!(
        refused(control.measure_oxygen("nobody", oxygen.clone()).await),
        "unknown_meter"
    );
    let half = WeightRecord {
        bmi_tenths: Some(220),
        ..WeightRecord::default()
    };
    let not_hex = OxygenRecord {
        raw: Some("0g".to_owned()),
        ..oxygen
    };
    assert_eq!(refused(control.measure_weight("scale", half).await), "bad_value");
    assert_eq!(refused(control.measure_oxygen("oximeter", not_hex).await), "bad_value");
    let added = control.generate_records("oximeter", 5, 7).await.unwrap();
    assert_eq!(added.records.len(), 5);
    simulator.stop().await.unwrap();
}

#[test]
fn the_program_lists_the_profiles() {
    let output = Command::new(env!("CARGO_BIN_EXE_carepost-sim"))
        .arg("profiles")
        .output()
        .unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    for profile in catalogue() {
        assert!(
            text.contains(profile.name) && text.contains(profile.ledger),
            "{}",
            profile.name
        );
    }
}

#[test]
fn a_configuration_with_a_bad_profile_is_refused() {
    for (profile, word) in [
        ("no-such-fault", "no-such-fault"),
        ("racp-busy", "means nothing for a cuff meter"),
    ] {
        let path = tempfile::tempdir().unwrap();
        let file = path.path().join("sim.toml");
        let text = format!(
            "[[meters]]\nname = \"c\"\nkind = \"cuff\"\naddress = \"C4:DE:01:00:00:09\"\nlocal_name = \"C\"\nprofile = \"{profile}\"\n"
        );
        std::fs::write(&file, text).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_carepost-sim"))
            .args(["--config", file.to_str().unwrap()])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(78));
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(errors.contains("meters.0.profile") && errors.contains(word), "{errors}");
    }
}
