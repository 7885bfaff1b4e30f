//! The list of meters as its page shows it. Pure.

use std::collections::BTreeMap;

use carepost_domain::meter::{Address, Meter, MeterRole};
use carepost_store::model::{MeterPage, MeterRecord, StoreSite};

use crate::models;
use crate::web::catalogue::Texts;
use crate::web::queue::view::Viewer;
use crate::web::when::{self, When};

/// The page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MetersPage {
    /// The meters.
    pub(crate) meters: Vec<MeterLine>,
    /// Whether the store is told.
    pub(crate) with_store: bool,
    /// Where the next page is.
    pub(crate) next: Option<String>,
    /// Whether there is a page before, so that this one begins in the middle.
    pub(crate) later: bool,
}

/// A meter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MeterLine {
    /// Manufacturer; empty when it is not known.
    pub(crate) manufacturer: String,
    /// Model, or that it is not known.
    pub(crate) model: String,
    /// How many others on this page look the same, in words; empty when none does.
    pub(crate) twins: String,
    /// Serial number; empty when it is not known.
    pub(crate) serial: String,
    /// The last two bytes of the address, as meters and their apps print it.
    pub(crate) tail: String,
    /// The whole address.
    pub(crate) address: String,
    /// What it measures.
    pub(crate) kind: String,
    /// Whose it is.
    pub(crate) role: String,
    /// To how many it belongs, in words; empty for a store's own.
    pub(crate) owners: String,
    /// The store's name; empty where there is only one.
    pub(crate) store: String,
    /// Firmware; empty when it is not known.
    pub(crate) firmware: String,
    /// What Carepost can do with it, in words.
    pub(crate) support: String,
    /// It cannot be read.
    pub(crate) unsupported: bool,
    /// Its family by the quirk table; empty without an entry.
    pub(crate) family: String,
    /// That entry's id; empty without one.
    pub(crate) quirk: String,
    /// When a reading of it came last.
    pub(crate) seen: Option<When>,
}

/// Builds the page. `stores` is empty for whoever sees one store only.
pub(crate) fn meters_page(viewer: Viewer<'_>, page: &MeterPage, stores: &[StoreSite], later: bool) -> MetersPage {
    let mut alike: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for record in page.meters.iter().filter(|record| !record.meter.model.is_empty()) {
        *alike.entry(look(&record.meter)).or_default() += 1;
    }
    let line = |record: &MeterRecord| {
        let others = alike.get(&look(&record.meter)).copied().unwrap_or(1) - 1;
        meter_line(viewer, record, others, stores)
    };
    MetersPage {
        meters: page.meters.iter().map(line).collect(),
        with_store: !stores.is_empty(),
        next: page.next.map(|after| format!("/meters?after={after}")),
        later,
    }
}

/// What a person sees on the outside.
fn look(meter: &Meter) -> (&str, &str) {
    (&meter.about.manufacturer, &meter.model)
}

fn meter_line(viewer: Viewer<'_>, record: &MeterRecord, others: i64, stores: &[StoreSite]) -> MeterLine {
    let Viewer { texts, now, zone, .. } = viewer;
    let meter = &record.meter;
    let entry = models::entry(meter);
    let support = models::support_code(entry);
    MeterLine {
        manufacturer: meter.about.manufacturer.clone(),
        model: if meter.model.is_empty() {
            texts.get("meters-model-unknown")
        } else {
            meter.model.clone()
        },
        twins: if others > 0 {
            texts.fill("meters-twins", &[("n", (others + 1).into())])
        } else {
            String::new()
        },
        serial: meter.about.serial.clone(),
        tail: tail(meter.address),
        address: meter.address.to_string(),
        kind: texts.code("meter-kind", meter.kind.code()),
        role: texts.code("meter-role", meter.role.code()),
        owners: owners(texts, record),
        store: stores
            .iter()
            .find(|site| site.id == meter.store)
            .map(|site| site.name.clone())
            .unwrap_or_default(),
        firmware: meter.about.firmware.clone(),
        support: texts.code("support", support),
        unsupported: support == carepost_domain::quirks::Support::RecognisedUnsupported.code(),
        family: entry.map(|quirk| quirk.family.clone()).unwrap_or_default(),
        quirk: entry.map(|quirk| quirk.id.to_string()).unwrap_or_default(),
        seen: record.last_seen.map(|at| when::when(texts, at, now, zone)),
    }
}

