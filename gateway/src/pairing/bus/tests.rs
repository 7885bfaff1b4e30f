//! Which object of a meter is meant, and what is known of one that has left.

use std::collections::HashMap;

use carepost_domain::meter::MeterKind;
use carepost_gatt::uuid16;

use super::super::words::ClockLayout;
use super::*;

fn known(path: &str, paired: bool) -> Known {
    Known {
        path: path.to_owned(),
        paired,
    }
}

#[test]
fn of_a_meter_that_two_adapters_know_the_one_with_the_bond_is_meant() {
    let (first, second, bonded) = (known("/hci0", false), known("/hci1", false), known("/hci2", true));
    for order in [
        [first.clone(), second.clone(), bonded.clone()],
        [bonded.clone(), second.clone(), first.clone()],
    ] {
        assert_eq!(foremost(order.into_iter()), Some(bonded.clone()));
    }
    assert_eq!(foremost([second, first.clone()].into_iter()), Some(first));
    assert_eq!(foremost([].into_iter()), None);
}

fn device(values: &[(&str, Variant<'_>)]) -> Device {
    let values = values.iter().map(|(name, value)| {
        let value = OwnedVariant::try_from(value.try_clone().unwrap()).unwrap();
        ((*name).to_owned(), value)
    });
    Device {
        values: values.collect(),
    }
}

#[test]
fn a_meter_that_hangs_up_for_good_after_its_pairing_is_what_it_advertised() {
    let advertised = |bonded: bool, services: Vec<String>| {
        device(&[
            ("Address", "C4:DE:01:00:00:01".into()),
            ("AddressType", "public".into()),
            ("Name", "A&D_UA-651BLE".into()),
            ("Bonded", bonded.into()),
            ("UUIDs", services.into()),
        ])
    };
    let pressure = vec![uuid16::to_uuid128(MeterKind::BloodPressure.service())];
    let details = recalled(&advertised(true, pressure.clone())).unwrap();
    assert_eq!(
        (details.kind, details.unsupported),
        (Some(MeterKind::BloodPressure), false)
    );
    assert!(details.bonded && details.clock.is_none() && details.model.is_empty());
    assert_eq!(recalled(&advertised(false, pressure)), Err(Failure::NoAnswer));
    assert_eq!(recalled(&advertised(true, Vec::new())), Err(Failure::NoAnswer));
}

/// A meter's GATT table, of these characteristics in their services.
fn table(characteristics: &[(u16, u16)]) -> Table {
    let entry = |(at, (service, characteristic)): (usize, &(u16, u16))| {
        let uuid = uuid16::to_uuid128;
        (uuid(*service), uuid(*characteristic), format!("/meter/char{at:04}"))
    };
    Table {
        services: characteristics
            .iter()
            .map(|(service, _)| uuid16::to_uuid128(*service))
            .collect(),
        characteristics: characteristics.iter().enumerate().map(entry).collect(),
    }
}

#[test]
fn the_clock_that_is_set_while_pairing_is_where_the_meter_has_it() {
    const MEASUREMENT: (u16, u16) = (uuid16::BLOOD_PRESSURE_SERVICE, uuid16::BLOOD_PRESSURE_MEASUREMENT);
    const IN_THE_SERVICE: (u16, u16) = (uuid16::BLOOD_PRESSURE_SERVICE, uuid16::DATE_TIME);
    const OF_ITS_OWN: (u16, u16) = (uuid16::CURRENT_TIME_SERVICE, uuid16::CURRENT_TIME);
    let and = device(&[
        ("Address", "C4:DE:01:00:00:01".into()),
        ("AddressType", "public".into()),
        ("Name", "A&D_UA-651BLE".into()),
        ("Bonded", true.into()),
    ]);
    let texts = HashMap::from([
        (uuid16::MANUFACTURER_NAME, "A&D Medical".to_owned()),
        (uuid16::MODEL_NUMBER, "UA-651BLE".to_owned()),
    ]);
    for (has, path, layout) in [
        (
            vec![MEASUREMENT, IN_THE_SERVICE],
            "/meter/char0001",
            ClockLayout::DateTime,
        ),
        (
            vec![MEASUREMENT, OF_ITS_OWN],
            "/meter/char0001",
            ClockLayout::CurrentTime,
        ),
        (
            vec![IN_THE_SERVICE, OF_ITS_OWN],
            "/meter/char0001",
            ClockLayout::CurrentTime,
        ),
    ] {
        let clock = details(&and, &table(&has), &texts).unwrap().clock.unwrap();
        assert_eq!((clock.path.as_str(), clock.layout), (path, layout), "{has:?}");
    }
    assert_eq!(details(&and, &table(&[MEASUREMENT]), &texts).unwrap().clock, None);
    // Only where the model's entry says so.
    let of_no_entry = device(&[
        ("Address", "C4:DE:01:00:00:02".into()),
        ("AddressType", "public".into()),
        ("Bonded", true.into()),
    ]);
    let plain = details(&of_no_entry, &table(&[MEASUREMENT, IN_THE_SERVICE]), &HashMap::new()).unwrap();
    assert_eq!(plain.clock, None);
}
