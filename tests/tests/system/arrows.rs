//! The arrows of docs/ARCHITECTURE.md: which member of the workspace may use which.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Who may use whom. Everything else between our members is forbidden.
const ARROWS: &[(&str, &[&str])] = &[
    ("carepost-gatt", &[]),
    ("carepost-domain", &["carepost-gatt"]),
    ("carepost-contract", &["carepost-domain"]),
    ("carepost-daemon", &[]),
    ("carepost-store", &["carepost-domain"]),
    (
        "carepost-gateway",
        &[
            "carepost-gatt",
            "carepost-domain",
            "carepost-contract",
            "carepost-daemon",
        ],
    ),
    (
        "carepost-server",
        &[
            "carepost-gatt",
            "carepost-domain",
            "carepost-contract",
            "carepost-store",
            "carepost-daemon",
        ],
    ),
    ("carepost-sim", &["carepost-gatt", "carepost-daemon"]),
    (
        "system-tests",
        &[
            "carepost-gatt",
            "carepost-domain",
            "carepost-contract",
            "carepost-daemon",
            "carepost-store",
            "carepost-sim",
        ],
    ),
];

/// Crates that do IO, read clocks or draw randomness; the pure members may not depend on them.
const IMPURE: &[&str] = &[
    "tokio",
    "sqlx",
    "btleplug",
    "zbus",
    "axum",
    "rumqttc",
    "getrandom",
    "rand",
    "tracing",
];
const PURE: &[&str] = &["carepost-gatt", "carepost-domain", "carepost-contract"];

fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let metadata = MetadataCommand::new().manifest_path(manifest).no_deps().exec().unwrap();
    metadata
        .packages
        .iter()
        .map(|package| {
            let names = package
                .dependencies
                .iter()
                // A test of the server may drive it with an MQTT client; the arrows are about what ships, and about our
                // own members in every kind of dependency.
                .filter(|d| d.kind == DependencyKind::Normal || d.path.is_some())
                .map(|d| d.name.clone())
                .collect();
            (package.name.to_string(), names)
        })
        .collect()
}

#[test]
fn members_use_only_what_the_arrows_allow() {
    let dependencies = dependencies();
    let members: BTreeSet<&str> = dependencies.keys().map(String::as_str).collect();
    let known: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    assert_eq!(members, known, "every member of the workspace has its row in ARROWS");
    for (name, allowed) in ARROWS {
        let ours: BTreeSet<&str> = dependencies[*name]
            .iter()
            .map(String::as_str)
            .filter(|d| members.contains(d) && d != name)
            .collect();
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        assert!(
            ours.is_subset(&allowed),
            "{name} uses {:?}, which no arrow allows",
            ours.difference(&allowed)
        );
    }
}

#[test]
fn pure_members_depend_on_nothing_that_does_io() {
    let dependencies = dependencies();
    for name in PURE {
        for impure in IMPURE {
            assert!(
                !dependencies[*name].contains(*impure),
                "{name} is pure and may not use {impure}"
            );
        }
    }
}

/// The store may not use the contract, so both name the bounds of a batch and a receipt; they must be the same bounds.
#[test]
fn store_and_contract_keep_the_same_bounds() {
    use carepost_contract::limits as wire;
    use carepost_store::limits as store;
    assert_eq!(store::MAX_BATCH_ITEMS, wire::MAX_BATCH_ITEMS);
    assert_eq!(store::MAX_EXTRA, wire::MAX_RECEIPT_EXTRA);
    assert_eq!(store::MAX_REJECTED, wire::MAX_RECEIPT_REJECTED);
}
