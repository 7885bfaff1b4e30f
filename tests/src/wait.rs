//! Waiting for a condition with a deadline, instead of sleeping.

use std::time::Duration;

use anyhow::bail;

/// How often a condition is asked. Short against every deadline, long against a busy core.
const PERIOD: Duration = Duration::from_millis(20);

/// Asks `condition` until it gives a value.
///
/// # Errors
/// When it gave none within `deadline`, with `what` was waited for; or at once, when asking itself failed.
pub async fn wait_for<T>(
    what: &str,
    deadline: Duration,
    mut condition: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let end = tokio::time::Instant::now() + deadline;
    loop {
        if let Some(value) = condition().await? {
            return Ok(value);
        }
        if tokio::time::Instant::now() >= end {
            bail!("waited {deadline:?} in vain for {what}");
        }
        tokio::time::sleep(PERIOD).await;
    }
}
