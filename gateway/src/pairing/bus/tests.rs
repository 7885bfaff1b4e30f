//! Which object of a meter is meant, and what is known of one that has left.

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
