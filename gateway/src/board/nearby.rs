//! Meters that are around and that nobody registered: what staff choose from when they add one.

use std::collections::HashMap;
use std::time::Duration;

use carepost_domain::meter::{Address, AddressType, MeterKind};
use carepost_domain::quirks::{QuirkId, Support};

/// Meters that are listed; the one heard longest ago gives way.
pub const MAX_NEARBY: usize = 64;
/// A meter that has not been heard for this long is not listed any more: meters advertise for one to three minutes after a
/// measurement (page 3, section 2.8), and longer while they are in pairing mode.
pub const NEARBY_FOR: Duration = Duration::from_secs(180);

/// A meter that is around and not registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nearby {
    /// Its address, as the Bluetooth service has it now.
    pub address: Address,
    /// How that came to be.
    pub address_type: AddressType,
    /// The name that it advertises, without control characters and cut; empty if it gives none.
    pub name: String,
    /// Full UUIDs of the services that it advertises, in lower case, sorted.
    pub services: Vec<String>,
    /// Strength of the last advertisement, in dBm.
    pub rssi: Option<i16>,
    /// What it measures, if it advertises a standard service.
    pub kind: Option<MeterKind>,
    /// Its entry in the quirk table, by name and services.
    pub quirk: Option<QuirkId>,
    /// Whether Carepost can read it.
    pub support: Support,
    /// When it was heard, by the monotonic clock.
    pub seen_at: Duration,
    /// The adapter that heard it, such as `hci0`.
    pub adapter: String,
    /// Its object path on the bus.
    pub path: String,
}

/// The list, by object path.
#[derive(Debug, Default)]
pub(super) struct NearbyList {
    meters: HashMap<String, Nearby>,
}

impl NearbyList {
    /// Notes a meter that was heard; a strength or name that is missing this time is kept from before.
    pub(super) fn note(&mut self, mut heard: Nearby) {
        self.age(heard.seen_at);
        if let Some(before) = self.meters.get(&heard.path) {
            heard.rssi = heard.rssi.or(before.rssi);
            if heard.name.is_empty() {
                heard.name.clone_from(&before.name);
            }
        } else if self.meters.len() >= MAX_NEARBY {
            let oldest = self.meters.values().min_by_key(|meter| meter.seen_at);
            if let Some(path) = oldest.map(|meter| meter.path.clone()) {
                self.meters.remove(&path);
            }
        }
        self.meters.insert(heard.path.clone(), heard);
    }

    /// Takes a meter off the list: it is registered now.
    pub(super) fn forget(&mut self, path: &str) {
        self.meters.remove(path);
    }

    /// What was heard lately, the nearest first.
    pub(super) fn listed(&mut self, now: Duration) -> Vec<Nearby> {
        self.age(now);
        let mut listed: Vec<Nearby> = self.meters.values().cloned().collect();
        listed.sort_by(|a, b| {
            let nearness = |meter: &Nearby| std::cmp::Reverse(meter.rssi.unwrap_or(i16::MIN));
            (nearness(a), &a.path).cmp(&(nearness(b), &b.path))
        });
        listed
    }

    fn age(&mut self, now: Duration) {
        self.meters
            .retain(|_, meter| now.saturating_sub(meter.seen_at) < NEARBY_FOR);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(n: u8, seen_at_s: u64, rssi: Option<i16>) -> Nearby {
        let address = Address::new([0xC4, 0xDE, 0, 0, 0, n]);
        Nearby {
            address,
            address_type: AddressType::Public,
            name: format!("BP {n}"),
            services: Vec::new(),
            rssi,
            kind: Some(MeterKind::BloodPressure),
            quirk: None,
            support: Support::Supported,
            seen_at: Duration::from_secs(seen_at_s),
            adapter: "hci0".to_owned(),
            path: format!("/org/bluez/hci0/dev_{n}"),
        }
    }

    fn names(list: &mut NearbyList, now_s: u64) -> Vec<String> {
        let listed = list.listed(Duration::from_secs(now_s));
        listed.into_iter().map(|meter| meter.name).collect()
    }

    #[test]
    fn the_nearest_comes_first_and_who_is_silent_goes() {
        let mut list = NearbyList::default();
        list.note(meter(1, 0, Some(-70)));
        list.note(meter(2, 100, Some(-40)));
        list.note(meter(3, 100, None));
        assert_eq!(names(&mut list, 100), ["BP 2", "BP 1", "BP 3"]);
        assert_eq!(names(&mut list, NEARBY_FOR.as_secs()), ["BP 2", "BP 3"]);
        list.forget("/org/bluez/hci0/dev_2");
        assert_eq!(names(&mut list, NEARBY_FOR.as_secs()), ["BP 3"]);
    }

    #[test]
    fn what_an_advertisement_leaves_out_is_kept_from_the_one_before() {
        let mut list = NearbyList::default();
        list.note(meter(1, 0, Some(-70)));
        let mut again = meter(1, 170, None);
        again.name.clear();
        list.note(again);
        let listed = list.listed(Duration::from_secs(200));
        assert_eq!((listed[0].name.as_str(), listed[0].rssi), ("BP 1", Some(-70)));
    }

    #[test]
    fn a_crowd_does_not_grow_the_list() {
        let mut list = NearbyList::default();
        for n in 0..=200 {
            list.note(meter(n, u64::from(n) / 2, Some(-50)));
        }
        let listed = list.listed(Duration::from_secs(100));
        assert_eq!(listed.len(), MAX_NEARBY);
        assert!(listed.iter().all(|meter| meter.seen_at >= Duration::from_secs(68)));
    }
}
