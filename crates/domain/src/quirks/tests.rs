//! The table itself: how entries are found and refused. What each entry does to bytes is in `tests/quirks`.

use std::error::Error as _;

use super::*;
use crate::Id;
use crate::meter::{About, Address, AddressType, MeterKind, MeterRole, meter_id};

fn table(text: &str) -> Result<QuirkTable, QuirkTableError> {
    QuirkTable::parse(&format!("schema = 1\n{text}"))
}

/// An entry with the keys given.
fn entry(id: &str, rest: &str) -> String {
    format!("[[quirk]]\nid = \"{id}\"\nfamily = \"F\"\nsource = \"S\"\n{rest}\n")
}

fn found<'a>(table: &'a QuirkTable, traits: &Traits<'_>) -> Option<&'a str> {
    table.find(traits).map(|quirk| quirk.id.as_str())
}

fn meter(manufacturer: &str, model: &str, firmware: &str) -> Meter {
    let address = Address::new([1, 2, 3, 4, 5, 6]);
    Meter {
        id: meter_id(address, AddressType::Public),
        address,
        address_type: AddressType::Public,
        kind: MeterKind::BloodPressure,
        role: MeterRole::Personal,
        store: Id::from_uuid(uuid::Uuid::from_u128(1)),
        model: model.to_owned(),
        multi_user: false,
        about: About::new(manufacturer, "", firmware),
    }
}

#[test]
fn the_embedded_table_is_valid() {
    let table = QuirkTable::parse(METERS).unwrap();
    assert!(table.iter().count() >= 12);
    for quirk in table.iter() {
        assert_eq!(table.by_id(&quirk.id), Some(quirk));
    }
    assert_eq!(*QuirkTable::current(), table);
    assert_eq!(table.by_id(&"invented-later".parse().unwrap()), None);
}

#[test]
fn patterns_have_stars_at_their_ends_and_no_case() {
    let check = |pattern: &str, text: &str, expected: bool| {
        let pattern = Pattern::parse(pattern).unwrap();
        assert_eq!(pattern.matches(&fold(text)), expected, "{pattern:?} {text:?}");
    };
    check("BM85", " bm85 ", true);
    check("BM85", "BM85x", false);
    check("BM85*", "BM85x", true);
    check("BM85*", "xBM85", false);
    check("*BM85", "x bm85", true);
    check("*BM85*", "x bm85 y", true);
    check("*BM85*", "", false);
    check("A&D*", "A&D Medical", true);
    check("鱼跃*", "鱼跃医疗", true);
    for bad in ["", "*", "**", "a*b", " a", "a ", "* a", &"x".repeat(65), "a\u{7}"] {
        assert_eq!(Pattern::parse(bad), None, "{bad:?}");
    }
}

#[test]
fn what_a_meter_says_of_itself_goes_before_a_fingerprint() {
    let text = [
        entry("print", "match = [{ name = [\"X*\"], services = [\"1808\"] }]"),
        entry("maker", "match = [{ manufacturer = [\"Maker\"] }]"),
        entry("model", "match = [{ manufacturer = [\"Maker\"], model = [\"M1*\"] }]"),
        entry(
            "firmware",
            "match = [{ manufacturer = [\"Maker\"], model = [\"M1*\"], firmware = [\"2.*\"] }]",
        ),
        entry("later", "match = [{ manufacturer = [\"Maker\"], model = [\"M1b\"] }]"),
    ]
    .concat();
    let table = table(&text).unwrap();
    let services = ["00001808-0000-1000-8000-00805F9B34FB".to_owned()];
    let traits = Traits {
        manufacturer: "maker",
        model: "M1a",
        firmware: "1.0",
        name: "X-1",
        services: &services,
    };
    assert_eq!(found(&table, &traits), Some("model"));
    let check = |traits: Traits<'_>, expected: Option<&str>| assert_eq!(found(&table, &traits), expected);
    check(
        Traits {
            firmware: "2.7",
            ..traits
        },
        Some("firmware"),
    );
    check(Traits { model: "M1b", ..traits }, Some("later"));
    check(Traits { model: "M2", ..traits }, Some("maker"));
    check(
        Traits {
            manufacturer: "other",
            ..traits
        },
        Some("print"),
    );
    check(
        Traits {
            manufacturer: "",
            model: "",
            services: &[],
            ..traits
        },
        None,
    );
    check(Traits::default(), None);
}

