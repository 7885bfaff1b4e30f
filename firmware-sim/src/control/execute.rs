//! What a command does to the host and its meters.

use chrono::{NaiveDateTime, TimeDelta};

use super::protocol::{
    AdapterState, Added, Command, CuffRecord, GlucoseRecord, LedgerPage, MAX_ADDED, MAX_LEDGER_PAGE, MadeRecord,
    MeterState, Refusal, Reply, State,
};
use super::records;
use crate::SimTime;
use crate::bluez::{Adapter, Device, Host, Reason, Unit};
use crate::clock_setting::ClockSetting;
use crate::config::StoredSection;
use crate::ledger::{from_hex, millis, to_hex};
use crate::meters::{
    Concentration, CuffMeasurement, CuffStatus, Event, GeneratePlan, GlucoseMeasurement, Made, Meter, Taken, Timestamp,
};

impl Host {
    /// Carries a command out.
    pub(crate) fn execute(&mut self, now: SimTime, command: Command) -> Result<Reply, Refusal> {
        match command {
            Command::Profiles {} => Ok(Reply::Profiles(records::catalogue())),
            Command::SetProfile { meter, profiles } => {
                let unit = self.named(&meter)?;
                self.set_profiles(now, unit, &profiles)
            }
            Command::JumpClock { meter, seconds } => {
                let unit = self.named(&meter)?;
                self.handle_physical(now, unit, Event::JumpClock(seconds));
                Ok(Reply::Done {})
            }
            Command::List {} => Ok(Reply::State(self.state(now))),
            Command::Counters {} => Ok(Reply::Counters(self.counters.clone())),
            Command::Ledger { meter, after } => self.ledger_page(meter.as_deref(), after).map(Reply::Ledger),
            Command::MeasureCuff { meter, record } => {
                let event = Event::Measure(Taken::Cuff(cuff_measurement(&record)?));
                self.measure(now, &meter, event)
            }
            Command::MeasureGlucose { meter, record } => {
                let event = Event::Measure(Taken::Glucose(glucose_measurement(&record)?));
                self.measure(now, &meter, event)
            }
            Command::MeasureWeight { meter, record } => {
                self.measure(now, &meter, Event::Measure(records::weight(&record)?))
            }
            Command::MeasureTemperature { meter, record } => {
                self.measure(now, &meter, Event::Measure(records::temperature(&record)?))
            }
            Command::MeasureOxygen { meter, record } => {
                self.measure(now, &meter, Event::Measure(records::oxygen(&record)?))
            }
            Command::GenerateRecords {
                meter,
                count,
                seed,
                spacing_minutes,
                newest_minutes_ago,
            } => {
                let section = asked_for(count, seed, spacing_minutes, newest_minutes_ago)?;
                let index = self.named(&meter)?;
                let events = self.history(now, index, &section);
                self.add(now, index, count, events)
            }
            Command::AddCuffRecords { meter, records } => {
                let index = self.named(&meter)?;
                let events = cuff_history(&records)?;
                self.add(now, index, records.len(), events)
            }
            Command::AddGlucoseRecords { meter, records } => {
                let index = self.named(&meter)?;
                let events = glucose_history(&records)?;
                self.add(now, index, records.len(), events)
            }
            Command::SetClock { meter, to } => {
                let index = self.named(&meter)?;
                let local = match to {
                    ClockSetting::Right => self.right_time(now),
                    ClockSetting::Unset => None,
                    ClockSetting::Local(local) => Some(local),
                };
                self.handle_physical(now, index, Event::SetClock(local));
                Ok(Reply::Done {})
            }
            Command::SetRange { meter, in_range } => {
                let index = self.named(&meter)?;
                let link = self.units.get_mut(index).and_then(|unit| {
                    unit.in_range = in_range;
                    unit.link
                });
                if let Some(link) = link.filter(|_| !in_range) {
                    self.link_lost(now, link, Reason::Timeout);
                }
                Ok(Reply::Done {})
            }
            Command::PressTransfer { meter } => {
                let index = self.named(&meter)?;
                self.handle_physical(now, index, Event::PressTransfer);
                Ok(Reply::Done {})
            }
            Command::Adapter {
                powered,
                blocked,
                adapter,
            } => {
                let index = self.adapter_named(adapter.as_deref())?;
                if let Some(found) = self.adapters.get_mut(index) {
                    found.blocked = blocked.unwrap_or(!powered);
                }
                self.power(now, index, powered);
                Ok(Reply::Done {})
            }
            Command::DropLink { meter, after } => {
                let index = self.named(&meter)?;
                if let Some(unit) = self.units.get_mut(index) {
                    match (after, unit.link) {
                        (None | Some(0), Some(link)) => self.link_lost(now, link, Reason::Timeout),
                        (None | Some(0), None) => {}
                        (Some(after), _) => unit.drop_after = Some(after),
                    }
                }
                Ok(Reply::Done {})
            }
            Command::SetHostProfile { profiles } => self.set_host_profiles(&profiles),
            Command::HostFaults { faults } => self.set_host_faults(faults),
            Command::HostEvent { happens } => self.host_event(now, &happens),
            Command::Display { meter } => Ok(self.display(now, self.named(&meter)?)),
            Command::TypePasskey { meter, passkey } => {
                let unit = self.named(&meter)?;
                self.type_passkey(now, unit, &passkey)
            }
            Command::ConfirmPairing { meter, accept } => {
                let unit = self.named(&meter)?;
                self.confirm_pairing(now, unit, accept)
            }
            Command::PairingMode { meter, on } => {
                let unit = self.named(&meter)?;
                self.pairing_mode(now, unit, on);
                Ok(Reply::Done {})
            }
            Command::WipeBonds { meter } => {
                let unit = self.named(&meter)?;
                self.wipe_bonds(unit);
                Ok(Reply::Done {})
            }
            Command::BondElsewhere { meter } => {
                let unit = self.named(&meter)?;
                self.bond_elsewhere(unit)
            }
            Command::RotateAddress { meter } => {
                let unit = self.named(&meter)?;
                self.rotate(now, unit);
                Ok(Reply::Done {})
            }
        }
    }

