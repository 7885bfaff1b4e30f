//! Notification sessions that outlive their links: some cuffs forget their bond when a subscription is taken back (page 3,
//! section 3.2), and a bonded meter that has hung up by itself has its subscription on still, whatever is done here. Then
//! the same process keeps the same `Peripheral` and its stream open, and the Bluetooth service takes the subscription up
//! again as soon as the next link stands, before the meter's first indication.

use std::sync::Arc;
use std::time::Duration;

use btleplug::api::{Characteristic, Peripheral as _};
use btleplug::platform::Peripheral;
use carepost_daemon::Clock;
use carepost_domain::meter::{Meter, MeterKind};
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::goodbye::STRAGGLERS;
use super::opening::{Open, Value};
use super::{Session, SessionParts, TAKE, Values, as_known};
use crate::admit::chain;
use crate::link::capture::Message;
use crate::link::connect::is_in_progress;
use crate::link::{LinkFault, LinkParts, within};
use crate::spool::{Disposition, LinkEnd};

/// A handle with its stream, between links.
pub(in crate::link) struct Kept {
    pub(super) peripheral: Peripheral,
    pub(super) values: Values,
    /// The Bluetooth service has a notification session of ours for it.
    pub(super) stands: bool,
    /// The session is never given up, so that no other adapter may read the meter.
    pub(super) for_good: bool,
    /// What it heard since the last link.
    early: Vec<Value>,
    /// When it had heard nothing yet, by the monotonic clock.
    since: Duration,
}

impl Kept {
    pub(super) fn new(peripheral: Peripheral, values: Values, clock: &Clock) -> Self {
        Self {
            peripheral,
            values,
            stands: false,
            for_good: false,
            early: Vec::new(),
            since: clock.monotonic(),
        }
    }

    /// The handle that the session belongs to.
    pub(in crate::link) fn peripheral(&self) -> Peripheral {
        self.peripheral.clone()
    }

    /// Whether it binds the meter to its adapter.
    pub(in crate::link) fn is_for_good(&self) -> bool {
        self.for_good
    }

    /// Takes what the stream holds, which would fill memory otherwise, and says whether the meter sent something: then it
    /// is connected without our doing.
    pub(in crate::link) fn drain(&mut self, clock: &Clock) -> bool {
        let (received_at, heard) = (clock.now(), clock.monotonic());
        while self.early.len() < TAKE {
            match self.values.next().now_or_never() {
                Some(Some(value)) => {
                    if let Some((characteristic, raw)) = as_known(value) {
                        self.early.push(Value {
                            characteristic,
                            raw,
                            received_at,
                            heard,
                        });
                    }
                }
                Some(None) | None => break,
            }
        }
        if self.early.is_empty() {
            self.since = heard;
        }
        self.has_heard()
    }

    /// Whether something waits to be written down.
    pub(super) fn has_heard(&self) -> bool {
        !self.early.is_empty()
    }

    /// Its session went with the Bluetooth service. A link may have stood before the service had said so, on which the meter
    /// sent something; its subscription may be on still, which the next link must know.
    pub(super) async fn lose_session(&mut self, parts: &SessionParts, meter: &Meter) {
        if !std::mem::take(&mut self.stands) {
            return;
        }
        sleep(STRAGGLERS).await;
        self.drain(&parts.link.clock);
        if let Err(error) = parts.link.spool.set_keeps_session(meter.id).await {
            tracing::warn!(meter.id = %meter.id, error = chain(&error), "whether its session is kept is not noted");
        }
    }

    /// When it had heard nothing yet.
    pub(super) fn since(&self) -> Duration {
        self.since
    }

    /// What it heard, to be written down now.
    pub(super) fn take_early(&mut self) -> Vec<Value> {
        std::mem::take(&mut self.early)
    }

    /// Writes down what was heard, if anything was, as a link of its own that the meter ended. To be called when nobody will
    /// listen any more.
    pub(in crate::link) async fn write_down(
        &mut self,
        link: &LinkParts,
        packets: &mpsc::Sender<Message>,
        meter: &Arc<Meter>,
    ) -> Result<(), LinkFault> {
        while self.drain(&link.clock) {
            let open = Open::new(link, packets, meter, self.since, self.since).await?;
            for value in self.take_early() {
                open.hand_on(value).await?;
            }
            // A stop of the program waits for the capture task, which has it in its queue.
            drop(open.close(LinkEnd::HungUp));
        }
        Ok(())
    }
}

/// Subscribes before the link stands, which works while the Bluetooth service still shows the objects of a bonded meter.
/// True if nothing that the meter sends on the coming link can be missed.
pub(super) async fn subscribe_early(parts: &SessionParts, kind: MeterKind, peripheral: &Peripheral) -> bool {
    let limit = parts.link.settings.operation_ms;
    let discovered = within(
        limit,
        "look for a meter's known services",
        peripheral.discover_services(),
    )
    .await;
    if discovered.is_err() {
        return false;
    }
    let Some(found) = find(peripheral, kind.service(), kind.characteristic()) else {
        return false;
    };
    match within(limit, "subscribe before the link", peripheral.subscribe(&found)).await {
        Ok(()) => true,
        // Without a link nothing is under way but a session of ours that waits for the next one.
        Err(fault) if is_in_progress(&chain(&fault)) => true,
        Err(fault) => {
            tracing::debug!(error = chain(&fault), "no subscription before the link");
            false
        }
    }
}

/// A characteristic that the handle has discovered.
pub(super) fn find(peripheral: &Peripheral, service: u16, characteristic: u16) -> Option<Characteristic> {
    use btleplug::api::bleuuid::uuid_from_u16;
    let (service, characteristic) = (uuid_from_u16(service), uuid_from_u16(characteristic));
    peripheral
        .characteristics()
        .into_iter()
        .find(|found| found.service_uuid == service && found.uuid == characteristic)
}

impl Session {
    /// A meter whose subscription was left on, while nobody here held its session when the link came, such as after a
    /// restart: what it sent on this link before we subscribed again is lost.
    pub(super) async fn note_gap_of_lost_session(&mut self) -> Result<(), LinkFault> {
        let spool = self.parts.link.spool.clone();
        if self.whole || !spool.keeps_session(self.meter.id).await? {
            return Ok(());
        }
        // A meter keeps subscriptions with the bond, and without one it forgets them.
        if !self.talk.keep_session && self.parts.is_bonded().await != Some(true) {
            return Ok(());
        }
        tracing::error!(meter.id = %self.meter.id, "a reading may be lost: check the cuff's own memory");
        match spool.note_gap(self.meter.id, self.parts.link.clock.now()).await {
            Err(error) if error.disposition() == Disposition::Retry => {
                tracing::warn!(meter.id = %self.meter.id, error = chain(&error), "the possible gap is not noted");
                Ok(())
            }
            other => Ok(other?),
        }
    }

    /// Notes whether the meter's subscription may be on while there is no link.
    pub(super) async fn note_session(&mut self, left_on: bool) {
        let spool = self.parts.link.spool.clone();
        let noted = if left_on {
            spool.set_keeps_session(self.meter.id).await
        } else {
            spool.forget_kept_session(self.meter.id).await
        };
        if let Err(error) = noted {
            tracing::warn!(meter.id = %self.meter.id, error = chain(&error), "whether its session is kept is not noted");
        }
    }
}
