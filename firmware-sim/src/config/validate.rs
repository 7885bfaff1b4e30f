//! What a configuration must not be.

use std::collections::BTreeSet;

use carepost_daemon::{Problems, Validate};

use super::{
    AdapterSection, CuffSection, GlucoseSection, MAX_METERS, MAX_MORE_ADAPTERS, MeterKind, MeterSection, MoreAdapter,
    OximeterSection, ScaleSection, SimConfig, ThermometerSection,
};
use crate::meters::MAX_MEMORY;
use crate::profiles::Selection;

/// Longest name of a meter in the control protocol, in bytes.
const MAX_NAME: usize = 64;

/// Longest text that goes into an advertisement or Device Information, in bytes. Longer ones would not be found on a
/// real meter: a complete local name shares 31 bytes, and the strings fit one packet.
const MAX_TEXT: usize = 20;

/// Longest time that any key may name, in milliseconds: an hour.
const MAX_MS: u64 = 3_600_000;

/// Shortest advertising interval that is accepted, in milliseconds. Bluetooth's own limit is 20.
const MIN_ADVERTISING_INTERVAL_MS: u64 = 10;

/// Most seconds that a clock gains or loses in a day: an hour.
const MAX_DRIFT_S: i32 = 3_600;

/// Shortest idle timeout that is accepted, in milliseconds: less than a service discovery takes helps nobody.
const MIN_IDLE_MS: u64 = 50;

/// Shortest time between two addresses that is accepted, in milliseconds.
const MIN_ROTATION_MS: u64 = 100;

impl Validate for SimConfig {
    fn validate(&self, problems: &mut Problems) {
        problems.within("log", |problems| self.log.validate(problems));
        problems.within("lifecycle", |problems| self.lifecycle.validate(problems));
        if self.control_address().is_none() {
            problems.add(
                "control.listen",
                "must be a loopback address with a port, for example 127.0.0.1:0",
            );
        }
        let transport = self.bus.address.split(':').next().unwrap_or_default();
        if !matches!(transport, "" | "unix" | "tcp") {
            problems.add("bus.address", "must be a unix: or tcp: address of D-Bus, or empty");
        }
        if !(-14 * 60..=14 * 60).contains(&self.zone.utc_offset_minutes) {
            problems.add("zone.utc_offset_minutes", "must be from -840 to 840");
        }
        problems.within("peripheral", |problems| self.peripheral.validate(problems));
        problems.within("adapter", |problems| self.adapter.validate(problems));
        if self.more_adapters.len() > MAX_MORE_ADAPTERS {
            problems.add("more_adapters", format!("must be at most {MAX_MORE_ADAPTERS}"));
        }
        let mut controllers = BTreeSet::from([self.adapter.controller.as_str()]);
        for (index, adapter) in self.more_adapters.iter().enumerate() {
            problems.within(format!("more_adapters.{index}"), |problems| {
                adapter.validate(problems);
                if !controllers.insert(adapter.controller.as_str()) {
                    problems.add("controller", "is used twice");
                }
            });
        }
        if self.meters.len() > MAX_METERS {
            problems.add("meters", format!("must be at most {MAX_METERS}"));
        }
        let (mut names, mut addresses) = (BTreeSet::new(), BTreeSet::from([self.adapter.address.as_str()]));
        for (index, adapter) in self.more_adapters.iter().enumerate() {
            if !addresses.insert(adapter.address.as_str()) {
                problems.within(format!("more_adapters.{index}"), |problems| {
                    problems.add("address", "is used twice");
                });
            }
        }
        for (index, meter) in self.meters.iter().enumerate() {
            problems.within(format!("meters.{index}"), |problems| {
                meter.validate(problems);
                if !names.insert(meter.name.as_str()) {
                    problems.add("name", "is used twice");
                }
                if !addresses.insert(meter.address.as_str()) {
                    problems.add("address", "is used twice");
                }
                if meter.adapters.iter().any(|name| !controllers.contains(name.as_str())) {
                    problems.add(
                        "adapters",
                        "must be controllers of this neighbourhood, for example hci0",
                    );
                }
            });
        }
    }
}

impl Validate for MoreAdapter {
    fn validate(&self, problems: &mut Problems) {
        check_adapter(problems, &self.controller, &self.address, &self.name);
    }
}

