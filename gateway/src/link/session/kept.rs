//! Notification sessions that outlive their links: some cuffs forget their bond when a subscription is taken back (page 3,
//! section 3.2), so that the same process keeps the same `Peripheral` and its stream open, and the Bluetooth service takes
//! the subscription up again as soon as the next link stands.

use btleplug::api::{Characteristic, Peripheral as _, ValueNotification};
use btleplug::platform::Peripheral;
use carepost_domain::meter::MeterKind;
use futures_util::{FutureExt as _, StreamExt as _};

use super::{Session, SessionParts, TAKE, Values};
use crate::admit::chain;
use crate::link::{LinkFault, within};
use crate::spool::Disposition;

/// A session without a link.
pub(in crate::link) struct Kept {
    peripheral: Peripheral,
    values: Values,
    /// What it heard since the last link.
    early: Vec<ValueNotification>,
}

impl Kept {
    pub(super) fn new(peripheral: Peripheral, values: Values, early: Vec<ValueNotification>) -> Self {
        Self {
            peripheral,
            values,
            early,
        }
    }

    /// The handle that the session belongs to.
    pub(in crate::link) fn peripheral(&self) -> Peripheral {
        self.peripheral.clone()
    }

    /// Takes what the stream holds, which would fill memory otherwise, and says whether the meter sent something: then it
    /// is connected without our doing.
    pub(in crate::link) fn drain(&mut self) -> bool {
        while self.early.len() < TAKE {
            match self.values.next().now_or_never() {
                Some(Some(value)) => self.early.push(value),
                Some(None) | None => break,
            }
        }
        !self.early.is_empty()
    }

    /// The parts, for the next link; nothing was missed meanwhile.
    pub(super) fn resume(self) -> (Peripheral, Values, Vec<ValueNotification>, bool) {
        (self.peripheral, self.values, self.early, true)
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
    /// A meter whose session was kept has its subscription on while nobody here holds that session, such as after a
    /// restart: what it sent on this link before we subscribed again is lost.
    pub(super) async fn note_gap_of_lost_session(&mut self) -> Result<(), LinkFault> {
        let spool = self.parts.link.spool.clone();
        if !self.talk.keep_session || !spool.keeps_session(self.meter.id).await? {
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
}
