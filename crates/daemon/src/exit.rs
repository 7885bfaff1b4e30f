//! Exit codes, and the outermost function of every program.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use crate::config::ConfigError;

/// Everything that was asked for was done.
pub const OK: u8 = 0;
/// The program failed, or stopped without having been asked.
pub const FAILURE: u8 = 1;
/// The command line was wrong. clap uses the same code.
pub const USAGE: u8 = 2;
/// The configuration was wrong (`EX_CONFIG` of BSD `sysexits.h`). Restarting does not help, and service managers can
/// be told so.
pub const CONFIG: u8 = 78;

/// How long the process waits at its end for work on the blocking pool, such as a commit under way.
const BLOCKING_GRACE: Duration = Duration::from_secs(5);

/// A wrong use of the command line that clap cannot see. [`run_main`] turns it into exit code [`USAGE`].
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// An [`ExitCode`] from one of the constants of this module.
pub fn code(code: u8) -> ExitCode {
    ExitCode::from(code)
}

/// Runs a program's body on a multi-threaded tokio runtime. An error is printed once, with its whole chain, to
/// standard error, and becomes the exit code that [`code_of`] names.
pub fn run_main<B, F>(body: B) -> ExitCode
where
    B: FnOnce() -> F,
    F: Future<Output = anyhow::Result<ExitCode>>,
{
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start the runtime\n  because: {error}");
            return ExitCode::from(FAILURE);
        }
    };
    let result = runtime.block_on(async move { body().await });
    runtime.shutdown_timeout(BLOCKING_GRACE);
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{}", describe(&error));
            ExitCode::from(code_of(&error))
        }
    }
}

/// The exit code for an error: [`CONFIG`] when a [`ConfigError`] is in its chain, [`USAGE`] for a [`UsageError`],
/// otherwise [`FAILURE`].
pub fn code_of(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        if cause.is::<ConfigError>() {
            return CONFIG;
        }
        if cause.is::<UsageError>() {
            return USAGE;
        }
    }
    FAILURE
}

/// The error and its causes, one a line.
fn describe(error: &anyhow::Error) -> String {
    let mut text = format!("error: {error}");
    for cause in error.chain().skip(1) {
        // Writing to a String cannot fail.
        write!(text, "\n  because: {cause}").expect("a String takes all text");
    }
    text
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn each_kind_of_error_has_its_code_however_deep_it_is() {
        let usage = anyhow::Error::from(UsageError("give one argument".to_owned())).context("cannot decode");
        let config = anyhow::Error::from(ConfigError::Invalid { problems: Vec::new() }).context("cannot start");
        assert_eq!(code_of(&usage), USAGE);
        assert_eq!(code_of(&config), CONFIG);
        assert_eq!(code_of(&anyhow::anyhow!("the disk is full")), FAILURE);
    }

    #[test]
    fn the_whole_chain_is_described_once() {
        let error = Err::<(), _>(std::io::Error::other("disk on fire"))
            .context("cannot open the spool")
            .context("cannot start")
            .unwrap_err();
        assert_eq!(
            describe(&error),
            "error: cannot start\n  because: cannot open the spool\n  because: disk on fire"
        );
    }

    #[test]
    fn the_body_decides_the_exit_code() {
        assert_eq!(run_main(|| async { Ok(code(OK)) }), ExitCode::SUCCESS);
        assert_eq!(run_main(|| async { Ok(code(USAGE)) }), ExitCode::from(USAGE));
        assert_eq!(run_main(|| async { anyhow::bail!("no") }), ExitCode::FAILURE);
    }
}
