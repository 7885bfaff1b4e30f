//! Making and ending connections, and what BlueZ says when it refuses.

use std::time::Duration;

use btleplug::api::Peripheral as _;
use btleplug::platform::Peripheral;
use carepost_daemon::CancellationToken;
use tokio::time::sleep;

use super::{LinkFault, LinkParts, within};
use crate::admit::chain;

/// Connects, trying several times. Leaves no connection behind when it fails.
pub(super) async fn connect(
    parts: &LinkParts,
    soft: &CancellationToken,
    peripheral: &Peripheral,
) -> Result<(), LinkFault> {
    let settings = parts.settings.clone();
    let mut pause_ms = settings.retry_ms;
    let mut tries_left = settings.connect_tries;
    loop {
        match within(settings.connect_ms, "connect", peripheral.connect()).await {
            Ok(()) => return Ok(()),
            Err(fault) => {
                // Also cancels a connection that is still being made.
                disconnect(parts, peripheral).await;
                tries_left = tries_left.saturating_sub(1);
                if tries_left == 0 || soft.is_cancelled() {
                    return Err(fault);
                }
                tracing::debug!(error = chain(&fault), tries_left, "connection failed");
            }
        }
        tokio::select! {
            () = sleep(jittered(pause_ms, parts.entropy.bytes())) => {}
            () = soft.cancelled() => {}
        }
        pause_ms = pause_ms.saturating_mul(2);
    }
}

/// Half to one and a half of the mean.
pub(super) fn jittered(mean_ms: u64, random: [u8; 2]) -> Duration {
    let spread = u64::from(u16::from_be_bytes(random));
    let extra = mean_ms.saturating_mul(spread) / u64::from(u16::MAX);
    Duration::from_millis((mean_ms / 2).saturating_add(extra))
}

/// Ends a connection, also one that is still being made.
pub(super) async fn disconnect(parts: &LinkParts, peripheral: &Peripheral) {
    if let Err(fault) = within(parts.settings.operation_ms, "disconnect", peripheral.disconnect()).await {
        tracing::debug!(error = chain(&fault), "disconnecting failed");
    }
}

/// The ATT error in BlueZ's words, which end in a hexadecimal code such as `ATT error: 0x80`.
pub(super) fn att_error(text: &str) -> Option<u8> {
    let (_, code) = text.rsplit_once("ATT error: 0x")?;
    let digits: String = code.chars().take_while(char::is_ascii_hexdigit).take(2).collect();
    u8::from_str_radix(&digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn att_errors_are_found_in_bluez_words() {
        assert_eq!(
            att_error("D-Bus error: Operation failed with ATT error: 0x80 (org.bluez.Error.Failed)"),
            Some(0x80)
        );
        assert_eq!(att_error("Operation failed with ATT error: 0xfe"), Some(0xFE));
        assert_eq!(att_error("Not paired"), None);
        assert_eq!(att_error("ATT error: 0x"), None);
    }

    #[test]
    fn pauses_vary_by_half() {
        assert_eq!(jittered(1_000, [0, 0]), Duration::from_millis(500));
        assert_eq!(jittered(1_000, [0xFF, 0xFF]), Duration::from_millis(1_500));
        assert!(jittered(u64::MAX, [0xFF, 0xFF]) > Duration::ZERO);
    }
}
