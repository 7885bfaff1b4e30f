//! Every layer, every kind of problem.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStringExt as _;

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::*;
use crate::secret::SecretText;
use crate::telemetry::LogFormat;

const PREFIX: &str = "CAREPOST_TEST_";

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    name: String,
    format: Option<LogFormat>,
    uplink: Uplink,
    meters: Vec<Meter>,
    limits: BTreeMap<String, u8>,
    window: Option<(u8, u8)>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Uplink {
    host: String,
    port: u16,
    ratio: f64,
    tls: bool,
    password: SecretText,
    since: Option<chrono::DateTime<chrono::Utc>>,
}

impl Default for Uplink {
    fn default() -> Self {
        Self {
            host: "localhost".to_owned(),
            port: 1883,
            ratio: 0.5,
            tls: false,
            password: SecretText::new("changeme".to_owned()),
            since: None,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Meter {
    address: String,
    #[serde(default)]
    channel: u8,
}

impl Validate for Config {
    fn validate(&self, problems: &mut Problems) {
        if self.name == "nobody" {
            problems.add("name", "must not be nobody");
        }
        problems.within("uplink", |problems| {
            if self.uplink.port < 1024 {
                problems.add("port", "must be at least 1024");
            }
            if self.uplink.host.is_empty() {
                problems.add("host", "must not be empty");
            }
        });
        for (number, meter) in self.meters.iter().enumerate() {
            problems.within(format!("meters.{number}"), |problems| {
                if meter.channel > 9 {
                    problems.add("channel", "must be from 0 to 9");
                }
            });
        }
    }
}

/// The layers of one test.
#[derive(Default)]
struct Layers {
    file: Option<(TempDir, PathBuf)>,
    environment: Vec<(OsString, OsString)>,
    overrides: Vec<(String, String)>,
}

impl Layers {
    fn file(mut self, text: impl AsRef<[u8]>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("test.toml");
        std::fs::write(&path, text).unwrap();
        self.file = Some((directory, path));
        self
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((format!("{PREFIX}{name}").into(), value.into()));
        self
    }

    fn flag(mut self, key: &str, value: &str) -> Self {
        self.overrides.push((key.to_owned(), value.to_owned()));
        self
    }

    fn load(&self) -> Result<Loaded<Config>, ConfigError> {
        let sources = Sources {
            file: self.file.as_ref().map(|(_, path)| path.clone()),
            env_prefix: PREFIX,
            overrides: self.overrides.clone(),
        };
        load_with_environment(sources, self.environment.clone())
    }

    fn config(&self) -> Config {
        self.load().unwrap().config
    }

    /// Key and message of every problem.
    fn problems(&self) -> Vec<(String, String)> {
        match self.load() {
            Err(ConfigError::Invalid { problems }) => problems
                .into_iter()
                .map(|problem| (problem.key, problem.message))
                .collect(),
            other => panic!("expected problems, got {other:?}"),
        }
    }

    fn keys(&self) -> Vec<String> {
        self.problems().into_iter().map(|(key, _)| key).collect()
    }
}

#[test]
fn without_layers_the_defaults_hold() {
    let config = Layers::default().config();
    assert_eq!((config.uplink.host.as_str(), config.uplink.port), ("localhost", 1883));
    assert!(config.meters.is_empty());
}

#[test]
fn each_layer_wins_over_the_one_below_it_and_leaves_other_keys_alone() {
    let layers = Layers::default().file("name = 'from file'\n[uplink]\nhost = 'file'\nport = 2001\ntls = true");
    let config = layers.config();
    assert_eq!(
        (config.uplink.host.as_str(), config.uplink.port, config.uplink.ratio),
        ("file", 2001, 0.5)
    );

    let layers = layers.env("UPLINK__PORT", "2002").env("UPLINK__HOST", "environment");
    let config = layers.config();
    assert_eq!((config.uplink.host.as_str(), config.uplink.port), ("environment", 2002));
    assert!(config.uplink.tls, "the file's key is still there");

    let layers = layers.flag("uplink.port", "2003").flag("uplink.port", "2004");
    let config = layers.config();
    assert_eq!((config.uplink.host.as_str(), config.uplink.port), ("environment", 2004));
    assert_eq!(config.name, "from file");
}

#[test]
fn the_environment_ignores_other_programs_and_its_own_order() {
    let mut layers = Layers::default()
        .env("UPLINK__PORT", "2002")
        .env("UPLINK", "{ port = 2001, host = 'table' }");
    layers.environment.push(("CAREPOST_OTHER_NAME".into(), "other".into()));
    layers.environment.push((OsString::from_vec(vec![0xff]), "x".into()));
    let config = layers.config();
    assert_eq!((config.uplink.host.as_str(), config.uplink.port), ("table", 2002));
    layers.environment.reverse();
    assert_eq!(layers.config().uplink.port, 2002);
}

#[test]
fn text_from_outside_becomes_what_the_field_is() {
    let config = Layers::default()
        .env("NAME", "007")
        .env("UPLINK__PASSWORD", "true")
        .env("FORMAT", "json")
        .env("UPLINK__TLS", "true")
        .env("UPLINK__RATIO", "2")
        .env("UPLINK__SINCE", "2026-03-01T12:00:00Z")
        .flag("uplink.host", "\"quoted host\"")
        .flag("meters", "[{ address = 'AA', channel = 3 }, { address = 'BB' }]")
        .flag("limits.front", "7")
        .config();
    assert_eq!(config.name, "007", "leading zeros of a text survive");
    assert_eq!(config.uplink.password.expose(), "true");
    assert_eq!(config.format, Some(LogFormat::Json));
    assert!(config.uplink.tls);
    assert_eq!(config.uplink.ratio, 2.0);
    assert_eq!(config.uplink.since, Some("2026-03-01T12:00:00Z".parse().unwrap()));
    assert_eq!(config.uplink.host, "quoted host");
    assert_eq!(config.meters.len(), 2);
    assert_eq!(config.limits["front"], 7);

    let config = Layers::default()
        .file("[uplink]\nsince = 2026-03-01T12:00:00Z")
        .config();
    assert!(config.uplink.since.is_some(), "TOML's own date-times are read");
    assert_eq!(
        Layers::default().env("NAME", "").config().name,
        "",
        "an empty variable is an empty text"
    );
}

#[test]
fn a_syntax_error_is_reported_alone_with_its_place_and_without_the_line() {
    let layers = Layers::default()
        .file("name = 'é'\n[uplink]\npassword = 'hunter2")
        .flag("nonsense", "1");
    let error = layers.load().unwrap_err();
    assert!(matches!(error, ConfigError::Syntax { line: 3, .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("test.toml is not valid TOML at line 3"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");

    let twice = Layers::default().file("name = 'a'\nname = 'b'").load().unwrap_err();
    assert!(
        matches!(twice, ConfigError::Syntax { line: 2, column: 1, .. }),
        "{twice:?}"
    );
}

#[test]
fn all_problems_are_reported_at_once_each_with_its_origin() {
    let layers = Layers::default()
        .file("name = 'nobody'\ncolour = 1\n[uplink]\nport = 'high'\ntls = 'perhaps'\n[[meters]]\naddress = 5\nchannel = 300")
        .env("UPLINK__RATIO", "much")
        .env("TYPO", "1")
        .flag("format", "xml")
        .flag("limits.front", "256");
    let Err(ConfigError::Invalid { problems }) = layers.load() else {
        panic!("expected problems");
    };
    let file = Origin::File(layers.file.as_ref().unwrap().1.clone());
    let variable = |name: &str| Origin::Environment(format!("{PREFIX}{name}"));
    let problem = |key: &str, origin: &Origin, message: &str| Problem::new(key.to_owned(), origin.clone(), message);
    let known = "is not a known key; allowed here: name, format, uplink, meters, limits, window";
    let mut expected = vec![
        problem("colour", &file, known),
        problem("typo", &variable("TYPO"), known),
        problem("format", &Origin::Flag, "must be one of text, json, and is \"xml\""),
        problem(
            "limits.front",
            &Origin::Flag,
            "must be a whole number from 0 to 255, and is 256",
        ),
        problem("meters.0.address", &file, "must be a text, and is a whole number"),
        problem(
            "meters.0.channel",
            &file,
            "must be a whole number from 0 to 255, and is 300",
        ),
        problem(
            "uplink.port",
            &file,
            "must be a whole number from 0 to 65535, and is a text",
        ),
        problem(
            "uplink.ratio",
            &variable("UPLINK__RATIO"),
            "must be a number, and is a text",
        ),
        problem("uplink.tls", &file, "must be true or false, and is a text"),
        problem("name", &file, "must not be nobody"),
    ];
    let by_key = |a: &Problem, b: &Problem| a.key.cmp(&b.key);
    let mut problems = problems;
    problems.sort_by(by_key);
    expected.sort_by(by_key);
    assert_eq!(problems, expected);
}

#[test]
fn the_summary_reads_as_a_list() {
    let error = Layers::default()
        .flag("uplink.port", "-1")
        .flag("nme\u{7}", "x")
        .load()
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the configuration has 2 problems:\n  \
         nme\\u{7} is not a known key; allowed here: name, format, uplink, meters, limits, window (command line)\n  \
         uplink.port must be a whole number from 0 to 65535, and is -1 (command line)"
    );
}

#[test]
fn a_stand_in_for_a_wrong_value_is_not_validated() {
    // The port is wrong and its stand-in is fine; the host is validated all the same.
    let layers = Layers::default().file("[uplink]\nport = 'x'\nhost = ''");
    assert_eq!(layers.keys(), ["uplink.port", "uplink.host"]);

    // A whole section of the wrong kind is one problem.
    assert_eq!(Layers::default().file("uplink = 5").keys(), ["uplink"]);
    assert_eq!(Layers::default().flag("uplink", "[]").keys(), ["uplink"]);
}

#[test]
fn a_list_is_no_table_and_must_be_read_to_its_end() {
    assert_eq!(
        Layers::default().file("window = [8, 20]").config().window,
        Some((8, 20))
    );
    let complain = |text: &str| Layers::default().file(text).problems().remove(0);
    assert_eq!(complain("window = [8, 20, 4]").1, "must have 2 elements, and has 3");
    assert_eq!(complain("window = [8]").0, "window");
    assert_eq!(complain("uplink = ['host', 80]").1, "must be a table, and is a list");
    assert_eq!(complain("meters = [['AA', 1]]").0, "meters.0");
}

#[test]
fn elements_of_lists_keep_their_numbers_after_others_were_set_aside() {
    let layers = Layers::default().file(
        "[[meters]]\nchannel = 1\n[[meters]]\naddress = 'B'\n[[meters]]\naddress = 'C'\ncolour = 1\n\
         [[meters]]\naddress = 'D'\nchannel = 12",
    );
    // Element 3 would be validated under a wrong number, and waits until the others are mended.
    assert_eq!(layers.keys(), ["meters.0.address", "meters.2.colour"]);
    let (_, message) = layers.problems().remove(0);
    assert_eq!(message, "is missing and has no default");

    let layers = Layers::default().file("[[meters]]\naddress = 'A'\n[[meters]]\naddress = 'B'\nchannel = 12");
    assert_eq!(layers.keys(), ["meters.1.channel"]);
}

#[test]
fn validation_names_the_layer_that_is_to_blame() {
    let layers = Layers::default()
        .file("[uplink]\nport = 5000")
        .env("UPLINK__PORT", "80");
    let Err(ConfigError::Invalid { problems }) = layers.load() else {
        panic!("expected a problem");
    };
    assert_eq!(
        problems[0].origin,
        Origin::Environment("CAREPOST_TEST_UPLINK__PORT".to_owned())
    );
    assert_eq!(problems.len(), 1);
}

#[test]
fn malformed_keys_are_problems_of_their_own() {
    let deep = vec!["a"; 100_000].join("__");
    let mut layers = Layers::default()
        .env("", "1")
        .env("UPLINK____PORT", "1")
        .env(&deep, "1")
        .flag("uplink..port", "1")
        .flag(&vec!["a"; 100_000].join("."), "1");
    layers
        .environment
        .push((format!("{PREFIX}NAME").into(), OsString::from_vec(vec![0xff])));
    let messages: Vec<String> = layers.problems().into_iter().map(|(_, message)| message).collect();
    let (empty, deep) = ("has an empty part", "has more than 16 parts");
    assert_eq!(messages, [empty, "is not valid UTF-8", empty, deep, empty, deep]);
}

#[test]
fn nesting_and_size_are_bounded() {
    let brackets = format!("name = {}", "[".repeat(100_000));
    assert!(matches!(
        Layers::default().file(&brackets).load(),
        Err(ConfigError::Syntax { .. })
    ));
    let value = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(
        Layers::default().flag("name", &value).config().name,
        value,
        "what is not TOML is text"
    );

    let large = vec![b'#'; usize::try_from(MAX_FILE_BYTES).unwrap() + 1];
    assert!(matches!(
        Layers::default().file(&large).load(),
        Err(ConfigError::TooLarge { .. })
    ));
    assert!(Layers::default().file(&large[1..]).load().is_ok());

    let many: String = (0..5_000).map(|number| format!("k{number} = 1\n")).collect();
    assert_eq!(Layers::default().file(many).keys().len(), MAX_PROBLEMS);
}

#[test]
fn a_named_file_must_be_readable_text() {
    let sources = |file: &str| Sources {
        file: Some(file.into()),
        env_prefix: PREFIX,
        overrides: Vec::new(),
    };
    let error = load_with_environment::<Config>(sources("/nowhere/at/all.toml"), []).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot read the configuration file /nowhere/at/all.toml"
    );
    assert!(matches!(
        Layers::default().file([0xff, 0xfe]).load(),
        Err(ConfigError::Read { .. })
    ));
    let directory = tempfile::tempdir().unwrap();
    let error = load_with_environment::<Config>(sources(directory.path().to_str().unwrap()), []).unwrap_err();
    assert!(matches!(error, ConfigError::Read { .. }));
}

#[test]
fn secrets_appear_neither_in_print_nor_in_problems() {
    let layers = Layers::default()
        .file("[uplink]\npassword = 'hunter2'")
        .env("UPLINK__PORT", "2000");
    let loaded = layers.load().unwrap();
    assert_eq!(loaded.config.uplink.password.expose(), "hunter2");
    assert!(
        loaded.effective.contains("password = \"[redacted]\""),
        "{}",
        loaded.effective
    );
    assert!(loaded.effective.contains("port = 2000"), "{}", loaded.effective);
    assert!(!format!("{loaded:?}").contains("hunter2"));

    let wrong = Layers::default()
        .file("[uplink]\npassword = 4711\nhost = ''\ntls = 'hunter2'")
        .load()
        .unwrap_err();
    assert!(
        !wrong.to_string().contains("4711") && !wrong.to_string().contains("hunter2"),
        "{wrong}"
    );
}

#[test]
fn the_printed_configuration_can_be_read_back_but_for_its_secrets() {
    let printed = Layers::default().flag("uplink.port", "2000").load().unwrap().effective;
    let (key, message) = Layers::default().file(&printed).problems().remove(0);
    assert_eq!(key, "uplink.password");
    assert!(message.contains("placeholder"), "{message}");
    let again = Layers::default().file(&printed).flag("uplink.password", "p").config();
    assert_eq!(again.uplink.port, 2000);
}

#[test]
fn a_required_value_at_the_top_is_named() {
    #[derive(Debug, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Strict {
        id: u8,
        name: String,
    }
    impl Validate for Strict {
        fn validate(&self, _problems: &mut Problems) {}
    }
    let sources = |overrides: &[(&str, &str)]| Sources {
        file: None,
        env_prefix: PREFIX,
        overrides: overrides
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
    };
    let error = load_with_environment::<Strict>(sources(&[("name", "x")]), []).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("id is missing and has no default (default)"),
        "{error}"
    );
    // A wrong value is not also called missing.
    let Err(ConfigError::Invalid { problems }) =
        load_with_environment::<Strict>(sources(&[("id", "x"), ("name", "x")]), [])
    else {
        panic!("expected a problem");
    };
    assert_eq!(problems.len(), 1, "{problems:?}");
}