    fn named(&self, meter: &str) -> Result<usize, Refusal> {
        self.unit_named(meter).ok_or_else(|| {
            let known: Vec<&str> = self.units.iter().map(|unit| unit.id.as_str()).collect();
            Refusal::new(
                "unknown_meter",
                format!("there is no meter {meter:?}; there are: {}", known.join(", ")),
            )
        })
    }

    /// The adapter of this controller; the first one without a name.
    pub(crate) fn adapter_named(&self, controller: Option<&str>) -> Result<usize, Refusal> {
        let Some(controller) = controller else { return Ok(0) };
        let found = self
            .adapters
            .iter()
            .position(|adapter| adapter.settings.controller == controller);
        found.ok_or_else(|| Refusal::new("unknown_adapter", format!("there is no adapter {controller:?}")))
    }

    /// Local time as a right clock shows it.
    pub(crate) fn right_time(&self, now: SimTime) -> Option<NaiveDateTime> {
        self.settings
            .local_at_start
            .checked_add_signed(TimeDelta::from_std(now).ok()?)
    }

    fn measure(&mut self, now: SimTime, meter: &str, event: Event) -> Result<Reply, Refusal> {
        let index = self.named(meter)?;
        let made = self.record(now, index, event)?;
        made.first()
            .map(|made| Reply::Made(made_record(made)))
            .ok_or_else(|| Refusal::new("wrong_kind", format!("the meter {meter:?} made no record of it")))
    }

    fn record(&mut self, now: SimTime, index: usize, event: Event) -> Result<Vec<Made>, Refusal> {
        if self.ledger.room() == 0 {
            return Err(Refusal::new("full", "the ledger is full; restart the simulator"));
        }
        let outcome = self.handle_physical(now, index, event);
        match outcome.impossible {
            Some(error) => Err(Refusal::new(error.code(), chain(&error))),
            None => Ok(outcome.made),
        }
    }

