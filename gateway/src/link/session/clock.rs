//! The meter's own clock: read once on every link, because every date that the meter gives is by it (page 3, section 2.5).

use btleplug::api::{Characteristic, Peripheral as _, WriteType};
use carepost_domain::quirks::{ClockSource, WriteClock};
use carepost_gatt::blood_pressure::Feature;
use carepost_gatt::uuid16;
use chrono::TimeDelta;

use super::Session;
use crate::admit::chain;
use crate::link::capture::Message;
use crate::link::{LinkFault, within};
use crate::meter_clock::{Layout, Shown};
use crate::spool::{LinkClock, Look};

/// Services in which meters keep a Date Time (2A08): Roche puts it into the glucose service (page 3, section 2.5).
const DATE_TIME_IN: [u16; 2] = [uuid16::GLUCOSE_SERVICE, uuid16::BLOOD_PRESSURE_SERVICE];

/// How a meter took the question for its clock.
enum Asked {
    /// It answered, or need not be asked.
    Answered(LinkClock),
    Silent,
}

impl Session {
    /// Finds out what the meter's clock shows and says so to the capture task: settled is only what comes over a link whose
    /// clock is known, or known to be unknown. A meter without a clock, or with one that cannot be read, is no error.
    pub(super) async fn settle_clock(&mut self) -> Result<(), LinkFault> {
        let (clock, answers) = match self.read_clock().await? {
            Asked::Answered(clock) => (clock, true),
            Asked::Silent => (LinkClock::Unknown, false),
        };
        // A meter that does not answer is not asked again, while others wait for their turn.
        let feature = if answers { self.read_feature().await? } else { None };
        let last = self.parts.link.spool.last_look(self.open.link).await?;
        self.send(Message::Clock {
            link: self.open.link,
            clock,
            last,
            feature,
        })
        .await
    }

    /// What a cuff declares to detect: its other status bits mean nothing (page 3, section 2.2). One that does not say it is
    /// believed.
    async fn read_feature(&mut self) -> Result<Option<Feature>, LinkFault> {
        let found = self.characteristic(uuid16::BLOOD_PRESSURE_SERVICE, uuid16::BLOOD_PRESSURE_FEATURE);
        let Some(characteristic) = found else {
            return Ok(None);
        };
        let limit = self.parts.link.settings.clock_ms;
        let peripheral = self.peripheral.clone();
        let read = within(limit, "read a cuff's features", peripheral.read(&characteristic));
        match self.while_listening(read).await? {
            Ok(bytes) => Ok(Feature::decode(&bytes).ok().map(|decoded| decoded.value)),
            Err(fault) => {
                tracing::debug!(meter.id = %self.meter.id, error = chain(&fault), "cuff's features are not read");
                Ok(None)
            }
        }
    }

    async fn read_clock(&mut self) -> Result<Asked, LinkFault> {
        let unknown = Ok(Asked::Answered(LinkClock::Unknown));
        let Some(zone) = self.parts.link.spool.down().zone() else {
            return unknown;
        };
        let Some((characteristic, layout)) = self.clock_source() else {
            return unknown;
        };
        let (clock, trust) = (self.parts.link.clock.clone(), self.parts.link.trust.clone());
        let limit = self.parts.link.settings.clock_ms;
        let peripheral = self.peripheral.clone();
        let (asked, asked_at) = (clock.monotonic(), clock.now());
        let read = within(limit, "read a meter's clock", peripheral.read(&characteristic));
        let bytes = match self.while_listening(read).await? {
            Ok(bytes) => bytes,
            Err(fault) => {
                tracing::debug!(meter.id = %self.meter.id, error = chain(&fault), "meter's clock is not read");
                return match fault {
                    LinkFault::NoAnswer { .. } => Ok(Asked::Silent),
                    _ => unknown,
                };
            }
        };
        // The meter looked at its clock somewhere between question and answer.
        let took = TimeDelta::from_std(clock.monotonic().saturating_sub(asked)).unwrap_or_default();
        let middle = asked_at + took / 2;
        let shown = Shown::of(layout, &bytes).and_then(|shown| shown.skew(middle, zone));
        if self.talk.write_clock == WriteClock::Sync && trust.is_trusted() {
            self.write_clock(&characteristic, layout).await?;
        }
        let Some(skew) = shown else {
            tracing::debug!(meter.id = %self.meter.id, "meter's clock shows no time");
            return unknown;
        };
        if !trust.is_trusted() {
            tracing::debug!(meter.id = %self.meter.id, "meter's clock cannot be compared: the gateway's own is not trusted");
            return unknown;
        }
        tracing::debug!(meter.id = %self.meter.id, skew_ms = skew.num_milliseconds(), "meter's clock is read");
        Ok(Asked::Answered(LinkClock::Read(Look { skew, at: middle })))
    }

    /// Where the meter shows its clock: 2A2B in 1805, else 2A08 in a measuring service; first where its entry in the quirk
    /// table says.
    fn clock_source(&self) -> Option<(Characteristic, Layout)> {
        let current_time = || {
            self.characteristic(uuid16::CURRENT_TIME_SERVICE, uuid16::CURRENT_TIME)
                .map(|found| (found, Layout::CurrentTime))
        };
        let date_time = || {
            DATE_TIME_IN
                .into_iter()
                .find_map(|service| self.characteristic(service, uuid16::DATE_TIME))
                .map(|found| (found, Layout::DateTime))
        };
        match self.talk.clock {
            ClockSource::CurrentTime => current_time().or_else(date_time),
            ClockSource::DateTime => date_time().or_else(current_time),
            ClockSource::None => None,
        }
    }

    /// Sets the meter's clock where its entry in the quirk table says so, after it was read: the records that it holds are
    /// dated by the clock as it was.
    async fn write_clock(&mut self, characteristic: &Characteristic, layout: Layout) -> Result<(), LinkFault> {
        let Some(zone) = self.parts.link.spool.down().zone() else {
            return Ok(());
        };
        let Some(bytes) = layout.encode(self.parts.link.clock.now(), zone) else {
            return Ok(());
        };
        let peripheral = self.peripheral.clone();
        let write = peripheral.write(characteristic, &bytes, WriteType::WithResponse);
        let write = within(self.parts.link.settings.clock_ms, "set a meter's clock", write);
        if let Err(fault) = self.while_listening(write).await? {
            tracing::debug!(meter.id = %self.meter.id, error = chain(&fault), "meter's clock is not set");
        }
        Ok(())
    }
}
