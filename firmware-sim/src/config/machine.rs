//! From a configured meter to its machine.

use std::time::Duration;

use chrono::{NaiveDateTime, TimeDelta};

use super::{Advertise, MeterKind, MeterSection, ms};
use crate::SimTime;
use crate::clock_setting::ClockSetting;
use crate::meters::{
    CommonSettings, CuffSettings, GlucoseSettings, Identity, Meter, MeterClock, OximeterSettings, RadioSettings,
    ScaleSettings, ThermometerSettings,
};
use crate::profiles::{ProfileError, Selection};

/// Time from a confirmation to the next indication of a scale, a thermometer or an oximeter.
const PACE: Duration = Duration::from_millis(50);

impl MeterSection {
    /// The machine, without its fault profiles: switching them on is an event, which may make records.
    pub(crate) fn machine(&self, local_at_start: NaiveDateTime) -> Meter {
        match self.kind {
            MeterKind::Cuff => Meter::cuff(CuffSettings {
                common: self.common(local_at_start, ms(self.cuff.indication_interval_ms)),
                slots: self.cuff.slots.clone(),
                after_confirm: self.cuff.after_confirm,
                unit: self.cuff.unit,
                feature: self.cuff.feature,
                has_clock: self.cuff.has_clock,
            }),
            MeterKind::Glucose => Meter::glucose(GlucoseSettings {
                common: self.common(local_at_start, ms(self.glucose.notification_interval_ms)),
                unit: self.glucose.unit,
                feature: self.glucose.feature,
                has_context: self.glucose.contexts,
                first_sequence: self.glucose.first_sequence,
                allows_delete: self.glucose.allows_delete,
            }),
            MeterKind::Scale => Meter::scale(ScaleSettings {
                common: self.common(local_at_start, PACE),
                slots: self.scale.slots.clone(),
                after_confirm: self.scale.after_confirm,
                pounds: self.scale.pounds,
            }),
            MeterKind::Thermometer => Meter::thermometer(ThermometerSettings {
                common: self.common(local_at_start, PACE),
                after_confirm: self.thermometer.after_confirm,
                fahrenheit: self.thermometer.fahrenheit,
            }),
            MeterKind::Oximeter => Meter::oximeter(OximeterSettings {
                common: self.common(local_at_start, PACE),
                after_confirm: self.oximeter.after_confirm,
                continuous: self.oximeter.continuous,
            }),
        }
    }

    fn common(&self, local_at_start: NaiveDateTime, pace: Duration) -> CommonSettings {
        let clock = match self.clock {
            ClockSetting::Right => {
                let skew = TimeDelta::seconds(i64::from(self.clock_skew_s));
                let shown = local_at_start.checked_add_signed(skew).unwrap_or(local_at_start);
                MeterClock::showing(shown, SimTime::ZERO)
            }
            ClockSetting::Unset => MeterClock::unset(),
            ClockSetting::Local(shown) => MeterClock::showing(shown, SimTime::ZERO),
        };
        CommonSettings {
            identity: Identity {
                local_name: self.local_name.clone(),
                manufacturer: self.manufacturer.clone(),
                model: self.model.clone(),
                serial: self.serial.clone(),
                firmware: self.firmware.clone(),
            },
            memory: self.memory,
            clock: clock.drifting(self.clock_drift_s_per_day),
            clock_service: self.clock_service,
            clock_writable: self.clock_writable,
            battery: self.battery_percent,
            pace,
            radio: RadioSettings {
                always_advertises: self.advertise == Advertise::Always,
                advertising_window: ms(self.advertising_window_ms),
                idle_disconnect: ms(self.idle_disconnect_ms),
                keeps_subscriptions: self.keeps_subscriptions,
            },
            own_service: self.own_service,
        }
    }

    /// Its fault profiles.
    ///
    /// # Errors
    /// When one is unknown or means nothing for the meter; a validated configuration has no such profile.
    pub(crate) fn selection(&self) -> Result<Selection, ProfileError> {
        let selection = Selection::named(&self.profile)?;
        selection.check(&self.machine(NaiveDateTime::default()))?;
        Ok(selection)
    }
}