    fn add(&mut self, now: SimTime, index: usize, count: usize, events: Vec<Event>) -> Result<Reply, Refusal> {
        check_added(count)?;
        if count > self.ledger.room() {
            return Err(Refusal::new("full", "the ledger is full; restart the simulator"));
        }
        let mut records = Vec::with_capacity(count);
        for event in events {
            records.extend(self.record(now, index, event)?.iter().map(made_record));
        }
        Ok(Reply::Added(Added { records }))
    }

    /// Events that put a generated history into a meter's memory.
    pub(crate) fn history(&self, now: SimTime, index: usize, section: &StoredSection) -> Vec<Event> {
        let right = self.right_time(now);
        self.units
            .get(index)
            .map(|unit| stored_history(&unit.meter, now, right, section))
            .unwrap_or_default()
    }

    fn ledger_page(&self, meter: Option<&str>, after: u64) -> Result<LedgerPage, Refusal> {
        if let Some(meter) = meter {
            self.named(meter)?;
        }
        let mut found = self
            .ledger
            .entries()
            .iter()
            .filter(|entry| entry.entry > after && meter.is_none_or(|meter| entry.meter == meter));
        let entries: Vec<_> = found.by_ref().take(MAX_LEDGER_PAGE).cloned().collect();
        Ok(LedgerPage {
            entries,
            more: found.next().is_some(),
        })
    }

    fn state(&self, now: SimTime) -> State {
        let mut adapters = self.adapters.iter().map(adapter_state);
        State {
            now_ms: millis(now),
            adapter: adapters.next().unwrap_or_default(),
            host_profiles: self.profiles.clone(),
            more_adapters: adapters.collect(),
            meters: self
                .units
                .iter()
                .enumerate()
                .map(|(index, unit)| self.meter_state(now, index, unit))
                .collect(),
        }
    }

    fn meter_state(&self, now: SimTime, index: usize, unit: &Unit) -> MeterState {
        let (stored, unsent) = unit.meter.memory();
        let identity = unit.meter.identity();
        let devices: Vec<&Device> = self
            .peers
            .iter()
            .filter(|peer| peer.unit == index)
            .filter_map(|peer| peer.device.as_ref())
            .collect();
        MeterState {
            meter: unit.id.clone(),
            kind: unit.meter.kind().to_owned(),
            address: unit.identity.clone(),
            address_on_air: unit.on_air.clone(),
            model: format!("{} {}", identity.manufacturer, identity.model)
                .trim()
                .to_owned(),
            in_range: unit.in_range,
            advertising: unit.is_advertising(now),
            known: !devices.is_empty(),
            connected: devices.iter().any(|device| device.is_connected()),
            bonded: devices.iter().any(|device| device.bond.is_some()),
            bonds: unit.security.bonds(),
            resolved: devices.iter().any(|device| device.is_resolved()),
            sessions: devices
                .iter()
                .flat_map(|device| device.sessions.values())
                .map(Vec::len)
                .sum(),
            clock: unit
                .meter
                .clock()
                .read(now)
                .map_or(ClockSetting::Unset, ClockSetting::Local),
            stored,
            unsent,
            profiles: unit
                .meter
                .faults()
                .names()
                .iter()
                .map(|name| (*name).to_owned())
                .collect(),
        }
    }
}

/// Events that put a generated history into a meter's memory. `right` is the local time that a right clock shows, for a
/// meter whose own clock shows none.
pub(crate) fn stored_history(
    meter: &Meter,
    now: SimTime,
    right: Option<NaiveDateTime>,
    section: &StoredSection,
) -> Vec<Event> {
    let shown = meter.clock().read(now).or(right).unwrap_or_default();
    let newest = shown
        .checked_sub_signed(TimeDelta::minutes(i64::from(section.newest_minutes_ago)))
        .unwrap_or(shown);
    let plan = GeneratePlan::new(section.count, section.seed, newest, section.spacing_minutes);
    meter.history(&plan).into_iter().map(Event::Store).collect()
}

/// The history that is asked for, with the defaults of the configuration.
pub(crate) fn asked_for(
    count: usize,
    seed: u64,
    spacing_minutes: Option<u32>,
    newest_minutes_ago: Option<u32>,
) -> Result<StoredSection, Refusal> {
    check_added(count)?;
    let default = StoredSection::default();
    Ok(StoredSection {
        count,
        seed,
        spacing_minutes: spacing_minutes.unwrap_or(default.spacing_minutes),
        newest_minutes_ago: newest_minutes_ago.unwrap_or(default.newest_minutes_ago),
    })
}

