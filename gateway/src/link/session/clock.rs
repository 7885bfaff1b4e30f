//! The meter's own clock: read once on every link, because every date that the meter gives is by it (page 3, section 2.5).

use btleplug::api::{Characteristic, Peripheral as _, WriteType};
use carepost_domain::quirks::{ClockSource, WriteClock};
use carepost_domain::time::{MeterTime, local_to_utc};
use carepost_gatt::current_time::CurrentTime;
use carepost_gatt::{DateTime as GattDateTime, uuid16};
use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;

use super::Session;
use crate::admit::chain;
use crate::link::capture::Message;
use crate::link::{LinkFault, within};
use crate::meter_clock::Layout;
use crate::spool::{LinkClock, Look};

/// Services in which meters keep a Date Time (2A08): Roche puts it into the glucose service (page 3, section 2.5).
const DATE_TIME_IN: [u16; 2] = [uuid16::GLUCOSE_SERVICE, uuid16::BLOOD_PRESSURE_SERVICE];

impl Session {
    /// Finds out what the meter's clock shows and says so to the capture task: settled is only what comes over a link whose
    /// clock is known, or known to be unknown. A meter without a clock, or with one that cannot be read, is no error.
    pub(super) async fn settle_clock(&mut self) -> Result<(), LinkFault> {
        let clock = self.read_clock().await?;
        let last = self.parts.link.spool.last_look(self.open.link).await?;
        self.send(Message::Clock {
            link: self.open.link,
            clock,
            last,
        })
        .await
    }

    async fn read_clock(&mut self) -> Result<LinkClock, LinkFault> {
        let Some(zone) = self.parts.link.spool.down().zone() else {
            return Ok(LinkClock::Unknown);
        };
        let Some((characteristic, layout)) = self.clock_source() else {
            return Ok(LinkClock::Unknown);
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
                return Ok(LinkClock::Unknown);
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
            return Ok(LinkClock::Unknown);
        };
        if !trust.is_trusted() {
            tracing::debug!(meter.id = %self.meter.id, "meter's clock cannot be compared: the gateway's own is not trusted");
            return Ok(LinkClock::Unknown);
        }
        tracing::debug!(meter.id = %self.meter.id, skew_ms = skew.num_milliseconds(), "meter's clock is read");
        Ok(LinkClock::Read(Look { skew, at: middle }))
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

/// What a meter's clock showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shown {
    time: GattDateTime,
    fractions256: u8,
}

impl Shown {
    fn of(layout: Layout, bytes: &[u8]) -> Option<Self> {
        match layout {
            Layout::CurrentTime => Self::of_current_time(bytes),
            Layout::DateTime => Self::of_date_time(bytes),
        }
    }

    fn of_current_time(bytes: &[u8]) -> Option<Self> {
        let decoded = CurrentTime::decode(bytes).ok()?.value;
        Some(Self {
            time: decoded.time,
            fractions256: decoded.fractions256,
        })
    }

    fn of_date_time(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            time: GattDateTime::decode(bytes).ok()?.value,
            fractions256: 0,
        })
    }

    /// Gateway minus meter; nothing if the meter's clock was never set or shows no date. Which of a meter's clocks it is, where
    /// records come with an offset from a base clock, shows only when a record is dated (`docs/decisions/0012-which-clock-was-read.md`).
    fn skew(self, gateway: DateTime<Utc>, zone: Tz) -> Option<TimeDelta> {
        let MeterTime::Local { local, .. } = MeterTime::from_gatt(Some(&self.time), None) else {
            return None;
        };
        let meter = local_to_utc(local, zone) + TimeDelta::milliseconds(i64::from(self.fractions256) * 1_000 / 256);
        Some(gateway - meter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    const ZONE: Tz = chrono_tz::Asia::Shanghai;

    #[test]
    fn a_clock_behind_or_ahead_is_seen_to_the_second() {
        for minutes in [-240, -4, 0, 7] {
            let bytes = shown(at(minutes)).encode().unwrap();
            let seen = Shown::of_date_time(&bytes).unwrap().skew(at(0), ZONE);
            assert_eq!(seen, Some(TimeDelta::minutes(-minutes)), "{minutes}");
        }
    }

    #[test]
    fn fractions_of_the_second_count() {
        let mut bytes = shown(at(0)).encode().unwrap();
        bytes.extend([0, 128, 0]);
        let seen = Shown::of_current_time(&bytes).unwrap().skew(at(1), ZONE);
        assert_eq!(seen, Some(TimeDelta::milliseconds(59_500)));
    }

    #[test]
    fn what_is_written_into_a_clock_is_what_is_read_back() {
        for layout in [Layout::CurrentTime, Layout::DateTime] {
            let bytes = layout.encode(at(5), ZONE).unwrap();
            let seen = Shown::of(layout, &bytes).unwrap().skew(at(5), ZONE);
            assert_eq!(seen, Some(TimeDelta::zero()), "{layout:?}");
        }
    }

    #[test]
    fn a_clock_that_shows_no_date_is_unknown() {
        for bytes in [
            // Year, month or day unknown; 31 February; month 13.
            [0, 0, 1, 1, 0, 0, 0],
            [0xEA, 7, 0, 1, 0, 0, 0],
            [0xEA, 7, 2, 31, 0, 0, 0],
            [0xEA, 7, 13, 1, 0, 0, 0],
        ] {
            let seen = Shown::of_date_time(&bytes).and_then(|shown| shown.skew(at(0), ZONE));
            assert_eq!(seen, None, "{bytes:?}");
        }
        assert_eq!(Shown::of_date_time(&[0xEA, 7]), None);
        assert_eq!(Shown::of_current_time(&[0; 9]), None);
    }
}
