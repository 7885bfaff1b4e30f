//! What a meter says of itself, read once for each firmware, and the entry of the quirk table that follows from it.

use btleplug::api::Peripheral as _;
use carepost_domain::meter::Meter;
use carepost_domain::quirks::{QuirkTable, TalkQuirks};
use carepost_gatt::device_information::Text;
use carepost_gatt::uuid16;

use super::{Session, SessionParts};
use crate::admit::chain;
use crate::link::{LinkFault, within};
use crate::spool::{Disposition, Named, SpoolError, talk_traits};

/// How to talk to a meter, by what is known of it before the link.
pub(super) async fn known_talk(parts: &SessionParts, meter: &Meter) -> Result<TalkQuirks, SpoolError> {
    let named = parts.link.spool.named(meter.id).await?;
    Ok(talk_of(parts, meter, named.as_ref()))
}

fn talk_of(parts: &SessionParts, meter: &Meter, named: Option<&Named>) -> TalkQuirks {
    let mut traits = talk_traits(
        meter,
        named.map(|named| named.manufacturer.as_str()),
        named.map(|named| named.model.as_str()),
        named.map(|named| named.firmware.as_str()),
    );
    traits.name = &parts.seen.name;
    // A registered meter has the service of its kind, whether it says so on the air or not.
    let mut services = parts.seen.services.clone();
    services.push(uuid16::to_uuid128(meter.kind.service()));
    traits.services = &services;
    QuirkTable::current()
        .find(&traits)
        .map(|quirk| quirk.talk)
        .unwrap_or_default()
}

impl Session {
    /// Reads the Device Information Service if the meter's firmware is not the one that is known. What the meter does not
    /// say, or not in time, stays empty; the link goes on without it.
    pub(super) async fn learn_about(&mut self) -> Result<(), LinkFault> {
        let spool = self.parts.link.spool.clone();
        let known = spool.named(self.meter.id).await?;
        let firmware = match self.text(uuid16::FIRMWARE_REVISION).await? {
            Said::Text(text) => text,
            Said::Nothing if known.is_some() => return Ok(()),
            Said::Nothing => String::new(),
            // Silence is not mended by asking for more.
            Said::NoAnswer => return Ok(()),
        };
        if known.as_ref().is_some_and(|known| known.firmware == firmware) {
            return Ok(());
        }
        let mut named = Named {
            firmware,
            ..Named::default()
        };
        for (characteristic, text) in [
            (uuid16::MANUFACTURER_NAME, &mut named.manufacturer),
            (uuid16::MODEL_NUMBER, &mut named.model),
            (uuid16::SERIAL_NUMBER, &mut named.serial),
        ] {
            match self.text(characteristic).await? {
                Said::Text(said) => *text = said,
                Said::Nothing => {}
                Said::NoAnswer => return Ok(()),
            }
        }
        tracing::info!(
            meter.id = %self.meter.id,
            meter.model = named.model,
            meter.firmware = named.firmware,
            "meter has said what it is"
        );
        match spool.set_named(self.meter.id, &named).await {
            Err(error) if error.disposition() == Disposition::Retry => {
                tracing::debug!(meter.id = %self.meter.id, error = chain(&error), "what the meter is is not kept");
            }
            other => other?,
        }
        let before = self.talk;
        self.talk = talk_of(&self.parts, &self.meter, Some(&named));
        if before != self.talk {
            tracing::info!(meter.id = %self.meter.id, "meter is talked to by its entry in the quirk table");
        }
        Ok(())
    }

    async fn text(&mut self, characteristic: u16) -> Result<Said, LinkFault> {
        let Some(found) = self.characteristic(uuid16::DEVICE_INFORMATION_SERVICE, characteristic) else {
            return Ok(Said::Nothing);
        };
        let limit = self.parts.link.settings.clock_ms;
        let peripheral = self.peripheral.clone();
        let read = within(limit, "ask a meter what it is", peripheral.read(&found));
        Ok(match self.while_listening(read).await? {
            Ok(bytes) => Text::decode(&bytes).map_or(Said::Nothing, |text| Said::Text(text.value.0)),
            Err(LinkFault::NoAnswer { .. }) => Said::NoAnswer,
            Err(fault) => {
                tracing::debug!(meter.id = %self.meter.id, error = chain(&fault), "meter does not say what it is");
                Said::Nothing
            }
        })
    }
}

/// What a meter said when it was asked for a text.
enum Said {
    Text(String),
    Nothing,
    NoAnswer,
}
