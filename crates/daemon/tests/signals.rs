//! Real signals to a real process: this test sends them to itself, which is why it is alone in its program.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::process::{Command, ExitCode};
use std::time::Duration;

use carepost_daemon::{Lifecycle, LifecycleSettings, StopReason};

fn send(signal: &str) {
    let status = Command::new("sh")
        .args(["-c", &format!("kill -{signal} {}", std::process::id())])
        .status()
        .unwrap();
    assert!(status.success());
}

#[tokio::test]
async fn sigterm_stops_softly_and_a_second_signal_stops_now() {
    // The deadline is far away: only the signals can end this test in time.
    let settings = LifecycleSettings {
        stop_deadline_ms: LifecycleSettings::MAX_STOP_DEADLINE_MS,
    };
    let mut lifecycle = Lifecycle::new(&settings).unwrap();
    let (soft, hard) = (lifecycle.soft(), lifecycle.hard());
    lifecycle.spawn("witness", async move {
        send("TERM");
        soft.cancelled().await;
        anyhow::ensure!(!hard.is_cancelled(), "the first signal brought the hard stage");
        send("INT");
        hard.cancelled().await;
        Ok(())
    });
    let report = tokio::time::timeout(Duration::from_secs(30), lifecycle.run_until_stopped())
        .await
        .unwrap();
    assert!(
        matches!(
            report.reason,
            StopReason::Requested {
                signal: Some("SIGTERM")
            }
        ),
        "{report:?}"
    );
    assert_eq!(report.exit_code(), ExitCode::SUCCESS, "{report:?}");
}
