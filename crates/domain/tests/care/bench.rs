//! The bench: golden cases, exact numbers, errors that name line and key.

use carepost_domain::care::bench::{evaluate_line, evaluate_lines};

use crate::support::rules;

fn run(case: &str) -> String {
    evaluate_line(rules(), 1, case).unwrap()
}

fn error(case: &str) -> String {
    evaluate_line(rules(), 3, case).unwrap_err().to_string()
}

#[test]
fn golden_cases() {
    for (case, expected) in [
        (
            r#"{"id":"pair","now":"2026-11-02T08:05:00+08:00","profile":{"birth_year":1960,"conditions":[],"drugs":[]},"readings":[
               {"id":"r2","kind":"bp","measured_at":"2026-11-02T08:01:00+08:00","place":"store","systolic":164,"diastolic":92,"pulse":71},
               {"id":"r1","kind":"bp","measured_at":"2026-11-02T00:00:00Z","place":"store","systolic":160,"diastolic":90,"pulse":70}]}"#,
            r#"{"id":"pair","findings":[{"rule":"BP-05","family":"bp-high","severity":"high","readings":["r1","r2"]}]}"#,
        ),
        (
            r#"{"id":7,"now":"2026-11-02T08:05:00Z","profile":{"birth_year":1960,"conditions":["diabetes"]},"readings":[
               {"id":1,"kind":"glucose","measured_at":"2026-11-02T08:00:00Z","place":"home","value":2.9,"unit":"mmol/L","slot":"fasting"}]}"#,
            r#"{"id":7,"findings":[{"rule":"GL-01","family":"glucose-low","severity":"high","readings":[1]},{"rule":"GL-02","family":"glucose-low","severity":"critical","readings":[1]}]}"#,
        ),
        (
            r#"{"id":"lo","now":"2026-11-02T08:05:00Z","profile":{"conditions":["diabetes"]},"readings":[
               {"id":"a","kind":"glucose","measured_at":"2026-11-02T08:00:00Z","value":null,"unit":"mg/dL","flags":["result_too_low"]}]}"#,
            r#"{"id":"lo","findings":[{"rule":"GL-01","family":"glucose-low","severity":"high","readings":["a"]},{"rule":"GL-02","family":"glucose-low","severity":"critical","readings":["a"]}]}"#,
        ),
        (
            r#"{"id":"pain","now":"2026-11-02T08:00:30Z","profile":{},"readings":[
               {"id":"a","kind":"bp","measured_at":"2026-11-02T08:00:00Z","systolic":24.0,"diastolic":12,"unit":"kPa","symptoms":["chest_pain"]}]}"#,
            r#"{"id":"pain","findings":[{"rule":"BP-01","family":"bp-high","severity":"pending","readings":["a"]},{"rule":"BP-03","family":"bp-high","severity":"emergency","readings":["a"]},{"rule":"SY-01","family":"symptom","severity":"emergency","readings":["a"]}]}"#,
        ),
        (
            r#"{"id":"none","now":"2026-11-02T08:00:30Z","profile":{},"readings":[],"future_key":{"x":[1]}}"#,
            r#"{"id":"none","findings":[]}"#,
        ),
    ] {
        assert_eq!(run(case), expected);
    }
}

#[test]
fn numbers_are_exact_at_the_boundary() {
    let gl02 = |value: &str| {
        let case = format!(
            r#"{{"id":"x","now":"2026-11-02T08:00:00Z","profile":{{}},"readings":[{{"id":"a","kind":"glucose",
            "measured_at":"2026-11-02T08:00:00Z","value":{value},"unit":"mmol/L"}}]}}"#
        );
        run(&case).contains("GL-02")
    };
    assert!(gl02("2.999"));
    assert!(!gl02("3.0"));
    assert!(!gl02("3"));
    assert!(!gl02("30e-1"));
    assert!(gl02("0.29e1"));
    assert!(gl02("2.9999999"));
    assert!(!gl02("3.0000001"));
}

