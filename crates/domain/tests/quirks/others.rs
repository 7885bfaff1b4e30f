//! Meters of no kind that is supported, and the table as a whole.

use carepost_domain::quirks::{QuirkTable, Support};

use crate::support::entry_around;

#[test]
fn yonker() {
    let entry = entry_around("Yonker_BP", &["cdeacd80-5235-4c07-8846-93a37ee6b86d"]).unwrap();
    assert_eq!(entry.id.as_str(), "yonker");
    assert_eq!(entry.support, Support::RecognisedUnsupported);
    let standard = entry_around("Yonker", &["cdeacd80-5235-4c07-8846-93a37ee6b86d", "1822"]);
    assert_eq!(standard, None, "one that also speaks the standard is read by it");
}

/// Readings that are stored name these entries, and are read again by them. A line may be added and none may change: an
/// entry that was wrong gets a successor with another id.
#[test]
fn entries_that_readings_may_name_never_change() {
    let lines: Vec<String> = QuirkTable::current()
        .iter()
        .map(|quirk| {
            let serde_json::Value::Object(decode) = serde_json::to_value(quirk.decode).unwrap() else {
                panic!("an object")
            };
            let set: Vec<String> = decode
                .into_iter()
                .filter(|(_, value)| !value.is_null() && *value != serde_json::Value::Bool(false))
                .map(|(key, value)| format!(" {key}={value}"))
                .collect();
            format!("{} {}{}", quirk.id, quirk.support, set.concat())
        })
        .collect();
    let golden: Vec<&str> = include_str!("entries.txt").lines().collect();
    assert_eq!(lines, golden);
}
