//! Logs to standard error, as text or as one JSON object a line.

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

use crate::config::{Problems, Validate};

/// The `log` section of every program's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// What is logged, in the filter language of tracing-subscriber: `info`, or `info,carepost_gateway=debug`.
    pub filter: String,
    /// The form of a line.
    pub format: LogFormat,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            filter: "info".to_owned(),
            format: LogFormat::Text,
        }
    }
}

impl Validate for LogSettings {
    fn validate(&self, problems: &mut Problems) {
        if let Err(error) = parse(&self.filter) {
            problems.add(
                "filter",
                format!("is not a log filter: {error}; write for example \"info\" or \"info,carepost_gateway=debug\""),
            );
        }
    }
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line for people.
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

impl LogFormat {
    /// The name in configuration and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// What is wrong with a log filter.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// The filter language's parser panics on some of these (tracing-subscriber 0.3.23), and no name of ours needs them.
    #[error("it has characters that are not ASCII")]
    NotAscii,
    /// It is not in the filter language.
    #[error(transparent)]
    Syntax(#[from] tracing_subscriber::filter::ParseError),
}

fn parse(filter: &str) -> Result<EnvFilter, FilterError> {
    if !filter.is_ascii() {
        return Err(FilterError::NotAscii);
    }
    Ok(EnvFilter::try_new(filter)?)
}

/// Why logging could not be started.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not in the filter language.
    #[error("cannot read the log filter {filter:?}")]
    Filter {
        /// The filter as configured.
        filter: String,
        /// What is wrong with it.
        source: FilterError,
    },
    /// A subscriber is installed already.
    #[error("cannot start logging twice in one process")]
    Installed {
        /// The subscriber's own words.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Starts logging to standard error for the whole process.
///
/// # Errors
/// When the filter cannot be read, or when logging was started before.
pub fn init(settings: &LogSettings) -> Result<(), TelemetryError> {
    let filter = parse(&settings.filter).map_err(|source| TelemetryError::Filter {
        filter: settings.filter.clone(),
        source,
    })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match settings.format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().try_init(),
    }
    .map_err(|source| TelemetryError::Installed { source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems_of(filter: &str) -> usize {
        let mut problems = Problems::default();
        LogSettings {
            filter: filter.to_owned(),
            ..LogSettings::default()
        }
        .validate(&mut problems);
        problems.len()
    }

    #[test]
    fn a_filter_is_checked_before_logging_starts() {
        assert_eq!(problems_of("info"), 0);
        assert_eq!(problems_of("warn,carepost_daemon=trace"), 0);
        assert_eq!(problems_of("info,carepost_daemon=loud"), 1);
        // Cut in the middle of a character by the parser.
        assert_eq!(problems_of("debclear `\u{fffd}, 6\u{fffd}"), 1);
        assert_eq!(problems_of("调试"), 1);
    }

    #[test]
    fn names_are_those_of_the_configuration() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let text = format!("filter = 'info'\nformat = '{}'", format.name());
            assert_eq!(toml::from_str::<LogSettings>(&text).unwrap().format, format);
        }
    }

    #[test]
    fn logging_starts_once_and_says_so_when_asked_again() {
        let bad = LogSettings {
            filter: "a=b=c".to_owned(),
            format: LogFormat::Text,
        };
        assert!(matches!(init(&bad), Err(TelemetryError::Filter { .. })));
        init(&LogSettings {
            filter: "error".to_owned(),
            format: LogFormat::Json,
        })
        .unwrap();
        assert!(matches!(
            init(&LogSettings::default()),
            Err(TelemetryError::Installed { .. })
        ));
    }
}
