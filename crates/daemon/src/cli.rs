//! The command-line arguments that all programs share.
//!
//! A program flattens [`CommonArgs`] into its `clap::Parser`; they are accepted before and after a subcommand. `--log`
//! and `--log-format` set the keys `log.filter` and `log.format`, so that a program's configuration holds a
//! [`LogSettings`](crate::LogSettings) section named `log`.

use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::{self, ConfigError, Loaded, Sources, Validate};
use crate::telemetry::LogFormat;

#[expect(
    missing_docs,
    reason = "clap shows a doc comment of flattened arguments instead of the program's own description"
)]
#[derive(Args, Clone, Debug, Default)]
pub struct CommonArgs {
    /// Read the configuration from FILE.
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,

    /// Set one key of the configuration, for example uplink.port=1883; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = parse_override, global = true)]
    pub overrides: Vec<(String, String)>,

    /// Print the effective configuration, with secrets redacted, and exit.
    #[arg(long, global = true)]
    pub print_config: bool,

    /// Choose what is logged, for example info or info,carepost_gateway=debug.
    #[arg(long, value_name = "FILTER", global = true)]
    pub log: Option<String>,

    /// Choose the form of log lines.
    #[arg(long, value_name = "FORMAT", value_enum, global = true)]
    pub log_format: Option<LogFormat>,
}

impl CommonArgs {
    /// The layers of configuration that these arguments name. `env_prefix` is the whole prefix with its last
    /// underscore, for example `CAREPOST_GATEWAY_`.
    pub fn sources<'a>(&self, env_prefix: &'a str) -> Sources<'a> {
        let mut overrides = self.overrides.clone();
        if let Some(filter) = &self.log {
            overrides.push(("log.filter".to_owned(), filter.clone()));
        }
        if let Some(format) = self.log_format {
            overrides.push(("log.format".to_owned(), format.name().to_owned()));
        }
        Sources {
            file: self.config.clone(),
            env_prefix,
            overrides,
        }
    }

    /// Loads the configuration from the layers that these arguments name.
    ///
    /// # Errors
    /// As [`config::load`].
    pub fn load<T>(&self, env_prefix: &str) -> Result<Loaded<T>, ConfigError>
    where
        T: DeserializeOwned + Serialize + Validate,
    {
        config::load(self.sources(env_prefix))
    }
}

/// Writes text to standard output. A reader that went away, as `head` does, is not an error.
///
/// # Errors
/// When standard output cannot be written for another reason.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

fn parse_override(argument: &str) -> Result<(String, String), String> {
    match argument.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err("write KEY=VALUE, for example uplink.port=1883".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser, Subcommand};

    use super::*;

    #[derive(Parser)]
    #[command(about = "The program's own description.")]
    struct Cli {
        #[command(flatten)]
        common: CommonArgs,
        #[command(subcommand)]
        command: Option<Command>,
    }

    #[derive(Subcommand)]
    enum Command {
        Run,
    }

    #[test]
    fn the_arguments_fit_together() {
        Cli::command().debug_assert();
        let help = Cli::command().render_long_help().to_string();
        assert!(help.starts_with("The program's own description."), "{help}");
    }

    #[test]
    fn arguments_become_overrides_in_order_before_and_after_a_subcommand() {
        let cli = Cli::try_parse_from([
            "program",
            "--set",
            "a.b = x=y",
            "run",
            "--log",
            "debug",
            "--log-format",
            "json",
            "--config",
            "f.toml",
        ])
        .unwrap();
        assert!(matches!(cli.command, Some(Command::Run)));
        let sources = cli.common.sources("P_");
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(
            sources.overrides,
            [
                pair("a.b", "x=y"),
                pair("log.filter", "debug"),
                pair("log.format", "json")
            ]
        );
        assert_eq!(sources.file, Some(PathBuf::from("f.toml")));
    }

    #[test]
    fn an_override_without_a_key_or_a_value_is_a_usage_error() {
        for argument in ["a.b", "=1", " = 1"] {
            let Err(error) = Cli::try_parse_from(["program", "--set", argument]) else {
                panic!("{argument:?} was accepted");
            };
            assert_eq!(error.exit_code(), i32::from(crate::exit::USAGE));
        }
    }
}