/// Given records as what puts them into a cuff's memory.
pub(crate) fn cuff_history(records: &[CuffRecord]) -> Result<Vec<Event>, Refusal> {
    let taken = records.iter().map(cuff_measurement);
    taken.map(|taken| Ok(Event::Store(Taken::Cuff(taken?)))).collect()
}

/// Given records as what puts them into a glucose meter's memory.
pub(crate) fn glucose_history(records: &[GlucoseRecord]) -> Result<Vec<Event>, Refusal> {
    let taken = records.iter().map(glucose_measurement);
    taken.map(|taken| Ok(Event::Store(Taken::Glucose(taken?)))).collect()
}

pub(crate) fn check_added(count: usize) -> Result<(), Refusal> {
    if count > MAX_ADDED {
        return Err(Refusal::new(
            "bad_value",
            format!("a command adds at most {MAX_ADDED} records"),
        ));
    }
    Ok(())
}

fn adapter_state(adapter: &Adapter) -> AdapterState {
    AdapterState {
        controller: adapter.settings.controller.clone(),
        present: adapter.present,
        powered: adapter.powered,
        blocked: adapter.blocked,
        scanning_clients: adapter.discovering.len(),
    }
}

pub(crate) fn made_record(made: &Made) -> MadeRecord {
    MadeRecord {
        record: made.id,
        sequence: made.sequence,
        hex: to_hex(&made.value),
        context_hex: made.context.as_deref().map(to_hex),
    }
}

pub(crate) fn cuff_measurement(record: &CuffRecord) -> Result<CuffMeasurement, Refusal> {
    let raw = hex_member("raw", record.raw.as_deref())?;
    let (systolic_mmhg, diastolic_mmhg) = match (record.systolic, record.diastolic, &raw) {
        (Some(systolic), Some(diastolic), _) => (systolic, diastolic),
        (None, None, Some(_)) => (0, 0),
        _ => {
            return Err(Refusal::new(
                "bad_value",
                "a cuff record has systolic and diastolic, or raw",
            ));
        }
    };
    Ok(CuffMeasurement {
        systolic_mmhg,
        diastolic_mmhg,
        mean_mmhg: record.mean,
        pulse: record.pulse,
        slot: record.slot,
        status: record.status.map(CuffStatus),
        at: record.at.map_or(Timestamp::MeterClock, Timestamp::Local),
        raw,
    })
}

pub(crate) fn glucose_measurement(record: &GlucoseRecord) -> Result<GlucoseMeasurement, Refusal> {
    let concentration = match (record.mg_dl, record.mmol_l_tenths) {
        (Some(_), Some(_)) => {
            return Err(Refusal::new(
                "bad_value",
                "a glucose record has mg_dl or mmol_l_tenths, not both",
            ));
        }
        (Some(mg_dl), None) => Some(Concentration::MgPerDl(mg_dl)),
        (None, Some(tenths)) => Some(Concentration::TenthsOfMmolPerL(tenths)),
        (None, None) => None,
    };
    let default = GlucoseMeasurement::default();
    Ok(GlucoseMeasurement {
        concentration,
        sample_type: record.sample_type.unwrap_or(default.sample_type),
        sample_location: record.sample_location.unwrap_or(default.sample_location),
        status: record.status,
        meal: record.meal,
        at: record.at.map_or(Timestamp::MeterClock, Timestamp::Local),
        offset_minutes: record.offset_minutes,
        raw: hex_member("raw", record.raw.as_deref())?,
        raw_context: hex_member("raw_context", record.raw_context.as_deref())?,
    })
}

fn hex_member(name: &str, text: Option<&str>) -> Result<Option<Vec<u8>>, Refusal> {
    let Some(text) = text else { return Ok(None) };
    let bytes = from_hex(text);
    bytes
        .map(Some)
        .ok_or_else(|| Refusal::new("bad_value", format!("{name} is not hex: two digits for each byte")))
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
