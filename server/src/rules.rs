//! The clinical rules in force: a file, or the set that is built in.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use carepost_daemon::ConfigError;
use carepost_daemon::config::{Origin, Problem};
use carepost_domain::care::rule_set::RuleSet;

use crate::config::RulesConfig;

/// Largest rule file. The built-in one has some tens of kilobytes.
pub const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The rule set that the configuration names.
///
/// # Errors
/// As [`read`].
pub fn load(config: &RulesConfig) -> Result<RuleSet, ConfigError> {
    if config.file.as_os_str().is_empty() {
        Ok(RuleSet::cn_2024())
    } else {
        read(&config.file)
    }
}

/// Reads a rule file.
///
/// # Errors
/// When it cannot be read, is too large, or is no rule set; then with everything that is wrong in it.
pub fn read(file: &Path) -> Result<RuleSet, ConfigError> {
    let unreadable = |source| ConfigError::Read {
        path: file.to_owned(),
        source,
    };
    let mut text = String::new();
    // One byte over the limit is enough to know that the file is over it.
    File::open(file)
        .map_err(unreadable)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(ConfigError::TooLarge {
            path: file.to_owned(),
            limit_bytes: MAX_FILE_BYTES,
        });
    }
    RuleSet::parse(&text).map_err(|errors| ConfigError::Invalid {
        problems: errors
            .problems
            .into_iter()
            .map(|problem| Problem {
                key: problem.key,
                origin: Origin::File(file.to_owned()),
                message: problem.message,
            })
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_rules_are_in_force_unless_a_file_is_named() {
        assert_eq!(load(&RulesConfig::default()).unwrap().reference.id, "cn-2024");
        let missing = RulesConfig {
            file: "no-such-rules.toml".into(),
        };
        assert!(matches!(load(&missing), Err(ConfigError::Read { .. })));
    }

    #[test]
    fn a_file_that_is_no_rule_set_says_all_that_is_wrong() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("rules.toml");
        std::fs::write(&file, "nonsense = 1\n").unwrap();
        let Err(ConfigError::Invalid { problems }) = read(&file) else {
            panic!("it was taken")
        };
        assert!(problems.len() > 1, "{problems:?}");
    }
}