#[test]
fn a_duplicate_reading_is_one_and_a_contradiction_is_an_error() {
    let case = |second: &str| {
        format!(
            r#"{{"id":"x","now":"2026-11-02T08:20:00Z","profile":{{}},"readings":[
            {{"id":"a","kind":"bp","measured_at":"2026-11-02T08:00:00Z","systolic":165,"diastolic":90}},
            {{"id":"a","kind":"bp","measured_at":"2026-11-02T08:00:00Z","systolic":{second},"diastolic":90}}]}}"#
        )
    };
    assert!(run(&case("165")).contains(r#""readings":["a"]"#));
    assert!(error(&case("166")).contains("is given twice with different content"));
}

#[test]
fn bad_cases_say_line_and_key() {
    let bp = |rest: &str| {
        format!(
            r#"{{"id":"x","now":"2026-11-02T08:00:00Z","profile":{{}},"readings":[{{"id":"a","kind":"bp","measured_at":"2026-11-02T08:00:00Z",{rest}}}]}}"#
        )
    };
    let glucose = |rest: &str| bp(rest).replace("\"bp\"", "\"glucose\"");
    for (case, part) in [
        ("{".to_owned(), "line 3: the case is not as expected"),
        ("[]".to_owned(), "line 3"),
        (r#"{"id":"x"}"#.to_owned(), "missing field `now`"),
        (
            r#"{"id":{},"now":"2026-11-02T08:00:00Z","profile":{},"readings":[]}"#.to_owned(),
            "id: must be a text",
        ),
        (r#"{"id":"x","now":"yesterday"}"#.to_owned(), "line 3"),
        (
            r#"{"id":"x","now":"2026-11-02T08:00:00Z","readings":[]}"#.to_owned(),
            "missing field `profile`",
        ),
        (
            r#"{"id":"x","now":"2026-11-02T08:00:00Z","profile":{}}"#.to_owned(),
            "missing field `readings`",
        ),
        (
            r#"["x","2026-11-02T08:00:00Z",{},[]]"#.to_owned(),
            "invalid type: sequence, expected an object",
        ),
        (
            r#"{"id":"x","now":"2026-11-02T08:00:00Z","profile":[1960,[],[]],"readings":[]}"#.to_owned(),
            "invalid type: sequence, expected an object",
        ),
        (
            bp(r#""systolic":120"#),
            r#"case "x": reading "a" diastolic: is missing"#,
        ),
        (bp(r#""systolic":"120","diastolic":80"#), "systolic: must be a number"),
        (bp(r#""systolic":1200,"diastolic":80"#), "systolic: is not a pressure"),
        (bp(r#""systolic":-120,"diastolic":80"#), "systolic: is not a pressure"),
        (
            bp(r#""systolic":120,"diastolic":120"#),
            "diastolic: must be below systolic",
        ),
        (
            bp(r#""systolic":120,"diastolic":80,"pulse":"x""#),
            "pulse: must be a pulse rate",
        ),
        (
            bp(r#""systolic":120,"diastolic":80,"unit":"bar""#),
            "unit: must be mmHg or kPa",
        ),
        (bp(r#""systolic":120,"diastolic":80,"place":"office""#), "place"),
        (bp(r#""systolic":120,"diastolic":80,"flags":["shaky"]"#), "reading flag"),
        (bp(r#""systolic":120,"diastolic":80,"symptoms":[1]"#), "line 3"),
        (
            bp(r#""systolic":120,"diastolic":80"#).replace("\"bp\"", "\"ecg\""),
            "ecg",
        ),
        (glucose(r#""value":5.5"#), "unit: is missing"),
        (
            glucose(r#""value":null,"unit":"mmol/L""#),
            "value: is missing, and no flag says HI or LO",
        ),
        (
            glucose(r#""value":"HI","unit":"mmol/L""#),
            "value: must be a number or null",
        ),
        (
            glucose(r#""value":1e300,"unit":"mmol/L""#),
            "value: must be a number or null",
        ),
        (glucose(r#""value":0,"unit":"mmol/L""#), "value: is not a concentration"),
        (
            glucose(r#""flags":["result_too_high","result_too_low"]"#),
            "flags: cannot be both HI and LO",
        ),
    ] {
        let text = error(&case);
        assert!(text.starts_with("line 3") && text.contains(part), "{case}\n{text}");
    }
    // Deep nesting ends in an error, not in a crash.
    let deep = format!(
        r#"{{"id":"x","now":"2026-11-02T08:00:00Z","profile":{}1{}}}"#,
        "[".repeat(5_000),
        "]".repeat(5_000)
    );
    assert!(error(&deep).contains("line 3"));
}

#[test]
fn a_bad_line_does_not_stop_the_others() {
    let text = "{\"id\":1,\"now\":\"2026-11-02T08:00:00Z\",\"profile\":{},\"readings\":[]}\n\nnonsense\n\
        {\"id\":2,\"now\":\"2026-11-02T08:00:00Z\",\"profile\":{},\"readings\":[]}\n";

    let results: Vec<_> = evaluate_lines(rules(), text).collect();
    assert_eq!(results.len(), 3);
    assert!(results[0].is_ok() && results[2].is_ok());
    assert!(results[1].as_ref().unwrap_err().to_string().starts_with("line 3: "));
}

#[test]
fn a_birth_year_is_from_1900_to_the_year_of_now_in_the_zone() {
    let case = |year: &str, now: &str| {
        let text = format!(r#"{{"id":"x","now":"{now}","profile":{{"birth_year":{year}}},"readings":[]}}"#);
        evaluate_line(rules(), 3, &text).map_err(|e| e.to_string())
    };
    let noon = "2026-11-02T12:00:00Z";
    assert!(case("1900", noon).is_ok() && case("2026", noon).is_ok() && case("null", noon).is_ok());
    for year in ["1899", "2027", "60", "-1960"] {
        let text = case(year, noon).unwrap_err();
        assert!(
            text.contains("profile.birth_year: must be from 1900 to the year of now, 2026"),
            "{text}"
        );
    }
    assert!(case("2027", "2026-12-31T16:00:00Z").is_ok());
}

#[test]
fn a_byte_order_mark_is_passed_over_on_the_first_line_only() {
    let case = r#"{"id":1,"now":"2026-11-02T08:00:00Z","profile":{},"readings":[]}"#;
    let marked = format!("\u{feff}{case}");
    assert!(evaluate_line(rules(), 1, &marked).is_ok());
    assert!(evaluate_line(rules(), 2, &marked).is_err());
    let results: Vec<_> = evaluate_lines(rules(), &marked).collect();
    assert!(results.len() == 1 && results[0].is_ok());
    assert_eq!(evaluate_lines(rules(), "\u{feff}\n").count(), 0);
}