fn check_adapter(problems: &mut Problems, controller: &str, address: &str, name: &str) {
    let word = |text: &str| (1..=16).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
    if !word(controller) {
        problems.add("controller", "must be 1 to 16 letters and digits, for example hci0");
    }
    check_address(problems, "address", address);
    if !(1..=MAX_TEXT).contains(&name.len()) {
        problems.add("name", format!("must have 1 to {MAX_TEXT} bytes"));
    }
}

impl Validate for AdapterSection {
    fn validate(&self, problems: &mut Problems) {
        check_adapter(problems, &self.controller, &self.address, &self.name);
        if !is_modalias(&self.modalias) {
            problems.add(
                "modalias",
                "must look like usb:v1D6Bp0246d0548 or bluetooth:v1D6Bp0246d0548",
            );
        }
        check_ms(
            problems,
            "advertising_interval_ms",
            self.advertising_interval_ms,
            MIN_ADVERTISING_INTERVAL_MS,
        );
        check_ms(problems, "connect_delay_ms", self.connect_delay_ms, 0);
        check_ms(problems, "resolve_delay_ms", self.resolve_delay_ms, 0);
        check_ms(problems, "connect_timeout_ms", self.connect_timeout_ms, 100);
        check_ms(problems, "temporary_timeout_ms", self.temporary_timeout_ms, 100);
        let host = Selection::named(&self.profile).and_then(|selection| selection.host_faults().map(drop));
        if let Err(error) = host {
            problems.add("profile", error.to_string());
        }
        check_ms(problems, "pairing_timeout_ms", self.pairing_timeout_ms, 100);
    }
}

impl Validate for MeterSection {
    fn validate(&self, problems: &mut Problems) {
        let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
        if !(1..=MAX_NAME).contains(&self.name.len()) || !self.name.bytes().all(letters) {
            problems.add("name", format!("must be 1 to {MAX_NAME} of a-z, 0-9, - and _"));
        }
        check_address(problems, "address", &self.address);
        if self.local_name.is_empty() {
            problems.add("local_name", "must not be empty");
        }
        let texts = [
            ("local_name", &self.local_name),
            ("manufacturer", &self.manufacturer),
            ("model", &self.model),
            ("serial", &self.serial),
            ("firmware", &self.firmware),
        ];
        for (key, text) in texts {
            if text.len() > MAX_TEXT {
                problems.add(key, format!("must have at most {MAX_TEXT} bytes"));
            }
        }
        if !(-127..=20).contains(&self.rssi) {
            problems.add("rssi", "must be from -127 to 20");
        }
        if !(1..=MAX_MEMORY).contains(&self.memory) {
            problems.add("memory", format!("must be from 1 to {MAX_MEMORY}"));
        }
        if self.battery_percent.is_some_and(|charge| charge > 100) {
            problems.add("battery_percent", "must be from 0 to 100");
        }
        if self.stored.count > self.memory {
            problems.add("stored.count", "must not be more than the memory holds");
        }
        if let Some(rotation) = self.address_rotation_ms {
            check_ms(problems, "address_rotation_ms", rotation, MIN_ROTATION_MS);
        }
        if let Err(error) = self.selection() {
            problems.add("profile", error.to_string());
        }
        let security = &self.security;
        check_ms(problems, "security.pairing_window_ms", security.pairing_window_ms, 1);
        if security.pairing_name.len() > MAX_TEXT {
            problems.add("security.pairing_name", format!("must have at most {MAX_TEXT} bytes"));
        }
        check_ms(problems, "advertising_window_ms", self.advertising_window_ms, 1);
        check_ms(problems, "idle_disconnect_ms", self.idle_disconnect_ms, MIN_IDLE_MS);
        check_ms(
            problems,
            "cuff.indication_interval_ms",
            self.cuff.indication_interval_ms,
            0,
        );
        check_ms(
            problems,
            "glucose.notification_interval_ms",
            self.glucose.notification_interval_ms,
            0,
        );
        if self.cuff.slots.contains(&u8::MAX) {
            problems.add("cuff.slots", "must not hold 255, which means an unknown user");
        }
        let distinct: BTreeSet<&u8> = self.cuff.slots.iter().collect();
        if distinct.len() != self.cuff.slots.len() {
            problems.add("cuff.slots", "must not name a user id twice");
        }
        if self.scale.slots.contains(&u8::MAX) {
            problems.add("scale.slots", "must not hold 255, which means an unknown user");
        }
        if !(-MAX_DRIFT_S..=MAX_DRIFT_S).contains(&self.clock_drift_s_per_day) {
            problems.add(
                "clock_drift_s_per_day",
                format!("must be from -{MAX_DRIFT_S} to {MAX_DRIFT_S}"),
            );
        }
        let sections = [
            (MeterKind::Cuff, "cuff", self.cuff != CuffSection::default()),
            (MeterKind::Glucose, "glucose", self.glucose != GlucoseSection::default()),
            (MeterKind::Scale, "scale", self.scale != ScaleSection::default()),
            (
                MeterKind::Thermometer,
                "thermometer",
                self.thermometer != ThermometerSection::default(),
            ),
            (
                MeterKind::Oximeter,
                "oximeter",
                self.oximeter != OximeterSection::default(),
            ),
        ];
        for (_, key, _) in sections
            .iter()
            .filter(|(kind, _, is_there)| *kind != self.kind && *is_there)
        {
            problems.add(*key, "must be left out for a meter of another kind");
        }
    }
}

