//! Every row of `vectors.csv` is a test of [`carepost_gatt::report`].
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use carepost_gatt::report::{parse_hex, report};
use serde_json::Value;

/// Keys that explain a row and say nothing about the line.
const EXPLANATIONS: [&str; 5] = ["note", "quirk", "quirk_decode", "upstream_says", "server_response_hex"];

#[test]
fn every_vector_decodes_as_expected() {
    let rows = rows(include_str!("vectors.csv"));
    assert_eq!(rows[0], ["characteristic", "hex", "expected_json", "source"]);
    let rows = &rows[1..];
    assert!(rows.len() >= 140, "only {} rows were read", rows.len());
    let problems: Vec<String> = rows
        .iter()
        .enumerate()
        .filter_map(|(index, row)| problem(row).map(|text| format!("row {}: {text}", index + 2)))
        .collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// What is wrong with the line about a row.
fn problem(row: &[String]) -> Option<String> {
    let (characteristic, hex) = (&row[0], &row[1]);
    let expected: Value = serde_json::from_str(&row[2]).unwrap();
    let bytes = parse_hex(hex).unwrap();
    let report = report(characteristic, &bytes).unwrap();
    let actual: Value = serde_json::from_str(&report.json).unwrap();
    assert!(!report.json.contains('\n'));
    assert_eq!(Value::Bool(report.ok), actual["ok"]);
    let answer = expected.get("server_response_hex");
    let same = contains(&actual, &expected) && answer == actual.get("server_response_hex");
    (!same).then(|| format!("{characteristic} {hex}\n  wants {expected}\n  got   {actual}"))
}

/// `actual` has every expected key with the expected value; more keys are allowed.
fn contains(actual: &Value, expected: &Value) -> bool {
    match (actual, expected) {
        (Value::Object(actual), Value::Object(expected)) => expected
            .iter()
            .filter(|(key, _)| !EXPLANATIONS.contains(&key.as_str()))
            .all(|(key, value)| actual.get(key).is_some_and(|found| contains(found, value))),
        (Value::Array(actual), Value::Array(expected)) => {
            actual.len() == expected.len()
                && actual
                    .iter()
                    .zip(expected)
                    .all(|(actual, expected)| contains(actual, expected))
        }
        (Value::Number(actual), Value::Number(expected)) => actual.as_f64() == expected.as_f64(),
        (actual, expected) => actual == expected,
    }
}

#[test]
fn the_comparison_notices_differences() {
    let line: Value = serde_json::from_str(r#"{"a":1.50,"b":{"c":[1,"x"]},"extra":0}"#).unwrap();
    let check = |expected: &str, holds: bool| {
        let expected: Value = serde_json::from_str(expected).unwrap();
        assert_eq!(contains(&line, &expected), holds, "{expected}");
    };
    check(r#"{"a":1.5,"b":{"c":[1.0,"x"]}}"#, true);
    check(r#"{"a":1.5,"note":"ignored"}"#, true);
    check(r#"{"a":1.51}"#, false);
    check(r#"{"missing":null}"#, false);
    check(r#"{"b":{"c":[1]}}"#, false);
    check(r#"{"b":{"c":[1,"y"]}}"#, false);
}

#[test]
fn characteristics_have_several_names() {
    let packet = [0x00, 0x7E, 0x00, 0x4E, 0x00, 0xFF, 0x07];
    let line = report("2A35", &packet).unwrap().json;
    for name in [
        "2a35",
        "0x2A35",
        " 2A35 ",
        "00002a35-0000-1000-8000-00805f9b34fb",
        "00002A35-0000-1000-8000-00805F9B34FB",
    ] {
        assert_eq!(report(name, &packet).unwrap().json, line, "{name}");
    }
    for name in ["2a52-REQUEST", "0x2A52-request"] {
        assert!(report(name, &[1, 1]).unwrap().ok, "{name}");
    }
    assert!(report("sfloat", &[1, 2]).unwrap().ok);
    for name in [
        "",
        "2A",
        "2A350",
        "+2A3",
        "2A35-request",
        "FFFF",
        "血压",
        "00002a35-0000-1000-8000-00805f9b34fc",
    ] {
        assert!(report(name, &packet).is_err(), "{name:?} is known");
    }
}

#[test]
fn hex_is_read_in_the_forms_people_paste() {
    use carepost_gatt::report::HexError;
    for text in [
        "007E4E",
        "00 7e 4e",
        "00:7E:4E",
        "00-7E-4E",
        "0x007E4E",
        " 0X00 7e:4E\n",
    ] {
        assert_eq!(parse_hex(text), Ok(vec![0x00, 0x7E, 0x4E]), "{text:?}");
    }
    assert_eq!(parse_hex(""), Ok(vec![]));
    assert_eq!(parse_hex("0x"), Ok(vec![]));
    assert_eq!(parse_hex("007"), Err(HexError::OddLength { digits: 3 }));
    assert_eq!(
        parse_hex(" 0x0g"),
        Err(HexError::NotHex {
            found: 'g',
            position: 5
        })
    );
    assert_eq!(parse_hex(&"00".repeat(512)).unwrap().len(), 512);
    assert_eq!(parse_hex(&"00".repeat(513)), Err(HexError::TooLong));
}

/// Fields of a comma-separated file with quoted fields (RFC 4180).
fn rows(text: &str) -> Vec<Vec<String>> {
    let mut rows = vec![];
    let mut row = vec![];
    let mut field = String::new();
    let mut quoted = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match (character, quoted) {
            ('"', true) if characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            ('"', _) => quoted = !quoted,
            (',', false) => row.push(std::mem::take(&mut field)),
            ('\n', false) => {
                row.push(std::mem::take(&mut field));
                rows.push(std::mem::take(&mut row));
            }
            ('\r', false) => {}
            (other, _) => field.push(other),
        }
    }
    if !field.is_empty() || !row.is_empty() {
        row.push(field);
        rows.push(row);
    }
    rows
}
