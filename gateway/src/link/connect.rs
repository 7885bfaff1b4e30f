//! Making and ending connections, and what BlueZ says when it refuses.

use std::time::Duration;

use btleplug::api::Peripheral as _;
use btleplug::platform::Peripheral;
use carepost_daemon::CancellationToken;
use carepost_domain::meter::{Meter, MeterRole};
use tokio::time::sleep;

use super::{LinkFault, LinkParts, within};
use crate::admit::chain;

/// Connects, trying several times. Leaves no connection behind when it fails.
///
/// Gives the instant, by the monotonic clock, before which the link cannot have stood: the service says that a meter is
/// connected only when it has looked through all of its services, and a meter may send for seconds by then. The desk is told
/// of a shared meter as early, so that nobody sits down in between.
pub(super) async fn connect(
    parts: &LinkParts,
    soft: &CancellationToken,
    meter: &Meter,
    peripheral: &Peripheral,
) -> Result<Duration, LinkFault> {
    let settings = parts.settings.clone();
    let shared = meter.role == MeterRole::StoreShared;
    let mut pause_ms = settings.retry_ms;
    let mut tries_left = settings.connect_tries;
    let mut not_before = None;
    if shared {
        // A link that somebody else made may have stood for as long as this program runs.
        let asked = within(
            settings.probe_ms,
            "ask whether a meter is connected",
            peripheral.is_connected(),
        );
        not_before = matches!(asked.await, Ok(true)).then_some(Duration::ZERO);
    }
    loop {
        if shared {
            parts.desk.meter_connected(meter.id, meter.kind);
        }
        let began = *not_before.get_or_insert_with(|| parts.clock.monotonic());
        match within(settings.connect_ms, "connect", peripheral.connect()).await {
            Ok(()) => return Ok(began),
            Err(fault) => {
                // Also cancels a connection that is still being made. Where that fails, one may stand from now on.
                if disconnect(parts, peripheral).await {
                    not_before = None;
                    parts.desk.meter_disconnected(meter.id);
                }
                tries_left = tries_left.saturating_sub(1);
                if tries_left == 0 || soft.is_cancelled() {
                    return Err(fault);
                }
                tracing::debug!(error = chain(&fault), tries_left, "connection failed");
                tokio::select! {
                    () = sleep(jittered(pause_ms, parts.entropy.bytes())) => {}
                    () = soft.cancelled() => return Err(fault),
                }
            }
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

/// Ends a connection, also one that is still being made. Answers whether there is none now, as far as the service says.
pub(super) async fn disconnect(parts: &LinkParts, peripheral: &Peripheral) -> bool {
    match within(parts.settings.operation_ms, "disconnect", peripheral.disconnect()).await {
        Ok(()) => true,
        Err(fault) => {
            tracing::debug!(error = chain(&fault), "disconnecting failed");
            false
        }
    }
}

/// Whether the service refused because the same is being done already (`org.bluez.Error.InProgress`).
pub(super) fn is_in_progress(text: &str) -> bool {
    text.contains("Error.InProgress")
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
    fn what_is_being_done_already_is_known_by_its_name() {
        assert!(is_in_progress(
            "cannot subscribe: D-Bus error: In Progress (org.bluez.Error.InProgress)"
        ));
        assert!(!is_in_progress(
            "cannot subscribe: D-Bus error: Not paired (org.bluez.Error.NotPermitted)"
        ));
    }

    #[test]
    fn pauses_vary_by_half() {
        assert_eq!(jittered(1_000, [0, 0]), Duration::from_millis(500));
        assert_eq!(jittered(1_000, [0xFF, 0xFF]), Duration::from_millis(1_500));
        assert!(jittered(u64::MAX, [0xFF, 0xFF]) > Duration::ZERO);
    }
}