#[test]
fn a_fingerprint_needs_all_services_and_none_that_the_entry_excludes() {
    let text = entry(
        "own",
        "match = [{ services = [\"fe4a\", \"cdeacd80-5235-4c07-8846-93a37ee6b86d\"], lacks = [\"1810\"] }]",
    );
    let table = table(&text).unwrap();
    let check = |services: &[&str], expected: bool| {
        let services: Vec<String> = services.iter().map(|&text| text.to_owned()).collect();
        let traits = Traits {
            services: &services,
            ..Traits::default()
        };
        assert_eq!(table.find(&traits).is_some(), expected, "{services:?}");
    };
    check(&["FE4A", "CDEACD80-5235-4C07-8846-93A37EE6B86D", "180a"], true);
    check(&["fe4a"], false);
    check(&["fe4a", "cdeacd80-5235-4c07-8846-93a37ee6b86d", "0x1810"], false);
    check(&["fe4a", "no uuid", ""], false);
}

#[test]
fn an_entry_is_for_the_registered_model_whatever_its_firmware() {
    let text = [
        entry(
            "bytes",
            "match = [{ manufacturer = [\"Maker\"], model = [\"M1\"] }]\ndecode = { big_endian_tail = true }",
        ),
        entry("talk", "match = [{ name = [\"Z*\"] }]\ntalk = { keep_session = true }"),
    ]
    .concat();
    let table = table(&text).unwrap();
    let by_id = |id: &str| table.by_id(&id.parse().unwrap()).unwrap();
    assert!(by_id("bytes").is_for(&meter("Maker", "m1", "9")));
    assert!(!by_id("bytes").is_for(&meter("Maker", "M2", "")));
    assert!(!by_id("bytes").is_for(&meter("", "M1", "")));
    assert!(by_id("talk").is_for(&meter("", "", "")), "it changes no bytes");
    assert_eq!(
        table.for_bytes_of(&meter("Maker", "M1", "")).map(|q| q.id.as_str()),
        Some("bytes")
    );
    assert_eq!(table.for_bytes_of(&meter("Maker", "M2", "")), None);
}