fn check_ms(problems: &mut Problems, key: &str, value: u64, min: u64) {
    if !(min..=MAX_MS).contains(&value) {
        problems.add(key, format!("must be from {min} to {MAX_MS}"));
    }
}

fn check_address(problems: &mut Problems, key: &str, address: &str) {
    let pairs: Vec<&str> = address.split(':').collect();
    let is_pair = |pair: &&str| {
        pair.len() == 2
            && pair
                .bytes()
                .all(|digit| digit.is_ascii_digit() || (b'A'..=b'F').contains(&digit))
    };
    if pairs.len() != 6 || !pairs.iter().all(is_pair) {
        problems.add(
            key,
            "must be a Bluetooth address in capitals, for example C4:DE:01:00:00:01",
        );
    }
}

/// `usb:` or `bluetooth:`, then v, p and d with four hex digits each.
fn is_modalias(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("usb:").or_else(|| text.strip_prefix("bluetooth:")) else {
        return false;
    };
    let bytes = rest.as_bytes();
    let (fields, []) = bytes.as_chunks::<5>() else {
        return false;
    };
    let letters: Vec<u8> = fields.iter().map(|[letter, ..]| *letter).collect();
    letters == b"vpd"
        && fields
            .iter()
            .all(|[_, digits @ ..]| digits.iter().all(u8::is_ascii_hexdigit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ControlSection;

    fn problems_of(config: &SimConfig) -> Vec<String> {
        let mut problems = Problems::default();
        config.validate(&mut problems);
        problems.into_entries().into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(problems_of(&SimConfig::default()), Vec::<String>::new());
    }

    #[test]
    fn all_problems_are_reported_at_once() {
        let meter: MeterSection = serde_json::from_value(serde_json::json!({
            "name": "Cuff 1",
            "kind": "cuff",
            "address": "c4:de:01:00:00:01",
            "local_name": "a name that no advertisement can hold",
            "memory": 0,
            "stored": { "count": 3 },
            "cuff": { "slots": [1, 1, 255] },
            "glucose": { "first_sequence": 5 },
        }))
        .unwrap();
        let config = SimConfig {
            control: ControlSection {
                listen: "0.0.0.0:80".to_owned(),
            },
            adapter: AdapterSection {
                modalias: "usb:1".to_owned(),
                ..AdapterSection::default()
            },
            meters: vec![meter.clone(), meter],
            ..SimConfig::default()
        };
        let problems = problems_of(&config);
        for key in [
            "control.listen",
            "adapter.modalias",
            "meters.0.name",
            "meters.0.address",
            "meters.0.local_name",
        ] {
            assert!(problems.contains(&key.to_owned()), "{key} is missing in {problems:?}");
        }
        for key in [
            "meters.0.memory",
            "meters.0.stored.count",
            "meters.0.cuff.slots",
            "meters.0.glucose",
        ] {
            assert!(problems.contains(&key.to_owned()), "{key} is missing in {problems:?}");
        }
        assert!(
            problems.iter().filter(|key| *key == "meters.1.name").count() == 2,
            "{problems:?}"
        );
    }
}
