//! What a command does to the host and its meters.

use chrono::TimeDelta;

use super::protocol::{
    AdapterState, Added, Command, CuffRecord, GlucoseRecord, LedgerPage, MAX_ADDED, MAX_LEDGER_PAGE, MadeRecord,
    MeterState, Refusal, Reply, State,
};
use crate::SimTime;
use crate::bluez::{Host, Link, Peer};
use crate::clock_setting::ClockSetting;
use crate::config::StoredSection;
use crate::ledger::{from_hex, millis, to_hex};
use crate::meters::{
    Concentration, CuffMeasurement, CuffStatus, Event, GeneratePlan, GlucoseMeasurement, Made, Meter, Timestamp,
    generate_cuff, generate_glucose,
};

impl Host {
    /// Carries a command out.
    pub(crate) fn execute(&mut self, now: SimTime, command: Command) -> Result<Reply, Refusal> {
        match command {
            Command::List {} => Ok(Reply::State(self.state(now))),
            Command::Counters {} => Ok(Reply::Counters(self.counters.clone())),
            Command::Ledger { meter, after } => self.ledger_page(meter.as_deref(), after).map(Reply::Ledger),
            Command::MeasureCuff { meter, record } => {
                let event = Event::MeasureCuff(cuff_measurement(&record)?);
                self.measure(now, &meter, event)
            }
            Command::MeasureGlucose { meter, record } => {
                let event = Event::MeasureGlucose(glucose_measurement(&record)?);
                self.measure(now, &meter, event)
            }
            Command::GenerateRecords {
                meter,
                count,
                seed,
                spacing_minutes,
                newest_minutes_ago,
            } => {
                check_added(count)?;
                let default = StoredSection::default();
                let section = StoredSection {
                    count,
                    seed,
                    spacing_minutes: spacing_minutes.unwrap_or(default.spacing_minutes),
                    newest_minutes_ago: newest_minutes_ago.unwrap_or(default.newest_minutes_ago),
                };
                let index = self.named(&meter)?;
                let events = self.history(now, index, &section);
                self.add(now, index, count, events)
            }
            Command::AddCuffRecords { meter, records } => {
                let index = self.named(&meter)?;
                let events: Result<Vec<_>, _> = records
                    .iter()
                    .map(|record| cuff_measurement(record).map(Event::StoreCuff))
                    .collect();
                self.add(now, index, records.len(), events?)
            }
            Command::AddGlucoseRecords { meter, records } => {
                let index = self.named(&meter)?;
                let events: Result<Vec<_>, _> = records
                    .iter()
                    .map(|record| glucose_measurement(record).map(Event::StoreGlucose))
                    .collect();
                self.add(now, index, records.len(), events?)
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
                if let Some(peer) = self.peers.get_mut(index) {
                    peer.in_range = in_range;
                }
                if !in_range {
                    self.link_lost(now, index);
                }
                Ok(Reply::Done {})
            }
            Command::PressTransfer { meter } => {
                let index = self.named(&meter)?;
                self.handle_physical(now, index, Event::PressTransfer);
                Ok(Reply::Done {})
            }
            Command::Adapter { powered, blocked } => {
                self.blocked = blocked.unwrap_or(!powered);
                self.power(now, powered);
                Ok(Reply::Done {})
            }
            Command::DropLink { meter, after } => {
                let index = self.named(&meter)?;
                match after {
                    None | Some(0) => self.link_lost(now, index),
                    Some(after) => {
                        if let Some(peer) = self.peers.get_mut(index) {
                            peer.drop_after = Some(after);
                        }
                    }
                }
                Ok(Reply::Done {})
            }
        }
    }

    fn named(&self, meter: &str) -> Result<usize, Refusal> {
        self.peer_named(meter).ok_or_else(|| {
            let known: Vec<&str> = self.peers.iter().map(|peer| peer.id.as_str()).collect();
            Refusal::new(
                "unknown_meter",
                format!("there is no meter {meter:?}; there are: {}", known.join(", ")),
            )
        })
    }

    /// Local time as a right clock shows it.
    pub(crate) fn right_time(&self, now: SimTime) -> Option<chrono::NaiveDateTime> {
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
        let Some(peer) = self.peer(index) else {
            return Vec::new();
        };
        let shown = peer
            .meter
            .clock()
            .read(now)
            .or_else(|| self.right_time(now))
            .unwrap_or_default();
        let newest = shown
            .checked_sub_signed(TimeDelta::minutes(i64::from(section.newest_minutes_ago)))
            .unwrap_or(shown);
        let plan = GeneratePlan::new(section.count, section.seed, newest, section.spacing_minutes);
        match &peer.meter {
            Meter::Cuff(cuff) => generate_cuff(&plan, cuff.slots())
                .into_iter()
                .map(Event::StoreCuff)
                .collect(),
            Meter::Glucose(glucose) => generate_glucose(&plan, glucose.has_context())
                .into_iter()
                .map(Event::StoreGlucose)
                .collect(),
        }
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
        State {
            now_ms: millis(now),
            adapter: AdapterState {
                powered: self.powered,
                blocked: self.blocked,
                scanning_clients: self.discovering.len(),
            },
            meters: self.peers.iter().map(|peer| meter_state(now, peer)).collect(),
        }
    }
}

fn check_added(count: usize) -> Result<(), Refusal> {
    if count > MAX_ADDED {
        return Err(Refusal::new(
            "bad_value",
            format!("a command adds at most {MAX_ADDED} records"),
        ));
    }
    Ok(())
}

fn meter_state(now: SimTime, peer: &Peer) -> MeterState {
    let (stored, unsent) = peer.meter.memory();
    let identity = peer.meter.identity();
    let device = peer.device.as_ref();
    MeterState {
        meter: peer.id.clone(),
        kind: peer.meter.kind().to_owned(),
        address: peer.address.clone(),
        model: format!("{} {}", identity.manufacturer, identity.model)
            .trim()
            .to_owned(),
        in_range: peer.in_range,
        advertising: peer.meter.is_advertising(now),
        known: device.is_some(),
        connected: device.is_some_and(|device| matches!(device.link, Link::Up { .. })),
        resolved: device.is_some_and(|device| matches!(device.link, Link::Up { resolve_at: None })),
        sessions: device.map_or(0, |device| device.sessions.values().map(Vec::len).sum()),
        clock: peer
            .meter
            .clock()
            .read(now)
            .map_or(ClockSetting::Unset, ClockSetting::Local),
        stored,
        unsent,
    }
}

fn made_record(made: &Made) -> MadeRecord {
    MadeRecord {
        record: made.id,
        sequence: made.sequence,
        hex: to_hex(&made.value),
        context_hex: made.context.as_deref().map(to_hex),
    }
}

fn cuff_measurement(record: &CuffRecord) -> Result<CuffMeasurement, Refusal> {
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

fn glucose_measurement(record: &GlucoseRecord) -> Result<GlucoseMeasurement, Refusal> {
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
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
