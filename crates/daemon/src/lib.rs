//! Carepost's process kit: what every program needs before it does anything of its own.
//!
//! It knows nothing of meters, people or messages, and uses no other crate of the workspace.
//!
//! - [`Clock`] and [`Entropy`]: the only places that ask the operating system for the time and for random bytes.
//! - [`config`]: defaults < file < environment < flags, with all problems reported at once.
//! - [`cli`]: the arguments that all programs share.
//! - [`exit`]: exit codes, and the outermost function of a program.
//! - [`telemetry`]: logs to standard error.
//! - [`Lifecycle`]: the supervisor of long-lived tasks and the two-stage stop.
//! - [`notify`]: readiness, stopping and watchdog for the service manager.
//!
//! A program fits together like this:
//!
//! ```no_run
//! use carepost_daemon::config::{Problems, Validate};
//! use carepost_daemon::{CommonArgs, Lifecycle, LifecycleSettings, LogSettings, cli, exit, telemetry};
//! use clap::Parser;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Parser)]
//! #[command(version, about = "An example.")]
//! struct Cli {
//!     #[command(flatten)]
//!     common: CommonArgs,
//! }
//!
//! #[derive(Default, Serialize, Deserialize)]
//! #[serde(default, deny_unknown_fields)]
//! struct Config {
//!     log: LogSettings,
//!     lifecycle: LifecycleSettings,
//! }
//!
//! impl Validate for Config {
//!     fn validate(&self, problems: &mut Problems) {
//!         problems.within("log", |problems| self.log.validate(problems));
//!         problems.within("lifecycle", |problems| self.lifecycle.validate(problems));
//!     }
//! }
//!
//! async fn run(cli: Cli) -> anyhow::Result<std::process::ExitCode> {
//!     let loaded = cli.common.load::<Config>("CAREPOST_EXAMPLE_")?;
//!     if cli.common.print_config {
//!         cli::print(&loaded.effective)?;
//!         return Ok(exit::code(exit::OK));
//!     }
//!     telemetry::init(&loaded.config.log)?;
//!     let mut lifecycle = Lifecycle::new(&loaded.config.lifecycle)?;
//!     let soft = lifecycle.soft();
//!     lifecycle.spawn("idle", async move {
//!         soft.cancelled().await;
//!         Ok(())
//!     });
//!     Ok(lifecycle.run_until_stopped().await.exit_code())
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     let cli = Cli::parse();
//!     exit::run_main(|| run(cli))
//! }
//! ```

pub mod cli;
pub mod clock;
pub mod config;
pub mod entropy;
pub mod exit;
pub mod lifecycle;
pub mod notify;
pub mod secret;
pub mod telemetry;

pub use cli::CommonArgs;
pub use clock::{Clock, ManualClock};
pub use config::{ConfigError, Loaded, Problems, Sources, Validate};
pub use entropy::Entropy;
pub use exit::run_main;
pub use lifecycle::{Lifecycle, LifecycleError, LifecycleSettings, StopReason, StopReport, Stopper};
pub use secret::SecretText;
pub use telemetry::{LogFormat, LogSettings};
pub use tokio_util::sync::CancellationToken;