fn owners(texts: Texts, record: &MeterRecord) -> String {
    match (record.meter.role, record.owners) {
        (MeterRole::StoreShared, _) => String::new(),
        (MeterRole::Personal, 0) => texts.get("meters-nobody"),
        (MeterRole::Personal, n) => texts.fill("meters-owners", &[("n", n.into())]),
    }
}

/// The last two bytes of an address, such as `1A:2B`.
fn tail(address: Address) -> String {
    let [.., a, b] = address.bytes();
    format!("{a:02X}:{b:02X}")
}

#[cfg(test)]
mod tests {
    use carepost_domain::care::rule_set::RuleSet;
    use carepost_domain::meter::{About, AddressType, MeterKind, meter_id};
    use chrono_tz::Asia::Shanghai;

    use super::*;
    use crate::web::catalogue::Language;
    use crate::web::sample::{ago, id, viewer};

    fn record(last: u8, manufacturer: &str, model: &str, serial: &str) -> MeterRecord {
        let address = Address::new([0xC0, 0x26, 0xDF, 0, 0x1A, last]);
        MeterRecord {
            meter: Meter {
                id: meter_id(address, AddressType::Public),
                address,
                address_type: AddressType::Public,
                kind: MeterKind::BloodPressure,
                role: MeterRole::Personal,
                store: id(5),
                model: model.to_owned(),
                multi_user: false,
                about: About::new(manufacturer, serial, "1.0"),
            },
            registered_at: ago(9_000),
            registered_via: None,
            last_seen: Some(ago(5)),
            owners: 1,
        }
    }

    fn page(language: Language, meters: Vec<MeterRecord>) -> MetersPage {
        let rules = RuleSet::cn_2024();
        meters_page(viewer(&rules, language), &MeterPage { meters, next: None }, &[], false)
    }

    #[test]
    fn two_of_one_model_are_told_apart_by_serial_and_address() {
        let meters = vec![
            record(0x2B, "A&D Medical", "UA-651BLE", "5150700001"),
            record(0x2C, "A&D Medical", "UA-651BLE", "5150700002"),
            record(0x2D, "Beurer", "BM85", ""),
        ];
        let page = page(Language::English, meters);
        let got: Vec<_> = page
            .meters
            .iter()
            .map(|line| (line.serial.as_str(), line.tail.as_str(), line.twins.is_empty()))
            .collect();
        assert_eq!(
            got,
            [
                ("5150700001", "1A:2B", false),
                ("5150700002", "1A:2C", false),
                ("", "1A:2D", true)
            ]
        );
        assert_eq!(page.meters[0].twins, "2 of this model here");
        assert_eq!(
            (page.meters[0].quirk.as_str(), page.meters[0].support.as_str()),
            ("and-ua", "Supported")
        );
    }

    #[test]
    fn what_is_not_known_is_said_and_not_invented() {
        let mut unknown = record(1, "", "", "");
        unknown.last_seen = None;
        unknown.owners = 0;
        let twin = record(2, "", "", "");
        let page = page(Language::English, vec![unknown, twin]);
        let line = &page.meters[0];
        assert_eq!(line.model, "Model not known");
        assert_eq!((line.support.as_str(), line.quirk.as_str()), ("By the standard", ""));
        assert_eq!((line.owners.as_str(), line.seen.is_none()), ("Bound to nobody", true));
        assert!(line.twins.is_empty(), "two unknown models are not one model");
    }

    #[test]
    fn the_store_is_told_to_whoever_sees_several() {
        let rules = RuleSet::cn_2024();
        let site = StoreSite {
            id: id(5),
            name: "East".to_owned(),
            zone: Shanghai,
        };
        let found = MeterPage {
            meters: vec![record(1, "", "X", "")],
            next: Some(id(7)),
        };
        let page = meters_page(viewer(&rules, Language::Chinese), &found, &[site], true);
        assert_eq!((page.with_store, page.meters[0].store.as_str()), (true, "East"));
        assert_eq!(
            page.next.as_deref(),
            Some(format!("/meters?after={}", id::<()>(7)).as_str())
        );
        assert!(page.later);
    }
}