#[test]
fn a_bad_table_is_refused_with_its_line_or_entry() {
    let refusal = |text: &str| table(text).unwrap_err();
    let all_words = |error: QuirkTableError| {
        let cause = error.source().map(ToString::to_string).unwrap_or_default();
        format!("{error}: {cause}")
    };
    let good = "match = [{ model = [\"M\"] }]";
    let unknown = all_words(refusal(&entry("a", &format!("{good}\nsurprise = 1"))));
    assert!(unknown.contains("line 7") && unknown.contains("surprise"), "{unknown}");
    let nested = all_words(refusal(&entry("a", &format!("{good}\ndecode = {{ surprise = true }}"))));
    assert!(nested.contains("line 7") && nested.contains("surprise"), "{nested}");
    let way = all_words(refusal(&entry("a", "match = [{ modell = [\"M\"] }]")));
    assert!(way.contains("line 6") && way.contains("modell"), "{way}");
    let kind = all_words(refusal(&entry(
        "a",
        &format!("{good}\ntalk = {{ write_clock = \"often\" }}"),
    )));
    assert!(kind.contains("line 7") && kind.contains("often"), "{kind}");
    let id = all_words(refusal(&entry("Big Letters", good)));
    assert!(id.contains("line 3"), "{id}");
    let syntax = all_words(refusal("[[quirk"));
    assert!(syntax.contains("line 2"), "{syntax}");

    assert!(matches!(
        refusal(&[entry("a", good), entry("b", good), entry("a", good)].concat()),
        QuirkTableError::DuplicateId { id } if id.as_str() == "a"
    ));
    assert!(matches!(
        QuirkTable::parse("schema = 2"),
        Err(QuirkTableError::OtherSchema { found: 2 })
    ));
    for (bad, field) in [
        ("match = [{ model = [\"M*N\"] }]", "model"),
        ("match = [{ manufacturer = [\"\"] }]", "manufacturer"),
        ("match = [{ model = [\"M\"], services = [\"18\"] }]", "services"),
        ("match = [{ model = [\"M\"], lacks = [\"zzzz\"] }]", "lacks"),
    ] {
        let error = refusal(&entry("a", bad));
        assert!(
            matches!(&error, QuirkTableError::BadPattern { id, field: found, .. } if id.as_str() == "a" && *found == field),
            "{error}"
        );
    }
    for (bad, wanted) in [
        ("", 0),
        ("match = []", 0),
        ("match = [{ model = [\"M\"] }, {}]", 2),
        ("match = [{ firmware = [\"1\"], lacks = [\"1810\"] }]", 1),
    ] {
        let error = refusal(&entry("a", bad));
        assert!(
            matches!(error, QuirkTableError::MatchesAnything { number, .. } if number == wanted),
            "{error}"
        );
    }
    for bad in [
        "match = [{ name = [\"M*\"] }]",
        "match = [{ model = [\"M\"] }, { services = [\"1810\"] }]",
        "match = [{ model = [\"M\"], firmware = [\"1\"] }]",
        "match = [{ model = [\"M\"], lacks = [\"1810\"] }]",
    ] {
        let error = refusal(&entry("a", &format!("{bad}\ndecode = {{ big_endian_tail = true }}")));
        assert!(matches!(error, QuirkTableError::BytesByFingerprint { .. }), "{error}");
    }
    assert!(matches!(
        refusal(&entry(
            "a",
            &format!("{good}\nsupport = \"recognised_unsupported\"\ntalk = {{ keep_session = true }}")
        )),
        QuirkTableError::RulesForUnsupported { .. }
    ));
    assert!(matches!(
        refusal(&entry("a", good).replace("family = \"F\"", "family = \" \"")),
        QuirkTableError::NoWords { .. }
    ));
}

#[test]
fn a_table_has_bounds() {
    let good = "match = [{ model = [\"M\"] }]";
    let many = |count: usize| (0..count).map(|n| entry(&format!("e-{n}"), good)).collect::<String>();
    assert!(table(&many(MAX_ENTRIES)).is_ok());
    assert!(matches!(
        table(&many(MAX_ENTRIES + 1)),
        Err(QuirkTableError::TooManyEntries { .. })
    ));
    let patterns = |count: usize| vec!["\"M\""; count].join(", ");
    let models = |count: usize| table(&entry("a", &format!("match = [{{ model = [{}] }}]", patterns(count))));
    assert!(models(MAX_PATTERNS).is_ok());
    assert!(matches!(
        models(MAX_PATTERNS + 1),
        Err(QuirkTableError::TooMany { field: "model", .. })
    ));
    let ways = vec!["{ model = [\"M\"] }"; MAX_PATTERNS + 1].join(", ");
    assert!(matches!(
        table(&entry("a", &format!("match = [{ways}]"))),
        Err(QuirkTableError::TooMany { field: "match", .. })
    ));
}

#[test]
fn ids_are_plain_and_bounded() {
    for good in ["a", "beurer-bm85", &"x".repeat(MAX_ID_BYTES)] {
        assert_eq!(good.parse::<QuirkId>().unwrap().to_string(), good);
    }
    for bad in ["", "A", "a b", "a_b", "é", &"x".repeat(MAX_ID_BYTES + 1)] {
        assert_eq!(bad.parse::<QuirkId>(), Err(BadQuirkId), "{bad:?}");
    }
}
